/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rma.h - what rma.c, rma_target.c and ep.c share.
 */
#ifndef WF_CORE_RMA_H
#define WF_CORE_RMA_H
#include "base/amo.h"
#include "core/internal.h"

enum { RMA_PUT, RMA_GET, RMA_SIGNAL, RMA_ATOMIC };

struct wf_rma_post {                     /* one one-sided operation, as it is posted */
	int what;
	uint32_t amo;                    /* RMA_ATOMIC: which */
	const weft_buf *bufs;
	size_t n;
	struct weft_remote *remote;
	uint64_t offset, operand, compare;
};

#endif
