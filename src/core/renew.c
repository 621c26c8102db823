/* SPDX-License-Identifier: BSD-3-Clause
 *
 * renew.c - a message lane that broke is made again, while messages go over the bootstrap lane (switch.c), and they go back to it.
 *
 *   A, the active side: it connected         B
 *   ASK { offer } -------------------------> makes its side ready
 *   <---------------------- OFFER { offer }, or NO { why }
 *   attaches; the two sides of the lane-to-be talk by LANE, as when the first one was made
 *   it is up: MOVE, and sends nothing -----> all that A sent over the bootstrap lane has come
 *   <---------------------------------- MOVE, and goes on over the new lane
 *   all that B sent there has come: goes on over the new lane
 *
 * over the bootstrap lane. What B sends over the new lane may come before its MOVE: it waits (wf_renew_is_of()). So on each side all that came
 * over the one lane is before all that comes over the other, and a lane that breaks at any moment of this is either not used
 * yet, or used by both. Until MOVE nothing is disturbed: an attempt that comes to nothing costs messages nothing.
 *
 * When. A tries at once, then after pauses that double, WF_RENEW_TRIES times in a row. Where one side's transport has nothing to
 * offer (its ports are down) no timer runs: it says so when that changes (wf_port_changed()), B by HINT. Many endpoints may
 * break at the same moment, and their peers would all be asked at the same: so each waits a little more, by its number (spread()).
 */
#include "core/renew.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"

#define NEVER UINT64_MAX

static const struct wf_transport *tr_of(const struct wf_renew *r)
{
	return r->ep->w->ctx->tr[r->tr].tr;
}

static void on_timer(struct wf_timer *t);

/* It has its place in the heap, or had it a moment ago. */
static void set_timer(struct wf_renew *r, uint64_t at_ns)
{
	wf_heap_remove(&r->ep->w->deadlines, &r->timer.node);
	wf_heap_push(&r->ep->w->deadlines, &r->timer.node, at_ns);
}

static void drop_timer(struct wf_renew *r)
{
	wf_heap_remove(&r->ep->w->deadlines, &r->timer.node);
}

/* 0 .. @ns, the same for the same attempt of the same endpoint. */
static uint64_t spread(const struct wf_renew *r, uint64_t ns)
{
	struct wf_rng rng;

	memcpy(&rng.state, r->ep->w->uuid, sizeof(rng.state));
	rng.state ^= (uint64_t)r->ep->id << 32 | r->number;
	return wf_rng_below(&rng, ns);
}

bool wf_renew_note(struct weft_ep *ep, const char *cause)
{
	struct wf_renew *r = ep->renew;

	if (!r) {
		r = wf_calloc(1, sizeof(*r));
		if (!r)
			return false;
		r->ep = ep;
		r->tr = wf_worker_port_index(ep->w, ep->msg->port);
		r->timer.fire = on_timer;
		ep->renew = r;
	}
	snprintf(r->cause, sizeof(r->cause), "%s", cause);
	if (ep->active && ep->may_renew && !wf_heap_is_linked(&r->timer.node) && wf_heap_push(&ep->w->deadlines, &r->timer.node, NEVER))
		return false;
	ep->n_breaks++;
	if (r->since && wf_now_ns() - r->since >= WF_RENEW_STOOD_NS)
		r->tries = 0;            /* given_up: then no lane was made that could break now */
	return true;
}

static void drop_lane(struct wf_renew *r)
{
	if (r->lane)
		wf_lane_bury(r->ep->w, r->lane);
	r->lane = NULL;
	r->state = RENEW_IDLE;
}

void wf_renew_drop(struct weft_ep *ep)
{
	struct wf_renew *r = ep->renew;

	if (!r)
		return;
	drop_timer(r);
	drop_lane(r);
	wf_free(r);
	ep->renew = NULL;
}

bool wf_renew_is_of(const struct weft_ep *ep, const struct wf_lane *l)
{
	return ep->renew && ep->renew->lane == l;
}

bool wf_renew_holds(const struct weft_ep *ep)
{
	return ep->renew && ep->renew->state == RENEW_MOVING;
}

/* Before its own offer has come the peer talks about the lane that broke. */
struct wf_lane *wf_renew_lane(const struct weft_ep *ep)
{
	return ep->renew && ep->renew->state >= RENEW_MAKING ? ep->renew->lane : NULL;
}

