/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi.h - private structs of the transport ofi: fabrics through libfabric, for those that weft does not drive itself (EFA,
 * Slingshot, Omni-Path).
 *
 * Model. A worker's port has one reliable datagram endpoint (FI_EP_RDM) with one completion queue and one address vector,
 * in a domain of its own, so that nothing of libfabric's is shared by two workers. It is opened when the first lane
 * is offered. All lanes of the port use it: a message is our prefix, then maybe a frame; the prefix begins with the key
 * of the lane that it is for, a random number that only the peer of that lane was told (in the offer, over the bootstrap
 * lane). What comes with a key that nobody has is dropped: it is of a lane that was closed, or of a stranger.
 *
 * Frames are copied on both sides: into a send buffer (or given to the provider at once, "inject"), and from a posted
 * receive buffer by core. A lane may have a window of frames under way that the other side's core has not taken; the
 * prefix of whatever flows back tells how many it has. So a lane that core has paused keeps at most that many receive buffers,
 * and others are posted in their place. Frames carry a number and are delivered in its order: not every provider
 * keeps it, and not every one completes in it.
 *
 * Large messages are read by the receiver (FI_RMA), one-sided operations read and write: both are a "move"
 * (ofi_move.c) of pieces, each an operation of the provider.
 *
 * Every operation that the provider has in hand begins with a struct ofi_op, whose `done` is called when it has completed.
 */
#ifndef WF_TRANSPORTS_OFI_H
#define WF_TRANSPORTS_OFI_H
#include "base/map.h"
#include "base/pool.h"
#include "core/transport.h"
#include "os/clock.h"
#include "transports/ofi/ofi_abi.h"

#define OFI_VERSION 1u
#define OFI_WINDOW 32u                   /* frames of one lane under way */
#define OFI_BUF (16128u)                 /* bytes of a message: what most providers send eagerly */
#define OFI_EAGER (8u << 10)
#define OFI_INJECT 256u                  /* at most so many bytes are given away on the stack */
#define OFI_RX_MAX 512u                  /* posted receive buffers; beyond them the provider holds senders back */
#define OFI_RX_SPARE 16u                 /* for what flows beside the windows */
#define OFI_TX_MAX 256u                  /* send buffers */
#define OFI_COPIES 32u                   /* large buffers that one direction of a lane may have on offer */
#define OFI_PIECES 7u                    /* of a buffer that is on offer */
#define OFI_FLYING 4u                    /* pieces of one move in the provider's hands */
#define OFI_MOVE_BUFS 16u                /* pieces of a local buffer that are registered for one move */
#define OFI_CQ_BATCH 32
#define OFI_NAME_MAX 104u                /* of an endpoint: what an offer has room for */
#define OFI_KIND_MAX 24u                 /* of a provider, in an offer */
#define OFI_LEFT_NS (20 * WF_NS_PER_MS)  /* after an error: what the peer sent before may still come */

/* ---- on the wire ---- */

enum {                                   /* ofi_prefix.kind */
	OFI_FRAME = 1,                   /* a frame follows */
	OFI_HELLO,                       /* from the side that connected: can you hear me? */
	OFI_HEARD,                       /* its answer */
	OFI_CREDIT,                      /* only to tell `freed` */
	OFI_STOP,                        /* sender: do not read the buffer slot, gen any more; */
	OFI_STOPPED,                     /* its answer: it is not read, nor will it be; */
	OFI_STOPPED_DONE,                /* or it was read to its end before */
	OFI_KINDS_
};

struct ofi_prefix {
	uint64_t key;                    /*  0: of the lane that it is for */
	uint32_t seq;                    /*  8: FRAME: its number on this lane and direction */
	uint32_t freed;                  /* 12: frames of the other direction that core has taken */
	uint16_t kind;                   /* 16 */
	uint16_t slot;                   /* 18: STOP and its answers, as gen */
	uint32_t gen;                    /* 20 */
};
_Static_assert(sizeof(struct ofi_prefix) == 24, "no padding on the wire");

#define OFI_HEAD (sizeof(struct ofi_prefix) + WF_FRAME_HDR)

