/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_rx.c - completions: frames that came, work that is done, connections that broke. All upcalls of a lane's data come from
 * here. Completions are fetched VERBS_BATCH at a time; those that somebody fetched who may make no upcalls (arm(), the end of a
 * queue pair) lie in the queue's stash and are looked at first.
 */
#include <errno.h>
#include <stdio.h>

#include "base/fault.h"
#include "transports/verbs/verbs.h"

/* ---- broken connections ---- */

static const char *words_of(int status)
{
	switch (status) {
	case IBV_WC_LOC_LEN_ERR:
		return "a message was longer than its buffer";
	case IBV_WC_LOC_QP_OP_ERR:
		return "the adapter found an inconsistency in a work request";
	case IBV_WC_LOC_PROT_ERR:
		return "a local buffer was not registered for what was to be done with it";
	case IBV_WC_WR_FLUSH_ERR:
		return "the connection had broken before";
	case IBV_WC_BAD_RESP_ERR:
		return "the peer's adapter answered with something unexpected";
	case IBV_WC_LOC_ACCESS_ERR:
		return "the peer wrote where it had no right to";
	case IBV_WC_REM_INV_REQ_ERR:
		return "the peer's adapter found a request invalid";
	case IBV_WC_REM_ACCESS_ERR:
		return "the peer's memory was not open for this access (any more)";
	case IBV_WC_REM_OP_ERR:
		return "the peer's adapter could not complete a request";
	case IBV_WC_RETRY_EXC_ERR:
		return "the peer's adapter does not answer: its host or the link is down, or its side of the connection is gone";
	case IBV_WC_RNR_RETRY_EXC_ERR:
		return "the peer gave no receive buffers";
	case IBV_WC_REM_ABORT_ERR:
		return "the peer's adapter aborted the operation";
	case IBV_WC_RESP_TIMEOUT_ERR:
		return "the peer's adapter did not answer in time";
	case IBV_WC_FATAL_ERR:
		return "the adapter failed";
	default:
		return "the adapter reported a failure";
	}
}

static void broke(struct verbs_qp *q, const struct ibv_wc *wc)
{
	const char *orphan = q->orphan ? ", and the address here was taken away" : "";
	struct verbs_lane *l = q->lane;

	if (!q->broken)
		verbs_dev_events(q->dev);   /* of a failed adapter all is flushed; it may say more of itself */
	/* a rail that carries no frames is only left out from here on: what it was reading is read over another */
	if (l && q != l->rail[0] && (l->state == VERBS_UP || l->state == VERBS_PROVING) && !q->broken)
		snprintf(l->base.why, sizeof(l->base.why), "%.20s is left out (status %d, vendor 0x%x): %s%s", q->dev->name, wc->status,
			 wc->vendor_err, words_of(wc->status), orphan);
	else if (l && q == l->rail[0] && !(wc->status == IBV_WC_WR_FLUSH_ERR && q->broken))
		verbs_break(l, "%s: %s (completion status %d, vendor code 0x%x)%s", q->dev->name, words_of(wc->status), wc->status, wc->vendor_err,
			    orphan);
	verbs_qp_break(q);
}

/* ---- work that is done ---- */

static void keep_unsent(struct verbs_lane *l, struct verbs_buf *b)
{
	b->next = NULL;
	*l->unsent_end = b;
	l->unsent_end = &b->next;
}

static void end_wr(struct verbs_qp *q, struct verbs_wr *wr, bool well)
{
	switch (wr->kind) {
	case VERBS_WR_FRAME:
		if (wf_unlikely(!well && q->lane))
			keep_unsent(q->lane, wr->ptr);
		else
			verbs_send_buf_put(q->dev, wr->ptr);
		return;
	case VERBS_WR_PUT:
		if (!well && q->lane)
			verbs_lose_put(q->lane, wr->next_frame);
		verbs_send_buf_put(q->dev, wr->ptr);
		return;
	case VERBS_WR_COPY:
		verbs_read_done(q, wr->ptr, well);
		return;
	case VERBS_WR_RMA:
		verbs_rma_ended(q, wr->ptr, well);
		return;
	default:
		return;
	}
}

