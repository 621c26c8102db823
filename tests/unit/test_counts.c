/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_counts.c - what a message costs, in counts: allocations, locks, system calls. Counts do not
 * depend on the machine or on who else runs, so they can be bars where times cannot.
 *
 * The bar: on the eager path of shm a message costs no system call. A worker also looks at its
 * descriptors now and then (one epoll_wait in 64 turns, so that a connection or a death is seen);
 * that belongs to the turn and not to the message. It is counted by the library itself (fd_polls in
 * weft_stats), so the test demands: system calls in all = looks, and looks <= turns / 64 + 1. One
 * call more among 100,000 messages fails it.
 */
#include <sys/mman.h>
#include <time.h>

#include "counting.h"

#define ROUNDS    100000u
#define OPEN_MAX_NS 5000000u

/* ---- messages ---- */

enum way { EXPECTED, UNEXPECTED, ACTIVE };

static size_t message_len;
static enum way message_way;

static void receive(weft_worker *w, void *into, size_t len)
{
	weft_buf b = wt_buf(into, len);
	weft_call c = { .size = sizeof(c) };
	weft_event e;
	int ret = weft_recv(w, &b, 1, 1, WT_EXACT, &c);

	wt_must(ret >= 0);
	while (ret == WEFT_PENDING && !weft_reap(w, &e, 1))
		;
}

/* Short: done when the call returns. */
static void send_one(weft_ep *ep, const void *from, size_t len)
{
	weft_buf b = wt_buf(from, len);
	weft_call c = { .size = sizeof(c) };

	wt_must(weft_send(ep, &b, 1, 1, &c) == WEFT_OK);
}

/* Long: done when the receiver has it. */
static void send_long(weft_worker *w, weft_ep *ep, const void *from, size_t len)
{
	weft_buf b = wt_buf(from, len);
	weft_call c = { .size = sizeof(c) };
	weft_event e;
	int ret = weft_send(ep, &b, 1, 1, &c);

	wt_must(ret >= 0);
	while (ret == WEFT_PENDING && !weft_reap(w, &e, 1))
		;
}

static void one_message(weft_worker *to, weft_ep *ep, void *out, void *in)
{
	weft_buf bo = wt_buf(out, message_len), bi = wt_buf(in, message_len);
	weft_call c = { .size = sizeof(c) };
	weft_event e;
	int ret;

	switch (message_way) {
	case EXPECTED:
		ret = weft_recv(to, &bi, 1, 1, WT_EXACT, &c);
		wt_must(ret == WEFT_PENDING);
		send_one(ep, out, message_len);
		while (!weft_reap(to, &e, 1))
			;
		break;
	case UNEXPECTED:
		send_one(ep, out, message_len);
		wt_must(weft_progress(to) >= 0);
		receive(to, in, message_len);
		break;
	case ACTIVE:
		wt_must(weft_am_send(ep, 1, "head", 4, &bo, 1, &c) == WEFT_OK);
		while (!weft_reap(to, &e, 1))
			;
		wt_must(weft_am_recv(to, &e, &bi, 1, &c) == WEFT_OK);
		weft_event_release(to, &e);
		break;
	}
}

/*
 * The connection that was made first, over tcp, is asked once whether its bytes have arrived (a
 * fourth of failure_detect later), and then left alone: that is a part of connecting.
 */
#define DETECT "400ms"
#define ASKED_MS 150

/* One process, one thread: no turn is in vain. */
static int both_in_one(int side)
{
	static char out[65536], in[65536];
	struct window win;
	struct wt_pair p;

	wt_pair_open_with(&p, 0, "failure_detect", DETECT);
	wt_pump_ms(ASKED_MS);
	for (int i = 0; i < 1000; i++)
		one_message(p.w[i & 1]->w, p.ep[!(i & 1)], out, in);
	window_open(&win, &counts[side], p.ctx);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_message(p.w[i & 1]->w, p.ep[!(i & 1)], out, in);
	window_shut(&win, ROUNDS);
	return 0;
}

