/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include "base/fault.h"

#ifdef WF_FAULTS

static void test_nth_call_fails_once(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 4; nth++) {
		void *p[4];

		wf_fault_set(nth);
		p[0] = wf_malloc(8);
		p[1] = wf_calloc(2, 8);
		p[2] = wf_strdup("x");
		p[3] = wf_alloc_aligned(64, 64);
		assert_int_equal(wf_fault_count(), 4);
		assert_non_null(wf_fault_last());
		for (uint64_t i = 0; i < 4; i++) {
			assert_true(!p[i] == (i + 1 == nth));
			wf_free(p[i]);
		}
	}
	wf_fault_set(0);
}

static void test_named_point_counts_with_the_rest(void **state)
{
	void *p;

	(void)state;
	wf_fault_set(2);
	p = wf_malloc(1);
	assert_non_null(p);
	assert_true(wf_fault_point("here"));
	assert_string_equal(wf_fault_last(), "here");
	assert_false(wf_fault_point("here"));
	wf_free(p);
	wf_fault_set(0);
	assert_null(wf_fault_last());
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_nth_call_fails_once),
	cmocka_unit_test(test_named_point_counts_with_the_rest),
};

#else

static void test_nothing_fails_in_a_normal_build(void **state)
{
	void *p;

	(void)state;
	wf_fault_set(1);
	assert_false(wf_fault_point("here"));
	p = wf_alloc_aligned(4096, 100);
	assert_non_null(p);
	assert_int_equal((uintptr_t)p % 4096, 0);
	wf_free(p);
	assert_int_equal(wf_fault_count(), 0);
	assert_null(wf_fault_last());
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_nothing_fails_in_a_normal_build),
};

#endif

UT_MAIN(tests)
