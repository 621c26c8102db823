/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ep.c - weft.Endpoint: how it comes, what its events do, how it goes.
 *
 * weft knows an endpoint's Python object by a number (wpy_slot), which is no reference: an Endpoint that nobody holds goes,
 * pending operations hold it. One that goes while it is open is closed, with a ResourceWarning. After close() or abort()
 * the weft_ep is not touched again; after the peer went (DOWN) it is kept, so that messages that came before can still be
 * received.
 */
#include "wpy.h"

#include <stddef.h>

Endpoint *wpy_ep_new(Worker *w)
{
	Endpoint *ep = PyObject_GC_New(Endpoint, &wpy_ep_type);

	if (!ep)
		return NULL;
	memset((char *)ep + sizeof(PyObject), 0, sizeof(*ep) - sizeof(PyObject));
	ep->worker = (Worker *)Py_NewRef((PyObject *)w);
	PyObject_GC_Track(ep);
	ep->id = wpy_slot_new(ep);
	if (!ep->id)
		Py_CLEAR(ep);
	return ep;
}

void wpy_ep_pin(Endpoint *ep)
{
	Endpoint **at = &ep->worker->pinned;

	if (ep->pins++)
		return;
	ep->pin_next = *at;
	ep->pin_at = at;
	if (*at)
		(*at)->pin_at = &ep->pin_next;
	*at = (Endpoint *)Py_NewRef((PyObject *)ep);
}

void wpy_ep_unpin(Endpoint *ep)
{
	if (--ep->pins)
		return;
	*ep->pin_at = ep->pin_next;
	if (ep->pin_next)
		ep->pin_next->pin_at = ep->pin_at;
	Py_DECREF(ep);
}

/* Where no address can be had the last one stands. */
void wpy_ep_set_peer(Endpoint *ep)
{
	char text[256];
	PyObject *peer;

	if (!ep->h || weft_ep_peer(ep->h, text, sizeof(text)))
		return;
	peer = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
	if (peer)
		Py_XSETREF(ep->peer, peer);
	else
		PyErr_Clear();
}

static void call_soon(Worker *w, PyObject *fn, PyObject *arg)
{
	PyObject *ret = w->h ? PyObject_CallFunctionObjArgs(w->call_soon, fn, arg, NULL) : Py_NewRef(Py_None);

	if (!ret)
		PyErr_WriteUnraisable(fn);
	Py_XDECREF(ret);
}

static void on_connected(Endpoint *ep)
{
	PyObject *accepted = ep->accepted;
	Op *op = ep->connecting;

	if (ep->connected)
		return;
	ep->connected = true;
	wpy_ep_set_peer(ep);
	ep->connecting = NULL;
	ep->accepted = NULL;
	if (op) {
		wpy_op_finish(op, Py_NewRef((PyObject *)ep));
		Py_DECREF(op);
	}
	if (accepted) {
		call_soon(ep->worker, accepted, (PyObject *)ep);
		Py_DECREF(accepted);
		wpy_ep_unpin(ep);
	}
}

static void on_down(Endpoint *ep, const weft_event *e)
{
	PyObject *on_down = ep->on_down;
	Op *op = ep->connecting;

	if (ep->down)
		return;
	ep->down = wpy_exc_event(e);
	if (!ep->down) {
		PyErr_Clear();
		return;
	}
	ep->connecting = NULL;
	ep->on_down = NULL;
	if (ep->accepted) {
		Py_CLEAR(ep->accepted);
		wpy_ep_unpin(ep);
	}
	if (op) {
		wpy_op_fail(op, wpy_exc_again(ep->down));
		Py_DECREF(op);
	}
	wpy_inbox_fail(&ep->am, ep->down);
	wpy_inbox_fail(&ep->obj, ep->down);
	wpy_mem_ep_over(ep->id, ep->down);
	if (on_down)
		call_soon(ep->worker, on_down, (PyObject *)ep);
	Py_XDECREF(on_down);
}

