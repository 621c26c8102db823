/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt_inside.h - between the files of this folder only.
 */
#ifndef WT_INSIDE_H
#define WT_INSIDE_H

/* A forked peer process starts without the workers and contexts of its parent. */
void wt_forget(void);
void wt_kill_children(void);
/* Lets somebody else run for a moment. */
void wt_idle(void);

#endif
