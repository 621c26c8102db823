/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_long.c - puts and gets from and into registered memory.
 *
 * A put goes over the first rail as a whole, so that what is sent later arrives later. A get goes in pieces, a few at a time: an
 * adapter that has more reads than it may ask at a time holds up all that is posted behind them, and a packet that is lost costs all that was
 * asked for after it. It may be overtaken by what follows it, so it is not `ordered`.
 *
 * From VERBS_SHARED bytes on both go in pieces over several rails: the one with the fewest under way takes the next. No order is
 * given between rails, so that such a put is not `ordered` either: core holds fence, flush and signal back until it is done. Done it is when
 *
 * - each piece is acknowledged. What a rail that broke did not acknowledge goes over another, but of a put only when the peer has broken
 *   its side of that rail, too (RAIL_STOP, RAIL_STOPPED): a packet that is late would write bytes that were overwritten since.
 * - a few bytes were read back over each rail beside the first. "Acknowledged" means that the peer's adapter has the bytes; it reads
 *   memory behind its own writes, so that the answer means that they are there. Over the first rail the frame that tells of the put comes
 *   behind it. So memory that may not be read is not written over several rails.
 */
#include <stdio.h>

#include "transports/verbs/verbs.h"

#define PUT_PIECES 32u                   /* work requests of a put as a whole: with those that its buffers make more, half a send queue at most */
#define PROOF 8u                         /* bytes that are read back */

static bool is_get(const struct verbs_op *op)
{
	return op->x->what == WF_RMA_GET;
}

unsigned verbs_long_rails(const struct verbs_lane *l, const struct wf_rma *x)
{
	unsigned rails = 1;

	if (x->len < VERBS_SHARED || (x->what == WF_RMA_PUT && !(x->direct->access & WEFT_READ)))
		return rails;
	for (unsigned k = 1; k < l->n_rails; k++)
		if (verbs_grant_rails(x->direct) & 1u << k && !l->rail[k]->broken && l->rail[k]->reads_max)
			rails |= 1u << k;
	return rails;
}

/* What one work request of a put as a whole covers at most: few enough bytes to see that it goes on (verbs_watch.c). */
static uint64_t put_piece(const struct verbs_qp *q, const struct wf_rma *x)
{
	return WF_MIN(WF_MAX(x->len / PUT_PIECES, VERBS_READ), q->dev->max_msg);
}

unsigned verbs_put_requests(const struct verbs_qp *q, const struct wf_rma *x)
{
	uint64_t each = put_piece(q, x);
	unsigned n = 0;

	for (size_t i = 0; i < x->n; i++)
		n += (unsigned)WF_MIN((x->bufs[i].len + each - 1) / each, VERBS_SQ);
	return n;
}

/* Registers what it reads into or writes from; a rail whose adapter does not take it carries nothing. False: why the lane says so. */
static bool hold_bufs(struct verbs_op *op)
{
	uint32_t access = is_get(op) ? IBV_ACCESS_LOCAL_WRITE : 0;
	struct verbs_lane *l = op->l;
	struct wf_rma *x = op->x;
	int err;

	op->n_mr = (unsigned)x->n * l->n_rails;
	memset(op->mr, 0, op->n_mr * sizeof(op->mr[0]));
	for (unsigned k = 0; k < l->n_rails; k++) {
		if (!(op->rails & 1u << k) || verbs_mrs_get(l, x->bufs, x->n, x->region, access, 1u << k, op->mr, &err))
			continue;
		op->rails &= ~(1u << k);
		if (k)
			continue;
		verbs_mr_explain(&l->base, err, x->len);
		return false;
	}
	return true;
}

/* One work request: of what begins at pc->at and lies in one buffer, at most @most bytes. False: that rail is over. */
static bool post_piece(struct verbs_op *op, struct verbs_piece *pc, uint64_t most)
{
	struct verbs_qp *q = op->l->rail[pc->rail];
	const weft_buf *b = op->x->bufs;
	uint64_t off = pc->at;
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	for (; off >= b->len; b++)
		off -= b->len;
	pc->len = WF_MIN(WF_MIN(b->len - off, most), q->dev->max_msg);
	sge = (struct ibv_sge){ .addr = (uintptr_t)b->addr + off, .length = (uint32_t)pc->len,
				.lkey = op->mr[(size_t)(b - op->x->bufs) * op->l->n_rails + pc->rail]->mr->lkey };
	wr = verbs_rma_wr(op->x->direct, pc->rail, is_get(op) ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, op->x->off + pc->at, &sge);
	wr.send_flags = IBV_SEND_SIGNALED;
	if (!verbs_post(q, &wr, VERBS_WR_RMA, pc))
		return false;
	op->left++;
	return true;
}

