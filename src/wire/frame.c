/* SPDX-License-Identifier: BSD-3-Clause
 *
 * frame.c - what a header may look like before anything else is known. One row for each type: its
 * name and the least and most bytes of payload. A type that is not in the table is none. Active
 * messages, whose bounds depend on aux, are looked at a second time. Every frame that comes in
 * passes through here, so the common case is one load and two comparisons.
 */
#include "wire/frame.h"

#include "base/util.h"
#include "wire/hello.h"

#define HELLO_LEAST 8u /* magic and versions: what every version of weft must be able to read */

_Static_assert(sizeof(struct wf_rts) == 16, "RTS has no padding");
_Static_assert(sizeof(struct wf_opened) == 16, "OPENED has no padding");
_Static_assert(sizeof(struct wf_get) == 16, "GET has no padding");
_Static_assert(sizeof(struct wf_atomic) == 24, "ATOMIC has no padding");
_Static_assert(sizeof(struct wf_rts) + WF_AM_HEADER_MAX + WF_DESC_MAX <= WF_CTL_MAX,
	       "AM_RTS is a control frame");
_Static_assert(WF_HELLO_MAX <= WF_CTL_MAX, "a lane that takes control frames takes a hello");
_Static_assert(WF_NAME_MAX + WF_SAY_MAX <= WF_CTL_MAX, "LANE is a control frame");
_Static_assert(WF_FR_TYPES_ <= 256, "the type is one byte");

struct row {
	const char *name; /* NULL: no such type */
	uint32_t least, most;
	uint8_t look; /* what else is looked at */
};

enum { PLAIN, HEADER /* aux bytes of it, behind `least` */, GREETING };

#define RTS_MOST    (sizeof(struct wf_rts) + WF_DESC_MAX)
#define OPENED_MOST (sizeof(struct wf_opened) + WF_DESC_MAX)

