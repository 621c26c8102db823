/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm_attach.c - how two lanes of two processes come to share memory.
 *
 * The offer in the connection's hello names a UNIX listener in the abstract namespace (no file; gone with its
 * process) and a secret of the lane. The active side connects there, which works only on the same host and network
 * namespace, and sends HELLO: the peer lane's secret, its own, and three descriptors: its segment, the bell of its
 * worker, a pidfd of its process. The passive side finds the lane by the secret, checks, maps, and sends ANSWER
 * with the same three; it is up. The active side checks and maps: it is up too, and says in a note whether it may
 * copy straight from the peer's memory.
 *
 * Whoever connects and does not say a known secret is dropped without a word: such halves are few, for a short
 * time.
 */
#include "transports/shm/shm.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"

#define HALF_NS (2 * WF_NS_PER_S)
#define RETRY_NS (5 * WF_NS_PER_MS)

/* An accepted UNIX connection that belongs to no lane yet. */
struct shm_half {
	struct wf_list link;             /* port->halves */
	struct shm_port *port;
	struct wf_watch watch;
	uint64_t until;
	bool has_hello;                  /* for a lane that is not attached yet */
	int fd;
	int fds[SHM_FDS];
	struct shm_hello hello;
};

static bool secrets_equal(const uint8_t *a, const uint8_t *b)
{
	uint8_t diff = 0;

	for (unsigned i = 0; i < SHM_SECRET; i++) /* in the same time wherever they differ */
		diff |= a[i] ^ b[i];
	return !diff;
}

static void close_fds(int *fds, size_t n)
{
	while (n)
		wf_fd_close(&fds[--n]);
}

static void on_pidfd(void *arg, uint32_t events)
{
	(void)events;
	shm_peer_left(arg, true);
}

/* ---- halves ---- */

static void half_free(struct shm_half *h)
{
	wf_poll_del(h->port->base.poll, &h->watch);
	wf_list_remove(&h->link);
	h->port->n_halves--;
	close_fds(h->fds, SHM_FDS);
	wf_fd_close(&h->fd);
	wf_free(h);
}

void shm_drop_old_halves(struct shm_port *p, uint64_t now)
{
	struct wf_list *it;

	while ((it = wf_list_first(&p->halves))) {
		struct shm_half *h = wf_list_entry(it, struct shm_half, link);

		if (h->until > now) {
			shm_wake_at(p, h->until);
			return;
		}
		half_free(h);
	}
}

void shm_drop_all_halves(struct shm_port *p)
{
	shm_drop_old_halves(p, UINT64_MAX);
}

/* ---- the lane's own things ---- */

/* Once, by whichever of offer() and attach() comes first. 0 or -errno. */
static int lane_init(struct shm_lane *l)
{
	int ret;

	if (l->state != SHM_NEW)
		return 0;
	ret = wf_random(l->secret, sizeof(l->secret));
	if (!ret)
		ret = wf_random(l->nonce, sizeof(l->nonce));
	if (ret)
		return ret;
	wf_list_init(&l->hot);
	wf_list_init(&l->starved);
	wf_list_init(&l->timed);
	wf_list_init(&l->waiting);
	wf_list_init(&l->notice);
	wf_list_init(&l->directs);
	wf_map_init(&l->passed);
	wf_map_init(&l->maps);
	wf_watch_init(&l->sock_watch, shm_sock_event, l);
	wf_watch_init(&l->pid_watch, on_pidfd, l);
	l->peer_bell = l->peer_pidfd = l->sock = l->tx.fd = -1;
	l->state = SHM_OFFERED;
	return 0;
}

void shm_lane_release(struct shm_lane *l)
{
	struct wf_poll *poll = l->base.port->poll;
	struct shm_port *p = shm_lane_port(l);
	void *tx = l->tx.seg, *rx = l->rx.seg;

	wf_poll_del(poll, &l->sock_watch);
	wf_poll_del(poll, &l->pid_watch);
	wf_fd_close(&l->sock);
	wf_fd_close(&l->peer_bell);
	wf_fd_close(&l->peer_pidfd);
	wf_fd_close(&l->tx.fd);
	if (tx)
		p->mapped -= shm_segment_len(l->tx.ring);
	if (rx)
		p->mapped -= shm_segment_len(l->rx.ring);
	wf_unmap(&tx, shm_segment_len(l->tx.ring));
	wf_unmap(&rx, shm_segment_len(l->rx.ring));
	l->tx.seg = NULL;
	l->rx.seg = NULL;
}

static bool over_limit(struct shm_lane *l, uint32_t ring)
{
	const struct shm_port *p = shm_lane_port(l);

	return p->mapped + shm_segment_len(ring) > p->base.conf->limit_shm;
}

