/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far.h - the conformance suite with the second worker of a pair in another process, here or on another machine (conform_far).
 * The cases stay as they are: what they call of weft.h is wrapped by the linker (far_wrap.c). An object whose pointer is marked as
 * far is a handle into the other process; a call on it goes over a control connection, is carried out there (far_agent.c), and
 * brings back what it returned, the last error, events, and bytes:
 *
 *   buffers   of a send go along; those of a receive come back with the event that ends it. Meanwhile the other process works on
 *             copies, which it fences, so that a stray byte is found.
 *   memory    that is registered or allocated has a twin there as soon as far is granted or used. Before a call that may read it what
 *             the case has stored since is sent, and what has changed there comes back with events of either side: changed bytes only.
 *   handlers  of active messages run here, while the other process waits inside of its own and serves what they call.
 *
 * Deadlines travel as what is left of them: clocks of machines have nothing in common. Each case meets a new process, so that
 * leftovers of one do not concern the next; it counts its descriptors as this one does.
 */
#ifndef WT_FAR_H
#define WT_FAR_H
#include "conform/conform.h"

enum far_what {
	FAR_BEGIN = 1, FAR_END, FAR_SYNC, FAR_FDS, FAR_READABLE, FAR_PUMP, FAR_RETURN,
	FAR_OPEN, FAR_CLOSE, FAR_WORKER, FAR_WORKER_FREE, FAR_PROGRESS, FAR_REAP, FAR_RELEASE, FAR_ERROR, FAR_WAIT_ANY, FAR_ARM, FAR_WAKE,
	FAR_LISTEN, FAR_LISTENER_URL, FAR_LISTENER_CLOSE, FAR_ACCEPT, FAR_REJECT, FAR_CONNECT, FAR_ADDRESS, FAR_CONNECT_ADDRESS,
	FAR_ABORT, FAR_USER_DATA, FAR_PEER, FAR_LOCAL, FAR_MEMORY, FAR_MEM_FREE, FAR_GRANT, FAR_REMOTE, FAR_REMOTE_CLOSE,
	FAR_PROBE, FAR_BIND, FAR_FENCE, FAR_TEST, FAR_WAIT, FAR_CANCEL, FAR_EXPLAIN, FAR_STATS,
	FAR_POSTS, /* from here on: operations */
	FAR_SEND = FAR_POSTS, FAR_RECV, FAR_RECV_MESSAGE, FAR_AM_SEND, FAR_AM_RECV, FAR_STREAM_SEND, FAR_STREAM_RECV, FAR_PUT, FAR_GET,
	FAR_PUT_SIGNAL, FAR_ATOMIC, FAR_FLUSH, FAR_REVOKE, FAR_EP_CLOSE,
	FAR_WHATS,
};

enum { FAR_ARGS = 8, FAR_OUTS = 4, FAR_EVENTS = 64, FAR_SMALL = 64 << 10 };
enum { FAR_HANDLER = UINT32_MAX }; /* in the place of an answer: a handler is to be run */

/* How a buffer goes along. */
enum { FAR_RAW, FAR_COPY, FAR_IN_MEMORY };

/* ---- messages (far_wire.c) ---- */

struct far_buf {
	unsigned char *p;
	size_t len, cap, at;
};

void far_put(struct far_buf *b, const void *p, size_t len);
void far_put64(struct far_buf *b, uint64_t v);
/* A blob is preceded by its length; a text may be NULL. */
void far_put_blob(struct far_buf *b, const void *p, size_t len);
void far_put_text(struct far_buf *b, const char *text);
/* Borrowed from the message. What is not there ends the process: the other one is of the same build. */
const void *far_get(struct far_buf *b, size_t len);
uint64_t far_get64(struct far_buf *b);
const void *far_get_blob(struct far_buf *b, size_t *len);
const char *far_get_text(struct far_buf *b);

/* Whole messages; false: the other side is gone. */
bool far_say(int fd, const struct far_buf *b);
bool far_hear(int fd, struct far_buf *b);
void far_drop(struct far_buf *b);