/* May it be made again at all, and does the endpoint live on? */
static bool is_wanted(const struct weft_ep *ep)
{
	return ep->may_renew && ep->state == WF_EP_READY && !ep->dying && !ep->closing && !ep->peer_closed && ep->msg == ep->boot &&
	       !ep->boot->down;
}

static void say(struct wf_renew *r, uint16_t what, uint64_t tag, const void *p, size_t len)
{
	struct wf_frame h = { .type = WF_FR_RENEW, .aux = what, .id = r->number, .tag = tag };

	if (wf_ep_say_of(r->ep, &h, tr_of(r), p, len) == WEFT_ENOMEM)   /* the peer would wait for it, and we for the answer */
		wf_ep_fail(r->ep, WEFT_ENOMEM, 0, "no memory for a control frame");
}

static void say_no(struct wf_renew *r, bool waits, const char *why)
{
	say(r, WF_RENEW_NO, waits ? WF_RENEW_WAITS : 0, why, strlen(why));
}

/* ---- when ---- */

/* The next attempt, when it is time for it. */
static void schedule(struct wf_renew *r)
{
	struct weft_ep *ep = r->ep;
	uint64_t at;

	if (!ep->active || r->state != RENEW_IDLE || r->given_up || (r->waits && !r->hinted) || !is_wanted(ep))
		return;
	if (r->tries >= WF_RENEW_TRIES) {
		r->given_up = true;
		drop_timer(r);
		say(r, WF_RENEW_NO, WF_RENEW_LAST, NULL, 0);
		return;
	}
	at = WF_MAX(wf_now_ns() + spread(r, WF_RENEW_SPREAD_NS), r->not_before);
	set_timer(r, WF_MIN(at, r->timer.node.key));   /* a port that flaps puts nothing off */
}

static void failed(struct wf_renew *r, bool waits, const char *why)
{
	snprintf(r->why, sizeof(r->why), "%s", why);
	r->waits = waits;
	drop_lane(r);
	schedule(r);
}

/* The attempt is over on both sides. */
static void give_up(struct wf_renew *r, bool waits, const char *why)
{
	say_no(r, waits, why);
	failed(r, waits, why);
}

/* Our side of the lane, and what it offers; 0: nothing, and why. Without memory for a lane there is none; that may pass by itself. */
static size_t make_offer(struct wf_renew *r, uint8_t *data, char *why, size_t cap)
{
	struct weft_ep *ep = r->ep;
	size_t len;

	r->lane = wf_lane_new(ep->w, r->tr, &ep->owner);
	if (!r->lane) {
		snprintf(why, cap, "%s", weft_last_error()->cause);
		return 0;
	}
	r->lane->again = true;
	len = r->lane->tr->offer(r->lane, data, WF_OFFER_MAX);
	if (!len)
		snprintf(why, cap, "%s", r->lane->why[0] ? r->lane->why : "has nothing to offer");
	return len;
}

static void on_timer(struct wf_timer *t)
{
	struct wf_renew *r = wf_container_of(t, struct wf_renew, timer);
	uint8_t data[WF_OFFER_MAX];
	char why[sizeof(r->why)];
	uint64_t pause;
	size_t len;

	set_timer(r, NEVER);
	if (r->state != RENEW_IDLE || !is_wanted(r->ep))
		return;
	r->waits = r->hinted = false;
	len = make_offer(r, data, why, sizeof(why));
	if (!len && r->lane) {
		failed(r, true, why);
		return;
	}
	r->number++;
	pause = WF_RENEW_PAUSE_NS << WF_MIN(r->tries, WF_RENEW_DOUBLINGS);
	r->not_before = wf_now_ns() + pause + spread(r, pause / WF_RENEW_PAUSE_SPREAD);
	r->tries++;
	if (!len) {
		failed(r, false, why);
		return;
	}
	r->state = RENEW_ASKED;
	say(r, WF_RENEW_ASK, 0, data, len);
}

/* ---- the passive side's answer ---- */

/*
 * Each answer costs queue pairs, which are dying for a while when the next one comes. A peer of ours never asks twice within the
 * shortest pause; a link that was held up may bring us a few at once.
 */
