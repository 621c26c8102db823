/* SPDX-License-Identifier: BSD-3-Clause
 *
 * weft.h - the whole public API of weft, in reading order.
 *
 * Answers. A function that posts an operation returns
 *   WEFT_OK       done: nobody will touch the buffers again, call->event says what came of it, no event will follow;
 *   WEFT_PENDING  accepted: exactly one completion will follow, whatever happens to the endpoint;
 *   < 0           refused (a WEFT_E* status, all negative): nothing was posted, none will follow;
 *                 weft_last_error() has the sentence.
 * What goes wrong after acceptance is a completion with a negative status, also when it is known at once (WEFT_OK is
 * returned and call->event.status is negative: a truncated receive, say). A full lane is never a refusal: the
 * operation waits inside. Zero bytes are a message like any other.
 *
 * Done and acknowledged. A send that is done has given its buffer back, no more. That the peer has it is known when a
 * WEFT_SYNC send or a flush is done. Frames carry sequence numbers, so a lane that breaks can be replaced without
 * losing or doubling what was accepted.
 *
 * Quiet. A completion comes only when no NIC, GPU or peer can touch the buffer any more; quiet goes before deadline. A
 * deadline or a cancel asks at once; the completion may have to wait for a peer that is in the middle of copying, or
 * for its death, or for the lane to be torn down.
 *
 * Order. Tagged messages of an endpoint are matched in the order of posting; so are active messages among themselves,
 * and the bytes of the stream. Nothing is promised between the three, or for one-sided operations, except across
 * weft_fence(): all that is posted on the endpoint after it takes effect at the peer after all that was before.
 *
 * Threads. A worker and what hangs on it is used by one thread at a time; a call from a second thread at the same time
 * is an error, not a crash. With WEFT_SHARED every call on it, progress included, may come from any thread.
 *
 * Words of ownership, used in one meaning everywhere: a call *borrows* what it needs only until it returns, is *lent*
 * what it gives back with the completion, *takes* what is the library's from then on, and *gives* what is the caller's.
 *
 * Unless its comment says so, no function blocks. Times are nanoseconds of CLOCK_MONOTONIC, lengths are bytes.
 */
#ifndef WEFT_H
#define WEFT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_API __attribute__((visibility("default")))

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

typedef struct weft_ctx weft_ctx;           /* the library, opened: settings, transports, devices            */
typedef struct weft_config weft_config;
typedef struct weft_worker weft_worker;     /* a unit of progress: matching, event ring, one fd              */
typedef struct weft_listener weft_listener;
typedef struct weft_request weft_request;   /* a connection that waits for accept or reject                  */
typedef struct weft_ep weft_ep;             /* one side of a connection                                      */
typedef struct weft_mem weft_mem;           /* local memory that weft knows: registered, allocated, imported */
typedef struct weft_remote weft_remote;     /* memory of the peer that was granted to us                     */
typedef struct weft_message weft_message;   /* a probed message, taken and not yet received                  */
typedef struct { uint64_t v; } weft_op;     /* names a pending operation; stale is an error, never a crash   */
typedef struct { uint64_t v; } weft_grant;  /* names a grant of one weft_mem                                 */

/* ---- statuses ------------------------------------------------------------------------------------------------- */

/* What a failure breaks, from the smallest to the largest. */
enum {
	WEFT_SCOPE_CALL = 1,                /* this call did nothing; all else works                         */
	WEFT_SCOPE_OP = 2,                  /* this operation is over; the endpoint works                    */
	WEFT_SCOPE_EP = 3,                  /* this endpoint is over; the worker works                       */
	WEFT_SCOPE_WORKER = 4,              /* the worker, or all of weft in this process                    */
};

