/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connect.c - the connecting side of making an endpoint: one address after the other until a bootstrap lane is up; HELLO,
 * WELCOME; then the transports that both sides offer, in order of preference, until one has a lane; READY says which.
 * Whatever fails on the way is written down: it is the text of the failure, or what explain tells of the lane that was
 * taken instead.
 */
#include <stdio.h>
#include <string.h>

#include "core/connect.h"

#define TRY_MIN_NS (200 * WF_NS_PER_MS)   /* an address gets at least this long while others wait */

static void next_try(struct weft_ep *ep);
static void next_attach(struct weft_ep *ep, unsigned from);

/* ---- shared with the accepting side ---- */

int wf_conn_opts_check(const weft_conn_opts *o, const char *who)
{
	if (!o)
		return 0;
	if (o->size < sizeof(*o))
		return wf_fail(WEFT_EINVAL, 0, who, "set opts.size = sizeof(weft_conn_opts)", "size is %u", o->size);
	if (o->flags & ~(uint32_t)WEFT_WANT_STREAM)
		return wf_fail(WEFT_EINVAL, 0, who, NULL, "unknown flag in 0x%x", o->flags);
	if (o->auth)
		return wf_fail(WEFT_ENOTSUP, 0, who, "leave auth NULL", "this version has no authentication");
	return o->allow ? wf_transport_names_check(o->allow, WEFT_EINVAL, who) : 0;
}

static void on_timer(struct wf_timer *t)
{
	struct wf_conn *c = wf_container_of(t, struct wf_conn, timer);
	struct weft_ep *ep = c->ep;

	if (!c->server && !c->hello_sent && wf_now_ns() < c->deadline) {
		wf_conn_lane_down(ep, ep->boot, WEFT_EUNREACHABLE, 0, "no answer in time");
		return;
	}
	if (!c->server && c->tried[0] == 0 && ep->boot)
		snprintf(c->tried, sizeof(c->tried), "%s: %s", c->url.addr[WF_MIN(c->addr, c->url.n - 1)],
			 c->hello_sent ? "connected, but its hello did not come" : "no answer");
	wf_ep_fail(ep, WEFT_ETIMEDOUT, 0, c->tried[0] ? c->tried : "the peer did not finish connecting in time");
}

int wf_conn_arm(struct wf_conn *c, uint64_t at_ns)
{
	struct weft_worker *w = c->ep->w;

	wf_heap_remove(&w->deadlines, &c->timer.node);
	if (wf_heap_push(&w->deadlines, &c->timer.node, at_ns))
		return wf_fail(WEFT_ENOMEM, 0, "endpoint", NULL, "no memory for its deadline");
	return 0;
}

struct wf_conn *wf_conn_new(struct weft_ep *ep, const weft_conn_opts *o)
{
	struct wf_conn *c = wf_calloc(1, sizeof(*c));

	if (!c)
		goto no_memory;
	c->ep = ep;
	c->attaching = WF_TR_MAX;
	c->timer.fire = on_timer;
	c->deadline = o && o->deadline_ns ? o->deadline_ns : wf_now_ns() + ep->w->ctx->conf.connect_timeout_ns;
	if (o && o->allow) {
		c->allow = wf_strdup(o->allow);
		if (!c->allow)
			goto no_memory;
	}
	ep->conn = c;
	if (!wf_conn_arm(c, c->deadline))
		return c;
	ep->conn = NULL;
no_memory:
	if (c)
		wf_free(c->allow);
	wf_free(c);
	wf_fail(WEFT_ENOMEM, 0, "endpoint", NULL, "no memory");
	return NULL;
}

void wf_conn_free(struct weft_ep *ep)
{
	struct wf_conn *c = ep->conn;

	if (!c)
		return;
	wf_heap_remove(&ep->w->deadlines, &c->timer.node);
	for (unsigned i = 0; i < WF_TR_MAX; i++)
		if (c->cand[i])
			wf_lane_bury(ep->w, c->cand[i]);
	wf_free(c->allow);
	wf_free(c);
	ep->conn = NULL;
}

int wf_conn_send(struct wf_lane *l, uint8_t type, uint16_t aux, const void *payload, size_t len)
{
	struct wf_tx tx = {
		.h = { .type = type, .aux = aux, .len = (uint32_t)len, .seq = l->tx_seq },
		.pre = payload, .pre_len = len,
	};
	int ret = l->tr->send(l, &tx);

	if (ret == WEFT_OK)
		l->tx_seq++;
	return ret == WEFT_AGAIN ? WEFT_ELIMIT : ret;    /* the first frames of a lane always find room */
}

