/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_shm_procs.c - lanes of the shm transport between two processes: both copy, random sleeps lose no wake-up,
 * death is noticed at once, nothing is left behind.
 */
#include "unit.h"

#include "shm_mini.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* Runs @child in another process, which dies with us; the socket between them is returned. */
static int spawn(void (*child)(int fd), pid_t *pid_out)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	*pid_out = fork();
	if (*pid_out == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		alarm(60);
		child(fds[1]);
		_exit(0);
	}
	close(fds[1]);
	return fds[0];
}

static void reap(pid_t pid, int want)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), want);
}

/* When it was dead: what its own end takes, which is long under a sanitizer, is no part of how soon that is noticed. */
static uint64_t kill_dead(pid_t pid)
{
	siginfo_t info;

	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return wf_now_ns();
}

/* ---- sleeping ---- */

#define SLEEPS 120000
#define WINDOW 16

struct sleeper {
	uint64_t got, sent;
	unsigned inline_only;
};

static int sleeper_in(struct link *k, const struct wf_frame *h, const void *payload)
{
	struct sleeper *s = k->arg;

	assert(h->tag == s->got);
	assert(mini_same(payload, h->len, h->tag));
	s->got++;
	return 0;
}

/* Sends SLEEPS frames, at most WINDOW ahead of what came back, and sleeps at random moments, mostly without need. */
static struct wf_conf sleep_conf;
static bool no_membarrier;

static void sleep_a_lot(int fd, bool active, uint64_t seed)
{
	struct sleeper s = { 0 };
	uint8_t buf[4000];
	struct node n;
	struct wf_rng r;
	struct link *k;
	uint64_t last;

	wf_rng_init(&r, seed);
	node_open(&n, &sleep_conf);
	if (no_membarrier)
		n.port.membarrier = false;
	k = link_over(&n, fd, active);
	assert(k->up && (k->lane.tx.fence || !no_membarrier));
	k->arg = &s;
	k->on_frame = sleeper_in;
	last = wf_now_ns();
	while (s.sent < SLEEPS || s.got < SLEEPS) {
		uint64_t burst = wf_rng_below(&r, 4), before = s.got;

		while (burst-- && s.sent < SLEEPS && s.sent < s.got + WINDOW) {
			size_t len = wf_rng_hit(&r, 0.9) ? wf_rng_below(&r, 40) : wf_rng_below(&r, sizeof(buf));

			mini_fill(buf, len, s.sent);
			if (link_send(k, WF_FR_EAGER, s.sent, buf, len) == WEFT_AGAIN)
				break;
			s.sent++;
		}
		if (wf_rng_hit(&r, 0.3))
			node_turn(&n);
		/* Only with nothing to do: a wake-up that is lost shows as a sleep to the end. */
		if (s.got < SLEEPS && (s.sent == SLEEPS || s.sent == s.got + WINDOW))
			node_sleep(&n, 2000);
		if (s.got != before)
			last = wf_now_ns();
		if (wf_now_ns() - last > WF_NS_PER_S) {
			fprintf(stderr, "a wake-up was lost: sent %llu, got %llu\n", (unsigned long long)s.sent,
				(unsigned long long)s.got);
			_exit(3);
		}
	}
	assert(write(fd, "d", 1) == 1 && read(fd, buf, 1) == 1);
	if (active)
		printf("# %u sleeps here, %llu bells rung\n", n.sleeps, (unsigned long long)k->lane.base.syscalls);
	link_free(k);
	node_close(&n);
}

static void sleeper_child(int fd)
{
	sleep_a_lot(fd, false, 7);
}

static void other_user_child(int fd)
{
	assert(!setgid(65534) && !setuid(65534));
	sleep_a_lot(fd, false, 7);
}

static void two_sleepers(void (*child)(int fd))
{
	pid_t pid;
	int fd = spawn(child, &pid);

	sleep_a_lot(fd, true, 8);
	reap(pid, 0);
	close(fd);
}

static void test_random_sleeps_of_two_processes_lose_no_wake_up(void **state)
{
	(void)state;
	wf_conf_defaults(&sleep_conf);
	two_sleepers(sleeper_child);
}

static void test_random_sleeps_without_membarrier_and_with_a_small_ring(void **state)
{
	(void)state;
	wf_conf_defaults(&sleep_conf);
	sleep_conf.shm_ring = 16u << 10;
	no_membarrier = true;
	two_sleepers(sleeper_child);
	no_membarrier = false;
}

static void test_another_user_gets_a_ring_and_bells_over_the_socket(void **state)
{
	(void)state;
	if (getuid())
		UT_SKIP("only root can start a process of another user");
	wf_conf_defaults(&sleep_conf);
	two_sleepers(other_user_child);
}