/* The one list of failures: name, value, scope, text. Enum, names, Python classes and documents are made from it. */
#define WEFT_STATUS_MAP(X)                                                                        \
	X(EINVAL, -1, CALL, "argument not allowed")                                               \
	X(ENOMEM, -2, CALL, "out of memory")                                                      \
	X(ESETTING, -3, CALL, "unknown setting or bad value")                                     \
	X(EURL, -4, CALL, "malformed URL or address")                                             \
	X(EBUSY, -5, CALL, "still in use")                                                        \
	X(ETHREAD, -6, CALL, "worker is in use by another thread")                                \
	X(EFORKED, -7, WORKER, "made before fork(); not usable in the child")                     \
	X(ESTALE, -8, CALL, "handle names nothing that is pending")                               \
	X(ENOTSUP, -9, CALL, "not available here")                                                \
	X(EADDRINUSE, -10, CALL, "address already in use")                                        \
	X(ELIMIT, -11, CALL, "a limit of the system or of a setting is reached")                  \
	X(ESYSTEM, -12, CALL, "the system refused")                                               \
	X(ECANCELED, -13, OP, "cancelled")                                                        \
	X(ETIMEDOUT, -14, OP, "deadline passed")                                                  \
	X(ETRUNCATED, -15, OP, "message longer than the buffer")                                  \
	X(EACCESS, -16, OP, "remote memory not granted for this")                                 \
	X(EBOUNDS, -17, OP, "outside the granted range")                                          \
	X(EREVOKED, -18, OP, "grant was revoked")                                                 \
	X(ECLOSED, -19, EP, "endpoint is closed")                                                 \
	X(ERESET, -20, EP, "peer is gone or the connection broke")                                \
	X(EREFUSED, -21, EP, "nobody accepts connections there")                                  \
	X(EUNREACHABLE, -22, EP, "no way to that host")                                           \
	X(EREJECTED, -23, EP, "peer rejected the connection")                                     \
	X(EPROTO, -24, EP, "peer broke the protocol or speaks another")                           \
	X(EVERSION, -25, EP, "peer speaks no version that we speak")                              \
	X(EABORTED, -26, EP, "endpoint was aborted")

#define WEFT_STATUS_ENUM_(name, value, scope, text) WEFT_##name = value,
enum {
	WEFT_OK = 0,
	WEFT_PENDING = 1,
	WEFT_AGAIN = 2,
	WEFT_STATUS_MAP(WEFT_STATUS_ENUM_)
	WEFT_STATUS_MIN_ = -26,
};

/* ---- values --------------------------------------------------------------------------------------------------- */

enum { WEFT_HOST = 0, WEFT_CUDA = 1, WEFT_ROCM = 2, WEFT_KIND_AUTO = 0xffff };   /* weft_buf.kind              */

enum {                                      /* weft_call.flags                                               */
	WEFT_SYNC = 1u << 0,                /* sends: done when the peer has matched it                      */
	WEFT_COPY = 1u << 1,                /* sends and puts: the buffers are free when the call returns    */
	WEFT_BY_HANDLE = 1u << 2,           /* completion is taken by weft_test or weft_wait, not reaped     */
	WEFT_NO_EVENT = 1u << 3,            /* no completion is reported at all                              */
	WEFT_ALL = 1u << 4,                 /* weft_stream_recv: fill the buffers                            */
};

enum { WEFT_SHARED = 1u << 0 };             /* weft_worker_opts.flags                                        */
enum { WEFT_WANT_STREAM = 1u << 0 };        /* weft_conn_opts.flags: report WEFT_EV_STREAM                   */

enum { WEFT_READ = 1, WEFT_WRITE = 2, WEFT_ATOMIC = 4 };   /* access rights of a registration or a grant     */

enum {                                      /* weft_atomic, all of them return the old value                 */
	WEFT_ATOMIC_ADD = 1, WEFT_ATOMIC_AND, WEFT_ATOMIC_OR, WEFT_ATOMIC_XOR, WEFT_ATOMIC_SWAP, WEFT_ATOMIC_CAS,
	WEFT_ATOMIC_32BIT = 0x100,          /* added: on a uint32_t; without it on a uint64_t                */
};

enum {                                      /* weft_event.kind                                               */
	WEFT_EV_OP = 1,                     /* an operation ended                                            */
	WEFT_EV_CONNECTED,                  /* ep is connected; user_data is the endpoint's in all that follow */
	WEFT_EV_REQUEST,                    /* data: weft_request; user_data is the listener's               */
	WEFT_EV_AM,                         /* active message: value its id, data its header, len its payload */
	WEFT_EV_STREAM,                     /* bytes arrived and no stream receive was posted                */
	WEFT_EV_SIGNAL,                     /* weft_put_signal of a peer landed: value the sum, tag the grant */
	WEFT_EV_DOWN,                       /* ep failed or its peer closed it; status says why; close or abort it */
	WEFT_EV_LISTENER,                   /* a listener failed for good; user_data is the listener's       */
};

