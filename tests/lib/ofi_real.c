/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_real.c - the layout by libfabric's own headers, where they are installed (Debian: libfabric-dev).
 */
#include "lib/ofi_layout.h"

#if __has_include(<rdma/fabric.h>)

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

const struct layout_row *ofi_layout_real(size_t *err_entry_size)
{
	static const struct layout_row rows[] = { OFI_LAYOUT_ROWS { NULL, 0, 0 } };

	*err_entry_size = sizeof(struct fi_cq_err_entry);
	return rows;
}

#else

const struct layout_row *ofi_layout_real(size_t *err_entry_size)
{
	*err_entry_size = 0;
	return NULL;
}

#endif
