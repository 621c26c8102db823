/* SPDX-License-Identifier: BSD-3-Clause
 *
 * listener.c - the accepting side: a listener on every bootstrap transport under one URL; connections that have not said
 * hello yet (bounded in number and time: a port scan costs nothing); requests that wait for accept or reject; and the
 * worker's own listener behind weft_address(), which accepts by itself who knows the worker's secret.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/connect.h"
#include "os/addr.h"

#define HALF_OPEN_MAX 4096       /* connections of a worker that have not said hello */
#define ACCEPTORS_MAX 32

struct weft_listener {
	struct weft_worker *w;
	struct wf_list link;
	uint64_t user_data;
	bool home, closed;
	unsigned n;
	struct wf_acceptor acceptor[ACCEPTORS_MAX];
	struct wf_url url;
	struct wf_note note;             /* failed for good */
	int32_t status;
	struct wf_list requests;         /* that were not reaped yet */
};

struct wf_incoming {                     /* has connected, has not said hello */
	struct wf_owner owner;           /* first: lane->owner */
	struct weft_worker *w;
	struct weft_listener *listener;
	struct wf_lane *lane;
	struct wf_list link;             /* worker->incoming */
	struct wf_timer timer;
};

struct weft_request {
	struct wf_note note;
	struct wf_list link;             /* listener->requests */
	struct weft_ctx *ctx;
	struct weft_worker *w;           /* the listener's; NULL when it is gone */
	uint64_t user_data, id;          /* id: in ctx->requests once it was reaped */
	struct wf_lane *lane;
	struct wf_hello hello;
};

/* ---- half-open connections ---- */

static void drop_incoming(struct wf_incoming *in)
{
	struct weft_worker *w = in->w;

	wf_heap_remove(&w->deadlines, &in->timer.node);
	wf_list_remove(&in->link);
	w->n_incoming--;
	if (in->lane)
		wf_lane_bury(w, in->lane);
	wf_free(in);
}

static void on_timer(struct wf_timer *t)
{
	drop_incoming(wf_container_of(t, struct wf_incoming, timer));
}

void wf_incoming_down(struct wf_incoming *in)
{
	drop_incoming(in);
}

void wf_incoming_drop_all(struct weft_worker *w)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &w->incoming)
		drop_incoming(wf_list_entry(it, struct wf_incoming, link));
}

struct wf_lane *wf_lane_new_incoming(struct wf_acceptor *a)
{
	struct weft_listener *l = a->owner;
	struct weft_worker *w = l->w;

	if (l->closed || w->freeing || w->n_incoming >= HALF_OPEN_MAX)
		return NULL;
	return wf_lane_new(w, wf_worker_port_index(w, a->port), NULL);
}

void wf_lane_accepted(struct wf_acceptor *a, struct wf_lane *lane)
{
	struct weft_listener *l = a->owner;
	struct weft_worker *w = l->w;
	struct wf_incoming *in = wf_calloc(1, sizeof(*in));

	lane->up = true;
	if (!in || wf_heap_push(&w->deadlines, &in->timer.node, wf_now_ns() + w->ctx->conf.connect_timeout_ns)) {
		wf_free(in);
		wf_lane_bury(w, lane);
		return;
	}
	in->timer.fire = on_timer;
	in->w = w;
	in->listener = l;
	in->lane = lane;
	lane->owner = &in->owner;
	wf_list_push_back(&w->incoming, &in->link);
	w->n_incoming++;
}

void wf_acceptor_failed(struct wf_acceptor *a, int32_t status, int sys_errno, const char *cause)
{
	struct weft_listener *l = a->owner;

	WF_LOG(&l->w->ctx->log, WF_LOG_ERROR, "listener: %s (%s)", cause, sys_errno ? strerror(sys_errno) : weft_status_name(status));
	l->status = status;
	if (!wf_list_is_linked(&l->note.link))
		wf_worker_note(l->w, &l->note);
}

