/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_session.c - a real endpoint behind a TCP socket, and a peer that says whatever the input
 * says.
 *
 * The first byte chooses: the input goes onto the wire as it is (port scans, foreign protocols,
 * broken hellos), or the peer says hello as it should and the rest is a program of steps, eight
 * bytes each: a frame to send, its sequence number put right, with ids that the endpoint itself has
 * used in its own frames; or a call of the API on our side. So frames arrive in every state, with
 * numbers that mean something.
 *
 * What must hold, besides no crash and no bad access: each accepted operation completes exactly
 * once, and nobody touches its buffer afterwards (it is freed then); when the peer is gone,
 * everything comes to its end within a bounded number of turns; memory, listener and worker can be
 * freed. Everything but the context is made anew for each input.
 *
 * Built and run as fuzz_wire.c says.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "weft/weft.h"
#include "wire/frame.h"
#include "wire/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	OPS = 64,         /* pending at a time */
	AMS = 8,          /* events held at a time */
	IDS = 32,         /* remembered from the endpoint's frames */
	STEPS = 48,       /* of one input */
	TURNS = 3,        /* after a step */
	END_TURNS = 5000, /* in which everything must have ended */
	SMALL = 4096,
	LARGE = 800000, /* longer than eager and than one frame; a few fill a socket */
	MEM_LEN = 8192,
};

/* A frame's option byte; the two lowest bits are its flags, with OPT_FLAGS. */
enum {
	OPT_TOKEN = 0x80,  /* the payload is the token */
	OPT_STRUCT = 0x40, /* the payload is the struct of that type */
	OPT_SEQ = 0x20,    /* wrong sequence number */
	OPT_FLAGS = 0x10,
	OPT_SPLIT = 0x08, /* comes in two parts */
	OPT_ZEROS = 0x04, /* the payload is not in the input */
};

struct slot {      /* of an operation */
	char *buf; /* lent with it; freed when it completes */
	weft_op op;
};

struct run {
	weft_worker *w;
	weft_listener *l;
	weft_ep *ep; /* NULL: none, or let go */
	weft_mem *mem;
	weft_grant grant;
	weft_remote *remote;
	uint8_t *mem_bytes;
	uint8_t token[64];
	size_t token_len;
	bool revoked;
	struct slot slot[OPS];
	unsigned pending;
	weft_event am[AMS];
	unsigned n_ams;
	int fd; /* the peer's socket; -1: closed */
	uint32_t tx_seq;
	uint64_t ids[IDS];
	unsigned n_ids;
	uint8_t rx[WF_FRAME_HDR + 64]; /* beginning of the frame that the peer is reading */
	size_t rx_len, rx_skip;
	unsigned frames;
	bool deaf; /* the peer reads no more: the endpoint's lane fills */
};

static weft_ctx *ctx;

static void must(bool claim, const char *what)
{
	if (claim)
		return;
	fprintf(stderr, "fuzz_session: %s (%s)\n", what, weft_last_error()->cause);
	abort();
}

static uint64_t after_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + ms * 1000000ull;
}

/* ---- operations on our side ---- */

/* A call for slot *@i_out with a fresh buffer of @len bytes; false: all slots are in use. */
static bool op_begin(struct run *r, size_t len, weft_call *call, weft_buf *b, unsigned *i_out)
{
	unsigned i = 0;

	while (i < OPS && r->slot[i].buf)
		i++;
	if (i == OPS)
		return false;
	r->slot[i].buf = calloc(1, len ? len : 1);
	if (!r->slot[i].buf)
		return false;
	*call = (weft_call){ .size = sizeof(*call), .user_data = i + 1 };
	*b = (weft_buf){ .addr = r->slot[i].buf, .len = len };
	*i_out = i;
	return true;
}

static void op_free(struct run *r, unsigned i)
{
	free(r->slot[i].buf);
	r->slot[i].buf = NULL;
}

