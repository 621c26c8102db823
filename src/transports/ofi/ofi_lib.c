/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_lib.c - libfabric, looked for at run time, and which of its providers is used: the first that fi_getinfo() names,
 * which is the one it thinks fastest; the environment variable FI_PROVIDER, which is libfabric's own, says otherwise.
 */
#include "transports/ofi/ofi.h"

#include <stdio.h>
#include <stdlib.h>

#include "os/dl.h"
#include "os/proc.h"

#define API FI_VERSION(1, 14)            /* what we ask for; 1.14 is of 2021 */

static const struct wf_dl_row symbols[] = {
	{ "fi_getinfo", NULL, false, offsetof(struct ofi_lib, getinfo) },
	{ "fi_freeinfo", NULL, false, offsetof(struct ofi_lib, freeinfo) },
	{ "fi_dupinfo", NULL, false, offsetof(struct ofi_lib, dupinfo) },
	{ "fi_fabric", NULL, false, offsetof(struct ofi_lib, fabric) },
	{ "fi_strerror", NULL, false, offsetof(struct ofi_lib, strerror) },
	{ "fi_version", NULL, false, offsetof(struct ofi_lib, version) },
};

const struct ofi_lib *ofi_lib(char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct ofi_lib lib;
	static bool loaded;
	const struct ofi_lib *found = NULL;

	pthread_mutex_lock(&lock);
	if (!loaded)
		loaded = wf_dl_fill("libfabric.so.1", symbols, WF_ARRAY_LEN(symbols), &lib, why, why_cap);
	if (loaded)
		found = &lib;
	pthread_mutex_unlock(&lock);
	if (found && found->version() < API) {
		snprintf(why, why_cap, "libfabric is of version %u.%u, 1.14 is needed", FI_MAJOR(found->version()),
			 FI_MINOR(found->version()));
		found = NULL;
	}
	if (!found)
		snprintf(remedy, remedy_cap, "install libfabric (Debian: libfabric1), 1.14 or later");
	return found;
}

static struct fi_info *ask(const struct ofi_lib *lib, uint64_t caps, uint64_t order, int *err)
{
	struct fi_info *hints = lib->dupinfo(NULL), *out = NULL;

	*err = FI_ENODATA;
	if (!hints)
		return NULL;
	hints->caps = caps;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = FI_EP_RDM;
	hints->tx_attr->msg_order = hints->rx_attr->msg_order = order;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->domain_attr->control_progress = hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
	hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
	*err = -lib->getinfo(API, NULL, NULL, 0, hints, &out);
	lib->freeinfo(hints);
	return *err ? NULL : out;
}

static struct fi_info *choose(const struct ofi_lib *lib, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	const char *only = getenv("FI_PROVIDER");
	struct fi_info *info, *it;
	int err;

	/* Order spares us work, and reading memory spares copies; neither is needed. */
	info = ask(lib, FI_MSG | FI_RMA, FI_ORDER_SAS, &err);
	if (!info)
		info = ask(lib, FI_MSG | FI_RMA, 0, &err);
	if (!info)
		info = ask(lib, FI_MSG, 0, &err);
	for (it = info; it; it = it->next)
		if (it->ep_attr->max_msg_size >= FAB_HEAD + WF_CTL_MAX)
			break;
	if (it) {
		it = lib->dupinfo(it);
		if (!it)
			snprintf(why, why_cap, "no memory for what libfabric knows of its provider");
	} else {
		snprintf(why, why_cap, "libfabric %u.%u has no provider with reliable datagrams (FI_EP_RDM)%s%s: %s",
			 FI_MAJOR(lib->version()), FI_MINOR(lib->version()), only ? " that FI_PROVIDER allows, which is " : "",
			 only ? only : "", lib->strerror(err ? err : FI_ENODATA));
		snprintf(remedy, remedy_cap, "fi_info -t FI_EP_RDM lists those that work here");
	}
	if (info)
		lib->freeinfo(info);
	return it;
}

/* Asking takes milliseconds: what was found stays so for this process. Not for a forked one: the address may name its parent. */
struct fi_info *ofi_choose(const struct ofi_lib *lib, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct fi_info *found;
	static pid_t found_by;
	struct fi_info *out = NULL;

	pthread_mutex_lock(&lock);
	if (found && found_by != wf_pid()) {
		lib->freeinfo(found);
		found = NULL;
	}
	found_by = wf_pid();
	if (!found)
		found = choose(lib, why, why_cap, remedy, remedy_cap);
	if (found && !(out = lib->dupinfo(found)))
		snprintf(why, why_cap, "no memory for what libfabric knows of its provider");
	pthread_mutex_unlock(&lock);
	return out;
}

int ofi_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	const struct ofi_lib *lib = ofi_lib(why, why_cap, remedy, remedy_cap);
	struct fi_info *info = lib ? ofi_choose(lib, why, why_cap, remedy, remedy_cap) : NULL;

	(void)conf;
	if (!info)
		return WEFT_ENOTSUP;
	lib->freeinfo(info);
	return 0;
}
