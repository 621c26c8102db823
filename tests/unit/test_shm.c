/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_shm.c - lanes of the shm transport between two nodes of one process: handshake, frames, room, bad peers,
 * sleep. Large copies are in test_shm_copy.c, other processes in test_shm_procs.c.
 */
#include "unit.h"

#include "shm_mini.h"

#include <pthread.h>
#include <sys/socket.h>

/* What one side expects: frame i has tag i, a length and bytes that follow from the seed. */
struct flow {
	uint64_t seed, sent, got;
	size_t max;
	unsigned again_every;            /* says "not now" to every n-th frame; 0: never */
	uint64_t refused;
};

static size_t flow_len(const struct flow *f, uint64_t i)
{
	struct wf_rng r;
	uint64_t kind;

	wf_rng_init(&r, f->seed + i * 77);
	kind = wf_rng_below(&r, 8);
	if (kind < 4)
		return wf_rng_below(&r, SHM_INLINE + 4);
	if (kind == 4)
		return f->max - wf_rng_below(&r, 2);
	return wf_rng_below(&r, f->max + 1);
}

static int flow_in(struct link *k, const struct wf_frame *h, const void *payload)
{
	struct flow *f = k->arg;

	if (f->again_every && f->got % f->again_every == 0 && f->refused != f->got + 1) {
		f->refused = f->got + 1;
		return WEFT_AGAIN;
	}
	assert_int_equal(h->seq, k->rx_seq++);
	assert_int_equal(h->tag, f->got);
	assert_int_equal(h->len, flow_len(f, f->got));
	assert_true(mini_same(payload, h->len, f->seed + f->got));
	f->got++;
	return 0;
}

/* Sends the next frame; false when the lane is full. */
static bool flow_send(struct link *k, struct flow *f)
{
	static uint8_t buf[SHM_FRAME_MAX];
	size_t len = flow_len(f, f->sent);
	int ret;

	mini_fill(buf, len, f->seed + f->sent);
	ret = link_send(k, f->sent % 3 ? WF_FR_EAGER : WF_FR_DATA, f->sent, buf, len);
	if (ret == WEFT_OK)
		f->sent++;
	else
		assert_int_equal(ret, WEFT_AGAIN);
	return ret == WEFT_OK;
}

struct pair {
	struct node a, b;
	struct link *ka, *kb;
};

static void pair_open(struct pair *p, const struct wf_conf *conf)
{
	node_open(&p->a, conf);
	node_open(&p->b, conf);
	link_pair(&p->a, &p->b, &p->ka, &p->kb);
}

static void pair_close(struct pair *p)
{
	link_free(p->ka);
	link_free(p->kb);
	node_close(&p->a);
	node_close(&p->b);
}

static void test_lanes_come_up_with_rights_and_leave_no_descriptor(void **state)
{
	int before = wf_fd_count();
	struct pair p;
	char text[128];

	(void)state;
	pair_open(&p, NULL);
	assert_true(p.ka->up && p.kb->up);
	for (int i = 0; i < 20; i++)
		node_turn(&p.b);
	wf_shm.describe(&p.ka->lane.base, text, sizeof(text));
	if (p.ka->lane.rights) {
		assert_true(p.kb->lane.peer_rights);
		assert_string_equal(text, "ring 2048 KiB, both processes copy");
	}
	assert_true(p.ka->lane.base.can_copy);
	assert_int_equal(p.ka->lane.base.frame_max, SHM_FRAME_MAX);
	pair_close(&p);
	assert_int_equal(wf_fd_count(), before);
}

/* explain tells it: up to inline_max a payload lies in the frame's slot, one byte more takes the ring of bytes. */
static void test_payloads_up_to_inline_max_lie_in_the_slot(void **state)
{
	static uint8_t buf[200];
	struct pair p;
	uint32_t max, pos;

	(void)state;
	pair_open(&p, NULL);
	max = p.ka->lane.base.inline_max;
	assert_in_range(max, 1, sizeof(buf) - 1);
	pos = p.ka->lane.tx.pos;
	assert_int_equal(link_send(p.ka, WF_FR_EAGER, 1, buf, max), WEFT_OK);
	assert_int_equal(p.ka->lane.tx.pos, pos);
	assert_int_equal(link_send(p.ka, WF_FR_EAGER, 1, buf, max + 1), WEFT_OK);
	assert_true(p.ka->lane.tx.pos > pos);
	pair_close(&p);
}

