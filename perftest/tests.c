/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tests.c - what one message of each test is. All of it is what a user would write: calls are prepared once and posted
 * again and again; a handler is bound for active messages, because that is how they are meant to be used.
 */
#include "perftest.h"

#define AM_ID 0u
#define SEE_EVERY 64u                /* looks into memory between two turns of the wheel */

/* ---- tagged messages ---- */

static bool post_send(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_send(s->ep, &j->buf, 1, TAG_DATA, side_call(s, j)));
}

static bool post_recv(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_recv(s->w, &j->buf, 1, TAG_DATA, UINT64_MAX, side_call(s, j)));
}

/* ---- active messages: one is under way at a time, its payload goes to slot 1 ---- */

/* No event tells of what a handler has done, so it ends a sleep by itself. */
static void on_am(void *arg, weft_worker *w, const weft_event *am)
{
	struct side *s = arg;
	struct job *j = &s->slots.job[1];
	weft_call call = call_init(j);
	weft_event e = *am;

	if (!s->slots.job || s->slots.window < 2 || s->am_came > s->am_wanted)
		return;                  /* more than one at a time: not what was agreed */
	s->am_came++;
	side_posted_now(s, j, weft_am_recv(w, &e, &j->buf, 1, &call), &call);
	if (!s->polls)
		weft_wake(w);
}

bool tests_prepare(struct side *s)
{
	return !weft_am_bind(s->w, AM_ID, on_am, s) || side_refused(s, "active messages");
}

static bool post_am(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_am_send(s->ep, AM_ID, NULL, 0, &j->buf, 1, side_call(s, j)));
}

static bool expect_am(struct side *s, struct job *j)
{
	(void)j;
	s->am_wanted++;
	return true;
}

static bool am_arrived(struct side *s, struct job *j)
{
	while (s->am_came < s->am_wanted || !j->done)
		if (!side_turn(s))
			return false;
	return !s->failed;
}

/* ---- the stream ---- */

static bool post_stream(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_stream_send(s->ep, &j->buf, 1, side_call(s, j)));
}

static bool expect_stream(struct side *s, struct job *j)
{
	s->call.flags = WEFT_ALL;        /* this side posts nothing else in this test */
	return side_posted(s, j, weft_stream_recv(s->ep, &j->buf, 1, side_call(s, j)));
}

/* ---- one-sided ---- */

static bool post_put(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_put(s->ep, &j->buf, 1, s->slots.remote, j->offset, side_call(s, j)));
}

static bool post_get(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_get(s->ep, &j->buf, 1, s->slots.remote, j->offset, side_call(s, j)));
}

static bool post_add(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_atomic(s->ep, WEFT_ATOMIC_ADD, s->slots.remote, j->offset, 1, 0, side_call(s, j)));
}

static unsigned char *last_byte(const struct job *j)
{
	return (unsigned char *)j->buf.addr + j->buf.len - 1;
}

static bool post_marked_put(struct side *s, struct job *j)
{
	*last_byte(j) = ++j->seq;
	return post_put(s, j);
}

static bool expect_mark(struct side *s, struct job *j)
{
	(void)s;
	j->seq++;
	return true;
}

/* A put that the library itself writes into our memory needs no turn of ours; one that comes in frames does. */
static bool mark_arrived(struct side *s, struct job *j)
{
	const unsigned char *last = last_byte(j);

	for (unsigned i = 0; __atomic_load_n(last, __ATOMIC_ACQUIRE) != j->seq; i++)
		if ((!s->direct || i % SEE_EVERY == 0) && !side_turn(s))
			return false;
	return true;
}

static bool flush(struct side *s, struct job *j)
{
	return side_posted(s, j, weft_flush(s->w, s->ep, side_call(s, j))) && side_wait(s, j);
}

static bool finish_nothing(struct side *s, struct job *j)
{
	(void)j;
	return !s->failed;
}

/* ---- the table ---- */

static const size_t lat_sizes[] = { 8, 1 << 10, 64 << 10, 1 << 20 };
static const size_t bw_sizes[] = { 4 << 10, 64 << 10, 1 << 20, 16 << 20 };
static const size_t rate_sizes[] = { 8 };

#define SIZES(a) .sizes = (a), .n_sizes = sizeof(a) / sizeof((a)[0])
#define ANY_SIZE .size_max = SIZE_MAX / 4

const struct test_kind tests[PERF_TESTS] = {
	[TAG_LAT] = { "tag_lat", PING_PONG, ANY_SIZE, SIZES(lat_sizes), .window = 2,
		      .what = "tagged messages there and back, receives posted before; half the round trip",
		      .post = post_send, .expect = post_recv, .arrived = side_wait },
	[TAG_BW] = { "tag_bw", ONE_WAY, ANY_SIZE, SIZES(bw_sizes), .window = 64,
		     .what = "tagged messages one way, into receives that are posted",
		     .post = post_send, .expect = post_recv },
	[TAG_RATE] = { "tag_rate", ONE_WAY, ANY_SIZE, SIZES(rate_sizes), .window = 64,
		       .what = "the same, of small messages",
		       .post = post_send, .expect = post_recv },
	[AM_LAT] = { "am_lat", PING_PONG, ANY_SIZE, SIZES(lat_sizes), .window = 2,
		     .what = "active messages there and back, taken by a bound handler; half the round trip",
		     .post = post_am, .expect = expect_am, .arrived = am_arrived },
	[STREAM_BW] = { "stream_bw", ONE_WAY, .size_min = 1, ANY_SIZE, SIZES(bw_sizes), .window = 64,
			.what = "bytes of the stream one way, receives with WEFT_ALL posted",
			.post = post_stream, .expect = expect_stream },
	[PUT_LAT] = { "put_lat", PING_PONG, .one_sided = true, .size_min = 1, ANY_SIZE, SIZES(lat_sizes), .window = 2,
		      .what = "put there, put back, each side watches the last byte of its memory; half the round trip",
		      .post = post_marked_put, .expect = expect_mark, .arrived = mark_arrived },
	[PUT_BW] = { "put_bw", ONE_WAY, .one_sided = true, .size_min = 1, ANY_SIZE, SIZES(bw_sizes), .window = 64,
		     .what = "puts, ended by a flush that says that they are in the peer's memory",
		     .post = post_put, .finish = flush },
	[GET_LAT] = { "get_lat", ROUND_TRIP, .one_sided = true, .size_min = 1, ANY_SIZE, SIZES(lat_sizes), .window = 1,
		      .what = "one get at a time, from posting to having the bytes; all of it",
		      .post = post_get, .finish = finish_nothing },
	[GET_BW] = { "get_bw", ONE_WAY, .one_sided = true, .size_min = 1, ANY_SIZE, SIZES(bw_sizes), .window = 64,
		     .what = "a window of gets", .post = post_get, .finish = finish_nothing },
	[ATOMIC_LAT] = { "atomic_lat", ROUND_TRIP, .one_sided = true, .size_min = 8, .size_max = 8, SIZES(rate_sizes),
			 .window = 1,
			 .what = "one fetch-and-add at a time on 8 bytes, from posting to having the old value; all of it",
			 .post = post_add, .finish = finish_nothing },
};
