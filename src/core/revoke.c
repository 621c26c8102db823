/* SPDX-License-Identifier: BSD-3-Clause
 *
 * revoke.c - taking a grant back. From the call on no new access through us is served. Peers that reach the memory without
 * us are asked with REVOKE on whichever worker they hang; the grant is gone when the last of them has answered, closed
 * it, or died. Grants and their count of opens are under the context's lock, because workers of several threads share
 * them; each worker tells its own peers, from its own progress.
 */
#include "core/internal.h"

static void free_grant(struct weft_ctx *ctx, struct wf_grant *g)
{
	wf_map_remove(&ctx->grants, g->id);
	g->mem->n_grants--;
	wf_free(g);
}

/* Nobody has it open any more: it is freed. Else @last says that nobody waits for that from here on. */
static bool is_over(struct wf_op *op, bool last)
{
	struct weft_ctx *ctx = op->w->ctx;
	struct wf_grant *g = op->revoke.grant;
	bool over;

	pthread_mutex_lock(&ctx->lock);
	over = !g->n_open;
	if (over)
		free_grant(ctx, g);
	else if (last)
		g->waiter = false;
	pthread_mutex_unlock(&ctx->lock);
	return over;
}

/* There is no way back: the grant goes on fading, only nobody waits for its end any more. */
static void revoke_cancel(struct wf_op *op)
{
	bool over = is_over(op, true);

	wf_list_remove(&op->revoke.link);
	wf_op_done(op, over ? WEFT_OK : op->stop);
}

static const struct wf_kind kind_revoke = { "revoke", revoke_cancel };

void wf_ctx_wake_workers(struct weft_ctx *ctx)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ctx->workers) {
		struct weft_worker *w = wf_list_entry(it, struct weft_worker, link);

		/* pairs with the exchange in wf_revoke_step(): what there is to do first, then the word, then the bell */
		atomic_store_explicit(&w->ctx_work, true, memory_order_release);
		wf_bell_ring(w->bell_fd);
	}
}

/* A peer has closed it, agreed, or died. */
void wf_grant_unopen(struct wf_open *o)
{
	struct weft_ctx *ctx = o->ep->w->ctx;
	struct wf_grant *g = o->grant;

	if (!g)
		return;
	if (o->hold && o->ep->msg)       /* before the memory can be freed; a lane that was closed holds nothing */
		o->ep->msg->tr->mem_retract(o->ep->msg, o->hold);
	o->hold = 0;
	o->grant = NULL;
	pthread_mutex_lock(&ctx->lock);
	g->n_open--;
	if (atomic_load_explicit(&g->revoked, memory_order_relaxed) && !g->n_open) {
		if (g->waiter)
			wf_ctx_wake_workers(ctx);
		else
			free_grant(ctx, g);
	}
	pthread_mutex_unlock(&ctx->lock);
}

static void ask_peers(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->opens) {
		struct wf_open *o = wf_list_entry(it, struct wf_open, link);

		if (!o->grant || o->revoke_sent || !atomic_load_explicit(&o->grant->revoked, memory_order_acquire))
			continue;
		o->revoke_sent = true;
		wf_ep_ctl(ep, WF_FR_REVOKE, 0, 0, o->peer_id, 0, NULL, 0);
	}
}

void wf_revoke_step(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	atomic_exchange_explicit(&w->ctx_work, false, memory_order_acq_rel);
	wf_mem_gone_step(w);
	wf_list_foreach(it, tmp, &w->eps_list)
		ask_peers(wf_list_entry(it, struct weft_ep, link));
	wf_list_foreach(it, tmp, &w->revokes) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, revoke.link);

		if (!is_over(op, false))
			continue;
		wf_list_remove(it);
		wf_op_done(op, WEFT_OK);
	}
}

