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
