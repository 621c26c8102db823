/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_hello.c - hello and its offers: byte for byte, there and back, cut anywhere, out of bounds,
 * other versions.
 */
#include "unit/unit.h"

#include "base/rng.h"
#include "wire/hello.h"

#include <string.h>

#define FIXED_LEN 61u /* up to and with the number of offers */
#define COUNT_AT  60u

static struct wf_hello sample(void)
{
	struct wf_hello h = { .version_min = 1, .version_max = 3, .features = 0x11223344 };

	memset(h.uuid, 0xa1, WF_UUID);
	memset(h.process, 0xb2, WF_UUID);
	memset(h.secret, 0xc3, WF_UUID);
	assert_true(wf_hello_add(&h, "shm", "\x01\x02\x03", 3));
	assert_true(wf_hello_add(&h, "x", NULL, 0));
	return h;
}

static void test_hello_lies_as_drawn(void **state)
{
	static const uint8_t head[] = { 'W', 'E', 'F', 'T', 1, 0, 3, 0, 0x44, 0x33, 0x22, 0x11 };
	static const uint8_t offers[] = { 2, 3, 's', 'h', 'm', 3, 0, 1, 2, 3, 1, 'x', 0, 0 };
	struct wf_hello h = sample();
	uint8_t buf[WF_HELLO_MAX];

	(void)state;
	assert_int_equal(wf_hello_encode(&h, buf, sizeof(buf)), COUNT_AT + sizeof(offers));
	assert_memory_equal(buf, head, sizeof(head));
	assert_memory_equal(buf + 12, h.uuid, WF_UUID);
	assert_memory_equal(buf + 28, h.process, WF_UUID);
	assert_memory_equal(buf + 44, h.secret, WF_UUID);
	assert_memory_equal(buf + COUNT_AT, offers, sizeof(offers));
}

static void test_hello_comes_back_as_it_went(void **state)
{
	struct wf_hello h = sample(), back;
	uint8_t buf[WF_HELLO_MAX];
	size_t len = wf_hello_encode(&h, buf, sizeof(buf));

	(void)state;
	assert_null(wf_hello_decode(buf, len, &back));
	assert_memory_equal(&h, &back, sizeof(h));
	assert_int_equal(wf_hello_find(&back, "shm")->len, 3);
	assert_int_equal(wf_hello_find(&back, "x")->len, 0);
	assert_null(wf_hello_find(&back, "tcp"));
	assert_null(wf_hello_find(&back, "sh"));
	assert_null(wf_hello_find(&back, ""));
}

static void test_largest_hello_fits(void **state)
{
	char name[WF_NAME_MAX] = "abcdefghijklmno";
	uint8_t data[WF_OFFER_MAX], buf[WF_HELLO_MAX];
	struct wf_hello h = { .version_min = 1, .version_max = 1 }, back;
	size_t len;

	(void)state;
	memset(data, 0xff, sizeof(data));
	for (unsigned i = 0; i < WF_OFFERS_MAX; i++) {
		name[14] = (char)('a' + i);
		assert_true(wf_hello_add(&h, name, data, sizeof(data)));
	}
	name[14] = 'z';
	assert_false(wf_hello_add(&h, name, data, 0)); /* a ninth */
	len = wf_hello_encode(&h, buf, sizeof(buf));
	assert_true(len > 0 && len <= WF_HELLO_MAX);
	assert_null(wf_hello_decode(buf, len, &back));
	assert_memory_equal(&h, &back, sizeof(h));
}

static void test_encode_says_when_it_does_not_fit(void **state)
{
	struct wf_hello h = sample();
	uint8_t buf[WF_HELLO_MAX + 1];
	size_t len = wf_hello_encode(&h, buf, sizeof(buf));

	(void)state;
	for (size_t cap = 0; cap < len; cap++) {
		memset(buf, 0xee, sizeof(buf));
		assert_int_equal(wf_hello_encode(&h, buf, cap), 0);
		for (size_t i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xee);
	}
	assert_int_equal(wf_hello_encode(&h, buf, len), len);
}

