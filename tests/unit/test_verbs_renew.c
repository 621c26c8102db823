/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_renew.c - lanes that broke are made again, over devices in software: messages, memory and large buffers go back to the
 * adapters, nothing is lost or doubled on the way; with a rail or port that is gone, comes back, or leads nowhere; whatever
 * happens while it is done; and what is said of it. How often, how soon and how much: test_verbs_bounds.c.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "unit/verbs_renew.h"

/* ---- again ---- */

static void a_lane_that_broke_is_made_again(void **state)
{
	enum { LEN = 1 << 20 };
	static unsigned char bytes[LEN];
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	for (int side = 0; side < 3; side++) {
		weft_buf b = wt_buf(bytes, LEN);
		uint64_t copies, direct;

		open_both(&p);
		wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE, side & 1);
		for (uint64_t again = 1; again < 4; again++) {
			weft_call c = wt_call(0), f = wt_call(0);

			for (int k = 0; k < 2; k++)
				if (side == 2 || side == k)
					verbs_break(lane_of(p.ep[k]), PULLED);
			wt_exchange(&p, 0, 100, 1);
			comes_to(&p, "verbs");
			/* all that it did before it does again, and says so */
			wt_pump_ms(20);
			copies = p.ep[1]->n_copy;
			direct = p.ep[0]->n_direct;
			wt_exchange(&p, 0, LEN, 2);
			wt_exchange(&p, 1, 3000, 3);
			wt_fill(bytes, LEN, again);
			wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c), &c));
			wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &f), &f));
			wt_assert_data(m.addr, LEN, again);
			assert_int_equal(p.ep[1]->n_copy, copies + 1);
			assert_int_equal(p.ep[0]->n_direct, direct + 1);
			for (int k = 0; k < 2; k++) {
				assert_null(strstr(explained(p.ctx, p.ep[k]), "not used: verbs"));
				assert_int_equal(p.ep[k]->n_breaks, again);
				assert_int_equal(p.ep[k]->n_renewed, again);
			}
			says(&p, side & 1, "the last broke for: " PULLED);
			forget_pauses(&p);
		}
		wt_mem_close(&p, &m);
		wt_pair_close(&p);
	}
}

/* A message, and memory, that were described for the old lane: their numbers mean nothing to the new one. */
static void what_was_described_for_the_old_lane_is_not_read_over_the_new(void **state)
{
	enum { LEN = 300000 };
	unsigned char *out = malloc(LEN), *in = malloc(LEN);
	struct wt_pair p;

	(void)state;
	for (int came = 0; came < 2; came++) {
		struct wt_posted s[4], r;

		open_both(&p);
		wt_fill(out, LEN, 7);
		if (!came)
			setenv("WEFT_TEST_IBV_FAULT", "mute", 1);   /* the announcements do not get there, and are sent again */
		for (int i = 0; i < 4; i++)
			s[i] = wt_send(&p, 0, out, LEN, 9, 0);
		wt_pump_ms(10);
		verbs_break(lane_of(p.ep[0]), PULLED);
		unsetenv("WEFT_TEST_IBV_FAULT");
		comes_to(&p, "verbs");
		wt_pump_ms(10);
		for (int i = 0; i < 4; i++) {
			memset(in, 0, LEN);
			r = wt_recv(&p, 1, in, LEN, 9, WT_EXACT);
			wt_ok(p.w[1], r);
			wt_ok(p.w[0], s[i]);
			wt_assert_data(in, LEN, 7);
		}
		assert_int_equal(p.ep[0]->n_breaks, 1);
		wt_pair_close(&p);
	}
	free(out);
	free(in);
}

/* ---- at random ---- */

enum { TAGS = 4, MOST = 200000, LEN = 60000, OPS = 12 };

struct traffic {
	struct wt_pair p;
	uint64_t seed;
	unsigned char *out[64], *in[64];
	size_t len[64];
	struct wt_posted s[64], r[64];
	unsigned n;
};

