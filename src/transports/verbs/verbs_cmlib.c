/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_cmlib.c - finds librdmacm and its functions; see verbs_cmlib.h. State: one table for the process, filled once, and the
 * reason when it could not be.
 */
#include "transports/verbs/verbs_cmlib.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/util.h"
#include "os/dl.h"

static struct {
	pthread_once_t once;
	bool usable;
	char why[256];
	struct verbs_cmlib fn;
} lib = { .once = PTHREAD_ONCE_INIT };

static const struct wf_dl_row symbols[] = {
	{ "rdma_create_event_channel", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, create_event_channel) },
	{ "rdma_destroy_event_channel", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, destroy_event_channel) },
	{ "rdma_create_id", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, create_id) },
	{ "rdma_destroy_id", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, destroy_id) },
	{ "rdma_bind_addr", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, bind_addr) },
	{ "rdma_resolve_addr", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, resolve_addr) },
	{ "rdma_resolve_route", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, resolve_route) },
	{ "rdma_connect", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, connect) },
	{ "rdma_listen", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, listen) },
	{ "rdma_accept", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, accept) },
	{ "rdma_reject", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, reject) },
	{ "rdma_notify", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, notify) },
	{ "rdma_get_cm_event", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, get_cm_event) },
	{ "rdma_ack_cm_event", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, ack_cm_event) },
	{ "rdma_get_src_port", "RDMACM_1.0", false, offsetof(struct verbs_cmlib, get_src_port) },
	{ "rdma_establish", "RDMACM_1.2", false, offsetof(struct verbs_cmlib, establish) },
	{ "rdma_set_option", "RDMACM_1.0", true, offsetof(struct verbs_cmlib, set_option) },
	{ "rdma_init_qp_attr", "RDMACM_1.2", false, offsetof(struct verbs_cmlib, init_qp_attr) },
};

static void load(void)
{
	lib.usable = wf_dl_fill("librdmacm.so.1", symbols, WF_ARRAY_LEN(symbols), &lib.fn, lib.why, sizeof(lib.why));
}

const struct verbs_cmlib *verbs_cmlib_open(char *why, size_t cap)
{
	pthread_once(&lib.once, load);
	if (lib.usable)
		return &lib.fn;
	if (cap)
		snprintf(why, cap, "%s", lib.why);
	return NULL;
}
