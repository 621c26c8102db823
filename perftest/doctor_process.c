/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor_process.c - what the kernel lets this process do: calls, copies between processes, limits, namespaces. Where it
 * matters it is tried, in child processes, rather than concluded.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"

#define CAP_SYS_PTRACE_BIT 19
#define FDS_OF_ENDPOINT 5            /* over shm: TCP and UNIX socket, segment, the peer's bell and pidfd */
#define FDS_FEW  256
#define FDS_LOW  4096
#define FILE_LOW (64u << 20)
#define MEMLOCK_USUAL (8u << 20)     /* the kernel's own choice since 5.16 */

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* A try's answer from a child: "works", an errno, a signal. */
static const char *say_try(int ret)
{
	static char text[80];

	if (ret < 0)
		snprintf(text, sizeof(text), "ends the process by signal %d (%s)", -ret, strsignal(-ret));
	return ret < 0 ? text : ret ? strerror(ret) : "works";
}

/* In the words for an error that a filter or a missing call makes. */
static void mend_filter(struct finding *f, const char *calls)
{
	mend(f, "allow %s in the sandbox's seccomp profile: docker run --security-opt seccomp=PROFILE.json", calls);
	trades(f, "the container may use more of the kernel");
}

/* ---- kernel ---- */

static int try_pidfd(void *arg)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	(void)arg;
	return fd < 0 ? errno : 0;
}

void look_kernel(struct finding *f)
{
	struct utsname u;
	unsigned major = 0, minor = 0;
	int ret = in_child(try_pidfd, NULL);

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	found(f, "Linux %s on %s, pidfd_open %s", u.release, u.machine, say_try(ret));
	if (!ret)
		return;
	costs(f, DOCTOR_PROBLEM, "no shared memory: processes of this host talk over tcp");
	if (major < 5 || (major == 5 && minor < 3))
		mend(f, "install Linux 5.3 or later");
	else
		mend_filter(f, "pidfd_open");
}

static int try_memfd(void *arg)
{
	int fd = memfd_create("weft-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)arg;
	signal(SIGXFSZ, SIG_IGN);        /* a limit on files is an error then, to be told */
	if (fd < 0 || ftruncate(fd, 4096) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return errno;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0;
}

void look_memfd(struct finding *f)
{
	int ret = in_child(try_memfd, NULL);
	uint64_t noexec = 0;

	fact_u64(&noexec, "/proc/sys/vm/memfd_noexec");
	found(f, "a memfd with size seals: %s", say_try(ret));
	if (!ret)
		return;
	costs(f, DOCTOR_PROBLEM, "no shared memory, and none from weft_mem_alloc(): processes of this host talk over tcp");
	if (ret == EFBIG)
		mend(f, "ulimit -f unlimited");
	else if (noexec > 1)
		mend(f, "sysctl -w vm.memfd_noexec=1");
	else if (ret == ENOMEM || ret == ENOSPC)
		mend(f, "give the container or cgroup more memory (docker update --memory)");
	else
		mend_filter(f, "memfd_create, and fcntl(F_ADD_SEALS)");
	if (noexec > 1 && ret != EFBIG)
		trades(f, "processes may make memfds that are executable if they ask for it");
}

static int try_membarrier(void *arg)
{
	(void)arg;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) ||
	    syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0))
		return errno;
	return 0;
}

void look_membarrier(struct finding *f)
{
	int ret = in_child(try_membarrier, NULL);

	found(f, "membarrier %s", say_try(ret));
	if (!ret)
		return;
	costs(f, DOCTOR_NOTE, "over shm every message pays for a memory fence that else only who goes to sleep pays for");
	mend_filter(f, "membarrier");
}

/* ---- copies between processes ---- */

struct copying {
	unsigned char bytes[16];
	int to_child[2], from_child[2];
};

static ssize_t copy(bool write_there, pid_t pid, void *here, const void *there, size_t len)
{
	struct iovec local = { here, len }, remote = { (void *)(uintptr_t)there, len };

	return syscall(write_there ? SYS_process_vm_writev : SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0);
}

/* The child reads and writes its parent's memory, as a stranger of the same user would: it is no ancestor. */
static int try_parent(void *arg)
{
	struct copying *c = arg;
	unsigned char seen[sizeof(c->bytes)];

	if (copy(false, getppid(), seen, c->bytes, sizeof(seen)) != (ssize_t)sizeof(seen))
		return errno ? errno : EIO;
	return copy(true, getppid(), seen, c->bytes, sizeof(seen)) == (ssize_t)sizeof(seen) ? 0 : errno ? errno : EIO;
}

