/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_grant.c - who may reach what: bad tokens, other peers' tokens, bounds, rights, revocation.
 */
#include "conform/conform.h"

#define ALL (WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)

/* What a put or get of @len bytes at @at came to, whether it was refused or failed later. */
/* The status of an operation that the owner refused, after a look at its words. */
static int32_t refused(weft_event e)
{
	switch (e.status) {
	case WEFT_EACCESS:
		wt_says(&e, "not granted");
		break;
	case WEFT_EBOUNDS:
		wt_says(&e, "outside the granted range");
		break;
	case WEFT_EREVOKED:
		wt_says(&e, "revoked");
		wt_says(&e, "new token");
		break;
	}
	return e.status;
}

static int32_t try_rma(struct wt_pair *p, weft_remote *r, bool is_get, uint64_t at, size_t len)
{
	static unsigned char bytes[100000];
	weft_buf b = wt_buf(bytes, len);
	weft_call c = wt_call(0);
	int ret = is_get ? weft_get(p->ep[0], &b, 1, r, at, &c) : weft_put(p->ep[0], &b, 1, r, at, &c);
	int32_t status;

	if (ret < 0)
		return ret;
	status = refused(wt_done(p->w[0], wt_took(p->w[0], ret, &c)));
	if (status || is_get)
		return status;
	c = wt_call(0); /* a put that its owner refuses may be told by the flush */
	return refused(wt_done(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c), &c)));
}

static int32_t try_atomic(struct wt_pair *p, weft_remote *r)
{
	weft_call c = wt_call(0);
	int ret = weft_atomic(p->ep[0], WEFT_ATOMIC_ADD, r, 0, 1, 0, &c);

	return ret < 0 ? ret : refused(wt_done(p->w[0], wt_took(p->w[0], ret, &c)));
}

static void revoke(struct wt_pair *p, weft_mem *m, weft_grant g)
{
	weft_call c = wt_call(0);

	wt_ok(p->w[1], wt_took(p->w[1], weft_grant_revoke(m, g, &c), &c));
}

static void a_token_that_is_none_is_refused(void **state)
{
	unsigned char token[64];
	weft_remote *r = NULL;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	memset(token, 0x5a, sizeof(token));
	assert_int_equal(weft_remote_open(p.ep[0], token, sizeof(token), &r), WEFT_EINVAL);
	assert_int_equal(weft_remote_open(p.ep[0], token, 0, &r), WEFT_EINVAL);
	assert_int_equal(weft_remote_open(p.ep[0], token, 3, &r), WEFT_EINVAL);
	weft_remote_close(NULL);
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

static void a_forged_token_reaches_nothing(void **state)
{
	static unsigned char bytes[4096];
	weft_buf b = wt_buf(bytes, sizeof(bytes));
	struct wt_pair p;
	unsigned refused = 0;
	weft_grant g;
	weft_mem *m;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_register(p.ctx, &b, ALL, &m), WEFT_OK);
	for (size_t at = 0; at < 40; at++) {
		unsigned char token[64];
		size_t len = sizeof(token);
		weft_remote *r = NULL;

		assert_int_equal(weft_grant_new(m, 100, 100, ALL, NULL, token, &len, &g), WEFT_OK);
		if (at < len) {
			token[at] ^= 0x41;
			if (weft_remote_open(p.ep[0], token, len, &r)) {
				refused++;
			} else {
				int32_t status = try_rma(&p, r, false, 0, 10);

				/* what is said of rights and lengths is checked by the owner, who knows better */
				assert_true(status < 0 || bytes[0] == 0);
				refused += status < 0;
				weft_remote_close(r);
			}
		}
		revoke(&p, m, g);
	}
	assert_true(refused >= 24); /* every byte of number and key counts */
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (i < 100 || i >= 200)
			assert_int_equal(bytes[i], 0);
	}
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

static void a_token_for_one_peer_is_no_use_to_another(void **state)
{
	static unsigned char bytes[4096];
	weft_buf b = wt_buf(bytes, sizeof(bytes));
	unsigned char token[64];
	size_t len = sizeof(token);
	struct wt_pair p, q;
	weft_ep *more[2];
	weft_remote *r;
	weft_grant g;
	weft_mem *m;

	(void)state;
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);
	q = p;
	q.ep[0] = more[0];
	assert_int_equal(weft_mem_register(p.ctx, &b, ALL, &m), WEFT_OK);
	assert_int_equal(weft_grant_new(m, 0, 4096, ALL, more[1], token, &len, &g), WEFT_OK);
	assert_int_equal(weft_remote_open(p.ep[0], token, len, &r), WEFT_OK);
	assert_int_equal(try_rma(&p, r, false, 0, 10), WEFT_EACCESS);
	assert_int_equal(try_rma(&p, r, true, 0, 10), WEFT_EACCESS);
	assert_int_equal(try_atomic(&p, r), WEFT_EACCESS);
	weft_remote_close(r);
	assert_int_equal(weft_remote_open(more[0], token, len, &r), WEFT_OK);
	assert_int_equal(try_rma(&q, r, false, 0, 10), 0);
	weft_remote_close(r);
	revoke(&p, m, g);
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_ep_close(p.w[0], more[0]);
	wt_ep_close(p.w[1], more[1]);
	wt_pair_close(&p);
}

