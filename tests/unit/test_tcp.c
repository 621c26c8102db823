/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_tcp.c - the stream of a tcp lane: frames of every size through it in order, how it is cut,
 * coalesced, paused, redirected and moved. Beginnings and ends are in test_tcp_conn.c.
 */
#include "unit/tcp_mini.h"

/* ---- sizes and order ---- */

static size_t some_size(struct wf_rng *r)
{
	switch (wf_rng_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return TCP_COPY_MAX - 1 + wf_rng_below(r, 3);
	case 2:
		return wf_rng_below(r, 100000);
	case 3:
		return wf_rng_below(r, 4) ? 5000 : wf_rng_below(r, WF_FRAME_DATA_MAX + 1);
	default:
		return wf_rng_below(r, 300);
	}
}

static void post_some(struct end *e, uint64_t total)
{
	for (uint64_t n = wf_rng_below(&e->rng, 40); n && e->tx_tag < total; n--) {
		size_t len = some_size(&e->rng);
		size_t pre = wf_rng_below(&e->rng, 4) ? 0 : wf_rng_below(&e->rng, WF_MIN(len, (size_t)1000) + 1);

		if (post(e, len, pre, wf_rng_below(&e->rng, 8)) == WEFT_AGAIN)
			return;
	}
}

static void exchange(bool sinks, bool refusals)
{
	const uint64_t total = 3000;
	struct end *a, *b;

	make_pair(&a, &b);
	wf_rng_init(&b->rng, 99);
	a->sink = b->sink = sinks;
	while (a->n_in < total || b->n_in < total) {
		uint64_t before = a->bytes_in + b->bytes_in, until = wf_now_ns() + LIMIT_NS;

		post_some(a, total);
		post_some(b, total);
		if (refusals)
			b->refuse += wf_rng_below(&a->rng, 3) == 0;
		do {
			turn();
			if (b->l->paused)
				resume(b);
			assert_true(wf_now_ns() < until);
		} while (a->tx_tag == total && b->tx_tag == total && a->bytes_in + b->bytes_in == before &&
			 (a->n_in < total || b->n_in < total));
	}
	WAIT(!n_lent);
	assert_false(a->bad || b->bad || a->down || b->down);
	if (sinks)
		assert_true(a->ends > 10 && b->ends > 10);
	assert_int_equal(a->l->frames_tx, total);
	assert_int_equal(b->l->frames_rx, total);
	assert_int_equal(a->l->bytes_tx, b->l->bytes_rx);
	end_close(a);
	end_close(b);
}

static void test_frames_of_every_size_arrive_in_order(void **state)
{
	(void)state;
	exchange(false, false);
}

static void test_frames_into_sinks_arrive_in_order(void **state)
{
	(void)state;
	exchange(true, false);
}

static void test_refused_frames_are_offered_again(void **state)
{
	(void)state;
	exchange(false, true);
	exchange(true, true);
}

static void test_ipv6_loopback_carries_frames(void **state)
{
	struct end *a, *b;
	struct wf_addr v6;
	int fd;

	(void)state;
	wf_addr_parse("[::1]:0", &v6);
	if (wf_sock_listen(&v6, &fd))
		UT_SKIP("no IPv6 loopback here");
	wf_fd_close(&fd);
	pair_at("[::1]:0", &a, &b);
	assert_int_equal(post(a, 100, 0, true), WEFT_OK);
	WAIT(b->n_in == 1);
	assert_false(b->bad);
	assert_int_equal(b->l->peer[0], '[');
	end_close(a);
	end_close(b);
}

/* ---- how bytes are cut ---- */

/* A PAD of @len bytes behind its header, to @to; all its bytes. */
static size_t put_pad(char *to, size_t len)
{
	struct wf_frame h = { .len = (uint32_t)len, .type = WF_FR_PAD, .seq = 99 };

	memcpy(to, &h, sizeof(h));
	memset(to + sizeof(h), 0xee, len);
	return sizeof(h) + len;
}

static void test_bytes_that_dribble_make_frames(void **state)
{
	const size_t sizes[] = { 0, 1, 23, 24, 25, 200, 0, 700 };
	struct end *b;

	(void)state;
	for (int sinks = 0; sinks < 2; sinks++) {
		int fd = raw_pair(&b);

		b->sink = sinks;
		for (size_t i = 0; i < WF_ARRAY_LEN(sizes); i++) {
			char padding[WF_FRAME_HDR + WF_PAD_MAX];
			size_t n, n_pad = put_pad(padding, i * 9 % (WF_PAD_MAX + 1));
			char *p = wire_frame(i, sizes[i], &n);

			for (size_t k = 0; k < n_pad; k++) {
				raw_write(fd, padding + k, 1);
				turn();
			}
			for (size_t k = 0; k < n; k++) {
				raw_write(fd, p + k, 1);
				turn();
			}
			free(p);
			WAIT(b->n_in == i + 1);
		}
		assert_false(b->bad);
		close(fd);
		end_close(b);
	}
}

