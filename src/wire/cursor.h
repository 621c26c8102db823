/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cursor.h - writing and reading of fields one behind the other in a buffer with an end. Past the
 * end a writer writes nothing and a reader reads zeros, and both remember it in `bad`: look there
 * once, after the last field. Numbers are little-endian and need no alignment. For hellos and
 * blobs; frames are structs and need none of this.
 */
#ifndef WF_WIRE_CURSOR_H
#define WF_WIRE_CURSOR_H

#include "base/util.h"

struct wf_writer {
	uint8_t *p;
	size_t left, done; /* bytes */
	bool bad;          /* something did not fit */
};

struct wf_reader {
	const uint8_t *p;
	size_t left;
	bool bad; /* something was not there */
};

/* Each borrows its buffer until the last call. */
void wf_writer_init(struct wf_writer *w, void *out, size_t cap);
void wf_reader_init(struct wf_reader *r, const void *p, size_t len);

void wf_write_u8(struct wf_writer *w, uint8_t v);
void wf_write_u16(struct wf_writer *w, uint16_t v);
void wf_write_u32(struct wf_writer *w, uint32_t v);
void wf_write_u64(struct wf_writer *w, uint64_t v);
void wf_write_bytes(struct wf_writer *w, const void *p, size_t n);

uint8_t wf_read_u8(struct wf_reader *r);
uint16_t wf_read_u16(struct wf_reader *r);
uint32_t wf_read_u32(struct wf_reader *r);
uint64_t wf_read_u64(struct wf_reader *r);
void wf_read_bytes(struct wf_reader *r, void *out, size_t n);

/* Bytes written, 0 when something did not fit. */
size_t wf_writer_len(const struct wf_writer *w);

#endif
