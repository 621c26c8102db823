/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs.c - the port: its table of rows, one turn of it, sleeping and waking, and how a lane's end comes about. See verbs.h for the
 * whole.
 */
#include "transports/verbs/verbs.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/file.h"

#define BREAK_NS (50 * WF_NS_PER_MS)     /* for an adapter to say that a broken queue pair holds no receive buffer; it takes microseconds */
#define GIVEN_UP "given up on this side, or on the peer's"
#define BREAK_LOOK_NS WF_NS_PER_MS
#define EVENTS_LOOK_NS (50 * WF_NS_PER_US)   /* as often as core looks at descriptors */

/* ---- lanes come and go ---- */

void verbs_wake_at(struct verbs_port *p, uint64_t at_ns)
{
	p->chores = true;
	if (p->wake_at && p->wake_at <= at_ns)
		return;
	p->wake_at = at_ns;
	wf_port_wake_at(&p->base, at_ns);
}

static void notify(struct verbs_lane *l)
{
	struct verbs_port *p = verbs_lane_port(l);

	if (!wf_list_is_linked(&l->notice))
		wf_list_push_back(&p->notices, &l->notice);
	p->chores = true;
}

static void say_cause(struct verbs_lane *l, const char *cause_fmt, va_list args)
{
	if (l->state != VERBS_BREAKING)
		vsnprintf(l->cause, sizeof(l->cause), cause_fmt, args);
	wf_list_remove(&l->timed);
	wf_list_remove(&l->starved);
	wf_list_remove(&l->owing);
	for (unsigned i = 0; i < l->n_rails; i++)
		verbs_qp_break(l->rail[i]);   /* all that is under way comes back flushed */
}

/* One of an endpoint that ends is closed before it comes here: that says nothing of the rail. */
static void is_down(struct verbs_lane *l)
{
	l->state = VERBS_DOWN;
	if (l->n_rails)
		l->rail[0]->dev->broke_at = wf_now_ns();
	verbs_copies_stopped(l);
	notify(l);
}

/* Its cause is said. */
static void go_down(struct verbs_lane *l, int32_t status, int sys_errno)
{
	l->down_status = status;
	l->down_errno = sys_errno;
	is_down(l);
	if (l->n_rails) {                /* an adapter that gives nothing back must not keep the endpoint for ever */
		l->give_up_at = wf_now_ns() + (l->rail[0]->dev->iwarp ? BREAK_NS : VERBS_GIVE_UP_NS);
		wf_list_push_back(&verbs_lane_port(l)->timed, &l->timed);
		verbs_wake_at(verbs_lane_port(l), l->give_up_at);
	}
}

void verbs_break(struct verbs_lane *l, const char *cause_fmt, ...)
{
	struct verbs_port *p = verbs_lane_port(l);
	va_list args;

	if (l->state >= VERBS_BREAKING)
		return;
	va_start(args, cause_fmt);
	say_cause(l, cause_fmt, args);
	va_end(args);
	if (l->state != VERBS_UP) {
		go_down(l, WEFT_ERESET, 0);
		return;
	}
	l->state = VERBS_BREAKING;
	l->looked = false;
	l->down_status = WEFT_ERESET;
	l->give_up_at = wf_now_ns() + BREAK_NS;
	wf_list_push_back(&p->timed, &l->timed);
	verbs_wake_at(p, wf_now_ns());
}

void verbs_fail(struct verbs_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...)
{
	va_list args;

	if (l->state == VERBS_DOWN)
		return;
	va_start(args, cause_fmt);
	say_cause(l, cause_fmt, args);
	va_end(args);
	go_down(l, status, sys_errno);
}

/* Has the adapter given everything back? */
static bool is_back(const struct verbs_lane *l)
{
	for (unsigned i = 0; i < l->n_rails; i++)
		if (l->rail[i]->done != l->rail[i]->posted || !l->rail[i]->emptied)
			return false;
	return true;
}

