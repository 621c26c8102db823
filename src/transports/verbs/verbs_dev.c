/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_dev.c - ports of adapters: which there are, what makes one ready to carry something, its completion queues, and
 * what it says of itself afterwards (port down, addresses changed, adapter gone).
 *
 * A device is opened by each worker for itself, so that nothing of it is shared between threads. It is opened when the worker
 * makes its first offer, and takes memory only when its first queue pair is made. One that was lost is looked for again with later
 * offers, and every now and then for lanes that wait to be made again: when it is back it is opened as another, while lanes may still
 * hold on to what it was.
 */
#include "transports/verbs/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/mem.h"
#include "os/sock.h"

/* ---- which there are ---- */

/* 0: none stands there. */
static uint16_t pkey_at(const struct verbs_dev *d, int i)
{
	uint16_t key;

	return d->port->lib->query_pkey(d->ctx, d->number, i, &key) ? 0 : ntohs(key);
}

/* The partition that the setting names, among the @n places of the port's table; of two keys of it the full member's. */
static bool find_pkey(struct verbs_dev *d, int n)
{
	uint16_t want = (uint16_t)d->port->want.pkey;
	bool found = false;
	char have[80];
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		uint16_t key = pkey_at(d, i);

		if (!key)
			continue;
		if (at < sizeof(have))
			at += (size_t)snprintf(have + at, sizeof(have) - at, "%s0x%04x", at ? ", " : "", key);
		if ((key ^ want) & ~VERBS_PKEY_FULL || (found && !(key & VERBS_PKEY_FULL)))
			continue;
		found = true;
		d->pkey = key;
		d->pkey_index = (uint16_t)i;
	}
	if (!found)
		snprintf(d->why, sizeof(d->why), "%s: its port is not of the partition 0x%04x that the setting rdma names; it has %s", d->name, want,
			 at ? have : "none");
	return found;
}

/* Partition and class of its traffic. False: not as the setting wants it, and d->why. */
static bool read_partition(struct verbs_dev *d, int n)
{
	const struct wf_conf_rdma *want = &d->port->want;

	d->pkey = d->iwarp ? 0 : pkey_at(d, 0);
	d->pkey = d->pkey ? d->pkey : VERBS_PKEY_DEFAULT;   /* drivers that know no partitions */
	d->pkey_index = 0;
	if (d->link == IBV_LINK_LAYER_ETHERNET && want->sl > 7) {
		snprintf(d->why, sizeof(d->why), "%s: sl=%d of the setting rdma: on Ethernet it is a priority, 0 to 7", d->name, want->sl);
		return false;
	}
	return want->pkey < 0 || find_pkey(d, d->iwarp ? 0 : n);
}

/* Its state, addresses and MTU, as they are now; d->why says why it is not to be used. */
static void read_port(struct verbs_dev *d)
{
	bool active, fits;
	struct ibv_port_attr a;
	int ret = d->port->lib->query_port(d->ctx, d->number, &a);

	if (ret) {
		d->up = false;
		snprintf(d->why, sizeof(d->why), "%s: query_port: %s", d->name, strerror(ret));
		return;
	}
	d->why[0] = 0;
	active = a.state == IBV_PORT_ACTIVE;
	d->link = a.link_layer == IBV_LINK_LAYER_ETHERNET ? IBV_LINK_LAYER_ETHERNET : IBV_LINK_LAYER_INFINIBAND;
	if (d->iwarp)
		d->link = VERBS_LINK_IWARP;
	else if (d->cm && d->link == IBV_LINK_LAYER_INFINIBAND)
		d->link = VERBS_LINK_IPOIB;
	d->mtu = (uint8_t)a.active_mtu;
	while (d->port->want.mtu >= 0 && d->mtu > IBV_MTU_256 && 128 << d->mtu > d->port->want.mtu)
		d->mtu--;
	d->lid = a.lid;
	d->needs_grh = a.flags & IBV_QPF_GRH_REQUIRED;
	d->max_msg = a.max_msg_sz;
	verbs_gids_read(d, a.gid_tbl_len);
	fits = read_partition(d, a.pkey_tbl_len);
	d->up = active && fits;
	if (!active)
		snprintf(d->why, sizeof(d->why), "%s: its port is not active", d->name);
	else if (fits && !d->n_gid)
		snprintf(d->why, sizeof(d->why), "%s: it has no address (%s) that peers could reach%s", d->name,
			 d->iwarp ? "IP, of its network interface" : "GID", d->only_gid < 0 ? "" : " at the index that the setting rdma names");
}