static void check(const struct count *c, const char *what)
{
	printf("# %s, %zu bytes: %llu messages, %llu turns: %llu allocations, %llu locks, %llu system calls, %llu of "
	       "them the look at descriptors\n",
	       what, message_len, (unsigned long long)c->messages, (unsigned long long)c->turns,
	       (unsigned long long)c->allocs, (unsigned long long)c->locks, (unsigned long long)c->syscalls,
	       (unsigned long long)c->looks);
	if (c->syscalls != c->looks)
		print_error("the first other system call has number %llu\n", (unsigned long long)c->first_nr);
	assert_true(c->messages > 0);
	assert_int_equal(c->allocs, 0);
	assert_int_equal(c->locks, 0);
	assert_int_equal(c->syscalls, c->looks);
	assert_true(c->looks <= c->turns / 64 + 4); /* two workers, each with a beginning and an end */
}

static void a_message_over_shm_costs_nothing(void **state)
{
	static const char *const name[] = { "expected", "unexpected", "active" };
	static const size_t len[] = { 0, 8, 32, 33, 96, 97, 4096, 8188 };

	(void)state;
	NEEDS_TRACING();
	wt_choose("shm");
	for (message_way = EXPECTED; message_way <= ACTIVE; message_way++) {
		for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
			message_len = len[i];
			traced(both_in_one, 1);
			check(&counts[0], name[message_way]);
		}
	}
}

/* Two processes: side 0 listens. The URL and the start signal go through the shared page. */
static struct wt_w *meet(int side, weft_ctx **ctx, weft_ep **ep)
{
	struct wt_w *w = wt_worker(*ctx = wt_open("failure_detect", DETECT), 0);

	if (!side) {
		wt_listen(w, counts[0].url, sizeof(counts[0].url));
		atomic_store(&counts[0].ready, 1);
		*ep = wt_accept(w);
	} else {
		while (!atomic_load(&counts[0].ready))
			usleep(1000);
		*ep = wt_connect(w, counts[0].url);
	}
	wt_pump_ms(ASKED_MS);
	return w;
}

static void bounce(int side, weft_worker *w, weft_ep *ep, unsigned rounds, char *out, char *in)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (side)
			send_one(ep, out, message_len);
		receive(w, in, message_len);
		if (!side)
			send_one(ep, out, message_len);
	}
}

static int ping_pong(int side)
{
	static char out[65536], in[65536];
	struct window win;
	weft_ctx *ctx;
	weft_ep *ep;
	struct wt_w *w = meet(side, &ctx, &ep);

	bounce(side, w->w, ep, 1000, out, in);
	window_open(&win, &counts[side], ctx);
	bounce(side, w->w, ep, 20000, out, in);
	window_shut(&win, 40000);
	bounce(side, w->w, ep, 100, out, in); /* nobody ends while the other measures */
	return 0;
}

static void nor_between_two_processes(void **state)
{
	static const size_t len[] = { 8, 4096 };

	(void)state;
	NEEDS_TRACING();
	wt_choose("shm");
	for (size_t i = 0; i < 2; i++) {
		message_len = len[i];
		traced(ping_pong, 2);
		check(&counts[0], "there and back, listening process");
		check(&counts[1], "there and back, connecting process");
	}
}

/* ---- longer messages: what each class of size may cost ---- */

#define LONG_ROUNDS 200u

struct size_class {
	const char *variant;
	size_t len;
	unsigned copies;        /* calls of the kernel's copy for one message, both sides together */
	unsigned io;            /* calls that read or write a socket: for one message, both sides together, at most */
};

static const struct size_class *class;

static void bounce_long(int side, weft_worker *w, weft_ep *ep, unsigned rounds, char *out, char *in)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (side)
			send_long(w, ep, out, class->len);
		receive(w, in, class->len);
		if (!side)
			send_long(w, ep, out, class->len);
	}
}

static int ping_pong_long(int side)
{
	static char out[1u << 20], in[1u << 20];
	struct window win;
	weft_ctx *ctx;
	weft_ep *ep;
	struct wt_w *w = meet(side, &ctx, &ep);
	struct count *c = &counts[side];
	char how[2000];
	size_t len = sizeof(how);

	memset(out, side + 1, sizeof(out));
	bounce_long(side, w->w, ep, 20, out, in);
	c->extra[0] = stat_read(ctx, ep, "copy_bytes_here");
	c->extra[1] = stat_read(ctx, ep, "copy_bytes_peer");
	c->extra[2] = stat_read(ctx, ep, "bytes_sent") + stat_read(ctx, ep, "bytes_received");
	window_open(&win, c, ctx);
	bounce_long(side, w->w, ep, LONG_ROUNDS, out, in);
	window_shut(&win, 2 * LONG_ROUNDS);
	c->extra[0] = stat_read(ctx, ep, "copy_bytes_here") - c->extra[0];
	c->extra[1] = stat_read(ctx, ep, "copy_bytes_peer") - c->extra[1];
	c->extra[2] = stat_read(ctx, ep, "bytes_sent") + stat_read(ctx, ep, "bytes_received") - c->extra[2];
	bounce_long(side, w->w, ep, 20, out, in);
	for (size_t i = 0; i < class->len; i++)
		wt_must(in[i] == 2 - side);
	wt_must(weft_explain(ctx, ep, NULL, 0, how, &len) == WEFT_OK);
	c->extra[3] = strstr(how, "KiB, both processes copy") != NULL;
	return 0;
}