/* ---- copies ---- */

#define BIG (2u << 20)
#define BIG_ROUNDS 40

static uint8_t *big;
static weft_buf big_buf;
static struct wf_copy copy;
static bool announced;
static int32_t ended;                    /* 1: not yet */

static void on_copied(struct wf_copy *c, int32_t status)
{
	(void)c;
	ended = status;
}

static int on_announce(struct link *k, const struct wf_frame *h, const void *payload)
{
	(void)k;
	if (h->type == WF_FR_RTS) {
		memcpy(copy.desc, payload, h->len);
		copy.desc_len = h->len;
	}
	announced = true;
	return 0;
}

static void copy_prepare(struct link *k, bool sender)
{
	big = big ? big : malloc(BIG);
	assert(big);
	big_buf = (weft_buf){ .addr = big, .len = BIG };
	copy = (struct wf_copy){ .lane = &k->lane.base, .bufs = &big_buf, .n = 1, .len = BIG, .sender = sender };
	announced = false;
	ended = 1;
	k->on_frame = on_announce;
	mini_copy_done = on_copied;
}

static void turn_until(struct node *n, const bool *flag)
{
	uint64_t start = wf_now_ns();

	while (!*flag) {
		node_turn(n);
		sched_yield(); /* so that both have time also on one CPU */
		mini_late(start);
	}
}

static void send_big(struct node *n, struct link *k, uint64_t seed)
{
	copy_prepare(k, true);
	mini_fill(big, BIG, seed);
	assert(!wf_shm.copy_offer(&k->lane.base, &copy, NULL));
	assert(!link_send(k, WF_FR_RTS, seed, copy.desc, copy.desc_len));
	turn_until(n, &announced);
	wf_shm.copy_end(&k->lane.base, &copy);
}

static void receive_big(struct node *n, struct link *k, uint64_t seed)
{
	uint64_t start = wf_now_ns();

	copy_prepare(k, false);
	memset(big, 0, BIG);
	turn_until(n, &announced);
	assert(!wf_shm.copy_start(&k->lane.base, &copy, NULL));
	for (ended = 1; ended == 1; mini_late(start)) {
		node_turn(n);
		sched_yield();
	}
	assert(ended == 0 && mini_same(big, BIG, seed));
	assert(!link_send(k, WF_FR_FIN, seed, NULL, 0));
}

static void sending_child(int fd)
{
	struct node n;
	struct link *k;
	char c;

	node_open(&n, NULL);
	k = link_over(&n, fd, false);
	if (!k->lane.rights)
		_exit(77);
	for (uint64_t seed = 1; seed <= BIG_ROUNDS; seed++)
		send_big(&n, k, seed);
	if (!k->lane.base.copy_us || !k->lane.base.copy_peer)
		_exit(4);
	assert(read(fd, &c, 1) == 1);
	link_free(k);
	node_close(&n);
}

static void test_both_processes_copy_a_large_message(void **state)
{
	struct node n;
	struct link *k;
	pid_t pid;
	int fd = spawn(sending_child, &pid);

	(void)state;
	node_open(&n, NULL);
	k = link_over(&n, fd, true);
	if (!k->lane.rights) {
		reap(pid, 77);
		UT_SKIP("no process_vm_readv: %s", k->lane.base.why);
	}
	for (uint64_t seed = 1; seed <= BIG_ROUNDS; seed++)
		receive_big(&n, k, seed);
	assert_true(k->lane.base.copy_us > 0 && k->lane.base.copy_peer > 0);
	assert_int_equal(k->lane.base.copy_us + k->lane.base.copy_peer, (uint64_t)BIG_ROUNDS * BIG);
	assert_int_equal(write(fd, "d", 1), 1);
	reap(pid, 0);
	link_free(k);
	node_close(&n);
	close(fd);
}

/* ---- who the peer is ---- */

static void asked_child(int fd)
{
	struct node n;
	struct link *k;
	char c;

	node_open(&n, NULL);
	k = link_over(&n, fd, false);
	assert(k->up && !k->lane.rights);
	assert(write(fd, &k->lane.same_user, 1) == 1 && read(fd, &c, 1) == 1);
	link_free(k);
	node_close(&n);
}

/* In a PID namespace of its own: it does not see us, we see it. */
static void inside_child(int fd)
{
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWPID))
		_exit(77);
	pid = fork();
	if (pid == 0) {
		asked_child(fd);
		_exit(0);
	}
	assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	_exit(WEXITSTATUS(status));
}

