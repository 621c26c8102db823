/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_bounds.c - lanes that broke are made again, over devices in software: how often and how soon, by whose clock, with what
 * memory, and what a peer may ask.
 */
#include "unit/verbs_renew.h"

/* ---- how often ---- */

static void a_lane_that_breaks_for_ever_is_left_alone_in_the_end(void **state)
{
	struct wt_pair p;

	(void)state;
	open_both(&p);
	for (unsigned i = 0; i < WF_RENEW_TRIES; i++) {
		assert_true(break_lane(p.ep[i & 1]));
		comes_to(&p, "tcp");
		if (i) {
			uint64_t pause = WF_RENEW_PAUSE_NS << WF_MIN(i - 1, WF_RENEW_DOUBLINGS), at = p.ep[0]->renew->not_before;

			assert_true(at > wt_now_ns() && at <= wt_now_ns() + pause + pause / WF_RENEW_PAUSE_SPREAD);
			p.ep[0]->renew->not_before = p.ep[1]->renew->not_before = 0;
			at_once(p.ep[0]);
		}
		comes_to(&p, "verbs");
		wt_exchange(&p, (int)(i & 1), 100, i);
	}
	break_lane(p.ep[0]);
	comes_to(&p, "tcp");
	p.ep[0]->renew->not_before = 0;
	wf_port_changed(p.ep[0]->w->port[p.ep[0]->renew->tr]);   /* nor then */
	wt_pump_ms(50);
	assert_true(is_over(&p, "tcp"));
	for (int k = 0; k < 2; k++)
		says(&p, k, "given up after 16 attempts in a row to connect again, the last: it broke soon after");
	sleeps(p.w[0]);
	sleeps(p.w[1]);
	wt_exchange(&p, 0, 300000, 1);
	wt_pair_close(&p);
}

/* Who found no memory for an attempt waits for the next, and not for a port to change. */
static void memory_that_is_short_for_a_moment_costs_one_attempt(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();                          /* they end a program that asks for so much */
#endif
	for (int side = 0; side < 2; side++) {
		struct wf_transport greedy = wf_verbs;
		struct wf_port *port;
		struct wt_pair p;

		open_both(&p);
		port = p.ep[side]->msg->port;
		greedy.lane_size = SIZE_MAX / 4;
		port->tr = &greedy;
		break_lane(p.ep[0]);
		comes_to(&p, "tcp");
		for (uint64_t until = wt_in_ms(500); !p.ep[side]->renew->why[0] && wt_now_ns() < until;)
			wt_pump();
		says(&p, side, "no memory for a lane");
		assert_false(p.ep[0]->renew->waits);
		port->tr = &wf_verbs;
		comes_to(&p, "verbs");           /* by the clock */
		wt_pair_close(&p);
	}
}

/* One that stood for a minute is not one that flaps. */
static void a_lane_that_stood_makes_the_count_begin_anew(void **state)
{
	struct wt_pair p;

	(void)state;
	open_both(&p);
	for (unsigned i = 0; i < 4; i++) {
		break_lane(p.ep[0]);
		wt_exchange(&p, 0, 100, 1);
		comes_to(&p, "verbs");
		assert_int_equal(p.ep[0]->renew->tries, 1);
		p.ep[0]->renew->since -= WF_RENEW_STOOD_NS;
		p.ep[0]->renew->not_before = 0;   /* a second has passed, too */
	}
	wt_pair_close(&p);
}

/* A peer that does not know how is left on tcp, as before. */
static void a_peer_that_cannot_is_not_asked(void **state)
{
	struct wt_pair p;

	(void)state;
	open_both(&p);
	p.ep[0]->may_renew = p.ep[1]->may_renew = false;
	break_lane(p.ep[0]);
	wt_exchange(&p, 0, 300000, 1);
	wt_pump_ms(100);
	assert_true(is_over(&p, "tcp"));
	assert_int_equal(p.ep[0]->renew->number, 0);
	says(&p, 0, "not used: verbs: " PULLED "\n");
	sleeps(p.w[0]);
	sleeps(p.w[1]);
	wt_pair_close(&p);
}

/* ---- how soon, and with what memory ---- */

