/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far_wrap.c - what the cases call of weft.h, as the linker wraps it for conform_far: to this process's library, or to the far one's.
 * The Makefile reads from the lines that begin with WRAPS which calls those are.
 */
#include "conform/far.h"

#define WRAPS(ret, name, ...) ret __real_##name(__VA_ARGS__); ret __wrap_##name(__VA_ARGS__)

/* An object of one side is of no use at the other. */
static void same_side(const void *a, const void *b)
{
	wt_must(!b || far_is(a) == far_is(b));
}

/* A text or blob of the answer, as weft gives such. */
static int64_t ask_blob(void *out, size_t *len_inout, size_t cap)
{
	int64_t ret = far_ask();
	size_t len;
	const void *bytes = far_get_blob(&far_in, &len);

	if (len_inout)
		*len_inout = far_out[0];
	wt_must(len <= cap);
	if (len)
		memcpy(out, bytes, len);
	return ret;
}

static weft_conn_opts *opts_left(const weft_conn_opts *o, weft_conn_opts *room)
{
	if (!o)
		return NULL;
	*room = *o;
	room->deadline_ns = far_left(o->deadline_ns);
	return room;
}

static void put_opts(struct far_buf *b, const weft_conn_opts *o)
{
	weft_conn_opts room;

	far_put_blob(b, opts_left(o, &room), o ? sizeof(room) : 0);
	far_put_text(b, o ? o->allow : NULL);
}

/* An endpoint, a listener or whatever else it made. */
static int ask_object(void **out)
{
	int ret = (int)far_ask();

	if (!ret)
		*out = far_to(far_out[0]);
	return ret;
}

/* ---- library and errors ---- */

WRAPS(const weft_error *, weft_last_error, void);
WRAPS(const weft_error *, weft_event_error, const weft_event *e);
WRAPS(int, weft_close, weft_ctx *ctx);

const weft_error *__wrap_weft_last_error(void)
{
	return far_last_error(__real_weft_last_error());
}

static void put_event(struct far_buf *b, const weft_event *e)
{
	weft_event copy = *e;

	copy.ep = (weft_ep *)(uintptr_t)far_of(e->ep);
	copy.data = e->kind == WEFT_EV_REQUEST ? (void *)(uintptr_t)far_of(e->data) : NULL;
	far_put(b, &copy, sizeof(copy));
}

const weft_error *__wrap_weft_event_error(const weft_event *e)
{
	if (!far_is(e->ep))
		return __real_weft_event_error(e);
	put_event(far_start(FAR_ERROR), e);
	far_ask();
	return far_take_error();
}

int __wrap_weft_close(weft_ctx *ctx)
{
	int ret = far_ctx_close(ctx);

	if (!ret)
		ret = __real_weft_close(ctx);
	if (!ret)
		far_ctx_forget(ctx);
	return ret;
}

/* ---- workers ---- */

WRAPS(int, weft_worker_free, weft_worker *w);
WRAPS(int, weft_progress, weft_worker *w);
WRAPS(size_t, weft_reap, weft_worker *w, weft_event *out, size_t cap);
WRAPS(void, weft_event_release, weft_worker *w, weft_event *e);
WRAPS(int, weft_wait_any, weft_worker *w, uint64_t deadline_ns);
WRAPS(int, weft_arm, weft_worker *w);
WRAPS(int, weft_wake, weft_worker *w);

int __wrap_weft_worker_free(weft_worker *w)
{
	if (!far_is(w))
		return __real_weft_worker_free(w);
	far_start(FAR_WORKER_FREE, far_of(w));
	return (int)far_ask();
}

int __wrap_weft_progress(weft_worker *w)
{
	if (!far_is(w))
		return __real_weft_progress(w);
	far_start(FAR_PROGRESS, far_of(w));
	return (int)far_ask();
}

size_t __wrap_weft_reap(weft_worker *w, weft_event *out, size_t cap)
{
	size_t n;

	if (!far_is(w)) {
		n = __real_weft_reap(w, out, cap);
		if (n)
			far_sync();
		return n;
	}
	far_start(FAR_REAP, far_of(w), cap);
	n = (size_t)far_ask();
	far_events(out, n);
	return n;
}