static void look_whether_drained(struct verbs_lane *l, uint64_t now)
{
	struct verbs_port *p = verbs_lane_port(l);

	for (unsigned i = 0; i < l->n_rails; i++) {
		struct verbs_qp *q = l->rail[i];

		q->emptied = q->emptied || (q->done == q->posted && now >= l->give_up_at);   /* not every adapter says so */
		/* soft-iWARP forgets what is posted to a broken queue pair; what it has it gives back at once (G82) */
		if (now >= l->give_up_at + (q->dev->iwarp ? 0 : VERBS_GIVE_UP_NS))
			verbs_qp_give_up(q);
	}
	/* what came last may have been put into the queue between our look at it and the adapter's word that nothing more comes */
	if (!is_back(l) || !l->looked) {
		l->looked = is_back(l);
		verbs_wake_at(p, now + BREAK_LOOK_NS);
		return;
	}
	if (!wf_list_is_empty(&l->held))
		return;                  /* core takes them when it can, and then hand_on() comes back here */
	wf_list_remove(&l->timed);
	is_down(l);
}

void verbs_set_up(struct verbs_lane *l)
{
	l->state = VERBS_UP;
	l->down_status = 0;
	wf_list_remove(&l->timed);
	notify(l);
}

void verbs_tell_up(struct verbs_lane *l)
{
	wf_list_remove(&l->notice);
	wf_lane_up(&l->base);
}

static int tell_notices(struct verbs_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->notices))) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, notice);

		n++;
		if (l->state == VERBS_DOWN)
			wf_lane_down(&l->base, l->down_status, l->down_errno, l->cause);
		else
			wf_lane_up(&l->base);
	}
	return n;
}

/* ---- chores ---- */

/* Of a lane that is down, and of which something may still wait for its queue pairs. */
static void give_up_rails(struct verbs_lane *l, uint64_t now)
{
	if (now < l->give_up_at) {
		verbs_wake_at(verbs_lane_port(l), l->give_up_at);
		return;
	}
	wf_list_remove(&l->timed);
	for (unsigned i = 0; i < l->n_rails; i++)
		verbs_qp_give_up(l->rail[i]);
}

/* Rails that were left out and do not give back what they were reading or writing, or reading back. */
static void give_up_left_out(struct verbs_port *p, uint64_t now)
{
	struct wf_list *it;

	for (it = p->base.lanes.next; it != &p->base.lanes; it = it->next) {
		struct verbs_lane *l = wf_container_of(wf_list_entry(it, struct wf_lane, link), struct verbs_lane, base);

		for (unsigned i = 1; l->state == VERBS_UP && i < l->n_rails; i++) {
			struct verbs_qp *q = l->rail[i];

			if (!q->broken || q->done == q->posted)
				continue;
			if (now >= q->until)
				verbs_qp_give_up(q);
			else
				verbs_wake_at(p, q->until);
		}
	}
}

static void is_late(struct verbs_lane *l)
{
	if (l->state == VERBS_PROVING)
		verbs_proved(l, true);
	if (l->state != VERBS_UP)
		verbs_fail(l, WEFT_ETIMEDOUT, 0, "%s", verbs_cm_late(l));
}

/* Buffers that were refused are looked for again: who wants one may be asleep. */
static void wake_for_buffers(struct verbs_port *p, const struct verbs_dev *d, uint64_t now)
{
	for (int i = 0; i < 2; i++)
		if (d->refused_until[i] > now)
			verbs_wake_at(p, d->refused_until[i]);
}

/* What broken queue pairs wait for. A system call for each adapter, and anything may be timed for seconds: not in each turn. */
static void look_for_events(struct verbs_port *p, uint64_t now)
{
	if (now < p->events_at)
		return;
	p->events_at = now + EVENTS_LOOK_NS;
	for (unsigned i = 0; i < p->n_dev; i++)
		if (p->dev[i]->started)
			verbs_dev_events(p->dev[i]);
}

static void keep_time(struct verbs_port *p)
{
	uint64_t now = wf_now_ns();
	struct wf_list *it, *tmp;

	p->wake_at = 0;
	look_for_events(p, now);
	wf_list_foreach(it, tmp, &p->timed) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, timed);

		if (l->state == VERBS_BREAKING)
			look_whether_drained(l, now);
		else if (l->state == VERBS_DOWN)
			give_up_rails(l, now);
		else if (l->leaving && (now >= l->give_up_at || l->rail[0]->done == l->rail[0]->posted))
			verbs_break(l, GIVEN_UP);
		else if (now < l->give_up_at)
			verbs_wake_at(p, l->give_up_at);
		else
			is_late(l);
	}
	for (unsigned i = 0; i < p->n_dev; i++) {
		wake_for_buffers(p, p->dev[i], now);
		if (p->dev[i]->started)
			verbs_dying_step(p->dev[i], now);
	}
	give_up_left_out(p, now);
	if (!p->wake_at)
		wf_port_wake_at(&p->base, 0);
}

