/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_tx.c - sending: a frame is put together in a buffer of ours and becomes one SEND; the adapter takes its bytes with the work
 * request while it is short, else reads the buffer. Either way the caller's bytes are free when the call returns, and the
 * buffer is kept until the adapter has said that the peer's has the frame: what did not get there is sent again (verbs_replay()).
 */
#include <stdio.h>

#include "transports/verbs/verbs.h"

#include "base/copy.h"

static __attribute__((noinline)) bool did_not_post(struct verbs_qp *q, int ret)
{
	q->posted--;                     /* the adapter has not got it */
	verbs_dev_events(q->dev);        /* it may say more of itself */
	if (!q->lane || q->broken)
		return false;
	if (q == q->lane->rail[0]) {
		verbs_break(q->lane, "%s: posting work: %s", q->dev->name, strerror(ret));
		return false;
	}
	snprintf(q->lane->base.why, sizeof(q->lane->base.why), "%s is left out: posting work: %s", q->dev->name, strerror(ret));
	verbs_qp_break(q);
	return false;
}

static inline bool post(struct verbs_qp *q, struct ibv_send_wr *wr, uint8_t kind, void *ptr)
{
	struct verbs_wr *slot = &q->ring[q->posted++ % VERBS_SQ];
	struct ibv_send_wr *bad;
	int ret;

	if (wr->send_flags & IBV_SEND_SIGNALED || ++q->unsignalled == VERBS_SIGNAL) {
		wr->send_flags |= IBV_SEND_SIGNALED;
		q->unsignalled = 0;
		q->dev->n_signalled++;
	}
	wr->wr_id = (uintptr_t)slot;
	slot->kind = kind;
	slot->ptr = ptr;
	if (kind == VERBS_WR_PUT)
		slot->next_frame = q->lane->base.tx_seq;
	q->dev->n_posts++;
	ret = ibv_post_send(q->qp, wr, &bad);
	return wf_likely(!ret) || did_not_post(q, ret);
}

bool verbs_post(struct verbs_qp *q, struct ibv_send_wr *wr, uint8_t kind, void *ptr)
{
	return post(q, wr, kind, ptr);
}

bool verbs_has_room(const struct verbs_lane *l)
{
	const struct verbs_qp *q = l->rail[0];

	if (l->wants)
		return verbs_sq_has_room(q, VERBS_SQ_SPARE + l->wants);
	return l->credits && verbs_sq_has_room(q, VERBS_SQ_SPARE) && verbs_may_send_buf(q->dev, l->is_small);
}

__attribute__((noinline)) int verbs_starve(struct verbs_lane *l, unsigned wants)
{
	struct verbs_port *p = verbs_lane_port(l);

	l->wants = (uint8_t)wants;
	if (!wf_list_is_linked(&l->starved))
		wf_list_push_back(&p->starved, &l->starved);
	p->chores = true;
	return WEFT_AGAIN;
}

static int starve_frame(struct verbs_lane *l, bool is_small)
{
	l->is_small = is_small;
	return verbs_starve(l, 0);
}

/* Credits are good for buffers that the adapter has again: it matters where it cannot say "not ready". */
static inline uint16_t give_back(struct verbs_lane *l)
{
	struct verbs_dev *d = l->rail[0]->dev;

	if (wf_unlikely(d->iwarp && l->owed && d->unposted))
		verbs_repost(d);
	return (uint16_t)l->owed;
}

/* One SEND of @b's first @len bytes. False: the lane is breaking, and @b still the caller's. */
static inline bool post_buf(struct verbs_qp *q, struct verbs_buf *b, size_t len)
{
	q->sge.addr = (uintptr_t)b->bytes;
	q->sge.length = (uint32_t)len;
	q->sge.lkey = b->lkey;
	q->wr.send_flags = len <= q->inline_max ? IBV_SEND_INLINE : 0;
	if (wf_unlikely(!(b->is_small ? q->dev->smalls : q->dev->sends)))
		q->wr.send_flags |= IBV_SEND_SIGNALED;   /* the last one that is free: others wait for what this tells */
	return post(q, &q->wr, VERBS_WR_FRAME, b);
}

bool verbs_send_short(struct wf_lane *base, uint32_t seq, uint64_t tag, const void *p, uint32_t len)
{
	const struct wf_frame h = { .type = WF_FR_EAGER, .tag = tag, .len = len, .seq = seq };
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_qp *q = l->rail[0];
	struct verbs_head head = { .kind = VERBS_FRAME, .credits = give_back(l) };
	struct verbs_dev *d = q->dev;
	struct verbs_buf *b = d->smalls;

	if (wf_unlikely(!l->credits || !b || l->state != VERBS_UP || !verbs_sq_has_room(q, VERBS_SQ_SPARE)))
		return false;
	d->smalls = b->next;
	memcpy(b->bytes, &head, sizeof(head));
	memcpy(b->bytes + sizeof(head), &h, sizeof(h));
	wf_copy_short(b->bytes + sizeof(head) + sizeof(h), p, len);
	l->owed = 0;
	l->credits--;
	base->frames_tx++;
	base->bytes_tx += VERBS_HEAD + WF_FRAME_HDR + len;
	if (wf_likely(post_buf(q, b, VERBS_HEAD + WF_FRAME_HDR + len)))
		return true;
	verbs_send_buf_put(d, b);
	return false;
}

