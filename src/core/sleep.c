/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sleep.c - going to sleep without missing anything. The worker's descriptor is its epoll set: sockets, pidfds, the bell
 * and a timer for the earliest deadline. Who sleeps pays: weft_arm() asks every transport to make its peers ring the
 * bell from now on, and only then looks a last time.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "core/internal.h"
#include "os/proc.h"

#define STALL_RETRY_NS (5 * WF_NS_PER_MS)   /* a frame that found no memory is tried again after this long */
#define SPIN_MISSES_MAX 8                   /* spins in a row that found nothing before spinning is left out */
#define SPIN_RETRY 64                       /* waits after which it is tried again */

static uint64_t next_deadline(struct weft_worker *w)
{
	struct wf_heap_node *top = wf_heap_top(&w->deadlines);
	uint64_t at = top ? top->key : 0;

	for (unsigned i = 0; i < w->ctx->n_tr; i++)
		at = wf_earlier(at, w->port_wake[i]);
	if (!wf_list_is_empty(&w->stalled))
		at = wf_earlier(at, wf_now_ns() + STALL_RETRY_NS);
	return at;
}

void wf_worker_disarm(struct weft_worker *w)
{
	for (unsigned i = 0; i < w->ctx->n_tr; i++)
		if (w->port[i] && w->port[i]->tr->disarm)
			w->port[i]->tr->disarm(w->port[i]);
	w->armed = false;
}

/* With @for_op the caller waits for one operation: events that wait for others, and weft_wake(), do not concern it. */
static bool has_work(struct weft_worker *w, bool for_op)
{
	if (!for_op && (w->n_events || atomic_load_explicit(&w->woken, memory_order_acquire)))
		return true;
	return !wf_list_is_empty(&w->dying) || !wf_list_is_empty(&w->graves) || wf_switch_is_due(w) || w->ports_changed ||
	       atomic_load_explicit(&w->ctx_work, memory_order_acquire);
}

static int arm(struct weft_worker *w, bool for_op)
{
	uint64_t at;

	w->n_arm++;
	if (has_work(w, for_op))
		return WEFT_AGAIN;
	for (unsigned i = 0; i < w->ctx->n_tr; i++) {
		struct wf_port *p = w->port[i];

		if (!p || !p->tr->arm)
			continue;
		w->armed = true;
		if (p->busy || p->tr->arm(p) == WEFT_AGAIN) {
			wf_worker_disarm(w);
			return WEFT_AGAIN;
		}
	}
	at = next_deadline(w);
	if (at && at <= wf_now_ns()) {
		wf_worker_disarm(w);
		return WEFT_AGAIN;
	}
	if (at != w->timer_at) {
		wf_timer_set(w->timer_fd, at);
		w->timer_at = at;
	}
	w->armed = true;
	return WEFT_OK;
}

int weft_arm(weft_worker *w)
{
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = arm(w, false);
	w->n_arm_again += ret == WEFT_AGAIN;
	if (atomic_exchange_explicit(&w->woken, false, memory_order_acq_rel))
		ret = WEFT_AGAIN;
	wf_leave(w);
	return ret;
}

int weft_worker_fd(weft_worker *w)
{
	return w->poll.epfd;
}

