/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inbox.c - active messages on their way to am_recv() and recv_obj().
 *
 * weft announces a message by its header; the payload stays with weft until somebody fetches it, so that a slow reader
 * holds its peer back. An endpoint has two inboxes, one for the user's messages and one for objects. A message that finds
 * a wanter is fetched for it at once; else it waits. Fetching has an Op of its own (FETCH): when the wanter is cancelled in
 * the middle, the message goes back to its place in the order at once, and who gets it next waits for the rest of it.
 * Only where the payload goes to the user's own memory a cancel has to wait until nobody writes there any more.
 */
#include "wpy.h"

static struct wpy_inbox *inbox_of(Op *op)
{
	Endpoint *ep = (Endpoint *)op->owner;

	return op->kind == WPY_WANT_OBJ ? &ep->obj : &ep->am;
}

static void drop_item(Endpoint *ep, struct wpy_item *it)
{
	wpy_worker_release(ep->worker, &it->ev);
	Py_XDECREF(it->client);
	Py_XDECREF(it->header);
	Py_XDECREF(it->parts);
	PyMem_Free(it);
}

static Op *pop_wanter(struct wpy_inbox *in)
{
	Op *op = in->wanters.first;

	if (!op)
		return NULL;
	wpy_ops_remove(&in->wanters, op);
	op->queued = false;
	return op;
}

/* At its place in the order. */
static void put_back(struct wpy_inbox *in, struct wpy_item *it)
{
	struct wpy_item **at = &in->first;

	while (*at && (*at)->seq < it->seq)
		at = &(*at)->next;
	it->next = *at;
	*at = it;
}

static void take_out(struct wpy_inbox *in, struct wpy_item *it)
{
	struct wpy_item **at = &in->first;

	while (*at != it)
		at = &(*at)->next;
	*at = it->next;
	it->next = NULL;
}

/* The fetched @it is what @op gets. Takes @it. */
static void deliver(Endpoint *ep, Op *op, struct wpy_item *it)
{
	PyObject *value = op->kind == WPY_WANT_AM && op->aux ? op->aux :
			  PyList_Check(it->parts) ? PyList_GET_ITEM(it->parts, 0) : it->parts;

	op->item = NULL;
	wpy_op_drop_buffers(op);
	if (op->kind == WPY_WANT_OBJ)
		wpy_op_finish_obj(op, PyTuple_Pack(2, it->header, it->parts));
	else
		wpy_op_finish(op, PyTuple_Pack(2, it->header, value));
	drop_item(ep, it);
}

/* Into memory of the user: a buffer, or what his callable makes for each message. */
static bool is_users(const Op *op)
{
	return op->n_views || (op->kind == WPY_WANT_AM && op->aux);
}

static int check_fits(Op *op, uint64_t len)
{
	uint64_t room = 0;
	char why[128];

	for (uint32_t i = 0; i < op->n_views; i++)
		room += (uint64_t)op->views[i].len;
	if (room >= len)
		return 0;
	snprintf(why, sizeof(why), "the message has %llu bytes, the buffer %llu; it can still be received", (unsigned long long)len,
		 (unsigned long long)room);
	wpy_raise(wpy_exc_truncated(wpy_exc_make(WEFT_ETRUNCATED, op->what, why, NULL), len, 0, 0));
	return -1;
}

/* The user's memory for @it, pinned: *bufs, op->n_views. His callable is asked now; in its place op->aux has what it gave. */
static int users_room(Op *op, struct wpy_item *it, weft_buf *one, weft_buf **bufs)
{
	PyObject *list;
	size_t total;
	int ret;

	*bufs = one;
	if (!op->aux) {
		one->addr = op->view.buf;
		one->len = (size_t)op->view.len;
		return check_fits(op, it->ev.len);
	}
	list = PyObject_CallFunction(op->aux, "OK", it->header, (unsigned long long)it->ev.len);
	if (!list)
		return -1;
	Py_SETREF(op->aux, list);
	if (!PyList_CheckExact(list)) {
		PyErr_Format(PyExc_TypeError, "%s(): what makes room must give a list of buffers, not %.100s", op->what, Py_TYPE(list)->tp_name);
		return -1;
	}
	ret = wpy_bufs(op, list, true, one, bufs, &total);
	op->big = false;
	return ret ? -1 : check_fits(op, it->ev.len);
}

