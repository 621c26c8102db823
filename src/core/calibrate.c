/* SPDX-License-Identifier: BSD-3-Clause
 *
 * calibrate.c - how long the longest eager message should be, measured. For each transport with a setting eager_max_NAME
 * two links are made, each between two workers of a context of its own: one on which every length goes eager, one on which
 * every length goes by rendezvous. Messages of each length take turns on both. The calling thread does the work of either
 * side, so a figure is what a message costs both, in nanoseconds of one CPU. Through each protocol's figures goes a line,
 * fixed_ns + ns_per_kib: the cost model. Where the lines say so clearly, the threshold leaves its default.
 *
 * What one thread cannot see is said in docs/adr/0007-calibration.md, and is why neither transports to other hosts nor
 * copy_chunk are measured.
 */
#include <stdio.h>
#include <string.h>

#include "core/plan.h"
#include "os/conf_load.h"
#include "os/file.h"
#include "os/proc.h"

#define LEAST   1024u                    /* shortest length that is measured; no threshold goes below */
#define SIZES   10u                      /* lengths, each twice the one before */
#define BATCH   8u                       /* messages between two looks at the clock */
#define ROUNDS  3u                       /* at least, of all lengths: the first finds caches cold */
#define TURNS   1024u                    /* of waiting between two looks at the clock */
#define CLEAR   0.9                      /* a protocol is better when it costs less than this part of the other */
#define TEXT    8192u

enum { EAGER, RENDEZVOUS, PROTOCOLS };

static const char *const eager_max[PROTOCOLS] = { "1M", "64" };   /* the settings' ends */

struct link {                            /* two workers, which the caller's thread drives in turn */
	weft_ctx *ctx;
	weft_worker *w[2];
	weft_listener *listener;
	weft_ep *ep[2];
	void *buf[2];
};

struct model {
	double fixed_ns, ns_per_kib;
};

struct finding {
	const char *name, *key;          /* of the transport; of its threshold */
	uint64_t ns[PROTOCOLS][SIZES];   /* of one message: the best batch */
	struct model model[PROTOCOLS];
	size_t n;                        /* lengths that the lane can send eager */
	size_t def, chosen;
};

struct text {
	char at[TEXT];
	size_t len;
};

static void put(struct text *t, const char *fmt, ...) WF_PRINTF(2, 3);

static void put(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->at + t->len, TEXT - t->len, fmt, args);
	va_end(args);
	t->len = WF_MIN(t->len + (size_t)WF_MAX(n, 0), (size_t)TEXT - 1);
}

/* ---- a link ---- */

static int too_slow(void)
{
	return wf_fail(WEFT_ETIMEDOUT, 0, "weft_calibrate", "give it more", "the time was not enough to measure anything");
}

static int event_failed(const weft_event *e)
{
	weft_error why = *weft_event_error(e);

	return wf_fail(why.status, why.sys_errno, why.object, why.remedy, "%s", why.cause);
}

static int open_ctx(struct link *l, const struct weft_ctx *ctx, const struct finding *f, unsigned protocol)
{
	const char *const set[][2] = {
		{ "transports", f->name }, { "avoid", "" }, { "interfaces", "" }, { "listen_ports", "0" }, { "fault", "" },
		{ "calibration", "" }, { f->key, eager_max[protocol] },
	};
	struct wf_conf conf = ctx->conf;
	weft_config *c;
	int ret = 0;

	for (size_t i = 0; !ret && i < WF_ARRAY_LEN(set); i++)
		ret = wf_conf_set(&conf, set[i][0], set[i][1], WF_CONF_FROM_CODE, NULL);
	if (!ret)
		ret = wf_conf_wrap(&conf, &c);
	if (ret)
		return ret;
	ret = weft_open(c, &l->ctx);
	weft_config_free(c);
	for (unsigned side = 0; !ret && side < 2; side++)
		ret = weft_worker_new(l->ctx, NULL, &l->w[side]);
	return ret;
}

