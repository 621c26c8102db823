/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ctx.c - the library, opened: settings, transports, the lists of what lives. Opening costs a few allocations, one page
 * and one look for each transport; no thread, no process, no file, no descriptor.
 */
#include <string.h>

#include "core/internal.h"
#include "os/conf_load.h"
#include "os/proc.h"

uint32_t weft_version(void)
{
	return WEFT_VERSION_MAJOR << 16 | WEFT_VERSION_MINOR << 8 | WEFT_VERSION_PATCH;
}

static void ctx_free(struct weft_ctx *ctx)
{
	wf_registry_close(ctx);
	wf_map_fini(&ctx->grants);
	wf_map_fini(&ctx->requests);
	wf_forkmark_fini(&ctx->fork);
	pthread_mutex_destroy(&ctx->lock);
	wf_free(ctx);
}

int weft_open(const weft_config *c, weft_ctx **out)
{
	struct weft_config *own = NULL;
	struct weft_ctx *ctx;
	int ret;

	if (!out)
		return wf_fail(WEFT_EINVAL, 0, "weft_open", NULL, "out is NULL");
	if (!c) {
		ret = weft_config_new(&own);
		if (ret)
			return ret;
		c = own;
	}
	ctx = wf_calloc(1, sizeof(*ctx));
	if (!ctx) {
		weft_config_free(own);
		return wf_fail(WEFT_ENOMEM, 0, "weft_open", NULL, "no memory for a context");
	}
	wf_conf_take(&ctx->conf, c);
	weft_config_free(own);
	ret = wf_conf_calibrated(&ctx->conf);   /* code may have named another file since the settings were read */
	if (ret) {
		wf_free(ctx);
		return ret;
	}
	pthread_mutex_init(&ctx->lock, NULL);
	wf_list_init(&ctx->workers);
	wf_list_init(&ctx->mems);
	wf_map_init(&ctx->grants);
	wf_map_init(&ctx->requests);
	ctx->next_id = 1;
	ret = wf_forkmark_init(&ctx->fork);
	if (!ret)
		ret = wf_random(ctx->process, sizeof(ctx->process));
	if (ret)
		ret = wf_fail(wf_status_of_errno(-ret), -ret, "weft_open", NULL, "cannot set up the context");
	else
		ret = wf_registry_open(ctx);
	if (ret) {
		ctx_free(ctx);
		return ret;
	}
	*out = ctx;
	return WEFT_OK;
}

int weft_close(weft_ctx *ctx)
{
	if (!ctx)
		return WEFT_OK;
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "call weft_after_fork() in the child", "made before fork()");
	if (ctx->n_workers || ctx->n_mems)
		return wf_fail(WEFT_EBUSY, 0, "context", "free them first", "%u workers and %u memories still live",
			       ctx->n_workers, ctx->n_mems);
	if (ctx->trace)
		weft_trace_stop(ctx);
	wf_request_drop_all(ctx);
	ctx_free(ctx);
	return WEFT_OK;
}

void weft_log_set(weft_ctx *ctx, weft_log_fn fn, void *arg, int level)
{
	wf_log_init(&ctx->log, fn, arg, level ? level : ctx->conf.log_level);
}
