/* SPDX-License-Identifier: BSD-3-Clause
 *
 * send.c - posting sends, completing them, and what waits; see fake.h.
 */
#include "fake/ibverbs/fake.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELPER_MS 2
#define GONE_MS 200 /* the longest that a request to nobody is tried */

/* ---- completions ---- */

/* What a failed completion does not say. */
static struct ibv_wc garbage(void)
{
	struct ibv_wc wc;

	memset(&wc, 0xa5, sizeof(wc));
	return wc;
}

void fk_complete_send(struct fk_qp *q, uint32_t pos, int status, uint32_t vendor)
{
	static const uint8_t opcode[] = {
		[IBV_WR_RDMA_WRITE] = IBV_WC_RDMA_WRITE, [IBV_WR_RDMA_WRITE_WITH_IMM] = IBV_WC_RDMA_WRITE,
		[IBV_WR_SEND] = IBV_WC_SEND, [IBV_WR_SEND_WITH_IMM] = IBV_WC_SEND, [IBV_WR_RDMA_READ] = IBV_WC_RDMA_READ,
		[IBV_WR_ATOMIC_CMP_AND_SWP] = IBV_WC_COMP_SWAP, [IBV_WR_ATOMIC_FETCH_AND_ADD] = IBV_WC_FETCH_ADD,
	};
	struct fk_wr *wr = fk_slot(&q->sq, pos);
	struct fk_cqe e = { .wc = garbage(), .qp = fk_qp_row(q), .qp_gen = q->h.gen, .frees = pos + 1, .is_send = 1 };

	if (status == IBV_WC_SUCCESS && !(wr->flags & IBV_SEND_SIGNALED) && !q->sig_all)
		return;
	e.wc.wr_id = wr->id;
	e.wc.status = (enum ibv_wc_status)status;
	e.wc.vendor_err = vendor;
	e.wc.qp_num = q->qpn;
	if (status == IBV_WC_SUCCESS) {
		e.wc.opcode = (enum ibv_wc_opcode)opcode[wr->opcode];
		e.wc.wc_flags = 0;
		e.wc.byte_len = wr->len;
	}
	fk_cq_push(q->send_cq, &e, false);
}

void fk_complete_recv(struct fk_qp *q, const struct fk_recv *r, int status, uint32_t opcode, uint32_t len, const struct fk_wr *wr)
{
	struct fk_cqe e = { .wc = garbage(), .qp = fk_qp_row(q), .qp_gen = q->h.gen };

	e.wc.wr_id = r->id;
	e.wc.status = (enum ibv_wc_status)status;
	e.wc.vendor_err = 0;
	e.wc.qp_num = q->qpn;
	if (status == IBV_WC_SUCCESS) {
		bool imm = wr->opcode == IBV_WR_SEND_WITH_IMM || wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;

		e.wc.opcode = (enum ibv_wc_opcode)opcode;
		e.wc.byte_len = len;
		e.wc.wc_flags = imm ? IBV_WC_WITH_IMM : 0;
		if (imm)
			e.wc.imm_data = wr->imm;
		e.wc.src_qp = q->attr.dest_qp_num;
	}
	fk_cq_push(q->recv_cq, &e, wr && wr->flags & IBV_SEND_SOLICITED);
}

/* ---- waiting ---- */

void fk_stop_waiting(struct fk_qp *q)
{
	struct fk_shm *s = fk.shm;
	uint32_t i = 0;

	if (!q->waits)
		return;
	q->waits = false;
	while (s->waiting[i] != fk_qp_row(q))
		i++;
	s->waiting[i] = s->waiting[--s->n_waiting];
}

static bool waits_for_us(const struct fk_qp *q)
{
	uint32_t row = q->attr.dest_qp_num & (FK_QPS - 1);

	return q->h.owner == fk.me || fk.shm->qp[row].h.owner == fk.me;
}

void fk_progress(void)
{
	for (uint32_t i = fk.shm->n_waiting; i-- > 0;) {
		struct fk_qp *q;

		if (i >= fk.shm->n_waiting)
			continue; /* one that failed took others with it */
		q = &fk.shm->qp[fk.shm->waiting[i]];
		if (waits_for_us(q))
			fk_run(q);
	}
}

static bool any_of_ours_waits(void)
{
	for (uint32_t i = 0; i < fk.shm->n_waiting; i++)
		if (fk.shm->qp[fk.shm->waiting[i]].h.owner == fk.me)
			return true;
	return false;
}

/* So that limits of time pass while the program sleeps. */
static void *help(void *arg)
{
	const struct timespec pause = { .tv_nsec = HELPER_MS * 1000000 };
	struct fk_shm *shm = arg;
	bool more = true;

	while (more) {
		nanosleep(&pause, NULL);
		if (pthread_mutex_lock(&shm->lock) == EOWNERDEAD)
			pthread_mutex_consistent(&shm->lock);
		more = fk.users && fk.shm == shm;
		if (more) {
			fk_progress();
			more = any_of_ours_waits();
		}
		if (!more && fk.shm == shm)
			fk.helper = false;
		pthread_mutex_unlock(&shm->lock);
	}
	return NULL;
}

