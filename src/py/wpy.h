/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wpy.h - the CPython extension `weft._weft`: its objects and who calls whom.
 *
 *   Worker    one for each event loop (worker.c). Owns the weft_worker, hangs its fd into the loop, reaps, arms.
 *   Op        request, awaitable and future in one object from a free list. Posted when it is made (op.c: its life;
 *             op_future.c, op_coro.c: the two sides of it that asyncio knows).
 *   Endpoint  one side of a connection (ep.c: its life; ep_msg.c: tagged messages, stream; ep_am.c: active messages).
 *   Inbox     active messages that wait for am_recv() or recv_obj() (inbox.c).
 *   Listener  takes connections (conn.c).
 *   _Message  one that was probed and taken out; receives from anybody (match.c).
 *   Memory    registered or allocated memory; Remote: a peer's (mem.c, remote.c).
 *
 * An ordinary user of weft.h. Data's way: Endpoint pins the buffer and posts; what weft answers at once concludes the Op
 * on the spot; the rest comes to Worker as events, which concludes the Op and wakes who waits for it.
 *
 * References. A pending Op is owned by its Worker's list (weft holds its address as user_data) and owns its buffers and
 * what it was posted on. A Worker is owned by its anchor, an object that only the event loop holds (as the callback of
 * the fd): when the loop is closed it drops the anchor, and the anchor closes the worker. No Python code is wrapped.
 *
 * Everything runs under the GIL, on the thread that runs the loop, except where worker.c says otherwise.
 */
#ifndef WPY_H
#define WPY_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "weft/weft.h"

#define WPY_BATCH 64                     /* events of one reap */
#define WPY_TURN_NS 100000               /* the loop gets a turn at least this often */
#define WPY_SPIN_NS 25000                /* longest look for work before sleeping */
#define WPY_SPIN_BIG_NS 400000           /* the same for a large copy: its time, and that which its peer needs to wake up */
#define WPY_BIG (256u << 10)             /* from here on a copy is worth releasing the GIL for */
#define WPY_OBJ_ID 0x6a626f00u           /* active message id of send_obj() */
#define WPY_AM_ID 0u                     /* active message id of am_send() */

#define WPY_CAST(f) ((PyCFunction)(void (*)(void))(f))
#define WPY_FAST(name, f, doc) { name, WPY_CAST(f), METH_FASTCALL | METH_KEYWORDS, doc }

typedef struct wpy_op Op;
typedef struct wpy_worker Worker;
typedef struct wpy_ep Endpoint;
typedef struct wpy_mem Memory;
struct wpy_item;

/* ---- operations ------------------------------------------------------------------------------------------------ */

enum wpy_kind {                          /* what the result is made of */
	WPY_NONE_RESULT,                 /* None: send, put, flush, ...                                          */
	WPY_COUNT,                       /* event.len: recv                                                      */
	WPY_COUNT_TAG,                   /* (event.len, event.tag)                                               */
	WPY_VALUE,                       /* event.value: atomics                                                 */
	WPY_STREAM,                      /* the bytes object in op->aux, cut to event.len                        */
	WPY_EXACTLY,                     /* the same; fewer is asyncio.IncompleteReadError                       */
	WPY_FILL,                        /* event.len: readinto                                                  */
	WPY_CLOSE,                       /* None, and the endpoint is gone                                       */
	WPY_CONNECT,                     /* op->owner, when its CONNECTED event comes; no weft operation         */
	WPY_WANT_AM, WPY_WANT_OBJ,       /* waits in an inbox; no weft operation                                 */
	WPY_FETCH,                       /* fetches an inbox item for whoever wants it; never seen by the user   */
	WPY_READY,                       /* made done                                                            */
	WPY_SIGNAL,                      /* waits for a sum of signals; no weft operation                        */
};