/* Few peers get long rings (G53); the more there are, the shorter is the next one. */
static uint32_t ring_for_next(const struct shm_port *p)
{
	size_t limit = p->base.conf->limit_shm, ring = p->base.conf->shm_ring;
	size_t left = limit > p->mapped ? limit - p->mapped : 0;

	while (ring > SHM_RING_SHORT && ring > left / SHM_RING_SHARE)
		ring /= 2;
	return (uint32_t)ring;
}

static bool make_segment(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);
	uint32_t ring = ring_for_next(p);
	void *seg = NULL;
	int ret;

	if (over_limit(l, ring)) {
		shm_fail(l, WEFT_ELIMIT, 0, "limit_shm is reached: %zu KiB of rings are mapped", p->mapped >> 10);
		return false;
	}
	while ((ret = wf_memfd_new("weft-ring", shm_segment_len(ring), &l->tx.fd)) == -EFBIG && ring > SHM_RING_SHORT)
		ring /= 2; /* RLIMIT_FSIZE */
	if (!ret)
		ret = wf_map_shared(l->tx.fd, shm_segment_len(ring), true, &seg);
	if (ret) {
		shm_fail(l, WEFT_ESYSTEM, -ret, "making shared memory: %s%s", strerror(-ret),
			 ret == -EFBIG ? " (ulimit -f unlimited)" : "");
		return false;
	}
	p->mapped += shm_segment_len(ring);
	l->tx.seg = seg;
	l->tx.ring = ring;
	l->tx.room = SHM_SLOTS;
	l->tx.pos_room = ring;
	l->base.frame_max = WF_MIN(SHM_FRAME_MAX, ring / 4);
	l->base.eager_max = (uint32_t)WF_MIN(l->base.port->conf->eager_max_shm, l->base.frame_max);
	l->base.inline_max = WF_MIN(SHM_INLINE, l->base.eager_max);
	l->base.can_copy = true;
	return true;
}

/* What the peer passed, checked and taken. False: the lane has failed. */
static bool take_peer(struct shm_lane *l, const struct shm_hello *h, int *fds)
{
	struct shm_port *p = shm_lane_port(l);
	size_t len = 0;
	void *seg = NULL;
	int ret;

	l->peer_bell = fds[SHM_FD_BELL];
	l->peer_pidfd = fds[SHM_FD_PID];
	fds[SHM_FD_BELL] = fds[SHM_FD_PID] = -1;
	if (h->ring < SHM_RING_MIN || h->ring > SHM_RING_MAX || !wf_is_pow2(h->ring)) {
		shm_fail(l, WEFT_EPROTO, 0, "the peer's ring of %u bytes is not allowed", h->ring);
		return false;
	}
	if (over_limit(l, h->ring)) {
		shm_fail(l, WEFT_ELIMIT, 0, "limit_shm is reached: %zu KiB of rings are mapped", p->mapped >> 10);
		return false;
	}
	ret = wf_memfd_check(fds[SHM_FD_SEGMENT], SHM_SEGMENT_MAX, &len);
	if (ret || len < shm_segment_len(h->ring)) {
		shm_fail(l, WEFT_EPROTO, -ret, "the peer passed memory without size seals, or too little");
		return false;
	}
	ret = wf_map_shared(fds[SHM_FD_SEGMENT], shm_segment_len(h->ring), true, &seg);
	wf_fd_close(&fds[SHM_FD_SEGMENT]);
	if (ret) {
		shm_fail(l, WEFT_ESYSTEM, -ret, "mapping the peer's memory: %s", strerror(-ret));
		return false;
	}
	p->mapped += shm_segment_len(h->ring);
	l->rx.seg = seg;
	l->rx.ring = h->ring;
	l->tx.fence = !p->membarrier || !(h->flags & SHM_HAS_MEMBARRIER);
	ret = wf_poll_add(p->base.poll, &l->pid_watch, l->peer_pidfd, EPOLLIN);
	if (ret) {
		shm_fail(l, WEFT_ESYSTEM, -ret, "watching the peer's process: %s", strerror(-ret));
		return false;
	}
	shm_rights_check(l, h);
	snprintf(l->base.peer, sizeof(l->base.peer), "pid %d", (int)l->pid);
	return true;
}

/* HELLO or ANSWER with our three descriptors. False: the lane has failed. */
static bool say(struct shm_lane *l, uint32_t what)
{
	struct shm_port *p = shm_lane_port(l);
	struct shm_hello h = { .magic = SHM_MAGIC, .what = what, .version = SHM_VERSION, .ring = l->tx.ring,
			       .nonce_addr = (uintptr_t)l->nonce };
	int fds[SHM_FDS] = { l->tx.fd, p->bell_fd, -1 };
	int ret = wf_pidfd_open(wf_pid(), &fds[SHM_FD_PID]);

	h.flags = (p->membarrier ? SHM_HAS_MEMBARRIER : 0) | (l->rights ? SHM_HAS_RIGHTS : 0) |
		  (p->base.conf->cma ? SHM_WANTS_CMA : 0);
	memcpy(h.to, l->peer_secret, SHM_SECRET);
	memcpy(h.from, l->secret, SHM_SECRET);
	memcpy(h.nonce, l->nonce, SHM_SECRET);
	if (!ret)
		ret = wf_unix_send(l->sock, &h, sizeof(h), fds, SHM_FDS);
	wf_fd_close(&fds[SHM_FD_PID]);
	if (!ret)
		return true;
	shm_fail(l, WEFT_ESYSTEM, -ret, "passing descriptors: %s", strerror(-ret));
	return false;
}

