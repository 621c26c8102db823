/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ucx_ep.c - the worker of a port, and the endpoints of its lanes: made and closed.
 *
 * Of two that connect to each other the second takes up the first one's connection, and UCX's tcp ends the process when that has been
 * reset before (G98). So one is made in poll(), when UCX has nothing left to progress and has seen what has failed; and one
 * whose lane never came up is not closed before the peer has heard of that.
 *
 * An endpoint of a lane that is closed may have frames on their way out. It is flushed, and closed by force after that. One that
 * cannot be closed by force lives on in UCX until the worker ends: to close it otherwise waits for its peer, maybe for ever.
 */
#include "transports/ucx/ucx.h"

#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"

#define PIECE_MAX  (1u << 30)
#define LAST_TURNS 64                    /* of UCX's, before its worker is destroyed */

/* Without force a worker cannot be ended while a message waits in UCX for a peer that is gone (end_worker()). A window of these
 * mostly has room in the queue of its receiver: 64 places of 8 KiB in shared memory. */
#define SHORT_MAX 8192u

/* ---- closing an endpoint ---- */

static void peer_drop(struct ucx_peer *r)
{
	wf_list_remove(&r->link);
	wf_free(r);
}

void ucx_landed(void *peer)
{
	struct ucx_peer *r = peer;

	if (--r->busy || r->lane || r->ep)
		return;
	peer_drop(r);
}

static void on_closed(void *request, ucs_status_t status, void *user)
{
	struct ucx_port *p = user;

	(void)status;
	p->lib->request_free(request);
	p->n_closing--;
}

static void close_ep(struct ucx_port *p, ucp_ep_h ep)
{
	struct ucp_request_param param = {
		.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
		.flags = UCP_EP_CLOSE_FLAG_FORCE,
		.cb.send = on_closed,
		.user_data = p,
	};
	ucs_status_ptr_t request = p->lib->ep_close(ep, &param);

	if (request && !ucx_is_err(request))
		p->n_closing++;
}

/* All that UCX has in hand for it ends. @r may be gone afterwards. */
static void shut(struct ucx_peer *r)
{
	ucp_ep_h ep = r->ep;

	r->ep = NULL;
	if (r->until)
		r->port->n_leaving--;
	r->until = 0;
	if (r->joining)
		r->port->n_joining--;
	r->joining = false;
	r->busy++;
	ucx_want_no_more(r, UCS_ERR_CANCELED);
	if (ep && r->forces)
		close_ep(r->port, ep);
	ucx_landed(r);
}

void ucx_hush(struct fab_lane *l)
{
	struct ucx_peer *r = l->peer;

	if (r)
		shut(r);
}

static void on_flushed(void *request, ucs_status_t status, void *user)
{
	struct ucx_peer *r = user;

	(void)status;
	r->port->lib->request_free(request);
	if (r->until)
		r->until = 1;            /* its time is over */
	ucx_landed(r);
}

static void leave(struct ucx_peer *r)
{
	r->until = wf_now_ns() + UCX_LEAVE_NS;
	r->port->n_leaving++;
}

void ucx_part(struct fab_lane *l)
{
	struct ucp_request_param param = { .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA, .cb.send = on_flushed };
	struct ucx_peer *r = l->peer;
	struct ucx_port *p = r->port;
	ucs_status_ptr_t request = NULL;

	r->lane = NULL;
	l->peer = NULL;
	param.user_data = r;
	if (r->ep && r->forces && !l->base.up) {
		leave(r);                /* the peer may be about to connect to it */
		return;
	}
	if (r->ep && r->forces)
		request = p->lib->ep_flush(r->ep, &param);
	if (!request || ucx_is_err(request)) {
		shut(r);
		return;
	}
	r->busy++;
	leave(r);
}

void ucx_leave(struct ucx_port *p, uint64_t now)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->peers) {
		struct ucx_peer *r = wf_list_entry(it, struct ucx_peer, link);

		if (r->until && r->until <= now)
			shut(r);
	}
}

/* ---- making one ---- */

