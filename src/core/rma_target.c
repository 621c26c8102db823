/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rma_target.c - one-sided operations, on the side whose memory it is. Every request names an open: a grant that this
 * endpoint has shown the token of. Token, rights, range and revocation are checked for each request; a put that fails is
 * told with the answer to the next flush.
 */
#include <string.h>

#include "core/internal.h"
#include "core/rma.h"

struct reply {                           /* the answer to a GET, on its way out */
	struct wf_txitem tx;
	struct wf_list link;             /* ep->replies */
	struct wf_sent sent;
	struct weft_ep *ep;
	struct wf_open *open;
	weft_buf buf;
	uint64_t off, handle;
	uint32_t inflight;
	bool all_sent;
};

size_t wf_reply_size(void)
{
	return sizeof(struct reply);
}

/* ---- opens ---- */

static struct wf_open *find_open(struct weft_ep *ep, uint32_t id)
{
	struct wf_open *o = wf_by_wire_id(&ep->w->opens, id);

	return o && o->ep == ep && !o->closed ? o : NULL;
}

static void free_open(struct wf_open *o)
{
	struct weft_ep *ep = o->ep;

	wf_grant_unopen(o);
	if (wf_list_is_linked(&o->link))
		ep->n_opens--;
	wf_list_remove(&o->link);
	if (wf_list_is_linked(&o->note.link))
		return;                  /* its last signal waits to be reaped; take_signal() comes back here */
	wf_pool_put(&ep->w->opens, o);
	ep->refs--;
	wf_ep_free_if_gone(ep);
}

static void close_open(struct wf_open *o)
{
	o->closed = true;
	if (!o->busy)
		free_open(o);
}

static void take_signal(struct wf_note *n, weft_event *out)
{
	struct wf_open *o = wf_container_of(n, struct wf_open, note);

	out->kind = WEFT_EV_SIGNAL;
	out->ep = o->ep;
	out->user_data = o->ep->user_data;
	out->tag = o->grant_id;
	out->value = o->sum;
	o->sum = 0;
	if (o->closed && !o->busy)
		free_open(o);
}

/* The grant that a token names, its count of opens already up; or NULL and why. */
static struct wf_grant *admit(struct weft_ep *ep, const struct wf_token *t, int32_t *why)
{
	struct weft_ctx *ctx = ep->w->ctx;
	struct wf_grant *g;

	pthread_mutex_lock(&ctx->lock);
	g = wf_map_find(&ctx->grants, t->grant);
	*why = WEFT_EACCESS;
	if (g && (!wf_same_secret(g->key, t->key, sizeof(g->key)) || (g->only_worker && (g->only_worker != ep->w->id || g->only_ep != ep->id))))
		g = NULL;
	if (g && atomic_load_explicit(&g->revoked, memory_order_acquire)) {
		*why = WEFT_EREVOKED;
		g = NULL;
	}
	if (g) {
		g->n_open++;
		if (!g->home)
			g->home = ep->w;
	}
	pthread_mutex_unlock(&ctx->lock);
	return g;
}

static void answer_open(struct weft_ep *ep, struct wf_open *o)
{
	uint8_t p[sizeof(struct wf_opened) + WF_DESC_MAX];
	struct wf_grant *g = o->grant;
	struct wf_opened a = { .len = g->len, .open = wf_wire_id(o), .access = g->access };
	struct wf_lane *l = ep->msg;
	size_t desc = 0;

	memcpy(p, &a, sizeof(a));
	if (l->tr->mem_offer)
		desc = l->tr->mem_offer(l, &g->mem->region, g->off, g->len, g->access, p + sizeof(a), WF_DESC_MAX, &o->hold);
	wf_ep_ctl(ep, WF_FR_OPENED, 0, 0, o->peer_id, 0, p, sizeof(a) + desc);
}

void wf_rma_offer_again(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ep->opens) {
		struct wf_open *o = wf_list_entry(it, struct wf_open, link);

		if (!o->closed && o->grant && !atomic_load_explicit(&o->grant->revoked, memory_order_acquire) && !o->hold)
			answer_open(ep, o);
	}
}

