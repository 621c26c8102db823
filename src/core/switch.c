/* SPDX-License-Identifier: BSD-3-Clause
 *
 * switch.c - the message lane breaks and the peer lives: the bootstrap lane takes over, and nothing that was accepted is lost or
 * doubled.
 *
 *   A                                        B
 *   its lane is down: all that came over it  hears SWITCH, and gives its side of the lane up, too
 *   has been delivered, and is counted
 *   SWITCH { frames that came } ----------->
 *   <----------- SWITCH { frames that came }
 *   sends the frames that did not come once  the same
 *   more, then goes on
 *
 * all over the bootstrap lane. Its frames of messages wait (wf_switch_holds()) until the broken lane has nothing of ours any more:
 * the transport ends its copies and one-sided operations with WEFT_AGAIN, and the receiver asks for their bytes in frames. Offers
 * that this side made are forgotten; a peer that would begin one over a lane that has no copies asks for frames by itself.
 *
 * A transport that cannot repeat all that it took (a put whose caller was told that it is done) says so, and the endpoint fails.
 */
#include "core/renew.h"

#include <stdio.h>
#include <string.h>

struct wf_switch {
	struct wf_list link;             /* worker->switching */
	struct weft_ep *ep;
	bool down, heard;                /* our side of the lane; the peer's SWITCH */
	uint32_t came;                   /* frames of ours that the peer has got */
};

static struct wf_switch *get_switch(struct weft_ep *ep)
{
	struct wf_switch *sw = ep->sw;

	if (sw)
		return sw;
	sw = wf_calloc(1, sizeof(*sw));
	if (!sw)
		return NULL;
	sw->ep = ep;
	wf_list_init(&sw->link);
	wf_list_push_back(&ep->w->switching, &sw->link);
	ep->sw = sw;
	return sw;
}

void wf_switch_drop(struct weft_ep *ep)
{
	if (ep->sw)
		wf_list_remove(&ep->sw->link);
	wf_free(ep->sw);
	ep->sw = NULL;
}

static bool is_possible(const struct weft_ep *ep)
{
	return ep->state == WF_EP_READY && !ep->dying && ep->boot != ep->msg && !ep->boot->down && ep->boot_may && ep->msg->tr->replay;
}

bool wf_switch_begin(struct weft_ep *ep, const char *cause)
{
	struct wf_frame h = { .type = WF_FR_SWITCH, .tag = ep->msg->rx_seq };
	struct wf_switch *sw = is_possible(ep) ? get_switch(ep) : NULL;

	if (!sw || !wf_renew_note(ep, cause))
		return false;
	ep->blocked = true;
	sw->down = true;
	if (wf_ep_say(ep, &h, NULL) < 0)
		return false;
	WF_LOG(&ep->w->ctx->log, WF_LOG_INFO, "endpoint %u: %s broke, messages go over %s: %s", ep->id, ep->msg->tr->name, ep->boot->tr->name,
	       cause);
	return true;
}

int wf_switch_heard(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_switch *sw;

	if (ep->dying)
		return 0;
	if (!is_possible(ep) || (ep->sw && ep->sw->heard) || h->tag > UINT32_MAX) {
		if (ep->state == WF_EP_READY && ep->boot != ep->msg && !(ep->sw && ep->sw->heard))
			wf_ep_fail(ep, WEFT_ERESET, 0, "the peer's side of the connection broke, and it cannot be replaced here");
		return ep->dying ? 0 : WEFT_EPROTO;
	}
	sw = get_switch(ep);
	if (!sw) {
		wf_ep_fail(ep, WEFT_ENOMEM, 0, "no memory to replace a broken connection");
		return 0;
	}
	sw->heard = true;
	sw->came = (uint32_t)h->tag;
	if (!sw->down && ep->msg->tr->abandon)
		ep->msg->tr->abandon(ep->msg);
	return 0;
}

bool wf_switch_holds(struct weft_ep *ep, struct wf_lane *l)
{
	if (l != ep->boot)
		return false;
	l->paused = true;                /* resumed by take_over() */
	return true;
}

/* ---- the end of the old lane ---- */

