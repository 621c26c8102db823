/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_layout.h - what must be the same in src/transports/ucx/ucx_abi.h and in UCX's own headers.
 */
#ifndef UCX_LAYOUT_H
#define UCX_LAYOUT_H
#include "lib/layout.h"

/* Members that we use: place and size. */
#define UCX_MEMBERS(X) \
	X(struct ucm_global_config, log_level) X(struct ucm_global_config, enable_events) \
	X(struct ucp_params, field_mask) X(struct ucp_params, features) \
	X(struct ucp_worker_params, field_mask) X(struct ucp_worker_params, thread_mode) \
	X(struct ucp_err_handler, cb) X(struct ucp_err_handler, arg) \
	X(struct ucp_ep_params, field_mask) X(struct ucp_ep_params, address) X(struct ucp_ep_params, err_mode) \
	X(struct ucp_ep_params, err_handler) \
	X(ucp_request_param_t, op_attr_mask) X(ucp_request_param_t, flags) X(ucp_request_param_t, request) \
	X(ucp_request_param_t, cb) X(ucp_request_param_t, cb.send) X(ucp_request_param_t, cb.recv_am) \
	X(ucp_request_param_t, datatype) X(ucp_request_param_t, user_data) X(ucp_request_param_t, memory_type) \
	X(struct ucp_am_recv_param, recv_attr) X(struct ucp_am_recv_param, reply_ep) \
	X(struct ucp_am_handler_param, field_mask) X(struct ucp_am_handler_param, id) X(struct ucp_am_handler_param, flags) \
	X(struct ucp_am_handler_param, cb) X(struct ucp_am_handler_param, arg)

#define UCX_SIZES(X) X(ucs_status_t) X(ucs_status_ptr_t)

#define UCX_NUMBERS(X) \
	X(UCS_OK) X(UCS_INPROGRESS) X(UCS_ERR_NO_MEMORY) X(UCS_ERR_BUSY) X(UCS_ERR_CANCELED) X(UCS_ERR_REJECTED) \
	X(UCS_ERR_UNSUPPORTED) X(UCS_ERR_NOT_CONNECTED) X(UCS_ERR_LAST) X(UCS_THREAD_MODE_SERIALIZED) X(UCS_MEMORY_TYPE_HOST) \
	X(UCS_LOG_LEVEL_ERROR) X(UCS_LOG_FUNC_RC_STOP) X(UCS_LOG_FUNC_RC_CONTINUE) X(UCM_EVENT_VM_UNMAPPED) \
	X(UCM_EVENT_FLAG_NO_INSTALL) X(UCP_PARAM_FIELD_FEATURES) X(UCP_FEATURE_WAKEUP) X(UCP_FEATURE_AM) \
	X(UCP_WORKER_PARAM_FIELD_THREAD_MODE) X(UCP_EP_PARAM_FIELD_REMOTE_ADDRESS) X(UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE) \
	X(UCP_EP_PARAM_FIELD_ERR_HANDLER) X(UCP_ERR_HANDLING_MODE_NONE) X(UCP_ERR_HANDLING_MODE_PEER) X(UCP_EP_CLOSE_FLAG_FORCE) \
	X(UCP_OP_ATTR_FIELD_CALLBACK) X(UCP_OP_ATTR_FIELD_USER_DATA) X(UCP_OP_ATTR_FIELD_FLAGS) X(UCP_OP_ATTR_FIELD_MEMORY_TYPE) \
	X(UCP_AM_SEND_FLAG_EAGER) X(UCP_AM_HANDLER_PARAM_FIELD_ID) X(UCP_AM_HANDLER_PARAM_FIELD_FLAGS) \
	X(UCP_AM_HANDLER_PARAM_FIELD_CB) X(UCP_AM_HANDLER_PARAM_FIELD_ARG) X(UCP_AM_FLAG_WHOLE_MSG) X(UCP_AM_RECV_ATTR_FLAG_RNDV)

#define UCX_LAYOUT_ROWS UCX_MEMBERS(LAYOUT_MEMBER) UCX_SIZES(LAYOUT_SIZE) UCX_NUMBERS(LAYOUT_NUMBER)

/* As the headers that are installed say it; NULL: there are none. */
const struct layout_row *ucx_layout_real(void);

#endif
