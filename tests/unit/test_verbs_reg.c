/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_reg.c - registrations, over devices in software (tests/fake/ibverbs): what is kept and how much, what a key is good for, in
 * which order bytes may come, what a child gets; memory that comes and goes at one address.
 */
#include "unit/verbs_inside.h"

#include <sys/mman.h>

#include "os/mem.h"

enum { LEN = 1 << 20 };

static struct wt_posted send_of(struct wt_pair *p, void *addr, size_t len, weft_mem *m)
{
	weft_buf b = { .addr = addr, .len = len, .mem = m };
	weft_call c = wt_call(0);

	return wt_took(p->w[0], weft_send(p->ep[0], &b, 1, 7, &c), &c);
}

static void flush(struct wt_pair *p)
{
	weft_call c = wt_call(0);

	wt_ok(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c), &c));
}

/* ---- kept ---- */

/* However many regions a program has, the longest unused goes first; one that went is registered anew when it is used again. */
static void kept_registrations_are_bounded_in_number(void **state)
{
	enum { MOST = 4096, N = MOST + 50, EACH = 9000 };
	static weft_mem *m[N];
	unsigned char *all = calloc(N, EACH), in[EACH];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < N + 1; i++) {
		unsigned at = i % N;
		weft_buf b = wt_buf(all + at * EACH, EACH);
		struct wt_posted r = wt_recv(&p, 1, in, EACH, 7, WT_EXACT);

		if (i < N)
			assert_int_equal(weft_mem_register(p.ctx, &b, WEFT_READ, &m[at]), WEFT_OK);
		wt_fill(b.addr, EACH, i);
		wt_ok(p.w[0], send_of(&p, b.addr, EACH, m[at]));
		wt_ok(p.w[1], r);
		wt_assert_data(in, EACH, i);
		assert_int_equal(wf_map_count(&dev_of(p.ep[0])->mrs), WF_MIN(i + 1, (unsigned)MOST));
	}
	assert_null(wf_map_find(&dev_of(p.ep[0])->mrs, m[1]->region.id));
	assert_non_null(wf_map_find(&dev_of(p.ep[0])->mrs, m[0]->region.id));
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); dev_of(p.ep[0])->registered && wt_now_ns() < limit;)
		wt_pump();
	assert_int_equal(dev_of(p.ep[0])->registered, 0);
	wt_pair_close(&p);
	free(all);
}

/* Of regions that are used at the same time only as many are kept afterwards as the bound allows. */
static void what_was_used_together_is_not_kept_beyond_the_bound(void **state)
{
	enum { N = 8, EACH = 512 << 10 };
	unsigned char *in = malloc(EACH);
	struct wt_posted s[N];
	struct wt_pair p;
	weft_mem *m[N];

	(void)state;
	wt_pair_open_with(&p, 0, "limit_registered", "1M");
	for (int i = 0; i < N; i++) {
		assert_int_equal(weft_mem_alloc(p.ctx, EACH, WEFT_HOST, -1, &m[i]), WEFT_OK);
		s[i] = send_of(&p, weft_mem_addr(m[i], NULL), EACH, m[i]);
	}
	assert_int_equal(dev_of(p.ep[0])->registered, N * EACH);
	for (int i = 0; i < N; i++) {
		wt_ok(p.w[1], wt_recv(&p, 1, in, EACH, 7, WT_EXACT));
		wt_ok(p.w[0], s[i]);
	}
	assert_int_equal(dev_of(p.ep[0])->registered, 1 << 20);
	assert_non_null(wf_map_find(&dev_of(p.ep[0])->mrs, m[N - 1]->region.id));
	assert_null(wf_map_find(&dev_of(p.ep[0])->mrs, m[0]->region.id));
	for (int i = 0; i < N; i++)
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	wt_pair_close(&p);
	free(in);
}

