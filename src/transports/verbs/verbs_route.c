/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_route.c - the addresses of a port, and which of our ports reach which of the peer's. On Ethernet a GID is an IP address, and
 * the kernel's routing table says from which of ours it would be reached: the port that has that address is the one to use, whatever its
 * name, VLAN or place in a table. On InfiniBand two ports meet when they are of one subnet; on both only when they are of one partition.
 */
#include <stdio.h>
#include <string.h>

#include "transports/verbs/verbs.h"

void verbs_gid_text(const uint8_t *gid, char *out, size_t cap)
{
	struct wf_addr a;

	wf_addr_from_ip6(gid, &a);
	wf_addr_format_host(&a, out, cap);
}

/* ---- ours ---- */

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n)
		if (p[--n])
			return false;
	return true;
}

static bool is_link_local(const union ibv_gid *g)
{
	return g->raw[0] == 0xfe && (g->raw[1] & 0xc0) == 0x80;
}

/* On Ethernet only addresses that IP routes to are of use, and only RoCE v2 is routed. */
static bool is_useful(const struct verbs_dev *d, const union ibv_gid *g, uint32_t type)
{
	if (is_zero(g->raw, sizeof(g->raw)))
		return false;
	return d->link == IBV_LINK_LAYER_INFINIBAND || (type == IBV_GID_TYPE_ROCE_V2 && !is_link_local(g));
}

/*
 * One address of each network interface first, for each VLAN is one, and fewer are offered than there may be; the last ones find no place.
 */
static void add_gid(struct verbs_dev *d, const struct ibv_gid_entry *e, uint8_t index)
{
	unsigned nth = 0, at;

	for (unsigned i = 0; i < d->n_gid; i++)
		nth += d->gid[i].netdev == e->ndev_ifindex;
	for (at = d->n_gid; at && d->gid[at - 1].nth > nth; at--)
		;
	d->gids_left += d->n_gid == VERBS_GIDS;
	if (at == VERBS_GIDS)
		return;
	d->n_gid = WF_MIN(d->n_gid + 1, VERBS_GIDS);
	memmove(&d->gid[at + 1], &d->gid[at], (d->n_gid - 1 - at) * sizeof(d->gid[0]));
	d->gid[at].gid = e->gid;
	d->gid[at].index = index;
	d->gid[at].netdev = e->ndev_ifindex;
	d->gid[at].nth = (uint8_t)nth;
}

/* Of a table that may have a thousand places those in use come first, with few gaps. */
#define GIDS_LOOKED_AT 64

void verbs_gids_read(struct verbs_dev *d, int n)
{
	const struct verbs_lib *v = d->port->lib;
	int only = d->only_gid, from = only < 0 ? 0 : only, to = only < 0 ? WF_MIN(n, GIDS_LOOKED_AT) : only + 1;

	if (d->link == VERBS_LINK_IWARP || d->link == VERBS_LINK_IPOIB) {
		verbs_cm_addresses(d);
		return;
	}
	d->n_gid = 0;
	d->gids_left = 0;
	for (int i = from; i < to && i < n; i++) {
		struct ibv_gid_entry e = { .gid_type = IBV_GID_TYPE_ROCE_V2 };   /* an older library cannot say */

		if (v->query_gid_ex ? v->query_gid_ex(d->ctx, d->number, (uint32_t)i, &e, 0, sizeof(e)) :
				      v->query_gid(d->ctx, d->number, i, &e.gid))
			continue;
		if (!is_useful(d, &e.gid, e.gid_type))
			continue;
		add_gid(d, &e, (uint8_t)i);
		if (d->link == IBV_LINK_LAYER_INFINIBAND)
			break;
	}
}

int verbs_gid_find(const struct verbs_dev *d, const uint8_t *gid)
{
	for (unsigned i = 0; i < d->n_gid; i++)
		if (!memcmp(d->gid[i].gid.raw, gid, sizeof(d->gid[i].gid.raw)))
			return (int)i;
	return -1;
}

/* ---- which of them meet ---- */

/* Do they hear each other? Where rdma_cm connects, that knows. */
static bool meets(const struct verbs_dev *d, const struct verbs_where *to, char *why, size_t cap)
{
	if (to->link == VERBS_LINK_IWARP || to->link == VERBS_LINK_IPOIB || verbs_same_partition(d->pkey, to->pkey))
		return true;
	snprintf(why, cap, "%s: P_Key 0x%04x here, 0x%04x there: %s", d->name, d->pkey, to->pkey,
		 (d->pkey ^ to->pkey) & ~VERBS_PKEY_FULL ? "not of one partition" : "both are limited members, who do not hear each other");
	return false;
}

bool verbs_is_among(const struct verbs_told *told, const uint8_t *gid)
{
	for (unsigned i = 0; i < told->n; i++)
		if (!memcmp(told->at[i].gid, gid, sizeof(told->at[i].gid)))
			return true;
	return false;
}

/*
 * The peer takes no address that it was not told, as that of a port that came up since, or one more than an offer holds. Where rdma_cm
 * connects it asks for none.
 */
static bool was_told(const struct verbs_dev *d, unsigned gid_at, const struct verbs_told *own, char *why, size_t cap)
{
	if (!own || d->cm || d->link == VERBS_LINK_IWARP || d->link == VERBS_LINK_IPOIB || verbs_is_among(own, d->gid[gid_at].gid.raw))
		return true;
	snprintf(why, cap, "%s: its address is none of those that were offered to the peer", d->name);
	return false;
}

