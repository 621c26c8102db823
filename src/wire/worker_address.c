/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_address.c - a worker as a blob that is handed to peers out of band: who it is, the secret
 * that lets them in without being asked for, and where it listens. Layout: magic u32 ("WFAD"),
 * version u16, length of the URL u16, uuid 16, secret 16, URL text without a zero. Nothing follows.
 */
#include "wire/hello.h"

#include "wire/cursor.h"

#define MAGIC    0x44414657u /* "WFAD" in memory order */
#define VERSION  1u
#define URL_MOST (7u + WF_URL_ADDRS * WF_URL_TEXT)

size_t wf_address_encode(const struct wf_address *a, void *out, size_t cap)
{
	char url[URL_MOST + 1];
	size_t url_len = wf_url_format(&a->url, url, sizeof(url));
	struct wf_writer w;

	wf_writer_init(&w, out, cap);
	wf_write_u32(&w, MAGIC);
	wf_write_u16(&w, VERSION);
	wf_write_u16(&w, (uint16_t)url_len);
	wf_write_bytes(&w, a->uuid, WF_UUID);
	wf_write_bytes(&w, a->secret, WF_UUID);
	wf_write_bytes(&w, url, url_len);
	return wf_writer_len(&w);
}

const char *wf_address_decode(const void *p, size_t len, struct wf_address *out)
{
	char url[URL_MOST + 1] = { 0 };
	struct wf_address a = { 0 };
	struct wf_reader r;
	const char *wrong;
	unsigned version;
	size_t url_len;

	wf_reader_init(&r, p, len);
	if (wf_read_u32(&r) != MAGIC)
		return "not the address of a weft worker";
	version = wf_read_u16(&r);
	url_len = wf_read_u16(&r);
	wf_read_bytes(&r, a.uuid, WF_UUID);
	wf_read_bytes(&r, a.secret, WF_UUID);
	if (r.bad)
		return "worker address too short";
	if (version != VERSION)
		return "worker address of another version";
	if (url_len > URL_MOST || url_len != r.left)
		return "worker address has the wrong length";
	wf_read_bytes(&r, url, url_len);
	if (memchr(url, 0, url_len))
		return "worker address with a zero inside its URL";
	wrong = wf_url_parse(url, &a.url);
	if (wrong)
		return wrong;
	*out = a;
	return NULL;
}
