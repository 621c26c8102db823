/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_ucx.c - what loading and using UCX leaves in the process: no handler of a signal, no stack for signals, no hook under
 * malloc and mmap, no word on the terminal, and one thread that goes with the worker (ADR 14). Over the real library, where it
 * is installed.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/wt.h"
#include "unit/unit.h"

#define SIGNALS 65
#define CODE    32                       /* bytes of a function that a hook would change */

static const char *const hooked[] = { "mmap", "munmap", "mremap", "madvise", "brk", "sbrk", "shmat", "shmdt", "malloc", "free",
				      "realloc", "calloc", "dlopen" };

#define HOOKED (sizeof(hooked) / sizeof(hooked[0]))

struct process {
	struct sigaction on[SIGNALS];
	stack_t stack;
	unsigned char code[HOOKED][CODE];
};

static void look(struct process *p)
{
	memset(p, 0, sizeof(*p));
	for (int i = 1; i < SIGNALS; i++)
		sigaction(i, NULL, &p->on[i]);
	assert_int_equal(sigaltstack(NULL, &p->stack), 0);
	for (unsigned i = 0; i < HOOKED; i++) {
		const void *at = dlsym(RTLD_DEFAULT, hooked[i]);

		assert_non_null(at);
		memcpy(p->code[i], at, CODE);
	}
}

static void assert_same(const struct process *a, const struct process *b)
{
	for (int i = 1; i < SIGNALS; i++)
		if (a->on[i].sa_handler != b->on[i].sa_handler)
			fail_msg("signal %d has another handler", i);
	assert_ptr_equal(a->stack.ss_sp, b->stack.ss_sp);
	assert_int_equal(a->stack.ss_flags, b->stack.ss_flags);
	for (unsigned i = 0; i < HOOKED; i++)
		if (memcmp(a->code[i], b->code[i], CODE))
			fail_msg("%s() begins otherwise", hooked[i]);
}

static int threads(void)
{
	DIR *d = opendir("/proc/self/task");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* ThreadSanitizer has one of its own, which a forked child starts again when it likes. */
#ifdef __SANITIZE_THREAD__
#define TSAN_THREAD 1
#else
#define TSAN_THREAD 0
#endif

/* In a child, whose terminal is a file. */
static void run(const char *variant, int most_threads)
{
	struct process before, after;
	int alone = threads();
	struct wt_pair p;

	look(&before);
	assert_true(wt_choose(variant));
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	wt_exchange(&p, 1, 3 << 20, 2);
	look(&after);
	assert_same(&before, &after);
	assert_in_range(threads(), alone, alone + most_threads + TSAN_THREAD);
	wt_pair_close(&p);
	look(&after);
	assert_same(&before, &after);
	assert_in_range(threads(), alone, alone + TSAN_THREAD);
}

static void try_in_a_child(const char *variant, int most_threads)
{
	char path[] = "/tmp/weft-ucx-XXXXXX", said[500];
	int fd = mkstemp(path), status;
	ssize_t n;
	pid_t pid;

	assert_true(fd >= 0);
	unlink(path);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(fd, 1);
		dup2(fd, 2);
		run(variant, most_threads);
		fflush(NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = pread(fd, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = 0;
	close(fd);
	assert_string_equal(said, "");
	assert_int_equal(status, 0);
}

static void ucx_is_a_guest(void **state)
{
	char why[200];

	(void)state;
	UT_SKIP_IF_EMULATED("UCX");
	assert_true(wt_choose("ucx-tcp"));
	if (!wt_works(why, sizeof(why)))
		UT_SKIP("%s", why);
	try_in_a_child("ucx-tcp", 1);
	try_in_a_child("ucx-shm", 1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(ucx_is_a_guest),
};

UT_MAIN(tests)
