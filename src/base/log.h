/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log.h - lines for the caller's log function, and only for it: without one nothing is formatted
 * and nothing comes out. A line that is off costs a load and a branch. Put the object in front and
 * the cause behind: "conn 7 tcp: reset by ...".
 */
#ifndef WF_BASE_LOG_H
#define WF_BASE_LOG_H

#include "base/util.h"
#include "weft/weft.h"

enum wf_log_level {
	WF_LOG_OFF = 0,
	WF_LOG_ERROR = 1, /* a person should look */
	WF_LOG_WARN = 2,
	WF_LOG_INFO = 3,  /* a few lines for each process */
	WF_LOG_DEBUG = 4, /* a few lines for each object */
	WF_LOG_TRACE = 5, /* lines for each message */
};

struct wf_log {
	int level; /* most talkative that is wanted; 0 whenever fn is NULL */
	weft_log_fn fn;
	void *arg;
};

/* @log may be NULL-initialised memory. fn NULL turns it off. */
static inline void wf_log_init(struct wf_log *log, weft_log_fn fn, void *arg, int level)
{
	log->fn = fn;
	log->arg = arg;
	log->level = fn ? level : WF_LOG_OFF;
}

/* WF_LOG(log, WF_LOG_INFO, "conn %u: ...", id); arguments are evaluated only when the level is on.
 */
#define WF_LOG(log, lvl, ...)                                   \
	do {                                                    \
		const struct wf_log *wf_log_ = (log);           \
		if (wf_unlikely(wf_log_->level >= (lvl)))       \
			wf_log_line(wf_log_, lvl, __VA_ARGS__); \
	} while (0)

/* Formats into a stack buffer (cut at 511 bytes) and calls fn in this thread. errno is kept. Use
 * WF_LOG(). */
void wf_log_line(const struct wf_log *log, int level, const char *fmt, ...) WF_PRINTF(3, 4);

/* "off", "error", "warn", "info", "debug", "trace" (or the digit) to a level; -1 when it is none.
 */
int wf_log_level_of(const char *name);
const char *wf_log_level_name(int level);

#endif
