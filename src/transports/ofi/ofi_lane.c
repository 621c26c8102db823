/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_lane.c - how a lane is made and ends, and what its two sides say beside frames.
 *
 * Both offers tell an address and a key. Both sides attach with the other's; the one that connected says HELLO over the
 * fabric, the other one is up when it comes and answers HEARD, with which the first one is up. So a fabric that
 * does not lead from one to the other is found out before it is chosen.
 *
 * An error that the provider reports does not end a lane at once: what the peer sent before may be here already, behind it in
 * the queue (the last words of an orderly end, mostly).
 */
#include "transports/ofi/ofi.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "os/proc.h"

/* ---- states ---- */

static void notify(struct ofi_lane *l)
{
	struct ofi_port *p = ofi_lane_port(l);

	if (!wf_list_is_linked(&l->notice))
		wf_list_push_back(&p->notices, &l->notice);
	p->chores = true;
}

static void set_deadline(struct ofi_lane *l, uint64_t at)
{
	struct ofi_port *p = ofi_lane_port(l);

	l->deadline = at;
	if (!wf_list_is_linked(&l->timed))
		wf_list_push_back(&p->timed, &l->timed);
	p->chores = true;
}

static void write_cause(struct ofi_lane *l, int32_t status, int sys_errno, const char *fmt, va_list args)
{
	if (l->cause[0])
		return;
	vsnprintf(l->cause, sizeof(l->cause), fmt, args);
	l->down_status = status;
	l->down_errno = sys_errno;
}

static void go_down(struct ofi_lane *l)
{
	l->state = OFI_DOWN;
	wf_list_remove(&l->timed);
	wf_list_remove(&l->starved);
	wf_list_remove(&l->again);
	notify(l);
}

void ofi_fail(struct ofi_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...)
{
	va_list args;

	if (l->state == OFI_DOWN || l->state == OFI_NEW)
		return;
	va_start(args, cause_fmt);
	write_cause(l, status, sys_errno, cause_fmt, args);
	va_end(args);
	go_down(l);
}

static void note_cause(struct ofi_lane *l, int32_t status, const char *fmt, ...) WF_PRINTF(3, 4);

static void note_cause(struct ofi_lane *l, int32_t status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_cause(l, status, 0, fmt, args);
	va_end(args);
}

void ofi_broke(struct ofi_lane *l, int err, const char *what)
{
	struct ofi_port *p = ofi_lane_port(l);

	if (l->state >= OFI_DYING || l->state <= OFI_OFFERED)
		return;
	note_cause(l, l->state == OFI_UP ? WEFT_ERESET : WEFT_EUNREACHABLE, "%s to the peer over %s: %s", what,
		   p->info->fabric_attr->prov_name, p->words[0] ? p->words : p->lib->strerror(err));
	if (l->state != OFI_UP) {
		go_down(l);
		return;
	}
	l->state = OFI_DYING;
	set_deadline(l, wf_now_ns() + OFI_LEFT_NS);
}

static void set_up(struct ofi_lane *l)
{
	l->state = OFI_UP;
	wf_list_remove(&l->timed);
	notify(l);
}

/* ---- making ---- */

/* A window for each lane, and something beside: then no message waits for a buffer. */
static void count_lanes(struct ofi_port *p, int more)
{
	size_t want;

	p->n_lanes += (uint32_t)more;
	want = OFI_RX_SPARE + (size_t)OFI_WINDOW * WF_MAX(p->n_lanes, 1u);
	if (!p->open)
		return;
	p->rx_want = (uint32_t)WF_MIN(WF_MIN(want, OFI_RX_MAX), p->info->rx_attr->size);
	ofi_rx_fill(p);
}

static int lane_init(struct ofi_lane *l)
{
	struct ofi_port *p = ofi_lane_port(l);
	struct wf_list *lists[] = { &l->held, &l->starved, &l->due, &l->again, &l->notice, &l->timed, &l->lent };
	int ret;

	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	ret = wf_random(&l->key, sizeof(l->key));
	if (ret)
		return ret;
	if (wf_map_insert(&p->by_key, l->key, l))
		return -ENOMEM;
	l->state = OFI_OFFERED;
	count_lanes(p, 1);
	return 0;
}

