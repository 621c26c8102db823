/* SPDX-License-Identifier: BSD-3-Clause
 *
 * heap.h - intrusive binary min-heap keyed by a 64-bit number (a deadline). A node knows its place,
 * so it can be taken out from the middle. Equal keys come out in no particular order. Owns its
 * array, not the nodes.
 */
#ifndef WF_BASE_HEAP_H
#define WF_BASE_HEAP_H

#include "base/util.h"

struct wf_heap_node {
	uint64_t key;
	uint32_t pos; /* place in the array + 1; 0: in no heap. Zero it before the first use. */
};

struct wf_heap {
	struct wf_heap_node **nodes;
	uint32_t count, cap;
};

void wf_heap_init(struct wf_heap *heap);
void wf_heap_fini(struct wf_heap *heap);

/* Makes room for @n nodes, so that pushes up to there cannot fail. 0 or WEFT_ENOMEM. */
int wf_heap_reserve(struct wf_heap *heap, uint32_t n);

/* Lends @node, which is in no heap, until it is removed. 0 or WEFT_ENOMEM (nothing changed). */
int wf_heap_push(struct wf_heap *heap, struct wf_heap_node *node, uint64_t key);

/* Takes @node out; nothing happens when it is in no heap. */
void wf_heap_remove(struct wf_heap *heap, struct wf_heap_node *node);

static inline bool wf_heap_is_linked(const struct wf_heap_node *node)
{
	return node->pos != 0;
}

/* The node with the smallest key, still in the heap; NULL when empty. */
static inline struct wf_heap_node *wf_heap_top(const struct wf_heap *heap)
{
	return heap->count ? heap->nodes[0] : NULL;
}

#endif
