/* SPDX-License-Identifier: BSD-3-Clause
 *
 * main.c - the program `weft`: finds the command and hands over to it.
 */
#include <string.h>

#include "perftest.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "info", info_main },
	{ "explain", explain_main },
	{ "perf", perf_main },
};

static void usage(FILE *to)
{
	fputs("usage: weft COMMAND [OPTION...]\n"
	      "\n"
	      "  weft info [--json]           transports and why one is missing; settings and where each came from\n"
	      "  weft explain URL [--json]    what a connection to URL would try, in which order\n"
	      "  weft perf [OPTION...]        latency and bandwidth between two processes of this machine, or with --listen and\n"
	      "                               HOST of two; weft perf --help lists tests and options\n"
	      "  weft --version\n", to);
}

int say_refusal(void)
{
	char line[700];

	weft_error_text(weft_last_error(), line, sizeof(line));
	fprintf(stderr, "weft: %s\n", line);
	return 1;
}

int main(int argc, char **argv)
{
	uint32_t v = weft_version();

	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("weft %u.%u.%u\n", v >> 16, v >> 8 & 255, v & 255);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "weft: \"%s\" is no command; there are info, explain and perf (weft --help)\n", argv[1]);
	return 2;
}