/* What is in use for long, as memory that is granted, may be more than the bound: what messages are sent from is kept beside it. */
static void what_is_in_use_drives_nothing_out(void **state)
{
	enum { EACH = 512 << 10, GRANTED = 4 << 20 };
	unsigned char *in = malloc(EACH);
	struct verbs_mr *kept = NULL;
	struct verbs_dev *d;
	struct wt_pair p;
	struct wt_mem g;
	weft_buf b;
	weft_mem *m;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_registered", "1M");
	d = dev_of(p.ep[1]);
	wt_mem_open(&p, &g, GRANTED, WEFT_READ, false);
	flush(&p);
	assert_int_equal(d->registered, GRANTED);
	assert_int_equal(weft_mem_alloc(p.ctx, EACH, WEFT_HOST, -1, &m), WEFT_OK);
	b = (weft_buf){ .addr = weft_mem_addr(m, NULL), .len = EACH, .mem = m };
	for (int i = 0; i < 3; i++) {
		weft_call c = wt_call(0);
		struct wt_posted s = wt_took(p.w[1], weft_send(p.ep[1], &b, 1, 8, &c), &c);

		wt_ok(p.w[0], wt_recv(&p, 0, in, EACH, 8, WT_EXACT));
		wt_ok(p.w[1], s);
		assert_int_equal(d->registered, GRANTED + EACH);
		kept = kept ? kept : wf_map_find(&d->mrs, m->region.id);
		assert_ptr_equal(kept, wf_map_find(&d->mrs, m->region.id));
	}
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_mem_close(&p, &g);
	wt_pair_close(&p);
	free(in);
}

/* Of memory that weft does not know nothing is kept: it may be unmapped, and other pages may come to its place. */
static void plain_memory_may_come_and_go_at_its_address(void **state)
{
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
	unsigned char *at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, anon, -1, 0), *in = malloc(LEN);
	struct wt_pair p;

	(void)state;
	assert_ptr_not_equal(at, MAP_FAILED);
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < 20; i++) {
		struct wt_posted r = wt_recv(&p, 1, in, LEN, 7, WT_EXACT);
		weft_call c[2] = { wt_call(0), wt_call(0) };
		weft_buf b = wt_buf(at, LEN);

		wt_fill(at, LEN, i);
		wt_ok(p.w[0], send_of(&p, at, LEN, NULL));
		wt_ok(p.w[1], r);
		wt_assert_data(in, LEN, i);
		/* and where the adapter writes */
		assert_int_equal(mmap(at, LEN, PROT_READ | PROT_WRITE, anon | MAP_FIXED, -1, 0) == at, 1);
		r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 7, WT_EXACT, &c[1]), &c[1]);
		wt_ok(p.w[0], send_of(&p, in, LEN, NULL));
		wt_ok(p.w[1], r);
		wt_assert_data(at, LEN, i);
		assert_int_equal(dev_of(p.ep[0])->registered + dev_of(p.ep[1])->registered, 0);
		munmap(at, LEN);
		assert_ptr_equal(mmap(at, LEN, PROT_READ | PROT_WRITE, anon | MAP_FIXED, -1, 0), at);
	}
	munmap(at, LEN);
	wt_pair_close(&p);
	free(in);
}

