/* SPDX-License-Identifier: BSD-3-Clause
 *
 * err.c - see err.h. The one global is this thread's last error.
 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>

static _Thread_local struct wf_error last;

#define ROW(name, value, scope, text) { WEFT_##name, WEFT_SCOPE_##scope, "WEFT_" #name, text },
static const struct {
	int32_t status;
	uint32_t scope;
	const char *name, *text;
} rows[] = { WEFT_STATUS_MAP(ROW) };
#undef ROW

static int row_of(int32_t status)
{
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		if (rows[i].status == status)
			return (int)i;
	}
	return -1;
}

const char *weft_status_name(int32_t status)
{
	int i = row_of(status);

	if (i >= 0)
		return rows[i].name;
	switch (status) {
	case WEFT_OK:
		return "WEFT_OK";
	case WEFT_PENDING:
		return "WEFT_PENDING";
	case WEFT_AGAIN:
		return "WEFT_AGAIN";
	default:
		return "WEFT_?";
	}
}

uint32_t wf_status_scope(int32_t status)
{
	int i = row_of(status);

	return i >= 0 ? rows[i].scope : WEFT_SCOPE_CALL;
}

const char *wf_status_text(int32_t status)
{
	int i = row_of(status);

	return i >= 0 ? rows[i].text : "failed";
}

static void copy_text(char *to, size_t cap, const char *from)
{
	size_t len = from ? strnlen(from, cap - 1) : 0;

	if (len)
		memmove(to, from, len); /* a caller may pass our own text back */
	to[len] = 0;
}

int wf_error_fill_v(struct wf_error *out, int32_t status, int sys_errno, const char *object,
		    const char *remedy, const char *cause_fmt, va_list args)
{
	int saved = errno;
	char cause[sizeof(out->cause)];

	/* first: an argument may point into *out */
	vsnprintf(cause, sizeof(cause), cause_fmt, args);
	copy_text(out->object, sizeof(out->object), object);
	copy_text(out->remedy, sizeof(out->remedy), remedy);
	copy_text(out->cause, sizeof(out->cause), cause);
	out->e = (weft_error){
		.size = sizeof(out->e),
		.status = status,
		.sys_errno = sys_errno,
		.scope = wf_status_scope(status),
		.object = out->object,
		.cause = out->cause,
		.remedy = out->remedy[0] ? out->remedy : NULL,
	};
	errno = saved;
	return status;
}

int wf_error_fill(struct wf_error *out, int32_t status, int sys_errno, const char *object,
		  const char *remedy, const char *cause_fmt, ...)
{
	va_list args;

	va_start(args, cause_fmt);
	wf_error_fill_v(out, status, sys_errno, object, remedy, cause_fmt, args);
	va_end(args);
	return status;
}

int wf_fail(int32_t status, int sys_errno, const char *object, const char *remedy,
	    const char *cause_fmt, ...)
{
	va_list args;

	va_start(args, cause_fmt);
	wf_error_fill_v(&last, status, sys_errno, object, remedy, cause_fmt, args);
	va_end(args);
	return status;
}

void wf_error_copy(struct wf_error *out, const weft_error *from)
{
	wf_error_fill(out, from->status, from->sys_errno, from->object, from->remedy, "%s",
		      from->cause ? from->cause : "");
	out->e.scope = from->scope;
}

int wf_fail_again(const weft_error *from)
{
	wf_error_copy(&last, from);
	return from->status;
}

const weft_error *weft_last_error(void)
{
	if (!last.e.size)
		wf_error_fill(&last, WEFT_OK, 0, NULL, NULL, "%s", "");
	return &last.e;
}

/* Appends; counts on past the end, as snprintf does. */
static void append(char *out, size_t cap, size_t *len, const char *before, const char *text)
{
	size_t room = *len < cap ? cap - *len : 0;

	*len += (size_t)snprintf(room ? out + *len : NULL, room, "%s%s", before, text);
}

size_t weft_error_text(const weft_error *e, char *out, size_t cap)
{
	int i = row_of(e->status);
	const char *cause = e->cause && e->cause[0] ? e->cause : i >= 0 ? rows[i].text : "no error";
	char sys[128], *said;
	size_t len = 0;

	if (e->object && e->object[0]) {
		append(out, cap, &len, "", e->object);
		append(out, cap, &len, ": ", cause);
	} else {
		append(out, cap, &len, "", cause);
	}
	said = e->sys_errno ? strerror_r(e->sys_errno, sys, sizeof(sys)) : NULL;
	if (said && !strstr(cause, said))
		append(out, cap, &len, ": ", said);
	append(out, cap, &len, " (", weft_status_name(e->status));
	append(out, cap, &len, ")", "");
	if (e->remedy && e->remedy[0])
		append(out, cap, &len, "; ", e->remedy);
	return len;
}

int32_t wf_status_of_errno(int err)
{
	/* clang-format off */
	static const struct {
		int err;
		int32_t status;
	} map[] = {
		{ ENOMEM, WEFT_ENOMEM },        { ENOBUFS, WEFT_ENOMEM },
		{ EINVAL, WEFT_EINVAL },        { EFAULT, WEFT_EINVAL },
		{ EMFILE, WEFT_ELIMIT },        { ENFILE, WEFT_ELIMIT },
		{ ENOSPC, WEFT_ELIMIT },        { EFBIG, WEFT_ELIMIT },
		{ EADDRINUSE, WEFT_EADDRINUSE },
		{ ENETUNREACH, WEFT_EUNREACHABLE }, { EHOSTUNREACH, WEFT_EUNREACHABLE },
		{ ENETDOWN, WEFT_EUNREACHABLE }, { EHOSTDOWN, WEFT_EUNREACHABLE },
		{ EADDRNOTAVAIL, WEFT_EUNREACHABLE }, { ENODEV, WEFT_EUNREACHABLE },
		{ ECONNREFUSED, WEFT_EREFUSED }, { ECONNRESET, WEFT_ERESET },
		{ ECONNABORTED, WEFT_ERESET },  { EPIPE, WEFT_ERESET },
		{ ETIMEDOUT, WEFT_ETIMEDOUT },  { ESRCH, WEFT_ERESET },
		{ ECANCELED, WEFT_ECANCELED },  { EBUSY, WEFT_EBUSY },
		{ ENOSYS, WEFT_ENOTSUP },       { EOPNOTSUPP, WEFT_ENOTSUP },
		{ EAFNOSUPPORT, WEFT_ENOTSUP }, { EPROTO, WEFT_EPROTO },
	};
	/* clang-format on */

	for (size_t i = 0; i < WF_ARRAY_LEN(map); i++) {
		if (map[i].err == err)
			return map[i].status;
	}
	return WEFT_ESYSTEM;
}
