/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pool.c - the slow half of pool.h: how a pool grows and ends.
 */
#include "base/pool.h"

#include "base/fault.h"
#include "weft/weft.h"

#define SLOTS_MAX (1u << 31)

void wf_pool_init(struct wf_pool *pool, size_t obj_size, uint32_t max_slots)
{
	*pool = (struct wf_pool){
		.stride = (uint32_t)WF_ALIGN_UP(sizeof(struct wf_pool_slot) + obj_size, (size_t)WF_CACHELINE),
		.max_slots = max_slots && max_slots < SLOTS_MAX ? max_slots : SLOTS_MAX,
	};
}

void wf_pool_fini(struct wf_pool *pool)
{
	for (uint32_t i = 0; i * WF_POOL_CHUNK < pool->slots; i++)
		wf_free(pool->chunks[i]);
	wf_free(pool->chunks);
	pool->chunks = NULL;
	pool->free = NULL;
	pool->chunk_cap = 0;
	pool->slots = 0;
	pool->in_use = 0;
}

static int grow_table(struct wf_pool *pool)
{
	uint32_t cap = pool->chunk_cap ? pool->chunk_cap * 2 : 8;
	char **chunks = wf_realloc(pool->chunks, cap * sizeof(*chunks));

	if (!chunks)
		return WEFT_ENOMEM;
	pool->chunks = chunks;
	pool->chunk_cap = cap;
	return 0;
}

int wf_pool_grow(struct wf_pool *pool)
{
	uint32_t at = pool->slots / WF_POOL_CHUNK;
	uint32_t n = WF_MIN(WF_POOL_CHUNK, pool->max_slots - pool->slots);
	char *chunk;

	if (!n)
		return WEFT_ENOMEM;
	if (at == pool->chunk_cap && grow_table(pool))
		return WEFT_ENOMEM;
	chunk = wf_alloc_aligned(WF_CACHELINE, (size_t)n * pool->stride);
	if (!chunk)
		return WEFT_ENOMEM;
	memset(chunk, 0, (size_t)n * pool->stride);
	pool->chunks[at] = chunk;
	for (uint32_t i = n;
	     i-- > 0;) { /* backwards, so that the lowest index is handed out first */
		void *obj = chunk + (size_t)i * pool->stride + sizeof(struct wf_pool_slot);
		struct wf_pool_slot *slot = wf_pool_slot(obj);

		slot->index = pool->slots + i;
		slot->next_free = pool->free;
		pool->free = obj;
	}
	pool->slots += n;
	return 0;
}