void __wrap_weft_event_release(weft_worker *w, weft_event *e)
{
	if (!far_is(w)) {
		same_side(w, e->ep);
		__real_weft_event_release(w, e);
		return;
	}
	put_event(far_start(FAR_RELEASE, far_of(w)), e);
	far_ask();
	if (e->kind == WEFT_EV_AM)
		far_am_free(e->data);
}

int __wrap_weft_wait_any(weft_worker *w, uint64_t deadline_ns)
{
	if (!far_is(w))
		return __real_weft_wait_any(w, deadline_ns);
	far_start(FAR_WAIT_ANY, far_of(w), far_left(deadline_ns));
	return (int)far_ask();
}

int __wrap_weft_arm(weft_worker *w)
{
	if (!far_is(w))
		return __real_weft_arm(w);
	far_start(FAR_ARM, far_of(w));
	return (int)far_ask();
}

int __wrap_weft_wake(weft_worker *w)
{
	if (!far_is(w))
		return __real_weft_wake(w);
	far_start(FAR_WAKE, far_of(w));
	return (int)far_ask();
}

/* ---- connections ---- */

WRAPS(int, weft_listen, weft_worker *w, const char *url, const weft_conn_opts *o, weft_listener **out);
WRAPS(int, weft_listener_url, const weft_listener *l, char *out, size_t cap);
WRAPS(int, weft_listener_close, weft_listener *l);
WRAPS(int, weft_accept, weft_request *r, weft_worker *w, const weft_conn_opts *o, weft_ep **out);
WRAPS(int, weft_reject, weft_request *r, int32_t why, const char *text);
WRAPS(int, weft_connect, weft_worker *w, const char *url, const weft_conn_opts *o, weft_ep **out);
WRAPS(int, weft_address, weft_worker *w, void *out, size_t *len);
WRAPS(int, weft_connect_address, weft_worker *w, const void *address, size_t len, const weft_conn_opts *o, weft_ep **out);
WRAPS(int, weft_ep_abort, weft_ep *ep);
WRAPS(void, weft_ep_set_user_data, weft_ep *ep, uint64_t user_data);
WRAPS(int, weft_ep_peer, const weft_ep *ep, char *out, size_t cap);
WRAPS(int, weft_ep_local, const weft_ep *ep, char *out, size_t cap);

int __wrap_weft_listen(weft_worker *w, const char *url, const weft_conn_opts *o, weft_listener **out)
{
	char room[200];
	struct far_buf *b;

	if (!far_is(w))
		return __real_weft_listen(w, far_url(url, room, sizeof(room)), o, out);
	b = far_start(FAR_LISTEN, far_of(w));
	far_put_text(b, url);
	put_opts(b, o);
	return ask_object((void **)out);
}

int __wrap_weft_listener_url(const weft_listener *l, char *out, size_t cap)
{
	if (!far_is(l))
		return __real_weft_listener_url(l, out, cap);
	far_start(FAR_LISTENER_URL, far_of(l), cap);
	return (int)ask_blob(out, NULL, cap);
}

int __wrap_weft_listener_close(weft_listener *l)
{
	if (!far_is(l))
		return __real_weft_listener_close(l);
	far_start(FAR_LISTENER_CLOSE, far_of(l));
	return (int)far_ask();
}

int __wrap_weft_accept(weft_request *r, weft_worker *w, const weft_conn_opts *o, weft_ep **out)
{
	same_side(r, w);
	if (!far_is(r))
		return __real_weft_accept(r, w, o, out);
	put_opts(far_start(FAR_ACCEPT, far_of(r), far_of(w)), o);
	return ask_object((void **)out);
}

int __wrap_weft_reject(weft_request *r, int32_t why, const char *text)
{
	if (!far_is(r))
		return __real_weft_reject(r, why, text);
	far_put_text(far_start(FAR_REJECT, far_of(r), (uint64_t)(int64_t)why), text);
	return (int)far_ask();
}

int __wrap_weft_connect(weft_worker *w, const char *url, const weft_conn_opts *o, weft_ep **out)
{
	struct far_buf *b;

	if (!far_is(w))
		return __real_weft_connect(w, url, o, out);
	b = far_start(FAR_CONNECT, far_of(w));
	far_put_text(b, url);
	put_opts(b, o);
	return ask_object((void **)out);
}

int __wrap_weft_address(weft_worker *w, void *out, size_t *len)
{
	size_t cap = *len;

	if (!far_is(w))
		return __real_weft_address(w, out, len);
	far_start(FAR_ADDRESS, far_of(w), cap);
	return (int)ask_blob(out, len, cap);
}

