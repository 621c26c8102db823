/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.h - libraries that are looked for at run time, so that one build of weft runs with and without them. A library stays
 * loaded once it is: what it started (threads, handlers at exit) cannot be taken out of a process again.
 */
#ifndef WF_OS_DL_H
#define WF_OS_DL_H

#include <stdbool.h>
#include <stddef.h>

/* Loads library @name ("libfoo.so.1"); NULL, and why in @why, when that fails. */
void *wf_dl_open(const char *name, char *why, size_t cap);

/* The address of @symbol, or NULL. */
void *wf_dl_sym(void *lib, const char *symbol);

struct wf_dl_row {                       /* a function that is looked for */
	const char *name, *version;
	bool optional;                   /* NULL in the table when it is not there; else the whole library is of no use */
	size_t at;                       /* of its pointer in the table */
};

/* Loads library @name and fills @table with its functions. False: a sentence in @why names what is missing. */
bool wf_dl_fill(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap);

#endif
