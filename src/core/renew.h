/* SPDX-License-Identifier: BSD-3-Clause
 *
 * renew.h - an endpoint whose message lane broke: what is being done to make it another, and what is told of it. Made with the first
 * break, kept for the endpoint's life.
 */
#ifndef WF_CORE_RENEW_H
#define WF_CORE_RENEW_H
#include "core/internal.h"

#define WF_RENEW_TRIES 16u                       /* in a row: an attempt after each of these pauses, then no more */
#define WF_RENEW_PAUSE_NS WF_NS_PER_S            /* after the first, twice as long after each, */
#define WF_RENEW_DOUBLINGS 6u                    /* so often */
#define WF_RENEW_SPREAD_NS (50 * WF_NS_PER_MS)   /* endpoints that broke together do not all begin at the same moment, but within this, */
#define WF_RENEW_PAUSE_SPREAD 4u                 /* and their pauses differ by up to one in so many parts */
#define WF_RENEW_ASKS 4u                         /* of a peer that are answered at once; then one for each WF_RENEW_PAUSE_NS */
#define WF_RENEW_STOOD_NS (60 * WF_NS_PER_S)     /* a lane that stood so long makes the count begin anew */

enum {
	RENEW_IDLE,
	RENEW_ASKED,                     /* active: our offer is said */
	RENEW_MAKING,                    /* both offers are known: the transport makes the lane */
	RENEW_MOVING,                    /* active: it is there, MOVE is said and nothing is sent until the peer has said so, too */
	RENEW_DUE,                       /* passive: the peer has said MOVE, and the lane is not up here yet */
};

struct wf_renew {
	struct weft_ep *ep;
	unsigned tr;                     /* the transport, in the context */
	uint8_t state;
	bool waits;                      /* nothing can come of an attempt until something changes, here or there */
	bool hinted;                     /* something has, since the last began */
	bool given_up;                   /* here, or there */
	bool asked;                      /* passive: while the old lane was still ending; with @offer */
	uint32_t number;                 /* of the attempt */
	unsigned tries;                  /* attempts since a lane last stood for long */
	uint64_t since;                  /* when the last one was made; 0: none */
	uint64_t not_before;             /* the next attempt; passive: the next ASK of a peer that keeps to the least of pauses */
	struct wf_timer timer;           /* active: has its place from the break on, so that an attempt needs no memory for it */
	struct wf_lane *lane;            /* to be */
	int32_t down_status;             /* MOVING: it is down again */
	int down_errno;
	char down_cause[200];
	char cause[200];                 /* of the last break */
	char why[160];                   /* of the last attempt that failed */
	uint16_t offer_len;
	uint8_t offer[WF_OFFER_MAX];
};

/* In words: why its transport does not carry the messages, and what is being done about it. */
void wf_renew_words(const struct wf_renew *r, char *out, size_t cap);

#endif
