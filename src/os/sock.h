/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sock.h - TCP sockets, and UNIX SEQPACKET sockets that carry descriptors. Every socket is
 * non-blocking and close-on-exec, no call here blocks, none raises SIGPIPE, EINTR is retried
 * inside.
 *
 * Results: 0 (or a count of bytes) or -errno. -EAGAIN says "not now"; a stream's end is 0 bytes.
 */
#ifndef WF_OS_SOCK_H
#define WF_OS_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "os/addr.h"

#define WF_FDS_MAX 8 /* descriptors in one message */

/* Closes *@fd unless it is -1, and sets it to -1. errno is kept. */
void wf_fd_close(int *fd);

/* For descriptors that a library has opened. 0 or -errno. */
int wf_fd_nonblock(int fd);

/* Another descriptor of the same. Gives it. 0 or -errno. */
int wf_fd_dup(int fd, int *out);

/* A listening TCP socket; IPv6 ones take IPv6 only. Gives the fd. -EADDRINUSE, ... */
int wf_sock_listen(const struct wf_addr *at, int *fd_out);

/* Begins to connect. 0: connected already; -EINPROGRESS: gives the fd too, writable when decided,
 * then wf_sock_error(). */
int wf_sock_connect_nb(const struct wf_addr *to, int *fd_out);

/* One waiting connection. @peer_out may be NULL. -EAGAIN: none; aborted ones are passed over. Gives
 * the fd. */
int wf_sock_accept(int listen_fd, int *fd_out, struct wf_addr *peer_out);

/* The pending SO_ERROR as -errno, 0 when there is none. */
int wf_sock_error(int fd);

int wf_sock_nodelay(int fd);
/*
 * Lets the kernel probe an idle connection, so that a dead peer host or link is an error after
 * about @detect_ns (whole seconds, 2 at least). What happens while output waits: wf_sock_pulse().
 */
int wf_sock_keepalive(int fd, uint64_t detect_ns);

/* What wf_sock_pulse() remembers of a connection; zero it when output begins to wait. */
struct wf_pulse {
	uint64_t silent_since_ns, heard_ns;
	uint8_t retransmits;             /* when it was heard last */
};

/*
 * Does the peer's kernel still answer, although our output is not getting on? Ask about every
 * quarter of @detect_ns while output waits (keepalive is silent then). A peer that lives and does
 * not read, because it computes, answers; a dead host or link is found within about @detect_ns.
 * 0: it waits and the peer answers; 1: nothing waits for an acknowledgement; -ETIMEDOUT: dead, or another -errno.
 * TCP_USER_TIMEOUT cannot be used for this: it ends a
 * connection whose peer answers every probe but keeps its window shut for that long.
 */
int wf_sock_pulse(int fd, struct wf_pulse *pulse, uint64_t now_ns, uint64_t detect_ns);
/* Wishes; 0 leaves the kernel's choice, which also grows by itself. */
int wf_sock_buffers(int fd, size_t send_len, size_t recv_len);
int wf_sock_local(int fd, struct wf_addr *out);
int wf_sock_peer(int fd, struct wf_addr *out);
/* No more to send; the peer reads an end. */
int wf_sock_shutdown_send(int fd);

/* Bytes sent or received (> 0), -EAGAIN, or another -errno. Receiving: 0 is the end of the stream.
 * n <= IOV_MAX. */
ssize_t wf_sock_sendv(int fd, const struct iovec *iov, size_t n);
ssize_t wf_sock_recvv(int fd, const struct iovec *iov, size_t n);
ssize_t wf_sock_send(int fd, const void *p, size_t len);
ssize_t wf_sock_recv(int fd, void *p, size_t len);
/* More follows at once: the kernel may hold a short segment back for it (MSG_MORE). */
ssize_t wf_sock_sendv_more(int fd, const struct iovec *iov, size_t n);

/*
 * UNIX SEQPACKET sockets in the abstract namespace (no file, nothing left behind). @name: 1 .. 100
 * bytes, no NUL needed. connect answers at once: 0, -ECONNREFUSED, -EAGAIN when the listener's
 * queue is full.
 */
int wf_unix_listen(const char *name, size_t name_len, int *fd_out);
int wf_unix_connect(const char *name, size_t name_len, int *fd_out);
int wf_unix_accept(int listen_fd, int *fd_out);
/* Two connected ends. */
int wf_unix_pair(int fds_out[2]);

/* One message with up to WF_FDS_MAX descriptors (borrowed; the peer gets copies). 0, -EAGAIN,
 * -EPIPE, ... */
int wf_unix_send(int fd, const void *p, size_t len, const int *fds, size_t n_fds);

/*
 * One message; @fds has room for WF_FDS_MAX and gives *@n_fds_out close-on-exec descriptors. @fds
 * NULL: none are wanted, those that come are closed. Returns its length; 0: the peer closed (or an
 * empty message); -EAGAIN; -EMSGSIZE: it or its descriptors did not fit (dropped, descriptors
 * closed); -errno.
 */
ssize_t wf_unix_recv(int fd, void *p, size_t cap, int *fds, size_t *n_fds_out);

/* Who connected, by the kernel's word. */
struct wf_cred {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};
int wf_unix_cred(int fd, struct wf_cred *out);

#endif
