/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_recv.c - how many messages a peer may have on their way, and receive queues that are not shared.
 *
 * Not every adapter has shared receive queues (max_srq is 0, or none is made). There the queue pair that carries a lane's
 * messages has buffers of its own, as many as its peer may fill: a block that is its for life, posted before the peer knows of it. A
 * buffer that is done with goes back to the same queue. When the queue pair breaks the adapter gives all back as flushed, which
 * says when nothing more comes (of a queue that is shared an event says it); when it is destroyed the block is spare, whatever had
 * become of each buffer, and the next queue pair takes it.
 */
#include "transports/verbs/verbs.h"

#include <stdio.h>

_Static_assert(VERBS_OWN_RECVS <= VERBS_SQ, "whoever has room for the sends has it for these");
_Static_assert(VERBS_OWN_RECVS <= UINT8_MAX, "they are counted in verbs_qp.n_recvs");

unsigned verbs_promise(struct verbs_qp *q, char *why, size_t cap)
{
	struct verbs_dev *d = q->dev;
	unsigned credits = d->promised + VERBS_OWN_RECVS <= VERBS_SRQ ? VERBS_CREDITS : VERBS_CREDITS_FEW;
	unsigned n = credits + VERBS_NOTES;

	if (!d->srq) {
		q->recvs = verbs_recvs_get(d, n, why, cap);
		if (!q->recvs)
			return 0;
	} else if (!d->iwarp) {
		return VERBS_CREDITS;
	} else if (d->promised + n > d->srq_max) {
		snprintf(why, cap, "%s: its shared receive queue has no place for the messages of one more peer", d->name);
		return 0;
	} else if (d->promised + n > d->n_recvs && verbs_more_recvs(d, WF_MIN(VERBS_SENDS, d->srq_max - d->n_recvs), why, cap)) {
		return 0;
	}
	q->promised = n;
	d->promised += n;
	return credits;
}

void verbs_promise_ends(struct verbs_qp *q)
{
	struct verbs_dev *d = q->dev;

	d->promised -= q->promised;
	if (!q->recvs)
		return;
	q->recvs->spare = d->spare;
	d->spare = q->recvs;
}

static struct verbs_buf *after(const struct verbs_buf *b)
{
	return b->wr.next ? wf_container_of(b->wr.next, struct verbs_buf, wr) : NULL;
}

/* A chain of buffers, all of them its own. */
static int post(struct verbs_qp *q, struct verbs_buf *first)
{
	struct ibv_recv_wr *bad = NULL, *at;
	int ret = ibv_post_recv(q->qp, &first->wr, &bad);

	for (at = &first->wr; at && !(ret && at == bad); at = at->next)
		q->n_recvs++;
	return ret;
}

int verbs_own_recvs_post(struct verbs_qp *q)
{
	struct verbs_buf *buf = q->recvs->buf;

	for (unsigned i = 0; i < q->promised; i++) {
		buf[i].owner = q;
		buf[i].wr.next = i + 1 < q->promised ? &buf[i + 1].wr : NULL;
	}
	return post(q, buf);
}

bool verbs_own_recv_back(struct verbs_qp *q)
{
	q->n_recvs--;
	if (!q->broken)
		return true;
	if (!q->n_recvs) {
		q->emptied = true;
		verbs_wake_at(q->dev->port, wf_now_ns());
	}
	return false;
}

static void did_not_post(struct verbs_qp *q, int ret)
{
	verbs_dev_events(q->dev);        /* it may say more of itself */
	if (q->lane)
		verbs_break(q->lane, "%s: giving buffers to its receive queue: %s", q->dev->name, strerror(ret));
	verbs_qp_break(q);
}

/* Those of one queue pair lie together where its messages came together. */
void verbs_own_repost(struct verbs_dev *d)
{
	while (d->unposted) {
		struct verbs_buf *first = d->unposted, *last = first, *next;
		struct verbs_qp *q = first->owner;
		int ret;

		while ((next = after(last)) && next->owner == q)
			last = next;
		last->wr.next = NULL;
		d->unposted = next;
		if (q->broken)
			continue;        /* they stay in its block */
		ret = post(q, first);
		if (ret)
			did_not_post(q, ret);
	}
}
