/* SPDX-License-Identifier: BSD-3-Clause
 *
 * args.c - the options of `weft perf`.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define TIME_MAX_S 3600.0
#define TIME_ENOUGH_S 600            /* for --iterations, where nothing else is said */

static const struct perf_way ways[] = {
	{ "shm", "shm", NULL, NULL, false },
	{ "shm-ring", "shm", "cma", "no", false },
	{ "tcp", "tcp", NULL, NULL, false },
	{ "loop", "loop", NULL, NULL, true },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

const char *const perf_test_names[PERF_TESTS] = { "tag_lat", "tag_bw", "tag_rate" };

void perf_usage(FILE *to)
{
	fputs("options of weft perf:\n"
	      "  --transport NAME[,NAME..]   shm, shm-ring (shm without process_vm_*), tcp, loop; default shm,tcp\n"
	      "  --test NAME[,NAME..]        tag_lat, tag_bw, tag_rate; default tag_lat\n"
	      "  --size N[,N..]              bytes; K, M and G are powers of 1024; default by test\n"
	      "  --time SECONDS              of measuring for each line, default 1; checking and warm-up come before\n"
	      "  --iterations N              so many round trips or messages instead; with --time, whatever is reached first\n"
	      "  --window N                  messages under way at a time in tag_bw and tag_rate; default by size\n"
	      "  --no-pin                    leave it to the kernel on which CPUs the two sides run\n"
	      "  --json                      one object for each line, instead of a table\n"
	      "\n"
	      "Both sides run on this machine: two processes (for loop two threads), on CPUs of different cores where there are\n"
	      "two, with memory from malloc. Every size is sent both ways once and compared byte by byte before it is timed.\n"
	      "tag_lat is half the round trip of a message of full size both ways. A sample is the mean of `batch` round trips in\n"
	      "a row, so many that reading the clock is at most 1 % of it (1 for all but small messages); min, p50 and p99 are of\n"
	      "samples. tag_bw and tag_rate keep a window of messages under way one way; a round ends when the receiver has\n"
	      "acknowledged all of its messages, and the figure is the median of the rounds.\n", to);
}

static bool bad(const char *option, const char *text, const char *wanted)
{
	fprintf(stderr, "weft perf: %s: \"%s\" is not %s\n", option, text, wanted);
	return false;
}

/* A whole number with an optional K, M or G. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	unsigned shift = 0;
	uint64_t v;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (*end)
		shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 64;
	if (errno || shift == 64 || (*end && end[1]) || v > max >> shift)
		return false;
	*out = v << shift;
	return true;
}

static bool add_way(struct perf_opts *o, const char *name)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		if (strcmp(ways[i].name, name) || o->n_ways == sizeof(o->way) / sizeof(o->way[0]))
			continue;
		o->way[o->n_ways++] = &ways[i];
		return true;
	}
	return bad("--transport", name, "one of shm, shm-ring, tcp, loop");
}

static bool add_test(struct perf_opts *o, const char *name)
{
	for (unsigned i = 0; i < PERF_TESTS; i++) {
		if (strcmp(perf_test_names[i], name) || o->n_tests == PERF_TESTS)
			continue;
		o->test[o->n_tests++] = (enum perf_test)i;
		return true;
	}
	return bad("--test", name, "one of tag_lat, tag_bw, tag_rate");
}

static bool add_size(struct perf_opts *o, const char *text)
{
	uint64_t v;

	if (o->n_sizes == SIZES_MAX || !parse_number(text, SIZE_MAX / 4, &v))
		return bad("--size", text, "a number of bytes, such as 8, 64K or 1M");
	o->size[o->n_sizes++] = (size_t)v;
	return true;
}

/* Calls @add for each item of a comma-separated list, which it may write into. */
static bool each(char *list, bool (*add)(struct perf_opts *o, const char *item), struct perf_opts *o)
{
	char *next;

	for (char *item = list; item; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = 0;
		if (!add(o, item))
			return false;
	}
	return true;
}

static bool parse_time(const char *text, double *out)
{
	char *end;

	*out = strtod(text, &end);
	if (end == text || *end || !isfinite(*out) || *out <= 0 || *out > TIME_MAX_S)
		return bad("--time", text, "a number of seconds above 0 and at most 3600");
	return true;
}

static bool set_count(const char *option, const char *text, uint64_t max, uint64_t *out)
{
	if (!parse_number(text, max, out) || !*out)
		return bad(option, text, "a whole number above 0 that makes sense here");
	return true;
}

static bool take(struct perf_opts *o, int option, char *arg)
{
	uint64_t v = 0;
	bool ok = true;

	switch (option) {
	case 't':
		return each(arg, add_way, o);
	case 'T':
		return each(arg, add_test, o);
	case 's':
		return each(arg, add_size, o);
	case 'S':
		return parse_time(arg, &o->time_s);
	case 'i':
		return set_count("--iterations", arg, UINT64_MAX / 2, &o->iterations);
	case 'w':
		ok = set_count("--window", arg, 4096, &v);
		o->window = (unsigned)v;
		return ok;
	case 'p':
		o->pin = false;
		return true;
	case 'j':
		o->json = true;
		return true;
	default:
		fprintf(stderr, "weft perf: weft --help lists the options\n");
		return false;
	}
}

bool perf_parse(int argc, char **argv, struct perf_opts *o)
{
	static char name[] = "weft perf";   /* getopt's messages begin with it */
	static const struct option options[] = {
		{ "transport", required_argument, NULL, 't' }, { "test", required_argument, NULL, 'T' },
		{ "size", required_argument, NULL, 's' },      { "time", required_argument, NULL, 'S' },
		{ "iterations", required_argument, NULL, 'i' }, { "window", required_argument, NULL, 'w' },
		{ "no-pin", no_argument, NULL, 'p' },          { "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*o = (struct perf_opts){ .pin = true };
	argv[0] = name;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take(o, c, optarg))
			return false;
	if (optind < argc) {
		fprintf(stderr, "weft perf: unexpected argument \"%s\"\n", argv[optind]);
		return false;
	}
	if (!o->time_s)
		o->time_s = o->iterations ? TIME_ENOUGH_S : 1;
	if (!o->n_ways) {
		add_way(o, "shm");
		add_way(o, "tcp");
	}
	if (!o->n_tests)
		add_test(o, "tag_lat");
	return true;
}
