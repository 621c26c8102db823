/* SPDX-License-Identifier: BSD-3-Clause
 *
 * obj.c - Python objects as active messages: send_obj() and what recv_obj() makes of them.
 *
 * pickle, protocol 5, gives a pickle and out-of-band buffers. They travel as one message by scatter-gather, from the
 * object's own memory to memory that the new object keeps: no copy is made of them here.
 *
 *   header, little-endian:   0  "wob1"     4  u32 buffers     8  u64 bytes of pickle     16  u64 length of each buffer
 *   payload:                 pickle, then the buffers one after another
 *
 * With more than INLINE_MAX buffers the lengths do not fit in the header; they stand at the start of the payload, and the
 * pickle and each buffer begin at a multiple of ALIGN from there, so that one bytearray holds everything.
 */
#include "wpy.h"

#define MAGIC "wob1"
#define FIXED 16
#define INLINE_MAX 120
#define BUFFERS_MAX (1u << 24)
#define ALIGN 64

static const char zeros[ALIGN];

static void put_u64(char *at, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		at[i] = (char)(v >> 8 * i);
}

static uint64_t get_u64(const char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v |= (uint64_t)(unsigned char)at[i] << 8 * i;
	return v;
}

static size_t padding(size_t len)
{
	return (ALIGN - len % ALIGN) % ALIGN;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* The pickle; its out-of-band buffers go to @list. */
static PyObject *pickled(PyObject *obj, PyObject *list)
{
	PyObject *append = PyObject_GetAttrString(list, "append"), *args = NULL, *kw = NULL, *out = NULL;

	if (append) {
		args = PyTuple_Pack(1, obj);
		kw = Py_BuildValue("{s:i,s:O}", "protocol", 5, "buffer_callback", append);
	}
	if (args && kw)
		out = PyObject_Call(wpy_dumps, args, kw);
	Py_XDECREF(append);
	Py_XDECREF(args);
	Py_XDECREF(kw);
	return out;
}

static int pin(Op *op, PyObject *o)
{
	Py_buffer *view = &op->views[op->n_views];

	if (PyObject_GetBuffer(o, view, PyBUF_ANY_CONTIGUOUS))
		return -1;
	op->n_views++;
	op->big |= view->len >= WPY_BIG;
	return 0;
}

/* Pins table, pickle and buffers, in this order, as op->views. */
static int pin_all(Op *op, PyObject *table, PyObject *pickle, PyObject *list)
{
	Py_ssize_t n = PyList_GET_SIZE(list);

	if (wpy_op_views(op, (uint32_t)n + 2) || (table && pin(op, table)) || pin(op, pickle))
		return -1;
	for (Py_ssize_t i = 0; i < n; i++)
		if (pin(op, PyList_GET_ITEM(list, i)))
			return -1;
	return 0;
}

static PyObject *lengths(PyObject *list)
{
	Py_ssize_t n = PyList_GET_SIZE(list);
	PyObject *table = PyBytes_FromStringAndSize(NULL, 8 * n);
	Py_buffer view;

	for (Py_ssize_t i = 0; table && i < n; i++) {
		if (PyObject_GetBuffer(PyList_GET_ITEM(list, i), &view, PyBUF_ANY_CONTIGUOUS)) {
			Py_DECREF(table);
			return NULL;
		}
		put_u64(PyBytes_AS_STRING(table) + 8 * i, (uint64_t)view.len);
		PyBuffer_Release(&view);
	}
	return table;
}

/* The views as they go out; padded to ALIGN where @pad. */
static weft_buf *gather(Op *op, bool pad, size_t *n)
{
	weft_buf *b = PyMem_Calloc(2 * (size_t)op->n_views + 1, sizeof(*b));

	*n = 0;
	if (!b) {
		PyErr_NoMemory();
		return NULL;
	}
	for (uint32_t i = 0; i < op->n_views; i++) {
		const Py_buffer *v = &op->views[i];

		b[(*n)++] = (weft_buf){ .addr = v->buf, .len = (size_t)v->len };
		if (pad && padding((size_t)v->len))
			b[(*n)++] = (weft_buf){ .addr = (void *)(uintptr_t)zeros, .len = padding((size_t)v->len) };
	}
	return b;
}

static PyObject *post(Endpoint *ep, weft_ep *h, Op *op, PyObject *pickle, PyObject *list, PyObject *table)
{
	char header[FIXED + 8 * INLINE_MAX];
	size_t n_bufs = (size_t)PyList_GET_SIZE(list), header_len = FIXED, n;
	bool inline_table = n_bufs <= INLINE_MAX;
	weft_call call;
	weft_buf *b;
	int ret;

	if (pin_all(op, inline_table ? NULL : table, pickle, list))
		return NULL;
	b = gather(op, !inline_table, &n);
	if (!b)
		return NULL;
	memcpy(header, MAGIC, 4);
	put_u64(header + 4, n_bufs);         /* its upper half is written over */
	put_u64(header + 8, (uint64_t)PyBytes_GET_SIZE(pickle));
	if (inline_table) {
		memcpy(header + FIXED, PyBytes_AS_STRING(table), 8 * n_bufs);
		header_len += 8 * n_bufs;
	}
	wpy_call_init(&call, 0, op);
	ret = weft_am_send(h, WPY_OBJ_ID, header, header_len, b, n, &call);
	PyMem_Free(b);
	Py_INCREF(op);
	return wpy_op_posted(op, ret, &call, (PyObject *)ep);
}

PyObject *wpy_ep_send_obj(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_OBJ };
	static const char what[] = "Endpoint.send_obj";
	Endpoint *ep = (Endpoint *)self;
	PyObject *obj, *list, *pickle = NULL, *table = NULL, *out = NULL;
	weft_ep *h;
	Op *op;

	if (wpy_args(what, args, n, kw, names, 1, 1, 1, &obj))
		return NULL;
	list = PyList_New(0);
	if (list)
		pickle = pickled(obj, list);
	if (pickle)
		table = lengths(list);
	if (table && PyList_GET_SIZE(list) > (Py_ssize_t)BUFFERS_MAX) {
		PyErr_Format(PyExc_ValueError, "%s(): an object with more than %u buffers", what, BUFFERS_MAX);
		Py_CLEAR(table);
	}
	h = table ? wpy_ep_ready(ep, what, &out) : NULL;  /* after pickle, which may run anything */
	op = h ? wpy_op_new(ep->worker, WPY_NONE_RESULT, what) : NULL;
	if (op)
		out = post(ep, h, op, pickle, list, table);
	Py_XDECREF(op);
	Py_XDECREF(list);
	Py_XDECREF(pickle);
	Py_XDECREF(table);
	return out;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static PyObject *bad(const char *why)
{
	wpy_raise(wpy_exc_make(WEFT_EPROTO, "Endpoint.recv_obj", why, NULL));
	return NULL;
}

static int append(PyObject *list, uint64_t len)
{
	PyObject *part = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)len);
	int ret = part ? PyList_Append(list, part) : -1;

	Py_XDECREF(part);
	return ret;
}

