/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_rma.c - one-sided: puts, gets, signals, atomics, and what fence and flush promise of them.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "conform/conform.h"

#define ALL (WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)

static struct wt_posted put(struct wt_pair *p, struct wt_mem *m, const void *buf, size_t len, uint64_t at, uint32_t flags)
{
	weft_call c = wt_call(flags);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[0], weft_put(p->ep[0], &b, 1, m->remote, at, &c), &c);
}

static struct wt_posted get(struct wt_pair *p, struct wt_mem *m, void *buf, size_t len, uint64_t at)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[0], weft_get(p->ep[0], &b, 1, m->remote, at, &c), &c);
}

static void flush(struct wt_pair *p)
{
	weft_call c = wt_call(0);

	wt_ok(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c), &c));
}

static void puts_and_gets(bool allocated)
{
	size_t max = wt_borders[wt_n_borders - 1] + 4096;
	unsigned char *out = malloc(max), *in = malloc(max);
	struct wt_pair p;
	struct wt_mem m;
	uint64_t seed = 1;

	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, max, ALL, allocated);
	for (size_t i = 0; i < wt_n_borders; i++) {
		for (int d = -1; d <= 1; d++, seed++) {
			size_t len = wt_borders[i] + d;

			wt_fill(out, len, seed);
			memset(in, 0, len);
			memset(m.addr, 0x11, 17);
			m.addr[17 + len] = 0x22;
			wt_ok(p.w[0], put(&p, &m, out, len, 17, 0));
			flush(&p);
			wt_assert_data(m.addr + 17, len, seed);
			assert_int_equal(m.addr[16], 0x11);
			assert_int_equal(m.addr[17 + len], 0x22);
			wt_ok(p.w[0], get(&p, &m, in, len, 17));
			wt_assert_data(in, len, seed);
		}
	}
	wt_ok(p.w[0], put(&p, &m, out, 0, 5, 0));
	wt_ok(p.w[0], get(&p, &m, in, 0, max));
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void puts_and_gets_reach_registered_memory(void **state)
{
	(void)state;
	puts_and_gets(false);
}

static void puts_and_gets_reach_allocated_memory(void **state)
{
	(void)state;
	puts_and_gets(true);
}

static void allocated_memory_carries_messages(void **state)
{
	size_t len = 6 << 20;
	weft_mem *m[2];
	unsigned char *at[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 2; i++) {
		size_t have = 0;

		assert_int_equal(weft_mem_alloc(p.ctx, len, WEFT_HOST, 0, &m[i]), WEFT_OK);
		at[i] = weft_mem_addr(m[i], &have);
		assert_non_null(at[i]);
		assert_true(have >= len);
		assert_int_equal(at[i][0] | at[i][len - 1], 0);
	}
	for (int mode = 1; mode < 4; mode++) { /* from it, into it, both */
		for (size_t k = 100; k <= len; k = k * 20 > len && k < len ? len : k * 20) {
			unsigned char *plain = malloc(k);
			weft_buf s = wt_buf(mode & 1 ? at[0] : plain, k), r = wt_buf(mode & 2 ? at[1] : plain, k);
			weft_call cs = wt_call(0), cr = wt_call(0);
			struct wt_posted ps, pr;

			s.mem = mode & 1 ? m[0] : NULL;
			r.mem = mode & 2 ? m[1] : NULL;
			wt_fill(s.addr, k, k + mode);
			pr = wt_took(p.w[1], weft_recv(p.w[1]->w, &r, 1, 1, WT_EXACT, &cr), &cr);
			ps = wt_took(p.w[0], weft_send(p.ep[0], &s, 1, 1, &cs), &cs);
			wt_ok(p.w[0], ps);
			wt_ok(p.w[1], pr);
			wt_assert_data(r.addr, k, k + mode);
			free(plain);
		}
	}
	assert_int_equal(weft_mem_free(m[0]), WEFT_OK);
	assert_int_equal(weft_mem_free(m[1]), WEFT_OK);
	wt_pair_close(&p);
}

