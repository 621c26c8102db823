/* SPDX-License-Identifier: BSD-3-Clause
 *
 * list.h - intrusive doubly linked ring. The head and the nodes are the same type; a node that is
 * on no list points at itself, so that removing it twice is harmless and wf_list_is_linked() can be
 * asked. Owns nothing.
 */
#ifndef WF_BASE_LIST_H
#define WF_BASE_LIST_H

#include "base/util.h"

struct wf_list {
	struct wf_list *next, *prev;
};

/* Makes a head empty, or a node unlinked. Every head and node is initialised so before its first
 * use. */
static inline void wf_list_init(struct wf_list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool wf_list_is_empty(const struct wf_list *head)
{
	return head->next == head;
}

static inline bool wf_list_is_linked(const struct wf_list *node)
{
	return node->next != node;
}

/* Puts @node, which is on no list, before @at. */
static inline void wf_list_insert_before(struct wf_list *at, struct wf_list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void wf_list_push_back(struct wf_list *head, struct wf_list *node)
{
	wf_list_insert_before(head, node);
}

static inline void wf_list_push_front(struct wf_list *head, struct wf_list *node)
{
	wf_list_insert_before(head->next, node);
}

/* Takes @node off its list and leaves it initialised; nothing happens when it is on none. */
static inline void wf_list_remove(struct wf_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	wf_list_init(node);
}

/* The first node, still on the list; NULL when empty. */
static inline struct wf_list *wf_list_first(const struct wf_list *head)
{
	return head->next == head ? NULL : head->next;
}

/* The first node, taken off; NULL when empty. */
static inline struct wf_list *wf_list_pop_front(struct wf_list *head)
{
	struct wf_list *node = wf_list_first(head);

	if (node)
		wf_list_remove(node);
	return node;
}

/* Moves all nodes of @from to the back of @to; @from is empty afterwards. */
static inline void wf_list_splice_back(struct wf_list *to, struct wf_list *from)
{
	if (wf_list_is_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	wf_list_init(from);
}

/* for (each node) with @it (struct wf_list *); the body may remove or free @it, but not the one
 * after (@tmp). */
#define wf_list_foreach(it, tmp, head)                                \
	for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); \
	     (it) = (tmp), (tmp) = (it)->next)

#define wf_list_entry(node, type, member) wf_container_of(node, type, member)

#endif
