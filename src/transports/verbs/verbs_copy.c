/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_copy.c - a large buffer that the receiver's adapter reads from the sender's memory. The sender registers it and tells
 * addresses and keys in the announcement; the receiver registers its own and posts RDMA READs, in pieces, a few at a time, on
 * whichever rail has room: a faster rail takes more of them. What a rail that broke did not read is read again over another.
 * Nobody's CPU touches a byte.
 *
 * An offer has a place (0 .. VERBS_COPIES - 1) and the number of its use; `id` is both, with the lowest bit free:
 *
 *   { use 25 | place 6 | complete 1 }
 *
 * Taking back. The receiver stops by posting no more and waiting for what is posted; the offer stays. The sender asks with
 * COPY_STOP; the receiver, running or not, waits for what is posted, notes in theirs[place] how it ended, so that a start that comes
 * later is refused, and answers COPY_STOPPED with the lowest bit: was everything read before?
 */
#include <stdio.h>

#include "base/fault.h"
#include "transports/verbs/verbs.h"

#define USE_MAX ((1u << 25) - 1)

struct desc {                            /* of an offer; keys for each piece, by rail, stand behind the pieces */
	uint32_t id;
	uint16_t n, rails;
	struct { uint64_t addr, len; } piece[VERBS_PIECES];
};
#define DESC_HEAD offsetof(struct desc, piece)

struct verbs_xfer {                      /* a copy into our buffers; c->ptr[0] points to it */
	struct wf_list link;             /* port->copies */
	struct verbs_lane *l;
	struct wf_copy *c;
	struct desc from;
	uint32_t key[VERBS_PIECES * VERBS_DEVS];
	uint64_t at;                     /* posted so far */
	unsigned reading;                /* reads that are posted */
	unsigned n_again;
	struct { uint64_t at, len; } again[VERBS_READS * VERBS_DEVS];   /* to be read once more */
	bool stopping;
	bool asked;                      /* the sender wants to know how it ended */
	struct verbs_mr *mr[VERBS_PIECES * VERBS_DEVS];   /* of our buffers, by rail */
};

struct verbs_read {                      /* one that is posted */
	struct verbs_xfer *x;
	uint64_t at, len;
};

size_t verbs_xfer_size(void)
{
	return sizeof(struct verbs_xfer);
}

size_t verbs_read_size(void)
{
	return sizeof(struct verbs_read);
}

static unsigned place_of(uint32_t id)
{
	return id >> 1 & (VERBS_COPIES - 1);
}

static void finish(struct verbs_port *p, struct wf_copy *c, int32_t status)
{
	c->word[1] = (uint64_t)(int64_t)status;
	c->ptr[0] = NULL;
	wf_list_push_back(&p->finished, &c->link);
	p->chores = true;
}

/* Registers each of @bufs on each rail. False: why the lane says so, and none is held. */
static bool get_mrs(struct verbs_lane *l, const weft_buf *bufs, size_t n, size_t len, const struct wf_region *r, uint32_t access,
		    struct verbs_mr **mr)
{
	int err;

	if (verbs_mrs_get(l, bufs, n, r, access, VERBS_ALL_RAILS, mr, &err))
		return true;
	verbs_mr_explain(&l->base, err, len);
	return false;
}

/* ---- the sender ---- */

static void free_mine(struct verbs_lane *l, unsigned place)
{
	struct verbs_mine *m = l->mine[place];

	verbs_mrs_put(l, m->mr, m->n_mr / l->n_rails, VERBS_ALL_RAILS);
	wf_free(m);
	l->mine[place] = NULL;
	l->stop_due &= ~(1ull << place);
}

static int free_place(const struct verbs_lane *l)
{
	for (unsigned i = 0; i < VERBS_COPIES; i++)
		if (!l->mine[i])
			return (int)i;
	return -1;
}

