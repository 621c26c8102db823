/* SPDX-License-Identifier: BSD-3-Clause
 *
 * token.c - what the owner of granted memory hands to those who may use it. Layout: magic u32
 * ("WFTK"), version u16, access u16, grant u64, key 16, len u64. The owner looks the grant up and
 * compares the key; access and len only tell the holder what to expect.
 */
#include "wire/hello.h"

#include "weft/weft.h"
#include "wire/cursor.h"

#define MAGIC   0x4b544657u /* "WFTK" in memory order */
#define VERSION 1u

void wf_token_encode(const struct wf_token *t, uint8_t out[WF_TOKEN_LEN])
{
	struct wf_writer w;

	wf_writer_init(&w, out, WF_TOKEN_LEN);
	wf_write_u32(&w, MAGIC);
	wf_write_u16(&w, VERSION);
	wf_write_u16(&w, t->access);
	wf_write_u64(&w, t->grant);
	wf_write_bytes(&w, t->key, sizeof(t->key));
	wf_write_u64(&w, t->len);
}

const char *wf_token_decode(const void *p, size_t len, struct wf_token *out)
{
	struct wf_token t = { 0 };
	struct wf_reader r;
	unsigned version;

	wf_reader_init(&r, p, len);
	if (len != WF_TOKEN_LEN || wf_read_u32(&r) != MAGIC)
		return "not a weft grant token";
	version = wf_read_u16(&r);
	if (version != VERSION)
		return "grant token of another version";
	t.access = wf_read_u16(&r);
	t.grant = wf_read_u64(&r);
	wf_read_bytes(&r, t.key, sizeof(t.key));
	t.len = wf_read_u64(&r);
	if (!t.access || (t.access & ~(WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)))
		return "grant token with impossible rights";
	*out = t;
	return NULL;
}
