/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tx.c - the way out. What finds room goes at once; the rest waits in three queues of the endpoint: txq, whose order is the
 * order of the wire (messages, puts, control); streamq, the byte stream, which may wait for credit; and bulkq, the pieces
 * of large transfers, which take turns, so that a gigabyte does not stand in the way of eight bytes. What answers the peer
 * goes before them all: what waits in the three may wait for the peer, who may be waiting for that very answer.
 *
 * push() of an item answers WEFT_OK: sent, it has left the queue (and may be gone); WEFT_PENDING: one frame sent, more to
 * come; WEFT_AGAIN: nothing sent, either the lane is full (ep->blocked) or the item waits for an answer of the peer.
 */
#include <string.h>

#include "core/internal.h"

#define WAITING_MIN (16u << 20)   /* bytes of answers that any peer may leave unread */
#define ORDERED_RUN 16     /* ordered items between two pieces of bulk */

int wf_op_tx(struct wf_op *op, struct wf_tx *tx)
{
	int ret;

	tx->sent = &op->sent;
	ret = wf_ep_tx(op->ep, tx);
	if (ret == WEFT_PENDING)
		op->inflight++;
	return ret == WEFT_AGAIN ? WEFT_AGAIN : WEFT_OK;
}

void wf_ctl_free(struct weft_ep *ep, struct wf_ctl *c)
{
	ep->n_waiting--;
	wf_free(c->big);
	wf_pool_put(&ep->w->ctls, c);
}

/*
 * Answers wait for a peer that does not read. An honest one has at most as many questions as operations; one that only asks
 * must not fill our memory.
 */
bool wf_ep_owes_too_much(const struct weft_ep *ep)
{
	return (uint64_t)ep->n_waiting * sizeof(struct wf_ctl) > 4 * (uint64_t)ep->w->ctx->conf.limit_unexpected + WAITING_MIN;
}

