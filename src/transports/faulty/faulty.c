/* SPDX-License-Identifier: BSD-3-Clause
 *
 * faulty.c - the rows of a wrapped transport. Each forwards to the inner one; the structs of lane and port are the inner
 * one's own, with our state appended behind them, so the inner transport never notices.
 *
 * Upcalls go from the inner transport straight to core. What we add is made in poll(): frames that were held back are
 * handed on when their time has come, a cut or a refusal is reported with wf_lane_down(). A cut lane is paused, so that
 * the inner one delivers nothing more; it is torn down when core closes it, which the peer then sees as a reset.
 *
 * A frame that is held back is copied, so its sender is done at once; in the inner transport's hands it is lent
 * (`lent`) until its wf_sent_done(), or until the lane is closed.
 */
#include "transports/faulty/faulty.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/rng.h"
#include "os/clock.h"
#include "os/sock.h"

#define HELD_FRAMES 256
#define HELD_BYTES  (4u << 20)
#define RETRY_NS    (100 * WF_NS_PER_US) /* when the inner transport is full */

struct faulty {
	struct wf_transport tr;
	const struct wf_transport *inner;
	size_t lane_off, port_off;      /* of our state */
};

struct held {
	struct wf_list link;            /* in held or lent of its lane */
	struct wf_sent sent;
	uint64_t due_ns;
	struct wf_frame h;
	weft_buf buf;
	unsigned char data[];
};

struct faulty_port {
	struct wf_list busy;            /* lanes that poll() has to look at, by faulty_lane.link */
	struct wf_watch watch;
	int timer_fd;
	struct wf_rng rng;
	struct wf_faulty_conf conf;
};

struct faulty_lane {
	struct wf_lane *l;              /* NULL: not used yet */
	struct wf_list link;
	struct wf_list held, lent;
	size_t n_held, held_bytes;
	uint64_t last_ns;               /* the latest due_ns given: keeps the order */
	int32_t down;                   /* status to report, 0: none */
	bool told, full, known;         /* reported; said WEFT_AGAIN; the inner transport knows the lane */
};

static const struct faulty *faulty_of(const struct wf_transport *tr)
{
	return wf_container_of(tr, const struct faulty, tr);
}

static const struct wf_transport *inner_of(const struct wf_transport *tr)
{
	return faulty_of(tr)->inner;
}

static struct faulty_port *port_state(struct wf_port *p)
{
	return (struct faulty_port *)(void *)((char *)p + faulty_of(p->tr)->port_off);
}

static struct faulty_lane *lane_state(struct wf_lane *l)
{
	struct faulty_lane *fl = (struct faulty_lane *)(void *)((char *)l + faulty_of(l->tr)->lane_off);

	if (!fl->l) {
		fl->l = l;
		fl->known = true; /* connect() and offer() know better */
		wf_list_init(&fl->link);
		wf_list_init(&fl->held);
		wf_list_init(&fl->lent);
	}
	return fl;
}

static void make_busy(struct faulty_lane *fl)
{
	if (fl->l->port && !wf_list_is_linked(&fl->link))
		wf_list_push_back(&port_state(fl->l->port)->busy, &fl->link);
}

/* ---- settings ---- */

/* "0.001" without the locale's idea of a point. */
static bool parse_probability(const char *text, size_t len, double *out)
{
	double v = 0, unit = 1;
	bool point = false;

	if (!len)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' && !point) {
			point = true;
		} else if (text[i] >= '0' && text[i] <= '9') {
			v = v * 10 + (text[i] - '0');
			unit *= point ? 10 : 1;
		} else {
			return false;
		}
	}
	*out = v / unit;
	return *out <= 1;
}

static bool parse_number(const char *text, size_t len, uint64_t *out)
{
	uint64_t v = 0;

	if (!len || len > 18)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	*out = v;
	return true;
}

static bool key_is(const char *item, size_t len, const char *key)
{
	return strlen(key) == len && !memcmp(item, key, len);
}

static bool parse_item(const char *item, size_t len, struct wf_faulty_conf *out)
{
	const char *eq = memchr(item, '=', len), *value;
	size_t key_len, value_len;
	uint64_t us;

	if (!eq)
		return false;
	key_len = (size_t)(eq - item);
	value = eq + 1;
	value_len = len - key_len - 1;
	if (key_is(item, key_len, "seed"))
		return parse_number(value, value_len, &out->seed);
	if (key_is(item, key_len, "cut"))
		return parse_probability(value, value_len, &out->cut);
	if (key_is(item, key_len, "refuse"))
		return parse_probability(value, value_len, &out->refuse);
	if (!key_is(item, key_len, "delay_us") || !parse_number(value, value_len, &us) || us > 10000000)
		return false;
	out->delay_ns = us * WF_NS_PER_US;
	return true;
}

