/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/conf_load.h"

static void test_file_lines_are_read(void **state)
{
	char text[] =
		"# a comment\n\n  spin = 5us  # inline\r\n\ttransports=tcp, shm\nfault = seed=7,cut=0.1\n";
	struct wf_conf c;

	(void)state;
	wf_conf_defaults(&c);
	assert_int_equal(wf_conf_parse_file(&c, "f", text), 0);
	assert_int_equal(c.spin_ns, 5000);
	assert_string_equal(c.transports, "tcp,shm");
	assert_string_equal(c.fault, "seed=7,cut=0.1");
	assert_int_equal(c.origin[wf_conf_find("spin")], WF_CONF_FROM_FILE);
	assert_int_equal(c.origin[wf_conf_find("cma")], WF_CONF_FROM_DEFAULT);
}

static void test_bad_line_is_named(void **state)
{
	static const char *const rows[] = { "cma = yes\nspin 5us\n", "cma = yes\nspim = 5us",
					    "cma = yes\nspin = 5\n", "cma = yes\nspin # = 5us\n",
					    "cma = yes\n = 5us" };
	struct wf_conf c;
	char text[64];

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text), "%s", rows[i]);
		wf_conf_defaults(&c);
		assert_int_equal(wf_conf_parse_file(&c, "my.conf", text), WEFT_ESETTING);
		assert_string_equal(weft_last_error()->object, "my.conf line 2");
	}
}

static void test_environment_is_read(void **state)
{
	char *env[] = { "HOME=/",
			"WEFT_SPIN=7us",
			"WEFT_CONFIG=x",
			"WEFT_TEST_ANY=1",
			"WEFT_MPI_RANK=3",
			"WEFTSPIN=1",
			NULL };
	struct wf_conf c;

	(void)state;
	wf_conf_defaults(&c);
	assert_int_equal(wf_conf_parse_env(&c, env), 0);
	assert_int_equal(c.spin_ns, 7000);
	assert_int_equal(c.origin[wf_conf_find("spin")], WF_CONF_FROM_ENV);
	assert_int_equal(wf_conf_parse_env(&c, NULL), 0);
}