static void op_posted(struct run *r, unsigned i, const weft_call *call, int ret)
{
	if (ret == WEFT_PENDING) {
		r->slot[i].op = call->op;
		r->pending++;
		return;
	}
	must(ret <= 0, "a posting call gave an answer that there is not");
	if (ret < 0)
		must(weft_last_error()->status == ret, "a refusal without its sentence");
	op_free(r, i);
}

static void op_ended(struct run *r, const weft_event *e)
{
	unsigned i = (unsigned)e->user_data - 1;

	must(e->user_data && i < OPS && r->slot[i].buf,
	     "an operation completed that was not pending");
	must(e->status <= 0, "a completion with a positive status");
	if (e->status < 0)
		must(weft_event_error(e)->status == e->status, "a failure without its sentence");
	op_free(r, i);
	r->pending--;
}

static void am_came(struct run *r, weft_event *e)
{
	if (r->n_ams == AMS) {
		weft_event_release(r->w, &r->am[0]);
		r->am[0] = r->am[--r->n_ams];
	}
	r->am[r->n_ams++] = *e;
}

static void on_event(struct run *r, weft_event *e, bool reject)
{
	static const weft_conn_opts opts = { .size = sizeof(opts), .flags = WEFT_WANT_STREAM };

	switch (e->kind) {
	case WEFT_EV_OP:
		op_ended(r, e);
		break;
	case WEFT_EV_REQUEST:
		if (reject || r->ep)
			weft_reject(e->data, WEFT_EREJECTED, "no");
		else
			must(weft_accept(e->data, r->w, &opts, &r->ep) <= 0,
			     "accept gave an answer that there is not");
		break;
	case WEFT_EV_AM:
		am_came(r, e);
		break;
	case WEFT_EV_DOWN:
		must(e->status < 0 && weft_event_error(e)->cause, "down without a reason");
		if (e->ep == r->ep) {
			weft_ep_abort(r->ep);
			r->ep = NULL;
		}
		break;
	default:
		break;
	}
}

static void turn(struct run *r, bool reject)
{
	weft_event e[16];
	size_t n;

	weft_arm(r->w); /* so that this turn looks at the descriptors, too */
	weft_progress(r->w);
	n = weft_reap(r->w, e, sizeof(e) / sizeof(e[0]));
	for (size_t i = 0; i < n; i++)
		on_event(r, &e[i], reject);
}

/* ---- the peer: a socket and the ids that it has seen ---- */

static void remember(struct run *r, uint64_t id)
{
	r->ids[r->n_ids++ % IDS] = id;
}

static uint64_t recall(const struct run *r, uint8_t which)
{
	unsigned n = r->n_ids < IDS ? r->n_ids : IDS;

	return which < 0xc0 && n ? r->ids[which % n] : which & 0x3fu;
}

static void peer_saw(struct run *r, const struct wf_frame *h, const uint8_t *p, size_t len)
{
	uint64_t word;

	must(!wf_frame_check(h), "the endpoint sent a frame that it would not take");
	r->frames++;
	remember(r, h->id);
	if (h->tag)
		remember(r, h->tag);
	if (h->type == WF_FR_RTS || h->type == WF_FR_AM_RTS || h->type == WF_FR_OPENED ||
	    h->type == WF_FR_GET) {
		memcpy(&word, p + 8, 8); /* its second half: the generation that CTS must name */
		remember(r, word);
	}
	if (h->type == WF_FR_ATOMIC && len >= sizeof(struct wf_atomic)) {
		memcpy(&word, p + 16, 8);
		remember(r, word);
	}
}

/* Some bytes that the endpoint sent; how many were taken. Of payloads the beginning is looked at,
 * the rest skipped. */
