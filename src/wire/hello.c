/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hello.c - the first payload in each direction. The first eight bytes (magic and the range of
 * versions) mean the same in every version of weft, for ever. What follows belongs to the version:
 * of a hello whose range does not contain one of ours only the range is read, so that the caller
 * can answer "no common version" instead of "bad bytes". Bytes behind the last offer are passed
 * over: a later feature may put its own there.
 */
#include "wire/hello.h"

#include "wire/cursor.h"

/* A transport's name as it may stand in a hello: 1 .. 15 of a-z 0-9 _ - */
static bool is_name(const char *name, size_t len)
{
	if (!len || len >= WF_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return true;
}

const struct wf_offer *wf_hello_find(const struct wf_hello *h, const char *name)
{
	for (unsigned i = 0; i < h->n_offers; i++)
		if (!strcmp(h->offers[i].name, name))
			return &h->offers[i];
	return NULL;
}

bool wf_hello_add(struct wf_hello *h, const char *name, const void *data, size_t len)
{
	struct wf_offer *o;

	if (h->n_offers >= WF_OFFERS_MAX || len > WF_OFFER_MAX)
		return false;
	if (!is_name(name, strnlen(name, WF_NAME_MAX)) || wf_hello_find(h, name))
		return false;
	o = &h->offers[h->n_offers++];
	memset(o, 0, sizeof(*o));
	memcpy(o->name, name, strlen(name));
	o->len = (uint16_t)len;
	if (len)
		memcpy(o->data, data, len);
	return true;
}

size_t wf_hello_encode(const struct wf_hello *h, void *out, size_t cap)
{
	struct wf_writer w;

	wf_writer_init(&w, out, WF_MIN(cap, (size_t)WF_HELLO_MAX));
	wf_write_u32(&w, WF_WIRE_MAGIC);
	wf_write_u16(&w, h->version_min);
	wf_write_u16(&w, h->version_max);
	wf_write_u32(&w, h->features);
	wf_write_bytes(&w, h->uuid, WF_UUID);
	wf_write_bytes(&w, h->process, WF_UUID);
	wf_write_bytes(&w, h->secret, WF_UUID);
	wf_write_u8(&w, (uint8_t)h->n_offers);
	for (unsigned i = 0; i < h->n_offers; i++) {
		const struct wf_offer *o = &h->offers[i];
		size_t name_len = strnlen(o->name, WF_NAME_MAX - 1);

		wf_write_u8(&w, (uint8_t)name_len);
		wf_write_bytes(&w, o->name, name_len);
		wf_write_u16(&w, o->len);
		wf_write_bytes(&w, o->data, o->len);
	}
	return wf_writer_len(&w);
}

static const char *read_offer(struct wf_reader *r, struct wf_hello *h)
{
	char name[WF_NAME_MAX] = { 0 };
	uint8_t data[WF_OFFER_MAX];
	size_t name_len, len;

	name_len = wf_read_u8(r);
	if (name_len >= WF_NAME_MAX)
		return "hello: a transport's name is too long";
	wf_read_bytes(r, name, name_len);
	len = wf_read_u16(r);
	if (len > WF_OFFER_MAX)
		return "hello: an offer is too long";
	wf_read_bytes(r, data, len);
	if (r->bad)
		return "hello ends inside an offer";
	if (!is_name(name, name_len))
		return "hello: a transport's name has characters that are not allowed";
	if (!wf_hello_add(h, name, data, len))
		return "hello offers the same transport twice";
	return NULL;
}

const char *wf_hello_decode(const void *p, size_t len, struct wf_hello *out)
{
	struct wf_hello h = { 0 };
	struct wf_reader r;
	const char *wrong;
	unsigned n;

	if (len > WF_HELLO_MAX)
		return "hello too long";
	wf_reader_init(&r, p, len);
	if (wf_read_u32(&r) != WF_WIRE_MAGIC)
		return "not a weft hello";
	h.version_min = wf_read_u16(&r);
	h.version_max = wf_read_u16(&r);
	if (r.bad)
		return "hello too short";
	if (!h.version_min || h.version_min > h.version_max)
		return "hello with an impossible range of versions";
	if (h.version_min > WF_WIRE_VERSION)
		goto done; /* written by rules that we do not know; wf_hello_version() will say so
			    */

	h.features = wf_read_u32(&r);
	wf_read_bytes(&r, h.uuid, WF_UUID);
	wf_read_bytes(&r, h.process, WF_UUID);
	wf_read_bytes(&r, h.secret, WF_UUID);
	n = wf_read_u8(&r);
	if (r.bad)
		return "hello too short";
	if (n > WF_OFFERS_MAX)
		return "hello with too many offers";
	for (unsigned i = 0; i < n; i++) {
		wrong = read_offer(&r, &h);
		if (wrong)
			return wrong;
	}
done:
	*out = h;
	return NULL;
}

uint16_t wf_hello_version(const struct wf_hello *ours, const struct wf_hello *theirs)
{
	uint16_t lowest = WF_MAX(ours->version_min, theirs->version_min);
	uint16_t highest = WF_MIN(ours->version_max, theirs->version_max);

	return highest >= lowest ? highest : 0;
}