static const struct row rows[WF_FR_TYPES_] = {
	[WF_FR_HELLO] = { "HELLO", HELLO_LEAST, WF_HELLO_MAX, GREETING },
	[WF_FR_WELCOME] = { "WELCOME", HELLO_LEAST, WF_HELLO_MAX, GREETING },
	[WF_FR_REJECT] = { "REJECT", 0, WF_CTL_MAX, PLAIN },
	[WF_FR_READY] = { "READY", 2, WF_CTL_MAX, PLAIN }, /* a name of one letter and its zero */

	[WF_FR_EAGER] = { "EAGER", 0, WF_FRAME_DATA_MAX, PLAIN },
	[WF_FR_RTS] = { "RTS", sizeof(struct wf_rts), RTS_MOST, PLAIN },
	[WF_FR_CTS] = { "CTS", 0, 0, PLAIN },
	[WF_FR_DATA] = { "DATA", 0, WF_FRAME_DATA_MAX, PLAIN },
	[WF_FR_FIN] = { "FIN", 0, 0, PLAIN },
	[WF_FR_SYNC_ACK] = { "SYNC_ACK", 0, 0, PLAIN },
	[WF_FR_STOP] = { "STOP", 0, 0, PLAIN },
	[WF_FR_STOPPED] = { "STOPPED", 0, 0, PLAIN },
	[WF_FR_WITHDRAW] = { "WITHDRAW", 0, 0, PLAIN },
	[WF_FR_WITHDRAWN] = { "WITHDRAWN", 0, 0, PLAIN },
	[WF_FR_GONE] = { "GONE", 0, 0, PLAIN },
	[WF_FR_PRESSURE] = { "PRESSURE", 0, 0, PLAIN },

	[WF_FR_AM] = { "AM", 0, WF_FRAME_DATA_MAX, HEADER },
	[WF_FR_AM_RTS] = { "AM_RTS", sizeof(struct wf_rts), RTS_MOST + WF_AM_HEADER_MAX, HEADER },

	[WF_FR_STREAM] = { "STREAM", 0, WF_FRAME_DATA_MAX, PLAIN },
	[WF_FR_CREDIT] = { "CREDIT", 0, 0, PLAIN },

	[WF_FR_OPEN] = { "OPEN", WF_TOKEN_LEN, WF_TOKEN_LEN, PLAIN },
	[WF_FR_OPENED] = { "OPENED", sizeof(struct wf_opened), OPENED_MOST, PLAIN },
	[WF_FR_CLOSE_REMOTE] = { "CLOSE_REMOTE", 0, 0, PLAIN },
	[WF_FR_PUT] = { "PUT", 0, WF_FRAME_DATA_MAX, PLAIN },
	[WF_FR_SIGNAL] = { "SIGNAL", 0, 0, PLAIN },
	[WF_FR_GET] = { "GET", sizeof(struct wf_get), sizeof(struct wf_get), PLAIN },
	[WF_FR_GOT] = { "GOT", 0, WF_FRAME_DATA_MAX, PLAIN },
	[WF_FR_GET_FAIL] = { "GET_FAIL", 0, 0, PLAIN },
	[WF_FR_ATOMIC] = { "ATOMIC", sizeof(struct wf_atomic), sizeof(struct wf_atomic), PLAIN },
	[WF_FR_ATOMIC_DONE] = { "ATOMIC_DONE", 8, 8, PLAIN },
	[WF_FR_REVOKE] = { "REVOKE", 0, 0, PLAIN },
	[WF_FR_REVOKED] = { "REVOKED", 0, 0, PLAIN },

	[WF_FR_FLUSH] = { "FLUSH", 0, 0, PLAIN },
	[WF_FR_FLUSHED] = { "FLUSHED", 0, 0, PLAIN },
	[WF_FR_CLOSE] = { "CLOSE", 0, 0, PLAIN },
	[WF_FR_CLOSED] = { "CLOSED", 0, 0, PLAIN },
	[WF_FR_PAD] = { "PAD", 0, WF_PAD_MAX, PLAIN },
	[WF_FR_LANE] = { "LANE", 2, WF_NAME_MAX + WF_SAY_MAX, PLAIN },
	[WF_FR_SWITCH] = { "SWITCH", 0, 0, PLAIN },
	[WF_FR_RENEW] = { "RENEW", 2, WF_NAME_MAX + WF_SAY_MAX, PLAIN },
};

/* Types that carry an active message's header of aux bytes, behind a fixed part of `least` bytes.
 */
static const char *check_header(const struct wf_frame *h, const struct row *row)
{
	if (h->aux > WF_AM_HEADER_MAX)
		return "active message's header longer than 1024 bytes";
	if (h->len - row->least < h->aux)
		return "active message's header reaches past the end of its frame";
	if (h->type == WF_FR_AM_RTS && h->len - row->least - h->aux > WF_DESC_MAX)
		return "description longer than 192 bytes";
	return NULL;
}

/* The first that is heard of a stranger. Dask's handshake over plain TCP is a header of the right type and of a length that never
 * comes, but for its tag; a hello uses neither that nor id and aux. */
static const char *check_greeting(const struct wf_frame *h)
{
	return h->aux || h->id || h->tag ? "numbers where a hello has none" : NULL;
}

const char *wf_frame_check(const struct wf_frame *h)
{
	const struct row *row;

	if (wf_unlikely(h->type >= WF_FR_TYPES_ || !rows[h->type].name))
		return "unknown type of frame";
	if (wf_unlikely(h->flags & ~(WF_FF_SYNC | WF_FF_LAST)))
		return "unknown flag in a frame";
	row = &rows[h->type];
	if (wf_unlikely(h->len < row->least))
		return "frame too short for its type";
	if (wf_unlikely(h->len > row->most))
		return "frame too long for its type";
	if (wf_likely(row->look == PLAIN))
		return NULL;
	return row->look == HEADER ? check_header(h, row) : check_greeting(h);
}

const char *wf_frame_name(uint8_t type)
{
	if (type >= WF_FR_TYPES_ || !rows[type].name)
		return "?";
	return rows[type].name;
}
