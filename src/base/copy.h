/* SPDX-License-Identifier: BSD-3-Clause
 *
 * copy.h - copies of long payloads. memcpy() is right for most; two things it cannot know:
 *
 * That another CPU reads what is written. Lines that two CPUs write and read in turn travel between their caches one by
 * one, each with a round trip to own it for writing and another to read it. Stores that go past the cache need neither,
 * and the reader finds the bytes in memory, which prefetches well: 1 MiB through a ring of 512 KiB takes 60 us whether the
 * CPUs share a cache or not, where memcpy() takes 60 to 90 us if they do and 600 us if not (GOTCHAS G45).
 *
 * That a place is badly aligned for `rep movsb`, which glibc takes from 2 KiB on where the CPU says that it is fast: AMD's
 * copies to a place that is no multiple of 32 at less than half the speed (G46), and what malloc() gives is one, always.
 */
#ifndef WF_BASE_COPY_H
#define WF_BASE_COPY_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WF_COPY_LONG 2048u               /* shorter ones are memcpy()'s */

/* The long halves of the two below. */
void wf_copy_lines(void *to, const void *from, size_t len);
void wf_copy_lines_past(void *to, const void *from, size_t len);

/* As memcpy(). */
static inline void wf_copy(void *to, const void *from, size_t len)
{
	if (len >= WF_COPY_LONG && (uintptr_t)to & 31)
		wf_copy_lines(to, from, len);
	else
		memcpy(to, from, len);
}

#define WF_COPY_SHORT 96u

/* As memcpy(), for up to WF_COPY_SHORT bytes, without a call: overlapping words, the first of the lengths is the likeliest. */
static inline void wf_copy_short(void *to_, const void *from_, size_t len)
{
	uint8_t *to = to_;
	const uint8_t *from = from_;

	if (len == 8) {
		memcpy(to, from, 8);
	} else if (len >= 16) {
		for (size_t at = 0; at + 16 < len; at += 16)
			memcpy(to + at, from + at, 16);
		memcpy(to + len - 16, from + len - 16, 16);
	} else if (len >= 8) {
		memcpy(to, from, 8);
		memcpy(to + len - 8, from + len - 8, 8);
	} else if (len >= 4) {
		memcpy(to, from, 4);
		memcpy(to + len - 4, from + len - 4, 4);
	} else {
		for (size_t i = 0; i < len; i++)
			to[i] = from[i];
	}
}

/* The same past the caches. The bytes are there for others only after wf_copy_past_fence(): no release store stands in. */
static inline void wf_copy_past(void *to, const void *from, size_t len)
{
	if (len >= WF_COPY_LONG)
		wf_copy_lines_past(to, from, len);
	else
		memcpy(to, from, len);
}

static inline void wf_copy_past_fence(void)
{
#ifdef __SSE2__
	__builtin_ia32_sfence();
#endif
}

#endif
