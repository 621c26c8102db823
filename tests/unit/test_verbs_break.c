/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_break.c - adapters that give up, over devices in software: what was under way goes on over another lane, nothing is lost or
 * doubled; and long gets, which go in pieces for the sake of wires that lose some.
 */
#include <poll.h>

#include "unit/verbs_inside.h"

enum { TAGS = 4, MOST = 200000 };

struct traffic {
	struct wt_pair p;
	uint64_t seed;
	unsigned char *out[64], *in[64];
	size_t len[64];
	struct wt_posted s[64], r[64];
	unsigned n;
};

static void post_some(struct traffic *t, unsigned n, unsigned from, uint64_t round)
{
	for (t->n = 0; t->n < n; t->n++) {
		unsigned i = t->n;

		t->len[i] = wt_random(&t->seed) % (wt_random(&t->seed) % 3 ? 300 : MOST);
		t->out[i] = malloc(t->len[i] + 1);
		t->in[i] = malloc(t->len[i] + 1);
		wt_fill(t->out[i], t->len[i], round * 64 + i);
		/* some are there before their receive, some after; all of a tag in one order */
		if (wt_random(&t->seed) % 2)
			t->r[i] = wt_recv(&t->p, !from, t->in[i], t->len[i], i % TAGS, WT_EXACT);
		else
			t->r[i].id = 0;
		t->s[i] = wt_send(&t->p, (int)from, t->out[i], t->len[i], i % TAGS, i % 5 ? 0 : WEFT_SYNC);
		if (!t->r[i].id)
			t->r[i] = wt_recv(&t->p, !from, t->in[i], t->len[i], i % TAGS, WT_EXACT);
	}
}

static void all_arrived(struct traffic *t, unsigned from, uint64_t round)
{
	for (unsigned i = 0; i < t->n; i++) {
		weft_event e = wt_ok(t->p.w[!from], t->r[i]);

		wt_ok(t->p.w[from], t->s[i]);
		assert_int_equal(e.len, t->len[i]);
		assert_int_equal(wt_differs(t->in[i], t->len[i], round * 64 + i), SIZE_MAX);
		free(t->out[i]);
		free(t->in[i]);
	}
}

/* Each round has a connection of its own, whose queue pair breaks on one side or both after some turns of random traffic. */
static void nothing_is_lost_or_doubled_when_an_adapter_gives_up(void **state)
{
	struct traffic t = { .seed = 20261126 };

	(void)state;
	for (uint64_t round = 0; round < wt_rounds(150); round++) {
		unsigned from = (unsigned)(round & 1), turns = (unsigned)(wt_random(&t.seed) % 12), side = (unsigned)(wt_random(&t.seed) % 3);

		wt_pair_open_with(&t.p, 0, "transports", "verbs,tcp");
		lane_of(t.p.ep[0]);
		post_some(&t, 1 + (unsigned)(wt_random(&t.seed) % 48), from, round);
		for (unsigned i = 0; i < turns; i++)
			wt_pump();
		for (int k = 0; k < 2; k++)
			if (side == 2 || side == (unsigned)k)
				verbs_break(lane_of(t.p.ep[k]), "the test pulled it");
		all_arrived(&t, from, round);
		/* both are on the other lane now, or on a new one (test_verbs_renew.c): it carries both ways, and large ones */
		wt_exchange(&t.p, !(int)from, 100, 5);
		wt_exchange(&t.p, (int)from, 300000, 6);
		for (int k = 0; k < 2; k++)
			assert_int_equal(t.p.ep[k]->n_breaks, 1);
		assert_true(strstr(explained(t.p.ctx, t.p.ep[0]), "the test pulled it") ||
			    strstr(explained(t.p.ctx, t.p.ep[1]), "the test pulled it"));
		wt_pair_close(&t.p);
	}
}

