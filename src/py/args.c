/* SPDX-License-Identifier: BSD-3-Clause
 *
 * args.c - arguments of methods: names, numbers, buffers; what is wrong with them is said in words.
 */
#include "wpy.h"

PyObject *wpy_names[N_NAMES_];

static int by_name(const char *what, PyObject *key, PyObject *value, const uint8_t *names, int n_names, PyObject **out)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < n_names; i++) {
			PyObject *name = wpy_names[names[i]];

			if (key != name && (!pass || PyUnicode_Compare(key, name)))
				continue;
			if (out[i]) {
				PyErr_Format(PyExc_TypeError, "%s() got '%U' twice", what, key);
				return -1;
			}
			out[i] = value;
			return 0;
		}
	}
	PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", what, key);
	return -1;
}

int wpy_args(const char *what, PyObject *const *args, Py_ssize_t n, PyObject *kw, const uint8_t *names, int n_names,
	     int n_pos, int n_must, PyObject **out)
{
	Py_ssize_t n_kw = kw ? PyTuple_GET_SIZE(kw) : 0;

	if (n > n_pos) {
		PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments, got %zd", what, n_pos, n);
		return -1;
	}
	for (int i = 0; i < n_names; i++)
		out[i] = i < n ? args[i] : NULL;
	for (Py_ssize_t i = 0; i < n_kw; i++)
		if (by_name(what, PyTuple_GET_ITEM(kw, i), args[n + i], names, n_names, out))
			return -1;
	for (int i = 0; i < n_must; i++) {
		if (!out[i]) {
			PyErr_Format(PyExc_TypeError, "%s() misses its argument '%U'", what, wpy_names[names[i]]);
			return -1;
		}
	}
	return 0;
}

static int not_int(const char *what, const char *name, PyObject *o)
{
	PyErr_Format(PyExc_TypeError, "%s(): %s must be an int, not %.100s", what, name, Py_TYPE(o)->tp_name);
	return -1;
}

int wpy_u64(const char *what, const char *name, PyObject *o, uint64_t *out)
{
	PyObject *i = PyIndex_Check(o) ? PyNumber_Index(o) : NULL;
	PyObject *zero;
	int negative = 0;

	if (!i)
		return PyErr_Occurred() ? -1 : not_int(what, name, o);
	*out = PyLong_AsUnsignedLongLong(i);
	if (!PyErr_Occurred()) {
		Py_DECREF(i);
		return 0;
	}
	PyErr_Clear();
	zero = PyLong_FromLong(0);
	negative = zero ? PyObject_RichCompareBool(i, zero, Py_LT) : -1;
	Py_XDECREF(zero);
	if (negative > 0)
		PyErr_Format(PyExc_ValueError, "%s(): %s must not be negative, got %S", what, name, i);
	else if (!negative)
		PyErr_Format(PyExc_OverflowError, "%s(): %s must be less than 2**64, got %S", what, name, i);
	Py_DECREF(i);
	return -1;
}

int wpy_size(const char *what, const char *name, PyObject *o, size_t *out)
{
	uint64_t v;

	if (wpy_u64(what, name, o, &v))
		return -1;
	if (v > (uint64_t)PY_SSIZE_T_MAX) {
		PyErr_Format(PyExc_OverflowError, "%s(): %s is larger than an address space, got %S", what, name, o);
		return -1;
	}
	*out = v;
	return 0;
}

int wpy_seconds(const char *what, PyObject *o, uint64_t *ns)
{
	double s;

	*ns = 0;
	if (!o || o == Py_None)
		return 0;
	s = PyFloat_AsDouble(o);
	if (s == -1.0 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
		if (PyErr_ExceptionMatches(PyExc_TypeError))
			PyErr_Format(PyExc_TypeError, "%s(): timeout must be a number of seconds, not %.100s", what,
				     Py_TYPE(o)->tp_name);
		return -1;
	}
	PyErr_Clear();                       /* too large an int is refused as other numbers are */
	if (!(s > 0) || s > 1e9) {
		PyErr_Format(PyExc_ValueError, "%s(): timeout must be a positive number of seconds", what);
		return -1;
	}
	*ns = (uint64_t)(s * 1e9);
	return 0;
}

/* Replaces the exporter's words, which seldom say what to do. */
static int refuse_buffer(const char *what, PyObject *o, bool writable)
{
	const char *type = Py_TYPE(o)->tp_name;
	Py_buffer view;

	if (PyErr_ExceptionMatches(PyExc_MemoryError))
		return -1;
	if (!PyObject_CheckBuffer(o)) {
		PyErr_Format(PyExc_TypeError, "%s() needs a bytes-like object or a list of them, not %.100s", what, type);
		return -1;
	}
	PyErr_Clear();
	if (PyObject_GetBuffer(o, &view, PyBUF_FULL_RO)) {
		if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError))
			return -1;
		PyErr_Clear();
		PyErr_Format(PyExc_BufferError, "%s() cannot get at the memory of this %.100s", what, type);
		return -1;
	}
	if (writable && view.readonly)
		PyErr_Format(PyExc_BufferError, "%s() needs memory to write to; this %.100s is read-only", what, type);
	else
		PyErr_Format(PyExc_BufferError, "%s() needs contiguous memory; this %.100s is not (make a copy of it)",
			     what, type);
	PyBuffer_Release(&view);
	return -1;
}

int wpy_buffer(const char *what, PyObject *o, bool writable, Py_buffer *view)
{
	if (!PyObject_GetBuffer(o, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE))
		return 0;
	if (!PyObject_CheckBuffer(o))
		return refuse_buffer(what, o, writable);
	PyErr_Clear();                       /* C order it is not; Fortran order is as good */
	if (!PyObject_GetBuffer(o, view, PyBUF_ANY_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)))
		return 0;
	return refuse_buffer(what, o, writable);
}

static void fill(weft_buf *b, const Py_buffer *view)
{
	b->addr = view->buf;
	b->len = (size_t)view->len;
	b->mem = wpy_mem_any && view->len >= 4096 ? wpy_mem_find(view->buf, (size_t)view->len) : NULL;
	b->kind = WEFT_HOST;
	b->device = 0;
	b->reserved = 0;
}

int wpy_bufs(Op *op, PyObject *o, bool writable, weft_buf *one, weft_buf **bufs, size_t *total)
{
	bool list = PyList_CheckExact(o) || PyTuple_CheckExact(o);
	Py_ssize_t n = list ? PySequence_Fast_GET_SIZE(o) : 1;
	PyObject *item;

	*bufs = one;
	*total = 0;
	if (!list) {
		if (wpy_buffer(op->what, o, writable, &op->view))
			return -1;
		op->n_views = 1;
		fill(one, &op->view);
		*total = one->len;
	} else {
		if (wpy_op_views(op, (uint32_t)n))
			return -1;
		if (n > 1)
			*bufs = PyMem_Malloc((size_t)n * sizeof(**bufs));
		if (!*bufs) {
			*bufs = one;
			PyErr_NoMemory();
			return -1;
		}
		for (Py_ssize_t i = 0; i < n; i++) {
			/* an exporter may run Python code that shortens the list */
			item = i < PySequence_Fast_GET_SIZE(o) ? PySequence_Fast_GET_ITEM(o, i) : Py_None;
			if (wpy_buffer(op->what, item, writable, &op->views[i]))
				return -1;
			op->n_views++;
			fill(&(*bufs)[i], &op->views[i]);
			*total += (*bufs)[i].len;
		}
	}
	op->big = *total >= WPY_BIG;
	return 0;
}
