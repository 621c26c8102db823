/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_conn.c - how two lanes get queue pairs that know each other.
 *
 *   active                                    passive
 *   hello: the addresses of each side's ports, both ways
 *   looks which of its ports reach which of
 *   the peer's, makes a queue pair for each
 *   ASK { its number, both addresses } -----> makes one at the address that was named, connects it: up
 *                              <------ ANSWER { its number }, or NO { why }
 *   connects its own: up
 *
 * over the bootstrap lane (wf_lane_say()). Where the adapter or the setting wants rdma_cm, it is that which tells the numbers
 * (verbs_cm.c). Where shm or a better transport is taken meanwhile, nothing was made.
 *
 * A queue pair that broke or whose lane was closed still holds one receive buffer of the shared queue, maybe, until the
 * adapter has flushed it (IBV_EVENT_QP_LAST_WQE_REACHED): it dies slowly, on the device's list (G63).
 */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"
#include "transports/verbs/verbs.h"

#define DYING_NS (200 * WF_NS_PER_MS)   /* for the adapter to let go of a queue pair; it takes microseconds */

#define OTHER_VERSION "the peer speaks another version of verbs"

/* ---- offer ---- */

static void init_lane(struct verbs_lane *l)
{
	struct wf_list *lists[] = { &l->held, &l->starved, &l->notice, &l->timed, &l->resumed, &l->owing, &l->grants };

	if (l->state != VERBS_NEW)
		return;
	for (size_t i = 0; i < WF_ARRAY_LEN(lists); i++)
		wf_list_init(lists[i]);
	l->base.frame_max = VERBS_FRAME_MAX;
	l->base.eager_max = VERBS_FRAME_MAX;
	l->base.can_copy = true;
	l->unsent_end = &l->unsent;
	l->state = VERBS_OFFERED;
}

static unsigned fill_offer(const struct verbs_port *p, struct verbs_offer *o)
{
	unsigned n = 0;

	/* one address of each port first, for who has many ports shall not lose one to the second address of another */
	for (unsigned k = 0; k < VERBS_GIDS; k++)
		for (unsigned i = 0; i < p->n_dev && n < VERBS_OFFERS; i++) {
			const struct verbs_dev *d = p->dev[i];

			if (!d->up || k >= d->n_gid)
				continue;
			memcpy(o->at[n].gid, d->gid[k].gid.raw, sizeof(o->at[n].gid));
			o->at[n].lid = d->lid;
			o->at[n].link = d->link;
			o->at[n].pkey = d->pkey;
			o->at[n++].mtu = d->mtu;
		}
	return n;
}

static void say_why_none(const struct verbs_port *p, char *out, size_t cap)
{
	size_t at = 0;

	for (unsigned i = 0; i < p->n_dev && at < cap; i++)
		at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? "; " : "", p->dev[i]->why);
}

static void note_told(struct verbs_lane *l, const struct verbs_offer *o)
{
	memcpy(l->told.at, o->at, sizeof(l->told.at));
	l->told.n = o->n;
}

size_t verbs_offer(struct wf_lane *base, void *out, size_t cap)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_port *p = verbs_lane_port(l);
	struct verbs_offer o = { .version = VERBS_VERSION };

	init_lane(l);
	if (cap < sizeof(o) || verbs_devs_look(p)) {
		snprintf(base->why, sizeof(base->why), "%.159s", p->why);
		return 0;
	}
	o.flags = p->want.cm ? VERBS_WANTS_CM : 0;
	o.n = (uint8_t)fill_offer(p, &o);
	if (!o.n)
		say_why_none(p, base->why, sizeof(base->why));
	note_told(l, &o);
	memcpy(out, &o, sizeof(o));
	return o.n ? sizeof(o) : 0;
}

/* ---- queue pairs ---- */

static void qp_free(struct verbs_qp *q)
{
	struct verbs_dev *d = q->dev;

	verbs_cm_free(q);
	wf_map_remove(&d->qps, q->qp_num);
	if (d->last_qp == q)
		d->last_qp = NULL;
	/* destroying takes completions out of the queue, and with them buffers that were received into: they are fetched before */
	verbs_cq_sweep(q);
	d->port->lib->destroy_qp(q->qp);
	verbs_cq_sweep(q);
	verbs_promise_ends(q);
	verbs_cq_put(q->cq);
	wf_list_remove(&q->link);
	for (; q->done != q->posted; q->done++) {
		struct verbs_wr *wr = &q->ring[q->done % VERBS_SQ];

		if (wr->kind == VERBS_WR_FRAME || wr->kind == VERBS_WR_PUT)
			verbs_send_buf_put(d, wr->ptr);
	}
	wf_free(q);
}