int wf_faulty_parse(const char *text, struct wf_faulty_conf *out)
{
	const char *at = text, *item;
	size_t len;

	*out = (struct wf_faulty_conf){ 0 };
	while ((item = wf_conf_list_next(&at, &len))) {
		if (!parse_item(item, len, out))
			return wf_fail(WEFT_ESETTING, 0, "fault", "seed=N, delay_us=0..10000000, cut=0..1, refuse=0..1, with commas between",
				       "\"%.*s\" names no fault, or a value that it does not take", (int)WF_MIN(len, 60), item);
	}
	return 0;
}

/* ---- the port ---- */

static void on_timer(void *arg, uint32_t events)
{
	struct faulty_port *fp = arg;

	(void)events;
	wf_timer_drain(fp->timer_fd); /* it only wakes the worker, which then polls */
}

static int faulty_open(struct wf_port *p)
{
	const struct wf_transport *inner = inner_of(p->tr);
	struct faulty_port *fp = port_state(p);
	int ret;

	wf_list_init(&fp->busy);
	ret = wf_faulty_parse(p->conf->fault, &fp->conf);
	if (ret)
		return ret;
	wf_rng_init(&fp->rng, fp->conf.seed);
	ret = wf_timer_open(&fp->timer_fd);
	if (ret)
		return wf_fail(wf_status_of_errno(-ret), -ret, "faulty", NULL, "cannot make a timer");
	wf_watch_init(&fp->watch, on_timer, fp);
	ret = wf_poll_add(p->poll, &fp->watch, fp->timer_fd, EPOLLIN);
	if (ret) {
		wf_fd_close(&fp->timer_fd);
		return wf_fail(wf_status_of_errno(-ret), -ret, "faulty", NULL, "cannot watch a timer");
	}
	ret = inner->open ? inner->open(p) : 0;
	if (ret) {
		wf_poll_del(p->poll, &fp->watch);
		wf_fd_close(&fp->timer_fd);
	}
	return ret;
}

static void faulty_close(struct wf_port *p)
{
	struct faulty_port *fp = port_state(p);

	if (inner_of(p->tr)->close)
		inner_of(p->tr)->close(p);
	wf_poll_del(p->poll, &fp->watch);
	wf_fd_close(&fp->timer_fd);
}

/* ---- connections ---- */

static bool is_refused(struct wf_lane *l)
{
	struct faulty_port *fp = port_state(l->port);
	struct faulty_lane *fl = lane_state(l);

	if (!wf_rng_hit(&fp->rng, fp->conf.refuse))
		return false;
	fl->down = WEFT_EREFUSED;
	make_busy(fl);
	return true;
}

static int faulty_connect(struct wf_lane *l, const char *to)
{
	struct faulty_lane *fl = lane_state(l);

	fl->known = !is_refused(l);
	if (!fl->known) {
		snprintf(l->peer, sizeof(l->peer), "%s", to);
		return 0;
	}
	return inner_of(l->tr)->connect(l, to);
}

static int faulty_attach(struct wf_lane *l, bool active, const void *offer, size_t len)
{
	if (active && is_refused(l))
		return 0;
	return inner_of(l->tr)->attach(l, active, offer, len);
}

static int faulty_move(struct wf_lane *l, struct wf_port *to)
{
	struct faulty_lane *fl = lane_state(l);
	int ret;

	wf_list_remove(&fl->link);
	ret = inner_of(l->tr)->move(l, to);
	if (!ret && to && (fl->n_held || (fl->down && !fl->told)))
		wf_list_push_back(&port_state(to)->busy, &fl->link);
	return ret;
}

static void drop_frames(struct wf_list *frames)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(frames)))
		wf_free(wf_list_entry(it, struct held, link));
}

static void sent_done(struct wf_sent *s)
{
	struct held *h = wf_container_of(s, struct held, sent);

	wf_list_remove(&h->link);
	wf_free(h);
}

