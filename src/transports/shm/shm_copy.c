/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm_copy.c - one large buffer, copied by both processes at once.
 *
 * The sender describes its buffer in a slot of its segment and names the slot in the message's announcement. When
 * the receiver has buffers for it, it describes those and makes the slot ACTIVE. Then whoever has time claims a
 * chunk and copies it: the receiver from the low end (it reads the sender's memory), the sender from the high end
 * (it writes the receiver's), until the ends meet. Where one of the buffers is mapped by the other process a chunk
 * is a memcpy, else process_vm_*. A side that cannot copy says so (failed) and leaves all to the other. Where only one
 * of them may use process_vm_* and nothing is mapped, the copy is not begun: the ring is faster than one process (ADR 8).
 *
 * The claim word { generation 16 | state 4 | lo 22 | hi 22 } is only changed by compare-and-swap; chunks lo ..
 * hi-1 are unclaimed. Only the receiver moves lo, only the sender hi, each with one claim at a time, so a claim that
 * could not be copied is given back by moving the end back. A side copies within one call of its poll(): what it has
 * claimed and not counted in `done` is what it is copying right now. The peer is quiet when its claimed chunks
 * equal its done chunks.
 *
 *   FREE -> OFFERED            sender
 *   OFFERED -> ACTIVE          receiver, after it wrote its part
 *   OFFERED -> FREE            sender, withdrawn: the generation moves on, so that a late start fails
 *   ACTIVE -> DONE, FAILED     receiver: all copied; neither side can
 *   ACTIVE -> ENDED -> FREE    sender that wants it stopped, when all is copied: its operation is over, but the slot stays the
 *                              receiver's, who may look much later, until it has seen that
 *   ACTIVE -> STOP_R -> OFFERED   receiver: no new claims; the sender is quiet, it may be started again
 *   ACTIVE, STOP_R -> STOP_S -> FREE   sender: no new claims; the receiver is quiet
 *   DONE, FAILED -> FREE       sender, when core says so (copy_end) or wanted it stopped
 */
#include "transports/shm/shm.h"

#include "base/iov.h"

#define BITS 22
#define CHUNKS_MAX ((1u << BITS) - 1)
#define CHUNK_MIN 4096u
#define CHUNK_LEAST (32u << 10)          /* below that a call costs more than it shares */
#define CLAIM_MAX (512u << 10)
#define WAKE_CHUNKS 4u                   /* copies of fewer are over before a sleeper is awake */
#define LOCAL_PIECES 32u

enum { FREE, OFFERED, ACTIVE, STOP_R, STOP_S, DONE, FAILED, ENDED };

struct claim {
	uint16_t gen;
	uint8_t state;
	uint32_t lo, hi;
};

/* A copy in our hands; c->ptr[0] points to it. */
struct shm_xfer {
	struct wf_list link;                /* port->copies or port->finished */
	struct shm_lane *l;
	struct wf_copy *c;
	struct shm_copy_slot *s;
	uint64_t len, my_bytes;
	uint32_t index, chunk, n;           /* n chunks of chunk bytes */
	uint32_t mine;                      /* chunks that we have copied */
	uint16_t gen;
	bool stopping, failed;              /* failed: receiver cannot copy */
	int32_t status;                     /* finished */
	struct shm_map *map;                /* of the peer's buffer */
	struct shm_where src;               /* receiver: private, checked */
};

/* What is in the rows between the processes: a description that travels in the announcement. */
struct desc {
	uint32_t index;
	uint16_t gen, reserved;
	uint64_t len;
};
_Static_assert(sizeof(struct desc) <= WF_DESC_MAX, "fits the announcement");

size_t shm_xfer_size(void)
{
	return sizeof(struct shm_xfer);
}

static uint64_t pack(struct claim k)
{
	return (uint64_t)k.gen << 48 | (uint64_t)k.state << 44 | (uint64_t)k.lo << BITS | k.hi;
}

static struct claim unpack(uint64_t w)
{
	return (struct claim){ .gen = (uint16_t)(w >> 48), .state = w >> 44 & 15, .lo = w >> BITS & CHUNKS_MAX,
			       .hi = w & CHUNKS_MAX };
}

static struct claim look(const struct shm_xfer *x)
{
	/* pairs with the release of turn(): what the peer wrote before it changed the state is here */
	return unpack(atomic_load_explicit(&x->s->claim, memory_order_acquire));
}

/* Changes the claim word unless somebody was faster. */
static bool turn(const struct shm_xfer *x, struct claim from, struct claim to)
{
	uint64_t old = pack(from);

	return atomic_compare_exchange_strong_explicit(&x->s->claim, &old, pack(to), memory_order_seq_cst,
						       memory_order_relaxed);
}

static bool turn_state(const struct shm_xfer *x, struct claim from, uint8_t state)
{
	struct claim to = from;

	to.state = state;
	return turn(x, from, to);
}

/* ---- where buffers lie ---- */

static bool region_covers(const struct wf_region *r, const struct shm_where *at)
{
	uint64_t base = (uintptr_t)r->addr;

	for (uint32_t i = 0; i < at->n; i++) {
		uint64_t off = at->piece[i].addr - base;

		if (at->piece[i].addr < base || off > r->len || at->piece[i].len > r->len - off)
			return false;
	}
	return at->n > 0;
}

/* Describes our buffers; the peer gets the memory that they lie in, if it is one region that can be passed. */
static void describe(struct shm_where *out, struct shm_lane *l, const weft_buf *bufs, size_t n, uint64_t len,
		     const struct wf_region *r)
{
	struct iovec iov[SHM_PIECES];
	size_t covered = 0;
	size_t k = wf_bufs_to_iov(bufs, n, 0, len, iov, SHM_PIECES, &covered);

	memset(out, 0, sizeof(*out));
	out->len = len;
	if (covered < len)
		return;
	out->n = (uint32_t)k;
	for (size_t i = 0; i < k; i++)
		out->piece[i] = (struct shm_piece){ (uintptr_t)iov[i].iov_base, iov[i].iov_len };
	if (!r || !region_covers(r, out) || !shm_region_pass(l, r))
		return;
	out->region = r->id;
	out->base = (uintptr_t)r->addr;
	out->region_len = r->len;
}

/* Is a private copy of the peer's description within its own bounds? */
static bool is_sound(const struct shm_where *at)
{
	uint64_t sum = 0;

	if (at->n > SHM_PIECES)
		return false;
	for (uint32_t i = 0; i < at->n; i++) {
		if (__builtin_add_overflow(sum, at->piece[i].len, &sum))
			return false;
	}
	return !at->n || sum == at->len;
}

/* The pieces of bytes off .. off+len; how many bytes they cover. */
static uint64_t window(const struct shm_where *at, uint64_t off, uint64_t len, struct iovec *out, size_t *n_out)
{
	uint64_t covered = 0;
	size_t n = 0;

	for (uint32_t i = 0; i < at->n && covered < len; i++) {
		const struct shm_piece *p = &at->piece[i];
		uint64_t k;

		if (off >= p->len) {
			off -= p->len;
			continue;
		}
		k = WF_MIN(p->len - off, len - covered);
		out[n++] = (struct iovec){ (void *)(uintptr_t)(p->addr + off), k };
		covered += k;
		off = 0;
	}
	*n_out = n;
	return covered;
}

/* The mapping that the peer's buffer lies in, kept with the copy; NULL: there is none. */
static struct shm_map *find_map(struct shm_xfer *x, const struct shm_where *at)
{
	if (x->map && x->map->id == at->region)
		return x->map;
	if (x->map)
		shm_map_put(x->l, x->map);
	x->map = at->region ? shm_map_get(x->l, at->region) : NULL;
	return x->map;
}

/* ---- a chunk ---- */

static bool copy_mapped(struct shm_xfer *x, const struct shm_where *at, const struct iovec *peer, size_t n,
			uint64_t off)
{
	for (size_t i = 0; i < n; off += peer[i].iov_len, i++) {
		uint64_t in = (uintptr_t)peer[i].iov_base - at->base;
		uint8_t *there = (uint8_t *)x->map->addr + in;

		if (in > x->map->len || peer[i].iov_len > x->map->len - in)
			return false;
		if (x->c->sender)
			wf_bufs_copy_out(there, x->c->bufs, x->c->n, off, peer[i].iov_len);
		else
			wf_bufs_copy_in(x->c->bufs, x->c->n, off, there, peer[i].iov_len);
	}
	return true;
}

static bool copy_by_kernel(struct shm_xfer *x, struct iovec *peer, size_t n, uint64_t off, uint64_t len)
{
	struct iovec local[LOCAL_PIECES];
	struct iovec *at = peer;
	ssize_t k;

	while (len) {
		size_t covered = 0;
		size_t pieces = wf_bufs_to_iov(x->c->bufs, x->c->n, off, len, local, LOCAL_PIECES, &covered);

		if (!covered)
			return false;
		x->l->base.syscalls++;
		k = x->c->sender ? wf_vm_write(x->l->pid, local, pieces, at, n) :
				   wf_vm_read(x->l->pid, local, pieces, at, n);
		if (k < 0 || (size_t)k != covered)
			return false;
		at = wf_iov_advance(at, &n, covered);
		off += covered;
		len -= covered;
	}
	return true;
}

static bool copy_chunks(struct shm_xfer *x, const struct shm_where *at, uint32_t i, uint32_t count)
{
	uint64_t off = (uint64_t)i * x->chunk;
	uint64_t total = WF_MIN(x->len, at->len);
	struct iovec peer[SHM_PIECES];
	uint64_t len;
	size_t n;

	if (off >= total)
		return false;
	len = WF_MIN((uint64_t)count * x->chunk, total - off);
	if (window(at, off, len, peer, &n) != len)
		return false;
	if (find_map(x, at)) {
		if (!copy_mapped(x, at, peer, n, off))
			return false;
	} else if (!x->l->rights || !copy_by_kernel(x, peer, n, off, len)) {
		return false;
	}
	x->my_bytes += len;
	return true;
}

/*
 * How many chunks a claim takes. A call of the kernel's copy costs some 4 us beside its bytes, for both sides hold the same address
 * spaces: so half of the whole for who comes first, and nearly all of the rest for the second. Who is done first takes what is
 * left then. No claim is longer than about 50 us, for nothing else of the worker moves meanwhile.
 */
static uint32_t share(const struct shm_xfer *x, struct claim k)
{
	uint32_t most_of_rest = ((k.hi - k.lo) * 3 + 2) / 4;

	return WF_MAX(WF_MIN(WF_MIN(x->n / 2, most_of_rest), CLAIM_MAX / x->chunk), 1u);
}

/* ---- ends ---- */

static void give_back_slot(struct shm_xfer *x)
{
	struct claim k = { .state = FREE };

	if (look(x).state == ENDED) {
		x->l->copy_ended |= 1u << x->index;
		return;
	}
	k.gen = ++x->l->copy_gen[x->index];
	atomic_store_explicit(&x->s->claim, pack(k), memory_order_release);
	x->l->copy_used &= ~(1u << x->index);
}

/* Slots whose copy we have ended, and the receiver has seen that. */
static void take_ended_slots(struct shm_lane *l)
{
	for (uint32_t left = l->copy_ended; left; left &= left - 1) {
		uint32_t bit = left & -left;
		const struct shm_copy_slot *s = &l->tx.seg->copy[__builtin_ctz(bit)];

		/* pairs with the release of turn(): the receiver has left the slot */
		if (unpack(atomic_load_explicit(&s->claim, memory_order_acquire)).state != FREE)
			continue;
		l->copy_ended &= ~bit;
		l->copy_used &= ~bit;
	}
}

static void xfer_free(struct shm_xfer *x)
{
	if (x->map)
		shm_map_put(x->l, x->map);
	wf_list_remove(&x->link);
	x->c->ptr[0] = NULL;
	wf_pool_put(&shm_lane_port(x->l)->xfers, x);
}

/* Its owner is told by the next shm_copies_tell(). */
static int finish(struct shm_xfer *x, int32_t status)
{
	struct shm_port *p = shm_lane_port(x->l);

	if (status == WEFT_OK) {
		x->l->base.copy_us += x->my_bytes;
		x->l->base.copy_peer += x->len - WF_MIN(x->len, x->my_bytes);
	}
	x->status = status;
	wf_list_remove(&x->link);
	wf_list_push_back(&p->finished, &x->link);
	p->chores = true;
	return 1;
}

static int garbage(struct shm_xfer *x)
{
	if (x->l->state == SHM_DOWN)
		return 0;
	shm_fail(x->l, WEFT_EPROTO, 0, "the peer wrote nonsense into a shared copy");
	return 1;
}

/* The peer may sleep and wait for what we did: the last chunk, or any when it wants the copy stopped. */
static void tell_chunk(struct shm_xfer *x)
{
	struct claim k;

	/* what we did goes first; pairs with turn() of who stops the copy and then looks at `done` */
	atomic_thread_fence(memory_order_seq_cst);
	k = look(x);
	if (k.state != ACTIVE || k.lo == k.hi)
		shm_wake(x->l);
}

/* ---- receiver ---- */

static int read_chunks(struct shm_xfer *x, struct claim k)
{
	uint32_t count = share(x, k);
	struct claim mine = k;

	mine.lo += count;
	if (!turn(x, k, mine))
		return 1;
	if (copy_chunks(x, &x->src, k.lo, count)) {
		x->mine += count;
		/* pairs with the acquire in step_tx(): the sender's buffer is read */
		atomic_store_explicit(&x->s->dst.done, x->mine, memory_order_release);
		tell_chunk(x);
		return 1;
	}
	x->failed = true;
	atomic_store_explicit(&x->s->dst.failed, 1, memory_order_release);
	for (uint32_t tries = 0; tries <= x->n; tries++) { /* the sender may be claiming from the other end */
		mine = look(x);
		k = mine;
		k.lo -= count;
		if (mine.gen != x->gen || mine.lo != x->mine + count || turn(x, mine, k))
			break;
	}
	shm_wake(x->l);
	return 1;
}

static int step_active_rx(struct shm_xfer *x, struct claim k, bool peer_is_quiet)
{
	if (k.lo == k.hi && peer_is_quiet)
		return turn_state(x, k, DONE) ? finish(x, WEFT_OK) : 1;
	if (x->stopping) {
		turn_state(x, k, STOP_R);
		return 1;
	}
	if (x->failed) {
		if (!peer_is_quiet || !atomic_load_explicit(&x->s->src.failed, memory_order_acquire))
			return 0;
		return turn_state(x, k, FAILED) ? finish(x, WEFT_AGAIN) : 1;
	}
	if (k.lo < k.hi && x->l->state == SHM_UP)
		return read_chunks(x, k);
	return 0;
}

static int step_rx(struct shm_xfer *x)
{
	struct claim k = look(x), fresh = { .gen = x->gen, .state = OFFERED };
	/* pairs with the release in write_chunks(): our buffer is written */
	uint32_t theirs = atomic_load_explicit(&x->s->src.done, memory_order_acquire);

	if (k.gen != x->gen || k.state == FREE || k.state == STOP_S)
		return finish(x, WEFT_ECANCELED);
	if (k.lo != x->mine || k.lo > k.hi || k.hi > x->n || theirs > x->n - k.hi)
		return theirs > x->n - k.hi && look(x).hi != k.hi ? 1 : garbage(x);
	switch (k.state) {
	case ACTIVE:
		return step_active_rx(x, k, theirs == x->n - k.hi);
	case STOP_R:
		if (theirs != x->n - k.hi && !x->l->quiet)
			return 0;
		return turn(x, k, fresh) ? finish(x, WEFT_ECANCELED) : 1;
	case ENDED:
		if (k.lo != k.hi || theirs != x->n - k.hi)
			return garbage(x);
		return turn_state(x, k, FREE) ? finish(x, WEFT_OK) : 1;
	default:
		return garbage(x);
	}
}

/* ---- sender ---- */

static int write_chunks(struct shm_xfer *x, struct claim k)
{
	uint32_t count = share(x, k);
	struct claim mine = k;
	struct shm_where dst;

	mine.hi -= count;
	if (!turn(x, k, mine))
		return 1;
	/* While a claim of ours is open the receiver cannot leave its buffers: what is described here now is valid. */
	memcpy(&dst, &x->s->dst.where, sizeof(dst));
	if (is_sound(&dst) && copy_chunks(x, &dst, mine.hi, count)) {
		/* pairs with the acquire in step_rx() */
		atomic_fetch_add_explicit(&x->s->src.done, count, memory_order_release);
		tell_chunk(x);
		return 1;
	}
	atomic_store_explicit(&x->s->src.failed, 1, memory_order_release);
	for (uint32_t tries = 0; tries <= x->n; tries++) { /* the receiver may be claiming from the other end */
		mine = look(x);
		k = mine;
		k.hi += count;
		if (mine.gen != x->gen || mine.hi > x->n - count || turn(x, mine, k))
			break;
	}
	shm_wake(x->l);
	return 1;
}

static int step_active_tx(struct shm_xfer *x, struct claim k)
{
	/* pairs with the release in read_chunks(): our buffer is read */
	bool receiver_is_quiet = atomic_load_explicit(&x->s->dst.done, memory_order_acquire) == k.lo;

	if (k.lo == k.hi && x->stopping && receiver_is_quiet)
		return turn_state(x, k, ENDED) ? finish(x, WEFT_OK) : 1;
	if (k.lo == k.hi)
		return 0;
	if (x->stopping) {
		turn_state(x, k, STOP_S);
		return 1;
	}
	if (x->l->state != SHM_UP || atomic_load_explicit(&x->s->src.failed, memory_order_relaxed))
		return 0;
	return write_chunks(x, k);
}

static int step_tx(struct shm_xfer *x)
{
	struct claim k = look(x);

	if (k.gen != x->gen || k.lo > k.hi || k.hi > x->n)
		return garbage(x);
	if (k.state == ACTIVE)
		return step_active_tx(x, k);
	if (!x->stopping)
		return 0;
	switch (k.state) {
	case OFFERED:
		return turn_state(x, k, FREE) ? finish(x, WEFT_ECANCELED) : 1;
	case STOP_R:
		turn_state(x, k, STOP_S);
		return 1;
	case STOP_S:
		if (atomic_load_explicit(&x->s->dst.done, memory_order_acquire) != k.lo)
			return 0;
		return finish(x, WEFT_ECANCELED);
	case DONE:
		return finish(x, WEFT_OK);
	case FAILED:
		return finish(x, WEFT_ECANCELED);
	default:
		return garbage(x);
	}
}

/* ---- both ---- */

static bool has_work(const struct shm_xfer *x)
{
	struct claim k = look(x);

	if (x->l->state != SHM_UP || k.state != ACTIVE || k.lo >= k.hi || x->stopping)
		return false;
	return x->c->sender ? !atomic_load_explicit(&x->s->src.failed, memory_order_relaxed) : !x->failed;
}

int shm_copies_step(struct shm_port *p)
{
	struct wf_list *it, *tmp;
	uint32_t busy = 0;
	int n = 0;

	wf_list_foreach(it, tmp, &p->copies) {
		struct shm_xfer *x = wf_list_entry(it, struct shm_xfer, link);
		int did = 0;

		if (x->l->state != SHM_DOWN)
			did = x->c->sender ? step_tx(x) : step_rx(x);
		/* With the peer gone nobody holds a claim; with a peer that broke the rules nothing else is believed. */
		if (!did && x->stopping && x->l->quiet)
			did = finish(x, WEFT_ECANCELED);
		n += did;
		busy += has_work(x);
	}
	p->base.busy = busy;
	return n;
}

int shm_copies_tell(struct shm_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_first(&p->finished))) {
		struct shm_xfer *x = wf_list_entry(it, struct shm_xfer, link);
		struct wf_copy *c = x->c;
		int32_t status = x->status;

		if (c->sender)
			give_back_slot(x);
		xfer_free(x);
		wf_copy_done(c, status);
		n++;
	}
	return n;
}

