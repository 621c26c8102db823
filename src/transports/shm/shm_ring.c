/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm_ring.c - frames through the two rings of a lane.
 *
 * A frame takes the next slot; a payload beyond SHM_INLINE also takes the next bytes of the byte ring: contiguous,
 * from a multiple of 64, and from the start where the end is too near. Both sides compute that place from the
 * lengths alone, so no position is ever taken from shared memory. frame_max is a quarter of the byte ring: with
 * freed bytes published at least in quarters, a frame that finds no room always has more than a quarter of unread bytes in
 * front of it, whose reading publishes room.
 *
 * The hot path of send() and shm_rx() makes no system call, takes no lock and allocates nothing.
 */
#include "transports/shm/shm.h"

#include "base/copy.h"
#include "base/iov.h"

#define MASK (SHM_SLOTS - 1)
#define PUBLISH (SHM_SLOTS / 4)
#define AHEAD 8u

/* Frames whose payload is the user's bytes, which core copies. All others are parsed, so they are made private. */
#define BULK_TYPES                                                                                                 \
	(1ull << WF_FR_EAGER | 1ull << WF_FR_DATA | 1ull << WF_FR_AM | 1ull << WF_FR_STREAM | 1ull << WF_FR_PUT | \
	 1ull << WF_FR_GOT)
_Static_assert(WF_FR_TYPES_ <= 64, "a bit for each type");

static inline bool is_bulk(uint8_t type)
{
	return type < 64 && BULK_TYPES >> type & 1;
}

/* Moves *pos_io to where a payload of @len goes; bytes from the old position to the end of the payload. */
static inline uint32_t place(uint32_t *pos_io, uint32_t ring, uint32_t len)
{
	uint32_t need = WF_ALIGN_UP(len, 64u);
	uint32_t left = ring - (*pos_io & (ring - 1));
	uint32_t skip = need > left ? left : 0;

	*pos_io += skip;
	return skip + need;
}

static inline void gather_inline(uint8_t *to, const struct wf_tx *tx)
{
	if (tx->pre_len)
		wf_copy_short(to, tx->pre, tx->pre_len);
	if (wf_likely(tx->n == 1))
		wf_copy_short(to + tx->pre_len, (const uint8_t *)tx->bufs->addr + tx->off, tx->len);
	else if (tx->len)
		wf_bufs_copy_out(to + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
}

/*
 * Field by field: the caller has just written them so, and a wider load than the stores it covers would wait until
 * those have left the store buffer. volatile keeps the compiler from making it one.
 */
static inline void put_header(volatile struct wf_frame *to, const struct wf_frame *h)
{
	to->len = h->len;
	to->seq = h->seq;
	to->type = h->type;
	to->flags = h->flags;
	to->aux = h->aux;
	to->id = h->id;
	to->tag = h->tag;
}

/* ---- bells ---- */

static void ring_bell(struct shm_lane *l)
{
	struct shm_note bell = { .magic = SHM_MAGIC, .what = SHM_BELL };

	if (!atomic_exchange_explicit(&l->tx.seg->asleep, 0, memory_order_relaxed))
		return;
	l->base.syscalls++;
	if (l->same_user)
		wf_bell_ring(l->peer_bell);
	else /* a stranger's eventfd could be made to block us; his full socket is readable, which wakes him too */
		wf_unix_send(l->sock, &bell, sizeof(bell), NULL, 0);
}

void shm_wake(struct shm_lane *l)
{
	/* what was published goes first; pairs with the barrier of shm_arm() */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&l->tx.seg->asleep, memory_order_relaxed))
		ring_bell(l);
}

/* ---- sending ---- */

/* Learns what the receiver has freed since. 0, or WEFT_ERESET when what it says cannot be. */
static int look_for_room(struct shm_lane *l)
{
	struct shm_tx *t = &l->tx;
	/* pairs with the release in publish(): the receiver has left the slots and bytes that it freed */
	uint64_t freed = atomic_load_explicit(&t->seg->freed, memory_order_acquire);
	uint32_t slots = (uint32_t)freed, bytes = (uint32_t)(freed >> 32);

	if (t->at - slots > SHM_SLOTS || t->pos - bytes > t->ring) {
		shm_fail(l, WEFT_EPROTO, 0, "the peer freed more of the ring than was used");
		return WEFT_ERESET;
	}
	t->room = slots + SHM_SLOTS;
	t->pos_room = bytes + t->ring;
	return 0;
}

