/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_lib.c - UCX, looked for at run time, and made to behave. When it is loaded it takes signals, and later it would put hooks
 * under malloc and mmap and print what it thinks; a program that named a transport did not ask for these. Each of them is
 * taken back here, before anything else is called (ADR 14 says what cannot be):
 *
 *   - memory events. For them its constructor writes jumps into the code of mmap and its like, once: so the part of it that does that
 *     is loaded alone before, and finds them switched off. Without them UCX keeps no cache of registrations;
 *   - the handlers of signals that its constructor has set, by a function of its own that sets what was there before;
 *   - output: we are the first to whom it tells a message, and the last. What it says of an error goes into ours.
 *
 * Where somebody else has loaded UCX before us, it is his: nothing is changed.
 */
#include "transports/ucx/ucx.h"

#include <stdio.h>
#include <stdlib.h>

#include "os/dl.h"

#define REMEDY "install UCX (Debian: libucx0), 1.13 or a later 1.x"

#define ROW(field, symbol) { symbol, NULL, false, offsetof(struct ucx_lib, field) }

static const struct wf_dl_row symbols[] = {
	ROW(get_version, "ucp_get_version"), ROW(config_read, "ucp_config_read"), ROW(config_modify, "ucp_config_modify"),
	ROW(config_release, "ucp_config_release"), ROW(init, "ucp_init_version"), ROW(cleanup, "ucp_cleanup"),
	ROW(worker_create, "ucp_worker_create"), ROW(worker_destroy, "ucp_worker_destroy"),
	ROW(worker_get_address, "ucp_worker_get_address"), ROW(worker_release_address, "ucp_worker_release_address"),
	ROW(worker_get_efd, "ucp_worker_get_efd"), ROW(worker_arm, "ucp_worker_arm"), ROW(worker_progress, "ucp_worker_progress"),
	ROW(worker_flush, "ucp_worker_flush_nbx"), ROW(set_am_handler, "ucp_worker_set_am_recv_handler"),
	ROW(ep_create, "ucp_ep_create"), ROW(ep_close, "ucp_ep_close_nbx"),
	ROW(ep_flush, "ucp_ep_flush_nbx"), ROW(am_send, "ucp_am_send_nbx"),
	ROW(am_recv, "ucp_am_recv_data_nbx"), ROW(request_free, "ucp_request_free"), ROW(status_string, "ucs_status_string"),
	ROW(log_push_handler, "ucs_log_push_handler"), ROW(disable_signals, "ucs_debug_disable_signals"),
};

static const struct wf_dl_row hooks[] = {
	ROW(ucm_opts, "ucm_global_opts"), ROW(ucm_init, "ucm_library_init"), ROW(ucm_set_handler, "ucm_set_event_handler"),
	ROW(ucm_unset_handler, "ucm_unset_event_handler"),
};

static _Thread_local char said[160];     /* UCX has a thread of its own, whose words are nobody's */

static int hear_log(const char *file, unsigned line, const char *function, int level,
		    const struct ucs_log_component_config *conf, const char *format, va_list args)
{
	(void)file, (void)line, (void)function, (void)conf;
	if (level <= UCS_LOG_LEVEL_ERROR && !said[0])
		vsnprintf(said, sizeof(said), format, args);
	return getenv("UCX_LOG_LEVEL") ? UCS_LOG_FUNC_RC_CONTINUE : UCS_LOG_FUNC_RC_STOP;   /* who sets that wants to see it */
}

void ucx_said(char *out, size_t cap)
{
	snprintf(out, cap, "%s", said);
	said[0] = 0;
}

static void on_memory(int event, void *data, void *arg)
{
	(void)event, (void)data, (void)arg;
}

/* False: they are not off, as its options do not look as we know them. */
static bool events_off(const struct ucx_lib *lib)
{
	static const int event = UCM_EVENT_VM_UNMAPPED | UCM_EVENT_FLAG_NO_INSTALL;
	int before = lib->ucm_opts->enable_events;

	if (before != 0 && before != 1)
		return false;
	lib->ucm_opts->enable_events = 0;
	if (lib->ucm_set_handler(event, 0, on_memory, NULL) == UCS_ERR_UNSUPPORTED)
		return true;
	lib->ucm_unset_handler(UCM_EVENT_VM_UNMAPPED, on_memory, NULL);
	lib->ucm_opts->enable_events = before;
	return false;
}

