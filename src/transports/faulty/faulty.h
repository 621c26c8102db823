/* SPDX-License-Identifier: BSD-3-Clause
 *
 * faulty.h - any transport, made unreliable on purpose: frames that come late, connections that break, refusals. For
 * tests and for reports of bugs: what goes wrong follows from a seed. The setting `fault` turns it on:
 *
 *   seed=7          where the random numbers start
 *   delay_us=50     each frame is held back for up to twice as long, in order
 *   cut=0.001       probability that a frame breaks its connection
 *   refuse=0.1      probability that a connection (a bootstrap or an attached lane) is refused
 */
#ifndef WF_TRANSPORTS_FAULTY_FAULTY_H
#define WF_TRANSPORTS_FAULTY_FAULTY_H
#include "core/transport.h"

#define WF_FAULTY_MAX 8 /* transports that can be wrapped */

struct wf_faulty_conf {
	uint64_t seed, delay_ns;
	double cut, refuse;
};

/* Parses the setting. 0, or WEFT_ESETTING with wf_fail(). */
int wf_faulty_parse(const char *text, struct wf_faulty_conf *out);

/*
 * @inner with faults; what they are is read from the port's settings. The same table for the same transport, for ever.
 * Returns @inner itself when WF_FAULTY_MAX others are wrapped. Any thread.
 */
const struct wf_transport *wf_faulty_wrap(const struct wf_transport *inner);

#endif
