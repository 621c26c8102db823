/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_shm_copy.c - large buffers that both sides of an shm lane copy together. Two actors, a sender and a
 * receiver, do what core may do at any moment: offer, start, stop from either side, start again, end. After each
 * end the owner scribbles over its buffer, so a chunk that moves too late is seen. Run with one thread under
 * seeded schedules, and with a thread for each side, which sleep when they have nothing to do. What runs in
 * threads checks with assert(): cmocka's jumps stay in theirs.
 */
#include "unit.h"

#include "shm_mini.h"

#include <pthread.h>

#define JOBS 6
#define BYTES (600u << 10)
#define PIECES 12

enum { IDLE, ANNOUNCED, RUNNING, STOPPING, ANSWERING };

struct job {
	struct wf_copy c;                /* first */
	struct actor *actor;
	uint8_t *mem;                    /* BYTES */
	struct wf_region *region;        /* that mem lies in; NULL: plain */
	weft_buf bufs[PIECES];
	size_t n;
	uint8_t state;
	bool told;                       /* sender: RTS is out */
	uint64_t tag;                    /* job, and which use of it */
	uint64_t seed, len;
	int32_t answer;
};

struct actor {
	struct node node;
	struct link *k;
	bool sender;
	struct wf_rng rng;
	struct job job[JOBS];
	struct wf_region region;
	unsigned stop_per_1000;          /* of the turns, for each job */
	double sleep_chance;             /* of a turn */
	uint64_t uses;
	uint64_t ok, canceled, frames;   /* how jobs ended */
};

struct announce {
	uint64_t seed, len;
	uint8_t desc[WF_DESC_MAX];
};

/* ---- buffers ---- */

/* Cuts len bytes of the job's memory into a random number of pieces. */
static void cut(struct job *j, struct wf_rng *r, uint64_t len)
{
	size_t n = wf_rng_hit(r, 0.5) ? 1 : 1 + wf_rng_below(r, PIECES);
	uint64_t off = 0;

	j->n = n;
	for (size_t i = 0; i < n; i++) {
		uint64_t k = i + 1 == n ? len - off : wf_rng_below(r, len - off + 1);

		j->bufs[i] = (weft_buf){ .addr = j->mem + off, .len = k };
		off += k;
	}
}

static void scribble(struct job *j)
{
	memset(j->mem, 0xee, BYTES);
}

static bool is_scribbled(const struct job *j)
{
	return j->mem[0] == 0xee && !memcmp(j->mem, j->mem + 1, BYTES - 1);
}

static bool send_note(struct job *j, uint8_t type, const void *p, size_t len)
{
	int ret = link_send(j->actor->k, type, j->tag, p, len);

	assert(ret == WEFT_OK || ret == WEFT_AGAIN);
	return ret == WEFT_OK;
}

/* ---- sender ---- */

static void offer(struct job *j)
{
	struct actor *a = j->actor;

	j->seed = wf_rng_next(&a->rng);
	j->len = wf_rng_hit(&a->rng, 0.1) ? wf_rng_below(&a->rng, 3) : wf_rng_below(&a->rng, BYTES);
	j->tag = ++a->uses * JOBS + (uint64_t)(j - a->job);
	mini_fill(j->mem, j->len, j->seed);
	cut(j, &a->rng, j->len);
	j->c = (struct wf_copy){ .lane = &a->k->lane.base, .bufs = j->bufs, .n = j->n, .len = j->len, .sender = true };
	if (wf_shm.copy_offer(&a->k->lane.base, &j->c, j->region)) {
		a->frames++;
		return;
	}
	j->state = RUNNING;
	j->told = false;
}

static void tell(struct job *j)
{
	struct announce msg = { .seed = j->seed, .len = j->len };

	memcpy(msg.desc, j->c.desc, j->c.desc_len);
	if (send_note(j, WF_FR_RTS, &msg, offsetof(struct announce, desc) + j->c.desc_len))
		j->told = true;
}