static size_t peer_parse(struct run *r, const uint8_t *p, size_t n)
{
	struct wf_frame h;
	size_t k, want;

	if (r->rx_skip) {
		k = n < r->rx_skip ? n : r->rx_skip;
		r->rx_skip -= k;
		return k;
	}
	want = WF_FRAME_HDR;
	if (r->rx_len >= WF_FRAME_HDR) {
		memcpy(&h, r->rx, sizeof(h));
		want += h.len < 64 ? h.len : 64;
	}
	k = n < want - r->rx_len ? n : want - r->rx_len;
	memcpy(r->rx + r->rx_len, p, k);
	r->rx_len += k;
	if (r->rx_len < WF_FRAME_HDR)
		return k;
	memcpy(&h, r->rx, sizeof(h));
	if (r->rx_len < WF_FRAME_HDR + (h.len < 64 ? h.len : 64))
		return k;
	peer_saw(r, &h, r->rx + WF_FRAME_HDR, r->rx_len - WF_FRAME_HDR);
	r->rx_skip = WF_FRAME_HDR + h.len - r->rx_len;
	r->rx_len = 0;
	return k;
}

static void peer_read(struct run *r)
{
	static uint8_t buf[64 << 10];
	ssize_t n;

	for (unsigned i = 0; i < 16 && r->fd >= 0 && !r->deaf; i++) {
		n = recv(r->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n <= 0)
			return;
		for (ssize_t at = 0; at < n;)
			at += (ssize_t)peer_parse(r, buf + at, (size_t)(n - at));
	}
}

/* The endpoint may be slow to read, or be gone. */
static bool peer_write(struct run *r, const void *p, size_t len)
{
	ssize_t n;

	for (unsigned tries = 0; len && r->fd >= 0 && tries < 200; tries++) {
		n = send(r->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			p = (const uint8_t *)p + n;
			len -= (size_t)n;
			continue;
		}
		turn(r, false);
		peer_read(r);
	}
	return !len;
}

static void peer_close(struct run *r)
{
	struct linger now = { .l_onoff = 1 };

	if (r->fd < 0)
		return;
	setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now,
		   sizeof(now)); /* no TIME_WAIT: ports would run out */
	close(r->fd);
	r->fd = -1;
}

static void peer_connect(struct run *r)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char url[128];
	int one = 1, small = 4096;

	must(weft_listener_url(r->l, url, sizeof(url)) == WEFT_OK, "a listener has a URL");
	to.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(r->fd >= 0, "socket");
	setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (connect(r->fd, (struct sockaddr *)&to, sizeof(to)))
		peer_close(r);
	else
		setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void peer_frame(struct run *r, struct wf_frame *h, const void *payload, bool split)
{
	uint8_t buf[WF_FRAME_HDR + SMALL];
	size_t len = WF_FRAME_HDR + h->len, first = split ? WF_FRAME_HDR + h->len / 2 : len;

	h->seq += r->tx_seq++;
	memcpy(buf, h, sizeof(*h));
	if (h->len)
		memcpy(buf + WF_FRAME_HDR, payload, h->len);
	if (!peer_write(r, buf, first)) {
		peer_close(r);
		return;
	}
	for (unsigned i = 0; split && i < TURNS; i++)
		turn(r, false);
	if (first < len && !peer_write(r, buf + first, len - first))
		peer_close(r);
}

/* HELLO, WELCOME, READY. */
static void peer_handshake(struct run *r)
{
	struct wf_hello hello = {
		.version_min = 1, .version_max = 1, .uuid = "fuzz", .process = "fuzz"
	};
	uint8_t buf[WF_HELLO_MAX];
	struct wf_frame h = { .type = WF_FR_HELLO,
			      .len = (uint32_t)wf_hello_encode(&hello, buf, sizeof(buf)) };

	peer_frame(r, &h, buf, false);
	for (unsigned i = 0; i < 2000 && !r->frames; i++) {
		turn(r, false);
		peer_read(r);
	}
	must(r->frames || r->fd < 0, "a good hello got no answer");
	h = (struct wf_frame){ .type = WF_FR_READY, .len = 4 };
	peer_frame(r, &h, "tcp", false);
	for (unsigned i = 0; i < 8; i++)
		turn(r, false);
}

