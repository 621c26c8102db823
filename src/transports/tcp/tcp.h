/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp.h - the tcp transport, inside. A lane is one socket. What it owns while idle is the struct
 * below and nothing else: buffers for sending come from the port when there is something to send
 * and go back when it is written, and reading goes through one buffer of the port.
 *
 *   tcp.c         the table; the port: poll, sleep, which lanes want attention
 *   tcp_conn.c    how a lane begins, moves between workers and ends
 *   tcp_listen.c  acceptors
 *   tcp_tx.c      sending: a queue of segments, copied bytes or lent buffers, in the order of the
 *                 stream
 *   tcp_rx.c      receiving: bytes to frames
 *
 * Upcalls are made from tcp_poll() and from watches only. Whatever is found out elsewhere (a write
 * error in send(), a connect that was decided at once) is noted in the lane, which goes on the
 * port's `due` list for the next poll.
 */
#ifndef WF_TRANSPORTS_TCP_H
#define WF_TRANSPORTS_TCP_H

#include "core/transport.h"
#include "os/sock.h"
#include "os/poll.h"

#define TCP_FRAME_MAX   (256u << 10) /* payload of one frame that we send */
#define TCP_COPY_MAX    (16u << 10)  /* payloads up to here are copied and coalesced, longer ones are lent */
#define TCP_PAD         64u          /* a PAD with its header: moves what follows by a cache line */
#define TCP_GATHER      (32u << 10)  /* held back bytes that are written without waiting for poll() */
#define TCP_QUEUE_BYTES (256u << 10) /* copied bytes that may wait, before WEFT_AGAIN */
#define TCP_QUEUE_LENT  64u          /* lent frames that may wait */
#define TCP_LOCAL_QUEUE (512u << 10) /* send buffer between two processes of one host; the kernel doubles it */
#define TCP_IOV         64u          /* pieces of one system call, but for head and tail */
#define TCP_RX_BUF      (72u << 10)  /* the longest eager message and its header, and something */
#define TCP_RX_READS    4u           /* system calls for one lane and poll: fairness among lanes */
#define TCP_RX_BYTES    (1u << 20)   /* and bytes */
#define TCP_HOT         8u           /* lanes that poll() reads without asking epoll */
#define TCP_HOT_TRIES   512u         /* fruitless reads before one leaves: this >> number of hot lanes */
#define TCP_RETRY_NS    50000000ull  /* accept without descriptors; end of stream behind a paused lane */

/* ---- segments of a lane's send queue ---- */

struct tcp_seg {
	struct tcp_seg *next;
	struct wf_sent *sent;            /* lent: whom to tell; NULL: nobody */
	uint32_t head, tail;             /* copied: bytes still to write are [head, tail); lent: iov[head, tail) */
	bool lent;
};

struct tcp_copied {
	struct tcp_seg s;
	char bytes[16384 - sizeof(struct tcp_seg)];
};

struct tcp_lent {
	struct tcp_seg s;
	char head[TCP_PAD + 128];        /* a PAD, frame header and a short first part */
	struct iovec iov[TCP_IOV + 1];
};

/* ---- objects ---- */

enum tcp_state { TCP_NEW, TCP_CONNECTING, TCP_OPEN, TCP_DOWN };

struct tcp_port {
	struct wf_port p;
	struct wf_list due;              /* lanes to look after in the next poll */
	struct wf_list held;             /* lanes with bytes that wait for poll() or arm() */
	struct wf_list starved;          /* acceptors that wait for descriptors */
	struct wf_list ending;           /* lanes whose peer is gone while core had paused them */
	struct tcp_lane *hot[TCP_HOT];
	uint32_t n_hot;
	uint32_t turn;                   /* counts polls; never 0 */
	uint32_t events;                 /* upcalls made */
	bool armed;                      /* between arm() and disarm(): nothing is held back */
	bool polling;                    /* inside poll(), which writes at its end what was held back */
	struct wf_list pulsing;          /* lanes whose output may not have been acknowledged yet */
	uint64_t wake_at;                /* for starved and ending; 0: neither */
	uint64_t pulse_at;               /* for pulsing */
	uint32_t polls;                  /* since the last sleep */

	struct tcp_seg *free_copied, *free_lent;
	uint32_t n_free_copied, n_free_lent;

	/* what is being parsed; rx_lane is taken away by tcp_move() when the lane leaves in the middle of an upcall */
	struct tcp_lane *rx_lane;
	const char *rx_cur, *rx_end;
	char *rx_buf;                    /* TCP_RX_BUF bytes */

	struct tcp_acceptor *accepting;  /* taken away by tcp_unlisten() inside an upcall */
};

struct tcp_lane {
	struct wf_lane l;
	struct tcp_port *tp;             /* as l.port, but ours */
	struct wf_watch watch;
	struct wf_list due, held, ending, pulsing;
	struct wf_pulse pulse;
	int fd;
	uint8_t state;                   /* enum tcp_state */
	bool blocked;                    /* the socket is full: EPOLLOUT will tell */
	bool wants_room;                 /* WEFT_AGAIN was answered */
	bool rx_wait;                    /* core said "not now" and has not called resume() yet */
	bool rx_off;                     /* core wants no more of it, or the stream is at its end */
	bool in_sink;                    /* the payload of `h` goes to l.sink */
	bool is_hot;
	uint8_t h_have;                  /* bytes of h that are there */
	uint8_t pad_done;                /* bytes of a PAD that were skipped */
	uint16_t hot_left;

