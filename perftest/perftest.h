/* SPDX-License-Identifier: BSD-3-Clause
 *
 * perftest.h - what the files of the program `weft` share.
 *
 * Model of `weft perf`. Two sides stand at the ends of one endpoint: the measuring side sends commands as tagged
 * messages ("echo 1000 messages of 8 bytes"), the serving side obeys them until it is told to quit. The sides are two
 * processes, or for the transport that never leaves a process two threads. Nothing waits for ever: a wait that lasts
 * stall_s ends with an error, as does whatever the library reports about the peer.
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
#define SIZES_MAX 64

/* How long a busy machine with little memory may take over so many bytes: 64 MiB a second. */
static inline uint64_t slow_s(uint64_t bytes)
{
	return bytes >> 26;
}

/* ---- options: args.c ---- */

struct perf_way {                       /* what --transport names */
	const char *name;
	const char *transport;          /* of weft's */
	const char *key, *value;        /* one more setting, or NULL */
	bool threads;                   /* the sides are threads of one process */
};

enum perf_test { TAG_LAT, TAG_BW, TAG_RATE, PERF_TESTS };

struct perf_opts {
	const struct perf_way *way[8];
	unsigned n_ways;
	enum perf_test test[PERF_TESTS];
	unsigned n_tests;
	size_t size[SIZES_MAX];
	unsigned n_sizes;               /* 0: the test's own */
	double time_s;                  /* of measuring, for each cell */
	uint64_t iterations;            /* 0: as many as the time allows */
	unsigned window;                /* messages under way in tag_bw and tag_rate; 0: chosen by size */
	bool json, pin;
};

extern const char *const perf_test_names[PERF_TESTS];

/* Gives *o. False: said why on stderr. */
bool perf_parse(int argc, char **argv, struct perf_opts *o);

/* ---- one side: side.c ---- */

/* An operation under way. The call in it is made once and used again and again. */
struct job {
	weft_call call;
	bool done;
	int32_t status;
	uint64_t len;
};

/* A window of buffers, and as many jobs. They live as long as the worker, which may have them in use until then. */
struct slots {
	unsigned char *mem;             /* window * size bytes of malloc */
	struct job *job;
	size_t size;
	unsigned window;
};

enum { TAG_CMD = 1, TAG_DATA, TAG_ACK };
enum { CMD_QUIT, CMD_CHECK, CMD_ECHO, CMD_SINK };

struct cmd {                            /* what the measuring side sends with TAG_CMD */
	uint32_t what, window;
	uint64_t size, count;
};

struct side {
	weft_ctx *ctx;
	weft_worker *w;
	weft_listener *listener;
	weft_ep *ep;
	bool owns_ctx, polls, connected, closing, failed;
	unsigned stall_s;
	struct slots slots;
	struct job ctl;                 /* commands and acknowledgements; */
	struct cmd cmd;                 /* these are its bytes */
	uint64_t ack;
	char down[700];                 /* what ended the endpoint; empty: it lives */
	char why[700];                  /* when failed: in words */
};

/* All of these return false when the side has failed; why is then in s->why, the first cause stays. */
bool side_open(struct side *s, const struct perf_way *way, weft_ctx *shared);
bool side_listen(struct side *s, char *url, size_t cap);
bool side_accept(struct side *s);
bool side_connect(struct side *s, const char *url);
bool side_fail(struct side *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ends the connection: orderly when the side is well (what was sent arrives), at once otherwise. */
void side_hang_up(struct side *s);
/* Hangs up and frees everything. */
void side_close(struct side *s);

void job_init(struct job *j, const struct side *s);
bool side_post_send(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag);
bool side_post_recv(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag);
bool side_wait(struct side *s, struct job *j);
/* Post and wait. */
bool side_send(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag);
bool side_recv(struct side *s, struct job *j, void *buf, size_t len, uint64_t tag);

/* ---- serve.c ---- */

/* Obeys until it is told to quit. */
bool serve(struct side *s);

bool slots_make(struct side *s, size_t size, unsigned window);
void slots_free(struct slots *v);
void data_fill(unsigned char *p, size_t len, uint64_t seed);
/* Place of the first wrong byte, or SIZE_MAX. */
size_t data_differs(const unsigned char *p, size_t len, uint64_t seed);
#define SEED_THERE 0x1234567u
#define SEED_BACK  0x89abcdeu

/* ---- measuring: measure.c ---- */

struct cell {                           /* one line of the result */
	enum perf_test test;
	const char *transport;
	size_t size;
	uint64_t iterations;            /* measured: round trips, or messages */
	unsigned batch;                 /* round trips in a sample */
	unsigned window;
	unsigned rounds;
	double min_us, p50_us, p99_us;  /* one way; tag_lat */
	double bw_GBps, bw_min, bw_max; /* median, least and best of the rounds */
	double rate_Mps;
	int cpu[2];                     /* -1: not pinned */
	char path[24], lane[200];
	uint64_t copied_here, copied_peer;   /* bytes of large messages that each side moved */
	bool both_copied;               /* two processes did */
};

bool measure(struct side *s, const struct perf_opts *o, struct cell *c);
/* Tells the serving side to end. */
void measure_quit(struct side *s);
uint64_t now_ns(void);

/* ---- results: report.c ---- */

void report_head(const struct perf_opts *o);
void report_cell(const struct perf_opts *o, const struct cell *c);
/* The path that the endpoint takes, and what both sides have copied so far. */
bool report_path(struct side *s, struct cell *c);

/* ---- the commands ---- */

int perf_main(int argc, char **argv);
int info_main(int argc, char **argv);
int explain_main(int argc, char **argv);
void perf_usage(FILE *to);

/* The library's last refusal on stderr, after "weft: ". Returns 1. */
int say_refusal(void);

#endif