/* Payload that was fetched for another, who was cancelled, into the buffers of @op. */
static int copy_over(Op *op, struct wpy_item *it)
{
	PyObject *part = PyList_GET_ITEM(it->parts, 0);
	uint64_t at = 0, n;
	weft_buf one, *bufs;
	int ret = users_room(op, it, &one, &bufs);

	wpy_bufs_free(bufs, &one);
	if (ret)
		return -1;
	for (uint32_t i = 0; i < op->n_views && at < it->ev.len; i++, at += n) {
		n = it->ev.len - at < (uint64_t)op->views[i].len ? it->ev.len - at : (uint64_t)op->views[i].len;
		memcpy(op->views[i].buf, PyByteArray_AS_STRING(part) + at, n);
	}
	Py_XSETREF(it->parts, PyLong_FromUnsignedLongLong(it->ev.len));
	return it->parts ? 0 : -1;
}

/* Room for the payload: *bufs, n. Fills it->header and it->parts. -1 with an error set. */
static int make_room(Op *op, struct wpy_item *it, weft_buf *one, weft_buf **bufs, size_t *n)
{
	PyObject *part;

	*bufs = one;
	if (!it->header)
		it->header = PyBytes_FromStringAndSize(it->ev.data, (Py_ssize_t)it->ev.data_len);
	if (!it->header)
		return -1;
	if (is_users(op)) {
		if (users_room(op, it, one, bufs))
			return -1;
		*n = op->n_views;
		it->parts = PyLong_FromUnsignedLongLong(it->ev.len);
		return it->parts ? 0 : -1;
	}
	if (op->kind == WPY_WANT_OBJ) {
		it->parts = wpy_obj_parts(it->header, it->ev.len);
	} else {
		it->parts = Py_BuildValue("[N]", PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)it->ev.len));
	}
	if (!it->parts)
		return -1;
	*n = (size_t)PyList_GET_SIZE(it->parts);
	*bufs = PyMem_Calloc(*n ? *n : 1, sizeof(**bufs));
	if (!*bufs) {
		*bufs = one;
		PyErr_NoMemory();
		return -1;
	}
	for (size_t i = 0; i < *n; i++) {
		part = PyList_GET_ITEM(it->parts, (Py_ssize_t)i);
		(*bufs)[i].addr = PyByteArray_AS_STRING(part);
		(*bufs)[i].len = (size_t)PyByteArray_GET_SIZE(part);
	}
	return 0;
}

/* @op, which waits in no list, fails with the error that is set. */
static void fail_now(Op *op)
{
	op->item = NULL;
	wpy_op_fail(op, NULL);
}

/* Fetches @it (out of the list) for @op. Takes @it. */
static void fetch(Endpoint *ep, struct wpy_inbox *in, struct wpy_item *it, Op *op)
{
	Worker *w = ep->worker;
	weft_buf one = { 0 }, *bufs;
	weft_call call;
	size_t n = 0;
	Op *f;
	int ret;

	if (make_room(op, it, &one, &bufs, &n)) {
		bool keep = PyErr_ExceptionMatches(PyExc_MemoryError) || is_users(op);

		wpy_bufs_free(bufs, &one);
		fail_now(op);
		Py_CLEAR(it->parts);
		if (keep)
			put_back(in, it);
		else
			drop_item(ep, it);
		return;
	}
	if (!w->h) {                         /* the user's callable has closed the loop, or another thread meanwhile */
		wpy_bufs_free(bufs, &one);
		wpy_op_fail(op, wpy_exc_make(WEFT_ECLOSED, op->what, "its event loop was closed", NULL));
		drop_item(ep, it);
		return;
	}
	f = wpy_op_new(w, WPY_FETCH, op->what);
	if (!f) {
		wpy_bufs_free(bufs, &one);
		fail_now(op);
		Py_CLEAR(it->parts);
		put_back(in, it);
		return;
	}
	f->item = it;
	f->big = it->ev.len >= WPY_BIG;
	it->fetch = f;
	it->client = (Op *)Py_NewRef((PyObject *)op);
	op->item = it;
	wpy_call_init(&call, 0, f);
	ret = weft_am_recv(w->h, &it->ev, bufs, n, &call);
	wpy_bufs_free(bufs, &one);
	if (ret == WEFT_PENDING) {
		op->big = f->big;            /* for who awaits it; it is in no list of pending ones, its fetch is */
		f = (Op *)wpy_op_posted(f, ret, &call, (PyObject *)ep);
		Py_XDECREF(f);               /* the pending list has its own */
		return;
	}
	f->owner = Py_NewRef((PyObject *)ep);
	if (ret == WEFT_OK)
		wpy_inbox_fetched(f, &call.event);
	else
		wpy_inbox_fetch_failed(f, wpy_exc_refused(ret));
	Py_DECREF(f);
}

