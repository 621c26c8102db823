/* SPDX-License-Identifier: BSD-3-Clause
 *
 * plan.c - what becomes of a message, and why a transport is not used; see plan.h. It decides nothing: it says what
 * wf_send_push(), wf_rndv_offer() and the making of a connection decide, from the same fields. case_see.c holds the two
 * together.
 */
#include <stdio.h>
#include <string.h>

#include "core/plan.h"
#include "core/renew.h"

void wf_plan_setting(const struct wf_conf *conf, const char *key, char *out, size_t cap)
{
	char value[WF_CONF_TEXT];
	int i = wf_conf_find(key);

	if (i < 0) {
		snprintf(out, cap, "built in");
		return;
	}
	wf_conf_format(conf, (size_t)i, value, sizeof(value));
	snprintf(out, cap, "%s = %.60s (%s)", key, value, wf_conf_origin_name(conf->origin[i]));
}

/* The setting eager_max_<transport>; 0: there is none. */
static uint64_t eager_setting(const struct wf_conf *conf, const struct wf_transport *tr, char *key, size_t cap)
{
	const struct wf_conf_row *row;
	int i;

	snprintf(key, cap, "eager_max_%s", tr->name);
	i = wf_conf_find(key);
	if (i < 0 || wf_conf_list((size_t)i, &row))
		return 0;
	return *(const size_t *)(const void *)((const char *)conf + row->offset);
}

static bool can_copy(const struct wf_transport *tr, const struct wf_lane *l)
{
	return tr->copy_offer && (!l || l->can_copy);
}

static const char *large_way(const struct wf_transport *tr, const struct wf_lane *l)
{
	if (!can_copy(tr, l))
		return "streamed as frames when the receiver asks for it";
	if (tr->caps & WF_CAP_RDMA)
		return "read by the receiver's adapter where both sides can register the memory, else streamed as frames";
	if (tr->caps & WF_CAP_INTERNAL)
		return "one copy, which the receiver makes";
	return l ? "copied in place as the lane says, else streamed as frames" :
		   "copied in place where each side may reach the other's memory, else streamed as frames";
}

unsigned wf_plan(const struct wf_conf *conf, const struct wf_transport *tr, const struct wf_lane *l, struct wf_plan_row *out)
{
	bool maps = can_copy(tr, l) && tr->region_gone && !(tr->caps & (WF_CAP_INTERNAL | WF_CAP_RDMA));
	struct wf_plan_row *r = out;
	char key[40], set[120];
	uint64_t wanted = tr->eager_max ? tr->eager_max : eager_setting(conf, tr, key, sizeof(key));
	uint64_t eager = l ? l->eager_max : wanted, next = 0;

	wf_plan_setting(conf, key, set, sizeof(set));
	if (l && l->inline_max) {
		*r = (struct wf_plan_row){ .to = WF_MIN(l->inline_max, eager), .memory = WF_PLAN_ANY, .protocol = "inline",
					   .way = tr->caps & WF_CAP_RDMA ? "sent at once, in the work request" : "sent at once, in one slot with the header" };
		next = r++->to + 1;
	}
	if (next <= eager) {
		*r = (struct wf_plan_row){ .from = next, .to = eager, .memory = WF_PLAN_ANY, .protocol = "eager",
					   .way = "sent at once, with its bytes" };
		snprintf(r->because, sizeof(r->because), "%s%s%s", eager < wanted ? "the lane's longest frame; " : "", set,
			 l ? "" : "; less where a lane's frames are shorter");
		r++;
	}
	*r = (struct wf_plan_row){ .from = eager + 1, .to = UINT64_MAX, .memory = maps ? WF_PLAN_PLAIN | WF_PLAN_REGISTERED : WF_PLAN_ANY,
				   .protocol = "rendezvous", .way = large_way(tr, l) };
	if (can_copy(tr, l) && !(tr->caps & (WF_CAP_INTERNAL | WF_CAP_RDMA)))
		wf_plan_setting(conf, "copy_chunk", r->because, sizeof(r->because));
	r++;
	if (maps) {
		*r = r[-1];
		r->memory = WF_PLAN_ALLOCATED;
		r->way = "copied from the very pages, which a peer of the same user maps";
		r++;
	}
	return (unsigned)(r - out);
}

const char *wf_plan_memory(unsigned memory)
{
	switch (memory) {
	case WF_PLAN_ANY:
		return "any memory";
	case WF_PLAN_ALLOCATED:
		return "from weft_mem_alloc";
	default:
		return "plain, registered";
	}
}

/* ---- why not ---- */