/* A parent reads its child's memory: what Yama still allows at 1. */
static int try_child(void *arg)
{
	struct copying *c = arg;
	unsigned char seen[sizeof(c->bytes)];
	int gate[2], ret;
	char byte;
	pid_t pid;

	if (pipe(gate) || (pid = fork()) < 0)
		return errno;
	if (!pid) {
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) != 0);   /* stays until its parent has looked */
	}
	close(gate[0]);
	ret = copy(false, pid, seen, c->bytes, sizeof(seen)) == (ssize_t)sizeof(seen) ? 0 : errno;
	close(gate[1]);
	waitpid(pid, NULL, 0);
	return ret;
}

static bool has_cap_ptrace(void)
{
	char text[40];

	fact_field(text, sizeof(text), "/proc/self/status", "CapEff");
	return strtoull(text, NULL, 16) >> CAP_SYS_PTRACE_BIT & 1;
}

static bool is_filtered(void)
{
	char text[20];

	fact_field(text, sizeof(text), "/proc/self/status", "Seccomp");
	return text[0] == '2';
}

/* @yama: 0 where it is not the cause. */
static void mend_copying(struct finding *f, uint64_t yama)
{
	if (yama == 3) {
		mend(f, "remove kernel.yama.ptrace_scope=3 from /etc/sysctl.conf and /etc/sysctl.d, and restart the machine");
	} else if (yama) {
		mend(f, "sysctl -w kernel.yama.ptrace_scope=0   (or for one container: docker run --cap-add SYS_PTRACE)");
	} else if (is_filtered()) {
		mend_filter(f, "process_vm_readv and process_vm_writev");
	} else {
		mend(f, "docker run --cap-add SYS_PTRACE");
	}
	trades(f, "a process may then read the memory of other processes of its user, with the keys in it");
	trades(f, "nothing, if buffers from weft_mem_alloc() (weft.alloc() in Python) are used instead: they need no such right");
}

void look_copying(struct finding *f)
{
	struct copying c = { .bytes = "weft doctor" };
	int stranger = in_child(try_parent, &c), child = in_child(try_child, &c);
	uint64_t yama = 0;
	bool has_yama = fact_u64(&yama, "/proc/sys/kernel/yama/ptrace_scope");

	found(f, "process_vm_readv between processes of one user: %s", say_try(stranger));
	found(f, "from a process to its child: %s", say_try(child));
	if (has_yama)
		found(f, "kernel.yama.ptrace_scope = %llu", (unsigned long long)yama);
	else
		found(f, "no Yama");
	found(f, "CAP_SYS_PTRACE: %s", has_cap_ptrace() ? "yes" : "no");
	if (!stranger) {
		if (has_yama && yama && has_cap_ptrace())
			costs(f, DOCTOR_NOTE, "it works by CAP_SYS_PTRACE; peers that run without it copy through the ring");
		return;
	}
	costs(f, DOCTOR_PROBLEM, "large messages over shm are copied twice, through the ring, instead of once by both processes");
	mend_copying(f, yama == 1 && child ? 0 : yama);   /* at 1 it would let a parent read its child */
}

void look_seccomp(struct finding *f)
{
	char mode[20], filters[20], no_new[20];
	static const char *const names[] = { "off", "strict", "filter" };
	bool got = fact_field(mode, sizeof(mode), "/proc/self/status", "Seccomp");

	if (!got) {
		found(f, "this kernel has no seccomp");
		return;
	}
	fact_field(filters, sizeof(filters), "/proc/self/status", "Seccomp_filters");
	fact_field(no_new, sizeof(no_new), "/proc/self/status", "NoNewPrivs");
	found(f, "mode %s", mode[0] >= '0' && mode[0] <= '2' ? names[mode[0] - '0'] : mode);
	if (mode[0] != '2')
		return;
	found(f, "%s filters, no_new_privs %s", filters[0] ? filters : "?", no_new);
	costs(f, DOCTOR_NOTE, "whatever the filter refuses; the checks beside this one have tried what weft uses");
}

/* ---- namespaces ---- */

/* Numbers that the kernel gives the first namespace of each kind, since 3.8. */
static const struct {
	const char *name, *first;
} spaces[] = { { "user", "user:[4026531837]" }, { "pid", "pid:[4026531836]" }, { "ipc", "ipc:[4026531839]" } };

static bool is_inside(const char *name, const char *first)
{
	char path[300], link[80];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/proc/self/ns/%s", fact_root(), name);
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return false;
	link[n] = 0;
	return strcmp(link, first) != 0;
}