struct ofi_offer {                       /* in the hello of the connection; name_len bytes of name follow */
	uint8_t version, name_len, reads, reserved;   /* reads: memory can be read and written (FI_RMA) */
	uint16_t window, buf;
	uint64_t key;
	char kind[OFI_KIND_MAX];         /* the provider: both sides need the same */
};
_Static_assert(sizeof(struct ofi_offer) == 40, "no padding on the wire");
_Static_assert(sizeof(struct ofi_offer) + OFI_NAME_MAX <= 160, "fits an offer");

struct ofi_far {                         /* memory of the peer */
	uint64_t addr, len, key;
};

struct ofi_desc {                        /* of a large buffer; only n pieces of it travel */
	uint32_t slot, gen, n, reserved;
	struct ofi_far far[OFI_PIECES];
};
_Static_assert(sizeof(struct ofi_desc) <= WF_DESC_MAX, "fits RTS");

/* ---- in memory ---- */

struct ofi_port;
struct ofi_lane;
struct ofi_lib;

/* What the provider has in hand; first member of all that follow. */
struct ofi_op {
	struct fi_context2 room;
	void (*done)(struct ofi_port *p, struct ofi_op *op, size_t len, int err);   /* err: errno or FI_*, words in p->words */
};

struct ofi_buf {                         /* a receive or a send buffer */
	struct ofi_op op;
	struct wf_list link;             /* rx: posted, held by a lane, or spare. tx: sent or free */
	struct ofi_lane *lane;           /* tx: NULL when it is closed */
	struct ofi_peer *peer;           /* tx: NULL when it is not in the provider's hands */
	struct fid_mr *mr;
	uint32_t len;
	WF_ALIGNED(16) uint8_t data[OFI_BUF];
};

struct ofi_peer {                        /* an address in the vector, for all lanes that lead there */
	struct wf_list link;
	fi_addr_t at;
	uint32_t lanes, busy;            /* busy: operations in the provider's hands that name it */
	uint8_t len;
	uint8_t name[OFI_NAME_MAX];
};

/* A transfer between buffers of ours and memory of the peer's: of one wf_copy or of one wf_rma. */
struct ofi_move {
	struct wf_list link;             /* port->moves */
	struct ofi_lane *lane;
	struct ofi_peer *peer;
	struct wf_copy *copy;            /* one of the two; both NULL: given up, the provider still has pieces of it */
	struct wf_rma *rma;
	const weft_buf *bufs;
	size_t n;
	uint64_t len, off;               /* off: given to the provider so far */
	bool write, stop, answer;        /* stop: no more of it; answer: the sender waits to hear of that */
	uint32_t flying;                 /* pieces in the provider's hands */
	int32_t status;
	uint32_t slot, gen, n_far;
	struct ofi_far far[OFI_PIECES];
	uint64_t give_up_at;             /* 0: the peer has not left */
	struct fid_mr *mr[OFI_MOVE_BUFS];   /* of bufs, where the provider wants that */
};

struct ofi_piece {
	struct ofi_op op;
	struct ofi_move *move;
};

/* A buffer or a range that the peer may reach. */
struct ofi_lent {
	struct wf_list link;             /* lane->lent: granted memory */
	uint32_t n;
	struct fid_mr *mr[OFI_PIECES];
};

enum ofi_state { OFI_NEW, OFI_OFFERED, OFI_WAITING, OFI_ASKING, OFI_UP, OFI_DYING, OFI_DOWN };

enum { OFI_DUE_HELLO = 1, OFI_DUE_HEARD = 2, OFI_DUE_CREDIT = 4, OFI_DUE_DELIVER = 8 };

struct ofi_lane {
	struct wf_lane base;
	struct ofi_peer *peer;
	uint64_t key, peer_key;
	uint32_t tx_n, tx_freed, window; /* frames sent; of them the peer's core has taken */
	uint32_t rx_n, rx_told;          /* frames that core has taken; that the peer knows of */
	struct wf_list held;             /* receive buffers with frames that are not delivered yet, by number */
	struct wf_list starved, due, again, notice, timed;   /* of the port's lists */
	struct wf_list lent;
	uint8_t state, want;             /* want: OFI_DUE_* */
	bool deaf;                       /* core wants nothing more from it */
	bool ending;                     /* core will close it as soon as its buffers are quiet */
	uint32_t stop_due, stop_sent;    /* bits by slot: STOP to be said; said, its answer is not here */
	uint32_t answer_due;             /* STOPPED to be said */
	struct wf_copy *offer[OFI_COPIES];
	uint32_t gen[OFI_COPIES];        /* of our offers */
	uint32_t gone[OFI_COPIES], read[OFI_COPIES];   /* of the peer's: the last that was stopped; that was read to its end */
	uint64_t deadline, stops_until;  /* stops_until: how long a lane that is ending waits for answers; 0: it is not */
	int32_t down_status;
	int down_errno;
	char cause[160];
};

