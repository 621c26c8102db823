/* SPDX-License-Identifier: BSD-3-Clause
 *
 * transport.h - THE seam between core and what moves bytes.
 *
 * A transport moves frames over lanes between two workers and, where it can, moves large buffers and remote memory
 * itself. It knows nothing of tags, rendezvous, endpoints, Python or other transports. A lane is one side of a
 * connection; core owns it, the transport fills its own struct behind it (lane_size). A port is a transport inside one
 * worker (port_size).
 *
 * Calling rules, the same for every row:
 *   - called on the worker's thread (for SHARED workers: under its lock); never blocks; makes no upcall before it
 *     returns, except poll(), which is where all upcalls come from (the port's watches run inside poll of the worker);
 *   - a NULL row means "not offered";
 *   - memory that a row lends is quiet (nobody reads or writes it) from the upcall that ends it, or from lane_close() on.
 * Upcall rules:
 *   - core never calls lane_close() from inside an upcall of that lane; it may call every other row;
 *   - after wf_lane_down() no upcall follows for that lane but wf_copy_done() for copies that are being stopped, and
 *     wf_rma_done() for operations that are under way.
 */
#ifndef WF_CORE_TRANSPORT_H
#define WF_CORE_TRANSPORT_H
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/iov.h"
#include "base/list.h"
#include "base/log.h"
#include "os/poll.h"
#include "weft/weft.h"
#include "wire/frame.h"

struct wf_port;
struct wf_lane;
struct wf_acceptor;

enum {                                   /* wf_transport.caps */
	WF_CAP_BOOTSTRAP = 1,            /* listen and connect by URL; its lanes carry HELLO                        */
	WF_CAP_ATTACH = 2,               /* made beside a bootstrap lane from offers: offer, attach                 */
	WF_CAP_INTERNAL = 4,             /* bootstrap inside one context only, not announced (loop)                 */
	WF_CAP_WATCHDOG = 8,             /* its own lane notices the peer's death, soon (within 60 ms) and for sure  */
	WF_CAP_RDMA = 16,                /* an adapter moves large buffers and remote memory, no CPU copies them     */
	WF_CAP_OPT_IN = 32,              /* not even probed unless the setting transports names it, nor used unless that
					  * or a connection's own list does: it brings with it what nobody asked for   */
	WF_CAP_LATE = 64,                /* a peer's last frames may come a little later than the end of its bootstrap lane */
};

/* One frame to send. The header's seq is put in by the transport's caller. Prefix and struct are borrowed. */
struct wf_sent;
struct wf_tx {
	struct wf_frame h;               /* h.len = pre_len + len                                                   */
	const void *pre;                 /* first part of the payload, small, always copied                         */
	size_t pre_len;
	const weft_buf *bufs;            /* second part: len bytes from offset off of these                         */
	size_t n;
	size_t off, len;
	struct wf_sent *sent;            /* may be NULL: then the bytes must be taken at once (WEFT_PENDING not allowed) */
};

/* Lent with a frame that was answered WEFT_PENDING; ended by wf_sent_done(), once for each frame: several frames of one
 * owner may be under way with the same struct. */
struct wf_sent {
	void (*done)(struct wf_sent *s);
};

/* Where the payload of the frame that is being received goes; set by wf_sink_begin(), lives in the lane. Core may replace
 * bufs, n, off, at any time between two reads (a cancelled receive): the transport looks here before each read. */
struct wf_sink {
	const weft_buf *bufs;
	size_t n;
	size_t off;                      /* in bufs of the frame's first payload byte                               */
	size_t keep;                     /* payload bytes that go to bufs; the rest of the frame is thrown away     */
	size_t done;                     /* payload bytes read so far, kept or not; counted by the transport        */
	void *owner;                     /* core's */
	void (*end)(struct wf_lane *l, struct wf_sink *s, const struct wf_frame *h);   /* core's                    */
};

/*
 * A large buffer that a transport moves by itself (shm: both processes copy; loop: memcpy; verbs: RDMA read). The sender
 * offers it, the description travels in RTS, the receiver starts it into his own buffers.
 */
struct wf_copy {
	struct wf_lane *lane;
	const weft_buf *bufs;            /* lent */
	size_t n;
	uint64_t len;                    /* bytes to move (the receiver may have fewer: it sets the lesser)          */
	uint8_t desc[WF_DESC_MAX];       /* sender: out; receiver: in */
	uint32_t desc_len;
	bool sender;
	void *owner;                     /* core's */
	struct wf_list link;             /* the transport's, as the following */
	uint64_t word[4];
	void *ptr[2];
};

