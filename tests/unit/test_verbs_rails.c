/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_rails.c - long puts and gets over several rails, over devices in software (tests/fake/ibverbs): each carries its part; fence,
 * flush and signal wait for all of them; what a rail that breaks did not write is written over another, and not before the peer
 * takes nothing over that one any more.
 */
#include "core/renew.h"
#include "unit/verbs_inside.h"

enum { LEN = 16 << 20 };

static unsigned char *buf, *back;

static int rails_setup(void **state)
{
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	buf = malloc(LEN);
	back = malloc(LEN);
	return wt_setup(state);
}

static int rails_teardown(void **state)
{
	unsetenv("WEFT_TEST_IBV_DEVICES");
	unsetenv("WEFT_TEST_IBV_FAULT");
	unsetenv("WEFT_TEST_IBV_RATES");
	free(buf);
	free(back);
	return wt_teardown(state);
}

static struct verbs_qp *rail(struct wt_pair *p, int side, unsigned k)
{
	assert_true(k < lane_of(p->ep[side])->n_rails);
	return lane_of(p->ep[side])->rail[k];
}

/* Of what @buf holds: others may be under way. */
static struct wt_posted put_again(struct wt_pair *p, struct wt_mem *m, size_t len)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[0], weft_put(p->ep[0], &b, 1, m->remote, 0, &c), &c);
}

static struct wt_posted put(struct wt_pair *p, struct wt_mem *m, size_t len, uint64_t seed)
{
	wt_fill(buf, len, seed);
	return put_again(p, m, len);
}

static struct wt_posted get_again(struct wt_pair *p, struct wt_mem *m, size_t len)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(back, len);

	return wt_took(p->w[0], weft_get(p->ep[0], &b, 1, m->remote, 0, &c), &c);
}

static struct wt_posted get(struct wt_pair *p, struct wt_mem *m, size_t len)
{
	memset(back, 0xee, len);
	return get_again(p, m, len);
}

static struct wt_posted flush(struct wt_pair *p)
{
	weft_call c = wt_call(0);

	return wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c), &c);
}

static void open_both(struct wt_pair *p, struct wt_mem *m, uint32_t access)
{
	wt_pair_open_with(p, 0, "transports", "verbs,tcp");
	wt_mem_open(p, m, LEN, access, false);
	wt_ok(p->w[0], flush(p));        /* the answer to OPEN is here */
	assert_int_equal(lane_of(p->ep[0])->n_rails, 2);
}

/* The adapter of the second rail, on both sides: @word is its fault from now on. */
static void fault_second(struct wt_pair *p, const char *word)
{
	char words[16];

	snprintf(words, sizeof(words), "%s%c", word, rail(p, 0, 1)->dev->name[4]);
	fault(words);
}

/* What each rail posted since the last time. */
static void posted_since(struct wt_pair *p, unsigned n[2])
{
	static uint32_t last[2];

	for (unsigned k = 0; k < 2; k++) {
		n[k] = rail(p, 0, k)->posted - last[k];
		last[k] += n[k];
	}
}

/* ---- who carries what ---- */

/* What each rail posted since the last time: the faster one the larger part, about four times as much. */
static void the_faster_carried_more(struct wt_pair *p, unsigned fast, const char *what)
{
	unsigned n[2];

	posted_since(p, n);
	print_message("%s: %u pieces and %u\n", what, n[fast], n[!fast]);
	assert_in_range(n[fast], n[!fast] * 3 / 2, n[!fast] * 6);
}

/*
 * A rail that is four times as fast as the other carries about four times as much, whichever of them it is, of puts, gets and messages:
 * who has room gets the next piece (ADR 21). The bounds are wide: while a process does not run both rails stand idle.
 */