static int tell_room(struct verbs_port *p)
{
	struct wf_list waiting, *it;
	int n = 0;

	wf_list_init(&waiting);
	wf_list_splice_back(&waiting, &p->starved);
	while ((it = wf_list_pop_front(&waiting))) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, starved);

		if (l->state == VERBS_UP && verbs_has_room(l)) {
			n++;
			wf_lane_room(&l->base);
		} else if (l->state != VERBS_DOWN) {
			wf_list_push_back(&p->starved, it);
		}
	}
	return n;
}

static void pay(struct verbs_port *p)
{
	struct wf_list owing, *it;

	wf_list_init(&owing);
	wf_list_splice_back(&owing, &p->owing);
	while ((it = wf_list_pop_front(&owing))) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, owing);

		/* a frame may have taken the credits along meanwhile */
		if (!verbs_copy_say(l) || !verbs_rail_say(l) || (l->owed >= l->granted / 2 && !verbs_note(l, VERBS_CREDIT, 0)))
			wf_list_push_back(&p->owing, it);
	}
}

static int hand_on(struct verbs_port *p)
{
	struct wf_list resumed, *it;
	int n = 0;

	wf_list_init(&resumed);
	wf_list_splice_back(&resumed, &p->resumed);
	while ((it = wf_list_pop_front(&resumed))) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, resumed);

		n += verbs_hand_on(l);
		if (l->state == VERBS_BREAKING && wf_list_is_empty(&l->held))
			verbs_wake_at(p, wf_now_ns());
	}
	return n;
}

static __attribute__((noinline)) int chores(struct verbs_port *p)
{
	int n = tell_notices(p);

	if (p->wake_at)
		keep_time(p);
	n += hand_on(p);
	pay(p);
	if (!wf_list_is_empty(&p->starved))
		n += tell_room(p);
	n += verbs_copies_step(p) + verbs_longs_step(p);
	n += tell_notices(p);            /* before the ends of what broke with a lane: core asks no more then */
	n += verbs_copies_tell(p);
	n += verbs_rmas_tell(p);
	p->chores = p->wake_at || !wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->starved) || !wf_list_is_empty(&p->owing) ||
		    !wf_list_is_empty(&p->resumed) || !wf_list_is_empty(&p->copies) || !wf_list_is_empty(&p->longs) ||
		    !wf_list_is_empty(&p->finished) || !wf_list_is_empty(&p->ended);
	return n;
}

static int verbs_poll(struct wf_port *base)
{
	struct verbs_port *p = verbs_port_of(base);
	int n = 0;

	if (wf_unlikely(!wf_list_is_empty(&p->notices)))
		n = tell_notices(p);     /* that a lane is up, before its first frame */
	for (unsigned i = 0; i < p->n_dev; i++)
		if (p->dev[i]->started)
			n += verbs_rx(p->dev[i]);
	if (wf_unlikely(!(++p->turns & 1023))) {   /* who never sleeps */
		verbs_watch(p, wf_now_ns());
		verbs_devs_look_again(p);
	}
	if (wf_unlikely(p->asked) && (!n || !--p->asked))   /* others may keep the queues full for ever */
		verbs_watch_answer(p);
	if (wf_unlikely(p->chores))
		n += chores(p);
	return n;
}

/* ---- sleep ---- */

/* An event is asked for, then the queue is looked at once more: whatever completes later makes the channel readable. */
static bool arm_dev(struct verbs_dev *d)
{
	struct wf_list *it;

	for (it = d->cqs.next; it != &d->cqs; it = it->next) {
		struct verbs_cq *c = wf_list_entry(it, struct verbs_cq, link);

		if (!c->armed && !d->gone)
			c->armed = !ibv_req_notify_cq(c->cq, 0);
	}
	return !verbs_rx_fetch(d);
}

/* What is to be done without an event: told, or posted now that there is room. */
static bool something_waits(struct verbs_port *p)
{
	struct wf_list *it;

	if (!wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->resumed) || !wf_list_is_empty(&p->finished) || !wf_list_is_empty(&p->ended))
		return true;
	for (it = p->owing.next; it != &p->owing; it = it->next)
		if (verbs_may_note(wf_list_entry(it, struct verbs_lane, owing)))
			return true;
	for (it = p->starved.next; it != &p->starved; it = it->next)
		if (verbs_has_room(wf_list_entry(it, struct verbs_lane, starved)))
			return true;
	return false;
}