static void registered_memory_carries_messages(void **state)
{
	size_t len = 3 << 20;
	unsigned char *out = malloc(len), *in = malloc(len);
	weft_buf b[2] = { wt_buf(out, len), wt_buf(in, len) };
	weft_mem *m[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(weft_mem_register(p.ctx, &b[i], WEFT_READ, &m[i]), WEFT_OK);
		assert_ptr_equal(weft_mem_addr(m[i], NULL), b[i].addr);
		b[i].mem = m[i];
	}
	for (size_t k = 1; k <= len; k = k * 30 > len && k < len ? len : k * 30) {
		weft_call cs = wt_call(0), cr = wt_call(0);
		struct wt_posted ps, pr;

		b[0].len = b[1].len = k;
		wt_fill(out, k, k);
		pr = wt_took(p.w[1], weft_recv(p.w[1]->w, &b[1], 1, 1, WT_EXACT, &cr), &cr);
		ps = wt_took(p.w[0], weft_send(p.ep[0], &b[0], 1, 1, &cs), &cs);
		wt_ok(p.w[0], ps);
		wt_ok(p.w[1], pr);
		wt_assert_data(in, k, k);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void pieces_are_gathered_and_scattered(void **state)
{
	enum { N = 40 };
	static unsigned char out[N * 1000], in[N * 1000];
	weft_buf b[N], d[N];
	struct wt_pair p;
	struct wt_mem m;
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_mem_open(&p, &m, sizeof(out), ALL, allocated);
		wt_fill(out, sizeof(out), 1);
		for (size_t i = 0; i < N; i++) {
			b[i] = wt_buf(out + i * 1000, i == 5 ? 0 : i == 6 ? 1000 : 1000);
			d[i] = wt_buf(in + i * 1000, 1000);
		}
		b[4].len = 2000;
		b[5].addr = NULL;
		c = wt_call(0);
		wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], b, N, m.remote, 0, &c), &c));
		flush(&p);
		c = wt_call(0);
		memset(in, 0, sizeof(in));
		wt_ok(p.w[0], wt_took(p.w[0], weft_get(p.ep[0], d, N, m.remote, 0, &c), &c));
		wt_assert_data(in, sizeof(in), 1);
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static void signals_are_summed_and_come_after_their_puts(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	uint64_t sum = 0, limit;
	unsigned char out[5000];

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_mem_open(&p, &m, sizeof(out), ALL, allocated);
		sum = 0;
		limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
		for (uint64_t i = 1; i <= 20; i++) {
			weft_buf b = wt_buf(out, sizeof(out));
			weft_call c = wt_call(WEFT_NO_EVENT | WEFT_COPY);

			wt_fill(out, sizeof(out), i);
			assert_true(weft_put_signal(p.ep[0], &b, 1, m.remote, 0, i, &c) >= 0);
		}
		while (sum < 210) {
			weft_event e;

			wt_pump();
			assert_true(wt_now_ns() < limit);
			if (!wt_take(p.w[1], WEFT_EV_SIGNAL, UINT64_MAX, &e))
				continue;
			assert_int_equal(e.tag, m.grant.v);
			assert_true(e.value > 0);
			sum += e.value; /* of those since the last event: several may be told at once */
		}
		assert_int_equal(sum, 210);
		wt_assert_data(m.addr, sizeof(out), 20);
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static uint64_t atomic(struct wt_pair *p, struct wt_mem *m, uint32_t what, uint64_t at, uint64_t operand, uint64_t compare)
{
	weft_call c = wt_call(0);

	return wt_ok(p->w[0], wt_took(p->w[0], weft_atomic(p->ep[0], what, m->remote, at, operand, compare, &c), &c)).value;
}

static void every_atomic_returns_the_old_value(void **state)
{
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		volatile uint64_t *wide;
		volatile uint32_t *narrow;

		wt_mem_open(&p, &m, 4096, ALL, allocated);
		wide = (volatile uint64_t *)(void *)m.addr;
		narrow = (volatile uint32_t *)(void *)(m.addr + 64);
		wide[1] = 0xf0f0f0f0f0;
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_ADD, 8, 0x0f, 0), 0xf0f0f0f0f0);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_AND, 8, 0xff00ff00ff, 0), 0xf0f0f0f0ff);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_OR, 8, 0xff, 0), 0xf000f000ff);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_XOR, 8, 0xff, 0), 0xf000f000ff);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_SWAP, 8, 77, 0), 0xf000f00000);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_CAS, 8, 99, 78), 77);
		assert_int_equal(wide[1], 77);
		assert_int_equal(atomic(&p, &m, WEFT_ATOMIC_CAS, 8, 99, 77), 77);
		assert_int_equal(wide[1], 99);
		narrow[0] = 0xfffffff0;
		narrow[1] = 5;
