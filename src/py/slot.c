/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slot.c - numbers that name objects: slot and generation. An event that comes for an object that is gone finds nothing.
 */
#include "wpy.h"

static struct slot {
	void *o;
	uint32_t generation;
	uint32_t next_free;              /* index + 1 */
} *slots;

static uint32_t n_slots, first_free;

uint64_t wpy_slot_new(void *o)
{
	struct slot *s;
	uint32_t at;

	if (!first_free) {
		uint32_t n = n_slots ? 2 * n_slots : 64;

		s = PyMem_Realloc(slots, n * sizeof(*s));
		if (!s) {
			PyErr_NoMemory();
			return 0;
		}
		slots = s;
		for (at = n; at > n_slots; at--) {
			slots[at - 1] = (struct slot){ .generation = 1, .next_free = first_free };
			first_free = at;
		}
		n_slots = n;
	}
	at = first_free;
	s = &slots[at - 1];
	first_free = s->next_free;
	s->o = o;
	return (uint64_t)s->generation << 32 | at;
}

void *wpy_slot(uint64_t id)
{
	uint32_t at = (uint32_t)id;

	if (!at || at > n_slots || slots[at - 1].generation != id >> 32)
		return NULL;
	return slots[at - 1].o;
}

void wpy_slot_free(uint64_t *id)
{
	uint32_t at = (uint32_t)*id;

	if (!wpy_slot(*id))
		return;
	slots[at - 1].o = NULL;
	slots[at - 1].generation++;
	slots[at - 1].next_free = first_free;
	first_free = at;
	*id = 0;
}
