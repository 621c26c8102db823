/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "os/clock.h"
#include "os/poll.h"
#include "os/proc.h"
#include "os/sock.h"

#define LONG_MS 10000

static int listen_at(const char *text, struct wf_addr *bound)
{
	struct wf_addr a;
	int fd;

	assert_int_equal(wf_addr_parse(text, &a), 0);
	if (wf_sock_listen(&a, &fd))
		return -1;
	assert_int_equal(wf_sock_local(fd, bound), 0);
	return fd;
}

static void connect_pair(const char *text, int fds[2])
{
	struct wf_addr at, peer;
	int l = listen_at(text, &at);
	int ret;

	if (l < 0)
		UT_SKIP("cannot listen at %s", text);
	assert_true(wf_addr_port(&at) != 0);
	ret = wf_sock_connect_nb(&at, &fds[0]);
	assert_true(ret == 0 || ret == -EINPROGRESS);
	assert_int_equal(wf_poll_one(l, POLLIN, LONG_MS), 1);
	assert_int_equal(wf_sock_accept(l, &fds[1], &peer), 0);
	assert_true(wf_addr_is_loopback(&peer));
	assert_int_equal(wf_poll_one(fds[0], POLLOUT, LONG_MS), 1);
	assert_int_equal(wf_sock_error(fds[0]), 0);
	assert_int_equal(wf_sock_accept(l, &ret, NULL), -EAGAIN);
	wf_fd_close(&l);
}

static void exchange(const char *text)
{
	char a[] = "hello", b[] = " world", got[32] = { 0 };
	struct iovec out[] = { { a, 5 }, { b, 6 } }, in[] = { { got, 4 }, { got + 4, 28 } };
	int fds[2];

	connect_pair(text, fds);
	assert_int_equal(wf_sock_nodelay(fds[0]), 0);
	assert_int_equal(wf_sock_keepalive(fds[0], 3000000000ull), 0);
	assert_int_equal(wf_sock_keepalive(fds[0], 100000000ull), 0);
	assert_int_equal(wf_sock_buffers(fds[0], 1 << 16, 0), 0);
	assert_int_equal(wf_sock_recv(fds[1], got, sizeof(got)), -EAGAIN);
	assert_int_equal(wf_sock_sendv(fds[0], out, 2), 11);
	assert_int_equal(wf_poll_one(fds[1], POLLIN, LONG_MS), 1);
	assert_int_equal(wf_sock_recvv(fds[1], in, 2), 11);
	assert_string_equal(got, "hello world");
	assert_int_equal(wf_sock_shutdown_send(fds[0]), 0);
	assert_int_equal(wf_poll_one(fds[1], POLLIN, LONG_MS), 1);
	assert_int_equal(wf_sock_recvv(fds[1], in, 2), 0);
	wf_fd_close(&fds[0]);
	assert_int_equal(fds[0], -1);
	wf_fd_close(&fds[0]);
	wf_fd_close(&fds[1]);
}

static void test_tcp_v4_exchange(void **state)
{
	(void)state;
	exchange("127.0.0.1:0");
}

static void test_tcp_v6_exchange(void **state)
{
	(void)state;
	exchange("[::1]:0");
}

static void test_v4_and_v6_share_a_port(void **state)
{
	struct wf_addr a, b;
	char text[32];
	int l4, l6;

	(void)state;
	l6 = listen_at("[::]:0", &a);
	if (l6 < 0)
		UT_SKIP("no IPv6 here");
	snprintf(text, sizeof(text), "0.0.0.0:%u", wf_addr_port(&a));
	l4 = listen_at(text, &b);
	assert_true(l4 >= 0);
	wf_fd_close(&l4);
	wf_fd_close(&l6);
}

