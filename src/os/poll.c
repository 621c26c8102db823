/* SPDX-License-Identifier: BSD-3-Clause
 *
 * poll.c - see poll.h. epoll hands back pointers that it fetched some time ago; wf_poll_del()
 * strikes its watch out of the batch that is being dispatched, which is what makes freeing from a
 * callback safe.
 */
#include "os/poll.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/clock.h"

int wf_poll_init(struct wf_poll *p)
{
	p->epfd = wf_fault_point("epoll_create") ? (errno = EMFILE, -1) :
						   epoll_create1(EPOLL_CLOEXEC);
	p->n_watch = 0;
	wf_list_init(&p->watches);
	p->batch_at = 0;
	p->batch_n = 0;
	return p->epfd < 0 ? -errno : 0;
}

void wf_poll_fini(struct wf_poll *p)
{
	if (p->epfd >= 0)
		close(p->epfd);
	p->epfd = -1;
	p->n_watch = 0;
	p->batch_n = 0;
}

void wf_poll_forget(struct wf_poll *p)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(&p->watches))) {
		struct wf_watch *w = wf_list_entry(it, struct wf_watch, link);

		close(w->fd);
		w->fd = -1;
	}
	close(p->epfd);
	p->epfd = -1;
}

int wf_poll_add(struct wf_poll *p, struct wf_watch *w, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (wf_fault_point("epoll_add"))
		return -ENOSPC;
	if (epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	w->fd = fd;
	w->events = events;
	wf_list_push_back(&p->watches, &w->link);
	p->n_watch++;
	return 0;
}

int wf_poll_mod(struct wf_poll *p, struct wf_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (w->events == events)
		return 0;
	if (epoll_ctl(p->epfd, EPOLL_CTL_MOD, w->fd, &ev))
		return -errno;
	w->events = events;
	return 0;
}

void wf_poll_del(struct wf_poll *p, struct wf_watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(p->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	w->events = 0;
	wf_list_remove(&w->link);
	p->n_watch--;
	for (int i = p->batch_at; i < p->batch_n; i++) {
		if (p->batch[i].data.ptr == w)
			p->batch[i].data.ptr = NULL;
	}
}

int wf_poll_run(struct wf_poll *p, int timeout_ms, int max)
{
	int called = 0;
	int n;

	if (p->batch_n) /* from within a callback: the batch is in use */
		return 0;
	n = epoll_wait(p->epfd, p->batch, WF_MIN(WF_MAX(max, 1), WF_POLL_BATCH), timeout_ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	p->batch_n = n;
	for (p->batch_at = 0; p->batch_at < p->batch_n;) {
		const struct epoll_event *ev = &p->batch[p->batch_at++];
		struct wf_watch *w = ev->data.ptr;

		if (!w)
			continue;
		called++;
		w->fn(w->arg, ev->events);
	}
	p->batch_n = 0;
	p->batch_at = 0;
	return called;
}

int wf_bell_open(int *fd_out)
{
	int fd = wf_fault_point("eventfd") ? (errno = EMFILE, -1) :
					     eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	*fd_out = fd;
	return 0;
}

void wf_bell_ring(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR); /* EAGAIN: the counter is full, so it is rung */
}

/* Reads the counter of an eventfd or timerfd. */
static bool drain(int fd)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
	return n == sizeof(count);
}

bool wf_bell_drain(int fd)
{
	return drain(fd);
}

int wf_timer_open(int *fd_out)
{
	int fd = wf_fault_point("timerfd") ?
			 (errno = EMFILE, -1) :
			 timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	*fd_out = fd;
	return 0;
}

int wf_timer_set(int fd, uint64_t at_ns)
{
	/* a tv of 0, 0 disarms, which is just what at_ns == 0 asks for */
	uint64_t s = WF_MIN(at_ns / WF_NS_PER_S, (uint64_t)INT64_MAX / WF_NS_PER_S);
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)s,
					       .tv_nsec = (long)(at_ns % WF_NS_PER_S) } };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL) ? -errno : 0;
}

bool wf_timer_drain(int fd)
{
	return drain(fd);
}

int wf_poll_one(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n = poll(&pfd, 1, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n > 0;
}
