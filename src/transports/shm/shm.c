/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm.c - the port: its table of rows, which lanes are looked at and when, sleeping and waking, and how a lane's
 * end comes about.
 *
 * poll() walks the hot lanes and, only while there are any, the chores: lanes whose owner has to be told
 * something, deadlines, lanes without room, large copies. Upcalls may close other lanes, so every walk either pops
 * from its list or goes on from port->next, which closing a lane moves.
 */
#include "transports/shm/shm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"

#define LEFT_GRACE_NS (20 * WF_NS_PER_MS)   /* between the end of the socket and the pidfd, of a dying process */
#define DRAIN_NS (60 * WF_NS_PER_MS)        /* for core to take what a dead peer left in the ring */

/* ---- hot and parked ---- */

void shm_hot_add(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);

	wf_list_push_back(&p->hot, &l->hot);
	p->n_hot++;
	l->parked = false;
	l->seen = p->round;
}

static void hot_remove(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);

	if (!wf_list_is_linked(&l->hot))
		return;
	if (p->next == l)
		p->next = wf_list_entry(l->hot.next, struct shm_lane, hot);
	wf_list_remove(&l->hot);
	if (!l->parked)
		p->n_hot--;
	l->parked = false;
}

void shm_unpark(struct shm_lane *l)
{
	wf_list_remove(&l->hot);
	/* while the port is armed the lane has to stay asleep like the others */
	if (!shm_lane_port(l)->armed)
		atomic_store_explicit(&l->rx.seg->asleep, 0, memory_order_relaxed);
	shm_hot_add(l);
}

/* The bell rang: whose lane lost its `asleep` has something for us. */
static void look_at_parked(struct shm_port *p)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->parked) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, hot);

		if (!atomic_load_explicit(&l->rx.seg->asleep, memory_order_relaxed))
			shm_unpark(l);
	}
}

static void on_bell(void *arg, uint32_t events)
{
	struct shm_port *p = arg;

	(void)events;
	/* drained first: what is published later rings again */
	wf_bell_drain(p->bell_fd);
	look_at_parked(p);
}

/* `asleep` is set; now every sender sees it, or we see what it sent. Pairs with send_slot() and shm_wake(). */
static void sleeper_fence(const struct shm_port *p)
{
	if (p->membarrier)
		wf_membarrier();
	/* also for senders that fence themselves because one side has no membarrier */
	atomic_thread_fence(memory_order_seq_cst);
}

/* Lanes without a frame since the last look are parked. */
static void park(struct shm_port *p)
{
	struct wf_list parked, *it, *tmp;

	p->round++;
	wf_list_init(&parked);
	wf_list_foreach(it, tmp, &p->hot) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, hot);

		if (p->round - l->seen < 2 || l->base.paused || l->state != SHM_UP)
			continue;
		hot_remove(l);
		atomic_store_explicit(&l->rx.seg->asleep, 1, memory_order_relaxed);
		wf_list_push_back(&parked, it);
		l->parked = true;
	}
	if (wf_list_is_empty(&parked))
		return;
	sleeper_fence(p);
	while ((it = wf_list_pop_front(&parked))) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, hot);

		wf_list_push_back(&p->parked, it);
		if (shm_rx_is_ready(l))
			shm_unpark(l);
	}
}

/* ---- the end of a lane ---- */

void shm_wake_at(struct shm_port *p, uint64_t at_ns)
{
	p->chores = true;
	if (p->wake_at && p->wake_at <= at_ns)
		return;
	p->wake_at = at_ns;
	wf_port_wake_at(&p->base, at_ns);
}

void shm_set_deadline(struct shm_lane *l, uint64_t at_ns)
{
	struct shm_port *p = shm_lane_port(l);

	l->deadline = at_ns;
	if (!wf_list_is_linked(&l->timed))
		wf_list_push_back(&p->timed, &l->timed);
	shm_wake_at(p, at_ns);
}

static void notify(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);

	if (!wf_list_is_linked(&l->notice))
		wf_list_push_back(&p->notices, &l->notice);
	p->chores = true;
}

