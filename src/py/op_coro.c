/* SPDX-License-Identifier: BSD-3-Clause
 *
 * op_coro.c - the coroutine's side of weft.Op: what `await op` and a Task that drives it call.
 *
 * An await that finds its operation done returns on the spot and never meets the event loop; but for every WPY_TURN_NS
 * one of them yields None, so that timers and cancellation live. One that is pending looks first (it reaps), spins
 * where that pays, and then yields itself, as asyncio.Future does.
 *
 * FRESH -> STARTED (__await__) -> SUSPENDED (yielded itself) or YIELDED (yielded None) -> SPENT. Each state is left once,
 * so a second await is told from the first.
 */
#include "wpy.h"

/* @op is awaited from here: by its own loop? What was posted last by this worker cannot be elsewhere. */
static int check_home(Op *op)
{
	Worker *w = op->worker;
	int ret;

	if (w->last_op == op && w->thread == PyThread_get_thread_ident())
		return 0;
	ret = wpy_worker_is_running(w);
	if (!ret)
		PyErr_Format(PyExc_RuntimeError,
			     "%s() was posted on another event loop than the one that awaits it", op->what);
	return ret > 0 ? 0 : -1;
}

/* Says of a cancel that it comes for the second time; compared by identity. */
static PyObject *second_time;

/* ---- cancels that came too late ------------------------------------------------------------------------------------
 *
 * The task has its message; the cancel has to follow, unless what asked for it has taken it back by then, as the end of
 * asyncio.timeout() and wait_for() does. Python 3.11 and later count the requests: fewer than before means taken back.
 * The count must be read before anybody can ask anew. After a completion that is as soon as the task has been stepped.
 * Where the cancel was thrown into the await we are inside the task: it is looked at when the same task begins its next
 * await here, else in the loop's next round. Until then it stands in worker->lates, a list of [task, count].
 */

/* -1: this Python does not count. */
static long cancel_count(PyObject *task)
{
	PyObject *ret = PyObject_CallMethod(task, "cancelling", NULL);
	long n = ret ? PyLong_AsLong(ret) : -1;

	Py_XDECREF(ret);
	if (n < 0)
		PyErr_Clear();
	return n;
}

