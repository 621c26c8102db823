/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdmacm_layout.c - the size, offset or value of all that src/transports/verbs/rdmacm.h declares, as text. Compiled once with it and
 * once, with -DREAL, with the header of the installed rdma-core; test_ibv_layout.py compares what both print.
 */
#ifdef REAL
#include <rdma/rdma_cma.h>
#else
#include "transports/verbs/rdmacm.h"
#endif

#include <stdio.h>

#define SIZE(type) printf("%s: size %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("%s.%s: at %zu, size %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))
#define VALUE(name) printf("%s = %lld\n", #name, (long long)(name))

static void print_structs(void)
{
	SIZE(struct rdma_ib_addr); FIELD(struct rdma_ib_addr, sgid); FIELD(struct rdma_ib_addr, dgid); FIELD(struct rdma_ib_addr, pkey);
	SIZE(struct rdma_addr); FIELD(struct rdma_addr, src_addr); FIELD(struct rdma_addr, src_sin); FIELD(struct rdma_addr, src_sin6);
	FIELD(struct rdma_addr, src_storage); FIELD(struct rdma_addr, dst_addr); FIELD(struct rdma_addr, dst_sin);
	FIELD(struct rdma_addr, dst_sin6); FIELD(struct rdma_addr, dst_storage); FIELD(struct rdma_addr, addr);
	FIELD(struct rdma_addr, addr.ibaddr);
	SIZE(struct rdma_route); FIELD(struct rdma_route, addr); FIELD(struct rdma_route, path_rec); FIELD(struct rdma_route, num_paths);
	SIZE(struct rdma_event_channel); FIELD(struct rdma_event_channel, fd);
	SIZE(struct rdma_cm_id); FIELD(struct rdma_cm_id, verbs); FIELD(struct rdma_cm_id, channel); FIELD(struct rdma_cm_id, context);
	FIELD(struct rdma_cm_id, qp); FIELD(struct rdma_cm_id, route); FIELD(struct rdma_cm_id, ps); FIELD(struct rdma_cm_id, port_num);
	FIELD(struct rdma_cm_id, qp_type);
	SIZE(struct rdma_conn_param); FIELD(struct rdma_conn_param, private_data); FIELD(struct rdma_conn_param, private_data_len);
	FIELD(struct rdma_conn_param, responder_resources); FIELD(struct rdma_conn_param, initiator_depth);
	FIELD(struct rdma_conn_param, flow_control); FIELD(struct rdma_conn_param, retry_count);
	FIELD(struct rdma_conn_param, rnr_retry_count); FIELD(struct rdma_conn_param, srq); FIELD(struct rdma_conn_param, qp_num);
	SIZE(struct rdma_ud_param); FIELD(struct rdma_ud_param, private_data); FIELD(struct rdma_ud_param, private_data_len);
	FIELD(struct rdma_ud_param, ah_attr); FIELD(struct rdma_ud_param, qp_num); FIELD(struct rdma_ud_param, qkey);
	SIZE(struct rdma_cm_event); FIELD(struct rdma_cm_event, id); FIELD(struct rdma_cm_event, listen_id);
	FIELD(struct rdma_cm_event, event); FIELD(struct rdma_cm_event, status); FIELD(struct rdma_cm_event, param);
	FIELD(struct rdma_cm_event, param.conn); FIELD(struct rdma_cm_event, param.ud);
}

static void print_values(void)
{
	SIZE(enum rdma_cm_event_type); VALUE(RDMA_CM_EVENT_ADDR_RESOLVED); VALUE(RDMA_CM_EVENT_ADDR_ERROR);
	VALUE(RDMA_CM_EVENT_ROUTE_RESOLVED); VALUE(RDMA_CM_EVENT_ROUTE_ERROR); VALUE(RDMA_CM_EVENT_CONNECT_REQUEST);
	VALUE(RDMA_CM_EVENT_CONNECT_RESPONSE); VALUE(RDMA_CM_EVENT_CONNECT_ERROR); VALUE(RDMA_CM_EVENT_UNREACHABLE);
	VALUE(RDMA_CM_EVENT_REJECTED); VALUE(RDMA_CM_EVENT_ESTABLISHED); VALUE(RDMA_CM_EVENT_DISCONNECTED);
	VALUE(RDMA_CM_EVENT_DEVICE_REMOVAL); VALUE(RDMA_CM_EVENT_MULTICAST_JOIN); VALUE(RDMA_CM_EVENT_MULTICAST_ERROR);
	VALUE(RDMA_CM_EVENT_ADDR_CHANGE); VALUE(RDMA_CM_EVENT_TIMEWAIT_EXIT);
	SIZE(enum rdma_port_space); VALUE(RDMA_PS_IPOIB); VALUE(RDMA_PS_TCP); VALUE(RDMA_PS_UDP); VALUE(RDMA_PS_IB);
	VALUE(RDMA_OPTION_ID); VALUE(RDMA_OPTION_IB); VALUE(RDMA_OPTION_ID_TOS);
}

int main(void)
{
	print_structs();
	print_values();
	return 0;
}
