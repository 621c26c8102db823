/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_lost.c - adapters, ports and addresses that come and go while they are in use, over devices in software
 * (tests/fake/ibverbs): what was under way arrives once, over what is left; explain says why; the worker sleeps.
 */
#include <poll.h>

#include "unit/verbs_inside.h"

static int two_setup(void **state)
{
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	return wt_setup(state);
}

static int two_teardown(void **state)
{
	unsetenv("WEFT_TEST_IBV_DEVICES");
	unsetenv("WEFT_TEST_IBV_FAULT");
	return wt_teardown(state);
}

/* ---- adapters ---- */

enum { N = 40, LONG = 500000 };

struct sent {
	unsigned char *out, *in;
	size_t len;
	struct wt_posted s, r;
};

static void post_both_ways(struct wt_pair *p, struct sent sent[2][N], uint64_t *seed)
{
	for (int i = 0; i < 2 * N; i++) {
		struct sent *m = &sent[i % 2][i / 2];

		m->len = wt_random(seed) % (i % 7 ? 3000 : LONG);
		m->out = malloc(m->len + 1);
		m->in = malloc(m->len + 1);
		wt_fill(m->out, m->len, (uint64_t)i);
		m->r = wt_recv(p, !(i % 2), m->in, m->len, (uint64_t)(i / 2 % 3), WT_EXACT);
		m->s = wt_send(p, i % 2, m->out, m->len, (uint64_t)(i / 2 % 3), i % 5 ? 0 : WEFT_SYNC);
	}
}

static void all_arrived(struct wt_pair *p, struct sent sent[2][N])
{
	for (int i = 0; i < 2 * N; i++) {
		struct sent *m = &sent[i % 2][i / 2];

		assert_int_equal(wt_ok(p->w[!(i % 2)], m->r).len, m->len);
		wt_ok(p->w[i % 2], m->s);
		wt_assert_data(m->in, m->len, (uint64_t)i);
		free(m->out);
		free(m->in);
	}
}

/* Nothing wakes it: after a while for what an adapter may still give back. */
static void sleeps(struct wt_w *w)
{
	struct pollfd fd = { .fd = weft_worker_fd(w->w), .events = POLLIN };
	uint64_t until = wt_in_ms(4000);

	while ((weft_arm(w->w) != WEFT_OK || poll(&fd, 1, 200)) && wt_now_ns() < until)
		wt_pump();
	assert_true(wt_now_ns() < until);
}

/* Taken out with a word of it and without, or broken and still there; of the side that connected, or the other; early and late. */
static void an_adapter_that_is_lost_is_done_without(void **state)
{
	static const char *const words[] = { "gone0", "cut0", "fatal0", "gone1", "cut1", "fatal1" };
	static struct sent sent[2][N];
	uint64_t seed = 20261126;

	(void)state;
	for (unsigned round = 0; round < WF_ARRAY_LEN(words); round++) {
		const char *word = words[round];
		int side = word[strlen(word) - 1] - '0';
		const char *lost = side ? "fake1:1: the adapter was taken out or failed" : "fake0:1: the adapter was taken out or failed";
		weft_conn_opts o = { .size = sizeof(o), .user_data = 78 };
		weft_ep *more[2];
		struct sides s;

		sides_open(&s, "fake0", "fake1");
		both_are_over(&s, "verbs");
		wt_exchange(&s.p, 0, 100, 5);
		post_both_ways(&s.p, sent, &seed);
		for (uint64_t turns = wt_random(&seed) % 12; turns; turns--)
			wt_pump();
		fault(word);
		all_arrived(&s.p, sent);
		wt_exchange(&s.p, side, 100000, 6);
		both_are_over(&s, "tcp");
		side_says(&s, side, lost);
		sleeps(s.p.w[0]);
		sleeps(s.p.w[1]);
		/* and no more of it is used */
		assert_int_equal(weft_connect(s.p.w[0]->w, s.p.url, &o, &more[0]), WEFT_OK);
		more[1] = wt_accept(s.p.w[1]);
		wt_wait(s.p.w[0], WEFT_EV_CONNECTED, 78, WT_LIMIT_MS);
		assert_string_equal(more[0]->msg->tr->name, "tcp");
		assert_non_null(strstr(explained(side ? s.other : s.p.ctx, more[side]), side ? "not used: verbs: " : lost));
		weft_ep_abort(more[0]);
		weft_ep_abort(more[1]);
		sides_close(&s);
		fault(NULL);
	}
}

