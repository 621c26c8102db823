/* SPDX-License-Identifier: BSD-3-Clause
 *
 * op_future.c - the future's side of weft.Op, as asyncio knows it: result, callbacks, cancel; and the type.
 *
 * A cancel asks weft; the op is over when weft says so. When the completion came first the result stands, so that no
 * message is lost, and the task that gets it is cancelled right after (op_coro.c).
 */
#include "wpy.h"

#include <stddef.h>

PyObject *wpy_op_cancelled_error(Op *op)
{
	if (op->state == WPY_CANCELLED && op->result && op->result != Py_None)
		return PyObject_CallOneArg(wpy_cancelled, op->result);
	return PyObject_CallNoArgs(wpy_cancelled);
}

PyObject *wpy_op_take(Op *op)
{
	static PyObject *invalid_state;

	if (op->state == WPY_DONE && !op->result)
		wpy_op_load(op);             /* not before, because it may run anybody's code */
	switch (op->state) {
	case WPY_DONE:
		op->seen = true;
		return Py_NewRef(op->result);
	case WPY_FAILED:
		op->seen = true;
		wpy_raise(Py_NewRef(op->result));
		return NULL;
	case WPY_CANCELLED:
		wpy_raise(wpy_op_cancelled_error(op));
		return NULL;
	default:
		if (!invalid_state) {
			PyObject *m = PyImport_ImportModule("asyncio");

			invalid_state = m ? PyObject_GetAttrString(m, "InvalidStateError") : NULL;
			Py_XDECREF(m);
		}
		if (invalid_state)
			PyErr_Format(invalid_state, "%s() is not done", op->what);
		return NULL;
	}
}

static PyObject *op_result(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return wpy_op_take((Op *)self);
}

static PyObject *op_exception(PyObject *self, PyObject *Py_UNUSED(unused))
{
	Op *op = (Op *)self;
	PyObject *value;

	value = op->state == WPY_FAILED ? NULL : wpy_op_take(op);
	if (value) {
		Py_DECREF(value);
		Py_RETURN_NONE;
	}
	if (op->state != WPY_FAILED)
		return NULL;
	PyErr_Clear();
	op->seen = true;
	return Py_NewRef(op->result);
}

static PyObject *op_done(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return PyBool_FromLong(((Op *)self)->state != WPY_PENDING);
}

static PyObject *op_cancelled(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return PyBool_FromLong(((Op *)self)->state == WPY_CANCELLED);
}

static PyObject *op_get_loop(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return Py_NewRef(((Op *)self)->worker->loop);
}

static PyObject *op_make_cancelled_error(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return wpy_op_cancelled_error((Op *)self);
}

/* It ends when weft says so. */
static PyObject *cancel_in_weft(Op *op)
{
	Worker *w = op->worker;
	int ret;

	if (wpy_worker_check(w))
		return NULL;
	ret = weft_cancel(w->h, op->handle);
	if (ret && ret != WEFT_ESTALE)       /* stale: its completion waits to be reaped */
		return wpy_raise_refused(ret);
	if (wpy_worker_touch(w))
		return NULL;
	Py_RETURN_TRUE;
}

/*
 * The endpoint goes with it, unless it is being closed anyhow: what was sent shall arrive. Memory that was made for this message is
 * nobody else's, so that the op need not wait until the peer, who may have stopped, has let go of it; the fetch holds it.
 */
static PyObject *cancel_by_abort(Op *op, Op *fetch)
{
	Endpoint *ep = (Endpoint *)op->owner;
	int ret;

	if (ep->closing && !op->aux)
		return cancel_in_weft(fetch);
	if (wpy_worker_check(op->worker))
		return NULL;
	Py_INCREF(ep);
	if (op->aux) {
		wpy_inbox_abandon(op);
		wpy_op_set_cancelled(op);
	}
	ret = ep->closing ? 0 : wpy_ep_abort(ep);
	Py_DECREF(ep);
	return ret ? NULL : Py_NewRef(Py_True);
}