static int in_open(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	static const struct wf_opened none;
	struct wf_token t;
	struct wf_grant *g = NULL;
	struct wf_open *o;
	int32_t why = WEFT_EACCESS;

	if (wf_token_decode(p, h->len, &t))
		return WEFT_EPROTO;
	o = wf_pool_get(&ep->w->opens);
	if (!o)
		return WEFT_AGAIN;
	if (ep->n_opens < WF_OPENS_MAX)
		g = admit(ep, &t, &why);
	else
		why = WEFT_ELIMIT;
	if (!g) {
		wf_pool_put(&ep->w->opens, o);
		wf_ep_ctl(ep, WF_FR_OPENED, 0, (uint16_t)-why, h->id, 0, &none, sizeof(none));
		return 0;
	}
	memset(o, 0, sizeof(*o));
	wf_list_init(&o->note.link);
	o->note.take = take_signal;
	o->ep = ep;
	o->grant = g;
	o->grant_id = g->id;
	o->peer_id = h->id;
	ep->refs++;
	ep->n_opens++;
	wf_list_push_back(&ep->opens, &o->link);
	answer_open(ep, o);
	return 0;
}

/* Where a request may go: the address, or NULL and why. */
static uint8_t *reach(const struct wf_open *o, uint64_t off, uint64_t len, uint32_t need, int32_t *why)
{
	const struct wf_grant *g = o->grant;

	*why = 0;
	if (!g || atomic_load_explicit(&g->revoked, memory_order_acquire))
		*why = WEFT_EREVOKED;
	else if ((g->access & need) != need)
		*why = WEFT_EACCESS;
	else if (off > g->len || len > g->len - off)
		*why = WEFT_EBOUNDS;
	return *why ? NULL : (uint8_t *)g->mem->region.addr + g->off + off;
}

/* ---- put ---- */

static void put_failed(struct weft_ep *ep, int32_t why)
{
	if (!ep->put_status)
		ep->put_status = why;
}

static int in_put(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_open *o = find_open(ep, h->id);
	int32_t why;
	uint8_t *at;

	if (!o)
		return WEFT_EPROTO;
	at = reach(o, h->tag, h->len, WEFT_WRITE, &why);
	if (!at)
		put_failed(ep, why);
	else if (h->len)
		memcpy(at, p, h->len);
	return 0;
}

static void sink_put_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	struct wf_open *o = s->owner;

	(void)l;
	(void)h;
	if (--o->busy == 0 && o->closed)
		free_open(o);
}

/* Straight from the socket into the granted memory; the open is held meanwhile, and with it the grant. */
int wf_sink_put(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h)
{
	struct wf_open *o = find_open(ep, h->id);
	int32_t why;
	uint8_t *at;

	if (!o)
		return WEFT_EPROTO;
	at = reach(o, h->tag, h->len, WEFT_WRITE, &why);
	if (!at)
		put_failed(ep, why);
	o->busy++;
	o->put_buf = (weft_buf){ .addr = at, .len = at ? h->len : 0 };
	l->sink = (struct wf_sink){ .bufs = &o->put_buf, .n = 1, .keep = o->put_buf.len, .owner = o, .end = sink_put_end };
	return WEFT_OK;
}

static int in_signal(struct weft_ep *ep, const struct wf_frame *h)
{
	struct wf_open *o = find_open(ep, h->id);
	int32_t why;

	if (!o)
		return WEFT_EPROTO;
	if (!reach(o, 0, 0, WEFT_WRITE, &why)) {
		put_failed(ep, why);
		return 0;
	}
	o->sum += h->tag;
	if (!wf_list_is_linked(&o->note.link))
		wf_worker_note(ep->w, &o->note);
	return 0;
}

/* ---- get ---- */

static void end_reply(struct reply *r)
{
	struct wf_open *o = r->open;
	struct weft_worker *w = r->ep->w;

	wf_list_remove(&r->tx.link);
	wf_list_remove(&r->link);
	r->ep->n_waiting--;
	wf_pool_put(&w->replies, r);
	if (--o->busy == 0 && o->closed)
		free_open(o);
}

static void on_sent(struct wf_sent *s)
{
	struct reply *r = wf_container_of(s, struct reply, sent);

	if (--r->inflight == 0 && r->all_sent)
		end_reply(r);
}