static void test_random_cuts_make_frames(void **state)
{
	struct wf_rng r;
	struct end *b;
	size_t used = 0, at = 0, cap = 4 << 20;
	char *all = malloc(cap);
	uint64_t n_frames = 0;
	int fd = raw_pair(&b);

	(void)state;
	wf_rng_init(&r, 5);
	while (used < cap - (WF_FRAME_DATA_MAX + 3 * WF_FRAME_HDR + WF_PAD_MAX)) {
		size_t n;
		char *p = wire_frame(n_frames++, some_size(&r), &n);

		memcpy(all + used, p, n);
		used += n;
		free(p);
		if (wf_rng_below(&r, 2))
			used += put_pad(all + used, wf_rng_below(&r, WF_PAD_MAX + 1));
	}
	while (at < used) {
		size_t k = 1 + wf_rng_below(&r, wf_rng_below(&r, 3) ? 100 : 60000);
		ssize_t sent = send(fd, all + at, WF_MIN(k, used - at), MSG_DONTWAIT);

		at += sent > 0 ? (size_t)sent : 0;
		b->sink = wf_rng_below(&r, 2);
		b->sink_less = wf_rng_below(&r, 2) * wf_rng_below(&r, 5000);
		if (wf_rng_below(&r, 2))
			b->refuse += !wf_rng_below(&r, 10);
		turn();
		if (b->l->paused)
			resume(b);
	}
	b->refuse = 0;
	WAIT(b->n_in == n_frames);
	assert_false(b->bad);
	free(all);
	close(fd);
	end_close(b);
}

static void test_sink_is_looked_at_again_before_each_read(void **state)
{
	const size_t len = 50000, half = 20000;
	struct wf_frame h;
	struct end *b;
	size_t n;
	char *p = wire_frame(0, len, &n), *old, *other = calloc(1, len);
	weft_buf buf = { .addr = other, .len = len };
	int fd = raw_pair(&b);

	(void)state;
	memcpy(&h, p, sizeof(h));
	b->sink = true;
	raw_write(fd, p, sizeof(h) + half);
	WAIT(b->mem && b->l->sink.done == half);
	old = b->mem; /* cancelled: the first half is copied over, the rest must come here */
	wf_bufs_copy_out(other, b->l->sink.bufs, 5, 3, half);
	b->l->sink.bufs = &buf;
	b->l->sink.n = 1;
	b->l->sink.off = 0;
	memset(old, 0x5a, len + 3);
	raw_write(fd, p + sizeof(h) + half, len - half);
	WAIT(b->n_in == 1);
	assert_false(b->bad);
	assert_true(is_right(other, 0, len));

	/* and to nobody at all */
	raw_write(fd, p, sizeof(h) + half);
	WAIT(b->mem && b->l->sink.done == half);
	memset(b->mem, 0x5a, len + 3);
	b->l->sink.keep = 0;
	b->l->sink.bufs = NULL;
	b->l->sink.n = 0;
	raw_write(fd, p + sizeof(h) + half, len - half);
	WAIT(b->n_in == 2);
	free(p);
	free(other);
	close(fd);
	end_close(b);
}

/* ---- when it is written ---- */

static void test_a_lone_frame_is_written_at_once(void **state)
{
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	wf_tcp.poll(world[0].port);
	for (int i = 0; i < 10; i++) {
		uint64_t before = a->l->syscalls;

		assert_int_equal(post(a, 8, 0, true), WEFT_OK);
		assert_int_equal(a->l->syscalls, before + 1);
		wf_poll_run(&world[1].poll, 1000, 8);
		assert_int_equal(b->n_in, (uint64_t)i + 1);
		wf_tcp.poll(world[0].port);
	}
	end_close(a);
	end_close(b);
}