static void test_refused_connect_says_so(void **state)
{
	struct wf_addr at;
	int l = listen_at("127.0.0.1:0", &at);
	int fd, ret;

	(void)state;
	wf_fd_close(&l);
	ret = wf_sock_connect_nb(&at, &fd);
	if (ret == -EINPROGRESS) {
		assert_int_equal(wf_poll_one(fd, POLLOUT, LONG_MS), 1);
		ret = wf_sock_error(fd);
		wf_fd_close(&fd);
	}
	assert_int_equal(ret, -ECONNREFUSED);
}

static void test_listening_twice_is_refused(void **state)
{
	struct wf_addr at;
	int l = listen_at("127.0.0.1:0", &at);
	int fd = -1;

	(void)state;
	assert_int_equal(wf_sock_listen(&at, &fd), -EADDRINUSE);
	assert_int_equal(fd, -1);
	wf_fd_close(&l);
}

static void test_writing_to_a_gone_peer_is_an_error_not_a_signal(void **state)
{
	ssize_t k = 0;
	int fds[2];

	(void)state;
	connect_pair("127.0.0.1:0", fds);
	wf_fd_close(&fds[1]);
	for (int i = 0; i < 1000 && k >= 0; i++) {
		wf_poll_one(fds[0], POLLOUT, 10);
		k = wf_sock_send(fds[0], "x", 1);
	}
	assert_true(k == -EPIPE || k == -ECONNRESET);
	wf_fd_close(&fds[0]);
}

static void test_full_socket_says_again(void **state)
{
	static char big[1 << 20];
	struct iovec iov = { big, sizeof(big) };
	ssize_t k;
	int fds[2];

	(void)state;
	connect_pair("127.0.0.1:0", fds);
	for (int i = 0; i < 1000; i++) {
		k = wf_sock_sendv_more(fds[0], &iov, 1);
		if (k < 0)
			break;
	}
	assert_int_equal(k, -EAGAIN);
	wf_fd_close(&fds[0]);
	wf_fd_close(&fds[1]);
}

/* Fills the socket until it takes no more. */
static void fill(int fd)
{
	static char big[1 << 20];
	int full = 0;

	while (full < 20) { /* the kernel moves bytes on: ask again */
		if (wf_sock_send(fd, big, sizeof(big)) < 0) {
			full++;
			wf_poll_one(-1, 0, 1);
		}
	}
}

/* 0 when @fd is not found dead for @for_ns, else what was found; *took_ns_out: how long it took. */
static int watch_pulse(int fd, uint64_t detect_ns, uint64_t for_ns, uint64_t *took_ns_out)
{
	uint64_t start = wf_now_ns();
	struct wf_pulse pulse = { 0 };
	int ret = 0;

	while (!ret && wf_now_ns() - start < for_ns) {
		wf_poll_one(-1, 0, (int)(detect_ns / 4 / WF_NS_PER_MS));
		ret = wf_sock_pulse(fd, &pulse, wf_now_ns(), detect_ns);
	}
	*took_ns_out = wf_now_ns() - start;
	return ret;
}

static void test_living_peer_that_does_not_read_is_not_dead(void **state)
{
	uint64_t took;
	int fds[2];

	(void)state;
	connect_pair("127.0.0.1:0", fds);
	assert_int_equal(wf_sock_keepalive(fds[0], 300 * WF_NS_PER_MS), 0);
	fill(fds[0]);
	assert_int_equal(watch_pulse(fds[0], 300 * WF_NS_PER_MS, 2500 * WF_NS_PER_MS, &took), 0);
	assert_int_equal(wf_sock_error(fds[0]), 0);
	wf_fd_close(&fds[0]);
	wf_fd_close(&fds[1]);
}

static int set_loopback(bool up)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int ret = ioctl(fd, SIOCSIFFLAGS, &req);

	close(fd);
	return ret;
}

/* What waits when the link is cut: a byte sent afterwards, a full window of a peer that does not read, segments on a slow link. */
enum waits { WAITS_LATER, WAITS_SHUT, WAITS_ON_THE_WAY };

