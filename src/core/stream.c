/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stream.c - the byte stream of an endpoint. Bytes that no receive is waiting for are kept, at most a window of them: the
 * sender may send up to the absolute count that the last CREDIT named (WF_STREAM_FIRST before the first), and the receiver
 * names a new one whenever half a window was consumed. Made on first use: an endpoint without a stream pays a pointer.
 */
#include <string.h>

#include "core/internal.h"

#define PIECE_MAX (64u << 10)

struct chunk {                   /* bytes that wait */
	struct wf_list link;
	size_t len, off;
	uint8_t data[];
};

struct wf_stream {
	struct wf_list recvs;    /* posted, in order */
	struct wf_list chunks;
	uint64_t waiting;        /* bytes in chunks */
	uint64_t sent, may_send; /* absolute */
	uint64_t arrived, consumed, told;
	struct wf_note note;
	struct weft_ep *ep;
};

static void take_note(struct wf_note *n, weft_event *out)
{
	struct wf_stream *s = wf_container_of(n, struct wf_stream, note);

	out->kind = WEFT_EV_STREAM;
	out->ep = s->ep;
	out->user_data = s->ep->user_data;
	out->len = s->waiting;
	out->path = wf_ep_path(s->ep);
}

static struct wf_stream *stream_of(struct weft_ep *ep)
{
	struct wf_stream *s = ep->stream;

	if (s)
		return s;
	s = wf_calloc(1, sizeof(*s));
	if (!s) {
		wf_fail(WEFT_ENOMEM, 0, "stream", NULL, "no memory");
		return NULL;
	}
	wf_list_init(&s->recvs);
	wf_list_init(&s->chunks);
	wf_list_init(&s->note.link);
	s->note.take = take_note;
	s->ep = ep;
	s->may_send = WF_STREAM_FIRST;
	s->told = WF_STREAM_FIRST;
	ep->stream = s;
	return s;
}

/* ---- sending ---- */

static void stream_send_cancel(struct wf_op *op)
{
	if (op->off == 0 || !op->queued) {
		if (op->queued)
			wf_op_done(op, op->stop);
		return;          /* all of it is under way */
	}
	op->ev_len = op->off;    /* a part is under way: the event says how much */
	wf_op_done(op, op->stop);
}

static const struct wf_kind kind_stream_send = { "stream_send", stream_send_cancel };