void shm_copies_drop(struct shm_lane *l)
{
	struct shm_port *p = shm_lane_port(l);
	struct wf_list *lists[] = { &p->copies, &p->finished }, *it, *tmp;

	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++) {
		wf_list_foreach(it, tmp, lists[i]) {
			struct shm_xfer *x = wf_list_entry(it, struct shm_xfer, link);

			if (x->l == l)
				xfer_free(x);
		}
	}
}

static struct shm_xfer *xfer_new(struct shm_lane *l, struct wf_copy *c, struct shm_segment *seg, uint32_t index)
{
	struct shm_port *p = shm_lane_port(l);
	struct shm_xfer *x = wf_pool_get(&p->xfers);

	if (!x)
		return NULL;
	memset(x, 0, sizeof(*x));
	wf_list_init(&x->link);
	x->l = l;
	x->c = c;
	x->s = &seg->copy[index];
	x->index = index;
	x->len = c->len;
	return x;
}

static void xfer_run(struct shm_xfer *x)
{
	struct shm_port *p = shm_lane_port(x->l);

	x->c->ptr[0] = x;
	wf_list_push_back(&p->copies, &x->link);
	p->chores = true;
}

/* ---- rows ---- */

/* copy_chunk; less for short messages, so that each side has two; more where they would be too many. */
static uint32_t choose_chunk(size_t conf_chunk, uint64_t len)
{
	uint64_t least = len / CHUNKS_MAX + 1;
	uint64_t chunk = WF_MIN(WF_MAX(len / 4, CHUNK_LEAST), conf_chunk);

	return (uint32_t)WF_ALIGN_UP(WF_MAX(WF_MAX(chunk, CHUNK_MIN), least), CHUNK_MIN);
}