/* Room for a slot and @len bytes of payload? As far as we know. */
static bool fits(const struct shm_tx *t, uint32_t len)
{
	uint32_t pos = t->pos;

	if (t->at == t->room)
		return false;
	return len <= SHM_INLINE || place(&pos, t->ring, len) <= t->pos_room - t->pos;
}

bool shm_has_room(struct shm_lane *l)
{
	return l->state == SHM_UP && !look_for_room(l) && fits(&l->tx, l->tx.want);
}

/* We seemed to be full. 0: there is room by now; WEFT_AGAIN: no, wf_lane_room() will follow; < 0. */
static __attribute__((noinline)) int find_room(struct shm_lane *l, uint32_t len)
{
	struct shm_port *p = shm_lane_port(l);

	if (l->state != SHM_UP || len > l->base.frame_max)
		return WEFT_ERESET;
	l->tx.want = len;
	if (look_for_room(l))
		return WEFT_ERESET;
	if (fits(&l->tx, len))
		return 0;
	atomic_store_explicit(&l->tx.seg->want_room, 1, memory_order_relaxed);
	/* pairs with the fence of publish(): it sees want_room, or we see what it freed */
	atomic_thread_fence(memory_order_seq_cst);
	if (look_for_room(l))
		return WEFT_ERESET;
	if (fits(&l->tx, len)) {
		atomic_store_explicit(&l->tx.seg->want_room, 0, memory_order_relaxed);
		return 0;
	}
	if (!wf_list_is_linked(&l->starved))
		wf_list_push_back(&p->starved, &l->starved);
	p->chores = true;
	return WEFT_AGAIN;
}

/* Through the caches, and the time that it takes says where the peer's CPU is. Not in the first lap, which makes the pages. */
static void put_timed(struct shm_tx *t, uint8_t *to, const struct wf_tx *tx)
{
	enum { SHARE = 8, MOST = 512 }; /* of the average, and of one that an interrupt may have been in */
	uint64_t start = wf_now_ns(), ns;

	wf_bufs_copy_out(to, tx->bufs, tx->n, tx->off, tx->len);
	ns = (wf_now_ns() - start) * 1024 / tx->len;
	if (t->pos < t->ring)
		return;
	t->kib_ns += ((int32_t)WF_MIN(ns, MOST) - t->kib_ns) / SHARE;
	t->far = t->kib_ns > (t->far ? SHM_NEAR_NS : SHM_FAR_NS);
}

/*
 * Longer payloads: through the caches where the CPUs share one, past them where they do not, for which the peer's lines would
 * have to come from afar, one by one (1 MiB through the ring: 50 us against 82 where they are near, 420 against 90 where they
 * are far). Which it is can change, for a kernel or a host moves processes; so some are timed.
 */
static void put_bulk(struct shm_tx *t, uint8_t *to, const struct wf_tx *tx)
{
	t->untimed += (uint32_t)tx->len;
	if (t->untimed >= (t->far ? SHM_TIME_FAR : SHM_TIME_NEAR)) {
		t->untimed = 0;
		put_timed(t, to, tx);
	} else if (t->far) {
		wf_bufs_copy_past(to, tx->bufs, tx->n, tx->off, tx->len);
		wf_copy_past_fence(); /* before the stamp */
	} else {
		wf_bufs_copy_out(to, tx->bufs, tx->n, tx->off, tx->len);
	}
}

