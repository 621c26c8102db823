/* SPDX-License-Identifier: BSD-3-Clause
 *
 * err.h - an error with its sentence. The first function that knows the reason calls wf_fail() (a
 * refused call: the text goes to this thread's last error) or wf_error_fill() (a completion: the
 * text goes where the event can lend it); everybody above only returns the status. Texts that are
 * too long are cut. State: one struct for each thread.
 *
 * Implements weft_last_error(), weft_status_name() and weft_error_text() of weft.h.
 */
#ifndef WF_BASE_ERR_H
#define WF_BASE_ERR_H

#include <stdarg.h>

#include "base/util.h"
#include "weft/weft.h"

/* A weft_error that carries its own texts: e.object, e.cause and e.remedy point into it. Do not
 * copy by assignment. */
struct wf_error {
	weft_error e;
	char object[128];
	char cause[256];
	char remedy[192];
};

/*
 * Sets this thread's last error and returns @status, so that `return wf_fail(...)` works.
 * @sys_errno: 0 when no system call is to blame
 * @object:    borrowed; what it happened to, such as "listener 3 127.0.0.1:80"; NULL or "": none
 * @remedy:    borrowed; what the reader can do, or NULL
 * @cause_fmt: the reason in words, without the status name and without strerror(), which
 * weft_error_text() adds
 */
int wf_fail(int32_t status, int sys_errno, const char *object, const char *remedy,
	    const char *cause_fmt, ...) WF_PRINTF(5, 6);

/* As wf_fail(), into *@out (taken as uninitialised), and this thread's last error stays. Returns
 * @status. */
int wf_error_fill(struct wf_error *out, int32_t status, int sys_errno, const char *object,
		  const char *remedy, const char *cause_fmt, ...) WF_PRINTF(6, 7);
int wf_error_fill_v(struct wf_error *out, int32_t status, int sys_errno, const char *object,
		    const char *remedy, const char *cause_fmt, va_list args) WF_PRINTF(6, 0);

/* A copy whose pointers point into *@out. @from is borrowed and may be any weft_error. */
void wf_error_copy(struct wf_error *out, const weft_error *from);

/* Makes @from this thread's last error and returns its status: for an earlier failure that is
 * reported now. */
int wf_fail_again(const weft_error *from);

/* The status that says best what errno value @err (positive) means; WEFT_ESYSTEM where nothing says
 * it better. */
int32_t wf_status_of_errno(int err);

/* WEFT_SCOPE_* of a status; WEFT_SCOPE_CALL for an unknown one. */
uint32_t wf_status_scope(int32_t status);

/* The words of WEFT_STATUS_MAP; "failed" for a number that is none. Static. */
const char *wf_status_text(int32_t status);

#endif
