/* SPDX-License-Identifier: BSD-3-Clause
 *
 * frames.c - what comes up from lanes, and where it goes: each frame to the file that knows its kind. The first look at
 * foreign bytes is here: header, sequence, and whether the endpoint's state allows the frame at all.
 */
#include <stdio.h>

#include "core/internal.h"

static int bad(struct weft_ep *ep, const char *what, const struct wf_frame *h)
{
	char cause[160];

	snprintf(cause, sizeof(cause), "bad %s frame: %s", wf_frame_name(h->type), what);
	wf_ep_fail(ep, WEFT_EPROTO, 0, cause);
	return WEFT_EPROTO;
}

static bool is_making(uint8_t type)
{
	return type >= WF_FR_HELLO && type <= WF_FR_READY;
}

static int dispatch(struct weft_ep *ep, const struct wf_frame *h, const uint8_t *p)
{
	switch (h->type) {
	case WF_FR_EAGER:
		return wf_in_eager(ep, h, p);
	case WF_FR_RTS:
		return wf_in_rts(ep, h, p);
	case WF_FR_AM:
	case WF_FR_AM_RTS:
		return wf_in_am(ep, h, p);
	case WF_FR_CTS: case WF_FR_DATA: case WF_FR_FIN: case WF_FR_SYNC_ACK: case WF_FR_STOP: case WF_FR_STOPPED:
	case WF_FR_WITHDRAW: case WF_FR_WITHDRAWN: case WF_FR_GONE:
		return wf_in_rndv(ep, h, p);
	case WF_FR_PRESSURE:
		ep->pressure = h->aux != 0;
		return 0;
	case WF_FR_STREAM:
		return wf_in_stream(ep, h, p);
	case WF_FR_CREDIT:
		return wf_in_credit(ep, h);
	case WF_FR_OPENED: case WF_FR_GOT: case WF_FR_GET_FAIL: case WF_FR_ATOMIC_DONE: case WF_FR_REVOKE:
		return wf_in_rma(ep, h, p);
	case WF_FR_OPEN: case WF_FR_CLOSE_REMOTE: case WF_FR_PUT: case WF_FR_SIGNAL: case WF_FR_GET: case WF_FR_ATOMIC:
	case WF_FR_REVOKED:
		return wf_in_rma_target(ep, h, p);
	case WF_FR_FLUSH: case WF_FR_FLUSHED: case WF_FR_CLOSE: case WF_FR_CLOSED:
		return wf_in_order(ep, h);
	default:
		return WEFT_EPROTO;
	}
}

static __attribute__((noinline)) int out_of_order(struct weft_ep *ep, const struct wf_lane *l, const struct wf_frame *h)
{
	char what[80];

	snprintf(what, sizeof(what), "a frame was lost or doubled: number %u came where %u was due", h->seq, l->rx_seq);
	return bad(ep, what, h);
}

/* Header checks that every frame passes once. 0 or a status; the endpoint has failed then. */
static int look(struct weft_ep *ep, struct wf_lane *l, const struct wf_frame *h)
{
	const char *what = wf_frame_check(h);

	if (what)
		return bad(ep, what, h);
	if (h->seq != l->rx_seq)
		return out_of_order(ep, l, h);
	if (h->type >= WF_FR_LANE)       /* and SWITCH, RENEW */
		return l == ep->boot ? 0 : bad(ep, "not on the bootstrap lane", h);
	if (!is_making(h->type) && (ep->state != WF_EP_READY || l != ep->msg))
		return bad(ep, "not allowed before the connection is ready", h);
	return 0;
}

static __attribute__((noinline)) int frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload)
{
	struct wf_owner *owner = l->owner;
	struct weft_ep *ep;
	int ret;

	if (!owner)
		return WEFT_ECLOSED;
	if (!owner->is_ep)
		return wf_incoming_frame((struct wf_incoming *)owner, h, payload);
	ep = (struct weft_ep *)owner;
	if (ep->dying && (ep->status != WEFT_ERESET || ep->drained))
		return WEFT_ECLOSED;
	if (wf_unlikely((ep->state == WF_EP_CONNECTING && l != ep->boot) || wf_renew_is_of(ep, l))) {
		l->paused = true;        /* has overtaken READY, or MOVE, which come on another lane: wf_ep_use() resumes it */
		return WEFT_AGAIN;
	}
	if (wf_unlikely(ep->sw && h->type < WF_FR_LANE && wf_switch_holds(ep, l)))
		return WEFT_AGAIN;
	ret = look(ep, l, h);
	if (ret)
		return ret;
	if (is_making(h->type))
		ret = wf_conn_frame(ep, l, h, payload);
	else if (h->type == WF_FR_LANE)
		ret = wf_conn_heard(ep, h, payload);
	else if (h->type == WF_FR_RENEW)
		ret = wf_renew_heard(ep, h, payload);
	else
		ret = h->type == WF_FR_SWITCH ? wf_switch_heard(ep, h) : dispatch(ep, h, payload);
	if (wf_likely(ret == 0)) {
		l->rx_seq++;
		return 0;
	}
	if (ret == WEFT_AGAIN) {
		wf_ep_stall(ep, l);
		return WEFT_AGAIN;
	}
	if (!ep->dying)
		bad(ep, "not allowed or malformed", h);
	return ret;
}

