/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt.h - what tests against weft.h have in common: a driven worker (progressed by wt_pump(), its events kept until
 * somebody asks for them), a pair of connected endpoints, patterns of data, a peer process that dies with its test, and
 * one teardown that ends whatever a failed case left behind and counts descriptors.
 *
 * Nothing here sleeps and hopes: every wait names its event and has a limit, WT_LIMIT_MS where none is given. A failed
 * wait or check fails the cmocka test; in a peer process it ends that process. Peer processes use no cmocka.
 *
 * One thread drives all driven workers; tests with threads use weft.h directly inside them.
 */
#ifndef WT_H
#define WT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "weft/weft.h"

#define WT_LIMIT_MS 10000
#define WT_ANY_TAG  0ull        /* a mask: every tag */
#define WT_EXACT    UINT64_MAX  /* a mask: this tag only */

/* ---- which transport is tested ---- */

struct wt_variant {
	const char *name;       /* "shm-ring", "faulty:tcp" */
	const char *transport;  /* of weft's: "shm" */
	const char *key, *value; /* one more setting, or NULL */
	bool processes;         /* works between processes */
	bool slow;              /* frames are late on purpose: fewer rounds */
	const char *by, *provider;   /* which of its own a library is to use, and the variable that tells it so; or NULL */
	bool naps;              /* nothing wakes its sleepers: they look every now and then */
};

extern const struct wt_variant *wt_variant;
extern const struct wt_variant wt_variants[];   /* ends with a name of NULL */

/* The variant of that name becomes wt_variant. False: no such. */
bool wt_choose(const char *name);
bool wt_is(const char *transport);
/* Can this machine do it? False, and why not. */
bool wt_works(char *why, size_t cap);

/* Ends the case as skipped, with a reason that the runner reads. */
#define wt_skip(...)                                 \
	do {                                         \
		fprintf(stdout, "# skip: " __VA_ARGS__); \
		fputc('\n', stdout);                 \
		fflush(stdout);                      \
		skip();                              \
	} while (0)

/* Less, where every frame is late on purpose or a sanitizer slows everything. */
size_t wt_rounds(size_t n);

/* ---- settings and contexts ---- */

/* Settings of the variant: gives it. */
weft_config *wt_config(void);
/* A context with these settings; @key NULL: only the variant's. Freed by wt_teardown() at the latest. */
weft_ctx *wt_open(const char *key, const char *value);
/* The same, on this side alone, and the caller's to close. */
weft_ctx *wt_open_own(const char *key, const char *value);
void wt_close(weft_ctx *ctx);

/* ---- driven workers ---- */

struct wt_w {
	weft_worker *w;         /* maybe in another process: wt_far */
	weft_event *ev;         /* reaped, not asked for yet */
	size_t n, cap;
};

struct wt_w *wt_worker(weft_ctx *ctx, uint32_t flags);
void wt_worker_free(struct wt_w *w);
/* One turn of every driven worker. */
void wt_pump(void);
/* As wt_pump(), for @ms. */
void wt_pump_ms(unsigned ms);
/* Progress without end hurts on two CPUs: call it each turn with whether something happened. */
void wt_relax(bool busy);

/* Takes the first kept event of that kind (0: any) and user_data (UINT64_MAX: any). */
bool wt_take(struct wt_w *w, uint32_t kind, uint64_t user_data, weft_event *out);
/* The same, and pumps until it is there. Fails the test at the limit. */
weft_event wt_wait(struct wt_w *w, uint32_t kind, uint64_t user_data, unsigned ms);
/* How many events of that kind are kept. */
size_t wt_count(struct wt_w *w, uint32_t kind);
/* Pumps until @n events of that kind are kept. */
void wt_wait_count(struct wt_w *w, uint32_t kind, size_t n, unsigned ms);

/* ---- the second worker of a context in another process (tests/conform/far.h) ---- */

struct wt_far {
	void (*begin)(void);
	bool (*end)(bool failed); /* false: leftovers there */
	void (*opened)(weft_ctx *ctx, const char *key, const char *value);
	weft_worker *(*worker)(weft_ctx *ctx, uint32_t flags);   /* NULL: this one is to be here */
	size_t (*pump)(weft_worker *w, weft_event *out, size_t cap);
	int (*fd_count)(void);
	bool (*is_far)(const void *obj);
	bool (*is_readable)(weft_worker *w, int timeout_ms);
	void (*keep_near)(weft_mem *m);
};

extern const struct wt_far *wt_far;  /* NULL: all is in this process */

/* Does poll() find the worker's descriptor readable? */
bool wt_readable(weft_worker *w, int timeout_ms);
/* This memory is side 0's: granted there. Without it memory is side 1's as soon as it is granted. */
void wt_mem_of_0(weft_mem *m);

/* ---- posting ---- */

struct wt_posted {
	int ret;                /* WEFT_OK or WEFT_PENDING */
	uint64_t id;            /* user_data */
	weft_op op;
};

/* A call with user_data that nobody else has. */
weft_call wt_call(uint32_t flags);
/* Keeps what is done at once, so that wt_done() finds it. Fails the test when it was refused. */
struct wt_posted wt_took(struct wt_w *w, int ret, weft_call *c);
/* Waits for the completion. */
weft_event wt_done(struct wt_w *w, struct wt_posted p);
/* Its status must be 0. */
weft_event wt_ok(struct wt_w *w, struct wt_posted p);
void wt_fails(struct wt_w *w, struct wt_posted p, int32_t status);
/* The completion has not come yet (after a pump). */
bool wt_is_pending(struct wt_w *w, struct wt_posted p);

