/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cq.c - completion queues and their channels; see fake.h.
 */
#include "fake/ibverbs/fake.h"

#include <stdlib.h>
#include <string.h>

/* ---- channels ---- */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *ctx)
{
	struct fk_channel *c = fk_gone(ctx) ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->bell = FK_NONE;
	c->v.context = ctx;
	if (fk_enter("ibv_create_comp_channel")) {
		c->bell = fk_bell_new(fk_ctx(ctx), c, &c->v.fd);
		fk_ctx(ctx)->n_objects += c->bell != FK_NONE;
		fk_leave();
	}
	if (c->bell == FK_NONE) {
		free(c);
		return NULL;
	}
	return &c->v;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	struct fk_channel *c = (struct fk_channel *)channel;

	if (!fk_enter("ibv_destroy_comp_channel"))
		return EINVAL;
	if (channel->refcnt) {
		fk_complain("ibv_destroy_comp_channel: %d completion queues use it", channel->refcnt);
		fk_leave();
		return EBUSY;
	}
	fk_bell_free(c->bell, channel->fd);
	fk_ctx(channel->context)->n_objects--;
	fk_leave();
	free(c);
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
	struct fk_event e;

	if (fk_bell_wait(((struct fk_channel *)channel)->bell, channel->fd, &e, "ibv_get_cq_event"))
		return -1;
	*cq = (struct ibv_cq *)(uintptr_t)e.object;
	*cq_context = (*cq)->cq_context;
	(*cq)->comp_events_completed--; /* given and not acknowledged: below 0 */
	return 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int n)
{
	cq->comp_events_completed += n;
	if ((int)cq->comp_events_completed > 0)
		fk_complain("ibv_ack_cq_events: more than there were");
}

/* ---- queues ---- */

struct fk_cq *fk_cq_of(struct ibv_cq *cq, const char *what)
{
	struct fk_cq *q = cq && cq->handle < FK_CQS ? &fk.shm->cq[cq->handle] : NULL;

	if (!q || q->h.owner != fk.me || q->h.user != (uintptr_t)cq) {
		fk_complain("%s: not a completion queue", what);
		return NULL;
	}
	return q;
}

static int create(struct ibv_cq *cq)
{
	uint32_t row = FK_TAKE(cq, cq);
	struct fk_cq *q = &fk.shm->cq[row == FK_NONE ? 0 : row];

	if (row == FK_NONE)
		return ENOMEM;
	if (fk_ring_new(&q->ring, (uint32_t)cq->cqe, sizeof(struct fk_cqe))) {
		q->h.owner = 0;
		return ENOMEM;
	}
	cq->handle = row;
	q->bell = cq->channel ? ((struct fk_channel *)cq->channel)->bell : FK_NONE;
	q->async = fk_ctx(cq->context)->async;
	if (cq->channel)
		cq->channel->refcnt++;
	fk_ctx(cq->context)->n_objects++;
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *ctx, int cqe, void *cq_context, struct ibv_comp_channel *channel, int vector)
{
	struct ibv_cq *cq;
	int ret = EINVAL;

	if (fk_gone(ctx))
		return NULL;
	if (cqe < 1 || cqe > fk_max_cqe() || vector < 0 || vector >= ctx->num_comp_vectors)
		return fk_complain_null(EINVAL, "ibv_create_cq: %d entries, vector %d", cqe, vector);
	if (channel && channel->context != ctx)
		return fk_complain_null(EINVAL, "ibv_create_cq: a channel of another device");
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return NULL;
	cq->context = ctx;
	cq->channel = channel;
	cq->cq_context = cq_context;
	cq->cqe = cqe;
	if (fk_enter("ibv_create_cq")) {
		ret = create(cq);
		fk_leave();
	}
	if (ret) {
		free(cq);
		errno = ret;
		return NULL;
	}
	return cq;
}

int ibv_resize_cq(struct ibv_cq *cq, int cqe)
{
	struct fk_ring old, new;
	struct fk_cq *q;
	int ret = EINVAL;

	if (!fk_enter("ibv_resize_cq"))
		return EINVAL;
	q = fk_cq_of(cq, "ibv_resize_cq");
	if (!q || cqe < 1 || cqe > fk_max_cqe()) {
		fk_complain("ibv_resize_cq: %d entries", cqe);
	} else if (q->ring.posted - q->ring.freed <= (uint32_t)cqe) {
		old = q->ring;
		ret = fk_ring_new(&new, (uint32_t)cqe, sizeof(struct fk_cqe));
		if (!ret) {
			for (uint32_t i = old.freed; i != old.posted; i++)
				memcpy(fk_slot(&new, i), fk_slot(&old, i), sizeof(struct fk_cqe));
			new.freed = old.freed;
			new.posted = old.posted;
			q->ring = new;
			fk_ring_free(&old);
			cq->cqe = cqe;
		}
	}
	fk_leave();
	return ret;
}

