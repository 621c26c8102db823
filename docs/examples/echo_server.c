/* SPDX-License-Identifier: BSD-3-Clause
 *
 * echo_server.c - sends every message back to where it came from, and sleeps while there is none: how weft is built
 * into a program that has a loop of its own.
 *
 *   echo_server URL         serves for ever, for example at weft://0.0.0.0:7000
 *   echo_server URL TEXT    sends TEXT to the server at URL, prints what comes back
 *   echo_server             tries both
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weft/weft.h>

static char message[65536];

static int check(int ret)
{
	char line[600];

	if (ret >= 0)
		return ret;
	weft_error_text(weft_last_error(), line, sizeof(line));
	fprintf(stderr, "echo_server: %s\n", line);
	exit(1);
}

/* Answers @got (NULL at the start) and receives the next: from any endpoint (no call.from), with any tag (mask 0). */
static void echo(weft_worker *w, const weft_event *got)
{
	weft_call in = { .size = sizeof(in) }, out = { .size = sizeof(out), .flags = WEFT_COPY | WEFT_NO_EVENT };
	weft_buf all = { .addr = message, .len = sizeof(message) }, part = all;

	do {
		if (got && got->status == WEFT_OK) {   /* COPY: the buffer is ours again at once */
			part.len = got->len;
			weft_send(got->ep, &part, 1, got->tag, &out);   /* if it fails, WEFT_EV_DOWN tells */
		}
		got = &in.event;
	} while (check(weft_recv(w, &all, 1, 0, 0, &in)) == WEFT_OK);   /* PENDING: an event will come */
}

static int serve(weft_worker *w, const char *url)
{
	struct pollfd p = { .fd = weft_worker_fd(w), .events = POLLIN };   /* fits into epoll, GLib, libuv as well */
	weft_listener *l;
	weft_event e[16];

	check(weft_listen(w, url, NULL, &l));
	check(weft_listener_url(l, message, sizeof(message)));
	dprintf(STDOUT_FILENO, "%s\n", message);   /* with the port that was chosen */
	echo(w, NULL);
	for (;;) {
		size_t n = weft_reap(w, e, 16);

		for (size_t i = 0; i < n; i++) {
			if (e[i].kind == WEFT_EV_REQUEST)
				weft_accept(e[i].data, w, NULL, &e[i].ep);
			else if (e[i].kind == WEFT_EV_OP)
				echo(w, &e[i]);
			else if (e[i].kind == WEFT_EV_DOWN)
				weft_ep_abort(e[i].ep);          /* it is over; we let go of it */
		}
		if (!n && check(weft_arm(w)) == WEFT_OK && poll(&p, 1, -1) < 0)   /* AGAIN: something came just now */
			return 1;
	}
}

static int ask(weft_worker *w, const char *url, const char *text)
{
	weft_call in = { .size = sizeof(in), .flags = WEFT_BY_HANDLE }, out = { .size = sizeof(out), .flags = WEFT_COPY };
	weft_buf to = { .addr = (char *)text, .len = strlen(text) }, from = { .addr = message, .len = sizeof(message) };
	weft_event *e = &in.event;

	check(weft_connect(w, url, NULL, &in.from));   /* usable at once: what is posted waits inside */
	check(weft_send(in.from, &to, 1, 7, &out));
	if (check(weft_recv(w, &from, 1, 7, UINT64_MAX, &in)) == WEFT_PENDING)
		check(weft_wait(w, in.op, 0, e));
	printf("%.*s%s\n", (int)(e->status ? 0 : e->len), message, e->status ? weft_event_error(e)->cause : "");
	return e->status || e->len != to.len || memcmp(message, text, to.len);
}

static int run(const char *url, const char *text)
{
	char numeric[1000];
	weft_worker *w;
	weft_ctx *ctx;
	int ret;

	check(weft_resolve(url, numeric, sizeof(numeric)));   /* names to addresses; may block, for it may ask DNS */
	check(weft_open(NULL, &ctx));
	check(weft_worker_new(ctx, NULL, &w));
	ret = text ? ask(w, numeric, text) : serve(w, numeric);
	check(weft_worker_free(w));              /* with all that hangs on it */
	check(weft_close(ctx));
	return ret;
}

int main(int argc, char **argv)
{
	char url[200] = "";
	int fd[2], ret;
	pid_t server;

	if (argc > 1)
		return run(argv[1], argv[2]);
	server = pipe(fd) ? -1 : fork();
	alarm(10);
	if (!server)                     /* says its URL on stdout, which is the pipe */
		return dup2(fd[1], STDOUT_FILENO) < 0 || run("weft://127.0.0.1:0", NULL);
	ret = server > 0 && read(fd[0], url, sizeof(url) - 1) > 0 ? run(strtok(url, "\n"), "hello, weft") : 1;
	if (server > 0)
		kill(server, SIGTERM);
	return ret;
}
