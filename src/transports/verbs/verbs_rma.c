/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_rma.c - granted memory, reached by the opener's adapter. The owner registers exactly the range and the rights that were
 * granted, for as long as the peer has it open: the key is good for nothing else, and for nothing any more once the grant is taken
 * back.
 *
 * Short puts are done when the call returns, from a buffer of ours; short gets go through one, too, because registering costs
 * more than copying. Both go over the first rail. Longer ones are registered and left to the adapter: verbs_long.c.
 *
 * Atomics: one executor for each region, or they are not atomic among each other. An adapter's are atomic with the CPU's only when it
 * says so (IBV_ATOMIC_GLOB); then it does the two that it knows. Elsewhere, and for the others, the owner's CPU does them, asked by
 * a frame (docs/adr/0013-atomics-of-adapters.md).
 */
#include <stdio.h>

#include "base/amo.h"
#include "base/fault.h"
#include "transports/verbs/verbs.h"

struct grant_desc {                      /* in OPENED */
	uint64_t addr, len;
	uint32_t key[VERBS_DEVS];        /* by rail */
	uint32_t rails, atomics;         /* rails: a bit for each that has a key; atomics: by the adapter, over the first */
};
_Static_assert(sizeof(struct grant_desc) == 24 + 4 * VERBS_DEVS, "no padding on the wire");

struct verbs_grant {                     /* on the owner's side */
	struct wf_list link;             /* lane->grants */
	struct verbs_mr *mr[VERBS_DEVS]; /* by rail */
};

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
	verbs_mrs_put(l, g->mr, 1, VERBS_ALL_RAILS);
	wf_list_remove(&g->link);
	wf_free(g);
}

/* One key for each rail that may be used: the first, and where it pays the others. False: not over the first, and why. */
static bool register_grant(struct verbs_lane *l, struct verbs_grant *g, struct grant_desc *d, const struct wf_region *r, uint32_t access)
{
	for (unsigned k = 0; k < l->n_rails; k++) {
		struct verbs_dev *dev = l->rail[k]->dev;
		uint32_t rights = rights_of(dev, k ? access & ~WEFT_ATOMIC : access);
		int err;

		if (k && (!rights || d->len < VERBS_SHARED || l->rail[k]->broken))
			continue;
		g->mr[k] = verbs_mr_new(dev, r, (void *)(uintptr_t)d->addr, d->len, rights, &err);
		if (!g->mr[k] && !k) {
			verbs_mr_explain(&l->base, err, d->len);
			return false;
		}
		if (!g->mr[k])
			continue;
		d->key[k] = g->mr[k]->mr->rkey;
		d->rails |= 1u << k;
	}
	return true;
}

size_t verbs_mem_offer(struct wf_lane *base, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc, size_t cap,
		       uint64_t *hold)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct grant_desc d = { .addr = (uintptr_t)r->addr + off, .len = len };
	struct verbs_grant *g;

	if (cap < sizeof(d) || l->state != VERBS_UP || !len || !rights_of(l->rail[0]->dev, access))
		return 0;
	g = wf_calloc(1, sizeof(*g));
	if (!g)
		return 0;
	wf_list_init(&g->link);
	if (!register_grant(l, g, &d, r, access)) {
		wf_free(g);
		return 0;
	}
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
	d->word[1] = g.rails;
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

static uint32_t key_of(const struct wf_direct *d, unsigned rail)
{
	uint32_t key;

	memcpy(&key, d->desc + offsetof(struct grant_desc, key) + rail * sizeof(key), sizeof(key));
	return key;
}

unsigned verbs_grant_rails(const struct wf_direct *d)
{
	return (unsigned)d->word[1];
}

struct ibv_send_wr verbs_rma_wr(const struct wf_direct *d, unsigned rail, enum ibv_wr_opcode what, uint64_t off, struct ibv_sge *sge)
{
	struct ibv_send_wr wr = { .sg_list = sge, .num_sge = 1, .opcode = what };

	wr.wr.rdma.remote_addr = d->word[0] + off;
	wr.wr.rdma.rkey = key_of(d, rail);
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
	wr = verbs_rma_wr(d, 0, IBV_WR_RDMA_WRITE, off, &sge);
	wr.send_flags = len <= l->rail[0]->inline_max ? IBV_SEND_INLINE : 0;
	if (!(b->is_small ? l->rail[0]->dev->smalls : l->rail[0]->dev->sends))
		wr.send_flags |= IBV_SEND_SIGNALED;
	if (verbs_post(l->rail[0], &wr, VERBS_WR_PUT, b)) {
		base->bytes_tx += len;
		if (l->rail[0]->dev->iwarp)
			verbs_lose_put(l, base->tx_seq);
		return WEFT_OK;
	}
	verbs_send_buf_put(l->rail[0]->dev, b);
	return WEFT_AGAIN;
}

