/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_match.c - which message goes to which receive: tags, masks, sources, probes, buffers that are too small.
 */
#include "conform/conform.h"

static void say(struct wt_pair *p, int side, uint64_t tag, uint64_t what)
{
	wt_send(p, side, &what, sizeof(what), tag, WEFT_COPY | WEFT_NO_EVENT);
}

/* Receives one, by tag and mask; what it said. */
static uint64_t hear(struct wt_pair *p, int side, uint64_t tag, uint64_t mask, weft_event *e_out)
{
	uint64_t what = 0;
	weft_event e = wt_ok(p->w[side], wt_recv(p, side, &what, sizeof(what), tag, mask));

	if (e_out)
		*e_out = e;
	return what;
}

static void masks_choose_among_tags(void **state)
{
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	say(&p, 0, 0x100000001, 1);
	say(&p, 0, 0x200000001, 2);
	say(&p, 0, 0x200000002, 3);
	say(&p, 0, 0x300000002, 4);
	say(&p, 0, UINT64_MAX, 5);
	assert_int_equal(hear(&p, 1, 0x200000002, WT_EXACT, &e), 3);
	assert_int_equal(e.tag, 0x200000002);
	assert_int_equal(hear(&p, 1, 2, 0xffffffff, &e), 4);
	assert_int_equal(e.tag, 0x300000002);
	assert_int_equal(hear(&p, 1, 0x200000000, 0xffffffff00000000, &e), 2);
	assert_int_equal(hear(&p, 1, 0, WT_ANY_TAG, &e), 1); /* the earliest */
	assert_int_equal(hear(&p, 1, 0x123, WT_ANY_TAG, &e), 5);
	wt_pair_close(&p);
}

static void the_earliest_receive_that_fits_is_served(void **state)
{
	uint64_t in[4] = { 0 };
	struct wt_posted r[4];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	r[0] = wt_recv(&p, 1, &in[0], 8, 5, WT_EXACT);
	r[1] = wt_recv(&p, 1, &in[1], 8, 0, WT_ANY_TAG);
	r[2] = wt_recv(&p, 1, &in[2], 8, 5, WT_EXACT);
	r[3] = wt_recv(&p, 1, &in[3], 8, 0, WT_ANY_TAG);
	say(&p, 0, 5, 10);
	say(&p, 0, 5, 11); /* to the wildcard: it was posted before the second exact one */
	say(&p, 0, 5, 12);
	say(&p, 0, 6, 13);
	for (unsigned i = 0; i < 4; i++) {
		wt_ok(p.w[1], r[i]);
		assert_int_equal(in[i], 10 + i);
	}
	wt_pair_close(&p);
}

static void many_tags_are_told_apart(void **state)
{
	enum { N = 500 };
	struct wt_posted r[N];
	uint64_t in[N];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < N; i++)
		r[i] = wt_recv(&p, 1, &in[i], 8, i, WT_EXACT);
	for (unsigned i = 0; i < N; i++)
		say(&p, 0, (i * 7) % N, (i * 7) % N + 1000);
	for (unsigned i = 0; i < N; i++) {
		wt_ok(p.w[1], r[i]);
		assert_int_equal(in[i], i + 1000);
	}
	for (unsigned i = 0; i < N; i++)
		say(&p, 0, i, i + 2000);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(hear(&p, 1, N - 1 - i, WT_EXACT, NULL), N - 1 - i + 2000);
	wt_pair_close(&p);
}

static void a_receive_may_name_its_source(void **state)
{
	struct wt_pair p, q;
	weft_ep *more[2];
	uint64_t in[2] = { 0 };
	weft_buf b = wt_buf(&in[0], 8);
	weft_call c = wt_call(0);
	struct wt_posted r;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);
	q = p;
	q.ep[0] = more[0];
	q.ep[1] = more[1];
	c.from = more[1];
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
	say(&p, 0, 1, 100);
	wt_pump_ms(5);
	assert_true(wt_is_pending(p.w[1], r));
	say(&q, 0, 1, 200);
	e = wt_ok(p.w[1], r);
	assert_int_equal(in[0], 200);
	assert_ptr_equal(e.ep, more[1]);
	assert_int_equal(hear(&p, 1, 1, WT_EXACT, &e), 100);
	assert_ptr_equal(e.ep, p.ep[1]);
	say(&p, 0, 2, 300); /* the same among messages that are there already */
	say(&q, 0, 2, 400);
	wt_pump_ms(5);
	c = wt_call(0);
	c.from = more[1];
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 0, WT_ANY_TAG, &c), &c);
	wt_ok(p.w[1], r);
	assert_int_equal(in[0], 400);
	assert_int_equal(hear(&p, 1, 2, WT_EXACT, NULL), 300);
	wt_ep_close(p.w[0], more[0]);
	wt_ep_close(p.w[1], more[1]);
	wt_pair_close(&p);
}