enum { WPY_PENDING, WPY_DONE, WPY_FAILED, WPY_CANCELLED };            /* Op.state */
enum { WPY_FRESH, WPY_STARTED, WPY_SUSPENDED, WPY_YIELDED, WPY_SPENT };   /* Op.await */

struct wpy_op {
	PyObject_HEAD
	Worker *worker;                  /* strong; NULL only in the free list */
	PyObject *result;                /* DONE: the value; FAILED: the exception; CANCELLED: message or NULL       */
	PyObject *owner;                 /* endpoint, memory, remote: kept while pending                         */
	PyObject *aux;                   /* what the result is made of                                           */
	PyObject *cb, *cb_ctx;           /* first callback; the rest in more */
	PyObject *more;                  /* list of (callback, context) or NULL                                  */
	PyObject *weakrefs;
	Py_buffer *views;                /* &view or an array of n_views                                         */
	Py_buffer view;
	uint32_t n_views;
	uint8_t kind, state, await;
	bool blocking;                   /* _asyncio_future_blocking                                             */
	bool in_weft;                    /* weft will report it: the worker's list owns a reference               */
	bool queued;                     /* waits in an inbox or for a signal: that list owns a reference         */
	bool cancel_asked;
	bool abort_on_cancel;
	bool quiet;                      /* nobody has to hear of its failure                                    */
	bool seen;                       /* result or exception was taken                                        */
	bool waking;                     /* on worker->wakes, which owns a reference */
	bool big, waiting, tracked;
	weft_op handle;
	uint64_t want;                   /* SIGNAL: sum; stream: bytes that were there before it was posted      */
	struct wpy_item *item;           /* FETCH: what it fetches; WANT_*: what is being fetched for it              */
	const char *what;                /* "Endpoint.recv", static                                              */
	Op *next, *prev;                 /* worker's pending list, inbox queue, wake list or free list           */
};

struct wpy_ops {                         /* a list of ops through next and prev */
	Op *first, *last;
};

extern PyTypeObject wpy_op_type;

/* A pending op of @w. Gives a new reference; NULL with MemoryError. */
Op *wpy_op_new(Worker *w, enum wpy_kind kind, const char *what);

/* From here on the garbage collector has to know it: it waits, or has failed. */
void wpy_op_track(Op *op);
/* Its callbacks run in the worker's next turn. */
void wpy_op_wake_soon(Op *op);
/* The next whose turn it is, with the reference; NULL: none. */
Op *wpy_op_next_to_wake(Worker *w);

/* An op that is done with @value (taken; NULL: gives NULL up as the error that is set). */
PyObject *wpy_op_ready(Worker *w, const char *what, PyObject *value);

/* Takes @exc: an op that failed before it was posted. */
PyObject *wpy_op_dead(Worker *w, const char *what, PyObject *exc);

/* What a posting call @ret answered for @op, which is taken and given back. Refusals of the call are raised (NULL); those
 * of the endpoint become a failed op. @owner is kept while it is pending. */
PyObject *wpy_op_posted(Op *op, int ret, const weft_call *call, PyObject *owner);

/* The completion of a pending op came: state and buffers; who waits is put on the worker's wake list. */
void wpy_op_event(Op *op, const weft_event *e);

/* The same for ops that are not weft's. The value or exception is taken. */
void wpy_op_finish(Op *op, PyObject *value);
void wpy_op_finish_obj(Op *op, PyObject *header_and_parts);   /* the object is made when it is asked for */
void wpy_op_fail(Op *op, PyObject *exc);
void wpy_op_set_cancelled(Op *op);

/* Gives the op's buffers back and forgets what it kept. */
void wpy_op_drop_buffers(Op *op);

/* Room for @n buffers beside op->view. -1 with MemoryError. */
int wpy_op_views(Op *op, uint32_t n);

/* Calls or schedules the callbacks of a done op. @direct: call, do not schedule. -1 with what a callback raised that is not
 * an Exception. */
int wpy_op_wake(Op *op, bool direct);