static void sender_over(struct job *j)
{
	scribble(j);
	j->state = IDLE;
}

static void step_sender(struct job *j)
{
	struct actor *a = j->actor;

	if (j->state == IDLE)
		offer(j);
	if (j->state == RUNNING && !j->told)
		tell(j);
	else if (j->state == RUNNING && wf_rng_below(&a->rng, 1000) < a->stop_per_1000) {
		wf_shm.copy_stop(&a->k->lane.base, &j->c);
		j->state = STOPPING;
	}
}

static int sender_in(struct link *k, const struct wf_frame *h, const void *payload)
{
	struct actor *a = k->arg;
	struct job *j = &a->job[h->tag % JOBS];

	(void)payload;
	if (h->tag != j->tag || j->state == IDLE)
		return 0;
	if (h->type == WF_FR_FIN) {
		a->ok++;
		wf_shm.copy_end(&k->lane.base, &j->c);
	} else {
		a->frames++;
		wf_shm.copy_end(&k->lane.base, &j->c);
	}
	sender_over(j);
	return 0;
}

static void sender_done(struct job *j, int32_t status)
{
	assert(j->state == STOPPING);
	assert(status == WEFT_ECANCELED || status == WEFT_OK);
	if (status == WEFT_OK)
		j->actor->ok++;
	else
		j->actor->canceled++;
	sender_over(j);
}

/* ---- receiver ---- */

static int receiver_in(struct link *k, const struct wf_frame *h, const void *payload)
{
	struct actor *a = k->arg;
	struct job *j = &a->job[h->tag % JOBS];
	const struct announce *msg = payload;

	if (j->state != IDLE && j->state != ANNOUNCED)
		return WEFT_AGAIN; /* the message before it was withdrawn, and has not ended here */
	j->tag = h->tag;
	memcpy(&j->seed, &msg->seed, sizeof(j->seed));
	memcpy(&j->len, &msg->len, sizeof(j->len));
	j->c = (struct wf_copy){ .lane = &k->lane.base };
	j->c.desc_len = h->len - (uint32_t)offsetof(struct announce, desc);
	memcpy(j->c.desc, msg->desc, j->c.desc_len);
	j->state = ANNOUNCED;
	return 0;
}

static void answer(struct job *j, int32_t status)
{
	j->answer = status;
	j->state = ANSWERING;
}

static void start(struct job *j)
{
	struct actor *a = j->actor;
	int ret;

	assert(is_scribbled(j));
	j->c.len = wf_rng_hit(&a->rng, 0.2) ? wf_rng_below(&a->rng, j->len + 1) : j->len;
	cut(j, &a->rng, j->c.len);
	j->c.bufs = j->bufs;
	j->c.n = j->n;
	ret = wf_shm.copy_start(&a->k->lane.base, &j->c, j->region);
	if (ret == 0)
		j->state = RUNNING;
	else if (ret == WEFT_AGAIN)
		answer(j, ret);
	else {
		assert(ret == WEFT_ECANCELED);
		j->state = IDLE;
	}
}

static void step_receiver(struct job *j)
{
	struct actor *a = j->actor;

	if (j->state == ANNOUNCED && wf_rng_hit(&a->rng, 0.5))
		start(j);
	else if (j->state == RUNNING && wf_rng_below(&a->rng, 1000) < a->stop_per_1000) {
		wf_shm.copy_stop(&a->k->lane.base, &j->c);
		j->state = STOPPING;
	} else if (j->state == ANSWERING &&
		   send_note(j, j->answer == WEFT_OK ? WF_FR_FIN : WF_FR_CTS, NULL, 0)) {
		j->state = IDLE;
	}
	if (j->state == IDLE && a->k->lane.base.paused)
		a->k->lane.base.paused = false;
}

