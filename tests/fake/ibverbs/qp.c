/* SPDX-License-Identifier: BSD-3-Clause
 *
 * qp.c - queue pairs and their states. A change of state must name exactly what the specification asks for at that
 * change (its table for RC), with values in their bounds; see fake.h.
 */
#include "fake/ibverbs/fake.h"

#include <stdlib.h>
#include <string.h>

struct fk_qp *fk_qp_of(struct ibv_qp *qp, const char *what)
{
	struct fk_qp *q = qp && qp->handle < FK_QPS ? &fk.shm->qp[qp->handle] : NULL;

	if (!q || q->h.owner != fk.me || q->h.user != (uintptr_t)qp) {
		fk_complain("%s: not a queue pair", what);
		return NULL;
	}
	return q;
}

/* ---- making ---- */

static int check_init(struct ibv_pd *pd, const struct ibv_qp_init_attr *i)
{
	const struct ibv_qp_cap *c = &i->cap;

	if (i->qp_type != IBV_QPT_RC)
		return fk_complain("ibv_create_qp: type %d: only RC is here", i->qp_type);
	if (c->max_send_wr > FK_MAX_WR || c->max_send_sge > FK_MAX_SGE || c->max_inline_data > FK_MAX_INLINE ||
	    (!i->srq && (c->max_recv_wr > FK_MAX_WR || c->max_recv_sge > FK_MAX_SGE)))
		return fk_complain("ibv_create_qp: send %u of %u pieces, receive %u of %u, inline %u: more than the device has",
				   c->max_send_wr, c->max_send_sge, c->max_recv_wr, c->max_recv_sge, c->max_inline_data);
	if (!fk_cq_of(i->send_cq, "ibv_create_qp") || !fk_cq_of(i->recv_cq, "ibv_create_qp") ||
	    (i->srq && !fk_srq_of(i->srq, "ibv_create_qp")))
		return EINVAL;
	if (i->send_cq->context != pd->context || i->recv_cq->context != pd->context ||
	    (i->srq && i->srq->context != pd->context))
		return fk_complain("ibv_create_qp: objects of different devices");
	return 0;
}

static int create(struct ibv_qp *qp, struct ibv_qp_init_attr *i)
{
	uint32_t row = FK_TAKE(qp, qp);
	struct fk_qp *q = &fk.shm->qp[row == FK_NONE ? 0 : row];
	size_t wr_len = sizeof(struct fk_wr) + i->cap.max_send_sge * sizeof(struct ibv_sge) + i->cap.max_inline_data;

	if (row == FK_NONE)
		return ENOMEM;
	if (i->srq)
		i->cap.max_recv_wr = i->cap.max_recv_sge = 0;
	if (fk_ring_new(&q->sq, i->cap.max_send_wr, wr_len) ||
	    fk_ring_new(&q->rq, i->cap.max_recv_wr, sizeof(struct fk_recv) + i->cap.max_recv_sge * sizeof(struct ibv_sge))) {
		fk_ring_free(&q->sq);
		q->h.owner = 0;
		return ENOMEM;
	}
	q->pd = ((struct fk_pd *)qp->pd)->id;
	q->dev = fk_ctx(qp->context)->dev->index;
	q->qpn = (q->h.gen % 0xfff + 1) << 12 | row; /* not soon again: a late peer must not find another one */
	q->send_cq = i->send_cq->handle;
	q->recv_cq = i->recv_cq->handle;
	q->srq = i->srq ? i->srq->handle : FK_NONE;
	q->async = fk_ctx(qp->context)->async;
	q->cap = i->cap;
	q->sig_all = i->sq_sig_all;
	qp->handle = row;
	qp->qp_num = q->qpn;
	return 0;
}

