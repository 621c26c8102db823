/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker.c - a unit of progress: who may be inside, the ring of what waits to be reaped, and one turn of the wheel.
 * Sleeping is in sleep.c, making and freeing in worker_life.c.
 */
#include <string.h>

#include "core/internal.h"

/* The slow half of wf_enter(): shared workers, nested calls, forked children, and the wrong thread. */
int wf_enter_slow(struct weft_worker *w, uintptr_t me)
{
	if (wf_forkmark_is_forked(&w->ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "worker", "open a context of your own in the child; weft_after_fork() frees this one",
			       "made before fork()");
	if (atomic_load_explicit(&w->owner_thread, memory_order_relaxed) == me) {
		w->depth++;
		return 0;
	}
	if (w->shared) {
		pthread_mutex_lock(&w->lock);
		atomic_store_explicit(&w->owner_thread, me, memory_order_relaxed);
		w->depth = 1;
		return 0;
	}
	return wf_fail(WEFT_ETHREAD, 0, "worker", "use one worker for each thread, or WEFT_SHARED",
		       "another thread is inside a call on it");
}

void wf_leave_slow(struct weft_worker *w)
{
	if (--w->depth)
		return;
	wf_worker_tell_sleepers(w);
	atomic_store_explicit(&w->owner_thread, 0, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
}

void wf_worker_note(struct weft_worker *w, struct wf_note *n)
{
	wf_list_push_back(&w->events, &n->link);
	w->n_events++;
	w->n_ended++;
	w->n_events_total++;
}

void wf_worker_unnote(struct weft_worker *w, struct wf_note *n)
{
	if (!wf_list_is_linked(&n->link))
		return;
	wf_list_remove(&n->link);
	w->n_events--;
}

unsigned wf_worker_port_index(const struct weft_worker *w, const struct wf_port *p)
{
	for (unsigned i = 0; i < w->ctx->n_tr; i++)
		if (w->port[i] == p)
			return i;
	return 0;
}

void wf_port_wake_at(struct wf_port *p, uint64_t at_ns)
{
	struct weft_worker *w = p->worker;

	w->port_wake[wf_worker_port_index(w, p)] = at_ns;
}

void wf_port_changed(struct wf_port *p)
{
	struct weft_worker *w = p->worker;

	w->ports_changed |= 1u << wf_worker_port_index(w, p);
}

struct wf_port *wf_worker_port(struct weft_worker *w, unsigned i)
{
	struct wf_tr_state *s = &w->ctx->tr[i];
	struct wf_port *p = w->port[i];

	if (p)
		return p;
	if (s->status) {
		wf_fail(s->status, 0, s->tr->name, s->remedy[0] ? s->remedy : NULL, "%s", s->why);
		return NULL;
	}
	p = wf_calloc(1, s->tr->port_size);
	if (!p) {
		wf_fail(WEFT_ENOMEM, 0, s->tr->name, NULL, "no memory for its port");
		return NULL;
	}
	p->tr = s->tr;
	p->worker = w;
	p->poll = &w->poll;
	p->bell_fd = w->bell_fd;
	p->conf = &w->ctx->conf;
	p->log = &w->ctx->log;
	p->shared = s->shared;
	wf_list_init(&p->lanes);
	if (s->tr->open && s->tr->open(p)) {
		wf_free(p);
		return NULL;
	}
	w->port[i] = p;
	w->open[w->n_open++] = p;
	return p;
}

/* ---- lanes ---- */

struct wf_lane *wf_lane_new(struct weft_worker *w, unsigned tr_index, struct wf_owner *owner)
{
	struct wf_port *p = wf_worker_port(w, tr_index);
	struct wf_lane *l;

	if (!p)
		return NULL;
	l = wf_calloc(1, p->tr->lane_size);
	if (!l) {
		wf_fail(WEFT_ENOMEM, 0, p->tr->name, NULL, "no memory for a lane");
		return NULL;
	}
	l->tr = p->tr;
	l->port = p;
	l->owner = owner;
	l->id = w->next_lane++;
	wf_list_push_back(&p->lanes, &l->link);
	return l;
}

void wf_lane_free(struct wf_lane *l)
{
	l->tr->lane_close(l);
	wf_list_remove(&l->link);
	wf_free(l);
}

void wf_lane_bury(struct weft_worker *w, struct wf_lane *l)
{
	l->owner = NULL;
	wf_list_remove(&l->link);
	wf_list_push_back(&w->graves, &l->link);
}

void wf_worker_bury(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	while ((it = wf_list_pop_front(&w->graves))) {
		struct wf_lane *l = wf_list_entry(it, struct wf_lane, link);

		wf_list_push_back(&l->port->lanes, &l->link);
		wf_lane_free(l);
	}
	wf_list_foreach(it, tmp, &w->dying) {
		struct weft_ep *ep = wf_list_entry(it, struct weft_ep, dying_link);

		if (wf_ep_bury(ep))
			wf_list_remove(it);
		wf_ep_free_if_gone(ep);
	}
}

void wf_worker_bury_now(struct weft_worker *w)
{
	if (w->dispatching)              /* inside a handler: the turn that called it does it */
		return;
	w->dispatching = true;
	wf_worker_bury(w);
	w->dispatching = false;
}

/* ---- a turn ---- */

void wf_ep_stall(struct weft_ep *ep, struct wf_lane *l)
{
	l->paused = true;
	if (!wf_list_is_linked(&ep->stalled_link))
		wf_list_push_back(&ep->w->stalled, &ep->stalled_link);
}

/* Lanes that were told "not now" may offer their frame again. */
static void unstall(struct weft_worker *w)
{
	struct wf_list now, *it;

	wf_list_init(&now);
	wf_list_splice_back(&now, &w->stalled);
	while ((it = wf_list_pop_front(&now))) {
		struct weft_ep *ep = wf_list_entry(it, struct weft_ep, stalled_link);

		if (!ep->msg || ep->msg->down)
			continue;
		ep->msg->paused = false;
		if (ep->msg->tr->resume)
			ep->msg->tr->resume(ep->msg);
	}
}

#define FDS_COLD 64              /* turns between two looks: a control connection or a death only */
#define FDS_HOT 16               /* a transport reads its busy sockets itself: others, and new ones, wait this long */
#define FDS_NS 50000             /* who turns fast, because it spins, looks no more often than this */

/*
 * Rings every turn, descriptors when they may matter: every turn as long as a connection is being made or messages go
 * over sockets that their transport does not read by itself, else now and then. @woke: we were armed, and one of them may have
 * woken us.
 */
static bool wants_fds(struct weft_worker *w, bool woke)
{
	uint32_t hot = 0;
	uint64_t now;

	if (w->fd_hot) {
		for (unsigned i = 0; i < w->n_open; i++)
			hot += w->open[i]->hot;
		if (!hot)
			return true;
	}
	if (!woke && w->turn % (w->fd_hot ? FDS_HOT : FDS_COLD))
		return false;
	now = wf_now_ns();
	if (!woke && now - w->fds_at < FDS_NS)
		return false;
	w->fds_at = now;
	return true;
}

#define LEAD_TURNS 8             /* of so many turns one looks everywhere, however busy the leading port is */

static int poll_all(struct weft_worker *w, struct wf_port *but, int moved, bool woke)
{
	for (unsigned i = 0; i < w->n_open; i++) {
		struct wf_port *p = w->open[i];
		int more = p == but ? 0 : p->tr->poll(p);

		if (more && !moved)
			w->lead = p;
		moved += more;
	}
	if (wants_fds(w, woke)) {
		w->n_fd_polls++;
		moved += wf_poll_run(&w->poll, 0, WF_POLL_BATCH) > 0;
	}
	return moved;
}

/* All of a turn but the leading port's poll. */
static __attribute__((noinline)) int turn_rest(struct weft_worker *w, int moved, bool woke)
{
	moved = poll_all(w, w->lead, moved, woke);
	if (wf_unlikely(w->deadlines.count))
		wf_worker_expire(w, wf_now_ns());
	if (wf_unlikely(!wf_list_is_empty(&w->stalled)))
		unstall(w);
	if (wf_unlikely(atomic_load_explicit(&w->ctx_work, memory_order_relaxed)))
		wf_revoke_step(w);
	if (wf_unlikely(!wf_list_is_empty(&w->switching)))
		wf_switch_step(w);
	if (wf_unlikely(w->ports_changed))
		wf_renew_step(w);
	if (wf_unlikely(!wf_list_is_empty(&w->dying) || !wf_list_is_empty(&w->graves)))
		wf_worker_bury(w);
	w->dispatching = false;
	return moved;
}

/*
 * The port where something moved last is asked first, and when it has something again, the user gets that before anybody
 * looks elsewhere: what waits elsewhere waits a few turns at most. The count of turns must not begin anew when a worker
 * tries to sleep, or one that does so after each message would never come to the rest.
 */
static inline int turn(struct weft_worker *w)
{
	struct wf_port *lead = w->lead;
	bool woke = w->armed;
	int moved;

	if (wf_unlikely(w->dispatching)) /* an AM handler asked for progress: it is inside one */
		return 0;
	w->dispatching = true;
	w->n_progress++;
	w->turn++;
	if (wf_unlikely(woke))
		wf_worker_disarm(w);
	moved = lead ? lead->tr->poll(lead) : 0;
	if (!moved || woke || w->turn % LEAD_TURNS == 0)
		return turn_rest(w, moved, woke);
	w->dispatching = false;
	return moved;
}

int wf_worker_turn(struct weft_worker *w)
{
	return turn(w);
}

int weft_progress(weft_worker *w)
{
	int ret = wf_enter(w);

	if (ret)
		return ret;
	wf_worker_turn(w);
	ret = (int)w->n_events;
	wf_leave(w);
	return ret;
}

/* A turn whose completions go straight to where the user wants them (wf_worker_slot()); how many did. */
static size_t turn_into(struct weft_worker *w, weft_event *out, size_t cap)
{
	if (w->dispatching)
		return 0;
	w->out = out;
	w->out_end = out + cap;
	turn(w);
	cap = (size_t)(w->out - out);
	w->out = w->out_end = NULL;
	return cap;
}

size_t weft_reap(weft_worker *w, weft_event *out, size_t cap)
{
	size_t n = 0;

	if (wf_enter(w))
		return 0;
	if (!w->n_events)
		n = turn_into(w, out, cap);
	while (n < cap && w->n_events) {
		struct wf_list *it = wf_list_pop_front(&w->events);
		struct wf_note *note = wf_list_entry(it, struct wf_note, link);

		w->n_events--;
		memset(&out[n], 0, sizeof(out[n]));
		out[n].size = sizeof(out[n]);
		note->take(note, &out[n]);
		n++;
	}
	wf_leave(w);
	return n;
}
