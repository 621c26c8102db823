/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fabric.h - what the transports over somebody else's library have in common (ofi: libfabric, ucx: UCX): lanes over a
 * fabric that carries datagrams reliably, and maybe reads and writes memory. Such a library is an engine: a table of what
 * to call (struct fab_engine). It is no transport by itself.
 *
 * Model. A worker's port has one endpoint of the engine's, opened when the first lane is offered; nothing of the library's is
 * shared by two workers. All lanes of the port use it: a message is our prefix, then maybe a frame; the prefix begins with
 * the key of the lane that it is for, a random number that only the peer of that lane was told (in the offer, over the bootstrap
 * lane). What comes with a key that nobody has is dropped: it is of a lane that was closed, or of a stranger.
 *
 * Frames are copied on both sides: into a send buffer (or given to the engine at once, "inject"), and by core from what
 * came. A lane may have a window of frames under way that the other side's core has not taken; the prefix of whatever
 * flows back tells how many it has. So a lane that core has paused keeps at most that many receive buffers. Frames carry a
 * number and are delivered in its order: not every fabric keeps it, and not every one completes in it.
 *
 * Large messages are read by the receiver, one-sided operations read and write: both are a "move" (fabric_move.c) of
 * pieces, each an operation of the engine.
 *
 * Every operation that the engine has in hand begins with a struct fab_op, whose `done` is called when it has completed.
 */
#ifndef WF_TRANSPORTS_FABRIC_H
#define WF_TRANSPORTS_FABRIC_H
#include "base/map.h"
#include "base/pool.h"
#include "core/transport.h"
#include "os/clock.h"

#define FAB_VERSION 1u
#define FAB_WINDOW 32u                   /* frames of one lane under way */
#define FAB_BUF (16128u)                 /* bytes of a message: what most providers send eagerly */
#define FAB_EAGER (8u << 10)
#define FAB_INJECT 256u                  /* at most so many bytes are given away on the stack */
#define FAB_RX_SPARE 16u                 /* receive buffers for what flows beside the windows */
#define FAB_TX_MAX 256u                  /* send buffers */
#define FAB_COPIES 32u                   /* large buffers that one direction of a lane may have on offer */
#define FAB_PIECES 7u                    /* of a buffer that is on offer */
#define FAB_FLYING 4u                    /* pieces of one move in the engine's hands */
#define FAB_MOVE_BUFS 16u                /* pieces of a local buffer that are registered for one move */
#define FAB_NAME_SHORT 104u              /* bytes of a name: what an offer has room for; longer ones are said */
#define FAB_NAME_MAX 4096u
#define FAB_KIND_MAX 24u                 /* of the engine's kind, in an offer */
#define FAB_LEFT_NS (20 * WF_NS_PER_MS)  /* after an error: what the peer sent before may still come */

/* ---- on the wire ---- */

enum {                                   /* fab_prefix.kind */
	FAB_FRAME = 1,                   /* a frame follows */
	FAB_HELLO,                       /* from the side that connected: can you hear me? */
	FAB_HEARD,                       /* its answer */
	FAB_CREDIT,                      /* only to tell `freed` */
	FAB_STOP,                        /* sender: do not read the buffer slot, gen any more; */
	FAB_STOPPED,                     /* its answer: it is not read, nor will it be; */
	FAB_STOPPED_DONE,                /* or it was read to its end before */
	FAB_ENGINE,                      /* for the engine: what follows is its own */
};

struct fab_prefix {
	uint64_t key;                    /*  0: of the lane that it is for */
	uint32_t seq;                    /*  8: FRAME: its number on this lane and direction */
	uint32_t freed;                  /* 12: frames of the other direction that core has taken */
	uint16_t kind;                   /* 16 */
	uint16_t slot;                   /* 18: STOP and its answers, as gen */
	uint32_t gen;                    /* 20 */
};
_Static_assert(sizeof(struct fab_prefix) == 24, "no padding on the wire");

#define FAB_HEAD (sizeof(struct fab_prefix) + WF_FRAME_HDR)

struct fab_offer {                       /* in the hello of the connection; name_len bytes of name follow. 0: it is said later */
	uint8_t version, name_len, reads, reserved;   /* reads: memory can be read and written */
	uint16_t window, buf;
	uint64_t key;
	char kind[FAB_KIND_MAX];         /* of the engine: both sides need the same */
};
_Static_assert(sizeof(struct fab_offer) == 40, "no padding on the wire");
_Static_assert(sizeof(struct fab_offer) + FAB_NAME_SHORT <= 160, "fits an offer");

