/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iov.h - a message in pieces: sums, windows and copies over an array of weft_buf. Host memory
 * only; the caller has asked src/gpu about the rest. An offset past the end is an empty window,
 * never a read outside.
 */
#ifndef WF_BASE_IOV_H
#define WF_BASE_IOV_H

#include <sys/uio.h>

#include "base/copy.h"
#include "base/util.h"
#include "weft/weft.h"

/* Sum of all lengths into *@len_out. 0, or -1 when it overflows. */
int wf_bufs_len_n(const weft_buf *b, size_t n, size_t *len_out);

static inline int wf_bufs_len(const weft_buf *b, size_t n, size_t *len_out)
{
	if (wf_likely(n == 1)) {
		*len_out = b->len;
		return 0;
	}
	return wf_bufs_len_n(b, n, len_out);
}

/*
 * Describes up to @len bytes from @offset in at most @max pieces, empty ones left out. Number of
 * pieces; they may cover less than @len when @max is too small or the buffers end (*@covered_out,
 * may be NULL, says how much).
 */
size_t wf_bufs_to_iov(const weft_buf *b, size_t n, size_t offset, size_t len, struct iovec *out,
		      size_t max, size_t *covered_out);

size_t wf_bufs_copy_out_n(void *dst, const weft_buf *b, size_t n, size_t offset, size_t len);
size_t wf_bufs_copy_in_n(const weft_buf *b, size_t n, size_t offset, const void *src, size_t len);

/* Gathers up to @len bytes from @offset of the buffers to @dst; bytes copied. */
static inline size_t wf_bufs_copy_out(void *dst, const weft_buf *b, size_t n, size_t offset,
				      size_t len)
{
	if (wf_likely(n == 1 && offset <= b->len)) {
		size_t k = WF_MIN(len, b->len - offset);

		if (k)
			wf_copy(dst, (const char *)b->addr + offset, k);
		return k;
	}
	return wf_bufs_copy_out_n(dst, b, n, offset, len);
}

/* As wf_bufs_copy_out(), past the caches: see copy.h for the fence that must follow. */
size_t wf_bufs_copy_past(void *dst, const weft_buf *b, size_t n, size_t offset, size_t len);

/* Scatters @len bytes of @src to @offset of the buffers; bytes copied, fewer than @len when the
 * buffers end. */
static inline size_t wf_bufs_copy_in(const weft_buf *b, size_t n, size_t offset, const void *src,
				     size_t len)
{
	if (wf_likely(n == 1 && offset <= b->len)) {
		size_t k = WF_MIN(len, b->len - offset);

		if (k)
			wf_copy((char *)b->addr + offset, src, k);
		return k;
	}
	return wf_bufs_copy_in_n(b, n, offset, src, len);
}

/* Takes @bytes off the front of an iovec array after a partial transfer; new start, *@n_io
 * adjusted. */
struct iovec *wf_iov_advance(struct iovec *iov, size_t *n_io, size_t bytes);

#endif
