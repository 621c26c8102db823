/* SPDX-License-Identifier: BSD-3-Clause
 *
 * measure.c - the measuring side: check a size, warm up, then rounds until the time or the iterations are used up.
 *
 * The warm-up doubles the length of a round until it lasts about ROUND_NS: then it is known how many messages make one.
 * In tag_lat no command or acknowledgement lies between two readings of the clock; in tag_bw and tag_rate they do, once
 * in a round, which carries too many messages for it to matter.
 */
#include <stdlib.h>

#include "perftest.h"

#define ROUND_NS    20000000u
#define WARM_MAX_NS 1000000000u
#define SAMPLES_MAX (1u << 20)
#define BATCH_MAX   1024u
#define CLOCK_SHARE 100              /* a sample lasts so many times as long as reading the clock */
#define WINDOW_BYTES (64u << 20)

struct run {
	struct side *s;
	struct cell *c;
	bool one_way;                   /* tag_bw, tag_rate */
	uint64_t per_round;
	uint64_t round_ns;              /* the last round */
	double each_ns;                 /* a message or round trip, in the best round of the warm-up */
	float *sample;                  /* tag_lat: us one way; else messages per us of a round */
	unsigned n;
};

static bool command(struct side *s, uint32_t what, uint64_t count)
{
	s->cmd = (struct cmd){ .what = what, .window = s->slots.window, .size = s->slots.size, .count = count };
	return side_send(s, &s->ctl, &s->cmd, sizeof(s->cmd), TAG_CMD);
}

void measure_quit(struct side *s)
{
	command(s, CMD_QUIT, 0);
}

/* ---- is it right ---- */

static bool check(struct side *s)
{
	struct slots *v = &s->slots;
	struct job *j = &v->job[0];
	size_t at;

	data_fill(v->mem, v->size, SEED_THERE);
	if (!command(s, CMD_CHECK, 0) || !side_send(s, j, v->mem, v->size, TAG_DATA) ||
	    !side_recv(s, &s->ctl, &s->ack, sizeof(s->ack), TAG_ACK))
		return false;
	if (s->ack != SIZE_MAX)
		return side_fail(s, "%zu bytes there: wrong from byte %llu on", v->size, (unsigned long long)s->ack);
	if (!side_recv(s, j, v->mem, v->size, TAG_DATA))
		return false;
	at = j->len == v->size ? data_differs(v->mem, v->size, SEED_BACK) : (size_t)j->len;
	return at == SIZE_MAX || side_fail(s, "%zu bytes back: wrong from byte %zu on", v->size, at);
}

/* ---- rounds ---- */

static bool round_trip(struct side *s)
{
	struct slots *v = &s->slots;

	return side_post_send(s, &v->job[0], v->mem, v->size, TAG_DATA) &&
	       side_post_recv(s, &v->job[1], v->mem + v->size, v->size, TAG_DATA) && side_wait(s, &v->job[1]) &&
	       side_wait(s, &v->job[0]);
}

/* The first round trip finds the peer still reading the command: it does not count. */
static bool lat_round(struct run *r, uint64_t count, unsigned batch)
{
	uint64_t start, t0, t1;

	if (!command(r->s, CMD_ECHO, count + 1) || !round_trip(r->s))
		return false;
	start = t0 = now_ns();
	for (uint64_t done = 0; done < count;) {
		unsigned n = count - done < batch ? (unsigned)(count - done) : batch;

		for (unsigned i = 0; i < n; i++)
			if (!round_trip(r->s))
				return false;
		t1 = now_ns();
		if (r->n < SAMPLES_MAX)
			r->sample[r->n++] = (float)(t1 - t0) / 2000.0f / (float)n;
		t0 = t1;
		done += n;
	}
	r->round_ns = t0 - start;
	return true;
}

static bool bw_round(struct run *r, uint64_t count)
{
	struct side *s = r->s;
	struct slots *v = &s->slots;
	uint64_t start;

	if (!command(s, CMD_SINK, count))
		return false;
	start = now_ns();
	for (uint64_t i = 0; i < count + v->window; i++) {
		unsigned k = (unsigned)(i % v->window);

		if (i >= v->window && !side_wait(s, &v->job[k]))
			return false;
		if (i < count && !side_post_send(s, &v->job[k], v->mem + k * v->size, v->size, TAG_DATA))
			return false;
	}
	if (!side_recv(s, &s->ctl, &s->ack, sizeof(s->ack), TAG_ACK))
		return false;
	r->round_ns = now_ns() - start;
	if (s->ack != count)
		return side_fail(s, "%llu messages sent, %llu received", (unsigned long long)count, (unsigned long long)s->ack);
	if (r->n < SAMPLES_MAX)
		r->sample[r->n++] = (float)count * 1000.0f / (float)(r->round_ns ? r->round_ns : 1);
	return true;
}

