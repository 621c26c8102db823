/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "os/clock.h"
#include "os/poll.h"
#include "os/proc.h"

struct seen {
	struct wf_poll *poll;
	struct wf_watch watch;
	int fd, calls;
	uint32_t events;
	struct seen **victims; /* deleted and freed by the callback */
	int n_victims;
};

static void note(void *arg, uint32_t events)
{
	struct seen *s = arg;

	s->calls++;
	s->events = events;
	for (int i = 0; i < s->n_victims; i++) {
		if (s->victims[i] == s || !s->victims[i])
			continue;
		wf_poll_del(s->poll, &s->victims[i]->watch);
		close(s->victims[i]->fd);
		free(s->victims[i]);
		s->victims[i] = NULL;
	}
}

static struct seen *new_bell(struct wf_poll *p)
{
	struct seen *s = calloc(1, sizeof(*s));

	s->poll = p;
	assert_int_equal(wf_bell_open(&s->fd), 0);
	wf_watch_init(&s->watch, note, s);
	assert_int_equal(wf_poll_add(p, &s->watch, s->fd, EPOLLIN), 0);
	return s;
}

static void free_bell(struct seen *s)
{
	wf_poll_del(s->poll, &s->watch);
	close(s->fd);
	free(s);
}

static void test_level_is_reported_until_drained(void **state)
{
	struct wf_poll p;
	struct seen *s;

	(void)state;
	assert_int_equal(wf_poll_init(&p), 0);
	s = new_bell(&p);
	assert_int_equal(wf_poll_run(&p, 0, 8), 0);
	wf_bell_ring(s->fd);
	wf_bell_ring(s->fd);
	assert_int_equal(wf_poll_run(&p, 1000, 8), 1);
	assert_int_equal(wf_poll_run(&p, 1000, 8), 1);
	assert_int_equal(s->events, EPOLLIN);
	assert_true(wf_bell_drain(s->fd));
	assert_false(wf_bell_drain(s->fd));
	assert_int_equal(wf_poll_run(&p, 0, 8), 0);
	assert_int_equal(s->calls, 2);
	assert_int_equal(wf_poll_mod(&p, &s->watch, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(wf_poll_run(&p, 1000, 8), 1);
	assert_int_equal(s->events, EPOLLOUT);
	free_bell(s);
	assert_int_equal(p.n_watch, 0);
	wf_poll_fini(&p);
	wf_poll_fini(&p);
}

/* Whoever is called first frees all others: exactly one call, and no touch of freed memory (asan
 * would tell). */
static void test_watch_freed_during_dispatch_is_not_called(void **state)
{
	struct seen *all[10];
	struct wf_poll p;
	struct seen *left = NULL;

	(void)state;
	assert_int_equal(wf_poll_init(&p), 0);
	for (int i = 0; i < 10; i++) {
		all[i] = new_bell(&p);
		all[i]->victims = all;
		all[i]->n_victims = 10;
		wf_bell_ring(all[i]->fd);
	}
	assert_int_equal(wf_poll_run(&p, 1000, 10), 1);
	for (int i = 0; i < 10; i++) {
		if (all[i])
			left = all[i];
	}
	assert_non_null(left);
	assert_int_equal(left->calls, 1);
	assert_int_equal(p.n_watch, 1);
	free_bell(left);
	wf_poll_fini(&p);
}

static void run_again(void *arg, uint32_t events)
{
	struct seen *s = arg;

	(void)events;
	s->calls++;
	assert_int_equal(wf_poll_run(s->poll, 0, 8), 0);
	wf_poll_del(s->poll, &s->watch);
	wf_poll_del(s->poll, &s->watch);
}

static void test_callback_may_delete_itself_and_cannot_nest(void **state)
{
	struct wf_poll p;
	struct seen *s;

	(void)state;
	assert_int_equal(wf_poll_init(&p), 0);
	s = new_bell(&p);
	s->watch.fn = run_again;
	wf_bell_ring(s->fd);
	assert_int_equal(wf_poll_run(&p, 1000, 8), 1);
	assert_int_equal(wf_poll_run(&p, 0, 8), 0);
	assert_int_equal(s->calls, 1);
	assert_false(wf_watch_is_on(&s->watch));
	free_bell(s);
	wf_poll_fini(&p);
}

static void test_bad_descriptor_is_refused(void **state)
{
	struct wf_watch w;
	struct wf_poll p;

	(void)state;
	assert_int_equal(wf_poll_init(&p), 0);
	wf_watch_init(&w, note, NULL);
	assert_int_equal(wf_poll_add(&p, &w, 9999, EPOLLIN), -EBADF);
	assert_false(wf_watch_is_on(&w));
	wf_poll_fini(&p);
}

static void test_timer_fires_at_its_time_and_not_before(void **state)
{
	uint64_t at;
	int fd;

	(void)state;
	assert_int_equal(wf_timer_open(&fd), 0);
	assert_int_equal(wf_poll_one(fd, POLLIN, 0), 0);
	at = wf_now_ns() + 20 * WF_NS_PER_MS;
	assert_int_equal(wf_timer_set(fd, at), 0);
	assert_false(wf_timer_drain(fd));
	assert_int_equal(wf_poll_one(fd, POLLIN, 5000), 1);
	assert_true(wf_now_ns() >= at);
	assert_true(wf_timer_drain(fd));
	assert_int_equal(wf_timer_set(fd, 1), 0); /* long ago: now */
	assert_int_equal(wf_poll_one(fd, POLLIN, 5000), 1);
	assert_int_equal(wf_timer_set(fd, 0), 0);
	assert_int_equal(wf_poll_one(fd, POLLIN, 0), 0);
	assert_int_equal(wf_timer_set(fd, UINT64_MAX), 0);
	assert_int_equal(wf_poll_one(fd, POLLIN, 0), 0);
	close(fd);
}

static void *ring(void *arg)
{
	wf_bell_ring(*(int *)arg);
	return NULL;
}

static void test_bell_wakes_another_thread(void **state)
{
	pthread_t thread;
	int fd;

	(void)state;
	assert_int_equal(wf_bell_open(&fd), 0);
	pthread_create(&thread, NULL, ring, &fd);
	assert_int_equal(wf_poll_one(fd, POLLIN, 10000), 1);
	pthread_join(thread, NULL);
	close(fd);
}

static void test_full_bell_stays_rung(void **state)
{
	uint64_t almost = UINT64_MAX - 1;
	int fd;

	(void)state;
	assert_int_equal(wf_bell_open(&fd), 0);
	assert_int_equal(write(fd, &almost, sizeof(almost)), sizeof(almost));
	wf_bell_ring(fd); /* would block; must not */
	assert_true(wf_bell_drain(fd));
	close(fd);
}

static void test_nothing_stays_open(void **state)
{
	int before = wf_fd_count();
	struct wf_poll p;

	(void)state;
	assert_true(before > 0);
	assert_int_equal(wf_poll_init(&p), 0);
	free_bell(new_bell(&p));
	wf_poll_fini(&p);
	assert_int_equal(wf_fd_count(), before);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_level_is_reported_until_drained),
	cmocka_unit_test(test_watch_freed_during_dispatch_is_not_called),
	cmocka_unit_test(test_callback_may_delete_itself_and_cannot_nest),
	cmocka_unit_test(test_bad_descriptor_is_refused),
	cmocka_unit_test(test_timer_fires_at_its_time_and_not_before),
	cmocka_unit_test(test_bell_wakes_another_thread),
	cmocka_unit_test(test_full_bell_stays_rung),
	cmocka_unit_test(test_nothing_stays_open),
};

UT_MAIN(tests)
