/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_ofi.c - the transport ofi over a libfabric that the test makes up (ofi_mini.h): order restored, windows, paused lanes,
 * strangers, a provider that is full or fails, registrations as adapters want them, large messages taken back at every moment.
 */
#include "unit/ofi_mini.h"

static struct node a, b;
static struct link ka, kb;

#define ADAPTER (FI_MR_LOCAL | FI_MR_PROV_KEY | FI_MR_ENDPOINT | FI_MR_ALLOCATED)

static void open_pair(int mr_mode)
{
	copies_done = rmas_done = 0;
	node_open(&a, &b, mr_mode);
	node_open(&b, &a, mr_mode);
	link_open(&a, &ka, &b, &kb);
}

static void close_pair(void)
{
	wf_ofi.lane_close(&ka.lane.base);
	wf_ofi.lane_close(&kb.lane.base);
	node_close(&a);
	node_close(&b);
}

/* ---- frames ---- */

static void frames_that_overtake_are_put_in_order(void **state)
{
	static const size_t order[] = { 4, 2, 0, 1, 0 };

	(void)state;
	open_pair(0);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(send(&ka, i, 10 + 1000 * (i & 1)), WEFT_OK);
	for (int i = 0; i < 5; i++)
		let_in(&b, order[i]);
	assert_int_equal(kb.n_got, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(kb.got[i], i);
	close_pair();
}

static void a_window_is_all_that_is_under_way(void **state)
{
	(void)state;
	open_pair(0);
	for (uint32_t i = 0; i < FAB_WINDOW; i++)
		assert_int_equal(send(&ka, i, 100), WEFT_OK);
	assert_int_equal(send(&ka, 99, 100), WEFT_AGAIN);
	for (unsigned i = 0; i < FAB_WINDOW / 2; i++)
		let_in(&b, 0);
	assert_false(ka.room);
	settle(&b);
	assert_true(ka.room);
	assert_int_equal(send(&ka, FAB_WINDOW, 100), WEFT_OK);
	settle(&a);
	assert_int_equal(kb.n_got, FAB_WINDOW + 1);
	for (uint32_t i = 0; i < 400; i++) { /* and on and on */
		assert_int_equal(send(&ka, i, 100), WEFT_OK);
		if (i % 7 == 0)
			settle(&a);
	}
	close_pair();
}

static void a_paused_lane_does_not_hold_up_another(void **state)
{
	struct link kc, kd;
	size_t posted;

	(void)state;
	open_pair(0);
	link_open(&a, &kc, &b, &kd);
	posted = b.n_posted;
	kb.refuse = 1;
	for (uint32_t i = 0; i < FAB_WINDOW; i++)
		assert_int_equal(send(&ka, i, 100), WEFT_OK);
	assert_int_equal(send(&kc, 5, 100), WEFT_OK);
	settle(&a);
	assert_int_equal(kb.n_got, 0);
	assert_int_equal(kd.n_got, 1);
	assert_int_equal(b.n_posted, posted); /* others were posted in their place */
	kb.lane.base.paused = false;
	wf_ofi.resume(&kb.lane.base);
	settle(&a);
	assert_int_equal(kb.n_got, FAB_WINDOW);
	for (uint32_t i = 0; i < FAB_WINDOW; i++)
		assert_int_equal(kb.got[i], i);
	wf_ofi.lane_close(&kc.lane.base);
	wf_ofi.lane_close(&kd.lane.base);
	close_pair();
}

/* A message for @b, as the bytes say. */
static void forge(const void *bytes, size_t len)
{
	assert_int_equal(put_in_inbox(&a, bytes, len), 0);
	let_all_in(&b);
}

static void strangers_are_not_heard(void **state)
{
	struct fab_prefix h = { .key = 12345, .kind = FAB_FRAME };
	uint8_t bytes[FAB_HEAD] = { 0 };

	(void)state;
	open_pair(0);
	forge(bytes, 3);
	memcpy(bytes, &h, sizeof(h));
	forge(bytes, sizeof(bytes));
	for (unsigned kind = 0; kind < 20; kind++) {
		h.kind = (uint16_t)kind;
		memcpy(bytes, &h, sizeof(h));
		forge(bytes, sizeof(h));
	}
	h.key = kb.lane.key; /* a real one, and no such kind, slot or answer */
	for (unsigned kind = FAB_HELLO; kind < 20; kind++) {
		h.kind = (uint16_t)kind;
		h.slot = (uint16_t)(kind % 2 ? 5000 : kind);
		h.freed = 77777;
		memcpy(bytes, &h, sizeof(h));
		forge(bytes, sizeof(h));
	}
	assert_int_equal(send(&ka, 1, 10), WEFT_OK);
	settle(&a);
	assert_int_equal(kb.n_got, 1);
	assert_false(kb.down);
	assert_int_equal(send(&kb, 1, 10), WEFT_OK); /* nobody freed what was never sent */
	close_pair();
}

static void a_peer_that_breaks_the_rules_loses_its_lane(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct fab_prefix h = { .kind = FAB_FRAME, .seq = 1 };
		struct wf_frame f = { .len = 0 };
		uint8_t bytes[FAB_HEAD];

		open_pair(0);
		h.key = kb.lane.key;
		if (how == 0)
			f.len = 1;
		if (how == 1)
			h.seq = FAB_WINDOW;
		memcpy(bytes, &h, sizeof(h));
		memcpy(bytes + sizeof(h), &f, sizeof(f));
		forge(bytes, sizeof(bytes));
		if (how == 2)
			forge(bytes, sizeof(bytes)); /* twice the same */
		turn(&b);
		assert_true(kb.down);
		assert_int_equal(kb.status, WEFT_EPROTO);
		close_pair();
	}
}

