/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_conn.c - listeners, connections, refusals, addresses, settings.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/conform.h"

/* A port where nobody listens. */
static unsigned free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void one_listener_takes_many_connections(void **state)
{
	enum { N = 20 };
	weft_ep *more[N][2];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < N; i++)
		wt_pair_more(&p, more[i]);
	for (int i = 0; i < N; i++) {
		struct wt_pair q = p;

		q.ep[0] = more[i][0];
		q.ep[1] = more[i][1];
		wt_exchange(&q, i & 1, 100 + i, 1 + i);
	}
	for (int i = 0; i < N; i++) {
		wt_ep_close(p.w[0], more[i][0]);
		wt_ep_close(p.w[1], more[i][1]);
	}
	wt_pair_close(&p);
}

static void connections_are_usable_before_they_are_connected(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *a = wt_worker(ctx, 0), *b = wt_worker(ctx, 0);
	weft_call c = wt_call(0);
	weft_buf out = wt_buf("early", 5), in;
	struct wt_posted s;
	weft_listener *l;
	char url[160], got[8] = "";
	weft_ep *ep, *peer;

	(void)state;
	l = wt_listen(b, url, sizeof(url));
	assert_int_equal(weft_connect(a->w, url, NULL, &ep), WEFT_OK);
	s = wt_took(a, weft_send(ep, &out, 1, 1, &c), &c);
	peer = wt_accept(b);
	in = wt_buf(got, sizeof(got));
	c = wt_call(0);
	wt_ok(b, wt_took(b, weft_recv(b->w, &in, 1, 1, WT_EXACT, &c), &c));
	wt_ok(a, s);
	assert_string_equal(got, "early");
	wt_ep_close(a, ep);
	wt_ep_close(b, peer);
	assert_int_equal(weft_listener_close(l), WEFT_OK);
	wt_worker_free(a);
	wt_worker_free(b);
	wt_close(ctx);
}

