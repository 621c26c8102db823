/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fabric_frame.c - messages of the endpoint: frames out, and what comes in, to its lane and in its order.
 */
#include "transports/fabric/fabric.h"

/* ---- out ---- */

static struct fab_prefix prefix_of(const struct fab_lane *l, uint16_t kind)
{
	return (struct fab_prefix){ .key = l->peer_key, .kind = kind, .seq = l->tx_n, .freed = l->rx_n };
}

static void wait_in(struct fab_lane *l, struct wf_list *list, struct wf_list *link)
{
	if (!wf_list_is_linked(link))
		wf_list_push_back(list, link);
	fab_lane_port(l)->chores = true;
}

/*
 * Gives a message to the engine; @b is NULL: @bytes are ours to forget at once. WEFT_OK, WEFT_AGAIN, or WEFT_ERESET: the lane is
 * breaking. An engine may have no room also while it still connects.
 */
static int give(struct fab_lane *l, struct fab_buf *b, const void *bytes, size_t len)
{
	struct fab_port *p = fab_lane_port(l);
	int ret = p->eng->send(l, b, bytes, len);

	if (!ret && b) {
		b->lane = l;
		p->n_sent++;
		wf_list_push_back(&p->tx_sent, &b->link);
	} else if (b) {
		fab_tx_put(p, b);
	}
	if (ret == FAB_FULL)
		return WEFT_AGAIN;
	if (ret > 0) {
		fab_broke(l, ret, "sending");
		return WEFT_ERESET;
	}
	l->rx_told = l->rx_n;
	return WEFT_OK;
}

/* Sends a prefix, and maybe more. */
static int say(struct fab_lane *l, const struct fab_prefix *h, const void *more, size_t len)
{
	struct fab_port *p = fab_lane_port(l);
	uint8_t small[FAB_INJECT], *to = small;
	struct fab_buf *b = NULL;

	if (sizeof(*h) + len > p->inject) {
		b = fab_tx_get(p);
		if (!b)
			return WEFT_AGAIN;
		to = b->data;
	}
	memcpy(to, h, sizeof(*h));
	if (len)
		memcpy(to + sizeof(*h), more, len);
	return give(l, b, small, sizeof(*h) + len);
}

int fab_say(struct fab_lane *l, uint16_t kind, uint16_t slot, uint32_t gen)
{
	struct fab_prefix h = prefix_of(l, kind);

	h.slot = slot;
	h.gen = gen;
	return say(l, &h, NULL, 0);
}

int fab_say_engine(struct fab_lane *l, const void *bytes, size_t len)
{
	struct fab_prefix h = prefix_of(l, FAB_ENGINE);

	return say(l, &h, bytes, len);
}

static void put_together(uint8_t *to, const struct fab_lane *l, const struct wf_tx *tx)
{
	struct fab_prefix h = prefix_of(l, FAB_FRAME);

	memcpy(to, &h, sizeof(h));
	memcpy(to + sizeof(h), &tx->h, WF_FRAME_HDR);
	to += FAB_HEAD;
	if (tx->pre_len)
		memcpy(to, tx->pre, tx->pre_len);
	wf_bufs_copy_out(to + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
}

int fab_send(struct wf_lane *base, const struct wf_tx *tx)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	size_t len = FAB_HEAD + tx->h.len;
	struct fab_buf *b = NULL;
	uint8_t small[FAB_INJECT];
	int ret;

	if (l->state != FAB_UP)
		return l->state == FAB_DYING ? WEFT_AGAIN : WEFT_ERESET;
	if (l->tx_n - l->tx_freed >= l->window) {
		wait_in(l, &p->starved, &l->starved);
		return WEFT_AGAIN;
	}
	if (len > p->inject) {
		b = fab_tx_get(p);
		if (!b) {                /* a completion brings one back; if none is under way, we are short of memory */
			wait_in(l, p->n_sent ? &p->starved : &p->again, p->n_sent ? &l->starved : &l->again);
			return WEFT_AGAIN;
		}
	}
	put_together(b ? b->data : small, l, tx);
	ret = give(l, b, small, len);
	if (ret == WEFT_AGAIN)
		wait_in(l, &p->again, &l->again);
	if (ret)
		return WEFT_AGAIN;       /* a lane that breaks says so by itself */
	l->tx_n++;
	base->frames_tx++;
	base->bytes_tx += WF_FRAME_HDR + tx->h.len;
	return WEFT_OK;
}

/* ---- in ---- */

void fab_resume(struct wf_lane *base)
{
	struct fab_lane *l = fab_lane_of(base);

	if (!wf_list_is_empty(&l->held))
		fab_due(l, FAB_DUE_DELIVER);
}

