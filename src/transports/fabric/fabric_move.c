/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fab_move.c - large messages, which the receiver reads, and one-sided operations. Both are moves: pieces of what is near
 * and what is far, a few of them in the engine's hands at a time.
 *
 * An offered buffer is named by a slot and by which use of it this is (gen), so that "stopped" and "read to its end" are one number
 * for each slot: the generations of a slot follow each other, and an older one is over. Its sender may take it back: STOP, and
 * it is quiet when STOPPED has come, when the peer has left, or when the lane ends anyway; registrations are closed in either
 * case, which is where an adapter lets go of memory, and an engine that sends it by itself is made to end that (hush()).
 * A piece that the engine has cannot be taken back: who stops a receive waits for it.
 *
 * A peer that is dead ends moves by errors of the engine's, on most. Where that does not come, a move is given up after
 * a while, if the engine says that its buffers are quiet then (let_go()): what it has of it stays ours to keep until the port is
 * closed. If they are not, the operation waits until the engine has seen to that.
 */
#include "transports/fabric/fabric.h"

#include "base/fault.h"

#define CHUNK_MIN (64u << 10)

/* ---- registrations of ours that the peer reaches ---- */

/* The peer reaches it no more. */
static void lent_quiet(struct fab_lent *t)
{
	while (t->n)
		t->port->eng->unreg(t->reg[--t->n]);
}

static void lent_free(struct fab_lent *t)
{
	if (!t)
		return;
	wf_list_remove(&t->link);
	lent_quiet(t);
	wf_free(t);
}

static struct fab_lent *lent_new(struct fab_port *p)
{
	struct fab_lent *t = wf_calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	wf_list_init(&t->link);
	t->port = p;
	return t;
}

/* Registers one more piece, and says where the peer finds it. */
static bool lend(struct fab_lent *t, void *addr, size_t len, unsigned access, struct fab_far *out)
{
	struct fab_port *p = t->port;
	void *reg = t->n < FAB_PIECES ? p->eng->reg(p, addr, len, access) : NULL;

	if (!reg)
		return false;
	t->reg[t->n++] = reg;
	out->len = len;
	p->eng->tell(p, reg, addr, out);
	return true;
}

void fab_lane_lent_free(struct fab_lane *l)
{
	struct fab_port *p = fab_lane_port(l);
	struct wf_list *it, *tmp;

	while ((it = wf_list_first(&l->lent)))
		lent_free(wf_list_entry(it, struct fab_lent, link));
	for (unsigned s = 0; s < FAB_COPIES; s++) {
		if (l->offer[s])
			lent_free(l->offer[s]->ptr[0]);
		l->offer[s] = NULL;
	}
	wf_list_foreach(it, tmp, &p->moves) {
		struct fab_move *m = wf_list_entry(it, struct fab_move, link);

		if (m->lane == l)
			m->lane = NULL;  /* given up long ago */
	}
}

void fab_lane_lent_quiet(struct fab_lane *l)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &l->lent)
		lent_quiet(wf_list_entry(it, struct fab_lent, link));
	for (unsigned s = 0; s < FAB_COPIES; s++)
		if (l->offer[s])
			lent_quiet(l->offer[s]->ptr[0]);
}

/* ---- large messages: the sender ---- */

int fab_copy_offer(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_desc d = { .n = 0 };
	struct fab_lent *t;
	uint32_t s = 0;

	(void)r;
	while (s < FAB_COPIES && l->offer[s])
		s++;
	t = s < FAB_COPIES && l->state == FAB_UP ? lent_new(fab_lane_port(l)) : NULL;
	if (!t)
		return WEFT_AGAIN;
	for (size_t i = 0; i < c->n; i++) {
		if (!c->bufs[i].len)
			continue;
		if (!lend(t, c->bufs[i].addr, c->bufs[i].len, FAB_PEER_READS, &d.far[WF_MIN(t->n, FAB_PIECES - 1)])) {
			lent_free(t);
			return WEFT_AGAIN;
		}
	}
	l->offer[s] = c;
	c->ptr[0] = t;
	c->word[0] = s;
	d.slot = s;
	d.gen = ++l->gen[s];
	d.n = t->n;
	c->desc_len = (uint32_t)(offsetof(struct fab_desc, far) + t->n * sizeof(d.far[0]));
	memcpy(c->desc, &d, c->desc_len);
	return 0;
}

