/* SPDX-License-Identifier: BSD-3-Clause
 *
 * path.c - what the library says of the endpoint that is measured. Its JSON is flat and its keys are unique, so that
 * looking for a key is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define TEXT_CAP 4000

/* Where the value of @key begins, or NULL. */
static const char *find(const char *json, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(json, quoted);
	return at ? at + strlen(quoted) : NULL;
}

static uint64_t find_number(const char *json, const char *key)
{
	const char *at = find(json, key);

	return at ? strtoull(at, NULL, 10) : 0;
}

/* The string as it stands in the JSON, without its quotes. */
static void find_text(const char *json, const char *key, char *out, size_t cap)
{
	const char *at = find(json, key);
	size_t n = 0;

	if (at && *at == '"')
		for (at++; at[n] && at[n] != '"'; n++)
			if (at[n] == '\\' && at[n + 1])
				n++;
	snprintf(out, cap, "%.*s", (int)n, n ? at : "");
}

static bool read_stats(struct side *s, char *text)
{
	size_t len = TEXT_CAP;

	return !weft_stats(s->ctx, s->ep, text, &len) || side_refused(s, "weft_stats");
}

bool path_read(struct side *s, struct cell *c)
{
	char text[TEXT_CAP];
	size_t len = sizeof(text);

	if (weft_explain(s->ctx, s->ep, NULL, 1, text, &len))
		return side_refused(s, "weft_explain");
	find_text(text, "transport", c->path, sizeof(c->path));
	find_text(text, "lane", c->lane, sizeof(c->lane));
	if (!read_stats(s, text))
		return false;
	c->copied_here = find_number(text, "copy_bytes_here");
	c->copied_peer = find_number(text, "copy_bytes_peer");
	return true;
}

bool path_direct(struct side *s, uint64_t *count)
{
	char text[TEXT_CAP];

	if (!read_stats(s, text))
		return false;
	*count = find_number(text, "direct");
	return true;
}
