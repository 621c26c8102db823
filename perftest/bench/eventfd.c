/* SPDX-License-Identifier: BSD-3-Clause
 *
 * eventfd.c - the limit of waking a process: each of the two sleeps in epoll_wait until the other writes its eventfd. MODE
 * and SIZE mean nothing here.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "pair.h"

struct ball {
	struct peer peer;
	int mine, theirs;               /* eventfds: I am woken by, I wake with */
	int epoll;
};

static void wake(struct ball *b)
{
	if (eventfd_write(b->theirs, 1))
		die("eventfd_write");
}

static void sleep_until_woken(struct ball *b)
{
	struct epoll_event ev;
	eventfd_t n;

	while (epoll_wait(b->epoll, &ev, 1, -1) != 1)
		if (errno != EINTR)
			die("epoll_wait");
	if (eventfd_read(b->mine, &n))
		die("eventfd_read");
}

FLATTEN void trip(void *arg)
{
	wake(arg);
	sleep_until_woken(arg);
}

int main(int argc, char **argv)
{
	struct pair_args a = pair_args(argc, argv);
	struct ball b;
	struct loop l = { .seconds = a.seconds, .size = sizeof(uint64_t), .tell = pair_tell, .to = &b.peer, .trip = trip, .arg = &b };
	int fd[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	struct epoll_event ev = { .events = EPOLLIN };
	uint64_t count;
	int me;

	if (fd[0] < 0 || fd[1] < 0)
		die("eventfd");
	me = pair_fork(&b.peer, a.cpu);
	b.mine = fd[me];
	b.theirs = fd[!me];
	b.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b.epoll < 0 || epoll_ctl(b.epoll, EPOLL_CTL_ADD, b.mine, &ev))
		die("epoll");
	if (!me) {
		loop_run(&l);
		return pair_end(&b.peer);
	}
	while ((count = pair_hear(&b.peer)))
		for (; count; count--) {
			sleep_until_woken(&b);
			wake(&b);
		}
	return 0;
}
