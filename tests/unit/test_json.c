/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

static void write_all(struct wf_json *j)
{
	wf_json_obj_open(j);
	wf_json_kv_str(j, "name", "a \"b\"\\\n\x01");
	wf_json_kv_u64(j, "max", UINT64_MAX);
	wf_json_kv_i64(j, "min", INT64_MIN);
	wf_json_key(j, "list");
	wf_json_arr_open(j);
	wf_json_bool(j, true);
	wf_json_null(j);
	wf_json_double(j, 0.5);
	wf_json_arr_open(j);
	wf_json_arr_close(j);
	wf_json_arr_close(j);
	wf_json_kv_double(j, "nan", NAN);
	wf_json_kv_bool(j, "no", false);
	wf_json_kv_str(j, "nil", NULL);
	wf_json_obj_close(j);
}

static const char whole[] =
	"{\"name\":\"a \\\"b\\\"\\\\\\n\\u0001\",\"max\":18446744073709551615,"
	"\"min\":-9223372036854775808,\"list\":[true,null,0.5,[]],\"nan\":null,\"no\":false,\"nil\":null}";

static void test_writes_what_is_expected(void **state)
{
	char out[512];
	struct wf_json j;

	(void)state;
	wf_json_begin(&j, out, sizeof(out));
	write_all(&j);
	assert_int_equal(wf_json_end(&j), strlen(whole));
	assert_string_equal(out, whole);
}

static void test_small_buffer_is_never_passed(void **state)
{
	char out[sizeof(whole) + 1];
	struct wf_json j;

	(void)state;
	for (size_t cap = 0; cap < sizeof(whole); cap++) {
		memset(out, '#', sizeof(out));
		wf_json_begin(&j, out, cap);
		write_all(&j);
		assert_int_equal(wf_json_end(&j), strlen(whole));
		assert_int_equal(out[cap], '#');
		if (cap) {
			assert_int_equal(out[cap - 1], 0);
			assert_memory_equal(out, whole, cap - 1);
		}
	}
}

static void test_bytes_that_are_no_utf8_are_replaced(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "\xc3\xa4", "\"\xc3\xa4\"" },
		{ "\xe2\x82\xac", "\"\xe2\x82\xac\"" },
		{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
		{ "\xff", "\"\xef\xbf\xbd\"" },
		{ "\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
	};
	char out[64];
	struct wf_json j;

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		wf_json_begin(&j, out, sizeof(out));
		wf_json_str(&j, rows[i].in);
		wf_json_end(&j);
		assert_string_equal(out, rows[i].out);
	}
}

static void test_misuse_is_told(void **state)
{
	char out[64];
	struct wf_json j;

	(void)state;
	wf_json_begin(&j, out, sizeof(out));
	wf_json_obj_open(&j);
	assert_int_equal(wf_json_end(&j), 0);
	wf_json_begin(&j, out, sizeof(out));
	wf_json_arr_close(&j);
	assert_int_equal(wf_json_end(&j), 0);
	wf_json_begin(&j, out, sizeof(out));
	for (int i = 0; i <= WF_JSON_DEPTH; i++)
		wf_json_arr_open(&j);
	for (int i = 0; i <= WF_JSON_DEPTH; i++)
		wf_json_arr_close(&j);
	assert_int_equal(wf_json_end(&j), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_writes_what_is_expected),
	cmocka_unit_test(test_small_buffer_is_never_passed),
	cmocka_unit_test(test_bytes_that_are_no_utf8_are_replaced),
	cmocka_unit_test(test_misuse_is_told),
};

UT_MAIN(tests)
