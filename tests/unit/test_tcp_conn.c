/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_tcp_conn.c - how tcp lanes begin and end: refused, unreachable, ports, descriptors running
 * out; orderly ends, resets, garbage, dead peers, memory that was lent. The stream between is in
 * test_tcp.c.
 */
#include "unit/tcp_mini.h"

#include <sys/resource.h>

/* ---- beginnings ---- */

static struct end *try_connect(const char *to)
{
	struct end *a = end_new(&world[0]);
	int ret;

	ROW(ret = wf_tcp.connect(a->l, to));
	assert_int_equal(ret, 0);
	WAIT(a->up || a->down);
	return a;
}

static void test_refused_names_the_address(void **state)
{
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	struct end *a;

	(void)state;
	listen_at(&acc, "127.0.0.1:0", bound, sizeof(bound));
	wf_tcp.unlisten(&acc);
	a = try_connect(bound);
	assert_int_equal(a->down, 1);
	assert_int_equal(a->up, 0);
	assert_int_equal(a->status, WEFT_EREFUSED);
	assert_int_equal(a->sys_errno, ECONNREFUSED);
	assert_non_null(strstr(a->cause, bound));
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(a->down, 1);
	end_close(a);
}

static void test_no_way_is_unreachable(void **state)
{
	struct end *a;

	(void)state;
	a = try_connect("255.255.255.255:9"); /* a broadcast address: refused by the kernel at once, anywhere */
	assert_int_equal(a->status, WEFT_EUNREACHABLE);
	assert_non_null(strstr(a->cause, "255.255.255.255:9"));
	end_close(a);
}

static void test_bad_addresses_are_refused_with_a_sentence(void **state)
{
	static const char *const bad[] = { "", "name:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x",
					   "[fe80::1%nonet]:80" };
	struct wf_acceptor acc = { .port = world[1].port };
	struct end *a = end_new(&world[0]);
	char bound[WF_ADDR_TEXT];

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(bad); i++) {
		assert_int_equal(wf_tcp.connect(a->l, bad[i]), WEFT_EURL);
		assert_true(strlen(weft_last_error()->cause) > 5);
	}
	assert_int_equal(wf_tcp.listen(&acc, "name:80", bound, sizeof(bound)), WEFT_EURL);
	end_close(a); /* never connected: closing is harmless */
}

/* The system may choose the very port that we connect to as our own: then TCP connects the socket to itself. */
static void test_a_socket_connected_to_itself_is_refused(void **state)
{
	struct end *a = end_new(&world[0]);
	struct tcp_lane *t = (struct tcp_lane *)a->l;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
	tcp_lane_init(t, (struct tcp_port *)world[0].port, fd, "itself");
	t->state = TCP_CONNECTING;
	tcp_due(t);
	WAIT(a->down);
	assert_int_equal(a->up, 0);
	assert_int_equal(a->status, WEFT_EREFUSED);
	end_close(a);
}

static void test_ports_in_use_and_ranges(void **state)
{
	struct wf_acceptor one, two = { .port = world[1].port };
	char bound[WF_ADDR_TEXT], other[WF_ADDR_TEXT];
	struct wf_addr at;
	uint16_t port;

	(void)state;
	listen_at(&one, "127.0.0.1:0", bound, sizeof(bound));
	assert_int_equal(wf_tcp.listen(&two, bound, other, sizeof(other)), WEFT_EADDRINUSE);
	assert_int_equal(weft_last_error()->sys_errno, EADDRINUSE);
	assert_string_equal(weft_last_error()->object, bound);
	assert_int_equal(wf_tcp.listen(&two, "192.0.2.1:0", other, sizeof(other)), WEFT_EUNREACHABLE);

	/* a range whose first port is taken */
	wf_addr_parse(bound, &at);
	port = wf_addr_port(&at);
	world[1].conf.listen_ports = (struct wf_conf_ports){ port, (uint16_t)(port + 20) };
	listen_at(&two, "127.0.0.1:0", other, sizeof(other));
	wf_addr_parse(other, &at);
	assert_in_range(wf_addr_port(&at), port + 1, port + 20);
	wf_tcp.unlisten(&two);

	/* and one that is all taken */
	world[1].conf.listen_ports = (struct wf_conf_ports){ port, port };
	two.port = world[1].port;
	assert_int_equal(wf_tcp.listen(&two, "127.0.0.1:0", other, sizeof(other)), WEFT_EADDRINUSE);
	wf_tcp.unlisten(&two); /* harmless */
	wf_tcp.unlisten(&one);
}

