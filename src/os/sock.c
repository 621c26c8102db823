/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sock.c - TCP sockets; see sock.h. The UNIX half is unix.c.
 */
#include "os/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/clock.h"

void wf_fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

/* The descriptor, or -errno. */
static int new_socket(int family)
{
	int fd;

	if (wf_fault_point("socket"))
		return -EMFILE;
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int bind_and_listen(int fd, const struct wf_addr *at)
{
	if (wf_fault_point("bind"))
		return -EADDRINUSE;
	if (bind(fd, (const struct sockaddr *)&at->sa, at->len) || listen(fd, SOMAXCONN))
		return -errno;
	return 0;
}

int wf_fd_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int wf_fd_dup(int fd, int *out)
{
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

int wf_sock_listen(const struct wf_addr *at, int *fd_out)
{
	int fd = new_socket(at->sa.ss_family);
	int ret;

	if (fd < 0)
		return fd;
	ret = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!ret && at->sa.ss_family == AF_INET6)
		ret = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY,
			      1); /* so that 0.0.0.0 and :: can share a port */
	if (!ret)
		ret = bind_and_listen(fd, at);
	if (ret)
		wf_fd_close(&fd);
	else
		*fd_out = fd;
	return ret;
}

int wf_sock_connect_nb(const struct wf_addr *to, int *fd_out)
{
	int fd = new_socket(to->sa.ss_family);
	int ret = 0;

	if (fd < 0)
		return fd;
	if (wf_fault_point("connect"))
		ret = -ECONNREFUSED;
	else if (connect(fd, (const struct sockaddr *)&to->sa, to->len))
		ret = errno == EINTR ? -EINPROGRESS : -errno; /* interrupted: goes on by itself */
	if (ret && ret != -EINPROGRESS)
		wf_fd_close(&fd);
	else
		*fd_out = fd;
	return ret;
}

/* What accept() reports of a connection that died in the queue; see accept(2), "Error handling". */
static bool is_aborted(int err)
{
	return err == EINTR || err == ECONNABORTED || err == EPROTO || err == ENETDOWN ||
	       err == ENOPROTOOPT || err == EHOSTDOWN || err == ENONET || err == EHOSTUNREACH ||
	       err == EOPNOTSUPP || err == ENETUNREACH;
}

int wf_sock_accept(int listen_fd, int *fd_out, struct wf_addr *peer_out)
{
	struct wf_addr peer = { 0 };
	int fd;

	if (wf_fault_point("accept"))
		return -EMFILE;
	for (int i = 0; i < 64; i++) { /* that many dead ones in a row: come back later */
		peer.len = sizeof(peer.sa);
		fd = accept4(listen_fd, (struct sockaddr *)&peer.sa, &peer.len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			if (peer_out)
				*peer_out = peer;
			*fd_out = fd;
			return 0;
		}
		if (!is_aborted(errno))
			return -errno;
	}
	return -EAGAIN;
}

int wf_sock_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

int wf_sock_nodelay(int fd)
{
	return set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* First probe after half the time, the others each sixth of it; the kernel counts whole seconds. */
int wf_sock_keepalive(int fd, uint64_t detect_ns)
{
	uint64_t s = WF_MIN((detect_ns + WF_NS_PER_S - 1) / WF_NS_PER_S, 32767ull);
	uint64_t idle = WF_MAX(s / 2, 1ull);
	uint64_t every = WF_MAX(s / 6, 1ull);
	uint64_t count = s > idle ? (s - idle) / every : 1;
	int ret = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);

	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle);
	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)every);
	if (!ret)
		ret = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)WF_MAX(count, 1ull));
	return ret;
}

/* Something was sent since the peer was heard. What the kernel tried to send and had no way for counts as a retransmission alone. */
static bool asked_since(const struct tcp_info *info, const struct wf_pulse *pulse)
{
	return info->tcpi_last_data_sent < info->tcpi_last_ack_recv || info->tcpi_retransmits > pulse->retransmits;
}

/*
 * Silent: a segment was sent for the third time, or a shut window probed for the second, and
 * nothing came since. (Once proves nothing: a living kernel answers what lies outside its window
 * only every half second.) Half of @detect_ns may pass in this state; the other half is for the
 * retransmissions that lead to it and the caller's own period.
 */
