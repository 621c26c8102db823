/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_fake_ibv_procs.c - the fake libibverbs (tests/fake/ibverbs) between processes and threads: sleep, kills, what it
 * complains of, and that nothing stays behind.
 */
#include "unit/fake_ibv.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* ---- sleep ---- */

static void test_events(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct node n[2];
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;

	(void)state;
	pair_init(n, &usual);
	p.fd = n[1].channel->fd;
	fcntl(p.fd, F_SETFL, fcntl(p.fd, F_GETFL) | O_NONBLOCK);
	post_recv(&n[1], 1, 0, 8);
	post_recv(&n[1], 2, 0, 8);
	post_recv(&n[1], 3, 0, 8);
	post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	assert_int_equal(ibv_req_notify_cq(n[1].cq, 0), 0);
	assert_int_equal(poll(&p, 1, 0), 0); /* it came before */
	assert_int_equal(v->get_cq_event(n[1].channel, &cq, &context), -1);
	assert_int_equal(errno, EAGAIN);
	post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(v->get_cq_event(n[1].channel, &cq, &context), 0);
	assert_ptr_equal(cq, n[1].cq);
	assert_int_equal(poll(&p, 1, 0), 0); /* one for each time it is asked for */
	v->ack_cq_events(cq, 1);
	assert_int_equal(ibv_poll_cq(n[1].cq, 1, &wc), 1);
	pair_fini(n);
}

#define ROUNDS 2000

static int echo(int fd)
{
	struct node n;

	node_meet(&n, fd, &usual);
	post_recv(&n, 0, 0, 64);
	for (int i = 0; i < ROUNDS; i++) {
		struct ibv_wc wc = reap_asleep(&n);

		MUST(wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RECV && wc.byte_len == 64 && n.buf[63] == (char)i);
		memcpy(n.buf + 64, n.buf, 64);
		post_recv(&n, 0, 0, 64);
		post(&n, (struct ibv_send_wr){ .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 64, 64);
		MUST(reap_asleep(&n).opcode == IBV_WC_SEND);
	}
	close(fd);
	node_fini(&n);
	return 0;
}

static void test_two_processes_that_sleep(void **state)
{
	struct node n;
	pid_t pid;
	int fd;

	(void)state;
	pid = in_child(echo, &fd);
	node_meet(&n, fd, &usual);
	for (int i = 0; i < ROUNDS; i++) {
		bool sent = false, got = false;

		memset(n.buf, i, 64);
		post_recv(&n, 0, 64, 64);
		post(&n, (struct ibv_send_wr){ .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 64);
		while (!sent || !got) {
			struct ibv_wc wc = reap_asleep(&n);

			MUST(wc.status == IBV_WC_SUCCESS);
			sent |= wc.opcode == IBV_WC_SEND;
			got |= wc.opcode == IBV_WC_RECV;
		}
		MUST(n.buf[64] == (char)i && n.buf[127] == (char)i);
	}
	close(fd);
	assert_int_equal(status_of(pid), 0);
	node_fini(&n);
}

#define ADDERS 3
#define ADDS 500

static int add(int fd)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .send_flags = IBV_SEND_SIGNALED };
	struct about peer;
	struct node n;
	char c;

	peer = node_meet(&n, fd, &usual);
	wr.wr.atomic.remote_addr = peer.addr;
	wr.wr.atomic.rkey = peer.rkey;
	wr.wr.atomic.compare_add = 1;
	for (int i = 0; i < ADDS; i++) {
		post(&n, wr, 0, 8);
		MUST(reap(&n).status == IBV_WC_SUCCESS);
	}
	MUST(write(fd, "", 1) == 1 && read(fd, &c, 1) == 1);
	node_fini(&n);
	return 0;
}

