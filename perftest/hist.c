/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hist.c - a histogram of times: as many samples as come, in a fixed and small room, so that nothing grows while the clock
 * runs. 512 buckets for each power of two, in units of 1/16 ns; a bucket is at most 0.2 % wide.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define SUB_BITS 9u
#define SUB      (1u << SUB_BITS)
#define UNITS    16u
#define VALUE_MAX ((1ull << 48) - 1)  /* 4.8 hours */
#define BUCKETS  ((48u - SUB_BITS) * SUB + SUB)

struct hist {
	uint64_t n;
	double least;                   /* ns */
	uint64_t count[BUCKETS];
};

struct hist *hist_new(void)
{
	return calloc(1, sizeof(struct hist));
}

void hist_free(struct hist *h)
{
	free(h);
}

void hist_clear(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

static unsigned bucket_of(uint64_t v)
{
	unsigned e = v < SUB ? 0 : 63u - (unsigned)__builtin_clzll(v) - SUB_BITS;

	return e * SUB + (unsigned)(v >> e);
}

/* The middle of a bucket. */
static double value_of(unsigned i)
{
	unsigned e = i < 2 * SUB ? 0 : i / SUB - 1;
	uint64_t least = (uint64_t)(i - e * SUB) << e;

	return ((double)least + (double)((1ull << e) - 1) / 2) / UNITS;
}

void hist_add(struct hist *h, uint64_t ns, unsigned n)
{
	uint64_t v = ns * UNITS;
	double each = (double)ns;

	if (n > 1) {
		v /= n;
		each /= n;
	}
	if (!h->n || each < h->least)
		h->least = each;
	h->n++;
	h->count[bucket_of(v < VALUE_MAX ? v : VALUE_MAX)]++;
}

double hist_at(const struct hist *h, double p)
{
	uint64_t rank = (uint64_t)(p * (double)h->n), seen = 0;

	if (p <= 0)
		return h->least;
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += h->count[i];
		if (seen > rank || (seen && seen == h->n))
			return value_of(i) > h->least ? value_of(i) : h->least;
	}
	return 0;
}