typedef struct {                            /* a piece of memory; zero the rest                              */
	void *addr;
	size_t len;                         /* bytes */
	weft_mem *mem;                      /* when it lies in registered memory; else NULL                  */
	uint16_t kind;                      /* WEFT_HOST (0), WEFT_CUDA, WEFT_ROCM, WEFT_KIND_AUTO           */
	int16_t device;
	uint32_t reserved;
} weft_buf;

typedef struct {                            /* what happened; size first, so that it can grow                */
	uint32_t size, kind;                /* WEFT_EV_*                                                     */
	int32_t status;                     /* 0 or negative                                                 */
	uint32_t path;                      /* which lane carried it: an index that weft_explain() names     */
	uint64_t user_data;
	weft_op op;
	weft_ep *ep;                        /* also the source of a received message                         */
	uint64_t tag, len;                  /* of the message as sent; a truncated one filled the buffer and is consumed */
	uint64_t value;                     /* atomics: the old value; signal: the sum; AM: its id; truncated: bytes delivered */
	void *data;                         /* AM header, connection request; borrowed until weft_event_release() */
	size_t data_len;
} weft_event;

typedef struct {                            /* how to post, and what came of it; NULL means all defaults     */
	uint32_t size, flags;               /* sizeof(weft_call); WEFT_SYNC, WEFT_COPY, ...                  */
	uint64_t user_data;                 /* comes back in the event                                       */
	uint64_t deadline_ns;               /* CLOCK_MONOTONIC; 0 none                                       */
	void *stream;                       /* CUDA or HIP stream that the operation comes after             */
	weft_ep *from;                      /* receives: this endpoint only; NULL any of the worker          */
	weft_op op;                         /* out, on WEFT_PENDING                                          */
	weft_event event;                   /* out, on WEFT_OK                                               */
} weft_call;

typedef struct {
	uint32_t size;
	int32_t status;
	int sys_errno;                      /* 0 where the system had no part in it                          */
	uint32_t scope;                     /* WEFT_SCOPE_*                                                  */
	const char *object, *cause, *remedy;   /* remedy may be NULL                                         */
} weft_error;

typedef struct {
	weft_buf local;
	weft_remote *remote;
	uint64_t offset;                    /* in the granted range, bytes                                   */
	uint32_t is_get, reserved;
} weft_rma;

typedef struct weft_worker_opts {
	uint32_t size, flags;               /* sizeof(weft_worker_opts); WEFT_SHARED                         */
	uint32_t ops_max;                   /* bound on pending operations and unreaped events; 0: 1 Mi      */
	uint32_t reserved;
} weft_worker_opts;

typedef struct weft_conn_opts {
	uint32_t size, flags;               /* sizeof(weft_conn_opts); WEFT_WANT_STREAM                      */
	uint64_t user_data;                 /* of the endpoint or listener; comes back in its events         */
	const char *auth;                   /* must be NULL in this version                                  */
	const char *allow;                  /* transports that may be used, "shm,tcp"; NULL: the setting     */
	uint64_t deadline_ns;               /* for being connected; 0: setting connect_timeout               */
} weft_conn_opts;

typedef void (*weft_log_fn)(void *arg, int level, const char *line);   /* any thread that calls weft; must not call weft */
/* Called by weft_progress & co. on the progress thread; must not block or post-and-wait; may post. */
typedef void (*weft_am_fn)(void *arg, weft_worker *w, const weft_event *am);

enum { WEFT_LOG_ERROR = 1, WEFT_LOG_WARN, WEFT_LOG_INFO, WEFT_LOG_DEBUG, WEFT_LOG_TRACE };

/* ---- library, settings, errors -------------------------------------------------------------------------------- */

/* Version of the library that runs: major << 16 | minor << 8 | patch. */
WEFT_API uint32_t weft_version(void);

/* Name of a status, "WEFT_ERESET"; "WEFT_?" for a number that is none. Static. */
WEFT_API const char *weft_status_name(int32_t status);

/* This thread's last refusal; never NULL. Valid until the thread's next call that fails. */
WEFT_API const weft_error *weft_last_error(void);

/* Why @e has a negative status, with object, cause and remedy; a blank error for status 0. Its ep must not have been
 * freed. Valid until this thread's next call of this function. */
WEFT_API const weft_error *weft_event_error(const weft_event *e);

/* One line for people: "object: cause: system's text (STATUS); remedy". The system's text is left out where the cause has
 * it. Always terminated when cap > 0. Returns the length that the whole line has, as snprintf does. */
WEFT_API size_t weft_error_text(const weft_error *e, char *out, size_t cap);