static void a_full_provider_is_asked_again(void **state)
{
	(void)state;
	open_pair(0);
	a.full = true;
	assert_int_equal(send(&ka, 1, 10), WEFT_AGAIN);
	assert_int_equal(send(&ka, 1, 1000), WEFT_AGAIN);
	assert_int_equal(wf_ofi.arm(&a.port.fab.base), WEFT_OK);
	assert_true(a.wake_at > 0 && a.wake_at < wf_now_ns() + WF_NS_PER_MS);
	wf_ofi.disarm(&a.port.fab.base);
	a.full = false;
	turn(&a);
	assert_true(ka.room);
	assert_int_equal(send(&ka, 1, 10), WEFT_OK);
	settle(&a);
	assert_int_equal(kb.n_got, 1);
	close_pair();
}

static void what_came_before_an_error_is_delivered(void **state)
{
	uint64_t start = wf_now_ns();

	(void)state;
	open_pair(0);
	assert_int_equal(send(&kb, 3, 10), WEFT_OK);
	assert_int_equal(send(&ka, 1, 1000), WEFT_OK);
	a.failed = (struct fi_cq_err_entry){ .op_context = a.done[0].op_context, .err = 111 };
	a.n_done = 0;
	a.has_failed = true;
	turn(&a);
	assert_int_equal(send(&ka, 2, 10), WEFT_AGAIN);
	assert_false(ka.down);
	let_all_in(&a);
	assert_int_equal(ka.n_got, 1);
	while (!ka.down && wf_now_ns() - start < WF_NS_PER_S)
		turn(&a);
	assert_int_equal(ka.status, WEFT_ERESET);
	assert_non_null(strstr(ka.cause, "nobody is there: the provider's words"));
	close_pair();
}

static void a_lane_that_core_gave_up_is_emptied(void **state)
{
	(void)state;
	open_pair(0);
	kb.strict = true;
	for (uint32_t i = 0; i < 9; i++)
		assert_int_equal(send(&ka, i, 10), WEFT_OK);
	settle(&a);
	assert_int_equal(kb.n_got, 1);
	close_pair();
}

/* ---- making ---- */

static void only_equals_attach(void **state)
{
	uint8_t offer[160], bad[160];
	struct fab_offer *o = (void *)bad;
	struct link k;
	size_t len;

	(void)state;
	open_pair(0);
	link_init(&k, &a);
	len = wf_ofi.offer(&k.lane.base, offer, sizeof(offer));
	assert_true(len > sizeof(*o));
	for (int how = 0; how < 7; how++) {
		memcpy(bad, offer, sizeof(bad));
		if (how == 0)
			o->version++;
		else if (how == 1)
			o->name_len = 200;
		else if (how == 2)
			snprintf(o->kind, sizeof(o->kind), "other");
		else if (how == 3)
			memset(o->kind, 'x', sizeof(o->kind));
		else if (how == 4)
			o->buf = 100;
		else if (how == 5)
			o->name_len--;
		else
			o->window = 0;
		assert_true(wf_ofi.attach(&k.lane.base, true, bad, len) < 0);
		if (how == 2)
			assert_non_null(strstr(weft_last_error()->cause, "fake here and other at the peer"));
	}
	assert_true(wf_ofi.attach(&k.lane.base, true, offer, 5) < 0);
	wf_ofi.lane_close(&k.lane.base);
	close_pair();
}

