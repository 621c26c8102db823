/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_ep.c - the endpoint of a port: opening and closing what libfabric needs for it, its buffers, registrations, the
 * addresses of peers, and its completion queue.
 */
#include "transports/ofi/ofi.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"

#define CQ_LEN 4096u
#define CQ_ROUNDS 4                      /* batches of completions in one poll() */
#define FLUSH_NS (50 * WF_NS_PER_MS)     /* at the end of a port: for frames that are on their way out */
#define IDLE_PEERS 32u
#define FLUSH_READS 64                   /* ... and at least so many times, for those that tell nothing (inject) */

/* ---- registrations ---- */

void ofi_unreg(struct fid_mr **mr)
{
	if (*mr)
		(*mr)->fid.ops->close(&(*mr)->fid);
	*mr = NULL;
}

static struct fid_mr *reg_once(struct ofi_port *p, const void *addr, size_t len, uint64_t access, uint64_t key)
{
	struct fid_mr *mr = NULL;

	if (p->domain->mr->reg(&p->domain->fid, addr, len, access, 0, key, 0, &mr, NULL))
		return NULL;
	if (p->reg_ep && (mr->fid.ops->bind(&mr->fid, &p->ep->fid, 0) || mr->fid.ops->control(&mr->fid, FI_ENABLE, NULL)))
		ofi_unreg(&mr);
	return mr;
}

struct fid_mr *ofi_reg(struct ofi_port *p, const void *addr, size_t len, uint64_t access)
{
	struct fid_mr *mr = NULL;
	uint64_t key = 0;

	if (p->prov_key)
		return reg_once(p, addr, len, access, 0);
	for (int tries = 0; tries < 4 && !mr; tries++) {   /* ours to choose: not to be guessed, where it has room for that */
		if (p->key_mask != UINT64_MAX || wf_random(&key, sizeof(key)))
			key = p->next_key++;
		mr = reg_once(p, addr, len, access, key & p->key_mask);
	}
	return mr;
}

/* ---- addresses ---- */

struct ofi_peer *ofi_peer_get(struct ofi_port *p, const void *name, size_t len)
{
	struct wf_list *it, *tmp;
	struct ofi_peer *peer;

	wf_list_foreach(it, tmp, &p->peers) {
		peer = wf_list_entry(it, struct ofi_peer, link);
		if (peer->len == len && !memcmp(peer->name, name, len)) {
			p->n_idle -= !peer->lanes;
			peer->lanes++;
			return peer;
		}
	}
	peer = wf_calloc(1, sizeof(*peer));
	if (!peer)
		return NULL;
	peer->len = (uint8_t)len;
	peer->lanes = 1;
	memcpy(peer->name, name, len);
	if (p->is_shm ? !ofi_shm_insert(p, peer) : p->av->ops->insert(p->av, peer->name, 1, &peer->at, 0, NULL) != 1) {
		wf_free(peer);
		return NULL;
	}
	wf_list_push_back(&p->peers, &peer->link);
	return peer;
}

static void peer_free(struct ofi_port *p, struct ofi_peer *peer)
{
	wf_list_remove(&peer->link);
	if (p->is_shm)
		ofi_shm_remove(p, peer);
	else
		p->av->ops->remove(p->av, &peer->at, 1, 0);
	wf_free(peer);
}

/*
 * An address that nobody needs any more stays in the vector for a while: last frames of its lanes may still be on their way
 * out, without a completion that would tell (inject), and its own may be on their way in, which the provider shm
 * reads by the address of the sender (G72). The oldest such go when there are many.
 */
void ofi_peer_put(struct ofi_port *p, struct ofi_peer *peer)
{
	struct wf_list *it, *tmp;

	if (--peer->lanes)
		return;
	wf_list_remove(&peer->link);
	wf_list_push_back(&p->peers, &peer->link);
	p->n_idle++;
	wf_list_foreach(it, tmp, &p->peers) {
		struct ofi_peer *old = wf_list_entry(it, struct ofi_peer, link);

		if (p->n_idle <= IDLE_PEERS)
			break;
		if (old->lanes || old->busy)
			continue;
		p->n_idle--;
		peer_free(p, old);
	}
}

