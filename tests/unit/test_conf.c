/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <string.h>

#include "base/conf.h"
#include "base/conf_parse.h"

static void test_defaults_are_what_the_table_says(void **state)
{
	struct wf_conf c;

	(void)state;
	wf_conf_defaults(&c);
	assert_string_equal(c.transports, "");
	assert_true(c.failure_detect_ns == 3000000000ull);
	assert_true(c.connect_timeout_ns == 10000000000ull);
	assert_int_equal(c.limit_unexpected, 64 << 20);
	assert_int_equal(c.limit_shm, 512 << 20);
	assert_int_equal(c.eager_max_shm, 32768);
	assert_int_equal(c.eager_max_tcp, 65536);
	assert_int_equal(c.spin_ns, 20000);
	assert_int_equal(c.stream_window, 1 << 20);
	assert_int_equal(c.copy_chunk, 256 << 10);
	assert_int_equal(c.shm_ring, 2 << 20);
	assert_true(c.cma);
	assert_int_equal(c.listen_ports.first, 0);
	assert_int_equal(c.log_level, WEFT_LOG_WARN);
}

static void test_every_default_is_valid_and_comes_back(void **state)
{
	const struct wf_conf_row *row;
	struct wf_conf a, b;
	char text[WF_CONF_TEXT];

	(void)state;
	wf_conf_defaults(&a);
	wf_conf_defaults(&b);
	for (size_t i = 0; !wf_conf_list(i, &row); i++) {
		assert_int_equal(wf_conf_set(&b, row->key, row->def, WF_CONF_FROM_CODE, NULL), 0);
		assert_int_equal(b.origin[i], WF_CONF_FROM_CODE);
		b.origin[i] = WF_CONF_FROM_DEFAULT;
		wf_conf_format(&a, i, text, sizeof(text));
		assert_int_equal(wf_conf_set(&b, row->key, text, WF_CONF_FROM_DEFAULT, NULL), 0);
		assert_memory_equal(&a, &b, sizeof(a));
		assert_true(strlen(row->sentence) > 20);
	}
}

static void test_unknown_key_names_the_nearest(void **state)
{
	struct wf_conf c;
	char text[300];

	(void)state;
	wf_conf_defaults(&c);
	assert_int_equal(wf_conf_set(&c, "eager_max_tpc", "1K", WF_CONF_FROM_CODE, "file x line 3"),
			 WEFT_ESETTING);
	weft_error_text(weft_last_error(), text, sizeof(text));
	assert_non_null(strstr(text, "eager_max_tcp"));
	assert_non_null(strstr(text, "file x line 3"));
	assert_string_equal(wf_conf_nearest("Transport"), "transports");
	assert_string_equal(wf_conf_nearest(""), wf_conf_nearest(""));
}

static void test_bad_values_are_refused_and_change_nothing(void **state)
{
	static const char *const bad[][2] = {
		{ "spin", "20" },
		{ "spin", "20 us x" },
		{ "spin", "-1us" },
		{ "spin", "2s" },
		{ "failure_detect", "50ms" },
		{ "failure_detect", "2h" },
		{ "failure_detect", "" },
		{ "eager_max_shm", "8Q" },
		{ "eager_max_shm", "0" },
		{ "eager_max_shm", "99999999999999999999999" },
		{ "eager_max_shm", "16777216T" },
		{ "shm_ring", "100K" },
		{ "cma", "maybe" },
		{ "listen_ports", "9-3" },
		{ "listen_ports", "70000" },
		{ "listen_ports", "1-2-3" },
		{ "listen_ports", "0-3" },
		{ "log", "loud" },
	};
	struct wf_conf a, b;

	(void)state;
	wf_conf_defaults(&a);
	wf_conf_defaults(&b);
	for (size_t i = 0; i < WF_ARRAY_LEN(bad); i++) {
		if (wf_conf_set(&b, bad[i][0], bad[i][1], WF_CONF_FROM_CODE, NULL) != WEFT_ESETTING)
			fail_msg("%s = %s was taken", bad[i][0], bad[i][1]);
		assert_non_null(strstr(weft_last_error()->cause, bad[i][0]));
	}
	assert_memory_equal(&a, &b, sizeof(a));
}

static void test_text_too_long_is_refused(void **state)
{
	struct wf_conf c;
	char text[600];

	(void)state;
	wf_conf_defaults(&c);
	memset(text, 'a', sizeof(text));
	text[255] = 0;
	assert_int_equal(wf_conf_set(&c, "fault", text, WF_CONF_FROM_CODE, NULL), 0);
	assert_int_equal(wf_conf_set(&c, "avoid", text, WF_CONF_FROM_CODE, NULL), 0);
	text[255] = 'a';
	text[256] = 0;
	assert_int_equal(wf_conf_set(&c, "fault", text, WF_CONF_FROM_CODE, NULL), WEFT_ESETTING);
	assert_int_equal(wf_conf_set(&c, "avoid", text, WF_CONF_FROM_CODE, NULL), WEFT_ESETTING);
	text[256] = 'a';
	text[599] = 0;
	assert_int_equal(wf_conf_set(&c, "fault", text, WF_CONF_FROM_CODE, NULL), WEFT_ESETTING);
}

