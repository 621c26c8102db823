/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ep_msg.c - what an Endpoint sends and receives: tagged messages, active messages, the stream.
 *
 * Each method pins the buffer, posts, and gives back the Op. Nothing is looked up by name on the way.
 */
#include "wpy.h"

/* Whether a buffer is asked for what it holds or for room. */
enum { TO_READ = 0, TO_WRITE = 1 };

/* An op with @buf pinned, ready to be posted on *h. NULL: return *out. */
static Op *prepare(Endpoint *ep, enum wpy_kind kind, const char *what, PyObject *buf, int writable, weft_buf *one,
		   weft_buf **bufs, size_t *n, weft_ep **h, PyObject **out)
{
	size_t total;
	Op *op;

	*out = NULL;
	op = wpy_op_new(ep->worker, kind, what);
	if (!op)
		return NULL;
	if (wpy_bufs(op, buf, writable, one, bufs, &total))
		goto drop;
	*n = *bufs == one && op->n_views < 2 ? op->n_views : (size_t)op->n_views;
	*h = wpy_ep_ready(ep, what, out);    /* last: a buffer's exporter may run anything */
	if (*h)
		return op;
drop:
	wpy_bufs_free(*bufs, one);
	Py_DECREF(op);
	return NULL;
}

PyObject *wpy_ep_send(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw)
{
	static const uint8_t names[] = { N_BUF, N_TAG, N_SYNC };
	static const char what[] = "Endpoint.send";
	Endpoint *ep = (Endpoint *)self;
	PyObject *in[3], *out;
	weft_buf one, *bufs;
	uint64_t tag = 0;
	weft_call call;
	int sync, ret;
	weft_ep *h;
	size_t n;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 3, 2, 1, in))
		return NULL;
	if (in[1] && wpy_u64(what, "tag", in[1], &tag))
		return NULL;
	sync = in[2] ? PyObject_IsTrue(in[2]) : 0;
	if (sync < 0)
		return NULL;
	op = prepare(ep, WPY_NONE_RESULT, what, in[0], TO_READ, &one, &bufs, &n, &h, &out);
	if (!op)
		return out;
	wpy_call_init(&call, sync ? WEFT_SYNC : 0, op);
	ret = weft_send(h, bufs, n, tag, &call);
	wpy_bufs_free(bufs, &one);
	return wpy_op_posted(op, ret, &call, self);
}

static PyObject *recv_kind(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw, enum wpy_kind kind,
			   const char *what)
{
	static const uint8_t names[] = { N_BUF, N_TAG, N_MASK };
	Endpoint *ep = (Endpoint *)self;
	uint64_t tag = 0, mask = UINT64_MAX;
	PyObject *in[3], *out;
	weft_buf one, *bufs;
	weft_call call;
	weft_ep *h;
	size_t n;
	int ret;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 3, 3, 1, in))
		return NULL;
	if ((in[1] && wpy_u64(what, "tag", in[1], &tag)) || (in[2] && wpy_u64(what, "mask", in[2], &mask)))
		return NULL;
	op = prepare(ep, kind, what, in[0], TO_WRITE, &one, &bufs, &n, &h, &out);
	if (!op)
		return out;
	wpy_call_init(&call, 0, op);
	call.from = h;
	ret = weft_recv(ep->worker->h, bufs, n, tag, mask, &call);
	wpy_bufs_free(bufs, &one);
	return wpy_op_posted(op, ret, &call, self);
}

PyObject *wpy_ep_recv(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return recv_kind(self, args, n, kw, WPY_COUNT, "Endpoint.recv");
}

PyObject *wpy_ep_recv_tagged(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return recv_kind(self, args, n, kw, WPY_COUNT_TAG, "Endpoint.recv_tagged");
}

/* ---- active messages --------------------------------------------------------------------------------------------- */

PyObject *wpy_ep_am_send(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw)
{
	static const uint8_t names[] = { N_HEADER, N_BUF };
	static const char what[] = "Endpoint.am_send";
	Endpoint *ep = (Endpoint *)self;
	weft_buf one = { .addr = NULL }, *bufs = &one;
	PyObject *in[2], *out;
	Py_buffer header;
	weft_call call;
	size_t n = 0, total;
	weft_ep *h;
	int ret;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 2, 2, 1, in) || wpy_buffer(what, in[0], false, &header))
		return NULL;
	op = wpy_op_new(ep->worker, WPY_NONE_RESULT, what);
	if (!op || (in[1] && in[1] != Py_None && wpy_bufs(op, in[1], false, &one, &bufs, &total))) {
		out = NULL;
		goto drop;
	}
	n = op->n_views;
	h = wpy_ep_ready(ep, what, &out);
	if (!h)
		goto drop;
	wpy_call_init(&call, 0, op);
	ret = weft_am_send(h, WPY_AM_ID, header.buf, (size_t)header.len, bufs, n, &call);
	wpy_bufs_free(bufs, &one);
	PyBuffer_Release(&header);
	return wpy_op_posted(op, ret, &call, self);

drop:
	wpy_bufs_free(bufs, &one);
	PyBuffer_Release(&header);
	Py_XDECREF(op);
	return out;
}

