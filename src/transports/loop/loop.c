/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop.c - the reference transport: workers of one context talk through memory of their own process. Read it first, it
 * does every row of transport.h in the plainest way. Large buffers and remote memory are in loop_mem.c.
 *
 * Model: a connection is a heap `pipe` with two ends; an end has the bounded queue of frames that come to it, the large
 * buffers and the memory that its lane offers. Workers may be in different threads, so there are two kinds of locks:
 *   - pipe->lock: the queues, offers and flags of that pipe. Copies run under it, so that who takes an offer back
 *     (copy_stop, copy_end, lane_close) waits for a copy that is under way: memory is quiet afterwards.
 *   - shared->lock, one for each context: acceptors, and for each port which ends have news (`ready`), which pipes want
 *     to be accepted (`arrivals`), and whether its worker sleeps (`armed`).
 * shared->lock may be taken inside pipe->lock, never the reverse. No upcall is made under a lock, and a lane is only
 * touched by its own worker: others put its end on the ready list and ring.
 */
#include "transports/loop/loop.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"

#define QUEUE_FRAMES 64
#define QUEUE_BYTES  (1u << 20)
#define FRAME_MAX    (64u << 10)
#define EAGER_MAX    (8u << 10)
#define POLL_ENDS    64 /* ends with news that one poll() looks at */
#define POLL_FRAMES  32 /* frames of one end in one turn */

/* ---- news: who has to look at what ---- */

/* Something was put on one of the port's lists. Under shared->lock. */
static void wake_port(struct loop_port *port)
{
	atomic_fetch_add_explicit(&port->n_news, 1, memory_order_release);
	if (!port->armed)
		return;
	port->armed = false;
	wf_bell_ring(port->p.bell_fd);
}

void loop_tell(struct loop_shared *sh, struct loop_end *end)
{
	pthread_mutex_lock(&sh->lock);
	if (!end->has_news) {
		end->has_news = true;
		if (end->port) {
			wf_list_push_back(&end->port->ready, &end->ready);
			wake_port(end->port);
		}
	}
	pthread_mutex_unlock(&sh->lock);
}

/* The end's news go to @port from here on; NULL: they are kept for the next one. */
static void bind_end(struct loop_shared *sh, struct loop_end *end, struct loop_port *port)
{
	pthread_mutex_lock(&sh->lock);
	if (wf_list_is_linked(&end->ready)) {
		wf_list_remove(&end->ready);
		atomic_fetch_sub_explicit(&end->port->n_news, 1, memory_order_relaxed);
	}
	end->port = port;
	if (port && end->has_news) {
		wf_list_push_back(&port->ready, &end->ready);
		wake_port(port);
	}
	pthread_mutex_unlock(&sh->lock);
}

/* ---- the pipe ---- */

static struct loop_pipe *pipe_new(struct loop_shared *sh)
{
	struct loop_pipe *pipe = wf_calloc(1, sizeof(*pipe));

	if (!pipe)
		return NULL;
	pthread_mutex_init(&pipe->lock, NULL);
	pipe->shared = sh;
	pipe->refs = 2;
	wf_list_init(&pipe->arrival);
	for (int i = 0; i < 2; i++) {
		wf_list_init(&pipe->end[i].ready);
		wf_list_init(&pipe->end[i].frames);
		wf_list_init(&pipe->end[i].copies);
		wf_list_init(&pipe->end[i].mems);
	}
	return pipe;
}

static void drop_frames(struct wf_list *frames)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(frames)))
		wf_free(wf_list_entry(it, struct loop_frame, link));
}

/* This end is over: what it offered is gone, what waited for it too. Its lane does not come back. */
static void pipe_close_end(struct loop_pipe *pipe, unsigned side)
{
	struct loop_end *end = &pipe->end[side];
	int refs;

	bind_end(pipe->shared, end, NULL);
	pthread_mutex_lock(&pipe->lock);
	end->closed = true;
	drop_frames(&end->frames);
	loop_drop_offers(end);
	refs = --pipe->refs;
	if (refs) /* inside the lock: the peer's last reference, and with it the pipe, waits for it */
		loop_tell(pipe->shared, &pipe->end[!side]);
	pthread_mutex_unlock(&pipe->lock);
	if (refs)
		return;
	drop_frames(&pipe->end[!side].frames);
	pthread_mutex_destroy(&pipe->lock);
	wf_free(pipe);
}

