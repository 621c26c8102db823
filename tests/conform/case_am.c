/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_am.c - active messages: header with the event, payload on demand, handlers.
 */
#include "conform/conform.h"

static struct wt_posted am_send(struct wt_pair *p, uint32_t id, const char *header, const void *buf, size_t len, uint32_t flags)
{
	weft_call c = wt_call(flags);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[0], weft_am_send(p->ep[0], id, header, strlen(header), &b, 1, &c), &c);
}

static struct wt_posted am_recv(struct wt_pair *p, weft_event *am, void *buf, size_t len)
{
	weft_call c = wt_call(0);
	weft_buf b = wt_buf(buf, len);

	return wt_took(p->w[1], weft_am_recv(p->w[1]->w, am, &b, 1, &c), &c);
}

static weft_event am_event(struct wt_pair *p)
{
	return wt_wait(p->w[1], WEFT_EV_AM, UINT64_MAX, WT_LIMIT_MS);
}

static void active_messages_of_every_size_arrive(void **state)
{
	size_t max = (16 << 20) + 1;
	unsigned char *out = malloc(max), *in = malloc(max + 1);
	struct wt_pair p;
	uint64_t seed = 1;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < wt_n_borders; i++) {
		for (int d = -1; d <= 1; d++, seed++) {
			size_t len = wt_borders[i] + d;
			struct wt_posted s, r;
			weft_event am;

			wt_fill(out, len, seed);
			memset(in, 0, len + 1);
			s = am_send(&p, 40 + i, "the header", out, len, 0);
			am = am_event(&p);
			assert_int_equal(am.value, 40 + i);
			assert_int_equal(am.len, len);
			assert_ptr_equal(am.ep, p.ep[1]);
			assert_int_equal(am.data_len, 10);
			assert_memory_equal(am.data, "the header", 10);
			r = am_recv(&p, &am, in, len + 1);
			assert_int_equal(wt_ok(p.w[1], r).len, len);
			weft_event_release(p.w[1]->w, &am);
			wt_ok(p.w[0], s);
			wt_assert_data(in, len, seed);
		}
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void headers_and_payloads_may_be_empty(void **state)
{
	char big[1025];
	struct wt_pair p;
	weft_event am;
	weft_call c;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	wt_pair_open(&p, 0);
	wt_ok(p.w[0], am_send(&p, 1, "", NULL, 0, 0));
	am = am_event(&p);
	assert_int_equal(am.data_len, 0);
	assert_int_equal(am.len, 0);
	weft_event_release(p.w[1]->w, &am);
	wt_ok(p.w[0], am_send(&p, 2, big, NULL, 0, 0));
	am = am_event(&p);
	assert_int_equal(am.data_len, 1024);
	assert_memory_equal(am.data, big, 1024);
	weft_event_release(p.w[1]->w, &am);
	c = wt_call(0);
	assert_int_equal(weft_am_send(p.ep[0], 3, big, 1025, NULL, 0, &c), WEFT_EINVAL);
	wt_pair_close(&p);
}

static void active_messages_keep_their_order(void **state)
{
	size_t n = wt_rounds(2000);
	unsigned char *out = calloc(1, 100000), *in = malloc(100000);
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t i = 0; i < n; i++) {
		size_t len = i % 50 == 7 ? 100000 : 8;

		memcpy(out, &i, sizeof(i));
		am_send(&p, 1, "h", out, len, WEFT_COPY | WEFT_NO_EVENT);
	}
	for (size_t i = 0; i < n; i++) {
		weft_event am = am_event(&p);

		wt_ok(p.w[1], am_recv(&p, &am, in, 100000));
		weft_event_release(p.w[1]->w, &am);
		assert_memory_equal(in, &i, sizeof(i));
	}
	wt_pair_close(&p);
	free(out);
	free(in);
}