static void a_faster_rail_carries_more(void **state)
{
	static const char *const rates[] = { "160,40", "40,160" };
	enum { N = 4, SOME = 8 << 20 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct wt_posted r[N], s[N];
		struct wt_pair p;
		struct wt_mem m;
		unsigned fast, n[2];

		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		fast = rail(&p, 0, 0)->dev->name[4] - '0' == (int)i ? 0 : 1;
		setenv("WEFT_TEST_IBV_RATES", rates[i], 1);
		posted_since(&p, n);
		for (unsigned k = 0; k < N; k++)
			r[k] = k ? put_again(&p, &m, LEN) : put(&p, &m, LEN, 5);
		for (unsigned k = 0; k < N; k++)
			wt_ok(p.w[0], r[k]);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, 5);
		the_faster_carried_more(&p, fast, "puts");
		for (unsigned k = 0; k < N; k++)
			r[k] = k ? get_again(&p, &m, LEN) : get(&p, &m, LEN);
		for (unsigned k = 0; k < N; k++)
			wt_ok(p.w[0], r[k]);
		wt_assert_data(back, LEN, 5);
		the_faster_carried_more(&p, fast, "gets");
		for (unsigned k = 0; k < N; k++) {
			r[k] = wt_recv(&p, 0, back, SOME, 6, WT_EXACT);   /* this side reads it */
			s[k] = wt_send(&p, 1, buf, SOME, 6, 0);
		}
		for (unsigned k = 0; k < N; k++) {
			wt_ok(p.w[0], r[k]);
			wt_ok(p.w[1], s[k]);
		}
		wt_assert_data(back, SOME, 5);
		the_faster_carried_more(&p, fast, "messages");
		unsetenv("WEFT_TEST_IBV_RATES");
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

static void each_rail_carries_its_part(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	unsigned n[2];

	(void)state;
	for (int lazy = 0; lazy < 2; lazy++) {
		fault(lazy ? "lazy" : NULL);
		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		posted_since(&p, n);
		wt_ok(p.w[0], put(&p, &m, LEN, 5));
		posted_since(&p, n);
		assert_int_equal(n[0] + n[1], LEN / VERBS_READ + 1);   /* and one read back over the second */
		assert_true(n[0] >= 4 && n[1] >= 4);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, 5);
		posted_since(&p, n);
		assert_int_equal(n[1], 0);                              /* frames are the first's */
		wt_ok(p.w[0], get(&p, &m, LEN));
		wt_assert_data(back, LEN, 5);
		posted_since(&p, n);
		assert_int_equal(n[0] + n[1], LEN / VERBS_READ);
		assert_true(n[0] >= 4 && n[1] >= 4);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* In buffers that begin and end anywhere, and memory that is used again. */
static void pieces_lie_in_one_buffer_each(void **state)
{
	static const size_t cut[] = { 0, 1, 1 << 20, 5000001, 5000001, 16 << 20 };
	enum { N = WF_ARRAY_LEN(cut) - 1 };
	weft_call c[2] = { wt_call(0), wt_call(0) };
	weft_buf b[2][N];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	open_both(&p, &m, WEFT_READ | WEFT_WRITE);
	for (unsigned i = 0; i < N; i++) {
		b[0][i] = wt_buf(buf + cut[i], cut[i + 1] - cut[i]);
		b[1][i] = wt_buf(back + cut[i], cut[i + 1] - cut[i]);
	}
	wt_fill(buf, LEN, 3);
	wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], b[0], N, m.remote, 0, &c[0]), &c[0]));
	wt_ok(p.w[0], flush(&p));
	wt_assert_data(m.addr, LEN, 3);
	wt_ok(p.w[0], wt_took(p.w[0], weft_get(p.ep[0], b[1], N, m.remote, 0, &c[1]), &c[1]));
	wt_assert_data(back, LEN, 3);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

