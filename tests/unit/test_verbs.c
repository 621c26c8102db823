/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs.c - the verbs transport over devices in software (tests/fake/ibverbs), looked at from inside: what a message costs
 * in work requests, completions and copies; bad peers; what readers with fresh eyes found. When an adapter gives up:
 * test_verbs_break.c; what devices allow: test_verbs_dev.c.
 */
#include "unit/verbs_inside.h"

/* ---- what it costs ---- */

static void eager_messages_cost_one_post(void **state)
{
	enum { N = 6400 };
	static const size_t len[] = { 0, 8, 200, 1000, 8160 };
	unsigned char out[8160], in[8160];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t k = 0; k < sizeof(len) / sizeof(len[0]); k++) {
		struct verbs_dev *d = dev_of(p.ep[0]), *there = dev_of(p.ep[1]);
		uint64_t posts = d->n_posts, signalled = d->n_signalled, notes = there->n_posts, frames = p.ep[1]->msg->frames_rx;

		for (int i = 0; i < N; i++) {
			struct wt_posted r = wt_recv(&p, 1, in, len[k], 1, WT_EXACT), s = wt_send(&p, 0, out, len[k], 1, 0);

			wt_ok(p.w[0], s);
			wt_ok(p.w[1], r);
		}
		assert_int_equal(p.ep[1]->msg->frames_rx - frames, N);
		assert_int_equal(d->n_posts - posts, N);
		assert_true(d->n_signalled - signalled <= N / 32 + 1);
		assert_true(there->n_posts - notes <= N / (VERBS_CREDITS / 2) + 1);   /* credits, when nothing goes back anyway */
	}
	wt_pair_close(&p);
}

/* Who sleeps is woken once, however many messages come before it looks (ADR 19). */
static void a_burst_wakes_a_sleeper_once(void **state)
{
	static const unsigned bursts[] = { 1, 2, 8, VERBS_CREDITS - 1 };
	struct wt_posted r[VERBS_CREDITS], s[VERBS_CREDITS];
	char in[VERBS_CREDITS];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 8, 1);
	for (unsigned round = 0; round < 40; round++) {
		unsigned n = bursts[round % WF_ARRAY_LEN(bursts)];
		struct pollfd fd = { .fd = weft_worker_fd(p.w[1]->w), .events = POLLIN };
		struct verbs_dev *d = dev_of(p.ep[1]);
		uint64_t events;

		for (unsigned i = 0; i < n; i++)
			r[i] = wt_recv(&p, 1, &in[i], 1, 1, WT_EXACT);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); weft_arm(p.w[1]->w) != WEFT_OK || poll(&fd, 1, 0);) {
			assert_true(wt_now_ns() < limit);
			wt_pump();
		}
		events = d->n_events;
		for (unsigned i = 0; i < n; i++)
			s[i] = wt_send(&p, 0, "x", 1, 1, 0);
		assert_int_equal(poll(&fd, 1, WT_LIMIT_MS), 1);
		for (unsigned i = 0; i < n; i++) {
			wt_ok(p.w[1], r[i]);
			wt_ok(p.w[0], s[i]);
		}
		assert_int_equal(d->n_events - events, 1);
	}
	wt_pair_close(&p);
}

static unsigned n_recv_posts;
static int (*post_srq_recv)(struct ibv_srq *, struct ibv_recv_wr *, struct ibv_recv_wr **);

static int count_recv_posts(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	n_recv_posts++;
	return post_srq_recv(srq, wr, bad);
}