/*
 * All that is posted comes back as flushed, but for what was done and had not asked to be told. A last request, which comes back
 * for sure and behind all others, says when that is over.
 */
void verbs_qp_break(struct verbs_qp *q)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_ERR };
	struct ibv_send_wr marker = { .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, *bad;
	struct verbs_wr *slot = &q->ring[q->posted % VERBS_SQ];

	if (q->broken)
		return;
	q->broken = true;
	q->emptied = q->emptied || (!q->dev->srq && !q->n_recvs);   /* else it is told: by LAST_WQE_REACHED, or by what comes back flushed */
	q->until = wf_now_ns() + VERBS_GIVE_UP_NS;
	verbs_wake_at(q->dev->port, q->until);
	q->dev->port->lib->modify_qp(q->qp, &a, IBV_QP_STATE);
	if (!verbs_sq_has_room(q, 1) || q->dev->iwarp)
		return;                  /* then the last one has asked to be told, or is flushed */
	*slot = (struct verbs_wr){ .kind = VERBS_WR_NONE };
	marker.wr_id = (uintptr_t)slot;
	if (!ibv_post_send(q->qp, &marker, &bad))
		q->posted++;
}

void verbs_rails_drop(struct verbs_lane *l)
{
	for (unsigned i = 0; i < l->n_rails; i++) {
		struct verbs_qp *q = l->rail[i];

		q->lane = NULL;
		q->until = wf_now_ns() + (q->broken || q->done == q->posted ? DYING_NS : VERBS_LEAVE_NS);
		if (q->done == q->posted)
			verbs_qp_break(q);   /* else what was sent last gets a moment to leave, see verbs_abandon() */
		wf_list_push_back(&q->dev->dying, &q->link);
		verbs_wake_at(q->dev->port, q->until);
	}
	l->n_rails = 0;
}

void verbs_qp_is_empty(struct verbs_dev *d, const struct ibv_qp *qp)
{
	struct verbs_qp *q = wf_map_find(&d->qps, qp->qp_num);

	if (!q || q->qp != qp)
		return;
	q->emptied = true;
	verbs_wake_at(d->port, wf_now_ns());
}

int verbs_dying_step(struct verbs_dev *d, uint64_t now)
{
	struct wf_list *it, *tmp;
	int n = 0;

	wf_list_foreach(it, tmp, &d->dying) {
		struct verbs_qp *q = wf_list_entry(it, struct verbs_qp, link);

		if (!q->broken && (q->until <= now || q->done == q->posted) && now != UINT64_MAX) {
			verbs_qp_break(q);
			q->until = now + DYING_NS;
		}
		if (q->until > now && !q->emptied) {
			verbs_wake_at(d->port, q->until);
			continue;
		}
		qp_free(q);
		n++;
	}
	return n;
}

void verbs_dying_free(struct verbs_dev *d)
{
	verbs_dying_step(d, UINT64_MAX);
}

static int to_init(struct verbs_qp *q)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_INIT, .pkey_index = q->dev->pkey_index, .port_num = q->dev->number,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | (q->dev->atomics ? IBV_ACCESS_REMOTE_ATOMIC : 0),
	};

	return q->dev->port->lib->modify_qp(q->qp, &a, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS |
							(q->dev->iwarp ? 0 : IBV_QP_PKEY_INDEX | IBV_QP_PORT));
}

void verbs_path_class(const struct verbs_dev *d, struct ibv_ah_attr *a)
{
	if (d->port->want.sl >= 0)
		a->sl = (uint8_t)d->port->want.sl;
	if (d->port->want.tc >= 0 && a->is_global)
		a->grh.traffic_class = (uint8_t)d->port->want.tc;
}

