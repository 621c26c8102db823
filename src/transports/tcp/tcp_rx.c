/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp_rx.c - receiving. One read fetches many frames into the port's buffer; each that is whole is
 * delivered from there. A frame whose payload is not whole asks core for a sink: then the rest is
 * read straight into the buffers behind it, in the same system call as the beginning of what
 * follows. Types that have no sink are collected in memory of their own (bounded: wf_frame_check()
 * has passed the length).
 *
 * Where a lane is, between two reads, is in three places, and nothing is ever in two of them:
 *   h, h_have     header of the frame that is being received, as far as it is there. Complete: its
 *                 payload goes to the sink (in_sink), to `body`, or is undecided ("not now")
 *   body          payload that is collected
 *   stash         bytes behind those, read from the socket and not parsed, because core said "not
 *                 now". While there is a stash nothing is read.
 */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "os/sock.h"
#include "transports/tcp/tcp.h"

#define BULK (64u << 10)     /* a frame from here on is one of a long message: what follows is like it */
#define BULK_TAIL (4u << 10) /* so little of that is read into the port's buffer, the rest needs no copy */

static void stash_drop(struct tcp_lane *t)
{
	wf_free(t->stash);
	t->stash = NULL;
	t->stash_off = t->stash_len = 0;
}

static void body_drop(struct tcp_lane *t)
{
	wf_free(t->body);
	t->body = NULL;
	t->body_done = 0;
}

void tcp_rx_drop(struct tcp_lane *t)
{
	stash_drop(t);
	body_drop(t);
	t->h_have = 0;
	t->pad_done = 0;
	t->in_sink = false;
}

int tcp_keep_rest(struct tcp_lane *t)
{
	const struct tcp_port *tp = t->tp;
	size_t n = (size_t)(tp->rx_end - tp->rx_cur);

	if (!n) {
		stash_drop(t);
		return 0;
	}
	if (t->stash) { /* it is what is being parsed */
		t->stash_off = (uint32_t)(tp->rx_cur - t->stash);
		return 0;
	}
	t->stash = wf_malloc(n);
	if (!t->stash)
		return WEFT_ENOMEM;
	memcpy(t->stash, tp->rx_cur, n);
	t->stash_len = (uint32_t)n;
	t->stash_off = 0;
	return 0;
}

/* ---- one step of parsing: MORE: go on ---- */

/* What an upcall said that is not "taken". */
static enum tcp_rx refused(struct tcp_lane *t, int ret)
{
	if (ret == WEFT_AGAIN)
		t->rx_wait = true;
	else
		t->rx_off = true;
	return TCP_RX_STOPPED;
}

static void frame_done(struct tcp_lane *t)
{
	t->h_have = 0;
	t->rx_bulk = t->h.type == WF_FR_RTS;
	t->l.frames_rx++;
}

static enum tcp_rx step_header(struct tcp_lane *t, struct tcp_port *tp)
{
	size_t k = WF_MIN((size_t)(tp->rx_end - tp->rx_cur), (size_t)(WF_FRAME_HDR - t->h_have));
	const char *wrong;

	memcpy((char *)&t->h + t->h_have, tp->rx_cur, k);
	tp->rx_cur += k;
	t->h_have += (uint8_t)k;
	if (t->h_have < WF_FRAME_HDR)
		return TCP_RX_DRAINED;
	wrong = wf_frame_check(&t->h);
	if (wrong) {
		t->rx_off = true;
		tcp_fail(t, WEFT_EPROTO, 0, wrong);
		return TCP_RX_ENDED;
	}
	return TCP_RX_MORE;
}

static enum tcp_rx step_whole(struct tcp_lane *t, struct tcp_port *tp)
{
	uint32_t len = t->h.len;
	int ret = wf_frame_in(&t->l, &t->h, tp->rx_cur);

	if (tp->rx_lane != t) {
		/* tcp_move() has kept what was to be parsed, this payload in front */
		if (ret)
			return refused(t, ret);
		frame_done(t);
		t->stash_off += len;
		if (t->stash_off >= t->stash_len)
			stash_drop(t);
		return TCP_RX_STOPPED;
	}
	if (ret)
		return refused(t, ret);
	tp->rx_cur += len;
	frame_done(t);
	return TCP_RX_MORE;
}

