/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_calibrate.c - weft_calibrate(), and that what it writes is what settings read.
 */
#include "unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/file.h"
#include "weft/weft.h"

#define BUDGET_NS 1000000000ull
#define FAR_NS    30000000000ull /* far beyond: the budget was ignored */

static char dir[64];

static int in_a_folder(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weft-unit-XXXXXX");
	return !mkdtemp(dir);
}

static char *in_dir(const char *name, char *out, size_t cap)
{
	snprintf(out, cap, "%s/%s", dir, name);
	return out;
}

/* Names in the folder, which are removed. */
static unsigned clear_folder(void)
{
	struct dirent *e;
	char path[400];
	unsigned n = 0;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.') {
			unlink(in_dir(e->d_name, path, sizeof(path)));
			n++;
		}
	closedir(d);
	return n;
}

static int folder_gone(void **state)
{
	(void)state;
	clear_folder();
	return rmdir(dir);
}

static weft_ctx *open_with(const char *key, const char *value)
{
	weft_config *c;
	weft_ctx *ctx;

	assert_int_equal(weft_config_new(&c), 0);
	assert_int_equal(weft_config_set(c, key, value), 0);
	assert_int_equal(weft_open(c, &ctx), 0);
	weft_config_free(c);
	return ctx;
}

static void explain(weft_ctx *ctx, int json, char *out, size_t cap)
{
	assert_int_equal(weft_explain(ctx, NULL, NULL, json, out, &cap), 0);
}

static void test_what_it_writes_is_loaded_and_shown(void **state)
{
	weft_ctx *ctx = open_with("log", "off");
	static char text[20000];
	char path[100];
	uint64_t start = wf_now_ns();
	int ret = weft_calibrate(ctx, in_dir("found", path, sizeof(path)), BUDGET_NS);

	(void)state;
	assert_true(wf_now_ns() - start < FAR_NS);
	assert_int_equal(weft_close(ctx), 0); /* nothing of it lives on */
	if (ret == WEFT_ENOTSUP)
		UT_SKIP("shm: %s", weft_last_error()->cause);
	assert_int_equal(ret, 0);
	ctx = open_with("calibration", path);
	explain(ctx, 1, text, sizeof(text));
	assert_non_null(strstr(text, "\"origin\":\"calibrated\",\"measured\":\"eager "));
	assert_non_null(strstr(text, "\"eager_max_tcp\":{\"value\":\"64K\",\"origin\":\"default\",\"measured\":null"));
	explain(ctx, 0, text, sizeof(text));
	assert_non_null(strstr(text, "ns/KiB, rendezvous "));
	weft_close(ctx);
	assert_int_equal(clear_folder(), 1);
}

static void test_bad_arguments_are_refused(void **state)
{
	weft_ctx *ctx = open_with("log", "off");
	char path[100];

	(void)state;
	in_dir("none", path, sizeof(path));
	assert_int_equal(weft_calibrate(NULL, path, BUDGET_NS), WEFT_EINVAL);
	assert_int_equal(weft_calibrate(ctx, NULL, BUDGET_NS), WEFT_EINVAL);
	assert_int_equal(weft_calibrate(ctx, "", BUDGET_NS), WEFT_EINVAL);
	assert_int_equal(weft_calibrate(ctx, path, 0), WEFT_EINVAL);
	assert_int_equal(weft_calibrate(ctx, path, 1), WEFT_ETIMEDOUT);
	assert_non_null(strstr(weft_last_error()->cause, "time"));
	weft_close(ctx);
	assert_int_equal(clear_folder(), 0);
}

static void test_a_transport_that_is_forbidden_is_not_measured(void **state)
{
	weft_ctx *ctx = open_with("avoid", "shm");
	char path[100];

	(void)state;
	assert_int_equal(weft_calibrate(ctx, in_dir("none", path, sizeof(path)), BUDGET_NS), WEFT_ENOTSUP);
	assert_string_equal(weft_last_error()->object, "shm");
	assert_non_null(strstr(weft_last_error()->cause, "avoid"));
	weft_close(ctx);
	assert_int_equal(clear_folder(), 0);
}

static void test_a_path_that_cannot_be_written_is_named(void **state)
{
	weft_ctx *ctx = open_with("log", "off");
	char path[100];
	int ret = weft_calibrate(ctx, in_dir("no/folder", path, sizeof(path)), BUDGET_NS);

	(void)state;
	weft_close(ctx);
	if (ret == WEFT_ENOTSUP)
		UT_SKIP("shm: %s", weft_last_error()->cause);
	assert_true(ret < 0);
	assert_string_equal(weft_last_error()->object, path);
	assert_non_null(weft_last_error()->remedy);
	assert_int_equal(weft_last_error()->sys_errno, ENOENT);
}

static void test_a_file_is_replaced_whole_or_not_at_all(void **state)
{
	char path[100], folder[100], text[8] = "";
	FILE *f;

	(void)state;
	assert_int_equal(wf_file_replace(in_dir("f", path, sizeof(path)), "older", 5), 0);
	assert_int_equal(wf_file_replace(path, "new", 3), 0);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(text, 1, sizeof(text), f), 3);
	fclose(f);
	assert_memory_equal(text, "new", 3);
	assert_int_equal(clear_folder(), 1);

	assert_int_equal(mkdir(in_dir("d", folder, sizeof(folder)), 0700), 0);
	assert_int_equal(wf_file_replace(folder, "new", 3), -EISDIR);
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(clear_folder(), 0); /* the temporary file went, too */
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, in_a_folder, folder_gone)

static const struct CMUnitTest tests[] = {
	CASE(test_what_it_writes_is_loaded_and_shown),
	CASE(test_bad_arguments_are_refused),
	CASE(test_a_transport_that_is_forbidden_is_not_measured),
	CASE(test_a_path_that_cannot_be_written_is_named),
	CASE(test_a_file_is_replaced_whole_or_not_at_all),
};

UT_MAIN(tests)
