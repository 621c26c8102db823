/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log.c - see log.h.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const names[] = { "off", "error", "warn", "info", "debug", "trace" };

void wf_log_line(const struct wf_log *log, int level, const char *fmt, ...)
{
	char line[512];
	int saved = errno;
	va_list args;

	if (!log->fn)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	log->fn(log->arg, level, line);
	errno = saved;
}

int wf_log_level_of(const char *name)
{
	for (size_t i = 0; i < WF_ARRAY_LEN(names); i++) {
		if (!strcmp(name, names[i]) || (name[0] == (char)('0' + i) && !name[1]))
			return (int)i;
	}
	return -1;
}

const char *wf_log_level_name(int level)
{
	return level >= 0 && (size_t)level < WF_ARRAY_LEN(names) ? names[level] : "?";
}
