/* SPDX-License-Identifier: BSD-3-Clause
 *
 * counting.h - counts what a process does between two marks: allocations and locks by the linker's --wrap (see the Makefile),
 * which catches the calls of the library's objects and of nobody else; system calls and instructions from outside, by
 * tracing it. A mark is a getppid() with a telling argument. Included once by each test program.
 */
#ifndef COUNTING_H
#define COUNTING_H
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/wt.h"

#define MARK  0x77656674ul
#define SIDES 2

#ifdef WEFT_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* ---- allocations and locks ---- */

static _Thread_local bool counting;
static _Thread_local uint64_t n_alloc, n_lock;

#define ALLOC(ret, name, args, call)   \
	ret __real_##name args;        \
	ret __wrap_##name args;        \
	ret __wrap_##name args         \
	{                              \
		n_alloc += counting;   \
		return __real_##name call; \
	}
#define LOCK(type, name)                  \
	int __real_##name(type *p);       \
	int __wrap_##name(type *p);       \
	int __wrap_##name(type *p)        \
	{                                 \
		n_lock += counting;       \
		return __real_##name(p);  \
	}

ALLOC(void *, malloc, (size_t n), (n))
ALLOC(void *, calloc, (size_t n, size_t k), (n, k))
ALLOC(void *, realloc, (void *p, size_t n), (p, n))
ALLOC(int, posix_memalign, (void **out, size_t a, size_t n), (out, a, n))
ALLOC(void *, aligned_alloc, (size_t a, size_t n), (a, n))
ALLOC(char *, strdup, (const char *s), (s))

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	n_alloc += counting && p;
	__real_free(p);
}

LOCK(pthread_mutex_t, pthread_mutex_lock)
LOCK(pthread_mutex_t, pthread_mutex_trylock)
LOCK(pthread_rwlock_t, pthread_rwlock_rdlock)
LOCK(pthread_rwlock_t, pthread_rwlock_wrlock)
LOCK(pthread_spinlock_t, pthread_spin_lock)

/* ---- what a measured process reports, in memory that it shares with the test ---- */

struct count {
	uint64_t messages, turns, looks; /* a look: epoll_wait of the library */
	uint64_t allocs, locks;
	uint64_t syscalls;               /* written by the tracer, as the following */
	uint64_t again;                  /* of the calls: answered EAGAIN, so of the turn that looked and of no message */
	uint64_t clones, creates;        /* threads or processes made; files opened for creation */
	uint64_t first_nr;               /* of the first call that was no epoll_wait */
	bool ended_well;
	uint64_t extra[4];
	uint64_t instructions;           /* counted by the tracer while `stepped` is set */
	_Atomic bool stepped;
	char url[160];
	_Atomic uint32_t ready;
};

static struct count *counts; /* SIDES of them */

static void mark(bool begin)
{
	syscall(SYS_getppid, MARK, begin);
}

static uint64_t stat_of(const char *text, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, key);
	wt_must(at != NULL);
	return strtoull(at + strlen(key), NULL, 10);
}

static uint64_t stat_read(weft_ctx *ctx, const void *what, const char *name)
{
	char text[4096];
	size_t len = sizeof(text);

	wt_must(weft_stats(ctx, what, text, &len) == WEFT_OK);
	return stat_of(text, name);
}

struct window {
	struct count *c;
	weft_ctx *ctx;
	uint64_t looks, turns;
};

static void window_open(struct window *win, struct count *c, weft_ctx *ctx)
{
	*win = (struct window){ c, ctx, stat_read(ctx, NULL, "fd_polls"), stat_read(ctx, NULL, "progress") };
	n_alloc = n_lock = 0;
	counting = true;
	mark(true);
}

static void window_shut(struct window *win, uint64_t messages)
{
	mark(false);
	counting = false;
	win->c->messages = messages;
	win->c->allocs = n_alloc;
	win->c->locks = n_lock;
	win->c->looks = stat_read(win->ctx, NULL, "fd_polls") - win->looks;
	win->c->turns = stat_read(win->ctx, NULL, "progress") - win->turns;
}

/* ---- the tracer ---- */

struct tracee {
	pid_t pid;
	bool inside, entered, gone;
};

static void note_call(struct tracee *t, struct count *c, const struct __ptrace_syscall_info *i)
{
	if (i->op == PTRACE_SYSCALL_INFO_EXIT)
		c->again += t->inside && i->exit.rval == -EAGAIN;
	if (i->op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	if (i->entry.nr == SYS_getppid && i->entry.args[0] == MARK) {
		t->inside = i->entry.args[1];
		return;
	}
	if (!t->inside)
		return;
	c->syscalls++;
	switch (i->entry.nr) {
	case SYS_clone:
	case SYS_clone3:
#ifdef SYS_fork
	case SYS_fork:
	case SYS_vfork:
#endif
		c->clones++;
		break;
	case SYS_openat:
		c->creates += (i->entry.args[2] & 0100) != 0; /* O_CREAT */
		break;
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
#endif
	case SYS_epoll_pwait:
		return;
	}
	if (!c->first_nr)
		c->first_nr = i->entry.nr;
}

struct part {
	int (*fn)(int side);
	int side;
	bool traced;
};

static struct wt_child peers[SIDES];

static int take_part(int sock, void *arg)
{
	const struct part *p = arg;

	(void)sock;
	if (p->traced && ptrace(PTRACE_TRACEME, 0, 0, 0))
		return 77;
	if (p->traced)
		raise(SIGSTOP);
	return p->fn(p->side);
}

static void start(int (*fn)(int side), int n, bool trace)
{
	memset(counts, 0, SIDES * sizeof(*counts));
	for (int i = 0; i < n; i++) {
		struct part p = { fn, i, trace };

		wt_child_start(&peers[i], take_part, &p);
	}
}

/* Starts @fn in @n traced processes and counts until all have ended. */
static void traced(int (*fn)(int side), int n)
{
	struct tracee t[SIDES] = { 0 };
	int left = n, status;

	start(fn, n, true);
	for (int i = 0; i < n; i++)
		t[i].pid = peers[i].pid;
	while (left) {
		struct __ptrace_syscall_info info;
		pid_t pid = waitpid(-1, &status, __WALL);
		int i = pid == t[0].pid ? 0 : 1, sig = 0;

		assert_true(pid > 0);
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			counts[i].ended_well = WIFEXITED(status) && !WEXITSTATUS(status);
			left--;
			continue;
		}
		if (!t[i].entered) {
			t[i].entered = true;
			assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
		} else if (WSTOPSIG(status) == SIGTRAP) {
			counts[i].instructions++;
		} else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0)
				note_call(&t[i], &counts[i], &info);
		} else {
			sig = WSTOPSIG(status);
		}
		ptrace(atomic_load(&counts[i].stepped) ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, pid, 0, sig);
	}
	for (int i = 0; i < n; i++)
		assert_true(counts[i].ended_well);
}

static bool can_trace(void)
{
	int status = 0;
	pid_t pid;

	if (getenv("WEFT_TEST_EMULATED"))
		return false;
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) ? 1 : 0);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

#define NEEDS_TRACING()                                                        \
	do {                                                                   \
		if (SANITIZED)                                                 \
			wt_skip("counts are of the build without a sanitizer"); \
		if (!can_trace())                                              \
			wt_skip("no process may be traced here");              \
	} while (0)

#endif
