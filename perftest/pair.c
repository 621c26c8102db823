/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pair.c - two processes of ours, connected: doctor looks whether and how that works, explain --measure sends messages
 * there and back. The other process obeys orders (so many messages of a size, in such memory, are coming) until one of no
 * kind; it dies with us. A plain user of weft.h; no wait is without a limit.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define LIMIT_NS   10000000000ull    /* of any wait, plus the time that the bytes may take */
#define ORDER_NS   60000000000ull    /* for the next order */
#define CLOSE_NS   2000000000ull
#define URL_CAP    200
#define TURNS      4096              /* between two looks at the clock */
#define SAMPLES    (1u << 16)
#define SHORT      4096              /* up to here a sample is the mean of BATCH round trips: reading the clock costs, too */
#define BATCH      16

enum { TAG_ORDER = 1, TAG_DATA = 2, TAG_READY = 3 };

struct order {
	uint64_t size, count;
	uint32_t memory, reserved;      /* PAIR_MEMORIES: end */
};

struct room {                           /* two buffers of a size: out, in */
	weft_mem *mem;
	void *own;
	unsigned char *out, *in;
	size_t size;
};

const char *const pair_memory_names[PAIR_MEMORIES] = { "plain", "registered", "weft_mem_alloc" };

static bool fail(struct pair *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct pair *p, const char *fmt, ...)
{
	va_list args;

	if (!p->failed) {
		va_start(args, fmt);
		vsnprintf(p->why, sizeof(p->why), fmt, args);
		va_end(args);
	}
	p->failed = true;
	return false;
}

static bool fail_with(struct pair *p, const char *what, const weft_error *e)
{
	char line[600];

	weft_error_text(e, line, sizeof(line));
	return fail(p, "%s: %s", what, line);
}

/* ---- operations: what a posting call answered, to its end ---- */

static weft_call by_handle(const struct pair *p)
{
	return (weft_call){ .size = sizeof(weft_call), .flags = WEFT_BY_HANDLE, .from = p->ep };
}

static bool finish(struct pair *p, int ret, weft_call *c, uint64_t limit_ns)
{
	uint64_t until = clock_ns() + limit_ns;
	weft_op op = c->op;

	if (ret == WEFT_PENDING && p->spins) {
		for (unsigned turn = 1; (ret = weft_test(p->w, op, &c->event)) == WEFT_AGAIN; turn++)
			if (turn % TURNS == 0 && clock_ns() > until)
				return fail(p, "nothing came from the other process");
	} else if (ret == WEFT_PENDING) {
		ret = weft_wait(p->w, op, until, &c->event);
	}
	if (ret)
		return fail_with(p, "a message", weft_last_error());
	return c->event.status >= 0 || fail_with(p, "a message", weft_event_error(&c->event));
}

static uint64_t limit_of(size_t len)
{
	return LIMIT_NS + len / 64 * 1000;   /* 64 MB a second */
}

static int post_send(struct pair *p, const void *buf, size_t len, weft_mem *mem, uint64_t tag, weft_call *c)
{
	weft_buf b = { .addr = (void *)(uintptr_t)buf, .len = len, .mem = mem };

	*c = by_handle(p);
	return weft_send(p->ep, &b, 1, tag, c);
}

static int post_recv(struct pair *p, void *buf, size_t len, weft_mem *mem, uint64_t tag, weft_call *c)
{
	weft_buf b = { .addr = buf, .len = len, .mem = mem };

	*c = by_handle(p);
	return weft_recv(p->w, &b, 1, tag, UINT64_MAX, c);
}

/* There and back, or back and there. */
static bool ping(struct pair *p, struct room *r)
{
	weft_call in, out;
	int got = post_recv(p, r->in, r->size, r->mem, TAG_DATA, &in);
	int sent = post_send(p, r->out, r->size, r->mem, TAG_DATA, &out);

	return finish(p, sent, &out, limit_of(r->size)) && finish(p, got, &in, limit_of(r->size));
}

static bool pong(struct pair *p, struct room *r)
{
	weft_call c;
	int ret = post_recv(p, r->in, r->size, r->mem, TAG_DATA, &c);

	if (!finish(p, ret, &c, limit_of(r->size)))
		return false;
	ret = post_send(p, r->in, r->size, r->mem, TAG_DATA, &c);
	return finish(p, ret, &c, limit_of(r->size));
}

/* ---- memory ---- */

static void room_free(struct room *r)
{
	if (r->mem)
		weft_mem_free(r->mem);
	free(r->own);
	*r = (struct room){ .size = 0 };
}

