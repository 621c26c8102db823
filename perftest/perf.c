/* SPDX-License-Identifier: BSD-3-Clause
 *
 * perf.c - `weft perf`: starts both sides on CPUs of their own, or one of them, and goes through all that was asked for. On
 * one machine the serving side is forked off before any context is opened, and dies with us; should the library itself
 * hang, an alarm ends us. ^C ends the round that is under way: what was measured is printed and kept.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
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
#define AGAIN_NS 500000000u
#define HERE "weft://127.0.0.1:0"

struct all {                            /* what there is to do */
	const struct perf_opts *o;
	struct cpus cpus;
	unsigned done, cells;
};

/* ---- which cells ---- */

static bool makes_sense(const struct test_kind *t, size_t size)
{
	return size >= t->size_min && size <= t->size_max;
}

/* The sizes that @test is run with. Those that were asked for and make no sense for it are left out. */
static unsigned sizes_of(const struct perf_opts *o, enum perf_test test, size_t *size)
{
	const struct test_kind *t = &tests[test];
	unsigned n = 0;

	if (!o->n_sizes || t->size_min == t->size_max) {
		memcpy(size, t->sizes, t->n_sizes * sizeof(*size));
		return t->n_sizes;
	}
	for (unsigned i = 0; i < o->n_sizes; i++)
		if (makes_sense(t, o->size[i]))
			size[n++] = o->size[i];
	return n;
}

static unsigned count_cells(const struct perf_opts *o)
{
	size_t size[SIZES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < o->n_tests; i++) {
		unsigned here = sizes_of(o, o->test[i], size);

		if (!here)
			fprintf(stderr, "weft perf: %s is left out: it needs at least %zu byte\n", tests[o->test[i]].name,
				tests[o->test[i]].size_min);
		n += here;
	}
	return n * o->n_ways;
}

/* ---- the measuring side ---- */

static bool run_cell(struct side *s, struct all *a, const struct perf_way *way, enum perf_test test, size_t size,
		     int peer_cpu)
{
	const struct perf_opts *o = a->o;
	struct cell c = { .test = test, .transport = way->name, .size = size, .cpu = { s->cpu, peer_cpu },
			  .weft_memory = o->weft_memory, .noise = -1 };

	alarm((unsigned)o->time_s + ALARM_S + (unsigned)(ALARM_WAITS * slow_s(2 * size)));
	report_count(++a->done, a->cells);
	report_progress(&c, 0);
	if (!measure(s, o, &c))
		return false;
	if (!way->transport)
		c.transport = c.path;
	c.both_copied = !way->threads && c.copied_here && c.copied_peer;
	report_cell(o, &c);
	return true;
}

static bool run_test(struct side *s, struct all *a, const struct perf_way *way, enum perf_test test, int peer_cpu)
{
	size_t size[SIZES_MAX];
	unsigned n = sizes_of(a->o, test, size);

	for (unsigned i = 0; i < n && !perf_interrupted; i++)
		if (!run_cell(s, a, way, test, size[i], peer_cpu))
			return false;
	return true;
}

/* With a side that has connected. */
static void run_tests(struct side *s, struct all *a, const struct perf_way *way)
{
	int peer_cpu = -1;

	if (!hello(s, &peer_cpu))
		return;
	for (unsigned i = 0; i < a->o->n_tests; i++)
		if (!run_test(s, a, way, a->o->test[i], peer_cpu))
			break;
	if (!s->failed)
		measure_quit(s);
}

/* Says what went wrong with a side, if anything. */
static bool ended_well(const struct side *s, const char *way, const char *who)
{
	if (s->failed)
		fprintf(stderr, "weft perf: %s%s: %s\n", way, who, s->why);
	return !s->failed;
}

static struct side measuring_side(const struct all *a, const char *peer)
{
	return (struct side){ .polls = a->cpus.several && !a->o->sleep, .alone = a->cpus.several,
			      .stall_s = MEASURE_STALL_S, .cpu = a->cpus.cpu[0], .peer = peer };
}