/* The setting that forbids transport @i, or NULL. */
static const char *forbidden_by(const struct wf_conf *conf, const char *name)
{
	if (conf->transports[0] && !wf_conf_list_has(conf->transports, name))
		return "transports";
	return wf_conf_list_has(conf->avoid, name) ? "avoid" : NULL;
}

static void say_undo(const struct wf_conf *conf, const char *key, char *out, size_t cap)
{
	size_t i = (size_t)wf_conf_find(key);
	char env[64];

	if (conf->origin[i] == WF_CONF_FROM_ENV)
		snprintf(out, cap, "unset %s", wf_conf_env_name(i, env, sizeof(env)));
	else if (conf->origin[i] == WF_CONF_FROM_FILE)
		snprintf(out, cap, "take %s out of the file that WEFT_CONFIG names", key);
	else
		snprintf(out, cap, "the program sets it: weft_config_set(c, \"%s\", ...)", key);
}

void wf_why_not(const struct weft_ctx *ctx, unsigned i, struct wf_why *out)
{
	const struct wf_tr_state *s = &ctx->tr[i];
	const char *key = forbidden_by(&ctx->conf, s->tr->name);
	bool asked = wf_transport_is_named(&ctx->conf, s->tr, NULL) || wf_conf_list_has(ctx->conf.avoid, s->tr->name);
	char set[120];

	*out = (struct wf_why){ .why = "" };
	if (s->status) {
		snprintf(out->why, sizeof(out->why), "%s", s->why);
		snprintf(out->remedy, sizeof(out->remedy), "%s", s->remedy);
	} else if (!asked) {
		snprintf(out->why, sizeof(out->why), "not used unless the setting transports, or a connection's own list, names it");
		snprintf(out->remedy, sizeof(out->remedy), "transports=%s,...", s->tr->name);
	} else if (key) {
		wf_plan_setting(&ctx->conf, key, set, sizeof(set));
		snprintf(out->why, sizeof(out->why), "the setting %s", set);
		say_undo(&ctx->conf, key, out->remedy, sizeof(out->remedy));
	}
}

/* Where in "shm: why; verbs: why" the next transport is named; NULL: nowhere. */
static const char *next_note(const struct weft_ctx *ctx, const char *notes, unsigned *i_out)
{
	for (const char *p = notes; p; p = strstr(p, "; "), p = p ? p + 2 : NULL) {
		for (*i_out = 0; *i_out < ctx->n_tr; ++*i_out) {
			size_t len = strlen(ctx->tr[*i_out].tr->name);

			if (!strncmp(p, ctx->tr[*i_out].tr->name, len) && p[len] == ':' && p[len + 1] == ' ')
				return p;
		}
	}
	return NULL;
}

/* What was noted of transport @i while the endpoint was made. False: nothing. */
static bool note_of(const struct weft_ep *ep, unsigned i, char *out, size_t cap)
{
	const struct weft_ctx *ctx = ep->w->ctx;
	unsigned who, next;

	for (const char *p = next_note(ctx, ep->notes, &who), *end; p; p = end) {
		const char *why = strstr(p, ": ") + 2, *more = strstr(why, "; ");

		end = more ? next_note(ctx, more + 2, &next) : NULL;
		if (who == i) {
			snprintf(out, cap, "%.*s", end ? (int)(end - why) - 2 : (int)strlen(why), why);
			return true;
		}
		who = next;
	}
	return false;
}

bool wf_why_not_here(const struct weft_ep *ep, unsigned i, struct wf_why *out)
{
	const struct weft_ctx *ctx = ep->w->ctx;
	const char *why = NULL;

	if (ep->path == i + 1)
		return false;
	wf_why_not(ctx, i, out);
	if (ep->renew && ep->renew->tr == i) {
		wf_renew_words(ep->renew, out->why, sizeof(out->why));
		return true;
	}
	if (ctx->tr[i].tr->caps & WF_CAP_OPT_IN && !ctx->tr[i].status && note_of(ep, i, out->why, sizeof(out->why)))
		out->remedy[0] = 0;      /* the connection's own list named it */
	if (out->why[0])
		return true;
	if (ctx->tr[i].tr->caps & WF_CAP_INTERNAL)
		why = "only between workers of one context";
	else if (ep->path && i + 1 > ep->path)
		why = "comes later in the order of preference";
	else if (!ep->path)
		why = "not connected";
	else if (!note_of(ep, i, out->why, sizeof(out->why)))
		why = "not allowed by this connection's own list, or by the peer's";
	if (why)
		snprintf(out->why, sizeof(out->why), "%s", why);
	return true;
}