bool wpy_ep_event(const weft_event *e)
{
	Endpoint *ep = wpy_slot(e->user_data);
	bool kept = false;

	if (!ep)
		return false;
	Py_INCREF(ep);
	if (e->kind == WEFT_EV_CONNECTED)
		on_connected(ep);
	else if (e->kind == WEFT_EV_DOWN)
		on_down(ep, e);
	else
		kept = wpy_inbox_event(ep, e->value == WPY_OBJ_ID ? &ep->obj : &ep->am, e);
	Py_DECREF(ep);
	return kept;
}

/* A connect that was cancelled: it has no buffers, so it ends at once. */
void wpy_ep_give_up(Endpoint *ep)
{
	Py_CLEAR(ep->connecting);
	ep->closing = true;
	wpy_worker_bury(ep->worker, ep->h, false);
	ep->h = NULL;
}

void wpy_ep_orphan(Endpoint *ep)
{
	Py_INCREF(ep);
	if (ep->accepted) {
		Py_CLEAR(ep->accepted);
		wpy_ep_unpin(ep);
	}
	wpy_ep_gone(ep);
	Py_DECREF(ep);
}

static PyObject *closed_error(void)
{
	return wpy_exc_make(WEFT_ECLOSED, "endpoint", "it was closed", NULL);
}

PyObject *wpy_ep_why(uint64_t id)
{
	Endpoint *ep = wpy_slot(id);

	if (ep && ep->down)
		return wpy_exc_again(ep->down);
	return !ep || ep->closing || !ep->h ? closed_error() : NULL;
}

/* The weft_ep has ended: forget it. */
void wpy_ep_gone(Endpoint *ep)
{
	PyObject *on_down = ep->on_down, *why;

	ep->h = NULL;
	ep->on_down = NULL;
	if (on_down)
		call_soon(ep->worker, on_down, (PyObject *)ep);
	Py_XDECREF(on_down);
	why = closed_error();
	if (!why) {
		PyErr_Clear();
		return;
	}
	wpy_inbox_fail(&ep->am, why);
	wpy_inbox_fail(&ep->obj, why);
	wpy_mem_ep_over(ep->id, why);
	Py_DECREF(why);
}

weft_ep *wpy_ep_ready(Endpoint *ep, const char *what, PyObject **out)
{
	PyObject *exc;

	*out = NULL;
	if (wpy_worker_check(ep->worker))
		return NULL;
	if (ep->h && !ep->closing)
		return ep->h;
	exc = wpy_exc_make(WEFT_ECLOSED, what, "the endpoint is closed", NULL);
	*out = exc ? wpy_op_dead(ep->worker, what, exc) : NULL;
	return NULL;
}

/* ---- its end ------------------------------------------------------------------------------------------------------ */

static PyObject *close_with(Endpoint *ep, const char *what, uint64_t timeout_ns)
{
	Worker *w = ep->worker;
	weft_call call;
	Op *op;
	int ret;

	if (ep->closing || !ep->h || !w->h)
		return wpy_op_ready(w, what, Py_NewRef(Py_None));
	if (wpy_worker_check(w))
		return NULL;
	op = wpy_op_new(w, WPY_CLOSE, what);
	if (!op)
		return NULL;
	ep->closing = true;                  /* first: what an inbox drops may run code that calls us */
	wpy_inbox_clear(ep, &ep->am);
	wpy_inbox_clear(ep, &ep->obj);
	wpy_call_init(&call, 0, op);
	if (timeout_ns)
		call.deadline_ns = wpy_now() + timeout_ns;
	ret = weft_ep_close(ep->h, &call);
	if (ret == WEFT_PENDING)
		ep->close_op = call.op;
	if (ret < 0 && wpy_status_scope(ret) == WEFT_SCOPE_EP) {
		weft_ep_abort(ep->h);        /* it is over already */
		wpy_ep_gone(ep);
		Py_DECREF(op);
		return wpy_worker_touch(w) ? NULL : wpy_op_ready(w, what, Py_NewRef(Py_None));
	}
	ep->closing = ret >= 0;
	return wpy_op_posted(op, ret, &call, (PyObject *)ep);
}

/* close(timeout=None) */
static PyObject *ep_close(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_TIMEOUT };
	uint64_t timeout_ns = 0;
	PyObject *timeout;

	if (wpy_args("Endpoint.close", args, n, kw, names, 1, 1, 0, &timeout) ||
	    wpy_seconds("Endpoint.close", timeout, &timeout_ns))
		return NULL;
	return close_with((Endpoint *)self, "Endpoint.close", timeout_ns);
}