static void on_error(void *arg, ucp_ep_h ep, ucs_status_t status)
{
	struct ucx_peer *r = arg;
	struct fab_lane *l = r->lane;

	(void)ep;
	if (!l)
		return;
	ucx_said(r->port->fab.words, sizeof(r->port->fab.words));
	fab_broke(l, -status, "the connection");
	ucx_want_no_more(r, status);
}

static ucs_status_t create(struct ucx_peer *r, int err_mode)
{
	struct ucp_ep_params params = {
		.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER,
		.address = (const struct ucp_address *)(const void *)r->name,
		.err_mode = err_mode,
		.err_handler = { on_error, r },
	};

	return r->port->lib->ep_create(r->port->worker, &params, &r->ep);
}

static void connect_one(struct ucx_peer *r)
{
	struct wf_lane *l = &r->lane->base;
	ucs_status_t ret;
	char words[160];

	r->forces = !create(r, UCP_ERR_HANDLING_MODE_PEER);
	ret = r->forces ? UCS_OK : create(r, UCP_ERR_HANDLING_MODE_NONE);
	ucx_said(words, sizeof(words));
	if (ret) {
		r->ep = NULL;
		fab_fail(r->lane, WEFT_EUNREACHABLE, 0, "UCX cannot reach the peer: %s", words[0] ? words : r->port->lib->status_string(ret));
		return;
	}
	if (r->forces)
		return;
	l->can_copy = false;
	l->frame_max = WF_MIN(l->frame_max, SHORT_MAX - (uint32_t)FAB_HEAD);
	l->eager_max = WF_MIN(l->eager_max, l->frame_max);
}

void ucx_connect(struct ucx_port *p)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &p->peers) {
		struct ucx_peer *r = wf_list_entry(it, struct ucx_peer, link);

		if (!r->joining)
			continue;
		r->joining = false;
		p->n_joining--;
		connect_one(r);
		return;
	}
}

int ucx_join(struct fab_lane *l, const uint8_t *name, size_t len)
{
	struct ucx_port *p = ucx_port_of(fab_lane_port(l));
	struct ucx_peer *r = wf_calloc(1, sizeof(*r) + len);

	if (!r)
		return wf_fail(WEFT_ENOMEM, 0, "ucx", NULL, "no memory for an endpoint");
	r->port = p;
	r->lane = l;
	r->joining = true;
	memcpy(r->name, name, len);
	wf_list_push_back(&p->peers, &r->link);
	p->n_joining++;
	l->peer = r;
	snprintf(l->base.peer, sizeof(l->base.peer), "an address of %zu bytes", len);
	return 0;
}

/* ---- the worker ---- */

static ucs_status_t set_handler(struct ucx_port *p, unsigned id, ucp_am_recv_callback_t *cb)
{
	struct ucp_am_handler_param param = {
		.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS | UCP_AM_HANDLER_PARAM_FIELD_CB |
			      UCP_AM_HANDLER_PARAM_FIELD_ARG,
		.id = id,
		.flags = UCP_AM_FLAG_WHOLE_MSG,
		.cb = cb,
		.arg = p,
	};

	return p->lib->set_am_handler(p->worker, &param);
}

static ucs_status_t open_worker(struct ucx_port *p, int *fd, const char **what)
{
	struct ucp_worker_params params = { .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE, .thread_mode = UCS_THREAD_MODE_SERIALIZED };
	ucs_status_t ret;

	*what = "creating a worker";
	ret = p->lib->worker_create(p->context, &params, &p->worker);
	if (!ret) {
		*what = "setting handlers for messages";
		ret = set_handler(p, UCX_AM_MESSAGE, ucx_on_message);
	}
	if (!ret)
		ret = set_handler(p, UCX_AM_PIECE, ucx_on_piece);
	if (!ret) {
		*what = "asking for its address";
		ret = p->lib->worker_get_address(p->worker, &p->address, &p->fab.name_len);
	}
	if (!ret) {
		*what = "asking for its descriptor";
		ret = p->lib->worker_get_efd(p->worker, fd);
	}
	return ret;
}

