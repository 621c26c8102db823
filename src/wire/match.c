/* SPDX-License-Identifier: BSD-3-Clause
 *
 * match.c - four classes of posted receives and four indices of kept messages, see match.h. Every
 * list, a bucket too, is in the order of seq; so the first node of a bucket that fits is the
 * earliest of its class, the earliest of the classes is the answer, and a search may end where the
 * list has passed a candidate that is already there.
 *
 * A table doubles when it has more than two nodes for each bucket. A bucket is split into two then
 * and never joined with another, so the order inside survives.
 */
#include "wire/match.h"

#include "base/fault.h"
#include "base/util.h"
#include "weft/weft.h"

#define BUCKETS_AT_START 64u
#define EXACT            UINT64_MAX

#define as_recv(node) wf_list_entry(node, struct wf_match_recv, link)

/* ---- hash tables of list heads ---- */

static inline size_t hash_from(const void *from)
{
	return wf_match_hash_from(0, from);
}

static size_t rehash_recv_tag_from(const struct wf_list *node)
{
	const struct wf_match_recv *r = as_recv(node);

	return wf_match_hash_from(r->tag, r->from);
}

static size_t rehash_recv_tag(const struct wf_list *node)
{
	return wf_match_hash(as_recv(node)->tag);
}

static size_t rehash_recv_from(const struct wf_list *node)
{
	return hash_from(as_recv(node)->from);
}

static size_t rehash_msg_tag_from(const struct wf_list *node)
{
	const struct wf_match_msg *msg = wf_list_entry(node, struct wf_match_msg, by_tag_from);

	return wf_match_hash_from(msg->tag, msg->from);
}

static size_t rehash_msg_tag(const struct wf_list *node)
{
	return wf_match_hash(wf_list_entry(node, struct wf_match_msg, by_tag)->tag);
}

static size_t rehash_msg_from(const struct wf_list *node)
{
	return hash_from(wf_list_entry(node, struct wf_match_msg, by_from)->from);
}

static int table_init(struct wf_match_table *t)
{
	t->bucket = wf_calloc(BUCKETS_AT_START, sizeof(*t->bucket));
	if (!t->bucket)
		return WEFT_ENOMEM;
	t->mask = BUCKETS_AT_START - 1;
	t->count = 0;
	for (size_t i = 0; i <= t->mask; i++)
		wf_list_init(&t->bucket[i]);
	return 0;
}

static void table_fini(struct wf_match_table *t)
{
	wf_free(t->bucket);
	t->bucket = NULL;
}

static void table_grow(struct wf_match_table *t, size_t (*rehash)(const struct wf_list *node))
{
	size_t n = (t->mask + 1) * 2;
	struct wf_list *bucket = wf_calloc(n, sizeof(*bucket)), *node;

	if (!bucket)
		return; /* longer lists, the same answers */
	for (size_t i = 0; i < n; i++)
		wf_list_init(&bucket[i]);
	for (size_t i = 0; i <= t->mask; i++)
		while ((node = wf_list_pop_front(&t->bucket[i])))
			wf_list_push_back(&bucket[rehash(node) & (n - 1)], node);
	wf_free(t->bucket);
	t->bucket = bucket;
	t->mask = n - 1;
}

static inline struct wf_list *bucket_of(const struct wf_match_table *t, size_t hash)
{
	return &t->bucket[hash & t->mask];
}

/* The bucket for one more node, which is counted. */
static inline struct wf_list *bucket_for_new(struct wf_match_table *t, size_t hash,
					     size_t (*rehash)(const struct wf_list *node))
{
	if (wf_unlikely(++t->count > 2 * (t->mask + 1)))
		table_grow(t, rehash);
	return bucket_of(t, hash);
}

/* ---- order ---- */

/* @off: from a node to the seq of its owner. New nodes are later than all others and end the walk
 * at once. */
static inline uint64_t seq_at(const struct wf_list *node, size_t off)
{
	return *(const uint64_t *)(const void *)((const char *)node + off);
}