/* The same with puts, gets and flushes beside the messages, over and over, as programs do that use memory. */
static void memory_and_messages_go_on_when_an_adapter_gives_up(void **state)
{
	enum { LEN = 100000, OPS = 24 };
	static unsigned char out[OPS][LEN], back[OPS][LEN];
	struct traffic t = { .seed = 20261127 };

	(void)state;
	for (uint64_t round = 0; round < wt_rounds(150); round++) {
		unsigned from = (unsigned)(round & 1), side = (unsigned)(wt_random(&t.seed) % 3);
		unsigned before = (unsigned)(wt_random(&t.seed) % 40), at = (unsigned)(wt_random(&t.seed) % OPS);
		struct wt_posted posted[OPS];
		struct wt_mem m;

		if (round % 3 == 2)
			setenv("WEFT_TEST_IBV_FAULT", "lazy", 1);
		wt_pair_open_with(&t.p, 0, "transports", "verbs,tcp");
		wt_mem_open(&t.p, &m, LEN, WEFT_READ | WEFT_WRITE, round & 2);
		lane_of(t.p.ep[0]);
		post_some(&t, 1 + (unsigned)(wt_random(&t.seed) % 48), from, round);
		for (unsigned i = 0; i < OPS; i++) {
			weft_call c = wt_call(0);
			size_t len = 16000 + wt_random(&t.seed) % (LEN - 16000);
			weft_buf o = wt_buf(out[i], len), b = wt_buf(back[i], len);

			for (unsigned k = 0; i == at && k < before; k++)
				wt_pump();
			for (int k = 0; k < 2 && i == at; k++)
				if (side == 2 || side == (unsigned)k)
					verbs_break(lane_of(t.p.ep[k]), "the test pulled it");
			posted[i] = wt_took(t.p.w[0], i % 3 == 0 ? weft_put(t.p.ep[0], &o, 1, m.remote, 0, &c) :
					    i % 3 == 1 ? weft_get(t.p.ep[0], &b, 1, m.remote, 0, &c) : weft_flush(t.p.w[0]->w, t.p.ep[0], &c), &c);
		}
		for (unsigned i = 0; i < OPS; i++)
			wt_ok(t.p.w[0], posted[i]);
		all_arrived(&t, from, round);
		wt_exchange(&t.p, !(int)from, 100, 5);
		wt_mem_close(&t.p, &m);
		wt_pair_close(&t.p);
		unsetenv("WEFT_TEST_IBV_FAULT");
	}
}

/* One-sided operations under way are done once more, by frames. */
static void memory_is_reached_after_an_adapter_gave_up(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *buf = malloc(LEN), *back = malloc(LEN);
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (int round = 0; round < 20; round++) {
		weft_call c[4] = { wt_call(0), wt_call(0), wt_call(0), wt_call(0) };
		weft_buf b = wt_buf(buf, LEN), r = wt_buf(back, LEN);
		struct wt_posted put, get, flush;

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, round & 1);
		wt_fill(buf, LEN, (uint64_t)round);
		put = wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c[0]), &c[0]);
		for (int i = 0; i < round % 7; i++)
			wt_pump();
		verbs_break(lane_of(p.ep[round & 1]), "the test pulled it");
		wt_ok(p.w[0], put);
		flush = wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &c[1]), &c[1]);
		wt_ok(p.w[0], flush);
		wt_assert_data(m.addr, LEN, (uint64_t)round);
		get = wt_took(p.w[0], weft_get(p.ep[0], &r, 1, m.remote, 0, &c[2]), &c[2]);
		wt_ok(p.w[0], get);
		wt_assert_data(back, LEN, (uint64_t)round);
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
	free(buf);
	free(back);
}

/*
 * A long get is asked for in pieces, a few at a time: what is sent meanwhile does not wait behind all of it. One whose adapter
 * gives up in the middle is done again over the other lane.
 */
