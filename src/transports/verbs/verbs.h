/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs.h - RDMA adapters (InfiniBand, RoCE, iWARP): the private structs of this transport, and what is said between two sides.
 *
 * Model. A worker opens each usable port of an adapter for itself (struct verbs_dev): protection domain, completion queues on one
 * channel, a shared receive queue whose buffers all peers share, buffers for sending. A lane has a reliable connection (RC queue
 * pair) over one or several such ports, its rails. The first rail carries all frames, in order, as SENDs; the others
 * only carry pieces of large buffers.
 *
 * A SEND is struct verbs_head, the frame's header, its payload. It lands in a buffer of VERBS_BUF bytes of the receiver's
 * shared queue. A lane may have VERBS_CREDITS of them on their way; the receiver gives credits back in the head of what it
 * sends anyway, or by a message of its own. Many peers together may have promised more than there are buffers: then the
 * adapter's own "receiver not ready" holds them back. Frames that core does not take now are copied out, so that a lane that is
 * paused never keeps a buffer from the others.
 *
 * Where an adapter has no shared receive queues, the first rail of each lane has a queue of its own, with a buffer for each message that
 * may be on its way (verbs_recv.c).
 *
 * An iWARP adapter has no "receiver not ready": a message for which there is no buffer ends the connection. So there every lane's
 * promise stands behind it in buffers (verbs_promise()), and a buffer is posted again before its credit is given back.
 *
 * Completions are asked for once in VERBS_SIGNAL sends: those before are done, too. Work that has somebody waiting asks always.
 *
 * Large buffers are read by the receiver's adapter (verbs_copy.c), granted memory is read and written by the opener's
 * (verbs_rma.c, verbs_long.c); both need registrations (verbs_mr.c).
 *
 * Trust. A peer may write into our receive buffers and, with keys that we gave it, reach what they cover; every number that it
 * tells is checked before it is used. The key of a large message from a kept registration is good for reading all of its region, as long as
 * that lives: a peer that was sent one message from it could read the rest. A queue pair that erred is of no more use: the lane ends.
 */
#ifndef WF_TRANSPORTS_VERBS_H
#define WF_TRANSPORTS_VERBS_H
#include "base/map.h"
#include "base/pool.h"
#include "core/transport.h"
#include "os/addr.h"
#include "os/clock.h"
#include "transports/verbs/verbs_cmlib.h"
#include "transports/verbs/verbs_lib.h"

#define VERBS_VERSION 1u
#define VERBS_DEVS 4u                    /* ports of adapters that a worker uses; rails of a lane */
#define VERBS_GIDS 16u                   /* addresses of a port that may be sent from: each VLAN has its own, */
#define VERBS_OFFERS 6u                  /* of all ports in an offer, that peers may send to; the first of each port first */
#define VERBS_BUF (8u << 10)
#define VERBS_SRQ 1023u                  /* receive buffers of a worker on a device; with one more drivers take twice the memory */
#define VERBS_SRQ_IWARP 8192u            /* at most; VERBS_SRQ at first, more when lanes need them */
#define VERBS_SENDS 256u                 /* buffers to send from; as many again when they are used up, */
#define VERBS_SENDS_MAX 2048u            /* up to so many, */
#define VERBS_SMALLS_MAX (64u << 10)     /* and of small ones */
#define VERBS_SQ 128u                    /* work requests of a queue pair; a power of two */
#define VERBS_SQ_SPARE 8u                /* of them for credits and the like: frames leave them free */
#define VERBS_CREDITS 64u
#define VERBS_CREDITS_FEW 16u            /* of a lane that has buffers of its own and comes when others have taken so many as a shared queue has */
#define VERBS_STOPS 4u                   /* COPY_STOPs of a lane that are not answered yet */
#define VERBS_NOTES (2 * VERBS_STOPS + 3)   /* messages without credit that may be on their way: stops, answers, credits; over iWARP, which has one rail */
#define VERBS_OWN_RECVS (VERBS_CREDITS + VERBS_NOTES)   /* receive buffers of a queue pair, at most, where they are not shared */
#define VERBS_SIGNAL 32u
#define VERBS_INLINE 256u                /* bytes that go with the work request itself; asked for */
#define VERBS_CQ_LANES 119u              /* queue pairs that share a completion queue */
#define VERBS_BATCH 16u                  /* completions that are fetched at a time */
#define VERBS_QPS 1024u                  /* queue pairs of a worker on a device: peers beyond it are reached over tcp (docs/SCALE.md) */
#define VERBS_COPIES 64u                 /* large buffers that one side of a lane offers at a time; a power of two */
#define VERBS_PIECES 8u                  /* of a large buffer; in more pieces it goes as frames */
#define VERBS_READ (1u << 20)           /* bytes that one of them reads at most, */
#define VERBS_READ_SHARED (256u << 10)  /* where rails share a buffer, */
#define VERBS_READ_LEAST (32u << 10)    /* and at least */
#define VERBS_READS 4u                   /* of a rail that are under way for large buffers, and as many for gets */
#define VERBS_WRITES 4u                  /* of a rail that are under way for puts over several rails */
#define VERBS_SHARED (2 * VERBS_READ)    /* puts and gets of so many bytes go over several rails; grants of so many are opened for that */
#define VERBS_SECRET 16u
#define VERBS_GIVE_UP_NS WF_NS_PER_S     /* for an adapter to give back what a broken queue pair had posted; it takes microseconds */
#define VERBS_PROVE_NS WF_NS_PER_S       /* for further rails of a lane that is made again to reach the peer, when the first does */
#define VERBS_LEAVE_NS (10 * WF_NS_PER_MS)   /* for what was sent last to leave, before a queue pair is broken */

