/* SPDX-License-Identifier: BSD-3-Clause
 *
 * plan.h - what becomes of a message, by its length and by the memory that it lies in: the rules that msg.c and rndv.c
 * follow, as rows that explain shows. Also why a transport is not used.
 */
#ifndef WF_CORE_PLAN_H
#define WF_CORE_PLAN_H

#include "core/internal.h"

enum { WF_PLAN_PLAIN = 1, WF_PLAN_REGISTERED = 2, WF_PLAN_ALLOCATED = 4, WF_PLAN_ANY = 7 };   /* memory of the sender's */

#define WF_PLAN_ROWS 4

struct wf_plan_row {
	uint64_t from, to;               /* lengths, inclusive; UINT64_MAX: no end */
	unsigned memory;                 /* WF_PLAN_* */
	const char *protocol;            /* "inline" (eager, in the frame's slot), "eager", "rendezvous" */
	const char *way;                 /* how the bytes go */
	char because[160];               /* the thresholds, and where they come from */
};

/* The rows for a lane of @tr; @l may be NULL: for one that is not made yet. Returns how many. */
unsigned wf_plan(const struct wf_conf *conf, const struct wf_transport *tr, const struct wf_lane *l, struct wf_plan_row *out);

/* "plain, registered" for a row's memory. */
const char *wf_plan_memory(unsigned memory);

/* "eager_max_shm = 8K (default)" */
void wf_plan_setting(const struct wf_conf *conf, const char *key, char *out, size_t cap);

struct wf_why {
	char why[480], remedy[160];      /* empty: nothing to say */
};

/* Why transport @i may not be used at all, by this machine or by the settings; empty texts when it may. */
void wf_why_not(const struct weft_ctx *ctx, unsigned i, struct wf_why *out);

/* Why transport @i does not carry the messages of @ep. False: it does. */
bool wf_why_not_here(const struct weft_ep *ep, unsigned i, struct wf_why *out);

#endif
