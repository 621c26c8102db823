/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_match.c - the rules of matching one by one, and then all calls at random against a model
 * that is too simple to be wrong: two arrays, searched from end to end, in which the lowest seq
 * that fits is the answer.
 */
#include "unit/unit.h"

#include "base/fault.h"
#include "base/rng.h"
#include "weft/weft.h"
#include "wire/match.h"

#include <string.h>

#define EXACT UINT64_MAX

static const char sources[64]; /* only their addresses mean something */

static const void *source(unsigned i)
{
	return &sources[i];
}

static void post(struct wf_match *m, struct wf_match_recv *r, uint64_t tag, uint64_t mask,
		 const void *from)
{
	memset(r, 0, sizeof(*r));
	r->tag = tag;
	r->mask = mask;
	r->from = from;
	r->seq = m->next_recv++;
	wf_match_post(m, r);
}

static void keep(struct wf_match *m, struct wf_match_msg *msg, uint64_t tag, const void *from)
{
	memset(msg, 0, sizeof(*msg));
	msg->tag = tag;
	msg->from = from;
	msg->seq = m->next_msg++;
	wf_match_add(m, msg);
}

static int set_up(void **state)
{
	static struct wf_match m;

	*state = &m;
	return wf_match_init(&m);
}

static int tear_down(void **state)
{
	wf_match_fini(*state);
	return 0;
}

/* ---- rules ---- */

static void test_nothing_matches_nothing(void **state)
{
	struct wf_match *m = *state;

	assert_null(wf_match_arrive(m, 1, source(1)));
	assert_null(wf_match_find(m, 1, EXACT, source(1)));
	assert_null(wf_match_find(m, 1, EXACT, NULL));
	assert_null(wf_match_find(m, 1, 0, source(1)));
	assert_null(wf_match_find(m, 1, 0, NULL));
}

static void test_each_class_takes_only_what_it_asked_for(void **state)
{
	static const uint64_t high = 0xff00;
	struct wf_match *m = *state;
	struct wf_match_recv r;

	post(m, &r, 0x1234, EXACT, source(1));
	assert_null(wf_match_arrive(m, 0x1235, source(1)));
	assert_null(wf_match_arrive(m, 0x1234, source(2)));
	assert_ptr_equal(wf_match_arrive(m, 0x1234, source(1)), &r);

	post(m, &r, 0x1234, EXACT, NULL);
	assert_null(wf_match_arrive(m, 0x1235, source(1)));
	assert_ptr_equal(wf_match_arrive(m, 0x1234, source(2)), &r);

	post(m, &r, 0x1234, high, source(1));
	assert_null(wf_match_arrive(m, 0x1334, source(1)));
	assert_null(wf_match_arrive(m, 0x1234, source(2)));
	assert_ptr_equal(wf_match_arrive(m, 0xff12ff, source(1)), &r);

	post(m, &r, 0x1234, high, NULL);
	assert_null(wf_match_arrive(m, 0x1334, source(1)));
	assert_ptr_equal(wf_match_arrive(m, 0x12ff, source(9)), &r);

	post(m, &r, 0x1234, 0, NULL);
	assert_ptr_equal(wf_match_arrive(m, UINT64_MAX, source(9)), &r);
	assert_null(wf_match_arrive(m, 0x1234, source(1))); /* each only once */
}

/* Whatever order the four classes are posted in, that is the order in which they are served. */
static void test_earliest_receive_wins_across_classes(void **state)
{
	struct wf_match *m = *state;
	struct wf_match_recv r[4];

	for (unsigned order = 0; order < 256; order++) {
		unsigned used = 0;

		for (unsigned i = 0; i < 4; i++)
			used |= 1u << (order >> 2 * i & 3);
		if (used != 15)
			continue; /* not a permutation */
		for (unsigned i = 0; i < 4; i++) {
			unsigned class = order >> 2 * i & 3;

			post(m, &r[i], 7, class & 1 ? EXACT : 0xff, class & 2 ? source(1) : NULL);
		}
		for (unsigned i = 0; i < 4; i++)
			assert_ptr_equal(wf_match_arrive(m, 7, source(1)), &r[i]);
		assert_null(wf_match_arrive(m, 7, source(1)));
	}
}