static int stream_push(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);
	struct wf_stream *s = ep->stream;
	uint64_t room = s->may_send - s->sent;
	uint64_t len = WF_MIN(WF_MIN(op->len - op->off, room), WF_MIN(ep->msg->frame_max, PIECE_MAX));
	struct wf_tx tx = {
		.h = { .type = WF_FR_STREAM, .len = (uint32_t)len },
		.bufs = op->bufs, .n = op->n, .off = op->off, .len = len,
	};

	if (!len && op->len)
		return WEFT_AGAIN;       /* waits for CREDIT */
	if (len && wf_op_tx(op, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	op->off += len;
	s->sent += len;
	if (op->off < op->len)
		return WEFT_PENDING;
	wf_ep_unqueue(op);
	op->ev_len = op->len;
	op->all_sent = true;
	if (!op->inflight)
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

static int post_checks(const weft_buf *b, size_t n, const weft_call *call, uint64_t *len)
{
	int ret = wf_call_check(call);

	return ret ? ret : wf_bufs_check(b, n, len);
}

static int stream_send(weft_ep *ep, const weft_buf *b, size_t n, uint64_t len, weft_call *call)
{
	struct wf_op *op;
	int ret;

	if (!stream_of(ep))
		return WEFT_ENOMEM;
	op = wf_op_new(ep->w, ep, &kind_stream_send, call);
	if (!op)
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (!ret && op->flags & WEFT_COPY)
		ret = wf_op_own(op);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	op->tx.push = stream_push;
	wf_list_push_back(&ep->ops, &op->link);
	op->queued = true;
	wf_list_push_back(&ep->streamq, &op->tx.link);
	wf_ep_kick(ep);
	return wf_op_answer(op, call);
}

int weft_stream_send(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call)
{
	uint64_t len;
	int ret = wf_enter(ep->w);

	if (ret)
		return ret;
	ret = post_checks(b, n, call, &len);
	if (!ret)
		ret = wf_ep_check(ep);
	if (!ret)
		ret = stream_send(ep, b, n, len, call);
	wf_leave(ep->w);
	return ret;
}

/* ---- receiving ---- */

static void finish(struct wf_op *op, int32_t status)
{
	op->ev_len = op->off;
	wf_op_done(op, status);
}

static void stream_recv_cancel(struct wf_op *op)
{
	wf_list_remove(&op->tx.link);
	finish(op, op->stop);    /* with WEFT_ALL a part may be there: the event says how much */
}

static const struct wf_kind kind_stream_recv = { "stream_recv", stream_recv_cancel };

static void consumed(struct weft_ep *ep, uint64_t n)
{
	struct wf_stream *s = ep->stream;
	uint64_t window = WF_MAX(ep->w->ctx->conf.stream_window, WF_STREAM_FIRST);

	s->consumed += n;
	if (s->told - s->consumed <= window / 2) {
		s->told = s->consumed + window;
		wf_ep_ctl(ep, WF_FR_CREDIT, 0, 0, 0, s->told, NULL, 0);
	}
}

static size_t from_chunks(struct wf_stream *s, struct wf_op *op)
{
	size_t total = 0;

	while (op->off < op->len && !wf_list_is_empty(&s->chunks)) {
		struct chunk *c = wf_list_entry(wf_list_first(&s->chunks), struct chunk, link);
		size_t k = WF_MIN(c->len - c->off, op->len - op->off);

		wf_bufs_copy_in(op->bufs, op->n, op->off, c->data + c->off, k);
		c->off += k;
		op->off += k;
		s->waiting -= k;
		total += k;
		if (c->off == c->len) {
			s->ep->w->unexpected -= c->len;
			wf_list_remove(&c->link);
			wf_free(c);
		}
	}
	return total;
}

static bool is_full(const struct wf_op *op)
{
	return op->off == op->len || (op->off && !(op->flags & WEFT_ALL));
}

static int stream_recv(weft_ep *ep, const weft_buf *b, size_t n, uint64_t len, weft_call *call)
{
	struct wf_stream *s = stream_of(ep);
	struct wf_op *op;
	size_t got = 0;
	int ret;

	if (!s)
		return WEFT_ENOMEM;
	if (!s->waiting && (ret = wf_ep_check(ep)))
		return ret;
	op = wf_op_new(ep->w, ep, &kind_stream_recv, call);
	if (!op)
		return weft_last_error()->status;
	ret = wf_op_bufs(op, b, n, len);
	if (ret) {
		wf_op_drop(op);
		return ret;
	}
	if (wf_list_is_empty(&s->recvs))
		got = from_chunks(s, op);
	if (is_full(op)) {
		finish(op, WEFT_OK);
	} else if (ep->state == WF_EP_DOWN) {
		finish(op, ep->status);
	} else {
		wf_list_push_back(&ep->rx_ops, &op->link);
		wf_list_push_back(&s->recvs, &op->tx.link);
	}
	if (got)
		consumed(ep, got);
	return wf_op_answer(op, call);
}

int weft_stream_recv(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call)
{
	uint64_t len;
	int ret = wf_enter(ep->w);

	if (ret)
		return ret;
	ret = post_checks(b, n, call, &len);
	if (!ret && (ep->state == WF_EP_GONE || ep->released))
		ret = wf_ep_check(ep);
	if (!ret)
		ret = stream_recv(ep, b, n, len, call);
	wf_leave(ep->w);
	return ret;
}

static bool keep(struct wf_stream *s, const uint8_t *p, size_t len)
{
	struct chunk *c = wf_malloc(sizeof(*c) + len);

	if (!c)
		return false;
	wf_list_init(&c->link);
	c->len = len;
	c->off = 0;
	memcpy(c->data, p, len);
	wf_list_push_back(&s->chunks, &c->link);
	s->waiting += len;
	s->ep->w->unexpected += len;
	return true;
}

/* How many bytes the posted receives would take at once; counting stops at @enough. */
static size_t wanted(const struct wf_stream *s, size_t enough)
{
	const struct wf_list *it = s->recvs.next;
	size_t total = 0;

	for (; it != &s->recvs && total < enough; it = it->next) {
		const struct wf_op *op = wf_list_entry(it, struct wf_op, tx.link);

		total += op->len - op->off;
	}
	return WF_MIN(total, enough);
}

/* Bytes for the receives that are posted, as many as they take. */
static size_t to_recvs(struct wf_stream *s, const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len && !wf_list_is_empty(&s->recvs)) {
		struct wf_op *op = wf_list_entry(wf_list_first(&s->recvs), struct wf_op, tx.link);
		size_t k = WF_MIN(len - at, op->len - op->off);

		wf_bufs_copy_in(op->bufs, op->n, op->off, p + at, k);
		op->off += k;
		at += k;
		if (is_full(op)) {
			wf_list_remove(&op->tx.link);
			finish(op, WEFT_OK);
		}
	}
	return at;
}

int wf_in_stream(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_stream *s = stream_of(ep);
	size_t direct;

	if (!s)
		return WEFT_AGAIN;
	if (s->arrived + h->len > s->told)
		return WEFT_EPROTO;      /* more than the credit */
	direct = s->waiting ? 0 : wanted(s, h->len);
	if (direct < h->len && !keep(s, p + direct, h->len - direct))
		return WEFT_AGAIN;       /* before anything was taken: it is offered again whole */
	s->arrived += h->len;
	if (direct) {
		to_recvs(s, p, direct);
		consumed(ep, direct);
	}
	if (direct < h->len && ep->flags & WEFT_WANT_STREAM && !wf_list_is_linked(&s->note.link))
		wf_worker_note(ep->w, &s->note);
	return 0;
}

int wf_in_credit(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_stream *s = stream_of(ep);

	if (!s)
		return WEFT_AGAIN;
	if (h->tag < s->may_send)
		return WEFT_EPROTO;
	s->may_send = h->tag;
	wf_ep_kick(ep);
	return 0;
}

/* ---- the end: bytes that wait can still be read ---- */

void wf_stream_end(struct weft_ep *ep, int32_t status)
{
	(void)status;            /* the posted receives were in rx_ops and have ended with it */
	while (ep->stream && wf_list_pop_front(&ep->stream->recvs))
		;                /* one by one: an operation in the pool is on no list */
}

void wf_stream_free(struct weft_ep *ep)
{
	struct wf_stream *s = ep->stream;
	struct wf_list *it;

	if (!s)
		return;
	wf_worker_unnote(ep->w, &s->note);
	while ((it = wf_list_pop_front(&s->chunks))) {
		struct chunk *c = wf_list_entry(it, struct chunk, link);

		ep->w->unexpected -= c->len;
		wf_free(c);
	}
	wf_free(s);
	ep->stream = NULL;
}
