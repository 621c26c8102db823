/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conn.c - connecting and listening, on numeric addresses; names are resolved before, in Python, by the loop's resolver.
 *
 * weft._weft.Listener only takes connections: each connected endpoint is handed to `accepted` through call_soon. What
 * becomes of it (a task for the handler) is Python's, in weft/_conn.py.
 */
#include "wpy.h"

#include <stddef.h>

typedef struct {
	PyObject_HEAD
	weft_listener *h;
	Worker *worker;
	PyObject *url, *accepted, *on_down, *transports;
	uint64_t id;                     /* wpy_slot */
	bool failed;
} Listener;

/* "shm,tcp" from a str or a sequence of them; None gives NULL. New reference. */
static int list_of_names(const char *what, PyObject *o, PyObject **out)
{
	PyObject *comma;

	*out = NULL;
	if (!o || o == Py_None)
		return 0;
	if (PyUnicode_Check(o)) {
		*out = Py_NewRef(o);
		return 0;
	}
	comma = PyUnicode_FromString(",");
	*out = comma ? PyUnicode_Join(comma, o) : NULL;
	Py_XDECREF(comma);
	if (!*out)
		PyErr_Format(PyExc_TypeError, "%s(): transports must be a str or a sequence of str", what);
	return *out ? 0 : -1;
}

static const char *url_text(const char *what, PyObject *o)
{
	if (PyUnicode_Check(o))
		return PyUnicode_AsUTF8(o);
	PyErr_Format(PyExc_TypeError, "%s(): url must be a str, not %.100s", what, Py_TYPE(o)->tp_name);
	return NULL;
}

/* @now: gives the endpoint, on which what is posted waits until it is connected; else an op that gives it then. */
static PyObject *connect_kind(PyObject *const *args, Py_ssize_t n, PyObject *kw, bool now)
{
	static const uint8_t names[] = { N_URL, N_LOOP, N_TRANSPORTS, N_TIMEOUT };
	static const char what[] = "connect";
	weft_conn_opts o = { .size = sizeof(o) };
	PyObject *in[4], *allow = NULL;
	Endpoint *ep = NULL;
	uint64_t timeout_ns;
	const char *url;
	Worker *w;
	Op *op = NULL;
	int ret;

	if (wpy_args(what, args, n, kw, names, 4, 2, 2, in))
		return NULL;
	url = url_text(what, in[0]);
	if (!url || wpy_seconds(what, in[3], &timeout_ns) || list_of_names(what, in[2], &allow))
		return NULL;
	w = wpy_worker_of(in[1]);
	if (w)
		ep = wpy_ep_new(w);
	if (ep && !now)
		op = wpy_op_new(w, WPY_CONNECT, what);
	if (!ep || (!op && !now))
		goto drop;
	o.user_data = ep->id;
	o.deadline_ns = timeout_ns ? wpy_now() + timeout_ns : 0;
	o.allow = allow ? PyUnicode_AsUTF8(allow) : NULL;
	ep->peer = Py_NewRef(in[0]);
	ret = weft_connect(w->h, url, &o, &ep->h);
	if (ret) {
		ep->h = NULL;
		wpy_raise_refused(ret);
		goto drop;
	}
	if (op) {
		op->owner = Py_NewRef((PyObject *)ep);
		ep->connecting = (Op *)Py_NewRef((PyObject *)op);
		wpy_op_track(op);
	}
	if (wpy_worker_touch(w))
		goto drop;
	Py_XDECREF(allow);
	Py_DECREF(w);
	if (now)
		return (PyObject *)ep;
	Py_DECREF(ep);
	return (PyObject *)op;

drop:
	Py_XDECREF(allow);
	Py_XDECREF(op);
	Py_XDECREF(ep);
	Py_XDECREF(w);
	return NULL;
}

/* _connect(url, loop, *, transports=None, timeout=None) -> Op */
PyObject *wpy_connect(PyObject *Py_UNUSED(mod), PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return connect_kind(args, n, kw, false);
}

/* _connect_now(url, loop, *, transports=None, timeout=None) -> Endpoint */
PyObject *wpy_connect_now(PyObject *Py_UNUSED(mod), PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	return connect_kind(args, n, kw, true);
}

/* ---- listeners --------------------------------------------------------------------------------------------------- */

static PyObject *read_url(Listener *l)
{
	char text[512];
	int ret = weft_listener_url(l->h, text, sizeof(text));

	return ret ? wpy_raise_refused(ret) : PyUnicode_FromString(text);
}

/* _listen(url, loop, accepted, callback, *, transports=None) -> Listener; callback is called with each of its endpoints
 * that goes down. */
