/* SPDX-License-Identifier: BSD-3-Clause
 *
 * recv.c - where receives are posted: shared receive queues, and those of single queue pairs; see fake.h.
 */
#include "fake/ibverbs/fake.h"

#include <stdlib.h>
#include <string.h>

struct fk_srq *fk_srq_of(struct ibv_srq *srq, const char *what)
{
	struct fk_srq *s = srq && srq->handle < FK_SRQS ? &fk.shm->srq[srq->handle] : NULL;

	if (!s || s->h.owner != fk.me || s->h.user != (uintptr_t)srq) {
		fk_complain("%s: not a shared receive queue", what);
		return NULL;
	}
	return s;
}

static int create(struct ibv_srq *srq, const struct ibv_srq_attr *attr)
{
	uint32_t row = FK_TAKE(srq, srq);
	struct fk_srq *s = &fk.shm->srq[row == FK_NONE ? 0 : row];

	if (row == FK_NONE)
		return ENOMEM;
	if (fk_ring_new(&s->ring, attr->max_wr, sizeof(struct fk_recv) + attr->max_sge * sizeof(struct ibv_sge))) {
		s->h.owner = 0;
		return ENOMEM;
	}
	srq->handle = row;
	s->pd = ((struct fk_pd *)srq->pd)->id;
	s->max_sge = attr->max_sge;
	s->async = fk_ctx(srq->context)->async;
	((struct fk_pd *)srq->pd)->n_objects++;
	return 0;
}

struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *init)
{
	const struct ibv_srq_attr *attr = &init->attr;
	struct ibv_srq *srq;
	int ret = EINVAL;

	if (fk_gone(pd->context))
		return NULL;
	if (!fk_has_srqs(fk_ctx(pd->context)->dev->index)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (!attr->max_wr || attr->max_wr > FK_MAX_SRQ_WR || attr->max_sge > FK_MAX_SGE)
		return fk_complain_null(EINVAL, "ibv_create_srq: %u entries of %u pieces", attr->max_wr, attr->max_sge);
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;
	srq->context = pd->context;
	srq->srq_context = init->srq_context;
	srq->pd = pd;
	if (fk_enter("ibv_create_srq")) {
		ret = create(srq, attr);
		fk_leave();
	}
	if (ret) {
		free(srq);
		errno = ret;
		return NULL;
	}
	return srq;
}

int ibv_modify_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr, int mask)
{
	struct fk_srq *s;
	int ret = 0;

	if (!fk_enter("ibv_modify_srq"))
		return EINVAL;
	s = fk_srq_of(srq, "ibv_modify_srq");
	if (!s || mask != IBV_SRQ_LIMIT || attr->srq_limit > s->ring.n)
		ret = fk_complain("ibv_modify_srq: mask %#x, limit %u (sizes do not change here)", mask, attr->srq_limit);
	else
		s->limit = attr->srq_limit;
	fk_leave();
	return ret;
}

static int destroy(struct ibv_srq *srq)
{
	struct fk_srq *s = fk_srq_of(srq, "ibv_destroy_srq");

	if (!s)
		return EINVAL;
	if (s->n_qps) {
		fk_complain("ibv_destroy_srq: %u queue pairs use it", s->n_qps);
		return EBUSY;
	}
	fk_bell_forget(s->async, srq->context->async_fd, (uintptr_t)srq);
	if (srq->events_completed)
		fk_complain("ibv_destroy_srq: events of it were not acknowledged: this call would wait for ever");
	fk_ring_free(&s->ring);
	s->h.owner = 0;
	((struct fk_pd *)srq->pd)->n_objects--;
	return 0;
}

int ibv_destroy_srq(struct ibv_srq *srq)
{
	int ret, gone = fk_gone(srq->context);

	if (!fk_enter("ibv_destroy_srq"))
		return EINVAL;
	ret = destroy(srq);
	fk_leave();
	if (!ret)
		free(srq);
	return ret ? ret : gone;
}

/* ---- posting ---- */

static int post(struct fk_ring *r, uint32_t max_sge, const struct ibv_recv_wr *wr, const char *what)
{
	struct fk_recv *e;

	if (wr->num_sge < 0 || (uint32_t)wr->num_sge > max_sge)
		return fk_complain("%s: %d pieces, %u at most", what, wr->num_sge, max_sge);
	if (r->posted - r->freed == r->n)
		return ENOMEM;
	e = fk_slot(r, r->posted);
	*e = (struct fk_recv){ .id = wr->wr_id, .n_sge = (uint32_t)wr->num_sge };
	for (int i = 0; i < wr->num_sge; i++)
		((struct ibv_sge *)(e + 1))[i] = wr->sg_list[i];
	r->posted++;
	return 0;
}

int fk_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fk_srq *s;
	int ret = EINVAL;

	*bad = wr;
	if (fk_gone(srq->context))
		return EIO;
	if (!fk_enter("ibv_post_srq_recv"))
		return EINVAL;
	s = fk_srq_of(srq, "ibv_post_srq_recv");
	for (; s && wr; wr = wr->next) {
		*bad = wr;
		ret = post(&s->ring, s->max_sge, wr, "ibv_post_srq_recv");
		if (ret)
			break;
	}
	if (s)
		fk_progress();
	fk_leave();
	return ret;
}

int fk_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fk_qp *q;
	int ret = EINVAL;

	*bad = wr;
	if (fk_gone(qp->context))
		return EIO;
	if (!fk_enter("ibv_post_recv"))
		return EINVAL;
	q = fk_qp_of(qp, "ibv_post_recv");
	if (q && (q->srq != FK_NONE || q->state == IBV_QPS_RESET)) {
		fk_complain("ibv_post_recv: the queue pair %s", q->srq != FK_NONE ? "has a shared receive queue" : "is in RESET");
		q = NULL;
	}
	for (; q && wr; wr = wr->next) {
		*bad = wr;
		ret = post(&q->rq, q->cap.max_recv_sge, wr, "ibv_post_recv");
		if (ret)
			break;
	}
	if (q && q->state == IBV_QPS_ERR)
		fk_qp_fail(q, -1);
	else if (q)
		fk_progress();
	fk_leave();
	return ret;
}

/* ---- taking ---- */

struct fk_recv *fk_recv_peek(struct fk_qp *q, uint64_t *pd)
{
	struct fk_ring *r = q->srq != FK_NONE ? &fk.shm->srq[q->srq].ring : &q->rq;

	*pd = q->srq != FK_NONE ? fk.shm->srq[q->srq].pd : q->pd;
	return r->next == r->posted ? NULL : fk_slot(r, r->next);
}

void fk_recv_pop(struct fk_qp *q)
{
	struct fk_srq *s = q->srq != FK_NONE ? &fk.shm->srq[q->srq] : NULL;
	struct fk_ring *r = s ? &s->ring : &q->rq;

	r->freed = ++r->next;
	if (s && s->limit && r->posted - r->next < s->limit) {
		s->limit = 0; /* once for each time it is set */
		fk_bell_push(s->async, s->h.user, IBV_EVENT_SRQ_LIMIT_REACHED);
	}
}
