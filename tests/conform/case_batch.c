/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_batch.c - several puts and gets as one operation.
 */
#include "conform/conform.h"

#define ALL (WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)

static void flush(struct wt_pair *p)
{
	weft_call c = wt_call(0);

	wt_ok(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c), &c));
}

static void a_batch_is_one_operation(void **state)
{
	enum { N = 100 };
	static unsigned char out[N * 100], in[N * 100];
	struct wt_pair p;
	struct wt_mem m;
	weft_rma v[N];
	weft_call c;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, 2 * sizeof(out), ALL, false);
	wt_fill(out, sizeof(out), 1);
	wt_fill(m.addr + sizeof(out), sizeof(out), 2);
	for (int i = 0; i < N; i++) {
		v[i] = (weft_rma){ .local = wt_buf((i & 1 ? in : out) + i * 100, 100), .remote = m.remote, .is_get = i & 1 };
		v[i].offset = i * 100 + (i & 1 ? sizeof(out) : 0);
	}
	c = wt_call(0);
	wt_ok(p.w[0], wt_took(p.w[0], weft_rma_batch(p.ep[0], v, N, &c), &c));
	flush(&p);
	for (int i = 0; i < N; i++) {
		if (i & 1)
			assert_int_equal(wt_differs_at(in + i * 100, 100, 2, i * 100), SIZE_MAX);
		else
			assert_int_equal(wt_differs_at(m.addr + i * 100, 100, 1, i * 100), SIZE_MAX);
	}
	c = wt_call(0);
	wt_ok(p.w[0], wt_took(p.w[0], weft_rma_batch(p.ep[0], v, 0, &c), &c));
	v[50].offset = 1 << 30; /* the first failure is the batch's */
	c = wt_call(0);
	wt_fails(p.w[0], wt_took(p.w[0], weft_rma_batch(p.ep[0], v, N, &c), &c), WEFT_EBOUNDS);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

static void a_copied_batch_frees_its_buffers_at_once(void **state)
{
	static unsigned char out[2][300000];
	weft_call c = wt_call(WEFT_COPY);
	struct wt_posted b;
	struct wt_pair p;
	struct wt_mem m;
	weft_rma v[2];

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, sizeof(out), ALL, false); /* still being opened when the batch is posted */
	for (int i = 0; i < 2; i++) {
		wt_fill(out[i], sizeof(out[i]), i);
		v[i] = (weft_rma){ .local = wt_buf(out[i], sizeof(out[i])), .remote = m.remote, .offset = i * sizeof(out[i]) };
	}
	b = wt_took(p.w[0], weft_rma_batch(p.ep[0], v, 2, &c), &c);
	memset(out, 0xee, sizeof(out));
	wt_ok(p.w[0], b);
	flush(&p);
	for (int i = 0; i < 2; i++)
		wt_assert_data(m.addr + i * sizeof(out[i]), sizeof(out[i]), i);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

/* A part that waits for its memory to be opened stands before one that need not: when the first is cancelled, the second moves. */
static void a_batch_is_cancelled_while_memory_is_opened(void **state)
{
	static unsigned char out[2][100];
	struct wt_pair p;
	struct wt_mem m[2];

	(void)state;
	for (int allocated = 0; allocated < 2; allocated++) {
		weft_call c = wt_call(0);
		struct wt_posted b;
		weft_event e;
		weft_rma v[2];

		wt_pair_open(&p, 0);
		wt_mem_open(&p, &m[0], sizeof(out), ALL, allocated);
		wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &(weft_buf){ .addr = out[0], .len = 100 }, 1, m[0].remote, 0, &c), &c));
		c = wt_call(0);
		flush(&p);
		wt_mem_open(&p, &m[1], sizeof(out), ALL, allocated);
		for (int i = 0; i < 2; i++)
			v[i] = (weft_rma){ .local = wt_buf(out[i], 100), .remote = m[!i].remote };
		b = wt_took(p.w[0], weft_rma_batch(p.ep[0], v, 2, &c), &c);
		if (b.ret == WEFT_PENDING)
			assert_int_equal(weft_cancel(p.w[0]->w, c.op), WEFT_OK);
		e = wt_done(p.w[0], b);
		assert_true(e.status == WEFT_OK || e.status == WEFT_ECANCELED);
		wt_mem_close(&p, &m[1]);
		wt_mem_close(&p, &m[0]);
		wt_pair_close(&p);
	}
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_batch_is_one_operation),
	WT_CASE(a_copied_batch_frees_its_buffers_at_once),
	WT_CASE(a_batch_is_cancelled_while_memory_is_opened),
};
WT_GROUP(wt_group_batch, cases);
