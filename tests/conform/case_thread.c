/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_thread.c - one worker, one thread at a time; shared workers; two workers in two threads.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "conform/conform.h"

struct sleeper {
	weft_worker *w;
	atomic_bool started;
	int ret;
};

static void *sleep_in_wait(void *arg)
{
	struct sleeper *s = arg;

	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));

	s->started = true;
	do
		s->ret = weft_wait_any(s->w, limit);
	while (s->ret == WEFT_ETHREAD && wt_now_ns() < limit); /* the other thread was looking just then */
	return NULL;
}

static void nap_ms(long ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

static void a_second_thread_is_told_off(void **state)
{
	struct sleeper s = { 0 };
	weft_buf b = wt_buf("x", 1);
	weft_call c = wt_call(0);
	struct wt_pair p;
	pthread_t t;
	weft_event e;
	weft_op none = { 0 };
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));

	(void)state;
	wt_pair_open(&p, 0);
	s.w = p.w[0]->w;
	assert_int_equal(pthread_create(&t, NULL, sleep_in_wait, &s), 0);
	do {
		nap_ms(10);
		assert_true(wt_now_ns() < limit);
	} while (!s.started || weft_progress(s.w) != WEFT_ETHREAD);
	assert_int_equal(weft_progress(s.w), WEFT_ETHREAD);
	assert_int_equal(weft_reap(s.w, &e, 1), 0);
	assert_int_equal(weft_last_error()->status, WEFT_ETHREAD);
	assert_int_equal(weft_arm(s.w), WEFT_ETHREAD);
	assert_int_equal(weft_send(p.ep[0], &b, 1, 1, &c), WEFT_ETHREAD);
	assert_int_equal(weft_recv(s.w, &b, 1, 1, WT_EXACT, &c), WEFT_ETHREAD);
	assert_int_equal(weft_cancel(s.w, none), WEFT_ETHREAD);
	assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_ETHREAD);
	assert_int_equal(weft_worker_free(s.w), WEFT_ETHREAD);
	assert_int_equal(weft_wake(s.w), WEFT_OK);
	pthread_join(t, NULL);
	assert_int_equal(s.ret, WEFT_AGAIN);
	wt_exchange(&p, 0, 100, 1); /* nothing was harmed */
	wt_pair_close(&p);
}

enum { THREADS = 4 };

struct sharer {
	weft_worker *w[2];
	weft_ep *ep[2];
	unsigned number;
	size_t rounds;
	const char *wrong;
};

static const char *share(struct sharer *s)
{
	static const size_t lens[] = { 8, 1000, 100000 };
	unsigned char *out = malloc(100000), *in = malloc(100000);
	const char *wrong = NULL;

	for (size_t i = 0; i < s->rounds && !wrong; i++) {
		int from = (i + s->number) & 1;
		size_t len = i % 50 ? lens[i % 2] : lens[2];
		weft_call cs = { .size = sizeof(cs), .flags = WEFT_BY_HANDLE }, cr = cs;
		weft_buf bs = wt_buf(out, len), br = wt_buf(in, len);
		uint64_t tag = s->number * 1000000 + i;
		weft_event e;
		int r, t;

		wt_fill(out, len, tag);
		r = weft_recv(s->w[!from], &br, 1, tag, WT_EXACT, &cr);
		t = weft_send(s->ep[from], &bs, 1, tag, &cs);
		if (r < 0 || t < 0)
			wrong = "refused";
		else if (t == WEFT_PENDING && (weft_wait(s->w[from], cs.op, wt_in_ms(wt_slow(WT_LIMIT_MS)), &e) || e.status))
			wrong = "a send failed";
		else if (r == WEFT_PENDING && (weft_wait(s->w[!from], cr.op, wt_in_ms(wt_slow(WT_LIMIT_MS)), &e) || e.status))
			wrong = "a receive failed";
		else if (wt_differs(in, len, tag) != SIZE_MAX)
			wrong = "wrong bytes";
	}
	free(out);
	free(in);
	return wrong;
}

static void *share_thread(void *arg)
{
	struct sharer *s = arg;

	s->wrong = share(s);
	return NULL;
}

