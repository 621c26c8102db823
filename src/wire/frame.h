/* SPDX-License-Identifier: BSD-3-Clause
 *
 * frame.h - every frame that crosses a lane, drawn and named. docs/PROTOCOL.md tells the same with pictures.
 *
 * A frame is a header of 24 bytes, little-endian, and `len` bytes of payload. The struct below *is* the wire format:
 * weft is built for little-endian machines only (checked at compile time). Nothing here does I/O or knows the time.
 *
 * ids: an `id` names an object of the side that made it (`op`: index and generation of an operation, wf_op_wire_id();
 * `open`: a grant opened by the peer). A foreign id is looked up and checked, never trusted; a stale one is ignored
 * where a race explains it and a protocol error where none can.
 */
#ifndef WF_WIRE_FRAME_H
#define WF_WIRE_FRAME_H
#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the frame header is laid out for little-endian machines");

#define WF_FRAME_HDR 24u
#define WF_WIRE_VERSION 1u
#define WF_WIRE_MAGIC 0x54464557u   /* "WEFT" in memory order */
#define WF_MSG_MAX (UINT64_MAX >> 1)   /* bytes of a message: what a ssize_t can say */
#define WF_DESC_MAX 192u            /* a transport's description of a buffer or region for its own kind at the peer */
#define WF_AM_HEADER_MAX 1024u
#define WF_SAY_MAX 512u             /* what one side of a lane tells the other about it at a time */
#define WF_CTL_MAX 2048u            /* payload bound of every frame that is not data */
#define WF_HELLO_MAX 2048u
#define WF_PAD_MAX 64u
#define WF_FRAME_DATA_MAX (1u << 20)   /* payload bound of data frames, a transport's frame_max may be less */

struct wf_frame {
	uint32_t len;    /*  0: payload bytes that follow                          */
	uint32_t seq;    /*  4: number of this frame on this lane and direction    */
	uint8_t type;    /*  8: WF_FR_*                                            */
	uint8_t flags;   /*  9: WF_FF_*                                            */
	uint16_t aux;    /* 10: small operand: header length, -status, what        */
	uint32_t id;     /* 12: which operation, AM or opened grant                */
	uint64_t tag;    /* 16: tag, offset, value or second id                    */
};
_Static_assert(sizeof(struct wf_frame) == WF_FRAME_HDR, "frame header has no padding");

enum {                  /* payload                          id            tag             aux            */
	/* making an endpoint, on the bootstrap lane only */
	WF_FR_HELLO = 1,    /* hello                                                                          */
	WF_FR_WELCOME,      /* hello of the accepting side                                                    */
	WF_FR_REJECT,       /* text                                                       -status             */
	WF_FR_READY,        /* name of the message lane, 0, reasons against the others                        */

	/* tagged messages */
	WF_FR_EAGER,        /* the message                      sender's op   tag         (id with FF_SYNC)   */
	WF_FR_RTS,          /* struct wf_rts, description       sender's op   tag                             */
	WF_FR_CTS,          /* -                                sender's op   receiver's op | gen << 32        */
	WF_FR_DATA,         /* a piece of the message           receiver's op offset                          */
	WF_FR_FIN,          /* -                                sender's op   gen << 32      receiver is done   */
	WF_FR_SYNC_ACK,     /* -                                sender's op               message was matched */
	WF_FR_STOP,         /* -                                sender's op   receiver's op | gen << 32: stop DATA, message goes back */
	WF_FR_STOPPED,      /* -                                receiver's op             no more DATA comes  */
	WF_FR_WITHDRAW,     /* -                                sender's op               forget the message, answer WITHDRAWN */
	WF_FR_WITHDRAWN,    /* -                                sender's op               1: gone, 0: too late */
	WF_FR_GONE,         /* -                                receiver's op             CTS came too late: message was withdrawn */
	WF_FR_PRESSURE,     /* -                                              1: rendezvous only, 0: eager again */

	/* active messages: header of aux bytes first in the payload */
	WF_FR_AM,           /* header, payload                  AM id                     header length       */
	WF_FR_AM_RTS,       /* struct wf_rts, header, descr.    sender's op   AM id       header length       */

	/* byte stream */
	WF_FR_STREAM,       /* bytes                                                                          */
	WF_FR_CREDIT,       /* -                                              how many bytes may ever be sent */

