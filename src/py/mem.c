/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mem.c - weft.Memory: memory that peers may be let in to, registered (the caller's) or allocated by weft.
 *
 * It gives the buffer protocol, so that numpy.frombuffer(mem) works on it. One that is dropped takes its grants back first;
 * while a peer is still in it, what it stands on lives on as a ghost, which a later turn of the loop frees.
 */
#include "wpy.h"

#include <stddef.h>
#include <sys/mman.h>

struct grant {
	struct grant *next;
	weft_grant g;
	PyObject *token;                 /* bytes */
	Worker *worker;                  /* on whose thread it is taken back */
	uint64_t sum;                    /* of the signals */
	uint64_t ep;                     /* wpy_slot of the one endpoint it is for, also when that is gone; 0: for all */
};

struct ghost {
	struct ghost *next;
	weft_mem *h;
	Py_buffer view;
	struct grant *grants;
};

struct wpy_mem {
	PyObject_HEAD
	weft_mem *h;                     /* NULL: closed, or made before a fork */
	Py_buffer view;                  /* registered: the caller's; else view.obj is NULL */
	char *addr;
	size_t len;
	struct grant *grants;
	Py_ssize_t exports;
	Memory *next, **at;              /* all */
	PyObject *weakrefs;
};

bool wpy_mem_any, wpy_mem_ghosts;
static Memory *all;
static struct ghost *ghosts;

/* ---- life -------------------------------------------------------------------------------------------------------- */

static Memory *mem_new(void)
{
	Memory *m;

	if (wpy_ctx_open())
		return NULL;
	m = (Memory *)wpy_mem_type.tp_alloc(&wpy_mem_type, 0);
	if (!m)
		return NULL;
	m->next = all;
	m->at = &all;
	if (all)
		all->at = &m->next;
	all = m;
	wpy_mem_any = true;
	return m;
}

PyObject *wpy_register(PyObject *Py_UNUSED(mod), PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_BUF };
	weft_buf b = { .kind = WEFT_HOST };
	uint32_t access = WEFT_READ;
	PyObject *buf;
	Memory *m;
	int ret;

	if (wpy_args("register", args, n, kw, names, 1, 1, 1, &buf))
		return NULL;
	m = mem_new();
	if (!m)
		return NULL;
	if (wpy_buffer("register", buf, false, &m->view)) {
		m->view.obj = NULL;
		goto drop;
	}
	if (!m->view.readonly)
		access |= WEFT_WRITE | WEFT_ATOMIC;
	b.addr = m->addr = m->view.buf;
	b.len = m->len = (size_t)m->view.len;
	ret = weft_mem_register(wpy_ctx, &b, access, &m->h);
	if (!ret)
		return (PyObject *)m;
	m->h = NULL;
	wpy_raise_refused(ret);
drop:
	Py_DECREF(m);
	return NULL;
}

PyObject *wpy_alloc(PyObject *Py_UNUSED(mod), PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_NBYTES };
	PyObject *in;
	size_t len;
	Memory *m;
	int ret;

	if (wpy_args("alloc", args, n, kw, names, 1, 1, 1, &in) || wpy_size("alloc", "nbytes", in, &len))
		return NULL;
	m = mem_new();
	if (!m)
		return NULL;
	ret = weft_mem_alloc(wpy_ctx, len, WEFT_HOST, 0, &m->h);
	if (ret) {
		m->h = NULL;
		Py_DECREF(m);
		return wpy_raise_refused(ret);
	}
	m->addr = weft_mem_addr(m->h, &m->len);
	m->len = len;
	return (PyObject *)m;
}

weft_mem *wpy_mem_find(const void *addr, size_t len)
{
	uintptr_t a = (uintptr_t)addr;

	for (Memory *m = all; m; m = m->next) {
		uintptr_t from = (uintptr_t)m->addr;

		if (m->h && a >= from && a - from <= m->len && len <= m->len - (a - from))
			return m->h;
	}
	return NULL;
}