/* From @a to @b, which reads: each acknowledgement lets segments out, so that the last one and the last segment are of the same moment. */
static void send_over_slow_link(int a, int b)
{
	static char some[100000];
	uint64_t until = wf_now_ns() + 500 * WF_NS_PER_MS;

	while (wf_now_ns() < until) {
		wf_sock_send(a, some, 3000);
		wf_sock_recv(b, some, sizeof(some));
		wf_poll_one(-1, 0, 1);
	}
}

/* The kernel has no way any more, and counts nothing as sent: the port that is down is our own. */
static int cut_under_way(int a, int b)
{
	if (system("ip link set lo mtu 1500 && tc qdisc add dev lo root tbf rate 1mbit burst 4k latency 2s"))
		return 77;
	send_over_slow_link(a, b);
	return system("ip addr flush dev lo") ? 77 : 0;
}

/* In a network of its own, whose only link is then cut. 0 found in time, 77 not allowed. */
static int cut_link_in_child(enum waits waits)
{
	struct wf_addr at;
	uint64_t took;
	int l, a, b;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return 77;
	if (set_loopback(true))
		return 77;
	wf_addr_parse("127.0.0.1:0", &at);
	if (wf_sock_listen(&at, &l) || wf_sock_local(l, &at))
		return 1;
	if (wf_sock_connect_nb(&at, &a) != -EINPROGRESS)
		return 2;
	wf_poll_one(l, POLLIN, LONG_MS);
	if (wf_sock_accept(l, &b, NULL) || wf_sock_error(a))
		return 3;
	if (waits == WAITS_SHUT)
		fill(a);
	if (waits == WAITS_ON_THE_WAY && cut_under_way(a, b))
		return 77;
	if (set_loopback(false))
		return 4;
	if (waits != WAITS_ON_THE_WAY)
		wf_sock_send(a, "x", 1);
	if (watch_pulse(a, WF_NS_PER_S, 10 * WF_NS_PER_S, &took) != -ETIMEDOUT)
		return 5;
	/* a shut window is probed ever more rarely, and on a slow link all is tried again later: that may take longer */
	return waits != WAITS_LATER || took < 2 * WF_NS_PER_S ? 0 : 6;
}

static void cut_link(enum waits waits)
{
	int status = 0;
	pid_t pid;

	UT_SKIP_IF_EMULATED("network namespace");
	pid = fork();
	if (!pid)
		_exit(cut_link_in_child(waits));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		UT_SKIP("no network namespace can be made here");
	assert_int_equal(status, 0);
}

static void test_cut_link_is_found_with_data_under_way(void **state)
{
	(void)state;
	cut_link(WAITS_LATER);
}

static void test_cut_link_is_found_with_a_shut_window(void **state)
{
	(void)state;
	cut_link(WAITS_SHUT);
}

static void test_cut_link_is_found_with_segments_on_the_way(void **state)
{
	(void)state;
	cut_link(WAITS_ON_THE_WAY);
}

static void unix_name(char *out, size_t cap)
{
	uint64_t r;

	assert_int_equal(wf_random(&r, sizeof(r)), 0);
	snprintf(out, cap, "weft-unit-%016llx", (unsigned long long)r);
}

