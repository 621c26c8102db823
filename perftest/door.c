/* SPDX-License-Identifier: BSD-3-Clause
 *
 * door.c - where a serving side listens, lets in one peer at a time and turns others away; and the words that both sides
 * say first, so that a peer that is something else, or of another version, is found out and told from one that hangs.
 */
#include <string.h>

#include "perftest.h"

#define PROGRAM  "weft-perf"
#define PROTOCOL 1u                  /* of struct cmd and struct answer; the hello itself never changes */
#define HELLO_S  10                  /* a lost SYN costs a second, two in a row three */

/* ---- the door ---- */

bool door_open(struct door *d, const struct perf_way *way, weft_ctx *shared, const char *url)
{
	struct side *s = &d->side;

	s->door = d;
	if (!side_open(s, way, shared))
		return false;
	return !weft_listen(s->w, url, NULL, &d->listener) || side_refused(s, "cannot listen");
}

bool door_url(struct door *d, char *url, size_t cap)
{
	return !weft_listener_url(d->listener, url, cap) || side_refused(&d->side, "cannot listen");
}

/* A worker of its own for each peer: with it goes all that a peer left behind. */
bool door_let_in(struct door *d, struct side *s)
{
	weft_request *r;

	while (!d->caller)
		if (!side_turn(&d->side))
			return false;
	r = d->caller;
	d->caller = NULL;
	s->door = d;
	s->serves = true;
	if (!side_open(s, NULL, d->side.ctx)) {
		weft_reject(r, WEFT_EREJECTED, s->why);
		return false;
	}
	if (weft_accept(r, s->w, NULL, &s->ep))
		return side_refused(s, "cannot accept");
	while (!s->connected)
		if (!side_turn(s))
			return false;
	return true;
}

void door_turn_away(struct door *d)
{
	weft_event ev[EVENTS];
	size_t n = weft_reap(d->side.w, ev, EVENTS);

	side_take(&d->side, ev, n);
	if (d->caller)
		weft_reject(d->caller, WEFT_EREJECTED, DOOR_BUSY);
	d->caller = NULL;
}

void door_close(struct door *d)
{
	if (d->caller)
		weft_reject(d->caller, WEFT_EREJECTED, "weft perf ends");
	if (d->listener)
		weft_listener_close(d->listener);
	d->caller = NULL;
	d->listener = NULL;
	side_close(&d->side);
}

/* ---- hello ---- */

static bool say(struct side *s)
{
	struct hello h = { "" };

	snprintf(h.text, sizeof(h.text), "%s %u %s cpu %d", PROGRAM, PROTOCOL, s->serves ? "serves" : "measures", s->cpu);
	return side_send(s, &h, sizeof(h), TAG_HELLO);
}

static bool hear(struct side *s, struct hello *h)
{
	unsigned stall_s = s->stall_s;
	char why[400];

	s->stall_s = HELLO_S;
	if (side_recv(s, h, sizeof(*h), TAG_HELLO)) {
		s->stall_s = stall_s;
		foreign_text(h->text, sizeof(h->text));
		return true;
	}
	snprintf(why, sizeof(why), "%s", s->why);
	snprintf(s->why, sizeof(s->why), "%s does not answer as weft perf does (%s); run `weft perf --listen` there", s->peer,
		 why);
	return false;
}

bool hello(struct side *s, int *peer_cpu)
{
	char program[32] = "", role[16] = "";
	unsigned version = 0;
	struct hello h;
	int n;

	if (!say(s) || !hear(s, &h))
		return false;
	n = sscanf(h.text, "%31s %u %15s cpu %d", program, &version, role, peer_cpu);
	if (n < 2 || strcmp(program, PROGRAM))
		return side_fail(s, "%s is \"%s\" and not %s; run the same program on both sides", s->peer, program,
				 PROGRAM);
	if (version != PROTOCOL)
		return side_fail(s, "%s speaks version %u of the protocol of weft perf, this program version %u "
				 "(WEFT_EVERSION); run the same weft on both sides", s->peer, version, PROTOCOL);
	if (n != 4 || strcmp(role, s->serves ? "measures" : "serves"))
		return side_fail(s, "%s said \"%s\"", s->peer, h.text);
	return true;
}
