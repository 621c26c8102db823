/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_rma.c - granted memory, reached by the opener's adapter. The owner registers exactly the range and the rights that were
 * granted, for as long as the peer has it open: the key is good for nothing else, and for nothing any more once the grant is taken
 * back.
 *
 * Short puts are done when the call returns, from a buffer of ours; short gets go through one, too, because registering costs
 * more than copying. Longer ones are registered and left to the adapter: a put as a whole, so that what is sent later arrives later,
 * a get in pieces, a few at a time. An adapter that has more reads than it may ask at a time holds up all that is posted behind
 * them, and a packet that is lost costs all that was asked for after it. All of them go over the first rail; a get may be overtaken
 * by what follows it, so it is not `ordered`.
 *
 * Atomics: one executor for each region, or they are not atomic among each other. An adapter's are atomic with the CPU's only when it
 * says so (IBV_ATOMIC_GLOB); then it does the two that it knows. Elsewhere, and for the others, the owner's CPU does them, asked by
 * a frame (docs/adr/0013-atomics-of-adapters.md).
 */
#include <stdio.h>

#include "base/amo.h"
#include "base/fault.h"
#include "transports/verbs/verbs.h"

#define PUT_PIECES 32u                   /* work requests of a long put: with those that its buffers make more, half a send queue at most */

struct grant_desc {                      /* in OPENED; for the first rail */
	uint64_t addr, len;
	uint32_t key, atomics;           /* atomics: by the adapter */
};
_Static_assert(sizeof(struct grant_desc) == 24, "no padding on the wire");

struct verbs_grant {                     /* on the owner's side */
	struct wf_list link;             /* lane->grants */
	struct verbs_mr *mr;
};

struct verbs_op {                        /* an operation that the adapter has; more than one work request */
	struct wf_list link;             /* port->gets: there is more of it to post */
	struct verbs_lane *l;
	struct wf_rma *x;
	uint64_t at;                     /* bytes that were posted so far, of a long one */
	unsigned left;                   /* work requests that are posted */
	bool failed, paced;              /* paced: a long get */
	struct verbs_buf *buf;           /* of a short get */
	unsigned n_mr;
	struct verbs_mr *mr[VERBS_PIECES];
};

size_t verbs_op_size(void)
{
	return sizeof(struct verbs_op);
}

/* ---- the owner ---- */

static uint32_t rights_of(const struct verbs_dev *d, uint32_t access)
{
	uint32_t rights = 0;

	if (access & WEFT_READ)
		rights |= IBV_ACCESS_REMOTE_READ;
	if (access & WEFT_WRITE)
		rights |= IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
	if (access & WEFT_ATOMIC && d->atomics == IBV_ATOMIC_GLOB)
		rights |= IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_LOCAL_WRITE;
	return rights;
}

static void free_grant(struct verbs_lane *l, struct verbs_grant *g)
{
	verbs_mr_put(l->rail[0]->dev, g->mr);
	wf_list_remove(&g->link);
	wf_free(g);
}

size_t verbs_mem_offer(struct wf_lane *base, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc, size_t cap,
		       uint64_t *hold)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct grant_desc d = { .addr = (uintptr_t)r->addr + off, .len = len };
	struct verbs_grant *g;
	int err;

	if (cap < sizeof(d) || l->state != VERBS_UP || !len || !rights_of(l->rail[0]->dev, access))
		return 0;
	g = wf_calloc(1, sizeof(*g));
	if (!g)
		return 0;
	wf_list_init(&g->link);
	g->mr = verbs_mr_new(l->rail[0]->dev, r, (char *)r->addr + off, len, rights_of(l->rail[0]->dev, access), &err);
	if (!g->mr) {
		verbs_mr_explain(base, err, len);
		wf_free(g);
		return 0;
	}
	d.key = g->mr->mr->rkey;
	d.atomics = access & WEFT_ATOMIC && l->rail[0]->dev->atomics == IBV_ATOMIC_GLOB;
	wf_list_push_back(&l->grants, &g->link);
	*hold = (uintptr_t)g;
	memcpy(desc, &d, sizeof(d));
	return sizeof(d);
}

void verbs_mem_retract(struct wf_lane *base, uint64_t hold)
{
	free_grant(verbs_lane_of(base), (struct verbs_grant *)(uintptr_t)hold);
}