static void a_long_get_goes_in_pieces(void **state)
{
	enum { LEN = 16 << 20 };
	unsigned char *back = malloc(LEN);
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	setenv("WEFT_TEST_IBV_FAULT", "lazy", 1);
	for (int breaks = 0; breaks < 2; breaks++) {
		weft_call c = wt_call(0);
		weft_buf r = wt_buf(back, LEN);
		struct wt_posted get;
		struct verbs_qp *q;
		unsigned most = 0;
		uint64_t posts;

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		wt_mem_open(&p, &m, LEN, WEFT_READ, true);
		wt_fill(m.addr, LEN, (uint64_t)breaks);
		q = lane_of(p.ep[0])->rail[0];
		posts = q->dev->n_posts;
		get = wt_took(p.w[0], weft_get(p.ep[0], &r, 1, m.remote, 0, &c), &c);
		for (int i = 0; i < 100000 && (breaks ? !q->gets : q->dev->n_posts - posts < LEN / VERBS_READ); i++) {
			wt_pump();
			most = WF_MAX(most, q->gets);
		}
		assert_true(most > 0);
		if (breaks)
			verbs_break(lane_of(p.ep[0]), "the test pulled it");
		wt_ok(p.w[0], get);
		wt_assert_data(back, LEN, (uint64_t)breaks);
		if (!breaks) {
			assert_in_range(q->dev->n_posts - posts, LEN / VERBS_READ, LEN / VERBS_READ + 4);   /* and OPEN, credits */
			assert_true(most > 1 && most <= VERBS_READS);
			assert_int_equal(q->gets, 0);
		}
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_FAULT");
	free(back);
}

/* A rail without frames that breaks, here or at the peer's, is left out: messages stay on verbs. */
static void a_rail_that_breaks_is_left_out(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	for (int round = 0; round < 8; round++) {
		unsigned char *out = malloc(8 << 20), *in = malloc(8 << 20);
		struct wt_posted s, r;

		wt_pair_open(&p, 0);
		assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
		wt_exchange(&p, round & 1, 8 << 20, 1);
		for (int k = 0; k < 2; k++)
			assert_true(lane_of(p.ep[round & 1 ? 0 : 1])->rail[k]->posted > 3);   /* both carried some of it */
		wt_fill(out, 8 << 20, 2);
		r = wt_recv(&p, 1, in, 8 << 20, 9, WT_EXACT);
		s = wt_send(&p, 0, out, 8 << 20, 9, 0);
		for (int i = 0; i < round / 2; i++)
			wt_pump();
		verbs_qp_break(lane_of(p.ep[round & 1])->rail[1]);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], s);
		wt_assert_data(in, 8 << 20, 2);
		wt_exchange(&p, 0, 8 << 20, 3);
		wt_exchange(&p, 1, 100, 4);
		lane_of(p.ep[0]);
		lane_of(p.ep[1]);
		wt_pair_close(&p);
		free(out);
		free(in);
	}
	unsetenv("WEFT_TEST_IBV_DEVICES");
}

/* Whatever status a request ends with: its words, its number and the vendor's code are told, of the first rail and of another. */
static void each_status_is_told_in_words(void **state)
{
	static const char *const words[] = {
		[IBV_WC_LOC_LEN_ERR] = "a message was longer than its buffer",
		[IBV_WC_LOC_QP_OP_ERR] = "the adapter found an inconsistency in a work request",
		[IBV_WC_LOC_PROT_ERR] = "a local buffer was not registered for what was to be done with it",
		[IBV_WC_BAD_RESP_ERR] = "the peer's adapter answered with something unexpected",
		[IBV_WC_LOC_ACCESS_ERR] = "the peer wrote where it had no right to",
		[IBV_WC_REM_INV_REQ_ERR] = "the peer's adapter found a request invalid",
		[IBV_WC_REM_ACCESS_ERR] = "the peer's memory was not open for this access (any more)",
		[IBV_WC_REM_OP_ERR] = "the peer's adapter could not complete a request",
		[IBV_WC_RETRY_EXC_ERR] = "the peer's adapter does not answer: its host or the link is down, or its side of the connection is gone",
		[IBV_WC_RNR_RETRY_EXC_ERR] = "the peer gave no receive buffers",
		[IBV_WC_REM_ABORT_ERR] = "the peer's adapter aborted the operation",
		[IBV_WC_FATAL_ERR] = "the adapter failed",
		[IBV_WC_RESP_TIMEOUT_ERR] = "the peer's adapter did not answer in time",
		[IBV_WC_GENERAL_ERR] = "the adapter reported a failure",
	};
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	for (int i = 0; i < 2 * (int)WF_ARRAY_LEN(words); i++) {
		int status = i / 2, k = i % 2;
		char want[32], says[240];
		struct verbs_qp *q;

		if (!words[status])
			continue;        /* SUCCESS, FLUSH, and what reliable connections do not have */
		snprintf(want, sizeof(want), "%d:0x%x", status, 0xa0 + i);
		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		wt_exchange(&p, 0, 100, 1);
		q = lane_of(p.ep[0])->rail[k];
		if (k)
			snprintf(says, sizeof(says), "%s is left out (status %d, vendor 0x%x): %s", q->dev->name, status, 0xa0 + i, words[status]);
		else
			snprintf(says, sizeof(says), "%s: %s (completion status %d, vendor code 0x%x)", q->dev->name, words[status], status, 0xa0 + i);
		setenv("WEFT_TEST_IBV_STATUS", want, 1);
		verbs_ask(q);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); !q->broken && wt_now_ns() < limit;)
			wt_pump();
		wt_exchange(&p, 0, 100, 1);
		if (!strstr(explained(p.ctx, p.ep[0]), says))
			fail_msg("\"%s\" is not in: %s", says, explained(p.ctx, p.ep[0]));
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_STATUS");
	unsetenv("WEFT_TEST_IBV_DEVICES");
}

