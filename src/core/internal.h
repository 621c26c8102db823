/* SPDX-License-Identifier: BSD-3-Clause
 *
 * internal.h - the private structs of core. Worker, endpoint and operation refer to each other, so they stand together;
 * what a file offers the others stands below, by file. Transports never see this.
 *
 * Lives. Operations, endpoints, unexpected messages, remotes and opens are slots of pools of their worker: the memory
 * stays of its type until the worker is freed, so a stale pointer or id is found out and not followed.
 * Teardown never happens inside an upcall: who wants an endpoint or a lane gone puts it on a list of the worker
 * (dying, graves), and wf_worker_bury() at the end of a turn does it, of one of the next eight.
 */
#ifndef WF_CORE_INTERNAL_H
#define WF_CORE_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/map.h"
#include "base/pool.h"
#include "core/transport.h"
#include "os/clock.h"
#include "os/mem.h"
#include "wire/hello.h"
#include "wire/match.h"

#define WF_TR_MAX 8
#define WF_CTL_PAYLOAD 40u               /* kept inside a control frame that waits; more is allocated */
#define WF_OPENS_MAX (1u << 16)          /* grants that one endpoint's peer may hold open */
#define WF_IDS_MAX (1u << 20)            /* slots of a pool that wf_wire_id() can tell apart */
#define WF_MSG_INLINE 192u
#define WF_BULK_CHUNK (256u << 10)       /* bytes of bulk data between two looks at the ordered queue */
#define WF_STREAM_FIRST (64u << 10)      /* bytes of stream that may be sent before the first CREDIT: part of the protocol */

/* ---- context --------------------------------------------------------------------------------------------------- */

struct wf_tr_state {                     /* a transport in this context */
	const struct wf_transport *tr;
	void *shared;
	int32_t status;                  /* 0: usable; else why it is not */
	char why[160], remedy[160];
};

struct weft_ctx {
	struct wf_forkmark fork;
	struct wf_conf conf;
	struct wf_log log;
	pthread_mutex_t lock;            /* the lists below, grants, the trace */
	struct wf_list workers, mems;
	unsigned n_workers, n_mems;
	struct wf_tr_state tr[WF_TR_MAX];   /* in order of preference */
	unsigned n_tr;
	uint8_t process[WF_UUID];
	uint64_t next_id;                /* regions, grants, workers */
	struct wf_map grants;            /* id -> struct wf_grant */
	struct wf_map requests;          /* id -> weft_request that was reaped and not answered */
	_Atomic(struct wf_trace *) trace;   /* NULL: off; behind it only under the lock */
};

/* ---- what waits to be reaped -------------------------------------------------------------------------------------- */

struct wf_note {                         /* embedded in what has something to say */
	struct wf_list link;             /* in worker->events; unlinked: nothing to say now */
	void (*take)(struct wf_note *n, weft_event *out);   /* fills the event; the note may be gone afterwards */
};

/* ---- timers ------------------------------------------------------------------------------------------------------ */

struct wf_timer {                        /* in worker->deadlines; zeroed: off */
	struct wf_heap_node node;
	void (*fire)(struct wf_timer *t);   /* it is off by now */
};

/* ---- operations ---------------------------------------------------------------------------------------------------- */

struct wf_txitem {                       /* waits for room on an endpoint's lane */
	struct wf_list link;
	int (*push)(struct weft_ep *ep, struct wf_txitem *it);   /* WEFT_OK: all sent, off the queue; WEFT_AGAIN */
};

struct wf_op;
struct wf_msg;

struct wf_kind {                         /* of operation */
	const char *name;
	/* Asked to end early with op->stop set; ends it now with wf_op_done() or sees that it will end. */
	void (*cancel)(struct wf_op *op);
};

/*
 * In the order of use. With the pool's 16 bytes in front, what a posted receive reads when its message comes fills the first
 * two cache lines; the third is only written. The rest of a plain one is not touched.
 */
struct wf_op {
	/* set by who posts it */
	union {
		struct wf_match_recv recv;
		struct { struct weft_remote *remote; uint64_t offset, operand, compare; uint32_t what; bool unordered, may_start, signal_due; struct wf_op *parent; } rma;
		struct { uint32_t id, header_len; void *header; } am;
		struct { struct wf_grant *grant; struct wf_list link; } revoke;
		unsigned children;       /* flush of a worker, batch */
	};