/* The timer of an attempt has its place from the break until the lane is back, or given up: no attempt fails for want of one. */
static void an_attempt_finds_its_timer(void **state)
{
	static const uint8_t at[] = { RENEW_ASKED, RENEW_MAKING, RENEW_MOVING };
	struct wt_pair p;

	(void)state;
	for (unsigned i = 0; i < WF_ARRAY_LEN(at); i++) {
		open_both(&p);
		verbs_break(lane_of(p.ep[0]), PULLED);
		while (!p.ep[0]->renew)
			wt_pump();
		assert_true(wf_heap_is_linked(&p.ep[0]->renew->timer.node));
		while (p.ep[0]->renew->state != at[i])
			weft_progress(p.w[wt_now_ns() & 1]->w);
		assert_true(wf_heap_is_linked(&p.ep[0]->renew->timer.node));
		comes_to(&p, "verbs");
		for (int k = 0; k < 2; k++)
			assert_false(wf_heap_is_linked(&p.ep[k]->renew->timer.node));
		wt_pair_close(&p);
	}
}

/* Endpoints that break together begin within a short time, each at its own moment, and pause each its own time. */
static void not_all_try_at_the_same_moment(void **state)
{
	enum { N = 40 };
	uint64_t at[N + 1], pause[N + 1], begin, early = 0;
	unsigned same = 0;
	weft_ep *ep[N + 1][2];
	struct wt_pair p;

	(void)state;
	open_both(&p);
	memcpy(ep[N], p.ep, sizeof(ep[N]));
	for (unsigned i = 0; i < N; i++)
		wt_pair_more(&p, ep[i]);
	fault("port_down");              /* they wait for that */
	wt_pump_ms(5);
	for (unsigned i = 0; i <= N; i++)
		verbs_break(lane_of(ep[i][0]), PULLED);
	wt_pump_ms(200);
	for (unsigned i = 0; i <= N; i++)
		assert_true(ep[i][0]->renew->waits);
	begin = wt_now_ns();
	fault(NULL);
	weft_progress(p.w[0]->w);
	for (unsigned i = 0; i <= N; i++) {
		struct wf_renew *r = ep[i][0]->renew;

		at[i] = r->timer.node.key;
		assert_in_range(at[i], begin, wt_now_ns() + WF_RENEW_SPREAD_NS);
		early += at[i] < begin + WF_RENEW_SPREAD_NS / 2;
		for (unsigned k = 0; k < i; k++)
			same += at[i] == at[k];
	}
	assert_in_range(early, N / 5, N - N / 5);
	assert_true(same <= 1);
	for (unsigned i = 0; i <= N; i++) {
		memcpy(p.ep, ep[i], sizeof(ep[i]));
		comes_to(&p, "verbs");
		pause[i] = p.ep[0]->renew->not_before - at[i];
		assert_true(pause[i] >= WF_RENEW_PAUSE_NS);
	}
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < 2; k++)
			weft_ep_abort(ep[i][k]);
	wt_pair_close(&p);
}

/* The first rail reaches the peer and the second says nothing: messages go back to verbs soon, and without it. */
static void a_rail_that_says_nothing_holds_up_no_lane(void **state)
{
	struct wt_pair p;
	uint64_t begin;
	char word[16];

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	open_both(&p);
	assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
	snprintf(word, sizeof(word), "mute%c", lane_of(p.ep[0])->rail[0]->dev->name[4]);
	fault(word);                     /* it is the second next time */
	verbs_break(lane_of(p.ep[0]), PULLED);
	comes_to(&p, "tcp");             /* an adapter that gives nothing back has a second */
	begin = wt_now_ns();
	comes_to(&p, "verbs");
	assert_in_range(wt_now_ns() - begin, VERBS_PROVE_NS, 4 * VERBS_PROVE_NS);
	says(&p, 0, "is left out: the peer's adapter is not reached over it");
	fault(NULL);
	wt_exchange(&p, 0, 4 << 20, 1);  /* the peer finds out */
	wt_pair_close(&p);
}

/* What came over a lane that is broken again, and that core takes when the peer has moved, is no reason to wake up meanwhile. */
static void nobody_wakes_for_what_cannot_be_taken_yet(void **state)
{
	struct verbs_lane *l;
	struct wt_posted r;
	struct wt_pair p;
	char in[8];

	(void)state;
	open_both(&p);
	break_and_go_to(&p, 0, RENEW_MOVING);
	l = any_lane(p.ep[0]);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); p.ep[1]->msg == p.ep[1]->boot; weft_progress(p.w[1]->w))
		assert_true(wt_now_ns() < limit);
	wt_ok(p.w[1], wt_send(&p, 1, "message", 8, 5, WEFT_COPY));
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !l->n_held; wf_verbs.poll(l->base.port))   /* and not what comes over tcp */
		assert_true(wt_now_ns() < limit);
	verbs_break(l, PULLED);
	for (uint64_t until = wt_in_ms(1500); wt_now_ns() < until; wf_verbs.poll(l->base.port))
		;
	assert_int_equal(l->state, VERBS_BREAKING);
	assert_int_equal(verbs_lane_port(l)->wake_at, 0);
	r = wt_recv(&p, 0, in, sizeof(in), 5, WT_EXACT);
	wt_ok(p.w[0], r);
	assert_string_equal(in, "message");
	p.ep[0]->renew->not_before = 0;
	at_once(p.ep[0]);
	comes_to(&p, "verbs");
	wt_pair_close(&p);
}