static void test_processes_add(void **state)
{
	struct node n[ADDERS];
	int fd[ADDERS];
	pid_t pid[ADDERS];
	uint64_t sum = 0;
	char c;

	(void)state;
	for (int i = 0; i < ADDERS; i++)
		pid[i] = in_child(add, &fd[i]);
	for (int i = 0; i < ADDERS; i++)
		node_meet(&n[i], fd[i], &usual);
	for (int i = 0; i < ADDERS; i++) {
		MUST(read(fd[i], &c, 1) == 1);
		sum += *(uint64_t *)n[i].buf;
	}
	assert_int_equal(sum, ADDERS * ADDS);
	for (int i = 0; i < ADDERS; i++) {
		assert_int_equal(write(fd[i], "", 1), 1); /* it may go */
		close(fd[i]);
		assert_int_equal(status_of(pid[i]), 0);
		node_fini(&n[i]);
	}
}

static int sit(int fd)
{
	struct node n;
	char c;

	node_meet(&n, fd, &usual);
	MUST(read(fd, &c, 1) == 0); /* until it is killed */
	return 0;
}

static void test_killed_peer(void **state)
{
	uint64_t start;
	struct node n;
	pid_t pid;
	int fd;

	(void)state;
	pid = in_child(sit, &fd);
	node_meet(&n, fd, &usual);
	post(&n, (struct ibv_send_wr){ .wr_id = 1, .opcode = IBV_WR_SEND }, 0, 8); /* waits for a receive */
	kill(pid, SIGKILL);
	start = wf_now_ns();
	assert_int_equal(reap_asleep(&n).status, IBV_WC_RETRY_EXC_ERR); /* also while it is a zombie */
	assert_true(wf_now_ns() - start < 5 * WF_NS_PER_S);
	assert_int_equal(status_of(pid), 1000 + SIGKILL);
	close(fd);
	node_fini(&n);
}

/* ---- complaints: in a fabric of their own, since they count for all its processes ---- */

static void own_fabric(const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", getenv("WEFT_TEST_IBV"), name);
	MUST(!mkdir(path, 0700) || errno == EEXIST);
	setenv("WEFT_TEST_IBV", path, 1);
	MUST(dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO) >= 0);
}

static int wrong_mask(int fd)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT, .port_num = 1 };
	struct node n;

	(void)fd;
	own_fabric("mask");
	node_init(&n, &usual);
	MUST(v->modify_qp(n.qp, &a, IBV_QP_STATE | IBV_QP_PORT) == EINVAL);
	node_fini(&n);
	return 0;
}

static int wrong_lkey(int fd)
{
	struct ibv_sge sge = { .length = 8, .lkey = 1 };
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1 };
	struct node n[2];

	(void)fd;
	own_fabric("lkey");
	pair_init(n, &usual);
	post_recv(&n[1], 0, 0, 8);
	post(&n[0], wr, 0, 8);
	MUST(reap(&n[0]).status == IBV_WC_LOC_PROT_ERR);
	pair_fini(n);
	return 0;
}

static int overrun(int fd)
{
	struct how how = usual;
	struct node n[2];

	(void)fd;
	own_fabric("overrun");
	how.cqe = 2;
	pair_init(n, &how);
	for (int i = 0; i < 3; i++) {
		post_recv(&n[1], 0, 0, 8);
		post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND }, 0, 8);
	}
	MUST(next_async(&n[1]) == IBV_EVENT_CQ_ERR);
	pair_fini(n);
	return 0;
}

static struct ibv_pd *volatile kept; /* or the leak sanitizer would see to what is left */

static int left_open(int fd)
{
	(void)fd;
	own_fabric("left");
	MUST((kept = v->alloc_pd(open_first()))); /* open at exit is fine: as if killed */
	return 0;
}

static int closed_too_early(int fd)
{
	struct ibv_context *ctx;

	(void)fd;
	own_fabric("early");
	ctx = open_first();
	MUST((kept = v->alloc_pd(ctx)));
	v->close_device(ctx);
	return 0;
}

static int used_after_fork(int fd)
{
	struct node n;
	pid_t pid;

	(void)fd;
	own_fabric("fork");
	node_init(&n, &usual);
	pid = fork();
	if (!pid) {
		v->destroy_qp(n.qp);
		_exit(0);
	}
	MUST(status_of(pid) == 0);
	node_fini(&n);
	return 0;
}