static int put_bytes(struct shm_lane *l, const struct wf_tx *tx)
{
	struct shm_tx *t = &l->tx;
	uint32_t pos = t->pos, advance = place(&pos, t->ring, tx->h.len);
	uint8_t *to = t->seg->bytes + (pos & (t->ring - 1));
	int ret;

	if (wf_unlikely(tx->h.len > l->base.frame_max || advance > t->pos_room - t->pos)) {
		ret = find_room(l, tx->h.len);
		if (ret)
			return ret;
	}
	if (tx->pre_len)
		memcpy(to, tx->pre, tx->pre_len);
	if (tx->len < SHM_BULK)
		wf_bufs_copy_out(to + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
	else
		put_bulk(t, to + tx->pre_len, tx);
	t->pos += advance;
	return 0;
}

/* The peer sleeps, or it was parked: an answer is likely. */
static __attribute__((noinline)) int rouse(struct shm_lane *l)
{
	if (atomic_load_explicit(&l->tx.seg->asleep, memory_order_relaxed))
		ring_bell(l);
	if (l->parked)
		shm_unpark(l);
	return WEFT_OK;
}

/* The next slot is filled, with a frame of @len bytes: sends it. */
static inline int send_slot(struct shm_lane *l, struct shm_slot *s, uint32_t len)
{
	struct shm_tx *t = &l->tx;
	struct shm_segment *seg = t->seg;
	uint32_t at = t->at + 1;

	/* pairs with the acquire in shm_rx() and shm_rx_one(): all of the frame first, then its stamp */
	atomic_store_explicit(&s->stamp, at, memory_order_release);
	t->at = at;
	l->base.frames_tx++;
	l->base.bytes_tx += WF_FRAME_HDR + len;
	/* The stamp before the look at asleep. Pairs with the barrier of the sleeper, shm_arm() and park() at the peer, which
	 * runs a fence on our CPU for us; where it cannot, we have one of our own. */
	if (wf_unlikely(t->fence))
		atomic_thread_fence(memory_order_seq_cst);
	else
		atomic_signal_fence(memory_order_seq_cst);
	if (wf_unlikely(atomic_load_explicit(&seg->asleep, memory_order_relaxed) || l->parked))
		return rouse(l);
	return WEFT_OK;
}

static __attribute__((noinline)) int send_any(struct shm_lane *l, const struct wf_tx *tx)
{
	struct shm_tx *t = &l->tx;
	struct shm_slot *s;
	int ret = 0;

	if (t->at == t->room) /* so it is, too, on a lane that is not up */
		ret = find_room(l, tx->h.len);
	if (ret)
		return ret;
	s = &t->seg->slot[t->at & MASK];
	if (tx->h.len <= SHM_INLINE)
		gather_inline(s->payload, tx);
	else
		ret = put_bytes(l, tx);
	if (ret)
		return ret;
	put_header(&s->h, &tx->h);
	return send_slot(l, s, tx->h.len);
}

int shm_send(struct wf_lane *base, const struct wf_tx *tx)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_tx *t = &l->tx;
	struct shm_slot *s = &t->seg->slot[t->at & MASK];

	if (wf_unlikely(tx->h.len > SHM_INLINE || tx->n != 1 || tx->pre_len || t->at == t->room))
		return send_any(l, tx);
	wf_copy_short(s->payload, (const uint8_t *)tx->bufs->addr + tx->off, tx->len);
	put_header(&s->h, &tx->h);
	return send_slot(l, s, tx->h.len);
}

bool shm_send_short(struct wf_lane *base, uint32_t seq, uint64_t tag, const void *p, uint32_t len)
{
	const struct wf_frame h = { .type = WF_FR_EAGER, .tag = tag, .len = len, .seq = seq };
	struct shm_lane *l = shm_lane_of(base);
	struct shm_tx *t = &l->tx;
	struct shm_slot *s = &t->seg->slot[t->at & MASK];

	if (wf_unlikely(t->at == t->room))
		return false;
	wf_copy_short(s->payload, p, len);
	s->h = h;
	send_slot(l, s, len);
	return true;
}

int shm_tell_room(struct shm_port *p)
{
	struct wf_list now, *it;
	int n = 0;

	wf_list_init(&now);
	wf_list_splice_back(&now, &p->starved);
	while ((it = wf_list_pop_front(&now))) {
		struct shm_lane *l = wf_list_entry(it, struct shm_lane, starved);

		if (l->state > SHM_UP)
			continue;
		if (!shm_has_room(l)) {
			wf_list_push_back(&p->starved, it);
			continue;
		}
		atomic_store_explicit(&l->tx.seg->want_room, 0, memory_order_relaxed);
		wf_lane_room(&l->base);
		n++;
	}
	return n;
}

/* ---- receiving ---- */

/* Tells the sender how far we are. */
static __attribute__((noinline)) void publish(struct shm_lane *l)
{
	struct shm_rx *r = &l->rx;

	r->freed = r->at;
	r->pos_freed = r->pos;
	/* pairs with the acquire in look_for_room() */
	atomic_store_explicit(&r->seg->freed, (uint64_t)r->pos << 32 | r->at, memory_order_release);
	/* pairs with the fence of find_room() */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&r->seg->want_room, memory_order_relaxed))
		shm_wake(l);
}

bool shm_rx_is_ready(const struct shm_lane *l)
{
	const struct shm_slot *s = &l->rx.seg->slot[l->rx.at & MASK];

	return atomic_load_explicit(&s->stamp, memory_order_relaxed) == l->rx.at + 1;
}