static void describe(struct verbs_lane *l, const struct verbs_mine *m, uint32_t id)
{
	struct wf_copy *c = m->copy;
	struct desc d = { .id = id, .n = (uint16_t)c->n, .rails = l->n_rails };
	size_t keys = DESC_HEAD + c->n * sizeof(d.piece[0]);

	for (size_t i = 0; i < c->n; i++) {
		d.piece[i].addr = (uintptr_t)c->bufs[i].addr;
		d.piece[i].len = c->bufs[i].len;
	}
	memcpy(c->desc, &d, keys);
	for (unsigned i = 0; i < m->n_mr; i++) {
		uint32_t key = m->mr[i] ? m->mr[i]->mr->rkey : 0;

		memcpy(c->desc + keys + i * sizeof(key), &key, sizeof(key));
	}
	c->desc_len = (uint32_t)(keys + m->n_mr * sizeof(uint32_t));
}

int verbs_copy_offer(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct verbs_lane *l = verbs_lane_of(base);
	unsigned n_mr = (unsigned)c->n * l->n_rails;
	int place = free_place(l);
	struct verbs_mine *m;

	if (l->state != VERBS_UP || place < 0 || !c->n || c->n > VERBS_PIECES ||
	    DESC_HEAD + c->n * 16 + n_mr * sizeof(uint32_t) > WF_DESC_MAX)
		return WEFT_AGAIN;
	m = wf_calloc(1, sizeof(*m) + n_mr * sizeof(m->mr[0]));
	if (!m)
		return WEFT_AGAIN;
	if (!get_mrs(l, c->bufs, c->n, c->len, r, IBV_ACCESS_REMOTE_READ, m->mr)) {
		wf_free(m);
		return WEFT_AGAIN;
	}
	m->copy = c;
	m->n_mr = n_mr;
	l->mine[place] = m;
	l->mine_gen[place] = l->mine_gen[place] % USE_MAX + 1;
	c->word[0] = (unsigned)place;
	describe(l, m, l->mine_gen[place] << 7 | (unsigned)place << 1);
	return 0;
}

void verbs_copy_end(struct wf_lane *base, struct wf_copy *c)
{
	struct verbs_lane *l = verbs_lane_of(base);

	base->copy_peer += c->len;
	free_mine(l, (unsigned)c->word[0]);
}

void verbs_say_soon(struct verbs_lane *l)
{
	struct verbs_port *p = verbs_lane_port(l);

	if (l->state != VERBS_UP)
		return;
	if (!wf_list_is_linked(&l->owing))
		wf_list_push_back(&p->owing, &l->owing);
	p->chores = true;
}

static void stop_mine(struct verbs_lane *l, struct wf_copy *c)
{
	unsigned place = (unsigned)c->word[0];

	if (l->state != VERBS_UP) {      /* its queue pairs are broken: nobody reads any more */
		free_mine(l, place);
		finish(verbs_lane_port(l), c, WEFT_ECANCELED);
		return;
	}
	l->mine[place]->stopping = true;
	l->stop_due |= 1ull << place;
	verbs_say_soon(l);
}

/* Its queue pairs are broken: offers that the peer was asked to let go of end without its word. */
void verbs_copies_stopped(struct verbs_lane *l)
{
	for (unsigned i = 0; i < VERBS_COPIES; i++) {
		struct wf_copy *c = l->mine[i] && l->mine[i]->stopping ? l->mine[i]->copy : NULL;

		if (!c)
			continue;
		free_mine(l, i);
		finish(verbs_lane_port(l), c, WEFT_ECANCELED);
	}
}

/* The peer has let go of the offer. */
static bool in_stopped(struct verbs_lane *l, uint32_t id)
{
	unsigned place = place_of(id);
	struct verbs_mine *m = l->mine[place];
	struct wf_copy *c;

	if (!m || !m->stopping || l->stop_due & 1ull << place || l->mine_gen[place] != id >> 7)
		return false;
	c = m->copy;
	if (id & 1)
		l->base.copy_peer += c->len;
	l->stops--;
	if (l->stop_due)
		verbs_say_soon(l);
	free_mine(l, place);
	finish(verbs_lane_port(l), c, id & 1 ? WEFT_OK : WEFT_ECANCELED);
	return true;
}

