/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fault.c - the counter behind fault.h. One counter for allocations and named points, so that one
 * number names one failure of a run. Globals on purpose: the fault build tests one thing at a time,
 * whatever thread does it.
 */
#include "base/fault.h"

#ifdef WF_FAULTS

static uint64_t count;
static uint64_t fail_at, fail_until; /* both 0: off */
static const char *last;

static void set(uint64_t from, uint64_t until)
{
	__atomic_store_n(&fail_at, from, __ATOMIC_RELAXED);
	__atomic_store_n(&fail_until, until, __ATOMIC_RELAXED);
	__atomic_store_n(&count, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&last, NULL, __ATOMIC_RELAXED);
}

void wf_fault_set(uint64_t nth)
{
	set(nth, nth);
}

void wf_fault_set_lasting(uint64_t nth)
{
	set(nth, nth ? UINT64_MAX : 0);
}

uint64_t wf_fault_count(void)
{
	return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

const char *wf_fault_last(void)
{
	return __atomic_load_n(&last, __ATOMIC_RELAXED);
}

bool wf_fault_point(const char *name)
{
	uint64_t n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);

	if (n < __atomic_load_n(&fail_at, __ATOMIC_RELAXED) || n > __atomic_load_n(&fail_until, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&last, name, __ATOMIC_RELAXED);
	return true;
}

void *wf_malloc(size_t size)
{
	return wf_fault_point("malloc") ? NULL : malloc(size);
}

void *wf_calloc(size_t n, size_t size)
{
	return wf_fault_point("calloc") ? NULL : calloc(n, size);
}

void *wf_realloc(void *p, size_t size)
{
	return wf_fault_point("realloc") ? NULL : realloc(p, size);
}

char *wf_strdup(const char *s)
{
	return wf_fault_point("strdup") ? NULL : strdup(s);
}

void *wf_alloc_aligned(size_t align, size_t size)
{
	void *p;

	if (wf_fault_point("alloc_aligned"))
		return NULL;
	return posix_memalign(&p, align, size) ? NULL : p;
}

#else

void wf_fault_set(uint64_t nth)
{
	(void)nth;
}

void wf_fault_set_lasting(uint64_t nth)
{
	(void)nth;
}

uint64_t wf_fault_count(void)
{
	return 0;
}

const char *wf_fault_last(void)
{
	return NULL;
}

#endif