static bool is_usable(const struct verbs_dev *d)
{
	return d->up && d->n_gid;
}

/* ---- the setting rdma: which devices (its words are in port->want) ---- */

struct wish {
	bool any;                        /* nothing was said of devices */
	bool named;
	int gid;                         /* -1: whichever suits */
};

static struct wish wish_for(const struct wf_conf *conf, const char *dev, unsigned port)
{
	struct wish w = { .any = true, .gid = -1 };
	const char *at = conf->rdma, *item;
	size_t len, name = strlen(dev);

	while ((item = wf_conf_list_next(&at, &len))) {
		const char *rest = item + name, *end = item + len;

		if (!wf_conf_rdma_is_device(item, len))
			continue;
		w.any = false;
		if (len < name || memcmp(item, dev, name) || (rest < end && *rest != ':'))
			continue;
		if (rest < end) {
			char *stop;

			if (strtoul(rest + 1, &stop, 10) != port)
				continue;
			if (stop < end && *stop == ':')
				w.gid = atoi(stop + 1);
		}
		w.named = true;
	}
	return w;
}

static void note(struct verbs_port *p, const char *why)
{
	size_t at = strlen(p->why);

	snprintf(p->why + at, sizeof(p->why) - at, "%s%s", at ? "; " : "", why);
}

static void close_dev(struct verbs_dev *d)
{
	wf_poll_del(d->port->base.poll, &d->async);
	if (d->ctx)
		d->port->lib->close_device(d->ctx);
	wf_free(d);
}

/* What it can do with memory that is not pinned. */
static uint32_t odp_of(struct ibv_context *ctx)
{
	struct ibv_device_attr_ex a = { .comp_mask = 0 };

	if (ibv_query_device_ex(ctx, &a) || !(a.odp_caps.general_caps & IBV_ODP_SUPPORT))
		return 0;
	return a.odp_caps.per_transport_caps.rc_odp_caps;
}

static void on_async(void *arg, uint32_t events);
static void on_completion(void *arg, uint32_t events);

/* One port of @dev, opened, and heard of what becomes of it; maybe not usable now. NULL: it cannot be opened. Why is said in p->why. */
static struct verbs_dev *open_port(struct verbs_port *p, struct ibv_device *dev, unsigned number, const struct wish *wish)
{
	const char *name = p->lib->get_device_name(dev);
	struct verbs_dev *d = wf_calloc(1, sizeof(*d));
	struct ibv_device_attr a;
	int ret;

	if (!d) {
		note(p, "no memory");
		return NULL;
	}
	d->port = p;
	d->number = (uint8_t)number;
	d->only_gid = wish->gid;
	d->iwarp = dev->transport_type == IBV_TRANSPORT_IWARP;
	d->cm = d->iwarp || p->want.cm;
	snprintf(d->name, sizeof(d->name), "%s:%u", name, number);
	wf_watch_init(&d->async, on_async, d);
	wf_watch_init(&d->comp, on_completion, d);
	errno = 0;
	d->ctx = p->lib->open_device(dev);
	if (!d->ctx && (errno == EACCES || errno == EPERM || errno == ENOENT)) {   /* ENOENT is said for all of them (G115) */
		snprintf(d->why, sizeof(d->why), "%s: it cannot be opened: is /dev/infiniband/%s there, and may this user open it?", name,
			 dev->dev_name);
	} else if (!d->ctx) {
		snprintf(d->why, sizeof(d->why), "%s: it cannot be opened: %s", name, strerror(errno));
	} else if (p->lib->query_device(d->ctx, &a)) {
		snprintf(d->why, sizeof(d->why), "%s: query_device failed", name);
	} else if ((ret = wf_fd_nonblock(d->ctx->async_fd)) || (ret = wf_poll_add(p->base.poll, &d->async, d->ctx->async_fd, EPOLLIN))) {
		snprintf(d->why, sizeof(d->why), "%s: watching its events: %s", name, strerror(-ret));
	} else {
		d->reads = (uint8_t)WF_MIN(WF_MIN(a.max_qp_rd_atom, a.max_qp_init_rd_atom), 16);
		d->max_cqe = a.max_cqe;
		d->atomics = a.atomic_cap;
		d->odp = d->iwarp ? 0 : odp_of(d->ctx);
		d->srq_max = a.max_srq > 0 ? WF_MIN(d->iwarp ? VERBS_SRQ_IWARP : VERBS_SRQ, (unsigned)a.max_srq_wr) : 0;
		read_port(d);
		if (!is_usable(d))
			note(p, d->why);
		return d;
	}
	note(p, d->why);
	close_dev(d);
	return NULL;
}