/* ---- the receiver ---- */

/* The peer's description, checked: its pieces have at least what is wanted, and there are keys for our rails. */
static bool parse(const struct verbs_lane *l, struct verbs_xfer *x)
{
	const struct wf_copy *c = x->c;
	uint64_t sum = 0;
	size_t keys;

	if (c->desc_len < DESC_HEAD)
		return false;
	memcpy(&x->from, c->desc, DESC_HEAD);
	keys = DESC_HEAD + x->from.n * sizeof(x->from.piece[0]);
	if (!x->from.n || x->from.n > VERBS_PIECES || x->from.rails != l->n_rails || x->from.id & 1 ||
	    c->desc_len != keys + (size_t)x->from.n * l->n_rails * sizeof(uint32_t))
		return false;
	memcpy(x->from.piece, c->desc + DESC_HEAD, keys - DESC_HEAD);
	memcpy(x->key, c->desc + keys, c->desc_len - keys);
	for (unsigned i = 0; i < x->from.n; i++)
		if (__builtin_add_overflow(sum, x->from.piece[i].len, &sum))
			return false;
	return sum >= c->len;
}

static void end_xfer(struct verbs_xfer *x)
{
	struct verbs_lane *l = x->l;
	struct verbs_port *p = verbs_lane_port(l);
	bool complete = x->at == x->c->len && !x->n_again;
	unsigned place = place_of(x->from.id);
	struct wf_copy *c = x->c;

	verbs_mrs_put(l, x->mr, c->n, VERBS_ALL_RAILS);
	if (complete)
		l->theirs[place] = x->from.id | 1;
	if (x->asked) {
		if (!complete)
			l->theirs[place] = x->from.id;
		l->answer_due |= 1ull << place;
		verbs_say_soon(l);
	}
	wf_list_remove(&x->link);
	wf_pool_put(&p->xfers, x);
	/* AGAIN: over whatever lane comes next, by frames */
	finish(p, c, complete ? WEFT_OK : l->state == VERBS_UP ? WEFT_ECANCELED : WEFT_AGAIN);
}

/* The rail that has the fewest reads under way, of several the next in turn; NULL: each has enough. */
static struct verbs_qp *pick_rail(struct verbs_lane *l, unsigned *which)
{
	struct verbs_qp *best = NULL;

	for (unsigned k = 1; k <= l->n_rails; k++) {
		unsigned i = (l->last_rail + k) % l->n_rails;
		struct verbs_qp *q = l->rail[i];

		if (q->broken || !q->reads_max || q->reads >= WF_MIN(VERBS_READS, q->reads_max) || !verbs_sq_has_room(q, VERBS_SQ_SPARE) ||
		    (best && best->reads <= q->reads))
			continue;
		best = q;
		*which = i;
	}
	if (best)
		l->last_rail = (uint8_t)*which;
	return best;
}

/* Where byte @at lies: in which of the sender's pieces and of our buffers, and how far in them. */
struct place {
	unsigned piece, buf;
	uint64_t piece_off, buf_off;
};

static struct place find_place(const struct verbs_xfer *x, uint64_t at)
{
	struct place p = { .piece_off = at, .buf_off = at };

	for (; p.piece_off >= x->from.piece[p.piece].len; p.piece++)
		p.piece_off -= x->from.piece[p.piece].len;
	for (; p.buf_off >= x->c->bufs[p.buf].len; p.buf++)
		p.buf_off -= x->c->bufs[p.buf].len;
	return p;
}

/* Bytes that one read takes where several rails share a buffer: each of them some of it, but no little ones. */
static uint64_t share(const struct verbs_xfer *x)
{
	uint64_t each = (x->c->len / x->l->n_rails + 4095) & ~4095ull;

	return WF_MIN(WF_MAX(each, VERBS_READ_LEAST), VERBS_READ_SHARED);
}

