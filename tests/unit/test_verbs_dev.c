/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_dev.c - what ports and adapters allow, over devices in software (tests/fake/ibverbs): what is said where there is no
 * device, no right, no address, no locked memory; memory on demand; memory behind dma-bufs; partitions and classes of traffic.
 */
#include "unit/verbs_inside.h"

#include <sys/mman.h>

/* ---- not here, not allowed ---- */

/* The endpoint goes over tcp, and explain says why not over verbs. */
static void falls_to_tcp(const char *variable, const char *value, const char *why)
{
	struct wt_pair p;

	setenv(variable, value, 1);
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	assert_string_equal(p.ep[0]->msg->tr->name, "tcp");
	if (!strstr(explained(p.ctx, p.ep[0]), why))
		fail_msg("\"%s\" is not in: %s", why, explained(p.ctx, p.ep[0]));
	wt_exchange(&p, 0, 100000, 3);
	wt_pair_close(&p);
	unsetenv(variable);
}

static void what_is_missing_is_named(void **state)
{
	(void)state;
	falls_to_tcp("WEFT_TEST_IBV_FAULT", "no_open", "fake0: it cannot be opened: is /dev/infiniband/uverbs0 there, and may this user open it?");
	falls_to_tcp("WEFT_TEST_IBV_FAULT", "no_gids", "fake0:1: it has no address (GID)");
	falls_to_tcp("WEFT_TEST_IBV_FAULT", "port_down", "fake0:1: its port is not active");
	falls_to_tcp("WEFT_TEST_IBV_DEVICES", "0", "no RDMA device");
	falls_to_tcp("WEFT_RDMA", "mlx5_7", "the setting rdma names none of this machine's devices");
	falls_to_tcp("WEFT_RDMA", "fake0:1:0", "no address (GID) that peers could reach at the index that the setting rdma names");
	falls_to_tcp("WEFT_TEST_IBV_MEMLOCK", "65536", "ulimit -l unlimited");
}

/* What may complete at the same time must find room: all of the shared receive queue, and a send queue for each lane. */
static void a_completion_queue_is_never_too_small(void **state)
{
	enum { NEEDED = VERBS_SRQ + VERBS_SQ };
	char value[16], why[160];
	weft_ep *more[2];
	struct wt_pair p;

	(void)state;
	snprintf(value, sizeof(value), "%d", NEEDED - 1);
	snprintf(why, sizeof(why), "fake0:1: its completion queues have room for %d entries, and %d are needed", NEEDED - 1, NEEDED);
	falls_to_tcp("WEFT_TEST_IBV_CQE", value, why);
	snprintf(value, sizeof(value), "%d", NEEDED);
	setenv("WEFT_TEST_IBV_CQE", value, 1);
	wt_pair_open(&p, 0);
	wt_pair_more(&p, more);          /* one for each lane, then */
	assert_ptr_not_equal(lane_of(p.ep[0])->rail[0]->cq, lane_of(more[0])->rail[0]->cq);
	wt_exchange(&p, 0, 100000, 1);
	weft_ep_abort(more[0]);
	weft_ep_abort(more[1]);
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_CQE");
}

/* Locked memory for the buffers, but none for a large message: it goes in frames, and the lane says so. */
static void a_large_message_beyond_the_limit_goes_in_frames(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_MEMLOCK", "25000000", 1);
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 8 << 20, 3);
	assert_int_equal(p.ep[1]->msg->copy_us, 0);
	assert_non_null(strstr(explained(p.ctx, p.ep[0]), "could not be registered"));
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	wt_exchange(&p, 0, 8 << 20, 4);
	assert_int_equal(p.ep[1]->msg->copy_us, 8 << 20);
	wt_pair_close(&p);
}

/* Turns in so long, of a worker that sleeps when it can. */
static unsigned turns_in(struct wt_w *w, unsigned ms)
{
	struct pollfd fd = { .fd = weft_worker_fd(w->w), .events = POLLIN };
	uint64_t until = wt_in_ms(ms);
	unsigned n = 0;

	for (; wt_now_ns() < until; n++) {
		if (weft_arm(w->w) == WEFT_OK)
			poll(&fd, 1, 50);
		wt_pump();
	}
	return n;
}