/* Shorter ones, and memory that may not be read back: over the first alone, ordered as ever. */
static void others_go_over_the_first(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	unsigned n[2];

	(void)state;
	for (int readable = 0; readable < 2; readable++) {
		open_both(&p, &m, readable ? WEFT_READ | WEFT_WRITE : WEFT_WRITE);
		posted_since(&p, n);
		wt_ok(p.w[0], put(&p, &m, readable ? VERBS_SHARED - 1 : LEN, 5));
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, readable ? VERBS_SHARED - 1 : LEN, 5);
		posted_since(&p, n);
		assert_int_equal(n[1], 0);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* Locked memory for some of the adapters only: over the first alone, or by frames. */
static void a_rail_that_may_not_reach_the_memory_is_left_alone(void **state)
{
	bool first = false, both = false;
	struct wt_pair p;
	struct wt_mem m;
	unsigned n[2];

	(void)state;
	for (unsigned mb = 40; mb < 200 && !both; mb += 8) {
		char limit[16];

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		wt_exchange(&p, 0, 100, 1);
		snprintf(limit, sizeof(limit), "%u000000", mb);
		setenv("WEFT_TEST_IBV_MEMLOCK", limit, 1);
		wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, false);
		wt_ok(p.w[0], flush(&p));
		posted_since(&p, n);
		wt_ok(p.w[0], put(&p, &m, LEN, mb));
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, mb);
		posted_since(&p, n);
		first = first || (n[0] < 100 && !n[1]);   /* not by frames */
		both = n[1];
		wt_ok(p.w[0], get(&p, &m, LEN));
		wt_assert_data(back, LEN, mb);
		unsetenv("WEFT_TEST_IBV_MEMLOCK");
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
	assert_true(first && both);
}

/* ---- what waits for all of them ---- */

static void pump_some(void)
{
	for (int i = 0; i < 200; i++)
		wt_pump();
}