static int all_in_order(int fd)
{
	struct node n[2];

	(void)fd;
	own_fabric("order");
	pair_init(n, &usual);
	pair_fini(n);
	return 0;
}

static void *open_and_close(void *arg)
{
	struct ibv_device **list = v->get_device_list(NULL);

	for (int i = 0; i < 5000; i++) {
		struct ibv_context *ctx = v->open_device(list[0]);

		MUST(ctx && !v->close_device(ctx));
	}
	v->free_device_list(list);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

/* One thread lists the devices while another closes the last that was open. */
static int listed_while_another_closes(int fd)
{
	atomic_bool done = false;
	pthread_t thread;

	(void)fd;
	own_fabric("list");
	MUST(!pthread_create(&thread, NULL, open_and_close, &done));
	while (!atomic_load(&done))
		v->free_device_list(v->get_device_list(NULL));
	MUST(!pthread_join(thread, NULL));
	return 0;
}

static void test_complaints(void **state)
{
	static const struct { int (*fn)(int fd); int status; } cases[] = {
		{ wrong_mask, 99 }, { wrong_lkey, 99 }, { overrun, 99 }, { left_open, 0 }, { closed_too_early, 99 },
		{ used_after_fork, 99 }, { all_in_order, 0 }, { listed_while_another_closes, 0 },
	};
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pid_t pid = in_child(cases[i].fn, &fd);

		close(fd);
		if (status_of(pid) != cases[i].status)
			fail_msg("case %zu did not end with %d", i, cases[i].status);
	}
}

/* ---- lives ---- */

static int n_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_nothing_stays_open(void **state)
{
	int before = n_descriptors();
	struct node n[2];

	(void)state;
	for (int i = 0; i < 50; i++) {
		pair_init(n, &usual);
		pair_fini(n);
	}
	assert_int_equal(n_descriptors(), before);
}

#define KILLS 40

static int be_busy(int fd)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED };
	struct node n[2];

	pair_init(n, &usual);
	wr.wr.rdma.remote_addr = (uintptr_t)n[1].buf;
	wr.wr.rdma.rkey = n[1].mr->rkey;
	MUST(write(fd, "", 1) == 1);
	for (;;) {
		post(&n[0], wr, 0, 8);
		reap(&n[0]);
	}
}

/* Some of them die with the lock in their hands; what they had is free again. */
static void test_killed_anywhere(void **state)
{
	struct node n[2];
	char c;
	int fd;

	(void)state;
	for (int i = 0; i < KILLS; i++) {
		pid_t pid = in_child(be_busy, &fd);
		uint64_t until;

		assert_int_equal(read(fd, &c, 1), 1);
		until = wf_now_ns() + (uint64_t)i * 10007;
		while (wf_now_ns() < until)
			;
		kill(pid, SIGKILL);
		pair_init(n, &usual);
		post_recv(&n[1], 1, 0, 8);
		post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 8);
		assert_int_equal(reap(&n[0]).status, IBV_WC_SUCCESS);
		pair_fini(n);
		assert_int_equal(status_of(pid), 1000 + SIGKILL);
		close(fd);
	}
}

static struct node threads_node[2][2];

static void *exchange(void *arg)
{
	struct node *n = arg;

	for (int i = 0; i < 1000; i++) {
		memset(n[0].buf, i, 100);
		post_recv(&n[1], 0, 0, 100);
		post(&n[0], (struct ibv_send_wr){ .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, 0, 100);
		MUST(reap_asleep(&n[1]).byte_len == 100 && n[1].buf[99] == (char)i);
		MUST(reap_asleep(&n[0]).status == IBV_WC_SUCCESS);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		pair_init(threads_node[i], &usual);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, exchange, threads_node[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		pair_fini(threads_node[i]);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_events),
	cmocka_unit_test(test_two_processes_that_sleep),
	cmocka_unit_test(test_processes_add),
	cmocka_unit_test(test_killed_peer),
	cmocka_unit_test(test_complaints),
	cmocka_unit_test(test_nothing_stays_open),
	cmocka_unit_test(test_killed_anywhere),
	cmocka_unit_test(test_threads),
};

static int run(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
