/* SPDX-License-Identifier: BSD-3-Clause
 *
 * explain.c - `weft explain URL`: connects, for a short time at most, and shows how messages would go there and why not
 * otherwise; where nobody listens, what a connection would try. With --measure two processes of this host do it, and the
 * counters say what became of the messages.
 */
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define URL_MAX    2000
#define SIZES_MAX  64
#define CLOSE_NS   1000000000u
#define TIMEOUT_S  3.0
#define MEASURE_S  0.1

struct request {
	const char *url;
	double timeout_s, time_s;
	size_t size[SIZES_MAX];
	unsigned n_sizes;
	bool json, connect, measure;
};

struct answer {
	bool connected;
	double ms;                       /* that connecting took */
	char why[700];                   /* not connected: why */
	char *text, *object;             /* of the endpoint */
	char transport[24];              /* that carries it */
};

void explain_usage(FILE *to)
{
	fputs("options of weft explain URL:\n"
	      "  --json            one object, instead of text\n"
	      "  --no-connect      only what a connection would try; nobody is asked\n"
	      "  --timeout SECONDS for connecting, default 3\n"
	      "  --measure         sends messages between two processes of this host, and counts how they went\n"
	      "  --size N[,N..]    lengths for that, in bytes; K, M and G are powers of 1024; default: the borders of the plan\n"
	      "  --time SECONDS    for each line of that, default 0.1\n"
	      "\n"
	      "Connects as any client would, says which path messages would take by length and kind of memory, by which\n"
	      "threshold, and why each other path is not taken, and hangs up. Where nobody answers it says so, and what a\n"
	      "connection would try; that is no failure. The figures of --measure are half a round trip over the path that the\n"
	      "connection took, between two processes of this host that are not pinned to CPUs: for another host they say what\n"
	      "weft costs, not what the network does.\n", to);
}

/* ---- the connection ---- */

/* Until the endpoint is connected or down, whichever the library says; it keeps to the deadline. */
static void await_connection(weft_worker *w, struct answer *a, uint64_t deadline)
{
	weft_event e;

	while (weft_wait_any(w, deadline + CLOSE_NS) == WEFT_OK) {
		if (!weft_reap(w, &e, 1))
			continue;
		if (e.kind == WEFT_EV_CONNECTED)
			a->connected = true;
		else if (e.kind == WEFT_EV_DOWN)
			weft_error_text(weft_event_error(&e), a->why, sizeof(a->why));
		else
			continue;
		return;
	}
	snprintf(a->why, sizeof(a->why), "no answer in time");
}

static void hang_up(weft_worker *w, weft_ep *ep)
{
	weft_call c = { .size = sizeof(c), .flags = WEFT_BY_HANDLE, .deadline_ns = clock_ns() + CLOSE_NS };

	if (weft_ep_close(ep, &c) == WEFT_PENDING)
		weft_wait(w, c.op, c.deadline_ns + CLOSE_NS, &c.event);
}

/* False: weft itself refused. */
static bool try_it(weft_ctx *ctx, const char *url, const struct request *r, struct answer *a)
{
	uint64_t start = clock_ns();
	weft_conn_opts o = { .size = sizeof(o), .deadline_ns = start + (uint64_t)(r->timeout_s * 1e9) };
	weft_worker *w;
	weft_ep *ep;
	bool ok = true;

	if (weft_worker_new(ctx, NULL, &w) != WEFT_OK)
		return false;
	if (weft_connect(w, url, &o, &ep) == WEFT_OK) {
		await_connection(w, a, o.deadline_ns);
		a->ms = (double)(clock_ns() - start) / 1e6;
		if (a->connected) {
			a->text = explain_text(ctx, ep, NULL, 0);
			a->object = explain_text(ctx, ep, NULL, 1);
			ok = a->text && a->object;
			if (ok)
				json_text(a->object, "transport", a->transport, sizeof(a->transport));
			hang_up(w, ep);
		}
	} else {
		weft_error_text(weft_last_error(), a->why, sizeof(a->why));
	}
	weft_worker_free(w);
	return ok;
}

/* ---- measured ---- */

