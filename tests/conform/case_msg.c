/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_msg.c - tagged messages get across: sizes, pieces, order, full queues, and the flags of a call.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "conform/conform.h"

static void messages_go_both_ways(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < 20; i++)
		wt_exchange(&p, i & 1, 1 + 37 * i, i + 1);
	wt_pair_close(&p);
}

static void endpoints_of_one_worker_talk(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, WT_ONE_WORKER);
	for (unsigned i = 0; i < 6; i++) {
		wt_exchange(&p, i & 1, 100, i + 1);
		wt_exchange(&p, i & 1, 300000, i + 100);
	}
	wt_pair_close(&p);
}

static void zero_bytes_are_a_message(void **state)
{
	struct wt_pair p;
	struct wt_posted s, r;
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 0, 1);
	wt_exchange(&p, 1, 0, 2);
	c = wt_call(WEFT_SYNC);
	s = wt_took(p.w[0], weft_send(p.ep[0], NULL, 0, 9, &c), &c);
	c = wt_call(0);
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, NULL, 0, 9, WT_EXACT, &c), &c);
	wt_ok(p.w[0], s);
	assert_int_equal(wt_ok(p.w[1], r).len, 0);
	wt_pair_close(&p);
}

static void sizes_at_every_border_arrive(void **state)
{
	struct wt_pair p;
	uint64_t seed = 1;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < wt_n_borders; i++) {
		for (int d = -1; d <= 1; d++) {
			wt_exchange(&p, 0, wt_borders[i] + d, seed++);
			wt_exchange(&p, 1, wt_borders[i] + d, seed++);
		}
	}
	wt_pair_close(&p);
}

static void sizes_at_every_border_wait_for_their_receive(void **state)
{
	static unsigned char out[(1 << 20) + 1], in[(1 << 20) + 2];
	struct wt_pair p;
	uint64_t seed = 1;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < wt_n_borders && wt_borders[i] <= 1 << 20; i++) {
		for (int d = -1; d <= 1; d++, seed++) {
			size_t len = wt_borders[i] + d;
			struct wt_posted s, r;

			wt_fill(out, len, seed);
			memset(in, 0, sizeof(in));
			s = wt_send(&p, 0, out, len, seed, 0);
			for (int turn = 0; turn < 50; turn++)
				wt_pump();
			r = wt_recv(&p, 1, in, sizeof(in), seed, WT_EXACT);
			assert_int_equal(wt_ok(p.w[1], r).len, len);
			wt_ok(p.w[0], s);
			wt_assert_data(in, len, seed);
		}
	}
	wt_pair_close(&p);
}

#define ALIAS_STEP (64ul << 20)
#define ALIAS_N    33ul

