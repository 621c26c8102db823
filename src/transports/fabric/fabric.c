/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fabric.c - what the ports of engines have in common: their turn, when they want the next one, and their buffers. The model is
 * told in fabric.h.
 */
#include "transports/fabric/fabric.h"

#include "base/fault.h"

#define STUCK_NS (200 * WF_NS_PER_US)    /* nothing tells when an engine that was full has room */

/* ---- the port ---- */

void fab_init(struct fab_port *p, const struct fab_engine *eng)
{
	struct wf_list *lists[] = { &p->starved, &p->due, &p->again, &p->notices, &p->timed, &p->moves, &p->ended,
				    &p->rx_spare, &p->tx_free, &p->tx_sent };

	p->eng = eng;
	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	wf_map_init(&p->by_key);
	wf_pool_init(&p->pieces, sizeof(struct fab_piece), 0);
	wf_pool_init(&p->move_pool, sizeof(struct fab_move), 0);
}

void fab_fini(struct fab_port *p)
{
	fab_moves_drop(p);
	wf_port_wake_at(&p->base, 0);
	wf_pool_fini(&p->pieces);
	wf_pool_fini(&p->move_pool);
	wf_map_fini(&p->by_key);
}

static __attribute__((noinline)) int chores(struct fab_port *p)
{
	int n;

	p->stuck = false;
	n = fab_lanes_serve(p);
	n += fab_moves_step(p);
	if (p->open && p->eng->fill)
		p->eng->fill(p);
	p->chores = !wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->timed) || !wf_list_is_empty(&p->due) ||
		    !wf_list_is_empty(&p->again) || !wf_list_is_empty(&p->starved) || !wf_list_is_empty(&p->moves) ||
		    !wf_list_is_empty(&p->ended);
	return n;
}

int fab_chores(struct fab_port *p)
{
	return p->chores ? chores(p) : 0;
}

bool fab_has_news(const struct fab_port *p)
{
	return !wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->ended);
}

uint64_t fab_wake_at(const struct fab_port *p)
{
	struct wf_list *it, *tmp;
	uint64_t at = 0;

	wf_list_foreach(it, tmp, &p->timed)
		at = wf_earlier(at, wf_list_entry(it, struct fab_lane, timed)->deadline);
	if (p->stuck || !wf_list_is_empty(&p->again) || !wf_list_is_empty(&p->due) || !wf_list_is_empty(&p->timed))
		at = wf_earlier(at, wf_now_ns() + STUCK_NS);
	return at;
}

void fab_disarm(struct wf_port *base)
{
	wf_port_wake_at(base, 0);
}

void fab_on_fd(void *arg, uint32_t events)
{
	(void)arg, (void)events;
}

void fab_cut(struct fab_port *p, const char *why)
{
	const struct wf_map_row *row;
	size_t at = 0;

	fab_moves_cut(p);
	while ((row = wf_map_next(&p->by_key, &at))) {
		struct fab_lane *l = row->value;

		fab_fail(l, WEFT_ERESET, 0, "%s", why);
		fab_lane_lent_quiet(l);
		fab_held_drop(l);
		l->peer = NULL;
	}
	p->chores = true;
}

bool fab_nobody_else(const struct fab_port *p)
{
	const struct wf_map_row *row;
	size_t at = 0;

	while ((row = wf_map_next(&p->by_key, &at))) {
		const struct fab_lane *l = row->value;

		if (l->state < FAB_DYING && !l->ending && !l->base.peer_left && l->base.owner)
			return false;
	}
	return true;
}

/* ---- buffers ---- */

static struct fab_buf *buf_new(struct fab_port *p, unsigned access)
{
	struct fab_buf *b = wf_alloc_aligned(WF_CACHELINE, sizeof(*b));

	if (!b)
		return NULL;
	memset(b, 0, offsetof(struct fab_buf, data));
	wf_list_init(&b->link);
	b->at = b->data;
	if (p->reg_local && !(b->reg = p->eng->reg(p, b->data, sizeof(b->data), access))) {
		wf_free(b);
		return NULL;
	}
	return b;
}

static void buf_free(const struct fab_engine *eng, struct fab_buf *b)
{
	if (b->reg)
		eng->unreg(b->reg);
	wf_free(b);
}

void fab_bufs_free(const struct fab_engine *eng, struct wf_list *list)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(list)))
		buf_free(eng, wf_list_entry(it, struct fab_buf, link));
}

struct fab_buf *fab_rx_get(struct fab_port *p)
{
	struct wf_list *it = wf_list_pop_front(&p->rx_spare);
	struct fab_buf *b = it ? wf_list_entry(it, struct fab_buf, link) : buf_new(p, FAB_RECV);

	if (b && !it)
		p->n_rx++;
	return b;
}

void fab_rx_free(struct fab_port *p, struct fab_buf *b)
{
	wf_list_remove(&b->link);
	if (p->n_rx > p->rx_want + FAB_WINDOW) {
		p->n_rx--;
		buf_free(p->eng, b);
		return;
	}
	wf_list_push_front(&p->rx_spare, &b->link);
}

void fab_tx_done(struct fab_port *p, struct fab_op *op, size_t len, int err)
{
	struct fab_buf *b = wf_container_of(op, struct fab_buf, op);
	struct fab_lane *l = b->lane;

	(void)len;
	p->n_sent--;
	if (b->peer && p->eng->landed)
		p->eng->landed(b->peer);
	fab_tx_put(p, b);
	if (err && l)
		fab_broke(l, err, "sending");
}

struct fab_buf *fab_tx_get(struct fab_port *p)
{
	struct wf_list *it = wf_list_pop_front(&p->tx_free);
	struct fab_buf *b;

	if (it)
		return wf_list_entry(it, struct fab_buf, link);
	if (p->n_tx >= FAB_TX_MAX)
		return NULL;
	b = buf_new(p, FAB_SEND);
	if (!b)
		return NULL;
	b->op.done = fab_tx_done;
	p->n_tx++;
	return b;
}

void fab_tx_put(struct fab_port *p, struct fab_buf *b)
{
	wf_list_remove(&b->link);
	b->lane = NULL;
	b->peer = NULL;
	wf_list_push_front(&p->tx_free, &b->link);
}
