/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_mini.h - stands in for core and for libfabric in the test of the transport ofi: two nodes, each a port whose endpoint,
 * queue and so on are made of the test's own functions. Messages and one-sided operations lie still until the test lets them
 * through, one by one and in the order that it likes, so that what no provider at hand does (overtaking, being full,
 * wanting registrations, staying silent) is done here. Included once.
 */
#ifndef OFI_MINI_H
#define OFI_MINI_H
#include "transports/ofi/ofi.h"
#include "unit/unit.h"

#define FAKE_MAX 512

struct fake_mr {
	struct fid_mr mr;
	char *addr;
	size_t len;
	uint64_t access;
	bool live;
};

struct fake_msg {
	size_t len;
	uint8_t bytes[FAB_BUF];
};

struct fake_rma {
	bool write;
	void *near;
	size_t len;
	uint64_t addr, key;
	void *context;
};

struct node {
	struct ofi_port port;            /* first */
	struct node *peer;
	struct wf_poll poll;
	struct wf_conf conf;
	struct wf_log log;
	uint64_t wake_at;
	struct fid_fabric fabric;
	struct fid_domain domain;
	struct fid_av av;
	struct fid_cq cq;
	struct fid_ep ep;
	void *posted[FAKE_MAX], *context[FAKE_MAX];
	struct fake_msg *inbox[FAKE_MAX];
	struct fi_cq_msg_entry done[FAKE_MAX];
	struct fi_cq_err_entry failed;
	struct fake_mr mrs[FAKE_MAX];
	struct fake_rma rmas[FAKE_MAX];
	size_t n_posted, n_inbox, n_done, n_rmas, n_mrs;
	bool full, has_failed;
	int inserted;
};

struct link {
	struct fab_lane lane;            /* first */
	bool up, down, room;
	int32_t status;
	char cause[200];
	uint32_t seq, got[FAKE_MAX], n_got, refuse;
	bool strict;                     /* a frame that core is to leave the lane alone for */
};

static int32_t copy_status, rma_status;
static unsigned copies_done, rmas_done;

/* ---- upcalls ---- */

void wf_lane_up(struct wf_lane *l)
{
	((struct link *)l->owner)->up = l->up = true;
}

void wf_lane_down(struct wf_lane *l, int32_t status, int sys_errno, const char *cause)
{
	struct link *k = l->owner;

	(void)sys_errno;
	assert_false(k->down);
	k->down = true;
	k->status = status;
	snprintf(k->cause, sizeof(k->cause), "%s", cause);
}

int wf_lane_say(struct wf_lane *l, const void *p, size_t len)
{
	(void)l, (void)p, (void)len;
	return WEFT_ECLOSED;
}

void wf_lane_room(struct wf_lane *l)
{
	((struct link *)l->owner)->room = true;
}

/* The frame's tag is kept; `refuse` of them are refused first. */
int wf_frame_in(struct wf_lane *l, const struct wf_frame *h, const void *payload)
{
	struct link *k = l->owner;

	assert_true(h->len == 0 || ((const uint8_t *)payload)[h->len - 1] == (uint8_t)h->tag);
	if (k->refuse) {
		k->refuse--;
		l->paused = true;
		return WEFT_AGAIN;
	}
	k->got[k->n_got++] = (uint32_t)h->tag;
	return k->strict ? WEFT_EPROTO : 0;
}

void wf_copy_done(struct wf_copy *c, int32_t status)
{
	(void)c;
	copies_done++;
	copy_status = status;
}

void wf_rma_done(struct wf_rma *x, int32_t status)
{
	(void)x;
	rmas_done++;
	rma_status = status;
}

void wf_port_wake_at(struct wf_port *p, uint64_t at_ns)
{
	((struct node *)(void *)p)->wake_at = at_ns;
}

/* ---- libfabric ---- */

static const char *fake_words(int err)
{
	return err == 111 ? "nobody is there" : "something failed";
}

static uint32_t fake_version(void)
{
	return FI_VERSION(1, 99);
}

static void fake_freeinfo(struct fi_info *info)
{
	(void)info;
}

static const struct ofi_lib fake_lib = { .freeinfo = fake_freeinfo, .strerror = fake_words, .version = fake_version };

static int close_nothing(struct fid *fid)
{
	(void)fid;
	return 0;
}

static int bind_nothing(struct fid *fid, struct fid *other, uint64_t flags)
{
	(void)fid, (void)other, (void)flags;
	return 0;
}

static int control_nothing(struct fid *fid, int command, void *arg)
{
	(void)fid, (void)command, (void)arg;
	return 0;
}

static struct fi_ops no_ops = { sizeof(no_ops), close_nothing, bind_nothing, control_nothing };

