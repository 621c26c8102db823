/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_ucx_abi.c - our own declarations of UCX's interface against its headers: places and sizes of members, numbers.
 */
#include "lib/ucx_layout.h"
#include "transports/ucx/ucx_abi.h"
#include "unit/unit.h"

typedef struct ucp_request_param ucp_request_param_t;   /* UCX's has no other name */

static void the_layout_is_ucxs(void **state)
{
	static const struct layout_row ours[] = { UCX_LAYOUT_ROWS { NULL, 0, 0 } };
	const struct layout_row *real = ucx_layout_real();

	(void)state;
	if (!real)
		UT_SKIP("UCX's headers are not installed (Debian: libucx-dev)");
	assert_int_equal(layout_wrong(ours, real), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_layout_is_ucxs),
};

UT_MAIN(tests)