/* A burst: a post for each message, and one for all the buffers that a look at the queue set free (ADR 22). */
static void a_burst_gives_its_buffers_back_together(void **state)
{
	enum { N = VERBS_CREDITS - 1, ROUNDS = 50 };
	struct wt_posted r[N], s[N];
	struct verbs_dev *d;
	uint64_t posts;
	struct wt_pair p;
	char in[N];

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 8, 1);
	d = dev_of(p.ep[1]);
	post_srq_recv = d->ctx->ops.post_srq_recv;
	d->ctx->ops.post_srq_recv = count_recv_posts;
	n_recv_posts = 0;
	posts = dev_of(p.ep[0])->n_posts;
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < N; i++)
			r[i] = wt_recv(&p, 1, &in[i], 1, 1, WT_EXACT);
		for (unsigned i = 0; i < N; i++)
			s[i] = wt_send(&p, 0, "x", 1, 1, 0);
		for (unsigned i = 0; i < N; i++) {
			wt_ok(p.w[1], r[i]);
			wt_ok(p.w[0], s[i]);
		}
	}
	assert_int_equal(dev_of(p.ep[0])->n_posts - posts, N * ROUNDS);
	print_message("%u messages: %u posts of receive buffers\n", N * ROUNDS, n_recv_posts);
	assert_true(n_recv_posts <= N * ROUNDS / (VERBS_BATCH / 2));
	d->ctx->ops.post_srq_recv = post_srq_recv;
	wt_pair_close(&p);
}

/* A put with a signal: two work requests, and one frame for the peer to look at (ADR 16). */
static void a_signal_is_a_frame_behind_its_put(void **state)
{
	enum { N = 640 };
	uint64_t word = 7, posts, signalled, frames;
	weft_buf b = wt_buf(&word, sizeof(word));
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, 4096, WEFT_READ | WEFT_WRITE, true);
	wt_exchange(&p, 0, 8, 1);
	posts = dev_of(p.ep[0])->n_posts;
	signalled = dev_of(p.ep[0])->n_signalled;
	frames = p.ep[1]->msg->frames_rx;
	for (int i = 0; i < N; i++) {
		weft_call c = wt_call(0);

		wt_ok(p.w[0], wt_took(p.w[0], weft_put_signal(p.ep[0], &b, 1, m.remote, 8, 1, &c), &c));
		wt_pump();
	}
	assert_in_range(dev_of(p.ep[0])->n_posts - posts, 2 * N, 2 * N + 1);   /* and the opening of the memory */
	assert_in_range(p.ep[1]->msg->frames_rx - frames, N, N + 1);
	assert_true(dev_of(p.ep[0])->n_signalled - signalled <= 2 * N / 32 + 1);
	assert_int_equal(((uint64_t *)(void *)m.addr)[1], 7);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
}

static void large_messages_are_copied_by_no_cpu(void **state)
{
	enum { LEN = 4 << 20 };
	struct wt_pair p;
	uint64_t frame_bytes;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 9000, 1);
	frame_bytes = p.ep[1]->msg->bytes_rx;
	for (int i = 0; i < 8; i++)
		wt_exchange(&p, 0, LEN, (uint64_t)i);
	assert_int_equal(p.ep[1]->msg->copy_us, 8ull * LEN + 9000);   /* all by RDMA reads of the receiver's adapter */
	assert_true(p.ep[1]->msg->bytes_rx - frame_bytes < 8 * 300);  /* announcements */
	assert_int_equal(dev_of(p.ep[0])->registered, 0);             /* of plain memory nothing is kept */
	assert_int_equal(dev_of(p.ep[1])->registered, 0);
	wt_pair_close(&p);
}

static void a_region_is_registered_once(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *in = malloc(LEN);
	struct wt_pair p;
	weft_mem *m;
	weft_buf b;

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_alloc(p.ctx, LEN, WEFT_HOST, -1, &m), WEFT_OK);
	b = (weft_buf){ .addr = weft_mem_addr(m, NULL), .len = LEN, .mem = m };
	for (int i = 0; i < 5; i++) {
		weft_call c = wt_call(0);
		struct wt_posted r = wt_recv(&p, 1, in, LEN, 7, WT_EXACT);

		wt_ok(p.w[0], wt_took(p.w[0], weft_send(p.ep[0], &b, 1, 7, &c), &c));
		wt_ok(p.w[1], r);
		assert_int_equal(wf_map_count(&dev_of(p.ep[0])->mrs), 1);
		assert_int_equal(dev_of(p.ep[0])->registered, LEN);
	}
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); dev_of(p.ep[0])->registered && wt_now_ns() < limit;)
		wt_pump();
	assert_int_equal(dev_of(p.ep[0])->registered, 0);
	wt_pair_close(&p);
	free(in);
}