/* Has the transport ended what only it can end? */
static bool is_quiet(const struct weft_ep *ep)
{
	const struct wf_list *lists[] = { &ep->ops, &ep->rx_ops };

	for (unsigned i = 0; i < 2; i++)
		for (const struct wf_list *it = lists[i]->next; it != lists[i]; it = it->next) {
			const struct wf_op *op = wf_container_of(it, const struct wf_op, link);

			if (op->direct || (op->copy && (!op->copy->sender || op->copy_stopping)))
				return false;
		}
	return true;
}

static void forget_offers(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->ops) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, link);

		if (!op->copy)
			continue;
		op->copy->lane->tr->copy_end(op->copy->lane, op->copy);
		wf_copy_free(op);
	}
}

static void forget_memory(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->remotes) {
		struct weft_remote *r = wf_list_entry(it, struct weft_remote, link);

		if (r->has_direct)
			ep->msg->tr->mem_close(ep->msg, &r->direct);
		r->has_direct = false;
	}
	wf_list_foreach(it, tmp, &ep->opens) {
		struct wf_open *o = wf_list_entry(it, struct wf_open, link);

		if (o->hold)
			ep->msg->tr->mem_retract(ep->msg, o->hold);
		o->hold = 0;
	}
}

struct again {
	struct weft_ep *ep;
	struct wf_list frames;
};

static int repeat(void *arg, const struct wf_frame *h, const void *payload)
{
	struct again *a = arg;

	wf_ep_repeat(a->ep, &a->frames, h, payload);
	return a->ep->dying ? WEFT_ENOMEM : 0;
}

/* A put behind which a frame came has come, too. Its bytes must not be written again: who got the frame may have changed them. */
static void end_done_puts(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->redo) {
		struct wf_op *op = wf_list_entry(it, struct wf_op, tx.link);

		if ((int32_t)(ep->sw->came - op->peer_op) > 0)
			wf_rma_was_done(op);
	}
}

static void cannot_go_on(struct weft_ep *ep, int32_t status)
{
	char cause[300];

	snprintf(cause, sizeof(cause), "the connection broke, and not all that was accepted can be sent again: %s", ep->renew->cause);
	wf_ep_fail(ep, status, 0, cause);
}

/* Frames that did not come go before all that waits. */
static void take_over(struct weft_ep *ep)
{
	struct wf_switch *sw = ep->sw;
	struct wf_lane *old = ep->msg;
	struct again a = { .ep = ep };
	int ret;

	wf_list_init(&a.frames);
	end_done_puts(ep);
	forget_offers(ep);
	forget_memory(ep);
	ret = old->tr->replay(old, sw->came, repeat, &a);
	wf_list_splice_back(&ep->redo, &a.frames);
	wf_list_splice_back(&ep->redo, &ep->answers);
	wf_list_splice_back(&ep->answers, &ep->redo);   /* puts, what did not come, what waits */
	wf_ep_forget_descs(ep);          /* they may all go, and be answered, over a lane that is made anew */
	if (ret && !ep->dying)
		cannot_go_on(ep, ret);
	if (ep->dying)
		return;
	wf_switch_drop(ep);
	wf_stats_keep_lane(ep->w, old);
	wf_lane_bury(ep->w, old);
	wf_ep_use(ep, ep->boot);
	if (!ep->dying)
		wf_renew_begin(ep);
}

/* What is said goes before messages: a peer that has not heard SWITCH takes none here, nor what comes behind them. */
static bool is_due(const struct wf_switch *sw)
{
	return sw->down && sw->heard && !sw->ep->dying && wf_list_is_empty(&sw->ep->said) && is_quiet(sw->ep);
}

bool wf_switch_is_due(const struct weft_worker *w)
{
	for (const struct wf_list *it = w->switching.next; it != &w->switching; it = it->next)
		if (is_due(wf_container_of(it, const struct wf_switch, link)))
			return true;
	return false;
}

void wf_switch_step(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &w->switching) {
		struct wf_switch *sw = wf_list_entry(it, struct wf_switch, link);

		if (is_due(sw))
			take_over(sw->ep);
	}
}
