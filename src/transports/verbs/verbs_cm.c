/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_cm.c - connections by rdma_cm, the kernel's connection manager: what iWARP adapters need, because there a queue pair is a
 * TCP connection that the kernel makes; and what a site with InfiniBand or RoCE may want (the setting `rdma`, item `cm`).
 * Only the connection is made by it. Device, queues and the queue pair are ours as everywhere; rdma_cm is told the number.
 *
 *   active                                    passive
 *   CM_ASK { both addresses } --------------> makes a queue pair, and a listener at the address that was named,
 *                                             once for each address of a device
 *          <------------------- CM_INVITE { the listener's port, a secret }
 *   makes its queue pair; resolves address
 *   and route; connects, shows the secret --> looks whom the secret belongs to; accepts
 *   established: up; sends a note ----------> the first message: up
 *
 * The first two go over the bootstrap lane (wf_lane_say()), which is where the peer was authenticated; the secret, used once, is
 * what makes the connection that lane's. Who shows none that is known is rejected at once and costs nothing here. A lane waits
 * for its connection only until its time is over.
 *
 * The side that connects sends first, because iWARP wants it so: before its first message the other side may not send. It
 * does no harm elsewhere, and makes it unnecessary to wait for rdma_cm's own word there.
 *
 * All steps are events of one channel for each worker, watched in its poll set. An identifier lives as long as its queue pair.
 *
 * The end. When the peer closes, rdma_cm tells us at once, where otherwise nobody would notice: the lane breaks (verbs_break()), what
 * had come before is delivered.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "os/proc.h"
#include "os/sock.h"
#include "transports/verbs/verbs.h"

#define BACKLOG 256                      /* connection requests that nobody has looked at */
#define EVENTS 64                        /* that are looked at in one turn */
#define PORTS 8                          /* of ours that are tried: rdma_cm takes one at random, and over iWARP TCP may have it already */
#define IFACES 64                        /* addresses of this host that are looked at */
#define STANDARD_ATTRS ((1 << 21) - 1)   /* rdma_init_qp_attr() of older kernels sets bits that modify_qp() refuses */

struct happening {                       /* an event, copied: it is acknowledged before it is acted upon (G80) */
	struct rdma_cm_id *id;
	enum rdma_cm_event_type what;
	int status;
	bool hailed;
	struct verbs_hail hail;
};

/* ---- the channel ---- */

static void on_channel(void *arg, uint32_t events);

int verbs_cm_open(struct verbs_port *p, char *why, size_t cap)
{
	int ret;

	if (p->cm)
		return 0;
	p->cmlib = verbs_cmlib_open(why, cap);
	if (!p->cmlib)
		return WEFT_ENOTSUP;
	errno = 0;
	p->cm = p->cmlib->create_event_channel();
	if (!p->cm) {
		snprintf(why, cap, "rdma_cm cannot be used: %s (is the kernel module rdma_ucm loaded, and /dev/infiniband/rdma_cm there?)",
			 strerror(errno));
		return WEFT_ENOTSUP;
	}
	wf_watch_init(&p->cm_watch, on_channel, p);
	ret = wf_fd_nonblock(p->cm->fd);
	if (!ret)
		ret = wf_poll_add(p->base.poll, &p->cm_watch, p->cm->fd, EPOLLIN);
	if (!ret)
		return 0;
	snprintf(why, cap, "watching rdma_cm's channel: %s", strerror(-ret));
	p->cmlib->destroy_event_channel(p->cm);
	p->cm = NULL;
	return WEFT_ENOTSUP;
}

void verbs_cm_close(struct verbs_port *p)
{
	if (!p->cm)
		return;
	wf_poll_del(p->base.poll, &p->cm_watch);
	p->cmlib->destroy_event_channel(p->cm);
	p->cm = NULL;
}

/* ---- addresses of a device ---- */

static void to_gid(const struct wf_addr *a, uint8_t *gid)
{
	memset(gid, 0, 16);
	if (a->sa.ss_family == AF_INET6) {
		memcpy(gid, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
		return;
	}
	gid[10] = gid[11] = 0xff;
	memcpy(gid + 12, &((const struct sockaddr_in *)&a->sa)->sin_addr, 4);
}

static bool is_bound_to(const struct rdma_cm_id *id, const struct verbs_dev *d)
{
	const struct verbs_lib *v = d->port->lib;

	return id->verbs && id->port_num == d->number && !strcmp(v->get_device_name(id->verbs->device), v->get_device_name(d->ctx->device));
}

/* An iWARP adapter's GIDs are no addresses, and the kernel does not tell its interface: so rdma_cm is asked whose each address is. */
static bool owns(struct verbs_dev *d, const struct wf_addr *a)
{
	const struct verbs_cmlib *cm = d->port->cmlib;
	struct wf_addr at = *a;
	struct rdma_cm_id *id;
	bool found;

	if (cm->create_id(d->port->cm, &id, NULL, RDMA_PS_TCP))
		return false;
	found = !cm->bind_addr(id, (struct sockaddr *)&at.sa) && is_bound_to(id, d);
	cm->destroy_id(id);
	return found;
}

void verbs_cm_addresses(struct verbs_dev *d)
{
	struct wf_iface at[IFACES];
	int n = wf_iface_list(at, IFACES);

	d->n_gid = 0;
	d->gids_left = 0;
	for (int i = 0; i < n; i++) {
		if (wf_addr_is_loopback(&at[i].addr) || wf_addr_is_link_local(&at[i].addr) || !owns(d, &at[i].addr))
			continue;
		if (d->n_gid == VERBS_GIDS) {
			d->gids_left++;
			continue;
		}
		to_gid(&at[i].addr, d->gid[d->n_gid].gid.raw);
		d->gid[d->n_gid++].index = 0;
	}
}

/* ---- the queue pair's states; iWARP has the kernel change them ---- */

static int change_state(struct verbs_qp *q, enum ibv_qp_state to)
{
	const struct verbs_dev *d = q->dev;
	struct ibv_qp_attr a = { .qp_state = to };
	int mask = 0;

	if (d->iwarp)
		return 0;
	if (d->port->cmlib->init_qp_attr(q->cm, &a, &mask))
		return errno ? errno : EIO;
	/* what the connection manager does not know: our rights, and how long we try (see VERBS_RETRY) */
	a.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | (d->atomics ? IBV_ACCESS_REMOTE_ATOMIC : 0);
	a.min_rnr_timer = VERBS_RNR_TIMER;
	a.timeout = verbs_timeout_code(d->port->base.conf);
	a.retry_cnt = VERBS_RETRY;
	a.rnr_retry = VERBS_RNR_RETRY;
	if (to == IBV_QPS_RTR) {
		a.max_dest_rd_atomic = d->reads;
		verbs_path_class(d, &a.ah_attr);
	}
	if (to == IBV_QPS_RTS)
		a.max_rd_atomic = q->reads_max;
	return d->port->lib->modify_qp(q->qp, &a, mask & STANDARD_ATTRS);
}

static int to_ready(struct verbs_qp *q)
{
	int ret = change_state(q, IBV_QPS_RTR);

	return ret ? ret : change_state(q, IBV_QPS_RTS);
}

/* The traffic class of what rdma_cm makes: over iWARP its TCP connection, elsewhere its own messages (G101). False: errno says why. */
static bool set_class(const struct verbs_port *p, struct rdma_cm_id *id)
{
	uint8_t tos = (uint8_t)p->want.tc;

	errno = ENOSYS;
	return p->want.tc < 0 ||
	       (p->cmlib->set_option && !p->cmlib->set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof(tos)));
}

static struct rdma_conn_param params(const struct verbs_qp *q)
{
	return (struct rdma_conn_param){
		.responder_resources = q->dev->reads, .initiator_depth = q->reads_max, .retry_count = VERBS_RETRY,
		.rnr_retry_count = VERBS_RNR_RETRY, .srq = q->dev->srq != NULL, .qp_num = q->qp_num,
	};
}

static void meet(struct verbs_qp *q, const struct verbs_end *peer)
{
	memcpy(q->peer.gid, peer->gid, sizeof(q->peer.gid));
	q->reads_max = (uint8_t)WF_MAX(WF_MIN(q->dev->reads, peer->reads), 1);
}

/* ---- passive ---- */

/* Where connections to that address of the device are taken; NULL: not possible, and why. */
static struct verbs_listener *listener(struct verbs_dev *d, unsigned gid_at, char *why, size_t cap)
{
	const struct verbs_cmlib *cm = d->port->cmlib;
	struct verbs_listener *s = NULL;
	struct wf_addr at;

	for (unsigned i = 0; i < VERBS_GIDS; i++) {
		struct verbs_listener *had = &d->listener[i];

		if (had->id && !memcmp(had->gid, d->gid[gid_at].gid.raw, sizeof(had->gid)))
			return had;
		if (!had->id && !s)
			s = had;
	}
	if (!s) {
		snprintf(why, cap, "%s: its addresses change too often", d->name);
		return NULL;
	}
	memcpy(s->gid, d->gid[gid_at].gid.raw, sizeof(s->gid));
	wf_addr_from_ip6(s->gid, &at);
	errno = 0;
	if (cm->create_id(d->port->cm, &s->id, NULL, RDMA_PS_TCP)) {
		s->id = NULL;
	} else if (cm->bind_addr(s->id, (struct sockaddr *)&at.sa) || !set_class(d->port, s->id) || cm->listen(s->id, BACKLOG) || !is_bound_to(s->id, d)) {
		int err = errno;

		cm->destroy_id(s->id);
		s->id = NULL;
		errno = err;
	}
	if (!s->id) {
		snprintf(why, cap, "%s: listening with rdma_cm: %s", d->name, errno ? strerror(errno) : "the address is another device's");
		return NULL;
	}
	s->port = ntohs(cm->get_src_port(s->id));
	return s;
}

void verbs_cm_unlisten(struct verbs_dev *d)
{
	for (unsigned i = 0; i < VERBS_GIDS; i++) {
		if (d->listener[i].id)
			d->port->cmlib->destroy_id(d->listener[i].id);
		d->listener[i].id = NULL;
	}
}

static struct verbs_dev *named_by(struct verbs_port *p, const struct verbs_say *s, unsigned *gid_at)
{
	for (unsigned i = 0; i < p->n_dev; i++) {
		int at = p->dev[i]->up && p->dev[i]->link == s->link ? verbs_gid_find(p->dev[i], s->cm.self.to) : -1;

		*gid_at = (unsigned)at;
		if (at >= 0)
			return p->dev[i];
	}
	return NULL;
}

static void in_ask(struct verbs_lane *l, const struct verbs_say *s)
{
	struct verbs_say answer = { .version = VERBS_VERSION, .what = VERBS_CM_INVITE, .n = 1 };
	struct verbs_port *p = verbs_lane_port(l);
	struct verbs_listener *at;
	char why[200] = "";
	struct verbs_dev *d;
	struct verbs_qp *q;
	unsigned gid_at;

	if (verbs_cm_open(p, why, sizeof(why))) {
		verbs_say_no(l, why);
		return;
	}
	d = named_by(p, s, &gid_at);
	if (!d) {
		verbs_say_no(l, "the RDMA address is not ours any more, or its port is down");
		return;
	}
	q = verbs_rail_new(l, d, gid_at, why, sizeof(why));
	at = q ? listener(d, gid_at, why, sizeof(why)) : NULL;
	if (at)
		meet(q, &s->cm.self);
	if (!at || wf_random(l->secret, sizeof(l->secret))) {
		verbs_say_no(l, why);
		return;
	}
	l->later_credits = s->credits;
	answer.credits = (uint16_t)l->granted;
	answer.port = at->port;
	answer.cm.self = q->self;
	memcpy(answer.cm.secret, l->secret, sizeof(l->secret));
	l->state = VERBS_INVITED;
	verbs_time(l);
	if (wf_lane_say(&l->base, &answer, sizeof(answer)) < 0)
		verbs_fail(l, WEFT_ERESET, 0, "the connection broke while queue pairs were exchanged");
}

/* The lane that @h was invited to. */
static struct verbs_lane *invited(struct verbs_port *p, const struct happening *h)
{
	struct wf_list *it;

	for (it = p->timed.next; h->hailed && it != &p->timed; it = it->next) {
		struct verbs_lane *l = wf_list_entry(it, struct verbs_lane, timed);

		if (l->state == VERBS_INVITED && wf_same_secret(l->secret, h->hail.secret, sizeof(l->secret)))
			return l;
	}
	return NULL;
}

static void on_request(struct verbs_port *p, const struct happening *h)
{
	struct verbs_lane *l = invited(p, h);
	struct rdma_conn_param param;
	struct verbs_qp *q;
	char why[160];
	int ret;

	if (!l || !is_bound_to(h->id, l->rail[0]->dev)) {
		p->cmlib->reject(h->id, NULL, 0);
		p->cmlib->destroy_id(h->id);
		return;
	}
	q = l->rail[0];
	q->cm = h->id;
	q->cm->context = q;
	param = params(q);
	ret = change_state(q, IBV_QPS_INIT);
	if (!ret)
		ret = to_ready(q);
	if (!ret && p->cmlib->accept(q->cm, &param))
		ret = errno;
	if (!ret) {
		l->state = VERBS_ACCEPTED;
		return;
	}
	p->cmlib->reject(q->cm, NULL, 0);
	snprintf(why, sizeof(why), "%s: accepting a connection by rdma_cm: %s", q->dev->name, strerror(ret));
	verbs_say_no(l, why);
}

void verbs_cm_first(struct verbs_lane *l)
{
	struct verbs_qp *q = l->rail[0];

	if (!q->dev->iwarp)              /* if the peer's last word was lost, its first message says as much */
		q->dev->port->cmlib->notify(q->cm, IBV_EVENT_COMM_EST);
	verbs_come_up(l, l->later_credits);
	verbs_tell_up(l);
}

/* ---- active ---- */

bool verbs_cm_wanted(const struct verbs_offer *o, struct verbs_pair *pairs, unsigned *n)
{
	unsigned first = 0;

	while (first < *n && pairs[first].to.link == VERBS_LINK_IWARP)
		first++;                 /* rather RoCE, when both lead there */
	if (!*n)
		return false;
	if (first == *n || pairs[first].dev->cm || o->flags & VERBS_WANTS_CM || pairs[first].to.link == VERBS_LINK_IPOIB) {
		pairs[0] = pairs[first == *n ? 0 : first];
		*n = 1;
		return true;
	}
	for (unsigned i = first, to = 0; i < *n; i++)
		if (pairs[i].to.link != VERBS_LINK_IWARP && pairs[i].to.link != VERBS_LINK_IPOIB)
			pairs[to++] = pairs[i], first = to;
	*n = first;
	return false;
}

void verbs_cm_ask(struct verbs_lane *l, const struct verbs_pair *pair)
{
	struct verbs_say s = { .version = VERBS_VERSION, .what = VERBS_CM_ASK, .n = 1, .link = pair->to.link };
	struct verbs_port *p = verbs_lane_port(l);
	char why[200] = "";
	struct verbs_qp *q;

	q = verbs_cm_open(p, why, sizeof(why)) ? NULL : verbs_rail_new(l, pair->dev, pair->gid_at, why, sizeof(why));
	if (!q) {
		verbs_fail(l, WEFT_ENOTSUP, 0, "%s", why);
		return;
	}
	s.credits = (uint16_t)l->granted;
	s.cm.self = q->self;
	memcpy(q->peer.gid, pair->to.gid, sizeof(q->peer.gid));
	memcpy(s.cm.self.to, pair->to.gid, sizeof(s.cm.self.to));
	l->state = VERBS_ASKED;
	verbs_time(l);
	if (wf_lane_say(&l->base, &s, sizeof(s)) < 0)
		verbs_fail(l, WEFT_ERESET, 0, "the connection broke while queue pairs were exchanged");
}

/* The part of the time that is left which one step may take, in ms. */
static int step_ms(const struct verbs_lane *l)
{
	uint64_t now = wf_now_ns();

	return l->give_up_at > now ? (int)WF_MIN((l->give_up_at - now) / 2 / WF_NS_PER_MS + 1, 60000u) : 1;
}

/* An identifier, and the first of its steps. */
static void begin(struct verbs_lane *l)
{
	const struct verbs_cmlib *cm = verbs_lane_port(l)->cmlib;
	struct verbs_qp *q = l->rail[0];
	struct wf_addr from, to;
	char why[200];

	wf_addr_from_ip6(q->self.gid, &from);
	wf_addr_from_ip6(q->peer.gid, &to);
	wf_addr_set_port(&to, l->cm_port);
	errno = 0;
	if (cm->create_id(verbs_lane_port(l)->cm, &q->cm, q, RDMA_PS_TCP)) {
		q->cm = NULL;
		verbs_say_no(l, "rdma_cm gives no identifier");
	} else if (!set_class(verbs_lane_port(l), q->cm)) {
		snprintf(why, sizeof(why), "%s: rdma_cm does not take the traffic class of the setting rdma: %s", q->dev->name, strerror(errno));
		verbs_say_no(l, why);
	} else if (cm->resolve_addr(q->cm, (struct sockaddr *)&from.sa, (struct sockaddr *)&to.sa, step_ms(l))) {
		snprintf(why, sizeof(why), "%s: rdma_cm cannot resolve the peer's address: %s", q->dev->name, strerror(errno));
		verbs_say_no(l, why);
	}
}

static void in_invite(struct verbs_lane *l, const struct verbs_say *s)
{
	struct verbs_qp *q = l->rail[0];

	l->state = VERBS_CONNECTING;
	l->later_credits = s->credits;
	l->cm_port = s->port;
	l->cm_tries = 0;
	memcpy(l->secret, s->cm.secret, sizeof(l->secret));
	meet(q, &(struct verbs_end){ .reads = s->cm.self.reads });
	memcpy(q->peer.gid, s->cm.self.gid, sizeof(q->peer.gid));
	begin(l);
}

bool verbs_cm_hear(struct verbs_lane *l, const struct verbs_say *s)
{
	if (s->what == VERBS_CM_ASK && l->state == VERBS_WAITING)
		in_ask(l, s);
	else if (s->what == VERBS_CM_INVITE && l->state == VERBS_ASKED && l->n_rails == 1 && s->port &&
		 !memcmp(s->cm.self.gid, l->rail[0]->peer.gid, sizeof(s->cm.self.gid)))
		in_invite(l, s);
	else
		return false;
	return true;
}

static int connect_now(struct verbs_lane *l, struct verbs_qp *q)
{
	struct verbs_hail hail = { .version = VERBS_VERSION };
	struct rdma_conn_param param = params(q);
	int ret = change_state(q, IBV_QPS_INIT);

	memcpy(hail.secret, l->secret, sizeof(hail.secret));
	param.private_data = &hail;
	param.private_data_len = sizeof(hail);
	if (ret)
		return ret;
	return q->dev->port->cmlib->connect(q->cm, &param) ? errno : 0;
}

static void connected(struct verbs_lane *l)
{
	verbs_come_up(l, l->later_credits);
	verbs_note(l, VERBS_CREDIT, 0);
}

/* Its next step; 0, or errno and what it was. */
static int next_step(struct verbs_lane *l, struct verbs_qp *q, enum rdma_cm_event_type what, const char **doing)
{
	const struct verbs_cmlib *cm = q->dev->port->cmlib;
	int ret;

	switch (what) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		*doing = "rdma_cm leads to the peer by another device";
		if (!is_bound_to(q->cm, q->dev))
			return EXDEV;
		*doing = "resolving the route";
		return cm->resolve_route(q->cm, step_ms(l)) ? errno : 0;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		*doing = "connecting";
		ret = connect_now(l, q);
		if (ret != EADDRINUSE || ++l->cm_tries > PORTS)
			return ret;
		verbs_cm_free(q);
		begin(l);
		return 0;
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		*doing = "making the queue pair ready";
		ret = to_ready(q);
		if (ret)
			return ret;
		*doing = "confirming the connection";
		if (cm->establish(q->cm))
			return errno;
		connected(l);
		return 0;
	default:                         /* ESTABLISHED */
		connected(l);
		return 0;
	}
}