static int mr_close(struct fid *fid)
{
	struct fake_mr *m = (struct fake_mr *)(void *)fid;

	assert_true(m->live);
	m->live = false;
	return 0;
}

static struct fi_ops mr_ops = { sizeof(mr_ops), mr_close, bind_nothing, control_nothing };

static int mr_reg(struct fid *domain, const void *buf, size_t len, uint64_t access, uint64_t off, uint64_t key, uint64_t flags,
		  struct fid_mr **out, void *context)
{
	struct node *n = wf_container_of(domain, struct node, domain.fid);
	struct fake_mr *m = &n->mrs[n->n_mrs];

	(void)off, (void)flags, (void)context;
	if (n->n_mrs == FAKE_MAX)
		return -12;
	if (n->port.prov_key)
		key = 1000 + n->n_mrs;
	n->n_mrs++;
	*m = (struct fake_mr){ .addr = (char *)(uintptr_t)buf, .len = len, .access = access, .live = true };
	m->mr = (struct fid_mr){ .fid = { .ops = &mr_ops }, .mem_desc = m, .key = key };
	*out = &m->mr;
	return 0;
}

static unsigned live_mrs(const struct node *n)
{
	unsigned live = 0;

	for (size_t i = 0; i < n->n_mrs; i++)
		live += n->mrs[i].live;
	return live;
}

/* What lies there is registered for that. */
static void assert_desc(const struct node *n, const void *desc, const void *p, size_t len, uint64_t access)
{
	const struct fake_mr *m = desc;

	if (n->port.fab.reg_local)
		assert_true(m && m->live && m->access & access && (const char *)p >= m->addr &&
			    (const char *)p + len <= m->addr + m->len);
}

static ssize_t fake_recv(struct fid_ep *ep, void *buf, size_t len, void *desc, fi_addr_t from, void *context)
{
	struct node *n = wf_container_of(ep, struct node, ep);

	(void)from;
	if (n->n_posted == FAKE_MAX)
		return -FI_EAGAIN;
	assert_desc(n, desc, buf, len, FI_RECV);
	n->posted[n->n_posted] = buf;
	n->context[n->n_posted++] = context;
	return 0;
}

static void complete(struct node *n, void *context, size_t len)
{
	assert_true(n->n_done < FAKE_MAX);
	n->done[n->n_done++] = (struct fi_cq_msg_entry){ .op_context = context, .len = len };
}

static ssize_t put_in_inbox(struct node *n, const void *buf, size_t len)
{
	struct node *to = n->peer;

	if (n->full || to->n_inbox == FAKE_MAX)
		return -FI_EAGAIN;
	to->inbox[to->n_inbox] = malloc(sizeof(struct fake_msg));
	to->inbox[to->n_inbox]->len = len;
	memcpy(to->inbox[to->n_inbox++]->bytes, buf, len);
	return 0;
}

static ssize_t fake_inject(struct fid_ep *ep, const void *buf, size_t len, fi_addr_t to)
{
	(void)to;
	return put_in_inbox(wf_container_of(ep, struct node, ep), buf, len);
}

static ssize_t fake_send(struct fid_ep *ep, const void *buf, size_t len, void *desc, fi_addr_t to, void *context)
{
	struct node *n = wf_container_of(ep, struct node, ep);
	ssize_t ret;

	(void)to;
	assert_desc(n, desc, buf, len, FI_SEND);
	ret = put_in_inbox(n, buf, len);
	if (!ret)
		complete(n, context, len);
	return ret;
}

static ssize_t put_rma(struct fid_ep *ep, const struct fi_msg_rma *m, bool write)
{
	struct node *n = wf_container_of(ep, struct node, ep);

	if (n->full || n->n_rmas == FAKE_MAX)
		return -FI_EAGAIN;
	assert_desc(n, m->desc[0], m->msg_iov->iov_base, m->msg_iov->iov_len, write ? FI_WRITE : FI_READ);
	assert_int_equal(m->msg_iov->iov_len, m->rma_iov->len);
	n->rmas[n->n_rmas++] = (struct fake_rma){ write, m->msg_iov->iov_base, m->msg_iov->iov_len, m->rma_iov->addr,
						  m->rma_iov->key, m->context };
	return 0;
}

static ssize_t fake_readmsg(struct fid_ep *ep, const struct fi_msg_rma *m, uint64_t flags)
{
	(void)flags;
	return put_rma(ep, m, false);
}

static ssize_t fake_writemsg(struct fid_ep *ep, const struct fi_msg_rma *m, uint64_t flags)
{
	assert_true(flags & FI_DELIVERY_COMPLETE);
	return put_rma(ep, m, true);
}