static void offer_ends(struct fab_lane *l, struct wf_copy *c)
{
	uint32_t bit = 1u << c->word[0];

	lent_free(c->ptr[0]);
	l->offer[c->word[0]] = NULL;
	l->stop_due &= ~bit;
	l->stop_sent &= ~bit;
	l->stop_heard &= ~bit;
	l->stop_done &= ~bit;
}

/* Its upcall is due. */
static void offer_stopped(struct fab_lane *l, struct wf_copy *c, int32_t status)
{
	struct fab_port *p = fab_lane_port(l);

	offer_ends(l, c);
	c->word[2] = (uint64_t)(int64_t)status;
	wf_list_push_back(&p->ended, &c->link);
	p->chores = true;
}

void fab_copy_end(struct wf_lane *base, struct wf_copy *c)
{
	base->copy_peer += c->len;
	offer_ends(fab_lane_of(base), c);
}

void fab_stopped_heard(struct fab_lane *l, uint32_t slot, uint32_t gen, bool done)
{
	uint32_t bit = 1u << slot;

	if (!(l->stop_sent & bit) || !l->offer[slot] || l->gen[slot] != gen)
		return;
	l->stop_heard |= bit;
	l->stop_done |= done ? bit : 0;
	fab_due(l, 0);
}

static bool is_quiet(const struct fab_lent *t)
{
	const struct fab_engine *eng = t->port->eng;

	for (uint32_t i = 0; eng->is_quiet && i < t->n; i++)
		if (!eng->is_quiet(t->reg[i]))
			return false;
	return true;
}

/*
 * The peer's side of the lane is closed, it is dead, or the fabric is broken between us: it reads nothing more. When this
 * lane is ending, its peer may read what is not there any more, and only that lane breaks; it gets a moment to answer.
 */
static bool need_not_wait(struct fab_lane *l)
{
	if (l->base.peer_left || l->state >= FAB_DYING)
		return true;
	if (!l->ending)
		return false;
	if (!l->stops_until)
		l->stops_until = wf_now_ns() + FAB_LEFT_NS;
	return wf_now_ns() >= l->stops_until;
}

int fab_stops_end(struct fab_lane *l)
{
	const struct fab_engine *eng = fab_lane_port(l)->eng;
	uint32_t all = l->stop_due | l->stop_sent;
	int n = 0;

	if (!need_not_wait(l))
		all = l->stop_heard;
	else if (all && eng->hush)
		eng->hush(l);
	for (unsigned s = 0; s < FAB_COPIES; s++) {
		if (!(all & 1u << s) || !l->offer[s] || !is_quiet(l->offer[s]->ptr[0]))
			continue;
		offer_stopped(l, l->offer[s], l->stop_done & 1u << s ? WEFT_OK : WEFT_ECANCELED);
		n++;
	}
	return n;
}

/* ---- moves ---- */

static void move_unreg(struct fab_port *p, struct fab_move *m)
{
	for (size_t i = 0; i < FAB_MOVE_BUFS; i++) {
		if (m->reg[i])
			p->eng->unreg(m->reg[i]);
		m->reg[i] = NULL;
	}
}

static void move_free(struct fab_port *p, struct fab_move *m)
{
	wf_list_remove(&m->link);
	move_unreg(p, m);
	wf_pool_put(&p->move_pool, m);
}

static struct fab_move *move_new(struct fab_lane *l, const weft_buf *bufs, size_t n, uint64_t len, bool write)
{
	struct fab_port *p = fab_lane_port(l);
	struct fab_move *m;