/* @it (out of the list) is what @op (out of the list) gets. Takes @it. */
static void give(Endpoint *ep, struct wpy_inbox *in, struct wpy_item *it, Op *op)
{
	if (it->fetch) {                     /* on its way, for one who was cancelled */
		it->client = (Op *)Py_NewRef((PyObject *)op);
		op->item = it;
		op->big = it->fetch->big;
	} else if (!it->parts) {
		fetch(ep, in, it, op);
	} else if (is_users(op) && PyList_Check(it->parts) && copy_over(op, it)) {
		fail_now(op);
		put_back(in, it);
	} else {
		deliver(ep, op, it);
	}
}

/* Messages that wait meet those who wait for one. */
static void serve(Endpoint *ep, struct wpy_inbox *in)
{
	struct wpy_item *it;
	Op *op;

	Py_INCREF(ep);
	while ((it = in->first) && (op = pop_wanter(in))) {
		take_out(in, it);
		wpy_ep_unpin(ep);            /* before anything may close the worker, which waits for that */
		give(ep, in, it, op);
		Py_DECREF(op);
	}
	Py_DECREF(ep);
}

static struct wpy_inbox *inbox_of_item(Endpoint *ep, const struct wpy_item *it)
{
	return it->ev.value == WPY_OBJ_ID ? &ep->obj : &ep->am;
}

/* Takes the item from its fetch, which is over. */
static struct wpy_item *end_fetch(Op *f, Op **client)
{
	struct wpy_item *it = f->item;

	f->item = NULL;
	*client = it->client;
	it->fetch = NULL;
	it->client = NULL;
	return it;
}

/* The payload will never be here. */
void wpy_inbox_fetch_failed(Op *f, PyObject *exc)
{
	Endpoint *ep = (Endpoint *)f->owner;
	struct wpy_item *it;
	Op *op;

	it = end_fetch(f, &op);
	if (op) {
		op->item = NULL;
		op->quiet |= f->quiet;
		if (op->cancel_asked) {
			wpy_op_set_cancelled(op);
			Py_XDECREF(exc);
		} else {
			wpy_op_fail(op, exc);
		}
		Py_DECREF(op);
	} else {
		if (!it->unwanted)
			take_out(inbox_of_item(ep, it), it);
		Py_XDECREF(exc);
	}
	drop_item(ep, it);
}

/* Whoever it was on its way to wanted it no more: it can be received as before. */
static void fetch_cancelled(Op *f)
{
	Endpoint *ep = (Endpoint *)f->owner;
	Op *op;
	struct wpy_item *it = end_fetch(f, &op);
	struct wpy_inbox *in = inbox_of_item(ep, it);

	Py_CLEAR(it->parts);
	put_back(in, it);
	op->item = NULL;
	wpy_op_set_cancelled(op);
	Py_DECREF(op);
	serve(ep, in);
}