/*
 * Retries of the adapter. What is not acknowledged is sent again after 4.096 us << timeout, VERBS_RETRY times; the timeout is
 * chosen so that all of them together take no longer than the setting failure_detect (adapters wait up to four times as long), and is not
 * beyond half a second. 7 retries would mean for ever on soft-RoCE (G61). "Receiver not ready" is a living peer's word, so
 * it is waited for without end: 7, each time at least 0.64 ms (code 12).
 */
#define VERBS_TIMEOUT_MIN 8u             /* 1 ms */
#define VERBS_TIMEOUT_MAX 17u            /* 537 ms */
#define VERBS_RETRY 6u
#define VERBS_RNR_RETRY 7u
#define VERBS_RNR_TIMER 12u

/* ---- on the wire, little-endian, without padding ---- */

enum { VERBS_FRAME = 0, VERBS_CREDIT, VERBS_COPY_STOP, VERBS_COPY_STOPPED, VERBS_RAIL_STOP, VERBS_RAIL_STOPPED };

struct verbs_head {                      /* in front of each SEND */
	uint16_t kind;                   /* VERBS_* */
	uint16_t credits;                /* frames that may be sent in addition */
	uint32_t arg;                    /* COPY_*: which one, see verbs_copy.c; its lowest bit of STOPPED: all was copied. RAIL_*: which */
};

#define VERBS_HEAD (sizeof(struct verbs_head))
#define VERBS_FRAME_MAX (VERBS_BUF - VERBS_HEAD - WF_FRAME_HDR)

struct verbs_where {                     /* a port's address, in the offer */
	uint8_t gid[16];
	uint16_t lid;                    /* InfiniBand; else 0 */
	uint8_t link;                    /* IBV_LINK_LAYER_* or VERBS_LINK_* */
	uint8_t mtu;                     /* enum ibv_mtu */
	uint16_t pkey;                   /* its partition; without meaning where rdma_cm decides */
};

/*
 * A P_Key is a partition, 15 bits, and whether its member is a full one. Of one partition only full members talk to
 * everybody: two limited ones do not hear each other (G100).
 */
#define VERBS_PKEY_FULL 0x8000u
#define VERBS_PKEY_DEFAULT 0xffffu
static inline bool verbs_same_partition(uint16_t a, uint16_t b)
{
	return !((a ^ b) & ~VERBS_PKEY_FULL) && (a | b) & VERBS_PKEY_FULL;
}

/* More kinds of address: IP addresses of interfaces, told as IPv6 ones, that only rdma_cm can make use of. */
enum { VERBS_LINK_IWARP = 3, VERBS_LINK_IPOIB };

enum { VERBS_WANTS_CM = 1 };             /* the setting `rdma` of this side says so: connections by rdma_cm */

struct verbs_offer {
	uint8_t version, n;
	uint16_t flags;
	struct verbs_where at[VERBS_OFFERS];
};
_Static_assert(sizeof(struct verbs_offer) == 4 + 22 * VERBS_OFFERS, "no padding on the wire");

enum { VERBS_ASK = 1, VERBS_ANSWER, VERBS_NO, VERBS_CM_ASK, VERBS_CM_INVITE, VERBS_LIVE_ASK, VERBS_LIVE };

struct verbs_end {                       /* one side of a rail */
	uint8_t gid[16], to[16];         /* its own, and the one at the other end */
	uint32_t qpn, psn;
	uint16_t lid;
	uint8_t mtu, reads;              /* of the peer that it answers at a time */
};

struct verbs_say {                       /* ASK by the side that connected, ANSWER; NO is followed by words instead of ends */
	uint8_t version, what, n;
	uint8_t link;                    /* CM_ASK: of both addresses */
	uint16_t credits;
	uint16_t port;                   /* CM_INVITE: where the listener is */
	union {
		struct verbs_end end[VERBS_DEVS];
		struct {
			struct verbs_end self;
			uint8_t secret[VERBS_SECRET];   /* CM_INVITE: to be shown when connecting */
		} cm;
	};
};

struct verbs_hail {                      /* private data of a connection request: who it is for */
	uint8_t version, reserved[3];
	uint8_t secret[VERBS_SECRET];
};
_Static_assert(sizeof(struct verbs_hail) == 20, "no padding on the wire");
_Static_assert(sizeof(struct verbs_end) == 44 && sizeof(struct verbs_say) == 8 + 44 * VERBS_DEVS, "no padding on the wire");
_Static_assert(sizeof(struct verbs_say) <= WF_SAY_MAX, "is said in one piece");