/* Reads from @at up to @len bytes; how many it posted, 0: none. */
static uint64_t post_read(struct verbs_xfer *x, struct verbs_qp *q, unsigned rail, uint64_t at, uint64_t len)
{
	struct verbs_lane *l = x->l;
	struct verbs_port *port = verbs_lane_port(l);
	struct place p = find_place(x, at);
	const weft_buf *b = &x->c->bufs[p.buf];
	struct ibv_sge sge = { .addr = (uintptr_t)b->addr + p.buf_off, .lkey = x->mr[p.buf * l->n_rails + rail]->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED };
	struct verbs_read *r = wf_pool_get(&port->reads);

	if (!r)
		return 0;
	len = WF_MIN(WF_MIN(x->from.piece[p.piece].len - p.piece_off, b->len - p.buf_off), len);
	len = WF_MIN(WF_MIN(len, l->n_rails > 1 ? share(x) : VERBS_READ), q->dev->max_msg);
	*r = (struct verbs_read){ .x = x, .at = at, .len = len };
	sge.length = (uint32_t)len;
	wr.wr.rdma.remote_addr = x->from.piece[p.piece].addr + p.piece_off;
	wr.wr.rdma.rkey = x->key[p.piece * l->n_rails + rail];
	if (!verbs_post(q, &wr, VERBS_WR_COPY, r)) {
		wf_pool_put(&port->reads, r);
		return 0;
	}
	q->reads++;
	x->reading++;
	l->base.copy_us += len;
	return len;
}

/* What failed elsewhere comes first. False: nothing was posted. */
static bool post_next(struct verbs_xfer *x, struct verbs_qp *q, unsigned rail)
{
	uint64_t len;

	if (!x->n_again) {
		len = post_read(x, q, rail, x->at, x->c->len - x->at);
		x->at += len;
		return len != 0;
	}
	len = post_read(x, q, rail, x->again[x->n_again - 1].at, x->again[x->n_again - 1].len);
	x->again[x->n_again - 1].at += len;
	x->again[x->n_again - 1].len -= len;
	x->n_again -= !x->again[x->n_again - 1].len;
	return len != 0;
}

/* Posts what finds room; ends it when nothing is under way and nothing more is to come. */
static int step(struct verbs_xfer *x)
{
	struct verbs_lane *l = x->l;
	struct verbs_qp *q;
	unsigned rail;
	int n = 0;

	while (l->state == VERBS_UP && !x->stopping && (x->n_again || x->at < x->c->len) && (q = pick_rail(l, &rail)) && post_next(x, q, rail))
		n++;
	if (!x->reading && ((x->at == x->c->len && !x->n_again) || x->stopping || l->state != VERBS_UP)) {
		end_xfer(x);
		n++;
	}
	return n;
}

void verbs_read_done(struct verbs_qp *q, void *ptr, bool well)
{
	struct verbs_read *r = ptr;
	struct verbs_xfer *x = r->x;

	q->reads--;
	x->reading--;
	if (!well && x->n_again == WF_ARRAY_LEN(x->again)) {
		verbs_break(x->l, "%s: reads of large messages fail again and again", q->dev->name);
	} else if (!well) {
		x->again[x->n_again].at = r->at;
		x->again[x->n_again++].len = r->len;
		x->l->base.copy_us -= r->len;
	}
	wf_pool_put(&verbs_lane_port(x->l)->reads, r);
	verbs_lane_port(x->l)->chores = true;   /* step() goes on, or ends it */
}

/* A peer whose adapter answers no reads, on any rail, has to send frames. */
static bool can_read(const struct verbs_lane *l)
{
	for (unsigned i = 0; i < l->n_rails; i++)
		if (l->rail[i]->reads_max && !l->rail[i]->broken)
			return true;
	return false;
}