static void test_earliest_message_is_found_by_every_index(void **state)
{
	struct wf_match *m = *state;
	struct wf_match_msg msg[4];

	keep(m, &msg[0], 5, source(1));
	keep(m, &msg[1], 6, source(2));
	keep(m, &msg[2], 5, source(2));
	keep(m, &msg[3], 5, source(1));
	assert_ptr_equal(wf_match_find(m, 5, EXACT, source(1)), &msg[0]);
	assert_ptr_equal(wf_match_find(m, 5, EXACT, source(2)), &msg[2]);
	assert_ptr_equal(wf_match_find(m, 5, EXACT, NULL), &msg[0]);
	assert_ptr_equal(wf_match_find(m, 0, 0, source(2)), &msg[1]);
	assert_ptr_equal(wf_match_find(m, 2, 2, NULL), &msg[1]);
	assert_ptr_equal(wf_match_find(m, 0, 0, NULL), &msg[0]);
	assert_null(wf_match_find(m, 6, EXACT, source(1)));
	assert_null(wf_match_find(m, 0, 0, source(3)));

	wf_match_remove(m, &msg[0]);
	assert_ptr_equal(wf_match_find(m, 5, EXACT, source(1)), &msg[3]);
	assert_ptr_equal(wf_match_find(m, 5, EXACT, NULL), &msg[2]);
	assert_ptr_equal(wf_match_find(m, 0, 0, NULL), &msg[1]);
	assert_int_equal(m->n_msgs, 3);
}

static void test_what_is_put_back_returns_to_its_place(void **state)
{
	struct wf_match *m = *state;
	struct wf_match_recv r[5];
	struct wf_match_msg msg[5];

	for (unsigned i = 0; i < 5; i++)
		post(m, &r[i], 1, i & 1 ? EXACT : 0xff, NULL);
	wf_match_unpost(m, &r[2]);
	wf_match_unpost(m, &r[0]);
	wf_match_unpost(m, &r[4]);
	wf_match_return_recv(m, &r[4]);
	wf_match_return_recv(m, &r[0]);
	wf_match_return_recv(m, &r[2]);
	for (unsigned i = 0; i < 5; i++)
		assert_ptr_equal(wf_match_arrive(m, 1, source(1)), &r[i]);

	for (unsigned i = 0; i < 5; i++)
		keep(m, &msg[i], 1, source(i & 1));
	wf_match_remove(m, &msg[2]);
	wf_match_remove(m, &msg[0]);
	wf_match_remove(m, &msg[4]);
	wf_match_return_msg(m, &msg[4]);
	wf_match_return_msg(m, &msg[0]);
	wf_match_return_msg(m, &msg[2]);
	for (unsigned i = 0; i < 5; i++) {
		assert_ptr_equal(wf_match_find(m, 1, EXACT, NULL), &msg[i]);
		assert_ptr_equal(wf_match_find(m, 1, EXACT, source(i & 1)), &msg[i]);
		assert_ptr_equal(wf_match_find(m, 1, 0, source(i & 1)), &msg[i]);
		assert_ptr_equal(wf_match_find(m, 0, 0, NULL), &msg[i]);
		wf_match_remove(m, &msg[i]);
	}
	assert_int_equal(m->n_msgs, 0);
}

static void test_tables_grow_and_keep_the_order(void **state)
{
	enum { N = 10000 };
	struct wf_match *m = *state;
	struct wf_match_recv *r = wf_calloc(N, sizeof(*r));
	struct wf_match_msg *msg = wf_calloc(N, sizeof(*msg));

	assert_non_null(r);
	assert_non_null(msg);
	for (unsigned i = 0; i < N; i++)
		post(m, &r[i], i / 2, EXACT, i & 4 ? source(i & 3) : NULL);
	assert_true(m->exact_from.mask + 1 > 64 && m->exact_any.mask + 1 > 64);
	assert_true(m->exact_from.count <= 2 * (m->exact_from.mask + 1));
	for (unsigned i = 0; i < N; i++)
		assert_ptr_equal(wf_match_arrive(m, i / 2, source(i & 3)), &r[i]);
	assert_int_equal(m->exact_from.count + m->exact_any.count, 0);

	for (unsigned i = 0; i < N; i++)
		keep(m, &msg[i], i / 2, source(i & 31));
	assert_true(m->tag.mask + 1 >= N / 2);
	for (unsigned i = 0; i < N; i++) {
		assert_ptr_equal(wf_match_find(m, i / 2, EXACT, source(i & 31)), &msg[i]);
		assert_ptr_equal(wf_match_find(m, i / 2, EXACT, NULL), &msg[i]);
		wf_match_remove(m, &msg[i]);
	}
	wf_free(r);
	wf_free(msg);
}