/* Nothing that look() or the rest of frame_in() would find wrong: in its turn, on an endpoint in order. */
bool wf_frame_short(struct wf_lane *l, uint32_t seq, uint64_t tag, const void *payload, uint32_t len)
{
	struct weft_ep *ep = (struct weft_ep *)l->owner;

	if (wf_unlikely(!ep || !ep->owner.is_ep || seq != l->rx_seq || l != ep->msg || ep->state != WF_EP_READY || ep->dying ||
			!wf_eager_quick(ep, tag, payload, len)))
		return false;
	l->rx_seq++;
	return true;
}

int wf_frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload)
{
	if (wf_likely(h->type == WF_FR_EAGER && !h->flags && h->len <= WF_QUICK_MAX &&
		      wf_frame_short(l, h->seq, h->tag, payload, h->len)))
		return 0;
	return frame_in(l, h, payload);
}

int wf_sink_begin(struct wf_lane *l, const struct wf_frame *h)
{
	struct wf_owner *owner = l->owner;
	struct weft_ep *ep = (struct weft_ep *)owner;
	int ret;

	if (!owner)
		return WEFT_ECLOSED;
	if (!owner->is_ep)
		return WEFT_PENDING;
	if (ep->dying && (ep->status != WEFT_ERESET || ep->drained))
		return WEFT_ECLOSED;
	if (wf_unlikely(ep->sw && h->type < WF_FR_LANE && wf_switch_holds(ep, l)))
		return WEFT_AGAIN;
	ret = look(ep, l, h);
	if (ret)
		return ret;
	l->sink = (struct wf_sink){ 0 };
	switch (h->type) {
	case WF_FR_EAGER:
		ret = wf_sink_eager(ep, l, h);
		break;
	case WF_FR_DATA:
		ret = wf_sink_data(ep, l, h);
		break;
	case WF_FR_PUT:
		ret = wf_sink_put(ep, l, h);
		break;
	case WF_FR_GOT:
		ret = wf_sink_got(ep, l, h);
		break;
	default:
		return WEFT_PENDING;
	}
	if (ret == WEFT_OK)
		l->rx_seq++;
	else if (ret < 0 && !ep->dying)
		bad(ep, "not allowed or malformed", h);
	return ret;
}

int wf_lane_say(struct wf_lane *l, const void *p, size_t len)
{
	struct wf_owner *owner = l->owner;

	return owner && owner->is_ep ? wf_conn_say((struct weft_ep *)owner, l, p, len) : WEFT_ECLOSED;
}

void wf_lane_up(struct wf_lane *l)
{
	struct wf_owner *owner = l->owner;

	l->up = true;
	if (owner && owner->is_ep && !wf_renew_lane_up((struct weft_ep *)owner, l))
		wf_conn_lane_up((struct weft_ep *)owner, l);
}

void wf_lane_down(struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct wf_owner *owner = l->owner;
	struct weft_ep *ep = (struct weft_ep *)owner;

	if (l->down)
		return;
	l->down = true;
	if (!owner)
		return;
	if (owner->is_ep && l == ep->boot && ep->msg)
		ep->msg->peer_left = true;
	if (!owner->is_ep) {
		wf_incoming_down((struct wf_incoming *)owner);
		return;
	}
	if (ep->state == WF_EP_CONNECTING)
		wf_conn_lane_down(ep, l, status, sys_errno, cause);
	else if (l == ep->boot)
		wf_ep_boot_down(ep, status, sys_errno, cause);
	else if (wf_renew_lane_down(ep, l, status, sys_errno, cause))
		return;
	else if (l == ep->msg && (status != WEFT_ERESET || !wf_switch_begin(ep, cause)))
		wf_ep_fail(ep, status, sys_errno, cause);
}

void wf_lane_room(struct wf_lane *l)
{
	struct wf_owner *owner = l->owner;
	struct weft_ep *ep = (struct weft_ep *)owner;

	if (!owner || !owner->is_ep || (l == ep->boot && !wf_ep_said(ep)) || l != ep->msg || wf_renew_holds(ep))
		return;
	ep->blocked = false;
	if (ep->closed_due)
		wf_order_closed(ep);
	else
		wf_ep_kick(ep);
}

void wf_sent_done(struct wf_sent *s)
{
	s->done(s);
}