static int push_ctl(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_ctl *c = wf_container_of(it, struct wf_ctl, tx);
	struct wf_tx tx = { .h = c->h, .pre = c->big ? c->big : c->payload, .pre_len = c->h.len };

	if (wf_ep_tx(ep, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	wf_list_remove(&it->link);
	wf_ctl_free(ep, c);
	return WEFT_OK;
}

static struct wf_ctl *ctl_new(struct weft_ep *ep, const void *payload, size_t len)
{
	struct wf_ctl *c = wf_pool_get(&ep->w->ctls);

	if (!c)
		return NULL;
	c->big = NULL;
	if (len > WF_CTL_PAYLOAD) {
		c->big = wf_malloc(len);
		if (!c->big) {
			wf_pool_put(&ep->w->ctls, c);
			return NULL;
		}
	}
	if (len)
		memcpy(c->big ? c->big : c->payload, payload, len);
	c->tx.push = push_ctl;
	wf_list_init(&c->tx.link);
	ep->n_waiting++;
	return c;
}

/* Must it keep its place among what the user posts? Else it only answers, or follows a frame that is on the lane already. */
static bool is_ordered(uint8_t type)
{
	return type == WF_FR_OPEN || type == WF_FR_CLOSE_REMOTE || type == WF_FR_SIGNAL || type == WF_FR_REVOKED ||
	       type == WF_FR_FLUSH || type == WF_FR_CLOSE;
}

void wf_ep_ctl(struct weft_ep *ep, uint8_t type, uint8_t flags, uint16_t aux, uint32_t id, uint64_t tag, const void *payload,
	       size_t len)
{
	struct wf_tx tx = {
		.h = { .type = type, .flags = flags, .aux = aux, .id = id, .tag = tag, .len = (uint32_t)len },
		.pre = payload, .pre_len = len,
	};
	struct wf_list *queue = is_ordered(type) ? &ep->txq : &ep->answers;
	struct wf_ctl *c;

	if (ep->state > WF_EP_READY || ep->dying || ep->peer_closed)
		return;
	if (ep->state == WF_EP_READY && !ep->blocked && wf_list_is_empty(queue) && wf_ep_tx(ep, &tx) != WEFT_AGAIN)
		return;
	c = ctl_new(ep, payload, len);
	if (!c) {
		wf_ep_fail(ep, WEFT_ENOMEM, 0, "no memory for a control frame");
		return;
	}
	c->h = tx.h;
	wf_list_push_back(queue, &c->tx.link);
	if (wf_ep_owes_too_much(ep))
		wf_ep_fail(ep, WEFT_ELIMIT, 0, "the peer asks and asks and does not read the answers");
}

/* ---- frames of the bootstrap lane's own ---- */

static int send_own(struct wf_lane *boot, const struct wf_frame *h, const void *payload)
{
	struct wf_tx tx = { .h = *h, .pre = payload, .pre_len = h->len };
	int ret;

	tx.h.seq = boot->tx_seq;
	ret = boot->tr->send(boot, &tx);
	if (ret == WEFT_OK)
		boot->tx_seq++;
	return ret;
}

int wf_ep_say(struct weft_ep *ep, const struct wf_frame *h, const void *payload)
{
	int ret = wf_list_is_empty(&ep->said) ? send_own(ep->boot, h, payload) : WEFT_AGAIN;
	struct wf_ctl *c;

	if (ret != WEFT_AGAIN)
		return ret;
	c = ctl_new(ep, payload, h->len);
	if (!c)
		return WEFT_ENOMEM;
	c->h = *h;
	wf_list_push_back(&ep->said, &c->tx.link);
	if (wf_ep_owes_too_much(ep))
		wf_ep_fail(ep, WEFT_ELIMIT, 0, "the peer does not read what it is told");
	return 0;
}

int wf_ep_say_of(struct weft_ep *ep, struct wf_frame *h, const struct wf_transport *tr, const void *p, size_t len)
{
	uint8_t buf[WF_NAME_MAX + WF_SAY_MAX];
	size_t name = strlen(tr->name) + 1;

	h->len = (uint32_t)(name + len);
	memcpy(buf, tr->name, name);
	if (len)
		memcpy(buf + name, p, len);
	return wf_ep_say(ep, h, buf);
}

bool wf_ep_said(struct weft_ep *ep)
{
	struct wf_list *it;

	while ((it = wf_list_first(&ep->said))) {
		struct wf_ctl *c = wf_list_entry(it, struct wf_ctl, tx.link);

		if (send_own(ep->boot, &c->h, c->big ? c->big : c->payload) != WEFT_OK)
			return false;
		wf_list_remove(it);
		wf_ctl_free(ep, c);
	}
	return true;
}

/* ---- a lane that broke ---- */

/* A description is good for the lane that it was made for; without one the peer asks for frames. */
static void forget_desc(struct wf_ctl *c)
{
	uint8_t *p = c->big ? c->big : c->payload;
	struct wf_rts rts;

	if (c->h.type == WF_FR_OPENED)
		c->h.len = sizeof(struct wf_opened);
	if (c->h.type != WF_FR_RTS && c->h.type != WF_FR_AM_RTS)
		return;
	memcpy(&rts, p, sizeof(rts));
	c->h.len -= rts.desc_len;
	rts.desc_len = 0;
	memcpy(p, &rts, sizeof(rts));
}

void wf_ep_forget_descs(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->answers) {
		struct wf_ctl *c = wf_list_entry(it, struct wf_ctl, tx.link);

		if (c->tx.push == push_ctl)      /* or a put that is done once more */
			forget_desc(c);
	}
	wf_list_foreach(it, tmp, &ep->msgs)
		wf_list_entry(it, struct wf_msg, link)->desc_len = 0;
}

/* A frame that was sent before, over a lane that broke: to the end of @at. */
void wf_ep_repeat(struct weft_ep *ep, struct wf_list *at, const struct wf_frame *h, const void *payload)
{
	struct wf_ctl *c = ctl_new(ep, payload, h->len);

	if (!c) {
		wf_ep_fail(ep, WEFT_ENOMEM, 0, "no memory to send a frame again");
		return;
	}
	c->h = *h;
	wf_list_push_back(at, &c->tx.link);
}

void wf_ep_queue(struct weft_ep *ep, struct wf_op *op)
{
	op->queued = true;
	wf_list_push_back(&ep->txq, &op->tx.link);
	wf_ep_kick(ep);
}

void wf_ep_queue_bulk(struct weft_ep *ep, struct wf_op *op)
{
	op->queued = true;
	wf_list_push_back(&ep->bulkq, &op->tx.link);
	wf_ep_kick(ep);
}

void wf_ep_unqueue(struct wf_op *op)
{
	if (!op->queued)
		return;
	op->queued = false;
	wf_list_remove(&op->tx.link);
}

static struct wf_txitem *first(const struct wf_list *queue)
{
	struct wf_list *it = wf_list_first(queue);

	return it ? wf_list_entry(it, struct wf_txitem, link) : NULL;
}

/* Sends one piece of the first bulk item and lets the next one have its turn. False: nothing could be sent. */
static bool push_bulk(struct weft_ep *ep)
{
	struct wf_txitem *it = first(&ep->bulkq);
	int ret;

	if (!it)
		return false;
	ret = it->push(ep, it);
	if (ret == WEFT_PENDING) {
		wf_list_remove(&it->link);
		wf_list_push_back(&ep->bulkq, &it->link);
	}
	return ret != WEFT_AGAIN;
}

static bool push_from(struct weft_ep *ep, const struct wf_list *queue)
{
	struct wf_txitem *it = first(queue);

	return it && it->push(ep, it) != WEFT_AGAIN;
}

void wf_ep_kick(struct weft_ep *ep)
{
	bool moved = true;

	if (ep->kicking || ep->state != WF_EP_READY || ep->dying || ep->peer_closed)
		return;
	ep->kicking = true;
	while (moved && !ep->blocked) {
		moved = false;
		while (!ep->blocked && push_from(ep, &ep->answers))
			moved = true;
		for (int i = 0; i < ORDERED_RUN && !ep->blocked && push_from(ep, &ep->txq); i++)
			moved = true;
		if (!ep->blocked && push_from(ep, &ep->streamq))
			moved = true;
		if (!ep->blocked && push_bulk(ep))
			moved = true;
	}
	ep->kicking = false;
}
