/* SPDX-License-Identifier: BSD-3-Clause
 *
 * torture.h - runs a scenario again and again, each time with another allocation or fault point
 * failing, until none is left to fail. A scenario frees whatever it got and reports only what must
 * not be, whatever fails: that something never ends, or a call that says nothing. Crashes are found
 * by the sanitizer; blocks and descriptors that are left, by the counts here. Prints TAP.
 *
 *   torture_x              every point of every scenario
 *   torture_x --short      as many as fit into half a minute, spread over all
 *   torture_x NAME N       one scenario once, with its N-th point failing: for a debugger
 *
 * Point 0 is the run in which nothing fails. A scenario that wants only a part of itself tortured
 * says `arms` and calls torture_arm() and torture_disarm() around that part.
 */
#ifndef WT_TORTURE_H
#define WT_TORTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/clock.h"
#include "os/proc.h"

#define TORTURE_MAX     3000 /* a scenario with more points is too long */
#define TORTURE_SHORT_S 30

struct torture {
	const char *name;
	const char *(*run)(const void *arg); /* NULL, or what went wrong */
	const void *arg;
	bool arms;
	bool lasting; /* not one failure, but all from the point on */
};

static uint64_t torture_nth;
static bool torture_lasting;
static const char *torture_point; /* that failed in this run; NULL: none did */

/* ---- blocks that are allocated: the linker's --wrap (see the Makefile) sends the calls here ---- */

static long torture_blocks;

#define TORTURE_WRAP(ret, name, args, call)                                 \
	ret __real_##name args;                                             \
	ret __wrap_##name args;                                             \
	ret __wrap_##name args                                              \
	{                                                                   \
		ret p = __real_##name call;                                 \
                                                                            \
		__atomic_add_fetch(&torture_blocks, p != 0, __ATOMIC_RELAXED); \
		return p;                                                   \
	}

TORTURE_WRAP(void *, malloc, (size_t n), (n))
TORTURE_WRAP(void *, calloc, (size_t n, size_t k), (n, k))
TORTURE_WRAP(char *, strdup, (const char *s), (s))

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	void *q = __real_realloc(p, n);

	__atomic_add_fetch(&torture_blocks, !p && q, __ATOMIC_RELAXED);
	return q;
}

int __real_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	int ret = __real_posix_memalign(p, align, n);

	__atomic_add_fetch(&torture_blocks, !ret, __ATOMIC_RELAXED);
	return ret;
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	__atomic_sub_fetch(&torture_blocks, p != NULL, __ATOMIC_RELAXED);
	__real_free(p);
}

/* ---- one run ---- */

static inline void torture_arm(void)
{
	if (torture_lasting)
		wf_fault_set_lasting(torture_nth);
	else
		wf_fault_set(torture_nth);
}

/* Nothing fails from here on. */
static inline void torture_disarm(void)
{
	if (wf_fault_last())
		torture_point = wf_fault_last();
	wf_fault_set(0);
}

/* Has the point of this run failed by now? */
static inline bool torture_struck(void)
{
	return torture_point || wf_fault_last();
}

static inline void torture_say(const struct torture *t, const char *what, long a, long b)
{
	printf("# %s %llu (%s): ", t->name, (unsigned long long)torture_nth, torture_point ? torture_point : "none");
	printf(what, a, b);
	putchar('\n');
}

/* False when something went wrong; *more: a point did fail, so there may be another. */
static inline bool torture_once(const struct torture *t, uint64_t nth, bool *more)
{
	int fds = wf_fd_count();
	long blocks = torture_blocks;
	const char *wrong;

	torture_nth = nth;
	torture_point = NULL;
	torture_lasting = t->lasting;
	if (!t->arms)
		torture_arm();
	wrong = t->run(t->arg);
	torture_disarm();
	*more = torture_point != NULL;
	if (wrong)
		torture_say(t, wrong, 0, 0);
	if (fds != wf_fd_count())
		torture_say(t, "%ld descriptors became %ld", fds, wf_fd_count());
	else if (blocks != torture_blocks)
		torture_say(t, "%ld blocks became %ld", blocks, torture_blocks);
	else
		return !wrong;
	return false;
}

static inline int torture_named(const char *name, uint64_t nth, const struct torture *list, int n)
{
	bool more;

	for (int i = 0; i < n; i++) {
		if (strcmp(name, list[i].name))
			continue;
		torture_once(&list[i], 0, &more);
		return torture_once(&list[i], nth, &more) ? 0 : 1;
	}
	return 2;
}

static inline int torture_main(int argc, char **argv, const struct torture *list, int n)
{
	bool brief = argc > 1 && !strcmp(argv[1], "--short");
	uint64_t share = TORTURE_SHORT_S * WF_NS_PER_S / (uint64_t)n;
	int bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2)
		return torture_named(argv[1], strtoull(argv[2], NULL, 0), list, n);
	printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		uint64_t nth = 0, runs = 0, step = 1, start = wf_now_ns(), took;
		bool more = true, good = true;

		for (; (more || nth <= 1) && nth < TORTURE_MAX; nth += nth ? step : 1) {
			good &= torture_once(&list[i], nth, &more);
			took = wf_now_ns() - start;
			runs++;
			/* ahead of its share of time: every third point, then every ninth ... */
			if (brief && took > share / 2 * (step == 1 ? 1 : 2) && step < 81)
				step *= 3;
		}
		if (more)
			printf("# %s: still failing at point %d\n", list[i].name, TORTURE_MAX);
		good &= !more;
		bad += !good;
		printf("%sok %d - %s: %llu runs, up to point %llu\n", good ? "" : "not ", i + 1, list[i].name,
		       (unsigned long long)runs, (unsigned long long)(nth - step));
	}
	return bad ? 1 : 0;
}

#endif