/* One that carries no frames is left out; what it was reading is read over another. */
static void a_lost_rail_is_left_out(void **state)
{
	static const char *const words[] = { "gone", "cut", "fatal" };
	enum { LEN = 8 << 20 };
	unsigned char *out = malloc(LEN), *in = malloc(LEN);

	(void)state;
	for (unsigned round = 0; round < 6; round++) {
		char word[16], says[80];
		struct wt_posted sent, r;
		struct verbs_dev *d;
		struct wt_pair p;

		wt_pair_open(&p, 0);
		assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
		d = lane_of(p.ep[0])->rail[1]->dev;
		snprintf(word, sizeof(word), "%s%c", words[round % 3], d->name[4]);
		snprintf(says, sizeof(says), "%s is left out: the adapter was taken out or failed", d->name);
		wt_fill(out, LEN, round);
		r = wt_recv(&p, 1, in, LEN, 9, WT_EXACT);
		sent = wt_send(&p, 0, out, LEN, 9, 0);
		for (unsigned i = 0; i < round; i++)
			wt_pump();
		fault(word);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], sent);
		wt_assert_data(in, LEN, round);
		wt_exchange(&p, 1, LEN, 10);
		for (int i = 0; i < 2; i++) {
			lane_of(p.ep[i]);
			assert_non_null(strstr(explained(p.ctx, p.ep[i]), says));
			sleeps(p.w[i]);
		}
		wt_pair_close(&p);
		fault(NULL);
	}
	free(out);
	free(in);
}

/* A new connection of @s: what it goes over on side 0. */
static weft_ep *connect_anew(struct sides *s, weft_ep **its)
{
	weft_conn_opts o = { .size = sizeof(o), .user_data = 78 };
	weft_ep *ep;

	assert_int_equal(weft_connect(s->p.w[0]->w, s->p.url, &o, &ep), WEFT_OK);
	*its = wt_accept(s->p.w[1]);
	wt_wait(s->p.w[0], WEFT_EV_CONNECTED, 78, WT_LIMIT_MS);
	return ep;
}

static struct verbs_port *port_of(weft_ep *ep)
{
	return verbs_lane_port(lane_of(ep));
}

/* New connections until one goes over @transport and each side has one device: the one that is kept. */
static void until_new_ones_go_over(struct sides *s, const char *transport)
{
	uint64_t until = wt_in_ms(WT_LIMIT_MS);
	bool found = false;
	weft_ep *mine, *its;

	while (!found) {
		assert_true(wt_now_ns() < until);
		mine = connect_anew(s, &its);
		found = !strcmp(mine->msg->tr->name, transport);
		if (found && !strcmp(transport, "verbs"))   /* what was lost is not kept, once the other has its place */
			found = port_of(mine)->n_dev == 1 && port_of(its)->n_dev == 1;
		if (found)
			break;
		weft_ep_abort(mine);
		weft_ep_abort(its);
		wt_pump_ms(20);
	}
	for (int i = 0; i < 2; i++)
		weft_ep_abort(s->p.ep[i]);
	s->p.ep[0] = mine;
	s->p.ep[1] = its;
}

/* Put back, or made well by its driver: new connections go over it. More than once, too. */
static void an_adapter_that_is_put_back_is_used_again(void **state)
{
	static const char *const words[] = { "gone0", "cut1", "fatal0" };

	(void)state;
	for (unsigned round = 0; round < WF_ARRAY_LEN(words); round++) {
		struct sides s;

		sides_open(&s, "fake0", "fake1");
		for (unsigned times = 0; times < 1 + !round; times++) {
			fault(words[round]);
			wt_exchange(&s.p, 0, 100, 5);
			until_new_ones_go_over(&s, "tcp");
			fault(NULL);
			until_new_ones_go_over(&s, "verbs");
			wt_exchange(&s.p, 0, 4 << 20, 6);
			wt_exchange(&s.p, 1, 4 << 20, 7);
		}
		sides_close(&s);
	}
}

