/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_cancel.c - operations that end early: cancelled, or at their deadline. What was not received is not lost, and
 * what was taken back does not arrive.
 */
#include "conform/conform.h"

/* No message of that tag is there, and a new one gets through. */
static void assert_only_this_arrives(struct wt_pair *p, uint64_t tag)
{
	uint64_t in = 0, what = 4711;
	struct wt_posted r = wt_recv(p, 1, &in, sizeof(in), tag, WT_EXACT);

	wt_send(p, 0, &what, sizeof(what), tag, WEFT_COPY | WEFT_NO_EVENT);
	wt_ok(p->w[1], r);
	assert_int_equal(in, 4711);
}

static void a_cancelled_receive_takes_no_message(void **state)
{
	uint64_t in[2] = { 0, 0 }, what = 5;
	struct wt_pair p;
	struct wt_posted r[2];

	(void)state;
	wt_pair_open(&p, 0);
	r[0] = wt_recv(&p, 1, &in[0], 8, 1, WT_EXACT);
	r[1] = wt_recv(&p, 1, &in[1], 8, 1, WT_EXACT);
	assert_int_equal(weft_cancel(p.w[1]->w, r[0].op), WEFT_OK);
	wt_fails(p.w[1], r[0], WEFT_ECANCELED);
	wt_send(&p, 0, &what, 8, 1, WEFT_COPY | WEFT_NO_EVENT);
	wt_ok(p.w[1], r[1]);
	assert_int_equal(in[0], 0);
	assert_int_equal(in[1], 5);
	assert_int_equal(weft_cancel(p.w[1]->w, r[0].op), WEFT_ESTALE);
	wt_pair_close(&p);
}

/* At every stage of a transfer; at some, where the bytes go by the far side's control connection, too. */
static int stride(void)
{
	return wt_far ? 3 : 1;
}

/* Cancelled at every stage of a large transfer: either it was too late, or the message is back and whole. */
static void a_receive_cancelled_in_mid_transfer_puts_its_message_back(void **state)
{
	size_t len = 4 << 20;
	unsigned char *out = malloc(len), *in = malloc(len);
	unsigned back = 0, late = 0;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, len, 3);
	for (int turns = 0; turns < 60; turns += stride()) {
		struct wt_posted r = wt_recv(&p, 1, in, len, 1, WT_EXACT), s;
		weft_event e;

		memset(in, 0, len);
		s = wt_send(&p, 0, out, len, 1, 0);
		for (int i = 0; i < turns / 2; i++)
			weft_progress(p.w[(i + turns) & 1]->w);
		assert_true(weft_cancel(p.w[1]->w, r.op) != WEFT_EINVAL);
		e = wt_done(p.w[1], r);
		if (e.status == 0) {
			late++;
		} else {
			wt_says(&e, "cancelled"); /* or in which words else it ended */
			assert_int_equal(e.status, WEFT_ECANCELED);
			assert_true(wt_is_pending(p.w[0], s));
			memset(in, 0xbb, len); /* ours again: nobody writes to it */
			wt_pump_ms(2);
			assert_int_equal(in[0] + in[len / 2] + in[len - 1], 3 * 0xbb);
			wt_ok(p.w[1], wt_recv(&p, 1, in, len, 1, WT_EXACT));
			back++;
		}
		wt_ok(p.w[0], s);
		wt_assert_data(in, len, 3);
	}
	printf("# cancelled in mid transfer: %u put back, %u too late\n", back, late);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void a_loop_of_short_receives_loses_nothing(void **state)
{
	enum { N = 40 };
	size_t len = 300000;
	unsigned char *out = malloc(len), *in = malloc(len);
	struct wt_pair p;
	unsigned got = 0, tries = 0;
	uint64_t limit = wt_in_ms(wt_slow(30000));

	(void)state;
	wt_pair_open(&p, 0);
	for (uint64_t i = 0; i < N; i++) {
		memcpy(out, &i, sizeof(i));
		wt_send(&p, 0, out, i % 2 ? len : 100, 1, WEFT_COPY | WEFT_NO_EVENT);
	}
	while (got < N && wt_now_ns() < limit) {
		weft_buf b = wt_buf(in, len);
		weft_call c = wt_call(0);
		weft_event e;
		uint64_t i;

		tries++;
		c.deadline_ns = wt_now_ns() + 1000 * (tries % 300) * (1 + tries / 300); /* at last long enough */
		e = wt_done(p.w[1], wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c));
		if (e.status == WEFT_ETIMEDOUT)
			continue;
		assert_int_equal(e.status, 0);
		memcpy(&i, in, sizeof(i));
		assert_int_equal(i, got); /* in order, none lost or doubled */
		got++;
	}
	assert_int_equal(got, N);
	printf("# %u receives for %u messages\n", tries, got);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void a_cancelled_unmatched_send_does_not_arrive(void **state)
{
	static unsigned char out[2000000];
	static const size_t len[] = { 10, 5000, 2000000 };
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < 3; i++) {
		struct wt_posted s = wt_send(&p, 0, out, len[i], 1, WEFT_SYNC);

		wt_pump_ms(5);
		assert_int_equal(weft_cancel(p.w[0]->w, s.op), WEFT_OK);
		wt_fails(p.w[0], s, WEFT_ECANCELED);
		assert_only_this_arrives(&p, 1);
		s = wt_send(&p, 0, out, len[i], 1, WEFT_SYNC); /* before anything had a chance to move */
		assert_int_equal(weft_cancel(p.w[0]->w, s.op), WEFT_OK);
		wt_fails(p.w[0], s, WEFT_ECANCELED);
		assert_only_this_arrives(&p, 1);
	}
	wt_pair_close(&p);
}

