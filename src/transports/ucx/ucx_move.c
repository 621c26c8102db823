/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_move.c - what goes over endpoints: messages, and pieces of large buffers that a peer asks for.
 */
#include "transports/ucx/ucx.h"

#include "base/fault.h"
#include "os/proc.h"

/* ---- what UCX has in hand ---- */

enum { ROOM_PEER };                      /* of fab_op.room */

static struct ucx_peer *peer_of(const struct fab_op *op)
{
	return op->room[ROOM_PEER];
}

/* The words of what went wrong, and its number. */
static int note(struct ucx_port *p, ucs_status_t status)
{
	p->fab.words[0] = 0;
	if (status)
		ucx_said(p->fab.words, sizeof(p->fab.words));
	return -status;
}

static void on_done(void *request, ucs_status_t status, void *user)
{
	struct fab_op *op = user;
	struct ucx_port *p = peer_of(op)->port;

	p->lib->request_free(request);
	op->done(&p->fab, op, 0, note(p, status));
}

static struct ucp_request_param with(ucp_send_nbx_callback_t *cb, struct fab_op *op)
{
	return (struct ucp_request_param){
		.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
		.cb.send = cb,
		.user_data = op,
		.memory_type = UCS_MEMORY_TYPE_HOST,
	};
}

/* What UCX's calls return, as engines say it. */
static int answer(struct ucx_port *p, ucs_status_ptr_t request)
{
	if (!request)
		return FAB_DONE;
	return ucx_is_err(request) ? note(p, (ucs_status_t)(intptr_t)request) : 0;
}

/* ---- messages ---- */

ucs_status_t ucx_on_message(void *arg, const void *header, size_t header_len, void *data, size_t len,
			    const struct ucp_am_recv_param *param)
{
	struct ucx_port *p = arg;
	struct fab_buf *b;

	(void)header, (void)header_len;
	if (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV || len > FAB_BUF)
		return UCS_OK;           /* none of ours */
	b = fab_rx_get(&p->fab);
	if (!b) {
		fab_lost(&p->fab, data, len);
		return UCS_OK;
	}
	b->at = data;
	b->len = (uint32_t)len;
	fab_came(&p->fab, b);
	return UCS_OK;
}

int ucx_send(struct fab_lane *l, struct fab_buf *b, const void *bytes, size_t len)
{
	struct ucp_request_param param = with(on_done, &b->op);
	struct ucx_peer *r = l->peer;
	int ret;

	(void)bytes;
	if (r->joining)
		return FAB_FULL;
	if (!r->ep)
		return note(r->port, UCS_ERR_NOT_CONNECTED);
	param.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
	param.flags = UCP_AM_SEND_FLAG_EAGER;
	b->op.room[ROOM_PEER] = r;
	ret = answer(r->port, r->port->lib->am_send(r->ep, UCX_AM_MESSAGE, NULL, 0, b->data, len, &param));
	if (!ret) {
		b->peer = r;
		r->busy++;
	}
	return ret;
}

/* ---- pieces: the receiver ---- */

enum { ROOM_ID = 1, ROOM_NEAR, ROOM_LEN };   /* of fab_op.room, beside ROOM_PEER */

static void piece_ends(struct fab_piece *piece, ucs_status_t status)
{
	struct ucx_port *p = peer_of(&piece->op)->port;

	piece->op.done(&p->fab, &piece->op, 0, note(p, status));
}

/* One that was asked for, and is looked for no more. */
static void unwant(struct ucx_port *p, struct fab_piece *piece)
{
	wf_map_remove(&p->wanted, (uintptr_t)piece->op.room[ROOM_ID]);
}