	/* zero when it begins */
	uint32_t flags;                  /* of the call */
	uint16_t inflight;               /* frames that lend our bytes */
	uint8_t state;                   /* by kind */
	bool queued;                     /* tx is on a queue */
	bool silent;                     /* nobody is told: NO_EVENT, or COPY that was answered already */
	bool done;                       /* completed; waits to be reaped, tested, or for inflight to end */
	bool posting;                    /* inside the call that posts it */
	bool by_handle;
	bool matched;                    /* receive: has taken a message */
	bool all_sent;                   /* done as soon as nothing is in flight */
	bool copy_stopping;
	bool copied;                     /* COPY: the bytes are our own */
	bool from_probe;                 /* receive of a taken message or AM: was never in match */
	bool plain;                      /* posted receive: has its buffer and nothing else, all behind `link` is untouched */

	/* set by who posts it, as the two before */
	struct weft_ep *ep;              /* NULL: a receive from any endpoint that has not matched */
	uint64_t user_data;
	weft_buf one;                    /* bufs points here when n <= 1 */
	weft_buf *bufs;
	size_t n;
	uint64_t len;                    /* of the buffers */
	uint64_t tag;
	const struct wf_kind *kind;

	/* made once and kept in order: an operation in the pool is on no list */
	struct weft_worker *w;
	struct wf_list link;             /* in ep->ops or ep->rx_ops: pending; a receive from any endpoint is in match alone */
	struct wf_note note;

	/* zero when it begins because who puts it back clears it, but for a plain one */
	uint64_t off;                    /* how far sent or received */
	uint64_t t0;                     /* when posted, while tracing */
	uint32_t peer_op;                /* the peer's operation at the other end of this transfer */
	int32_t stop;                    /* asked to end early: with which status */
	struct wf_timer deadline;
	void (*on_end)(struct wf_op *op);   /* part of a larger one: told instead of the caller; puts it */
	void (*cleanup)(struct wf_op *op);   /* what its kind has allocated; may be NULL */
	void *owned;                     /* COPY: the bytes */
	struct wf_copy *copy;            /* large buffer in the transport's hands */
	struct wf_rma *direct;           /* one-sided operation in the transport's hands */
	struct wf_msg *msg;              /* receive: what it matched, as long as it may have to go back */
	uint64_t ev_len, ev_tag, ev_value;   /* of the event, as the following */
	int32_t status;
	uint32_t path;

	/* made once */
	struct wf_txitem tx;
	struct wf_sent sent;
};

struct wf_ctl {                          /* a control frame that waits */
	struct wf_txitem tx;
	struct wf_frame h;
	void *big;                       /* payload beyond WF_CTL_PAYLOAD */
	uint8_t payload[WF_CTL_PAYLOAD];
};

/* ---- a message that no receive has taken, or that may have to go back ------------------------------------------------ */

enum { WF_MSG_EAGER, WF_MSG_RNDV };

struct wf_msg {
	struct wf_match_msg match;
	struct wf_note note;             /* AM */
	struct wf_list link;             /* in ep->msgs */
	struct weft_ep *ep;
	uint8_t kind;
	bool am, sync, matchable;        /* matchable: in the worker's match */
	bool partial;                    /* being read from the lane */
	bool taken;                      /* given to the user: by weft_probe(), as an AM event */
	bool lost;                       /* its bytes cannot be had any more */
	bool withdrawn;                  /* the sender has said so while it was matched */
	bool receiving;                  /* AM: an am_recv is pending */
	bool received;                   /* AM: and has ended well */
	bool released;                   /* AM: the event was released */
	uint32_t peer_op, peer_gen;      /* to answer */
	uint32_t am_id, header_len;
	uint64_t len;                    /* of the message (without AM header) */
	uint8_t *data;                   /* eager: header, payload; rndv: header, description */
	size_t data_len, charged;
	uint32_t desc_len;
	uint8_t cls;                     /* of the buffer in the worker's cache */
	weft_buf whole;                  /* data as a buffer, for a sink */
	uint8_t small[WF_MSG_INLINE];
};

struct weft_message { struct wf_msg m; };   /* what weft_probe() takes is the message itself */

/* ---- endpoint ------------------------------------------------------------------------------------------------------- */

struct wf_owner { bool is_ep; };         /* first in what lane->owner points to */

enum { WF_EP_CONNECTING, WF_EP_READY, WF_EP_DOWN, WF_EP_GONE };

struct wf_stream;                        /* stream.c, made on first use */
struct wf_conn;                          /* connect.c, while connecting */

