/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_frame.c - messages of the endpoint: frames out, and what comes in, to its lane and in its order.
 */
#include "transports/ofi/ofi.h"

/* ---- out ---- */

static struct ofi_prefix prefix_of(const struct ofi_lane *l, uint16_t kind)
{
	return (struct ofi_prefix){ .key = l->peer_key, .kind = kind, .seq = l->tx_n, .freed = l->rx_n };
}

static void wait_in(struct ofi_lane *l, struct wf_list *list, struct wf_list *link)
{
	if (!wf_list_is_linked(link))
		wf_list_push_back(list, link);
	ofi_lane_port(l)->chores = true;
}

/*
 * Gives a message to the provider; @b is NULL: @p is ours to forget at once. WEFT_OK, WEFT_AGAIN, or WEFT_ERESET: the lane is
 * breaking. A provider has no room also while it still connects.
 */
static int give(struct ofi_lane *l, struct ofi_buf *b, const void *p, size_t len)
{
	struct ofi_port *port = ofi_lane_port(l);
	const struct fi_ops_msg *msg = port->ep->msg;
	ssize_t ret;

	if (!b)
		ret = msg->inject(port->ep, p, len, l->peer->at);
	else
		ret = msg->send(port->ep, b->data, len, b->mr ? b->mr->mem_desc : NULL, l->peer->at, &b->op);
	if (!ret && b) {
		b->lane = l;
		b->peer = l->peer;
		l->peer->busy++;
		port->n_sent++;
		wf_list_push_back(&port->tx_sent, &b->link);
	} else if (ret && b) {
		ofi_tx_put(port, b);
	}
	if (ret == -FI_EAGAIN)
		return WEFT_AGAIN;
	if (ret) {
		port->words[0] = 0;
		ofi_broke(l, (int)-ret, "sending");
		return WEFT_ERESET;
	}
	l->rx_told = l->rx_n;
	return WEFT_OK;
}

int ofi_say(struct ofi_lane *l, uint16_t kind, uint16_t slot, uint32_t gen)
{
	struct ofi_prefix h = prefix_of(l, kind);
	struct ofi_port *p = ofi_lane_port(l);
	struct ofi_buf *b = NULL;

	h.slot = slot;
	h.gen = gen;
	if (sizeof(h) > p->inject) {
		b = ofi_tx_get(p);
		if (!b)
			return WEFT_AGAIN;
		memcpy(b->data, &h, sizeof(h));
	}
	return give(l, b, &h, sizeof(h));
}

