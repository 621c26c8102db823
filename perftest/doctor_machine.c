/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor_machine.c - CPUs and how much of them we may use, memory, the clock, GPUs.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define DEVICES 16
#define LEVELS  32                   /* of nested cgroups */
#define CLOCK_READS 2000
#define CLOCK_SLOW_NS 300            /* beyond that a reading is a system call */

/* ---- CPUs ---- */

static unsigned cpus_usable(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

void look_cpus(struct finding *f)
{
	unsigned n = cpus_usable();
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	found(f, "%u of %ld CPUs", n, online);
	if (n > 1)
		return;
	costs(f, DOCTOR_NOTE, "two processes cannot run at once: no wait spins, each message costs a switch between them, and large "
			      "messages are copied by one side at a time");
	if (online > 1)
		mend(f, "taskset -c 0-%ld PROGRAM   (docker run --cpuset-cpus=0-%ld)", online - 1, online - 1);
}

/* Least "quota period" in CPUs of the group and those around it; 0: no limit. */
static double quota_v2(const char *group, char *where, size_t cap)
{
	char path[300], line[64];
	double least = 0;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s", strcmp(group, "/") ? group : "");
	for (int i = 0; i < LEVELS; i++) {
		double quota, period;

		if (fact_line(line, sizeof(line), "%s/cpu.max", path) && sscanf(line, "%lf %lf", &quota, &period) == 2 && period > 0 &&
		    (!least || quota / period < least)) {
			least = quota / period;
			snprintf(where, cap, "%s", path);
		}
		if (!strcmp(path, "/sys/fs/cgroup"))
			break;
		*strrchr(path, '/') = 0;
	}
	return least;
}

static double quota_v1(const char *group, char *where, size_t cap)
{
	static const char *const mounts[] = { "cpu,cpuacct", "cpu" };

	for (int i = 0; i < 2; i++) {
		uint64_t quota = 0, period = 0;
		char path[300];

		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s", mounts[i], strcmp(group, "/") ? group : "");
		if (!fact_u64(&quota, "%s/cpu.cfs_quota_us", path))   /* -1: no limit */
			continue;
		if (fact_u64(&period, "%s/cpu.cfs_period_us", path) && period) {
			snprintf(where, cap, "%s", path);
			return (double)quota / (double)period;
		}
	}
	return 0;
}

/* The lines of /proc/self/cgroup: "0::/group", and "4:cpu,cpuacct:/group" of the old kind. */
static double find_quota(char *where, size_t cap)
{
	char path[300], line[300], *controllers, *group;
	double least = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", fact_root());
	file = fopen(path, "re");
	while (file && !least && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		controllers = strchr(line, ':');
		group = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!group || group[1] != '/')
			continue;
		*group++ = 0;
		if (!controllers[1])
			least = quota_v2(group, where, cap);
		else if (!strncmp(controllers + 1, "cpu", 3) && strncmp(controllers + 1, "cpuset", 6))
			least = quota_v1(group, where, cap);
	}
	if (file)
		fclose(file);
	return least;
}

static uint64_t throttled(const char *group)
{
	char path[340], text[40];
	FILE *file;
	uint64_t n = 0;
	char line[100];

	snprintf(path, sizeof(path), "%s%s/cpu.stat", fact_root(), group);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "nr_throttled %39s", text) == 1)
			n = strtoull(text, NULL, 10);
	if (file)
		fclose(file);
	return n;
}

void look_quota(struct finding *f)
{
	char where[300] = "";
	double cpus = find_quota(where, sizeof(where));
	uint64_t times;

	if (cpus <= 0) {
		found(f, "no limit on CPU time");
		return;
	}
	times = throttled(where);
	found(f, "%.2f CPUs' time (%s), used up %llu times so far", cpus, where, (unsigned long long)times);
	if (cpus >= cpus_usable() && !times)
		return;
	costs(f, cpus < 1 ? DOCTOR_PROBLEM : DOCTOR_NOTE,
	      "when the time is used up all threads stand still for up to a tenth of a second, whatever waits for a message; a wait "
	      "that spins uses it up, too");
	mend(f, "docker update --cpus=%u CONTAINER   (a service: systemctl set-property UNIT CPUQuota=; or WEFT_SPIN=0 lets no wait "
		"spin)", cpus_usable());
}

/* ---- clock ---- */

/* What a reading costs: the best of some runs, so that a lost CPU does not count. */
static uint64_t clock_cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int run = 0; run < 10; run++) {
		uint64_t start = clock_ns(), now = start;

		for (int i = 0; i < CLOCK_READS; i++)
			now = clock_ns();
		best = (now - start) / CLOCK_READS < best ? (now - start) / CLOCK_READS : best;
	}
	return best;
}