static void test_a_crowd_is_accepted(void **state)
{
	enum { CROWD = 300 };
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	struct end *a[CROWD];
	int ups = 0;

	(void)state;
	listen_at(&acc, "127.0.0.1:0", bound, sizeof(bound));
	for (int i = 0; i < CROWD; i++) {
		a[i] = end_new(&world[0]);
		assert_int_equal(wf_tcp.connect(a[i]->l, bound), 0);
	}
	WAIT(n_accepted == CROWD);
	for (int i = 0; i < CROWD; i++) {
		WAIT(a[i]->up);
		ups += a[i]->up;
	}
	assert_int_equal(ups, CROWD);
	wf_tcp.unlisten(&acc);
	for (int i = 0; i < CROWD; i++) {
		end_close(a[i]);
		end_close(accepted[i]);
	}
}

static void test_a_connect_can_be_taken_back(void **state)
{
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	struct end *a = end_new(&world[0]);

	(void)state;
	listen_at(&acc, "127.0.0.1:0", bound, sizeof(bound));
	assert_int_equal(wf_tcp.connect(a->l, bound), 0);
	end_close(a);
	WAIT(n_accepted);
	WAIT(accepted[0]->down);
	end_close(accepted[0]);
	wf_tcp.unlisten(&acc);
}

/* ---- descriptors ---- */

static void test_no_descriptors_is_waited_out(void **state)
{
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	struct rlimit was, tight;
	int fd, spare, filler = dup(0);

	(void)state;
	listen_at(&acc, "127.0.0.1:0", bound, sizeof(bound));
	fd = raw_connect(bound);
	spare = dup(0); /* the lowest free number: no new one fits below the limit */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	tight = was;
	tight.rlim_cur = (rlim_t)spare + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);

	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(n_accepted, 0);
	assert_int_equal(acceptor_failed, 0);
	assert_true(world[1].wake_at > 0);
	/* meanwhile it does not keep a sleeper awake */
	assert_int_equal(wf_tcp.arm(world[1].port), WEFT_OK);
	assert_int_equal(wf_poll_run(&world[1].poll, 0, 8), 0);

	close(spare);
	close(filler);
	WAIT(n_accepted == 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	end_close(accepted[0]);
	wf_tcp.unlisten(&acc);
	close(fd);
}

static void test_connect_without_descriptors_says_so(void **state)
{
	struct end *a = end_new(&world[0]);
	struct rlimit was, tight;
	int spare = dup(0), ret;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	tight = was;
	tight.rlim_cur = (rlim_t)spare + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	ret = wf_tcp.connect(a->l, "127.0.0.1:9");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(ret, wf_status_of_errno(EMFILE));
	assert_int_equal(weft_last_error()->sys_errno, EMFILE);
	close(spare);
	end_close(a);
}

/* ---- ends ---- */

static void test_frames_before_the_end_are_delivered(void **state)
{
	struct end *b;
	int fd = raw_pair(&b);
	size_t n;
	char *p;

	(void)state;
	for (uint64_t i = 0; i < 200; i++) {
		p = wire_frame(i, i == 100 ? 300000 : 1000, &n);
		for (size_t at = 0; at < n;) {
			ssize_t k = send(fd, p + at, n - at, MSG_DONTWAIT);

			at += k > 0 ? (size_t)k : 0;
			if (k < 0)
				turn();
		}
		free(p);
	}
	p = wire_frame(200, 1000, &n);
	raw_write(fd, p, n / 2);
	free(p);
	close(fd);
	WAIT(b->down);
	assert_int_equal(b->n_in, 200);
	assert_false(b->bad);
	assert_int_equal(b->status, WEFT_ERESET);
	assert_int_equal(b->sys_errno, 0);
	assert_string_equal(b->cause, "peer closed the connection");
	assert_true(post(b, 8, 0, true) < 0);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(b->down, 1);
	end_close(b);
}

