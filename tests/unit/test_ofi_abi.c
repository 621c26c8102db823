/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_ofi_abi.c - our own declarations of libfabric's interface against its headers: places and sizes of members, sizes of the
 * structs that we make, numbers.
 */
#include "lib/ofi_layout.h"
#include "transports/ofi/ofi_abi.h"
#include "unit/unit.h"

static void the_layout_is_libfabrics(void **state)
{
	static const struct layout_row ours[] = { OFI_LAYOUT_ROWS { NULL, 0, 0 } };
	size_t err_entry = 0;
	const struct layout_row *real = ofi_layout_real(&err_entry);

	(void)state;
	if (!real)
		UT_SKIP("libfabric's headers are not installed (Debian: libfabric-dev)");
	assert_int_equal(layout_wrong(ours, real), 0);
	assert_true(sizeof(struct fi_cq_err_entry) >= err_entry); /* the library writes all of its own */
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_layout_is_libfabrics),
};

UT_MAIN(tests)
