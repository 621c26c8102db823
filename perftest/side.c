/* SPDX-License-Identifier: BSD-3-Clause
 *
 * side.c - one end of the endpoint that is measured: making it, posting on it, waiting. A plain user of weft.h: an
 * operation that is done at once is taken from its call, any other from the worker's events.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "perftest.h"

#define CLOSE_NS  2000000000u
#define SLICE_NS  200000000u         /* of a sleep: a signal does not end it */
#define STOP_NS   2000000000u        /* that a round may still take after ^C */

volatile int perf_interrupted;

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void foreign_text(char *text, size_t cap)
{
	text[cap - 1] = 0;
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* ---- failing ---- */

bool side_fail(struct side *s, const char *fmt, ...)
{
	va_list args;

	if (s->failed)
		return false;
	s->failed = true;
	va_start(args, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, args);
	va_end(args);
	return false;
}

static bool fail_with(struct side *s, const char *what, const weft_error *e)
{
	char line[600];

	weft_error_text(e, line, sizeof(line));
	return side_fail(s, "%s: %s", what, line);
}

bool side_refused(struct side *s, const char *what)
{
	return fail_with(s, what, weft_last_error());
}

/* ---- events ---- */

/* Not a failure yet: what the peer sent before it closed may be all that is waited for. */
static void is_down(struct side *s, const weft_event *e)
{
	uint32_t v = weft_version();
	char line[600];

	weft_error_text(weft_event_error(e), line, sizeof(line));
	snprintf(s->down, sizeof(s->down), "%s: %s", s->connected ? "the peer is gone" : "no connection", line);
	if (e->status == WEFT_EVERSION)
		snprintf(s->down + strlen(s->down), sizeof(s->down) - strlen(s->down), "; this is weft %u.%u.%u", v >> 16,
			 v >> 8 & 255, v & 255);
}

static void take_request(struct side *s, weft_event *e)
{
	if (s->door && s == &s->door->side && !s->door->caller)
		s->door->caller = e->data;
	else
		weft_reject(e->data, WEFT_EREJECTED, DOOR_BUSY);
}

static void take_event(struct side *s, weft_event *e)
{
	struct job *j;

	switch (e->kind) {
	case WEFT_EV_OP:
		j = (struct job *)(uintptr_t)e->user_data;
		j->done = true;
		j->len = e->len;
		if (e->status < 0 && !s->closing)
			fail_with(s, "an operation failed", weft_event_error(e));
		break;
	case WEFT_EV_REQUEST:
		take_request(s, e);
		break;
	case WEFT_EV_CONNECTED:
		s->connected = true;
		break;
	case WEFT_EV_DOWN:
	case WEFT_EV_LISTENER:
		is_down(s, e);
		break;
	default:
		weft_event_release(s->w, e);
	}
}

bool side_take(struct side *s, weft_event *ev, size_t n)
{
	for (size_t i = 0; i < n; i++)
		take_event(s, &ev[i]);
	s->idle = 0;
	s->since_ns = 0;
	return !s->failed;
}

/* A serving side ends at once; the measuring side may end its round, if that does not take long. */
static bool stops(struct side *s, uint64_t now)
{
	if (!perf_interrupted)
		return false;
	if (!s->stop_ns)
		s->stop_ns = now + (s->serves || !s->connected ? 0 : STOP_NS);
	return now >= s->stop_ns;
}

/* Closing has a deadline of its own, and must not put another failure in the place of the one that it may tell. */
static bool may_wait(struct side *s, uint64_t now)
{
	uint64_t limit_s = s->stall_s + slow_s(s->slots.len);

	if (s->down[0])
		return side_fail(s, "%s", s->down);
	if (stops(s, now))
		return side_fail(s, "interrupted");
	if (!s->since_ns)
		s->since_ns = now;
	if (s->stall_s && now - s->since_ns > limit_s * 1000000000u)
		return side_fail(s, "nothing came from the peer for %llu s", (unsigned long long)limit_s);
	if (s->door && s != &s->door->side)
		door_turn_away(s->door);
	return true;
}

/* With one CPU the other side can only run while this one sleeps. */
bool side_idle(struct side *s)
{
	uint64_t now = now_ns();

	if (s->failed || (!s->closing && !may_wait(s, now)))
		return false;
	if (s->polls || s->watches)
		sched_yield();
	else
		weft_wait_any(s->w, now + SLICE_NS);
	return true;
}

/* ---- making and ending ---- */

static bool open_ctx(struct side *s, const struct perf_way *way)
{
	weft_config *c;
	int ret = weft_config_new(&c);

	if (ret)
		return side_refused(s, "settings");
	if (way->transport)
		ret = weft_config_set(c, "transports", way->transport);
	if (!ret && way->key)
		ret = weft_config_set(c, way->key, way->value);
	if (!ret)
		ret = weft_open(c, &s->ctx);
	weft_config_free(c);
	s->owns_ctx = !ret;
	return !ret || side_refused(s, "cannot open weft");
}

bool side_open(struct side *s, const struct perf_way *way, weft_ctx *shared)
{
	s->ctx = shared;
	if (!shared && !open_ctx(s, way))
		return false;
	if (weft_worker_new(s->ctx, NULL, &s->w))
		return side_refused(s, "no worker");
	return tests_prepare(s);
}

bool side_connect(struct side *s, const char *url)
{
	if (weft_connect(s->w, url, NULL, &s->ep))
		return side_refused(s, "cannot connect");
	while (!s->connected)
		if (!side_turn(s))
			return false;
	return !s->failed;
}

void side_hang_up(struct side *s)
{
	struct job *j = &s->ctl;
	weft_call call = call_init(j);
	bool failed = s->failed;
	int ret;

	if (!s->ep)
		return;
	s->closing = true;
	s->failed = false;
	call.deadline_ns = now_ns() + CLOSE_NS;
	ret = s->down[0] ? WEFT_ECLOSED : weft_ep_close(s->ep, &call);
	if (ret < 0)
		weft_ep_abort(s->ep);
	j->done = ret != WEFT_PENDING;
	side_wait(s, j);
	s->failed = failed;
	s->ep = NULL;
}

/* The worker first: until it is gone, operations may use the buffers. */
void side_close(struct side *s)
{
	side_hang_up(s);
	if (s->slots.granted)
		weft_grant_revoke(s->slots.reg, s->slots.grant, NULL);
	if (s->w)
		weft_worker_free(s->w);
	if (s->slots.reg)
		weft_mem_free(s->slots.reg);
	if (!s->slots.allocated)
		free(s->slots.mem);
	free(s->slots.job);
	if (s->owns_ctx)
		weft_close(s->ctx);
	s->w = NULL;
	s->ctx = NULL;
	s->slots = (struct slots){ .mem = NULL };
}

/* ---- operations ---- */

weft_call call_init(struct job *j)
{
	return (weft_call){ .size = sizeof(weft_call), .user_data = (uintptr_t)j };
}

void job_init(struct job *j, void *buf, size_t len)
{
	*j = (struct job){ .buf = { .addr = buf, .len = len }, .done = true };
}

/* Refused, or done at once and not well. */
bool side_posted_now(struct side *s, struct job *j, int ret, const weft_call *call)
{
	j->done = ret != WEFT_PENDING;
	if (ret < 0)
		return side_refused(s, "an operation was refused");
	return !j->done || call->event.status >= 0 || fail_with(s, "an operation failed", weft_event_error(&call->event));
}

bool side_send(struct side *s, void *buf, size_t len, uint64_t tag)
{
	struct job *j = &s->ctl;
	weft_call call = call_init(j);

	job_init(j, buf, len);
	return side_posted_now(s, j, weft_send(s->ep, &j->buf, 1, tag, &call), &call) && side_wait(s, j);
}

bool side_recv(struct side *s, void *buf, size_t len, uint64_t tag)
{
	struct job *j = &s->ctl;
	weft_call call = call_init(j);
	int ret;

	job_init(j, buf, len);
	call.from = s->ep;
	ret = weft_recv(s->w, &j->buf, 1, tag, UINT64_MAX, &call);
	j->len = call.event.len;
	if (!side_posted_now(s, j, ret, &call) || !side_wait(s, j))
		return false;
	if (j->len != len)
		return side_fail(s, "the peer's message has %llu bytes instead of %zu", (unsigned long long)j->len, len);
	return true;
}
