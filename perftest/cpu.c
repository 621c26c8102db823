/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cpu.c - on which CPUs the two sides run, and how much of their time others took: the kernel counts how long a thread
 * stood in the queue though it could have run, and how long a virtual machine's CPU was not there.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "perftest.h"

/* ---- places ---- */

static void siblings(int cpu, char *out, int cap)
{
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	f = fopen(path, "re");
	if (!f || !fgets(out, cap, f))
		snprintf(out, (size_t)cap, "%d", cpu);
	if (f)
		fclose(f);
}

/* The first CPU that we may use, and the first one that is not a thread of the same core, or just the second. */
static void choose(const cpu_set_t *set, int *cpu)
{
	char of_first[100], of_this[100];
	int second = -1;

	for (int i = 0; i < CPU_SETSIZE && cpu[1] < 0; i++) {
		if (!CPU_ISSET(i, set))
			continue;
		if (cpu[0] < 0) {
			cpu[0] = i;
			siblings(i, of_first, sizeof(of_first));
			continue;
		}
		if (second < 0)
			second = i;
		siblings(i, of_this, sizeof(of_this));
		if (strcmp(of_first, of_this))
			cpu[1] = i;
	}
	if (cpu[1] < 0)
		cpu[1] = second;
}

struct cpus cpus_find(const struct perf_opts *o)
{
	struct cpus c = { { o->cpu[0], o->cpu[1] }, false };
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return c;
	c.several = CPU_COUNT(&set) > 1;
	if (c.cpu[0] >= 0)
		c.several = c.several && c.cpu[0] != c.cpu[1];
	else if (o->pin && c.several)
		choose(&set, c.cpu);
	return c;
}

void cpu_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);   /* refused: then it is not pinned, no more */
}

/* ---- what others took ---- */

/* Nanoseconds in the run queue: the second number. False where the kernel does not count. */
static bool read_queued(uint64_t *ns)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	unsigned long long ran, queued;
	bool ok = f && fscanf(f, "%llu %llu", &ran, &queued) == 2;

	if (f)
		fclose(f);
	*ns = ok ? queued : 0;
	return ok;
}

/* Nanoseconds in which the host did not run @cpu, the 8th number of its line; 0 where nothing is known of it. */
static uint64_t read_stolen(int cpu)
{
	FILE *f = cpu < 0 ? NULL : fopen("/proc/stat", "re");
	unsigned long long stolen = 0;
	char line[400], name[20];
	size_t n = (size_t)snprintf(name, sizeof(name), "cpu%d ", cpu);

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, n))
			continue;
		sscanf(line + n, "%*u %*u %*u %*u %*u %*u %*u %llu", &stolen);
		break;
	}
	if (f)
		fclose(f);
	return stolen * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

struct noise noise_read(int cpu, bool alone)
{
	struct noise n = { .at_ns = now_ns() };
	struct rusage r = { 0 };

	n.known = read_queued(&n.lost_ns) && alone;
	n.lost_ns += read_stolen(cpu);
	getrusage(RUSAGE_THREAD, &r);
	n.preempted = (uint64_t)r.ru_nivcsw;
	return n;
}

struct noise noise_since(const struct noise *now, const struct noise *then)
{
	return (struct noise){
		.at_ns = now->at_ns - then->at_ns, .lost_ns = now->lost_ns - then->lost_ns,
		.preempted = now->preempted - then->preempted, .known = now->known && then->known,
	};
}
