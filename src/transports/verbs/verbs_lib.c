/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_lib.c - finds libibverbs and its functions; see verbs_lib.h. State: one table for the process, filled once, and the
 * reason when it could not be.
 */
#include "transports/verbs/verbs_lib.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "os/dl.h"

static struct {
	pthread_once_t once;
	bool usable;
	char why[256];
	struct verbs_lib fn;
	int (*query_port)(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *attr);
} lib = { .once = PTHREAD_ONCE_INIT };

/* Old ones that every distribution has must be there; newer ones may be missing and are then NULL. */
static const struct wf_dl_row symbols[] = {
	{ "ibv_get_device_list", "IBVERBS_1.1", false, offsetof(struct verbs_lib, get_device_list) },
	{ "ibv_free_device_list", "IBVERBS_1.1", false, offsetof(struct verbs_lib, free_device_list) },
	{ "ibv_get_device_name", "IBVERBS_1.1", false, offsetof(struct verbs_lib, get_device_name) },
	{ "ibv_open_device", "IBVERBS_1.1", false, offsetof(struct verbs_lib, open_device) },
	{ "ibv_close_device", "IBVERBS_1.1", false, offsetof(struct verbs_lib, close_device) },
	{ "ibv_query_device", "IBVERBS_1.1", false, offsetof(struct verbs_lib, query_device) },
	{ "ibv_query_port", "IBVERBS_1.1", false, offsetof(struct verbs_lib, query_port) },
	{ "ibv_query_gid", "IBVERBS_1.1", false, offsetof(struct verbs_lib, query_gid) },
	{ "ibv_query_pkey", "IBVERBS_1.1", false, offsetof(struct verbs_lib, query_pkey) },
	{ "_ibv_query_gid_ex", "IBVERBS_1.11", true, offsetof(struct verbs_lib, query_gid_ex) },
	{ "ibv_alloc_pd", "IBVERBS_1.1", false, offsetof(struct verbs_lib, alloc_pd) },
	{ "ibv_dealloc_pd", "IBVERBS_1.1", false, offsetof(struct verbs_lib, dealloc_pd) },
	{ "ibv_reg_mr", "IBVERBS_1.1", false, offsetof(struct verbs_lib, reg_mr) },
	{ "ibv_reg_mr_iova2", "IBVERBS_1.8", true, offsetof(struct verbs_lib, reg_mr_iova2) },
	{ "ibv_reg_dmabuf_mr", "IBVERBS_1.12", true, offsetof(struct verbs_lib, reg_dmabuf_mr) },
	{ "ibv_dereg_mr", "IBVERBS_1.1", false, offsetof(struct verbs_lib, dereg_mr) },
	{ "ibv_create_comp_channel", "IBVERBS_1.0", false, offsetof(struct verbs_lib, create_comp_channel) }, /* never changed */
	{ "ibv_destroy_comp_channel", "IBVERBS_1.0", false, offsetof(struct verbs_lib, destroy_comp_channel) },
	{ "ibv_create_cq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, create_cq) },
	{ "ibv_resize_cq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, resize_cq) },
	{ "ibv_destroy_cq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, destroy_cq) },
	{ "ibv_get_cq_event", "IBVERBS_1.1", false, offsetof(struct verbs_lib, get_cq_event) },
	{ "ibv_ack_cq_events", "IBVERBS_1.1", false, offsetof(struct verbs_lib, ack_cq_events) },
	{ "ibv_create_srq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, create_srq) },
	{ "ibv_modify_srq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, modify_srq) },
	{ "ibv_destroy_srq", "IBVERBS_1.1", false, offsetof(struct verbs_lib, destroy_srq) },
	{ "ibv_create_qp", "IBVERBS_1.1", false, offsetof(struct verbs_lib, create_qp) },
	{ "ibv_modify_qp", "IBVERBS_1.1", false, offsetof(struct verbs_lib, modify_qp) },
	{ "ibv_query_qp", "IBVERBS_1.1", false, offsetof(struct verbs_lib, query_qp) },
	{ "ibv_destroy_qp", "IBVERBS_1.1", false, offsetof(struct verbs_lib, destroy_qp) },
	{ "ibv_get_async_event", "IBVERBS_1.1", false, offsetof(struct verbs_lib, get_async_event) },
	{ "ibv_ack_async_event", "IBVERBS_1.1", false, offsetof(struct verbs_lib, ack_async_event) },
	{ "ibv_fork_init", "IBVERBS_1.1", false, offsetof(struct verbs_lib, fork_init) },
	{ "ibv_is_fork_initialized", "IBVERBS_1.13", true, offsetof(struct verbs_lib, is_fork_initialized) },
};

/* In the table in place of the exported one, which fills less than the struct that ibv.h declares. */
static int query_port_zeroed(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	return lib.query_port(ctx, port, attr);
}

static void load(void)
{
	lib.usable = wf_dl_fill("libibverbs.so.1", symbols, WF_ARRAY_LEN(symbols), &lib.fn, lib.why, sizeof(lib.why));
	lib.query_port = lib.fn.query_port;
	lib.fn.query_port = query_port_zeroed;
}

const struct verbs_lib *verbs_lib_open(char *why, size_t cap)
{
	pthread_once(&lib.once, load);
	if (lib.usable)
		return &lib.fn;
	if (cap)
		snprintf(why, cap, "%s", lib.why);
	return NULL;
}
