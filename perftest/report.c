/* SPDX-License-Identifier: BSD-3-Clause
 *
 * report.c - results as a table, as JSON or as CSV, line by line as they come; on a terminal, what is being measured.
 */
#include <string.h>
#include <unistd.h>

#include "perftest.h"

#define NOISE_MAX 0.02               /* share of a side's time that others may take before a line is marked */
#define PROGRESS_NS 100000000u

static bool marked;

/* ---- progress ---- */

static struct {
	unsigned i, n;
	uint64_t at_ns;                 /* when it was last written; 0: nothing stands there */
} progress;

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

void report_count(unsigned i, unsigned n)
{
	progress.i = i;
	progress.n = n;
}

void report_progress(const struct cell *c, double share)
{
	uint64_t now = now_ns();
	char size[32];

	if (!isatty(STDERR_FILENO) || (share > 0 && now - progress.at_ns < PROGRESS_NS))
		return;
	progress.at_ns = now;
	say_size(c->size, size, sizeof(size));
	fprintf(stderr, "\r\033[K[%u/%u] %s %s %s: %.0f %%", progress.i, progress.n, c->transport, tests[c->test].name,
		size, share < 1 ? share * 100 : 100);
	fflush(stderr);
}

static void wipe_progress(void)
{
	if (!progress.at_ns)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress.at_ns = 0;
}

/* ---- the table ---- */

static bool is_noisy(const struct cell *c)
{
	return c->noise >= NOISE_MAX;
}

/* Who moved the bytes of large messages. */
static const char *say_copied(const struct cell *c)
{
	if (c->both_copied)
		return "both processes copied";
	return c->copied_here || c->copied_peer ? "one copy" : "in frames";
}

static void print_row(const struct cell *c)
{
	char size[32], noise[32] = "";

	say_size(c->size, size, sizeof(size));
	if (c->noise >= 0)
		snprintf(noise, sizeof(noise), "%.1f%%%s", c->noise * 100, is_noisy(c) ? "!" : " ");
	printf("%-9s %-10s %6s %11llu ", c->transport, tests[c->test].name, size, (unsigned long long)c->iterations);
	if (tests[c->test].pattern != ONE_WAY)
		printf("%9.3f %9.3f %9.3f %9.3f %8s %8s", c->min_us, c->p50_us, c->p99_us, c->p999_us, "", "");
	else
		printf("%9s %9s %9s %9s %8.3f %8.3f", "", "", "", "", c->bw_GBps, c->rate_Mps);
	printf(" %7s  %s%s%s%s\n", noise, c->path, tests[c->test].one_sided ? "" : ", ",
	       tests[c->test].one_sided ? "" : say_copied(c), c->interrupted ? ", interrupted" : "");
}

/* ---- JSON ---- */

void print_json(FILE *to, const struct cell *c)
{
	fprintf(to, "{\"test\":\"%s\",\"transport\":\"%s\",\"size\":%zu,\"iterations\":%llu,", tests[c->test].name,
		c->transport, c->size, (unsigned long long)c->iterations);
	if (tests[c->test].pattern != ONE_WAY)
		fprintf(to, "\"lat_us\":{\"min\":%.6g,\"p50\":%.6g,\"p99\":%.6g,\"p99.9\":%.6g},\"batch\":%u,", c->min_us,
			c->p50_us, c->p99_us, c->p999_us, c->batch);
	else
		fprintf(to, "\"bw_GBps\":%.6g,\"rate_Mps\":%.6g,\"bw_GBps_range\":[%.6g,%.6g],\"window\":%u,", c->bw_GBps,
			c->rate_Mps, c->bw_min, c->bw_max, c->window);
	if (c->noise >= 0)
		fprintf(to, "\"noise\":%.6g,", c->noise);
	else
		fprintf(to, "\"noise\":null,");
	fprintf(to, "\"preempted\":[%llu,%llu],\"rounds\":%u,\"path\":\"%s\",\"lane\":\"%s\",\"memory\":\"%s\",",
		(unsigned long long)c->preempted[0], (unsigned long long)c->preempted[1], c->rounds, c->path, c->lane,
		c->weft_memory ? "weft" : "malloc");
	fprintf(to, "\"both_copied\":%s,\"copied_bytes\":[%llu,%llu],", c->both_copied ? "true" : "false",
		(unsigned long long)c->copied_here, (unsigned long long)c->copied_peer);
	if (c->interrupted)
		fprintf(to, "\"interrupted\":true,");
	if (c->cpu[0] >= 0)
		fprintf(to, "\"cpus\":[%d,%d]}\n", c->cpu[0], c->cpu[1]);
	else
		fprintf(to, "\"cpus\":null}\n");
}

/* ---- CSV ---- */

static void print_csv(const struct cell *c)
{
	printf("%s,%s,%zu,%llu,", c->transport, tests[c->test].name, c->size, (unsigned long long)c->iterations);
	if (tests[c->test].pattern != ONE_WAY)
		printf("%.6g,%.6g,%.6g,%.6g,,,", c->min_us, c->p50_us, c->p99_us, c->p999_us);
	else
		printf(",,,,%.6g,%.6g,", c->bw_GBps, c->rate_Mps);
	if (c->noise >= 0)
		printf("%.6g", c->noise);
	printf(",%s,%s,%d\n", c->path, c->weft_memory ? "weft" : "malloc", c->interrupted);
}

/* ---- all of it ---- */

void report_begin(const struct perf_opts *o)
{
	if (o->format == AS_TABLE)
		printf("%-9s %-10s %6s %11s %9s %9s %9s %9s %8s %8s %7s  %s\n", "transport", "test", "size", "iterations",
		       "min us", "p50 us", "p99 us", "p99.9 us", "GB/s", "M msg/s", "noise", "path");
	if (o->format == AS_CSV)
		puts("transport,test,size,iterations,lat_min_us,lat_p50_us,lat_p99_us,lat_p99.9_us,bw_GBps,rate_Mps,noise,path,"
		     "memory,interrupted");
	fflush(stdout);
}

void report_cell(const struct perf_opts *o, const struct cell *c)
{
	wipe_progress();
	if (o->format == AS_JSON)
		print_json(stdout, c);
	else if (o->format == AS_CSV)
		print_csv(c);
	else
		print_row(c);
	fflush(stdout);
	marked = marked || is_noisy(c);
	if (o->plot)
		plot_add(c);
}

void report_end(const struct perf_opts *o)
{
	wipe_progress();
	if (marked && o->format == AS_TABLE)
		printf("!  other programs, or the host of this virtual machine, took %.0f %% or more of a side's time: "
		       "do not rely on that line\n", NOISE_MAX * 100);
	if (perf_interrupted)
		fprintf(stderr, "weft perf: interrupted; what was measured until then stands above\n");
}