int ucx_move(struct fab_port *base, struct fab_piece *piece, void *near, size_t len, void *reg, const struct fab_far *far)
{
	struct ucx_port *p = ucx_port_of(base);
	struct fab_lane *l = piece->move->lane;
	struct ucx_peer *r = l->peer;
	struct ucx_ask ask = { .piece = p->last_piece + 1, .reg = far->key, .addr = far->addr, .len = (uint32_t)len, .what = UCX_WANT };
	int ret;

	(void)reg;
	if (!r->ep)
		return note(p, UCS_ERR_NOT_CONNECTED);
	ret = fab_say_engine(l, &ask, sizeof(ask));
	if (ret)
		return ret == WEFT_AGAIN ? FAB_FULL : note(p, UCS_ERR_NOT_CONNECTED);
	p->last_piece++;
	piece->op.room[ROOM_PEER] = piece->peer = r;
	piece->op.room[ROOM_ID] = (void *)(uintptr_t)ask.piece;
	piece->op.room[ROOM_NEAR] = near;
	piece->op.room[ROOM_LEN] = (void *)len;
	/* Only now: an endpoint that fails in the call above ends what is wanted of it. It comes in vain if there is no memory. */
	if (wf_map_insert(&p->wanted, ask.piece, piece))
		return FAB_FULL;
	r->busy++;
	return 0;
}

static void on_received(void *request, ucs_status_t status, size_t len, void *user)
{
	struct fab_piece *piece = user;

	(void)len;
	peer_of(&piece->op)->port->lib->request_free(request);
	piece_ends(piece, status);
}

/* The piece that such a message is, of a lane whose peer knows its key. */
static struct fab_piece *find_piece(struct ucx_port *p, uint64_t id, uint64_t key)
{
	struct fab_piece *piece = wf_map_find(&p->wanted, id);

	return piece && piece->move->lane && piece->move->lane->key == key ? piece : NULL;
}

ucs_status_t ucx_on_piece(void *arg, const void *header, size_t header_len, void *data, size_t len,
			  const struct ucp_am_recv_param *param)
{
	struct ucp_request_param how = {
		.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
		.cb.recv_am = on_received,
		.memory_type = UCS_MEMORY_TYPE_HOST,
	};
	struct ucx_port *p = arg;
	struct fab_piece *piece;
	struct ucx_head head;
	int ret = FAB_DONE;

	if (header_len != sizeof(head))
		return UCS_OK;
	memcpy(&head, header, sizeof(head));
	piece = find_piece(p, head.piece, head.key);
	if (!piece || len != (size_t)piece->op.room[ROOM_LEN])
		return UCS_OK;           /* what UCX has not begun to receive it drops, and the sender is told that it is done */
	unwant(p, piece);
	how.user_data = piece;
	if (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)
		ret = answer(p, p->lib->am_recv(p->worker, data, piece->op.room[ROOM_NEAR], len, &how));
	else
		memcpy(piece->op.room[ROOM_NEAR], data, len);
	if (ret)
		piece->op.done(&p->fab, &piece->op, len, ret == FAB_DONE ? 0 : ret);
	return param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV ? UCS_INPROGRESS : UCS_OK;
}

void ucx_want_no_more(struct ucx_peer *r, ucs_status_t status)
{
	const struct wf_map_row *row;
	size_t at = 0;

	while ((row = wf_map_next(&r->port->wanted, &at))) {
		struct fab_piece *piece = row->value;

		if (peer_of(&piece->op) != r)
			continue;
		unwant(r->port, piece);
		piece_ends(piece, status);
		at = 0;                  /* the map is another one */
	}
}

/* ---- pieces: the sender ---- */

struct reply {                           /* a piece in UCX's hands */
	struct ucx_reg *reg;
	struct ucx_peer *peer;
	struct ucx_head head;
};

static void on_replied(void *request, ucs_status_t status, void *user)
{
	struct reply *a = user;
	struct ucx_reg *reg = a->reg;

	(void)status;                    /* an endpoint that fails says so by itself */
	a->peer->port->lib->request_free(request);
	ucx_landed(a->peer);
	wf_free(a);
	if (!--reg->flying && reg->dead)
		wf_free(reg);
}

