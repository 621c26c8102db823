/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fabric_lane.c - how a lane is made and ends, and what its two sides say beside frames.
 *
 * Both offers tell a key, and by which name the fabric knows that side; a name that is too long for an offer is said
 * over the bootstrap lane when the lanes are attached. The one that connected says HELLO over the fabric, the other one is up
 * when it comes and answers HEARD, with which the first one is up. So a fabric that does not lead from one to the other is
 * found out before it is chosen.
 *
 * An error that the engine reports does not end a lane at once: what the peer sent before may be here already, behind it in
 * the queue (the last words of an orderly end, mostly).
 */
#include "transports/fabric/fabric.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"

/* ---- states ---- */

static void notify(struct fab_lane *l)
{
	struct fab_port *p = fab_lane_port(l);

	if (!wf_list_is_linked(&l->notice))
		wf_list_push_back(&p->notices, &l->notice);
	p->chores = true;
}

static void set_deadline(struct fab_lane *l, uint64_t at)
{
	struct fab_port *p = fab_lane_port(l);

	l->deadline = at;
	if (!wf_list_is_linked(&l->timed))
		wf_list_push_back(&p->timed, &l->timed);
	p->chores = true;
}

static void write_cause(struct fab_lane *l, int32_t status, int sys_errno, const char *fmt, va_list args)
{
	if (l->cause[0])
		return;
	vsnprintf(l->cause, sizeof(l->cause), fmt, args);
	l->down_status = status;
	l->down_errno = sys_errno;
}

static void go_down(struct fab_lane *l)
{
	l->state = FAB_DOWN;
	wf_list_remove(&l->timed);
	wf_list_remove(&l->starved);
	wf_list_remove(&l->again);
	notify(l);
}

void fab_fail(struct fab_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...)
{
	va_list args;

	if (l->state == FAB_DOWN || l->state == FAB_NEW)
		return;
	va_start(args, cause_fmt);
	write_cause(l, status, sys_errno, cause_fmt, args);
	va_end(args);
	go_down(l);
}

static void note_cause(struct fab_lane *l, int32_t status, const char *fmt, ...) WF_PRINTF(3, 4);

static void note_cause(struct fab_lane *l, int32_t status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_cause(l, status, 0, fmt, args);
	va_end(args);
}

void fab_broke(struct fab_lane *l, int err, const char *what)
{
	struct fab_port *p = fab_lane_port(l);

	if (l->state >= FAB_DYING || l->state <= FAB_OFFERED)
		return;
	note_cause(l, l->state == FAB_UP ? WEFT_ERESET : WEFT_EUNREACHABLE, "%s to the peer over %s: %s", what,
		   p->over, p->words[0] ? p->words : p->eng->words(p, err));
	if (l->state != FAB_UP) {
		go_down(l);
		return;
	}
	l->state = FAB_DYING;
	set_deadline(l, wf_now_ns() + FAB_LEFT_NS);
}

static void set_up(struct fab_lane *l)
{
	l->state = FAB_UP;
	wf_list_remove(&l->timed);
	notify(l);
}

/* ---- making ---- */

/* A window for each lane, and something beside: then no message waits for a buffer. */
static void count_lanes(struct fab_port *p, int more)
{
	size_t want;

	p->n_lanes += (uint32_t)more;
	want = FAB_RX_SPARE + (size_t)FAB_WINDOW * WF_MAX(p->n_lanes, 1u);
	if (!p->open)
		return;
	p->rx_want = (uint32_t)WF_MIN(want, p->rx_limit);
	if (p->eng->fill)
		p->eng->fill(p);
}

static int lane_init(struct fab_lane *l)
{
	struct fab_port *p = fab_lane_port(l);
	struct wf_list *lists[] = { &l->held, &l->starved, &l->due, &l->again, &l->notice, &l->timed, &l->lent };
	int ret;

	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	ret = wf_random(&l->key, sizeof(l->key));
	if (ret)
		return ret;
	if (wf_map_insert(&p->by_key, l->key, l))
		return -ENOMEM;
	l->state = FAB_OFFERED;
	count_lanes(p, 1);
	return 0;
}