static void test_separate_pid_namespaces_share_rings(void **state)
{
	struct node n;
	struct link *k;
	pid_t pid;
	int fd = spawn(inside_child, &pid), status;
	bool same_user = false;

	(void)state;
	if (wf_poll_one(fd, POLLIN, 1000) == 1 && recv(fd, &status, 1, MSG_PEEK) == 0) {
		reap(pid, 77);
		close(fd);
		UT_SKIP("no right to make a PID namespace");
	}
	node_open(&n, NULL);
	k = link_over(&n, fd, true);
	assert_true(k->up);
	assert_int_equal(read(fd, &same_user, 1), 1);
	assert_true(same_user);
	assert_true(k->lane.pid > 0);
	assert_false(k->lane.peer_rights);
	assert_int_equal(write(fd, "d", 1), 1);
	reap(pid, 0);
	link_free(k);
	node_close(&n);
	close(fd);
}

static void other_user_asked_child(int fd)
{
	assert(!setgid(65534) && !setuid(65534));
	asked_child(fd);
}

static void test_another_user_gets_no_rights_and_no_memory(void **state)
{
	struct wf_region r = { .len = 4096, .id = 3 };
	struct node n;
	struct link *k;
	bool same_user = true;
	pid_t pid;
	int fd;

	(void)state;
	if (getuid())
		UT_SKIP("only root can start a process of another user");
	fd = spawn(other_user_asked_child, &pid);
	node_open(&n, NULL);
	k = link_over(&n, fd, true);
	assert_true(k->up);
	assert_int_equal(read(fd, &same_user, 1), 1);
	assert_false(same_user || k->lane.rights || k->lane.same_user);
	assert_int_equal(wf_memfd_new("t", r.len, &r.memfd), 0);
	assert_false(shm_region_pass(&k->lane, &r));
	wf_fd_close(&r.memfd);
	assert_int_equal(write(fd, "d", 1), 1);
	reap(pid, 0);
	link_free(k);
	node_close(&n);
	close(fd);
}

/* ---- death ---- */

/* Offers a copy and never works on it but in the first few polls. */
static void dying_sender(int fd)
{
	struct node n;
	struct link *k;
	int status;

	node_open(&n, NULL);
	k = link_over(&n, fd, false);
	copy_prepare(k, true);
	if (fork() == 0) { /* keeps our sockets open: their end alone shows nothing */
		close(fd);
		alarm(3); /* longer than any round of the test */
		pause();
		_exit(0);
	}
	for (int i = 0; i < 5; i++)
		assert(!link_send(k, WF_FR_EAGER, 0, "last words", 10));
	if (k->lane.rights) {
		assert(!wf_shm.copy_offer(&k->lane.base, &copy, NULL));
		assert(!link_send(k, WF_FR_RTS, 0, copy.desc, copy.desc_len));
	}
	for (;;)
		node_turn(&n);
	wait(&status);
}

static unsigned words;

static int count_words(struct link *k, const struct wf_frame *h, const void *payload)
{
	if (h->type == WF_FR_EAGER)
		words++;
	return on_announce(k, h, payload);
}

static void test_peer_killed_in_the_middle_of_a_copy(void **state)
{
	int before = wf_fd_count();
	struct node n;

	(void)state;
	node_open(&n, NULL);
	for (int round = 0; round < 10; round++) {
		pid_t pid;
		int fd = spawn(dying_sender, &pid);
		struct link *k = link_over(&n, fd, true);
		uint64_t start = wf_now_ns();

		copy_prepare(k, false);
		words = 0;
		k->on_frame = count_words;
		while (!copy.desc_len && k->lane.rights) {
			node_turn(&n);
			mini_late(start);
		}
		if (k->lane.rights)
			assert_int_equal(wf_shm.copy_start(&k->lane.base, &copy, NULL), 0);
		for (int i = 0; i < round; i++)
			node_turn(&n);
		start = kill_dead(pid);
		while (!k->down) {
			node_sleep(&n, 1000);
			mini_late(start);
		}
		assert_true(wf_now_ns() - start < 100 * WF_NS_PER_MS);
		assert_int_equal(k->status, WEFT_ERESET);
		assert_non_null(strstr(k->cause, "died"));
		assert_int_equal(words, 5);
		if (k->lane.rights && ended == 1) {
			wf_shm.copy_stop(&k->lane.base, &copy);
			assert_int_equal(ended, 1);
			while (ended == 1)
				node_turn(&n);
			assert_true(ended == WEFT_ECANCELED || ended == WEFT_OK);
		}
		assert_int_equal(n.port.base.busy, 0);
		reap(pid, SIGKILL);
		link_free(k);
		close(fd);
	}
	node_close(&n);
	assert_int_equal(wf_fd_count(), before);
}