static enum tcp_rx step_begin(struct tcp_lane *t, const struct tcp_port *tp)
{
	int ret = wf_sink_begin(&t->l, &t->h);

	if (ret == WEFT_OK) {
		t->l.sink.done = 0;
		t->in_sink = true;
	} else if (ret == WEFT_PENDING) {
		t->body_done = 0;
		t->body = wf_malloc(t->h.len);
		if (!t->body) {
			t->rx_off = true;
			tcp_fail(t, WEFT_ENOMEM, 0, "no memory for a frame");
			return TCP_RX_ENDED;
		}
	} else {
		return refused(t, ret);
	}
	return tp->rx_lane == t ? TCP_RX_MORE : TCP_RX_STOPPED;
}

static enum tcp_rx step_sink(struct tcp_lane *t, struct tcp_port *tp)
{
	struct wf_sink *s = &t->l.sink;
	size_t k = WF_MIN((size_t)(tp->rx_end - tp->rx_cur), t->h.len - s->done);

	if (s->done < s->keep)
		wf_bufs_copy_in(s->bufs, s->n, s->off + s->done, tp->rx_cur, WF_MIN(k, s->keep - s->done));
	s->done += k;
	tp->rx_cur += k;
	if (s->done < t->h.len)
		return TCP_RX_DRAINED;
	t->in_sink = false;
	frame_done(t);
	s->end(&t->l, s, &t->h);
	return tp->rx_lane == t ? TCP_RX_MORE : TCP_RX_STOPPED;
}

static enum tcp_rx step_body(struct tcp_lane *t, struct tcp_port *tp)
{
	size_t k = WF_MIN((size_t)(tp->rx_end - tp->rx_cur), (size_t)(t->h.len - t->body_done));
	int ret;

	memcpy(t->body + t->body_done, tp->rx_cur, k);
	tp->rx_cur += k;
	t->body_done += (uint32_t)k;
	if (t->body_done < t->h.len)
		return TCP_RX_DRAINED;
	ret = wf_frame_in(&t->l, &t->h, t->body);
	if (ret)
		return refused(t, ret);
	body_drop(t);
	frame_done(t);
	return tp->rx_lane == t ? TCP_RX_MORE : TCP_RX_STOPPED;
}

static enum tcp_rx step_pad(struct tcp_lane *t, struct tcp_port *tp)
{
	size_t k = WF_MIN((size_t)(tp->rx_end - tp->rx_cur), (size_t)(t->h.len - t->pad_done));

	tp->rx_cur += k;
	t->pad_done += (uint8_t)k;
	if (t->pad_done < t->h.len)
		return TCP_RX_DRAINED;
	t->pad_done = 0;
	t->h_have = 0;
	return TCP_RX_MORE;
}

static enum tcp_rx step(struct tcp_lane *t, struct tcp_port *tp)
{
	if (tcp_rx_is_stopped(t))
		return TCP_RX_STOPPED;
	if (t->in_sink)
		return step_sink(t, tp);
	if (t->body)
		return step_body(t, tp);
	if (t->h_have < WF_FRAME_HDR)
		return step_header(t, tp);
	if (t->h.type == WF_FR_PAD)
		return step_pad(t, tp);
	if ((size_t)(tp->rx_end - tp->rx_cur) >= t->h.len)
		return step_whole(t, tp);
	return step_begin(t, tp);
}

/* Parses @n bytes, of the port's buffer or of the stash. DRAINED: all of them. Each step takes bytes or ends a frame. */
static enum tcp_rx parse(struct tcp_lane *t, const char *p, size_t n)
{
	struct tcp_port *tp = t->tp;
	enum tcp_rx ret;

	tp->rx_lane = t;
	tp->rx_cur = p;
	tp->rx_end = p + n;
	do
		ret = step(t, tp);
	while (ret == TCP_RX_MORE);