/* Makes the object of a done recv_obj(). */
void wpy_op_load(Op *op);

int wpy_op_traverse(PyObject *self, visitproc visit, void *arg);
int wpy_op_clear(PyObject *self);
void wpy_op_dealloc(PyObject *self);

/* op_future.c: the future's side */
PyObject *wpy_op_cancel(Op *op, PyObject *msg);
PyObject *wpy_op_take(Op *op);           /* result or exception, as Future.result() */
PyObject *wpy_op_cancelled_error(Op *op);
void wpy_ops_push(struct wpy_ops *l, Op *op);
void wpy_ops_remove(struct wpy_ops *l, Op *op);

/* op_coro.c: the coroutine side */
extern PyAsyncMethods wpy_op_async;
PyObject *wpy_op_await(PyObject *self);
PyObject *wpy_op_next(PyObject *self);
PyObject *wpy_op_send(PyObject *self, PyObject *arg);
PyObject *wpy_op_throw(PyObject *self, PyObject *const *args, Py_ssize_t n);
PyObject *wpy_op_close(PyObject *self, PyObject *unused);

/* @task was stepped with a result although its cancel had been asked for: the cancel follows, unless it was taken back. */
int wpy_task_stepped(PyObject *task);

/* The await of @op is over. -1 with an error set. */
int wpy_op_spend(Op *op);
/* The same of one that is freed. */
void wpy_op_let_go(Op *op);

/* ---- workers ---------------------------------------------------------------------------------------------------- */

struct wpy_worker {
	PyObject_HEAD
	weft_worker *h;                  /* NULL: closed */
	PyObject *loop, *call_soon;
	PyObject *turn;                  /* what call_soon gets: runs wpy_worker_turn() */
	unsigned long thread;            /* that last ran the loop */
	struct wpy_ops pending, wakes;
	Op *last_op;                     /* compared, never followed */
	uint32_t n_suspended;            /* ops that a task waits for */
	uint32_t n_yielded;              /* ops whose await let the loop go first: their tasks go on in its next round */
	uint32_t n_big;                  /* pending ops of WPY_BIG and more */
	uint32_t work;                   /* since the clock was read */
	struct wpy_spin {
		uint32_t skip, miss;     /* chances to leave out; misses in a row */
		uint64_t ns;             /* how long it is worth: twice what the longest of the last hits took */
	} spin[2];                       /* for small operations and, longer, for those of WPY_BIG */
	uint64_t spin_until;             /* for a large one: the loop's turns go on looking; 0: they sleep */
	uint64_t turn_ns;                /* when the loop had its turn */
	bool turn_due;                   /* turn is scheduled in the loop */
	bool in_turn;                    /* the loop runs us */
	bool forked;
	bool released;                   /* a call into weft runs without the GIL */
	Endpoint *pinned;                /* kept although nobody may hold them: see wpy_ep_pin() */
	PyObject *roots;                 /* set: open listeners */
	PyObject *lates;                 /* list: cancels that came too late, see op_coro.c; or NULL */
	struct wpy_ops signals;          /* ops that wait for a sum of signals */
	uintptr_t *graves;               /* endpoints and remotes that were dropped on another thread */
	uint32_t n_graves, cap_graves;
	Worker *next;                    /* of all */
};

extern PyTypeObject wpy_worker_type, wpy_anchor_type;

/* The worker of @loop, made on first use. Gives a reference. */
Worker *wpy_worker_of(PyObject *loop);

/* Raises unless weft may be called on @w from here and now. */
int wpy_worker_check_slow(Worker *w);
static inline int wpy_worker_check(Worker *w)
{
	if (w->h && w->thread == PyThread_get_thread_ident() && !w->released)
		return 0;
	return wpy_worker_check_slow(w);
}

