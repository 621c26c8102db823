/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far_near.c - this side of conform_far: the control connection, requests and answers, contexts and memory that have a twin at the
 * other side.
 */
#include <unistd.h>

#include "conform/far.h"

enum { CTXS = 8, HANDLERS = 16 };

struct twin {
	struct twin *next;
	weft_ctx *ctx;
	const weft_mem *mem;
	unsigned char *addr, *then;     /* then: as both sides had it when they last met */
	size_t len;
	uint64_t handle;                /* 0: not at the other side (yet) */
	uint32_t access;
	bool allocated, near;
};

struct am_copy {                        /* an event's header lives here */
	struct am_copy *next;
	unsigned char bytes[];
};

struct said {                           /* an error of the other side's */
	weft_error e;
	char object[400], cause[1200], remedy[800];
};

static const char *where;               /* the other side serves */
static int sock = -1;
static bool is_split;
static unsigned cases_split;
static struct far_buf request;
static struct twin *twins;
static struct am_copy *ams;
static weft_event events[FAR_EVENTS];
static size_t n_events;
static struct said last, of_event;
static char near_then[400];             /* this side's last error when the other side's came */
static bool has_last;
struct far_buf far_in;
uint64_t far_out[FAR_OUTS];

static struct {
	weft_ctx *ctx;
	uint64_t handle;
	char key[32], value[64];
	bool has_key, has_near;
} ctxs[CTXS];

static struct {
	weft_am_fn fn;
	void *arg;
} handlers[HANDLERS];

void far_near_use(const char *address)
{
	where = address;
}

unsigned far_near_split(void)
{
	return cases_split;
}

/* ---- errors ---- */

static void take_text(char *out, size_t cap)
{
	const char *text = far_get_text(&far_in);

	snprintf(out, cap, "%s", text ? text : "");
}

static void take_said(struct said *s)
{
	memcpy(&s->e, far_get(&far_in, sizeof(s->e)), sizeof(s->e));
	take_text(s->object, sizeof(s->object));
	take_text(s->cause, sizeof(s->cause));
	take_text(s->remedy, sizeof(s->remedy));
	s->e.object = s->object;
	s->e.cause = s->cause;
	s->e.remedy = s->remedy[0] ? s->remedy : NULL;
}

const weft_error *far_take_error(void)
{
	take_said(&of_event);
	return &of_event.e;
}

/* The other side's, unless this side has failed since, which its own error shows. */
const weft_error *far_last_error(const weft_error *here)
{
	char now[sizeof(near_then)];

	weft_error_text(here, now, sizeof(now));
	return has_last && !strcmp(now, near_then) ? &last.e : here;
}

/* ---- requests and answers ---- */

static void put_changes(bool large)
{
	struct far_buf runs = { 0 };

	for (struct twin *t = twins; t; t = t->next)
		if (t->handle && (large || t->len <= FAR_SMALL))
			far_diff(&runs, t->handle, t->addr, t->then, t->len);
	far_put_blob(&request, runs.p, runs.len);
	far_drop(&runs);
}

struct far_buf *far_begin(enum far_what what, const uint64_t a[FAR_ARGS], bool with_memory)
{
	request.len = 0;
	far_put64(&request, what);
	far_put(&request, a, FAR_ARGS * sizeof(*a));
	put_changes(with_memory);
	return &request;
}

static void take_event(weft_event *e)
{
	size_t len;
	const void *header;
	struct am_copy *c;

	memcpy(e, far_get(&far_in, sizeof(*e)), sizeof(*e));
	header = far_get_blob(&far_in, &len);
	e->ep = far_to((uintptr_t)e->ep);
	if (e->kind == WEFT_EV_REQUEST)
		e->data = far_to((uintptr_t)e->data);
	if (e->kind != WEFT_EV_AM)
		return;
	c = malloc(sizeof(*c) + len);
	wt_must(c != NULL);
	memcpy(c->bytes, header, len);
	c->next = ams;
	ams = c;
	e->data = c->bytes;
}

void far_am_free(void *data)
{
	for (struct am_copy **at = &ams, *c; (c = *at); at = &c->next) {
		if (c->bytes != data)
			continue;
		*at = c->next;
		free(c);
		return;
	}
}

static void take_changes(void)
{
	for (uint64_t end = far_get64(&far_in) + far_in.at; far_in.at < end;) {
		uint64_t handle = far_get64(&far_in), at = far_get64(&far_in);
		struct twin *t = twins;
		const void *bytes;
		size_t len;

		bytes = far_get_blob(&far_in, &len);
		while (t && t->handle != handle)
			t = t->next;
		if (!t) /* freed meanwhile by a handler */
			continue;
		memcpy(t->addr + at, bytes, len);
		memcpy(t->then + at, bytes, len);
	}
}

