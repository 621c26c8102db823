/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conform_far.c - the cases of conform with the second worker of each pair in another process (far.h): one that is started here, or one
 * that serves on another machine.
 *
 *   conform_far TRANSPORT [CASE]                       both on this machine
 *   conform_far --serve ADDRESS:PORT                   on one machine, until it is killed; it listens at ADDRESS
 *   conform_far --at ADDRESS:PORT --here ADDRESS TRANSPORT [CASE]   on another: that is where the first serves, and how it calls this one
 */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "conform/far.h"

static const char *const variants[] = { "shm", "tcp", "verbs" };

static int usage(void)
{
	fprintf(stderr, "usage: conform_far [--at ADDRESS:PORT --here ADDRESS] TRANSPORT [CASE]; conform_far --serve ADDRESS:PORT;\n"
			"       conform_far --list says which transports there are\n");
	return 2;
}

static int serve(const char *where)
{
	char at[80], address[64];
	int listener = far_listen(where, at, sizeof(at));

	if (listener < 0) {
		fprintf(stderr, "conform_far: cannot listen at %s\n", where);
		return 1;
	}
	snprintf(address, sizeof(address), "%.*s", (int)(strrchr(where, ':') - where), where);
	far_address = address;
	return far_serve(listener);
}

/* Serves beside us, and dies with us. */
static const char *start_server(void)
{
	static char at[80];
	int listener = far_listen("127.0.0.1:0", at, sizeof(at));
	pid_t us = getpid(), pid;

	wt_must(listener >= 0);
	pid = fork();
	wt_must(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(getppid() == us ? far_serve(listener) : 1);
	}
	close(listener);
	return at;
}

int main(int argc, char **argv)
{
	const char *at = NULL;
	int ret;

	for (; argc > 2 && !strncmp(argv[1], "--", 2); argv += 2, argc -= 2) {
		if (!strcmp(argv[1], "--serve"))
			return serve(argv[2]);
		if (!strcmp(argv[1], "--at"))
			at = argv[2];
		else if (!strcmp(argv[1], "--here"))
			far_address = argv[2];
		else
			return usage();
	}
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
			puts(variants[i]);
		return 0;
	}
	if (argc < 2 || argc > 3 || !wt_choose(argv[1]))
		return usage();
	far_near_use(at ? at : start_server());
	wt_far = &far_near;
	ret = wt_suite(argv[2]);
	printf("# %u cases had a side in the other process\n", far_near_split());
	return ret;
}
