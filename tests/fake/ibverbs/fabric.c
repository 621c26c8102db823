/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fabric.c - the file that the processes share, its lock, and who of them lives; see fake.h.
 *
 * A process lives as long as it holds a POSIX lock on the byte of its row: the kernel lets go of it when the process ends,
 * however, also while it is a zombie; a forked child does not have it. (Any close() of that file drops it, so there is
 * one descriptor only.) Rows of the dead are freed by who comes next, or who gets the mutex from one that died with it.
 */
#include "fake/ibverbs/fake.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct fk_local fk = { .fd = -1, .wake_fd = -1 };

static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool complained;

static void complain_v(const char *fmt, va_list args)
{
	char line[400];
	int n = snprintf(line, sizeof(line), "fake-ibverbs: [%d] ", (int)getpid());

	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		n = 0; /* the status tells */
	complained = true;
	if (fk.shm)
		fk.shm->complaints++;
	if (getenv("WEFT_TEST_IBV_ABORT"))
		abort();
}

int fk_complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain_v(fmt, args);
	va_end(args);
	return EINVAL;
}

void *fk_complain_null(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	complain_v(fmt, args);
	va_end(args);
	errno = err;
	return NULL;
}

/* A test must not pass that made one of the calls that we complained of; stdio was flushed by the handlers before us. */
__attribute__((destructor)) static void end_with_complaints(void)
{
	if (complained || (fk.users && fk.pid == getpid() && fk.shm->complaints)) {
		fflush(NULL);
		_exit(99);
	}
}

uint64_t fk_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool fk_has_fault(const char *word)
{
	const char *have = getenv("WEFT_TEST_IBV_FAULT");

	return have && strstr(have, word);
}

bool fk_wanted_status(int *status, uint32_t *vendor)
{
	static char said[32];
	const char *want = getenv("WEFT_TEST_IBV_STATUS");
	char *end;

	if (!want || !strcmp(want, said))
		return false;
	snprintf(said, sizeof(said), "%s", want);
	*status = (int)strtol(want, &end, 0);
	*vendor = *end ? (uint32_t)strtoul(end + 1, NULL, 0) : 0;
	return true;
}

/* ---- the living ---- */

static int byte_lock(int cmd, uint32_t owner, struct flock *l)
{
	*l = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = owner, .l_len = 1 };
	return fcntl(fk.fd, cmd, l);
}

bool fk_is_alive(uint32_t owner)
{
	struct flock l;

	if (!owner || owner == fk.me)
		return owner;
	return fk.shm->proc[owner - 1].pid && !byte_lock(F_GETLK, owner, &l) && l.l_type != F_UNLCK;
}

static void free_rows_of(uint32_t owner)
{
	struct fk_shm *s = fk.shm;

	for (uint32_t i = 0; i < FK_QPS; i++) {
		if (s->qp[i].h.owner == owner) {
			fk_stop_waiting(&s->qp[i]);
			fk_ring_free(&s->qp[i].sq);
			fk_ring_free(&s->qp[i].rq);
			s->qp[i].h.owner = 0;
		}
	}
	for (uint32_t i = 0; i < FK_CQS; i++) {
		if (s->cq[i].h.owner == owner) {
			fk_ring_free(&s->cq[i].ring);
			s->cq[i].h.owner = 0;
		}
	}
	for (uint32_t i = 0; i < FK_SRQS; i++) {
		if (s->srq[i].h.owner == owner) {
			fk_ring_free(&s->srq[i].ring);
			s->srq[i].h.owner = 0;
		}
	}
	for (uint32_t i = 0; i < FK_MRS; i++)
		s->mr[i].h.owner = s->mr[i].h.owner == owner ? 0 : s->mr[i].h.owner;
	for (uint32_t i = 0; i < FK_BELLS; i++)
		s->bell[i].h.owner = s->bell[i].h.owner == owner ? 0 : s->bell[i].h.owner;
	s->proc[owner - 1].pid = 0;
}

static void bury_the_dead(void)
{
	for (uint32_t i = 1; i <= FK_PROCS; i++)
		if (fk.shm->proc[i - 1].pid && !fk_is_alive(i))
			free_rows_of(i);
}

static void take_lock(void)
{
	if (pthread_mutex_lock(&fk.shm->lock) == EOWNERDEAD) {
		pthread_mutex_consistent(&fk.shm->lock);
		bury_the_dead();
	}
}

bool fk_enter_if_attached(void)
{
	if (!fk.users || fk.pid != getpid())
		return false;
	take_lock();
	if (fk.users)            /* another thread may have closed the last device since */
		return true;
	fk_leave();
	return false;
}

bool fk_enter(const char *what)
{
	if (fk_enter_if_attached())
		return true;
	fk_complain("%s: in a process that did not open the device (a forked child?)", what);
	errno = EINVAL;
	return false;
}

void fk_leave(void)
{
	pthread_mutex_unlock(&fk.shm->lock);
}

/* ---- coming and going ---- */

static void format(struct fk_shm *s)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->lock, &a);
	pthread_mutexattr_destroy(&a);
	if (getrandom(&s->id, sizeof(s->id), 0) != sizeof(s->id))
		s->id = fk_now();
	s->magic = FK_MAGIC;
}

