/* SPDX-License-Identifier: BSD-3-Clause
 *
 * proc.h - questions about this process, its host and its peers. Results: 0 (or a count) or -errno.
 */
#ifndef WF_OS_PROC_H
#define WF_OS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A descriptor that turns readable when process @pid is gone. Gives the fd. -ENOSYS on old kernels,
 * -ESRCH. */
int wf_pidfd_open(pid_t pid, int *fd_out);

/* Has the process behind @pidfd ended? Does not block. */
bool wf_pidfd_is_gone(int pidfd);

/* Random bytes fit for secrets. */
int wf_random(void *out, size_t len);

/* CPUs that this process may run on; at least 1. */
int wf_cpu_count(void);

pid_t wf_pid(void);
pid_t wf_tid(void);
uid_t wf_uid(void);

/* Host name, cut to @cap. Returns @out. */
char *wf_host_name(char *out, size_t cap);

/* This boot and mount of the host: same text in two processes means the same kernel. Returns @out
 * ("" unknown). */
char *wf_boot_id(char *out, size_t cap);

/* This machine in a few words: CPU, how many we may use, kernel. Returns @out. */
char *wf_machine(char *out, size_t cap);

/* Today, "2026-11-22", by UTC. Returns @out. */
char *wf_today(char *out, size_t cap);

/* Reads a small file whole, NUL-terminated; length, -EFBIG when it does not fit in @cap, or -errno.
 */
ssize_t wf_file_read(const char *path, char *out, size_t cap);

/* Yama's ptrace_scope: 0 .. 3; 0 where there is no Yama. */
int wf_ptrace_scope(void);

/* Lets process @pid copy from us where Yama asks for it. 0 also where there is no Yama. */
int wf_allow_ptrace(pid_t pid);

/* How many descriptors this process has open; for tests and leak checks. -errno. */
int wf_fd_count(void);

#endif