static void test_add_refuses_what_could_not_be_sent(void **state)
{
	uint8_t data[WF_OFFER_MAX + 1] = { 0 };
	struct wf_hello h = { 0 };

	(void)state;
	assert_false(wf_hello_add(&h, "", data, 1));
	assert_false(wf_hello_add(&h, "abcdefghijklmnop", data, 1)); /* 16 characters */
	assert_false(wf_hello_add(&h, "Shm", data, 1));
	assert_false(wf_hello_add(&h, "a b", data, 1));
	assert_false(wf_hello_add(&h, "shm", data, sizeof(data)));
	assert_int_equal(h.n_offers, 0);
	assert_true(wf_hello_add(&h, "cuda_ipc-2", data, WF_OFFER_MAX));
	assert_false(wf_hello_add(&h, "cuda_ipc-2", data, 1)); /* twice */
	assert_int_equal(h.n_offers, 1);
}

static void test_cut_hello_is_refused_at_every_length(void **state)
{
	struct wf_hello h = sample(), back;
	uint8_t buf[WF_HELLO_MAX];
	size_t len = wf_hello_encode(&h, buf, sizeof(buf));

	(void)state;
	memset(&back, 0x5a, sizeof(back));
	for (size_t cut = 0; cut < len; cut++)
		assert_non_null(wf_hello_decode(buf, cut, &back));
	assert_int_equal(back.version_min, 0x5a5a); /* untouched on failure */
	assert_null(wf_hello_decode(buf, len, &back));
}

static void test_bytes_behind_the_offers_are_passed_over(void **state)
{
	struct wf_hello h = sample(), back;
	uint8_t buf[WF_HELLO_MAX + 1] = { 0 };
	size_t len = wf_hello_encode(&h, buf, sizeof(buf));

	(void)state;
	memset(buf + len, 0x77, sizeof(buf) - len);
	assert_null(wf_hello_decode(buf, WF_HELLO_MAX, &back));
	assert_memory_equal(&h, &back, sizeof(h));
	assert_non_null(wf_hello_decode(buf, WF_HELLO_MAX + 1, &back));
}

static const char *decode_with(size_t at, uint8_t value)
{
	struct wf_hello h = sample(), back;
	uint8_t buf[WF_HELLO_MAX];
	size_t len = wf_hello_encode(&h, buf, sizeof(buf));

	buf[at] = value;
	return wf_hello_decode(buf, len, &back);
}

static void test_bad_fields_are_refused(void **state)
{
	(void)state;
	assert_null(decode_with(0, 'W'));
	assert_string_equal(decode_with(0, 'w'), "not a weft hello");
	assert_string_equal(decode_with(4, 0), "hello with an impossible range of versions");
	assert_string_equal(decode_with(6, 0), "hello with an impossible range of versions");
	assert_string_equal(decode_with(COUNT_AT, 9), "hello with too many offers");
	assert_string_equal(decode_with(COUNT_AT, 3), "hello ends inside an offer");
	assert_string_equal(decode_with(FIXED_LEN, 16), "hello: a transport's name is too long");
	assert_string_equal(decode_with(FIXED_LEN + 1, 'S'),
			    "hello: a transport's name has characters that are not allowed");
	assert_string_equal(decode_with(FIXED_LEN + 2, 0),
			    "hello: a transport's name has characters that are not allowed");
	assert_string_equal(decode_with(FIXED_LEN + 4, 161), "hello: an offer is too long");
	assert_string_equal(decode_with(FIXED_LEN + 5, 1), "hello: an offer is too long");
	assert_non_null(decode_with(FIXED_LEN, 0)); /* a name without characters */
}

