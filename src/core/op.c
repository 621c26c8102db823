/* SPDX-License-Identifier: BSD-3-Clause
 *
 * op.c - the life of an operation: made by the call that posts it, pending on its endpoint, ended exactly once by
 * wf_op_done(), told to the caller by the way he chose (answer, ring, handle, not at all), and back to the pool.
 */
#include <string.h>

#include "core/internal.h"

int wf_call_refuse(const weft_call *call)
{
	if (call->size < sizeof(*call))
		return wf_fail(WEFT_EINVAL, 0, "call", "set call.size = sizeof(weft_call)", "size is %u", call->size);
	if (call->flags & ~(uint32_t)WF_CALL_FLAGS)
		return wf_fail(WEFT_EINVAL, 0, "call", NULL, "unknown flag in 0x%x", call->flags);
	return wf_fail(WEFT_ENOTSUP, 0, "call", NULL, "no GPU driver is loaded, so there is no stream to wait for");
}

int wf_bufs_check_all(const weft_buf *b, size_t n, uint64_t *len_out)
{
	size_t len;

	if (n && !b)
		return wf_fail(WEFT_EINVAL, 0, "buffers", NULL, "NULL array of %zu buffers", n);
	for (size_t i = 0; i < n; i++) {
		if (b[i].len && !b[i].addr)
			return wf_fail(WEFT_EINVAL, 0, "buffers", NULL, "buffer %zu is NULL and %zu bytes long", i, b[i].len);
		if (b[i].kind != WEFT_HOST && b[i].kind != WEFT_KIND_AUTO)
			return wf_fail(WEFT_ENOTSUP, 0, "buffers", "pass host memory", "no driver for memory kind %u", b[i].kind);
	}
	if (wf_bufs_len(b, n, &len) || len > WF_MSG_MAX)
		return wf_fail(WEFT_EINVAL, 0, "buffers", NULL, "their lengths add up to more than there is");
	*len_out = len;
	return 0;
}

/* ---- timers ---- */

void wf_worker_expire(struct weft_worker *w, uint64_t now)
{
	struct wf_heap_node *top;

	while ((top = wf_heap_top(&w->deadlines)) && top->key <= now) {
		struct wf_timer *t = wf_container_of(top, struct wf_timer, node);

		wf_heap_remove(&w->deadlines, top);
		t->fire(t);
	}
}

static void on_deadline(struct wf_timer *t)
{
	wf_op_stop(wf_container_of(t, struct wf_op, deadline), WEFT_ETIMEDOUT);
}

/* ---- making ---- */

static void take_note(struct wf_note *n, weft_event *out);
static void on_sent(struct wf_sent *s);

void wf_op_first_use(struct weft_worker *w, struct wf_op *op)
{
	wf_list_init(&op->note.link);
	wf_list_init(&op->link);
	wf_list_init(&op->tx.link);
	op->note.take = take_note;
	op->sent.done = on_sent;
	op->w = w;
}

static struct wf_op *none_left(struct weft_worker *w, const struct wf_kind *kind)
{
	if (wf_pool_is_full(&w->ops))
		wf_fail(WEFT_ELIMIT, 0, kind->name, "reap, or raise weft_worker_opts.ops_max",
			"%u operations are pending or wait to be reaped", wf_pool_in_use(&w->ops));
	else
		wf_fail(WEFT_ENOMEM, 0, kind->name, NULL, "no memory");
	return NULL;
}

struct wf_op *wf_op_new(struct weft_worker *w, struct weft_ep *ep, const struct wf_kind *kind, const weft_call *call)
{
	struct wf_op *op = wf_op_begin(w, kind);

	if (wf_unlikely(!op))
		return none_left(w, kind);
	op->ep = NULL;
	op->one = (weft_buf){ 0 };
	op->bufs = NULL;
	op->n = 0;
	op->len = 0;
	op->tag = 0;
	op->user_data = 0;
	op->posting = true;
	if (call) {
		op->flags = call->flags;
		op->user_data = call->user_data;
		op->by_handle = call->flags & WEFT_BY_HANDLE;
		op->silent = call->flags & WEFT_NO_EVENT;
		if (call->deadline_ns) {
			op->deadline.fire = on_deadline;
			if (wf_heap_push(&w->deadlines, &op->deadline.node, call->deadline_ns)) {
				wf_op_put(op);
				wf_fail(WEFT_ENOMEM, 0, kind->name, NULL, "no memory for its deadline");
				return NULL;
			}
		}
	}
	if (wf_unlikely(wf_is_traced(w->ctx)))
		op->t0 = wf_now_ns();
	if (ep) {
		op->ep = ep;
		ep->refs++;
	}
	return op;
}

