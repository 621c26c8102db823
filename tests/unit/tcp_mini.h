/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp_mini.h - the smallest core that a tcp lane can live in: two workers ("worlds", an epoll set
 * and a port each) in one process, upcalls that note what came, and a payload that both sides can
 * compute from tag and index. Programs that include this link base, os, wire and transports/tcp,
 * and not core, whose upcalls it defines.
 */
#ifndef WT_TCP_MINI_H
#define WT_TCP_MINI_H

#include "unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/rng.h"
#include "os/addr.h"
#include "os/clock.h"
#include "os/proc.h"
#include "os/sock.h"
#include "transports/tcp/tcp.h"

#define MAYBE __attribute__((unused))
#define LIMIT_NS (10 * WF_NS_PER_S)

struct world {
	struct wf_poll poll;
	struct wf_conf conf;
	struct wf_log log;
	struct wf_port *port;
	uint64_t wake_at;
};

/* One side of a lane, and what has come of it. */
struct end {
	struct wf_lane *l;
	int up, down, room, refuse, ends;
	int32_t status;
	int sys_errno;
	char cause[200];
	uint64_t n_in, bytes_in, next_tag, tx_tag;
	bool bad;                        /* wrong bytes or order */
	bool stay_paused;                /* refuse for good, until a test resumes */
	bool sink;                       /* offer sinks */
	size_t sink_less;                /* that many bytes of each payload are not kept */
	char *mem;
	weft_buf bufs[5];
	struct wf_rng rng;
	void (*on_frame)(struct end *e); /* instead of refusing: something inside the upcall */
};

struct parcel {
	struct wf_sent sent;
	struct wf_list link;             /* in `lent` */
	char *mem;
	size_t len;
	weft_buf bufs[4];
};

static struct world world[2];
static struct end *accepted[4096];
static int n_accepted, acceptor_failed, in_row, n_lent;
static struct wf_list lent;

#define ROW(call)               \
	do {                    \
		in_row++;       \
		call;           \
		in_row--;       \
	} while (0)

static MAYBE char byte_at(uint64_t tag, size_t i)
{
	return (char)(tag * 37 + i * 11 + (i >> 8));
}

static MAYBE void fill(char *p, uint64_t tag, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = byte_at(tag, i);
}

static bool is_right(const char *p, uint64_t tag, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte_at(tag, i))
			return false;
	return true;
}

static struct end *end_of(struct wf_lane *l)
{
	assert_int_equal(in_row, 0); /* no upcall from inside a row */
	return l->owner;
}

/* ---- upcalls ---- */

void wf_lane_up(struct wf_lane *l)
{
	end_of(l)->up++;
}

void wf_lane_down(struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct end *e = end_of(l);

	e->down++;
	e->status = status;
	e->sys_errno = sys_errno;
	snprintf(e->cause, sizeof(e->cause), "%s", cause);
}

void wf_lane_room(struct wf_lane *l)
{
	end_of(l)->room++;
}

/* True: not now. */
static bool refuses(struct end *e)
{
	if (!e->stay_paused && !e->refuse)
		return false;
	if (e->refuse)
		e->refuse--;
	e->l->paused = true;
	return true;
}

static void took(struct end *e, const struct wf_frame *h, bool right)
{
	e->bad = e->bad || !right || h->tag != e->next_tag;
	e->next_tag = h->tag + 1;
	e->n_in++;
	e->bytes_in += h->len;
}

int wf_frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload)
{
	struct end *e = end_of(l);

	assert_false(l->paused);
	assert_null(wf_frame_check(h));
	if (e->on_frame)
		e->on_frame(e);
	if (refuses(e))
		return WEFT_AGAIN;
	took(e, h, is_right(payload, h->tag, h->len));
	return 0;
}

static void sink_end(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h)
{
	struct end *e = end_of(l);
	char *flat = malloc(h->len + 1);

	assert_int_equal(s->done, h->len);
	wf_bufs_copy_out(flat, s->bufs, s->n, s->off, s->keep);
	took(e, h, is_right(flat, h->tag, s->keep));
	for (size_t i = 0; e->mem && i < 3 + h->len; i++) /* around what is kept nothing was touched */
		if ((i < 3 || i >= 3 + s->keep) && e->mem[i] != 0x5a)
			e->bad = true;
	free(flat);
	free(e->mem);
	e->mem = NULL;
	e->ends++;
}