/* Memory of the peer that can be reached without its help. */
struct wf_direct {
	struct wf_lane *lane;
	uint8_t desc[WF_DESC_MAX];       /* as mem_offer() of the owner's side wrote it */
	uint32_t desc_len;
	uint64_t len;
	uint32_t access;
	bool ready;                      /* set by the transport when rma() and atomic() may be tried               */
	uint64_t word[4];                /* the transport's */
	void *ptr[2];
};

/*
 * A one-sided operation that goes on after the call that starts it (verbs: the adapter reads or writes the peer's memory). Core
 * fills the first part; all of it is lent until wf_rma_done().
 */
struct wf_rma {
	struct wf_direct *direct;
	int what;                        /* WF_RMA_* */
	uint64_t off;                    /* in the granted memory */
	const weft_buf *bufs;            /* lent; none for an atomic */
	size_t n;
	uint64_t len;
	const struct wf_region *region;  /* that all of bufs lies in, or NULL */
	uint32_t amo;                    /* WEFT_ATOMIC_*, as the following */
	uint64_t operand, compare;
	uint64_t old;                    /* out */
	bool ordered;                    /* out, by rma_start(): frames and operations that are sent later find its bytes in place */
	void *owner;                     /* core's */
	struct wf_list link;             /* the transport's, as the following */
	uint64_t word[4];
	void *ptr[2];
};

/* What core tells about local memory that is granted, or that lies behind a weft_buf.mem. */
struct wf_region {
	void *addr;
	size_t len;
	int memfd;                       /* -1: plain memory; else a sealed memfd that holds it from offset 0       */
	uint64_t id;                     /* never used twice in this process                                        */
	uint32_t access;
	int dmabuf_fd;                   /* -1: none; else, kept open, what holds the memory from offset dmabuf_off on. addr and  */
	uint64_t dmabuf_off;             /* dmabuf_off are equally far into a page. An adapter may register it in place of addr;
					  * where addr is a device's (src/gpu), it is the only way                     */
};

enum { WF_RMA_PUT = 0, WF_RMA_GET = 1, WF_RMA_ATOMIC = 2 };

/* @payload is borrowed; @h with the number that the frame had on its lane. */
typedef int wf_replay_fn(void *arg, const struct wf_frame *h, const void *payload);

struct wf_transport {
	const char *name;                /* "tcp"; in settings, explain, hello                                      */
	uint32_t caps;                   /* WF_CAP_*                                                                */
	uint32_t eager_max;              /* of its lanes, where no setting eager_max_<name> has it: for explain            */
	size_t shared_size;              /* of zeroed memory for all ports of a context, behind port->shared; any thread */
	size_t port_size, lane_size;     /* of the structs that begin with wf_port and wf_lane; given zeroed         */

	/* Can this machine do it? 0, or WEFT_ENOTSUP with why and remedy as texts. Quick, no side effects, once a context. */
	int (*probe)(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap);

	/* in a worker: 0 or a status, with wf_fail() */
	int (*open)(struct wf_port *p);
	void (*close)(struct wf_port *p);                       /* all lanes and acceptors are closed by now        */

	/* bootstrap: by numeric address, "1.2.3.4:80" */
	int (*listen)(struct wf_acceptor *a, const char *at, char *bound_out, size_t cap);   /* bound: with the port chosen */
	void (*unlisten)(struct wf_acceptor *a);
	int (*connect)(struct wf_lane *l, const char *to);      /* 0: wf_lane_up() or _down() follows; else as wf_fail */
	int (*move)(struct wf_lane *l, struct wf_port *to);     /* an accepted lane leaves its worker (to NULL) and enters another */

	/* attach: offer() is asked once for each lane before attach(); `active` is the side that connected */
	size_t (*offer)(struct wf_lane *l, void *out, size_t cap);   /* bytes for the hello; 0: none, see l->why    */
	int (*attach)(struct wf_lane *l, bool active, const void *offer, size_t len);   /* 0: up or down follows    */

	void (*hear)(struct wf_lane *l, const void *p, size_t len);   /* the peer's side of this lane said so, with wf_lane_say();
								 * NULL: they have nothing to say. @l is offered or attached. */

	void (*abandon)(struct wf_lane *l);                     /* it is of no more use: copies and operations end without the peer's help, what
								 * has come is delivered, wf_lane_down() follows. NULL: they end so anyhow */
	int (*replay)(struct wf_lane *l, uint32_t from, wf_replay_fn *fn, void *arg);   /* of a lane that is down: each frame from number @from on
								 * that was taken, in order; @fn answers 0 or a status that ends it.
								 * WEFT_ERESET: some of them are not there any more. NULL: cannot */

	void (*lane_close)(struct wf_lane *l);                  /* now; frees everything; lent memory is quiet when it returns.
								 * Copies have been stopped before (copy_stop and its upcall), and
								 * operations of rma_start() have ended. */