static void count_users(struct fk_qp *q, struct ibv_qp *qp, int by)
{
	fk.shm->cq[q->send_cq].n_qps += (uint32_t)by;
	fk.shm->cq[q->recv_cq].n_qps += (uint32_t)by;
	if (q->srq != FK_NONE)
		fk.shm->srq[q->srq].n_qps += (uint32_t)by;
	((struct fk_pd *)qp->pd)->n_objects += by;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
	struct ibv_qp *qp = calloc(1, sizeof(*qp));
	int ret = EINVAL;

	if (fk_gone(pd->context))
		return NULL;
	if (!qp)
		return NULL;
	*qp = (struct ibv_qp){ .context = pd->context, .qp_context = init->qp_context, .pd = pd, .send_cq = init->send_cq,
			       .recv_cq = init->recv_cq, .srq = init->srq, .qp_type = init->qp_type };
	if (fk_enter("ibv_create_qp")) {
		ret = check_init(pd, init);
		if (!ret)
			ret = create(qp, init);
		if (!ret)
			count_users(&fk.shm->qp[qp->handle], qp, 1);
		fk_leave();
	}
	if (ret) {
		free(qp);
		errno = ret;
		return NULL;
	}
	return qp;
}

/* Nothing that was posted is left, and no completion of it. */
static void empty(struct fk_qp *q)
{
	fk_stop_waiting(q);
	fk_cq_forget(q->send_cq, fk_qp_row(q));
	fk_cq_forget(q->recv_cq, fk_qp_row(q));
	q->sq.freed = q->sq.next = q->sq.posted = 0;
	q->rq.freed = q->rq.next = q->rq.posted = 0;
}

static int destroy(struct ibv_qp *qp)
{
	struct fk_qp *q = fk_qp_of(qp, "ibv_destroy_qp");

	if (!q)
		return EINVAL;
	empty(q);
	fk_late_place(FK_NONE, fk_qp_row(q));
	fk_bell_forget(q->async, qp->context->async_fd, (uintptr_t)qp);
	if (qp->events_completed)
		fk_complain("ibv_destroy_qp: events of it were not acknowledged: this call would wait for ever");
	count_users(q, qp, -1);
	fk_ring_free(&q->sq);
	fk_ring_free(&q->rq);
	q->h.owner = 0;
	return 0;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
	int ret, gone = fk_gone(qp->context);

	if (!fk_enter("ibv_destroy_qp"))
		return EINVAL;
	ret = destroy(qp);
	fk_leave();
	if (!ret)
		free(qp);
	return ret ? ret : gone;
}

/* ---- states ---- */

static const struct {
	enum ibv_qp_state from, to;
	int must, may;
} moves[] = {
	{ IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0 },
	{ IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS },
	{ IBV_QPS_INIT, IBV_QPS_RTR,
	  IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
	  IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX },
	{ IBV_QPS_RTR, IBV_QPS_RTS,
	  IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
	  IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER },
	{ IBV_QPS_RTS, IBV_QPS_RTS, 0, IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER },
};

static int check_move(const struct fk_qp *q, enum ibv_qp_state to, int mask)
{
	int rest = mask & ~IBV_QP_STATE;

	if (to == IBV_QPS_RESET || to == IBV_QPS_ERR) /* from anywhere, and with nothing else */
		return rest ? fk_complain("ibv_modify_qp: to state %d with mask %#x", to, mask) : 0;
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		if (moves[i].from != q->state || moves[i].to != to)
			continue;
		if ((rest & moves[i].must) == moves[i].must && !(rest & ~(moves[i].must | moves[i].may)))
			return 0;
		return fk_complain("ibv_modify_qp: state %d to %d with mask %#x: lacks %#x, has %#x too much", q->state, to, mask,
				   moves[i].must & ~rest, rest & ~(moves[i].must | moves[i].may));
	}
	return fk_complain("ibv_modify_qp: from state %d to %d", q->state, to);
}

