/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iov.c - the general half of iov.h, for messages of more than one piece.
 */
#include "base/iov.h"

int wf_bufs_len_n(const weft_buf *b, size_t n, size_t *len_out)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		if (!wf_add_size(sum, b[i].len, &sum))
			return -1;
	}
	*len_out = sum;
	return 0;
}

/* The next piece of the window: its start and length; NULL at the end. Moves all four. */
static char *next_piece(const weft_buf **b, size_t *n, size_t *offset, size_t *len,
			size_t *piece_out)
{
	while (*n && *len) {
		const weft_buf *at = *b;
		size_t skip = WF_MIN(*offset, at->len);
		size_t piece = WF_MIN(at->len - skip, *len);

		*b += 1;
		*n -= 1;
		*offset -= skip;
		*len -= piece;
		if (piece) {
			*piece_out = piece;
			return (char *)at->addr + skip;
		}
	}
	return NULL;
}

size_t wf_bufs_to_iov(const weft_buf *b, size_t n, size_t offset, size_t len, struct iovec *out,
		      size_t max, size_t *covered_out)
{
	size_t k = 0, covered = 0, piece;
	char *p;

	while (k < max && (p = next_piece(&b, &n, &offset, &len, &piece))) {
		out[k++] = (struct iovec){ p, piece };
		covered += piece;
	}
	if (covered_out)
		*covered_out = covered;
	return k;
}

size_t wf_bufs_copy_out_n(void *dst, const weft_buf *b, size_t n, size_t offset, size_t len)
{
	size_t done = 0, piece;
	char *p;

	while ((p = next_piece(&b, &n, &offset, &len, &piece))) {
		wf_copy((char *)dst + done, p, piece);
		done += piece;
	}
	return done;
}

size_t wf_bufs_copy_past(void *dst, const weft_buf *b, size_t n, size_t offset, size_t len)
{
	size_t done = 0, piece;
	char *p;

	while ((p = next_piece(&b, &n, &offset, &len, &piece))) {
		wf_copy_past((char *)dst + done, p, piece);
		done += piece;
	}
	return done;
}

size_t wf_bufs_copy_in_n(const weft_buf *b, size_t n, size_t offset, const void *src, size_t len)
{
	size_t done = 0, piece;
	char *p;

	while ((p = next_piece(&b, &n, &offset, &len, &piece))) {
		wf_copy(p, (const char *)src + done, piece);
		done += piece;
	}
	return done;
}

struct iovec *wf_iov_advance(struct iovec *iov, size_t *n_io, size_t bytes)
{
	while (*n_io && bytes >= iov->iov_len) {
		bytes -= iov->iov_len;
		iov++;
		*n_io -= 1;
	}
	if (*n_io && bytes) {
		iov->iov_base = (char *)iov->iov_base + bytes;
		iov->iov_len -= bytes;
	}
	return iov;
}
