/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt.c - variants, contexts, driven workers and their events, posting.
 */
#include "lib/wt.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/wt_inside.h"

#define CTXS    8
#define WORKERS 64
#define CASE_LIMIT_S 90

const struct wt_variant wt_variants[] = {
	{ .name = "loop", .transport = "loop" },
	{ .name = "shm", .transport = "shm", .processes = true },
	{ .name = "tcp", .transport = "tcp", .processes = true },
	{ .name = "shm-ring", .transport = "shm", .key = "cma", .value = "no", .processes = true },
	{ .name = "faulty:shm", .transport = "shm", .key = "fault", .value = "seed=7,delay_us=50", .processes = true, .slow = true },
	{ .name = "faulty:tcp", .transport = "tcp", .key = "fault", .value = "seed=7,delay_us=50", .processes = true, .slow = true },
	{ .name = "verbs", .transport = "verbs", .processes = true },
	{ .name = "verbs-rails", .transport = "verbs", .processes = true },   /* two devices */
	{ .name = "verbs-nosrq", .transport = "verbs", .processes = true },   /* a device without shared receive queues */
	{ .name = "ofi-tcp", .transport = "ofi", .by = "FI_PROVIDER", .provider = "tcp;ofi_rxm", .processes = true },
	{ .name = "ofi-shm", .transport = "ofi", .by = "FI_PROVIDER", .provider = "shm", .processes = true, .naps = true },
	{ .name = "ucx-tcp", .transport = "ucx", .by = "UCX_TLS", .provider = "tcp", .processes = true },
	{ .name = "ucx-shm", .transport = "ucx", .by = "UCX_TLS", .provider = "posix,cma", .processes = true },
	{ .name = NULL },
};

const struct wt_variant *wt_variant;
const struct wt_far *wt_far;

#ifdef __SANITIZE_ADDRESS__
/* Workers of UCX's that cannot be ended (WT_KEPT_WORKERS). */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libuct.so\nleak:libucs.so\nleak:libucp.so\n";
}
#endif

static weft_ctx *ctxs[CTXS];
static struct wt_w *workers[WORKERS];
static uint64_t next_id;
static int fds_before;
static bool fds_may_stay;

bool wt_choose(const char *name)
{
	for (const struct wt_variant *v = wt_variants; v->name; v++) {
		if (!strcmp(v->name, name)) {
			wt_variant = v;
			if (v->provider)
				setenv(v->by, v->provider, 1);
#ifdef __SANITIZE_THREAD__
			setenv("FI_OFI_RXM_BUFFER_SIZE", "4096", 0); /* it writes to thousands of them for each endpoint */
#endif
			return true;
		}
	}
	return false;
}

/* In a process of its own: libraries that are loaded for it may not be loaded where cases fork. */
static int say_why_not(int sock, void *arg)
{
	char text[16384], want[40], why[200] = "", *at, *end;
	size_t len = sizeof(text);
	weft_config *c = wt_config();
	weft_ctx *ctx;

	(void)arg;
	wt_must(weft_open(c, &ctx) == WEFT_OK);
	weft_config_free(c);
	wt_must(weft_explain(ctx, NULL, NULL, 0, text, &len) == WEFT_OK);
	wt_must(weft_close(ctx) == WEFT_OK);
	snprintf(want, sizeof(want), " %-5s unusable: ", wt_variant->transport);
	at = strstr(text, want);
	if (at) {
		at += strlen(want);
		end = strchr(at, '\n');
		snprintf(why, sizeof(why), "%.*s", end ? (int)(end - at) : (int)strlen(at), at);
	}
	return wt_say(sock, why, sizeof(why)) ? 0 : 1;
}

bool wt_works(char *why, size_t cap)
{
	struct wt_child child;
	char said[200] = "";

	if (!wt_variant->provider)
		return true;
	wt_child_start(&child, say_why_not, NULL);
	if (!wt_hear(child.sock, said, sizeof(said)))
		snprintf(said, sizeof(said), "the process that tried to use it said nothing");
	wt_child_wait(&child, WT_LIMIT_MS);
	snprintf(why, cap, "%s", said);
	return !said[0];
}