static void test_numbers_take_suffixes(void **state)
{
	uint64_t v = 0;
	char text[32];

	(void)state;
	assert_int_equal(wf_parse_size("64K", &v), 0);
	assert_true(v == 65536);
	assert_int_equal(wf_parse_size("1.5m", &v), 0);
	assert_true(v == 3 << 19);
	assert_int_equal(wf_parse_time("100ms", &v), 0);
	assert_true(v == 100000000);
	assert_int_equal(wf_parse_time("0.5s", &v), 0);
	assert_true(v == 500000000);
	assert_int_equal(wf_parse_time("1h", &v), 0);
	assert_true(v == 3600000000000ull);
	assert_int_equal(wf_parse_time("0", &v), 0);
	assert_int_equal(wf_parse_time("1", &v), WEFT_ESETTING);
	assert_int_equal(wf_parse_size("K", &v), WEFT_ESETTING);
	assert_int_equal(wf_parse_size("1KB", &v), WEFT_ESETTING);
	wf_format_number(false, 3 << 20, text, sizeof(text));
	assert_string_equal(text, "3M");
	wf_format_number(true, 1500000, text, sizeof(text));
	assert_string_equal(text, "1500us");
	wf_format_number(false, UINT64_MAX, text, sizeof(text));
	assert_string_equal(text, "18446744073709551615");
}

static void test_lists_lose_blanks(void **state)
{
	struct wf_conf c;
	const char *cursor, *item;
	size_t len, n = 0;

	(void)state;
	wf_conf_defaults(&c);
	assert_int_equal(
		wf_conf_set(&c, "transports", "  shm , tcp,,loop ", WF_CONF_FROM_CODE, NULL), 0);
	assert_string_equal(c.transports, "shm,tcp,loop");
	assert_true(wf_conf_list_has(c.transports, "tcp"));
	assert_false(wf_conf_list_has(c.transports, "tc"));
	assert_false(wf_conf_list_has("", "tcp"));
	for (cursor = c.transports; (item = wf_conf_list_next(&cursor, &len)); n++)
		assert_memory_equal(item, n == 0 ? "shm" : n == 1 ? "tcp" : "loop", len);
	assert_int_equal(n, 3);
	assert_int_equal(wf_conf_set(&c, "listen_ports", "7000-7099", WF_CONF_FROM_CODE, NULL), 0);
	assert_int_equal(c.listen_ports.first, 7000);
	assert_int_equal(c.listen_ports.last, 7099);
	assert_int_equal(wf_conf_set(&c, "cma", "Off", WF_CONF_FROM_CODE, NULL), 0);
	assert_false(c.cma);
}

static const struct { const char *text; bool cm; int pkey, sl, tc, mtu; } good_rdma[] = {
	{ "", false, -1, -1, -1, -1 },
	{ "mlx5_0", false, -1, -1, -1, -1 },
	{ "mlx5_0:1,mlx5_1:255:255", false, -1, -1, -1, -1 },
	{ "cm", true, -1, -1, -1, -1 },
	{ "sl=0, cm ,tc=255,mlx5_0", true, -1, 0, 255, -1 },
	{ "pkey=0x8001,sl=3,tc=106", false, 0x8001, 3, 106, -1 },
	{ "pkey=0X7fFf,mtu=256", false, 0x7fff, -1, -1, 256 },
	{ "pkey=1,sl=15,tc=0x6a", false, 1, 15, 106, -1 },
	{ "mtu=4096,mlx5_0", false, -1, -1, -1, 4096 },
	{ "cmx", false, -1, -1, -1, -1 },
};

static const struct { const char *text, *says; } bad_rdma[] = {
	{ "pkey=", "\"pkey=\" is not a P_Key" },
	{ "pkey=0", "is not a P_Key" },
	{ "pkey=0x8000", "is not a P_Key" },   /* the partition's number is 0 */
	{ "pkey=0x10000", "is not a P_Key" },
	{ "pkey=0x", "is not a P_Key" },
	{ "pkey=8g", "is not a P_Key" },
	{ "pkey=-1", "is not a P_Key" },
	{ "pkey=99999999999999999999", "is not a P_Key" },
	{ "sl=16", "\"sl=16\" is not a service level, 0 to 15" },
	{ "sl=3x", "is not a service level" },
	{ "sl=a", "is not a service level" },
	{ "sl= 3", "is not a service level" },
	{ "tc=256", "is not a traffic class, 0 to 255" },
	{ "sl=1,sl=1", "sl is said twice" },
	{ "pkei=1", "\"pkei=1\" is none of the words pkey, sl, tc and mtu" },
	{ "mtu=128", "\"mtu=128\" is not an MTU, 256, 512, 1024, 2048 or 4096" },
	{ "mtu=1500", "is not an MTU" },
	{ "mtu=8192", "is not an MTU" },
	{ "=1", "is none of the words" },
	{ "SL=1", "is none of the words" },
	{ "mlx5_0:", "the port is not 1 to 255" },
	{ "mlx5_0:0", "the port is not 1 to 255" },
	{ "mlx5_0:one", "the port is not 1 to 255" },
	{ "mlx5_0::3", "the port is not 1 to 255" },
	{ "mlx5_0:1:", "the GID index is not 0 to 255" },
	{ "mlx5_0:1:256", "the GID index is not 0 to 255" },
	{ "mlx5_0:1:3:4", "the GID index is not 0 to 255" },
	{ ":1", "names no device" },
	{ "cm,pkey=0x8001", "pkey beside cm" },
	{ "mtu=1024,cm", "mtu beside cm" },
};

