/* SPDX-License-Identifier: BSD-3-Clause
 *
 * serve.c - the serving side obeys commands. It may serve a stranger, so everything in a command is looked at first.
 */
#include <string.h>

#include "perftest.h"

#define WINDOW_MAX 65536u

static bool answer(struct side *s)
{
	return side_send(s, &s->answer, sizeof(s->answer), TAG_ANSWER);
}

static bool check_setup(struct side *s, const struct cmd *c)
{
	const struct test_kind *t = c->test < PERF_TESTS ? &tests[c->test] : NULL;

	if (!t || c->size < t->size_min || c->size > t->size_max || c->token_len > TOKEN_CAP)
		return side_fail(s, "a test that is none was asked for");
	if (c->window < (t->pattern == PING_PONG ? 2 : 1) || c->window > WINDOW_MAX)
		return side_fail(s, "a window of %u was asked for", c->window);
	return true;
}

static bool setup(struct side *s, const struct cmd *c)
{
	if (!check_setup(s, c) || !path_direct(s, &s->direct_before) || !slots_make(s, c))
		return false;
	s->test = (enum perf_test)c->test;
	if (tests[s->test].one_sided &&
	    (!slots_grant(s, s->answer.token, &s->answer.token_len) || !slots_open_peer(s, c->token, c->token_len)))
		return false;
	return answer(s);
}

static bool run(struct side *s, const struct cmd *c)
{
	const struct test_kind *t = &tests[s->test];

	if (!s->slots.job || !t->expect)
		return side_fail(s, "nothing to run was agreed on");
	if (t->pattern == PING_PONG)
		return loop_echo(s, t, c->count);
	s->answer.value = c->count;
	return loop_sink(s, t, c->count) && answer(s);
}

static bool verify(struct side *s)
{
	uint64_t direct;

	if (!s->slots.job || !path_direct(s, &direct))
		return side_fail(s, "nothing to verify was agreed on");
	s->direct = direct > s->direct_before;
	s->answer.value = slots_wrong(s, s->test);
	return answer(s);
}

static bool obey(struct side *s, const struct cmd *c)
{
	s->answer = (struct answer){ .value = 0 };
	switch (c->what) {
	case CMD_SETUP:
		return setup(s, c);
	case CMD_RUN:
		return run(s, c);
	case CMD_VERIFY:
		return verify(s);
	case CMD_NOISE:
		s->answer.noise = noise_read(s->cpu, s->alone);
		return answer(s);
	case CMD_CLEAR:
		return slots_free(s) && answer(s);
	default:
		return side_fail(s, "unknown command %u", c->what);
	}
}

/* The other side may be far from our stderr. */
static void tell(struct side *s)
{
	if (s->down[0] || !s->ep)
		return;
	s->failed = false;
	s->answer = (struct answer){ .failed = 1 };
	memcpy(s->answer.why, s->why, sizeof(s->why));
	answer(s);
	s->failed = true;
}

bool serve(struct side *s)
{
	struct cmd c = { .what = CMD_QUIT };
	bool ok;

	do {
		ok = side_recv(s, &s->cmd, sizeof(s->cmd), TAG_CMD);
		c = s->cmd;
	} while (ok && c.what != CMD_QUIT && obey(s, &c));
	if (s->failed)
		tell(s);
	return !s->failed;
}
