/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_proc.c - peers that are processes of their own: they exchange, they are killed with everything pending, they are
 * forked in mid-traffic, they find no descriptor left.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/conform.h"

struct home {                   /* this side: it listens, the peer process connects */
	weft_ctx *ctx;
	struct wt_w *w;
	weft_listener *l;
	weft_ep *ep;
	char url[160];
	struct wt_child child;
};

static void home_open(struct home *h, int (*peer)(int sock, void *arg))
{
	if (!wt_variant->processes)
		wt_skip("this transport lives inside one process");
	*h = (struct home){ 0 };
	wt_child_start(&h->child, peer, NULL);
	h->ctx = wt_open(NULL, NULL);
	h->w = wt_worker(h->ctx, 0);
	h->l = wt_listen(h->w, h->url, sizeof(h->url));
	wt_must(wt_say(h->child.sock, h->url, sizeof(h->url)));
	h->ep = wt_accept(h->w);
}

static void home_close(struct home *h)
{
	wt_child_kill(&h->child);
	if (h->ep)
		wt_ep_close(h->w, h->ep);
	assert_int_equal(weft_listener_close(h->l), WEFT_OK);
	wt_worker_free(h->w);
	wt_close(h->ctx);
}

/* In the peer: connected to the other side. */
static struct wt_w *peer_open(int sock, weft_ep **ep_out)
{
	struct wt_w *w = wt_worker(wt_open(NULL, NULL), 0);
	char url[160];

	wt_must(wt_hear(sock, url, sizeof(url)));
	*ep_out = wt_connect(w, url);
	return w;
}

static int echoing_peer(int sock, void *arg)
{
	size_t cap = 16 << 20;
	unsigned char *bytes = malloc(cap);
	weft_ep *ep;
	struct wt_w *w = peer_open(sock, &ep);

	(void)arg;
	for (;;) {
		weft_buf b = wt_buf(bytes, cap);
		weft_call c = wt_call(0);
		weft_event e = wt_done(w, wt_took(w, weft_recv(w->w, &b, 1, 0, WT_ANY_TAG, &c), &c));

		wt_must(e.status == 0);
		if (!e.len)
			break;
		b.len = e.len;
		c = wt_call(0);
		wt_ok(w, wt_took(w, weft_send(ep, &b, 1, e.tag + 1, &c), &c));
	}
	wt_ep_close(w, ep);
	return 0;
}

static void echo(struct home *h, size_t len, uint64_t tag)
{
	unsigned char *out = malloc(len + 1), *in = malloc(len + 1);
	weft_buf bo = wt_buf(out, len), bi = wt_buf(in, len);
	weft_call co = wt_call(0), ci = wt_call(0);
	struct wt_posted s, r;

	wt_fill(out, len, tag);
	memset(in, 0, len);
	r = wt_took(h->w, weft_recv(h->w->w, &bi, 1, tag + 1, WT_EXACT, &ci), &ci);
	s = wt_took(h->w, weft_send(h->ep, &bo, 1, tag, &co), &co);
	wt_ok(h->w, r);
	wt_ok(h->w, s);
	wt_must(wt_differs(in, len, tag) == SIZE_MAX);
	free(out);
	free(in);
}

static void processes_exchange_messages(void **state)
{
	struct home h;
	weft_call c = wt_call(0);

	(void)state;
	home_open(&h, echoing_peer);
	for (unsigned i = 0; i < wt_rounds(500); i++)
		echo(&h, 1 + i * 13, i);
	for (size_t i = 0; i < wt_n_borders; i++) {
		for (int d = -1; d <= 0; d++)
			echo(&h, wt_borders[i] + d, 100 * i);
	}
	wt_ok(h.w, wt_took(h.w, weft_send(h.ep, NULL, 0, 0, &c), &c));
	assert_int_equal(wt_child_wait(&h.child, WT_LIMIT_MS), 0);
	home_close(&h);
}