int wf_op_bufs(struct wf_op *op, const weft_buf *b, size_t n, uint64_t len)
{
	op->len = len;
	op->n = n;
	op->bufs = &op->one;
	if (wf_likely(n == 1 && !b->mem)) {
		op->one = *b;
		return 0;
	}
	if (n > 1) {
		op->bufs = wf_malloc(n * sizeof(*b));
		if (!op->bufs) {
			op->bufs = &op->one;
			op->n = 0;
			return wf_fail(WEFT_ENOMEM, 0, op->kind->name, NULL, "no memory for %zu buffer descriptions", n);
		}
	}
	for (size_t i = 0; i < n; i++) {
		op->bufs[i] = b[i];
		if (b[i].mem)
			atomic_fetch_add_explicit(&b[i].mem->users, 1, memory_order_relaxed);
	}
	return 0;
}

static void drop_bufs(struct wf_op *op)
{
	if (wf_likely(op->bufs == &op->one && !op->one.mem)) {
		op->n = 0;
		return;
	}
	for (size_t i = 0; i < op->n; i++)
		if (op->bufs[i].mem)
			/* pairs with the acquire in weft_mem_free(): our last use comes before */
			atomic_fetch_sub_explicit(&op->bufs[i].mem->users, 1, memory_order_release);
	op->n = 0;
	if (wf_likely(op->bufs == &op->one))
		return;
	wf_free(op->bufs);
	op->bufs = &op->one;
}

int wf_op_own(struct wf_op *op)
{
	void *copy = NULL;

	if (op->len) {
		copy = wf_malloc(op->len);
		if (!copy)
			return wf_fail(WEFT_ENOMEM, 0, op->kind->name, NULL, "no memory to copy %llu bytes",
				       (unsigned long long)op->len);
		wf_bufs_copy_out(copy, op->bufs, op->n, 0, op->len);
	}
	drop_bufs(op);
	op->owned = copy;
	op->one = (weft_buf){ .addr = copy, .len = op->len };
	op->n = 1;
	op->copied = true;
	return 0;
}

/* What the operation holds, when nobody reads or writes it any more. */
static void release(struct wf_op *op)
{
	drop_bufs(op);
	if (wf_unlikely(op->owned))
		wf_free(op->owned);
	op->owned = NULL;
	if (op->cleanup)
		op->cleanup(op);
	op->cleanup = NULL;
}

void wf_op_drop(struct wf_op *op)
{
	wf_heap_remove(&op->w->deadlines, &op->deadline.node);
	wf_list_remove(&op->link);
	wf_ep_unqueue(op);
	release(op);
	wf_op_put(op);
}

/* ---- ending ---- */

/* To the user who is reaping, or to the ring. */
static void tell(struct wf_op *op)
{
	weft_event *out = wf_worker_slot(op->w);

	if (out)
		take_note(&op->note, out);
	else
		wf_worker_note(op->w, &op->note);
}

/* Nothing of ours touches the buffers any more: tell the caller. */
static void end(struct wf_op *op)
{
	struct weft_worker *w = op->w;

	release(op);
	if (wf_unlikely(op->t0))
		wf_trace_op(w->ctx, op->kind->name, w, op->t0, wf_now_ns(), op->ev_len ? op->ev_len : op->len, op->tag, op->status);
	if (op->on_end) {
		op->on_end(op);
		return;
	}
	if (op->posting)
		return;
	if (op->silent)
		wf_op_put(op);
	else if (!op->by_handle)
		tell(op);
}

void wf_op_done(struct wf_op *op, int32_t status)
{
	struct weft_ep *ep = op->ep;
	bool was_listed = wf_list_is_linked(&op->link);

	op->plain = false;
	op->done = true;
	op->status = status;
	op->w->n_ended++;
	op->path = wf_ep_path(ep);
	if (wf_unlikely(op->deadline.node.pos))
		wf_heap_remove(&op->w->deadlines, &op->deadline.node);
	wf_list_remove(&op->link);
	if (op->queued)
		wf_ep_unqueue(op);
	if (op->inflight == 0)
		end(op);
	else if (ep)
		wf_list_push_back(&ep->lent, &op->link);
	if (ep && was_listed && !wf_list_is_empty(&ep->ops))
		wf_ep_ops_moved(ep);
}

/* The lane has sent the last frame that lends its bytes, or was closed. */
void wf_op_quiet(struct wf_op *op)
{
	op->inflight = 0;
	wf_list_remove(&op->link);
	end(op);
}

static void on_sent(struct wf_sent *s)
{
	struct wf_op *op = wf_container_of(s, struct wf_op, sent);

	if (--op->inflight == 0) {
		if (op->done)
			wf_op_quiet(op);
		else if (op->all_sent)
			wf_op_done(op, WEFT_OK);
	}
}

static void fill(const struct wf_op *op, weft_event *out)
{
	wf_event_fill(out, op->ep, op->path, op->status, op->user_data, wf_pool_handle(op), op->ev_tag, op->ev_len,
		      op->ev_value);
}

static void take_note(struct wf_note *n, weft_event *out)
{
	struct wf_op *op = wf_container_of(n, struct wf_op, note);

	fill(op, out);
	wf_op_put(op);
}

