/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_bad.c - strangers at the door: they speak another protocol or version, nothing at all, or go at once. The listener
 * shows none of them to its owner and goes on; a connection to such a server fails with the reason.
 *
 * The few bytes of our own wire format are written here by hand, as docs/PROTOCOL.md draws them: a stranger would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/conform.h"

static void needs_tcp(void)
{
	if (!wt_variant->processes)
		wt_skip("nobody from outside can reach this transport");
}

/* A raw socket that is connected to the listener of @url. */
static int knock(const char *url)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char host[40];

	assert_int_equal(sscanf(url, "weft://%39[0-9.]", host), 1);
	assert_int_equal(inet_pton(AF_INET, host, &sa.sin_addr), 1);
	sa.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Pumps until the other side has closed; the bytes that came before, at most @cap. */
static size_t read_to_end(int fd, unsigned char *out, size_t cap)
{
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
	unsigned char more[512];
	size_t n = 0;

	for (;;) {
		ssize_t k = n < cap ? read(fd, out + n, cap - n) : read(fd, more, sizeof(more));

		if (k == 0 || (k < 0 && errno != EAGAIN))
			return n;
		if (k > 0 && n < cap)
			n += (size_t)k;
		wt_pump();
		if (wt_now_ns() > limit)
			fail_msg("the library keeps a stranger's connection");
	}
}

static void assert_listener_works(struct wt_pair *p)
{
	weft_ep *more[2];

	assert_int_equal(wt_count(p->w[1], WEFT_EV_REQUEST), 0);
	wt_pair_more(p, more);
	wt_ep_close(p->w[0], more[0]);
	wt_ep_close(p->w[1], more[1]);
	wt_exchange(p, 0, 1000, 1);
}