/* ---- steps ---- */

struct step {
	uint8_t what, opt, aux, id, tag, len_lo, len_hi, value;
};

/* The fixed structs, with ids in the places where ids belong. */
static size_t fill_struct(const struct run *r, uint8_t type, const struct step *s, uint8_t *out)
{
	struct wf_rts rts = { .len = (uint64_t)s->value << (s->len_hi & 31),
			      .desc_len = s->len_lo & 31,
			      .gen = 1 };
	struct wf_opened opened = { .len = MEM_LEN,
				    .open = (uint32_t)recall(r, s->value),
				    .access = 7 };
	struct wf_get get = { .len = (uint64_t)s->value * 64, .op = recall(r, s->len_lo) };
	struct wf_atomic atomic = { .operand = s->value,
				    .compare = s->len_hi,
				    .op = recall(r, s->len_lo) };

	memset(out, s->value, SMALL);
	switch (type) {
	case WF_FR_RTS:
		memcpy(out, &rts, sizeof(rts));
		return sizeof(rts) + rts.desc_len;
	case WF_FR_AM_RTS:
		memcpy(out, &rts, sizeof(rts));
		return sizeof(rts) + s->aux + rts.desc_len;
	case WF_FR_OPENED:
		memcpy(out, &opened, sizeof(opened));
		return sizeof(opened) + (s->len_lo & 31);
	case WF_FR_GET:
		memcpy(out, &get, sizeof(get));
		return sizeof(get);
	case WF_FR_ATOMIC:
		memcpy(out, &atomic, sizeof(atomic));
		return sizeof(atomic);
	case WF_FR_ATOMIC_DONE:
		return sizeof(uint64_t);
	default:
		return 0;
	}
}

static void step_frame(struct run *r, const struct step *s, const uint8_t **p, size_t *left)
{
	uint8_t payload[SMALL] = { 0 };
	struct wf_frame h = {
		.type = s->what,
		.aux = s->aux,
		.id = (uint32_t)recall(r, s->id),
		.tag = recall(r, s->tag),
		.flags = s->opt & OPT_FLAGS ? (uint8_t)(s->opt & 3) : 0,
		.seq = s->opt & OPT_SEQ ? 1 : 0,
	};
	size_t len = (size_t)s->len_lo | (size_t)(s->len_hi & 0x0f) << 8, given;

	if (s->opt & OPT_TOKEN) {
		memcpy(payload, r->token, r->token_len);
		len = r->token_len;
	} else if (s->opt & OPT_STRUCT && (given = fill_struct(r, s->what, s, payload))) {
		len = given;
	} else {
		len = len < SMALL ? len : SMALL;
		given = s->opt & OPT_ZEROS ? 0 : len < *left ? len : *left;
		memcpy(payload, *p, given);
		*p += given;
		*left -= given;
	}
	h.len = (uint32_t)len;
	peer_frame(r, &h, payload, s->opt & OPT_SPLIT);
}

static void call_message(struct run *r, const struct step *s)
{
	static const uint64_t masks[] = { UINT64_MAX, 0, 1, UINT64_MAX };
	size_t len = s->opt & 1 ? LARGE : (size_t)s->value * 8;
	weft_message *m = NULL;
	weft_call call;
	weft_buf b;
	unsigned i;

	if (!op_begin(r, len, &call, &b, &i))
		return;
	call.flags = s->opt & 2 ? WEFT_SYNC : 0;
	switch (s->what % 5) {
	case 0:
		if (!r->ep)
			break;
		op_posted(r, i, &call, weft_send(r->ep, &b, 1, s->tag, &call));
		return;
	case 1:
		call.flags = 0;
		call.from = s->opt & 4 ? r->ep : NULL;
		op_posted(r, i, &call,
			  weft_recv(r->w, &b, 1, recall(r, s->tag), masks[s->aux & 3], &call));
		return;
	case 2:
		call.flags = 0;
		if (weft_probe(r->w, 0, 0, &call, &m) != WEFT_OK)
			break;
		op_posted(r, i, &call, weft_recv_message(m, &b, 1, &call));
		return;
	case 3:
		if (!r->ep)
			break;
		op_posted(r, i, &call,
			  weft_am_send(r->ep, s->tag, "header", s->aux % 7, &b, 1, &call));
		return;
	default:
		call.flags = 0;
		if (!r->n_ams)
			break;
		op_posted(r, i, &call, weft_am_recv(r->w, &r->am[s->id % r->n_ams], &b, 1, &call));
		return;
	}
	op_free(r, i);
}

