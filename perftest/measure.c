/* SPDX-License-Identifier: BSD-3-Clause
 *
 * measure.c - the measuring side: buffers, one exchange that is compared byte by byte, warm-up, then rounds until the time
 * or the iterations are used up.
 *
 * The warm-up doubles the length of a round until it lasts about ROUND_NS: then it is known how many messages make one.
 * No command or answer lies between two readings of the clock in a ping-pong or a round trip; in one-way tests they do,
 * once in a round, which carries too many messages for it to matter.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define ROUND_NS    20000000u
#define ROUNDS_MAX  (1u << 18)
#define ALL_TIMES   3                /* a cell lasts at most so many times --time, checking included */
#define LONG_NS     1000000u         /* beside which starting and ending a round is nothing */
#define WARM_LEAST  0.1              /* shares of the cell's time, */
#define WARM_MOST   0.25
#define WARM_LEAST_NS 5e8            /* but no longer than this */
#define WARM_MOST_NS  1e9
#define BATCH_MAX   1024u
#define CLOCK_SHARE 100              /* a sample lasts so many times as long as reading the clock */
#define WINDOW_BYTES (64u << 20)

struct run {
	struct side *s;
	const struct perf_opts *o;
	struct cell *c;
	const struct test_kind *t;
	struct hist *hist;
	float *rate;                    /* one way: messages per us of each round */
	unsigned n_rates;
	uint64_t start_ns, checked_ns;  /* of the cell; of its warm-up */
	uint64_t per_round;
	uint64_t round_ns;              /* the last round */
	double each_ns;                 /* a message or round trip, in the best round so far */
};

/* ---- commands ---- */

static struct cmd command_of(const struct run *r, uint32_t what, uint64_t count)
{
	uint32_t flags = (r->o->weft_memory ? CMD_WEFT_MEMORY : 0) | (r->o->one_buffer ? CMD_ONE_BUFFER : 0);

	return (struct cmd){ .what = what, .test = r->c->test, .window = r->c->window, .flags = flags, .size = r->c->size,
			     .count = count };
}

static bool tell(struct run *r, uint32_t what, uint64_t count)
{
	r->s->cmd = command_of(r, what, count);
	return side_send(r->s, &r->s->cmd, sizeof(r->s->cmd), TAG_CMD);
}

static bool hear(struct run *r)
{
	struct answer *a = &r->s->answer;

	if (!side_recv(r->s, a, sizeof(*a), TAG_ANSWER))
		return false;
	foreign_text(a->why, sizeof(a->why));
	return !a->failed || side_fail(r->s, "the serving side: %s", a->why);
}

static bool ask(struct run *r, uint32_t what)
{
	return tell(r, what, 0) && hear(r);
}

void measure_quit(struct side *s)
{
	s->cmd = (struct cmd){ .what = CMD_QUIT };
	side_send(s, &s->cmd, sizeof(s->cmd), TAG_CMD);
}

/* ---- before and after ---- */

static bool set_up(struct run *r)
{
	struct cmd c = command_of(r, CMD_SETUP, 0);
	struct side *s = r->s;

	if (!path_direct(s, &s->direct_before) || !slots_make(s, &c))
		return false;
	if (r->t->one_sided && !slots_grant(s, c.token, &c.token_len))
		return false;
	s->cmd = c;
	if (!side_send(s, &s->cmd, sizeof(s->cmd), TAG_CMD) || !hear(r))
		return false;
	return !r->t->one_sided || slots_open_peer(s, s->answer.token, s->answer.token_len);
}

/* Each side lets go of the other's memory before that one frees it. */
static bool clear_up(struct run *r)
{
	weft_remote_close(r->s->slots.remote);
	r->s->slots.remote = NULL;
	return ask(r, CMD_CLEAR) && slots_free(r->s);
}

/* ---- rounds ---- */