static unsigned ports_of(const struct verbs_lib *v, struct ibv_device *dev)
{
	struct ibv_context *ctx = v->open_device(dev);
	struct ibv_device_attr a;
	unsigned n = 1;

	if (!ctx)
		return n;                /* open_port() says why not */
	if (!v->query_device(ctx, &a))
		n = a.phys_port_cnt;
	v->close_device(ctx);
	return n;
}

/* Of those that were not lost: how many, or whether there is one of that name. */
static unsigned n_open(const struct verbs_port *p, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n_dev; i++)
		n += !p->dev[i]->gone && (!name || !strcmp(p->dev[i]->name, name));
	return n;
}

static bool has_place(const struct verbs_port *p)
{
	return n_open(p, NULL) < VERBS_DEVS && p->n_dev < WF_ARRAY_LEN(p->dev);
}

struct spare {                           /* ports that may become usable: what becomes of them is told by events */
	unsigned n;
	struct verbs_dev *dev[VERBS_DEVS];
};

static void look_at_port(struct verbs_port *p, struct ibv_device *dev, unsigned number, struct spare *spare)
{
	const char *name = p->lib->get_device_name(dev);
	struct wish wish = wish_for(p->base.conf, name, number);
	char port[sizeof(p->dev[0]->name)];
	struct verbs_dev *d;

	snprintf(port, sizeof(port), "%s:%u", name, number);
	if (!(wish.any || wish.named) || n_open(p, port))
		return;
	d = open_port(p, dev, number, &wish);
	if (d && is_usable(d)) {
		p->dev[p->n_dev++] = d;
		wf_port_changed(&p->base);   /* it may have been put back */
	} else if (d && spare->n < VERBS_DEVS) {
		spare->dev[spare->n++] = d;
	} else if (d) {
		close_dev(d);
	}
}

static void look_at(struct verbs_port *p, struct ibv_device *dev, struct spare *spare)
{
	unsigned n;

	if (dev->transport_type == IBV_TRANSPORT_IWARP || p->want.cm) {
		char why[160];

		if (verbs_cm_open(p, why, sizeof(why))) {
			note(p, why);
			return;
		}
	} else if (dev->transport_type != IBV_TRANSPORT_IB) {
		return;
	}
	n = ports_of(p->lib, dev);
	for (unsigned i = 1; i <= n && has_place(p); i++)
		look_at_port(p, dev, i, spare);
}

/* Where nothing is usable none is kept: all is looked at anew later, and then an adapter may be there that was not. */
static void keep_spares(struct verbs_port *p, struct spare *spare)
{
	bool any = n_open(p, NULL);

	for (unsigned i = 0; i < spare->n; i++)
		if (any && has_place(p))
			p->dev[p->n_dev++] = spare->dev[i];
		else
			close_dev(spare->dev[i]);
}

static bool is_one_missing(const struct verbs_port *p)
{
	for (unsigned i = 0; i < p->n_dev; i++)
		if (p->dev[i]->gone && !n_open(p, p->dev[i]->name))
			return true;
	return false;
}

static void stop_dev(struct verbs_dev *d);

/* Lost ones that are here again, once no lane has a queue pair of what they were. */
static void bury_lost(struct verbs_port *p)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n_dev; i++) {
		struct verbs_dev *d = p->dev[i];

		if (!d->gone || !n_open(p, d->name) || (d->started && wf_map_count(&d->qps))) {
			p->dev[kept++] = d;
			continue;
		}
		if (d->started)
			stop_dev(d);
		close_dev(d);
	}
	p->n_dev = kept;
}