	if (p->reg_local && n > FAB_MOVE_BUFS)
		return NULL;
	m = wf_pool_get(&p->move_pool);
	if (!m)
		return NULL;
	*m = (struct fab_move){ .lane = l, .bufs = bufs, .n = n, .len = len, .write = write };
	wf_list_init(&m->link);
	for (size_t i = 0; p->reg_local && i < n; i++) {
		if (!bufs[i].len)
			continue;
		m->reg[i] = p->eng->reg(p, bufs[i].addr, bufs[i].len, write ? FAB_FROM : FAB_INTO);
		if (m->reg[i])
			continue;
		move_free(p, m);
		return NULL;
	}
	return m;
}

static void piece_done(struct fab_port *p, struct fab_op *op, size_t len, int err)
{
	struct fab_piece *piece = wf_container_of(op, struct fab_piece, op);
	struct fab_move *m = piece->move;

	(void)len;
	m->flying--;
	p->chores = true;
	if (piece->peer && p->eng->landed)
		p->eng->landed(piece->peer);
	wf_pool_put(&p->pieces, piece);
	if (!err || m->status)
		return;
	m->status = WEFT_ERESET;
	if (m->lane)
		fab_broke(m->lane, err, m->write ? "writing memory" : "reading memory");
}

void fab_moves_drop(struct fab_port *p)
{
	struct wf_list *it;

	while ((it = wf_list_first(&p->moves)))
		move_free(p, wf_list_entry(it, struct fab_move, link));
}

void fab_moves_cut(struct fab_port *p)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->moves) {
		struct fab_move *m = wf_list_entry(it, struct fab_move, link);

		move_unreg(p, m);
		m->flying = 0;
		m->status = WEFT_ERESET;
	}
}

/* The longest piece that lies in one buffer here and in one there; from where it lies here, and in which. */
static void *next_piece(const struct fab_port *p, const struct fab_move *m, size_t *buf_out, struct fab_far *far)
{
	size_t most = WF_MIN(WF_MAX(p->base.conf->copy_chunk, CHUNK_MIN), p->msg_max);
	uint64_t in_near = m->off, in_far = m->off;
	size_t i = 0, k = 0, len;

	while (i < m->n && in_near >= m->bufs[i].len)
		in_near -= m->bufs[i++].len;
	len = WF_MIN(WF_MIN(m->bufs[i].len - in_near, m->len - m->off), most);
	while (in_far >= m->far[k].len)
		in_far -= m->far[k++].len;
	len = WF_MIN(len, m->far[k].len - in_far);
	*far = (struct fab_far){ .addr = m->far[k].addr + in_far, .len = len, .key = m->far[k].key };
	*buf_out = i;
	return (char *)m->bufs[i].addr + in_near;
}

/* Gives one more piece to the engine. False: not now, or the move has failed. */
static bool give_piece(struct fab_port *p, struct fab_move *m)
{
	struct fab_piece *piece = wf_pool_get(&p->pieces);
	struct fab_far far;
	size_t buf;
	void *near;
	int ret;

	if (!piece) {
		p->stuck = true;
		return false;
	}
	*piece = (struct fab_piece){ .op = { .done = piece_done }, .move = m };
	near = next_piece(p, m, &buf, &far);
	ret = p->eng->move(p, piece, near, far.len, p->reg_local ? m->reg[buf] : NULL, &far);
	if (!ret) {
		m->off += far.len;
		m->flying++;
		return true;
	}
	wf_pool_put(&p->pieces, piece);
	if (ret == FAB_DONE) {
		m->off += far.len;
		return true;
	}
	if (ret == FAB_FULL) {
		p->stuck = true;
		return false;
	}
	m->status = WEFT_ERESET;
	fab_broke(m->lane, ret, m->write ? "writing memory" : "reading memory");
	return false;
}

static void give_pieces(struct fab_port *p, struct fab_move *m)
{
	while (!m->stop && !m->status && m->off < m->len && m->flying < FAB_FLYING && m->lane->state == FAB_UP && give_piece(p, m))
		;
}

