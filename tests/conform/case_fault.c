/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_fault.c - connections that break or are refused at random moments, by the setting `fault`: every operation still
 * completes exactly once, what arrived is whole and in order, and nothing is left behind.
 */
#include "conform/conform.h"

enum { N = 40 };

static void traffic_until_it_breaks(uint64_t seed, unsigned *done_out, unsigned *broken_out)
{
	static unsigned char out[N][100000], in[N][100000];
	struct wt_posted s[N], r[N];
	struct wt_pair p = { 0 };
	weft_conn_opts o = { .size = sizeof(o), .user_data = 1 };
	char fault[64];
	unsigned done = 0;
	weft_event e;

	snprintf(fault, sizeof(fault), "seed=%llu,cut=0.01,delay_us=%u", (unsigned long long)seed, seed & 1 ? 20 : 0);
	p.ctx = wt_open("fault", fault);
	for (int i = 0; i < 2; i++)
		p.w[i] = wt_worker(p.ctx, 0);
	p.listener = wt_listen(p.w[1], p.url, sizeof(p.url));
	wt_must(weft_connect(p.w[0]->w, p.url, &o, &p.ep[0]) == WEFT_OK);
	for (int i = 0; i < N; i++) {
		size_t len = i % 5 == 4 ? sizeof(out[i]) : 100;

		wt_fill(out[i], len, i);
		s[i] = wt_send(&p, 0, out[i], len, 1, 0);
	}
	for (uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS)); !p.ep[1];) {
		wt_pump();
		wt_must(wt_now_ns() < limit);
		if (wt_take(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, &e))
			wt_must(weft_accept(e.data, p.w[1]->w, NULL, &p.ep[1]) == WEFT_OK);
		else if (wt_count(p.w[0], WEFT_EV_DOWN))
			break;
	}
	for (int i = 0; i < N && p.ep[1]; i++) {
		weft_buf b = wt_buf(in[i], sizeof(in[i]));
		weft_call c = wt_call(0);
		int ret;

		c.from = p.ep[1];
		ret = weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c);
		if (ret < 0) /* it is down already, and nothing more is there */
			break;
		r[i] = wt_took(p.w[1], ret, &c);
		e = wt_done(p.w[1], r[i]);
		if (e.status)
			break;
		assert_int_equal(e.len, i % 5 == 4 ? sizeof(out[i]) : 100);
		wt_assert_data(in[i], e.len, i);
		done++;
	}
	for (int i = 0; i < N; i++) {
		e = wt_done(p.w[0], s[i]);
		assert_true(e.status == 0 || e.status == WEFT_ERESET || e.status == WEFT_EREFUSED);
	}
	*done_out += done;
	*broken_out += done < N;
	if (p.ep[1])
		weft_ep_abort(p.ep[1]);
	weft_ep_abort(p.ep[0]);
	wt_pump_ms(1);
	assert_int_equal(weft_listener_close(p.listener), WEFT_OK);
	wt_worker_free(p.w[0]);
	wt_worker_free(p.w[1]);
	wt_close(p.ctx);
}

static void a_connection_that_breaks_anywhere_ends_cleanly(void **state)
{
	unsigned done = 0, broken = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++)
		traffic_until_it_breaks(seed, &done, &broken);
	printf("# %u of 30 connections broke, %u messages came before\n", broken, done);
	assert_true(broken > 3);
}

static void a_refusal_at_random_is_reported(void **state)
{
	struct wt_w *w;
	weft_ctx *ctx;
	weft_conn_opts o = { .size = sizeof(o), .user_data = 1 };
	weft_listener *l;
	char url[160];
	weft_event e;
	weft_ep *ep;

	(void)state;
	ctx = wt_open("fault", "seed=5,refuse=1");
	w = wt_worker(ctx, 0);
	l = wt_listen(w, url, sizeof(url));
	assert_int_equal(weft_connect(w->w, url, &o, &ep), WEFT_OK);
	e = wt_wait(w, WEFT_EV_DOWN, 1, WT_LIMIT_MS);
	assert_int_equal(e.status, WEFT_EREFUSED);
	assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	assert_int_equal(weft_listener_close(l), WEFT_OK);
	wt_worker_free(w);
	wt_close(ctx);
}

/* When the context is opened, so that a program that never connects, such as weft info, says so, too. */
static void a_fault_that_is_none_is_an_error(void **state)
{
	static const char *const bad[] = { "seed", "seed=x", "cut=2", "cut=", "drop=0.1", "delay_us=-3", "seed=7,bogus=1", "=1" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *item = strchr(bad[i], ',') ? strchr(bad[i], ',') + 1 : bad[i];
		weft_config *c = wt_config();
		weft_ctx *ctx;

		assert_int_equal(weft_config_set(c, "fault", bad[i]), WEFT_OK);
		assert_int_equal(weft_open(c, &ctx), WEFT_ESETTING);
		weft_config_free(c);
		assert_string_equal(weft_last_error()->object, "fault");
		assert_non_null(strstr(weft_last_error()->cause, item));
		assert_non_null(strstr(weft_last_error()->remedy, "cut=0..1"));
	}
}

static const struct CMUnitTest cases[] = {
	WT_CASE(a_connection_that_breaks_anywhere_ends_cleanly),
	WT_CASE(a_refusal_at_random_is_reported),
	WT_CASE(a_fault_that_is_none_is_an_error),
};
WT_GROUP(wt_group_fault, cases);
