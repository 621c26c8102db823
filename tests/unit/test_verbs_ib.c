/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_ib.c - ports that meet and ports that do not, over devices in software (tests/fake/ibverbs): InfiniBand, where a LID and
 * a subnet decide and not an IP address; MTUs that differ; peers that speak another version, or name addresses that they may not.
 */
#include "unit/verbs_inside.h"

static struct ibv_qp_attr attr_of(weft_ep *ep)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr a;

	MUST(!v->query_qp(lane_of(ep)->rail[0]->qp, &a, IBV_QP_AV | IBV_QP_PATH_MTU, &init));
	return a;
}

/* ---- InfiniBand ---- */

static int ib_setup(void **state)
{
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	return wt_setup(state);
}

static int ib_teardown(void **state)
{
	unsetenv("WEFT_TEST_IBV_LINK");
	unsetenv("WEFT_TEST_IBV_DEVICES");
	unsetenv("WEFT_TEST_IBV_SUBNETS");
	unsetenv("WEFT_TEST_IBV_GRH");
	return wt_teardown(state);
}

static void within_a_subnet_a_lid_leads_there(void **state)
{
	struct sides s;

	(void)state;
	sides_open(&s, "fake0", "fake1");
	both_are_over(&s, "verbs");
	for (int i = 0; i < 2; i++) {
		struct ibv_qp_attr a = attr_of(s.p.ep[i]);

		assert_int_equal(dev_of(s.p.ep[i])->link, IBV_LINK_LAYER_INFINIBAND);
		assert_int_equal(dev_of(s.p.ep[i])->lid, 16 + i);
		assert_int_equal(a.ah_attr.dlid, 16 + !i);
		assert_false(a.ah_attr.is_global);
	}
	side_says(&s, 0, "fake0:1 from fe80::200:0:0:1 (LID 16, GID 0, MTU 4096)");
	side_says(&s, 1, "fake1:1 from fe80::200:0:0:2 (LID 17, GID 0, MTU 4096)");
	wt_exchange(&s.p, 0, 8 << 20, 5);
	assert_int_equal(s.p.ep[1]->msg->copy_us, 8 << 20);
	sides_close(&s);
}

/* Where the port says so: some fabrics route by GID also within a subnet. A class of traffic is said there, and only there. */
static void a_global_route_goes_where_the_port_wants_it(void **state)
{
	for (int grh = 0; grh < 2; grh++) {
		struct ibv_qp_attr a;
		struct sides s;

		(void)state;
		if (grh)
			setenv("WEFT_TEST_IBV_GRH", "1", 1);
		sides_open(&s, "fake0,tc=106,sl=9", "fake1,tc=106,sl=9");
		both_are_over(&s, "verbs");
		a = attr_of(s.p.ep[0]);
		assert_int_equal(a.ah_attr.is_global, grh);
		assert_int_equal(a.ah_attr.grh.traffic_class, grh ? 106 : 0);
		assert_int_equal(a.ah_attr.sl, 9);
		if (grh)
			assert_memory_equal(a.ah_attr.grh.dgid.raw, lane_of(s.p.ep[1])->rail[0]->self.gid, 16);
		sides_close(&s);
	}
}

static void another_subnet_is_not_reached(void **state)
{
	struct sides s;

	(void)state;
	setenv("WEFT_TEST_IBV_SUBNETS", "0,1", 1);
	sides_open(&s, "fake0", "fake1");
	both_are_over(&s, "tcp");
	side_says(&s, 0, "the peer's InfiniBand port is of another subnet");
	sides_close(&s);
	setenv("WEFT_TEST_IBV_LINK", "eth,ib", 1);
	sides_open(&s, "fake0", "fake1");
	both_are_over(&s, "tcp");
	side_says(&s, 0, "the peer offers InfiniBand, and this machine has none");
	sides_close(&s);
}

/* Each port meets those of its subnet, in whichever order they stand; also where the LIDs are the same. */
static void each_subnet_has_a_rail_of_its_own(void **state)
{
	static const char *const subnets[] = { "0,0", "0,1" };
	struct wt_pair p;

	(void)state;
	for (int k = 0; k < 2; k++) {
		setenv("WEFT_TEST_IBV_SUBNETS", subnets[k], 1);
		wt_pair_open(&p, 0);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(lane_of(p.ep[i])->n_rails, 2);
			for (int r = 0; r < 2; r++)
				assert_memory_equal(lane_of(p.ep[i])->rail[r]->self.gid, lane_of(p.ep[!i])->rail[r]->peer.gid, 16);
			assert_int_equal(lane_of(p.ep[i])->rail[1]->self.lid, k ? 16 : 17);
		}
		wt_exchange(&p, 0, 8 << 20, 5);
		for (int r = 0; r < 2; r++)
			assert_true(lane_of(p.ep[1])->rail[r]->posted > 3);   /* both carried some of it */
		wt_pair_close(&p);
	}
}

/* ---- MTUs ---- */