/* Kept registrations go when the bound needs their place. */
static void what_is_kept_is_bounded(void **state)
{
	enum { LEN = 512 << 10, N = 6 };
	unsigned char *in = malloc(LEN);
	weft_mem *m[N];
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_registered", "1M");
	for (int i = 0; i < N; i++) {
		struct wt_posted r = wt_recv(&p, 1, in, LEN, 7, WT_EXACT);
		weft_call c = wt_call(0);
		weft_buf b;

		assert_int_equal(weft_mem_alloc(p.ctx, LEN, WEFT_HOST, -1, &m[i]), WEFT_OK);
		b = (weft_buf){ .addr = weft_mem_addr(m[i], NULL), .len = LEN, .mem = m[i] };
		wt_ok(p.w[0], wt_took(p.w[0], weft_send(p.ep[0], &b, 1, 7, &c), &c));
		wt_ok(p.w[1], r);
		assert_true(dev_of(p.ep[0])->registered <= 1 << 20);
	}
	for (int i = 0; i < N; i++)
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	wt_pair_close(&p);
	free(in);
}

/* The adapter's own atomics, where it says that they are atomic with the CPU's; the others by the owner's CPU, as everywhere. */
static void adapters_do_atomics(void **state)
{
	struct wt_pair p;
	struct wt_mem m;
	uint64_t *word, posts;

	(void)state;
	for (int glob = 0; glob < 2; glob++) {
		if (glob)
			setenv("WEFT_TEST_IBV_GLOB", "1", 1);
		wt_pair_open(&p, 0);
		wt_mem_open(&p, &m, 64, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, false);
		word = (uint64_t *)(void *)m.addr;
		*word = 5;
		for (uint32_t what = WEFT_ATOMIC_ADD; what <= WEFT_ATOMIC_CAS; what++) {
			weft_call c = wt_call(0);
			uint64_t before = *word, frames = p.ep[1]->msg->frames_rx;
			bool native = glob && (what == WEFT_ATOMIC_ADD || what == WEFT_ATOMIC_CAS);
			weft_event e = wt_ok(p.w[0], wt_took(p.w[0], weft_atomic(p.ep[0], what, m.remote, 0, 3, before, &c), &c));

			assert_int_equal(e.value, before);
			if (what == WEFT_ATOMIC_ADD)
				assert_int_equal(*word, before + 3);
			if (what == WEFT_ATOMIC_CAS)
				assert_int_equal(*word, 3);
			if (what != WEFT_ATOMIC_ADD)     /* the first comes with the answer to OPEN */
				assert_int_equal(p.ep[1]->msg->frames_rx - frames, !native);
		}
		posts = dev_of(p.ep[0])->n_posts;
		assert_true(posts > 0);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_GLOB");
}

/* ---- many peers ---- */

/* @n more connections between the two workers of @p, all asked for at once: ep[i] on the side that asks, ep[n + i] on the other. */
static void connect_many(struct wt_pair *p, unsigned n, weft_ep **ep)
{
	for (unsigned i = 0; i < n; i++) {
		weft_conn_opts o = { .size = sizeof(o), .user_data = 1000000 + i };

		assert_int_equal(weft_connect(p->w[0]->w, p->url, &o, &ep[i]), WEFT_OK);
	}
	for (unsigned i = 0; i < n; i++)
		ep[n + i] = wt_accept(p->w[1]);
	for (unsigned i = 0; i < n; i++)
		wt_wait(p->w[0], WEFT_EV_CONNECTED, 1000000 + i, WT_LIMIT_MS);
}

/* A message from @w over @ep to p's second worker. */
static void carries(struct wt_pair *p, struct wt_w *w, weft_ep *ep, uint64_t tag, const char *transport)
{
	weft_buf b = wt_buf("message", 8);
	weft_call c = wt_call(0);
	char in[8] = "";
	struct wt_posted r = wt_recv(p, 1, in, 8, tag, WT_EXACT);

	wt_ok(w, wt_took(w, weft_send(ep, &b, 1, tag, &c), &c));
	wt_ok(p->w[1], r);
	assert_string_equal(in, "message");
	assert_string_equal(ep->msg->tr->name, transport);
}

/* A thousand at once, and each carries a message. */
static void a_thousand_connect_at_once(void **state)
{
	enum { N = 1000 };
	weft_ep **ep = calloc(2 * N, sizeof(*ep));
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	connect_many(&p, N, ep);
	for (unsigned i = 0; i < N; i++)
		carries(&p, p.w[0], ep[i], i, "verbs");
	for (unsigned i = 0; i < 2 * N; i++)
		weft_ep_abort(ep[i]);
	wt_pair_close(&p);
	free(ep);
}

/* Those of the side that connects are used up, or only those of the side that accepts: by whom, in words. */
static void one_more_goes_over_tcp(struct wt_pair *p, struct wt_w *w, const char *says)
{
	weft_conn_opts o = { .size = sizeof(o), .user_data = 78 };
	weft_ep *mine, *its;
	const char *text;

	assert_int_equal(weft_connect(w->w, p->url, &o, &mine), WEFT_OK);
	its = wt_accept(p->w[1]);
	wt_wait(w, WEFT_EV_CONNECTED, 78, WT_LIMIT_MS);
	text = explained(p->ctx, mine);
	carries(p, w, mine, 5, "tcp");
	if (!strstr(text, says))
		fail_msg("\"%s\" is not in: %s", says, text);
	weft_ep_abort(mine);
	weft_ep_abort(its);
}

/* Beyond its bound of queue pairs a worker reaches peers over tcp and says why; one that is free again serves the next. */
static void queue_pairs_have_a_bound(void **state)
{
	enum { N = VERBS_QPS - 1 };
	static const char used_up[] = "fake0:1: 1024 queue pairs of this worker are in use, and no more are made";
	char by_peer[160];
	weft_ep **ep = calloc(2 * N, sizeof(*ep)), *again[2];
	struct wt_pair p;
	struct wt_w *third;

	(void)state;
	snprintf(by_peer, sizeof(by_peer), "not used: verbs: the peer: %s", used_up);
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	third = wt_worker(p.ctx, 0);
	connect_many(&p, N, ep);
	assert_int_equal(wf_map_count(&dev_of(p.ep[0])->qps), VERBS_QPS);
	assert_int_equal(wf_map_count(&dev_of(p.ep[1])->qps), VERBS_QPS);
	carries(&p, p.w[0], ep[N - 1], 4, "verbs");
	one_more_goes_over_tcp(&p, p.w[0], used_up);
	one_more_goes_over_tcp(&p, third, by_peer);
	weft_ep_abort(ep[0]);
	weft_ep_abort(ep[N]);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); wf_map_count(&dev_of(p.ep[0])->qps) + wf_map_count(&dev_of(p.ep[1])->qps) > 2 * N;) {
		assert_true(wt_now_ns() < limit);
		wt_pump();
	}
	wt_pair_more(&p, again);
	carries(&p, p.w[0], again[0], 6, "verbs");
	assert_int_equal(wf_map_count(&dev_of(p.ep[0])->qps), VERBS_QPS);
	weft_ep_abort(again[0]);
	weft_ep_abort(again[1]);
	for (unsigned i = 1; i < N; i++) {
		weft_ep_abort(ep[i]);
		weft_ep_abort(ep[N + i]);
	}
	wt_worker_free(third);
	wt_pair_close(&p);
	free(ep);
}

