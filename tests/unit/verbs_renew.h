/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_renew.h - what tests share of lanes that break and are made again.
 */
#ifndef WT_VERBS_RENEW_H
#define WT_VERBS_RENEW_H

#include <poll.h>

#include "core/renew.h"
#include "unit/verbs_inside.h"

#define PULLED "the test pulled it"

static inline int renew_teardown(void **state)
{
	unsetenv("WEFT_TEST_IBV_FAULT");
	unsetenv("WEFT_TEST_IBV_DEVICES");
	unsetenv("WEFT_CONNECT_TIMEOUT");
	unsetenv("WEFT_FAILURE_DETECT");
	return wt_teardown(state);
}

static inline void open_both(struct wt_pair *p)
{
	wt_pair_open_with(p, 0, "transports", "verbs,tcp");
	lane_of(p->ep[0]);
}

static inline bool is_over(const struct wt_pair *p, const char *transport)
{
	for (int i = 0; i < 2; i++)
		if (strcmp(p->ep[i]->msg->tr->name, transport) || p->ep[i]->sw)
			return false;
	return true;
}

static inline void comes_to(struct wt_pair *p, const char *transport)
{
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !is_over(p, transport) && wt_now_ns() < limit;)
		wt_pump();
	if (!is_over(p, transport))
		fail_msg("%s is not reached: %s%s", transport, explained(p->ctx, p->ep[0]), explained(p->ctx, p->ep[1]));
}

/* The lane that carries messages, or the one to be; NULL: there is none. */
static inline struct verbs_lane *any_lane(weft_ep *ep)
{
	struct wf_lane *l = ep->msg != ep->boot ? ep->msg : ep->renew ? ep->renew->lane : NULL;

	return l ? verbs_lane_of(l) : NULL;
}

static inline bool break_lane(weft_ep *ep)
{
	struct verbs_lane *l = any_lane(ep);

	if (!l || !l->n_rails || l->state == VERBS_DOWN)
		return false;            /* what has no queue pair yet cannot break */
	verbs_break(l, PULLED);
	return true;
}

/* What it waits for is now. */
static inline void at_once(weft_ep *ep)
{
	struct wf_renew *r = ep->renew;

	if (!r || !wf_heap_is_linked(&r->timer.node))
		return;
	wf_heap_remove(&ep->w->deadlines, &r->timer.node);
	assert_int_equal(wf_heap_push(&ep->w->deadlines, &r->timer.node, 1), 0);
}

/* As if a lane had stood for long: pauses are minutes in the end. */
static inline void forget_pauses(struct wt_pair *p)
{
	for (int i = 0; i < 2; i++) {
		struct wf_renew *r = p->ep[i]->renew;

		if (!r)
			continue;
		r->tries = 0;
		r->not_before = 0;
		wf_port_changed(p->ep[i]->w->port[r->tr]);
	}
}

static inline void says(const struct wt_pair *p, int side, const char *what)
{
	const char *text = explained(p->ctx, p->ep[side]);

	if (!strstr(text, what))
		fail_msg("\"%s\" is not in: %s", what, text);
}

/* Nothing wakes it, but for what an adapter may give back for a while. */
static inline void sleeps(struct wt_w *w)
{
	struct pollfd fd = { .fd = weft_worker_fd(w->w), .events = POLLIN };
	uint64_t until = wt_in_ms(4000);

	while ((weft_arm(w->w) != WEFT_OK || poll(&fd, 1, 200)) && wt_now_ns() < until)
		wt_pump();
	assert_true(wt_now_ns() < until);
}

/* The lane breaks, and turns go by until that side has come so far with another. */
static inline void break_and_go_to(struct wt_pair *p, int side, uint8_t at)
{
	uint64_t limit = wt_in_ms(WT_LIMIT_MS);

	verbs_break(lane_of(p->ep[0]), PULLED);
	while (!(p->ep[side]->renew && p->ep[side]->renew->state == at && p->ep[side]->renew->lane) && wt_now_ns() < limit) {
		weft_progress(p->w[wt_now_ns() & 1]->w);
	}
	assert_int_equal(p->ep[side]->renew->state, at);
}

#endif
