/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include "base/map.h"
#include "base/rng.h"

#define KEYS 512

static void test_map_agrees_with_a_plain_array(void **state)
{
	static void *model[KEYS];
	static char values[KEYS];
	size_t count = 0;
	struct wf_map map;
	struct wf_rng rng;

	(void)state;
	wf_map_init(&map);
	wf_rng_init(&rng, 42);
	for (int i = 0; i < 200000; i++) {
		uint64_t k = wf_rng_below(&rng, KEYS);
		uint64_t key = k << 32; /* low bits all alike: the mixing must do */

		if (wf_rng_hit(&rng, 0.5)) {
			void *v = &values[wf_rng_below(&rng, KEYS)];

			assert_int_equal(wf_map_insert(&map, key, v), 0);
			count += !model[k];
			model[k] = v;
		} else {
			assert_ptr_equal(wf_map_remove(&map, key), model[k]);
			count -= !!model[k];
			model[k] = NULL;
		}
		assert_int_equal(wf_map_count(&map), count);
		k = wf_rng_below(&rng, KEYS);
		assert_ptr_equal(wf_map_find(&map, k << 32), model[k]);
	}
	for (uint64_t k = 0; k < KEYS; k++)
		assert_ptr_equal(wf_map_find(&map, k << 32), model[k]);
	wf_map_fini(&map);
}

static void test_map_iterates_each_once(void **state)
{
	const struct wf_map_row *row;
	struct wf_map map;
	bool seen[100] = { false };
	size_t cursor = 0, n = 0;

	(void)state;
	wf_map_init(&map);
	assert_null(wf_map_next(&map, &cursor));
	for (uint64_t k = 0; k < 100; k++)
		wf_map_insert(&map, k, &seen[k]);
	for (cursor = 0; (row = wf_map_next(&map, &cursor)); n++) {
		assert_ptr_equal(row->value, &seen[row->key]);
		assert_false(seen[row->key]);
		seen[row->key] = true;
	}
	assert_int_equal(n, 100);
	wf_map_fini(&map);
}

static void test_empty_map_answers(void **state)
{
	struct wf_map map;

	(void)state;
	wf_map_init(&map);
	assert_null(wf_map_find(&map, 0));
	assert_null(wf_map_remove(&map, UINT64_MAX));
	assert_int_equal(wf_map_count(&map), 0);
	wf_map_fini(&map);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_map_agrees_with_a_plain_array),
	cmocka_unit_test(test_map_iterates_each_once),
	cmocka_unit_test(test_empty_map_answers),
};

UT_MAIN(tests)