/* ---- what a peer may ask ---- */

static void a_grant_that_is_revoked_meanwhile_is_not_offered_again(void **state)
{
	weft_call c = wt_call(0);
	struct wt_pair p;
	struct wt_mem m;
	int ret;

	(void)state;
	open_both(&p);
	wt_mem_open(&p, &m, 4096, WEFT_READ | WEFT_WRITE, true);
	wt_exchange(&p, 0, 8, 1);
	assert_int_equal(p.ep[1]->n_opens, 1);
	break_and_go_to(&p, 0, RENEW_MOVING);
	ret = weft_grant_revoke(m.mem, m.grant, &c);
	assert_int_equal(ret, WEFT_PENDING);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); p.ep[1]->msg == p.ep[1]->boot; weft_progress(p.w[1]->w))
		assert_true(wt_now_ns() < limit);
	assert_int_equal(wf_list_entry(wf_list_first(&p.ep[1]->opens), struct wf_open, link)->hold, 0);
	wt_ok(p.w[1], wt_took(p.w[1], ret, &c));
	comes_to(&p, "verbs");
	weft_remote_close(m.remote);
	wt_pump_ms(5);
	assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
	free(m.own);
	wt_pair_close(&p);
}

/* Each answer would make queue pairs. */
static void who_asks_too_often_is_refused(void **state)
{
	unsigned char said[WF_OFFER_MAX];
	unsigned answered = 0;
	uint64_t begin;
	struct wt_pair p;
	size_t len;

	(void)state;
	open_both(&p);
	break_lane(p.ep[0]);
	comes_to(&p, "tcp");
	p.ep[0]->renew->given_up = true; /* it does not ask, but the test */
	begin = wt_now_ns();
	for (unsigned i = 0; i < 100; i++) {
		struct wf_frame h = { .type = WF_FR_RENEW, .aux = WF_RENEW_ASK, .id = 1000 + i };
		struct wf_lane *l = wf_lane_new(p.w[0]->w, p.ep[0]->renew->tr, &p.ep[0]->owner);

		len = wf_verbs.offer(l, said, sizeof(said));
		assert_true(len > 0);
		wf_lane_bury(p.w[0]->w, l);
		p.ep[0]->renew->number = 0;  /* what the answer is does not concern it */
		p.ep[1]->renew->number = 0;
		wf_ep_say_of(p.ep[0], &h, &wf_verbs, said, len);
		/* until it was heard: a hint may have made its own side ask in the same moment, by another number */
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !p.ep[1]->renew->number; wt_pump())
			assert_true(wt_now_ns() < limit);
		answered += p.ep[1]->renew->state == RENEW_MAKING;
	}
	assert_in_range(answered, WF_RENEW_ASKS, WF_RENEW_ASKS + 1 + (wt_now_ns() - begin) / WF_RENEW_PAUSE_NS);
	assert_true(answered < 50);
	assert_true(is_over(&p, "tcp"));
	wt_exchange(&p, 0, 100000, 1);
	wt_pair_close(&p);
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, renew_teardown)
		CASE(a_lane_that_breaks_for_ever_is_left_alone_in_the_end),
		CASE(memory_that_is_short_for_a_moment_costs_one_attempt),
		CASE(a_lane_that_stood_makes_the_count_begin_anew),
		CASE(a_peer_that_cannot_is_not_asked),
		CASE(an_attempt_finds_its_timer),
		CASE(not_all_try_at_the_same_moment),
		CASE(a_rail_that_says_nothing_holds_up_no_lane),
		CASE(nobody_wakes_for_what_cannot_be_taken_yet),
		CASE(a_grant_that_is_revoked_meanwhile_is_not_offered_again),
		CASE(who_asks_too_often_is_refused),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