/* Cancels once more, which leaves the count as it is. */
static int cancel_again(PyObject *task, long count)
{
	PyObject *ret;

	if (!second_time)
		second_time = PyUnicode_FromString("a weft operation was done first");
	if (!second_time)
		return -1;
	if (count > 0) {
		ret = PyObject_CallMethod(task, "uncancel", NULL);
		if (!ret)
			return -1;
		Py_DECREF(ret);
	}
	ret = PyObject_CallMethod(task, "cancel", "O", second_time);
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

static bool is_task(PyObject *o)
{
	return PyObject_HasAttrString(o, "cancel") && PyObject_HasAttrString(o, "get_coro");
}

int wpy_task_stepped(PyObject *task)
{
	long n;

	if (!is_task(task))
		return 0;
	n = cancel_count(task);
	return n ? cancel_again(task, n) : 0;
}

/* Looks at @entry, [task, count], once; the task is taken out of it. */
static int resolve(PyObject *entry)
{
	PyObject *task = Py_NewRef(PyList_GET_ITEM(entry, 0));
	long before = PyLong_AsLong(PyList_GET_ITEM(entry, 1)), n;
	int ret = 0;

	if (task != Py_None) {
		PyList_SetItem(entry, 0, Py_NewRef(Py_None));
		n = cancel_count(task);
		if (n < 0 || n >= before)
			ret = cancel_again(task, n);
	}
	Py_DECREF(task);
	return ret;
}

/* The loop's next round. */
static PyObject *late_round(PyObject *entry, PyObject *Py_UNUSED(unused))
{
	Worker *w = (Worker *)PyList_GET_ITEM(entry, 2);

	for (Py_ssize_t i = 0; w->lates && i < PyList_GET_SIZE(w->lates); i++) {
		if (PyList_GET_ITEM(w->lates, i) == entry) {
			PyList_SetSlice(w->lates, i, i + 1, NULL);
			break;
		}
	}
	if (resolve(entry))
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef late_def = { "weft_cancel_late", late_round, METH_NOARGS, NULL };

/* @task, which runs, gets the result of @op instead of a cancel. */
static int remember_cancel(Op *op, PyObject *task)
{
	Worker *w = op->worker;
	PyObject *entry, *fn, *ret = NULL;

	if (!is_task(task))
		return 0;
	if (!w->lates)
		w->lates = PyList_New(0);
	entry = w->lates ? Py_BuildValue("[OlO]", task, cancel_count(task), w) : NULL;
	if (!entry)
		return -1;
	fn = PyList_Append(w->lates, entry) ? NULL : PyCFunction_New(&late_def, entry);
	if (fn)
		ret = PyObject_CallOneArg(w->call_soon, fn);
	Py_XDECREF(fn);
	Py_DECREF(entry);
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

/* The running task begins an await: does a cancel follow it? */
static int catch_up(Worker *w)
{
	PyObject *task = PyObject_CallOneArg(wpy_current_task, w->loop), *entry;
	int ret = 0;

	if (!task)
		return -1;
	for (Py_ssize_t i = 0; !ret && i < PyList_GET_SIZE(w->lates); i++) {
		entry = PyList_GET_ITEM(w->lates, i);
		if (PyList_GET_ITEM(entry, 0) == task)
			ret = resolve(entry);
	}
	Py_DECREF(task);
	return ret;
}

int wpy_op_spend(Op *op)
{
	bool yielded = op->await == WPY_YIELDED;

	op->await = WPY_SPENT;
	if (!yielded)
		return 0;
	op->worker->n_yielded--;
	return wpy_worker_touch(op->worker);     /* the turn that found it has armed nothing */
}

/* Who drove it by hand let it go, in whatever thread: the turn that found it has armed nothing. */
void wpy_op_let_go(Op *op)
{
	PyObject *type, *value, *tb, *ret;
	Worker *w = op->worker;

	PyErr_Fetch(&type, &value, &tb);
	op->await = WPY_SPENT;
	w->n_yielded--;
	ret = w->turn ? PyObject_CallMethod(w->loop, "call_soon_threadsafe", "O", w->turn) : NULL;
	Py_XDECREF(ret);
	PyErr_Restore(type, value, tb);      /* a loop that is closed says so, and needs no turn */
}

static int begin(Op *op)
{
	if (op->await != WPY_FRESH) {
		PyErr_Format(PyExc_RuntimeError, "%s() was awaited already; an operation can be awaited once", op->what);
		return -1;
	}
	if (check_home(op))
		return -1;
	if (op->worker->lates && PyList_GET_SIZE(op->worker->lates) && catch_up(op->worker))
		return -1;
	op->await = WPY_STARTED;
	return 0;
}

PyObject *wpy_op_await(PyObject *self)
{
	return begin((Op *)self) ? NULL : Py_NewRef(self);
}

static PySendResult step(PyObject *self, PyObject *Py_UNUSED(arg), PyObject **out)
{
	Op *op = (Op *)self;
	Worker *w = op->worker;

	*out = NULL;
	if (op->await == WPY_FRESH || op->await == WPY_SPENT) {
		if (begin(op))
			return PYGEN_ERROR;
	}
	if (op->state == WPY_PENDING) {
		if (op->await != WPY_STARTED) {
			PyErr_Format(PyExc_RuntimeError, "%s() is awaited already; an operation can be awaited once",
				     op->what);
			return PYGEN_ERROR;
		}
		if (wpy_worker_look(w, op))
			return PYGEN_ERROR;
	}
	if (op->state == WPY_PENDING) {
		op->await = WPY_SUSPENDED;
		op->blocking = true;
		op->waiting = true;
		w->n_suspended++;
		*out = Py_NewRef(self);
		return PYGEN_NEXT;
	}
	if (op->await == WPY_STARTED && wpy_worker_turn_owed(w, op->big ? 16 : 1)) {
		op->await = WPY_YIELDED;
		w->n_yielded++;
		*out = Py_NewRef(Py_None);
		return PYGEN_NEXT;
	}
	if (wpy_op_spend(op))
		return PYGEN_ERROR;
	*out = wpy_op_take(op);
	return *out ? PYGEN_RETURN : PYGEN_ERROR;
}

/* Takes @value. An instance, because a tuple would be taken for the exception's arguments. */
static void stop_iteration(PyObject *value)
{
	PyObject *exc = PyObject_CallOneArg(PyExc_StopIteration, value);

	Py_DECREF(value);
	if (exc)
		wpy_raise(exc);
}

PyObject *wpy_op_next(PyObject *self)
{
	PyObject *out;

	switch (step(self, Py_None, &out)) {
	case PYGEN_NEXT:
		return out;
	case PYGEN_RETURN:
		if (out == Py_None)
			Py_DECREF(out);      /* NULL without an error says as much */
		else
			stop_iteration(out);
		return NULL;
	default:
		return NULL;
	}
}

PyObject *wpy_op_send(PyObject *self, PyObject *arg)
{
	PyObject *out;

	switch (step(self, arg, &out)) {
	case PYGEN_NEXT:
		return out;
	case PYGEN_RETURN:
		stop_iteration(out);
		return NULL;
	default:
		return NULL;
	}
}

static void stop_waiting(Op *op)
{
	if (op->waiting) {
		op->waiting = false;
		op->worker->n_suspended--;
	}
}

/* Nobody will look at it: ask it to end, tell nobody if it fails. */
static int abandon(Op *op)
{
	PyObject *ret;

	stop_waiting(op);
	op->quiet = true;
	if (wpy_op_spend(op))
		return -1;
	if (op->state != WPY_PENDING || !op->worker->h)
		return 0;
	ret = wpy_op_cancel(op, NULL);
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

/* An exception from what throw() was given: an instance, or a class and its value. New reference. */
static PyObject *thrown(PyObject *const *args, Py_ssize_t n)
{
	PyObject *type, *value, *tb = NULL;

	if (n < 1 || n > 3) {
		PyErr_SetString(PyExc_TypeError, "throw() takes 1 to 3 arguments");
		return NULL;
	}
	if (PyExceptionInstance_Check(args[0]))
		return Py_NewRef(args[0]);
	if (!PyExceptionClass_Check(args[0])) {
		PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
		return NULL;
	}
	type = Py_NewRef(args[0]);
	value = n > 1 && args[1] != Py_None ? Py_NewRef(args[1]) : NULL;
	PyErr_NormalizeException(&type, &value, &tb);
	Py_XDECREF(type);
	Py_XDECREF(tb);
	return value;
}

static bool is_second_time(PyObject *exc)
{
	PyObject *args = PyObject_GetAttrString(exc, "args");
	bool is = args && PyTuple_Check(args) && PyTuple_GET_SIZE(args) == 1 && PyTuple_GET_ITEM(args, 0) == second_time;

	if (!args)
		PyErr_Clear();
	Py_XDECREF(args);
	return is;
}

/* A cancel that finds the operation done came too late: its result is delivered, the cancel follows. That one is obeyed,
 * whatever it finds: a task whose messages are always there must end too. */
PyObject *wpy_op_throw(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
	Op *op = (Op *)self;
	PyObject *exc = thrown(args, n), *task;

	if (!exc)
		return NULL;
	if (op->state == WPY_DONE && op->await != WPY_SPENT && op->await != WPY_FRESH &&
	    PyErr_GivenExceptionMatches(exc, wpy_cancelled) && !is_second_time(exc)) {
		Py_DECREF(exc);
		task = PyObject_CallOneArg(wpy_current_task, op->worker->loop);
		if (!task || remember_cancel(op, task)) {
			Py_XDECREF(task);
			return NULL;
		}
		Py_DECREF(task);
		if (wpy_op_spend(op))
			return NULL;
		stop_iteration(wpy_op_take(op));
		return NULL;
	}
	op->seen = true;
	if (abandon(op))
		PyErr_Clear();
	wpy_raise(exc);
	return NULL;
}

PyObject *wpy_op_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
	Op *op = (Op *)self;

	if (op->await != WPY_SPENT && op->state == WPY_PENDING && abandon(op))
		return NULL;
	op->quiet = true;
	if (wpy_op_spend(op))
		return NULL;
	Py_RETURN_NONE;
}

PyAsyncMethods wpy_op_async = {
	.am_await = wpy_op_await,
	.am_send = step,
};