/* ---- bad peers ---- */

/* A peer that talks nonsense about its queue pairs ends its endpoint, and nothing else. */
static void nonsense_about_queue_pairs_ends_the_endpoint(void **state)
{
	static const struct verbs_say bad[] = {
		{ .version = VERBS_VERSION, .what = VERBS_ANSWER, .n = 1 },     /* not asked */
		{ .version = VERBS_VERSION, .what = 77, .n = 1 },
		{ .version = VERBS_VERSION, .what = VERBS_ASK, .n = 99 },
		{ .version = 9, .what = VERBS_ASK, .n = 1 },
	};
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		weft_ep *ep[2];
		weft_event e;

		wt_pair_more(&p, ep);
		wf_lane_say(ep[0]->msg, &bad[i], sizeof(bad[i]));
		e = wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		assert_int_equal(e.status, bad[i].version == VERBS_VERSION ? WEFT_EPROTO : WEFT_EVERSION);
		wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		weft_ep_abort(ep[0]);
		weft_ep_abort(ep[1]);
		wt_exchange(&p, 0, 1000, 3);
	}
	wt_pair_close(&p);
}

/* ---- review: what should hold and does not ---- */

static bool ends_within(struct wt_pair *p, struct wt_w *w, struct wt_posted what, unsigned ms, weft_event *out)
{
	uint64_t end = wt_in_ms(ms);

	(void)p;
	while (wt_now_ns() < end) {
		if (wt_take(w, WEFT_EV_OP, what.id, out))
			return true;
		wt_pump();
	}
	return wt_take(w, WEFT_EV_OP, what.id, out);
}

