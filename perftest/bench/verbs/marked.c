/* SPDX-License-Identifier: BSD-3-Clause
 *
 * marked.c - weft's own messages between the marks that bare.c puts around verbs' (mark.h), so that `steps` counts what weft adds.
 *
 *   marked HOST SIZE N          two processes, N messages back and forth over what the settings allow (WEFT_TRANSPORTS=verbs)
 *
 * Slot 2 is one send and one receive as a program has them, like MESSAGE of bare.c; 3 and 4 are its halves: posting the receive
 * and the send, and reaping what has come. While the message is under way nothing is counted, so that no turn looks in vain. What
 * weft does by time, and not by message, happens in nearly every turn of a process that is stepped: a window without it tells
 * (`ours_least`).
 */
#include <weft/weft.h>

#include "mark.h"
#include "perftest/bench/pair.h"

#define URL_MAX 200
#define LIMIT_S 240
#define WARM_UP 64

enum { MESSAGE = 2, POSTED, REAPED };

struct side {
	struct peer peer;
	weft_worker *w;
	weft_ep *ep;
	unsigned char *out, *in;
	size_t size;
};

static int must(int ret)
{
	char line[600];

	if (ret >= 0)
		return ret;
	weft_error_text(weft_last_error(), line, sizeof(line));
	fprintf(stderr, "marked: %s\n", line);
	exit(1);
}

static void post_send(struct side *s)
{
	weft_buf b = { .addr = s->out, .len = s->size };
	weft_call c = { .size = sizeof(c), .flags = WEFT_NO_EVENT };

	must(weft_send(s->ep, &b, 1, 1, &c));
}

/* True: it is there already. */
static bool post_recv(struct side *s)
{
	weft_buf b = { .addr = s->in, .len = s->size };
	weft_call c = { .size = sizeof(c) };

	return must(weft_recv(s->w, &b, 1, 1, UINT64_MAX, &c)) == WEFT_OK;
}

static void reap(struct side *s)
{
	weft_event e;

	do {
		while (!weft_reap(s->w, &e, 1))
			;
		must(e.status);
	} while (e.kind != WEFT_EV_OP); /* that the endpoint is connected */
}

static void meet(struct side *s, int me, const char *host)
{
	char url[URL_MAX] = "";
	weft_event e = { 0 };
	weft_listener *l;

	if (!me) {
		if (read(s->peer.fd[0], url, sizeof(url)) != sizeof(url))
			exit(1);
		must(weft_connect(s->w, url, NULL, &s->ep));
		return;
	}
	snprintf(url, sizeof(url), "weft://%s:0", host);
	must(weft_listen(s->w, url, NULL, &l));
	must(weft_listener_url(l, url, sizeof(url)));
	if (write(s->peer.fd[1], url, sizeof(url)) != sizeof(url))
		die("write to the other process");
	for (; e.kind != WEFT_EV_REQUEST; weft_reap(s->w, &e, 1))
		must(weft_wait_any(s->w, 0));
	must(weft_accept(e.data, s->w, NULL, &s->ep));
}

static void echo(struct side *s, uint64_t n)
{
	for (; n; n--) {
		if (!post_recv(s))
			reap(s);
		post_send(s);
		pair_tell(&s->peer, 1);
	}
	while (pair_hear(&s->peer))
		;
}

/* The echo was sent, and has had time to come. */
static void await_echo(struct side *s)
{
	if (pair_hear(&s->peer) != 1)
		exit(1);
	usleep(10000);
}

static void message(struct side *s, unsigned long first, unsigned long second)
{
	bool there;

	mark(first);
	there = post_recv(s);
	post_send(s);
	mark(MARK_END);
	await_echo(s);
	mark(second);
	if (!there)
		reap(s);
	mark(MARK_END);
}

static void measure(struct side *s, uint64_t n)
{
	for (int i = 0; i < WARM_UP; i++) {
		bool there = post_recv(s);

		post_send(s);
		if (!there)
			reap(s);
		if (pair_hear(&s->peer) != 1)
			exit(1);
	}
	check(s->in, s->size, 2);
	for (int i = 0; i < 8; i++) {
		mark(MARK_EMPTY);
		mark(MARK_END);
	}
	for (uint64_t i = 0; i < n; i++)
		message(s, MESSAGE, MESSAGE);
	for (uint64_t i = 0; i < n; i++)
		message(s, POSTED, REAPED);
	check(s->in, s->size, 2);
	printf("{\"test\":\"marked\",\"size\":%zu,\"iterations\":%llu}\n", s->size, (unsigned long long)n);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const int cpus[2] = { 0, 1 };
	char path[2000];
	struct side s;
	weft_ctx *ctx;
	uint64_t n;
	int me;

	if (argc != 4) {
		fprintf(stderr, "usage: %s HOST SIZE N\n", argv[0]);
		return 2;
	}
	s.size = strtoull(argv[2], NULL, 0);
	n = strtoull(argv[3], NULL, 0);
	me = pair_fork(&s.peer, cpus);
	alarm(LIMIT_S);
	s.out = memory(s.size);
	s.in = memory(s.size);
	fill(s.out, s.size, (unsigned)me + 1);
	must(weft_open(NULL, &ctx));
	must(weft_worker_new(ctx, NULL, &s.w));
	meet(&s, me, argv[1]);
	if (me) {
		echo(&s, 2 * n + WARM_UP);
		_exit(0);
	}
	measure(&s, n);
	size_t len = sizeof(path);
	if (weft_explain(ctx, s.ep, NULL, 0, path, &len) >= 0)
		fprintf(stderr, "%s\n", path);
	return pair_end(&s.peer);
}