/* Sends until it is killed. */
static void chatty_child(int fd)
{
	struct node n;
	struct link *k;

	node_open(&n, NULL);
	k = link_over(&n, fd, true);
	for (;;) {
		if (link_send(k, WF_FR_EAGER, 0, "chat", 4) == WEFT_AGAIN)
			node_sleep(&n, 10);
	}
}

static int not_now(struct link *k, const struct wf_frame *h, const void *payload)
{
	(void)k;
	(void)h;
	(void)payload;
	return WEFT_AGAIN;
}

static void test_death_is_noticed_also_when_nobody_takes_frames(void **state)
{
	struct node n;
	struct link *k;
	pid_t pid;
	int fd = spawn(chatty_child, &pid);
	uint64_t start;

	(void)state;
	node_open(&n, NULL);
	k = link_over(&n, fd, false);
	k->on_frame = not_now;
	start = wf_now_ns();
	while (!k->lane.base.paused) {
		node_sleep(&n, 100);
		mini_late(start);
	}
	start = kill_dead(pid);
	while (!k->down) {
		node_sleep(&n, 1000);
		mini_late(start);
	}
	assert_true(wf_now_ns() - start < 150 * WF_NS_PER_MS);
	reap(pid, SIGKILL);
	link_free(k);
	node_close(&n);
	close(fd);
}

static void attaching_child(int fd)
{
	uint8_t mine[160];
	struct node n;
	struct link *k;
	size_t len;

	node_open(&n, NULL);
	k = link_new(&n);
	len = wf_shm.offer(&k->lane.base, mine, sizeof(mine));
	assert(write(fd, mine, len) == (ssize_t)len);
	pause(); /* never accepts */
}

static void test_peer_that_dies_while_attaching_is_a_refusal(void **state)
{
	uint8_t offer[160];
	struct node n;
	struct link *k;
	pid_t pid;
	int fd = spawn(attaching_child, &pid);
	ssize_t len = read(fd, offer, sizeof(offer));
	uint64_t start = wf_now_ns();

	(void)state;
	node_open(&n, NULL);
	k = link_new(&n);
	assert_int_equal(wf_shm.attach(&k->lane.base, true, offer, (size_t)len), 0);
	for (int i = 0; i < 20; i++)
		node_turn(&n);
	assert_false(k->down);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	while (!k->down) {
		node_sleep(&n, 1000);
		mini_late(start);
	}
	assert_true(wf_now_ns() - start < 100 * WF_NS_PER_MS);
	assert_int_equal(k->status, WEFT_EREFUSED);
	link_free(k);
	node_close(&n);
	close(fd);
}

static void test_silent_peer_is_given_up_in_time(void **state)
{
	uint8_t offer[160];
	struct wf_conf conf;
	struct node n;
	struct link *k;
	pid_t pid;
	int fd = spawn(attaching_child, &pid);
	ssize_t len = read(fd, offer, sizeof(offer));
	uint64_t start = wf_now_ns();

	(void)state;
	wf_conf_defaults(&conf);
	conf.connect_timeout_ns = 100 * WF_NS_PER_MS;
	node_open(&n, &conf);
	k = link_new(&n);
	assert_int_equal(wf_shm.attach(&k->lane.base, true, offer, (size_t)len), 0);
	while (!k->down) {
		node_sleep(&n, 1000);
		mini_late(start);
	}
	assert_int_equal(k->status, WEFT_ETIMEDOUT);
	assert_in_range(wf_now_ns() - start, 50 * WF_NS_PER_MS, 1000 * WF_NS_PER_MS);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL);
	link_free(k);
	node_close(&n);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_random_sleeps_of_two_processes_lose_no_wake_up),
	cmocka_unit_test(test_random_sleeps_without_membarrier_and_with_a_small_ring),
	cmocka_unit_test(test_another_user_gets_a_ring_and_bells_over_the_socket),
	cmocka_unit_test(test_both_processes_copy_a_large_message),
	cmocka_unit_test(test_separate_pid_namespaces_share_rings),
	cmocka_unit_test(test_another_user_gets_no_rights_and_no_memory),
	cmocka_unit_test(test_peer_killed_in_the_middle_of_a_copy),
	cmocka_unit_test(test_death_is_noticed_also_when_nobody_takes_frames),
	cmocka_unit_test(test_peer_that_dies_while_attaching_is_a_refusal),
	cmocka_unit_test(test_silent_peer_is_given_up_in_time),
};

UT_MAIN(tests)
