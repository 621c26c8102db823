/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stats.c - plain counters, always on, as JSON.
 */
#include "core/internal.h"

static void count_lane(const struct wf_lane *l, struct wf_counts *c)
{
	c->bytes_tx += l->bytes_tx;
	c->bytes_rx += l->bytes_rx;
	c->frames_tx += l->frames_tx;
	c->frames_rx += l->frames_rx;
	c->copy_us += l->copy_us;
	c->copy_peer += l->copy_peer;
	c->syscalls += l->syscalls;
}

static void count_messages(const struct weft_ep *ep, struct wf_counts *c)
{
	c->breaks += ep->n_breaks;
	c->renewed += ep->n_renewed;
	c->sent += ep->n_tx_msgs;
	c->received += ep->n_rx_msgs;
	c->eager += ep->n_eager;
	c->rndv += ep->n_rndv;
	c->copied += ep->n_copy;
	c->direct += ep->n_direct;
}

static void count_ep(const struct weft_ep *ep, struct wf_counts *c)
{
	c->endpoints++;
	count_messages(ep, c);
	if (ep->msg)
		count_lane(ep->msg, c);
}

void wf_stats_keep_lane(struct weft_worker *w, struct wf_lane *l)
{
	count_lane(l, &w->past);
	l->bytes_tx = l->bytes_rx = l->frames_tx = l->frames_rx = l->copy_us = l->copy_peer = l->syscalls = 0;   /* it may carry some again */
}

void wf_stats_keep_ep(const struct weft_ep *ep)
{
	count_messages(ep, &ep->w->past);
}

static void add_counts(const struct wf_counts *from, struct wf_counts *c)
{
	c->sent += from->sent;
	c->received += from->received;
	c->eager += from->eager;
	c->rndv += from->rndv;
	c->copied += from->copied;
	c->direct += from->direct;
	c->breaks += from->breaks;
	c->renewed += from->renewed;
	c->bytes_tx += from->bytes_tx;
	c->bytes_rx += from->bytes_rx;
	c->frames_tx += from->frames_tx;
	c->frames_rx += from->frames_rx;
	c->copy_us += from->copy_us;
	c->copy_peer += from->copy_peer;
	c->syscalls += from->syscalls;
}

static void put_counts(const struct wf_counts *c, struct wf_json *j)
{
	wf_json_kv_u64(j, "endpoints", c->endpoints);
	wf_json_kv_u64(j, "messages_sent", c->sent);
	wf_json_kv_u64(j, "messages_received", c->received);
	wf_json_kv_u64(j, "eager", c->eager);
	wf_json_kv_u64(j, "rendezvous", c->rndv);
	wf_json_kv_u64(j, "copied_in_place", c->copied);
	wf_json_kv_u64(j, "direct", c->direct);
	wf_json_kv_u64(j, "lanes_broken", c->breaks);
	wf_json_kv_u64(j, "lanes_made_again", c->renewed);
	wf_json_kv_u64(j, "bytes_sent", c->bytes_tx);
	wf_json_kv_u64(j, "bytes_received", c->bytes_rx);
	wf_json_kv_u64(j, "frames_sent", c->frames_tx);
	wf_json_kv_u64(j, "frames_received", c->frames_rx);
	wf_json_kv_u64(j, "copy_bytes_here", c->copy_us);
	wf_json_kv_u64(j, "copy_bytes_peer", c->copy_peer);
	wf_json_kv_u64(j, "syscalls", c->syscalls);
}

struct worker_counts {
	uint64_t workers, progress, arms, arm_again, sleeps, wake_empty, fd_polls, ops, done_now, events, pending, unexpected;
};

static void count_worker(const struct weft_worker *w, struct worker_counts *c, struct wf_counts *e)
{
	struct wf_list *it, *tmp;

	c->workers++;
	c->progress += w->n_progress;
	c->arms += w->n_arm;
	c->arm_again += w->n_arm_again;
	c->sleeps += w->n_sleep;
	c->wake_empty += w->n_wake_empty;
	c->fd_polls += w->n_fd_polls;
	c->ops += w->n_ops;
	c->done_now += w->n_done_now;
	c->events += w->n_events_total;
	c->pending += wf_pool_in_use(&w->ops);
	c->unexpected += w->unexpected;
	add_counts(&w->past, e);
	wf_list_foreach(it, tmp, &w->eps_list)
		count_ep(wf_list_entry(it, struct weft_ep, link), e);
}

static void put_worker(const struct worker_counts *c, struct wf_json *j)
{
	wf_json_kv_u64(j, "workers", c->workers);
	wf_json_kv_u64(j, "progress", c->progress);
	wf_json_kv_u64(j, "arms", c->arms);
	wf_json_kv_u64(j, "arms_refused", c->arm_again);
	wf_json_kv_u64(j, "sleeps", c->sleeps);
	wf_json_kv_u64(j, "wakes_without_work", c->wake_empty);
	wf_json_kv_u64(j, "fd_polls", c->fd_polls);
	wf_json_kv_u64(j, "operations", c->ops);
	wf_json_kv_u64(j, "done_now", c->done_now);
	wf_json_kv_u64(j, "events", c->events);
	wf_json_kv_u64(j, "operations_pending", c->pending);
	wf_json_kv_u64(j, "unexpected_bytes", c->unexpected);
}

/* An endpoint and a worker are told apart by where they live: the context knows its workers. */
static const struct weft_worker *as_worker(struct weft_ctx *ctx, const void *what)
{
	struct wf_list *it, *tmp;
	const struct weft_worker *found = NULL;

	pthread_mutex_lock(&ctx->lock);
	wf_list_foreach(it, tmp, &ctx->workers)
		if (wf_list_entry(it, struct weft_worker, link) == what)
			found = what;
	pthread_mutex_unlock(&ctx->lock);
	return found;
}

static void count_all(struct weft_ctx *ctx, struct worker_counts *c, struct wf_counts *e)
{
	struct wf_list *it, *tmp;

	pthread_mutex_lock(&ctx->lock);
	wf_list_foreach(it, tmp, &ctx->workers)
		count_worker(wf_list_entry(it, struct weft_worker, link), c, e);
	pthread_mutex_unlock(&ctx->lock);
}

int weft_stats(weft_ctx *ctx, const void *what, char *out, size_t *len)
{
	struct worker_counts c = { 0 };
	struct wf_counts e = { 0 };
	const struct weft_worker *w;
	struct wf_json j;
	size_t need;

	if (!ctx || !len)
		return wf_fail(WEFT_EINVAL, 0, "weft_stats", NULL, "NULL argument");
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	w = what ? as_worker(ctx, what) : NULL;
	if (w)
		count_worker(w, &c, &e);
	else if (what)
		count_ep(what, &e);
	else
		count_all(ctx, &c, &e);
	wf_json_begin(&j, out, *len);
	wf_json_obj_open(&j);
	if (c.workers)
		put_worker(&c, &j);
	put_counts(&e, &j);
	wf_json_obj_close(&j);
	need = wf_json_end(&j);
	if (need >= *len) {
		*len = need;
		return wf_fail(WEFT_EINVAL, 0, "weft_stats", NULL, "%zu bytes are needed", need + 1);
	}
	*len = need;
	return WEFT_OK;
}
