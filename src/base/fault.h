/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fault.h - every allocation of the library goes through here, so that a build with -DWF_FAULTS can
 * make the n-th one fail and `make torture` can walk through all of them. The same build lets
 * system calls fail at named points. In a normal build these are the functions of libc and
 * wf_fault_point() is the constant false.
 *
 * wf_free() takes NULL. Sizes of 0 are the caller's mistake. State in the fault build: one counter,
 * for all threads.
 */
#ifndef WF_BASE_FAULT_H
#define WF_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Each gives memory to the caller, who returns it with wf_free(), or returns NULL. */
#ifdef WF_FAULTS

void *wf_malloc(size_t size);
void *wf_calloc(size_t n, size_t size);
void *wf_realloc(void *p, size_t size);
char *wf_strdup(const char *s);
void *wf_alloc_aligned(size_t align, size_t size);

/* Counts; true when this point is to fail now. @name is only for wf_fault_last(). */
bool wf_fault_point(const char *name);

#else

static inline void *wf_malloc(size_t size)
{
	return malloc(size);
}

static inline void *wf_calloc(size_t n, size_t size)
{
	return calloc(n, size);
}

static inline void *wf_realloc(void *p, size_t size)
{
	return realloc(p, size);
}

static inline char *wf_strdup(const char *s)
{
	return strdup(s);
}

/* @align: a power of two, at least sizeof(void *). */
static inline void *wf_alloc_aligned(size_t align, size_t size)
{
	void *p;

	return posix_memalign(&p, align, size) ? NULL : p;
}

static inline bool wf_fault_point(const char *name)
{
	(void)name;
	return false;
}

#endif

static inline void wf_free(void *p)
{
	free(p);
}

/* The @nth call from now (1 is the next) fails, once; 0: none does. Restarts the count. No effect
 * in a normal build. */
void wf_fault_set(uint64_t nth);

/* The same, and every call after the @nth fails as well, until the next wf_fault_set(). */
void wf_fault_set_lasting(uint64_t nth);

/* Calls counted since wf_fault_set(); 0 in a normal build. */
uint64_t wf_fault_count(void);

/* The name of the point that failed last ("malloc", ...); NULL: none did since wf_fault_set().
 * Static text. */
const char *wf_fault_last(void);

#endif
