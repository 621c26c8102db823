/* SPDX-License-Identifier: BSD-3-Clause
 *
 * perf.c - `weft perf`: starts both sides on CPUs of their own and goes through all that was asked for. The serving
 * side is forked off before any context is opened, and dies with us; should the library itself hang, an alarm ends us.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perftest.h"

#define START_MS 10000
#define ALARM_S  180                 /* beyond the time of a cell: checking, warming up, a peer that stalls */
#define ALARM_WAITS 10               /* waits of a cell that may all be slow */
#define URL_CAP  200

struct cpus {
	int cpu[2];                     /* -1: not pinned */
	bool several;                   /* the two sides can run at the same time */
};

/* ---- CPUs ---- */

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
static struct cpus find_cpus(bool pin)
{
	struct cpus c = { { -1, -1 }, false };
	char of_first[100], of_this[100];
	int second = -1;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return c;
	c.several = CPU_COUNT(&set) > 1;
	if (!pin || !c.several)
		return c;
	for (int i = 0; i < CPU_SETSIZE && c.cpu[1] < 0; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (c.cpu[0] < 0) {
			c.cpu[0] = i;
			siblings(i, of_first, sizeof(of_first));
			continue;
		}
		if (second < 0)
			second = i;
		siblings(i, of_this, sizeof(of_this));
		if (strcmp(of_first, of_this))
			c.cpu[1] = i;
	}
	if (c.cpu[1] < 0)
		c.cpu[1] = second;
	return c;
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);   /* refused: then it is not pinned, no more */
}

/* ---- the measuring side ---- */

static const size_t lat_sizes[] = { 8, 1 << 10, 64 << 10, 1 << 20 };
static const size_t bw_sizes[] = { 4 << 10, 64 << 10, 1 << 20, 16 << 20 };
static const size_t rate_sizes[] = { 8 };

static bool run_cell(struct side *s, const struct perf_opts *o, const struct perf_way *way, const struct cpus *cpus,
		     enum perf_test test, size_t size)
{
	struct cell c = { .test = test, .transport = way->name, .size = size, .cpu = { cpus->cpu[0], cpus->cpu[1] } };

	alarm((unsigned)o->time_s + ALARM_S + (unsigned)(ALARM_WAITS * slow_s(2 * size)));
	if (!measure(s, o, &c))
		return false;
	c.both_copied = !way->threads && c.copied_here && c.copied_peer;
	report_cell(o, &c);
	return true;
}

static bool run_test(struct side *s, const struct perf_opts *o, const struct perf_way *way, const struct cpus *cpus,
		     enum perf_test test)
{
	const size_t *size = test == TAG_LAT ? lat_sizes : test == TAG_BW ? bw_sizes : rate_sizes;
	unsigned n = test == TAG_RATE ? 1 : 4;

	if (o->n_sizes) {
		size = o->size;
		n = o->n_sizes;
	}
	for (unsigned i = 0; i < n; i++)
		if (!run_cell(s, o, way, cpus, test, size[i]))
			return false;
	return true;
}

static bool run_tests(struct side *s, const struct perf_opts *o, const struct perf_way *way, const struct cpus *cpus)
{
	for (unsigned i = 0; i < o->n_tests; i++)
		if (!run_test(s, o, way, cpus, o->test[i]))
			return false;
	measure_quit(s);
	return !s->failed;
}

/* Says what went wrong with a side, if anything. */
static bool ended_well(const struct side *s, const struct perf_way *way, const char *who)
{
	if (s->failed)
		fprintf(stderr, "weft perf: %s%s: %s\n", way->name, who, s->why);
	return !s->failed;
}

/* ---- two processes ---- */

static int serve_here(const struct perf_way *way, const struct cpus *cpus, int fd)
{
	struct side s = { .polls = cpus->several, .stall_s = SERVE_STALL_S };
	char url[URL_CAP] = "";

	pin(cpus->cpu[1]);
	if (side_open(&s, way, NULL) && side_listen(&s, url, sizeof(url))) {
		if (write(fd, url, sizeof(url)) != sizeof(url))
			side_fail(&s, "cannot tell the URL: %s", strerror(errno));
		else if (side_accept(&s))
			serve(&s);
	}
	side_close(&s);
	return ended_well(&s, way, ", serving side") ? 0 : 1;
}