#define NARROW(op) (WEFT_ATOMIC_##op | WEFT_ATOMIC_32BIT)
		assert_int_equal(atomic(&p, &m, NARROW(ADD), 64, 0x11, 0), 0xfffffff0);
		assert_int_equal(narrow[0], 1);
		assert_int_equal(narrow[1], 5); /* no carry into the neighbour */
		assert_int_equal(atomic(&p, &m, NARROW(OR), 68, 0xf0, 0), 5);
		assert_int_equal(atomic(&p, &m, NARROW(AND), 68, 0xf4, 0), 0xf5);
		assert_int_equal(atomic(&p, &m, NARROW(XOR), 68, 0x4, 0), 0xf4);
		assert_int_equal(atomic(&p, &m, NARROW(SWAP), 68, 3, 0), 0xf0);
		assert_int_equal(atomic(&p, &m, NARROW(CAS), 68, 9, 3), 3);
		assert_int_equal(narrow[1], 9);
#undef NARROW
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static void bad_atomics_are_refused(void **state)
{
	weft_call c = wt_call(0);
	struct wt_pair p;
	struct wt_mem m;
	weft_event e;
	int ret;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, 64, ALL, false);
	ret = weft_atomic(p.ep[0], WEFT_ATOMIC_ADD, m.remote, 3, 1, 0, &c); /* not aligned */
	e = wt_done(p.w[0], wt_took(p.w[0], ret, &c));
	assert_int_equal(e.status, WEFT_EINVAL);
	wt_says(&e, "aligned");
	c = wt_call(0);
	ret = weft_atomic(p.ep[0], 99, m.remote, 0, 1, 0, &c);
	assert_true(ret < 0 || wt_done(p.w[0], wt_took(p.w[0], ret, &c)).status < 0);
	c = wt_call(0);
	ret = weft_atomic(p.ep[0], WEFT_ATOMIC_ADD, m.remote, 64, 1, 0, &c);
	assert_true(ret < 0 || wt_done(p.w[0], wt_took(p.w[0], ret, &c)).status < 0);
	assert_int_equal(m.addr[3], 0);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

/* Two threads, each with a worker of its own, and the owner itself, add to the same numbers. */
struct adder {
	weft_ctx *ctx;
	char url[160];
	unsigned char token[64];
	size_t token_len, rounds;
	pthread_t thread;
	atomic_bool ended;
	const char *wrong;
};

static bool adder_add(struct adder *a, weft_worker *w, weft_ep *ep, weft_remote *r)
{
	uint64_t last = 0;
	weft_event e;

	for (size_t i = 0; i < a->rounds; i++) {
		uint32_t what = WEFT_ATOMIC_ADD | (i & 1 ? WEFT_ATOMIC_32BIT : 0);
		weft_call c = { .size = sizeof(c), .flags = WEFT_BY_HANDLE };
		int ret = weft_atomic(ep, what, r, i & 1 ? 8 : 0, 1, 0, &c);

		if (ret == WEFT_PENDING)
			ret = weft_wait(w, c.op, wt_in_ms(wt_slow(WT_LIMIT_MS)), &e);
		else
			e = c.event;
		if (ret || e.status)
			return false;
		if (!(i & 1) && i && e.value <= last)
			return false; /* every old value is another */
		if (!(i & 1))
			last = e.value;
	}
	return true;
}

static void *adder_run(void *arg)
{
	struct adder *a = arg;
	weft_worker *w = NULL;
	weft_ep *ep = NULL;
	weft_remote *r = NULL;
	weft_call c = { .size = sizeof(c), .flags = WEFT_BY_HANDLE };
	weft_event e;

	if (weft_worker_new(a->ctx, NULL, &w) || weft_connect(w, a->url, NULL, &ep) ||
	    weft_remote_open(ep, a->token, a->token_len, &r))
		a->wrong = "cannot connect and open";
	else if (!adder_add(a, w, ep, r))
		a->wrong = "an atomic failed or returned a value twice";
	if (r)
		weft_remote_close(r);
	if (ep && weft_ep_close(ep, &c) == WEFT_PENDING)
		weft_wait(w, c.op, wt_in_ms(wt_slow(WT_LIMIT_MS)), &e);
	if (w)
		weft_worker_free(w);
	a->ended = true;
	return NULL;
}