static void a_released_message_lets_its_sender_go(void **state)
{
	static unsigned char out[1000000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	for (size_t len = 10; len <= sizeof(out); len *= 100) {
		struct wt_posted s = am_send(&p, 1, "h", out, len, WEFT_SYNC);
		weft_event am = am_event(&p);

		assert_int_equal(am.len, len);
		weft_event_release(p.w[1]->w, &am);
		wt_ok(p.w[0], s);
	}
	wt_exchange(&p, 0, 1000, 1);
	wt_pair_close(&p);
}

static void a_payload_larger_than_its_buffer_is_truncated(void **state)
{
	static unsigned char out[1000000], in[1000000];
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_fill(out, sizeof(out), 2);
	for (size_t len = 10; len <= sizeof(out); len *= 10) {
		struct wt_posted s = am_send(&p, 1, "h", out, len, 0);
		weft_event am = am_event(&p), e;

		e = wt_done(p.w[1], am_recv(&p, &am, in, len / 2));
		assert_int_equal(e.status, WEFT_ETRUNCATED);
		assert_int_equal(e.len, len);
		assert_int_equal(e.value, len / 2);
		wt_assert_data(in, len / 2, 2);
		weft_event_release(p.w[1]->w, &am);
		wt_ok(p.w[0], s);
	}
	wt_pair_close(&p);
}

static void a_payload_is_received_once(void **state)
{
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	weft_call c = wt_call(0);
	struct wt_pair p;
	weft_event am;

	(void)state;
	wt_pair_open(&p, 0);
	am_send(&p, 1, "h", "1234567", 8, WEFT_NO_EVENT);
	am = am_event(&p);
	wt_ok(p.w[1], am_recv(&p, &am, in, 8));
	assert_true(weft_am_recv(p.w[1]->w, &am, &b, 1, &c) < 0);
	weft_event_release(p.w[1]->w, &am);
	wt_exchange(&p, 0, 10, 1);
	wt_pair_close(&p);
}

struct seen {
	struct wt_pair *p;
	unsigned calls;
	size_t header, len;
	uint64_t id;
	bool replied;
	unsigned char in[300000];
	uint64_t recv_id;
};

static void on_am(void *arg, weft_worker *w, const weft_event *am)
{
	struct seen *seen = arg;
	weft_event e = *am;
	weft_buf b = wt_buf(seen->in, sizeof(seen->in)), reply = wt_buf("back", 4);
	weft_call c = wt_call(0);

	seen->calls++;
	seen->header = am->data_len;
	seen->len = am->len;
	seen->id = am->value;
	seen->recv_id = c.user_data;
	wt_took(seen->p->w[1], weft_am_recv(w, &e, &b, 1, &c), &c);
	c = wt_call(WEFT_NO_EVENT | WEFT_COPY);
	seen->replied = weft_send(am->ep, &reply, 1, 9, &c) >= 0;
}

static void a_handler_gets_them_instead_of_the_ring(void **state)
{
	static unsigned char out[300000];
	static struct seen seen;
	struct wt_posted s, r;
	struct wt_pair p;
	weft_event am;
	char in[8];

	(void)state;
	wt_pair_open(&p, 0);
	seen = (struct seen){ .p = &p };
	assert_int_equal(weft_am_bind(p.w[1]->w, 7, on_am, &seen), WEFT_OK);
	for (size_t len = 3; len <= sizeof(out); len *= 10) {
		seen.calls = 0;
		wt_fill(out, len, len);
		s = am_send(&p, 7, "head", out, len, 0);
		r = wt_recv(&p, 0, in, sizeof(in), 9, WT_EXACT);
		assert_int_equal(wt_ok(p.w[0], r).len, 4);
		wt_ok(p.w[0], s);
		wt_ok(p.w[1], (struct wt_posted){ .id = seen.recv_id });
		assert_int_equal(seen.calls, 1);
		assert_true(seen.replied);
		assert_int_equal(seen.header, 4);
		assert_int_equal(seen.len, len);
		assert_int_equal(seen.id, 7);
		wt_assert_data(seen.in, len, len);
	}
	assert_int_equal(wt_count(p.w[1], WEFT_EV_AM), 0);
	am_send(&p, 8, "", NULL, 0, WEFT_NO_EVENT); /* another id: to the ring */
	am = am_event(&p);
	weft_event_release(p.w[1]->w, &am);
	assert_int_equal(weft_am_bind(p.w[1]->w, 7, NULL, NULL), WEFT_OK);
	am_send(&p, 7, "", NULL, 0, WEFT_NO_EVENT);
	am = am_event(&p);
	weft_event_release(p.w[1]->w, &am);
	wt_pair_close(&p);
}

struct taker {
	weft_op op;
	int ret;
};

static void take_it(void *arg, weft_worker *w, const weft_event *am)
{
	struct taker *t = arg;
	weft_event e;

	(void)am;
	t->ret = weft_test(w, t->op, &e);
}

static void a_handler_may_take_what_its_caller_waits_for(void **state)
{
	struct taker t = { .ret = -99 };
	weft_call c = wt_call(WEFT_BY_HANDLE);
	struct wt_pair p;
	weft_event e;
	char in[8];
	weft_buf b = wt_buf(in, sizeof(in));
	int ret = WEFT_AGAIN;
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_am_bind(p.w[1]->w, 7, take_it, &t), WEFT_OK);
	assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	t.op = c.op;
	wt_send(&p, 0, "1234567", 8, 1, WEFT_NO_EVENT | WEFT_COPY);
	am_send(&p, 7, "", NULL, 0, WEFT_NO_EVENT);
	while (ret == WEFT_AGAIN) {
		weft_progress(p.w[0]->w);
		ret = weft_test(p.w[1]->w, c.op, &e);
		assert_true(wt_now_ns() < limit);
	}
	wt_pump_ms(5);
	assert_true((ret == WEFT_OK) != (t.ret == WEFT_OK)); /* one of them had it */
	wt_exchange(&p, 0, 100, 1);
	wt_pair_close(&p);
}

static void end_all(void *arg, weft_worker *w, const weft_event *am)
{
	struct wt_pair *p = arg;
	weft_call c = wt_call(WEFT_NO_EVENT);

	(void)w;
	weft_listener_close(p->listener);
	p->listener = NULL;
	if (am->value == 8)
		weft_ep_abort(am->ep);
	else
		weft_ep_close(am->ep, &c);
}

