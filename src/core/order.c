/* SPDX-License-Identifier: BSD-3-Clause
 *
 * order.c - fence, flush and close. A flush or a close waits among the endpoint's pending operations until it is the first,
 * so all that was posted before is done on this side; then it asks the peer, whose answer follows all our frames.
 *
 * A fence holds messages and stream apart: an item in txq and one in streamq that only leave together, when the gets
 * before it have their bytes. And it keeps one-sided operations from overtaking frames through mapped memory: they go by
 * frames until the peer has answered.
 */
#include <string.h>

#include "core/internal.h"

enum { ORDER_WAITING, ORDER_ASKED };

/* ---- flush ---- */

static void flush_cancel(struct wf_op *op)
{
	wf_op_done(op, op->stop);
}

const struct wf_kind wf_kind_flush = { "flush", flush_cancel };

static struct wf_op *new_flush(struct weft_ep *ep, const weft_call *call)
{
	struct wf_op *op = wf_op_new(ep->w, ep, &wf_kind_flush, call);

	if (op)
		wf_list_push_back(&ep->ops, &op->link);
	return op;
}

static int flush_ep(struct weft_ep *ep, weft_call *call)
{
	struct wf_op *op;
	int ret = wf_ep_check(ep);

	if (ret)
		return ret;
	op = new_flush(ep, call);
	if (!op)
		return weft_last_error()->status;
	wf_ep_ops_moved(ep);
	return wf_op_answer(op, call);
}

static const struct wf_kind kind_flush_all = { "flush", wf_op_stop_parts };

static int flush_all(struct weft_worker *w, weft_call *call)
{
	struct wf_op *whole = wf_op_new(w, NULL, &kind_flush_all, call);
	struct wf_list *it, *tmp;

	if (!whole)
		return weft_last_error()->status;
	whole->children = 1;
	wf_list_foreach(it, tmp, &w->eps_list) {
		struct weft_ep *ep = wf_list_entry(it, struct weft_ep, link);
		struct wf_op *part;

		if (ep->state > WF_EP_READY || ep->dying || ep->released)
			continue;
		part = new_flush(ep, NULL);
		if (!part) {
			whole->status = WEFT_ENOMEM;
			break;
		}
		part->posting = false;
		part->on_end = wf_op_part_ended;
		part->rma.parent = whole;
		whole->children++;
		wf_ep_ops_moved(ep);
	}
	if (--whole->children == 0)
		wf_op_done(whole, whole->status);
	return wf_op_answer(whole, call);
}

int weft_flush(weft_worker *w, weft_ep *ep, weft_call *call)
{
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = wf_call_check(call);
	if (!ret && ep && ep->w != w)
		ret = wf_fail(WEFT_EINVAL, 0, "weft_flush", NULL, "the endpoint belongs to another worker");
	if (!ret)
		ret = ep ? flush_ep(ep, call) : flush_all(w, call);
	wf_leave(w);
	return ret;
}

/* ---- close ---- */

static void close_cancel(struct wf_op *op)
{
	wf_ep_fail(op->ep, WEFT_EABORTED, 0,
		   op->stop == WEFT_ETIMEDOUT ? "closing took longer than its deadline" : "its close was cancelled");
}

const struct wf_kind wf_kind_close = { "close", close_cancel };

int weft_ep_close(weft_ep *ep, weft_call *call)
{
	struct weft_worker *w = ep->w;
	struct wf_op *op;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = wf_call_check(call);
	if (!ret && (ep->state == WF_EP_DOWN || ep->state == WF_EP_GONE || ep->released)) {
		ret = wf_ep_close_down(ep, call);
		wf_leave(w);
		return ret;
	}
	op = ret ? NULL : wf_op_new(w, ep, &wf_kind_close, call);
	if (!op) {
		wf_leave(w);
		return ret ? ret : weft_last_error()->status;
	}
	ep->closing = true;
	ep->released = true;
	wf_worker_unnote(w, &ep->up_note);
	wf_list_push_back(&ep->ops, &op->link);
	wf_ep_ops_moved(ep);
	ret = wf_op_answer(op, call);
	wf_leave(w);
	return ret;
}

/* ---- the first among the pending ---- */

void wf_order_step(struct wf_op *op)
{
	struct weft_ep *ep = op->ep;

	if (op->state == ORDER_ASKED)
		return;
	op->state = ORDER_ASKED;
	if (op->kind == &wf_kind_flush) {
		wf_ep_ctl(ep, WF_FR_FLUSH, 0, 0, 0, wf_pool_handle(op), NULL, 0);
	} else {
		wf_ep_ctl(ep, WF_FR_CLOSE, 0, 0, 0, 0, NULL, 0);
		ep->close_sent = true;
	}
}