/* Takes all that are free, and more are not to be had. */
static struct verbs_buf *take_all(struct verbs_dev *d, bool is_small)
{
	struct verbs_buf *all = NULL, *b;

	setenv("WEFT_TEST_IBV_MEMLOCK", "1", 1);
	while ((b = verbs_send_buf(d, is_small))) {
		b->next = all;
		all = b;
	}
	return all;
}

static void give_back(struct verbs_dev *d, struct verbs_buf *all)
{
	while (all) {
		struct verbs_buf *b = all;

		all = b->next;
		verbs_send_buf_put(d, b);
	}
}

/*
 * Buffers to send from are used up, or there was none yet, and the limit allows no more: the worker sleeps, and goes on when one comes
 * back, or a moment after the limit does not hold any more. Short messages of other peers do not wait for a long one's.
 */
static void who_may_lock_no_more_buffers_sleeps(void **state)
{
	enum { FIRST, LONG, SHORT, HOW, LEN = 1000 };
	unsigned char out[LEN] = { 1 }, in[LEN];

	(void)state;
	for (int how = 0; how < HOW; how++) {
		struct verbs_buf *taken = NULL;
		size_t len = how == SHORT ? 8 : LEN;
		struct wt_posted s, r;
		weft_ep *more[2];
		struct wt_pair p;

		wt_pair_open(&p, 0);
		wt_pair_more(&p, more);
		wt_exchange(&p, 0, 8, 1);
		if (how == LONG)
			wt_exchange(&p, 0, LEN, 1);
		verbs_ask(lane_of(p.ep[0])->rail[0]);
		wt_pump_ms(20);          /* none is under way */
		taken = take_all(dev_of(p.ep[0]), how == SHORT);
		assert_int_equal(taken != NULL, how != FIRST);
		r = wt_recv(&p, 1, in, len, 2, WT_EXACT);
		s = wt_send(&p, 0, out, len, 2, 0);
		assert_in_range(turns_in(p.w[0], 500), 5, 50);
		for (unsigned i = 0; how != SHORT && i < 10; i++) {
			struct wt_pair q = p;

			memcpy(q.ep, more, sizeof(q.ep));
			wt_exchange(&q, 0, 8, 100 + i);
		}
		if (how == FIRST)
			unsetenv("WEFT_TEST_IBV_MEMLOCK");
		give_back(dev_of(p.ep[0]), taken);
		assert_true(turns_in(p.w[0], 200) < 50);
		wt_ok(p.w[1], r);
		wt_ok(p.w[0], s);
		unsetenv("WEFT_TEST_IBV_MEMLOCK");
		weft_ep_abort(more[0]);
		weft_ep_abort(more[1]);
		wt_pair_close(&p);
	}
}

/* ... so does who owes credits and has nothing to give them back in. */
static void who_may_lock_no_more_buffers_owes_asleep(void **state)
{
	struct verbs_buf *taken;
	struct wt_pair p;

	(void)state;
	wt_pair_open(&p, 0);
	wt_exchange(&p, 0, 8, 1);
	wt_exchange(&p, 1, 8, 1);
	verbs_ask(lane_of(p.ep[1])->rail[0]);
	wt_pump_ms(20);                  /* none is under way */
	taken = take_all(dev_of(p.ep[1]), true);
	for (unsigned i = 0; i < VERBS_CREDITS - 2; i++)
		wt_exchange(&p, 0, 8, i);
	assert_true(lane_of(p.ep[1])->owed >= VERBS_CREDITS / 2);
	assert_in_range(turns_in(p.w[1], 500), 5, 50);
	give_back(dev_of(p.ep[1]), taken);
	wt_pump_ms(20);
	assert_int_equal(lane_of(p.ep[1])->owed, 0);
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	wt_exchange(&p, 0, 8, 2);
	wt_pair_close(&p);
}

/* ---- memory on demand ---- */

#define ODP_ALL "send recv write read atomic srq_recv"

static void large_both_ways(struct wt_pair *p, bool by_adapter)
{
	enum { LEN = 4 << 20 };

	for (int from = 0; from < 2; from++) {
		uint64_t us = p->ep[!from]->msg->copy_us;

		wt_exchange(p, from, LEN, (uint64_t)from);
		assert_int_equal(p->ep[!from]->msg->copy_us - us, by_adapter ? LEN : 0);
	}
}