/* Signals for @g will not come any more. @why NULL: it is taken back. */
static void fail_waiters(const struct grant *g, PyObject *why)
{
	Op *op, *next;

	for (Worker *w = wpy_workers(); w; w = w->next) {
		for (op = w->signals.first; op; op = next) {
			next = op->next;
			if (op->handle.v != g->g.v)
				continue;
			wpy_ops_remove(&w->signals, op);
			op->queued = false;
			wpy_op_fail(op, why ? wpy_exc_again(why) : wpy_exc_make(WEFT_EREVOKED, op->what, NULL, NULL));
			Py_DECREF(op);
		}
		if (!w->wakes.first || !w->h)
			continue;
		if (w->thread != PyThread_get_thread_ident())
			weft_wake(w->h);
		else if (wpy_worker_touch(w))
			PyErr_Clear();
	}
}

void wpy_mem_ep_over(uint64_t ep, PyObject *why)
{
	const Worker *w = wpy_workers();

	while (w && !w->signals.first)
		w = w->next;
	if (!w)
		return;                      /* the usual case, however many memories there are */
	for (Memory *m = all; m; m = m->next)
		for (struct grant *g = m->grants; g; g = g->next)
			if (g->ep == ep)
				fail_waiters(g, why);
}

static void free_grant(struct grant *g)
{
	fail_waiters(g, NULL);
	Py_XDECREF(g->token);
	Py_XDECREF(g->worker);
	PyMem_Free(g);
}

/* Grants whose worker may be called from here are taken back, for nobody to hear of. */
static void revoke_all(weft_mem *h, struct grant **list)
{
	struct grant *g;
	weft_call call;

	while ((g = *list)) {
		if (g->worker->h && (g->worker->released || g->worker->thread != PyThread_get_thread_ident())) {
			weft_wake(g->worker->h);
			list = &g->next;
			continue;
		}
		wpy_call_init(&call, WEFT_NO_EVENT, NULL);
		if (g->worker->h)
			weft_grant_revoke(h, g->g, &call);
		*list = g->next;
		free_grant(g);
	}
}

void wpy_mem_retry(void)
{
	struct ghost *g, **at = &ghosts;

	while ((g = *at)) {
		revoke_all(g->h, &g->grants);
		if (g->grants || weft_mem_free(g->h)) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		PyBuffer_Release(&g->view);
		PyMem_Free(g);
	}
	wpy_mem_ghosts = ghosts != NULL;
}

/* What the memory stands on is freed, now or later. */
static void let_go(Memory *m)
{
	struct ghost *g;

	m->addr = NULL;
	if (!m->h) {
		PyBuffer_Release(&m->view);
		return;
	}
	revoke_all(m->h, &m->grants);
	if (!m->grants && !weft_mem_free(m->h)) {
		m->h = NULL;
		PyBuffer_Release(&m->view);
		return;
	}
	g = PyMem_Calloc(1, sizeof(*g));
	if (!g)
		return;                      /* lost, but nobody writes to memory that was given back */
	g->h = m->h;
	g->view = m->view;
	g->grants = m->grants;
	g->next = ghosts;
	ghosts = g;
	wpy_mem_ghosts = true;
	m->h = NULL;
	m->grants = NULL;
	m->view.obj = NULL;
}

/* Allocated memory is shared with the parent's peers and not there in the child. Views of it that the child inherited find
 * zeroed pages of its own in its place; nothing new can be done with it. */
void wpy_mem_forked(void)
{
	for (Memory *m = all; m; m = m->next) {
		if (m->h && !m->view.obj && m->len)
			mmap(m->addr, m->len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		m->h = NULL;
	}
	ghosts = NULL;
	wpy_mem_ghosts = false;
}

static int check_open(Memory *m, const char *what)
{
	if (m->h)
		return 0;
	PyErr_Format(PyExc_ValueError, "%s(): this memory is closed", what);
	return -1;
}

static PyObject *mem_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
	Memory *m = (Memory *)self;

	if (m->exports) {
		PyErr_Format(PyExc_BufferError, "Memory.close(): %zd views of it are still in use", m->exports);
		return NULL;
	}
	let_go(m);
	Py_RETURN_NONE;
}

