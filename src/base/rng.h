/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rng.h - numbers that look random and follow from a seed (splitmix64): for injected faults, jitter
 * and tests. For secrets there is wf_random() in os/proc.h.
 */
#ifndef WF_BASE_RNG_H
#define WF_BASE_RNG_H

#include "base/util.h"

struct wf_rng {
	uint64_t state;
};

static inline void wf_rng_init(struct wf_rng *r, uint64_t seed)
{
	r->state = seed;
}

static inline uint64_t wf_rng_next(struct wf_rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 .. n-1; 0 when n is 0. The bias is below n / 2^64. */
static inline uint64_t wf_rng_below(struct wf_rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)wf_rng_next(r) * n) >> 64);
}

/* 0 <= x < 1 */
static inline double wf_rng_unit(struct wf_rng *r)
{
	return (double)(wf_rng_next(r) >> 11) * 0x1p-53;
}

/* True with probability @p. */
static inline bool wf_rng_hit(struct wf_rng *r, double p)
{
	return p > 0 && wf_rng_unit(r) < p;
}

#endif
