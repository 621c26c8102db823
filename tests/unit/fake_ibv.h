/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fake_ibv.h - what tests of the fake libibverbs share: a node (a device with one of each object), two nodes that are
 * connected, in one process or in two, and main().
 */
#ifndef WT_FAKE_IBV_H
#define WT_FAKE_IBV_H

#include "unit/unit.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "transports/verbs/verbs_lib.h"

#define LONG_MS 10000
#define NODE_WRS 16u
#define NODE_BYTES 65536u

/* In forked children, too, where a test framework's assertion would return into the wrong process. */
#define MUST(x)                                                                       \
	do {                                                                          \
		if (!(x)) {                                                           \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                      \
		}                                                                     \
	} while (0)

static const struct verbs_lib *v;

struct node {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	char *buf;
};

struct about {                           /* what a peer must know */
	union ibv_gid gid;
	uint32_t qpn, psn, rkey;
	uint64_t addr;
};

/* What a test may want otherwise. */
struct how {
	uint8_t rnr_retry, timeout, min_rnr_timer;
	int cqe;
};
static const struct how usual = { .rnr_retry = 7, .timeout = 14, .min_rnr_timer = 1, .cqe = 64 };

static inline struct ibv_context *open_first(void)
{
	struct ibv_device **list = v->get_device_list(NULL);
	struct ibv_context *ctx;

	MUST(list && list[0]);
	ctx = v->open_device(list[0]);
	v->free_device_list(list);
	return ctx;
}

static inline void node_init(struct node *n, const struct how *how)
{
	struct ibv_srq_init_attr si = { .attr = { .max_wr = NODE_WRS, .max_sge = 4 } };
	struct ibv_qp_init_attr qi = { .qp_type = IBV_QPT_RC,
				       .cap = { .max_send_wr = NODE_WRS, .max_send_sge = 4, .max_inline_data = 64 } };

	MUST((n->ctx = open_first()));
	MUST((n->pd = v->alloc_pd(n->ctx)));
	MUST((n->channel = v->create_comp_channel(n->ctx)));
	MUST((n->cq = v->create_cq(n->ctx, how->cqe, n, n->channel, 0)));
	MUST((n->srq = v->create_srq(n->pd, &si)));
	qi.send_cq = qi.recv_cq = n->cq;
	qi.srq = n->srq;
	MUST((n->qp = v->create_qp(n->pd, &qi)));
	MUST((n->buf = calloc(1, NODE_BYTES)));
	n->mr = v->reg_mr(n->pd, n->buf, NODE_BYTES,
			  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	MUST(n->mr);
}

static inline void node_fini(struct node *n)
{
	MUST(!v->destroy_qp(n->qp));
	MUST(!v->destroy_srq(n->srq));
	MUST(!v->destroy_cq(n->cq));
	MUST(!v->destroy_comp_channel(n->channel));
	MUST(!v->dereg_mr(n->mr));
	MUST(!v->dealloc_pd(n->pd));
	MUST(!v->close_device(n->ctx));
	free(n->buf);
}

static inline struct about node_about(const struct node *n)
{
	struct about a = { .qpn = n->qp->qp_num, .psn = n->qp->qp_num & 0xff, .rkey = n->mr->rkey, .addr = (uintptr_t)n->buf };

	MUST(!v->query_gid(n->ctx, 1, 1, &a.gid));
	return a;
}

static inline void to_init(struct node *n)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT, .port_num = 1,
				 .qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC };

	MUST(!v->modify_qp(n->qp, &a, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
}

static inline void to_rtr(struct node *n, const struct about *peer, const struct how *how)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = peer->qpn, .rq_psn = peer->psn,
		.max_dest_rd_atomic = 16, .min_rnr_timer = how->min_rnr_timer,
		.ah_attr = { .is_global = 1, .port_num = 1, .grh = { .dgid = peer->gid, .sgid_index = 1, .hop_limit = 64 } },
	};

	MUST(!v->modify_qp(n->qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
					      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER));
}

static inline void to_rts(struct node *n, const struct how *how)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RTS, .sq_psn = node_about(n).psn, .timeout = how->timeout, .retry_cnt = 7,
				 .rnr_retry = how->rnr_retry, .max_rd_atomic = 16 };

	MUST(!v->modify_qp(n->qp, &a, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
					      IBV_QP_MAX_QP_RD_ATOMIC));
}

static inline void join(struct node *n, const struct about *peer, const struct how *how)
{
	to_init(n);
	to_rtr(n, peer, how);
	to_rts(n, how);
}

static inline void pair_init(struct node n[2], const struct how *how)
{
	struct about a[2];

	for (int i = 0; i < 2; i++) {
		node_init(&n[i], how);
		a[i] = node_about(&n[i]);
	}
	for (int i = 0; i < 2; i++)
		join(&n[i], &a[!i], how);
}

static inline void pair_fini(struct node n[2])
{
	node_fini(&n[0]);
	node_fini(&n[1]);
}