static void an_accepted_connection_may_live_on_another_worker(void **state)
{
	struct wt_pair p;
	struct wt_w *other;
	weft_ep *ep[2];
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	other = wt_worker(p.ctx, 0);
	for (int i = 0; i < 3; i++) {
		struct wt_pair q = p;

		assert_int_equal(weft_connect(p.w[0]->w, p.url, NULL, &ep[0]), WEFT_OK);
		e = wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
		assert_int_equal(weft_accept(e.data, other->w, NULL, &ep[1]), WEFT_OK);
		wt_wait(other, WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
		wt_wait(p.w[0], WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
		q.w[1] = other;
		q.ep[0] = ep[0];
		q.ep[1] = ep[1];
		wt_exchange(&q, 0, 1000, 1);
		wt_exchange(&q, 1, 1000000, 2);
		wt_ep_close(p.w[0], ep[0]);
		wt_ep_close(other, ep[1]);
	}
	wt_worker_free(other);
	wt_pair_close(&p);
}

static void a_worker_address_connects_without_being_asked_for(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *a = wt_worker(ctx, 0), *b = wt_worker(ctx, 0);
	struct wt_pair p = { .w = { a, b } };
	unsigned char blob[512];
	size_t len = 1;

	(void)state;
	assert_int_equal(weft_address(b->w, blob, &len), WEFT_EINVAL);
	assert_true(len > 1 && len <= 512);
	len = sizeof(blob);
	assert_int_equal(weft_address(b->w, blob, &len), WEFT_OK);
	assert_int_equal(weft_connect_address(a->w, blob, 5, NULL, &p.ep[0]), WEFT_EURL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(weft_connect_address(a->w, blob, len, NULL, &p.ep[0]), WEFT_OK);
		wt_wait(a, WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
		p.ep[1] = wt_wait(b, WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS).ep;
		assert_int_equal(wt_count(b, WEFT_EV_REQUEST), 0);
		wt_exchange(&p, 0, 1000, 1);
		wt_exchange(&p, 1, 200000, 2);
		wt_ep_close(a, p.ep[0]);
		wt_ep_close(b, p.ep[1]);
	}
	wt_worker_free(a);
	wt_worker_free(b);
	wt_close(ctx);
}

static void a_rejection_tells_why(void **state)
{
	struct wt_pair p;
	weft_event e;
	weft_ep *ep;

	(void)state;
	wt_pair_open(&p, 0);
	for (int by_release = 0; by_release < 2; by_release++) {
		weft_conn_opts o = { .size = sizeof(o), .user_data = 4711 };

		assert_int_equal(weft_connect(p.w[0]->w, p.url, &o, &ep), WEFT_OK);
		e = wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
		if (by_release)
			weft_event_release(p.w[1]->w, &e);
		else
			assert_int_equal(weft_reject(e.data, WEFT_ELIMIT, "no chair is free"), WEFT_OK);
		e = wt_wait(p.w[0], WEFT_EV_DOWN, 4711, WT_LIMIT_MS);
		assert_int_equal(e.status, WEFT_EREJECTED);
		assert_ptr_equal(e.ep, ep);
		if (!by_release) {
			wt_says(&e, "no chair is free");
			wt_says(&e, "WEFT_ELIMIT");
		}
		assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	}
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

static void a_refused_connection_names_every_address(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *w = wt_worker(ctx, 0);
	weft_conn_opts o = { .size = sizeof(o), .user_data = 5 };
	char url[160], part[2][40];
	unsigned port[2] = { free_port(), free_port() };
	weft_buf b = wt_buf("x", 1);
	weft_call c = wt_call(0);
	weft_event e;
	weft_ep *ep;
	int ret;

	(void)state;
	for (int i = 0; i < 2; i++)
		snprintf(part[i], sizeof(part[i]), "127.0.0.1:%u", port[i]);
	snprintf(url, sizeof(url), "weft://%s,%s,[::1]:%u", part[0], part[1], port[0]);
	assert_int_equal(weft_connect(w->w, url, &o, &ep), WEFT_OK);
	ret = weft_send(ep, &b, 1, 1, &c); /* accepted, unless the refusal is known already */
	e = wt_wait(w, WEFT_EV_DOWN, 5, WT_LIMIT_MS);
	assert_true(e.status == WEFT_EREFUSED || e.status == WEFT_EUNREACHABLE);
	wt_says(&e, part[0]);
	wt_says(&e, part[1]);
	wt_says(&e, "[::1]:");
	assert_true(ret < 0 ? ret == e.status : wt_done(w, wt_took(w, ret, &c)).status == e.status);
	assert_int_equal(weft_send(ep, &b, 1, 1, &c), e.status);
	assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	wt_worker_free(w);
	wt_close(ctx);
}

static void the_next_address_is_tried(void **state)
{
	struct wt_pair p;
	char url[300];
	weft_ep *ep[2];
	struct wt_pair q;

	(void)state;
	wt_pair_open(&p, 0);
	q = p;
	snprintf(url, sizeof(url), "weft://127.0.0.1:%u,%s", free_port(), p.url + strlen("weft://"));
	assert_int_equal(weft_connect(p.w[0]->w, url, NULL, &ep[0]), WEFT_OK);
	ep[1] = wt_accept(p.w[1]);
	wt_wait(p.w[0], WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
	q.ep[0] = ep[0];
	q.ep[1] = ep[1];
	wt_exchange(&q, 0, 10, 1);
	wt_ep_close(p.w[0], ep[0]);
	wt_ep_close(p.w[1], ep[1]);
	wt_pair_close(&p);
}

static void a_closed_listener_refuses_who_waits_in_it(void **state)
{
	struct wt_pair p;
	weft_ep *ep[2], *late;
	weft_event e, down;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_connect(p.w[0]->w, p.url, NULL, &ep[0]), WEFT_OK);
	e = wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS); /* reaped: it stays */
	assert_int_equal(weft_connect(p.w[0]->w, p.url, NULL, &late), WEFT_OK);
	weft_progress(p.w[0]->w);
	assert_int_equal(weft_listener_close(p.listener), WEFT_OK);
	p.listener = NULL;
	assert_int_equal(weft_accept(e.data, p.w[1]->w, NULL, &ep[1]), WEFT_OK);
	wt_wait(p.w[1], WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
	down = wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_ptr_equal(down.ep, late);
	assert_int_equal(wt_count(p.w[1], WEFT_EV_REQUEST), 0);
	assert_int_equal(weft_ep_abort(late), WEFT_OK);
	wt_ep_close(p.w[0], ep[0]);
	wt_ep_close(p.w[1], ep[1]);
	wt_exchange(&p, 0, 10, 1); /* what was connected before goes on */
	wt_pair_close(&p);
}

static void a_listener_may_go_with_requests_unanswered(void **state)
{
	struct wt_pair p;
	weft_ep *ep;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_connect(p.w[0]->w, p.url, NULL, &ep), WEFT_OK);
	for (int i = 0; i < 10; i++) { /* a REQUEST may wait in the ring, unreaped */
		weft_progress(p.w[0]->w);
		weft_progress(p.w[1]->w);
	}
	assert_int_equal(weft_listener_close(p.listener), WEFT_OK);
	p.listener = NULL;
	wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(wt_count(p.w[1], WEFT_EV_REQUEST), 0);
	assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	wt_pair_close(&p);
}

static void a_port_in_use_is_an_error(void **state)
{
	weft_listener *l;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_listen(p.w[1]->w, p.url, NULL, &l), WEFT_EADDRINUSE);
	assert_non_null(strstr(weft_last_error()->object, strrchr(p.url, ':')));
	assert_int_equal(weft_listener_close(p.listener), WEFT_OK);
	assert_int_equal(weft_listen(p.w[1]->w, p.url, NULL, &p.listener), WEFT_OK); /* free again */
	wt_pair_close(&p);
}

static void malformed_urls_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "weft:", "weft://", "http://127.0.0.1:1", "127.0.0.1:80", "weft://127.0.0.1", "weft://127.0.0.1:",
		"weft://127.0.0.1:99999", "weft://127.0.0.1:-1", "weft://127.0.0.1:8x", "weft://[::1", "weft://[::1]",
		"weft://[::1]:", "weft://[::1]80", "weft://::1:80", "weft://127.0.0.1:80,", "weft://,127.0.0.1:80",
		"weft://127.0.0.1:80/path", "weft://127.0.0.1:80 ", "weft://300.0.0.1:80", "weft://1.2.3:80",
		"weft://[::g]:80", "weft://:80", "weft://[fe80::1]:80", "weft://[fe80::1%no-such-if]:80",
	};
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *w = wt_worker(ctx, 0);
	char longest[5000];
	weft_listener *l;
	weft_ep *ep;

	(void)state;
	memset(longest, '1', sizeof(longest));
	memcpy(longest, "weft://", 7);
	longest[sizeof(longest) - 1] = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (weft_connect(w->w, bad[i], NULL, &ep) != WEFT_EURL)
			fail_msg("connect took \"%s\"", bad[i]);
		if (weft_listen(w->w, bad[i], NULL, &l) != WEFT_EURL)
			fail_msg("listen took \"%s\"", bad[i]);
	}
	assert_non_null(strstr(weft_last_error()->cause, "interface that is not there"));
	assert_int_equal(weft_connect(w->w, longest, NULL, &ep), WEFT_EURL);
	assert_int_equal(weft_connect(w->w, "weft://a-name:80", NULL, &ep), WEFT_EURL); /* weft_resolve() is for names */
	wt_worker_free(w);
	wt_close(ctx);
}

