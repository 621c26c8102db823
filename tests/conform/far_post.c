/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far_post.c - operations of the far process: the buffers are copies of the caller's, between fences, and live until the event that ends
 * the operation. Its user_data is ours, and becomes the caller's again on the way back.
 */
#include "conform/far.h"

enum { FENCE = 64, FENCE_BYTE = 0xf1 };

struct piece {
	uint64_t theirs;                /* the caller's address */
	size_t len;
	unsigned char *own, *at, *then; /* own: to be freed; NULL: nothing, or memory that both sides know */
};

struct op {
	struct op *next;
	enum far_what what;
	uint64_t user_data;
	weft_buf *b;
	size_t n;
	struct piece *piece;
};

static struct op *watched;

weft_call *far_get_call(struct far_job *j, weft_call *room)
{
	if (!far_get64(&j->in))
		return NULL;
	memcpy(room, far_get(&j->in, sizeof(*room)), sizeof(*room));
	room->deadline_ns = far_deadline(room->deadline_ns);
	return room;
}

/* ---- buffers ---- */

static void piece_new(struct piece *p, const weft_buf *theirs, const void *bytes, size_t n_bytes)
{
	size_t skew = (uintptr_t)theirs->addr % FENCE;

	*p = (struct piece){ .theirs = (uintptr_t)theirs->addr, .len = theirs->len };
	if (!theirs->addr)
		return;
	p->own = aligned_alloc(FENCE, (FENCE + skew + p->len + FENCE + FENCE - 1) / FENCE * FENCE);
	wt_must(p->own != NULL);
	p->at = p->own + FENCE + skew;
	memset(p->own, FENCE_BYTE, FENCE + skew);
	memset(p->at + p->len, FENCE_BYTE, FENCE);
	if (n_bytes)
		memcpy(p->at, bytes, n_bytes);
}

static void piece_end(struct piece *p)
{
	for (int i = 0; p->own && i < FENCE; i++)
		wt_must(p->at[-1 - i] == FENCE_BYTE && p->at[p->len + (size_t)i] == FENCE_BYTE);
	if (p->own)
		memset(p->at, 0xdb, p->len < 256 ? p->len : 256); /* who still sends from it sends nonsense */
	free(p->own);
	free(p->then);
}

static struct op *op_new(struct far_job *j)
{
	struct op *op = calloc(1, sizeof(*op));
	bool there;

	wt_must(op != NULL);
	op->what = (enum far_what)j->what;
	op->n = far_get64(&j->in);
	there = far_get64(&j->in);
	op->b = calloc(op->n + 1, sizeof(*op->b));
	op->piece = calloc(op->n + 1, sizeof(*op->piece));
	wt_must(op->b && op->piece);
	for (size_t i = 0; there && i < op->n; i++) {
		uint64_t how, memory, at;
		const void *bytes;
		size_t len;

		memcpy(&op->b[i], far_get(&j->in, sizeof(op->b[i])), sizeof(op->b[i]));
		how = far_get64(&j->in);
		memory = far_get64(&j->in);
		at = far_get64(&j->in);
		bytes = far_get_blob(&j->in, &len);
		op->b[i].mem = NULL;
		if (how == FAR_IN_MEMORY) {
			op->b[i].addr = far_memory(memory, &op->b[i].mem) + at;
		} else if (how == FAR_COPY) {
			piece_new(&op->piece[i], &op->b[i], bytes, len);
			op->b[i].addr = op->piece[i].at;
		}
	}
	if (!there) {
		free(op->b);
		op->b = NULL;
	}
	return op;
}

static void op_free(struct op *op)
{
	for (size_t i = 0; i < op->n; i++)
		piece_end(&op->piece[i]);
	free(op->piece);
	free(op->b);
	free(op);
}

/* ---- the end of an operation ---- */

static size_t received(const struct op *op, const weft_event *e)
{
	switch (op->what) {
	case FAR_RECV:
	case FAR_RECV_MESSAGE:
	case FAR_AM_RECV:
		return e->status == WEFT_OK ? e->len : e->status == WEFT_ETRUNCATED ? e->value : 0;
	case FAR_STREAM_RECV:
		return e->len;
	case FAR_GET:
		return e->status == WEFT_OK ? SIZE_MAX : 0;
	default:
		return 0;
	}
}

void far_end_op(struct far_job *j, weft_event *e)
{
	struct op *op = (struct op *)(uintptr_t)e->user_data;
	size_t left;

	if (e->kind != WEFT_EV_OP || !op)
		return;
	e->user_data = op->user_data;
	left = received(op, e);
	for (size_t i = 0; i < op->n && left; i++) {
		size_t len = op->piece[i].len < left ? op->piece[i].len : left;

		if (op->piece[i].own) {
			far_put64(&j->writes, op->piece[i].theirs);
			far_put_blob(&j->writes, op->piece[i].at, len);
		}
		left -= op->b[i].len < left ? op->b[i].len : left;
	}
	op_free(op);
}

