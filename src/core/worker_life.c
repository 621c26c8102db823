/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_life.c - making and freeing a worker, and leaving everything alone in a forked child.
 */
#include <time.h>

#include "core/internal.h"
#include "os/proc.h"
#include "os/sock.h"

#define OPS_MAX (1u << 20)       /* bound of pending operations: an op's wire id has 20 bits of index */
#define FREE_WAIT_NS (1 * WF_NS_PER_S)

static void on_bell(void *arg, uint32_t events)
{
	struct weft_worker *w = arg;

	(void)events;
	wf_bell_drain(w->bell_fd);
}

static void on_timer(void *arg, uint32_t events)
{
	struct weft_worker *w = arg;

	(void)events;
	wf_timer_drain(w->timer_fd);
	w->timer_at = 0;
}

static void init_lock(struct weft_worker *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->ended, &attr);
	pthread_condattr_destroy(&attr);
}

static void init_pools(struct weft_worker *w, uint32_t ops_max)
{
	wf_pool_init(&w->ops, sizeof(struct wf_op), ops_max);
	wf_pool_init(&w->eps, sizeof(struct weft_ep), 0);
	wf_pool_init(&w->ctls, sizeof(struct wf_ctl), 0);
	wf_pool_init(&w->copies, sizeof(struct wf_copy), 0);
	wf_pool_init(&w->rmas, sizeof(struct wf_rma), 0);
	wf_pool_init(&w->msgs, sizeof(struct wf_msg), 0);
	wf_pool_init(&w->remotes, sizeof(struct weft_remote), WF_IDS_MAX);
	wf_pool_init(&w->opens, sizeof(struct wf_open), WF_IDS_MAX);
	wf_pool_init(&w->replies, wf_reply_size(), 0);
	wf_list_init(&w->eps_list);
	wf_list_init(&w->dying);
	wf_list_init(&w->switching);
	wf_list_init(&w->stalled);
	wf_list_init(&w->graves);
	wf_list_init(&w->listeners);
	wf_list_init(&w->incoming);
	wf_list_init(&w->revokes);
	wf_list_init(&w->regions_gone);
	wf_list_init(&w->events);
	wf_heap_init(&w->deadlines);
	wf_map_init(&w->am_handlers);
}

static int open_fds(struct weft_worker *w)
{
	int ret = wf_poll_init(&w->poll);

	if (!ret)
		ret = wf_bell_open(&w->bell_fd);
	if (!ret)
		ret = wf_timer_open(&w->timer_fd);
	wf_watch_init(&w->bell_watch, on_bell, w);
	wf_watch_init(&w->timer_watch, on_timer, w);
	if (!ret)
		ret = wf_poll_add(&w->poll, &w->bell_watch, w->bell_fd, EPOLLIN);
	if (!ret)
		ret = wf_poll_add(&w->poll, &w->timer_watch, w->timer_fd, EPOLLIN);
	if (!ret)
		ret = wf_random(w->uuid, sizeof(w->uuid));
	if (!ret)
		ret = wf_random(w->secret, sizeof(w->secret));
	if (ret)
		return wf_fail(wf_status_of_errno(-ret), -ret, "worker", NULL, "cannot set up its descriptor");
	if (wf_match_init(&w->match))
		return wf_fail(WEFT_ENOMEM, 0, "worker", NULL, "no memory for matching");
	return 0;
}

/* Memory and descriptors; what hangs on the worker is gone by now (or is left alone, in a forked child). */
static void release(struct weft_worker *w)
{
	wf_msg_cache_free(w);
	wf_am_unbind_all(w);
	wf_match_fini(&w->match);
	wf_heap_fini(&w->deadlines);
	wf_pool_fini(&w->ops);
	wf_pool_fini(&w->eps);
	wf_pool_fini(&w->ctls);
	wf_pool_fini(&w->copies);
	wf_pool_fini(&w->rmas);
	wf_pool_fini(&w->msgs);
	wf_pool_fini(&w->remotes);
	wf_pool_fini(&w->opens);
	wf_pool_fini(&w->replies);
	wf_fd_close(&w->bell_fd);
	wf_fd_close(&w->timer_fd);
	wf_poll_fini(&w->poll);
	wf_mem_gone_drop(w);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	wf_free(w);
}