static bool room_make(struct pair *p, struct room *r, uint64_t size, uint32_t memory)
{
	size_t len = 2 * (size_t)size + 2;
	int ret = WEFT_OK;

	room_free(r);
	if (size > SIZE_MAX / 4)
		return fail(p, "two messages of %llu bytes do not fit into memory", (unsigned long long)size);
	if (memory == PAIR_ALLOCATED) {
		ret = weft_mem_alloc(p->ctx, len, WEFT_HOST, -1, &r->mem);
		r->out = ret ? NULL : weft_mem_addr(r->mem, NULL);
	} else {
		r->out = r->own = malloc(len);
		if (!r->own)
			return fail(p, "no memory for two messages of %llu bytes", (unsigned long long)size);
		if (memory == PAIR_REGISTERED)
			ret = weft_mem_register(p->ctx, &(weft_buf){ .addr = r->own, .len = len }, WEFT_READ | WEFT_WRITE, &r->mem);
	}
	if (ret)
		return fail_with(p, "memory", weft_last_error());
	memset(r->out, 0x5a, len);       /* the pages are there before the clock runs */
	r->in = r->out + size;
	r->size = (size_t)size;
	return true;
}

/* ---- making and ending ---- */

static bool wait_event(struct pair *p, uint32_t kind, weft_event *e)
{
	uint64_t until = clock_ns() + LIMIT_NS;

	while (weft_wait_any(p->w, until) == WEFT_OK) {
		if (!weft_reap(p->w, e, 1))
			continue;
		if (e->kind == kind)
			return true;
		if (e->kind == WEFT_EV_DOWN || e->kind == WEFT_EV_LISTENER)
			return fail_with(p, "no connection", weft_event_error(e));
		weft_event_release(p->w, e);
	}
	return fail(p, "no connection came about");
}

static bool open_side(struct pair *p, const char *transport)
{
	weft_config *c;
	int ret = weft_config_new(&c);

	if (ret)
		return fail_with(p, "settings", weft_last_error());
	if (transport)
		ret = weft_config_set(c, "transports", transport);
	if (!ret)
		ret = weft_open(c, &p->ctx);
	weft_config_free(c);
	if (!ret)
		ret = weft_worker_new(p->ctx, NULL, &p->w);
	return !ret || fail_with(p, "opening weft", weft_last_error());
}

static void close_side(struct pair *p)
{
	weft_call c = by_handle(p);
	int ret;

	c.from = NULL;
	c.deadline_ns = clock_ns() + CLOSE_NS;
	if (p->ep && !p->failed) {
		ret = weft_ep_close(p->ep, &c);
		if (ret == WEFT_PENDING)
			weft_wait(p->w, c.op, c.deadline_ns + CLOSE_NS, &c.event);
	}
	if (p->listener)
		weft_listener_close(p->listener);
	if (p->w)
		weft_worker_free(p->w);
	if (p->ctx)
		weft_close(p->ctx);
	p->ep = NULL;
	p->listener = NULL;
	p->w = NULL;
	p->ctx = NULL;
}

/* ---- the other process ---- */

static bool obey(struct pair *p)
{
	struct order o = { .memory = PAIR_MEMORIES }, had = o;
	struct room room = { .size = 0 };
	weft_call c;

	for (;;) {
		int ret = post_recv(p, &o, sizeof(o), NULL, TAG_ORDER, &c);

		if (!finish(p, ret, &c, ORDER_NS) || o.memory >= PAIR_MEMORIES)
			break;
		if ((o.size != had.size || o.memory != had.memory) && !room_make(p, &room, o.size, o.memory))
			break;
		had = o;
		ret = post_send(p, "", 1, NULL, TAG_READY, &c);
		if (!finish(p, ret, &c, LIMIT_NS))
			break;
		while (o.count && pong(p, &room))
			o.count--;
	}
	room_free(&room);
	return !p->failed;
}

static int serve(const char *transport, bool spins, int fd)
{
	struct pair p = { .spins = spins };
	char url[URL_CAP] = "";
	weft_event e;

	if (open_side(&p, transport) && weft_listen(p.w, "weft://127.0.0.1:0", NULL, &p.listener) == WEFT_OK &&
	    weft_listener_url(p.listener, url, sizeof(url)) == WEFT_OK && write(fd, url, sizeof(url)) == sizeof(url) &&
	    wait_event(&p, WEFT_EV_REQUEST, &e) && weft_accept(e.data, p.w, NULL, &p.ep) == WEFT_OK &&
	    wait_event(&p, WEFT_EV_CONNECTED, &e))
		obey(&p);
	close_side(&p);
	return p.failed;
}

/* The URL; false: none came in time. */
static bool read_url(int fd, char *url, size_t cap)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };

	return poll(&f, 1, (int)(LIMIT_NS / 1000000)) == 1 && read(fd, url, cap) == (ssize_t)cap && !url[cap - 1];
}

static bool start(struct pair *p, const char *transport, char *url, size_t cap)
{
	pid_t parent = getpid();
	int fd[2];
	bool got;

	fflush(stdout);                  /* or the child would have it, too */
	if (pipe(fd))
		return fail(p, "a pipe: %s", strerror(errno));
	p->pid = fork();
	if (!p->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fd[0]);
		_exit(getppid() == parent ? serve(transport, p->spins, fd[1]) : 1);
	}
	close(fd[1]);
	got = p->pid > 0 && read_url(fd[0], url, cap);
	close(fd[0]);
	return got || fail(p, "the other process cannot listen at 127.0.0.1, or does not start");
}

