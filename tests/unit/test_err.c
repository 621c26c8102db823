/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"

static void test_fail_keeps_status_object_cause_and_remedy(void **state)
{
	const weft_error *e;
	char text[256];
	size_t len;

	(void)state;
	assert_int_equal(wf_fail(WEFT_ERESET, ECONNRESET, "conn 7 tcp", "try again",
				 "read %d bytes", 3),
			 WEFT_ERESET);
	e = weft_last_error();
	assert_int_equal(e->status, WEFT_ERESET);
	assert_int_equal(e->scope, WEFT_SCOPE_EP);
	assert_int_equal(e->sys_errno, ECONNRESET);
	len = weft_error_text(e, text, sizeof(text));
	assert_int_equal(len, strlen(text));
	assert_string_equal(
		text,
		"conn 7 tcp: read 3 bytes: Connection reset by peer (WEFT_ERESET); try again");
}

static void test_text_of_the_system_is_not_said_twice(void **state)
{
	struct wf_error err;
	char text[200];

	(void)state;
	wf_error_fill(&err, WEFT_EREFUSED, ECONNREFUSED, NULL, NULL, "1.2.3.4:5 (%s); 6.7.8.9:5 (no)", strerror(ECONNREFUSED));
	weft_error_text(&err.e, text, sizeof(text));
	assert_string_equal(text, "1.2.3.4:5 (Connection refused); 6.7.8.9:5 (no) (WEFT_EREFUSED)");
}

static void test_text_is_cut_but_counted(void **state)
{
	struct wf_error err;
	char small[10];
	size_t len;

	(void)state;
	wf_error_fill(&err, WEFT_ENOMEM, 0, NULL, NULL, "no memory for %d rings", 3);
	assert_null(err.e.remedy);
	len = weft_error_text(&err.e, small, sizeof(small));
	assert_string_equal(small, "no memory");
	assert_int_equal(len, strlen("no memory for 3 rings (WEFT_ENOMEM)"));
	assert_int_equal(weft_error_text(&err.e, NULL, 0), len);
}

static void test_long_texts_are_cut_to_their_fields(void **state)
{
	char word[1000];
	struct wf_error err;

	(void)state;
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = 0;
	wf_error_fill(&err, WEFT_EPROTO, 0, word, word, "%s", word);
	assert_int_equal(strlen(err.e.object), sizeof(err.object) - 1);
	assert_int_equal(strlen(err.e.cause), sizeof(err.cause) - 1);
	assert_int_equal(strlen(err.e.remedy), sizeof(err.remedy) - 1);
}

static void test_last_error_may_quote_itself(void **state)
{
	(void)state;
	wf_fail(WEFT_EURL, 0, "a", NULL, "inner");
	wf_fail(WEFT_EURL, 0, weft_last_error()->object, NULL, "outer of %s",
		weft_last_error()->cause);
	assert_string_equal(weft_last_error()->object, "a");
	assert_string_equal(weft_last_error()->cause, "outer of inner");
}

static void test_copy_has_its_own_texts(void **state)
{
	struct wf_error a, b;

	(void)state;
	wf_error_fill(&a, WEFT_EBUSY, 0, "ctx", "close it", "in use");
	wf_error_copy(&b, &a.e);
	memset(&a, 'z', sizeof(a));
	assert_string_equal(b.e.object, "ctx");
	assert_string_equal(b.e.cause, "in use");
	assert_string_equal(b.e.remedy, "close it");
	assert_int_equal(wf_fail_again(&b.e), WEFT_EBUSY);
	assert_string_equal(weft_last_error()->cause, "in use");
}

static void *blank_in_new_thread(void *arg)
{
	*(int32_t *)arg = weft_last_error()->status;
	wf_fail(WEFT_EINVAL, 0, NULL, NULL, "of the other thread");
	return NULL;
}

static void test_last_error_is_of_this_thread(void **state)
{
	pthread_t thread;
	int32_t status = 77;

	(void)state;
	wf_fail(WEFT_ENOMEM, 0, NULL, NULL, "mine");
	pthread_create(&thread, NULL, blank_in_new_thread, &status);
	pthread_join(thread, NULL);
	assert_int_equal(status, 0);
	assert_string_equal(weft_last_error()->cause, "mine");
}

