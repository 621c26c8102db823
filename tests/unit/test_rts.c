/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_rts.c - announcements of long messages that no sender of ours would make, given to the core as a lane would.
 */
#include "unit/unit.h"

#include <string.h>

#include "core/internal.h"
#include "lib/wt.h"

static const uint64_t too_long[] = { WF_MSG_MAX + 1, UINT64_MAX };

static void a_message_longer_than_any_is_refused(void **state)
{
	struct wf_frame rts = { .type = WF_FR_RTS, .len = sizeof(struct wf_rts) };
	struct wf_frame am = { .type = WF_FR_AM_RTS, .len = sizeof(struct wf_rts) };
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < WF_ARRAY_LEN(too_long); i++) {
		struct wf_rts r = { .len = too_long[i] };

		assert_int_equal(wf_in_rts(p.ep[1], &rts, (const uint8_t *)&r), WEFT_EPROTO);
		assert_int_equal(wf_in_am(p.ep[1], &am, (const uint8_t *)&r), WEFT_EPROTO);
	}
	assert_true(wf_list_is_empty(&p.ep[1]->msgs));
	wt_pair_close(&p);
}

/* Our own callers hear of it before anything is sent. */
static void a_buffer_longer_than_any_message_is_refused(void **state)
{
	static char byte;
	weft_buf two[2] = { wt_buf(&byte, WF_MSG_MAX), wt_buf(&byte, 1) };
	weft_buf one = wt_buf(&byte, WF_MSG_MAX + 1);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_send(p.ep[0], &one, 1, 1, NULL), WEFT_EINVAL);
	assert_int_equal(weft_send(p.ep[0], two, 2, 1, NULL), WEFT_EINVAL);
	assert_int_equal(weft_am_send(p.ep[0], 1, NULL, 0, &one, 1, NULL), WEFT_EINVAL);
	assert_int_equal(weft_recv(p.w[1]->w, &one, 1, 1, WT_EXACT, NULL), WEFT_EINVAL);
	wt_pair_close(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_longer_than_any_is_refused, wt_setup, wt_teardown),
		cmocka_unit_test_setup_teardown(a_buffer_longer_than_any_message_is_refused, wt_setup, wt_teardown),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (!wt_choose("loop"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
