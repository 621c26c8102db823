/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_ep.c - the endpoint of a port: opening and closing what libfabric needs for it, its receive buffers, and its completion
 * queue.
 */
#include "transports/ofi/ofi.h"

#include <errno.h>
#include <stdio.h>

#include "base/fault.h"

#define CQ_LEN 4096u
#define CQ_ROUNDS 4                      /* batches of completions in one poll() */
#define FLUSH_NS (50 * WF_NS_PER_MS)     /* at the end of a port: for frames that are on their way out */
#define FLUSH_READS 64                   /* ... and at least so many times, for those that tell nothing (inject) */

/* ---- receive buffers ---- */

void ofi_rx_fill(struct fab_port *base)
{
	struct ofi_port *p = ofi_port_of(base);

	while (base->open && p->n_posted < base->rx_want) {
		struct fab_buf *b = fab_rx_get(base);
		struct fid_mr *mr = b ? b->reg : NULL;

		if (!b)
			break;           /* fewer will do; those that come back are posted again */
		if (p->ep->msg->recv(p->ep, b->data, sizeof(b->data), mr ? mr->mem_desc : NULL, FI_ADDR_UNSPEC, &b->op)) {
			wf_list_push_front(&base->rx_spare, &b->link);
			break;
		}
		b->op.done = ofi_rx_done;
		wf_list_push_back(&p->posted, &b->link);
		p->n_posted++;
	}
}

void ofi_rx_done(struct fab_port *base, struct fab_op *op, size_t len, int err)
{
	struct fab_buf *b = wf_container_of(op, struct fab_buf, op);

	wf_list_remove(&b->link);
	ofi_port_of(base)->n_posted--;
	b->len = err ? 0 : (uint32_t)WF_MIN(len, sizeof(b->data));   /* too short for anything: it is dropped */
	fab_came(base, b);
}

/* ---- completions ---- */

static void read_error(struct ofi_port *p)
{
	struct fi_cq_err_entry e = { 0 };
	char text[100] = "";
	const char *more;

	if (p->cq->ops->readerr(p->cq, &e, 0) != 1)
		return;
	more = p->cq->ops->strerror(p->cq, e.prov_errno, e.err_data, text, sizeof(text));
	snprintf(p->fab.words, sizeof(p->fab.words), "%s%s%s", p->lib->strerror(e.err), more && *more ? ": " : "", more ? more : "");
	if (e.op_context) {
		struct fab_op *op = e.op_context;

		op->done(&p->fab, op, 0, e.err ? e.err : FI_EAVAIL);
	}
}

int ofi_cq_run(struct ofi_port *p)
{
	struct fi_cq_msg_entry e[OFI_CQ_BATCH];
	int all = 0;

	for (int round = 0; round < CQ_ROUNDS; round++) {
		ssize_t n = p->cq->ops->read(p->cq, e, OFI_CQ_BATCH);

		if (n == -FI_EAVAIL) {
			read_error(p);
			all++;
			continue;
		}
		for (ssize_t i = 0; i < n; i++) {
			struct fab_op *op = e[i].op_context;

			if (op)
				op->done(&p->fab, op, e[i].len, 0);
		}
		all += n > 0 ? (int)n : 0;
		if (n < OFI_CQ_BATCH)
			break;
	}
	if (all)
		ofi_rx_fill(&p->fab);
	return all;
}

/* ---- opening ---- */

static int bind_all(struct ofi_port *p, const char **what)
{
	int ret;

	*what = "binding the completion queue";
	ret = p->ep->fid.ops->bind(&p->ep->fid, &p->cq->fid, FI_TRANSMIT | FI_RECV);
	if (!ret) {
		*what = "binding the address vector";
		ret = p->ep->fid.ops->bind(&p->ep->fid, &p->av->fid, 0);
	}
	if (!ret) {
		*what = "enabling the endpoint";
		ret = p->ep->fid.ops->control(&p->ep->fid, FI_ENABLE, NULL);
	}
	if (!ret) {
		*what = "asking for its address";
		p->fab.name = p->name;
		p->fab.name_len = sizeof(p->name);
		ret = p->ep->cm->getname(&p->ep->fid, p->name, &p->fab.name_len);
	}
	return ret;
}

/* With a descriptor to sleep on, where the provider has one. */
static int open_cq(struct ofi_port *p)
{
	struct fi_cq_attr attr = { .size = CQ_LEN, .format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD };
	int ret = p->domain->ops->cq_open(p->domain, &attr, &p->cq, NULL);

	p->fd = -1;
	if (!ret)
		ret = p->cq->fid.ops->control(&p->cq->fid, FI_GETWAIT, &p->fd);
	if (!ret && p->fd >= 0)
		return wf_poll_add(p->fab.base.poll, &p->watch, p->fd, EPOLLIN);
	if (p->cq)
		p->cq->fid.ops->close(&p->cq->fid);
	p->cq = NULL;
	p->fd = -1;
	attr.wait_obj = FI_WAIT_NONE;
	return p->domain->ops->cq_open(p->domain, &attr, &p->cq, NULL);
}

static int open_all(struct ofi_port *p, const char **what)
{
	struct fi_av_attr av = { .type = p->info->domain_attr->av_type, .count = 64 };
	int ret;

	*what = "opening the fabric";
	ret = p->lib->fabric(p->info->fabric_attr, &p->fabric, NULL);
	if (!ret) {
		*what = "opening the domain";
		ret = p->fabric->ops->domain(p->fabric, p->info, &p->domain, NULL);
	}
	if (!ret) {
		*what = "opening an address vector";
		ret = p->domain->ops->av_open(p->domain, &av, &p->av, NULL);
	}
	if (!ret) {
		*what = "opening a completion queue";
		ret = open_cq(p);
	}
	if (!ret) {
		*what = "opening an endpoint";
		ret = p->domain->ops->endpoint(p->domain, p->info, &p->ep, NULL);
	}
	return ret ? ret : bind_all(p, what);
}

