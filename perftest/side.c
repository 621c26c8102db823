/* SPDX-License-Identifier: BSD-3-Clause
 *
 * side.c - one end of the endpoint that is measured: making it, posting on it, waiting. A plain user of weft.h: an
 * operation that is done at once is taken from its call, any other from the worker's events.
 */
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "perftest.h"

#define EVENTS 32
#define TURNS_BETWEEN_CLOCKS 4096
#define CLOSE_NS 2000000000u

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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

static bool refused(struct side *s, const char *what)
{
	return fail_with(s, what, weft_last_error());
}

/* ---- events ---- */

/* Not a failure yet: what the peer sent before it closed may be all that is waited for. */
static void is_down(struct side *s, const weft_event *e)
{
	char line[600];

	weft_error_text(weft_event_error(e), line, sizeof(line));
	snprintf(s->down, sizeof(s->down), "%s: %s", s->connected ? "the peer is gone" : "no connection", line);
}

static void take_event(struct side *s, weft_event *e)
{
	struct job *j;

	switch (e->kind) {
	case WEFT_EV_OP:
		j = (struct job *)(uintptr_t)e->user_data;
		j->done = true;
		j->status = e->status;
		j->len = e->len;
		if (e->status < 0 && !s->closing)
			fail_with(s, "the message failed", weft_event_error(e));
		break;
	case WEFT_EV_REQUEST:
		if (s->ep)
			weft_reject(e->data, WEFT_EREJECTED, "one peer is measured at a time");
		else if (weft_accept(e->data, s->w, NULL, &s->ep))
			refused(s, "cannot accept");
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

/* Turns the wheel until *there. With one CPU the other side can only run while this one sleeps. */
static bool wait_for(struct side *s, const bool *there)
{
	uint64_t limit_s = s->stall_s + slow_s(s->slots.size * s->slots.window), limit = now_ns() + limit_s * 1000000000u;
	unsigned turns = 0;
	weft_event ev[EVENTS];

	while (!*there && !s->failed) {
		size_t n = weft_reap(s->w, ev, EVENTS);

		for (size_t i = 0; i < n; i++)
			take_event(s, &ev[i]);
		if (n && !*there && s->down[0] && !s->closing)
			side_fail(s, "%s", s->down);
		if (n)
			continue;
		if (!s->polls)
			weft_wait_any(s->w, limit);
		else if (++turns % TURNS_BETWEEN_CLOCKS)
			continue;
		else
			sched_yield();
		if (now_ns() >= limit)
			return side_fail(s, "nothing came from the peer for %llu s", (unsigned long long)limit_s);
	}
	return !s->failed;
}

/* ---- making and ending ---- */

static bool open_ctx(struct side *s, const struct perf_way *way)
{
	weft_config *c;
	int ret = weft_config_new(&c);

	if (ret)
		return refused(s, "settings");
	ret = weft_config_set(c, "transports", way->transport);
	if (!ret && way->key)
		ret = weft_config_set(c, way->key, way->value);
	if (!ret)
		ret = weft_open(c, &s->ctx);
	weft_config_free(c);
	s->owns_ctx = !ret;
	return !ret || refused(s, "cannot open weft");
}

bool side_open(struct side *s, const struct perf_way *way, weft_ctx *shared)
{
	s->ctx = shared;
	if (!shared && !open_ctx(s, way))
		return false;
	return !weft_worker_new(s->ctx, NULL, &s->w) || refused(s, "no worker");
}

bool side_listen(struct side *s, char *url, size_t cap)
{
	if (weft_listen(s->w, "weft://127.0.0.1:0", NULL, &s->listener) || weft_listener_url(s->listener, url, cap))
		return refused(s, "cannot listen");
	return true;
}

bool side_accept(struct side *s)
{
	return wait_for(s, &s->connected);
}

bool side_connect(struct side *s, const char *url)
{
	if (weft_connect(s->w, url, NULL, &s->ep))
		return refused(s, "cannot connect");
	return wait_for(s, &s->connected);
}

void side_hang_up(struct side *s)
{
	struct job *j = &s->ctl;
	int ret;

	if (!s->ep)
		return;
	s->closing = true;
	job_init(j, s);
	j->done = false;
	j->call.from = NULL;
	j->call.deadline_ns = now_ns() + CLOSE_NS;
	ret = s->failed ? WEFT_ECLOSED : weft_ep_close(s->ep, &j->call);
	if (ret < 0)
		weft_ep_abort(s->ep);
	else if (ret == WEFT_PENDING)
		wait_for(s, &j->done);
	s->ep = NULL;
}

void side_close(struct side *s)
{
	side_hang_up(s);
	if (s->listener)
		weft_listener_close(s->listener);
	if (s->w)
		weft_worker_free(s->w);
	if (s->owns_ctx)
		weft_close(s->ctx);
	slots_free(&s->slots);
}

/* ---- messages ---- */

void job_init(struct job *j, const struct side *s)
{
	*j = (struct job){ .call = { .size = sizeof(j->call), .user_data = (uintptr_t)j, .from = s->ep }, .done = true };
}

/* What posting answered. */
static bool posted(struct side *s, struct job *j, int ret)
{
	if (ret == WEFT_PENDING)
		return true;
	if (ret < 0)
		return refused(s, "a message was refused");
	j->done = true;
	j->status = j->call.event.status;
	j->len = j->call.event.len;
	return j->status >= 0 || fail_with(s, "the message failed", weft_event_error(&j->call.event));
}

bool side_post_send(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag)
{
	weft_buf b = { .addr = buf, .len = len };

	j->done = false;
	return posted(s, j, weft_send(s->ep, &b, 1, tag, &j->call));
}

bool side_post_recv(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag)
{
	weft_buf b = { .addr = buf, .len = len };

	j->done = false;
	return posted(s, j, weft_recv(s->w, &b, 1, tag, UINT64_MAX, &j->call));
}

bool side_wait(struct side *s, struct job *j)
{
	return j->done ? !s->failed : wait_for(s, &j->done);
}

bool side_send(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag)
{
	return side_post_send(s, j, buf, len, tag) && side_wait(s, j);
}

bool side_recv(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag)
{
	return side_post_recv(s, j, buf, len, tag) && side_wait(s, j);
}