static void post_some(struct traffic *t, unsigned n, uint64_t round)
{
	for (t->n = 0; t->n < n; t->n++) {
		unsigned i = t->n, from = i & 1;

		t->len[i] = wt_random(&t->seed) % (wt_random(&t->seed) % 3 ? 300 : MOST);
		t->out[i] = malloc(t->len[i] + 1);
		t->in[i] = malloc(t->len[i] + 1);
		wt_fill(t->out[i], t->len[i], round * 64 + i);
		t->r[i].id = 0;
		if (wt_random(&t->seed) % 2)
			t->r[i] = wt_recv(&t->p, !from, t->in[i], t->len[i], i % TAGS, WT_EXACT);
		t->s[i] = wt_send(&t->p, (int)from, t->out[i], t->len[i], i % TAGS, i % 5 ? 0 : WEFT_SYNC);
		if (!t->r[i].id)
			t->r[i] = wt_recv(&t->p, !from, t->in[i], t->len[i], i % TAGS, WT_EXACT);
	}
}

static void all_arrived(struct traffic *t, uint64_t round)
{
	for (unsigned i = 0; i < t->n; i++) {
		unsigned from = i & 1;
		weft_event e = wt_ok(t->p.w[!from], t->r[i]);

		wt_ok(t->p.w[from], t->s[i]);
		assert_int_equal(e.len, t->len[i]);
		assert_int_equal(wt_differs(t->in[i], t->len[i], round * 64 + i), SIZE_MAX);
		free(t->out[i]);
		free(t->in[i]);
	}
}

/* One connection, whose lane of the moment, or the one to be, breaks again and again in the midst of everything. */
static void nothing_is_lost_or_doubled_however_often_it_breaks(void **state)
{
	static unsigned char out[OPS][LEN], back[OPS][LEN];
	struct traffic t = { .seed = 20261126 };
	struct wt_mem m;

	(void)state;
	open_both(&t.p);
	wt_mem_open(&t.p, &m, OPS * LEN, WEFT_READ | WEFT_WRITE, true);
	for (uint64_t round = 0; round < wt_rounds(400); round++) {
		struct wt_posted posted[OPS], flush;
		weft_call f = wt_call(0);

		if (round % 3 == 2)
			setenv("WEFT_TEST_IBV_FAULT", "lazy", 1);
		forget_pauses(&t.p);
		post_some(&t, 1 + (unsigned)(wt_random(&t.seed) % 40), round);
		for (unsigned i = 0; i < OPS; i++) {
			weft_call c = wt_call(0);
			size_t len = 16000 + wt_random(&t.seed) % (LEN - 16000);
			weft_buf o = wt_buf(out[i], len), b = wt_buf(back[i], len);

			wt_fill(out[i], len, round);
			posted[i] = wt_took(t.p.w[0], i % 2 ? weft_put(t.p.ep[0], &o, 1, m.remote, i * LEN, &c) :
					    weft_get(t.p.ep[0], &b, 1, m.remote, i * LEN, &c), &c);
			for (uint64_t turns = wt_random(&t.seed) % 8; turns; turns--)
				wt_pump();
			if (wt_random(&t.seed) % 4 == 0)
				break_lane(t.p.ep[wt_random(&t.seed) % 2]);
			forget_pauses(&t.p);
			at_once(t.p.ep[0]);
		}
		flush = wt_took(t.p.w[0], weft_flush(t.p.w[0]->w, t.p.ep[0], &f), &f);
		for (unsigned i = 0; i < OPS; i++)
			wt_ok(t.p.w[0], posted[i]);
		wt_ok(t.p.w[0], flush);
		for (unsigned i = 1; i < OPS; i += 2)
			assert_int_equal(wt_differs(m.addr + i * LEN, 16000, round), SIZE_MAX);
		all_arrived(&t, round);
		unsetenv("WEFT_TEST_IBV_FAULT");
	}
	forget_pauses(&t.p);
	comes_to(&t.p, "verbs");
	assert_true(t.p.ep[0]->n_breaks > wt_rounds(400) / 4);
	wt_mem_close(&t.p, &m);
	wt_pair_close(&t.p);
}

/* ---- in the midst of it ---- */