bool wt_is(const char *transport)
{
	return !strcmp(wt_variant->transport, transport);
}

size_t wt_rounds(size_t n)
{
#ifdef __SANITIZE_THREAD__
	n /= 10;
#endif
	if (getenv("WEFT_TEST_EMULATED"))
		n /= 4;
	if (wt_far) /* each call is a trip */
		n /= 20;
	return (wt_variant->slow ? n / 20 : n) + 1;
}

/* ---- contexts ---- */

weft_config *wt_config(void)
{
	weft_config *c;

	wt_must(weft_config_new(&c) == WEFT_OK);
	wt_must(weft_config_set(c, "transports", wt_variant->transport) == WEFT_OK);
	if (wt_variant->key)
		wt_must(weft_config_set(c, wt_variant->key, wt_variant->value) == WEFT_OK);
	return c;
}

weft_ctx *wt_open_own(const char *key, const char *value)
{
	weft_config *c = wt_config();
	weft_ctx *ctx;

	if (key)
		wt_must(weft_config_set(c, key, value) == WEFT_OK);
	wt_must(weft_open(c, &ctx) == WEFT_OK);
	weft_config_free(c);
	return ctx;
}

weft_ctx *wt_open(const char *key, const char *value)
{
	weft_ctx *ctx = wt_open_own(key, value);

	if (wt_far)
		wt_far->opened(ctx, key, value);
	for (int i = 0; i < CTXS; i++) {
		if (!ctxs[i]) {
			ctxs[i] = ctx;
			return ctx;
		}
	}
	wt_must(!"too many contexts in one case");
	return NULL;
}

void wt_close(weft_ctx *ctx)
{
	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i] == ctx)
			ctxs[i] = NULL;
	}
	wt_must(weft_close(ctx) == WEFT_OK);
}

/* ---- driven workers ---- */

struct wt_w *wt_worker(weft_ctx *ctx, uint32_t flags)
{
	weft_worker_opts o = { .size = sizeof(o), .flags = flags };
	struct wt_w *w = calloc(1, sizeof(*w));

	wt_must(w != NULL);
	w->w = wt_far ? wt_far->worker(ctx, flags) : NULL;
	if (!w->w)
		wt_must(weft_worker_new(ctx, &o, &w->w) == WEFT_OK);
	for (int i = 0; i < WORKERS; i++) {
		if (!workers[i]) {
			workers[i] = w;
			return w;
		}
	}
	wt_must(!"too many workers in one case");
	return NULL;
}

static int worker_end(struct wt_w *w)
{
	int ret;

	for (int i = 0; i < WORKERS; i++) {
		if (workers[i] == w)
			workers[i] = NULL;
	}
	ret = weft_worker_free(w->w);
	free(w->ev);
	free(w);
	return ret;
}

void wt_worker_free(struct wt_w *w)
{
	wt_must(worker_end(w) == WEFT_OK);
}

static void keep(struct wt_w *w, const weft_event *e)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 64;
		w->ev = realloc(w->ev, w->cap * sizeof(*w->ev));
		wt_must(w->ev != NULL);
	}
	w->ev[w->n++] = *e;
}

static size_t pump_one(struct wt_w *w)
{
	weft_event ev[64];
	size_t n, all = 0;

	if (!wt_far)
		wt_must(weft_progress(w->w) >= 0);
	do {
		n = wt_far ? wt_far->pump(w->w, ev, 64) : weft_reap(w->w, ev, 64);
		for (size_t i = 0; i < n; i++)
			keep(w, &ev[i]);
		all += n;
	} while (n == 64);
	return all;
}

void wt_relax(bool busy)
{
	static unsigned idle;

	idle = busy ? 0 : idle + 1;
	if (idle > 50)
		wt_idle();
}