static bool load(struct ucx_lib *lib, char *why, size_t cap)
{
	bool is_ours = !wf_dl_is_loaded("libucs.so.0"), tame = true;

	if (is_ours) {
		if (!wf_dl_fill_part("libucm.so.0", hooks, WF_ARRAY_LEN(hooks), lib, why, cap))
			return false;
		tame = events_off(lib);
		if (tame)
			lib->ucm_init(NULL);   /* which would write the jumps; the constructor's call is the second */
	}
	if (tame && !wf_dl_fill("libucp.so.0", symbols, WF_ARRAY_LEN(symbols), lib, why, cap))
		return false;
	if (tame && is_ours) {
		lib->disable_signals();
		lib->log_push_handler(hear_log);
		tame = events_off(lib);        /* the constructor has switched them on again */
	}
	if (!tame)
		snprintf(why, cap, "libucm.so.0 cannot be kept from putting hooks under malloc and mmap: its options are not as in 1.13");
	return tame;
}

static bool is_new_enough(const struct ucx_lib *lib, char *why, size_t cap)
{
	unsigned major, minor, release;

	lib->get_version(&major, &minor, &release);
	if (major == UCP_API_MAJOR && minor >= UCP_API_MINOR)
		return true;
	snprintf(why, cap, "UCX is of version %u.%u.%u, 1.13 or a later 1.x is needed", major, minor, release);
	return false;
}

const struct ucx_lib *ucx_lib(char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct ucx_lib lib;
	static bool tried, usable;
	static char reason[256];

	pthread_mutex_lock(&lock);
	if (!tried)
		usable = load(&lib, reason, sizeof(reason)) && is_new_enough(&lib, reason, sizeof(reason));
	tried = true;
	if (!usable) {
		snprintf(why, why_cap, "%s", reason);
		snprintf(remedy, remedy_cap, REMEDY);
	}
	pthread_mutex_unlock(&lock);
	return usable ? &lib : NULL;
}

ucp_context_h ucx_context(const struct ucx_lib *lib, char *why, size_t cap)
{
	struct ucp_params params = { .field_mask = UCP_PARAM_FIELD_FEATURES,
				     .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP };
	const char *only = getenv("UCX_TLS");
	ucp_context_h context = NULL;
	ucp_config_h config;
	char words[160];
	ucs_status_t ret;

	ret = lib->config_read(NULL, NULL, &config);
	if (!ret) {
		lib->config_modify(config, "RCACHE_ENABLE", "n");       /* nobody tells it of memory that is unmapped */
		lib->config_modify(config, "PROTO_INDIRECT_ID", "on");  /* what comes for a closed endpoint is not to find it */
		lib->config_modify(config, "ADAPTIVE_PROGRESS", "n");   /* what came before there is an endpoint is seen, too (G98) */
		ret = lib->init(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context);
		lib->config_release(config);
	}
	ucx_said(words, sizeof(words));
	if (!ret)
		return context;
	snprintf(why, cap, "UCX has no transport that can be used here%s%s: %s", only ? ", of those that UCX_TLS allows, which is " : "",
		 only ? only : "", words[0] ? words : lib->status_string(ret));
	return NULL;
}

int ucx_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	const struct ucx_lib *lib = ucx_lib(why, why_cap, remedy, remedy_cap);
	ucp_context_h context;

	(void)conf;
	if (!lib)
		return WEFT_ENOTSUP;
	context = ucx_context(lib, why, why_cap);
	if (!context) {
		snprintf(remedy, remedy_cap, "ucx_info -d lists those that work here; UCX_TLS names those that may be used");
		return WEFT_ENOTSUP;
	}
	lib->cleanup(context);
	return 0;
}