/* Something was posted: the loop must come by, to reap and to arm. */
int wpy_worker_touch_slow(Worker *w);
static inline int wpy_worker_touch(Worker *w)
{
	return w->turn_due || w->in_turn ? 0 : wpy_worker_touch_slow(w);
}

/* True when the loop has waited for its turn long enough; @cost: 1 and more for long work. */
bool wpy_worker_turn_owed(Worker *w, uint32_t cost);

/* Reaps for @op, which somebody has begun to await: looks, and where it has been paying off spins shortly. */
int wpy_worker_look(Worker *w, Op *op);

/* Takes in one batch of what arrived; who waits for it is woken in the loop's turn. How many, or -1. */
Py_ssize_t wpy_worker_progress(Worker *w);

/* One batch: what is there is taken in. How many. */
size_t wpy_worker_batch(Worker *w);
void wpy_worker_events(Worker *w, weft_event *ev, size_t n);   /* takes in what was reaped */

/* spin.c */
void wpy_set_spin(uint64_t ns);                 /* the setting: of every worker; 0: never */
size_t wpy_spin_for(Worker *w, Op *op);         /* before @op's await suspends: how much came */
bool wpy_spin_turn(Worker *w);                  /* before the loop sleeps: look again? */
bool wpy_spin_goes_on(Worker *w);               /* while a spin that wpy_spin_for() began is worth going on with */

/* Closes: aborts endpoints, waits for quiet, gives all buffers back. */
void wpy_worker_close(Worker *w);

/* Closes an endpoint that nobody has any more, gracefully if @graceful; now or when the loop comes by. */
void wpy_worker_bury(Worker *w, weft_ep *ep, bool graceful);
/* Lets go of an event, likewise. */
void wpy_worker_release(Worker *w, weft_event *e);

/* What weft gets as user_data of endpoints and listeners: a number that names @o until it is put away, and nothing after
 * that, for an event may come late. 0 with MemoryError. wpy_slot() gives a borrowed reference or NULL. */
uint64_t wpy_slot_new(void *o);
void *wpy_slot(uint64_t id);
void wpy_slot_free(uint64_t *id);        /* leaves 0 */

void wpy_worker_bury_remote(Worker *w, weft_remote *r);
Worker *wpy_workers(void);               /* all, through next */

/* Is the loop of @w the one that runs on this thread? -1 on error. */
int wpy_worker_is_running(Worker *w);

PyObject *wpy_shutdown(PyObject *mod, PyObject *unused);       /* at exit */
PyObject *wpy_forked(PyObject *mod, PyObject *unused);         /* in the child of a fork */

uint64_t wpy_now(void);

/* ---- endpoints -------------------------------------------------------------------------------------------------- */

struct wpy_item {                        /* an active message that came */
	struct wpy_item *next;
	uint64_t seq;
	weft_event ev;
	PyObject *header;                /* bytes */
	PyObject *parts;                 /* list of bytearrays; an int: in the user's buffer; NULL: not fetched     */
	Op *fetch;                       /* borrowed: that fetches it */
	Op *client;                      /* strong: that wants it; NULL: it was cancelled */
	bool unwanted;                   /* nobody will: it goes when its fetch is over */
};

struct wpy_inbox {                       /* of active messages, in the order of their arrival */
	struct wpy_item *first;
	struct wpy_ops wanters;
	uint64_t seq;
};

struct wpy_ep {
	PyObject_HEAD
	weft_ep *h;                      /* NULL: closed, aborted or never made */
	Worker *worker;
	PyObject *peer;                  /* str */
	PyObject *unread;                /* bytes of the stream that a cancelled read had taken; NULL: none      */
	PyObject *down;                  /* exception: why it is over; NULL while it is not */
	PyObject *accepted;              /* callback of the listener, until connected */
	PyObject *on_down;               /* callback of the listener, until down */
	Op *connecting;                  /* strong */
	struct wpy_inbox am, obj;
	PyObject *weakrefs;
	uint64_t id;                     /* wpy_slot */
	uint32_t pins;
	Endpoint *pin_next, **pin_at;
	bool connected;
	bool closing;                    /* close() or abort() was called; with h: a close is pending            */
	weft_op close_op;                /* that close                                                           */
};

