/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor.c - `weft doctor`: goes through all checks and says what was found, what it costs, and the command that mends it,
 * which it never runs. Exit status 1 when there is a problem: something that takes a path away or makes it slow. A note is
 * something to know.
 */
#include <stdarg.h>
#include <string.h>

#include "doctor.h"

static const struct check checks[] = {
	{ "settings", look_settings },
	{ "kernel", look_kernel },
	{ "memfd", look_memfd },
	{ "membarrier", look_membarrier },
	{ "copying", look_copying },
	{ "seccomp", look_seccomp },
	{ "namespaces", look_namespaces },
	{ "descriptors", look_descriptors },
	{ "file-size", look_file_size },
	{ "memlock", look_memlock },
	{ "/dev/shm", look_dev_shm },
	{ "cpus", look_cpus },
	{ "cpu-quota", look_quota },
	{ "clock", look_clock },
	{ "hugepages", look_hugepages },
	{ "numa", look_numa },
	{ "loopback", look_loopback },
	{ "ipv6", look_ipv6 },
	{ "tcp-buffers", look_tcp_buffers },
	{ "rdma", look_rdma },
	{ "gpus", look_gpus },
	{ "pair", look_pair },
};

#define N_CHECKS (sizeof(checks) / sizeof(checks[0]))

static const char *const state_names[] = { "ok", "note", "problem" };

void doctor_usage(FILE *to)
{
	fputs("options of weft doctor:\n"
	      "  --json       one object, instead of text\n"
	      "  --root DIR   reads the files of /proc, /sys and /dev below DIR, a copy of another machine's; what is tried out\n"
	      "               is tried on this machine all the same\n"
	      "\n"
	      "Looks at limits, rights, namespaces, CPUs, network settings, RDMA devices and GPUs, and connects two processes of\n"
	      "its own. Says of each whether it is well, what it costs if not, and the command that mends it, which you may run:\n"
	      "weft never does, and changes nothing. Exit status: 0 no problem (notes are none), 1 problems were found, 2 bad\n"
	      "arguments.\n", to);
}

/* ---- filling a finding ---- */

static void append(char *out, size_t cap, const char *fmt, va_list args)
{
	size_t at = strlen(out);
	char text[1536];                 /* a port with its addresses */

	vsnprintf(text, sizeof(text), fmt, args);
	if (!strstr(out, text))          /* two findings may have one remedy */
		snprintf(out + at, cap - at, "%s%s", at ? "; " : "", text);
}

void found(struct finding *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	append(f->found, sizeof(f->found), fmt, args);
	va_end(args);
}

void costs(struct finding *f, enum doctor_state state, const char *fmt, ...)
{
	va_list args;

	f->state = state > f->state ? state : f->state;
	va_start(args, fmt);
	append(f->cost, sizeof(f->cost), fmt, args);
	va_end(args);
}

void mend(struct finding *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	append(f->remedy, sizeof(f->remedy), fmt, args);
	va_end(args);
}

void trades(struct finding *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	append(f->trade, sizeof(f->trade), fmt, args);
	va_end(args);
}

/* ---- output ---- */

static void print_finding(const struct check *c, const struct finding *f)
{
	char label[40];

	snprintf(label, sizeof(label), "%-8s %-12s", state_names[f->state], c->name);
	print_wrapped(label, 22, f->found);
	if (f->cost[0])
		print_wrapped("             costs:", 22, f->cost);
	if (f->remedy[0])
		printf("             mend:    %s\n", f->remedy);   /* never broken: it is to be copied */
	if (f->trade[0])
		print_wrapped("             trades:", 22, f->trade);
}

static void finding_json(const struct check *c, const struct finding *f)
{
	json_open(NULL, '{');
	json_str("check", c->name);
	json_str("state", state_names[f->state]);
	json_str("found", f->found);
	json_str("cost", f->cost);
	json_str("remedy", f->remedy);
	json_str("trade", f->trade);
	json_close();
}

static unsigned run_all(bool json)
{
	unsigned n[3] = { 0 };

	if (json) {
		json_open(NULL, '{');
		json_open("checks", '[');
	}
	for (size_t i = 0; i < N_CHECKS; i++) {
		struct finding f = { .state = DOCTOR_OK };

		checks[i].look(&f);
		n[f.state]++;
		if (json)
			finding_json(&checks[i], &f);
		else
			print_finding(&checks[i], &f);
	}
	if (!json) {
		printf("problems: %u, notes: %u, well: %u\n", n[DOCTOR_PROBLEM], n[DOCTOR_NOTE], n[DOCTOR_OK]);
		return n[DOCTOR_PROBLEM];
	}
	json_close();
	json_u64("ok", n[DOCTOR_OK]);
	json_u64("notes", n[DOCTOR_NOTE]);
	json_u64("problems", n[DOCTOR_PROBLEM]);
	json_close();
	return n[DOCTOR_PROBLEM];
}

int doctor_main(int argc, char **argv)
{
	bool json = false;
	unsigned problems;

	if (!look_options("doctor", argc, argv, &json))
		return 2;
	problems = run_all(json);
	return problems || fflush(stdout) ? 1 : 0;
}