/* What is left of a port that is closed, until the provider has let go of it. */
struct ofi_engine {
	const struct ofi_lib *lib;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct wf_list bufs;
};

struct ofi_port {
	struct wf_port base;
	bool open, chores, armed;
	bool reg_local, reg_ep, virt_addr, prov_key, order, is_shm, reads;
	int fd;                          /* to sleep on; -1: the provider has none */
	bool cut;                        /* the endpoint is to be closed, to end what the provider does not end */
	bool stuck;                      /* the provider had no room for something that waits for it */
	uint64_t nap_ns;                 /* how long to sleep at most when there is no fd */
	uint64_t next_key, key_mask;
	size_t inject;
	const struct ofi_lib *lib;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct ofi_engine *spare;        /* memory to put them in at the end */
	struct wf_watch watch;
	struct wf_map by_key;            /* key -> struct ofi_lane */
	uint32_t n_lanes;
	struct wf_list peers;
	struct wf_list starved, due, again, notices, timed;
	struct wf_list moves, ended;     /* ended: struct wf_copy whose upcall is due; word[2] the status */
	struct wf_list rx_spare, rx_posted, tx_free, tx_sent;
	uint32_t n_rx, n_posted, rx_want, n_tx, n_sent, n_idle, n_inserted;
	struct wf_pool pieces, move_pool;
	uint8_t name[OFI_NAME_MAX];
	size_t name_len;
	char words[160];                 /* of the provider, about the error that is being handled */
};

static inline struct ofi_lane *ofi_lane_of(struct wf_lane *l)
{
	return (struct ofi_lane *)(void *)l;
}

static inline struct ofi_port *ofi_port_of(struct wf_port *p)
{
	return (struct ofi_port *)(void *)p;
}

static inline struct ofi_port *ofi_lane_port(const struct ofi_lane *l)
{
	return ofi_port_of(l->base.port);
}

/* ---- ofi_lib.c: the library ---- */

struct ofi_lib {
	int (*getinfo)(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints,
		       struct fi_info **out);
	void (*freeinfo)(struct fi_info *info);
	struct fi_info *(*dupinfo)(const struct fi_info *info);
	int (*fabric)(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context);
	const char *(*strerror)(int err);
	uint32_t (*version)(void);
};

/* Loaded when it is asked for first, then for ever; NULL, and why and remedy, when it is not here. Any thread. */
const struct ofi_lib *ofi_lib(char *why, size_t why_cap, char *remedy, size_t remedy_cap);
/* The provider that libfabric prefers, of those that can do what we need: freed with freeinfo. NULL and why. */
struct fi_info *ofi_choose(const struct ofi_lib *lib, char *why, size_t why_cap, char *remedy, size_t remedy_cap);
int ofi_probe(const struct wf_conf *conf, char *why, size_t why_cap, char *remedy, size_t remedy_cap);

/* ---- ofi_ep.c: the endpoint of a port, its buffers and registrations ---- */

