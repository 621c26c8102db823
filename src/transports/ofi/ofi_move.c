/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_move.c - large messages, which the receiver reads, and one-sided operations. Both are moves: pieces of what is near
 * and what is far, a few of them in the provider's hands at a time.
 *
 * An offered buffer is named by a slot and by which use of it this is (gen), so that "stopped" and "read to its end" are one number
 * for each slot: the generations of a slot follow each other, and an older one is over. Its sender may take it back: STOP, and
 * it is quiet when STOPPED has come, when the peer has left, or when the lane ends anyway; registrations are closed in either case, which is where an
 * adapter lets go of memory. A piece that the provider has cannot be taken back: who stops a receive waits for it.
 *
 * A peer that is dead ends moves by errors of the provider's, on most. Where that does not come, a move is given up after
 * a while, if its buffers are quiet then (may_let_go()): what the provider has of it stays ours to keep until the port is closed.
 * If they are not, the endpoint itself is closed, as soon as nobody else needs it; until then the operation waits.
 */
#include "transports/ofi/ofi.h"

#include "base/fault.h"

#define CHUNK_MIN (64u << 10)

/* ---- registrations of ours that the peer reaches ---- */

/* The peer reaches it no more. */
static void lent_quiet(struct ofi_lent *t)
{
	while (t->n)
		ofi_unreg(&t->mr[--t->n]);
}

static void lent_free(struct ofi_lent *t)
{
	if (!t)
		return;
	wf_list_remove(&t->link);
	lent_quiet(t);
	wf_free(t);
}

static struct ofi_lent *lent_new(void)
{
	struct ofi_lent *t = wf_calloc(1, sizeof(*t));

	if (t)
		wf_list_init(&t->link);
	return t;
}

/* Registers one more piece, and says where the peer finds it. */
static bool lend(struct ofi_port *p, struct ofi_lent *t, void *addr, size_t len, uint64_t access, struct ofi_far *out)
{
	struct fid_mr *mr = t->n < OFI_PIECES ? ofi_reg(p, addr, len, access) : NULL;

	if (!mr)
		return false;
	t->mr[t->n++] = mr;
	*out = (struct ofi_far){ .addr = ofi_far_addr(p, addr), .len = len, .key = mr->key };
	return true;
}

void ofi_lane_lent_free(struct ofi_lane *l)
{
	struct ofi_port *p = ofi_lane_port(l);
	struct wf_list *it, *tmp;

	while ((it = wf_list_first(&l->lent)))
		lent_free(wf_list_entry(it, struct ofi_lent, link));
	for (unsigned s = 0; s < OFI_COPIES; s++) {
		if (l->offer[s])
			lent_free(l->offer[s]->ptr[0]);
		l->offer[s] = NULL;
	}
	wf_list_foreach(it, tmp, &p->moves) {
		struct ofi_move *m = wf_list_entry(it, struct ofi_move, link);

		if (m->lane == l)
			m->lane = NULL;  /* given up long ago */
	}
}

void ofi_lane_lent_quiet(struct ofi_lane *l)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &l->lent)
		lent_quiet(wf_list_entry(it, struct ofi_lent, link));
	for (unsigned s = 0; s < OFI_COPIES; s++)
		if (l->offer[s])
			lent_quiet(l->offer[s]->ptr[0]);
}

/* ---- large messages: the sender ---- */