static bool one_round(struct run *r, uint64_t count)
{
	return r->one_way ? bw_round(r, count) : lat_round(r, count, r->c->batch);
}

/* ---- how much ---- */

static unsigned window_of(const struct perf_opts *o, const struct cell *c)
{
	size_t fit = WINDOW_BYTES / (c->size ? c->size : 1);
	unsigned window = c->test == TAG_RATE ? 256 : 64;

	if (c->test == TAG_LAT)
		return 2;               /* one buffer to send, one to receive */
	if (o->window)
		return o->window;
	if (fit < window)
		window = (unsigned)fit;
	return window < 2 ? 2 : window;
}

/* What one reading of the clock costs, in ns: the best of some, so that a lost CPU does not count. */
static uint64_t clock_cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t t0 = now_ns(), t1 = t0;

		for (int k = 0; k < 50; k++)
			t1 = now_ns();
		best = (t1 - t0) / 50 < best ? (t1 - t0) / 50 : best;
	}
	return best + 1;
}

/* Goes by the best round so far: one in which a side lost its CPU must not make all others too short. */
static bool warm_up(struct run *r, const struct perf_opts *o)
{
	uint64_t most = o->iterations ? o->iterations : UINT64_MAX, start = now_ns();
	double wanted_ns = o->time_s * 1e8 < ROUND_NS ? o->time_s * 1e8 : ROUND_NS;   /* at least ten rounds fit */

	for (uint64_t n = 1;; n *= 2) {
		double each;

		r->n = 0;
		if (!one_round(r, n))
			return false;
		each = (double)r->round_ns / (double)n;
		if (!r->each_ns || each < r->each_ns)
			r->each_ns = each;
		if (r->each_ns * (double)n >= wanted_ns / 2 || now_ns() - start >= WARM_MAX_NS) {
			r->per_round = n < most ? n : most;
			break;
		}
	}
	r->n = 0;
	return true;
}

static void choose_batch(struct run *r)
{
	double batch = (double)(CLOCK_SHARE * clock_cost()) / (r->each_ns + 1) + 1;

	r->c->batch = batch > BATCH_MAX ? BATCH_MAX : (unsigned)batch;
}

/* ---- the figures ---- */

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void sum_up(const struct run *r)
{
	struct cell *c = r->c;
	float *v = r->sample;
	unsigned n = r->n;
	double bytes_us = (double)c->size / 1000.0;   /* messages per us, to GB per s */

	qsort(v, n, sizeof(*v), by_value);
	if (!r->one_way) {
		c->min_us = v[0];
		c->p50_us = v[n / 2];
		c->p99_us = v[n - 1 - n / 100];
		return;
	}
	c->rate_Mps = v[n / 2];
	c->bw_GBps = v[n / 2] * bytes_us;
	c->bw_min = v[0] * bytes_us;
	c->bw_max = v[n - 1] * bytes_us;
}

static bool all_rounds(struct run *r, const struct perf_opts *o)
{
	struct cell *c = r->c, before = *c;
	uint64_t start = now_ns(), most = o->iterations ? o->iterations : UINT64_MAX;

	if (!report_path(r->s, &before))
		return false;
	while (c->iterations < most && r->n < SAMPLES_MAX) {
		uint64_t n = most - c->iterations < r->per_round ? most - c->iterations : r->per_round;

		if (!one_round(r, n))
			return false;
		c->iterations += n;
		c->rounds++;
		if ((double)(now_ns() - start) >= o->time_s * 1e9)
			break;
	}
	sum_up(r);
	if (!report_path(r->s, c))
		return false;
	c->copied_here -= before.copied_here;
	c->copied_peer -= before.copied_peer;
	return true;
}

bool measure(struct side *s, const struct perf_opts *o, struct cell *c)
{
	struct run r = { .s = s, .c = c, .one_way = c->test != TAG_LAT };
	bool ok;

	c->window = window_of(o, c);
	c->batch = 1;
	job_init(&s->ctl, s);
	if (!slots_make(s, c->size, c->window) || !check(s))
		return false;
	r.sample = malloc(SAMPLES_MAX * sizeof(*r.sample));
	if (!r.sample)
		return side_fail(s, "no memory for the samples");
	ok = warm_up(&r, o);
	if (ok && !r.one_way)
		choose_batch(&r);
	ok = ok && all_rounds(&r, o);
	free(r.sample);
	return ok;
}