int __wrap_weft_connect_address(weft_worker *w, const void *address, size_t len, const weft_conn_opts *o, weft_ep **out)
{
	struct far_buf *b;

	if (!far_is(w))
		return __real_weft_connect_address(w, address, len, o, out);
	b = far_start(FAR_CONNECT_ADDRESS, far_of(w));
	far_put_blob(b, address, len);
	put_opts(b, o);
	return ask_object((void **)out);
}

int __wrap_weft_ep_abort(weft_ep *ep)
{
	if (!far_is(ep))
		return __real_weft_ep_abort(ep);
	far_start(FAR_ABORT, far_of(ep));
	return (int)far_ask();
}

void __wrap_weft_ep_set_user_data(weft_ep *ep, uint64_t user_data)
{
	if (!far_is(ep)) {
		__real_weft_ep_set_user_data(ep, user_data);
		return;
	}
	far_start(FAR_USER_DATA, far_of(ep), user_data);
	far_ask();
}

int __wrap_weft_ep_peer(const weft_ep *ep, char *out, size_t cap)
{
	if (!far_is(ep))
		return __real_weft_ep_peer(ep, out, cap);
	far_start(FAR_PEER, far_of(ep), cap);
	return (int)ask_blob(out, NULL, cap);
}

int __wrap_weft_ep_local(const weft_ep *ep, char *out, size_t cap)
{
	if (!far_is(ep))
		return __real_weft_ep_local(ep, out, cap);
	far_start(FAR_LOCAL, far_of(ep), cap);
	return (int)ask_blob(out, NULL, cap);
}

/* ---- memory and grants ---- */

WRAPS(int, weft_mem_register, weft_ctx *ctx, const weft_buf *b, uint32_t access, weft_mem **out);
WRAPS(int, weft_mem_alloc, weft_ctx *ctx, size_t len, uint16_t kind, int16_t device, weft_mem **out);
WRAPS(int, weft_mem_free, weft_mem *m);
WRAPS(int, weft_grant_new, weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, weft_ep *only, void *token, size_t *token_len,
      weft_grant *out);
WRAPS(int, weft_remote_open, weft_ep *ep, const void *token, size_t token_len, weft_remote **out);
WRAPS(void, weft_remote_close, weft_remote *r);

int __wrap_weft_mem_register(weft_ctx *ctx, const weft_buf *b, uint32_t access, weft_mem **out)
{
	int ret = __real_weft_mem_register(ctx, b, access, out);

	if (!ret)
		far_twin_add(ctx, *out, b->addr, b->len, access, false);
	return ret;
}

int __wrap_weft_mem_alloc(weft_ctx *ctx, size_t len, uint16_t kind, int16_t device, weft_mem **out)
{
	int ret = __real_weft_mem_alloc(ctx, len, kind, device, out);

	if (!ret)
		far_twin_add(ctx, *out, weft_mem_addr(*out, NULL), len, 0, true);
	return ret;
}

int __wrap_weft_mem_free(weft_mem *m)
{
	int ret = far_twin_free(m);

	if (!ret)
		ret = __real_weft_mem_free(m);
	if (!ret)
		far_twin_forget(m);
	return ret;
}

int __wrap_weft_grant_new(weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, weft_ep *only, void *token, size_t *token_len,
			  weft_grant *out)
{
	uint64_t handle = far_twin(m, NULL);
	size_t cap = *token_len;
	int ret;

	if (!handle)
		return __real_weft_grant_new(m, offset, len, access, only, token, token_len, out);
	wt_must(!only || far_is(only));
	far_begin(FAR_GRANT, (const uint64_t[FAR_ARGS]){ handle, offset, len, access, far_of(only), cap }, true);
	ret = (int)ask_blob(token, token_len, cap);
	out->v = far_out[1];
	return ret;
}

int __wrap_weft_remote_open(weft_ep *ep, const void *token, size_t token_len, weft_remote **out)
{
	if (!far_is(ep))
		return __real_weft_remote_open(ep, token, token_len, out);
	far_put_blob(far_start(FAR_REMOTE, far_of(ep)), token, token_len);
	return ask_object((void **)out);
}

void __wrap_weft_remote_close(weft_remote *r)
{
	if (!far_is(r)) {
		__real_weft_remote_close(r);
		return;
	}
	far_start(FAR_REMOTE_CLOSE, far_of(r));
	far_ask();
}

