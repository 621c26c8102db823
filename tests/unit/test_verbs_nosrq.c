/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_nosrq.c - adapters without shared receive queues, over devices in software: each queue pair has buffers of its own,
 * nothing is lost when it breaks, and all of them are there for the next one.
 */
#include "unit/verbs_renew.h"

static unsigned n_spare(const struct verbs_dev *d)
{
	size_t n = 0;

	for (const struct verbs_block *b = d->spare; b; b = b->spare)
		n += b->len / VERBS_BUF;
	return (unsigned)n;
}

/* Each buffer belongs to a queue pair that lives, or to none; and what a peer was promised the adapter has, but for what is in our hands. */
static void all_are_there(const struct verbs_dev *d)
{
	assert_null(d->srq);
	assert_int_equal(n_spare(d) + d->promised, d->n_recvs);
}

static void nosrq(const char *which)
{
	setenv("WEFT_TEST_IBV_SRQS", which, 1);
}

static int teardown(void **state)
{
	unsetenv("WEFT_TEST_IBV_SRQS");
	unsetenv("WEFT_TEST_IBV_LINK");
	unsetenv("WEFT_TEST_IBV_CQE");
	unsetenv("WEFT_TEST_IBV_ODP");
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	return renew_teardown(state);
}

#define OWN "), no shared receive queues: receive buffers of its own"

/* What every adapter does is not said. */
static void who_has_one_does_not_say_so(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	assert_null(strstr(explained(p.ctx, p.ep[0]), "receive queue"));
	wt_pair_close(&p);
}

/* The device says so, or only the call that makes one. Verbs alone is allowed. */
static void messages_go_both_ways(void **state)
{
	static const char *const how[] = { "no", "refused" };
	static const size_t len[] = { 0, 8, 1000, 8160, 300000 };
	struct wt_pair p;

	(void)state;
	for (unsigned k = 0; k < WF_ARRAY_LEN(how); k++) {
		nosrq(how[k]);
		wt_pair_open(&p, 0);
		says(&p, 0, "verbs");
		all_are_there(dev_of(p.ep[0]));
		assert_non_null(strstr(explained(p.ctx, p.ep[0]), OWN));
		assert_int_equal(lane_of(p.ep[0])->rail[0]->n_recvs, VERBS_OWN_RECVS);
		for (unsigned i = 0; i < 10 * VERBS_OWN_RECVS; i++)
			for (int side = 0; side < 2; side++)
				wt_exchange(&p, side, len[i % WF_ARRAY_LEN(len)], i);
		wt_pump_ms(5);
		assert_int_equal(lane_of(p.ep[0])->rail[0]->n_recvs, VERBS_OWN_RECVS);
		assert_int_equal(lane_of(p.ep[1])->rail[0]->n_recvs, VERBS_OWN_RECVS);
		wt_pair_close(&p);
	}
}

/* As many messages as are allowed, while nobody looks: there is a buffer for each, and then for as many again. */
static void a_burst_finds_buffers(void **state)
{
	struct wt_posted r[VERBS_CREDITS], s[VERBS_CREDITS];
	unsigned char in[VERBS_CREDITS];
	struct verbs_qp *there;
	struct wt_pair p;

	(void)state;
	nosrq("no");
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 8, 1);
	wt_exchange(&p, 1, 8, 1);
	there = lane_of(p.ep[1])->rail[0];
	for (unsigned round = 0; round < 20; round++) {
		unsigned n = lane_of(p.ep[0])->credits;

		for (unsigned i = 0; i < n; i++)
			s[i] = wt_send(&p, 0, &(unsigned char){ (unsigned char)i }, 1, 1, 0);
		assert_int_equal(lane_of(p.ep[0])->credits, 0);
		for (unsigned i = 0; i < n; i++)
			r[i] = wt_recv(&p, 1, &in[i], 1, 1, WT_EXACT);
		for (unsigned i = 0; i < n; i++) {
			wt_ok(p.w[1], r[i]);
			wt_ok(p.w[0], s[i]);
			assert_int_equal(in[i], i);
		}
		wt_pump_ms(2);
		assert_true(n >= VERBS_CREDITS / 2);
		assert_int_equal(there->n_recvs, VERBS_OWN_RECVS);
	}
	wt_pair_close(&p);
}

/* ---- the end of a queue pair ---- */

