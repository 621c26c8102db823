/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_frame.c - the header's layout, and the bounds of every type, each at the border and one past
 * it.
 */
#include "unit/unit.h"

#include "base/rng.h"
#include "wire/frame.h"
#include "wire/hello.h"

#include <string.h>

static const struct bounds {
	uint8_t type;
	uint16_t aux;
	uint32_t least, most;
	const char *name;
} bounds[] = {
	{ WF_FR_HELLO, 0, 8, 2048, "HELLO" },
	{ WF_FR_WELCOME, 0, 8, 2048, "WELCOME" },
	{ WF_FR_REJECT, 23, 0, 2048, "REJECT" },
	{ WF_FR_READY, 0, 2, 2048, "READY" },
	{ WF_FR_EAGER, 0, 0, 1u << 20, "EAGER" },
	{ WF_FR_RTS, 0, 16, 16 + 192, "RTS" },
	{ WF_FR_CTS, 0, 0, 0, "CTS" },
	{ WF_FR_DATA, 0, 0, 1u << 20, "DATA" },
	{ WF_FR_FIN, 0, 0, 0, "FIN" },
	{ WF_FR_SYNC_ACK, 0, 0, 0, "SYNC_ACK" },
	{ WF_FR_STOP, 0, 0, 0, "STOP" },
	{ WF_FR_STOPPED, 0, 0, 0, "STOPPED" },
	{ WF_FR_WITHDRAW, 0, 0, 0, "WITHDRAW" },
	{ WF_FR_WITHDRAWN, 1, 0, 0, "WITHDRAWN" },
	{ WF_FR_GONE, 0, 0, 0, "GONE" },
	{ WF_FR_PRESSURE, 1, 0, 0, "PRESSURE" },
	{ WF_FR_AM, 0, 0, 1u << 20, "AM" },
	{ WF_FR_AM, 1024, 1024, 1u << 20, "AM" },
	{ WF_FR_AM_RTS, 0, 16, 16 + 192, "AM_RTS" },
	{ WF_FR_AM_RTS, 1024, 16 + 1024, 16 + 1024 + 192, "AM_RTS" },
	{ WF_FR_STREAM, 0, 0, 1u << 20, "STREAM" },
	{ WF_FR_CREDIT, 0, 0, 0, "CREDIT" },
	{ WF_FR_OPEN, 0, 40, 40, "OPEN" },
	{ WF_FR_OPENED, 0, 16, 16 + 192, "OPENED" },
	{ WF_FR_OPENED, 18, 16, 16 + 192, "OPENED" },
	{ WF_FR_CLOSE_REMOTE, 0, 0, 0, "CLOSE_REMOTE" },
	{ WF_FR_PUT, 0, 0, 1u << 20, "PUT" },
	{ WF_FR_SIGNAL, 0, 0, 0, "SIGNAL" },
	{ WF_FR_GET, 0, 16, 16, "GET" },
	{ WF_FR_GOT, 0, 0, 1u << 20, "GOT" },
	{ WF_FR_GET_FAIL, 16, 0, 0, "GET_FAIL" },
	{ WF_FR_ATOMIC, 1, 24, 24, "ATOMIC" },
	{ WF_FR_ATOMIC_DONE, 0, 8, 8, "ATOMIC_DONE" },
	{ WF_FR_REVOKE, 0, 0, 0, "REVOKE" },
	{ WF_FR_REVOKED, 0, 0, 0, "REVOKED" },
	{ WF_FR_FLUSH, 0, 0, 0, "FLUSH" },
	{ WF_FR_FLUSHED, 0, 0, 0, "FLUSHED" },
	{ WF_FR_CLOSE, 0, 0, 0, "CLOSE" },
	{ WF_FR_CLOSED, 0, 0, 0, "CLOSED" },
	{ WF_FR_PAD, 0, 0, 64, "PAD" },
	{ WF_FR_LANE, 0, 2, 528, "LANE" },
	{ WF_FR_RENEW, 1, 2, 528, "RENEW" },
	{ WF_FR_SWITCH, 0, 0, 0, "SWITCH" },
};

static const char *check(uint8_t type, uint16_t aux, uint32_t len)
{
	struct wf_frame h = { .type = type, .aux = aux, .len = len };

	return wf_frame_check(&h);
}

static void test_header_lies_as_drawn(void **state)
{
	struct wf_frame h = {
		.len = 0x04030201,
		.seq = 0x08070605,
		.type = 9,
		.flags = 10,
		.aux = 0x0c0b,
		.id = 0x100f0e0d,
		.tag = 0x1817161514131211ull,
	};
	const uint8_t *p = (const uint8_t *)&h;

	(void)state;
	assert_int_equal(sizeof(h), WF_FRAME_HDR);
	for (unsigned i = 0; i < WF_FRAME_HDR; i++)
		assert_int_equal(p[i], i + 1);
}

static void test_numbers_of_types_are_for_ever(void **state)
{
	(void)state;
	assert_int_equal(WF_FR_HELLO, 1);
	assert_int_equal(WF_FR_EAGER, 5);
	assert_int_equal(WF_FR_PRESSURE, 16);
	assert_int_equal(WF_FR_AM, 17);
	assert_int_equal(WF_FR_STREAM, 19);
	assert_int_equal(WF_FR_OPEN, 21);
	assert_int_equal(WF_FR_FLUSH, 33);
	assert_int_equal(WF_FR_CLOSED, 36);
	assert_int_equal(WF_FR_PAD, 37);
	assert_int_equal(WF_FR_LANE, 38);
	assert_int_equal(WF_FR_SWITCH, 39);
	assert_int_equal(WF_FR_RENEW, 40);
	assert_int_equal(WF_FR_TYPES_, 41);
}

