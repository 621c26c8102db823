/* SPDX-License-Identifier: BSD-3-Clause
 *
 * serve.c - the serving side obeys commands; data that both sides know; buffers for a window of messages.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define WORD_STEP 0x9e3779b97f4a7c15u   /* odd, so every word of a long run differs */

/* ---- data ---- */

static uint64_t word_at(uint64_t seed, size_t i)
{
	return (seed + i + 1) * WORD_STEP;
}

void data_fill(unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t v = word_at(seed, at / 8);

		memcpy(p + at, &v, len - at < 8 ? len - at : 8);
	}
}

size_t data_differs(const unsigned char *p, size_t len, uint64_t seed)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t v = word_at(seed, at / 8);
		const unsigned char *want = (const unsigned char *)&v;

		for (size_t i = 0; i < 8 && at + i < len; i++)
			if (p[at + i] != want[i])
				return at + i;
	}
	return SIZE_MAX;
}

/* ---- buffers ---- */

bool slots_make(struct side *s, size_t size, unsigned window)
{
	struct slots *v = &s->slots;

	slots_free(v);
	if (size > SIZE_MAX / 2 / window)
		return side_fail(s, "%u messages of %zu bytes do not fit into memory", window, size);
	v->mem = malloc(size * window + 1);
	v->job = calloc(window, sizeof(*v->job));
	if (!v->mem || !v->job)
		return side_fail(s, "no memory for %u messages of %zu bytes", window, size);
	v->size = size;
	v->window = window;
	for (unsigned i = 0; i < window; i++)
		job_init(&v->job[i], s);
	memset(v->mem, 0x5a, size * window + 1);   /* the pages are there before the clock runs */
	return true;
}

void slots_free(struct slots *v)
{
	free(v->mem);
	free(v->job);
	*v = (struct slots){ .mem = NULL };
}

/* ---- commands ---- */

/* One message each way; between them the sender learns whether his came as it should. */
static bool check(struct side *s)
{
	struct slots *v = &s->slots;
	struct job *j = &v->job[0];

	if (!side_recv(s, j, v->mem, v->size, TAG_DATA))
		return false;
	s->ack = j->len == v->size ? data_differs(v->mem, v->size, SEED_THERE) : j->len;
	if (!side_send(s, &s->ctl, &s->ack, sizeof(s->ack), TAG_ACK))
		return false;
	data_fill(v->mem, v->size, SEED_BACK);
	return side_send(s, j, v->mem, v->size, TAG_DATA);
}

/* The next receive is posted behind the answer, where it costs nobody time. */
static bool echo(struct side *s, uint64_t count)
{
	struct slots *v = &s->slots;
	struct job *out = &v->job[0], *in = &v->job[1];
	unsigned char *to = v->mem + v->size;

	if (!side_post_recv(s, in, to, v->size, TAG_DATA))
		return false;
	for (uint64_t i = 1; i <= count; i++) {
		if (!side_wait(s, in) || !side_post_send(s, out, v->mem, v->size, TAG_DATA))
			return false;
		if (i < count && !side_post_recv(s, in, to, v->size, TAG_DATA))
			return false;
		if (!side_wait(s, out))
			return false;
	}
	return true;
}

/* Receives are posted a window ahead. */
static bool sink(struct side *s, uint64_t count)
{
	struct slots *v = &s->slots;

	for (uint64_t i = 0; i < count + v->window; i++) {
		unsigned k = (unsigned)(i % v->window);

		if (i >= v->window && !side_wait(s, &v->job[k]))
			return false;
		if (i < count && !side_post_recv(s, &v->job[k], v->mem + k * v->size, v->size, TAG_DATA))
			return false;
	}
	s->ack = count;
	return side_send(s, &s->ctl, &s->ack, sizeof(s->ack), TAG_ACK);
}

static bool obey(struct side *s, const struct cmd *c)
{
	switch (c->what) {
	case CMD_CHECK:
		return slots_make(s, (size_t)c->size, c->window) && check(s);
	case CMD_ECHO:
		return echo(s, c->count);
	case CMD_SINK:
		return sink(s, c->count);
	default:
		return side_fail(s, "unknown command %u", c->what);
	}
}

bool serve(struct side *s)
{
	struct cmd c = { .what = CMD_QUIT };
	struct job *j = &s->ctl;
	bool ok;

	job_init(j, s);
	do {
		ok = side_recv(s, j, &s->cmd, sizeof(s->cmd), TAG_CMD);
		c = s->cmd;
	} while (ok && c.what != CMD_QUIT && obey(s, &c));
	return ok && !s->failed;
}