static inline weft_buf wt_buf(const void *p, size_t len)
{
	return (weft_buf){ .addr = (void *)(uintptr_t)p, .len = len };
}

/* ---- a connected pair ---- */

enum { WT_ONE_WORKER = 1, WT_STREAM_EVENTS = 2 };

struct wt_pair {
	weft_ctx *ctx;
	struct wt_w *w[2];      /* 0 connects, 1 accepts */
	weft_ep *ep[2];
	weft_listener *listener;
	char url[160];
};

void wt_pair_open(struct wt_pair *p, unsigned flags);
/* As above, with one more setting. */
void wt_pair_open_with(struct wt_pair *p, unsigned flags, const char *key, const char *value);
/* Closes both endpoints orderly and frees everything; both sides must be able to. */
void wt_pair_close(struct wt_pair *p);
/* One more connection between the same workers. */
void wt_pair_more(struct wt_pair *p, weft_ep *out[2]);

/* Posted on side 0 or 1 of the pair, to its peer. */
struct wt_posted wt_send(struct wt_pair *p, int side, const void *buf, size_t len, uint64_t tag, uint32_t flags);
struct wt_posted wt_recv(struct wt_pair *p, int side, void *buf, size_t len, uint64_t tag, uint64_t mask);
/* One message across and compared; @from is the sending side. */
void wt_exchange(struct wt_pair *p, int from, size_t len, uint64_t seed);

/* @len bytes at side 1 that side 0 may reach: registered, granted, opened. */
struct wt_mem {
	weft_mem *mem;
	weft_grant grant;
	weft_remote *remote;
	unsigned char *addr;
	void *own;              /* to be freed; NULL when weft allocated it */
	size_t len;
};

void wt_mem_open(struct wt_pair *p, struct wt_mem *m, size_t len, uint32_t access, bool allocated);
void wt_mem_close(struct wt_pair *p, struct wt_mem *m);

/* ---- data ---- */

/* Bytes that follow from @seed and their place. */
void wt_fill(void *p, size_t len, uint64_t seed);
/* Fills, or checks, the piece that starts at @at of a longer run. */
void wt_fill_at(void *p, size_t len, uint64_t seed, size_t at);
/* Place of the first wrong byte, or SIZE_MAX. */
size_t wt_differs(const void *p, size_t len, uint64_t seed);
size_t wt_differs_at(const void *p, size_t len, uint64_t seed, size_t at);
#define wt_assert_data(p, len, seed) assert_int_equal(wt_differs(p, len, seed), SIZE_MAX)

/* ---- time; limits are longer under a sanitizer ---- */

uint64_t wt_now_ns(void);
uint64_t wt_in_ms(uint64_t ms);   /* a deadline */
unsigned wt_slow(unsigned ms);    /* the limit, scaled */
uint64_t wt_random(uint64_t *state);

/* ---- peer processes ---- */

struct wt_child {
	pid_t pid;
	int sock;               /* to the other side */
};

/* Forks; the child runs @fn(socket, arg) and ends with its result. Call it before weft is opened. */
void wt_child_start(struct wt_child *c, int (*fn)(int sock, void *arg), void *arg);
/* Waits for its end, at most @ms: the exit status, or -signal. */
int wt_child_wait(struct wt_child *c, unsigned ms);
void wt_child_kill(struct wt_child *c);
/* Whole messages over the socket; both return false at the limit or when the other side is gone. */
bool wt_say(int sock, const void *p, size_t len);
bool wt_hear(int sock, void *p, size_t len);

/* In the same words for both: fails the case, or ends the peer process, with the place and weft's last error. */
#define wt_must(cond) ((cond) ? (void)0 : wt_must_failed(#cond, __FILE__, __LINE__))
void wt_must_failed(const char *cond, const char *file, int line) __attribute__((noreturn));

/* Listens on 127.0.0.1; the URL. */
weft_listener *wt_listen(struct wt_w *w, char *url_out, size_t cap);
/* An endpoint that is connected: to @url, or the next that comes in. */
weft_ep *wt_connect(struct wt_w *w, const char *url);
weft_ep *wt_accept(struct wt_w *w);
/* The close is done; what became of it does not matter. */
void wt_ep_close(struct wt_w *w, weft_ep *ep);

/* ---- the process itself ---- */

/* Descriptors, of the far process too where there is one. */
int wt_fd_count(void);
/* cmocka's setup and teardown of every case: the time limit of a case, leftovers, descriptors. */
int wt_setup(void **state);
int wt_teardown(void **state);
/* Not to be compared at the end of this case, if the variant's name begins so: its library does not close all of them. */
void wt_provider_keeps_fds(const char *variant, const char *why);
#define WT_KEPT_WORKERS "a worker of UCX's that has a message for a peer that takes none cannot be ended over shared memory"

/* A well-formed JSON text? Place of the first fault, or SIZE_MAX. */
size_t wt_json_fault(const char *text);

/* The error of @e has @part in its words. */
void wt_says(const weft_event *e, const char *part);

#endif