/* A name that is too long for an offer is said in parts: in their order, of one name, and no more than it has. */
static void a_name_is_heard_in_its_order(void **state)
{
	static const struct fab_name bad[][2] = { { { 0, 0 } }, { { 9, 1 } }, { { 9, 0 }, { 8, 3 } }, { { 9, 0 }, { 9, 4 } },
						  { { 2, 0 } }, { { FAB_NAME_MAX + 1, 0 } } };
	uint8_t part[sizeof(struct fab_name) + 3] = { 0 };
	struct link k;

	(void)state;
	open_pair(0);
	for (size_t i = 0; i < WF_ARRAY_LEN(bad); i++) {
		link_init(&k, &a);
		assert_true(wf_ofi.offer(&k.lane.base, (uint8_t[160]){ 0 }, 160) > 0);
		for (int n = 0; n < 2 && k.lane.state == FAB_OFFERED; n++) {
			memcpy(part, &bad[i][n], sizeof(bad[i][n]));
			wf_ofi.hear(&k.lane.base, part, sizeof(part));
		}
		turn(&a);
		assert_true(k.down);
		assert_int_equal(k.status, WEFT_EPROTO);
		wf_ofi.lane_close(&k.lane.base);
	}
	close_pair();
}

static void a_fabric_that_leads_nowhere_times_out(void **state)
{
	uint64_t start = wf_now_ns();
	uint8_t offer[160];
	struct link k, other;
	size_t len;

	(void)state;
	open_pair(0);
	a.conf.connect_timeout_ns = 40 * WF_NS_PER_MS;
	link_init(&k, &a);
	link_init(&other, &b);
	len = wf_ofi.offer(&other.lane.base, offer, sizeof(offer));
	wf_ofi.offer(&k.lane.base, (uint8_t[160]){ 0 }, 160);
	assert_int_equal(wf_ofi.attach(&k.lane.base, true, offer, len), 0);
	while (!k.down && wf_now_ns() - start < WF_NS_PER_S)
		turn(&a);
	assert_int_equal(k.status, WEFT_ETIMEDOUT);
	wf_ofi.lane_close(&k.lane.base);
	wf_ofi.lane_close(&other.lane.base);
	close_pair();
}

/* ---- large messages ---- */

#define LARGE (3u << 20)

static uint8_t *out, *in;
static weft_buf near[3], far[2];
static struct wf_copy cs, cr;

static void offer_large(void)
{
	out = malloc(LARGE);
	in = calloc(1, LARGE);
	for (size_t i = 0; i < LARGE; i++)
		out[i] = (uint8_t)(i * 7 >> 3);
	near[0] = (weft_buf){ .addr = in, .len = 100001 };
	near[1] = (weft_buf){ .addr = NULL, .len = 0 };
	near[2] = (weft_buf){ .addr = in + 100001, .len = LARGE - 100001 };
	far[0] = (weft_buf){ .addr = out, .len = 700003 };
	far[1] = (weft_buf){ .addr = out + 700003, .len = LARGE - 700003 };
	cs = (struct wf_copy){ .lane = &ka.lane.base, .bufs = far, .n = 2, .len = LARGE, .sender = true };
	wf_list_init(&cs.link);
	assert_int_equal(wf_ofi.copy_offer(&ka.lane.base, &cs, NULL), 0);
}

static int start_large(void)
{
	cr = (struct wf_copy){ .lane = &kb.lane.base, .bufs = near, .n = 3, .len = LARGE, .desc_len = cs.desc_len };
	memcpy(cr.desc, cs.desc, cs.desc_len);
	wf_list_init(&cr.link);
	return wf_ofi.copy_start(&kb.lane.base, &cr, NULL);
}

static void free_large(void)
{
	free(out);
	free(in);
}