/* A frame with its payload in the byte ring. As wf_frame_in(); moves the position when it was taken. */
static __attribute__((noinline)) int rx_bytes(struct shm_lane *l, const struct wf_frame *h)
{
	struct shm_port *p = shm_lane_port(l);
	struct shm_rx *r = &l->rx;
	uint32_t pos = r->pos, advance;
	const void *payload;
	int ret;

	if (h->len > r->ring / 4 || (!is_bulk(h->type) && h->len > sizeof(p->ctl))) {
		shm_fail(l, WEFT_EPROTO, 0, "a frame of %u bytes is longer than allowed", h->len);
		return WEFT_EPROTO;
	}
	advance = place(&pos, r->ring, h->len);
	payload = r->seg->bytes + (pos & (r->ring - 1));
	if (!is_bulk(h->type))
		payload = memcpy(p->ctl, payload, h->len);
	ret = wf_frame_in(&l->base, h, payload);
	if (ret == 0)
		r->pos += advance;
	return ret;
}

/* A message in one line, as nearly all short ones are: delivered from where it lies. */
static inline bool take_line(struct shm_lane *l, const struct shm_slot *s)
{
	const volatile struct wf_frame *h = &s->h;   /* the peer may write on: each is read once */
	uint32_t len = h->len;

	if (wf_unlikely(h->type != WF_FR_EAGER || h->flags || len > SHM_LINE ||
			!wf_frame_short(&l->base, h->seq, h->tag, s->payload, len)))
		return false;
	l->base.bytes_rx += WF_FRAME_HDR + len;
	return true;
}

/* Any frame. 0: it is taken; WEFT_AGAIN, < 0: see wf_frame_in(). */
static __attribute__((noinline)) int take_any(struct shm_lane *l, const struct shm_slot *s)
{
	struct shm_slot private;
	int ret;

	memcpy(&private, s, 64); /* the peer may write on: this copy is what was checked */
	if (private.h.len > SHM_LINE && private.h.len <= SHM_INLINE)
		memcpy(private.payload + SHM_LINE, s->payload + SHM_LINE, SHM_INLINE - SHM_LINE);
	if (wf_likely(private.h.len <= SHM_INLINE))
		ret = wf_frame_in(&l->base, &private.h, private.payload);
	else
		ret = rx_bytes(l, &private.h);
	if (wf_likely(!ret))
		l->base.bytes_rx += WF_FRAME_HDR + private.h.len;
	else
		l->deaf = ret < 0;
	return ret;
}

/* Delivers the frame in @s, if it can be now. */
static inline int take(struct shm_lane *l, const struct shm_slot *s)
{
	struct shm_rx *r = &l->rx;
	int ret = take_line(l, s) ? 0 : take_any(l, s);

	if (wf_unlikely(ret))
		return ret;
	r->at++;
	l->base.frames_rx++;
	if (wf_unlikely(r->at - r->freed >= PUBLISH || r->pos - r->pos_freed >= WF_MIN(r->ring / 4, SHM_PUBLISH)))
		publish(l);
	return 0;
}

int shm_rx(struct shm_lane *l)
{
	struct shm_rx *r = &l->rx;
	unsigned n;

	for (n = 0; n < SHM_BATCH; n++) {
		struct shm_slot *s = &r->seg->slot[r->at & MASK];

		/* pairs with the release in send_slot() */
		if (atomic_load_explicit(&s->stamp, memory_order_acquire) != r->at + 1)
			break;
		if (wf_unlikely(l->base.paused || l->deaf))
			break;
		if (n) /* frames come in a row: what lies a few slots ahead is written by now, and on its way while we are here */
			__builtin_prefetch(&r->seg->slot[(r->at + AHEAD) & MASK]);
		if (take(l, s))
			break;
	}
	if (n)
		l->seen = shm_lane_port(l)->round;
	return (int)n;
}

int shm_rx_one(struct shm_lane *l)
{
	struct shm_rx *r = &l->rx;
	struct shm_slot *s = &r->seg->slot[r->at & MASK];
	uint32_t stamp = r->at + 1;

	for (unsigned i = 0; i < SHM_LOOKS; i++) {
		/* pairs with the release in send_slot() */
		if (atomic_load_explicit(&s->stamp, memory_order_acquire) != stamp)
			continue;
		if (wf_unlikely(l->base.paused || l->deaf))
			return 0;
		return !take(l, s);
	}
	return 0;
}
