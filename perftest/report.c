/* SPDX-License-Identifier: BSD-3-Clause
 *
 * report.c - results as a table or as JSON, and what the library says about the path that was taken.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

/* ---- the library's own JSON: flat, keys are unique ---- */

/* Where the value of @key begins, or NULL. */
static const char *find(const char *json, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(json, quoted);
	return at ? at + strlen(quoted) : NULL;
}

static uint64_t find_number(const char *json, const char *key)
{
	const char *at = find(json, key);

	return at ? strtoull(at, NULL, 10) : 0;
}

/* The string as it stands in the JSON, without its quotes. */
static void find_text(const char *json, const char *key, char *out, size_t cap)
{
	const char *at = find(json, key);
	size_t n = 0;

	if (at && *at == '"')
		for (at++; at[n] && at[n] != '"'; n++)
			if (at[n] == '\\' && at[n + 1])
				n++;
	snprintf(out, cap, "%.*s", (int)n, n ? at : "");
}

bool report_path(struct side *s, struct cell *c)
{
	char text[4000];
	size_t len = sizeof(text);

	if (weft_explain(s->ctx, s->ep, NULL, 1, text, &len))
		return side_fail(s, "weft_explain: %s", weft_last_error()->cause);
	find_text(text, "transport", c->path, sizeof(c->path));
	find_text(text, "lane", c->lane, sizeof(c->lane));
	len = sizeof(text);
	if (weft_stats(s->ctx, s->ep, text, &len))
		return side_fail(s, "weft_stats: %s", weft_last_error()->cause);
	c->copied_here = find_number(text, "copy_bytes_here");
	c->copied_peer = find_number(text, "copy_bytes_peer");
	return true;
}

/* ---- output ---- */

static void say_size(size_t size, char *out, size_t cap)
{
	static const char unit[] = " KMG";
	int i = 0;

	while (i < 3 && size && size % 1024 == 0) {
		size /= 1024;
		i++;
	}
	snprintf(out, cap, i ? "%zu%c" : "%zu", size, unit[i]);
}

/* Who moved the bytes of large messages. */
static const char *say_copied(const struct cell *c)
{
	if (c->both_copied)
		return "both processes copied";
	return c->copied_here || c->copied_peer ? "one copy" : "in frames";
}

void report_head(const struct perf_opts *o)
{
	if (!o->json)
		printf("%-9s %-8s %6s %11s %9s %9s %9s %8s %8s  %s\n", "transport", "test", "size", "iterations", "min us",
		       "p50 us", "p99 us", "GB/s", "M msg/s", "path");
}

static void print_row(const struct cell *c)
{
	char size[32];

	say_size(c->size, size, sizeof(size));
	printf("%-9s %-8s %6s %11llu ", c->transport, perf_test_names[c->test], size, (unsigned long long)c->iterations);
	if (c->test == TAG_LAT)
		printf("%9.3f %9.3f %9.3f %8s %8s", c->min_us, c->p50_us, c->p99_us, "", "");
	else
		printf("%9s %9s %9s %8.3f %8.3f", "", "", "", c->bw_GBps, c->rate_Mps);
	printf("  %s, %s\n", c->path, say_copied(c));
}

static void print_json(const struct cell *c)
{
	printf("{\"test\":\"%s\",\"transport\":\"%s\",\"size\":%zu,\"iterations\":%llu,", perf_test_names[c->test],
	       c->transport, c->size, (unsigned long long)c->iterations);
	if (c->test == TAG_LAT)
		printf("\"lat_us\":{\"min\":%.4f,\"p50\":%.4f,\"p99\":%.4f},\"batch\":%u,", c->min_us, c->p50_us,
		       c->p99_us, c->batch);
	else
		printf("\"bw_GBps\":%.4f,\"rate_Mps\":%.4f,\"bw_GBps_range\":[%.4f,%.4f],\"window\":%u,", c->bw_GBps,
		       c->rate_Mps, c->bw_min, c->bw_max, c->window);
	printf("\"rounds\":%u,\"path\":\"%s\",\"lane\":\"%s\",\"both_copied\":%s,\"copied_bytes\":[%llu,%llu],", c->rounds,
	       c->path, c->lane, c->both_copied ? "true" : "false", (unsigned long long)c->copied_here,
	       (unsigned long long)c->copied_peer);
	if (c->cpu[0] >= 0)
		printf("\"cpus\":[%d,%d]}\n", c->cpu[0], c->cpu[1]);
	else
		printf("\"cpus\":null}\n");
}

void report_cell(const struct perf_opts *o, const struct cell *c)
{
	if (o->json)
		print_json(c);
	else
		print_row(c);
	fflush(stdout);
}
