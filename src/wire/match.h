/* SPDX-License-Identifier: BSD-3-Clause
 *
 * match.h - tag matching: posted receives against messages that nobody expected yet.
 *
 * A receive takes the earliest message with (sent ^ tag) & mask == 0 from its source; a message goes to the earliest
 * receive that takes it. Both orders are kept by sequence numbers, so that what is put back (a cancelled receive's
 * message, a withdrawn message's receive) returns to its old place. Full-mask and wildcard receives, from one source or
 * any, are kept apart in hash tables, so that ten thousand endpoints with one receive each cost one look.
 * Knows nothing of endpoints: a source is an opaque pointer. The nodes are embedded in their owners; nothing is
 * allocated after wf_match_init() but for growing the tables (failure to grow is harmless).
 */
#ifndef WF_WIRE_MATCH_H
#define WF_WIRE_MATCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct wf_match_recv {
	struct wf_list link;         /* in the one queue of its class */
	uint64_t tag, mask, seq;
	const void *from;            /* NULL: any */
};

struct wf_match_msg {
	struct wf_list by_tag_from;  /* bucket of (tag, from) */
	struct wf_list by_tag;       /* bucket of tag */
	struct wf_list by_from;      /* bucket of from */
	struct wf_list all;          /* arrival order */
	uint64_t tag, seq;
	const void *from;
};

struct wf_match_table {              /* hash table of list heads, a power of two of them */
	struct wf_list *bucket;
	size_t mask, count;
};

struct wf_match {
	struct wf_match_table exact_from, exact_any, wild_from;   /* posted receives by class */
	struct wf_list wild_any;
	size_t n_wild_any;
	struct wf_match_table tag_from, tag, from;                /* messages */
	struct wf_list all;
	size_t n_msgs;
	uint64_t next_recv, next_msg;
};

/* Tags are often small numbers and sources are aligned pointers: the products carry every bit to the upper half. */
static inline size_t wf_match_fold(uint64_t h)
{
	return (size_t)(h ^ h >> 32);
}

static inline size_t wf_match_hash(uint64_t tag)
{
	return wf_match_fold(tag * 0x9e3779b97f4a7c15ull);
}

static inline size_t wf_match_hash_from(uint64_t tag, const void *from)
{
	return wf_match_fold(tag * 0x9e3779b97f4a7c15ull + (uint64_t)(uintptr_t)from * 0xbf58476d1ce4e5b9ull);
}

/* Returns 0 or WEFT_ENOMEM. wf_match_fini() wants all nodes removed or forgotten by their owners. */
int wf_match_init(struct wf_match *m);
void wf_match_fini(struct wf_match *m);

/* A message came: takes out the receive it goes to, or NULL: the caller then keeps it with wf_match_add(). */
struct wf_match_recv *wf_match_arrive(struct wf_match *m, uint64_t tag, const void *from);

/*
 * The same in two steps, inline, where the answer is at hand: receives of one exact class only are posted, and the first in
 * the bucket fits. NULL says no more than that it is not: ask wf_match_arrive().
 */
static inline struct wf_match_recv *wf_match_quick(const struct wf_match *m, uint64_t tag, const void *from)
{
	bool named = m->exact_from.count;
	const struct wf_match_table *t = named ? &m->exact_from : &m->exact_any;
	const struct wf_list *head;
	struct wf_match_recv *r;

	if (wf_unlikely((named && m->exact_any.count) || m->wild_from.count || m->n_wild_any))
		return NULL;
	head = &t->bucket[(named ? wf_match_hash_from(tag, from) : wf_match_hash(tag)) & t->mask];
	r = wf_list_entry(head->next, struct wf_match_recv, link);
	if (wf_unlikely(head->next == head || r->tag != tag || (named && r->from != from)))
		return NULL;
	return r;
}

/* Takes out a receive of an exact class, as wf_match_quick() finds. */
static inline void wf_match_take(struct wf_match *m, struct wf_match_recv *r)
{
	wf_list_remove(&r->link);
	if (r->from)
		m->exact_from.count--;
	else
		m->exact_any.count--;
}

/* Is any receive posted? */
static inline bool wf_match_has_recvs(const struct wf_match *m)
{
	return m->exact_from.count || m->exact_any.count || m->wild_from.count || m->n_wild_any;
}

/* Keeps a message that nobody takes; msg->tag, from and seq (m->next_msg++ when it came in) are set by the caller. */
void wf_match_add(struct wf_match *m, struct wf_match_msg *msg);

struct wf_match_msg *wf_match_search(struct wf_match *m, uint64_t tag, uint64_t mask, const void *from);

/* Finds the earliest message for (tag, mask, from); does not take it out. NULL: none, as at once where none are kept. */
static inline struct wf_match_msg *wf_match_find(struct wf_match *m, uint64_t tag, uint64_t mask, const void *from)
{
	return m->n_msgs ? wf_match_search(m, tag, mask, from) : NULL;
}

void wf_match_remove(struct wf_match *m, struct wf_match_msg *msg);

/* Posts a receive (tag, mask, from and seq, m->next_recv++, set by the caller); the caller has looked with wf_match_find() before. */
void wf_match_post(struct wf_match *m, struct wf_match_recv *r);

/* The same, inline where it is of an exact class and the table large enough: it is the latest of all and goes to the back. */
static inline void wf_match_post_quick(struct wf_match *m, struct wf_match_recv *r)
{
	struct wf_match_table *t = r->from ? &m->exact_from : &m->exact_any;

	if (wf_unlikely(r->mask != UINT64_MAX || t->count > t->mask)) {
		wf_match_post(m, r);
		return;
	}
	t->count++;
	wf_list_push_back(&t->bucket[(r->from ? wf_match_hash_from(r->tag, r->from) : wf_match_hash(r->tag)) & t->mask], &r->link);
}

void wf_match_unpost(struct wf_match *m, struct wf_match_recv *r);
/* Takes out the posted receives from any source, one with each call, in no order; *cursor is 0 at first. NULL: none is left. */
struct wf_match_recv *wf_match_take_any(struct wf_match *m, size_t *cursor);

/* Put back at the place that seq says. A returned message may be wanted by a receive that is posted, and the reverse:
 * the caller asks wf_match_arrive() or wf_match_find() first. */
void wf_match_return_msg(struct wf_match *m, struct wf_match_msg *msg);
void wf_match_return_recv(struct wf_match *m, struct wf_match_recv *r);

#endif