int shm_copy_offer(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_where at;
	struct shm_xfer *x;
	struct desc d;
	uint32_t index;

	take_ended_slots(l);
	if (l->state != SHM_UP || !~l->copy_used || c->len > (uint64_t)CHUNKS_MAX << 30)
		return WEFT_AGAIN;
	index = (uint32_t)__builtin_ctz(~l->copy_used);
	describe(&at, l, c->bufs, c->n, c->len, r);
	if (!l->rights && !at.region && !(l->peer_rights && at.n))
		return WEFT_AGAIN;
	x = xfer_new(l, c, l->tx.seg, index);
	if (!x)
		return WEFT_AGAIN;
	x->chunk = choose_chunk(base->port->conf->copy_chunk, c->len);
	x->n = (uint32_t)((c->len + x->chunk - 1) / x->chunk);
	x->gen = ++l->copy_gen[index];
	at.chunk = x->chunk;
	memcpy(&x->s->src.where, &at, sizeof(at));
	l->copy_used |= 1u << index;
	atomic_store_explicit(&x->s->claim, pack((struct claim){ .gen = x->gen, .state = OFFERED }),
			      memory_order_release);
	d = (struct desc){ .index = index, .gen = x->gen, .len = c->len };
	memcpy(c->desc, &d, sizeof(d));
	c->desc_len = sizeof(d);
	xfer_run(x);
	return WEFT_OK;
}

