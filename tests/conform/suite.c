/* SPDX-License-Identifier: BSD-3-Clause
 *
 * suite.c - the list of cases, for the programs that run it.
 */
#include "conform/conform.h"

#include <unistd.h>

const size_t wt_borders[] = { 32, 64, 96, 1 << 10, 8 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20 };
size_t wt_n_borders = sizeof(wt_borders) / sizeof(wt_borders[0]);

static const struct wt_group *const groups[] = {
	&wt_group_msg, &wt_group_match, &wt_group_cancel, &wt_group_am, &wt_group_stream, &wt_group_rma, &wt_group_batch, &wt_group_grant,
	&wt_group_conn, &wt_group_close, &wt_group_sleep, &wt_group_thread, &wt_group_proc, &wt_group_bad, &wt_group_fault,
	&wt_group_see, &wt_group_lives, &wt_group_import,
};

#define N_GROUPS (sizeof(groups) / sizeof(groups[0]))

static int run(void)
{
	static struct CMUnitTest all[256];
	size_t n = 0;

	for (size_t g = 0; g < N_GROUPS; g++) {
		for (size_t i = 0; i < groups[g]->n && n < 256; i++) {
			const struct CMUnitTest *c = &groups[g]->cases[i];

			if (wt_far && c->initial_state)
				printf("# left out: %s: %s\n", c->name, (const char *)c->initial_state);
			else
				all[n++] = *c;
		}
	}
	return _cmocka_run_group_tests(wt_variant->name, all, n, NULL, NULL);
}

int wt_suite(const char *pattern)
{
	char why[200];

	if (wt_is("verbs") && !getenv("WEFT_TEST_IBV") && access("/sys/class/infiniband", F_OK)) {
		puts("no RDMA device here, and no fake one (WEFT_TEST_IBV, tests/fake/ibverbs)");
		return 77;
	}
	if (!wt_works(why, sizeof(why))) {
		printf("%s: %s\n", wt_variant->name, why);
		return 77;
	}
	if (wt_far && getenv("WEFT_TEST_EMULATED"))
		wt_n_borders--; /* the largest goes over an emulated wire twice, as what is compared does, too */
	if (pattern)
		cmocka_set_test_filter(pattern);
	setvbuf(stdout, NULL, _IOLBF, 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return run() ? 1 : 0;
}
