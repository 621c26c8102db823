/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp_listen.c - acceptors: a listening socket with a watch. A shortage of descriptors or memory is
 * waited out: the watch is taken away (the socket would stay readable and the worker would spin)
 * and put back TCP_RETRY_NS later.
 */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/addr.h"
#include "os/clock.h"
#include "os/sock.h"
#include "transports/tcp/tcp.h"

#define ACCEPT_BATCH 64

/* Are these passing, a matter of one connection, or the end of the listener? */
enum accept_error { ACCEPT_EMPTY, ACCEPT_SKIP, ACCEPT_STARVED, ACCEPT_DEAD };

static enum accept_error accept_error(int err)
{
	switch (err) {
	case EAGAIN:
		return ACCEPT_EMPTY;
	case ECONNABORTED:
	case EINTR:
	case EPERM:
	/* errors of the new connection that Linux hands to accept() */
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case ETIMEDOUT:
		return ACCEPT_SKIP;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return ACCEPT_STARVED;
	default:
		return ACCEPT_DEAD;
	}
}

static void accept_lane(struct tcp_acceptor *ta, int fd, const struct wf_addr *peer)
{
	struct tcp_port *tp = ta->tp;
	struct wf_lane *l = wf_lane_new_incoming(ta->a);
	char text[WF_ADDR_TEXT];

	tp->events++;
	if (!l) {
		wf_fd_close(&fd);
		return;
	}
	tcp_lane_init(tcp_lane(l), tp, fd, wf_addr_format(peer, text, sizeof(text)));
	tcp_opened(tcp_lane(l));
	WF_LOG(tp->p.log, WF_LOG_DEBUG, "tcp %s: accepted %s", ta->at, l->peer);
	wf_lane_accepted(ta->a, l);
}

static void starve(struct tcp_acceptor *ta, int err)
{
	WF_LOG(ta->tp->p.log, WF_LOG_WARN, "tcp %s: cannot accept now (errno %d), trying again", ta->at, err);
	wf_poll_del(ta->tp->p.poll, &ta->watch);
	wf_list_remove(&ta->starved);
	wf_list_push_back(&ta->tp->starved, &ta->starved);
	tcp_wake_soon(ta->tp);
}

static void on_accept(void *arg, uint32_t events)
{
	struct tcp_acceptor *ta = arg;
	struct tcp_port *tp = ta->tp;

	(void)events;
	tp->accepting = ta;
	for (int i = 0; i < ACCEPT_BATCH && tp->accepting == ta; i++) {
		struct wf_addr peer;
		int fd, ret = wf_sock_accept(ta->fd, &fd, &peer);

		if (!ret) {
			accept_lane(ta, fd, &peer);
			continue;
		}
		switch (accept_error(-ret)) {
		case ACCEPT_SKIP:
			continue;
		case ACCEPT_EMPTY:
			break;
		case ACCEPT_STARVED:
			starve(ta, -ret);
			break;
		case ACCEPT_DEAD:
			wf_poll_del(tp->p.poll, &ta->watch);
			tp->events++;
			wf_acceptor_failed(ta->a, WEFT_ESYSTEM, -ret, "accepting connections failed");
			break;
		}
		break;
	}
	tp->accepting = NULL;
}

void tcp_accept_again(struct tcp_acceptor *ta)
{
	int ret = wf_poll_add(ta->tp->p.poll, &ta->watch, ta->fd, EPOLLIN);

	wf_list_remove(&ta->starved);
	if (ret)
		starve(ta, -ret);
	else
		on_accept(ta, EPOLLIN);
}

/* ---- listen ---- */

/* The first free port of the range when the system is not to choose. -errno of the last one tried. */
static int listen_in_range(const struct wf_conf_ports *ports, struct wf_addr *at, int *fd_out)
{
	int ret = -EADDRINUSE;

	if (wf_addr_port(at) || !ports->first)
		return wf_sock_listen(at, fd_out);
	for (uint32_t port = ports->first; port <= ports->last && ret == -EADDRINUSE; port++) {
		wf_addr_set_port(at, (uint16_t)port);
		ret = wf_sock_listen(at, fd_out);
	}
	return ret;
}

static int listen_failed(const char *at, int err)
{
	switch (err) {
	case EADDRINUSE:
		return wf_fail(WEFT_EADDRINUSE, err, at, "name another port, or 0 for any free one",
			       "cannot listen there");
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return wf_fail(WEFT_EUNREACHABLE, err, at, "name an address of this host, or 0.0.0.0 for all",
			       "not an address of this host");
	case EACCES:
		return wf_fail(WEFT_ESYSTEM, err, at, "ports below 1024 take a privilege", "may not listen there");
	default:
		return wf_fail(wf_status_of_errno(err), err, at, NULL, "cannot listen there");
	}
}

int tcp_listen(struct wf_acceptor *a, const char *at, char *bound_out, size_t cap)
{
	struct wf_addr addr;
	struct tcp_acceptor *ta;
	int ret = wf_addr_parse(at, &addr);

	if (ret)
		return wf_fail(WEFT_EURL, 0, at, NULL, ret == -ENODEV ? "no such interface" : "not a numeric address");
	ta = wf_calloc(1, sizeof(*ta));
	if (!ta)
		return wf_fail(WEFT_ENOMEM, 0, at, NULL, "no memory for a listener");
	ta->a = a;
	ta->tp = tcp_port(a->port);
	wf_list_init(&ta->starved);
	wf_watch_init(&ta->watch, on_accept, ta);
	ret = listen_in_range(&a->port->conf->listen_ports, &addr, &ta->fd);
	if (ret) {
		wf_free(ta);
		return listen_failed(at, -ret);
	}
	ret = wf_sock_local(ta->fd, &addr);
	if (!ret)
		ret = wf_poll_add(a->port->poll, &ta->watch, ta->fd, EPOLLIN);
	if (ret) {
		wf_fd_close(&ta->fd);
		wf_free(ta);
		return listen_failed(at, -ret);
	}
	wf_addr_format(&addr, bound_out, cap);
	snprintf(ta->at, sizeof(ta->at), "%.*s", (int)sizeof(ta->at) - 1, bound_out);
	a->priv = ta;
	return 0;
}

void tcp_unlisten(struct wf_acceptor *a)
{
	struct tcp_acceptor *ta = a->priv;

	if (!ta)
		return;
	if (ta->tp->accepting == ta)
		ta->tp->accepting = NULL;
	wf_list_remove(&ta->starved);
	wf_poll_del(ta->tp->p.poll, &ta->watch);
	wf_fd_close(&ta->fd);
	a->priv = NULL;
	wf_free(ta);
}
