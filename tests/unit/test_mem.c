/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "os/mem.h"
#include "os/poll.h"
#include "os/proc.h"
#include "os/sock.h"

static void test_memfd_is_shared_sealed_and_checked(void **state)
{
	void *a, *b;
	size_t len;
	int fd;

	(void)state;
	assert_int_equal(wf_memfd_new("unit", 5000, &fd), 0);
	assert_int_equal(wf_memfd_check(fd, SIZE_MAX, &len), 0);
	assert_int_equal(len, WF_ALIGN_UP((size_t)5000, wf_page_size()));
	assert_int_equal(wf_memfd_check(fd, 100, &len), -EFBIG);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_int_equal(wf_map_shared(fd, len, true, &a), 0);
	assert_int_equal(wf_map_shared(fd, len, false, &b), 0);
	wf_fd_close(&fd);
	memcpy(a, "seen", 5);
	assert_string_equal(b, "seen");
	wf_unmap(&a, len);
	assert_null(a);
	wf_unmap(&a, len);
	wf_unmap(&b, len);
	assert_int_equal(wf_memfd_new("unit", 0, &fd), -EINVAL);
}

static void test_other_descriptors_are_no_memfd(void **state)
{
	char path[] = "/tmp/weft-unit-XXXXXX";
	size_t len;
	int fd;

	(void)state;
	fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(wf_memfd_check(fd, SIZE_MAX, &len), -EBADF);
	assert_int_equal(fcntl(fd, F_ADD_SEALS,
			       F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE),
			 0);
	assert_int_equal(wf_memfd_check(fd, SIZE_MAX, &len),
			 -EBADF); /* cannot be mapped for writing */
	wf_fd_close(&fd);
	fd = mkstemp(path);
	unlink(path);
	assert_int_equal(wf_memfd_check(fd, SIZE_MAX, &len), -EBADF);
	wf_fd_close(&fd);
	assert_int_equal(wf_memfd_check(-1, SIZE_MAX, &len), -EBADF);
	assert_int_equal(wf_bell_open(&fd), 0);
	assert_int_equal(wf_memfd_check(fd, SIZE_MAX, &len), -EBADF);
	wf_fd_close(&fd);
}

static void test_vm_copies_between_pieces_of_other_sizes(void **state)
{
	static char from[1 << 20], to[1 << 20];
	struct iovec local[300], remote[3000];
	size_t nl = 0, nr = 0, at;
	ssize_t k;

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (char)(i * 31 >> 3);
	for (at = 0; nl < 299; at += 3001)
		local[nl++] = (struct iovec){ to + at, 3001 };
	local[nl++] = (struct iovec){ to + at, sizeof(to) - at };
	for (at = 0; nr < 2999; at += 311) {
		remote[nr] = (struct iovec){ from + at, nr % 7 ? 311 : 0 }; /* empty ones between */
		at -= remote[nr++].iov_len ? 0 : 311;
	}
	remote[nr++] = (struct iovec){ from + at, sizeof(from) - at };
	k = wf_vm_read(getpid(), local, nl, remote, nr);
	if (k == -EPERM || k == -ENOSYS)
		UT_SKIP("process_vm_readv is not allowed here");
	assert_int_equal(k, sizeof(from));
	assert_memory_equal(from, to, sizeof(from));
	memset(from, 0, sizeof(from));
	assert_int_equal(wf_vm_write(getpid(), local, nl, remote, nr), sizeof(from));
	assert_memory_equal(from, to, sizeof(from));
	assert_int_equal(wf_vm_read(getpid(), local, 2, remote + 1, 1),
			 311); /* the shorter side ends it */
	assert_int_equal(wf_vm_read(getpid(), local, 0, remote, 1), 0);
}

static void test_vm_stops_where_memory_ends(void **state)
{
	size_t page = wf_page_size();
	struct iovec local, remote;
	char *p, *q;
	ssize_t k;

	(void)state;
	p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	q = malloc(2 * page);
	assert_int_equal(munmap(p + page, page), 0);
	local = (struct iovec){ q, 2 * page };
	remote = (struct iovec){ p, 2 * page };
	k = wf_vm_read(getpid(), &local, 1, &remote, 1);
	if (k != -EPERM && k != -ENOSYS) {
		assert_int_equal(k, page);
		remote = (struct iovec){ p + page, page };
		assert_int_equal(wf_vm_read(getpid(), &local, 1, &remote, 1), -EFAULT);
	}
	munmap(p, page);
	free(q);
}