size_t ofi_offer(struct wf_lane *base, void *out, size_t cap)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	struct ofi_offer o = { .version = OFI_VERSION, .window = OFI_WINDOW, .buf = OFI_BUF };
	int ret;

	if (ofi_ep_open(p, base->why, sizeof(base->why)))
		return 0;
	if (p->name_len > OFI_NAME_MAX || cap < sizeof(o) + p->name_len) {
		snprintf(base->why, sizeof(base->why), "provider %s has addresses of %zu bytes, %u have room",
			 p->info->fabric_attr->prov_name, p->name_len, OFI_NAME_MAX);
		return 0;
	}
	ret = lane_init(l);
	if (ret) {
		snprintf(base->why, sizeof(base->why), "a key: %s", strerror(-ret));
		return 0;
	}
	o.name_len = (uint8_t)p->name_len;
	o.reads = p->reads;
	o.key = l->key;
	snprintf(o.kind, sizeof(o.kind), "%s", p->info->fabric_attr->prov_name);
	memcpy(out, &o, sizeof(o));
	memcpy((uint8_t *)out + sizeof(o), p->name, p->name_len);
	return sizeof(o) + p->name_len;
}

static void set_sizes(struct ofi_lane *l, const struct ofi_offer *o)
{
	struct ofi_port *p = ofi_lane_port(l);
	size_t buf = WF_MIN(WF_MIN(o->buf, OFI_BUF), p->info->ep_attr->max_msg_size);

	l->peer_key = o->key;
	l->window = WF_MIN(o->window, OFI_WINDOW);
	l->base.frame_max = (uint32_t)(buf - OFI_HEAD);
	l->base.eager_max = WF_MIN(OFI_EAGER, l->base.frame_max);
	l->base.can_copy = p->reads && o->reads;
}

static void name_peer(struct ofi_lane *l)
{
	struct ofi_port *p = ofi_lane_port(l);
	size_t len = sizeof(l->base.peer);

	if (p->av->ops->straddr)
		p->av->ops->straddr(p->av, l->peer->name, l->base.peer, &len);
	l->base.peer[sizeof(l->base.peer) - 1] = 0;
}

/*
 * A foreign address of this length may be given to the provider, which reads as much as its format says: one that is as long
 * as ours and of the same family, or a text that ends.
 */
static bool may_insert(const struct ofi_port *p, const uint8_t *name, size_t len)
{
	uint32_t format = p->info->addr_format;

	if (p->is_shm)
		return len > 1 && !name[len - 1];
	if (len != p->name_len)
		return false;
	return format < FI_SOCKADDR || format > FI_SOCKADDR_IB || len < 2 || !memcmp(name, p->name, 2);
}

int ofi_attach(struct wf_lane *base, bool active, const void *offer, size_t len)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	const char *kind = p->info->fabric_attr->prov_name;
	struct ofi_offer o;

	if (len < sizeof(o) || ((const uint8_t *)offer)[0] != OFI_VERSION)
		return wf_fail(WEFT_EVERSION, 0, "ofi", NULL, "the peer speaks another version of ofi");
	memcpy(&o, offer, sizeof(o));
	if (!o.name_len || o.name_len > len - sizeof(o) || o.name_len > OFI_NAME_MAX || !o.window || o.buf < OFI_HEAD + WF_CTL_MAX ||
	    !memchr(o.kind, 0, sizeof(o.kind)))
		return wf_fail(WEFT_EPROTO, 0, "ofi", NULL, "the peer's offer of ofi is malformed");
	if (strncmp(o.kind, kind, sizeof(o.kind) - 1))
		return wf_fail(WEFT_ENOTSUP, 0, "ofi", "set FI_PROVIDER to the same on both sides",
			       "libfabric's provider is %s here and %s at the peer", kind, o.kind);
	if (!may_insert(p, (const uint8_t *)offer + sizeof(o), o.name_len))
		return wf_fail(WEFT_EPROTO, 0, "ofi", NULL, "the peer's address is none of provider %s", kind);
	l->peer = ofi_peer_get(p, (const uint8_t *)offer + sizeof(o), o.name_len);
	if (!l->peer)
		return wf_fail(WEFT_EUNREACHABLE, 0, "ofi", NULL, "provider %s does not take the peer's address", kind);
	set_sizes(l, &o);
	name_peer(l);
	l->state = active ? OFI_ASKING : OFI_WAITING;
	if (active) {
		set_deadline(l, wf_now_ns() + base->port->conf->connect_timeout_ns / 2);
		ofi_due(l, OFI_DUE_HELLO);
	}
	return 0;
}