void shm_fail(struct shm_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...)
{
	va_list args;

	if (l->state == SHM_DOWN)
		return;
	va_start(args, cause_fmt);
	vsnprintf(l->cause, sizeof(l->cause), cause_fmt, args);
	va_end(args);
	l->state = SHM_DOWN;
	l->down_status = status;
	l->down_errno = sys_errno;
	l->tx.room = l->tx.at; /* send() comes to its slow path */
	wf_list_remove(&l->timed);
	wf_list_remove(&l->waiting);
	wf_list_remove(&l->starved);
	/* A living peer learns that it shall not touch our buffers; its own end tells us that it does not. */
	if (l->sock >= 0 && !l->quiet)
		wf_sock_shutdown_send(l->sock);
	notify(l);
}

void shm_set_up(struct shm_lane *l)
{
	l->state = SHM_UP;
	l->down_status = 0;
	wf_list_remove(&l->timed);
	notify(l);
}

void shm_peer_left(struct shm_lane *l, bool gone)
{
	l->quiet = true;
	if (gone)
		wf_poll_del(l->base.port->poll, &l->pid_watch);
	else
		wf_poll_del(l->base.port->poll, &l->sock_watch);
	shm_wake_at(shm_lane_port(l), wf_now_ns()); /* for die(), and for copies that wait for quiet */
	if (l->state < SHM_UP)
		shm_fail(l, WEFT_EREFUSED, 0, "the peer gave up shared memory while attaching");
	if (l->state != SHM_UP)
		return;
	l->state = SHM_DYING;
	l->tx.room = l->tx.at;
	shm_set_deadline(l, wf_now_ns() + (gone ? DRAIN_NS : LEFT_GRACE_NS));
}

/* Delivers what is left; down with the best reason once that is done or time is up. */
static void die(struct shm_lane *l, uint64_t now)
{
	bool gone = wf_pidfd_is_gone(l->peer_pidfd);
	bool late = now >= l->deadline;

	if (wf_list_is_linked(&l->notice))
		return; /* not told that it is up yet */
	for (unsigned i = 0; i < 2 * SHM_SLOTS / SHM_BATCH && shm_rx(l); i++)
		;
	if (!late && (!gone || (shm_rx_is_ready(l) && !l->deaf)))
		return;
	if (gone && l->pid)
		shm_fail(l, WEFT_ERESET, 0, "process %d died", (int)l->pid);
	else if (gone)
		shm_fail(l, WEFT_ERESET, 0, "the peer's process died");
	else
		shm_fail(l, WEFT_ERESET, 0, "the peer closed its end of the shared memory");
}

/* ---- chores ---- */

static int tell_notices(struct shm_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->notices))) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, notice);

		n++;
		if (l->state == SHM_DOWN) {
			hot_remove(l);
			wf_lane_down(&l->base, l->down_status, l->down_errno, l->cause);
		} else {
			shm_hot_add(l);
			wf_lane_up(&l->base);
		}
	}
	return n;
}

static void on_deadline(struct shm_lane *l, uint64_t now)
{
	switch ((enum shm_state)l->state) {
	case SHM_DYING:
		die(l, now);
		return;
	case SHM_CONNECTING:
		if (now >= l->deadline)
			shm_try_connect(l);
		return;
	default:
		if (now >= l->deadline)
			shm_fail(l, WEFT_ETIMEDOUT, 0, "the peer did not answer over its UNIX socket");
	}
}

static void keep_time(struct shm_port *p)
{
	struct wf_list now_timed, *it;
	uint64_t now = wf_now_ns();

	p->wake_at = 0;
	shm_drop_old_halves(p, now);
	wf_list_init(&now_timed);
	wf_list_splice_back(&now_timed, &p->timed);
	while ((it = wf_list_pop_front(&now_timed))) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, timed);

		wf_list_push_back(&p->timed, it);
		on_deadline(l, now);
		if (wf_list_is_linked(it) && l->deadline > now)
			shm_wake_at(p, l->deadline);
	}
	if (!p->wake_at)
		wf_port_wake_at(&p->base, 0);
}