static void refuse(struct wf_incoming *in, int32_t why, const char *text)
{
	WF_LOG(&in->w->ctx->log, WF_LOG_INFO, "listener: %s is not let in: %s", in->lane->peer, text);
	wf_conn_send(in->lane, WF_FR_REJECT, (uint16_t)-why, text, strlen(text));
	drop_incoming(in);
}

/* ---- requests ---- */

/* Takes a reaped request off the list of the unanswered; false: it was answered already. */
static bool claim(struct weft_ctx *ctx, uint64_t id)
{
	bool found;

	pthread_mutex_lock(&ctx->lock);
	found = wf_map_remove(&ctx->requests, id) != NULL;
	pthread_mutex_unlock(&ctx->lock);
	return found;
}

static void take_request(struct wf_note *n, weft_event *out)
{
	struct weft_request *r = wf_container_of(n, struct weft_request, note);

	wf_list_remove(&r->link);
	r->lane->tr->move(r->lane, NULL);
	wf_list_remove(&r->lane->link);
	out->kind = WEFT_EV_REQUEST;
	out->op.v = r->id;
	out->user_data = r->user_data;
	out->data = r;
	out->data_len = strlen(r->lane->peer);
}

static void make_request(struct wf_incoming *in, const struct wf_hello *hello)
{
	struct weft_request *r = wf_calloc(1, sizeof(*r));
	struct weft_ctx *ctx = in->w->ctx;
	int ret = WEFT_ENOMEM;

	if (r) {
		r->note.take = take_request;
		wf_list_init(&r->note.link);
		r->ctx = ctx;
		r->w = in->w;
		r->user_data = in->listener->user_data;
		r->lane = in->lane;
		r->hello = *hello;
		pthread_mutex_lock(&ctx->lock);
		r->id = ctx->next_id++;
		ret = wf_map_insert(&ctx->requests, r->id, r);   /* whole by now: other threads look at all of them */
		pthread_mutex_unlock(&ctx->lock);
	}
	if (ret) {
		wf_free(r);
		refuse(in, WEFT_ENOMEM, "out of memory");
		return;
	}
	r->lane->owner = NULL;
	wf_list_push_back(&in->listener->requests, &r->link);
	in->lane = NULL;
	wf_worker_note(in->w, &r->note);
	drop_incoming(in);
}

static void let_in(struct wf_incoming *in, const struct wf_hello *hello)
{
	struct weft_worker *w = in->w;
	struct wf_lane *lane = in->lane;
	struct weft_ep *ep;

	if (!wf_same_secret(hello->secret, w->secret, WF_UUID)) {
		refuse(in, WEFT_EREJECTED, "this address is for those who know its secret");
		return;
	}
	in->lane = NULL;
	lane->owner = NULL;
	drop_incoming(in);
	if (wf_conn_accept(w, lane, hello, NULL, &ep))
		wf_lane_bury(w, lane);
}

static void refuse_version(struct wf_incoming *in, const struct wf_hello *ours, const struct wf_hello *theirs)
{
	char why[100];

	snprintf(why, sizeof(why), "no protocol version in common: it speaks %u to %u, you speak %u to %u", ours->version_min,
		 ours->version_max, theirs->version_min, theirs->version_max);
	refuse(in, WEFT_EVERSION, why);
}

int wf_incoming_frame(struct wf_incoming *in, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_hello hello, ours;
	const char *what = wf_frame_check(h);

	if (what || h->type != WF_FR_HELLO || h->seq) {
		WF_LOG(&in->w->ctx->log, WF_LOG_INFO, "listener: %s does not speak weft", in->lane->peer);
		drop_incoming(in);
		return WEFT_EPROTO;
	}
	what = wf_hello_decode(p, h->len, &hello);
	wf_hello_make(in->w, &ours);
	if (what)
		refuse(in, WEFT_EPROTO, what);
	else if (!wf_hello_version(&ours, &hello))
		refuse_version(in, &ours, &hello);
	else if (in->listener->home)
		let_in(in, &hello);
	else
		make_request(in, &hello);
	return what ? WEFT_EPROTO : 0;
}