static void accept_all(struct wt_pair *p, weft_ep *got[2], int *n)
{
	weft_event e;

	while (wt_take(p->w[1], WEFT_EV_REQUEST, UINT64_MAX, &e)) {
		wt_must(*n < 2);
		wt_must(weft_accept(e.data, p->w[1]->w, NULL, &got[(*n)++]) == WEFT_OK);
	}
}

static void atomics_of_several_workers_add_up(void **state)
{
	size_t rounds = wt_rounds(4000) & ~1ul;
	struct adder a[2] = { 0 };
	weft_ep *got[2];
	struct wt_pair p;
	struct wt_mem m;
	weft_grant g;
	_Atomic uint64_t *sum;
	int n = 0;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		n = 0;
		wt_mem_open(&p, &m, 4096, ALL, allocated);
		sum = (_Atomic uint64_t *)(void *)m.addr;
		for (int i = 0; i < 2; i++) {
			a[i] = (struct adder){ .ctx = p.ctx, .rounds = rounds, .token_len = sizeof(a[i].token) };
			strcpy(a[i].url, p.url);
			if (i == 0)
				assert_int_equal(weft_grant_new(m.mem, 0, 16, ALL, NULL, a[0].token, &a[0].token_len, &g), 0);
			memcpy(a[i].token, a[0].token, sizeof(a[0].token));
			a[i].token_len = a[0].token_len;
			assert_int_equal(pthread_create(&a[i].thread, NULL, adder_run, &a[i]), 0);
		}
		for (size_t i = 0; i < rounds; i++) {
			if (i % 10 == 0) {
				wt_pump();
				accept_all(&p, got, &n);
			}
			atomic_fetch_add(sum, 1);
		}
		while (!a[0].ended || !a[1].ended) {
			wt_pump();
			accept_all(&p, got, &n);
		}
		for (int i = 0; i < 2; i++) {
			pthread_join(a[i].thread, NULL);
			if (a[i].wrong)
				fail_msg("%s", a[i].wrong);
		}
		assert_int_equal(n, 2);
		assert_int_equal(atomic_load(sum), rounds + 2 * rounds / 2);
		assert_int_equal(((uint32_t *)(void *)m.addr)[2], 2 * rounds / 2);
		for (int i = 0; i < 2; i++)
			wt_ep_close(p.w[1], got[i]);
		weft_call c = wt_call(0);

		wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m.mem, g, &c), &c));
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static void a_fence_orders_puts_and_messages(void **state)
{
	static unsigned char out[200000];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_mem_open(&p, &m, sizeof(out), ALL, allocated);
		for (uint64_t i = 0; i < wt_rounds(60); i++) {
			size_t len = i % 3 ? 64 : sizeof(out);
			uint64_t in;

			wt_fill(out, len, i);
			put(&p, &m, out, len, 0, WEFT_NO_EVENT | WEFT_COPY);
			assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
			wt_send(&p, 0, &i, sizeof(i), 1, WEFT_NO_EVENT | WEFT_COPY);
			wt_ok(p.w[1], wt_recv(&p, 1, &in, sizeof(in), 1, WT_EXACT));
			assert_int_equal(in, i);
			wt_assert_data(m.addr, len, i); /* the message tells that the put is there */
		}
		for (uint64_t i = 0; i < 50; i++) { /* puts among themselves */
			put(&p, &m, &i, sizeof(i), 0, WEFT_NO_EVENT | WEFT_COPY);
			assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
		}
		flush(&p);
		assert_int_equal(*(uint64_t *)(void *)m.addr, 49);
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static void a_flush_says_that_it_is_there(void **state)
{
	static unsigned char out[100000];
	struct wt_posted r, f;
	struct wt_pair p;
	struct wt_mem m;
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, sizeof(out), ALL, false);
	for (unsigned i = 0; i < 40; i++) {
		size_t len = i % 4 ? 100 * i + 1 : sizeof(out);

		wt_fill(out, len, i);
		put(&p, &m, out, len, 0, WEFT_NO_EVENT | WEFT_COPY);
		c = wt_call(0);
		wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, i & 1 ? p.ep[0] : NULL, &c), &c));
		wt_assert_data(m.addr, len, i);
	}
	c = wt_call(0); /* a message that nobody receives yet: it is with the peer's library, that is enough */
	wt_send(&p, 0, out, 100, 1, WEFT_NO_EVENT | WEFT_COPY);
	f = wt_took(p.w[0], weft_flush(p.w[0]->w, NULL, &c), &c);
	wt_ok(p.w[0], f);
	r = wt_recv(&p, 1, out, 100, 1, WT_EXACT);
	wt_ok(p.w[1], r);
	c = wt_call(0); /* nothing to wait for */
	wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, NULL, &c), &c));
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

