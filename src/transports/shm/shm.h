/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm.h - two processes of one host: what lies in the memory they share, and the private structs of this
 * transport.
 *
 * Model. Each direction of a lane has a segment: a sealed memfd that its sender made and both sides map. In it, a
 * ring of slots (a frame and its small payload, in one cache line or two), a ring of bytes for longer payloads, a
 * table of large buffers that both processes copy together, and three control lines, each written by one side
 * only:
 *   want_room  sender: "ring when you freed something"
 *   freed      receiver: how far it has consumed, published in batches
 *   asleep     receiver: "ring the bell when you publish"; 1 while it sleeps, taken back by whoever rings
 * The segments, the bells (eventfds) and a pidfd for each process are passed over a UNIX socket (shm_attach.c),
 * which stays open for memory that is passed later (shm_mem.c) and as a second witness of the peer's end.
 *
 * Trust. Everything in the peer's reach may hold garbage at any time. A field is read once into a private copy,
 * then checked; positions in the rings are our own, so foreign numbers never decide where we read or write. What
 * breaks the rules ends the lane with WEFT_EPROTO.
 *
 * Sleep. A lane is hot (looked at in each poll) or parked (asleep stays set; the bell makes it hot again). Who
 * goes to sleep sets `asleep` on its hot lanes, pays for the barrier, and looks once more; who publishes only
 * reads a line that it has in its cache.
 */
#ifndef WF_TRANSPORTS_SHM_H
#define WF_TRANSPORTS_SHM_H
#include <stdatomic.h>

#include "base/map.h"
#include "base/pool.h"
#include "core/transport.h"
#include "os/clock.h"
#include "os/mem.h"
#include "os/proc.h"
#include "os/sock.h"

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan" /* gcc's sanitizer does not follow fences; the peers are processes anyhow */
#endif

#define SHM_VERSION 2u
#define SHM_SLOTS 64u                    /* a power of two; both directions together stay within the L1 cache */
#define SHM_INLINE 96u                   /* payload bytes in a slot; */
#define SHM_LINE 32u                     /* of them in its first line */
#define SHM_COPIES 32u                   /* large buffers that one direction may have on offer */
#define SHM_PIECES 8u                    /* of a buffer that the other process is told about */
#define SHM_FRAME_MAX (32u << 10)
#define SHM_BULK (2u << 10)              /* payloads from here on go past the caches (base/copy.h) where the peer's CPU is far: */
#define SHM_FAR_NS 192                   /* where through them they take longer than this for a KiB (near 30 to 150, far 200 to 450), */
#define SHM_NEAR_NS 160                  /* and until they take less than this */
#define SHM_TIME_NEAR (64u << 10)        /* once in so many bytes one is timed while they go through the caches, */
#define SHM_TIME_FAR (8u << 20)          /* and goes through the caches to be timed while they do not */
#define SHM_PUBLISH (32u << 10)          /* bytes read after which the sender is told */
#define SHM_RING_SHARE 128u              /* of the memory that is left for rings, the next one takes at most one part, */
#define SHM_RING_SHORT (256u << 10)      /* but is not made shorter than this for it */
#define SHM_RING_MIN (16u << 10)
#define SHM_RING_MAX (64u << 20)
#define SHM_SECRET 16u
#define SHM_NAME 24u                     /* of the listener, in the abstract namespace */
#define SHM_BATCH 32u                    /* frames of one lane in one poll() */
#define SHM_HOT 8u                       /* lanes that are never parked */
#define SHM_LOOKS 32u                    /* in a row, of a poll() that waits */
#define SHM_PARK_EVERY 1024u             /* polls between two looks for lanes to park */
#define SHM_HALVES 32u                   /* UNIX connections that have not said for whom they are */
#define SHM_MAPS 256u                    /* memory of one peer that is mapped at a time */
#define SHM_SEGMENT_MAX ((size_t)SHM_RING_MAX + (1u << 20))

/* ---- shared memory ---- */

/* Two lines each, also where the second is not used: CPUs fetch lines in pairs, and whoever reads one would take the next,
 * which is just being written, from its writer (G31). */
