/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire.c - what an operation does at the other end; see fake.h. The caller holds the lock, and is the process of one of
 * the two queue pairs.
 */
#include "fake/ibverbs/fake.h"

#include <stdlib.h>
#include <string.h>

/* ---- writes that are acknowledged before they are in memory: "late" ---- */

struct late {
	struct late *next;
	uint32_t from_qp, to_qp;         /* rows; FK_NONE, both: was read into memory with relaxed ordering */
	struct fk_vec to;
	size_t len;
	char bytes[];
};
static struct late *lates, **lates_end = &lates;

static bool is_meant(const struct late *l, uint32_t from_qp, uint32_t to_qp)
{
	if (l->from_qp == FK_NONE)
		return from_qp == FK_NONE && to_qp == FK_NONE;
	return l->from_qp == from_qp || l->to_qp == to_qp;
}

void fk_late_place(uint32_t from_qp, uint32_t to_qp)
{
	struct late **at = &lates, *l;

	while ((l = *at)) {
		struct fk_vec from = { .owner = fk.me, .n = 1, .len = l->len, .v = { { l->bytes, l->len } } };

		if (!is_meant(l, from_qp, to_qp)) {
			at = &l->next;
			continue;
		}
		fk_copy(&l->to, &from, l->len);
		*at = l->next;
		free(l);
	}
	lates_end = at;
}

void fk_relaxed_place(void)
{
	if (lates)
		fk_late_place(FK_NONE, FK_NONE);
}

void fk_relaxed_drop(const void *addr, size_t len)
{
	struct late **at = &lates, *l;

	while ((l = *at)) {
		if (l->from_qp != FK_NONE || (uintptr_t)l->to.v[0].iov_base - (uintptr_t)addr >= len) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		free(l);
	}
	lates_end = at;
}

/* True: kept, to be written later. @from_qp, @to_qp: rows. */
static bool put_off(uint32_t from_qp, uint32_t to_qp, const struct fk_vec *to, const struct fk_vec *from, size_t len)
{
	struct late *l = malloc(sizeof(*l) + len);
	struct fk_vec bytes = { .owner = fk.me, .n = 1, .len = len };

	if (!l)
		return false;
	*l = (struct late){ .from_qp = from_qp, .to_qp = to_qp, .to = *to, .len = len };
	bytes.v[0] = (struct iovec){ l->bytes, len };
	if (fk_copy(&bytes, from, len)) {
		free(l);
		return false;
	}
	*lates_end = l;
	lates_end = &l->next;
	return true;
}

/* ---- operations ---- */

/* Do @q's packets come to @d's port? */
static bool leads_to(const struct fk_qp *q, const struct fk_qp *d)
{
	const struct ibv_ah_attr *a = &q->attr.ah_attr;
	union ibv_gid from, to;

	if (a->is_global && (!fk_gid_of(q->dev, a->grh.sgid_index, &from) || !fk_gid_of(d->dev, d->attr.ah_attr.grh.sgid_index, &to) ||
			     memcmp(&to, &a->grh.dgid, sizeof(to))))
		return false;
	if (!fk_is_ib(q->dev) || !fk_is_ib(d->dev))
		return fk_is_ib(q->dev) == fk_is_ib(d->dev);
	return fk_subnet_of(q->dev) == fk_subnet_of(d->dev) && a->dlid == fk_lid_of(d->dev);
}

/* The queue pair at the other end, if each of the two means the other; NULL: packets would be dropped. */
static struct fk_qp *find_peer(struct fk_qp *q)
{
	struct fk_qp *d = &fk.shm->qp[q->attr.dest_qp_num & (FK_QPS - 1)];