void look_namespaces(struct finding *f)
{
	bool inside[3], any = false;
	const char *engine = fact_exists("/.dockerenv") ? "docker" : fact_exists("/run/.containerenv") ? "podman" : NULL;

	for (int i = 0; i < 3; i++) {
		inside[i] = is_inside(spaces[i].name, spaces[i].first);
		if (inside[i])
			found(f, "a %s namespace of its own", spaces[i].name);
		any |= inside[i];
	}
	if (engine)
		found(f, "a container (%s)", engine);
	if (!any && !engine) {
		found(f, "the machine's own user, PID and IPC namespaces");
		return;
	}
	costs(f, DOCTOR_NOTE, "peers in another network namespace are reached over tcp; in another PID namespace over shm, but "
			      "large messages go through the ring%s", inside[0] ? "; in another user namespace the same" : "");
	mend(f, "for containers of one host: docker run --network=container:OTHER --pid=container:OTHER");
	trades(f, "the two see each other's processes and ports");
}

/* ---- limits ---- */

static void say_limit(rlim_t v, char *out, size_t cap)
{
	if (v == RLIM_INFINITY)
		snprintf(out, cap, "unlimited");
	else
		snprintf(out, cap, "%llu", (unsigned long long)v);
}

void look_descriptors(struct finding *f)
{
	struct rlimit r = { 0 };
	struct names used;
	char hard[32], soft[32];

	getrlimit(RLIMIT_NOFILE, &r);
	say_limit(r.rlim_cur, soft, sizeof(soft));
	say_limit(r.rlim_max, hard, sizeof(hard));
	fact_names(&used, "", "/proc/self/fd");
	found(f, "%s descriptors, at most %s if asked for; %u in use here", soft, hard, used.n ? used.n - 1 : 0);
	if (r.rlim_cur >= FDS_LOW)
		return;
	costs(f, r.rlim_cur < FDS_FEW ? DOCTOR_PROBLEM : DOCTOR_NOTE,
	      "a peer over shm takes %d descriptors, over tcp 1: room for some %llu peers over shm", FDS_OF_ENDPOINT,
	      (unsigned long long)(r.rlim_cur / FDS_OF_ENDPOINT));
	if (r.rlim_max > FDS_LOW)
		mend(f, "ulimit -n %s", r.rlim_max == RLIM_INFINITY ? "1048576" : hard);
	else
		mend(f, "echo '* - nofile 1048576' | sudo tee /etc/security/limits.d/weft.conf, and log in again "
			"(a service: LimitNOFILE=1048576; docker run --ulimit nofile=1048576)");
}

void look_memlock(struct finding *f)
{
	struct rlimit r = { 0 };
	struct rdma_dev dev;
	char soft[32];

	getrlimit(RLIMIT_MEMLOCK, &r);
	say_limit(r.rlim_cur, soft, sizeof(soft));
	found(f, "%s bytes may be locked", soft);
	if (r.rlim_cur == RLIM_INFINITY || (r.rlim_cur >= MEMLOCK_USUAL && !rdma_devs(&dev, 1)))
		return;
	costs(f, DOCTOR_NOTE,
	      "RDMA must lock all that an adapter reaches: up to 16 MiB for buffers of a worker, without which it is not used, and each large "
	      "message while it is under way; what goes beyond the limit is sent in frames and copied");
	mend(f, "ulimit -l unlimited   (docker run --ulimit memlock=-1; a service: LimitMEMLOCK=infinity)");
	trades(f, "a process may keep all memory from being swapped out");
}

/* The kernel counts a memfd as a file. */
void look_file_size(struct finding *f)
{
	struct rlimit r = { 0 };
	char soft[32];

	getrlimit(RLIMIT_FSIZE, &r);
	say_limit(r.rlim_cur, soft, sizeof(soft));
	found(f, "files, and memfds with them, of %s bytes", soft);
	if (r.rlim_cur == RLIM_INFINITY)
		return;
	costs(f, r.rlim_cur < FILE_LOW ? DOCTOR_PROBLEM : DOCTOR_NOTE,
	      "weft_mem_alloc() refuses more than that; where a ring does not fit, processes of this host talk over tcp");
	mend(f, "ulimit -f unlimited");
}

void look_dev_shm(struct finding *f)
{
	struct statvfs v;
	char path[300];

	snprintf(path, sizeof(path), "%s/dev/shm", fact_root());
	if (statvfs(path, &v)) {
		found(f, "not there; weft does not need it");
		costs(f, DOCTOR_NOTE, "nothing for weft; others want it: MPI libraries, NCCL, Python's multiprocessing");
		mend(f, "mount -t tmpfs tmpfs /dev/shm");
		return;
	}
	found(f, "%llu MiB, %llu free; weft does not need it", (unsigned long long)v.f_blocks * v.f_frsize >> 20,
	      (unsigned long long)v.f_bavail * v.f_frsize >> 20);
	if ((unsigned long long)v.f_blocks * v.f_frsize > 64ull << 20)
		return;
	costs(f, DOCTOR_NOTE, "nothing for weft; NCCL, MPI libraries and PyTorch's data loaders run out of it");
	mend(f, "mount -o remount,size=2G /dev/shm   (docker run --shm-size=2g)");
}
