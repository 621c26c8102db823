/* SPDX-License-Identifier: BSD-3-Clause
 *
 * map.c - see map.h. The table is at most three quarters full; it never shrinks.
 */
#include "base/map.h"

#include "base/fault.h"
#include "weft/weft.h"

#define CAP_MIN 16

static size_t home(const struct wf_map *map, uint64_t key)
{
	key ^= key >> 32;
	key *= 0x9e3779b97f4a7c15ull;
	key ^= key >> 29;
	return (size_t)key & (map->cap - 1);
}

/* The row of @key, or the empty row where it would go. The table has room, so the walk ends. */
static struct wf_map_row *probe(const struct wf_map *map, uint64_t key)
{
	size_t i = home(map, key);

	while (map->rows[i].value && map->rows[i].key != key)
		i = (i + 1) & (map->cap - 1);
	return &map->rows[i];
}

void wf_map_init(struct wf_map *map)
{
	*map = (struct wf_map){ 0 };
}

void wf_map_fini(struct wf_map *map)
{
	wf_free(map->rows);
	*map = (struct wf_map){ 0 };
}

static int grow(struct wf_map *map)
{
	struct wf_map wide = { .cap = map->cap ? map->cap * 2 : CAP_MIN, .count = map->count };

	wide.rows = wf_calloc(wide.cap, sizeof(*wide.rows));
	if (!wide.rows)
		return WEFT_ENOMEM;
	for (size_t i = 0; i < map->cap; i++) {
		if (map->rows[i].value)
			*probe(&wide, map->rows[i].key) = map->rows[i];
	}
	wf_free(map->rows);
	*map = wide;
	return 0;
}

int wf_map_insert(struct wf_map *map, uint64_t key, void *value)
{
	struct wf_map_row *row = map->cap ? probe(map, key) : NULL;

	if (row && row->value) {
		row->value = value;
		return 0;
	}
	if ((map->count + 1) * 4 > map->cap * 3) {
		if (grow(map))
			return WEFT_ENOMEM;
		row = probe(map, key);
	}
	*row = (struct wf_map_row){ key, value };
	map->count++;
	return 0;
}

void *wf_map_find(const struct wf_map *map, uint64_t key)
{
	return map->count ? probe(map, key)->value : NULL;
}

/* Closes the gap at @gap: each follower whose home is not between gap and itself moves into it. */
static void shift_back(struct wf_map *map, size_t gap)
{
	size_t mask = map->cap - 1;

	for (size_t i = (gap + 1) & mask; map->rows[i].value; i = (i + 1) & mask) {
		size_t from_home = (i - home(map, map->rows[i].key)) & mask;

		if (from_home >= ((i - gap) & mask)) {
			map->rows[gap] = map->rows[i];
			gap = i;
		}
	}
	map->rows[gap].value = NULL;
}

void *wf_map_remove(struct wf_map *map, uint64_t key)
{
	struct wf_map_row *row;
	void *value;

	if (!map->count)
		return NULL;
	row = probe(map, key);
	value = row->value;
	if (!value)
		return NULL;
	shift_back(map, (size_t)(row - map->rows));
	map->count--;
	return value;
}

const struct wf_map_row *wf_map_next(const struct wf_map *map, size_t *cursor)
{
	while (*cursor < map->cap) {
		const struct wf_map_row *row = &map->rows[(*cursor)++];

		if (row->value)
			return row;
	}
	return NULL;
}