	if (!d->h.owner || d->qpn != q->attr.dest_qp_num || d->attr.dest_qp_num != q->qpn)
		return NULL;
	if ((d->state != IBV_QPS_RTR && d->state != IBV_QPS_RTS) || !fk_is_alive(d->h.owner) || !fk_is_alive(q->h.owner))
		return NULL;
	if ((q->pkey ^ d->pkey) & 0x7fff || !((q->pkey | d->pkey) & 0x8000))
		return NULL;
	/* a packet with a global route is not for who knows its peer without one; one that is too long is for nobody */
	if (q->attr.ah_attr.is_global != d->attr.ah_attr.is_global || q->attr.path_mtu != d->attr.path_mtu || !leads_to(q, d) || !leads_to(d, q))
		return NULL;
	return q->attr.sq_psn == d->attr.rq_psn ? d : NULL;
}

/* The peer that does not allow it ends up in error, too. */
static int refuse(struct fk_qp *d, int event, int status)
{
	fk_qp_fail(d, event);
	return status;
}

/* What a failed copy means for the sender. */
static int copy_status(int err, struct fk_qp *d)
{
	if (!err)
		return IBV_WC_SUCCESS;
	if (err == ESRCH)
		return FK_NO_PEER;
	fk_complain("registered memory cannot be copied (%s): is it unmapped?", strerror(err));
	return refuse(d, IBV_EVENT_QP_FATAL, IBV_WC_REM_OP_ERR);
}

static uint32_t use_of(const struct fk_wr *wr)
{
	switch (wr->opcode) {
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
		return IBV_ODP_SUPPORT_SEND;
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return IBV_ODP_SUPPORT_WRITE;
	case IBV_WR_RDMA_READ:
		return IBV_ODP_SUPPORT_READ;
	default:
		return IBV_ODP_SUPPORT_ATOMIC;
	}
}

static int local_vec(struct fk_qp *q, struct fk_wr *wr, struct fk_vec *v, uint32_t access)
{
	struct ibv_sge *sge = (struct ibv_sge *)(wr + 1);

	*v = (struct fk_vec){ .owner = q->h.owner, .use = use_of(wr) };
	if (!(wr->flags & IBV_SEND_INLINE))
		return fk_vec_local(v, q->pd, sge, wr->n_sge, access) ? 0 : IBV_WC_LOC_PROT_ERR;
	v->owner = fk.me; /* lies in the ring, which everybody has */
	if (wr->len)
		v->v[v->n++] = (struct iovec){ sge + q->cap.max_send_sge, wr->len };
	v->len = wr->len;
	return 0;
}

static bool remote_vec(struct fk_qp *d, struct fk_wr *wr, struct fk_vec *v, uint32_t access)
{
	*v = (struct fk_vec){ .owner = d->h.owner, .use = use_of(wr) };
	if (!wr->len)
		return true; /* no key is looked at */
	return (d->attr.qp_access_flags & access) == access &&
	       fk_vec_add(v, d->pd, wr->rkey, true, access, wr->remote_addr, wr->len);
}

static int do_send(struct fk_qp *q, struct fk_qp *d, struct fk_wr *wr)
{
	struct fk_vec from, to = { .owner = d->h.owner, .use = d->srq == FK_NONE ? IBV_ODP_SUPPORT_RECV : IBV_ODP_SUPPORT_SRQ_RECV };
	uint64_t pd;
	struct fk_recv *r = fk_recv_peek(d, &pd);
	int ret = local_vec(q, wr, &from, 0);

	if (ret)
		return ret;
	if (!r)
		return FK_RNR;
	if (!fk_vec_local(&to, pd, (struct ibv_sge *)(r + 1), r->n_sge, IBV_ACCESS_LOCAL_WRITE)) {
		fk_complete_recv(d, r, IBV_WC_LOC_PROT_ERR, 0, 0, NULL);
		fk_recv_pop(d);
		return refuse(d, -1, IBV_WC_REM_OP_ERR);
	}
	if (to.len < wr->len) {
		fk_complete_recv(d, r, IBV_WC_LOC_LEN_ERR, 0, 0, NULL);
		fk_recv_pop(d);
		return refuse(d, -1, IBV_WC_REM_INV_REQ_ERR);
	}
	ret = copy_status(fk_copy(&to, &from, wr->len), d);
	if (ret)
		return ret;
	fk_complete_recv(d, r, IBV_WC_SUCCESS, IBV_WC_RECV, wr->len, wr);
	fk_recv_pop(d);
	return IBV_WC_SUCCESS;
}

