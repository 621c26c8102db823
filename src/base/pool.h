/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pool.h - slots of one size with addresses that never move. Chunks of 64 slots are allocated when
 * needed and kept until wf_pool_fini(), so the memory behind a stale handle is always a slot of the
 * same type and can be asked. Free slots are reused last in, first out (the warmest first). Not
 * thread-safe: it belongs to its worker.
 *
 * A slot's generation is odd while it is in use and counts up at each get and each put. A handle is
 * generation and index + 1, never 0, and finds its object only as long as that very use of the slot
 * lasts.
 *
 * Layout of a slot: struct wf_pool_slot, then the object, rounded up to a cache line: what is asked first about an object
 * lies beside its first members.
 */
#ifndef WF_BASE_POOL_H
#define WF_BASE_POOL_H

#include "base/util.h"

#define WF_POOL_CHUNK 64u

struct wf_pool_slot {
	uint32_t gen;
	uint32_t index;
	void *next_free; /* the object that was freed before this one; meaningless in use */
};

struct wf_pool {
	void *free; /* newest free object */
	uint32_t stride;
	uint32_t in_use;
	uint32_t slots; /* that exist, free or not */
	uint32_t max_slots;
	uint32_t chunk_cap;
	char **chunks;
};

/* Empty; allocates nothing yet. @max_slots bounds it; 0 means 2^31. */
void wf_pool_init(struct wf_pool *pool, size_t obj_size, uint32_t max_slots);

/* Frees all memory, also of objects that are still in use. The pool is as after init. */
void wf_pool_fini(struct wf_pool *pool);

/* Adds a chunk to the free list. 0, or WEFT_ENOMEM when out of memory or at the bound. Called by
 * wf_pool_get(). */
int wf_pool_grow(struct wf_pool *pool);

static inline struct wf_pool_slot *wf_pool_slot(const void *obj)
{
	return (struct wf_pool_slot *)(uintptr_t)obj - 1;
}

/*
 * A slot, aligned to 16 bytes; NULL when out of memory or at the bound. Its bytes are as the
 * last user left them, zero the first time.
 */
static inline void *wf_pool_get(struct wf_pool *pool)
{
	struct wf_pool_slot *slot;
	void *obj;

	if (wf_unlikely(!pool->free) && wf_pool_grow(pool))
		return NULL;
	obj = pool->free;
	slot = wf_pool_slot(obj);
	pool->free = slot->next_free;
	slot->gen++;
	pool->in_use++;
	return obj;
}

/* Takes back what wf_pool_get() gave; its handles are stale from here on. */
static inline void wf_pool_put(struct wf_pool *pool, void *obj)
{
	struct wf_pool_slot *slot = wf_pool_slot(obj);

	slot->gen++;
	slot->next_free = pool->free;
	pool->free = obj;
	pool->in_use--;
}

static inline uint32_t wf_pool_index(const void *obj)
{
	return wf_pool_slot(obj)->index;
}

static inline uint32_t wf_pool_gen(const void *obj)
{
	return wf_pool_slot(obj)->gen;
}

static inline bool wf_pool_is_used(const void *obj)
{
	return wf_pool_slot(obj)->gen & 1;
}

/* The slot with that index, in use or not; NULL when it does not exist. */
static inline void *wf_pool_at(const struct wf_pool *pool, uint32_t index)
{
	if (wf_unlikely(index >= pool->slots))
		return NULL;
	return pool->chunks[index / WF_POOL_CHUNK] + (size_t)(index % WF_POOL_CHUNK) * pool->stride +
	       sizeof(struct wf_pool_slot);
}

/* Names this use of @obj; never 0. */
static inline uint64_t wf_pool_handle(const void *obj)
{
	const struct wf_pool_slot *slot = wf_pool_slot(obj);

	return (uint64_t)slot->gen << 32 | (slot->index + 1);
}

/* The object that @handle names; NULL when it is stale, 0 or nonsense. */
static inline void *wf_pool_find(const struct wf_pool *pool, uint64_t handle)
{
	uint32_t gen = (uint32_t)(handle >> 32);
	void *obj = wf_pool_at(pool, (uint32_t)handle - 1);

	if (!obj || !(gen & 1) || wf_pool_slot(obj)->gen != gen)
		return NULL;
	return obj;
}

/* No slot is free, and there may be no more of them. */
static inline bool wf_pool_is_full(const struct wf_pool *pool)
{
	return !pool->free && pool->slots == pool->max_slots;
}

static inline uint32_t wf_pool_in_use(const struct wf_pool *pool)
{
	return pool->in_use;
}

#endif
