/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_fake_ibv.c - the fake libibverbs (tests/fake/ibverbs) does what devices do, through verbs_lib: tests of the verbs
 * transport are worth what this is worth. Here within one process; between several: test_fake_ibv_procs.c.
 */
#include "unit/fake_ibv.h"

/* ---- what there is ---- */

static void test_devices(void **state)
{
	struct ibv_device **list;
	struct ibv_device_attr dev;
	struct ibv_port_attr port;
	struct ibv_gid_entry e;
	union ibv_gid gid;
	struct ibv_context *ctx;
	uint16_t pkey;
	int n;

	(void)state;
	setenv("WEFT_TEST_IBV_DEVICES", "2", 1);
	list = v->get_device_list(&n);
	unsetenv("WEFT_TEST_IBV_DEVICES");
	assert_int_equal(n, 2);
	assert_string_equal(v->get_device_name(list[1]), "fake1");
	assert_null(list[2]);
	ctx = v->open_device(list[1]);
	v->free_device_list(list);
	assert_non_null(ctx);
	assert_int_equal(v->query_device(ctx, &dev), 0);
	assert_int_equal(dev.max_sge, 32);
	assert_int_equal(dev.atomic_cap, IBV_ATOMIC_HCA);
	memset(&port, 0xff, sizeof(port));
	assert_int_equal(v->query_port(ctx, 1, &port), 0);
	assert_int_equal(port.state, IBV_PORT_ACTIVE);
	assert_int_equal(port.link_layer, IBV_LINK_LAYER_ETHERNET);
	assert_int_equal(port.port_cap_flags2, 0); /* which the library does not fill */
	assert_int_equal(v->query_gid(ctx, 1, 1, &gid), 0);
	assert_memory_equal(gid.raw, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\2", 16);
	assert_int_equal(v->query_gid_ex(ctx, 1, 0, &e, 0, sizeof(e)), 0);
	assert_int_equal(e.gid_type, IBV_GID_TYPE_ROCE_V2);
	assert_int_equal(e.gid.raw[0], 0xfe);
	assert_int_equal(v->query_gid_ex(ctx, 1, 2, &e, 0, sizeof(e)), ENODATA);
	assert_int_equal(v->query_pkey(ctx, 1, 0, &pkey), 0);
	assert_int_equal(v->close_device(ctx), 0);
}

static void test_faults(void **state)
{
	char *fabric = strdup(getenv("WEFT_TEST_IBV"));
	struct ibv_port_attr port;
	struct ibv_device **list;
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	union ibv_gid gid;
	char buf[200];
	int n;

	(void)state;
	unsetenv("WEFT_TEST_IBV");
	list = v->get_device_list(&n);
	assert_int_equal(n, 0);
	v->free_device_list(list);
	setenv("WEFT_TEST_IBV", fabric, 1);
	free(fabric);
	setenv("WEFT_TEST_IBV_FAULT", "no_open", 1);
	assert_null(open_first());
	assert_int_equal(errno, EACCES);
	setenv("WEFT_TEST_IBV_FAULT", "no_gids,port_down", 1);
	ctx = open_first();
	assert_int_equal(v->query_port(ctx, 1, &port), 0);
	assert_int_equal(port.state, IBV_PORT_DOWN);
	assert_int_equal(v->query_gid(ctx, 1, 1, &gid), 0);
	assert_int_equal(gid.raw[15], 0);
	unsetenv("WEFT_TEST_IBV_FAULT");
	setenv("WEFT_TEST_IBV_MEMLOCK", "100", 1);
	pd = v->alloc_pd(ctx);
	assert_null(v->reg_mr(pd, buf, sizeof(buf), 0));
	assert_int_equal(errno, ENOMEM);
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	assert_null(v->reg_mr(pd, (void *)4096, 4096, 0));
	assert_int_equal(errno, EFAULT);
	assert_int_equal(v->dealloc_pd(pd), 0);
	assert_int_equal(v->close_device(ctx), 0);
}

/* Not counted as locked, and of use only for what the device said. */
static void test_on_demand(void **state)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND;
	struct ibv_device_attr_ex a;
	struct ibv_context *ctx;
	struct ibv_mr *mr;
	struct ibv_pd *pd;
	char buf[200];

	(void)state;
	ctx = open_first();
	assert_int_equal(ibv_query_device_ex(ctx, &a), ENOSYS);
	assert_int_equal(v->close_device(ctx), 0);
	setenv("WEFT_TEST_IBV_ODP", "read srq_recv", 1);
	setenv("WEFT_TEST_IBV_MEMLOCK", "100", 1);
	ctx = open_first();
	assert_int_equal(ibv_query_device_ex(ctx, &a), 0);
	assert_int_equal(a.odp_caps.general_caps, IBV_ODP_SUPPORT);
	assert_int_equal(a.odp_caps.per_transport_caps.rc_odp_caps, IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_SRQ_RECV);
	assert_int_equal(a.orig_attr.max_sge, 32);
	pd = v->alloc_pd(ctx);
	assert_null(v->reg_mr(pd, buf, sizeof(buf), IBV_ACCESS_LOCAL_WRITE));
	mr = v->reg_mr(pd, buf, sizeof(buf), access);
	assert_non_null(mr);
	assert_int_equal(v->dereg_mr(mr), 0);
	assert_int_equal(v->dealloc_pd(pd), 0);
	assert_int_equal(v->close_device(ctx), 0);
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	unsetenv("WEFT_TEST_IBV_ODP");
}