int wf_conn_say(struct weft_ep *ep, struct wf_lane *l, const void *p, size_t len)
{
	struct wf_frame h = { .type = WF_FR_LANE };

	if (!ep->boot || ep->boot->down || len > WF_SAY_MAX)
		return WEFT_ECLOSED;
	return wf_ep_say_of(ep, &h, l->tr, p, len);
}

/* The lane of that name: a candidate, the one that was taken, or is to be. One that was given up meanwhile hears nothing more. */
int wf_conn_heard(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	const char *name = (const char *)p;
	size_t len = strnlen(name, WF_MIN(h->len, WF_NAME_MAX));
	struct wf_lane *l = wf_renew_lane(ep);

	if (len == h->len || len == WF_NAME_MAX)
		return WEFT_EPROTO;
	if (l && strcmp(l->tr->name, name))
		l = NULL;
	for (unsigned i = 0; ep->conn && i < WF_TR_MAX; i++)
		if (ep->conn->cand[i] && !strcmp(ep->conn->cand[i]->tr->name, name))
			l = ep->conn->cand[i];
	if (ep->msg && !strcmp(ep->msg->tr->name, name))
		l = ep->msg;
	if (l && l->tr->hear && !l->down)
		l->tr->hear(l, p + len + 1, h->len - len - 1);
	return 0;
}

void wf_conn_note(struct weft_ep *ep, const char *name, const char *why)
{
	size_t at = strlen(ep->notes);

	snprintf(ep->notes + at, sizeof(ep->notes) - at, "%s%s: %s", at ? "; " : "", name, why);
}

/* Adds an offer for each transport that is made beside the bootstrap lane; @only: those that the peer has, too. */
void wf_conn_offers(struct wf_conn *c, struct wf_hello *h, const struct wf_hello *only)
{
	struct weft_ep *ep = c->ep;
	struct weft_ctx *ctx = ep->w->ctx;
	uint8_t data[WF_OFFER_MAX];
	size_t len;

	for (unsigned i = 0; i < ctx->n_tr; i++) {
		const struct wf_transport *tr = ctx->tr[i].tr;

		if (!(tr->caps & WF_CAP_ATTACH))
			continue;
		if (ctx->tr[i].status)
			wf_conn_note(ep, tr->name, ctx->tr[i].why);
		if (!wf_transport_allowed(ctx, i, c->allow) || (only && !wf_hello_find(only, tr->name)))
			continue;
		c->cand[i] = wf_lane_new(ep->w, i, &ep->owner);
		if (!c->cand[i]) {
			wf_conn_note(ep, tr->name, weft_last_error()->cause);
			continue;
		}
		len = tr->offer(c->cand[i], data, sizeof(data));
		if (len && wf_hello_add(h, tr->name, data, len))
			continue;
		wf_conn_note(ep, tr->name, c->cand[i]->why[0] ? c->cand[i]->why : "has nothing to offer");
		wf_lane_bury(ep->w, c->cand[i]);
		c->cand[i] = NULL;
	}
}

int wf_hello_make(struct weft_worker *w, struct wf_hello *h)
{
	memset(h, 0, sizeof(*h));
	h->version_min = h->version_max = WF_WIRE_VERSION;
	h->features = WF_FEATURES;
	memcpy(h->uuid, w->uuid, WF_UUID);
	memcpy(h->process, w->ctx->process, WF_UUID);
	return 0;
}

void wf_conn_finish(struct weft_ep *ep, struct wf_lane *msg)
{
	struct wf_conn *c = ep->conn;

	for (unsigned i = 0; i < WF_TR_MAX; i++)
		if (c->cand[i] == msg)
			c->cand[i] = NULL;
	ep->boot_may = wf_transport_allowed(ep->w->ctx, wf_worker_port_index(ep->w, ep->boot->port), c->allow);
	ep->active = !c->server;
	ep->may_renew = c->peer.features & WF_FEATURE_RENEW;
	wf_ep_ready(ep, msg);
}

/* ---- connecting ---- */

/* May a bootstrap transport be used? A context's own only when it is allowed; tcp also to make the others. */
static bool may_boot(const struct wf_conn *c, unsigned i)
{
	const struct weft_ctx *ctx = c->ep->w->ctx;

	if (!(ctx->tr[i].tr->caps & WF_CAP_BOOTSTRAP) || ctx->tr[i].status)
		return false;
	if (wf_transport_allowed(ctx, i, c->allow))
		return true;
	if (ctx->tr[i].tr->caps & WF_CAP_INTERNAL)
		return false;
	for (unsigned k = 0; k < ctx->n_tr; k++)
		if (ctx->tr[k].tr->caps & WF_CAP_ATTACH && wf_transport_allowed(ctx, k, c->allow))
			return true;
	return false;
}