/* Those that wait here and not in weft end at once. The others only when weft says so. */
static PyObject *cancel_here(Op *op)
{
	Op *fetch;

	if (op->kind == WPY_CONNECT) {
		wpy_ep_give_up((Endpoint *)op->owner);
	} else if (op->kind == WPY_SIGNAL) {
		wpy_signal_withdraw(op);
	} else if (!wpy_inbox_withdraw(op)) {
		fetch = wpy_inbox_fetch_for(op);     /* its payload is on the way into the user's memory */
		if (fetch)
			return op->abort_on_cancel ? cancel_by_abort(op, fetch) : cancel_in_weft(fetch);
		Py_RETURN_TRUE;
	}
	wpy_op_set_cancelled(op);
	Py_RETURN_TRUE;
}

PyObject *wpy_op_cancel(Op *op, PyObject *msg)
{
	PyObject *ret;

	if (op->state != WPY_PENDING)
		Py_RETURN_FALSE;
	Py_XINCREF(msg);
	Py_XSETREF(op->result, msg);
	op->cancel_asked = true;
	ret = op->in_weft ? cancel_in_weft(op) : cancel_here(op);
	if (!ret)
		op->cancel_asked = false;    /* refused: how it ends is not the cancel's doing */
	return ret;
}

static PyObject *op_cancel(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_MSG };
	PyObject *msg;

	if (wpy_args("Op.cancel", args, n, kw, names, 1, 1, 0, &msg))
		return NULL;
	return wpy_op_cancel((Op *)self, msg == Py_None ? NULL : msg);
}

static int schedule(Op *op, PyObject *cb, PyObject *ctx)
{
	PyObject *args[4] = { NULL, cb, (PyObject *)op, ctx }, *kw, *ret;

	kw = PyTuple_Pack(1, wpy_names[N_CONTEXT]);
	if (!kw)
		return -1;
	ret = PyObject_Vectorcall(op->worker->call_soon, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, kw);
	Py_DECREF(kw);
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

/*
 * A callback for what is done already. asyncio would make a handle for each and run it in the loop's next round; a gather of
 * thousands makes thousands. All of them wait for the worker's one turn in that round instead.
 */
static int call_in_turn(Op *op, PyObject *cb, PyObject *ctx)
{
	Worker *w = op->worker;

	if (!w->h || wpy_worker_touch(w))
		return PyErr_Occurred() ? -1 : schedule(op, cb, ctx);
	op->cb = Py_NewRef(cb);
	op->cb_ctx = Py_NewRef(ctx);
	wpy_op_track(op);
	wpy_op_wake_soon(op);
	return 0;
}

static PyObject *op_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_CALLBACK, N_CONTEXT };
	Op *op = (Op *)self;
	PyObject *out[2], *pair;
	int ret = -1;

	if (wpy_args("Op.add_done_callback", args, n, kw, names, 2, 1, 1, out))
		return NULL;
	out[1] = out[1] && out[1] != Py_None ? Py_NewRef(out[1]) : PyContext_CopyCurrent();
	if (!out[1])
		return NULL;
	if (op->state != WPY_PENDING && !op->waking) {
		ret = call_in_turn(op, out[0], out[1]);
	} else if (!op->cb) {
		op->cb = Py_NewRef(out[0]);
		op->cb_ctx = Py_NewRef(out[1]);
		wpy_op_track(op);
		ret = 0;
	} else {
		if (!op->more)
			op->more = PyList_New(0);
		pair = op->more ? PyTuple_Pack(2, out[0], out[1]) : NULL;
		if (pair)
			ret = PyList_Append(op->more, pair);
		Py_XDECREF(pair);
	}
	Py_DECREF(out[1]);
	if (ret)
		return NULL;
	Py_RETURN_NONE;
}

