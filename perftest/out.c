/* SPDX-License-Identifier: BSD-3-Clause
 *
 * out.c - JSON on stdout, JSON of the library read back, text wrapped for people. The library's JSON is trusted to be
 * well-formed: it is made in this process.
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define DEPTH 16
#define COLUMNS 100

static struct {
	bool item[DEPTH];
	char bracket[DEPTH];
	unsigned depth;
} out;

/* ---- writing ---- */

static void quoted(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

/* Comma and key. */
static void begin(const char *key)
{
	if (out.item[out.depth])
		putchar(',');
	out.item[out.depth] = true;
	if (!key)
		return;
	quoted(key);
	putchar(':');
}

void json_open(const char *key, char bracket)
{
	begin(key);
	putchar(bracket);
	out.depth += out.depth < DEPTH - 1;
	out.item[out.depth] = false;
	out.bracket[out.depth] = bracket == '{' ? '}' : ']';
}

void json_close(void)
{
	putchar(out.bracket[out.depth]);
	out.depth -= out.depth > 0;
	if (!out.depth)
		putchar('\n');
}

void json_str(const char *key, const char *s)
{
	begin(key);
	quoted(s);
}

void json_u64(const char *key, uint64_t v)
{
	begin(key);
	printf("%llu", (unsigned long long)v);
}

void json_real(const char *key, double v)
{
	begin(key);
	printf("%.4f", v);
}

void json_bool(const char *key, bool v)
{
	begin(key);
	fputs(v ? "true" : "false", stdout);
}

void json_raw(const char *key, const char *json, size_t len)
{
	begin(key);
	fwrite(json, 1, len, stdout);
}

void json_members(const char *json)
{
	size_t len = json_len(json);

	if (len < 3)
		return;
	begin(NULL);
	fwrite(json + 1, 1, len - 2, stdout);
}

/* ---- reading ---- */

/* Behind the string that begins at @s. */
static const char *behind_string(const char *s)
{
	for (s++; *s && *s != '"'; s++)
		if (*s == '\\' && s[1])
			s++;
	return *s ? s + 1 : s;
}

const char *json_find(const char *json, const char *key)
{
	size_t len = strlen(key);

	while (*json) {
		const char *end;

		if (*json != '"') {
			json++;
			continue;
		}
		end = behind_string(json);
		if (*end == ':' && (size_t)(end - json) == len + 2 && !memcmp(json + 1, key, len))
			return end + 1;
		json = end;
	}
	return NULL;
}

size_t json_len(const char *value)
{
	const char *at = value;
	unsigned depth = 0;

	while (*at) {
		if (*at == '"') {
			at = behind_string(at);
		} else if (*at == '{' || *at == '[') {
			depth++;
			at++;
		} else if (*at == '}' || *at == ']') {
			if (!depth)
				break;
			at++;
			depth--;
		} else if (*at == ',' && !depth) {
			break;
		} else {
			at++;
			continue;        /* inside a number or a word */
		}
		if (!depth)
			break;
	}
	return (size_t)(at - value);
}

uint64_t json_number(const char *json, const char *key)
{
	const char *at = json_find(json, key);

	return at ? strtoull(at, NULL, 10) : 0;
}

void json_text(const char *json, const char *key, char *text, size_t cap)
{
	const char *at = json_find(json, key);
	size_t n = 0;

	if (at && *at == '"')
		for (at++; *at && *at != '"' && n + 1 < cap; at++) {
			if (*at == '\\' && at[1])
				at++;
			text[n++] = *at;
		}
	text[n] = 0;
}

/* ---- for people ---- */

char *explain_text(weft_ctx *ctx, weft_ep *ep, const char *url, int json)
{
	size_t len = 0;
	char *text;

	weft_explain(ctx, ep, url, json, NULL, &len);   /* how long it is */
	len += 1000;                                    /* counters in it may grow */
	text = malloc(len);
	if (text && weft_explain(ctx, ep, url, json, text, &len) == WEFT_OK)
		return text;
	free(text);
	return NULL;
}

char *stats_text(weft_ctx *ctx, const void *worker_or_ep)
{
	size_t len = 0;
	char *text;

	weft_stats(ctx, worker_or_ep, NULL, &len);
	len += 1000;
	text = malloc(len);
	if (text && weft_stats(ctx, worker_or_ep, text, &len) == WEFT_OK)
		return text;
	free(text);
	return NULL;
}

void print_wrapped(const char *label, unsigned indent, const char *text)
{
	int pad = (int)indent;
	size_t room = COLUMNS - indent;

	printf("%-*s", pad, label);
	while (strlen(text) > room) {
		size_t n = room;

		while (n && text[n] != ' ')
			n--;
		if (!n)
			n = room;        /* one word that is longer than a line */
		printf("%.*s\n%*s", (int)n, text, pad, "");
		text += n;
		text += strspn(text, " ");
	}
	printf("%s\n", text);
}

bool say_bad(const char *command, const char *what, const char *argument)
{
	fprintf(stderr, "weft %s: %s \"%s\"; weft %s --help lists the options\n", command, what, argument, command);
	return false;
}

bool look_options(const char *command, int argc, char **argv, bool *json)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			*json = true;
		else if (!strcmp(argv[i], "--root") && i + 1 < argc)
			fact_set_root(argv[++i]);
		else
			return say_bad(command, strcmp(argv[i], "--root") ? "unexpected argument" : "a folder is missing behind", argv[i]);
	}
	return true;
}