static bool may_have(const struct ucx_reg *reg, const struct ucx_ask *ask)
{
	return reg && ask->addr >= reg->addr && ask->addr - reg->addr <= reg->len && ask->len <= reg->len - (ask->addr - reg->addr) &&
	       reg->flying < UCX_REPLIES;
}

static int reply(struct fab_lane *l, struct ucx_reg *reg, const struct ucx_ask *ask)
{
	struct ucx_peer *r = l->peer;
	struct ucx_port *p = r->port;
	struct reply *a = wf_calloc(1, sizeof(*a));
	struct ucp_request_param param = with(on_replied, NULL);
	int ret;

	if (!a)
		return note(p, UCS_ERR_NO_MEMORY);
	*a = (struct reply){ reg, r, { l->peer_key, ask->piece } };
	param.user_data = a;
	ret = answer(p, p->lib->am_send(r->ep, UCX_AM_PIECE, &a->head, sizeof(a->head), (void *)(uintptr_t)ask->addr, ask->len, &param));
	if (ret) {
		wf_free(a);
		return ret == FAB_DONE ? 0 : ret;
	}
	reg->flying++;
	r->busy++;
	return 0;
}

static void on_want(struct fab_lane *l, const struct ucx_ask *ask)
{
	struct ucx_port *p = ucx_port_of(fab_lane_port(l));
	struct ucx_reg *reg = wf_map_find(&p->regs, ask->reg);
	struct ucx_peer *r = l->peer;
	struct ucx_ask no = { .piece = ask->piece, .what = UCX_DENY };
	int ret;

	if (!r || !r->ep)
		return;
	if (may_have(reg, ask)) {
		ret = reply(l, reg, ask);
		if (ret)
			fab_broke(l, ret, "sending");
	} else if (fab_say_engine(l, &no, sizeof(no)) == WEFT_AGAIN) {
		fab_fail(l, WEFT_ENOMEM, 0, "no memory for an answer to the peer");
	}
}

void ucx_heard(struct fab_lane *l, const uint8_t *bytes, size_t len)
{
	struct ucx_port *p = ucx_port_of(fab_lane_port(l));
	struct fab_piece *piece;
	struct ucx_ask ask;

	if (len != sizeof(ask))
		return;
	memcpy(&ask, bytes, sizeof(ask));
	if (ask.what == UCX_WANT)
		on_want(l, &ask);
	piece = ask.what == UCX_DENY ? find_piece(p, ask.piece, l->key) : NULL;
	if (piece) {
		unwant(p, piece);
		piece_ends(piece, UCS_ERR_REJECTED);
	}
}

/* ---- buffers that peers may ask for ---- */

void *ucx_reg(struct fab_port *base, void *addr, size_t len, unsigned access)
{
	struct ucx_port *p = ucx_port_of(base);
	struct ucx_reg *reg = wf_calloc(1, sizeof(*reg));

	(void)access;
	if (!reg)
		return NULL;
	*reg = (struct ucx_reg){ .port = p, .addr = (uintptr_t)addr, .len = len };
	if (wf_random(&reg->id, sizeof(reg->id)) || wf_map_find(&p->regs, reg->id) || wf_map_insert(&p->regs, reg->id, reg)) {
		wf_free(reg);
		return NULL;
	}
	return reg;
}

void ucx_unreg(void *lent)
{
	struct ucx_reg *reg = lent;

	wf_map_remove(&reg->port->regs, reg->id);
	reg->dead = true;
	if (!reg->flying)
		wf_free(reg);
}

bool ucx_is_quiet(void *lent)
{
	return !((struct ucx_reg *)lent)->flying;
}

void ucx_tell(struct fab_port *p, void *lent, void *addr, struct fab_far *out)
{
	(void)p;
	out->addr = (uintptr_t)addr;
	out->key = ((struct ucx_reg *)lent)->id;
}
