/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ibv_layout.c - the size, offset or value of all that src/transports/verbs/ibv.h declares, as text. Compiled once with
 * it and once, with -DREAL, with the header of the installed rdma-core; test_ibv_layout.py compares what both print, and
 * that no name of ibv.h is missing here.
 */
#ifdef REAL
#include <infiniband/verbs.h>
#else
#include "transports/verbs/ibv.h"
#endif

#include <stdio.h>

#define SIZE(type) printf("%s: size %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("%s.%s: at %zu, size %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))
/* Of a struct that grows with rdma-core: at its end, behind what is known here, or at its beginning. */
#define NO_SIZE(type) ((void)sizeof(type))
#define BACK_FIELD(type, field) \
	printf("%s.%s: at %zu from the end, size %zu\n", #type, #field, sizeof(type) - offsetof(type, field), sizeof(((type *)0)->field))
#define VALUE(name) printf("%s = %lld\n", #name, (long long)(name))

static void print_devices_and_contexts(void)
{
	SIZE(union ibv_gid); FIELD(union ibv_gid, raw); FIELD(union ibv_gid, global);
	FIELD(union ibv_gid, global.subnet_prefix); FIELD(union ibv_gid, global.interface_id);
	SIZE(struct ibv_gid_entry); FIELD(struct ibv_gid_entry, gid); FIELD(struct ibv_gid_entry, gid_index);
	FIELD(struct ibv_gid_entry, port_num); FIELD(struct ibv_gid_entry, gid_type);
	FIELD(struct ibv_gid_entry, ndev_ifindex);
	SIZE(struct ibv_device); FIELD(struct ibv_device, node_type); FIELD(struct ibv_device, transport_type);
	FIELD(struct ibv_device, name); FIELD(struct ibv_device, dev_name); FIELD(struct ibv_device, dev_path);
	FIELD(struct ibv_device, ibdev_path);
	SIZE(struct ibv_device_attr); FIELD(struct ibv_device_attr, fw_ver);
	FIELD(struct ibv_device_attr, node_guid); FIELD(struct ibv_device_attr, sys_image_guid);
	FIELD(struct ibv_device_attr, max_mr_size); FIELD(struct ibv_device_attr, page_size_cap);
	FIELD(struct ibv_device_attr, vendor_id); FIELD(struct ibv_device_attr, vendor_part_id);
	FIELD(struct ibv_device_attr, hw_ver); FIELD(struct ibv_device_attr, max_qp);
	FIELD(struct ibv_device_attr, max_qp_wr); FIELD(struct ibv_device_attr, device_cap_flags);
	FIELD(struct ibv_device_attr, max_sge); FIELD(struct ibv_device_attr, max_sge_rd);
	FIELD(struct ibv_device_attr, max_cq); FIELD(struct ibv_device_attr, max_cqe);
	FIELD(struct ibv_device_attr, max_mr); FIELD(struct ibv_device_attr, max_pd);
	FIELD(struct ibv_device_attr, max_qp_rd_atom); FIELD(struct ibv_device_attr, max_ee_rd_atom);
	FIELD(struct ibv_device_attr, max_res_rd_atom); FIELD(struct ibv_device_attr, max_qp_init_rd_atom);
	FIELD(struct ibv_device_attr, max_ee_init_rd_atom); FIELD(struct ibv_device_attr, atomic_cap);
	FIELD(struct ibv_device_attr, max_ee); FIELD(struct ibv_device_attr, max_rdd);
	FIELD(struct ibv_device_attr, max_mw); FIELD(struct ibv_device_attr, max_raw_ipv6_qp);
	FIELD(struct ibv_device_attr, max_raw_ethy_qp); FIELD(struct ibv_device_attr, max_mcast_grp);
	FIELD(struct ibv_device_attr, max_mcast_qp_attach); FIELD(struct ibv_device_attr, max_total_mcast_qp_attach);
	FIELD(struct ibv_device_attr, max_ah); FIELD(struct ibv_device_attr, max_fmr);
	FIELD(struct ibv_device_attr, max_map_per_fmr); FIELD(struct ibv_device_attr, max_srq);
	FIELD(struct ibv_device_attr, max_srq_wr); FIELD(struct ibv_device_attr, max_srq_sge);
	FIELD(struct ibv_device_attr, max_pkeys); FIELD(struct ibv_device_attr, local_ca_ack_delay);
	FIELD(struct ibv_device_attr, phys_port_cnt);
	SIZE(struct ibv_odp_caps); FIELD(struct ibv_odp_caps, general_caps); FIELD(struct ibv_odp_caps, per_transport_caps);
	FIELD(struct ibv_odp_caps, per_transport_caps.rc_odp_caps);
	FIELD(struct ibv_odp_caps, per_transport_caps.uc_odp_caps);
	FIELD(struct ibv_odp_caps, per_transport_caps.ud_odp_caps);
	NO_SIZE(struct ibv_device_attr_ex); FIELD(struct ibv_device_attr_ex, orig_attr);
	FIELD(struct ibv_device_attr_ex, comp_mask); FIELD(struct ibv_device_attr_ex, odp_caps);
	SIZE(struct ibv_port_attr); FIELD(struct ibv_port_attr, state); FIELD(struct ibv_port_attr, max_mtu);
	FIELD(struct ibv_port_attr, active_mtu); FIELD(struct ibv_port_attr, gid_tbl_len);
	FIELD(struct ibv_port_attr, port_cap_flags); FIELD(struct ibv_port_attr, max_msg_sz);
	FIELD(struct ibv_port_attr, bad_pkey_cntr); FIELD(struct ibv_port_attr, qkey_viol_cntr);
	FIELD(struct ibv_port_attr, pkey_tbl_len); FIELD(struct ibv_port_attr, lid);
	FIELD(struct ibv_port_attr, sm_lid); FIELD(struct ibv_port_attr, lmc);
	FIELD(struct ibv_port_attr, max_vl_num); FIELD(struct ibv_port_attr, sm_sl);
	FIELD(struct ibv_port_attr, subnet_timeout); FIELD(struct ibv_port_attr, init_type_reply);
	FIELD(struct ibv_port_attr, active_width); FIELD(struct ibv_port_attr, active_speed);
	FIELD(struct ibv_port_attr, phys_state); FIELD(struct ibv_port_attr, link_layer);
	FIELD(struct ibv_port_attr, flags); FIELD(struct ibv_port_attr, port_cap_flags2);
	SIZE(struct ibv_context_ops); FIELD(struct ibv_context_ops, poll_cq);
	FIELD(struct ibv_context_ops, req_notify_cq); FIELD(struct ibv_context_ops, post_srq_recv);
	FIELD(struct ibv_context_ops, post_send); FIELD(struct ibv_context_ops, post_recv);
	SIZE(struct ibv_context); FIELD(struct ibv_context, device); FIELD(struct ibv_context, ops);
	FIELD(struct ibv_context, cmd_fd); FIELD(struct ibv_context, async_fd);
	FIELD(struct ibv_context, num_comp_vectors); FIELD(struct ibv_context, mutex);
	FIELD(struct ibv_context, abi_compat);
	NO_SIZE(struct verbs_context); BACK_FIELD(struct verbs_context, query_device_ex);
	BACK_FIELD(struct verbs_context, sz); BACK_FIELD(struct verbs_context, context);
}

static void print_objects(void)
{
	SIZE(struct ibv_pd); FIELD(struct ibv_pd, context); FIELD(struct ibv_pd, handle);
	SIZE(struct ibv_mr); FIELD(struct ibv_mr, context); FIELD(struct ibv_mr, pd); FIELD(struct ibv_mr, addr);
	FIELD(struct ibv_mr, length); FIELD(struct ibv_mr, handle); FIELD(struct ibv_mr, lkey);
	FIELD(struct ibv_mr, rkey);
	SIZE(struct ibv_comp_channel); FIELD(struct ibv_comp_channel, context); FIELD(struct ibv_comp_channel, fd);
	FIELD(struct ibv_comp_channel, refcnt);
	SIZE(struct ibv_cq); FIELD(struct ibv_cq, context); FIELD(struct ibv_cq, channel);
	FIELD(struct ibv_cq, cq_context); FIELD(struct ibv_cq, handle); FIELD(struct ibv_cq, cqe);
	FIELD(struct ibv_cq, mutex); FIELD(struct ibv_cq, cond); FIELD(struct ibv_cq, comp_events_completed);
	FIELD(struct ibv_cq, async_events_completed);
	SIZE(struct ibv_srq); FIELD(struct ibv_srq, context); FIELD(struct ibv_srq, srq_context);
	FIELD(struct ibv_srq, pd); FIELD(struct ibv_srq, handle); FIELD(struct ibv_srq, mutex);
	FIELD(struct ibv_srq, cond); FIELD(struct ibv_srq, events_completed);
	SIZE(struct ibv_srq_attr); FIELD(struct ibv_srq_attr, max_wr); FIELD(struct ibv_srq_attr, max_sge);
	FIELD(struct ibv_srq_attr, srq_limit);
	SIZE(struct ibv_srq_init_attr); FIELD(struct ibv_srq_init_attr, srq_context);
	FIELD(struct ibv_srq_init_attr, attr);
	SIZE(struct ibv_qp_cap); FIELD(struct ibv_qp_cap, max_send_wr); FIELD(struct ibv_qp_cap, max_recv_wr);
	FIELD(struct ibv_qp_cap, max_send_sge); FIELD(struct ibv_qp_cap, max_recv_sge);
	FIELD(struct ibv_qp_cap, max_inline_data);
	SIZE(struct ibv_qp_init_attr); FIELD(struct ibv_qp_init_attr, qp_context);
	FIELD(struct ibv_qp_init_attr, send_cq); FIELD(struct ibv_qp_init_attr, recv_cq);
	FIELD(struct ibv_qp_init_attr, srq); FIELD(struct ibv_qp_init_attr, cap);
	FIELD(struct ibv_qp_init_attr, qp_type); FIELD(struct ibv_qp_init_attr, sq_sig_all);
	SIZE(struct ibv_global_route); FIELD(struct ibv_global_route, dgid);
	FIELD(struct ibv_global_route, flow_label); FIELD(struct ibv_global_route, sgid_index);
	FIELD(struct ibv_global_route, hop_limit); FIELD(struct ibv_global_route, traffic_class);
	SIZE(struct ibv_ah_attr); FIELD(struct ibv_ah_attr, grh); FIELD(struct ibv_ah_attr, dlid);
	FIELD(struct ibv_ah_attr, sl); FIELD(struct ibv_ah_attr, src_path_bits);
	FIELD(struct ibv_ah_attr, static_rate); FIELD(struct ibv_ah_attr, is_global);
	FIELD(struct ibv_ah_attr, port_num);
	SIZE(struct ibv_qp_attr); FIELD(struct ibv_qp_attr, qp_state); FIELD(struct ibv_qp_attr, cur_qp_state);
	FIELD(struct ibv_qp_attr, path_mtu); FIELD(struct ibv_qp_attr, path_mig_state);
	FIELD(struct ibv_qp_attr, qkey); FIELD(struct ibv_qp_attr, rq_psn); FIELD(struct ibv_qp_attr, sq_psn);
	FIELD(struct ibv_qp_attr, dest_qp_num); FIELD(struct ibv_qp_attr, qp_access_flags);
	FIELD(struct ibv_qp_attr, cap); FIELD(struct ibv_qp_attr, ah_attr); FIELD(struct ibv_qp_attr, alt_ah_attr);
	FIELD(struct ibv_qp_attr, pkey_index); FIELD(struct ibv_qp_attr, alt_pkey_index);
	FIELD(struct ibv_qp_attr, en_sqd_async_notify); FIELD(struct ibv_qp_attr, sq_draining);
	FIELD(struct ibv_qp_attr, max_rd_atomic); FIELD(struct ibv_qp_attr, max_dest_rd_atomic);
	FIELD(struct ibv_qp_attr, min_rnr_timer); FIELD(struct ibv_qp_attr, port_num);
	FIELD(struct ibv_qp_attr, timeout); FIELD(struct ibv_qp_attr, retry_cnt);
	FIELD(struct ibv_qp_attr, rnr_retry); FIELD(struct ibv_qp_attr, alt_port_num);
	FIELD(struct ibv_qp_attr, alt_timeout); FIELD(struct ibv_qp_attr, rate_limit);
	SIZE(struct ibv_qp); FIELD(struct ibv_qp, context); FIELD(struct ibv_qp, qp_context);
	FIELD(struct ibv_qp, pd); FIELD(struct ibv_qp, send_cq); FIELD(struct ibv_qp, recv_cq);
	FIELD(struct ibv_qp, srq); FIELD(struct ibv_qp, handle); FIELD(struct ibv_qp, qp_num);
	FIELD(struct ibv_qp, state); FIELD(struct ibv_qp, qp_type); FIELD(struct ibv_qp, mutex);
	FIELD(struct ibv_qp, cond); FIELD(struct ibv_qp, events_completed);
}

static void print_work_and_events(void)
{
	SIZE(struct ibv_sge); FIELD(struct ibv_sge, addr); FIELD(struct ibv_sge, length);
	FIELD(struct ibv_sge, lkey);
	SIZE(struct ibv_send_wr); FIELD(struct ibv_send_wr, wr_id); FIELD(struct ibv_send_wr, next);
	FIELD(struct ibv_send_wr, sg_list); FIELD(struct ibv_send_wr, num_sge); FIELD(struct ibv_send_wr, opcode);
	FIELD(struct ibv_send_wr, send_flags); FIELD(struct ibv_send_wr, imm_data); FIELD(struct ibv_send_wr, wr);
	FIELD(struct ibv_send_wr, wr.rdma); FIELD(struct ibv_send_wr, wr.rdma.remote_addr);
	FIELD(struct ibv_send_wr, wr.rdma.rkey); FIELD(struct ibv_send_wr, wr.atomic);
	FIELD(struct ibv_send_wr, wr.atomic.remote_addr); FIELD(struct ibv_send_wr, wr.atomic.compare_add);
	FIELD(struct ibv_send_wr, wr.atomic.swap); FIELD(struct ibv_send_wr, wr.atomic.rkey);
	FIELD(struct ibv_send_wr, wr.ud); FIELD(struct ibv_send_wr, wr.ud.remote_qpn);
	FIELD(struct ibv_send_wr, wr.ud.remote_qkey);
	SIZE(struct ibv_recv_wr); FIELD(struct ibv_recv_wr, wr_id); FIELD(struct ibv_recv_wr, next);
	FIELD(struct ibv_recv_wr, sg_list); FIELD(struct ibv_recv_wr, num_sge);
	SIZE(struct ibv_wc); FIELD(struct ibv_wc, wr_id); FIELD(struct ibv_wc, status); FIELD(struct ibv_wc, opcode);
	FIELD(struct ibv_wc, vendor_err); FIELD(struct ibv_wc, byte_len); FIELD(struct ibv_wc, imm_data);
	FIELD(struct ibv_wc, qp_num); FIELD(struct ibv_wc, src_qp); FIELD(struct ibv_wc, wc_flags);
	FIELD(struct ibv_wc, pkey_index); FIELD(struct ibv_wc, slid); FIELD(struct ibv_wc, sl);
	FIELD(struct ibv_wc, dlid_path_bits);
	SIZE(struct ibv_async_event); FIELD(struct ibv_async_event, element);
	FIELD(struct ibv_async_event, element.cq); FIELD(struct ibv_async_event, element.qp);
	FIELD(struct ibv_async_event, element.srq); FIELD(struct ibv_async_event, element.port_num);
	FIELD(struct ibv_async_event, event_type);
}

static void print_values(void)
{
	SIZE(enum ibv_gid_type); VALUE(IBV_GID_TYPE_IB); VALUE(IBV_GID_TYPE_ROCE_V1); VALUE(IBV_GID_TYPE_ROCE_V2);
	SIZE(enum ibv_node_type); VALUE(IBV_NODE_UNKNOWN); VALUE(IBV_NODE_CA); VALUE(IBV_NODE_SWITCH);
	VALUE(IBV_NODE_ROUTER); VALUE(IBV_NODE_RNIC); VALUE(IBV_NODE_USNIC); VALUE(IBV_NODE_USNIC_UDP);
	VALUE(IBV_NODE_UNSPECIFIED);
	SIZE(enum ibv_transport_type); VALUE(IBV_TRANSPORT_UNKNOWN); VALUE(IBV_TRANSPORT_IB);
	VALUE(IBV_TRANSPORT_IWARP); VALUE(IBV_TRANSPORT_USNIC); VALUE(IBV_TRANSPORT_USNIC_UDP);
	VALUE(IBV_TRANSPORT_UNSPECIFIED);
	SIZE(enum ibv_device_cap_flags); VALUE(IBV_DEVICE_RESIZE_MAX_WR); VALUE(IBV_DEVICE_BAD_PKEY_CNTR);
	VALUE(IBV_DEVICE_BAD_QKEY_CNTR); VALUE(IBV_DEVICE_RAW_MULTI); VALUE(IBV_DEVICE_AUTO_PATH_MIG);
	VALUE(IBV_DEVICE_CHANGE_PHY_PORT); VALUE(IBV_DEVICE_UD_AV_PORT_ENFORCE); VALUE(IBV_DEVICE_CURR_QP_STATE_MOD);
	VALUE(IBV_DEVICE_SHUTDOWN_PORT); VALUE(IBV_DEVICE_INIT_TYPE); VALUE(IBV_DEVICE_PORT_ACTIVE_EVENT);
	VALUE(IBV_DEVICE_SYS_IMAGE_GUID); VALUE(IBV_DEVICE_RC_RNR_NAK_GEN); VALUE(IBV_DEVICE_SRQ_RESIZE);
	VALUE(IBV_DEVICE_N_NOTIFY_CQ); VALUE(IBV_DEVICE_MEM_WINDOW); VALUE(IBV_DEVICE_XRC);
	VALUE(IBV_DEVICE_MEM_MGT_EXTENSIONS); VALUE(IBV_DEVICE_MEM_WINDOW_TYPE_2A);
	VALUE(IBV_DEVICE_MEM_WINDOW_TYPE_2B);
	SIZE(enum ibv_atomic_cap); VALUE(IBV_ATOMIC_NONE); VALUE(IBV_ATOMIC_HCA); VALUE(IBV_ATOMIC_GLOB);
	SIZE(enum ibv_odp_general_caps); VALUE(IBV_ODP_SUPPORT); VALUE(IBV_ODP_SUPPORT_IMPLICIT);
	SIZE(enum ibv_odp_transport_cap_bits); VALUE(IBV_ODP_SUPPORT_SEND); VALUE(IBV_ODP_SUPPORT_RECV);
	VALUE(IBV_ODP_SUPPORT_WRITE); VALUE(IBV_ODP_SUPPORT_READ); VALUE(IBV_ODP_SUPPORT_ATOMIC);
	VALUE(IBV_ODP_SUPPORT_SRQ_RECV); VALUE(__VERBS_ABI_IS_EXTENDED);
	SIZE(enum ibv_mtu); VALUE(IBV_MTU_256); VALUE(IBV_MTU_512); VALUE(IBV_MTU_1024); VALUE(IBV_MTU_2048);
	VALUE(IBV_MTU_4096);
	SIZE(enum ibv_port_state); VALUE(IBV_PORT_NOP); VALUE(IBV_PORT_DOWN); VALUE(IBV_PORT_INIT);
	VALUE(IBV_PORT_ARMED); VALUE(IBV_PORT_ACTIVE); VALUE(IBV_PORT_ACTIVE_DEFER);
	VALUE(IBV_LINK_LAYER_UNSPECIFIED); VALUE(IBV_LINK_LAYER_INFINIBAND); VALUE(IBV_LINK_LAYER_ETHERNET);
	VALUE(IBV_QPF_GRH_REQUIRED);
	SIZE(enum ibv_fork_status); VALUE(IBV_FORK_DISABLED); VALUE(IBV_FORK_ENABLED); VALUE(IBV_FORK_UNNEEDED);
	SIZE(enum ibv_access_flags); VALUE(IBV_ACCESS_LOCAL_WRITE); VALUE(IBV_ACCESS_REMOTE_WRITE);
	VALUE(IBV_ACCESS_REMOTE_READ); VALUE(IBV_ACCESS_REMOTE_ATOMIC); VALUE(IBV_ACCESS_MW_BIND);
	VALUE(IBV_ACCESS_ZERO_BASED); VALUE(IBV_ACCESS_ON_DEMAND); VALUE(IBV_ACCESS_HUGETLB);
	VALUE(IBV_ACCESS_RELAXED_ORDERING);
	SIZE(enum ibv_srq_attr_mask); VALUE(IBV_SRQ_MAX_WR); VALUE(IBV_SRQ_LIMIT);
	SIZE(enum ibv_qp_type); VALUE(IBV_QPT_RC); VALUE(IBV_QPT_UC); VALUE(IBV_QPT_UD); VALUE(IBV_QPT_RAW_PACKET);
	VALUE(IBV_QPT_XRC_SEND); VALUE(IBV_QPT_XRC_RECV); VALUE(IBV_QPT_DRIVER);
	SIZE(enum ibv_qp_state); VALUE(IBV_QPS_RESET); VALUE(IBV_QPS_INIT); VALUE(IBV_QPS_RTR); VALUE(IBV_QPS_RTS);
	VALUE(IBV_QPS_SQD); VALUE(IBV_QPS_SQE); VALUE(IBV_QPS_ERR); VALUE(IBV_QPS_UNKNOWN);
	SIZE(enum ibv_mig_state); VALUE(IBV_MIG_MIGRATED); VALUE(IBV_MIG_REARM); VALUE(IBV_MIG_ARMED);
	SIZE(enum ibv_qp_attr_mask); VALUE(IBV_QP_STATE); VALUE(IBV_QP_CUR_STATE); VALUE(IBV_QP_EN_SQD_ASYNC_NOTIFY);
	VALUE(IBV_QP_ACCESS_FLAGS); VALUE(IBV_QP_PKEY_INDEX); VALUE(IBV_QP_PORT); VALUE(IBV_QP_QKEY);
	VALUE(IBV_QP_AV); VALUE(IBV_QP_PATH_MTU); VALUE(IBV_QP_TIMEOUT); VALUE(IBV_QP_RETRY_CNT);
	VALUE(IBV_QP_RNR_RETRY); VALUE(IBV_QP_RQ_PSN); VALUE(IBV_QP_MAX_QP_RD_ATOMIC); VALUE(IBV_QP_ALT_PATH);
	VALUE(IBV_QP_MIN_RNR_TIMER); VALUE(IBV_QP_SQ_PSN); VALUE(IBV_QP_MAX_DEST_RD_ATOMIC);
	VALUE(IBV_QP_PATH_MIG_STATE); VALUE(IBV_QP_CAP); VALUE(IBV_QP_DEST_QPN); VALUE(IBV_QP_RATE_LIMIT);
	SIZE(enum ibv_wr_opcode); VALUE(IBV_WR_RDMA_WRITE); VALUE(IBV_WR_RDMA_WRITE_WITH_IMM); VALUE(IBV_WR_SEND);
	VALUE(IBV_WR_SEND_WITH_IMM); VALUE(IBV_WR_RDMA_READ); VALUE(IBV_WR_ATOMIC_CMP_AND_SWP);
	VALUE(IBV_WR_ATOMIC_FETCH_AND_ADD); VALUE(IBV_WR_LOCAL_INV); VALUE(IBV_WR_BIND_MW);
	VALUE(IBV_WR_SEND_WITH_INV); VALUE(IBV_WR_TSO);
	SIZE(enum ibv_send_flags); VALUE(IBV_SEND_FENCE); VALUE(IBV_SEND_SIGNALED); VALUE(IBV_SEND_SOLICITED);
	VALUE(IBV_SEND_INLINE); VALUE(IBV_SEND_IP_CSUM);
	SIZE(enum ibv_wc_status); VALUE(IBV_WC_SUCCESS); VALUE(IBV_WC_LOC_LEN_ERR); VALUE(IBV_WC_LOC_QP_OP_ERR);
	VALUE(IBV_WC_LOC_EEC_OP_ERR); VALUE(IBV_WC_LOC_PROT_ERR); VALUE(IBV_WC_WR_FLUSH_ERR);
	VALUE(IBV_WC_MW_BIND_ERR); VALUE(IBV_WC_BAD_RESP_ERR); VALUE(IBV_WC_LOC_ACCESS_ERR);
	VALUE(IBV_WC_REM_INV_REQ_ERR); VALUE(IBV_WC_REM_ACCESS_ERR); VALUE(IBV_WC_REM_OP_ERR);
	VALUE(IBV_WC_RETRY_EXC_ERR); VALUE(IBV_WC_RNR_RETRY_EXC_ERR); VALUE(IBV_WC_LOC_RDD_VIOL_ERR);
	VALUE(IBV_WC_REM_INV_RD_REQ_ERR); VALUE(IBV_WC_REM_ABORT_ERR); VALUE(IBV_WC_INV_EECN_ERR);
	VALUE(IBV_WC_INV_EEC_STATE_ERR); VALUE(IBV_WC_FATAL_ERR); VALUE(IBV_WC_RESP_TIMEOUT_ERR);
	VALUE(IBV_WC_GENERAL_ERR);
	SIZE(enum ibv_wc_opcode); VALUE(IBV_WC_SEND); VALUE(IBV_WC_RDMA_WRITE); VALUE(IBV_WC_RDMA_READ);
	VALUE(IBV_WC_COMP_SWAP); VALUE(IBV_WC_FETCH_ADD); VALUE(IBV_WC_BIND_MW); VALUE(IBV_WC_LOCAL_INV);
	VALUE(IBV_WC_TSO); VALUE(IBV_WC_RECV); VALUE(IBV_WC_RECV_RDMA_WITH_IMM);
	SIZE(enum ibv_wc_flags); VALUE(IBV_WC_GRH); VALUE(IBV_WC_WITH_IMM); VALUE(IBV_WC_IP_CSUM_OK);
	VALUE(IBV_WC_WITH_INV);
	SIZE(enum ibv_event_type); VALUE(IBV_EVENT_CQ_ERR); VALUE(IBV_EVENT_QP_FATAL); VALUE(IBV_EVENT_QP_REQ_ERR);
	VALUE(IBV_EVENT_QP_ACCESS_ERR); VALUE(IBV_EVENT_COMM_EST); VALUE(IBV_EVENT_SQ_DRAINED);
	VALUE(IBV_EVENT_PATH_MIG); VALUE(IBV_EVENT_PATH_MIG_ERR); VALUE(IBV_EVENT_DEVICE_FATAL);
	VALUE(IBV_EVENT_PORT_ACTIVE); VALUE(IBV_EVENT_PORT_ERR); VALUE(IBV_EVENT_LID_CHANGE);
	VALUE(IBV_EVENT_PKEY_CHANGE); VALUE(IBV_EVENT_SM_CHANGE); VALUE(IBV_EVENT_SRQ_ERR);
	VALUE(IBV_EVENT_SRQ_LIMIT_REACHED); VALUE(IBV_EVENT_QP_LAST_WQE_REACHED); VALUE(IBV_EVENT_CLIENT_REREGISTER);
	VALUE(IBV_EVENT_GID_CHANGE); VALUE(IBV_EVENT_WQ_FATAL);
	VALUE(IBV_SYSFS_NAME_MAX); VALUE(IBV_SYSFS_PATH_MAX);
}

int main(void)
{
	print_devices_and_contexts();
	print_objects();
	print_work_and_events();
	print_values();
	return 0;
}
