/* SPDX-License-Identifier: BSD-3-Clause
 *
 * quick.h - what the way of a short message goes through on both sides, inline: where a message over shared memory takes
 * 300 cycles in all, a call and the registers that it saves are seen. Part of internal.h.
 */
#ifndef WF_CORE_QUICK_H
#define WF_CORE_QUICK_H

static inline uint32_t wf_ep_path(const struct weft_ep *ep)
{
	return ep ? ep->path : 0;
}

/* ---- events ---- */

/* The event of an operation's end, all of it. */
static inline void wf_event_fill(weft_event *e, struct weft_ep *ep, uint32_t path, int32_t status, uint64_t user_data,
				 uint64_t handle, uint64_t tag, uint64_t len, uint64_t value)
{
	e->size = sizeof(*e);
	e->kind = WEFT_EV_OP;
	e->status = status;
	e->path = path;
	e->user_data = user_data;
	e->op.v = handle;
	e->ep = ep;
	e->tag = tag;
	e->len = len;
	e->value = value;
	e->data = NULL;
	e->data_len = 0;
}

/* Where the event of what has just ended may be written, past the ring: weft_reap() is running, has room, and nothing that
 * ended before waits. Else NULL. Counted as given. */
static inline weft_event *wf_worker_slot(struct weft_worker *w)
{
	if (w->out == w->out_end || w->n_events)
		return NULL;
	w->n_ended++;
	w->n_events_total++;
	return w->out++;
}

/* Fills call->event for an operation that is done. */
static inline void wf_answer_fill(struct weft_ep *ep, weft_call *call, int32_t status, uint64_t tag, uint64_t len, uint64_t value)
{
	call->op.v = 0;
	wf_event_fill(&call->event, ep, wf_ep_path(ep), status, call->user_data, 0, tag, len, value);
}

/* Counts it, too, and returns WEFT_OK. */
static inline int wf_answer_now(struct weft_worker *w, struct weft_ep *ep, weft_call *call, const char *what, int32_t status,
				uint64_t tag, uint64_t len, uint64_t value)
{
	w->n_ops++;
	w->n_done_now++;
	if (wf_unlikely(wf_is_traced(w->ctx)))
		wf_trace_op(w->ctx, what, w, wf_now_ns(), 0, len, tag, status);
	if (call)
		wf_answer_fill(ep, call, status, tag, len, value);
	return WEFT_OK;
}

/* ---- operations ---- */

/* What is zero when an operation begins, in two parts. */
#define WF_OP_ZERO_AT offsetof(struct wf_op, flags)
#define WF_OP_ZERO_END offsetof(struct wf_op, ep)
#define WF_OP_CLEAN_AT offsetof(struct wf_op, off)
#define WF_OP_CLEAN_END offsetof(struct wf_op, tx)

/* One of @w's operations, without an endpoint yet; NULL: none left, and nothing said. */
static inline struct wf_op *wf_op_begin(struct weft_worker *w, const struct wf_kind *kind)
{
	struct wf_op *op = wf_pool_get(&w->ops);

	if (wf_unlikely(!op))
		return NULL;
	if (wf_unlikely(!op->w))
		wf_op_first_use(w, op);
	memset((char *)op + WF_OP_ZERO_AT, 0, WF_OP_ZERO_END - WF_OP_ZERO_AT);
	op->kind = kind;
	w->n_ops++;
	return op;
}

/* In pieces, because the compiler makes one of that length a `rep stos`, which takes its time to start. */
static inline void wf_op_clean(struct wf_op *op)
{
	enum { PIECE = 64 };
	size_t at = WF_OP_CLEAN_AT;

	for (; at + PIECE <= WF_OP_CLEAN_END; at += PIECE)
		memset((char *)op + at, 0, PIECE);
	memset((char *)op + at, 0, (WF_OP_CLEAN_END - WF_OP_CLEAN_AT) % PIECE);
}

/* Back to the pool, nobody is told. */
static inline void wf_op_put(struct wf_op *op)
{
	struct weft_ep *ep = op->ep;

	if (!op->plain)
		wf_op_clean(op);
	wf_pool_put(&op->w->ops, op);
	if (ep) {
		ep->refs--;
		if (wf_unlikely(ep->state == WF_EP_GONE))
			wf_ep_free_if_gone(ep);
	}
}