static void lane_init(struct loop_lane *ll, struct loop_pipe *pipe, unsigned side)
{
	ll->pipe = pipe;
	ll->side = side;
	wf_list_init(&ll->finished);
	pipe->end[side].lane = ll;
	ll->l.frame_max = FRAME_MAX;
	ll->l.eager_max = EAGER_MAX;
	ll->l.can_copy = true;
	snprintf(ll->l.peer, sizeof(ll->l.peer), "%s", pipe->end[!side].at);
}

/* ---- bootstrap ---- */

/* Does a connection to @to reach who listens at @at? Every address is this process. */
static bool address_reaches(const struct wf_addr *at, const struct wf_addr *to)
{
	if (wf_addr_port(at) != wf_addr_port(to))
		return false;
	if (wf_addr_equal_host(at, to))
		return true;
	return wf_addr_is_any(at) && at->sa.ss_family == to->sa.ss_family && (wf_addr_is_loopback(to) || wf_addr_is_any(to));
}

static struct loop_acceptor *find_acceptor(struct loop_shared *sh, const struct wf_addr *to)
{
	struct loop_acceptor *it = sh->acceptors;

	while (it && !address_reaches(&it->at, to))
		it = it->next;
	return it;
}

static int loop_listen(struct wf_acceptor *a, const char *at, char *bound_out, size_t cap)
{
	struct loop_shared *sh = a->port->shared;
	struct loop_acceptor *la = wf_calloc(1, sizeof(*la));
	char text[WF_ADDR_TEXT];

	if (!la)
		return wf_fail(WEFT_ENOMEM, 0, at, NULL, "no memory for a listener");
	if (wf_addr_parse(at, &la->at)) {
		wf_free(la);
		return wf_fail(WEFT_EURL, 0, at, NULL, "not a numeric address");
	}
	la->a = a;
	pthread_mutex_lock(&sh->lock);
	if (!wf_addr_port(&la->at)) {
		for (int tries = 0; tries < 65535; tries++) {
			sh->last_port = sh->last_port % 65535 + 1;
			wf_addr_set_port(&la->at, (uint16_t)sh->last_port);
			if (!find_acceptor(sh, &la->at))
				break;
		}
	}
	if (find_acceptor(sh, &la->at)) {
		pthread_mutex_unlock(&sh->lock);
		wf_free(la);
		return wf_fail(WEFT_EADDRINUSE, 0, at, NULL, "somebody in this context listens there");
	}
	la->next = sh->acceptors;
	sh->acceptors = la;
	pthread_mutex_unlock(&sh->lock);
	a->priv = la;
	snprintf(bound_out, cap, "%s", wf_addr_format(&la->at, text, sizeof(text)));
	return 0;
}

/* The pipe's second end has no lane and gets none. */
static void refuse(struct loop_pipe *pipe)
{
	pthread_mutex_lock(&pipe->lock);
	pipe->state = PIPE_REFUSED;
	pthread_mutex_unlock(&pipe->lock);
	pipe_close_end(pipe, 1);
}