/* With tcp not allowed there is nothing to go to: all that was pending ends with the reason. */
static void without_another_lane_the_reason_is_told(void **state)
{
	struct wt_pair p;
	weft_event e;
	char in[8];

	(void)state;
	wt_pair_open(&p, 0);
	e.user_data = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT).id;   /* from anybody: goes on waiting */
	verbs_break(lane_of(p.ep[0]), "the test pulled it");
	e = wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(e.status, WEFT_ERESET);
	wt_says(&e, "the test pulled it");
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	weft_ep_abort(p.ep[0]);
	weft_ep_abort(p.ep[1]);
	p.ep[0] = p.ep[1] = NULL;
	wt_pair_close(&p);
}

/* One that says nothing any more, neither that it sent nor that it could not: found out, for the peer lives. */
static void a_silent_adapter_is_noticed(void **state)
{
	struct traffic t = { .seed = 20261128 };

	(void)state;
	setenv("WEFT_FAILURE_DETECT", "100ms", 1);
	for (uint64_t round = 0; round < 2; round++) {
		wt_pair_open_with(&t.p, 0, "transports", "verbs,tcp");
		lane_of(t.p.ep[0]);
		wt_exchange(&t.p, 0, 100, 1);
		setenv("WEFT_TEST_IBV_FAULT", "mute", 1);
		post_some(&t, 20, (unsigned)round, round);
		all_arrived(&t, (unsigned)round, round);
		unsetenv("WEFT_TEST_IBV_FAULT");
		/* the other side has work that does not end, too, and may have looked first */
		assert_true(strstr(explained(t.p.ctx, t.p.ep[0]), "the adapter says nothing of what it was given") ||
			    strstr(explained(t.p.ctx, t.p.ep[1]), "the adapter says nothing of what it was given"));
		assert_string_equal(t.p.ep[0]->msg->tr->name, "tcp");
		wt_pair_close(&t.p);
	}
	unsetenv("WEFT_FAILURE_DETECT");
}

static void pump_until_all_is_done(struct wt_pair *p)
{
	const struct verbs_qp *q[] = { lane_of(p->ep[0])->rail[0], lane_of(p->ep[1])->rail[0] };
	uint64_t limit = wt_in_ms(WT_LIMIT_MS);

	while ((q[0]->posted != q[0]->done || q[1]->posted != q[1]->done) && wt_now_ns() < limit)
		wt_pump();
	assert_true(q[0]->posted == q[0]->done && q[1]->posted == q[1]->done);
}

/* What may take long is given the time for it, and no more. */
static void a_silent_adapter_is_noticed_over_long_puts(void **state)
{
	enum { LEN = 4 << 20 };
	unsigned char *out = malloc(LEN);
	weft_call c = wt_call(0);
	uint64_t from, took;
	struct wt_pair p;
	struct wt_mem m;
	weft_buf b;

	(void)state;
	setenv("WEFT_FAILURE_DETECT", "100ms", 1);
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	wt_mem_open(&p, &m, LEN, WEFT_WRITE, false);
	pump_until_all_is_done(&p);      /* else the other side has something that is silent, too, and notices first */
	wt_fill(out, LEN, 7);
	b = wt_buf(out, LEN);
	setenv("WEFT_TEST_IBV_FAULT", "mute", 1);
	from = wt_now_ns();
	wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c), &c));
	took = (wt_now_ns() - from) / 1000000;
	unsetenv("WEFT_TEST_IBV_FAULT");
	assert_in_range(took, 1000, 10000);      /* 13 looks of 50 ms each, and 1 s for 4 MiB over the slowest link */
	wt_assert_data(m.addr, LEN, 7);
	assert_non_null(strstr(explained(p.ctx, p.ep[0]), "the adapter says nothing of what it was given"));
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
	unsetenv("WEFT_FAILURE_DETECT");
	free(out);
}

/* The question whether all is done costs the peer no receive buffer: iWARP has no "not ready", and it may sleep. */
static void asking_takes_nothing_of_the_peer(void **state)
{
	struct wt_pair p;
	struct verbs_qp *q;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	q = lane_of(p.ep[0])->rail[0];
	for (unsigned i = 0; i < 2 * VERBS_SRQ; i++) {
		verbs_ask(q);
		weft_progress(p.w[0]->w);
	}
	assert_int_equal(q->done, q->posted);
	assert_false(q->broken);
	wt_exchange(&p, 0, 100, 2);
	wt_exchange(&p, 1, 100, 3);
	wt_pair_close(&p);
}