static void large_messages_are_read(void **state)
{
	static const int modes[] = { 0, FI_MR_VIRT_ADDR, ADAPTER, ADAPTER | FI_MR_VIRT_ADDR };

	(void)state;
	for (size_t i = 0; i < WF_ARRAY_LEN(modes); i++) {
		open_pair(modes[i]);
		offer_large();
		assert_int_equal(start_large(), 0);
		while (b.n_rmas)
			do_rma(&b);
		assert_int_equal(copies_done, 1);
		assert_int_equal(copy_status, WEFT_OK);
		assert_memory_equal(in, out, LARGE);
		wf_ofi.copy_end(&ka.lane.base, &cs);
		close_pair();
		free_large();
	}
}

static void a_full_provider_delays_a_copy(void **state)
{
	(void)state;
	open_pair(ADAPTER);
	offer_large();
	b.full = true;
	assert_int_equal(start_large(), 0);
	turn(&b);
	assert_int_equal(b.n_rmas, 0);
	b.full = false;
	turn(&b);
	while (b.n_rmas)
		do_rma(&b);
	assert_memory_equal(in, out, LARGE);
	wf_ofi.copy_end(&ka.lane.base, &cs);
	close_pair();
	free_large();
}

/* The sender takes it back before it is started, in the middle, and after its end. */
static void a_sender_takes_a_copy_back(void **state)
{
	(void)state;
	for (int when = 0; when < 3; when++) {
		open_pair(ADAPTER);
		offer_large();
		if (when)
			assert_int_equal(start_large(), 0);
		while (when == 2 && b.n_rmas)
			do_rma(&b);
		copies_done = 0;
		wf_ofi.copy_stop(&ka.lane.base, &cs);
		settle(&a);
		if (when == 1) {
			assert_int_equal(copies_done, 0); /* pieces are being read */
			assert_int_equal(b.n_rmas, FAB_FLYING);
			while (b.n_rmas)
				do_rma(&b);
			assert_int_equal(copies_done, 1);
			assert_int_equal(copy_status, WEFT_ECANCELED);
			copies_done = 0;
			settle(&a);
		}
		assert_int_equal(copies_done, 1);
		assert_int_equal(copy_status, when == 2 ? WEFT_OK : WEFT_ECANCELED);
		if (when < 2)
			assert_int_equal(start_large(), WEFT_ECANCELED);
		free_large();
		offer_large(); /* the slot's next use is not touched by that */
		assert_int_equal(start_large(), 0);
		while (b.n_rmas)
			do_rma(&b);
		assert_memory_equal(in, out, LARGE);
		wf_ofi.copy_end(&ka.lane.base, &cs);
		close_pair();
		free_large();
	}
}

static void a_receiver_puts_a_copy_off(void **state)
{
	(void)state;
	open_pair(0);
	offer_large();
	assert_int_equal(start_large(), 0);
	wf_ofi.copy_stop(&kb.lane.base, &cr);
	turn(&b);
	assert_int_equal(copies_done, 0);
	while (b.n_rmas)
		do_rma(&b);
	assert_int_equal(copy_status, WEFT_ECANCELED);
	assert_int_equal(start_large(), 0); /* again, for another receive */
	while (b.n_rmas)
		do_rma(&b);
	assert_int_equal(copy_status, WEFT_OK);
	assert_memory_equal(in, out, LARGE);
	wf_ofi.copy_end(&ka.lane.base, &cs);
	close_pair();
	free_large();
}

/* The peer is dead, or its side closed, or this side ends: nobody answers any more. */
static void a_stop_does_not_wait_for_the_dead(void **state)
{
	uint64_t start;

	(void)state;
	for (int how = 0; how < 2; how++) {
		open_pair(0);
		offer_large();
		if (how == 0)
			ka.lane.base.peer_left = true;
		else
			wf_ofi.abandon(&ka.lane.base);
		wf_ofi.copy_stop(&ka.lane.base, &cs);
		start = wf_now_ns();
		while (!copies_done && wf_now_ns() - start < WF_NS_PER_S)
			turn(&a);
		assert_int_equal(copy_status, WEFT_ECANCELED);
		assert_int_equal(live_mrs(&a), 0);
		close_pair();
		free_large();
	}
}

