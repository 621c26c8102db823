/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include "base/heap.h"
#include "base/rng.h"

#define N 1000

static void test_keys_come_out_sorted(void **state)
{
	static struct wf_heap_node nodes[N];
	struct wf_heap heap;
	struct wf_rng rng;
	uint64_t before = 0;

	(void)state;
	wf_heap_init(&heap);
	wf_rng_init(&rng, 3);
	assert_null(wf_heap_top(&heap));
	for (int i = 0; i < N; i++)
		assert_int_equal(wf_heap_push(&heap, &nodes[i], wf_rng_below(&rng, 300)), 0);
	for (int i = 0; i < N; i++) {
		struct wf_heap_node *top = wf_heap_top(&heap);

		assert_true(top->key >= before);
		before = top->key;
		wf_heap_remove(&heap, top);
		assert_false(wf_heap_is_linked(top));
	}
	assert_null(wf_heap_top(&heap));
	wf_heap_fini(&heap);
}

static uint64_t least_of(const struct wf_heap_node *nodes)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 50; i++) {
		if (wf_heap_is_linked(&nodes[i]) && nodes[i].key < least)
			least = nodes[i].key;
	}
	return least;
}

static void test_removal_from_the_middle_keeps_order(void **state)
{
	struct wf_heap_node nodes[50] = { 0 };
	struct wf_heap heap;
	struct wf_rng rng;

	(void)state;
	wf_heap_init(&heap);
	wf_rng_init(&rng, 9);
	for (int i = 0; i < 20000; i++) {
		struct wf_heap_node *node = &nodes[wf_rng_below(&rng, 50)];

		if (wf_heap_is_linked(node))
			wf_heap_remove(&heap, node);
		else
			wf_heap_push(&heap, node, wf_rng_below(&rng, 1000));
		if (heap.count)
			assert_true(wf_heap_top(&heap)->key == least_of(nodes));
	}
	wf_heap_remove(&heap, &nodes[0]);
	wf_heap_remove(&heap, &nodes[0]); /* in no heap: nothing happens */
	wf_heap_fini(&heap);
	for (int i = 0; i < 50; i++)
		assert_false(wf_heap_is_linked(&nodes[i]));
}

static void test_reserve_makes_room(void **state)
{
	struct wf_heap heap;

	(void)state;
	wf_heap_init(&heap);
	assert_int_equal(wf_heap_reserve(&heap, 100), 0);
	assert_true(heap.cap >= 100);
	wf_heap_fini(&heap);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_keys_come_out_sorted),
	cmocka_unit_test(test_removal_from_the_middle_keeps_order),
	cmocka_unit_test(test_reserve_makes_room),
};

UT_MAIN(tests)