/* Settings: defaults, then the calibration (a file that the setting of that name names), then the file named by
 * WEFT_CONFIG, then WEFT_<KEY> of the environment.
 * Gives *out. Returns WEFT_OK; WEFT_ESETTING (names the line or variable and the nearest key); WEFT_ENOMEM. */
WEFT_API int weft_config_new(weft_config **out);

/* Changes a setting, by code. Borrows both. A calibration set so is read by weft_open(). Returns WEFT_OK; WEFT_ESETTING: unknown key (names the nearest) or bad value. */
WEFT_API int weft_config_set(weft_config *c, const char *key, const char *value);

/* Reads a setting as text; *origin (may be NULL) becomes "default", "calibrated", "file", "env" or "code", static. With key
 * "#N" reads the N-th key's name, for listing. Returns WEFT_OK; WEFT_ESETTING: no such key; WEFT_EINVAL: cap too small. */
WEFT_API int weft_config_get(const weft_config *c, const char *key, char *value, size_t cap, const char **origin);

/* Frees settings. Takes @c; NULL is allowed. */
WEFT_API void weft_config_free(weft_config *c);

/* Opens the library. Starts no thread and no process, makes no file, installs nothing. @c is borrowed; NULL: as
 * weft_config_new() gives it. Any number of contexts may live side by side.
 * Gives *out. Returns WEFT_OK; WEFT_ESETTING; WEFT_ENOMEM; WEFT_ESYSTEM. */
WEFT_API int weft_open(const weft_config *c, weft_ctx **out);

/* Closes the library. Takes @ctx. Returns WEFT_OK; WEFT_EBUSY (names what lives): nothing was closed. */
WEFT_API int weft_close(weft_ctx *ctx);

/* Measures from which length on a message between processes of this host is better sent by rendezvous than eager
 * (eager_max_shm), and stores it at @path: a text file for the setting `calibration`, with the figures, made anew or
 * replaced at once. Changes nothing in @ctx, whose settings hold (cma, shm_ring). Blocks for about @budget_ns (1 s is plenty,
 * 0.1 s may do) and keeps this thread busy; contexts of its own connect over 127.0.0.1, and are gone when it returns.
 * Measured is the work of both sides, done by this one thread in turn: neither trips between CPUs nor work side by side.
 * So a threshold leaves its default only as far as that is better by a tenth, and what two CPUs or hosts do together is not
 * measured: eager_max_tcp and copy_chunk stay as they are.
 * Returns WEFT_OK; WEFT_EINVAL: a NULL, an empty path, no time; WEFT_ETIMEDOUT: not enough time; WEFT_ENOTSUP: shm may not
 * or cannot be used; WEFT_EFORKED; WEFT_ENOMEM; the system's status when @path cannot be written, nothing changed then. */
WEFT_API int weft_calibrate(weft_ctx *ctx, const char *path, uint64_t budget_ns);

/* Lines up to @level (0: as the setting log says) go to @fn; NULL turns the log off (as it is at the start). Not while other threads use @ctx. */
WEFT_API void weft_log_set(weft_ctx *ctx, weft_log_fn fn, void *arg, int level);

/* ---- workers: progress, events, sleep ------------------------------------------------------------------------- */

/* Makes a worker. Gives *out. @o may be NULL. Returns WEFT_OK; WEFT_EINVAL; WEFT_ENOMEM; WEFT_ELIMIT: no descriptor left. */
WEFT_API int weft_worker_new(weft_ctx *ctx, const weft_worker_opts *o, weft_worker **out);

/* Frees a worker with all endpoints and listeners on it: they are aborted, unreaped events are dropped. Takes @w. Waits
 * for peers that are in the middle of a copy, at most for their death. Returns WEFT_OK; WEFT_ETHREAD. */
WEFT_API int weft_worker_free(weft_worker *w);

/* Moves what can move; a transport that is busy goes first, and now and then alone. Returns how many events wait to be reaped; WEFT_ETHREAD; WEFT_EFORKED. */
WEFT_API int weft_progress(weft_worker *w);

/* Gives up to @cap events in the order in which things ended; progresses when none waits. A handler of active messages that
 * it calls meanwhile, and that reaps itself, gets later ones than those that are given here. Returns their number; on misuse 0, see weft_last_error(). */
WEFT_API size_t weft_reap(weft_worker *w, weft_event *out, size_t cap);