int ofi_copy_offer(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_desc d = { .n = 0 };
	struct ofi_lent *t;
	uint32_t s = 0;

	(void)r;
	while (s < OFI_COPIES && l->offer[s])
		s++;
	t = s < OFI_COPIES && l->state == OFI_UP ? lent_new() : NULL;
	if (!t)
		return WEFT_AGAIN;
	for (size_t i = 0; i < c->n; i++) {
		if (!c->bufs[i].len)
			continue;
		if (!lend(ofi_lane_port(l), t, c->bufs[i].addr, c->bufs[i].len, FI_REMOTE_READ, &d.far[WF_MIN(t->n, OFI_PIECES - 1)])) {
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
	c->desc_len = (uint32_t)(offsetof(struct ofi_desc, far) + t->n * sizeof(d.far[0]));
	memcpy(c->desc, &d, c->desc_len);
	return 0;
}

static void offer_ends(struct ofi_lane *l, struct wf_copy *c)
{
	uint32_t bit = 1u << c->word[0];

	lent_free(c->ptr[0]);
	l->offer[c->word[0]] = NULL;
	l->stop_due &= ~bit;
	l->stop_sent &= ~bit;
}

/* Its upcall is due. */
static void offer_stopped(struct ofi_lane *l, struct wf_copy *c, int32_t status)
{
	struct ofi_port *p = ofi_lane_port(l);

	offer_ends(l, c);
	c->word[2] = (uint64_t)(int64_t)status;
	wf_list_push_back(&p->ended, &c->link);
	p->chores = true;
}

void ofi_copy_end(struct wf_lane *base, struct wf_copy *c)
{
	base->copy_peer += c->len;
	offer_ends(ofi_lane_of(base), c);
}

void ofi_stopped_heard(struct ofi_lane *l, uint32_t slot, uint32_t gen, bool done)
{
	if (l->stop_sent & 1u << slot && l->offer[slot] && l->gen[slot] == gen)
		offer_stopped(l, l->offer[slot], done ? WEFT_OK : WEFT_ECANCELED);
}

/*
 * The peer's side of the lane is closed, it is dead, or the fabric is broken between us: it reads nothing more. When this
 * lane is ending, its peer may read what is not there any more, and only that lane breaks; it gets a moment to answer.
 */
static bool need_not_wait(struct ofi_lane *l)
{
	if (l->base.peer_left || l->state >= OFI_DYING)
		return true;
	if (!l->ending)
		return false;
	if (!l->stops_until)
		l->stops_until = wf_now_ns() + OFI_LEFT_NS;
	return wf_now_ns() >= l->stops_until;
}

int ofi_stops_end(struct ofi_lane *l)
{
	uint32_t all = l->stop_due | l->stop_sent;
	int n = 0;

	if (!need_not_wait(l))
		return 0;
	for (unsigned s = 0; s < OFI_COPIES; s++) {
		if (!(all & 1u << s) || !l->offer[s])
			continue;
		offer_stopped(l, l->offer[s], WEFT_ECANCELED);
		n++;
	}
	l->stop_due = l->stop_sent = 0;
	return n;
}

/* ---- moves ---- */

static struct ofi_move *move_new(struct ofi_lane *l, const weft_buf *bufs, size_t n, uint64_t len, bool write)
{
	struct ofi_port *p = ofi_lane_port(l);
	struct ofi_move *m;

	if (p->reg_local && n > OFI_MOVE_BUFS)
		return NULL;
	m = wf_pool_get(&p->move_pool);
	if (!m)
		return NULL;
	*m = (struct ofi_move){ .lane = l, .peer = l->peer, .bufs = bufs, .n = n, .len = len, .write = write };
	wf_list_init(&m->link);
	for (size_t i = 0; p->reg_local && i < n; i++) {
		if (!bufs[i].len)
			continue;
		m->mr[i] = ofi_reg(p, bufs[i].addr, bufs[i].len, write ? FI_WRITE : FI_READ);
		if (m->mr[i])
			continue;
		while (i)
			ofi_unreg(&m->mr[--i]);
		wf_pool_put(&p->move_pool, m);
		return NULL;
	}
	return m;
}

static void move_unreg(struct ofi_move *m)
{
	for (size_t i = 0; i < OFI_MOVE_BUFS; i++)
		ofi_unreg(&m->mr[i]);
}

static void move_free(struct ofi_port *p, struct ofi_move *m)
{
	wf_list_remove(&m->link);
	move_unreg(m);
	wf_pool_put(&p->move_pool, m);
}

static void piece_done(struct ofi_port *p, struct ofi_op *op, size_t len, int err)
{
	struct ofi_piece *piece = wf_container_of(op, struct ofi_piece, op);
	struct ofi_move *m = piece->move;

	(void)len;
	m->flying--;
	m->peer->busy--;
	p->chores = true;
	wf_pool_put(&p->pieces, piece);
	if (!err || m->status)
		return;
	m->status = WEFT_ERESET;
	if (m->lane)
		ofi_broke(m->lane, err, m->write ? "writing memory" : "reading memory");
}

void ofi_moves_drop(struct ofi_port *p)
{
	struct wf_list *it;

	while ((it = wf_list_first(&p->moves)))
		move_free(p, wf_list_entry(it, struct ofi_move, link));
}

void ofi_moves_cut(struct ofi_port *p)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->moves) {
		struct ofi_move *m = wf_list_entry(it, struct ofi_move, link);

		move_unreg(m);
		m->flying = 0;
		m->peer = NULL;
		m->status = WEFT_ERESET;
	}
}

/* The longest piece that lies in one buffer here and in one there. */
static size_t next_piece(const struct ofi_port *p, const struct ofi_move *m, struct iovec *near, size_t *buf_out, struct fi_rma_iov *far)
{
	size_t most = WF_MIN(WF_MAX(p->base.conf->copy_chunk, CHUNK_MIN), p->info->ep_attr->max_msg_size);
	uint64_t at = m->off;
	size_t i = 0, k = 0, len;

	while (i < m->n && at >= m->bufs[i].len)
		at -= m->bufs[i++].len;
	near->iov_base = (char *)m->bufs[i].addr + at;
	len = WF_MIN(WF_MIN(m->bufs[i].len - at, m->len - m->off), most);
	for (at = m->off; at >= m->far[k].len; k++)
		at -= m->far[k].len;
	len = WF_MIN(len, m->far[k].len - at);
	near->iov_len = len;
	*far = (struct fi_rma_iov){ .addr = m->far[k].addr + at, .len = len, .key = m->far[k].key };
	*buf_out = i;
	return len;
}

