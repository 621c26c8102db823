/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm_mini.h - stands in for core in the tests of the shm transport: a node is a worker with one shm port, a link
 * one lane on it. All upcalls end here; a test sets the callbacks that it wants. Included once by each test
 * program.
 */
#ifndef SHM_MINI_H
#define SHM_MINI_H
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/rng.h"
#include "transports/shm/shm.h"

#define MINI_LIMIT_NS (20 * WF_NS_PER_S)   /* no test waits longer for anything */

struct node {
	struct shm_port port;            /* first */
	struct wf_poll poll;
	struct wf_conf conf;
	struct wf_log log;
	uint64_t wake_at;
	unsigned turns, sleeps;
};

struct link {
	struct shm_lane lane;            /* first */
	struct node *node;
	bool up, down, room;
	int32_t status;
	char cause[160];
	uint32_t tx_seq, rx_seq;
	int (*on_frame)(struct link *k, const struct wf_frame *h, const void *payload);
	void *arg;
};

static void (*mini_copy_done)(struct wf_copy *c, int32_t status);

/* ---- upcalls ---- */

static inline struct link *link_of(struct wf_lane *l)
{
	return (struct link *)l->owner;
}

void wf_lane_up(struct wf_lane *l)
{
	assert(!link_of(l)->up && !link_of(l)->down);
	link_of(l)->up = l->up = true;
}

void wf_lane_down(struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct link *k = link_of(l);

	(void)sys_errno;
	assert(!k->down && status < 0);
	k->down = l->down = true;
	k->status = status;
	snprintf(k->cause, sizeof(k->cause), "%s", cause);
}

void wf_lane_room(struct wf_lane *l)
{
	link_of(l)->room = true;
}

int wf_frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload)
{
	struct link *k = link_of(l);
	int ret;

	assert(k->up && !k->down);
	ret = k->on_frame ? k->on_frame(k, h, payload) : 0;
	if (ret == WEFT_AGAIN)
		l->paused = true;
	return ret;
}

/* Never as simple as that here: every frame comes by wf_frame_in(). What core says to short ones is the conformance suite's. */
bool wf_frame_short(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *payload, uint32_t len)
{
	(void)l, (void)seq, (void)tag, (void)payload, (void)len;
	return false;
}

void wf_copy_done(struct wf_copy *c, int32_t status)
{
	assert(mini_copy_done);
	mini_copy_done(c, status);
}

void wf_port_wake_at(struct wf_port *p, uint64_t at_ns)
{
	((struct node *)(void *)p)->wake_at = at_ns;
}

void wf_sent_done(struct wf_sent *s)
{
	s->done(s);
}

/* ---- nodes ---- */

static inline void node_open(struct node *n, const struct wf_conf *conf)
{
	memset(n, 0, sizeof(*n));
	if (conf)
		n->conf = *conf;
	else
		wf_conf_defaults(&n->conf);
	assert(!wf_poll_init(&n->poll));
	wf_log_init(&n->log, NULL, NULL, 0);
	n->port.base = (struct wf_port){ .tr = &wf_shm, .poll = &n->poll, .conf = &n->conf, .log = &n->log };
	wf_list_init(&n->port.base.lanes);
	assert(!wf_shm.open(&n->port.base));
}

static inline void node_close(struct node *n)
{
	wf_shm.close(&n->port.base);
	wf_poll_fini(&n->poll);
}

static inline int node_turn(struct node *n)
{
	int did = 0;

	if (n->turns++ % 8 == 0)
		did = wf_poll_run(&n->poll, 0, 16);
	return did + wf_shm.poll(&n->port.base);
}

/* Sleeps until something happens, as core does. */
static inline void node_sleep(struct node *n, int timeout_ms)
{
	if (!n->port.base.busy && wf_shm.arm(&n->port.base) == WEFT_OK) {
		if (n->wake_at) {
			uint64_t now = wf_now_ns();
			int left = n->wake_at > now ? (int)((n->wake_at - now) / WF_NS_PER_MS) + 1 : 0;

			timeout_ms = WF_MIN(timeout_ms, left);
		}
		n->sleeps++;
		wf_poll_run(&n->poll, timeout_ms, 16);
	}
	wf_shm.disarm(&n->port.base);
	wf_shm.poll(&n->port.base);
}

