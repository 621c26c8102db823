/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_close.c - how endpoints end: orderly, at once, or because the other side ended. Every pending operation gets its
 * one completion.
 */
#include "conform/conform.h"

static void a_close_sends_everything_first(void **state)
{
	enum { N = 300 };
	static unsigned char small[N][100];
	size_t len = 2 << 20;
	unsigned char *out = malloc(len), *in = malloc(len), got[100];
	struct wt_posted r, closed;
	weft_call c = wt_call(0);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, len, 1);
	for (int i = 0; i < N; i++) {
		wt_fill(small[i], 100, i);
		wt_send(&p, 0, small[i], 100, 1, WEFT_NO_EVENT);
	}
	wt_send(&p, 0, out, len, 2, WEFT_NO_EVENT);
	closed = wt_took(p.w[0], weft_ep_close(p.ep[0], &c), &c);
	r = wt_recv(&p, 1, in, len, 2, WT_EXACT);
	for (int i = 0; i < N; i++) {
		wt_ok(p.w[1], wt_recv(&p, 1, got, 100, 1, WT_EXACT));
		wt_assert_data(got, 100, i);
	}
	wt_ok(p.w[1], r);
	wt_assert_data(in, len, 1);
	wt_ok(p.w[0], closed);
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void what_came_before_the_close_can_still_be_received(void **state)
{
	struct wt_pair p;
	char in[8];

	(void)state;
	wt_pair_open(&p, 0);
	wt_send(&p, 0, "1234567", 8, 1, WEFT_NO_EVENT);
	wt_ep_close(p.w[0], p.ep[0]);
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_ok(p.w[1], wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT));
	assert_string_equal(in, "1234567");
	wt_pair_close(&p);
}

static void a_closing_endpoint_takes_nothing_new(void **state)
{
	weft_call c = wt_call(0), again = wt_call(0);
	weft_buf b = wt_buf("x", 1);
	struct wt_posted s, closed;
	struct wt_pair p;
	char in[2];

	(void)state;
	wt_pair_open(&p, 0);
	s = wt_send(&p, 0, "y", 1, 1, WEFT_SYNC); /* keeps the close from being done */
	closed = wt_took(p.w[0], weft_ep_close(p.ep[0], &c), &c);
	assert_int_equal(closed.ret, WEFT_PENDING);
	assert_int_equal(weft_send(p.ep[0], &b, 1, 1, &again), WEFT_ECLOSED);
	assert_int_equal(weft_am_send(p.ep[0], 1, "h", 1, &b, 1, &again), WEFT_ECLOSED);
	assert_int_equal(weft_stream_send(p.ep[0], &b, 1, &again), WEFT_ECLOSED);
	assert_int_equal(weft_fence(p.ep[0]), WEFT_ECLOSED);
	assert_int_equal(weft_ep_close(p.ep[0], &again), WEFT_ECLOSED);
	wt_ok(p.w[1], wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT));
	wt_ok(p.w[0], s);
	wt_ok(p.w[0], closed);
	p.ep[0] = NULL;
	wt_pair_close(&p);
}

static void the_peer_of_a_closed_endpoint_is_told(void **state)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf("x", 1);
	struct wt_posted r;
	struct wt_pair p;
	weft_event e;
	char in[8];
	weft_buf bi = wt_buf(in, sizeof(in));

	(void)state;
	wt_pair_open(&p, 0);
	c.from = p.ep[1];
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &bi, 1, 1, WT_EXACT, &c), &c);
	wt_ep_close(p.w[0], p.ep[0]);
	p.ep[0] = NULL;
	e = wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(e.status, WEFT_ECLOSED);
	assert_ptr_equal(e.ep, p.ep[1]);
	wt_fails(p.w[1], r, WEFT_ECLOSED); /* who waits for this peer alone waits no longer */
	c = wt_call(0);
	assert_int_equal(weft_send(p.ep[1], &b, 1, 1, &c), WEFT_ECLOSED);
	assert_non_null(strstr(weft_last_error()->object, wt_variant->transport)); /* not "connecting" */
	assert_non_null(strstr(weft_last_error()->cause, "closed by the peer"));
	wt_pair_close(&p);
}

