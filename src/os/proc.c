/* SPDX-License-Identifier: BSD-3-Clause
 *
 * proc.c - see proc.h.
 */
#include "os/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/sock.h"

int wf_pidfd_open(pid_t pid, int *fd_out)
{
	long fd;

	if (wf_fault_point("pidfd_open"))
		return -EMFILE;
	fd = syscall(SYS_pidfd_open, pid, 0); /* always close-on-exec */
	if (fd < 0)
		return -errno;
	*fd_out = (int)fd;
	return 0;
}

bool wf_pidfd_is_gone(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

int wf_random(void *out, size_t len)
{
	char *p = out;

	if (wf_fault_point("getrandom"))
		return -ENOSYS;
	while (len) {
		ssize_t k = getrandom(p, len, 0);

		if (k < 0 && errno != EINTR)
			return -errno;
		if (k > 0) {
			p += k;
			len -= (size_t)k;
		}
	}
	return 0;
}

int wf_cpu_count(void)
{
	cpu_set_t set;
	long n;

	if (!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) > 0)
		return CPU_COUNT(&set);
	n = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 CPUs: cpu_set_t is too small */
	return n > 0 ? (int)n : 1;
}

pid_t wf_pid(void)
{
	return getpid();
}

pid_t wf_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

uid_t wf_uid(void)
{
	return geteuid();
}

char *wf_host_name(char *out, size_t cap)
{
	if (gethostname(out, cap))
		out[0] = 0;
	out[cap - 1] = 0;
	return out;
}

char *wf_boot_id(char *out, size_t cap)
{
	char text[64];

	if (wf_file_read("/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 0)
		text[0] = 0;
	text[strcspn(text, "\n")] = 0;
	snprintf(out, cap, "%s", text);
	return out;
}

/* What the first processor is called; where the kernel does not tell (aarch64), its architecture. */
static void cpu_name(char *out, size_t cap, const char *arch)
{
	char text[2048];
	const char *at;
	ssize_t len = -1;
	int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		len = read(fd, text, sizeof(text) - 1); /* all processors would be too long */
	wf_fd_close(&fd);
	text[WF_MAX(len, 0)] = 0;
	at = strstr(text, "model name");
	at = at ? strchr(at, ':') : NULL;
	at = at ? at + 1 + strspn(at + 1, " ") : arch;
	snprintf(out, cap, "%.*s", (int)strcspn(at, "\n"), at);
}

char *wf_machine(char *out, size_t cap)
{
	struct utsname u = { .machine = "" };
	char cpu[80];
	int n = wf_cpu_count();

	uname(&u);
	cpu_name(cpu, sizeof(cpu), u.machine);
	snprintf(out, cap, "%s, %d CPU%s, %s %s", cpu, n, n == 1 ? "" : "s", u.sysname, u.release);
	return out;
}

char *wf_today(char *out, size_t cap)
{
	time_t now = time(NULL);
	struct tm tm;

	out[0] = 0;
	if (gmtime_r(&now, &tm))
		strftime(out, cap, "%Y-%m-%d", &tm);
	return out;
}

ssize_t wf_file_read(const char *path, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t k;
	int fd = wf_fault_point("open") ? (errno = EMFILE, -1) : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		k = read(fd, out + len, cap - len);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0 || (len += (size_t)k) == cap)
			break;
	}
	k = k < 0 ? -errno : len == cap ? -EFBIG : 0;
	wf_fd_close(&fd);
	if (k)
		return k;
	out[len] = 0;
	return (ssize_t)len;
}

int wf_ptrace_scope(void)
{
	char text[16];

	return wf_file_read("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text)) > 0 ?
		       atoi(text) :
		       0;
}

int wf_allow_ptrace(pid_t pid)
{
	if (!prctl(PR_SET_PTRACER, (unsigned long)pid, 0, 0, 0))
		return 0;
	return errno == EINVAL ? 0 : -errno; /* EINVAL: this kernel has no Yama */
}

int wf_fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = -3; /* ".", ".." and the directory itself */

	if (!d)
		return -errno;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
