/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cacheline.c - the limit of a short message between two cores: each process writes a word in a cache line of its own and
 * waits for the other's. MODE and SIZE mean nothing here. It tells, too, how far apart two CPUs are just now: a
 * virtual machine's may be threads of one core in one minute and far apart in the next.
 */
#include <sys/mman.h>

#include "pair.h"

struct lines {
	_Alignas(128) _Atomic uint64_t there;
	_Alignas(128) _Atomic uint64_t back;
};

struct ball {
	struct peer peer;
	struct lines *lines;
	uint64_t turn;
	bool alone;
};

FLATTEN void trip(void *arg)
{
	struct ball *b = arg;
	uint64_t turn = ++b->turn;

	__atomic_store_n(&b->lines->there, turn, __ATOMIC_RELEASE);
	spin_until(&b->lines->back, turn, b->alone);
}

static void echo(struct ball *b)
{
	uint64_t count;

	while ((count = pair_hear(&b->peer)))
		while (count--) {
			uint64_t turn = ++b->turn;

			spin_until(&b->lines->there, turn, b->alone);
			__atomic_store_n(&b->lines->back, turn, __ATOMIC_RELEASE);
		}
}

int main(int argc, char **argv)
{
	struct pair_args a = pair_args(argc, argv);
	struct ball b = { .alone = a.cpu[0] == a.cpu[1] };
	struct loop l = { .seconds = a.seconds, .size = sizeof(uint64_t), .tell = pair_tell, .to = &b.peer, .trip = trip, .arg = &b };

	b.lines = mmap(NULL, sizeof(*b.lines), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b.lines == MAP_FAILED)
		die("mmap");
	if (pair_fork(&b.peer, a.cpu)) {
		echo(&b);
		return 0;
	}
	loop_run(&l);
	return pair_end(&b.peer);
}