static int welcome(struct weft_ep *ep, const struct wf_hello *hello)
{
	struct wf_conn *c = ep->conn;
	uint8_t buf[WF_HELLO_MAX];
	struct wf_hello h;
	size_t len;

	wf_hello_make(ep->w, &h);
	h.version_min = h.version_max = wf_hello_version(&h, hello);
	h.features &= hello->features;
	wf_conn_offers(c, &h, hello);
	for (unsigned i = 0; i < WF_TR_MAX; i++) {
		const struct wf_offer *o = c->cand[i] ? wf_hello_find(hello, c->cand[i]->tr->name) : NULL;

		if (!o || c->cand[i]->tr->attach(c->cand[i], false, o->data, o->len) == 0)
			continue;
		wf_conn_note(ep, c->cand[i]->tr->name, weft_last_error()->cause);
	}
	len = wf_hello_encode(&h, buf, sizeof(buf));
	return len ? wf_conn_send(ep->boot, WF_FR_WELCOME, 0, buf, len) : WEFT_ELIMIT;
}

int wf_conn_accept(struct weft_worker *w, struct wf_lane *boot, const struct wf_hello *hello, const weft_conn_opts *o,
		   struct weft_ep **out)
{
	struct weft_ep *ep = wf_ep_new(w, o);

	if (!ep)
		return WEFT_ENOMEM;
	if (!wf_conn_new(ep, o)) {
		weft_ep_abort(ep);
		return WEFT_ENOMEM;
	}
	ep->conn->server = true;
	ep->conn->peer = *hello;
	ep->boot = boot;
	boot->owner = &ep->owner;
	boot->rx_seq = 1;                /* HELLO was 0 */
	if (boot->down)                  /* its upcall came while nobody owned the lane */
		wf_ep_fail(ep, WEFT_ERESET, 0, "the peer went away before it was accepted");
	else if (welcome(ep, hello) < 0)
		wf_ep_fail(ep, WEFT_ERESET, 0, "the connection broke before it was welcomed");
	*out = ep;
	return WEFT_OK;
}

/* Puts the request's lane on a port of @w. */
static int move_lane(struct weft_request *r, struct weft_worker *w)
{
	struct wf_port *p = NULL;
	int ret;

	for (unsigned i = 0; i < w->ctx->n_tr && !p; i++)
		if (w->ctx->tr[i].tr == r->lane->tr)
			p = wf_worker_port(w, i);
	if (!p)
		return weft_last_error()->status;
	ret = r->lane->tr->move(r->lane, p);
	if (ret)
		return ret;
	wf_list_push_back(&p->lanes, &r->lane->link);
	return 0;
}

static void abandon(struct weft_request *r)
{
	r->lane->owner = NULL;
	wf_lane_free(r->lane);
	wf_free(r);
}

int weft_accept(weft_request *r, weft_worker *w, const weft_conn_opts *o, weft_ep **out)
{
	struct wf_lane *lane;
	int ret;

	if (!r || !w || !out)
		return wf_fail(WEFT_EINVAL, 0, "weft_accept", NULL, "NULL argument");
	ret = wf_enter(w);
	if (ret)
		return ret;
	lane = r->lane;
	claim(r->ctx, r->id);
	ret = r->ctx == w->ctx ? wf_conn_opts_check(o, "weft_accept") :
				 wf_fail(WEFT_EINVAL, 0, "weft_accept", NULL, "the worker is of another context");
	if (!ret)
		ret = move_lane(r, w);
	if (ret) {
		abandon(r);
	} else {
		ret = wf_conn_accept(w, lane, &r->hello, o, out);
		if (ret)
			wf_lane_bury(w, lane);
		wf_free(r);
	}
	wf_leave(w);
	return ret;
}

