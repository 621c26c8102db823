/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.h - libraries that are looked for at run time, so that one build of weft runs with and without them. A library stays
 * loaded once it is: what it started (threads, handlers at exit) cannot be taken out of a process again.
 */
#ifndef WF_OS_DL_H
#define WF_OS_DL_H

#include <stddef.h>

/* Loads library @name ("libfoo.so.1"); NULL, and why in @why, when that fails. */
void *wf_dl_open(const char *name, char *why, size_t cap);

/* The address of @symbol, or NULL. */
void *wf_dl_sym(void *lib, const char *symbol);

#endif
