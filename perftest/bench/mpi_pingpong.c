/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mpi_pingpong.c - MPI_Send and MPI_Recv between two ranks, measured as the other programs here: MODE lat, half the round
 * trip; MODE rate, messages one way with a window of MPI_Isend and MPI_Irecv under way, as osu_mbw_mr does.
 *
 * Each rank pins itself before MPI_Init, by the rank that the launcher put into its environment.
 */
#include <mpi.h>

#include "pair.h"

#define WINDOW 256

enum { TAG_TELL, TAG_DATA };

struct ball {
	unsigned char *out, *in;
	size_t size;
};

static void tell(void *arg, uint64_t count)
{
	(void)arg;
	MPI_Send(&count, 1, MPI_UINT64_T, 1, TAG_TELL, MPI_COMM_WORLD);
}

static uint64_t hear(void)
{
	uint64_t count;

	MPI_Recv(&count, 1, MPI_UINT64_T, 0, TAG_TELL, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	return count;
}

FLATTEN void trip(void *arg)
{
	struct ball *b = arg;

	MPI_Send(b->out, (int)b->size, MPI_BYTE, 1, TAG_DATA, MPI_COMM_WORLD);
	MPI_Recv(b->in, (int)b->size, MPI_BYTE, 1, TAG_DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void echo(struct ball *b)
{
	uint64_t count;

	while ((count = hear()))
		while (count--) {
			MPI_Recv(b->in, (int)b->size, MPI_BYTE, 0, TAG_DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
			MPI_Send(b->out, (int)b->size, MPI_BYTE, 0, TAG_DATA, MPI_COMM_WORLD);
		}
	check(b->in, b->size, 1);
}

/* Windows of messages from rank 0 to rank 1; rank 1 answers when all are there. */
static void windows(struct ball *b, int me, uint64_t count)
{
	MPI_Request req[WINDOW];

	for (; count; count--) {
		for (int i = 0; i < WINDOW; i++)
			if (me)
				MPI_Irecv(b->in + (size_t)i * b->size, (int)b->size, MPI_BYTE, 0, TAG_DATA, MPI_COMM_WORLD, &req[i]);
			else
				MPI_Isend(b->out, (int)b->size, MPI_BYTE, 1, TAG_DATA, MPI_COMM_WORLD, &req[i]);
		MPI_Waitall(WINDOW, req, MPI_STATUSES_IGNORE);
	}
	if (me)
		MPI_Send(b->in, 0, MPI_BYTE, 0, TAG_TELL, MPI_COMM_WORLD);
	else
		MPI_Recv(b->out, 0, MPI_BYTE, 1, TAG_TELL, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void measure_rate(struct ball *b, double seconds)
{
	float *sample = malloc(SAMPLES_MAX * sizeof(*sample));
	uint64_t count = 1, start, t0, t1;
	double took = 0;
	unsigned n = 0;

	if (!sample)
		die("malloc");
	for (start = now_ns(); took < ROUND_NS / 2 && now_ns() - start < 1000000000u; count *= 2) {
		t0 = now_ns();
		tell(b, count);
		windows(b, 0, count);
		took = (double)(now_ns() - t0);
	}
	for (start = now_ns(); !n || (double)(now_ns() - start) < seconds * 1e9;) {
		t0 = now_ns();
		tell(b, count);
		windows(b, 0, count);
		t1 = now_ns();
		if (n < SAMPLES_MAX)
			sample[n++] = (float)(count * WINDOW) * 1000.0f / (float)(t1 - t0);
	}
	tell(b, 0);
	qsort(sample, n, sizeof(*sample), by_value);
	printf("{\"size\":%zu,\"rate_Mps\":%.4f,\"rounds\":%u,\"window\":%d}\n", b->size, sample[n / 2], n, WINDOW);
	free(sample);
}

static int rank_of_launcher(void)
{
	static const char *const name[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK" };

	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		if (getenv(name[i]))
			return atoi(getenv(name[i])) != 0;
	return 0;
}

int main(int argc, char **argv)
{
	struct pair_args a = pair_args(argc, argv);
	struct ball b = { .size = a.size };
	struct loop l = { .seconds = a.seconds, .size = a.size, .tell = tell, .to = &b, .trip = trip, .arg = &b };
	bool rate = !strcmp(a.mode, "rate");
	int me, ranks;

	pin(a.cpu[rank_of_launcher()]);
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &me);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (ranks != 2) {
		fprintf(stderr, "two ranks are wanted, not %d: was this started by the launcher of the same MPI?\n", ranks);
		return 1;
	}
	b.out = memory(a.size);
	b.in = memory(a.size * (rate ? WINDOW : 1));
	fill(b.out, a.size, me ? 2 : 1);
	if (rate && me) {
		uint64_t count;

		while ((count = hear()))
			windows(&b, 1, count);
		check(b.in, b.size, 1);
	} else if (rate) {
		measure_rate(&b, a.seconds);
	} else if (me) {
		echo(&b);
	} else {
		loop_run(&l);
		tell(&b, 0);
		check(b.in, b.size, 2);
	}
	MPI_Finalize();
	return 0;
}