struct shm_slot {
	WF_ALIGNED(128) struct wf_frame h;  /*  0 */
	_Atomic uint32_t stamp;             /* 24: number of the slot's frame, from 1; written last */
	uint32_t reserved;
	uint8_t payload[SHM_INLINE];        /* 32: when h.len <= SHM_INLINE; else in the byte ring */
};
_Static_assert(sizeof(struct shm_slot) == 128, "a slot is a pair of cache lines");
_Static_assert(offsetof(struct shm_slot, payload) + SHM_LINE == 64, "what is shorter needs the first only");

struct shm_piece {
	uint64_t addr, len;
};

/* Where a buffer lies, in the address space of its owner. */
struct shm_where {
	uint64_t len;                       /* bytes */
	uint64_t region, base, region_len;  /* passed memory that all of it lies in; region 0: none */
	uint32_t chunk;                     /* bytes that are claimed at a time; sender's only */
	uint32_t n;                         /* pieces; 0: too many to tell */
	struct shm_piece piece[SHM_PIECES];
};

/* One side's part of a large copy, written by that side; the receiver also resets done and failed at its start. */
struct shm_part {
	WF_ALIGNED(64) struct shm_where where;
	WF_ALIGNED(64) _Atomic uint32_t done;   /* chunks that this side has copied */
	_Atomic uint32_t failed;            /* this side cannot copy (any more) */
};

struct shm_copy_slot {
	WF_ALIGNED(64) _Atomic uint64_t claim;   /* see shm_copy.c */
	struct shm_part src, dst;
};

struct shm_segment {                     /* lines that different sides write lie 128 bytes apart: CPUs fetch pairs */
	WF_ALIGNED(128) _Atomic uint32_t want_room;
	WF_ALIGNED(128) _Atomic uint64_t freed;   /* slots: low half; bytes: high half */
	WF_ALIGNED(128) _Atomic uint32_t asleep;
	WF_ALIGNED(128) struct shm_slot slot[SHM_SLOTS];
	struct shm_copy_slot copy[SHM_COPIES];
	WF_ALIGNED(4096) uint8_t bytes[];
};

static inline size_t shm_segment_len(uint32_t ring)
{
	return sizeof(struct shm_segment) + ring;
}

/* ---- what is said over the UNIX socket ---- */

#define SHM_MAGIC 0x6d687377u

enum { SHM_HELLO = 1, SHM_ANSWER, SHM_RIGHTS, SHM_REGION, SHM_REGION_GONE, SHM_BELL };
enum { SHM_HAS_MEMBARRIER = 1, SHM_WANTS_CMA = 2, SHM_HAS_RIGHTS = 4 };   /* shm_hello.flags, shm_offer.flags */
enum { SHM_FD_SEGMENT, SHM_FD_BELL, SHM_FD_PID, SHM_FDS };                /* with HELLO and ANSWER */

struct shm_hello {                       /* HELLO, ANSWER */
	uint32_t magic, what;
	uint32_t version, flags;
	uint8_t to[SHM_SECRET], from[SHM_SECRET];   /* secrets of the receiving and the sending lane */
	uint8_t nonce[SHM_SECRET];
	uint64_t nonce_addr;                /* where the sender has it: whoever can read it there may copy */
	uint32_t ring, reserved;
};

struct shm_note {                        /* all others */
	uint32_t magic, what;
	uint64_t id, len;                   /* REGION: with its memfd; RIGHTS: id 0 or 1 */
};

struct shm_offer {                       /* in the hello of the connection */
	uint8_t version, flags, name_len, reserved;
	uint32_t uid;
	uint8_t secret[SHM_SECRET];
	char name[SHM_NAME];
};
_Static_assert(sizeof(struct shm_offer) == 8 + SHM_SECRET + SHM_NAME, "no padding on the wire");

/* ---- port, lane ---- */