/* ---- receiving ---- */

#define WF_QUICK_MAX WF_COPY_SHORT

/*
 * Posts a receive that has nothing but its buffer: no flags, no deadline, no registered memory, no trace. The caller has
 * looked among the unexpected. WEFT_PENDING, or WEFT_AGAIN: no operation left, and nothing said.
 */
static inline int wf_recv_post_plain(struct weft_worker *w, const weft_buf *b, uint64_t tag, uint64_t mask, struct weft_ep *from,
				     weft_call *call)
{
	struct wf_op *op = wf_op_begin(w, &wf_kind_recv);

	if (wf_unlikely(!op))
		return WEFT_AGAIN;
	op->plain = true;
	op->ep = from;
	op->one.addr = b->addr;          /* field by field: the caller may have just written them so, see G32 */
	op->one.len = b->len;
	op->one.mem = NULL;
	op->one.kind = b->kind;
	op->bufs = &op->one;
	op->n = 1;
	op->len = b->len;
	op->tag = tag;
	op->recv.tag = tag;
	op->recv.mask = mask;
	op->recv.from = from;
	op->recv.seq = w->match.next_recv++;
	if (from) {
		from->refs++;
		wf_list_push_back(&from->rx_ops, &op->link);
	}
	wf_match_post_quick(&w->match, &op->recv);
	op->user_data = call ? call->user_data : 0;
	if (call)
		call->op.v = wf_pool_handle(op);
	return WEFT_PENDING;
}

/* wf_recv_take() of a plain receive on an endpoint in order: nothing of it has to be taken down. */
static inline void wf_recv_take_plain(struct wf_op *op, struct weft_ep *ep, uint64_t tag, uint64_t len)
{
	struct weft_worker *w = ep->w;
	weft_event *e = wf_worker_slot(w);
	uint64_t room = op->one.len;     /* as op->len, and in a line that is here */

	if (wf_unlikely(!e)) {
		wf_recv_take(op, ep, tag, len);
		return;
	}
	ep->n_rx_msgs++;
	wf_event_fill(e, ep, wf_ep_path(ep), len > room ? WEFT_ETRUNCATED : WEFT_OK, op->user_data, wf_pool_handle(op), tag, len,
		      WF_MIN(len, room));
	if (op->ep) {
		wf_list_remove(&op->link);
		ep->refs--;              /* not the last of one that is gone: it is in order */
	}
	wf_pool_put(&w->ops, op);
}

/*
 * A message of up to WF_QUICK_MAX bytes for a plain receive, see recv_post(), on an endpoint where nobody waits for what is
 * pending to move. False: nothing has happened, it is wf_in_eager()'s.
 */
static inline bool wf_eager_quick(struct weft_ep *ep, uint64_t tag, const void *payload, uint32_t len)
{
	struct wf_match_recv *r = wf_match_quick(&ep->w->match, tag, ep);
	struct wf_op *op;

	if (wf_unlikely(!r))
		return false;
	op = wf_container_of(r, struct wf_op, recv);
	if (wf_unlikely(!op->plain || !wf_list_is_empty(&ep->ops)))
		return false;
	wf_match_take(&ep->w->match, r);
	wf_copy_short(op->one.addr, payload, WF_MIN(len, op->one.len));
	wf_recv_take_plain(op, ep, tag, len);
	return true;
}

/* ---- sending ---- */

/* WEFT_OK, WEFT_PENDING, WEFT_AGAIN (blocked now), < 0 */
static inline int wf_ep_tx(struct weft_ep *ep, struct wf_tx *tx)
{
	struct wf_lane *l = ep->msg;
	int ret;

	tx->h.seq = l->tx_seq;
	ret = l->tr->send(l, tx);
	if (wf_likely(ret == WEFT_OK || ret == WEFT_PENDING)) {
		l->tx_seq++;
		return ret;
	}
	ep->blocked = true;      /* full, or broken: wf_lane_down() follows and nothing is sent any more */
	return WEFT_AGAIN;
}

#endif