/* ---- as a whole ---- */

static int start_put(struct verbs_op *op)
{
	struct verbs_piece *pc = &op->whole;

	for (; op->at < op->x->len; op->at += pc->len) {
		pc->at = op->at;
		if (post_piece(op, pc, put_piece(op->l->rail[0], op->x)))
			continue;
		op->failed = true;       /* what was posted before comes back flushed */
		return op->left ? WEFT_PENDING : WEFT_ENOTSUP;
	}
	return WEFT_PENDING;
}

/* ---- a rail that is over, and the peer's side of it ---- */

static void stop_rail(struct verbs_lane *l, unsigned rail)
{
	if (l->stop_asked & 1u << rail)
		return;
	l->stop_asked |= 1u << rail;
	l->stop_rail_due |= 1u << rail;
	verbs_say_soon(l);
}

bool verbs_rail_hear(struct verbs_lane *l, uint16_t kind, uint32_t rail)
{
	struct verbs_qp *q;

	if (!rail || rail >= l->n_rails || (kind != VERBS_RAIL_STOP && kind != VERBS_RAIL_STOPPED))
		return false;
	q = l->rail[rail];
	if (kind == VERBS_RAIL_STOP) {
		if (!q->broken)
			snprintf(l->base.why, sizeof(l->base.why), "%s is left out: the peer's side of it is over", q->dev->name);
		verbs_qp_break(q);
		l->stopped_due |= 1u << rail;
		verbs_say_soon(l);
		return true;
	}
	if (!(l->stop_asked & 1u << rail) || l->stop_rail_due & 1u << rail)
		return false;
	l->stopped |= 1u << rail;
	verbs_lane_port(l)->chores = true;   /* step() goes on */
	return true;
}

bool verbs_rail_say(struct verbs_lane *l)
{
	for (unsigned k = 1; k < l->n_rails; k++) {
		if (l->stop_rail_due & 1u << k && !verbs_note(l, VERBS_RAIL_STOP, k))
			return false;
		l->stop_rail_due &= ~(1u << k);
		if (l->stopped_due & 1u << k && !verbs_note(l, VERBS_RAIL_STOPPED, k))
			return false;
		l->stopped_due &= ~(1u << k);
	}
	return true;
}

/* ---- in pieces ---- */

static uint8_t *under_way(const struct verbs_op *op, struct verbs_qp *q)
{
	return is_get(op) ? &q->gets : &q->puts;
}

/* The rail that has the fewest under way, of several the next in turn; -1: each has enough. */
static int pick_rail(const struct verbs_op *op)
{
	struct verbs_lane *l = op->l;
	unsigned fewest = UINT8_MAX;
	int best = -1;

	for (unsigned i = 1; i <= l->n_rails; i++) {
		unsigned k = (l->last_rail + i) % l->n_rails;
		struct verbs_qp *q = l->rail[k];
		unsigned most = is_get(op) ? WF_MIN(VERBS_READS, q->reads_max) : VERBS_WRITES, n = *under_way(op, q);

		if (!(op->rails & 1u << k) || q->broken || n >= WF_MIN(most, fewest) || !verbs_sq_has_room(q, VERBS_SQ_SPARE))
			continue;
		best = (int)k;
		fewest = n;
	}
	if (best >= 0)
		l->last_rail = (uint8_t)best;
	return best;
}

/* Which of those that failed may go over another rail now; -1: none. */
static int pick_again(const struct verbs_op *op)
{
	for (unsigned i = 0; i < op->n_again; i++)
		if (is_get(op) || op->l->stopped & 1u << op->again[i].rail)
			return (int)i;
	return -1;
}

/* There was no memory, or no buffer: once more in a moment, also when the worker sleeps. */
static void later(const struct verbs_op *op)
{
	verbs_wake_at(verbs_lane_port(op->l), wf_now_ns() + WF_NS_PER_MS);
}

/* What failed comes first. False: nothing was posted. */
static bool post_next(struct verbs_op *op)
{
	struct wf_pool *pool = &verbs_lane_port(op->l)->pieces;
	int rail, again = pick_again(op);
	struct verbs_piece *pc;

	if ((again < 0 && op->at == op->x->len) || (rail = pick_rail(op)) < 0)
		return false;
	pc = wf_pool_get(pool);
	if (!pc) {
		later(op);
		return false;
	}
	*pc = (struct verbs_piece){ .op = op, .at = again < 0 ? op->at : op->again[again].at, .rail = (uint8_t)rail };
	if (!post_piece(op, pc, again < 0 ? VERBS_READ : op->again[again].len)) {
		wf_pool_put(pool, pc);
		return false;
	}
	++*under_way(op, op->l->rail[rail]);
	if (again < 0) {
		op->at += pc->len;
		return true;
	}
	op->again[again].at += pc->len;
	op->again[again].len -= pc->len;
	if (!op->again[again].len)
		op->again[again] = op->again[--op->n_again];
	return true;
}

