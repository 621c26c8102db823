/* SPDX-License-Identifier: BSD-3-Clause
 *
 * unexpected.c - messages that came before anybody wanted them. Their memory is bounded for each worker: above half of
 * the limit peers are asked to send by rendezvous only (a header stays here, the bytes stay there); above the limit an
 * endpoint's lane is told "not now", unless something is waiting that may come next.
 *
 * Small ones live in the pool slot itself, middle ones in buffers that are kept for reuse, so that a program in its
 * stride allocates nothing.
 */
#include <string.h>

#include "core/internal.h"

#define CLASS_MIN 512u
#define CLASS_CACHED 16u         /* buffers kept of each size */
#define CLS_MALLOC 255
#define HARD_EXTRA (64u << 20)

static uint8_t class_of(size_t len)
{
	size_t size = CLASS_MIN;

	for (uint8_t c = 1; c <= WF_BUF_CLASSES; c++, size <<= 1)
		if (len <= size)
			return c;
	return CLS_MALLOC;
}

static void *buf_get(struct weft_worker *w, uint8_t cls, size_t len)
{
	void *p;

	if (cls == CLS_MALLOC)
		return wf_malloc(len);
	p = w->buf_cache[cls - 1];
	if (!p)
		return wf_malloc((size_t)CLASS_MIN << (cls - 1));
	memcpy(&w->buf_cache[cls - 1], p, sizeof(void *));     /* a free buffer begins with the next one */
	w->buf_cached[cls - 1]--;
	return p;
}

static void buf_put(struct weft_worker *w, uint8_t cls, void *p)
{
	if (cls == CLS_MALLOC || w->buf_cached[cls - 1] >= CLASS_CACHED) {
		wf_free(p);
		return;
	}
	memcpy(p, &w->buf_cache[cls - 1], sizeof(void *));
	w->buf_cache[cls - 1] = p;
	w->buf_cached[cls - 1]++;
}

void wf_msg_cache_free(struct weft_worker *w)
{
	for (unsigned c = 0; c < WF_BUF_CLASSES; c++) {
		while (w->buf_cache[c]) {
			void *p = w->buf_cache[c];

			memcpy(&w->buf_cache[c], p, sizeof(void *));
			wf_free(p);
		}
		w->buf_cached[c] = 0;
	}
}

/* A message of @ep with room for @data_len bytes; NULL: no memory now. */
struct wf_msg *wf_msg_new(struct weft_ep *ep, uint8_t kind, size_t data_len)
{
	struct weft_worker *w = ep->w;
	struct wf_msg *m = wf_pool_get(&w->msgs);

	if (!m)
		return NULL;
	memset(m, 0, offsetof(struct wf_msg, small));
	m->data = m->small;
	if (data_len > WF_MSG_INLINE) {
		m->cls = class_of(data_len);
		m->data = buf_get(w, m->cls, data_len);
		if (!m->data) {
			wf_pool_put(&w->msgs, m);
			return NULL;
		}
	}
	wf_list_init(&m->match.by_tag_from);
	wf_list_init(&m->match.by_tag);
	wf_list_init(&m->match.by_from);
	wf_list_init(&m->match.all);
	wf_list_init(&m->note.link);
	m->ep = ep;
	m->kind = kind;
	m->data_len = data_len;
	m->charged = data_len + sizeof(*m);
	w->unexpected += m->charged;
	ep->refs++;
	wf_list_push_back(&ep->msgs, &m->link);
	return m;
}

void wf_msg_free(struct wf_msg *m)
{
	struct weft_ep *ep = m->ep;
	struct weft_worker *w = ep->w;

	if (m->matchable)
		wf_match_remove(&w->match, &m->match);
	wf_worker_unnote(w, &m->note);
	wf_list_remove(&m->link);
	if (m->cls)
		buf_put(w, m->cls, m->data);
	w->unexpected -= m->charged;
	wf_pool_put(&w->msgs, m);
	ep->refs--;
	if (wf_unlikely(w->pressure))
		wf_msg_pressure(w);
	wf_ep_free_if_gone(ep);
}

/*
 * May what we wait for stand behind the frame for which there is no room, or be it? A receive from anybody, or anything pending on
 * the endpoint itself (the bytes of a large message, an answer): then reading must go on, or nothing ever would. A program
 * that waits for an active message posts nothing; so an endpoint of which nothing is kept counts as one that waits.
 */
static bool something_waits(const struct weft_ep *ep)
{
	const struct weft_worker *w = ep->w;

	if (!wf_list_is_empty(&ep->rx_ops) || !wf_list_is_empty(&ep->ops) || wf_list_is_empty(&ep->msgs))
		return true;
	return wf_match_has_recvs(&w->match);
}

/* May @bytes more be kept for @ep? */
bool wf_msg_room(struct weft_ep *ep, size_t bytes)
{
	struct weft_worker *w = ep->w;
	size_t limit = w->ctx->conf.limit_unexpected;

	if (wf_likely(w->unexpected + bytes <= limit))
		return true;
	return something_waits(ep) && w->unexpected < 4 * limit + HARD_EXTRA;
}

void wf_ep_tell_pressure(struct weft_ep *ep)
{
	bool on = ep->w->pressure;

	if (ep->state == WF_EP_READY && ep->told_pressure != on) {
		ep->told_pressure = on;
		wf_ep_ctl(ep, WF_FR_PRESSURE, 0, on, 0, 0, NULL, 0);
	}
}

static void set_pressure(struct weft_worker *w, bool on)
{
	struct wf_list *it, *tmp;

	w->pressure = on;
	wf_list_foreach(it, tmp, &w->eps_list)
		wf_ep_tell_pressure(wf_list_entry(it, struct weft_ep, link));
}

/* Asks the peers for rendezvous above half of the limit, and allows eager messages again below a quarter. */
void wf_msg_pressure(struct weft_worker *w)
{
	size_t limit = w->ctx->conf.limit_unexpected;

	if (!w->pressure && w->unexpected > limit / 2)
		set_pressure(w, true);
	else if (w->pressure && w->unexpected < limit / 4)
		set_pressure(w, false);
}

/* To the receive that wants it, else among the unexpected. match.tag and seq are set. */
void wf_msg_keep(struct wf_msg *m)
{
	struct weft_worker *w = m->ep->w;
	struct wf_match_recv *r = wf_match_arrive(&w->match, m->match.tag, m->ep);

	if (r) {
		wf_msg_deliver(m, wf_container_of(r, struct wf_op, recv));
		return;
	}
	m->match.from = m->ep;
	m->matchable = true;
	wf_match_return_msg(&w->match, &m->match);
	wf_msg_pressure(w);
}