/* Who is asked whether it lives says so when it has handled what its adapter had for it, and not before. */
static void a_peer_answers_when_its_queue_is_empty(void **state)
{
	enum { N = VERBS_CREDITS - 1 };
	struct wt_posted s[N], r[N];
	struct wt_pair p;
	struct verbs_lane *there;
	struct verbs_say ask = { .version = VERBS_VERSION, .what = VERBS_LIVE_ASK, .n = 1 };
	int turns = 0;
	char in[N];

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 100, 1);
	wt_pump_ms(20);
	there = lane_of(p.ep[1]);
	for (unsigned i = 0; i < N; i++) {
		r[i] = wt_recv(&p, 1, &in[i], 1, 1, WT_EXACT);
		s[i] = wt_send(&p, 0, "x", 1, 1, 0);
	}
	assert_true(verbs_watch_hear(there, &ask));
	for (; there->asked && turns < 1000; turns++) {
		assert_int_equal(weft_arm(p.w[1]->w), WEFT_AGAIN);   /* it is not to sleep over the answer */
		weft_progress(p.w[1]->w);
	}
	assert_false(there->asked);
	assert_int_equal(there->base.frames_rx, N + 1);
	for (unsigned i = 0; i < N; i++) {
		wt_ok(p.w[0], s[i]);
		wt_ok(p.w[1], r[i]);
	}
	wt_pump_ms(20);
	assert_true(lane_of(p.ep[0])->answered);
	wt_pair_close(&p);
}

/* A lane that is closed while work of it is under way leaves no timer behind that has run down: the worker sleeps again. */
static void a_worker_sleeps_after_a_lane_was_closed_early(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct wt_pair p;
		struct pollfd fd = { .events = POLLIN };
		int64_t until;

		wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
		wt_exchange(&p, 0, 100, 1);
		setenv("WEFT_TEST_IBV_FAULT", how == 2 ? "mute" : "lazy", 1);
		for (unsigned i = 0; i < 20; i++)
			wt_send(&p, 0, "x", 1, 1, 0);
		if (how == 1)
			verbs_break(lane_of(p.ep[0]), "the test pulled it");
		weft_ep_abort(p.ep[0]);
		weft_ep_abort(p.ep[1]);
		p.ep[0] = p.ep[1] = NULL;
		fd.fd = weft_worker_fd(p.w[0]->w);
		/* an adapter is given a second to give back what it has; then nothing is due any more */
		until = (int64_t)wt_now_ns() + 4000000000ll;
		while ((weft_arm(p.w[0]->w) != WEFT_OK || poll(&fd, 1, 300)) && (int64_t)wt_now_ns() < until)
			wt_pump();
		assert_true((int64_t)wt_now_ns() < until);
		unsetenv("WEFT_TEST_IBV_FAULT");
		wt_pair_close(&p);
	}
}

/* ---- iWARP: done means sent ---- */

/* Two sides of which each takes its adapter for an iWARP one. A lane that broke is not made again: the fake has no rdma_cm for that. */
static void open_as_iwarp(struct wt_pair *p, struct wt_mem *m, size_t len)
{
	wt_pair_open_with(p, 0, "transports", "verbs,tcp");
	wt_pump_ms(20);                  /* no frame is under way */
	for (int k = 0; k < 2; k++) {
		dev_of(p->ep[k])->iwarp = true;
		p->ep[k]->may_renew = false;
		lane_of(p->ep[k])->base.tx_seq = lane_of(p->ep[k])->base.rx_seq = UINT32_MAX - 8;   /* numbers begin anew soon */
	}
	wt_mem_open(p, m, len, WEFT_READ | WEFT_WRITE, true);
	wt_exchange(p, 0, 100, 1);
	wt_exchange(p, 1, 100, 2);
}

static struct wt_posted put_of(struct wt_pair *p, struct wt_mem *m, unsigned char *from, size_t len, uint64_t seed)
{
	weft_buf b = wt_buf(from, len);
	weft_call c = wt_call(0);

	wt_fill(from, len, seed);
	return wt_took(p->w[0], weft_put(p->ep[0], &b, 1, m->remote, 0, &c), &c);
}