struct weft_ep {
	struct wf_owner owner;
	union {
		struct {
			uint8_t state;
			bool blocked;            /* the lane said AGAIN */
			bool dying;              /* on worker->dying */
			bool released;           /* the user has let go: close done, or abort */
			bool closing;            /* close was posted */
			bool pressure;           /* peer asked for rendezvous only */
			bool spare[2];           /* false, for the whole is compared */
		};
		uint64_t gate;                   /* all of them: WF_EP_READY when nothing stands against a message */
	};
	bool kicking;
	bool boot_may;                   /* the bootstrap lane may carry messages, too */
	bool active;                     /* we connected */
	bool may_renew;                  /* both sides know RENEW */
	bool close_sent, peer_closed;
	bool drained;                    /* dying: the last frames were looked for */
	bool closed_due;                 /* peer has closed: CLOSED is to be sent, then it is over */
	uint32_t fences;                 /* FLUSH for a fence on their way */
	uint32_t unordered;              /* one-sided operations on their way that later ones may overtake */
	bool told_pressure;
	bool hot;                        /* counted in worker->fd_hot */
	bool burying;
	uint32_t id, flags;
	uint32_t refs;                   /* operations, taken messages and remotes that name it */
	struct weft_worker *w;
	struct wf_list link;             /* worker->eps_list */
	struct wf_list dying_link;
	struct wf_list stalled_link;     /* worker->stalled: we told the lane "not now" */
	struct wf_lane *boot, *msg;      /* bootstrap and message lane, may be the same */
	struct wf_conn *conn;
	struct wf_list answers;          /* control frames that wait for room only */
	struct wf_list redo;             /* puts of a lane that broke, until another takes over */
	struct wf_list said;             /* control frames of the bootstrap lane's own that wait for room there */
	struct wf_list txq, streamq, bulkq;
	struct wf_list lent;             /* operations that have ended but for frames that still read their bytes */
	struct wf_list ops, rx_ops;      /* pending: sending kinds in order of posting; receives bound to it */
	struct wf_list msgs;             /* unexpected */
	struct wf_list opens, remotes, replies;
	struct wf_stream *stream;
	struct wf_note up_note, down_note;
	uint64_t user_data;
	uint32_t n_waiting;              /* control frames and answers that the peer does not read */
	uint32_t n_opens;
	int32_t status;                  /* why down */
	int32_t put_status;              /* first put of the peer that failed; told with FLUSHED */
	struct wf_error *why;
	struct wf_grace *grace;          /* ep.c: the bootstrap lane broke, the message lane may know why */
	struct wf_switch *sw;            /* switch.c: the message lane broke, the bootstrap lane takes over */
	struct wf_renew *renew;          /* renew.c: it did, once at least; another is being made, or has been */
	uint64_t n_tx_msgs, n_rx_msgs, n_eager, n_rndv, n_copy, n_direct;
	uint64_t n_breaks, n_renewed;    /* message lanes that broke, that were made again */
	uint32_t path;                   /* transport index + 1 of the message lane; 0: none yet */
	char peer[96];
	char notes[320];                 /* why lanes were not used */
};

/* ---- worker ----------------------------------------------------------------------------------------------------------- */

#define WF_BUF_CLASSES 8                 /* 512 B .. 64 KiB */

/* What is counted of endpoints; stats.c adds them up. */
struct wf_counts {
	uint64_t endpoints, sent, received, eager, rndv, copied, direct, breaks, renewed;
	uint64_t bytes_tx, bytes_rx, frames_tx, frames_rx, copy_us, copy_peer, syscalls;
};