/* A rail that was lost stays left out where it was; new lanes have it again, and when the old ones have gone nothing is left of it. */
static void a_rail_that_is_put_back_serves_new_lanes(void **state)
{
	weft_ep *more[2] = { NULL, NULL };
	struct verbs_port *port;
	char word[16];
	struct wt_pair p;
	uint64_t until;

	(void)state;
	wt_pair_open(&p, 0);
	port = port_of(p.ep[0]);
	snprintf(word, sizeof(word), "gone%c", lane_of(p.ep[0])->rail[1]->dev->name[4]);
	fault(word);
	wt_exchange(&p, 0, 4 << 20, 1);
	fault(NULL);
	for (until = wt_in_ms(WT_LIMIT_MS); !more[0] || lane_of(more[0])->n_rails < 2;) {
		assert_true(wt_now_ns() < until);
		if (more[0]) {
			weft_ep_abort(more[0]);
			weft_ep_abort(more[1]);
			wt_pump_ms(50);
		}
		wt_pair_more(&p, more);
	}
	assert_int_equal(port->n_dev, 3);
	wt_exchange(&p, 0, 4 << 20, 2);
	weft_ep_abort(p.ep[0]);
	weft_ep_abort(p.ep[1]);
	p.ep[0] = more[0];
	p.ep[1] = more[1];
	wt_exchange(&p, 0, 4 << 20, 3);
	wt_exchange(&p, 1, 4 << 20, 4);
	for (until = wt_in_ms(WT_LIMIT_MS); port->n_dev > 2;) {
		assert_true(wt_now_ns() < until);
		wt_pump_ms(50);
		wt_pair_more(&p, more);
		weft_ep_abort(more[0]);
		weft_ep_abort(more[1]);
	}
	for (int i = 0; i < 2; i++)
		assert_true(lane_of(p.ep[1])->rail[i]->posted > 3);   /* both read some of what came */
	wt_pair_close(&p);
}

/* ---- ports and addresses ---- */

static unsigned rails_of_a_new_lane(struct wt_pair *p)
{
	weft_ep *more[2];
	unsigned n;

	wt_pair_more(p, more);
	n = lane_of(more[0])->n_rails;
	assert_int_equal(lane_of(more[1])->n_rails, n);
	weft_ep_abort(more[0]);
	weft_ep_abort(more[1]);
	wt_pump_ms(20);
	return n;
}

/* Each worker hears of its adapters when it looks at descriptors. */
static void new_lanes_have(struct wt_pair *p, unsigned n)
{
	unsigned have = rails_of_a_new_lane(p);

	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); have != n && wt_now_ns() < limit;)
		have = rails_of_a_new_lane(p);
	assert_int_equal(have, n);
}

static void a_port_that_comes_up_later_is_used(void **state)
{
	struct wt_pair p;

	(void)state;
	for (int bare = 0; bare < 2; bare++) {
		fault(bare ? "no_gids1" : "port_down1");
		wt_pair_open(&p, 0);
		assert_int_equal(lane_of(p.ep[0])->n_rails, 1);
		assert_int_equal(rails_of_a_new_lane(&p), 1);
		fault(NULL);
		new_lanes_have(&p, 2);
		fault("port_down1");
		new_lanes_have(&p, 1);
		fault(NULL);
		wt_pair_close(&p);
	}
}