/* Who frees a region while messages from it are under way hears so; they come, and when it is free nothing of it is left. */
static void a_region_is_not_freed_under_traffic(void **state)
{
	enum { N = 8 };
	unsigned char *out = malloc(LEN), *in = malloc(N * LEN);
	struct wt_pair p;

	(void)state;
	for (int lazy = 0; lazy < 2; lazy++) {
		struct wt_posted s[N], r[N];
		weft_buf b = wt_buf(out, LEN);
		weft_mem *m;

		fault(lazy ? "lazy" : NULL);
		wt_pair_open(&p, 0);
		assert_int_equal(weft_mem_register(p.ctx, &b, WEFT_READ, &m), WEFT_OK);
		wt_fill(out, LEN, 3);
		for (unsigned i = 0; i < N; i++) {
			s[i] = send_of(&p, out, LEN, m);
			r[i] = wt_recv(&p, 1, in + i * LEN, LEN, 7, WT_EXACT);
		}
		assert_int_equal(weft_mem_free(m), WEFT_EBUSY);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); weft_mem_free(m) == WEFT_EBUSY; wt_pump())
			assert_true(wt_now_ns() < limit);
		for (unsigned i = 0; i < N; i++) {
			wt_ok(p.w[1], r[i]);
			wt_ok(p.w[0], s[i]);
			wt_assert_data(in + i * LEN, LEN, 3);
		}
		wt_pump_ms(5);
		assert_int_equal(wf_map_count(&dev_of(p.ep[0])->mrs), 0);
		assert_int_equal(dev_of(p.ep[0])->registered, 0);
		wt_pair_close(&p);
	}
	fault(NULL);
	free(out);
	free(in);
}

/* ---- order ---- */

/*
 * Where the adapter makes use of relaxed ordering, bytes that it brings are there with the completion and not before; memory that peers
 * write is not given to it so, which the device would complain about.
 */
static void bytes_may_come_in_any_order_before_the_completion(void **state)
{
	unsigned char *buf = malloc(LEN), *back = malloc(LEN);
	weft_buf b = wt_buf(buf, LEN), r = wt_buf(back, LEN);
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	setenv("WEFT_TEST_IBV_RELAXED", "1", 1);
	for (int lazy = 0; lazy < 2; lazy++) {
		fault(lazy ? "lazy" : NULL);
		wt_pair_open(&p, 0);
		wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, true);
		for (unsigned i = 0; i < 10; i++) {
			weft_call c[2] = { wt_call(0), wt_call(0) };

			wt_exchange(&p, (int)(i & 1), i & 2 ? 9000 : 4 << 20, i);
			wt_fill(buf, LEN, i);
			wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c[0]), &c[0]));
			flush(&p);
			wt_assert_data(m.addr, LEN, i);
			memset(back, 0, LEN);
			wt_ok(p.w[0], wt_took(p.w[0], weft_get(p.ep[0], &r, 1, m.remote, 0, &c[1]), &c[1]));
			wt_assert_data(back, LEN, i);
		}
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
	fault(NULL);
	unsetenv("WEFT_TEST_IBV_RELAXED");
	free(buf);
	free(back);
}

/* ---- fork ---- */

/* On a kernel where a child would get the pages that the adapter reads and writes, the library is asked to see to that, before all. */
static void a_child_gets_none_of_the_adapters_pages(void **state)
{
	struct wt_pair p;

	(void)state;
	assert_int_equal(v->is_fork_initialized(), IBV_FORK_UNNEEDED);
	setenv("WEFT_TEST_IBV_FORK", "1", 1);
	assert_int_equal(v->is_fork_initialized(), IBV_FORK_DISABLED);
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 4 << 20, 1);
	assert_int_equal(v->is_fork_initialized(), IBV_FORK_ENABLED);
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_FORK");
}

/* ---- what a key is good for ---- */

/* An opener that lies to its own side of the library: a put by hand, with a key that it was given. */
static void put_by_hand(weft_ep *ep, uint64_t to, uint32_t key, uint32_t len)
{
	static uint64_t word = 0x6261642062616421;
	struct verbs_buf *b = verbs_send_buf(dev_of(ep), true);
	struct ibv_sge sge = { .addr = (uintptr_t)b->bytes, .length = len, .lkey = b->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED };

	memcpy(b->bytes, &word, sizeof(word));
	wr.wr.rdma.remote_addr = to;
	wr.wr.rdma.rkey = key;
	assert_true(verbs_post(lane_of(ep)->rail[0], &wr, VERBS_WR_NONE, NULL));
	verbs_send_buf_put(dev_of(ep), b);
}

