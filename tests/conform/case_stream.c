/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_stream.c - the byte stream of an endpoint: whatever the pieces were, the same bytes come out in order, and a
 * sender whose peer does not read is held back.
 */
#include "conform/conform.h"

static struct wt_posted put_in(struct wt_pair *p, int side, const void *buf, size_t len, uint32_t flags)
{
	weft_call c = wt_call(flags);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[side], weft_stream_send(p->ep[side], &b, 1, &c), &c);
}

static struct wt_posted take_out(struct wt_pair *p, int side, void *buf, size_t len, uint32_t flags)
{
	weft_call c = wt_call(flags);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[side], weft_stream_recv(p->ep[side], &b, 1, &c), &c);
}

static void a_receive_takes_what_is_there(void **state)
{
	struct wt_pair p;
	struct wt_posted r;
	char in[16] = "";
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	wt_ok(p.w[0], put_in(&p, 0, "abcdef", 6, 0));
	wt_pump_ms(5);
	e = wt_ok(p.w[1], take_out(&p, 1, in, 4, 0));
	assert_true(e.len >= 1 && e.len <= 4);
	for (size_t n = e.len; n < 6; n += e.len) {
		e = wt_ok(p.w[1], take_out(&p, 1, in + n, 10, 0));
		assert_true(e.len >= 1 && n + e.len <= 6);
	}
	assert_memory_equal(in, "abcdef", 6);
	r = take_out(&p, 1, in, sizeof(in), 0); /* posted first */
	assert_true(wt_is_pending(p.w[1], r));
	wt_ok(p.w[0], put_in(&p, 0, "xy", 2, 0));
	e = wt_ok(p.w[1], r);
	assert_true(e.len >= 1 && e.len <= 2);
	wt_pair_close(&p);
}

static void all_fills_the_buffer(void **state)
{
	static unsigned char out[500000], in[500000];
	struct wt_posted r;
	struct wt_pair p;
	uint64_t seed = 5;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, sizeof(out), 1);
	for (int round = 0; round < 2; round++) {
		r = take_out(&p, 1, in, sizeof(in), WEFT_ALL);
		for (size_t at = 0, k; at < sizeof(out); at += k) {
			assert_true(wt_is_pending(p.w[1], r));
			k = 1 + wt_random(&seed) % 60000;
			if (k > sizeof(out) - at)
				k = sizeof(out) - at;
			put_in(&p, 0, out + at, k, WEFT_NO_EVENT);
		}
		assert_int_equal(wt_ok(p.w[1], r).len, sizeof(in));
		wt_assert_data(in, sizeof(in), 1);
		memset(in, 0, sizeof(in));
	}
	wt_pair_close(&p);
}

static void sizes_at_every_border_flow(void **state)
{
	size_t max = (16 << 20) + 1;
	unsigned char *out = malloc(max), *in = malloc(max);
	struct wt_pair p;
	uint64_t seed = 1;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < wt_n_borders; i++) {
		for (int d = -1; d <= 1; d++, seed++) {
			size_t len = wt_borders[i] + d;
			struct wt_posted s, r;

			wt_fill(out, len, seed);
			s = put_in(&p, seed & 1, out, len, 0);
			r = take_out(&p, !(seed & 1), in, len, WEFT_ALL);
			assert_int_equal(wt_ok(p.w[!(seed & 1)], r).len, len);
			wt_ok(p.w[seed & 1], s);
			wt_assert_data(in, len, seed);
		}
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void a_reader_that_does_not_read_holds_the_writer_back(void **state)
{
	enum { N = 64 };
	size_t len = 128 << 10, done = 0;
	unsigned char *out = malloc(N * len), *in = malloc(N * len);
	struct wt_posted s[N];
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "stream_window", "256K");
	wt_fill(out, N * len, 6);
	for (int i = 0; i < N; i++)
		s[i] = put_in(&p, 0, out + i * len, len, 0);
	wt_pump_ms(100);
	done = wt_count(p.w[0], WEFT_EV_OP);
	assert_true(done < N); /* 8 MiB do not fit into any window and lane */
	wt_exchange(&p, 0, 1000, 1); /* messages still pass */
	for (size_t at = 0; at < N * len;) {
		size_t k = at % 7 ? 50001 : 300000;
		weft_event e = wt_ok(p.w[1], take_out(&p, 1, in + at, k < N * len - at ? k : N * len - at, 0));

		assert_true(e.len > 0);
		at += e.len;
	}
	for (int i = 0; i < N; i++)
		wt_ok(p.w[0], s[i]);
	wt_assert_data(in, N * len, 6);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void both_directions_flow_at_once(void **state)
{
	size_t len = 5 << 20;
	unsigned char *out = malloc(len), *in[2] = { malloc(len), malloc(len) };
	struct wt_posted s[2], r[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, len, 9);
	for (int i = 0; i < 2; i++) {
		s[i] = put_in(&p, i, out, len, 0);
		r[i] = take_out(&p, i, in[i], len, WEFT_ALL);
	}
	for (int i = 0; i < 2; i++) {
		wt_ok(p.w[i], s[i]);
		wt_ok(p.w[i], r[i]);
		wt_assert_data(in[i], len, 9);
		free(in[i]);
	}
	wt_pair_close(&p);
	free(out);
}

static void pieces_flow(void **state)
{
	unsigned char out[100], in[100];
	weft_buf b[3] = { wt_buf(out, 10), wt_buf(NULL, 0), wt_buf(out + 10, 90) };
	weft_buf d[3] = { wt_buf(in, 50), wt_buf(in + 50, 0), wt_buf(in + 50, 50) };
	weft_call c = wt_call(0);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, 100, 1);
	wt_ok(p.w[0], wt_took(p.w[0], weft_stream_send(p.ep[0], b, 3, &c), &c));
	c = wt_call(WEFT_ALL);
	wt_ok(p.w[1], wt_took(p.w[1], weft_stream_recv(p.ep[1], d, 3, &c), &c));
	wt_assert_data(in, 100, 1);
	wt_pair_close(&p);
}