/* ---- a port of an adapter, in a worker ---- */

struct verbs_mr {                        /* a registration */
	struct ibv_mr *mr;
	uint64_t region;                 /* kept for it; 0: for one operation */
	uint32_t users;
	bool gone;                       /* the region was freed: deregistered with its last user */
	bool on_demand;
	struct wf_list lru;              /* in dev->idle while it has no users */
};

/* For receiving: posted, or in our hands. For sending: free, lent to the adapter, or on a list of what it did not send. */
struct verbs_buf {
	union {
		struct verbs_buf *next;
		struct verbs_qp *owner;  /* of one in a receive queue that is not shared */
	};
	uint8_t *bytes;                  /* VERBS_BUF of them; in a small one VERBS_INLINE */
	uint32_t lkey;
	bool is_small;
	struct ibv_sge sge;              /* the whole buffer; receive buffers are posted with it again and again, */
	struct ibv_recv_wr wr;           /* in a chain of these */
};

struct verbs_block {                     /* of buffers, in one mapping and one registration */
	struct verbs_block *next, *spare;   /* spare: in dev->spare */
	void *map;
	size_t len;
	struct ibv_mr *mr;
	struct verbs_buf buf[];
};

struct verbs_cq {
	struct wf_list link;             /* dev->cqs */
	struct ibv_cq *cq;
	unsigned lanes;                  /* queue pairs that complete into it */
	bool armed;
	unsigned stash_n, stash_at;      /* completions that were fetched and not looked at yet */
	unsigned stash_cap;
	struct ibv_wc *stash;
};

struct verbs_listener {                  /* for connections by rdma_cm to one address of a device */
	struct rdma_cm_id *id;           /* NULL: none */
	uint8_t gid[16];
	uint16_t port;
};

struct verbs_dev {
	struct verbs_port *port;
	char name[64];                   /* "mlx5_0:1" */
	struct ibv_context *ctx;
	uint8_t number;                  /* of the port */
	int only_gid;                    /* index of the only GID that may be used, by the setting; -1: any */
	uint8_t link, mtu;
	uint16_t lid;
	uint16_t pkey, pkey_index;       /* its partition, and where that stands in the port's table */
	bool needs_grh;                  /* InfiniBand that is routed */
	bool up;                         /* the port is active */
	bool gone;                       /* the adapter is broken or was taken out: never up again; when it is back it is another */
	char why[200];                   /* that it is not up, or has no address */
	uint64_t broke_at;               /* when a lane whose first rail it was broke last; 0: never */
	uint8_t reads;                   /* RDMA reads that one queue pair answers, and asks, at a time */
	uint32_t max_msg;
	int max_cqe;
	int atomics;                     /* enum ibv_atomic_cap */
	uint32_t odp;                    /* IBV_ODP_SUPPORT_*: what memory that is registered on demand can do; 0: there is none */
	bool on_demand;                  /* some was, because of the limit on locked memory */
	bool iwarp;                      /* no "receiver not ready"; reads need a sink that may be written; the active side sends first */
	bool cm;                         /* connections are made by rdma_cm */
	unsigned srq_max;                /* receive buffers that its shared queue may have; 0: it has no such thing */
	struct wf_watch async;           /* from when it was opened: a port that is down may come up */
	unsigned n_gid;
	struct {
		union ibv_gid gid;
		uint8_t index, nth;      /* nth: among those of its network interface */
		uint32_t netdev;
	} gid[VERBS_GIDS];
	unsigned gids_left;              /* further ones that would do as well, and have no place there */
	/* from here on only once it carries something */
	bool started;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_srq *srq;             /* NULL: queue pairs have receive queues of their own */
	struct wf_watch comp;
	struct wf_list cqs;
	struct wf_list dying;            /* struct verbs_qp: broken or closed, until the adapter has let go of it */
	struct wf_map qps;               /* number -> struct verbs_qp */
	struct verbs_qp *last_qp;        /* the one that was looked up last */
	struct verbs_block *blocks;
	struct verbs_block *spare;       /* of receive buffers that belong to no queue pair now; without a shared queue */
	struct verbs_listener listener[VERBS_GIDS];
	unsigned n_recvs;                /* receive buffers that there are, */
	unsigned promised;               /* and that peers may fill at the same time; counted where that may not be more */
	struct verbs_buf *unposted;      /* receive buffers that go back into the queue together, or into their queues */
	struct verbs_buf *sends, *smalls;   /* free */
	unsigned n_sends, n_smalls;
	uint64_t refused_until[2];       /* more buffers to send from could not be had: not tried before; of small ones the second */
	struct wf_map mrs;               /* region -> struct verbs_mr */
	struct wf_list idle;             /* of them without users, the longest unused first */
	size_t registered, idle_bytes;   /* bytes: of all, and of those in idle */
	uint64_t too_large[8];           /* regions that could not be locked, the last ones; 0: none */
	unsigned n_too_large;
	uint64_t n_posts, n_signalled, n_events;   /* counted for tests; n_events: that completions woke it */
};