/* ---- operations: posted ---- */

static void put_call(struct far_buf *b, const weft_call *c)
{
	weft_call copy;

	far_put64(b, c != NULL);
	if (!c)
		return;
	copy = *c;
	copy.deadline_ns = far_left(c->deadline_ns);
	copy.from = (weft_ep *)(uintptr_t)far_of(c->from);
	far_put(b, &copy, sizeof(copy));
}

static bool is_sane(const weft_buf *b, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		if (b[i].len > 1ul << 31 || (b[i].len && !b[i].addr))
			return false;
		sum += b[i].len;
	}
	return sum <= 1ul << 31;
}

/* Buffers; with their bytes if those are to be sent. */
static void put_bufs(struct far_buf *out, const weft_buf *b, size_t n, bool sends, const uint64_t *twin, const unsigned char *const *addr)
{
	bool sane = b && is_sane(b, n);

	far_put64(out, n);
	far_put64(out, b != NULL);
	for (size_t i = 0; b && i < n; i++) {
		far_put(out, &b[i], sizeof(b[i]));
		far_put64(out, !sane ? FAR_RAW : twin[i] ? FAR_IN_MEMORY : FAR_COPY);
		far_put64(out, twin[i]);
		far_put64(out, twin[i] ? (size_t)((const unsigned char *)b[i].addr - addr[i]) : 0);
		far_put_blob(out, b[i].addr, sane && sends && !twin[i] ? b[i].len : 0);
	}
}

static int ask_post(weft_call *c)
{
	int64_t ret = far_ask();

	if (c && ret == WEFT_PENDING)
		c->op.v = far_out[0];
	if (c && ret == WEFT_OK)
		far_events(&c->event, 1);
	return (int)ret;
}

static int post(enum far_what what, const uint64_t a[FAR_ARGS], const weft_buf *b, size_t n, bool sends, weft_call *c)
{
	uint64_t *twin = calloc(n + 1, sizeof(*twin));
	const unsigned char **addr = calloc(n + 1, sizeof(*addr));
	bool in_memory = false;
	struct far_buf *out;

	wt_must(twin && addr);
	for (size_t i = 0; b && i < n; i++) {
		twin[i] = b[i].mem ? far_twin(b[i].mem, &addr[i]) : 0;
		in_memory = in_memory || twin[i];
	}
	out = far_begin(what, a, in_memory);
	put_call(out, c);
	put_bufs(out, b, n, sends || (c && c->flags & WEFT_NO_EVENT), twin, addr); /* no event: it is compared with what was here */
	free(twin);
	free(addr);
	return ask_post(c);
}

#define POST(what, b, n, sends, c, ...) post(what, (const uint64_t[FAR_ARGS]){ __VA_ARGS__ }, b, n, sends, c)

/* One-sided operations of this side: what it has stored in the other side's memory must be there before. */
static int here(int ret)
{
	if (ret == WEFT_OK)
		far_sync();
	return ret;
}

WRAPS(int, weft_send, weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *c);
WRAPS(int, weft_recv, weft_worker *w, const weft_buf *b, size_t n, uint64_t tag, uint64_t mask, weft_call *c);
WRAPS(int, weft_recv_message, weft_message *m, const weft_buf *b, size_t n, weft_call *c);
WRAPS(int, weft_am_send, weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, weft_call *c);
WRAPS(int, weft_am_recv, weft_worker *w, weft_event *am, const weft_buf *b, size_t n, weft_call *c);
WRAPS(int, weft_stream_send, weft_ep *ep, const weft_buf *b, size_t n, weft_call *c);
WRAPS(int, weft_stream_recv, weft_ep *ep, const weft_buf *b, size_t n, weft_call *c);
WRAPS(int, weft_put, weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *c);
WRAPS(int, weft_get, weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *c);
WRAPS(int, weft_rma_batch, weft_ep *ep, const weft_rma *v, size_t n, weft_call *c);
WRAPS(int, weft_put_signal, weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, uint64_t signal, weft_call *c);
WRAPS(int, weft_atomic, weft_ep *ep, uint32_t what, weft_remote *r, uint64_t offset, uint64_t operand, uint64_t compare, weft_call *c);
WRAPS(int, weft_flush, weft_worker *w, weft_ep *ep, weft_call *c);
WRAPS(int, weft_grant_revoke, weft_mem *m, weft_grant g, weft_call *c);
WRAPS(int, weft_ep_close, weft_ep *ep, weft_call *c);