	if (tp->rx_lane != t) /* moved away, with all that was left */
		return TCP_RX_STOPPED;
	if (ret != TCP_RX_ENDED && tcp_keep_rest(t)) {
		t->rx_off = true;
		tcp_fail(t, WEFT_ENOMEM, 0, "no memory for bytes that were received");
		ret = TCP_RX_ENDED;
	}
	tp->rx_lane = NULL;
	return ret;
}

/* ---- reading ---- */

static enum tcp_rx read_failed(struct tcp_lane *t, int err)
{
	const char *cause = "connection broke while receiving";

	if (err == EAGAIN)
		return TCP_RX_DRAINED;
	if (!err)
		cause = "peer closed the connection";
	else if (err == ECONNRESET)
		cause = "peer reset the connection";
	else if (err == ETIMEDOUT)
		cause = "peer's host does not answer any more";
	t->rx_off = true;
	tcp_fail(t, WEFT_ERESET, err, cause);
	return TCP_RX_ENDED;
}

/* Where the next bytes of the stream go: *@direct_out of them to their place, the rest to the port's buffer. */
static size_t read_into(struct tcp_lane *t, struct iovec *iov, size_t *direct_out, size_t *room_out)
{
	const struct wf_sink *s = &t->l.sink;
	size_t n = 0, direct = 0, tail = TCP_RX_BUF;

	if (t->in_sink) {
		if (s->keep > s->done)
			n = wf_bufs_to_iov(s->bufs, s->n, s->off + s->done, WF_MIN(s->keep, t->h.len) - s->done, iov,
					   TCP_IOV, &direct);
		if (t->h.len >= BULK && direct == t->h.len - s->done)
			tail = BULK_TAIL;
	} else if (t->body) {
		direct = t->h.len - t->body_done;
		iov[n++] = (struct iovec){ t->body + t->body_done, direct };
	} else if (t->rx_bulk) {
		tail = BULK_TAIL;
	}
	iov[n++] = (struct iovec){ t->tp->rx_buf, tail };
	*direct_out = direct;
	*room_out = direct + tail;
	return n;
}

/* MORE: the socket may have more. */
static enum tcp_rx read_once(struct tcp_lane *t, size_t *bytes_out)
{
	struct iovec iov[TCP_IOV + 1];
	size_t direct, room, n = read_into(t, iov, &direct, &room);
	struct tcp_port *tp = t->tp;
	enum tcp_rx ret;
	ssize_t got;

	t->l.syscalls++;
	got = n == 1 ? wf_sock_recv(t->fd, iov->iov_base, iov->iov_len) : wf_sock_recvv(t->fd, iov, n);
	if (got <= 0)
		return read_failed(t, (int)-got);

	tp->events++;
	t->l.bytes_rx += (size_t)got;
	*bytes_out += (size_t)got;
	direct = WF_MIN(direct, (size_t)got);
	if (t->in_sink)
		t->l.sink.done += direct;
	else if (t->body)
		t->body_done += (uint32_t)direct;

	ret = parse(t, tp->rx_buf, (size_t)got - direct);
	if (ret != TCP_RX_DRAINED)
		return ret;
	return (size_t)got == room ? TCP_RX_MORE : TCP_RX_DRAINED;
}

enum tcp_rx tcp_read(struct tcp_lane *t, size_t *bytes_out)
{
	enum tcp_rx ret = TCP_RX_MORE;
	size_t before = *bytes_out;

	if (tcp_rx_is_stopped(t))
		return TCP_RX_STOPPED;
	if (t->stash || t->h_have == WF_FRAME_HDR) {
		/* what "not now" left behind; without such it is a frame in its middle, and nothing happens here */
		if (t->stash)
			ret = parse(t, t->stash + t->stash_off, t->stash_len - t->stash_off);
		else
			ret = parse(t, t->tp->rx_buf, 0);
		if (ret != TCP_RX_DRAINED)
			return ret;
	}
	for (unsigned i = 0; i < TCP_RX_READS && *bytes_out - before < TCP_RX_BYTES; i++) {
		ret = read_once(t, bytes_out);
		if (ret != TCP_RX_MORE)
			return ret;
	}
	return TCP_RX_MORE;
}