static inline void insert_by_seq(struct wf_list *head, struct wf_list *node, size_t off)
{
	struct wf_list *at = head->prev;

	while (at != head && seq_at(at, off) > seq_at(node, off))
		at = at->prev;
	wf_list_insert_before(at->next, node);
}

/* From a list's node to the seq beside it. */
#define SEQ_OFF(type, member) (offsetof(type, seq) - offsetof(type, member))

_Static_assert(offsetof(struct wf_match_recv, seq) > offsetof(struct wf_match_recv, link),
	       "SEQ_OFF() is positive");
_Static_assert(offsetof(struct wf_match_msg, seq) > offsetof(struct wf_match_msg, all),
	       "SEQ_OFF() is positive");

/* ---- life ---- */

int wf_match_init(struct wf_match *m)
{
	struct wf_match_table *tables[] = {
		&m->exact_from, &m->exact_any, &m->wild_from, &m->tag_from, &m->tag, &m->from,
	};
	size_t i;

	memset(m, 0, sizeof(*m));
	wf_list_init(&m->wild_any);
	wf_list_init(&m->all);
	for (i = 0; i < WF_ARRAY_LEN(tables); i++)
		if (table_init(tables[i]))
			goto fini_tables;
	return 0;

fini_tables:
	while (i--)
		table_fini(tables[i]);
	return WEFT_ENOMEM;
}

void wf_match_fini(struct wf_match *m)
{
	table_fini(&m->exact_from);
	table_fini(&m->exact_any);
	table_fini(&m->wild_from);
	table_fini(&m->tag_from);
	table_fini(&m->tag);
	table_fini(&m->from);
}

/* ---- receives ---- */

static void insert_recv(struct wf_match *m, struct wf_match_recv *r)
{
	struct wf_list *queue;

	if (r->mask == EXACT && r->from) {
		queue = bucket_for_new(&m->exact_from, wf_match_hash_from(r->tag, r->from),
				       rehash_recv_tag_from);
	} else if (r->mask == EXACT) {
		queue = bucket_for_new(&m->exact_any, wf_match_hash(r->tag), rehash_recv_tag);
	} else if (r->from) {
		queue = bucket_for_new(&m->wild_from, hash_from(r->from), rehash_recv_from);
	} else {
		m->n_wild_any++;
		queue = &m->wild_any;
	}
	insert_by_seq(queue, &r->link, SEQ_OFF(struct wf_match_recv, link));
}

static void remove_recv(struct wf_match *m, struct wf_match_recv *r)
{
	if (r->mask == EXACT) {
		wf_match_take(m, r);
		return;
	}
	wf_list_remove(&r->link);
	if (r->from)
		m->wild_from.count--;
	else
		m->n_wild_any--;
}

/* The first receive in @queue for a message, if it is earlier than @best; else @best. */
static inline struct wf_match_recv *earlier_in(const struct wf_list *queue, uint64_t tag,
					       const void *from, struct wf_match_recv *best)
{
	for (struct wf_list *node = queue->next; node != queue; node = node->next) {
		struct wf_match_recv *r = as_recv(node);

		if (best && r->seq > best->seq)
			return best;
		if (!((tag ^ r->tag) & r->mask) && (!r->from || r->from == from))
			return r;
	}
	return best;
}

struct wf_match_recv *wf_match_arrive(struct wf_match *m, uint64_t tag, const void *from)
{
	struct wf_match_recv *best = NULL;

	/* an empty class costs a load and a branch, which guesses right in a program that always
	 * receives alike */
	if (m->exact_from.count)
		best = earlier_in(bucket_of(&m->exact_from, wf_match_hash_from(tag, from)), tag, from,
				  best);
	if (m->exact_any.count)
		best = earlier_in(bucket_of(&m->exact_any, wf_match_hash(tag)), tag, from, best);
	if (m->wild_from.count)
		best = earlier_in(bucket_of(&m->wild_from, hash_from(from)), tag, from, best);
	if (m->n_wild_any)
		best = earlier_in(&m->wild_any, tag, from, best);
	if (best)
		remove_recv(m, best);
	return best;
}