void verbs_grants_drop(struct verbs_lane *l)
{
	struct wf_list *it;

	while ((it = wf_list_first(&l->grants)))
		free_grant(l, wf_list_entry(it, struct verbs_grant, link));
}

/* ---- the opener ---- */

int verbs_mem_open(struct wf_lane *base, struct wf_direct *d)
{
	struct grant_desc g;

	if (d->desc_len != sizeof(g))
		return WEFT_EPROTO;
	memcpy(&g, d->desc, sizeof(g));
	(void)base;
	if (g.len != d->len)
		return WEFT_EPROTO;
	d->word[0] = g.addr;
	d->word[1] = g.key;
	d->word[2] = g.atomics;
	d->ready = true;
	return WEFT_OK;
}

void verbs_mem_close(struct wf_lane *l, struct wf_direct *d)
{
	(void)l;
	d->ready = false;
}

static bool has_room(const struct verbs_lane *l, unsigned n)
{
	return verbs_sq_has_room(l->rail[0], VERBS_SQ_SPARE + n);
}

static struct ibv_send_wr request(const struct wf_direct *d, enum ibv_wr_opcode what, uint64_t off, struct ibv_sge *sge)
{
	struct ibv_send_wr wr = { .sg_list = sge, .num_sge = 1, .opcode = what };

	wr.wr.rdma.remote_addr = d->word[0] + off;
	wr.wr.rdma.rkey = (uint32_t)d->word[1];
	return wr;
}

/* A short put, from the work request itself or a buffer of ours: done. */
int verbs_rma(struct wf_lane *base, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n, size_t len)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_buf *b;
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	if (what != WF_RMA_PUT || len > VERBS_BUF || l->state != VERBS_UP || !has_room(l, 1))
		return WEFT_AGAIN;
	if (!len)
		return WEFT_OK;
	b = verbs_send_buf(l->rail[0]->dev, len <= VERBS_INLINE);
	if (!b)
		return WEFT_AGAIN;
	wf_bufs_copy_out(b->bytes, bufs, n, 0, len);
	sge = (struct ibv_sge){ .addr = (uintptr_t)b->bytes, .length = (uint32_t)len, .lkey = b->lkey };
	wr = request(d, IBV_WR_RDMA_WRITE, off, &sge);
	wr.send_flags = len <= l->rail[0]->inline_max ? IBV_SEND_INLINE : 0;
	if (!(b->is_small ? l->rail[0]->dev->smalls : l->rail[0]->dev->sends))
		wr.send_flags |= IBV_SEND_SIGNALED;
	l->lost = l->lost || l->rail[0]->dev->iwarp;   /* there "done" means sent, not come: it cannot be made good on another lane */
	if (verbs_post(l->rail[0], &wr, VERBS_WR_PUT, b)) {
		base->bytes_tx += len;
		return WEFT_OK;
	}
	verbs_send_buf_put(l->rail[0]->dev, b);
	return WEFT_AGAIN;
}

static void end_op(struct verbs_op *op)
{
	struct verbs_lane *l = op->l;
	struct verbs_port *p = verbs_lane_port(l);
	struct verbs_dev *d = l->rail[0]->dev;
	struct wf_rma *x = op->x;

	if (op->buf && !op->failed && x->what == WF_RMA_ATOMIC)
		memcpy(&x->old, op->buf->bytes, sizeof(x->old));
	else if (op->buf && !op->failed)
		wf_bufs_copy_in(x->bufs, x->n, 0, op->buf->bytes, x->len);
	if (op->buf)
		verbs_send_buf_put(d, op->buf);
	for (unsigned i = 0; i < op->n_mr; i++)
		if (op->mr[i])
			verbs_mr_put(d, op->mr[i]);
	/* what may have been done must not be done twice, unless that does no harm */
	x->word[0] = (uint64_t)(int64_t)(!op->failed ? WEFT_OK : x->what == WF_RMA_ATOMIC ? WEFT_ERESET : WEFT_AGAIN);
	wf_list_push_back(&p->ended, &x->link);
	p->chores = true;
	wf_pool_put(&p->ops, op);
}

/* Nothing of it is posted any more, and nothing more will be. */
static void end_if_over(struct verbs_op *op)
{
	if (op->left || (wf_list_is_linked(&op->link) && !op->failed && op->l->state == VERBS_UP))
		return;
	op->failed = op->failed || wf_list_is_linked(&op->link);
	wf_list_remove(&op->link);
	end_op(op);
}

