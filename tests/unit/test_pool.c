/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include "base/pool.h"
#include "base/rng.h"
#include "weft/weft.h"

struct thing {
	uint64_t a, b, c;
};

static void test_slots_are_aligned_distinct_and_stay(void **state)
{
	struct wf_pool pool;
	struct thing *things[1000];

	(void)state;
	wf_pool_init(&pool, sizeof(struct thing), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		things[i] = wf_pool_get(&pool);
		assert_non_null(things[i]);
		assert_int_equal((uintptr_t)things[i] % 16, 0);
		assert_int_equal(things[i]->a, 0); /* the first time */
		*things[i] = (struct thing){ i, i, i };
		assert_int_equal(wf_pool_index(things[i]), i);
	}
	assert_int_equal(wf_pool_in_use(&pool), 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_ptr_equal(wf_pool_at(&pool, i), things[i]);
		assert_true(things[i]->a == i && things[i]->c == i);
	}
	assert_null(wf_pool_at(&pool, 1024));
	assert_null(wf_pool_at(&pool, UINT32_MAX));
	wf_pool_fini(&pool);
	assert_int_equal(wf_pool_in_use(&pool), 0);
}

static void test_last_put_is_first_got(void **state)
{
	struct wf_pool pool;
	void *a, *b;

	(void)state;
	wf_pool_init(&pool, 1, 0);
	a = wf_pool_get(&pool);
	b = wf_pool_get(&pool);
	wf_pool_put(&pool, a);
	wf_pool_put(&pool, b);
	assert_ptr_equal(wf_pool_get(&pool), b);
	assert_ptr_equal(wf_pool_get(&pool), a);
	wf_pool_fini(&pool);
}

static void test_handle_is_stale_after_put(void **state)
{
	struct wf_pool pool;
	uint64_t old, now;
	void *obj;

	(void)state;
	wf_pool_init(&pool, sizeof(struct thing), 0);
	obj = wf_pool_get(&pool);
	old = wf_pool_handle(obj);
	assert_true(old != 0);
	assert_ptr_equal(wf_pool_find(&pool, old), obj);
	wf_pool_put(&pool, obj);
	assert_null(wf_pool_find(&pool, old));
	assert_false(wf_pool_is_used(obj));
	assert_ptr_equal(wf_pool_get(&pool), obj);
	now = wf_pool_handle(obj);
	assert_true(now != old);
	assert_null(wf_pool_find(&pool, old));
	assert_ptr_equal(wf_pool_find(&pool, now), obj);
	wf_pool_fini(&pool);
}

static void test_nonsense_handles_find_nothing(void **state)
{
	struct wf_pool pool;
	struct wf_rng rng;

	(void)state;
	wf_rng_init(&rng, 1);
	wf_pool_init(&pool, 8, 0);
	assert_null(wf_pool_find(&pool, 0));
	assert_null(wf_pool_find(&pool, UINT64_MAX));
	wf_pool_put(&pool, wf_pool_get(&pool)); /* slots exist, none is in use */
	for (int i = 0; i < 100000; i++)
		assert_null(wf_pool_find(&pool, wf_rng_next(&rng) & 0x3000000ffull));
	wf_pool_fini(&pool);
}

static void test_bound_is_kept(void **state)
{
	struct wf_pool pool;
	void *last = NULL;

	(void)state;
	wf_pool_init(&pool, 100, 70);
	for (int i = 0; i < 70; i++)
		assert_non_null(last = wf_pool_get(&pool));
	assert_null(wf_pool_get(&pool));
	assert_int_equal(wf_pool_grow(&pool), WEFT_ENOMEM);
	wf_pool_put(&pool, last);
	assert_ptr_equal(wf_pool_get(&pool), last);
	wf_pool_fini(&pool);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_slots_are_aligned_distinct_and_stay),
	cmocka_unit_test(test_last_put_is_first_got),
	cmocka_unit_test(test_handle_is_stale_after_put),
	cmocka_unit_test(test_nonsense_handles_find_nothing),
	cmocka_unit_test(test_bound_is_kept),
};

UT_MAIN(tests)
