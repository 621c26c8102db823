/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_abi.h - the part of UCX's interface that we use, under its own names, so that weft is built without UCX's headers and
 * runs with and without the library. All of it are functions that are looked up in libucp.so.0 and the two that it needs,
 * libucs.so.0 and libucm.so.0 (ucx_lib.c).
 *
 * Structs of parameters say in a mask which of their members are filled in, and a library looks at no others: so ours end with
 * the last member that we use. tests/unit/test_ucx_abi.c holds places and numbers to the real headers, where those are installed.
 */
#ifndef WF_TRANSPORTS_UCX_ABI_H
#define WF_TRANSPORTS_UCX_ABI_H
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define UCP_API_MAJOR 1
#define UCP_API_MINOR 13

/* ---- ucs: what all of it is made of ---- */

typedef int8_t ucs_status_t;             /* an enum that is packed into a byte: what functions return is as wide as that */
typedef void *ucs_status_ptr_t;          /* NULL: done; one of the last addresses there are: an error; else a request */

enum {
	UCS_OK = 0, UCS_INPROGRESS = 1, UCS_ERR_NO_MEMORY = -4, UCS_ERR_BUSY = -15, UCS_ERR_CANCELED = -16,
	UCS_ERR_UNSUPPORTED = -22, UCS_ERR_REJECTED = -23, UCS_ERR_NOT_CONNECTED = -24, UCS_ERR_LAST = -100,
};
enum { UCS_THREAD_MODE_SERIALIZED = 1 };
enum { UCS_MEMORY_TYPE_HOST = 0 };
enum { UCS_LOG_LEVEL_ERROR = 1 };
enum { UCS_LOG_FUNC_RC_STOP = 0, UCS_LOG_FUNC_RC_CONTINUE = 1 };

struct ucs_log_component_config;

typedef int ucs_log_func_t(const char *file, unsigned line, const char *function, int level,
			   const struct ucs_log_component_config *conf, const char *format, va_list args);

/* ---- ucm: its hooks ---- */

enum { UCM_EVENT_VM_UNMAPPED = 1 << 17, UCM_EVENT_FLAG_NO_INSTALL = 1 << 24 };

struct ucm_global_config {               /* of the variable ucm_global_opts; more members follow */
	int log_level;
	int enable_events;
};

typedef void ucm_event_callback_t(int event, void *data, void *arg);

/* ---- ucp ---- */

typedef struct ucp_config *ucp_config_h;
typedef struct ucp_context *ucp_context_h;
typedef struct ucp_worker *ucp_worker_h;
typedef struct ucp_address *ucp_address_h;
typedef struct ucp_ep *ucp_ep_h;

enum { UCP_PARAM_FIELD_FEATURES = 1 << 0 };
enum { UCP_FEATURE_WAKEUP = 1 << 4, UCP_FEATURE_AM = 1 << 6 };

struct ucp_params {
	uint64_t field_mask, features;
};

enum { UCP_WORKER_PARAM_FIELD_THREAD_MODE = 1 << 0 };

struct ucp_worker_params {
	uint64_t field_mask;
	int thread_mode;
};

enum {
	UCP_EP_PARAM_FIELD_REMOTE_ADDRESS = 1 << 0, UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE = 1 << 1,
	UCP_EP_PARAM_FIELD_ERR_HANDLER = 1 << 2,
};
enum { UCP_ERR_HANDLING_MODE_NONE, UCP_ERR_HANDLING_MODE_PEER };
enum { UCP_EP_CLOSE_FLAG_FORCE = 1 << 0 };

typedef void ucp_err_handler_cb_t(void *arg, ucp_ep_h ep, ucs_status_t status);

struct ucp_err_handler {
	ucp_err_handler_cb_t *cb;
	void *arg;
};

struct ucp_ep_params {
	uint64_t field_mask;
	const struct ucp_address *address;
	int err_mode;
	struct ucp_err_handler err_handler;
};

enum {
	UCP_OP_ATTR_FIELD_CALLBACK = 1 << 1, UCP_OP_ATTR_FIELD_USER_DATA = 1 << 2, UCP_OP_ATTR_FIELD_FLAGS = 1 << 4,
	UCP_OP_ATTR_FIELD_MEMORY_TYPE = 1 << 6,
};
enum { UCP_AM_SEND_FLAG_EAGER = 1 << 1 };

typedef void ucp_send_nbx_callback_t(void *request, ucs_status_t status, void *user_data);
typedef void ucp_am_recv_data_nbx_callback_t(void *request, ucs_status_t status, size_t len, void *user_data);

struct ucp_request_param {
	uint32_t op_attr_mask, flags;
	void *request;
	union {
		ucp_send_nbx_callback_t *send;
		ucp_am_recv_data_nbx_callback_t *recv_am;
	} cb;
	uint64_t datatype;
	void *user_data, *reply_buffer;
	int memory_type;
};

enum {
	UCP_AM_HANDLER_PARAM_FIELD_ID = 1 << 0, UCP_AM_HANDLER_PARAM_FIELD_FLAGS = 1 << 1, UCP_AM_HANDLER_PARAM_FIELD_CB = 1 << 2,
	UCP_AM_HANDLER_PARAM_FIELD_ARG = 1 << 3,
};
enum { UCP_AM_FLAG_WHOLE_MSG = 1 << 0 };
enum { UCP_AM_RECV_ATTR_FLAG_RNDV = 1 << 17 };

struct ucp_am_recv_param {
	uint64_t recv_attr;
	ucp_ep_h reply_ep;
};

typedef ucs_status_t ucp_am_recv_callback_t(void *arg, const void *header, size_t header_len, void *data, size_t len,
					    const struct ucp_am_recv_param *param);

struct ucp_am_handler_param {
	uint64_t field_mask;
	unsigned id;
	uint32_t flags;
	ucp_am_recv_callback_t *cb;
	void *arg;
};

#endif