size_t fab_offer(struct wf_lane *base, void *out, size_t cap)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	struct fab_offer o = { .version = FAB_VERSION, .window = FAB_WINDOW, .buf = FAB_BUF };
	int ret;

	if (cap < sizeof(o) + FAB_NAME_SHORT || p->eng->open(p, base->why, sizeof(base->why)))
		return 0;
	ret = lane_init(l);
	if (ret) {
		snprintf(base->why, sizeof(base->why), "a key: %s", strerror(-ret));
		return 0;
	}
	if (p->name_len <= FAB_NAME_SHORT)
		o.name_len = (uint8_t)p->name_len;
	o.reads = p->reads;
	o.key = l->key;
	snprintf(o.kind, sizeof(o.kind), "%s", p->kind);
	memcpy(out, &o, sizeof(o));
	memcpy((uint8_t *)out + sizeof(o), p->name, o.name_len);
	return sizeof(o) + o.name_len;
}

static void set_sizes(struct fab_lane *l, const struct fab_offer *o)
{
	struct fab_port *p = fab_lane_port(l);
	size_t buf = WF_MIN(WF_MIN(o->buf, FAB_BUF), p->msg_max);

	l->peer_key = o->key;
	l->window = WF_MIN(o->window, FAB_WINDOW);
	l->base.frame_max = (uint32_t)(buf - FAB_HEAD);
	l->base.eager_max = WF_MIN(FAB_EAGER, l->base.frame_max);
	l->base.can_copy = p->reads && o->reads;
}

/* The peer's name is known: the fabric can be tried. */
static int join(struct fab_lane *l, const uint8_t *name, size_t len)
{
	int ret = fab_lane_port(l)->eng->join(l, name, len);

	if (ret)
		return ret;
	l->state = l->active ? FAB_ASKING : FAB_WAITING;
	if (l->active) {
		fab_due(l, FAB_DUE_HELLO);
	} else if (l->greeted) {
		set_up(l);
		fab_due(l, FAB_DUE_HEARD);
	}
	return 0;
}

static bool name_is_whole(const struct fab_lane *l)
{
	return l->name_all && l->name_has == l->name_all;
}

static void name_free(struct fab_lane *l)
{
	wf_free(l->name);
	l->name = NULL;
}

/* Tells our name to the peer, whose offer had no room for it. */
static int say_name(struct fab_lane *l)
{
	struct fab_port *p = fab_lane_port(l);
	uint8_t out[WF_SAY_MAX];
	struct fab_name part = { .all = (uint16_t)p->name_len };
	size_t n = 0;
	int ret = 0;

	for (size_t at = 0; at < p->name_len && !ret; at += n) {
		n = WF_MIN(p->name_len - at, sizeof(out) - sizeof(part));
		part.from = (uint16_t)at;
		memcpy(out, &part, sizeof(part));
		memcpy(out + sizeof(part), p->name + at, n);
		ret = wf_lane_say(&l->base, out, sizeof(part) + n);
	}
	return ret ? wf_fail(WEFT_EUNREACHABLE, 0, p->eng->name, NULL, "its address cannot be told to the peer") : 0;
}

static int keep_part(struct fab_lane *l, const uint8_t *bytes, size_t len)
{
	struct fab_name part;

	if (len <= sizeof(part))
		return WEFT_EPROTO;
	memcpy(&part, bytes, sizeof(part));
	len -= sizeof(part);
	if (!l->name_all && part.all && part.all <= FAB_NAME_MAX) {
		l->name = wf_calloc(1, part.all);
		if (!l->name)
			return WEFT_ENOMEM;
		l->name_all = part.all;
	}
	if (part.all != l->name_all || part.from != l->name_has || len > l->name_all - l->name_has)
		return WEFT_EPROTO;
	memcpy(l->name + l->name_has, bytes + sizeof(part), len);
	l->name_has += (uint32_t)len;
	return 0;
}

void fab_hear(struct wf_lane *base, const void *bytes, size_t len)
{
	struct fab_lane *l = fab_lane_of(base);
	int ret;

	if (l->state != FAB_OFFERED && l->state != FAB_NAMELESS)
		return;
	ret = keep_part(l, bytes, len);
	if (ret) {
		fab_fail(l, ret, 0, "the peer did not tell its address");
		return;
	}
	if (l->state != FAB_NAMELESS || !name_is_whole(l))
		return;
	ret = join(l, l->name, l->name_all);
	if (ret)
		fab_fail(l, ret, 0, "%s", weft_last_error()->cause);
}