static void call_remote(struct run *r, const struct step *s)
{
	size_t len = s->opt & 1 ? MEM_LEN : s->value;
	uint64_t offset = s->tag;
	weft_call call;
	weft_buf b;
	unsigned i;
	int ret;

	if (!r->ep || !r->remote || !op_begin(r, len, &call, &b, &i))
		return;
	switch (s->what % 4) {
	case 0:
		ret = weft_put(r->ep, &b, 1, r->remote, offset, &call);
		break;
	case 1:
		ret = weft_get(r->ep, &b, 1, r->remote, offset, &call);
		break;
	case 2:
		ret = weft_atomic(r->ep, s->aux & 7, r->remote, offset & ~7ull, s->value, 0, &call);
		break;
	default:
		ret = weft_put_signal(r->ep, &b, 1, r->remote, offset, 1, &call);
		break;
	}
	op_posted(r, i, &call, ret);
}

static void call_endpoint(struct run *r, const struct step *s)
{
	weft_call call;
	weft_buf b;
	unsigned i;
	int ret;

	if (!r->ep || !op_begin(r, s->opt & 1 ? LARGE : s->value, &call, &b, &i))
		return;
	switch (s->what % 6) {
	case 0:
		ret = weft_stream_send(r->ep, &b, 1, &call);
		break;
	case 1:
		call.flags = s->opt & 2 ? WEFT_ALL : 0;
		ret = weft_stream_recv(r->ep, &b, 1, &call);
		break;
	case 2:
		ret = weft_flush(r->w, s->opt & 2 ? r->ep : NULL, &call);
		break;
	case 3:
		weft_fence(r->ep);
		op_free(r, i);
		return;
	case 4:
		if (!(s->opt & 4)) {
			op_free(r, i);
			return;
		}
		ret = weft_ep_close(r->ep, &call);
		if (ret >= 0)
			r->ep = NULL;
		break;
	default:
		op_free(r, i);
		if (s->opt & 4) {
			weft_ep_abort(r->ep);
			r->ep = NULL;
		}
		return;
	}
	op_posted(r, i, &call, ret);
}

static void revoke_grant(struct run *r)
{
	weft_call call;
	weft_buf b;
	unsigned i;

	if (r->revoked || !op_begin(r, 0, &call, &b, &i))
		return;
	r->revoked = true;
	op_posted(r, i, &call, weft_grant_revoke(r->mem, r->grant, &call));
}

static void call_other(struct run *r, const struct step *s)
{
	unsigned i = s->id % OPS;

	switch (s->what % 6) {
	case 0:
		if (r->slot[i].buf)
			weft_cancel(r->w, r->slot[i].op);
		break;
	case 1:
		if (r->ep && !r->remote)
			weft_remote_open(r->ep, r->token, r->token_len, &r->remote);
		break;
	case 2:
		weft_remote_close(r->remote);
		r->remote = NULL;
		break;
	case 3:
		if (r->n_ams) {
			weft_event_release(r->w, &r->am[s->id % r->n_ams]);
			r->am[s->id % r->n_ams] = r->am[r->n_ams - 1];
			r->n_ams--;
		}
		break;
	case 4:
		if (s->opt & 4)
			revoke_grant(r);
		break;
	default:
		r->deaf = true;
		break;
	}
}