/* ---- buffers ---- */

static struct ofi_buf *buf_new(struct ofi_port *p, uint64_t access)
{
	struct ofi_buf *b = wf_alloc_aligned(WF_CACHELINE, sizeof(*b));

	if (!b)
		return NULL;
	memset(b, 0, offsetof(struct ofi_buf, data));
	wf_list_init(&b->link);
	if (p->reg_local && !(b->mr = ofi_reg(p, b->data, sizeof(b->data), access))) {
		wf_free(b);
		return NULL;
	}
	return b;
}

static void buf_free(struct ofi_buf *b)
{
	ofi_unreg(&b->mr);
	wf_free(b);
}

void ofi_rx_free(struct ofi_port *p, struct ofi_buf *b)
{
	wf_list_remove(&b->link);
	if (p->n_rx > p->rx_want + OFI_WINDOW) {
		p->n_rx--;
		buf_free(b);
		return;
	}
	wf_list_push_front(&p->rx_spare, &b->link);
}

static struct ofi_buf *rx_new(struct ofi_port *p)
{
	struct ofi_buf *b = buf_new(p, FI_RECV);

	if (!b)
		return NULL;
	b->op.done = ofi_rx_done;
	p->n_rx++;
	return b;
}

void ofi_rx_fill(struct ofi_port *p)
{
	while (p->open && p->n_posted < p->rx_want) {
		struct wf_list *it = wf_list_pop_front(&p->rx_spare);
		struct ofi_buf *b = it ? wf_list_entry(it, struct ofi_buf, link) : rx_new(p);

		if (!b)
			break;           /* fewer will do; those that come back are posted again */
		if (p->ep->msg->recv(p->ep, b->data, sizeof(b->data), b->mr ? b->mr->mem_desc : NULL, FI_ADDR_UNSPEC, &b->op)) {
			wf_list_push_front(&p->rx_spare, &b->link);
			break;
		}
		wf_list_push_back(&p->rx_posted, &b->link);
		p->n_posted++;
	}
}

static void tx_done(struct ofi_port *p, struct ofi_op *op, size_t len, int err)
{
	struct ofi_buf *b = wf_container_of(op, struct ofi_buf, op);
	struct ofi_lane *l = b->lane;

	(void)len;
	ofi_tx_put(p, b);
	if (err && l)
		ofi_broke(l, err, "sending");
}

struct ofi_buf *ofi_tx_get(struct ofi_port *p)
{
	struct wf_list *it = wf_list_pop_front(&p->tx_free);
	struct ofi_buf *b;

	if (it)
		return wf_list_entry(it, struct ofi_buf, link);
	if (p->n_tx >= OFI_TX_MAX)
		return NULL;
	b = buf_new(p, FI_SEND);
	if (!b)
		return NULL;
	b->op.done = tx_done;
	p->n_tx++;
	return b;
}

void ofi_tx_put(struct ofi_port *p, struct ofi_buf *b)
{
	wf_list_remove(&b->link);
	if (b->peer) {
		b->peer->busy--;
		p->n_sent--;
	}
	b->peer = NULL;
	b->lane = NULL;
	wf_list_push_front(&p->tx_free, &b->link);
}

static void free_list(struct wf_list *list)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(list)))
		buf_free(wf_list_entry(it, struct ofi_buf, link));
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
	snprintf(p->words, sizeof(p->words), "%s%s%s", p->lib->strerror(e.err), more && *more ? ": " : "", more ? more : "");
	if (e.op_context) {
		struct ofi_op *op = e.op_context;

		op->done(p, op, 0, e.err ? e.err : FI_EAVAIL);
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
			struct ofi_op *op = e[i].op_context;

			if (op)
				op->done(p, op, e[i].len, 0);
		}
		all += n > 0 ? (int)n : 0;
		if (n < OFI_CQ_BATCH)
			break;
	}
	if (all)
		ofi_rx_fill(p);
	return all;
}