static int check_offer(const struct fab_port *p, const void *offer, size_t len, struct fab_offer *out)
{
	if (len < sizeof(*out) || ((const uint8_t *)offer)[0] != FAB_VERSION)
		return wf_fail(WEFT_EVERSION, 0, p->eng->name, NULL, "the peer speaks another version of %s", p->eng->name);
	memcpy(out, offer, sizeof(*out));
	if (out->name_len > len - sizeof(*out) || out->name_len > FAB_NAME_SHORT || !out->window || out->buf < FAB_HEAD + WF_CTL_MAX ||
	    !memchr(out->kind, 0, sizeof(out->kind)))
		return wf_fail(WEFT_EPROTO, 0, p->eng->name, NULL, "the peer's offer of %s is malformed", p->eng->name);
	if (strncmp(out->kind, p->kind, sizeof(out->kind) - 1))
		return wf_fail(WEFT_ENOTSUP, 0, p->eng->name, p->eng->kind_remedy, "%s is %s here and %s at the peer", p->eng->kind_is,
			       p->kind, out->kind);
	return 0;
}

int fab_attach(struct wf_lane *base, bool active, const void *offer, size_t len)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	struct fab_offer o;
	int ret = check_offer(p, offer, len, &o);

	if (ret)
		return ret;
	set_sizes(l, &o);
	l->active = active;
	if (p->name_len > FAB_NAME_SHORT)
		ret = say_name(l);
	if (!ret && o.name_len)
		ret = join(l, (const uint8_t *)offer + sizeof(o), o.name_len);
	else if (!ret && name_is_whole(l))
		ret = join(l, l->name, l->name_all);
	else
		l->state = FAB_NAMELESS;
	if (!ret && active)
		set_deadline(l, wf_now_ns() + base->port->conf->connect_timeout_ns / 2);
	return ret;
}

/* From here on nobody is waited for longer than FAB_LEFT_NS, where that can be. It has no replay(), so this is its end. */
void fab_abandon(struct wf_lane *base)
{
	fab_lane_of(base)->ending = true;
	fab_lane_port(fab_lane_of(base))->chores = true;
}

void fab_lane_close(struct wf_lane *base)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	struct wf_list *it, *tmp;

	if (l->state == FAB_NEW)
		return;                  /* nothing was offered */
	wf_list_remove(&l->starved);
	wf_list_remove(&l->due);
	wf_list_remove(&l->again);
	wf_list_remove(&l->notice);
	wf_list_remove(&l->timed);
	fab_held_drop(l);
	wf_list_foreach(it, tmp, &p->tx_sent) {
		struct fab_buf *b = wf_list_entry(it, struct fab_buf, link);

		if (b->lane == l)
			b->lane = NULL;
	}
	wf_map_remove(&p->by_key, l->key);
	if (l->peer)
		p->eng->part(l);
	l->peer = NULL;
	fab_lane_lent_free(l);
	name_free(l);
	l->state = FAB_NEW;
	count_lanes(p, -1);
}

/* ---- what is said beside frames ---- */

void fab_due(struct fab_lane *l, uint32_t want)
{
	struct fab_port *p = fab_lane_port(l);

	l->want |= (uint8_t)want;
	if (!wf_list_is_linked(&l->due))
		wf_list_push_back(&p->due, &l->due);
	p->chores = true;
}

void fab_heard(struct fab_lane *l, const struct fab_prefix *h)
{
	bool up = l->state == FAB_UP || l->state == FAB_DYING;

	if (h->slot >= FAB_COPIES)
		return;
	switch (h->kind) {
	case FAB_HELLO:
		l->greeted = !l->active;
		if (l->state != FAB_WAITING)
			return;
		set_up(l);
		fab_due(l, FAB_DUE_HEARD);
		return;
	case FAB_HEARD:
		if (l->state == FAB_ASKING)
			set_up(l);
		return;
	case FAB_STOP:
		if (up)
			fab_stop_heard(l, h->slot, h->gen);
		return;
	case FAB_STOPPED: case FAB_STOPPED_DONE:
		if (up)
			fab_stopped_heard(l, h->slot, h->gen, h->kind == FAB_STOPPED_DONE);
		return;
	default:
		return;
	}
}

/* Says it, and takes it off *@word, one bit of it. False: not now. */
static bool say_bit(struct fab_lane *l, uint16_t kind, uint32_t bit, uint8_t *word)
{
	int ret = *word & bit ? fab_say(l, kind, 0, 0) : WEFT_OK;

	if (ret == WEFT_AGAIN) {
		fab_lane_port(l)->stuck = true;
		return false;
	}
	*word &= (uint8_t)~bit;
	return true;
}