/* What came for either side. *@up: how many ends are connected. */
static int take_events(struct link *l, unsigned side, unsigned *up)
{
	weft_event e;
	int ret = weft_progress(l->w[side]);

	while (ret >= 0 && weft_reap(l->w[side], &e, 1)) {
		ret = WEFT_OK;
		if (e.kind == WEFT_EV_REQUEST)
			ret = weft_accept(e.data, l->w[side], NULL, &l->ep[side]);
		else if (e.kind == WEFT_EV_CONNECTED)
			++*up;
		else
			ret = event_failed(&e);
	}
	return ret < 0 ? ret : WEFT_OK;
}

static int connect_link(struct link *l, uint64_t until)
{
	char url[256];
	unsigned up = 0;
	int ret = weft_listen(l->w[1], "weft://127.0.0.1:0", NULL, &l->listener);

	if (!ret)
		ret = weft_listener_url(l->listener, url, sizeof(url));
	if (!ret)
		ret = weft_connect(l->w[0], url, NULL, &l->ep[0]);
	while (!ret && up < 2) {
		ret = take_events(l, 0, &up);
		if (!ret)
			ret = take_events(l, 1, &up);
		if (!ret && up < 2 && wf_now_ns() > until)
			ret = too_slow();
	}
	return ret;
}

static void close_link(struct link *l)
{
	if (l->listener)
		weft_listener_close(l->listener);
	for (unsigned side = 0; side < 2; side++)
		if (l->w[side])
			weft_worker_free(l->w[side]);
	if (l->ctx)
		weft_close(l->ctx);
	for (unsigned side = 0; side < 2; side++)
		wf_free(l->buf[side]);           /* nobody has them in use: the workers are gone */
}

static int open_link(struct link *l, const struct weft_ctx *ctx, const struct finding *f, unsigned protocol, uint64_t until)
{
	int ret = open_ctx(l, ctx, f, protocol);

	if (!ret)
		ret = connect_link(l, until);
	for (unsigned side = 0; !ret && side < 2; side++) {
		l->buf[side] = wf_malloc(LEAST << (SIZES - 1));
		if (!l->buf[side])
			return wf_fail(WEFT_ENOMEM, 0, "weft_calibrate", NULL, "no memory for messages");
		memset(l->buf[side], 1, LEAST << (SIZES - 1));   /* the pages are there before the clock runs */
	}
	return ret;
}

/* ---- measuring ---- */

/* One more turn for an operation that answered @ret; its worker is driven in any case, for the sake of the other side. */
static int turn(weft_worker *w, int ret, weft_call *c)
{
	if (ret != WEFT_PENDING) {
		weft_progress(w);
		return ret;
	}
	ret = weft_test(w, c->op, &c->event);
	return ret == WEFT_AGAIN ? WEFT_PENDING : ret;
}

static int send_one(struct link *l, size_t len, uint64_t until)
{
	weft_call in = { .size = sizeof(in), .flags = WEFT_BY_HANDLE }, out = in;
	weft_buf to = { .addr = l->buf[1], .len = len }, from = { .addr = l->buf[0], .len = len };
	int got = weft_recv(l->w[1], &to, 1, 0, 0, &in), sent;

	if (got < 0)
		return got;
	sent = weft_send(l->ep[0], &from, 1, 0, &out);
	for (unsigned n = 1; sent >= 0 && got >= 0 && (sent == WEFT_PENDING || got == WEFT_PENDING); n++) {
		sent = turn(l->w[0], sent, &out);
		got = turn(l->w[1], got, &in);
		if (n % TURNS == 0 && wf_now_ns() > until)
			return too_slow();
	}
	if (sent < 0 || got < 0)
		return sent < 0 ? sent : got;
	if (out.event.status < 0)
		return event_failed(&out.event);
	return in.event.status < 0 ? event_failed(&in.event) : WEFT_OK;
}

/* Every length by either protocol, once. */
static int measure_round(struct finding *f, struct link *link, uint64_t until)
{
	for (size_t i = 0; i < f->n; i++) {
		for (unsigned p = 0; p < PROTOCOLS; p++) {
			uint64_t start = wf_now_ns(), ns;

			for (unsigned k = 0; k < BATCH; k++) {
				int ret = send_one(&link[p], (size_t)LEAST << i, until);

				if (ret)
					return ret;
			}
			ns = (wf_now_ns() - start) / BATCH;
			if (!f->ns[p][i] || ns < f->ns[p][i])
				f->ns[p][i] = WF_MAX(ns, 1u);
		}
		if (wf_now_ns() > until)
			return too_slow();
	}
	return WEFT_OK;
}