/* Our part of the slot, and both counters as at the start. @can: we can copy. */
static void write_part(struct shm_xfer *x, const struct shm_where *at, bool can)
{
	memcpy(&x->s->dst.where, at, sizeof(*at));
	x->failed = !can;
	atomic_store_explicit(&x->s->src.done, 0, memory_order_relaxed);
	atomic_store_explicit(&x->s->src.failed, 0, memory_order_relaxed);
	atomic_store_explicit(&x->s->dst.done, 0, memory_order_relaxed);
	atomic_store_explicit(&x->s->dst.failed, !can, memory_order_relaxed);
}

/* 0: ACTIVE; else the answer of shm_copy_start(). */
static int start(struct shm_xfer *x, const struct desc *d, const struct wf_region *r)
{
	struct claim k = look(x), from = { .gen = d->gen, .state = OFFERED }, to = { .gen = d->gen, .state = ACTIVE };
	struct shm_where at;
	bool can, mapped;

	if (k.gen != d->gen || k.state == FREE || k.state == STOP_S)
		return WEFT_ECANCELED;
	memcpy(&x->src, &x->s->src.where, sizeof(x->src));
	/* The sender may have taken it back while we read; if not, these are its words. */
	if (look(x).gen != d->gen)
		return WEFT_ECANCELED;
	if (k.state != OFFERED || !is_sound(&x->src) || x->src.len != d->len || x->src.chunk < CHUNK_MIN ||
	    x->len > d->len)
		return WEFT_EPROTO;
	x->gen = d->gen;
	x->chunk = x->src.chunk;
	if (x->len / x->chunk >= CHUNKS_MAX)
		return WEFT_EPROTO;
	x->n = (uint32_t)((x->len + x->chunk - 1) / x->chunk);
	mapped = find_map(x, &x->src);
	can = x->src.n && (mapped || x->l->rights);
	describe(&at, x->l, x->c->bufs, x->c->n, x->len, r);
	if (!mapped && !at.region && !(x->l->rights && x->l->peer_rights && x->src.n && at.n))
		return WEFT_AGAIN;
	write_part(x, &at, can);
	to.hi = x->n;
	return turn(x, from, to) ? 0 : WEFT_ECANCELED;
}