static void a_silent_provider_is_given_up(void **state)
{
	uint64_t start = wf_now_ns();

	(void)state;
	open_pair(ADAPTER);
	b.conf.failure_detect_ns = 30 * WF_NS_PER_MS;
	offer_large();
	assert_int_equal(start_large(), 0);
	kb.lane.base.peer_left = true;
	wf_ofi.copy_stop(&kb.lane.base, &cr);
	while (!copies_done && wf_now_ns() - start < WF_NS_PER_S)
		turn(&b);
	assert_int_equal(copies_done, 1);
	assert_true(wf_now_ns() - start >= 30 * WF_NS_PER_MS);
	wf_ofi.lane_close(&kb.lane.base);
	while (b.n_rmas > 1) /* late: it is known whose they were */
		do_rma(&b);
	assert_int_equal(copies_done, 1);
	link_init(&kb, &b);
	wf_ofi.copy_end(&ka.lane.base, &cs);
	close_pair();
	free_large();
}

/* Its buffers are not registered, so that only the endpoint's end makes them quiet: not as long as another lane needs it. */
static void an_endpoint_is_cut_when_nobody_else_needs_it(void **state)
{
	struct link kc, kd;
	uint64_t start;

	(void)state;
	open_pair(0);
	link_open(&a, &kc, &b, &kd);
	b.conf.failure_detect_ns = 10 * WF_NS_PER_MS;
	offer_large();
	assert_int_equal(start_large(), 0);
	kb.lane.base.peer_left = true;
	wf_ofi.copy_stop(&kb.lane.base, &cr);
	start = wf_now_ns();
	while (wf_now_ns() - start < 40 * WF_NS_PER_MS)
		turn(&b);
	assert_int_equal(copies_done, 0);
	assert_false(kd.down);
	wf_ofi.abandon(&kd.lane.base);
	for (int i = 0; i < 3; i++)
		turn(&b);
	assert_int_equal(copies_done, 1);
	assert_true(kb.down && kd.down && !b.port.fab.open);
	assert_int_equal(wf_ofi.arm(&b.port.fab.base), WEFT_OK);
	assert_true(send(&kd, 1, 10) < 0);
	wf_ofi.copy_end(&ka.lane.base, &cs);
	wf_ofi.lane_close(&kc.lane.base);
	wf_ofi.lane_close(&kd.lane.base);
	close_pair();
	free_large();
}

static void nonsense_is_no_description(void **state)
{
	struct fab_desc d;

	(void)state;
	open_pair(0);
	offer_large();
	for (int how = 0; how < 6; how++) {
		cr = (struct wf_copy){ .lane = &kb.lane.base, .bufs = near, .n = 3, .len = LARGE, .desc_len = cs.desc_len };
		memcpy(&d, cs.desc, cs.desc_len);
		if (how == 0)
			cr.desc_len = 7;
		else if (how == 1)
			d.slot = FAB_COPIES;
		else if (how == 2)
			d.n = FAB_PIECES + 1;
		else if (how == 3)
			d.far[0].len = UINT64_MAX;
		else if (how == 4)
			d.far[0].len = 5; /* less than the message */
		else
			d.gen = 0;
		memcpy(cr.desc, &d, cs.desc_len);
		assert_int_equal(wf_ofi.copy_start(&kb.lane.base, &cr, NULL), WEFT_EPROTO);
	}
	wf_ofi.copy_end(&ka.lane.base, &cs);
	close_pair();
	free_large();
}

static void too_much_on_offer_goes_by_frames(void **state)
{
	struct wf_copy c[FAB_COPIES + 1];
	weft_buf one = { .addr = &one, .len = sizeof(one) }, many[FAB_PIECES + 1];

	(void)state;
	open_pair(0);
	for (unsigned i = 0; i <= FAB_COPIES; i++) {
		c[i] = (struct wf_copy){ .lane = &ka.lane.base, .bufs = &one, .n = 1, .len = sizeof(one), .sender = true };
		assert_int_equal(wf_ofi.copy_offer(&ka.lane.base, &c[i], NULL), i < FAB_COPIES ? 0 : WEFT_AGAIN);
	}
	for (unsigned i = 0; i < FAB_COPIES; i++)
		wf_ofi.copy_end(&ka.lane.base, &c[i]);
	for (unsigned i = 0; i <= FAB_PIECES; i++)
		many[i] = one;
	c[0].bufs = many;
	c[0].n = FAB_PIECES + 1;
	assert_int_equal(wf_ofi.copy_offer(&ka.lane.base, &c[0], NULL), WEFT_AGAIN);
	assert_int_equal(live_mrs(&a), 0);
	close_pair();
}