int __wrap_weft_send(weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *c)
{
	return far_is(ep) ? POST(FAR_SEND, b, n, true, c, far_of(ep), tag) : __real_weft_send(ep, b, n, tag, c);
}

int __wrap_weft_recv(weft_worker *w, const weft_buf *b, size_t n, uint64_t tag, uint64_t mask, weft_call *c)
{
	return far_is(w) ? POST(FAR_RECV, b, n, false, c, far_of(w), tag, mask) : __real_weft_recv(w, b, n, tag, mask, c);
}

int __wrap_weft_recv_message(weft_message *m, const weft_buf *b, size_t n, weft_call *c)
{
	return far_is(m) ? POST(FAR_RECV_MESSAGE, b, n, false, c, far_of(m)) : __real_weft_recv_message(m, b, n, c);
}

int __wrap_weft_am_send(weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, weft_call *c)
{
	uint64_t words[2] = { 0, 0 }; /* headers of the far side's: as much of them as its cases have */

	if (!far_is(ep))
		return __real_weft_am_send(ep, id, header, header_len, b, n, c);
	wt_must(header_len <= sizeof(words));
	if (header_len)
		memcpy(words, header, header_len);
	return POST(FAR_AM_SEND, b, n, true, c, far_of(ep), id, header_len, words[0], words[1]);
}

int __wrap_weft_am_recv(weft_worker *w, weft_event *am, const weft_buf *b, size_t n, weft_call *c)
{
	return far_is(w) ? POST(FAR_AM_RECV, b, n, false, c, far_of(w), am->op.v, am->kind) : __real_weft_am_recv(w, am, b, n, c);
}

int __wrap_weft_stream_send(weft_ep *ep, const weft_buf *b, size_t n, weft_call *c)
{
	return far_is(ep) ? POST(FAR_STREAM_SEND, b, n, true, c, far_of(ep)) : __real_weft_stream_send(ep, b, n, c);
}

int __wrap_weft_stream_recv(weft_ep *ep, const weft_buf *b, size_t n, weft_call *c)
{
	return far_is(ep) ? POST(FAR_STREAM_RECV, b, n, false, c, far_of(ep)) : __real_weft_stream_recv(ep, b, n, c);
}

int __wrap_weft_put(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *c)
{
	same_side(ep, r);
	if (far_is(ep))
		return POST(FAR_PUT, b, n, true, c, far_of(ep), far_of(r), offset);
	far_sync();
	return here(__real_weft_put(ep, b, n, r, offset, c));
}

int __wrap_weft_get(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *c)
{
	same_side(ep, r);
	if (far_is(ep))
		return POST(FAR_GET, b, n, false, c, far_of(ep), far_of(r), offset);
	far_sync();
	return here(__real_weft_get(ep, b, n, r, offset, c));
}

int __wrap_weft_rma_batch(weft_ep *ep, const weft_rma *v, size_t n, weft_call *c)
{
	wt_must(!far_is(ep)); /* no case does */
	far_sync();
	return here(__real_weft_rma_batch(ep, v, n, c));
}

int __wrap_weft_put_signal(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, uint64_t signal, weft_call *c)
{
	same_side(ep, r);
	if (far_is(ep))
		return POST(FAR_PUT_SIGNAL, b, n, true, c, far_of(ep), far_of(r), offset, signal);
	far_sync();
	return here(__real_weft_put_signal(ep, b, n, r, offset, signal, c));
}

int __wrap_weft_atomic(weft_ep *ep, uint32_t what, weft_remote *r, uint64_t offset, uint64_t operand, uint64_t compare, weft_call *c)
{
	same_side(ep, r);
	if (far_is(ep))
		return POST(FAR_ATOMIC, NULL, 0, false, c, far_of(ep), what, far_of(r), offset, operand, compare);
	far_sync();
	return here(__real_weft_atomic(ep, what, r, offset, operand, compare, c));
}

int __wrap_weft_flush(weft_worker *w, weft_ep *ep, weft_call *c)
{
	same_side(w, ep);
	return far_is(w) ? POST(FAR_FLUSH, NULL, 0, false, c, far_of(w), far_of(ep)) : here(__real_weft_flush(w, ep, c));
}

