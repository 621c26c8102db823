/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker.c - one weft worker for each event loop: when to reap, when to spin, when to sleep.
 *
 * Whoever posts sees to it that the loop comes by once more (touch: one call_soon for each turn of the loop, however many
 * operations it posts). In that turn the worker reaps, wakes who waits, and when nothing is left arms the fd: from there
 * on the loop may sleep, and the fd's callback is a turn like any other. Where the loop will not sleep, because a task let it go
 * first and goes on in the same round, nothing is armed: that would cost two barriers, and our peers a doorbell. There is no timer: an idle loop costs nothing.
 *
 * In a turn the loop runs us and no task, so a task that waits for a completion is stepped right there, in its own
 * context, and saves a round through the loop's queue. An await that reaps by itself (look) runs inside a task; what it
 * finds for others waits for that turn. Completions of a batch are all taken in before the first of them wakes
 * anybody, because who is woken may reap the next batch.
 *
 * While copies of WPY_BIG and more are pending, reaping is done without the GIL; `released` keeps other threads out.
 */
#include "wpy.h"

#include <time.h>

struct anchor {                          /* held by the event loop alone: goes when the loop is closed */
	PyObject_HEAD
	Worker *worker;
};

static Worker *all;

uint64_t wpy_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- reaping ---------------------------------------------------------------------------------------------------- */

static void dispatch(Worker *w, weft_event *e)
{
	Op *op;

	switch (e->kind) {
	case WEFT_EV_OP:
		op = (Op *)(uintptr_t)e->user_data;
		if (!op)
			return;
		if (op->worker != w && op->worker->h)
			weft_wake(op->worker->h);    /* a revoked grant: reported by another loop's worker */
		wpy_op_event(op, e);
		return;
	case WEFT_EV_CONNECTED:
	case WEFT_EV_DOWN:
	case WEFT_EV_AM:
		if (wpy_ep_event(e))
			return;                      /* an inbox releases it */
		break;
	case WEFT_EV_REQUEST:
	case WEFT_EV_LISTENER:
		wpy_listener_event(e);
		break;
	case WEFT_EV_SIGNAL:
		wpy_mem_signal(e);
		break;
	default:
		break;
	}
	weft_event_release(w->h, e);
}

void wpy_worker_events(Worker *w, weft_event *ev, size_t n)
{
	for (size_t i = 0; i < n && w->h; i++)   /* what runs there may close it */
		dispatch(w, &ev[i]);
}

/* One batch: what is there is taken in. Returns how many. */
size_t wpy_worker_batch(Worker *w)
{
	weft_event ev[WPY_BATCH];
	PyThreadState *state;
	size_t n;

	if (w->n_big) {
		w->released = true;
		state = PyEval_SaveThread();
		n = weft_reap(w->h, ev, WPY_BATCH);
		PyEval_RestoreThread(state);
		w->released = false;
	} else {
		n = weft_reap(w->h, ev, WPY_BATCH);
	}
	wpy_worker_events(w, ev, n);
	return n;
}