void look_clock(struct finding *f)
{
	static const char dir[] = "/sys/devices/system/clocksource/clocksource0";
	char now[40], all[200];
	uint64_t ns = clock_cost();
	bool slow_kind;

	fact_line(now, sizeof(now), "%s/current_clocksource", dir);
	fact_line(all, sizeof(all), "%s/available_clocksource", dir);
	found(f, "%s, %llu ns a reading", now[0] ? now : "unknown", (unsigned long long)ns);
	slow_kind = !strcmp(now, "hpet") || !strcmp(now, "acpi_pm") || !strcmp(now, "jiffies") || !strcmp(now, "refined-jiffies");
	if (!slow_kind && ns < CLOCK_SLOW_NS)
		return;
	costs(f, slow_kind ? DOCTOR_PROBLEM : DOCTOR_NOTE, "each reading is a system call: waits and deadlines read it often");
	if (slow_kind && strstr(all, "tsc"))
		mend(f, "echo tsc | sudo tee %s/current_clocksource", dir);
	else
		mend(f, "boot the kernel with clocksource=tsc tsc=reliable");
	trades(f, "time may jump if the CPU's counter is not steady; the kernel had a reason to leave it (dmesg | grep -i tsc)");
}

/* ---- memory ---- */

/* The word in brackets. */
static void chosen(const char *line, char *out, size_t cap)
{
	const char *from = strchr(line, '['), *to = from ? strchr(from, ']') : NULL;

	snprintf(out, cap, "%.*s", to ? (int)(to - from - 1) : 0, to ? from + 1 : "");
}

void look_hugepages(struct finding *f)
{
	char line[200], mode[40], shmem[40];

	if (!fact_line(line, sizeof(line), "/sys/kernel/mm/transparent_hugepage/enabled")) {
		found(f, "this kernel has no transparent huge pages");
		return;
	}
	chosen(line, mode, sizeof(mode));
	fact_line(line, sizeof(line), "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	chosen(line, shmem, sizeof(shmem));
	found(f, "%s for private memory, %s for shared memory", mode, shmem[0] ? shmem : "never");
	if (strcmp(mode, "never"))
		return;
	costs(f, DOCTOR_NOTE, "copies of many MiB miss the TLB more often; how much that matters was not measured");
	mend(f, "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled");
	trades(f, "programs that ask for huge pages may take more memory than they use");
}

void look_numa(struct finding *f)
{
	struct names nodes;
	uint64_t balancing = 0;

	fact_names(&nodes, "node", "/sys/devices/system/node");
	fact_u64(&balancing, "/proc/sys/kernel/numa_balancing");
	found(f, "%u node%s%s", nodes.n ? nodes.n : 1, nodes.n > 1 ? "s" : "", balancing ? ", automatic balancing on" : "");
	if (nodes.n < 2)
		return;
	costs(f, DOCTOR_NOTE, "messages between processes on different nodes cross the link between them; weft does not place processes");
	mend(f, "numactl --cpunodebind=0 --membind=0 PROGRAM");
	trades(f, "the program has only that node's CPUs and memory");
}

/* ---- GPUs ---- */

void look_gpus(struct finding *f)
{
	struct gpu_dev dev[DEVICES];
	unsigned on_bus, n = gpu_devs(dev, DEVICES, &on_bus), nvidia = 0, amd = 0;
	struct names files;

	for (unsigned i = 0; i < n; i++) {
		found(f, "%s %s", dev[i].vendor, dev[i].name);
		nvidia += dev[i].vendor[0] == 'N';
		amd += dev[i].vendor[0] == 'A';
	}
	if (!n && !on_bus) {
		found(f, "no GPU of NVIDIA or AMD");
		return;
	}
	if (!n)
		found(f, "%u on the PCI bus, but no driver shows one", on_bus);
	fact_names(&files, "nvidia", "/dev");
	if (nvidia || files.n) {
		found(f, "%u files /dev/nvidia*", files.n);
		found(f, "libcuda.so.1 %s", can_load("libcuda.so.1") ? "can be loaded" : "cannot be loaded");
	}
	if (amd || fact_exists("/dev/kfd")) {
		found(f, "/dev/kfd %s", fact_exists("/dev/kfd") ? "is there" : "is missing");
		found(f, "libamdhip64.so %s", can_load("libamdhip64.so") ? "can be loaded" : "cannot be loaded");
	}
	costs(f, DOCTOR_NOTE, "this version of weft does not move GPU memory: copy to host memory and send that");
	if (nvidia && !files.n)
		mend(f, "docker run --gpus all");
	else if (amd && !fact_exists("/dev/kfd"))
		mend(f, "docker run --device=/dev/kfd --device=/dev/dri --group-add video");
	else if (!n)
		mend(f, "install the vendor's kernel driver (nvidia-smi or rocminfo show whether it runs)");
}