static void a_shared_worker_serves_every_thread(void **state)
{
	struct sharer s[THREADS];
	pthread_t t[THREADS];
	struct wt_pair p = { .ctx = wt_open(NULL, NULL) };
	size_t running = THREADS;
	uint64_t limit = wt_in_ms(wt_slow(60000));

	(void)state;
	for (int i = 0; i < 2; i++)
		p.w[i] = wt_worker(p.ctx, WEFT_SHARED);
	p.listener = wt_listen(p.w[1], p.url, sizeof(p.url));
	wt_pair_more(&p, p.ep);
	for (int i = 0; i < THREADS; i++) {
		s[i] = (struct sharer){ .w = { p.w[0]->w, p.w[1]->w }, .ep = { p.ep[0], p.ep[1] }, .number = i };
		s[i].rounds = wt_rounds(500);
		assert_int_equal(pthread_create(&t[i], NULL, share_thread, &s[i]), 0);
	}
	for (int i = 0; i < THREADS; running--, i++) {
		while (pthread_tryjoin_np(t[i], NULL)) {
			wt_pump(); /* a thread that waits on one worker does not turn the other */
			assert_true(wt_now_ns() < limit);
		}
	}
	for (int i = 0; i < THREADS; i++) {
		if (s[i].wrong)
			fail_msg("thread %d: %s", i, s[i].wrong);
	}
	wt_pair_close(&p);
}

struct runner {
	weft_worker *w;
	weft_ep *ep;
	size_t rounds, len;
	bool first;
	const char *wrong;
};

static const char *wait_for(struct runner *r, int ret, weft_call *c)
{
	weft_event e = c->event;

	if (ret < 0)
		return "refused";
	if (ret == WEFT_PENDING && weft_wait(r->w, c->op, wt_in_ms(wt_slow(WT_LIMIT_MS)), &e))
		return "a wait failed";
	return e.status ? "an operation failed" : NULL;
}

static const char *ping_pong(struct runner *r)
{
	unsigned char *out = malloc(r->len), *in = malloc(r->len);
	const char *wrong = NULL;

	for (size_t i = 0; i < 2 * r->rounds && !wrong; i++) {
		weft_call c = { .size = sizeof(c), .flags = WEFT_BY_HANDLE };
		weft_buf bs = wt_buf(out, r->len), br = wt_buf(in, r->len);

		if ((i & 1) == r->first) {
			wrong = wait_for(r, weft_recv(r->w, &br, 1, 1, WT_EXACT, &c), &c);
			if (!wrong && wt_differs(in, r->len, i) != SIZE_MAX)
				wrong = "wrong bytes";
		} else {
			wt_fill(out, r->len, i);
			wrong = wait_for(r, weft_send(r->ep, &bs, 1, 1, &c), &c);
		}
	}
	free(out);
	free(in);
	return wrong;
}

static void *ping_pong_thread(void *arg)
{
	struct runner *r = arg;

	r->wrong = ping_pong(r);
	return NULL;
}

/* A worker whose thread has ended is turned here: what that thread sent last may still be inside. */
static void join_both(struct wt_pair *p, pthread_t t[2])
{
	bool ended[2] = { false, false };

	while (!ended[0] || !ended[1]) {
		for (int i = 0; i < 2; i++) {
			if (!ended[i])
				ended[i] = !pthread_tryjoin_np(t[i], NULL);
			else
				weft_progress(p->w[i]->w);
		}
		nap_ms(1);
	}
}

static void two_workers_in_two_threads_talk(void **state)
{
	static const size_t lens[] = { 8, 4000, 1 << 20 }, rounds[] = { 5000, 2000, 50 };
	struct runner r[2];
	pthread_t t[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int k = 0; k < 3; k++) {
		for (int i = 0; i < 2; i++) {
			r[i] = (struct runner){ .w = p.w[i]->w, .ep = p.ep[i], .len = lens[k], .first = !i };
			r[i].rounds = wt_rounds(rounds[k]);
			assert_int_equal(pthread_create(&t[i], NULL, ping_pong_thread, &r[i]), 0);
		}
		join_both(&p, t);
		for (int i = 0; i < 2; i++) {
			if (r[i].wrong)
				fail_msg("%zu bytes, side %d: %s", lens[k], i, r[i].wrong);
		}
	}
	wt_pair_close(&p);
}

static void a_wake_comes_from_any_thread(void **state)
{
	struct sleeper s = { 0 };
	struct wt_pair p;
	pthread_t t;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pump_ms(5);
	s.w = p.w[0]->w;
	for (int i = 0; i < 100; i++) {
		s.started = false;
		assert_int_equal(pthread_create(&t, NULL, sleep_in_wait, &s), 0);
		if (i & 1) {
			while (!s.started)
				nap_ms(0);
		}
		assert_int_equal(weft_wake(s.w), WEFT_OK);
		pthread_join(t, NULL);
		assert_int_equal(s.ret, WEFT_AGAIN);
	}
	wt_pair_close(&p);
}