struct fab_name {                        /* what is said over the bootstrap lane: a part of a name, its bytes follow */
	uint16_t all, from;
};

struct fab_far {                         /* memory of the peer */
	uint64_t addr, len, key;
};

struct fab_desc {                        /* of a large buffer; only n pieces of it travel */
	uint32_t slot, gen, n, reserved;
	struct fab_far far[FAB_PIECES];
};
_Static_assert(sizeof(struct fab_desc) <= WF_DESC_MAX, "fits RTS");

/* ---- in memory ---- */

struct fab_port;
struct fab_lane;
struct fab_engine;

/* What the engine has in hand; first member of all that follow. */
struct fab_op {
	void *room[8];                   /* the engine's, as long as it has it in hand */
	void (*done)(struct fab_port *p, struct fab_op *op, size_t len, int err);   /* err: 0 or the engine's, words in p->words */
};

struct fab_buf {                         /* a receive or a send buffer */
	struct fab_op op;
	struct wf_list link;             /* rx: posted, held by a lane, or spare. tx: sent or free */
	struct fab_lane *lane;           /* tx: NULL when it is closed */
	void *peer;                      /* tx: the engine's, while it is in its hands */
	void *reg;
	const uint8_t *at;               /* rx: where the message lies: data, or elsewhere until it is held */
	uint32_t len;
	WF_ALIGNED(16) uint8_t data[FAB_BUF];
};

/* A transfer between buffers of ours and memory of the peer's: of one wf_copy or of one wf_rma. */
struct fab_move {
	struct wf_list link;             /* port->moves */
	struct fab_lane *lane;
	struct wf_copy *copy;            /* one of the two; both NULL: given up, the engine still has pieces of it */
	struct wf_rma *rma;
	const weft_buf *bufs;
	size_t n;
	uint64_t len, off;               /* off: given to the engine so far */
	bool write, stop, answer;        /* stop: no more of it; answer: the sender waits to hear of that */
	uint32_t flying;                 /* pieces in the engine's hands */
	int32_t status;
	uint32_t slot, gen, n_far;
	struct fab_far far[FAB_PIECES];
	uint64_t give_up_at;             /* 0: the peer has not left */
	void *reg[FAB_MOVE_BUFS];        /* of bufs, where the engine wants that */
};

struct fab_piece {
	struct fab_op op;
	struct fab_move *move;
	void *peer;                      /* the engine's */
};

/* A buffer or a range that the peer may reach. */
struct fab_lent {
	struct wf_list link;             /* lane->lent: granted memory */
	struct fab_port *port;
	uint32_t n;
	void *reg[FAB_PIECES];
};

enum fab_state { FAB_NEW, FAB_OFFERED, FAB_NAMELESS, FAB_WAITING, FAB_ASKING, FAB_UP, FAB_DYING, FAB_DOWN };

enum { FAB_DUE_HELLO = 1, FAB_DUE_HEARD = 2, FAB_DUE_CREDIT = 4, FAB_DUE_DELIVER = 8 };

struct fab_lane {
	struct wf_lane base;
	void *peer;                      /* the engine's, from join() to part() */
	uint8_t *name;                   /* of the peer, as far as it has been said */
	uint32_t name_has, name_all;
	bool active, greeted;            /* greeted: HELLO came before the name */
	uint64_t key, peer_key;
	uint32_t tx_n, tx_freed, window; /* frames sent; of them the peer's core has taken */
	uint32_t rx_n, rx_told;          /* frames that core has taken; that the peer knows of */
	struct wf_list held;             /* receive buffers with frames that are not delivered yet, by number */
	struct wf_list starved, due, again, notice, timed;   /* of the port's lists */
	struct wf_list lent;
	uint8_t state, want;             /* want: FAB_DUE_* */
	bool deaf;                       /* core wants nothing more from it */
	bool ending;                     /* core will close it as soon as its buffers are quiet */
	uint32_t stop_due, stop_sent;    /* bits by slot: STOP to be said; said, its answer is not here */
	uint32_t stop_heard, stop_done;  /* it is; and says that it was read to its end */
	uint32_t answer_due;             /* STOPPED to be said */
	struct wf_copy *offer[FAB_COPIES];
	uint32_t gen[FAB_COPIES];        /* of our offers */
	uint32_t gone[FAB_COPIES], read[FAB_COPIES];   /* of the peer's: the last that was stopped; that was read to its end */
	uint64_t deadline, stops_until;  /* stops_until: how long a lane that is ending waits for answers; 0: it is not */
	int32_t down_status;
	int down_errno;
	char cause[160];
};

