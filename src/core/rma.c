/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rma.c - one-sided operations, on the side that posts them. With memory that the transport reaches by itself they are done
 * when the call returns. Else they are frames: PUT (bytes given to the lane: done), GET and ATOMIC (done with the answer).
 * A remote is opened by asking the peer; until it has answered, the first frame operation on it holds the ordered queue.
 */
#include <string.h>

#include "core/internal.h"
#include "core/rma.h"

enum { RMA_QUEUED, RMA_LENT, RMA_ASKED, RMA_STARTED };

/* ---- remotes ---- */

int weft_remote_open(weft_ep *ep, const void *token, size_t token_len, weft_remote **out)
{
	struct weft_worker *w = ep->w;
	struct weft_remote *r;
	struct wf_token t;
	const char *what;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	what = token && out ? wf_token_decode(token, token_len, &t) : "NULL argument";
	ret = what ? wf_fail(WEFT_EINVAL, 0, "token", "pass it as weft_grant_new() wrote it", "%s", what) : wf_ep_check(ep);
	r = ret ? NULL : wf_pool_get(&w->remotes);
	if (!ret && !r)
		ret = wf_fail(WEFT_ENOMEM, 0, "remote", NULL, "no memory");
	if (!ret) {
		memset(r, 0, sizeof(*r));
		r->ep = ep;
		r->len = t.len;
		r->access = t.access;
		ep->refs++;
		wf_list_push_back(&ep->remotes, &r->link);
		wf_ep_ctl(ep, WF_FR_OPEN, 0, 0, wf_wire_id(r), 0, token, token_len);
		*out = r;
	}
	wf_leave(w);
	return ret;
}

static void drop_direct(struct weft_remote *r)
{
	if (r->has_direct && r->direct.lane)
		r->direct.lane->tr->mem_close(r->direct.lane, &r->direct);
	r->has_direct = false;
}

/* Nothing of ours reaches the memory from here on. */
static void agree_to_revoke(struct weft_remote *r)
{
	drop_direct(r);
	wf_ep_ctl(r->ep, WF_FR_REVOKED, 0, 0, r->open_id, 0, NULL, 0);
}

static void free_if_unused(struct weft_remote *r)
{
	struct weft_ep *ep = r->ep;

	if (!r->closed || r->users || r->state == WF_REMOTE_OPENING)
		return;
	drop_direct(r);
	if (r->state == WF_REMOTE_OPEN)
		wf_ep_ctl(ep, WF_FR_CLOSE_REMOTE, 0, 0, r->open_id, 0, NULL, 0);
	wf_list_remove(&r->link);
	wf_pool_put(&ep->w->remotes, r);
	ep->refs--;
	wf_ep_free_if_gone(ep);
}

void weft_remote_close(weft_remote *r)
{
	struct weft_worker *w;

	if (!r)
		return;
	w = r->ep->w;
	if (wf_enter(w))
		return;
	if (wf_pool_is_used(r) && !r->closed) {
		r->closed = true;
		free_if_unused(r);
	}
	wf_leave(w);
}

/* ---- operations ---- */

static void rma_cancel(struct wf_op *op)
{
	/* A get or atomic that was asked for may be cancelled too: its answer finds nothing and is thrown away. A frame that
	 * is being read into the buffers at this moment is finished first, and so is what the transport has started. */
	if (op->state == RMA_LENT || op->state == RMA_STARTED)
		return;
	if (op->ep->msg && op->ep->msg->sink.owner == op)
		op->ep->msg->sink.keep = 0;
	wf_op_done(op, op->stop);
}

static const struct wf_kind kind_put = { "put", rma_cancel };
static const struct wf_kind kind_get = { "get", rma_cancel };
static const struct wf_kind kind_atomic = { "atomic", rma_cancel };

static void release_remote(struct wf_op *op)
{
	struct weft_remote *r = op->rma.remote;

	if (op->rma.unordered && !--op->ep->unordered)
		wf_ep_kick(op->ep);      /* a fence may have waited for it */
	r->users--;
	free_if_unused(r);
}

/* The remote's answer: OK, WEFT_AGAIN as long as it has none, or why it cannot be used. */
static int remote_status(const struct weft_remote *r)
{
	if (r->state == WF_REMOTE_OPENING)
		return WEFT_AGAIN;
	return r->state == WF_REMOTE_OPEN ? WEFT_OK : r->status;
}