/* Looks until something is there. */
static void probe(struct wt_pair *p, uint64_t tag, uint64_t mask, weft_call *c, weft_message **take)
{
	uint64_t limit = wt_in_ms(WT_LIMIT_MS);
	int ret;

	for (;;) {
		*c = wt_call(0);
		ret = weft_probe(p->w[1]->w, tag, mask, c, take);
		if (ret == WEFT_OK)
			return;
		assert_int_equal(ret, WEFT_AGAIN);
		wt_pump();
		assert_true(wt_now_ns() < limit);
	}
}

static void a_probe_looks_and_leaves(void **state)
{
	static unsigned char out[300000], in[300000];
	struct wt_pair p;
	weft_call c = wt_call(0);

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_probe(p.w[1]->w, 0, WT_ANY_TAG, &c, NULL), WEFT_AGAIN);
	for (size_t len = 0; len <= sizeof(out); len += 100000) {
		struct wt_posted s, r;

		wt_fill(out, len, len);
		s = wt_send(&p, 0, out, len, 77 + len, 0);
		probe(&p, 77 + len, WT_EXACT, &c, NULL);
		assert_int_equal(c.event.tag, 77 + len);
		assert_int_equal(c.event.len, len);
		assert_ptr_equal(c.event.ep, p.ep[1]);
		probe(&p, 0, WT_ANY_TAG, &c, NULL); /* still there */
		c = wt_call(0);
		assert_int_equal(weft_probe(p.w[1]->w, 5, WT_EXACT, &c, NULL), WEFT_AGAIN);
		r = wt_recv(&p, 1, in, len, 77 + len, WT_EXACT);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], s);
		wt_assert_data(in, len, len);
	}
	c = wt_call(0);
	assert_int_equal(weft_probe(p.w[1]->w, 0, WT_ANY_TAG, &c, NULL), WEFT_AGAIN);
	wt_pair_close(&p);
}

static void a_matched_probe_takes_the_message_out(void **state)
{
	static const size_t len[] = { 0, 10, 5000, 400000 };
	static unsigned char out[400000], in[400000];
	struct wt_pair p;
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 4; i++) {
		weft_buf b = wt_buf(in, len[i]);
		weft_message *m = NULL;
		struct wt_posted s;

		wt_fill(out, len[i], i);
		s = wt_send(&p, 0, out, len[i], 4, 0);
		say(&p, 0, 4, 99);
		probe(&p, 4, WT_EXACT, &c, &m);
		assert_int_equal(c.event.len, len[i]);
		assert_non_null(m);
		assert_int_equal(hear(&p, 1, 4, WT_EXACT, NULL), 99); /* the first is out of everybody's reach */
		c = wt_call(0);
		wt_ok(p.w[1], wt_took(p.w[1], weft_recv_message(m, &b, 1, &c), &c));
		wt_ok(p.w[0], s);
		wt_assert_data(in, len[i], i);
	}
	wt_pair_close(&p);
}

static void truncation_says_both_lengths(void **state)
{
	static const size_t len[] = { 20, 3000, 50000, 1000000 };
	static unsigned char out[1000000], in[1000000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 4; i++) {
		for (int late = 0; late < 2; late++) {
			size_t room = len[i] / 3;
			struct wt_posted s, r;
			weft_event e;

			wt_fill(out, len[i], i);
			memset(in, 0xaa, sizeof(in));
			if (!late)
				r = wt_recv(&p, 1, in, room, 1, WT_EXACT);
			s = wt_send(&p, 0, out, len[i], 1, 0);
			if (late) {
				wt_pump_ms(3);
				r = wt_recv(&p, 1, in, room, 1, WT_EXACT);
			}
			e = wt_done(p.w[1], r);
			assert_int_equal(e.status, WEFT_ETRUNCATED);
			assert_int_equal(e.len, len[i]);
			assert_int_equal(e.value, room);
			wt_assert_data(in, room, i);
			assert_int_equal(in[room], 0xaa);
			wt_ok(p.w[0], s);
			wt_exchange(&p, 0, len[i], 5); /* the next is intact */
		}
	}
	wt_pair_close(&p);
}

static void a_message_for_no_room_at_all_is_truncated(void **state)
{
	static unsigned char out[200000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t len = 1; len <= sizeof(out); len += 199999) {
		struct wt_posted s = wt_send(&p, 0, out, len, 1, 0);
		weft_event e = wt_done(p.w[1], wt_recv(&p, 1, NULL, 0, 1, WT_EXACT));

		assert_int_equal(e.status, WEFT_ETRUNCATED);
		assert_int_equal(e.len, len);
		assert_int_equal(e.value, 0);
		wt_ok(p.w[0], s);
	}
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(masks_choose_among_tags),
	WT_CASE(the_earliest_receive_that_fits_is_served),
	WT_CASE(many_tags_are_told_apart),
	WT_CASE(a_receive_may_name_its_source),
	WT_CASE(a_probe_looks_and_leaves),
	WT_CASE(a_matched_probe_takes_the_message_out),
	WT_CASE(truncation_says_both_lengths),
	WT_CASE(a_message_for_no_room_at_all_is_truncated),
};
WT_GROUP(wt_group_match, cases);