struct fab_port {
	struct wf_port base;
	const struct fab_engine *eng;
	/* set by the engine: at its open() */
	bool open, reads;                /* reads: memory of peers can be read and written */
	bool reg_local;                  /* buffers of ours have to be registered */
	bool mute;                       /* operations with a peer that is gone never end by themselves */
	size_t inject;                   /* bytes that are sent without a buffer; 0: none */
	size_t msg_max;                  /* bytes of a message, and of a piece of a move */
	size_t rx_limit;                 /* receive buffers that can be posted; beyond them the fabric holds senders back */
	const char *kind, *over;         /* see fab_offer; what messages of errors call the fabric */
	const uint8_t *name;             /* by which peers reach it */
	size_t name_len;
	char words[160];                 /* of the library, about the error that is being handled */
	/* ours */
	bool chores, stuck;              /* stuck: the engine had no room for something that waits for it */
	struct wf_map by_key;            /* key -> struct fab_lane */
	uint32_t n_lanes;
	struct wf_list starved, due, again, notices, timed;
	struct wf_list moves, ended;     /* ended: struct wf_copy whose upcall is due; word[2] the status */
	struct wf_list rx_spare, tx_free, tx_sent;
	uint32_t n_rx, rx_want, n_tx, n_sent;
	struct wf_pool pieces, move_pool;
};

/* What send() and move() answer, beside 0 (it is in hand, op->done follows) and the engine's own errors, which are > 0. */
enum { FAB_DONE = -1, FAB_FULL = -2 };

enum {                                   /* access of a registration */
	FAB_RECV = 1,
	FAB_SEND = 2,
	FAB_INTO = 4,                    /* what is read of the peer's memory goes there */
	FAB_FROM = 8,                    /* what is written to the peer's memory comes from there */
	FAB_PEER_READS = 16,
	FAB_PEER_WRITES = 32,
};

struct fab_engine {
	const char *name;                /* of the transport */
	const char *kind_is, *kind_remedy;   /* what fab_port.kind is; what to do when both sides' differ */

	int (*open)(struct fab_port *p, char *why, size_t cap);   /* if it is not open; 0 or a status and why */
	void (*fill)(struct fab_port *p);                 /* posts receive buffers up to rx_want; NULL: none are posted */
	const char *(*words)(const struct fab_port *p, int err);

	/* The peer's name: sets l->peer; or as wf_fail. May take back can_copy and make frame_max less. */
	int (*join)(struct fab_lane *l, const uint8_t *name, size_t len);
	void (*part)(struct fab_lane *l);                 /* of l->peer */

	/* @b is NULL: @len bytes from @bytes, ours to forget at once. Else of b->data. */
	int (*send)(struct fab_lane *l, struct fab_buf *b, const void *bytes, size_t len);
	/* A piece of piece->move, which says whether it reads or writes; a write is done when it lies in the peer's memory. */
	int (*move)(struct fab_port *p, struct fab_piece *piece, void *near, size_t len, void *reg, const struct fab_far *far);
	void (*landed)(void *peer);                       /* what had set its buf's or piece's peer to that is over; may be NULL */

	void *(*reg)(struct fab_port *p, void *addr, size_t len, unsigned access);   /* NULL: cannot */
	void (*unreg)(void *reg);
	void (*tell)(struct fab_port *p, void *reg, void *addr, struct fab_far *out);   /* how a peer finds it: addr and key */
	/* What was lent to a peer is to be taken back, and it does not answer: see that nothing of it is sent any more. Both may be
	 * NULL: unreg() does that. */
	void (*hush)(struct fab_lane *l);
	bool (*is_quiet)(void *reg);                      /* is that so by now? */
	void (*heard)(struct fab_lane *l, const uint8_t *bytes, size_t len);   /* FAB_ENGINE; NULL: it has no such */
	/* A move that nobody waits for any more is still in the engine's hands: may its buffers be given back? */
	bool (*let_go)(struct fab_port *p, struct fab_move *m);
};

static inline struct fab_lane *fab_lane_of(struct wf_lane *l)
{
	return (struct fab_lane *)(void *)l;
}

static inline struct fab_port *fab_port_of(struct wf_port *p)
{
	return (struct fab_port *)(void *)p;
}

static inline struct fab_port *fab_lane_port(const struct fab_lane *l)
{
	return fab_port_of(l->base.port);
}

