/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loops.c - what runs while the clock does. Each loop posts prepared jobs and waits for them, and does nothing else that
 * an exchange would have to wait for.
 *
 * In a ping-pong the clock is read just after a message was posted, while it is under way: that costs the exchange
 * nothing, so every single round trip is a sample. A sample is the time from one posting to the next. The first round
 * trip finds the peer still reading the command, and the last one has no posting behind it: neither counts, unless a
 * round trip takes so long that this does not matter.
 */
#include "perftest.h"

bool loop_ping(struct side *s, const struct test_kind *t, uint64_t count, unsigned more, struct hist *h, uint64_t *took_ns)
{
	struct job *out = &s->slots.job[0], *in = &s->slots.job[1];
	uint64_t start = 0, t0 = 0, t1, first = more / 2;

	for (uint64_t i = 0; i < count + more; i++) {
		if (!t->post(s, out) || !t->expect(s, in))
			return false;
		t1 = now_ns();
		if (i > first)
			hist_add(h, t1 - t0, 1);
		else
			start = t1;
		t0 = t1;
		if (!t->arrived(s, in) || !side_wait(s, out))
			return false;
	}
	if (!more) {
		t1 = now_ns();
		hist_add(h, t1 - t0, 1);
		t0 = t1;
	}
	*took_ns = t0 - start;
	return true;
}

/* What the next message needs is posted behind the answer, where it costs nobody time. */
bool loop_echo(struct side *s, const struct test_kind *t, uint64_t count)
{
	struct job *out = &s->slots.job[0], *in = &s->slots.job[1];

	if (!t->expect(s, in))
		return false;
	for (uint64_t i = 1; i <= count; i++) {
		if (!t->arrived(s, in) || !t->post(s, out))
			return false;
		if (i < count && !t->expect(s, in))
			return false;
		if (!side_wait(s, out))
			return false;
	}
	return true;
}

/* An operation may be done when posting it returns, so nothing hides the clock: it is read once for @batch of them. */
bool loop_trips(struct side *s, const struct test_kind *t, uint64_t count, unsigned batch, struct hist *h,
		uint64_t *took_ns)
{
	struct job *j = &s->slots.job[0];
	uint64_t start = now_ns(), t0 = start, t1;

	for (uint64_t done = 0; done < count;) {
		unsigned n = count - done < batch ? (unsigned)(count - done) : batch;

		for (unsigned i = 0; i < n; i++)
			if (!t->post(s, j) || !side_wait(s, j))
				return false;
		t1 = now_ns();
		hist_add(h, t1 - t0, n);
		t0 = t1;
		done += n;
	}
	*took_ns = t0 - start;
	return true;
}

/* Keeps a window of jobs under way. */
static bool window(struct side *s, bool (*post)(struct side *s, struct job *j), uint64_t count)
{
	struct slots *v = &s->slots;
	unsigned k = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (!side_wait(s, &v->job[k]) || !post(s, &v->job[k]))
			return false;
		if (++k == v->window)
			k = 0;
	}
	for (unsigned i = 0; i < v->window; i++)
		if (!side_wait(s, &v->job[i]))
			return false;
	return true;
}

bool loop_flow(struct side *s, const struct test_kind *t, uint64_t count)
{
	return window(s, t->post, count);
}

bool loop_sink(struct side *s, const struct test_kind *t, uint64_t count)
{
	return window(s, t->expect, count);
}
