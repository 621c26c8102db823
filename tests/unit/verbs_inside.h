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

#endif