/* ---- one-sided ---- */

static void memory_is_read_and_written(void **state)
{
	static uint8_t theirs[100000], ours[50000];
	struct wf_region r = { .addr = theirs, .len = sizeof(theirs), .memfd = -1 };
	weft_buf buf = { .addr = ours, .len = sizeof(ours) };
	struct wf_direct d = { .lane = &ka.lane.base, .len = 60000, .access = WEFT_READ | WEFT_WRITE };
	uint64_t hold = 0;

	(void)state;
	open_pair(ADAPTER);
	memset(ours, 1, sizeof(ours));
	d.desc_len = (uint32_t)wf_ofi.mem_offer(&kb.lane.base, &r, 1000, 60000, d.access, d.desc, sizeof(d.desc), &hold);
	assert_true(d.desc_len && hold);
	assert_int_equal(wf_ofi.mem_open(&ka.lane.base, &d), 0);
	for (int what = WF_RMA_PUT; what <= WF_RMA_GET; what++) {
		struct wf_rma x = { .direct = &d, .what = what, .off = 10000, .bufs = &buf, .n = 1, .len = sizeof(ours) };

		assert_int_equal(wf_ofi.rma_start(&ka.lane.base, &x), WEFT_PENDING);
		assert_false(x.ordered);
		while (a.n_rmas)
			do_rma(&a);
		assert_int_equal(rmas_done, 1 + what);
		assert_int_equal(rma_status, WEFT_OK);
		memset(ours, 2, sizeof(ours));
	}
	assert_int_equal(theirs[10999], 0);
	assert_int_equal(theirs[11000], 1);
	assert_int_equal(theirs[60999], 1);
	assert_int_equal(theirs[61000], 0);
	{
		struct wf_rma beyond = { .direct = &d, .what = WF_RMA_PUT, .off = 20000, .bufs = &buf, .n = 1, .len = sizeof(ours) };
		struct wf_rma atomic = { .direct = &d, .what = WF_RMA_ATOMIC, .len = 8 };
		struct wf_rma gone = { .direct = &d, .what = WF_RMA_GET, .bufs = &buf, .n = 1, .len = 100 };

		assert_int_equal(wf_ofi.rma_start(&ka.lane.base, &beyond), WEFT_ENOTSUP);
		assert_int_equal(wf_ofi.rma_start(&ka.lane.base, &atomic), WEFT_ENOTSUP);
		wf_ofi.mem_retract(&kb.lane.base, hold);
		assert_int_equal(wf_ofi.rma_start(&ka.lane.base, &gone), WEFT_PENDING);
		do_rma(&a);
		assert_int_equal(rma_status, WEFT_ERESET);
	}
	wf_ofi.mem_close(&ka.lane.base, &d);
	close_pair();
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(frames_that_overtake_are_put_in_order),
	cmocka_unit_test(a_window_is_all_that_is_under_way),
	cmocka_unit_test(a_paused_lane_does_not_hold_up_another),
	cmocka_unit_test(strangers_are_not_heard),
	cmocka_unit_test(a_peer_that_breaks_the_rules_loses_its_lane),
	cmocka_unit_test(a_full_provider_is_asked_again),
	cmocka_unit_test(what_came_before_an_error_is_delivered),
	cmocka_unit_test(a_lane_that_core_gave_up_is_emptied),
	cmocka_unit_test(only_equals_attach),
	cmocka_unit_test(a_name_is_heard_in_its_order),
	cmocka_unit_test(a_fabric_that_leads_nowhere_times_out),
	cmocka_unit_test(large_messages_are_read),
	cmocka_unit_test(a_full_provider_delays_a_copy),
	cmocka_unit_test(a_sender_takes_a_copy_back),
	cmocka_unit_test(a_receiver_puts_a_copy_off),
	cmocka_unit_test(a_stop_does_not_wait_for_the_dead),
	cmocka_unit_test(a_silent_provider_is_given_up),
	cmocka_unit_test(an_endpoint_is_cut_when_nobody_else_needs_it),
	cmocka_unit_test(nonsense_is_no_description),
	cmocka_unit_test(too_much_on_offer_goes_by_frames),
	cmocka_unit_test(memory_is_read_and_written),
};

UT_MAIN(tests)