static void test_frames_of_all_sizes_arrive_in_order_both_ways(void **state)
{
	struct flow fa = { .seed = 11, .again_every = 5 }, fb = { .seed = 5000 };
	struct wf_conf conf;
	struct wf_rng r;
	struct pair p;

	(void)state;
	wf_conf_defaults(&conf);
	for (size_t ring = 16u << 10; ring <= 256u << 10; ring *= 4) {
		conf.shm_ring = ring;
		pair_open(&p, &conf);
		fa = (struct flow){ .seed = ring, .again_every = 5, .max = p.ka->lane.base.frame_max };
		fb = (struct flow){ .seed = ring + 5, .max = p.ka->lane.base.frame_max };
		p.ka->arg = &fb;
		p.kb->arg = &fa;
		p.ka->on_frame = p.kb->on_frame = flow_in;
		wf_rng_init(&r, ring);
		while (fa.got < 4000 || fb.got < 4000) {
			struct link *k = wf_rng_hit(&r, 0.5) ? p.ka : p.kb;
			struct flow *f = k == p.ka ? &fa : &fb;
			uint64_t n = wf_rng_below(&r, 300);

			k->lane.tx.far = wf_rng_hit(&r, 0.5); /* as if it had been found so: payloads of medium length go another way */

			while (n-- && f->sent < 4000 && flow_send(k, f))
				;
			node_turn(wf_rng_hit(&r, 0.5) ? &p.a : &p.b);
			if (p.kb->lane.base.paused) {
				p.kb->lane.base.paused = false;
				wf_shm.resume(&p.kb->lane.base);
			}
		}
		assert_int_equal(p.ka->lane.base.frames_tx, 4000);
		assert_int_equal(p.kb->lane.base.bytes_rx, p.ka->lane.base.bytes_tx);
		assert_int_equal(p.ka->lane.base.syscalls + p.kb->lane.base.syscalls, 0);
		pair_close(&p);
	}
}

static void test_full_ring_says_again_and_later_room(void **state)
{
	struct flow f = { .seed = 3 };
	struct pair p;
	unsigned n = 0;

	(void)state;
	pair_open(&p, NULL);
	f.max = p.ka->lane.base.frame_max;
	p.kb->arg = &f;
	p.kb->on_frame = flow_in;
	while (flow_send(p.ka, &f))
		n++;
	assert_in_range(n, 4, SHM_SLOTS);
	node_turn(&p.a);
	assert_false(p.ka->room);
	while (f.got < f.sent) {
		node_turn(&p.b);
		node_turn(&p.a);
	}
	assert_true(p.ka->room);
	assert_true(flow_send(p.ka, &f));
	pair_close(&p);
}

static void test_sleeping_sender_is_rung_when_room_appears(void **state)
{
	struct flow f = { .seed = 4 };
	struct pair p;

	(void)state;
	pair_open(&p, NULL);
	f.max = 64;
	p.kb->arg = &f;
	p.kb->on_frame = flow_in;
	while (flow_send(p.ka, &f))
		;
	assert_int_equal(wf_shm.arm(&p.a.port.base), WEFT_OK);
	assert_int_equal(wf_poll_one(p.a.poll.epfd, EPOLLIN, 0), 0);
	while (f.got < f.sent)
		node_turn(&p.b);
	assert_int_equal(wf_poll_one(p.a.poll.epfd, EPOLLIN, 1000), 1);
	node_sleep(&p.a, 0);
	assert_true(p.ka->room);
	pair_close(&p);
}