#ifdef WF_FAULTS
static void test_init_without_memory_gives_all_back(void **state)
{
	struct wf_match m;
	unsigned failed = 0;
	int ret;

	(void)state;
	for (uint64_t nth = 1; nth < 100; nth++) {
		wf_fault_set(nth);
		ret = wf_match_init(&m);
		if (!ret)
			break;
		assert_int_equal(ret, WEFT_ENOMEM);
		failed++;
	}
	wf_fault_set(0);
	wf_match_fini(&m);
	assert_int_equal(failed, 6);
}

static void test_growth_without_memory_is_harmless(void **state)
{
	struct wf_match *m = *state;
	struct wf_match_recv r[129];

	for (unsigned i = 0; i < 128; i++)
		post(m, &r[i], i, EXACT, NULL);
	wf_fault_set(1);
	post(m, &r[128], 128, EXACT, NULL);
	assert_non_null(wf_fault_last());
	wf_fault_set(0);
	assert_int_equal(m->exact_any.mask, 63);
	for (unsigned i = 0; i < 129; i++)
		assert_ptr_equal(wf_match_arrive(m, i, source(0)), &r[i]);
}
#endif

/* ---- against the model ---- */

enum { OBJECTS = 600 };

enum recv_state { RECV_FREE, RECV_POSTED, RECV_MATCHED };
enum msg_state { MSG_FREE, MSG_KEPT, MSG_TAKEN };

struct model {
	struct wf_match m;
	struct wf_rng rng;
	struct wf_match_recv recv[OBJECTS];
	struct wf_match_msg msg[OBJECTS];
	enum recv_state recv_state[OBJECTS];
	enum msg_state msg_state[OBJECTS];
	unsigned tags, froms; /* how many different ones */
	unsigned matched, quick, found, returned;
	enum { MIXED, NAMED, ANYBODY } only; /* which receives are posted */
};

static unsigned pick(struct model *mo, unsigned n)
{
	return (unsigned)wf_rng_below(&mo->rng, n);
}

static uint64_t pick_tag(struct model *mo)
{
	return (uint64_t)pick(mo, mo->tags) << (pick(mo, 2) ? 40 : 0);
}

static uint64_t pick_mask(struct model *mo)
{
	static const uint64_t masks[] = { EXACT, EXACT,         EXACT,       0,
					  1,     0xffffffffull, EXACT << 40, EXACT - 1 };

	return masks[pick(mo, WF_ARRAY_LEN(masks))];
}

static bool takes(const struct wf_match_recv *r, uint64_t tag, const void *from)
{
	return !((r->tag ^ tag) & r->mask) && (!r->from || r->from == from);
}

static struct wf_match_recv *model_arrive(struct model *mo, uint64_t tag, const void *from)
{
	struct wf_match_recv *best = NULL;

	for (unsigned i = 0; i < OBJECTS; i++)
		if (mo->recv_state[i] == RECV_POSTED && takes(&mo->recv[i], tag, from) &&
		    (!best || mo->recv[i].seq < best->seq))
			best = &mo->recv[i];
	return best;
}

static struct wf_match_msg *model_find(struct model *mo, const struct wf_match_recv *r)
{
	struct wf_match_msg *best = NULL;

	for (unsigned i = 0; i < OBJECTS; i++)
		if (mo->msg_state[i] == MSG_KEPT && takes(r, mo->msg[i].tag, mo->msg[i].from) &&
		    (!best || mo->msg[i].seq < best->seq))
			best = &mo->msg[i];
	return best;
}