/* ---- a connection ---- */

enum { VERBS_WR_NONE, VERBS_WR_FRAME, VERBS_WR_PUT, VERBS_WR_COPY, VERBS_WR_RMA, VERBS_WR_OVER };

struct verbs_wr {                        /* a work request that the adapter has; there are many: no padding between its fields */
	void *ptr;                       /* by kind: struct verbs_buf twice, struct verbs_read, struct verbs_piece */
	uint32_t next_frame;             /* PUT: number of the frame that follows it */
	uint8_t kind;
};

struct verbs_qp {
	struct verbs_lane *lane;         /* NULL: dying, the lane is closed */
	struct verbs_dev *dev;
	struct verbs_cq *cq;
	struct ibv_qp *qp;
	uint32_t qp_num;                 /* of qp, also when that is destroyed */
	uint32_t psn, posted, done;      /* of the ring, counted on without end */
	uint16_t unsignalled;            /* since the last that asked for its completion */
	uint16_t inline_max;
	uint8_t gid_index;               /* in the adapter's table */
	uint8_t reads, gets;             /* that are under way: of large messages, of long gets */
	uint8_t reads_max;
	bool broken;
	bool orphan;                     /* its address is no longer the port's */
	uint16_t silent;                 /* verbs_watch.c: looks at which nothing more had ended, */
	uint8_t down;                    /* and the port was down besides, */
	uint32_t seen_done;              /* since `done` was this */
	struct wf_list link;             /* dev->dying */
	uint64_t until;                  /* dying: not longer */
	struct rdma_cm_id *cm;           /* that connected it, and keeps it connected; NULL: we did */
	unsigned promised;               /* of dev->promised */
	bool emptied;                    /* broken: the adapter holds no receive buffer for it any more */
	uint8_t puts;                    /* that are under way, of those over several rails */
	uint8_t n_recvs;                 /* receive buffers that the adapter has, of those of its own */
	struct verbs_block *recvs;       /* its own; NULL: none, or the queue is shared */
	struct verbs_end self, peer;
	struct ibv_sge sge;              /* a SEND, made once but for its address, length and flags */
	struct ibv_send_wr wr;
	struct verbs_wr ring[VERBS_SQ];
};

/* BREAKING: the adapter has given up; what came before is still being delivered, nothing is sent any more. */
enum verbs_state {
	VERBS_NEW, VERBS_OFFERED, VERBS_WAITING, VERBS_ASKED,
	VERBS_INVITED, VERBS_CONNECTING, VERBS_ACCEPTED,   /* by rdma_cm, see verbs_cm.c */
	VERBS_PROVING,                   /* active, of a lane that is made again: its rails are asked whether they reach the peer */
	VERBS_UP, VERBS_BREAKING, VERBS_DOWN,
};

struct verbs_held {                      /* a frame that core did not take, copied out of its buffer */
	struct wf_list link;
	struct wf_frame h;
	uint8_t payload[];
};

struct verbs_told {                      /* addresses that were offered */
	struct verbs_where at[VERBS_OFFERS];
	uint8_t n;
};

struct verbs_mine {                      /* a large buffer that this side has offered */
	struct wf_copy *copy;
	bool stopping;
	unsigned n_mr;
	struct verbs_mr *mr[];           /* by piece, then by rail */
};

struct verbs_lane {
	struct wf_lane base;
	uint8_t state;
	bool active;
	uint8_t n_rails, last_rail;      /* last_rail: that a piece of a large buffer was read over */
	struct verbs_qp *rail[VERBS_DEVS];
	uint32_t credits;                /* frames that we may send */
	uint32_t owed;                   /* that the peer may send in addition, not told yet */
	uint32_t granted;                /* that it may have on their way at most */
	struct wf_list held;             /* struct verbs_held */
	uint32_t n_held;
	uint8_t wants;                   /* starved: work requests that must find room together; 0: a frame, */
	bool is_small;                   /* which fits a small buffer */
	struct wf_list starved, notice, timed, resumed, owing;
	uint64_t give_up_at;             /* ASKED: on the answer; BREAKING: on the adapter */
	bool looked;                     /* BREAKING: all was back, and the queues are looked at once more */
	struct verbs_told told;          /* by us; then by the peer: it may name no other address later */
	const char *refusal;             /* WAITING: what the peer is told when it asks; NULL: it may */
	struct verbs_buf *unsent, **unsent_end;   /* frames that came back from the broken first rail, in order */
	bool leaving;                    /* abandoned: broken as soon as what was sent has left */
	bool lost;                       /* a put was said to be done that may not have come (verbs_lose_put()); */
	uint32_t lost_at;                /* of several the last: the frame that follows it */
	bool asked, answered;            /* verbs_watch.c: does it live? we, and not answered yet; the peer, and it does */
	int32_t down_status;
	int down_errno;
	char cause[200];
	struct verbs_mine *mine[VERBS_COPIES];
	uint32_t mine_gen[VERBS_COPIES]; /* which use of the place */
	unsigned stops;                  /* COPY_STOPs that are not answered yet */
	uint64_t stop_due, answer_due;   /* a bit for each place: COPY_STOP, COPY_STOPPED is to be sent */
	uint32_t theirs[VERBS_COPIES];   /* by place: which of the peer's offers has ended last, and how; see verbs_copy.c */
	struct wf_list grants;           /* struct verbs_grant */
	/* a bit for each rail, see verbs_long.c: the peer is asked to stop it, has to be, and has; it has asked, and is answered */
	uint8_t stop_asked, stop_rail_due, stopped, stopped_due;
	uint8_t secret[VERBS_SECRET];    /* rdma_cm: that the connecting side shows */
	uint16_t later_credits;          /* that the peer gave us, from when the connection will be up: by rdma_cm, or PROVING */
	uint16_t cm_port;                /* rdma_cm: where the peer listens */
	uint8_t cm_tries;                /* ports of ours that TCP had already */
};