/* The second rail stands still: nothing that tells of the put may overtake what is under way there. */
static void nothing_that_tells_of_a_put_overtakes_it(void **state)
{
	struct wt_posted first, told, r = { 0 };
	weft_call c = wt_call(0);
	char in[8];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (int how = 0; how < 3; how++) {
		weft_buf b = wt_buf(buf, LEN);

		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		fault_second(&p, "hold");
		wt_fill(buf, LEN, 7);
		c = wt_call(0);
		first = how < 2 ? put(&p, &m, LEN, 7) : wt_took(p.w[0], weft_put_signal(p.ep[0], &b, 1, m.remote, 0, 5, &c), &c);
		if (how == 0) {
			r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
			assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
			told = wt_send(&p, 0, "ready!!", 8, 1, 0);
		} else {
			told = flush(&p);
		}
		pump_some();
		assert_true(wt_is_pending(p.w[0], first));
		if (how == 0)
			assert_true(wt_is_pending(p.w[1], r));
		else
			assert_true(wt_is_pending(p.w[0], told));
		assert_int_equal(wt_count(p.w[1], WEFT_EV_SIGNAL), 0);
		assert_true(rail(&p, 0, 1)->puts > 0 && rail(&p, 0, 0)->puts == 0);   /* that one had none of the last */
		fault(NULL);
		if (how == 0)
			wt_ok(p.w[1], r);
		else if (how == 2)
			wt_wait(p.w[1], WEFT_EV_SIGNAL, UINT64_MAX, WT_LIMIT_MS);
		else
			wt_ok(p.w[0], told);
		wt_assert_data(m.addr, LEN, 7);
		wt_ok(p.w[0], first);
		if (how != 1)
			wt_ok(p.w[0], told);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* An adapter may acknowledge what is not in memory yet: when it is told of, or flushed, it is. */
static void what_was_acknowledged_is_in_memory(void **state)
{
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (uint64_t how = 0; how < 4; how++) {
		struct wt_posted r, s;
		char in[8];

		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		fault_second(&p, "late");
		wt_ok(p.w[0], put(&p, &m, LEN, how));
		if (how == 3)            /* the last of them may be acknowledged already */
			verbs_qp_break(rail(&p, 1, 1));
		if (how % 2) {
			r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
			assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
			s = wt_send(&p, 0, "ready!!", 8, 1, 0);
			wt_ok(p.w[1], r);
			wt_assert_data(m.addr, LEN, how);
			wt_ok(p.w[0], s);
		}
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, how);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
		fault(NULL);
	}
}

/* ---- what breaks ---- */

/* Its pieces go over the other, and only when the peer has said that it takes nothing over this one any more. */
static void what_a_broken_rail_did_not_write_waits_for_the_peer(void **state)
{
	struct wt_posted first;
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (int side = 0; side < 2; side++) {
		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		fault_second(&p, "hold");
		first = put(&p, &m, LEN, (uint64_t)side);
		pump_some();
		assert_true(rail(&p, 0, 1)->puts > 0);
		verbs_qp_break(rail(&p, side, 1));
		if (side)
			fault(NULL);     /* and finds the peer's side gone */
		for (uint64_t limit = wt_in_ms(2000); !rail(&p, 0, 1)->broken || rail(&p, 0, 1)->puts;) {
			assert_true(wt_now_ns() < limit);
			weft_progress(p.w[0]->w);
		}
		for (int i = 0; i < 200; i++)
			weft_progress(p.w[0]->w);
		assert_false(lane_of(p.ep[0])->stopped);
		assert_int_equal(rail(&p, 0, 0)->puts, 0);
		assert_true(wt_is_pending(p.w[0], first));
		wt_ok(p.w[0], first);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, (uint64_t)side);
		assert_int_equal(lane_of(p.ep[0])->stopped, 2);
		assert_true(rail(&p, 1, 1)->broken);
		fault(NULL);
		wt_ok(p.w[0], put(&p, &m, LEN, 9));
		wt_ok(p.w[0], get(&p, &m, LEN));
		wt_assert_data(back, LEN, 9);
		assert_non_null(strstr(explained(p.ctx, p.ep[!side]), "is left out"));
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* One of the two, on either side, at any moment: all arrives, over verbs, or over what takes over when it was the first. */
static void a_break_in_the_middle_loses_nothing(void **state)
{
	uint64_t seed = 20261126;

	(void)state;
	for (uint64_t round = 0; round < wt_rounds(60); round++) {
		unsigned k = (unsigned)(wt_random(&seed) % 2), side = (unsigned)(wt_random(&seed) % 2);
		uint64_t turns = wt_random(&seed) % 40;
		struct wt_posted first, second, r;
		struct wt_pair p;
		struct wt_mem m;
		char in[8];

		fault(round % 3 == 0 ? NULL : round % 3 == 1 ? "lazy" : "lazy late");
		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		first = put(&p, &m, LEN / 2, round);
		if (round % 2)
			assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
		else
			wt_exchange(&p, 1, 100, 1);
		second = round % 2 ? wt_send(&p, 0, "ready!!", 8, 2, 0) : get(&p, &m, LEN / 4);
		for (; turns; turns--)
			wt_pump();
		if (k)
			verbs_qp_break(rail(&p, (int)side, k));
		else
			verbs_break(lane_of(p.ep[side]), "the test pulled it");
		if (round % 2) {
			r = wt_recv(&p, 1, in, sizeof(in), 2, WT_EXACT);
			wt_ok(p.w[1], r);
			wt_assert_data(m.addr, LEN / 2, round);
		}
		wt_ok(p.w[0], first);
		wt_ok(p.w[0], second);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN / 2, round);
		wt_exchange(&p, 1, 100000, 3);
		wt_ok(p.w[0], get(&p, &m, LEN / 2));
		wt_assert_data(back, LEN / 2, round);
		if (k)
			assert_string_equal(p.ep[0]->msg->tr->name, "verbs");
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
		fault(NULL);
	}
}

/* A frame that was posted behind it and came says nothing of it, when the lane breaks. */
static void a_frame_that_came_is_no_proof(void **state)
{
	struct wt_posted first;
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	open_both(&p, &m, WEFT_READ | WEFT_WRITE);
	fault_second(&p, "hold");
	first = put(&p, &m, LEN, 4);
	wt_exchange(&p, 0, 100, 1);
	assert_true(wt_is_pending(p.w[0], first));
	verbs_break(lane_of(p.ep[0]), "the test pulled it");
	wt_ok(p.w[0], first);
	wt_ok(p.w[0], flush(&p));
	wt_assert_data(m.addr, LEN, 4);
	fault(NULL);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

/* An adapter that is taken out, or fails, with pieces in its hands. */
static void an_adapter_that_is_lost_gives_back_what_it_had(void **state)
{
	static const char *const words[] = { "gone", "cut", "fatal" };

	(void)state;
	for (unsigned i = 0; i < WF_ARRAY_LEN(words); i++) {
		struct wt_posted first;
		struct wt_pair p;
		struct wt_mem m;

		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		fault_second(&p, "hold");
		first = put(&p, &m, LEN, i);
		pump_some();
		fault_second(&p, words[i]);
		wt_ok(p.w[0], first);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, i);
		wt_ok(p.w[0], get(&p, &m, LEN));
		wt_assert_data(back, LEN, i);
		lane_of(p.ep[0]);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
		fault(NULL);
	}
}

/* The same when only the read back is in its hands, or nothing at all is heard of that any more. */
static void nor_does_the_read_back_hold_the_put_up(void **state)
{
	static const char *const words[] = { "gone", "cut", "fatal", "mute" };

	(void)state;
	setenv("WEFT_FAILURE_DETECT", "200ms", 1);
	for (unsigned i = 0; i < WF_ARRAY_LEN(words); i++) {
		struct wt_posted first;
		char first_holds[16];
		struct wt_pair p;
		struct wt_mem m;

		open_both(&p, &m, WEFT_READ | WEFT_WRITE);
		snprintf(first_holds, sizeof(first_holds), "hold%c", rail(&p, 0, 0)->dev->name[4]);
		fault(first_holds);
		first = put(&p, &m, LEN, i);
		pump_some();
		assert_true(rail(&p, 0, 0)->puts > 0 && rail(&p, 0, 1)->puts == 0);
		fault_second(&p, "hold");
		pump_some();
		assert_true(rail(&p, 0, 0)->puts == 0 && rail(&p, 0, 1)->posted != rail(&p, 0, 1)->done);
		assert_true(wt_is_pending(p.w[0], first));
		fault_second(&p, words[i]);
		wt_ok(p.w[0], first);
		wt_ok(p.w[0], flush(&p));
		wt_assert_data(m.addr, LEN, i);
		lane_of(p.ep[0]);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
		fault(NULL);
	}
	unsetenv("WEFT_FAILURE_DETECT");
}

/* ---- and a lane that is made again ---- */

static void break_something(struct wt_pair *p, uint64_t *seed)
{
	weft_ep *ep = p->ep[wt_random(seed) % 2];
	struct wf_lane *l = ep->msg != ep->boot ? ep->msg : ep->renew ? ep->renew->lane : NULL;
	struct verbs_lane *vl = l ? verbs_lane_of(l) : NULL;
	unsigned k = (unsigned)(wt_random(seed) % 3);

	if (!vl || !vl->n_rails || vl->state == VERBS_DOWN)
		return;
	if (k && k < vl->n_rails)
		verbs_qp_break(vl->rail[k]);
	else
		verbs_break(vl, "the test pulled it");
}

/* One connection, with long puts and gets under way, whose rails and lanes break again and again: and nothing is written late. */
static void lanes_that_are_made_again_write_what_they_must_and_when(void **state)
{
	enum { OPS = 4, EACH = LEN / OPS };
	uint64_t seed = 20261127;
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	open_both(&p, &m, WEFT_READ | WEFT_WRITE);
	for (uint64_t round = 0; round < wt_rounds(60); round++) {
		struct wt_posted posted[OPS], told, r;
		size_t len[OPS];
		char in[8];

		for (int k = 0; k < 2; k++)
			if (p.ep[k]->renew) {
				p.ep[k]->renew->tries = 0;
				p.ep[k]->renew->not_before = 0;
				wf_port_changed(p.ep[k]->w->port[p.ep[k]->renew->tr]);
			}
		fault(round % 3 == 0 ? NULL : round % 3 == 1 ? "lazy" : "lazy late");
		memset(back, 0xee, LEN);
		for (unsigned i = 0; i < OPS; i++) {
			weft_call c = wt_call(0);
			weft_buf o, b;

			len[i] = 1 + wt_random(&seed) % EACH;
			o = wt_buf(buf + i * EACH, len[i]);
			b = wt_buf(back + i * EACH, len[i]);
			wt_fill(buf + i * EACH, len[i], round * OPS + i);
			if (i % 2)
				wt_fill(m.addr + i * EACH, len[i], round * OPS + i);
			posted[i] = wt_took(p.w[0], i % 2 == 0 ? weft_put(p.ep[0], &o, 1, m.remote, i * EACH, &c) :
					    weft_get(p.ep[0], &b, 1, m.remote, i * EACH, &c), &c);
			for (uint64_t turns = wt_random(&seed) % 30; turns; turns--)
				wt_pump();
			if (wt_random(&seed) % 3 == 0)
				break_something(&p, &seed);
		}
		r = wt_recv(&p, 1, in, sizeof(in), 2, WT_EXACT);
		assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
		told = wt_send(&p, 0, "ready!!", 8, 2, 0);
		if (wt_random(&seed) % 3 == 0)
			break_something(&p, &seed);
		wt_ok(p.w[1], r);
		for (unsigned i = 0; i < OPS; i += 2) {
			wt_assert_data(m.addr + i * EACH, len[i], round * OPS + i);
			wt_fill(m.addr + i * EACH, len[i], 12345);       /* the owner's from here on */
		}
		wt_ok(p.w[0], told);
		for (unsigned i = 0; i < OPS; i++)
			wt_ok(p.w[0], posted[i]);
		for (unsigned i = 1; i < OPS; i += 2)
			wt_assert_data(back + i * EACH, len[i], round * OPS + i);
		wt_ok(p.w[0], flush(&p));
		wt_pump_ms(2);
		for (unsigned i = 0; i < OPS; i += 2)
			wt_assert_data(m.addr + i * EACH, len[i], 12345);
		fault(NULL);
	}
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

/* The lane that is being made again, when it has asked its peer and has no answer yet. */
static struct verbs_lane *asking_lane(struct wt_pair *p)
{
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); wt_now_ns() < limit; wt_pump())
		for (int k = 0; k < 2; k++) {
			struct wf_lane *l = p->ep[k]->renew ? p->ep[k]->renew->lane : NULL;

			if (l && verbs_lane_of(l)->state == VERBS_ASKED)
				return verbs_lane_of(l);
		}
	fail_msg("no lane asks");
	return NULL;
}