/* It was said to be done and did not come; nor did anything behind it that would tell. */
static void a_put_that_was_only_sent_is_not_taken_for_done(void **state)
{
	static unsigned char bytes[100000];
	static const size_t lens[] = { 100, sizeof(bytes) };

	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		size_t len = lens[round / 2 % 2];
		struct wt_pair p;
		struct wt_mem m;
		weft_event e;

		open_as_iwarp(&p, &m, len);
		for (unsigned i = 0; i < 20 * (round / 4); i++)
			wt_exchange(&p, 0, 100, 3);
		setenv("WEFT_TEST_IBV_FAULT", "sunk", 1);
		wt_ok(p.w[0], put_of(&p, &m, bytes, len, round));
		unsetenv("WEFT_TEST_IBV_FAULT");
		verbs_break(lane_of(p.ep[round & 1]), "the test pulled it");
		e = wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		assert_int_equal(e.status, WEFT_ERESET);
		wt_says(&e, "not all that was accepted can be sent again: ");
		if (!(round & 1))
			wt_says(&e, "the test pulled it");
		assert_int_not_equal(wt_differs(m.addr, len, round), SIZE_MAX);
		for (int k = 0; k < 2; k++)
			weft_ep_abort(p.ep[k]);
		p.ep[0] = p.ep[1] = NULL;
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* After so many frames that the peer must have taken the one behind it nothing is left of it: numbers go round. */
static void a_put_is_forgotten_when_it_has_come_for_sure(void **state)
{
	unsigned char byte[1];
	struct wt_pair p;
	struct wt_mem m;
	uint32_t at;

	(void)state;
	setenv("WEFT_FAILURE_DETECT", "100ms", 1);
	open_as_iwarp(&p, &m, sizeof(byte));
	at = lane_of(p.ep[0])->base.tx_seq;
	wt_ok(p.w[0], put_of(&p, &m, byte, sizeof(byte), 1));
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); lane_of(p.ep[0])->lost && wt_now_ns() < limit;) {
		assert_int_equal(lane_of(p.ep[0])->lost_at, at);
		wt_exchange(&p, 0, 1, 2);
		wt_pump();
	}
	assert_false(lane_of(p.ep[0])->lost);
	assert_true(lane_of(p.ep[0])->base.tx_seq - at > VERBS_CREDITS);
	wt_mem_close(&p, &m);
	wt_pair_close(&p);
	unsetenv("WEFT_FAILURE_DETECT");
}

/* What came behind it proves that it has come, and one that was not done yet is written again. */
static void a_put_that_came_does_not_end_the_endpoint(void **state)
{
	static unsigned char bytes[100000];
	static const size_t lens[] = { 100, sizeof(bytes) };

	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		size_t len = lens[round / 2 % 2];
		bool under_way = round >= 4 && len > 100;
		struct wt_posted put;
		struct wt_pair p;
		struct wt_mem m;

		open_as_iwarp(&p, &m, len);
		if (under_way)
			setenv("WEFT_TEST_IBV_FAULT", "hold", 1);
		put = put_of(&p, &m, bytes, len, round);
		for (unsigned i = 0; !under_way && i < 1 + 100 * (round / 4); i++)
			wt_exchange(&p, 0, 100, 3);
		unsetenv("WEFT_TEST_IBV_FAULT");
		verbs_break(lane_of(p.ep[round & 1]), "the test pulled it");
		wt_ok(p.w[0], put);
		wt_exchange(&p, 0, 100, 4);
		wt_exchange(&p, 1, 100, 5);
		wt_assert_data(m.addr, len, round);
		assert_string_equal(p.ep[0]->msg->tr->name, "tcp");
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, wt_teardown)
		CASE(nothing_is_lost_or_doubled_when_an_adapter_gives_up),
		CASE(memory_and_messages_go_on_when_an_adapter_gives_up),
		CASE(memory_is_reached_after_an_adapter_gave_up),
		CASE(a_long_get_goes_in_pieces),
		CASE(a_rail_that_breaks_is_left_out),
		CASE(each_status_is_told_in_words),
		CASE(without_another_lane_the_reason_is_told),
		CASE(a_silent_adapter_is_noticed),
		CASE(a_silent_adapter_is_noticed_over_long_puts),
		CASE(asking_takes_nothing_of_the_peer),
		CASE(a_peer_answers_when_its_queue_is_empty),
		CASE(a_worker_sleeps_after_a_lane_was_closed_early),
		CASE(a_put_that_was_only_sent_is_not_taken_for_done),
		CASE(a_put_that_came_does_not_end_the_endpoint),
		CASE(a_put_is_forgotten_when_it_has_come_for_sure),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