/* ---- opening ---- */

static void on_fd(void *arg, uint32_t events)
{
	(void)arg, (void)events;         /* it only wakes the worker, which then polls */
}

void ofi_watch_init(struct ofi_port *p)
{
	wf_watch_init(&p->watch, on_fd, p);
}

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
		p->name_len = sizeof(p->name);
		ret = p->ep->cm->getname(&p->ep->fid, p->name, &p->name_len);
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
		return wf_poll_add(p->base.poll, &p->watch, p->fd, EPOLLIN);
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

	p->reg_local = d->mr_mode & FI_MR_LOCAL;
	p->reg_ep = d->mr_mode & FI_MR_ENDPOINT;
	p->virt_addr = d->mr_mode & FI_MR_VIRT_ADDR;
	p->prov_key = d->mr_mode & FI_MR_PROV_KEY;
	p->key_mask = d->mr_key_size >= 8 ? UINT64_MAX : (1ull << (8 * d->mr_key_size)) - 1;
	p->next_key = 1;
	p->reads = (p->info->caps & FI_RMA) && d->mr_key_size <= 8 && p->ep->rma;
	p->inject = WF_MIN(p->info->tx_attr->inject_size, OFI_INJECT);
}

int ofi_ep_open(struct ofi_port *p, char *why, size_t cap)
{
	char remedy[160] = "";
	const char *what = NULL;
	int ret;

	if (p->open)
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
	p->open = true;
	p->rx_want = (uint32_t)WF_MIN(OFI_RX_SPARE + OFI_WINDOW, p->info->rx_attr->size);
	ofi_rx_fill(p);
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

	for (int i = 0; i < FLUSH_READS || (p->n_sent && wf_now_ns() < until); i++) {
		ssize_t n = p->cq->ops->read(p->cq, e, OFI_CQ_BATCH);

		if (n == -FI_EAVAIL)
			read_error(p);
		for (ssize_t k = 0; k < n; k++) {
			struct ofi_op *op = e[k].op_context;

			if (op && op->done == tx_done)
				op->done(p, op, 0, 0);
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
	free_list(&e->bufs);
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
	wf_list_splice_back(&e->bufs, &p->rx_spare);
	wf_list_splice_back(&e->bufs, &p->rx_posted);
	wf_list_splice_back(&e->bufs, &p->tx_free);
	wf_list_splice_back(&e->bufs, &p->tx_sent);
	p->spare = NULL;
	if (p->is_shm)
		ofi_shm_close(p, e);
	else
		ofi_engine_close(e);
}

void ofi_ep_close(struct ofi_port *p)
{
	struct wf_list *it;

	if (p->open)
		flush(p);
	p->open = false;
	wf_poll_del(p->base.poll, &p->watch);
	while ((it = wf_list_first(&p->peers)))
		peer_free(p, wf_list_entry(it, struct ofi_peer, link));
	if (p->spare)
		let_go(p);
	p->ep = NULL;
	p->cq = NULL;
	p->av = NULL;
	p->domain = NULL;
	p->fabric = NULL;
	p->info = NULL;
	p->n_rx = p->n_posted = p->n_tx = p->n_sent = p->n_idle = 0;
}

void ofi_ep_cut(struct ofi_port *p)
{
	const struct wf_map_row *row;
	size_t at = 0;

	p->cut = false;
	ofi_moves_cut(p);
	while ((row = wf_map_next(&p->by_key, &at))) {
		struct ofi_lane *l = row->value;

		ofi_fail(l, WEFT_ERESET, 0, "the endpoint was closed, as the provider did not end an operation with the peer");
		ofi_lane_lent_quiet(l);
		ofi_held_drop(l);
		l->peer = NULL;
	}
	ofi_ep_close(p);
	p->chores = true;
}
