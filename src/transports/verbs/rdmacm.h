/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdmacm.h - the part of librdmacm's binary interface that weft uses, declared by ourselves, as ibv.h does for libibverbs and for
 * the same reasons: the library is loaded at run time (verbs_cmlib.h), and its headers are not needed to build.
 *
 * Names, order of fields and values are those of <rdma/rdma_cma.h>, the stable ABI of rdma-core (RDMACM_1.0 and later); what weft
 * does not use is left out or lies under a reserved name. tests/vm/rdmacm_layout.c compares every line of this file with the
 * real header. Both headers cannot be included together.
 *
 * Identifiers and events are made by the library and are longer than declared here: never copy one, never make one.
 */
#ifndef WF_TRANSPORTS_VERBS_RDMACM_H
#define WF_TRANSPORTS_VERBS_RDMACM_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "transports/verbs/ibv.h"

enum rdma_cm_event_type {
	RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR, RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR,
	RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_CONNECT_RESPONSE, RDMA_CM_EVENT_CONNECT_ERROR, RDMA_CM_EVENT_UNREACHABLE,
	RDMA_CM_EVENT_REJECTED, RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_DEVICE_REMOVAL,
	RDMA_CM_EVENT_MULTICAST_JOIN, RDMA_CM_EVENT_MULTICAST_ERROR, RDMA_CM_EVENT_ADDR_CHANGE, RDMA_CM_EVENT_TIMEWAIT_EXIT,
};

enum rdma_port_space { RDMA_PS_IPOIB = 0x0002, RDMA_PS_TCP = 0x0106, RDMA_PS_UDP = 0x0111, RDMA_PS_IB = 0x013f };

enum { RDMA_OPTION_ID, RDMA_OPTION_IB };                /* levels of an option; of the first: */
enum { RDMA_OPTION_ID_TOS };                            /* uint8_t */

struct rdma_ib_addr {
	union ibv_gid sgid, dgid;
	uint16_t pkey;                  /* __be */
};

struct rdma_addr {
	union {
		struct sockaddr src_addr;
		struct sockaddr_in src_sin;
		struct sockaddr_in6 src_sin6;
		struct sockaddr_storage src_storage;
	};
	union {
		struct sockaddr dst_addr;
		struct sockaddr_in dst_sin;
		struct sockaddr_in6 dst_sin6;
		struct sockaddr_storage dst_storage;
	};
	union {
		struct rdma_ib_addr ibaddr;
	} addr;
};

struct rdma_route {
	struct rdma_addr addr;
	void *path_rec;
	int num_paths;
};

struct rdma_event_channel {
	int fd;                         /* readable: rdma_get_cm_event() has one */
};

struct rdma_cm_id {
	struct ibv_context *verbs;      /* of the device that it is bound to; the library's own */
	struct rdma_event_channel *channel;
	void *context;                  /* the user's; a connection request begins with its listener's */
	struct ibv_qp *qp;              /* NULL where the user has a queue pair of his own */
	struct rdma_route route;
	enum rdma_port_space ps;
	uint8_t port_num;
	void *reserved[7];              /* for users of the library's synchronous calls */
	enum ibv_qp_type qp_type;
};

struct rdma_conn_param {
	const void *private_data;
	uint8_t private_data_len;
	uint8_t responder_resources, initiator_depth;
	uint8_t flow_control;
	uint8_t retry_count, rnr_retry_count;
	uint8_t srq;                    /* this and the next: only without id->qp */
	uint32_t qp_num;
};

struct rdma_ud_param {
	const void *private_data;
	uint8_t private_data_len;
	struct ibv_ah_attr ah_attr;
	uint32_t qp_num, qkey;
};

struct rdma_cm_event {
	struct rdma_cm_id *id, *listen_id;
	enum rdma_cm_event_type event;
	int status;                     /* 0, a negative errno; REJECTED over InfiniBand: the peer's adapter's reason */
	union {
		struct rdma_conn_param conn;
		struct rdma_ud_param ud;
	} param;
};

#endif