void verbs_rma_ended(struct verbs_qp *q, void *ptr, bool well)
{
	struct verbs_op *op = ptr;

	op->failed = op->failed || !well;
	op->left--;
	q->gets -= op->paced;
	verbs_lane_port(op->l)->chores = true;   /* verbs_gets_step() goes on */
	end_if_over(op);
}

int verbs_rmas_tell(struct verbs_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->ended))) {
		struct wf_rma *x = wf_list_entry(it, struct wf_rma, link);

		wf_rma_done(x, (int32_t)(int64_t)x->word[0]);
		n++;
	}
	return n;
}

static bool is_native(const struct verbs_dev *d, const struct wf_rma *x)
{
	return d->atomics != IBV_ATOMIC_NONE && x->direct->word[2] && (x->amo == WEFT_ATOMIC_ADD || x->amo == WEFT_ATOMIC_CAS) && !((x->direct->word[0] + x->off) & 7);
}

static void make_atomic(struct ibv_send_wr *wr, const struct wf_rma *x)
{
	bool add = x->amo == WEFT_ATOMIC_ADD;

	wr->opcode = add ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP;
	wr->wr.atomic.remote_addr = x->direct->word[0] + x->off;
	wr->wr.atomic.rkey = (uint32_t)x->direct->word[1];
	wr->wr.atomic.compare_add = add ? x->operand : x->compare;
	wr->wr.atomic.swap = x->operand;
}

/* A get, or an atomic, through one buffer of ours. */
static int start_short(struct verbs_lane *l, struct verbs_op *op)
{
	bool atomic = op->x->what == WF_RMA_ATOMIC;
	uint32_t len = atomic ? 8 : (uint32_t)op->x->len;
	struct verbs_qp *q = l->rail[0];
	struct ibv_send_wr wr;
	struct ibv_sge sge;

	op->buf = verbs_send_buf(q->dev, len <= VERBS_INLINE);
	if (!op->buf)
		return WEFT_ENOTSUP;
	sge = (struct ibv_sge){ .addr = (uintptr_t)op->buf->bytes, .length = len, .lkey = op->buf->lkey };
	wr = request(op->x->direct, IBV_WR_RDMA_READ, op->x->off, &sge);
	if (atomic)
		make_atomic(&wr, op->x);
	wr.send_flags = IBV_SEND_SIGNALED;
	if (verbs_post(q, &wr, VERBS_WR_RMA, op)) {
		op->left = 1;
		return WEFT_PENDING;
	}
	verbs_send_buf_put(q->dev, op->buf);
	return WEFT_ENOTSUP;
}

/* What one work request of a put covers at most: few enough bytes to see that it goes on (verbs_watch.c). */
static uint64_t put_piece(const struct verbs_qp *q, const struct wf_rma *x)
{
	return WF_MIN(WF_MAX(x->len / PUT_PIECES, VERBS_READ), q->dev->max_msg);
}

static unsigned requests_for(const struct verbs_qp *q, const struct wf_rma *x)
{
	uint64_t each = put_piece(q, x);
	unsigned n = 0;

	for (size_t i = 0; i < x->n; i++)
		n += (unsigned)WF_MIN((x->bufs[i].len + each - 1) / each, VERBS_SQ);
	return n;
}

/* Registers what it reads into or writes from. False: why the lane says so. */
static bool hold_bufs(struct verbs_op *op)
{
	uint32_t access = op->x->what == WF_RMA_GET ? IBV_ACCESS_LOCAL_WRITE : 0;
	struct verbs_dev *d = op->l->rail[0]->dev;
	int err;

	for (; op->n_mr < op->x->n; op->n_mr++) {
		const weft_buf *b = &op->x->bufs[op->n_mr];

		op->mr[op->n_mr] = b->len ? verbs_mr_get(d, op->x->region, b->addr, b->len, access, &err) : NULL;
		if (!b->len || op->mr[op->n_mr])
			continue;
		verbs_mr_explain(&op->l->base, err, b->len);
		return false;
	}
	return true;
}