/* 64 KiB may be locked, which is what many systems allow: with paging on demand all goes as without a limit. */
static void a_limit_is_none_where_memory_is_paged_on_demand(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *buf = malloc(LEN), *back = malloc(LEN);
	weft_buf b = wt_buf(buf, LEN), r = wt_buf(back, LEN);
	struct wt_pair p;
	struct wt_mem m;

	(void)state;
	setenv("WEFT_TEST_IBV_MEMLOCK", "65536", 1);
	setenv("WEFT_TEST_IBV_ODP", ODP_ALL, 1);
	setenv("WEFT_TEST_IBV_GLOB", "1", 1);
	wt_pair_open(&p, 0);
	for (size_t len = 0; len <= VERBS_FRAME_MAX; len += 1000)
		wt_exchange(&p, 0, len, len);
	large_both_ways(&p, true);
	assert_non_null(strstr(explained(p.ctx, p.ep[0]), "memory on demand as the limit on locked memory is reached: ulimit -l unlimited"));
	for (int allocated = 0; allocated < 2; allocated++) {
		weft_call c[4] = { wt_call(0), wt_call(0), wt_call(0), wt_call(0) };
		uint64_t frames = p.ep[1]->msg->bytes_rx;

		wt_mem_open(&p, &m, LEN, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, allocated);
		wt_fill(buf, LEN, 5);
		wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &b, 1, m.remote, 0, &c[0]), &c[0]));
		wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &c[1]), &c[1]));
		wt_assert_data(m.addr, LEN, 5);
		wt_ok(p.w[0], wt_took(p.w[0], weft_get(p.ep[0], &r, 1, m.remote, 0, &c[2]), &c[2]));
		wt_assert_data(back, LEN, 5);
		wt_ok(p.w[0], wt_took(p.w[0], weft_atomic(p.ep[0], WEFT_ATOMIC_ADD, m.remote, 0, 3, 0, &c[3]), &c[3]));
		assert_true(p.ep[1]->msg->bytes_rx - frames < 1000);
		wt_mem_close(&p, &m);
	}
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_GLOB");
	unsetenv("WEFT_TEST_IBV_ODP");
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	free(buf);
	free(back);
}

/* Pinned where that is allowed, also beside memory that was not; and only as far as the adapter can put it to use. */
static void memory_is_on_demand_only_where_it_must_be(void **state)
{
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_ODP", ODP_ALL, 1);
	wt_pair_open(&p, 0);
	large_both_ways(&p, true);
	assert_false(dev_of(p.ep[0])->on_demand);
	assert_null(strstr(explained(p.ctx, p.ep[0]), "on demand"));
	wt_pair_close(&p);

	setenv("WEFT_TEST_IBV_MEMLOCK", "25000000", 1);   /* for the buffers, and no more */
	setenv("WEFT_TEST_IBV_ODP", "read write", 1);
	wt_pair_open(&p, 0);
	assert_false(dev_of(p.ep[0])->on_demand);
	large_both_ways(&p, true);
	assert_true(dev_of(p.ep[0])->on_demand);
	wt_pair_close(&p);

	setenv("WEFT_TEST_IBV_ODP", "send recv write srq_recv", 1);
	wt_pair_open(&p, 0);
	large_both_ways(&p, false);
	assert_non_null(strstr(explained(p.ctx, p.ep[0]), "raise the limit on locked memory: ulimit -l unlimited"));
	wt_pair_close(&p);

	setenv("WEFT_TEST_IBV_ODP", "send recv write read atomic", 1);
	falls_to_tcp("WEFT_TEST_IBV_MEMLOCK", "65536", "ulimit -l unlimited");
	setenv("WEFT_TEST_IBV_ODP", "", 1);
	falls_to_tcp("WEFT_TEST_IBV_MEMLOCK", "65536", "ulimit -l unlimited");
	unsetenv("WEFT_TEST_IBV_ODP");
}

