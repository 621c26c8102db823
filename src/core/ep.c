/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ep.c - the life of an endpoint: connecting, ready, down (why is kept), gone. It goes down once; wf_ep_fail() may be
 * called from anywhere, the burial happens at the end of progress: last frames are drained, copies stopped, lanes closed,
 * and only then, with everything quiet, each pending operation is completed.
 */
#include <stdio.h>
#include <string.h>

#include "core/internal.h"
#include "os/addr.h"

#define DRAIN_POLLS 4096     /* turns of a dead peer's ring at most; a ring holds far fewer batches */
#define GRACE_NS (70 * WF_NS_PER_MS)   /* longer than a lane with a watchdog takes, see WF_CAP_WATCHDOG */
#define LATE_NS (20 * WF_NS_PER_MS)    /* for last frames that are on their way, see WF_CAP_LATE */

static void take_up(struct wf_note *n, weft_event *out)
{
	struct weft_ep *ep = wf_container_of(n, struct weft_ep, up_note);

	out->kind = WEFT_EV_CONNECTED;
	out->ep = ep;
	out->user_data = ep->user_data;
	out->path = wf_ep_path(ep);
}

static void take_down(struct wf_note *n, weft_event *out)
{
	struct weft_ep *ep = wf_container_of(n, struct weft_ep, down_note);

	out->kind = WEFT_EV_DOWN;
	out->ep = ep;
	out->user_data = ep->user_data;
	out->status = ep->status;
}

static void heat(struct weft_ep *ep)
{
	if (!ep->hot)
		ep->w->fd_hot++;
	ep->hot = true;
}

struct weft_ep *wf_ep_new(struct weft_worker *w, const weft_conn_opts *o)
{
	struct weft_ep *ep = wf_pool_get(&w->eps);

	if (!ep) {
		wf_fail(WEFT_ENOMEM, 0, "endpoint", NULL, "no memory");
		return NULL;
	}
	memset(ep, 0, sizeof(*ep));
	ep->owner.is_ep = true;
	ep->w = w;
	ep->id = w->next_ep++;
	if (o) {
		ep->user_data = o->user_data;
		ep->flags = o->flags;
	}
	wf_list_init(&ep->dying_link);
	wf_list_init(&ep->stalled_link);
	wf_list_init(&ep->answers);
	wf_list_init(&ep->redo);
	wf_list_init(&ep->said);
	wf_list_init(&ep->txq);
	wf_list_init(&ep->streamq);
	wf_list_init(&ep->bulkq);
	wf_list_init(&ep->lent);
	wf_list_init(&ep->ops);
	wf_list_init(&ep->rx_ops);
	wf_list_init(&ep->msgs);
	wf_list_init(&ep->opens);
	wf_list_init(&ep->remotes);
	wf_list_init(&ep->replies);
	wf_list_init(&ep->up_note.link);
	wf_list_init(&ep->down_note.link);
	ep->up_note.take = take_up;
	ep->down_note.take = take_down;
	wf_list_push_back(&w->eps_list, &ep->link);
	heat(ep);                /* connecting */
	return ep;
}

static void cool(struct weft_ep *ep)
{
	if (ep->hot)
		ep->w->fd_hot--;
	ep->hot = false;
}

void wf_ep_object(const struct weft_ep *ep, char *out, size_t cap)
{
	const char *how = ep->path ? ep->w->ctx->tr[ep->path - 1].tr->name : ep->dying || ep->state >= WF_EP_DOWN ? "not connected" :
												 "connecting";

	snprintf(out, cap, "endpoint %u (%s, peer %s)", ep->id, how,
		 ep->peer[0] ? ep->peer : ep->boot && ep->boot->peer[0] ? ep->boot->peer : "unknown");
}

int wf_ep_refuse(struct weft_ep *ep)
{
	char object[128];

	wf_ep_object(ep, object, sizeof(object));
	if (ep->why)
		return wf_fail(ep->status, ep->why->e.sys_errno, object, ep->why->e.remedy, "%s", ep->why->e.cause);
	return wf_fail(WEFT_ECLOSED, 0, object, NULL, "it was closed on this side");
}