/* The first of more moves up when cb leaves. */
static int promote(Op *op)
{
	PyObject *pair;

	Py_CLEAR(op->cb);
	Py_CLEAR(op->cb_ctx);
	if (!op->more || !PyList_GET_SIZE(op->more))
		return 0;
	pair = PyList_GET_ITEM(op->more, 0);
	op->cb = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
	op->cb_ctx = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
	return PyList_SetSlice(op->more, 0, 1, NULL);
}

static PyObject *op_remove_done_callback(PyObject *self, PyObject *cb)
{
	Op *op = (Op *)self;
	long removed = 0;
	int eq;

	for (Py_ssize_t i = op->more ? PyList_GET_SIZE(op->more) - 1 : -1; i >= 0; i--) {
		eq = PyObject_RichCompareBool(PyTuple_GET_ITEM(PyList_GET_ITEM(op->more, i), 0), cb, Py_EQ);
		if (eq < 0 || (eq && PyList_SetSlice(op->more, i, i + 1, NULL)))
			return NULL;
		removed += eq;
	}
	eq = op->cb ? PyObject_RichCompareBool(op->cb, cb, Py_EQ) : 0;
	if (eq < 0 || (eq && promote(op)))
		return NULL;
	return PyLong_FromLong(removed + eq);
}

/* Calls @cb as the loop would. -1 with what is not an Exception. */
static int call_now(Op *op, PyObject *cb, PyObject *ctx)
{
	PyObject *ret, *type, *value, *tb;

	if (PyContext_Enter(ctx)) {
		PyErr_Clear();               /* somebody is in it: let the loop find a better time */
		return schedule(op, cb, ctx);
	}
	ret = PyObject_CallOneArg(cb, (PyObject *)op);
	if (!ret)
		PyErr_Fetch(&type, &value, &tb);
	if (PyContext_Exit(ctx))
		PyErr_Clear();
	if (ret) {
		Py_DECREF(ret);
		return 0;
	}
	if (!PyErr_GivenExceptionMatches(type, PyExc_Exception)) {
		PyErr_Restore(type, value, tb);
		return -1;
	}
	PyErr_NormalizeException(&type, &value, &tb);
	ret = PyObject_CallMethod(op->worker->loop, "call_exception_handler", "{s:s,s:O}", "message",
				  "weft: exception in a done callback", "exception", value);
	if (!ret)
		PyErr_WriteUnraisable(cb);
	Py_XDECREF(ret);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(tb);
	return 0;
}