static void a_send_cancelled_in_mid_transfer_ends_once(void **state)
{
	size_t len = 4 << 20;
	unsigned char *out = malloc(len), *in = malloc(len);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, len, 3);
	for (int turns = 0; turns < 30; turns += stride()) {
		struct wt_posted r = wt_recv(&p, 1, in, len, 1, WT_EXACT), s = wt_send(&p, 0, out, len, 1, 0);
		weft_event e;

		for (int i = 0; i < turns; i++)
			weft_progress(p.w[i & 1]->w);
		weft_cancel(p.w[0]->w, s.op);
		e = wt_done(p.w[0], s);
		assert_true(e.status == 0 || e.status == WEFT_ECANCELED);
		if (e.status == WEFT_ECANCELED) /* its receive still waits, for the next one */
			wt_send(&p, 0, out, len, 1, WEFT_NO_EVENT | WEFT_COPY);
		e = wt_done(p.w[1], r);
		assert_int_equal(e.status, 0);
		assert_int_equal(e.len, len);
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

/* The completion of @s, by turns of its own worker alone. */
static int32_t status_alone(struct wt_w *w, struct wt_posted s)
{
	uint64_t limit = wt_in_ms(wt_slow(2000));
	weft_event e = { 0 };

	while (!wt_take(w, WEFT_EV_OP, s.id, &e)) {
		wt_must(wt_now_ns() < limit);
		if (weft_reap(w->w, &e, 1) && e.kind == WEFT_EV_OP && e.user_data == s.id)
			break;
	}
	return e.status;
}

/* Who receives has taken some turns, and then computes for long: that must not hold up who sends. */
static void a_send_is_cancelled_while_the_receiver_looks_elsewhere(void **state)
{
	size_t len = 1 << 20;
	unsigned char *out, *in;
	struct wt_pair p;

	(void)state;
	if (!wt_is("shm"))
		wt_skip("bytes that this transport has lent to a socket or to the other worker are quiet when it has taken them");
	out = malloc(len);
	in = malloc(len);
	wt_pair_open(&p, 0);
	wt_fill(out, len, 5);
	for (int turns = 0; turns < 24; turns++) {
		struct wt_posted r = wt_recv(&p, 1, in, len, 1, WT_EXACT), s = wt_send(&p, 0, out, len, 1, 0);
		weft_event e;

		memset(in, 0, len);
		for (int i = 0; i < turns / 2; i++)
			weft_progress(p.w[turns & 1 ? 1 : !(i & 1)]->w);
		weft_cancel(p.w[0]->w, s.op);
		if (status_alone(p.w[0], s))     /* its receive still waits, for the next one */
			wt_send(&p, 0, out, len, 1, WEFT_NO_EVENT | WEFT_COPY);
		e = wt_done(p.w[1], r);
		assert_int_equal(e.status, 0);
		assert_memory_equal(in, out, len);
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

/* Nobody turns the receiver's worker while the sender's is freed. */
static void a_worker_is_freed_in_mid_transfer(void **state)
{
	size_t len = 1 << 20;
	unsigned char *out = calloc(1, len), *in = malloc(len);

	(void)state;
	for (int turns = 0; turns < 6; turns++) {
		struct wt_posted r;
		struct wt_pair p;
		uint64_t start;

		wt_pair_open(&p, 0);
		r = wt_recv(&p, 1, in, len, 1, WT_EXACT);
		wt_send(&p, 0, out, len, 1, WEFT_NO_EVENT);
		for (int i = 0; i < turns; i++)
			weft_progress(p.w[!(i & 1)]->w);
		start = wt_now_ns();
		wt_worker_free(p.w[0]);
		assert_true(wt_now_ns() - start < wt_slow(2000) * 1000000ull);
		/* whole, or the sender is gone; a message that was never announced leaves the receive to whoever comes next */
		wt_wait_count(p.w[1], WEFT_EV_DOWN, 1, WT_LIMIT_MS);
		if (wt_is_pending(p.w[1], r))
			weft_cancel(p.w[1]->w, r.op);
		wt_done(p.w[1], r);
		wt_worker_free(p.w[1]);
		wt_close(p.ctx);
	}
	free(out);
	free(in);
}

/* And the other way round. */
static void a_receiving_worker_is_freed_in_mid_transfer(void **state)
{
	size_t len = 1 << 20;
	unsigned char *out = calloc(1, len), *in = malloc(len);

	(void)state;
	for (int turns = 0; turns < 6; turns++) {
		struct wt_posted s;
		struct wt_pair p;
		uint64_t start;

		wt_pair_open(&p, 0);
		wt_recv(&p, 1, in, len, 1, WT_EXACT);
		s = wt_send(&p, 0, out, len, 1, 0);
		for (int i = 0; i < turns; i++)
			weft_progress(p.w[i & 1]->w);
		start = wt_now_ns();
		wt_worker_free(p.w[1]);
		assert_true(wt_now_ns() - start < wt_slow(2000) * 1000000ull);
		memset(in, 7, len);
		wt_done(p.w[0], s);              /* it went, or its receiver is gone */
		wt_pump_ms(2);
		for (size_t i = 0; i < len; i++) /* quiet */
			assert_int_equal(in[i], 7);
		wt_worker_free(p.w[0]);
		wt_close(p.ctx);
	}
	free(out);
	free(in);
}

static void a_cancelled_probed_message_goes_back(void **state)
{
	static unsigned char out[1000000], in[1000000];
	weft_buf b = wt_buf(in, sizeof(in));
	weft_message *m = NULL;
	struct wt_posted s, r;
	struct wt_pair p;
	weft_call c;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, sizeof(out), 8);
	s = wt_send(&p, 0, out, sizeof(out), 1, 0);
	do {
		wt_pump();
		c = wt_call(0);
	} while (weft_probe(p.w[1]->w, 1, WT_EXACT, &c, &m) == WEFT_AGAIN);
	c = wt_call(0);
	r = wt_took(p.w[1], weft_recv_message(m, &b, 1, &c), &c);
	weft_cancel(p.w[1]->w, r.op);
	e = wt_done(p.w[1], r);
	if (e.status == WEFT_ECANCELED)
		wt_ok(p.w[1], wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT));
	else
		assert_int_equal(e.status, 0);
	wt_ok(p.w[0], s);
	wt_assert_data(in, sizeof(in), 8);
	wt_pair_close(&p);
}

/* Sleeps in weft_wait_any() until the operation's end comes; how long after the deadline. */
static int64_t wait_past(struct wt_w *w, uint64_t id, uint64_t deadline, weft_event *out)
{
	uint64_t limit = wt_in_ms(wt_slow(5000));

	while (!wt_take(w, WEFT_EV_OP, id, out)) {
		int ret = weft_wait_any(w->w, limit);

		assert_true(ret == WEFT_OK || ret == WEFT_AGAIN);
		wt_pump();
	}
	return (int64_t)(wt_now_ns() - deadline);
}

static void a_receive_ends_at_its_deadline(void **state)
{
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned ms = 1; ms <= 125; ms *= 5) {
		weft_call c = wt_call(0);
		struct wt_posted r;
		weft_event e;
		int64_t after;

		c.deadline_ns = wt_in_ms(ms);
		r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
		after = wait_past(p.w[1], r.id, c.deadline_ns, &e);
		assert_int_equal(e.status, WEFT_ETIMEDOUT);
		assert_true(after >= 0);
		assert_true(after < (int64_t)wt_slow(50) * 1000000);
	}
	assert_only_this_arrives(&p, 1);
	wt_pair_close(&p);
}