static void put_together(uint8_t *to, const struct ofi_lane *l, const struct wf_tx *tx)
{
	struct ofi_prefix h = prefix_of(l, OFI_FRAME);

	memcpy(to, &h, sizeof(h));
	memcpy(to + sizeof(h), &tx->h, WF_FRAME_HDR);
	to += OFI_HEAD;
	if (tx->pre_len)
		memcpy(to, tx->pre, tx->pre_len);
	wf_bufs_copy_out(to + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
}

int ofi_send(struct wf_lane *base, const struct wf_tx *tx)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	size_t len = OFI_HEAD + tx->h.len;
	struct ofi_buf *b = NULL;
	uint8_t small[OFI_INJECT];
	int ret;

	if (l->state != OFI_UP)
		return l->state == OFI_DYING ? WEFT_AGAIN : WEFT_ERESET;
	if (l->tx_n - l->tx_freed >= l->window) {
		wait_in(l, &p->starved, &l->starved);
		return WEFT_AGAIN;
	}
	if (len > p->inject) {
		b = ofi_tx_get(p);
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

static struct ofi_prefix prefix_in(const struct ofi_buf *b)
{
	struct ofi_prefix h;

	memcpy(&h, b->data, sizeof(h));
	return h;
}

/* Offers a frame, whose turn it is, to core. False: not now. */
static bool deliver(struct ofi_lane *l, const struct ofi_buf *b)
{
	struct wf_frame h;
	int ret = 0;

	memcpy(&h, b->data + sizeof(struct ofi_prefix), sizeof(h));
	if (!l->deaf)
		ret = wf_frame_in(&l->base, &h, b->data + OFI_HEAD);
	if (ret == WEFT_AGAIN)
		return false;
	l->deaf = l->deaf || ret < 0;
	l->rx_n++;
	l->base.frames_rx++;
	l->base.bytes_rx += WF_FRAME_HDR + h.len;
	if (l->rx_n - l->rx_told >= WF_MAX(l->window / 2, 1u))
		ofi_due(l, OFI_DUE_CREDIT);
	return true;
}

int ofi_held_deliver(struct ofi_lane *l)
{
	struct wf_list *it;
	int n = 0;

	while (!l->base.paused && (it = wf_list_first(&l->held))) {
		struct ofi_buf *b = wf_list_entry(it, struct ofi_buf, link);

		if (prefix_in(b).seq != l->rx_n || !deliver(l, b))
			break;
		ofi_rx_free(ofi_lane_port(l), b);
		n++;
	}
	return n;
}

void ofi_held_drop(struct ofi_lane *l)
{
	struct wf_list *it;

	while ((it = wf_list_first(&l->held)))
		ofi_rx_free(ofi_lane_port(l), wf_list_entry(it, struct ofi_buf, link));
}

/* Keeps a frame that is early, or whose lane is paused. False: it is here already. */
static bool hold(struct ofi_lane *l, struct ofi_buf *b, uint32_t ahead)
{
	struct wf_list *at, *tmp;

	wf_list_foreach(at, tmp, &l->held) {
		uint32_t its = prefix_in(wf_list_entry(at, struct ofi_buf, link)).seq - l->rx_n;

		if (its == ahead)
			return false;
		if (its > ahead)
			break;
	}
	wf_list_insert_before(at, &b->link);
	return true;
}

/* True: the buffer is kept. */
static bool frame_in(struct ofi_lane *l, struct ofi_buf *b, const struct ofi_prefix *h)
{
	uint32_t len, ahead = h->seq - l->rx_n;

	if (l->state != OFI_UP && l->state != OFI_DYING)
		return false;
	if (b->len < OFI_HEAD || (memcpy(&len, b->data + sizeof(*h), sizeof(len)), len != b->len - OFI_HEAD) || ahead >= OFI_WINDOW) {
		ofi_fail(l, WEFT_EPROTO, 0, "the peer sent a frame of a wrong length or beyond its window");
		return false;
	}
	if (!ahead && wf_list_is_empty(&l->held) && !l->base.paused && deliver(l, b))
		return false;
	if (hold(l, b, ahead)) {
		ofi_held_deliver(l);
		return true;
	}
	ofi_fail(l, WEFT_EPROTO, 0, "the peer sent a frame twice");
	return false;
}

static bool take(struct ofi_port *p, struct ofi_buf *b)
{
	struct ofi_prefix h;
	struct ofi_lane *l;

	if (b->len < sizeof(h))
		return false;
	h = prefix_in(b);
	l = wf_map_find(&p->by_key, h.key);
	if (!l)
		return false;
	if (h.freed - l->tx_freed <= l->tx_n - l->tx_freed)   /* else it was overtaken by a later one */
		l->tx_freed = h.freed;
	if (h.kind == OFI_FRAME)
		return frame_in(l, b, &h);
	ofi_heard(l, &h);
	return false;
}

void ofi_rx_done(struct ofi_port *p, struct ofi_op *op, size_t len, int err)
{
	struct ofi_buf *b = wf_container_of(op, struct ofi_buf, op);

	wf_list_remove(&b->link);
	p->n_posted--;
	b->len = (uint32_t)WF_MIN(len, sizeof(b->data));
	if (err || !take(p, b))
		ofi_rx_free(p, b);
}