/* One work request, for what comes next and lies in one buffer, at most @most bytes. False: the lane is over. */
static bool post_piece(struct verbs_op *op, uint64_t most)
{
	bool get = op->x->what == WF_RMA_GET;
	uint64_t off = op->at;
	struct ibv_send_wr wr;
	struct ibv_sge sge;
	unsigned i = 0;

	for (; off >= op->x->bufs[i].len; i++)
		off -= op->x->bufs[i].len;
	sge = (struct ibv_sge){ .addr = (uintptr_t)op->x->bufs[i].addr + off, .lkey = op->mr[i]->mr->lkey };
	sge.length = (uint32_t)WF_MIN(op->x->bufs[i].len - off, most);
	wr = request(op->x->direct, get ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE, op->x->off + op->at, &sge);
	wr.send_flags = IBV_SEND_SIGNALED;
	if (!verbs_post(op->l->rail[0], &wr, VERBS_WR_RMA, op)) {
		op->failed = true;               /* what was posted before comes back flushed */
		return false;
	}
	op->left++;
	op->at += sge.length;
	return true;
}

static int start_put(struct verbs_lane *l, struct verbs_op *op)
{
	while (op->at < op->x->len)
		if (!post_piece(op, put_piece(l->rail[0], op->x)))
			return op->left ? WEFT_PENDING : WEFT_ENOTSUP;
	return WEFT_PENDING;
}

static bool may_get(const struct verbs_qp *q)
{
	return q->gets < WF_MIN(VERBS_READS, q->reads_max) && verbs_sq_has_room(q, VERBS_SQ_SPARE);
}

static int step_get(struct verbs_op *op)
{
	struct verbs_qp *q = op->l->rail[0];
	int n = 0;

	while (op->l->state == VERBS_UP && op->at < op->x->len && may_get(q) && post_piece(op, WF_MIN(VERBS_READ, q->dev->max_msg))) {
		q->gets++;
		n++;
	}
	if (op->at == op->x->len)
		wf_list_remove(&op->link);
	else
		end_if_over(op);
	return n;
}

int verbs_gets_step(struct verbs_port *p)
{
	struct wf_list *it, *tmp;
	int n = 0;

	wf_list_foreach(it, tmp, &p->gets)
		n += step_get(wf_list_entry(it, struct verbs_op, link));
	return n;
}

/* From or into registered memory. */
static int start_long(struct verbs_lane *l, struct verbs_op *op)
{
	struct verbs_port *p = verbs_lane_port(l);

	if (!hold_bufs(op))
		return WEFT_ENOTSUP;
	if (op->x->what != WF_RMA_GET)
		return start_put(l, op);
	op->paced = true;
	wf_list_push_back(&p->gets, &op->link);
	p->chores = true;
	step_get(op);
	return WEFT_PENDING;
}

int verbs_rma_start(struct wf_lane *base, struct wf_rma *x)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_port *p = verbs_lane_port(l);
	bool atomic = x->what == WF_RMA_ATOMIC, is_short;
	struct verbs_op *op;
	unsigned n;
	int ret;

	/* no short gets over iWARP: the peer may write into what is read into, and our buffers for sending are everybody's */
	is_short = atomic || (x->what == WF_RMA_GET && x->len <= VERBS_BUF && !l->rail[0]->dev->iwarp);
	if (l->state != VERBS_UP || (atomic && !is_native(l->rail[0]->dev, x)) || (!atomic && !x->len) || x->n > VERBS_PIECES ||
	    (x->what != WF_RMA_PUT && !l->rail[0]->reads_max))
		return WEFT_ENOTSUP;
	n = x->what == WF_RMA_PUT ? requests_for(l->rail[0], x) : 1;
	if (n > VERBS_SQ / 2)
		return WEFT_ENOTSUP;
	if (!has_room(l, n)) {
		verbs_starve(l, n);
		return WEFT_AGAIN;
	}
	op = wf_pool_get(&p->ops);
	if (!op)
		return WEFT_ENOTSUP;
	memset(op, 0, sizeof(*op));
	wf_list_init(&op->link);
	op->l = l;
	op->x = x;
	ret = is_short ? start_short(l, op) : start_long(l, op);
	if (ret == WEFT_PENDING) {
		x->ordered = x->what == WF_RMA_PUT;
		l->lost = l->lost || (x->ordered && l->rail[0]->dev->iwarp);   /* as with short ones */
		return ret;
	}
	for (unsigned i = 0; i < op->n_mr; i++)
		if (op->mr[i])
			verbs_mr_put(l->rail[0]->dev, op->mr[i]);
	wf_pool_put(&p->ops, op);
	return ret;
}