/* buffers of sends that did not ask to be told are held back by each lane: with many lanes all of them are, for ever. */
static void many_peers_and_middle_messages(void **state)
{
	enum { N = 100, ROUNDS = 30, LEN = 1000 };
	static weft_ep *ep[N][2];
	static unsigned char out[LEN], in[N][LEN];
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	for (unsigned i = 0; i < N; i++)
		wt_pair_more(&p, ep[i]);
	for (unsigned k = 0; k < ROUNDS; k++) {
		struct wt_posted r[N], s[N];

		for (unsigned i = 0; i < N; i++) {
			weft_buf b = wt_buf(out, LEN);
			weft_call c = wt_call(0);

			r[i] = wt_recv(&p, 1, in[i], LEN, i, WT_EXACT);
			s[i] = wt_took(p.w[0], weft_send(ep[i][0], &b, 1, i, &c), &c);
		}
		for (unsigned i = 0; i < N; i++) {
			if (!ends_within(&p, p.w[1], r[i], 3000, &e))
				fail_msg("round %u, endpoint %u: nothing moves any more", k, i);
			wt_ok(p.w[0], s[i]);
		}
	}
	for (unsigned i = 0; i < N; i++) {
		weft_ep_abort(ep[i][0]);
		weft_ep_abort(ep[i][1]);
	}
	wt_pair_close(&p);
}

/* a large send is taken back, and the lane breaks before the peer has answered. */
static void cancelled_send_and_a_break(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *out = malloc(LEN);
	struct wt_posted s;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	wt_exchange(&p, 0, 100, 1);
	s = wt_send(&p, 0, out, LEN, 2, 0);
	wt_pump();
	assert_int_equal(weft_cancel(p.w[0]->w, s.op), WEFT_OK);
	verbs_break(lane_of(p.ep[0]), "the test pulled it");
	assert_true(ends_within(&p, p.w[0], s, 5000, &e));
	assert_int_equal(e.status, WEFT_ECANCELED);
	wt_exchange(&p, 0, 100, 3);
	wt_pair_close(&p);
	free(out);
}

/* R2b: the same, and the endpoint is aborted: weft_worker_free() never returns. */
static void cancelled_send_and_abort(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *out = malloc(LEN);
	struct wt_posted s;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	s = wt_send(&p, 0, out, LEN, 2, 0);
	wt_pump();
	assert_int_equal(weft_cancel(p.w[0]->w, s.op), WEFT_OK);
	weft_ep_abort(p.ep[0]);
	if (!ends_within(&p, p.w[0], s, 3000, &e)) {
		fprintf(stderr, "cancelled_send_and_abort: never ends; weft_worker_free() would loop for ever\n");
		_exit(1);
	}
	p.ep[0] = NULL;
	weft_ep_abort(p.ep[1]);
	p.ep[1] = NULL;
	wt_pair_close(&p);
	free(out);
}

/* the peer's CLOSE is among the last frames of a lane that breaks. */
static void close_among_the_last_frames(void **state)
{
	weft_call c = wt_call(0);
	struct wt_posted closed;
	struct wt_pair p;
	weft_event e;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	wt_exchange(&p, 0, 100, 1);
	closed = wt_took(p.w[0], weft_ep_close(p.ep[0], &c), &c);
	verbs_break(lane_of(p.ep[1]), "the test pulled it");
	assert_true(ends_within(&p, p.w[0], closed, 5000, &e));
	p.ep[0] = NULL;
	weft_ep_abort(p.ep[1]);
	p.ep[1] = NULL;
	wt_pair_close(&p);
}