enum { N = 48, LEN = 200000 };

static struct wt_posted sent[N], received[N];
static unsigned char *out[N], *in[N];

static size_t len_of(unsigned i)
{
	return i % 5 == 4 ? LEN : 40 * i;
}

static void post_all(struct wt_pair *p, int from, uint64_t round)
{
	for (unsigned i = 0; i < N; i++) {
		out[i] = malloc(len_of(i) + 1);
		in[i] = malloc(len_of(i) + 1);
		wt_fill(out[i], len_of(i), round * N + i);
		sent[i] = wt_send(p, from, out[i], len_of(i), 3, 0);
		received[i] = wt_recv(p, !from, in[i], len_of(i), 3, WT_EXACT);
	}
}

static void all_came(struct wt_pair *p, int from, uint64_t round)
{
	for (unsigned i = 0; i < N; i++) {
		wt_ok(p->w[!from], received[i]);
		wt_ok(p->w[from], sent[i]);
		wt_assert_data(in[i], len_of(i), round * N + i);
		free(out[i]);
		free(in[i]);
	}
}

/* Turns go by until the adapter has let go of what broke. */
static void nothing_dies(struct verbs_dev *d)
{
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !wf_list_is_empty(&d->dying);) {
		assert_true(wt_now_ns() < limit);
		wt_pump();
	}
}

static void is_made_again(struct wt_pair *p, uint64_t times)
{
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); p->ep[0]->n_breaks < times || p->ep[1]->n_breaks < times;) {
		assert_true(wt_now_ns() < limit);
		wt_pump();
	}
	forget_pauses(p);
	comes_to(p, "verbs");
}

/* On either side or both, after some turns of traffic, by adapters that take their time as well. */
static void a_lane_that_breaks_loses_nothing(void **state)
{
	struct wt_pair p;

	(void)state;
	nosrq("no");
	for (unsigned how = 0; how < 2; how++) {
		unsigned most[2];

		if (how)
			setenv("WEFT_TEST_IBV_FAULT", "lazy", 1);
		open_both(&p);
		for (unsigned round = 0; round < wt_rounds(40); round++) {
			int from = (int)(round & 1);

			post_all(&p, from, round);
			for (unsigned i = 0; i < round % 7; i++)
				wt_pump();
			for (int k = 0; k < 2; k++)
				if (round % 3 == 2 || (int)(round % 3) == k)
					verbs_break(lane_of(p.ep[k]), PULLED);
			all_came(&p, from, round);
			is_made_again(&p, round + 1);
			for (int k = 0; k < 2; k++) {
				struct verbs_dev *d = dev_of(p.ep[k]);

				nothing_dies(d);
				all_are_there(d);
				if (round)
					assert_int_equal(d->n_recvs, most[k]);   /* no more than the first new lane needed beside the old one */
				most[k] = d->n_recvs;
				assert_int_equal(d->promised, VERBS_OWN_RECVS);
			}
		}
		assert_int_equal(p.ep[0]->n_renewed, wt_rounds(40));
		wt_pair_close(&p);
	}
}

/*
 * That nothing more comes is known when all buffers are back, and of a rail that has none at once: nobody waits for an event that such
 * queue pairs have not.
 */
static void a_break_is_over_at_once(void **state)
{
	(void)state;
	nosrq("no");
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);   /* where each port meets another */
	for (unsigned rails = 1; rails <= 2; rails++) {
		uint64_t least = UINT64_MAX;
		struct wt_pair p;

		setenv("WEFT_TEST_IBV_DEVICES", rails == 1 ? "1" : "2", 1);
		open_both(&p);
		for (unsigned round = 0; round < 10; round++) {
			uint64_t began = wt_now_ns();

			assert_int_equal(lane_of(p.ep[0])->n_rails, rails);
			verbs_break(lane_of(p.ep[0]), PULLED);
			while (p.ep[0]->msg->tr != p.ep[0]->boot->tr && wt_now_ns() - began < WF_NS_PER_S)
				wt_pump();
			least = WF_MIN(least, wt_now_ns() - began);
			is_made_again(&p, round + 1);
		}
		print_message("%u rails: %llu us\n", rails, (unsigned long long)least / 1000);
		assert_true(least < 40 * WF_NS_PER_MS);   /* BREAK_NS is 50 ms */
		wt_pair_close(&p);
	}
}