/* Until @enough, at the latest @until. */
static int measure(struct finding *f, struct link *link, uint64_t enough, uint64_t until)
{
	unsigned rounds = 0;
	int ret;

	while (f->n < SIZES && (size_t)LEAST << f->n <= link[EAGER].ep[0]->msg->eager_max)
		f->n++;
	do
		ret = measure_round(f, link, until);
	while (!ret && (++rounds < ROUNDS || wf_now_ns() < enough));
	return ret == WEFT_ETIMEDOUT && rounds >= ROUNDS ? WEFT_OK : ret;
}

/* ---- what the figures say ---- */

/* Least squares of the relative error: each length counts alike. */
static struct model fit(const uint64_t *ns, size_t n)
{
	double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
	struct model m = { .fixed_ns = 0 };

	for (size_t i = 0; i < n; i++) {
		double x = (double)(LEAST << i) / 1024, y = (double)ns[i], weight = 1 / (y * y);

		s += weight;
		sx += weight * x;
		sy += weight * y;
		sxx += weight * x * x;
		sxy += weight * x * y;
	}
	m.ns_per_kib = n > 1 ? (s * sxy - sx * sy) / (s * sxx - sx * sx) : 0;
	m.ns_per_kib = WF_MAX(m.ns_per_kib, 0.0);
	m.fixed_ns = WF_MAX((sy - m.ns_per_kib * sx) / s, 0.0);
	return m;
}

static double cost(const struct finding *f, unsigned protocol, size_t len)
{
	return f->model[protocol].fixed_ns + f->model[protocol].ns_per_kib * (double)len / 1024;
}

/* From the default on, by factors of two, as long as messages that change sides are clearly better off. */
static void choose(struct finding *f)
{
	size_t most = (size_t)LEAST << (f->n - 1);

	for (unsigned p = 0; p < PROTOCOLS; p++)
		f->model[p] = fit(f->ns[p], f->n);
	f->chosen = f->def;
	while (f->chosen * 2 <= most && cost(f, EAGER, f->chosen * 2) < CLEAR * cost(f, RENDEZVOUS, f->chosen * 2))
		f->chosen *= 2;
	if (f->chosen > f->def)
		return;
	while (f->chosen / 2 >= LEAST && cost(f, RENDEZVOUS, f->chosen) < CLEAR * cost(f, EAGER, f->chosen))
		f->chosen /= 2;
}

static void put_finding(const struct finding *f, struct text *t)
{
	struct wf_conf conf;
	char value[24];
	int i = wf_conf_find(f->key);

	put(t, "#\n# %s: ns for one message, the work of both sides\n#      bytes      eager  rendezvous  goes\n", f->name);
	for (size_t k = 0; k < f->n; k++)
		put(t, "# %10zu %10llu %11llu  %s\n", (size_t)LEAST << k, (unsigned long long)f->ns[EAGER][k],
		    (unsigned long long)f->ns[RENDEZVOUS][k], (size_t)LEAST << k <= f->chosen ? "eager" : "rendezvous");
	wf_conf_defaults(&conf);
	snprintf(value, sizeof(value), "%zu", f->chosen);
	wf_conf_set(&conf, f->key, value, WF_CONF_FROM_CALIBRATION, NULL);
	wf_conf_format(&conf, (size_t)i, value, sizeof(value));
	put(t, "%s = %s # eager %.0f ns + %.1f ns/KiB, rendezvous %.0f ns + %.1f ns/KiB%s\n", f->key, value,
	    f->model[EAGER].fixed_ns, f->model[EAGER].ns_per_kib, f->model[RENDEZVOUS].fixed_ns,
	    f->model[RENDEZVOUS].ns_per_kib, f->chosen == f->def ? "; the default is kept" : "");
}

/* ---- the whole ---- */