struct shm_port {
	struct wf_port base;
	struct wf_list hot, parked;         /* of shm_lane.hot */
	struct shm_lane *next;              /* the running scan of hot goes on here */
	uint32_t n_hot, turn, round;        /* polls; looks for lanes to park */
	bool waits;                         /* the last poll found no frame */
	bool chores;                        /* one of the following is not empty */
	bool armed, membarrier;
	struct wf_list notices;             /* lanes that went up or down and whose owner does not know yet */
	struct wf_list timed;               /* lanes with a deadline: attaching, dying */
	struct wf_list waiting;             /* passive lanes that wait for their peer's connection */
	struct wf_list starved;             /* lanes that core waits for room on */
	struct wf_list copies, finished;    /* struct shm_xfer: running; ended, owner not told yet */
	struct wf_list halves;              /* struct shm_half, oldest first */
	uint32_t n_halves;
	uint64_t wake_at;                   /* 0: none */
	struct wf_pool xfers;
	size_t mapped;                      /* bytes of segments, against limit_shm */
	int bell_fd, listen_fd;
	struct wf_watch bell, listen;
	char name[SHM_NAME];
	uint8_t ctl[WF_CTL_MAX];            /* private copy of a control payload */
};

enum shm_state { SHM_NEW, SHM_OFFERED, SHM_WAITING, SHM_CONNECTING, SHM_ASKED, SHM_UP, SHM_DYING, SHM_DOWN };

struct shm_tx {
	struct shm_segment *seg;            /* our own */
	uint32_t at;                        /* frames sent: the next slot's number - 1 */
	uint32_t room;                      /* at == room: no slot that we know of is free */
	uint32_t pos, pos_room;             /* the same for bytes */
	uint32_t ring;
	uint32_t want;                      /* payload that found no room */
	uint32_t untimed;                   /* bytes in payloads of SHM_BULK and more since one was timed */
	int32_t kib_ns;                     /* what a KiB of them takes through the caches, on average */
	bool far;                           /* the peer's CPU is: they go past the caches */
	bool fence;                         /* the peers' barrier is not there: we pay for it */
	int fd;
};

struct shm_rx {
	struct shm_segment *seg;            /* the peer's */
	uint32_t at, freed;                 /* frames taken; that the sender knows of */
	uint32_t pos, pos_freed;
	uint32_t ring;
};

struct shm_lane {
	struct wf_lane base;
	struct shm_rx rx;
	struct shm_tx tx;
	struct wf_list hot;                 /* port->hot or port->parked */
	uint32_t seen;                      /* port->round when frames came last */
	uint8_t state;
	bool parked, deaf;                  /* deaf: core wants nothing more from it */
	bool quiet;                         /* the peer has closed its end or is dead: it touches nothing */
	bool active;                        /* we connected */
	bool same_user, rights, peer_rights;
	int peer_bell, peer_pidfd, sock;
	pid_t pid;                          /* of the peer as we see it; 0: we do not */
	struct wf_watch sock_watch, pid_watch;
	struct wf_list starved, timed, waiting, notice;
	uint64_t deadline;                  /* when to look at it again, in port->timed */
	uint64_t give_up_at;                /* connecting */
	int32_t down_status;                /* notice: 0 up */
	int down_errno;
	char cause[120];
	uint8_t secret[SHM_SECRET], peer_secret[SHM_SECRET], nonce[SHM_SECRET];
	char peer_name[SHM_NAME];
	uint8_t peer_name_len;
	struct wf_map passed;               /* our regions that the peer has */
	struct wf_map maps;                 /* the peer's, id -> struct shm_map */
	struct wf_list directs;             /* struct shm_direct */
	uint32_t copy_used;                 /* bit for each slot of ours in use */
	uint32_t copy_ended;                /* of them: we are done, the receiver has not seen it yet */
	uint16_t copy_gen[SHM_COPIES];
};

static inline struct shm_lane *shm_lane_of(struct wf_lane *l)
{
	return (struct shm_lane *)l;
}

static inline struct shm_port *shm_port_of(struct wf_port *p)
{
	return (struct shm_port *)p;
}

static inline struct shm_port *shm_lane_port(const struct shm_lane *l)
{
	return (struct shm_port *)l->base.port;
}

/* ---- shm.c ---- */