static void receiver_done(struct job *j, int32_t status)
{
	struct actor *a = j->actor;
	bool stopped = j->state == STOPPING;

	assert(j->state == RUNNING || stopped);
	if (status == WEFT_OK) {
		a->ok++;
		assert(mini_same(j->mem, j->c.len, j->seed));
		answer(j, WEFT_OK);
	} else if (status == WEFT_AGAIN) {
		a->frames++;
		answer(j, WEFT_AGAIN);
	} else {
		assert(status == WEFT_ECANCELED);
		a->canceled++;
		j->state = stopped ? ANNOUNCED : IDLE;
	}
	scribble(j);
}

/* ---- both ---- */

static void copy_done(struct wf_copy *c, int32_t status)
{
	struct job *j = (struct job *)c;

	if (j->actor->sender)
		sender_done(j, status);
	else
		receiver_done(j, status);
}

static void actor_step(struct actor *a)
{
	for (int i = 0; i < JOBS; i++)
		(a->sender ? step_sender : step_receiver)(&a->job[i]);
}

static void actor_open(struct actor *a, bool sender, bool regions, const struct wf_conf *conf, uint64_t seed)
{
	memset(a, 0, sizeof(*a));
	a->sender = sender;
	wf_rng_init(&a->rng, seed);
	node_open(&a->node, conf);
	a->region = (struct wf_region){ .len = (size_t)JOBS * BYTES, .id = 3 + sender };
	assert_int_equal(wf_memfd_new("t", a->region.len, &a->region.memfd), 0);
	assert_int_equal(wf_map_shared(a->region.memfd, a->region.len, true, &a->region.addr), 0);
	for (int i = 0; i < JOBS; i++) {
		struct job *j = &a->job[i];

		j->actor = a;
		j->region = regions && i % 2 ? &a->region : NULL;
		j->mem = (uint8_t *)a->region.addr + (size_t)i * BYTES;
		scribble(j);
	}
	mini_copy_done = copy_done;
}

static void actors_connect(struct actor *s, struct actor *r)
{
	link_pair(&s->node, &r->node, &s->k, &r->k);
	assert_true(s->k->up && r->k->up);
	for (int i = 0; i < 20; i++)
		node_turn(&r->node); /* learns the active side's rights */
	s->k->arg = s;
	r->k->arg = r;
	s->k->on_frame = sender_in;
	r->k->on_frame = receiver_in;
}

static void actor_close(struct actor *a)
{
	link_free(a->k);
	wf_unmap(&a->region.addr, a->region.len);
	wf_fd_close(&a->region.memfd);
	node_close(&a->node);
}

/* Every copy is stopped by its own side before its lane is closed, as core does. */
static bool all_quiet(struct actor *a)
{
	bool quiet = true;

	for (int i = 0; i < JOBS; i++) {
		struct job *j = &a->job[i];

		if (j->state == RUNNING) {
			wf_shm.copy_stop(&a->k->lane.base, &j->c);
			j->state = STOPPING;
		}
		quiet &= j->state != STOPPING;
	}
	return quiet;
}

enum { BOTH, READ_ONLY, WRITE_ONLY, CHANGING };

static void schedule(uint64_t seed, int rights, bool regions, uint64_t want)
{
	static struct actor s, r;
	struct wf_conf conf;
	struct wf_rng rng;
	uint64_t start_ns = wf_now_ns();

	wf_rng_init(&rng, seed);
	wf_conf_defaults(&conf);
	conf.copy_chunk = (size_t)4096 << wf_rng_below(&rng, 5);
	actor_open(&s, true, regions, &conf, seed + 1);
	actor_open(&r, false, regions, &conf, seed + 2);
	actors_connect(&s, &r);
	s.stop_per_1000 = r.stop_per_1000 = (unsigned)wf_rng_below(&rng, 60);
	while (r.ok + (rights == BOTH ? 0 : r.frames + s.frames) < want) {
		bool at_sender = wf_rng_hit(&rng, 0.5);

		if (rights == CHANGING || rights == WRITE_ONLY)
			r.k->lane.rights = rights == CHANGING && wf_rng_hit(&rng, 0.8);
		if (rights == CHANGING || rights == READ_ONLY)
			s.k->lane.rights = rights == CHANGING && wf_rng_hit(&rng, 0.8);
		actor_step(at_sender ? &s : &r);
		node_turn(at_sender ? &s.node : &r.node);
		mini_late(start_ns);
	}
	assert_false(s.k->down || r.k->down);
	for (bool done = false; !done; mini_late(start_ns)) {
		done = all_quiet(&s) & all_quiet(&r);
		node_turn(&s.node);
		node_turn(&r.node);
	}
	assert_int_equal(s.k->lane.copy_used & ~s.k->lane.copy_ended, 0);
	actor_close(&s);
	actor_close(&r);
}

