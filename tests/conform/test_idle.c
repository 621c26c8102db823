/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_idle.c - ten thousand idle connections: what each costs in our own memory, and what they cost the one pair that
 * works. test_idle loop: all in this process. test_idle tcp: to another process, as many as the descriptors let.
 */
#include <malloc.h>
#include <sys/resource.h>

#include "conform/conform.h"

#define CONNECTIONS 10000
#define BYTES_MAX   4096
#define ROUNDS      3000
#define REPEATS     15
#define RATIO_MAX   1500   /* the bar is 1100, see the report; this is against a search through them all */
#define BATCH       250

/* Of the allocator, mapped blocks included. */
static size_t own_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Median of the nanoseconds of a short message there and back over the first connection of the pair. */
static uint64_t latency(struct wt_pair *p)
{
	static uint64_t took[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t in = 0, what = (uint64_t)i, start = wt_now_ns();
		weft_buf out = wt_buf(&what, 8), into = wt_buf(&in, 8);

		for (int way = 0; way < 2; way++) {
			weft_call s = { .size = sizeof(s), .flags = WEFT_NO_EVENT | WEFT_COPY }, r = s;
			weft_worker *w = p->w[!way]->w;

			r.flags = WEFT_BY_HANDLE;
			wt_must(weft_send(p->ep[way], &out, 1, 1, &s) >= 0);
			if (weft_recv(w, &into, 1, 1, WT_EXACT, &r) == WEFT_OK)
				continue;
			while (weft_test(w, r.op, &r.event) == WEFT_AGAIN)
				wt_must(weft_progress(p->w[way]->w) >= 0);
		}
		took[i] = wt_now_ns() - start;
	}
	qsort(took, ROUNDS, sizeof(took[0]), by_value);
	return took[ROUNDS / 2];
}

/* In turns, so that both see the same machine: the median of REPEATS ratios, in per mille. */
static uint64_t compare(struct wt_pair *beside, struct wt_pair *alone)
{
	uint64_t ratio[REPEATS], a = 0, b = 0;

	for (int i = 0; i < REPEATS; i++) {
		a = latency(alone);
		b = latency(beside);
		ratio[i] = b * 1000 / a;
	}
	qsort(ratio, REPEATS, sizeof(ratio[0]), by_value);
	printf("# there and back: %llu ns alone, %llu ns beside them; ratio of %d pairs of medians: %.3f, %.3f .. %.3f\n",
	       (unsigned long long)a, (unsigned long long)b, REPEATS, (double)ratio[REPEATS / 2] / 1e3,
	       (double)ratio[0] / 1e3, (double)ratio[REPEATS - 1] / 1e3);
	return ratio[REPEATS / 2];
}

static void end_pair(struct wt_pair *p)
{
	wt_worker_free(p->w[0]);
	wt_worker_free(p->w[1]);
	wt_close(p->ctx);
}

static void report(const char *where, size_t n, size_t sides, size_t bytes)
{
	printf("# %zu connections: %zu bytes for each endpoint %s\n", n, bytes / (n * sides), where);
}

static void ten_thousand_idle_connections_in_one_process_cost_little(void **state)
{
	struct wt_pair p, alone;
	weft_ep *more[2];
	size_t before;

	(void)state;
	wt_pair_open(&alone, 0);
	wt_pair_open(&p, 0);
	before = own_bytes();
	for (int i = 0; i < CONNECTIONS; i++)
		wt_pair_more(&p, more);
	report("on both sides", CONNECTIONS, 2, own_bytes() - before);
#ifndef __SANITIZE_ADDRESS__
	assert_true(own_bytes() - before < (size_t)CONNECTIONS * 2 * BYTES_MAX);
#endif
	assert_true(compare(&p, &alone) < RATIO_MAX);
	end_pair(&p);
	end_pair(&alone);
}

struct crowd {
	size_t n;
	char url[160];
};

static int crowd_peer(int sock, void *arg)
{
	struct wt_w *w = wt_worker(wt_open(NULL, NULL), 0);
	struct crowd crowd;
	weft_ep *ep;
	char end;

	(void)arg;
	wt_must(wt_hear(sock, &crowd, sizeof(crowd)));
	for (size_t i = 0; i < crowd.n; i += BATCH) { /* a crowd, not a flood: the kernel's queue is shorter */
		for (size_t k = i; k < i + BATCH && k < crowd.n; k++)
			wt_must(weft_connect(w->w, crowd.url, NULL, &ep) == WEFT_OK);
		for (size_t k = i; k < i + BATCH && k < crowd.n; k++)
			wt_wait(w, WEFT_EV_CONNECTED, UINT64_MAX, 30000);
	}
	wt_must(wt_say(sock, "c", 1));
	while (!wt_hear(sock, &end, 1))
		;
	return 0;
}

static void idle_connections_to_another_process_cost_little(void **state)
{
	struct crowd crowd = { 0 };
	struct wt_child child;
	struct rlimit limit;
	struct wt_pair p, alone;
	weft_event e;
	size_t before, n = 0;
	char done;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	crowd.n = limit.rlim_cur < CONNECTIONS + 200 ? limit.rlim_cur - 200 : CONNECTIONS;
	wt_child_start(&child, crowd_peer, NULL);
	wt_pair_open(&alone, 0);
	wt_pair_open(&p, 0);
	strcpy(crowd.url, p.url);
	before = own_bytes();
	wt_must(wt_say(child.sock, &crowd, sizeof(crowd)));
	while (n < crowd.n) {
		weft_ep *ep;

		e = wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
		wt_must(weft_accept(e.data, p.w[1]->w, NULL, &ep) == WEFT_OK);
		n++;
		while (wt_take(p.w[1], WEFT_EV_CONNECTED, UINT64_MAX, &e))
			;
	}
	wt_must(wt_hear(child.sock, &done, 1));
	while (wt_take(p.w[1], WEFT_EV_CONNECTED, UINT64_MAX, &e))
		;
	report("on the accepting side", n, 1, own_bytes() - before);
#ifndef __SANITIZE_ADDRESS__
	assert_true(own_bytes() - before < n * BYTES_MAX);
#endif
	assert_true(compare(&p, &alone) < RATIO_MAX);
	wt_child_kill(&child);
	end_pair(&p);
	end_pair(&alone);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest in_one[] = { WT_CASE(ten_thousand_idle_connections_in_one_process_cost_little) };
	const struct CMUnitTest in_two[] = { WT_CASE(idle_connections_to_another_process_cost_little) };

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		puts("loop\ntcp");
		return 0;
	}
	if (argc != 2 || !wt_choose(argv[1])) {
		fprintf(stderr, "usage: test_idle loop|tcp\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (wt_variant->processes)
		return cmocka_run_group_tests_name("idle", in_two, NULL, NULL);
	return cmocka_run_group_tests_name("idle", in_one, NULL, NULL);
}
