/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mem.c - memfds, mappings, membarrier and the fork mark; see mem.h. Copies between processes are
 * vm.c.
 */
#include "os/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/sock.h"

#define HUGE_LEN (2u << 20)

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

#define MARK 0x77656674u /* any value but 0, which is what a wiped page holds */

size_t wf_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* G49: growing a file beyond the limit is a signal that ends the program. */
static bool is_beyond_limit(size_t len)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && len > limit.rlim_cur;
}

int wf_memfd_new(const char *name, size_t len, int *fd_out)
{
	int ret = 0;
	int fd;

	if (!len || len > (size_t)INT64_MAX - wf_page_size())
		return -EINVAL;
	len = WF_ALIGN_UP(len, wf_page_size());
	if (is_beyond_limit(len))
		return -EFBIG;
	if (wf_fault_point("memfd_create"))
		return -EMFILE;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, SEALS))
		ret = -errno;
	if (ret)
		wf_fd_close(&fd);
	else
		*fd_out = fd;
	return ret;
}

int wf_memfd_check(int fd, size_t max, size_t *len_out)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS); /* fails on everything that is not a memfd */

	if (seals < 0 || (seals & SEALS) != SEALS || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return -EBADF;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADF;
	if (st.st_size <= 0 || (uint64_t)st.st_size > max)
		return -EFBIG;
	*len_out = (size_t)st.st_size;
	return 0;
}

static int map(size_t len, int prot, int flags, int fd, uint64_t off, void **out)
{
	void *p;
	int ret;

	if (wf_fault_point("mmap"))
		return -ENOMEM;
	p = mmap(NULL, len, prot, flags, fd, (off_t)off);
	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, len, MADV_DONTFORK)) {
		ret = -errno;
		munmap(p, len);
		return ret;
	}
	*out = p;
	return 0;
}

int wf_map_shared(int fd, size_t len, bool writable, void **out)
{
	return map(len, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0, out);
}

/* A dma-buf is no regular file, and tells its size as the place of its end (G105). */
int wf_fd_size(int fd, uint64_t *out)
{
	struct stat st;
	off_t was, end;

	if (fstat(fd, &st))
		return -errno;
	was = lseek(fd, 0, SEEK_CUR);   /* the caller's, too; a dma-buf has none */
	end = S_ISREG(st.st_mode) ? st.st_size : lseek(fd, 0, SEEK_END);
	if (!S_ISREG(st.st_mode))
		lseek(fd, was < 0 ? 0 : was, SEEK_SET);
	if (end < 0 || (!end && !S_ISREG(st.st_mode)))
		return -ESPIPE;
	*out = (uint64_t)end;
	return 0;
}

int wf_map_part(int fd, uint64_t off, size_t len, void **out)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off, out);
}

int wf_map_private(size_t len, void **out)
{
	int ret = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, out);

	/* a wish: an adapter's table of pages is shorter by as much. All of it is touched anyway when it is registered. */
	if (!ret && len >= HUGE_LEN)
		madvise(*out, len, MADV_HUGEPAGE);
	return ret;
}

void wf_unmap(void **p, size_t len)
{
	if (*p)
		munmap(*p, len);
	*p = NULL;
}

int wf_membarrier_register(void)
{
	if (wf_fault_point("membarrier"))
		return -ENOSYS;
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

int wf_membarrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

int wf_forkmark_init(struct wf_forkmark *m)
{
	size_t len = wf_page_size();
	void *p;
	int ret;

	m->page = NULL;
	if (wf_fault_point("mmap"))
		return -ENOMEM;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, len, MADV_WIPEONFORK)) {
		ret = -errno;
		munmap(p, len);
		return ret;
	}
	m->page = p;
	*m->page = MARK;
	return 0;
}

void wf_forkmark_fini(struct wf_forkmark *m)
{
	if (m->page)
		munmap((void *)m->page, wf_page_size());
	m->page = NULL;
}
