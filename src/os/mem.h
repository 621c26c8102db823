/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mem.h - memory between processes: sealed memfds, mappings of them, copies straight into another
 * process (process_vm_*), barriers on other CPUs (membarrier), and a page that notices a fork.
 * Results: 0 (or bytes) or -errno.
 */
#ifndef WF_OS_MEM_H
#define WF_OS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

size_t wf_page_size(void);

/*
 * A memfd of @len bytes (rounded up to pages) of zeroes, sealed against shrinking, growing and more
 * seals, so that a peer that maps it cannot be made to fault. @name is for /proc only. Gives the
 * fd. -EFBIG: the limit on files (RLIMIT_FSIZE) does not allow it.
 */
int wf_memfd_new(const char *name, size_t len, int *fd_out);

/* Is @fd, which a stranger passed, a memfd with those seals, of 1 .. @max bytes? 0 and its size, or
 * -EBADF, -EFBIG. */
int wf_memfd_check(int fd, size_t max, size_t *len_out);

/* Maps @len bytes of @fd from its start, shared, absent in forked children. @fd may be closed
 * afterwards. Gives it. */
int wf_map_shared(int fd, size_t len, bool writable, void **out);

/* Bytes of a file, or of a dma-buf. 0, or -errno: the kernel does not tell. */
int wf_fd_size(int fd, uint64_t *out);

/* @len bytes from the page boundary @off on, for reading and writing, else as wf_map_shared(). */
int wf_map_part(int fd, uint64_t off, size_t len, void **out);

/* Private anonymous zero pages, huge ones where they fit and the system allows it, absent in forked children (page-aligned). Gives it. */
int wf_map_private(size_t len, void **out);

/* Unmaps *@p unless NULL, and sets it to NULL. */
void wf_unmap(void **p, size_t len);

/*
 * Copies between our memory and that of process @pid, up to the shorter of both sums. Any number of
 * pieces and bytes. Bytes copied; fewer than asked when the rest failed (ask again from there to
 * learn why); -errno when nothing was: -EPERM no right to (Yama, seccomp, another user), -ESRCH it
 * is gone, -EFAULT, -ENOSYS.
 */
ssize_t wf_vm_read(pid_t pid, const struct iovec *local, size_t n_local, const struct iovec *remote,
		   size_t n_remote);
ssize_t wf_vm_write(pid_t pid, const struct iovec *local, size_t n_local,
		    const struct iovec *remote, size_t n_remote);

/*
 * A process registers once (both sides: sleepers and those who wake them); then wf_membarrier() in
 * one process is a full fence on every CPU that runs a thread of a registered process. -errno: not
 * available, use fences instead.
 */
int wf_membarrier_register(void);
int wf_membarrier(void);

/* Knows whether this process is a fork of the one that made it. */
struct wf_forkmark {
	volatile uint32_t *page;
};
int wf_forkmark_init(struct wf_forkmark *m);
void wf_forkmark_fini(struct wf_forkmark *m);

/* A load and a compare. */
static inline bool wf_forkmark_is_forked(const struct wf_forkmark *m)
{
	return m->page && *m->page == 0;
}

#endif