/* put, fence, message: the message must not be there before the bytes, also over the lane that takes over. */
static void a_fence_holds_across_a_break(void **state)
{
	enum { LEN = 4 << 20 };
	unsigned char *buf = malloc(LEN), in[8];
	struct wt_posted put, s, r;
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(buf, LEN);
	struct wt_pair p;
	struct wt_mem m;
	weft_event e;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, false);
	for (int i = 0; i < 20; i++)
		wt_pump();
	wt_fill(buf, LEN, 7);
	r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
	verbs_break(lane_of(p.ep[1]), "the test pulled it");   /* what is posted from here on does not come there */
	put = wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c), &c);
	assert_int_equal(weft_fence(p.ep[0]), WEFT_OK);
	s = wt_send(&p, 0, "ready!!", 8, 1, 0);
	assert_true(ends_within(&p, p.w[1], r, 5000, &e));
	assert_int_equal(e.status, WEFT_OK);
	wt_assert_data(m.addr, LEN, 7);
	wt_ok(p.w[0], put);
	wt_ok(p.w[0], s);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
	free(buf);
}

/* Of memory whose grant is gone already: wt_mem_close() would take it back once more. */
static void end_revoked(struct wt_pair *p, struct wt_mem *m)
{
	weft_remote_close(m->remote);
	assert_int_equal(weft_mem_free(m->mem), WEFT_OK);
	free(m->own);
	wt_pair_close(p);
}

/* REVOKE comes while a put is in the adapter's hands, and the lane breaks then. */
static void revoked_while_it_breaks(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *buf = malloc(LEN);
	struct wt_posted put, gone;
	weft_call c[2] = { wt_call(0), wt_call(0) };
	weft_buf b = wt_buf(buf, LEN);
	struct wf_frame h;
	struct wt_pair p;
	struct wt_mem m;
	weft_event e;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, false);
	for (int i = 0; i < 20; i++)
		wt_pump();
	verbs_break(lane_of(p.ep[1]), "the test pulled it");
	put = wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c[0]), &c[0]);
	assert_int_equal(m.remote->started, 1);
	/* as if it had been sent before the break */
	h = (struct wf_frame){ .type = WF_FR_REVOKE, .seq = p.ep[1]->msg->tx_seq++, .id = wf_wire_id(m.remote) };
	assert_int_equal(wf_frame_in(p.ep[0]->msg, &h, NULL), 0);
	gone = wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c[1]), &c[1]);
	assert_true(ends_within(&p, p.w[0], put, 5000, &e));
	assert_true(ends_within(&p, p.w[1], gone, 3000, &e));
	end_revoked(&p, &m);
	free(buf);
}

/* the owner takes a grant back while a put with a signal is under way: no reason to lose the endpoint. */
static void revoked_while_a_signal_is_due(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *buf = malloc(LEN);
	struct wt_posted put, gone;
	weft_call c[2] = { wt_call(0), wt_call(0) };
	weft_buf b = wt_buf(buf, LEN);
	struct wt_pair p;
	struct wt_mem m;
	weft_event e;

	(void)state;
	wt_pair_open(&p, 0);
	wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, false);
	for (int i = 0; i < 20; i++)
		wt_pump();
	put = wt_took(p.w[0], weft_put_signal(p.ep[0], &b, 1, m.remote, 0, 5, &c[0]), &c[0]);
	gone = wt_took(p.w[1], weft_grant_revoke(m.mem, m.grant, &c[1]), &c[1]);
	for (int i = 0; i < 20; i++)
		weft_progress(p.w[1]->w);
	assert_true(ends_within(&p, p.w[0], put, 5000, &e));
	assert_true(ends_within(&p, p.w[1], gone, 3000, &e));
	wt_pump_ms(50);
	assert_int_equal(p.ep[0]->state, WF_EP_READY);
	assert_int_equal(p.ep[1]->state, WF_EP_READY);
	end_revoked(&p, &m);
	free(buf);
}

static struct verbs_lane *lane_or_null(weft_ep *ep)
{
	return strcmp(ep->msg->tr->name, "verbs") ? NULL : verbs_lane_of(ep->msg);
}

