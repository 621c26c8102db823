/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_inside.h - what tests of the verbs transport share that look at it from inside.
 */
#ifndef WT_VERBS_INSIDE_H
#define WT_VERBS_INSIDE_H

#include "lib/wt.h"
#include "unit/fake_ibv.h"

#include "core/internal.h"
#include "transports/verbs/verbs.h"

static inline struct verbs_lane *lane_of(weft_ep *ep)
{
	assert_string_equal(ep->msg->tr->name, "verbs");
	return verbs_lane_of(ep->msg);
}

static inline struct verbs_dev *dev_of(weft_ep *ep)
{
	return lane_of(ep)->rail[0]->dev;
}

static inline const char *explained(weft_ctx *ctx, weft_ep *ep)
{
	static char text[8192];
	size_t len = sizeof(text);

	assert_int_equal(weft_explain(ctx, ep, NULL, 0, text, &len), WEFT_OK);
	return text;
}

/* ---- two sides, each with settings of its own ---- */

struct sides {
	struct wt_pair p;                /* its ctx is side 0's */
	weft_ctx *other;
};

static inline void sides_open(struct sides *s, const char *rdma0, const char *rdma1)
{
	const char *rdma[] = { rdma0, rdma1 };
	weft_conn_opts o = { .size = sizeof(o), .user_data = 77 };
	struct wt_pair *p = &s->p;
	weft_ctx *ctx[2];

	for (int i = 0; i < 2; i++) {
		setenv("WEFT_RDMA", rdma[i], 1);
		ctx[i] = wt_open("transports", "verbs,tcp");
		p->w[i] = wt_worker(ctx[i], 0);
	}
	unsetenv("WEFT_RDMA");
	p->ctx = ctx[0];
	s->other = ctx[1];
	p->listener = wt_listen(p->w[1], p->url, sizeof(p->url));
	assert_int_equal(weft_connect(p->w[0]->w, p->url, &o, &p->ep[0]), WEFT_OK);
	p->ep[1] = wt_accept(p->w[1]);
	wt_wait(p->w[0], WEFT_EV_CONNECTED, 77, WT_LIMIT_MS);
}

static inline void sides_close(struct sides *s)
{
	for (int i = 0; i < 2; i++) {
		wt_exchange(&s->p, i, 100000, 3);
		wt_exchange(&s->p, i, 10, 4);
	}
	for (int i = 0; i < 2; i++)
		weft_ep_abort(s->p.ep[i]);
	assert_int_equal(weft_listener_close(s->p.listener), WEFT_OK);
	for (int i = 0; i < 2; i++) {
		wt_worker_free(s->p.w[i]);
		wt_close(i ? s->other : s->p.ctx);
	}
}

static inline void side_says(const struct sides *s, int side, const char *what)
{
	const char *text = explained(side ? s->other : s->p.ctx, s->p.ep[side]);

	if (!strstr(text, what))
		fail_msg("\"%s\" is not in: %s", what, text);
}

static inline void both_are_over(const struct sides *s, const char *transport)
{
	for (int i = 0; i < 2; i++)
		assert_string_equal(s->p.ep[i]->msg->tr->name, transport);
}

/* Words of WEFT_TEST_IBV_FAULT from now on; NULL: none. Who has devices open is told. */
static inline void fault(const char *words)
{
	if (words)
		setenv("WEFT_TEST_IBV_FAULT", words, 1);
	else
		unsetenv("WEFT_TEST_IBV_FAULT");
	v->free_device_list(v->get_device_list(NULL));
}

#endif