PyObject *wpy_listen(PyObject *Py_UNUSED(mod), PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_URL, N_LOOP, N_ACCEPTED, N_CALLBACK, N_TRANSPORTS };
	static const char what[] = "listen";
	weft_conn_opts o = { .size = sizeof(o) };
	PyObject *in[5], *allow;
	const char *url;
	Listener *l;
	int ret;

	if (wpy_args(what, args, n, kw, names, 5, 4, 4, in))
		return NULL;
	url = url_text(what, in[0]);
	if (!url || list_of_names(what, in[4], &allow))
		return NULL;
	l = PyObject_GC_New(Listener, &wpy_listener_type);
	if (!l) {
		Py_XDECREF(allow);
		return NULL;
	}
	memset((char *)l + sizeof(PyObject), 0, sizeof(*l) - sizeof(PyObject));
	l->transports = allow;
	l->accepted = Py_NewRef(in[2]);
	l->on_down = Py_NewRef(in[3]);
	PyObject_GC_Track(l);
	l->id = wpy_slot_new(l);
	l->worker = l->id ? wpy_worker_of(in[1]) : NULL;
	if (!l->worker)
		goto drop;
	o.user_data = l->id;
	o.allow = allow ? PyUnicode_AsUTF8(allow) : NULL;
	ret = weft_listen(l->worker->h, url, &o, &l->h);
	if (ret) {
		l->h = NULL;
		wpy_raise_refused(ret);
		goto drop;
	}
	l->url = read_url(l);
	/* it lives until it is closed, or its loop, whoever holds it */
	if (!l->url || PySet_Add(l->worker->roots, (PyObject *)l) || wpy_worker_touch(l->worker))
		goto drop;
	return (PyObject *)l;

drop:
	Py_DECREF(l);
	return NULL;
}

/* A connection that cannot be taken is rejected: the next may fare better. */
static void take(Listener *l, weft_request *r)
{
	weft_conn_opts o = { .size = sizeof(o) };
	Endpoint *ep = wpy_ep_new(l->worker);

	if (!ep) {
		PyErr_Clear();
		weft_reject(r, WEFT_ENOMEM, "out of memory");
		return;
	}
	o.user_data = ep->id;
	o.allow = l->transports ? PyUnicode_AsUTF8(l->transports) : NULL;
	ep->accepted = Py_NewRef(l->accepted);
	ep->on_down = Py_NewRef(l->on_down);
	wpy_ep_pin(ep);
	if (weft_accept(r, l->worker->h, &o, &ep->h)) {
		ep->h = NULL;
		Py_CLEAR(ep->accepted);
		wpy_ep_unpin(ep);
	}
	wpy_ep_set_peer(ep);
	Py_DECREF(ep);
}

static void report_failed(Listener *l, const weft_event *e)
{
	PyObject *exc = wpy_exc_event(e), *ret = NULL;

	l->failed = true;
	if (exc)
		ret = PyObject_CallMethod(l->worker->loop, "call_exception_handler", "{s:s,s:O}", "message",
					  "weft: a listener failed for good", "exception", exc);
	if (!ret)
		PyErr_WriteUnraisable((PyObject *)l);
	Py_XDECREF(ret);
	Py_XDECREF(exc);
}

void wpy_listener_event(const weft_event *e)
{
	Listener *l = wpy_slot(e->user_data);

	if (e->kind == WEFT_EV_LISTENER) {
		if (l)
			report_failed(l, e);
	} else if (l && l->h) {
		take(l, e->data);
	} else {
		weft_reject(e->data, WEFT_EREFUSED, "the listener was closed");
	}
}

static void close_handle(Listener *l)
{
	weft_listener *h = l->h;

	l->h = NULL;
	if (h && l->worker->h)
		weft_listener_close(h);
	if (h && l->worker->roots && PySet_Discard(l->worker->roots, (PyObject *)l) < 0)
		PyErr_Clear();
}

static PyObject *listener_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
	Listener *l = (Listener *)self;

	if (l->h && l->worker->h && wpy_worker_check(l->worker))
		return NULL;
	close_handle(l);
	Py_RETURN_NONE;
}

static int listener_traverse(PyObject *self, visitproc visit, void *arg)
{
	Listener *l = (Listener *)self;

	Py_VISIT(l->worker);
	Py_VISIT(l->accepted);
	Py_VISIT(l->on_down);
	return 0;
}

static int listener_clear(PyObject *self)
{
	Listener *l = (Listener *)self;

	Py_CLEAR(l->accepted);
	Py_CLEAR(l->on_down);
	return 0;
}

static void listener_dealloc(PyObject *self)
{
	Listener *l = (Listener *)self;

	PyObject_GC_UnTrack(l);
	wpy_slot_free(&l->id);
	if (l->h && l->worker->h)            /* only when making it failed: else the worker holds it */
		weft_listener_close(l->h);
	listener_clear(self);
	Py_CLEAR(l->url);
	Py_CLEAR(l->transports);
	Py_CLEAR(l->worker);
	PyObject_GC_Del(l);
}

static PyObject *get_url(PyObject *self, void *Py_UNUSED(unused))
{
	return Py_NewRef(((Listener *)self)->url);
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused))
{
	Listener *l = (Listener *)self;

	return PyBool_FromLong(!l->h || l->failed || !l->worker->h);
}

static PyGetSetDef listener_getset[] = {
	{ "url", get_url, NULL, NULL, NULL },
	{ "closed", get_closed, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef listener_methods[] = {
	{ "close", listener_close, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_listener_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft._weft.Listener",
	.tp_basicsize = sizeof(Listener),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_dealloc = listener_dealloc,
	.tp_traverse = listener_traverse,
	.tp_clear = listener_clear,
	.tp_methods = listener_methods,
	.tp_getset = listener_getset,
};