static void learn(struct ofi_port *p)
{
	const struct fi_domain_attr *d = p->info->domain_attr;

	p->fab.reg_local = d->mr_mode & FI_MR_LOCAL;
	p->reg_ep = d->mr_mode & FI_MR_ENDPOINT;
	p->virt_addr = d->mr_mode & FI_MR_VIRT_ADDR;
	p->prov_key = d->mr_mode & FI_MR_PROV_KEY;
	p->key_mask = d->mr_key_size >= 8 ? UINT64_MAX : (1ull << (8 * d->mr_key_size)) - 1;
	p->next_key = 1;
	p->fab.reads = (p->info->caps & FI_RMA) && d->mr_key_size <= 8 && p->ep->rma;
	p->fab.mute = p->is_shm;
	p->fab.inject = WF_MIN(p->info->tx_attr->inject_size, FAB_INJECT);
	p->fab.msg_max = p->info->ep_attr->max_msg_size;
	p->fab.rx_limit = WF_MIN(OFI_RX_MAX, p->info->rx_attr->size);
	p->fab.kind = p->fab.over = p->info->fabric_attr->prov_name;
}

int ofi_ep_open(struct fab_port *base, char *why, size_t cap)
{
	struct ofi_port *p = ofi_port_of(base);
	char remedy[160] = "";
	const char *what = NULL;
	int ret;

	if (base->open)
		return 0;
	p->spare = wf_calloc(1, sizeof(*p->spare));
	p->info = p->spare ? ofi_choose(p->lib, why, cap, remedy, sizeof(remedy)) : NULL;
	if (!p->info) {
		wf_free(p->spare);
		p->spare = NULL;
		return WEFT_ENOTSUP;
	}
	p->is_shm = !strcmp(p->info->fabric_attr->prov_name, "shm");
	ret = open_all(p, &what);
	if (!ret && p->is_shm && !ofi_shm_enter(p)) {
		what = "keeping its name";
		ret = -ENOMEM;
	}
	if (ret) {
		snprintf(why, cap, "%s of provider %s: %s", what, p->info->fabric_attr->prov_name,
			 p->lib->strerror(ret < 0 ? -ret : ret));
		ofi_ep_close(p);
		return WEFT_ESYSTEM;
	}
	learn(p);
	base->open = true;
	base->rx_want = (uint32_t)WF_MIN(FAB_RX_SPARE + FAB_WINDOW, base->rx_limit);
	ofi_rx_fill(base);
	if (p->n_posted)
		return 0;
	snprintf(why, cap, "provider %s takes no receive buffer", p->info->fabric_attr->prov_name);
	ofi_ep_close(p);
	return WEFT_ESYSTEM;
}

/* ---- closing ---- */

/* The last words of closed lanes are still on their way: nobody turns this port after us. */
static void flush(struct ofi_port *p)
{
	uint64_t until = wf_now_ns() + FLUSH_NS;
	struct fi_cq_msg_entry e[OFI_CQ_BATCH];

	for (int i = 0; i < FLUSH_READS || (p->fab.n_sent && wf_now_ns() < until); i++) {
		ssize_t n = p->cq->ops->read(p->cq, e, OFI_CQ_BATCH);

		if (n == -FI_EAVAIL)
			read_error(p);
		for (ssize_t k = 0; k < n; k++) {
			struct fab_op *op = e[k].op_context;

			if (op && op->done == fab_tx_done)
				op->done(&p->fab, op, 0, 0);
		}
	}
}

static void close_fid(void *object)
{
	struct fid *fid = object;

	if (fid)
		fid->ops->close(fid);
}

void ofi_engine_close(struct ofi_engine *e)
{
	close_fid(e->ep);
	fab_bufs_free(&ofi_engine, &e->bufs);
	close_fid(e->cq);
	close_fid(e->av);
	close_fid(e->domain);
	close_fid(e->fabric);
	if (e->info)
		e->lib->freeinfo(e->info);
	wf_free(e);
}

/* All that the provider may still look at goes with the endpoint, which may live on for a while (ofi_shm.c). */
static void let_go(struct ofi_port *p)
{
	struct ofi_engine *e = p->spare;

	*e = (struct ofi_engine){ p->lib, p->info, p->fabric, p->domain, p->av, p->cq, p->ep, { NULL, NULL } };
	wf_list_init(&e->bufs);
	wf_list_splice_back(&e->bufs, &p->fab.rx_spare);
	wf_list_splice_back(&e->bufs, &p->posted);
	wf_list_splice_back(&e->bufs, &p->fab.tx_free);
	wf_list_splice_back(&e->bufs, &p->fab.tx_sent);
	p->spare = NULL;
	if (p->is_shm)
		ofi_shm_close(p, e);
	else
		ofi_engine_close(e);
}

void ofi_ep_close(struct ofi_port *p)
{
	if (p->fab.open)
		flush(p);
	p->fab.open = false;
	wf_poll_del(p->fab.base.poll, &p->watch);
	ofi_peers_free(p);
	if (p->spare)
		let_go(p);
	p->ep = NULL;
	p->cq = NULL;
	p->av = NULL;
	p->domain = NULL;
	p->fabric = NULL;
	p->info = NULL;
	p->n_posted = p->n_idle = 0;
	p->fab.n_rx = p->fab.n_tx = p->fab.n_sent = 0;
}

void ofi_ep_cut(struct ofi_port *p)
{
	p->cut = false;
	fab_cut(&p->fab, "the endpoint was closed, as the provider did not end an operation with the peer");
	ofi_ep_close(p);
}