struct verbs_port {
	struct wf_port base;
	const struct verbs_lib *lib;
	struct wf_conf_rdma want;        /* of the setting */
	char why[200];                   /* why there is no device */
	bool looked;                     /* for devices */
	uint64_t looked_at;
	uint64_t look_at;                /* for one that was lost, also when nobody makes an offer; 0: none is */
	unsigned n_dev;
	struct verbs_dev *dev[2 * VERBS_DEVS];   /* with those that were lost, and that lanes may still have queue pairs of */
	struct wf_list notices;          /* lanes that went up or down and whose owner does not know yet */
	struct wf_list timed;            /* lanes that wait for an answer */
	struct wf_list starved;          /* lanes that core waits for room on */
	struct wf_list resumed;          /* lanes with held frames that core may take now */
	struct wf_list owing;            /* lanes that owe their peer a good part of its credits, or a word about a copy */
	struct wf_list copies;           /* struct verbs_xfer: reads to be posted */
	struct wf_list longs;            /* struct verbs_op: pieces to be posted */
	struct wf_list finished;         /* struct wf_copy: ended, the owner is not told yet */
	struct wf_list ended;            /* struct wf_rma: the same */
	struct wf_pool xfers, reads, ops, pieces;
	const struct verbs_cmlib *cmlib;
	struct rdma_event_channel *cm;   /* NULL: rdma_cm was not needed yet, or is not there */
	struct wf_watch cm_watch;
	bool chores;
	uint8_t asked;                   /* a lane of this port was: polls until it is answered at the latest */
	uint16_t turns;                  /* polls, counted round and round */
	uint64_t wake_at;
	uint64_t events_at;              /* when adapters may be asked next what they have to say of themselves */
	uint64_t watch_at;               /* for verbs_watch() */
};

static inline struct verbs_lane *verbs_lane_of(struct wf_lane *l)
{
	return (struct verbs_lane *)l;
}

static inline struct verbs_port *verbs_port_of(struct wf_port *p)
{
	return (struct verbs_port *)p;
}

static inline struct verbs_port *verbs_lane_port(const struct verbs_lane *l)
{
	return (struct verbs_port *)l->base.port;
}

struct verbs_piece {                     /* a work request of a one-sided operation */
	struct verbs_op *op;
	uint64_t at, len;
	struct verbs_buf *proof;         /* it is none of the bytes, but reads some back */
	uint8_t rail;
};

struct verbs_op {                        /* a one-sided operation that the adapter has */
	struct wf_list link;             /* port->longs: it is paced */
	struct verbs_lane *l;
	struct wf_rma *x;
	struct verbs_piece whole;        /* all requests of one that is not paced */
	uint64_t at;                     /* bytes that were posted so far, of a long one */
	unsigned left;                   /* work requests that are posted */
	uint32_t next_frame;             /* of a put as a whole: number of the frame that follows it */
	bool failed, paced;
	uint8_t rails;                   /* a bit for each that may carry pieces of it */
	uint8_t unproved, proving;       /* of them: has written, and whether that is in memory is not known; is asked */
	struct verbs_buf *buf;           /* of a short get or atomic */
	unsigned n_mr, n_again;          /* places of the following that are in use */
	struct { uint64_t at, len; uint8_t rail; } again[VERBS_READS * VERBS_DEVS];   /* failed over that rail */
	struct verbs_mr *mr[VERBS_PIECES * VERBS_DEVS];   /* by buffer, then by rail */
};

/* ---- verbs.c ---- */