static void both_sides_may_close_at_once(void **state)
{
	struct wt_pair p;

	(void)state;
	for (int i = 0; i < 5; i++) {
		wt_pair_open(&p, i & 1 ? WT_ONE_WORKER : 0);
		wt_exchange(&p, 0, 10, 1);
		wt_pair_close(&p); /* does */
	}
}

/* On side 0: a close that waits for a send that nobody receives. */
static struct wt_posted a_close_that_waits(struct wt_pair *p, struct wt_posted *send, uint64_t deadline_ns)
{
	static unsigned char out[1000000];
	weft_call c = wt_call(0);
	struct wt_posted closed;

	c.deadline_ns = deadline_ns;
	*send = wt_send(p, 0, out, sizeof(out), 1, WEFT_SYNC);
	closed = wt_took(p->w[0], weft_ep_close(p->ep[0], &c), &c);
	assert_int_equal(closed.ret, WEFT_PENDING);
	return closed;
}

static void a_close_that_misses_its_deadline_is_an_abort(void **state)
{
	struct wt_posted s, closed;
	uint64_t deadline_ns;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	deadline_ns = wt_in_ms(50);
	closed = a_close_that_waits(&p, &s, deadline_ns);
	e = wt_done(p.w[0], closed);
	assert_int_equal(e.status, WEFT_ETIMEDOUT);
	assert_true(wt_now_ns() >= deadline_ns);
	assert_true(wt_done(p.w[0], s).status < 0);
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
}

static void an_abort_ends_a_close_that_waits(void **state)
{
	struct wt_posted s, closed;
	struct wt_pair p;

	(void)state;
	for (int progressed = 0; progressed < 3; progressed++) {
		wt_pair_open(&p, 0);
		closed = a_close_that_waits(&p, &s, progressed ? wt_in_ms(3600000) : 0);
		for (int i = 0; i < progressed * 20; i++)
			weft_progress(p.w[i & 1]->w);
		assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_OK);
		assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_OK); /* still a value: two completions name it */
		wt_fails(p.w[0], s, WEFT_EABORTED);
		wt_fails(p.w[0], closed, WEFT_EABORTED);
		p.ep[0] = NULL;
		wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		wt_pump_ms(2);
		assert_int_equal(wt_count(p.w[0], WEFT_EV_OP) + wt_count(p.w[0], WEFT_EV_DOWN), 0);
		wt_pair_close(&p);
	}
}

/* Whoever aborts cannot know that the close is done, until he reaps it. */
static void an_abort_may_come_when_the_close_is_done(void **state)
{
	weft_call c = wt_call(0);
	struct wt_posted closed;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	closed = wt_took(p.w[0], weft_ep_close(p.ep[0], &c), &c);
	for (int i = 0; i < 2000; i++)
		weft_progress(p.w[i & 1]->w); /* which reaps nothing */
	assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_OK);
	e = wt_done(p.w[0], closed);
	assert_true(e.status == WEFT_OK || e.status == WEFT_EABORTED);
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
}

static void a_close_that_is_cancelled_is_an_abort(void **state)
{
	uint64_t end = wt_in_ms(WT_LIMIT_MS);
	struct wt_posted s, closed;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	closed = a_close_that_waits(&p, &s, 0);
	assert_int_equal(weft_cancel(p.w[0]->w, closed.op), WEFT_OK);
	do /* one at a time: with the last of them the endpoint is gone, and with it the cause */
		assert_true(wt_now_ns() < end);
	while (!weft_reap(p.w[0]->w, &e, 1) || e.user_data != s.id);
	assert_int_equal(e.status, WEFT_EABORTED);
	assert_string_equal(weft_event_error(&e)->cause, "its close was cancelled"); /* there was no deadline */
	wt_fails(p.w[0], closed, WEFT_ECANCELED);
	assert_int_equal(weft_cancel(p.w[0]->w, closed.op), WEFT_ESTALE);
	p.ep[0] = NULL;
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
}