static void test_arm_says_again_when_a_frame_waits(void **state)
{
	struct flow f = { .seed = 5, .max = 64 };
	struct pair p;

	(void)state;
	pair_open(&p, NULL);
	p.kb->arg = &f;
	p.kb->on_frame = flow_in;
	assert_int_equal(wf_shm.arm(&p.b.port.base), WEFT_OK);
	wf_shm.disarm(&p.b.port.base);
	flow_send(p.ka, &f);
	assert_int_equal(p.ka->lane.base.syscalls, 0);
	assert_int_equal(wf_shm.arm(&p.b.port.base), WEFT_AGAIN);
	node_turn(&p.b);
	assert_int_equal(f.got, 1);
	assert_int_equal(wf_shm.arm(&p.b.port.base), WEFT_OK);
	flow_send(p.ka, &f);
	flow_send(p.ka, &f);
	assert_int_equal(p.ka->lane.base.syscalls, 1); /* one ring for one sleep */
	assert_int_equal(wf_poll_one(p.b.poll.epfd, EPOLLIN, 1000), 1);
	node_sleep(&p.b, 0);
	assert_int_equal(f.got, 3);
	pair_close(&p);
}

static void test_idle_lanes_are_parked_and_come_back(void **state)
{
	enum { N = 40 };
	struct link *ka[N], *kb[N];
	struct flow f[N];
	struct node a, b;
	struct wf_rng r;
	uint64_t sent = 0, start = wf_now_ns();

	(void)state;
	node_open(&a, NULL);
	node_open(&b, NULL);
	for (int i = 0; i < N; i++) {
		link_pair(&a, &b, &ka[i], &kb[i]);
		f[i] = (struct flow){ .seed = (uint64_t)i, .max = 100 };
		kb[i]->arg = &f[i];
		kb[i]->on_frame = flow_in;
	}
	for (unsigned i = 0; i < 4 * SHM_PARK_EVERY; i++)
		node_turn(&b);
	assert_int_equal(b.port.n_hot, 0);
	assert_int_equal(wf_shm.arm(&b.port.base), WEFT_OK);
	flow_send(ka[7], &f[7]);
	assert_int_equal(wf_poll_one(b.poll.epfd, EPOLLIN, 1000), 1);
	node_sleep(&b, 0);
	node_turn(&b);
	assert_int_equal(f[7].got, 1);
	assert_int_equal(b.port.n_hot, 1);
	wf_rng_init(&r, 6);
	for (int i = 0; i < 20000; i++) {
		unsigned k = (unsigned)wf_rng_below(&r, N);

		sent += flow_send(ka[k], &f[k]);
		for (unsigned j = 0; j < 300 && i % 500 == 0; j++)
			node_turn(&b);
		if (i % 7 == 0)
			node_sleep(&b, 0);
	}
	for (uint64_t all = 0; all < sent + 1; mini_late(start)) {
		node_turn(&b);
		all = 0;
		for (int i = 0; i < N; i++)
			all += f[i].got;
	}
	for (int i = 0; i < N; i++) {
		link_free(ka[i]);
		link_free(kb[i]);
	}
	node_close(&a);
	node_close(&b);
}

/*
 * The sender publishes and looks at asleep in the very moment in which the receiver sets asleep and looks at the
 * ring: one of them has to see the other, each time.
 */
#define MEETINGS 200000

struct meeting {
	struct pair p;
	_Atomic unsigned round, sent;
};

