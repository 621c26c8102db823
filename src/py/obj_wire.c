/* SPDX-License-Identifier: BSD-3-Clause
 *
 * obj_wire.c - see obj_wire.h. Every length is compared with what is left before it is subtracted or added.
 */
#include "obj_wire.h"

#include <string.h>

#define MAGIC "wob1"
#define FIXED 16

static const char contradicts[] = "the object's header contradicts itself";
static const char too_long[] = "the object is longer than its message";
static const char too_short[] = "the object is shorter than its message";

void wpy_obj_put_u64(void *at, uint64_t v)
{
	unsigned char *p = at;

	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t get_u64(const unsigned char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

size_t wpy_obj_padding(uint64_t len)
{
	return (WPY_OBJ_ALIGN - len % WPY_OBJ_ALIGN) % WPY_OBJ_ALIGN;
}

size_t wpy_obj_head_write(void *out, uint64_t n, uint64_t pickle, const void *table)
{
	unsigned char *p = out;

	memcpy(p, MAGIC, 4);
	wpy_obj_put_u64(p + 4, n);           /* its upper half is written over */
	wpy_obj_put_u64(p + 8, pickle);
	if (n > WPY_OBJ_INLINE)
		return FIXED;
	if (n)
		memcpy(p + FIXED, table, 8 * n);
	return FIXED + 8 * n;
}

uint64_t wpy_obj_part_len(const struct wpy_obj_head *h, uint64_t i)
{
	return i ? get_u64(h->table + 8 * (i - 1)) : h->pickle;
}

const char *wpy_obj_head_read(const void *header, uint64_t header_len, uint64_t len, struct wpy_obj_head *out)
{
	const unsigned char *p = header;
	uint64_t left = len;

	if (header_len < FIXED || memcmp(p, MAGIC, 4))
		return "what came is no object of send_obj()";
	out->n = get_u64(p + 4) & 0xffffffffu;
	out->pickle = get_u64(p + 8);
	out->table = out->n > WPY_OBJ_INLINE ? NULL : p + FIXED;
	if (out->n > WPY_OBJ_BUFFERS || out->pickle > len)
		return contradicts;
	if (!out->table)
		return header_len == FIXED ? NULL : contradicts;
	if (header_len != FIXED + 8 * out->n)
		return contradicts;
	for (uint64_t i = 0; i <= out->n; i++) {
		uint64_t part = wpy_obj_part_len(out, i);

		if (part > left)
			return too_long;
		left -= part;
	}
	return left ? too_short : NULL;
}

const char *wpy_obj_part_find(const struct wpy_obj_head *h, const void *payload, uint64_t len, uint64_t i, struct wpy_obj_part *p)
{
	const unsigned char *table = payload;

	if (!i)
		p->end = 8 * h->n + wpy_obj_padding(8 * h->n);
	if (p->end > len)
		return too_long;
	p->at = p->end;
	p->len = i ? get_u64(table + 8 * (i - 1)) : h->pickle;
	if (p->len > len - p->at)
		return too_long;
	p->end += p->len + wpy_obj_padding(p->len);
	return i == h->n && p->end != len ? too_short : NULL;
}