static void many_deadlines_end_in_their_order(void **state)
{
	enum { N = 100 };
	struct wt_posted r[N];
	uint64_t deadline[N], start = wt_now_ns();
	char in[N];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < N; i++) {
		weft_buf b = wt_buf(&in[i], 1);
		weft_call c = wt_call(0);

		c.deadline_ns = deadline[i] = start + 20000000u + (uint64_t)(i * 37 % N) * 500000u;
		r[i] = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
	}
	for (int i = 0; i < N; i++) {
		wt_fails(p.w[1], r[i], WEFT_ETIMEDOUT);
		assert_true(wt_now_ns() >= deadline[i]);
	}
	wt_pair_close(&p);
}

static void a_sync_send_ends_at_its_deadline(void **state)
{
	static unsigned char out[500000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t len = 1; len <= sizeof(out); len += sizeof(out) - 1) {
		weft_buf b = wt_buf(out, len);
		weft_call c = wt_call(WEFT_SYNC);
		struct wt_posted s;
		uint64_t now;

		c.deadline_ns = wt_in_ms(40);
		s = wt_took(p.w[0], weft_send(p.ep[0], &b, 1, 1, &c), &c);
		wt_fails(p.w[0], s, WEFT_ETIMEDOUT);
		now = wt_now_ns();
		assert_true(now >= c.deadline_ns);
		assert_true(now < c.deadline_ns + wt_slow(50) * 1000000ull);
		assert_only_this_arrives(&p, 1);
	}
	wt_pair_close(&p);
}