static void mem_dealloc(PyObject *self)
{
	Memory *m = (Memory *)self;
	struct grant *g;

	if (m->weakrefs)
		PyObject_ClearWeakRefs(self);
	*m->at = m->next;
	if (m->next)
		m->next->at = m->at;
	wpy_mem_any = all != NULL;
	let_go(m);
	while ((g = m->grants)) {
		m->grants = g->next;
		free_grant(g);
	}
	Py_TYPE(self)->tp_free(self);
}

/* ---- grants ------------------------------------------------------------------------------------------------------ */

static int rights_of(PyObject *o, uint32_t *access)
{
	static const char letters[] = "rwa";
	static const uint32_t bits[] = { WEFT_READ, WEFT_WRITE, WEFT_ATOMIC };
	const char *s = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : NULL;

	*access = 0;
	for (; s && *s; s++) {
		const char *at = strchr(letters, *s);

		if (!at)
			break;
		*access |= bits[at - letters];
	}
	if (s && *access && !*s)
		return 0;
	if (!PyErr_Occurred())
		PyErr_Format(PyExc_ValueError, "Memory.grant(): rights must be made of \"r\", \"w\" and \"a\" (atomics), "
			     "not %R", o);
	return -1;
}

static Worker *worker_here(void)
{
	PyObject *loop = PyObject_CallNoArgs(wpy_get_running_loop);
	Worker *w;

	if (!loop)
		return NULL;
	if (loop == Py_None) {
		Py_DECREF(loop);
		PyErr_SetString(PyExc_RuntimeError, "no running event loop");
		return NULL;
	}
	w = wpy_worker_of(loop);
	Py_DECREF(loop);
	return w;
}

static PyObject *new_grant(Memory *m, Worker *w, const Endpoint *ep, uint64_t offset, uint64_t len, uint32_t access)
{
	struct grant *g = PyMem_Calloc(1, sizeof(*g));
	char token[256];
	size_t token_len = sizeof(token);
	int ret;

	if (!g)
		return PyErr_NoMemory();
	ret = weft_grant_new(m->h, offset, len, access, ep ? ep->h : NULL, token, &token_len, &g->g);
	if (ret) {
		PyMem_Free(g);
		return wpy_raise_refused(ret);
	}
	g->worker = (Worker *)Py_NewRef((PyObject *)w);
	g->ep = ep ? ep->id : 0;
	g->token = PyBytes_FromStringAndSize(token, (Py_ssize_t)token_len);
	g->next = m->grants;
	m->grants = g;
	return Py_XNewRef(g->token);
}

static PyObject *mem_grant(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_EP, N_RIGHTS, N_OFFSET, N_LENGTH };
	Memory *m = (Memory *)self;
	uint32_t access = WEFT_READ | WEFT_WRITE;
	size_t offset = 0, len;
	PyObject *in[4], *out;
	Endpoint *ep = NULL;
	Worker *w;

	if (wpy_args("Memory.grant", args, n, kw, names, 4, 4, 1, in) || check_open(m, "Memory.grant"))
		return NULL;
	if (in[0] != Py_None && !Py_IS_TYPE(in[0], &wpy_ep_type)) {
		PyErr_Format(PyExc_TypeError, "Memory.grant(): ep must be a weft.Endpoint or None (whoever shows the token), "
			     "not %.100s", Py_TYPE(in[0])->tp_name);
		return NULL;
	}
	if ((in[1] && rights_of(in[1], &access)) || (in[2] && wpy_size("Memory.grant", "offset", in[2], &offset)))
		return NULL;
	len = offset <= m->len ? m->len - offset : 0;
	if (in[3] && in[3] != Py_None && wpy_size("Memory.grant", "length", in[3], &len))
		return NULL;
	if (in[0] == Py_None) {
		w = worker_here();
	} else {
		ep = (Endpoint *)in[0];
		if (!wpy_ep_ready(ep, "Memory.grant", &out)) {
			if (out) {
				Py_XDECREF(wpy_op_take((Op *)out));
				Py_DECREF(out);
			}
			return NULL;
		}
		w = (Worker *)Py_NewRef((PyObject *)ep->worker);
	}
	if (!w)
		return NULL;
	out = new_grant(m, w, ep, offset, len, access);
	Py_DECREF(w);
	return out;
}