/* Its listener's worker is gone, and with it the port that could send the reason. */
static int reject_alone(struct weft_request *r)
{
	if (wf_forkmark_is_forked(&r->ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "request", NULL, "made before fork()");
	claim(r->ctx, r->id);
	abandon(r);
	return WEFT_OK;
}

int weft_reject(weft_request *r, int32_t why, const char *text)
{
	struct weft_worker *w;
	int ret;

	if (!r)
		return wf_fail(WEFT_EINVAL, 0, "weft_reject", NULL, "NULL request");
	w = r->w;
	if (!w)
		return reject_alone(r);
	ret = wf_enter(w);
	if (ret)
		return ret;
	claim(r->ctx, r->id);
	ret = move_lane(r, w);
	if (ret) {
		abandon(r);
	} else {
		if (!text)
			text = "rejected";
		if (why >= 0 || why < WEFT_STATUS_MIN_)
			why = WEFT_EREJECTED;
		wf_conn_send(r->lane, WF_FR_REJECT, (uint16_t)-why, text, strnlen(text, 200));
		wf_lane_bury(w, r->lane);
		wf_free(r);
		wf_worker_bury_now(w);
	}
	wf_leave(w);
	return ret;
}

/* An event's request that was neither accepted nor rejected. */
void wf_request_release(struct weft_worker *w, weft_event *e)
{
	struct weft_request *r;

	if (wf_forkmark_is_forked(&w->ctx->fork))
		return;
	pthread_mutex_lock(&w->ctx->lock);
	r = wf_map_find(&w->ctx->requests, e->op.v);
	pthread_mutex_unlock(&w->ctx->lock);
	if (r)
		weft_reject(r, WEFT_EREJECTED, "nobody answered");
}

/* The worker ends: requests of its listeners that were reaped may still be accepted elsewhere. */
void wf_requests_forget(struct weft_worker *w)
{
	const struct wf_map_row *row;
	size_t at = 0;

	pthread_mutex_lock(&w->ctx->lock);
	while ((row = wf_map_next(&w->ctx->requests, &at))) {
		struct weft_request *r = row->value;

		if (r->w == w)
			r->w = NULL;
	}
	pthread_mutex_unlock(&w->ctx->lock);
}

/* The context closes: requests that the user never answered. Their workers are gone. */
void wf_request_drop_all(struct weft_ctx *ctx)
{
	const struct wf_map_row *row;
	size_t at = 0;

	while ((row = wf_map_next(&ctx->requests, &at)))
		abandon(row->value);
}

/* ---- listening ---- */

static void take_failed(struct wf_note *n, weft_event *out)
{
	struct weft_listener *l = wf_container_of(n, struct weft_listener, note);

	out->kind = WEFT_EV_LISTENER;
	out->status = l->status;
	out->user_data = l->user_data;
}

static void free_listener(struct weft_listener *l)
{
	struct weft_worker *w = l->w;
	struct wf_list *it, *tmp;

	l->closed = true;
	for (unsigned i = 0; i < l->n; i++)
		l->acceptor[i].port->tr->unlisten(&l->acceptor[i]);
	wf_list_foreach(it, tmp, &w->incoming) {
		struct wf_incoming *in = wf_list_entry(it, struct wf_incoming, link);

		if (in->listener == l)
			drop_incoming(in);
	}
	while ((it = wf_list_pop_front(&l->requests))) {
		struct weft_request *r = wf_list_entry(it, struct weft_request, link);

		wf_worker_unnote(w, &r->note);
		claim(r->ctx, r->id);
		wf_conn_send(r->lane, WF_FR_REJECT, (uint16_t)-WEFT_EREFUSED, "the listener was closed", 23);
		wf_lane_bury(w, r->lane);
		wf_free(r);
	}
	wf_worker_unnote(w, &l->note);
	wf_list_remove(&l->link);
	if (w->home == l)
		w->home = NULL;
	wf_free(l);
}

void wf_listener_free(struct wf_list *link)
{
	free_listener(wf_list_entry(link, struct weft_listener, link));
}

/* Listens at one address on one transport; the address becomes the bound one. */
static int listen_on(struct weft_listener *l, unsigned tr, char *addr)
{
	struct wf_port *p = wf_worker_port(l->w, tr);
	struct wf_acceptor *a = &l->acceptor[l->n];
	char bound[WF_URL_TEXT];
	int ret;

	if (!p)
		return weft_last_error()->status;
	if (l->n == ACCEPTORS_MAX)
		return wf_fail(WEFT_ELIMIT, 0, addr, NULL, "more than %u places to listen", ACCEPTORS_MAX);
	a->port = p;
	a->owner = l;
	ret = p->tr->listen(a, addr, bound, sizeof(bound));
	if (ret)
		return ret;
	l->n++;
	memcpy(addr, bound, sizeof(bound));
	return 0;
}

static bool leaves_process(const struct weft_ctx *ctx)
{
	for (unsigned i = 0; i < ctx->n_tr; i++)
		if (!(ctx->tr[i].tr->caps & WF_CAP_INTERNAL) && wf_transport_allowed(ctx, i, NULL))
			return true;
	return false;
}

/* The reason of the first transport that cannot, else that the settings leave none. */
static int nothing_listens(const struct weft_ctx *ctx, const char *addr)
{
	for (unsigned i = 0; i < ctx->n_tr; i++)
		if (ctx->tr[i].status)
			return wf_fail(WEFT_ENOTSUP, 0, addr, ctx->tr[i].remedy[0] ? ctx->tr[i].remedy : NULL,
				       "no transport that is allowed can listen; %s: %s", ctx->tr[i].tr->name, ctx->tr[i].why);
	return wf_fail(WEFT_ENOTSUP, 0, addr, "allow tcp, shm or loop in the settings", "no transport that is allowed can listen");
}

/* First the transport that decides the port, then the context's own under the same address. */
static int listen_at(struct weft_listener *l, char *addr)
{
	struct weft_ctx *ctx = l->w->ctx;
	unsigned before = l->n;
	int ret = 0;

	for (int internal = 0; internal < 2 && !ret; internal++)
		for (unsigned i = 0; i < ctx->n_tr && !ret; i++) {
			uint32_t caps = ctx->tr[i].tr->caps;

			if (!(caps & WF_CAP_BOOTSTRAP) || !(caps & WF_CAP_INTERNAL) != !internal)
				continue;
			if (internal ? !wf_transport_allowed(ctx, i, NULL) : !leaves_process(ctx))
				continue;
			ret = listen_on(l, i, addr);
		}
	if (!ret && l->n == before)
		ret = nothing_listens(ctx, addr);
	return ret;
}

static int listen_url(struct weft_worker *w, const struct wf_url *u, const weft_conn_opts *o, bool home, weft_listener **out)
{
	struct weft_listener *l = wf_calloc(1, sizeof(*l));
	int ret = 0;

	if (!l)
		return wf_fail(WEFT_ENOMEM, 0, "listener", NULL, "no memory");
	l->w = w;
	l->home = home;
	l->user_data = o ? o->user_data : 0;
	l->url = *u;
	l->note.take = take_failed;
	wf_list_init(&l->note.link);
	wf_list_init(&l->requests);
	wf_list_push_back(&w->listeners, &l->link);
	for (unsigned i = 0; i < l->url.n && !ret; i++)
		ret = listen_at(l, l->url.addr[i]);
	if (ret) {
		free_listener(l);
		return ret;
	}
	*out = l;
	return WEFT_OK;
}

/* Every address must be numeric: names are resolved before, where blocking is allowed. */
int wf_url_check(const struct wf_url *u, const char *text)
{
	struct wf_addr a;

	for (unsigned i = 0; i < u->n; i++) {
		int ret = wf_addr_parse(u->addr[i], &a);

		if (ret == -ENODEV)
			return wf_fail(WEFT_EURL, 0, text, "name an interface that this host has",
				       "\"%s\" is on an interface that is not there", u->addr[i]);
		if (ret)
			return wf_fail(WEFT_EURL, 0, text, "weft_resolve() turns names into addresses",
				       "\"%s\" is no numeric address", u->addr[i]);
		if (wf_addr_lacks_scope(&a))
			return wf_fail(WEFT_EURL, 0, text, "name the interface that it is on: [fe80::1%eth0]:port",
				       "\"%s\" is a link-local address without its interface", u->addr[i]);
	}
	return 0;
}

int weft_listen(weft_worker *w, const char *url, const weft_conn_opts *o, weft_listener **out)
{
	struct wf_url u;
	const char *what;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = url && out ? wf_conn_opts_check(o, "weft_listen") : wf_fail(WEFT_EINVAL, 0, "weft_listen", NULL, "NULL argument");
	what = ret ? NULL : wf_url_parse(url, &u);
	if (what)
		ret = wf_fail(WEFT_EURL, 0, url, "weft://address:port, port 0 for any", "%s", what);
	if (!ret)
		ret = wf_url_check(&u, url);
	if (!ret)
		ret = listen_url(w, &u, o, false, out);
	wf_leave(w);
	return ret;
}

int weft_listener_url(const weft_listener *l, char *out, size_t cap)
{
	size_t n = wf_url_format(&l->url, out, cap);

	return n < cap ? WEFT_OK : wf_fail(WEFT_EINVAL, 0, "weft_listener_url", NULL, "%zu bytes are needed", n + 1);
}

int weft_listener_close(weft_listener *l)
{
	struct weft_worker *w = l->w;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	free_listener(l);
	wf_worker_bury_now(w);
	wf_leave(w);
	return WEFT_OK;
}

/* ---- the worker's address ---- */

/* Does the setting `interfaces` allow it? It names interfaces and networks; empty: all. */
static bool is_wanted(const struct weft_worker *w, const struct wf_iface *iface)
{
	const char *at = w->ctx->conf.interfaces, *item;
	char text[64];
	size_t len;

	if (!*at || wf_conf_list_has(at, iface->name))
		return true;
	while ((item = wf_conf_list_next(&at, &len))) {
		snprintf(text, sizeof(text), "%.*s", (int)len, item);
		if (wf_addr_in_cidr(&iface->addr, text))
			return true;
	}
	return false;
}

/* Every address of this host at which the worker's own listener is reached, the likeliest first. */
static void own_addresses(const struct weft_listener *home, struct wf_url *out)
{
	struct wf_iface list[WF_URL_ADDRS];
	int n = wf_iface_list(list, WF_URL_ADDRS);
	struct wf_addr bound;

	out->n = 0;
	for (unsigned k = 0; k < home->url.n; k++) {
		if (wf_addr_parse(home->url.addr[k], &bound))
			continue;
		for (int i = 0; i < n && out->n < WF_URL_ADDRS; i++) {
			struct wf_addr a = list[i].addr;

			if (a.sa.ss_family != bound.sa.ss_family || !is_wanted(home->w, &list[i]))
				continue;
			wf_addr_set_port(&a, wf_addr_port(&bound));
			wf_addr_format(&a, out->addr[out->n++], WF_URL_TEXT);
		}
	}
	if (!out->n)
		*out = home->url;
}

static int open_home(struct weft_worker *w)
{
	static const char *const places[] = { "weft://0.0.0.0:0,[::]:0", "weft://0.0.0.0:0", "weft://127.0.0.1:0" };
	struct wf_url u;
	int ret = WEFT_OK;

	for (size_t i = 0; i < WF_ARRAY_LEN(places) && !w->home; i++) {
		wf_url_parse(places[i], &u);
		ret = listen_url(w, &u, NULL, true, &w->home);
	}
	return ret;
}

int weft_address(weft_worker *w, void *out, size_t *len)
{
	struct wf_address a = { .url = { .n = 0 } };
	uint8_t buf[2048];
	size_t n;
	int ret = wf_enter(w);

	if (ret)
		return ret;
	ret = !len || (!out && *len) ? wf_fail(WEFT_EINVAL, 0, "weft_address", NULL, "NULL argument") : w->home ? 0 : open_home(w);
	if (!ret) {
		memcpy(a.uuid, w->uuid, WF_UUID);
		memcpy(a.secret, w->secret, WF_UUID);
		own_addresses(w->home, &a.url);
		n = wf_address_encode(&a, buf, sizeof(buf));
		if (n > *len)
			ret = wf_fail(WEFT_EINVAL, 0, "weft_address", NULL, "%zu bytes are needed", n);
		else
			memcpy(out, buf, n);
		*len = n;
	}
	wf_leave(w);
	return ret;
}