static const struct { int side; uint8_t state; } steps[] = {
	{ 0, RENEW_ASKED }, { 0, RENEW_MAKING }, { 0, RENEW_MOVING }, { 1, RENEW_MAKING },
};

static void it_breaks_again_while_it_is_made(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * WF_ARRAY_LEN(steps); i++) {
		int who = (int)(i / 2 % 2), lazy = (int)(i % 2), step = (int)(i / 4);
		struct traffic t = { .seed = i };

		open_both(&t.p);
		if (lazy)
			setenv("WEFT_TEST_IBV_FAULT", "lazy", 1);
		post_some(&t, 20, i);
		break_and_go_to(&t.p, steps[step].side, steps[step].state);
		break_lane(t.p.ep[who]);
		all_arrived(&t, i);
		post_some(&t, 20, i);
		all_arrived(&t, i);
		for (int k = 0; k < 4; k++) {
			forget_pauses(&t.p);
			wt_pump_ms(5);
		}
		comes_to(&t.p, "verbs");
		unsetenv("WEFT_TEST_IBV_FAULT");
		wt_pair_close(&t.p);
	}
}

/* The passive side has heard MOVE, and has not been told yet that the lane is up: what it hears and does in between. */
static void move_may_come_before_the_lane_is_up(void **state)
{
	enum { GOES_ON, BREAKS_HERE, BREAKS_THERE, BREAKS_ON_BOTH, PORT_TELLS, CLOSES_HERE, CLOSES_THERE, ABORTS_HERE, ABORTS_THERE, WHAT };

	(void)state;
	for (int what = 0; what < WHAT; what++) {
		struct traffic t = { .seed = (uint64_t)what };
		bool ends = what >= CLOSES_HERE;
		int who = what == CLOSES_HERE || what == ABORTS_HERE;
		struct weft_worker *w;

		open_both(&t.p);
		w = t.p.w[1]->w;
		if (!ends)
			post_some(&t, 20, 1);
		break_and_go_to(&t.p, 1, RENEW_MAKING);
		for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); t.p.ep[1]->renew->state == RENEW_MAKING && wt_now_ns() < limit;) {
			weft_progress(t.p.w[0]->w);
			wf_poll_run(&w->poll, 0, 16);   /* tcp alone: the adapter's news waits */
			t.p.ep[1]->boot->tr->poll(t.p.ep[1]->boot->port);
		}
		assert_int_equal(t.p.ep[1]->renew->state, RENEW_DUE);
		assert_false(t.p.ep[1]->renew->lane->up);
		if (what == BREAKS_HERE || what == BREAKS_ON_BOTH)
			break_lane(t.p.ep[1]);
		if (what == BREAKS_THERE || what == BREAKS_ON_BOTH)
			break_lane(t.p.ep[0]);
		for (int k = 0; what == PORT_TELLS && k < 2; k++)
			wf_port_changed(t.p.w[k]->w->port[t.p.ep[k]->renew->tr]);
		if (!ends) {
			t.p.ep[0]->renew->not_before = 0;
			all_arrived(&t, 1);
			comes_to(&t.p, "verbs");
			post_some(&t, 20, 2);
			all_arrived(&t, 2);
			wt_pair_close(&t.p);
			continue;
		}
		if (what <= CLOSES_THERE) {
			weft_call c = wt_call(0);

			wt_ok(t.p.w[who], wt_took(t.p.w[who], weft_ep_close(t.p.ep[who], &c), &c));
		} else {
			weft_ep_abort(t.p.ep[who]);
		}
		assert_int_equal(wt_wait(t.p.w[!who], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS).status, what <= CLOSES_THERE ? WEFT_ECLOSED : WEFT_ERESET);
		weft_ep_abort(t.p.ep[!who]);
		t.p.ep[0] = t.p.ep[1] = NULL;
		wt_pair_close(&t.p);
	}
}