/* ---- fabric.c: the port and its buffers ---- */

void fab_init(struct fab_port *p, const struct fab_engine *eng);
void fab_fini(struct fab_port *p);         /* the engine's endpoint is closed */
int fab_chores(struct fab_port *p);        /* all that poll() does beside completions; how much happened */
bool fab_has_news(const struct fab_port *p);   /* poll() has something to tell at once */
uint64_t fab_wake_at(const struct fab_port *p);   /* when poll() wants to be called even if nothing happens; 0: it does not */
void fab_disarm(struct wf_port *p);
void fab_on_fd(void *arg, uint32_t events);   /* of a watch: it only wakes the worker, which then polls */
/* The engine is closed under its lanes: what the library still had of them is over. They are told to be down. */
void fab_cut(struct fab_port *p, const char *why);
bool fab_nobody_else(const struct fab_port *p);   /* no lane needs the port any more but those that are ending */
struct fab_buf *fab_rx_get(struct fab_port *p);   /* NULL: no memory */
void fab_rx_free(struct fab_port *p, struct fab_buf *b);
struct fab_buf *fab_tx_get(struct fab_port *p);
void fab_tx_put(struct fab_port *p, struct fab_buf *b);
void fab_tx_done(struct fab_port *p, struct fab_op *op, size_t len, int err);
void fab_bufs_free(const struct fab_engine *eng, struct wf_list *list);

/* ---- fabric_lane.c: making and ending a lane; what is said beside frames ---- */

size_t fab_offer(struct wf_lane *l, void *out, size_t cap);
int fab_attach(struct wf_lane *l, bool active, const void *offer, size_t len);
void fab_hear(struct wf_lane *l, const void *p, size_t len);
void fab_lane_close(struct wf_lane *l);
void fab_abandon(struct wf_lane *l);
/* The lane is over: its owner is told in the next poll(), or after FAB_LEFT_NS when it was up. First cause stays. */
void fab_fail(struct fab_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...) WF_PRINTF(4, 5);
void fab_broke(struct fab_lane *l, int err, const char *what);   /* the engine said so */
void fab_due(struct fab_lane *l, uint32_t want);
int fab_lanes_serve(struct fab_port *p);   /* everything that lanes wait for; how much happened */
void fab_heard(struct fab_lane *l, const struct fab_prefix *h);   /* anything but a frame */

/* ---- fabric_frame.c ---- */

int fab_send(struct wf_lane *l, const struct wf_tx *tx);
void fab_resume(struct wf_lane *l);
/* Sends only a prefix. WEFT_OK, WEFT_AGAIN, or < 0: the lane has failed. */
int fab_say(struct fab_lane *l, uint16_t kind, uint16_t slot, uint32_t gen);
int fab_say_engine(struct fab_lane *l, const void *bytes, size_t len);   /* the same, and what the peer's engine hears */
void fab_came(struct fab_port *p, struct fab_buf *b);   /* a message, b->len bytes at b->at */
void fab_lost(struct fab_port *p, const void *bytes, size_t len);   /* one for which there is no buffer: its lane ends */
int fab_held_deliver(struct fab_lane *l);
void fab_held_drop(struct fab_lane *l);

/* ---- fabric_move.c ---- */

int fab_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
int fab_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
void fab_copy_stop(struct wf_lane *l, struct wf_copy *c);
void fab_copy_end(struct wf_lane *l, struct wf_copy *c);
void fab_stop_heard(struct fab_lane *l, uint32_t slot, uint32_t gen);
void fab_stopped_heard(struct fab_lane *l, uint32_t slot, uint32_t gen, bool done);
int fab_stops_end(struct fab_lane *l);     /* ends those that need not wait for the peer's answer any more; how many */
size_t fab_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc,
		     size_t cap, uint64_t *hold);
void fab_mem_retract(struct wf_lane *l, uint64_t hold);
int fab_mem_open(struct wf_lane *l, struct wf_direct *d);
void fab_mem_close(struct wf_lane *l, struct wf_direct *d);
int fab_rma_start(struct wf_lane *l, struct wf_rma *x);
int fab_moves_step(struct fab_port *p);    /* gives pieces to the engine, makes the upcalls of what has ended */
void fab_lane_lent_free(struct fab_lane *l);
void fab_lane_lent_quiet(struct fab_lane *l);
void fab_moves_cut(struct fab_port *p);    /* the engine will be closed: all of them have failed */
void fab_moves_drop(struct fab_port *p);   /* the engine is closed */

#endif
