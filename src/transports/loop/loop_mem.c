/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop_mem.c - loop's large buffers and remote memory: memcpy and C11 atomics, made by the side that asks. A description
 * is a token that is looked up among the offers of the peer's end, never an address. Everything runs under pipe->lock,
 * so that who takes an offer back waits for a copy that is under way, and the memory is quiet afterwards.
 */
#include "base/amo.h"
#include "transports/loop/loop.h"

#include <string.h>

#include "base/fault.h"

/* Memory that was granted, by its owner's end. */
struct loop_mem {
	struct wf_list link;
	uint64_t token;
	char *addr;
	uint64_t len;
	uint32_t access;
};

void loop_drop_offers(struct loop_end *end)
{
	struct wf_list *it;

	while (wf_list_pop_front(&end->copies))
		;
	while ((it = wf_list_pop_front(&end->mems)))
		wf_free(wf_list_entry(it, struct loop_mem, link));
}

static uint64_t new_token(struct loop_lane *ll)
{
	return 1 + atomic_fetch_add_explicit(&ll->pipe->shared->last_token, 1, memory_order_relaxed);
}

int loop_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r)
{
	struct loop_lane *ll = loop_lane_of(l);

	(void)r;
	c->word[0] = new_token(ll);
	c->word[1] = 0;
	memcpy(c->desc, &c->word[0], sizeof(c->word[0]));
	c->desc_len = sizeof(c->word[0]);
	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_init(&c->link);
	wf_list_push_back(&loop_own_end(ll)->copies, &c->link);
	pthread_mutex_unlock(&ll->pipe->lock);
	return 0;
}

static void copy_pieces(const struct wf_copy *to, const struct wf_copy *from, uint64_t len)
{
	uint64_t at = 0;

	for (size_t i = 0; i < from->n && at < len; i++) {
		size_t k = WF_MIN(from->bufs[i].len, len - at);

		wf_bufs_copy_in(to->bufs, to->n, at, from->bufs[i].addr, k);
		at += k;
	}
}

/* The upcall comes from the next poll(). */
static void copy_finished(struct loop_lane *ll, struct wf_copy *c, int32_t status)
{
	c->word[2] = (uint64_t)(int64_t)status;
	wf_list_push_back(&ll->finished, &c->link);
	loop_tell(ll->pipe->shared, loop_own_end(ll));
}

int loop_finish_copies(struct loop_lane *ll)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&ll->finished))) {
		struct wf_copy *c = wf_list_entry(it, struct wf_copy, link);

		wf_copy_done(c, (int32_t)c->word[2]);
		n++;
	}
	return n;
}

int loop_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r)
{
	struct loop_lane *ll = loop_lane_of(l);
	struct wf_list *it, *tmp;
	struct wf_copy *found = NULL;
	uint64_t token;

	(void)r;
	if (c->desc_len != sizeof(token))
		return WEFT_EPROTO;
	memcpy(&token, c->desc, sizeof(token));
	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_foreach(it, tmp, &loop_peer_end(ll)->copies) {
		if (wf_list_entry(it, struct wf_copy, link)->word[0] == token)
			found = wf_list_entry(it, struct wf_copy, link);
	}
	if (found) {
		copy_pieces(c, found, WF_MIN(c->len, found->len));
		found->word[1] = 1;
	}
	pthread_mutex_unlock(&ll->pipe->lock);
	if (!found)
		return WEFT_ECANCELED;
	l->copy_us += c->len;
	wf_list_init(&c->link);
	copy_finished(ll, c, WEFT_OK);
	return 0;
}

void loop_copy_stop(struct wf_lane *l, struct wf_copy *c)
{
	struct loop_lane *ll = loop_lane_of(l);

	if (!c->sender)
		return; /* it was complete in copy_start(): the upcall is on its way */
	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_remove(&c->link);
	pthread_mutex_unlock(&ll->pipe->lock);
	copy_finished(ll, c, c->word[1] ? WEFT_OK : WEFT_ECANCELED);
}