static void a_deadline_in_the_past_ends_at_once(void **state)
{
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	weft_call c = wt_call(0);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	c.deadline_ns = wt_now_ns() - 1000000;
	wt_fails(p.w[1], wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c), WEFT_ETIMEDOUT);
	wt_pair_close(&p);
}

static void a_copied_send_outlives_its_deadline(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *a = wt_worker(ctx, 0), *b = wt_worker(ctx, 0);
	weft_buf out = wt_buf("1234567", 8), in;
	weft_call c = wt_call(WEFT_COPY);
	weft_listener *l;
	char url[160], got[8] = "";
	weft_ep *ep, *peer;

	(void)state;
	l = wt_listen(b, url, sizeof(url));
	assert_int_equal(weft_connect(a->w, url, NULL, &ep), WEFT_OK);
	c.deadline_ns = wt_in_ms(5);
	assert_int_equal(weft_send(ep, &out, 1, 1, &c), WEFT_OK); /* done: what was accepted is not lost */
	assert_int_equal(c.event.status, 0);
	assert_int_equal(c.event.len, 8);
	wt_pump_ms(30);
	peer = wt_accept(b);
	in = wt_buf(got, sizeof(got));
	c = wt_call(0);
	wt_ok(b, wt_took(b, weft_recv(b->w, &in, 1, 1, WT_EXACT, &c), &c));
	assert_string_equal(got, "1234567");
	weft_ep_abort(ep);
	weft_ep_abort(peer);
	weft_listener_close(l);
	wt_worker_free(a);
	wt_worker_free(b);
	wt_close(ctx);
}