/* ---- events ---- */

static const char *words_of(enum rdma_cm_event_type what)
{
	switch (what) {
	case RDMA_CM_EVENT_ADDR_ERROR:
		return "the peer's address cannot be resolved";
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return "there is no route to the peer";
	case RDMA_CM_EVENT_UNREACHABLE:
		return "the peer does not answer";
	case RDMA_CM_EVENT_REJECTED:
		return "the connection was refused";
	case RDMA_CM_EVENT_DISCONNECTED:
		return "the connection was closed before it was used";
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		return "the device was taken out";
	default:
		return "the connection failed";
	}
}

/* Before it was up. When it was and is breaking, that is known. */
static void failed(struct verbs_lane *l, struct verbs_qp *q, const struct happening *h)
{
	char why[200];

	if (l->state >= VERBS_BREAKING)
		return;
	snprintf(why, sizeof(why), "%s: rdma_cm: %s%s%s", q->dev->name, words_of(h->what), h->status < 0 ? ": " : "",
		 h->status < 0 ? strerror(-h->status) : "");
	verbs_say_no(l, why);
}

static void on_event(struct verbs_port *p, const struct happening *h)
{
	struct verbs_qp *q = h->id->context;
	struct verbs_lane *l;
	const char *doing = "";
	char why[200];
	int ret;

	if (h->what == RDMA_CM_EVENT_CONNECT_REQUEST) {
		on_request(p, h);
		return;
	}
	l = q ? q->lane : NULL;
	if (!l || l->state == VERBS_DOWN)
		return;                  /* a listener's, or of a connection that is being closed */
	switch (h->what) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
	case RDMA_CM_EVENT_ESTABLISHED:
		ret = l->state != VERBS_CONNECTING ? 0 : h->status ? abs(h->status) : next_step(l, q, h->what, &doing);
		if (!ret)
			return;
		snprintf(why, sizeof(why), "%s: rdma_cm: %s: %s", q->dev->name, doing, strerror(ret));
		verbs_say_no(l, why);
		return;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		failed(l, q, h);
		return;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		if (l->state != VERBS_UP)
			failed(l, q, h);         /* so that the peer hears of it */
		verbs_dev_lose(q->dev);
		return;
	case RDMA_CM_EVENT_DISCONNECTED:
		if (l->state == VERBS_UP)
			verbs_break(l, "%s: the peer's side of the connection is gone", q->dev->name);
		else
			failed(l, q, h);
		return;
	default:
		return;
	}
}