/* Ends the borrowing of e->data: frees an AM's header and drops its payload if it was not received; rejects a request
 * that was neither accepted nor rejected. Needed for WEFT_EV_AM; harmless for every other event. */
WEFT_API void weft_event_release(weft_worker *w, weft_event *e);

/* Blocks until an event waits: spins shortly where that pays, then sleeps. Deadline 0: none.
 * Returns WEFT_OK: at least one waits; WEFT_AGAIN: weft_wake() was called; WEFT_ETIMEDOUT; WEFT_ETHREAD; WEFT_EFORKED. */
WEFT_API int weft_wait_any(weft_worker *w, uint64_t deadline_ns);

/* The worker's descriptor, for poll(), epoll and asyncio; readable only after weft_arm(). It stays the library's: do not
 * read, write or close it. */
WEFT_API int weft_worker_fd(weft_worker *w);

/* Makes ready for sleeping on the fd. Returns WEFT_OK: sleep, the fd turns readable at the next event or deadline; any other call
 * on the worker ends that promise (what it posts may be held back to go with more), so arm last;
 * WEFT_AGAIN: something waits, progress and reap first; WEFT_ETHREAD; WEFT_EFORKED. */
WEFT_API int weft_arm(weft_worker *w);

/* Makes the fd readable and ends a weft_wait_any(). Any thread, at any time. Returns WEFT_OK; WEFT_EFORKED. */
WEFT_API int weft_wake(weft_worker *w);

/* ---- connections: numeric addresses and names that weft_resolve() turned into them ------------------------------ */

/* "weft://name:port" to "weft://a.b.c.d:port,[v6]:port", all addresses in rank order. May block (DNS).
 * Returns WEFT_OK; WEFT_EURL; WEFT_EUNREACHABLE: no such name; WEFT_EINVAL: cap too small. */
WEFT_API int weft_resolve(const char *url, char *out, size_t cap);

/* Listens at "weft://0.0.0.0:0", "weft://[::]:7000", "weft://127.0.0.1:0". Each peer is a WEFT_EV_REQUEST on @w.
 * Gives *out. Returns WEFT_OK; WEFT_EURL; WEFT_EADDRINUSE; WEFT_EUNREACHABLE: not an address of this host;
 * WEFT_ENOTSUP: no transport that is allowed can listen; WEFT_ELIMIT; WEFT_ENOMEM; WEFT_ETHREAD. */
WEFT_API int weft_listen(weft_worker *w, const char *url, const weft_conn_opts *o, weft_listener **out);

/* The URL to connect to, with the port that was chosen. Returns WEFT_OK; WEFT_EINVAL: cap too small. */
WEFT_API int weft_listener_url(const weft_listener *l, char *out, size_t cap);

/* Ends listening. Takes @l. Connections that wait in it are refused; requests already reaped stay. Returns WEFT_OK;
 * WEFT_ETHREAD. */
WEFT_API int weft_listener_close(weft_listener *l);

/* Accepts a connection. Takes @r, also on failure. @w is any worker of the same context; the caller must be its thread.
 * Gives *out, usable at once; WEFT_EV_CONNECTED or WEFT_EV_DOWN follows. Returns WEFT_OK; WEFT_ENOMEM; WEFT_ETHREAD. */
WEFT_API int weft_accept(weft_request *r, weft_worker *w, const weft_conn_opts *o, weft_ep **out);

/* Rejects a connection. Takes @r. The connecting side gets WEFT_EV_DOWN with WEFT_EREJECTED, @why and @text (borrowed, at
 * most 200 bytes). */
WEFT_API int weft_reject(weft_request *r, int32_t why, const char *text);

/* Connects to @url. Gives *out, usable at once: operations wait inside until it is connected. WEFT_EV_CONNECTED or
 * WEFT_EV_DOWN follows; the latter's error names every address that was tried. Returns WEFT_OK; WEFT_EURL (also for a
 * name: see weft_resolve); WEFT_EINVAL; WEFT_ENOTSUP; WEFT_ENOMEM; WEFT_ETHREAD. */
WEFT_API int weft_connect(weft_worker *w, const char *url, const weft_conn_opts *o, weft_ep **out);

/* Gives the worker as a blob to hand to peers out of band (MPI, a scheduler); who has it may connect without being asked for:
 * the endpoint shows up here with WEFT_EV_CONNECTED. *len is the room in @out and becomes the blob's length.
 * Returns WEFT_OK; WEFT_EINVAL: too small, *len says what it takes (512 is enough); as weft_listen(). */