int verbs_send(struct wf_lane *base, const struct wf_tx *tx)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_qp *q = l->rail[0];
	size_t len = VERBS_HEAD + WF_FRAME_HDR + tx->pre_len + tx->len;
	struct verbs_head head = { .kind = VERBS_FRAME };
	struct verbs_buf *b;
	uint8_t *at;

	if (wf_unlikely(l->state != VERBS_UP))
		return WEFT_AGAIN;       /* it is breaking, or its "down" is about to be told */
	if (wf_unlikely(!l->credits || !verbs_sq_has_room(q, VERBS_SQ_SPARE)))
		return starve_frame(l, len <= VERBS_INLINE);
	b = verbs_send_buf(q->dev, len <= VERBS_INLINE);
	if (wf_unlikely(!b))
		return starve_frame(l, len <= VERBS_INLINE);
	head.credits = give_back(l);
	at = b->bytes;
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), &tx->h, sizeof(tx->h));
	at += VERBS_HEAD + WF_FRAME_HDR;
	if (tx->pre_len)
		memcpy(at, tx->pre, tx->pre_len);
	if (tx->len)
		wf_bufs_copy_out(at + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
	if (wf_unlikely(!post_buf(q, b, len))) {
		verbs_send_buf_put(q->dev, b);
		return WEFT_AGAIN;
	}
	l->owed = 0;
	l->credits--;
	base->frames_tx++;
	base->bytes_tx += len;
	return WEFT_OK;
}

bool verbs_may_note(const struct verbs_lane *l)
{
	return l->state != VERBS_UP || (verbs_sq_has_room(l->rail[0], 2) && verbs_may_send_buf(l->rail[0]->dev, true));
}

bool verbs_note(struct verbs_lane *l, uint16_t kind, uint32_t arg)
{
	struct verbs_head head = { .kind = kind, .credits = give_back(l), .arg = arg };
	struct verbs_buf *b;

	if (l->state != VERBS_UP)
		return true;
	b = verbs_sq_has_room(l->rail[0], 2) ? verbs_send_buf(l->rail[0]->dev, true) : NULL;
	if (!b)
		return false;
	memcpy(b->bytes, &head, sizeof(head));
	l->owed = 0;
	if (!post_buf(l->rail[0], b, sizeof(head)))
		verbs_send_buf_put(l->rail[0]->dev, b);
	return true;
}

void verbs_ask(struct verbs_qp *q)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED };

	if (verbs_sq_has_room(q, 1))
		verbs_post(q, &wr, VERBS_WR_NONE, NULL);
}

/* ---- what did not get there ---- */

void verbs_lose_put(struct verbs_lane *l, uint32_t next_frame)
{
	if (!l->lost || (int32_t)(next_frame - l->lost_at) > 0)
		l->lost_at = next_frame;
	l->lost = true;
}

int verbs_replay(struct wf_lane *base, uint32_t from, wf_replay_fn *fn, void *arg)
{
	struct verbs_lane *l = verbs_lane_of(base);
	uint32_t next = from;

	/* a put before a frame that came has come, too */
	if (l->lost && (int32_t)(l->lost_at - from) >= 0)
		return WEFT_ERESET;
	for (const struct verbs_buf *b = l->unsent; b; b = b->next) {
		struct verbs_head head;
		struct wf_frame h;
		int ret;

		memcpy(&head, b->bytes, sizeof(head));
		memcpy(&h, b->bytes + sizeof(head), sizeof(h));
		if (head.kind != VERBS_FRAME || (int32_t)(h.seq - from) < 0)
			continue;        /* it came, and only the adapter's word for that was lost */
		if (h.seq != next++)
			return WEFT_ERESET;
		ret = fn(arg, &h, b->bytes + sizeof(head) + sizeof(h));
		if (ret)
			return ret;
	}
	return next == base->tx_seq ? 0 : WEFT_ERESET;
}

void verbs_unsent_drop(struct verbs_lane *l)
{
	struct verbs_buf *b;

	while ((b = l->unsent)) {
		l->unsent = b->next;
		verbs_send_buf_put(l->rail[0]->dev, b);
	}
	l->unsent_end = &l->unsent;
}