/*
 * A close waits for the peer, and shall no longer. Its completion tells whoever awaits it, and that the weft_ep is gone. That
 * may be reaped and not be taken in yet, when what runs in between (the garbage collector's finalizers) calls this: then the
 * weft_ep must not be touched. The operation's handle can be asked without it.
 */
static int abort_close(Endpoint *ep)
{
	int ret = weft_cancel(ep->worker->h, ep->close_op);

	if (!ret)
		ret = weft_ep_abort(ep->h);  /* the cancel is for the next turn, this is for now */
	if (ret && ret != WEFT_ESTALE) {
		wpy_raise_refused(ret);
		return -1;
	}
	return wpy_worker_touch(ep->worker);
}

int wpy_ep_abort(Endpoint *ep)
{
	int ret;

	if (!ep->h || !ep->worker->h)
		return 0;
	if (wpy_worker_check(ep->worker))
		return -1;
	if (ep->closing)
		return abort_close(ep);
	ep->closing = true;
	wpy_inbox_clear(ep, &ep->am);
	wpy_inbox_clear(ep, &ep->obj);
	ret = weft_ep_abort(ep->h);
	if (ret) {
		ep->closing = false;
		wpy_raise_refused(ret);
		return -1;
	}
	wpy_ep_gone(ep);
	return wpy_worker_touch(ep->worker);
}

static PyObject *ep_abort(PyObject *self, PyObject *Py_UNUSED(unused))
{
	if (wpy_ep_abort((Endpoint *)self))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *ep_aenter(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return wpy_op_ready(((Endpoint *)self)->worker, "Endpoint.__aenter__", Py_NewRef(self));
}

/* Whoever leaves by an exception does not want to wait long. */
static PyObject *ep_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
	bool failed = n > 0 && args[0] != Py_None;

	return close_with((Endpoint *)self, "Endpoint.__aexit__", failed ? 1000000000u : 0);
}

static void warn_open(Endpoint *ep)
{
	PyObject *type, *value, *tb;

	PyErr_Fetch(&type, &value, &tb);
	if (PyErr_ResourceWarning((PyObject *)ep, 1, "unclosed weft.Endpoint to %S", ep->peer ? ep->peer : Py_None) &&
	    PyErr_ExceptionMatches(PyExc_Warning))
		PyErr_WriteUnraisable((PyObject *)ep);
	PyErr_Restore(type, value, tb);
}