	/* why it is over, 0: it is not; told by wf_lane_down() */
	int32_t status;
	int sys_errno;
	const char *cause;               /* static */

	uint32_t turn;                   /* the port's, when a frame was last written at once */
	uint32_t q_bytes, q_lent;
	struct tcp_seg *q_head, *q_tail;
	struct tcp_seg *sent_head, **sent_tail; /* lent frames that are written and not yet reported */

	bool rx_bulk;                    /* the last frame announced a long message: what comes next is likely a piece of it */
	uint32_t stash_off, stash_len;
	uint32_t body_done;
	struct wf_frame h;               /* the frame that is being received */
	char *stash;                     /* bytes that were read and could not be delivered yet */
	char *body;                      /* payload that is collected, h.len bytes */
};

struct tcp_acceptor {
	struct wf_acceptor *a;
	struct tcp_port *tp;
	struct wf_watch watch;
	struct wf_list starved;
	int fd;
	char at[72];                     /* for texts */
};

static inline struct tcp_port *tcp_port(struct wf_port *p)
{
	return (struct tcp_port *)p;
}

static inline struct tcp_lane *tcp_lane(struct wf_lane *l)
{
	return (struct tcp_lane *)l;
}

/* ---- tcp.c ---- */

/* Have the next poll look after @t. */
void tcp_due(struct tcp_lane *t);

/* Notes why @t is over; the first reason stays. wf_lane_down() follows from settle or poll. Returns @status. */
int tcp_fail(struct tcp_lane *t, int32_t status, int sys_errno, const char *cause);

/*
 * Tells core what has come of @t (sent, down, room) and asks epoll for what it waits for now.
 * Upcalls: only from poll and watches.
 */
void tcp_settle(struct tcp_lane *t);

/* Asks epoll for what @t waits for; no system call when that is nothing new. */
void tcp_interest(struct tcp_lane *t);

/* Reads and settles; every byte that can be had before an end is delivered. */
void tcp_attend(struct tcp_lane *t);

/* Output was written: look after a while whether the peer's host has acknowledged it. */
void tcp_pulse_watch(struct tcp_lane *t);
void tcp_hot_add(struct tcp_lane *t);
void tcp_hot_remove(struct tcp_lane *t);

/* poll() is called within TCP_RETRY_NS and looks after `starved` and `ending`. */
void tcp_wake_soon(struct tcp_port *tp);

/* ---- tcp_conn.c ---- */

int tcp_connect(struct wf_lane *l, const char *to);
int tcp_move(struct wf_lane *l, struct wf_port *to);
void tcp_lane_close(struct wf_lane *l);

/* Makes @t a lane over the connected @fd (taken) of the peer @peer: its limits, socket options, state. */
void tcp_lane_init(struct tcp_lane *t, struct tcp_port *tp, int fd, const char *peer);
/* The socket is connected. */
void tcp_opened(struct tcp_lane *t);

/* Is the connection made? Up, down, or not yet. Upcalls. */
void tcp_connect_decide(struct tcp_lane *t);

/* Ends @t: frees all that it has but the struct. No upcall, no reference to lent memory stays. */
void tcp_shut(struct tcp_lane *t);

/* The watch of a lane. */
void tcp_on_event(void *arg, uint32_t events);

/* ---- tcp_listen.c ---- */

int tcp_listen(struct wf_acceptor *a, const char *at, char *bound_out, size_t cap);
void tcp_unlisten(struct wf_acceptor *a);
/* Descriptors may be back: accept again. */
void tcp_accept_again(struct tcp_acceptor *ta);

/* ---- tcp_tx.c ---- */

int tcp_send(struct wf_lane *l, const struct wf_tx *tx);

/* Writes what is queued until it is gone or the socket is full. 0, or the status noted with tcp_fail(). No upcall. */
int tcp_flush(struct tcp_lane *t);
/* The same for a lane whose socket was full, and may not be any more. */
void tcp_unblock(struct tcp_lane *t);

bool tcp_has_room(const struct tcp_lane *t);

/* The next lent frame that is written, as the caller of send() named it; NULL: none. */
struct wf_sent *tcp_sent_pop(struct tcp_lane *t);

/* Forgets the queue, lent frames included, also those that are written and not yet reported. */
void tcp_tx_drop(struct tcp_lane *t);

/* Gives the memory of free segments back. */
void tcp_segs_fini(struct tcp_port *tp);

/* ---- tcp_rx.c ---- */

enum tcp_rx {
	TCP_RX_DRAINED,                  /* the socket has no more just now */
	TCP_RX_MORE,                     /* the share of this poll is used up */
	TCP_RX_STOPPED,                  /* core does not want more now, or the lane left */
	TCP_RX_ENDED,                    /* tcp_fail() was called */
};

/* Reads and delivers. *@bytes_out grows by what was read. */
enum tcp_rx tcp_read(struct tcp_lane *t, size_t *bytes_out);

/* Keeps what is unparsed of the port's buffer with @t. 0 or WEFT_ENOMEM. */
int tcp_keep_rest(struct tcp_lane *t);

void tcp_rx_drop(struct tcp_lane *t);

static inline bool tcp_rx_is_stopped(const struct tcp_lane *t)
{
	return t->l.paused || t->rx_wait || t->rx_off;
}

#endif
