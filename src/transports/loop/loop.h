/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop.h - the structs of the transport loop, private to its two files: loop.c (connections and frames; its head tells
 * the model and the locks) and loop_mem.c (large buffers and remote memory).
 */
#ifndef WF_TRANSPORTS_LOOP_LOOP_H
#define WF_TRANSPORTS_LOOP_LOOP_H
#include <stdatomic.h>

#include "core/transport.h"
#include "os/addr.h"

struct loop_shared {
	pthread_mutex_t lock; /* zeroed memory is an unlocked mutex on Linux */
	struct loop_acceptor *acceptors;
	uint32_t last_port, last_client;
	atomic_uint_fast64_t last_token;
};

struct loop_port {
	struct wf_port p;
	struct wf_list ready, arrivals; /* these three under shared->lock */
	bool armed;
	atomic_uint n_news; /* length of both lists; poll() looks at it without the lock */
};

struct loop_acceptor {
	struct loop_acceptor *next;
	struct wf_acceptor *a;
	struct wf_addr at;
};

struct loop_frame {
	struct wf_list link;
	struct wf_frame h;
	unsigned char data[];
};

struct loop_end {
	struct loop_lane *lane;    /* of the worker that `port` belongs to */
	struct loop_port *port;    /* under shared->lock, as the next two; NULL: closed, or between two workers */
	struct wf_list ready;
	bool has_news;
	bool closed;               /* from here on under pipe->lock */
	bool starved;              /* its lane was told WEFT_AGAIN */
	uint32_t n_frames, n_bytes;
	struct wf_list frames;     /* to this end */
	struct wf_list copies;     /* wf_copy.link; word[0] the token, word[1]: the peer has copied it */
	struct wf_list mems;
	char at[WF_ADDR_TEXT];     /* its address, set once; that of the connecting end is made up */
};

enum { PIPE_WAITS, PIPE_UP, PIPE_REFUSED };

struct loop_pipe {
	pthread_mutex_t lock;
	struct loop_shared *shared;
	struct wf_list arrival;           /* under shared->lock, as the next */
	struct loop_acceptor *acceptor;
	int state, refs;                  /* under lock */
	struct loop_end end[2];           /* 0: the side that connected */
};

struct loop_lane {
	struct wf_lane l;
	struct loop_pipe *pipe;
	unsigned side;
	bool told_up, told_down;
	struct wf_list finished;          /* copies whose upcall is due; word[2] the status */
};

static inline struct loop_lane *loop_lane_of(struct wf_lane *l)
{
	return wf_container_of(l, struct loop_lane, l);
}

static inline struct loop_port *loop_port_of(struct wf_port *p)
{
	return wf_container_of(p, struct loop_port, p);
}

static inline struct loop_end *loop_own_end(struct loop_lane *ll)
{
	return &ll->pipe->end[ll->side];
}

static inline struct loop_end *loop_peer_end(struct loop_lane *ll)
{
	return &ll->pipe->end[!ll->side];
}

/* Puts @end on the ready list of its worker and wakes that. */
void loop_tell(struct loop_shared *sh, struct loop_end *end);

/* Makes the upcalls for copies that have ended; their number. */
int loop_finish_copies(struct loop_lane *ll);

/* Forgets what the end offered. Under pipe->lock. */
void loop_drop_offers(struct loop_end *end);

/* Rows of the table, as transport.h says. */
int loop_copy_offer(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
int loop_copy_start(struct wf_lane *l, struct wf_copy *c, const struct wf_region *r);
void loop_copy_stop(struct wf_lane *l, struct wf_copy *c);
void loop_copy_end(struct wf_lane *l, struct wf_copy *c);
size_t loop_mem_offer(struct wf_lane *l, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access,
		      void *desc, size_t cap, uint64_t *hold);
int loop_mem_open(struct wf_lane *l, struct wf_direct *d);
void loop_mem_close(struct wf_lane *l, struct wf_direct *d);
int loop_rma(struct wf_lane *l, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n, size_t len);
int loop_atomic(struct wf_lane *l, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand, uint64_t compare,
		uint64_t *old_out);

#endif
