/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cursor.c - see cursor.h. Once bad, a cursor stays where it is: a later, smaller field must not
 * land in the place of an earlier one that did not fit.
 */
#include "wire/cursor.h"

void wf_writer_init(struct wf_writer *w, void *out, size_t cap)
{
	w->p = out;
	w->left = cap;
	w->done = 0;
	w->bad = false;
}

void wf_reader_init(struct wf_reader *r, const void *p, size_t len)
{
	r->p = p;
	r->left = len;
	r->bad = false;
}

void wf_write_bytes(struct wf_writer *w, const void *p, size_t n)
{
	if (w->bad || n > w->left) {
		w->bad = true;
		return;
	}
	if (n)
		memcpy(w->p, p, n);
	w->p += n;
	w->left -= n;
	w->done += n;
}

void wf_read_bytes(struct wf_reader *r, void *out, size_t n)
{
	if (r->bad || n > r->left) {
		r->bad = true;
		memset(out, 0, n);
		return;
	}
	if (n)
		memcpy(out, r->p, n);
	r->p += n;
	r->left -= n;
}

void wf_write_u8(struct wf_writer *w, uint8_t v)
{
	wf_write_bytes(w, &v, sizeof(v));
}

void wf_write_u16(struct wf_writer *w, uint16_t v)
{
	v = WF_LE16(v);
	wf_write_bytes(w, &v, sizeof(v));
}

void wf_write_u32(struct wf_writer *w, uint32_t v)
{
	v = WF_LE32(v);
	wf_write_bytes(w, &v, sizeof(v));
}

void wf_write_u64(struct wf_writer *w, uint64_t v)
{
	v = WF_LE64(v);
	wf_write_bytes(w, &v, sizeof(v));
}

uint8_t wf_read_u8(struct wf_reader *r)
{
	uint8_t v;

	wf_read_bytes(r, &v, sizeof(v));
	return v;
}

uint16_t wf_read_u16(struct wf_reader *r)
{
	uint16_t v;

	wf_read_bytes(r, &v, sizeof(v));
	return WF_LE16(v);
}

uint32_t wf_read_u32(struct wf_reader *r)
{
	uint32_t v;

	wf_read_bytes(r, &v, sizeof(v));
	return WF_LE32(v);
}

uint64_t wf_read_u64(struct wf_reader *r)
{
	uint64_t v;

	wf_read_bytes(r, &v, sizeof(v));
	return WF_LE64(v);
}

size_t wf_writer_len(const struct wf_writer *w)
{
	return w->bad ? 0 : w->done;
}