static void test_a_burst_is_coalesced(void **state)
{
	struct end *a, *b;
	uint64_t before;

	(void)state;
	make_pair(&a, &b);
	wf_tcp.poll(world[0].port);
	before = a->l->syscalls;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(post(a, 8, 0, true), WEFT_OK);
	assert_true(a->l->syscalls - before <= 2);
	assert_int_equal(wf_tcp.arm(world[0].port), WEFT_OK); /* 1000 * 32 bytes: less than TCP_GATHER were held */
	assert_int_equal(a->l->syscalls - before, 2);
	assert_null(((struct tcp_lane *)a->l)->q_head);

	/* armed: a sleeper would not come back to write it */
	assert_int_equal(post(a, 8, 0, true), WEFT_OK);
	assert_int_equal(post(a, 8, 0, true), WEFT_OK);
	assert_int_equal(a->l->syscalls - before, 4);
	wf_tcp.disarm(world[0].port);

	before = b->l->syscalls;
	WAIT(b->n_in == 1002);
	assert_true(b->l->syscalls - before < 40);
	assert_false(b->bad);
	end_close(a);
	end_close(b);
}

static void test_large_frames_take_what_was_held_along(void **state)
{
	struct end *a, *b;
	uint64_t before;

	(void)state;
	make_pair(&a, &b);
	wf_tcp.poll(world[0].port);
	before = a->l->syscalls;
	for (int i = 0; i < 5; i++)
		post(a, 100, 0, true);
	assert_int_equal(post(a, 30000, 1000, true), WEFT_OK);
	assert_int_equal(a->l->syscalls - before, 2);
	WAIT(b->n_in == 6);
	assert_false(b->bad);
	end_close(a);
	end_close(b);
}

/* A payload just behind a page gets a PAD in front of its header, a payload elsewhere none: see pad() in tcp_tx.c. */
static void test_a_payload_where_copies_are_slow_is_moved(void **state)
{
	static const struct { size_t at; bool padded; } where[] = { { 0, true }, { 16, true }, { 23, true }, { 24, false }, { 64, false },
								    { 2048, false }, { 4056, false }, { 4057, true }, { 4095, true } };
	static WF_ALIGNED(4096) char bytes[4096 + 30000];
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	wf_tcp.poll(world[0].port);
	for (size_t i = 0; i < WF_ARRAY_LEN(where); i++) {
		weft_buf buf = { .addr = bytes + where[i].at, .len = 30000 };
		struct wf_sent sent = { 0 };
		struct wf_tx tx = { .h = { .len = 30000, .type = WF_FR_EAGER, .seq = (uint32_t)i, .tag = i }, .bufs = &buf, .n = 1,
				    .len = 30000, .sent = &sent };
		uint64_t before = a->l->bytes_tx;
		int ret;

		fill(buf.addr, i, 30000);
		ROW(ret = wf_tcp.send(a->l, &tx));
		assert_true(ret >= 0);
		assert_int_equal(a->l->bytes_tx - before, WF_FRAME_HDR + 30000 + (where[i].padded ? 64 : 0));
		WAIT(b->n_in == i + 1);
		wf_tcp.poll(world[0].port);
		assert_int_equal(a->l->bytes_tx, b->l->bytes_rx);
	}
	assert_false(b->bad);
	end_close(a);
	end_close(b);
}

static void test_a_pad_of_more_than_a_line_ends_the_lane(void **state)
{
	struct wf_frame h = { .len = WF_PAD_MAX + 1, .type = WF_FR_PAD };
	struct end *b;
	int fd = raw_pair(&b);

	(void)state;
	raw_write(fd, (const char *)&h, sizeof(h));
	WAIT(b->down);
	assert_int_equal(b->status, WEFT_EPROTO);
	close(fd);
	end_close(b);
}

static void test_many_small_pieces_are_copied(void **state)
{
	static char bytes[200000];
	weft_buf bufs[2000];
	struct wf_sent sent = { 0 };
	struct wf_tx tx = { .h = { .len = sizeof(bytes), .type = WF_FR_EAGER }, .bufs = bufs, .n = 2000,
			    .len = sizeof(bytes), .sent = &sent };
	struct end *a, *b;
	int ret;

	(void)state;
	make_pair(&a, &b);
	fill(bytes, 0, sizeof(bytes));
	for (int i = 0; i < 2000; i++)
		bufs[i] = (weft_buf){ .addr = bytes + i * 100, .len = 100 };
	ROW(ret = wf_tcp.send(a->l, &tx));
	assert_int_equal(ret, WEFT_OK);
	memset(bytes, 0, sizeof(bytes));
	WAIT(b->n_in == 1);
	assert_false(b->bad);
	end_close(a);
	end_close(b);
}

static int n_shared;

static void shared_done(struct wf_sent *sent)
{
	(void)sent;
	n_shared--;
}