static bool open_lib(struct verbs_port *p)
{
	if (p->lib)
		return true;
	p->lib = verbs_lib_open(p->why, sizeof(p->why));
	if (!p->lib)
		return false;
	/* where the kernel does not copy pinned pages for a child at fork(), the library keeps them from it; before anything is registered */
	if (!p->lib->is_fork_initialized || p->lib->is_fork_initialized() == IBV_FORK_DISABLED)
		p->lib->fork_init();
	return true;
}

#define LOOK_AGAIN_NS (2 * WF_NS_PER_S)   /* a port may come up later, an adapter be put back */

int verbs_devs_look(struct verbs_port *p)
{
	struct ibv_device **list;
	struct spare spare = { 0 };
	int n = 0;

	bury_lost(p);
	if (p->n_dev && !is_one_missing(p))
		return 0;
	if (p->looked && wf_now_ns() - p->looked_at < LOOK_AGAIN_NS)
		return p->n_dev ? 0 : WEFT_ENOTSUP;
	p->looked = true;
	p->looked_at = wf_now_ns();
	p->why[0] = 0;
	wf_conf_rdma(p->base.conf->rdma, &p->want, p->why, sizeof(p->why));   /* was checked when it was set */
	if (!open_lib(p))
		return WEFT_ENOTSUP;
	list = p->lib->get_device_list(&n);
	for (int i = 0; list && i < n; i++)
		look_at(p, list[i], &spare);
	if (list)
		p->lib->free_device_list(list);
	keep_spares(p, &spare);
	if (!p->n_dev && !p->why[0])
		note(p, n ? "the setting rdma names none of this machine's devices" : "this machine has no RDMA device");
	return p->n_dev ? 0 : WEFT_ENOTSUP;
}

bool verbs_devs_look_again(struct verbs_port *p)
{
	uint64_t now = p->look_at ? wf_now_ns() : 0;

	if (now < p->look_at || !p->look_at)
		return false;
	verbs_devs_look(p);
	p->look_at = is_one_missing(p) ? now + LOOK_AGAIN_NS : 0;
	return true;
}

/* ---- what it says of itself ---- */

#define LOST "the adapter was taken out or failed"

/* Every lane whose frames go there; of others the rail is left out. */
static void fail_lanes(struct verbs_dev *d, const char *why)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &d->port->base.lanes) {
		struct verbs_lane *l = wf_container_of(wf_list_entry(it, struct wf_lane, link), struct verbs_lane, base);

		for (unsigned i = 0; i < l->n_rails; i++) {
			if (l->rail[i]->dev != d)
				continue;
			if (i) {
				snprintf(l->base.why, sizeof(l->base.why), "%s is left out: %s", d->name, why);
				verbs_qp_break(l->rail[i]);
			} else {
				verbs_break(l, "%s: %s", d->name, why);
			}
		}
	}
}

/*
 * Its descriptors would be readable for ever from now on (EPOLLERR), and wake the worker for nothing. What it does not give back its
 * lanes take for not done after a while (verbs_qp_give_up()): a broken adapter may still write for a moment.
 */
void verbs_dev_lose(struct verbs_dev *d)
{
	if (d->gone)
		return;
	d->gone = true;
	d->up = false;
	d->n_gid = d->gids_left = 0;     /* they are another's, when it is put back */
	snprintf(d->why, sizeof(d->why), "%s: " LOST, d->name);
	wf_poll_del(d->port->base.poll, &d->async);
	wf_poll_del(d->port->base.poll, &d->comp);
	fail_lanes(d, LOST);
	d->port->look_at = wf_now_ns() + LOOK_AGAIN_NS;
}

/* What the port is now. Lanes that broke may be made again when it can be used and could not, or has another address. */
static void look_again(struct verbs_dev *d)
{
	bool was_usable = is_usable(d);
	union ibv_gid was = d->gid[0].gid;

	read_port(d);
	if (is_usable(d) && (!was_usable || memcmp(&was, &d->gid[0].gid, sizeof(was))))
		wf_port_changed(&d->port->base);
}