static void a_fence_keeps_puts_behind_gets(void **state)
{
	size_t len = wt_borders[wt_n_borders - 1];
	unsigned char *out = malloc(len), *in = malloc(len);
	struct wt_posted g, w;
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, len, ALL, false);
	for (uint64_t i = 0; i < wt_rounds(4); i++) {
		wt_fill(m.addr, len, 2 * i);
		wt_fill(out, len, 2 * i + 1);
		g = get(&p, &m, in, len, 0);
		assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
		w = put(&p, &m, out, len, 0, 0);
		wt_ok(p.w[0], g);
		wt_assert_data(in, len, 2 * i); /* nothing of what the put wrote */
		wt_ok(p.w[0], w);
		flush(&p);
		wt_assert_data(m.addr, len, 2 * i + 1);
	}
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
	free(out);
	free(in);
}

/* Operations by frames are pending on memory that could be reached directly, and the remote is closed already. */
static void a_closed_remote_outlives_its_endpoint(void **state)
{
	static unsigned char out[100000];
	weft_call c = wt_call(0);
	struct wt_posted w[3];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_pair_open(&p, 0);
		wt_mem_open(&p, &m, sizeof(out), ALL, allocated);
		wt_ok(p.w[0], put(&p, &m, out, sizeof(out), 0, 0));
		flush(&p);
		assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
		w[0] = put(&p, &m, out, sizeof(out), 0, 0);
		w[1] = get(&p, &m, out, sizeof(out), 0);
		w[2] = put(&p, &m, out, sizeof(out), 0, 0);
		weft_remote_close(m.remote);
		assert_int_equal(weft_ep_abort(p.ep[0]), WEFT_OK);
		for (int i = 0; i < 3; i++)
			wt_done(p.w[0], w[i]);
		p.ep[0] = NULL;
		wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c), &c));
		assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
		free(m.own);
		wt_pair_close(&p);
	}
}

static void a_remote_is_its_owners_until_it_is_closed(void **state)
{
	struct wt_pair p;
	struct wt_mem m[2];
	weft_ep *more[2];
	uint64_t word = 7;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);
	wt_mem_open(&p, &m[0], 4096, ALL, false);
	flush(&p);
	wt_ep_close(p.w[0], p.ep[0]);
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_ep_close(p.w[1], p.ep[1]);
	memcpy(p.ep, more, sizeof(more));
	wt_mem_open(&p, &m[1], 4096, ALL, false);
	weft_remote_close(m[0].remote); /* of the endpoint that is gone; not the one that was opened since */
	m[0].remote = NULL;
	wt_ok(p.w[0], put(&p, &m[1], &word, sizeof(word), 8, 0));
	flush(&p);
	assert_memory_equal(m[1].addr + 8, &word, sizeof(word));
	wt_mem_close(&p, &m[0]);
	wt_mem_close(&p, &m[1]);
	wt_pair_close(&p);
}

static size_t mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	size_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, "weft-mem") != NULL;
	if (f)
		fclose(f);
	return n;
}

static void freed_memory_is_let_go_by_peers(void **state)
{
	uint64_t word = 7, limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
	struct wt_pair p;
	struct wt_mem m;
	size_t before;

	(void)state;
	wt_pair_open(&p, 0);
	before = mappings();
	for (int i = 0; i < 20; i++) {
		wt_mem_open(&p, &m, 4096, ALL, true);
		for (int k = 0; k < 2; k++) { /* by frames, as long as it is being opened, then directly */
			wt_ok(p.w[0], put(&p, &m, &word, sizeof(word), 0, 0));
			flush(&p);
		}
		wt_mem_close(&p, &m);
	}
	while (mappings() > before && wt_now_ns() < limit)
		wt_pump_ms(1);
	assert_int_equal(mappings(), before);
	wt_pair_close(&p);
}

