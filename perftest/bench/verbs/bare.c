/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bare.c - the limit of verbs on one device: two processes with one reliable queue pair each and nothing in between.
 *
 *   bare [-d DEVICE] [-g GID-INDEX] lat SIZE N          send and receive back and forth; half a round trip
 *   bare ...                        write SIZE N        N RDMA writes, 4 under way
 *   bare ...                        read SIZE N [PIECE] N messages by RDMA reads of PIECE bytes (all at once), 4 under way
 *   bare ...                        instr SIZE N        marks for `steps` around the calls of N messages (see mark.h)
 *
 * One line of JSON each. What is exchanged is compared byte by byte, before and after the clock runs. The other process gets
 * its orders through the pipes of pair.h, and while a write or read is measured it does nothing at all.
 */
#include "link.h"
#include "mark.h"

#define DEPTH   4
#define WARM_UP 100                     /* an emulator has to translate what runs for the first time */

/*
 * The program's own slots of `steps`. MESSAGE is one send and one receive, as a loop has them; the others are its parts: to
 * post each, a poll that finds a receive, two that find a receive and a send's completion, one that finds nothing.
 */
enum { MESSAGE = 2, SEND, RECV, FOUND, BOTH, NOTHING };

struct job {
	struct link_args at;
	const struct test *test;
	size_t size, piece;
	uint64_t n;
};

static inline void need(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s\n", what);
		exit(1);
	}
}

/* ---- send and receive ---- */

static void ping(struct link *l, uint64_t n)
{
	for (; n; n--) {
		link_post_recv(l);
		link_post_send(l, 0);
		link_await(l, IBV_WC_RECV);
	}
}

/* One receive is always posted before the other side may send: the first by whoever gives the order. */
static void pong(struct link *l, uint64_t n)
{
	for (; n; n--) {
		link_await(l, IBV_WC_RECV);
		link_post_recv(l);
		link_post_send(l, 0);
	}
}

static double lat(struct link *l, const struct job *j)
{
	double seconds;
	uint64_t t0;

	ping(l, 1);
	check(l->mem + l->size, l->size, 2);
	ping(l, WARM_UP);
	memset(l->mem + l->size, 0, l->size);
	t0 = now_ns();
	ping(l, j->n);
	seconds = (double)(now_ns() - t0) * 1e-9;
	check(l->mem + l->size, l->size, 2);
	return seconds;
}

static void lat_echo(struct link *l, const struct job *j)
{
	pong(l, 1);
	check(l->mem + l->size, l->size, 1);
	pong(l, WARM_UP + j->n);
}

/* ---- one-sided ---- */

static void post_one_sided(struct link *l, enum ibv_wr_opcode op, size_t at, size_t len)
{
	size_t here = op == IBV_WR_RDMA_READ ? l->size + at : at;
	struct ibv_sge sge = { (uintptr_t)l->mem + here, (uint32_t)len, l->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = op, .send_flags = IBV_SEND_SIGNALED }, *bad;
	int err;

	wr.wr.rdma.remote_addr = l->far_addr + (op == IBV_WR_RDMA_READ ? 0 : l->size) + at;
	wr.wr.rdma.rkey = l->far_key;
	err = ibv_post_send(l->qp, &wr, &bad);
	if (err)
		link_die("ibv_post_send", err);
}

/* @n messages of the whole size, in pieces, DEPTH pieces under way. */
static void one_sided(struct link *l, const struct job *j, enum ibv_wr_opcode op, uint64_t n)
{
	int end = op == IBV_WR_RDMA_READ ? IBV_WC_RDMA_READ : IBV_WC_RDMA_WRITE;
	unsigned under_way = 0;

	for (; n; n--)
		for (size_t at = 0; at < j->size; at += j->piece) {
			if (under_way == DEPTH) {
				link_await(l, end);
				under_way--;
			}
			post_one_sided(l, op, at, j->size - at < j->piece ? j->size - at : j->piece);
			under_way++;
		}
	for (; under_way; under_way--)
		link_await(l, end);
}

/* The other process looks at what was written, and says so. */
static void written(struct link *l)
{
	pair_tell(l->peer, 1);
	need(pair_hear(l->peer) == 1, "the other process found wrong bytes");
}

static void look_at_written(struct link *l)
{
	need(pair_hear(l->peer) == 1, "no word from the writing process");
	check(l->mem + l->size, l->size, 1);
	memset(l->mem + l->size, 0, l->size);
	pair_tell(l->peer, 1);
}

static double run_one_sided(struct link *l, const struct job *j, enum ibv_wr_opcode op)
{
	bool reads = op == IBV_WR_RDMA_READ;
	double seconds;
	uint64_t t0;

	one_sided(l, j, op, 1);
	if (!reads) {
		written(l);
	} else {
		check(l->mem + l->size, l->size, 2);
		memset(l->mem + l->size, 0, l->size);
	}
	t0 = now_ns();
	one_sided(l, j, op, j->n);
	seconds = (double)(now_ns() - t0) * 1e-9;
	if (reads)
		check(l->mem + l->size, l->size, 2);
	else
		written(l);
	return seconds;
}

/* ---- marks for `steps` ---- */

/* The echo's send is acknowledged: the message and its completion have been here before. Nothing is counted meanwhile. */
static void await_echo(struct link *l)
{
	need(pair_hear(l->peer) == 1, "no word from the echoing process");
}

static void message_whole(struct link *l)
{
	mark(MESSAGE);
	link_post_recv(l);
	link_post_send(l, 0);
	mark(MARK_END);
	await_echo(l);
	mark(MESSAGE);
	link_await(l, IBV_WC_RECV);
	mark(MARK_END);
}