/* The adapter has had its time: what it has not given back is taken for not done. */
void verbs_qp_give_up(struct verbs_qp *q)
{
	while (q->done != q->posted)
		end_wr(q, &q->ring[q->done++ % VERBS_SQ], false);
	q->emptied = true;
}

/*
 * Where a read may be overtaken by what was posted after it (soft-iWARP, G83): what has somebody waiting is done by its own word
 * only, which it always asks for; the rest is done, in order, when anything later is.
 */
static void on_sent_loosely(struct verbs_qp *q, struct verbs_wr *at, bool well)
{
	uint32_t i = q->done;

	for (struct verbs_wr *wr = NULL; wr != at && i != q->posted; i++) {
		wr = &q->ring[i % VERBS_SQ];
		if (wr != at && (wr->kind == VERBS_WR_COPY || wr->kind == VERBS_WR_RMA))
			continue;
		end_wr(q, wr, wr != at || well);
		wr->kind = VERBS_WR_OVER;
	}
	while (q->done != q->posted && q->ring[q->done % VERBS_SQ].kind == VERBS_WR_OVER)
		q->done++;
}

/* Those posted before it are done, too: they had not asked to be told. */
static void on_sent(struct verbs_qp *q, const struct ibv_wc *wc)
{
	const struct verbs_wr *at = (const struct verbs_wr *)(uintptr_t)wc->wr_id;
	struct verbs_wr *wr;

	if (wf_unlikely(q->done == q->posted))
		return;                  /* it comes after all, and was given up: verbs_qp_give_up() */
	if (wf_unlikely(q->dev->iwarp)) {
		on_sent_loosely(q, (struct verbs_wr *)(uintptr_t)wc->wr_id, wc->status == IBV_WC_SUCCESS);
		return;
	}
	do {
		wr = &q->ring[q->done++ % VERBS_SQ];
		end_wr(q, wr, wr != at || wc->status == IBV_WC_SUCCESS);
	} while (wr != at && q->done != q->posted);
}

/* ---- frames ---- */

static bool hold(struct verbs_lane *l, const struct wf_frame *h, const void *payload)
{
	struct verbs_held *held;

	if (++l->n_held > l->granted) {
		verbs_fail(l, WEFT_EPROTO, 0, "the peer sends more frames than it may");
		return false;
	}
	held = wf_malloc(sizeof(*held) + h->len);
	if (!held) {
		verbs_fail(l, WEFT_ENOMEM, 0, "no memory for a frame that waits");
		return false;
	}
	held->h = *h;
	memcpy(held->payload, payload, h->len);
	wf_list_init(&held->link);
	wf_list_push_back(&l->held, &held->link);
	return true;
}

/* One frame is out of the way: the peer may send another. */
static inline void owe(struct verbs_lane *l)
{
	struct verbs_port *p = verbs_lane_port(l);

	if (++l->owed < l->granted / 2 || wf_list_is_linked(&l->owing))
		return;
	wf_list_push_back(&p->owing, &l->owing);
	p->chores = true;
}

static void on_frame(struct verbs_lane *l, const uint8_t *p, uint32_t len)
{
	struct wf_frame h;
	int ret;

	if (wf_unlikely(len < WF_FRAME_HDR)) {
		verbs_fail(l, WEFT_EPROTO, 0, "a message of %u bytes is no frame", len);
		return;
	}
	memcpy(&h, p, sizeof(h));
	if (wf_unlikely(h.len != len - WF_FRAME_HDR)) {
		verbs_fail(l, WEFT_EPROTO, 0, "a frame says that it has %u bytes and came with %zu", h.len, len - (size_t)WF_FRAME_HDR);
		return;
	}
	l->base.frames_rx++;
	l->base.bytes_rx += len;
	if (wf_unlikely(l->base.paused || !wf_list_is_empty(&l->held))) {
		hold(l, &h, p + WF_FRAME_HDR);
		return;
	}
	ret = wf_frame_in(&l->base, &h, p + WF_FRAME_HDR);
	if (wf_likely(!ret))
		owe(l);
	else if (ret == WEFT_AGAIN)
		hold(l, &h, p + WF_FRAME_HDR);
}