static bool flow_round(struct run *r, uint64_t count)
{
	struct side *s = r->s;
	uint64_t start;

	if (r->t->expect && !tell(r, CMD_RUN, count))
		return false;
	start = now_ns();
	if (!loop_flow(s, r->t, count) || !(r->t->finish ? r->t->finish(s, &s->ctl) : hear(r)))
		return false;
	r->round_ns = now_ns() - start;
	if (!r->t->finish && s->answer.value != count)
		return side_fail(s, "%llu messages sent, %llu received", (unsigned long long)count,
				 (unsigned long long)s->answer.value);
	if (r->n_rates < ROUNDS_MAX)
		r->rate[r->n_rates++] = (float)count * 1000.0f / (float)(r->round_ns ? r->round_ns : 1);
	return true;
}

static bool one_round(struct run *r, uint64_t count)
{
	unsigned more = r->each_ns && r->each_ns < LONG_NS ? PING_MORE : 0;   /* the very first one is the check */
	double each;
	bool ok;

	if (r->t->pattern == PING_PONG)
		ok = tell(r, CMD_RUN, count + more) && loop_ping(r->s, r->t, count, more, r->hist, &r->round_ns);
	else if (r->t->pattern == ROUND_TRIP)
		ok = loop_trips(r->s, r->t, count, r->c->batch, r->hist, &r->round_ns);
	else
		ok = flow_round(r, count);
	each = (double)r->round_ns / (double)count;
	if (!r->each_ns || each < r->each_ns)
		r->each_ns = each;
	return ok;
}

/* ---- is it right ---- */

/* What is timed later is done once, and every byte of it is looked at. */
static bool check(struct run *r)
{
	struct side *s = r->s;
	uint64_t direct;
	size_t at;

	if (!one_round(r, r->t->pattern == ONE_WAY ? r->c->window : 1) || !ask(r, CMD_VERIFY))
		return false;
	if (s->answer.value != SIZE_MAX)
		return side_fail(s, "%s of %zu bytes: the peer has wrong data from byte %llu on", r->t->name, r->c->size,
				 (unsigned long long)s->answer.value);
	at = slots_wrong(s, r->c->test);
	if (at != SIZE_MAX)
		return side_fail(s, "%s of %zu bytes: wrong data came from byte %zu on", r->t->name, r->c->size, at);
	if (!path_direct(s, &direct))
		return false;
	s->direct = direct > s->direct_before;
	r->checked_ns = now_ns();
	return true;
}

/* ---- how much ---- */

