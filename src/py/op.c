/* SPDX-License-Identifier: BSD-3-Clause
 *
 * op.c - weft.Op: request, awaitable and future in one object. Here: its life, its buffers, the future's side of it. The
 * coroutine's side is in op_coro.c.
 *
 * An Op is posted when it is made. What weft answers at once concludes it on the spot; otherwise the worker's pending list
 * owns one reference until the completion is reaped. Only then are the buffers given back: a cancel asks, the completion
 * tells. When a cancel came too late the result stands (a message is not lost) and the task is cancelled at its next
 * await instead: see wpy_task_recancel().
 *
 * Ops come from a free list and are tracked by the garbage collector only once they can be part of a cycle.
 */
#include "wpy.h"

#include <stddef.h>
#include <structmember.h>

#define FREE_MAX 1024

static Op *free_list;
static int n_free;

/* ---- lists ------------------------------------------------------------------------------------------------------ */

void wpy_ops_push(struct wpy_ops *l, Op *op)
{
	op->next = NULL;
	op->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = op;
	l->last = op;
}

void wpy_ops_remove(struct wpy_ops *l, Op *op)
{
	*(op->prev ? &op->prev->next : &l->first) = op->next;
	*(op->next ? &op->next->prev : &l->last) = op->prev;
	op->next = op->prev = NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

Op *wpy_op_new(Worker *w, enum wpy_kind kind, const char *what)
{
	Op *op = free_list;

	if (op) {
		free_list = op->next;
		n_free--;
		PyObject_Init((PyObject *)op, &wpy_op_type);
	} else {
		op = PyObject_GC_New(Op, &wpy_op_type);
		if (!op)
			return NULL;
	}
	memset((char *)op + offsetof(Op, worker), 0, offsetof(Op, view) - offsetof(Op, worker));
	memset((char *)op + offsetof(Op, n_views), 0, sizeof(*op) - offsetof(Op, n_views));
	op->view.obj = NULL;
	op->worker = (Worker *)Py_NewRef((PyObject *)w);
	op->views = &op->view;
	op->kind = kind;
	op->what = what;
	return op;
}

void wpy_op_track(Op *op)
{
	if (op->tracked)
		return;
	op->tracked = true;
	PyObject_GC_Track(op);
}

void wpy_op_drop_buffers(Op *op)
{
	for (uint32_t i = 0; i < op->n_views; i++)
		PyBuffer_Release(&op->views[i]);
	op->n_views = 0;
	if (op->views != &op->view)
		PyMem_Free(op->views);
	op->views = &op->view;
}

int wpy_op_views(Op *op, uint32_t n)
{
	if (n <= 1)
		return 0;
	op->views = PyMem_Calloc(n, sizeof(*op->views));
	if (op->views)
		return 0;
	op->views = &op->view;
	PyErr_NoMemory();
	return -1;
}

/* Tells the loop's exception handler of a failure that nobody asked for. Keeps the error that is set. */
static void report_unheard(Op *op)
{
	PyObject *type, *value, *tb, *dict, *ret = NULL;

	if (op->state != WPY_FAILED || op->seen || op->quiet || !op->result || !op->worker)
		return;
	op->seen = true;
	PyErr_Fetch(&type, &value, &tb);
	dict = Py_BuildValue("{s:N,s:O}", "message",
			     PyUnicode_FromFormat("weft: %s() failed and was never awaited", op->what),
			     "exception", op->result);
	if (dict && op->worker->loop)
		ret = PyObject_CallMethod(op->worker->loop, "call_exception_handler", "O", dict);
	if (!ret && PyErr_ExceptionMatches(PyExc_AttributeError))
		PyErr_Clear();               /* a loop that the garbage collector has taken apart */
	else if (!ret && PyErr_Occurred())
		PyErr_WriteUnraisable(op->result);
	Py_XDECREF(ret);
	Py_XDECREF(dict);
	PyErr_Restore(type, value, tb);
}

static int op_traverse(PyObject *self, visitproc visit, void *arg)
{
	Op *op = (Op *)self;

	Py_VISIT(op->worker);
	Py_VISIT(op->result);
	Py_VISIT(op->owner);
	Py_VISIT(op->aux);
	Py_VISIT(op->cb);
	Py_VISIT(op->cb_ctx);
	Py_VISIT(op->more);
	for (uint32_t i = 0; i < op->n_views; i++)
		Py_VISIT(op->views[i].obj);
	return 0;
}

/* Buffers that weft may still touch stay: the worker gives them back when it is closed. */
static int op_clear(PyObject *self)
{
	Op *op = (Op *)self;

	report_unheard(op);
	Py_CLEAR(op->cb);
	Py_CLEAR(op->cb_ctx);
	Py_CLEAR(op->more);
	if (op->in_weft)
		return 0;
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
	if (op->state != WPY_PENDING)
		Py_CLEAR(op->result);
	return 0;
}

static void op_dealloc(PyObject *self)
{
	Op *op = (Op *)self;

	if (op->tracked)
		PyObject_GC_UnTrack(op);
	op->tracked = false;
	if (op->weakrefs)
		PyObject_ClearWeakRefs(self);
	if (op->state == WPY_FAILED)
		report_unheard(op);
	if (op->n_views)
		wpy_op_drop_buffers(op);
	if (op->worker && op->worker->last_op == op)
		op->worker->last_op = NULL;
	Py_CLEAR(op->result);
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
	Py_CLEAR(op->cb);
	Py_CLEAR(op->cb_ctx);
	Py_CLEAR(op->more);
	Py_CLEAR(op->worker);
	if (n_free >= FREE_MAX) {
		PyObject_GC_Del(op);
		return;
	}
	op->next = free_list;
	free_list = op;
	n_free++;
}

/* ---- what came of it --------------------------------------------------------------------------------------------- */

static PyObject *cut(PyObject **bytes, uint64_t len)
{
	PyObject *b = *bytes;

	*bytes = NULL;
	if ((Py_ssize_t)len != PyBytes_GET_SIZE(b))
		_PyBytes_Resize(&b, (Py_ssize_t)len);
	return b;
}

static PyObject *incomplete_read(Op *op, uint64_t len)
{
	Py_ssize_t want = PyBytes_GET_SIZE(op->aux);
	PyObject *part = cut(&op->aux, op->want + len), *exc = NULL;

	if (part)
		exc = PyObject_CallFunction(wpy_incomplete_read, "Nn", part, want);
	return exc;
}

/* Result of an event with status 0; NULL with an error set. */
static PyObject *result_of(Op *op, const weft_event *e)
{
	switch (op->kind) {
	case WPY_COUNT:
		return PyLong_FromUnsignedLongLong(e->len);
	case WPY_COUNT_TAG:
		return Py_BuildValue("KK", (unsigned long long)e->len, (unsigned long long)e->tag);
	case WPY_VALUE:
		return PyLong_FromUnsignedLongLong(e->value);
	case WPY_STREAM:
	case WPY_EXACTLY:
		return cut(&op->aux, op->want + e->len);
	case WPY_FILL:
		return PyLong_FromUnsignedLongLong(op->want + e->len);
	default:
		Py_RETURN_NONE;
	}
}

static void take_error(Op *op)
{
	PyObject *type, *value, *tb;

	PyErr_Fetch(&type, &value, &tb);
	PyErr_NormalizeException(&type, &value, &tb);
	Py_XDECREF(type);
	Py_XDECREF(tb);
	op->state = WPY_FAILED;
	Py_XSETREF(op->result, value);
}

/* The end of a stream is no failure for who reads; that an endpoint is over is none for who closes it. */
static bool is_fine(const Op *op, int32_t status)
{
	if (op->kind == WPY_STREAM)
		return status == WEFT_ECLOSED;
	if (op->kind == WPY_CLOSE)
		return wpy_status_scope(status) == WEFT_SCOPE_EP || status == WEFT_ETIMEDOUT;
	return false;
}

/* What a cancelled read had taken of the stream is the next read's. */
static void unread(Op *op, uint64_t len)
{
	Endpoint *ep = (Endpoint *)op->owner;
	const char *from = op->kind == WPY_FILL ? op->view.buf : PyBytes_AS_STRING(op->aux);

	if (op->want + len && (op->kind == WPY_EXACTLY || op->n_views == 1))
		Py_XSETREF(ep->unread, PyBytes_FromStringAndSize(from, (Py_ssize_t)(op->want + len)));
}

static void conclude(Op *op, const weft_event *e)
{
	PyObject *value;

	if (e->status == WEFT_ECANCELED && op->cancel_asked) {
		op->state = WPY_CANCELLED;   /* result is the message */
		if (op->kind == WPY_EXACTLY || op->kind == WPY_FILL)
			unread(op, e->len);
	} else if (!e->status || is_fine(op, e->status)) {
		value = result_of(op, e);
		Py_XSETREF(op->result, value);
		op->state = WPY_DONE;
		if (!value)
			take_error(op);
	} else {
		value = op->kind == WPY_EXACTLY && e->status == WEFT_ECLOSED ? incomplete_read(op, e->len) :
									       wpy_exc_event(e);
		Py_XSETREF(op->result, value);
		op->state = WPY_FAILED;
		if (!value)
			take_error(op);
		wpy_op_track(op);
	}
	wpy_op_drop_buffers(op);
	if (op->kind == WPY_CLOSE && op->owner)
		wpy_ep_gone((Endpoint *)op->owner);
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
}

/* It is no longer pending: whoever waits for it is woken when the worker has seen the whole batch. */
static void leave(Op *op)
{
	Worker *w = op->worker;

	if (op->waiting) {
		op->waiting = false;
		w->n_suspended--;
	}
	if (op->cb)
		wpy_ops_push(&w->wakes, (Op *)Py_NewRef((PyObject *)op));
}

void wpy_op_event(Op *op, const weft_event *e)
{
	Worker *w = op->worker;

	wpy_ops_remove(&w->pending, op);
	op->in_weft = false;
	if (op->big) {
		op->big = false;
		w->n_big--;
		if (w->spin_until)
			w->spin[1].miss = 0; /* it paid off */
		w->spin_until = 0;
	}
	if (op->kind == WPY_FETCH) {
		wpy_inbox_fetched(op, e);
	} else {
		conclude(op, e);
		leave(op);
	}
	Py_DECREF(op);                       /* the pending list's */
}

void wpy_op_finish(Op *op, PyObject *value)
{
	op->state = WPY_DONE;
	Py_XSETREF(op->result, value);
	if (!value)
		take_error(op);
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
	leave(op);
}

void wpy_op_finish_obj(Op *op, PyObject *header_and_parts)
{
	if (!header_and_parts) {
		wpy_op_fail(op, NULL);
		return;
	}
	op->state = WPY_DONE;
	Py_XSETREF(op->aux, header_and_parts);
	Py_CLEAR(op->owner);
	wpy_op_track(op);
	leave(op);
}

void wpy_op_fail(Op *op, PyObject *exc)
{
	op->state = WPY_FAILED;
	Py_XSETREF(op->result, exc);
	if (!exc)
		take_error(op);
	wpy_op_drop_buffers(op);
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
	wpy_op_track(op);
	leave(op);
}

void wpy_op_set_cancelled(Op *op)
{
	op->state = WPY_CANCELLED;
	wpy_op_drop_buffers(op);
	Py_CLEAR(op->owner);
	Py_CLEAR(op->aux);
	leave(op);
	if (op->cb && op->worker->h)
		wpy_worker_touch(op->worker);
}

PyObject *wpy_op_ready(Worker *w, const char *what, PyObject *value)
{
	Op *op;

	if (!value)
		return NULL;
	op = wpy_op_new(w, WPY_READY, what);
	if (!op) {
		Py_DECREF(value);
		return NULL;
	}
	op->state = WPY_DONE;
	op->result = value;
	return (PyObject *)op;
}

PyObject *wpy_op_dead(Worker *w, const char *what, PyObject *exc)
{
	PyObject *op = wpy_op_ready(w, what, exc);

	if (!op)
		return NULL;
	((Op *)op)->state = WPY_FAILED;
	wpy_op_track((Op *)op);
	return op;
}

static PyObject *refused(Op *op, int ret)
{
	uint32_t scope = wpy_status_scope(ret);
	weft_event e = { .kind = WEFT_EV_OP, .status = ret };
	PyObject *exc;

	if (is_fine(op, ret) || (op->kind == WPY_EXACTLY && ret == WEFT_ECLOSED)) {
		conclude(op, &e);            /* the stream's end, known at once */
		return (PyObject *)op;
	}
	exc = wpy_exc_refused(ret);
	if (exc && (scope == WEFT_SCOPE_OP || scope == WEFT_SCOPE_EP)) {
		wpy_op_fail(op, exc);
		return (PyObject *)op;
	}
	Py_DECREF(op);
	if (exc)
		wpy_raise(exc);
	return NULL;
}

PyObject *wpy_op_posted(Op *op, int ret, const weft_call *call, PyObject *owner)
{
	Worker *w = op->worker;

	if (ret == WEFT_OK) {
		if (op->kind == WPY_CLOSE)
			op->owner = Py_NewRef(owner);
		conclude(op, &call->event);
		w->last_op = op;
	} else if (ret == WEFT_PENDING) {
		op->handle = call->op;
		op->in_weft = true;
		op->owner = Py_NewRef(owner);
		if (op->big)
			w->n_big++;
		wpy_ops_push(&w->pending, (Op *)Py_NewRef((PyObject *)op));
		wpy_op_track(op);
		w->last_op = op;
	} else {
		return refused(op, ret);
	}
	if (wpy_worker_touch(w)) {
		Py_DECREF(op);
		return NULL;
	}
	return (PyObject *)op;
}

/* ---- the future's side ------------------------------------------------------------------------------------------- */

PyObject *wpy_op_cancelled_error(Op *op)
{
	if (op->state == WPY_CANCELLED && op->result && op->result != Py_None)
		return PyObject_CallOneArg(wpy_cancelled, op->result);
	return PyObject_CallNoArgs(wpy_cancelled);
}

PyObject *wpy_op_take(Op *op)
{
	static PyObject *invalid_state;

	if (op->state == WPY_DONE && !op->result) {
		op->result = wpy_obj_load(op->aux);  /* here, because it may run anybody's code */
		Py_CLEAR(op->aux);
		if (!op->result)
			take_error(op);
	}
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

/* Those that wait here and not in weft end at once. The others only when weft says so. */
PyObject *wpy_op_cancel(Op *op, PyObject *msg)
{
	Worker *w = op->worker;
	int ret;

	if (op->state != WPY_PENDING)
		Py_RETURN_FALSE;
	Py_XINCREF(msg);
	Py_XSETREF(op->result, msg);
	op->cancel_asked = true;
	if (!op->in_weft) {
		if (op->kind == WPY_CONNECT) {
			wpy_ep_give_up((Endpoint *)op->owner);
		} else if (op->kind == WPY_SIGNAL) {
			wpy_signal_withdraw(op);
		} else if (!wpy_inbox_withdraw(op)) {
			Py_RETURN_TRUE;          /* its payload is on the way into the user's buffer */
		}
		wpy_op_set_cancelled(op);
		Py_RETURN_TRUE;
	}
	if (wpy_worker_check(w))
		return NULL;
	ret = weft_cancel(w->h, op->handle);
	if (ret && ret != WEFT_ESTALE)       /* stale: its completion waits to be reaped */
		return wpy_raise_refused(ret);
	if (wpy_worker_touch(w))
		return NULL;
	Py_RETURN_TRUE;
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
	if (op->state != WPY_PENDING) {
		ret = schedule(op, out[0], out[1]);
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

static int wake_one(Op *op, PyObject *cb, PyObject *ctx, bool direct)
{
	PyObject *task = NULL;
	int ret;

	if (op->cancel_asked && op->state == WPY_DONE) {
		task = PyObject_GetAttrString(cb, "__self__");
		if (!task)
			PyErr_Clear();
	}
	ret = direct ? call_now(op, cb, ctx) : schedule(op, cb, ctx);
	if (task && !ret)
		wpy_task_recancel(op, task);
	Py_XDECREF(task);
	return ret;
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
	.tp_dealloc = op_dealloc,
	.tp_traverse = op_traverse,
	.tp_clear = op_clear,
	.tp_repr = op_repr,
	.tp_weaklistoffset = offsetof(Op, weakrefs),
	.tp_as_async = &wpy_op_async,
	.tp_iter = wpy_op_await,
	.tp_iternext = wpy_op_next,
	.tp_methods = op_methods,
	.tp_getset = op_getset,
};