int verbs_hand_on(struct verbs_lane *l)
{
	struct wf_list *it;
	int n = 0, ret;

	while (!l->base.paused && (it = wf_list_first(&l->held))) {
		struct verbs_held *held = wf_list_entry(it, struct verbs_held, link);

		ret = wf_frame_in(&l->base, &held->h, held->payload);
		if (ret == WEFT_AGAIN)
			break;
		wf_list_remove(it);
		wf_free(held);
		l->n_held--;
		n++;
		if (ret < 0)
			break;
		owe(l);
	}
	return n;
}

static __attribute__((noinline)) void on_message(struct verbs_lane *l, const uint8_t *p, uint32_t len)
{
	struct verbs_head head;

	if (wf_unlikely(len < sizeof(head))) {
		verbs_fail(l, WEFT_EPROTO, 0, "a message of %u bytes has no head", len);
		return;
	}
	memcpy(&head, p, sizeof(head));
	l->credits += head.credits;
	if (wf_unlikely(l->credits > VERBS_CREDITS)) {
		verbs_fail(l, WEFT_EPROTO, 0, "the peer gave more credits than there are");
		return;
	}
	if (wf_likely(head.kind == VERBS_FRAME)) {
		on_frame(l, p + sizeof(head), len - (uint32_t)sizeof(head));
		return;
	}
	if (len != sizeof(head) || (head.kind != VERBS_CREDIT && !verbs_copy_hear(l, head.kind, head.arg) && !verbs_rail_hear(l, head.kind, head.arg)))
		verbs_fail(l, WEFT_EPROTO, 0, "a message of an unknown kind, or malformed");
}

/*
 * A short message for a receive that has nothing but its buffer: the likeliest of all. False: nothing has happened. A frame that
 * lies about its length, or is of another kind, is on_message()'s.
 */
static inline bool on_short(struct verbs_lane *l, const uint8_t *p, uint32_t len)
{
	struct verbs_head head;
	struct wf_frame h;

	if (wf_unlikely(len - (VERBS_HEAD + WF_FRAME_HDR) > WF_COPY_SHORT))   /* also when it is shorter than both */
		return false;
	memcpy(&head, p, sizeof(head));
	memcpy(&h, p + sizeof(head), sizeof(h));
	if (wf_unlikely(head.kind != VERBS_FRAME || h.type != WF_FR_EAGER || h.flags || h.aux || h.len != len - (VERBS_HEAD + WF_FRAME_HDR) ||
			l->credits + head.credits > VERBS_CREDITS || l->base.paused || !wf_list_is_empty(&l->held)))
		return false;
	if (wf_unlikely(!wf_frame_short(&l->base, h.seq, h.tag, p + VERBS_HEAD + WF_FRAME_HDR, h.len)))
		return false;
	l->credits += head.credits;
	l->base.frames_rx++;
	l->base.bytes_rx += len;
	owe(l);
	return true;
}

static inline struct verbs_qp *find_qp(struct verbs_dev *d, uint32_t number)
{
	if (wf_likely(d->last_qp && d->last_qp->qp_num == number))
		return d->last_qp;
	d->last_qp = wf_map_find(&d->qps, number);
	return d->last_qp;
}

/* ---- the queue ---- */

/* Send and receive requests are told apart by where their wr_id points, because a failed completion says nothing else. */
static bool is_of_ring(const struct verbs_qp *q, uint64_t wr_id)
{
	return wr_id - (uintptr_t)q->ring < sizeof(q->ring);
}