static void ep_finalize(PyObject *self)
{
	PyObject *type, *value, *tb;
	Endpoint *ep = (Endpoint *)self;

	if (!ep->h || ep->closing || ep->worker->forked)
		return;
	if (!ep->down)
		warn_open(ep);
	ep->closing = true;
	if (ep->worker->h) {
		wpy_inbox_clear(ep, &ep->am);
		wpy_inbox_clear(ep, &ep->obj);
		wpy_worker_bury(ep->worker, ep->h, !ep->down && ep->connected);
	}
	Py_CLEAR(ep->on_down);               /* it would get an object that is going */
	PyErr_Fetch(&type, &value, &tb);
	wpy_ep_gone(ep);
	PyErr_Restore(type, value, tb);
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static int ep_traverse(PyObject *self, visitproc visit, void *arg)
{
	Endpoint *ep = (Endpoint *)self;

	Py_VISIT(ep->worker);
	Py_VISIT(ep->down);
	Py_VISIT(ep->accepted);
	Py_VISIT(ep->on_down);
	Py_VISIT(ep->connecting);
	for (Op *op = ep->am.wanters.first; op; op = op->next)
		Py_VISIT(op);
	for (Op *op = ep->obj.wanters.first; op; op = op->next)
		Py_VISIT(op);
	return 0;
}

static int ep_clear(PyObject *self)
{
	Endpoint *ep = (Endpoint *)self;

	Py_CLEAR(ep->accepted);
	Py_CLEAR(ep->on_down);
	Py_CLEAR(ep->connecting);
	return 0;
}

static void ep_dealloc(PyObject *self)
{
	Endpoint *ep = (Endpoint *)self;

	if (PyObject_CallFinalizerFromDealloc(self))
		return;
	PyObject_GC_UnTrack(ep);
	wpy_slot_free(&ep->id);
	if (ep->weakrefs)
		PyObject_ClearWeakRefs(self);
	ep_clear(self);
	wpy_inbox_clear(ep, &ep->am);
	wpy_inbox_clear(ep, &ep->obj);
	Py_CLEAR(ep->down);
	Py_CLEAR(ep->peer);
	Py_CLEAR(ep->unread);
	Py_CLEAR(ep->worker);
	PyObject_GC_Del(ep);
}

static PyObject *ep_repr(PyObject *self)
{
	Endpoint *ep = (Endpoint *)self;
	const char *state = !ep->h || ep->closing || !ep->worker->h ? "closed" : ep->down ? "down" :
			    ep->connected ? "open" : "connecting";

	return PyUnicode_FromFormat("<weft.Endpoint to %S, %s>", ep->peer ? ep->peer : Py_None, state);
}

static PyObject *get_peer(PyObject *self, void *Py_UNUSED(unused))
{
	Endpoint *ep = (Endpoint *)self;

	return ep->peer ? Py_NewRef(ep->peer) : PyUnicode_FromString("");
}

static PyObject *get_local(PyObject *self, void *Py_UNUSED(unused))
{
	Endpoint *ep = (Endpoint *)self;
	char text[256] = "";

	if (!ep->worker->h || !ep->h)
		return PyUnicode_FromString("");
	if (wpy_worker_check(ep->worker))
		return NULL;
	if (weft_ep_local(ep->h, text, sizeof(text)))
		text[0] = 0;
	return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused))
{
	Endpoint *ep = (Endpoint *)self;

	return PyBool_FromLong(!ep->h || ep->closing || ep->down || !ep->worker->h);
}

static PyObject *get_error(PyObject *self, void *Py_UNUSED(unused))
{
	Endpoint *ep = (Endpoint *)self;

	return Py_NewRef(ep->down ? ep->down : Py_None);
}

static PyObject *get_loop(PyObject *self, void *Py_UNUSED(unused))
{
	return Py_NewRef(((Endpoint *)self)->worker->loop);
}

static PyObject *get_am_waits(PyObject *self, void *Py_UNUSED(unused))
{
	return PyBool_FromLong(((Endpoint *)self)->am.first != NULL);
}

/* At once where it is over already. */
static PyObject *ep_on_over(PyObject *self, PyObject *fn)
{
	Endpoint *ep = (Endpoint *)self;

	if (!ep->h || ep->down)
		call_soon(ep->worker, fn, self);
	else
		Py_XSETREF(ep->on_down, Py_NewRef(fn));
	Py_RETURN_NONE;
}

static PyObject *ep_explain(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_JSON };
	Endpoint *ep = (Endpoint *)self;
	PyObject *json, *text;
	size_t len = 4096;
	char *out = NULL, *more;
	int ret, as_json;

	if (wpy_args("Endpoint.explain", args, n, kw, names, 1, 1, 0, &json))
		return NULL;
	as_json = json ? PyObject_IsTrue(json) : 0;
	if (as_json < 0 || wpy_worker_check(ep->worker))
		return NULL;
	if (!ep->h)
		return PyUnicode_FromString(as_json ? "{\"state\": \"closed\"}" : "closed");
	for (int i = 0; i < 4; i++) {
		more = PyMem_Realloc(out, len + 1);
		if (!more) {
			PyMem_Free(out);
			return PyErr_NoMemory();
		}
		out = more;
		ret = weft_explain(wpy_ctx, ep->h, NULL, as_json, out, &len);
		if (ret != WEFT_EINVAL)
			break;
		len++;
	}
	text = ret ? wpy_raise_refused(ret) : PyUnicode_DecodeUTF8(out, (Py_ssize_t)len, "replace");
	PyMem_Free(out);
	return text;
}