/* What happened to the messages of a cell. */
static void say_way(const struct pair_cell *c, char *out, size_t cap)
{
	uint64_t copied = c->copied_here + c->copied_peer;

	if (c->eager)
		snprintf(out, cap, "eager");
	else if (!copied)
		snprintf(out, cap, "rendezvous, in frames");
	else
		snprintf(out, cap, "rendezvous, in place: %.0f %% copied here, %.0f %% by the peer",
			 100.0 * (double)c->copied_here / (double)copied, 100.0 * (double)c->copied_peer / (double)copied);
}

static double gb_per_s(const struct pair_cell *c)
{
	return c->p50_us > 0 ? (double)c->size / c->p50_us / 1e3 : 0;
}

static void cell_json(const struct pair_cell *c)
{
	json_open(NULL, '{');
	json_str("memory", pair_memory_names[c->memory]);
	json_u64("size", c->size);
	json_str("protocol", c->eager ? "eager" : "rendezvous");
	json_u64("rounds", c->rounds);
	json_real("min_us", c->min_us);
	json_real("p50_us", c->p50_us);
	json_real("GBps", gb_per_s(c));
	json_u64("copied_here", c->copied_here);
	json_u64("copied_peer", c->copied_peer);
	json_real("syscalls_per_message", c->syscalls);
	json_close();
}

static void cell_text(const struct pair_cell *c)
{
	char way[120];

	say_way(c, way, sizeof(way));
	printf("  %-14s %9zu %10.2f %10.2f %8.2f %9.2f  %s\n", pair_memory_names[c->memory], c->size, c->min_us, c->p50_us,
	       gb_per_s(c), c->syscalls, way);
}

/* The lengths where the plan changes, one far below and two far above. */
static void choose_sizes(struct request *r, size_t inline_max, size_t eager_max)
{
	const size_t size[] = { 8, inline_max, inline_max + 1, eager_max, eager_max + 1, 128 << 10, 1 << 20 };

	if (r->n_sizes)
		return;
	for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
		if (size[i] >= 8)        /* no inline_max: no border there */
			r->size[r->n_sizes++] = size[i];
}

static void head(const struct request *r, const char *object)
{
	char transport[24], lane[600];
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof(set), &set) ? 0 : CPU_COUNT(&set);

	json_text(object, "transport", transport, sizeof(transport));
	json_text(object, "lane", lane, sizeof(lane));
	if (r->json) {
		json_open("measured", '{');
		json_str("between", "two processes of this host");
		json_str("transport", transport);
		json_str("lane", lane);
		json_u64("cpus", (uint64_t)cpus);
		json_open("rows", '[');
		return;
	}
	printf("measured between two processes of this host over %s (%s), %d CPUs, not pinned; half a round trip:\n", transport, lane,
	       cpus);
	printf("  %-14s %9s %10s %10s %8s %9s  %s\n", "memory", "bytes", "min us", "p50 us", "GB/s", "syscalls", "what happened");
}

static bool measure_all(struct request *r, const struct answer *a)
{
	struct pair p;
	char *object = NULL;
	bool ok = pair_open(&p, a->connected ? a->transport : NULL);

	if (ok)
		object = explain_text(p.ctx, p.ep, NULL, 1);
	ok = ok && object;
	if (ok) {
		choose_sizes(r, json_number(object, "inline_max"), json_number(object, "eager_max"));
		head(r, object);
	}
	for (unsigned m = 0; ok && m < PAIR_MEMORIES; m++) {
		for (unsigned i = 0; ok && i < r->n_sizes; i++) {
			struct pair_cell c = { .memory = m, .size = r->size[i] };

			ok = pair_measure(&p, &c, r->time_s);
			if (ok && r->json)
				cell_json(&c);
			else if (ok)
				cell_text(&c);
		}
	}
	if (object && r->json) {
		json_close();
		json_close();
	}
	free(object);
	pair_close(&p);
	if (!ok)
		fprintf(stderr, "weft explain: measuring: %s\n", p.failed ? p.why : "no memory");
	return ok;
}

/* ---- output ---- */

static void print_answer(const struct request *r, const struct answer *a, const char *plan)
{
	if (a->connected)
		printf("%s: connected in %.1f ms\n%s", r->url, a->ms, a->text);
	else if (r->connect)
		printf("%s: not connected: %s\nwhat a connection would do:\n%s", r->url, a->why, plan);
	else
		printf("%s: not tried; what a connection would do:\n%s", r->url, plan);
}