void wf_match_post(struct wf_match *m, struct wf_match_recv *r)
{
	insert_recv(m, r);
}

void wf_match_return_recv(struct wf_match *m, struct wf_match_recv *r)
{
	insert_recv(m, r);
}

void wf_match_unpost(struct wf_match *m, struct wf_match_recv *r)
{
	remove_recv(m, r);
}

struct wf_match_recv *wf_match_take_any(struct wf_match *m, size_t *cursor)
{
	struct wf_list *node = wf_list_first(&m->wild_any);

	while (!node && *cursor <= m->exact_any.mask) {
		node = wf_list_first(&m->exact_any.bucket[*cursor]);
		*cursor += !node;
	}
	if (!node)
		return NULL;
	remove_recv(m, as_recv(node));
	return as_recv(node);
}

/* ---- messages ---- */

static void insert_msg(struct wf_match *m, struct wf_match_msg *msg)
{
	struct wf_list *tag_from, *tag, *from;

	tag_from = bucket_for_new(&m->tag_from, wf_match_hash_from(msg->tag, msg->from),
				  rehash_msg_tag_from);
	tag = bucket_for_new(&m->tag, wf_match_hash(msg->tag), rehash_msg_tag);
	from = bucket_for_new(&m->from, hash_from(msg->from), rehash_msg_from);
	insert_by_seq(tag_from, &msg->by_tag_from, SEQ_OFF(struct wf_match_msg, by_tag_from));
	insert_by_seq(tag, &msg->by_tag, SEQ_OFF(struct wf_match_msg, by_tag));
	insert_by_seq(from, &msg->by_from, SEQ_OFF(struct wf_match_msg, by_from));
	insert_by_seq(&m->all, &msg->all, SEQ_OFF(struct wf_match_msg, all));
	m->n_msgs++;
}

void wf_match_add(struct wf_match *m, struct wf_match_msg *msg)
{
	insert_msg(m, msg);
}

void wf_match_return_msg(struct wf_match *m, struct wf_match_msg *msg)
{
	insert_msg(m, msg);
}

void wf_match_remove(struct wf_match *m, struct wf_match_msg *msg)
{
	wf_list_remove(&msg->by_tag_from);
	wf_list_remove(&msg->by_tag);
	wf_list_remove(&msg->by_from);
	wf_list_remove(&msg->all);
	m->tag_from.count--;
	m->tag.count--;
	m->from.count--;
	m->n_msgs--;
}

/* The first message of a list that fits. @link_off: of the list's node in struct wf_match_msg. */
static inline struct wf_match_msg *first_in(const struct wf_list *list, size_t link_off,
					    uint64_t tag, uint64_t mask, const void *from)
{
	for (struct wf_list *node = list->next; node != list; node = node->next) {
		struct wf_match_msg *msg = (struct wf_match_msg *)(void *)((char *)node - link_off);

		if (!((msg->tag ^ tag) & mask) && (!from || msg->from == from))
			return msg;
	}
	return NULL;
}

struct wf_match_msg *wf_match_search(struct wf_match *m, uint64_t tag, uint64_t mask,
				     const void *from)
{
	const struct wf_list *bucket;

	if (mask == EXACT && from) {
		bucket = bucket_of(&m->tag_from, wf_match_hash_from(tag, from));
		return first_in(bucket, offsetof(struct wf_match_msg, by_tag_from), tag, mask,
				from);
	}
	if (mask == EXACT) {
		bucket = bucket_of(&m->tag, wf_match_hash(tag));
		return first_in(bucket, offsetof(struct wf_match_msg, by_tag), tag, mask, from);
	}
	if (from) {
		bucket = bucket_of(&m->from, hash_from(from));
		return first_in(bucket, offsetof(struct wf_match_msg, by_from), tag, mask, from);
	}
	return first_in(&m->all, offsetof(struct wf_match_msg, all), tag, mask, from);
}