static void bounds_hold(void **state)
{
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_mem_open(&p, &m, 10000, ALL, allocated);
		assert_int_equal(try_rma(&p, m.remote, false, 9990, 10), 0);
		assert_int_equal(try_rma(&p, m.remote, false, 9991, 10), WEFT_EBOUNDS);
		assert_int_equal(try_rma(&p, m.remote, true, 0, 10001), WEFT_EBOUNDS);
		assert_int_equal(try_rma(&p, m.remote, true, 10001, 0), WEFT_EBOUNDS);
		assert_int_equal(try_rma(&p, m.remote, true, UINT64_MAX - 4, 10), WEFT_EBOUNDS);
		assert_int_equal(try_rma(&p, m.remote, true, 0, 10000), 0); /* and all goes on */
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
}

static void rights_hold(void **state)
{
	static const uint32_t rights[] = { WEFT_READ, WEFT_WRITE, WEFT_ATOMIC };
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		for (int i = 0; i < 3; i++) {
			wt_mem_open(&p, &m, 64, rights[i], allocated);
			assert_int_equal(try_rma(&p, m.remote, true, 0, 8), i == 0 ? 0 : WEFT_EACCESS);
			assert_int_equal(try_rma(&p, m.remote, false, 0, 8), i == 1 ? 0 : WEFT_EACCESS);
			assert_int_equal(try_atomic(&p, m.remote), i == 2 ? 0 : WEFT_EACCESS);
			wt_mem_close(&p, &m);
		}
	}
	wt_pair_close(&p);
}

static void a_grant_stays_within_its_memory(void **state)
{
	static unsigned char bytes[4096];
	weft_buf b = wt_buf(bytes, sizeof(bytes));
	unsigned char token[64];
	size_t len = sizeof(token);
	struct wt_pair p;
	weft_grant g;
	weft_mem *m;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_register(p.ctx, &b, WEFT_READ, &m), WEFT_OK);
	assert_int_equal(weft_grant_new(m, 0, 4097, WEFT_READ, NULL, token, &len, &g), WEFT_EBOUNDS);
	assert_int_equal(weft_grant_new(m, 4096, 1, WEFT_READ, NULL, token, &len, &g), WEFT_EBOUNDS);
	assert_int_equal(weft_grant_new(m, UINT64_MAX, 2, WEFT_READ, NULL, token, &len, &g), WEFT_EBOUNDS);
	assert_int_equal(weft_grant_new(m, 0, 10, WEFT_WRITE, NULL, token, &len, &g), WEFT_EACCESS);
	len = 3;
	assert_int_equal(weft_grant_new(m, 0, 10, WEFT_READ, NULL, token, &len, &g), WEFT_EINVAL);
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_pair_close(&p);
}

static void memory_stays_while_it_is_granted(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	weft_call c = wt_call(0);
	struct wt_posted r;
	weft_buf b;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, 4096, ALL, false);
	assert_int_equal(weft_mem_free(m.mem), WEFT_EBUSY);
	assert_int_equal(weft_close(p.ctx), WEFT_EBUSY);
	wt_mem_close(&p, &m);
	assert_int_equal(weft_mem_alloc(p.ctx, 4096, WEFT_HOST, 0, &m.mem), WEFT_OK);
	b = wt_buf(weft_mem_addr(m.mem, NULL), 100);
	b.mem = m.mem;
	r = wt_took(p.w[1], weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), &c);
	assert_int_equal(weft_mem_free(m.mem), WEFT_EBUSY); /* an operation uses it */
	weft_cancel(p.w[1]->w, r.op);
	wt_fails(p.w[1], r, WEFT_ECANCELED);
	assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
	wt_pair_close(&p);
}

static void a_revoked_grant_reaches_nothing(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	weft_call c = wt_call(0);

	(void)state;
	wt_pair_open(&p, 0);
	for (int allocated = 0; allocated < 2; allocated++) {
		wt_mem_open(&p, &m, 4096, ALL, allocated);
		assert_int_equal(try_rma(&p, m.remote, false, 0, 8), 0);
		revoke(&p, m.mem, m.grant);
		memset(m.addr, 0x77, 4096);
		assert_int_equal(try_rma(&p, m.remote, false, 0, 8), WEFT_EREVOKED);
		assert_int_equal(try_rma(&p, m.remote, true, 0, 8), WEFT_EREVOKED);
		assert_int_equal(try_atomic(&p, m.remote), WEFT_EREVOKED);
		assert_int_equal(m.addr[0], 0x77);
		assert_int_equal(weft_grant_revoke(m.mem, m.grant, &c), WEFT_ESTALE);
		weft_remote_close(m.remote);
		assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
		free(m.own);
	}
	wt_exchange(&p, 0, 100, 1);
	wt_pair_close(&p);
}