static void poll_for(struct link *l, unsigned long slot, int polls)
{
	mark(slot);
	for (int i = 0; i < polls; i++)
		need(link_poll(l) >= 0, "a poll found nothing, though the echo had come");
	mark(MARK_END);
}

static void message_in_parts(struct link *l)
{
	mark(RECV);
	link_post_recv(l);
	mark(MARK_END);
	mark(SEND);
	link_post_send(l, 0);
	mark(MARK_END);
	await_echo(l);
	if (l->posted % SIGNAL_EACH) {
		poll_for(l, FOUND, 1);
	} else {
		usleep(5000); /* the echo may have overtaken our own send's completion */
		poll_for(l, BOTH, 2);
	}
	mark(NOTHING);
	need(link_poll(l) < 0, "one more completion than thought");
	mark(MARK_END);
}

static double instr(struct link *l, const struct job *j)
{
	uint64_t t0 = now_ns();

	ping(l, 1);
	await_echo(l);
	check(l->mem + l->size, l->size, 2);
	for (int i = 0; i < 8; i++) {
		mark(MARK_EMPTY);
		mark(MARK_END);
	}
	l->posted = 0;
	for (uint64_t i = 0; i < j->n; i++)
		message_whole(l);
	for (uint64_t i = 0; i < j->n; i++)
		message_in_parts(l);
	return (double)(now_ns() - t0) * 1e-9;
}

static void instr_echo(struct link *l, const struct job *j)
{
	for (uint64_t i = 0; i < 2 * j->n + 1; i++) {
		link_await(l, IBV_WC_RECV);
		link_post_recv(l);
		link_post_send(l, IBV_SEND_SIGNALED);
		link_await(l, IBV_WC_SEND);
		pair_tell(l->peer, 1);
	}
}

/* ---- what there is ---- */

static double write_bw(struct link *l, const struct job *j)
{
	return run_one_sided(l, j, IBV_WR_RDMA_WRITE);
}

static void write_serve(struct link *l, const struct job *j)
{
	(void)j;
	look_at_written(l);
	look_at_written(l);
}

static double read_bw(struct link *l, const struct job *j)
{
	return run_one_sided(l, j, IBV_WR_RDMA_READ);
}

static const struct test {
	const char *name;
	double (*measure)(struct link *l, const struct job *j);
	void (*serve)(struct link *l, const struct job *j);     /* the other process's part, if any */
	bool trips;                                             /* back and forth, not one way */
} tests[] = {
	{ "lat", lat, lat_echo, true },
	{ "write", write_bw, write_serve, false },
	{ "read", read_bw, NULL, false },
	{ "instr", instr, instr_echo, true },
};

static void print(const struct job *j, double seconds)
{
	printf("{\"test\":\"%s\",\"size\":%zu,\"iterations\":%llu,\"seconds\":%.6f", j->test->name, j->size,
	       (unsigned long long)j->n, seconds);
	if (j->test->trips)
		printf(",\"us\":%.3f}\n", seconds * 1e6 / 2 / (double)j->n);
	else
		printf(",\"piece\":%zu,\"MB_per_s\":%.3f}\n", j->piece, (double)j->size * (double)j->n / seconds * 1e-6);
	fflush(stdout);
}

static int usage(const char *name)
{
	fprintf(stderr, "usage: %s [-d DEVICE] [-g GID-INDEX] lat|write|read|instr SIZE N [PIECE]\n", name);
	return 2;
}

static bool take_args(struct job *j, int argc, char **argv)
{
	int c;

	*j = (struct job){ .at.gid = -1 };
	while ((c = getopt(argc, argv, "d:g:")) != -1)
		switch (c) {
		case 'd':
			j->at.device = optarg;
			break;
		case 'g':
			j->at.gid = atoi(optarg);
			break;
		default:
			return false;
		}
	argv += optind;
	argc -= optind;
	if (argc < 3 || argc > 4)
		return false;
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (!strcmp(argv[0], tests[i].name))
			j->test = &tests[i];
	j->size = strtoull(argv[1], NULL, 0);
	j->n = strtoull(argv[2], NULL, 0);
	j->piece = argc > 3 ? strtoull(argv[3], NULL, 0) : j->size;
	return j->test && j->size && j->size <= UINT32_MAX && j->n && j->piece;
}

/* One each, or one for both. */
static void cpus(int cpu[2])
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			cpu[n++] = i;
	if (n < 2)
		cpu[1] = cpu[0];
}

static void serve(struct link *l, const struct job *j)
{
	if (j->test->trips)
		link_post_recv(l);
	pair_tell(l->peer, 1);
	if (j->test->serve)
		j->test->serve(l, j);
	pair_hear(l->peer); /* the queue pair stays until the other side has seen its last answer */
	link_close(l);
}

int main(int argc, char **argv)
{
	struct peer peer;
	struct link l;
	struct job j;
	int cpu[2], me;

	if (!take_args(&j, argc, argv))
		return usage(argv[0]);
	cpus(cpu);
	me = pair_fork(&peer, cpu);
	alarm(LIMIT_S);
	link_open(&l, &j.at, &peer, me, j.size);
	l.alone = cpu[0] == cpu[1];
	if (me) {
		serve(&l, &j);
		return 0;
	}
	need(pair_hear(&peer) == 1, "the other process gave up");
	print(&j, j.test->measure(&l, &j));
	if (pair_end(&peer))
		return 1;
	link_close(&l);
	return 0;
}
