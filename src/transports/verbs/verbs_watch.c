/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_watch.c - adapters that say nothing any more. What the peer's adapter does not answer ends with an error, by the adapter's own
 * clock; that of soft-RoCE stands still when its own port is down (G78), and then nobody would ever know. So now and then, and before
 * sleep, each lane is looked at that has work which does not end. At the second look it is asked for (verbs_ask()): frames
 * that nobody asks about may have been done long ago. When that does not end either, and the port is down, the lane is over. If the
 * port is well, the peer is asked over the bootstrap lane, later than any adapter may take. It answers when it has handled all that its
 * adapter had for it, so its receive buffers are back and what still does not end is lost: the lane is over as well. One that does
 * not answer is stopped, or gone, which is for the bootstrap lane to find out.
 */
#include <stdio.h>

#include "transports/verbs/verbs.h"

/* Looks, half of failure_detect apart, that found nothing new. */
#define WATCH_NOTE 1u
#define WATCH_DOWN 2u                    /* the port is down: over */
#define WATCH_ASK 10u                    /* adapters wait up to four times as long as they are told */
#define WATCH_OVER 13u

static int say(struct verbs_lane *l, uint8_t what)
{
	struct verbs_say s = { .version = VERBS_VERSION, .what = what, .n = 1 };

	return wf_lane_say(&l->base, &s, sizeof(s));
}

/*
 * A put of gigabytes ends piece by piece, and a piece may take long, as may frames before it that ask for no completion of their own.
 * So the first rail gets the looks that its bytes take over the slowest link besides: an eighth of what soft-RoCE does when emulated.
 */
#define SLOWEST_NS_PER_BYTE 250u

static uint32_t looks_until_over(const struct verbs_qp *q)
{
	uint64_t bytes = 0;

	for (uint32_t i = q->done; i != q->posted; i++) {
		const struct verbs_wr *wr = &q->ring[i % VERBS_SQ];
		const struct verbs_piece *pc = wr->ptr;

		if (wr->kind == VERBS_WR_RMA)
			bytes += pc->op->paced ? pc->len : WF_MIN(pc->op->x->len, q->dev->max_msg);
	}
	return (uint32_t)WF_MIN(WATCH_OVER + bytes * SLOWEST_NS_PER_BYTE / (q->dev->port->base.conf->failure_detect_ns / 2), UINT16_MAX);
}

/* The first rail: frames, of which most do not ask for a completion. */
static void look_at_first(struct verbs_lane *l, struct verbs_qp *q)
{
	if (q->silent == WATCH_NOTE) {
		verbs_ask(q);
	} else if (q->down >= WATCH_DOWN) {
		verbs_break(l, "%s: its port is down", q->dev->name);
	} else if (q->silent == WATCH_ASK) {
		l->answered = false;
		if (say(l, VERBS_LIVE_ASK) < 0)
			q->silent--;             /* it cannot be said now: at the next look */
	} else if (q->silent >= WATCH_OVER && l->answered && q->silent >= looks_until_over(q)) {
		verbs_break(l, "%s: the adapter says nothing of what it was given, and the peer lives", q->dev->name);
	}
}

/* Another: reads, which each adapter answers without its process. */
static void look_at_other(struct verbs_lane *l, struct verbs_qp *q)
{
	if (q->silent < WATCH_OVER && q->down < WATCH_DOWN)
		return;
	snprintf(l->base.why, sizeof(l->base.why), "%s is left out: %s", q->dev->name, q->down < WATCH_DOWN ? "the adapter says nothing any more" :
		 "its port is down");
	verbs_qp_break(q);
}

static void look_at(struct verbs_lane *l)
{
	/* a frame behind it that was credited has come; before numbers have gone round */
	if (l->state == VERBS_UP && l->base.tx_seq - l->lost_at > VERBS_CREDITS)
		l->lost = false;
	if (l->asked)
		verbs_lane_port(l)->asked = VERBS_ANSWER;
	for (unsigned i = 0; i < l->n_rails && l->state == VERBS_UP; i++) {
		struct verbs_qp *q = l->rail[i];
		bool stands = q->posted != q->done && q->done == q->seen_done && !q->broken;

		q->silent = stands ? (uint16_t)WF_MIN(q->silent + 1u, UINT16_MAX) : 0;
		q->down = stands && !q->dev->up ? (uint8_t)WF_MIN(q->down + 1u, WATCH_DOWN) : 0;
		q->seen_done = q->done;
		if (stands && !i)
			look_at_first(l, q);
		else if (stands)
			look_at_other(l, q);
	}
}

static void answer_soon(struct verbs_lane *l)
{
	l->asked = l->state == VERBS_UP;         /* else it is over, and the peer hears so */
	if (l->asked)
		verbs_lane_port(l)->asked = VERBS_ANSWER;
}

bool verbs_watch_hear(struct verbs_lane *l, const struct verbs_say *s)
{
	if (s->what == VERBS_LIVE_ASK)
		answer_soon(l);
	else if (s->what != VERBS_LIVE)
		return false;
	else if (l->n_rails) {
		l->answered = true;              /* and it gets the time from here to WATCH_OVER to give its buffers back */
		l->rail[0]->silent = (uint16_t)WF_MIN(l->rail[0]->silent, WATCH_ASK);
	}
	return true;
}

void verbs_watch_answer(struct verbs_port *p)
{
	struct wf_list *it;

	p->asked = 0;
	for (it = p->base.lanes.next; it != &p->base.lanes; it = it->next) {
		struct verbs_lane *l = verbs_lane_of(wf_list_entry(it, struct wf_lane, link));

		l->asked = l->asked && say(l, VERBS_LIVE) < 0;   /* it cannot be said now: at the next look */
	}
}

void verbs_watch(struct verbs_port *p, uint64_t now)
{
	struct wf_list *it, *tmp;

	if (now < p->watch_at)
		return;
	p->watch_at = now + p->base.conf->failure_detect_ns / 2;
	wf_list_foreach(it, tmp, &p->base.lanes)
		look_at(verbs_lane_of(wf_list_entry(it, struct wf_lane, link)));
}