static void start_helper(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	if (fk.helper)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* the program's handlers run in its threads */
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	fk.helper = !pthread_create(&thread, &attr, help, fk.shm);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void start_waiting(struct fk_qp *q)
{
	if (!q->waits) {
		q->waits = true;
		fk.shm->waiting[fk.shm->n_waiting++] = fk_qp_row(q);
	}
	if (q->h.owner == fk.me)
		start_helper();
}

/* ---- limits ---- */

/* False: an adapter of that speed is not through with the first of what is posted yet. */
static bool is_through(struct fk_qp *q)
{
	const struct fk_wr *wr = fk_slot(&q->sq, q->sq.next);
	uint64_t rate = fk_rate_of(q->dev);

	if (!rate)
		return true;
	if (!q->paced_to)
		q->paced_to = fk_now() + wr->len * 1000ull / rate;
	return fk_now() >= q->paced_to;
}

/* 4.096 us * 2^timeout for each of the tries; 0 means for ever. Nobody is there: not longer than a test likes to wait. */
static uint64_t no_peer_limit(const struct fk_qp *q)
{
	const struct fk_qp *d = &fk.shm->qp[q->attr.dest_qp_num & (FK_QPS - 1)];
	uint64_t ns = (4096ull << q->attr.timeout) * (q->attr.retry_cnt + 1u);
	bool may_come = d->qpn == q->attr.dest_qp_num && d->state < IBV_QPS_RTR && fk_is_alive(d->h.owner);

	if (!q->attr.timeout)
		return UINT64_MAX;
	return ns > GONE_MS * FK_MS && !may_come ? GONE_MS * FK_MS : ns;
}

static uint64_t rnr_limit(const struct fk_qp *q)
{
	static const uint16_t in_10_us[32] = {
		65535, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
		256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
	};
	const struct fk_qp *d = &fk.shm->qp[q->attr.dest_qp_num & (FK_QPS - 1)];

	if (q->attr.rnr_retry == 7)
		return UINT64_MAX;
	return in_10_us[d->attr.min_rnr_timer & 31] * 10000ull * (q->attr.rnr_retry + 1u);
}

/* The status of a request that could not be carried out, or still @why. */
static int still_waits(struct fk_qp *q, int why)
{
	uint64_t *since = why == FK_RNR ? &q->rnr_since : &q->no_peer_since, now = fk_now();

	if (why == FK_RNR)
		q->no_peer_since = 0; /* it answers */
	if (!*since)
		*since = now;
	if (now - *since < (why == FK_RNR ? rnr_limit(q) : no_peer_limit(q)))
		return why;
	return why == FK_RNR ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_RETRY_EXC_ERR;
}

static int carry_out(struct fk_qp *q, struct fk_wr *wr)
{
	bool answers = wr->opcode >= IBV_WR_RDMA_READ && wr->opcode <= IBV_WR_ATOMIC_FETCH_AND_ADD;

	/* "dark": nothing gets through, and no port knows */
	if (fk_device_has_fault("dark", q->dev))
		return FK_NO_PEER;
	/* "sunk": nothing does, and what needs no answer is done when it is sent, as over iWARP */
	if (fk_device_has_fault("sunk", q->dev))
		return answers ? FK_NO_PEER : IBV_WC_SUCCESS;
	return fk_execute(q, wr);
}

void fk_run(struct fk_qp *q)
{
	/* "mute": one whose clock stands still; nothing ends any more, well or not */
	if (q->state == IBV_QPS_RTS && fk_device_has_fault("mute", q->dev))
		return;
	/* "hold": one that stands still for a while and then goes on */
	if (q->state == IBV_QPS_RTS && q->sq.next != q->sq.posted && fk_device_has_fault("hold", q->dev)) {
		start_waiting(q);
		return;
	}
	/* "lazy": an adapter takes its time, here 20 us */
	if (q->state == IBV_QPS_RTS && q->sq.next != q->sq.posted && fk_has_fault("lazy")) {
		if (!q->lazy_from)
			q->lazy_from = fk_now();
		if (fk_now() - q->lazy_from < 20000) {
			start_waiting(q);
			return;
		}
	}
	q->lazy_from = 0;
	while (q->state == IBV_QPS_RTS && q->sq.next != q->sq.posted) {
		uint32_t vendor = 0;
		int status;

		if (!is_through(q)) {
			start_waiting(q);
			return;
		}
		if (!fk_wanted_status(&status, &vendor))
			status = carry_out(q, fk_slot(&q->sq, q->sq.next));
		if (status >= FK_NO_PEER)
			status = still_waits(q, status);
		if (status >= FK_NO_PEER) {
			start_waiting(q);
			return;
		}
		q->no_peer_since = q->rnr_since = q->paced_to = 0;
		if (q->state != IBV_QPS_RTS)
			break; /* both ends are one, and that end failed */
		fk_complete_send(q, q->sq.next, status, vendor);
		q->sq.next++;
		if (status)
			fk_qp_fail(q, -1);
	}
	fk_stop_waiting(q);
}

/* ---- posting ---- */

static size_t sum(const struct ibv_send_wr *wr)
{
	size_t n = 0;

	for (int i = 0; i < wr->num_sge; i++)
		n += wr->sg_list[i].length;
	return n;
}

static int check(const struct fk_qp *q, const struct ibv_send_wr *wr)
{
	const unsigned flags = IBV_SEND_FENCE | IBV_SEND_SIGNALED | IBV_SEND_SOLICITED | IBV_SEND_INLINE;
	bool reads = wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_ATOMIC_CMP_AND_SWP ||
		     wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;

	if (wr->opcode > IBV_WR_ATOMIC_FETCH_AND_ADD || wr->send_flags & ~flags)
		return fk_complain("ibv_post_send: opcode %d, flags %#x", wr->opcode, wr->send_flags);
	if (wr->num_sge < 0 || (uint32_t)wr->num_sge > q->cap.max_send_sge)
		return fk_complain("ibv_post_send: %d pieces, %u at most", wr->num_sge, q->cap.max_send_sge);
	if (sum(wr) > FK_MAX_MSG)
		return fk_complain("ibv_post_send: %zu bytes, %d at most", sum(wr), FK_MAX_MSG);
	if (wr->send_flags & IBV_SEND_INLINE && (reads || sum(wr) > q->cap.max_inline_data))
		return fk_complain("ibv_post_send: opcode %d with %zu bytes inline, %u at most", wr->opcode, sum(wr),
				   q->cap.max_inline_data);
	if (reads && !q->attr.max_rd_atomic && q->state == IBV_QPS_RTS)
		return fk_complain("ibv_post_send: opcode %d, but max_rd_atomic is 0", wr->opcode);
	if (reads && wr->opcode != IBV_WR_RDMA_READ && (wr->num_sge != 1 || wr->sg_list[0].length != 8))
		return fk_complain("ibv_post_send: an atomic with %zu bytes in %d pieces", sum(wr), wr->num_sge);
	return 0;
}

static void put(struct fk_qp *q, const struct ibv_send_wr *wr)
{
	struct fk_wr *e = fk_slot(&q->sq, q->sq.posted);
	struct ibv_sge *sge = (struct ibv_sge *)(e + 1);
	char *data = (char *)(sge + q->cap.max_send_sge);
	bool atomic = wr->opcode >= IBV_WR_ATOMIC_CMP_AND_SWP;

	*e = (struct fk_wr){ .id = wr->wr_id, .opcode = wr->opcode, .flags = wr->send_flags, .imm = wr->imm_data,
			     .n_sge = (uint32_t)wr->num_sge, .len = (uint32_t)sum(wr) };
	e->remote_addr = atomic ? wr->wr.atomic.remote_addr : wr->wr.rdma.remote_addr;
	e->rkey = atomic ? wr->wr.atomic.rkey : wr->wr.rdma.rkey;
	e->compare_add = wr->wr.atomic.compare_add;
	e->swap = wr->wr.atomic.swap;
	for (int i = 0; i < wr->num_sge; i++) {
		sge[i] = wr->sg_list[i];
		if (wr->send_flags & IBV_SEND_INLINE && sge[i].length) {
			memcpy(data, (void *)(uintptr_t)sge[i].addr, sge[i].length);
			data += sge[i].length;
		}
	}
	q->sq.posted++;
}

static int post(struct fk_qp *q, const struct ibv_send_wr *wr)
{
	int ret;

	if (q->state != IBV_QPS_RTS && q->state != IBV_QPS_ERR)
		return fk_complain("ibv_post_send: in state %d", q->state);
	ret = check(q, wr);
	if (ret)
		return ret;
	if (q->sq.posted - q->sq.freed == q->sq.n)
		return ENOMEM;
	put(q, wr);
	return 0;
}

int fk_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct fk_qp *q;
	int ret = EINVAL;

	*bad = wr;
	if (fk_gone(qp->context))
		return EIO;
	if (!fk_enter("ibv_post_send"))
		return EINVAL;
	q = fk_qp_of(qp, "ibv_post_send");
	for (; q && wr; wr = wr->next) {
		*bad = wr;
		ret = post(q, wr);
		if (ret)
			break;
	}
	if (q && q->state == IBV_QPS_ERR)
		fk_qp_fail(q, -1); /* flushes it */
	else if (q)
		fk_run(q);
	fk_leave();
	return ret;
}
