/* SPDX-License-Identifier: BSD-3-Clause
 *
 * copy.c - the limits of a long message between two processes of one machine: whoever copies copies straight from the
 * sender's buffer into the receiver's, told by a word in shared memory. MODE:
 *
 *	memcpy      the receiver copies; the senders' buffers are shared memory
 *	memcpy2     the receiver copies one half, the sender the other; all buffers are shared memory
 *	vm_readv    the receiver copies with process_vm_readv; all buffers are plain malloc
 *	vm_both     the receiver reads one half, the sender writes the other with process_vm_writev; plain malloc
 */
#include <sys/mman.h>
#include <sys/uio.h>

#include "pair.h"

struct words {
	_Alignas(128) _Atomic uint64_t sent[2];        /* by whom: this many messages may be fetched */
	_Alignas(128) _Atomic uint64_t pushed[2];      /* and the sender's half of so many is there */
	_Alignas(128) _Atomic uint64_t fetched[2];     /* by whom: so many are no longer read */
};

struct ball {
	struct peer peer;
	struct words *words;
	int me;
	pid_t pid[2];
	unsigned char *out[2], *in[2];  /* of process 0 and 1 */
	size_t size, half;              /* half: from here on the sender copies */
	bool by_kernel, alone;
	uint64_t sends, receives;
};

/* Gives the receiver's place @at bytes of the sender's, by the hand of whoever calls. */
static void copy(struct ball *b, int from, int to, size_t at, size_t len)
{
	struct iovec mine, theirs;
	bool push = b->me == from;

	if (!b->by_kernel) {
		memcpy(b->in[to] + at, b->out[from] + at, len);
		return;
	}
	mine = (struct iovec){ (push ? b->out[from] : b->in[to]) + at, len };
	theirs = (struct iovec){ (push ? b->in[to] : b->out[from]) + at, len };
	while (mine.iov_len) {
		ssize_t n = push ? process_vm_writev(b->pid[to], &mine, 1, &theirs, 1, 0)
				 : process_vm_readv(b->pid[from], &mine, 1, &theirs, 1, 0);

		if (n <= 0)
			die(push ? "process_vm_writev" : "process_vm_readv");
		mine = (struct iovec){ (char *)mine.iov_base + n, mine.iov_len - (size_t)n };
		theirs = (struct iovec){ (char *)theirs.iov_base + n, theirs.iov_len - (size_t)n };
	}
}

static void send_one(struct ball *b)
{
	int me = b->me;
	uint64_t k = ++b->sends;

	__atomic_store_n(&b->words->sent[me], k, __ATOMIC_RELEASE);
	if (b->half < b->size) {
		copy(b, me, !me, b->half, b->size - b->half);
		__atomic_store_n(&b->words->pushed[me], k, __ATOMIC_RELEASE);
	}
	spin_until(&b->words->fetched[!me], k, b->alone);
}

static void receive_one(struct ball *b)
{
	int me = b->me;
	uint64_t k = ++b->receives;

	spin_until(&b->words->sent[!me], k, b->alone);
	copy(b, !me, me, 0, b->half);
	if (b->half < b->size)
		spin_until(&b->words->pushed[!me], k, b->alone);
	__atomic_store_n(&b->words->fetched[me], k, __ATOMIC_RELEASE);
}

FLATTEN void trip(void *arg)
{
	send_one(arg);
	receive_one(arg);
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* Before the fork, so that both know all addresses; plain memory becomes each process's own as it is written. */
static void make_buffers(struct ball *b)
{
	for (int i = 0; i < 2; i++) {
		b->out[i] = b->by_kernel ? memory(b->size) : shared(b->size);
		b->in[i] = b->by_kernel ? memory(b->size) : shared(b->size);
	}
	b->words = shared(sizeof(*b->words));
}

int main(int argc, char **argv)
{
	struct pair_args a = pair_args(argc, argv);
	struct ball b = { .size = a.size, .half = a.size, .alone = a.cpu[0] == a.cpu[1] };
	struct loop l = { .seconds = a.seconds, .size = a.size, .tell = pair_tell, .to = &b.peer, .trip = trip, .arg = &b };
	uint64_t count;

	if (!strcmp(a.mode, "memcpy2") || !strcmp(a.mode, "vm_both"))
		b.half = a.size / 2 / 4096 * 4096;
	b.by_kernel = !strncmp(a.mode, "vm_", 3);
	make_buffers(&b);
	b.pid[0] = getpid();
	b.me = pair_fork(&b.peer, a.cpu);
	b.pid[1] = b.me ? getpid() : b.peer.pid;
	fill(b.out[b.me], a.size, (unsigned)b.me + 1);
	memset(b.in[b.me], 0, a.size);
	if (b.me) {
		while ((count = pair_hear(&b.peer)))
			for (; count; count--) {
				receive_one(&b);
				send_one(&b);
			}
	} else {
		loop_run(&l);
	}
	check(b.in[b.me], a.size, b.me ? 1 : 2);
	return b.me ? 0 : pair_end(&b.peer);
}