/* One HELLO or ANSWER with its three descriptors: 1 and all of @fds; 0: it has not come; -1: something else came. */
static int hear(int fd, uint32_t what, struct shm_hello *out, int *fds_out)
{
	int fds[WF_FDS_MAX];
	size_t n = 0;
	ssize_t k = wf_unix_recv(fd, out, sizeof(*out), fds, &n);

	if (k == -EAGAIN)
		return 0;
	if (k == (ssize_t)sizeof(*out) && n == SHM_FDS && out->magic == SHM_MAGIC && out->what == what &&
	    out->version == SHM_VERSION) {
		memcpy(fds_out, fds, sizeof(int) * SHM_FDS);
		return 1;
	}
	close_fds(fds, n);
	return -1;
}

/* ---- offer ---- */

static int open_listener(struct shm_port *p)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t random[8];
	int ret;

	if (p->listen_fd >= 0)
		return 0;
	ret = wf_random(random, sizeof(random));
	if (ret)
		return ret;
	memcpy(p->name, "weft-shm", 8);
	for (unsigned i = 0; i < 16; i++)
		p->name[8 + i] = digits[(random[i / 2] >> (i % 2 * 4)) & 15];
	ret = wf_unix_listen(p->name, SHM_NAME, &p->listen_fd);
	if (ret)
		return ret;
	ret = wf_poll_add(p->base.poll, &p->listen, p->listen_fd, EPOLLIN);
	if (ret)
		wf_fd_close(&p->listen_fd);
	return ret;
}

size_t shm_offer(struct wf_lane *base, void *out, size_t cap)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_port *p = shm_lane_port(l);
	struct shm_offer o = { .version = SHM_VERSION, .name_len = SHM_NAME, .uid = wf_uid() };
	int ret;

	if (cap < sizeof(o))
		return 0;
	ret = open_listener(p);
	if (!ret)
		ret = lane_init(l);
	if (ret) {
		snprintf(base->why, sizeof(base->why), "a UNIX socket: %s", strerror(-ret));
		return 0;
	}
	memcpy(o.secret, l->secret, SHM_SECRET);
	memcpy(o.name, p->name, SHM_NAME);
	memcpy(out, &o, sizeof(o));
	return sizeof(o);
}

/* ---- passive ---- */

static void be_answered(struct shm_lane *l, struct shm_half *h)
{
	struct shm_port *p = shm_lane_port(l);
	int ret;

	wf_poll_del(p->base.poll, &h->watch);
	l->sock = h->fd;
	h->fd = -1;
	wf_list_remove(&l->waiting);
	if (!secrets_equal(h->hello.from, l->peer_secret))
		shm_fail(l, WEFT_EPROTO, 0, "the peer's secret is not the one that it offered");
	else if (take_peer(l, &h->hello, h->fds) && say(l, SHM_ANSWER)) {
		ret = wf_poll_add(p->base.poll, &l->sock_watch, l->sock, EPOLLIN);
		if (ret)
			shm_fail(l, WEFT_ESYSTEM, -ret, "watching the UNIX socket: %s", strerror(-ret));
		else
			shm_set_up(l);
	}
	if (l->state == SHM_DOWN)
		wf_fd_close(&l->sock); /* the peer shall not wait */
	half_free(h);
}

/* Gives a half that has said its hello to its lane, if that waits by now. */
static void match_half(struct shm_half *h)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &h->port->waiting) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, waiting);

		if (secrets_equal(h->hello.to, l->secret)) {
			be_answered(l, h);
			return;
		}
	}
}

static void on_half(void *arg, uint32_t events)
{
	struct shm_half *h = arg;
	int got;

	(void)events;
	got = h->has_hello ? -1 : hear(h->fd, SHM_HELLO, &h->hello, h->fds);
	if (got == 0)
		return;
	if (got < 0) {
		half_free(h);
		return;
	}
	h->has_hello = true;
	match_half(h);
}

