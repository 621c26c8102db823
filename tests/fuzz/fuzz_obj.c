/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_obj.c - what a stranger calls an object of send_obj(), given to the part of src/py that
 * reads it. An input:
 *
 *   0  u8   bit 0: the payload's length is the number that follows, not what the input has
 *   1  u64  that number
 *   9  u16  bytes of header, at most what is there
 *  11       header, then payload
 *
 * What was taken must be written again byte for byte, and its parts must lie within the message,
 * in order and apart, and make it up.
 *
 * Built and run as fuzz_wire.c says.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "py/obj_wire.h"

#define HEADER_MAX 1024 /* of an active message */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool claim)
{
	if (!claim)
		abort();
}

static bool is_good(const char *wrong)
{
	must(!wrong || wrong[0]);
	return !wrong;
}

static void check_parts_of_header(const struct wpy_obj_head *h, uint64_t len)
{
	uint64_t left = len;

	for (uint64_t i = 0; i <= h->n; i++) {
		uint64_t part = wpy_obj_part_len(h, i);

		must(part <= left);
		left -= part;
	}
	must(!left);
}

static void check_parts_of_payload(const struct wpy_obj_head *h, const uint8_t *payload, uint64_t len)
{
	struct wpy_obj_part p = { 0 };
	uint64_t end = 8 * h->n;

	for (uint64_t i = 0; i <= h->n; i++) {
		if (!is_good(wpy_obj_part_find(h, payload, len, i, &p)))
			return;
		must(p.at >= end && p.at - end < WPY_OBJ_ALIGN && p.at % WPY_OBJ_ALIGN == 0);
		must(p.at <= len && p.len <= len - p.at);
		end = p.at + p.len;
	}
	must(p.end == len);
}

/* In memory of its own length, so that a read past its end is found. */
static uint8_t *copy_of(const uint8_t *p, size_t len)
{
	uint8_t *own = malloc(len ? len : 1);

	must(own != NULL);
	if (len)
		memcpy(own, p, len);
	return own;
}

static void one(const uint8_t *header, size_t header_len, const uint8_t *payload, size_t there, uint64_t len)
{
	uint8_t again[WPY_OBJ_HEAD_MAX];
	struct wpy_obj_head h;

	if (!is_good(wpy_obj_head_read(header, header_len, len, &h)))
		return;
	must(h.n <= WPY_OBJ_BUFFERS && h.pickle <= len && !h.table == (h.n > WPY_OBJ_INLINE));
	must(wpy_obj_head_write(again, h.n, h.pickle, h.table) == header_len);
	must(!memcmp(again, header, header_len));
	if (h.table)
		check_parts_of_header(&h, len);
	else if (len == there)
		check_parts_of_payload(&h, payload, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *header, *payload;
	uint64_t len = 0;
	size_t n;

	if (size < 11)
		return 0;
	for (int i = 0; i < 8; i++)
		len |= (uint64_t)data[1 + i] << 8 * i;
	n = data[9] | (size_t)data[10] << 8;
	n = n > size - 11 ? size - 11 : n > HEADER_MAX ? HEADER_MAX : n;
	header = copy_of(data + 11, n);
	payload = copy_of(data + 11 + n, size - 11 - n);
	one(header, n, payload, size - 11 - n, data[0] & 1 ? len : size - 11 - n);
	free(header);
	free(payload);
	return 0;
}
