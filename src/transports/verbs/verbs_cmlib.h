/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_cmlib.h - librdmacm.so.1, loaded when it is first asked for: when a machine has an iWARP adapter, or the setting `rdma` says
 * `cm`. A table of its exported functions under their names without "rdma_".
 *
 * A call that failed returns NULL or -1 with errno set. None of them waits for the network on a channel whose descriptor is
 * non-blocking, except `connect` on soft-iWARP (G81).
 */
#ifndef WF_TRANSPORTS_VERBS_CMLIB_H
#define WF_TRANSPORTS_VERBS_CMLIB_H

#include "transports/verbs/rdmacm.h"

struct verbs_cmlib {
	struct rdma_event_channel *(*create_event_channel)(void);
	void (*destroy_event_channel)(struct rdma_event_channel *channel);
	int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context, enum rdma_port_space ps);
	int (*destroy_id)(struct rdma_cm_id *id);        /* waits until all of its events were acknowledged */
	int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *addr);
	int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *src, struct sockaddr *dst, int timeout_ms);
	int (*resolve_route)(struct rdma_cm_id *id, int timeout_ms);
	int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*listen)(struct rdma_cm_id *id, int backlog);
	int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
	int (*reject)(struct rdma_cm_id *id, const void *private_data, uint8_t len);
	int (*notify)(struct rdma_cm_id *id, enum ibv_event_type event);
	int (*get_cm_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
	int (*ack_cm_event)(struct rdma_cm_event *event);
	uint16_t (*get_src_port)(struct rdma_cm_id *id);  /* __be */
	int (*set_option)(struct rdma_cm_id *id, int level, int name, void *value, size_t len);   /* NULL: it has none */
	int (*establish)(struct rdma_cm_id *id);
	int (*init_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
};

/*
 * The library, loaded by the first call of the process and never unloaded; from any thread. NULL when it cannot be used, for
 * ever, with a sentence in @why (@cap bytes, cut when longer) that names it and the cause.
 */
const struct verbs_cmlib *verbs_cmlib_open(char *why, size_t cap);

#endif
