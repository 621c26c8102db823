/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test_verbs_memory.c - what a connected peer takes of our memory, counted: the calls of the library's objects are wrapped (see the
 * Makefile), those of the provider, which is a library of its own, are not.
 */
#include <malloc.h>

#include "unit/verbs_inside.h"

/* ---- bytes that are allocated ---- */

static size_t held;

static void *took(void *p)
{
	held += malloc_usable_size(p);
	return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t k);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t a, size_t n);
char *__real_strdup(const char *s);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t k);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t a, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);

void *__wrap_malloc(size_t n)
{
	return took(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t k)
{
	return took(__real_calloc(n, k));
}

void *__wrap_realloc(void *p, size_t n)
{
	held -= malloc_usable_size(p);
	return took(__real_realloc(p, n));
}

int __wrap_posix_memalign(void **out, size_t a, size_t n)
{
	int ret = __real_posix_memalign(out, a, n);

	if (!ret)
		took(*out);
	return ret;
}

char *__wrap_strdup(const char *s)
{
	return took(__real_strdup(s));
}

void __wrap_free(void *p)
{
	held -= malloc_usable_size(p);
	__real_free(p);
}

/* ---- a peer ---- */

enum { PEERS = 96, PEER_MAX = 16 << 10 };

static void talk(struct wt_pair *p, weft_ep *ep[2])
{
	struct wt_pair q = *p;

	memcpy(q.ep, ep, sizeof(q.ep));
	for (int side = 0; side < 2; side++) {
		wt_exchange(&q, side, 8, 1);
		wt_exchange(&q, side, 4 << 20, 2);   /* over all rails */
	}
}

/*
 * All that @PEERS more peers take, by both sides, after each has sent messages of all kinds: endpoint, its TCP connection, lane, queue
 * pairs, and what shared tables grew by. Buffers are shared: there are no more of them.
 */
static size_t bytes_of_a_peer(unsigned rails)
{
	weft_ep *ep[PEERS][2], *first[2];
	size_t before, each;
	unsigned recvs;
	struct wt_pair p;
	char n[4];

	snprintf(n, sizeof(n), "%u", rails);
	setenv("WEFT_TEST_IBV_DEVICES", n, 1);
	setenv("WEFT_TEST_IBV_LINK", "ib", 1);   /* where each port meets another */
	wt_pair_open_with(&p, 0, "transports", "verbs,tcp");
	memcpy(first, p.ep, sizeof(first));
	talk(&p, first);
	assert_int_equal(lane_of(p.ep[0])->n_rails, rails);
	recvs = dev_of(p.ep[0])->n_recvs;
	before = held;
	for (unsigned i = 0; i < PEERS; i++) {
		wt_pair_more(&p, ep[i]);
		assert_int_equal(lane_of(ep[i][0])->n_rails, rails);
		talk(&p, ep[i]);
	}
	each = (held - before) / PEERS / 2;
	assert_int_equal(dev_of(p.ep[0])->n_recvs, recvs);
	for (unsigned i = 0; i < PEERS; i++)
		for (unsigned k = 0; k < 2; k++)
			weft_ep_abort(ep[i][k]);
	wt_pair_close(&p);
	unsetenv("WEFT_TEST_IBV_DEVICES");
	unsetenv("WEFT_TEST_IBV_LINK");
	return each;
}

static void a_peer_takes_little_memory(void **state)
{
	size_t least = 0;

	(void)state;
	for (unsigned rails = 1; rails <= VERBS_DEVS; rails++) {
		size_t each = bytes_of_a_peer(rails);

		print_message("%u rails: %zu bytes for a peer\n", rails, each);
		assert_true(each > least + sizeof(struct verbs_qp));   /* all of them are counted */
		assert_true(each <= PEER_MAX);
		least = rails == 1 ? each - sizeof(struct verbs_qp) : each;
	}
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_peer_takes_little_memory, wt_setup, wt_teardown),
	};

	if (!wt_choose("verbs"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return fake_ibv_main(argc, argv, run);
}
