/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_tx.c - sending: a frame becomes one SEND, its bytes in the work request itself while it is short, else in a buffer of ours.
 * Either way they are taken when the call returns.
 */
#include "transports/verbs/verbs.h"

#include "base/copy.h"

bool verbs_post(struct verbs_qp *q, struct ibv_send_wr *wr, uint8_t kind, void *ptr)
{
	struct verbs_wr *slot = &q->ring[q->posted % VERBS_SQ];
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
	q->posted++;
	q->dev->n_posts++;
	ret = ibv_post_send(q->qp, wr, &bad);
	if (wf_likely(!ret))
		return true;
	q->posted--;                     /* the adapter has not got it */
	if (q->lane)
		verbs_fail(q->lane, WEFT_ERESET, ret, "%s: posting work: %s", q->dev->name, strerror(ret));
	return false;
}

bool verbs_has_room(const struct verbs_lane *l)
{
	const struct verbs_qp *q = l->rail[0];

	return l->credits && verbs_sq_has_room(q, VERBS_SQ_SPARE) && (q->dev->sends || q->dev->n_sends < VERBS_SENDS_MAX);
}

__attribute__((noinline)) int verbs_starve(struct verbs_lane *l)
{
	struct verbs_port *p = verbs_lane_port(l);

	if (!wf_list_is_linked(&l->starved))
		wf_list_push_back(&p->starved, &l->starved);
	p->chores = true;
	return WEFT_AGAIN;
}

/* What goes in front of the payload; tells the peer of its credits. */
static inline void put_head(struct verbs_lane *l, uint8_t *at, const struct wf_frame *h)
{
	struct verbs_head head = { .kind = VERBS_FRAME, .credits = (uint16_t)l->owed };

	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), h, sizeof(*h));
	l->owed = 0;
}

static inline int post_send(struct verbs_lane *l, struct verbs_qp *q, struct ibv_sge *sge, struct verbs_buf *b)
{
	struct ibv_send_wr wr;

	wr.next = NULL;
	wr.sg_list = sge;
	wr.num_sge = 1;
	wr.opcode = IBV_WR_SEND;
	wr.send_flags = b ? 0 : IBV_SEND_INLINE;
	l->credits--;
	if (wf_unlikely(!verbs_post(q, &wr, b ? VERBS_WR_BUF : VERBS_WR_NONE, b))) {
		if (b)
			verbs_send_buf_put(q->dev, b);
		return WEFT_ERESET;
	}
	l->base.frames_tx++;
	l->base.bytes_tx += sge->length;
	return WEFT_OK;
}

int verbs_send(struct wf_lane *base, const struct wf_tx *tx)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_qp *q = l->rail[0];
	uint8_t small[VERBS_INLINE], *at = small;
	struct verbs_buf *b = NULL;
	struct ibv_sge sge;
	size_t len = VERBS_HEAD + WF_FRAME_HDR + tx->pre_len + tx->len;

	if (wf_unlikely(l->state != VERBS_UP))
		return l->state == VERBS_DOWN ? WEFT_ERESET : verbs_starve(l);
	if (wf_unlikely(!l->credits || !verbs_sq_has_room(q, VERBS_SQ_SPARE)))
		return verbs_starve(l);
	if (len > q->inline_max) {
		b = verbs_send_buf(q->dev);
		if (wf_unlikely(!b))
			return verbs_starve(l);
		at = b->bytes;
	}
	sge = (struct ibv_sge){ .addr = (uintptr_t)at, .length = (uint32_t)len, .lkey = b ? b->lkey : 0 };
	put_head(l, at, &tx->h);
	at += VERBS_HEAD + WF_FRAME_HDR;
	if (tx->pre_len)
		memcpy(at, tx->pre, tx->pre_len);
	if (tx->len)
		wf_bufs_copy_out(at + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
	return post_send(l, q, &sge, b);
}

bool verbs_note(struct verbs_lane *l, uint16_t kind, uint32_t arg)
{
	struct verbs_head head = { .kind = kind, .credits = (uint16_t)l->owed, .arg = arg };
	struct ibv_sge sge = { .addr = (uintptr_t)&head, .length = sizeof(head) };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE };
	struct verbs_qp *q = l->rail[0];
	struct verbs_buf *b = NULL;

	if (l->state != VERBS_UP)
		return true;
	if (!verbs_sq_has_room(q, 1))
		return false;
	if (q->inline_max < sizeof(head)) {
		b = verbs_send_buf(q->dev);
		if (!b)
			return false;
		memcpy(b->bytes, &head, sizeof(head));
		sge = (struct ibv_sge){ .addr = (uintptr_t)b->bytes, .length = sizeof(head), .lkey = b->lkey };
		wr.send_flags = 0;
	}
	l->owed = 0;
	if (!verbs_post(q, &wr, b ? VERBS_WR_BUF : VERBS_WR_NONE, b) && b)
		verbs_send_buf_put(q->dev, b);
	return true;
}