/* From here on nobody is waited for longer than OFI_LEFT_NS, where that can be. It has no replay(), so this is its end. */
void ofi_abandon(struct wf_lane *base)
{
	ofi_lane_of(base)->ending = true;
	ofi_lane_port(ofi_lane_of(base))->chores = true;
}

void ofi_lane_close(struct wf_lane *base)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	struct wf_list *it, *tmp;

	if (l->state == OFI_NEW)
		return;                  /* nothing was offered */
	wf_list_remove(&l->starved);
	wf_list_remove(&l->due);
	wf_list_remove(&l->again);
	wf_list_remove(&l->notice);
	wf_list_remove(&l->timed);
	ofi_held_drop(l);
	wf_list_foreach(it, tmp, &p->tx_sent) {
		struct ofi_buf *b = wf_list_entry(it, struct ofi_buf, link);

		if (b->lane == l)
			b->lane = NULL;
	}
	ofi_lane_lent_free(l);
	wf_map_remove(&p->by_key, l->key);
	if (l->peer)
		ofi_peer_put(p, l->peer);
	l->peer = NULL;
	l->state = OFI_NEW;
	count_lanes(p, -1);
}

/* ---- what is said beside frames ---- */

void ofi_due(struct ofi_lane *l, uint32_t want)
{
	struct ofi_port *p = ofi_lane_port(l);

	l->want |= (uint8_t)want;
	if (!wf_list_is_linked(&l->due))
		wf_list_push_back(&p->due, &l->due);
	p->chores = true;
}

void ofi_heard(struct ofi_lane *l, const struct ofi_prefix *h)
{
	bool up = l->state == OFI_UP || l->state == OFI_DYING;

	if (h->slot >= OFI_COPIES)
		return;
	switch (h->kind) {
	case OFI_HELLO:
		if (l->state != OFI_WAITING)
			return;
		set_up(l);
		ofi_due(l, OFI_DUE_HEARD);
		return;
	case OFI_HEARD:
		if (l->state == OFI_ASKING)
			set_up(l);
		return;
	case OFI_STOP:
		if (up)
			ofi_stop_heard(l, h->slot, h->gen);
		return;
	case OFI_STOPPED: case OFI_STOPPED_DONE:
		if (up)
			ofi_stopped_heard(l, h->slot, h->gen, h->kind == OFI_STOPPED_DONE);
		return;
	default:
		return;
	}
}

/* Says it, and takes it off *@word, one bit of it. False: not now. */
static bool say_bit(struct ofi_lane *l, uint16_t kind, uint32_t bit, uint8_t *word)
{
	int ret = *word & bit ? ofi_say(l, kind, 0, 0) : WEFT_OK;

	if (ret == WEFT_AGAIN) {
		ofi_lane_port(l)->stuck = true;
		return false;
	}
	*word &= (uint8_t)~bit;
	return true;
}

