/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connect.h - what lives only while an endpoint is being made, and what connect.c, accept.c and listener.c share.
 */
#ifndef WF_CORE_CONNECT_H
#define WF_CORE_CONNECT_H
#include "core/internal.h"

#define WF_TRIED_TEXT 900

struct wf_conn {
	struct weft_ep *ep;
	bool server, hello_sent, welcomed;
	struct wf_url url;               /* client: where to, in order */
	unsigned addr, tr;               /* which address and bootstrap transport is being tried */
	struct wf_timer timer;           /* this try, or all of it */
	uint64_t deadline;
	char *allow;
	uint8_t secret[WF_UUID];
	struct wf_lane *cand[WF_TR_MAX]; /* lanes that were offered, by transport */
	unsigned attaching;              /* client: which candidate is being attached; WF_TR_MAX: none */
	struct wf_lane *chosen;          /* server: READY named it, and it is not up yet on this side */
	struct wf_hello peer;
	int32_t status;                  /* of the failures so far, the one to report */
	int sys_errno;
	char tried[WF_TRIED_TEXT];
};

struct wf_conn *wf_conn_new(struct weft_ep *ep, const weft_conn_opts *o);
int wf_conn_send(struct wf_lane *l, uint8_t type, uint16_t aux, const void *payload, size_t len);
void wf_conn_offers(struct wf_conn *c, struct wf_hello *h, const struct wf_hello *only);
void wf_conn_note(struct weft_ep *ep, const char *name, const char *why);
void wf_conn_finish(struct weft_ep *ep, struct wf_lane *msg);
int wf_conn_arm(struct wf_conn *c, uint64_t at_ns);
int wf_conn_opts_check(const weft_conn_opts *o, const char *who);

#endif