static void count_unordered(struct wf_op *op)
{
	op->rma.unordered = true;
	op->ep->unordered++;
}

/* May the transport reach the memory by itself, as far as core knows? A fence's FLUSH keeps it from overtaking frames. */
static bool is_direct(const struct weft_ep *ep, const struct weft_remote *r)
{
	return r->has_direct && r->direct.ready && !ep->fences && ep->state == WF_EP_READY && !ep->dying;
}

static void send_signal(struct wf_op *op)
{
	if (op->rma.what == RMA_SIGNAL && op->kind == &kind_put)
		wf_ep_ctl(op->ep, WF_FR_SIGNAL, 0, 0, op->rma.remote->open_id, op->rma.operand, NULL, 0);
}

/* Gives a whole operation to the transport: WEFT_PENDING, WEFT_AGAIN, or WEFT_ENOTSUP: by frames. */
static int start_direct(struct weft_ep *ep, struct wf_op *op)
{
	struct weft_remote *r = op->rma.remote;
	struct wf_lane *l = ep->msg;
	struct wf_rma *x;
	int ret;

	if (!l->tr->rma_start || op->off || !op->rma.may_start || !is_direct(ep, r))
		return WEFT_ENOTSUP;
	x = wf_pool_get(&ep->w->rmas);
	if (!x)
		return WEFT_ENOTSUP;
	*x = (struct wf_rma){
		.direct = &r->direct, .off = op->rma.offset, .bufs = op->bufs, .n = op->n, .len = op->len,
		.region = wf_bufs_region(op->bufs, op->n), .amo = op->rma.what, .operand = op->rma.operand,
		.compare = op->rma.compare, .owner = op,
		.what = op->kind == &kind_get ? WF_RMA_GET : op->kind == &kind_put ? WF_RMA_PUT : WF_RMA_ATOMIC,
	};
	wf_list_init(&x->link);
	ret = l->tr->rma_start(l, x);
	if (ret != WEFT_PENDING) {
		wf_pool_put(&ep->w->rmas, x);
		ep->blocked = ep->blocked || ret == WEFT_AGAIN;
		op->rma.may_start = ret == WEFT_AGAIN;
		return ret == WEFT_AGAIN ? ret : WEFT_ENOTSUP;
	}
	wf_ep_unqueue(op);
	r->started++;
	op->peer_op = l->tx_seq;         /* the frame that follows it */
	op->direct = x;
	op->state = RMA_STARTED;
	if (!x->ordered)
		count_unordered(op);
	/* on a lane that may be replaced the signal could be sent again, and not the bytes before it */
	op->rma.signal_due = !x->ordered || l->tr->replay;
	if (!op->rma.signal_due)
		send_signal(op);
	return WEFT_PENDING;
}

/* A put or get does no harm when it is done twice. A signal goes behind its put, so that none of both may be lost alone. */
static void again_by_frames(struct wf_op *op)
{
	struct weft_ep *ep = op->ep;
	bool ordered = op->kind == &kind_put && !op->rma.unordered;

	if (op->rma.unordered) {
		op->rma.unordered = false;
		ep->unordered--;
	}
	if (op->stop) {
		wf_op_done(op, op->stop);
		return;
	}
	op->rma.may_start = false;
	op->state = RMA_QUEUED;
	op->queued = true;
	/* not behind a fence that came after it; an ordered one not behind frames that are sent again, either: they were behind it, and if
	 * one of them came, so has the put (end_done_puts()) */
	if (ordered)
		wf_list_push_back(&ep->redo, &op->tx.link);
	else
		wf_list_push_front(&ep->txq, &op->tx.link);
}

void wf_rma_done(struct wf_rma *x, int32_t status)
{
	struct wf_op *op = x->owner;
	struct weft_remote *r = op->rma.remote;

	op->ev_value = x->old;
	op->direct = NULL;
	wf_pool_put(&op->w->rmas, x);
	r->started--;
	if (op->ep->dying)               /* the burial waits for this and completes the operation */
		return;
	if (op->rma.signal_due && !status)
		send_signal(op);         /* before the owner forgets what it names */
	if (!r->started && r->state == WF_REMOTE_FAILED)
		agree_to_revoke(r);
	if (status == WEFT_AGAIN) {      /* its lane broke: once more, by frames */
		again_by_frames(op);
		return;
	}
	op->ep->n_direct++;
	wf_op_done(op, status);
}