int weft_worker_new(weft_ctx *ctx, const weft_worker_opts *o, weft_worker **out)
{
	struct weft_worker *w;
	int ret;

	if (!ctx || !out || (o && o->size < sizeof(*o)))
		return wf_fail(WEFT_EINVAL, 0, "weft_worker_new", "set opts.size = sizeof(weft_worker_opts)", "bad argument");
	if (o && (o->flags & ~(uint32_t)WEFT_SHARED || o->ops_max > OPS_MAX))
		return wf_fail(WEFT_EINVAL, 0, "weft_worker_new", NULL, "unknown flag, or ops_max above %u", OPS_MAX);
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	w = wf_calloc(1, sizeof(*w));
	if (!w)
		return wf_fail(WEFT_ENOMEM, 0, "weft_worker_new", NULL, "no memory for a worker");
	w->ctx = ctx;
	w->poll.epfd = w->bell_fd = w->timer_fd = -1;
	w->shared = o && o->flags & WEFT_SHARED;
	w->n_cpus = wf_cpu_count();
	init_lock(w);
	init_pools(w, o && o->ops_max ? o->ops_max : OPS_MAX);
	ret = open_fds(w);
	if (ret) {
		release(w);
		return ret;
	}
	pthread_mutex_lock(&ctx->lock);
	w->id = ctx->next_id++;
	wf_list_push_back(&ctx->workers, &w->link);
	ctx->n_workers++;
	pthread_mutex_unlock(&ctx->lock);
	*out = w;
	return WEFT_OK;
}

/* Aborts every endpoint and turns the wheel until the last copy is quiet (a peer's death at the latest). */
static void end_endpoints(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	w->dispatching = true;           /* so that an abort buries nobody, of whom the next one in the list may be one */
	wf_list_foreach(it, tmp, &w->eps_list)
		weft_ep_abort(wf_list_entry(it, struct weft_ep, link));
	w->dispatching = false;
	wf_worker_turn(w);
	while (!wf_list_is_empty(&w->dying)) {
		wf_worker_turn(w);
		wf_poll_one(w->poll.epfd, 1, 1);
	}
}

static void drop_events(struct weft_worker *w)
{
	weft_event e;

	while (w->n_events) {
		struct wf_note *note = wf_list_entry(wf_list_pop_front(&w->events), struct wf_note, link);

		w->n_events--;
		memset(&e, 0, sizeof(e));
		note->take(note, &e);
		weft_event_release(w, &e);
	}
}

/*
 * Active messages that were reaped and never released, messages that were probed and never received, completions that
 * were never taken by their handle, remotes that were never closed.
 */
static void drop_endpoints(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &w->eps_list)
		wf_ep_forget_refs(wf_list_entry(it, struct weft_ep, link));
}

int weft_worker_free(weft_worker *w)
{
	struct weft_ctx *ctx;
	struct wf_list *it, *tmp;
	int ret;

	if (!w)
		return WEFT_OK;
	ret = wf_enter(w);
	if (ret)
		return ret;
	if (w->dispatching) {
		wf_leave(w);
		return wf_fail(WEFT_EBUSY, 0, "worker", NULL, "cannot be freed from one of its own handlers");
	}
	w->freeing = true;
	wf_list_foreach(it, tmp, &w->listeners)
		wf_listener_free(it);
	wf_requests_forget(w);
	wf_incoming_drop_all(w);
	drop_events(w);
	end_endpoints(w);
	wf_recv_drop_all(w);
	wf_revoke_drop_all(w);
	wf_grants_forget(w);
	drop_events(w);
	drop_endpoints(w);
	wf_worker_bury(w);
	for (unsigned i = 0; i < w->ctx->n_tr; i++) {
		if (!w->port[i])
			continue;
		if (w->port[i]->tr->close)
			w->port[i]->tr->close(w->port[i]);
		wf_free(w->port[i]);
	}
	ctx = w->ctx;
	pthread_mutex_lock(&ctx->lock);
	wf_list_remove(&w->link);
	ctx->n_workers--;
	pthread_mutex_unlock(&ctx->lock);
	wf_leave(w);
	release(w);
	return WEFT_OK;
}

/*
 * The child has copies of all descriptors and of private memory, none of shared memory (mapped DONTFORK). It closes its
 * descriptors, which touches neither the parent's epoll set nor its connections; private memory that hangs on the
 * context is left to the child's exit or exec, because the structures may have been caught in the middle of a change.
 */
int weft_after_fork(weft_ctx *ctx)
{
	struct wf_list *it, *tmp;

	if (!ctx || !wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EINVAL, 0, "context", NULL, "this process opened it itself");
	wf_list_foreach(it, tmp, &ctx->workers) {
		struct weft_worker *w = wf_list_entry(it, struct weft_worker, link);

		wf_poll_forget(&w->poll);
		wf_list_remove(it);
	}
	wf_forkmark_fini(&ctx->fork);
	wf_free(ctx);
	return WEFT_OK;
}