/* The lane is over: its owner is told in the next poll(). First cause stays. */
void shm_fail(struct shm_lane *l, int32_t status, int sys_errno, const char *cause_fmt, ...) WF_PRINTF(4, 5);
/* Attached: frames flow, its owner is told in the next poll(). */
void shm_set_up(struct shm_lane *l);
/* The peer closed its end (@gone: is dead): what is left in the ring is delivered, then the lane goes down. */
void shm_peer_left(struct shm_lane *l, bool gone);
/* poll() is wanted at @at_ns. */
void shm_wake_at(struct shm_port *p, uint64_t at_ns);
void shm_set_deadline(struct shm_lane *l, uint64_t at_ns);
void shm_hot_add(struct shm_lane *l);
void shm_unpark(struct shm_lane *l);

/* ---- shm_attach.c ---- */
void shm_on_connection(void *port, uint32_t events);   /* watch of the UNIX listener */
size_t shm_offer(struct wf_lane *l, void *out, size_t cap);
int shm_attach(struct wf_lane *l, bool active, const void *offer, size_t len);
void shm_try_connect(struct shm_lane *l);   /* again, from the timer */
void shm_drop_old_halves(struct shm_port *p, uint64_t now);
void shm_drop_all_halves(struct shm_port *p);
void shm_lane_release(struct shm_lane *l);  /* descriptors and mappings */

/* ---- shm_ring.c ---- */
int shm_send(struct wf_lane *l, const struct wf_tx *tx);
bool shm_send_short(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *p, uint32_t len);
int shm_rx(struct shm_lane *l);             /* delivers; number of frames */
int shm_rx_one(struct shm_lane *l);         /* looks some times in a row, delivers the first; number of frames */
bool shm_rx_is_ready(const struct shm_lane *l);
int shm_tell_room(struct shm_port *p);      /* lanes that have room again; number */
bool shm_has_room(struct shm_lane *l);
/* Something that the peer may sleep for was published: rings when it does. Full fence. */
void shm_wake(struct shm_lane *l);

/* ---- shm_copy.c ---- */
size_t shm_xfer_size(void);
int shm_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
int shm_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
void shm_copy_stop(struct wf_lane *l, struct wf_copy *c);
void shm_copy_end(struct wf_lane *l, struct wf_copy *c);
int shm_copies_step(struct shm_port *p);    /* moves them, a chunk each; no upcalls; how much happened */
int shm_copies_tell(struct shm_port *p);    /* upcalls of the finished */
void shm_copies_drop(struct shm_lane *l);   /* lane_close: forgets what is left */

/* ---- shm_mem.c ---- */
struct shm_map {                         /* memory of the peer that we have mapped */
	void *addr;
	size_t len;
	uint64_t id;
	uint32_t users;                     /* copies and directs */
	bool gone;                          /* unmapped with its last user */
};

void shm_rights_check(struct shm_lane *l, const struct shm_hello *h);
void shm_rights_heard(struct shm_lane *l, bool peer_rights);
/* Lets the peer map the region: false when it cannot be. May be asked often. */
bool shm_region_pass(struct shm_lane *l, const struct wf_region *r);
void shm_region_gone(struct wf_port *p, uint64_t id);
/* A copy's or direct's use of it, until shm_map_put(). NULL: it is not here (yet). */
struct shm_map *shm_map_get(struct shm_lane *l, uint64_t id);
void shm_map_put(struct shm_lane *l, struct shm_map *m);
void shm_maps_drop(struct shm_lane *l);
void shm_sock_event(void *lane, uint32_t events);   /* watch of an attached lane's socket */
void shm_sock_drain(struct shm_lane *l);            /* takes what notes are there */
size_t shm_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access,
		     void *desc, size_t cap, uint64_t *hold);
int shm_mem_open(struct wf_lane *l, struct wf_direct *d);
void shm_mem_close(struct wf_lane *l, struct wf_direct *d);
int shm_rma(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n,
	    size_t len);
int shm_atomic(struct wf_lane *l, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand, uint64_t compare,
	       uint64_t *old_out);

#endif
