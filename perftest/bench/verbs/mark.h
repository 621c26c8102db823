/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mark.h - how a program tells `steps`, which runs it, what to count: between mark(SLOT) and mark(MARK_END) each instruction
 * belongs to that slot. A mark is a getppid() with telling arguments, as in the unit tests: without a tracer it does nothing.
 * A slot in which nothing happens, MARK_EMPTY, tells what the marks themselves cost; `steps` takes it off every other one.
 */
#ifndef BENCH_VERBS_MARK_H
#define BENCH_VERBS_MARK_H
#include <sys/syscall.h>
#include <unistd.h>

#define MARK_MAGIC 0x77656674ul
#define MARK_END   0ul
#define MARK_EMPTY 1ul
#define MARK_SLOTS 16ul                 /* from 2 on they are the program's own */

static inline void mark(unsigned long slot)
{
	syscall(SYS_getppid, MARK_MAGIC, slot);
}
#endif