static void test_seeded_schedules_lose_and_mix_no_byte(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++)
		schedule(seed * 1000, BOTH, seed % 2, 40);
}

static void test_one_side_without_rights_leaves_all_to_the_other(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		schedule(seed, READ_ONLY, seed % 2, 25);
		schedule(seed, WRITE_ONLY, seed % 2, 25);
	}
}

static void test_rights_that_come_and_go_end_in_frames_or_whole(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		schedule(seed + 50, CHANGING, seed % 2, 40);
}

/* ---- threads ---- */

#ifdef __SANITIZE_THREAD__
#define WHOLE 300                        /* transfers that come to their end; each takes ten times as long */
#else
#define WHOLE 1500
#endif

static _Atomic bool stop_all;
static _Atomic unsigned stopped;

static void *run_actor(void *arg)
{
	struct actor *a = arg;

	while (!atomic_load(&stop_all)) {
		actor_step(a);
		node_turn(&a->node);
		if (wf_rng_hit(&a->rng, a->sleep_chance))
			node_sleep(&a->node, 2);
		if (!a->sender && a->ok >= WHOLE)
			atomic_store(&stop_all, true);
	}
	while (!all_quiet(a))
		node_turn(&a->node);
	atomic_fetch_add(&stopped, 1);
	while (atomic_load(&stopped) < 2) /* the peer may still wait for a chunk of ours */
		node_turn(&a->node);
	return NULL;
}

static void threads(bool regions, unsigned stop_per_1000, double sleep_chance)
{
	static struct actor s, r;
	struct wf_conf conf;
	pthread_t thread;

	wf_conf_defaults(&conf);
	conf.copy_chunk = sleep_chance > 0 ? 16u << 10 : 256u << 10;
	actor_open(&s, true, regions, &conf, 1);
	actor_open(&r, false, regions, &conf, 2);
	actors_connect(&s, &r);
	s.stop_per_1000 = r.stop_per_1000 = stop_per_1000;
	s.sleep_chance = r.sleep_chance = sleep_chance;
	atomic_store(&stop_all, false);
	atomic_store(&stopped, 0);
	alarm(100);
	assert_int_equal(pthread_create(&thread, NULL, run_actor, &r), 0);
	run_actor(&s);
	pthread_join(thread, NULL);
	alarm(0);
	assert_false(s.k->down || r.k->down);
	printf("# %llu whole, %llu stopped at the receiver, %llu at the sender, sender copied %llu of %llu MiB\n",
	       (unsigned long long)r.ok, (unsigned long long)r.canceled, (unsigned long long)s.canceled,
	       (unsigned long long)r.k->lane.base.copy_peer >> 20,
	       (unsigned long long)(r.k->lane.base.copy_peer + r.k->lane.base.copy_us) >> 20);
	actor_close(&s);
	actor_close(&r);
}

static void test_two_threads_copy_plain_memory(void **state)
{
	(void)state;
	threads(false, 0, 0.05);
}

static void test_two_threads_stop_and_start_again(void **state)
{
	(void)state;
	threads(false, 30, 0.01);
	threads(true, 100, 0.05);
	threads(false, 200, 0);
	threads(true, 200, 0);
}

/* ---- bad peers, and no way ---- */