/* Of a region that is registered on demand nothing is kept: it would show what lies there when the region is gone. */
static void what_is_on_demand_is_not_kept(void **state)
{
	enum { LEN = 1 << 20 };
	unsigned char *in = malloc(LEN);

	(void)state;
	setenv("WEFT_TEST_IBV_ODP", ODP_ALL, 1);
	for (int limited = 0; limited < 2; limited++) {
		weft_call c = wt_call(0);
		struct wt_posted r;
		struct wt_pair p;
		weft_mem *m;
		weft_buf b;

		if (limited)
			setenv("WEFT_TEST_IBV_MEMLOCK", "65536", 1);
		wt_pair_open(&p, 0);
		assert_int_equal(weft_mem_alloc(p.ctx, LEN, WEFT_HOST, -1, &m), WEFT_OK);
		b = (weft_buf){ .addr = weft_mem_addr(m, NULL), .len = LEN, .mem = m };
		wt_fill(b.addr, LEN, 8);
		r = wt_recv(&p, 1, in, LEN, 7, WT_EXACT);
		wt_ok(p.w[0], wt_took(p.w[0], weft_send(p.ep[0], &b, 1, 7, &c), &c));
		wt_ok(p.w[1], r);
		wt_assert_data(in, LEN, 8);
		assert_int_equal(p.ep[1]->msg->copy_us, LEN);   /* either way by the adapter */
		assert_int_equal(dev_of(p.ep[0])->registered, limited ? 0 : LEN);
		assert_int_equal(weft_mem_free(m), WEFT_OK);
		wt_pair_close(&p);
	}
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	unsetenv("WEFT_TEST_IBV_ODP");
	free(in);
}

/* A region that cannot be locked does not drive out, at each use, those that can. */
static void what_cannot_be_locked_drives_nothing_out_twice(void **state)
{
	enum { LARGE = 64 << 20, SMALL = 1 << 20, USED = 100000 };
	unsigned char *in = malloc(SMALL);
	struct wt_pair p;
	weft_mem *m[2];

	(void)state;
	setenv("WEFT_TEST_IBV_ODP", ODP_ALL, 1);
	setenv("WEFT_TEST_IBV_MEMLOCK", "40000000", 1);
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_alloc(p.ctx, SMALL, WEFT_HOST, -1, &m[0]), WEFT_OK);
	assert_int_equal(weft_mem_alloc(p.ctx, LARGE, WEFT_HOST, -1, &m[1]), WEFT_OK);
	for (int i = 0; i < 8; i++) {
		weft_call c = wt_call(0);
		size_t len = i % 2 ? USED : SMALL;
		weft_buf b = { .addr = weft_mem_addr(m[i % 2], NULL), .len = len, .mem = m[i % 2] };
		struct wt_posted r = wt_recv(&p, 1, in, len, 7, WT_EXACT);

		wt_fill(b.addr, len, (uint64_t)i);
		wt_ok(p.w[0], wt_took(p.w[0], weft_send(p.ep[0], &b, 1, 7, &c), &c));
		wt_ok(p.w[1], r);
		wt_assert_data(in, len, (uint64_t)i);
		if (i >= 2)                      /* the large one once drove it out, and was registered as a whole */
			assert_int_equal(dev_of(p.ep[0])->registered, SMALL);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(weft_mem_free(m[i]), WEFT_OK);
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	unsetenv("WEFT_TEST_IBV_ODP");
	free(in);
}

/* ---- dma-bufs ---- */