static void a_transport_that_is_none_is_refused(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *w = wt_worker(ctx, 0);
	weft_conn_opts o = { .size = sizeof(o), .allow = "tcp,shmm" };
	weft_listener *l;
	weft_ep *ep;

	(void)state;
	assert_int_equal(weft_listen(w->w, "weft://127.0.0.1:0", &o, &l), WEFT_EINVAL);
	assert_int_equal(weft_connect(w->w, "weft://127.0.0.1:80", &o, &ep), WEFT_EINVAL);
	assert_non_null(strstr(weft_last_error()->cause, "\"shmm\""));
	assert_non_null(strstr(weft_last_error()->remedy, "shm"));
	wt_worker_free(w);
	wt_close(ctx);
}

static void names_are_resolved_on_demand(void **state)
{
	char out[300];

	(void)state;
	assert_int_equal(weft_resolve("weft://127.0.0.1:80", out, sizeof(out)), WEFT_OK);
	assert_string_equal(out, "weft://127.0.0.1:80");
	assert_int_equal(weft_resolve("weft://127.0.0.1:80", out, 5), WEFT_EINVAL);
	assert_int_equal(weft_resolve("nonsense", out, sizeof(out)), WEFT_EURL);
	if (weft_resolve("weft://localhost:80", out, sizeof(out)) == WEFT_OK)
		assert_true(strstr(out, "127.0.0.1:80") || strstr(out, "[::1]:80"));
}