/* Memory for @len bytes in up to five pieces of random length, behind three bytes that are not to be touched. */
static void make_sink(struct end *e, struct wf_sink *s, size_t len)
{
	size_t at = 0, n = 0;

	e->mem = malloc(len + 4);
	memset(e->mem, 0x5a, len + 4);
	while (n < 5) {
		size_t k = n == 4 ? len + 3 - at : wf_rng_below(&e->rng, len + 4 - at);

		e->bufs[n++] = (weft_buf){ .addr = e->mem + at, .len = k };
		at += k;
	}
	s->bufs = e->bufs;
	s->n = 5;
	s->off = 3;
	s->keep = len > e->sink_less ? len - e->sink_less : 0;
	s->end = sink_end;
}

int wf_sink_begin(struct wf_lane *l, const struct wf_frame *h)
{
	struct end *e = end_of(l);

	assert_false(l->paused);
	if (refuses(e))
		return WEFT_AGAIN;
	if (!e->sink)
		return WEFT_PENDING;
	make_sink(e, &l->sink, h->len);
	return WEFT_OK;
}

void wf_sent_done(struct wf_sent *s)
{
	assert_int_equal(in_row, 0);
	s->done(s);
}

void wf_port_wake_at(struct wf_port *p, uint64_t at_ns)
{
	world[p == world[1].port].wake_at = at_ns;
}

static struct end *end_new(struct world *w)
{
	struct end *e = calloc(1, sizeof(*e));

	e->l = calloc(1, wf_tcp.lane_size);
	e->l->tr = &wf_tcp;
	e->l->port = w->port;
	e->l->owner = e;
	wf_rng_init(&e->rng, 7);
	return e;
}

struct wf_lane *wf_lane_new_incoming(struct wf_acceptor *a)
{
	assert_int_equal(in_row, 0);
	return end_new(&world[a->port == world[1].port])->l;
}

void wf_lane_accepted(struct wf_acceptor *a, struct wf_lane *l)
{
	(void)a;
	assert_true(n_accepted < 4096);
	accepted[n_accepted++] = end_of(l);
}

void wf_acceptor_failed(struct wf_acceptor *a, int32_t status, int sys_errno, const char *cause)
{
	(void)a, (void)status, (void)sys_errno, (void)cause;
	acceptor_failed++;
}

/* ---- worlds ---- */

static MAYBE void turn(void)
{
	for (int i = 0; i < 2; i++) {
		wf_tcp.poll(world[i].port);
		wf_poll_run(&world[i].poll, 0, WF_POLL_BATCH);
	}
}

#define WAIT(cond)                                             \
	do {                                                   \
		uint64_t until_ = wf_now_ns() + LIMIT_NS;      \
		while (!(cond)) {                              \
			turn();                                \
			assert_true(wf_now_ns() < until_);     \
		}                                              \
	} while (0)

static MAYBE int worlds_up(void **state)
{
	(void)state;
	n_accepted = acceptor_failed = n_lent = 0;
	wf_list_init(&lent);
	for (int i = 0; i < 2; i++) {
		struct world *w = &world[i];

		memset(w, 0, sizeof(*w));
		wf_conf_defaults(&w->conf);
		assert_int_equal(wf_poll_init(&w->poll), 0);
		w->port = calloc(1, wf_tcp.port_size);
		w->port->tr = &wf_tcp;
		w->port->poll = &w->poll;
		w->port->conf = &w->conf;
		w->port->log = &w->log;
		w->port->bell_fd = -1;
		wf_list_init(&w->port->lanes);
		assert_int_equal(wf_tcp.open(w->port), 0);
	}
	return 0;
}

static void parcel_free(struct parcel *p)
{
	wf_list_remove(&p->link);
	memset(p->mem, 0xee, p->len); /* nobody looks at it any more */
	free(p->mem);
	free(p);
}

/* A test ends its lanes and acceptors itself: nothing may be watched any more. */
static MAYBE int worlds_down(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(world[i].poll.n_watch, 0);
		wf_tcp.close(world[i].port);
		wf_poll_fini(&world[i].poll);
		free(world[i].port);
	}
	while (!wf_list_is_empty(&lent)) /* what a lane had when it was closed or went down */
		parcel_free(wf_list_entry(wf_list_first(&lent), struct parcel, link));
	return 0;
}