/* More than 2 GiB of addresses over 64 MiB of memory: one message may be large without the machine being so. */
static unsigned char *alias_new(void)
{
	int fd = memfd_create("alias", MFD_CLOEXEC);
	unsigned char *p;

	if (fd < 0 || ftruncate(fd, ALIAS_STEP))
		return NULL;
	p = mmap(NULL, ALIAS_STEP * ALIAS_N, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (size_t i = 0; p != MAP_FAILED && i < ALIAS_N; i++) {
		if (mmap(p + i * ALIAS_STEP, ALIAS_STEP, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return NULL;
	}
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static void more_than_two_gib_arrive(void **state)
{
	size_t len = ALIAS_STEP * ALIAS_N - 5;
	unsigned char *out, *in;
	struct wt_posted s, r;
	struct wt_pair p;
	weft_event e;

	(void)state;
	if (wt_variant->slow)
		wt_skip("2 GiB of late frames take too long");
	if (wt_slow(1) > 4)
		wt_skip("2 GiB take too long here");
	if (getenv("RDMA_VM_JOB"))
		wt_skip("2 GiB take too long over a device in software, in an emulated machine");
	out = alias_new();
	in = alias_new();
	if (!out || !in)
		wt_skip("no address space for 4 GiB");
	wt_pair_open(&p, 0);
	wt_fill(out, ALIAS_STEP, 5);
	r = wt_recv(&p, 1, in, len, 1, WT_EXACT);
	s = wt_send(&p, 0, out, len, 1, 0);
	e = wt_wait(p.w[1], WEFT_EV_OP, r.id, 60000);
	assert_int_equal(e.status, 0);
	assert_int_equal(e.len, len);
	wt_ok(p.w[0], s);
	wt_assert_data(in, ALIAS_STEP, 5);
	wt_pair_close(&p);
	munmap(out, ALIAS_STEP * ALIAS_N);
	munmap(in, ALIAS_STEP * ALIAS_N);
}

/* Cuts @len bytes into pieces of uneven sizes, some of them empty. Number of pieces. */
static size_t cut(weft_buf *b, size_t max, unsigned char *p, size_t len, uint64_t seed)
{
	size_t n = 0, at = 0;

	while (at < len && n < max - 1) {
		size_t k = wt_random(&seed) % (2 * len / max + 2);

		if (n % 7 == 3)
			k = 0;
		if (k > len - at)
			k = len - at;
		b[n++] = wt_buf(k ? p + at : NULL, k);
		at += k;
	}
	b[n++] = wt_buf(p + at, len - at);
	return n;
}

static void pieces_are_one_message(void **state)
{
	static const size_t len[] = { 5, 100, 5000, 70000, 3000000 };
	static const size_t pieces[] = { 2, 9, 60, 3000 };
	static unsigned char out[3000000], in[3000000];
	weft_buf *b[2] = { calloc(3000, sizeof(weft_buf)), calloc(3000, sizeof(weft_buf)) };
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 5; i++) {
		for (size_t k = 0; k < 4; k++) {
			weft_call cs = wt_call(0), cr = wt_call(0);
			size_t n[2] = { cut(b[0], pieces[k], out, len[i], i + 1), cut(b[1], pieces[3 - k], in, len[i], k + 9) };
			struct wt_posted s, r;

			wt_fill(out, len[i], i + k);
			memset(in, 0, len[i]);
			r = wt_took(p.w[1], weft_recv(p.w[1]->w, b[1], n[1], 1, WT_EXACT, &cr), &cr);
			s = wt_took(p.w[0], weft_send(p.ep[0], b[0], n[0], 1, &cs), &cs);
			memset(b[0], 0xff, 3000 * sizeof(weft_buf)); /* the arrays were only borrowed */
			memset(b[1], 0xff, 3000 * sizeof(weft_buf));
			assert_int_equal(wt_ok(p.w[1], r).len, len[i]);
			wt_ok(p.w[0], s);
			wt_assert_data(in, len[i], i + k);
		}
	}
	wt_pair_close(&p);
	free(b[0]);
	free(b[1]);
}

/* Every hundredth is large enough to go another way than the small ones. */
static size_t len_of_turn(size_t i)
{
	return i % 100 == 99 ? 200000 : 8 + i % 50;
}

static void same_tag_keeps_its_order(void **state)
{
	size_t rounds = wt_rounds(10000);
	unsigned char *out = malloc(200000), *in = malloc(200000);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, 200000, 3);
	for (size_t i = 0; i < rounds; i += 100) {
		struct wt_posted r;

		for (size_t k = i; k < i + 100 && k < rounds; k++) {
			memcpy(out, &k, sizeof(k));
			wt_send(&p, 0, out, len_of_turn(k), 7, WEFT_COPY | WEFT_NO_EVENT);
		}
		for (size_t k = i; k < i + 100 && k < rounds; k++) {
			r = wt_recv(&p, 1, in, 200000, 7, WT_EXACT);
			assert_int_equal(wt_ok(p.w[1], r).len, len_of_turn(k));
			assert_memory_equal(in, &k, sizeof(k));
		}
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void both_sides_may_send_first(void **state)
{
	static const size_t len[] = { 16, 9000, 100000, 2000000 };
	static unsigned char out[2][2000000], in[2][2000000];
	struct wt_posted s[2], r[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 4; i++) {
		for (int k = 0; k < 2; k++) {
			wt_fill(out[k], len[i], 10 * i + k);
			s[k] = wt_send(&p, k, out[k], len[i], 1, 0);
		}
		for (int k = 0; k < 2; k++)
			r[k] = wt_recv(&p, k, in[k], len[i], 1, WT_EXACT);
		for (int k = 0; k < 2; k++) {
			wt_ok(p.w[k], s[k]);
			wt_ok(p.w[k], r[k]);
			wt_assert_data(in[k], len[i], 10 * i + !k);
		}
	}
	wt_pair_close(&p);
}

/* The receiver does not turn at all while all are sent. */
static void full_queues_lose_nothing(void **state)
{
	size_t n = wt_rounds(100000);
	uint64_t *out = calloc(n, 64), *in = calloc(1, 64);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < n; i++) {
		out[8 * i] = i;
		wt_send(&p, 0, out + 8 * i, 64, 3, 0);
	}
	for (size_t i = 0; i < n; i++) {
		wt_ok(p.w[1], wt_recv(&p, 1, in, 64, 3, WT_EXACT));
		assert_int_equal(in[0], i);
	}
	wt_wait_count(p.w[0], WEFT_EV_OP, n, WT_LIMIT_MS);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p.w[0]->ev[i].status, 0);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void large_messages_queue_up(void **state)
{
	enum { N = 24 };
	size_t len = 1 << 20;
	unsigned char *out = malloc(N * len), *in = malloc(N * len);
	struct wt_posted s[N], r[N];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, N * len, 4);
	for (int i = 0; i < N; i++)
		s[i] = wt_send(&p, 0, out + i * len, len, i, 0);
	for (int i = N - 1; i >= 0; i--)
		r[i] = wt_recv(&p, 1, in + i * len, len, i, WT_EXACT);
	for (int i = 0; i < N; i++) {
		wt_ok(p.w[0], s[i]);
		wt_ok(p.w[1], r[i]);
	}
	wt_assert_data(in, N * len, 4);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void a_sync_send_is_not_done_before_its_match(void **state)
{
	static const size_t len[] = { 0, 8, 5000, 500000 };
	static unsigned char out[500000], in[500000];
	struct wt_posted s, r;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 4; i++) {
		wt_fill(out, len[i], i);
		s = wt_send(&p, 0, out, len[i], 1, WEFT_SYNC);
		assert_int_equal(s.ret, WEFT_PENDING);
		wt_pump_ms(30);
		assert_true(wt_is_pending(p.w[0], s));
		r = wt_recv(&p, 1, in, len[i], 1, WT_EXACT);
		wt_ok(p.w[0], s);
		wt_ok(p.w[1], r);
		wt_assert_data(in, len[i], i);
		r = wt_recv(&p, 1, in, len[i], 2, WT_EXACT); /* and when the receive was first */
		s = wt_send(&p, 0, out, len[i], 2, WEFT_SYNC);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], s);
	}
	wt_pair_close(&p);
}

