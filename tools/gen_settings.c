/* SPDX-License-Identifier: BSD-3-Clause
 *
 * gen_settings - prints docs/SETTINGS.md from the table in src/base/conf.c. `make docs` runs it.
 */
#include <stdio.h>

#include "base/conf.h"

static const char head[] =
	"# Settings\n"
	"\n"
	"<!-- Made by `make docs` from src/base/conf.c. Do not edit. -->\n"
	"\n"
	"None is needed for weft to work well. Each can be set, the later winning, in the file\n"
	"that the variable `WEFT_CONFIG` names (`key = value` lines, `#` comments), by the\n"
	"environment variable beside it, or by code with `weft_config_set()`. An unknown key or\n"
	"variable is an error that names the nearest. Sizes take K, M, G, T (powers of 1024), times\n"
	"ns, us, ms, s, m, h. `weft info` shows every value and where it came from.\n"
	"\n"
	"Thresholds (`eager_max_shm`, `eager_max_tcp`, `copy_chunk`) that none of these sets come from\n"
	"the file that `calibration` names, if it does, else from the defaults below.\n"
	"\n"
	"| key | variable | default | allowed | what it is |\n"
	"|---|---|---|---|---|\n";

/* The bounds of a row as a user would write them: set a field to each and let it be formatted. */
static void print_allowed(const struct wf_conf_row *row, size_t i)
{
	struct wf_conf conf = { 0 };
	uint64_t *field = (uint64_t *)(void *)((char *)&conf + row->offset);
	char lo[32], hi[32];

	if (row->type != WF_CONF_SIZE && row->type != WF_CONF_TIME && row->type != WF_CONF_INT) {
		printf("%s", row->unit);
		return;
	}
	*field = row->min;
	wf_conf_format(&conf, i, lo, sizeof(lo));
	*field = row->max;
	wf_conf_format(&conf, i, hi, sizeof(hi));
	printf("%s .. %s%s", lo, hi, row->pow2 ? ", a power of two" : "");
}

int main(void)
{
	const struct wf_conf_row *row;
	char env[64];

	fputs(head, stdout);
	for (size_t i = 0; !wf_conf_list(i, &row); i++) {
		printf("| `%s` | `%s` | %s%s%s | ", row->key, wf_conf_env_name(i, env, sizeof(env)),
		       row->def[0] ? "`" : "(empty)", row->def, row->def[0] ? "`" : "");
		print_allowed(row, i);
		printf(" | %s |\n", row->sentence);
	}
	return ferror(stdout) || fclose(stdout);
}
