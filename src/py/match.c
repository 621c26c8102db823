/* SPDX-License-Identifier: BSD-3-Clause
 *
 * match.c - receiving from whoever sends. An Endpoint receives from its peer alone; in UCX receives belong to the worker, and
 * so they do in weft.ucp and weft.ucxx, for which this is: _recv(), _probe() and the message that a probe takes out,
 * _progress(). None of it is public.
 */
#include "wpy.h"

typedef struct {
	PyObject_HEAD
	weft_message *h;                 /* NULL: received */
	Worker *worker;
	uint64_t tag, len;
} Message;

/* An op with @buf pinned for a receive on @w. NULL with an error set. */
static Op *prepare(Worker *w, const char *what, PyObject *buf, weft_buf *one, weft_buf **bufs)
{
	size_t total;
	Op *op;

	*bufs = one;
	op = wpy_op_new(w, WPY_COUNT, what);
	if (!op)
		return NULL;
	if (!wpy_bufs(op, buf, true, one, bufs, &total) && !wpy_worker_check(w))
		return op;
	wpy_bufs_free(*bufs, one);
	Py_DECREF(op);
	return NULL;
}

/* _recv(loop, buf, tag, mask) -> Op[int] */
PyObject *wpy_recv_any(PyObject *Py_UNUSED(mod), PyObject *args)
{
	unsigned long long tag, mask;
	PyObject *loop, *buf, *out = NULL;
	weft_buf one, *bufs;
	weft_call call;
	Worker *w;
	Op *op;
	int ret;

	if (!PyArg_ParseTuple(args, "OOKK:_recv", &loop, &buf, &tag, &mask))
		return NULL;
	w = wpy_worker_of(loop);
	op = w ? prepare(w, "recv", buf, &one, &bufs) : NULL;
	if (op) {
		wpy_call_init(&call, 0, op);
		ret = weft_recv(w->h, bufs, op->n_views, tag, mask, &call);
		wpy_bufs_free(bufs, &one);
		out = wpy_op_posted(op, ret, &call, (PyObject *)w);
	}
	Py_XDECREF(w);
	return out;
}

static PyObject *message_new(Worker *w, weft_message *h, const weft_event *e)
{
	Message *m = PyObject_New(Message, &wpy_message_type);

	if (!m)
		return NULL;                 /* h goes with the worker */
	m->h = h;
	m->worker = (Worker *)Py_NewRef((PyObject *)w);
	m->tag = e->tag;
	m->len = e->len;
	return (PyObject *)m;
}

/* _probe(loop, tag, mask, take) -> None or (tag, length, _Message or None). Looks for what arrived meanwhile, too. */
PyObject *wpy_probe(PyObject *Py_UNUSED(mod), PyObject *args)
{
	unsigned long long tag, mask;
	weft_message *h = NULL;
	PyObject *loop, *out = NULL;
	weft_call call;
	int take, ret;
	Worker *w;

	if (!PyArg_ParseTuple(args, "OKKp:_probe", &loop, &tag, &mask, &take))
		return NULL;
	w = wpy_worker_of(loop);
	if (!w || wpy_worker_progress(w) < 0) {
		Py_XDECREF(w);
		return NULL;
	}
	wpy_call_init(&call, 0, NULL);
	ret = weft_probe(w->h, tag, mask, &call, take ? &h : NULL);
	if (ret == WEFT_AGAIN)
		out = Py_NewRef(Py_None);
	else if (ret)
		wpy_raise_refused(ret);
	else
		out = Py_BuildValue("KKN", (unsigned long long)call.event.tag, (unsigned long long)call.event.len,
				    h ? message_new(w, h, &call.event) : Py_NewRef(Py_None));
	Py_DECREF(w);
	return out;
}

/* _progress(loop) -> int: takes in what arrived; how much that was. Who waits for it is woken by the loop. */
PyObject *wpy_progress(PyObject *Py_UNUSED(mod), PyObject *loop)
{
	Worker *w = wpy_worker_of(loop);
	Py_ssize_t n = w ? wpy_worker_progress(w) : -1;

	Py_XDECREF(w);
	return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* ---- a message that was taken out --------------------------------------------------------------------------------- */

static PyObject *message_recv(PyObject *self, PyObject *buf)
{
	Message *m = (Message *)self;
	weft_buf one, *bufs;
	weft_call call;
	Op *op;
	int ret;

	if (!m->h) {
		PyErr_SetString(PyExc_ValueError, "recv(): this message was received already");
		return NULL;
	}
	op = prepare(m->worker, "recv", buf, &one, &bufs);
	if (!op)
		return NULL;
	wpy_call_init(&call, 0, op);
	ret = weft_recv_message(m->h, bufs, op->n_views, &call);
	wpy_bufs_free(bufs, &one);
	if (ret >= 0)
		m->h = NULL;
	return wpy_op_posted(op, ret, &call, (PyObject *)m->worker);
}

/* One that nobody received is dropped: into no room at all. On another thread it stays with the worker until that ends. */
static void message_dealloc(PyObject *self)
{
	Message *m = (Message *)self;
	Worker *w = m->worker;
	weft_call call;

	if (m->h && w->h && !w->released && w->thread == PyThread_get_thread_ident()) {
		wpy_call_init(&call, WEFT_NO_EVENT, NULL);
		weft_recv_message(m->h, NULL, 0, &call);
	}
	Py_DECREF(w);
	PyObject_Free(m);
}

static PyObject *get_tag(PyObject *self, void *Py_UNUSED(unused))
{
	return PyLong_FromUnsignedLongLong(((Message *)self)->tag);
}

static PyObject *get_length(PyObject *self, void *Py_UNUSED(unused))
{
	return PyLong_FromUnsignedLongLong(((Message *)self)->len);
}

static PyGetSetDef message_getset[] = {
	{ "tag", get_tag, NULL, NULL, NULL },
	{ "length", get_length, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef message_methods[] = {
	{ "recv", message_recv, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_message_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft._weft._Message",
	.tp_basicsize = sizeof(Message),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_dealloc = message_dealloc,
	.tp_methods = message_methods,
	.tp_getset = message_getset,
};
