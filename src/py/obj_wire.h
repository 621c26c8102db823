/* SPDX-License-Identifier: BSD-3-Clause
 *
 * obj_wire.h - an object of send_obj() as an active message, without Python and without memory of its own, so that it is
 * fuzzed as it stands (tests/fuzz/fuzz_obj.c). What is read here a stranger may have written.
 *
 *   header, little-endian:   0  "wob1"     4  u32 buffers     8  u64 bytes of pickle     16  u64 length of each buffer
 *   payload:                 pickle, then the buffers one after another
 *
 * With more than WPY_OBJ_INLINE buffers the lengths do not fit in the header; they stand at the start of the payload, and
 * they, the pickle and each buffer are padded to a multiple of WPY_OBJ_ALIGN, so that one piece of memory holds everything.
 */
#ifndef WPY_OBJ_WIRE_H
#define WPY_OBJ_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WPY_OBJ_INLINE 120
#define WPY_OBJ_BUFFERS (1u << 24)
#define WPY_OBJ_ALIGN 64
#define WPY_OBJ_HEAD_MAX (16 + 8 * WPY_OBJ_INLINE)

struct wpy_obj_head {
	uint64_t n;                          /* buffers beside the pickle */
	uint64_t pickle;                     /* bytes of it */
	const unsigned char *table;          /* their lengths, in the header; NULL: in the payload */
};

/* A part of a payload that begins with the table. Part 0 is the pickle, buffer i is part i + 1. */
struct wpy_obj_part {
	uint64_t at, len;
	uint64_t end;                        /* with its padding */
};

void wpy_obj_put_u64(void *at, uint64_t v);

/* Bytes that @len lacks to a multiple of WPY_OBJ_ALIGN. */
size_t wpy_obj_padding(uint64_t len);

/* Writes a header; @table has @n lengths as wpy_obj_put_u64() writes them. Bytes of it, at most WPY_OBJ_HEAD_MAX. */
size_t wpy_obj_head_write(void *out, uint64_t n, uint64_t pickle, const void *table);

/* Checks a header against the length of its payload. NULL, and then all lengths that it tells are parts of @len and make it
 * up; else what is wrong. @out points into @header. */
const char *wpy_obj_head_read(const void *header, uint64_t header_len, uint64_t len, struct wpy_obj_head *out);

/* Length of part @i, 0 .. n, where the header has the table. */
uint64_t wpy_obj_part_len(const struct wpy_obj_head *h, uint64_t i);

/* Where part @i lies, where the payload has the table; to be asked for 0, 1 .. n in turn, with the same @p. NULL, or what
 * is wrong. */
const char *wpy_obj_part_find(const struct wpy_obj_head *h, const void *payload, uint64_t len, uint64_t i, struct wpy_obj_part *p);

#endif