/* The worker on which the completion will be told: of an endpoint that opened it; when that is gone, the first one. */
static struct weft_worker *home_of(struct weft_ctx *ctx, struct wf_grant *g)
{
	if (g->home)
		return g->home;
	return wf_list_entry(wf_list_first(&ctx->workers), struct weft_worker, link);
}

/* A grant that can still be revoked; under ctx->lock. */
static struct wf_grant *find_live(struct weft_ctx *ctx, const weft_mem *m, weft_grant handle)
{
	struct wf_grant *g = wf_map_find(&ctx->grants, handle.v);

	return g && g->mem == m && !atomic_load_explicit(&g->revoked, memory_order_relaxed) ? g : NULL;
}

static int no_such_grant(void)
{
	return wf_fail(WEFT_ESTALE, 0, "weft_grant_revoke", NULL, "no such grant of this memory");
}

/* @w: where the completion will be told. */
static int revoke(struct weft_worker *w, const weft_mem *m, weft_grant handle, weft_call *call)
{
	struct weft_ctx *ctx = m->ctx;
	struct wf_op *op = NULL;
	struct wf_grant *g;
	bool found, none_open = true;

	if (call) {
		op = wf_op_new(w, NULL, &kind_revoke, call);
		if (!op)
			return weft_last_error()->status;
		wf_list_init(&op->revoke.link);
	}
	pthread_mutex_lock(&ctx->lock);
	g = find_live(ctx, m, handle);   /* again: another thread may have been faster */
	found = g != NULL;
	if (found) {
		atomic_store_explicit(&g->revoked, true, memory_order_release);
		g->waiter = op != NULL;
		none_open = !g->n_open;
		if (op)
			op->revoke.grant = none_open ? NULL : g;
		if (none_open)
			free_grant(ctx, g);
		else
			wf_ctx_wake_workers(ctx);
	}
	pthread_mutex_unlock(&ctx->lock);
	if (!found) {
		if (op)
			wf_op_drop(op);
		return no_such_grant();
	}
	if (!op)
		return none_open ? WEFT_OK : WEFT_PENDING;
	if (none_open)
		wf_op_done(op, WEFT_OK);
	else
		wf_list_push_back(&w->revokes, &op->revoke.link);
	return wf_op_answer(op, call);
}

int weft_grant_revoke(weft_mem *m, weft_grant handle, weft_call *call)
{
	struct weft_ctx *ctx = m->ctx;
	struct weft_worker *w = NULL;
	struct wf_grant *g;
	int ret = wf_call_check(call);

	if (ret)
		return ret;
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "memory", NULL, "made before fork()");
	pthread_mutex_lock(&ctx->lock);
	g = find_live(ctx, m, handle);
	if (g && g->n_open)
		w = home_of(ctx, g);
	else if (g)
		free_grant(ctx, g);
	pthread_mutex_unlock(&ctx->lock);
	if (!g)
		return no_such_grant();
	if (!w) {                        /* nobody has opened it: no worker has a part in it */
		if (call)
			wf_answer_fill(NULL, call, WEFT_OK, 0, 0, 0);
		return WEFT_OK;
	}
	ret = wf_enter(w);
	if (ret)
		return ret;
	ret = revoke(w, m, handle, call);
	wf_leave(w);
	return ret;
}

/* The worker is no more: a later revocation is told on another one. */
void wf_grants_forget(struct weft_worker *w)
{
	struct weft_ctx *ctx = w->ctx;
	const struct wf_map_row *row;
	size_t at = 0;

	pthread_mutex_lock(&ctx->lock);
	while ((row = wf_map_next(&ctx->grants, &at))) {
		struct wf_grant *g = row->value;

		if (g->home == w)
			g->home = NULL;
	}
	pthread_mutex_unlock(&ctx->lock);
}

/* The worker ends: grants that an operation of it waited for fade by themselves. */
void wf_revoke_drop_all(struct weft_worker *w)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(&w->revokes))) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, revoke.link);

		is_over(op, true);
		wf_op_done(op, WEFT_EABORTED);
	}
}
