/* SPDX-License-Identifier: BSD-3-Clause
 *
 * link.c - opens the device, makes the queue pair and joins it with that of the other process: what each has to know of the
 * other goes through the pipes of pair.h, so that no connection manager is needed. See link.h.
 */
#include "link.h"

/* What the other side must know. Both are processes of one program, so that the bytes need no order of their own. */
struct card {
	uint32_t qpn, psn, rkey, mtu;
	uint64_t addr;
	union ibv_gid gid;
};

void link_die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(1);
}

void link_bad(const struct ibv_wc *wc)
{
	fprintf(stderr, "a work request ended with %s (vendor error %u)\n", ibv_wc_status_str(wc->status), wc->vendor_err);
	exit(1);
}

static struct ibv_context *open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;

	if (!list)
		die("ibv_get_device_list");
	for (int i = 0; list[i]; i++)
		if (!name || !strcmp(name, ibv_get_device_name(list[i]))) {
			ctx = ibv_open_device(list[i]);
			if (!ctx)
				die(ibv_get_device_name(list[i]));
			break;
		}
	if (!ctx) {
		fprintf(stderr, "no RDMA device%s%s\n", name ? " of the name " : "", name ? name : "");
		exit(1);
	}
	ibv_free_device_list(list);
	return ctx;
}

static int find_gid(struct ibv_context *ctx, const struct ibv_port_attr *port)
{
	static const union ibv_gid none;

	for (int i = 0; i < port->gid_tbl_len; i++) {
		union ibv_gid gid;

		if (ibv_query_gid(ctx, PORT, i, &gid) || !memcmp(&gid, &none, sizeof(gid)))
			continue;
		if (gid.raw[0] != 0xfe || (gid.raw[1] & 0xc0) != 0x80)
			return i;
	}
	fprintf(stderr, "no GID but link-local ones\n");
	exit(1);
}

static void to_init(struct ibv_qp *qp)
{
	struct ibv_qp_attr at = {
		.qp_state = IBV_QPS_INIT,
		.port_num = PORT,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
	};
	int err = ibv_modify_qp(qp, &at, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);

	if (err)
		link_die("queue pair to INIT", err);
}

static void to_send(const struct link *l, const struct card *mine, const struct card *far)
{
	struct ibv_qp_attr at = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mine->mtu < far->mtu ? mine->mtu : far->mtu,
		.dest_qp_num = far->qpn,
		.rq_psn = far->psn,
		.max_dest_rd_atomic = (uint8_t)l->reads,
		.min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = PORT,
			     .grh = { .dgid = far->gid, .sgid_index = (uint8_t)l->gid_index, .hop_limit = 64 } },
	};
	int err = ibv_modify_qp(l->qp, &at, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
						    IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);

	if (err)
		link_die("queue pair to RTR", err);
	/* 7 retries would mean for ever on rxe. */
	at = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 6, .rnr_retry = 6, .sq_psn = mine->psn,
				   .max_rd_atomic = (uint8_t)l->reads };
	err = ibv_modify_qp(l->qp, &at, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
						IBV_QP_MAX_QP_RD_ATOMIC);
	if (err)
		link_die("queue pair to RTS", err);
}

static void make_queues(struct link *l)
{
	struct ibv_qp_init_attr want = {
		.cap = { SEND_DEPTH, RECV_DEPTH, 1, 1, INLINE_MAX },
		.qp_type = IBV_QPT_RC,
	};

	l->cq = ibv_create_cq(l->ctx, SEND_DEPTH + RECV_DEPTH, NULL, NULL, 0);
	if (!l->cq)
		die("ibv_create_cq");
	want.send_cq = want.recv_cq = l->cq;
	l->qp = ibv_create_qp(l->pd, &want);
	if (!l->qp)
		die("ibv_create_qp");
	l->inline_max = want.cap.max_inline_data < INLINE_MAX ? want.cap.max_inline_data : INLINE_MAX;
	to_init(l->qp);
}

static void take_memory(struct link *l, int me)
{
	int may = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

	l->mem = memory(2 * l->size);
	fill(l->mem, l->size, (unsigned)me + 1);
	l->mr = ibv_reg_mr(l->pd, l->mem, 2 * l->size, may);
	if (!l->mr)
		die("ibv_reg_mr");
}

static void swap_cards(struct peer *peer, const struct card *mine, struct card *far)
{
	if (write(peer->fd[1], mine, sizeof(*mine)) != (ssize_t)sizeof(*mine))
		die("write to the other process");
	if (read(peer->fd[0], far, sizeof(*far)) != (ssize_t)sizeof(*far)) {
		fprintf(stderr, "the other process gave up\n");
		exit(1);
	}
}

void link_open(struct link *l, const struct link_args *a, struct peer *peer, int me, size_t size)
{
	struct card mine = { 0 }, far;
	struct ibv_device_attr dev;
	struct ibv_port_attr port;

	*l = (struct link){ .ctx = open_device(a->device), .size = size, .peer = peer };
	if (ibv_query_port(l->ctx, PORT, &port) || ibv_query_device(l->ctx, &dev))
		die("ibv_query_port");
	l->gid_index = a->gid >= 0 ? a->gid : find_gid(l->ctx, &port);
	l->reads = (uint32_t)(dev.max_qp_rd_atom < 16 ? dev.max_qp_rd_atom : 16);
	l->pd = ibv_alloc_pd(l->ctx);
	if (!l->pd)
		die("ibv_alloc_pd");
	take_memory(l, me);
	make_queues(l);

	if (ibv_query_gid(l->ctx, PORT, l->gid_index, &mine.gid))
		die("ibv_query_gid");
	mine.qpn = l->qp->qp_num;
	mine.psn = (uint32_t)now_ns() & 0xffffff;
	mine.rkey = l->mr->rkey;
	mine.addr = (uintptr_t)l->mem;
	mine.mtu = port.active_mtu;
	swap_cards(peer, &mine, &far);
	to_send(l, &mine, &far);
	l->far_addr = far.addr;
	l->far_key = far.rkey;
	swap_cards(peer, &mine, &far); /* a send to a queue pair that is not there yet would cost a retry */
}

void link_close(struct link *l)
{
	if (ibv_destroy_qp(l->qp) || ibv_destroy_cq(l->cq) || ibv_dereg_mr(l->mr) || ibv_dealloc_pd(l->pd))
		die("closing");
	ibv_close_device(l->ctx);
	free(l->mem);
}