static __attribute__((noinline)) int chores(struct shm_port *p)
{
	int n = tell_notices(p);

	if (p->wake_at || !wf_list_is_empty(&p->timed))
		keep_time(p);
	if (!wf_list_is_empty(&p->starved))
		n += shm_tell_room(p);
	n += shm_copies_step(p);
	n += shm_copies_tell(p);
	n += tell_notices(p);
	p->chores = !wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->timed) ||
		    !wf_list_is_empty(&p->halves) || !wf_list_is_empty(&p->starved) ||
		    !wf_list_is_empty(&p->copies) || !wf_list_is_empty(&p->finished);
	return n;
}

static int rx_all(struct shm_port *p)
{
	struct wf_list *it;
	int n = 0;

	for (it = p->hot.next; it != &p->hot; it = &p->next->hot) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, hot);

		p->next = wf_list_entry(it->next, struct shm_lane, hot);
		n += shm_rx(l);
	}
	p->next = NULL;
	return n;
}

static int shm_poll(struct wf_port *base)
{
	struct shm_port *p = shm_port_of(base);
	int n;

	/*
	 * The last poll found nothing: the worker waits for a message. In a turn only one load of many instructions looks for
	 * it, so it would wait half a turn on average; some loads in a row see it when it comes. And it goes to the user at
	 * once: the slot behind it is most likely on its way between the CPUs, and he would wait for that, too.
	 */
	if (p->waits && p->n_hot == 1)
		n = shm_rx_one(wf_list_entry(p->hot.next, struct shm_lane, hot));
	else
		n = rx_all(p);
	p->waits = !n;
	if (wf_unlikely(p->chores))
		n += chores(p);
	if (wf_unlikely(p->n_hot > SHM_HOT) && ++p->turn % SHM_PARK_EVERY == 0)
		park(p);
	return n;
}

/* ---- sleep ---- */

static void shm_disarm(struct wf_port *base)
{
	struct shm_port *p = shm_port_of(base);
	struct wf_list *it, *tmp;

	if (!p->armed)
		return;
	p->armed = false;
	wf_list_foreach(it, tmp, &p->hot)
		atomic_store_explicit(&wf_list_entry(it, struct shm_lane, hot)->rx.seg->asleep, 0,
				      memory_order_relaxed);
}

static bool something_waits(struct shm_port *p)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->hot) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, hot);

		if (!l->base.paused && !l->deaf && shm_rx_is_ready(l))
			return true;
	}
	if (!p->chores)
		return false;
	wf_list_foreach(it, tmp, &p->starved) {
		if (shm_has_room(wf_list_entry(it, struct shm_lane, starved)))
			return true;
	}
	return shm_copies_step(p) || !wf_list_is_empty(&p->finished) || !wf_list_is_empty(&p->notices);
}

static int shm_arm(struct wf_port *base)
{
	struct shm_port *p = shm_port_of(base);
	struct wf_list *it, *tmp;

	if (!wf_list_is_empty(&p->notices))
		return WEFT_AGAIN;
	p->armed = true;
	wf_list_foreach(it, tmp, &p->hot)
		atomic_store_explicit(&wf_list_entry(it, struct shm_lane, hot)->rx.seg->asleep, 1,
				      memory_order_relaxed);
	if (p->n_hot)
		sleeper_fence(p);
	if (!something_waits(p))
		return WEFT_OK;
	shm_disarm(base);
	return WEFT_AGAIN;
}

/* ---- open and close ---- */

static int shm_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap)
{
	size_t segment = shm_segment_len((uint32_t)WF_MIN(conf->shm_ring, SHM_RING_SHORT));   /* what make_segment() comes down to */
	const char *what = "memfd_create";
	int fd = -1;
	int ret = wf_memfd_new("weft-probe", segment, &fd); /* takes no memory before it is used */

	wf_fd_close(&fd);
	if (ret == -EFBIG) {
		snprintf(why, why_cap, "a ring is a file of %zu KiB in memory, more than RLIMIT_FSIZE allows", segment >> 10);
		snprintf(remedy, remedy_cap, "ulimit -f unlimited");
		return WEFT_ENOTSUP;
	}
	if (!ret) {
		what = "pidfd_open";
		ret = wf_pidfd_open(wf_pid(), &fd);
		wf_fd_close(&fd);
	}
	if (!ret)
		return 0;
	snprintf(why, why_cap, "%s: %s", what, strerror(-ret));
	snprintf(remedy, remedy_cap, "needs Linux 5.3 or later, and a sandbox that allows %s", what);
	return WEFT_ENOTSUP;
}

