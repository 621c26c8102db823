/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rndv_recv.c - rendezvous, the receiving side; the picture is in rndv.c. A receive keeps the message that it matched
 * until the last byte is there: cancelled before, the message goes back to its place among the unexpected; withdrawn by
 * its sender, the receive goes back to its place among the posted.
 */
#include <string.h>

#include "core/internal.h"
#include "core/states.h"

/* Answers the sender of @m; @op is our receive, or NULL where it has no part in the answer. */
static void answer(const struct wf_msg *m, uint8_t type, const struct wf_op *op)
{
	uint64_t tag = (uint64_t)m->peer_gen << 32 | (op ? wf_op_wire_id(op) : 0);

	wf_ep_ctl(m->ep, type, 0, 0, m->peer_op, tag, NULL, 0);
}

/* All bytes are here. An AM's message stays until its event is released. */
static void finish(struct wf_op *op)
{
	struct wf_msg *m = op->msg;
	uint64_t tag = m->match.tag, len = m->len;

	op->msg = NULL;
	if (m->am)
		wf_am_end_receive(m, true);
	else
		wf_msg_free(m);
	wf_recv_finish(op, tag, len, WEFT_OK);
}

static void ask_for_data(struct wf_op *op)
{
	op->msg->desc_len = 0;           /* CTS ends the sender's offer */
	op->state = RECV_DATA;
	op->off = 0;
	answer(op->msg, WF_FR_CTS, op);
}

static int start_copy(struct wf_op *op, uint64_t len)
{
	struct wf_msg *m = op->msg;
	struct wf_lane *l = op->ep->msg;
	int ret;

	if (!m->desc_len || !l->tr->copy_start)
		return WEFT_AGAIN;
	op->copy = wf_copy_new(op, len, false);
	if (!op->copy)
		return WEFT_AGAIN;
	memcpy(op->copy->desc, m->data + m->header_len, m->desc_len);
	op->copy->desc_len = m->desc_len;
	ret = l->tr->copy_start(l, op->copy, wf_bufs_region(op->bufs, op->n));
	if (ret != WEFT_OK)
		wf_copy_free(op);
	return ret;
}

/* The sender has taken his message back. */
static void unmatch(struct wf_op *op)
{
	struct weft_worker *w = op->w;
	struct weft_ep *ep = op->ep;
	struct wf_match_msg *mm;

	if (op->msg->am) {
		op->msg->lost = true;
		wf_am_end_receive(op->msg, false);
	} else {
		wf_msg_free(op->msg);
	}
	op->msg = NULL;
	if (op->from_probe || op->stop) {
		wf_op_done(op, op->stop ? op->stop : WEFT_ECANCELED);
		return;
	}
	op->matched = false;
	op->state = RECV_POSTED;
	op->ev_tag = op->ev_len = 0;
	wf_list_remove(&op->link);
	if (!op->recv.from) {
		op->ep = NULL;
		ep->refs--;
	} else {
		wf_list_push_back(&ep->rx_ops, &op->link);
	}
	mm = wf_match_find(&w->match, op->recv.tag, op->recv.mask, op->recv.from);
	if (mm) {
		wf_match_remove(&w->match, mm);
		wf_container_of(mm, struct wf_msg, match)->matchable = false;
		wf_msg_deliver(wf_container_of(mm, struct wf_msg, match), op);
	} else {
		wf_match_return_recv(&w->match, &op->recv);
	}
}

/*
 * The sender has ended the copy. Only his WITHDRAW says that the message was never meant: when he is gone, the receive
 * fails with the endpoint, because the next message must not take this one's place.
 */
static void taken_back(struct wf_op *op)
{
	if (op->msg->withdrawn)
		unmatch(op);
	else
		op->state = RECV_TAKEN_BACK;
}

/* The receive was cancelled: its message, of which nothing is lost, goes back, unless its sender has withdrawn it, too. */
static void put_back(struct wf_op *op)
{
	struct wf_msg *m = op->msg;

	if (m->withdrawn) {
		unmatch(op);
		return;
	}
	op->msg = NULL;
	if (m->am)
		wf_am_end_receive(m, false);   /* may be received again until its event is released */
	else
		wf_msg_keep(m);
	wf_op_done(op, op->stop);
}

void wf_rndv_receive(struct wf_op *op, struct wf_msg *m)
{
	uint64_t want = WF_MIN(m->len, op->len);
	int ret;

	op->msg = m;
	op->ev_tag = m->match.tag;
	op->ev_len = m->len;
	if (!want) {
		answer(m, WF_FR_FIN, NULL);
		finish(op);
		return;
	}
	op->state = RECV_COPY;
	ret = start_copy(op, want);
	if (ret == WEFT_AGAIN)
		ask_for_data(op);
	else if (ret == WEFT_ECANCELED)
		taken_back(op);
	else if (ret < 0)
		wf_ep_fail(m->ep, WEFT_EPROTO, 0, "bad description of a large message");
}

/* Nobody wants the bytes: the sender is done. */
void wf_rndv_refuse(struct wf_msg *m)
{
	answer(m, WF_FR_FIN, NULL);
}