/* "address:port". The socket, or -1. */
int far_dial(const char *where);
int far_listen(const char *where, char *where_out, size_t cap);

/* What differs between @now and @then, byte by byte: @handle, place, bytes of each run; @then becomes as @now. */
void far_diff(struct far_buf *b, uint64_t handle, const unsigned char *now, unsigned char *then, size_t len);

/* What is left of a deadline, and the deadline that this is where it arrives. */
uint64_t far_left(uint64_t deadline_ns);
uint64_t far_deadline(uint64_t left);

/* "weft://127.0.0.1:..." with this machine's address, if it has been told. */
const char *far_url(const char *url, char *room, size_t cap);
extern const char *far_address;

/* ---- the other side of the control connection ---- */

struct far_job {                /* a request, and its answer */
	uint64_t what, a[FAR_ARGS];
	struct far_buf in;
	int64_t ret;
	uint64_t out[FAR_OUTS];
	weft_event ev[FAR_EVENTS];
	size_t n;
	struct far_buf writes, tail;
};

/* Serves until it is killed: a process for each connection, so for each case. */
int far_serve(int listener);
/* Memory by its handle: its beginning and what weft calls it. */
unsigned char *far_memory(uint64_t handle, weft_mem **mem_out);

/* Operations (far_post.c). */
void far_post(struct far_job *j);
/* A call as it came; NULL: none. */
weft_call *far_get_call(struct far_job *j, weft_call *room);
/* An event that ends an operation becomes the caller's, and the bytes go along that it tells of. */
void far_end_op(struct far_job *j, weft_event *e);
/* Receives that nobody will tell of. */
void far_watch(struct far_job *j);

/* ---- this side (far_near.c) ---- */

extern const struct wt_far far_near;
void far_near_use(const char *where);
/* How many cases had something far. */
unsigned far_near_split(void);

#define FAR_MARK (1ull << 63) /* no pointer has it */

static inline bool far_is(const void *p)
{
	return (uintptr_t)p & FAR_MARK;
}

static inline uint64_t far_of(const void *p)
{
	return (uintptr_t)p & ~FAR_MARK;
}

static inline void *far_to(uint64_t handle)
{
	return handle ? (void *)(uintptr_t)(handle | FAR_MARK) : NULL;
}

/* A request: begun, filled in further, carried out. far_ask() gives what the call returned; the answer's tail is in far_in. */
#define far_start(what, ...) \
	far_begin(what, (const uint64_t[FAR_ARGS]){ __VA_ARGS__ }, false)
struct far_buf *far_begin(enum far_what what, const uint64_t a[FAR_ARGS], bool with_memory);
int64_t far_ask(void);
extern struct far_buf far_in;
extern uint64_t far_out[FAR_OUTS];
/* Events of the last answer: gives at most @cap of them, their number. */
size_t far_events(weft_event *out, size_t cap);
/* Memory of both sides is made alike, if there is any. */
void far_sync(void);
/* The twin of this memory at the other side, made if there is none yet; 0: it has none, as it is near only. */
uint64_t far_twin(const weft_mem *m, const unsigned char **addr_out);
bool far_has_twin(const weft_mem *m);
void far_twin_add(weft_ctx *ctx, weft_mem *m, void *addr, size_t len, uint32_t access, bool allocated);
/* Frees it at the other side; what that returned. */
int far_twin_free(const weft_mem *m);
void far_twin_forget(const weft_mem *m);
/* Contexts: the twin's handle, 0: none; closes it; it is gone here. */
uint64_t far_ctx(weft_ctx *ctx);
int far_ctx_close(weft_ctx *ctx);
void far_ctx_forget(weft_ctx *ctx);
void far_am_free(void *data);
uint64_t far_handler(weft_am_fn fn, void *arg);
/* Of both sides' last errors the later one; and one that an answer's tail has. */
const weft_error *far_last_error(const weft_error *here);
const weft_error *far_take_error(void);

#endif