/* Everything is bounded by @len, which weft has bounded, before memory is asked for. */
PyObject *wpy_obj_parts(PyObject *header, uint64_t len)
{
	const char *h = PyBytes_AS_STRING(header);
	uint64_t h_len = (uint64_t)PyBytes_GET_SIZE(header), n, left = len, size;
	PyObject *list;

	if (h_len < FIXED || memcmp(h, MAGIC, 4))
		return bad("what came is no object of send_obj()");
	n = get_u64(h + 4) & 0xffffffffu;
	size = get_u64(h + 8);
	if (n > BUFFERS_MAX || size > len)
		return bad("the object's header contradicts itself");
	list = PyList_New(0);
	if (!list)
		return NULL;
	if (n > INLINE_MAX) {
		if (!append(list, len))
			return list;
		goto drop;
	}
	if (h_len != FIXED + 8 * n) {
		bad("the object's header contradicts itself");
		goto drop;
	}
	for (uint64_t i = 0; i <= n; i++) {
		if (i)
			size = get_u64(h + FIXED + 8 * (i - 1));
		if (size > left) {
			bad("the object is longer than its message");
			goto drop;
		}
		left -= size;
		if (append(list, size))
			goto drop;
	}
	if (!left)
		return list;
	bad("the object is shorter than its message");
drop:
	Py_DECREF(list);
	return NULL;
}

static PyObject *slice(PyObject *view, uint64_t *at, uint64_t size, uint64_t len)
{
	PyObject *out;

	if (size > len || *at > len - size)
		return bad("the object is longer than its message");
	out = PySequence_GetSlice(view, (Py_ssize_t)*at, (Py_ssize_t)(*at + size));
	*at += size + padding(size);
	return out;
}

/* Cuts the one bytearray of an object with many buffers: list of pickle and buffers. */
static PyObject *cut_up(PyObject *whole, uint64_t n, uint64_t pickle_len)
{
	uint64_t len = (uint64_t)PyByteArray_GET_SIZE(whole), at = 8 * n + padding(8 * n), size = pickle_len;
	const char *table = PyByteArray_AS_STRING(whole);
	PyObject *view, *list, *part = NULL;

	if (at > len)
		return bad("the object is longer than its message");
	view = PyMemoryView_FromObject(whole);
	list = view ? PyList_New(0) : NULL;
	for (uint64_t i = 0; list && i <= n; i++) {
		if (i)
			size = get_u64(table + 8 * (i - 1));
		part = slice(view, &at, size, len);
		if (!part || PyList_Append(list, part))
			Py_CLEAR(list);
		Py_XDECREF(part);
	}
	Py_XDECREF(view);
	return list;
}

PyObject *wpy_obj_load(PyObject *header_and_parts)
{
	PyObject *header = PyTuple_GET_ITEM(header_and_parts, 0), *parts = PyTuple_GET_ITEM(header_and_parts, 1);
	const char *h = PyBytes_AS_STRING(header);
	uint64_t n = get_u64(h + 4) & 0xffffffffu;
	PyObject *list, *buffers, *args = NULL, *kw = NULL, *out = NULL;

	list = n > INLINE_MAX ? cut_up(PyList_GET_ITEM(parts, 0), n, get_u64(h + 8)) : Py_NewRef(parts);
	if (!list)
		return NULL;
	buffers = PyList_GetSlice(list, 1, PyList_GET_SIZE(list));
	if (buffers) {
		args = PyTuple_Pack(1, PyList_GET_ITEM(list, 0));
		kw = Py_BuildValue("{s:O}", "buffers", buffers);
	}
	if (args && kw)
		out = PyObject_Call(wpy_loads, args, kw);
	Py_XDECREF(buffers);
	Py_XDECREF(args);
	Py_XDECREF(kw);
	Py_DECREF(list);
	return out;
}

PyObject *wpy_ep_recv_obj(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const char what[] = "Endpoint.recv_obj";
	Endpoint *ep = (Endpoint *)self;
	PyObject *out;
	Op *op;

	if (wpy_args(what, args, n, kw, NULL, 0, 0, 0, NULL))
		return NULL;
	if (!wpy_ep_ready(ep, what, &out))
		return out;
	op = wpy_op_new(ep->worker, WPY_WANT_OBJ, what);
	return op ? wpy_inbox_recv(ep, &ep->obj, op) : NULL;
}
