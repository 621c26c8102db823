/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rndv.c - rendezvous, the sending side: a message too long for eager stays where it is until a receive has matched.
 *
 *   sender                          receiver
 *   RTS (length, description)  ->   matched: either the transport copies (shm: both processes, loop: memcpy), and at
 *                              <-   the end FIN;
 *                              <-   or CTS, and the bytes come as DATA frames.
 *   DATA ...                   ->
 *
 * Taking back. The sender: before CTS nobody reads his bytes, so he is done at once and says WITHDRAW to tidy up; while
 * DATA flows he stops and says GONE; a copy is stopped by the transport. The receiver (rndv_recv.c): STOP, and the sender
 * answers STOPPED and waits for the next CTS, or has sent all and does not answer; then the receive just ends well.
 */
#include <string.h>

#include "core/internal.h"
#include "core/states.h"

/* ---- copies in the transport's hands ---- */

struct wf_copy *wf_copy_new(struct wf_op *op, uint64_t len, bool sender)
{
	struct wf_copy *c = wf_pool_get(&op->w->copies);

	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	wf_list_init(&c->link);
	c->lane = op->ep->msg;
	c->bufs = op->bufs;
	c->n = op->n;
	c->len = len;
	c->sender = sender;
	c->owner = op;
	return c;
}

void wf_copy_free(struct wf_op *op)
{
	wf_pool_put(&op->w->copies, op->copy);
	op->copy = NULL;
	op->copy_stopping = false;
}

/* Asks the transport to let go of the buffers; wf_copy_done() tells. For every reason but the peer's FIN. */
void wf_rndv_stop_copies(struct wf_op *op)
{
	if (!op->copy || op->copy_stopping)
		return;
	op->copy_stopping = true;
	op->copy->lane->tr->copy_stop(op->copy->lane, op->copy);
}

static void try_copy_offer(struct wf_op *op)
{
	struct wf_lane *l = op->ep->msg;

	if (op->copy || !l->can_copy || !l->tr->copy_offer)
		return;
	op->copy = wf_copy_new(op, op->len, true);
	if (op->copy && l->tr->copy_offer(l, op->copy, wf_bufs_region(op->bufs, op->n)) != WEFT_OK)
		wf_copy_free(op);
}

static void end_copy_offer(struct wf_op *op)
{
	op->copy->lane->tr->copy_end(op->copy->lane, op->copy);
	wf_copy_free(op);
}

/* RTS, from push(): the header of an AM goes before the description. */
int wf_rndv_offer(struct wf_op *op)
{
	uint8_t pre[sizeof(struct wf_rts) + WF_AM_HEADER_MAX + WF_DESC_MAX];
	struct wf_rts rts = { .len = op->len, .gen = wf_pool_gen(op) };
	bool am = op->kind == &wf_kind_am_send;
	size_t at = sizeof(rts);
	struct wf_tx tx = { .pre = pre };

	try_copy_offer(op);
	rts.desc_len = op->copy ? op->copy->desc_len : 0;
	memcpy(pre, &rts, sizeof(rts));
	if (am && op->am.header_len) {
		memcpy(pre + at, op->am.header, op->am.header_len);
		at += op->am.header_len;
	}
	if (op->copy) {
		memcpy(pre + at, op->copy->desc, rts.desc_len);
		at += rts.desc_len;
	}
	tx.pre_len = at;
	tx.h = (struct wf_frame){
		.type = am ? WF_FR_AM_RTS : WF_FR_RTS, .aux = am ? op->am.header_len : 0, .id = wf_op_wire_id(op),
		.tag = am ? op->am.id : op->tag, .len = (uint32_t)at,
	};
	if (wf_ep_tx(op->ep, &tx) == WEFT_AGAIN) {
		if (op->copy)
			end_copy_offer(op);      /* the peer knows nothing of it; next time it may go eager, or be cancelled */
		return WEFT_AGAIN;
	}
	wf_ep_unqueue(op);
	op->state = SEND_OFFERED;
	op->ep->n_rndv++;
	return WEFT_OK;
}