/* A child that waits until it is killed; its pid. */
static pid_t sleeping_child(void)
{
	pid_t pid = fork();

	if (!pid) {
		for (;;)
			pause();
	}
	return pid;
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_vm_reads_a_child_and_notices_its_end(void **state)
{
	static char theirs[100] = "of the child", mine[100];
	struct iovec local = { mine, 100 }, remote = { theirs, 100 };
	pid_t pid = sleeping_child();
	ssize_t k;

	(void)state;
	k = wf_vm_read(pid, &local, 1, &remote, 1);
	reap(pid);
	if (k == -EPERM || k == -ENOSYS)
		UT_SKIP("process_vm_readv is not allowed here");
	assert_int_equal(k, 100);
	assert_string_equal(mine, "of the child");
	assert_int_equal(wf_vm_read(pid, &local, 1, &remote, 1), -ESRCH);
}

/* 0 when @fn holds in a forked child. */
static int in_child(int (*fn)(void *), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(fn(arg));
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int mark_is_clear(void *m)
{
	return wf_forkmark_is_forked(m) ? 0 : 1;
}

static int is_mapped(void *p)
{
	unsigned char in_core;

	return mincore(p, wf_page_size(), &in_core) == 0 ? 1 : 0;
}

static void test_child_knows_that_it_was_forked(void **state)
{
	struct wf_forkmark m;

	(void)state;
	UT_SKIP_IF_EMULATED("MADV_WIPEONFORK");
	assert_int_equal(wf_forkmark_init(&m), 0);
	assert_false(wf_forkmark_is_forked(&m));
	assert_int_equal(in_child(mark_is_clear, &m), 0);
	assert_false(wf_forkmark_is_forked(&m));
	wf_forkmark_fini(&m);
	assert_false(wf_forkmark_is_forked(&m)); /* no page: nothing to say */
	wf_forkmark_fini(&m);
}

static void test_child_does_not_have_the_mappings(void **state)
{
	void *shared, *private;
	int fd;

	(void)state;
	UT_SKIP_IF_EMULATED("MADV_DONTFORK");
	assert_int_equal(wf_memfd_new("unit", 4096, &fd), 0);
	assert_int_equal(wf_map_shared(fd, 4096, true, &shared), 0);
	assert_int_equal(wf_map_private(4096, &private), 0);
	wf_fd_close(&fd);
	assert_int_equal(is_mapped(shared), 1);
	assert_int_equal(in_child(is_mapped, shared), 0);
	assert_int_equal(in_child(is_mapped, private), 0);
	wf_unmap(&shared, 4096);
	wf_unmap(&private, 4096);
}

static void test_membarrier_works_or_says_why_not(void **state)
{
	int ret = wf_membarrier_register();

	(void)state;
	if (ret)
		UT_SKIP("membarrier: %s", strerror(-ret));
	assert_int_equal(wf_membarrier(), 0);
}

static void test_pidfd_tells_the_end(void **state)
{
	pid_t pid = sleeping_child();
	int fd, ret;

	(void)state;
	ret = wf_pidfd_open(pid, &fd);
	if (ret) {
		reap(pid);
		UT_SKIP("pidfd_open: %s", strerror(-ret));
	}
	assert_false(wf_pidfd_is_gone(fd));
	reap(pid);
	assert_true(wf_pidfd_is_gone(fd));
	wf_fd_close(&fd);
}

static void test_process_questions_are_answered(void **state)
{
	char a[64], b[64];
	uint64_t r[2] = { 0 };

	(void)state;
	assert_int_equal(wf_random(r, sizeof(r)), 0);
	assert_true(r[0] != r[1]);
	assert_true(wf_cpu_count() >= 1);
	assert_int_equal(wf_pid(), getpid());
	assert_int_equal(wf_tid(), getpid());
	assert_string_equal(wf_boot_id(a, sizeof(a)), wf_boot_id(b, sizeof(b)));
	assert_true(strlen(wf_host_name(a, sizeof(a))) > 0);
	assert_in_range(wf_ptrace_scope(), 0, 3);
	assert_int_equal(wf_allow_ptrace(getppid()), 0);
	assert_int_equal(wf_file_read("/nonexistent", a, sizeof(a)), -ENOENT);
	assert_int_equal(wf_file_read("/proc/version", a, 5), -EFBIG);
	assert_true(wf_file_read("/proc/self/comm", a, sizeof(a)) > 0);
}

/* What the limit on files allows is made; what it does not is refused, and the signal for it does not come. */
static int memfds_keep_to_the_limit(void *arg)
{
	size_t page = wf_page_size();
	struct rlimit limit = { 2 * page, 2 * page };
	int fd = -1;

	(void)arg;
	signal(SIGXFSZ, SIG_DFL);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 1;
	if (wf_memfd_new("unit", 2 * page, &fd))
		return 2;
	wf_fd_close(&fd);
	return wf_memfd_new("unit", 2 * page + 1, &fd) == -EFBIG && fd == -1 ? 0 : 3;
}

static void test_memfd_beyond_the_limit_on_files_is_refused(void **state)
{
	(void)state;
	assert_int_equal(in_child(memfds_keep_to_the_limit, NULL), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_memfd_is_shared_sealed_and_checked),
	cmocka_unit_test(test_memfd_beyond_the_limit_on_files_is_refused),
	cmocka_unit_test(test_other_descriptors_are_no_memfd),
	cmocka_unit_test(test_vm_copies_between_pieces_of_other_sizes),
	cmocka_unit_test(test_vm_stops_where_memory_ends),
	cmocka_unit_test(test_vm_reads_a_child_and_notices_its_end),
	cmocka_unit_test(test_child_knows_that_it_was_forked),
	cmocka_unit_test(test_child_does_not_have_the_mappings),
	cmocka_unit_test(test_membarrier_works_or_says_why_not),
	cmocka_unit_test(test_pidfd_tells_the_end),
	cmocka_unit_test(test_process_questions_are_answered),
};

UT_MAIN(tests)