/* An adapter gave up: what came before is delivered, then the owner is told that the lane is down. First cause stays. */
void verbs_break(struct verbs_lane *l, const char *cause_fmt, ...) WF_PRINTF(2, 3);
/* The lane is over: its owner is told in the next poll(). First cause stays. */
void verbs_fail(struct verbs_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...) WF_PRINTF(4, 5);
void verbs_set_up(struct verbs_lane *l);
/* Now that a message has come: in verbs_poll() only. */
void verbs_tell_up(struct verbs_lane *l);
void verbs_wake_at(struct verbs_port *p, uint64_t at_ns);

/* ---- verbs_dev.c ---- */

/* Looks for devices, once, and again while there is none or one is lost. 0, or none: p->why. */
int verbs_devs_look(struct verbs_port *p);
bool verbs_devs_look_again(struct verbs_port *p);   /* when one is lost and it is time; now and then, and before sleep */
void verbs_devs_close(struct verbs_port *p);
/* Makes it ready for queue pairs. 0 or -errno and the words in @why. */
int verbs_dev_start(struct verbs_dev *d, char *why, size_t cap);
void verbs_dev_events(struct verbs_dev *d);   /* takes those that wait; by itself when the worker looks at descriptors */
void verbs_dev_lose(struct verbs_dev *d);     /* taken out, or broken for good: its lanes break */
/* A completion queue with room for one more queue pair; NULL: not possible, and why. */
struct verbs_cq *verbs_cq_get(struct verbs_dev *d, char *why, size_t cap);
void verbs_cq_put(struct verbs_cq *c);
void verbs_repost(struct verbs_dev *d);  /* there is one at least */

/* ---- verbs_recv.c ---- */

/*
 * How many frames a new peer may have on their way to this queue pair. Where it cannot be held back, or the queue is not shared, so
 * many that all together find buffers, more of which are made. 0: no more peers, and why.
 */
unsigned verbs_promise(struct verbs_qp *q, char *why, size_t cap);
void verbs_promise_ends(struct verbs_qp *q);   /* the queue pair is gone, or was never made */
int verbs_own_recvs_post(struct verbs_qp *q);  /* all of them, before the peer can send. 0 or an errno */
bool verbs_own_recv_back(struct verbs_qp *q);  /* the adapter gave one back; false: it takes no more */
void verbs_own_repost(struct verbs_dev *d);

/* ---- verbs_buf.c ---- */

/* For up to VERBS_INLINE bytes, or VERBS_BUF. NULL: all are in use. A frame is kept in one also when the adapter takes its bytes with
 * the work request: until it is known to have come it may have to be sent again. */
struct verbs_buf *verbs_send_buf(struct verbs_dev *d, bool is_small);
void verbs_send_buf_put(struct verbs_dev *d, struct verbs_buf *b);
/* Is one free, or is it time to look for more? */
bool verbs_may_send_buf(const struct verbs_dev *d, bool is_small);
/* The buffer, which @q has received into, may be received into again, from the next verbs_repost() on. */
static inline void verbs_recv_buf_put(struct verbs_dev *d, struct verbs_qp *q, struct verbs_buf *b)
{
	if (wf_unlikely(!d->srq) && !verbs_own_recv_back(q))
		return;
	b->wr.next = d->unposted ? &d->unposted->wr : NULL;
	d->unposted = b;
}
/* @n more of those for the shared queue; 0, or -ENOMEM and why. */
int verbs_more_recvs(struct verbs_dev *d, unsigned n, char *why, size_t cap);
/* @n of those for a queue that is not shared, in a block of their own; NULL: why. */
struct verbs_block *verbs_recvs_get(struct verbs_dev *d, unsigned n, char *why, size_t cap);
void verbs_blocks_free(struct verbs_dev *d);  /* all of them; no queue pair is left */

/* ---- verbs_route.c ---- */

struct verbs_pair {                      /* a rail to be */
	struct verbs_dev *dev;
	uint8_t gid_at;                  /* in dev->gid */
	struct verbs_where to;
};
/* Which of our ports reach which of the peer's, by addresses that both offered (@own NULL: rdma_cm connects, and
 * ours need not have been): number of @out, at most VERBS_DEVS; 0: none, and why. */
unsigned verbs_route(struct verbs_port *p, const struct verbs_told *own, const struct verbs_told *to, struct verbs_pair *out, char *why,
		     size_t cap);
/* Was this address offered? */
bool verbs_is_among(const struct verbs_told *told, const uint8_t *gid);
void verbs_gid_text(const uint8_t *gid, char *out, size_t cap);
/* Fills @d->gid from the port's table of @n places. */
void verbs_gids_read(struct verbs_dev *d, int n);
/* The place of that GID in d->gid, or -1. */
int verbs_gid_find(const struct verbs_dev *d, const uint8_t *gid);
/* The port's addresses have changed: lanes that stand on one that went are asked whether they still reach their peers. */
void verbs_ask_orphans(struct verbs_dev *d);