static unsigned window_of(const struct perf_opts *o, const struct cell *c)
{
	const struct test_kind *t = &tests[c->test];
	size_t fit = WINDOW_BYTES / (c->size ? c->size : 1);

	if (t->pattern != ONE_WAY)
		return t->window;
	if (o->window)
		return o->window;
	return !fit ? 1 : fit < t->window ? (unsigned)fit : t->window;
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

static void choose_batch(struct run *r)
{
	double batch = (double)(CLOCK_SHARE * clock_cost()) / (r->each_ns + 1) + 1;

	r->c->batch = batch > BATCH_MAX ? BATCH_MAX : (unsigned)batch;
}

/* Share of the cell's time that is over. Making and checking the buffers is no part of it, unless that takes long. */
static double spent(const struct run *r)
{
	double of_time = (double)(now_ns() - r->checked_ns) / (r->o->time_s * 1e9);
	double of_all = (double)(now_ns() - r->start_ns) / (r->o->time_s * 1e9 * ALL_TIMES);

	return of_time > of_all ? of_time : of_all;
}

/* Goes by the best round so far: one in which a side lost its CPU must not make all others too short. */
static bool warm_up(struct run *r)
{
	double all_ns = r->o->time_s * 1e9;
	double least = WARM_LEAST * all_ns < WARM_LEAST_NS ? WARM_LEAST : WARM_LEAST_NS / all_ns;
	double most = WARM_MOST * all_ns < WARM_MOST_NS ? WARM_MOST : WARM_MOST_NS / all_ns;
	double wanted_ns = all_ns / 10 < ROUND_NS ? all_ns / 10 : ROUND_NS;   /* at least ten rounds fit */
	uint64_t n = 1 + (uint64_t)(wanted_ns / 4 / r->each_ns);             /* as the check, a cold one, has it */

	while (!perf_interrupted && spent(r) < most) {
		if (!one_round(r, n))
			return false;
		if (r->each_ns * (double)n < wanted_ns / 2)
			n *= 2;
		else if (spent(r) >= least || r->o->iterations)
			break;
	}
	r->per_round = n;
	if (r->t->pattern == ROUND_TRIP)
		choose_batch(r);
	hist_clear(r->hist);
	r->n_rates = 0;
	return true;
}

static bool rounds(struct run *r)
{
	struct cell *c = r->c;
	uint64_t most = r->o->iterations ? r->o->iterations : UINT64_MAX;

	while (!perf_interrupted && c->iterations < most && r->n_rates < ROUNDS_MAX) {
		uint64_t n = most - c->iterations < r->per_round ? most - c->iterations : r->per_round;

		if (!one_round(r, n))
			return false;
		c->iterations += n;
		c->rounds++;
		report_progress(c, spent(r));
		if (spent(r) >= 1)
			break;
	}
	return true;
}

/* ---- the figures ---- */

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void sum_up(struct run *r)
{
	double us = r->t->pattern == PING_PONG ? 1 / 2000.0 : 1 / 1000.0;   /* of a sample: one way, or all of it */
	double bytes_us = (double)r->c->size / 1000.0;                       /* messages per us, to GB per s */
	struct cell *c = r->c;
	float *v = r->rate;
	unsigned n = r->n_rates;

	if (r->t->pattern != ONE_WAY) {
		c->min_us = hist_at(r->hist, 0) * us;
		c->p50_us = hist_at(r->hist, 0.5) * us;
		c->p99_us = hist_at(r->hist, 0.99) * us;
		c->p999_us = hist_at(r->hist, 0.999) * us;
		return;
	}
	qsort(v, n, sizeof(*v), by_value);
	c->rate_Mps = v[n / 2];
	c->bw_GBps = v[n / 2] * bytes_us;
	c->bw_min = v[0] * bytes_us;
	c->bw_max = v[n - 1] * bytes_us;
}

/* Share of its time in which a side could have run and did not. */
static double share_lost(const struct noise *n)
{
	return n->known && n->at_ns ? (double)n->lost_ns / (double)n->at_ns : -1;
}

static void sum_up_noise(struct run *r, const struct noise *here, const struct noise *there)
{
	double a = share_lost(here), b = share_lost(there);

	r->c->noise = a < 0 || b < 0 ? -1 : a > b ? a : b;
	r->c->preempted[0] = here->preempted;
	r->c->preempted[1] = there->preempted;
}

static bool all_rounds(struct run *r)
{
	struct cell *c = r->c, before = *c;
	struct noise here, there, now;

	if (!path_read(r->s, &before) || !ask(r, CMD_NOISE))
		return false;
	there = r->s->answer.noise;
	here = noise_read(r->s->cpu, r->s->alone);
	if (!rounds(r))
		return false;
	now = noise_read(r->s->cpu, r->s->alone);
	here = noise_since(&now, &here);
	if (!ask(r, CMD_NOISE) || !path_read(r->s, c))
		return false;
	there = noise_since(&r->s->answer.noise, &there);
	sum_up_noise(r, &here, &there);
	c->copied_here -= before.copied_here;
	c->copied_peer -= before.copied_peer;
	c->interrupted = perf_interrupted;
	if (c->rounds)
		sum_up(r);
	return c->rounds > 0;
}

bool measure(struct side *s, const struct perf_opts *o, struct cell *c)
{
	struct run r = { .s = s, .o = o, .c = c, .t = &tests[c->test], .start_ns = now_ns() };
	bool ok;

	c->window = window_of(o, c);
	c->batch = 1;
	r.hist = hist_new();
	r.rate = malloc(ROUNDS_MAX * sizeof(*r.rate));
	if (!r.hist || !r.rate)
		side_fail(s, "no memory for the samples");
	ok = !s->failed && set_up(&r) && check(&r) && warm_up(&r) && all_rounds(&r) && clear_up(&r);
	hist_free(r.hist);
	free(r.rate);
	return ok;
}
