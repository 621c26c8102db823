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
#define CPU_MAX 1023

static const struct perf_way ways[] = {
	{ "shm", "shm", NULL, NULL, false },
	{ "shm-ring", "shm", "cma", "no", false },
	{ "tcp", "tcp", NULL, NULL, false },
	{ "verbs", "verbs", NULL, NULL, false },
	{ "loop", "loop", NULL, NULL, true },
	{ "auto", NULL, NULL, NULL, false },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

void perf_usage(FILE *to)
{
	fputs("usage: weft perf [OPTION...]                both sides on this machine\n"
	      "       weft perf --listen [ADDRESS:PORT]    serves others until it is interrupted\n"
	      "       weft perf [OPTION...] HOST[:PORT]    measures with a side that listens there\n"
	      "\n"
	      "  --transport NAME[,NAME..]   shm, shm-ring (shm without process_vm_*), tcp, verbs, loop, auto (what the library\n"
	      "                              takes); default shm,tcp, and with HOST or --listen auto\n"
	      "  --test NAME[,NAME..]        see below, or all; default tag_lat\n"
	      "  --size N[,N:N..]            bytes, K, M and G are powers of 1024; 8:1M is 8, 16, 32 and so on to 1M\n"
	      "  --time SECONDS              for each line, warm-up included; default 1\n"
	      "  --iterations N              so many round trips or messages instead; with --time, whatever is reached first\n"
	      "  --window N                  messages under way at a time in one-way tests; default by size\n"
	      "  --memory malloc|weft        plain memory, or from weft_mem_alloc(), which local peers can map; default malloc\n"
	      "  --one-buffer                one-way tests: a single buffer on each side instead of one for each message of the\n"
	      "                              window, as other programs have it; more of it is in the cache\n"
	      "  --sleep                     both sides sleep while they wait, instead of looking all the time\n"
	      "  --cpus A,B                  CPUs of the measuring and the serving side; default two different cores\n"
	      "  --no-pin                    leave it to the kernel on which CPUs the two sides run\n"
	      "  --json, --csv               one object or row for each line, instead of a table\n"
	      "  --plot FILE                 a picture besides (.png, .svg, .pdf); needs matplotlib\n"
	      "  --port N                    where to listen or connect; default 7470\n"
	      "  --once                      with --listen: serve one peer, then end\n"
	      "  -d DEVICE, -i PORT, -x GID  as of ib_send_lat: transport verbs over that device, port of it, index of its address; on\n"
	      "                              the other side the same, unless it listens there (WEFT_RDMA=DEVICE:PORT:GID)\n"
	      "  -m BYTES                    as of ib_send_bw: the largest packet, where both ports can do more (WEFT_RDMA=mtu=BYTES)\n"
	      "  -t DEPTH                    as of ib_send_bw: --window\n"
	      "\n", to);
	for (int i = 0; i < PERF_TESTS; i++)
		fprintf(to, "  %-11s %s\n", tests[i].name, tests[i].what);
	fputs("\n"
	      "Both sides run on CPUs of different cores where there are two, with memory from malloc. Every size goes its way once\n"
	      "and is compared byte by byte before it is timed. Latencies are of single operations, taken without costing them\n"
	      "anything; where reading the clock cannot be hidden (get_lat, atomic_lat) a sample is the mean of `batch` operations\n"
	      "in a row, so many that the clock is at most 1 % of it. One-way tests keep a window under way; a round of about 20 ms\n"
	      "ends when the receiver has acknowledged it, and the figure is the median of the rounds. noise is the share of its\n"
	      "time in which a side could have run and did not. Settings (WEFT_CMA=no ...) hold as for any program.\n", to);
}

static bool bad(const char *option, const char *text, const char *wanted)
{
	fprintf(stderr, "weft perf: %s: \"%s\" is not %s\n", option, text, wanted);
	return false;
}

/* ---- numbers ---- */

/* A whole number with an optional K, M or G; *end is what follows. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out, char **end)
{
	unsigned shift = 0;
	uint64_t v;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, end, 10);
	if (**end && strchr("KkMmGg", **end)) {
		shift = strchr("Kk", **end) ? 10 : strchr("Mm", **end) ? 20 : 30;
		++*end;
	}
	if (errno || v > max >> shift)
		return false;
	*out = v << shift;
	return true;
}

static bool parse_whole(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	return parse_number(text, max, out, &end) && !*end;
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
	if (!parse_whole(text, max, out) || !*out)
		return bad(option, text, "a whole number above 0 that makes sense here");
	return true;
}

/* ---- lists ---- */

static bool add_way(struct perf_opts *o, const char *name)
{
	for (size_t i = 0; i < N_WAYS; i++) {
		if (strcmp(ways[i].name, name) || o->n_ways == sizeof(o->way) / sizeof(o->way[0]))
			continue;
		o->way[o->n_ways++] = &ways[i];
		return true;
	}
	return bad("--transport", name, "one of shm, shm-ring, tcp, verbs, loop, auto");
}

static bool add_test(struct perf_opts *o, const char *name)
{
	if (!strcmp(name, "all")) {
		for (o->n_tests = 0; o->n_tests < PERF_TESTS; o->n_tests++)
			o->test[o->n_tests] = (enum perf_test)o->n_tests;
		return true;
	}
	for (unsigned i = 0; i < PERF_TESTS; i++) {
		if (strcmp(tests[i].name, name) || o->n_tests == PERF_TESTS)
			continue;
		o->test[o->n_tests++] = (enum perf_test)i;
		return true;
	}
	return bad("--test", name, "a test; weft perf --help lists them");
}

/* One size, or a range of them that doubles. */
static bool add_size(struct perf_opts *o, const char *text)
{
	static const char wanted[] = "a number of bytes such as 8, 64K or 1M, or a range of them such as 8:1M";
	uint64_t from, to;
	char *end;

	if (!parse_number(text, SIZE_MAX / 4, &from, &end))
		return bad("--size", text, wanted);
	to = from;
	if (*end == ':' && (!parse_number(end + 1, SIZE_MAX / 4, &to, &end) || to < from))
		return bad("--size", text, wanted);
	if (*end)
		return bad("--size", text, wanted);
	for (uint64_t v = from; v <= to; v = v ? 2 * v : 1) {
		if (o->n_sizes == SIZES_MAX)
			return bad("--size", text, "within the 64 sizes that one run may have");
		o->size[o->n_sizes++] = (size_t)v;
	}
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

static bool parse_cpus(struct perf_opts *o, const char *text)
{
	uint64_t a, b;
	char *end;

	if (!parse_number(text, CPU_MAX, &a, &end) || *end != ',' || !parse_whole(end + 1, CPU_MAX, &b))
		return bad("--cpus", text, "two numbers of CPUs, such as 0,1");
	o->cpu[0] = (int)a;
	o->cpu[1] = (int)b;
	return true;
}

static bool parse_memory(struct perf_opts *o, const char *text)
{
	o->weft_memory = !strcmp(text, "weft");
	return o->weft_memory || !strcmp(text, "malloc") || bad("--memory", text, "malloc or weft");
}

static bool set_format(struct perf_opts *o, enum perf_format format)
{
	if (o->format != AS_TABLE && o->format != format) {
		fprintf(stderr, "weft perf: --json and --csv both go to the standard output; choose one\n");
		return false;
	}
	o->format = format;
	return true;
}

/* ---- all of it ---- */

enum { TRANSPORT = 1, TEST, SIZE, TIME, ITERATIONS, WINDOW, MEMORY, ONE_BUFFER, SLEEP, CPUS, NO_PIN, JSON, CSV, PLOT, PORT,
       LISTEN, ONCE, HELP };

static const struct option options[] = {
	{ "transport", required_argument, NULL, TRANSPORT }, { "test", required_argument, NULL, TEST },
	{ "size", required_argument, NULL, SIZE },           { "time", required_argument, NULL, TIME },
	{ "iterations", required_argument, NULL, ITERATIONS }, { "window", required_argument, NULL, WINDOW },
	{ "memory", required_argument, NULL, MEMORY },       { "one-buffer", no_argument, NULL, ONE_BUFFER },
	{ "sleep", no_argument, NULL, SLEEP },               { "cpus", required_argument, NULL, CPUS },
	{ "no-pin", no_argument, NULL, NO_PIN },             { "json", no_argument, NULL, JSON },
	{ "csv", no_argument, NULL, CSV },                   { "plot", required_argument, NULL, PLOT },
	{ "port", required_argument, NULL, PORT },           { "listen", no_argument, NULL, LISTEN },
	{ "once", no_argument, NULL, ONCE },                 { "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

/* What users of perftest know and weft decides by itself. */
static bool refuse_queue_pairs(void)
{
	fprintf(stderr, "weft perf: -q: an endpoint has one queue pair on each port that reaches the peer, and -d a,b names the devices; for more "
			"at a time there is -t N, or so many weft perf beside each other, each with a --port of its own\n");
	return false;
}

/* What WEFT_RDMA says stays: words beside devices (cm, pkey=, sl=, tc=, mtu=), and without -d the devices; but not what -m says anew. */
static void keep_rest(const struct perf_opts *o, char *text, size_t cap)
{
	const char *env = getenv("WEFT_RDMA");

	for (size_t len; env && *env; env += len + (env[len] == ',')) {
		bool is_word;

		env += strspn(env, " \t");
		len = strcspn(env, ",");
		is_word = memchr(env, '=', len) || (strspn(env, "cm \t") >= len && !strncmp(env, "cm", 2));
		if ((is_word || !o->device) && !(o->mtu && len > 4 && !strncmp(env, "mtu=", 4)))
			snprintf(text + strlen(text), cap - strlen(text), ",%.*s", (int)len, env);
	}
	if (o->mtu)
		snprintf(text + strlen(text), cap - strlen(text), ",mtu=%.20s", o->mtu);
}

/* "mlx5_0:1:3" for the setting rdma; both sides of this machine find it in their environment. */
static bool set_rdma(struct perf_opts *o)
{
	char text[400];
	int n = snprintf(text, sizeof(text), "%.100s", o->device ? o->device : "");

	if (!o->device) {
		if (!o->device_port && !o->device_gid && !o->mtu)
			return true;
		if (o->device_port || o->device_gid)
			return bad("-i, -x", o->device_port ? o->device_port : o->device_gid, "of use without -d DEVICE");
	}
	if (o->device_port || o->device_gid)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ":%.20s", o->device_port ? o->device_port : "1");
	if (o->device_gid)
		snprintf(text + n, sizeof(text) - (size_t)n, ":%.20s", o->device_gid);
	keep_rest(o, text, sizeof(text));
	setenv("WEFT_RDMA", text, 1);
	return o->n_ways || add_way(o, "verbs");
}

static bool take_flag(struct perf_opts *o, int option)
{
	switch (option) {
	case ONE_BUFFER:
		return o->one_buffer = true;
	case SLEEP:
		return o->sleep = true;
	case NO_PIN:
		o->pin = false;
		return true;
	case JSON:
		return set_format(o, AS_JSON);
	case CSV:
		return set_format(o, AS_CSV);
	case LISTEN:
		return o->listen = true;
	case ONCE:
		return o->once = true;
	case HELP:
		return o->help = true;
	default:
		fprintf(stderr, "weft perf: weft perf --help lists the options\n");
		return false;
	}
}

static bool take(struct perf_opts *o, int option, char *arg)
{
	uint64_t v = 0;
	bool ok;

	switch (option) {
	case TRANSPORT:
		return each(arg, add_way, o);
	case TEST:
		return each(arg, add_test, o);
	case SIZE:
		return each(arg, add_size, o);
	case TIME:
		return parse_time(arg, &o->time_s);
	case ITERATIONS:
		return set_count("--iterations", arg, UINT64_MAX / 2, &o->iterations);
	case 't':
	case WINDOW:
		ok = set_count("--window", arg, 4096, &v);
		o->window = (unsigned)v;
		return ok;
	case PORT:
		ok = parse_whole(arg, UINT16_MAX, &v) || bad("--port", arg, "a number from 0 to 65535");
		o->port = (unsigned)v;
		return ok;
	case MEMORY:
		return parse_memory(o, arg);
	case CPUS:
		return parse_cpus(o, arg);
	case PLOT:
		o->plot = arg;
		return true;
	case 'd':
		o->device = arg;
		return true;
	case 'i':
		o->device_port = arg;
		return true;
	case 'x':
		o->device_gid = arg;
		return true;
	case 'm':
		o->mtu = arg;
		return true;
	case 'q':
		return refuse_queue_pairs();
	default:
		return take_flag(o, option);
	}
}

static bool fill_in(struct perf_opts *o)
{
	bool apart = o->listen || o->place;

	if (!set_rdma(o))
		return false;
	if (!o->time_s)
		o->time_s = o->iterations ? TIME_ENOUGH_S : 1;
	if (!o->n_ways && apart) {
		add_way(o, "auto");
	} else if (!o->n_ways) {
		add_way(o, "shm");
		add_way(o, "tcp");
	}
	if (!o->n_tests)
		add_test(o, "tag_lat");
	for (unsigned i = 0; i < o->n_ways; i++)
		if (apart && o->way[i]->threads)
			return bad("--transport", o->way[i]->name, "a transport between processes: it stays within one");
	if (o->listen && o->n_ways > 1) {
		fprintf(stderr, "weft perf: --listen takes one transport, or all (auto); the measuring side chooses\n");
		return false;
	}
	return true;
}

bool perf_parse(int argc, char **argv, struct perf_opts *o)
{
	static char name[] = "weft perf";   /* getopt's messages begin with it */
	int c;

	*o = (struct perf_opts){ .pin = true, .cpu = { -1, -1 }, .port = PORT_DEFAULT };
	argv[0] = name;
	while ((c = getopt_long(argc, argv, "d:i:x:q:m:t:", options, NULL)) != -1)
		if (!take(o, c, optarg))
			return false;
	if (optind < argc)
		o->place = argv[optind++];
	if (optind < argc) {
		fprintf(stderr, "weft perf: unexpected argument \"%s\"\n", argv[optind]);
		return false;
	}
	return fill_in(o);
}

bool perf_url(const struct perf_opts *o, const char *host, char *url, size_t cap)
{
	const char *at = o->place ? o->place : "", *close = *at == '[' ? strchr(at, ']') : NULL;
	const char *colon = strrchr(close ? close : at, ':');
	bool bare_v6 = !close && colon && colon != strchr(at, ':');
	size_t len = colon && !bare_v6 ? (size_t)(colon - at) : strlen(at);
	char port[24];
	int n;

	if (!strncmp(at, "weft://", 7)) {
		n = snprintf(url, cap, "%s", at);
	} else {
		snprintf(port, sizeof(port), "%u", o->port);
		n = snprintf(url, cap, "weft://%s%.*s%s:%s", bare_v6 ? "[" : "", len ? (int)len : (int)strlen(host),
			     len ? at : host, bare_v6 ? "]" : "", colon && !bare_v6 ? colon + 1 : port);
	}
	return n < (int)cap || bad("HOST", at, "of a sensible length");
}
