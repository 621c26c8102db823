/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wt_proc.c - peer processes, the descriptors of this one, and the way a failed check ends.
 */
#include "lib/wt.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/wt_inside.h"

#define CHILDREN 8

static bool in_child;
static pid_t children[CHILDREN];

void wt_must_failed(const char *cond, const char *file, int line)
{
	char why[400];

	weft_error_text(weft_last_error(), why, sizeof(why));
	if (in_child) {
		dprintf(2, "# peer process: %s:%d: not so: %s (weft's last error: %s)\n", file, line, cond, why);
		_exit(98);
	}
	print_error("weft's last error: %s\n", why);
	_fail(file, line); /* jumps */
	abort();
}

void wt_in_child(void)
{
	in_child = true;
	memset(children, 0, sizeof(children));
	wt_forget();
}

static void note_child(pid_t was, pid_t is)
{
	for (int i = 0; i < CHILDREN; i++) {
		if (children[i] == was) {
			children[i] = is;
			return;
		}
	}
}

void wt_child_start(struct wt_child *c, int (*fn)(int sock, void *arg), void *arg)
{
	pid_t parent = getpid();
	int pair[2];

	wt_must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	fflush(NULL);
	c->pid = fork();
	wt_must(c->pid >= 0);
	if (!c->pid) {
		wt_in_child();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(97);
		signal(SIGALRM, SIG_DFL);
		alarm(wt_slow(100) * (getenv("WEFT_TEST_LONG") ? 20 : 1));
		close(pair[0]);
		_exit(fn(pair[1], arg));
	}
	close(pair[1]);
	c->sock = pair[0];
	note_child(0, c->pid);
}

static void sleep_us(long us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

/* Takes away what libfabric's shm leaves in /dev/shm of a process that did not close it. */
static void clear_shm_of(pid_t pid)
{
	DIR *d = wt_variant && wt_variant->provider ? opendir("/dev/shm") : NULL;
	struct dirent *f;
	char mine[20];

	snprintf(mine, sizeof(mine), "%d:", (int)pid);
	while (d && (f = readdir(d)))
		if (!strncmp(f->d_name, mine, strlen(mine)))
			unlinkat(dirfd(d), f->d_name, 0);
	if (d)
		closedir(d);
}

int wt_child_wait(struct wt_child *c, unsigned ms)
{
	uint64_t limit = wt_in_ms(wt_slow(ms));
	int status;
	pid_t got;

	while ((got = waitpid(c->pid, &status, WNOHANG)) == 0) {
		wt_must(wt_now_ns() < limit);
		sleep_us(200);
		wt_pump(); /* the peer may be waiting for us */
	}
	wt_must(got == c->pid);
	clear_shm_of(got);
	note_child(c->pid, 0);
	close(c->sock);
	c->pid = 0;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void kill_now(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	clear_shm_of(pid);
}

void wt_child_kill(struct wt_child *c)
{
	if (!c->pid)
		return;
	kill_now(c->pid);
	note_child(c->pid, 0);
	close(c->sock);
	c->pid = 0;
}

void wt_kill_children(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		if (!children[i])
			continue;
		kill_now(children[i]);
		children[i] = 0;
	}
}

bool wt_say(int sock, const void *p, size_t len)
{
	return send(sock, p, len, MSG_NOSIGNAL) == (ssize_t)len;
}

bool wt_hear(int sock, void *p, size_t len)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	uint64_t limit = wt_in_ms(wt_slow(WT_LIMIT_MS));

	while (wt_now_ns() < limit) {
		if (poll(&pfd, 1, 1) == 1)
			return recv(sock, p, len, 0) == (ssize_t)len;
		wt_pump();
	}
	return false;
}

int wt_fds_here(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the directory itself */
}

void wt_print_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char what[200];
		ssize_t n = readlinkat(dirfd(d), e->d_name, what, sizeof(what) - 1);

		if (n < 0 || atoi(e->d_name) == dirfd(d))
			continue;
		what[n] = '\0';
		print_error("%s -> %s\n", e->d_name, what);
	}
	if (d)
		closedir(d);
}

int wt_fd_count(void)
{
	return wt_fds_here() + (wt_far ? wt_far->fd_count() : 0);
}

void wt_idle(void)
{
	sleep_us(20);
}