static PyGetSetDef ep_getset[] = {
	{ "peer", get_peer, NULL, "The peer's address, \"127.0.0.1:4711\".", NULL },
	{ "local", get_local, NULL, "Our own address, as the peer's `peer` has it; \"\" when it is over. ThreadError: of another thread's loop.", NULL },
	{ "closed", get_closed, NULL, "True once either side has closed it or it broke.", NULL },
	{ "error", get_error, NULL, "Why it went down, an exception; None while it is up.", NULL },
	{ "_am_waits", get_am_waits, NULL, "True when an active message is there that nobody received.", NULL },
	{ "loop", get_loop, NULL, "The event loop it belongs to.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef ep_methods[] = {
	WPY_FAST("send", wpy_ep_send, "send(buf, tag=0, *, sync=False)\n\nSends one message. Done: buf is free again; with "
		 "sync=True: the peer has matched it."),
	WPY_FAST("recv", wpy_ep_recv, "recv(buf, tag=0, mask=EXACT) -> int\n\nReceives one message into buf; its length."),
	WPY_FAST("recv_tagged", wpy_ep_recv_tagged, "recv_tagged(buf, tag=0, mask=EXACT) -> (int, int)\n\nAs recv(); "
		 "length and tag of the message."),
	WPY_FAST("send_obj", wpy_ep_send_obj, "send_obj(obj)\n\nSends any object that pickle takes; large buffers in it are "
		 "not copied."),
	WPY_FAST("recv_obj", wpy_ep_recv_obj, "recv_obj() -> object\n\nOnly from peers that you trust: pickle runs code."),
	WPY_FAST("am_send", wpy_ep_am_send, "am_send(header, buf=b'')\n\nSends an active message; header: at most 1024 bytes."),
	WPY_FAST("am_recv", wpy_ep_am_recv, "am_recv(buf=None, *, abort_on_cancel=False) -> (bytes, bytearray)\n\n"
		 "The next active message: header and payload. With buf the payload is received into it, and its length is returned instead. buf may be a callable: it gets "
		 "the header and the payload's length when the message is there, makes the list of buffers that the payload is received "
		 "into, one after the other, and that list is returned. It must not use the endpoint. A cancel while a payload goes into the "
		 "user's memory waits until the peer has let go of that. With abort_on_cancel it ends the endpoint, unless that is being "
		 "closed, and does not wait where a callable made the buffers: they are held until the peer has let go."),
	WPY_FAST("write", wpy_ep_write, "write(data)\n\nSends bytes of the stream."),
	WPY_FAST("read", wpy_ep_read, "read(n) -> bytes\n\nAt least one and at most n bytes of the stream; b'' at its end."),
	WPY_FAST("readexactly", wpy_ep_readexactly, "readexactly(n) -> bytes\n\nn bytes of the stream, or "
		 "asyncio.IncompleteReadError."),
	WPY_FAST("readinto", wpy_ep_readinto, "readinto(buf) -> int\n\nFills buf from the stream."),
	WPY_FAST("remote", wpy_ep_remote, "remote(token) -> Remote\n\nThe peer's memory that the token grants."),
	{ "flush", wpy_ep_flush, METH_NOARGS, "flush()\n\nDone when all that was posted before is at the peer." },
	WPY_FAST("explain", ep_explain, "explain(json=False) -> str\n\nWhich paths it uses and why not others."),
	WPY_FAST("close", ep_close, "close(timeout=None)\n\nFlushes, tells the peer, ends; after timeout seconds it aborts. Never "
		 "fails: flush() tells of loss."),
	{ "abort", ep_abort, METH_NOARGS, "abort()\n\nEnds it now; what is pending fails. A close() that waits is done." },
	{ "_on_over", ep_on_over, METH_O, "_on_over(f): f(endpoint) is called by the loop once it is over; one f only." },
	{ "__aenter__", ep_aenter, METH_NOARGS, NULL },
	{ "__aexit__", WPY_CAST(ep_aexit), METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_ep_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft.Endpoint",
	.tp_basicsize = sizeof(Endpoint),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_doc = "One side of a connection. Each method that communicates posts when it is called and returns an Op.",
	.tp_dealloc = ep_dealloc,
	.tp_finalize = ep_finalize,
	.tp_traverse = ep_traverse,
	.tp_clear = ep_clear,
	.tp_repr = ep_repr,
	.tp_weaklistoffset = offsetof(Endpoint, weakrefs),
	.tp_methods = ep_methods,
	.tp_getset = ep_getset,
};