/* Ready to receive: knows its peer. The kernel may ask the network for the peer's hardware address here. */
static int to_rtr(struct verbs_qp *q)
{
	const struct verbs_dev *d = q->dev;
	bool ethernet = d->link == IBV_LINK_LAYER_ETHERNET;
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR, .path_mtu = (enum ibv_mtu)WF_MIN(d->mtu, q->peer.mtu), .dest_qp_num = q->peer.qpn,
		.rq_psn = q->peer.psn, .max_dest_rd_atomic = d->reads, .min_rnr_timer = VERBS_RNR_TIMER,
		.ah_attr = { .dlid = q->peer.lid, .port_num = d->number, .is_global = ethernet || d->needs_grh },
	};

	if (a.ah_attr.is_global) {
		memcpy(a.ah_attr.grh.dgid.raw, q->peer.gid, sizeof(q->peer.gid));
		a.ah_attr.grh.sgid_index = q->gid_index;
		a.ah_attr.grh.hop_limit = 64;
	}
	verbs_path_class(d, &a.ah_attr);
	return d->port->lib->modify_qp(q->qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
						   IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

/* The code of the longest time of which all retries take no longer than failure_detect. */
uint8_t verbs_timeout_code(const struct wf_conf *conf)
{
	uint64_t each = conf->failure_detect_ns / (VERBS_RETRY + 1);
	uint8_t code = VERBS_TIMEOUT_MIN;

	while (code < VERBS_TIMEOUT_MAX && 4096ull << (code + 1) <= each)
		code++;
	return code;
}

static int to_rts(struct verbs_qp *q)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTS, .timeout = verbs_timeout_code(q->dev->port->base.conf), .retry_cnt = VERBS_RETRY,
		.rnr_retry = VERBS_RNR_RETRY, .sq_psn = q->psn, .max_rd_atomic = q->reads_max,
	};

	return q->dev->port->lib->modify_qp(q->qp, &a, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
							IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

static int create_qp(struct verbs_qp *q)
{
	struct ibv_qp_init_attr a = {
		.send_cq = q->cq->cq, .recv_cq = q->cq->cq, .srq = q->dev->srq, .qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = VERBS_SQ, .max_send_sge = 1, .max_inline_data = VERBS_INLINE },
	};

	if (!a.srq) {                    /* further rails are sent no messages, and not every driver makes a queue for none */
		a.cap.max_recv_wr = WF_MAX(q->promised, 1);
		a.cap.max_recv_sge = 1;
	}
	errno = 0;
	q->qp = q->dev->port->lib->create_qp(q->dev->pd, &a);
	for (unsigned less = 64; !q->qp && a.cap.max_inline_data; less = 0) {
		a.cap.max_inline_data = less;   /* an adapter that has less refuses; some have none at all */
		q->qp = q->dev->port->lib->create_qp(q->dev->pd, &a);
	}
	q->inline_max = (uint16_t)WF_MIN(a.cap.max_inline_data, VERBS_INLINE);
	return q->qp ? 0 : errno ? errno : ENOMEM;
}

/* What the peer may send over the first rail is known before it is made: its receive queue may be its own. False: why. */
static bool make_qp(struct verbs_qp *q, char *why, size_t cap)
{
	struct verbs_lane *l = q->lane;
	int ret;

	if (!l->n_rails) {
		l->granted = verbs_promise(q, why, cap);
		if (!l->granted)
			return false;
	}
	ret = create_qp(q);
	if (ret)
		snprintf(why, cap, "%s: a queue pair: %s", q->dev->name, strerror(ret));
	return !ret;
}

struct verbs_qp *verbs_rail_new(struct verbs_lane *l, struct verbs_dev *d, unsigned gid_at, char *why, size_t cap)
{
	struct verbs_qp *q;
	uint32_t random;
	int ret;

	if (verbs_dev_start(d, why, cap))
		return NULL;
	if (wf_map_count(&d->qps) >= VERBS_QPS) {
		snprintf(why, cap, "%s: %u queue pairs of this worker are in use, and no more are made", d->name, VERBS_QPS);
		return NULL;
	}
	q = wf_calloc(1, sizeof(*q));
	if (!q) {
		snprintf(why, cap, "%s: no memory for a queue pair", d->name);
		return NULL;
	}
	q->cq = verbs_cq_get(d, why, cap);
	if (!q->cq) {
		wf_free(q);
		return NULL;
	}
	wf_list_init(&q->link);
	q->dev = d;
	q->lane = l;
	q->gid_index = d->gid[gid_at].index;
	if (!make_qp(q, why, cap)) {
		verbs_promise_ends(q);
		verbs_cq_put(q->cq);
		wf_free(q);
		return NULL;
	}
	q->qp_num = q->qp->qp_num;
	ret = wf_map_insert(&d->qps, q->qp_num, q) ? ENOMEM : -wf_random(&random, sizeof(random));
	if (!ret)
		ret = to_init(q);
	if (!ret && q->recvs)
		ret = verbs_own_recvs_post(q);
	if (ret) {
		snprintf(why, cap, "%s: preparing a queue pair: %s", d->name, strerror(ret));
		qp_free(q);
		return NULL;
	}
	q->wr = (struct ibv_send_wr){ .sg_list = &q->sge, .num_sge = 1, .opcode = IBV_WR_SEND };
	q->psn = random & 0xffffff;      /* a late packet of an earlier connection shall not fit */
	q->self = (struct verbs_end){ .qpn = q->qp->qp_num, .psn = q->psn, .lid = d->lid, .mtu = d->mtu, .reads = d->reads };
	memcpy(q->self.gid, d->gid[gid_at].gid.raw, sizeof(q->self.gid));
	l->rail[l->n_rails++] = q;
	return q;
}