static int push_reply(struct weft_ep *ep, struct wf_txitem *it)
{
	struct reply *r = wf_container_of(it, struct reply, tx);
	uint64_t len = WF_MIN(WF_MIN(r->buf.len - r->off, ep->msg->frame_max), WF_BULK_CHUNK);
	struct wf_tx tx = {
		.h = { .type = WF_FR_GOT, .tag = r->handle, .len = (uint32_t)len },
		.bufs = &r->buf, .n = 1, .off = r->off, .len = len, .sent = &r->sent,
	};
	int ret = wf_ep_tx(ep, &tx);

	if (ret == WEFT_AGAIN)
		return WEFT_AGAIN;
	r->inflight += ret == WEFT_PENDING;
	r->off += len;
	if (r->off < r->buf.len)
		return WEFT_PENDING;
	wf_list_remove(&it->link);
	r->all_sent = true;
	if (!r->inflight)
		end_reply(r);
	return WEFT_OK;
}

static int in_get(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_open *o = find_open(ep, h->id);
	struct wf_get get;
	struct reply *r;
	int32_t why;
	uint8_t *at;

	if (!o)
		return WEFT_EPROTO;
	memcpy(&get, p, sizeof(get));
	at = reach(o, h->tag, get.len, WEFT_READ, &why);
	if (!at || !get.len) {
		if (!at)
			wf_ep_ctl(ep, WF_FR_GET_FAIL, 0, (uint16_t)-why, 0, get.op, NULL, 0);
		return 0;
	}
	if (wf_ep_owes_too_much(ep)) {
		wf_ep_fail(ep, WEFT_ELIMIT, 0, "the peer asks and asks and does not read the answers");
		return WEFT_ELIMIT;
	}
	r = wf_pool_get(&ep->w->replies);
	if (!r)
		return WEFT_AGAIN;
	*r = (struct reply){ .ep = ep, .open = o, .buf = { .addr = at, .len = get.len }, .handle = get.op };
	wf_list_init(&r->link);
	wf_list_init(&r->tx.link);
	r->tx.push = push_reply;
	r->sent.done = on_sent;
	o->busy++;
	ep->n_waiting++;
	wf_list_push_back(&ep->replies, &r->link);
	wf_list_push_back(&ep->bulkq, &r->tx.link);
	wf_ep_kick(ep);
	return 0;
}

/* ---- atomic ---- */

static int in_atomic(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_open *o = find_open(ep, h->id);
	struct wf_atomic a;
	uint64_t old = 0;
	int32_t why;
	uint8_t *at;

	if (!o || !wf_amo_is_known(h->aux))
		return WEFT_EPROTO;
	memcpy(&a, p, sizeof(a));
	at = reach(o, h->tag, wf_amo_size(h->aux), WEFT_ATOMIC, &why);
	if (at && (uintptr_t)at % wf_amo_size(h->aux))
		why = WEFT_EINVAL;
	else if (at)
		old = wf_amo(at, h->aux, a.operand, a.compare);
	wf_ep_ctl(ep, WF_FR_ATOMIC_DONE, 0, (uint16_t)-why, 0, a.op, &old, sizeof(old));
	return 0;
}

int wf_in_rma_target(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	struct wf_open *o;

	switch (h->type) {
	case WF_FR_OPEN:
		return in_open(ep, h, p);
	case WF_FR_PUT:
		return in_put(ep, h, p);
	case WF_FR_SIGNAL:
		return in_signal(ep, h);
	case WF_FR_GET:
		return in_get(ep, h, p);
	case WF_FR_ATOMIC:
		return in_atomic(ep, h, p);
	default:                         /* CLOSE_REMOTE, REVOKED */
		o = find_open(ep, h->id);
		if (o)
			close_open(o);
		return 0;
	}
}

/* ---- the end of the endpoint: its lanes are closed, nothing is being read or sent ---- */

void wf_rma_ep_down(struct weft_ep *ep)
{
	struct wf_list *it, *tmp;

	while ((it = wf_list_first(&ep->replies)))
		end_reply(wf_list_entry(it, struct reply, link));
	wf_list_foreach(it, tmp, &ep->opens) {
		struct wf_open *o = wf_list_entry(it, struct wf_open, link);

		o->busy = 0;
		close_open(o);
	}
}