struct weft_worker {
	struct weft_ctx *ctx;
	struct wf_list link;             /* ctx->workers */
	uint64_t id;
	_Atomic uintptr_t owner_thread;  /* who is inside; 0: nobody */
	unsigned depth;
	bool shared, dispatching, freeing;
	pthread_mutex_t lock;            /* SHARED */
	atomic_bool woken;
	uint64_t n_ended;                /* completions and events so far */
	bool polling, poll_wakeable;     /* SHARED: a thread sleeps on the fd, without the lock (in weft_wait_any()); */
	unsigned followers, wakeable;    /*   others sleep on `ended`; of them in weft_wait_any() */
	uint64_t poll_mark, told_mark;   /*   n_ended when that thread went to sleep; when the others were told */
	pthread_cond_t ended;
	bool armed;
	unsigned turn, fd_hot, spin_miss;
	uint64_t fds_at;                 /* when descriptors were looked at last */
	int n_cpus;
	struct wf_poll poll;
	int bell_fd, timer_fd;
	struct wf_watch bell_watch, timer_watch;
	uint64_t timer_at;
	struct wf_port *port[WF_TR_MAX];   /* by ctx->tr index; NULL: not opened yet */
	struct wf_port *open[WF_TR_MAX], *lead;   /* those that are opened; where something moved last */
	unsigned n_open;
	uint64_t port_wake[WF_TR_MAX];
	struct wf_pool ops, eps, ctls, copies, rmas, msgs, remotes, opens, replies;
	struct wf_list switching;        /* struct wf_switch */
	uint32_t ports_changed;          /* a bit for each transport: wf_port_changed() */
	struct wf_list eps_list, dying, graves, listeners, incoming, revokes;
	struct wf_list events;
	size_t n_events;
	weft_event *out, *out_end;       /* inside weft_reap(): room at the user's */
	struct wf_match match;
	struct wf_heap deadlines;
	struct wf_map am_handlers;
	size_t unexpected;               /* bytes kept for nobody yet */
	bool pressure;
	struct wf_list stalled;
	void *buf_cache[WF_BUF_CLASSES];
	unsigned buf_cached[WF_BUF_CLASSES];
	struct weft_listener *home;      /* of weft_address() */
	uint8_t uuid[WF_UUID], secret[WF_UUID];
	uint32_t next_lane, next_ep;
	unsigned n_incoming;
	atomic_bool ctx_work;            /* the context has something for us to do: grants revoked, memory freed */
	struct wf_list regions_gone;     /* under ctx->lock */
	/* counters */
	uint64_t n_progress, n_arm, n_arm_again, n_sleep, n_wake_empty, n_fd_polls, n_ops, n_done_now, n_events_total;
	struct wf_counts past;             /* of endpoints that are gone, and of lanes that are closed */
};

/* ---- memory, grants ------------------------------------------------------------------------------------------------------ */

struct weft_mem {
	struct weft_ctx *ctx;
	struct wf_list link;
	struct wf_region region;
	void *map;                       /* that the region lies in; NULL: the caller's memory */
	size_t map_len;
	unsigned n_grants;
	atomic_uint users;               /* operations that hold it */
};

struct wf_grant {
	uint64_t id;
	struct weft_mem *mem;
	uint64_t only_worker;            /* 0: whoever shows the token; else the one endpoint, by ids that are not used twice */
	uint32_t only_ep;
	uint64_t off, len;
	uint32_t access;
	uint8_t key[16];
	atomic_bool revoked;
	unsigned n_open;                 /* under ctx->lock, as the following */
	bool waiter;                     /* an operation waits for the end of the revocation */
	struct weft_worker *home;        /* of the endpoint that opened it first */
};

struct wf_open {                         /* a grant that a peer has opened, on the owner's side */
	struct wf_note note;             /* signal */
	struct wf_list link;             /* ep->opens */
	struct weft_ep *ep;
	struct wf_grant *grant;
	uint32_t peer_id;                /* the opener's remote id */
	uint32_t busy;                   /* answers being sent out of it */
	uint64_t hold;                   /* what the lane's transport holds for it, see mem_offer; 0: nothing */
	bool revoke_sent, closed;
	uint64_t sum, grant_id;
	weft_buf put_buf;                /* of the PUT that is being read from a socket */
};

enum { WF_REMOTE_OPENING, WF_REMOTE_OPEN, WF_REMOTE_FAILED };

struct weft_remote {
	struct wf_list link;             /* ep->remotes */
	struct weft_ep *ep;
	uint8_t state;
	bool closed, has_direct;
	uint32_t users;                  /* pending operations */
	uint32_t started;                /* of them, in the transport's hands */
	uint32_t open_id, access;
	uint64_t len;
	int32_t status;
	struct wf_direct direct;
};

/* ---- guard.h-like: every public call on a worker is between these ---------------------------------------------------- */

int wf_enter_slow(struct weft_worker *w, uintptr_t me);
void wf_leave_slow(struct weft_worker *w);

/* A number of this thread's own, never 0. */
static inline uintptr_t wf_thread_me(void)
{
#if defined(__x86_64__) && __GNUC__ >= 11
	return (uintptr_t)__builtin_thread_pointer();   /* what pthread_self() returns, without the call */
#else
	return (uintptr_t)pthread_self();
#endif
}

/* 0, or WEFT_ETHREAD, WEFT_EFORKED. Nests. The check of owner_thread is plain loads and stores, not a lock: two threads
 * that enter in the very same nanoseconds may both get in; every longer overlap is found. */