int wf_op_answer(struct wf_op *op, weft_call *call)
{
	op->posting = false;
	if (op->done && !op->inflight) {
		op->w->n_done_now++;
		if (call) {
			fill(op, &call->event);
			call->op.v = 0;
		}
		wf_op_put(op);
		return WEFT_OK;
	}
	if (op->copied && !(op->flags & WEFT_SYNC)) {
		fill(op, &call->event);
		call->event.status = WEFT_OK;
		call->event.len = op->len;
		call->op.v = 0;
		op->silent = true;
		op->by_handle = false;
		wf_heap_remove(&op->w->deadlines, &op->deadline.node);   /* it is done, as far as the caller knows */
		return WEFT_OK;
	}
	if (call)
		call->op.v = wf_pool_handle(op);
	return WEFT_PENDING;
}

/* ---- ids on the wire ---- */

uint32_t wf_op_wire_id(const struct wf_op *op)
{
	return wf_wire_id(op);
}

struct wf_op *wf_op_by_wire_id(struct weft_worker *w, uint32_t id, const struct weft_ep *ep, const struct wf_kind *kind)
{
	struct wf_op *op = wf_by_wire_id(&w->ops, id);

	return op && op->ep == ep && !op->done && (!kind || op->kind == kind) ? op : NULL;
}

/* ---- single operations ---- */

void wf_op_stop(struct wf_op *op, int32_t status)
{
	struct weft_ep *ep = op->ep;

	if (op->done || op->stop)
		return;
	op->stop = status;
	op->kind->cancel(op);            /* from here on it may be gone; the memory of an endpoint stays */
	if (ep)
		wf_ep_kick(ep);          /* it may have stood in the way of others */
}

void wf_op_part_ended(struct wf_op *part)
{
	struct wf_op *whole = part->rma.parent;
	int32_t status = part->status;

	wf_op_put(part);
	if (status && !whole->status)
		whole->status = status;
	if (--whole->children == 0)
		wf_op_done(whole, whole->status);
}

/* A part that is pending and was not asked to end yet. */
static struct wf_op *part_to_stop(const struct wf_op *whole)
{
	struct wf_list *e, *e_tmp, *it, *tmp;

	wf_list_foreach(e, e_tmp, &whole->w->eps_list)
		wf_list_foreach(it, tmp, &wf_list_entry(e, struct weft_ep, link)->ops) {
			struct wf_op *part = wf_list_entry(it, struct wf_op, link);

			if (part->on_end == wf_op_part_ended && part->rma.parent == whole && !part->stop)
				return part;
		}
	return NULL;
}

/* Asks every part to end; the whole ends with the last of them. From the front each time: what is behind a part that ends may
 * move then, and end, too. */
void wf_op_stop_parts(struct wf_op *whole)
{
	int32_t status = whole->stop;
	struct wf_op *part;

	whole->children++;               /* it must outlive this loop */
	while ((part = part_to_stop(whole)))
		wf_op_stop(part, status);
	if (--whole->children == 0)
		wf_op_done(whole, whole->status);
}

int weft_cancel(weft_worker *w, weft_op handle)
{
	struct wf_op *op;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	op = wf_pool_find(&w->ops, handle.v);
	if (!op || op->on_end || (op->silent && !(op->flags & WEFT_NO_EVENT)))
		ret = wf_fail(WEFT_ESTALE, 0, "weft_cancel", NULL, "no operation has handle 0x%llx", (unsigned long long)handle.v);
	else
		wf_op_stop(op, WEFT_ECANCELED);
	wf_leave(w);
	return ret;
}

static struct wf_op *find_by_handle(struct weft_worker *w, weft_op handle, const char *who)
{
	struct wf_op *op = wf_pool_find(&w->ops, handle.v);

	if (op && op->by_handle)
		return op;
	wf_fail(WEFT_ESTALE, 0, who, "post it with WEFT_BY_HANDLE and take its completion once",
		"no operation has handle 0x%llx", (unsigned long long)handle.v);
	return NULL;
}

static bool take_if_done(struct wf_op *op, weft_event *out)
{
	if (!op->done || op->inflight)
		return false;
	if (out)
		fill(op, out);
	wf_op_put(op);
	return true;
}

int weft_test(weft_worker *w, weft_op handle, weft_event *out)
{
	struct wf_op *op;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	op = find_by_handle(w, handle, "weft_test");
	if (!op)
		ret = WEFT_ESTALE;
	else if (!take_if_done(op, out)) {
		wf_worker_turn(w);       /* where a handler may have taken it */
		op = find_by_handle(w, handle, "weft_test");
		ret = !op ? WEFT_ESTALE : take_if_done(op, out) ? WEFT_OK : WEFT_AGAIN;
	}
	wf_leave(w);
	return ret;
}

int weft_wait(weft_worker *w, weft_op handle, uint64_t deadline_ns, weft_event *out)
{
	struct wf_op *op;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	op = find_by_handle(w, handle, "weft_wait");
	ret = op ? wf_worker_wait_op(w, handle, deadline_ns) : WEFT_ESTALE;
	if (ret == WEFT_OK && (op = wf_pool_find(&w->ops, handle.v)))
		take_if_done(op, out);
	wf_leave(w);
	return ret;
}
