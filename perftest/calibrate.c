/* SPDX-License-Identifier: BSD-3-Clause
 *
 * calibrate.c - `weft calibrate`: lets the library measure, shows the file that came of it, and says how to use it.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tool.h"

#define TIME_S     2.0
#define TIME_MAX_S 600.0
#define PATH_CAP   1000

void calibrate_usage(FILE *to)
{
	fputs("options of weft calibrate [FILE]:\n"
	      "  --time SECONDS    for all of it, default 2\n"
	      "\n"
	      "Measures what a message between processes of this host costs when it is sent at once (eager) and when the\n"
	      "receiver is asked first (rendezvous), by length, and writes FILE: the threshold, with the figures. FILE is by\n"
	      "default weft/calibration in $XDG_CONFIG_HOME or ~/.config. It is used where the setting calibration names it.\n"
	      "Run it while the machine is otherwise idle.\n", to);
}

/* Where the file goes when no argument says it; its folders are made. */
static bool default_path(char *out, size_t cap)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	if (base && *base)
		n = snprintf(out, cap, "%s/weft/calibration", base);
	else if (home && *home)
		n = snprintf(out, cap, "%s/.config/weft/calibration", home);
	else
		n = -1;
	if (n < 0 || (size_t)n >= cap) {
		fprintf(stderr, "weft calibrate: neither XDG_CONFIG_HOME nor HOME names a folder for the file; give a FILE\n");
		return false;
	}
	for (char *at = strchr(out + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(out, 0777) && errno != EEXIST) {
			fprintf(stderr, "weft calibrate: folder %s cannot be made: %s; give a FILE\n", out, strerror(errno));
			return false;
		}
		*at = '/';
	}
	return true;
}

static bool parse(int argc, char **argv, double *time_s, char *path, size_t cap)
{
	const char *file = NULL;

	for (int i = 1; i < argc; i++) {
		char *end = NULL;

		if (!strcmp(argv[i], "--time")) {
			const char *text = i + 1 < argc ? argv[++i] : "";

			*time_s = strtod(text, &end);
			if (end == text || *end || !(*time_s > 0 && *time_s <= TIME_MAX_S))
				return say_bad("calibrate", "--time takes seconds, more than 0 and at most 600, not", text);
		} else if (argv[i][0] == '-' || file || !argv[i][0]) {
			return say_bad("calibrate", "unexpected argument", argv[i]);
		} else {
			file = argv[i];
		}
	}
	if (!file)
		return default_path(path, cap);
	if (snprintf(path, cap, "%s", file) >= (int)cap)
		return say_bad("calibrate", "a path of more than 999 bytes:", file);
	return true;
}

static bool show(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[400];

	while (f && fgets(line, sizeof(line), f))
		fputs(line, stdout);
	if (f && !fclose(f))
		return true;
	fprintf(stderr, "weft calibrate: %s cannot be read back: %s\n", path, strerror(errno));
	return false;
}

int calibrate_main(int argc, char **argv)
{
	char path[PATH_CAP], whole[PATH_MAX];
	double time_s = TIME_S;
	weft_ctx *ctx;
	int ret;

	if (!parse(argc, argv, &time_s, path, sizeof(path)))
		return 2;
	setenv("WEFT_CALIBRATION", "", 1);       /* the old one has no say, and may be the one that is missing */
	if (weft_open(NULL, &ctx))
		return say_refusal();
	ret = weft_calibrate(ctx, path, (uint64_t)(time_s * 1e9));
	if (ret)
		say_refusal();
	weft_close(ctx);
	if (ret || !show(path))
		return 1;
	printf("\nTo use it: \"calibration = %s\" in the file that WEFT_CONFIG names, or in the environment\n"
	       "WEFT_CALIBRATION=%s\n", realpath(path, whole) ? whole : path, realpath(path, whole) ? whole : path);
	return fflush(stdout) ? 1 : 0;
}