static bool is_v4(const union ibv_gid *g)
{
	return !memcmp(g->raw, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
}

/* On InfiniBand a LID leads there, within the subnet; a global route is said whole or not at all. */
static int check_ib_path(const struct fk_qp *q, const struct ibv_ah_attr *a)
{
	static const struct ibv_global_route none;
	union ibv_gid own;

	if (a->port_num != 1 || a->sl > 15 || a->src_path_bits || a->static_rate)
		return fk_complain("ibv_modify_qp: path by port %u, service level %u, path bits %u, rate %u", a->port_num, a->sl,
				   a->src_path_bits, a->static_rate);
	if (!a->dlid || a->dlid >= 0xc000)
		return fk_complain("ibv_modify_qp: dlid %#x is no port's", a->dlid);
	if (!a->is_global && fk_needs_grh(q->dev))
		return fk_complain("ibv_modify_qp: a path without a global route, which this port wants");
	if (!a->is_global)
		return memcmp(&a->grh, &none, sizeof(none)) ? fk_complain("ibv_modify_qp: a global route that is_global denies") : 0;
	if (!a->grh.hop_limit || !fk_gid_of(q->dev, a->grh.sgid_index, &own))
		return fk_complain("ibv_modify_qp: a global route with hop limit %u from address %u", a->grh.hop_limit, a->grh.sgid_index);
	return 0;
}

/* ENETUNREACH without a complaint: a peer may tell any address. */
static int check_path(const struct fk_qp *q, const struct ibv_ah_attr *a)
{
	union ibv_gid own;

	if (fk_is_ib(q->dev))
		return check_ib_path(q, a);
	if (!a->is_global || a->port_num != 1 || !a->grh.hop_limit)
		return fk_complain("ibv_modify_qp: path is_global %u, port %u, hop limit %u: on Ethernet it is global",
				   a->is_global, a->port_num, a->grh.hop_limit);
	if (a->sl > 7)
		return fk_complain("ibv_modify_qp: service level %u: on Ethernet it is a priority", a->sl);
	if (!fk_gid_of(q->dev, a->grh.sgid_index, &own))
		return fk_complain("ibv_modify_qp: no address has index %u", a->grh.sgid_index);
	if (fk_device_of(&a->grh.dgid) == FK_NONE || is_v4(&a->grh.dgid) != is_v4(&own))
		return ENETUNREACH;
	return 0;
}

static int check_values(const struct fk_qp *q, const struct ibv_qp_attr *a, int mask)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
	const struct { int bit; uint64_t have, min, max; const char *name; } v[] = {
		{ IBV_QP_CUR_STATE, a->cur_qp_state, q->state, q->state, "cur_qp_state" },
		{ IBV_QP_PORT, a->port_num, 1, 1, "port_num" },
		{ IBV_QP_PKEY_INDEX, a->pkey_index, 0, fk_n_pkeys() - 1, "pkey_index" },
		{ IBV_QP_ACCESS_FLAGS, a->qp_access_flags & ~(unsigned)access, 0, 0, "qp_access_flags" },
		{ IBV_QP_PATH_MTU, a->path_mtu, IBV_MTU_256, fk_mtu_of(q->dev), "path_mtu" },
		{ IBV_QP_DEST_QPN, a->dest_qp_num, 2, 0xffffff, "dest_qp_num" },
		{ IBV_QP_RQ_PSN, a->rq_psn, 0, 0xffffff, "rq_psn" },
		{ IBV_QP_SQ_PSN, a->sq_psn, 0, 0xffffff, "sq_psn" },
		{ IBV_QP_MAX_DEST_RD_ATOMIC, a->max_dest_rd_atomic, 0, FK_MAX_RD, "max_dest_rd_atomic" },
		{ IBV_QP_MAX_QP_RD_ATOMIC, a->max_rd_atomic, 0, FK_MAX_RD, "max_rd_atomic" },
		{ IBV_QP_MIN_RNR_TIMER, a->min_rnr_timer, 0, 31, "min_rnr_timer" },
		{ IBV_QP_TIMEOUT, a->timeout, 0, 31, "timeout" },
		{ IBV_QP_RETRY_CNT, a->retry_cnt, 0, 7, "retry_cnt" },
		{ IBV_QP_RNR_RETRY, a->rnr_retry, 0, 7, "rnr_retry" },
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (mask & v[i].bit && (v[i].have < v[i].min || v[i].have > v[i].max))
			return fk_complain("ibv_modify_qp: %s %llu", v[i].name, (unsigned long long)v[i].have);
	if (mask & IBV_QP_PKEY_INDEX && !(fk_pkey_of(a->pkey_index) & 0x7fff))
		return fk_complain("ibv_modify_qp: no P_Key stands at index %u", a->pkey_index);
	return mask & IBV_QP_AV ? check_path(q, &a->ah_attr) : 0;
}

static void keep_values(struct ibv_qp_attr *to, const struct ibv_qp_attr *a, int mask)
{
	if (mask & IBV_QP_ACCESS_FLAGS)
		to->qp_access_flags = a->qp_access_flags;
	if (mask & IBV_QP_PORT)
		to->port_num = a->port_num;
	if (mask & IBV_QP_PKEY_INDEX)
		to->pkey_index = a->pkey_index;
	if (mask & IBV_QP_AV)
		to->ah_attr = a->ah_attr;
	if (mask & IBV_QP_PATH_MTU)
		to->path_mtu = a->path_mtu;
	if (mask & IBV_QP_DEST_QPN)
		to->dest_qp_num = a->dest_qp_num;
	if (mask & IBV_QP_RQ_PSN)
		to->rq_psn = a->rq_psn;
	if (mask & IBV_QP_SQ_PSN)
		to->sq_psn = a->sq_psn;
	if (mask & IBV_QP_MAX_DEST_RD_ATOMIC)
		to->max_dest_rd_atomic = a->max_dest_rd_atomic;
	if (mask & IBV_QP_MAX_QP_RD_ATOMIC)
		to->max_rd_atomic = a->max_rd_atomic;
	if (mask & IBV_QP_MIN_RNR_TIMER)
		to->min_rnr_timer = a->min_rnr_timer;
	if (mask & IBV_QP_TIMEOUT)
		to->timeout = a->timeout;
	if (mask & IBV_QP_RETRY_CNT)
		to->retry_cnt = a->retry_cnt;
	if (mask & IBV_QP_RNR_RETRY)
		to->rnr_retry = a->rnr_retry;
}

static int modify(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	struct fk_qp *q = fk_qp_of(qp, "ibv_modify_qp");
	enum ibv_qp_state to;
	int ret;

	if (!q)
		return EINVAL;
	to = mask & IBV_QP_STATE ? attr->qp_state : q->state;
	ret = check_move(q, to, mask);
	if (!ret)
		ret = check_values(q, attr, mask);
	if (ret)
		return ret;
	keep_values(&q->attr, attr, mask);
	if (mask & IBV_QP_PKEY_INDEX)
		q->pkey = fk_pkey_of(attr->pkey_index);
	if (to == IBV_QPS_RESET) {
		empty(q);
		q->attr = (struct ibv_qp_attr){ 0 };
	}
	if (to == IBV_QPS_ERR) {
		fk_qp_fail(q, -1);
	} else {
		q->state = to;
		fk_progress(); /* a peer's request may wait for this */
	}
	qp->state = q->state;
	return 0;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	int ret;

	if (fk_gone(qp->context))
		return EIO;
	if (!fk_enter("ibv_modify_qp"))
		return EINVAL;
	ret = modify(qp, attr, mask);
	fk_leave();
	return ret;
}

int ibv_query_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask, struct ibv_qp_init_attr *init)
{
	struct fk_qp *q;

	(void)mask;
	if (!fk_enter("ibv_query_qp"))
		return EINVAL;
	q = fk_qp_of(qp, "ibv_query_qp");
	if (q) {
		*attr = q->attr;
		attr->qp_state = attr->cur_qp_state = qp->state = q->state;
		attr->cap = q->cap;
		*init = (struct ibv_qp_init_attr){ .qp_context = qp->qp_context, .send_cq = qp->send_cq, .recv_cq = qp->recv_cq,
						   .srq = qp->srq, .cap = q->cap, .qp_type = qp->qp_type,
						   .sq_sig_all = q->sig_all };
	}
	fk_leave();
	return q ? 0 : EINVAL;
}

void fk_qp_fail(struct fk_qp *q, int event)
{
	uint64_t pd;
	bool first = q->state != IBV_QPS_ERR;

	fk_stop_waiting(q);
	fk_late_place(FK_NONE, fk_qp_row(q));
	q->state = IBV_QPS_ERR;
	q->paced_to = 0;
	if (event >= 0)
		fk_bell_push(q->async, q->h.user, (uint32_t)event);
	while (q->sq.next != q->sq.posted) {
		fk_complete_send(q, q->sq.next, IBV_WC_WR_FLUSH_ERR, 0);
		q->sq.next++;
	}
	while (q->srq == FK_NONE && q->rq.next != q->rq.posted) {
		fk_complete_recv(q, fk_recv_peek(q, &pd), IBV_WC_WR_FLUSH_ERR, 0, 0, NULL);
		fk_recv_pop(q);
	}
	if (first && q->srq != FK_NONE)
		fk_bell_push(q->async, q->h.user, IBV_EVENT_QP_LAST_WQE_REACHED);
}