extern PyTypeObject wpy_ep_type;

Endpoint *wpy_ep_new(Worker *w);

/* While something of it waits that only the worker can end (a connection being accepted, a wanter in an inbox) the worker
 * owns a reference. Counted. */
void wpy_ep_pin(Endpoint *ep);
void wpy_ep_unpin(Endpoint *ep);
void wpy_ep_set_peer(Endpoint *ep);
bool wpy_ep_event(const weft_event *e);  /* CONNECTED, DOWN, AM; true: it is released later */
void wpy_ep_orphan(Endpoint *ep);        /* its worker was closed: nothing that waits will end otherwise */
void wpy_ep_gone(Endpoint *ep);          /* weft has ended it */
int wpy_ep_abort(Endpoint *ep);          /* as abort() */
void wpy_ep_give_up(Endpoint *ep);       /* its connect was cancelled */
PyObject *wpy_ep_why(uint64_t id);       /* an exception: why that endpoint is over; NULL while it is not, or with an error set */

/* Ready to post on: worker and handle. NULL: *out is what to return (an op that failed, or NULL with an error set). */
weft_ep *wpy_ep_ready(Endpoint *ep, const char *what, PyObject **out);

PyObject *wpy_ep_send(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_recv(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_recv_tagged(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_write(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_read(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_readexactly(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_readinto(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_am_send(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_am_recv(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_send_obj(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_recv_obj(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_remote(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_ep_flush(PyObject *, PyObject *);

/* inbox.c */
bool wpy_inbox_event(Endpoint *ep, struct wpy_inbox *in, const weft_event *e);   /* true: it keeps e */
PyObject *wpy_inbox_recv(Endpoint *ep, struct wpy_inbox *in, Op *op);    /* takes and gives op */
void wpy_inbox_fail(struct wpy_inbox *in, PyObject *why);                /* those who wait */
void wpy_inbox_clear(Endpoint *ep, struct wpy_inbox *in);                /* messages that nobody fetched */
void wpy_inbox_abandon(Op *op);                                          /* one with a fetch: it ends now, that goes on */
bool wpy_inbox_withdraw(Op *op);                                         /* a cancelled wanter */
Op *wpy_inbox_fetch_for(const Op *op);                                   /* what weft has of one that cannot; NULL: nothing. Borrowed */
void wpy_inbox_fetched(Op *fetch, const weft_event *e);
void wpy_inbox_fetch_failed(Op *fetch, PyObject *exc);                   /* takes exc */

/* obj.c: an object is one active message: a header that says how it is laid out, the pickle, its out-of-band buffers. */
PyObject *wpy_obj_parts(PyObject *header, uint64_t len);                 /* list of bytearrays to receive into */
PyObject *wpy_obj_load(PyObject *header_and_parts);

/* match.c */
extern PyTypeObject wpy_message_type;
PyObject *wpy_recv_any(PyObject *mod, PyObject *args);
PyObject *wpy_probe(PyObject *mod, PyObject *args);
PyObject *wpy_progress(PyObject *mod, PyObject *loop);

/* conn.c */
extern PyTypeObject wpy_listener_type;
PyObject *wpy_connect(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_connect_now(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_listen(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
void wpy_listener_event(const weft_event *e);

/* ---- memory ------------------------------------------------------------------------------------------------------ */

extern PyTypeObject wpy_mem_type, wpy_remote_type;

PyObject *wpy_register(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_alloc(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *wpy_remote_open(Endpoint *ep, PyObject *token);
void wpy_mem_signal(const weft_event *e);
void wpy_mem_ep_over(uint64_t ep, PyObject *why);        /* @ep is over: who waits for its signals fails */
weft_mem *wpy_mem_find(const void *addr, size_t len);    /* that holds this range; NULL */
bool wpy_signal_withdraw(Op *op);
void wpy_mem_retry(void);                                /* frees what was in use when it was dropped */
void wpy_mem_forked(void);
extern bool wpy_mem_any;                /* there is some */
extern bool wpy_mem_ghosts;             /* wpy_mem_retry() has something to do */

/* ---- module-wide -------------------------------------------------------------------------------------------------- */

extern weft_ctx *wpy_ctx;                /* opened on first use */
int wpy_ctx_open(void);
extern PyObject *wpy_incomplete_read, *wpy_cancelled, *wpy_get_running_loop, *wpy_current_task;
extern PyObject *wpy_dumps, *wpy_loads;

enum wpy_name { N_BUF, N_TAG, N_MASK, N_SYNC, N_N, N_HEADER, N_OBJ, N_TOKEN, N_OFFSET, N_VALUE, N_COMPARE, N_BITS,
	N_RIGHTS, N_EP, N_LENGTH, N_SIGNAL, N_URL, N_TRANSPORTS, N_TIMEOUT, N_CALLBACK, N_CONTEXT, N_NBYTES, N_MSG,
	N_ABORT_ON_CANCEL, N_LOOP, N_ACCEPTED, N_AT_LEAST, N_JSON, N_NAMES_ };
extern PyObject *wpy_names[N_NAMES_];    /* interned */

/* Arguments of a FASTCALL method into @out (borrowed, NULL where absent). @names: N_* in order; the first @n_pos may be
 * positional, the first @n_must must be there. */
int wpy_args(const char *what, PyObject *const *args, Py_ssize_t n, PyObject *kw, const uint8_t *names, int n_names,
	     int n_pos, int n_must, PyObject **out);

/* Numbers, with words for what is wrong with them. */
int wpy_u64(const char *what, const char *name, PyObject *o, uint64_t *out);
int wpy_size(const char *what, const char *name, PyObject *o, size_t *out);
int wpy_seconds(const char *what, PyObject *o, uint64_t *ns);      /* a timeout; None and NULL: 0 */

/* A contiguous buffer; BufferError in words when it is not, or may not be written. */
int wpy_buffer(const char *what, PyObject *o, bool writable, Py_buffer *view);

/* Buffers of a message: one object, or a list or tuple of them. Pins them in @op; *bufs is @one or an array that
 * wpy_bufs_free() frees. */
int wpy_bufs(Op *op, PyObject *o, bool writable, weft_buf *one, weft_buf **bufs, size_t *total);
static inline void wpy_bufs_free(weft_buf *bufs, const weft_buf *one)
{
	if (bufs != one)
		PyMem_Free(bufs);
}

/* err.c */
int wpy_err_init(PyObject *mod);
PyObject *wpy_exc_refused(int status);               /* from weft_last_error(); new reference, never NULL without error set */
PyObject *wpy_exc_event(const weft_event *e);
PyObject *wpy_exc_make(int status, const char *object, const char *cause, const char *remedy);
PyObject *wpy_exc_truncated(PyObject *exc, uint64_t len, uint64_t delivered, uint64_t tag);   /* takes and gives @exc */
PyObject *wpy_exc_again(PyObject *exc);              /* another of the same */
void wpy_raise(PyObject *exc);                       /* takes */
PyObject *wpy_raise_refused(int status);             /* NULL */
PyObject *wpy_make_error(PyObject *mod, PyObject *args);
uint32_t wpy_status_scope(int status);

static inline void wpy_call_init(weft_call *c, uint32_t flags, const void *user)
{
	c->size = sizeof(*c);
	c->flags = flags;
	c->user_data = (uint64_t)(uintptr_t)user;
	c->deadline_ns = 0;
	c->stream = NULL;
	c->from = NULL;
}
#endif