/* A message comes: as core does it, matched or kept. */
static void step_arrive(struct model *mo)
{
	unsigned i = pick(mo, OBJECTS);
	struct wf_match_msg *msg = &mo->msg[i];
	struct wf_match_recv *want, *got, *quick;

	if (mo->msg_state[i] != MSG_FREE)
		return;
	msg->tag = pick_tag(mo);
	msg->from = source(pick(mo, mo->froms));
	msg->seq = mo->m.next_msg++;
	want = model_arrive(mo, msg->tag, msg->from);
	quick = wf_match_quick(&mo->m, msg->tag, msg->from);
	if (quick) {
		mo->quick++;
		assert_ptr_equal(quick, want);
	}
	if (quick && pick(mo, 2))
		wf_match_take(&mo->m, got = quick);
	else
		got = wf_match_arrive(&mo->m, msg->tag, msg->from);
	assert_ptr_equal(got, want);
	if (got) {
		mo->matched++;
		mo->recv_state[got - mo->recv] = RECV_MATCHED;
		mo->msg_state[i] = MSG_TAKEN;
	} else {
		wf_match_add(&mo->m, msg);
		mo->msg_state[i] = MSG_KEPT;
	}
}

static const void *mixed_source(struct model *mo)
{
	return pick(mo, 2) ? source(pick(mo, mo->froms)) : NULL;
}

/* A receive is posted: as core does it, looked for and then queued; or a probe, which only looks.
 */
static void step_post(struct model *mo)
{
	unsigned i = pick(mo, OBJECTS);
	struct wf_match_recv *r = &mo->recv[i];
	struct wf_match_msg *got;

	if (mo->recv_state[i] != RECV_FREE)
		return;
	r->tag = pick_tag(mo);
	r->mask = mo->only == MIXED ? pick_mask(mo) : EXACT;
	r->from = mo->only == MIXED ? mixed_source(mo) : mo->only == NAMED ? source(pick(mo, mo->froms)) : NULL;
	got = wf_match_find(&mo->m, r->tag, r->mask, r->from);
	assert_ptr_equal(got, model_find(mo, r));
	if (!pick(mo, 4))
		return;
	r->seq = mo->m.next_recv++;
	if (got) {
		mo->found++;
		wf_match_remove(&mo->m, got);
		mo->msg_state[got - mo->msg] = MSG_TAKEN;
		mo->recv_state[i] = RECV_MATCHED;
	} else {
		wf_match_post(&mo->m, r);
		mo->recv_state[i] = RECV_POSTED;
	}
}

/* A matched receive is cancelled or done, or its message was withdrawn and it goes back. */
static void step_recv(struct model *mo)
{
	unsigned i = pick(mo, OBJECTS);
	struct wf_match_msg *got;

	if (mo->recv_state[i] == RECV_POSTED && !pick(mo, 3)) {
		wf_match_unpost(&mo->m, &mo->recv[i]);
		mo->recv_state[i] = RECV_FREE;
		return;
	}
	if (mo->recv_state[i] != RECV_MATCHED)
		return;
	mo->recv_state[i] = RECV_FREE;
	if (pick(mo, 3))
		return;
	got = wf_match_find(&mo->m, mo->recv[i].tag, mo->recv[i].mask, mo->recv[i].from);
	assert_ptr_equal(got, model_find(mo, &mo->recv[i]));
	if (got)
		return;
	mo->returned++;
	wf_match_return_recv(&mo->m, &mo->recv[i]);
	mo->recv_state[i] = RECV_POSTED;
}

/* A kept message is dropped, a taken one consumed or put back. */
static void step_msg(struct model *mo)
{
	unsigned i = pick(mo, OBJECTS);
	struct wf_match_recv *got;

	if (mo->msg_state[i] == MSG_KEPT && !pick(mo, 3)) {
		wf_match_remove(&mo->m, &mo->msg[i]);
		mo->msg_state[i] = MSG_FREE;
		return;
	}
	if (mo->msg_state[i] != MSG_TAKEN)
		return;
	mo->msg_state[i] = MSG_FREE;
	if (pick(mo, 3))
		return;
	got = model_arrive(mo, mo->msg[i].tag, mo->msg[i].from);
	assert_ptr_equal(wf_match_arrive(&mo->m, mo->msg[i].tag, mo->msg[i].from), got);
	if (got) {
		mo->recv_state[got - mo->recv] = RECV_MATCHED;
		mo->msg_state[i] = MSG_TAKEN;
		return;
	}
	mo->returned++;
	wf_match_return_msg(&mo->m, &mo->msg[i]);
	mo->msg_state[i] = MSG_KEPT;
}