static int push_data(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);
	uint64_t len = WF_MIN(WF_MIN(op->len - op->off, ep->msg->frame_max), WF_BULK_CHUNK);
	struct wf_tx tx = {
		.h = { .type = WF_FR_DATA, .id = op->peer_op, .tag = op->off, .len = (uint32_t)len },
		.bufs = op->bufs, .n = op->n, .off = op->off, .len = len,
	};

	if (wf_op_tx(op, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	op->off += len;
	if (op->off < op->len)
		return WEFT_PENDING;
	wf_ep_unqueue(op);
	op->all_sent = true;
	op->state = SEND_LENT;
	if (!op->inflight)
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

/* ---- taking back ---- */

void wf_rndv_cancel_send(struct wf_op *op)
{
	uint32_t id = wf_op_wire_id(op);

	if (op->state == SEND_OFFERED && op->copy) {
		wf_rndv_stop_copies(op);
	} else if (op->state == SEND_OFFERED) {
		wf_ep_ctl(op->ep, WF_FR_WITHDRAW, 0, 0, id, 0, NULL, 0);
		wf_op_done(op, op->stop);
	} else if (op->state == SEND_STREAMING) {
		wf_ep_unqueue(op);
		wf_ep_ctl(op->ep, WF_FR_GONE, 0, 0, op->peer_op, 0, NULL, 0);
		wf_op_done(op, op->stop);
	}
}

/* The transport has let go of a sender's buffers before the peer said FIN. */
static void send_copy_done(struct wf_op *op, int32_t status)
{
	uint32_t id = wf_op_wire_id(op);

	wf_copy_free(op);
	if (op->ep->dying)               /* the burial waits for this and completes the operation */
		return;
	if (status == WEFT_OK) {
		wf_op_done(op, WEFT_OK);
		return;
	}
	wf_ep_ctl(op->ep, WF_FR_WITHDRAW, 0, 0, id, 0, NULL, 0);
	wf_op_done(op, op->stop ? op->stop : WEFT_ECANCELED);
}

void wf_copy_done(struct wf_copy *c, int32_t status)
{
	struct wf_op *op = c->owner;

	if (c->sender)
		send_copy_done(op, status);
	else
		wf_recv_copy_done(op, status);
}

/* ---- the peer's answers ---- */

static struct wf_op *find_send(struct weft_ep *ep, uint32_t id)
{
	struct wf_op *op = wf_op_by_wire_id(ep->w, id, ep, NULL);

	return op && (op->kind == &wf_kind_send || op->kind == &wf_kind_am_send) ? op : NULL;
}

/* The same for answers to RTS, which may come so late that the id means another operation: gen tells. */
static struct wf_op *find_offered(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_send(ep, h->id);

	return op && wf_pool_gen(op) == (uint32_t)(h->tag >> 32) ? op : NULL;
}

static int in_cts(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_offered(ep, h);

	if (!op || (op->state == SEND_OFFERED && op->copy_stopping)) {   /* taken back while CTS was on its way */
		wf_ep_ctl(ep, WF_FR_GONE, 0, 0, (uint32_t)h->tag, 0, NULL, 0);
		return 0;
	}
	if (op->state != SEND_OFFERED)
		return WEFT_EPROTO;
	if (op->copy)                    /* the peer cannot: its transport has put the offer to rest */
		end_copy_offer(op);
	op->peer_op = (uint32_t)h->tag;
	op->off = 0;
	op->state = SEND_STREAMING;
	op->tx.push = push_data;
	wf_ep_queue_bulk(ep, op);
	return 0;
}

static int in_fin(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_offered(ep, h);

	if (!op)
		return 0;                /* taken back, and complete all the same */
	if (op->state != SEND_OFFERED)
		return WEFT_EPROTO;
	if (op->copy && op->copy_stopping)
		return 0;                /* its wf_copy_done() comes and says the same */
	if (op->copy) {
		end_copy_offer(op);
		ep->n_copy++;
	}
	wf_op_done(op, WEFT_OK);
	return 0;
}

static int in_stop(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_offered(ep, h);

	if (!op || op->state != SEND_STREAMING || op->peer_op != (uint32_t)h->tag)
		return 0;                /* all was sent: the peer ends with its last piece */
	wf_ep_unqueue(op);
	op->off = 0;
	op->state = SEND_OFFERED;
	wf_ep_ctl(ep, WF_FR_STOPPED, 0, 0, op->peer_op, 0, NULL, 0);
	return 0;
}

static int in_sync_ack(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_send(ep, h->id);

	if (op && (op->state == SEND_WAIT_ACK || op->state == SEND_WITHDRAWING))
		wf_op_done(op, WEFT_OK);
	return 0;
}

static int in_withdrawn(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_send(ep, h->id);

	if (op && op->state == SEND_WITHDRAWING && h->aux)
		wf_op_done(op, op->stop);
	return 0;
}

int wf_in_rndv(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	switch (h->type) {
	case WF_FR_CTS:
		return in_cts(ep, h);
	case WF_FR_FIN:
		return in_fin(ep, h);
	case WF_FR_STOP:
		return in_stop(ep, h);
	case WF_FR_SYNC_ACK:
		return in_sync_ack(ep, h);
	case WF_FR_WITHDRAWN:
		return in_withdrawn(ep, h);
	default:
		return wf_in_rndv_recv(ep, h, p);
	}
}
