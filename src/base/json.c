/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json.c - see json.h.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>

void wf_json_begin(struct wf_json *j, char *out, size_t cap)
{
	*j = (struct wf_json){ .out = out, .cap = cap };
}

size_t wf_json_end(struct wf_json *j)
{
	if (j->cap)
		j->out[j->broken ? 0 : WF_MIN(j->len, j->cap - 1)] = 0;
	return j->broken || j->depth ? 0 : j->len;
}

static void put(struct wf_json *j, const char *s, size_t len)
{
	if (j->len < j->cap)
		memcpy(j->out + j->len, s, WF_MIN(len, j->cap - j->len));
	j->len += len;
}

/* Before each value and each key: the comma that the one before it needs. */
static void separate(struct wf_json *j)
{
	if (j->after_key) {
		j->after_key = false;
		return;
	}
	if (j->depth && j->has_item[j->depth - 1])
		put(j, ",", 1);
	if (j->depth)
		j->has_item[j->depth - 1] = true;
}

static void open_level(struct wf_json *j, const char *bracket)
{
	separate(j);
	put(j, bracket, 1);
	if (j->depth == WF_JSON_DEPTH) {
		j->broken = true;
		return;
	}
	j->has_item[j->depth++] = false;
}

static void close_level(struct wf_json *j, const char *bracket)
{
	put(j, bracket, 1);
	if (j->depth)
		j->depth--;
	else
		j->broken = true;
}

void wf_json_obj_open(struct wf_json *j)
{
	open_level(j, "{");
}

void wf_json_obj_close(struct wf_json *j)
{
	close_level(j, "}");
}

void wf_json_arr_open(struct wf_json *j)
{
	open_level(j, "[");
}

void wf_json_arr_close(struct wf_json *j)
{
	close_level(j, "]");
}

/* Length of the UTF-8 sequence at @s, 0 when it is none (also overlong, surrogate, past U+10FFFF).
 */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80                 ? 1 :
		   s[0] >= 0xc2 && s[0] < 0xe0 ? 2 :
		   (s[0] & 0xf0) == 0xe0       ? 3 :
		   s[0] >= 0xf0 && s[0] < 0xf5 ? 4 :
						 0;

	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
		return 0;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void put_escape(struct wf_json *j, unsigned char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = memchr(from, c, sizeof(from) - 1);
	char text[8];

	if (at) {
		char two[2] = { '\\', to[at - from] };

		put(j, two, 2);
		return;
	}
	snprintf(text, sizeof(text), "\\u%04x", c);
	put(j, text, 6);
}

static void put_string(struct wf_json *j, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	put(j, "\"", 1);
	while (len) {
		size_t n = utf8_len(p, len);

		if (!n)
			put(j, "\xef\xbf\xbd", 3);
		else if (*p < 0x20 || *p == '"' || *p == '\\' || *p == 0x7f)
			put_escape(j, *p);
		else
			put(j, (const char *)p, n);
		n = n ? n : 1;
		p += n;
		len -= n;
	}
	put(j, "\"", 1);
}

void wf_json_key(struct wf_json *j, const char *key)
{
	separate(j);
	put_string(j, key, strlen(key));
	put(j, ":", 1);
	j->after_key = true;
}

void wf_json_str(struct wf_json *j, const char *s)
{
	if (s)
		wf_json_str_n(j, s, strlen(s));
	else
		wf_json_null(j);
}

void wf_json_str_n(struct wf_json *j, const char *s, size_t len)
{
	separate(j);
	put_string(j, s, len);
}

static void put_word(struct wf_json *j, const char *word)
{
	separate(j);
	put(j, word, strlen(word));
}

void wf_json_u64(struct wf_json *j, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put_word(j, text);
}

void wf_json_i64(struct wf_json *j, int64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)v);
	put_word(j, text);
}

void wf_json_double(struct wf_json *j, double v)
{
	char text[40];
	char *comma;

	if (!isfinite(v)) {
		wf_json_null(j);
		return;
	}
	snprintf(text, sizeof(text), "%.15g", v);
	comma = strchr(text, ','); /* the program's locale may write one */
	if (comma)
		*comma = '.';
	put_word(j, text);
}

void wf_json_bool(struct wf_json *j, bool v)
{
	put_word(j, v ? "true" : "false");
}

void wf_json_null(struct wf_json *j)
{
	put_word(j, "null");
}

void wf_json_kv_str(struct wf_json *j, const char *key, const char *s)
{
	wf_json_key(j, key);
	wf_json_str(j, s);
}

void wf_json_kv_u64(struct wf_json *j, const char *key, uint64_t v)
{
	wf_json_key(j, key);
	wf_json_u64(j, v);
}

void wf_json_kv_i64(struct wf_json *j, const char *key, int64_t v)
{
	wf_json_key(j, key);
	wf_json_i64(j, v);
}

void wf_json_kv_double(struct wf_json *j, const char *key, double v)
{
	wf_json_key(j, key);
	wf_json_double(j, v);
}

void wf_json_kv_bool(struct wf_json *j, const char *key, bool v)
{
	wf_json_key(j, key);
	wf_json_bool(j, v);
}
