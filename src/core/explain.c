/* SPDX-License-Identifier: BSD-3-Clause
 *
 * explain.c - how things go and why not otherwise, as text and as JSON: of the library (transports, settings), of an
 * endpoint (its lane, the plan by length and memory, what was not used and why), of a URL that one might connect to. What
 * the plan is and why a transport is not used: plan.c.
 */
#include <stdio.h>
#include <string.h>

#include "core/plan.h"
#include "core/renew.h"
#include "os/addr.h"

#define LANE_TEXT 600                    /* what a transport says of a lane: four rails, and what is unusual about each */

struct text {                            /* grows in the caller's buffer, counts on past its end */
	char *out;
	size_t cap, len;
};

static void put(struct text *t, const char *fmt, ...) WF_PRINTF(2, 3);

static void put(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->len < t->cap ? t->out + t->len : NULL, t->len < t->cap ? t->cap - t->len : 0, fmt, args);
	va_end(args);
	if (n > 0)
		t->len += (size_t)n;
}

/* ---- the library ---- */

static const char *tr_state(const struct weft_ctx *ctx, unsigned i)
{
	if (ctx->tr[i].status)
		return "unusable";
	if (!wf_transport_is_named(&ctx->conf, ctx->tr[i].tr, NULL))
		return "not asked for";
	return wf_transport_allowed(ctx, i, NULL) ? "ready" : "not allowed by the settings";
}

static void why_text(const struct wf_why *why, struct text *t)
{
	put(t, "%s%s%s%s%s\n", why->why[0] ? ": " : "", why->why, why->remedy[0] ? " (" : "", why->remedy, why->remedy[0] ? ")" : "");
}

static void tr_text(const struct weft_ctx *ctx, unsigned i, struct text *t)
{
	struct wf_why why;

	wf_why_not(ctx, i, &why);
	put(t, "  %u %-5s %s", i + 1, ctx->tr[i].tr->name, tr_state(ctx, i));
	why_text(&why, t);
}

/* Of an object that the caller opens and closes. */
static void tr_json(const struct weft_ctx *ctx, unsigned i, struct wf_json *j)
{
	struct wf_why why;

	wf_why_not(ctx, i, &why);
	wf_json_kv_u64(j, "path", i + 1);
	wf_json_kv_str(j, "name", ctx->tr[i].tr->name);
	wf_json_kv_str(j, "state", tr_state(ctx, i));
	wf_json_kv_str(j, "why", why.why);
	wf_json_kv_str(j, "remedy", why.remedy);
}

/* How threshold @n was found; NULL: it was not measured, or something else set it. */
static const char *measured(const struct wf_conf *conf, size_t n)
{
	return conf->origin[wf_conf_find(wf_conf_threshold(n))] == WF_CONF_FROM_CALIBRATION ? conf->measured[n] : NULL;
}

static void thresholds_text(const struct wf_conf *conf, struct text *t)
{
	char value[WF_CONF_TEXT];
	const char *key;

	put(t, "thresholds, %s%s:\n", conf->calibration[0] ? "calibrated by " : "none measured (see weft calibrate)", conf->calibration);
	for (size_t n = 0; (key = wf_conf_threshold(n)); n++) {
		int i = wf_conf_find(key);
		const char *how = measured(conf, n);

		wf_conf_format(conf, (size_t)i, value, sizeof(value));
		put(t, "  %-18s %-8s %-10s %s\n", key, value, wf_conf_origin_name(conf->origin[i]), how ? how : "");
	}
}

static void thresholds_json(const struct wf_conf *conf, struct wf_json *j)
{
	char value[WF_CONF_TEXT];
	const char *key;

	wf_json_key(j, "thresholds");
	wf_json_obj_open(j);
	for (size_t n = 0; (key = wf_conf_threshold(n)); n++) {
		int i = wf_conf_find(key);

		wf_conf_format(conf, (size_t)i, value, sizeof(value));
		wf_json_key(j, key);
		wf_json_obj_open(j);
		wf_json_kv_str(j, "value", value);
		wf_json_kv_str(j, "origin", wf_conf_origin_name(conf->origin[i]));
		wf_json_kv_str(j, "measured", measured(conf, n));
		wf_json_obj_close(j);
	}
	wf_json_obj_close(j);
}

