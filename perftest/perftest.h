/* SPDX-License-Identifier: BSD-3-Clause
 *
 * perftest.h - what the files of the program `weft` share.
 *
 * Model of `weft perf`. Two sides stand at the ends of one endpoint. The measuring side sends commands as tagged messages
 * ("make buffers for tag_lat of 8 bytes", "echo 1000 messages"), the serving side obeys them until it is told to quit. The
 * sides are two processes of this machine; or two threads, for the transport that never leaves a process; or two machines.
 * What one message of a test is, stands in one table (tests.c); the loops over it are the same for all (loops.c). Nothing
 * waits for ever: a wait that lasts stall_s ends with an error, as does whatever the library reports about the peer.
 */
#ifndef PERFTEST_H
#define PERFTEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "weft/weft.h"

#define MEASURE_STALL_S 30           /* without progress, plus slow_s() */
#define SERVE_STALL_S   600          /* the next command may be long in coming; a dead peer is noticed at once */
#define SIZES_MAX   64
#define PORT_DEFAULT 7470
#define URL_CAP     1000
#define WHY_CAP     700
#define TOKEN_CAP   64

/* How long a busy machine with little memory may take over so many bytes: 64 MiB a second. */
static inline uint64_t slow_s(uint64_t bytes)
{
	return bytes >> 26;
}

/* ---- options: args.c ---- */

struct perf_way {                       /* what --transport names */
	const char *name;
	const char *transport;          /* of weft's; NULL: whichever the library takes */
	const char *key, *value;        /* one more setting, or NULL */
	bool threads;                   /* the sides are threads of one process */
};

enum perf_test { TAG_LAT, TAG_BW, TAG_RATE, AM_LAT, STREAM_BW, PUT_LAT, PUT_BW, GET_LAT, GET_BW, ATOMIC_LAT, PERF_TESTS };
enum perf_format { AS_TABLE, AS_JSON, AS_CSV };

struct perf_opts {
	const struct perf_way *way[8];
	unsigned n_ways;
	enum perf_test test[PERF_TESTS];
	unsigned n_tests;
	size_t size[SIZES_MAX];
	unsigned n_sizes;               /* 0: the test's own */
	double time_s;                  /* for each cell, warm-up included */
	uint64_t iterations;            /* 0: as many as the time allows */
	unsigned window;                /* messages under way in one-way tests; 0: chosen by size */
	enum perf_format format;
	int cpu[2];                     /* of --cpus; -1: to be chosen */
	bool pin, sleep, weft_memory, one_buffer, listen, once, help;
	const char *plot;               /* the picture's file, or NULL */
	const char *device, *device_port, *device_gid, *mtu;   /* as of perftest */
	const char *place;              /* HOST, or where to listen; NULL: both sides are here */
	unsigned port;
};

/* Gives *o. False: said why on stderr. */
bool perf_parse(int argc, char **argv, struct perf_opts *o);
/* The URL that o->place names, @host where it names none. False: said why on stderr. */
bool perf_url(const struct perf_opts *o, const char *host, char *url, size_t cap);
void perf_usage(FILE *to);

/* ---- CPUs, and what others took of them: cpu.c ---- */

struct cpus {
	int cpu[2];                     /* of the measuring and the serving side; -1: not pinned */
	bool several;                   /* the two sides can run at the same time */
};

struct noise {                          /* counters of the calling thread, or the difference of two readings */
	uint64_t at_ns;
	uint64_t lost_ns;               /* it could have run and did not: other programs, or a virtual machine's host */
	uint64_t preempted;             /* times that it was taken off its CPU against its will */
	uint64_t known;                 /* 0: this system does not tell lost_ns */
};

struct cpus cpus_find(const struct perf_opts *o);
void cpu_pin(int cpu);
/* @alone: nobody but others can keep the thread from running; else lost_ns means nothing. */
struct noise noise_read(int cpu, bool alone);
struct noise noise_since(const struct noise *now, const struct noise *then);