static void test_rdma_takes_devices_and_words(void **state)
{
	struct wf_conf_rdma words;
	char why[200], text[400];
	struct wf_conf c;

	(void)state;
	wf_conf_defaults(&c);
	for (size_t i = 0; i < WF_ARRAY_LEN(good_rdma); i++) {
		assert_int_equal(wf_conf_set(&c, "rdma", good_rdma[i].text, WF_CONF_FROM_CODE, NULL), 0);
		assert_int_equal(wf_conf_rdma(c.rdma, &words, why, sizeof(why)), 0);
		assert_int_equal(words.cm, good_rdma[i].cm);
		assert_int_equal(words.pkey, good_rdma[i].pkey);
		assert_int_equal(words.sl, good_rdma[i].sl);
		assert_int_equal(words.tc, good_rdma[i].tc);
		assert_int_equal(words.mtu, good_rdma[i].mtu);
	}
	for (size_t i = 0; i < WF_ARRAY_LEN(bad_rdma); i++) {
		assert_int_equal(wf_conf_set(&c, "rdma", bad_rdma[i].text, WF_CONF_FROM_CODE, "WEFT_RDMA"), WEFT_ESETTING);
		weft_error_text(weft_last_error(), text, sizeof(text));
		if (!strstr(text, bad_rdma[i].says) || !strstr(text, "setting rdma") || !strstr(text, "pkey=0x8001"))
			fail_msg("%s: %s", bad_rdma[i].text, text);
		assert_string_equal(c.rdma, "cmx");
	}
	assert_true(wf_conf_rdma_is_device("mlx5_0:1", 8));
	assert_false(wf_conf_rdma_is_device("cm", 2));
	assert_false(wf_conf_rdma_is_device("sl=3", 4));
}

static void test_edit_distance(void **state)
{
	(void)state;
	assert_int_equal(wf_edit_distance("kitten", "sitting"), 3);
	assert_int_equal(wf_edit_distance("", "abc"), 3);
	assert_int_equal(wf_edit_distance("abc", "abc"), 0);
}

static void test_public_get_lists_and_reads(void **state)
{
	struct wf_conf conf;
	weft_config *c;
	const char *origin;
	char value[64], number[16];
	int n = 0;

	(void)state;
	wf_conf_defaults(&conf);
	assert_int_equal(wf_conf_wrap(&conf, &c), 0);
	for (;; n++) {
		char got[64];

		snprintf(number, sizeof(number), "#%d", n);
		if (weft_config_get(c, number, value, sizeof(value), NULL))
			break;
		assert_int_equal(weft_config_get(c, value, got, sizeof(got), &origin), 0);
		assert_string_equal(origin, "default");
	}
	assert_int_equal(n, 20);
	assert_int_equal(weft_config_set(c, "spin", "5us"), 0);
	assert_int_equal(weft_config_get(c, "spin", value, sizeof(value), &origin), 0);
	assert_string_equal(value, "5us");
	assert_string_equal(origin, "code");
	assert_int_equal(weft_config_get(c, "spin", value, 3, NULL), WEFT_EINVAL);
	assert_int_equal(weft_config_get(c, "spinn", value, sizeof(value), NULL), WEFT_ESETTING);
	assert_non_null(strstr(weft_last_error()->cause, "\"spin\""));
	wf_conf_take(&conf, c);
	assert_int_equal(conf.spin_ns, 5000);
	weft_config_free(c);
	weft_config_free(NULL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_defaults_are_what_the_table_says),
	cmocka_unit_test(test_every_default_is_valid_and_comes_back),
	cmocka_unit_test(test_unknown_key_names_the_nearest),
	cmocka_unit_test(test_bad_values_are_refused_and_change_nothing),
	cmocka_unit_test(test_text_too_long_is_refused),
	cmocka_unit_test(test_numbers_take_suffixes),
	cmocka_unit_test(test_lists_lose_blanks),
	cmocka_unit_test(test_rdma_takes_devices_and_words),
	cmocka_unit_test(test_edit_distance),
	cmocka_unit_test(test_public_get_lists_and_reads),
};

UT_MAIN(tests)