static void ctx_text(const struct weft_ctx *ctx, struct text *t)
{
	const struct wf_conf_row *row;
	char value[WF_CONF_TEXT];

	put(t, "weft %d.%d.%d\ntransports, in order of preference:\n", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
	for (unsigned i = 0; i < ctx->n_tr; i++)
		tr_text(ctx, i, t);
	put(t, "settings:\n");
	for (size_t i = 0; !wf_conf_list(i, &row); i++) {
		wf_conf_format(&ctx->conf, i, value, sizeof(value));
		put(t, "  %-18s %-24s %-10s %s\n", row->key, value[0] ? value : "-",
		    wf_conf_origin_name(ctx->conf.origin[i]), row->sentence);
	}
	thresholds_text(&ctx->conf, t);
}

static void ctx_json(const struct weft_ctx *ctx, struct wf_json *j)
{
	const struct wf_conf_row *row;
	char value[WF_CONF_TEXT];

	snprintf(value, sizeof(value), "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
	wf_json_obj_open(j);
	wf_json_kv_str(j, "version", value);
	wf_json_key(j, "transports");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < ctx->n_tr; i++) {
		wf_json_obj_open(j);
		tr_json(ctx, i, j);
		wf_json_obj_close(j);
	}
	wf_json_arr_close(j);
	wf_json_key(j, "settings");
	wf_json_obj_open(j);
	for (size_t i = 0; !wf_conf_list(i, &row); i++) {
		wf_conf_format(&ctx->conf, i, value, sizeof(value));
		wf_json_key(j, row->key);
		wf_json_obj_open(j);
		wf_json_kv_str(j, "value", value);
		wf_json_kv_str(j, "origin", wf_conf_origin_name(ctx->conf.origin[i]));
		wf_json_kv_str(j, "what", row->sentence);
		wf_json_obj_close(j);
	}
	wf_json_obj_close(j);
	thresholds_json(&ctx->conf, j);
	wf_json_obj_close(j);
}

/* ---- the plan ---- */

static void plan_text(const struct wf_conf *conf, const struct wf_transport *tr, const struct wf_lane *l, struct text *t)
{
	struct wf_plan_row row[WF_PLAN_ROWS];
	unsigned n = wf_plan(conf, tr, l, row);
	char lengths[48];

	for (unsigned i = 0; i < n; i++) {
		const struct wf_plan_row *r = &row[i];

		if (r->to == UINT64_MAX)
			snprintf(lengths, sizeof(lengths), "%llu ..", (unsigned long long)r->from);
		else
			snprintf(lengths, sizeof(lengths), "%llu .. %llu", (unsigned long long)r->from, (unsigned long long)r->to);
		put(t, "    %-13s %-19s %s, %s%s%s%s\n", lengths, wf_plan_memory(r->memory), r->protocol, r->way,
		    r->because[0] ? " [" : "", r->because, r->because[0] ? "]" : "");
	}
}

static void memory_json(unsigned memory, struct wf_json *j)
{
	static const char *const names[] = { "plain", "registered", "weft_mem_alloc" };

	wf_json_key(j, "memory");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < WF_ARRAY_LEN(names); i++)
		if (memory & 1u << i)
			wf_json_str(j, names[i]);
	wf_json_arr_close(j);
}

static void plan_json(const struct wf_conf *conf, const struct wf_transport *tr, const struct wf_lane *l, struct wf_json *j)
{
	struct wf_plan_row row[WF_PLAN_ROWS];
	unsigned n = wf_plan(conf, tr, l, row);

	wf_json_key(j, "plan");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < n; i++) {
		wf_json_obj_open(j);
		wf_json_kv_u64(j, "from", row[i].from);
		wf_json_key(j, "to");
		if (row[i].to == UINT64_MAX)
			wf_json_null(j);
		else
			wf_json_u64(j, row[i].to);
		memory_json(row[i].memory, j);
		wf_json_kv_str(j, "protocol", row[i].protocol);
		wf_json_kv_str(j, "way", row[i].way);
		wf_json_kv_str(j, "because", row[i].because);
		wf_json_obj_close(j);
	}
	wf_json_arr_close(j);
}

/* ---- an endpoint ---- */

