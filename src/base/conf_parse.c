/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_parse.c - see conf_parse.h and the list helpers of conf.h.
 */
#include "base/conf_parse.h"

#include <stdio.h>
#include <strings.h>

struct suffix {
	const char *text;
	uint64_t factor;
};

/* Largest first, so that formatting finds the shortest form. */
static const struct suffix sizes[] = {
	{ "T", 1ull << 40 }, { "G", 1ull << 30 }, { "M", 1ull << 20 },
	{ "K", 1ull << 10 }, { "", 1 },
};
static const struct suffix times[] = {
	{ "h", 3600000000000ull }, { "m", 60000000000ull }, { "s", 1000000000ull },
	{ "ms", 1000000ull },      { "us", 1000ull },       { "ns", 1ull },
};

/* Digits, at most one "." and up to 9 digits after it, then exactly one of the suffixes. */
static int parse_number(const char *text, const struct suffix *sfx, size_t n_sfx, uint64_t *out)
{
	uint64_t whole = 0, part = 0, part_unit = 1, v;
	const char *p = text;

	if (*p < '0' || *p > '9')
		return WEFT_ESETTING;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return WEFT_ESETTING;
	}
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9' && part_unit < 1000000000ull; p++) {
			part = part * 10 + (uint64_t)(*p - '0');
			part_unit *= 10;
		}
	}
	for (size_t i = 0; i < n_sfx; i++) {
		if (strcasecmp(p, sfx[i].text))
			continue;
		if (__builtin_mul_overflow(whole, sfx[i].factor, &v))
			return WEFT_ESETTING;
		part = (uint64_t)((unsigned __int128)part * sfx[i].factor / part_unit);
		return __builtin_add_overflow(v, part, out) ? WEFT_ESETTING : 0;
	}
	return WEFT_ESETTING;
}

int wf_parse_size(const char *text, uint64_t *out)
{
	return parse_number(text, sizes, WF_ARRAY_LEN(sizes), out);
}

int wf_parse_time(const char *text, uint64_t *ns_out)
{
	if (!strcmp(text, "0")) { /* the one time that needs no unit */
		*ns_out = 0;
		return 0;
	}
	return parse_number(text, times, WF_ARRAY_LEN(times), ns_out);
}

void wf_format_number(bool is_time, uint64_t v, char *out, size_t cap)
{
	const struct suffix *sfx = is_time ? times : sizes;

	if (!v) {
		snprintf(out, cap, "0");
		return;
	}
	while (v % sfx->factor)
		sfx++;
	snprintf(out, cap, "%llu%s", (unsigned long long)(v / sfx->factor), sfx->text);
}

int wf_parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = { "yes", "on", "true", "1" };
	static const char *const no[] = { "no", "off", "false", "0" };

	for (size_t i = 0; i < WF_ARRAY_LEN(yes); i++) {
		if (!strcasecmp(text, yes[i]) || !strcasecmp(text, no[i])) {
			*out = !strcasecmp(text, yes[i]);
			return 0;
		}
	}
	return WEFT_ESETTING;
}

/* Digits up to 65535; the rest of the text, or NULL. */
static const char *parse_port(const char *text, uint16_t *out)
{
	uint32_t v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && p < text + 5; p++)
		v = v * 10 + (uint32_t)(*p - '0');
	if (p == text || v > 65535)
		return NULL;
	*out = (uint16_t)v;
	return p;
}