static void half_new(struct shm_port *p, int fd)
{
	struct shm_half *h;

	if (p->n_halves >= SHM_HALVES) /* who means it has said so at once */
		half_free(wf_list_entry(wf_list_first(&p->halves), struct shm_half, link));
	h = wf_calloc(1, sizeof(*h));
	if (!h) {
		wf_fd_close(&fd);
		return;
	}
	*h = (struct shm_half){ .port = p, .fd = fd, .fds = { -1, -1, -1 }, .until = wf_now_ns() + HALF_NS };
	wf_watch_init(&h->watch, on_half, h);
	wf_list_push_back(&p->halves, &h->link);
	p->n_halves++;
	shm_wake_at(p, h->until);
	if (wf_poll_add(p->base.poll, &h->watch, fd, EPOLLIN)) {
		half_free(h);
		return;
	}
	on_half(h, EPOLLIN);
}

void shm_on_connection(void *arg, uint32_t events)
{
	struct shm_port *p = arg;

	(void)events;
	for (unsigned i = 0; i < SHM_HALVES; i++) {
		int fd;

		/* Short of descriptors: the peer waits in the queue and tries tcp when that takes too long. */
		if (wf_unix_accept(p->listen_fd, &fd))
			return;
		half_new(p, fd);
	}
}

static void wait_for_peer(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);
	struct wf_list *it, *tmp;

	l->state = SHM_WAITING;
	wf_list_push_back(&p->waiting, &l->waiting);
	wf_list_foreach(it, tmp, &p->halves) {
		struct shm_half *h = wf_list_entry(it, struct shm_half, link);

		if (h->has_hello && secrets_equal(h->hello.to, l->secret)) {
			be_answered(l, h);
			return;
		}
	}
}

/* ---- active ---- */

/* The watch of an active lane's socket until the answer is there. */
static void on_answer(void *arg, uint32_t events)
{
	struct shm_lane *l = arg;
	int fds[SHM_FDS] = { -1, -1, -1 };
	struct shm_hello h;
	struct shm_note note = { .magic = SHM_MAGIC, .what = SHM_RIGHTS };
	int got = hear(l->sock, SHM_ANSWER, &h, fds);

	(void)events;
	if (got == 0)
		return;
	l->sock_watch.fn = shm_sock_event;
	if (got < 0 || !secrets_equal(h.to, l->secret) || !secrets_equal(h.from, l->peer_secret)) {
		wf_poll_del(l->base.port->poll, &l->sock_watch);
		shm_fail(l, WEFT_EREFUSED, 0, "the peer refused to share memory");
	} else if (take_peer(l, &h, fds)) {
		shm_rights_heard(l, h.flags & SHM_HAS_RIGHTS);
		note.id = l->rights;
		wf_unix_send(l->sock, &note, sizeof(note), NULL, 0);
		shm_set_up(l);
	}
	close_fds(fds, SHM_FDS);
}

void shm_try_connect(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);
	int ret = wf_unix_connect(l->peer_name, l->peer_name_len, &l->sock);

	if (ret == -EAGAIN && wf_now_ns() < l->give_up_at) { /* the peer's queue is full */
		shm_set_deadline(l, wf_now_ns() + RETRY_NS);
		return;
	}
	if (ret) {
		shm_fail(l, WEFT_EUNREACHABLE, -ret, "not on the same host or network namespace: connect: %s",
			 strerror(-ret));
		return;
	}
	l->state = SHM_ASKED;
	l->sock_watch.fn = on_answer;
	shm_set_deadline(l, l->give_up_at);
	if (!say(l, SHM_HELLO))
		return;
	ret = wf_poll_add(p->base.poll, &l->sock_watch, l->sock, EPOLLIN);
	if (ret)
		shm_fail(l, WEFT_ESYSTEM, -ret, "watching the UNIX socket: %s", strerror(-ret));
}

int shm_attach(struct wf_lane *base, bool active, const void *offer, size_t len)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_offer o;
	int ret = lane_init(l);

	if (ret)
		return wf_fail(wf_status_of_errno(-ret), -ret, "shm", NULL, "random bytes for a secret");
	if (len < sizeof(o) || ((const uint8_t *)offer)[0] != SHM_VERSION) {
		shm_fail(l, WEFT_EVERSION, 0, "the peer speaks another version of shm");
		return 0;
	}
	memcpy(&o, offer, sizeof(o));
	if (!o.name_len || o.name_len > SHM_NAME) {
		shm_fail(l, WEFT_EPROTO, 0, "the peer's offer of shm is malformed");
		return 0;
	}
	memcpy(l->peer_secret, o.secret, SHM_SECRET);
	memcpy(l->peer_name, o.name, SHM_NAME);
	l->peer_name_len = o.name_len;
	if (!make_segment(l))
		return 0;
	if (!active) {
		wait_for_peer(l);
		return 0;
	}
	l->active = true;
	l->state = SHM_CONNECTING;
	l->give_up_at = wf_now_ns() + base->port->conf->connect_timeout_ns / 2;
	shm_try_connect(l);
	return 0;
}