/* ---- verbs_conn.c ---- */
size_t verbs_offer(struct wf_lane *l, void *out, size_t cap);
int verbs_attach(struct wf_lane *l, bool active, const void *offer, size_t len);
void verbs_hear(struct wf_lane *l, const void *p, size_t len);
/* A rail of @l over @d from the address at @gid_at, not connected. NULL: not possible, and why. */
struct verbs_qp *verbs_rail_new(struct verbs_lane *l, struct verbs_dev *d, unsigned gid_at, char *why, size_t cap);
uint8_t verbs_timeout_code(const struct wf_conf *conf);   /* of an acknowledgement, by failure_detect */
void verbs_come_up(struct verbs_lane *l, uint16_t credits);
void verbs_proved(struct verbs_lane *l, bool late);   /* PROVING: a rail has reached the peer, or broke; late: others never will */
void verbs_path_class(const struct verbs_dev *d, struct ibv_ah_attr *a);   /* as the setting says */
void verbs_say_no(struct verbs_lane *l, const char *why);   /* the lane fails, here and at the peer */
/* Somebody waits for the peer: until half the time for connecting is over. */
void verbs_time(struct verbs_lane *l);
/* Its queue pairs: broken now, freed when the adapter has let go. */
void verbs_rails_drop(struct verbs_lane *l);
void verbs_qp_break(struct verbs_qp *q);
int verbs_dying_step(struct verbs_dev *d, uint64_t now);   /* frees those that are done with */
void verbs_dying_free(struct verbs_dev *d);                /* all, now */
void verbs_qp_is_empty(struct verbs_dev *d, const struct ibv_qp *qp);   /* the adapter holds no receive buffer for it any more */

/* ---- verbs_watch.c ---- */
void verbs_watch(struct verbs_port *p, uint64_t now);   /* looks, if it is time; verbs_break() may follow */
bool verbs_watch_hear(struct verbs_lane *l, const struct verbs_say *s);   /* false: it is about something else */
#define VERBS_ANSWER (VERBS_SRQ / VERBS_BATCH + VERBS_SQ)   /* polls that fetch all that a queue may hold */
void verbs_watch_answer(struct verbs_port *p);   /* peers that asked; all that lay in the queues then was handled since */

/* ---- verbs_cm.c ---- */

/* rdma_cm can be used in this worker. 0, or WEFT_ENOTSUP and why. */
int verbs_cm_open(struct verbs_port *p, char *why, size_t cap);
void verbs_cm_close(struct verbs_port *p);                  /* after the devices */
/* Fills @d->gid with the addresses of this host that rdma_cm takes for @d's. */
void verbs_cm_addresses(struct verbs_dev *d);
void verbs_cm_unlisten(struct verbs_dev *d);
/* Does this pair of sides connect by rdma_cm? Leaves the one of @pairs that it would be. */
bool verbs_cm_wanted(const struct verbs_offer *o, struct verbs_pair *pairs, unsigned *n);
void verbs_cm_ask(struct verbs_lane *l, const struct verbs_pair *pair);
bool verbs_cm_hear(struct verbs_lane *l, const struct verbs_say *s);   /* false: not asked for */
void verbs_cm_first(struct verbs_lane *l);                  /* the first message has come: up */
void verbs_cm_free(struct verbs_qp *q);                     /* its identifier */
const char *verbs_cm_late(const struct verbs_lane *l);      /* what did not come in time */

/* ---- verbs_mr.c ---- */

/* Registers @len bytes for the adapter: all of @r, once, when there is one. NULL: *@err_out is an errno. */
struct verbs_mr *verbs_mr_get(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access, int *err_out);
/* For one operation or grant: these bytes, which lie in @r when that is not NULL. */
struct verbs_mr *verbs_mr_new(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access, int *err_out);
void verbs_mr_put(struct verbs_dev *d, struct verbs_mr *m);
/*
 * Each of @bufs on each of @rails (a bit for each) that is not broken. @mr has a place for each buffer and rail, by buffer, then by rail; those
 * that are got are filled, others left as they are. False: *err_out, and none is held.
 */
bool verbs_mrs_get(struct verbs_lane *l, const weft_buf *bufs, size_t n, const struct wf_region *r, uint32_t access, unsigned rails,
		   struct verbs_mr **mr, int *err_out);
void verbs_mrs_put(struct verbs_lane *l, struct verbs_mr **mr, size_t n, unsigned rails);
#define VERBS_ALL_RAILS ((1u << VERBS_DEVS) - 1)
/* After a registration that failed: on demand, when that was for want of locked memory and the adapter can put it to all of @uses
 * (IBV_ODP_SUPPORT_*). NULL: not so; errno is as before. */
struct ibv_mr *verbs_reg_on_demand(struct verbs_dev *d, void *addr, size_t len, uint32_t access, uint32_t uses);
/* That errno of a registration means: no more memory may be locked. */
bool verbs_is_memlock(int err);
void verbs_region_gone(struct wf_port *p, uint64_t id);
void verbs_mrs_drop(struct verbs_dev *d);
/* In words: why it could not, and what helps. */
void verbs_mr_explain(struct wf_lane *l, int err, size_t len);

