/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_link.c - what only a network of one's own can show: a link that is cut under traffic is noticed within
 * failure_detect, also without any traffic; a peer that lives and does not read is not taken for dead; an IPv6 link-local
 * address works with its scope. Each case runs in a child with its own network namespace.
 */
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform/conform.h"

enum { NOT_ALLOWED = 77, DETECT_S = 2 };   /* keepalive counts in whole seconds, two at least */

static int set_loopback(bool up)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int ret = ioctl(fd, SIOCSIFFLAGS, &req);

	close(fd);
	return ret;
}

static bool enter_own_network(void)
{
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	return !set_loopback(true);
}

static void pair_with_short_detect(struct wt_pair *p)
{
	wt_pair_open_with(p, 0, "failure_detect", "2s");
}

/* Seconds until both sides were told. */
static double seconds_until_down(struct wt_pair *p)
{
	uint64_t start = wt_now_ns();

	for (int i = 0; i < 2; i++) {
		weft_event e = wt_wait(p->w[i], WEFT_EV_DOWN, UINT64_MAX, 20000);

		wt_must(e.status == WEFT_ERESET);
	}
	return (double)(wt_now_ns() - start) / 1e9;
}

static void cut_link_is_noticed(bool traffic)
{
	struct wt_pair p;
	struct wt_posted s = { 0 };
	static char byte[100];
	double took;

	pair_with_short_detect(&p);
	wt_exchange(&p, 0, 1000, 1);
	wt_must(!set_loopback(false));
	if (traffic)
		s = wt_send(&p, 0, byte, sizeof(byte), 1, WEFT_SYNC);
	took = seconds_until_down(&p);
	printf("# told after %.2f s, failure_detect is %d s\n", took, DETECT_S);
	wt_must(took < 3 * DETECT_S + 1);
	if (traffic)
		wt_fails(p.w[0], s, WEFT_ERESET);
	wt_pair_close(&p);
}

static void in_traffic(void)
{
	cut_link_is_noticed(true);
}

static void idle(void)
{
	cut_link_is_noticed(false);
}

static void silent_peer_lives(void)
{
	static char big[16 << 20];
	static char in[16 << 20];
	struct wt_pair p;
	struct wt_posted s, r;
	uint64_t until;

	pair_with_short_detect(&p);
	wt_fill(big, sizeof(big), 1);
	r = wt_recv(&p, 1, in, sizeof(in), 1, WT_EXACT);
	s = wt_send(&p, 0, big, sizeof(big), 1, 0);
	for (int i = 0; i < 50; i++)     /* the transfer begins, then one side computes */
		wt_pump();
	for (until = wt_in_ms(4 * DETECT_S * 1000); wt_now_ns() < until;) {
		wt_must(weft_progress(p.w[0]->w) >= 0);
		usleep(1000);
	}
	wt_must(!wt_count(p.w[0], WEFT_EV_DOWN));
	wt_ok(p.w[0], s);
	wt_ok(p.w[1], r);
	wt_must(wt_differs(in, sizeof(in), 1) == SIZE_MAX);
	wt_pair_close(&p);
}

static void scoped_address_works(void)
{
	weft_listener *l;
	char url[160];
	weft_ctx *ctx;
	struct wt_w *a, *b;
	weft_event e;
	weft_ep *ep;

	if (system("ip link add weft0 type veth peer name weft1 && ip link set weft0 up && ip link set weft1 up && "
		   "ip -6 addr add fe80::77/64 dev weft0 nodad && ip -6 addr add fe80::78/64 dev weft1 nodad") != 0)
		_exit(NOT_ALLOWED);
	ctx = wt_open(NULL, NULL);
	a = wt_worker(ctx, 0);
	b = wt_worker(ctx, 0);
	wt_must(weft_listen(b->w, "weft://[fe80::77%weft0]:0", NULL, &l) == WEFT_OK);
	wt_must(weft_listener_url(l, url, sizeof(url)) == WEFT_OK);
	wt_must(strstr(url, "%weft0") != NULL);
	wt_must(weft_connect(a->w, url, NULL, &ep) == WEFT_OK);
	e = wt_wait(b, WEFT_EV_REQUEST, UINT64_MAX, 5000);
	wt_must(weft_accept(e.data, b->w, NULL, &ep) == WEFT_OK);
	wt_wait(a, WEFT_EV_CONNECTED, UINT64_MAX, 5000);
	wt_worker_free(a);
	wt_worker_free(b);
}

static void in_own_network(void (*fn)(void))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (!enter_own_network())
			_exit(NOT_ALLOWED);
		fn();
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED)
		wt_skip("no network namespace of one's own can be made here");
	assert_int_equal(status, 0);
}

static void a_cut_link_under_traffic_is_noticed(void **state)
{
	(void)state;
	in_own_network(in_traffic);
}

static void a_cut_link_of_an_idle_pair_is_noticed(void **state)
{
	(void)state;
	in_own_network(idle);
}

static void a_peer_that_computes_is_not_dead(void **state)
{
	(void)state;
	in_own_network(silent_peer_lives);
}

static void a_link_local_address_works_with_its_scope(void **state)
{
	(void)state;
	in_own_network(scoped_address_works);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest cases[] = {
		WT_CASE(a_cut_link_under_traffic_is_noticed),
		WT_CASE(a_cut_link_of_an_idle_pair_is_noticed),
		WT_CASE(a_peer_that_computes_is_not_dead),
		WT_CASE(a_link_local_address_works_with_its_scope),
	};

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		puts("tcp");
		return 0;
	}
	if (argc != 2 || !wt_choose(argv[1])) {
		fprintf(stderr, "usage: test_link tcp\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("link", cases, NULL, NULL);
}