/* Opens what is not open yet. 0 or a status, why and errno in @l. */
int ofi_ep_open(struct ofi_port *p, char *why, size_t cap);
void ofi_ep_close(struct ofi_port *p);
void ofi_ep_cut(struct ofi_port *p);       /* closes it under its lanes, which are down then; the next offer opens it again */
void ofi_watch_init(struct ofi_port *p);
/* Registers; NULL when that fails. */
struct fid_mr *ofi_reg(struct ofi_port *p, const void *addr, size_t len, uint64_t access);
void ofi_unreg(struct fid_mr **mr);
/* Where a peer finds @addr of that registration. */
static inline uint64_t ofi_far_addr(const struct ofi_port *p, const void *addr)
{
	return p->virt_addr ? (uintptr_t)addr : 0;
}
struct ofi_peer *ofi_peer_get(struct ofi_port *p, const void *name, size_t len);
void ofi_peer_put(struct ofi_port *p, struct ofi_peer *peer);
void ofi_rx_fill(struct ofi_port *p);   /* posts what should be posted */
void ofi_rx_free(struct ofi_port *p, struct ofi_buf *b);
struct ofi_buf *ofi_tx_get(struct ofi_port *p);
void ofi_tx_put(struct ofi_port *p, struct ofi_buf *b);
/* Completions, and their upcalls; how much happened. */
int ofi_cq_run(struct ofi_port *p);

void ofi_engine_close(struct ofi_engine *e);

/* ---- ofi_shm.c: what the provider shm needs, see its head ---- */

bool ofi_shm_enter(struct ofi_port *p);     /* our name is known from here on; false: no memory */
bool ofi_shm_insert(struct ofi_port *p, struct ofi_peer *peer);   /* false: it is gone */
void ofi_shm_remove(struct ofi_port *p, struct ofi_peer *peer);
void ofi_shm_close(struct ofi_port *p, struct ofi_engine *e);   /* at once, or when no other of this process uses it */

/* ---- ofi_lane.c: making and ending a lane; what is said beside frames ---- */

size_t ofi_offer(struct wf_lane *l, void *out, size_t cap);
int ofi_attach(struct wf_lane *l, bool active, const void *offer, size_t len);
void ofi_lane_close(struct wf_lane *l);
void ofi_abandon(struct wf_lane *l);
/* The lane is over: its owner is told in the next poll(), or after OFI_LEFT_NS when it was up. First cause stays. */
void ofi_fail(struct ofi_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...) WF_PRINTF(4, 5);
void ofi_broke(struct ofi_lane *l, int err, const char *what);   /* the provider said so */
void ofi_due(struct ofi_lane *l, uint32_t want);
int ofi_lanes_serve(struct ofi_port *p);   /* everything that lanes wait for; how much happened */
void ofi_heard(struct ofi_lane *l, const struct ofi_prefix *h);   /* anything but a frame */

/* ---- ofi_frame.c ---- */

int ofi_send(struct wf_lane *l, const struct wf_tx *tx);
/* Sends only a prefix. WEFT_OK, WEFT_AGAIN, or < 0: the lane has failed. */
int ofi_say(struct ofi_lane *l, uint16_t kind, uint16_t slot, uint32_t gen);
void ofi_rx_done(struct ofi_port *p, struct ofi_op *op, size_t len, int err);
int ofi_held_deliver(struct ofi_lane *l);
void ofi_held_drop(struct ofi_lane *l);

/* ---- ofi_move.c ---- */

int ofi_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
int ofi_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
void ofi_copy_stop(struct wf_lane *l, struct wf_copy *c);
void ofi_copy_end(struct wf_lane *l, struct wf_copy *c);
void ofi_stop_heard(struct ofi_lane *l, uint32_t slot, uint32_t gen);
void ofi_stopped_heard(struct ofi_lane *l, uint32_t slot, uint32_t gen, bool done);
int ofi_stops_end(struct ofi_lane *l);     /* ends those that need not wait for the peer's answer any more; how many */
size_t ofi_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc,
		     size_t cap, uint64_t *hold);
void ofi_mem_retract(struct wf_lane *l, uint64_t hold);
int ofi_mem_open(struct wf_lane *l, struct wf_direct *d);
void ofi_mem_close(struct wf_lane *l, struct wf_direct *d);
int ofi_rma_start(struct wf_lane *l, struct wf_rma *x);
int ofi_moves_step(struct ofi_port *p);    /* gives pieces to the provider, makes the upcalls of what has ended */
void ofi_lane_lent_free(struct ofi_lane *l);
void ofi_lane_lent_quiet(struct ofi_lane *l);
void ofi_moves_cut(struct ofi_port *p);    /* the endpoint will be closed: all of them have failed */
void ofi_moves_drop(struct ofi_port *p);   /* the endpoint is closed */

#endif