static bool asks_too_often(struct wf_renew *r)
{
	uint64_t now = wf_now_ns();

	if (r->not_before > now + (WF_RENEW_ASKS - 1) * WF_RENEW_PAUSE_NS)
		return true;
	r->not_before = WF_MAX(now, r->not_before) + WF_RENEW_PAUSE_NS;
	return false;
}

static void answer(struct wf_renew *r, const void *offer, size_t offer_len)
{
	uint8_t data[WF_OFFER_MAX];
	char why[sizeof(r->why)];
	size_t len;

	drop_lane(r);                    /* of an attempt that the peer has given up */
	if (asks_too_often(r)) {
		give_up(r, false, "asked too often for a new connection");
		return;
	}
	len = make_offer(r, data, why, sizeof(why));
	if (len && r->lane->tr->attach(r->lane, false, offer, offer_len)) {
		snprintf(why, sizeof(why), "%s", weft_last_error()->cause);
		give_up(r, false, why);
	} else if (len) {
		r->state = RENEW_MAKING;
		r->waits = false;
		say(r, WF_RENEW_OFFER, 0, data, len);
	} else {
		give_up(r, r->lane, why);
	}
}

void wf_renew_begin(struct weft_ep *ep)
{
	struct wf_renew *r = ep->renew;

	r->waits = false;
	if (r->asked)
		answer(r, r->offer, r->offer_len);
	r->asked = false;
	schedule(r);
}

void wf_renew_step(struct weft_worker *w)
{
	uint32_t changed = w->ports_changed;
	struct wf_list *it, *tmp;

	w->ports_changed = 0;
	wf_list_foreach(it, tmp, &w->eps_list) {
		struct weft_ep *ep = wf_list_entry(it, struct weft_ep, link);
		struct wf_renew *r = ep->renew;

		if (!r || !(changed & 1u << r->tr) || !is_wanted(ep))
			continue;
		r->hinted = true;
		if (ep->active)
			schedule(r);
		else
			say(r, WF_RENEW_HINT, 0, NULL, 0);
	}
}

/* ---- up again ---- */

static void move(struct wf_renew *r)
{
	struct weft_ep *ep = r->ep;
	struct wf_lane *l = r->lane;

	r->lane = NULL;
	r->state = RENEW_IDLE;
	r->since = wf_now_ns();
	r->why[0] = 0;
	drop_timer(r);
	ep->n_renewed++;
	WF_LOG(&ep->w->ctx->log, WF_LOG_INFO, "endpoint %u: messages go over %s again", ep->id, l->tr->name);
	wf_stats_keep_lane(ep->w, ep->boot);
	wf_ep_use(ep, l);
	if (ep->dying)
		return;
	if (!l->down)
		wf_rma_offer_again(ep);
	else if (r->down_status != WEFT_ERESET || !wf_switch_begin(ep, r->down_cause))
		wf_ep_fail(ep, r->down_status, r->down_errno, r->down_cause);
}

static void say_move(struct wf_renew *r)
{
	say(r, WF_RENEW_MOVE, 0, NULL, 0);
}

bool wf_renew_lane_up(struct weft_ep *ep, const struct wf_lane *l)
{
	struct wf_renew *r = ep->renew;

	if (!r || r->lane != l)
		return false;
	if (r->state == RENEW_DUE) {
		say_move(r);
		move(r);
	} else if (ep->active && r->state == RENEW_MAKING && is_wanted(ep)) {
		r->state = RENEW_MOVING;
		ep->blocked = true;
		say_move(r);
	}
	return true;
}

bool wf_renew_lane_down(struct weft_ep *ep, const struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct wf_renew *r = ep->renew;

	if (!r || r->lane != l)
		return false;
	if (r->state == RENEW_MOVING) {  /* the peer may be using it by now: its answer decides */
		r->down_status = status;
		r->down_errno = sys_errno;
		snprintf(r->down_cause, sizeof(r->down_cause), "%s", cause);
		return true;
	}
	give_up(r, false, cause);
	return true;
}

/* ---- what the peer says ---- */

static int in_ask(struct wf_renew *r, uint32_t number, const uint8_t *p, size_t len)
{
	struct weft_ep *ep = r->ep;

	if (ep->active || r->state == RENEW_DUE || len > WF_OFFER_MAX || (!ep->sw && ep->msg != ep->boot))
		return WEFT_EPROTO;
	r->number = number;
	r->given_up = false;
	if (ep->sw) {                    /* ours has not ended yet: wf_renew_begin() */
		r->asked = true;
		r->offer_len = (uint16_t)len;
		memcpy(r->offer, p, len);
		return 0;
	}
	answer(r, p, len);
	return 0;
}