static void write_down(struct wf_conn *c, const char *where, int32_t status, int sys_errno, const char *why)
{
	size_t at = strlen(c->tried);

	c->status = status;
	c->sys_errno = sys_errno;
	if (strstr(why, where))
		where = NULL;
	snprintf(c->tried + at, sizeof(c->tried) - at, "%s%s%s%s%s%s%s", at ? "; " : "", where ? where : "", where ? ": " : "", why,
		 sys_errno ? " (" : "", sys_errno ? strerror(sys_errno) : "", sys_errno ? ")" : "");
}

/* Shares the time that is left among the addresses that are left. */
static void arm_try(struct wf_conn *c)
{
	uint64_t now = wf_now_ns(), left = c->deadline > now ? c->deadline - now : 0;
	unsigned others = c->url.n - c->addr - 1;
	uint64_t share = others ? WF_MAX(left / (others + 1), TRY_MIN_NS) : left;

	wf_conn_arm(c, now + WF_MIN(share, left));
}

/* Is nothing allowed that leaves this context? Then what the context's own transport says is the reason to report. */
static bool is_confined(const struct wf_conn *c)
{
	const struct weft_ctx *ctx = c->ep->w->ctx;

	for (unsigned i = 0; i < ctx->n_tr; i++)
		if (!(ctx->tr[i].tr->caps & WF_CAP_INTERNAL) && may_boot(c, i))
			return false;
	return true;
}

/* Begins with one address over one transport. False: that failed at once. */
static bool try_one(struct weft_ep *ep)
{
	struct wf_conn *c = ep->conn;
	struct wf_lane *l = wf_lane_new(ep->w, c->tr, &ep->owner);

	if (l && l->tr->connect(l, c->url.addr[c->addr]) == 0) {
		ep->boot = l;
		arm_try(c);
		return true;
	}
	if (!l || !(l->tr->caps & WF_CAP_INTERNAL) || is_confined(c))
		write_down(c, c->url.addr[c->addr], weft_last_error()->status, weft_last_error()->sys_errno, weft_last_error()->cause);
	if (l)
		wf_lane_bury(ep->w, l);
	return false;
}

static void next_try(struct weft_ep *ep)
{
	struct wf_conn *c = ep->conn;

	for (; c->addr < c->url.n; c->addr++, c->tr = 0)
		for (; c->tr < ep->w->ctx->n_tr; c->tr++)
			if (may_boot(c, c->tr) && try_one(ep))
				return;
	if (!c->tried[0])
		write_down(c, c->url.addr[0], WEFT_ENOTSUP, 0, "no transport that is allowed can connect");
	wf_ep_fail(ep, c->status, c->sys_errno, c->tried);
}

static void say_hello(struct weft_ep *ep)
{
	struct wf_conn *c = ep->conn;
	uint8_t buf[WF_HELLO_MAX];
	struct wf_hello h;
	size_t len;

	c->hello_sent = true;
	wf_conn_arm(c, c->deadline);
	wf_hello_make(ep->w, &h);
	memcpy(h.secret, c->secret, WF_UUID);
	if (!(ep->boot->tr->caps & WF_CAP_INTERNAL))
		wf_conn_offers(c, &h, NULL);
	len = wf_hello_encode(&h, buf, sizeof(buf));
	if (!len || wf_conn_send(ep->boot, WF_FR_HELLO, 0, buf, len) < 0)
		wf_ep_fail(ep, WEFT_ERESET, 0, "the connection broke before hello was said");
}

static void say_ready(struct weft_ep *ep, struct wf_lane *msg)
{
	char p[WF_NAME_MAX + sizeof(ep->notes)];
	size_t len = strlen(msg->tr->name) + 1, notes = strlen(ep->notes);

	memcpy(p, msg->tr->name, len);
	memcpy(p + len, ep->notes, notes);
	if (wf_conn_send(ep->boot, WF_FR_READY, 0, p, len + notes) < 0) {
		wf_ep_fail(ep, WEFT_ERESET, 0, "the connection broke while it was made");
		return;
	}
	wf_conn_finish(ep, msg);
}

