/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_real.c - the layout by UCX's own headers, where they are installed (Debian: libucx-dev).
 */
#include "lib/ucx_layout.h"

#if __has_include(<ucp/api/ucp.h>)

#include <ucm/api/ucm.h>
#include <ucp/api/ucp.h>
#include <ucs/config/types.h>
#include <ucs/debug/log_def.h>

const struct layout_row *ucx_layout_real(void)
{
	static const struct layout_row rows[] = { UCX_LAYOUT_ROWS { NULL, 0, 0 } };

	return rows;
}

#else

const struct layout_row *ucx_layout_real(void)
{
	return NULL;
}

#endif