int wf_parse_ports(const char *text, struct wf_conf_ports *out)
{
	struct wf_conf_ports v;
	const char *p = parse_port(text, &v.first);

	if (!p)
		return WEFT_ESETTING;
	v.last = v.first;
	if (*p == '-')
		p = parse_port(p + 1, &v.last);
	if (!p || *p || v.last < v.first || (!v.first && v.last))
		return WEFT_ESETTING;
	*out = v;
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void wf_trim(const char *text, char *out, size_t cap)
{
	size_t len;

	while (is_blank(*text))
		text++;
	len = strnlen(text, cap - 1);
	if (!text[len]) {
		while (len && is_blank(text[len - 1]))
			len--;
	}
	memcpy(out, text, len);
	out[len] = 0;
}

const char *wf_conf_list_next(const char **cursor, size_t *len_out)
{
	const char *p = *cursor, *end;

	while (*p == ',' || is_blank(*p))
		p++;
	if (!*p) {
		*cursor = p;
		return NULL;
	}
	end = p + strcspn(p, ",");
	*cursor = end;
	while (is_blank(end[-1]))
		end--;
	*len_out = (size_t)(end - p);
	return p;
}

bool wf_conf_list_has(const char *list, const char *name)
{
	size_t want = strlen(name), len;
	const char *item;

	while ((item = wf_conf_list_next(&list, &len))) {
		if (len == want && !memcmp(item, name, len))
			return true;
	}
	return false;
}

int wf_parse_list(const char *text, char *out, size_t cap)
{
	char tmp[WF_CONF_TEXT];
	size_t at = 0, len;
	const char *item;

	while ((item = wf_conf_list_next(&text, &len))) {
		if (at + !!at + len >= WF_MIN(sizeof(tmp), cap))
			return WEFT_ESETTING;
		if (at)
			tmp[at++] = ',';
		memcpy(tmp + at, item, len);
		at += len;
	}
	memcpy(out, tmp, at);
	out[at] = 0;
	return 0;
}

/* ---- the setting rdma ---- */

/* Decimal, or hexadecimal behind 0x, to the end of the @len bytes. */
static bool parse_uint(const char *p, size_t len, unsigned min, unsigned max, unsigned *out)
{
	unsigned base = 10, v = 0;
	const char *end = p + len;

	if (len > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	if (p == end)
		return false;
	for (; p < end && v <= max; p++) {
		unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') :
				 (*p | 32) >= 'a' && (*p | 32) <= 'f' ?
						      (unsigned)((*p | 32) - 'a') + 10 : 99;

		if (digit >= base)
			return false;
		v = v * base + digit;
	}
	if (v < min || v > max)
		return false;
	*out = v;
	return true;
}

static const struct rdma_word {
	const char *key;
	unsigned min, max;
	size_t offset; /* in struct wf_conf_rdma */
	const char *what;
	bool power; /* of two */
} rdma_words[] = {
	{ "pkey", 1, 0xffff, offsetof(struct wf_conf_rdma, pkey), "a P_Key, 0x0001 to 0xffff", false },
	{ "sl", 0, 15, offsetof(struct wf_conf_rdma, sl), "a service level, 0 to 15", false },
	{ "tc", 0, 255, offsetof(struct wf_conf_rdma, tc), "a traffic class, 0 to 255", false },
	{ "mtu", 256, 4096, offsetof(struct wf_conf_rdma, mtu), "an MTU, 256, 512, 1024, 2048 or 4096", true },
};

/* "key=value". */
static int take_word(const char *item, size_t len, size_t key, struct wf_conf_rdma *out, char *why,
		     size_t cap)
{
	for (size_t i = 0; i < WF_ARRAY_LEN(rdma_words); i++) {
		const struct rdma_word *w = &rdma_words[i];
		int *field = (int *)(void *)((char *)out + w->offset);
		unsigned v;

		if (strlen(w->key) != key || memcmp(item, w->key, key))
			continue;
		if (*field >= 0) {
			snprintf(why, cap, "%s is said twice", w->key);
		} else if (!parse_uint(item + key + 1, len - key - 1, w->min, w->max, &v) ||
			   (w->min && !(v & 0x7fff)) || (w->power && v & (v - 1))) {
			snprintf(why, cap, "\"%.*s\" is not %s", (int)len, item, w->what);
		} else {
			*field = (int)v;
			return 0;
		}
		return WEFT_ESETTING;
	}
	snprintf(why, cap, "\"%.*s\" is none of the words pkey, sl, tc and mtu", (int)len, item);
	return WEFT_ESETTING;
}

/* "name", "name:port", "name:port:gid". */
static int check_device(const char *item, size_t len, char *why, size_t cap)
{
	const char *end = item + len, *port = memchr(item, ':', len);
	const char *gid = port ? memchr(port + 1, ':', (size_t)(end - port - 1)) : NULL;
	unsigned v;

	if (port == item)
		snprintf(why, cap, "\"%.*s\" names no device", (int)len, item);
	else if (port && !parse_uint(port + 1, (size_t)((gid ? gid : end) - port - 1), 1, 255, &v))
		snprintf(why, cap, "\"%.*s\": the port is not 1 to 255", (int)len, item);
	else if (gid && !parse_uint(gid + 1, (size_t)(end - gid - 1), 0, 255, &v))
		snprintf(why, cap, "\"%.*s\": the GID index is not 0 to 255", (int)len, item);
	else
		return 0;
	return WEFT_ESETTING;
}

bool wf_conf_rdma_is_device(const char *item, size_t len)
{
	return !memchr(item, '=', len) && (len != 2 || memcmp(item, "cm", 2));
}

int wf_conf_rdma(const char *list, struct wf_conf_rdma *out, char *why, size_t cap)
{
	struct wf_conf_rdma v = { .pkey = -1, .sl = -1, .tc = -1, .mtu = -1 };
	const char *item;
	size_t len;
	int ret = 0;

	while (!ret && (item = wf_conf_list_next(&list, &len))) {
		const char *equals = memchr(item, '=', len);

		if (equals)
			ret = take_word(item, len, (size_t)(equals - item), &v, why, cap);
		else if (wf_conf_rdma_is_device(item, len))
			ret = check_device(item, len, why, cap);
		else
			v.cm = true;
	}
	if (!ret && v.cm && v.pkey >= 0) {
		snprintf(why, cap, "pkey beside cm: rdma_cm takes the partition of the interface that "
				   "has the address");
		ret = WEFT_ESETTING;
	}
	if (!ret && v.cm && v.mtu >= 0) {
		snprintf(why, cap, "mtu beside cm: rdma_cm takes the MTU that it finds on the path");
		ret = WEFT_ESETTING;
	}
	if (!ret)
		*out = v;
	return ret;
}

size_t wf_edit_distance(const char *a, const char *b)
{
	size_t row[41];
	size_t na = strnlen(a, 40), nb = strnlen(b, 40);

	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t swap = diagonal + (a[i - 1] != b[j - 1]);
			size_t step = WF_MIN(row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = WF_MIN(swap, step);
		}
	}
	return row[nb];
}