/* ---- messages ---- */

static void test_send_recv(void **state)
{
	struct ibv_send_wr *bad, second = { .wr_id = 2, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE };
	struct ibv_send_wr first = { .wr_id = 1, .opcode = IBV_WR_SEND_WITH_IMM, .imm_data = 0x01020304, .num_sge = 2,
				     .send_flags = IBV_SEND_SIGNALED, .next = &second };
	struct ibv_sge two[2], text;
	char word[] = "inline";
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	pair_init(n, &usual);
	for (uint64_t i = 0; i < 3; i++)
		post_recv(&n[1], 10 + i, 1000 * i, 1000);
	memcpy(n[0].buf, "hello", 5);
	memcpy(n[0].buf + 100, " world", 6);
	two[0] = (struct ibv_sge){ (uintptr_t)n[0].buf, 5, n[0].mr->lkey };
	two[1] = (struct ibv_sge){ (uintptr_t)n[0].buf + 100, 6, n[0].mr->lkey };
	text = (struct ibv_sge){ (uintptr_t)word, 6, 0 };
	first.sg_list = two;
	second.sg_list = &text;
	second.num_sge = 1;
	assert_int_equal(ibv_post_send(n[0].qp, &first, &bad), 0);
	memset(word, 0, sizeof(word)); /* inline: ours again */
	post(&n[0], (struct ibv_send_wr){ .wr_id = 3, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 0);

	wc = reap(&n[1]);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_RECV);
	assert_int_equal(wc.wr_id, 10);
	assert_int_equal(wc.byte_len, 11);
	assert_int_equal(wc.wc_flags, IBV_WC_WITH_IMM);
	assert_int_equal(wc.imm_data, 0x01020304);
	assert_int_equal(wc.qp_num, n[1].qp->qp_num);
	assert_memory_equal(n[1].buf, "hello world", 11);
	wc = reap(&n[1]);
	assert_int_equal(wc.wr_id, 11);
	assert_memory_equal(n[1].buf + 1000, "inline", 6);
	assert_int_equal(wc.wc_flags, 0);
	wc = reap(&n[1]);
	assert_int_equal(wc.wr_id, 12);
	assert_int_equal(wc.byte_len, 0);
	assert_int_equal(reap(&n[0]).wr_id, 1);
	assert_int_equal(reap(&n[0]).wr_id, 3); /* the second asked for none */
	assert_int_equal(poll_one(&n[0], &wc), 0);
	pair_fini(n);
}