static void reset_and_close(int fd)
{
	struct linger hard = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void test_a_reset_takes_the_lane_down(void **state)
{
	struct end *b;
	int fd = raw_pair(&b);

	(void)state;
	reset_and_close(fd);
	WAIT(b->down);
	assert_int_equal(b->status, WEFT_ERESET);
	assert_int_equal(b->sys_errno, ECONNRESET);
	end_close(b);
}

static void test_a_write_error_is_told_by_poll(void **state)
{
	struct end *b;
	int fd = raw_pair(&b), ret = 0;
	size_t n;
	char *p = wire_frame(0, 100, &n);

	(void)state;
	raw_write(fd, p, n); /* was sent before the end: is delivered, also when writing fails first */
	free(p);
	reset_and_close(fd);
	wf_tcp.poll(world[1].port);
	b->n_in = 0;
	for (int i = 0; i < 100 && ret >= 0; i++) {
		ret = post(b, 100000, 0, true);
		assert_int_equal(b->down, 0);
		if (ret >= 0)
			wf_tcp.arm(world[1].port);
	}
	assert_true(ret < 0);
	assert_int_equal(wf_tcp.arm(world[1].port), WEFT_AGAIN);
	assert_true(post(b, 8, 0, true) < 0);
	assert_int_equal(b->down, 0);
	WAIT(b->down);
	assert_int_equal(b->status, WEFT_ERESET);
	end_close(b);
}

static void test_garbage_is_a_protocol_error(void **state)
{
	struct wf_rng r;
	int protos = 0;

	(void)state;
	wf_rng_init(&r, 3);
	for (int i = 0; i < 200; i++) {
		struct end *b;
		int fd = raw_pair(&b);
		char junk[3000];
		size_t n = 1 + wf_rng_below(&r, sizeof(junk));

		for (size_t k = 0; k < n; k++)
			junk[k] = (char)wf_rng_next(&r);
		if (i == 0)
			memcpy(junk, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 28);
		raw_write(fd, junk, n);
		shutdown(fd, SHUT_WR);
		WAIT(b->down);
		assert_true(b->status == WEFT_EPROTO || b->status == WEFT_ERESET);
		assert_int_equal(b->down, 1);
		protos += b->status == WEFT_EPROTO;
		close(fd);
		end_close(b);
	}
	assert_true(protos > 150);
}

static void test_a_long_length_allocates_nothing(void **state)
{
	struct wf_frame h = { .len = 0xffffffff, .type = WF_FR_EAGER };
	struct end *b;
	int fd = raw_pair(&b);

	(void)state;
	raw_write(fd, &h, sizeof(h));
	WAIT(b->down);
	assert_int_equal(b->status, WEFT_EPROTO);
	assert_null(((struct tcp_lane *)b->l)->body);
	close(fd);
	end_close(b);
}

static void test_the_end_of_a_paused_peer_is_told_soon(void **state)
{
	struct end *b;
	size_t n;
	uint64_t began;

	(void)state;
	for (int hard = 0; hard < 2; hard++) {
		char *p = wire_frame(0, 100, &n);
		int fd = raw_pair(&b);

		b->stay_paused = true;
		raw_write(fd, p, n);
		WAIT(b->l->paused);
		raw_write(fd, p, n); /* lies in the socket */
		free(p);
		began = wf_now_ns();
		if (hard)
			reset_and_close(fd);
		else
			close(fd);
		WAIT(b->down);
		assert_true(wf_now_ns() - began < 2 * TCP_RETRY_NS);
		assert_int_equal(b->status, WEFT_ERESET);
		end_close(b);
	}
}

static void test_a_pause_that_ends_in_time_loses_nothing(void **state)
{
	struct end *b;
	int fd = raw_pair(&b);
	size_t n;

	(void)state;
	b->stay_paused = true;
	for (uint64_t i = 0; i < 10; i++) {
		char *p = wire_frame(i, 10000, &n);

		raw_write(fd, p, n);
		free(p);
	}
	WAIT(b->l->paused);
	close(fd);
	for (int i = 0; i < 5; i++)
		turn();
	b->stay_paused = false;
	resume(b);
	WAIT(b->down);
	assert_int_equal(b->n_in, 10);
	assert_false(b->bad);
	assert_string_equal(b->cause, "peer closed the connection");
	end_close(b);
}

/* ---- closing ---- */

static void test_what_was_sent_before_close_arrives(void **state)
{
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	for (int i = 0; i < 50; i++)
		post(b, 500, 0, true); /* never read by a: must not reset what a sends */
	wf_tcp.arm(world[1].port);
	wf_tcp.disarm(world[1].port);
	for (int i = 0; i < 20; i++)
		post(a, 200, 0, true);
	end_close(a); /* some of them are still held back */
	WAIT(b->down);
	assert_int_equal(b->n_in, 20);
	assert_false(b->bad);
	end_close(b);
}

static void test_a_full_socket_at_close_still_arrives(void **state)
{
	const size_t len = 10000;
	struct end *a, *b;
	uint64_t written;

	(void)state;
	make_pair(&a, &b);
	post(b, 500, 0, true); /* unread when a closes: alone it would turn the close into a reset */
	wf_tcp.arm(world[1].port);
	wf_tcp.disarm(world[1].port);
	b->stay_paused = true;
	while (post(a, len, 0, true) == WEFT_OK)
		wf_tcp.poll(world[1].port);
	written = (a->l->bytes_tx - ((struct tcp_lane *)a->l)->q_bytes) / (WF_FRAME_HDR + len);
	assert_true(written > 10);
	end_close(a);
	b->stay_paused = false;
	resume(b);
	WAIT(b->down);
	assert_int_equal(b->n_in, written);
	assert_false(b->bad);
	end_close(b);
}

static void test_close_forgets_lent_memory(void **state)
{
	struct end *a, *b;
	int ret;

	(void)state;
	make_pair(&a, &b);
	b->stay_paused = true;
	do {
		ret = post(a, 200000, 0, true);
		turn();
	} while (ret == WEFT_OK || ret == WEFT_PENDING);
	assert_true(n_lent > 10);
	end_close(a);
	for (int i = 0; i < 20; i++)
		turn();
	assert_true(n_lent > 10); /* no done() after close; the memory is its owner's again */
	end_close(b);
}

static void test_close_while_due_held_and_hot(void **state)
{
	struct end *a, *b;

	(void)state;
	for (int i = 0; i < 20; i++) {
		make_pair(&a, &b);
		post(a, 10, 0, true);
		post(a, 10, 0, true);
		WAIT(b->n_in == 2);
		post(a, 10, 0, true);
		post(a, 10, 0, true);
		resume(a);
		resume(b);
		end_close(i & 1 ? a : b);
		turn();
		end_close(i & 1 ? b : a);
		turn();
	}
}

static void test_descriptors_are_given_back(void **state)
{
	int before = wf_fd_count();
	struct end *a, *b;

	(void)state;
	for (int i = 0; i < 50; i++) {
		make_pair(&a, &b);
		end_close(a);
		if (i & 1)
			WAIT(b->down);
		end_close(b);
	}
	assert_int_equal(wf_fd_count(), before);
}

/* ---- sleep ---- */

static void test_a_sleeper_is_woken_by_a_frame(void **state)
{
	struct end *a, *b;

	(void)state;
	make_pair(&a, &b);
	for (int i = 0; i < 2000; i++) {
		while (wf_tcp.arm(world[1].port) == WEFT_AGAIN)
			wf_tcp.poll(world[1].port);
		post(a, wf_rng_below(&a->rng, 2000), 0, true);
		if (i % 3 == 0)
			post(a, 20, 0, true);
		wf_tcp.arm(world[0].port);
		assert_true(wf_poll_one(world[1].poll.epfd, 1 /* POLLIN */, 5000) == 1);
		wf_tcp.disarm(world[1].port);
		while (b->n_in < a->tx_tag) {
			wf_tcp.poll(world[1].port);
			wf_poll_run(&world[1].poll, 0, 8);
		}
		wf_tcp.poll(world[0].port);
	}
	assert_false(b->bad);
	end_close(a);
	end_close(b);
}

/* ---- faults ---- */

static void traffic(void)
{
	struct wf_acceptor acc = { .port = world[1].port };
	struct end *a = end_new(&world[0]), *b = NULL;
	char bound[WF_ADDR_TEXT];
	uint64_t until = wf_now_ns() + LIMIT_NS;
	int listens = !wf_tcp.listen(&acc, "127.0.0.1:0", bound, sizeof(bound));

	if (listens && !wf_tcp.connect(a->l, bound)) {
		while (!a->down && !(a->up && n_accepted)) {
			turn();
			assert_true(wf_now_ns() < until);
		}
		b = n_accepted ? accepted[0] : NULL;
	}
	for (int i = 0; b && i < 60 && !a->down && !b->down; i++) {
		b->sink = i & 1;
		b->refuse = i % 7 == 3;
		post(a, (size_t)i * 1500, 0, i & 2);
		turn();
		if (b->l->paused)
			resume(b);
	}
	/* everything arrives, or both know that it does not */
	while (b && !(a->down && b->down) && b->n_in != a->tx_tag) {
		turn();
		if (b->l->paused)
			resume(b);
		if (a->down) /* as core does it; and so the other one learns */
			ROW(wf_tcp.lane_close(a->l));
		if (b->down)
			ROW(wf_tcp.lane_close(b->l));
		assert_true(wf_now_ns() < until);
	}
	assert_false(b && b->bad);
	end_close(a);
	for (int i = 0; i < n_accepted; i++)
		end_close(accepted[i]);
	wf_tcp.unlisten(&acc);
}

/* In a build with fault points each of them in turn; in a normal build the traffic alone. */
static void test_every_fault_ends_in_an_answer(void **state)
{
	uint64_t nth = 0;
	bool fired;

	do {
		worlds_up(state);
		wf_fault_set(++nth);
		traffic();
		fired = wf_fault_last();
		wf_fault_set(0);
		worlds_down(state);
	} while (nth < 5000 && fired);
	if (nth > 1)
		assert_in_range(nth, 20, 4999);
}

static void test_describe_fits(void **state)
{
	struct end *a, *b;
	char text[200], cut[10];

	(void)state;
	make_pair(&a, &b);
	wf_tcp.describe(a->l, text, sizeof(text));
	assert_non_null(strstr(text, a->l->peer));
	wf_tcp.describe(a->l, cut, sizeof(cut));
	assert_int_equal(strlen(cut), 9);
	end_close(a);
	end_close(b);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, worlds_up, worlds_down)

static const struct CMUnitTest tests[] = {
	TEST(test_refused_names_the_address),
	TEST(test_no_way_is_unreachable),
	TEST(test_bad_addresses_are_refused_with_a_sentence),
	TEST(test_a_socket_connected_to_itself_is_refused),
	TEST(test_ports_in_use_and_ranges),
	TEST(test_a_crowd_is_accepted),
	TEST(test_a_connect_can_be_taken_back),
	TEST(test_no_descriptors_is_waited_out),
	TEST(test_connect_without_descriptors_says_so),
	TEST(test_frames_before_the_end_are_delivered),
	TEST(test_a_reset_takes_the_lane_down),
	TEST(test_a_write_error_is_told_by_poll),
	TEST(test_garbage_is_a_protocol_error),
	TEST(test_a_long_length_allocates_nothing),
	TEST(test_the_end_of_a_paused_peer_is_told_soon),
	TEST(test_a_pause_that_ends_in_time_loses_nothing),
	TEST(test_what_was_sent_before_close_arrives),
	TEST(test_a_full_socket_at_close_still_arrives),
	TEST(test_close_forgets_lent_memory),
	TEST(test_close_while_due_held_and_hot),
	TEST(test_descriptors_are_given_back),
	TEST(test_a_sleeper_is_woken_by_a_frame),
	cmocka_unit_test(test_every_fault_ends_in_an_answer),
	TEST(test_describe_fits),
};

UT_MAIN(tests)