static void it_is_closed_or_aborted_while_it_is_made(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * WF_ARRAY_LEN(steps); i++) {
		int who = (int)(i / 2 % 2), step = (int)(i / 4);
		struct wt_pair p;

		open_both(&p);
		wt_exchange(&p, 0, 100, 1);
		break_and_go_to(&p, steps[step].side, steps[step].state);
		if (i % 2) {
			weft_call c = wt_call(0);

			wt_ok(p.w[who], wt_took(p.w[who], weft_ep_close(p.ep[who], &c), &c));
		} else {
			weft_ep_abort(p.ep[who]);
		}
		wt_wait(p.w[!who], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		weft_ep_abort(p.ep[!who]);
		p.ep[0] = p.ep[1] = NULL;
		sleeps(p.w[0]);
		sleeps(p.w[1]);
		wt_pair_close(&p);
	}
}

enum { FLOOD = 20000, EACH = 8000 };

/* Posts from @side, whose peer does not read, until the bootstrap lane takes no more; how many. */
static unsigned flood(struct wt_pair *p, int side, const unsigned char *bytes, struct wt_posted *s)
{
	unsigned n = 0, before = UINT32_MAX;

	while (n != before) {            /* the socket may take more after a while */
		before = n;
		for (uint64_t until = wt_in_ms(20); wt_now_ns() < until && n < FLOOD; weft_progress(p->w[side]->w))
			while (n < FLOOD && !p->ep[side]->blocked)
				s[n++] = wt_send(p, side, bytes, EACH, 8, 0);
	}
	assert_true(n < FLOOD);
	return n;
}

/* Until it has something to say for which there is no room. */
static void says_too_much(struct wt_pair *p, int side)
{
	for (uint64_t until = wt_in_ms(1000); wf_list_is_empty(&p->ep[side]->said) && wt_now_ns() < until;)
		weft_progress(p->w[side]->w);
	assert_false(wf_list_is_empty(&p->ep[side]->said));
}

static void flood_arrives(struct wt_pair *p, int side, unsigned char *in, const struct wt_posted *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		memset(in, 0, EACH);
		wt_ok(p->w[!side], wt_recv(p, !side, in, EACH, 8, WT_EXACT));
		wt_assert_data(in, EACH, 8);
		wt_ok(p->w[side], s[i]);
	}
}

/* The bootstrap lane is full of messages when the two sides have to talk over it. */
static void a_full_bootstrap_lane_holds_nothing_up(void **state)
{
	static unsigned char bytes[EACH], in[EACH];
	static struct wt_posted s[FLOOD];
	struct wt_pair p;
	unsigned n;

	(void)state;
	wt_fill(bytes, EACH, 8);
	for (int side = 0; side < 2; side++) {
		open_both(&p);
		fault("port_down");
		wt_pump_ms(5);
		break_lane(p.ep[0]);
		comes_to(&p, "tcp");
		n = flood(&p, side, bytes, s);
		fault(NULL);
		says_too_much(&p, side);
		flood_arrives(&p, side, in, s, n);
		comes_to(&p, "verbs");
		wt_pair_close(&p);
	}
	/* and when the passive side's new lane breaks before even its MOVE is out */
	open_both(&p);
	break_and_go_to(&p, 0, RENEW_MOVING);
	n = flood(&p, 1, bytes, s);
	says_too_much(&p, 1);
	assert_true(break_lane(p.ep[1]));
	for (uint64_t until = wt_in_ms(100); !p.ep[1]->sw && wt_now_ns() < until;)
		weft_progress(p.w[1]->w);
	assert_non_null(p.ep[1]->sw);
	flood_arrives(&p, 1, in, s, n);
	forget_pauses(&p);
	comes_to(&p, "verbs");
	assert_int_equal(p.ep[0]->n_breaks, 2);
	wt_pair_close(&p);
}