static void test_without_rights_and_mapping_frames_are_asked_for(void **state)
{
	static uint8_t mem[100000];
	weft_buf buf = { .addr = mem, .len = sizeof(mem) };
	struct wf_copy c = { .bufs = &buf, .n = 1, .len = sizeof(mem), .sender = true };
	struct node a, b;
	struct link *ka, *kb;
	struct wf_conf conf;

	(void)state;
	wf_conf_defaults(&conf);
	conf.cma = false;
	node_open(&a, &conf);
	node_open(&b, NULL);
	link_pair(&a, &b, &ka, &kb);
	c.lane = &ka->lane.base;
	assert_int_equal(wf_shm.copy_offer(&ka->lane.base, &c, NULL), WEFT_AGAIN);
	c.lane = &kb->lane.base;
	assert_int_equal(wf_shm.copy_offer(&kb->lane.base, &c, NULL), WEFT_AGAIN);
	link_free(ka);
	link_free(kb);
	node_close(&a);
	node_close(&b);
}

static void test_bad_descriptions_are_protocol_errors(void **state)
{
	static uint8_t mem[200000], to[200000];
	weft_buf buf = { .addr = mem, .len = sizeof(mem) }, dst = { .addr = to, .len = sizeof(to) };
	struct wf_rng r;

	(void)state;
	wf_rng_init(&r, 8);
	for (int round = 0; round < 200; round++) {
		struct wf_copy c = { .bufs = &buf, .n = 1, .len = sizeof(mem), .sender = true }, d = { 0 };
		struct shm_copy_slot *slot;
		struct node a, b;
		struct link *ka, *kb;
		int ret;

		node_open(&a, NULL);
		node_open(&b, NULL);
		link_pair(&a, &b, &ka, &kb);
		c.lane = &ka->lane.base;
		if (wf_shm.copy_offer(&ka->lane.base, &c, NULL) == WEFT_AGAIN) {
			link_free(ka);
			link_free(kb);
			node_close(&a);
			node_close(&b);
			return; /* no rights here at all */
		}
		d = (struct wf_copy){ .lane = &kb->lane.base, .bufs = &dst, .n = 1, .len = sizeof(to),
				      .desc_len = c.desc_len };
		memcpy(d.desc, c.desc, c.desc_len);
		slot = &ka->lane.tx.seg->copy[0];
		if (round % 3 == 0)
			mini_fill(d.desc, 1 + wf_rng_below(&r, d.desc_len), wf_rng_next(&r));
		else if (round % 3 == 1)
			mini_fill(&slot->src.where, 1 + wf_rng_below(&r, sizeof(slot->src.where)), wf_rng_next(&r));
		ret = wf_shm.copy_start(&kb->lane.base, &d, NULL);
		assert_true(ret == 0 || ret == WEFT_EPROTO || ret == WEFT_ECANCELED || ret == WEFT_AGAIN);
		for (int i = 0; i < 40; i++) {
			if (round % 3 == 2)
				atomic_store(&slot->claim, wf_rng_next(&r));
			node_turn(&b);
			node_turn(&a);
		}
		link_free(ka);
		link_free(kb);
		node_close(&a);
		node_close(&b);
	}
}

static void ignore_done(struct wf_copy *c, int32_t status)
{
	(void)c;
	(void)status;
}

static void test_nonsense_is_met_with_protocol_errors(void **state)
{
	mini_copy_done = ignore_done;
	test_bad_descriptions_are_protocol_errors(state);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_seeded_schedules_lose_and_mix_no_byte),
	cmocka_unit_test(test_one_side_without_rights_leaves_all_to_the_other),
	cmocka_unit_test(test_rights_that_come_and_go_end_in_frames_or_whole),
	cmocka_unit_test(test_two_threads_copy_plain_memory),
	cmocka_unit_test(test_two_threads_stop_and_start_again),
	cmocka_unit_test(test_without_rights_and_mapping_frames_are_asked_for),
	cmocka_unit_test(test_nonsense_is_met_with_protocol_errors),
};

UT_MAIN(tests)