static void test_write_read_atomics(void **state)
{
	struct ibv_send_wr wr = { .wr_id = 1, .send_flags = IBV_SEND_SIGNALED };
	struct node n[2];
	struct about peer;
	struct ibv_wc wc;
	uint64_t word;

	(void)state;
	pair_init(n, &usual);
	peer = node_about(&n[1]);
	memset(n[0].buf, 'w', 20000);
	wr.opcode = IBV_WR_RDMA_WRITE;
	wr.wr.rdma.remote_addr = peer.addr + 7;
	wr.wr.rdma.rkey = peer.rkey;
	post(&n[0], wr, 0, 20000);
	assert_int_equal(reap(&n[0]).opcode, IBV_WC_RDMA_WRITE);
	assert_memory_equal(n[1].buf + 7, n[0].buf, 20000);
	assert_int_equal(n[1].buf[20007], 0);

	memset(n[1].buf, 'r', 30000);
	wr.opcode = IBV_WR_RDMA_READ;
	post(&n[0], wr, 100, 20000);
	wc = reap(&n[0]);
	assert_int_equal(wc.opcode, IBV_WC_RDMA_READ);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(n[0].buf[100], 'r');
	assert_int_equal(n[0].buf[20099], 'r');

	post_recv(&n[1], 5, 0, 10);
	wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	wr.imm_data = 77;
	post(&n[0], wr, 0, 100);
	wc = reap(&n[1]);
	assert_int_equal(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(wc.byte_len, 100);
	assert_int_equal(wc.imm_data, 77);
	assert_int_equal(reap(&n[0]).opcode, IBV_WC_RDMA_WRITE);

	word = 40;
	memcpy(n[1].buf + 8, &word, 8);
	wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	wr.wr.atomic.remote_addr = peer.addr + 8;
	wr.wr.atomic.rkey = peer.rkey;
	wr.wr.atomic.compare_add = 2;
	post(&n[0], wr, 0, 8);
	assert_int_equal(reap(&n[0]).opcode, IBV_WC_FETCH_ADD);
	assert_int_equal(*(uint64_t *)n[0].buf, 40);
	wr.opcode = IBV_WR_ATOMIC_CMP_AND_SWP;
	wr.wr.atomic.compare_add = 42;
	wr.wr.atomic.swap = 99;
	post(&n[0], wr, 0, 8);
	assert_int_equal(reap(&n[0]).opcode, IBV_WC_COMP_SWAP);
	assert_int_equal(*(uint64_t *)n[0].buf, 42);
	post(&n[0], wr, 0, 8);
	reap(&n[0]);
	memcpy(&word, n[1].buf + 8, 8);
	assert_int_equal(word, 99);
	assert_int_equal(*(uint64_t *)n[0].buf, 99); /* the second one failed to compare */
	pair_fini(n);
}

/* ---- what goes wrong ---- */

enum bad_key { OUT_OF_RANGE, NO_KEY, LOCAL_KEY, GONE, OTHER_DOMAIN, NO_RIGHT };

static void use_bad_key(enum bad_key what)
{
	struct ibv_send_wr wr = { .wr_id = 1, .opcode = IBV_WR_RDMA_WRITE };
	struct ibv_mr *mr = NULL;
	struct ibv_pd *pd = NULL;
	struct node n[2];
	struct ibv_wc wc;

	pair_init(n, &usual);
	wr.wr.rdma.remote_addr = (uintptr_t)n[1].buf + (what == OUT_OF_RANGE ? NODE_BYTES - 4 : 0);
	wr.wr.rdma.rkey = what == NO_KEY ? 0x12345678 : what == LOCAL_KEY ? n[1].mr->lkey : n[1].mr->rkey;
	if (what >= GONE) {
		pd = what == OTHER_DOMAIN ? v->alloc_pd(n[1].ctx) : n[1].pd;
		mr = v->reg_mr(pd, n[1].buf, 64, IBV_ACCESS_LOCAL_WRITE | (what == NO_RIGHT ? 0 : IBV_ACCESS_REMOTE_WRITE));
		wr.wr.rdma.rkey = mr->rkey;
	}
	if (what == GONE) {
		assert_int_equal(v->dereg_mr(mr), 0);
		mr = v->reg_mr(pd, n[1].buf, 64, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE); /* in its place */
		assert_int_not_equal(mr->rkey, wr.wr.rdma.rkey);
	}
	post(&n[0], wr, 0, 8);
	wc = reap(&n[0]); /* though none was asked for */
	assert_int_equal(wc.status, IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(wc.wr_id, 1);
	assert_int_equal(state_of(&n[0]), IBV_QPS_ERR);
	assert_int_equal(state_of(&n[1]), IBV_QPS_ERR);
	assert_int_equal(next_async(&n[1]), IBV_EVENT_QP_ACCESS_ERR);
	assert_int_equal(next_async(&n[1]), IBV_EVENT_QP_LAST_WQE_REACHED);
	assert_int_equal(n[1].buf[0], 0);
	if (mr)
		assert_int_equal(v->dereg_mr(mr), 0);
	if (what == OTHER_DOMAIN)
		assert_int_equal(v->dealloc_pd(pd), 0);
	pair_fini(n);
}

static void test_bad_keys(void **state)
{
	(void)state;
	for (enum bad_key what = OUT_OF_RANGE; what <= NO_RIGHT; what++)
		use_bad_key(what);
}

static void test_too_long(void **state)
{
	struct node n[2];

	(void)state;
	pair_init(n, &usual);
	post_recv(&n[1], 5, 0, 10);
	post(&n[0], (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND }, 0, 11);
	assert_int_equal(reap(&n[0]).status, IBV_WC_REM_INV_REQ_ERR);
	assert_int_equal(reap(&n[1]).status, IBV_WC_LOC_LEN_ERR);
	assert_int_equal(state_of(&n[1]), IBV_QPS_ERR);
	pair_fini(n);
}

static void test_flush(void **state)
{
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	pair_init(n, &usual);
	for (uint64_t i = 0; i < 5; i++) { /* no receive is posted */
		unsigned flags = i & 1 ? IBV_SEND_SIGNALED : 0;

		post(&n[0], (struct ibv_send_wr){ .wr_id = i, .opcode = IBV_WR_SEND, .send_flags = flags }, 0, 8);
	}
	assert_int_equal(poll_one(&n[0], &wc), 0);
	assert_int_equal(v->modify_qp(n[0].qp, &err, IBV_QP_STATE), 0);
	post(&n[0], (struct ibv_send_wr){ .wr_id = 5, .opcode = IBV_WR_SEND }, 0, 8); /* and what comes after */
	for (uint64_t i = 0; i < 6; i++) {
		wc = reap(&n[0]);
		assert_int_equal(wc.wr_id, i);
		assert_int_equal(wc.status, IBV_WC_WR_FLUSH_ERR);
		assert_int_equal(wc.qp_num, n[0].qp->qp_num);
	}
	assert_int_equal(next_async(&n[0]), IBV_EVENT_QP_LAST_WQE_REACHED);
	pair_fini(n);
}

static void test_no_receive(void **state)
{
	struct how how = usual;
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	pair_init(n, &usual);
	n[0].buf[0] = 'x';
	post(&n[0], (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 8);
	assert_int_equal(poll_one(&n[0], &wc), 0);
	post_recv(&n[1], 2, 0, 8); /* 7 means for ever: it goes on at once */
	assert_int_equal(reap(&n[1]).wr_id, 2);
	assert_int_equal(n[1].buf[0], 'x');
	assert_int_equal(reap(&n[0]).status, IBV_WC_SUCCESS);
	pair_fini(n);

	how.rnr_retry = 1;
	pair_init(n, &how);
	post(&n[0], (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND }, 0, 8);
	assert_int_equal(reap_asleep(&n[0]).status, IBV_WC_RNR_RETRY_EXC_ERR);
	assert_int_equal(state_of(&n[0]), IBV_QPS_ERR);
	assert_int_equal(state_of(&n[1]), IBV_QPS_RTS);
	pair_fini(n);
}

static void test_peer_is_not_ready(void **state)
{
	struct how how = usual;
	struct about a[2];
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	for (int i = 0; i < 2; i++) {
		node_init(&n[i], &how);
		a[i] = node_about(&n[i]);
	}
	join(&n[0], &a[1], &how);
	to_init(&n[1]);
	post_recv(&n[1], 2, 0, 8);
	post(&n[0], (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 8);
	assert_int_equal(poll_one(&n[0], &wc), 0);
	to_rtr(&n[1], &a[0], &how); /* takes it, from here on */
	assert_int_equal(reap(&n[1]).wr_id, 2);
	assert_int_equal(reap(&n[0]).status, IBV_WC_SUCCESS);
	pair_fini(n);

	how.timeout = 10; /* 4 ms, 8 times */
	for (int i = 0; i < 2; i++) {
		node_init(&n[i], &how);
		a[i] = node_about(&n[i]);
	}
	join(&n[0], &a[1], &how);
	a[0].psn ^= 1;
	join(&n[1], &a[0], &how); /* expects other numbers */
	post(&n[0], (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND }, 0, 8);
	assert_int_equal(reap_asleep(&n[0]).status, IBV_WC_RETRY_EXC_ERR);
	pair_fini(n);
}

/* ---- bounds ---- */

static void test_queue_is_full(void **state)
{
	struct ibv_send_wr quiet = { .opcode = IBV_WR_RDMA_WRITE }, loud = quiet;
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	pair_init(n, &usual);
	quiet.wr.rdma.remote_addr = (uintptr_t)n[1].buf;
	quiet.wr.rdma.rkey = n[1].mr->rkey;
	loud = quiet;
	loud.send_flags = IBV_SEND_SIGNALED;
	for (unsigned i = 0; i < NODE_WRS - 1; i++)
		post(&n[0], quiet, 0, 8);
	post(&n[0], loud, 0, 8);
	assert_int_equal(try_send(&n[0], &quiet, 0, 8), ENOMEM); /* all are done, and none is known to be */
	assert_int_equal(poll_one(&n[0], &wc), 1);
	for (unsigned i = 0; i < NODE_WRS; i++)
		post(&n[0], loud, 0, 8);
	assert_int_equal(try_send(&n[0], &quiet, 0, 8), ENOMEM);
	assert_int_equal(poll_one(&n[0], &wc), 1);
	post(&n[0], quiet, 0, 8); /* one slot for one completion */
	assert_int_equal(try_send(&n[0], &quiet, 0, 8), ENOMEM);
	pair_fini(n);
}

static void test_srq_bounds(void **state)
{
	struct ibv_srq_attr limit = { .srq_limit = NODE_WRS - 1 };
	struct ibv_recv_wr wr = { .wr_id = 1 }, *bad = NULL;
	struct node n[2];

	(void)state;
	pair_init(n, &usual);
	for (unsigned i = 0; i < NODE_WRS; i++)
		post_recv(&n[1], i, 0, 8);
	assert_int_equal(ibv_post_srq_recv(n[1].srq, &wr, &bad), ENOMEM);
	assert_ptr_equal(bad, &wr);
	assert_int_equal(v->modify_srq(n[1].srq, &limit, IBV_SRQ_LIMIT), 0);
	post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	assert_int_equal(next_async(&n[1]), IBV_EVENT_SRQ_LIMIT_REACHED);
	pair_fini(n);
}

/* A device without shared receive queues: what is posted to a queue pair is its own, and comes back when that ends. */
static void test_own_receive_queue(void **state)
{
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC, .cap = { .max_send_wr = 1, .max_recv_wr = 2, .max_recv_sge = 1 } };
	struct ibv_send_wr send = { .wr_id = 9, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED };
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct ibv_device_attr attr;
	struct ibv_recv_wr wr = { .wr_id = 1 }, *bad;
	struct ibv_sge sge;
	struct about a[2];
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	node_init(&n[0], &usual);
	node_init(&n[1], &usual);
	setenv("WEFT_TEST_IBV_SRQS", "refused", 1);
	assert_null(v->create_srq(n[1].pd, &(struct ibv_srq_init_attr){ .attr = { .max_wr = 1, .max_sge = 1 } }));
	assert_int_equal(errno, EOPNOTSUPP);
	assert_true(!v->query_device(n[1].ctx, &attr) && attr.max_srq);
	setenv("WEFT_TEST_IBV_SRQS", "no", 1);
	assert_true(!v->query_device(n[1].ctx, &attr) && !attr.max_srq && !attr.max_srq_wr);
	unsetenv("WEFT_TEST_IBV_SRQS");
	assert_int_equal(v->destroy_qp(n[1].qp), 0);
	init.send_cq = init.recv_cq = n[1].cq;
	n[1].qp = v->create_qp(n[1].pd, &init);
	assert_non_null(n[1].qp);
	for (int i = 0; i < 2; i++)
		a[i] = node_about(&n[i]);
	for (int i = 0; i < 2; i++)
		join(&n[i], &a[!i], &usual);
	post(&n[0], send, 0, 8);
	assert_int_equal(poll_one(&n[0], &wc), 0); /* it waits for a receive */
	sge = (struct ibv_sge){ (uintptr_t)n[1].buf, 64, n[1].mr->lkey };
	wr.sg_list = &sge;
	wr.num_sge = 1;
	for (; wr.wr_id <= 3; wr.wr_id++)
		assert_int_equal(ibv_post_recv(n[1].qp, &wr, &bad), 0); /* the first is taken at once */
	assert_int_equal(ibv_post_recv(n[1].qp, &wr, &bad), ENOMEM);
	assert_int_equal(reap(&n[0]).wr_id, 9);
	wc = reap(&n[1]);
	assert_true(wc.wr_id == 1 && !wc.status && wc.byte_len == 8);
	assert_int_equal(v->modify_qp(n[1].qp, &err, IBV_QP_STATE), 0);
	for (uint64_t id = 2; id <= 3; id++) {
		wc = reap(&n[1]);
		assert_true(wc.wr_id == id && wc.status == IBV_WC_WR_FLUSH_ERR);
	}
	pair_fini(n);
}

static void test_resize_and_destroy(void **state)
{
	struct node n[2];
	struct ibv_wc wc;

	(void)state;
	pair_init(n, &usual);
	post_recv(&n[1], 1, 0, 8);
	post_recv(&n[1], 2, 0, 8);
	for (uint64_t i = 0; i < 2; i++)
		post(&n[0], (struct ibv_send_wr){ .wr_id = i, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 8);
	assert_int_equal(v->resize_cq(n[0].cq, 1), EINVAL);
	assert_int_equal(v->resize_cq(n[0].cq, 100), 0);
	assert_int_equal(n[0].cq->cqe, 100);
	assert_int_equal(reap(&n[0]).wr_id, 0);
	assert_int_equal(reap(&n[0]).wr_id, 1);
	assert_int_equal(reap(&n[1]).wr_id, 1);
	assert_int_equal(v->destroy_qp(n[1].qp), 0);
	assert_int_equal(poll_one(&n[1], &wc), 0); /* the other receive is gone with it */
	n[1].qp = v->create_qp(n[1].pd, &(struct ibv_qp_init_attr){ .send_cq = n[1].cq, .recv_cq = n[1].cq, .srq = n[1].srq,
								    .qp_type = IBV_QPT_RC, .cap = { .max_send_wr = 1 } });
	assert_non_null(n[1].qp);
	pair_fini(n);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_devices),
	cmocka_unit_test(test_faults),
		cmocka_unit_test(test_on_demand),
	cmocka_unit_test(test_send_recv),
	cmocka_unit_test(test_write_read_atomics),
	cmocka_unit_test(test_bad_keys),
	cmocka_unit_test(test_too_long),
	cmocka_unit_test(test_flush),
	cmocka_unit_test(test_no_receive),
	cmocka_unit_test(test_peer_is_not_ready),
	cmocka_unit_test(test_queue_is_full),
	cmocka_unit_test(test_srq_bounds),
	cmocka_unit_test(test_own_receive_queue),
	cmocka_unit_test(test_resize_and_destroy),
};

static int run(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