/* What must be said finds neither room nor memory to wait in: the endpoint fails, for else both sides would wait for ever. */
static void what_cannot_be_said_is_not_waited_for(void **state)
{
	static unsigned char bytes[EACH];
	struct weft_worker *w;
	struct wt_pair p;

	(void)state;
	open_both(&p);
	break_and_go_to(&p, 0, RENEW_MOVING);
	w = p.w[1]->w;
	w->ctls.max_slots = w->ctls.slots ? w->ctls.slots : 1;
	while (wf_pool_get(&w->ctls))
		;
	for (unsigned i = 0; i < FLOOD && !p.ep[1]->blocked; i++)
		wt_send(&p, 1, bytes, EACH, 8, WEFT_COPY);
	assert_true(p.ep[1]->blocked);
	for (uint64_t until = wt_in_ms(100); wt_now_ns() < until;)
		weft_progress(p.w[1]->w);
	assert_int_equal(wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS).status, WEFT_ENOMEM);
	wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	wt_pair_close(&p);
}

/* ---- rails and ports ---- */

/* The first of two rails goes dark, or its port goes down, or the adapter is taken out: messages go over the second, by RDMA. */
static void another_rail_that_lives_takes_over(void **state)
{
	static const char *const words[] = { "dark", "port_down", "gone" };

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	setenv("WEFT_FAILURE_DETECT", "300ms", 1);
	for (unsigned i = 0; i < 2 * WF_ARRAY_LEN(words); i++) {
		char word[16], other[16];
		struct traffic t = { .seed = i };
		int first;

		open_both(&t.p);
		assert_int_equal(lane_of(t.p.ep[0])->n_rails, 2);
		wt_exchange(&t.p, 0, 4 << 20, 1);
		first = dev_of(t.p.ep[0])->name[4] - '0';
		snprintf(word, sizeof(word), "%s%d", words[i % 3], first);
		snprintf(other, sizeof(other), "verbs: fake%d:1", !first);
		fault(word);
		if (i % 3 == 1)
			verbs_break(lane_of(t.p.ep[i / 3]), PULLED);   /* the software goes on without its port */
		post_some(&t, 30, i);
		all_arrived(&t, i);
		comes_to(&t.p, "verbs");
		for (int k = 0; k < 2; k++) {
			assert_int_equal(dev_of(t.p.ep[k])->name[4] - '0', !first);
			says(&t.p, k, other);
		}
		wt_exchange(&t.p, 0, 4 << 20, 2);
		wt_exchange(&t.p, 1, 4 << 20, 3);
		lane_of(t.p.ep[0]);
		fault(NULL);
		wt_pair_close(&t.p);
	}
}