/* A mapping is kept for good, for the next time: the helper thread may just be looking at it. */
static int map_file(const char *folder)
{
	size_t len = sizeof(struct fk_shm) + FK_ARENA;
	struct stat st;
	char path[256];
	void *shm;

	if ((size_t)snprintf(path, sizeof(path), "%s/fabric", folder) >= sizeof(path))
		return ENAMETOOLONG;
	fk.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fk.fd < 0)
		return errno;
	flock(fk.fd, LOCK_EX); /* let go of when the file is closed, too */
	if (fstat(fk.fd, &st) || (!st.st_size && ftruncate(fk.fd, (off_t)len)))
		return errno;
	if (!fk.shm || fk.dev != st.st_dev || fk.ino != st.st_ino) {
		shm = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fk.fd, 0);
		if (shm == MAP_FAILED)
			return errno;
		fk.shm = shm;
		fk.dev = st.st_dev;
		fk.ino = st.st_ino;
	}
	if (fk.shm->magic != FK_MAGIC)
		format(fk.shm);
	flock(fk.fd, LOCK_UN);
	return 0;
}

static int take_proc_row(void)
{
	struct flock l;
	uint32_t i;

	take_lock();
	bury_the_dead();
	for (i = 1; i <= FK_PROCS && fk.shm->proc[i - 1].pid; i++)
		;
	if (i <= FK_PROCS && !byte_lock(F_SETLK, i, &l)) {
		fk.shm->proc[i - 1].pid = getpid();
		fk.me = i;
	}
	fk_leave();
	return fk.me ? 0 : ENOSPC;
}

static int attach(void)
{
	const char *folder = getenv("WEFT_TEST_IBV");
	int ret;

	if (fk.pid != getpid()) { /* the parent's descriptors, not its objects: those are not for us */
		if (fk.fd >= 0)
			close(fk.fd);
		if (fk.wake_fd >= 0)
			close(fk.wake_fd);
		fk = (struct fk_local){ .fd = -1, .wake_fd = -1, .pid = getpid() };
	}
	if (fk.users)
		return 0;
	if (!folder)
		return ENODEV;
	ret = map_file(folder);
	fk.wake_fd = ret ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!ret && fk.wake_fd < 0)
		ret = errno;
	return ret ? ret : take_proc_row();
}

static void close_fds(void)
{
	if (fk.fd >= 0)
		close(fk.fd);
	if (fk.wake_fd >= 0)
		close(fk.wake_fd);
	fk.fd = fk.wake_fd = -1;
	fk.me = 0;
}

int fk_attach(void)
{
	int ret;

	pthread_mutex_lock(&attach_lock);
	ret = attach();
	if (!ret)
		fk.users++;
	else if (!fk.users)
		close_fds();
	pthread_mutex_unlock(&attach_lock);
	return ret;
}

void fk_detach(void)
{
	pthread_mutex_lock(&attach_lock);
	take_lock();
	if (fk.users == 1) {
		if (fk.shm->complaints)
			complained = true;
		free_rows_of(fk.me);
		close_fds();
	}
	fk.users--;
	fk_leave();
	pthread_mutex_unlock(&attach_lock);
}

/* ---- rows and rings ---- */

uint32_t fk_take_row(void *table, size_t stride, uint32_t n, void *user)
{
	for (uint32_t i = 0; i < n; i++) {
		struct fk_head *h = (struct fk_head *)((char *)table + i * stride);
		uint32_t gen = h->gen;

		if (h->owner)
			continue;
		memset(h, 0, stride);
		*h = (struct fk_head){ .owner = fk.me, .gen = gen + 1, .user = (uintptr_t)user };
		return i;
	}
	errno = ENOMEM;
	return FK_NONE;
}

static unsigned class_of(uint64_t len)
{
	unsigned c = 12;

	while (c < FK_CLASSES - 1 && (1ull << c) < len)
		c++;
	return c;
}

int fk_ring_new(struct fk_ring *r, uint32_t n, size_t stride)
{
	struct fk_shm *s = fk.shm;
	uint64_t len;
	unsigned c;

	stride = (stride + 15) & ~(size_t)15;
	len = (uint64_t)(n ? n : 1) * stride;
	c = class_of(len);
	*r = (struct fk_ring){ .stride = (uint32_t)stride, .n = n };
	if (s->arena_free[c]) {
		r->at = s->arena_free[c] - 1;
		memcpy(&s->arena_free[c], s->arena + r->at, sizeof(uint64_t));
		return 0;
	}
	if (s->arena_used + (1ull << c) > FK_ARENA)
		return ENOMEM;
	r->at = s->arena_used;
	s->arena_used += 1ull << c;
	return 0;
}

void fk_ring_free(struct fk_ring *r)
{
	struct fk_shm *s = fk.shm;
	unsigned c = class_of((uint64_t)(r->n ? r->n : 1) * r->stride);

	if (!r->stride)
		return;
	memcpy(s->arena + r->at, &s->arena_free[c], sizeof(uint64_t));
	s->arena_free[c] = r->at + 1;
	r->stride = 0;
}