static bool is_taken(const struct verbs_pair *pairs, unsigned n, const struct verbs_dev *d)
{
	for (unsigned i = 0; i < n; i++)
		if (pairs[i].dev == d)
			return true;
	return false;
}

/* The one of our ports that has @from, and which of its addresses that is. */
static struct verbs_dev *owner_of(const struct verbs_port *p, const struct wf_addr *from, uint8_t link, uint8_t *gid_at)
{
	for (unsigned i = 0; i < p->n_dev; i++)
		for (unsigned k = 0; p->dev[i]->link == link && k < p->dev[i]->n_gid; k++) {
			struct wf_addr mine;

			wf_addr_from_ip6(p->dev[i]->gid[k].gid.raw, &mine);
			if (!wf_addr_equal_host(&mine, from))
				continue;
			*gid_at = (uint8_t)k;
			return p->dev[i];
		}
	return NULL;
}

/* It may be one that we do not look at. */
static void say_not_ours(const struct verbs_port *p, const struct verbs_where *to, const char *there, const char *here, char *why, size_t cap)
{
	size_t at = (size_t)snprintf(why, cap, "the route to the peer's RDMA address %s begins at %s, which is no address of an %s device here",
				     there, here, to->link == VERBS_LINK_IWARP ? "iWARP" : "RDMA");

	for (unsigned i = 0; i < p->n_dev && at < cap; i++)
		if (p->dev[i]->gids_left)
			at += (size_t)snprintf(why + at, cap - at, " (of %s's %u are left out)", p->dev[i]->name, p->dev[i]->gids_left);
}

static struct verbs_dev *by_ip(const struct verbs_port *p, const struct verbs_where *to, uint8_t *gid_at, char *why, size_t cap)
{
	char there[WF_ADDR_TEXT], here[WF_ADDR_TEXT];
	struct wf_addr a, from;
	struct verbs_dev *d;
	int ret;

	wf_addr_from_ip6(to->gid, &a);
	wf_addr_format_host(&a, there, sizeof(there));
	ret = wf_addr_route(&a, &from);
	if (ret) {
		snprintf(why, cap, "no route to the peer's RDMA address %s: %s", there, strerror(-ret));
		return NULL;
	}
	d = owner_of(p, &from, to->link, gid_at);
	if (d)
		return meets(d, to, why, cap) ? d : NULL;
	say_not_ours(p, to, there, wf_addr_format_host(&from, here, sizeof(here)), why, cap);
	return NULL;
}

static struct verbs_dev *by_subnet(const struct verbs_port *p, const struct verbs_told *own, const struct verbs_where *to,
				   const struct verbs_pair *taken, unsigned n, char *why, size_t cap)
{
	bool any = false, near = false;

	for (unsigned i = 0; i < p->n_dev; i++) {
		struct verbs_dev *d = p->dev[i];

		any = any || d->link == IBV_LINK_LAYER_INFINIBAND;
		if (d->link != IBV_LINK_LAYER_INFINIBAND || !d->up || !d->n_gid || is_taken(taken, n, d) || memcmp(d->gid[0].gid.raw, to->gid, 8))
			continue;
		if (was_told(d, 0, own, why, cap) && meets(d, to, why, cap))
			return d;
		near = true;
	}
	if (!near)
		snprintf(why, cap, any ? "the peer's InfiniBand port is of another subnet" : "the peer offers InfiniBand, and this machine has none");
	return NULL;
}

unsigned verbs_route(struct verbs_port *p, const struct verbs_told *own, const struct verbs_told *to, struct verbs_pair *out, char *why,
		     size_t cap)
{
	unsigned found = 0;

	snprintf(why, cap, "the peer offers no address");
	for (unsigned i = 0; i < to->n && found < VERBS_DEVS; i++) {
		const struct verbs_where *at = &to->at[i];
		uint8_t gid_at = 0;
		struct verbs_dev *d = at->link == IBV_LINK_LAYER_INFINIBAND ? by_subnet(p, own, at, out, found, why, cap) :
									      by_ip(p, at, &gid_at, why, cap);

		if (!d || !d->up || is_taken(out, found, d) || !was_told(d, gid_at, own, why, cap))
			continue;
		out[found++] = (struct verbs_pair){ .dev = d, .gid_at = gid_at, .to = *at };
	}
	return found;
}

/* ---- addresses that went ---- */

/* On InfiniBand the LID leads there; of what rdma_cm connected it tells us itself. */
static bool is_orphan(const struct verbs_qp *q)
{
	const struct verbs_dev *d = q->dev;
	union ibv_gid gid;

	if (q->cm || (d->link == IBV_LINK_LAYER_INFINIBAND && !d->needs_grh))
		return false;
	return d->port->lib->query_gid(d->ctx, d->number, q->gid_index, &gid) || memcmp(gid.raw, q->self.gid, sizeof(gid.raw));
}

/*
 * The kernel keeps the entry for queue pairs that use it, and some adapters go on with it as long as the network lets them: that is
 * not ours to judge. But where nothing is being sent nobody would find out.
 */
void verbs_ask_orphans(struct verbs_dev *d)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &d->port->base.lanes) {
		struct verbs_lane *l = verbs_lane_of(wf_list_entry(it, struct wf_lane, link));

		for (unsigned i = 0; i < l->n_rails && l->state == VERBS_UP; i++) {
			struct verbs_qp *q = l->rail[i];
			bool was = q->orphan;

			if (q->dev != d || q->broken)
				continue;
			q->orphan = is_orphan(q);
			if (q->orphan && !was)
				verbs_ask(q);
		}
	}
}