/* Bytes beside what was granted, a key that was made up, one of a grant that was taken back: the adapter refuses, and the lane breaks. */
static void a_key_is_good_for_what_was_granted(void **state)
{
	enum { BEFORE, BEYOND, MADE_UP, READ_ONLY, REVOKED, WHAT };

	(void)state;
	for (int what = 0; what < WHAT; what++) {
		unsigned char token[64], zeros[4096] = { 0 };
		weft_call c = wt_call(0);
		size_t token_len = sizeof(token);
		weft_remote *remote;
		uint64_t addr;
		uint32_t key;
		weft_grant grant;
		struct wt_pair p;
		weft_mem *m;

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		assert_int_equal(weft_mem_alloc(p.ctx, sizeof(zeros), WEFT_HOST, -1, &m), WEFT_OK);
		wt_must(weft_grant_new(m, 1024, 1024, what == READ_ONLY ? WEFT_READ : WEFT_READ | WEFT_WRITE, NULL, token, &token_len, &grant) == WEFT_OK);
		wt_must(weft_remote_open(p.ep[0], token, token_len, &remote) == WEFT_OK);
		flush(&p);
		assert_true(remote->has_direct);
		memcpy(&addr, remote->direct.desc, sizeof(addr));
		memcpy(&key, (const char *)remote->direct.desc + 16, sizeof(key));   /* struct grant_desc of verbs_rma.c */
		assert_ptr_equal((void *)(uintptr_t)addr, (char *)weft_mem_addr(m, NULL) + 1024);
		if (what == REVOKED)
			wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m, grant, &c), &c));
		put_by_hand(p.ep[0], what == BEFORE ? addr - 8 : what == BEYOND ? addr + 1020 : addr, what == MADE_UP ? key + 1 : key, 8);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !p.ep[0]->n_breaks && wt_now_ns() < limit;)
			wt_pump();
		assert_non_null(strstr(explained(p.ctx, p.ep[0]), "the peer's memory was not open for this access (any more)"));
		assert_memory_equal(weft_mem_addr(m, NULL), zeros, sizeof(zeros));
		wt_exchange(&p, 0, 100000, 1);
		weft_remote_close(remote);
		if (what != REVOKED)
			wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m, grant, &c), &c));
		assert_int_equal(weft_mem_free(m), WEFT_OK);
		wt_pair_close(&p);
	}
}

/* ---- pages ---- */

/* Whether the kernel was asked for huge pages for what lies at @at; -1: it does not say. */
static int is_advised(const void *at)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	int found = -1;
	bool in = false;

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			in = (uintptr_t)at >= from && (uintptr_t)at < to;
		else if (in && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, " hg") != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

/* An adapter has fewer pages to know where buffers lie in huge ones. */
static void buffers_lie_in_huge_pages_where_there_are(void **state)
{
	void *probe = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = !madvise(probe, 4 << 20, MADV_HUGEPAGE) && is_advised(probe) == 1;
	struct wt_pair p;
	size_t large = 0;

	(void)state;
	munmap(probe, 4 << 20);
	if (!can)
		wt_skip("the kernel knows no huge pages, or does not say");
	wt_pair_open(&p, 0);
	for (const struct verbs_block *b = dev_of(p.ep[0])->blocks; b; b = b->next) {
		assert_int_equal(is_advised(b->map), b->len >= 2 << 20);
		large += b->len >= 2 << 20;
	}
	assert_true(large > 0);
	wt_pair_close(&p);
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, wt_teardown)
		CASE(kept_registrations_are_bounded_in_number),
		CASE(what_was_used_together_is_not_kept_beyond_the_bound),
		CASE(what_is_in_use_drives_nothing_out),
		CASE(plain_memory_may_come_and_go_at_its_address),
		CASE(a_region_is_not_freed_under_traffic),
		CASE(bytes_may_come_in_any_order_before_the_completion),
		CASE(a_child_gets_none_of_the_adapters_pages),
		CASE(a_key_is_good_for_what_was_granted),
		CASE(buffers_lie_in_huge_pages_where_there_are),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