PyObject *wpy_ep_am_recv(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_BUF, N_ABORT_ON_CANCEL };
	static const char what[] = "Endpoint.am_recv";
	Endpoint *ep = (Endpoint *)self;
	PyObject *in[2], *buf, *out;
	int abort_on_cancel;
	Op *op;

	if (wpy_args(what, args, n, kw, names, 2, 1, 0, in))
		return NULL;
	buf = in[0];
	abort_on_cancel = in[1] ? PyObject_IsTrue(in[1]) : 0;
	op = abort_on_cancel < 0 ? NULL : wpy_op_new(ep->worker, WPY_WANT_AM, what);
	if (!op)
		return NULL;
	op->abort_on_cancel = abort_on_cancel;
	if (buf && buf != Py_None && PyCallable_Check(buf) && !PyObject_CheckBuffer(buf)) {
		op->aux = Py_NewRef(buf);
	} else if (buf && buf != Py_None) {
		if (wpy_buffer(what, buf, true, &op->view)) {
			Py_DECREF(op);
			return NULL;
		}
		op->n_views = 1;
	}
	if (wpy_ep_ready(ep, what, &out))
		return wpy_inbox_recv(ep, &ep->am, op);
	Py_DECREF(op);
	return out;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

PyObject *wpy_ep_write(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw)
{
	static const uint8_t names[] = { N_BUF };
	static const char what[] = "Endpoint.write";
	PyObject *buf, *out;
	weft_buf one, *bufs;
	weft_call call;
	weft_ep *h;
	size_t n;
	int ret;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 1, 1, 1, &buf))
		return NULL;
	op = prepare((Endpoint *)self, WPY_NONE_RESULT, what, buf, TO_READ, &one, &bufs, &n, &h, &out);
	if (!op)
		return out;
	wpy_call_init(&call, 0, op);
	ret = weft_stream_send(h, bufs, n, &call);
	wpy_bufs_free(bufs, &one);
	return wpy_op_posted(op, ret, &call, self);
}

/* Moves up to @room of the bytes that a cancelled read left to @to. Returns how many. */
static size_t take_unread(Endpoint *ep, char *to, size_t room)
{
	size_t have = ep->unread ? (size_t)PyBytes_GET_SIZE(ep->unread) : 0, n = have < room ? have : room;

	if (!n)
		return 0;
	memcpy(to, PyBytes_AS_STRING(ep->unread), n);
	if (n == have)
		Py_CLEAR(ep->unread);
	else
		Py_XSETREF(ep->unread, PyBytes_FromStringAndSize(PyBytes_AS_STRING(ep->unread) + n, (Py_ssize_t)(have - n)));
	return n;
}

/* Posts for what is missing of @len bytes at @to. Takes and gives op. */
static PyObject *post_read(Endpoint *ep, weft_ep *h, Op *op, char *to, size_t len)
{
	weft_buf b = { .addr = to, .len = len };
	bool all = op->kind != WPY_STREAM;
	weft_call call;
	int ret = WEFT_OK;

	op->want = ep->unread ? take_unread(ep, to, len) : 0;
	b.addr = to + op->want;
	b.len = len - op->want;
	op->big = all && b.len >= WPY_BIG;
	wpy_call_init(&call, all ? WEFT_ALL : 0, op);
	if (all ? b.len : !op->want)
		ret = weft_stream_recv(h, &b, 1, &call);
	else
		call.event = (weft_event){ .kind = WEFT_EV_OP };
	return wpy_op_posted(op, ret, &call, (PyObject *)ep);
}

/* Into a bytes object that becomes the result. */
static PyObject *read_kind(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw, enum wpy_kind kind,
			   const char *what)
{
	static const uint8_t names[] = { N_N };
	Endpoint *ep = (Endpoint *)self;
	PyObject *in, *out;
	weft_ep *h;
	size_t n;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 1, 1, 1, &in) || wpy_size(what, "n", in, &n))
		return NULL;
	h = wpy_ep_ready(ep, what, &out);
	if (!h)
		return out;
	if (!n)
		return wpy_op_ready(ep->worker, what, PyBytes_FromStringAndSize(NULL, 0));
	op = wpy_op_new(ep->worker, kind, what);
	if (!op)
		return NULL;
	op->aux = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
	if (!op->aux) {
		Py_DECREF(op);
		return NULL;
	}
	return post_read(ep, h, op, PyBytes_AS_STRING(op->aux), n);
}

PyObject *wpy_ep_read(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return read_kind(self, args, n, kw, WPY_STREAM, "Endpoint.read");
}

PyObject *wpy_ep_readexactly(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return read_kind(self, args, n, kw, WPY_EXACTLY, "Endpoint.readexactly");
}

PyObject *wpy_ep_readinto(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw)
{
	static const uint8_t names[] = { N_BUF };
	static const char what[] = "Endpoint.readinto";
	Endpoint *ep = (Endpoint *)self;
	PyObject *buf, *out;
	weft_ep *h;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, 1, 1, 1, &buf))
		return NULL;
	op = wpy_op_new(ep->worker, WPY_FILL, what);
	if (!op)
		return NULL;
	if (wpy_buffer(what, buf, true, &op->view)) {
		Py_DECREF(op);
		return NULL;
	}
	op->n_views = 1;
	h = wpy_ep_ready(ep, what, &out);
	if (h)
		return post_read(ep, h, op, op->view.buf, (size_t)op->view.len);
	Py_DECREF(op);
	return out;
}

PyObject *wpy_ep_flush(PyObject *self, PyObject *Py_UNUSED(unused))
{
	static const char what[] = "Endpoint.flush";
	Endpoint *ep = (Endpoint *)self;
	weft_call call;
	PyObject *out;
	weft_ep *h;
	int ret;
	Op *op;

	h = wpy_ep_ready(ep, what, &out);
	if (!h)
		return out;
	op = wpy_op_new(ep->worker, WPY_NONE_RESULT, what);
	if (!op)
		return NULL;
	wpy_call_init(&call, 0, op);
	ret = weft_flush(ep->worker->h, h, &call);
	return wpy_op_posted(op, ret, &call, self);
}

PyObject *wpy_ep_remote(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_TOKEN };
	PyObject *token;

	if (wpy_args("Endpoint.remote", args, n, kw, names, 1, 1, 1, &token))
		return NULL;
	return wpy_remote_open((Endpoint *)self, token);
}