static void copying_is_for_senders(void **state)
{
	struct wt_posted r;
	weft_call c = wt_call(WEFT_COPY);
	struct wt_pair p;
	char in[8] = "";
	weft_buf b = wt_buf(in, sizeof(in));

	(void)state;
	wt_pair_open(&p, 0);
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
	assert_true(wt_is_pending(p.w[1], r));
	wt_ok(p.w[0], wt_send(&p, 0, "1234567", 8, 1, 0));
	wt_ok(p.w[1], r);
	assert_string_equal(in, "1234567");
	c = wt_call(WEFT_COPY);
	r = wt_took(p.w[1], weft_stream_recv(p.ep[1], &b, 1, &c), &c);
	assert_true(wt_is_pending(p.w[1], r));
	assert_int_equal(weft_cancel(p.w[1]->w, r.op), WEFT_OK);
	wt_fails(p.w[1], r, WEFT_ECANCELED);
	wt_pair_close(&p);
}

/* One of them has met a full lane with everything prepared. */
static void large_sends_are_cancelled_on_a_full_lane(void **state)
{
	enum { N = 20000 };
	size_t len = 1 << 20;
	unsigned char *out = calloc(1, len), *in = malloc(len);
	struct wt_posted *s = calloc(N, sizeof(*s));
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++)
			s[i] = wt_send(&p, 0, out, len, 1, 0);
		for (int i = N; i-- > 0;)
			weft_cancel(p.w[0]->w, s[i].op);
		for (int i = 0; i < N; i++)
			wt_fails(p.w[0], s[i], WEFT_ECANCELED);
		memset(out, round, len);
		s[0] = wt_send(&p, 0, out, len, 2, 0);
		wt_ok(p.w[1], wt_recv(&p, 1, in, len, 2, WT_EXACT));
		wt_ok(p.w[0], s[0]);
		assert_memory_equal(in, out, len);
		assert_only_this_arrives(&p, 3);
	}
	wt_pair_close(&p);
	free(s);
	free(out);
	free(in);
}

static void both_sides_may_cancel_a_transfer(void **state)
{
	size_t len = 64 << 20;
	unsigned char *out = calloc(1, len), *in = malloc(len);
	struct wt_posted s, r;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < wt_rounds(60); i++) {
		weft_call c = wt_call(0);
		weft_event e;

		s = wt_send(&p, 0, out, len, 1, 0);
		r = wt_recv(&p, 1, in, len, 1, WT_EXACT);
		for (unsigned k = 0; k < 2 + i % 7; k++)
			weft_progress(p.w[k & 1]->w);
		weft_cancel(p.w[0]->w, s.op);
		weft_cancel(p.w[1]->w, r.op);
		e = wt_done(p.w[0], s);
		if (wt_done(p.w[1], r).status && e.status) { /* neither has it: nor is it there for anybody else */
			wt_pump_ms(3);
			assert_int_equal(weft_probe(p.w[1]->w, 1, WT_EXACT, &c, NULL), WEFT_AGAIN);
		}
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_cancelled_receive_takes_no_message),
	WT_CASE(a_receive_cancelled_in_mid_transfer_puts_its_message_back),
	WT_CASE(a_loop_of_short_receives_loses_nothing),
	WT_CASE(a_cancelled_unmatched_send_does_not_arrive),
	WT_CASE(a_send_cancelled_in_mid_transfer_ends_once),
	WT_CASE(a_send_is_cancelled_while_the_receiver_looks_elsewhere),
	WT_CASE(a_worker_is_freed_in_mid_transfer),
	WT_CASE(a_receiving_worker_is_freed_in_mid_transfer),
	WT_CASE(a_cancelled_probed_message_goes_back),
	WT_CASE(a_receive_ends_at_its_deadline),
	WT_CASE(many_deadlines_end_in_their_order),
	WT_CASE(a_sync_send_ends_at_its_deadline),
	WT_CASE(a_deadline_in_the_past_ends_at_once),
	WT_CASE(a_copied_send_outlives_its_deadline),
	WT_CASE(copying_is_for_senders),
	WT_CASE(large_sends_are_cancelled_on_a_full_lane),
	WT_CASE(both_sides_may_cancel_a_transfer),
};
WT_GROUP(wt_group_cancel, cases);