void wf_ep_use(struct weft_ep *ep, struct wf_lane *l)
{
	ep->msg = l;
	ep->path = wf_worker_port_index(ep->w, l->port) + 1;
	wf_list_remove(&ep->stalled_link);
	if (l != ep->boot || l->tr->caps & WF_CAP_INTERNAL)
		cool(ep);        /* sockets are control only from here on, or there are none */
	else
		heat(ep);
	ep->blocked = false;
	if (l->paused) {
		l->paused = false;
		l->tr->resume(l);
	}
	if (ep->closed_due) {
		wf_order_closed(ep);
		return;
	}
	wf_ep_kick(ep);
	wf_ep_ops_moved(ep);
}

void wf_ep_ready(struct weft_ep *ep, struct wf_lane *msg)
{
	struct weft_worker *w = ep->w;
	const struct wf_lane *boot = ep->boot;

	ep->msg = msg;
	snprintf(ep->peer, sizeof(ep->peer), "%s", boot->peer);
	ep->state = WF_EP_READY;
	wf_conn_free(ep);
	WF_LOG(&w->ctx->log, WF_LOG_DEBUG, "endpoint %u: ready over %s, peer %s%s%s", ep->id, msg->tr->name, boot->peer,
	       ep->notes[0] ? "; " : "", ep->notes);
	if (!ep->released)
		wf_worker_note(w, &ep->up_note);
	wf_ep_tell_pressure(ep);
	wf_ep_use(ep, msg);
}

/* ---- going down ---- */

/* The connection is gone, but among the last frames is the word that the peer closed in order. */
static bool is_corrected(const struct weft_ep *ep, int32_t status)
{
	return ep->status == WEFT_ERESET && !ep->drained && status == WEFT_ECLOSED;
}

void wf_ep_fail(struct weft_ep *ep, int32_t status, int sys_errno, const char *cause)
{
	char object[128];

	if (ep->state >= WF_EP_DOWN || (ep->dying && !is_corrected(ep, status)))
		return;
	if (status == WEFT_ERESET && ep->peer_closed)
		status = WEFT_ECLOSED;
	ep->dying = true;
	ep->status = status;
	wf_ep_object(ep, object, sizeof(object));
	WF_LOG(&ep->w->ctx->log, WF_LOG_DEBUG, "%s: down: %s: %s", object, weft_status_name(status), cause);
	if (!ep->why)
		ep->why = wf_malloc(sizeof(*ep->why));       /* without memory the status alone must do */
	if (ep->why)
		wf_error_fill(ep->why, status, sys_errno, object, NULL, "%s", cause);
	if (!wf_list_is_linked(&ep->dying_link))
		wf_list_push_back(&ep->w->dying, &ep->dying_link);
}

/*
 * A process that dies closes its sockets first and can be known for dead a little later (G10). Where messages go over a
 * lane that learns of the death by itself, that lane has the better words; after a while the bootstrap lane's must do.
 */
struct wf_grace {
	struct wf_timer timer;
	struct weft_ep *ep;
	int32_t status;
	int sys_errno;
	char cause[160];
};

static void grace_is_over(struct wf_timer *t)
{
	struct wf_grace *g = wf_container_of(t, struct wf_grace, timer);

	wf_ep_fail(g->ep, g->status, g->sys_errno, g->cause);
}

static void end_grace(struct weft_ep *ep)
{
	if (ep->grace)
		wf_heap_remove(&ep->w->deadlines, &ep->grace->timer.node);
	wf_free(ep->grace);
	ep->grace = NULL;
}

void wf_ep_boot_down(struct weft_ep *ep, int32_t status, int sys_errno, const char *cause)
{
	uint32_t caps = ep->state == WF_EP_READY && ep->msg != ep->boot ? ep->msg->tr->caps : 0;
	uint64_t wait = caps & WF_CAP_WATCHDOG ? GRACE_NS : caps & WF_CAP_LATE ? LATE_NS : 0;
	struct wf_grace *g = wait && status == WEFT_ERESET && !ep->peer_closed ? wf_calloc(1, sizeof(*g)) : NULL;

	if (!g || wf_heap_push(&ep->w->deadlines, &g->timer.node, wf_now_ns() + wait)) {
		wf_free(g);
		wf_ep_fail(ep, status, sys_errno, cause);
		return;
	}
	g->timer.fire = grace_is_over;
	g->ep = ep;
	g->status = status;
	g->sys_errno = sys_errno;
	snprintf(g->cause, sizeof(g->cause), "%s", cause);
	ep->grace = g;
}

