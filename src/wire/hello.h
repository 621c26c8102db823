/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hello.h - what two workers tell each other before anything else: versions, who they are, what each transport offers.
 * Also the small foreign texts and blobs of the same family: URL, worker address, grant token. Encoders write into the
 * caller's buffer and return the length or 0 when it does not fit; decoders check every length and return NULL, or a
 * static text that says what is wrong.
 */
#ifndef WF_WIRE_HELLO_H
#define WF_WIRE_HELLO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

#define WF_UUID 16
#define WF_OFFERS_MAX 8
#define WF_OFFER_MAX 160         /* bytes of one transport's reach record */
#define WF_NAME_MAX 16           /* a transport's name, with its zero */

struct wf_offer {
	char name[WF_NAME_MAX];
	uint16_t len;
	uint8_t data[WF_OFFER_MAX];
};

/* Payload of HELLO and WELCOME: magic u32, version_min u16, version_max u16, features u32, uuid 16, process 16,
 * secret 16, count u8, then for each offer: name length u8, name, data length u16, data. */
struct wf_hello {
	uint16_t version_min, version_max;   /* WELCOME: both the version that was chosen */
	uint32_t features;
	uint8_t uuid[WF_UUID];               /* worker */
	uint8_t process[WF_UUID];
	uint8_t secret[WF_UUID];             /* of the worker address that is connected to; zero: a listener */
	unsigned n_offers;
	struct wf_offer offers[WF_OFFERS_MAX];
};

size_t wf_hello_encode(const struct wf_hello *h, void *out, size_t cap);
const char *wf_hello_decode(const void *p, size_t len, struct wf_hello *out);
/* Adds an offer; false when there is no room. */
bool wf_hello_add(struct wf_hello *h, const char *name, const void *data, size_t len);
const struct wf_offer *wf_hello_find(const struct wf_hello *h, const char *name);
/* The version both speak, 0: none. */
uint16_t wf_hello_version(const struct wf_hello *ours, const struct wf_hello *theirs);

/* ---- URL: "weft://addr:port[,addr:port ...]"; addresses are kept as text ---- */
#define WF_URL_ADDRS 16
#define WF_URL_TEXT 72

struct wf_url {
	unsigned n;
	char addr[WF_URL_ADDRS][WF_URL_TEXT];   /* "127.0.0.1:80", "[fe80::1%eth0]:80", "name:80", as written */
};

const char *wf_url_parse(const char *text, struct wf_url *out);
size_t wf_url_format(const struct wf_url *u, char *out, size_t cap);   /* snprintf-like: full length */

/* ---- worker address: magic, version, uuid, secret, URL text ---- */
struct wf_address {
	uint8_t uuid[WF_UUID], secret[WF_UUID];
	struct wf_url url;
};
size_t wf_address_encode(const struct wf_address *a, void *out, size_t cap);
const char *wf_address_decode(const void *p, size_t len, struct wf_address *out);

/* ---- grant token: magic u32, version u16, access u16, grant u64, key 16, len u64 ---- */
#define WF_TOKEN_LEN 40

struct wf_token {
	uint64_t grant;
	uint8_t key[16];
	uint64_t len;
	uint16_t access;
};
void wf_token_encode(const struct wf_token *t, uint8_t out[WF_TOKEN_LEN]);
const char *wf_token_decode(const void *p, size_t len, struct wf_token *out);

#endif