enum { KINDS = 9 };

/* One pending operation of each kind on side 0; the number posted. */
static int post_all_kinds(struct wt_pair *p, struct wt_mem *m, struct wt_posted *out)
{
	static unsigned char bytes[1 << 20], in[1 << 20];
	weft_buf big = wt_buf(bytes, sizeof(bytes)), small = wt_buf(in, 100);
	weft_worker *w = p->w[0]->w;
	weft_ep *ep = p->ep[0];
	weft_call c[KINDS];
	int ret[KINDS], n = 0;

	for (int i = 0; i < KINDS; i++)
		c[i] = wt_call(0);
	c[0].flags = WEFT_SYNC;
	ret[n] = weft_send(ep, &small, 1, 1, &c[n]), n++;
	ret[n] = weft_send(ep, &big, 1, 1, &c[n]), n++;
	c[n].from = ep;
	ret[n] = weft_recv(w, &small, 1, 1, WT_EXACT, &c[n]), n++;
	ret[n] = weft_am_send(ep, 1, "h", 1, &big, 1, &c[n]), n++;
	ret[n] = weft_stream_recv(ep, &small, 1, &c[n]), n++;
	ret[n] = weft_get(ep, &small, 1, m->remote, 0, &c[n]), n++;
	ret[n] = weft_put(ep, &small, 1, m->remote, 0, &c[n]), n++;
	ret[n] = weft_atomic(ep, WEFT_ATOMIC_ADD, m->remote, 0, 1, 0, &c[n]), n++;
	ret[n] = weft_flush(w, ep, &c[n]), n++;
	for (int i = 0; i < n; i++)
		out[i] = wt_took(p->w[0], ret[i], &c[i]);
	return n;
}

static void an_abort_completes_everything_once(void **state)
{
	struct wt_posted op[KINDS];
	struct wt_pair p;
	struct wt_mem m;
	weft_event e;
	unsigned failed = 0;

	(void)state;
	for (int progressed = 0; progressed < 3; progressed++) {
		weft_call c = wt_call(0);

		wt_pair_open(&p, 0);
		wt_mem_open(&p, &m, 4096, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, false);
		post_all_kinds(&p, &m, op);
		for (int i = 0; i < progressed * 5; i++)
			weft_progress(p.w[i & 1]->w);
		assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_OK);
		for (int i = 0; i < KINDS; i++) {
			e = wt_done(p.w[0], op[i]);
			assert_true(e.status == 0 || e.status == WEFT_EABORTED);
			failed += e.status == WEFT_EABORTED;
		}
		wt_pump_ms(5);
		assert_int_equal(wt_count(p.w[0], WEFT_EV_OP), 0); /* and never twice */
		p.ep[0] = NULL;
		wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c), &c));
		assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
		free(m.own);
		wt_pair_close(&p);
	}
	assert_true(failed >= 8);
}

static void a_freed_worker_lets_its_peers_know(void **state)
{
	struct wt_posted op[KINDS];
	struct wt_pair p;
	struct wt_mem m;
	weft_call c = wt_call(0);

	(void)state;
	wt_provider_keeps_fds("ucx-shm", WT_KEPT_WORKERS);
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, 4096, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, false);
	post_all_kinds(&p, &m, op);
	wt_worker_free(p.w[0]); /* with everything pending; nobody hears of it again */
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c), &c));
	assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
	free(m.own);
	wt_ep_close(p.w[1], p.ep[1]);
	wt_worker_free(p.w[1]);
	wt_close(p.ctx);
}

