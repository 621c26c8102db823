/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp_conn.c - how a lane begins (connect without blocking, or accepted), moves to another worker,
 * and ends. The socket belongs to the lane from tcp_lane_init() to tcp_shut(), which may be called
 * in any state and twice.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "os/addr.h"
#include "os/sock.h"
#include "transports/tcp/tcp.h"

#define DRAIN_READS 16

void tcp_lane_init(struct tcp_lane *t, struct tcp_port *tp, int fd, const char *peer)
{
	struct wf_lane *l = &t->l;
	size_t eager = tp->p.conf->eager_max_tcp;

	/* the struct may have been tried for another address before */
	memset((char *)t + sizeof(*l), 0, sizeof(*t) - sizeof(*l));
	t->tp = tp;
	t->fd = fd;
	wf_watch_init(&t->watch, tcp_on_event, t);
	wf_list_init(&t->due);
	wf_list_init(&t->held);
	wf_list_init(&t->ending);
	wf_list_init(&t->pulsing);
	t->sent_tail = &t->sent_head;

	snprintf(l->peer, sizeof(l->peer), "%s", peer);
	l->frame_max = TCP_FRAME_MAX;
	l->eager_max = (uint32_t)WF_MIN(eager, (size_t)TCP_FRAME_MAX - WF_AM_HEADER_MAX);
	if (fd >= 0) {
		/* without these it works, only slower, or slower to notice a dead host */
		wf_sock_nodelay(fd);
		wf_sock_keepalive(fd, tp->p.conf->failure_detect_ns);
	}
}

/*
 * Between two processes of one host what is under way lies in memory, and lies in a cache only if it is little: with the
 * megabytes that the kernel's own tuning allows 1 MiB takes half as long again. Over a network the kernel knows better.
 */
static void bound_local_queue(struct tcp_lane *t)
{
	struct wf_addr local, peer;

	if (!wf_sock_local(t->fd, &local) && !wf_sock_peer(t->fd, &peer) && wf_addr_equal_host(&local, &peer))
		wf_sock_buffers(t->fd, TCP_LOCAL_QUEUE, 0);
}

void tcp_opened(struct tcp_lane *t)
{
	t->state = TCP_OPEN;
	bound_local_queue(t);
	tcp_interest(t); /* a failure is told in the next poll */
}

/* ---- connect ---- */

static int32_t connect_status(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return WEFT_EREFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ETIMEDOUT:
	case ENETDOWN:
	case EHOSTDOWN:
	case EADDRNOTAVAIL: /* no address or port of ours to come from */
	case EACCES:        /* a broadcast address, a firewall */
	case EPERM:
	case EINVAL:        /* link-local without a scope */
		return WEFT_EUNREACHABLE;
	default:
		return WEFT_ERESET;
	}
}

/* Has this side no means, so that another address would not help? */
static bool is_our_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS;
}

int tcp_connect(struct wf_lane *l, const char *to)
{
	struct tcp_lane *t = tcp_lane(l);
	struct tcp_port *tp = tcp_port(l->port);
	struct wf_addr addr;
	int fd = -1, ret = wf_addr_parse(to, &addr);

	if (ret)
		return wf_fail(WEFT_EURL, 0, to, NULL, ret == -ENODEV ? "no such interface" : "not a numeric address");
	if (!wf_addr_port(&addr))
		return wf_fail(WEFT_EURL, 0, to, NULL, "address without a port");
	ret = wf_sock_connect_nb(&addr, &fd);
	if (ret && ret != -EINPROGRESS && is_our_shortage(-ret))
		return wf_fail(wf_status_of_errno(-ret), -ret, to, NULL, "no socket to connect with");

	tcp_lane_init(t, tp, ret && ret != -EINPROGRESS ? -1 : fd, to);
	t->state = TCP_CONNECTING;
	if (t->fd < 0) {
		tcp_fail(t, connect_status(-ret), -ret, "cannot connect to");
		return 0;
	}
	ret = wf_poll_add(tp->p.poll, &t->watch, t->fd, EPOLLOUT);
	if (ret) {
		tcp_shut(t);
		return wf_fail(wf_status_of_errno(-ret), -ret, to, NULL, "cannot watch the connection");
	}
	tcp_due(t); /* on one host it is mostly decided by now */
	return 0;
}

