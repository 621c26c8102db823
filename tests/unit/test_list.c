/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include "base/list.h"
#include "base/rng.h"
#include "base/util.h"

struct item {
	int n;
	struct wf_list link;
};

static int number(struct wf_list *l)
{
	return wf_list_entry(l, struct item, link)->n;
}

static void test_list_keeps_order_at_both_ends(void **state)
{
	struct item items[3] = { { .n = 0 }, { .n = 1 }, { .n = 2 } };
	struct wf_list head;

	(void)state;
	wf_list_init(&head);
	assert_true(wf_list_is_empty(&head));
	assert_null(wf_list_first(&head));
	assert_null(wf_list_pop_front(&head));
	wf_list_push_back(&head, &items[1].link);
	wf_list_push_back(&head, &items[2].link);
	wf_list_push_front(&head, &items[0].link);
	for (int i = 0; i < 3; i++)
		assert_int_equal(number(wf_list_pop_front(&head)), i);
	assert_true(wf_list_is_empty(&head));
}

static void test_list_remove_twice_is_harmless(void **state)
{
	struct item a = { .n = 1 }, b = { .n = 2 };
	struct wf_list head;

	(void)state;
	wf_list_init(&head);
	wf_list_push_back(&head, &a.link);
	wf_list_insert_before(&a.link, &b.link);
	assert_int_equal(number(wf_list_first(&head)), 2);
	assert_true(wf_list_is_linked(&b.link));
	wf_list_remove(&b.link);
	wf_list_remove(&b.link);
	assert_false(wf_list_is_linked(&b.link));
	assert_ptr_equal(wf_list_first(&head), &a.link);
}

static void test_list_foreach_may_remove_each(void **state)
{
	struct item items[5];
	struct wf_list head, *it, *tmp;
	int n = 0;

	(void)state;
	wf_list_init(&head);
	for (int i = 0; i < 5; i++) {
		items[i].n = i;
		wf_list_push_back(&head, &items[i].link);
	}
	wf_list_foreach(it, tmp, &head) {
		assert_int_equal(number(it), n++);
		wf_list_remove(it);
	}
	assert_int_equal(n, 5);
	assert_true(wf_list_is_empty(&head));
}

static void test_list_splice_moves_all(void **state)
{
	struct item a = { .n = 1 }, b = { .n = 2 }, c = { .n = 3 };
	struct wf_list to, from;

	(void)state;
	wf_list_init(&to);
	wf_list_init(&from);
	wf_list_splice_back(&to, &from);
	assert_true(wf_list_is_empty(&to));
	wf_list_push_back(&to, &a.link);
	wf_list_push_back(&from, &b.link);
	wf_list_push_back(&from, &c.link);
	wf_list_splice_back(&to, &from);
	assert_true(wf_list_is_empty(&from));
	for (int i = 1; i <= 3; i++)
		assert_int_equal(number(wf_list_pop_front(&to)), i);
}

static void test_add_size_notices_overflow(void **state)
{
	size_t sum;

	(void)state;
	assert_true(wf_add_size(SIZE_MAX - 1, 1, &sum));
	assert_true(sum == SIZE_MAX);
	assert_false(wf_add_size(SIZE_MAX, 1, &sum));
	assert_false(wf_mul_size(SIZE_MAX / 2, 3, &sum));
}

static void test_little_endian_bytes_are_where_they_belong(void **state)
{
	uint8_t b[9] = { 0 };

	(void)state;
	wf_put_le64(b + 1, 0x1122334455667788ull);
	assert_int_equal(b[1], 0x88);
	assert_int_equal(b[8], 0x11);
	assert_int_equal(wf_get_le16(b + 1), 0x7788);
	assert_int_equal(wf_get_le32(b + 1), 0x55667788);
	assert_true(wf_get_le64(b + 1) == 0x1122334455667788ull);
	wf_put_le16(b, 0xabcd);
	wf_put_le32(b + 2, 0x01020304);
	assert_int_equal(b[0], 0xcd);
	assert_int_equal(b[5], 0x01);
}

static void test_rng_follows_from_its_seed(void **state)
{
	struct wf_rng a, b;
	int hits = 0;

	(void)state;
	wf_rng_init(&a, 7);
	wf_rng_init(&b, 7);
	for (int i = 0; i < 100; i++)
		assert_true(wf_rng_next(&a) == wf_rng_next(&b));
	for (int i = 0; i < 10000; i++) {
		double u = wf_rng_unit(&a);

		assert_true(u >= 0 && u < 1);
		assert_true(wf_rng_below(&a, 10) < 10);
		hits += wf_rng_hit(&a, 0.25);
	}
	assert_in_range(hits, 2200, 2800);
	assert_int_equal(wf_rng_below(&a, 0), 0);
	assert_false(wf_rng_hit(&a, 0));
	assert_true(wf_rng_hit(&a, 1));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_list_keeps_order_at_both_ends),
	cmocka_unit_test(test_list_remove_twice_is_harmless),
	cmocka_unit_test(test_list_foreach_may_remove_each),
	cmocka_unit_test(test_list_splice_moves_all),
	cmocka_unit_test(test_add_size_notices_overflow),
	cmocka_unit_test(test_little_endian_bytes_are_where_they_belong),
	cmocka_unit_test(test_rng_follows_from_its_seed),
};

UT_MAIN(tests)