/* ---- verbs_tx.c ---- */
int verbs_send(struct wf_lane *l, const struct wf_tx *tx);
bool verbs_send_short(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *p, uint32_t len);
int verbs_replay(struct wf_lane *l, uint32_t from, wf_replay_fn *fn, void *arg);
/*
 * A put that its caller was told is done cannot be sent again, and it may not have come: it came back, or its adapter is an iWARP one, for
 * which done means sent. It has come when frame number @next_frame has, which follows it on the same queue pair.
 */
void verbs_lose_put(struct verbs_lane *l, uint32_t next_frame);
void verbs_unsent_drop(struct verbs_lane *l);
/* A message without a frame: credits, and what verbs_copy.c says. False: no room now (a lane that is over: true). */
bool verbs_note(struct verbs_lane *l, uint16_t kind, uint32_t arg);
/*
 * Are all frames so far done? A completion will say so: that of a write of no bytes, for which no key is looked at (InfiniBand
 * specification, C9-88) and which takes no receive buffer. Without room for it the last that found some says the same, or another does.
 */
void verbs_ask(struct verbs_qp *q);
bool verbs_may_note(const struct verbs_lane *l);   /* false: verbs_note() would find no room */
bool verbs_has_room(const struct verbs_lane *l);   /* for a frame, and for what rma_start() may have asked for */
int verbs_starve(struct verbs_lane *l, unsigned wants);   /* work requests at a time, 0: a frame. wf_lane_room() follows; WEFT_AGAIN */
static inline bool verbs_sq_has_room(const struct verbs_qp *q, unsigned n)
{
	return q->posted - q->done + n <= VERBS_SQ;
}
/* Posts one work request, @wr's wr_id and signalling filled in. False: the lane has failed, or that rail of it. */
bool verbs_post(struct verbs_qp *q, struct ibv_send_wr *wr, uint8_t kind, void *ptr);

/* ---- verbs_rx.c ---- */
int verbs_rx(struct verbs_dev *d);       /* completions; upcalls; number of frames and ends */
bool verbs_rx_fetch(struct verbs_dev *d);   /* into the stash, no upcalls: is there anything? */
int verbs_hand_on(struct verbs_lane *l); /* held frames, to core */
void verbs_qp_give_up(struct verbs_qp *q);   /* a broken one that does not come back */
/* Nothing that names @q is left in its completion queue. */
void verbs_cq_sweep(struct verbs_qp *q);

/* ---- verbs_copy.c ---- */
size_t verbs_xfer_size(void);
size_t verbs_read_size(void);
int verbs_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
int verbs_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
void verbs_copy_stop(struct wf_lane *l, struct wf_copy *c);
void verbs_copy_end(struct wf_lane *l, struct wf_copy *c);
bool verbs_copy_hear(struct verbs_lane *l, uint16_t kind, uint32_t arg);   /* false: nonsense */
bool verbs_copy_say(struct verbs_lane *l);   /* what is due; false: no room, again later */
void verbs_say_soon(struct verbs_lane *l);   /* something is due */
void verbs_read_done(struct verbs_qp *q, void *read, bool well);
int verbs_copies_step(struct verbs_port *p);
int verbs_copies_tell(struct verbs_port *p);
void verbs_copies_stopped(struct verbs_lane *l);   /* its queue pairs are broken, and all that came was heard */
void verbs_copies_drop(struct verbs_lane *l);   /* lane_close */

/* ---- verbs_rma.c ---- */
size_t verbs_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access, void *desc, size_t cap,
		       uint64_t *hold);
void verbs_mem_retract(struct wf_lane *l, uint64_t hold);
void verbs_grants_drop(struct verbs_lane *l);
int verbs_mem_open(struct wf_lane *l, struct wf_direct *d);
void verbs_mem_close(struct wf_lane *l, struct wf_direct *d);
int verbs_rma(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n, size_t len);
int verbs_rma_start(struct wf_lane *l, struct wf_rma *x);
struct ibv_send_wr verbs_rma_wr(const struct wf_direct *d, unsigned rail, enum ibv_wr_opcode what, uint64_t off, struct ibv_sge *sge);
unsigned verbs_grant_rails(const struct wf_direct *d);   /* that the memory can be reached over */
void verbs_rma_ended(struct verbs_qp *q, void *piece, bool well);
void verbs_op_end(struct verbs_op *op);
int verbs_rmas_tell(struct verbs_port *p);

/* ---- verbs_long.c ---- */
unsigned verbs_long_rails(const struct verbs_lane *l, const struct wf_rma *x);   /* that would carry it */
unsigned verbs_put_requests(const struct verbs_qp *q, const struct wf_rma *x);   /* of a put over the first rail alone */
int verbs_long_start(struct verbs_op *op);
void verbs_piece_ended(struct verbs_qp *q, struct verbs_piece *pc, bool well);
int verbs_longs_step(struct verbs_port *p);
bool verbs_rail_hear(struct verbs_lane *l, uint16_t kind, uint32_t arg);   /* false: nonsense */
bool verbs_rail_say(struct verbs_lane *l);   /* as verbs_copy_say() */

#endif