static void a_copied_send_frees_its_buffer_at_once(void **state)
{
	static const size_t len[] = { 8, 5000, 60000, 3000000 };
	static unsigned char out[3000000], in[3000000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 4; i++) {
		struct wt_posted s, r;

		wt_fill(out, len[i], i);
		s = wt_send(&p, 0, out, len[i], 1, WEFT_COPY);
		memset(out, 0xdd, len[i]);
		wt_pump_ms(5);
		r = wt_recv(&p, 1, in, len[i], 1, WT_EXACT);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], s);
		wt_assert_data(in, len[i], i);
	}
	wt_pair_close(&p);
}

static void no_event_means_none(void **state)
{
	static unsigned char buf[100000], in[100000];
	struct wt_pair p;
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t len = 1; len <= sizeof(buf); len = len * 10) {
		weft_buf b = wt_buf(buf, len), bi = wt_buf(in, len);

		wt_fill(buf, len, len);
		c = wt_call(WEFT_NO_EVENT);
		assert_true(weft_send(p.ep[0], &b, 1, 1, &c) >= 0);
		c = wt_call(WEFT_NO_EVENT);
		assert_true(weft_recv(p.w[1]->w, &bi, 1, 1, WT_EXACT, &c) >= 0);
		for (int turn = 0; wt_differs(in, len, len) != SIZE_MAX && turn < 100000; turn++)
			wt_pump();
		wt_assert_data(in, len, len);
	}
	c = wt_call(0);
	wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &c), &c));
	wt_pump_ms(10);
	assert_int_equal(wt_count(p.w[0], WEFT_EV_OP), 0);
	assert_int_equal(wt_count(p.w[1], WEFT_EV_OP), 0);
	wt_pair_close(&p);
}

