/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi.c - the table of rows, the port's turn and its sleep. The model is told in ofi.h.
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
#define STUCK_NS (200 * WF_NS_PER_US)

static int ofi_open(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(base);
	struct wf_list *lists[] = { &p->peers, &p->starved, &p->due, &p->again, &p->notices, &p->timed, &p->moves, &p->ended,
				    &p->rx_spare, &p->rx_posted, &p->tx_free, &p->tx_sent };
	char why[160] = "", remedy[160] = "";

	p->lib = ofi_lib(why, sizeof(why), remedy, sizeof(remedy));
	if (!p->lib)
		return wf_fail(WEFT_ENOTSUP, 0, "ofi", remedy, "%s", why);
	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	wf_map_init(&p->by_key);
	wf_pool_init(&p->pieces, sizeof(struct ofi_piece), 0);
	wf_pool_init(&p->move_pool, sizeof(struct ofi_move), 0);
	ofi_watch_init(p);
	p->nap_ns = NAP_MIN_NS;
	return 0;
}

static void ofi_close(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(base);

	ofi_ep_close(p);
	ofi_moves_drop(p);
	wf_port_wake_at(base, 0);
	wf_pool_fini(&p->pieces);
	wf_pool_fini(&p->move_pool);
	wf_map_fini(&p->by_key);
}

static __attribute__((noinline)) int chores(struct ofi_port *p)
{
	int n;

	p->stuck = false;
	n = ofi_lanes_serve(p);
	n += ofi_moves_step(p);
	ofi_rx_fill(p);
	p->chores = !wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->timed) || !wf_list_is_empty(&p->due) ||
		    !wf_list_is_empty(&p->again) || !wf_list_is_empty(&p->starved) || !wf_list_is_empty(&p->moves) ||
		    !wf_list_is_empty(&p->ended);
	return n;
}

static int ofi_poll(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(base);
	int n = p->open ? ofi_cq_run(p) : 0;

	if (p->chores)
		n += chores(p);
	if (n)
		p->nap_ns = NAP_MIN_NS;
	return n;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && a < b ? a : b;
}

static int ofi_arm(struct wf_port *base)
{
	struct ofi_port *p = ofi_port_of(base);
	uint64_t now, at = 0;
	struct wf_list *it, *tmp;
	struct fid *fid;

	if (!wf_list_is_empty(&p->notices) || !wf_list_is_empty(&p->ended))
		return WEFT_AGAIN;
	if (!p->open)
		return WEFT_OK;
	now = wf_now_ns();
	wf_list_foreach(it, tmp, &p->timed)
		at = earlier(at, wf_list_entry(it, struct ofi_lane, timed)->deadline);
	if (p->stuck || !wf_list_is_empty(&p->again) || !wf_list_is_empty(&p->due) || !wf_list_is_empty(&p->timed))
		at = earlier(at, now + STUCK_NS);
	if (p->fd < 0) {
		at = earlier(at, now + p->nap_ns);
		p->nap_ns = WF_MIN(2 * p->nap_ns, NAP_MAX_NS);
	} else {
		fid = &p->cq->fid;
		if (p->fabric->ops->trywait(p->fabric, &fid, 1))
			return WEFT_AGAIN;
	}
	wf_port_wake_at(base, at);
	return WEFT_OK;
}

static void ofi_disarm(struct wf_port *base)
{
	wf_port_wake_at(base, 0);
}

static void ofi_resume(struct wf_lane *base)
{
	struct ofi_lane *l = ofi_lane_of(base);

	if (!wf_list_is_empty(&l->held))
		ofi_due(l, OFI_DUE_DELIVER);
}

static void ofi_describe(const struct wf_lane *base, char *out, size_t cap)
{
	const struct ofi_port *p = ofi_port_of(base->port);
	uint32_t version = p->lib->version();

	if (!p->open) {
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
	.eager_max = OFI_EAGER,
	.port_size = sizeof(struct ofi_port),
	.lane_size = sizeof(struct ofi_lane),
	.probe = ofi_probe,
	.open = ofi_open,
	.close = ofi_close,
	.offer = ofi_offer,
	.attach = ofi_attach,
	.abandon = ofi_abandon,
	.lane_close = ofi_lane_close,
	.send = ofi_send,
	.resume = ofi_resume,
	.copy_offer = ofi_copy_offer,
	.copy_start = ofi_copy_start,
	.copy_stop = ofi_copy_stop,
	.copy_end = ofi_copy_end,
	.mem_offer = ofi_mem_offer,
	.mem_retract = ofi_mem_retract,
	.mem_open = ofi_mem_open,
	.mem_close = ofi_mem_close,
	.rma_start = ofi_rma_start,
	.poll = ofi_poll,
	.arm = ofi_arm,
	.disarm = ofi_disarm,
	.describe = ofi_describe,
};
