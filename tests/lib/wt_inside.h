/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt_inside.h - between the files of this folder only.
 */
#ifndef WT_INSIDE_H
#define WT_INSIDE_H
#include <stdbool.h>

/* A forked peer process starts without the workers and contexts of its parent. */
void wt_forget(void);
void wt_kill_children(void);
/* This is a peer process now: a failed check ends it. */
void wt_in_child(void);
/* Descriptors of this process alone. */
int wt_fds_here(void);
/* What each of them is, for whoever looks for the one that was left. */
void wt_print_fds(void);
/* A library was loaded that keeps descriptors until the process ends. */
bool wt_fds_may_stay(void);
/* Lets somebody else run for a moment. */
void wt_idle(void);

#endif