static void a_null_call_means_defaults(void **state)
{
	struct wt_pair p;
	char text[] = "abc";
	weft_buf b = wt_buf(text, 3);

	(void)state;
	wt_pair_open(&p, 0);
	assert_true(weft_send(p.ep[0], &b, 1, 5, NULL) >= 0);
	wt_exchange(&p, 0, 10, 6);
	wt_pair_close(&p);
}

static void handles_are_tested_and_waited_for(void **state)
{
	struct wt_pair p;
	char in[8] = "";
	weft_buf b = wt_buf(in, sizeof(in));
	weft_call c;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	c = wt_call(WEFT_BY_HANDLE);
	assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	assert_int_equal(weft_test(p.w[1]->w, c.op, &e), WEFT_AGAIN);
	assert_int_equal(weft_wait(p.w[1]->w, c.op, wt_in_ms(20), &e), WEFT_ETIMEDOUT);
	wt_send(&p, 0, "1234567", 8, 1, WEFT_NO_EVENT | WEFT_COPY);
	for (int i = 0; i < 20; i++)
		wt_pump();
	wt_pump_ms(5);
	assert_int_equal(weft_wait(p.w[1]->w, c.op, wt_in_ms(WT_LIMIT_MS), &e), WEFT_OK);
	assert_int_equal(e.status, 0);
	assert_int_equal(e.len, 8);
	assert_int_equal(e.user_data, c.user_data);
	assert_string_equal(in, "1234567");
	assert_int_equal(weft_test(p.w[1]->w, c.op, &e), WEFT_ESTALE);
	wt_pump_ms(5);
	assert_int_equal(wt_count(p.w[1], WEFT_EV_OP), 0);
	wt_pair_close(&p);
}

static void stale_handles_are_an_error(void **state)
{
	struct wt_pair p;
	struct wt_posted r;
	weft_event e;
	char in[8];
	weft_op none = { 0 }, nonsense = { 0x1234567890abcdefull };

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_test(p.w[1]->w, none, &e), WEFT_ESTALE);
	assert_int_equal(weft_test(p.w[1]->w, nonsense, &e), WEFT_ESTALE);
	assert_int_equal(weft_cancel(p.w[1]->w, nonsense), WEFT_ESTALE);
	r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
	assert_int_equal(weft_test(p.w[1]->w, r.op, &e), WEFT_ESTALE); /* it is reaped, not tested */
	wt_send(&p, 0, "1234567", 8, 1, WEFT_NO_EVENT | WEFT_COPY);
	wt_ok(p.w[1], r);
	assert_int_equal(weft_cancel(p.w[1]->w, r.op), WEFT_ESTALE);
	wt_pair_close(&p);
}

static void bad_arguments_are_refused(void **state)
{
	struct wt_pair p;
	weft_call c = wt_call(0);
	weft_buf b = { .addr = NULL, .len = 5 }, huge[2] = { wt_buf("x", SIZE_MAX), wt_buf("x", SIZE_MAX) };

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_send(p.ep[0], &b, 1, 0, &c), WEFT_EINVAL);
	assert_int_equal(weft_send(p.ep[0], NULL, 2, 0, &c), WEFT_EINVAL);
	assert_int_equal(weft_send(p.ep[0], huge, 2, 0, &c), WEFT_EINVAL);
	assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 0, WT_EXACT, &c), WEFT_EINVAL);
	c.size = 3;
	assert_int_equal(weft_send(p.ep[0], NULL, 0, 0, &c), WEFT_EINVAL);
	assert_non_null(weft_last_error()->cause);
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