/* Messages from and into it go by the adapter, a put as well. @by_fd: the fake reached it by its descriptor. */
static void imported_goes_by_the_adapter(bool by_fd)
{
	enum { FILE_LEN = 2 << 20, AT = 4096 + 24, LEN = FILE_LEN - AT - 100 };
	int fd = memfd_create("weft-test", MFD_CLOEXEC);
	unsigned char token[64], *plain = malloc(LEN);
	size_t token_len = sizeof(token);
	const struct verbs_mr *kept;
	weft_remote *remote;
	struct wt_pair p;
	weft_grant grant;
	weft_mem *m;
	weft_buf b;

	MUST(fd >= 0 && !ftruncate(fd, FILE_LEN));
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_import(p.ctx, fd, AT, LEN, WEFT_HOST, -1, &m), WEFT_OK);
	close(fd);
	b = (weft_buf){ .addr = weft_mem_addr(m, NULL), .len = LEN, .mem = m };
	for (int into = 0; into < 2; into++) {
		weft_buf other = wt_buf(plain, LEN), *s = into ? &other : &b, *r = into ? &b : &other;
		uint64_t us = p.ep[1]->msg->copy_us;
		weft_call c[2] = { wt_call(0), wt_call(0) };
		struct wt_posted got = wt_took(p.w[1], weft_recv(p.w[1]->w, r, 1, 7, WT_EXACT, &c[1]), &c[1]);

		wt_fill(s->addr, LEN, (uint64_t)into);
		wt_ok(p.w[0], wt_took(p.w[0], weft_send(p.ep[0], s, 1, 7, &c[0]), &c[0]));
		wt_ok(p.w[1], got);
		wt_assert_data(r->addr, LEN, (uint64_t)into);
		assert_int_equal(p.ep[1]->msg->copy_us - us, LEN);
		kept = wf_map_find(&dev_of(p.ep[into])->mrs, m->region.id);
		assert_non_null(kept);
		assert_ptr_equal(kept->mr->addr, by_fd ? (void *)AT : b.addr);
	}
	wt_must(weft_grant_new(m, 8, LEN - 8, WEFT_READ | WEFT_WRITE, NULL, token, &token_len, &grant) == WEFT_OK);
	wt_must(weft_remote_open(p.ep[0], token, token_len, &remote) == WEFT_OK);
	for (int i = 0; i < 2; i++) {
		uint64_t frames = p.ep[1]->msg->bytes_rx;
		weft_call c[2] = { wt_call(0), wt_call(0) };

		b = wt_buf(plain, LEN - 8);
		wt_fill(plain, LEN - 8, 9 + (uint64_t)i);
		wt_ok(p.w[0], wt_took(p.w[0], weft_put(p.ep[0], &b, 1, remote, 0, &c[0]), &c[0]));
		wt_ok(p.w[0], wt_took(p.w[0], weft_flush(p.w[0]->w, p.ep[0], &c[1]), &c[1]));
		wt_assert_data((char *)weft_mem_addr(m, NULL) + 8, LEN - 8, 9 + (uint64_t)i);
		if (i)                           /* the first may go by frames, while it is being opened */
			assert_true(p.ep[1]->msg->bytes_rx - frames < 1000);
	}
	weft_remote_close(remote);
	{
		weft_call c = wt_call(0);

		wt_ok(p.w[1], wt_took(p.w[1], weft_grant_revoke(m, grant, &c), &c));
	}
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	for (uint64_t limit = wt_in_ms(WT_LIMIT_MS); (dev_of(p.ep[0])->registered || dev_of(p.ep[1])->registered) && wt_now_ns() < limit;)
		wt_pump();
	assert_int_equal(dev_of(p.ep[0])->registered, 0);
	assert_int_equal(dev_of(p.ep[1])->registered, 0);
	wt_pair_close(&p);
	free(plain);
}

static void a_dma_buf_is_registered_by_its_descriptor(void **state)
{
	(void)state;
	setenv("WEFT_TEST_IBV_DMABUF", "1", 1);
	imported_goes_by_the_adapter(true);
	setenv("WEFT_TEST_IBV_MEMLOCK", "25000000", 1);   /* nothing is locked for it */
	imported_goes_by_the_adapter(true);
	unsetenv("WEFT_TEST_IBV_MEMLOCK");
	unsetenv("WEFT_TEST_IBV_DMABUF");
}

static void without_dma_bufs_its_mapping_is_registered(void **state)
{
	(void)state;
	imported_goes_by_the_adapter(false);
}

/* ---- partitions and classes of traffic ---- */

static struct ibv_qp_attr attr_of(weft_ep *ep)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr a;

	MUST(!v->query_qp(lane_of(ep)->rail[0]->qp, &a, IBV_QP_AV | IBV_QP_PKEY_INDEX | IBV_QP_PATH_MTU, &init));
	return a;
}