static int do_write(struct fk_qp *q, struct fk_qp *d, struct fk_wr *wr)
{
	struct fk_vec from, to;
	struct fk_recv *r = NULL;
	uint64_t pd;
	int ret = local_vec(q, wr, &from, 0);

	if (ret)
		return ret;
	if (!remote_vec(d, wr, &to, IBV_ACCESS_REMOTE_WRITE))
		return refuse(d, IBV_EVENT_QP_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	if (wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM) {
		r = fk_recv_peek(d, &pd);
		if (!r)
			return FK_RNR;
	}
	ret = !r && fk_device_has_fault("late", q->dev) && put_off(fk_qp_row(q), fk_qp_row(d), &to, &from, wr->len) ? 0 : copy_status(fk_copy(&to, &from, wr->len), d);
	if (ret || !r)
		return ret;
	fk_complete_recv(d, r, IBV_WC_SUCCESS, IBV_WC_RECV_RDMA_WITH_IMM, wr->len, wr);
	fk_recv_pop(d);
	return IBV_WC_SUCCESS;
}

static int do_read(struct fk_qp *q, struct fk_qp *d, struct fk_wr *wr)
{
	struct fk_vec from, to;
	int ret = local_vec(q, wr, &to, IBV_ACCESS_LOCAL_WRITE);

	if (ret)
		return ret;
	if (!d->attr.max_dest_rd_atomic)
		return refuse(d, IBV_EVENT_QP_REQ_ERR, IBV_WC_REM_INV_REQ_ERR);
	if (!remote_vec(d, wr, &from, IBV_ACCESS_REMOTE_READ))
		return refuse(d, IBV_EVENT_QP_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	/* who carries it out for another process has nothing of that to poll */
	if (to.relaxed && to.owner == fk.me && put_off(FK_NONE, FK_NONE, &to, &from, wr->len))
		return IBV_WC_SUCCESS;
	return copy_status(fk_copy(&to, &from, wr->len), d);
}

/* Atomic among the queue pairs of the fabric, by its lock, as devices are among their own (IBV_ATOMIC_HCA). */
static int do_atomic(struct fk_qp *q, struct fk_qp *d, struct fk_wr *wr)
{
	uint64_t old = 0, new;
	struct fk_vec result, target, ours = { .owner = fk.me, .n = 1, .len = 8, .v = { { &old, 8 } } };
	int ret = local_vec(q, wr, &result, IBV_ACCESS_LOCAL_WRITE);

	if (ret)
		return ret;
	if (wr->remote_addr % 8 || !d->attr.max_dest_rd_atomic)
		return refuse(d, IBV_EVENT_QP_REQ_ERR, IBV_WC_REM_INV_REQ_ERR);
	if (!remote_vec(d, wr, &target, IBV_ACCESS_REMOTE_ATOMIC))
		return refuse(d, IBV_EVENT_QP_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	ret = copy_status(fk_copy(&ours, &target, 8), d);
	if (ret)
		return ret;
	new = wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD ? old + wr->compare_add : old == wr->compare_add ? wr->swap : old;
	ret = copy_status(fk_copy(&result, &ours, 8), d);
	if (ret || new == old)
		return ret;
	ours.v[0].iov_base = &new;
	return copy_status(fk_copy(&target, &ours, 8), d);
}

int fk_execute(struct fk_qp *q, struct fk_wr *wr)
{
	struct fk_qp *d = find_peer(q);

	if (!d)
		return FK_NO_PEER;
	if (lates && wr->opcode != IBV_WR_RDMA_WRITE)
		fk_late_place(fk_qp_row(q), FK_NONE);
	switch (wr->opcode) {
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
		return do_send(q, d, wr);
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return do_write(q, d, wr);
	case IBV_WR_RDMA_READ:
		return do_read(q, d, wr);
	default:
		return do_atomic(q, d, wr);
	}
}