/* Every flush at the head may ask at once; a close asks when it is alone at the head. */
void wf_ep_ops_moved(struct weft_ep *ep)
{
	struct wf_list *it;

	if (ep->state != WF_EP_READY || ep->dying)
		return;
	for (it = ep->ops.next; it != &ep->ops; it = it->next) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, link);

		if (op->kind == &wf_kind_flush) {
			wf_order_step(op);
			continue;
		}
		if (op->kind == &wf_kind_close && it == ep->ops.next)
			wf_order_step(op);
		return;
	}
}

/* ---- fence ---- */

static int stay(struct weft_ep *ep, struct wf_txitem *it)
{
	(void)ep;
	(void)it;
	return WEFT_AGAIN;       /* leaves with its partner in txq */
}

static int push_fence(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_ctl *c = wf_container_of(it, struct wf_ctl, tx), *partner;

	memcpy(&partner, c->payload, sizeof(partner));
	if (wf_list_first(&ep->streamq) != &partner->tx.link)
		return WEFT_AGAIN;       /* older bytes of the stream wait for credit */
	if (ep->unordered)
		return WEFT_AGAIN;       /* a get that is still read may meet the next put, or bytes of a put may come late */
	wf_list_remove(&partner->tx.link);
	wf_list_remove(&it->link);
	wf_ctl_free(ep, partner);
	wf_ctl_free(ep, c);
	return WEFT_OK;
}

static int fence_queues(struct weft_ep *ep)
{
	struct wf_ctl *a = wf_pool_get(&ep->w->ctls), *b = wf_pool_get(&ep->w->ctls);

	if (!a || !b) {
		if (a)
			wf_pool_put(&ep->w->ctls, a);
		if (b)
			wf_pool_put(&ep->w->ctls, b);
		return wf_fail(WEFT_ENOMEM, 0, "weft_fence", NULL, "no memory");
	}
	ep->n_waiting += 2;
	a->big = b->big = NULL;
	wf_list_init(&a->tx.link);
	wf_list_init(&b->tx.link);
	a->tx.push = push_fence;
	b->tx.push = stay;
	memcpy(a->payload, &b, sizeof(b));
	wf_list_push_back(&ep->streamq, &b->tx.link);
	wf_list_push_back(&ep->txq, &a->tx.link);
	wf_ep_kick(ep);
	return WEFT_OK;
}

int weft_fence(weft_ep *ep)
{
	int ret = wf_enter(ep->w);

	if (ret)
		return ret;
	ret = wf_ep_check(ep);
	if (!ret && !(wf_list_is_empty(&ep->txq) && wf_list_is_empty(&ep->streamq) && !ep->unordered))
		ret = fence_queues(ep);
	if (!ret && !wf_list_is_empty(&ep->remotes)) {
		ep->fences++;
		wf_ep_ctl(ep, WF_FR_FLUSH, 0, 0, 0, 0, NULL, 0);
	}
	wf_leave(ep->w);
	return ret;
}

/* ---- frames ---- */

/* The peer has closed: our answer goes past everything that waits, which nobody there wants any more. */
void wf_order_closed(struct weft_ep *ep)
{
	struct wf_tx tx = { .h = { .type = WF_FR_CLOSED } };

	if (!ep->dying && (wf_renew_holds(ep) || wf_ep_tx(ep, &tx) == WEFT_AGAIN)) {
		ep->closed_due = true;   /* wf_lane_room() comes back here, or wf_ep_use() */
		return;
	}
	ep->closed_due = false;
	wf_ep_fail(ep, WEFT_ECLOSED, 0, "closed by the peer");
}

static int in_flushed(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_op *op;

	if (!h->tag) {
		if (!ep->fences)
			return WEFT_EPROTO;
		ep->fences--;
		return 0;
	}
	op = wf_pool_find(&ep->w->ops, h->tag);
	if (op && op->ep == ep && op->kind == &wf_kind_flush && !op->done && op->state == ORDER_ASKED)
		wf_op_done(op, wf_foreign_status(h->aux));
	return 0;
}

int wf_in_order(struct weft_ep *ep, const struct wf_frame *h)
{
	switch (h->type) {
	case WF_FR_FLUSH:
		wf_ep_ctl(ep, WF_FR_FLUSHED, 0, (uint16_t)-ep->put_status, 0, h->tag, NULL, 0);
		if (h->tag)
			ep->put_status = 0;
		return 0;
	case WF_FR_FLUSHED:
		return in_flushed(ep, h);
	case WF_FR_CLOSE:
		ep->peer_closed = true;
		wf_order_closed(ep);
		return 0;
	default:
		if (!ep->close_sent)
			return WEFT_EPROTO;
		wf_ep_fail(ep, WEFT_ECLOSED, 0, "closed on this side");
		return 0;
	}
}
