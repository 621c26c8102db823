/* SPDX-License-Identifier: BSD-3-Clause
 *
 * unix.c - UNIX SEQPACKET sockets in the abstract namespace that carry descriptors; the second half
 * of sock.h.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/sock.h"

/* The control part of a message, aligned for its header. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * WF_FDS_MAX)];
};

static int abstract(const char *name, size_t name_len, struct sockaddr_un *sa, socklen_t *len_out)
{
	if (!name_len || name_len > 100)
		return -EINVAL;
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sa->sun_path + 1, name, name_len);
	*len_out = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name_len);
	return 0;
}

/* The descriptor, or -errno. */
static int new_socket(void)
{
	int fd;

	if (wf_fault_point("unix socket"))
		return -EMFILE;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int wf_unix_listen(const char *name, size_t name_len, int *fd_out)
{
	struct sockaddr_un sa;
	socklen_t len;
	int fd;
	int ret = abstract(name, name_len, &sa, &len);

	if (ret)
		return ret;
	fd = new_socket();
	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&sa, len) || listen(fd, SOMAXCONN)) {
		ret = -errno;
		wf_fd_close(&fd);
		return ret;
	}
	*fd_out = fd;
	return 0;
}

int wf_unix_connect(const char *name, size_t name_len, int *fd_out)
{
	struct sockaddr_un sa;
	socklen_t len;
	int fd;
	int ret = abstract(name, name_len, &sa, &len);

	if (ret)
		return ret;
	fd = new_socket();
	if (fd < 0)
		return fd;
	do
		ret = connect(fd, (struct sockaddr *)&sa, len) ? -errno : 0;
	while (ret == -EINTR);
	if (ret)
		wf_fd_close(&fd);
	else
		*fd_out = fd;
	return ret;
}

int wf_unix_accept(int listen_fd, int *fd_out)
{
	return wf_sock_accept(listen_fd, fd_out, NULL);
}

int wf_unix_pair(int fds_out[2])
{
	if (wf_fault_point("socketpair"))
		return -EMFILE;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds_out) ?
		       -errno :
		       0;
}

int wf_unix_send(int fd, const void *p, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = { (void *)p, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	struct cmsghdr *c;
	ssize_t k;

	if (n_fds > WF_FDS_MAX)
		return -EINVAL;
	if (wf_fault_point("unix send"))
		return -EPIPE;
	if (n_fds) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		k = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : 0;
}

/* Collects all descriptors that came, whatever shape the control part has. */
static size_t take_fds(struct msghdr *msg, int *fds)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t k;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		k = WF_MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), WF_FDS_MAX - n);
		memcpy(fds + n, CMSG_DATA(c), k * sizeof(int));
		n += k;
	}
	return n;
}

ssize_t wf_unix_recv(int fd, void *p, size_t cap, int *fds, size_t *n_fds_out)
{
	struct iovec iov = { p, cap };
	union control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	int got[WF_FDS_MAX];
	size_t n;
	ssize_t k;
	bool cut;

	if (wf_fault_point("unix recv"))
		return -ECONNRESET;
	do
		k = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		return -errno;
	n = take_fds(&msg, got);
	cut = msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	if (cut || !fds) {
		while (n)
			wf_fd_close(&got[--n]);
	}
	if (n)
		memcpy(fds, got, n * sizeof(int));
	if (n_fds_out)
		*n_fds_out = n;
	return cut ? -EMSGSIZE : k;
}

int wf_unix_cred(int fd, struct wf_cred *out)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	*out = (struct wf_cred){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
	return 0;
}