/* Gives one more piece to the provider. False: not now, or the move has failed. */
static bool give_piece(struct ofi_port *p, struct ofi_move *m)
{
	struct ofi_piece *piece = wf_pool_get(&p->pieces);
	struct fi_rma_iov far;
	struct iovec near;
	void *desc = NULL;
	struct fi_msg_rma msg = { .msg_iov = &near, .iov_count = 1, .addr = m->peer->at, .rma_iov = &far, .rma_iov_count = 1 };
	size_t buf, len;
	ssize_t ret;

	if (!piece) {
		p->stuck = true;
		return false;
	}
	*piece = (struct ofi_piece){ .op = { .done = piece_done }, .move = m };
	len = next_piece(p, m, &near, &buf, &far);
	if (p->reg_local)
		desc = m->mr[buf]->mem_desc;
	msg.desc = &desc;
	msg.context = &piece->op;
	/* What a flush reports must lie in the peer's memory, not only have left ours. */
	ret = m->write ? p->ep->rma->writemsg(p->ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE) :
			 p->ep->rma->readmsg(p->ep, &msg, FI_COMPLETION);
	if (!ret) {
		m->off += len;
		m->flying++;
		m->peer->busy++;
		return true;
	}
	wf_pool_put(&p->pieces, piece);
	if (ret == -FI_EAGAIN) {
		p->stuck = true;
		return false;
	}
	m->status = WEFT_ERESET;
	p->words[0] = 0;
	ofi_broke(m->lane, (int)-ret, m->write ? "writing memory" : "reading memory");
	return false;
}

static void give_pieces(struct ofi_port *p, struct ofi_move *m)
{
	while (!m->stop && !m->status && m->off < m->len && m->flying < OFI_FLYING && m->lane->state == OFI_UP && give_piece(p, m))
		;
}

/* Has the provider had the time that it gets, to end a move that nobody waits for? */
static bool is_late(const struct ofi_port *p, struct ofi_move *m)
{
	const struct wf_lane *l = &m->lane->base;
	uint64_t now, wait = p->base.conf->failure_detect_ns;

	if (!l->peer_left && !m->lane->ending && m->lane->state < OFI_DYING)
		return false;
	if (p->is_shm || (!l->peer_left && m->lane->state < OFI_DYING))
		wait = OFI_LEFT_NS;
	now = wf_now_ns();
	if (!m->give_up_at)
		m->give_up_at = now + wait;
	return now >= m->give_up_at;
}

/* An adapter lets go with the registration; a dead process of this host does nothing; what a dead peer is sent hurts nobody. */
static bool may_let_go(const struct ofi_port *p, const struct ofi_move *m)
{
	return p->reg_local || (m->lane->base.peer_left && (p->is_shm || m->write));
}

/* Does nobody else need the endpoint? */
static bool nobody_else(const struct ofi_port *p)
{
	const struct wf_map_row *row;
	size_t at = 0;

	while ((row = wf_map_next(&p->by_key, &at))) {
		const struct ofi_lane *l = row->value;

		if (l->state < OFI_DYING && !l->ending && !l->base.peer_left && l->base.owner)
			return false;
	}
	return true;
}

static void tell_end(struct ofi_port *p, struct ofi_move *m)
{
	struct ofi_lane *l = m->lane;
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
			ofi_due(l, 0);
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

static int step(struct ofi_port *p, struct ofi_move *m)
{
	bool over;

	if (!m->copy && !m->rma) {               /* given up */
		if (!m->flying)
			move_free(p, m);
		return 0;
	}
	give_pieces(p, m);
	if (m->lane->state >= OFI_DYING && !m->status && m->off < m->len)
		m->status = WEFT_ERESET;
	over = m->stop || m->status || m->off == m->len;
	if (!(over && !m->flying) && !is_late(p, m))
		return 0;
	if (m->flying && !may_let_go(p, m)) {
		p->cut = p->cut || nobody_else(p);
		return 0;
	}
	if (!m->status && (m->flying || !over))
		m->status = WEFT_ERESET;
	move_unreg(m);
	tell_end(p, m);
	return 1;
}

int ofi_moves_step(struct ofi_port *p)
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
		n += step(p, wf_list_entry(it, struct ofi_move, link));
	}
	if (p->cut)
		ofi_ep_cut(p);
	return n;
}

/* ---- large messages: the receiver ---- */

