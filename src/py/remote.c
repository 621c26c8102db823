/* SPDX-License-Identifier: BSD-3-Clause
 *
 * remote.c - weft.Remote: memory of a peer that was granted to us. put, get, atomics. A done put has given its buffer
 * back; Endpoint.flush() says that it is there.
 */
#include "wpy.h"

typedef struct {
	PyObject_HEAD
	weft_remote *h;
	Endpoint *ep;
} Remote;

PyObject *wpy_remote_open(Endpoint *ep, PyObject *token)
{
	Py_buffer view;
	PyObject *out;
	weft_ep *h;
	Remote *r;
	int ret;

	if (wpy_buffer("Endpoint.remote", token, false, &view))
		return NULL;
	h = wpy_ep_ready(ep, "Endpoint.remote", &out);
	if (!h) {
		PyBuffer_Release(&view);
		if (out) {
			Py_XDECREF(wpy_op_take((Op *)out));  /* raises */
			Py_DECREF(out);
		}
		return NULL;
	}
	r = PyObject_GC_New(Remote, &wpy_remote_type);
	if (!r) {
		PyBuffer_Release(&view);
		return NULL;
	}
	r->h = NULL;
	r->ep = (Endpoint *)Py_NewRef((PyObject *)ep);
	PyObject_GC_Track(r);
	ret = weft_remote_open(h, view.buf, (size_t)view.len, &r->h);
	PyBuffer_Release(&view);
	if (ret) {
		r->h = NULL;
		Py_DECREF(r);
		return wpy_raise_refused(ret);
	}
	if (!wpy_worker_touch(ep->worker))
		return (PyObject *)r;
	Py_DECREF(r);
	return NULL;
}

/* Endpoint and handle are ready to be posted on. NULL: return *out. */
static weft_ep *ready(Remote *r, const char *what, PyObject **out)
{
	weft_ep *h = wpy_ep_ready(r->ep, what, out);

	if (!h || r->h)
		return h;
	PyErr_Format(PyExc_ValueError, "%s(): this Remote is closed", what);
	return NULL;
}

enum { PUT, GET, PUT_SIGNAL };

static PyObject *move(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kw, int how, const char *what)
{
	static const uint8_t names[] = { N_BUF, N_OFFSET, N_SIGNAL };
	Remote *r = (Remote *)self;
	weft_buf one, *bufs = &one;
	size_t offset = 0, total, n;
	uint64_t signal = 1;
	PyObject *in[3] = { NULL, NULL, NULL }, *out;
	int n_names = how == PUT_SIGNAL ? 3 : 2, ret;
	weft_call call;
	weft_ep *h;
	Op *op;

	if (wpy_args(what, args, n_args, kw, names, n_names, n_names, 1, in) ||
	    (in[1] && wpy_size(what, "offset", in[1], &offset)) || (in[2] && wpy_u64(what, "signal", in[2], &signal)))
		return NULL;
	op = wpy_op_new(r->ep->worker, WPY_NONE_RESULT, what);
	if (!op)
		return NULL;
	if (wpy_bufs(op, in[0], how == GET, &one, &bufs, &total)) {
		out = NULL;
		goto drop;
	}
	n = op->n_views;
	h = ready(r, what, &out);
	if (!h)
		goto drop;
	wpy_call_init(&call, 0, op);
	if (how == GET)
		ret = weft_get(h, bufs, n, r->h, offset, &call);
	else if (how == PUT)
		ret = weft_put(h, bufs, n, r->h, offset, &call);
	else
		ret = weft_put_signal(h, bufs, n, r->h, offset, signal, &call);
	wpy_bufs_free(bufs, &one);
	return wpy_op_posted(op, ret, &call, self);

drop:
	wpy_bufs_free(bufs, &one);
	Py_DECREF(op);
	return out;
}

static PyObject *remote_put(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return move(self, args, n, kw, PUT, "Remote.put");
}

static PyObject *remote_get(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return move(self, args, n, kw, GET, "Remote.get");
}

static PyObject *remote_put_signal(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return move(self, args, n, kw, PUT_SIGNAL, "Remote.put_signal");
}

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

/* Negative numbers are taken as two's complement: fetch_add(0, -1). */
static int operand(const char *what, const char *name, PyObject *o, unsigned bits, uint64_t *out)
{
	PyObject *i = PyIndex_Check(o) ? PyNumber_Index(o) : NULL;
	int overflow = 0;
	long long v;

	if (!i) {
		if (!PyErr_Occurred())
			PyErr_Format(PyExc_TypeError, "%s(): %s must be an int, not %.100s", what, name,
				     Py_TYPE(o)->tp_name);
		return -1;
	}
	v = PyLong_AsLongLongAndOverflow(i, &overflow);
	*out = (uint64_t)v;
	if (overflow > 0)
		*out = PyLong_AsUnsignedLongLong(i);
	Py_DECREF(i);
	if (overflow > 0 && PyErr_Occurred())
		PyErr_Clear();
	else if (overflow >= 0 && (bits == 64 || (!overflow && v >= INT32_MIN && v <= UINT32_MAX)))
		return 0;
	PyErr_Format(PyExc_OverflowError, "%s(): %s does not fit in %u bits", what, name, bits);
	return -1;
}