WEFT_API int weft_address(weft_worker *w, void *out, size_t *len);

/* Connects to a worker's blob, as weft_connect() does to a URL; nobody has to accept. */
WEFT_API int weft_connect_address(weft_worker *w, const void *address, size_t len, const weft_conn_opts *o, weft_ep **out);

/* Flushes, tells the peer, ends. Posts an operation: when it is done, @ep is gone. Until then what was posted goes on;
 * new operations, a second close among them, are refused with WEFT_ECLOSED. A deadline turns it into an abort, and so do
 * weft_cancel() and weft_ep_abort(). Returns as every posting call. */
WEFT_API int weft_ep_close(weft_ep *ep, weft_call *call);

/* Ends @ep now. Every pending operation on it still completes (WEFT_EABORTED) and @ep stays a valid value in those
 * events; with the last of them reaped it is gone. May be called while weft_ep_close() is pending, that is until its
 * completion is reaped. Who cannot know whether it was asks by weft_cancel() of the close first: when that returns WEFT_OK,
 * it was not. Returns WEFT_OK; WEFT_ETHREAD. */
WEFT_API int weft_ep_abort(weft_ep *ep);

/* Changes the endpoint's user_data, which comes back in all its events that follow. */
WEFT_API void weft_ep_set_user_data(weft_ep *ep, uint64_t user_data);

/* The peer's address as text, "127.0.0.1:4711". Returns WEFT_OK; WEFT_EINVAL: cap too small. */
WEFT_API int weft_ep_peer(const weft_ep *ep, char *out, size_t cap);

/* Our own address as text, the one that the peer's weft_ep_peer() names.
 * Returns WEFT_OK; WEFT_ECLOSED: not connected (any more); WEFT_EINVAL: cap too small. */
WEFT_API int weft_ep_local(const weft_ep *ep, char *out, size_t cap);

/* ---- memory and grants ------------------------------------------------------------------------------------------ */

/* Makes memory of the caller's known. @b is borrowed, the bytes are lent until weft_mem_free(). @access bounds what may
 * be granted. Gives *out. Returns WEFT_OK; WEFT_EINVAL; WEFT_ENOTSUP: no driver for that kind; WEFT_ENOMEM. */
WEFT_API int weft_mem_register(weft_ctx *ctx, const weft_buf *b, uint32_t access, weft_mem **out);

/* Allocates zeroed memory of which local peers can map the very pages: the fastest there is between processes.
 * Gives *out, all access rights. Returns WEFT_OK; WEFT_EINVAL; WEFT_ENOTSUP; WEFT_ENOMEM; WEFT_ELIMIT. */
WEFT_API int weft_mem_alloc(weft_ctx *ctx, size_t len, uint16_t kind, int16_t device, weft_mem **out);

/* Memory behind a dma-buf, or behind any other descriptor of which mmap() makes shared memory: @len bytes from @offset on, which
 * need not be a page's beginning. @dmabuf_fd is borrowed: weft keeps one of its own until weft_mem_free(). In this version the
 * CPU must reach the bytes, at weft_mem_addr(); there they are buffers of kind WEFT_HOST, whatever @kind says, and @device is not
 * looked at. RDMA adapters take the dma-buf itself where their driver can. What lies behind must not shrink meanwhile. Where the
 * CPU and a device do not see each other's caches, the caller keeps them apart (DMA_BUF_IOCTL_SYNC). Gives *out, all access rights.
 * Returns WEFT_OK; WEFT_EINVAL: no descriptor, 0 bytes, unknown kind, not open for reading and writing; WEFT_EBOUNDS: ends beyond the
 * memory; WEFT_ENOTSUP: it cannot be mapped, as most memory of GPUs; WEFT_ENOMEM; WEFT_ELIMIT. */
WEFT_API int weft_mem_import(weft_ctx *ctx, int dmabuf_fd, uint64_t offset, size_t len, uint16_t kind, int16_t device, weft_mem **out);

/* Address and (where @len is not NULL) length. */
WEFT_API void *weft_mem_addr(const weft_mem *m, size_t *len);

/* Frees memory, or forgets the caller's. Takes @m. Returns WEFT_OK; WEFT_EBUSY while granted or used by an operation: nothing was freed. */
WEFT_API int weft_mem_free(weft_mem *m);

