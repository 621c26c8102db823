/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp_tx.c - sending. A lane's queue is a list of segments in the order of the stream: copied bytes
 * (many small frames in one) and lent frames (header and a vector over the caller's buffers).
 * Everything goes through the queue and out by tcp_flush(), which hands as many segments to one
 * system call as fit.
 *
 * When is it written? A small frame at once if it is the lane's first in this turn of the port, so
 * that a lone message does not wait; those after it are held back until poll() or arm(), or until
 * enough is there, so that a burst costs few system calls. A large frame at once, with all that is
 * before it, unless poll() sends it: then at its end, with those that follow. Nothing is held back
 * while the worker is armed.
 *
 * The queue grows beyond one write only while the socket is full. Then it is bounded by WEFT_AGAIN.
 */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "os/sock.h"
#include "transports/tcp/tcp.h"

#define FREE_COPIED_MAX 16u
#define FREE_LENT_MAX 16u
#define FILL_MAX (2 * TCP_IOV) /* vector of one write */
#define PAGE     4096u

static struct tcp_copied *copied_of(struct tcp_seg *s)
{
	return wf_container_of(s, struct tcp_copied, s);
}

static struct tcp_lent *lent_of(struct tcp_seg *s)
{
	return wf_container_of(s, struct tcp_lent, s);
}

/* A lane between two workers has no port, and so no free list. */
static struct tcp_seg *seg_get(struct tcp_port *tp, bool lent)
{
	struct tcp_seg **free_list = tp ? (lent ? &tp->free_lent : &tp->free_copied) : NULL;
	struct tcp_seg *s;

	if (free_list && *free_list) {
		s = *free_list;
		*free_list = s->next;
		if (lent)
			tp->n_free_lent--;
		else
			tp->n_free_copied--;
	} else if (lent) {
		struct tcp_lent *fresh = wf_malloc(sizeof(*fresh));

		s = fresh ? &fresh->s : NULL;
	} else {
		struct tcp_copied *fresh = wf_malloc(sizeof(*fresh));

		s = fresh ? &fresh->s : NULL;
	}
	if (s)
		*s = (struct tcp_seg){ .lent = lent };
	return s;
}

static void seg_put(struct tcp_port *tp, struct tcp_seg *s)
{
	if (tp && s->lent && tp->n_free_lent < FREE_LENT_MAX) {
		s->next = tp->free_lent;
		tp->free_lent = s;
		tp->n_free_lent++;
	} else if (tp && !s->lent && tp->n_free_copied < FREE_COPIED_MAX) {
		s->next = tp->free_copied;
		tp->free_copied = s;
		tp->n_free_copied++;
	} else if (s->lent) {
		wf_free(lent_of(s));
	} else {
		wf_free(copied_of(s));
	}
}

static void free_all(struct tcp_seg *s)
{
	while (s) {
		struct tcp_seg *next = s->next;

		seg_put(NULL, s);
		s = next;
	}
}

void tcp_segs_fini(struct tcp_port *tp)
{
	free_all(tp->free_copied);
	free_all(tp->free_lent);
	tp->free_copied = tp->free_lent = NULL;
	tp->n_free_copied = tp->n_free_lent = 0;
}

static void queue_push(struct tcp_lane *t, struct tcp_seg *s)
{
	if (t->q_tail)
		t->q_tail->next = s;
	else
		t->q_head = s;
	t->q_tail = s;
}

static void queue_pop(struct tcp_lane *t)
{
	struct tcp_seg *s = t->q_head;

	t->q_head = s->next;
	if (!t->q_head)
		t->q_tail = NULL;
	if (s->lent)
		t->q_lent--;
	if (!s->sent) {
		seg_put(t->tp, s);
		return;
	}
	/* kept to remember whom to tell: pieces of one message share one wf_sent, so a list of those would not do */
	s->next = NULL;
	*t->sent_tail = s;
	t->sent_tail = &s->next;
	tcp_due(t);
}

struct wf_sent *tcp_sent_pop(struct tcp_lane *t)
{
	struct tcp_seg *s = t->sent_head;
	struct wf_sent *sent;

	if (!s)
		return NULL;
	sent = s->sent;
	t->sent_head = s->next;
	if (!t->sent_head)
		t->sent_tail = &t->sent_head;
	seg_put(t->tp, s);
	return sent;
}

static void queue_drop(struct tcp_lane *t)
{
	while (t->q_head) {
		t->q_head->sent = NULL;
		queue_pop(t);
	}
	t->q_bytes = 0;
}

void tcp_tx_drop(struct tcp_lane *t)
{
	queue_drop(t);
	while (tcp_sent_pop(t))
		;
	wf_list_remove(&t->held);
}

bool tcp_has_room(const struct tcp_lane *t)
{
	return t->q_bytes <= TCP_QUEUE_BYTES / 2 && t->q_lent <= TCP_QUEUE_LENT / 2;
}

/* ---- writing ---- */

/* Takes @n bytes off the front of a lent segment; how many of them were its. */
static size_t lent_advance(struct tcp_seg *s, size_t n)
{
	size_t left = s->tail - s->head, want = n;
	struct iovec *iov = lent_of(s)->iov + s->head;

	while (left && n >= iov->iov_len) {
		n -= iov->iov_len;
		iov++;
		left--;
	}
	if (left) {
		iov->iov_base = (char *)iov->iov_base + n;
		iov->iov_len -= n;
		n = 0;
	}
	s->head = s->tail - (uint32_t)left;
	return want - n;
}

static void queue_advance(struct tcp_lane *t, size_t n)
{
	while (t->q_head && n) {
		struct tcp_seg *s = t->q_head;
		size_t k;

		if (s->lent) {
			k = lent_advance(s, n);
		} else {
			k = WF_MIN(n, (size_t)(s->tail - s->head));
			s->head += (uint32_t)k;
			t->q_bytes -= (uint32_t)k;
		}
		n -= k;
		if (s->head != s->tail)
			return;
		queue_pop(t);
	}
}

static size_t queue_to_iov(const struct tcp_lane *t, struct iovec *iov, size_t *bytes_out)
{
	size_t n = 0, bytes = 0;

	for (struct tcp_seg *s = t->q_head; s && n < FILL_MAX; s = s->next) {
		if (!s->lent) {
			iov[n] = (struct iovec){ copied_of(s)->bytes + s->head, s->tail - s->head };
			bytes += iov[n++].iov_len;
			continue;
		}
		for (uint32_t i = s->head; i < s->tail && n < FILL_MAX; i++) {
			iov[n] = lent_of(s)->iov[i];
			bytes += iov[n++].iov_len;
		}
	}
	*bytes_out = bytes;
	return n;
}

/* Writes what the socket takes. *full_out: it took less than there is. */
static int write_queue(struct tcp_lane *t, bool *full_out)
{
	struct iovec iov[FILL_MAX];

	*full_out = false;
	wf_list_remove(&t->held);
	while (t->q_head && !*full_out) {
		size_t want, n = queue_to_iov(t, iov, &want);
		ssize_t ret;

		t->l.syscalls++;
		ret = n == 1 ? wf_sock_send(t->fd, iov->iov_base, iov->iov_len) : wf_sock_sendv(t->fd, iov, n);
		if (ret < 0 && ret != -EAGAIN) {
			queue_drop(t);
			return tcp_fail(t, WEFT_ERESET, (int)-ret, "connection broke while sending");
		}
		queue_advance(t, ret < 0 ? 0 : (size_t)ret);
		tcp_pulse_watch(t);
		*full_out = ret < (ssize_t)want;
	}
	return t->status;
}

int tcp_flush(struct tcp_lane *t)
{
	bool full = false;

	if (t->blocked || write_queue(t, &full) || !full)
		return t->status;
	t->blocked = true;
	tcp_interest(t);
	return t->status;
}

void tcp_unblock(struct tcp_lane *t)
{
	bool full;

	write_queue(t, &full);
	t->blocked = full;
}

/* ---- queueing ---- */

/* Segments for @bytes more in front of what the last one has room for; NULL in *@first_out: none needed. */
static int copied_reserve(struct tcp_lane *t, size_t bytes, struct tcp_seg **first_out)
{
	size_t room = t->q_tail && !t->q_tail->lent ? sizeof(copied_of(t->q_tail)->bytes) - t->q_tail->tail : 0;
	struct tcp_seg *first = NULL, **at = &first;

	while (room < bytes) {
		struct tcp_seg *s = seg_get(t->tp, false);

		if (!s) {
			free_all(first);
			return WEFT_ENOMEM;
		}
		*at = s;
		at = &s->next;
		room += sizeof(copied_of(s)->bytes);
	}
	*first_out = first;
	return 0;
}

/* Where the next copied bytes go, taking a reserved segment when the last one is full. */
static struct tcp_seg *copied_tail(struct tcp_lane *t, struct tcp_seg **reserved)
{
	struct tcp_seg *s = t->q_tail;

	if (!s || s->lent || s->tail == sizeof(copied_of(s)->bytes)) {
		s = *reserved;
		*reserved = s->next;
		s->next = NULL;
		queue_push(t, s);
	}
	return s;
}

static void copy_plain(struct tcp_lane *t, struct tcp_seg **reserved, const void *p, size_t len)
{
	while (len) {
		struct tcp_seg *s = copied_tail(t, reserved);
		size_t k = WF_MIN(len, sizeof(copied_of(s)->bytes) - s->tail);

		memcpy(copied_of(s)->bytes + s->tail, p, k);
		s->tail += (uint32_t)k;
		t->q_bytes += (uint32_t)k;
		p = (const char *)p + k;
		len -= k;
	}
}

static void copy_bufs(struct tcp_lane *t, struct tcp_seg **reserved, const struct wf_tx *tx)
{
	size_t done = 0;

	while (done < tx->len) {
		struct tcp_seg *s = copied_tail(t, reserved);
		size_t k = WF_MIN(tx->len - done, sizeof(copied_of(s)->bytes) - s->tail);

		wf_bufs_copy_out(copied_of(s)->bytes + s->tail, tx->bufs, tx->n, tx->off + done, k);
		s->tail += (uint32_t)k;
		t->q_bytes += (uint32_t)k;
		done += k;
	}
}

static int put_copied(struct tcp_lane *t, const struct wf_tx *tx)
{
	struct tcp_seg *reserved;
	int ret = copied_reserve(t, WF_FRAME_HDR + tx->pre_len + tx->len, &reserved);

	if (ret)
		return ret;
	copy_plain(t, &reserved, &tx->h, WF_FRAME_HDR);
	copy_plain(t, &reserved, tx->pre, tx->pre_len);
	copy_bufs(t, &reserved, tx);
	return 0;
}

/*
 * A CPU's copy of many bytes is three times slower where the place lies a little behind its source within a page (G54), and
 * for a header of 24 bytes followed by what malloc() gave, 16 bytes behind a page, it does: the kernel begins a new page when
 * the peer has read the last one. So the first payload of a write is moved out of the way by a frame that is skipped.
 * @at: where in the write it lies. Bytes of the PAD, written to @head; 0: none is needed.
 */
static size_t pad(char *head, size_t at, const struct iovec *payload)
{
	static const struct wf_frame h = { .len = TCP_PAD - WF_FRAME_HDR, .type = WF_FR_PAD };
	uintptr_t ahead = (at - (uintptr_t)payload->iov_base) % PAGE;

	if (ahead == 0 || ahead >= TCP_PAD)
		return 0;
	memset(head, 0, TCP_PAD);
	memcpy(head, &h, sizeof(h));
	return TCP_PAD;
}

/*
 * The vector over the caller's buffers is written here and now, so that the array of them stays
 * borrowed. WEFT_AGAIN: too many pieces, or so small that copying is cheaper.
 */
static int put_lent(struct tcp_lane *t, const struct wf_tx *tx)
{
	struct tcp_lent *lent = (struct tcp_lent *)seg_get(t->tp, true);
	struct tcp_seg *reserved = NULL;
	size_t n, covered, head = WF_FRAME_HDR + tx->pre_len;

	if (!lent)
		return WEFT_ENOMEM;
	n = wf_bufs_to_iov(tx->bufs, tx->n, tx->off, tx->len, lent->iov + 1, TCP_IOV, &covered);
	if (covered < tx->len || (n > 8 && tx->len / n < 1024)) {
		seg_put(t->tp, &lent->s);
		return WEFT_AGAIN;
	}
	if (head + TCP_PAD <= sizeof(lent->head)) {
		size_t at = t->q_head ? 0 : pad(lent->head, head, &lent->iov[1]);

		t->l.bytes_tx += at;
		memcpy(lent->head + at, &tx->h, WF_FRAME_HDR);
		if (tx->pre_len)
			memcpy(lent->head + at + WF_FRAME_HDR, tx->pre, tx->pre_len);
		lent->iov[0] = (struct iovec){ lent->head, at + head };
	} else {
		if (copied_reserve(t, head, &reserved)) {
			seg_put(t->tp, &lent->s);
			return WEFT_ENOMEM;
		}
		copy_plain(t, &reserved, &tx->h, WF_FRAME_HDR);
		copy_plain(t, &reserved, tx->pre, tx->pre_len);
		lent->s.head = 1;
	}
	lent->s.tail = (uint32_t)n + 1;
	queue_push(t, &lent->s);
	t->q_lent++;
	return 0;
}

/* Must what was just queued be written now? What poll() itself sends, pieces of a long message mostly, it writes together. */
static bool is_time(const struct tcp_lane *t, bool was_empty, bool large)
{
	const struct tcp_port *tp = t->tp;

	if (!tp || tp->armed || t->q_bytes >= TCP_GATHER)
		return true;
	return large ? !tp->polling : was_empty && t->turn != tp->turn;
}

static int again(struct tcp_lane *t)
{
	t->wants_room = true;
	return WEFT_AGAIN;
}

int tcp_send(struct wf_lane *l, const struct wf_tx *tx)
{
	struct tcp_lane *t = tcp_lane(l);
	bool was_empty = !t->q_head, lent = false;
	int ret = WEFT_AGAIN;

	if (t->status || t->state != TCP_OPEN)
		return t->status ? t->status : WEFT_ERESET;
	if (t->q_bytes > TCP_QUEUE_BYTES || t->q_lent >= TCP_QUEUE_LENT)
		return again(t);

	if (tx->len > TCP_COPY_MAX && tx->sent)
		ret = put_lent(t, tx);
	if (ret == WEFT_AGAIN)
		ret = put_copied(t, tx);
	else
		lent = !ret;
	if (ret) {
		/* nothing was taken: memory may be back by the next poll */
		tcp_due(t);
		return again(t);
	}
	l->frames_tx++;
	l->bytes_tx += WF_FRAME_HDR + tx->h.len;

	if (!t->blocked && is_time(t, was_empty, lent)) {
		t->turn = t->tp ? t->tp->turn : 0;
		ret = tcp_flush(t);
		if (ret)
			return ret;
	} else if (!t->blocked && !wf_list_is_linked(&t->held)) {
		wf_list_push_back(&t->tp->held, &t->held);
	}
	if (!lent || !t->q_head)
		return WEFT_OK;
	/* written in order, so what is left has this frame at its end */
	t->q_tail->sent = tx->sent;
	return WEFT_PENDING;
}