/* Both sides with the setting rdma as @rdma and that table of P_Keys; NULL: as they are. */
static void open_pair(struct wt_pair *p, const char *rdma, const char *pkeys)
{
	setenv("WEFT_RDMA", rdma ? rdma : "", 1);
	if (pkeys)
		setenv("WEFT_TEST_IBV_PKEYS", pkeys, 1);
	wt_pair_open_with(p, 0, "transports", "verbs,tcp");
}

static void close_pair(struct wt_pair *p)
{
	wt_exchange(p, 0, 100000, 3);
	wt_exchange(p, 1, 10, 4);
	wt_pair_close(p);
	unsetenv("WEFT_RDMA");
	unsetenv("WEFT_TEST_IBV_PKEYS");
}

static void says(const struct wt_pair *p, const char *what, bool wanted)
{
	if (!strstr(explained(p->ctx, p->ep[0]), what) == wanted)
		fail_msg("\"%s\" is %s: %s", what, wanted ? "not in" : "in", explained(p->ctx, p->ep[0]));
}

static void the_partition_is_the_ports_first(void **state)
{
	struct wt_pair p;

	(void)state;
	open_pair(&p, NULL, NULL);
	assert_int_equal(dev_of(p.ep[0])->pkey, 0xffff);
	says(&p, "P_Key", false);
	says(&p, "SL", false);
	says(&p, "traffic class", false);
	close_pair(&p);
	open_pair(&p, NULL, "0x8001,0xffff");
	assert_int_equal(dev_of(p.ep[0])->pkey, 0x8001);
	assert_int_equal(attr_of(p.ep[0]).pkey_index, 0);
	says(&p, ", P_Key 0x8001)", true);
	close_pair(&p);
}

/* Of two keys of a partition the full member's is taken, wherever it stands; empty places are none. */
static void the_setting_names_a_partition(void **state)
{
	static const struct { const char *want; uint16_t key, index; } t[] = {
		{ "pkey=0x8001", 0x8001, 4 }, { "pkey=1", 0x8001, 4 }, { "pkey=0x0002", 0x8002, 2 }, { "pkey=0xFFFF", 0xffff, 0 },
	};
	struct wt_pair p;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		open_pair(&p, t[i].want, "0xffff,0,0x8002,0x0001,0x8001,0x0002");
		assert_int_equal(dev_of(p.ep[0])->pkey, t[i].key);
		assert_int_equal(dev_of(p.ep[1])->pkey, t[i].key);
		assert_int_equal(attr_of(p.ep[0]).pkey_index, t[i].index);
		close_pair(&p);
	}
	setenv("WEFT_TEST_IBV_PKEYS", "0xffff,0x8002", 1);
	falls_to_tcp("WEFT_RDMA", "pkey=0x8005",
		     "fake0:1: its port is not of the partition 0x8005 that the setting rdma names; it has 0xffff, 0x8002");
	falls_to_tcp("WEFT_RDMA", "fake0:1,pkey=0x8005", "it has 0xffff, 0x8002");
	unsetenv("WEFT_TEST_IBV_PKEYS");
}

static void only_ports_of_one_partition_meet(void **state)
{
	static const char *const rdma[] = { "pkey=0x8001", "pkey=0x8002" };
	weft_conn_opts o = { .size = sizeof(o), .user_data = 77 };
	struct wt_w *w[2];
	weft_ctx *ctx[2];
	weft_listener *at;
	weft_ep *ep[2];
	char url[160];

	(void)state;
	assert_true(verbs_same_partition(0xffff, 0xffff));
	assert_true(verbs_same_partition(0x8001, 0x0001));
	assert_false(verbs_same_partition(0x0001, 0x0001));
	assert_false(verbs_same_partition(0x7fff, 0x7fff));
	assert_false(verbs_same_partition(0x8001, 0x8002));
	assert_false(verbs_same_partition(0x8001, 0x0002));
	setenv("WEFT_TEST_IBV_PKEYS", "0xffff,0x8001,0x8002", 1);
	for (int i = 0; i < 2; i++) {
		setenv("WEFT_RDMA", rdma[i], 1);
		ctx[i] = wt_open("transports", "verbs,tcp");
		w[i] = wt_worker(ctx[i], 0);
	}
	unsetenv("WEFT_RDMA");
	at = wt_listen(w[1], url, sizeof(url));
	assert_int_equal(weft_connect(w[0]->w, url, &o, &ep[0]), WEFT_OK);
	ep[1] = wt_accept(w[1]);
	wt_wait(w[0], WEFT_EV_CONNECTED, 77, WT_LIMIT_MS);
	assert_string_equal(ep[0]->msg->tr->name, "tcp");
	assert_non_null(strstr(explained(ctx[0], ep[0]), "fake0:1: P_Key 0x8001 here, 0x8002 there: not of one partition"));
	weft_ep_abort(ep[0]);
	weft_ep_abort(ep[1]);
	assert_int_equal(weft_listener_close(at), WEFT_OK);
	for (int i = 0; i < 2; i++) {
		wt_worker_free(w[i]);
		wt_close(ctx[i]);
	}
	falls_to_tcp("WEFT_TEST_IBV_PKEYS", "0x7fff",
		     "fake0:1: P_Key 0x7fff here, 0x7fff there: both are limited members, who do not hear each other");
}