/* Each side waits for what the other answers, and each has something to answer. */
static void both_sides_may_open_and_put_at_once(void **state)
{
	unsigned char token[2][64], mem[2][64];
	uint64_t word[2] = { 11, 12 };
	size_t len[2] = { 64, 64 };
	weft_remote *r[2];
	weft_grant g[2];
	weft_mem *m[2];
	struct wt_posted s[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 2; i++) {
		weft_buf b = wt_buf(mem[i], sizeof(mem[i]));

		assert_int_equal(weft_mem_register(p.ctx, &b, ALL, &m[i]), WEFT_OK);
		if (!i)
			wt_mem_of_0(m[i]);
		assert_int_equal(weft_grant_new(m[i], 0, 64, ALL, NULL, token[i], &len[i], &g[i]), WEFT_OK);
	}
	for (int i = 0; i < 2; i++) {
		weft_buf b = wt_buf(&word[i], sizeof(word[i]));
		weft_call c = wt_call(0);

		assert_int_equal(weft_remote_open(p.ep[i], token[!i], len[!i], &r[i]), WEFT_OK);
		s[i] = wt_took(p.w[i], weft_put(p.ep[i], &b, 1, r[i], 8, &c), &c);
	}
	for (int i = 0; i < 2; i++)
		wt_ok(p.w[i], s[i]);
	for (int i = 0; i < 2; i++) {
		weft_call c = wt_call(0);

		wt_ok(p.w[i], wt_took(p.w[i], weft_flush(p.w[i]->w, p.ep[i], &c), &c));
		assert_memory_equal(mem[!i] + 8, &word[i], sizeof(word[i]));
		weft_remote_close(r[i]);
	}
	for (int i = 0; i < 2; i++) {
		weft_call c = wt_call(0);

		wt_ok(p.w[i], wt_took(p.w[i], weft_grant_revoke(m[i], g[i], &c), &c));
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	}
	wt_pair_close(&p);
}

/* Each side's stream waits for credit, and a fence for the stream: the credit must get through. */
static void fences_of_both_sides_do_not_wait_for_each_other(void **state)
{
	size_t len = 4 << 20;
	unsigned char *out = calloc(1, len), *in[2] = { malloc(len), malloc(len) };
	struct wt_posted s[2], r[2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 2; i++) {
		weft_buf b = wt_buf(out, len);
		weft_call c = wt_call(0);

		s[i] = wt_took(p.w[i], weft_stream_send(p.ep[i], &b, 1, &c), &c); /* more than the credit */
		assert_int_equal(weft_fence(p.ep[i]), WEFT_OK);
		wt_send(&p, i, out, 8, 1, WEFT_NO_EVENT);
	}
	wt_pump_ms(20);
	for (int i = 0; i < 2; i++) {
		weft_buf b = wt_buf(in[i], len);
		weft_call c = wt_call(WEFT_ALL);

		r[i] = wt_took(p.w[i], weft_stream_recv(p.ep[i], &b, 1, &c), &c);
	}
	for (int i = 0; i < 2; i++) {
		wt_ok(p.w[i], s[i]);
		wt_ok(p.w[i], r[i]);
		wt_ok(p.w[i], wt_recv(&p, i, in[i], 8, 1, WT_EXACT));
		free(in[i]);
	}
	wt_pair_close(&p);
	free(out);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(puts_and_gets_reach_registered_memory),
	WT_CASE(puts_and_gets_reach_allocated_memory),
	WT_CASE(allocated_memory_carries_messages),
	WT_CASE(registered_memory_carries_messages),
	WT_CASE(pieces_are_gathered_and_scattered),
	WT_CASE(signals_are_summed_and_come_after_their_puts),
	WT_CASE(every_atomic_returns_the_old_value),
	WT_CASE(bad_atomics_are_refused),
	WT_CASE_HERE(atomics_of_several_workers_add_up, "threads of one process"),
	WT_CASE(a_fence_orders_puts_and_messages),
	WT_CASE(a_flush_says_that_it_is_there),
	WT_CASE(a_fence_keeps_puts_behind_gets),
	WT_CASE(a_closed_remote_outlives_its_endpoint),
	WT_CASE(a_remote_is_its_owners_until_it_is_closed),
	WT_CASE(freed_memory_is_let_go_by_peers),
	WT_CASE(both_sides_may_open_and_put_at_once),
	WT_CASE(fences_of_both_sides_do_not_wait_for_each_other),
};
WT_GROUP(wt_group_rma, cases);
