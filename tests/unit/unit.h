/* SPDX-License-Identifier: BSD-3-Clause
 *
 * unit.h - what every unit test includes: cmocka with the headers that it forgets, and one main().
 * A binary takes a filter, `test_pool 'test_handle_*'`, and prints as it goes, so that a crash
 * loses nothing.
 */
#ifndef WT_UNIT_H
#define WT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Leaves the test as skipped, with a reason for the summary. */
#define UT_SKIP(...)                            \
	do {                                    \
		printf("# skip: " __VA_ARGS__); \
		printf("\n");                   \
		skip();                         \
	} while (0)

/* For what user-mode emulators take without doing it. */
#define UT_SKIP_IF_EMULATED(what)                                \
	do {                                                     \
		if (getenv("WEFT_TEST_EMULATED"))                \
			UT_SKIP("the emulator has no %s", what); \
	} while (0)

#define UT_MAIN(tests)                                                 \
	int main(int argc, char **argv)                                \
	{                                                              \
		setvbuf(stdout, NULL, _IOLBF, 0);                      \
		if (argc > 1)                                          \
			cmocka_set_test_filter(argv[1]);               \
		return cmocka_run_group_tests(tests, NULL, NULL) != 0; \
	}

#endif