static ssize_t cq_read(struct fid_cq *cq, void *out, size_t count)
{
	struct node *n = wf_container_of(cq, struct node, cq);
	size_t k = WF_MIN(count, n->n_done);

	if (n->has_failed)
		return -FI_EAVAIL;
	if (!k)
		return -FI_EAGAIN;
	memcpy(out, n->done, k * sizeof(n->done[0]));
	n->n_done -= k;
	memmove(n->done, n->done + k, n->n_done * sizeof(n->done[0]));
	return (ssize_t)k;
}

static ssize_t cq_readerr(struct fid_cq *cq, struct fi_cq_err_entry *out, uint64_t flags)
{
	struct node *n = wf_container_of(cq, struct node, cq);

	(void)flags;
	*out = n->failed;
	n->has_failed = false;
	return 1;
}

static const char *cq_strerror(struct fid_cq *cq, int err, const void *data, char *buf, size_t len)
{
	(void)cq, (void)err, (void)data, (void)buf, (void)len;
	return "the provider's words";
}

static int av_insert(struct fid_av *av, const void *addr, size_t count, fi_addr_t *out, uint64_t flags, void *context)
{
	(void)addr, (void)count, (void)flags, (void)context;
	wf_container_of(av, struct node, av)->inserted++;
	*out = 7;
	return 1;
}

static int av_remove(struct fid_av *av, fi_addr_t *addr, size_t count, uint64_t flags)
{
	(void)addr, (void)count, (void)flags;
	wf_container_of(av, struct node, av)->inserted--;
	return 0;
}

static struct fi_ops_mr domain_mr = { .size = sizeof(domain_mr), .reg = mr_reg };
static struct fi_ops_msg ep_msg = { .size = sizeof(ep_msg), .recv = fake_recv, .send = fake_send, .inject = fake_inject };
static struct fi_ops_rma ep_rma = { .size = sizeof(ep_rma), .readmsg = fake_readmsg, .writemsg = fake_writemsg };
static struct fi_ops_cq cq_ops = { .size = sizeof(cq_ops), .read = cq_read, .readerr = cq_readerr, .strerror = cq_strerror };
static struct fi_ops_av av_ops = { .size = sizeof(av_ops), .insert = av_insert, .remove = av_remove };

static struct fi_tx_attr tx_attr = { .inject_size = 64, .size = 2 * FAB_TX_MAX };
static struct fi_rx_attr rx_attr = { .size = OFI_RX_MAX };
static struct fi_ep_attr ep_attr = { .type = FI_EP_RDM, .max_msg_size = 1 << 30 };
static struct fi_domain_attr domain_attr = { .name = "fake0", .mr_key_size = 8 };
static struct fi_fabric_attr fabric_attr = { .prov_name = "fake" };
static struct fi_info fake_info = { .caps = FI_MSG | FI_RMA, .tx_attr = &tx_attr, .rx_attr = &rx_attr, .ep_attr = &ep_attr,
				    .domain_attr = &domain_attr, .fabric_attr = &fabric_attr };

/* ---- nodes and lanes ---- */

/* As ofi_ep_open() leaves it. @mr_mode as a provider asks for it. */
static void node_open(struct node *n, struct node *peer, int mr_mode)
{
	struct ofi_port *p = &n->port;

	memset(n, 0, sizeof(*n));
	n->peer = peer;
	wf_conf_defaults(&n->conf);
	assert_int_equal(wf_poll_init(&n->poll), 0);
	wf_log_init(&n->log, NULL, NULL, 0);
	p->fab.base = (struct wf_port){ .tr = &wf_ofi, .poll = &n->poll, .conf = &n->conf, .log = &n->log };
	fab_init(&p->fab, &ofi_engine);
	wf_list_init(&p->peers);
	wf_list_init(&p->posted);
	wf_watch_init(&p->watch, fab_on_fd, p);
	n->domain = (struct fid_domain){ .fid = { .ops = &no_ops }, .mr = &domain_mr };
	n->fabric = (struct fid_fabric){ .fid = { .ops = &no_ops } };
	n->av = (struct fid_av){ .fid = { .ops = &no_ops }, .ops = &av_ops };
	n->cq = (struct fid_cq){ .fid = { .ops = &no_ops }, .ops = &cq_ops };
	n->ep = (struct fid_ep){ .fid = { .ops = &no_ops }, .msg = &ep_msg, .rma = &ep_rma };
	p->lib = &fake_lib;
	p->info = &fake_info;
	p->domain = &n->domain;
	p->fabric = &n->fabric;
	p->av = &n->av;
	p->cq = &n->cq;
	p->ep = &n->ep;
	p->spare = calloc(1, sizeof(*p->spare));
	p->fab.name = p->name;
	p->fab.name_len = 4;
	memcpy(p->name, "name", 4);
	p->key_mask = UINT64_MAX;
	p->next_key = 1;
	p->fab.reg_local = mr_mode & FI_MR_LOCAL;
	p->reg_ep = mr_mode & FI_MR_ENDPOINT;
	p->virt_addr = mr_mode & FI_MR_VIRT_ADDR;
	p->prov_key = mr_mode & FI_MR_PROV_KEY;
	p->fab.reads = p->fab.open = true;
	p->fab.inject = 64;
	p->fab.msg_max = ep_attr.max_msg_size;
	p->fab.rx_limit = OFI_RX_MAX;
	p->fab.kind = p->fab.over = fabric_attr.prov_name;
	p->fd = -1;
}

