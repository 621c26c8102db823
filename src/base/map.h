/* SPDX-License-Identifier: BSD-3-Clause
 *
 * map.h - hash table from a 64-bit key to a pointer: open addressing, linear probing, removal by
 * shifting back, so that there are no tombstones. Keys are mixed, any key is allowed; a value is
 * never NULL. Owns its table, not the values.
 */
#ifndef WF_BASE_MAP_H
#define WF_BASE_MAP_H

#include "base/util.h"

struct wf_map_row {
	uint64_t key;
	void *value; /* NULL: empty */
};

struct wf_map {
	struct wf_map_row *rows;
	size_t cap; /* power of two, or 0 */
	size_t count;
};

/* Empty; allocates nothing yet. */
void wf_map_init(struct wf_map *map);
void wf_map_fini(struct wf_map *map);

/* Puts or replaces. 0, or WEFT_ENOMEM (nothing changed; never when the key was there). */
int wf_map_insert(struct wf_map *map, uint64_t key, void *value);

/* The value, or NULL. */
void *wf_map_find(const struct wf_map *map, uint64_t key);

/* Takes the key out; returns the value it had, or NULL. */
void *wf_map_remove(struct wf_map *map, uint64_t key);

static inline size_t wf_map_count(const struct wf_map *map)
{
	return map->count;
}

/*
 * The next row at or after *@cursor (start with 0), moving the cursor; NULL at the end. The map
 * must not change in between. To empty a map: take the values out while iterating, then
 * wf_map_fini().
 */
const struct wf_map_row *wf_map_next(const struct wf_map *map, size_t *cursor);

#endif