static void a_handler_may_end_everything(void **state)
{
	static unsigned char out[300000];

	(void)state;
	for (uint32_t id = 8; id < 10; id++) {
		struct wt_pair p;

		wt_pair_open(&p, 0);
		assert_int_equal(weft_am_bind(p.w[1]->w, id, end_all, &p), WEFT_OK);
		am_send(&p, id, "head", out, id == 8 ? 10 : sizeof(out), WEFT_NO_EVENT);
		wt_wait(p.w[0], WEFT_EV_DOWN, UINT64_MAX, WT_LIMIT_MS);
		p.ep[1] = NULL;
		wt_pair_close(&p);
	}
}

struct host {
	struct wt_pair *p;
	weft_ep *made, *taken;
};

/* Connects to its own worker the first time, accepts that the second time. */
static void make_one(void *arg, weft_worker *w, const weft_event *am)
{
	struct host *h = arg;
	weft_event e;

	(void)am;
	if (!h->made) {
		weft_connect(w, h->p->url, NULL, &h->made);
	} else if (!h->taken) {
		while (weft_reap(w, &e, 1) == 1) {
			if (e.kind == WEFT_EV_REQUEST)
				weft_accept(e.data, w, NULL, &h->taken);
		}
	}
}

static void a_handler_may_connect_and_accept(void **state)
{
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));
	struct wt_pair p;
	struct host h = { .p = &p };

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_am_bind(p.w[1]->w, 7, make_one, &h), WEFT_OK);
	while (!h.taken) {
		am_send(&p, 7, "", NULL, 0, WEFT_NO_EVENT | WEFT_COPY);
		for (int i = 0; i < 5; i++) { /* nothing is reaped outside of the handler */
			weft_progress(p.w[0]->w);
			weft_progress(p.w[1]->w);
		}
		assert_true(wt_now_ns() < limit);
	}
	wt_wait_count(p.w[1], WEFT_EV_CONNECTED, 2, WT_LIMIT_MS);
	assert_int_equal(weft_ep_abort(h.made), WEFT_OK);
	assert_int_equal(weft_ep_abort(h.taken), WEFT_OK);
	wt_exchange(&p, 0, 100, 1);
	wt_pair_close(&p);
}

struct reaper {
	unsigned calls, ops;
};

static void reap_all(void *arg, weft_worker *w, const weft_event *am)
{
	struct reaper *r = arg;
	weft_event e;

	(void)am;
	r->calls++;
	while (weft_reap(w, &e, 1) == 1)
		r->ops += e.kind == WEFT_EV_OP;
}

/* Its caller is reaping, too: each event goes to one of them. */
static void a_handler_may_reap(void **state)
{
	enum { N = 30 };
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS)), in[N];
	struct reaper r = { 0 };
	struct wt_pair p;
	unsigned ops = 0;
	weft_event e[4];

	(void)state;
	wt_pair_open(&p, 0);
	assert_int_equal(weft_am_bind(p.w[1]->w, 7, reap_all, &r), WEFT_OK);
	for (uint64_t i = 0; i < N; i++) {
		weft_buf b = wt_buf(&in[i], 8);
		weft_call c = wt_call(0);

		assert_int_equal(weft_recv(p.w[1]->w, &b, 1, 1, WT_EXACT, &c), WEFT_PENDING);
	}
	for (uint64_t i = 0; i < N; i++) {
		wt_send(&p, 0, &i, 8, 1, WEFT_NO_EVENT | WEFT_COPY);
		if (i % 8 == 6)
			am_send(&p, 7, "", NULL, 0, WEFT_NO_EVENT);
	}
	while (ops + r.ops < N || r.calls < 3) {
		size_t n;

		weft_progress(p.w[0]->w);
		n = weft_reap(p.w[1]->w, e, 4);
		for (size_t i = 0; i < n; i++)
			ops += e[i].kind == WEFT_EV_OP;
		assert_true(wt_now_ns() < limit);
	}
	assert_int_equal(ops + r.ops, N);
	assert_int_equal(weft_reap(p.w[1]->w, e, 4), 0);
	wt_pair_close(&p);
}

static const struct CMUnitTest cases[] = {
	WT_CASE(active_messages_of_every_size_arrive),
	WT_CASE(headers_and_payloads_may_be_empty),
	WT_CASE(active_messages_keep_their_order),
	WT_CASE(a_released_message_lets_its_sender_go),
	WT_CASE(a_payload_larger_than_its_buffer_is_truncated),
	WT_CASE(a_payload_is_received_once),
	WT_CASE(a_handler_gets_them_instead_of_the_ring),
	WT_CASE(a_handler_may_take_what_its_caller_waits_for),
	WT_CASE(a_handler_may_reap),
	WT_CASE(a_handler_may_end_everything),
	WT_CASE(a_handler_may_connect_and_accept),
};
WT_GROUP(wt_group_am, cases);