static void strangers_are_shown_the_door(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
	unsigned char bytes[4096];
	uint64_t seed = 3;
	struct wt_pair p;

	(void)state;
	needs_tcp();
	wt_pair_open(&p, 0);
	for (int i = 0; i < 40; i++) {
		int fd = knock(p.url);
		size_t len = i ? 24 + wt_random(&seed) % (sizeof(bytes) - 24) : sizeof(http) - 1;

		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = (unsigned char)wt_random(&seed);
		if (i == 0)
			memcpy(bytes, http, sizeof(http));
		if (i % 4 == 1)
			memset(bytes, i & 8 ? 0xff : 0, sizeof(bytes));
		if (i % 4 == 2) { /* a header that is right as far as it goes: a HELLO of 16 MiB, or of nonsense */
			memset(bytes, 0, 24);
			bytes[i & 8 ? 3 : 1] = 1;
			bytes[8] = 1;
		}
		assert_true(send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
		wt_pump();
		shutdown(fd, SHUT_WR);
		read_to_end(fd, bytes, sizeof(bytes));
		close(fd);
	}
	assert_listener_works(&p);
	wt_pair_close(&p);
}

static void strangers_who_go_on_talking_are_cut_off(void **state)
{
	struct wt_pair p;
	unsigned char bytes[64];
	int fd;

	(void)state;
	needs_tcp();
	wt_pair_open(&p, 0);
	fd = knock(p.url);
	assert_true(send(fd, "HELO there, this is no weft at all\r\n", 36, MSG_NOSIGNAL) == 36);
	read_to_end(fd, bytes, sizeof(bytes)); /* although we did not end */
	close(fd);
	assert_listener_works(&p);
	wt_pair_close(&p);
}

static void put_le(unsigned char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

/* A HELLO (type 1) or WELCOME (type 2) that speaks versions @low to @high; its length. */
static size_t hello(unsigned char *p, int type, unsigned low, unsigned high)
{
	size_t len = 4 + 2 + 2 + 4 + 3 * 16 + 1;

	memset(p, 0, 24 + len);
	put_le(p, len, 4);
	p[8] = (unsigned char)type;
	memcpy(p + 24, "WEFT", 4);
	put_le(p + 28, low, 2);
	put_le(p + 30, high, 2);
	memset(p + 36, 0x5c, 32);
	return 24 + len;
}

static void another_version_is_told_so(void **state)
{
	unsigned char bytes[256], answer[256];
	struct wt_pair p;
	size_t n;
	int fd;

	(void)state;
	needs_tcp();
	wt_pair_open(&p, 0);
	fd = knock(p.url);
	n = hello(bytes, 1, 900, 901);
	assert_true(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
	n = read_to_end(fd, answer, sizeof(answer) - 1);
	close(fd);
	assert_true(n >= 24);
	answer[n] = '\0';
	assert_int_equal(answer[8], 3);                   /* REJECT */
	assert_int_equal(answer[10], (unsigned char)-WEFT_EVERSION);
	assert_non_null(memmem(answer + 24, n - 24, "you speak 900 to 901", 20));
	assert_listener_works(&p);
	wt_pair_close(&p);
}

/* A frame without operands, and its payload; its length. */
static size_t frame(unsigned char *p, int type, unsigned seq, unsigned aux, const char *payload, size_t len)
{
	memset(p, 0, 24);
	put_le(p, len, 4);
	put_le(p + 4, seq, 4);
	p[8] = (unsigned char)type;
	put_le(p + 10, aux, 2);
	memcpy(p + 24, payload, len);
	return 24 + len;
}

/* WELCOME has the features that both know. What belongs to one that was not agreed upon, or has no place, ends the endpoint. */
static void features_are_those_of_both(void **state)
{
	weft_conn_opts o = { .size = sizeof(o) };
	unsigned char bytes[256], answer[512];
	struct wt_pair p;

	(void)state;
	needs_tcp();
	if (!wt_is("tcp"))
		wt_skip("the stranger knows tcp only");
	wt_pair_open(&p, 0);
	for (int knows = 0; knows < 2; knows++) {
		size_t n = hello(bytes, 1, 1, 1), got;
		int fd = knock(p.url);
		weft_ep *ep;

		o.user_data = wt_call(0).user_data;
		put_le(bytes + 32, knows ? UINT32_MAX : 0, 4);
		assert_true(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
		assert_int_equal(weft_accept(wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS).data, p.w[1]->w, &o, &ep), WEFT_OK);
		n = frame(bytes, 4, 1, 0, "tcp", 4);            /* READY */
		n += frame(bytes + n, 40, 2, 4, "tcp", 4);      /* RENEW, HINT: nothing has broken */
		assert_true(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
		assert_int_equal(wt_wait(p.w[1], WEFT_EV_DOWN, o.user_data, WT_LIMIT_MS).status, WEFT_EPROTO);
		got = read_to_end(fd, answer, sizeof(answer));
		close(fd);
		assert_true(got >= 24 + 61);
		assert_int_equal(answer[8], 2);                 /* WELCOME */
		assert_int_equal(answer[32], knows);
		assert_int_equal(answer[33] | answer[34] | answer[35], 0);
		weft_ep_abort(ep);
		assert_listener_works(&p);
	}
	wt_pair_close(&p);
}

static void half_open_connections_hold_nobody_up(void **state)
{
	enum { N = 100 };
	unsigned char bytes[256];
	int fd[N];
	struct wt_pair p;

	(void)state;
	needs_tcp();
	wt_pair_open(&p, 0);
	for (int i = 0; i < N; i++) {
		size_t n = hello(bytes, 1, 1, 1);

		fd[i] = knock(p.url);
		if (i & 1) /* some begin to speak and stop in the middle */
			assert_true(send(fd[i], bytes, n * i / (2 * N), MSG_NOSIGNAL) >= 0);
		wt_pump();
	}
	assert_listener_works(&p);
	for (int i = 0; i < N; i++)
		close(fd[i]);
	wt_pump_ms(20);
	assert_listener_works(&p);
	wt_pair_close(&p);
}

static void a_half_open_connection_is_given_up(void **state)
{
	struct wt_pair p;
	unsigned char bytes[8];
	char limit[16];
	int fd;

	(void)state;
	needs_tcp();
	snprintf(limit, sizeof(limit), "%ums", wt_slow(300)); /* the pair must be made within it, too */
	wt_pair_open_with(&p, 0, "connect_timeout", limit);
	fd = knock(p.url);
	read_to_end(fd, bytes, sizeof(bytes)); /* although we said nothing */
	close(fd);
	assert_listener_works(&p);
	wt_pair_close(&p);
}

static void a_port_scan_leaves_no_trace(void **state)
{
	struct linger now = { .l_onoff = 1 };
	struct wt_pair p;
	uint64_t limit;
	int before;

	(void)state;
	needs_tcp();
	wt_pair_open(&p, 0);
	wt_pump_ms(5);
	before = wt_fd_count();
	for (int i = 0; i < 100; i++) {
		int fd = knock(p.url);

		if (i & 1) /* with a reset */
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		if (i % 10 == 0)
			wt_pump();
	}
	limit = wt_in_ms(wt_slow(2000));
	while (wt_fd_count() > before && wt_now_ns() < limit)
		wt_pump_ms(1);
	assert_int_equal(wt_fd_count(), before);
	assert_listener_works(&p);
	wt_pair_close(&p);
}

/* A server that is not ours answers with @n bytes; the status of the connection to it, whose words have @part. */
static int32_t connect_to_stranger(const void *answer, size_t n, bool then_close, const char *part)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), in = -1;
	weft_ctx *ctx = wt_open("connect_timeout", "1s");
	struct wt_w *w = wt_worker(ctx, 0);
	socklen_t len = sizeof(sa);
	weft_event e = { 0 };
	char url[64];
	weft_ep *ep;

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	snprintf(url, sizeof(url), "weft://127.0.0.1:%u", ntohs(sa.sin_port));
	assert_int_equal(weft_connect(w->w, url, NULL, &ep), WEFT_OK);
	for (uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS)); !wt_take(w, WEFT_EV_DOWN, UINT64_MAX, &e);) {
		wt_pump();
		assert_true(wt_now_ns() < limit);
		if (in >= 0 || (in = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0)
			continue;
		assert_true(send(in, answer, n, MSG_NOSIGNAL) == (ssize_t)n);
		if (then_close)
			shutdown(in, SHUT_WR);
	}
	wt_says(&e, url + strlen("weft://"));
	wt_says(&e, part);
	assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	wt_worker_free(w);
	wt_close(ctx);
	close(in);
	close(fd);
	return e.status;
}

static void a_server_of_another_kind_is_a_clear_error(void **state)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	static const char ssh[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
	static const char redis[] = "-ERR unknown command\r\n";
	static const char other[] = "does not speak weft";
	unsigned char bytes[256], nonsense[200];
	size_t n;

	(void)state;
	needs_tcp();
	memset(nonsense, 0xa5, sizeof(nonsense));
	assert_int_equal(connect_to_stranger(http, sizeof(http) - 1, true, other), WEFT_EPROTO);
	assert_int_equal(connect_to_stranger(ssh, sizeof(ssh) - 1, false, other), WEFT_EPROTO);
	assert_int_equal(connect_to_stranger(nonsense, sizeof(nonsense), false, other), WEFT_EPROTO);
	assert_int_equal(connect_to_stranger(redis, sizeof(redis) - 1, true, "without an answer"), WEFT_ERESET);
	assert_int_equal(connect_to_stranger("", 0, true, "without an answer"), WEFT_ERESET);
	assert_int_equal(connect_to_stranger("", 0, false, "hello"), WEFT_ETIMEDOUT);
	n = hello(bytes, 2, 900, 900);
	assert_int_equal(connect_to_stranger(bytes, n, false, "version"), WEFT_EVERSION);
	memset(bytes + 24, 0x5c, n - 24); /* a WELCOME by its header only */
	assert_int_equal(connect_to_stranger(bytes, n, false, "malformed"), WEFT_EPROTO);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(strangers_are_shown_the_door),
	WT_CASE(strangers_who_go_on_talking_are_cut_off),
	WT_CASE(another_version_is_told_so),
	WT_CASE(features_are_those_of_both),
	WT_CASE(half_open_connections_hold_nobody_up),
	WT_CASE(a_half_open_connection_is_given_up),
	WT_CASE(a_port_scan_leaves_no_trace),
	WT_CASE(a_server_of_another_kind_is_a_clear_error),
};
WT_GROUP(wt_group_bad, cases);