	/* one-sided */
	WF_FR_OPEN,         /* token                            opener's remote id                            */
	WF_FR_OPENED,       /* struct wf_opened, description    opener's remote id        -status             */
	WF_FR_CLOSE_REMOTE, /* -                                open id                                       */
	WF_FR_PUT,          /* bytes                            open id       offset                          */
	WF_FR_SIGNAL,       /* -                                open id       value                           */
	WF_FR_GET,          /* struct wf_get                    open id       offset                          */
	WF_FR_GOT,          /* bytes, in order                                opener's op                     */
	WF_FR_GET_FAIL,     /* -                                              opener's op    -status          */
	WF_FR_ATOMIC,       /* struct wf_atomic                 open id       offset      what                */
	WF_FR_ATOMIC_DONE,  /* u64 old value                                  opener's op    -status          */
	WF_FR_REVOKE,       /* -                                opener's remote id                            */
	WF_FR_REVOKED,      /* -                                open id                                       */

	/* order and end */
	WF_FR_FLUSH,        /* -                                              op              0: for a fence   */
	WF_FR_FLUSHED,      /* -                                              op             -status of the first put that failed */
	WF_FR_CLOSE,        /* -                                                          orderly end: nothing follows */
	WF_FR_CLOSED,       /* -                                                          answer to CLOSE     */

	/* tcp's own, between frames: skipped, not counted in seq */
	WF_FR_PAD,          /* anything                                                                       */

	/* on the bootstrap lane, from WELCOME on */
	WF_FR_LANE,         /* name of a transport, 0, what its two sides tell each other about their lane    */
	WF_FR_SWITCH,       /* -                                              frames that came over the message lane, which broke */
	WF_FR_RENEW,        /* name of the transport, 0, see below number     see below   WF_RENEW_*          */
	WF_FR_TYPES_
};

/* Features: optional parts of the protocol, in a hello. */
enum {
	WF_FEATURE_RENEW = 1,   /* a message lane that broke may be made again: RENEW, and a second OPENED for the same open */
};
#define WF_FEATURES WF_FEATURE_RENEW

/* RENEW's aux: what is said of attempt number `id` to make a message lane again. "Active" is the side that connected. */
enum {
	WF_RENEW_ASK = 1,       /* active: let us try, this is my offer                                     */
	WF_RENEW_OFFER,         /* passive: and this is mine                                                */
	WF_RENEW_NO,            /* either: not this time; words. tag: 0, WF_RENEW_WAITS or WF_RENEW_LAST    */
	WF_RENEW_HINT,          /* passive: something has changed here, ask                                 */
	WF_RENEW_MOVE,          /* either: my last frame of messages on this lane is behind you             */
};

enum {
	WF_RENEW_WAITS = 1,     /* passive: nothing can come of it until I say HINT */
	WF_RENEW_LAST,          /* active: I ask no more                            */
};

enum {
	WF_FF_SYNC = 1,     /* EAGER: answer SYNC_ACK when it is matched                          */
	WF_FF_LAST = 2,     /* GOT, PUT: last piece                                               */
};

struct wf_rts {
	uint64_t len;       /* 0: bytes of the whole message                                        */
	uint32_t desc_len;  /* 8: bytes of description at the end of the payload; 0: ask with CTS   */
	uint32_t gen;       /* 12: which use of the sender's op: comes back in CTS, STOP, FIN        */
};

struct wf_opened {
	uint64_t len;       /* 0: bytes granted                                                     */
	uint32_t open;      /* 8: open id to name in PUT, GET, ATOMIC                               */
	uint32_t access;    /* 12: WEFT_READ | WEFT_WRITE | WEFT_ATOMIC                             */
};

struct wf_get {
	uint64_t len;       /* 0 */
	uint64_t op;        /* 8: opener's op: all of its handle, so that an answer that comes late finds nothing */
};

struct wf_atomic {
	uint64_t operand;   /* 0 */
	uint64_t compare;   /* 8 */
	uint64_t op;        /* 16: opener's op, as above */
};

/*
 * Checks what can be checked of a header without knowing the endpoint: type known, len within the bound and at or above
 * the least of the type, aux within len. Returns NULL when good, else a static text that says what is wrong.
 */
const char *wf_frame_check(const struct wf_frame *h);

/* "EAGER", "RTS", ...; "?" for an unknown type. Static. */
const char *wf_frame_name(uint8_t type);

#endif
