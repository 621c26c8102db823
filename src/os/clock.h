/* SPDX-License-Identifier: BSD-3-Clause
 *
 * clock.h - the one clock: CLOCK_MONOTONIC in nanoseconds, the same in all processes of a host.
 */
#ifndef WF_OS_CLOCK_H
#define WF_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define WF_NS_PER_US 1000ull
#define WF_NS_PER_MS 1000000ull
#define WF_NS_PER_S  1000000000ull

static inline uint64_t wf_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * WF_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Of two moments; 0 is never. */
static inline uint64_t wf_earlier(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ? a : b;
	return a < b ? a : b;
}

#endif