	/* data */
	int (*send)(struct wf_lane *l, const struct wf_tx *tx); /* WEFT_OK: taken, bytes free; WEFT_PENDING: taken, bytes lent
								 * until wf_sent_done(tx->sent); WEFT_AGAIN: full, nothing taken,
								 * wf_lane_room() follows; < 0: lane is broken, wf_lane_down() follows */
	bool (*send_short)(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *p, uint32_t len);   /* NULL: has none. An eager
								 * message of up to inline_max bytes: taken, or ask send() */
	void (*resume)(struct wf_lane *l);                      /* core had said "not now" (see wf_frame_in): offer again in the next poll() */

	/* large buffers; all may be NULL together */
	int (*copy_offer)(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);   /* sender; r may be NULL. 0: c lent and
								 * described; WEFT_AGAIN: not now, not possible: use frames */
	int (*copy_start)(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);   /* receiver: c->desc is the peer's. 0: lent,
								 * wf_copy_done() follows; WEFT_ECANCELED: the sender took it back;
								 * WEFT_EPROTO: bad description; WEFT_AGAIN: cannot, ask for frames */
	void (*copy_stop)(struct wf_lane *l, struct wf_copy *c);   /* either side asks; wf_copy_done() follows from poll(): WEFT_ECANCELED,
								 * or WEFT_OK when it was complete before */
	void (*copy_end)(struct wf_lane *l, struct wf_copy *c); /* sender: the peer has said that it is done: forget it, at once */

	/* remote memory without the peer's help; all may be NULL together */
	size_t (*mem_offer)(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc, size_t cap,
			    uint64_t *hold);            /* owner: bytes of description, 0: cannot. What it holds for the peer, */
	void (*mem_retract)(struct wf_lane *l, uint64_t hold);   /* until this, or lane_close(); NULL: it holds nothing */
	int (*mem_open)(struct wf_lane *l, struct wf_direct *d);   /* 0: lent until mem_close(); else not possible */
	void (*mem_close)(struct wf_lane *l, struct wf_direct *d);
	int (*rma)(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n, size_t len);
								/* WEFT_OK: done; WEFT_AGAIN: use frames; < 0 */
	int (*rma_start)(struct wf_lane *l, struct wf_rma *x);   /* for what rma() and atomic() did not do at once; may be NULL. WEFT_PENDING:
								 * lent, wf_rma_done() follows; WEFT_AGAIN: full, wf_lane_room() follows;
								 * WEFT_ENOTSUP: use frames. rma and atomic may be NULL beside it. */
	int (*atomic)(struct wf_lane *l, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand, uint64_t compare, uint64_t *old_out);

	/* progress and sleep */
	int (*poll)(struct wf_port *p);                         /* moves what can move; how many things happened     */
	int (*arm)(struct wf_port *p);                          /* before sleep: WEFT_OK: whatever happens next makes a watch or
								 * p->bell_fd readable; WEFT_AGAIN: poll first. Flushes what was held back. */
	void (*disarm)(struct wf_port *p);                      /* awake again; may be called when not armed         */

	/* Our own address on a bootstrap lane that is up, as text; NULL: has none. 0 or -errno. */
	int (*local)(const struct wf_lane *l, char *out, size_t cap);

	/* a line for explain: "ring 256 KiB, both copy", "no process_vm_readv: EPERM" */
	void (*describe)(const struct wf_lane *l, char *out, size_t cap);

	/* The region was freed: who mapped or registered it lets go. NULL: nobody does. */
	void (*region_gone)(struct wf_port *p, uint64_t id);
};

struct wf_port {
	const struct wf_transport *tr;
	struct weft_worker *worker;      /* opaque */
	struct wf_poll *poll;            /* the worker's set; watches of the transport are called in wf_poll_run()  */
	int bell_fd;                     /* the worker's eventfd; any thread or process that has it may ring it      */
	const struct wf_conf *conf;
	const struct wf_log *log;
	void *shared;                    /* shared_size bytes of the context                                         */
	struct wf_list lanes;            /* all of this port, by wf_lane.link; kept by core                          */
	uint32_t hot;                    /* lanes whose descriptor poll() reads by itself, as they had bytes lately (kept by transport) */
	uint32_t busy;                   /* > 0: poll() wants to be called again without sleeping (kept by transport) */
};