static const char *ep_state(const struct weft_ep *ep)
{
	static const char *const names[] = { "connecting", "ready", "down", "gone" };

	return ep->dying ? "down" : names[ep->state];
}

static const char *rma_way(const struct weft_ep *ep)
{
	if (!ep->msg->tr->mem_offer)
		return "by frames, the peer's progress executes them";
	return "direct where the memory allows, else by frames";
}

static void so_far_text(const struct weft_ep *ep, struct text *t)
{
	const struct wf_lane *l = ep->msg;

	put(t, "  so far: %llu messages sent, %llu received; %llu eager, %llu rendezvous, %llu copied in place, %llu direct\n",
	    (unsigned long long)ep->n_tx_msgs, (unsigned long long)ep->n_rx_msgs, (unsigned long long)ep->n_eager,
	    (unsigned long long)ep->n_rndv, (unsigned long long)ep->n_copy, (unsigned long long)ep->n_direct);
	if (ep->renew)
		put(t, "  connections for messages that broke: %llu, made again: %llu; the last broke for: %s\n",
		    (unsigned long long)ep->n_breaks, (unsigned long long)ep->n_renewed, ep->renew->cause);
	if (l->copy_us || l->copy_peer)
		put(t, "  copied so far: %llu bytes here, %llu by the peer\n", (unsigned long long)l->copy_us,
		    (unsigned long long)l->copy_peer);
}

static void rejected_text(const struct weft_ep *ep, struct text *t)
{
	struct wf_why why;

	for (unsigned i = 0; i < ep->w->ctx->n_tr; i++) {
		if (!wf_why_not_here(ep, i, &why))
			continue;
		put(t, "  not used: %s", ep->w->ctx->tr[i].tr->name);
		why_text(&why, t);
	}
}

static void ep_text(const struct weft_ep *ep, struct text *t)
{
	const struct wf_lane *l = ep->msg;
	char line[LANE_TEXT] = "";

	put(t, "endpoint %u to %s: %s\n", ep->id, ep->peer[0] ? ep->peer : "(not connected)", ep_state(ep));
	if (ep->why)
		put(t, "  why: %s (%s)\n", ep->why->e.cause, weft_status_name(ep->status));
	if (l) {
		l->tr->describe(l, line, sizeof(line));
		put(t, "  messages: path %u, %s: %s\n", ep->path, l->tr->name, line);
		put(t, "  by length, and memory at the sender:\n");
		plan_text(&ep->w->ctx->conf, l->tr, l, t);
		if (ep->pressure)
			put(t, "  now: the peer has no room for unexpected messages, so short ones go by rendezvous, too\n");
		put(t, "  one-sided: %s; atomics: the CPU's, one executor\n", rma_way(ep));
		put(t, "  neither encrypted nor authenticated\n");
		if (l->why[0])
			put(t, "  could be better: %s%s%s\n", l->why, l->remedy[0] ? "; " : "", l->remedy);
		so_far_text(ep, t);
	}
	rejected_text(ep, t);
}

static void rejected_json(const struct weft_ep *ep, struct wf_json *j)
{
	struct wf_why why;

	wf_json_key(j, "rejected");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < ep->w->ctx->n_tr; i++) {
		if (!wf_why_not_here(ep, i, &why))
			continue;
		wf_json_obj_open(j);
		wf_json_kv_str(j, "name", ep->w->ctx->tr[i].tr->name);
		wf_json_kv_str(j, "why", why.why);
		wf_json_kv_str(j, "remedy", why.remedy);
		wf_json_obj_close(j);
	}
	wf_json_arr_close(j);
}