static void print_answer_json(const struct request *r, const struct answer *a, const char *plan)
{
	json_open(NULL, '{');
	json_str("url", r->url);
	json_members(plan);
	json_bool("connected", a->connected);
	json_str("why", a->why);
	if (!a->connected)
		return;
	json_real("connect_ms", a->ms);
	json_raw("endpoint", a->object, strlen(a->object));
}

static int explain(struct request *r, const char *url)
{
	struct answer a = { .connected = false };
	char *plan = NULL;
	bool ok;
	weft_ctx *ctx;

	if (weft_open(NULL, &ctx))
		return say_refusal();
	plan = explain_text(ctx, NULL, url, r->json);
	ok = plan && (!r->connect || try_it(ctx, url, r, &a));
	if (!ok)
		say_refusal();
	weft_close(ctx);                 /* before a process is made */
	if (ok && r->json)
		print_answer_json(r, &a, plan);
	else if (ok)
		print_answer(r, &a, plan);
	if (ok && r->measure)
		ok = measure_all(r, &a);
	if (plan && r->json)
		json_close();
	free(a.text);
	free(a.object);
	free(plan);
	return ok && !fflush(stdout) ? 0 : 1;
}

/* ---- options ---- */

static bool take_seconds(const char *option, const char *text, double *out)
{
	char *end;

	*out = strtod(text, &end);
	if (end == text || *end || !isfinite(*out) || *out <= 0 || *out > 3600)
		return say_bad("explain", option, text);
	return true;
}

static bool take_sizes(struct request *r, const char *text)
{
	const char *at = text;

	while (r->n_sizes < SIZES_MAX) {
		char *end;
		unsigned long long v = strtoull(at, &end, 10);
		const char *unit = *end ? strchr("KkMmGg", *end) : NULL;
		unsigned shift = unit ? 10 * (unsigned)((unit - "KkMmGg") / 2 + 1) : 0;

		if (end == at || *at < '0' || *at > '9' || v > (SIZE_MAX / 4) >> shift)
			break;
		r->size[r->n_sizes++] = (size_t)v << shift;
		end += unit != NULL;
		if (!*end)
			return true;
		if (*end != ',')
			break;
		at = end + 1;
	}
	return say_bad("explain", "--size: numbers of bytes such as 8,64K,1M are wanted, not", text);
}

/* One option with its value, or the URL. *i moves behind it. */
static bool take(struct request *r, int argc, char **argv, int *i)
{
	const char *word = argv[(*i)++], *value = *i < argc ? argv[*i] : NULL;

	if (!strcmp(word, "--json"))
		return r->json = true;
	if (!strcmp(word, "--measure"))
		return r->measure = true;
	if (!strcmp(word, "--no-connect"))
		return !(r->connect = false);
	if (word[0] != '-' && !r->url) {
		r->url = word;
		return true;
	}
	if (strcmp(word, "--timeout") && strcmp(word, "--size") && strcmp(word, "--time"))
		return say_bad("explain", "unexpected argument", word);
	if (!value)
		return say_bad("explain", "a value is missing behind", word);
	(*i)++;
	if (!strcmp(word, "--size"))
		return take_sizes(r, value);
	return !strcmp(word, "--timeout") ? take_seconds("--timeout: seconds from 0 to 3600 are wanted, not", value, &r->timeout_s) :
					    take_seconds("--time: seconds from 0 to 3600 are wanted, not", value, &r->time_s);
}

int explain_main(int argc, char **argv)
{
	struct request r = { .timeout_s = TIMEOUT_S, .time_s = MEASURE_S, .connect = true };
	char numeric[URL_MAX];

	for (int i = 1; i < argc;)
		if (!take(&r, argc, argv, &i))
			return 2;
	if (!r.url) {
		fprintf(stderr, "weft explain: a URL is missing, such as weft://localhost:7000\n");
		return 2;
	}
	if (weft_resolve(r.url, numeric, sizeof(numeric)))
		return say_refusal();
	return explain(&r, numeric);
}