/* A port that nobody listens on can be chosen by the system as our own: then the socket is connected to itself. */
static bool is_own_end(int fd, const struct wf_addr *peer)
{
	struct wf_addr local;

	return !wf_sock_local(fd, &local) && wf_addr_equal_host(&local, peer) &&
	       wf_addr_port(&local) == wf_addr_port(peer);
}

void tcp_connect_decide(struct tcp_lane *t)
{
	struct wf_addr peer;
	int ret = wf_sock_error(t->fd);

	if (!ret) {
		ret = wf_sock_peer(t->fd, &peer);
		if (ret == -ENOTCONN)
			return; /* not decided yet, the watch will tell */
		if (!ret && is_own_end(t->fd, &peer))
			ret = -ECONNREFUSED;
	}
	if (ret) {
		tcp_fail(t, connect_status(-ret), -ret, "cannot connect to");
		tcp_settle(t);
		return;
	}
	wf_list_remove(&t->due);
	tcp_opened(t);
	t->tp->events++;
	WF_LOG(t->tp->p.log, WF_LOG_DEBUG, "lane %u tcp: connected to %s", t->l.id, t->l.peer);
	wf_lane_up(&t->l);
}

/* ---- move ---- */

static int leave(struct tcp_lane *t)
{
	struct tcp_port *tp = t->tp;

	if (tp->rx_lane == t) { /* in the middle of an upcall of it */
		if (tcp_keep_rest(t))
			return wf_fail(WEFT_ENOMEM, 0, t->l.peer, NULL, "no memory to move the connection");
		tp->rx_lane = NULL;
	}
	if (t->state == TCP_OPEN && !t->status)
		tcp_flush(t);
	wf_list_remove(&t->due);
	wf_list_remove(&t->held);
	wf_list_remove(&t->ending);
	wf_list_remove(&t->pulsing);
	tcp_hot_remove(t);
	wf_poll_del(tp->p.poll, &t->watch);
	t->tp = NULL;
	t->l.port = NULL;
	return 0;
}

static int enter(struct tcp_lane *t, struct tcp_port *tp)
{
	t->tp = tp;
	t->l.port = &tp->p;
	t->turn = 0;
	tcp_pulse_watch(t); /* what it sent before may not be acknowledged yet */
	tcp_due(t); /* for bytes that it brings along, or its end */
	tcp_interest(t);
	return 0;
}

int tcp_move(struct wf_lane *l, struct wf_port *to)
{
	struct tcp_lane *t = tcp_lane(l);

	if (t->tp) {
		int ret = leave(t);

		if (ret)
			return ret;
	}
	return to ? enter(t, tcp_port(to)) : 0;
}

/* ---- end ---- */

void tcp_shut(struct tcp_lane *t)
{
	tcp_tx_drop(t);
	tcp_rx_drop(t);
	wf_list_remove(&t->due);
	wf_list_remove(&t->ending);
	wf_list_remove(&t->pulsing);
	if (t->tp) {
		tcp_hot_remove(t);
		wf_poll_del(t->tp->p.poll, &t->watch);
		if (t->tp->rx_lane == t)
			t->tp->rx_lane = NULL;
	}
	wf_fd_close(&t->fd);
	t->state = TCP_DOWN;
}

/*
 * What core has given for sending before it closes is on its way as far as the socket takes it.
 * Unread bytes would make close() send a reset, which throws that away at the peer: so they are
 * read, within bounds.
 */
static void part(struct tcp_lane *t)
{
	char waste[4096];

	if (!t->blocked && tcp_flush(t))
		return;
	if (wf_sock_shutdown_send(t->fd))
		return;
	for (int i = 0; i < DRAIN_READS && wf_sock_recv(t->fd, waste, sizeof(waste)) > 0; i++)
		;
}

void tcp_lane_close(struct wf_lane *l)
{
	struct tcp_lane *t = tcp_lane(l);

	if (t->state == TCP_NEW)
		return;
	if (t->state == TCP_OPEN && !t->status)
		part(t);
	tcp_shut(t);
}