int shm_copy_start(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_xfer *x;
	struct desc d;
	int ret;

	if (c->desc_len != sizeof(d))
		return WEFT_EPROTO;
	memcpy(&d, c->desc, sizeof(d));
	if (d.index >= SHM_COPIES || d.reserved)
		return WEFT_EPROTO;
	if (l->state != SHM_UP)
		return WEFT_AGAIN;
	x = xfer_new(l, c, l->rx.seg, d.index);
	if (!x)
		return WEFT_AGAIN;
	ret = start(x, &d, r);
	if (ret) {
		xfer_free(x);
		return ret;
	}
	xfer_run(x);
	if (x->failed || x->n >= WAKE_CHUNKS)
		shm_wake(l);
	return WEFT_OK;
}

void shm_copy_stop(struct wf_lane *base, struct wf_copy *c)
{
	struct shm_xfer *x = c->ptr[0];

	if (x)
		x->stopping = true;
	shm_lane_port(shm_lane_of(base))->chores = true;
}

void shm_copy_end(struct wf_lane *base, struct wf_copy *c)
{
	struct shm_xfer *x = c->ptr[0];

	if (!x)
		return;
	if (look(x).state == DONE) {
		base->copy_us += x->my_bytes;
		base->copy_peer += x->len - WF_MIN(x->len, x->my_bytes);
	}
	give_back_slot(x);
	xfer_free(x);
}
