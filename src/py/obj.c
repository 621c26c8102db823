/* SPDX-License-Identifier: BSD-3-Clause
 *
 * obj.c - Python objects as active messages: send_obj() and what recv_obj() makes of them.
 *
 * pickle, protocol 5, gives a pickle and out-of-band buffers. They travel as one message by scatter-gather, from the
 * object's own memory to memory that the new object keeps: no copy is made of them here. How they lie in it: obj_wire.h.
 */
#include "obj_wire.h"
#include "wpy.h"

static const char zeros[WPY_OBJ_ALIGN];

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
		wpy_obj_put_u64(PyBytes_AS_STRING(table) + 8 * i, (uint64_t)view.len);
		PyBuffer_Release(&view);
	}
	return table;
}

/* The views as they go out; padded where @pad. */
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
		if (pad && wpy_obj_padding((uint64_t)v->len))
			b[(*n)++] = (weft_buf){ .addr = (void *)(uintptr_t)zeros, .len = wpy_obj_padding((uint64_t)v->len) };
	}
	return b;
}

static PyObject *post(Endpoint *ep, weft_ep *h, Op *op, PyObject *pickle, PyObject *list, PyObject *table)
{
	char header[WPY_OBJ_HEAD_MAX];
	size_t n_bufs = (size_t)PyList_GET_SIZE(list), header_len, n;
	bool inline_table = n_bufs <= WPY_OBJ_INLINE;
	weft_call call;
	weft_buf *b;
	int ret;

	if (pin_all(op, inline_table ? NULL : table, pickle, list))
		return NULL;
	b = gather(op, !inline_table, &n);
	if (!b)
		return NULL;
	header_len = wpy_obj_head_write(header, n_bufs, (uint64_t)PyBytes_GET_SIZE(pickle), PyBytes_AS_STRING(table));
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
	if (table && PyList_GET_SIZE(list) > (Py_ssize_t)WPY_OBJ_BUFFERS) {
		PyErr_Format(PyExc_ValueError, "%s(): an object with more than %u buffers", what, WPY_OBJ_BUFFERS);
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

static const char *read_head(PyObject *header, uint64_t len, struct wpy_obj_head *out)
{
	return wpy_obj_head_read(PyBytes_AS_STRING(header), (uint64_t)PyBytes_GET_SIZE(header), len, out);
}

/* Everything is bounded by @len, which weft has bounded, before memory is asked for. */
PyObject *wpy_obj_parts(PyObject *header, uint64_t len)
{
	struct wpy_obj_head h;
	const char *wrong = read_head(header, len, &h);
	PyObject *list = wrong ? bad(wrong) : PyList_New(0);
	int ret = 0;

	if (!list)
		return NULL;
	if (!h.table)
		ret = append(list, len);
	for (uint64_t i = 0; h.table && i <= h.n && !ret; i++)
		ret = append(list, wpy_obj_part_len(&h, i));
	if (ret)
		Py_CLEAR(list);
	return list;
}

/* Cuts the one bytearray of an object with many buffers: list of pickle and buffers. */
static PyObject *cut_up(const struct wpy_obj_head *h, PyObject *whole)
{
	uint64_t len = (uint64_t)PyByteArray_GET_SIZE(whole);
	PyObject *view = PyMemoryView_FromObject(whole), *list = view ? PyList_New(0) : NULL, *part;
	struct wpy_obj_part p;
	const char *wrong;

	for (uint64_t i = 0; list && i <= h->n; i++) {
		wrong = wpy_obj_part_find(h, PyByteArray_AS_STRING(whole), len, i, &p);
		part = wrong ? bad(wrong) : PySequence_GetSlice(view, (Py_ssize_t)p.at, (Py_ssize_t)(p.at + p.len));
		if (!part || PyList_Append(list, part))
			Py_CLEAR(list);
		Py_XDECREF(part);
	}
	Py_XDECREF(view);
	return list;
}

/* What is received, list of pickle and buffers; @header was checked by wpy_obj_parts(), with the same length. */
static PyObject *pieces(PyObject *header, PyObject *parts)
{
	Py_ssize_t len = 0;
	struct wpy_obj_head h;
	const char *wrong;

	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(parts); i++)
		len += PyByteArray_GET_SIZE(PyList_GET_ITEM(parts, i));
	wrong = read_head(header, (uint64_t)len, &h);
	if (wrong)
		return bad(wrong);
	return h.table ? Py_NewRef(parts) : cut_up(&h, PyList_GET_ITEM(parts, 0));
}

PyObject *wpy_obj_load(PyObject *header_and_parts)
{
	PyObject *list = pieces(PyTuple_GET_ITEM(header_and_parts, 0), PyTuple_GET_ITEM(header_and_parts, 1));
	PyObject *buffers, *args = NULL, *kw = NULL, *out = NULL;

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