static PyObject *atomic(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw, uint32_t how, const char *what)
{
	static const uint8_t plain[] = { N_OFFSET, N_VALUE, N_BITS };
	static const uint8_t cas[] = { N_OFFSET, N_COMPARE, N_VALUE, N_BITS };
	bool is_cas = how == WEFT_ATOMIC_CAS;
	uint64_t value, compare = 0, bits = 64;
	Remote *r = (Remote *)self;
	PyObject *in[4], *out;
	size_t offset;
	weft_call call;
	weft_ep *h;
	Op *op;
	int ret;

	if (wpy_args(what, args, n, kw, is_cas ? cas : plain, 3 + is_cas, 2 + is_cas, 2 + is_cas, in) ||
	    (in[2 + is_cas] && wpy_u64(what, "bits", in[2 + is_cas], &bits)) || wpy_size(what, "offset", in[0], &offset))
		return NULL;
	if (bits != 32 && bits != 64) {
		PyErr_Format(PyExc_ValueError, "%s(): bits must be 32 or 64", what);
		return NULL;
	}
	if (operand(what, "value", in[1 + is_cas], (unsigned)bits, &value) ||
	    (is_cas && operand(what, "compare", in[1], (unsigned)bits, &compare)))
		return NULL;
	h = ready(r, what, &out);
	if (!h)
		return out;
	op = wpy_op_new(r->ep->worker, WPY_VALUE, what);
	if (!op)
		return NULL;
	wpy_call_init(&call, 0, op);
	if (bits == 32)
		how |= WEFT_ATOMIC_32BIT;
	ret = weft_atomic(h, how, r->h, offset, value, compare, &call);
	return wpy_op_posted(op, ret, &call, self);
}

static PyObject *remote_fetch_add(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_ADD, "Remote.fetch_add");
}

static PyObject *remote_fetch_and(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_AND, "Remote.fetch_and");
}

static PyObject *remote_fetch_or(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_OR, "Remote.fetch_or");
}

static PyObject *remote_fetch_xor(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_XOR, "Remote.fetch_xor");
}

static PyObject *remote_swap(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_SWAP, "Remote.swap");
}

static PyObject *remote_compare_swap(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return atomic(self, args, n, kw, WEFT_ATOMIC_CAS, "Remote.compare_swap");
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static void drop_handle(Remote *r)
{
	weft_remote *h = r->h;

	r->h = NULL;
	if (h)
		wpy_worker_bury_remote(r->ep->worker, h);
}

static PyObject *remote_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
	drop_handle((Remote *)self);
	Py_RETURN_NONE;
}

static int remote_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((Remote *)self)->ep);
	return 0;
}

static void remote_dealloc(PyObject *self)
{
	Remote *r = (Remote *)self;

	PyObject_GC_UnTrack(r);
	drop_handle(r);
	Py_CLEAR(r->ep);
	PyObject_GC_Del(r);
}

static PyObject *get_ep(PyObject *self, void *Py_UNUSED(unused))
{
	return Py_NewRef((PyObject *)((Remote *)self)->ep);
}

static PyGetSetDef remote_getset[] = {
	{ "endpoint", get_ep, NULL, "The endpoint to its owner.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef remote_methods[] = {
	WPY_FAST("put", remote_put, "put(buf, offset=0)\n\nWrites buf there. Done: buf is free; flush() says it is there."),
	WPY_FAST("get", remote_get, "get(buf, offset=0)\n\nFills buf from there."),
	WPY_FAST("put_signal", remote_put_signal, "put_signal(buf, offset=0, signal=1)\n\nput, after which signal is added to "
		 "what the owner sees by Memory.signalled()."),
	WPY_FAST("fetch_add", remote_fetch_add, "fetch_add(offset, value, *, bits=64) -> int\n\nThe old value."),
	WPY_FAST("fetch_and", remote_fetch_and, "fetch_and(offset, value, *, bits=64) -> int"),
	WPY_FAST("fetch_or", remote_fetch_or, "fetch_or(offset, value, *, bits=64) -> int"),
	WPY_FAST("fetch_xor", remote_fetch_xor, "fetch_xor(offset, value, *, bits=64) -> int"),
	WPY_FAST("swap", remote_swap, "swap(offset, value, *, bits=64) -> int"),
	WPY_FAST("compare_swap", remote_compare_swap, "compare_swap(offset, compare, value, *, bits=64) -> int\n\n"
		 "The old value; value was stored if that equals compare."),
	{ "close", remote_close, METH_NOARGS, "close()\n\nForgets it. What is pending still completes." },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_remote_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft.Remote",
	.tp_basicsize = sizeof(Remote),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_doc = "Memory of the peer that was granted to us.",
	.tp_dealloc = remote_dealloc,
	.tp_traverse = remote_traverse,
	.tp_methods = remote_methods,
	.tp_getset = remote_getset,
};