/* A lane with a signal that came while its notice "up" waits has to be told first: it is by then (tell_notices()). */
static inline void on_completion(struct verbs_dev *d, const struct ibv_wc *wc)
{
	struct verbs_qp *q = find_qp(d, wc->qp_num);
	struct verbs_buf *b;

	if (wf_unlikely(!q))
		return;
	if (wf_unlikely(is_of_ring(q, wc->wr_id))) {
		on_sent(q, wc);
		if (wf_unlikely(wc->status))
			broke(q, wc);
		if (wf_unlikely(q->lane && q->lane->state == VERBS_PROVING))
			verbs_proved(q->lane, false);
		return;
	}
	b = (struct verbs_buf *)(uintptr_t)wc->wr_id;
	if (wf_unlikely(q->lane && q->lane->state == VERBS_ACCEPTED && !wc->status))
		verbs_cm_first(q->lane);
	if (wf_unlikely(wc->status))
		broke(q, wc);
	else if (wf_likely(q->lane && q->lane->state == VERBS_UP && on_short(q->lane, b->bytes, wc->byte_len)))
		;
	else if (q->lane && (q->lane->state == VERBS_UP || q->lane->state == VERBS_BREAKING))
		on_message(q->lane, b->bytes, wc->byte_len);
	verbs_recv_buf_put(d, q, b);
}

static __attribute__((noinline)) int from_stash(struct verbs_dev *d, struct verbs_cq *c)
{
	int n = 0;

	for (; c->stash_at < c->stash_n; n++) {
		struct ibv_wc wc = c->stash[c->stash_at++];

		on_completion(d, &wc);
	}
	c->stash_at = c->stash_n = 0;
	return n;
}

int verbs_rx(struct verbs_dev *d)
{
	struct ibv_wc wc[VERBS_BATCH];
	struct wf_list *it;
	int n = 0, got;

	for (it = d->cqs.next; it != &d->cqs; it = it->next) {
		struct verbs_cq *c = wf_list_entry(it, struct verbs_cq, link);

		if (wf_unlikely(c->stash_n))
			n += from_stash(d, c);
		got = ibv_poll_cq(c->cq, VERBS_BATCH, wc);
		for (int i = 0; i < got; i++)
			on_completion(d, &wc[i]);
		n += got > 0 ? got : 0;
	}
	if (d->unposted)
		verbs_repost(d);
	return n;
}

/* Room for one batch more; false: no memory, then completions stay where they are. */
static bool stash_grows(struct verbs_cq *c)
{
	unsigned cap = c->stash_cap ? 2 * c->stash_cap : 4 * VERBS_BATCH;
	struct ibv_wc *more;

	if (c->stash_n + VERBS_BATCH <= c->stash_cap)
		return true;
	more = wf_realloc(c->stash, cap * sizeof(*more));
	if (!more)
		return false;
	c->stash = more;
	c->stash_cap = cap;
	return true;
}

bool verbs_rx_fetch(struct verbs_dev *d)
{
	struct wf_list *it;
	bool any = false;

	for (it = d->cqs.next; it != &d->cqs; it = it->next) {
		struct verbs_cq *c = wf_list_entry(it, struct verbs_cq, link);
		int got = stash_grows(c) ? ibv_poll_cq(c->cq, VERBS_BATCH, c->stash + c->stash_n) : 1;

		if (got > 0 && c->stash_n + VERBS_BATCH <= c->stash_cap)
			c->stash_n += (unsigned)got;
		any = any || got > 0 || c->stash_n;
	}
	return any;
}

/* The queue pair is gone: what it left in the queue names it no more. Buffers that it had received into are free again, and its own with it. */
void verbs_cq_sweep(struct verbs_qp *q)
{
	struct verbs_cq *c = q->cq;
	struct verbs_dev *d = q->dev;
	unsigned keep = 0;
	int got;

	while (stash_grows(c) && (got = ibv_poll_cq(c->cq, VERBS_BATCH, c->stash + c->stash_n)) > 0)
		c->stash_n += (unsigned)got;
	for (unsigned i = c->stash_at; i < c->stash_n; i++) {
		struct ibv_wc *wc = &c->stash[i];

		if (wc->qp_num != q->qp_num)
			c->stash[keep++] = *wc;
		else if (d->srq && !is_of_ring(q, wc->wr_id))
			verbs_recv_buf_put(d, q, (struct verbs_buf *)(uintptr_t)wc->wr_id);
	}
	c->stash_at = 0;
	c->stash_n = keep;
	if (d->unposted)
		verbs_repost(d);
}