/*
 * Every byte is copied once by the kernel, by either side, or goes through the ring or the socket once: what came on top are headers.
 * The calls are those copies, or those of the socket, and no others.
 */
static void check_class(void)
{
	const struct count *a = &counts[0], *b = &counts[1];
	uint64_t messages = 2 * LONG_ROUNDS, payload = messages * class->len;
	uint64_t again = a->again + b->again, calls = a->syscalls - a->looks + b->syscalls - b->looks;
	uint64_t by_kernel = a->extra[0] + b->extra[0], through = a->extra[2] + b->extra[2];

	if (class->io) {                 /* a turn that looks at a socket in vain is no message's */
		assert_true(again <= a->turns + b->turns);
		calls -= again;
		assert_true(calls >= messages);
	}
	printf("# %s, %zu KiB: for each message %.2f system calls, copied by the kernel %.3f times, sent and received as bytes "
	       "%.3f times; %llu allocations, %llu locks\n",
	       class->variant, class->len >> 10, (double)calls / (double)messages, (double)by_kernel / (double)payload,
	       (double)through / (double)payload, (unsigned long long)(a->allocs + b->allocs),
	       (unsigned long long)(a->locks + b->locks));
	assert_int_equal(a->allocs + b->allocs, 0);
	assert_int_equal(a->locks + b->locks, 0);
	assert_int_equal(by_kernel, class->copies ? payload : 0);
	assert_true(through >= (class->copies ? 0 : 2 * payload));
	assert_true(through <= (class->copies ? 0 : 2 * payload) + payload / 100);
	assert_true(calls <= messages * (class->copies + class->io));
}

static void what_goes_as_bytes_has_its_price(void **state)
{
	static const struct size_class classes[] = {
		{ "shm", 32 << 10, 0, 0 },
		{ "shm-ring", 64 << 10, 0, 0 },
		{ "shm-ring", 1 << 20, 0, 0 },
		{ "tcp", 64 << 10, 0, 4 },
		{ "tcp", 1 << 20, 0, 32 },
	};

	(void)state;
	NEEDS_TRACING();
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		class = &classes[i];
		wt_choose(class->variant);
		traced(ping_pong_long, SIDES);
		check_class();
	}
}

static void what_both_processes_copy_has_its_price(void **state)
{
	static const struct size_class classes[] = { { "shm", 64 << 10, 2, 0 }, { "shm", 1 << 20, 2, 0 } };

	(void)state;
	NEEDS_TRACING();
	wt_choose("shm");
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		class = &classes[i];
		traced(ping_pong_long, SIDES);
		if (!counts[0].extra[3] || !counts[1].extra[3])
			wt_skip("this process may not read the memory of another");
		check_class();
	}
}

/* ---- instructions ---- */

/*
 * What one message of 8 bytes takes from posting its receive to reaping it, both sides and the test's own loop in one: the
 * tracer steps through it. The compiler has its part in the number, so it is held for one compiler. Whoever makes it
 * smaller writes the new one here; whoever makes it larger by more than the margin says in the commit what for.
 */
#define INSTRUCTIONS  811
#define MARGIN        (INSTRUCTIONS / 50)
#define STEPPED       128u /* messages: some whole rounds of what happens every 64th turn or 32nd slot */
#define COMPILER      "12.2.0"

static int step_through(int side)
{
	static char out[8], in[8];
	struct wt_pair p;

	wt_pair_open_with(&p, 0, "failure_detect", DETECT);
	wt_pump_ms(ASKED_MS);
	for (int i = 0; i < 1024; i++)
		one_message(p.w[i & 1]->w, p.ep[!(i & 1)], out, in);
	atomic_store(&counts[side].stepped, true);
	mark(true);
	for (unsigned i = 0; i < STEPPED; i++)
		one_message(p.w[i & 1]->w, p.ep[!(i & 1)], out, in);
	atomic_store(&counts[side].stepped, false);
	return 0;
}