int __wrap_weft_grant_revoke(weft_mem *m, weft_grant g, weft_call *c)
{
	return far_has_twin(m) ? POST(FAR_REVOKE, NULL, 0, false, c, far_twin(m, NULL), g.v) : __real_weft_grant_revoke(m, g, c);
}

int __wrap_weft_ep_close(weft_ep *ep, weft_call *c)
{
	return far_is(ep) ? POST(FAR_EP_CLOSE, NULL, 0, false, c, far_of(ep)) : __real_weft_ep_close(ep, c);
}

/* ---- operations: looked at, ended ---- */

WRAPS(int, weft_probe, weft_worker *w, uint64_t tag, uint64_t mask, weft_call *c, weft_message **take);
WRAPS(int, weft_am_bind, weft_worker *w, uint32_t id, weft_am_fn fn, void *arg);
WRAPS(int, weft_fence, weft_ep *ep);
WRAPS(int, weft_test, weft_worker *w, weft_op op, weft_event *out);
WRAPS(int, weft_wait, weft_worker *w, weft_op op, uint64_t deadline_ns, weft_event *out);
WRAPS(int, weft_cancel, weft_worker *w, weft_op op);
WRAPS(int, weft_explain, weft_ctx *ctx, weft_ep *ep, const char *url, int json, char *out, size_t *len);
WRAPS(int, weft_stats, weft_ctx *ctx, const void *what, char *out, size_t *len);

int __wrap_weft_probe(weft_worker *w, uint64_t tag, uint64_t mask, weft_call *c, weft_message **take)
{
	int ret;

	if (!far_is(w))
		return __real_weft_probe(w, tag, mask, c, take);
	put_call(far_start(FAR_PROBE, far_of(w), tag, mask, take != NULL), c);
	ret = (int)far_ask();
	if (ret == WEFT_OK && take)
		*take = far_to(far_out[0]);
	if (ret == WEFT_OK)
		far_events(&c->event, 1);
	return ret;
}

int __wrap_weft_am_bind(weft_worker *w, uint32_t id, weft_am_fn fn, void *arg)
{
	if (!far_is(w))
		return __real_weft_am_bind(w, id, fn, arg);
	far_start(FAR_BIND, far_of(w), id, far_handler(fn, arg));
	return (int)far_ask();
}

int __wrap_weft_fence(weft_ep *ep)
{
	if (!far_is(ep))
		return __real_weft_fence(ep);
	far_start(FAR_FENCE, far_of(ep));
	return (int)far_ask();
}

static int ask_event(weft_event *out)
{
	int ret = (int)far_ask();

	if (ret == WEFT_OK)
		far_events(out, 1);
	return ret;
}

int __wrap_weft_test(weft_worker *w, weft_op op, weft_event *out)
{
	if (!far_is(w))
		return here(__real_weft_test(w, op, out));
	far_start(FAR_TEST, far_of(w), op.v);
	return ask_event(out);
}

int __wrap_weft_wait(weft_worker *w, weft_op op, uint64_t deadline_ns, weft_event *out)
{
	if (!far_is(w))
		return here(__real_weft_wait(w, op, deadline_ns, out));
	far_start(FAR_WAIT, far_of(w), op.v, far_left(deadline_ns));
	return ask_event(out);
}

int __wrap_weft_cancel(weft_worker *w, weft_op op)
{
	if (!far_is(w))
		return __real_weft_cancel(w, op);
	far_start(FAR_CANCEL, far_of(w), op.v);
	return (int)far_ask();
}

int __wrap_weft_explain(weft_ctx *ctx, weft_ep *ep, const char *url, int json, char *out, size_t *len)
{
	size_t cap = *len;

	if (!far_is(ep))
		return __real_weft_explain(ctx, ep, url, json, out, len);
	far_put_text(far_start(FAR_EXPLAIN, far_ctx(ctx), far_of(ep), (uint64_t)json, cap), url);
	return (int)ask_blob(out, len, cap);
}

int __wrap_weft_stats(weft_ctx *ctx, const void *what, char *out, size_t *len)
{
	size_t cap = *len;

	if (!far_is(what))
		return __real_weft_stats(ctx, what, out, len);
	far_start(FAR_STATS, far_ctx(ctx), far_of(what), cap);
	return (int)ask_blob(out, len, cap);
}