/* ---- many of them ---- */

/* Peers that come when others have taken what a worker has at first get fewer; who comes later takes what others left. */
static void buffers_come_back_when_lanes_close(void **state)
{
	enum { PEERS = 24 };
	weft_ep *ep[PEERS][2];
	unsigned had[2] = { 0, 0 };
	struct verbs_dev *d[2];
	struct wt_pair p;

	(void)state;
	nosrq("no");
	open_both(&p);
	for (int k = 0; k < 2; k++)
		d[k] = dev_of(p.ep[k]);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < PEERS; i++) {
			struct wt_pair q = p;

			wt_pair_more(&p, ep[i]);
			memcpy(q.ep, ep[i], sizeof(q.ep));
			for (unsigned n = 0; n < 100; n++)
				wt_exchange(&q, (int)(n & 1), 8, n);
			wt_exchange(&q, 0, 300000, 1);
		}
		for (int k = 0; k < 2; k++) {
			all_are_there(d[k]);
			assert_true(n_spare(d[k]) == 0);
			assert_true(d[k]->n_recvs < (PEERS + 1) * VERBS_OWN_RECVS);
			assert_true(!round || d[k]->n_recvs == had[k]);
			had[k] = d[k]->n_recvs;
		}
		for (unsigned i = 0; i < PEERS; i++)
			for (int k = 0; k < 2; k++)
				weft_ep_abort(ep[i][k]);
		for (int k = 0; k < 2; k++) {
			for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); wf_map_count(&d[k]->qps) > 1 && wt_now_ns() < limit;)
				wt_pump();
			all_are_there(d[k]);
			assert_int_equal(d[k]->promised, VERBS_OWN_RECVS);
			assert_int_equal(n_spare(d[k]), d[k]->n_recvs - VERBS_OWN_RECVS);
		}
	}
	wt_exchange(&p, 0, 8, 1);
	wt_pair_close(&p);
}

/* What came for several of them together goes back to each. */
static void a_buffer_goes_back_to_its_own_queue(void **state)
{
	enum { PEERS = 3, EACH = 20 };
	static unsigned char in[PEERS][EACH];
	struct wt_posted s[PEERS][EACH], r[PEERS][EACH];
	weft_ep *ep[PEERS][2];
	struct wt_pair p, q;

	(void)state;
	nosrq("no");
	open_both(&p);
	q = p;
	for (unsigned i = 0; i < PEERS; i++)
		wt_pair_more(&p, ep[i]);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned n = 0; n < PEERS * EACH; n++) {
			unsigned i = n % PEERS, k = n / PEERS;

			memcpy(q.ep, ep[i], sizeof(q.ep));
			s[i][k] = wt_send(&q, 0, &(unsigned char){ (unsigned char)n }, 1, 1, 0);
			r[i][k] = wt_recv(&q, 1, &in[i][k], 1, 1, WT_EXACT);
		}
		for (unsigned n = 0; n < PEERS * EACH; n++) {
			wt_ok(p.w[1], r[n % PEERS][n / PEERS]);
			wt_ok(p.w[0], s[n % PEERS][n / PEERS]);
			assert_int_equal(in[n % PEERS][n / PEERS], n);
		}
		wt_pump_ms(1);
		for (unsigned i = 0; i < PEERS; i++)
			assert_int_equal(lane_of(ep[i][1])->rail[0]->n_recvs, VERBS_OWN_RECVS);
	}
	for (unsigned i = 0; i < PEERS; i++)
		for (int k = 0; k < 2; k++)
			weft_ep_abort(ep[i][k]);
	wt_pair_close(&p);
}

/* Each queue pair may fill its own receive queue, and a completion queue has room for that. */
static void completions_of_its_own_buffers_have_room(void **state)
{
	char value[16];
	weft_ep *more[2];
	struct wt_pair p;

	(void)state;
	nosrq("no");
	snprintf(value, sizeof(value), "%u", 2 * VERBS_SQ + VERBS_OWN_RECVS);   /* for one, and not for two */
	setenv("WEFT_TEST_IBV_CQE", value, 1);
	open_both(&p);
	wt_pair_more(&p, more);
	assert_ptr_not_equal(lane_of(p.ep[0])->rail[0]->cq, lane_of(more[0])->rail[0]->cq);
	wt_exchange(&p, 0, 100000, 1);
	verbs_break(lane_of(p.ep[0]), PULLED);   /* all comes back: the fake complains of a queue that runs over */
	wt_exchange(&p, 0, 100000, 1);
	weft_ep_abort(more[0]);
	weft_ep_abort(more[1]);
	wt_pair_close(&p);
}