/* From the moment that the revocation is done, nothing of the traffic under way changes the memory. */
static void a_revocation_in_mid_traffic_is_final(void **state)
{
	static unsigned char out[60000];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned round = 0; round < 10; round++) {
		weft_buf b = wt_buf(out, sizeof(out));
		struct wt_posted s[50], rv;
		weft_call c;

		wt_mem_open(&p, &m, sizeof(out), ALL, round & 1);
		assert_int_equal(try_rma(&p, m.remote, true, 0, 1), 0); /* it is open */
		memset(out, 0xff, sizeof(out));
		for (unsigned i = 0; i < 50; i++) {
			c = wt_call(0);
			s[i] = wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c), &c);
			if (i == 10 + round) {
				c = wt_call(0);
				rv = wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c), &c);
			}
			if (i % 5 == 0)
				wt_pump();
		}
		wt_ok(p.w[1], rv);
		memset(m.addr, 0, sizeof(out));
		for (unsigned i = 0; i < 50; i++) {
			int32_t status = wt_done(p.w[0], s[i]).status;

			if (status && status != WEFT_EREVOKED)
				fail_msg("put %u of round %u ended with %s", i, round, weft_status_name(status));
		}
		wt_pump_ms(1);
		for (size_t i = 0; i < sizeof(out); i++)
			assert_int_equal(m.addr[i], 0);
		weft_remote_close(m.remote);
		assert_int_equal(weft_mem_free(m.mem), WEFT_OK);
		free(m.own);
		c = wt_call(0); /* takes the put's failure, if it waited for a flush to tell it */
		wt_done(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &c), &c));
	}
	wt_exchange(&p, 0, 100, 1);
	wt_pair_close(&p);
}

static void a_grant_that_nobody_opened_is_revoked_at_once(void **state)
{
	static unsigned char bytes[64];
	weft_buf b = wt_buf(bytes, sizeof(bytes));
	unsigned char token[64];
	size_t len = sizeof(token);
	struct wt_pair p;
	weft_remote *r;
	weft_grant g;
	weft_mem *m;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_register(p.ctx, &b, ALL, &m), WEFT_OK);
	assert_int_equal(weft_grant_new(m, 0, 64, ALL, NULL, token, &len, &g), WEFT_OK);
	assert_true(weft_grant_revoke(m, g, NULL) >= 0);
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	assert_int_equal(weft_remote_open(p.ep[0], token, len, &r), WEFT_OK); /* the peer is asked later */
	assert_true(try_rma(&p, r, false, 0, 8) < 0);
	weft_remote_close(r);
	wt_pair_close(&p);
}

static void a_grant_that_nobody_opened_needs_no_worker(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	weft_buf b = wt_buf((char[16]){ 0 }, 16);
	unsigned char token[64];
	size_t len = sizeof(token);
	weft_call c = wt_call(0);
	weft_grant g;
	weft_mem *m;

	(void)state;
	assert_int_equal(weft_mem_register(ctx, &b, WEFT_READ, &m), WEFT_OK);
	assert_int_equal(weft_grant_new(m, 0, 16, WEFT_READ, NULL, token, &len, &g), WEFT_OK);
	c.event.status = -99;
	assert_int_equal(weft_grant_revoke(m, g, &c), WEFT_OK);
	assert_int_equal(c.event.status, 0);
	assert_int_equal(c.event.kind, WEFT_EV_OP);
	assert_int_equal(c.event.user_data, c.user_data);
	assert_int_equal(weft_grant_revoke(m, g, &c), WEFT_ESTALE);
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_close(ctx);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_token_that_is_none_is_refused),
	WT_CASE(a_forged_token_reaches_nothing),
	WT_CASE(a_token_for_one_peer_is_no_use_to_another),
	WT_CASE(bounds_hold),
	WT_CASE(rights_hold),
	WT_CASE(a_grant_stays_within_its_memory),
	WT_CASE(memory_stays_while_it_is_granted),
	WT_CASE(a_revoked_grant_reaches_nothing),
	WT_CASE(a_revocation_in_mid_traffic_is_final),
	WT_CASE(a_grant_that_nobody_opened_is_revoked_at_once),
	WT_CASE(a_grant_that_nobody_opened_needs_no_worker),
};
WT_GROUP(wt_group_grant, cases);