static void check_counts(struct model *mo)
{
	size_t recvs = 0, msgs = 0;

	for (unsigned i = 0; i < OBJECTS; i++) {
		recvs += mo->recv_state[i] == RECV_POSTED;
		msgs += mo->msg_state[i] == MSG_KEPT;
	}
	assert_int_equal(mo->m.exact_from.count + mo->m.exact_any.count + mo->m.wild_from.count + mo->m.n_wild_any, recvs);
	assert_int_equal(wf_match_has_recvs(&mo->m), recvs != 0);
	assert_int_equal(mo->m.n_msgs, msgs);
	assert_int_equal(mo->m.tag_from.count, msgs);
	assert_int_equal(mo->m.tag.count, msgs);
	assert_int_equal(mo->m.from.count, msgs);
}

static void run_model(uint64_t seed, int only, unsigned tags, unsigned froms, unsigned steps)
{
	static void (*const step[])(struct model * mo) = { step_arrive, step_post, step_recv,
							   step_msg };
	struct model *mo = wf_calloc(1, sizeof(*mo));
	unsigned arrivals; /* of ten steps: more of them fill the messages, fewer the receives */

	assert_non_null(mo);
	assert_int_equal(wf_match_init(&mo->m), 0);
	wf_rng_init(&mo->rng, seed);
	mo->only = only;
	mo->tags = tags;
	mo->froms = froms;
	for (unsigned i = 0; i < steps; i++) {
		arrivals = i / 2000 & 1 ? 6 : 1;
		if (pick(mo, 10) < 7)
			step[pick(mo, 7) < arrivals ? 0 : 1](mo);
		else
			step[2 + pick(mo, 2)](mo);
		if (!(i % 1000))
			check_counts(mo);
	}
	check_counts(mo);
	assert_true(mo->matched > steps / 100 && mo->found > steps / 100 &&
		    mo->returned > steps / 100);
	assert_true(only == MIXED || mo->quick > steps / 100);
	wf_match_fini(&mo->m);
	wf_free(mo);
}

static void test_random_calls_agree_with_the_model_few_keys(void **state)
{
	(void)state;
	run_model(11, MIXED, 2, 2, 60000);
}

static void test_random_calls_agree_with_the_model_some_keys(void **state)
{
	(void)state;
	run_model(12, MIXED, 6, 3, 60000);
}

static void test_random_calls_agree_with_the_model_many_keys(void **state)
{
	(void)state;
	run_model(13, MIXED, 40, 64, 60000);
}

static void test_random_calls_agree_with_the_model_one_class(void **state)
{
	(void)state;
	run_model(14, NAMED, 6, 3, 60000);
	run_model(15, ANYBODY, 6, 3, 60000);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_nothing_matches_nothing, set_up, tear_down),
	cmocka_unit_test_setup_teardown(test_each_class_takes_only_what_it_asked_for, set_up,
					tear_down),
	cmocka_unit_test_setup_teardown(test_earliest_receive_wins_across_classes, set_up,
					tear_down),
	cmocka_unit_test_setup_teardown(test_earliest_message_is_found_by_every_index, set_up,
					tear_down),
	cmocka_unit_test_setup_teardown(test_what_is_put_back_returns_to_its_place, set_up,
					tear_down),
	cmocka_unit_test_setup_teardown(test_tables_grow_and_keep_the_order, set_up, tear_down),
#ifdef WF_FAULTS
	cmocka_unit_test(test_init_without_memory_gives_all_back),
	cmocka_unit_test_setup_teardown(test_growth_without_memory_is_harmless, set_up, tear_down),
#endif
	cmocka_unit_test(test_random_calls_agree_with_the_model_few_keys),
	cmocka_unit_test(test_random_calls_agree_with_the_model_some_keys),
	cmocka_unit_test(test_random_calls_agree_with_the_model_many_keys),
	cmocka_unit_test(test_random_calls_agree_with_the_model_one_class),
};

UT_MAIN(tests)