static void take_answer(int64_t *ret)
{
	*ret = (int64_t)far_get64(&far_in);
	memcpy(far_out, far_get(&far_in, sizeof(far_out)), sizeof(far_out));
	if (far_get64(&far_in)) {
		take_said(&last);
		weft_error_text(weft_last_error(), near_then, sizeof(near_then));
		has_last = true;
	}
	n_events = far_get64(&far_in);
	wt_must(n_events <= FAR_EVENTS);
	for (size_t i = 0; i < n_events; i++)
		take_event(&events[i]);
	for (uint64_t end = far_get64(&far_in) + far_in.at; far_in.at < end;) { /* what was received */
		void *to = (void *)(uintptr_t)far_get64(&far_in);
		size_t len;
		const void *bytes = far_get_blob(&far_in, &len);

		memcpy(to, bytes, len);
	}
	take_changes();
}

/* Sends the request and waits for what comes. Where nobody is any more, the case has failed, and what ends it does nothing more. */
static void hear(void)
{
	if (sock >= 0 && far_say(sock, &request) && far_hear(sock, &far_in))
		return;
	if (sock >= 0)
		close(sock);
	sock = -1;
	wt_must(!"the far side is there");
}

static void run_handler(void)
{
	uint64_t number = far_get64(&far_in), worker = far_get64(&far_in);
	weft_event e;

	wt_must(number < HANDLERS && handlers[number].fn);
	take_event(&e);
	handlers[number].fn(handlers[number].arg, far_to(worker), &e);
	far_am_free(e.data);
	far_start(FAR_RETURN);
}

int64_t far_ask(void)
{
	int64_t ret;

	hear();
	while (far_get64(&far_in) == FAR_HANDLER) {
		run_handler();
		hear();
	}
	take_answer(&ret);
	return ret;
}

size_t far_events(weft_event *out, size_t cap)
{
	size_t n = n_events < cap ? n_events : cap;

	memcpy(out, events, n * sizeof(*out));
	return n;
}

uint64_t far_handler(weft_am_fn fn, void *arg)
{
	for (uint64_t i = 0; fn && i < HANDLERS; i++) {
		if (handlers[i].fn)
			continue;
		handlers[i].fn = fn;
		handlers[i].arg = arg;
		return i;
	}
	wt_must(!fn);
	return UINT64_MAX;
}

/* ---- memory ---- */

void far_sync(void)
{
	for (struct twin *t = twins; t; t = t->next) {
		if (!t->handle)
			continue;
		far_begin(FAR_SYNC, (const uint64_t[FAR_ARGS]){ 0 }, true);
		far_ask();
		return;
	}
}

static struct twin *find_twin(const weft_mem *m)
{
	struct twin *t = m ? twins : NULL;

	while (t && t->mem != m)
		t = t->next;
	return t;
}

void far_twin_add(weft_ctx *ctx, weft_mem *m, void *addr, size_t len, uint32_t access, bool allocated)
{
	struct twin *t;

	for (int i = 0; sock >= 0 && i < CTXS; i++) {
		if (ctxs[i].ctx != ctx)
			continue;
		t = calloc(1, sizeof(*t));
		wt_must(t != NULL);
		*t = (struct twin){ .next = twins, .ctx = ctx, .mem = m, .addr = addr, .len = len, .access = access, .allocated = allocated };
		twins = t;
	}
}

bool far_has_twin(const weft_mem *m)
{
	struct twin *t = find_twin(m);

	return t && t->handle;
}

uint64_t far_twin(const weft_mem *m, const unsigned char **addr_out)
{
	struct twin *t = find_twin(m);
	uint64_t ctx;

	if (!t || t->near || !(ctx = far_ctx(t->ctx)))
		return 0;
	if (!t->handle) {
		t->then = calloc(1, t->len);
		wt_must(t->then != NULL);
		far_start(FAR_MEMORY, ctx, t->len, t->access, t->allocated, (uintptr_t)t->addr & 4095);
		t->handle = (uint64_t)far_ask();
		wt_must(t->handle != 0);
	}
	if (addr_out)
		*addr_out = t->addr;
	return t->handle;
}

int far_twin_free(const weft_mem *m)
{
	struct twin *t = find_twin(m);

	if (!t || !t->handle)
		return WEFT_OK;
	far_start(FAR_MEM_FREE, t->handle);
	return (int)far_ask();
}

