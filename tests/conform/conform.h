/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conform.h - the groups of the conformance suite, a file each. A case knows weft.h and tests/lib, never the library's
 * inside, and holds on every transport; where a transport cannot have the situation, the case says so and is skipped.
 */
#ifndef WT_CONFORM_H
#define WT_CONFORM_H
#include <stdlib.h>

#include "lib/wt.h"

struct wt_group {
	const struct CMUnitTest *cases;
	size_t n;
};

#define WT_CASE(f) { #f, f, wt_setup, wt_teardown, NULL }
/* One that cannot be taken apart (conform_far), and why. */
#define WT_CASE_HERE(f, why) { #f, f, wt_setup, wt_teardown, (void *)(uintptr_t)(why) }
#define WT_GROUP(name, list) const struct wt_group name = { list, sizeof(list) / sizeof((list)[0]) }

extern const struct wt_group wt_group_msg, wt_group_match, wt_group_cancel, wt_group_am, wt_group_stream, wt_group_rma, wt_group_batch,
	wt_group_grant, wt_group_conn, wt_group_close, wt_group_sleep, wt_group_thread, wt_group_proc, wt_group_bad,
	wt_group_fault, wt_group_see, wt_group_lives, wt_group_import;

/* Runs those that fit the pattern (NULL: all) over wt_variant: the exit status. */
int wt_suite(const char *pattern);

/* The sizes around which a way of sending ends or begins, each with its neighbours. */
extern const size_t wt_borders[];
extern size_t wt_n_borders;

#endif