static void test_pieces_of_a_message_share_one_lender(void **state)
{
	static char bytes[200000];
	weft_buf buf = { .addr = bytes, .len = sizeof(bytes) };
	struct wf_sent sent = { .done = shared_done };
	struct end *a, *b;
	int ret;

	(void)state;
	make_pair(&a, &b);
	n_shared = 0;
	b->stay_paused = true;
	for (int i = 0; i < 200; i++) {
		struct wf_tx tx = { .h = { .len = 100000, .type = WF_FR_DATA }, .bufs = &buf, .n = 1, .len = 100000,
				    .sent = &sent };

		ROW(ret = wf_tcp.send(a->l, &tx));
		n_shared += ret == WEFT_PENDING;
		turn();
	}
	assert_int_equal(n_shared, TCP_QUEUE_LENT);
	b->stay_paused = false;
	resume(b);
	WAIT(!n_shared);
	end_close(a);
	end_close(b);
}

/* ---- pressure ---- */

static void pressure(size_t len)
{
	struct end *a, *b;
	struct tcp_lane *t;
	uint64_t n = 0;
	int ret;

	make_pair(&a, &b);
	t = (struct tcp_lane *)a->l;
	b->stay_paused = true;
	for (;;) {
		ret = post(a, len, 0, true);
		if (ret == WEFT_AGAIN)
			break;
		assert_true(ret == WEFT_OK || ret == WEFT_PENDING);
		assert_true(++n < 1000000);
		if (n % 64 == 0)
			turn();
	}
	assert_true(t->q_bytes <= TCP_QUEUE_BYTES + WF_FRAME_HDR + len);
	assert_true(t->q_lent <= TCP_QUEUE_LENT);
	for (int i = 0; i < 200; i++)
		turn();
	assert_int_equal(a->room, 0);
	assert_int_equal(post(a, len, 0, true), WEFT_AGAIN);

	b->stay_paused = false;
	resume(b);
	WAIT(a->room);
	WAIT(b->n_in == n && !n_lent);
	assert_false(b->bad);
	assert_int_equal(a->room, 1);
	assert_int_equal(post(a, len, 0, true), WEFT_OK);
	WAIT(b->n_in == n + 1);
	assert_null(t->q_head);
	end_close(a);
	end_close(b);
}

static void test_a_paused_reader_makes_the_sender_wait(void **state)
{
	(void)state;
	pressure(64);
	pressure(10000);
}

static void test_lent_frames_are_bounded_too(void **state)
{
	(void)state;
	pressure(200000);
}

static void test_paused_lanes_cost_no_turns(void **state)
{
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	b->stay_paused = true;
	for (int i = 0; i < 100; i++)
		post(a, 5000, 0, true);
	for (int i = 0; i < 50; i++)
		turn();
	assert_true(b->l->paused);
	assert_int_equal(wf_tcp.poll(world[1].port), 0);
	assert_int_equal(wf_poll_run(&world[1].poll, 0, 8), 0);
	assert_int_equal(wf_tcp.arm(world[1].port), WEFT_OK);
	resume(b);
	assert_int_equal(wf_tcp.arm(world[1].port), WEFT_AGAIN);
	b->stay_paused = false;
	WAIT(b->n_in == 100);
	end_close(a);
	end_close(b);
}

/* ---- memory ---- */

static void test_an_idle_lane_has_no_buffers(void **state)
{
	struct end *a, *b;
	const struct tcp_lane *t;

	(void)state;
	assert_true(sizeof(struct tcp_lane) < 1024);
	make_pair(&a, &b);
	for (int i = 0; i < 100; i++)
		post(a, some_size(&a->rng), 0, true);
	WAIT(b->n_in == a->tx_tag && !n_lent);
	t = (const struct tcp_lane *)a->l;
	assert_null(t->q_head);
	t = (const struct tcp_lane *)b->l;
	assert_null(t->stash);
	assert_null(t->body);
	end_close(a);
	end_close(b);
}

static void test_hot_lanes_cool_down(void **state)
{
	struct end *a[12], *b[12];
	struct tcp_port *tp;

	(void)state;
	for (int i = 0; i < 12; i++)
		make_pair(&a[i], &b[i]);
	tp = (struct tcp_port *)world[1].port;
	for (int k = 0; k < 20; k++)
		for (int i = 0; i < 12; i++) {
			post(a[i], 100, 0, true);
			turn();
		}
	assert_true(tp->n_hot > 0 && tp->n_hot <= TCP_HOT);
	for (int i = 0; i < 12; i++)
		WAIT(b[i]->n_in == 20);
	for (int i = 0; i < 4000 && tp->n_hot; i++)
		wf_tcp.poll(world[1].port);
	assert_int_equal(tp->n_hot, 0);
	for (int i = 0; i < 12; i++) {
		end_close(a[i]);
		end_close(b[i]);
	}
}