/* A dead peer's last frames lie in the ring that both mapped: they were sent, so they are received. */
static void drain(struct weft_ep *ep)
{
	struct wf_lane *l = ep->msg;

	if (ep->drained || ep->state != WF_EP_READY || ep->status != WEFT_ERESET || l == ep->boot || l->down)
		return;
	for (int i = 0; i < DRAIN_POLLS; i++)
		if (l->tr->poll(l->port) <= 0)
			break;
}

static bool stop_copies(struct wf_list *ops)
{
	struct wf_list *it, *tmp;
	bool quiet = true;

	wf_list_foreach(it, tmp, ops) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, link);

		wf_rndv_stop_copies(op);
		quiet = quiet && !op->copy && !op->direct;
	}
	return quiet;
}

static void close_lanes(struct weft_ep *ep)
{
	struct wf_lane *msg = ep->msg, *boot = ep->boot;

	wf_list_remove(&ep->stalled_link);
	ep->msg = ep->boot = NULL;
	wf_conn_free(ep);
	wf_renew_drop(ep);
	if (msg)
		wf_stats_keep_lane(ep->w, msg);
	if (msg && msg != boot)
		wf_lane_free(msg);
	if (boot)
		wf_lane_free(boot);
}

static void drop_ctls(struct weft_ep *ep)
{
	struct wf_list *it;

	/* what is left in the queues are control frames: operations take themselves out */
	while ((it = wf_list_pop_front(&ep->answers)) || (it = wf_list_pop_front(&ep->txq)) ||
	       (it = wf_list_pop_front(&ep->streamq)) || (it = wf_list_pop_front(&ep->said)))
		wf_ctl_free(ep, wf_list_entry(it, struct wf_ctl, tx.link));
}

/* Operations that had ended but for frames of the lane, which is closed now. */
static void end_lent(struct weft_ep *ep)
{
	struct wf_list *it;

	while ((it = wf_list_first(&ep->lent)))
		wf_op_quiet(wf_list_entry(it, struct wf_op, link));
}

static void end_ops(struct weft_ep *ep, struct wf_list *ops)
{
	struct wf_list *it;

	while ((it = wf_list_first(ops))) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, link);

		if (!op->ev_len)
			op->ev_len = op->off;
		op->inflight = 0;        /* the lane is closed: it has let go of all bytes */
		if (op->kind == &wf_kind_recv && !op->matched)
			wf_match_unpost(&ep->w->match, &op->recv);
		if (op->msg && op->msg->am) {
			op->msg->lost = true;
			wf_am_end_receive(op->msg, false);
		} else if (op->msg) {
			wf_msg_free(op->msg);
		}
		op->msg = NULL;
		wf_op_done(op, op->stop ? op->stop : op->kind == &wf_kind_close && ep->status == WEFT_ECLOSED ? WEFT_OK : ep->status);
	}
}

static void drop_msgs(struct weft_ep *ep, bool all)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->msgs) {
		struct wf_msg *m = wf_list_entry(it, struct wf_msg, link);

		/* One whose bytes are lost stays in its place: the receive that it goes to is told, instead of getting the next. */
		if (m->kind == WF_MSG_RNDV)
			m->lost = true;
		if (m->taken || (!all && !m->partial))
			continue;
		wf_msg_free(m);
	}
}

