/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp.c - the tcp transport: its table, and the port, which decides which lanes are looked at when.
 *
 *   hot    Up to TCP_HOT lanes that had bytes lately. poll() reads them without asking epoll: one
 *          system call instead of two for a message. A lane that is read in vain for a while
 *          leaves; the more hot lanes there are, the sooner, so that what is spent on looking stays
 *          small. Hot lanes are in the epoll set like all others: the fallback for the cold ones,
 *          and the wake-up for all.
 *   due    Lanes of which poll() has to tell or try something, see tcp_settle(). While there is
 *          one, port.busy is set and arm() refuses.
 *   held   Lanes with small frames that wait for company; written at the end of poll() and in
 *          arm().
 */
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/clock.h"
#include "transports/tcp/tcp.h"

#define PULSE_POLLS 16 /* polls between two looks at the clock */

#define GONE (EPOLLRDHUP | EPOLLHUP | EPOLLERR) /* the peer is, or its end of the stream */

/* ---- what lanes want ---- */

void tcp_due(struct tcp_lane *t)
{
	if (!t->tp || wf_list_is_linked(&t->due))
		return;
	wf_list_push_back(&t->tp->due, &t->due);
	t->tp->p.busy = 1;
}

int tcp_fail(struct tcp_lane *t, int32_t status, int sys_errno, const char *cause)
{
	if (!t->status) {
		t->status = status;
		t->sys_errno = sys_errno;
		t->cause = cause;
		tcp_due(t);
	}
	return t->status;
}

static void set_wake(struct tcp_port *tp)
{
	uint64_t at = tp->wake_at;

	if (!at || (tp->pulse_at && tp->pulse_at < at))
		at = tp->pulse_at;
	wf_port_wake_at(&tp->p, at);
}

void tcp_wake_soon(struct tcp_port *tp)
{
	if (tp->wake_at)
		return;
	tp->wake_at = wf_now_ns() + TCP_RETRY_NS;
	set_wake(tp);
}

void tcp_pulse_watch(struct tcp_lane *t)
{
	struct tcp_port *tp = t->tp;

	if (wf_list_is_linked(&t->pulsing) || !tp)
		return;
	t->pulse = (struct wf_pulse){ 0 };
	wf_list_push_back(&tp->pulsing, &t->pulsing);
	if (tp->pulse_at)
		return;
	tp->pulse_at = wf_now_ns() + tp->p.conf->failure_detect_ns / 4;
	set_wake(tp);
}

void tcp_hot_add(struct tcp_lane *t)
{
	struct tcp_port *tp = t->tp;

	if (!t->is_hot) {
		if (tp->n_hot == TCP_HOT)
			return;
		tp->hot[tp->n_hot++] = t;
		tp->p.hot = tp->n_hot;
		t->is_hot = true;
	}
	t->hot_left = (uint16_t)(TCP_HOT_TRIES >> tp->n_hot);
}

void tcp_hot_remove(struct tcp_lane *t)
{
	struct tcp_port *tp = t->tp;

	if (!t->is_hot)
		return;
	t->is_hot = false;
	for (uint32_t i = 0; i < tp->n_hot; i++) {
		if (tp->hot[i] == t) {
			tp->hot[i] = tp->hot[--tp->n_hot];
			tp->p.hot = tp->n_hot;
			return;
		}
	}
}

void tcp_interest(struct tcp_lane *t)
{
	uint32_t events = 0;
	int ret;

	if (!t->tp || t->state != TCP_OPEN)
		return;
	if (!t->rx_off && !wf_list_is_linked(&t->ending))
		events = tcp_rx_is_stopped(t) ? EPOLLRDHUP : EPOLLIN;
	if (t->blocked && !wf_list_is_linked(&t->ending))
		events |= EPOLLOUT;

	if (!events) {
		/* even an empty mask would report a hang-up, again and again */
		wf_poll_del(t->tp->p.poll, &t->watch);
		return;
	}
	if (wf_watch_is_on(&t->watch))
		ret = wf_poll_mod(t->tp->p.poll, &t->watch, events);
	else
		ret = wf_poll_add(t->tp->p.poll, &t->watch, t->fd, events);
	if (ret)
		tcp_fail(t, wf_status_of_errno(-ret), -ret, "cannot watch the connection");
}

static void report_sent(struct tcp_lane *t)
{
	struct wf_sent *sent;

	while (t->tp && (sent = tcp_sent_pop(t))) {
		t->tp->events++;
		wf_sent_done(sent);
	}
}

static void go_down(struct tcp_lane *t)
{
	struct tcp_port *tp = t->tp;
	char text[160];

	if (t->state == TCP_CONNECTING)
		snprintf(text, sizeof(text), "%s %s", t->cause, t->l.peer);
	else
		snprintf(text, sizeof(text), "%s", t->cause);
	WF_LOG(tp->p.log, WF_LOG_DEBUG, "lane %u tcp %s: down: %s (errno %d)", t->l.id, t->l.peer, text, t->sys_errno);
	tcp_shut(t);
	tp->events++;
	wf_lane_down(&t->l, t->status, t->sys_errno, text);
}

