/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_sleep.c - the worker's descriptor: quiet while nothing happens, readable for every event, and no wake-up lost
 * when two sides fall asleep at random moments. Two processes where the transport can, else two threads.
 */
#include <pthread.h>
#include <time.h>

#include "conform/conform.h"

/* Arms, reaping what waits until it can. */
static void arm(struct wt_w *w)
{
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
	int ret;

	while ((ret = weft_arm(w->w)) == WEFT_AGAIN) {
		wt_pump();
		assert_true(wt_now_ns() < limit);
	}
	assert_int_equal(ret, WEFT_OK);
}

static void an_idle_worker_sleeps(void **state)
{
	struct wt_pair p;

	(void)state;
	if (wt_variant->naps)
		wt_skip("this provider of libfabric's can wake nobody: sleepers look every now and then");
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	for (int i = 0; i < 2; i++) { /* who arms sends what was held back, which wakes the other */
		wt_pump_ms(wt_slow(20));
		arm(p.w[0]);
		arm(p.w[1]);
	}
	assert_false(wt_readable(p.w[0]->w, 100));
	assert_false(wt_readable(p.w[1]->w, 100));
	wt_pair_close(&p);
}

static void every_kind_of_event_wakes(void **state)
{
	struct wt_pair p;
	weft_event e;
	char in[16];

	(void)state;
	wt_pair_open(&p, WT_STREAM_EVENTS);
	for (int kind = 0; kind < 4; kind++) {
		weft_buf b = wt_buf("hello", 5);
		weft_call c = wt_call(WEFT_NO_EVENT | WEFT_COPY);
		struct wt_posted r = { 0 };

		wt_pump_ms(5);
		if (kind == 0)
			r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
		arm(p.w[1]);
		if (kind == 0)
			weft_send(p.ep[0], &b, 1, 1, &c);
		else if (kind == 1)
			weft_am_send(p.ep[0], 1, "h", 1, NULL, 0, &c);
		else if (kind == 2)
			weft_stream_send(p.ep[0], &b, 1, &c);
		else
			weft_wake(p.w[1]->w);
		for (int i = 0; i < 200 && !wt_readable(p.w[1]->w, 5); i++)
			weft_progress(p.w[0]->w); /* late frames need their sender's turns */
		assert_true(wt_readable(p.w[1]->w, 0));
		wt_pump();
		if (kind == 0)
			wt_ok(p.w[1], r);
		if (kind == 1) {
			e = wt_wait(p.w[1], WEFT_EV_AM, UINT64_MAX, WT_LIMIT_MS);
			weft_event_release(p.w[1]->w, &e);
		}
		if (kind == 2)
			wt_wait(p.w[1], WEFT_EV_STREAM, UINT64_MAX, WT_LIMIT_MS);
	}
	arm(p.w[1]);
	wt_ep_close(p.w[0], p.ep[0]); /* pumps both; the end is an event too */
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
}

static void a_deadline_wakes(void **state)
{
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	weft_call c = wt_call(0);
	struct wt_posted r;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pump_ms(wt_slow(20)); /* what belongs to connecting has come */
	c.deadline_ns = wt_in_ms(wt_slow(40));
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
	arm(p.w[1]);
	if (!wt_variant->naps) {
		assert_false(wt_readable(p.w[1]->w, 10));
		for (int i = 0; i < 5; i++) {    /* a transport may have looked after its connection before, where the deadline is late */
			assert_true(wt_readable(p.w[1]->w, wt_slow(1000)));
			if (wt_now_ns() >= c.deadline_ns)
				break;
			arm(p.w[1]);
		}
		assert_true(wt_now_ns() >= c.deadline_ns);
	}
	wt_fails(p.w[1], r, WEFT_ETIMEDOUT);
	assert_true(wt_now_ns() >= c.deadline_ns);
	wt_pair_close(&p);
}

static void arming_with_an_event_waiting_says_again(void **state)
{
	struct wt_pair p;
	struct wt_posted r;
	weft_event e;
	char in[8];

	(void)state;
	wt_pair_open(&p, 0);
	r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
	wt_send(&p, 0, "1234567", 8, 1, WEFT_NO_EVENT | WEFT_COPY);
	for (int i = 0; i < 2000 && weft_progress(p.w[1]->w) == 0; i++)
		weft_progress(p.w[0]->w);
	assert_int_equal(weft_arm(p.w[1]->w), WEFT_AGAIN);
	assert_int_equal(weft_reap(p.w[1]->w, &e, 1), 1);
	assert_int_equal(e.user_data, r.id);
	wt_pair_close(&p);
}