void loop_copy_end(struct wf_lane *l, struct wf_copy *c)
{
	struct loop_lane *ll = loop_lane_of(l);

	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_remove(&c->link);
	pthread_mutex_unlock(&ll->pipe->lock);
	l->copy_peer += c->len;
}

size_t loop_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access,
			     void *desc, size_t cap, uint64_t *hold)
{
	struct loop_lane *ll = loop_lane_of(l);
	struct loop_mem *m = cap < sizeof(m->token) ? NULL : wf_calloc(1, sizeof(*m));

	(void)hold; /* the peer's way in needs nothing of ours */
	if (!m)
		return 0;
	*m = (struct loop_mem){ .token = new_token(ll), .addr = (char *)r->addr + off, .len = len, .access = access };
	memcpy(desc, &m->token, sizeof(m->token));
	pthread_mutex_lock(&ll->pipe->lock);
	wf_list_push_back(&loop_own_end(ll)->mems, &m->link);
	pthread_mutex_unlock(&ll->pipe->lock);
	return sizeof(m->token);
}

/* Under pipe->lock. NULL: it was never offered, or its owner is gone. */
static struct loop_mem *find_mem(struct loop_lane *ll, uint64_t token)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &loop_peer_end(ll)->mems) {
		if (wf_list_entry(it, struct loop_mem, link)->token == token)
			return wf_list_entry(it, struct loop_mem, link);
	}
	return NULL;
}

int loop_mem_open(struct wf_lane *l, struct wf_direct *d)
{
	struct loop_lane *ll = loop_lane_of(l);

	if (d->desc_len != sizeof(d->word[0]))
		return WEFT_EPROTO;
	memcpy(&d->word[0], d->desc, sizeof(d->word[0]));
	pthread_mutex_lock(&ll->pipe->lock);
	d->ready = find_mem(ll, d->word[0]) != NULL;
	pthread_mutex_unlock(&ll->pipe->lock);
	return d->ready ? 0 : WEFT_EPROTO;
}

void loop_mem_close(struct wf_lane *l, struct wf_direct *d)
{
	struct loop_lane *ll = loop_lane_of(l);
	struct loop_mem *m;

	d->ready = false;
	pthread_mutex_lock(&ll->pipe->lock);
	m = find_mem(ll, d->word[0]);
	if (m)
		wf_list_remove(&m->link);
	pthread_mutex_unlock(&ll->pipe->lock);
	wf_free(m);
}

/* Where @len bytes at @off of an opened memory are; NULL: not within it, or not for that. Under pipe->lock. */
static char *reach(struct loop_lane *ll, struct wf_direct *d, uint64_t off, uint64_t len, uint32_t access)
{
	struct loop_mem *m = find_mem(ll, d->word[0]);

	if (!m || (m->access & access) != access || off > m->len || len > m->len - off)
		return NULL;
	return m->addr + off;
}

int loop_rma(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n,
		    size_t len)
{
	struct loop_lane *ll = loop_lane_of(l);
	char *at;

	pthread_mutex_lock(&ll->pipe->lock);
	at = reach(ll, d, off, len, what == WF_RMA_PUT ? WEFT_WRITE : WEFT_READ);
	if (at && what == WF_RMA_PUT)
		wf_bufs_copy_out(at, bufs, n, 0, len);
	else if (at)
		wf_bufs_copy_in(bufs, n, 0, at, len);
	pthread_mutex_unlock(&ll->pipe->lock);
	return at ? WEFT_OK : WEFT_AGAIN; /* by frames the owner's side finds the right word for it */
}

int loop_atomic(struct wf_lane *l, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand,
		       uint64_t compare, uint64_t *old_out)
{
	struct loop_lane *ll = loop_lane_of(l);
	size_t size = wf_amo_size(what);
	char *at;

	if (!wf_amo_is_known(what))
		return WEFT_EINVAL;
	pthread_mutex_lock(&ll->pipe->lock);
	at = reach(ll, d, off, size, WEFT_ATOMIC);
	if (at && (uintptr_t)at % size)
		at = NULL;
	if (at)
		*old_out = wf_amo(at, what, operand, compare);
	pthread_mutex_unlock(&ll->pipe->lock);
	return at ? WEFT_OK : WEFT_AGAIN;
}
