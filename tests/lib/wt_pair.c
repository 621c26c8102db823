/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt_pair.c - connected endpoints, messages between them, memory that one of them grants.
 */
#include "lib/wt.h"

#include <stdlib.h>

static weft_conn_opts conn_opts(uint32_t flags)
{
	return (weft_conn_opts){ .size = sizeof(weft_conn_opts), .flags = flags, .user_data = wt_call(0).user_data };
}

weft_listener *wt_listen(struct wt_w *w, char *url_out, size_t cap)
{
	weft_listener *l;

	wt_must(weft_listen(w->w, "weft://127.0.0.1:0", NULL, &l) == WEFT_OK);
	wt_must(weft_listener_url(l, url_out, cap) == WEFT_OK);
	return l;
}

weft_ep *wt_connect(struct wt_w *w, const char *url)
{
	weft_conn_opts o = conn_opts(0);
	weft_ep *ep;

	wt_must(weft_connect(w->w, url, &o, &ep) == WEFT_OK);
	wt_wait(w, WEFT_EV_CONNECTED, o.user_data, WT_LIMIT_MS);
	return ep;
}

weft_ep *wt_accept(struct wt_w *w)
{
	weft_event e = wt_wait(w, WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
	weft_conn_opts o = conn_opts(0);
	weft_ep *ep;

	wt_must(weft_accept(e.data, w->w, &o, &ep) == WEFT_OK);
	wt_wait(w, WEFT_EV_CONNECTED, o.user_data, WT_LIMIT_MS);
	return ep;
}

void wt_ep_close(struct wt_w *w, weft_ep *ep)
{
	weft_call c = wt_call(0);

	wt_done(w, wt_took(w, weft_ep_close(ep, &c), &c));
}

static void connect_pair(struct wt_pair *p, uint32_t flags, weft_ep *out[2])
{
	weft_conn_opts o[2] = { conn_opts(flags), conn_opts(flags) };
	weft_event e;

	wt_must(weft_connect(p->w[0]->w, p->url, &o[0], &out[0]) == WEFT_OK);
	e = wt_wait(p->w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
	wt_must(weft_accept(e.data, p->w[1]->w, &o[1], &out[1]) == WEFT_OK);
	wt_wait(p->w[0], WEFT_EV_CONNECTED, o[0].user_data, WT_LIMIT_MS);
	wt_wait(p->w[1], WEFT_EV_CONNECTED, o[1].user_data, WT_LIMIT_MS);
}

void wt_pair_open_with(struct wt_pair *p, unsigned flags, const char *key, const char *value)
{
	*p = (struct wt_pair){ .ctx = wt_open(key, value) };
	p->w[0] = wt_worker(p->ctx, 0);
	p->w[1] = flags & WT_ONE_WORKER ? p->w[0] : wt_worker(p->ctx, 0);
	p->listener = wt_listen(p->w[1], p->url, sizeof(p->url));
	connect_pair(p, flags & WT_STREAM_EVENTS ? WEFT_WANT_STREAM : 0, p->ep);
}

void wt_pair_open(struct wt_pair *p, unsigned flags)
{
	wt_pair_open_with(p, flags, NULL, NULL);
}

void wt_pair_more(struct wt_pair *p, weft_ep *out[2])
{
	connect_pair(p, 0, out);
}

void wt_pair_close(struct wt_pair *p)
{
	weft_call c[2] = { wt_call(0), wt_call(0) };
	struct wt_posted closed[2];

	for (int i = 0; i < 2; i++) {
		if (p->ep[i])
			closed[i] = wt_took(p->w[i], weft_ep_close(p->ep[i], &c[i]), &c[i]);
	}
	for (int i = 0; i < 2; i++) {
		if (p->ep[i])
			wt_done(p->w[i], closed[i]);
	}
	if (p->listener)
		wt_must(weft_listener_close(p->listener) == WEFT_OK);
	if (p->w[1] != p->w[0])
		wt_worker_free(p->w[1]);
	wt_worker_free(p->w[0]);
	wt_close(p->ctx);
}

struct wt_posted wt_send(struct wt_pair *p, int side, const void *buf, size_t len, uint64_t tag, uint32_t flags)
{
	weft_call c = wt_call(flags);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[side], weft_send(p->ep[side], &b, 1, tag, &c), &c);
}

struct wt_posted wt_recv(struct wt_pair *p, int side, void *buf, size_t len, uint64_t tag, uint64_t mask)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[side], weft_recv(p->w[side]->w, &b, 1, tag, mask, &c), &c);
}

void wt_exchange(struct wt_pair *p, int from, size_t len, uint64_t seed)
{
	unsigned char *out = malloc(len + 1), *in = malloc(len + 1);
	struct wt_posted s, r;
	weft_event e;

	wt_must(out && in);
	wt_fill(out, len, seed);
	memset(in, 0xee, len + 1);
	r = wt_recv(p, !from, in, len, seed, WT_EXACT);
	s = wt_send(p, from, out, len, seed, 0);
	e = wt_ok(p->w[!from], r);
	wt_ok(p->w[from], s);
	wt_must(e.len == len && e.tag == seed && e.ep == p->ep[!from]);
	wt_must(wt_differs(in, len, seed) == SIZE_MAX);
	wt_must(in[len] == 0xee);
	free(out);
	free(in);
}

void wt_mem_open(struct wt_pair *p, struct wt_mem *m, size_t len, uint32_t access, bool allocated)
{
	unsigned char token[64];
	size_t token_len = sizeof(token);
	weft_buf b;

	*m = (struct wt_mem){ .len = len };
	if (allocated) {
		wt_must(weft_mem_alloc(p->ctx, len, WEFT_HOST, 0, &m->mem) == WEFT_OK);
		m->addr = weft_mem_addr(m->mem, NULL);
	} else {
		m->own = aligned_alloc(64, (len + 63) / 64 * 64);
		wt_must(m->own != NULL);
		m->addr = memset(m->own, 0, len);
		b = wt_buf(m->addr, len);
		wt_must(weft_mem_register(p->ctx, &b, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, &m->mem) == WEFT_OK);
	}
	wt_must(weft_grant_new(m->mem, 0, len, access, NULL, token, &token_len, &m->grant) == WEFT_OK);
	wt_must(weft_remote_open(p->ep[0], token, token_len, &m->remote) == WEFT_OK);
}

void wt_mem_close(struct wt_pair *p, struct wt_mem *m)
{
	weft_call c = wt_call(0);

	weft_remote_close(m->remote);
	wt_ok(p->w[1], wt_took(p->w[1], weft_grant_revoke(m->mem, m->grant, &c), &c));
	wt_must(weft_mem_free(m->mem) == WEFT_OK);
	free(m->own);
}