/* The payload is here, or will never be. */
void wpy_inbox_fetched(Op *f, const weft_event *e)
{
	Endpoint *ep = (Endpoint *)f->owner;
	struct wpy_item *it = f->item;
	Op *op;

	if (e->status == WEFT_ECANCELED && it->client && it->client->cancel_asked && !it->unwanted && !ep->closing) {
		fetch_cancelled(f);
		return;
	}
	if (e->status) {
		wpy_inbox_fetch_failed(f, wpy_exc_event(e));
		return;
	}
	it = end_fetch(f, &op);
	if (it->unwanted) {
		drop_item(ep, it);
	} else if (op) {                     /* else it is in its place, and nobody waits */
		struct wpy_inbox *in = inbox_of_item(ep, it);

		give(ep, in, it, op);
		serve(ep, in);               /* where it did not fit */
		Py_DECREF(op);
	}
}

bool wpy_inbox_event(Endpoint *ep, struct wpy_inbox *in, const weft_event *e)
{
	struct wpy_item *it = ep->closing ? NULL : PyMem_Calloc(1, sizeof(*it));

	if (!it)
		return false;
	it->ev = *e;
	it->seq = in->seq++;
	put_back(in, it);
	serve(ep, in);
	return true;
}

PyObject *wpy_inbox_recv(Endpoint *ep, struct wpy_inbox *in, Op *op)
{
	struct wpy_item *it = in->first;

	op->owner = Py_NewRef((PyObject *)ep);
	wpy_op_track(op);
	if (it) {
		take_out(in, it);
		give(ep, in, it, op);
	} else if (ep->down) {
		wpy_op_fail(op, wpy_exc_again(ep->down));
	} else {
		op->queued = true;
		wpy_ops_push(&in->wanters, (Op *)Py_NewRef((PyObject *)op));
		wpy_ep_pin(ep);
	}
	if (!wpy_worker_touch(ep->worker))
		return (PyObject *)op;
	Py_DECREF(op);
	return NULL;
}

void wpy_inbox_fail(struct wpy_inbox *in, PyObject *why)
{
	Op *op;

	while ((op = pop_wanter(in))) {
		Endpoint *ep = (Endpoint *)Py_NewRef(op->owner);

		op->quiet |= !ep->worker->h; /* its loop was closed */
		wpy_op_fail(op, wpy_exc_again(why));
		wpy_ep_unpin(ep);
		Py_DECREF(ep);
		Py_DECREF(op);
	}
}

void wpy_inbox_clear(Endpoint *ep, struct wpy_inbox *in)
{
	struct wpy_item *it;

	while ((it = in->first)) {
		take_out(in, it);
		if (it->fetch)
			it->unwanted = true; /* its bytes still come; it goes with the last of them */
		else
			drop_item(ep, it);
	}
}

Op *wpy_inbox_fetch_for(const Op *op)
{
	Op *f = op->item ? op->item->fetch : NULL;

	return f && f->in_weft ? f : NULL;
}

/* @op, for which a message is fetched into memory of its own, gets it no more, nor does anybody. The fetch holds the memory. */
void wpy_inbox_abandon(Op *op)
{
	struct wpy_item *it = op->item;
	Op *f = it->fetch;

	f->view = op->view;
	f->views = op->views == &op->view ? &f->view : op->views;
	f->n_views = op->n_views;
	op->view.obj = NULL;
	op->views = &op->view;
	op->n_views = 0;
	op->item = NULL;
	it->unwanted = true;
	Py_CLEAR(it->client);                /* not the last reference: the caller has one */
}

/* True: it may end now. */
bool wpy_inbox_withdraw(Op *op)
{
	Endpoint *ep = (Endpoint *)op->owner;
	struct wpy_item *it;

	if (op->queued) {
		wpy_ops_remove(&inbox_of(op)->wanters, op);
		op->queued = false;
		Py_INCREF(ep);
		wpy_ep_unpin(ep);
		Py_DECREF(ep);
		Py_DECREF(op);
		return true;
	}
	it = op->item;
	if (is_users(op) || !it)
		return false;
	op->item = NULL;
	Py_CLEAR(it->client);                /* not the last reference: the caller has one */
	put_back(inbox_of(op), it);
	serve(ep, inbox_of(op));
	return true;
}
