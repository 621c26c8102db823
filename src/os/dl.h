/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.h - libraries that are looked for at run time, so that one build of weft runs with and without them. A library stays
 * loaded once it is: what it started (threads, handlers at exit) cannot be taken out of a process again.
 */
#ifndef WF_OS_DL_H
#define WF_OS_DL_H

#include <stdbool.h>
#include <stddef.h>

/* Has somebody loaded it already? */
bool wf_dl_is_loaded(const char *name);

struct wf_dl_row {                       /* a function that is looked for, in the library or in one that it needs */
	const char *name, *version;      /* version: NULL where the library has none, or the one that it prefers will do */
	bool optional;                   /* NULL in the table when it is not there; else the whole library is of no use */
	size_t at;                       /* of its pointer in the table */
};

/*
 * Loads library @name ("libfoo.so.1") and fills @table with its functions. False: a sentence in @why names what is missing. This
 * thread's stack for signals stays as it is, whatever the library does to it when it is loaded.
 */
bool wf_dl_fill(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap);

/* The same with a library that is not whole without one that is loaded later: what it needs of that is looked for when it is called. */
bool wf_dl_fill_part(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap);

#endif
