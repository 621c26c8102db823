/* SPDX-License-Identifier: BSD-3-Clause
 *
 * registry.c - the one file that names transports. A line each, in order of preference: the first that both sides can
 * use carries an endpoint's messages.
 */
#include <stdio.h>
#include <string.h>

#include "core/internal.h"
#include "transports/faulty/faulty.h"

static const struct wf_transport *const known[] = { &wf_loop, &wf_shm, &wf_verbs, &wf_ofi, &wf_ucx, &wf_tcp };

_Static_assert(WF_ARRAY_LEN(known) <= WF_TR_MAX, "ctx->tr has a place for each");

static const struct wf_transport *find(const char *name, size_t len)
{
	for (size_t i = 0; i < WF_ARRAY_LEN(known); i++)
		if (strlen(known[i]->name) == len && !memcmp(known[i]->name, name, len))
			return known[i];
	return NULL;
}

int wf_transport_names_check(const char *list, int32_t status, const char *object)
{
	const char *at = list, *item;
	size_t len;

	while ((item = wf_conf_list_next(&at, &len)))
		if (!find(item, len))
			return wf_fail(status, 0, object, "known transports: loop, shm, verbs, ofi, ucx, tcp", "\"%.*s\" names no transport",
				       (int)len, item);
	return 0;
}

bool wf_transport_is_named(const struct wf_conf *conf, const struct wf_transport *tr, const char *allow)
{
	return !(tr->caps & WF_CAP_OPT_IN) || wf_conf_list_has(conf->transports, tr->name) ||
	       (allow && wf_conf_list_has(allow, tr->name));
}

static int add(struct weft_ctx *ctx, const struct wf_transport *tr)
{
	struct wf_tr_state *s = &ctx->tr[ctx->n_tr];

	if (ctx->conf.fault[0])
		tr = wf_faulty_wrap(tr);
	s->tr = tr;
	if (tr->shared_size) {
		s->shared = wf_calloc(1, tr->shared_size);
		if (!s->shared)
			return wf_fail(WEFT_ENOMEM, 0, tr->name, NULL, "no memory for the transport");
	}
	if (tr->probe && wf_transport_is_named(&ctx->conf, tr, NULL))
		s->status = tr->probe(&ctx->conf, s->why, sizeof(s->why), s->remedy, sizeof(s->remedy));
	ctx->n_tr++;
	return 0;
}

static bool is_listed(const struct weft_ctx *ctx, const struct wf_transport *tr)
{
	for (unsigned i = 0; i < ctx->n_tr; i++)
		if (!strcmp(ctx->tr[i].tr->name, tr->name))
			return true;
	return false;
}

/* The order of the setting first, then the others, which are there (tcp carries hello and control) but not allowed. */
int wf_registry_open(struct weft_ctx *ctx)
{
	const char *at = ctx->conf.transports, *item;
	struct wf_faulty_conf fault; /* each port parses it for itself: here it is only checked */
	size_t len;
	int ret;

	ret = wf_transport_names_check(ctx->conf.transports, WEFT_ESETTING, "transports");
	if (!ret)
		ret = wf_transport_names_check(ctx->conf.avoid, WEFT_ESETTING, "avoid");
	if (!ret)
		ret = wf_faulty_parse(ctx->conf.fault, &fault);
	while (!ret && (item = wf_conf_list_next(&at, &len)))
		if (!is_listed(ctx, find(item, len)))
			ret = add(ctx, find(item, len));
	for (size_t i = 0; !ret && i < WF_ARRAY_LEN(known); i++)
		if (!is_listed(ctx, known[i]))
			ret = add(ctx, known[i]);
	return ret;
}

void wf_registry_close(struct weft_ctx *ctx)
{
	for (unsigned i = 0; i < ctx->n_tr; i++)
		wf_free(ctx->tr[i].shared);
	ctx->n_tr = 0;
}

/* May the transport carry messages, by settings and by the connection's own list? */
bool wf_transport_allowed(const struct weft_ctx *ctx, unsigned i, const char *allow)
{
	const char *name = ctx->tr[i].tr->name;

	if (ctx->tr[i].status)
		return false;
	if (ctx->conf.transports[0] && !wf_conf_list_has(ctx->conf.transports, name))
		return false;
	if (wf_conf_list_has(ctx->conf.avoid, name) || !wf_transport_is_named(&ctx->conf, ctx->tr[i].tr, allow))
		return false;
	return !allow || wf_conf_list_has(allow, name);
}