/* ---- one side: side.c ---- */

/* An operation under way. Small, because a window of them should fit into the nearest cache. */
struct job {
	weft_buf buf;
	uint64_t offset;                /* in the peer's memory; one-sided tests */
	uint64_t len;                   /* of the message that came */
	uint8_t seq;                    /* put_lat: what the last byte is, or will be */
	bool done;
};

/* A window of buffers, and as many jobs. They live as long as the worker, which may have them in use until then. */
struct slots {
	unsigned char *mem;
	weft_mem *reg;                  /* as the library knows it: allocated by it, or registered for one-sided tests */
	size_t size, stride, len;
	unsigned window;
	struct job *job;
	bool granted, allocated;
	weft_grant grant;
	weft_remote *remote;            /* the peer's buffers */
};

enum { TAG_HELLO = 1, TAG_CMD, TAG_ANSWER, TAG_DATA };
enum { CMD_QUIT, CMD_SETUP, CMD_RUN, CMD_VERIFY, CMD_NOISE, CMD_CLEAR };

struct cmd {                            /* what the measuring side sends with TAG_CMD */
	uint32_t what, test;
	uint32_t window, flags;
	uint64_t size, count;
	uint32_t token_len, reserved;
	unsigned char token[TOKEN_CAP];
};
#define CMD_WEFT_MEMORY 1u
#define CMD_ONE_BUFFER  2u

struct answer {                         /* to every command but QUIT, and to the running of a ping-pong */
	uint64_t value;
	struct noise noise;
	uint32_t token_len, failed;
	unsigned char token[TOKEN_CAP];
	char why[WHY_CAP];
};

struct hello {                          /* the first message of each side, with TAG_HELLO; its size never changes */
	char text[64];                  /* "weft-perf 1 serves cpu 3": program, version of its protocol, role, CPU or -1 */
};

struct door;
struct side {
	weft_ctx *ctx;
	weft_worker *w;
	weft_ep *ep;
	weft_call call;                 /* made once; lent to the library only while it is called */
	struct door *door;              /* of a serving side: where other peers are turned away */
	const char *peer;
	bool owns_ctx, polls, serves, connected, closing, failed;
	bool alone;                     /* on its CPU: the other side runs on another */
	bool watches;                   /* waits for bytes in memory, of which no event tells */
	bool direct;                    /* puts go straight into memory */
	unsigned stall_s;
	unsigned idle;                  /* turns that brought nothing, */
	uint64_t since_ns;              /* and for how long; 0: not yet known */
	uint64_t stop_ns;               /* interrupted: when it ends at the latest */
	uint64_t am_came, am_wanted;    /* am_lat */
	uint64_t direct_before;         /* what was counted when the buffers were made */
	enum perf_test test;            /* that they were made for */
	int cpu;
	struct slots slots;
	struct job ctl;                 /* commands and answers; */
	struct cmd cmd;                 /* these are its bytes */
	struct answer answer;
	char down[WHY_CAP];             /* what ended the endpoint; empty: it lives */
	char why[WHY_CAP];              /* when failed: in words */
};