/* Grants a range to the peer of @only, or with NULL to whoever shows the token. *token_len is the room in @token and
 * becomes the token's length (64 is enough). @access: WEFT_READ | WEFT_WRITE | WEFT_ATOMIC. The token is a secret.
 * Gives *out. Returns WEFT_OK; WEFT_EINVAL; WEFT_EBOUNDS; WEFT_EACCESS: more than was registered; WEFT_ENOMEM. */
WEFT_API int weft_grant_new(weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, weft_ep *only, void *token, size_t *token_len, weft_grant *out);

/* Takes the grant back. An operation: done when nobody can reach the memory through it any more. Peers that can reach it
 * without our help are asked and must agree or die. @call may be NULL only if the caller does not want to know. Posted
 * on the worker of an endpoint that opened it. Returns as every posting call; WEFT_ESTALE. */
WEFT_API int weft_grant_revoke(weft_mem *m, weft_grant g, weft_call *call);

/* Opens what a token grants. @token is borrowed. The peer is asked in the background: what it refuses fails the
 * operations on *out. Gives *out. Returns WEFT_OK; WEFT_EINVAL: not a token; WEFT_ECLOSED; WEFT_ENOMEM. */
WEFT_API int weft_remote_open(weft_ep *ep, const void *token, size_t token_len, weft_remote **out);

/* Gives up remote memory. Takes @r; operations on it that are pending still complete. NULL is allowed. */
WEFT_API void weft_remote_close(weft_remote *r);

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Sends @n buffers as one message. The array is borrowed, the bytes are lent (WEFT_COPY: borrowed). Returns as every
 * posting call; refusals: WEFT_EINVAL, WEFT_ECLOSED and the other EP statuses when @ep is down, WEFT_ENOMEM,
 * WEFT_ELIMIT, WEFT_ETHREAD, WEFT_EFORKED. So do all posting calls below. */
WEFT_API int weft_send(weft_ep *ep, const weft_buf *b, size_t n, uint64_t tag, weft_call *call);

/* Receives one message into @n buffers, from any endpoint of @w or from call->from: the first for which
 * (sent ^ tag) & mask == 0. Event: tag and len of the message as sent, ep its source; a longer one than the buffers fills
 * them and ends with WEFT_ETRUNCATED. */
WEFT_API int weft_recv(weft_worker *w, const weft_buf *b, size_t n, uint64_t tag, uint64_t mask, weft_call *call);

/* Looks for a message that no receive has matched. Returns WEFT_OK: call->event (call must not be NULL) describes it, and
 * with @take not NULL it is taken out and *take is given, for weft_recv_message() alone; WEFT_AGAIN: none; < 0. */
WEFT_API int weft_probe(weft_worker *w, uint64_t tag, uint64_t mask, weft_call *call, weft_message **take);

/* Receives a probed message. Takes @m unless it is refused. A cancelled one is put back among the unmatched. */
WEFT_API int weft_recv_message(weft_message *m, const weft_buf *b, size_t n, weft_call *call);

/* Sends an active message: @header (borrowed, at most 1024 bytes) arrives whole with the event, the payload is received
 * by weft_am_recv(). */
WEFT_API int weft_am_send(weft_ep *ep, uint32_t id, const void *header, size_t header_len, const weft_buf *b, size_t n, weft_call *call);

/* Receives the payload of a WEFT_EV_AM, once, before its weft_event_release(). */
WEFT_API int weft_am_recv(weft_worker *w, weft_event *am, const weft_buf *b, size_t n, weft_call *call);

/* Active messages with @id go to @fn instead of the ring; NULL undoes it. The event is released when @fn returns. No event
 * tells of it: for who sleeps in weft_wait_any() until @fn has run, @fn calls weft_wake().
 * Returns WEFT_OK; WEFT_ENOMEM; WEFT_ETHREAD. */
WEFT_API int weft_am_bind(weft_worker *w, uint32_t id, weft_am_fn fn, void *arg);

/* Sends bytes of the endpoint's stream. */
WEFT_API int weft_stream_send(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call);

/* Receives at least one byte of the endpoint's stream, with WEFT_ALL all that the buffers hold; event len says how many
 * came, also when it ends with a negative status. */
WEFT_API int weft_stream_recv(weft_ep *ep, const weft_buf *b, size_t n, weft_call *call);

/* ---- one-sided: a done put has given its buffer back, flush says that it is there --------------------------------- */

/* Writes @n buffers into the peer's memory, from byte @offset of what was granted. */
WEFT_API int weft_put(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call);

