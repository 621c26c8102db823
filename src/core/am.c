/* SPDX-License-Identifier: BSD-3-Clause
 *
 * am.c - active messages: a header that arrives whole with the event, and a payload that is fetched when wanted. The
 * message stays until its event is released; with a bound handler the event lives as long as the handler runs.
 */
#include <string.h>

#include "core/internal.h"
#include "core/states.h"

#define NOW_MAX (32u << 10)

struct handler {
	weft_am_fn fn;
	void *arg;
};

/* ---- sending ---- */

static void am_send_cancel(struct wf_op *op)
{
	if (op->state == SEND_QUEUED)
		wf_op_done(op, op->stop);
	else
		wf_rndv_cancel_send(op);
}

const struct wf_kind wf_kind_am_send = { "am_send", am_send_cancel };

static struct wf_tx am_frame(uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, uint64_t len)
{
	return (struct wf_tx){
		.h = { .type = WF_FR_AM, .aux = (uint16_t)header_len, .id = id, .len = (uint32_t)(header_len + len) },
		.pre = header, .pre_len = header_len, .bufs = b, .n = n, .len = len,
	};
}

static int am_push(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);
	struct wf_tx tx;

	if (op->len + op->am.header_len > ep->msg->eager_max || ep->pressure || op->flags & WEFT_SYNC)
		return wf_rndv_offer(op);
	tx = am_frame(op->am.id, op->am.header, op->am.header_len, op->bufs, op->n, op->len);
	if (wf_op_tx(op, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	wf_ep_unqueue(op);
	op->state = SEND_LENT;
	ep->n_eager++;
	if (op->inflight)
		op->all_sent = true;
	else
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

static void free_header(struct wf_op *op)
{
	wf_free(op->am.header);
	op->am.header = NULL;
}

static int am_send_slow(struct weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n,
			uint64_t len, weft_call *call)
{
	struct wf_op *op = wf_op_new(ep->w, ep, &wf_kind_am_send, call);
	int ret = 0;

	if (!op)
		return weft_last_error()->status;
	op->am.id = id;
	op->am.header_len = (uint32_t)header_len;
	op->am.header = NULL;
	op->cleanup = free_header;
	if (header_len) {
		op->am.header = wf_malloc(header_len);
		if (op->am.header)
			memcpy(op->am.header, header, header_len);
		else
			ret = wf_fail(WEFT_ENOMEM, 0, "am_send", NULL, "no memory to keep the header");
	}
	if (!ret)
		ret = wf_op_bufs(op, b, n, len);
	if (!ret && op->flags & WEFT_COPY)
		ret = wf_op_own(op);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	op->tag = id;
	op->ev_tag = id;
	op->ev_len = len;
	op->tx.push = am_push;
	op->state = SEND_QUEUED;
	wf_list_push_back(&ep->ops, &op->link);
	wf_ep_queue(ep, op);
	return wf_op_answer(op, call);
}

static int am_check(weft_ep *ep, const void *header, size_t header_len, const weft_buf *b, size_t n, const weft_call *call,
		    uint64_t *len)
{
	int ret = wf_call_check(call);

	if (!ret && (header_len > WF_AM_HEADER_MAX || (header_len && !header)))
		ret = wf_fail(WEFT_EINVAL, 0, "am_send", "put more into the payload", "a header of %zu bytes, the most is %u",
			      header_len, WF_AM_HEADER_MAX);
	if (!ret)
		ret = wf_bufs_check(b, n, len);
	if (!ret)
		ret = wf_ep_check(ep);
	return ret;
}

int weft_am_send(weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, weft_call *call)
{
	struct weft_worker *w = ep->w;
	struct wf_tx tx;
	uint64_t len;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = am_check(ep, header, header_len, b, n, call, &len);
	if (ret) {
		wf_leave(w);
		return ret;
	}
	ep->n_tx_msgs++;
	tx = am_frame(id, header, header_len, b, n, len);
	if (wf_ep_can_send(ep) && len <= NOW_MAX && len + header_len <= ep->msg->eager_max && !ep->pressure &&
	    !(call && call->flags & WEFT_SYNC) && wf_ep_tx(ep, &tx) == WEFT_OK) {
		ep->n_eager++;
		ret = wf_answer_now(w, ep, call, "am_send", WEFT_OK, id, len, 0);
	} else {
		ret = am_send_slow(ep, id, header, header_len, b, n, len, call);
	}
	wf_leave(w);
	return ret;
}

/* ---- arriving ---- */

static void fill(struct wf_msg *m, weft_event *out)
{
	out->size = sizeof(*out);
	out->kind = WEFT_EV_AM;
	out->path = wf_ep_path(m->ep);
	out->ep = m->ep;
	out->user_data = m->ep->user_data;
	out->op.v = wf_pool_handle(m);
	out->value = m->am_id;
	out->tag = m->am_id;
	out->len = m->len;
	out->data = m->header_len ? m->data : NULL;
	out->data_len = m->header_len;
}

static void take_am(struct wf_note *n, weft_event *out)
{
	fill(wf_container_of(n, struct wf_msg, note), out);
}

static void arrived(struct wf_msg *m)
{
	struct weft_worker *w = m->ep->w;
	struct handler *hd = wf_map_count(&w->am_handlers) ? wf_map_find(&w->am_handlers, m->am_id) : NULL;

	m->taken = true;
	m->note.take = take_am;
	m->ep->n_rx_msgs++;
	if (hd) {
		weft_event e = { 0 };

		fill(m, &e);
		hd->fn(hd->arg, w, &e);
		weft_event_release(w, &e);
	} else {
		wf_worker_note(w, &m->note);
		wf_msg_pressure(w);
	}
}

int wf_in_am(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	bool rts_first = h->type == WF_FR_AM_RTS;
	struct wf_rts rts = { .len = h->len - (rts_first ? 0 : h->aux) };
	size_t fixed = rts_first ? sizeof(rts) : 0, keep = h->len - fixed;
	struct wf_msg *m;

	if (rts_first) {
		memcpy(&rts, p, sizeof(rts));
		if (rts.len > WF_MSG_MAX || rts.desc_len > WF_DESC_MAX || fixed + h->aux + rts.desc_len != h->len)
			return WEFT_EPROTO;
	}
	if (!wf_msg_room(ep, keep) || !(m = wf_msg_new(ep, rts_first ? WF_MSG_RNDV : WF_MSG_EAGER, keep ? keep : 1)))
		return WEFT_AGAIN;
	memcpy(m->data, p + fixed, keep);
	m->am = true;
	m->am_id = rts_first ? (uint32_t)h->tag : h->id;
	m->match.tag = m->am_id;
	m->header_len = h->aux;
	m->len = rts.len;
	m->desc_len = rts.desc_len;
	m->peer_op = h->id;
	m->peer_gen = rts.gen;
	arrived(m);
	return 0;
}

/* ---- receiving the payload, letting go ---- */

static void am_recv_cancel(struct wf_op *op)
{
	wf_rndv_cancel_recv(op);
}

const struct wf_kind wf_kind_am_recv = { "am_recv", am_recv_cancel };

static int recv_rndv(struct weft_worker *w, struct wf_msg *m, const weft_buf *b, size_t n, uint64_t len, weft_call *call)
{
	struct wf_op *op = wf_op_new(w, NULL, &wf_kind_am_recv, call);
	int ret;

	if (!op)
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	op->from_probe = true;
	op->tag = m->am_id;
	m->receiving = true;
	wf_recv_bind(op, m->ep);
	wf_rndv_receive(op, m);
	return wf_op_answer(op, call);
}

static int am_recv(struct weft_worker *w, weft_event *am, const weft_buf *b, size_t n, uint64_t len, weft_call *call)
{
	struct wf_msg *m = am->kind == WEFT_EV_AM ? wf_pool_find(&w->msgs, am->op.v) : NULL;
	uint64_t got;

	if (!m || m->receiving || m->received || m->released)
		return wf_fail(WEFT_ESTALE, 0, "am_recv", NULL, "not an active message whose payload is still to be received");
	if (m->lost)
		return wf_answer_now(w, m->ep, call, "am_recv", m->ep->status ? m->ep->status : WEFT_ECANCELED, m->am_id, m->len, 0);
	if (m->kind == WF_MSG_RNDV)
		return recv_rndv(w, m, b, n, len, call);
	got = WF_MIN(m->len, len);
	wf_bufs_copy_in(b, n, 0, m->data + m->header_len, got);
	m->received = true;
	return wf_answer_now(w, m->ep, call, "am_recv", m->len > len ? WEFT_ETRUNCATED : WEFT_OK, m->am_id, m->len, got);
}

int weft_am_recv(weft_worker *w, weft_event *am, const weft_buf *b, size_t n, weft_call *call)
{
	uint64_t len;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = am ? wf_call_check(call) : wf_fail(WEFT_EINVAL, 0, "am_recv", NULL, "am is NULL");
	if (!ret)
		ret = wf_bufs_check(b, n, &len);
	if (!ret)
		ret = am_recv(w, am, b, n, len, call);
	wf_leave(w);
	return ret;
}

static void let_go(struct wf_msg *m)
{
	if (m->kind == WF_MSG_RNDV && !m->received && !m->lost)
		wf_rndv_refuse(m);
	wf_msg_free(m);
}

void wf_am_end_receive(struct wf_msg *m, bool received)
{
	m->receiving = false;
	m->received = received;
	if (m->released)
		let_go(m);
}

void wf_am_release(struct weft_worker *w, weft_event *e)
{
	struct wf_msg *m = wf_pool_find(&w->msgs, e->op.v);

	if (!m || m->released)
		return;
	m->released = true;
	if (!m->receiving)
		let_go(m);
}

int weft_am_bind(weft_worker *w, uint32_t id, weft_am_fn fn, void *arg)
{
	struct handler *hd, *old;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	old = wf_map_remove(&w->am_handlers, id);
	wf_free(old);
	if (fn) {
		hd = wf_malloc(sizeof(*hd));
		if (hd)
			*hd = (struct handler){ fn, arg };
		if (!hd || wf_map_insert(&w->am_handlers, id, hd)) {
			wf_free(hd);
			ret = wf_fail(WEFT_ENOMEM, 0, "am_bind", NULL, "no memory");
		}
	}
	wf_leave(w);
	return ret;
}

void wf_am_unbind_all(struct weft_worker *w)
{
	const struct wf_map_row *row;
	size_t at = 0;

	while ((row = wf_map_next(&w->am_handlers, &at)))
		wf_free(row->value);
	wf_map_fini(&w->am_handlers);
}