/* weft_arm() does not say "sleep" while the switch is due. (Mostly an event of the flushed request wakes it by luck.) */
static void nobody_sleeps_through_the_switch(void **state)
{
	struct wt_pair p;

	(void)state;
	for (unsigned round = 0; round < 16; round++) {
		struct weft_worker *b;

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		for (unsigned i = 0; i < 5 + round; i++)
			wt_exchange(&p, 0, 100, i);
		b = p.w[1]->w;
		wt_pump_ms(20);                          /* the bootstrap lanes are cold by then */
		b->lead = p.ep[1]->msg->port;            /* where something moved last, as with a stream of messages */
		verbs_break(lane_of(p.ep[0]), "the test pulled it");
		while (lane_or_null(p.ep[1]) && lane_or_null(p.ep[1])->state != VERBS_DOWN) {
			weft_progress(p.w[0]->w);
			/* as when the event is found by epoll, before the flushed requests */
			verbs_dev_events(lane_or_null(p.ep[1])->rail[0]->dev);
			weft_progress(b);
		}
		for (int i = 0; i < 10000; i++)          /* the peer has nothing more to say */
			weft_progress(p.w[0]->w);
		if (weft_arm(b) == WEFT_OK) {
			struct pollfd fd = { .fd = weft_worker_fd(b), .events = POLLIN };

			uint64_t t0 = wt_now_ns();

			if (lane_or_null(p.ep[1]) && poll(&fd, 1, 5) == 0) {
				int woke = poll(&fd, 1, 5000);

				fail_msg("round %u: it sleeps (for %llu ms, %s), and the switch is due; its lane is %s", round,
					 (unsigned long long)((wt_now_ns() - t0) / 1000000), woke ? "then something else wakes it" : "and longer",
					 p.ep[1]->msg->tr->name);
			}
		}
		wt_pump_ms(20);
		wt_pair_close(&p);
	}
}

/* a peer that does not keep to its credits: what it sends to a lane that is paused is copied out without bound. */
static void a_peer_keeps_to_its_credits(void **state)
{
	static unsigned char out[8000];
	struct verbs_lane *there;
	struct wt_pair p;
	unsigned held = 0;

	(void)state;
	wt_pair_open_with(&p, 0, "limit_unexpected", "64K");
	wt_exchange(&p, 0, 100, 1);
	there = lane_of(p.ep[1]);
	p.ep[0]->pressure = false;
	for (int i = 0; i < 2000 && p.ep[1]->state == WF_EP_READY; i++) {
		struct wf_tx tx = { .h = { .type = WF_FR_EAGER, .tag = 1, .len = 8000 }, .pre = out, .pre_len = 8000 };

		lane_of(p.ep[0])->credits += !lane_of(p.ep[0])->credits;   /* the peer is a liar */
		if (wf_ep_tx(p.ep[0], &tx) != WEFT_OK)
			p.ep[0]->blocked = false;
		weft_progress(p.w[0]->w);
		weft_progress(p.w[1]->w);
	}
	if (p.ep[1]->state == WF_EP_READY)       /* else its lane is gone */
		for (const struct wf_list *it = there->held.next; it != &there->held; it = it->next)
			held++;
	assert_true(held <= VERBS_CREDITS);
	weft_ep_abort(p.ep[0]);
	weft_ep_abort(p.ep[1]);
	p.ep[0] = p.ep[1] = NULL;
	wt_pair_close(&p);
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, wt_teardown)
		CASE(eager_messages_cost_one_post),
		CASE(a_burst_wakes_a_sleeper_once),
		CASE(a_burst_gives_its_buffers_back_together),
		CASE(a_signal_is_a_frame_behind_its_put),
		CASE(large_messages_are_copied_by_no_cpu),
		CASE(a_region_is_registered_once),
		CASE(what_is_kept_is_bounded),
		CASE(adapters_do_atomics),
		CASE(a_thousand_connect_at_once),
		CASE(queue_pairs_have_a_bound),
		CASE(nonsense_about_queue_pairs_ends_the_endpoint),
		CASE(many_peers_and_middle_messages),
		CASE(cancelled_send_and_a_break),
		CASE(cancelled_send_and_abort),
		CASE(close_among_the_last_frames),
		CASE(a_fence_holds_across_a_break),
		CASE(revoked_while_it_breaks),
		CASE(revoked_while_a_signal_is_due),
		CASE(a_peer_keeps_to_its_credits),
		CASE(nobody_sleeps_through_the_switch),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