static void read_back(struct verbs_op *op, unsigned rail)
{
	struct wf_pool *pool = &verbs_lane_port(op->l)->pieces;
	struct verbs_qp *q = op->l->rail[rail];
	struct verbs_buf *b = verbs_sq_has_room(q, VERBS_SQ_SPARE) ? verbs_send_buf(q->dev, true) : NULL;
	struct verbs_piece *pc = b ? wf_pool_get(pool) : NULL;
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	if (pc) {
		*pc = (struct verbs_piece){ .op = op, .proof = b, .rail = (uint8_t)rail };
		sge = (struct ibv_sge){ .addr = (uintptr_t)b->bytes, .length = PROOF, .lkey = b->lkey };
		wr = verbs_rma_wr(op->x->direct, rail, IBV_WR_RDMA_READ, op->x->off, &sge);
		wr.send_flags = IBV_SEND_SIGNALED;
		if (verbs_post(q, &wr, VERBS_WR_RMA, pc)) {
			op->left++;
			op->proving |= 1u << rail;
			return;
		}
		wf_pool_put(pool, pc);
	}
	if (b)
		verbs_send_buf_put(q->dev, b);
	later(op);
}

/* All is acknowledged: is it in memory? */
static void prove(struct verbs_op *op)
{
	struct verbs_lane *l = op->l;

	for (unsigned k = 1; k < l->n_rails; k++) {
		if (!(op->unproved & 1u << k) || op->proving & 1u << k)
			continue;
		if (l->stopped & 1u << k)        /* the peer's adapter has ended its side, behind all that came over it */
			op->unproved &= ~(1u << k);
		else if (l->rail[k]->broken)
			stop_rail(l, k);
		else
			read_back(op, k);
	}
}

static int step(struct verbs_op *op)
{
	bool up = op->l->state == VERBS_UP, complete;
	int n = 0;

	while (up && op->l->state == VERBS_UP && post_next(op))
		n++;
	complete = op->at == op->x->len && !op->n_again;
	if (complete && !op->left && up)
		prove(op);
	complete = complete && !op->unproved;
	if (op->left || (op->l->state == VERBS_UP && !complete))
		return n;
	op->failed = !complete;
	wf_list_remove(&op->link);
	verbs_op_end(op);
	return n + 1;
}

void verbs_piece_ended(struct verbs_qp *q, struct verbs_piece *pc, bool well)
{
	struct verbs_op *op = pc->op;
	struct verbs_lane *l = op->l;
	unsigned bit = 1u << pc->rail;

	if (pc->proof) {
		op->proving &= ~bit;
		op->unproved &= well ? ~bit : UINT8_MAX;
		verbs_send_buf_put(q->dev, pc->proof);
	} else {
		--*under_way(op, q);
		if (well && !is_get(op))
			op->unproved |= bit & ~1u;
		if (!well) {
			op->again[op->n_again].at = pc->at;
			op->again[op->n_again].len = pc->len;
			op->again[op->n_again++].rail = pc->rail;
		}
		if (!well && !is_get(op) && pc->rail)
			stop_rail(l, pc->rail);
	}
	wf_pool_put(&verbs_lane_port(l)->pieces, pc);
	verbs_lane_port(l)->chores = true;   /* step() goes on, or ends it */
}

int verbs_longs_step(struct verbs_port *p)
{
	struct wf_list *it, *tmp;
	int n = 0;

	wf_list_foreach(it, tmp, &p->longs)
		n += step(wf_list_entry(it, struct verbs_op, link));
	return n;
}

int verbs_long_start(struct verbs_op *op)
{
	struct verbs_port *p = verbs_lane_port(op->l);

	op->rails = (uint8_t)verbs_long_rails(op->l, op->x);
	op->paced = is_get(op) || op->rails != 1;
	if (!hold_bufs(op))
		return WEFT_ENOTSUP;
	if (!op->paced)
		return start_put(op);
	wf_list_push_back(&p->longs, &op->link);
	p->chores = true;
	step(op);
	return WEFT_PENDING;
}