static void a_context_with_workers_stays_open(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *w = wt_worker(ctx, 0);

	(void)state;
	assert_int_equal(weft_close(ctx), WEFT_EBUSY);
	wt_worker_free(w);
	wt_close(ctx);
}

static void a_worker_may_go_with_handles_not_taken(void **state)
{
	weft_call c = wt_call(WEFT_BY_HANDLE);
	struct wt_pair p;
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));

	(void)state;
	wt_pair_open(&p, 0);
	c.from = p.ep[0];
	assert_int_equal(weft_recv(p.w[0]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	c = wt_call(0);
	wt_took(p.w[0], weft_stream_recv(p.ep[0], &b, 1, &c), &c);
	wt_pump_ms(2);
	wt_worker_free(p.w[0]); /* what it knew of the endpoint is gone, too: a leak checker sees */
	wt_worker_free(p.w[1]);
	wt_close(p.ctx);
}

static void a_worker_may_go_with_an_end_not_come_to_its_end(void **state)
{
	weft_call c = wt_call(WEFT_NO_EVENT);
	struct wt_pair p;
	weft_ep *more[2];

	(void)state;
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);
	assert_int_equal(weft_ep_close(more[0], &c), WEFT_PENDING);
	assert_int_equal(weft_cancel(p.w[0]->w, c.op), WEFT_OK); /* an abort, that no progress has executed */
	wt_worker_free(p.w[0]);
	wt_worker_free(p.w[1]);
	wt_close(p.ctx);
}

struct interlude {
	struct wt_pair *p;
	bool played;
};

static void play(void *arg, weft_worker *w, const weft_event *am)
{
	struct interlude *i = arg;

	(void)w;
	(void)am;
	for (int n = 0; n < 200; n++) /* the other side answers the close, and all its descriptors are closed */
		weft_progress(i->p->w[1]->w);
	i->played = true;
}

/* The end of the connection is seen before the answer to the close, which was sent before it. */
static void the_answer_counts_that_came_before_the_end(void **state)
{
	struct interlude i = { .played = false };
	weft_call c = wt_call(0);
	struct wt_posted closed;
	weft_ep *more[2], *hot;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);
	i.p = &p;
	assert_int_equal(weft_am_bind(p.w[0]->w, 1, play, &i), WEFT_OK);
	assert_int_equal(weft_connect(p.w[0]->w, "weft://127.0.0.1:1", NULL, &hot), WEFT_OK);
	c = wt_call(WEFT_NO_EVENT);
	weft_am_send(more[1], 1, NULL, 0, NULL, 0, &c);
	c = wt_call(0);
	closed = wt_took(p.w[0], weft_ep_close(p.ep[0], &c), &c);
	wt_ok(p.w[0], closed);
	p.ep[0] = NULL;
	weft_ep_abort(hot);
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_close_sends_everything_first),
	WT_CASE(what_came_before_the_close_can_still_be_received),
	WT_CASE(a_closing_endpoint_takes_nothing_new),
	WT_CASE(the_peer_of_a_closed_endpoint_is_told),
	WT_CASE(both_sides_may_close_at_once),
	WT_CASE(a_close_that_misses_its_deadline_is_an_abort),
	WT_CASE(an_abort_ends_a_close_that_waits),
	WT_CASE(an_abort_may_come_when_the_close_is_done),
	WT_CASE(a_close_that_is_cancelled_is_an_abort),
	WT_CASE(an_abort_completes_everything_once),
	WT_CASE(a_freed_worker_lets_its_peers_know),
	WT_CASE(a_context_with_workers_stays_open),
	WT_CASE(a_worker_may_go_with_handles_not_taken),
	WT_CASE(a_worker_may_go_with_an_end_not_come_to_its_end),
	WT_CASE(the_answer_counts_that_came_before_the_end),
};
WT_GROUP(wt_group_close, cases);