static int destroy(struct ibv_cq *cq)
{
	struct fk_cq *q = fk_cq_of(cq, "ibv_destroy_cq");

	if (!q)
		return EINVAL;
	if (q->n_qps) {
		fk_complain("ibv_destroy_cq: %u queue pairs use it", q->n_qps);
		return EBUSY;
	}
	if (q->bell != FK_NONE)
		fk_bell_forget(q->bell, cq->channel->fd, (uintptr_t)cq);
	fk_bell_forget(q->async, cq->context->async_fd, (uintptr_t)cq);
	if (cq->comp_events_completed || cq->async_events_completed)
		fk_complain("ibv_destroy_cq: events of it were not acknowledged: this call would wait for ever");
	fk_ring_free(&q->ring);
	q->h.owner = 0;
	if (cq->channel)
		cq->channel->refcnt--;
	fk_ctx(cq->context)->n_objects--;
	return 0;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	int ret, gone = fk_gone(cq->context);

	if (!fk_enter("ibv_destroy_cq"))
		return EINVAL;
	ret = destroy(cq);
	fk_leave();
	if (!ret)
		free(cq);
	return ret ? ret : gone;
}

/* ---- completions ---- */

void fk_cq_push(uint32_t cq, const struct fk_cqe *e, bool solicited)
{
	struct fk_cq *q = &fk.shm->cq[cq];

	if (q->ring.posted - q->ring.freed == q->ring.n) {
		if (!q->overrun)
			fk_bell_push(q->async, q->h.user, IBV_EVENT_CQ_ERR);
		q->overrun = true;
		fk_complain("a completion queue of %u entries is overrun", q->ring.n);
		return;
	}
	memcpy(fk_slot(&q->ring, q->ring.posted), e, sizeof(*e));
	q->ring.posted++;
	if (q->bell != FK_NONE && (q->armed == FK_ARMED || (q->armed == FK_ARMED_SOLICITED && (solicited || e->wc.status)))) {
		q->armed = FK_UNARMED;
		fk_bell_push(q->bell, q->h.user, 0);
	}
}

/* Completions of a queue pair that goes away; those behind them move up. */
void fk_cq_forget(uint32_t cq, uint32_t qp)
{
	struct fk_ring *r = &fk.shm->cq[cq].ring;
	uint32_t kept = r->freed;

	for (uint32_t i = r->freed; i != r->posted; i++) {
		struct fk_cqe *e = fk_slot(r, i);

		if (e->qp != qp && kept++ != i)
			memcpy(fk_slot(r, kept - 1), e, sizeof(*e));
	}
	r->posted = kept;
}

static void take(struct fk_cq *q, struct ibv_wc *wc)
{
	struct fk_cqe *e = fk_slot(&q->ring, q->ring.freed);
	struct fk_qp *p = &fk.shm->qp[e->qp];

	*wc = e->wc;
	if (e->is_send && p->h.gen == e->qp_gen)
		p->sq.freed = e->frees;
	q->ring.freed++;
}

int fk_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	struct fk_cq *q;
	int got = 0;

	/* the look at an empty queue takes no lock, as on devices */
	if (cq->handle < FK_CQS && fk.users && !fk.shm->n_waiting) {
		q = &fk.shm->cq[cq->handle];
		if (q->h.user == (uintptr_t)cq && q->h.owner == fk.me && q->ring.freed == q->ring.posted && !q->overrun)
			return 0;
	}
	if (!fk_enter("ibv_poll_cq"))
		return -1;
	q = fk_cq_of(cq, "ibv_poll_cq");
	if (q)
		fk_progress();
	while (q && got < n && q->ring.freed != q->ring.posted)
		take(q, &wc[got++]);
	if (got)
		fk_relaxed_place();
	if (!q || (q->overrun && !got))
		got = -1;
	fk_leave();
	return got;
}

int fk_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
	struct fk_cq *q;

	if (fk_gone(cq->context))
		return EIO;
	if (!fk_enter("ibv_req_notify_cq"))
		return EINVAL;
	q = fk_cq_of(cq, "ibv_req_notify_cq");
	if (q && q->bell == FK_NONE) {
		fk_complain("ibv_req_notify_cq: the queue has no channel");
		q = NULL;
	}
	if (q && q->armed != FK_ARMED)
		q->armed = solicited_only ? FK_ARMED_SOLICITED : FK_ARMED;
	fk_leave();
	return q ? 0 : EINVAL;
}