/* The grant of @token; *at: what points to it. NULL with KeyError. */
static struct grant *find_grant(Memory *m, PyObject *token, struct grant ***at)
{
	for (*at = &m->grants; **at; *at = &(**at)->next) {
		int eq = PyObject_RichCompareBool((**at)->token, token, Py_EQ);

		if (eq < 0)
			return NULL;
		if (eq)
			return **at;
	}
	PyErr_SetString(PyExc_KeyError, "this memory has no grant with that token");
	return NULL;
}

static PyObject *mem_revoke(PyObject *self, PyObject *token)
{
	static const char what[] = "Memory.revoke";
	Memory *m = (Memory *)self;
	struct grant *g, **at;
	PyObject *out;
	weft_call call;
	Worker *w;
	Op *op;
	int ret;

	if (check_open(m, what))
		return NULL;
	g = find_grant(m, token, &at);
	if (!g || (g->worker->h && wpy_worker_check(g->worker)))
		return NULL;
	w = g->worker->h ? (Worker *)Py_NewRef((PyObject *)g->worker) : worker_here();
	op = w ? wpy_op_new(w, WPY_NONE_RESULT, what) : NULL;
	Py_XDECREF(w);
	if (!op)
		return NULL;
	wpy_call_init(&call, 0, op);
	ret = weft_grant_revoke(m->h, g->g, &call);
	out = wpy_op_posted(op, ret, &call, self);
	if (ret >= 0) {
		*at = g->next;
		free_grant(g);
	}
	return out;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static struct grant *grant_of_event(const weft_event *e)
{
	for (Memory *m = all; m; m = m->next)
		for (struct grant *g = m->grants; g; g = g->next)
			if (g->g.v == e->tag)
				return g;
	return NULL;
}

static void wake_waiters(Worker *w, const struct grant *g)
{
	Op *next;

	for (Op *op = w->signals.first; op; op = next) {
		next = op->next;
		if (op->handle.v != g->g.v || op->want > g->sum)
			continue;
		wpy_ops_remove(&w->signals, op);
		op->queued = false;
		wpy_op_finish(op, PyLong_FromUnsignedLongLong(g->sum));
		Py_DECREF(op);
	}
}

void wpy_mem_signal(const weft_event *e)
{
	struct grant *g = grant_of_event(e);

	if (!g)
		return;
	g->sum += e->value;
	for (Worker *w = wpy_workers(); w; w = w->next) {
		if (!w->signals.first)
			continue;
		wake_waiters(w, g);
		if (w->wakes.first && w->h && w != g->worker)
			weft_wake(w->h);
	}
}

bool wpy_signal_withdraw(Op *op)
{
	if (!op->queued)
		return false;
	wpy_ops_remove(&op->worker->signals, op);
	op->queued = false;
	Py_DECREF(op);
	return true;
}

static PyObject *mem_signalled(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
	static const uint8_t names[] = { N_TOKEN, N_AT_LEAST };
	static const char what[] = "Memory.signalled";
	Memory *m = (Memory *)self;
	struct grant *g, **at;
	uint64_t want = 1;
	PyObject *in[2], *why;
	Worker *w;
	Op *op;

	if (wpy_args(what, args, n, kw, names, 2, 2, 1, in) || check_open(m, what) ||
	    (in[1] && wpy_u64(what, "at_least", in[1], &want)))
		return NULL;
	g = find_grant(m, in[0], &at);
	w = g ? worker_here() : NULL;
	if (!w)
		return NULL;
	if (g->sum >= want) {
		PyObject *out = wpy_op_ready(w, what, PyLong_FromUnsignedLongLong(g->sum));

		Py_DECREF(w);
		return out;
	}
	why = g->ep ? wpy_ep_why(g->ep) : NULL;
	if (why || PyErr_Occurred()) {
		PyObject *out = why ? wpy_op_dead(w, what, why) : NULL;

		Py_DECREF(w);
		return out;
	}
	op = wpy_op_new(w, WPY_SIGNAL, what);
	Py_DECREF(w);
	if (!op)
		return NULL;
	op->owner = Py_NewRef(self);
	op->handle.v = g->g.v;
	op->want = want;
	op->queued = true;
	wpy_op_track(op);
	wpy_ops_push(&w->signals, (Op *)Py_NewRef((PyObject *)op));
	return (PyObject *)op;
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static int mem_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
	Memory *m = (Memory *)self;

	view->obj = NULL;
	if (check_open(m, "Memory"))
		return -1;
	if (PyBuffer_FillInfo(view, self, m->addr, (Py_ssize_t)m->len, m->view.obj && m->view.readonly, flags))
		return -1;
	m->exports++;
	return 0;
}

static void mem_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(view))
{
	((Memory *)self)->exports--;
}