/* Has the engine had the time that it gets, to end a move that nobody waits for? */
static bool is_late(const struct fab_port *p, struct fab_move *m)
{
	const struct wf_lane *l = &m->lane->base;
	uint64_t now, wait = p->base.conf->failure_detect_ns;

	if (!l->peer_left && !m->lane->ending && m->lane->state < FAB_DYING)
		return false;
	if (p->mute || (!l->peer_left && m->lane->state < FAB_DYING))
		wait = FAB_LEFT_NS;
	now = wf_now_ns();
	if (!m->give_up_at)
		m->give_up_at = now + wait;
	return now >= m->give_up_at;
}

static void tell_end(struct fab_port *p, struct fab_move *m)
{
	struct fab_lane *l = m->lane;
	struct wf_copy *c = m->copy;
	struct wf_rma *x = m->rma;
	bool done = !m->status && !m->flying && m->off == m->len;
	int32_t status = done ? WEFT_OK : m->status ? m->status : WEFT_ECANCELED;

	if (c) {
		if (done)
			l->read[m->slot] = m->gen;
		if (m->answer) {
			l->gone[m->slot] = m->gen;
			l->answer_due |= 1u << m->slot;
			fab_due(l, 0);
		}
		l->base.copy_us += done ? m->len : 0;
	}
	m->copy = NULL;
	m->rma = NULL;
	if (!m->flying)
		move_free(p, m);
	if (c)
		wf_copy_done(c, done ? WEFT_OK : WEFT_ECANCELED);   /* the lane tells of its end by itself */
	else if (x)
		wf_rma_done(x, status);
}

static int step(struct fab_port *p, struct fab_move *m)
{
	bool over;

	if (!m->copy && !m->rma) {               /* given up */
		if (!m->flying)
			move_free(p, m);
		return 0;
	}
	give_pieces(p, m);
	if (m->lane->state >= FAB_DYING && !m->status && m->off < m->len)
		m->status = WEFT_ERESET;
	over = m->stop || m->status || m->off == m->len;
	if (!(over && !m->flying) && !is_late(p, m))
		return 0;
	if (m->flying && !p->eng->let_go(p, m))
		return 0;
	if (!m->status && (m->flying || !over))
		m->status = WEFT_ERESET;
	move_unreg(p, m);
	tell_end(p, m);
	return 1;
}

int fab_moves_step(struct fab_port *p)
{
	struct wf_list now, *it;
	int n = 0;

	for (; (it = wf_list_pop_front(&p->ended)); n++) {
		struct wf_copy *c = wf_list_entry(it, struct wf_copy, link);

		wf_copy_done(c, (int32_t)(int64_t)c->word[2]);
	}
	wf_list_init(&now);
	wf_list_splice_back(&now, &p->moves);
	while ((it = wf_list_pop_front(&now))) {
		wf_list_push_back(&p->moves, it);
		n += step(p, wf_list_entry(it, struct fab_move, link));
	}
	return n;
}

/* ---- large messages: the receiver ---- */

static bool was_stopped(const struct fab_lane *l, uint32_t slot, uint32_t gen)
{
	return l->gone[slot] && (int32_t)(gen - l->gone[slot]) <= 0;
}

int fab_copy_start(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	struct fab_desc d = { .n = 0 };
	struct fab_move *m;
	uint64_t all = 0;

	(void)r;
	if (c->desc_len < offsetof(struct fab_desc, far) || c->desc_len > sizeof(d))
		return WEFT_EPROTO;
	memcpy(&d, c->desc, c->desc_len);
	if (d.slot >= FAB_COPIES || !d.gen || d.n > FAB_PIECES || c->desc_len != offsetof(struct fab_desc, far) + d.n * sizeof(d.far[0]))
		return WEFT_EPROTO;
	for (uint32_t i = 0; i < d.n; i++)
		if (__builtin_add_overflow(all, d.far[i].len, &all))
			return WEFT_EPROTO;
	if (all < c->len)
		return WEFT_EPROTO;
	if (was_stopped(l, d.slot, d.gen))
		return WEFT_ECANCELED;
	m = l->state == FAB_UP && base->can_copy ? move_new(l, c->bufs, c->n, c->len, false) : NULL;
	if (!m)
		return WEFT_AGAIN;
	m->copy = c;
	m->slot = d.slot;
	m->gen = d.gen;
	m->n_far = d.n;
	memcpy(m->far, d.far, sizeof(m->far));
	c->ptr[0] = m;
	wf_list_push_back(&p->moves, &m->link);
	p->chores = true;
	give_pieces(p, m);
	return 0;
}