enum { WAITERS = 3, WAIT_ROUNDS = 400 };

struct waiter {
	weft_worker *w;
	uint64_t tag;
	size_t rounds;
	atomic_size_t *posted;
	int wrong;
};

static void *wait_for_mine(void *arg)
{
	struct waiter *s = arg;

	for (size_t i = 0; i < s->rounds && !s->wrong; i++) {
		weft_call c = { .size = sizeof(c), .flags = WEFT_BY_HANDLE };
		uint64_t in;
		weft_buf b = wt_buf(&in, sizeof(in));
		weft_event e;
		int ret = weft_recv(s->w, &b, 1, s->tag, WT_EXACT, &c);

		(*s->posted)++;
		if (ret == WEFT_PENDING)
			ret = weft_wait(s->w, c.op, wt_in_ms(wt_slow(2000)), &e);
		if (ret)
			s->wrong = ret;
	}
	return NULL;
}

/* One message in each round wakes one of those who sleep on the same worker; all of them come to their end. */
static void those_who_wait_together_wake_each_other(void **state)
{
	struct waiter s[WAITERS];
	pthread_t t[WAITERS];
	struct wt_pair p = { .ctx = wt_open(NULL, NULL) };
	atomic_size_t posted = 0;
	uint64_t seed = 3;

	(void)state;
	for (int i = 0; i < 2; i++)
		p.w[i] = wt_worker(p.ctx, i ? WEFT_SHARED : 0);
	p.listener = wt_listen(p.w[1], p.url, sizeof(p.url));
	wt_pair_more(&p, p.ep);
	for (int i = 0; i < WAITERS; i++) {
		s[i] = (struct waiter){ .w = p.w[1]->w, .tag = i, .rounds = wt_rounds(WAIT_ROUNDS), .posted = &posted };
		assert_int_equal(pthread_create(&t[i], NULL, wait_for_mine, &s[i]), 0);
	}
	for (size_t r = 0; r < s[0].rounds; r++) {
		uint64_t limit = wt_in_ms(wt_slow(3000));

		while (posted < (r + 1) * WAITERS && wt_now_ns() < limit)
			weft_progress(p.w[0]->w);
		if (wt_random(&seed) % 2)
			nap_ms(1);
		for (int i = 0; i < WAITERS; i++)
			wt_send(&p, 0, &seed, sizeof(seed), (r + i) % WAITERS, WEFT_NO_EVENT | WEFT_COPY);
		weft_progress(p.w[0]->w);
	}
	for (int i = 0; i < WAITERS;) {
		weft_progress(p.w[0]->w);
		i += !pthread_tryjoin_np(t[i], NULL);
	}
	for (int i = 0; i < WAITERS; i++)
		assert_int_equal(s[i].wrong, 0);
	wt_pair_close(&p);
}

static void a_grant_nobody_opened_is_no_workers_business(void **state)
{
	struct sleeper s = { 0 };
	weft_buf b = wt_buf((char[16]){ 0 }, 16);
	unsigned char token[64];
	size_t len = sizeof(token);
	weft_call c = wt_call(0);
	weft_grant g;
	weft_mem *m;
	struct wt_pair p;
	pthread_t t;

	(void)state;
	wt_pair_open(&p, 0);
	s.w = p.w[0]->w;
	assert_int_equal(pthread_create(&t, NULL, sleep_in_wait, &s), 0);
	while (!s.started || weft_progress(s.w) != WEFT_ETHREAD)
		nap_ms(1);
	assert_int_equal(weft_mem_register(p.ctx, &b, WEFT_READ, &m), WEFT_OK);
	assert_int_equal(weft_grant_new(m, 0, 16, WEFT_READ, NULL, token, &len, &g), WEFT_OK);
	assert_int_equal(weft_grant_revoke(m, g, &c), WEFT_OK); /* not WEFT_ETHREAD: another thread has the first worker */
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	assert_int_equal(weft_wake(s.w), WEFT_OK);
	pthread_join(t, NULL);
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_second_thread_is_told_off),
	WT_CASE_HERE(a_shared_worker_serves_every_thread, "threads of one process"),
	WT_CASE_HERE(two_workers_in_two_threads_talk, "threads of one process"),
	WT_CASE(a_wake_comes_from_any_thread),
	WT_CASE_HERE(those_who_wait_together_wake_each_other, "threads of one process"),
	WT_CASE_HERE(a_grant_nobody_opened_is_no_workers_business, "threads of one process"),
};
WT_GROUP(wt_group_thread, cases);