int verbs_copy_start(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_port *p = verbs_lane_port(l);
	struct verbs_xfer *x;

	if (l->state != VERBS_UP || !c->n || c->n > VERBS_PIECES || !can_read(l))
		return WEFT_AGAIN;
	x = wf_pool_get(&p->xfers);
	if (!x)
		return WEFT_AGAIN;
	memset(x, 0, sizeof(*x));
	wf_list_init(&x->link);
	x->l = l;
	x->c = c;
	if (!parse(l, x)) {
		wf_pool_put(&p->xfers, x);
		return WEFT_EPROTO;
	}
	if (l->theirs[place_of(x->from.id)] == x->from.id || !get_mrs(l, c->bufs, c->n, c->len, r, IBV_ACCESS_LOCAL_WRITE, x->mr)) {
		int ret = l->theirs[place_of(x->from.id)] == x->from.id ? WEFT_ECANCELED : WEFT_AGAIN;

		wf_pool_put(&p->xfers, x);
		return ret;
	}
	c->ptr[0] = x;
	wf_list_push_back(&p->copies, &x->link);
	p->chores = true;
	step(x);
	return 0;
}

static struct verbs_xfer *running(const struct verbs_lane *l, uint32_t id)
{
	struct wf_list *it;

	for (it = verbs_lane_port(l)->copies.next; it != &verbs_lane_port(l)->copies; it = it->next) {
		struct verbs_xfer *x = wf_list_entry(it, struct verbs_xfer, link);

		if (x->l == l && x->from.id == id)
			return x;
	}
	return NULL;
}

/* The sender wants its buffer back. */
static bool in_stop(struct verbs_lane *l, uint32_t id)
{
	unsigned place = place_of(id);
	struct verbs_xfer *x = running(l, id);

	if (id & 1 || l->answer_due & 1ull << place || (x && x->asked))
		return false;
	if (x) {
		x->stopping = x->asked = true;   /* its end says the rest */
		verbs_lane_port(l)->chores = true;
		return true;
	}
	l->answer_due |= 1ull << place;
	if (l->theirs[place] != (id | 1))
		l->theirs[place] = id;
	verbs_say_soon(l);
	return true;
}

/* ---- both ---- */

void verbs_copy_stop(struct wf_lane *base, struct wf_copy *c)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_xfer *x = c->ptr[0];

	if (wf_list_is_linked(&c->link))  /* it has ended, and is told so soon */
		return;
	if (c->sender) {
		stop_mine(l, c);
		return;
	}
	x->stopping = true;
	verbs_lane_port(l)->chores = true;
}

bool verbs_copy_hear(struct verbs_lane *l, uint16_t kind, uint32_t arg)
{
	if (kind == VERBS_COPY_STOP)
		return in_stop(l, arg);
	return kind == VERBS_COPY_STOPPED && in_stopped(l, arg);
}

bool verbs_copy_say(struct verbs_lane *l)
{
	while (l->stop_due && l->stops < VERBS_STOPS) {
		unsigned place = (unsigned)__builtin_ctzll(l->stop_due);

		if (!verbs_note(l, VERBS_COPY_STOP, l->mine_gen[place] << 7 | place << 1))
			return false;
		l->stop_due &= l->stop_due - 1;
		l->stops++;
	}
	while (l->answer_due) {
		if (!verbs_note(l, VERBS_COPY_STOPPED, l->theirs[__builtin_ctzll(l->answer_due)]))
			return false;
		l->answer_due &= l->answer_due - 1;
	}
	return true;
}

int verbs_copies_step(struct verbs_port *p)
{
	struct wf_list *it, *tmp;
	int n = 0;

	wf_list_foreach(it, tmp, &p->copies)
		n += step(wf_list_entry(it, struct verbs_xfer, link));
	return n;
}

int verbs_copies_tell(struct verbs_port *p)
{
	struct wf_list *it;
	int n = 0;

	while ((it = wf_list_pop_front(&p->finished))) {
		struct wf_copy *c = wf_list_entry(it, struct wf_copy, link);

		wf_copy_done(c, (int32_t)(int64_t)c->word[1]);
		n++;
	}
	return n;
}

/* Core has seen all of them end by now; offers of a lane that never came to be would be left. */
void verbs_copies_drop(struct verbs_lane *l)
{
	for (unsigned i = 0; i < VERBS_COPIES; i++)
		if (l->mine[i])
			free_mine(l, i);
}