void wf_recv_copy_done(struct wf_op *op, int32_t status)
{
	wf_copy_free(op);
	if (op->ep->dying)               /* the burial waits for this and completes the operation */
		return;
	if (status == WEFT_OK) {
		answer(op->msg, WF_FR_FIN, NULL);
		op->ep->n_copy++;
		finish(op);
	} else if (status == WEFT_ECANCELED && op->stop) {
		put_back(op);
	} else if (status == WEFT_ECANCELED) {
		taken_back(op);
	} else if (status == WEFT_AGAIN && !op->stop) {
		ask_for_data(op);
	} else if (status == WEFT_AGAIN) {
		op->msg->desc_len = 0;
		put_back(op);
	} else {
		wf_ep_fail(op->ep, status, 0, "copying a large message failed");
	}
}

void wf_rndv_cancel_recv(struct wf_op *op)
{
	if (op->state == RECV_COPY) {
		wf_rndv_stop_copies(op);
	} else if (op->state == RECV_DATA) {
		op->state = RECV_STOPPING;
		answer(op->msg, WF_FR_STOP, op);
	} else if (op->state == RECV_TAKEN_BACK) {
		put_back(op);
	}
}

/* ---- frames ---- */

static struct wf_op *find_recv(struct weft_ep *ep, uint32_t id)
{
	struct wf_op *op = wf_op_by_wire_id(ep->w, id, ep, NULL);

	if (!op || (op->kind != &wf_kind_recv && op->kind != &wf_kind_am_recv))
		return NULL;
	return op->state == RECV_DATA || op->state == RECV_STOPPING ? op : NULL;
}

/* The receive that a DATA frame belongs to, when the frame is the next one of its message. */
static struct wf_op *data_op(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_recv(ep, h->id);

	return op && h->tag == op->off && h->len <= op->msg->len - op->off && h->len ? op : NULL;
}

static void data_came(struct wf_op *op, uint32_t len)
{
	op->off += len;
	if (op->off == op->msg->len)
		finish(op);
}

static int in_data(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_op *op = data_op(ep, h);

	if (!op)
		return WEFT_EPROTO;
	if (op->off < op->len)
		wf_bufs_copy_in(op->bufs, op->n, op->off, p, WF_MIN(h->len, op->len - op->off));
	data_came(op, h->len);
	return 0;
}

static void sink_data_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	(void)l;
	data_came(s->owner, h->len);
}

int wf_sink_data(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h)
{
	struct wf_op *op = data_op(ep, h);

	if (!op)
		return WEFT_EPROTO;
	l->sink = (struct wf_sink){ .bufs = op->bufs, .n = op->n, .off = op->off, .owner = op, .end = sink_data_end };
	l->sink.keep = op->off < op->len ? WF_MIN(h->len, op->len - op->off) : 0;
	return WEFT_OK;
}

int wf_in_rts(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct weft_worker *w = ep->w;
	struct wf_rts rts;
	struct wf_msg *m;

	memcpy(&rts, p, sizeof(rts));
	if (rts.len > WF_MSG_MAX || rts.desc_len > WF_DESC_MAX || rts.desc_len != h->len - sizeof(rts))
		return WEFT_EPROTO;
	if (!wf_msg_room(ep, rts.desc_len) || !(m = wf_msg_new(ep, WF_MSG_RNDV, rts.desc_len ? rts.desc_len : 1)))
		return WEFT_AGAIN;
	memcpy(m->data, p + sizeof(rts), rts.desc_len);
	m->desc_len = rts.desc_len;
	m->len = rts.len;
	m->peer_op = h->id;
	m->peer_gen = rts.gen;
	m->match.tag = h->tag;
	m->match.seq = w->match.next_msg++;
	wf_msg_keep(m);
	return 0;
}

static int in_stopped(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_recv(ep, h->id);

	if (!op || op->state != RECV_STOPPING)
		return WEFT_EPROTO;
	put_back(op);
	return 0;
}

static int in_gone(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op = find_recv(ep, h->id);

	if (!op)
		return 0;                /* ended by a cancel on our side meanwhile */
	unmatch(op);
	return 0;
}

/* A message that a receive has taken. */
static void withdraw_matched(struct weft_ep *ep, struct wf_msg *m)
{
	struct wf_list *it, *tmp;

	m->withdrawn = true;
	wf_list_foreach(it, tmp, &ep->rx_ops) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, link);

		if (op->msg != m)
			continue;
		if (op->state == RECV_TAKEN_BACK)
			unmatch(op);
		return;
	}
}

static int in_withdraw(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_list *it, *tmp;
	bool gone = false;

	wf_list_foreach(it, tmp, &ep->msgs) {
		struct wf_msg *m = wf_list_entry(it, struct wf_msg, link);

		if (m->peer_op != h->id || (m->kind != WF_MSG_RNDV && !m->sync))
			continue;
		if (m->matchable) {
			wf_msg_free(m);
			gone = true;
		} else if (m->taken && !m->receiving) {
			m->lost = true;
			gone = true;
		} else {
			withdraw_matched(ep, m);
		}
		break;
	}
	wf_ep_ctl(ep, WF_FR_WITHDRAWN, 0, gone, h->id, 0, NULL, 0);
	return 0;
}

int wf_in_rndv_recv(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	switch (h->type) {
	case WF_FR_DATA:
		return in_data(ep, h, p);
	case WF_FR_STOPPED:
		return in_stopped(ep, h);
	case WF_FR_GONE:
		return in_gone(ep, h);
	case WF_FR_WITHDRAW:
		return in_withdraw(ep, h);
	default:
		return WEFT_EPROTO;
	}
}