struct wf_lane {
	const struct wf_transport *tr;
	struct wf_port *port;            /* NULL between two move() calls                                            */
	void *owner;                     /* core's */
	struct wf_list link;
	uint32_t id;                     /* for logs */
	uint32_t frame_max;              /* payload bytes of one frame; set by the transport before up               */
	uint32_t eager_max;              /* longer messages go by rendezvous; set by the transport                   */
	uint32_t inline_max;             /* payload bytes that travel with the header itself; 0: none                 */
	uint32_t tx_seq, rx_seq;         /* core's */
	bool up, down;                   /* core's */
	bool again;                      /* set by core before offer(): one that broke is made again. It is up only when the peer
					  * has been reached over it, and what broke before is the last choice         */
	bool peer_left;                  /* set by core: the bootstrap lane is over, so the peer's side of this one is closed,
					  * or dead, or out of reach                                                  */
	bool paused;                     /* set by core: deliver no frame (and read no bytes into a sink) until resume() */
	bool can_copy;                   /* set by the transport before up: copy rows work both ways                 */
	struct wf_sink sink;
	char peer[96];                   /* set by the transport: the peer's address as text                         */
	char why[160];                   /* transport's: why something is not as good as it could be, for explain    */
	char remedy[160];
	uint64_t bytes_tx, bytes_rx, frames_tx, frames_rx;   /* counted by the transport */
	uint64_t copy_us, copy_peer;     /* bytes of large messages that this side and the peer's side moved (copy rows) */
	uint64_t syscalls;               /* made on the data path                                                    */
};

/* A listening place of a bootstrap transport. Embedded in core's listener; the transport keeps its state in `priv`. */
struct wf_acceptor {
	struct wf_port *port;
	void *owner;
	void *priv;                      /* the transport's */
};

/* ---- upcalls ---- */

/* The lane can send and receive frames. */
void wf_lane_up(struct wf_lane *l);

/* The lane is over; what was lent with frames is quiet. @cause in words, without strerror. Once. */
void wf_lane_down(struct wf_lane *l, int32_t status, int sys_errno, const char *cause);

/*
 * Not an upcall, may be called from any row but lane_close(): says @len <= WF_SAY_MAX bytes to the peer's side of the lane, over
 * the bootstrap lane, before and after the lane is up. The peer hears them in this order, or never when its lane is closed.
 * 0, or < 0: the bootstrap lane is broken, or there is no memory to keep it until there is room.
 */
int wf_lane_say(struct wf_lane *l, const void *p, size_t len);

/* A lane that answered WEFT_AGAIN has room again. */
void wf_lane_room(struct wf_lane *l);

/*
 * A whole frame is here; @payload (any alignment, h->len bytes) is borrowed. @h is a private copy that wf_frame_check()
 * has passed or not: core checks it. Returns 0; WEFT_AGAIN: not now, keep it, offer it again after resume() (l->paused
 * is set); < 0: the lane is to be left alone, core closes it soon.
 */
int wf_frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload);

/*
 * The same for an eager message of up to WF_COPY_SHORT bytes without flags, number and what else: its bytes may be the peer's to
 * change, each is read once. False: it is not as simple as that, nothing has happened: wf_frame_in().
 */
bool wf_frame_short(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *payload, uint32_t len);

/*
 * For streaming transports: the header of a frame is here, its payload not yet all. Returns WEFT_OK: l->sink says where
 * it goes, call l->sink.end() when sink.done == h->len; WEFT_PENDING: this type has no sink, collect it and call
 * wf_frame_in(); WEFT_AGAIN and < 0 as wf_frame_in().
 */
int wf_sink_begin(struct wf_lane *l, const struct wf_frame *h);

void wf_sent_done(struct wf_sent *s);
void wf_rma_done(struct wf_rma *x, int32_t status);
void wf_copy_done(struct wf_copy *c, int32_t status);

/*
 * A peer connected: a lane of @a's port that is up, zeroed memory of lane_size with tr and port set, which the transport
 * fills (peer, frame_max, ...) before wf_lane_accepted(). NULL: refuse it (no memory, too many half-open ones).
 */
struct wf_lane *wf_lane_new_incoming(struct wf_acceptor *a);
void wf_lane_accepted(struct wf_acceptor *a, struct wf_lane *l);

/* The acceptor is broken for good (a passing shortage of descriptors is the transport's to wait out, see wf_port_wake_at). */
void wf_acceptor_failed(struct wf_acceptor *a, int32_t status, int sys_errno, const char *cause);

/* The transport wants poll() at @at_ns even if nothing happens (retries); 0 takes it back. */
void wf_port_wake_at(struct wf_port *p, uint64_t at_ns);

/* Not an upcall: offer() of this port may have more to offer than before. Lanes that broke are made again now. */
void wf_port_changed(struct wf_port *p);

/* One line for each transport; in order of preference. Defined in core/registry.c. */
extern const struct wf_transport wf_loop, wf_shm, wf_verbs, wf_ofi, wf_ucx, wf_tcp;

#endif