static inline int wf_enter(struct weft_worker *w)
{
	uintptr_t me = wf_thread_me();

	if (wf_unlikely(w->shared || wf_forkmark_is_forked(&w->ctx->fork) ||
			atomic_load_explicit(&w->owner_thread, memory_order_relaxed)))
		return wf_enter_slow(w, me);
	atomic_store_explicit(&w->owner_thread, me, memory_order_relaxed);
	w->depth = 1;
	return 0;
}

static inline void wf_leave(struct weft_worker *w)
{
	if (wf_unlikely(w->shared)) {
		wf_leave_slow(w);
		return;
	}
	if (--w->depth == 0)
		atomic_store_explicit(&w->owner_thread, 0, memory_order_relaxed);
}

/* ---- ctx.c, registry.c ---- */
int wf_registry_open(struct weft_ctx *ctx);
void wf_registry_close(struct weft_ctx *ctx);
/* Every name in @list must be one of ours: a misspelt transport must not silently mean "none". Fails with @status. */
int wf_transport_names_check(const char *list, int32_t status, const char *object);

bool wf_transport_allowed(const struct weft_ctx *ctx, unsigned i, const char *allow);
/* One that must be asked for (WF_CAP_OPT_IN): do the settings, or a connection's own list (may be NULL), name it? Others: yes. */
bool wf_transport_is_named(const struct wf_conf *conf, const struct wf_transport *tr, const char *allow);

static inline bool wf_is_traced(struct weft_ctx *ctx)
{
	return atomic_load_explicit(&ctx->trace, memory_order_relaxed) != NULL;
}

/* ---- worker.c ---- */
struct wf_port *wf_worker_port(struct weft_worker *w, unsigned i);   /* opens it when needed; NULL: see last error */
unsigned wf_worker_port_index(const struct weft_worker *w, const struct wf_port *p);
void wf_worker_note(struct weft_worker *w, struct wf_note *n);
void wf_worker_unnote(struct weft_worker *w, struct wf_note *n);
void wf_worker_bury(struct weft_worker *w);
/* @l, the lane of @ep, is told "not now": it may offer its frame again from the next turn on. */
void wf_ep_stall(struct weft_ep *ep, struct wf_lane *l);
void wf_worker_bury_now(struct weft_worker *w);                 /* from a call that is not inside progress */
int wf_worker_turn(struct weft_worker *w);
void wf_worker_tell_sleepers(struct weft_worker *w);            /* SHARED, at the end of a call: of what it has done */
int wf_worker_wait(struct weft_worker *w, uint64_t deadline_ns);   /* OK: events wait; AGAIN: woken; WEFT_ETIMEDOUT */
void wf_worker_disarm(struct weft_worker *w);
int wf_worker_wait_op(struct weft_worker *w, weft_op op, uint64_t deadline_ns);   /* BY_HANDLE: OK: done; WEFT_ETIMEDOUT, WEFT_ESTALE */
struct wf_lane *wf_lane_new(struct weft_worker *w, unsigned tr_index, struct wf_owner *owner);
void wf_lane_bury(struct weft_worker *w, struct wf_lane *l);   /* closes it at the end of progress */
void wf_lane_free(struct wf_lane *l);                           /* tr->lane_close and memory, now */

/* ---- op.c ---- */
void wf_op_first_use(struct weft_worker *w, struct wf_op *op);   /* of its slot in the pool */
struct wf_op *wf_op_new(struct weft_worker *w, struct weft_ep *ep, const struct wf_kind *kind, const weft_call *call);
int wf_op_bufs(struct wf_op *op, const weft_buf *b, size_t n, uint64_t len);   /* 0 or status; the array is copied, mems held */
int wf_op_own(struct wf_op *op);                                /* COPY: copies the bytes */
void wf_op_drop(struct wf_op *op);                              /* a refused one: nobody is told */
void wf_op_done(struct wf_op *op, int32_t status);              /* once; waits for inflight */
int wf_op_answer(struct wf_op *op, weft_call *call);            /* what a posting call returns: OK when it is done already */
/* 32-bit ids for frames: 20 bits of index, 12 of generation. What may be answered late carries more (see frame.h). */
static inline uint32_t wf_wire_id(const void *obj)
{
	return wf_pool_gen(obj) >> 1 << 20 | (wf_pool_index(obj) & 0xfffff);
}

static inline void *wf_by_wire_id(const struct wf_pool *pool, uint32_t id)
{
	void *obj = wf_pool_at(pool, id & 0xfffff);

	return obj && wf_pool_is_used(obj) && wf_wire_id(obj) == id ? obj : NULL;
}