static bool say_slots(struct ofi_lane *l)
{
	uint32_t all = l->stop_due | l->answer_due;

	for (uint16_t s = 0; s < OFI_COPIES; s++) {
		uint32_t bit = 1u << s;
		int ret = WEFT_OK;

		if (!(all & bit))
			continue;
		if (l->stop_due & bit)
			ret = ofi_say(l, OFI_STOP, s, l->gen[s]);
		if (ret != WEFT_AGAIN && l->stop_due & bit) {
			l->stop_due &= ~bit;
			l->stop_sent |= bit;
		}
		if (ret != WEFT_AGAIN && l->answer_due & bit)
			ret = ofi_say(l, l->read[s] == l->gone[s] ? OFI_STOPPED_DONE : OFI_STOPPED, s, l->gone[s]);
		if (ret == WEFT_AGAIN) {
			ofi_lane_port(l)->stuck = true;
			return false;
		}
		l->answer_due &= ~bit;
	}
	return true;
}

static int serve_due(struct ofi_lane *l)
{
	int n = 0;

	if (l->want & OFI_DUE_DELIVER) {
		l->want &= (uint8_t)~OFI_DUE_DELIVER;
		n += ofi_held_deliver(l);
	}
	if (l->peer && l->state != OFI_DOWN && l->state != OFI_DYING && say_bit(l, OFI_HELLO, OFI_DUE_HELLO, &l->want) &&
	    say_bit(l, OFI_HEARD, OFI_DUE_HEARD, &l->want)) {
		if (l->rx_n == l->rx_told)
			l->want &= (uint8_t)~OFI_DUE_CREDIT;   /* something else has told it meanwhile */
		if (say_bit(l, OFI_CREDIT, OFI_DUE_CREDIT, &l->want))
			say_slots(l);
	}
	if (l->stop_due | l->stop_sent)
		n += ofi_stops_end(l);
	if (l->state >= OFI_DYING)
		l->want = 0;
	if (l->want || l->stop_due || l->stop_sent || (l->answer_due && l->state < OFI_DYING))
		ofi_due(l, 0);
	return n;
}

static int tell_notices(struct ofi_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->notices))) {
		struct ofi_lane *l = wf_list_entry(it, struct ofi_lane, notice);

		n++;
		if (l->state == OFI_DOWN)
			wf_lane_down(&l->base, l->down_status, l->down_errno, l->cause);
		else
			wf_lane_up(&l->base);
	}
	return n;
}

static void keep_time(struct ofi_port *p)
{
	uint64_t now = wf_now_ns();
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->timed) {
		struct ofi_lane *l = wf_list_entry(it, struct ofi_lane, timed);

		if (now < l->deadline)
			continue;
		if (l->state == OFI_ASKING)
			note_cause(l, WEFT_ETIMEDOUT, "no answer over %s from %s", p->info->fabric_attr->prov_name, l->base.peer);
		go_down(l);
	}
}

/* Each lane on @list once; those that still have to wait are back on it afterwards. */
static int tell_room(struct ofi_port *p)
{
	bool bufs = !wf_list_is_empty(&p->tx_free) || p->n_tx < OFI_TX_MAX;
	struct wf_list now, *it, *tmp;
	int n = 0;

	wf_list_init(&now);
	wf_list_splice_back(&now, &p->again);
	while ((it = wf_list_pop_front(&now)))
		wf_lane_room(&wf_list_entry(it, struct ofi_lane, again)->base);
	wf_list_foreach(it, tmp, &p->starved) {
		struct ofi_lane *l = wf_list_entry(it, struct ofi_lane, starved);

		if (!bufs || l->tx_n - l->tx_freed > l->window / 2)
			continue;
		wf_list_remove(it);
		wf_list_push_back(&now, it);
	}
	for (; (it = wf_list_pop_front(&now)); n++)
		wf_lane_room(&wf_list_entry(it, struct ofi_lane, starved)->base);
	return n;
}

int ofi_lanes_serve(struct ofi_port *p)
{
	struct wf_list now, *it;
	int n = tell_notices(p);

	if (!wf_list_is_empty(&p->timed))
		keep_time(p);
	wf_list_init(&now);
	wf_list_splice_back(&now, &p->due);
	while ((it = wf_list_pop_front(&now)))
		n += serve_due(wf_list_entry(it, struct ofi_lane, due));
	n += tell_room(p);
	return n + tell_notices(p);
}