static MAYBE void end_close(struct end *e)
{
	ROW(wf_tcp.lane_close(e->l));
	free(e->mem);
	free(e->l);
	free(e);
}

static MAYBE void listen_at(struct wf_acceptor *a, const char *at, char *bound, size_t cap)
{
	memset(a, 0, sizeof(*a));
	a->port = world[1].port;
	assert_int_equal(wf_tcp.listen(a, at, bound, cap), 0);
}

/* @a in world 0 connected to @b in world 1. */
static MAYBE void pair_at(const char *at, struct end **a_out, struct end **b_out)
{
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	struct end *a;
	int ret;

	listen_at(&acc, at, bound, sizeof(bound));
	a = end_new(&world[0]);
	ROW(ret = wf_tcp.connect(a->l, bound));
	assert_int_equal(ret, 0);
	assert_int_equal(a->up + a->down, 0);
	WAIT(a->up && n_accepted);
	assert_string_equal(a->l->peer, bound);
	wf_tcp.unlisten(&acc);
	*a_out = a;
	*b_out = accepted[--n_accepted];
}

static MAYBE void make_pair(struct end **a_out, struct end **b_out)
{
	pair_at("127.0.0.1:0", a_out, b_out);
}

static void parcel_done(struct wf_sent *s)
{
	n_lent--;
	parcel_free(wf_container_of(s, struct parcel, sent));
}

/* Sends the next frame of @e, its payload in up to four pieces, the first @pre bytes apart. As send(). */
static MAYBE int post(struct end *e, size_t len, size_t pre, bool lend)
{
	struct parcel *p = calloc(1, sizeof(*p));
	size_t at = pre, n = 0;
	struct wf_tx tx = { .h = { .len = (uint32_t)len, .type = WF_FR_EAGER, .tag = e->tx_tag } };
	int ret;

	tx.h.seq = e->l->tx_seq;
	p->len = len;
	p->mem = malloc(len + 1);
	wf_list_init(&p->link);
	fill(p->mem, e->tx_tag, len);
	p->sent.done = parcel_done;
	while (n < 4) {
		size_t k = n == 3 ? len - at : wf_rng_below(&e->rng, len - at + 1);

		p->bufs[n++] = (weft_buf){ .addr = p->mem + at, .len = k };
		at += k;
	}
	tx.pre = p->mem;
	tx.pre_len = pre;
	tx.bufs = p->bufs;
	tx.n = 4;
	tx.len = len - pre;
	tx.sent = lend ? &p->sent : NULL;
	ROW(ret = wf_tcp.send(e->l, &tx));
	if (ret == WEFT_OK || ret == WEFT_PENDING) {
		e->tx_tag++;
		e->l->tx_seq++;
	}
	if (ret == WEFT_PENDING) {
		assert_true(lend);
		n_lent++;
		wf_list_push_back(&lent, &p->link);
	} else {
		parcel_free(p);
	}
	return ret;
}

static MAYBE void resume(struct end *e)
{
	e->l->paused = false;
	ROW(wf_tcp.resume(e->l));
}

/* ---- a peer that is only a socket ---- */

static MAYBE int raw_connect(const char *bound)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	struct wf_addr at;

	assert_int_equal(wf_addr_parse(bound, &at), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at.sa, at.len), 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* A raw socket connected to a lane in world 1. */
static MAYBE int raw_pair(struct end **b_out)
{
	struct wf_acceptor acc;
	char bound[WF_ADDR_TEXT];
	int fd;

	listen_at(&acc, "127.0.0.1:0", bound, sizeof(bound));
	fd = raw_connect(bound);
	WAIT(n_accepted);
	wf_tcp.unlisten(&acc);
	*b_out = accepted[--n_accepted];
	return fd;
}

/* A frame as it is on the wire, malloc'ed. */
static MAYBE char *wire_frame(uint64_t tag, size_t len, size_t *n_out)
{
	struct wf_frame h = { .len = (uint32_t)len, .type = WF_FR_EAGER, .tag = tag };
	char *p = malloc(sizeof(h) + len);

	memcpy(p, &h, sizeof(h));
	fill(p + sizeof(h), tag, len);
	*n_out = sizeof(h) + len;
	return p;
}

static MAYBE void raw_write(int fd, const void *p, size_t n)
{
	assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

#endif