static void on_event(struct verbs_dev *d, const struct ibv_async_event *e)
{
	switch (e->event_type) {
	case IBV_EVENT_GID_CHANGE:
		if (!d->gone) {
			look_again(d);
			verbs_ask_orphans(d);
		}
		break;
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE:
	case IBV_EVENT_CLIENT_REREGISTER:
		/* a port may come back before the retries of its lanes are used up; not every adapter counts them then: verbs_watch.c */
		if (!d->gone)
			look_again(d);
		break;
	case IBV_EVENT_QP_LAST_WQE_REACHED:
		verbs_qp_is_empty(d, e->element.qp);
		break;
	case IBV_EVENT_DEVICE_FATAL:
		verbs_dev_lose(d);
		break;
	case IBV_EVENT_CQ_ERR:
		fail_lanes(d, "its completion queue ran over");
		break;
	case IBV_EVENT_SRQ_ERR:
		fail_lanes(d, "its shared receive queue failed");
		break;
	default:                         /* of queue pairs: their completions say more */
		break;
	}
}

void verbs_dev_events(struct verbs_dev *d)
{
	struct ibv_async_event e;

	while (!d->port->lib->get_async_event(d->ctx, &e)) {
		/* acknowledged only after it was looked at: the object in it cannot go meanwhile */
		on_event(d, &e);
		d->port->lib->ack_async_event(&e);
	}
	if (errno == EIO)                /* what the kernel says of an adapter that is not there any more */
		verbs_dev_lose(d);
}

static void on_async(void *arg, uint32_t events)
{
	verbs_dev_events(arg);
	if (events & EPOLLERR)
		verbs_dev_lose(arg);
}

static void on_completion(void *arg, uint32_t events)
{
	struct verbs_dev *d = arg;
	struct ibv_cq *cq;
	void *mine;

	while (!d->port->lib->get_cq_event(d->channel, &cq, &mine)) {
		struct verbs_cq *c = mine;

		c->armed = false;
		d->n_events++;
		d->port->lib->ack_cq_events(cq, 1);
	}
	if (events & EPOLLERR)
		verbs_dev_lose(d);
}

/* ---- buffers that are received into (verbs_buf.c, verbs_recv.c) ---- */

void verbs_repost(struct verbs_dev *d)
{
	struct ibv_recv_wr *bad;

	if (wf_unlikely(!d->srq)) {
		verbs_own_repost(d);
		return;
	}
	if (ibv_post_srq_recv(d->srq, &d->unposted->wr, &bad)) {
		verbs_dev_events(d);     /* it may say more of itself */
		fail_lanes(d, "buffers cannot be given to its shared receive queue");
	}
	d->unposted = NULL;
}

/* ---- completion queues ---- */

/* Each queue pair may fill its whole send queue when it breaks, and its own receive queue, and any one the shared one: never more. */
static unsigned entries_for(const struct verbs_dev *d, unsigned lanes)
{
	return d->srq_max + lanes * (VERBS_SQ + (d->srq ? 0 : VERBS_OWN_RECVS));
}

static struct verbs_cq *new_cq(struct verbs_dev *d, char *why, size_t cap)
{
	int n = (int)WF_MIN(entries_for(d, VERBS_CQ_LANES), (unsigned)WF_MAX(d->max_cqe, 0));
	struct verbs_cq *c;

	/* one that runs over takes all of its lanes with it */
	if ((unsigned)n < entries_for(d, 1)) {
		snprintf(why, cap, "%s: its completion queues have room for %d entries, and %u are needed", d->name, n, entries_for(d, 1));
		return NULL;
	}
	c = wf_calloc(1, sizeof(*c));
	if (!c) {
		snprintf(why, cap, "%s: no memory for a completion queue", d->name);
		return NULL;
	}
	errno = 0;
	c->cq = d->port->lib->create_cq(d->ctx, n, c, d->channel, 0);
	if (!c->cq) {
		snprintf(why, cap, "%s: a completion queue of %d entries: %s", d->name, n, strerror(errno ? errno : ENOMEM));
		wf_free(c);
		return NULL;
	}
	return c;
}

struct verbs_cq *verbs_cq_get(struct verbs_dev *d, char *why, size_t cap)
{
	struct wf_list *it, *tmp;
	struct verbs_cq *c;

