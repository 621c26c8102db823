/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <string.h>

#include "base/iov.h"
#include "base/rng.h"

static void test_len_notices_overflow(void **state)
{
	weft_buf b[2] = { { .len = SIZE_MAX }, { .len = 1 } };
	size_t len = 5;

	(void)state;
	assert_int_equal(wf_bufs_len(b, 2, &len), -1);
	assert_int_equal(wf_bufs_len(b, 1, &len), 0);
	assert_true(len == SIZE_MAX);
	assert_int_equal(wf_bufs_len(NULL, 0, &len), 0);
	assert_int_equal(len, 0);
}

static void test_window_is_described_without_empty_pieces(void **state)
{
	char a[10], c[10];
	weft_buf b[] = { { .addr = a, .len = 10 }, { 0 }, { .addr = c, .len = 10 } };
	struct iovec iov[4];
	size_t covered;

	(void)state;
	assert_int_equal(wf_bufs_to_iov(b, 3, 4, 9, iov, 4, &covered), 2);
	assert_ptr_equal(iov[0].iov_base, a + 4);
	assert_int_equal(iov[0].iov_len, 6);
	assert_ptr_equal(iov[1].iov_base, c);
	assert_int_equal(iov[1].iov_len, 3);
	assert_int_equal(covered, 9);
	assert_int_equal(wf_bufs_to_iov(b, 3, 4, 9, iov, 1, &covered), 1);
	assert_int_equal(covered, 6);
	assert_int_equal(wf_bufs_to_iov(b, 3, 20, 1, iov, 4, &covered), 0);
	assert_int_equal(wf_bufs_to_iov(b, 3, 99, 1, iov, 4, NULL), 0);
	assert_int_equal(wf_bufs_to_iov(b, 3, 15, SIZE_MAX, iov, 4, &covered), 1);
	assert_int_equal(covered, 5);
}

/* Random pieces of one array: gather, scatter and the plain copy agree. */
static void test_copies_agree_with_one_flat_array(void **state)
{
	char flat[256], got[256], want[256];
	struct wf_rng rng;

	(void)state;
	wf_rng_init(&rng, 5);
	for (int round = 0; round < 3000; round++) {
		weft_buf b[6] = { 0 };
		size_t n = 1 + wf_rng_below(&rng, 6), total = 0, offset, len, k;

		for (size_t i = 0; i < n; i++) {
			b[i].addr = flat + total;
			b[i].len = wf_rng_below(&rng, 40);
			total += b[i].len;
		}
		for (size_t i = 0; i < sizeof(flat); i++)
			flat[i] = (char)wf_rng_next(&rng);
		offset = wf_rng_below(&rng, total + 10);
		len = wf_rng_below(&rng, total + 10);
		k = offset > total ? 0 : WF_MIN(len, total - offset);
		assert_int_equal(wf_bufs_copy_out(got, b, n, offset, len), k);
		if (k)
			assert_memory_equal(got, flat + offset, k);
		memcpy(want, flat, sizeof(flat));
		memset(got, round, sizeof(got));
		memset(want + WF_MIN(offset, total), round, k);
		assert_int_equal(wf_bufs_copy_in(b, n, offset, got, len), k);
		assert_memory_equal(flat, want, sizeof(flat));
	}
}

/* Every alignment of both sides, lengths around those where the way of copying changes, nothing written beside them. */
static void test_long_copies_are_exact(void **state)
{
	static char from[70000], to[70000 + 256], want[sizeof(to)];
	struct wf_rng rng;

	(void)state;
	wf_rng_init(&rng, 6);
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (char)wf_rng_next(&rng);
	for (int round = 0; round < 2000; round++) {
		static const size_t border[] = { 0, 63, 64, 2047, 2048, 2049, 2111, 4096, 8192, 65536 };
		size_t len = border[wf_rng_below(&rng, 10)] + (round & 1 ? wf_rng_below(&rng, 130) : 0);
		size_t a = wf_rng_below(&rng, 128), b = wf_rng_below(&rng, 128);
		weft_buf one = { .addr = from + a, .len = len }, two[2] = { { .addr = from + a, .len = len / 3 },
			{ .addr = from + a + len / 3, .len = len - len / 3 } };

		memset(to, round, sizeof(to));
		memset(want, round, sizeof(want));
		memcpy(want + b, from + a, len);
		if (round % 3 == 0)
			wf_copy(to + b, from + a, len);
		else if (round % 3 == 1)
			assert_int_equal(wf_bufs_copy_past(to + b, &one, 1, 0, len), len);
		else
			assert_int_equal(wf_bufs_copy_past(to + b, two, 2, 0, len), len);
		wf_copy_past_fence();
		assert_memory_equal(to, want, sizeof(to));
	}
}

static void test_iov_advance_takes_whole_and_part(void **state)
{
	char a[8], c[8];
	struct iovec iov[3] = { { a, 8 }, { a, 0 }, { c, 8 } }, *at;
	size_t n = 3;

	(void)state;
	at = wf_iov_advance(iov, &n, 3);
	assert_ptr_equal(at->iov_base, a + 3);
	assert_int_equal(n, 3);
	at = wf_iov_advance(at, &n, 5);
	assert_ptr_equal(at->iov_base, c);
	assert_int_equal(n, 1);
	wf_iov_advance(at, &n, 8);
	assert_int_equal(n, 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_len_notices_overflow),
	cmocka_unit_test(test_window_is_described_without_empty_pieces),
	cmocka_unit_test(test_copies_agree_with_one_flat_array),
	cmocka_unit_test(test_long_copies_are_exact),
	cmocka_unit_test(test_iov_advance_takes_whole_and_part),
};

UT_MAIN(tests)
