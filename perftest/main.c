/* SPDX-License-Identifier: BSD-3-Clause
 *
 * main.c - the program `weft`: finds the command and hands over to it.
 */
#include <string.h>

#include "perftest.h"
#include "tool.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	void (*usage)(FILE *to);
} commands[] = {
	{ "info", info_main, info_usage },
	{ "doctor", doctor_main, doctor_usage },
	{ "explain", explain_main, explain_usage },
	{ "perf", perf_main, perf_usage },
	{ "calibrate", calibrate_main, calibrate_usage },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *to)
{
	fputs("usage: weft COMMAND [OPTION...]\n"
	      "\n"
	      "commands:\n"
	      "  weft info                    transports and why one is missing, devices; settings and where each came from\n"
	      "  weft doctor                  what is wrong with this machine for weft, what it costs, the command that mends it\n"
	      "  weft explain URL             which path messages to URL take, by which threshold, and why not another\n"
	      "  weft perf                    latency and bandwidth between two processes of this machine, or with\n"
	      "                               --listen and HOST of two\n"
	      "  weft calibrate [FILE]        measures from which length on a message is better sent by rendezvous, for FILE\n"
	      "  weft COMMAND --help          the options of one\n"
	      "  weft --version\n", to);
	for (size_t i = 0; i < N_COMMANDS; i++) {
		fputc('\n', to);
		commands[i].usage(to);
	}
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
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (argc < 3 || (strcmp(argv[2], "--help") && strcmp(argv[2], "-h")))
			return commands[i].run(argc - 1, argv + 1);
		commands[i].usage(stdout);
		return 0;
	}
	fprintf(stderr, "weft: \"%s\" is no command; there are info, doctor, explain, perf and calibrate (weft --help)\n", argv[1]);
	return 2;
}