/* From 0xc000 on LIDs are groups'. */
static bool is_ports_lid(uint16_t lid)
{
	return lid && lid < 0xc000;
}

/* Its peer is known: it can send. False: not possible, and why. */
static bool connect_rail(struct verbs_qp *q, char *why, size_t cap)
{
	char there[WF_ADDR_TEXT];
	int ret;

	verbs_gid_text(q->peer.gid, there, sizeof(there));
	if (q->peer.qpn > 0xffffff || q->peer.psn > 0xffffff || !q->peer.mtu || q->peer.mtu > IBV_MTU_4096 ||
	    (q->dev->link == IBV_LINK_LAYER_INFINIBAND && !is_ports_lid(q->peer.lid))) {
		snprintf(why, cap, "the peer at %s describes its queue pair in a way that cannot be", there);
		return false;
	}
	if (q->broken) {                 /* while the peer was asked; what is in error is not connected, but made anew */
		snprintf(why, cap, "%s: the queue pair to %s broke before it was connected", q->dev->name, there);
		return false;
	}
	q->reads_max = (uint8_t)WF_MIN(q->dev->reads, q->peer.reads);
	ret = to_rtr(q);
	if (ret) {
		snprintf(why, cap, "%s: connecting to the queue pair at %s: %s", q->dev->name, there, strerror(ret));
		return false;
	}
	ret = to_rts(q);
	if (ret)
		snprintf(why, cap, "%s: starting the queue pair to %s: %s", q->dev->name, there, strerror(ret));
	return !ret;
}

/* ---- what is said ---- */

static int say_ends(struct verbs_lane *l, uint8_t what)
{
	struct verbs_say s = { .version = VERBS_VERSION, .what = what, .n = l->n_rails, .credits = (uint16_t)l->granted };

	for (unsigned i = 0; i < l->n_rails; i++) {
		s.end[i] = l->rail[i]->self;
		memcpy(s.end[i].to, l->rail[i]->peer.gid, sizeof(s.end[i].to));
	}
	return wf_lane_say(&l->base, &s, sizeof(s));
}

void verbs_say_no(struct verbs_lane *l, const char *why)
{
	struct verbs_say s = { .version = VERBS_VERSION, .what = VERBS_NO };

	snprintf((char *)s.end, sizeof(s.end), "%s", why);
	wf_lane_say(&l->base, &s, sizeof(s));
	verbs_fail(l, WEFT_ENOTSUP, 0, "%s", why);
}

void verbs_come_up(struct verbs_lane *l, uint16_t credits)
{
	char there[WF_ADDR_TEXT];

	verbs_gid_text(l->rail[0]->peer.gid, there, sizeof(there));
	snprintf(l->base.peer, sizeof(l->base.peer), "%s", there);
	l->credits = WF_MIN(credits, VERBS_CREDITS);
	l->base.inline_max = l->rail[0]->inline_max > VERBS_HEAD + WF_FRAME_HDR ?
				     l->rail[0]->inline_max - (uint32_t)(VERBS_HEAD + WF_FRAME_HDR) : 0;
	verbs_set_up(l);
}