static void spin(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

/* Waits for the other thread, which may be without a CPU. */
static void meet(_Atomic unsigned *word, unsigned value)
{
	for (unsigned i = 0; atomic_load_explicit(word, memory_order_acquire) != value; i++)
		if (i % 1024 == 1023)
			sched_yield();
}

static void *sender_thread(void *arg)
{
	struct meeting *m = arg;
	struct wf_rng r;

	wf_rng_init(&r, 1);
	for (unsigned i = 1; i <= MEETINGS; i++) {
		unsigned wait = (unsigned)wf_rng_below(&r, 80);

		meet(&m->round, i);
		spin(wait);
		link_send(m->p.ka, WF_FR_EAGER, 0, "x", 1);
		atomic_store_explicit(&m->sent, i, memory_order_release);
	}
	return NULL;
}

static void meet_often(bool membarrier)
{
	static struct meeting m;
	_Atomic uint32_t *asleep;
	unsigned armed = 0, lost = 0;
	pthread_t thread;
	struct wf_rng r;

	memset(&m, 0, sizeof(m));
	node_open(&m.p.a, NULL);
	node_open(&m.p.b, NULL);
	m.p.a.port.membarrier &= membarrier;
	m.p.b.port.membarrier &= membarrier;
	link_pair(&m.p.a, &m.p.b, &m.p.ka, &m.p.kb);
	asleep = &m.p.kb->lane.rx.seg->asleep;
	wf_rng_init(&r, 2);
	assert_int_equal(pthread_create(&thread, NULL, sender_thread, &m), 0);
	for (unsigned i = 1; i <= MEETINGS; i++) {
		unsigned wait = (unsigned)wf_rng_below(&r, 80);
		int ret;

		atomic_store_explicit(&m.round, i, memory_order_release);
		spin(wait);
		ret = wf_shm.arm(&m.p.b.port.base);
		meet(&m.sent, i);
		armed += ret == WEFT_OK;
		lost += ret == WEFT_OK && atomic_load(asleep);
		wf_shm.disarm(&m.p.b.port.base);
		wf_bell_drain(m.p.b.port.bell_fd);
		wf_shm.poll(&m.p.b.port.base);
	}
	pthread_join(thread, NULL);
	printf("# %u of %u went to sleep\n", armed, MEETINGS);
	assert_int_equal(lost, 0);
	pair_close(&m.p);
}

static void test_sleeper_and_sender_never_miss_each_other(void **state)
{
	(void)state;
	meet_often(true);
	meet_often(false);
}

/* ---- refusals ---- */

static void test_unknown_name_is_another_host(void **state)
{
	struct shm_offer o = { .version = SHM_VERSION, .name_len = SHM_NAME, .name = "weft-nobody" };
	struct node n;
	struct link *k;

	(void)state;
	node_open(&n, NULL);
	k = link_new(&n);
	assert_int_equal(wf_shm.attach(&k->lane.base, true, &o, sizeof(o)), 0);
	assert_false(k->down); /* no upcall before the row returns */
	node_turn(&n);
	assert_true(k->down);
	assert_int_equal(k->status, WEFT_EUNREACHABLE);
	assert_non_null(strstr(k->cause, "not on the same host"));
	link_free(k);
	node_close(&n);
}

static void test_limit_shm_sends_peers_to_tcp(void **state)
{
	struct wf_conf conf;
	struct pair p;

	(void)state;
	wf_conf_defaults(&conf);
	conf.limit_shm = 400u << 10;
	node_open(&p.a, &conf);
	node_open(&p.b, NULL);
	link_pair(&p.a, &p.b, &p.ka, &p.kb);
	assert_true(p.ka->down);
	assert_int_equal(p.ka->status, WEFT_ELIMIT);
	pair_close(&p);
}

/* The more local peers there are, the shorter are the rings of the next ones, until limit_shm is reached. */
static void test_rings_get_shorter_with_many_peers(void **state)
{
	enum { MAX = 64 };
	struct link *ka[MAX], *kb[MAX];
	struct wf_conf conf;
	struct node a, b;
	uint32_t last;
	unsigned n = 0;

	(void)state;
	wf_conf_defaults(&conf);
	conf.limit_shm = 128u << 20;
	conf.shm_ring = last = 1u << 20;
	node_open(&a, &conf);
	node_open(&b, NULL);
	do {
		link_pair(&a, &b, &ka[n], &kb[n]);
		if (ka[n]->up) {
			assert_true(ka[n]->lane.tx.ring <= last && last <= 2 * ka[n]->lane.tx.ring);
			last = ka[n]->lane.tx.ring;
		}
	} while (ka[n]->up && ++n < MAX);
	assert_in_range(n, 20, MAX - 1);
	assert_int_equal(last, 256u << 10);
	assert_int_equal(ka[n]->status, WEFT_ELIMIT);
	for (unsigned i = 0; i <= n; i++) {
		link_free(ka[i]);
		link_free(kb[i]);
	}
	node_close(&a);
	node_close(&b);
}

static void test_strangers_are_dropped_silently(void **state)
{
	struct node n;
	struct link *k;
	uint8_t offer[160];
	struct shm_offer o;
	struct shm_hello h = { .magic = SHM_MAGIC, .what = SHM_HELLO, .version = SHM_VERSION };
	int fd[SHM_HALVES + 8], fds[3] = { 0, 1, 2 };
	char c;

	(void)state;
	node_open(&n, NULL);
	k = link_new(&n);
	assert_true(wf_shm.offer(&k->lane.base, offer, sizeof(offer)) > 0);
	memcpy(&o, offer, sizeof(o));
	assert_int_equal(wf_shm.attach(&k->lane.base, false, offer, sizeof(o)), 0);
	for (unsigned i = 0; i < WF_ARRAY_LEN(fd); i++) {
		assert_int_equal(wf_unix_connect(o.name, o.name_len, &fd[i]), 0);
		if (i % 3 == 1)
			wf_unix_send(fd[i], "who are you?", 12, NULL, 0);
		if (i % 3 == 2)
			wf_unix_send(fd[i], &h, sizeof(h), fds, 3);
	}
	for (int i = 0; i < 50; i++)
		node_turn(&n);
	assert_in_range(n.port.n_halves, 1, SHM_HALVES);
	assert_int_equal(read(fd[1], &c, 1), 0);
	shm_drop_old_halves(&n.port, wf_now_ns() + 3 * WF_NS_PER_S);
	assert_int_equal(n.port.n_halves, 0);
	assert_false(k->up || k->down);
	for (unsigned i = 0; i < WF_ARRAY_LEN(fd); i++)
		close(fd[i]);
	link_free(k);
	node_close(&n);
}

static void test_wrong_secret_of_the_peer_fails_the_lane(void **state)
{
	uint8_t oa[160], ob[160];
	struct pair p;

	(void)state;
	node_open(&p.a, NULL);
	node_open(&p.b, NULL);
	p.ka = link_new(&p.a);
	p.kb = link_new(&p.b);
	assert_true(wf_shm.offer(&p.ka->lane.base, oa, sizeof(oa)) && wf_shm.offer(&p.kb->lane.base, ob, sizeof(ob)));
	oa[10] ^= 1;
	wf_shm.attach(&p.ka->lane.base, true, ob, sizeof(struct shm_offer)); /* before the other waits */
	for (int i = 0; i < 30; i++)
		node_turn(&p.b);
	wf_shm.attach(&p.kb->lane.base, false, oa, sizeof(struct shm_offer));
	for (int i = 0; i < 30; i++) {
		node_turn(&p.a);
		node_turn(&p.b);
	}
	assert_true(p.ka->down && p.kb->down);
	assert_int_equal(p.kb->status, WEFT_EPROTO);
	pair_close(&p);
}

static void test_malformed_offers_fail_the_lane(void **state)
{
	struct shm_offer o = { .version = SHM_VERSION };
	struct node n;

	(void)state;
	node_open(&n, NULL);
	for (int i = 0; i < 3; i++) {
		struct link *k = link_new(&n);

		o.name_len = i == 1 ? SHM_NAME + 1 : 0;
		assert_int_equal(wf_shm.attach(&k->lane.base, true, &o, i == 2 ? 3 : sizeof(o)), 0);
		node_turn(&n);
		assert_true(k->down);
		link_free(k);
	}
	node_close(&n);
}

/* ---- garbage ---- */

static void expect_down(struct node *n, struct link *k, int32_t status)
{
	for (int i = 0; i < 100 && !k->down; i++)
		node_turn(n);
	assert_true(k->down);
	assert_int_equal(k->status, status);
}

static void test_garbage_in_the_ring_ends_the_lane_and_no_more(void **state)
{
	struct wf_rng r;

	(void)state;
	wf_rng_init(&r, 17);
	for (int round = 0; round < 60; round++) {
		struct pair p;
		struct shm_slot *s;

		pair_open(&p, NULL);
		s = &p.ka->lane.tx.seg->slot[0];
		switch (round % 4) {
		case 0: /* too long */
			s->h = (struct wf_frame){ .len = (uint32_t)wf_rng_next(&r) | 0x10000, .type = WF_FR_EAGER };
			atomic_store(&s->stamp, 1);
			expect_down(&p.b, p.kb, WEFT_EPROTO);
			break;
		case 1: /* control frames are short */
			s->h = (struct wf_frame){ .len = WF_CTL_MAX + 1, .type = WF_FR_OPEN };
			atomic_store(&s->stamp, 1);
			expect_down(&p.b, p.kb, WEFT_EPROTO);
			break;
		case 2: /* freed more than was sent */
			atomic_store(&p.kb->lane.rx.seg->freed, wf_rng_next(&r) | 0x1000);
			for (int i = 0; i < 1000 && !p.ka->down; i++) {
				link_send(p.ka, WF_FR_EAGER, 0, "x", 1);
				node_turn(&p.a);
			}
			expect_down(&p.a, p.ka, WEFT_EPROTO);
			break;
		default: /* anything anywhere */
			mini_fill(p.ka->lane.tx.seg, shm_segment_len(p.ka->lane.tx.ring), wf_rng_next(&r));
			mini_fill(p.kb->lane.tx.seg, shm_segment_len(p.kb->lane.tx.ring), wf_rng_next(&r));
			for (int i = 0; i < 200; i++) {
				link_send(p.ka, WF_FR_EAGER, 0, "x", 1);
				node_turn(&p.a);
				node_turn(&p.b);
			}
		}
		pair_close(&p);
	}
}

static void test_nonsense_over_the_socket_ends_the_lane(void **state)
{
	struct shm_note note = { .magic = SHM_MAGIC, .what = SHM_REGION, .id = 5, .len = 4096 };
	struct pair p;
	int fd[2];

	(void)state;
	for (int round = 0; round < 3; round++) {
		pair_open(&p, NULL);
		if (round == 0) { /* a descriptor that is no sealed memfd */
			assert_int_equal(pipe(fd), 0);
			wf_unix_send(p.ka->lane.sock, &note, sizeof(note), fd, 1);
			close(fd[0]);
			close(fd[1]);
		} else if (round == 1) {
			wf_unix_send(p.ka->lane.sock, &note, sizeof(note), NULL, 0);
		} else {
			wf_unix_send(p.ka->lane.sock, "hm", 2, NULL, 0);
		}
		expect_down(&p.b, p.kb, WEFT_EPROTO);
		pair_close(&p);
	}
}

static void test_closed_lane_delivers_what_was_sent_before(void **state)
{
	struct flow f = { .seed = 9 };
	struct pair p;
	uint64_t start = wf_now_ns();

	(void)state;
	pair_open(&p, NULL);
	f.max = 100;
	p.kb->arg = &f;
	p.kb->on_frame = flow_in;
	for (int i = 0; i < 50; i++)
		flow_send(p.ka, &f);
	link_free(p.ka);
	while (!p.kb->down) {
		node_sleep(&p.b, 100);
		mini_late(start);
	}
	assert_int_equal(f.got, 50);
	assert_int_equal(p.kb->status, WEFT_ERESET);
	assert_true(wf_now_ns() - start < 100 * WF_NS_PER_MS);
	assert_int_equal(link_send(p.kb, WF_FR_EAGER, 0, "x", 1), WEFT_ERESET);
	link_free(p.kb);
	node_close(&p.a);
	node_close(&p.b);
}

/* ---- memory ---- */

static uint64_t hold; /* shm holds nothing for the peer */
static void open_direct(struct pair *p, struct wf_direct *d, const struct wf_region *r, uint64_t off, uint64_t len,
			uint32_t access)
{
	size_t n;

	*d = (struct wf_direct){ .lane = &p->kb->lane.base, .len = len, .access = access };
	n = wf_shm.mem_offer(&p->ka->lane.base, r, off, len, access, d->desc, sizeof(d->desc), &hold);
	assert_true(n > 0);
	d->desc_len = (uint32_t)n;
	assert_int_equal(wf_shm.mem_open(&p->kb->lane.base, d), 0);
	assert_true(d->ready);
}

static void put_and_get(struct pair *p, struct wf_direct *d, uint8_t *mem)
{
	uint8_t x[300], y[300];
	weft_buf out[3] = { { .addr = x, .len = 100 }, { .addr = x + 100, .len = 0 }, { .addr = x + 100, .len = 200 } };
	weft_buf in = { .addr = y, .len = 300 };
	struct wf_lane *l = &p->kb->lane.base;

	mini_fill(x, sizeof(x), 77);
	assert_int_equal(wf_shm.rma(l, d, WF_RMA_PUT, 33, out, 3, 300), 0);
	assert_memory_equal(mem + 33, x, 300);
	assert_int_equal(wf_shm.rma(l, d, WF_RMA_GET, 33, &in, 1, 300), 0);
	assert_memory_equal(y, x, 300);
	assert_int_equal(wf_shm.rma(l, d, WF_RMA_GET, d->len - 299, &in, 1, 300), WEFT_EBOUNDS);
	assert_int_equal(wf_shm.rma(l, d, WF_RMA_GET, UINT64_MAX - 10, &in, 1, 300), WEFT_EBOUNDS);
	d->access = WEFT_READ;
	assert_int_equal(wf_shm.rma(l, d, WF_RMA_PUT, 0, &in, 1, 1), WEFT_EACCESS);
	d->access = WEFT_READ | WEFT_WRITE | WEFT_ATOMIC;
}

static void test_mapped_memory_takes_rma_and_atomics(void **state)
{
	struct wf_region r = { .len = 10000, .id = 7, .access = 7 };
	struct wf_direct d;
	struct pair p;
	uint64_t *word, old;
	uint32_t *half;
	struct wf_lane *l;
	int before;

	(void)state;
	pair_open(&p, NULL);
	before = wf_fd_count();
	assert_int_equal(wf_memfd_new("t", r.len, &r.memfd), 0);
	assert_int_equal(wf_map_shared(r.memfd, r.len, true, &r.addr), 0);
	l = &p.kb->lane.base;
	open_direct(&p, &d, &r, 1000, 8000, 7);
	put_and_get(&p, &d, (uint8_t *)r.addr + 1000);
	word = (uint64_t *)(void *)((uint8_t *)r.addr + 1008);
	half = (uint32_t *)(void *)((uint8_t *)r.addr + 1020);
	*word = 10;
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_ADD, 8, 5, 0, &old), 0);
	assert_true(old == 10 && *word == 15);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_CAS, 8, 99, 14, &old), 0);
	assert_true(old == 15 && *word == 15);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_CAS, 8, 99, 15, &old), 0);
	assert_true(old == 15 && *word == 99);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_SWAP, 8, 0xf0, 0, &old), 0);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_OR, 8, 0x0f, 0, &old), 0);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_AND, 8, 0x3c, 0, &old), 0);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_XOR, 8, 0xff, 0, &old), 0);
	assert_true(old == 0x3c && *word == 0xc3);
	*half = UINT32_MAX;
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_ADD | WEFT_ATOMIC_32BIT, 20, 2, 0, &old), 0);
	assert_true(old == UINT32_MAX && *half == 1);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_ADD, 7996, 1, 0, &old), WEFT_EBOUNDS);
	assert_int_equal(wf_shm.atomic(l, &d, WEFT_ATOMIC_ADD, 4, 1, 0, &old), WEFT_AGAIN);
	wf_shm.mem_close(l, &d);
	assert_non_null(wf_map_find(&p.kb->lane.maps, 7));
	wf_shm.region_gone(&p.a.port.base, 7);
	for (int i = 0; i < 20; i++)
		node_turn(&p.b);
	assert_null(wf_map_find(&p.kb->lane.maps, 7));
	wf_unmap(&r.addr, r.len);
	wf_fd_close(&r.memfd);
	assert_int_equal(wf_fd_count(), before);
	pair_close(&p);
}

