/* SPDX-License-Identifier: BSD-3-Clause
 *
 * msg.c - tagged messages: posting sends and receives, and eager messages from end to end. What is too long for eager,
 * or not wanted so by the peer, goes on in rndv.c.
 */
#include <string.h>

#include "core/internal.h"
#include "core/states.h"

#define NOW_MAX (32u << 10)      /* a message up to here is sent without an operation where the lane takes it at once */

/* ---- sending ---- */

static void send_cancel(struct wf_op *op)
{
	if (op->state == SEND_QUEUED)
		wf_op_done(op, op->stop);
	else if (op->state == SEND_WAIT_ACK) {
		op->state = SEND_WITHDRAWING;
		wf_ep_ctl(op->ep, WF_FR_WITHDRAW, 0, 0, wf_op_wire_id(op), 0, NULL, 0);
	} else
		wf_rndv_cancel_send(op);
}

const struct wf_kind wf_kind_send = { "send", send_cancel };

static int push_eager(struct wf_op *op)
{
	bool sync = op->flags & WEFT_SYNC;
	struct wf_tx tx = {
		.h = { .type = WF_FR_EAGER, .flags = sync ? WF_FF_SYNC : 0, .id = sync ? wf_op_wire_id(op) : 0, .tag = op->tag,
		       .len = (uint32_t)op->len },
		.bufs = op->bufs, .n = op->n, .len = op->len,
	};

	if (wf_op_tx(op, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	wf_ep_unqueue(op);
	op->ep->n_eager++;
	if (sync)
		op->state = SEND_WAIT_ACK;
	else if (op->inflight)
		op->all_sent = true, op->state = SEND_LENT;
	else
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

int wf_send_push(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);

	if (op->len <= ep->msg->eager_max && !ep->pressure)
		return push_eager(op);
	return wf_rndv_offer(op);
}

static int send_slow(struct weft_ep *ep, const weft_buf *b, size_t n, uint64_t len, uint64_t tag, weft_call *call)
{
	struct wf_op *op = wf_op_new(ep->w, ep, &wf_kind_send, call);
	int ret;

	if (!op)
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (!ret && op->flags & WEFT_COPY)
		ret = wf_op_own(op);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	op->tag = tag;
	op->ev_tag = tag;
	op->ev_len = len;
	op->tx.push = wf_send_push;
	op->state = SEND_QUEUED;
	wf_list_push_back(&ep->ops, &op->link);
	wf_ep_queue(ep, op);
	return wf_op_answer(op, call);
}

/* Nothing but short bytes, over a lane that takes them as they are? */
static inline bool is_short(const struct weft_ep *ep, const weft_buf *b, size_t n, const weft_call *call)
{
	return ep->gate == WF_EP_READY && wf_list_is_empty(&ep->txq) && n == 1 && b && b->addr && !b->kind &&
	       b->len <= ep->msg->inline_max && (!call || (call->size >= sizeof(*call) && !(call->flags & ~(WEFT_COPY | WEFT_NO_EVENT)) && !call->stream));
}

static inline bool send_short(struct weft_ep *ep, const weft_buf *b, uint64_t tag)
{
	struct wf_lane *l = ep->msg;

	if (wf_unlikely(!l->tr->send_short || !l->tr->send_short(l, l->tx_seq, tag, b->addr, (uint32_t)b->len)))
		return false;
	l->tx_seq++;
	return true;
}

static int send_now(struct weft_ep *ep, const weft_buf *b, size_t n, uint64_t len, uint64_t tag)
{
	struct wf_tx tx = {
		.h = { .type = WF_FR_EAGER, .tag = tag, .len = (uint32_t)len },
		.bufs = b, .n = n, .len = len,
	};

	return wf_ep_tx(ep, &tx);
}

/* Anything: looked at, and sent at once or queued. */
static __attribute__((noinline)) int send_checked(struct weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *call)
{
	uint64_t len;
	int ret = wf_call_check(call);

	if (!ret)
		ret = wf_bufs_check(b, n, &len);
	if (!ret)
		ret = wf_ep_check(ep);
	if (wf_unlikely(ret))
		return ret;
	ep->n_tx_msgs++;
	if (wf_likely(wf_ep_can_send(ep) && len <= NOW_MAX && len <= ep->msg->eager_max && !ep->pressure &&
		      !(call && call->flags & WEFT_SYNC)) &&
	    send_now(ep, b, n, len, tag) == WEFT_OK) {
		ep->n_eager++;
		return wf_answer_now(ep->w, ep, call, "send", WEFT_OK, tag, len, 0);
	}
	return send_slow(ep, b, n, len, tag, call);
}

int weft_send(weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *call)
{
	struct weft_worker *w = ep->w;
	int ret = wf_enter(w);

	if (wf_unlikely(ret))
		return ret;
	if (wf_likely(is_short(ep, b, n, call) && send_short(ep, b, tag))) {
		ep->n_tx_msgs++;
		ep->n_eager++;
		ret = wf_answer_now(w, ep, call, "send", WEFT_OK, tag, b->len, 0);
	} else {
		ret = send_checked(ep, b, n, tag, call);
	}
	wf_leave(w);
	return ret;
}

/* ---- receiving ---- */

/* The peer's bytes are being read from the lane into a receive that gives up: into a message of its own from here on. */
static void redirect_sink(struct wf_op *op)
{
	struct wf_sink *s = &op->ep->msg->sink;
	struct wf_msg *m = wf_msg_new(op->ep, WF_MSG_EAGER, op->ev_len);
	size_t have;

	if (!m)
		return;          /* no memory to give up with: the rest of this frame comes, then it ends as received */
	have = WF_MIN(s->done, s->keep);
	if (s->done > s->keep) {
		wf_msg_free(m);  /* truncated bytes are gone already: too late to put it back */
		return;
	}
	wf_bufs_copy_out(m->data, op->bufs, op->n, 0, have);
	wf_sink_into_msg(op->ep->msg, m, op->ev_tag, op->ev_len, op->ev_len);
	s->done = have;
	op->matched = false;
	wf_op_done(op, op->stop);
}

static void recv_cancel(struct wf_op *op)
{
	if (op->state == RECV_POSTED) {
		wf_match_unpost(&op->w->match, &op->recv);
		wf_op_done(op, op->stop);
	} else if (op->state == RECV_SINK) {
		redirect_sink(op);
	} else {
		wf_rndv_cancel_recv(op);
	}
}

const struct wf_kind wf_kind_recv = { "recv", recv_cancel };

void wf_recv_finish(struct wf_op *op, uint64_t tag, uint64_t len, int32_t status)
{
	op->ev_tag = tag;
	op->ev_len = len;
	op->ev_value = WF_MIN(len, op->len);
	if (status == WEFT_OK && len > op->len)
		status = WEFT_ETRUNCATED;
	op->ep->n_rx_msgs += op->kind == &wf_kind_recv;          /* an active message was counted when it arrived */
	wf_op_done(op, status);
}

/* A receive has matched something of @ep: it belongs to it from here on. */
static inline void recv_claim(struct wf_op *op, struct weft_ep *ep)
{
	op->matched = true;
	if (!op->ep) {
		op->ep = ep;
		ep->refs++;
	}
}

void wf_recv_take(struct wf_op *op, struct weft_ep *ep, uint64_t tag, uint64_t len)
{
	recv_claim(op, ep);
	wf_recv_finish(op, tag, len, WEFT_OK);
}

/* A receive that has matched something of @ep and is not over with that. */
void wf_recv_bind(struct wf_op *op, struct weft_ep *ep)
{
	recv_claim(op, ep);
	op->plain = false;
	wf_list_remove(&op->link);
	wf_list_push_back(&ep->rx_ops, &op->link);
}

static void ack_sync(struct weft_ep *ep, uint32_t peer_op)
{
	wf_ep_ctl(ep, WF_FR_SYNC_ACK, 0, 0, peer_op, 0, NULL, 0);
}

int wf_in_eager(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct weft_worker *w = ep->w;
	struct wf_match_recv *r = wf_match_arrive(&w->match, h->tag, ep);
	struct wf_msg *m;

	if (wf_likely(r)) {
		struct wf_op *op = wf_container_of(r, struct wf_op, recv);

		wf_bufs_copy_in(op->bufs, op->n, 0, p, WF_MIN(h->len, op->len));
		wf_recv_take(op, ep, h->tag, h->len);
		if (h->flags & WF_FF_SYNC)
			ack_sync(ep, h->id);
		return 0;
	}
	if (!wf_msg_room(ep, h->len) || !(m = wf_msg_new(ep, WF_MSG_EAGER, h->len)))
		return WEFT_AGAIN;
	if (h->len)
		memcpy(m->data, p, h->len);
	m->len = h->len;
	m->sync = h->flags & WF_FF_SYNC;
	m->peer_op = h->id;
	m->match.tag = h->tag;
	m->match.from = ep;
	m->match.seq = w->match.next_msg++;
	m->matchable = true;
	wf_match_add(&w->match, &m->match);
	wf_msg_pressure(w);
	return 0;
}

/* ---- eager messages that are read straight from a socket to where they belong ---- */

static void sink_recv_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	struct wf_op *op = s->owner;
	struct weft_ep *ep = op->ep;

	(void)l;
	wf_recv_finish(op, h->tag, h->len, WEFT_OK);
	if (h->flags & WF_FF_SYNC)
		ack_sync(ep, h->id);
}

static void sink_msg_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	struct wf_msg *m = s->owner;

	(void)l;
	m->partial = false;
	m->sync = h->flags & WF_FF_SYNC;
	m->peer_op = h->id;
	m->match.seq = m->ep->w->match.next_msg++;
	wf_msg_keep(m);
}