static int verbs_arm(struct wf_port *base)
{
	struct verbs_port *p = verbs_port_of(base);
	uint64_t look = 0;

	if (verbs_devs_look_again(p))
		return WEFT_AGAIN;       /* core may have been told that one is back */
	if (!wf_list_is_empty(&base->lanes)) {
		verbs_watch(p, wf_now_ns());
		look = p->watch_at;
	}
	wf_port_wake_at(base, wf_earlier(wf_earlier(p->wake_at, look), p->look_at));
	if (p->asked || (p->chores && something_waits(p)))
		return WEFT_AGAIN;
	for (unsigned i = 0; i < p->n_dev; i++)
		if (p->dev[i]->started && !arm_dev(p->dev[i]))
			return WEFT_AGAIN;
	return WEFT_OK;
}

/* ---- open and close ---- */

/* Nothing is loaded here: a program that never meets a peer with an adapter shall not pay for it. */
static int verbs_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	if (wf_conf_list_has(conf->transports, "verbs") || wf_dir_has_entries("/sys/class/infiniband"))
		return 0;
	snprintf(why, why_cap, "this machine has no RDMA device");
	snprintf(remedy, remedy_cap, "an adapter and its kernel modules; in a container also /dev/infiniband");
	return WEFT_ENOTSUP;
}

static int verbs_open(struct wf_port *base)
{
	struct verbs_port *p = verbs_port_of(base);
	struct wf_list *lists[] = { &p->notices, &p->timed, &p->starved, &p->resumed, &p->owing, &p->copies, &p->longs, &p->finished, &p->ended };

	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	wf_pool_init(&p->xfers, verbs_xfer_size(), 0);
	wf_pool_init(&p->reads, verbs_read_size(), 0);
	wf_pool_init(&p->ops, sizeof(struct verbs_op), 0);
	wf_pool_init(&p->pieces, sizeof(struct verbs_piece), 0);
	return 0;
}

static void verbs_close(struct wf_port *base)
{
	struct verbs_port *p = verbs_port_of(base);

	verbs_devs_close(p);
	verbs_cm_close(p);
	wf_port_wake_at(base, 0);
	wf_pool_fini(&p->xfers);
	wf_pool_fini(&p->reads);
	wf_pool_fini(&p->ops);
	wf_pool_fini(&p->pieces);
}

/* Broken queue pairs reach nobody's memory, and what is posted comes back flushed. */
static void verbs_abandon(struct wf_lane *base)
{
	struct verbs_lane *l = verbs_lane_of(base);

	/* what was sent last, the answer to a CLOSE, gets a moment to leave: a broken queue pair would flush it */
	if (l->state == VERBS_UP && !l->leaving && l->rail[0]->done != l->rail[0]->posted) {
		l->leaving = true;
		l->give_up_at = wf_now_ns() + VERBS_LEAVE_NS;
		wf_list_push_back(&verbs_lane_port(l)->timed, &l->timed);
		verbs_ask(l->rail[0]);
		verbs_wake_at(verbs_lane_port(l), l->give_up_at);
	} else if (!l->leaving) {
		verbs_break(l, GIVEN_UP);
	}
}

static void verbs_lane_close(struct wf_lane *base)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct wf_list *links[] = { &l->starved, &l->notice, &l->timed, &l->resumed, &l->owing };
	struct wf_list *it;

	if (l->state == VERBS_NEW)
		return;
	for (size_t i = 0; i < WF_ARRAY_LEN(links); i++)
		wf_list_remove(links[i]);
	while ((it = wf_list_pop_front(&l->held)))
		wf_free(wf_list_entry(it, struct verbs_held, link));
	verbs_copies_drop(l);
	verbs_grants_drop(l);
	verbs_unsent_drop(l);
	verbs_rails_drop(l);
	l->state = VERBS_NEW;
}

static void verbs_resume(struct wf_lane *base)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_port *p = verbs_lane_port(l);

	if (wf_list_is_empty(&l->held) || wf_list_is_linked(&l->resumed))
		return;
	wf_list_push_back(&p->resumed, &l->resumed);
	p->chores = true;
}