static void classes_of_traffic_are_the_adapters(void **state)
{
	struct ibv_qp_attr a;
	struct wt_pair p;

	(void)state;
	open_pair(&p, "sl=3,fake0,tc=106", NULL);
	for (int i = 0; i < 2; i++) {
		a = attr_of(p.ep[i]);
		assert_int_equal(a.ah_attr.sl, 3);
		assert_int_equal(a.ah_attr.grh.traffic_class, 106);
	}
	says(&p, ", SL 3, traffic class 106)", true);
	close_pair(&p);
	open_pair(&p, "tc=0", NULL);
	assert_int_equal(attr_of(p.ep[0]).ah_attr.sl, 0);
	says(&p, ", traffic class 0)", true);
	says(&p, "SL", false);
	close_pair(&p);
	falls_to_tcp("WEFT_RDMA", "sl=8", "fake0:1: sl=8 of the setting rdma: on Ethernet it is a priority, 0 to 7");
}

/* The setting names the largest packet; what a port cannot do it does not, and the peer's word counts as well. */
static void the_setting_bounds_the_packet(void **state)
{
	static const struct { const char *ports, *here, *there; int code; } t[] = {
		{ "4096", "mtu=1024", "", IBV_MTU_1024 }, { "4096", "", "mtu=256", IBV_MTU_256 }, { "1024", "mtu=4096", "", IBV_MTU_1024 },
		{ "4096", "mtu=2048", "mtu=512", IBV_MTU_512 }, { "4096", "", "", IBV_MTU_4096 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct sides s;
		char says[32];

		setenv("WEFT_TEST_IBV_MTUS", t[i].ports, 1);
		sides_open(&s, t[i].here, t[i].there);
		snprintf(says, sizeof(says), ", MTU %d)", 128 << t[i].code);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(attr_of(s.p.ep[k]).path_mtu, t[i].code);
			side_says(&s, k, says);
		}
		sides_close(&s);
	}
	unsetenv("WEFT_TEST_IBV_MTUS");
}

/* ---- what a turn costs while something is timed ---- */

static int (*their_get_async_event)(struct ibv_context *ctx, struct ibv_async_event *e);
static uint64_t n_asked;

static int count_get_async_event(struct ibv_context *ctx, struct ibv_async_event *e)
{
	n_asked++;
	return their_get_async_event(ctx, e);
}

/* A connection that is being made takes seconds at worst: the others' turns have no system call more for each. */
static void what_is_timed_does_not_slow_each_turn(void **state)
{
	struct verbs_lib counted;
	const struct verbs_lib *lib;
	struct verbs_port *port;
	struct verbs_lane *l;
	struct wt_pair p;
	uint64_t from;

	(void)state;
	wt_pair_open(&p, 0);
	l = lane_of(p.ep[0]);
	port = verbs_lane_port(l);
	lib = port->lib;
	counted = *lib;
	their_get_async_event = lib->get_async_event;
	counted.get_async_event = count_get_async_event;
	port->lib = &counted;
	n_asked = 0;
	from = wt_now_ns();
	l->give_up_at = wf_now_ns() + 60 * WF_NS_PER_S;
	wf_list_push_back(&port->timed, &l->timed);
	verbs_wake_at(port, l->give_up_at);
	for (unsigned i = 0; i < 20000; i++)
		weft_progress(p.w[0]->w);
	assert_in_range(n_asked, 1, (wt_now_ns() - from) / 25000 + 10);   /* 50 us apart, by the port and by core's look at descriptors */
	wf_list_remove(&l->timed);
	port->lib = lib;
	wt_pair_close(&p);
}