/* Makes a node, and joins it with that of the process at the other end of @fd. */
static inline struct about node_meet(struct node *n, int fd, const struct how *how)
{
	struct about mine, peer;
	char c = 0;

	node_init(n, how);
	mine = node_about(n);
	MUST(write(fd, &mine, sizeof(mine)) == sizeof(mine));
	MUST(read(fd, &peer, sizeof(peer)) == sizeof(peer));
	join(n, &peer, how);
	MUST(write(fd, &c, 1) == 1 && read(fd, &c, 1) == 1); /* both are ready */
	return peer;
}

/* ---- work ---- */

static inline int try_send(struct node *n, struct ibv_send_wr *wr, size_t at, size_t len)
{
	struct ibv_sge sge = { (uintptr_t)n->buf + at, (uint32_t)len, n->mr->lkey };
	struct ibv_send_wr *bad;

	if (!wr->sg_list) {
		wr->sg_list = &sge;
		wr->num_sge = len ? 1 : 0;
	}
	return ibv_post_send(n->qp, wr, &bad);
}

static inline void post(struct node *n, struct ibv_send_wr wr, size_t at, size_t len)
{
	MUST(!try_send(n, &wr, at, len));
}

static inline void post_recv(struct node *n, uint64_t id, size_t at, size_t len)
{
	struct ibv_sge sge = { (uintptr_t)n->buf + at, (uint32_t)len, n->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = id, .sg_list = &sge, .num_sge = 1 }, *bad;

	MUST(!ibv_post_srq_recv(n->srq, &wr, &bad));
}

static inline int poll_one(struct node *n, struct ibv_wc *wc)
{
	return ibv_poll_cq(n->cq, 1, wc);
}

/* The next completion, by polling. */
static inline struct ibv_wc reap(struct node *n)
{
	uint64_t end = wf_now_ns() + LONG_MS * WF_NS_PER_MS;
	struct ibv_wc wc;
	int got;

	while ((got = poll_one(n, &wc)) == 0)
		MUST(wf_now_ns() < end);
	MUST(got == 1);
	return wc;
}

/* ... asleep on the channel, as a program has to: ask for an event, look, sleep, take the event, look. */
static inline struct ibv_wc reap_asleep(struct node *n)
{
	struct pollfd p = { .fd = n->channel->fd, .events = POLLIN };
	struct ibv_wc wc;
	struct ibv_cq *cq;
	void *context;

	for (;;) {
		if (poll_one(n, &wc) == 1)
			return wc;
		MUST(!ibv_req_notify_cq(n->cq, 0));
		if (poll_one(n, &wc) == 1)
			return wc;
		MUST(poll(&p, 1, LONG_MS) == 1);
		MUST(!v->get_cq_event(n->channel, &cq, &context));
		MUST(cq == n->cq && context == n);
		v->ack_cq_events(cq, 1);
	}
}

static inline enum ibv_qp_state state_of(struct node *n)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr a;

	MUST(!v->query_qp(n->qp, &a, IBV_QP_STATE, &init));
	return a.qp_state;
}

static inline enum ibv_event_type next_async(struct node *n)
{
	struct pollfd p = { .fd = n->ctx->async_fd, .events = POLLIN };
	struct ibv_async_event e;

	MUST(poll(&p, 1, LONG_MS) == 1);
	MUST(!v->get_async_event(n->ctx, &e));
	v->ack_async_event(&e);
	return e.event_type;
}

/* ---- processes ---- */

/* Forks; the child does @fn with the other end of *@fd and ends with what it returns. */
static inline pid_t in_child(int (*fn)(int fd), int *fd)
{
	int fds[2];
	pid_t pid;

	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	fflush(NULL);
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		close(fds[0]);
		exit(fn(fds[1])); /* by exit(), so that the fake's word counts */
	}
	close(fds[1]);
	*fd = fds[0];
	return pid;
}

static inline int status_of(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- the program, twice ---- */

/* The library is found by LD_LIBRARY_PATH, which counts when a program starts: a folder is made for the fabric, the program
 * is started once more with both in its environment, and the folder is taken away. */

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline int run_with_the_fake(char **argv)
{
	char fabric[] = "/tmp/weft-fake-ibv-XXXXXX", self[4096], *cut = self;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 8);
	int status;
	pid_t pid;

	MUST(n > 0);
	self[n] = 0;
	for (int i = 0; i < 3; i++) { /* BUILD/tests/unit/this */
		cut = strrchr(self, '/');
		MUST(cut);
		*cut = 0;
	}
	strcpy(cut, "/fake");
	MUST(mkdtemp(fabric));
	setenv("WEFT_TEST_IBV", fabric, 1);
	setenv("LD_LIBRARY_PATH", self, 1);
	pid = fork();
	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	status = status_of(pid);
	nftw(fabric, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return status > 255 ? 128 : status;
}

static inline int fake_ibv_main(int argc, char **argv, int (*run)(void))
{
	char why[256];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("WEFT_TEST_EMULATED")) {
		printf("the emulator has no process_vm_readv\n");
		return 77;
	}
	if (!getenv("WEFT_TEST_IBV"))
		return run_with_the_fake(argv);
	v = verbs_lib_open(why, sizeof(why));
	if (!v) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return run() != 0;
}

#endif