static struct side serving_side(const struct all *a)
{
	return (struct side){ .polls = a->cpus.several && !a->o->sleep, .alone = a->cpus.several, .stall_s = SERVE_STALL_S,
			      .cpu = a->cpus.cpu[1], .peer = "the other side", .serves = true };
}

/* ---- two processes ---- */

static void serve_peer(struct door *d, struct side *s)
{
	int peer_cpu;

	if (door_let_in(d, s) && hello(s, &peer_cpu))
		serve(s);
	side_close(s);
}

static int serve_here(const struct all *a, const struct perf_way *way, int fd)
{
	struct side s = serving_side(a);
	struct door d = { .side = { .polls = s.polls, .stall_s = START_MS / 1000, .serves = true } };
	char url[URL_CAP] = "";

	signal(SIGINT, SIG_IGN);         /* the measuring side tells us when to end */
	signal(SIGTERM, SIG_IGN);
	perf_interrupted = 0;
	cpu_pin(s.cpu);
	if (door_open(&d, way, NULL, HERE) && door_url(&d, url, sizeof(url))) {
		if (write(fd, url, sizeof(url)) != sizeof(url))
			side_fail(&d.side, "cannot tell the URL: %s", strerror(errno));
		else
			serve_peer(&d, &s);
	}
	door_close(&d);
	return ended_well(&d.side, way->name, ", serving side") && ended_well(&s, way->name, ", serving side") ? 0 : 1;
}

/* The URL, or false when none came in time. */
static bool read_url(int fd, char *url, size_t cap)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ret;

	do
		ret = poll(&p, 1, START_MS);
	while (ret < 0 && errno == EINTR && !perf_interrupted);
	return ret == 1 && read(fd, url, cap) == (ssize_t)cap && !url[cap - 1];
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

static bool run_processes(struct all *a, const struct perf_way *way)
{
	struct side s = measuring_side(a, "the serving side");
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
		exit(getppid() == parent ? serve_here(a, way, fd[1]) : 1);
	}
	close(fd[1]);
	cpu_pin(s.cpu);
	if (!read_url(fd[0], url, sizeof(url)))
		side_fail(&s, "the serving side did not start");
	else if (side_open(&s, way, NULL) && side_connect(&s, url))
		run_tests(&s, a, way);
	close(fd[0]);
	side_close(&s);
	ok = ended_well(&s, way->name, "");
	return reap_child(pid) && ok;
}

/* ---- two threads ---- */

struct server {
	struct door door;
	struct side side;
};

static void *serve_thread(void *arg)
{
	struct server *v = arg;

	cpu_pin(v->side.cpu);
	serve_peer(&v->door, &v->side);
	return NULL;
}

static bool run_threads(struct all *a, const struct perf_way *way)
{
	struct side s = measuring_side(a, "the serving side");
	struct server v = { .side = serving_side(a) };
	char url[URL_CAP];
	pthread_t thread;
	bool ok, started = false;

	v.door.side = (struct side){ .polls = s.polls, .stall_s = START_MS / 1000 };
	v.side.serves = false;           /* ^C is the measuring side's business */
	if (side_open(&s, way, NULL) && door_open(&v.door, way, s.ctx, HERE) && door_url(&v.door, url, sizeof(url))) {
		started = !pthread_create(&thread, NULL, serve_thread, &v);
		cpu_pin(s.cpu);
		if (!started)
			side_fail(&s, "cannot start a thread");
		else if (side_connect(&s, url))
			run_tests(&s, a, way);
	}
	side_hang_up(&s);                /* before the join: the other side may wait for what only our turns deliver */
	if (started)
		pthread_join(thread, NULL);
	door_close(&v.door);
	side_close(&s);
	ok = ended_well(&s, way->name, "");
	ok = ended_well(&v.door.side, way->name, ", serving side") && ok;
	return ended_well(&v.side, way->name, ", serving side") && ok;
}

