/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_lives.c - workers that come and go in several threads of one context while their peers use them: lists of the
 * context, grants, lanes whose other end is being freed. Under ThreadSanitizer it looks for races, otherwise for crashes
 * and for what never ends. What an operation comes to does not matter here: its peer may be gone at any moment.
 */
#include <pthread.h>
#include <stdlib.h>

#include "conform/conform.h"

#define THREADS 3

struct board {                  /* where each thread listens; empty: nowhere just now */
	pthread_mutex_t lock;
	char url[THREADS][160];
};

struct life {
	struct board *board;
	weft_ctx *ctx;
	weft_worker *w;
	weft_listener *l;
	weft_ep *out;
	weft_mem *mem;
	weft_grant grant;
	unsigned char token[64], heard[64], bytes[4096];
	size_t token_len;
	int number;
	size_t rounds;
	uint64_t seed, met, read, revoked;
	const char *wrong;
};

enum { TOKEN = 1, READ, REVOKE };

static void publish(struct life *f, const char *url)
{
	pthread_mutex_lock(&f->board->lock);
	snprintf(f->board->url[f->number], sizeof(f->board->url[0]), "%s", url);
	pthread_mutex_unlock(&f->board->lock);
}

static void look_up(struct life *f, char *out, size_t cap)
{
	pthread_mutex_lock(&f->board->lock);
	snprintf(out, cap, "%s", f->board->url[(f->number + 1) % THREADS]);
	pthread_mutex_unlock(&f->board->lock);
}

static weft_call call_of(uint64_t what)
{
	return (weft_call){ .size = sizeof(weft_call), .user_data = what, .deadline_ns = wt_in_ms(200) };
}

/* Every other token is used: opened, read through, closed. */
static void use_token(struct life *f, weft_ep *ep)
{
	weft_call c = call_of(READ);
	weft_buf b = wt_buf(f->bytes, 64);
	weft_remote *r;

	f->met++;
	if (wt_random(&f->seed) % 2 || weft_remote_open(ep, f->heard, f->token_len, &r))
		return;
	if (weft_get(ep, &b, 1, r, 0, &c) == WEFT_OK)
		f->read += !c.event.status;
	weft_remote_close(r);
}

static void post_recv(struct life *f)
{
	weft_buf b = wt_buf(f->heard, sizeof(f->heard));
	weft_call c = call_of(TOKEN);

	c.deadline_ns = 0;
	while (weft_recv(f->w, &b, 1, 1, WT_EXACT, &c) == WEFT_OK)
		use_token(f, c.event.ep);
}

static void take(struct life *f, weft_event *e)
{
	weft_buf b = wt_buf(f->token, f->token_len);
	weft_call c = { .size = sizeof(c), .flags = WEFT_COPY | WEFT_NO_EVENT };
	weft_ep *ep;

	if (e->kind == WEFT_EV_REQUEST) {
		weft_accept(e->data, f->w, NULL, &ep);
	} else if (e->kind == WEFT_EV_CONNECTED) {
		weft_send(e->ep, &b, 1, 1, &c);
	} else if (e->kind == WEFT_EV_OP && e->user_data == TOKEN) {
		if (!e->status)
			use_token(f, e->ep);
		post_recv(f);
	} else if (e->kind == WEFT_EV_OP && e->user_data == READ) {
		f->read += !e->status;
	} else if (e->kind == WEFT_EV_OP && e->user_data == REVOKE) {
		f->revoked++;
	}
}

static void turn_for_ms(struct life *f, uint64_t ms)
{
	uint64_t until = wt_in_ms(ms);
	weft_event e[8];

	do {
		size_t n = weft_reap(f->w, e, 8);

		for (size_t i = 0; i < n; i++)
			take(f, &e[i]);
		if (!n)
			weft_wait_any(f->w, until);
	} while (wt_now_ns() < until);
}