static void a_wait_ends_when_told(void **state)
{
	struct wt_pair p;
	uint64_t start;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pump_ms(20);
	start = wt_now_ns();
	assert_int_equal(weft_wait_any(p.w[0]->w, wt_in_ms(30)), WEFT_ETIMEDOUT);
	assert_true(wt_now_ns() - start >= 30000000u);
	assert_true(wt_now_ns() - start < wt_slow(100) * 1000000ull);
	assert_int_equal(weft_wake(p.w[0]->w), WEFT_OK);
	assert_int_equal(weft_wait_any(p.w[0]->w, wt_in_ms(5000)), WEFT_AGAIN);
	wt_pair_close(&p);
}

/* ---- lost wake-ups ---- */

struct side {
	weft_worker *w;
	weft_ep *ep;
	uint64_t seed;
	size_t rounds;
	bool first;
	const char *wrong;     /* what went wrong, in words */
	size_t at;
};

static void random_pause(uint64_t *seed)
{
	uint64_t r = wt_random(seed), us = wt_random(seed) % 60, until;
	struct timespec ts = { .tv_nsec = (long)us * 1000 };

	if (r % 8 < 3)
		return;
	if (r % 8 == 7) {
		nanosleep(&ts, NULL);
		return;
	}
	until = wt_now_ns() + us * 100;
	while (wt_now_ns() < until)
		;
}

/* Sleeps until an event waits: by its descriptor or by weft_wait_any(). What is wrong, or NULL. */
static const char *fall_asleep(struct side *s)
{
	int ret;

	if (wt_random(&s->seed) & 1) {
		ret = weft_wait_any(s->w, wt_in_ms(wt_slow(5000)));
		if (ret == WEFT_ETIMEDOUT)
			return weft_progress(s->w) > 0 ? "weft_wait_any lost a wake-up" : "no message came";
		return ret == WEFT_OK ? NULL : "weft_wait_any failed";
	}
	ret = weft_arm(s->w);
	if (ret == WEFT_AGAIN)
		return NULL;
	if (ret)
		return "weft_arm failed";
	if (!wt_readable(s->w, (int)wt_slow(5000)))
		return weft_progress(s->w) > 0 ? "the descriptor lost a wake-up" : "no message came";
	return NULL;
}

static const char *await(struct side *s, uint64_t id)
{
	weft_event e[4];

	for (int tries = 0; tries < 100000; tries++) {
		size_t n = weft_reap(s->w, e, 4);
		const char *wrong;

		for (size_t i = 0; i < n; i++) {
			if (e[i].kind == WEFT_EV_OP && e[i].user_data == id)
				return e[i].status ? "a receive failed" : NULL;
			if (e[i].kind == WEFT_EV_DOWN)
				return "the connection broke";
		}
		if (n)
			continue;
		wrong = fall_asleep(s);
		if (wrong)
			return wrong;
	}
	return "woke up for nothing, over and over";
}

static const char *bounce(struct side *s)
{
	uint64_t in = 0;
	weft_buf out, b = wt_buf(&in, sizeof(in));

	for (s->at = 1; s->at <= s->rounds; s->at++) {
		weft_call c = { .size = sizeof(c), .user_data = s->at };
		const char *wrong = NULL;
		int ret = weft_recv(s->w, &b, 1, 1, WT_EXACT, &c);

		if (ret < 0)
			return "a receive was refused";
		if (!s->first && ret == WEFT_PENDING)
			wrong = await(s, s->at);
		if (wrong)
			return wrong;
		random_pause(&s->seed);
		uint64_t what = s->at;
		weft_call cs = { .size = sizeof(cs), .flags = WEFT_NO_EVENT | WEFT_COPY };

		out = wt_buf(&what, sizeof(what));
		if (weft_send(s->ep, &out, 1, 1, &cs) < 0)
			return "a send was refused";
		random_pause(&s->seed);
		if (s->first && ret == WEFT_PENDING)
			wrong = await(s, s->at);
		if (wrong)
			return wrong;
		if (in != s->at)
			return "a wrong message came";
	}
	return NULL;
}

static void *bounce_thread(void *arg)
{
	struct side *s = arg;

	s->wrong = bounce(s);
	return NULL;
}

/* How often the worker has fallen asleep: it armed, and was not told to look again. */
static unsigned long long times_asleep(weft_ctx *ctx, weft_worker *w)
{
	char text[4096];
	size_t len = sizeof(text);
	const char *arms, *refused;

	wt_must(weft_stats(ctx, w, text, &len) == WEFT_OK);
	arms = strstr(text, "\"arms\":");
	refused = strstr(text, "\"arms_refused\":");
	wt_must(arms && refused);
	return strtoull(arms + 7, NULL, 10) - strtoull(refused + 15, NULL, 10);
}