static bool say_slots(struct fab_lane *l)
{
	uint32_t all = l->stop_due | l->answer_due;

	for (uint16_t s = 0; s < FAB_COPIES; s++) {
		uint32_t bit = 1u << s;
		int ret = WEFT_OK;

		if (!(all & bit))
			continue;
		if (l->stop_due & bit)
			ret = fab_say(l, FAB_STOP, s, l->gen[s]);
		if (ret != WEFT_AGAIN && l->stop_due & bit) {
			l->stop_due &= ~bit;
			l->stop_sent |= bit;
		}
		if (ret != WEFT_AGAIN && l->answer_due & bit)
			ret = fab_say(l, l->read[s] == l->gone[s] ? FAB_STOPPED_DONE : FAB_STOPPED, s, l->gone[s]);
		if (ret == WEFT_AGAIN) {
			fab_lane_port(l)->stuck = true;
			return false;
		}
		l->answer_due &= ~bit;
	}
	return true;
}

static int serve_due(struct fab_lane *l)
{
	int n = 0;

	if (l->want & FAB_DUE_DELIVER) {
		l->want &= (uint8_t)~FAB_DUE_DELIVER;
		n += fab_held_deliver(l);
	}
	if (l->peer && l->state > FAB_NAMELESS && l->state != FAB_DOWN && l->state != FAB_DYING && say_bit(l, FAB_HELLO, FAB_DUE_HELLO, &l->want) &&
	    say_bit(l, FAB_HEARD, FAB_DUE_HEARD, &l->want)) {
		if (l->rx_n == l->rx_told)
			l->want &= (uint8_t)~FAB_DUE_CREDIT;   /* something else has told it meanwhile */
		if (say_bit(l, FAB_CREDIT, FAB_DUE_CREDIT, &l->want))
			say_slots(l);
	}
	if (l->stop_due | l->stop_sent)
		n += fab_stops_end(l);
	if (l->state >= FAB_DYING)
		l->want = 0;
	if (l->want || l->stop_due || l->stop_sent || (l->answer_due && l->state < FAB_DYING))
		fab_due(l, 0);
	return n;
}

static int tell_notices(struct fab_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->notices))) {
		struct fab_lane *l = wf_list_entry(it, struct fab_lane, notice);

		n++;
		if (l->state == FAB_DOWN)
			wf_lane_down(&l->base, l->down_status, l->down_errno, l->cause);
		else
			wf_lane_up(&l->base);
	}
	return n;
}

static void keep_time(struct fab_port *p)
{
	uint64_t now = wf_now_ns();
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->timed) {
		struct fab_lane *l = wf_list_entry(it, struct fab_lane, timed);

		if (now < l->deadline)
			continue;
		if (l->state == FAB_ASKING || l->state == FAB_NAMELESS)
			note_cause(l, WEFT_ETIMEDOUT, "no answer over %s from %s", p->over, l->base.peer);
		go_down(l);
	}
}

/* Each lane on @list once; those that still have to wait are back on it afterwards. */
static int tell_room(struct fab_port *p)
{
	bool bufs = !wf_list_is_empty(&p->tx_free) || p->n_tx < FAB_TX_MAX;
	struct wf_list now, *it, *tmp;
	int n = 0;

	wf_list_init(&now);
	wf_list_splice_back(&now, &p->again);
	while ((it = wf_list_pop_front(&now)))
		wf_lane_room(&wf_list_entry(it, struct fab_lane, again)->base);
	wf_list_foreach(it, tmp, &p->starved) {
		struct fab_lane *l = wf_list_entry(it, struct fab_lane, starved);

		if (!bufs || l->tx_n - l->tx_freed > l->window / 2)
			continue;
		wf_list_remove(it);
		wf_list_push_back(&now, it);
	}
	for (; (it = wf_list_pop_front(&now)); n++)
		wf_lane_room(&wf_list_entry(it, struct fab_lane, starved)->base);
	return n;
}

int fab_lanes_serve(struct fab_port *p)
{
	struct wf_list now, *it;
	int n = tell_notices(p);

	if (!wf_list_is_empty(&p->timed))
		keep_time(p);
	wf_list_init(&now);
	wf_list_splice_back(&now, &p->due);
	while ((it = wf_list_pop_front(&now)))
		n += serve_due(wf_list_entry(it, struct fab_lane, due));
	n += tell_room(p);
	return n + tell_notices(p);
}