static void an_unknown_setting_names_the_nearest(void **state)
{
	weft_config *c = wt_config();
	weft_ctx *ctx;
	char value[64];
	const char *origin;

	(void)state;
	assert_int_equal(weft_config_set(c, "connect_timeuot", "1s"), WEFT_ESETTING);
	assert_true(strstr(weft_last_error()->cause, "connect_timeuot") != NULL);
	assert_true(weft_last_error()->remedy && strstr(weft_last_error()->remedy, "connect_timeout"));
	assert_int_equal(weft_config_set(c, "connect_timeout", "soon"), WEFT_ESETTING);
	assert_int_equal(weft_config_set(c, "connect_timeout", "3s"), WEFT_OK);
	assert_int_equal(weft_config_get(c, "connect_timeout", value, sizeof(value), &origin), WEFT_OK);
	assert_string_equal(value, "3s");
	assert_string_equal(origin, "code");
	assert_int_equal(weft_config_get(c, "no_such", value, sizeof(value), NULL), WEFT_ESETTING);
	assert_int_equal(weft_config_set(c, "transports", "shn"), WEFT_OK); /* known only to the library that opens */
	assert_int_equal(weft_open(c, &ctx), WEFT_ESETTING);
	weft_config_free(c);
}

static void a_connection_ends_at_its_deadline(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *a = wt_worker(ctx, 0);
	weft_worker *silent; /* it never progresses, so nobody answers */
	weft_conn_opts o = { .size = sizeof(o), .user_data = 9 };
	weft_listener *l;
	char url[160];
	weft_event e;
	weft_ep *ep;

	(void)state;
	assert_int_equal(weft_worker_new(ctx, NULL, &silent), WEFT_OK);
	assert_int_equal(weft_listen(silent, "weft://127.0.0.1:0", NULL, &l), WEFT_OK);
	assert_int_equal(weft_listener_url(l, url, sizeof(url)), WEFT_OK);
	assert_int_equal(weft_listener_url(l, url, 3), WEFT_EINVAL);
	assert_int_equal(weft_listener_url(l, url, sizeof(url)), WEFT_OK);
	o.deadline_ns = wt_in_ms(80);
	assert_int_equal(weft_connect(a->w, url, &o, &ep), WEFT_OK);
	e = wt_wait(a, WEFT_EV_DOWN, 9, WT_LIMIT_MS);
	assert_int_equal(e.status, WEFT_ETIMEDOUT);
	assert_true(wt_now_ns() >= o.deadline_ns);
	assert_true(wt_now_ns() < o.deadline_ns + wt_slow(60) * 1000000ull);
	wt_says(&e, url + strlen("weft://"));
	assert_int_equal(weft_ep_abort(ep), WEFT_OK);
	assert_int_equal(weft_worker_free(silent), WEFT_OK);
	wt_worker_free(a);
	wt_close(ctx);
}