void wf_rma_was_done(struct wf_op *put)
{
	if (put->rma.signal_due)
		send_signal(put);
	wf_op_done(put, WEFT_OK);
}

static int push_put(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);
	struct weft_remote *r = op->rma.remote;
	uint64_t len = WF_MIN(WF_MIN(op->len - op->off, ep->msg->frame_max), WF_BULK_CHUNK);
	bool last = op->off + len == op->len;
	int ret = remote_status(r);
	struct wf_tx tx = {
		.h = { .type = WF_FR_PUT, .flags = last ? WF_FF_LAST : 0, .id = r->open_id, .tag = op->rma.offset + op->off,
		       .len = (uint32_t)len },
		.bufs = op->bufs, .n = op->n, .off = op->off, .len = len,
	};

	if (ret < 0)
		wf_op_done(op, ret);
	if (ret)
		return ret < 0 ? WEFT_OK : WEFT_AGAIN;
	ret = start_direct(ep, op);
	if (ret != WEFT_ENOTSUP)
		return ret == WEFT_PENDING ? WEFT_OK : WEFT_AGAIN;
	if (wf_op_tx(op, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	op->off += len;
	if (!last)
		return WEFT_PENDING;
	wf_ep_unqueue(op);
	op->state = RMA_LENT;
	op->all_sent = true;
	send_signal(op);
	if (!op->inflight)
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

/* GET and ATOMIC: a question, and an answer that names the operation. */
static int push_ask(struct weft_ep *ep, struct wf_txitem *it)
{
	struct wf_op *op = wf_container_of(it, struct wf_op, tx);
	struct weft_remote *r = op->rma.remote;
	uint64_t handle = wf_pool_handle(op);
	struct wf_get get = { .len = op->len, .op = handle };
	struct wf_atomic amo = { .operand = op->rma.operand, .compare = op->rma.compare, .op = handle };
	bool is_get = op->kind == &kind_get;
	struct wf_tx tx = {
		.h = { .type = is_get ? WF_FR_GET : WF_FR_ATOMIC, .aux = is_get ? 0 : (uint16_t)op->rma.what, .id = r->open_id,
		       .tag = op->rma.offset },
		.pre = is_get ? (void *)&get : (void *)&amo, .pre_len = is_get ? sizeof(get) : sizeof(amo),
	};
	int ret = remote_status(r);

	if (ret < 0)
		wf_op_done(op, ret);
	if (ret)
		return ret < 0 ? WEFT_OK : WEFT_AGAIN;
	ret = start_direct(ep, op);
	if (ret != WEFT_ENOTSUP)
		return ret == WEFT_PENDING ? WEFT_OK : WEFT_AGAIN;
	tx.h.len = (uint32_t)tx.pre_len;
	if (wf_ep_tx(ep, &tx) == WEFT_AGAIN)
		return WEFT_AGAIN;
	wf_ep_unqueue(op);
	op->state = RMA_ASKED;
	if (is_get)
		count_unordered(op);
	if (is_get && !op->len)
		wf_op_done(op, WEFT_OK);
	return WEFT_OK;
}

/* What can be said without asking: 0, or the status the operation ends with. */
static int32_t foreseen(const struct wf_rma_post *p, uint64_t len)
{
	const struct weft_remote *r = p->remote;
	uint32_t need = p->what == RMA_GET ? WEFT_READ : p->what == RMA_ATOMIC ? WEFT_ATOMIC : WEFT_WRITE;

	if (r->state == WF_REMOTE_FAILED)
		return r->status;
	if (!(r->access & need))
		return WEFT_EACCESS;
	return p->offset > r->len || len > r->len - p->offset ? WEFT_EBOUNDS : 0;
}

/* Through mapped memory or into the peer's, at once; WEFT_AGAIN: by frames. */
static int try_direct(struct weft_ep *ep, const struct wf_rma_post *p, uint64_t len, uint64_t *old)
{
	struct weft_remote *r = p->remote;
	int ret;

	if (!is_direct(ep, r))
		return WEFT_AGAIN;
	if (p->what == RMA_ATOMIC)
		ret = !ep->msg->tr->atomic ? WEFT_AGAIN :
		      ep->msg->tr->atomic(ep->msg, &r->direct, p->amo, p->offset, p->operand, p->compare, old);
	else
		ret = !ep->msg->tr->rma ? WEFT_AGAIN : ep->msg->tr->rma(ep->msg, &r->direct, p->what == RMA_GET ? WF_RMA_GET : WF_RMA_PUT, p->offset, p->bufs,
				       p->n, len);
	if (ret != WEFT_OK)
		return WEFT_AGAIN;
	ep->n_direct++;
	if (p->what == RMA_SIGNAL)
		wf_ep_ctl(ep, WF_FR_SIGNAL, 0, 0, r->open_id, p->operand, NULL, 0);
	return WEFT_OK;
}

/* @copy: of a put, so that its buffers are free when the call returns. */
static struct wf_op *new_op(struct weft_ep *ep, const struct wf_rma_post *p, uint64_t len, const weft_call *call, bool copy,
			    int *ret)
{
	const struct wf_kind *kind = p->what == RMA_GET ? &kind_get : p->what == RMA_ATOMIC ? &kind_atomic : &kind_put;
	struct wf_op *op = wf_op_new(ep->w, ep, kind, call);

	if (!op) {
		*ret = weft_last_error()->status;
		return NULL;
	}
	*ret = wf_op_bufs(op, p->bufs, p->n, len);
	if (!*ret && copy && kind == &kind_put)
		*ret = wf_op_own(op);
	if (*ret) {
		wf_op_drop(op);
		return NULL;
	}
	op->rma.remote = p->remote;
	op->rma.unordered = false;
	op->rma.may_start = true;
	op->rma.offset = p->offset;
	op->rma.operand = p->operand;
	op->rma.compare = p->compare;
	op->rma.what = p->what == RMA_ATOMIC ? p->amo : (uint32_t)p->what;
	op->tx.push = kind == &kind_put ? push_put : push_ask;
	op->cleanup = release_remote;
	op->ev_len = len;
	p->remote->users++;
	wf_list_push_back(&ep->ops, &op->link);
	return op;
}

static int post(struct weft_ep *ep, const struct wf_rma_post *p, weft_call *call)
{
	static const char *const names[] = { "put", "get", "put_signal", "atomic" };
	uint64_t len, old = 0;
	struct wf_op *op;
	int32_t bad;
	int ret = wf_call_check(call);

	if (!ret && (!p->remote || p->remote->ep != ep || p->remote->closed))
		ret = wf_fail(WEFT_EINVAL, 0, names[p->what], NULL, "the remote is closed or belongs to another endpoint");
	if (!ret)
		ret = wf_bufs_check(p->bufs, p->n, &len);
	if (!ret)
		ret = wf_ep_check(ep);
	if (ret)
		return ret;
	bad = foreseen(p, p->what == RMA_ATOMIC ? wf_amo_size(p->amo) : len);
	if (bad || try_direct(ep, p, len, &old) == WEFT_OK)
		return wf_answer_now(ep->w, ep, call, names[p->what], bad, 0, len, old);
	op = new_op(ep, p, len, call, call && call->flags & WEFT_COPY, &ret);
	if (!op)
		return ret;
	wf_ep_queue(ep, op);
	return wf_op_answer(op, call);
}

static int enter_and_post(struct weft_ep *ep, const struct wf_rma_post *p, weft_call *call)
{
	int ret = wf_enter(ep->w);

	if (ret)
		return ret;
	ret = post(ep, p, call);
	wf_leave(ep->w);
	return ret;
}

int weft_put(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call)
{
	const struct wf_rma_post p = { .what = RMA_PUT, .bufs = b, .n = n, .remote = r, .offset = offset };

	return enter_and_post(ep, &p, call);
}

int weft_get(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call)
{
	const struct wf_rma_post p = { .what = RMA_GET, .bufs = b, .n = n, .remote = r, .offset = offset };

	return enter_and_post(ep, &p, call);
}

int weft_put_signal(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, uint64_t signal, weft_call *call)
{
	const struct wf_rma_post p = { .what = RMA_SIGNAL, .bufs = b, .n = n, .remote = r, .offset = offset, .operand = signal };

	return enter_and_post(ep, &p, call);
}

int weft_atomic(weft_ep *ep, uint32_t what, weft_remote *r, uint64_t offset, uint64_t operand, uint64_t compare, weft_call *call)
{
	const struct wf_rma_post p = { .what = RMA_ATOMIC, .amo = what, .remote = r, .offset = offset, .operand = operand,
				       .compare = compare };

	if (!wf_amo_is_known(what))
		return wf_fail(WEFT_EINVAL, 0, "atomic", NULL, "0x%x is none of WEFT_ATOMIC_*", what);
	return enter_and_post(ep, &p, call);
}

/* ---- batch: one completion for many ---- */

static const struct wf_kind kind_batch = { "rma_batch", wf_op_stop_parts };

static int32_t batch_part(struct weft_ep *ep, const weft_rma *v, struct wf_op *whole)
{
	const struct wf_rma_post p = { .what = v->is_get ? RMA_GET : RMA_PUT, .bufs = &v->local, .n = 1, .remote = v->remote,
				       .offset = v->offset };
	struct wf_op *op;
	uint64_t old;
	int32_t bad = foreseen(&p, v->local.len);
	int ret;

	if (bad || try_direct(ep, &p, v->local.len, &old) == WEFT_OK)
		return bad;
	op = new_op(ep, &p, v->local.len, NULL, whole->flags & WEFT_COPY, &ret);
	if (!op)
		return ret;
	op->posting = false;
	op->on_end = wf_op_part_ended;
	op->rma.parent = whole;
	whole->children++;
	wf_ep_queue(ep, op);
	return 0;
}

static int check_batch(struct weft_ep *ep, const weft_rma *v, size_t n, const weft_call *call)
{
	uint64_t len;
	int ret = wf_call_check(call);

	if (!ret && n && !v)
		ret = wf_fail(WEFT_EINVAL, 0, "rma_batch", NULL, "NULL array");
	for (size_t i = 0; !ret && i < n; i++) {
		ret = wf_bufs_check(&v[i].local, 1, &len);
		if (!ret && (!v[i].remote || v[i].remote->ep != ep || v[i].remote->closed))
			ret = wf_fail(WEFT_EINVAL, 0, "rma_batch", NULL, "entry %zu: the remote is closed or of another endpoint", i);
	}
	return ret ? ret : wf_ep_check(ep);
}

int weft_rma_batch(weft_ep *ep, const weft_rma *v, size_t n, weft_call *call)
{
	struct wf_op *whole;
	int ret = wf_enter(ep->w);

	if (ret)
		return ret;
	ret = check_batch(ep, v, n, call);
	whole = ret ? NULL : wf_op_new(ep->w, ep, &kind_batch, call);
	if (!whole) {
		wf_leave(ep->w);
		return ret ? ret : weft_last_error()->status;
	}
	whole->children = 1;
	for (size_t i = 0; i < n; i++) {
		int32_t bad = batch_part(ep, &v[i], whole);

		if (bad && !whole->status)
			whole->status = bad;
	}
	if (--whole->children == 0)
		wf_op_done(whole, whole->status);
	ret = wf_op_answer(whole, call);
	wf_leave(ep->w);
	return ret;
}

/* ---- the peer's answers ---- */

static void take_desc(struct weft_remote *r, const uint8_t *desc, size_t len)
{
	struct wf_lane *l = r->ep->msg;

	r->direct = (struct wf_direct){ .lane = l, .desc_len = (uint32_t)len, .len = r->len, .access = r->access };
	memcpy(r->direct.desc, desc, len);
	r->has_direct = len && l->tr->mem_open && l->tr->mem_open(l, &r->direct) == WEFT_OK;
}

/* Once more, with how it is reached over a lane that was made again; the remote may have been closed or revoked meanwhile. */
static int opened_again(struct weft_ep *ep, struct weft_remote *r, const struct wf_opened *o, const uint8_t *desc, size_t len)
{
	if (!ep->n_renewed)
		return WEFT_EPROTO;
	if (r && r->ep == ep && r->state == WF_REMOTE_OPEN && r->open_id == o->open && !r->has_direct)
		take_desc(r, desc, len);
	return 0;
}

static int in_opened(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct weft_remote *r = wf_by_wire_id(&ep->w->remotes, h->id);
	struct wf_opened o;
	size_t desc_len = h->len - sizeof(o);

	if (desc_len > WF_DESC_MAX)
		return WEFT_EPROTO;
	memcpy(&o, p, sizeof(o));
	if (!r || r->ep != ep || r->state != WF_REMOTE_OPENING)
		return opened_again(ep, r, &o, p + sizeof(o), desc_len);
	r->state = h->aux ? WF_REMOTE_FAILED : WF_REMOTE_OPEN;
	r->status = wf_foreign_status(h->aux);
	r->open_id = o.open;
	if (!h->aux) {
		r->len = o.len;
		r->access = o.access;
		take_desc(r, p + sizeof(o), desc_len);
	}
	free_if_unused(r);
	wf_ep_kick(ep);
	return 0;
}

static struct wf_op *find_asked(struct weft_ep *ep, uint64_t handle, const struct wf_kind *kind)
{
	struct wf_op *op = wf_pool_find(&ep->w->ops, handle);

	return op && op->ep == ep && op->kind == kind && !op->done && op->state == RMA_ASKED ? op : NULL;
}

static void got(struct wf_op *op, uint32_t len)
{
	op->off += len;
	if (op->off == op->len)
		wf_op_done(op, WEFT_OK);
}

static int in_got(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_op *op = find_asked(ep, h->tag, &kind_get);

	if (!op)
		return 0;                /* cancelled meanwhile */
	if (h->len > op->len - op->off)
		return WEFT_EPROTO;
	wf_bufs_copy_in(op->bufs, op->n, op->off, p, h->len);
	got(op, h->len);
	return 0;
}

static void sink_got_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	struct weft_ep *ep = l->owner;
	struct wf_op *op = ep ? find_asked(ep, h->tag, &kind_get) : NULL;

	(void)s;
	if (op)
		got(op, h->len);
}

int wf_sink_got(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h)
{
	struct wf_op *op = find_asked(ep, h->tag, &kind_get);

	if (op && h->len > op->len - op->off)
		return WEFT_EPROTO;
	l->sink.end = sink_got_end;
	if (op)
		l->sink = (struct wf_sink){ .bufs = op->bufs, .n = op->n, .off = op->off, .keep = h->len, .owner = op,
					    .end = sink_got_end };
	return WEFT_OK;
}

static int in_revoke(struct weft_ep *ep, const struct wf_frame *h)
{
	struct weft_remote *r = wf_by_wire_id(&ep->w->remotes, h->id);

	if (!r || r->ep != ep || r->state != WF_REMOTE_OPEN)
		return 0;                /* closed at the same time: CLOSE_REMOTE is the answer */
	r->state = WF_REMOTE_FAILED;
	r->status = WEFT_EREVOKED;
	if (!r->started)
		agree_to_revoke(r);
	return 0;
}

int wf_in_rma(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_op *op;

	switch (h->type) {
	case WF_FR_OPENED:
		return in_opened(ep, h, p);
	case WF_FR_GOT:
		return in_got(ep, h, p);
	case WF_FR_GET_FAIL:
		op = find_asked(ep, h->tag, &kind_get);
		if (op)
			wf_op_done(op, wf_foreign_status(h->aux));
		return 0;
	case WF_FR_ATOMIC_DONE:
		op = find_asked(ep, h->tag, &kind_atomic);
		if (op) {
			memcpy(&op->ev_value, p, sizeof(op->ev_value));
			wf_op_done(op, wf_foreign_status(h->aux));
		}
		return 0;
	default:
		return in_revoke(ep, h);
	}
}

/* ---- the end of the endpoint ---- */

void wf_rma_remotes_down(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->remotes) {
		struct weft_remote *r = wf_list_entry(it, struct weft_remote, link);

		r->has_direct = false;   /* the lane is closed, and its mappings with it */
		r->state = WF_REMOTE_FAILED;
		r->status = ep->status;
		free_if_unused(r);
	}
}
