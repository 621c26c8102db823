/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tcp.c - the limit of tcp on one machine: one bare socket with TCP_NODELAY at each end, never sleeping (MODE spin), that
 * sends and receives as much as it can at a time. MODE sleep: the same with blocking sockets.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "pair.h"

struct ball {
	struct peer peer;
	int fd, flags;
	unsigned char *out, *in;
	size_t size;
	bool alone;
};

static void again(const struct ball *b, const char *what)
{
	if (errno != EAGAIN && errno != EINTR)
		die(what);
	if (b->alone)
		sched_yield();
}

static void send_one(struct ball *b)
{
	for (size_t at = 0; at < b->size;) {
		ssize_t n = send(b->fd, b->out + at, b->size - at, b->flags);

		if (n > 0)
			at += (size_t)n;
		else
			again(b, "send");
	}
}

static void receive_one(struct ball *b)
{
	for (size_t at = 0; at < b->size;) {
		ssize_t n = recv(b->fd, b->in + at, b->size - at, b->flags);

		if (n > 0)
			at += (size_t)n;
		else if (n)
			again(b, "recv");
		else
			exit(1);
	}
}

FLATTEN void trip(void *arg)
{
	send_one(arg);
	receive_one(arg);
}

/* Both ends of a connection through the loopback interface. */
static void connect_pair(int fd[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int on = 1, l = socket(AF_INET, SOCK_STREAM, 0);

	if (l < 0 || bind(l, (void *)&at, sizeof(at)) || listen(l, 1) || getsockname(l, (void *)&at, &len))
		die("listen on 127.0.0.1");
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (fd[0] < 0 || connect(fd[0], (void *)&at, sizeof(at)))
		die("connect to 127.0.0.1");
	fd[1] = accept(l, NULL, NULL);
	if (fd[1] < 0)
		die("accept");
	close(l);
	for (int i = 0; i < 2; i++)
		if (setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
			die("TCP_NODELAY");
}

int main(int argc, char **argv)
{
	struct pair_args a = pair_args(argc, argv);
	struct ball b = { .size = a.size, .alone = a.cpu[0] == a.cpu[1] };
	struct loop l = { .seconds = a.seconds, .size = a.size, .tell = pair_tell, .to = &b.peer, .trip = trip, .arg = &b };
	uint64_t count;
	int fd[2], me;

	b.flags = strcmp(a.mode, "sleep") ? MSG_DONTWAIT : 0;
	connect_pair(fd);
	me = pair_fork(&b.peer, a.cpu);
	b.fd = fd[me];
	close(fd[!me]);
	b.out = memory(a.size);
	b.in = memory(a.size);
	fill(b.out, a.size, (unsigned)me + 1);
	if (me) {
		while ((count = pair_hear(&b.peer)))
			for (; count; count--) {
				receive_one(&b);
				send_one(&b);
			}
	} else {
		loop_run(&l);
	}
	check(b.in, a.size, me ? 1 : 2);
	return me ? 0 : pair_end(&b.peer);
}