static void test_same_transport_twice_is_refused(void **state)
{
	struct wf_hello h = { .version_min = 1, .version_max = 1 }, back;
	uint8_t buf[WF_HELLO_MAX];
	size_t len;

	(void)state;
	assert_true(wf_hello_add(&h, "aa", NULL, 0));
	assert_true(wf_hello_add(&h, "ab", NULL, 0));
	len = wf_hello_encode(&h, buf, sizeof(buf));
	buf[len - 3] = 'a';
	assert_string_equal(wf_hello_decode(buf, len, &back),
			    "hello offers the same transport twice");
}

/* A later version may lay out everything behind the range anew: only the range is read. */
static void test_later_version_is_read_as_far_as_its_range(void **state)
{
	static const uint8_t later[] = { 'W', 'E', 'F', 'T', 2, 0, 7, 0, 0xff };
	struct wf_hello ours = { .version_min = 1, .version_max = 1 }, back;
	static const struct wf_hello zero;

	(void)state;
	for (size_t len = 8; len <= sizeof(later); len++) {
		assert_null(wf_hello_decode(later, len, &back));
		assert_int_equal(back.version_min, 2);
		assert_int_equal(back.version_max, 7);
		assert_int_equal(back.n_offers, 0);
		assert_memory_equal(back.uuid, zero.uuid, WF_UUID);
		assert_int_equal(wf_hello_version(&ours, &back), 0);
	}
}

static uint16_t common(uint16_t min1, uint16_t max1, uint16_t min2, uint16_t max2)
{
	struct wf_hello a = { .version_min = min1, .version_max = max1 };
	struct wf_hello b = { .version_min = min2, .version_max = max2 };

	assert_int_equal(wf_hello_version(&a, &b), wf_hello_version(&b, &a));
	return wf_hello_version(&a, &b);
}

static void test_highest_common_version_is_chosen(void **state)
{
	(void)state;
	assert_int_equal(common(1, 1, 1, 1), 1);
	assert_int_equal(common(1, 5, 2, 3), 3);
	assert_int_equal(common(1, 3, 3, 9), 3);
	assert_int_equal(common(1, 2, 3, 9), 0);
	assert_int_equal(common(1, UINT16_MAX, 1, UINT16_MAX), UINT16_MAX);
}

/* Any damage is either refused or gives a hello that survives another trip. */
static void test_damaged_hellos_are_refused_or_whole(void **state)
{
	struct wf_hello h = sample(), once, twice;
	uint8_t good[WF_HELLO_MAX], buf[WF_HELLO_MAX];
	size_t len = wf_hello_encode(&h, good, sizeof(good)), n;
	struct wf_rng rng;

	(void)state;
	wf_rng_init(&rng, 2);
	for (unsigned i = 0; i < 100000; i++) {
		memcpy(buf, good, len);
		for (uint64_t k = wf_rng_below(&rng, 4) + 1; k; k--)
			buf[4 + wf_rng_below(&rng, len - 4)] = (uint8_t)wf_rng_next(&rng);
		if (wf_hello_decode(buf, len, &once))
			continue;
		n = wf_hello_encode(&once, buf, sizeof(buf));
		assert_true(n >= FIXED_LEN);
		assert_null(wf_hello_decode(buf, n, &twice));
		assert_memory_equal(&once, &twice, sizeof(once));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_hello_lies_as_drawn),
	cmocka_unit_test(test_hello_comes_back_as_it_went),
	cmocka_unit_test(test_largest_hello_fits),
	cmocka_unit_test(test_encode_says_when_it_does_not_fit),
	cmocka_unit_test(test_add_refuses_what_could_not_be_sent),
	cmocka_unit_test(test_cut_hello_is_refused_at_every_length),
	cmocka_unit_test(test_bytes_behind_the_offers_are_passed_over),
	cmocka_unit_test(test_bad_fields_are_refused),
	cmocka_unit_test(test_same_transport_twice_is_refused),
	cmocka_unit_test(test_later_version_is_read_as_far_as_its_range),
	cmocka_unit_test(test_highest_common_version_is_chosen),
	cmocka_unit_test(test_damaged_hellos_are_refused_or_whole),
};

UT_MAIN(tests)