static int find(const struct weft_ctx *ctx, struct finding *f, unsigned i, uint64_t enough, uint64_t until)
{
	struct link link[PROTOCOLS];
	struct wf_why why;
	int ret = WEFT_OK;

	wf_why_not(ctx, i, &why);
	if (why.why[0])
		return wf_fail(WEFT_ENOTSUP, 0, f->name, why.remedy[0] ? why.remedy : NULL, "%s", why.why);
	memset(link, 0, sizeof(link));
	for (unsigned p = 0; !ret && p < PROTOCOLS; p++)
		ret = open_link(&link[p], ctx, f, p, until);
	if (!ret)
		ret = measure(f, link, enough, until);
	for (unsigned p = 0; p < PROTOCOLS; p++)
		close_link(&link[p]);
	if (!ret)
		choose(f);
	return ret;
}

/* Of transport @i: its threshold, and where it stands by default; false: it has none. */
static bool threshold_of(const struct weft_ctx *ctx, unsigned i, struct finding *f)
{
	const struct wf_transport *tr = ctx->tr[i].tr;
	const struct wf_conf_row *row;
	struct wf_conf conf;
	char key[40];

	snprintf(key, sizeof(key), "eager_max_%s", tr->name);
	if (wf_conf_find(key) < 0 || wf_conf_list((size_t)wf_conf_find(key), &row))
		return false;
	wf_conf_defaults(&conf);
	*f = (struct finding){ .name = tr->name, .key = row->key };
	memcpy(&f->def, (const char *)&conf + row->offset, sizeof(f->def));
	return true;
}

/* Are both of its ends on this host? */
static bool is_local(const struct weft_ctx *ctx, unsigned i)
{
	return !(ctx->tr[i].tr->caps & WF_CAP_BOOTSTRAP);
}

/* Measures every transport of this host. @found: how many were. Fails as the last one did when none was. */
static int find_all(const struct weft_ctx *ctx, struct text *t, uint64_t start, uint64_t budget)
{
	unsigned n = 0, tried = 0, found = 0;
	struct finding f;
	int ret = WEFT_OK;

	for (unsigned i = 0; i < ctx->n_tr; i++)
		n += threshold_of(ctx, i, &f) && is_local(ctx, i);
	for (unsigned i = 0; i < ctx->n_tr; i++) {
		char line[700];

		if (!threshold_of(ctx, i, &f))
			continue;
		if (!is_local(ctx, i)) {
			put(t, "#\n# %s: not measured: one thread cannot be two hosts\n", f.name);
			continue;
		}
		tried++;
		ret = find(ctx, &f, i, start + budget / 10 * 9 / n * tried, start + budget);
		if (!ret) {
			found++;
			put_finding(&f, t);
			continue;
		}
		weft_error_text(weft_last_error(), line, sizeof(line));
		put(t, "#\n# %s: not measured: %s\n", f.name, line);
	}
	return found ? WEFT_OK : ret;
}

int weft_calibrate(weft_ctx *ctx, const char *path, uint64_t budget_ns)
{
	uint64_t start = wf_now_ns();
	char machine[200], day[16];
	struct text *t;
	int ret;

	if (!ctx || !path || !*path || !budget_ns)
		return wf_fail(WEFT_EINVAL, 0, "weft_calibrate", NULL, "a NULL argument, no path or no time");
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	t = wf_calloc(1, sizeof(*t));
	if (!t)
		return wf_fail(WEFT_ENOMEM, 0, "weft_calibrate", NULL, "no memory");
	put(t, "# Thresholds of weft, measured by weft_calibrate() of version %d.%d.%d on %s.\n", WEFT_VERSION_MAJOR,
	    WEFT_VERSION_MINOR, WEFT_VERSION_PATCH, wf_today(day, sizeof(day)));
	put(t, "# Machine: %s\n# Used where the setting calibration names this file.\n",
	    wf_machine(machine, sizeof(machine)));
	ret = find_all(ctx, t, start, WF_MIN(budget_ns, UINT64_MAX - start));
	if (!ret) {
		int err = -wf_file_replace(path, t->at, t->len);

		if (err)
			ret = wf_fail(wf_status_of_errno(err), err, path, "name a file in a folder that may be written",
				      "the calibration cannot be stored");
	}
	wf_free(t);
	return ret;
}