/* The least of a few: what is due by the clock (descriptors, the TCP connection) comes more often where a busy host steps slowly. */
static uint64_t least_instructions(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 3 && least > INSTRUCTIONS + MARGIN; i++) {
		uint64_t each;

		traced(step_through, 1);
		each = counts[0].instructions / STEPPED;
		least = each < least ? each : least;
	}
	return least;
}

static void a_short_message_takes_so_many_instructions(void **state)
{
	uint64_t each;

	(void)state;
	NEEDS_TRACING();
	wt_choose("shm");
	message_way = EXPECTED;
	message_len = 8;
	each = least_instructions();
	printf("# a message of 8 bytes over shm, sent, received and reaped: %llu instructions\n", (unsigned long long)each);
#if !defined(__x86_64__) || !defined(__OPTIMIZE__)
	wt_skip("the number is held for x86-64 with optimisation");
#endif
	if (strcmp(__VERSION__, COMPILER))
		wt_skip("the number is held for gcc " COMPILER ", this is " __VERSION__);
	assert_in_range(each, INSTRUCTIONS - MARGIN, INSTRUCTIONS + MARGIN);
}

/* ---- tcp: small messages share a system call ---- */

#define BURST 1000u

static void burst(weft_worker *w, weft_ep *ep)
{
	uint64_t out = 0;
	weft_buf b = wt_buf(&out, 8);

	for (unsigned i = 0; i < BURST; i++) {
		weft_call c = { .size = sizeof(c), .flags = WEFT_COPY | WEFT_NO_EVENT };

		wt_must(weft_send(ep, &b, 1, 1, &c) >= 0);
	}
	weft_progress(w);
}

static uint64_t drain(struct wt_pair *p)
{
	uint64_t got = 0, in = 0;
	weft_buf b = wt_buf(&in, 8);

	for (int turns = 0; got < BURST && turns < 100000; turns++) {
		weft_call c = { .size = sizeof(c) };
		weft_message *m;

		weft_progress(p->w[0]->w);
		if (weft_probe(p->w[1]->w, 1, WT_EXACT, &c, &m) == WEFT_OK && weft_recv_message(m, &b, 1, &c) == WEFT_OK)
			got++;
	}
	return got;
}

static int many_small(int side)
{
	struct wt_pair p;
	struct window win;

	wt_pair_open(&p, 0);
	burst(p.w[0]->w, p.ep[0]);              /* the pools grow to the size of the burst, once */
	wt_must(drain(&p) == BURST);
	window_open(&win, &counts[side], p.ctx);
	burst(p.w[0]->w, p.ep[0]);
	window_shut(&win, BURST);
	return drain(&p) == BURST ? 0 : 1;
}

static void small_messages_over_tcp_share_system_calls(void **state)
{
	(void)state;
	NEEDS_TRACING();
	wt_choose("tcp");
	traced(many_small, 1);
	printf("# %u sends of 8 bytes over tcp: %llu system calls, %llu allocations, %llu locks\n", BURST,
	       (unsigned long long)counts[0].syscalls, (unsigned long long)counts[0].allocs,
	       (unsigned long long)counts[0].locks);
	assert_in_range(counts[0].syscalls, 1, BURST / 10);
	assert_int_equal(counts[0].allocs, 0);
	assert_int_equal(counts[0].locks, 0);
}

/* ---- shm, large: who copies ---- */

#define BIG (1u << 20)

static int large_ones(int side)
{
	static char bytes[BIG];
	struct count *c = &counts[side];
	weft_ctx *ctx;
	weft_ep *ep;
	struct wt_w *w = meet(side, &ctx, &ep);
	char how[2000];
	size_t len = sizeof(how);

	memset(bytes, side, sizeof(bytes));
	for (int i = 0; i < 500; i++) {
		weft_buf b = wt_buf(bytes, BIG);
		weft_call call = wt_call(0);
		int ret = side ? weft_send(ep, &b, 1, 1, &call) : weft_recv(w->w, &b, 1, 1, WT_EXACT, &call);

		wt_ok(w, wt_took(w, ret, &call));
		c->extra[0] = stat_read(ctx, ep, "copy_bytes_here");
		c->extra[1] = stat_read(ctx, ep, "copy_bytes_peer");
		c->extra[2] = stat_read(ctx, ep, "bytes_sent") + stat_read(ctx, ep, "bytes_received");
		c->messages++;
	}
	wt_must(weft_explain(ctx, ep, NULL, 0, how, &len) == WEFT_OK);
	c->extra[3] = strstr(how, "KiB, both processes copy") != NULL;
	return 0;
}