static void arrival_is_told_when_wanted(void **state)
{
	struct wt_pair p;
	char in[64];
	weft_event e;

	(void)state;
	wt_pair_open(&p, WT_STREAM_EVENTS);
	put_in(&p, 0, "hello", 5, WEFT_NO_EVENT);
	e = wt_wait(p.w[1], WEFT_EV_STREAM, UINT64_MAX, WT_LIMIT_MS);
	assert_ptr_equal(e.ep, p.ep[1]);
	assert_int_equal(wt_ok(p.w[1], take_out(&p, 1, in, 5, WEFT_ALL)).len, 5);
	assert_memory_equal(in, "hello", 5);
	put_in(&p, 0, "again", 5, WEFT_NO_EVENT);
	wt_wait(p.w[1], WEFT_EV_STREAM, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(wt_ok(p.w[1], take_out(&p, 1, in, 5, WEFT_ALL)).len, 5);
	wt_pair_close(&p);
}

static void a_cancelled_receive_says_what_it_took(void **state)
{
	struct wt_pair p;
	struct wt_posted r;
	char in[64];
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	r = take_out(&p, 1, in, 10, WEFT_ALL);
	put_in(&p, 0, "abc", 3, WEFT_NO_EVENT);
	wt_pump_ms(5);
	assert_true(wt_is_pending(p.w[1], r));
	assert_int_equal(weft_cancel(p.w[1]->w, r.op), WEFT_OK);
	e = wt_done(p.w[1], r);
	assert_int_equal(e.status, WEFT_ECANCELED);
	assert_true(e.len <= 3);
	put_in(&p, 0, "def", 3, WEFT_NO_EVENT);
	wt_ok(p.w[1], take_out(&p, 1, in + e.len, 6 - e.len, WEFT_ALL));
	assert_memory_equal(in, "abcdef", 6);
	wt_pair_close(&p);
}

static void the_end_tells_how_much_came(void **state)
{
	struct wt_pair p;
	struct wt_posted r;
	char in[64];
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	r = take_out(&p, 1, in, 10, WEFT_ALL);
	put_in(&p, 0, "abc", 3, WEFT_NO_EVENT);
	wt_ep_close(p.w[0], p.ep[0]);
	p.ep[0] = NULL;
	e = wt_done(p.w[1], r);
	assert_true(e.status < 0);
	assert_int_equal(e.len, 3);
	assert_memory_equal(in, "abc", 3);
	wt_pair_close(&p);
}

static void a_cancelled_send_holds_nobody_behind_a_fence(void **state)
{
	size_t len = 64 << 20; /* more than any credit and queue */
	unsigned char *out = calloc(1, len);
	struct wt_posted s, m, r;
	struct wt_pair p;
	char in[8];

	(void)state;
	wt_pair_open(&p, 0);
	s = put_in(&p, 0, out, len, 0);
	wt_pump_ms(20);
	assert_true(wt_is_pending(p.w[0], s));
	assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
	r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
	m = wt_send(&p, 0, "1234567", 8, 1, 0);
	wt_pump_ms(5);
	assert_true(wt_is_pending(p.w[0], m));
	assert_int_equal(weft_cancel(p.w[0]->w, s.op), WEFT_OK);
	assert_int_equal(wt_done(p.w[0], s).status, WEFT_ECANCELED);
	wt_ok(p.w[0], m);
	wt_ok(p.w[1], r);
	wt_pair_close(&p);
	free(out);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_receive_takes_what_is_there),
	WT_CASE(all_fills_the_buffer),
	WT_CASE(sizes_at_every_border_flow),
	WT_CASE(a_reader_that_does_not_read_holds_the_writer_back),
	WT_CASE(both_directions_flow_at_once),
	WT_CASE(pieces_flow),
	WT_CASE(arrival_is_told_when_wanted),
	WT_CASE(a_cancelled_receive_says_what_it_took),
	WT_CASE(the_end_tells_how_much_came),
	WT_CASE(a_cancelled_send_holds_nobody_behind_a_fence),
};
WT_GROUP(wt_group_stream, cases);