void fab_copy_stop(struct wf_lane *base, struct wf_copy *c)
{
	struct fab_lane *l = fab_lane_of(base);

	fab_lane_port(l)->chores = true;
	if (!c->sender) {
		((struct fab_move *)c->ptr[0])->stop = true;
		return;
	}
	l->stop_due |= 1u << c->word[0];
	fab_due(l, 0);
}

void fab_stop_heard(struct fab_lane *l, uint32_t slot, uint32_t gen)
{
	struct fab_port *p = fab_lane_port(l);
	struct wf_list *it, *tmp;

	p->chores = true;
	wf_list_foreach(it, tmp, &p->moves) {
		struct fab_move *m = wf_list_entry(it, struct fab_move, link);

		if (m->copy && m->lane == l && m->slot == slot && m->gen == gen) {
			m->stop = m->answer = true;
			return;
		}
	}
	l->gone[slot] = gen;
	l->answer_due |= 1u << slot;
	fab_due(l, 0);
}

/* ---- one-sided ---- */

size_t fab_mem_offer(struct wf_lane *base, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc,
		     size_t cap, uint64_t *hold)
{
	struct fab_lane *l = fab_lane_of(base);
	unsigned what = (access & WEFT_READ ? FAB_PEER_READS : 0) | (access & WEFT_WRITE ? FAB_PEER_WRITES : 0);
	struct fab_lent *t;
	struct fab_far far;

	if (l->state != FAB_UP || !l->base.can_copy || !what || !len || cap < sizeof(far))
		return 0;
	t = lent_new(fab_lane_port(l));
	if (!t)
		return 0;
	if (!lend(t, (char *)r->addr + off, len, what, &far)) {
		lent_free(t);
		return 0;
	}
	wf_list_push_back(&l->lent, &t->link);
	*hold = (uintptr_t)t;
	memcpy(desc, &far, sizeof(far));
	return sizeof(far);
}

void fab_mem_retract(struct wf_lane *l, uint64_t hold)
{
	(void)l;
	lent_free((struct fab_lent *)(uintptr_t)hold);
}

int fab_mem_open(struct wf_lane *base, struct wf_direct *d)
{
	struct fab_far far;

	if (d->desc_len != sizeof(far))
		return WEFT_EPROTO;
	memcpy(&far, d->desc, sizeof(far));
	if (!base->can_copy || far.len < d->len)
		return WEFT_EPROTO;
	d->word[0] = far.addr;
	d->word[1] = far.key;
	d->ready = true;
	return 0;
}

void fab_mem_close(struct wf_lane *l, struct wf_direct *d)
{
	(void)l;
	d->ready = false;
}

/* Nothing orders what lies in the peer's memory with frames that are sent later: x->ordered stays false. */
int fab_rma_start(struct wf_lane *base, struct wf_rma *x)
{
	struct fab_lane *l = fab_lane_of(base);
	struct fab_port *p = fab_lane_port(l);
	bool write = x->what == WF_RMA_PUT;
	uint32_t need = write ? WEFT_WRITE : WEFT_READ;
	const struct wf_direct *d = x->direct;
	struct fab_move *m;

	if (x->what == WF_RMA_ATOMIC || !x->len || !(d->access & need) || x->off > d->len || x->len > d->len - x->off)
		return WEFT_ENOTSUP;             /* by frames the owner's side finds the right word for it */
	m = l->state == FAB_UP ? move_new(l, x->bufs, x->n, x->len, write) : NULL;
	if (!m)
		return WEFT_ENOTSUP;
	m->rma = x;
	m->n_far = 1;
	m->far[0] = (struct fab_far){ .addr = d->word[0] + x->off, .len = x->len, .key = d->word[1] };
	wf_list_push_back(&p->moves, &m->link);
	p->chores = true;
	give_pieces(p, m);
	return WEFT_PENDING;
}