static void test_unknown_variable_names_the_nearest(void **state)
{
	char *env[] = { "WEFT_EAGER_MAX_SHN=1K", NULL };
	char *bad_value[] = { "WEFT_SPIN=fast", NULL };
	struct wf_conf c;

	(void)state;
	wf_conf_defaults(&c);
	assert_int_equal(wf_conf_parse_env(&c, env), WEFT_ESETTING);
	assert_non_null(strstr(weft_last_error()->object, "WEFT_EAGER_MAX_SHN"));
	assert_non_null(strstr(weft_last_error()->remedy, "WEFT_EAGER_MAX_SHM"));
	assert_int_equal(wf_conf_parse_env(&c, bad_value), WEFT_ESETTING);
	assert_string_equal(weft_last_error()->object, "WEFT_SPIN");
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_setting(weft_config *c, const char *key, const char *value, const char *origin)
{
	char got[64];
	const char *from;

	weft_config_get(c, key, got, sizeof(got), &from);
	assert_string_equal(got, value);
	assert_string_equal(from, origin);
}

static void test_config_new_goes_by_default_file_environment(void **state)
{
	char path[] = "/tmp/weft-unit-XXXXXX";
	weft_config *c;

	(void)state;
	close(mkstemp(path));
	write_file(path, "spin = 5us\ncma = no\n");
	setenv("WEFT_CONFIG", path, 1);
	setenv("WEFT_SPIN", "9us", 1);
	assert_int_equal(weft_config_new(&c), 0);
	assert_setting(c, "spin", "9us", "env");
	assert_setting(c, "cma", "no", "file");
	weft_config_free(c);
	unlink(path);
	assert_int_equal(weft_config_new(&c), WEFT_ESETTING);
	assert_string_equal(weft_last_error()->object, path);
	unsetenv("WEFT_CONFIG");
	unsetenv("WEFT_SPIN");
	assert_int_equal(weft_config_new(&c), 0);
	weft_config_free(c);
}

static void test_calibration_comes_after_defaults_before_all_else(void **state)
{
	char file[] = "/tmp/weft-unit-XXXXXX", found[] = "/tmp/weft-unit-XXXXXX", text[200];
	weft_config *c;
	weft_ctx *ctx;

	(void)state;
	close(mkstemp(file));
	close(mkstemp(found));
	write_file(found, "# made up\neager_max_shm = 16K # eager 1 ns\neager_max_tcp = 32K\ncopy_chunk=256K");
	snprintf(text, sizeof(text), "calibration = %s\neager_max_tcp = 128K\n", found);
	write_file(file, text);
	setenv("WEFT_CONFIG", file, 1);
	setenv("WEFT_COPY_CHUNK", "64K", 1);
	assert_int_equal(weft_config_new(&c), 0);
	assert_setting(c, "eager_max_shm", "16K", "calibrated");
	assert_setting(c, "eager_max_tcp", "128K", "file");
	assert_setting(c, "copy_chunk", "64K", "env");

	assert_int_equal(weft_config_set(c, "calibration", "/nowhere/at all"), 0);
	assert_int_equal(weft_open(c, &ctx), WEFT_ESETTING); /* code's is read by weft_open() */
	assert_string_equal(weft_last_error()->object, "/nowhere/at all");
	assert_non_null(strstr(weft_last_error()->remedy, "weft calibrate"));
	assert_int_equal(weft_config_set(c, "calibration", ""), 0);
	assert_int_equal(weft_open(c, &ctx), 0);
	weft_close(ctx);
	weft_config_free(c);
	unsetenv("WEFT_CONFIG");
	unsetenv("WEFT_COPY_CHUNK");
	unlink(file);
	unlink(found);
}

static void test_calibration_notes_are_kept_and_forgotten(void **state)
{
	char path[] = "/tmp/weft-unit-XXXXXX";
	struct wf_conf c;

	(void)state;
	close(mkstemp(path));
	write_file(path, "eager_max_shm = 16K #  eager 1 ns # and more \n");
	wf_conf_defaults(&c);
	assert_int_equal(wf_conf_set(&c, "calibration", path, WF_CONF_FROM_CODE, NULL), 0);
	assert_int_equal(wf_conf_calibrated(&c), 0);
	assert_int_equal(c.eager_max_shm, 16384);
	assert_string_equal(c.measured[0], "eager 1 ns # and more");
	assert_int_equal(wf_conf_set(&c, "calibration", "", WF_CONF_FROM_CODE, NULL), 0);
	assert_int_equal(wf_conf_calibrated(&c), 0);
	assert_int_equal(c.eager_max_shm, 32768);
	assert_int_equal(c.origin[wf_conf_find("eager_max_shm")], WF_CONF_FROM_DEFAULT);
	assert_string_equal(c.measured[0], "");
	unlink(path);
}

static void test_bad_calibration_is_named(void **state)
{
	static const char *const rows[][2] = {
		{ "copy_chunk = 64K\nspin = 5us\n", "no threshold" },
		{ "copy_chunk = 64K\neager_max_shn = 5K", "no threshold" },
		{ "copy_chunk = 64K\neager_max_shm = 5Q", "5Q" },
		{ "copy_chunk = 64K\neager_max_shm = 2M", "within" },
		{ "copy_chunk = 64K\neager_max_shm 8K", "=" },
		{ "copy_chunk = 64K\ncalibration = x", "no threshold" },
	};
	struct wf_conf c;
	char text[64];

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text), "%s", rows[i][0]);
		wf_conf_defaults(&c);
		assert_int_equal(wf_conf_parse_calibration(&c, "found", text), WEFT_ESETTING);
		assert_string_equal(weft_last_error()->object, "found line 2");
		assert_non_null(strstr(weft_last_error()->cause, rows[i][1]));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_file_lines_are_read),
	cmocka_unit_test(test_bad_line_is_named),
	cmocka_unit_test(test_environment_is_read),
	cmocka_unit_test(test_unknown_variable_names_the_nearest),
	cmocka_unit_test(test_config_new_goes_by_default_file_environment),
	cmocka_unit_test(test_calibration_comes_after_defaults_before_all_else),
	cmocka_unit_test(test_calibration_notes_are_kept_and_forgotten),
	cmocka_unit_test(test_bad_calibration_is_named),
};

UT_MAIN(tests)