static bool was_stopped(const struct ofi_lane *l, uint32_t slot, uint32_t gen)
{
	return l->gone[slot] && (int32_t)(gen - l->gone[slot]) <= 0;
}

int ofi_copy_start(struct wf_lane *base, struct wf_copy *c, const struct wf_region *r)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	struct ofi_desc d = { .n = 0 };
	struct ofi_move *m;
	uint64_t all = 0;

	(void)r;
	if (c->desc_len < offsetof(struct ofi_desc, far) || c->desc_len > sizeof(d))
		return WEFT_EPROTO;
	memcpy(&d, c->desc, c->desc_len);
	if (d.slot >= OFI_COPIES || !d.gen || d.n > OFI_PIECES || c->desc_len != offsetof(struct ofi_desc, far) + d.n * sizeof(d.far[0]))
		return WEFT_EPROTO;
	for (uint32_t i = 0; i < d.n; i++)
		if (__builtin_add_overflow(all, d.far[i].len, &all))
			return WEFT_EPROTO;
	if (all < c->len)
		return WEFT_EPROTO;
	if (was_stopped(l, d.slot, d.gen))
		return WEFT_ECANCELED;
	m = l->state == OFI_UP && p->reads ? move_new(l, c->bufs, c->n, c->len, false) : NULL;
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

void ofi_copy_stop(struct wf_lane *base, struct wf_copy *c)
{
	struct ofi_lane *l = ofi_lane_of(base);

	ofi_lane_port(l)->chores = true;
	if (!c->sender) {
		((struct ofi_move *)c->ptr[0])->stop = true;
		return;
	}
	l->stop_due |= 1u << c->word[0];
	ofi_due(l, 0);
}

void ofi_stop_heard(struct ofi_lane *l, uint32_t slot, uint32_t gen)
{
	struct ofi_port *p = ofi_lane_port(l);
	struct wf_list *it, *tmp;

	p->chores = true;
	wf_list_foreach(it, tmp, &p->moves) {
		struct ofi_move *m = wf_list_entry(it, struct ofi_move, link);

		if (m->copy && m->lane == l && m->slot == slot && m->gen == gen) {
			m->stop = m->answer = true;
			return;
		}
	}
	l->gone[slot] = gen;
	l->answer_due |= 1u << slot;
	ofi_due(l, 0);
}

/* ---- one-sided ---- */

size_t ofi_mem_offer(struct wf_lane *base, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc,
		     size_t cap, uint64_t *hold)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	uint64_t what = (access & WEFT_READ ? FI_REMOTE_READ : 0) | (access & WEFT_WRITE ? FI_REMOTE_WRITE : 0);
	struct ofi_lent *t;
	struct ofi_far far;

	if (l->state != OFI_UP || !l->base.can_copy || !what || !len || cap < sizeof(far))
		return 0;
	t = lent_new();
	if (!t)
		return 0;
	if (!lend(p, t, (char *)r->addr + off, len, what, &far)) {
		lent_free(t);
		return 0;
	}
	wf_list_push_back(&l->lent, &t->link);
	*hold = (uintptr_t)t;
	memcpy(desc, &far, sizeof(far));
	return sizeof(far);
}

void ofi_mem_retract(struct wf_lane *l, uint64_t hold)
{
	(void)l;
	lent_free((struct ofi_lent *)(uintptr_t)hold);
}

int ofi_mem_open(struct wf_lane *base, struct wf_direct *d)
{
	struct ofi_far far;

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

void ofi_mem_close(struct wf_lane *l, struct wf_direct *d)
{
	(void)l;
	d->ready = false;
}

/* Nothing orders what lies in the peer's memory with frames that are sent later: x->ordered stays false. */
int ofi_rma_start(struct wf_lane *base, struct wf_rma *x)
{
	struct ofi_lane *l = ofi_lane_of(base);
	struct ofi_port *p = ofi_lane_port(l);
	bool write = x->what == WF_RMA_PUT;
	uint32_t need = write ? WEFT_WRITE : WEFT_READ;
	const struct wf_direct *d = x->direct;
	struct ofi_move *m;

	if (x->what == WF_RMA_ATOMIC || !x->len || !(d->access & need) || x->off > d->len || x->len > d->len - x->off)
		return WEFT_ENOTSUP;             /* by frames the owner's side finds the right word for it */
	m = l->state == OFI_UP ? move_new(l, x->bufs, x->n, x->len, write) : NULL;
	if (!m)
		return WEFT_ENOTSUP;
	m->rma = x;
	m->n_far = 1;
	m->far[0] = (struct ofi_far){ .addr = d->word[0] + x->off, .len = x->len, .key = d->word[1] };
	wf_list_push_back(&p->moves, &m->link);
	p->chores = true;
	give_pieces(p, m);
	return WEFT_PENDING;
}