/* ---- more addresses than are looked at ---- */

/* All have a place, or @more of them than have. Where the setting names one, none is missed. */
static void addresses_that_are_left_out_are_said(void **state)
{
	static const struct { unsigned more; const char *says; } t[] = {
		{ VERBS_GIDS - 2, NULL }, { VERBS_GIDS - 1, ", 1 address of its port is left out" },
		{ VERBS_GIDS + 3, ", 5 addresses of its port are left out" },
	};
	struct sides s;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char n[12];

		snprintf(n, sizeof(n), "%u", t[i].more);
		setenv("WEFT_TEST_IBV_GIDS", n, 1);
		sides_open(&s, "", "");
		side_says(&s, 0, t[i].says ? t[i].says : "fake0:1 from ");
		assert_int_equal(strstr(explained(s.p.ctx, s.p.ep[0]), "left out") != NULL, t[i].says != NULL);
		sides_close(&s);
	}
	sides_open(&s, "fake0:1:1", "fake0:1:1");
	side_says(&s, 0, "fake0:1 from 127.0.0.1 (GID 1, ");
	assert_null(strstr(explained(s.p.ctx, s.p.ep[0]), "left out"));
	sides_close(&s);
	unsetenv("WEFT_TEST_IBV_GIDS");
}

/* ... and where a peer is reached from none of those that we look at. */
static void a_route_from_an_address_that_is_left_out(void **state)
{
	char why[200];
	struct verbs_pair out[VERBS_DEVS];
	struct verbs_told to = { .n = 1 };
	struct verbs_dev *d;
	struct wt_pair p;

	(void)state;
	setenv("WEFT_TEST_IBV_GIDS", "16", 1);
	wt_pair_open(&p, 0);
	d = dev_of(p.ep[0]);
	assert_int_equal(d->gid[0].index, 1);
	memcpy(to.at[0].gid, d->gid[0].gid.raw, sizeof(to.at[0].gid));
	to.at[0].link = d->link;
	to.at[0].pkey = d->pkey;
	assert_int_equal(verbs_route(d->port, NULL, &to, out, why, sizeof(why)), 1);
	d->gid[0].gid.raw[15] = 77;      /* not where the route begins */
	assert_int_equal(verbs_route(d->port, NULL, &to, out, why, sizeof(why)), 0);
	assert_string_equal(why, "the route to the peer's RDMA address 127.0.0.1 begins at 127.0.0.1, which is no address of an RDMA device "
				 "here (of fake0:1's 2 are left out)");
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_GIDS");
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, wt_setup, wt_teardown)
		CASE(what_is_missing_is_named),
		CASE(a_completion_queue_is_never_too_small),
		CASE(a_large_message_beyond_the_limit_goes_in_frames),
		CASE(who_may_lock_no_more_buffers_sleeps),
		CASE(who_may_lock_no_more_buffers_owes_asleep),
		CASE(a_limit_is_none_where_memory_is_paged_on_demand),
		CASE(memory_is_on_demand_only_where_it_must_be),
		CASE(what_is_on_demand_is_not_kept),
		CASE(what_cannot_be_locked_drives_nothing_out_twice),
		CASE(a_dma_buf_is_registered_by_its_descriptor),
		CASE(without_dma_bufs_its_mapping_is_registered),
		CASE(the_partition_is_the_ports_first),
		CASE(the_setting_names_a_partition),
		CASE(only_ports_of_one_partition_meet),
		CASE(classes_of_traffic_are_the_adapters),
		CASE(the_setting_bounds_the_packet),
		CASE(what_is_timed_does_not_slow_each_turn),
		CASE(addresses_that_are_left_out_are_said),
		CASE(a_route_from_an_address_that_is_left_out),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