static void steps(struct run *r, const uint8_t *p, size_t left)
{
	struct step s;

	for (unsigned n = 0; n < STEPS && left >= sizeof(s) && r->fd >= 0; n++) {
		memcpy(&s, p, sizeof(s));
		p += sizeof(s);
		left -= sizeof(s);
		if (s.what < 0xc0) {
			s.what %= WF_FR_TYPES_ + 1;
			step_frame(r, &s, &p, &left);
		} else if (s.what < 0xd0) {
			call_message(r, &s);
		} else if (s.what < 0xe0) {
			call_remote(r, &s);
		} else if (s.what < 0xf0) {
			call_endpoint(r, &s);
		} else {
			call_other(r, &s);
		}
		for (unsigned i = 0; i < TURNS; i++)
			turn(r, false);
		peer_read(r);
	}
}

static void raw(struct run *r, const uint8_t *p, size_t len, bool reject)
{
	if (!peer_write(r, p, len))
		return;
	for (unsigned i = 0; i < 4; i++) {
		turn(r, reject);
		peer_read(r);
	}
}

/* ---- one input ---- */

static bool begin(struct run *r)
{
	weft_buf b = { .len = MEM_LEN };

	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->mem_bytes = calloc(1, MEM_LEN);
	must(r->mem_bytes, "memory");
	b.addr = r->mem_bytes;
	r->token_len = sizeof(r->token);
	must(weft_worker_new(ctx, NULL, &r->w) == WEFT_OK, "worker");
	must(weft_listen(r->w, "weft://127.0.0.1:0", NULL, &r->l) == WEFT_OK, "listener");
	must(weft_mem_register(ctx, &b, 7, &r->mem) == WEFT_OK, "register");
	must(weft_grant_new(r->mem, 0, MEM_LEN, 7, NULL, r->token, &r->token_len, &r->grant) ==
		     WEFT_OK,
	     "grant");
	peer_connect(r);
	return r->fd >= 0;
}

static void end(struct run *r)
{
	peer_close(r);
	for (unsigned i = 0; i < 4; i++)
		turn(r, true);
	if (r->ep)
		weft_ep_abort(r->ep);
	r->ep = NULL;
	for (unsigned i = 0; i < OPS; i++) /* receives from any endpoint wait for ever */
		if (r->slot[i].buf)
			weft_cancel(r->w, r->slot[i].op);
	revoke_grant(r);
	for (unsigned i = 0; i < END_TURNS && r->pending; i++) {
		if (i > 100)
			weft_wait_any(r->w, after_ms(2)); /* a lane that ends by a timer */
		turn(r, true);
	}
	must(!r->pending, "an operation did not end though its peer is gone");
	while (r->n_ams)
		weft_event_release(r->w, &r->am[--r->n_ams]);
	weft_remote_close(r->remote);
	must(weft_listener_close(r->l) == WEFT_OK, "listener cannot be closed");
	must(weft_mem_free(r->mem) == WEFT_OK, "memory is still in use");
	must(weft_worker_free(r->w) == WEFT_OK, "worker cannot be freed");
	free(r->mem_bytes);
}

static void set_up(void)
{
	weft_config *c;

	must(weft_config_new(&c) == WEFT_OK, "config");
	must(weft_config_set(c, "transports", "tcp") == WEFT_OK, "transports");
	must(weft_config_set(c, "limit_unexpected", "64K") == WEFT_OK, "limit");
	must(weft_config_set(c, "stream_window", "4K") == WEFT_OK, "window");
	must(weft_open(c, &ctx) == WEFT_OK, "open");
	weft_config_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r;

	if (!size)
		return 0;
	if (!ctx)
		set_up();
	if (begin(&r)) {
		if (data[0] & 1) {
			peer_handshake(&r);
			steps(&r, data + 1, size - 1);
		} else {
			raw(&r, data + 1, size - 1, data[0] & 2);
		}
	}
	end(&r);
	return 0;
}
