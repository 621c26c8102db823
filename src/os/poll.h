/* SPDX-License-Identifier: BSD-3-Clause
 *
 * poll.h - an epoll set whose members are called back, and the two descriptors that make a sleeper
 * wake: a bell (eventfd) and a timer (timerfd, CLOCK_MONOTONIC). Level-triggered: what was not read
 * is reported again. Everything is non-blocking and close-on-exec.
 *
 * A watch is embedded in its user's object. wf_poll_del() may be called from any callback, for any
 * watch, also its own: events that were fetched for it are dropped, and its memory may be freed at
 * once.
 *
 * Like all of src/os: int results are 0 (or a count) or -errno; who knows the object makes the
 * sentence with wf_fail().
 */
#ifndef WF_OS_POLL_H
#define WF_OS_POLL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"

#define WF_POLL_BATCH 64

struct wf_watch;
/* @events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP */
typedef void wf_watch_fn(void *arg, uint32_t events);

struct wf_watch {
	int fd; /* -1: in no set */
	uint32_t events;
	wf_watch_fn *fn;
	void *arg;
	struct wf_list link; /* all watches of the set */
};

struct wf_poll {
	int epfd;
	uint32_t n_watch;
	struct wf_list watches;
	int batch_at, batch_n; /* the events that are being dispatched */
	struct epoll_event batch[WF_POLL_BATCH];
};

/* 0 or -errno. */
int wf_poll_init(struct wf_poll *p);

/* Closes the set. Watches that are still in it are forgotten, not closed. */
void wf_poll_fini(struct wf_poll *p);

/*
 * In a forked child: closes the set and every descriptor that is watched in it, so that the child keeps none of the
 * parent's connections alive. The parent's set is not touched (no epoll_ctl: the set is shared with it).
 */
void wf_poll_forget(struct wf_poll *p);

static inline void wf_watch_init(struct wf_watch *w, wf_watch_fn *fn, void *arg)
{
	w->fd = -1;
	w->events = 0;
	w->fn = fn;
	w->arg = arg;
	wf_list_init(&w->link);
}

static inline bool wf_watch_is_on(const struct wf_watch *w)
{
	return w->fd >= 0;
}

/* Lends @w (initialised, in no set) until wf_poll_del(). @fd stays the caller's and outlives the
 * watch. 0 or -errno. */
int wf_poll_add(struct wf_poll *p, struct wf_watch *w, int fd, uint32_t events);

/* Changes what @w waits for; no system call when nothing changes. 0 or -errno. */
int wf_poll_mod(struct wf_poll *p, struct wf_watch *w, uint32_t events);

/* Takes @w out, before its fd is closed; nothing happens when it is in no set. */
void wf_poll_del(struct wf_poll *p, struct wf_watch *w);

/*
 * Waits up to @timeout_ms (0: not at all, -1: for ever) and calls back for up to @max descriptors
 * (at most WF_POLL_BATCH). A call from within a callback does nothing and returns 0. Returns how
 * many were called, 0 on timeout or a signal, or -errno.
 */
int wf_poll_run(struct wf_poll *p, int timeout_ms, int max);

/* A bell rings from any thread or process and is readable until drained. Gives the fd. 0 or -errno.
 */
int wf_bell_open(int *fd_out);
/* Never blocks; a bell that is rung already stays rung. */
void wf_bell_ring(int fd);
/* True when it had been rung. */
bool wf_bell_drain(int fd);

/* A timer is readable from its time on, until drained or set anew. Gives the fd. 0 or -errno. */
int wf_timer_open(int *fd_out);
/* @at_ns: wf_now_ns() time, in the past means now; 0 disarms. 0 or -errno. */
int wf_timer_set(int fd, uint64_t at_ns);
/* True when it had fired. */
bool wf_timer_drain(int fd);

/* Waits until @fd is ready for @events (POLLIN, ...); 1 ready, 0 timeout or signal, -errno. For
 * sleepers with one fd. */
int wf_poll_one(int fd, short events, int timeout_ms);

#endif