/* Memory on demand: what the adapter must be able to do is another thing than with a shared queue. */
static void buffers_may_be_on_demand(void **state)
{
	struct wt_pair p;

	(void)state;
	nosrq("no");
	setenv("WEFT_TEST_IBV_MEMLOCK", "65536", 1);
	setenv("WEFT_TEST_IBV_ODP", "send recv write read atomic", 1);
	open_both(&p);
	wt_exchange(&p, 0, 300000, 1);
	assert_true(dev_of(p.ep[0])->on_demand);
	wt_pair_close(&p);
	setenv("WEFT_TEST_IBV_ODP", "send srq_recv write read atomic", 1);
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	assert_string_equal(p.ep[0]->msg->tr->name, "tcp");
	says(&p, 0, "ulimit -l unlimited");
	wt_exchange(&p, 0, 300000, 1);
	wt_pair_close(&p);
}

/* ---- not both sides; not the first rail alone ---- */

static void one_side_has_a_shared_queue(void **state)
{
	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);   /* where each port meets another */
	nosrq("no,yes");
	for (int first = 0; first < 2; first++) {
		struct sides s;

		sides_open(&s, first ? "fake1" : "fake0", first ? "fake0" : "fake1");
		both_are_over(&s, "verbs");
		for (int k = 0; k < 2; k++)
			assert_int_equal(!dev_of(s.p.ep[k])->srq, k == first);
		for (unsigned i = 0; i < 500; i++)
			wt_exchange(&s.p, (int)(i & 1), 100 * (i % 50), i);
		verbs_break(lane_of(s.p.ep[first]), PULLED);
		wt_exchange(&s.p, 0, 300000, 7);
		forget_pauses(&s.p);
		comes_to(&s.p, "verbs");
		all_are_there(dev_of(s.p.ep[first]));
		sides_close(&s);
	}
}

/* Rails that carry no messages have no buffers. */
static void further_rails_take_none(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);
	nosrq("no");
	open_both(&p);
	assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
	wt_exchange(&p, 0, 8 << 20, 1);
	assert_null(lane_of(p.ep[0])->rail[1]->recvs);
	assert_int_equal(lane_of(p.ep[0])->rail[1]->dev->n_recvs, 0);
	verbs_qp_break(lane_of(p.ep[0])->rail[1]);
	wt_exchange(&p, 0, 8 << 20, 2);
	verbs_break(lane_of(p.ep[0]), PULLED);
	wt_exchange(&p, 1, 8 << 20, 3);
	forget_pauses(&p);
	comes_to(&p, "verbs");
	wt_pair_close(&p);
}

/* Adapters that fail give all back, or nothing: the next one begins with what it needs. */
static void an_adapter_that_fails_takes_nothing_along(void **state)
{
	static const char *const how[] = { "fatal0", "gone0", "cut0" };

	(void)state;
	for (unsigned k = 0; k < WF_ARRAY_LEN(how); k++) {
		struct wt_pair p;

		nosrq("no");
		open_both(&p);
		post_all(&p, 0, k);
		wt_pump();
		fault(how[k]);
		all_came(&p, 0, k);
		comes_to(&p, "tcp");
		fault(NULL);
		wt_exchange(&p, 1, 300000, 7);
		wt_pair_close(&p);
	}
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, teardown)
		CASE(who_has_one_does_not_say_so),
		CASE(messages_go_both_ways),
		CASE(a_burst_finds_buffers),
		CASE(a_lane_that_breaks_loses_nothing),
		CASE(a_break_is_over_at_once),
		CASE(buffers_come_back_when_lanes_close),
		CASE(a_buffer_goes_back_to_its_own_queue),
		CASE(completions_of_its_own_buffers_have_room),
		CASE(buffers_may_be_on_demand),
		CASE(one_side_has_a_shared_queue),
		CASE(further_rails_take_none),
		CASE(an_adapter_that_fails_takes_nothing_along),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