void far_twin_forget(const weft_mem *m)
{
	for (struct twin **at = &twins, *t; (t = *at); at = &t->next) {
		if (t->mem != m)
			continue;
		*at = t->next;
		free(t->then);
		free(t);
		return;
	}
}

static void keep_near(weft_mem *m)
{
	struct twin *t = find_twin(m);

	if (t)
		t->near = true;
}

/* ---- contexts and workers, as tests/lib makes them ---- */

static void note_ctx(weft_ctx *ctx, const char *key, const char *value)
{
	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i].ctx)
			continue;
		memset(&ctxs[i], 0, sizeof(ctxs[i]));
		ctxs[i].ctx = ctx;
		ctxs[i].has_key = key;
		snprintf(ctxs[i].key, sizeof(ctxs[i].key), "%s", key ? key : "");
		snprintf(ctxs[i].value, sizeof(ctxs[i].value), "%s", value ? value : "");
		return;
	}
	wt_must(!"too many contexts in one case");
}

uint64_t far_ctx(weft_ctx *ctx)
{
	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i].ctx == ctx)
			return ctxs[i].handle;
	}
	return 0;
}

int far_ctx_close(weft_ctx *ctx)
{
	int ret;

	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i].ctx != ctx || !ctxs[i].handle)
			continue;
		far_start(FAR_CLOSE, ctxs[i].handle);
		ret = (int)far_ask();
		if (ret)
			return ret;
		ctxs[i].handle = 0;
	}
	return WEFT_OK;
}

void far_ctx_forget(weft_ctx *ctx)
{
	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i].ctx == ctx)
			ctxs[i].ctx = NULL;
	}
}

/* The first of a context is near, all others are far: the first connects, as far as there is a pair. */
static weft_worker *far_worker(weft_ctx *ctx, uint32_t flags)
{
	struct far_buf *b;
	int i = 0;

	while (i < CTXS && ctxs[i].ctx != ctx)
		i++;
	if (i == CTXS)
		return NULL;
	if (!ctxs[i].has_near) {
		ctxs[i].has_near = true;
		return NULL;
	}
	if (!ctxs[i].handle) {
		b = far_start(FAR_OPEN);
		far_put_text(b, ctxs[i].has_key ? ctxs[i].key : NULL);
		far_put_text(b, ctxs[i].value);
		ctxs[i].handle = (uint64_t)far_ask();
		wt_must(ctxs[i].handle != 0);
		is_split = true;
	}
	far_start(FAR_WORKER, ctxs[i].handle, flags);
	wt_must(far_ask() == WEFT_OK);
	return far_to(far_out[0]);
}

static size_t pump(weft_worker *w, weft_event *out, size_t cap)
{
	if (!far_is(w)) {
		wt_must(weft_progress(w) >= 0);
		return weft_reap(w, out, cap);
	}
	far_start(FAR_PUMP, far_of(w), cap);
	wt_must(far_ask() >= 0);
	return far_events(out, cap);
}

static int fd_count(void)
{
	if (sock < 0)
		return 0;
	far_start(FAR_FDS);
	return (int)far_ask();
}

static bool is_readable(weft_worker *w, int ms)
{
	far_start(FAR_READABLE, far_of(w), (uint64_t)ms);
	return far_ask() == 1;
}

/* ---- a case begins and ends ---- */

static void begin(void)
{
	static bool is_gone;
	struct far_buf *b;

	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); (sock = far_dial(where)) < 0 && !is_gone && wt_now_ns() < limit;)
		usleep(20000); /* it may be just starting */
	is_gone = sock < 0;              /* the cases after this one do not wait for it any more */
	if (is_gone)
		fprintf(stderr, "# nobody serves at %s\n", where);
	is_split = false;
	b = far_start(FAR_BEGIN);
	far_put_text(b, wt_variant->name);
	wt_must(far_ask() == 0);
}

/* False: the other side has something to complain of. */
static bool end(bool failed)
{
	bool good = true;

	cases_split += is_split;
	if (!failed && sock >= 0) {
		far_start(FAR_END);
		good = far_ask() == 0;
	}
	if (sock >= 0)
		close(sock);
	sock = -1;
	while (ams)
		far_am_free(ams->bytes);
	while (twins)
		far_twin_forget(twins->mem);
	memset(ctxs, 0, sizeof(ctxs));
	memset(handlers, 0, sizeof(handlers));
	has_last = false;
	return good;
}

const struct wt_far far_near = {
	.begin = begin, .end = end, .opened = note_ctx, .worker = far_worker, .pump = pump, .fd_count = fd_count,
	.is_far = far_is, .is_readable = is_readable, .keep_near = keep_near,
};