static void the_lesser_mtu_is_both_sides(void **state)
{
	static const char *const mtus[] = { "4096,1024", "2048,4096", "256,256" };
	static const int lesser[] = { 1024, 2048, 256 };

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	for (int ib = 0; ib < 2; ib++) {
		setenv("WEFT_TEST_IBV_LINK", ib ? "ib" : "eth", 1);
		for (size_t k = 0; k < WF_ARRAY_LEN(mtus); k++) {
			char says[32];
			struct sides s;

			setenv("WEFT_TEST_IBV_MTUS", mtus[k], 1);
			sides_open(&s, "fake0", "fake1");
			both_are_over(&s, "verbs");
			snprintf(says, sizeof(says), ", MTU %d)", lesser[k]);
			for (int i = 0; i < 2; i++) {
				assert_int_equal(128 << attr_of(s.p.ep[i]).path_mtu, lesser[k]);
				side_says(&s, i, says);
			}
			sides_close(&s);
		}
	}
	unsetenv("WEFT_TEST_IBV_MTUS");
	unsetenv("WEFT_TEST_IBV_LINK");
	unsetenv("WEFT_TEST_IBV_DEVICES");
}

/* ---- another version ---- */

enum change { NOTHING, VERSION, LID, ADDRESS };

static struct {
	const char *side;                /* its setting rdma */
	int what;                        /* 0: its offer; else VERBS_ASK, VERBS_ANSWER that it hears */
	enum change change;
} foreign;

static bool is_foreign(const struct wf_lane *l)
{
	return foreign.side && !strcmp(l->port->conf->rdma, foreign.side);
}

size_t __real_verbs_offer(struct wf_lane *l, void *out, size_t cap);
size_t __wrap_verbs_offer(struct wf_lane *l, void *out, size_t cap);
size_t __wrap_verbs_offer(struct wf_lane *l, void *out, size_t cap)
{
	size_t n = __real_verbs_offer(l, out, cap);

	if (n && is_foreign(l) && !foreign.what)
		((uint8_t *)out)[0] = VERBS_VERSION + 1;
	return n;
}

void __real_verbs_hear(struct wf_lane *l, const void *p, size_t len);
void __wrap_verbs_hear(struct wf_lane *l, const void *p, size_t len);
void __wrap_verbs_hear(struct wf_lane *l, const void *p, size_t len)
{
	struct verbs_say say;

	assert_int_equal(len, sizeof(say));
	memcpy(&say, p, sizeof(say));
	if (is_foreign(l) && say.what == foreign.what && foreign.change == VERSION)
		say.version++;
	else if (is_foreign(l) && say.what == foreign.what && foreign.change == LID)
		say.end[0].lid = 0;
	else if (is_foreign(l) && say.what == foreign.what && foreign.change == ADDRESS)
		say.end[0].gid[15] ^= 0x40;
	__real_verbs_hear(l, &say, sizeof(say));
}

/* Nothing is lost: what was sent before either side knew goes over tcp. At once: nobody waits for an answer that does not come. */
static void goes_to_tcp(const char *side, int what, enum change change, int who_says, const char *says)
{
	char out[] = "early", in[8];
	struct wt_posted r;
	struct sides s;
	uint64_t began = wt_now_ns();

	foreign.side = side;
	foreign.what = what;
	foreign.change = change;
	sides_open(&s, "fake0", "fake1");
	r = wt_recv(&s.p, 1, in, sizeof(in), 7, WT_EXACT);
	wt_ok(s.p.w[0], wt_send(&s.p, 0, out, sizeof(out), 7, WEFT_SYNC));
	wt_ok(s.p.w[1], r);
	assert_string_equal(in, "early");
	both_are_over(&s, "tcp");
	side_says(&s, who_says, says);
	assert_true(wt_now_ns() - began < 2 * WF_NS_PER_S);
	sides_close(&s);
	foreign.side = NULL;
}

static void a_peer_of_another_version_is_met_over_tcp(void **state)
{
	static const char version[] = "the peer speaks another version of verbs";

	(void)state;
	goes_to_tcp("fake0", 0, VERSION, 1, version);
	goes_to_tcp("fake1", 0, VERSION, 0, version);
	goes_to_tcp("fake1", VERBS_ASK, VERSION, 1, version);
	goes_to_tcp("fake0", VERBS_ANSWER, VERSION, 0, version);
	/* no port's LID */
	goes_to_tcp("fake1", VERBS_ASK, LID, 1, "describes its queue pair in a way that cannot be");
	goes_to_tcp("fake0", VERBS_ANSWER, LID, 0, "describes its queue pair in a way that cannot be");
}

/* The kernel may hold the worker up while it looks for a neighbour: it is not made to look for any but those that the peer offered. */
static void a_peer_is_held_to_its_addresses(void **state)
{
	static const char *const links[] = { "eth", "ib" };

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	for (size_t i = 0; i < WF_ARRAY_LEN(links); i++) {
		setenv("WEFT_TEST_IBV_LINK", links[i], 1);
		goes_to_tcp("fake1", VERBS_ASK, ADDRESS, 1, "an RDMA address is named that was not offered");
		goes_to_tcp("fake0", VERBS_ANSWER, ADDRESS, 0, "the peer answers from an RDMA address that it was not asked at");
	}
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, wt_teardown)
#define IB(f)   cmocka_unit_test_setup_teardown(f, ib_setup, ib_teardown)
		IB(within_a_subnet_a_lid_leads_there),
		IB(a_global_route_goes_where_the_port_wants_it),
		IB(another_subnet_is_not_reached),
		IB(each_subnet_has_a_rail_of_its_own),
		CASE(the_lesser_mtu_is_both_sides),
		IB(a_peer_of_another_version_is_met_over_tcp),
		IB(a_peer_is_held_to_its_addresses),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