static void test_every_type_has_its_bounds(void **state)
{
	bool seen[256] = { false };

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(bounds); i++) {
		const struct bounds *b = &bounds[i];

		seen[b->type] = true;
		assert_string_equal(wf_frame_name(b->type), b->name);
		assert_null(check(b->type, b->aux, b->least));
		assert_null(check(b->type, b->aux, b->most));
		assert_non_null(check(b->type, b->aux, b->most + 1));
		assert_non_null(check(b->type, b->aux, UINT32_MAX));
		if (b->least)
			assert_non_null(check(b->type, b->aux, b->least - 1));
	}
	for (unsigned type = 1; type < WF_FR_TYPES_; type++)
		assert_true(seen[type]);
}

/* Dask's server over plain TCP speaks first: length, number of frames, their lengths. Its header passes for a hello's whose end never comes. */
static void test_a_greeting_has_no_numbers(void **state)
{
	static const uint64_t dask[] = { 58, 1, 42 };
	struct wf_frame h;

	(void)state;
	memcpy(&h, dask, sizeof(h));
	assert_int_equal(h.type, WF_FR_HELLO);
	assert_non_null(wf_frame_check(&h));
	for (uint8_t type = WF_FR_HELLO; type <= WF_FR_WELCOME; type++) {
		assert_null(wf_frame_check(&(struct wf_frame){ .type = type, .len = 58 }));
		assert_non_null(wf_frame_check(&(struct wf_frame){ .type = type, .len = 58, .tag = 1 }));
		assert_non_null(wf_frame_check(&(struct wf_frame){ .type = type, .len = 58, .id = 1 }));
		assert_non_null(wf_frame_check(&(struct wf_frame){ .type = type, .len = 58, .aux = 1 }));
	}
}

static void test_unknown_types_are_refused(void **state)
{
	(void)state;
	assert_non_null(check(0, 0, 0));
	assert_string_equal(wf_frame_name(0), "?");
	for (unsigned type = WF_FR_TYPES_; type < 256; type++) {
		assert_non_null(check((uint8_t)type, 0, 0));
		assert_string_equal(wf_frame_name((uint8_t)type), "?");
	}
}

static void test_unknown_flags_are_refused(void **state)
{
	struct wf_frame h = { .type = WF_FR_EAGER };

	(void)state;
	for (unsigned flags = 0; flags < 256; flags++) {
		h.flags = (uint8_t)flags;
		if (flags & ~3u)
			assert_non_null(wf_frame_check(&h));
		else
			assert_null(wf_frame_check(&h));
	}
}

static void test_am_header_stays_in_its_frame(void **state)
{
	(void)state;
	assert_null(check(WF_FR_AM, 10, 10));
	assert_non_null(check(WF_FR_AM, 11, 10));
	assert_non_null(check(WF_FR_AM, 1025, 4096));
	assert_non_null(check(WF_FR_AM, UINT16_MAX, 1u << 20));
	assert_null(check(WF_FR_AM_RTS, 10, 26));
	assert_non_null(check(WF_FR_AM_RTS, 11, 26));
	assert_non_null(check(WF_FR_AM_RTS, 0, 16 + 193));
	assert_non_null(check(WF_FR_AM_RTS, 1025, 16 + 1025));
}

/* Whatever the bytes are: the answer is good only within the bounds that the rest of the code
 * relies on. */
static void test_random_headers_pass_only_in_bounds(void **state)
{
	struct wf_rng rng;
	struct wf_frame h;
	unsigned good = 0;

	(void)state;
	wf_rng_init(&rng, 1);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t words[3] = { wf_rng_next(&rng), wf_rng_next(&rng), wf_rng_next(&rng) };

		memcpy(&h, words, sizeof(h));
		h.type = (uint8_t)wf_rng_below(&rng, 40);
		h.flags &= 3;
		h.len = (uint32_t)(h.len >> wf_rng_below(&rng, 32));
		h.aux = (uint16_t)(h.aux >> wf_rng_below(&rng, 16));
		if (wf_frame_check(&h))
			continue;
		good++;
		assert_true(h.type >= 1 && h.type < WF_FR_TYPES_);
		assert_true(h.len <= WF_FRAME_DATA_MAX);
		if (h.type == WF_FR_AM)
			assert_true(h.aux <= h.len && h.aux <= WF_AM_HEADER_MAX);
		if (h.type == WF_FR_AM_RTS)
			assert_true(h.aux + sizeof(struct wf_rts) <= h.len && h.len <= WF_CTL_MAX);
	}
	assert_true(good > 1000);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_header_lies_as_drawn),
	cmocka_unit_test(test_numbers_of_types_are_for_ever),
	cmocka_unit_test(test_every_type_has_its_bounds),
	cmocka_unit_test(test_a_greeting_has_no_numbers),
	cmocka_unit_test(test_unknown_types_are_refused),
	cmocka_unit_test(test_unknown_flags_are_refused),
	cmocka_unit_test(test_am_header_stays_in_its_frame),
	cmocka_unit_test(test_random_headers_pass_only_in_bounds),
};

UT_MAIN(tests)