/* Gives the oldest frame to the inner transport. WEFT_OK, WEFT_AGAIN, or its failure. */
static int hand_on(struct faulty_lane *fl, struct held *h)
{
	struct wf_tx tx = { .h = h->h, .bufs = &h->buf, .n = 1, .len = h->buf.len, .sent = &h->sent };
	int ret;

	wf_list_remove(&h->link);
	wf_list_push_back(&fl->lent, &h->link); /* before the call: the upcall may be quick */
	ret = inner_of(fl->l->tr)->send(fl->l, &tx);
	if (ret == WEFT_AGAIN) {
		wf_list_remove(&h->link);
		wf_list_push_front(&fl->held, &h->link);
		h->due_ns = wf_now_ns() + RETRY_NS;
		return ret;
	}
	fl->n_held--;
	fl->held_bytes -= h->buf.len;
	if (ret != WEFT_PENDING)
		sent_done(&h->sent);
	return ret < 0 ? ret : WEFT_OK;
}

static void faulty_lane_close(struct wf_lane *l)
{
	struct faulty_lane *fl = lane_state(l);
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &fl->held) { /* late, not lost: an orderly end must reach the peer */
		if (fl->down || hand_on(fl, wf_list_entry(it, struct held, link)))
			break;
	}
	wf_list_remove(&fl->link);
	if (fl->known)
		inner_of(l->tr)->lane_close(l);
	drop_frames(&fl->held);
	drop_frames(&fl->lent);
}

/* ---- frames ---- */

/* With every frame the lane may break. */
static bool is_cut(struct faulty_lane *fl)
{
	struct faulty_port *fp = port_state(fl->l->port);

	if (fl->down)
		return true;
	if (!wf_rng_hit(&fp->rng, fp->conf.cut))
		return false;
	fl->down = WEFT_ERESET;
	fl->l->paused = true;
	make_busy(fl);
	return true;
}

static int hold(struct faulty_lane *fl, const struct wf_tx *tx)
{
	struct faulty_port *fp = port_state(fl->l->port);
	struct held *h = NULL;
	uint64_t due = wf_now_ns() + wf_rng_below(&fp->rng, 2 * fp->conf.delay_ns);

	if (fl->n_held < HELD_FRAMES && fl->held_bytes < HELD_BYTES)
		h = wf_malloc(sizeof(*h) + tx->h.len);
	make_busy(fl);
	if (!h) {
		fl->full = true;
		return WEFT_AGAIN;
	}
	fl->last_ns = WF_MAX(due, fl->last_ns);
	h->due_ns = fl->last_ns;
	h->h = tx->h;
	h->sent = (struct wf_sent){ .done = sent_done };
	if (tx->pre_len)
		memcpy(h->data, tx->pre, tx->pre_len);
	wf_bufs_copy_out(h->data + tx->pre_len, tx->bufs, tx->n, tx->off, tx->len);
	h->buf = (weft_buf){ .addr = h->data, .len = tx->h.len };
	wf_list_push_back(&fl->held, &h->link);
	fl->n_held++;
	fl->held_bytes += tx->h.len;
	return WEFT_OK;
}

static int faulty_send(struct wf_lane *l, const struct wf_tx *tx)
{
	struct faulty_lane *fl = lane_state(l);

	if (is_cut(fl))
		return WEFT_OK; /* swallowed; the lane goes down in the next poll() */
	if (port_state(l->port)->conf.delay_ns || fl->n_held)
		return hold(fl, tx);
	return inner_of(l->tr)->send(l, tx);
}

/* What is due on one lane; how many things happened. */
static int serve(struct faulty_lane *fl, uint64_t now)
{
	struct wf_list *it;
	int n = 0;

	if (fl->down) {
		if (fl->told)
			return 0;
		fl->told = true;
		drop_frames(&fl->held);
		fl->n_held = fl->held_bytes = 0;
		wf_lane_down(fl->l, fl->down, 0,
			     fl->down == WEFT_EREFUSED ? "refused by the setting fault" : "cut by the setting fault");
		return 1;
	}
	while ((it = wf_list_first(&fl->held)) && wf_list_entry(it, struct held, link)->due_ns <= now) {
		if (hand_on(fl, wf_list_entry(it, struct held, link)))
			break;
		n++;
	}
	if (fl->full && fl->n_held <= HELD_FRAMES / 2) {
		fl->full = false;
		wf_lane_room(fl->l);
		n++;
	}
	return n;
}