static const char *set_up(struct life *f)
{
	weft_buf b = wt_buf(f->bytes, sizeof(f->bytes));
	char url[160];
	int ret;

	f->token_len = sizeof(f->token);
	if (weft_worker_new(f->ctx, NULL, &f->w))
		return "no worker";
	ret = wt_random(&f->seed) % 2 ? weft_mem_alloc(f->ctx, 4096, WEFT_HOST, 0, &f->mem) :
					weft_mem_register(f->ctx, &b, WEFT_READ, &f->mem);
	if (ret || weft_grant_new(f->mem, 0, 4096, WEFT_READ, NULL, f->token, &f->token_len, &f->grant))
		return "no grant";
	if (weft_listen(f->w, "weft://127.0.0.1:0", NULL, &f->l) || weft_listener_url(f->l, url, sizeof(url)))
		return "no listener";
	publish(f, url);
	look_up(f, url, sizeof(url));
	f->out = NULL;
	if (url[0])
		weft_connect(f->w, url, NULL, &f->out);
	post_recv(f);
	return NULL;
}

/* A life ends in one of three orders. */
static const char *tear_down(struct life *f)
{
	weft_call c = call_of(REVOKE);
	int how = (int)(wt_random(&f->seed) % 3), ret = 0;

	publish(f, "");
	if (how)
		ret = weft_grant_revoke(f->mem, f->grant, &c);
	if (how == 1)
		turn_for_ms(f, wt_random(&f->seed) % 4);
	if (f->out && wt_random(&f->seed) % 2)
		weft_ep_abort(f->out);
	if (wt_random(&f->seed) % 2)
		weft_listener_close(f->l);
	if (weft_worker_free(f->w))
		return "a worker cannot be freed";
	if (!how)
		ret = weft_grant_revoke(f->mem, f->grant, NULL);
	if (ret < 0)
		return "a grant cannot be revoked";
	f->revoked += ret == WEFT_OK;
	return weft_mem_free(f->mem) ? "memory cannot be freed" : NULL;
}

static void *live(void *arg)
{
	struct life *f = arg;

	for (size_t i = 0; i < f->rounds && !f->wrong; i++) {
		f->wrong = set_up(f);
		if (f->wrong)
			break;
		turn_for_ms(f, wt_random(&f->seed) % 12);
		f->wrong = tear_down(f);
	}
	return NULL;
}

static void workers_come_and_go_in_many_threads(void **state)
{
	struct board board = { .lock = PTHREAD_MUTEX_INITIALIZER };
	static struct life f[THREADS];
	weft_ctx *ctx;
	pthread_t t[THREADS];

	(void)state;
	if (!strcmp(wt_variant->name, "ucx-tcp"))
		wt_skip("UCX's tcp (1.13) ends the process now and then when a peer goes in the moment of connecting (GOTCHAS G98)");
	if (!strcmp(wt_variant->name, "ucx-shm") && !getenv("UCX_POSIX_USE_PROC_LINK"))
		wt_skip("UCX's posix (1.13) may map memory of another by a descriptor's number (G118): set UCX_POSIX_USE_PROC_LINK=n");
	wt_provider_keeps_fds("ofi", "an endpoint of libfabric's tcp;ofi_rxm that is closed while it is connected to leaves the socket open");
	ctx = wt_open(NULL, NULL);
	for (int i = 0; i < THREADS; i++) {
		f[i] = (struct life){ .board = &board, .ctx = ctx, .number = i, .seed = 17 + (uint64_t)i };
		f[i].rounds = wt_rounds(200);
		assert_int_equal(pthread_create(&t[i], NULL, live, &f[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		printf("# thread %d: %zu lives, %llu tokens heard, %llu reads, %llu revocations told\n", i, f[i].rounds,
		       (unsigned long long)f[i].met, (unsigned long long)f[i].read, (unsigned long long)f[i].revoked);
		if (f[i].wrong)
			fail_msg("thread %d: %s", i, f[i].wrong);
	}
	wt_close(ctx);
}

static const struct CMUnitTest cases[] = { WT_CASE_HERE(workers_come_and_go_in_many_threads, "threads of one process") };
WT_GROUP(wt_group_lives, cases);