static void on_channel(void *arg, uint32_t events)
{
	struct verbs_port *p = arg;
	struct rdma_cm_event *e;

	(void)events;
	for (unsigned i = 0; i < EVENTS && !p->cmlib->get_cm_event(p->cm, &e); i++) {
		struct happening h = { .id = e->id, .what = e->event, .status = e->status };

		if (h.what == RDMA_CM_EVENT_CONNECT_REQUEST && e->param.conn.private_data && e->param.conn.private_data_len >= sizeof(h.hail)) {
			memcpy(&h.hail, e->param.conn.private_data, sizeof(h.hail));
			h.hailed = h.hail.version == VERBS_VERSION;
		}
		p->cmlib->ack_cm_event(e);
		on_event(p, &h);
	}
}

const char *verbs_cm_late(const struct verbs_lane *l)
{
	if (l->state == VERBS_INVITED)
		return "the peer did not connect by rdma_cm";
	if (l->state == VERBS_CONNECTING || l->state == VERBS_ACCEPTED)
		return "rdma_cm did not connect in time";
	if (l->state == VERBS_PROVING)
		return "the peer's adapter was not reached in time";
	return "the peer did not answer about its queue pair";
}

void verbs_cm_free(struct verbs_qp *q)
{
	if (q->cm)
		q->dev->port->cmlib->destroy_id(q->cm);
	q->cm = NULL;
}