/* Wakes who waits for what was taken in. -1 with what is not an Exception: the rest was left to the loop. */
static int run_wakes(Worker *w)
{
	PyObject *type = NULL, *value = NULL, *tb = NULL;
	bool direct = true;
	Op *op;

	while ((op = wpy_op_next_to_wake(w))) {
		if (direct && wpy_now() - w->turn_ns > WPY_TURN_NS)
			direct = false;
		if (wpy_op_wake(op, direct)) {
			direct = false;
			if (type)
				PyErr_Clear();
			else
				PyErr_Fetch(&type, &value, &tb);
		}
		Py_DECREF(op);
	}
	if (!type)
		return 0;
	PyErr_Restore(type, value, tb);
	return -1;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

int wpy_worker_touch_slow(Worker *w)
{
	PyObject *ret;

	if (!w->call_soon)
		return 0;
	ret = PyObject_CallOneArg(w->call_soon, w->turn);
	if (!ret)
		return -1;
	Py_DECREF(ret);
	w->turn_due = true;
	w->turn_ns = wpy_now();
	w->work = 0;
	return 0;
}

bool wpy_worker_turn_owed(Worker *w, uint32_t cost)
{
	w->work += cost;
	if (w->work < 16)
		return false;
	w->work = 0;
	return (w->turn_due || w->in_turn) && wpy_now() - w->turn_ns > WPY_TURN_NS;
}

int wpy_worker_look(Worker *w, Op *op)
{
	size_t n;

	if (wpy_worker_check(w))
		return -1;
	n = wpy_worker_batch(w);
	if (op->state == WPY_PENDING && !w->n_suspended && !w->wakes.first)
		n += wpy_spin_for(w, op);
	if (n)
		w->work += 4;
	return wpy_worker_touch(w);          /* whom it found for others waits for that turn */
}

Py_ssize_t wpy_worker_progress(Worker *w)
{
	size_t n;

	if (wpy_worker_check(w))
		return -1;
	n = wpy_worker_batch(w);
	return wpy_worker_touch(w) ? -1 : (Py_ssize_t)n;
}

static void bury_now(weft_ep *ep, bool graceful)
{
	weft_call call;

	if (!graceful) {
		weft_ep_abort(ep);
		return;
	}
	wpy_call_init(&call, WEFT_NO_EVENT, NULL);
	call.deadline_ns = wpy_now() + 5000000000u;
	if (weft_ep_close(ep, &call) < 0)
		weft_ep_abort(ep);
}

/* The lowest bits of a grave say what lies in it. */
enum { GRAVE_ABORT = 0, GRAVE_CLOSE = 1, GRAVE_REMOTE = 2, GRAVE_EVENT = 3 };

static void bury_word(Worker *w, uintptr_t word)
{
	void *p = (void *)(word & ~(uintptr_t)3);

	switch (word & 3) {
	case GRAVE_EVENT:
		weft_event_release(w->h, p);
		PyMem_RawFree(p);
		break;
	case GRAVE_REMOTE:
		weft_remote_close(p);
		break;
	default:
		bury_now(p, word & GRAVE_CLOSE);
	}
}

/* All of them went with the worker. */
static void level_graves(Worker *w)
{
	for (uint32_t i = 0; i < w->n_graves; i++)
		if ((w->graves[i] & 3) == GRAVE_EVENT)
			PyMem_RawFree((void *)(w->graves[i] & ~(uintptr_t)3));
	w->n_graves = 0;
}

static void bury_graves(Worker *w)
{
	for (uint32_t i = 0; i < w->n_graves; i++)
		bury_word(w, w->graves[i]);
	w->n_graves = 0;
}

/* Reaps until nothing is left, then arms. True when the loop must come by again. */
static int turn_body(Worker *w, bool *again)
{
	int ret;

	*again = false;
	while (w->h) {
		size_t n = wpy_worker_batch(w);

		if (!n && !w->wakes.first && (wpy_spin_goes_on(w) || wpy_spin_turn(w)))
			n = 1;
		if (w->wakes.first && run_wakes(w)) {
			*again = true;
			return -1;
		}
		if (!w->h)
			return 0;
		if (!n) {
			if (wpy_mem_ghosts)
				wpy_mem_retry();
			if (w->n_graves)     /* dug by another thread meanwhile */
				bury_graves(w);
			if (w->n_yielded)    /* the loop does not sleep before they went on, and then this comes by again */
				return 0;
			ret = weft_arm(w->h);
			if (ret != WEFT_AGAIN)
				return 0;
		}
		if (wpy_now() - w->turn_ns > WPY_TURN_NS) {
			*again = true;
			return 0;
		}
	}
	return 0;
}

static PyObject *take_turn(Worker *w)
{
	bool again;
	int ret;

	if (!w->h || w->in_turn || w->released)
		Py_RETURN_NONE;
	w->thread = PyThread_get_thread_ident();
	w->in_turn = true;
	w->turn_ns = wpy_now();
	w->work = 0;
	if (w->n_graves)
		bury_graves(w);
	ret = turn_body(w, &again);
	w->in_turn = false;
	if (again && w->h && !w->turn_due) {
		PyObject *type, *value, *tb;

		PyErr_Fetch(&type, &value, &tb);
		if (wpy_worker_touch_slow(w) && !type)
			return NULL;
		PyErr_Restore(type, value, tb);
	}
	if (ret)
		return NULL;
	Py_RETURN_NONE;
}

/* What call_soon runs. */
static PyObject *scheduled_turn(PyObject *self, PyObject *Py_UNUSED(unused))
{
	Worker *w = (Worker *)self;

	w->turn_due = false;
	return take_turn(w);
}

static PyMethodDef turn_def = { "weft_turn", scheduled_turn, METH_NOARGS, NULL };

/* What the fd's reader runs. */
static PyObject *anchor_call(PyObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
	return take_turn(((struct anchor *)self)->worker);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void unlink_worker(Worker *w)
{
	for (Worker **at = &all; *at; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			return;
		}
	}
}

/* Nobody runs the loop any more: nobody can be woken, nobody hears of it. */
static void end_pending(Worker *w)
{
	PyObject *exc;
	Op *op;

	while ((op = w->pending.first)) {
		wpy_ops_remove(&w->pending, op);
		op->in_weft = false;
		op->quiet = true;
		Py_CLEAR(op->cb);
		exc = wpy_exc_make(WEFT_ECLOSED, op->what, "its event loop was closed", NULL);
		if (op->kind == WPY_FETCH)
			wpy_inbox_fetch_failed(op, exc);
		else
			wpy_op_fail(op, exc);
		Py_DECREF(op);
	}
	while ((op = w->signals.first)) {
		op->quiet = true;
		Py_CLEAR(op->cb);
		wpy_op_cancel(op, NULL);
	}
	while (w->pinned)
		wpy_ep_orphan(w->pinned);
	while ((op = wpy_op_next_to_wake(w)))
		Py_DECREF(op);
}

void wpy_worker_close(Worker *w)
{
	weft_worker *h = w->h;
	PyThreadState *state;
	PyObject *type, *value, *tb;
	int ret;

	if (!h || w->released)
		return;
	PyErr_Fetch(&type, &value, &tb);
	Py_INCREF(w);
	w->h = NULL;
	state = PyEval_SaveThread();
	ret = weft_worker_free(h);
	PyEval_RestoreThread(state);
	if (ret) {
		w->h = h;                    /* another thread is in it: its loop runs, and will be closed */
	} else {
		level_graves(w);
		end_pending(w);
		Py_CLEAR(w->turn);
		Py_CLEAR(w->call_soon);
		Py_CLEAR(w->roots);
		Py_CLEAR(w->lates);
	}
	Py_DECREF(w);
	PyErr_Restore(type, value, tb);
}

static int hang_into_loop(Worker *w)
{
	struct anchor *a = PyObject_GC_New(struct anchor, &wpy_anchor_type);
	PyObject *ret;

	if (!a)
		return -1;
	a->worker = (Worker *)Py_NewRef((PyObject *)w);
	PyObject_GC_Track(a);
	ret = PyObject_CallMethod(w->loop, "add_reader", "iO", weft_worker_fd(w->h), (PyObject *)a);
	Py_DECREF(a);                        /* where it failed this closes the worker */
	Py_XDECREF(ret);
	return ret ? 0 : -1;
}

static Worker *worker_new(PyObject *loop)
{
	Worker *w;
	int ret;

	if (wpy_ctx_open())
		return NULL;
	w = PyObject_GC_New(Worker, &wpy_worker_type);
	if (!w)
		return NULL;
	memset((char *)w + sizeof(PyObject), 0, sizeof(*w) - sizeof(PyObject));
	w->loop = Py_NewRef(loop);
	w->thread = PyThread_get_thread_ident();
	PyObject_GC_Track(w);
	w->next = all;
	all = w;
	w->call_soon = PyObject_GetAttrString(loop, "call_soon");
	w->turn = PyCFunction_New(&turn_def, (PyObject *)w);
	w->roots = PySet_New(NULL);
	if (!w->call_soon || !w->turn || !w->roots)
		goto drop;
	ret = weft_worker_new(wpy_ctx, NULL, &w->h);
	if (ret) {
		wpy_raise_refused(ret);
		goto drop;
	}
	if (hang_into_loop(w) || wpy_worker_touch(w))
		goto drop;
	return w;

drop:
	Py_DECREF(w);
	return NULL;
}

int wpy_worker_is_running(Worker *w)
{
	PyObject *loop = PyObject_CallNoArgs(wpy_get_running_loop);

	if (!loop)
		return -1;
	Py_DECREF(loop);
	return loop == w->loop;
}

static void raise_other_thread(void)
{
	wpy_raise(wpy_exc_make(WEFT_ETHREAD, "worker", "belongs to the event loop of another thread", "asyncio.run_coroutine_threadsafe()"));
}

/* The worker is this thread's from here on: its loop runs here, or nowhere. -1 with an error set: it runs in another thread. */
static int take_over(Worker *w)
{
	PyObject *runs;
	int ret;

	if (w->thread == PyThread_get_thread_ident())
		return 0;
	ret = wpy_worker_is_running(w);
	if (!ret) {
		runs = PyObject_CallMethod(w->loop, "is_running", NULL);
		ret = runs ? !PyObject_IsTrue(runs) : -1;
		Py_XDECREF(runs);
	}
	if (ret > 0)
		w->thread = PyThread_get_thread_ident();
	else if (!ret)
		raise_other_thread();
	return ret > 0 ? 0 : -1;
}

Worker *wpy_worker_of(PyObject *loop)
{
	for (Worker *w = all; w; w = w->next)
		if (w->loop == loop && w->h)
			return take_over(w) ? NULL : (Worker *)Py_NewRef((PyObject *)w);
	return worker_new(loop);
}

int wpy_worker_check_slow(Worker *w)
{
	int ret;

	if (w->forked)
		wpy_raise(wpy_exc_make(WEFT_EFORKED, "worker", "made before fork(); not usable in the child",
				       "connect anew in the child"));
	else if (!w->h)
		wpy_raise(wpy_exc_make(WEFT_ECLOSED, "worker", "its event loop was closed", NULL));
	else if (w->released)
		wpy_raise(wpy_exc_make(WEFT_ETHREAD, "worker", "in use by the thread of its event loop",
				       "asyncio.run_coroutine_threadsafe()"));
	if (PyErr_Occurred())
		return -1;
	ret = wpy_worker_is_running(w);
	if (ret > 0)
		w->thread = PyThread_get_thread_ident();
	else if (!ret)
		raise_other_thread();
	return ret > 0 ? 0 : -1;
}

static void bury(Worker *w, uintptr_t word)
{
	if (!w->h)
		return;
	if (w->thread == PyThread_get_thread_ident() && !w->released) {
		bury_word(w, word);
		if (wpy_worker_touch(w))
			PyErr_Clear();       /* the loop is going down, and the worker with it */
		return;
	}
	if (w->n_graves == w->cap_graves) {
		uint32_t cap = w->cap_graves ? 2 * w->cap_graves : 16;
		uintptr_t *graves = PyMem_Realloc(w->graves, cap * sizeof(*graves));

		if (!graves)
			return;              /* it is aborted with the worker */
		w->graves = graves;
		w->cap_graves = cap;
	}
	w->graves[w->n_graves++] = word;
	weft_wake(w->h);
}

void wpy_worker_bury(Worker *w, weft_ep *ep, bool graceful)
{
	if (ep)
		bury(w, (uintptr_t)ep | (graceful ? GRAVE_CLOSE : GRAVE_ABORT));
}

void wpy_worker_release(Worker *w, weft_event *e)
{
	weft_event *later;

	if (!w->h || w->forked)
		return;
	if (!w->released && w->thread == PyThread_get_thread_ident()) {
		weft_event_release(w->h, e);
		return;
	}
	later = PyMem_RawMalloc(sizeof(*later));
	if (!later)
		return;                      /* it goes with the worker */
	*later = *e;
	bury(w, (uintptr_t)later | GRAVE_EVENT);
}

void wpy_worker_bury_remote(Worker *w, weft_remote *r)
{
	bury(w, (uintptr_t)r | GRAVE_REMOTE);
}

Worker *wpy_workers(void)
{
	return all;
}

PyObject *wpy_shutdown(PyObject *Py_UNUSED(mod), PyObject *Py_UNUSED(unused))
{
	Worker *w = all;

	while (w) {
		Worker *next = w->next;

		Py_INCREF(w);
		wpy_worker_close(w);
		Py_DECREF(w);
		w = next;
	}
	Py_RETURN_NONE;
}

PyObject *wpy_forked(PyObject *Py_UNUSED(mod), PyObject *Py_UNUSED(unused))
{
	for (Worker *w = all; w; w = w->next) {
		w->forked = w->h != NULL || w->forked;
		w->h = NULL;
		level_graves(w);
	}
	if (wpy_ctx)
		weft_after_fork(wpy_ctx);
	wpy_ctx = NULL;
	wpy_mem_forked();
	Py_RETURN_NONE;
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

static int worker_traverse(PyObject *self, visitproc visit, void *arg)
{
	Worker *w = (Worker *)self;

	Py_VISIT(w->loop);
	Py_VISIT(w->call_soon);
	Py_VISIT(w->turn);
	Py_VISIT(w->roots);
	Py_VISIT(w->lates);
	for (Op *op = w->pending.first; op; op = op->next)
		Py_VISIT(op);
	for (Op *op = w->wakes.first; op; op = op->next)
		Py_VISIT(op);
	for (Op *op = w->signals.first; op; op = op->next)
		Py_VISIT(op);
	for (Endpoint *ep = w->pinned; ep; ep = ep->pin_next)
		Py_VISIT(ep);
	return 0;
}

static int worker_clear(PyObject *self)
{
	Worker *w = (Worker *)self;

	wpy_worker_close(w);
	if (w->h)
		return 0;
	Py_CLEAR(w->turn);
	Py_CLEAR(w->call_soon);
	return 0;
}

static void worker_dealloc(PyObject *self)
{
	Worker *w = (Worker *)self;

	PyObject_GC_UnTrack(w);
	if (w->h)                            /* nothing is pending: each op would have held us */
		weft_worker_free(w->h);
	unlink_worker(w);
	PyMem_Free(w->graves);
	Py_CLEAR(w->turn);
	Py_CLEAR(w->call_soon);
	Py_CLEAR(w->roots);
	Py_CLEAR(w->lates);
	Py_CLEAR(w->loop);
	PyObject_GC_Del(w);
}

PyTypeObject wpy_worker_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft._weft.Worker",
	.tp_basicsize = sizeof(Worker),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_dealloc = worker_dealloc,
	.tp_traverse = worker_traverse,
	.tp_clear = worker_clear,
};

static int anchor_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((struct anchor *)self)->worker);
	return 0;
}

static int anchor_clear(PyObject *self)
{
	struct anchor *a = (struct anchor *)self;
	Worker *w = a->worker;

	a->worker = NULL;
	if (w) {
		wpy_worker_close(w);
		Py_DECREF(w);
	}
	return 0;
}

static void anchor_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	anchor_clear(self);
	PyObject_GC_Del(self);
}

PyTypeObject wpy_anchor_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft._weft.Anchor",
	.tp_basicsize = sizeof(struct anchor),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_dealloc = anchor_dealloc,
	.tp_traverse = anchor_traverse,
	.tp_clear = anchor_clear,
	.tp_call = anchor_call,
};
