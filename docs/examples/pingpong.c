/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pingpong.c - two processes throw a message back and forth. The shortest whole program: connect, accept, send,
 * receive, close, with every answer looked at.
 *
 *   cc pingpong.c $(pkg-config --cflags --libs weft) && ./a.out
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/weft.h>

#define ROUNDS 1000

static void die(const weft_error *e)
{
	char line[600];

	weft_error_text(e, line, sizeof(line));
	fprintf(stderr, "pingpong: %s\n", line);
	exit(1);
}

static void check(int ret)
{
	if (ret < 0)
		die(weft_last_error());
}

/* Every posting call has three answers: done (WEFT_OK), a completion will come (WEFT_PENDING), refused (negative). */
static void finish(weft_worker *w, int ret, weft_call *call)
{
	weft_event e = call->event;

	check(ret);
	if (ret == WEFT_PENDING)
		check(weft_wait(w, call->op, 0, &e));
	if (e.status < 0)
		die(weft_event_error(&e));
}

static void throw(weft_worker *w, weft_ep *ep, int *ball)
{
	weft_call call = { .size = sizeof(call), .flags = WEFT_BY_HANDLE };
	weft_buf buf = { .addr = ball, .len = sizeof(*ball) };

	finish(w, weft_send(ep, &buf, 1, 7, &call), &call);              /* with tag 7 */
}

static void catch(weft_worker *w, weft_ep *ep, int *ball)
{
	weft_call call = { .size = sizeof(call), .flags = WEFT_BY_HANDLE, .from = ep };
	weft_buf buf = { .addr = ball, .len = sizeof(*ball) };

	finish(w, weft_recv(w, &buf, 1, 7, UINT64_MAX, &call), &call);   /* tag 7, and every bit of it counts */
}

static int play(weft_worker *w, weft_ep *ep, int serves)
{
	weft_call call = { .size = sizeof(call), .flags = WEFT_BY_HANDLE };
	int ball = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (serves)
			throw(w, ep, &ball);
		catch(w, ep, &ball);
		ball++;                  /* so does the other */
		if (!serves)
			throw(w, ep, &ball);
	}
	finish(w, weft_ep_close(ep, &call), &call);   /* flushes, then ends: ep is gone */
	printf("%s: the ball says %d\n", serves ? "ping" : "pong", ball);
	return ball / 2 != ROUNDS - !serves;
}

static weft_ep *meet(weft_worker *w, int listens, const int fd[2])
{
	weft_event e = { 0 };
	char url[200] = "";
	weft_listener *l;
	weft_ep *ep;

	if (!listens) {
		if (read(fd[0], url, sizeof(url)) <= 0)
			exit(1);
		check(weft_connect(w, url, NULL, &ep));          /* usable at once: what is posted waits inside */
		return ep;
	}
	check(weft_listen(w, "weft://127.0.0.1:0", NULL, &l));
	check(weft_listener_url(l, url, sizeof(url)));           /* with the port that was chosen */
	if (write(fd[1], url, sizeof(url)) <= 0)
		exit(1);
	for (; e.kind != WEFT_EV_REQUEST; weft_reap(w, &e, 1))
		check(weft_wait_any(w, 0));
	check(weft_accept(e.data, w, NULL, &ep));
	return ep;
}

int main(void)
{
	int fd[2], status = 0, ret;
	pid_t child = pipe(fd) ? -1 : fork();   /* fork first, open weft then */
	weft_worker *w;
	weft_ctx *ctx;

	alarm(10);                              /* the waits have no deadlines of their own */
	check(weft_open(NULL, &ctx));
	check(weft_worker_new(ctx, NULL, &w));
	ret = play(w, meet(w, child != 0, fd), !child);
	check(weft_worker_free(w));             /* with all that still hangs on it */
	check(weft_close(ctx));
	if (child > 0)
		waitpid(child, &status, 0);
	return ret || status;
}
