/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi.c - the table of rows, the engine, the port's turn and its sleep. The model is told in ofi.h.
 *
 * Sleep. Where the provider has a descriptor (FI_WAIT_FD) it hangs in the worker's set, and fi_trywait() says whether one may
 * sleep on it. Others (shm) cannot wake anybody: the worker then sleeps for short whiles only, which become longer as
 * long as nothing comes. The same is done while a provider has no room for something: nothing tells when it has.
 */
#include "transports/ofi/ofi.h"

#include <stdio.h>

#include "base/err.h"

#define NAP_MIN_NS (50 * WF_NS_PER_US)
#define NAP_MAX_NS (2 * WF_NS_PER_MS)

static int ofi_open(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(fab_port_of(base));
	char why[160] = "", remedy[160] = "";

	p->lib = ofi_lib(why, sizeof(why), remedy, sizeof(remedy));
	if (!p->lib)
		return wf_fail(WEFT_ENOTSUP, 0, "ofi", remedy, "%s", why);
	fab_init(&p->fab, &ofi_engine);
	wf_list_init(&p->peers);
	wf_list_init(&p->posted);
	wf_watch_init(&p->watch, fab_on_fd, p);
	p->nap_ns = NAP_MIN_NS;
	return 0;
}

static void ofi_close(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(fab_port_of(base));

	ofi_ep_close(p);
	fab_fini(&p->fab);
}

static int ofi_poll(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(fab_port_of(base));
	int n = p->fab.open ? ofi_cq_run(p) : 0;

	n += fab_chores(&p->fab);
	if (p->cut)
		ofi_ep_cut(p);
	if (n)
		p->nap_ns = NAP_MIN_NS;
	return n;
}

static int ofi_arm(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(fab_port_of(base));
	struct fid *fid;
	uint64_t at, nap;

	if (fab_has_news(&p->fab))
		return WEFT_AGAIN;
	if (!p->fab.open)
		return WEFT_OK;
	at = fab_wake_at(&p->fab);
	if (p->fd < 0) {
		nap = wf_now_ns() + p->nap_ns;
		at = at ? WF_MIN(at, nap) : nap;
		p->nap_ns = WF_MIN(2 * p->nap_ns, NAP_MAX_NS);
	} else {
		fid = &p->cq->fid;
		if (p->fabric->ops->trywait(p->fabric, &fid, 1))
			return WEFT_AGAIN;
	}
	wf_port_wake_at(base, at);
	return WEFT_OK;
}

/* ---- the engine ---- */

static const char *ofi_words(const struct fab_port *p, int err)
{
	return ((const struct ofi_port *)(const void *)p)->lib->strerror(err);
}

/* What libfabric's calls return, as engines say it. */
static int answer(struct fab_port *p, ssize_t ret)
{
	if (!ret)
		return 0;
	if (ret == -FI_EAGAIN)
		return FAB_FULL;
	p->words[0] = 0;
	return (int)-ret;
}

static int ofi_give(struct fab_lane *l, struct fab_buf *b, const void *bytes, size_t len)
{
	struct ofi_port *p = ofi_port_of(fab_lane_port(l));
	const struct fi_ops_msg *msg = p->ep->msg;
	struct ofi_peer *peer = l->peer;
	const struct fid_mr *mr = b ? b->reg : NULL;
	ssize_t ret;

	if (!b)
		return answer(&p->fab, msg->inject(p->ep, bytes, len, peer->at));
	ret = msg->send(p->ep, b->data, len, mr ? mr->mem_desc : NULL, peer->at, &b->op);
	if (!ret) {
		b->peer = peer;
		peer->busy++;
	}
	return answer(&p->fab, ret);
}