static int faulty_poll(struct wf_port *p)
{
	struct faulty_port *fp = port_state(p);
	struct wf_list turn, *it;
	int n = inner_of(p->tr)->poll(p);
	uint64_t now;

	if (wf_list_is_empty(&fp->busy))
		return n;
	now = wf_now_ns();
	wf_list_init(&turn);
	wf_list_splice_back(&turn, &fp->busy);
	while ((it = wf_list_pop_front(&turn))) {
		struct faulty_lane *fl = wf_list_entry(it, struct faulty_lane, link);

		n += serve(fl, now);
		if (fl->n_held || fl->full)
			make_busy(fl);
	}
	return n;
}

static int faulty_arm(struct wf_port *p)
{
	struct faulty_port *fp = port_state(p);
	struct wf_list *it, *tmp;
	uint64_t next = 0;

	wf_list_foreach(it, tmp, &fp->busy) {
		struct faulty_lane *fl = wf_list_entry(it, struct faulty_lane, link);
		struct wf_list *first = wf_list_first(&fl->held);
		uint64_t due = first ? wf_list_entry(first, struct held, link)->due_ns : 1;

		if (!next || due < next)
			next = due;
	}
	if (next && next <= wf_now_ns())
		return WEFT_AGAIN;
	wf_timer_set(fp->timer_fd, next);
	return inner_of(p->tr)->arm ? inner_of(p->tr)->arm(p) : WEFT_OK;
}

/* ---- rows that only forward ---- */

static int faulty_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r)
{
	return lane_state(l)->down ? WEFT_AGAIN : inner_of(l->tr)->copy_start(l, c, r);
}

static int faulty_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r)
{
	return lane_state(l)->down ? WEFT_AGAIN : inner_of(l->tr)->copy_offer(l, c, r);
}

static int faulty_rma(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n,
		      size_t len)
{
	return lane_state(l)->down ? WEFT_AGAIN : inner_of(l->tr)->rma(l, d, what, off, bufs, n, len);
}

static int faulty_atomic(struct wf_lane *l, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand,
			 uint64_t compare, uint64_t *old_out)
{
	return lane_state(l)->down ? WEFT_AGAIN : inner_of(l->tr)->atomic(l, d, what, off, operand, compare, old_out);
}

/* After a cut nothing is to be delivered any more, whatever core thinks of its own pauses. */
static void faulty_resume(struct wf_lane *l)
{
	if (lane_state(l)->down)
		l->paused = true;
	else if (inner_of(l->tr)->resume)
		inner_of(l->tr)->resume(l);
}

/* Every row that the inner transport offers and that we change; the others stay as they are. */
static void wrap(struct faulty *f, const struct wf_transport *inner)
{
	f->inner = inner;
	f->tr = *inner;
	f->lane_off = WF_ALIGN_UP(inner->lane_size, sizeof(uint64_t));
	f->port_off = WF_ALIGN_UP(inner->port_size, sizeof(uint64_t));
	f->tr.lane_size = f->lane_off + sizeof(struct faulty_lane);
	f->tr.port_size = f->port_off + sizeof(struct faulty_port);
	f->tr.open = faulty_open;
	f->tr.close = faulty_close;
	f->tr.connect = inner->connect ? faulty_connect : NULL;
	f->tr.attach = inner->attach ? faulty_attach : NULL;
	f->tr.move = inner->move ? faulty_move : NULL;
	f->tr.lane_close = faulty_lane_close;
	f->tr.send = faulty_send;
	f->tr.send_short = NULL;         /* it would pass by the frames that are held back */
	f->tr.resume = faulty_resume;
	f->tr.copy_offer = inner->copy_offer ? faulty_copy_offer : NULL;
	f->tr.copy_start = inner->copy_start ? faulty_copy_start : NULL;
	f->tr.rma = inner->rma ? faulty_rma : NULL;
	f->tr.atomic = inner->atomic ? faulty_atomic : NULL;
	f->tr.poll = faulty_poll;
	f->tr.arm = faulty_arm;
}

const struct wf_transport *wf_faulty_wrap(const struct wf_transport *inner)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct faulty tables[WF_FAULTY_MAX];
	const struct wf_transport *found = inner;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < WF_FAULTY_MAX && found == inner; i++) {
		if (!tables[i].inner)
			wrap(&tables[i], inner);
		if (tables[i].inner == inner)
			found = &tables[i].tr;
	}
	pthread_mutex_unlock(&lock);
	return found;
}