static void test_plain_memory_takes_rma_with_rights_only(void **state)
{
	static uint8_t mem[9000];
	struct wf_region r = { .addr = mem, .len = sizeof(mem), .memfd = -1, .id = 8, .access = 7 };
	struct wf_conf conf;
	struct wf_direct d;
	struct pair p;
	uint64_t old;

	(void)state;
	pair_open(&p, NULL);
	if (p.kb->lane.rights) {
		open_direct(&p, &d, &r, 0, 9000, 7);
		put_and_get(&p, &d, mem);
		assert_int_equal(wf_shm.atomic(&p.kb->lane.base, &d, WEFT_ATOMIC_ADD, 8, 5, 0, &old), WEFT_AGAIN);
		wf_shm.mem_close(&p.kb->lane.base, &d);
	}
	pair_close(&p);
	wf_conf_defaults(&conf);
	conf.cma = false;
	pair_open(&p, &conf);
	assert_false(p.ka->lane.rights || p.kb->lane.rights || p.ka->lane.peer_rights || p.kb->lane.peer_rights);
	d.lane = &p.kb->lane.base;
	d.desc_len = (uint32_t)wf_shm.mem_offer(&p.ka->lane.base, &r, 0, 9000, 7, d.desc, sizeof(d.desc), &hold);
	assert_int_not_equal(wf_shm.mem_open(&p.kb->lane.base, &d), 0);
	assert_string_not_equal(p.ka->lane.base.why, "");
	pair_close(&p);
}