/* A status that a peer sent as -aux: one of ours, or WEFT_EPROTO. */
static inline int32_t wf_foreign_status(uint16_t aux)
{
	return -(int32_t)aux >= WEFT_STATUS_MIN_ ? -(int32_t)aux : WEFT_EPROTO;
}

uint32_t wf_op_wire_id(const struct wf_op *op);
struct wf_op *wf_op_by_wire_id(struct weft_worker *w, uint32_t id, const struct weft_ep *ep, const struct wf_kind *kind);
void wf_op_quiet(struct wf_op *op);                             /* one that is lent: its frames are gone */
void wf_op_stop(struct wf_op *op, int32_t status);
void wf_op_stop_parts(struct wf_op *whole);                     /* of a batch or a worker's flush */
void wf_op_part_ended(struct wf_op *part);                      /* on_end of each: the last one ends the whole */
void wf_worker_expire(struct weft_worker *w, uint64_t now);
int wf_call_refuse(const weft_call *call);                      /* the slow halves of the next two: they say what is wrong */
int wf_bufs_check_all(const weft_buf *b, size_t n, uint64_t *len_out);

#define WF_CALL_FLAGS (WEFT_SYNC | WEFT_COPY | WEFT_BY_HANDLE | WEFT_NO_EVENT | WEFT_ALL)

static inline int wf_call_check(const weft_call *call)
{
	if (wf_likely(!call || (call->size >= sizeof(*call) && !(call->flags & ~(uint32_t)WF_CALL_FLAGS) && !call->stream)))
		return 0;
	return wf_call_refuse(call);
}

static inline int wf_bufs_check(const weft_buf *b, size_t n, uint64_t *len_out)
{
	if (wf_likely(n == 1 && b && (b->addr || !b->len) && !b->kind && b->len <= WF_MSG_MAX)) {
		*len_out = b->len;
		return 0;
	}
	return wf_bufs_check_all(b, n, len_out);
}

/* ---- ep.c ---- */
struct weft_ep *wf_ep_new(struct weft_worker *w, const weft_conn_opts *o);
void wf_ep_fail(struct weft_ep *ep, int32_t status, int sys_errno, const char *cause);
void wf_ep_boot_down(struct weft_ep *ep, int32_t status, int sys_errno, const char *cause);   /* fails it, soon or now */
void wf_ep_free_if_gone(struct weft_ep *ep);
int wf_ep_refuse(struct weft_ep *ep);                           /* says why not */
/* May operations be posted? 0 or status with wf_fail. */
static inline int wf_ep_check(struct weft_ep *ep)
{
	return wf_likely(ep->state <= WF_EP_READY && !ep->released && !ep->dying && !ep->closing) ? 0 : wf_ep_refuse(ep);
}
bool wf_ep_bury(struct weft_ep *ep);                            /* true: done with */
void wf_ep_ready(struct weft_ep *ep, struct wf_lane *msg);
void wf_ep_use(struct weft_ep *ep, struct wf_lane *l);          /* for messages, from here on; what waited for that goes on */
void wf_ep_object(const struct weft_ep *ep, char *out, size_t cap);
void wf_ep_ops_moved(struct weft_ep *ep);                       /* a pending op is gone: a flush or close may be first now */
int wf_ep_close_down(struct weft_ep *ep, weft_call *call);      /* weft_ep_close() of one that is down */
void wf_ep_forget_refs(struct weft_ep *ep);                     /* the worker ends: whoever still names it does not count */

/* ---- switch.c ---- */
bool wf_switch_begin(struct weft_ep *ep, const char *cause);    /* its message lane is down; false: cannot be replaced */
int wf_switch_heard(struct weft_ep *ep, const struct wf_frame *h);
bool wf_switch_holds(struct weft_ep *ep, struct wf_lane *l);    /* frames of @l have to wait */
void wf_switch_step(struct weft_worker *w);
bool wf_switch_is_due(const struct weft_worker *w);
void wf_switch_drop(struct weft_ep *ep);