/* The other side has made its queue pairs and wants ours. */
static void in_ask(struct verbs_lane *l, const struct verbs_say *s)
{
	struct verbs_port *p = verbs_lane_port(l);
	char why[200] = "";

	for (unsigned i = 0; i < s->n; i++) {
		struct verbs_dev *d = NULL;
		struct verbs_qp *q;
		int at = -1;

		for (unsigned k = 0; k < p->n_dev && at < 0; k++) {
			d = p->dev[k];
			at = d->up ? verbs_gid_find(d, s->end[i].to) : -1;
		}
		if (at < 0) {
			char gid[WF_ADDR_TEXT];

			verbs_gid_text(s->end[i].to, gid, sizeof(gid));
			snprintf(why, sizeof(why), "the RDMA address %s is not ours any more, or its port is down", gid);
			verbs_say_no(l, why);
			return;
		}
		/* the kernel may look for a neighbour while a queue pair is connected, and the worker waits for it: not for any address */
		if (!verbs_is_among(&l->told, s->end[i].gid)) {
			verbs_say_no(l, "an RDMA address is named that was not offered");
			return;
		}
		q = verbs_rail_new(l, d, (unsigned)at, why, sizeof(why));
		if (q)
			q->peer = s->end[i];
		if (!q || !connect_rail(q, why, sizeof(why))) {
			verbs_say_no(l, why);
			return;
		}
	}
	if (say_ends(l, VERBS_ANSWER) < 0)
		verbs_fail(l, WEFT_ERESET, 0, "the connection broke while queue pairs were exchanged");
	else
		verbs_come_up(l, s->credits);
}

/*
 * Of a lane that is made again nobody knows whether the path that broke is whole by now, nor on which of them it is: queue pairs are
 * made ready without a packet. So each rail writes no bytes, which the peer's adapter has to answer.
 */
static void prove(struct verbs_lane *l, uint16_t credits)
{
	l->later_credits = credits;
	l->state = VERBS_PROVING;
	for (unsigned i = 0; i < l->n_rails && l->state == VERBS_PROVING; i++)
		verbs_ask(l->rail[i]);
}

void verbs_proved(struct verbs_lane *l, bool late)
{
	for (unsigned i = 0; i < l->n_rails; i++) {
		struct verbs_qp *q = l->rail[i];

		if (q->done == q->posted || q->broken)
			continue;
		if (!late && i) {                /* the first has its answer: messages do not wait long for the others */
			l->give_up_at = WF_MIN(l->give_up_at, wf_now_ns() + VERBS_PROVE_NS);
			verbs_wake_at(verbs_lane_port(l), l->give_up_at);
		}
		if (!late || !i)
			return;
		snprintf(l->base.why, sizeof(l->base.why), "%s is left out: the peer's adapter is not reached over it", q->dev->name);
		verbs_qp_break(q);
	}
	verbs_come_up(l, l->later_credits);
}

static void in_answer(struct verbs_lane *l, const struct verbs_say *s)
{
	char why[200] = "";

	if (s->n != l->n_rails) {
		verbs_fail(l, WEFT_EPROTO, 0, "the peer answered for %u rails of %u", s->n, l->n_rails);
		return;
	}
	for (unsigned i = 0; i < s->n; i++) {
		/* as for an ASK: the kernel looks for no other neighbour than the one that was offered and chosen */
		if (memcmp(s->end[i].gid, l->rail[i]->peer.gid, sizeof(s->end[i].gid))) {
			verbs_fail(l, WEFT_EPROTO, 0, "the peer answers from an RDMA address that it was not asked at");
			return;
		}
		l->rail[i]->peer = s->end[i];
		if (!connect_rail(l->rail[i], why, sizeof(why))) {
			verbs_fail(l, WEFT_EUNREACHABLE, 0, "%s", why);
			return;
		}
	}
	if (l->base.again)
		prove(l, s->credits);
	else
		verbs_come_up(l, s->credits);
}

/* Who has asked waits for an answer. */
static void refuse(struct verbs_lane *l, int32_t status, const char *why)
{
	if (l->state == VERBS_WAITING)
		verbs_say_no(l, why);
	else
		verbs_fail(l, status, 0, "%s", why);
}