static void test_region_that_is_not_passed_in_time_is_ready_later(void **state)
{
	struct wf_region r = { .len = 4096, .id = 9, .access = 7 };
	struct shm_note note = { .magic = SHM_MAGIC, .what = SHM_REGION, .id = 9, .len = 4096 };
	struct wf_conf conf;
	struct wf_direct d;
	struct pair p;

	(void)state;
	wf_conf_defaults(&conf);
	conf.cma = false;
	pair_open(&p, &conf);
	assert_int_equal(wf_memfd_new("t", r.len, &r.memfd), 0);
	assert_int_equal(wf_map_insert(&p.ka->lane.passed, 9, &p), 0); /* so that mem_offer() passes nothing */
	d = (struct wf_direct){ .lane = &p.kb->lane.base, .len = 4096, .access = 7 };
	d.desc_len = (uint32_t)wf_shm.mem_offer(&p.ka->lane.base, &r, 0, 4096, 7, d.desc, sizeof(d.desc), &hold);
	assert_int_equal(wf_shm.mem_open(&p.kb->lane.base, &d), 0);
	assert_false(d.ready);
	assert_int_equal(wf_shm.rma(&p.kb->lane.base, &d, WF_RMA_GET, 0, NULL, 0, 0), WEFT_AGAIN);
	assert_int_equal(wf_unix_send(p.ka->lane.sock, &note, sizeof(note), &r.memfd, 1), 0);
	for (int i = 0; i < 20; i++)
		node_turn(&p.b);
	assert_true(d.ready);
	wf_shm.mem_close(&p.kb->lane.base, &d);
	wf_fd_close(&r.memfd);
	pair_close(&p);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_lanes_come_up_with_rights_and_leave_no_descriptor),
	cmocka_unit_test(test_payloads_up_to_inline_max_lie_in_the_slot),
	cmocka_unit_test(test_frames_of_all_sizes_arrive_in_order_both_ways),
	cmocka_unit_test(test_full_ring_says_again_and_later_room),
	cmocka_unit_test(test_sleeping_sender_is_rung_when_room_appears),
	cmocka_unit_test(test_arm_says_again_when_a_frame_waits),
	cmocka_unit_test(test_idle_lanes_are_parked_and_come_back),
	cmocka_unit_test(test_sleeper_and_sender_never_miss_each_other),
	cmocka_unit_test(test_unknown_name_is_another_host),
	cmocka_unit_test(test_limit_shm_sends_peers_to_tcp),
	cmocka_unit_test(test_rings_get_shorter_with_many_peers),
	cmocka_unit_test(test_strangers_are_dropped_silently),
	cmocka_unit_test(test_wrong_secret_of_the_peer_fails_the_lane),
	cmocka_unit_test(test_malformed_offers_fail_the_lane),
	cmocka_unit_test(test_garbage_in_the_ring_ends_the_lane_and_no_more),
	cmocka_unit_test(test_nonsense_over_the_socket_ends_the_lane),
	cmocka_unit_test(test_closed_lane_delivers_what_was_sent_before),
	cmocka_unit_test(test_mapped_memory_takes_rma_and_atomics),
	cmocka_unit_test(test_plain_memory_takes_rma_with_rights_only),
	cmocka_unit_test(test_region_that_is_not_passed_in_time_is_ready_later),
};

UT_MAIN(tests)