/* ---- renew.c; "heard" answers 0 or a status ---- */
bool wf_renew_note(struct weft_ep *ep, const char *cause);      /* its message lane broke; false: no memory */
void wf_renew_begin(struct weft_ep *ep);                        /* and the bootstrap lane has taken over */
int wf_renew_heard(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
bool wf_renew_is_of(const struct weft_ep *ep, const struct wf_lane *l);   /* a lane to be: its frames wait */
bool wf_renew_holds(const struct weft_ep *ep);                  /* nothing is sent until the peer has moved, too */
struct wf_lane *wf_renew_lane(const struct weft_ep *ep);        /* the lane to be, when the peer's side is known; or NULL */
bool wf_renew_lane_up(struct weft_ep *ep, const struct wf_lane *l);   /* false: not its lane, as the next */
bool wf_renew_lane_down(struct weft_ep *ep, const struct wf_lane *l, int32_t status, int sys_errno, const char *cause);
void wf_renew_step(struct weft_worker *w);                      /* ports have changed */
void wf_renew_drop(struct weft_ep *ep);

/* ---- tx.c ---- */
/* A frame of the bootstrap lane's own, behind others that wait for room there. 0, or < 0: it is broken. */
int wf_ep_say(struct weft_ep *ep, const struct wf_frame *h, const void *payload);
/* The same, about a transport: its name, then @len <= WF_SAY_MAX bytes. Sets h->len. */
int wf_ep_say_of(struct weft_ep *ep, struct wf_frame *h, const struct wf_transport *tr, const void *p, size_t len);
bool wf_ep_said(struct weft_ep *ep);                            /* sends what waits; true: all of it */
void wf_ep_forget_descs(struct weft_ep *ep);                    /* what waits describes nothing of a lane that broke any more */
void wf_ep_repeat(struct weft_ep *ep, struct wf_list *at, const struct wf_frame *h, const void *payload);
void wf_ep_ctl(struct weft_ep *ep, uint8_t type, uint8_t flags, uint16_t aux, uint32_t id, uint64_t tag, const void *payload, size_t len);
void wf_ctl_free(struct weft_ep *ep, struct wf_ctl *c);
bool wf_ep_owes_too_much(const struct weft_ep *ep);
void wf_ep_queue(struct weft_ep *ep, struct wf_op *op);         /* at the back of txq, and kicks */
void wf_ep_queue_bulk(struct weft_ep *ep, struct wf_op *op);
void wf_ep_unqueue(struct wf_op *op);
void wf_ep_kick(struct weft_ep *ep);
int wf_op_tx(struct wf_op *op, struct wf_tx *tx);               /* wf_ep_tx that counts inflight */
static inline bool wf_ep_can_send(const struct weft_ep *ep)
{
	return ep->state == WF_EP_READY && !ep->blocked && wf_list_is_empty(&ep->txq);
}

/* ---- msg.c, unexpected.c ---- */
extern const struct wf_kind wf_kind_send, wf_kind_recv, wf_kind_am_send, wf_kind_am_recv;
int wf_in_eager(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_in_rts(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_in_am(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
struct wf_msg *wf_msg_new(struct weft_ep *ep, uint8_t kind, size_t data_len);
void wf_msg_free(struct wf_msg *m);
void wf_msg_keep(struct wf_msg *m);                              /* matchable: to a receive, else among the unexpected */
void wf_msg_deliver(struct wf_msg *m, struct wf_op *recv);       /* gives a kept message to a receive */
void wf_msg_pressure(struct weft_worker *w);
void wf_ep_tell_pressure(struct weft_ep *ep);                    /* when it does not know yet */
bool wf_msg_room(struct weft_ep *ep, size_t bytes);
void wf_msg_cache_free(struct weft_worker *w);
void wf_recv_drop_all(struct weft_worker *w);                    /* receives from any, when the worker ends */
int wf_sink_eager(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h);
void wf_recv_finish(struct wf_op *op, uint64_t tag, uint64_t len, int32_t status);
void wf_recv_bind(struct wf_op *op, struct weft_ep *ep);
void wf_recv_take(struct wf_op *op, struct weft_ep *ep, uint64_t tag, uint64_t len);   /* all of a message of @ep is in its buffers */
void wf_sink_into_msg(struct wf_lane *l, struct wf_msg *m, uint64_t tag, uint64_t len, uint64_t frame_len);
int wf_send_push(struct weft_ep *ep, struct wf_txitem *it);

/* ---- am.c ---- */
void wf_am_release(struct weft_worker *w, weft_event *e);
void wf_am_end_receive(struct wf_msg *m, bool received);         /* its am_recv has ended */
void wf_am_unbind_all(struct weft_worker *w);

/* ---- rndv.c ---- */
int wf_rndv_offer(struct wf_op *op);                             /* sends RTS; WEFT_OK or WEFT_AGAIN */
void wf_rndv_receive(struct wf_op *recv, struct wf_msg *m);      /* matched: get the bytes */
void wf_rndv_refuse(struct wf_msg *m);                           /* nobody wants the bytes: sender is done */
void wf_rndv_cancel_send(struct wf_op *op);
void wf_rndv_cancel_recv(struct wf_op *op);
void wf_rndv_stop_copies(struct wf_op *op);
struct wf_copy *wf_copy_new(struct wf_op *op, uint64_t len, bool sender);
void wf_copy_free(struct wf_op *op);
void wf_recv_copy_done(struct wf_op *op, int32_t status);
int wf_in_rndv_recv(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_in_rndv(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_sink_data(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h);

/* ---- stream.c ---- */
int wf_in_stream(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_in_credit(struct weft_ep *ep, const struct wf_frame *h);
void wf_stream_end(struct weft_ep *ep, int32_t status);
void wf_stream_free(struct weft_ep *ep);

/* ---- rma.c, rma_target.c, mem.c ---- */
int wf_in_rma(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);        /* answers, at the opener */
int wf_in_rma_target(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p); /* requests, at the owner */
int wf_sink_put(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h);
int wf_sink_got(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h);
void wf_rma_ep_down(struct weft_ep *ep);
void wf_rma_was_done(struct wf_op *put);                         /* one that waits to be done once more */
void wf_rma_offer_again(struct weft_ep *ep);                     /* what the peer has open, over a new lane */
void wf_rma_remotes_down(struct weft_ep *ep);                    /* the lane is closed: remotes reach nothing any more */
void wf_revoke_step(struct weft_worker *w);
void wf_revoke_drop_all(struct weft_worker *w);
void wf_grants_forget(struct weft_worker *w);
void wf_ctx_wake_workers(struct weft_ctx *ctx);                  /* under ctx->lock: each looks at ctx_work */
void wf_mem_gone_step(struct weft_worker *w);                    /* tells our peers of memory that was freed */
void wf_mem_gone_drop(struct weft_worker *w);
void wf_grant_unopen(struct wf_open *o);
size_t wf_reply_size(void);
const struct wf_region *wf_bufs_region(const weft_buf *b, size_t n);
extern const struct wf_kind wf_kind_flush, wf_kind_close;

/* ---- order.c: fence, flush, close ---- */
void wf_order_step(struct wf_op *op);                            /* a flush or close that is first among the pending */
int wf_in_order(struct weft_ep *ep, const struct wf_frame *h);
void wf_order_closed(struct weft_ep *ep);                        /* the peer has closed: answer, as soon as there is room */

/* ---- connect.c, listener.c, address.c ---- */
void wf_conn_lane_up(struct weft_ep *ep, struct wf_lane *l);
void wf_conn_lane_down(struct weft_ep *ep, struct wf_lane *l, int32_t status, int sys_errno, const char *cause);
int wf_conn_say(struct weft_ep *ep, struct wf_lane *l, const void *p, size_t len);   /* LANE */
int wf_conn_heard(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p);
int wf_conn_frame(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h, const uint8_t *p);
void wf_conn_free(struct weft_ep *ep);
int wf_conn_accept(struct weft_worker *w, struct wf_lane *boot, const struct wf_hello *hello, const weft_conn_opts *o, struct weft_ep **out);
int wf_hello_make(struct weft_worker *w, struct wf_hello *h);
struct wf_incoming;
void wf_listener_free(struct wf_list *link);                     /* worker->listeners */
void wf_incoming_drop_all(struct weft_worker *w);
void wf_incoming_down(struct wf_incoming *in);
int wf_incoming_frame(struct wf_incoming *in, const struct wf_frame *h, const uint8_t *p);
void wf_request_release(struct weft_worker *w, weft_event *e);
void wf_request_drop_all(struct weft_ctx *ctx);
void wf_requests_forget(struct weft_worker *w);                   /* the worker ends: reaped ones may be accepted elsewhere */
int wf_url_check(const struct wf_url *u, const char *text);

/* ---- stats.c ---- */
void wf_stats_keep_lane(struct weft_worker *w, struct wf_lane *l);         /* before it is closed, or another takes over */
void wf_stats_keep_ep(const struct weft_ep *ep);                           /* before it is gone */

/* ---- trace.c ---- */
void wf_trace_op(struct weft_ctx *ctx, const char *name, const struct weft_worker *w, uint64_t t0, uint64_t t1, uint64_t len, uint64_t tag, int32_t status);

#include "core/quick.h"

#endif