static inline struct link *link_new(struct node *n)
{
	struct link *k = calloc(1, sizeof(*k));

	assert(k);
	k->node = n;
	k->lane.base.tr = &wf_shm;
	k->lane.base.port = &n->port.base;
	k->lane.base.owner = k;
	wf_list_push_back(&n->port.base.lanes, &k->lane.base.link);
	return k;
}

static inline void link_free(struct link *k)
{
	wf_shm.lane_close(&k->lane.base);
	wf_list_remove(&k->lane.base.link);
	free(k);
}

static inline void mini_late(uint64_t start)
{
	assert(wf_now_ns() - start < MINI_LIMIT_NS);
}

/* Connects two nodes of this process. */
static inline void link_pair(struct node *a, struct node *b, struct link **ka, struct link **kb)
{
	uint8_t oa[WF_DESC_MAX], ob[WF_DESC_MAX];
	uint64_t start = wf_now_ns();
	size_t na, nb;

	*ka = link_new(a);
	*kb = link_new(b);
	na = wf_shm.offer(&(*ka)->lane.base, oa, sizeof(oa));
	nb = wf_shm.offer(&(*kb)->lane.base, ob, sizeof(ob));
	assert(na && nb);
	assert(!wf_shm.attach(&(*kb)->lane.base, false, oa, na));
	assert(!wf_shm.attach(&(*ka)->lane.base, true, ob, nb));
	while (!((*ka)->up && (*kb)->up) && !(*ka)->down && !(*kb)->down) {
		node_turn(a);
		node_turn(b);
		mini_late(start);
	}
}

/* Connects over @fd to the process that does the same with the other value of @active. */
static inline struct link *link_over(struct node *n, int fd, bool active)
{
	uint8_t mine[160] = { 0 }, theirs[160];
	struct link *k = link_new(n);
	uint64_t start = wf_now_ns();
	size_t len = wf_shm.offer(&k->lane.base, mine, sizeof(mine));
	ssize_t got;

	assert(len);
	if (active) {
		got = read(fd, theirs, sizeof(theirs));
		assert(got == (ssize_t)len && write(fd, mine, len) == (ssize_t)len);
		assert(read(fd, mine, 1) == 1); /* the other side waits now */
	} else {
		assert(write(fd, mine, len) == (ssize_t)len);
		got = read(fd, theirs, sizeof(theirs));
		assert(got == (ssize_t)len && write(fd, mine, 1) == 1);
	}
	assert(!wf_shm.attach(&k->lane.base, active, theirs, len));
	while (!k->up && !k->down) {
		node_turn(n);
		mini_late(start);
	}
	return k;
}

/* ---- frames ---- */

static inline int link_send(struct link *k, uint8_t type, uint64_t tag, const void *p, size_t len)
{
	weft_buf buf = { .addr = (void *)(uintptr_t)p, .len = len };
	struct wf_tx tx = { .h = { .len = (uint32_t)len, .seq = k->tx_seq, .type = type, .tag = tag },
			    .bufs = &buf, .n = 1, .len = len };
	int ret = wf_shm.send(&k->lane.base, &tx);

	if (ret == WEFT_OK)
		k->tx_seq++;
	return ret;
}

/* Bytes that follow from a seed. */
static inline void mini_fill(void *p, size_t len, uint64_t seed)
{
	struct wf_rng r;
	uint8_t *b = p;

	wf_rng_init(&r, seed);
	while (len) {
		uint64_t v = wf_rng_next(&r);
		size_t k = WF_MIN(len, sizeof(v));

		memcpy(b, &v, k);
		b += k;
		len -= k;
	}
}

static inline bool mini_same(const void *p, size_t len, uint64_t seed)
{
	struct wf_rng r;
	const uint8_t *b = p;

	wf_rng_init(&r, seed);
	while (len) {
		uint64_t v = wf_rng_next(&r);
		size_t k = WF_MIN(len, sizeof(v));

		if (memcmp(b, &v, k))
			return false;
		b += k;
		len -= k;
	}
	return true;
}

#endif