/* What was asked for, or is not usual. */
static size_t say_class(const struct verbs_dev *d, char *out, size_t cap)
{
	const struct wf_conf_rdma *want = &d->port->want;
	char pkey[24] = "", sl[16] = "", tc[32] = "";

	if (d->pkey != VERBS_PKEY_DEFAULT)
		snprintf(pkey, sizeof(pkey), ", P_Key 0x%04x", d->pkey);
	if (want->sl >= 0)
		snprintf(sl, sizeof(sl), ", SL %d", want->sl);
	if (want->tc >= 0 && (d->link != IBV_LINK_LAYER_INFINIBAND || d->needs_grh))
		snprintf(tc, sizeof(tc), ", traffic class %d", want->tc);
	return (size_t)snprintf(out, cap, "%s%s%s)", pkey, sl, tc);
}

/* What of the adapter is not as people expect it. */
static size_t say_adapter(const struct verbs_dev *d, char *out, size_t cap)
{
	size_t at = 0;

	out[0] = 0;
	if (d->on_demand)
		at += (size_t)snprintf(out, cap, ", memory on demand as the limit on locked memory is reached: ulimit -l unlimited");
	if (at < cap && !d->srq)
		at += (size_t)snprintf(out + at, cap - at, ", no shared receive queues: receive buffers of its own");
	if (at < cap && d->gids_left)
		at += (size_t)snprintf(out + at, cap - at, ", %u address%s of its port %s left out", d->gids_left, d->gids_left > 1 ? "es" : "",
				       d->gids_left > 1 ? "are" : "is");
	return at;
}

static void verbs_describe(const struct wf_lane *base, char *out, size_t cap)
{
	const struct verbs_lane *l = (const struct verbs_lane *)base;
	size_t at = 0;

	for (unsigned i = 0; i < l->n_rails && at < cap; i++) {
		const struct verbs_qp *q = l->rail[i];
		char gid[WF_ADDR_TEXT], lid[24] = "";

		verbs_gid_text(q->self.gid, gid, sizeof(gid));
		if (q->dev->link == IBV_LINK_LAYER_INFINIBAND)
			snprintf(lid, sizeof(lid), "LID %u, ", q->self.lid);
		if (q->cm)
			at += (size_t)snprintf(out + at, cap - at, "%s from %s (%sby rdma_cm", q->dev->name, gid, q->dev->iwarp ? "iWARP, " : "");
		else
			at += (size_t)snprintf(out + at, cap - at, "%s%s from %s (%sGID %u, MTU %u", i ? " and " : "", q->dev->name, gid, lid,
					       q->gid_index, 128u << WF_MIN(q->dev->mtu, q->peer.mtu));
		if (at < cap)
			at += say_class(q->dev, out + at, cap - at);
		if (at < cap)
			at += say_adapter(q->dev, out + at, cap - at);
	}
	if (at < cap && l->base.why[0])
		snprintf(out + at, cap - at, "; %s", l->base.why);
}

const struct wf_transport wf_verbs = {
	.name = "verbs",
	.caps = WF_CAP_ATTACH | WF_CAP_RDMA | WF_CAP_LATE,
	.eager_max = VERBS_FRAME_MAX,
	.port_size = sizeof(struct verbs_port),
	.lane_size = sizeof(struct verbs_lane),
	.probe = verbs_probe,
	.open = verbs_open,
	.close = verbs_close,
	.offer = verbs_offer,
	.attach = verbs_attach,
	.hear = verbs_hear,
	.abandon = verbs_abandon,
	.replay = verbs_replay,
	.lane_close = verbs_lane_close,
	.send = verbs_send,
	.send_short = verbs_send_short,
	.resume = verbs_resume,
	.copy_offer = verbs_copy_offer,
	.copy_start = verbs_copy_start,
	.copy_stop = verbs_copy_stop,
	.copy_end = verbs_copy_end,
	.mem_offer = verbs_mem_offer,
	.mem_retract = verbs_mem_retract,
	.mem_open = verbs_mem_open,
	.mem_close = verbs_mem_close,
	.rma = verbs_rma,
	.rma_start = verbs_rma_start,
	.poll = verbs_poll,
	.arm = verbs_arm,
	.describe = verbs_describe,
	.region_gone = verbs_region_gone,
};
