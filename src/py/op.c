/* SPDX-License-Identifier: BSD-3-Clause
 *
 * op.c - weft.Op: request, awaitable and future in one object. Here: its life, its buffers, what came of it. The future's
 * side is in op_future.c, the coroutine's in op_coro.c.
 *
 * An Op is posted when it is made. What weft answers at once concludes it on the spot; otherwise the worker's pending list
 * owns one reference until the completion is reaped. Only then are the buffers given back: a cancel asks, the completion
 * tells.
 *
 * Ops come from a free list and are tracked by the garbage collector only once they can be part of a cycle.
 */
#include "wpy.h"

#include <stddef.h>

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

int wpy_op_traverse(PyObject *self, visitproc visit, void *arg)
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
int wpy_op_clear(PyObject *self)
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

void wpy_op_dealloc(PyObject *self)
{
	Op *op = (Op *)self;

	if (op->tracked)
		PyObject_GC_UnTrack(op);
	op->tracked = false;
	if (op->weakrefs)
		PyObject_ClearWeakRefs(self);
	if (op->state == WPY_FAILED)
		report_unheard(op);
	if (op->await == WPY_YIELDED)
		wpy_op_let_go(op);
	if (op->n_views || op->views != &op->view) /* of a list whose first item is no buffer there is the array alone */
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

void wpy_op_load(Op *op)
{
	op->result = wpy_obj_load(op->aux);
	Py_CLEAR(op->aux);
	if (!op->result)
		take_error(op);
}

/* The end of a stream is no failure for who reads; that an endpoint is over is none for who closes it. */
static bool is_fine(const Op *op, int32_t status)
{
	if (op->kind == WPY_STREAM)
		return status == WEFT_ECLOSED;
	if (op->kind == WPY_CLOSE)
		return wpy_status_scope(status) == WEFT_SCOPE_EP || status == WEFT_ETIMEDOUT || status == WEFT_ECANCELED;
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

void wpy_op_wake_soon(Op *op)
{
	if (op->waking)
		return;
	op->waking = true;
	wpy_ops_push(&op->worker->wakes, (Op *)Py_NewRef((PyObject *)op));
}

Op *wpy_op_next_to_wake(Worker *w)
{
	Op *op = w->wakes.first;

	if (!op)
		return NULL;
	wpy_ops_remove(&w->wakes, op);
	op->waking = false;
	return op;
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
		wpy_op_wake_soon(op);
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
