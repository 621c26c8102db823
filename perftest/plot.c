/* SPDX-License-Identifier: BSD-3-Clause
 *
 * plot.c - the picture is drawn by the Python package's _plot.py, which gets the results as lines of JSON. It needs
 * matplotlib and nothing of weft. It is looked for beside this program, as a build folder, a wheel and `make install`
 * have it.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perftest.h"

static FILE *lines;
static char *text;
static size_t text_len;

void plot_add(const struct cell *c)
{
	if (!lines)
		lines = open_memstream(&text, &text_len);
	if (lines)
		print_json(lines, c);
}

/* @name, seen from the folder of this program, if it is there. */
static bool beside(const char *name, char *out, size_t cap)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n <= 0)
		return false;
	exe[n] = 0;
	*strrchr(exe, '/') = 0;
	return snprintf(out, cap, "%s/%s", exe, name) < (int)cap && !access(out, R_OK);
}

static bool find_script(char *out, size_t cap)
{
	return beside("py/weft/_plot.py", out, cap) || beside("../_plot.py", out, cap) ||
	       beside("../share/weft/_plot.py", out, cap);
}

static void find_python(char *out, size_t cap)
{
	const char *named = getenv("PYTHON");

	if (named && *named)
		snprintf(out, cap, "%s", named);
	else if (!beside("venv/bin/python", out, cap))
		snprintf(out, cap, "python3");
}

/* Runs it with @input; what it has to say it says on stderr. */
static bool run_script(const char *option, const char *file, const char *input, size_t len)
{
	char script[PATH_MAX + 40], python[PATH_MAX + 40];
	int fd[2], status = 0;
	pid_t pid;

	if (!find_script(script, sizeof(script))) {
		fprintf(stderr, "weft perf: --plot: _plot.py of the Python package is not beside this program; `make` puts it "
			"there\n");
		return false;
	}
	find_python(python, sizeof(python));
	if (pipe(fd) || (pid = fork()) < 0) {
		fprintf(stderr, "weft perf: --plot: cannot start %s: %s\n", python, strerror(errno));
		return false;
	}
	if (!pid) {
		dup2(fd[0], STDIN_FILENO);
		close(fd[0]);
		close(fd[1]);
		execlp(python, python, script, option, file, (char *)NULL);
		fprintf(stderr, "weft perf: --plot: cannot run %s: %s; install Python 3, or name one in PYTHON\n", python,
			strerror(errno));
		_exit(127);
	}
	close(fd[0]);
	signal(SIGPIPE, SIG_IGN);        /* it may end without reading */
	while (len) {
		ssize_t n = write(fd[1], input, len);

		if (n <= 0 && errno != EINTR)
			break;
		input += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	close(fd[1]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

bool plot_possible(const char *file)
{
	return run_script("--check", file, "", 0);
}

bool plot_draw(const char *file)
{
	bool ok = true;

	if (lines) {
		fclose(lines);
		ok = run_script("-", file, text, text_len);
		free(text);
	}
	lines = NULL;
	return ok;
}