/* Reads the peer's memory into @n buffers, from byte @offset of what was granted. */
WEFT_API int weft_get(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, weft_call *call);

/* @n puts and gets in one call and one completion; the array is borrowed. The event has the first failure. */
WEFT_API int weft_rma_batch(weft_ep *ep, const weft_rma *v, size_t n, weft_call *call);

/* A put, after which @signal is added to the sum that the peer's WEFT_EV_SIGNAL for the grant reports. */
WEFT_API int weft_put_signal(weft_ep *ep, const weft_buf *b, size_t n, weft_remote *r, uint64_t offset, uint64_t signal, weft_call *call);

/* WEFT_ATOMIC_* on a naturally aligned integer; event.value is the old value. @compare is for WEFT_ATOMIC_CAS. One
 * executor for a region, so it is atomic among all paths (and with the owner's own C11 atomics). */
WEFT_API int weft_atomic(weft_ep *ep, uint32_t what, weft_remote *r, uint64_t offset, uint64_t operand, uint64_t compare, weft_call *call);

/* What is posted on @ep after it takes effect at the peer after all that was before; a message takes effect when it can
 * be matched. Returns WEFT_OK; WEFT_ECLOSED ... */
WEFT_API int weft_fence(weft_ep *ep);

/* Done when all that was posted before on @ep (NULL: on every endpoint of @w) is at the peer: puts are in its memory,
 * messages with its library. A message that stays with its sender until it is matched (a long one, WEFT_SYNC) is there
 * when it has been matched and fetched, so a flush waits for that; give it a deadline where the peer may not receive. */
WEFT_API int weft_flush(weft_worker *w, weft_ep *ep_or_null, weft_call *call);

/* ---- single operations --------------------------------------------------------------------------------------------- */

/* Looks whether a WEFT_BY_HANDLE operation is done. Progresses. Returns WEFT_OK: *out is its completion and the handle is
 * gone; WEFT_AGAIN: not yet; WEFT_ESTALE: no such operation (done and taken, or not BY_HANDLE). */
WEFT_API int weft_test(weft_worker *w, weft_op op, weft_event *out);

/* Waits for a WEFT_BY_HANDLE operation: as weft_test(), but blocks until it is done or, with WEFT_ETIMEDOUT, until
 * @deadline_ns (0: none; the operation goes on). */
WEFT_API int weft_wait(weft_worker *w, weft_op op, uint64_t deadline_ns, weft_event *out);

/* Asks an operation to end early; its one completion still comes: WEFT_ECANCELED, or as if nothing had been asked when it
 * was too late. A receive that had matched puts its message back first. Returns WEFT_OK: asked; WEFT_ESTALE. */
WEFT_API int weft_cancel(weft_worker *w, weft_op op);

/* ---- see inside ------------------------------------------------------------------------------------------------------ */

/* How things would go or go: of the library (both NULL: transports, why not, settings), of an endpoint, or of a URL.
 * Text, or with @json one JSON object. *len is the room in @out and becomes the length (without the final zero).
 * Returns WEFT_OK; WEFT_EINVAL: too small, *len says what it takes; WEFT_EURL. */
WEFT_API int weft_explain(weft_ctx *ctx, weft_ep *ep_or_null, const char *url_or_null, int json, char *out, size_t *len);

/* Counters as one JSON object: of an endpoint, of a worker with all endpoints that it has had, or with NULL summed over the
 * context's workers (not while other threads use them). As weft_explain() for @len. */
WEFT_API int weft_stats(weft_ctx *ctx, const void *worker_ep_or_null, char *out, size_t *len);

/* Writes a Chrome/Perfetto JSON trace of every operation to @fd (borrowed until stop). Returns WEFT_OK; WEFT_EBUSY. */
WEFT_API int weft_trace_start(weft_ctx *ctx, int fd);

/* Ends the trace and completes its JSON; harmless when there is none. Returns WEFT_OK; WEFT_EFORKED. */
WEFT_API int weft_trace_stop(weft_ctx *ctx);

/* In the child of a fork(): forgets everything and touches nothing that is shared with the parent. Takes @ctx and all that
 * hangs on it. (Without it every call on them is refused with WEFT_EFORKED.) Returns WEFT_OK; WEFT_EINVAL: not a child. */
WEFT_API int weft_after_fork(weft_ctx *ctx);

#ifdef __cplusplus
}
#endif
#endif