/* The next transport in order of preference: its lane is attached, or it is the bootstrap lane itself. */
static void next_attach(struct weft_ep *ep, unsigned from)
{
	struct wf_conn *c = ep->conn;
	struct weft_ctx *ctx = ep->w->ctx;

	for (unsigned i = from; i < ctx->n_tr; i++) {
		const struct wf_offer *o;

		if (ctx->tr[i].tr == ep->boot->tr && wf_transport_allowed(ctx, i, c->allow)) {
			say_ready(ep, ep->boot);
			return;
		}
		if (!c->cand[i])
			continue;
		o = wf_hello_find(&c->peer, ctx->tr[i].tr->name);
		if (!o) {
			wf_conn_note(ep, ctx->tr[i].tr->name, "the peer does not offer it");
			continue;
		}
		c->attaching = i;
		if (c->cand[i]->tr->attach(c->cand[i], true, o->data, o->len) == 0)
			return;
		wf_conn_note(ep, ctx->tr[i].tr->name, weft_last_error()->cause);
	}
	snprintf(c->tried, sizeof(c->tried), "no transport that is allowed works with %s: %s", ep->boot->peer,
		 ep->notes[0] ? ep->notes : "none is left by the settings");
	wf_ep_fail(ep, WEFT_ENOTSUP, 0, c->tried);
}

/* ---- upcalls ---- */

void wf_conn_lane_up(struct weft_ep *ep, struct wf_lane *l)
{
	struct wf_conn *c = ep->conn;

	if (!c || ep->dying)
		return;
	if (c->server) {
		if (l == c->chosen)
			wf_conn_finish(ep, l);
	} else if (l == ep->boot && !c->hello_sent) {
		say_hello(ep);
	} else if (c->attaching < WF_TR_MAX && l == c->cand[c->attaching]) {
		say_ready(ep, l);
	}
}

static void cand_down(struct weft_ep *ep, unsigned i, const char *cause)
{
	struct wf_conn *c = ep->conn;
	bool was_next = c->attaching == i;

	wf_conn_note(ep, c->cand[i]->tr->name, cause);
	if (c->cand[i] == c->chosen)
		wf_ep_fail(ep, WEFT_ERESET, 0, cause);
	wf_lane_bury(ep->w, c->cand[i]);
	c->cand[i] = NULL;
	if (!c->server && was_next)
		next_attach(ep, i + 1);
}

/* What went wrong before the server's first word looks like a fault of the wire; mostly it is another kind of server. */
static const char *explain_stranger(const struct wf_conn *c, int32_t status, const char *cause, char *out, size_t cap)
{
	if (c->server || !c->hello_sent || c->welcomed || (status != WEFT_EPROTO && status != WEFT_ERESET))
		return cause;
	snprintf(out, cap, status == WEFT_EPROTO ? "what listens there does not speak weft: %s" : "%s without an answer to hello", cause);
	return out;
}

void wf_conn_lane_down(struct weft_ep *ep, struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct wf_conn *c = ep->conn;
	char words[200];

	if (!c || ep->dying)
		return;
	if (l != ep->boot) {
		for (unsigned i = 0; i < WF_TR_MAX; i++)
			if (c->cand[i] == l) {
				cand_down(ep, i, cause);
				return;
			}
		return;
	}
	cause = explain_stranger(c, status, cause, words, sizeof(words));
	if (c->server || c->welcomed || (c->hello_sent && c->addr + 1 >= c->url.n)) {
		write_down(c, c->server ? l->peer : c->url.addr[c->addr], status, sys_errno, cause);
		wf_ep_fail(ep, status, sys_errno, c->tried);
		return;
	}
	write_down(c, c->url.addr[c->addr], status, sys_errno, cause);
	for (unsigned i = 0; i < WF_TR_MAX; i++)
		if (c->cand[i]) {
			wf_lane_bury(ep->w, c->cand[i]);
			c->cand[i] = NULL;
		}
	ep->notes[0] = 0;
	wf_lane_bury(ep->w, l);
	ep->boot = NULL;
	c->hello_sent = false;
	c->tr++;
	next_try(ep);
}

static int in_welcome(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_conn *c = ep->conn;
	const char *what;

	if (c->server || !c->hello_sent || c->welcomed)
		return WEFT_EPROTO;
	what = wf_hello_decode(p, h->len, &c->peer);
	if (what)
		return WEFT_EPROTO;
	if (c->peer.version_min != WF_WIRE_VERSION) {
		wf_ep_fail(ep, WEFT_EVERSION, 0, "the peer chose a version that was not offered");
		return 0;
	}
	c->welcomed = true;
	next_attach(ep, 0);
	return 0;
}