void wt_pump(void)
{
	size_t n = 0;

	for (int i = 0; i < WORKERS; i++) {
		if (workers[i])
			n += pump_one(workers[i]);
	}
	wt_relax(n > 0);
}

void wt_pump_ms(unsigned ms)
{
	uint64_t end = wt_in_ms(ms);

	while (wt_now_ns() < end)
		wt_pump();
}

bool wt_readable(weft_worker *w, int timeout_ms)
{
	struct pollfd pfd = { .events = POLLIN };

	if (wt_far && wt_far->is_far(w))
		return wt_far->is_readable(w, timeout_ms);
	pfd.fd = weft_worker_fd(w);
	return poll(&pfd, 1, timeout_ms) == 1;
}

void wt_mem_of_0(weft_mem *m)
{
	if (wt_far)
		wt_far->keep_near(m);
}

static bool is_wanted(const weft_event *e, uint32_t kind, uint64_t user_data)
{
	return (!kind || e->kind == kind) && (user_data == UINT64_MAX || e->user_data == user_data);
}

bool wt_take(struct wt_w *w, uint32_t kind, uint64_t user_data, weft_event *out)
{
	for (size_t i = 0; i < w->n; i++) {
		if (!is_wanted(&w->ev[i], kind, user_data))
			continue;
		*out = w->ev[i];
		memmove(&w->ev[i], &w->ev[i + 1], (--w->n - i) * sizeof(*w->ev));
		return true;
	}
	return false;
}

size_t wt_count(struct wt_w *w, uint32_t kind)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += w->ev[i].kind == kind;
	return n;
}

/* Says what there was instead: an event that nobody expected, of whichever side, explains most failures. */
static void say_kept(struct wt_w *waiting)
{
	char text[600];

	for (int k = 0; k < WORKERS; k++) {
		struct wt_w *w = workers[k];

		for (size_t i = 0; w && i < w->n && i < 8; i++) {
			weft_error_text(weft_event_error(&w->ev[i]), text, sizeof(text));
			fprintf(stderr, "# kept%s: kind %u user_data %llu status %s: %s\n", w == waiting ? "" : " elsewhere", w->ev[i].kind,
				(unsigned long long)w->ev[i].user_data, weft_status_name(w->ev[i].status), text);
		}
	}
}

weft_event wt_wait(struct wt_w *w, uint32_t kind, uint64_t user_data, unsigned ms)
{
	uint64_t limit = wt_in_ms(wt_slow(ms));
	weft_event e = { 0 };

	while (!wt_take(w, kind, user_data, &e)) {
		wt_pump();
		if (wt_now_ns() >= limit && !wt_take(w, kind, user_data, &e)) {
			fprintf(stderr, "# waited %u ms for an event of kind %u, user_data %llu\n", ms, kind,
				(unsigned long long)user_data);
			say_kept(w);
			wt_must(!"the event came in time");
		}
	}
	return e;
}

void wt_wait_count(struct wt_w *w, uint32_t kind, size_t n, unsigned ms)
{
	uint64_t limit = wt_in_ms(wt_slow(ms));

	while (wt_count(w, kind) < n) {
		wt_pump();
		if (wt_now_ns() < limit)
			continue;
		fprintf(stderr, "# waited %u ms for %zu events of kind %u, have %zu\n", ms, n, kind, wt_count(w, kind));
		say_kept(w);
		wt_must(!"the events came in time");
	}
}

/* ---- posting ---- */

weft_call wt_call(uint32_t flags)
{
	return (weft_call){ .size = sizeof(weft_call), .flags = flags, .user_data = ++next_id };
}

struct wt_posted wt_took(struct wt_w *w, int ret, weft_call *c)
{
	struct wt_posted p = { .ret = ret, .id = c->user_data, .op = c->op };

	if (ret < 0)
		fprintf(stderr, "# refused: %s\n", weft_status_name(ret));
	wt_must(ret == WEFT_OK || ret == WEFT_PENDING);
	if (ret == WEFT_OK)
		keep(w, &c->event);
	return p;
}

