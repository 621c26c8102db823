/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_blobs.c - the two blobs that travel out of band: worker address and grant token.
 */
#include "unit/unit.h"

#include "weft/weft.h"
#include "wire/hello.h"

#include <string.h>

static const char url_text[] = "weft://127.0.0.1:4711,[::1]:4712";

static struct wf_address sample(void)
{
	struct wf_address a;

	memset(&a, 0, sizeof(a));
	memset(a.uuid, 0x11, WF_UUID);
	memset(a.secret, 0x22, WF_UUID);
	assert_null(wf_url_parse(url_text, &a.url));
	return a;
}

static void test_address_comes_back_as_it_went(void **state)
{
	static const uint8_t head[] = { 'W', 'F', 'A', 'D', 1, 0, sizeof(url_text) - 1, 0 };
	struct wf_address a = sample(), back;
	uint8_t buf[512];
	size_t len = wf_address_encode(&a, buf, sizeof(buf));

	(void)state;
	assert_int_equal(len, 40 + strlen(url_text));
	assert_memory_equal(buf, head, sizeof(head));
	assert_memory_equal(buf + 8, a.uuid, WF_UUID);
	assert_memory_equal(buf + 24, a.secret, WF_UUID);
	assert_memory_equal(buf + 40, url_text, strlen(url_text));
	assert_null(wf_address_decode(buf, len, &back));
	assert_memory_equal(&a, &back, sizeof(a));
}

static void test_largest_address_comes_back(void **state)
{
	struct wf_address a, back;
	uint8_t buf[2048];
	size_t len;

	(void)state;
	memset(&a, 0, sizeof(a));
	a.url.n = WF_URL_ADDRS;
	for (unsigned i = 0; i < WF_URL_ADDRS; i++) {
		memset(a.url.addr[i], 'a', WF_URL_TEXT - 4);
		memcpy(a.url.addr[i] + WF_URL_TEXT - 4, ":80", 4);
	}
	len = wf_address_encode(&a, buf, sizeof(buf));
	assert_int_equal(len, 40 + 7 + 16 * 71 + 15);
	assert_null(wf_address_decode(buf, len, &back));
	assert_memory_equal(&a, &back, sizeof(a));
}

static void test_address_needs_its_room(void **state)
{
	struct wf_address a = sample();
	uint8_t buf[512];
	size_t len = wf_address_encode(&a, buf, sizeof(buf));

	(void)state;
	for (size_t cap = 0; cap < len; cap++)
		assert_int_equal(wf_address_encode(&a, buf, cap), 0);
	assert_int_equal(wf_address_encode(&a, buf, len), len);
}

static void test_bad_addresses_are_refused(void **state)
{
	struct wf_address a = sample(), back;
	uint8_t buf[512];
	size_t len = wf_address_encode(&a, buf, sizeof(buf));

	(void)state;
	for (size_t cut = 0; cut < len; cut++)
		assert_non_null(wf_address_decode(buf, cut, &back));
	buf[len] = '0';
	assert_string_equal(wf_address_decode(buf, len + 1, &back),
			    "worker address has the wrong length");
	buf[0] = 'X';
	assert_string_equal(wf_address_decode(buf, len, &back), "not the address of a weft worker");
	buf[0] = 'W';
	buf[4] = 2;
	assert_string_equal(wf_address_decode(buf, len, &back),
			    "worker address of another version");
	buf[4] = 1;
	buf[len - 1] = 0;
	assert_string_equal(wf_address_decode(buf, len, &back),
			    "worker address with a zero inside its URL");
	buf[len - 1] = 'x';
	assert_non_null(wf_address_decode(buf, len, &back)); /* the URL's own reason */
	buf[7] = 0xff;
	assert_string_equal(wf_address_decode(buf, len, &back),
			    "worker address has the wrong length");
}

static void test_token_lies_as_drawn_and_comes_back(void **state)
{
	static const uint8_t head[] = { 'W', 'F', 'T', 'K', 1, 0, 3, 0, 8, 7, 6, 5, 4, 3, 2, 1 };
	static const uint8_t len_bytes[] = { 0, 0, 0, 0, 1, 0, 0, 0 };
	struct wf_token t = { .grant = 0x0102030405060708ull,
			      .len = 1ull << 32,
			      .access = WEFT_READ | WEFT_WRITE };
	struct wf_token back;
	uint8_t buf[WF_TOKEN_LEN];

	(void)state;
	memset(t.key, 0x33, sizeof(t.key));
	wf_token_encode(&t, buf);
	assert_memory_equal(buf, head, sizeof(head));
	assert_memory_equal(buf + 16, t.key, sizeof(t.key));
	assert_memory_equal(buf + 32, len_bytes, sizeof(len_bytes));
	assert_null(wf_token_decode(buf, sizeof(buf), &back));
	assert_int_equal(back.grant, t.grant);
	assert_int_equal(back.len, t.len);
	assert_int_equal(back.access, t.access);
	assert_memory_equal(back.key, t.key, sizeof(t.key));
}

static void test_bad_tokens_are_refused(void **state)
{
	struct wf_token t = { .grant = 1, .len = 8, .access = WEFT_READ }, back;
	uint8_t buf[WF_TOKEN_LEN + 1] = { 0 };

	(void)state;
	wf_token_encode(&t, buf);
	for (size_t cut = 0; cut < WF_TOKEN_LEN; cut++)
		assert_string_equal(wf_token_decode(buf, cut, &back), "not a weft grant token");
	assert_string_equal(wf_token_decode(buf, WF_TOKEN_LEN + 1, &back),
			    "not a weft grant token");
	buf[3] = 'A';
	assert_string_equal(wf_token_decode(buf, WF_TOKEN_LEN, &back), "not a weft grant token");
	buf[3] = 'K';
	buf[4] = 9;
	assert_string_equal(wf_token_decode(buf, WF_TOKEN_LEN, &back),
			    "grant token of another version");
	buf[4] = 1;
	for (unsigned access = 0; access < 256; access++) {
		buf[6] = (uint8_t)access;
		if (access && !(access & ~7u))
			assert_null(wf_token_decode(buf, WF_TOKEN_LEN, &back));
		else
			assert_string_equal(wf_token_decode(buf, WF_TOKEN_LEN, &back),
					    "grant token with impossible rights");
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_address_comes_back_as_it_went),
	cmocka_unit_test(test_largest_address_comes_back),
	cmocka_unit_test(test_address_needs_its_room),
	cmocka_unit_test(test_bad_addresses_are_refused),
	cmocka_unit_test(test_token_lies_as_drawn_and_comes_back),
	cmocka_unit_test(test_bad_tokens_are_refused),
};

UT_MAIN(tests)
