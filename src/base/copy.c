/* SPDX-License-Identifier: BSD-3-Clause
 *
 * copy.c - the long halves of copy.h: whole lines of 64 bytes to places that are multiples of 64, and memcpy() for what is
 * left at both ends. Where the compiler knows no SSE2 they are memcpy().
 */
#include "base/copy.h"

#include <stdbool.h>

#ifdef __SSE2__
#include <emmintrin.h>

#define LINE 64u

struct cut {                             /* bytes before the first whole line, and in whole lines */
	size_t head, lines;
};

static struct cut cut_at_lines(const void *to, size_t len)
{
	size_t head = -(uintptr_t)to & (LINE - 1);

	head = head < len ? head : len;
	return (struct cut){ head, (len - head) & ~(size_t)(LINE - 1) };
}

static void copy_ends(char *d, const char *s, size_t len, struct cut c)
{
	memcpy(d, s, c.head);
	memcpy(d + c.head + c.lines, s + c.head + c.lines, len - c.head - c.lines);
}

/* One loop, compiled twice: @past is known where it is called. */
static inline __attribute__((always_inline)) void copy_lines(void *to, const void *from, size_t len, bool past)
{
	struct cut c = cut_at_lines(to, len);
	char *d = (char *)to + c.head;
	const char *s = (const char *)from + c.head;

	copy_ends(to, from, len, c);
	for (const char *end = s + c.lines; s < end; s += LINE, d += LINE) {
		__m128i v0 = _mm_loadu_si128((const __m128i *)s), v1 = _mm_loadu_si128((const __m128i *)(s + 16));
		__m128i v2 = _mm_loadu_si128((const __m128i *)(s + 32)), v3 = _mm_loadu_si128((const __m128i *)(s + 48));

		if (past) {
			_mm_stream_si128((__m128i *)d, v0);
			_mm_stream_si128((__m128i *)(d + 16), v1);
			_mm_stream_si128((__m128i *)(d + 32), v2);
			_mm_stream_si128((__m128i *)(d + 48), v3);
		} else {
			_mm_store_si128((__m128i *)d, v0);
			_mm_store_si128((__m128i *)(d + 16), v1);
			_mm_store_si128((__m128i *)(d + 32), v2);
			_mm_store_si128((__m128i *)(d + 48), v3);
		}
	}
}

void wf_copy_lines(void *to, const void *from, size_t len)
{
	copy_lines(to, from, len, false);
}

void wf_copy_lines_past(void *to, const void *from, size_t len)
{
	copy_lines(to, from, len, true);
}

#else

void wf_copy_lines(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

void wf_copy_lines_past(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

#endif