static void loop_unlisten(struct wf_acceptor *a)
{
	struct loop_shared *sh = a->port->shared;
	struct loop_port *port = loop_port_of(a->port);
	struct loop_acceptor *la = a->priv, **at;
	struct wf_list gone, *it, *tmp;

	if (!la)
		return;
	wf_list_init(&gone);
	pthread_mutex_lock(&sh->lock);
	for (at = &sh->acceptors; *at != la; at = &(*at)->next)
		;
	*at = la->next;
	wf_list_foreach(it, tmp, &port->arrivals) {
		if (wf_list_entry(it, struct loop_pipe, arrival)->acceptor != la)
			continue;
		wf_list_remove(it);
		wf_list_push_back(&gone, it);
		atomic_fetch_sub_explicit(&port->n_news, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&sh->lock);
	while ((it = wf_list_pop_front(&gone)))
		refuse(wf_list_entry(it, struct loop_pipe, arrival));
	wf_free(la);
	a->priv = NULL;
}

static int loop_connect(struct wf_lane *l, const char *to)
{
	struct loop_lane *ll = loop_lane_of(l);
	struct loop_shared *sh = l->port->shared;
	struct loop_acceptor *la;
	struct loop_pipe *pipe;
	struct wf_addr addr;

	if (wf_addr_parse(to, &addr))
		return wf_fail(WEFT_EURL, 0, to, NULL, "not a numeric address");
	pipe = pipe_new(sh);
	if (!pipe)
		return wf_fail(WEFT_ENOMEM, 0, to, NULL, "no memory for a connection");
	pthread_mutex_lock(&sh->lock);
	la = find_acceptor(sh, &addr);
	if (la) {
		snprintf(pipe->end[1].at, sizeof(pipe->end[1].at), "%s", to);
		sh->last_client = sh->last_client % 65535 + 1;
		wf_addr_set_port(&addr, (uint16_t)sh->last_client);
		wf_addr_format(&addr, pipe->end[0].at, sizeof(pipe->end[0].at));
		lane_init(ll, pipe, 0);
		pipe->end[0].port = loop_port_of(l->port);
		pipe->acceptor = la;
		wf_list_push_back(&loop_port_of(la->a->port)->arrivals, &pipe->arrival);
		wake_port(loop_port_of(la->a->port));
	}
	pthread_mutex_unlock(&sh->lock);
	if (la)
		return 0;
	pthread_mutex_destroy(&pipe->lock);
	wf_free(pipe);
	return wf_fail(WEFT_EUNREACHABLE, 0, to, NULL, "nobody in this context listens there");
}

/* One connection that wants to be accepted; false: there is none. */
static bool accept_one(struct loop_port *port)
{
	struct loop_shared *sh = port->p.shared;
	struct loop_acceptor *la = NULL;
	struct loop_pipe *pipe = NULL;
	struct wf_list *it;
	struct wf_lane *l;

	pthread_mutex_lock(&sh->lock);
	it = wf_list_pop_front(&port->arrivals);
	if (it) {
		atomic_fetch_sub_explicit(&port->n_news, 1, memory_order_relaxed);
		pipe = wf_list_entry(it, struct loop_pipe, arrival);
		la = pipe->acceptor;
	}
	pthread_mutex_unlock(&sh->lock);
	if (!it)
		return false;
	l = wf_lane_new_incoming(la->a);
	if (!l) {
		refuse(pipe);
		return true;
	}
	lane_init(loop_lane_of(l), pipe, 1);
	loop_lane_of(l)->told_up = true;
	pthread_mutex_lock(&pipe->lock);
	pipe->state = PIPE_UP;
	pthread_mutex_unlock(&pipe->lock);
	bind_end(sh, &pipe->end[1], port);
	loop_tell(sh, &pipe->end[0]);
	wf_lane_accepted(la->a, l);
	return true;
}

static int loop_move(struct wf_lane *l, struct wf_port *to)
{
	struct loop_lane *ll = loop_lane_of(l);

	bind_end(ll->pipe->shared, loop_own_end(ll), to ? loop_port_of(to) : NULL);
	return 0;
}

static void loop_lane_close(struct wf_lane *l)
{
	struct loop_lane *ll = loop_lane_of(l);

	if (!ll->pipe)
		return; /* connect() was refused at once */
	pipe_close_end(ll->pipe, ll->side);
	ll->pipe = NULL;
}

/* ---- frames ---- */

static int loop_send(struct wf_lane *l, const struct wf_tx *tx)
{
	struct loop_lane *ll = loop_lane_of(l);
	struct loop_end *to = loop_peer_end(ll);
	struct loop_frame *f = wf_malloc(sizeof(*f) + tx->h.len);
	int ret = WEFT_OK;

	pthread_mutex_lock(&ll->pipe->lock);
	if (to->closed) {
		ret = WEFT_ERESET;
	} else if (!f || to->n_frames >= QUEUE_FRAMES || to->n_bytes >= QUEUE_BYTES) {
		loop_own_end(ll)->starved = true;
		ret = WEFT_AGAIN;
		if (!f) /* short of memory, as if it were full; nobody else would tell us to try again */
			loop_tell(ll->pipe->shared, loop_own_end(ll));
	} else {
		f->h = tx->h;
		if (tx->pre_len)
			memcpy(f->data, tx->pre, tx->pre_len);
		wf_bufs_copy_out(f->data + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
		wf_list_push_back(&to->frames, &f->link);
		to->n_frames++;
		to->n_bytes += tx->h.len;
		loop_tell(ll->pipe->shared, to);
	}
	pthread_mutex_unlock(&ll->pipe->lock);
	if (ret) {
		wf_free(f);
		return ret;
	}
	l->frames_tx++;
	l->bytes_tx += WF_FRAME_HDR + tx->h.len;
	return WEFT_OK;
}

static struct loop_frame *pop_frame(struct loop_lane *ll)
{
	struct loop_end *end = loop_own_end(ll), *peer = loop_peer_end(ll);
	struct loop_frame *f = NULL;
	struct wf_list *it;

	pthread_mutex_lock(&ll->pipe->lock);
	it = wf_list_pop_front(&end->frames);
	if (it) {
		f = wf_list_entry(it, struct loop_frame, link);
		end->n_frames--;
		end->n_bytes -= f->h.len;
	}
	if (peer->starved && end->n_frames <= QUEUE_FRAMES / 2 && end->n_bytes <= QUEUE_BYTES / 2)
		loop_tell(ll->pipe->shared, peer);
	pthread_mutex_unlock(&ll->pipe->lock);
	return f;
}

static void unpop_frame(struct loop_lane *ll, struct loop_frame *f)
{
	struct loop_end *end = loop_own_end(ll);

	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_push_front(&end->frames, &f->link);
	end->n_frames++;
	end->n_bytes += f->h.len;
	pthread_mutex_unlock(&ll->pipe->lock);
}

static int deliver_frames(struct loop_lane *ll)
{
	struct loop_frame *f;
	int ret, n = 0;

	while (n < POLL_FRAMES && !ll->l.paused && (f = pop_frame(ll))) {
		ret = wf_frame_in(&ll->l, &f->h, f->data);
		if (ret == WEFT_AGAIN) {
			unpop_frame(ll, f);
			return n;
		}
		ll->l.frames_rx++;
		ll->l.bytes_rx += WF_FRAME_HDR + f->h.len;
		wf_free(f);
		n++;
		if (ret < 0) {
			ll->told_down = true; /* core knows more than we could tell */
			return n;
		}
	}
	if (n == POLL_FRAMES)
		loop_tell(ll->pipe->shared, loop_own_end(ll));
	return n;
}

static void loop_resume(struct wf_lane *l)
{
	struct loop_lane *ll = loop_lane_of(l);

	loop_tell(ll->pipe->shared, loop_own_end(ll));
}

/* ---- poll ---- */

static void lane_over(struct loop_lane *ll, int32_t status, const char *cause)
{
	ll->told_down = true;
	wf_lane_down(&ll->l, status, 0, cause);
}

static int on_news(struct loop_lane *ll)
{
	struct loop_pipe *pipe = ll->pipe;
	bool drained, room;
	int state, n = loop_finish_copies(ll);

	pthread_mutex_lock(&pipe->lock);
	state = pipe->state;
	pthread_mutex_unlock(&pipe->lock);
	if (ll->told_down || state == PIPE_WAITS)
		return n;
	if (state == PIPE_REFUSED) {
		lane_over(ll, WEFT_EREFUSED, "the listener was closed or has no room");
		return n + 1;
	}
	if (!ll->told_up) {
		ll->told_up = true;
		wf_lane_up(&ll->l);
		n++;
	}
	n += deliver_frames(ll);
	if (ll->told_down)
		return n;
	pthread_mutex_lock(&pipe->lock);
	drained = loop_peer_end(ll)->closed && wf_list_is_empty(&loop_own_end(ll)->frames);
	room = loop_own_end(ll)->starved && loop_peer_end(ll)->n_frames <= QUEUE_FRAMES / 2 &&
	       loop_peer_end(ll)->n_bytes <= QUEUE_BYTES / 2;
	if (room)
		loop_own_end(ll)->starved = false;
	pthread_mutex_unlock(&pipe->lock);
	if (drained)
		lane_over(ll, WEFT_ERESET, "peer closed");
	else if (room)
		wf_lane_room(&ll->l);
	return n + drained + room;
}

static struct loop_lane *next_news(struct loop_port *port)
{
	struct loop_shared *sh = port->p.shared;
	struct loop_lane *ll = NULL;
	struct wf_list *it;

	pthread_mutex_lock(&sh->lock);
	it = wf_list_pop_front(&port->ready);
	if (it) {
		struct loop_end *end = wf_list_entry(it, struct loop_end, ready);

		atomic_fetch_sub_explicit(&port->n_news, 1, memory_order_relaxed);
		end->has_news = false;
		ll = end->lane;
	}
	pthread_mutex_unlock(&sh->lock);
	return ll;
}

static int loop_poll(struct wf_port *p)
{
	struct loop_port *port = loop_port_of(p);
	struct loop_lane *ll;
	int n = 0;

	/* pairs with the release in wake_port(); a stale 0 is put right by loop_arm(), which takes the lock */
	if (!atomic_load_explicit(&port->n_news, memory_order_acquire))
		return 0;
	for (int i = 0; i < POLL_ENDS && accept_one(port); i++)
		n++;
	for (int i = 0; i < POLL_ENDS && (ll = next_news(port)); i++)
		n += on_news(ll);
	return n;
}

static int loop_arm(struct wf_port *p)
{
	struct loop_shared *sh = p->shared;
	struct loop_port *port = loop_port_of(p);
	bool idle;

	pthread_mutex_lock(&sh->lock);
	idle = wf_list_is_empty(&port->ready) && wf_list_is_empty(&port->arrivals);
	port->armed = idle;
	pthread_mutex_unlock(&sh->lock);
	return idle ? WEFT_OK : WEFT_AGAIN;
}

static void loop_disarm(struct wf_port *p)
{
	struct loop_shared *sh = p->shared;

	pthread_mutex_lock(&sh->lock);
	loop_port_of(p)->armed = false;
	pthread_mutex_unlock(&sh->lock);
}

/* ---- the port ---- */

static int loop_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	(void)conf, (void)why, (void)why_cap, (void)remedy, (void)remedy_cap;
	return 0;
}

static int loop_open(struct wf_port *p)
{
	struct loop_port *port = loop_port_of(p);

	wf_list_init(&port->ready);
	wf_list_init(&port->arrivals);
	atomic_init(&port->n_news, 0);
	return 0;
}

static void loop_close(struct wf_port *p)
{
	(void)p; /* every lane and acceptor is closed: nobody knows the port any more */
}

static int loop_local(const struct wf_lane *l, char *out, size_t cap)
{
	const struct loop_lane *ll = wf_container_of(l, struct loop_lane, l);

	snprintf(out, cap, "%s", ll->pipe->end[ll->side].at);
	return 0;
}

static void loop_describe(const struct wf_lane *l, char *out, size_t cap)
{
	(void)l;
	snprintf(out, cap, "memory of this process, at most %d frames queued", QUEUE_FRAMES);
}

const struct wf_transport wf_loop = {
	.name = "loop",
	.caps = WF_CAP_BOOTSTRAP | WF_CAP_INTERNAL | WF_CAP_WATCHDOG,
	.shared_size = sizeof(struct loop_shared),
	.port_size = sizeof(struct loop_port),
	.lane_size = sizeof(struct loop_lane),
	.probe = loop_probe,
	.open = loop_open,
	.close = loop_close,
	.listen = loop_listen,
	.unlisten = loop_unlisten,
	.connect = loop_connect,
	.move = loop_move,
	.lane_close = loop_lane_close,
	.send = loop_send,
	.resume = loop_resume,
	.copy_offer = loop_copy_offer,
	.copy_start = loop_copy_start,
	.copy_stop = loop_copy_stop,
	.copy_end = loop_copy_end,
	.mem_offer = loop_mem_offer,
	.mem_open = loop_mem_open,
	.mem_close = loop_mem_close,
	.rma = loop_rma,
	.atomic = loop_atomic,
	.poll = loop_poll,
	.arm = loop_arm,
	.disarm = loop_disarm,
	.local = loop_local,
	.describe = loop_describe,
};