bool wf_ep_bury(struct weft_ep *ep)
{
	bool quiet;

	if (!ep->dying)
		return true;
	drain(ep);
	if (!ep->drained && ep->msg && ep->msg->tr->abandon)
		ep->msg->tr->abandon(ep->msg);
	ep->drained = true;
	quiet = stop_copies(&ep->ops);
	quiet = stop_copies(&ep->rx_ops) && quiet;
	if (!quiet)
		return false;
	ep->dying = false;
	ep->state = WF_EP_DOWN;
	end_grace(ep);
	wf_switch_drop(ep);
	ep->burying = true;
	cool(ep);
	close_lanes(ep);
	wf_rma_remotes_down(ep);         /* before the operations that hold them: they must not touch the lane any more */
	end_lent(ep);
	end_ops(ep, &ep->ops);
	end_ops(ep, &ep->rx_ops);
	wf_stream_end(ep, ep->status);
	wf_rma_ep_down(ep);
	drop_ctls(ep);
	drop_msgs(ep, ep->released);
	ep->burying = false;
	if (!ep->released)
		wf_worker_note(ep->w, &ep->down_note);
	else
		ep->state = WF_EP_GONE;
	return true;
}

void wf_ep_forget_refs(struct weft_ep *ep)
{
	struct wf_list *it;

	ep->refs++;
	while ((it = wf_list_first(&ep->msgs)))
		wf_msg_free(wf_list_entry(it, struct wf_msg, link));
	ep->refs = 0;
	wf_ep_free_if_gone(ep);
}

void wf_ep_free_if_gone(struct weft_ep *ep)
{
	if (ep->state != WF_EP_GONE || ep->refs || ep->burying || wf_list_is_linked(&ep->dying_link) ||
	    !wf_pool_is_used(ep))
		return;
	wf_worker_unnote(ep->w, &ep->up_note);
	wf_worker_unnote(ep->w, &ep->down_note);
	wf_stats_keep_ep(ep);
	wf_stream_free(ep);
	wf_free(ep->why);
	ep->why = NULL;
	wf_list_remove(&ep->link);
	wf_pool_put(&ep->w->eps, ep);
}

/* The user has let go of an endpoint that is down. */
static void let_go(struct weft_ep *ep)
{
	ep->released = true;
	wf_worker_unnote(ep->w, &ep->up_note);
	wf_worker_unnote(ep->w, &ep->down_note);
	if (ep->state == WF_EP_DOWN) {
		drop_msgs(ep, true);
		ep->state = WF_EP_GONE;
		wf_ep_free_if_gone(ep);
	}
}

int weft_ep_abort(weft_ep *ep)
{
	struct weft_worker *w = ep->w;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	if (ep->state < WF_EP_DOWN)
		wf_ep_fail(ep, WEFT_EABORTED, 0, "aborted on this side");
	if (ep->state != WF_EP_GONE)
		let_go(ep);
	wf_worker_bury_now(w);
	wf_leave(w);
	return WEFT_OK;
}

int wf_ep_close_down(struct weft_ep *ep, weft_call *call)
{
	struct weft_worker *w = ep->w;

	if (ep->state == WF_EP_GONE || ep->released)
		return wf_fail(WEFT_ECLOSED, 0, "endpoint", NULL, "it was closed before");
	wf_answer_now(w, ep, call, "close", ep->status == WEFT_ECLOSED ? WEFT_OK : ep->status, 0, 0, 0);
	let_go(ep);
	return WEFT_OK;
}

void weft_ep_set_user_data(weft_ep *ep, uint64_t user_data)
{
	ep->user_data = user_data;
}

int weft_ep_peer(const weft_ep *ep, char *out, size_t cap)
{
	int n = snprintf(out, cap, "%s", ep->peer[0] ? ep->peer : ep->boot ? ep->boot->peer : "");

	return n >= 0 && (size_t)n < cap ? WEFT_OK : wf_fail(WEFT_EINVAL, 0, "weft_ep_peer", NULL, "%d bytes are needed", n + 1);
}

int weft_ep_local(const weft_ep *ep, char *out, size_t cap)
{
	const struct wf_lane *boot = ep->state == WF_EP_READY ? ep->boot : NULL;
	char text[WF_ADDR_TEXT] = "";

	if (!boot || !boot->tr->local || boot->tr->local(boot, text, sizeof(text)))
		return wf_fail(WEFT_ECLOSED, 0, "weft_ep_local", NULL, "the endpoint has no connection now");
	if (strlen(text) >= cap)
		return wf_fail(WEFT_EINVAL, 0, "weft_ep_local", NULL, "%zu bytes are needed", strlen(text) + 1);
	memcpy(out, text, strlen(text) + 1);
	return WEFT_OK;
}