static int ofi_move(struct fab_port *base, struct fab_piece *piece, void *near, size_t len, void *reg, const struct fab_far *far)
{
	struct ofi_port *p = ofi_port_of(base);
	struct ofi_peer *peer = piece->move->lane->peer;
	struct iovec iov = { near, len };
	struct fi_rma_iov there = { far->addr, len, far->key };
	void *desc = reg ? ((struct fid_mr *)reg)->mem_desc : NULL;
	struct fi_msg_rma msg = { .msg_iov = &iov, .desc = &desc, .iov_count = 1, .addr = peer->at, .rma_iov = &there,
				  .rma_iov_count = 1, .context = &piece->op };
	ssize_t ret;

	/* What a flush reports must lie in the peer's memory, not only have left ours. */
	if (piece->move->write)
		ret = p->ep->rma->writemsg(p->ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE);
	else
		ret = p->ep->rma->readmsg(p->ep, &msg, FI_COMPLETION);
	if (!ret) {
		piece->peer = peer;
		peer->busy++;
	}
	return answer(base, ret);
}

/*
 * An adapter lets go with the registration; a dead process of this host does nothing; what a dead peer is sent hurts nobody. If
 * it is none of these, the endpoint is closed as soon as nobody else needs it.
 */
static bool ofi_let_go(struct fab_port *base, struct fab_move *m)
{
	struct ofi_port *p = ofi_port_of(base);

	if (base->reg_local || (m->lane->base.peer_left && (p->is_shm || m->write)))
		return true;
	p->cut = p->cut || fab_nobody_else(base);
	return false;
}

const struct fab_engine ofi_engine = {
	.name = "ofi",
	.kind_is = "libfabric's provider",
	.kind_remedy = "set FI_PROVIDER to the same on both sides",
	.open = ofi_ep_open,
	.fill = ofi_rx_fill,
	.words = ofi_words,
	.join = ofi_join,
	.part = ofi_part,
	.send = ofi_give,
	.move = ofi_move,
	.landed = ofi_landed,
	.reg = ofi_reg,
	.unreg = ofi_unreg,
	.tell = ofi_tell,
	.let_go = ofi_let_go,
};

/* ---- the transport ---- */

static void ofi_describe(const struct wf_lane *base, char *out, size_t cap)
{
	const struct ofi_port *p = ofi_port_of(fab_port_of(base->port));
	uint32_t version = p->lib->version();

	if (!p->fab.open) {
		snprintf(out, cap, "not open");
		return;
	}
	snprintf(out, cap, "libfabric %u.%u, provider %s on %s, %s%s", FI_MAJOR(version), FI_MINOR(version),
		 p->info->fabric_attr->prov_name, p->info->domain_attr->name ? p->info->domain_attr->name : "?",
		 base->can_copy ? "large messages are read by the receiver" : "frames only",
		 p->fd < 0 ? "; it wakes nobody: a sleeper looks every 2 ms" : "");
}

const struct wf_transport wf_ofi = {
	.name = "ofi",
	.caps = WF_CAP_ATTACH | WF_CAP_RDMA | WF_CAP_OPT_IN | WF_CAP_LATE,
	.eager_max = FAB_EAGER,
	.port_size = sizeof(struct ofi_port),
	.lane_size = sizeof(struct fab_lane),
	.probe = ofi_probe,
	.open = ofi_open,
	.close = ofi_close,
	.offer = fab_offer,
	.attach = fab_attach,
	.hear = fab_hear,
	.abandon = fab_abandon,
	.lane_close = fab_lane_close,
	.send = fab_send,
	.resume = fab_resume,
	.copy_offer = fab_copy_offer,
	.copy_start = fab_copy_start,
	.copy_stop = fab_copy_stop,
	.copy_end = fab_copy_end,
	.mem_offer = fab_mem_offer,
	.mem_retract = fab_mem_retract,
	.mem_open = fab_mem_open,
	.mem_close = fab_mem_close,
	.rma_start = fab_rma_start,
	.poll = ofi_poll,
	.arm = ofi_arm,
	.disarm = fab_disarm,
	.describe = ofi_describe,
};
