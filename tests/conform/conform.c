/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conform.c - one list of cases, run for one transport: conform TRANSPORT [CASE]. --list says which there are. A CASE
 * may have * in it. TAP comes out. WEFT_TEST_LONG=1: the long rounds (a million sleeps).
 */
#include "conform/conform.h"

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (const struct wt_variant *v = wt_variants; v->name; v++)
			puts(v->name);
		return 0;
	}
	if (argc < 2 || argc > 3 || !wt_choose(argv[1])) {
		fprintf(stderr, "usage: conform TRANSPORT [CASE]; conform --list says which transports there are\n");
		return 2;
	}
	return wt_suite(argv[2]);
}