void verbs_op_end(struct verbs_op *op)
{
	struct verbs_lane *l = op->l;
	struct verbs_port *p = verbs_lane_port(l);
	struct wf_rma *x = op->x;

	if (op->buf && !op->failed && x->what == WF_RMA_ATOMIC)
		memcpy(&x->old, op->buf->bytes, sizeof(x->old));
	else if (op->buf && !op->failed)
		wf_bufs_copy_in(x->bufs, x->n, 0, op->buf->bytes, x->len);
	if (op->buf)
		verbs_send_buf_put(l->rail[0]->dev, op->buf);
	else
		verbs_mrs_put(l, op->mr, x->n, VERBS_ALL_RAILS);
	if (x->what == WF_RMA_PUT && !op->failed && l->rail[0]->dev->iwarp)   /* where there is one rail */
		verbs_lose_put(l, op->next_frame);
	/* what may have been done must not be done twice, unless that does no harm */
	x->word[0] = (uint64_t)(int64_t)(!op->failed ? WEFT_OK : x->what == WF_RMA_ATOMIC ? WEFT_ERESET : WEFT_AGAIN);
	wf_list_push_back(&p->ended, &x->link);
	p->chores = true;
	wf_pool_put(&p->ops, op);
}

void verbs_rma_ended(struct verbs_qp *q, void *ptr, bool well)
{
	struct verbs_piece *pc = ptr;
	struct verbs_op *op = pc->op;

	op->left--;
	if (op->paced) {
		verbs_piece_ended(q, pc, well);
		return;
	}
	op->failed = op->failed || !well;
	if (!op->left)
		verbs_op_end(op);
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
	wr->wr.atomic.rkey = key_of(x->direct, 0);
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
	wr = verbs_rma_wr(op->x->direct, 0, IBV_WR_RDMA_READ, op->x->off, &sge);
	if (atomic)
		make_atomic(&wr, op->x);
	wr.send_flags = IBV_SEND_SIGNALED;
	if (verbs_post(q, &wr, VERBS_WR_RMA, &op->whole)) {
		op->left = 1;
		return WEFT_PENDING;
	}
	verbs_send_buf_put(q->dev, op->buf);
	return WEFT_ENOTSUP;
}

int verbs_rma_start(struct wf_lane *base, struct wf_rma *x)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_port *p = verbs_lane_port(l);
	bool atomic = x->what == WF_RMA_ATOMIC, is_short, ordered;
	struct verbs_op *op;
	unsigned n;
	int ret;

	/* no short gets over iWARP: the peer may write into what is read into, and our buffers for sending are everybody's */
	is_short = atomic || (x->what == WF_RMA_GET && x->len <= VERBS_BUF && !l->rail[0]->dev->iwarp);
	if (l->state != VERBS_UP || (atomic && !is_native(l->rail[0]->dev, x)) || (!atomic && !x->len) || x->n > VERBS_PIECES ||
	    (x->what != WF_RMA_PUT && !l->rail[0]->reads_max))
		return WEFT_ENOTSUP;
	ordered = x->what == WF_RMA_PUT && verbs_long_rails(l, x) == 1;
	n = ordered ? verbs_put_requests(l->rail[0], x) : 1;
	if (n > VERBS_SQ / 2)
		return WEFT_ENOTSUP;
	if (!has_room(l, n)) {
		verbs_starve(l, n);
		return WEFT_AGAIN;
	}
	op = wf_pool_get(&p->ops);
	if (!op)
		return WEFT_ENOTSUP;
	memset(op, 0, offsetof(struct verbs_op, again));
	wf_list_init(&op->link);
	op->l = l;
	op->x = x;
	op->whole.op = op;
	op->next_frame = base->tx_seq;
	ret = is_short ? start_short(l, op) : verbs_long_start(op);
	if (ret == WEFT_PENDING) {
		x->ordered = ordered;
		return ret;
	}
	if (op->n_mr)
		verbs_mrs_put(l, op->mr, x->n, VERBS_ALL_RAILS);
	wf_pool_put(&p->ops, op);
	return ret;
}