static int shm_open(struct wf_port *base)
{
	struct shm_port *p = shm_port_of(base);
	struct wf_list *lists[] = { &p->hot, &p->parked, &p->notices, &p->timed, &p->waiting, &p->starved,
				    &p->copies, &p->finished, &p->halves };
	int ret;

	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	p->listen_fd = -1;
	wf_pool_init(&p->xfers, shm_xfer_size(), 0);
	wf_watch_init(&p->bell, on_bell, p);
	wf_watch_init(&p->listen, shm_on_connection, p);
	ret = wf_bell_open(&p->bell_fd);
	if (ret)
		return wf_fail(wf_status_of_errno(-ret), -ret, "shm", NULL, "eventfd for wake-ups");
	ret = wf_poll_add(base->poll, &p->bell, p->bell_fd, EPOLLIN);
	if (ret) {
		wf_fd_close(&p->bell_fd);
		return wf_fail(wf_status_of_errno(-ret), -ret, "shm", NULL, "watching the wake-up eventfd");
	}
	p->membarrier = !wf_membarrier_register();
	return 0;
}

static void shm_close(struct wf_port *base)
{
	struct shm_port *p = shm_port_of(base);

	shm_drop_all_halves(p);
	wf_poll_del(base->poll, &p->listen);
	wf_poll_del(base->poll, &p->bell);
	wf_fd_close(&p->listen_fd);
	wf_fd_close(&p->bell_fd);
	wf_port_wake_at(base, 0);
	wf_pool_fini(&p->xfers);
}

static void shm_lane_close(struct wf_lane *base)
{
	struct shm_lane *l = shm_lane_of(base);

	if (l->state == SHM_NEW)
		return; /* nothing was offered or attached */
	hot_remove(l);
	wf_list_remove(&l->notice);
	wf_list_remove(&l->timed);
	wf_list_remove(&l->waiting);
	wf_list_remove(&l->starved);
	shm_copies_drop(l);
	shm_maps_drop(l);
	shm_lane_release(l);
	l->state = SHM_NEW;
}

/* Core says that the ring may be read again: the next poll() does, unless the lane is parked. */
static void shm_resume(struct wf_lane *base)
{
	struct shm_lane *l = shm_lane_of(base);

	if (l->parked)
		shm_unpark(l);
}

static void shm_describe(const struct wf_lane *base, char *out, size_t cap)
{
	const struct shm_lane *l = (const struct shm_lane *)base;
	bool both = l->rights && l->peer_rights;

	snprintf(out, cap, "ring %u KiB, %s%s%s", l->tx.ring >> 10, both ? "both processes copy" : "ring only",
		 both || !l->base.why[0] ? "" : ": ", both ? "" : l->base.why);
}

const struct wf_transport wf_shm = {
	.name = "shm",
	.caps = WF_CAP_ATTACH | WF_CAP_WATCHDOG,
	.port_size = sizeof(struct shm_port),
	.lane_size = sizeof(struct shm_lane),
	.probe = shm_probe,
	.open = shm_open,
	.close = shm_close,
	.offer = shm_offer,
	.attach = shm_attach,
	.lane_close = shm_lane_close,
	.send = shm_send,
	.send_short = shm_send_short,
	.resume = shm_resume,
	.copy_offer = shm_copy_offer,
	.copy_start = shm_copy_start,
	.copy_stop = shm_copy_stop,
	.copy_end = shm_copy_end,
	.mem_offer = shm_mem_offer,
	.mem_open = shm_mem_open,
	.mem_close = shm_mem_close,
	.rma = shm_rma,
	.atomic = shm_atomic,
	.poll = shm_poll,
	.arm = shm_arm,
	.disarm = shm_disarm,
	.describe = shm_describe,
	.region_gone = shm_region_gone,
};
