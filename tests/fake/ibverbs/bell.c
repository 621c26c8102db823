/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bell.c - queues of events with a descriptor: completion channels and the contexts' asynchronous events.
 *
 * The descriptor is a UNIX datagram socket with an abstract name (no file, gone with its process); whoever puts the
 * first event in sends it one datagram, whoever takes the last one out takes that out too, both under the lock: it is
 * readable exactly while there is an event.
 */
#include "fake/ibverbs/fake.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t name_of(uint32_t bell, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "weft-fake-ibv/%016llx/%u.%u",
					    (unsigned long long)fk.shm->id, bell, fk.shm->bell[bell].h.gen));
}

uint32_t fk_bell_new(struct fk_context *ctx, void *user, int *fd)
{
	uint32_t bell = FK_TAKE(bell, user);
	struct sockaddr_un sa;

	if (bell == FK_NONE)
		return FK_NONE;
	*fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&sa, name_of(bell, &sa))) {
		int err = errno;

		if (*fd >= 0)
			close(*fd);
		fk.shm->bell[bell].h.owner = 0;
		errno = err;
		return FK_NONE;
	}
	fk.shm->bell[bell].fd = *fd;
	fk.shm->bell[bell].ctx = (uintptr_t)ctx;
	return bell;
}

/* EPOLLERR until somebody reads, and nobody does: what a socket gets whose peer leaves with bytes of it unread. */
static void hang_up(uint32_t bell)
{
	struct sockaddr_un self = { .sun_family = AF_UNIX }, other = self;
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int fd = fk.shm->bell[bell].fd, s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(other), self_len = name_of(bell, &self);

	if (s < 0 || bind(s, (struct sockaddr *)&other, sizeof(other.sun_family)) || getsockname(s, (struct sockaddr *)&other, &len) ||
	    connect(fd, (struct sockaddr *)&other, len) || connect(s, (struct sockaddr *)&self, self_len) || send(fd, "!", 1, 0) != 1 ||
	    connect(s, &nobody, sizeof(nobody)))
		fk_complain("a bell cannot be broken: %s", strerror(errno));
	if (s >= 0)
		close(s);
}

void fk_bell_break(uint32_t bell)
{
	fk.shm->bell[bell].broken = true;
	if (!fk.shm->bell[bell].n)
		hang_up(bell);
}

void fk_bell_free(uint32_t bell, int fd)
{
	close(fd);
	fk.shm->bell[bell].h.owner = 0;
}

void fk_bell_push(uint32_t bell, uint64_t object, uint32_t type)
{
	struct fk_bell *b = &fk.shm->bell[bell];
	struct sockaddr_un sa;

	if (b->broken)
		return;
	if (b->n == FK_EVENTS) {
		fk_complain("more than %d events wait: nobody takes them", FK_EVENTS);
		return;
	}
	b->event[(b->first + b->n++) % FK_EVENTS] = (struct fk_event){ object, type };
	if (b->n == 1 && sendto(fk.wake_fd, "!", 1, MSG_DONTWAIT, (struct sockaddr *)&sa, name_of(bell, &sa)) < 0 &&
	    fk_is_alive(b->h.owner))
		fk_complain("a bell cannot be rung: %s", strerror(errno));
}

static void drain(int fd)
{
	char c;

	if (recv(fd, &c, 1, MSG_DONTWAIT) < 0)
		fk_complain("an event queue's descriptor was read by somebody else");
}

bool fk_bell_take(uint32_t bell, int fd, struct fk_event *out)
{
	struct fk_bell *b = &fk.shm->bell[bell];

	if (!b->n)
		return false;
	*out = b->event[b->first];
	b->first = (b->first + 1) % FK_EVENTS;
	if (!--b->n)
		drain(fd);
	if (!b->n && b->broken)
		hang_up(bell);
	return true;
}

void fk_bell_forget(uint32_t bell, int fd, uint64_t object)
{
	struct fk_bell *b = &fk.shm->bell[bell];
	uint32_t n = b->n, kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct fk_event *e = &b->event[(b->first + i) % FK_EVENTS];

		if (e->object != object)
			b->event[(b->first + kept++) % FK_EVENTS] = *e;
	}
	b->n = kept;
	if (n && !kept)
		drain(fd);
	if (n && !kept && b->broken)
		hang_up(bell);
}

int fk_bell_wait(uint32_t bell, int fd, struct fk_event *out, const char *what)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		bool got, broken;

		if (!fk_enter(what))
			return -1;
		fk_progress();
		got = fk_bell_take(bell, fd, out);
		broken = fk.shm->bell[bell].broken;
		fk_leave();
		if (got)
			return 0;
		if (broken) {
			errno = EIO;
			return -1;
		}
		if (fcntl(fd, F_GETFL) & O_NONBLOCK) {
			errno = EAGAIN;
			return -1;
		}
		if (poll(&p, 1, -1) < 0)
			return -1;
	}
}