/* Which rail broke last is not told by endpoints that were closed. */
static void an_endpoint_that_ends_is_not_one_that_broke(void **state)
{
	struct verbs_dev *d;
	struct wt_pair p;

	(void)state;
	open_both(&p);
	wt_exchange(&p, 0, 100, 1);
	d = dev_of(p.ep[0]);
	verbs_ask(lane_of(p.ep[0])->rail[0]);
	wt_pump_ms(5);                   /* nothing of it is under way */
	weft_ep_abort(p.ep[0]);
	wt_wait(p.w[1], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
	assert_int_equal(d->broke_at, 0);
	p.ep[0] = NULL;
	wt_pair_close(&p);
}

/* The only port of one side, or of both, goes down: tcp, and nobody tries anything until it is back. */
static void a_port_that_comes_back_is_used_again(void **state)
{
	static const char *const words[] = { "port_down0", "port_down1", "no_gids0", "no_gids1", "port_down" };
	static const char *const why[] = { "its port is not active", "its port is not active", "it has no address", "it has no address",
					   "its port is not active" };

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	for (unsigned i = 0; i < WF_ARRAY_LEN(words); i++) {
		int side = i & 1;
		struct sides s;

		sides_open(&s, "fake0", "fake1");
		both_are_over(&s, "verbs");
		for (unsigned again = 0; again < 2; again++) {
			uint32_t asked;

			for (int k = 0; again && k < 2; k++)
				s.p.ep[k]->renew->not_before = s.p.ep[k]->renew->tries = 0;   /* it stood for long */
			fault(words[i]);
			wt_pump_ms(5);
			break_lane(s.p.ep[side]);
			wt_exchange(&s.p, side, 300000, 1);
			wt_pump_ms(50);
			both_are_over(&s, "tcp");
			side_says(&s, side, "a new connection waits for a change: ");
			side_says(&s, side, why[i]);
			asked = s.p.ep[0]->renew->number;
			sleeps(s.p.w[0]);
			sleeps(s.p.w[1]);
			assert_int_equal(s.p.ep[0]->renew->number, asked);
			s.p.ep[0]->renew->not_before = 0;   /* it was down for longer than a pause */
			fault(NULL);
			comes_to(&s.p, "verbs");
			wt_exchange(&s.p, side, 300000, 2);
		}
		sides_close(&s);
	}
}

/* Until the lane is not made again, because nothing could carry it. */
static void comes_to_wait(struct wt_pair *p)
{
	for (uint64_t until = wt_in_ms(WT_LIMIT_MS); !p->ep[0]->renew->waits && wt_now_ns() < until;)
		wt_pump();
	assert_true(p->ep[0]->renew->waits);
}

/* The only adapter is taken out and put back. Nobody tells; who looks, for another connection, tells the others of the worker. */
static void an_adapter_that_is_put_back_is_used_again(void **state)
{
	weft_ep *more[2] = { NULL, NULL };
	struct wt_pair p;

	(void)state;
	open_both(&p);
	fault("gone");
	wt_exchange(&p, 0, 100, 1);
	comes_to(&p, "tcp");
	comes_to_wait(&p);
	fault(NULL);
	for (uint64_t until = wt_in_ms(5000); !is_over(&p, "verbs") && wt_now_ns() < until; wt_pump_ms(300)) {
		wt_pair_more(&p, more);
		weft_ep_abort(more[0]);
		weft_ep_abort(more[1]);
	}
	assert_true(is_over(&p, "verbs"));
	wt_exchange(&p, 0, 300000, 2);
	wt_pair_close(&p);
}

/* Sleeps when it can, until messages go over @transport or the time is over; how often it woke. */
static unsigned sleeps_until(struct wt_pair *p, const char *transport, unsigned ms)
{
	struct pollfd fd[2] = { { .fd = weft_worker_fd(p->w[0]->w), .events = POLLIN }, { .fd = weft_worker_fd(p->w[1]->w), .events = POLLIN } };
	uint64_t until = wt_in_ms(ms);
	unsigned n = 0;

	while (!is_over(p, transport) && wt_now_ns() < until) {
		bool asleep = weft_arm(p->w[0]->w) == WEFT_OK;

		if (weft_arm(p->w[1]->w) != WEFT_OK || !asleep || poll(fd, 2, 300))
			n++;
		wt_pump();
	}
	return n;
}

/* ... also where nobody connects any more: while one is lost each worker looks for it now and then, and no more when it is back. */
static void an_adapter_that_is_put_back_is_found(void **state)
{
	static const char *const words[] = { "gone", "fatal" };

	(void)state;
	for (unsigned i = 0; i < WF_ARRAY_LEN(words); i++) {
		struct verbs_port *port;
		struct wt_pair p;

		open_both(&p);
		port = verbs_lane_port(lane_of(p.ep[0]));
		fault(words[i]);
		wt_exchange(&p, 0, 100, 1);
		comes_to(&p, "tcp");
		sleeps_until(&p, "verbs", i ? 50 : 1200);   /* what it does not give back is waited for */
		comes_to_wait(&p);
		assert_true(i || sleeps_until(&p, "verbs", 2500) <= 8);
		fault(NULL);
		sleeps_until(&p, "verbs", 5000);
		assert_true(is_over(&p, "verbs"));
		wt_exchange(&p, 0, 300000, 2);
		sleeps_until(&p, "tcp", 2200);
		assert_int_equal(port->look_at, 0);
		wt_pair_close(&p);
	}
}

/* Queue pairs are made ready without a packet: an attempt over a path that leads nowhere is found out, and costs messages nothing. */
static void a_path_that_leads_nowhere_is_not_taken(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_CONNECT_TIMEOUT", "400ms", 1);
	setenv("WEFT_FAILURE_DETECT", "200ms", 1);
	for (int i = 0; i < 2; i++) {
		open_both(&p);
		fault(i ? "dark" : "mute");
		verbs_break(lane_of(p.ep[0]), PULLED);
		for (uint64_t until = wt_in_ms(900); wt_now_ns() < until;) {
			wt_exchange(&p, 0, 100, 1);
			wt_exchange(&p, 1, 30000, 2);
		}
		assert_true(is_over(&p, "tcp"));
		assert_int_equal(p.ep[0]->n_breaks, 1);
		assert_in_range(p.ep[0]->renew->tries, 1, 2);
		says(&p, 0, i ? "the peer's adapter does not answer" : "the peer's adapter was not reached in time");
		says(&p, 1, i ? "the peer's adapter does not answer" : "the peer's adapter was not reached in time");
		fault(NULL);
		comes_to(&p, "verbs");           /* by the clock: nobody was told of anything */
		wt_pair_close(&p);
	}
}

/* ---- rdma_cm ---- */

static struct rdma_cm_event *cm_event;   /* that comes next */
static struct rdma_event_channel cm_channel;

static struct rdma_event_channel *cm_create(void)
{
	cm_channel.fd = eventfd(0, 0);
	return &cm_channel;
}

static void cm_destroy(struct rdma_event_channel *channel)
{
	close(channel->fd);
}

static int cm_get(struct rdma_event_channel *channel, struct rdma_cm_event **out)
{
	(void)channel;
	*out = cm_event;
	cm_event = NULL;
	return *out ? 0 : -1;
}

static int cm_ack(struct rdma_cm_event *e)
{
	(void)e;
	return 0;
}

/* In place of the library's: there is no rdma_cm in software. */
const struct verbs_cmlib *verbs_cmlib_open(char *why, size_t cap)
{
	static const struct verbs_cmlib lib = {
		.create_event_channel = cm_create, .destroy_event_channel = cm_destroy, .get_cm_event = cm_get, .ack_cm_event = cm_ack,
	};

	(void)why;
	(void)cap;
	return &lib;
}

/* Its word that the connection is gone comes when the lane is breaking for that: it breaks, and nothing else. */
static void rdma_cm_tells_of_a_break_that_is_known(void **state)
{
	static const enum rdma_cm_event_type words[] = { RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_UNREACHABLE };

	(void)state;
	for (unsigned i = 0; i < WF_ARRAY_LEN(words); i++) {
		struct rdma_cm_event e = { .event = words[i] };
		struct rdma_cm_id id = { 0 };
		struct verbs_port *port;
		struct wt_pair p;
		char why[160];

		open_both(&p);
		port = verbs_lane_port(lane_of(p.ep[0]));
		assert_int_equal(verbs_cm_open(port, why, sizeof(why)), 0);
		id.context = lane_of(p.ep[0])->rail[0];
		e.id = &id;
		assert_true(break_lane(p.ep[0]));
		assert_int_equal(lane_of(p.ep[0])->state, VERBS_BREAKING);
		cm_event = &e;
		port->cm_watch.fn(port->cm_watch.arg, POLLIN);
		wt_exchange(&p, 0, 100, 1);
		comes_to(&p, "verbs");
		says(&p, 0, "the last broke for: " PULLED);
		wt_pair_close(&p);
	}
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, renew_teardown)
		CASE(a_lane_that_broke_is_made_again),
		CASE(what_was_described_for_the_old_lane_is_not_read_over_the_new),
		CASE(nothing_is_lost_or_doubled_however_often_it_breaks),
		CASE(it_breaks_again_while_it_is_made),
		CASE(move_may_come_before_the_lane_is_up),
		CASE(it_is_closed_or_aborted_while_it_is_made),
		CASE(a_full_bootstrap_lane_holds_nothing_up),
		CASE(what_cannot_be_said_is_not_waited_for),
		CASE(another_rail_that_lives_takes_over),
		CASE(an_endpoint_that_ends_is_not_one_that_broke),
		CASE(a_port_that_comes_back_is_used_again),
		CASE(an_adapter_that_is_put_back_is_used_again),
		CASE(an_adapter_that_is_put_back_is_found),
		CASE(a_path_that_leads_nowhere_is_not_taken),
		CASE(rdma_cm_tells_of_a_break_that_is_known),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