void far_watch(struct far_job *j)
{
	for (struct op *op = watched; op; op = op->next) {
		for (size_t i = 0; i < op->n; i++) {
			struct piece *p = &op->piece[i];
			struct far_buf runs = { 0 };

			if (p->then)
				far_diff(&runs, p->theirs, p->at, p->then, p->len);
			while (runs.at < runs.len) {
				uint64_t theirs = far_get64(&runs), at = far_get64(&runs);
				size_t len;
				const void *bytes = far_get_blob(&runs, &len);

				far_put64(&j->writes, theirs + at);
				far_put_blob(&j->writes, bytes, len);
			}
			far_drop(&runs);
		}
	}
}

/* What is there before the call, to be compared with. */
static void look_first(struct op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct piece *p = &op->piece[i];

		if (!p->own)
			continue;
		p->then = malloc(p->len + 1);
		wt_must(p->then != NULL);
		memcpy(p->then, p->at, p->len);
	}
}

/* ---- posting ---- */

static int call_post(struct far_job *j, struct op *op, weft_call *c)
{
	uint64_t *a = j->a;
	void *obj = (void *)(uintptr_t)a[0];
	weft_event am = { .size = sizeof(am), .kind = (uint32_t)a[2], .op.v = a[1] };

	switch (j->what) {
	case FAR_SEND:
		return weft_send(obj, op->b, op->n, a[1], c);
	case FAR_RECV:
		return weft_recv(obj, op->b, op->n, a[1], a[2], c);
	case FAR_RECV_MESSAGE:
		return weft_recv_message(obj, op->b, op->n, c);
	case FAR_AM_SEND:
		return weft_am_send(obj, (uint32_t)a[1], &a[3], a[2], op->b, op->n, c);
	case FAR_AM_RECV:
		return weft_am_recv(obj, &am, op->b, op->n, c);
	case FAR_STREAM_SEND:
		return weft_stream_send(obj, op->b, op->n, c);
	case FAR_STREAM_RECV:
		return weft_stream_recv(obj, op->b, op->n, c);
	case FAR_PUT:
		return weft_put(obj, op->b, op->n, (void *)(uintptr_t)a[1], a[2], c);
	case FAR_GET:
		return weft_get(obj, op->b, op->n, (void *)(uintptr_t)a[1], a[2], c);
	case FAR_PUT_SIGNAL:
		return weft_put_signal(obj, op->b, op->n, (void *)(uintptr_t)a[1], a[2], a[3], c);
	case FAR_ATOMIC:
		return weft_atomic(obj, (uint32_t)a[1], (void *)(uintptr_t)a[2], a[3], a[4], a[5], c);
	case FAR_FLUSH:
		return weft_flush(obj, (void *)(uintptr_t)a[1], c);
	case FAR_REVOKE: {
		weft_mem *m;

		far_memory(a[0], &m);
		return weft_grant_revoke(m, (weft_grant){ a[1] }, c);
	}
	default:
		return weft_ep_close(obj, c);
	}
}

static bool is_send(uint64_t what)
{
	return what == FAR_SEND || what == FAR_AM_SEND || what == FAR_STREAM_SEND || what == FAR_PUT || what == FAR_PUT_SIGNAL;
}

/* Its buffers are the caller's again though it goes on. */
static void give_back(struct op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		piece_end(&op->piece[i]);
		op->piece[i] = (struct piece){ 0 };
	}
}

/* What becomes of our note of it. */
static void posted(struct far_job *j, struct op *op, const weft_call *c, uint32_t flags)
{
	bool sends = is_send(j->what);

	if (j->ret < 0 || (sends && j->ret == WEFT_OK && flags & WEFT_NO_EVENT)) {
		op_free(op);
		return;
	}
	if (j->ret == WEFT_PENDING)
		j->out[0] = c ? c->op.v : 0;
	if (sends && j->ret == WEFT_PENDING && flags & WEFT_COPY)
		give_back(op);
	if (!c) {
		op_free(op);
	} else if (flags & WEFT_NO_EVENT) {
		op->next = watched;
		watched = op;
	} else if (j->ret == WEFT_OK) {
		j->ev[0] = c->event;
		j->n = 1;
		far_end_op(j, &j->ev[0]);
	}
}

void far_post(struct far_job *j)
{
	weft_call room = { .size = sizeof(room) }, *c = far_get_call(j, &room);
	struct op *op = op_new(j);
	uint32_t flags = c ? c->flags : 0;

	if (!c && op->n)
		c = &room;              /* its end must come back to us */
	if (c) {
		op->user_data = c->user_data;
		c->user_data = (uintptr_t)op;
	}
	if (flags & WEFT_NO_EVENT && !is_send(j->what))
		look_first(op);
	j->ret = call_post(j, op, c);
	posted(j, op, c, flags);
}
