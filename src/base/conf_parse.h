/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conf_parse.h - the texts of settings: numbers with suffixes, lists, ranges, and how far one word
 * is from another. Pure functions on text. Parsers return 0, or WEFT_ESETTING without a sentence
 * and with the result untouched.
 */
#ifndef WF_BASE_CONF_PARSE_H
#define WF_BASE_CONF_PARSE_H

#include "base/conf.h"

/* "yes", "on", "true", "1" and their opposites, in any case. */
int wf_parse_bool(const char *text, bool *out);

/* "7000-7099", "7000", "0". */
int wf_parse_ports(const char *text, struct wf_conf_ports *out);

/* A comma-separated list without blanks and empty items. */
int wf_parse_list(const char *text, char *out, size_t cap);

/* @text without the blanks around it, cut to @cap. */
void wf_trim(const char *text, char *out, size_t cap);

/* With the largest suffix that divides it: "64K", "100ms". */
void wf_format_number(bool is_time, uint64_t v, char *out, size_t cap);

/* Levenshtein distance, of the first 40 bytes. */
size_t wf_edit_distance(const char *a, const char *b);

#endif