void wf_sink_into_msg(struct wf_lane *l, struct wf_msg *m, uint64_t tag, uint64_t len, uint64_t frame_len)
{
	m->partial = true;
	m->len = len;
	m->match.tag = tag;
	m->whole = (weft_buf){ .addr = m->data, .len = len };
	l->sink.bufs = &m->whole;
	l->sink.n = 1;
	l->sink.off = 0;
	l->sink.keep = frame_len;
	l->sink.owner = m;
	l->sink.end = sink_msg_end;
}

int wf_sink_eager(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h)
{
	struct wf_match_recv *r = wf_match_arrive(&ep->w->match, h->tag, ep);
	struct wf_msg *m;

	if (r) {
		struct wf_op *op = wf_container_of(r, struct wf_op, recv);

		wf_recv_bind(op, ep);
		op->state = RECV_SINK;
		op->ev_tag = h->tag;
		op->ev_len = h->len;
		l->sink = (struct wf_sink){ .bufs = op->bufs, .n = op->n, .keep = WF_MIN(h->len, op->len), .owner = op,
					    .end = sink_recv_end };
		return WEFT_OK;
	}
	if (!wf_msg_room(ep, h->len) || !(m = wf_msg_new(ep, WF_MSG_EAGER, h->len))) {
		wf_ep_stall(ep, l);
		return WEFT_AGAIN;
	}
	wf_sink_into_msg(l, m, h->tag, h->len, h->len);
	return WEFT_OK;
}

