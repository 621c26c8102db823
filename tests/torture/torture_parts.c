/* SPDX-License-Identifier: BSD-3-Clause
 *
 * torture_parts.c - the parts of base and os, each with every point failing in turn.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/pool.h"
#include "os/mem.h"
#include "os/poll.h"
#include "os/sock.h"
#include "torture/torture.h"

static const char *containers(const void *unused)
{
	static struct wf_heap_node nodes[100];
	struct wf_pool pool;
	struct wf_heap heap;
	struct wf_map map;
	uint32_t got = 0, in_map = 0, in_heap = 0;
	const char *wrong = NULL;

	(void)unused;
	wf_pool_init(&pool, 40, 0);
	wf_map_init(&map);
	wf_heap_init(&heap);
	for (uint64_t i = 0; i < 100; i++) {
		void *obj = wf_pool_get(&pool);

		got += obj != NULL;
		if (obj && !wf_map_insert(&map, i, obj))
			in_map++;
		in_heap += !wf_heap_push(&heap, &nodes[i], 100 - i);
	}
	if (wf_pool_in_use(&pool) != got || wf_map_count(&map) != in_map || heap.count != in_heap)
		wrong = "a failed call left something behind";
	wf_heap_fini(&heap);
	wf_map_fini(&map);
	wf_pool_fini(&pool);
	return wrong;
}

static const char *settings(const void *unused)
{
	weft_config *c;
	int ret;

	(void)unused;
	setenv("WEFT_CONFIG", "/proc/self/comm", 1); /* a file that has no line like ours */
	ret = weft_config_new(&c);
	unsetenv("WEFT_CONFIG");
	if (!ret)
		return "a bad file was taken";
	if (weft_config_new(&c))
		return weft_last_error()->cause[0] ? NULL : "a failure without a text";
	weft_config_free(c);
	return NULL;
}

static void nothing(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
}

static const char *waiting(const void *unused)
{
	struct wf_watch watch;
	struct wf_poll p;
	int bell = -1, timer = -1;

	(void)unused;
	wf_watch_init(&watch, nothing, NULL);
	if (wf_poll_init(&p))
		return NULL;
	if (!wf_bell_open(&bell) && !wf_timer_open(&timer) &&
	    !wf_poll_add(&p, &watch, bell, EPOLLIN)) {
		wf_bell_ring(bell);
		wf_poll_run(&p, 0, 8);
	}
	wf_poll_del(&p, &watch);
	wf_fd_close(&bell);
	wf_fd_close(&timer);
	wf_poll_fini(&p);
	return NULL;
}

static const char *sockets(const void *unused)
{
	struct wf_addr at;
	int l = -1, a = -1, b = -1, ret;
	char x = 0;

	(void)unused;
	wf_addr_parse("127.0.0.1:0", &at);
	ret = wf_sock_listen(&at, &l);
	if (!ret)
		ret = wf_sock_local(l, &at);
	if (!ret)
		ret = wf_sock_connect_nb(&at, &a);
	if (ret == -EINPROGRESS)
		ret = wf_poll_one(a, POLLOUT, 5000) == 1 ? wf_sock_error(a) : -ETIMEDOUT;
	if (!ret)
		ret = wf_sock_accept(l, &b, NULL);
	if (!ret && wf_sock_send(a, "x", 1) == 1 && wf_poll_one(b, POLLIN, 5000) == 1)
		wf_sock_recv(b, &x, 1);
	wf_fd_close(&l);
	wf_fd_close(&a);
	wf_fd_close(&b);
	return NULL;
}

static const char *passing_memory(const void *unused)
{
	int pair[2] = { -1, -1 }, fd = -1, got[WF_FDS_MAX];
	size_t n = 0, len;
	void *p = NULL;
	char text[4];

	(void)unused;
	if (!wf_unix_pair(pair) && !wf_memfd_new("torture", 100, &fd) &&
	    !wf_unix_send(pair[0], "x", 1, &fd, 1) &&
	    wf_unix_recv(pair[1], text, sizeof(text), got, &n) == 1 && n == 1) {
		if (!wf_memfd_check(got[0], 1 << 20, &len) && !wf_map_shared(got[0], len, true, &p))
			wf_unmap(&p, len);
		wf_fd_close(&got[0]);
	}
	wf_fd_close(&pair[0]);
	wf_fd_close(&pair[1]);
	wf_fd_close(&fd);
	return NULL;
}

static const char *questions(const void *unused)
{
	struct wf_iface ifaces[4];
	struct wf_addr addrs[4];
	struct wf_forkmark mark;
	struct iovec here, there;
	char text[64], copy[4];
	int fd = -1;

	(void)unused;
	if (!wf_pidfd_open(getpid(), &fd) && wf_pidfd_is_gone(fd))
		return "we are said to be gone";
	wf_fd_close(&fd);
	wf_iface_list(ifaces, 4);
	wf_resolve_names("127.0.0.1", "1", addrs, 4, NULL);
	wf_boot_id(text, sizeof(text));
	wf_random(text, sizeof(text));
	here = (struct iovec){ copy, sizeof(copy) };
	there = (struct iovec){ text, sizeof(copy) };
	wf_vm_read(getpid(), &here, 1, &there, 1);
	if (!wf_forkmark_init(&mark))
		wf_forkmark_fini(&mark);
	return NULL;
}

static const struct torture list[] = {
	{ "containers", containers, NULL, false, false },
	{ "settings", settings, NULL, false, false },
	{ "waiting", waiting, NULL, false, false },
	{ "sockets", sockets, NULL, false, false },
	{ "passing_memory", passing_memory, NULL, false, false },
	{ "questions", questions, NULL, false, false },
};

int main(int argc, char **argv)
{
	return torture_main(argc, argv, list, (int)WF_ARRAY_LEN(list));
}