static void test_unix_connects_by_abstract_name(void **state)
{
	char name[64];
	struct wf_cred cred;
	int l, c, s;

	(void)state;
	unix_name(name, sizeof(name));
	assert_int_equal(wf_unix_connect(name, strlen(name), &c), -ECONNREFUSED);
	assert_int_equal(wf_unix_listen(name, strlen(name), &l), 0);
	assert_int_equal(wf_unix_listen(name, strlen(name), &c), -EADDRINUSE);
	assert_int_equal(wf_unix_connect(name, strlen(name), &c), 0);
	assert_int_equal(wf_unix_accept(l, &s), 0);
	assert_int_equal(wf_unix_cred(s, &cred), 0);
	assert_int_equal(cred.pid, getpid());
	assert_int_equal(cred.uid, getuid());
	assert_true(fcntl(s, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(s, F_GETFL) & O_NONBLOCK);
	assert_int_equal(wf_unix_listen("", 0, &l), -EINVAL);
	wf_fd_close(&l);
	wf_fd_close(&c);
	wf_fd_close(&s);
}

static void test_descriptors_travel(void **state)
{
	int pair[2], bell, got[WF_FDS_MAX], before = wf_fd_count();
	size_t n = 99;
	char text[8] = { 0 };

	(void)state;
	assert_int_equal(wf_unix_pair(pair), 0);
	assert_int_equal(wf_bell_open(&bell), 0);
	assert_int_equal(wf_unix_send(pair[0], "abc", 3, (int[]){ bell, bell }, 2), 0);
	assert_int_equal(wf_unix_send(pair[0], "de", 2, NULL, 0), 0);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n), 3);
	assert_string_equal(text, "abc");
	assert_int_equal(n, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	wf_bell_ring(got[1]);
	assert_true(wf_bell_drain(bell));
	wf_fd_close(&got[0]);
	wf_fd_close(&got[1]);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n), 2);
	assert_int_equal(n, 0);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n), -EAGAIN);
	wf_fd_close(&pair[0]);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n), 0);
	wf_fd_close(&pair[1]);
	wf_fd_close(&bell);
	assert_int_equal(wf_fd_count(), before);
}

/* A stranger who sends more descriptors than we take, by hand. */
static void send_many(int fd, int what, int n)
{
	char control[CMSG_SPACE(sizeof(int) * 64)] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
	for (int i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &what, sizeof(int));
	assert_int_equal(sendmsg(fd, &msg, 0), 1);
}

static void test_too_many_descriptors_are_closed(void **state)
{
	int pair[2], got[WF_FDS_MAX], before;
	char text[8];
	size_t n = 99;

	(void)state;
	UT_SKIP_IF_EMULATED("MSG_CTRUNC");
	assert_int_equal(wf_unix_pair(pair), 0);
	before = wf_fd_count();
	send_many(pair[0], pair[0], WF_FDS_MAX + 5);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(wf_fd_count(), before);
	send_many(pair[0], pair[0], WF_FDS_MAX);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), NULL, NULL), 1); /* unwanted */
	assert_int_equal(wf_fd_count(), before);
	assert_int_equal(wf_unix_send(pair[0], "0123456789", 10, &pair[0], 1), 0);
	assert_int_equal(wf_unix_recv(pair[1], text, sizeof(text), got, &n),
			 -EMSGSIZE); /* text too long */
	assert_int_equal(n, 0);
	assert_int_equal(wf_fd_count(), before);
	assert_int_equal(wf_unix_send(pair[0], "x", 1, got, WF_FDS_MAX + 1), -EINVAL);
	wf_fd_close(&pair[0]);
	wf_fd_close(&pair[1]);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_tcp_v4_exchange),
	cmocka_unit_test(test_tcp_v6_exchange),
	cmocka_unit_test(test_v4_and_v6_share_a_port),
	cmocka_unit_test(test_refused_connect_says_so),
	cmocka_unit_test(test_listening_twice_is_refused),
	cmocka_unit_test(test_writing_to_a_gone_peer_is_an_error_not_a_signal),
	cmocka_unit_test(test_full_socket_says_again),
	cmocka_unit_test(test_living_peer_that_does_not_read_is_not_dead),
	cmocka_unit_test(test_cut_link_is_found_with_data_under_way),
	cmocka_unit_test(test_cut_link_is_found_with_a_shut_window),
	cmocka_unit_test(test_cut_link_is_found_with_segments_on_the_way),
	cmocka_unit_test(test_unix_connects_by_abstract_name),
	cmocka_unit_test(test_descriptors_travel),
	cmocka_unit_test(test_too_many_descriptors_are_closed),
};

UT_MAIN(tests)