static size_t sleeps(void)
{
	return getenv("WEFT_TEST_LONG") ? 1000000 : wt_slow(1) > 1 ? 2000 : wt_variant->slow ? 3000 : 20000;
}

static void sleep_in_threads(void)
{
	struct side s[2];
	pthread_t t[2];
	struct wt_pair p;

	wt_pair_open(&p, 0);
	for (int i = 0; i < 2; i++) {
		s[i] = (struct side){ .w = p.w[i]->w, .ep = p.ep[i], .seed = 77 + i, .rounds = sleeps(), .first = !i };
		assert_int_equal(pthread_create(&t[i], NULL, bounce_thread, &s[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 2; i++) {
		if (s[i].wrong)
			fail_msg("side %d, round %zu: %s", i, s[i].at, s[i].wrong);
	}
	wt_pair_close(&p);
}

static int sleeping_peer(int sock, void *arg)
{
	struct wt_w *w = wt_worker(wt_open(NULL, NULL), 0);
	struct side s = { .w = w->w, .seed = 4242, .rounds = *(size_t *)arg };
	char url[160];

	wt_must(wt_hear(sock, url, sizeof(url)));
	s.ep = wt_connect(w, url);
	s.wrong = bounce(&s);
	if (s.wrong) {
		fprintf(stderr, "# peer, round %zu: %s\n", s.at, s.wrong);
		return 1;
	}
	wt_ep_close(w, s.ep);
	return 0;
}

static void no_wake_up_is_lost(void **state)
{
	size_t rounds = sleeps();
	struct wt_child child;
	struct wt_w *w;
	struct side s = { .seed = 99, .rounds = rounds, .first = true };
	weft_listener *l;
	char url[160] = "";
	weft_ctx *ctx;
	uint64_t start;

	(void)state;
	if (!wt_variant->processes) {
		sleep_in_threads();
		return;
	}
	wt_child_start(&child, sleeping_peer, &rounds);
	ctx = wt_open(NULL, NULL);
	w = wt_worker(ctx, 0);
	l = wt_listen(w, url, sizeof(url));
	wt_must(wt_say(child.sock, url, sizeof(url)));
	s.w = w->w;
	s.ep = wt_accept(w);
	start = wt_now_ns();
	s.wrong = bounce(&s);
	if (s.wrong)
		fail_msg("round %zu: %s", s.at, s.wrong);
	printf("# %zu rounds in %.2f s, this side slept %llu times\n", rounds, (double)(wt_now_ns() - start) / 1e9,
	       times_asleep(ctx, w->w));
	wt_ep_close(w, s.ep);
	assert_int_equal(wt_child_wait(&child, WT_LIMIT_MS), 0);
	assert_int_equal(weft_listener_close(l), WEFT_OK);
	wt_worker_free(w);
	wt_close(ctx);
}

static void forget(void *arg, weft_worker *w, const weft_event *am)
{
	(void)arg, (void)w, (void)am;
}

/* A program that reaps, finds nothing, and wants to sleep, again and again, while messages come that make no events: it must
 * come to everything else, too. */
static void a_deadline_is_kept_by_who_never_gets_to_sleep(void **state)
{
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
	weft_call c = wt_call(0);
	struct wt_pair p;
	weft_event e;
	char in[8];
	weft_buf b = wt_buf(in, 8);
	size_t n = 0;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_am_bind(p.w[1]->w, 1, forget, NULL), WEFT_OK);
	c.deadline_ns = wt_in_ms(20);
	assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	while (!n) {
		weft_call none = wt_call(WEFT_NO_EVENT | WEFT_COPY);

		assert_true(weft_am_send(p.ep[0], 1, NULL, 0, &b, 1, &none) >= 0);
		assert_true(weft_progress(p.w[0]->w) >= 0);
		weft_arm(p.w[1]->w);
		n = weft_reap(p.w[1]->w, &e, 1);
		assert_true(wt_now_ns() < limit);
	}
	assert_int_equal(e.kind, WEFT_EV_OP);
	assert_int_equal(e.status, WEFT_ETIMEDOUT);
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(an_idle_worker_sleeps),
	WT_CASE(every_kind_of_event_wakes),
	WT_CASE(a_deadline_wakes),
	WT_CASE(a_deadline_is_kept_by_who_never_gets_to_sleep),
	WT_CASE(arming_with_an_event_waiting_says_again),
	WT_CASE(a_wait_ends_when_told),
	WT_CASE_HERE(no_wake_up_is_lost, "has a peer process of its own"),
};
WT_GROUP(wt_group_sleep, cases);