/* ---- moving ---- */

static void move_to(struct end *e, struct world *w)
{
	int ret;

	ROW(ret = wf_tcp.move(e->l, w ? w->port : NULL));
	assert_int_equal(ret, 0);
	assert_ptr_equal(e->l->port, w ? w->port : NULL);
}

/* Else a worker that sleeps never does again, until another lane is due. */
static void test_a_lane_that_leaves_while_it_is_due_keeps_nobody_busy(void **state)
{
	struct end *a, *b;
	struct tcp_port *tp = (struct tcp_port *)world[1].port;

	(void)state;
	make_pair(&a, &b);
	for (int i = 0; i < 4000 && tp->n_hot; i++)
		wf_tcp.poll(world[1].port);
	assert_int_equal(tp->n_hot, 0);
	tcp_due((struct tcp_lane *)b->l);
	assert_int_equal(world[1].port->busy, 1);
	move_to(b, NULL);
	wf_tcp.poll(world[1].port);
	assert_int_equal(world[1].port->busy, 0);
	move_to(b, &world[1]);
	end_close(a);
	end_close(b);
}

static void test_a_lane_moves_between_polls_with_its_bytes(void **state)
{
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	b->stay_paused = true;
	for (int i = 0; i < 500; i++)
		post(a, some_size(&a->rng) % 3000, 0, true);
	for (int i = 0; i < 20; i++)
		turn();
	assert_true(b->l->paused);
	move_to(b, NULL);
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(b->n_in, 0);
	b->stay_paused = false;
	b->l->paused = false; /* core clears it while the lane has no port */
	ROW(wf_tcp.resume(b->l));
	move_to(b, &world[0]);
	WAIT(b->n_in == a->tx_tag);
	assert_false(b->bad);
	post(b, 100, 0, true);
	WAIT(a->n_in == 1);

	for (int i = 0; i < 200; i++) { /* to and fro in mid-traffic */
		post(a, some_size(&a->rng), 0, true);
		post(b, some_size(&b->rng), 0, true);
		turn();
		move_to(b, NULL);
		move_to(b, &world[i & 1]);
	}
	WAIT(b->n_in == a->tx_tag && a->n_in == b->tx_tag && !n_lent);
	assert_false(a->bad || b->bad);
	end_close(a);
	end_close(b);
}

static void leave_now(struct end *e)
{
	e->on_frame = NULL;
	ROW(wf_tcp.move(e->l, NULL));
}

static void test_a_lane_leaves_inside_its_own_upcall(void **state)
{
	struct end *a, *b;

	(void)state;
	for (int refused = 0; refused < 2; refused++) {
		make_pair(&a, &b);
		for (int i = 0; i < 50; i++)
			post(a, 300, 0, true);
		b->on_frame = leave_now;
		b->refuse = refused;
		WAIT(!b->l->port);
		assert_int_equal(b->n_in, 1 - refused);
		for (int i = 0; i < 10; i++)
			turn();
		move_to(b, &world[0]);
		if (refused)
			resume(b);
		WAIT(b->n_in == 50);
		assert_false(b->bad);
		end_close(a);
		end_close(b);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, worlds_up, worlds_down)

static const struct CMUnitTest tests[] = {
	TEST(test_frames_of_every_size_arrive_in_order),
	TEST(test_frames_into_sinks_arrive_in_order),
	TEST(test_refused_frames_are_offered_again),
	TEST(test_ipv6_loopback_carries_frames),
	TEST(test_bytes_that_dribble_make_frames),
	TEST(test_random_cuts_make_frames),
	TEST(test_sink_is_looked_at_again_before_each_read),
	TEST(test_a_lone_frame_is_written_at_once),
	TEST(test_a_burst_is_coalesced),
	TEST(test_large_frames_take_what_was_held_along),
	TEST(test_a_payload_where_copies_are_slow_is_moved),
	TEST(test_a_pad_of_more_than_a_line_ends_the_lane),
	TEST(test_many_small_pieces_are_copied),
	TEST(test_pieces_of_a_message_share_one_lender),
	TEST(test_a_paused_reader_makes_the_sender_wait),
	TEST(test_lent_frames_are_bounded_too),
	TEST(test_paused_lanes_cost_no_turns),
	TEST(test_an_idle_lane_has_no_buffers),
	TEST(test_hot_lanes_cool_down),
	TEST(test_a_lane_that_leaves_while_it_is_due_keeps_nobody_busy),
	TEST(test_a_lane_moves_between_polls_with_its_bytes),
	TEST(test_a_lane_leaves_inside_its_own_upcall),
};

UT_MAIN(tests)