/* ---- messages that waited ---- */

void wf_msg_deliver(struct wf_msg *m, struct wf_op *op)
{
	struct weft_ep *ep = m->ep;

	wf_recv_bind(op, ep);
	if (m->lost) {
		int32_t status = ep->status ? ep->status : WEFT_ECANCELED;
		uint64_t tag = m->match.tag, len = m->len;

		wf_msg_free(m);
		wf_recv_finish(op, tag, len, status);
		return;
	}
	if (m->kind == WF_MSG_RNDV) {
		wf_rndv_receive(op, m);
		return;
	}
	wf_bufs_copy_in(op->bufs, op->n, 0, m->data, WF_MIN(m->len, op->len));
	if (m->sync)
		ack_sync(ep, m->peer_op);
	op->ev_tag = m->match.tag;
	op->ev_len = m->len;
	wf_msg_free(m);
	wf_recv_finish(op, op->ev_tag, op->ev_len, WEFT_OK);
}

/* A message of the unexpected goes to the receive that is being posted: without an operation when it is all here. */
static int recv_waiting(struct weft_worker *w, struct wf_msg *m, const weft_buf *b, size_t n, uint64_t len, uint64_t tag,
			uint64_t mask, weft_call *call)
{
	struct weft_ep *ep = m->ep;
	struct wf_op *op;
	int ret;

	if (m->kind == WF_MSG_EAGER && !m->lost) {
		uint64_t full = m->len, got = WF_MIN(full, len), sent_tag = m->match.tag;

		wf_bufs_copy_in(b, n, 0, m->data, got);
		if (m->sync)
			ack_sync(ep, m->peer_op);
		ep->n_rx_msgs++;
		ret = wf_answer_now(w, ep, call, "recv", full > len ? WEFT_ETRUNCATED : WEFT_OK, sent_tag, full, got);
		wf_msg_free(m);
		return ret;
	}
	op = wf_op_new(w, NULL, &wf_kind_recv, call);
	if (!op)
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	op->from_probe = m->taken;
	if (m->matchable)
		wf_match_remove(&w->match, &m->match);
	m->matchable = false;
	m->taken = false;
	op->recv.tag = tag;
	op->recv.mask = mask;
	op->recv.from = call ? call->from : NULL;
	op->recv.seq = w->match.next_recv++;
	wf_msg_deliver(m, op);
	return wf_op_answer(op, call);
}

/* Needs the receive no more than its buffer? */
static inline bool is_plain(const struct weft_worker *w, const weft_buf *b, size_t n, const weft_call *call)
{
	return n == 1 && !b->mem && !(call && (call->flags || call->deadline_ns)) && !wf_is_traced(w->ctx);
}