static void ep_json(const struct weft_ep *ep, struct wf_json *j)
{
	const struct wf_lane *l = ep->msg;
	char line[LANE_TEXT] = "";

	wf_json_obj_open(j);
	wf_json_kv_u64(j, "endpoint", ep->id);
	wf_json_kv_str(j, "peer", ep->peer);
	wf_json_kv_str(j, "state", ep_state(ep));
	wf_json_kv_str(j, "why", ep->why ? ep->why->e.cause : "");
	wf_json_kv_u64(j, "path", ep->path);
	wf_json_kv_str(j, "transport", l ? l->tr->name : "");
	if (l) {
		l->tr->describe(l, line, sizeof(line));
		wf_json_kv_str(j, "lane", line);
		wf_json_kv_u64(j, "inline_max", l->inline_max);
		wf_json_kv_u64(j, "eager_max", l->eager_max);
		wf_json_kv_bool(j, "copies_in_place", l->can_copy);
		plan_json(&ep->w->ctx->conf, l->tr, l, j);
		wf_json_kv_bool(j, "pressure", ep->pressure);
		wf_json_kv_str(j, "one_sided", rma_way(ep));
		wf_json_kv_str(j, "could_be_better", l->why);
		wf_json_kv_str(j, "remedy", l->remedy);
	}
	wf_json_kv_u64(j, "broken", ep->n_breaks);
	wf_json_kv_u64(j, "made_again", ep->n_renewed);
	wf_json_kv_str(j, "broke_for", ep->renew ? ep->renew->cause : "");
	wf_json_kv_bool(j, "encrypted", false);
	rejected_json(ep, j);
	wf_json_obj_close(j);
}

/* ---- a URL ---- */

static void url_text(const struct weft_ctx *ctx, const struct wf_url *u, struct text *t)
{
	for (unsigned i = 0; i < u->n; i++)
		put(t, "%u. %s\n", i + 1, u->addr[i]);
	put(t, "each is tried in this order; once connected, the first of these that both sides can use carries the messages:\n");
	for (unsigned i = 0; i < ctx->n_tr; i++) {
		const struct wf_transport *tr = ctx->tr[i].tr;

		tr_text(ctx, i, t);
		if (!wf_transport_allowed(ctx, i, NULL))
			continue;
		if (tr->caps & WF_CAP_INTERNAL)
			put(t, "    only between workers of one context\n");
		else
			plan_text(&ctx->conf, tr, NULL, t);
	}
}

static void url_json(const struct weft_ctx *ctx, const struct wf_url *u, struct wf_json *j)
{
	wf_json_obj_open(j);
	wf_json_key(j, "addresses");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < u->n; i++)
		wf_json_str(j, u->addr[i]);
	wf_json_arr_close(j);
	wf_json_key(j, "order");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < ctx->n_tr; i++)
		if (wf_transport_allowed(ctx, i, NULL))
			wf_json_str(j, ctx->tr[i].tr->name);
	wf_json_arr_close(j);
	wf_json_key(j, "transports");
	wf_json_arr_open(j);
	for (unsigned i = 0; i < ctx->n_tr; i++) {
		const struct wf_transport *tr = ctx->tr[i].tr;

		wf_json_obj_open(j);
		tr_json(ctx, i, j);
		if (!(tr->caps & WF_CAP_INTERNAL) && wf_transport_allowed(ctx, i, NULL))
			plan_json(&ctx->conf, tr, NULL, j);
		wf_json_obj_close(j);
	}
	wf_json_arr_close(j);
	wf_json_obj_close(j);
}

static int fits(size_t need, size_t *len, const char *who)
{
	size_t cap = *len;

	*len = need;
	return need < cap ? WEFT_OK : wf_fail(WEFT_EINVAL, 0, who, NULL, "%zu bytes are needed", need + 1);
}

int weft_explain(weft_ctx *ctx, weft_ep *ep, const char *url, int json, char *out, size_t *len)
{
	struct text t = { out, len ? *len : 0, 0 };
	struct wf_url u = { .n = 0 };
	struct wf_json j;
	const char *what = url ? wf_url_parse(url, &u) : NULL;

	if (!ctx || !len)
		return wf_fail(WEFT_EINVAL, 0, "weft_explain", NULL, "NULL argument");
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	if (what)
		return wf_fail(WEFT_EURL, 0, url, "weft://address:port", "%s", what);
	if (json) {
		wf_json_begin(&j, out, *len);
		if (ep)
			ep_json(ep, &j);
		else if (url)
			url_json(ctx, &u, &j);
		else
			ctx_json(ctx, &j);
		return fits(wf_json_end(&j), len, "weft_explain");
	}
	if (ep)
		ep_text(ep, &t);
	else if (url)
		url_text(ctx, &u, &t);
	else
		ctx_text(ctx, &t);
	return fits(t.len, len, "weft_explain");
}