static bool is_silent(const struct tcp_info *info, const struct wf_pulse *pulse)
{
	if (!info->tcpi_unacked)
		return info->tcpi_probes >= 2; /* back to 0 with any answer */
	return info->tcpi_retransmits >= 2 && asked_since(info, pulse);
}

/* Clocks of milliseconds and of scheduler ticks are compared: what is heard again comes later than that. */
#define HEARD_AGAIN_NS (20 * WF_NS_PER_MS)

int wf_sock_pulse(int fd, struct wf_pulse *pulse, uint64_t now_ns, uint64_t detect_ns)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	uint64_t heard_ns;
	int waiting = 1;

	if (wf_fault_point("tcp_info"))
		return -ETIMEDOUT;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -errno;
	heard_ns = now_ns - WF_MIN(now_ns, info.tcpi_last_ack_recv * WF_NS_PER_MS);
	if (!pulse->heard_ns || heard_ns > pulse->heard_ns + HEARD_AGAIN_NS || info.tcpi_retransmits < pulse->retransmits) {
		pulse->heard_ns = heard_ns;
		pulse->retransmits = info.tcpi_retransmits;
	}
	if (!is_silent(&info, pulse)) {
		pulse->silent_since_ns = 0;
		return !ioctl(fd, SIOCOUTQ, &waiting) && !waiting;
	}
	if (!pulse->silent_since_ns || heard_ns > pulse->silent_since_ns)
		pulse->silent_since_ns = now_ns;
	return now_ns - pulse->silent_since_ns >= detect_ns / 2 ? -ETIMEDOUT : 0;
}

int wf_sock_buffers(int fd, size_t send_len, size_t recv_len)
{
	int ret = 0;

	if (send_len)
		ret = set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)WF_MIN(send_len, (size_t)1 << 30));
	if (!ret && recv_len)
		ret = set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)WF_MIN(recv_len, (size_t)1 << 30));
	return ret;
}

int wf_sock_local(int fd, struct wf_addr *out)
{
	out->len = sizeof(out->sa);
	return getsockname(fd, (struct sockaddr *)&out->sa, &out->len) ? -errno : 0;
}

int wf_sock_peer(int fd, struct wf_addr *out)
{
	out->len = sizeof(out->sa);
	return getpeername(fd, (struct sockaddr *)&out->sa, &out->len) ? -errno : 0;
}

int wf_sock_shutdown_send(int fd)
{
	return shutdown(fd, SHUT_WR) ? -errno : 0;
}

static ssize_t sendv(int fd, const struct iovec *iov, size_t n, int flags)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t k;

	if (wf_fault_point("send"))
		return -ECONNRESET;
	do
		k = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

ssize_t wf_sock_sendv(int fd, const struct iovec *iov, size_t n)
{
	return sendv(fd, iov, n, 0);
}

ssize_t wf_sock_sendv_more(int fd, const struct iovec *iov, size_t n)
{
	return sendv(fd, iov, n, MSG_MORE);
}

ssize_t wf_sock_recvv(int fd, const struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t k;

	if (wf_fault_point("recv"))
		return -ECONNRESET;
	do
		k = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

ssize_t wf_sock_send(int fd, const void *p, size_t len)
{
	ssize_t k;

	if (wf_fault_point("send"))
		return -ECONNRESET;
	do
		k = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

ssize_t wf_sock_recv(int fd, void *p, size_t len)
{
	ssize_t k;

	if (wf_fault_point("recv"))
		return -ECONNRESET;
	do
		k = recv(fd, p, len, MSG_DONTWAIT);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

int wf_addr_route(const struct wf_addr *to, struct wf_addr *from_out)
{
	struct wf_addr at = *to;
	int fd, ret;

	fd = socket(to->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	wf_addr_set_port(&at, 9);        /* any: connecting a datagram socket only looks up the route */
	ret = connect(fd, (const struct sockaddr *)&at.sa, at.len) ? -errno : wf_sock_local(fd, from_out);
	wf_fd_close(&fd);
	return ret;
}
