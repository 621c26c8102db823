/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_layout.h - what must be the same in src/transports/ofi/ofi_abi.h and in libfabric's own headers: a list that two files
 * are compiled with, one for each.
 */
#ifndef OFI_LAYOUT_H
#define OFI_LAYOUT_H
#include "lib/layout.h"

/* Members that we use: place and size. */
#define OFI_MEMBERS(X) \
	X(fi_tx_attr, msg_order) X(fi_tx_attr, inject_size) X(fi_tx_attr, size) X(fi_tx_attr, tclass) \
	X(fi_rx_attr, msg_order) X(fi_rx_attr, size) X(fi_rx_attr, iov_limit) \
	X(fi_ep_attr, type) X(fi_ep_attr, protocol_version) X(fi_ep_attr, max_msg_size) X(fi_ep_attr, auth_key) \
	X(fi_domain_attr, name) X(fi_domain_attr, threading) X(fi_domain_attr, control_progress) \
	X(fi_domain_attr, data_progress) X(fi_domain_attr, resource_mgmt) X(fi_domain_attr, av_type) \
	X(fi_domain_attr, mr_mode) X(fi_domain_attr, mr_key_size) \
	X(fi_fabric_attr, name) X(fi_fabric_attr, prov_name) X(fi_fabric_attr, prov_version) X(fi_fabric_attr, api_version) \
	X(fi_info, next) X(fi_info, caps) X(fi_info, mode) X(fi_info, addr_format) X(fi_info, src_addrlen) X(fi_info, tx_attr) \
	X(fi_info, rx_attr) X(fi_info, ep_attr) X(fi_info, domain_attr) X(fi_info, fabric_attr) X(fi_info, nic) \
	X(fi_ops, close) X(fi_ops, bind) X(fi_ops, control) \
	X(fid, fclass) X(fid, context) X(fid, ops) \
	X(fi_ops_fabric, domain) X(fi_ops_fabric, trywait) X(fid_fabric, ops) X(fid_fabric, api_version) \
	X(fi_av_attr, type) X(fi_av_attr, count) X(fi_av_attr, flags) \
	X(fi_cq_attr, size) X(fi_cq_attr, flags) X(fi_cq_attr, format) X(fi_cq_attr, wait_obj) X(fi_cq_attr, wait_set) \
	X(fi_ops_domain, av_open) X(fi_ops_domain, cq_open) X(fi_ops_domain, endpoint) X(fi_ops_mr, reg) \
	X(fid_domain, ops) X(fid_domain, mr) X(fid_mr, mem_desc) X(fid_mr, key) \
	X(fi_ops_av, insert) X(fi_ops_av, remove) X(fi_ops_av, straddr) X(fid_av, ops) \
	X(fi_cq_msg_entry, op_context) X(fi_cq_msg_entry, flags) X(fi_cq_msg_entry, len) \
	X(fi_cq_err_entry, op_context) X(fi_cq_err_entry, olen) X(fi_cq_err_entry, err) X(fi_cq_err_entry, prov_errno) \
	X(fi_cq_err_entry, err_data) X(fi_cq_err_entry, err_data_size) \
	X(fi_ops_cq, read) X(fi_ops_cq, readerr) X(fi_ops_cq, strerror) X(fid_cq, ops) \
	X(fi_ops_cm, getname) X(fi_ops_msg, recv) X(fi_ops_msg, send) X(fi_ops_msg, inject) \
	X(fi_rma_iov, addr) X(fi_rma_iov, len) X(fi_rma_iov, key) \
	X(fi_msg_rma, msg_iov) X(fi_msg_rma, desc) X(fi_msg_rma, iov_count) X(fi_msg_rma, addr) X(fi_msg_rma, rma_iov) \
	X(fi_msg_rma, rma_iov_count) X(fi_msg_rma, context) X(fi_msg_rma, data) \
	X(fi_ops_rma, readmsg) X(fi_ops_rma, writemsg) X(fid_ep, cm) X(fid_ep, msg) X(fid_ep, rma)

/* Structs that we make: nothing may be missing at their end. */
#define OFI_STRUCTS(X) \
	X(fi_av_attr) X(fi_cq_attr) X(fi_cq_msg_entry) X(fi_rma_iov) X(fi_msg_rma) X(fi_context2)

#define OFI_NUMBERS(X) \
	X(FI_MSG) X(FI_RMA) X(FI_READ) X(FI_WRITE) X(FI_RECV) X(FI_SEND) X(FI_TRANSMIT) X(FI_REMOTE_READ) X(FI_REMOTE_WRITE) \
	X(FI_COMPLETION) X(FI_DELIVERY_COMPLETE) X(FI_CONTEXT) X(FI_CONTEXT2) X(FI_ORDER_SAS) X(FI_MR_LOCAL) \
	X(FI_MR_VIRT_ADDR) X(FI_MR_ALLOCATED) X(FI_MR_PROV_KEY) X(FI_MR_ENDPOINT) X(FI_SOCKADDR) X(FI_SOCKADDR_IB) X(FI_AV_UNSPEC) X(FI_PROGRESS_MANUAL) \
	X(FI_THREAD_DOMAIN) X(FI_RM_ENABLED) X(FI_EP_RDM) X(FI_WAIT_NONE) X(FI_WAIT_FD) X(FI_CQ_FORMAT_MSG) X(FI_GETWAIT) \
	X(FI_ENABLE) X(FI_EAGAIN) X(FI_ENODATA) X(FI_ECANCELED) X(FI_EAVAIL) X(FI_ADDR_UNSPEC) X(FI_VERSION(1, 14))

#define OFI_MEMBER_ROW(s, m) LAYOUT_MEMBER(struct s, m)
#define OFI_STRUCT_ROW(s)    LAYOUT_SIZE(struct s)
#define OFI_LAYOUT_ROWS      OFI_MEMBERS(OFI_MEMBER_ROW) OFI_STRUCTS(OFI_STRUCT_ROW) OFI_NUMBERS(LAYOUT_NUMBER)

/* As the headers that are installed say it; NULL: there are none. */
const struct layout_row *ofi_layout_real(size_t *err_entry_size);

#endif
