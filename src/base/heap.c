/* SPDX-License-Identifier: BSD-3-Clause
 *
 * heap.c - see heap.h.
 */
#include "base/heap.h"

#include "base/fault.h"
#include "weft/weft.h"

#define CAP_MIN 16u

void wf_heap_init(struct wf_heap *heap)
{
	*heap = (struct wf_heap){ 0 };
}

void wf_heap_fini(struct wf_heap *heap)
{
	for (uint32_t i = 0; i < heap->count; i++)
		heap->nodes[i]->pos = 0;
	wf_free(heap->nodes);
	*heap = (struct wf_heap){ 0 };
}

int wf_heap_reserve(struct wf_heap *heap, uint32_t n)
{
	uint32_t cap = WF_MAX(heap->cap, CAP_MIN);
	struct wf_heap_node **nodes;

	if (n <= heap->cap)
		return 0;
	while (cap < n)
		cap = cap > UINT32_MAX / 2 ? UINT32_MAX : cap * 2;
	nodes = wf_realloc(heap->nodes, cap * sizeof(struct wf_heap_node *));
	if (!nodes)
		return WEFT_ENOMEM;
	heap->nodes = nodes;
	heap->cap = cap;
	return 0;
}

static void put_at(struct wf_heap *heap, uint32_t i, struct wf_heap_node *node)
{
	heap->nodes[i] = node;
	node->pos = i + 1;
}

static void sift_up(struct wf_heap *heap, uint32_t i, struct wf_heap_node *node)
{
	while (i > 0 && node->key < heap->nodes[(i - 1) / 2]->key) {
		put_at(heap, i, heap->nodes[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put_at(heap, i, node);
}

static void sift_down(struct wf_heap *heap, uint32_t i, struct wf_heap_node *node)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->nodes[child + 1]->key < heap->nodes[child]->key)
			child++;
		if (node->key <= heap->nodes[child]->key)
			break;
		put_at(heap, i, heap->nodes[child]);
		i = child;
	}
	put_at(heap, i, node);
}

int wf_heap_push(struct wf_heap *heap, struct wf_heap_node *node, uint64_t key)
{
	if (heap->count == heap->cap &&
	    (heap->count == UINT32_MAX || wf_heap_reserve(heap, heap->count + 1)))
		return WEFT_ENOMEM;
	node->key = key;
	sift_up(heap, heap->count++, node);
	return 0;
}

void wf_heap_remove(struct wf_heap *heap, struct wf_heap_node *node)
{
	struct wf_heap_node *last;
	uint32_t i;

	if (!node->pos)
		return;
	i = node->pos - 1;
	node->pos = 0;
	last = heap->nodes[--heap->count];
	if (last == node)
		return;
	if (i > 0 && last->key < heap->nodes[(i - 1) / 2]->key)
		sift_up(heap, i, last);
	else
		sift_down(heap, i, last);
}