/* ---- two machines ---- */

static bool run_to_host(struct all *a, const struct perf_way *way)
{
	char url[URL_CAP], numeric[2 * URL_CAP];
	struct side s = measuring_side(a, url);

	if (!perf_url(a->o, "127.0.0.1", url, sizeof(url)))
		return false;
	cpu_pin(s.cpu);
	if (weft_resolve(url, numeric, sizeof(numeric)))
		side_refused(&s, "no address");
	else if (side_open(&s, way, NULL) && side_connect(&s, numeric))
		run_tests(&s, a, way);
	side_close(&s);
	return ended_well(&s, way->name, "");
}

/* Serves one peer after the other until it is interrupted. */
static int listen_main(struct all *a)
{
	struct door d = { .side = { .serves = true } };   /* waits for ever */
	char url[URL_CAP];
	bool ok = true;

	if (!perf_url(a->o, "0.0.0.0", url, sizeof(url)))
		return 2;
	cpu_pin(a->cpus.cpu[1]);
	if (!door_open(&d, a->o->way[0], NULL, url) || !door_url(&d, url, sizeof(url))) {
		door_close(&d);
		ended_well(&d.side, "--listen", "");
		return 1;
	}
	printf("listening on %s\n", url);
	fflush(stdout);
	do {
		struct side s = serving_side(a);

		serve_peer(&d, &s);
		ok = perf_interrupted || d.side.failed || ended_well(&s, "--listen", "");
	} while (!perf_interrupted && !d.side.failed && !a->o->once);
	door_close(&d);
	return ok && (perf_interrupted || ended_well(&d.side, "--listen", "")) ? 0 : 1;
}

/* ---- the command ---- */

static void on_alarm(int sig)
{
	static const char text[] = "weft perf: nothing came of it in time; this is a bug of weft\n";

	(void)sig;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(3);
}

/* A second one ends us as if there were no handler; not one that is sent to us and to our group at the same time. */
static void on_interrupt(int sig)
{
	static uint64_t first_ns;
	uint64_t now = now_ns();

	perf_interrupted = sig;
	if (!first_ns)
		first_ns = now;
	if (now - first_ns < AGAIN_NS)
		return;
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_signals(void)
{
	struct sigaction stop = { .sa_handler = on_interrupt };

	signal(SIGALRM, on_alarm);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
}

/* The figures are right, but of the scheduler's turns: whoever compares them with another machine's must know. */
static void say_one_cpu(const struct all *a)
{
	if (!a->cpus.several && !a->o->place)
		fprintf(stderr, "weft perf: both sides share one CPU, so times are those of its turns between them and not of the path; "
				"give this process another (taskset, --cpus A,B)\n");
}

static bool run_way(struct all *a, const struct perf_way *way)
{
	fflush(stdout);                  /* or the child would have it, too */
	alarm(ALARM_S);
	if (a->o->place)
		return run_to_host(a, way);
	return way->threads ? run_threads(a, way) : run_processes(a, way);
}

int perf_main(int argc, char **argv)
{
	struct perf_opts o;
	struct all a = { .o = &o };
	bool ok = true;

	if (!perf_parse(argc, argv, &o))
		return 2;
	if (o.help) {
		perf_usage(stdout);
		return 0;
	}
	a.cpus = cpus_find(&o);
	catch_signals();
	if (o.listen)
		return listen_main(&a);
	if (o.plot && !plot_possible(o.plot))
		return 1;
	say_one_cpu(&a);
	a.cells = count_cells(&o);
	report_begin(&o);
	for (unsigned i = 0; i < o.n_ways && ok && !perf_interrupted; i++)
		ok = run_way(&a, o.way[i]);
	alarm(0);
	report_end(&o);
	if (o.plot && !plot_draw(o.plot))
		ok = false;
	if (fflush(stdout))
		ok = false;
	return perf_interrupted ? 128 + perf_interrupted : ok ? 0 : 1;
}
