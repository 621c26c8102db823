/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pair.h - what the small programs beside weft share: two pinned processes and the measuring loop of `weft perf`.
 *
 * A program is called as PROGRAM MODE SIZE SECONDS CPU CPU. One process measures, the other echoes as many messages as it
 * is told. A figure is half a round trip; a sample is the mean of so many round trips in a row that reading the clock is
 * at most 1 % of it; one line of JSON gives least, median and 99th percentile of the samples. The first round is
 * checked byte by byte. All memory is plain malloc unless the mode says otherwise.
 *
 * Everything here is static inline, so that the call of trip() in the loop costs nothing.
 */
#ifndef BENCH_PAIR_H
#define BENCH_PAIR_H
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_SHARE 100
#define BATCH_MAX   1024u
#define ROUND_NS    20000000.0
#define SAMPLES_MAX (1u << 20)

struct pair_args {
	const char *mode;
	size_t size;
	double seconds;
	int cpu[2];
};

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline struct pair_args pair_args(int argc, char **argv)
{
	struct pair_args a;

	if (argc != 6) {
		fprintf(stderr, "usage: %s MODE SIZE SECONDS CPU CPU\n", argv[0]);
		exit(2);
	}
	a.mode = argv[1];
	a.size = strtoull(argv[2], NULL, 10);
	a.seconds = strtod(argv[3], NULL);
	a.cpu[0] = atoi(argv[4]);
	a.cpu[1] = atoi(argv[5]);
	return a;
}

static inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the other process ---- */

struct peer {
	pid_t pid;
	int fd[2];                      /* to read from the other, to write to it */
};

/* Forks; gives 0 in the process that measures, 1 in the one that echoes, which dies with the first. */
static inline int pair_fork(struct peer *p, const int *cpu)
{
	int there[2], back[2];
	int me;

	if (pipe(there) || pipe(back))
		die("pipe");
	p->pid = fork();
	if (p->pid < 0)
		die("fork");
	me = p->pid == 0;
	p->fd[0] = me ? there[0] : back[0];
	p->fd[1] = me ? back[1] : there[1];
	close(me ? there[1] : there[0]);
	close(me ? back[0] : back[1]);
	if (me)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cpu[me]);
	return me;
}

/* @peer: struct peer; as struct loop has it. */
static inline void pair_tell(void *peer, uint64_t word)
{
	struct peer *p = peer;

	if (write(p->fd[1], &word, sizeof(word)) != sizeof(word))
		die("write to the other process");
}

/* 0 when the other process has closed: nothing is left to do. */
static inline uint64_t pair_hear(struct peer *p)
{
	uint64_t word = 0;
	ssize_t n = read(p->fd[0], &word, sizeof(word));

	return n == sizeof(word) ? word : 0;
}

/* Ends the echoing process; what it returned is our result, too. */
static inline int pair_end(struct peer *p)
{
	int status;

	close(p->fd[1]);
	if (waitpid(p->pid, &status, 0) != p->pid)
		die("waitpid");
	return status ? 1 : 0;
}

/* ---- data ---- */

static inline void *memory(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		die("malloc");
	memset(p, 0, size);
	return p;
}

static inline void fill(unsigned char *p, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(seed + i + (i >> 8));
}

static inline void check(const unsigned char *p, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)(seed + i + (i >> 8))) {
			fprintf(stderr, "byte %zu of %zu came wrong\n", i, size);
			exit(1);
		}
}

/* ---- the measuring loop ---- */

struct loop {
	double seconds;
	size_t size;
	void (*tell)(void *to, uint64_t count);         /* what the other side shall do */
	void *to;
	void (*trip)(void *arg);                        /* there and back */
	void *arg;
	float *sample;
	unsigned n;
	unsigned batch;
	uint64_t trips;
};

#define FLATTEN static inline __attribute__((always_inline))

/* The first trip finds the other side on its way: it does not count. Gives ns for each of the others. */
FLATTEN double loop_round(struct loop *l, uint64_t count)
{
	uint64_t start, t0, t1;

	l->tell(l->to, count + 1);
	l->trip(l->arg);
	start = t0 = now_ns();
	for (uint64_t done = 0; done < count;) {
		unsigned n = count - done < l->batch ? (unsigned)(count - done) : l->batch;

		for (unsigned i = 0; i < n; i++)
			l->trip(l->arg);
		t1 = now_ns();
		if (l->n < SAMPLES_MAX)
			l->sample[l->n++] = (float)(t1 - t0) / 2000.0f / (float)n;
		t0 = t1;
		done += n;
	}
	l->trips += count;
	return (double)(t0 - start) / (double)count;
}

static inline double clock_cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t t0 = now_ns(), t1 = t0;

		for (int k = 0; k < 50; k++)
			t1 = now_ns();
		best = t1 - t0 < best ? t1 - t0 : best;
	}
	return (double)best / 50 + 1;
}

static inline int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static inline void loop_print(struct loop *l)
{
	float *v = l->sample;

	qsort(v, l->n, sizeof(*v), by_value);
	printf("{\"size\":%zu,\"iterations\":%llu,\"lat_us\":{\"min\":%.4f,\"p50\":%.4f,\"p99\":%.4f},\"batch\":%u}\n",
	       l->size, (unsigned long long)l->trips, v[0], v[l->n / 2], v[l->n - 1 - l->n / 100], l->batch);
}

/* Warms up, doubling the length of a round until it lasts about ROUND_NS, then measures for so many seconds. */
FLATTEN void loop_run(struct loop *l)
{
	double wanted = l->seconds * 1e8 < ROUND_NS ? l->seconds * 1e8 : ROUND_NS;
	double each, best = 1e18;
	uint64_t count = 1, start;

	l->sample = malloc(SAMPLES_MAX * sizeof(*l->sample));
	if (!l->sample)
		die("malloc");
	l->batch = 1;
	for (start = now_ns();; count *= 2) {
		l->n = 0;
		each = loop_round(l, count);
		best = each < best ? each : best;
		if (best * (double)count >= wanted / 2 || (double)(now_ns() - start) > 1e9)
			break;
	}
	each = CLOCK_SHARE * clock_cost() / best + 1;
	l->batch = each > BATCH_MAX ? BATCH_MAX : (unsigned)each;
	l->n = 0;
	l->trips = 0;
	for (start = now_ns(); (double)(now_ns() - start) < l->seconds * 1e9 || !l->n;)
		loop_round(l, count);
	loop_print(l);
	free(l->sample);
}

/* ---- a word that two processes spin on ---- */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* With one CPU for both, spinning only keeps the other from running. */
static inline void spin_until(const _Atomic uint64_t *word, uint64_t value, bool alone)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
		if (alone)
			sched_yield();
		else
			relax();
}
#endif