/* The URL, or false when none came in time. */
static bool read_url(int fd, char *url, size_t cap)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, START_MS) == 1 && read(fd, url, cap) == (ssize_t)cap && !url[cap - 1];
}

/* Its exit status; what it died of is said. */
static bool reap_child(pid_t pid)
{
	int status = 0;

	for (int i = 0; i < 500; i++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got < 0)
			return false;
		if (got == pid) {
			if (WIFSIGNALED(status))
				fprintf(stderr, "weft perf: the serving process was ended by signal %d (%s)\n", WTERMSIG(status),
					strsignal(WTERMSIG(status)));
			return WIFEXITED(status) && !WEXITSTATUS(status);
		}
		usleep(10000);
	}
	fprintf(stderr, "weft perf: the serving process did not end; it is killed\n");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return false;
}

static bool run_processes(const struct perf_opts *o, const struct perf_way *way, const struct cpus *cpus)
{
	struct side s = { .polls = cpus->several, .stall_s = MEASURE_STALL_S };
	char url[URL_CAP];
	pid_t parent = getpid(), pid;
	int fd[2];
	bool ok;

	if (pipe(fd) || (pid = fork()) < 0) {
		fprintf(stderr, "weft perf: cannot start a second process: %s\n", strerror(errno));
		return false;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fd[0]);
		exit(getppid() == parent ? serve_here(way, cpus, fd[1]) : 1);
	}
	close(fd[1]);
	pin(cpus->cpu[0]);
	if (!read_url(fd[0], url, sizeof(url)))
		side_fail(&s, "the serving side did not start");
	else if (side_open(&s, way, NULL) && side_connect(&s, url))
		run_tests(&s, o, way, cpus);
	close(fd[0]);
	side_close(&s);
	ok = ended_well(&s, way, "");
	return reap_child(pid) && ok;
}

/* ---- two threads ---- */

struct server {
	struct side side;
	const struct cpus *cpus;
};

static void *serve_thread(void *arg)
{
	struct server *v = arg;

	pin(v->cpus->cpu[1]);
	if (side_accept(&v->side))
		serve(&v->side);
	side_close(&v->side);
	return NULL;
}

static bool run_threads(const struct perf_opts *o, const struct perf_way *way, const struct cpus *cpus)
{
	struct side s = { .polls = cpus->several, .stall_s = MEASURE_STALL_S };
	struct server v = { .side = { .polls = cpus->several, .stall_s = SERVE_STALL_S }, .cpus = cpus };
	char url[URL_CAP];
	pthread_t thread;
	bool ok, started = false;

	if (side_open(&s, way, NULL) && side_open(&v.side, way, s.ctx) && side_listen(&v.side, url, sizeof(url))) {
		started = !pthread_create(&thread, NULL, serve_thread, &v);
		pin(cpus->cpu[0]);
		if (!started)
			side_fail(&s, "cannot start a thread");
		else if (side_connect(&s, url))
			run_tests(&s, o, way, cpus);
	}
	side_hang_up(&s);                /* before the join: the other side may wait for what only our turns deliver */
	if (started)
		pthread_join(thread, NULL);
	else
		side_close(&v.side);
	side_close(&s);
	ok = ended_well(&s, way, "");
	return ended_well(&v.side, way, ", serving side") && ok;
}

static void on_alarm(int sig)
{
	static const char text[] = "weft perf: nothing came of it in time; this is a bug of weft\n";

	(void)sig;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(3);
}

int perf_main(int argc, char **argv)
{
	struct perf_opts o;
	struct cpus cpus;
	bool ok = true;

	if (!perf_parse(argc, argv, &o))
		return 2;
	cpus = find_cpus(o.pin);
	signal(SIGALRM, on_alarm);
	report_head(&o);
	for (unsigned i = 0; i < o.n_ways && ok; i++) {
		fflush(stdout);          /* or the child would have it, too */
		alarm(ALARM_S);
		ok = o.way[i]->threads ? run_threads(&o, o.way[i], &cpus) : run_processes(&o, o.way[i], &cpus);
	}
	return ok && !fflush(stdout) ? 0 : 1;
}