static void a_connection_may_be_aborted_while_it_is_made(void **state)
{
	struct wt_pair p;
	weft_ep *ep;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	for (int turns = 0; turns < 12; turns++) {
		assert_int_equal(weft_connect(p.w[0]->w, p.url, NULL, &ep), WEFT_OK);
		for (int i = 0; i < turns; i++)
			weft_progress(p.w[i & 1]->w);
		assert_int_equal(weft_ep_abort(ep), WEFT_OK);
		wt_pump_ms(2);
		while (wt_take(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, &e)) {
			weft_ep *peer;

			assert_int_equal(weft_accept(e.data, p.w[1]->w, NULL, &peer), WEFT_OK);
			wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
			assert_int_equal(weft_ep_abort(peer), WEFT_OK);
		}
		while (wt_take(p.w[0], 0, UINT64_MAX, &e) || wt_take(p.w[1], 0, UINT64_MAX, &e))
			;
	}
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

static void connecting_again_and_again_leaks_no_descriptor(void **state)
{
	struct wt_pair p;
	weft_ep *more[2];
	int before = 0;

	(void)state;
	wt_pair_open(&p, 0);
	for (int i = 0; i < 40; i++) {
		wt_pair_more(&p, more);
		wt_ep_close(p.w[i & 1], more[i & 1]);
		wt_ep_close(p.w[!(i & 1)], more[!(i & 1)]);
		wt_pump_ms(1);
		if (i == 4)
			before = wt_fd_count();
	}
	assert_int_equal(wt_fd_count(), before);
	wt_pair_close(&p);
}

static void peers_know_each_others_address(void **state)
{
	char text[100];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_ep_peer(p.ep[0], text, sizeof(text)), WEFT_OK);
	assert_string_equal(text, p.url + strlen("weft://"));
	assert_int_equal(weft_ep_peer(p.ep[0], text, 2), WEFT_EINVAL);
	assert_int_equal(weft_ep_peer(p.ep[1], text, sizeof(text)), WEFT_OK);
	assert_true(strlen(text) > 0);
	for (int i = 0; i < 2; i++) {
		char local[100];

		assert_int_equal(weft_ep_local(p.ep[i], local, sizeof(local)), WEFT_OK);
		assert_int_equal(weft_ep_peer(p.ep[!i], text, sizeof(text)), WEFT_OK);
		assert_string_equal(local, text);
		assert_int_equal(weft_ep_local(p.ep[i], local, 2), WEFT_EINVAL);
	}
	weft_ep_set_user_data(p.ep[0], 99);
	wt_pair_close(&p);
}

static void a_request_outlives_its_listeners_worker(void **state)
{
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *a = wt_worker(ctx, 0), *b = wt_worker(ctx, 0), *d = wt_worker(ctx, 0);
	weft_event e[3];
	weft_listener *l;
	weft_ep *ep[3], *peer;
	char url[160];

	(void)state;
	l = wt_listen(b, url, sizeof(url));
	(void)l;
	for (int i = 0; i < 3; i++)
		assert_int_equal(weft_connect(a->w, url, NULL, &ep[i]), WEFT_OK);
	for (int i = 0; i < 3; i++)
		e[i] = wt_wait(b, WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
	wt_worker_free(b);
	assert_int_equal(weft_reject(e[0].data, WEFT_EREJECTED, "too late"), WEFT_OK);
	weft_event_release(d->w, &e[1]);
	assert_int_equal(weft_accept(e[2].data, d->w, NULL, &peer), WEFT_OK);
	wt_wait_count(a, WEFT_EV_DOWN, 2, WT_LIMIT_MS);
	wt_wait(d, WEFT_EV_CONNECTED, UINT64_MAX, WT_LIMIT_MS);
	for (int i = 0; i < 3; i++)
		weft_ep_abort(ep[i]);
	weft_ep_abort(peer);
	wt_worker_free(a);
	wt_worker_free(d);
	wt_close(ctx);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(one_listener_takes_many_connections),
	WT_CASE(connections_are_usable_before_they_are_connected),
	WT_CASE(an_accepted_connection_may_live_on_another_worker),
	WT_CASE(a_worker_address_connects_without_being_asked_for),
	WT_CASE(a_rejection_tells_why),
	WT_CASE(a_refused_connection_names_every_address),
	WT_CASE(the_next_address_is_tried),
	WT_CASE(a_closed_listener_refuses_who_waits_in_it),
	WT_CASE(a_listener_may_go_with_requests_unanswered),
	WT_CASE(a_port_in_use_is_an_error),
	WT_CASE(malformed_urls_are_refused),
	WT_CASE(a_transport_that_is_none_is_refused),
	WT_CASE(names_are_resolved_on_demand),
	WT_CASE(an_unknown_setting_names_the_nearest),
	WT_CASE(a_connection_ends_at_its_deadline),
	WT_CASE(a_connection_may_be_aborted_while_it_is_made),
	WT_CASE(connecting_again_and_again_leaks_no_descriptor),
	WT_CASE(peers_know_each_others_address),
	WT_CASE(a_request_outlives_its_listeners_worker),
};
WT_GROUP(wt_group_conn, cases);