static void a_full_worker_says_so(void **state)
{
	weft_worker_opts o = { .size = sizeof(o), .ops_max = 64 };
	weft_ctx *ctx = wt_open(NULL, NULL);
	weft_worker *w;
	char in[1];
	weft_buf b = wt_buf(in, 1);
	int ret = 0, n = 0;

	(void)state;
	assert_int_equal(weft_worker_new(ctx, &o, &w), WEFT_OK);
	for (; n < 100 && ret >= 0; n++) {
		weft_call c = wt_call(0);

		ret = weft_recv(w, &b, 1, 1, WT_EXACT, &c);
	}
	assert_int_equal(ret, WEFT_ELIMIT);
	assert_int_equal(n, 65);
	assert_int_equal(weft_worker_free(w), WEFT_OK);
	wt_close(ctx);
}

/* Completions go straight to who reaps, as far as he has room, and wait in the ring else: he must not see the seam. */
static void events_come_in_order_however_few_are_reaped(void **state)
{
	enum { N = 40 };
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS)), in[N], turn = 0;
	struct wt_pair p;
	weft_event e[7];

	(void)state;
	wt_pair_open(&p, 0);
	for (uint64_t i = 0; i < N; i++) {
		weft_buf b = wt_buf(&in[i], i % 3 ? 8 : 4);
		weft_call c = wt_call(0);

		c.user_data = i;
		c.from = i % 2 ? p.ep[1] : NULL;
		assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	}
	for (uint64_t i = 0; i < N; i++)
		wt_send(&p, 0, &i, 8, 1, WEFT_NO_EVENT | WEFT_COPY);
	for (uint64_t want = 0; want < N;) {
		size_t n;

		memset(e, 0xff, sizeof(e));
		weft_progress(p.w[0]->w);
		n = weft_reap(p.w[1]->w, e, 1 + turn++ % 7);
		for (size_t i = 0; i < n; i++, want++) {
			assert_int_equal(e[i].size, sizeof(e[i]));
			assert_int_equal(e[i].kind, WEFT_EV_OP);
			assert_int_equal(e[i].user_data, want);
			assert_int_equal(e[i].status, want % 3 ? WEFT_OK : WEFT_ETRUNCATED);
			assert_ptr_equal(e[i].ep, p.ep[1]);
			assert_int_equal(e[i].tag, 1);
			assert_int_equal(e[i].len, 8);
			assert_int_equal(e[i].value, want % 3 ? 8 : 4);
			assert_null(e[i].data);
			assert_memory_equal(&in[want], &want, want % 3 ? 8 : 4);
		}
		assert_true(wt_now_ns() < limit);
	}
	assert_int_equal(weft_reap(p.w[1]->w, e, 7), 0);
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(messages_go_both_ways),
	WT_CASE_HERE(endpoints_of_one_worker_talk, "both ends are on one worker"),
	WT_CASE(zero_bytes_are_a_message),
	WT_CASE(sizes_at_every_border_arrive),
	WT_CASE(sizes_at_every_border_wait_for_their_receive),
	WT_CASE_HERE(more_than_two_gib_arrive, "bytes of 2 GiB would go by the control connection"),
	WT_CASE(pieces_are_one_message),
	WT_CASE(same_tag_keeps_its_order),
	WT_CASE(events_come_in_order_however_few_are_reaped),
	WT_CASE(both_sides_may_send_first),
	WT_CASE(full_queues_lose_nothing),
	WT_CASE(large_messages_queue_up),
	WT_CASE(a_sync_send_is_not_done_before_its_match),
	WT_CASE(a_copied_send_frees_its_buffer_at_once),
	WT_CASE(no_event_means_none),
	WT_CASE(a_null_call_means_defaults),
	WT_CASE(handles_are_tested_and_waited_for),
	WT_CASE(stale_handles_are_an_error),
	WT_CASE(bad_arguments_are_refused),
	WT_CASE(a_full_worker_says_so),
};
WT_GROUP(wt_group_msg, cases);