static PyObject *stepped(PyObject *task, PyObject *Py_UNUSED(unused))
{
	if (wpy_task_stepped(task))
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef stepped_def = { "weft_task_stepped", stepped, METH_NOARGS, NULL };

/* @task is looked at right after @cb has stepped it. */
static int wake_late(Op *op, PyObject *cb, PyObject *ctx, bool direct, PyObject *task)
{
	PyObject *fn, *ret;

	if (direct)
		return call_now(op, cb, ctx) || wpy_task_stepped(task) ? -1 : 0;
	if (schedule(op, cb, ctx))
		return -1;
	fn = PyCFunction_New(&stepped_def, task);
	ret = fn ? PyObject_CallOneArg(op->worker->call_soon, fn) : NULL;
	Py_XDECREF(fn);
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

static int wake_one(Op *op, PyObject *cb, PyObject *ctx, bool direct)
{
	PyObject *task;
	int ret;

	if (op->cancel_asked && op->state == WPY_DONE) {
		task = PyObject_GetAttrString(cb, "__self__");
		if (task) {
			ret = wake_late(op, cb, ctx, direct, task);
			Py_DECREF(task);
			return ret;
		}
		PyErr_Clear();
	}
	return direct ? call_now(op, cb, ctx) : schedule(op, cb, ctx);
}

int wpy_op_wake(Op *op, bool direct)
{
	PyObject *cb = op->cb, *ctx = op->cb_ctx, *more = op->more;
	int ret = 0;

	op->cb = op->cb_ctx = op->more = NULL;
	if (cb)
		ret = wake_one(op, cb, ctx, direct);
	for (Py_ssize_t i = 0; more && i < PyList_GET_SIZE(more); i++) {
		PyObject *pair = PyList_GET_ITEM(more, i);

		/* after something worse than an Exception the rest is left to the loop */
		if (ret) {
			PyObject *type, *value, *tb;

			PyErr_Fetch(&type, &value, &tb);
			if (wake_one(op, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), false))
				PyErr_Clear();
			PyErr_Restore(type, value, tb);
		} else {
			ret = wake_one(op, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), direct);
		}
	}
	Py_XDECREF(cb);
	Py_XDECREF(ctx);
	Py_XDECREF(more);
	return ret;
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static PyObject *op_repr(PyObject *self)
{
	static const char *const states[] = { "pending", "done", "failed", "cancelled" };
	Op *op = (Op *)self;

	return PyUnicode_FromFormat("<weft.Op %s %s%s>", op->what, states[op->state],
				    op->state == WPY_PENDING && op->cancel_asked ? ", cancel asked" : "");
}

static PyObject *get_blocking(PyObject *self, void *Py_UNUSED(unused))
{
	return PyBool_FromLong(((Op *)self)->blocking);
}

static int set_blocking(PyObject *self, PyObject *value, void *Py_UNUSED(unused))
{
	int on = value ? PyObject_IsTrue(value) : 0;

	if (on < 0)
		return -1;
	((Op *)self)->blocking = on;
	return 0;
}

static PyObject *get_name(PyObject *self, void *Py_UNUSED(unused))
{
	return PyUnicode_FromString(((Op *)self)->what);
}

static PyGetSetDef op_getset[] = {
	{ "_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL },
	{ "__name__", get_name, NULL, NULL, NULL },
	{ "__qualname__", get_name, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef op_methods[] = {
	{ "result", op_result, METH_NOARGS, "What came of it; raises if it failed, was cancelled or is not done." },
	{ "exception", op_exception, METH_NOARGS, "Why it failed, or None." },
	{ "done", op_done, METH_NOARGS, "True when it is over and its buffers are free." },
	{ "cancelled", op_cancelled, METH_NOARGS, "True when it was cancelled." },
	{ "get_loop", op_get_loop, METH_NOARGS, "The event loop it belongs to." },
	WPY_FAST("cancel", op_cancel,
		 "Asks it to end early. It is over only when done() says so: a receive that had matched puts its message\n"
		 "back first, and one that is done by then keeps its result."),
	WPY_FAST("add_done_callback", op_add_done_callback, "As asyncio.Future.add_done_callback()."),
	{ "remove_done_callback", op_remove_done_callback, METH_O, "As asyncio.Future.remove_done_callback()." },
	{ "_make_cancelled_error", op_make_cancelled_error, METH_NOARGS, NULL },
	{ "send", wpy_op_send, METH_O, "As a coroutine's send()." },
	{ "throw", WPY_CAST(wpy_op_throw), METH_FASTCALL, "As a coroutine's throw()." },
	{ "close", wpy_op_close, METH_NOARGS, "As a coroutine's close(): nobody waits for it any more." },
	{ "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_op_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft.Op",
	.tp_basicsize = sizeof(Op),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_doc = "An operation that was posted: awaitable, coroutine and future at once. It can be awaited once.",
	.tp_dealloc = wpy_op_dealloc,
	.tp_traverse = wpy_op_traverse,
	.tp_clear = wpy_op_clear,
	.tp_repr = op_repr,
	.tp_weaklistoffset = offsetof(Op, weakrefs),
	.tp_as_async = &wpy_op_async,
	.tp_iter = wpy_op_await,
	.tp_iternext = wpy_op_next,
	.tp_methods = op_methods,
	.tp_getset = op_getset,
};
