/* SPDX-License-Identifier: BSD-3-Clause
 *
 * events.c - what a caller does with an event besides reading it: asking why, and letting go.
 */
#include <stdio.h>
#include <string.h>

#include "core/internal.h"

static const char *remedy_of(int32_t status)
{
	switch (status) {
	case WEFT_EACCESS:
		return "ask the owner for a token that grants it, to this endpoint";
	case WEFT_EREVOKED:
		return "ask the owner for a new token";
	default:
		return NULL;
	}
}

const weft_error *weft_event_error(const weft_event *e)
{
	static _Thread_local struct wf_error err;
	char object[128] = "operation";
	const weft_ep *ep = e->ep;

	if (ep && ep->why && ep->status == e->status) {
		wf_error_copy(&err, &ep->why->e);
		return &err.e;
	}
	if (ep)
		wf_ep_object(ep, object, sizeof(object));
	if (e->status == WEFT_OK)
		wf_error_fill(&err, WEFT_OK, 0, "", NULL, "%s", "");
	else if (e->status == WEFT_ETRUNCATED)
		wf_error_fill(&err, e->status, 0, object, "post a buffer of the message's length; weft_probe() tells it beforehand",
			      "a message of %llu bytes met buffers of %llu", (unsigned long long)e->len, (unsigned long long)e->value);
	else if (e->status == WEFT_EINVAL)
		wf_error_fill(&err, e->status, 0, object, "make offset and memory a multiple of its size",
			      "the integer of the atomic is not aligned");
	else
		wf_error_fill(&err, e->status, 0, object, remedy_of(e->status), "%s", wf_status_text(e->status));
	return &err.e;
}

void weft_event_release(weft_worker *w, weft_event *e)
{
	if (e->kind == WEFT_EV_REQUEST) {
		wf_request_release(w, e);
		return;
	}
	if (e->kind != WEFT_EV_AM || wf_enter(w))
		return;
	wf_am_release(w, e);
	wf_leave(w);
}