static struct fab_prefix prefix_in(const struct fab_buf *b)
{
	struct fab_prefix h;

	memcpy(&h, b->at, sizeof(h));
	return h;
}

/* Offers a frame, whose turn it is, to core. False: not now. */
static bool deliver(struct fab_lane *l, const struct fab_buf *b)
{
	struct wf_frame h;
	int ret = 0;

	memcpy(&h, b->at + sizeof(struct fab_prefix), sizeof(h));
	if (!l->deaf)
		ret = wf_frame_in(&l->base, &h, b->at + FAB_HEAD);
	if (ret == WEFT_AGAIN)
		return false;
	l->deaf = l->deaf || ret < 0;
	l->rx_n++;
	l->base.frames_rx++;
	l->base.bytes_rx += WF_FRAME_HDR + h.len;
	if (l->rx_n - l->rx_told >= WF_MAX(l->window / 2, 1u))
		fab_due(l, FAB_DUE_CREDIT);
	return true;
}

int fab_held_deliver(struct fab_lane *l)
{
	struct wf_list *it;
	int n = 0;

	while (!l->base.paused && (it = wf_list_first(&l->held))) {
		struct fab_buf *b = wf_list_entry(it, struct fab_buf, link);

		if (prefix_in(b).seq != l->rx_n || !deliver(l, b))
			break;
		fab_rx_free(fab_lane_port(l), b);
		n++;
	}
	return n;
}

void fab_held_drop(struct fab_lane *l)
{
	struct wf_list *it;

	while ((it = wf_list_first(&l->held)))
		fab_rx_free(fab_lane_port(l), wf_list_entry(it, struct fab_buf, link));
}

/* Keeps a frame that is early, or whose lane is paused. False: it is here already. */
static bool hold(struct fab_lane *l, struct fab_buf *b, uint32_t ahead)
{
	struct wf_list *at, *tmp;

	wf_list_foreach(at, tmp, &l->held) {
		uint32_t its = prefix_in(wf_list_entry(at, struct fab_buf, link)).seq - l->rx_n;

		if (its == ahead)
			return false;
		if (its > ahead)
			break;
	}
	if (b->at != b->data)
		memcpy(b->data, b->at, b->len);
	b->at = b->data;
	wf_list_insert_before(at, &b->link);
	return true;
}

/* True: the buffer is kept. */
static bool frame_in(struct fab_lane *l, struct fab_buf *b, const struct fab_prefix *h)
{
	uint32_t len, ahead = h->seq - l->rx_n;

	if (l->state != FAB_UP && l->state != FAB_DYING)
		return false;
	if (b->len < FAB_HEAD || (memcpy(&len, b->at + sizeof(*h), sizeof(len)), len != b->len - FAB_HEAD) || ahead >= FAB_WINDOW) {
		fab_fail(l, WEFT_EPROTO, 0, "the peer sent a frame of a wrong length or beyond its window");
		return false;
	}
	if (!ahead && wf_list_is_empty(&l->held) && !l->base.paused && deliver(l, b))
		return false;
	if (hold(l, b, ahead)) {
		fab_held_deliver(l);
		return true;
	}
	fab_fail(l, WEFT_EPROTO, 0, "the peer sent a frame twice");
	return false;
}

static bool take(struct fab_port *p, struct fab_buf *b)
{
	struct fab_prefix h;
	struct fab_lane *l;

	if (b->len < sizeof(h))
		return false;
	h = prefix_in(b);
	l = wf_map_find(&p->by_key, h.key);
	if (!l)
		return false;
	if (h.freed - l->tx_freed <= l->tx_n - l->tx_freed)   /* else it was overtaken by a later one */
		l->tx_freed = h.freed;
	if (h.kind == FAB_FRAME)
		return frame_in(l, b, &h);
	if (h.kind == FAB_ENGINE && p->eng->heard)
		p->eng->heard(l, b->at + sizeof(h), b->len - sizeof(h));
	fab_heard(l, &h);
	return false;
}

void fab_came(struct fab_port *p, struct fab_buf *b)
{
	if (!take(p, b))
		fab_rx_free(p, b);
}

void fab_lost(struct fab_port *p, const void *bytes, size_t len)
{
	struct fab_lane *l = NULL;
	struct fab_prefix h;

	if (len >= sizeof(h)) {
		memcpy(&h, bytes, sizeof(h));
		l = wf_map_find(&p->by_key, h.key);
	}
	if (l)
		fab_fail(l, WEFT_ENOMEM, 0, "no memory for a message that came");
}
