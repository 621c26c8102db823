/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fake.h - a libibverbs.so.1 with RDMA devices that are software in the calling processes of one host: for tests of the
 * verbs transport on machines without a device, and for a program's errors that a device would forgive.
 *
 * Model. A fabric is a folder, named by WEFT_TEST_IBV; in it lies one file that every process maps. It has a table for
 * each kind of object (queue pairs, completion queues, shared receive queues, memory regions, bells), their rings, and
 * one lock over everything. Who posts a send carries out the whole operation under that lock: it finds the other queue
 * pair, takes its receive, moves the bytes (process_vm_* between processes), and puts the completions into both rings.
 * What has to wait (no receive posted, peer not ready or gone) stays in its send queue and goes on when the owner or the
 * peer polls, posts or changes a state, or by a helper thread of the owner, which runs only while something waits.
 *
 * Strict where devices differ: exactly as many entries as asked for; an event only for completions that came after the
 * request for it; slots of a send queue are free only when a completion of a later or the same one was polled; of a
 * failed completion nothing but wr_id, status, vendor_err and qp_num is set, the rest is garbage; destroying a queue
 * pair removes its completions, those of receives too.
 *
 * A wrong argument makes the call fail, prints a line, and makes every process of the fabric that ends by exit() end
 * with status 99. What a peer can bring about (a bad key, too long a message) is no complaint: it completes with its
 * status.
 *
 * Environment, read by the process that uses it:
 *   WEFT_TEST_IBV          the folder; unset: no device
 *   WEFT_TEST_IBV_DEVICES  how many (1): fake0, fake1, ...
 *   WEFT_TEST_IBV_LINK     of each device, "eth,ib": on InfiniBand it has a LID and one GID. These lists: of one that is shorter
 *                          the last goes for the rest; unset: eth
 *   WEFT_TEST_IBV_SUBNETS  of each device on InfiniBand, "0,1": which subnet (0); LIDs begin anew in each
 *   WEFT_TEST_IBV_GRH      set: ports on InfiniBand want a global route in each path
 *   WEFT_TEST_IBV_MTUS     of each device's port, in bytes ("4096,1024"; 4096)
 *   WEFT_TEST_IBV_GIDS     of each device on Ethernet, how many addresses more it has, 127.1.3.1 and on, in its places from 3 on (0; 29)
 *   WEFT_TEST_IBV_SRQS     of each device: yes; no: it has no shared receive queues, and says so; refused: it says that it has (yes)
 *   WEFT_TEST_IBV_CQE      entries that a completion queue may have (32767)
 *   WEFT_TEST_IBV_MEMLOCK  bytes that a process may register, other than on demand
 *   WEFT_TEST_IBV_DMABUF   set: the driver takes dma-bufs, and takes any descriptor that can be mapped for one
 *   WEFT_TEST_IBV_ODP      on-demand paging for words out of: send recv write read atomic srq_recv; unset: a driver that is
 *                          not asked for such things
 *   WEFT_TEST_IBV_PKEYS    table of each port ("0xffff,0x8001"; 0: an empty place); a queue pair hears only its partition
 *   WEFT_TEST_IBV_FAULT    words out of: no_open no_gids port_down; lazy mute dark hold sunk (see send.c); late (what is written is
 *                          in memory when its queue pair reads or sends, or the peer's ends); an adapter that fails while it is open: fatal
 *                          (it tells, flushes what it has, and all calls give EIO), gone (taken out: it tells, gives nothing
 *                          back, then its descriptors have EPOLLERR for good), cut (the same, and does not tell). Those of ports and
 *                          adapters, mute and dark with a digit, as in gone1, are about that device. Told by events when the list of
 *                          devices is next asked for
 *   WEFT_TEST_IBV_RELAXED  set: the adapter makes use of relaxed ordering: what a read brings into memory that was registered so is
 *                          there when the process has polled a completion, and not before. Where peers write it is refused
 *   WEFT_TEST_IBV_FORK     set: as on a kernel that does not copy pinned pages for a child: nothing is registered before ibv_fork_init()
 *   WEFT_TEST_IBV_RATES    MB/s of each device, for all that one queue pair sends and reads ("400,100"; 0: without a limit)
 *   WEFT_TEST_IBV_STATUS   "N:V": the next request that is carried out ends with that status and vendor code instead, once for each
 *                          change of the words
 *   WEFT_TEST_IBV_GLOB     set: atomics are said to be atomic with the CPU's (they are not)
 *   WEFT_TEST_IBV_ABORT    abort() at the first complaint, for a debugger
 */
#ifndef WT_FAKE_IBVERBS_H
#define WT_FAKE_IBVERBS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "transports/verbs/ibv.h"

enum {
	FK_PROCS = 256, FK_QPS = 4096, FK_CQS = 2048, FK_SRQS = 1024, FK_MRS = 16384, FK_BELLS = 2048,
	FK_EVENTS = 8192,                /* of a bell */
	FK_DEVICES = 8, FK_GIDS = 32, FK_PKEYS = 8,
	FK_MAX_WR = 16384, FK_MAX_SGE = 32, FK_MAX_CQE = 32767, FK_MAX_SRQ_WR = 8192, FK_MAX_INLINE = 512, FK_MAX_RD = 128,
	FK_MAX_MSG = 8 << 20,
	FK_CLASSES = 32,                 /* of sizes of rings: powers of two */
};
#define FK_NONE UINT32_MAX
#define FK_MAGIC 0x77656674666b3031ull
#define FK_ARENA (2ull << 30)            /* a sparse file: only what is used takes memory */
#define FK_MS 1000000ull

/* In every table: who has it (its row in the table of processes + 1, 0: free), and how often the row was given out. */
struct fk_head {
	uint32_t owner, gen;
	uint64_t user;                   /* the owner's struct ibv_ */
};

struct fk_ring {                         /* entries of @stride bytes in the arena; positions only grow */
	uint64_t at;
	uint32_t stride, n;
	_Atomic uint32_t freed, next, posted;   /* freed <= next <= posted; [next, posted) is still to be done */
};

struct fk_wr {                           /* of a send queue; then max_send_sge struct ibv_sge and max_inline_data bytes */
	uint64_t id, remote_addr, compare_add, swap;
	uint32_t opcode, flags, imm, rkey, n_sge, len;
};

struct fk_recv {                         /* of a receive queue; then max_sge struct ibv_sge */
	uint64_t id;
	uint32_t n_sge, reserved;
};

struct fk_cqe {
	struct ibv_wc wc;
	uint32_t qp, qp_gen;
	uint32_t frees, is_send;         /* is_send: polling it frees the send queue up to here */
};

struct fk_mr {
	struct fk_head h;
	uint32_t access, uses;           /* uses: IBV_ODP_SUPPORT_*, of memory on demand; pinned memory has all */
	uint64_t pd, iova, addr, len;
	bool pins;                       /* counts as locked */
};

struct fk_cq {
	struct fk_head h;
	struct fk_ring ring;
	uint32_t bell, async;            /* FK_NONE: no channel */
	uint32_t n_qps;
	enum { FK_UNARMED, FK_ARMED_SOLICITED, FK_ARMED } armed;
	bool overrun;
};

struct fk_srq {
	struct fk_head h;
	struct fk_ring ring;
	uint64_t pd;
	uint32_t async, n_qps, max_sge, limit;
};

struct fk_qp {
	struct fk_head h;
	uint64_t pd;
	uint32_t dev, qpn, send_cq, recv_cq, srq, async;
	struct ibv_qp_cap cap;
	bool sig_all;
	enum ibv_qp_state state;
	uint16_t pkey;                   /* that stood at attr.pkey_index when it was set */
	struct ibv_qp_attr attr;         /* as last set */
	struct fk_ring sq, rq;
	bool waits;                      /* in fk_shm.waiting */
	uint64_t lazy_from;
	uint64_t paced_to;               /* when the first of what is posted is through; 0: it has not begun */
	uint64_t no_peer_since, rnr_since;
};

struct fk_event {
	uint64_t object;                 /* the owner's pointer */
	uint32_t type;
};

struct fk_bell {                         /* a queue of events that a descriptor is readable for, in its owner */
	struct fk_head h;
	uint32_t first, n;
	int fd;                          /* in its owner */
	bool broken;                     /* EPOLLERR when it is empty */
	uint64_t ctx;                    /* the owner's struct fk_context */
	struct fk_event event[FK_EVENTS];
};

struct fk_shm {
	uint64_t magic, id;              /* id: in the names of the bells' sockets */
	pthread_mutex_t lock;
	_Atomic uint32_t complaints;
	uint64_t next_pd;
	struct { pid_t pid; } proc[FK_PROCS];
	_Atomic uint32_t n_waiting;
	uint32_t waiting[FK_QPS];
	uint64_t arena_used, arena_free[FK_CLASSES];   /* lists of freed blocks: the first word is the next */
	struct fk_qp qp[FK_QPS];
	struct fk_cq cq[FK_CQS];
	struct fk_srq srq[FK_SRQS];
	struct fk_mr mr[FK_MRS];
	struct fk_bell bell[FK_BELLS];
	_Alignas(4096) uint8_t arena[];
};

struct fk_context {
	struct verbs_context x;          /* ends with what the caller has */
	struct fk_device *dev;
	uint32_t async;                  /* bell */
	int n_objects;
	struct fk_context *next;
	bool gone, was_down, was_bare;
};

struct fk_device {
	struct ibv_device v;
	uint32_t index;
	int refs;                        /* lists and contexts */
};

struct fk_pd {
	struct ibv_pd v;
	uint64_t id;
	int n_objects;
};

struct fk_channel {
	struct ibv_comp_channel v;
	uint32_t bell;
};

/* ---- fabric.c: the file, the lock, who lives ---- */

extern struct fk_local {
	pid_t pid;                       /* the process that this is about: a forked child's is not ours */
	int users;                       /* contexts */
	int fd, wake_fd;
	uint32_t me;                     /* row in proc + 1 */
	struct fk_shm *shm;
	dev_t dev;                       /* of the file that shm maps */
	ino_t ino;
	bool helper;                     /* the thread runs */
	uint64_t registered;             /* bytes */
} fk;

/* Prints, and the processes of the fabric end with 99. Returns EINVAL. */
int fk_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* As fk_complain() with errno set, for who returns a pointer. */
void *fk_complain_null(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int fk_attach(void);
void fk_detach(void);
/* Takes the lock; false, and complained, in a process that did not open the device (@what: the call). */
bool fk_enter(const char *what);
/* As fk_enter(), but without a complaint: for calls that are allowed where no device is open. */
bool fk_enter_if_attached(void);
void fk_leave(void);

bool fk_is_alive(uint32_t owner);
bool fk_has_fault(const char *word);
/* What WEFT_TEST_IBV_STATUS says of the next request; false: nothing new. */
bool fk_wanted_status(int *status, uint32_t *vendor);
uint64_t fk_now(void);

/* Row of a free entry of a table, given to us, or FK_NONE. */
uint32_t fk_take_row(void *table, size_t stride, uint32_t n, void *user);
#define FK_TAKE(table, user) \
	fk_take_row(fk.shm->table, sizeof(fk.shm->table[0]), sizeof(fk.shm->table) / sizeof(fk.shm->table[0]), user)

/* ENOMEM: the arena is full. */
int fk_ring_new(struct fk_ring *r, uint32_t n, size_t stride);
void fk_ring_free(struct fk_ring *r);
static inline void *fk_slot(const struct fk_ring *r, uint32_t pos)
{
	return fk.shm->arena + r->at + (uint64_t)(pos % r->n) * r->stride;
}

/* ---- bell.c ---- */

/* A row, and its descriptor in *@fd; FK_NONE and errno. */
uint32_t fk_bell_new(struct fk_context *ctx, void *user, int *fd);
/* Nothing more is put in; when it is empty its descriptor has an error for good, as that of a device that was taken out. */
void fk_bell_break(uint32_t bell);
void fk_bell_free(uint32_t bell, int fd);
void fk_bell_push(uint32_t bell, uint64_t object, uint32_t type);
/* False: there is none. */
bool fk_bell_take(uint32_t bell, int fd, struct fk_event *out);
/* Waits for one unless @fd is non-blocking. 0, or -1 and errno. */
int fk_bell_wait(uint32_t bell, int fd, struct fk_event *out, const char *what);
/* Takes the events of @object out, as if they had not been: it is destroyed. */
void fk_bell_forget(uint32_t bell, int fd, uint64_t object);

/* ---- device.c ---- */

bool fk_is_ib(uint32_t dev);
uint64_t fk_subnet_of(uint32_t dev);
uint16_t fk_lid_of(uint32_t dev);        /* 0: none, on Ethernet */
enum ibv_mtu fk_mtu_of(uint32_t dev);
bool fk_needs_grh(uint32_t dev);
int fk_max_cqe(void);
bool fk_has_srqs(uint32_t dev);
bool fk_gid_of(uint32_t dev, uint32_t index, union ibv_gid *out);
uint64_t fk_rate_of(uint32_t dev);       /* MB/s; 0: without a limit */
void fk_fork_check(void);                /* memory is registered */
uint32_t fk_odp(void);                   /* IBV_ODP_SUPPORT_*; 0: none */
/* How many places the table of a port has. */
uint32_t fk_n_pkeys(void);
/* 0: none stands there. */
uint16_t fk_pkey_of(uint32_t index);
/* Of any device of the fabric; FK_NONE: nobody's. */
uint32_t fk_device_of(const union ibv_gid *gid);
static inline struct fk_context *fk_ctx(struct ibv_context *ctx)
{
	return (struct fk_context *)(void *)((char *)ctx - offsetof(struct verbs_context, context));
}

/* ---- change.c ---- */

bool fk_device_has_fault(const char *word, uint32_t dev);
bool fk_is_out(uint32_t dev);            /* nobody opens it */
/* EIO, in errno as well: the adapter went while it was open. Else 0. */
int fk_gone(struct ibv_context *ctx);
void fk_tell_changes(void);
void fk_context_add(struct fk_context *c);
void fk_context_remove(struct fk_context *c);

/* ---- memory.c ---- */

struct fk_vec {                          /* memory of one process, and what is done with it: an IBV_ODP_SUPPORT_ */
	uint32_t owner, use;
	int n;
	size_t len;
	bool relaxed;
	struct iovec v[FK_MAX_SGE];
};

/* Adds what a key gives a right to. False: it gives none. */
bool fk_vec_add(struct fk_vec *vec, uint64_t pd, uint32_t key, bool remote, uint32_t access, uint64_t addr, size_t len);
/* The local pieces of a work request. */
bool fk_vec_local(struct fk_vec *vec, uint64_t pd, const struct ibv_sge *sge, uint32_t n, uint32_t access);
/* Copies @len bytes; either side must be ours. 0, ESRCH (the other process is gone), or another errno. */
int fk_copy(const struct fk_vec *to, const struct fk_vec *from, size_t len);

/* ---- cq.c ---- */

struct fk_cq *fk_cq_of(struct ibv_cq *cq, const char *what);
int fk_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc);
int fk_req_notify_cq(struct ibv_cq *cq, int solicited_only);
void fk_cq_push(uint32_t cq, const struct fk_cqe *e, bool solicited);
void fk_cq_forget(uint32_t cq, uint32_t qp);

/* ---- recv.c: receive queues, shared and not ---- */

struct fk_srq *fk_srq_of(struct ibv_srq *srq, const char *what);
int fk_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
int fk_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
/* The next receive for @q with its protection domain; NULL: none is posted. */
struct fk_recv *fk_recv_peek(struct fk_qp *q, uint64_t *pd);
void fk_recv_pop(struct fk_qp *q);

/* ---- qp.c ---- */

struct fk_qp *fk_qp_of(struct ibv_qp *qp, const char *what);
/* To ERR: everything that is posted is flushed. @event: IBV_EVENT_ to tell as well, or -1. */
void fk_qp_fail(struct fk_qp *q, int event);
static inline uint32_t fk_qp_row(const struct fk_qp *q)
{
	return (uint32_t)(q - fk.shm->qp);
}

/* ---- send.c, wire.c ---- */

int fk_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
enum { FK_NO_PEER = 1000, FK_RNR };      /* beside enum ibv_wc_status: try again */
/* Puts into memory what is not there yet of what this process wrote: by the queue pair of that row, or to that one. */
void fk_late_place(uint32_t from_qp, uint32_t to_qp);
/* ... and what this process has read into memory with relaxed ordering. */
void fk_relaxed_place(void);
void fk_relaxed_drop(const void *addr, size_t len);   /* its registration ends: nothing is written there any more */
/* Carries out the work request @wr of @q: its status. */
int fk_execute(struct fk_qp *q, struct fk_wr *wr);
/* Completes a request with @status. */
void fk_complete_send(struct fk_qp *q, uint32_t pos, int status, uint32_t vendor);
void fk_complete_recv(struct fk_qp *q, const struct fk_recv *r, int status, uint32_t opcode, uint32_t len,
		      const struct fk_wr *wr);
/* Does what is in the send queue, until something must wait. */
void fk_run(struct fk_qp *q);
/* Looks again at what waits and is ours or for us. */
void fk_progress(void);
void fk_stop_waiting(struct fk_qp *q);

#endif
