/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_lib.h - libibverbs.so.1, loaded when it is first asked for. A table of its exported functions under their names
 * without "ibv_"; the calls of the fast path are inline in ibv.h. Each function is asked for with the symbol version
 * whose types ibv.h declares: plain dlsym() could give the older interface of that name.
 *
 * A call that failed returns NULL with errno set, or an int that is not 0: a positive errno value from some, -1 with
 * errno set from others (query_gid, query_pkey, get_cq_event, get_async_event).
 * Ports count from 1.
 */
#ifndef WF_TRANSPORTS_VERBS_LIB_H
#define WF_TRANSPORTS_VERBS_LIB_H

#include "transports/verbs/ibv.h"

struct verbs_lib {
	/* devices */
	struct ibv_device **(*get_device_list)(int *n);
	void (*free_device_list)(struct ibv_device **list);
	const char *(*get_device_name)(struct ibv_device *dev);
	struct ibv_context *(*open_device)(struct ibv_device *dev);
	int (*close_device)(struct ibv_context *ctx);
	int (*query_device)(struct ibv_context *ctx, struct ibv_device_attr *attr);
	/* Zeroes *@attr first; see struct ibv_port_attr. */
	int (*query_port)(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *attr);
	int (*query_gid)(struct ibv_context *ctx, uint8_t port, int index, union ibv_gid *gid);
	int (*query_pkey)(struct ibv_context *ctx, uint8_t port, int index, uint16_t *pkey); /* __be */
	/* NULL before IBVERBS_1.11. @flags 0, @size of the entry. ENODATA: the index holds none. */
	int (*query_gid_ex)(struct ibv_context *ctx, uint32_t port, uint32_t index, struct ibv_gid_entry *entry, uint32_t flags,
			    size_t size);

	/* memory */
	struct ibv_pd *(*alloc_pd)(struct ibv_context *ctx);
	int (*dealloc_pd)(struct ibv_pd *pd);
	struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t len, int access);
	/* NULL before IBVERBS_1.8. The only one that takes the optional flags (IBV_ACCESS_RELAXED_ORDERING). */
	struct ibv_mr *(*reg_mr_iova2)(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned int access);
	/* NULL before IBVERBS_1.12. */
	struct ibv_mr *(*reg_dmabuf_mr)(struct ibv_pd *pd, uint64_t offset, size_t len, uint64_t iova, int fd, int access);
	int (*dereg_mr)(struct ibv_mr *mr);

	/* completion queues */
	struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *ctx);
	int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
	struct ibv_cq *(*create_cq)(struct ibv_context *ctx, int cqe, void *cq_context, struct ibv_comp_channel *channel,
				    int vector);
	int (*resize_cq)(struct ibv_cq *cq, int cqe);
	int (*destroy_cq)(struct ibv_cq *cq);
	int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context);
	void (*ack_cq_events)(struct ibv_cq *cq, unsigned int n);

	/* queues */
	struct ibv_srq *(*create_srq)(struct ibv_pd *pd, struct ibv_srq_init_attr *attr);
	int (*modify_srq)(struct ibv_srq *srq, struct ibv_srq_attr *attr, int mask);
	int (*destroy_srq)(struct ibv_srq *srq);
	struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
	int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
	int (*query_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask, struct ibv_qp_init_attr *init);
	int (*destroy_qp)(struct ibv_qp *qp);

	/* events; the process */
	int (*get_async_event)(struct ibv_context *ctx, struct ibv_async_event *event);
	void (*ack_async_event)(struct ibv_async_event *event);
	int (*fork_init)(void);
	enum ibv_fork_status (*is_fork_initialized)(void); /* NULL before IBVERBS_1.13 */
};

/*
 * The library, loaded by the first call of the process and never unloaded (its drivers cannot be); from any thread.
 * NULL when it cannot be used, for ever, with a sentence in @why (@cap bytes, cut when longer) that names it and the cause.
 */
const struct verbs_lib *verbs_lib_open(char *why, size_t cap);

#endif
