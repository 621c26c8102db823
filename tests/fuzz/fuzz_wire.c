/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_wire.c - random bytes for every decoder of src/wire. The first byte of an input picks the
 * decoder, the rest is its food. Beyond "no crash, no read past the end": what was taken must
 * survive being written and read once more, and a header that passed must lie within the bounds
 * that the rest of weft relies on.
 *
 * `make fuzz` builds each fuzz_*.c with clang's libFuzzer, AddressSanitizer and UBSan and runs it
 * for T seconds, from the inputs in corpus/<its name> (made by make_corpus.py); findings are kept
 * in build/fuzz-found. One input again: build/tests/fuzz/fuzz_wire FILE
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool claim)
{
	if (!claim)
		abort();
}

/* A refusal has words. */
static bool is_good(const char *wrong)
{
	if (wrong)
		must(wrong[0]);
	return !wrong;
}

/* The input is one frame behind the other, as a lane reads them. */
static void fuzz_frames(const uint8_t *p, size_t len)
{
	struct wf_frame h;

	while (len >= WF_FRAME_HDR) {
		memcpy(&h, p, sizeof(h));
		p += WF_FRAME_HDR;
		len -= WF_FRAME_HDR;
		must(wf_frame_name(h.type)[0]);
		if (!is_good(wf_frame_check(&h)))
			return;
		must(h.type && h.type < WF_FR_TYPES_ && strcmp(wf_frame_name(h.type), "?"));
		must(h.len <= WF_FRAME_DATA_MAX);
		if (h.type == WF_FR_AM)
			must(h.aux <= WF_AM_HEADER_MAX && h.aux <= h.len);
		if (h.type == WF_FR_AM_RTS)
			must(h.aux <= WF_AM_HEADER_MAX && sizeof(struct wf_rts) + h.aux <= h.len);
		if (h.type == WF_FR_RTS)
			must(h.len >= sizeof(struct wf_rts) &&
			     h.len <= sizeof(struct wf_rts) + WF_DESC_MAX);
		if (h.len > len)
			return;
		p += h.len;
		len -= h.len;
	}
}

static void fuzz_hello(const uint8_t *p, size_t len)
{
	struct wf_hello once, twice;
	uint8_t buf[WF_HELLO_MAX];
	size_t n;

	if (!is_good(wf_hello_decode(p, len, &once)))
		return;
	must(once.n_offers <= WF_OFFERS_MAX);
	for (unsigned i = 0; i < once.n_offers; i++) {
		must(once.offers[i].len <= WF_OFFER_MAX);
		must(wf_hello_find(&once, once.offers[i].name) == &once.offers[i]);
	}
	n = wf_hello_encode(&once, buf, sizeof(buf));
	must(n && n <= sizeof(buf));
	must(is_good(wf_hello_decode(buf, n, &twice)));
	must(!memcmp(&once, &twice, sizeof(once)));
	must(wf_hello_version(&once, &twice) == once.version_max);
}

static void fuzz_url(const uint8_t *p, size_t len)
{
	struct wf_url once, twice;
	char *text = malloc(len + 1), *back = malloc(len + 1);

	if (!text || !back)
		goto free_texts;
	if (len)
		memcpy(text, p, len);
	text[len] = '\0';
	if (!is_good(wf_url_parse(text, &once)))
		goto free_texts;
	must(once.n >= 1 && once.n <= WF_URL_ADDRS);
	must(wf_url_format(&once, back, len + 1) == strlen(text));
	must(!strcmp(text, back));
	must(is_good(wf_url_parse(back, &twice)));
	must(!memcmp(&once, &twice, sizeof(once)));
free_texts:
	free(text);
	free(back);
}

/* A blob has one form only: what is taken is written again byte for byte. */
static void fuzz_address(const uint8_t *p, size_t len)
{
	struct wf_address a;
	uint8_t buf[2048];

	if (!is_good(wf_address_decode(p, len, &a)))
		return;
	must(wf_address_encode(&a, buf, sizeof(buf)) == len);
	must(!memcmp(p, buf, len));
}

static void fuzz_token(const uint8_t *p, size_t len)
{
	uint8_t buf[WF_TOKEN_LEN];
	struct wf_token t;

	if (!is_good(wf_token_decode(p, len, &t)))
		return;
	must(len == WF_TOKEN_LEN);
	wf_token_encode(&t, buf);
	must(!memcmp(p, buf, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoder[])(const uint8_t *p, size_t len) = {
		fuzz_frames, fuzz_hello, fuzz_url, fuzz_address, fuzz_token,
	};

	if (size)
		decoder[data[0] % (sizeof(decoder) / sizeof(decoder[0]))](data + 1, size - 1);
	return 0;
}