static PyBufferProcs mem_buffer = { .bf_getbuffer = mem_getbuffer, .bf_releasebuffer = mem_releasebuffer };

static Py_ssize_t mem_len(PyObject *self)
{
	return (Py_ssize_t)((Memory *)self)->len;
}

static PySequenceMethods mem_sequence = { .sq_length = mem_len };

static PyObject *mem_repr(PyObject *self)
{
	Memory *m = (Memory *)self;

	return PyUnicode_FromFormat("<weft.Memory %zu bytes, %s>", m->len,
				    !m->h ? "closed" : m->view.obj ? "registered" : "allocated");
}

static PyObject *mem_enter(PyObject *self, PyObject *Py_UNUSED(unused))
{
	return Py_NewRef(self);
}

static PyObject *mem_exit(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n))
{
	return mem_close(self, NULL);
}

static PyObject *get_nbytes(PyObject *self, void *Py_UNUSED(unused))
{
	return PyLong_FromSize_t(((Memory *)self)->len);
}

static PyObject *get_closed(PyObject *self, void *Py_UNUSED(unused))
{
	return PyBool_FromLong(!((Memory *)self)->h);
}

static PyGetSetDef mem_getset[] = {
	{ "nbytes", get_nbytes, NULL, "Its length.", NULL },
	{ "closed", get_closed, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef mem_methods[] = {
	WPY_FAST("grant", mem_grant, "grant(ep, rights=\"rw\", offset=0, length=None) -> bytes\n\nLets the peer of ep (None: "
		 "whoever shows the token) in; the token is a secret."),
	{ "revoke", mem_revoke, METH_O, "revoke(token)\n\nTakes a grant back; done when nobody can reach the memory by it." },
	WPY_FAST("signalled", mem_signalled, "signalled(token, at_least=1) -> int\n\nDone when the signals of put_signal() "
		 "through that grant sum up to at_least; the sum."),
	{ "close", mem_close, METH_NOARGS, "close()\n\nTakes all grants back and lets go of the memory." },
	{ "__enter__", mem_enter, METH_NOARGS, NULL },
	{ "__exit__", WPY_CAST(mem_exit), METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

PyTypeObject wpy_mem_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "weft.Memory",
	.tp_basicsize = sizeof(Memory),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.tp_doc = "Memory that peers may be granted. Has the buffer protocol.",
	.tp_dealloc = mem_dealloc,
	.tp_repr = mem_repr,
	.tp_as_buffer = &mem_buffer,
	.tp_as_sequence = &mem_sequence,
	.tp_weaklistoffset = offsetof(Memory, weakrefs),
	.tp_methods = mem_methods,
	.tp_getset = mem_getset,
};