void verbs_hear(struct wf_lane *base, const void *bytes, size_t len)
{
	struct verbs_lane *l = verbs_lane_of(base);
	struct verbs_say s;

	if (l->state >= VERBS_BREAKING || l->state == VERBS_NEW)
		return;
	if (len != sizeof(s)) {
		verbs_fail(l, WEFT_EPROTO, 0, "the peer says something malformed about its queue pairs");
		return;
	}
	memcpy(&s, bytes, sizeof(s));
	if (s.what == VERBS_NO) {
		((char *)s.end)[sizeof(s.end) - 1] = 0;
		verbs_fail(l, WEFT_ENOTSUP, 0, "the peer: %.150s", (const char *)s.end);
	} else if (l->refusal) {
		verbs_say_no(l, l->refusal);
	} else if (s.version != VERBS_VERSION) {
		refuse(l, WEFT_EVERSION, OTHER_VERSION);
	} else if (!s.n || s.n > VERBS_DEVS) {
		refuse(l, WEFT_EPROTO, "the peer says something malformed about its queue pairs");
	} else if (s.what == VERBS_ASK && l->state == VERBS_WAITING) {
		in_ask(l, &s);
	} else if (s.what == VERBS_ANSWER && l->state == VERBS_ASKED && l->n_rails) {
		in_answer(l, &s);
	} else if (!verbs_watch_hear(l, &s) && !verbs_cm_hear(l, &s)) {
		verbs_fail(l, WEFT_EPROTO, 0, "the peer says something about its queue pairs that was not asked");
	}
}

/* ---- attach ---- */

void verbs_time(struct verbs_lane *l)
{
	l->give_up_at = wf_now_ns() + l->base.port->conf->connect_timeout_ns / 2;
	if (!wf_list_is_linked(&l->timed))
		wf_list_push_back(&verbs_lane_port(l)->timed, &l->timed);
	verbs_wake_at(verbs_lane_port(l), l->give_up_at);
}

static void ask(struct verbs_lane *l, const struct verbs_pair *pairs, unsigned n)
{
	char why[200] = "";

	for (unsigned i = 0; i < n; i++) {
		struct verbs_qp *q = verbs_rail_new(l, pairs[i].dev, pairs[i].gid_at, why, sizeof(why));

		if (!q) {
			verbs_fail(l, WEFT_ENOTSUP, 0, "%s", why);
			return;
		}
		memcpy(q->peer.gid, pairs[i].to.gid, sizeof(q->peer.gid));
	}
	l->state = VERBS_ASKED;
	verbs_time(l);
	if (say_ends(l, VERBS_ASK) < 0)
		verbs_fail(l, WEFT_ERESET, 0, "the connection broke while queue pairs were exchanged");
}

/* An offer that is. The passive side says so when it is asked: now is not the time, and the peer may take another transport anyway. */
static void no_use(struct verbs_lane *l, int32_t status, const char *why)
{
	if (l->active) {
		verbs_fail(l, status, 0, "%s", why);
		return;
	}
	l->refusal = why;
	l->state = VERBS_WAITING;
}

/* The first rail carries the frames: rather one that did so well until now, else the one that broke longest ago. */
static void put_broken_last(struct verbs_pair *pairs, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned k = i; k && pairs[k].dev->broke_at < pairs[k - 1].dev->broke_at; k--) {
			struct verbs_pair p = pairs[k];

			pairs[k] = pairs[k - 1];
			pairs[k - 1] = p;
		}
}

int verbs_attach(struct wf_lane *base, bool active, const void *offer, size_t len)
{
	struct verbs_lane *l = verbs_lane_of(base);
	const struct verbs_told own = l->told;
	struct verbs_pair pairs[VERBS_DEVS];
	struct verbs_offer o;
	char why[200];
	unsigned n;

	init_lane(l);
	l->active = active;
	if (len < 2 || ((const uint8_t *)offer)[0] != VERBS_VERSION) {
		no_use(l, WEFT_EVERSION, OTHER_VERSION);
		return 0;
	}
	if (len < sizeof(o) || ((const uint8_t *)offer)[1] > VERBS_OFFERS) {
		no_use(l, WEFT_EPROTO, "the peer's offer of verbs is malformed");
		return 0;
	}
	memcpy(&o, offer, sizeof(o));
	note_told(l, &o);
	if (!active) {
		l->state = VERBS_WAITING;
		return 0;
	}
	n = verbs_route(verbs_lane_port(l), o.flags & VERBS_WANTS_CM ? NULL : &own, &l->told, pairs, why, sizeof(why));
	if (base->again)
		put_broken_last(pairs, n);
	if (verbs_cm_wanted(&o, pairs, &n))
		verbs_cm_ask(l, pairs);
	else if (n)
		ask(l, pairs, n);
	else
		verbs_fail(l, WEFT_EUNREACHABLE, 0, "%s", why);
	return 0;
}
