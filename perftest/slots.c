/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slots.c - buffers for a window of messages, what is in them, and letting the peer reach them.
 *
 * Ping-pong: slot 0 is sent from, slot 1 is received into (by put_lat of the peer: written into). Otherwise slot k of one
 * side goes to slot k of the other. Both sides know the data: before the first message the side that data comes from has
 * filled its slots, and whatever comes is compared with that.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perftest.h"

#define WORD_STEP 0x9e3779b97f4a7c15u   /* odd, so every word of a long run differs */
#define LINE 64u
#define EMPTY 0x5a
#define SHARE_OF_MEMORY 3u              /* a foreign length may take no more than this part of the machine's memory */

static uint64_t seed_of(bool serving)
{
	return serving ? 0x89abcdeu : 0x1234567u;
}

static uint64_t word_at(uint64_t seed, size_t i)
{
	return (seed + i + 1) * WORD_STEP;
}

static void data_fill(unsigned char *p, size_t len, uint64_t seed)
{
	size_t words = len / 8;
	uint64_t last = word_at(seed, words);

	for (size_t i = 0; i < words; i++) {
		uint64_t v = word_at(seed, i);

		memcpy(p + 8 * i, &v, 8);
	}
	memcpy(p + 8 * words, &last, len % 8);
}

/* Place of the first wrong byte, or SIZE_MAX. */
static size_t data_differs(const unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t want = word_at(seed, at / 8), got = want;

		if (len - at >= 8)
			memcpy(&got, p + at, 8);
		else
			memcpy(&got, p + at, len - at);
		if (got != want)         /* little-endian: the lowest bit that differs is in the first such byte */
			return at + (size_t)__builtin_ctzll(got ^ want) / 8;
	}
	return SIZE_MAX;
}

/* ---- who sends what ---- */

static bool sends(const struct side *s, enum perf_test test, unsigned k)
{
	if (tests[test].pattern == PING_PONG)
		return k == 0;
	return s->serves == (test == GET_LAT || test == GET_BW);
}

/* Whether slot @k is what the other side fills. */
static bool receives(const struct side *s, enum perf_test test, unsigned k)
{
	return test != ATOMIC_LAT && !sends(s, test, k);
}

static void fill(struct side *s, enum perf_test test)
{
	struct slots *v = &s->slots;

	memset(v->mem + v->len - LINE, 0, LINE);
	for (unsigned k = 0; k < v->window; k++) {
		unsigned char *p = v->mem + k * v->stride;

		if (test != ATOMIC_LAT && sends(s, test, k))
			data_fill(p, v->size, seed_of(s->serves));
		else                     /* so that the pages are there before the clock runs */
			memset(p, test == ATOMIC_LAT ? 0 : EMPTY, v->size);
	}
	if (test == PUT_LAT)
		v->mem[v->stride + v->size - 1] = 0;
}

size_t slots_wrong(const struct side *s, enum perf_test test)
{
	const struct slots *v = &s->slots;
	size_t size = v->size - (test == PUT_LAT);   /* its last byte counts the messages */

	if (test == ATOMIC_LAT && s->serves)
		return *(const uint64_t *)(const void *)v->mem == 1 ? SIZE_MAX : 0;
	for (unsigned k = 0; k < v->window; k++) {
		size_t at = SIZE_MAX;

		if (receives(s, test, k))
			at = data_differs(v->mem + k * v->stride, size, seed_of(!s->serves));
		if (at != SIZE_MAX)
			return at;
	}
	return SIZE_MAX;
}

/* ---- memory ---- */

/* Bytes for the slots, in v->len. @c may come from a stranger. */
static bool lay_out(struct side *s, const struct cmd *c)
{
	struct slots *v = &s->slots;
	uint64_t most = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / SHARE_OF_MEMORY;
	uint64_t stride = (c->size + LINE - 1) / LINE * LINE;

	if (c->size > most || stride * (c->flags & CMD_ONE_BUFFER ? 2 : c->window) > most)
		return side_fail(s, "%u buffers of %llu bytes are more than a third of this machine's memory", c->window,
				 (unsigned long long)c->size);
	v->size = (size_t)c->size;
	v->stride = c->flags & CMD_ONE_BUFFER && tests[c->test].pattern == ONE_WAY ? 0 : (size_t)stride;
	v->window = c->window;
	v->len = (v->stride ? v->stride * c->window : (size_t)stride) + LINE;   /* never nothing */
	return true;
}

static bool get_memory(struct side *s, const struct cmd *c)
{
	struct slots *v = &s->slots;
	weft_buf b = { .len = v->len };

	if (c->flags & CMD_WEFT_MEMORY) {
		if (weft_mem_alloc(s->ctx, v->len, WEFT_HOST, 0, &v->reg))
			return side_refused(s, "memory from weft");
		v->mem = weft_mem_addr(v->reg, NULL);
		v->allocated = true;
		return true;
	}
	b.addr = v->mem = malloc(v->len);
	if (!v->mem)
		return side_fail(s, "no memory for %u messages of %zu bytes", v->window, v->size);
	if (tests[c->test].one_sided && weft_mem_register(s->ctx, &b, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, &v->reg))
		return side_refused(s, "memory cannot be registered");
	return true;
}

bool slots_make(struct side *s, const struct cmd *c)
{
	struct slots *v = &s->slots;

	if (!slots_free(s) || !lay_out(s, c) || !get_memory(s, c))
		return false;
	v->job = calloc(v->window, sizeof(*v->job));
	if (!v->job)
		return side_fail(s, "no memory for a window of %u", v->window);
	for (unsigned k = 0; k < v->window; k++) {
		job_init(&v->job[k], v->mem + k * v->stride, v->size);
		v->job[k].buf.mem = v->allocated ? v->reg : NULL;
		v->job[k].offset = (c->test == PUT_LAT ? 1 : k) * v->stride;
	}
	fill(s, c->test);
	s->call = call_init(NULL);
	s->call.from = s->ep;
	s->am_came = s->am_wanted = 0;
	s->watches = c->test == PUT_LAT;
	return true;
}

bool slots_free(struct side *s)
{
	struct slots *v = &s->slots;
	struct job *j = &s->ctl;
	weft_call call = call_init(j);

	weft_remote_close(v->remote);
	v->remote = NULL;
	if (v->granted && (!side_posted_now(s, j, weft_grant_revoke(v->reg, v->grant, &call), &call) || !side_wait(s, j)))
		return false;            /* side_close() frees the rest */
	v->granted = false;
	if (v->reg && weft_mem_free(v->reg))
		return side_refused(s, "memory is still in use");
	if (!v->allocated)
		free(v->mem);
	free(v->job);
	*v = (struct slots){ .mem = NULL };
	return true;
}

bool slots_grant(struct side *s, void *token, uint32_t *len)
{
	struct slots *v = &s->slots;
	size_t n = TOKEN_CAP;

	if (weft_grant_new(v->reg, 0, v->len, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, s->ep, token, &n, &v->grant))
		return side_refused(s, "memory cannot be granted");
	v->granted = true;
	*len = (uint32_t)n;
	return true;
}

bool slots_open_peer(struct side *s, const void *token, uint32_t len)
{
	return !weft_remote_open(s->ep, token, len, &s->slots.remote) || side_refused(s, "the peer's memory");
}
