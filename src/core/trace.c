/* SPDX-License-Identifier: BSD-3-Clause
 *
 * trace.c - every operation as a slice of a Chrome/Perfetto trace: one JSON object a line in one array. Slices are gathered
 * in a buffer under the context's lock and written when it is full and at the end; off, it costs a load and a branch.
 */
#include <stdio.h>

#include "core/internal.h"
#include "os/file.h"
#include "os/proc.h"

#define TRACE_BUF (64u << 10)
#define TRACE_LINE 320u

struct wf_trace {
	int fd;
	size_t len;
	bool any;
	char buf[TRACE_BUF];
};

static void flush(struct wf_trace *t)
{
	wf_file_write(t->fd, t->buf, t->len);    /* a full disk loses slices, nothing else */
	t->len = 0;
}

int weft_trace_start(weft_ctx *ctx, int fd)
{
	struct wf_trace *t;
	int ret = WEFT_OK;

	if (!ctx || fd < 0)
		return wf_fail(WEFT_EINVAL, 0, "weft_trace_start", NULL, "no context or no descriptor");
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	t = wf_malloc(sizeof(*t));
	if (!t)
		return wf_fail(WEFT_ENOMEM, 0, "weft_trace_start", NULL, "no memory");
	t->fd = fd;
	t->any = false;
	t->len = (size_t)snprintf(t->buf, TRACE_BUF, "[");
	pthread_mutex_lock(&ctx->lock);
	if (ctx->trace)
		ret = WEFT_EBUSY;
	else
		ctx->trace = t;
	pthread_mutex_unlock(&ctx->lock);
	if (ret) {
		wf_free(t);
		wf_fail(ret, 0, "weft_trace_start", "stop it first", "a trace is being written");
	}
	return ret;
}

int weft_trace_stop(weft_ctx *ctx)
{
	struct wf_trace *t;

	if (wf_forkmark_is_forked(&ctx->fork))           /* what is gathered here is the parent's to write */
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	pthread_mutex_lock(&ctx->lock);
	t = ctx->trace;
	ctx->trace = NULL;
	pthread_mutex_unlock(&ctx->lock);
	if (!t)
		return WEFT_OK;
	t->len += (size_t)snprintf(t->buf + t->len, TRACE_BUF - t->len, "\n]\n");
	flush(t);
	wf_free(t);
	return WEFT_OK;
}

void wf_trace_op(struct weft_ctx *ctx, const char *name, const struct weft_worker *w, uint64_t t0, uint64_t t1, uint64_t len,
		 uint64_t tag, int32_t status)
{
	struct wf_trace *t;
	uint64_t dur = t1 > t0 ? t1 - t0 : 0;

	pthread_mutex_lock(&ctx->lock);
	t = ctx->trace;
	if (t) { /* microseconds without %f, which writes a comma where the program's locale does */
		if (t->len + TRACE_LINE > TRACE_BUF)
			flush(t);
		t->len += (size_t)snprintf(t->buf + t->len, TRACE_BUF - t->len,
					   "%s\n{\"name\":\"%s\",\"cat\":\"weft\",\"ph\":\"X\",\"ts\":%llu.%03u,\"dur\":%llu.%03u,"
					   "\"pid\":%d,\"tid\":%llu,"
					   "\"args\":{\"len\":%llu,\"tag\":\"0x%llx\",\"status\":\"%s\"}}",
					   t->any ? "," : "", name, (unsigned long long)(t0 / 1000), (unsigned)(t0 % 1000),
					   (unsigned long long)(dur / 1000), (unsigned)(dur % 1000), (int)wf_pid(), (unsigned long long)w->id,
					   (unsigned long long)len, (unsigned long long)tag, weft_status_name(status));
		t->any = true;
	}
	pthread_mutex_unlock(&ctx->lock);
}