static int in_reject(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_conn *c = ep->conn;
	int32_t why = -(int32_t)h->aux;
	char text[256];

	if (c->server || !c->hello_sent)
		return WEFT_EPROTO;
	if (why >= 0 || why < WEFT_STATUS_MIN_)
		why = WEFT_EREJECTED;
	snprintf(text, sizeof(text), "%s: the peer said no: %.*s (%s)", ep->boot->peer, (int)WF_MIN(h->len, 200), (const char *)p,
		 weft_status_name(why));
	wf_ep_fail(ep, why == WEFT_EVERSION || why == WEFT_EPROTO ? why : WEFT_EREJECTED, 0, text);
	return 0;
}

/* The accepting side learns which lane the connecting side has chosen. */
static int in_ready(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_conn *c = ep->conn;
	struct weft_ctx *ctx = ep->w->ctx;
	const char *name = (const char *)p;
	struct wf_lane *msg = NULL;
	size_t len = strnlen(name, h->len), notes;

	if (!c->server || c->welcomed || len == h->len)
		return WEFT_EPROTO;
	for (unsigned i = 0; i < ctx->n_tr; i++) {
		if (strcmp(ctx->tr[i].tr->name, name))
			continue;
		if (ctx->tr[i].tr == ep->boot->tr && wf_transport_allowed(ctx, i, c->allow))
			msg = ep->boot;
		else if (c->cand[i] && !c->cand[i]->down)
			msg = c->cand[i];
	}
	if (!msg) {
		wf_ep_fail(ep, WEFT_ENOTSUP, 0, "the peer chose a transport that is not allowed or not connected here");
		return 0;
	}
	/* ours first: they know more of this side */
	notes = strlen(ep->notes);
	if (h->len > len + 1)
		snprintf(ep->notes + notes, sizeof(ep->notes) - notes, "%s%.*s", notes ? "; " : "", (int)(h->len - len - 1), name + len + 1);
	c->welcomed = true;
	c->chosen = msg;
	if (msg->up)                     /* else its transport has yet to say so: the peer's word came first, over another lane */
		wf_conn_finish(ep, msg);
	return 0;
}

int wf_conn_frame(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h, const uint8_t *p)
{
	if (!ep->conn || l != ep->boot || ep->dying)
		return WEFT_EPROTO;
	switch (h->type) {
	case WF_FR_WELCOME:
		return in_welcome(ep, h, p);
	case WF_FR_REJECT:
		return in_reject(ep, h, p);
	case WF_FR_READY:
		return in_ready(ep, h, p);
	default:
		return WEFT_EPROTO;
	}
}

/* ---- the calls ---- */

static int connect_to(struct weft_worker *w, const struct wf_url *url, const uint8_t *secret, const weft_conn_opts *o,
		      weft_ep **out)
{
	struct weft_ep *ep = wf_ep_new(w, o);
	struct wf_conn *c;

	if (!ep)
		return WEFT_ENOMEM;
	c = wf_conn_new(ep, o);
	if (!c) {
		ep->state = WF_EP_GONE;
		ep->released = true;
		w->fd_hot--;
		ep->hot = false;
		wf_ep_free_if_gone(ep);
		return WEFT_ENOMEM;
	}
	c->url = *url;
	if (secret)
		memcpy(c->secret, secret, WF_UUID);
	next_try(ep);
	*out = ep;
	return WEFT_OK;
}

int weft_connect(weft_worker *w, const char *url, const weft_conn_opts *o, weft_ep **out)
{
	struct wf_url u;
	const char *what;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = url && out ? wf_conn_opts_check(o, "weft_connect") : wf_fail(WEFT_EINVAL, 0, "weft_connect", NULL, "NULL argument");
	what = ret ? NULL : wf_url_parse(url, &u);
	if (what)
		ret = wf_fail(WEFT_EURL, 0, url, "weft://address:port[,address:port ...]", "%s", what);
	if (!ret)
		ret = wf_url_check(&u, url);
	if (!ret)
		ret = connect_to(w, &u, NULL, o, out);
	wf_leave(w);
	return ret;
}

int weft_connect_address(weft_worker *w, const void *address, size_t len, const weft_conn_opts *o, weft_ep **out)
{
	struct wf_address a;
	const char *what;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = address && out ? wf_conn_opts_check(o, "weft_connect_address") :
			       wf_fail(WEFT_EINVAL, 0, "weft_connect_address", NULL, "NULL argument");
	what = ret ? NULL : wf_address_decode(address, len, &a);
	if (what)
		ret = wf_fail(WEFT_EURL, 0, "worker address", "pass the blob as weft_address() wrote it", "%s", what);
	if (!ret)
		ret = connect_to(w, &a.url, a.secret, o, out);
	wf_leave(w);
	return ret;
}