int ucx_ep_open(struct fab_port *base, char *why, size_t cap)
{
	struct ucx_port *p = ucx_port_of(base);
	const char *what = NULL;
	char words[160];
	ucs_status_t ret;
	int fd = -1;

	if (base->open)
		return 0;
	p->context = ucx_context(p->lib, why, cap);
	if (!p->context)
		return WEFT_ENOTSUP;
	ret = open_worker(p, &fd, &what);
	ucx_said(words, sizeof(words));
	if (!ret && base->name_len > FAB_NAME_MAX) {
		what = "asking for its address";
		snprintf(words, sizeof(words), "it has %zu bytes, %u have room", base->name_len, FAB_NAME_MAX);
		ret = UCS_ERR_UNSUPPORTED;
	}
	if (!ret && wf_poll_add(base->base.poll, &p->watch, fd, EPOLLIN)) {
		what = "watching its descriptor";
		ret = UCS_ERR_NO_MEMORY;
	}
	if (ret) {
		snprintf(why, cap, "%s of UCX: %s", what, words[0] ? words : p->lib->status_string(ret));
		ucx_ep_close(p);
		return WEFT_ESYSTEM;
	}
	base->open = true;
	base->name = (const uint8_t *)p->address;
	base->reads = true;
	base->kind = base->over = "UCX";
	base->mute = true;               /* closing the endpoint ends them */
	base->msg_max = PIECE_MAX;
	base->rx_limit = FAB_RX_SPARE;   /* kept in spare: none are posted */
	return 0;
}

/* One more thing that n_closing counts, until all that UCX has to send by itself is out. */
static void flush_all(struct ucx_port *p)
{
	struct ucp_request_param param = { .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
					   .cb.send = on_closed, .user_data = p };
	ucs_status_ptr_t request = p->lib->worker_flush(p->worker, &param);

	if (request && !ucx_is_err(request))
		p->n_closing++;
}

/*
 * Nobody turns this port after us: last frames first, then the endpoints, then what UCX still has to say by itself. False: it
 * still has something in hand, and would end the process if its worker were destroyed.
 */
static bool wind_up(struct ucx_port *p)
{
	uint64_t until = wf_now_ns() + UCX_LEAVE_NS;
	struct wf_list *it, *tmp;

	while ((p->n_leaving || p->fab.n_sent) && wf_now_ns() < until) {
		p->lib->worker_progress(p->worker);
		ucx_leave(p, wf_now_ns());
	}
	wf_list_foreach(it, tmp, &p->peers)
		shut(wf_list_entry(it, struct ucx_peer, link));
	flush_all(p);
	until = wf_now_ns() + (p->fab.n_sent ? UCX_LEAVE_NS : UCX_END_NS);
	while ((p->n_closing || !wf_list_is_empty(&p->peers)) && wf_now_ns() < until)
		p->lib->worker_progress(p->worker);
	for (int i = 0; i < LAST_TURNS && p->lib->worker_progress(p->worker); i++)
		;                        /* what came since then, and what UCX answers by itself */
	return !p->n_closing && wf_list_is_empty(&p->peers);
}

static void end_worker(struct ucx_port *p)
{
	if (p->address)
		p->lib->worker_release_address(p->worker, p->address);
	if (p->worker)
		p->lib->worker_destroy(p->worker);
	if (p->context)
		p->lib->cleanup(p->context);
	fab_bufs_free(&ucx_engine, &p->fab.tx_sent);
}

void ucx_ep_close(struct ucx_port *p)
{
	char words[160];

	wf_poll_del(p->fab.base.poll, &p->watch);
	if (!p->fab.open || wind_up(p))
		end_worker(p);           /* else it stays, with the messages that it looks at */
	fab_bufs_free(&ucx_engine, &p->fab.rx_spare);
	fab_bufs_free(&ucx_engine, &p->fab.tx_free);
	p->fab.open = false;
	p->context = NULL;
	p->worker = NULL;
	p->address = NULL;
	ucx_said(words, sizeof(words));
}