static void killed_in_mid_traffic(void **state)
{
	struct home h;
	static unsigned char big[8 << 20];

	(void)state;
	wt_provider_keeps_fds("ucx-shm", WT_KEPT_WORKERS);
	for (int round = 0; round < 5; round++) {
		struct wt_posted op[16];
		uint64_t killed;

		home_open(&h, echoing_peer);
		for (int i = 0; i < 16; i++) {
			weft_buf b = wt_buf(big + i % 8 * (1 << 20), 1 << 20);
			weft_call c = wt_call(0);

			if (i & 1)
				c.from = h.ep;
			op[i] = wt_took(h.w, i & 1 ? weft_recv(h.w->w, &b, 1, 7, WT_EXACT, &c) :
						     weft_send(h.ep, &b, 1, 6, &c), &c);
		}
		for (int i = 0; i < round * 200; i++)
			weft_progress(h.w->w);
		wt_child_kill(&h.child);
		killed = wt_now_ns();
		for (int i = 0; i < 16; i++) {
			weft_event e = wt_done(h.w, op[i]);

			assert_true(e.status == 0 || e.status == WEFT_ERESET);
		}
		wt_wait(h.w, WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		assert_true(wt_now_ns() - killed < wt_slow(1000) * 1000000ull);
		home_close(&h);
	}
}

struct shown {
	size_t len;
	unsigned char token[64];
};

/* Grants memory, turns until the other side has opened it, and then does nothing more. */
static int silent_peer(int sock, void *arg)
{
	static unsigned char bytes[1 << 16];
	struct shown shown = { .len = sizeof(shown.token) };
	weft_buf b = wt_buf(bytes, sizeof(bytes));
	weft_ctx *ctx = wt_open(NULL, NULL);
	struct wt_w *w = wt_worker(ctx, 0);
	weft_grant g;
	weft_mem *m;
	char url[160], opened;

	(void)arg;
	wt_must(wt_hear(sock, url, sizeof(url)));
	wt_connect(w, url);
	wt_must(weft_mem_register(ctx, &b, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, &m) == WEFT_OK);
	wt_must(weft_grant_new(m, 0, sizeof(bytes), WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, NULL, shown.token, &shown.len,
			       &g) == WEFT_OK);
	wt_must(wt_say(sock, &shown, sizeof(shown)));
	wt_must(wt_hear(sock, &opened, 1)); /* turns meanwhile */
	wt_must(wt_say(sock, "s", 1));
	for (;;)
		pause();
}

enum { EACH = 8, KINDS = 9 };

static const char *const kind_name[KINDS] = { "sync send", "large send", "receive", "large AM", "stream receive", "get",
					      "put", "atomic", "flush" };

static struct wt_posted post(struct home *h, weft_remote *r, int kind)
{
	static unsigned char out[1 << 20], in[4096];
	weft_buf big = wt_buf(out, sizeof(out)), small = wt_buf(in, sizeof(in));
	weft_call c = wt_call(kind == 0 ? WEFT_SYNC : 0);
	int ret;

	c.from = kind == 2 ? h->ep : NULL;
	switch (kind) {
	case 0:
		ret = weft_send(h->ep, &small, 1, 1, &c);
		break;
	case 1:
		ret = weft_send(h->ep, &big, 1, 1, &c);
		break;
	case 2:
		ret = weft_recv(h->w->w, &small, 1, 1, WT_EXACT, &c);
		break;
	case 3:
		ret = weft_am_send(h->ep, 1, "h", 1, &big, 1, &c);
		break;
	case 4:
		ret = weft_stream_recv(h->ep, &small, 1, &c);
		break;
	case 5:
		ret = weft_get(h->ep, &small, 1, r, 0, &c);
		break;
	case 6:
		ret = weft_put(h->ep, &small, 1, r, 0, &c);
		break;
	case 7:
		ret = weft_atomic(h->ep, WEFT_ATOMIC_ADD, r, 0, 1, 0, &c);
		break;
	default:
		ret = weft_flush(h->w->w, h->ep, &c);
	}
	return wt_took(h->w, ret, &c);
}

/* Nanoseconds from the kill until the last of all kinds of operations has failed. */
static uint64_t kill_with_everything_pending(void)
{
	struct wt_posted op[KINDS][EACH];
	struct shown shown;
	unsigned failed[KINDS] = { 0 }, all = 0;
	uint64_t killed, took;
	char text[300], why[40];
	weft_remote *r;
	struct home h;
	weft_event e;

	home_open(&h, silent_peer);
	wt_must(wt_hear(h.child.sock, &shown, sizeof(shown)));
	assert_int_equal(weft_remote_open(h.ep, shown.token, shown.len, &r), WEFT_OK);
	wt_ok(h.w, post(&h, r, 5)); /* a get: it is open */
	wt_must(wt_say(h.child.sock, "o", 1));
	wt_must(wt_hear(h.child.sock, text, 1));
	for (int k = 0; k < KINDS; k++) {
		for (int i = 0; i < EACH; i++)
			op[k][i] = post(&h, r, k);
	}
	wt_pump_ms(20);
	snprintf(why, sizeof(why), wt_is("shm") ? "process %d died" : "peer", (int)h.child.pid);
	killed = wt_now_ns();
	wt_child_kill(&h.child);
	while (!wt_count(h.w, WEFT_EV_DOWN)) {
		assert_int_equal(weft_wait_any(h.w->w, killed + wt_slow(5000) * 1000000ull), WEFT_OK);
		wt_pump();
	}
	for (int k = 0; k < KINDS; k++) {
		for (int i = 0; i < EACH; i++) {
			e = wt_done(h.w, op[k][i]);
			assert_true(e.status == 0 || e.status == WEFT_ERESET);
			failed[k] += e.status == WEFT_ERESET;
			weft_error_text(weft_event_error(&e), text, sizeof(text));
			if (e.status && !strstr(text, why))
				fail_msg("\"%s\" does not say \"%s\"", text, why);
		}
		all += failed[k];
	}
	took = wt_now_ns() - killed;
	printf("# %u operations failed within %.2f ms of the kill:", all, (double)took / 1e6);
	for (int k = 0; k < KINDS; k++)
		printf(" %s %u,", kind_name[k], failed[k]);
	printf(" \"%s\"\n", text);
	for (int k = 0; k < KINDS; k++) { /* one-sided ones may have been done without the peer, puts are done when they left */
		if (k < 5 || k == 8 || (k != 6 && !strcmp(wt_variant->transport, "tcp")))
			assert_int_equal(failed[k], EACH);
	}
	wt_pump_ms(30);
	assert_int_equal(wt_count(h.w, WEFT_EV_OP), 0);
	assert_int_equal(wt_count(h.w, WEFT_EV_DOWN), 1);
	weft_remote_close(r);
	home_close(&h);
	return took;
}

static void a_killed_peer_fails_everything_pending_with_the_reason(void **state)
{
	uint64_t best = UINT64_MAX, took;

	(void)state;
	/* once in time is enough: a machine that is busy with something else may be late */
	for (int i = 0; i < 3 && best > wt_slow(100) * 1000000ull; i++) {
		took = kill_with_everything_pending();
		best = took < best ? took : best;
	}
	assert_true(best < wt_slow(100) * 1000000ull);
}

/* Sends, then breaks its TCP connections and does nothing more: it lives. */
static int half_cut_peer(int sock, void *arg)
{
	struct sockaddr_storage at;
	weft_buf b = wt_buf("before", 6);
	weft_call c = wt_call(0);
	weft_ep *ep;
	struct wt_w *w = peer_open(sock, &ep);

	(void)arg;
	wt_took(w, weft_send(ep, &b, 1, 1, &c), &c);
	c = wt_call(0);
	wt_ok(w, wt_took(w, weft_flush(w->w, ep, &c), &c));
	wt_must(wt_hear(sock, &at, 1));
	for (int fd = 3; fd < 64; fd++) {
		socklen_t len = sizeof(at);

		if (!getpeername(fd, (struct sockaddr *)&at, &len) && at.ss_family == AF_INET)
			shutdown(fd, SHUT_RDWR);
	}
	for (;;)
		pause();
}

/* The lane of messages has nothing better to say, and does not go on alone. */
static void a_broken_control_connection_ends_the_endpoint(void **state)
{
	char in[8], big[100000] = "";
	weft_buf b = wt_buf(in, sizeof(in)), bb = wt_buf(big, sizeof(big));
	weft_call c = wt_call(0);
	struct wt_posted sent;
	struct home h;
	weft_event e;

	(void)state;
	home_open(&h, half_cut_peer);
	sent = wt_took(h.w, weft_send(h.ep, &bb, 1, 1, &c), &c);
	wt_must(wt_say(h.child.sock, "x", 1));
	e = wt_wait(h.w, WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(e.status, WEFT_ERESET);
	wt_says(&e, wt_is("shm") ? "peer closed the connection" : "the connection");
	wt_fails(h.w, sent, WEFT_ERESET);
	c = wt_call(0); /* what had come before is there */
	wt_ok(h.w, wt_took(h.w, weft_recv(h.w->w, &b, 1, 1, WT_EXACT, &c), &c));
	wt_pump_ms(30);
	assert_int_equal(wt_count(h.w, WEFT_EV_DOWN) + wt_count(h.w, WEFT_EV_OP), 0);
	home_close(&h);
}

static int child_of_the_fork(int sock, void *arg)
{
	struct wt_pair *p = arg;
	weft_buf b = wt_buf("x", 1);
	weft_call c = wt_call(0);
	weft_event e;
	weft_ctx *ctx;
	weft_worker *w;
	char text[64];
	size_t len = sizeof(text);

	(void)sock;
	wt_must(weft_progress(p->w[0]->w) == WEFT_EFORKED);
	wt_must(weft_reap(p->w[0]->w, &e, 1) == 0);
	wt_must(weft_last_error()->status == WEFT_EFORKED);
	wt_must(weft_send(p->ep[0], &b, 1, 1, &c) == WEFT_EFORKED);
	wt_must(weft_recv(p->w[1]->w, &b, 1, 1, WT_EXACT, &c) == WEFT_EFORKED);
	wt_must(weft_arm(p->w[1]->w) == WEFT_EFORKED);
	wt_must(weft_wait_any(p->w[1]->w, wt_in_ms(10)) == WEFT_EFORKED);
	wt_must(weft_wake(p->w[1]->w) == WEFT_EFORKED);
	wt_must(weft_stats(p->ctx, NULL, text, &len) == WEFT_EFORKED);
	wt_must(weft_explain(p->ctx, NULL, NULL, 0, text, &len) == WEFT_EFORKED);
	wt_must(weft_trace_stop(p->ctx) == WEFT_EFORKED);
	wt_must(weft_after_fork(p->ctx) == WEFT_OK);
	ctx = wt_open(NULL, NULL); /* and it may start anew */
	wt_must(weft_worker_new(ctx, NULL, &w) == WEFT_OK);
	wt_must(weft_progress(w) >= 0);
	wt_must(weft_worker_free(w) == WEFT_OK);
	wt_close(ctx);
	return 0;
}

static void a_fork_in_mid_traffic_harms_nobody(void **state)
{
	enum { N = 8 };
	size_t len = 1 << 20;
	unsigned char *out = malloc(N * len), *in = malloc(N * len);
	struct wt_posted s[N], r[N];
	struct wt_child child;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, N * len, 3);
	for (int round = 0; round < 3; round++) {
		memset(in, 0, N * len);
		for (int i = 0; i < N; i++) {
			size_t k = i & 1 ? len : 500;

			s[i] = wt_send(&p, 0, out + i * len, k, i, 0);
			r[i] = wt_recv(&p, 1, in + i * len, k, i, WT_EXACT);
		}
		for (int i = 0; i < round * 10; i++)
			weft_progress(p.w[i & 1]->w);
		wt_child_start(&child, child_of_the_fork, &p);
		for (int i = 0; i < N; i++) {
			wt_ok(p.w[0], s[i]);
			wt_ok(p.w[1], r[i]);
			assert_int_equal(wt_differs_at(in + i * len, i & 1 ? len : 500, 3, i * len), SIZE_MAX);
		}
		assert_int_equal(wt_child_wait(&child, WT_LIMIT_MS), 0);
		wt_exchange(&p, 0, 1000, 1);
	}
	assert_int_equal(weft_after_fork(p.ctx), WEFT_EINVAL); /* this is the parent */
	wt_pair_close(&p);
	free(out);
	free(in);
}

static int late_peer(int sock, void *arg)
{
	weft_ep *ep;
	struct wt_w *w = peer_open(sock, &ep);
	weft_buf b = wt_buf("here", 4);
	weft_call c = wt_call(WEFT_SYNC);

	(void)arg;
	wt_ok(w, wt_took(w, weft_send(ep, &b, 1, 1, &c), &c));
	wt_ep_close(w, ep);
	return 0;
}

static void accepting_goes_on_when_descriptors_come_back(void **state)
{
	struct rlimit old, low;
	struct wt_child child;
	int taken[300], n = 0, fd;
	char url[160] = "", in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	weft_call c = wt_call(0);
	weft_listener *l;
	weft_ctx *ctx;
	struct wt_w *w;
	weft_ep *ep;

	(void)state;
	if (!wt_variant->processes)
		wt_skip("this transport lives inside one process");
	wt_child_start(&child, late_peer, NULL);
	ctx = wt_open(NULL, NULL);
	w = wt_worker(ctx, 0);
	l = wt_listen(w, url, sizeof(url));
	wt_pump_ms(5);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 256;
	setrlimit(RLIMIT_NOFILE, &low);
	while (n < 300 && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		taken[n++] = fd;
	assert_true(n < 300);
	wt_must(wt_say(child.sock, url, sizeof(url)));
	wt_pump_ms(150);
	assert_int_equal(wt_count(w, WEFT_EV_REQUEST), 0);
	while (n)
		close(taken[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	ep = wt_accept(w);
	wt_ok(w, wt_took(w, weft_recv(w->w, &b, 1, 1, WT_EXACT, &c), &c));
	assert_int_equal(wt_child_wait(&child, WT_LIMIT_MS), 0);
	wt_ep_close(w, ep);
	assert_int_equal(weft_listener_close(l), WEFT_OK);
	wt_worker_free(w);
	wt_close(ctx);
}

static const struct CMUnitTest cases[] = {
	WT_CASE_HERE(processes_exchange_messages, "has a peer process of its own"),
	WT_CASE_HERE(killed_in_mid_traffic, "has a peer process of its own"),
	WT_CASE_HERE(a_killed_peer_fails_everything_pending_with_the_reason, "has a peer process of its own"),
	WT_CASE_HERE(a_broken_control_connection_ends_the_endpoint, "has a peer process of its own"),
	WT_CASE_HERE(a_fork_in_mid_traffic_harms_nobody, "has a peer process of its own"),
	WT_CASE_HERE(accepting_goes_on_when_descriptors_come_back, "has a peer process of its own"),
};
WT_GROUP(wt_group_proc, cases);