static void test_every_status_has_a_name_and_a_text(void **state)
{
	char text[200];

	(void)state;
	for (int32_t s = WEFT_STATUS_MIN_; s < 0; s++) {
		weft_error e = { .size = sizeof(e), .status = s };

		assert_string_not_equal(weft_status_name(s), "WEFT_?");
		assert_in_range(wf_status_scope(s), WEFT_SCOPE_CALL, WEFT_SCOPE_WORKER);
		weft_error_text(&e, text, sizeof(text));
		assert_non_null(strstr(text, weft_status_name(s)));
	}
	assert_string_equal(weft_status_name(WEFT_OK), "WEFT_OK");
	assert_string_equal(weft_status_name(WEFT_AGAIN), "WEFT_AGAIN");
	assert_string_equal(weft_status_name(-9999), "WEFT_?");
}

static void test_errno_becomes_the_nearest_status(void **state)
{
	(void)state;
	assert_int_equal(wf_status_of_errno(ENOMEM), WEFT_ENOMEM);
	assert_int_equal(wf_status_of_errno(ECONNREFUSED), WEFT_EREFUSED);
	assert_int_equal(wf_status_of_errno(EHOSTUNREACH), WEFT_EUNREACHABLE);
	assert_int_equal(wf_status_of_errno(EFBIG), WEFT_ELIMIT);
	assert_int_equal(wf_status_of_errno(EXDEV), WEFT_ESYSTEM);
}

static void test_fail_keeps_errno(void **state)
{
	(void)state;
	errno = EXDEV;
	wf_fail(WEFT_EINVAL, 0, NULL, NULL, "x");
	assert_int_equal(errno, EXDEV);
}

struct lines {
	int n, level;
	char last[600];
};

static void take_line(void *arg, int level, const char *line)
{
	struct lines *l = arg;

	l->n++;
	l->level = level;
	snprintf(l->last, sizeof(l->last), "%s", line);
}

static int evaluated;

static int count_up(void)
{
	return ++evaluated;
}

static void test_log_gives_only_wanted_lines(void **state)
{
	struct lines lines = { 0 };
	struct wf_log log;

	(void)state;
	wf_log_init(&log, take_line, &lines, WF_LOG_INFO);
	WF_LOG(&log, WF_LOG_DEBUG, "no %d", count_up());
	assert_int_equal(evaluated, 0);
	WF_LOG(&log, WF_LOG_WARN, "conn %d", count_up());
	assert_int_equal(lines.n, 1);
	assert_int_equal(lines.level, WF_LOG_WARN);
	assert_string_equal(lines.last, "conn 1");
	WF_LOG(&log, WF_LOG_ERROR, "%0700d", 1);
	assert_int_equal(strlen(lines.last), 511);
	wf_log_init(&log, NULL, NULL, WF_LOG_TRACE);
	WF_LOG(&log, WF_LOG_ERROR, "nobody %d", count_up());
	assert_int_equal(evaluated, 1);
}

static void test_log_level_names(void **state)
{
	(void)state;
	for (int i = 0; i <= WF_LOG_TRACE; i++)
		assert_int_equal(wf_log_level_of(wf_log_level_name(i)), i);
	assert_int_equal(wf_log_level_of("3"), 3);
	assert_int_equal(wf_log_level_of("6"), -1);
	assert_int_equal(wf_log_level_of("loud"), -1);
	assert_int_equal(wf_log_level_of(""), -1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_fail_keeps_status_object_cause_and_remedy),
	cmocka_unit_test(test_text_of_the_system_is_not_said_twice),
	cmocka_unit_test(test_text_is_cut_but_counted),
	cmocka_unit_test(test_long_texts_are_cut_to_their_fields),
	cmocka_unit_test(test_last_error_may_quote_itself),
	cmocka_unit_test(test_copy_has_its_own_texts),
	cmocka_unit_test(test_last_error_is_of_this_thread),
	cmocka_unit_test(test_every_status_has_a_name_and_a_text),
	cmocka_unit_test(test_errno_becomes_the_nearest_status),
	cmocka_unit_test(test_fail_keeps_errno),
	cmocka_unit_test(test_log_gives_only_wanted_lines),
	cmocka_unit_test(test_log_level_names),
};

UT_MAIN(tests)
