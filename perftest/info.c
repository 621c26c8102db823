/* SPDX-License-Identifier: BSD-3-Clause
 *
 * info.c - `weft info` and `weft explain`: what the library says of itself, passed on as it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "perftest.h"

#define URL_MAX 2000

/* Prints the explanation of the library, or of a URL. Returns the exit status. */
static int print_explanation(const char *url, bool json)
{
	weft_ctx *ctx;
	size_t len = 0;
	char *text;
	int ret;

	if (weft_open(NULL, &ctx))
		return say_refusal();
	weft_explain(ctx, NULL, url, json, NULL, &len);   /* how long it is */
	text = malloc(++len);
	ret = text ? weft_explain(ctx, NULL, url, json, text, &len) : WEFT_ENOMEM;
	if (ret == WEFT_OK)
		printf("%s%s", text, len && text[len - 1] == '\n' ? "" : "\n");
	else
		say_refusal();
	free(text);
	weft_close(ctx);
	return ret == WEFT_OK && !fflush(stdout) ? 0 : 1;
}

/* At most one word that is no option: *url, where it is allowed. */
static bool parse(int argc, char **argv, const char **url, bool *json)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			*json = true;
		} else if (url && !*url && argv[i][0] != '-') {
			*url = argv[i];
		} else {
			fprintf(stderr, "weft %s: unexpected argument \"%s\"\n", argv[0], argv[i]);
			return false;
		}
	}
	return true;
}

int info_main(int argc, char **argv)
{
	bool json = false;

	if (!parse(argc, argv, NULL, &json))
		return 2;
	return print_explanation(NULL, json);
}

int explain_main(int argc, char **argv)
{
	char numeric[URL_MAX];
	const char *url = NULL;
	bool json = false;

	if (!parse(argc, argv, &url, &json))
		return 2;
	if (!url) {
		fprintf(stderr, "weft explain: a URL is missing, such as weft://localhost:7000\n");
		return 2;
	}
	if (weft_resolve(url, numeric, sizeof(numeric)))
		return say_refusal();
	return print_explanation(numeric, json);
}