/* All of these return false when the side has failed; why is then in s->why, the first cause stays. */
bool side_open(struct side *s, const struct perf_way *way, weft_ctx *shared);
bool side_connect(struct side *s, const char *url);
bool side_fail(struct side *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* With the library's last refusal. */
bool side_refused(struct side *s, const char *what);
/* Takes in what happened. */
bool side_take(struct side *s, weft_event *ev, size_t n);
/* Nothing has happened for some turns: sleeps or yields, and looks at the clock. */
bool side_idle(struct side *s);
/* Ends the connection, within some seconds: what was sent arrives, also when it says why this side has failed. */
void side_hang_up(struct side *s);
/* Hangs up and frees everything. */
void side_close(struct side *s);

#define EVENTS 32
#define TURNS_BETWEEN_CLOCKS 4096

/* One turn of the wheel. */
static inline bool side_turn(struct side *s)
{
	weft_event ev[EVENTS];
	size_t n = weft_reap(s->w, ev, EVENTS);

	if (n == 1 && ev->kind == WEFT_EV_OP && !ev->status) {   /* what a round trip waits for, without a call */
		struct job *j = (struct job *)(uintptr_t)ev->user_data;

		j->done = true;
		j->len = ev->len;
		s->idle = 0;
		s->since_ns = 0;
		return !s->failed;
	}
	if (n)
		return side_take(s, ev, n);
	if (s->polls && ++s->idle % TURNS_BETWEEN_CLOCKS)
		return true;
	return side_idle(s);
}

static inline bool side_wait(struct side *s, struct job *j)
{
	while (!j->done)
		if (!side_turn(s))
			return false;
	return !s->failed;
}

/* How to post @j. */
static inline weft_call *side_call(struct side *s, struct job *j)
{
	s->call.user_data = (uintptr_t)j;
	return &s->call;
}

bool side_posted_now(struct side *s, struct job *j, int ret, const weft_call *call);

/* Takes what posting with side_call() answered. */
static inline bool side_posted(struct side *s, struct job *j, int ret)
{
	j->done = ret != WEFT_PENDING;
	return !j->done || (ret == WEFT_OK && !s->call.event.status) || side_posted_now(s, j, ret, &s->call);
}

/* What posting with a call of one's own needs. */
weft_call call_init(struct job *j);
void job_init(struct job *j, void *buf, size_t len);
/* A message of the control protocol, from or into @buf. */
bool side_send(struct side *s, void *buf, size_t len, uint64_t tag);
bool side_recv(struct side *s, void *buf, size_t len, uint64_t tag);
uint64_t now_ns(void);
/* Makes what a peer has written fit to be shown on a terminal. */
void foreign_text(char *text, size_t cap);

/* Set by SIGINT and SIGTERM. The measuring side ends its round and keeps what it has. */
extern volatile int perf_interrupted;

/* ---- listening and introducing oneself: door.c ---- */

struct door {
	struct side side;               /* its endpoint is unused */
	weft_listener *listener;
	weft_request *caller;           /* waits to be let in */
};

#define DOOR_BUSY "weft perf measures one peer at a time, and has one; try again later"

bool door_open(struct door *d, const struct perf_way *way, weft_ctx *shared, const char *url);
bool door_url(struct door *d, char *url, size_t cap);
/* Waits for a peer, for whom @s is opened on the door's context. False: the door or @s has failed. */
bool door_let_in(struct door *d, struct side *s);
/* Everybody who waits there meanwhile is told that we are busy. */
void door_turn_away(struct door *d);
void door_close(struct door *d);

/* Both sides introduce themselves; *peer_cpu becomes where the other one runs. */
bool hello(struct side *s, int *peer_cpu);

/* ---- buffers: slots.c ---- */

bool slots_make(struct side *s, const struct cmd *c);
/* Takes what the peer was granted back and frees everything. */
bool slots_free(struct side *s);
/* Lets the peer in; gives its token. */
bool slots_grant(struct side *s, void *token, uint32_t *len);
bool slots_open_peer(struct side *s, const void *token, uint32_t len);
/* Place of the first byte that did not come as it should, or SIZE_MAX. */
size_t slots_wrong(const struct side *s, enum perf_test test);

/* ---- the tests: tests.c ---- */

enum pattern {
	PING_PONG,                      /* a message there, one back; half of it is the figure */
	ROUND_TRIP,                     /* an operation that the peer takes no visible part in; all of it is the figure */
	ONE_WAY,                        /* a window of messages from the measuring side, or to it */
};

struct test_kind {
	const char *name;
	enum pattern pattern;
	bool one_sided;
	size_t size_min, size_max;      /* what makes sense */
	const size_t *sizes;            /* of its own */
	unsigned n_sizes, window;
	const char *what;               /* for people */
	bool (*post)(struct side *s, struct job *j);
	bool (*expect)(struct side *s, struct job *j);    /* what the receiving side posts for it; NULL: nothing */
	bool (*arrived)(struct side *s, struct job *j);   /* waits for that */
	bool (*finish)(struct side *s, struct job *j);    /* ends a round; NULL: the peer says how many it has */
};

extern const struct test_kind tests[PERF_TESTS];
/* For am_lat: the worker hands active messages to the side. */
bool tests_prepare(struct side *s);

/* ---- the loops: loops.c ---- */

struct hist;
/* @more: round trips besides those that count, 0 or PING_MORE. */
bool loop_ping(struct side *s, const struct test_kind *t, uint64_t count, unsigned more, struct hist *h, uint64_t *took_ns);
bool loop_echo(struct side *s, const struct test_kind *t, uint64_t count);
bool loop_trips(struct side *s, const struct test_kind *t, uint64_t count, unsigned batch, struct hist *h,
		uint64_t *took_ns);
bool loop_flow(struct side *s, const struct test_kind *t, uint64_t count);
bool loop_sink(struct side *s, const struct test_kind *t, uint64_t count);
#define PING_MORE 2

/* ---- many times: hist.c ---- */

/* Counts of times, exact to 0.2 %. NULL: no memory. */
struct hist *hist_new(void);
void hist_free(struct hist *h);
void hist_clear(struct hist *h);
/* @n operations took @ns together. */
void hist_add(struct hist *h, uint64_t ns, unsigned n);
/* Nanoseconds that the share @p of all samples does not exceed; p 0: the least. */
double hist_at(const struct hist *h, double p);

/* ---- serving: serve.c ---- */

/* Obeys until it is told to quit. */
bool serve(struct side *s);

/* ---- measuring: measure.c ---- */

struct cell {                           /* one line of the result */
	enum perf_test test;
	const char *transport;
	size_t size;
	uint64_t iterations;            /* measured: round trips, or messages */
	unsigned batch;                 /* operations in a sample */
	unsigned window;
	unsigned rounds;
	double min_us, p50_us, p99_us, p999_us;
	double bw_GBps, bw_min, bw_max; /* median, least and best of the rounds */
	double rate_Mps;
	double noise;                   /* share of the time that others took from the side that lost more; < 0: unknown */
	uint64_t preempted[2];
	bool interrupted;
	int cpu[2];                     /* -1: not pinned */
	char path[24], lane[600];
	uint64_t copied_here, copied_peer;   /* bytes of large messages that each side moved */
	bool both_copied;               /* two processes did */
	bool weft_memory;
};

/* False with a side that has not failed: interrupted before there was a figure. */
bool measure(struct side *s, const struct perf_opts *o, struct cell *c);
/* Tells the serving side to end. */
void measure_quit(struct side *s);

/* ---- what the library says of the endpoint: path.c ---- */

/* The path that it takes, and what both sides have copied so far. */
bool path_read(struct side *s, struct cell *c);
/* Operations that went straight into the peer's memory so far. */
bool path_direct(struct side *s, uint64_t *count);

/* ---- results: report.c ---- */

void report_begin(const struct perf_opts *o);
void report_cell(const struct perf_opts *o, const struct cell *c);
void report_end(const struct perf_opts *o);
/* On a terminal, what is being done: cell @i of @n. */
void report_progress(const struct cell *c, double share);
void report_count(unsigned i, unsigned n);
void print_json(FILE *to, const struct cell *c);

/* ---- the picture: plot.c ---- */

/* Whether it can be drawn at all: before anything is measured. */
bool plot_possible(const char *file);
void plot_add(const struct cell *c);
bool plot_draw(const char *file);

/* ---- the commands ---- */

int perf_main(int argc, char **argv);
int info_main(int argc, char **argv);
int explain_main(int argc, char **argv);

/* The library's last refusal on stderr, after "weft: ". Returns 1. */
int say_refusal(void);

#endif