	wf_list_foreach(it, tmp, &d->cqs) {
		c = wf_list_entry(it, struct verbs_cq, link);
		if (entries_for(d, c->lanes + 1) <= (unsigned)c->cq->cqe) {
			c->lanes++;
			return c;
		}
	}
	c = new_cq(d, why, cap);
	if (!c)
		return NULL;
	c->lanes = 1;
	wf_list_init(&c->link);
	wf_list_push_back(&d->cqs, &c->link);
	return c;
}

void verbs_cq_put(struct verbs_cq *c)
{
	c->lanes--;
}

/* ---- making it ready, and the end ---- */

static void stop_dev(struct verbs_dev *d)
{
	const struct verbs_lib *v = d->port->lib;
	struct wf_list *it;

	verbs_cm_unlisten(d);
	verbs_dying_free(d);
	wf_poll_del(d->port->base.poll, &d->comp);
	while ((it = wf_list_pop_front(&d->cqs))) {
		struct verbs_cq *c = wf_list_entry(it, struct verbs_cq, link);

		v->destroy_cq(c->cq);
		wf_free(c->stash);
		wf_free(c);
	}
	if (d->srq)
		v->destroy_srq(d->srq);
	if (d->channel)
		v->destroy_comp_channel(d->channel);
	verbs_mrs_drop(d);
	verbs_blocks_free(d);
	if (d->pd)
		v->dealloc_pd(d->pd);
	wf_map_fini(&d->qps);
	wf_map_fini(&d->mrs);
	d->srq = NULL;
	d->channel = NULL;
	d->pd = NULL;
	d->started = false;
}

static int watch(struct verbs_dev *d, const char **what)
{
	struct wf_poll *poll = d->port->base.poll;
	int ret;

	*what = "watching its channel";
	ret = wf_fd_nonblock(d->channel->fd);
	return ret ? ret : wf_poll_add(poll, &d->comp, d->channel->fd, EPOLLIN);
}

/* A device that has none may say so only now (EOPNOTSUPP; ENOSYS from old kernels). 0 or -errno. */
static int make_srq(struct verbs_dev *d)
{
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = d->srq_max, .max_sge = 1 } };

	errno = 0;
	d->srq = d->srq_max ? d->port->lib->create_srq(d->pd, &srq) : NULL;
	if (d->srq || !d->srq_max)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return errno ? -errno : -ENOMEM;
	d->srq_max = 0;
	return 0;
}

/* The library's calls, each with its name for the words of a failure. 0 or -errno. */
static int make(struct verbs_dev *d, const char **what)
{
	const struct verbs_lib *v = d->port->lib;
	int ret;

	errno = 0;
	*what = "a protection domain";
	d->pd = v->alloc_pd(d->ctx);
	if (!d->pd)
		return errno ? -errno : -ENOMEM;
	*what = "a completion channel";
	d->channel = v->create_comp_channel(d->ctx);
	if (!d->channel)
		return errno ? -errno : -ENOMEM;
	*what = "a shared receive queue";
	ret = make_srq(d);
	return ret ? ret : watch(d, what);
}

int verbs_dev_start(struct verbs_dev *d, char *why, size_t cap)
{
	const char *what;
	int ret;

	if (d->started)
		return 0;
	if (d->gone) {
		snprintf(why, cap, "%s", d->why);
		return -EIO;
	}
	wf_list_init(&d->cqs);
	wf_list_init(&d->dying);
	wf_list_init(&d->idle);
	wf_map_init(&d->qps);
	wf_map_init(&d->mrs);
	d->last_qp = NULL;
	ret = make(d, &what);
	if (ret) {
		snprintf(why, cap, "%s: %s: %s", d->name, what, strerror(-ret));
		stop_dev(d);
		return ret;
	}
	ret = d->srq ? verbs_more_recvs(d, WF_MIN(VERBS_SRQ, d->srq_max), why, cap) : 0;
	if (ret)
		stop_dev(d);
	else
		d->started = true;
	return ret;
}

void verbs_devs_close(struct verbs_port *p)
{
	for (unsigned i = 0; i < p->n_dev; i++) {
		if (p->dev[i]->started)
			stop_dev(p->dev[i]);
		close_dev(p->dev[i]);
	}
	p->n_dev = 0;
	p->look_at = 0;
	p->looked = false;
	p->why[0] = 0;
}