bool pair_open(struct pair *p, const char *transport)
{
	char url[URL_CAP];
	cpu_set_t set;
	weft_event e;

	*p = (struct pair){ .pid = -1 };
	p->spins = !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) > 1;
	if (!start(p, transport, url, sizeof(url)) || !open_side(p, transport))
		return false;
	if (weft_connect(p->w, url, NULL, &p->ep) != WEFT_OK)
		return fail_with(p, "connecting", weft_last_error());
	return wait_event(p, WEFT_EV_CONNECTED, &e);
}

static bool give_order(struct pair *p, uint64_t size, uint32_t memory, uint64_t count)
{
	struct order o = { .size = size, .count = count, .memory = memory };
	weft_call c;
	char ready;
	int ret = post_send(p, &o, sizeof(o), NULL, TAG_ORDER, &c);

	if (!finish(p, ret, &c, LIMIT_NS) || memory == PAIR_MEMORIES)
		return !p->failed;
	ret = post_recv(p, &ready, 1, NULL, TAG_READY, &c);
	return finish(p, ret, &c, limit_of(size));
}

void pair_close(struct pair *p)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	if (p->ep && !p->failed)
		give_order(p, 0, PAIR_MEMORIES, 0);
	close_side(p);
	if (p->pid <= 0)
		return;
	for (unsigned i = 0; i < (p->failed ? 0 : 3000); i++) {
		if (waitpid(p->pid, NULL, WNOHANG))
			return;
		nanosleep(&ms, NULL);
	}
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
}

/* ---- measuring ---- */

static void fill(unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 167 + (i >> 8) * 13 + 1);
}

/* One there and back, compared. */
static bool check(struct pair *p, struct room *r, uint32_t memory)
{
	fill(r->out, r->size);
	if (!give_order(p, r->size, memory, 1) || !ping(p, r))
		return false;
	return !memcmp(r->in, r->out, r->size) || fail(p, "%zu bytes came back wrong", r->size);
}

/* The first round trip finds the other side still reading the order: it does not count. */
static bool rounds(struct pair *p, struct room *r, const struct pair_cell *c, unsigned samples, float *sample)
{
	unsigned batch = c->size <= SHORT ? BATCH : 1;

	if (!give_order(p, c->size, c->memory, (uint64_t)samples * batch + 1) || !ping(p, r))
		return false;
	for (unsigned i = 0; i < samples; i++) {
		uint64_t t0 = clock_ns();

		for (unsigned k = 0; k < batch; k++)
			if (!ping(p, r))
				return false;
		sample[i] = (float)(clock_ns() - t0) / 2000.0f / (float)batch;
	}
	return true;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* What the counters say of the messages since @before. */
static bool count(struct pair *p, struct pair_cell *c, const char *before)
{
	char *after = stats_text(p->ctx, p->ep);

	if (!after)
		return fail_with(p, "counters", weft_last_error());
	c->eager = json_number(after, "rendezvous") == json_number(before, "rendezvous");
	c->copied_here = json_number(after, "copy_bytes_here") - json_number(before, "copy_bytes_here");
	c->copied_peer = json_number(after, "copy_bytes_peer") - json_number(before, "copy_bytes_peer");
	c->syscalls = (double)(json_number(after, "syscalls") - json_number(before, "syscalls")) / (2.0 * (double)c->rounds);
	free(after);
	return true;
}

/* Runs of doubling length until the time is used up. */
static bool measure(struct pair *p, struct room *r, struct pair_cell *c, double time_s, float *sample)
{
	uint64_t start = clock_ns();
	unsigned n = 0, run = 1;

	do {
		if (!rounds(p, r, c, run, sample + n))
			return false;
		n += run;
		c->rounds += (uint64_t)run * (c->size <= SHORT ? BATCH : 1) + 1;
		run = run * 2 < SAMPLES - n ? run * 2 : SAMPLES - n;
	} while (run && (double)(clock_ns() - start) < time_s * 0.5e9);
	qsort(sample, n, sizeof(*sample), by_value);
	c->min_us = sample[0];
	c->p50_us = sample[n / 2];
	return true;
}

bool pair_measure(struct pair *p, struct pair_cell *c, double time_s)
{
	float *sample = malloc(SAMPLES * sizeof(*sample));
	struct room room = { .size = 0 };
	char *before = NULL;
	bool ok;

	if (!sample)
		return fail(p, "no memory for the samples");
	ok = room_make(p, &room, c->size, c->memory) && check(p, &room, c->memory);
	if (ok)
		before = stats_text(p->ctx, p->ep);
	ok = before && measure(p, &room, c, time_s, sample) && count(p, c, before);
	room_free(&room);
	free(before);
	free(sample);
	return ok;
}