int weft_wake(weft_worker *w)
{
	if (wf_forkmark_is_forked(&w->ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "worker", NULL, "made before fork()");
	/* pairs with the exchanges in weft_arm() and wait_for(): word first, then the bell */
	atomic_store_explicit(&w->woken, true, memory_order_release);
	wf_bell_ring(w->bell_fd);
	return WEFT_OK;
}

/*
 * Of the threads that wait on a shared worker one sleeps on the descriptor, the others behind it. It is rung when a call
 * has disarmed the transports, so that nothing else would wake it, or has ended what it may be waiting for: by every such
 * call until it has woken, for the bell may be drained by another thread. The others are told of whatever has ended, and
 * one of them when there is nobody on the descriptor any more.
 */
void wf_worker_tell_sleepers(struct weft_worker *w)
{
	bool woken = atomic_load_explicit(&w->woken, memory_order_acquire);

	if (w->polling && (!w->armed || w->n_ended != w->poll_mark || (woken && w->poll_wakeable)))
		wf_bell_ring(w->bell_fd);
	if (!w->followers)
		return;
	if (w->n_ended != w->told_mark || (woken && w->wakeable)) {
		w->told_mark = w->n_ended;
		pthread_cond_broadcast(&w->ended);
	} else if (!w->polling) {
		pthread_cond_signal(&w->ended);
	}
}

static void follow(struct weft_worker *w, uint64_t deadline_ns, bool wakeable)
{
	struct timespec at = { .tv_sec = (time_t)(deadline_ns / WF_NS_PER_S), .tv_nsec = (long)(deadline_ns % WF_NS_PER_S) };

	w->followers++;
	w->wakeable += wakeable;
	if (deadline_ns)
		pthread_cond_timedwait(&w->ended, &w->lock, &at);
	else
		pthread_cond_wait(&w->ended, &w->lock);
	w->followers--;
	w->wakeable -= wakeable;
}

/* Sleeps on the descriptor; a shared worker is open to others meanwhile. */
static void sleep_on_fd(struct weft_worker *w, uint64_t deadline_ns, bool wakeable)
{
	unsigned depth = w->depth;
	int timeout = -1;

	if (deadline_ns) {
		uint64_t now = wf_now_ns();
		uint64_t ms = deadline_ns > now ? (deadline_ns - now + WF_NS_PER_MS - 1) / WF_NS_PER_MS : 0;

		timeout = ms > 1000000 ? 1000000 : (int)ms;
	}
	w->n_sleep++;
	if (!w->shared) {
		wf_poll_one(w->poll.epfd, POLLIN, timeout);
		return;
	}
	atomic_store_explicit(&w->owner_thread, 0, memory_order_relaxed);
	if (w->polling) {
		wf_worker_tell_sleepers(w);
		follow(w, deadline_ns, wakeable);
	} else {
		w->polling = true;
		w->poll_wakeable = wakeable;
		w->poll_mark = w->n_ended;
		wf_worker_tell_sleepers(w);
		pthread_mutex_unlock(&w->lock);
		wf_poll_one(w->poll.epfd, POLLIN, timeout);
		pthread_mutex_lock(&w->lock);
		w->polling = false;
	}
	atomic_store_explicit(&w->owner_thread, wf_thread_me(), memory_order_relaxed);
	w->depth = depth;
}

/* What a sleeper waits for. */
struct want {
	bool (*there)(struct weft_worker *w, uint64_t arg);
	uint64_t arg;
	uint64_t deadline_ns;            /* 0: none */
	bool wakeable;                   /* weft_wake() ends it */
};

static bool event_there(struct weft_worker *w, uint64_t arg)
{
	(void)arg;
	return w->n_events != 0;
}

static bool op_there(struct weft_worker *w, uint64_t handle)
{
	struct wf_op *op = wf_pool_find(&w->ops, handle);

	return !op || (op->done && !op->inflight);
}

/* Spins as long as that has been paying off lately, and anew whenever something moved: a long message is many small
 * steps, and who sleeps between two of them keeps its peer waiting. True: it is there. */
static bool spin(struct weft_worker *w, const struct want *want)
{
	uint64_t now, quiet_from;

	if (!w->ctx->conf.spin_ns || w->n_cpus < 2)
		return false;
	if (w->spin_miss >= SPIN_MISSES_MAX && w->spin_miss++ < SPIN_RETRY)
		return false;
	now = quiet_from = wf_now_ns();
	do {
		int moved = 0;

		for (int i = 0; i < 16; i++) {
			moved += wf_worker_turn(w);
			if (want->there(w, want->arg)) {
				w->spin_miss = 0;
				return true;
			}
		}
		if (want->wakeable && atomic_load_explicit(&w->woken, memory_order_relaxed))
			return false;
		now = wf_now_ns();
		if (moved)
			quiet_from = now;
	} while (now - quiet_from < w->ctx->conf.spin_ns && (!want->deadline_ns || now < want->deadline_ns));
	w->spin_miss = w->spin_miss >= SPIN_MISSES_MAX ? SPIN_MISSES_MAX : w->spin_miss + 1;
	return false;
}

static int wait_for(struct weft_worker *w, const struct want *want)
{
	for (;;) {
		wf_worker_turn(w);
		if (want->there(w, want->arg) || spin(w, want))
			return WEFT_OK;
		if (want->wakeable && atomic_exchange_explicit(&w->woken, false, memory_order_acq_rel))
			return WEFT_AGAIN;
		if (want->deadline_ns && wf_now_ns() >= want->deadline_ns)
			return WEFT_ETIMEDOUT;
		if (arm(w, !want->wakeable) != WEFT_OK) {
			w->n_arm_again++;
			continue;
		}
		sleep_on_fd(w, want->deadline_ns, want->wakeable);
		wf_worker_turn(w);
		w->n_wake_empty += !want->there(w, want->arg);
	}
}

int wf_worker_wait(struct weft_worker *w, uint64_t deadline_ns)
{
	const struct want want = { event_there, 0, deadline_ns, true };

	return wait_for(w, &want);
}

int wf_worker_wait_op(struct weft_worker *w, weft_op op, uint64_t deadline_ns)
{
	const struct want want = { op_there, op.v, deadline_ns, false };
	int ret = wait_for(w, &want);

	if (ret == WEFT_OK && !wf_pool_find(&w->ops, op.v))
		ret = wf_fail(WEFT_ESTALE, 0, "weft_wait", NULL, "another thread took the completion");
	else if (ret < 0)
		wf_fail(ret, 0, "weft_wait", NULL, "the operation has not ended; it goes on");
	return ret;
}

int weft_wait_any(weft_worker *w, uint64_t deadline_ns)
{
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = wf_worker_wait(w, deadline_ns);
	if (ret < 0)
		wf_fail(ret, 0, "weft_wait_any", NULL, "no event came");
	wf_leave(w);
	return ret;
}
