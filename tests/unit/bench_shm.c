/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_shm.c - the shm transport alone, between two processes on two CPUs, beside a bare cache line that goes to
 * and fro. Not a test and not built by make; link it like one: gcc -O2 -Isrc -Iinclude tests/unit/bench_shm.c
 * libweft.a
 */
#include "shm_mini.h"

#include <sys/mman.h>
#include <sys/socket.h>

#define ROUNDS 1000
#define TRIES 400                        /* short ones, of which the best count: others may be using the CPUs */
#define STREAM 500000

static double now_s(void)
{
	return (double)wf_now_ns() * 1e-9;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static uint64_t got;

static int count_frame(struct link *k, const struct wf_frame *h, const void *payload)
{
	(void)k;
	(void)h;
	(void)payload;
	got++;
	return 0;
}

static void spin_until(struct node *n, uint64_t want)
{
	while (got < want)
		wf_shm.poll(&n->port.base);
}

static void bare(_Atomic uint64_t *line, int side, uint64_t first)
{
	for (uint64_t i = first; i < first + ROUNDS; i++) {
		if (side == 0) {
			atomic_store_explicit(line, i + 1, memory_order_release);
			while (atomic_load_explicit(line + 16, memory_order_acquire) != i + 1)
				;
		} else {
			while (atomic_load_explicit(line, memory_order_acquire) != i + 1)
				;
			atomic_store_explicit(line + 16, i + 1, memory_order_release);
		}
	}
}

static double pingpong(struct node *n, struct link *k, int side, size_t len, int rounds)
{
	static uint8_t buf[65536];
	double t = now_s();

	got = 0;
	for (int i = 0; i < rounds; i++) {
		if (side == 0) {
			link_send(k, WF_FR_EAGER, 1, buf, len);
			spin_until(n, (uint64_t)i + 1);
		} else {
			spin_until(n, (uint64_t)i + 1);
			link_send(k, WF_FR_EAGER, 1, buf, len);
		}
	}
	return (now_s() - t) / rounds / 2;
}

static double stream(struct node *n, struct link *k, int side, size_t len, int count)
{
	static uint8_t buf[65536];
	double t = now_s();

	got = 0;
	for (int i = 0; side == 0 && i < count;) {
		if (link_send(k, WF_FR_EAGER, 1, buf, len) == WEFT_OK)
			i++;
		else
			wf_shm.poll(&n->port.base);
	}
	if (side == 0) {
		spin_until(n, 1);
	} else {
		spin_until(n, (uint64_t)count);
		link_send(k, WF_FR_EAGER, 1, buf, 1);
	}
	return (now_s() - t) / count;
}

static struct wf_copy copy;
static bool copied, announced;

static void on_copied(struct wf_copy *c, int32_t status)
{
	(void)c;
	assert(status == 0);
	copied = true;
}

static int on_announce(struct link *k, const struct wf_frame *h, const void *payload)
{
	(void)k;
	if (h->type == WF_FR_RTS) {
		memcpy(copy.desc, payload, h->len);
		copy.desc_len = h->len;
	}
	announced = true;
	return 0;
}

/* One large message after the other, one way; seconds for each. */
static double large(struct node *n, struct link *k, int side, size_t len, int count)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	weft_buf buf = { .addr = mem, .len = len };
	double t = now_s();

	k->on_frame = on_announce;
	mini_copy_done = on_copied;
	for (int i = 0; i < count; i++) {
		announced = copied = false;
		copy = (struct wf_copy){ .lane = &k->lane.base, .bufs = &buf, .n = 1, .len = len, .sender = !side };
		if (side == 0) {
			assert(!wf_shm.copy_offer(&k->lane.base, &copy, NULL));
			while (link_send(k, WF_FR_RTS, 0, copy.desc, copy.desc_len) == WEFT_AGAIN)
				;
			while (!announced)
				wf_shm.poll(&n->port.base);
			wf_shm.copy_end(&k->lane.base, &copy);
		} else {
			while (!announced)
				wf_shm.poll(&n->port.base);
			assert(!wf_shm.copy_start(&k->lane.base, &copy, NULL));
			while (!copied)
				wf_shm.poll(&n->port.base);
			link_send(k, WF_FR_FIN, 0, NULL, 0);
		}
	}
	t = (now_s() - t) / count;
	munmap(mem, len);
	k->on_frame = count_frame;
	return t;
}

static void run(int side, int fd, _Atomic uint64_t *line)
{
	static const size_t sizes[] = { 64u << 10, 256u << 10, 1u << 20, 4u << 20, 16u << 20 };
	struct node n;
	struct link *k;
	double t = 1, b = 1;

	pin(side);
	node_open(&n, NULL);
	k = link_over(&n, fd, side == 0);
	assert(k->up);
	k->on_frame = count_frame;
	for (int i = 0; i < TRIES; i++) {
		double start = now_s();

		bare(line, side, (uint64_t)i * ROUNDS);
		b = WF_MIN(b, (now_s() - start) / ROUNDS / 2);
		start = pingpong(&n, k, side, 8, ROUNDS);
		t = WF_MIN(t, start);
	}
	if (side == 0)
		printf("bare line %.1f ns, 8 B one way %.1f ns, ratio %.2f\n", b * 1e9, t * 1e9, t / b);
	for (size_t len = 0; len <= 4096; len = len ? len * 2 : 8) {
		t = b = 1;
		for (int i = 0; i < TRIES / 20; i++) {
			double one = pingpong(&n, k, side, len, ROUNDS);

			t = WF_MIN(t, one);
			one = stream(&n, k, side, len, STREAM);
			b = WF_MIN(b, one);
		}
		if (side == 0)
			printf("%6zu B: %.1f ns one way, %.2f M/s\n", len, t * 1e9, 1e-6 / b);
	}
	for (size_t i = 0; i < WF_ARRAY_LEN(sizes); i++) {
		t = 1;
		for (int j = 0; j < TRIES / 10; j++) {
			b = large(&n, k, side, sizes[i], 5);
			t = WF_MIN(t, b);
		}
		if (side == 0)
			printf("%6zu KiB: %.1f us, %.2f GB/s, peer copied %.0f %%\n", sizes[i] >> 10, t * 1e6,
			       (double)sizes[i] / t * 1e-9, 100.0 * (double)k->lane.base.copy_peer /
			       (double)(k->lane.base.copy_peer + k->lane.base.copy_us));
	}
	link_free(k);
	node_close(&n);
}

int main(void)
{
	_Atomic uint64_t *line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fds[2];

	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
	if (!fork()) {
		run(1, fds[1], line);
		_exit(0);
	}
	run(0, fds[0], line);
	wait(NULL);
	return 0;
}