/* ... and one that does while a connection is made is left alone: the peer was not told of it. */
static void a_port_that_comes_up_between_the_offers_is_not_used(void **state)
{
	static const char *const links[] = { "eth", "ib" };

	(void)state;
	for (int i = 0; i < 4; i++) {
		weft_conn_opts o = { .size = sizeof(o), .user_data = 79 };
		struct wt_pair p;
		weft_ep *more[2];
		weft_event e;

		setenv("WEFT_TEST_IBV_LINK", links[i / 2], 1);
		fault(i % 2 ? "port_down1" : "port_down0");
		wt_pair_open(&p, 0);
		assert_int_equal(weft_connect(p.w[0]->w, p.url, &o, &more[0]), WEFT_OK);
		e = wt_wait(p.w[1], WEFT_EV_REQUEST, UINT64_MAX, WT_LIMIT_MS);
		fault(NULL);
		wt_pump_ms(20);
		assert_int_equal(weft_accept(e.data, p.w[1]->w, NULL, &more[1]), WEFT_OK);
		wt_wait(p.w[0], WEFT_EV_CONNECTED, 79, WT_LIMIT_MS);
		assert_int_equal(lane_of(more[0])->n_rails, 1);
		assert_string_equal(dev_of(more[0])->name, i % 2 ? "fake0:1" : "fake1:1");
		weft_ep_abort(more[0]);
		weft_ep_abort(more[1]);
		new_lanes_have(&p, 2);
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_LINK");
}

/* An address that the peer was not told is no way to it, unless rdma_cm connects. */
static void only_rdma_cm_does_without_being_told(void **state)
{
	const struct verbs_told none = { .n = 0 };
	struct verbs_pair pairs[VERBS_DEVS];
	const struct verbs_told *to;
	struct verbs_port *port;
	struct wt_pair p;
	char why[200];

	(void)state;
	wt_pair_open(&p, 0);
	port = port_of(p.ep[0]);
	to = &lane_of(p.ep[0])->told;
	assert_int_equal(verbs_route(port, &none, to, pairs, why, sizeof(why)), 0);
	assert_non_null(strstr(why, "none of those that were offered"));
	assert_int_equal(verbs_route(port, NULL, to, pairs, why, sizeof(why)), 2);
	port->dev[1]->cm = true;
	assert_int_equal(verbs_route(port, &none, to, pairs, why, sizeof(why)), 1);
	assert_ptr_equal(pairs[0].dev, port->dev[1]);
	port->dev[1]->cm = false;
	wt_pair_close(&p);
}

/* With none left the endpoint is made over tcp, and each says why. */
static void without_a_port_all_is_tcp(void **state)
{
	weft_conn_opts o = { .size = sizeof(o), .user_data = 78 };
	struct sides s;
	weft_ep *more[2];

	(void)state;
	sides_open(&s, "", "");
	fault("port_down0 no_gids1");
	wt_pump_ms(20);
	assert_int_equal(weft_connect(s.p.w[0]->w, s.p.url, &o, &more[0]), WEFT_OK);
	more[1] = wt_accept(s.p.w[1]);
	wt_wait(s.p.w[0], WEFT_EV_CONNECTED, 78, WT_LIMIT_MS);
	assert_string_equal(more[0]->msg->tr->name, "tcp");
	assert_non_null(strstr(explained(s.p.ctx, more[0]), "fake0:1: its port is not active; fake1:1: it has no address (GID)"));
	weft_ep_abort(more[0]);
	weft_ep_abort(more[1]);
	fault(NULL);
	sides_close(&s);
}

/* New lanes do without it at once; one that stands on it is asked, and goes to tcp when its adapter gets no answer. */
static void an_address_that_goes_is_not_used_any_more(void **state)
{
	struct wt_pair p;

	(void)state;
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
	wt_exchange(&p, 0, 100, 1);
	fault(dev_of(p.ep[0])->name[4] == '0' ? "no_gids0" : "no_gids1");
	new_lanes_have(&p, 1);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); strcmp(p.ep[0]->msg->tr->name, "tcp") && wt_now_ns() < limit;)
		wt_pump();               /* nobody sends anything */
	assert_string_equal(p.ep[0]->msg->tr->name, "tcp");
	assert_true(strstr(explained(p.ctx, p.ep[0]), "the address here was taken away") || strstr(explained(p.ctx, p.ep[1]), "the address here was taken away"));
	wt_exchange(&p, 0, 100000, 2);
	wt_exchange(&p, 1, 100, 3);
	fault(NULL);
	wt_pair_close(&p);
}

/* On InfiniBand the LID leads there: what stands goes on, new lanes do without. */
static void without_its_gid_a_port_keeps_its_lanes(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);
	for (int dev = 0; dev < 2; dev++) {
		wt_pair_open(&p, 0);
		assert_int_equal(lane_of(p.ep[0])->n_rails, 2);
		fault(dev ? "no_gids1" : "no_gids0");
		new_lanes_have(&p, 1);
		wt_exchange(&p, 0, 4 << 20, 2);
		assert_false(lane_of(p.ep[0])->rail[dev]->orphan);
		assert_false(lane_of(p.ep[0])->rail[dev]->broken);
		fault(NULL);
		new_lanes_have(&p, 2);
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_LINK");
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, two_setup, two_teardown)
		CASE(an_adapter_that_is_lost_is_done_without),
		CASE(a_lost_rail_is_left_out),
		CASE(an_adapter_that_is_put_back_is_used_again),
		CASE(a_rail_that_is_put_back_serves_new_lanes),
		CASE(a_port_that_comes_up_later_is_used),
		CASE(a_port_that_comes_up_between_the_offers_is_not_used),
		CASE(only_rdma_cm_does_without_being_told),
		CASE(without_a_port_all_is_tcp),
		CASE(an_address_that_goes_is_not_used_any_more),
		CASE(without_its_gid_a_port_keeps_its_lanes),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