void tcp_settle(struct tcp_lane *t)
{
	const struct tcp_port *tp = t->tp;

	wf_list_remove(&t->due);
	report_sent(t);
	if (t->tp != tp)
		return; /* moved by an upcall: the other worker goes on */
	if (t->status) {
		go_down(t);
		return;
	}
	if (t->wants_room && !t->blocked && tcp_has_room(t)) {
		t->wants_room = false;
		t->tp->events++;
		wf_lane_room(&t->l);
	}
	if (t->tp == tp)
		tcp_interest(t);
}

/* After tcp_read(). An end waits until all that came before it was read. */
static void finish(struct tcp_lane *t, enum tcp_rx ret)
{
	const struct tcp_port *tp = t->tp;

	if (!tp)
		return;
	if (ret == TCP_RX_MORE && t->status) {
		report_sent(t);
		tcp_due(t);
		return;
	}
	tcp_settle(t);
	if (ret == TCP_RX_MORE && t->tp == tp)
		tcp_due(t);
}

void tcp_attend(struct tcp_lane *t)
{
	enum tcp_rx ret = TCP_RX_STOPPED;
	size_t bytes = 0;

	if (t->state == TCP_CONNECTING && !t->status) {
		tcp_connect_decide(t);
		return;
	}
	if (t->state == TCP_OPEN) {
		ret = tcp_read(t, &bytes);
		if (bytes && t->tp)
			tcp_hot_add(t);
	}
	finish(t, ret);
}

/* ---- poll and sleep ---- */

/* A lane that is looked at anyhow and whose socket was full: asked for room directly, epoll is asked only now and then. */
static bool try_blocked(struct tcp_lane *t)
{
	if (!t->blocked)
		return false;
	tcp_unblock(t);
	return !t->blocked;
}

static void poll_hot(struct tcp_port *tp)
{
	for (uint32_t i = 0; i < tp->n_hot;) {
		struct tcp_lane *t = tp->hot[i];
		bool unblocked = try_blocked(t);
		size_t bytes = 0;
		enum tcp_rx ret = tcp_read(t, &bytes);

		if (t->tp == tp) {
			if (bytes)
				tcp_hot_add(t);
			else if (ret == TCP_RX_STOPPED || !t->hot_left--)
				tcp_hot_remove(t);
			if (bytes || unblocked || t->status || ret == TCP_RX_STOPPED)
				finish(t, ret);
		}
		/* who left had his place filled by another */
		if (i < tp->n_hot && tp->hot[i] == t)
			i++;
	}
}

static void poll_due(struct tcp_port *tp)
{
	struct wf_list now, *node;

	wf_list_init(&now);
	wf_list_splice_back(&now, &tp->due);
	while ((node = wf_list_pop_front(&now)))
		tcp_attend(wf_list_entry(node, struct tcp_lane, due));
}

/* What was put off for TCP_RETRY_NS at most. */
static void poll_waiting(struct tcp_port *tp)
{
	struct wf_list now, *node;

	tp->wake_at = 0;
	set_wake(tp);

	wf_list_init(&now);
	wf_list_splice_back(&now, &tp->starved);
	while ((node = wf_list_pop_front(&now)))
		tcp_accept_again(wf_list_entry(node, struct tcp_acceptor, starved));

	wf_list_splice_back(&now, &tp->ending);
	while ((node = wf_list_pop_front(&now))) {
		struct tcp_lane *t = wf_list_entry(node, struct tcp_lane, ending);

		tcp_fail(t, WEFT_ERESET, 0, "peer closed the connection");
		tcp_settle(t);
	}
}

/*
 * A host that died with our output under way: the kernel alone would try for a quarter of an hour. Lanes whose output was
 * acknowledged leave the list, so that an idle program is woken for this at most once.
 */
static void poll_pulses(struct tcp_port *tp)
{
	uint64_t now = wf_now_ns(), detect = tp->p.conf->failure_detect_ns;
	struct wf_list *node, *tmp;

	wf_list_foreach(node, tmp, &tp->pulsing) {
		struct tcp_lane *t = wf_list_entry(node, struct tcp_lane, pulsing);
		int ret = wf_sock_pulse(t->fd, &t->pulse, now, detect);

		if (ret == 1 && !t->q_head)
			wf_list_remove(&t->pulsing);
		else if (ret < 0)
			tcp_fail(t, WEFT_ERESET, -ret, "the peer's host does not answer");
	}
	tp->pulse_at = wf_list_is_empty(&tp->pulsing) ? 0 : now + detect / 4;
	set_wake(tp);
}

static void flush_held(struct tcp_port *tp)
{
	struct wf_list *node;

	while ((node = wf_list_first(&tp->held)))
		tcp_flush(wf_list_entry(node, struct tcp_lane, held));
}

static void next_turn(struct tcp_port *tp)
{
	if (!++tp->turn) /* 0 is no turn: a new lane has it */
		tp->turn = 1;
}