static void exchange_large(const char *variant)
{
	wt_choose(variant);
	start(large_ones, SIDES, false);
	for (int i = 0; i < SIDES; i++)
		assert_int_equal(wt_child_wait(&peers[i], 60000), 0);
	for (int i = 0; i < SIDES; i++)
		printf("# %s, %s: %llu messages of 1 MiB, copied here %llu MiB, by the peer %llu MiB, through the ring "
		       "%llu MiB\n",
		       variant, i ? "sender" : "receiver", (unsigned long long)counts[i].messages,
		       (unsigned long long)counts[i].extra[0] >> 20, (unsigned long long)counts[i].extra[1] >> 20,
		       (unsigned long long)counts[i].extra[2] >> 20);
}

static void both_processes_copy_a_large_message(void **state)
{
	(void)state;
	if (getenv("WEFT_TEST_EMULATED"))
		wt_skip("the emulator has no process_vm_readv");
	exchange_large("shm");
	if (!counts[0].extra[3] && !counts[1].extra[3])
		wt_skip("this process may not read the memory of another");
	for (int i = 0; i < SIDES; i++) {
		assert_true(counts[i].extra[0] > 0);
		assert_true(counts[i].extra[1] > 0);
		assert_int_equal(counts[i].extra[0] + counts[i].extra[1], counts[i].messages * BIG);
	}
}

static void without_rights_ring_memory_carries_it(void **state)
{
	(void)state;
	exchange_large("shm-ring");
	for (int i = 0; i < SIDES; i++) {
		assert_int_equal(counts[i].extra[0], 0);
		assert_true(counts[i].extra[2] >= counts[i].messages * BIG);
		assert_int_equal(counts[i].extra[3], 0);
	}
}

/* ---- opening ---- */

static int open_and_close(int side)
{
	weft_ctx *ctx;

	(void)side;
	wt_must(weft_open(NULL, &ctx) == WEFT_OK); /* what the C library makes once */
	wt_must(weft_close(ctx) == WEFT_OK);
	mark(true);
	wt_must(weft_open(NULL, &ctx) == WEFT_OK);
	mark(false);
	wt_must(weft_close(ctx) == WEFT_OK);
	return 0;
}

static void opening_is_cheap_and_leaves_nothing(void **state)
{
	uint64_t took, best = UINT64_MAX, worst = 0;
	int fds = wt_fd_count();
	weft_ctx *ctx;

	(void)state;
	for (int i = 0; i < 50; i++) {
		uint64_t start = wt_now_ns();

		assert_int_equal(weft_open(NULL, &ctx), WEFT_OK);
		took = wt_now_ns() - start;
		best = took < best ? took : best;
		worst = took > worst ? took : worst;
		assert_int_equal(wt_fd_count(), fds);
		assert_int_equal(weft_close(ctx), WEFT_OK);
	}
	assert_int_equal(wt_fd_count(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	printf("# weft_open: %.3f ms at best of 50, %.3f ms at worst\n", (double)best / 1e6, (double)worst / 1e6);
	assert_true(best < OPEN_MAX_NS);
	NEEDS_TRACING();
	traced(open_and_close, 1);
	printf("# weft_open: %llu system calls\n", (unsigned long long)counts[0].syscalls);
	assert_int_equal(counts[0].clones, 0);
	assert_int_equal(counts[0].creates, 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_over_shm_costs_nothing),
		cmocka_unit_test(nor_between_two_processes),
		cmocka_unit_test(what_goes_as_bytes_has_its_price),
		cmocka_unit_test(what_both_processes_copy_has_its_price),
		cmocka_unit_test(a_short_message_takes_so_many_instructions),
		cmocka_unit_test(small_messages_over_tcp_share_system_calls),
		cmocka_unit_test(both_processes_copy_a_large_message),
		cmocka_unit_test(without_rights_ring_memory_carries_it),
		cmocka_unit_test(opening_is_cheap_and_leaves_nothing),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	counts = mmap(NULL, SIDES * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		return 1;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