static int in_offer(struct wf_renew *r, const uint8_t *p, size_t len)
{
	char why[sizeof(r->why)];

	if (!r->ep->active)
		return WEFT_EPROTO;
	if (r->state != RENEW_ASKED)
		return 0;                /* we have said NO meanwhile */
	r->state = RENEW_MAKING;
	if (!r->lane->tr->attach(r->lane, true, p, len))
		return 0;
	snprintf(why, sizeof(why), "%s", weft_last_error()->cause);
	give_up(r, false, why);
	return 0;
}

static int in_no(struct wf_renew *r, uint64_t tag, const uint8_t *p, size_t len)
{
	struct weft_ep *ep = r->ep;
	bool was_moving = r->state == RENEW_MOVING;
	char why[sizeof(r->why)];

	if (r->state == RENEW_DUE || (tag == WF_RENEW_LAST && ep->active))
		return WEFT_EPROTO;
	r->given_up = r->given_up || tag == WF_RENEW_LAST;
	if (r->state == RENEW_IDLE)
		return 0;                /* both have said it */
	snprintf(why, sizeof(why), "the peer: %.*s", (int)WF_MIN(len, 120u), (const char *)p);
	failed(r, tag == WF_RENEW_WAITS, why);
	if (was_moving)
		wf_ep_use(ep, ep->boot);
	return 0;
}

static int in_move(struct wf_renew *r)
{
	if (r->ep->active) {
		if (r->state != RENEW_MOVING)
			return WEFT_EPROTO;
		move(r);
	} else if (!r->lane) {
		say_no(r, false, r->why);
	} else if (r->state != RENEW_MAKING) {
		return WEFT_EPROTO;
	} else if (!r->lane->up) {
		r->state = RENEW_DUE;
	} else {
		say_move(r);
		move(r);
	}
	return 0;
}

int wf_renew_heard(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	size_t name = strnlen((const char *)p, WF_MIN(h->len, (uint32_t)WF_NAME_MAX)) + 1;
	struct wf_renew *r = ep->renew;

	if (!ep->may_renew || !r || ep->state != WF_EP_READY || name > h->len || strcmp((const char *)p, tr_of(r)->name))
		return WEFT_EPROTO;
	if (h->aux == WF_RENEW_ASK)
		return in_ask(r, h->id, p + name, h->len - name);
	if (h->aux == WF_RENEW_HINT) {
		r->hinted = true;
		schedule(r);
		return ep->active ? 0 : WEFT_EPROTO;
	}
	if (h->id != r->number)          /* of an attempt that is over: who has said MOVE began no other */
		return h->aux == WF_RENEW_MOVE ? WEFT_EPROTO : 0;
	switch (h->aux) {
	case WF_RENEW_OFFER:
		return in_offer(r, p + name, h->len - name);
	case WF_RENEW_NO:
		return in_no(r, h->tag, p + name, h->len - name);
	case WF_RENEW_MOVE:
		return in_move(r);
	default:
		return WEFT_EPROTO;
	}
}

/* ---- in words ---- */

void wf_renew_words(const struct wf_renew *r, char *out, size_t cap)
{
	const struct weft_ep *ep = r->ep;
	size_t at = (size_t)snprintf(out, cap, "%s", r->cause);

	if (!ep->may_renew || at >= cap)
		return;
	if (r->given_up)
		snprintf(out + at, cap - at, "; given up after %u attempts in a row to connect again, the last: %s", WF_RENEW_TRIES,
			 r->why[0] ? r->why : "it broke soon after");
	else if (r->waits)
		snprintf(out + at, cap - at, "; a new connection waits for a change: %s", r->why);
	else if (!ep->active)
		snprintf(out + at, cap - at, "; the peer tries to connect again%s%s", r->why[0] ? ", the last time: " : "", r->why);
	else if (r->tries)
		snprintf(out + at, cap - at, "; attempt %u to connect again %s%s%s", r->tries, r->state == RENEW_IDLE ? "failed, another follows" :
			 "is under way", r->why[0] ? ", the last: " : "", r->why);
}