static void node_close(struct node *n)
{
	for (size_t i = 0; i < n->n_inbox; i++)
		free(n->inbox[i]);
	n->n_inbox = 0;
	wf_ofi.close(&n->port.fab.base);
	assert_int_equal(live_mrs(n), 0);
	assert_int_equal(n->inserted, 0);
	wf_poll_fini(&n->poll);
}

static int turn(struct node *n)
{
	return wf_ofi.poll(&n->port.fab.base);
}

/* Lets message @i of the inbox through. */
static void let_in(struct node *n, size_t i)
{
	struct fake_msg *m = n->inbox[i];

	assert_true(i < n->n_inbox && n->n_posted);
	memcpy(n->posted[0], m->bytes, m->len);
	complete(n, n->context[0], m->len);
	n->n_posted--;
	memmove(n->posted, n->posted + 1, n->n_posted * sizeof(void *));
	memmove(n->context, n->context + 1, n->n_posted * sizeof(void *));
	free(m);
	n->n_inbox--;
	memmove(n->inbox + i, n->inbox + i + 1, (n->n_inbox - i) * sizeof(n->inbox[0]));
	turn(n);
}

static void let_all_in(struct node *n)
{
	while (n->n_inbox)
		let_in(n, 0);
}

/* Both sides' messages, until there are none. */
static void settle(struct node *a)
{
	for (int i = 0; i < 50; i++) {
		turn(a);
		turn(a->peer);
		let_all_in(a);
		let_all_in(a->peer);
	}
}

/* Does the oldest one-sided operation of @n. */
static void do_rma(struct node *n)
{
	struct fake_rma r = n->rmas[0];
	struct fake_mr *m = NULL;

	assert_true(n->n_rmas > 0);
	memmove(n->rmas, n->rmas + 1, --n->n_rmas * sizeof(n->rmas[0]));
	for (size_t i = 0; i < n->peer->n_mrs; i++)
		if (n->peer->mrs[i].live && n->peer->mrs[i].mr.key == r.key)
			m = &n->peer->mrs[i];
	if (!m) {
		n->failed = (struct fi_cq_err_entry){ .op_context = r.context, .err = 126 };
		n->has_failed = true;
	} else {
		char *far = n->port.virt_addr ? (char *)(uintptr_t)r.addr : m->addr + r.addr;

		assert_true(m->access & (r.write ? FI_REMOTE_WRITE : FI_REMOTE_READ));
		assert_true(far >= m->addr && far + r.len <= m->addr + m->len);
		memcpy(r.write ? far : r.near, r.write ? r.near : far, r.len);
		complete(n, r.context, r.len);
	}
	turn(n);
}

static void link_init(struct link *k, struct node *n)
{
	memset(k, 0, sizeof(*k));
	k->lane.base.tr = &wf_ofi;
	k->lane.base.port = &n->port.fab.base;
	k->lane.base.owner = k;
}

static void link_open(struct node *a, struct link *ka, struct node *b, struct link *kb)
{
	uint8_t offer[2][160];
	size_t len[2];

	link_init(ka, a);
	link_init(kb, b);
	len[0] = wf_ofi.offer(&ka->lane.base, offer[0], sizeof(offer[0]));
	len[1] = wf_ofi.offer(&kb->lane.base, offer[1], sizeof(offer[1]));
	assert_true(len[0] && len[1]);
	assert_int_equal(wf_ofi.attach(&kb->lane.base, false, offer[0], len[0]), 0);
	assert_int_equal(wf_ofi.attach(&ka->lane.base, true, offer[1], len[1]), 0);
	settle(a);
	assert_true(ka->up && kb->up);
}

static int send(struct link *k, uint32_t tag, size_t len)
{
	static uint8_t bytes[FAB_BUF];
	weft_buf b = { .addr = bytes, .len = len };
	struct wf_tx tx = { .h = { .type = WF_FR_EAGER, .tag = tag, .len = (uint32_t)len }, .bufs = &b, .n = 1, .len = len };

	memset(bytes, (int)tag, len);
	return wf_ofi.send(&k->lane.base, &tx);
}

#endif