weft_event wt_done(struct wt_w *w, struct wt_posted p)
{
	return wt_wait(w, WEFT_EV_OP, p.id, WT_LIMIT_MS);
}

static void say_status(const weft_event *e, int32_t wanted)
{
	char text[400];

	weft_error_text(weft_event_error(e), text, sizeof(text));
	fprintf(stderr, "# status %s, wanted %s: %s\n", weft_status_name(e->status),
		wanted ? weft_status_name(wanted) : "0", text);
}

weft_event wt_ok(struct wt_w *w, struct wt_posted p)
{
	weft_event e = wt_done(w, p);

	if (e.status) {
		say_status(&e, 0);
		say_kept(w);
	}
	wt_must(e.status == 0);
	return e;
}

void wt_fails(struct wt_w *w, struct wt_posted p, int32_t status)
{
	weft_event e = wt_done(w, p);

	if (e.status != status) {
		say_status(&e, status);
		say_kept(w);
	}
	wt_must(e.status == status);
}

bool wt_is_pending(struct wt_w *w, struct wt_posted p)
{
	wt_pump();
	for (size_t i = 0; i < w->n; i++) {
		if (is_wanted(&w->ev[i], WEFT_EV_OP, p.id))
			return false;
	}
	return true;
}

/* ---- setup and teardown ---- */

static void on_time(int sig)
{
	static const char text[] = "# a case went beyond its time limit\n";

	(void)sig;
	(void)!write(2, text, sizeof(text) - 1);
	_exit(99);
}

static unsigned case_limit_s(void)
{
	return wt_slow(CASE_LIMIT_S) * (getenv("WEFT_TEST_LONG") ? 20 : 1);
}

int wt_setup(void **state)
{
	(void)state;
	signal(SIGALRM, on_time);
	alarm(case_limit_s());
	if (wt_far)
		wt_far->begin();
	fds_before = wt_fds_here();
	fds_may_stay = false;
	return 0;
}

void wt_provider_keeps_fds(const char *variant, const char *why)
{
	if (strncmp(wt_variant->name, variant, strlen(variant)))
		return;
	fds_may_stay = true;
	printf("# descriptors are not counted: %s\n", why);
}

void wt_forget(void)
{
	memset(workers, 0, sizeof(workers));
	memset(ctxs, 0, sizeof(ctxs));
}

/* librdmacm keeps devices open that it has met, until the process ends (G84). Was it loaded in the case that is over? */
bool wt_fds_may_stay(void)
{
	static bool known;
	bool before = known;
	void *lib = dlopen("librdmacm.so.1", RTLD_LAZY | RTLD_NOLOAD);

	known = lib;
	if (lib)
		dlclose(lib);
	return known && !before;
}

static bool end_leftovers(void)
{
	bool left = false;

	for (int i = 0; i < WORKERS; i++) {
		if (workers[i]) {
			left = true;
			worker_end(workers[i]);
		}
	}
	for (int i = 0; i < CTXS; i++) {
		if (ctxs[i]) {
			left = true;
			weft_close(ctxs[i]);
			ctxs[i] = NULL;
		}
	}
	return left;
}

int wt_teardown(void **state)
{
	bool left, good;
	int fds;

	(void)state;
	alarm(case_limit_s());
	wt_kill_children();
	left = end_leftovers();
	fds = left ? fds_before : wt_fds_here();
	good = fds == fds_before || fds_may_stay || wt_fds_may_stay();
	if (!good) {
		print_error("%d descriptors before the case, %d after it:\n", fds_before, fds);
		wt_print_fds();
	}
	if (wt_far)
		good = wt_far->end(left) && good;
	alarm(0);
	return good ? 0 : -1;
}

void wt_says(const weft_event *e, const char *part)
{
	char text[1200];

	weft_error_text(weft_event_error(e), text, sizeof(text));
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}
