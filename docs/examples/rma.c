/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rma.c - one process reaches into memory of another: put, get and atomics, which the owner allows with a token and
 * takes back at the end. The owner's program does nothing meanwhile; it sleeps until a signal says that all is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/weft.h>

#define TAG_TOKEN 1
#define COUNTER   4096    /* offset of a 64-bit integer in the memory */

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "rma: %s: %s\n", what, weft_last_error()->cause);
	exit(1);
}

/* What became of a posted operation. */
static weft_event finish(weft_worker *w, int ret, weft_call *call)
{
	weft_event e = call->event;

	must(ret >= 0, "refused");
	if (ret == WEFT_PENDING)
		must(weft_wait(w, call->op, 0, &e) == WEFT_OK, "wait");
	must(e.status == WEFT_OK, weft_event_error(&e)->cause);
	return e;
}

static weft_event wait_for(weft_worker *w, uint32_t kind)
{
	weft_event e = { 0 };

	while (e.kind != kind)
		must(weft_wait_any(w, 0) == WEFT_OK && weft_reap(w, &e, 1), "no event");
	return e;
}

static void own(weft_worker *w, weft_ctx *ctx, int fd)
{
	weft_call call = { .size = sizeof(call), .flags = WEFT_BY_HANDLE };
	unsigned char token[64];
	char url[200] = "", *bytes;
	size_t len = sizeof(token);
	weft_listener *l;
	weft_grant grant;
	weft_mem *mem;
	weft_event e;
	weft_buf b;
	weft_ep *ep;

	must(weft_listen(w, "weft://127.0.0.1:0", NULL, &l) == WEFT_OK, "listen");
	must(weft_listener_url(l, url, sizeof(url)) == WEFT_OK && write(fd, url, sizeof(url)) > 0, "URL");
	must(weft_accept(wait_for(w, WEFT_EV_REQUEST).data, w, NULL, &ep) == WEFT_OK, "accept");
	must(weft_mem_alloc(ctx, 8192, WEFT_HOST, 0, &mem) == WEFT_OK, "alloc");   /* or weft_mem_register() yours */
	must(!weft_grant_new(mem, 0, 8192, WEFT_READ | WEFT_WRITE | WEFT_ATOMIC, ep, token, &len, &grant), "grant");
	b = (weft_buf){ .addr = token, .len = len };
	finish(w, weft_send(ep, &b, 1, TAG_TOKEN, &call), &call);

	e = wait_for(w, WEFT_EV_SIGNAL);
	bytes = weft_mem_addr(mem, NULL);
	printf("owner: \"%s\", counter %ld, signal %ld\n", bytes, *(long *)(bytes + COUNTER), (long)e.value);
	must(!strcmp(bytes, "written from afar") && *(uint64_t *)(bytes + COUNTER) == 42 && e.value == 7, "wrong");
	finish(w, weft_grant_revoke(mem, grant, &call), &call);   /* from here on nobody can reach it */
	must(weft_mem_free(mem) == WEFT_OK, "free");
	finish(w, weft_ep_close(ep, &call), &call);
}

static void reach(weft_worker *w, int fd)
{
	weft_call call = { .size = sizeof(call), .flags = WEFT_BY_HANDLE };
	char url[200] = "", text[] = "written from afar", back[sizeof(text)] = "";
	unsigned char token[64];
	weft_buf tok = { .addr = token, .len = sizeof(token) }, out = { .addr = text, .len = sizeof(text) };
	weft_buf in = { .addr = back, .len = sizeof(back) };
	weft_remote *r;
	weft_event e;
	weft_ep *ep = NULL;

	must(read(fd, url, sizeof(url)) > 0 && weft_connect(w, url, NULL, &ep) == WEFT_OK, "connect");
	e = finish(w, weft_recv(w, &tok, 1, TAG_TOKEN, UINT64_MAX, &call), &call);
	must(weft_remote_open(ep, token, e.len, &r) == WEFT_OK, "token");

	finish(w, weft_put(ep, &out, 1, r, 0, &call), &call);            /* done: text is ours again ... */
	finish(w, weft_flush(w, ep, &call), &call);                      /* ... flushed: it is there */
	finish(w, weft_get(ep, &in, 1, r, 0, &call), &call);
	must(!strcmp(back, text), "read back");
	finish(w, weft_atomic(ep, WEFT_ATOMIC_ADD, r, COUNTER, 40, 0, &call), &call);
	must(finish(w, weft_atomic(ep, WEFT_ATOMIC_ADD, r, COUNTER, 2, 0, &call), &call).value == 40, "old value");
	finish(w, weft_put_signal(ep, NULL, 0, r, 0, 7, &call), &call);   /* rings after all that was put before */
	weft_remote_close(r);
	wait_for(w, WEFT_EV_DOWN);                                       /* the owner closes */
	finish(w, weft_ep_close(ep, &call), &call);
}

int main(void)
{
	int fd[2], status = 0;
	pid_t child = pipe(fd) ? -1 : fork();   /* fork first, open weft then */
	weft_worker *w = NULL;
	weft_ctx *ctx;

	alarm(10);                              /* the waits have no deadlines of their own */
	must(child >= 0 && weft_open(NULL, &ctx) == WEFT_OK && weft_worker_new(ctx, NULL, &w) == WEFT_OK, "open");
	if (child)
		own(w, ctx, fd[1]);
	else
		reach(w, fd[0]);
	must(weft_worker_free(w) == WEFT_OK && weft_close(ctx) == WEFT_OK, "close");
	return child && (waitpid(child, &status, 0) != child || status);
}