static int recv_post(struct weft_worker *w, const weft_buf *b, size_t n, uint64_t len, uint64_t tag, uint64_t mask,
		     weft_ep *from, weft_call *call)
{
	struct wf_op *op;
	int ret;

	if (wf_likely(is_plain(w, b, n, call)) && wf_recv_post_plain(w, b, tag, mask, from, call) == WEFT_PENDING)
		return WEFT_PENDING;
	op = wf_op_new(w, from, &wf_kind_recv, call);
	if (wf_unlikely(!op))
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (wf_unlikely(ret)) {
		wf_op_drop(op);
		return ret;
	}
	op->state = RECV_POSTED;
	op->tag = tag;
	op->recv.tag = tag;
	op->recv.mask = mask;
	op->recv.from = from;
	op->recv.seq = w->match.next_recv++;
	if (from)
		wf_list_push_back(&from->rx_ops, &op->link);
	wf_match_post(&w->match, &op->recv);
	return wf_op_answer(op, call);
}

static int check_from(struct weft_worker *w, weft_ep *from)
{
	if (from->w != w)
		return wf_fail(WEFT_EINVAL, 0, "call.from", NULL, "the endpoint belongs to another worker");
	if (from->state == WF_EP_GONE || from->released)
		return wf_fail(WEFT_ECLOSED, 0, "call.from", NULL, "the endpoint was closed on this side");
	return 0;
}

int weft_recv(weft_worker *w, const weft_buf *b, size_t n, uint64_t tag, uint64_t mask, weft_call *call)
{
	weft_ep *from = call ? call->from : NULL;
	struct wf_match_msg *mm;
	uint64_t len;
	int ret = wf_enter(w);

	if (wf_unlikely(ret))
		return ret;
	ret = wf_call_check(call);
	if (!ret)
		ret = wf_bufs_check(b, n, &len);
	if (!ret && from)
		ret = check_from(w, from);
	if (wf_likely(!ret)) {
		mm = wf_match_find(&w->match, tag, mask, from);
		if (mm)
			ret = recv_waiting(w, wf_container_of(mm, struct wf_msg, match), b, n, len, tag, mask, call);
		else if (!from || !(ret = wf_ep_check(from)))
			ret = recv_post(w, b, n, len, tag, mask, from, call);
	}
	wf_leave(w);
	return ret;
}

static void describe(const struct wf_msg *m, weft_call *call)
{
	weft_event *e = &call->event;

	memset(e, 0, sizeof(*e));
	e->size = sizeof(*e);
	e->kind = WEFT_EV_OP;
	e->user_data = call->user_data;
	e->path = wf_ep_path(m->ep);
	e->ep = m->ep;
	e->tag = m->match.tag;
	e->len = m->len;
}

int weft_probe(weft_worker *w, uint64_t tag, uint64_t mask, weft_call *call, weft_message **take)
{
	struct wf_match_msg *mm;
	struct wf_msg *m;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = call ? wf_call_check(call) : wf_fail(WEFT_EINVAL, 0, "weft_probe", NULL, "call is NULL");
	if (!ret && call->from)
		ret = check_from(w, call->from);
	if (ret) {
		wf_leave(w);
		return ret;
	}
	mm = wf_match_find(&w->match, tag, mask, call->from);
	if (!mm) {
		wf_worker_turn(w);
		mm = wf_match_find(&w->match, tag, mask, call->from);
	}
	if (mm) {
		m = wf_container_of(mm, struct wf_msg, match);
		describe(m, call);
		if (take) {
			wf_match_remove(&w->match, mm);
			m->matchable = false;
			m->taken = true;
			*take = (weft_message *)m;
		}
	}
	wf_leave(w);
	return mm ? WEFT_OK : WEFT_AGAIN;
}

int weft_recv_message(weft_message *message, const weft_buf *b, size_t n, weft_call *call)
{
	struct wf_msg *m = &message->m;
	struct weft_worker *w = m->ep->w;
	uint64_t len;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = wf_call_check(call);
	if (!ret)
		ret = wf_bufs_check(b, n, &len);
	if (!ret && (!wf_pool_is_used(m) || !m->taken || m->am))
		ret = wf_fail(WEFT_ESTALE, 0, "message", NULL, "it was received already");
	if (!ret)
		ret = recv_waiting(w, m, b, n, len, m->match.tag, UINT64_MAX, call);
	wf_leave(w);
	return ret;
}

/* The worker ends: receives from any endpoint end with it. */
void wf_recv_drop_all(struct weft_worker *w)
{
	struct wf_match_recv *r;
	size_t cursor = 0;

	while ((r = wf_match_take_any(&w->match, &cursor)))
		wf_op_done(wf_container_of(r, struct wf_op, recv), WEFT_EABORTED);
}