/* A rail can break while its peer is asked (its adapter failed): it is not connected any more, the lane is made once more. */
static void a_rail_that_breaks_before_it_is_connected_is_let_go(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	for (unsigned k = 0; k < 2; k++) {
		bool told = false;

		verbs_break(lane_of(p.ep[0]), "the test pulled it");
		verbs_qp_break(asking_lane(&p)->rail[k]);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !told && wt_now_ns() < limit; wt_pump())
			told = strstr(explained(p.ctx, p.ep[0]), "broke before it was connected") ||
			       strstr(explained(p.ctx, p.ep[1]), "broke before it was connected");
		assert_true(told);
		wt_exchange(&p, 0, 100000, k);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); strcmp(p.ep[0]->msg->tr->name, "verbs") && wt_now_ns() < limit;)
			wt_pump();
		lane_of(p.ep[0]);
	}
	wt_pair_close(&p);
}

/* Nonsense about rails is a fault of the peer's. */
static void only_other_rails_can_be_stopped(void **state)
{
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	open_both(&p, &m, WEFT_READ | WEFT_WRITE);
	assert_false(verbs_rail_hear(lane_of(p.ep[0]), VERBS_RAIL_STOP, 0));
	assert_false(verbs_rail_hear(lane_of(p.ep[0]), VERBS_RAIL_STOP, 2));
	assert_false(verbs_rail_hear(lane_of(p.ep[0]), VERBS_RAIL_STOPPED, 1));
	assert_false(verbs_rail_hear(lane_of(p.ep[0]), VERBS_RAIL_STOPPED + 1, 1));
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, rails_setup, rails_teardown)
		CASE(a_faster_rail_carries_more),
		CASE(each_rail_carries_its_part),
		CASE(pieces_lie_in_one_buffer_each),
		CASE(others_go_over_the_first),
		CASE(a_rail_that_may_not_reach_the_memory_is_left_alone),
		CASE(nothing_that_tells_of_a_put_overtakes_it),
		CASE(what_was_acknowledged_is_in_memory),
		CASE(what_a_broken_rail_did_not_write_waits_for_the_peer),
		CASE(a_break_in_the_middle_loses_nothing),
		CASE(a_frame_that_came_is_no_proof),
		CASE(an_adapter_that_is_lost_gives_back_what_it_had),
		CASE(nor_does_the_read_back_hold_the_put_up),
		CASE(lanes_that_are_made_again_write_what_they_must_and_when),
		CASE(a_rail_that_breaks_before_it_is_connected_is_let_go),
		CASE(only_other_rails_can_be_stopped),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
