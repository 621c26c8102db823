/* SPDX-License-Identifier: BSD-3-Clause
 *
 * link.h - one reliable queue pair of bare verbs, and what is needed to bring it up with that of the other process. Nothing is
 * hidden and nothing is shared: one completion queue for both directions, receives on the queue pair itself, one region. What
 * is slow or asked once is in link.c; the calls of a loop are libibverbs' own inline ones, so that their cost is what they cost.
 */
#ifndef BENCH_VERBS_LINK_H
#define BENCH_VERBS_LINK_H
#include <infiniband/verbs.h>

#include "perftest/bench/pair.h"

#define SEND_DEPTH 128
#define RECV_DEPTH 64
#define INLINE_MAX 256
#define SIGNAL_EACH 32u                 /* a power of two, at most half of SEND_DEPTH: there is always room to post */
#define PORT       1
#define LIMIT_S    240                  /* a loop that polls for ever ends by SIGALRM */

struct link_args {
	const char *device;             /* NULL: the first */
	int gid;                        /* -1: the first that is no link-local address */
};

struct link {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	unsigned char *mem;             /* @size to send or write from, then @size to receive or read into */
	size_t size;
	uint32_t inline_max;
	uint32_t posted;                /* sends, to know which one to signal */
	bool alone;                     /* one CPU for both: spinning only keeps the other from running */
	int gid_index;
	uint32_t reads;                 /* that the device lets be under way */
	struct peer *peer;
	uint64_t far_addr;              /* the other process's first half, and its key */
	uint32_t far_key;
};

/*
 * Each process calls it after pair_fork(), and both come back when their queue pairs are ready to send; the first half of the
 * memory holds fill()'s bytes of seed @me + 1. Ends the process with a sentence when something does not work.
 */
void link_open(struct link *l, const struct link_args *a, struct peer *peer, int me, size_t size);
void link_close(struct link *l);
__attribute__((noreturn)) void link_die(const char *what, int err);
__attribute__((noreturn)) void link_bad(const struct ibv_wc *wc);

/* Into the second half. */
static inline void link_post_recv(struct link *l)
{
	struct ibv_sge sge = { (uintptr_t)l->mem + l->size, (uint32_t)l->size, l->mr->lkey };
	struct ibv_recv_wr wr = { .sg_list = &sge, .num_sge = 1 }, *bad;
	int err = ibv_post_recv(l->qp, &wr, &bad);

	if (err)
		link_die("ibv_post_recv", err);
}

/* Inline where it fits, and every SIGNAL_EACH-th is signalled. @flags: more of them. */
static inline void link_post_send(struct link *l, unsigned flags)
{
	struct ibv_sge sge = { (uintptr_t)l->mem, (uint32_t)l->size, l->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = flags }, *bad;
	int err;

	if (l->size <= l->inline_max)
		wr.send_flags |= IBV_SEND_INLINE;
	if (++l->posted % SIGNAL_EACH == 0)
		wr.send_flags |= IBV_SEND_SIGNALED;
	err = ibv_post_send(l->qp, &wr, &bad);
	if (err)
		link_die("ibv_post_send", err);
}

/* What one poll finds: the opcode, or -1 for nothing. */
static inline int link_poll(struct link *l)
{
	struct ibv_wc wc;
	int n = ibv_poll_cq(l->cq, 1, &wc);

	if (!n)
		return -1;
	if (n < 0)
		link_die("ibv_poll_cq", errno);
	if (wc.status)
		link_bad(&wc);
	return (int)wc.opcode;
}

/* @op finds its end; completions of sends beside it are nobody's business. */
static inline void link_await(struct link *l, int op)
{
	for (int found; (found = link_poll(l)) != op;)
		if (found < 0 && l->alone)
			sched_yield();
}
#endif
