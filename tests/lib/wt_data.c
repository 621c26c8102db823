/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt_data.c - patterns, time, and a judge of JSON.
 */
#include "lib/wt.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

/* The word that holds byte @at: neighbours and seeds differ in most bits. */
static uint64_t word_at(uint64_t seed, size_t at)
{
	uint64_t x = (seed << 40) + at / 8 + 1;

	x *= 0x9e3779b97f4a7c15ull;
	return x ^ (x >> 29);
}

void wt_fill_at(void *p, size_t len, uint64_t seed, size_t at)
{
	unsigned char *b = p;
	size_t i = 0;

	for (; i < len && (at + i) % 8; i++)
		b[i] = (unsigned char)(word_at(seed, at + i) >> (at + i) % 8 * 8);
	for (; len - i >= 8; i += 8) {
		uint64_t w = word_at(seed, at + i);

		memcpy(b + i, &w, sizeof(w));
	}
	for (; i < len; i++)
		b[i] = (unsigned char)(word_at(seed, at + i) >> (at + i) % 8 * 8);
}

size_t wt_differs_at(const void *p, size_t len, uint64_t seed, size_t at)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len;) {
		uint64_t w = word_at(seed, at + i), have;

		if ((at + i) % 8 == 0 && len - i >= 8) {
			memcpy(&have, b + i, sizeof(have));
			if (have == w) {
				i += 8;
				continue;
			}
		}
		if (b[i] != (unsigned char)(w >> (at + i) % 8 * 8))
			return i;
		i++;
	}
	return SIZE_MAX;
}

void wt_fill(void *p, size_t len, uint64_t seed)
{
	wt_fill_at(p, len, seed, 0);
}

size_t wt_differs(const void *p, size_t len, uint64_t seed)
{
	return wt_differs_at(p, len, seed, 0);
}

uint64_t wt_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t wt_in_ms(uint64_t ms)
{
	return wt_now_ns() + ms * 1000000u;
}

unsigned wt_slow(unsigned ms)
{
#if defined(__SANITIZE_THREAD__)
	return ms * 10;
#elif defined(__SANITIZE_ADDRESS__)
	return ms * 4;
#else
	return ms * (getenv("WEFT_TEST_EMULATED") ? 20 : wt_far ? 5 : 1); /* each turn is a trip to the other process */
#endif
}

uint64_t wt_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* ---- JSON ---- */

struct reader {
	const char *at;
	unsigned depth;
};

static void blanks(struct reader *r)
{
	while (*r->at && strchr(" \t\r\n", *r->at))
		r->at++;
}

static bool text(struct reader *r)
{
	if (*r->at++ != '"')
		return false;
	while (*r->at != '"') {
		if ((unsigned char)*r->at < 0x20)
			return false;
		if (*r->at == '\\' && !strchr("\"\\/bfnrtu", *++r->at))
			return false;
		r->at++;
	}
	r->at++;
	return true;
}

static bool word(struct reader *r, const char *w)
{
	size_t len = strlen(w);

	if (strncmp(r->at, w, len))
		return false;
	r->at += len;
	return true;
}

static bool number(struct reader *r)
{
	char *end;

	if (!isdigit((unsigned char)*r->at) && *r->at != '-')
		return false;
	strtod(r->at, &end);
	if (end == r->at)
		return false;
	r->at = end;
	return true;
}

static bool value(struct reader *r);

static bool items(struct reader *r, char close, bool keyed)
{
	r->at++;
	blanks(r);
	if (*r->at == close) {
		r->at++;
		return true;
	}
	for (;;) {
		blanks(r);
		if (keyed) {
			if (!text(r))
				return false;
			blanks(r);
			if (*r->at++ != ':')
				return false;
		}
		if (!value(r))
			return false;
		blanks(r);
		if (*r->at == close) {
			r->at++;
			return true;
		}
		if (*r->at++ != ',')
			return false;
	}
}

static bool value(struct reader *r)
{
	bool good;

	blanks(r);
	if (++r->depth > 64)
		return false;
	if (*r->at == '{')
		good = items(r, '}', true);
	else if (*r->at == '[')
		good = items(r, ']', false);
	else if (*r->at == '"')
		good = text(r);
	else
		good = word(r, "true") || word(r, "false") || word(r, "null") || number(r);
	r->depth--;
	return good;
}

size_t wt_json_fault(const char *t)
{
	struct reader r = { .at = t };

	if (!value(&r))
		return (size_t)(r.at - t);
	blanks(&r);
	return *r.at ? (size_t)(r.at - t) : SIZE_MAX;
}