static int tcp_poll(struct wf_port *p)
{
	struct tcp_port *tp = tcp_port(p);
	uint32_t before = tp->events;

	tp->armed = false;
	if (!tp->n_hot && !tp->wake_at && !tp->pulse_at && wf_list_is_empty(&tp->due) && wf_list_is_empty(&tp->held)) {
		p->busy = 0;             /* a lane that was due has gone */
		next_turn(tp);           /* what a worker pays whose messages go over another transport */
		return 0;
	}
	tp->polling = true;
	poll_hot(tp);
	poll_due(tp);
	tp->polling = false;
	if (tp->wake_at && wf_now_ns() >= tp->wake_at)
		poll_waiting(tp);
	if (tp->pulse_at && tp->polls++ % PULSE_POLLS == 0 && wf_now_ns() >= tp->pulse_at)
		poll_pulses(tp);
	flush_held(tp);
	next_turn(tp);
	p->busy = !wf_list_is_empty(&tp->due);
	return (int)(tp->events - before);
}

static int tcp_arm(struct wf_port *p)
{
	struct tcp_port *tp = tcp_port(p);

	flush_held(tp);
	next_turn(tp);
	if (!wf_list_is_empty(&tp->due))
		return WEFT_AGAIN;
	tp->armed = true;
	return WEFT_OK;
}

static void tcp_disarm(struct wf_port *p)
{
	tcp_port(p)->armed = false;
	tcp_port(p)->polls = 0; /* the clock may be what ended the sleep */
}

void tcp_on_event(void *arg, uint32_t events)
{
	struct tcp_lane *t = arg;

	if (t->state == TCP_OPEN && (events & EPOLLOUT))
		tcp_unblock(t);
	if ((events & GONE) && t->state == TCP_OPEN && tcp_rx_is_stopped(t) && !t->rx_off) {
		/* Core has paused what the peer sent before. Give it a moment to take that. */
		if (!wf_list_is_linked(&t->ending))
			wf_list_push_back(&t->tp->ending, &t->ending);
		tcp_wake_soon(t->tp);
		tcp_settle(t);
		return;
	}
	tcp_attend(t);
}

static void tcp_resume(struct wf_lane *l)
{
	struct tcp_lane *t = tcp_lane(l);

	t->rx_wait = false;
	if (t->state != TCP_OPEN)
		return;
	wf_list_remove(&t->ending);
	tcp_due(t);
}

/* ---- port and table ---- */

static int tcp_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	(void)conf;
	(void)why;
	(void)why_cap;
	(void)remedy;
	(void)remedy_cap;
	return 0;
}

static int tcp_open(struct wf_port *p)
{
	struct tcp_port *tp = tcp_port(p);

	tp->rx_buf = wf_malloc(TCP_RX_BUF);
	if (!tp->rx_buf)
		return wf_fail(WEFT_ENOMEM, 0, "tcp", NULL, "no memory for the receive buffer");
	wf_list_init(&tp->due);
	wf_list_init(&tp->held);
	wf_list_init(&tp->starved);
	wf_list_init(&tp->ending);
	wf_list_init(&tp->pulsing);
	tp->turn = 1;
	return 0;
}

static void tcp_close(struct wf_port *p)
{
	struct tcp_port *tp = tcp_port(p);

	tcp_segs_fini(tp);
	wf_free(tp->rx_buf);
	tp->rx_buf = NULL;
}

static int tcp_local(const struct wf_lane *l, char *out, size_t cap)
{
	struct wf_addr at;
	int ret = wf_sock_local(((const struct tcp_lane *)l)->fd, &at);

	if (!ret)
		wf_addr_format(&at, out, cap);
	return ret;
}

static void tcp_describe(const struct wf_lane *l, char *out, size_t cap)
{
	const struct tcp_lane *t = (const struct tcp_lane *)l;
	static const char *const states[] = { "not connected", "connecting", "one socket", "down" };

	snprintf(out, cap, "%s to %s, frames up to %u KiB, larger than %u KiB uncopied%s", states[t->state], l->peer,
		 l->frame_max >> 10, TCP_COPY_MAX >> 10, t->blocked ? ", send buffer full" : "");
}

const struct wf_transport wf_tcp = {
	.name = "tcp",
	.caps = WF_CAP_BOOTSTRAP | WF_CAP_WATCHDOG,
	.port_size = sizeof(struct tcp_port),
	.lane_size = sizeof(struct tcp_lane),
	.probe = tcp_probe,
	.open = tcp_open,
	.close = tcp_close,
	.listen = tcp_listen,
	.unlisten = tcp_unlisten,
	.connect = tcp_connect,
	.move = tcp_move,
	.lane_close = tcp_lane_close,
	.send = tcp_send,
	.resume = tcp_resume,
	.poll = tcp_poll,
	.arm = tcp_arm,
	.disarm = tcp_disarm,
	.local = tcp_local,
	.describe = tcp_describe,
};
