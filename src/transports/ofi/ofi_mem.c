/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ofi_mem.c - registrations, and the addresses of peers.
 */
#include "transports/ofi/ofi.h"

#include "base/err.h"
#include "base/fault.h"
#include "os/proc.h"

#define IDLE_PEERS 32u

/* ---- registrations ---- */

void ofi_unreg(void *reg)
{
	struct fid_mr *mr = reg;

	mr->fid.ops->close(&mr->fid);
}

static struct fid_mr *reg_once(struct ofi_port *p, const void *addr, size_t len, uint64_t access, uint64_t key)
{
	struct fid_mr *mr = NULL;

	if (p->domain->mr->reg(&p->domain->fid, addr, len, access, 0, key, 0, &mr, NULL))
		return NULL;
	if (p->reg_ep && (mr->fid.ops->bind(&mr->fid, &p->ep->fid, 0) || mr->fid.ops->control(&mr->fid, FI_ENABLE, NULL))) {
		ofi_unreg(mr);
		return NULL;
	}
	return mr;
}

static uint64_t access_of(unsigned access)
{
	return (access & FAB_RECV ? FI_RECV : 0) | (access & FAB_SEND ? FI_SEND : 0) | (access & FAB_INTO ? FI_READ : 0) |
	       (access & FAB_FROM ? FI_WRITE : 0) | (access & FAB_PEER_READS ? FI_REMOTE_READ : 0) |
	       (access & FAB_PEER_WRITES ? FI_REMOTE_WRITE : 0);
}

void *ofi_reg(struct fab_port *base, void *addr, size_t len, unsigned access)
{
	struct ofi_port *p = ofi_port_of(base);
	uint64_t what = access_of(access), key = 0;
	struct fid_mr *mr = NULL;

	if (p->prov_key)
		return reg_once(p, addr, len, what, 0);
	for (int tries = 0; tries < 4 && !mr; tries++) {   /* ours to choose: not to be guessed, where it has room for that */
		if (p->key_mask != UINT64_MAX || wf_random(&key, sizeof(key)))
			key = p->next_key++;
		mr = reg_once(p, addr, len, what, key & p->key_mask);
	}
	return mr;
}

void ofi_tell(struct fab_port *p, void *reg, void *addr, struct fab_far *out)
{
	out->addr = ofi_port_of(p)->virt_addr ? (uintptr_t)addr : 0;
	out->key = ((struct fid_mr *)reg)->key;
}

/* ---- addresses ---- */

static struct ofi_peer *peer_get(struct ofi_port *p, const void *name, size_t len)
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
void ofi_part(struct fab_lane *l)
{
	struct ofi_port *p = ofi_port_of(fab_lane_port(l));
	struct ofi_peer *peer = l->peer;
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

void ofi_landed(void *peer)
{
	((struct ofi_peer *)peer)->busy--;
}

void ofi_peers_free(struct ofi_port *p)
{
	struct wf_list *it;

	while ((it = wf_list_first(&p->peers)))
		peer_free(p, wf_list_entry(it, struct ofi_peer, link));
}

/*
 * A foreign address of this length may be given to the provider, which reads as much as its format says: one that is as long
 * as ours and of the same family, or a text that ends.
 */
static bool may_insert(const struct ofi_port *p, const uint8_t *name, size_t len)
{
	uint32_t format = p->info->addr_format;

	if (p->is_shm)
		return len > 1 && !name[len - 1];
	if (len != p->fab.name_len)
		return false;
	return format < FI_SOCKADDR || format > FI_SOCKADDR_IB || len < 2 || !memcmp(name, p->name, 2);
}

int ofi_join(struct fab_lane *l, const uint8_t *name, size_t len)
{
	struct ofi_port *p = ofi_port_of(fab_lane_port(l));
	size_t cap = sizeof(l->base.peer);
	struct ofi_peer *peer;

	if (len > OFI_NAME_MAX || !may_insert(p, name, len))
		return wf_fail(WEFT_EPROTO, 0, "ofi", NULL, "the peer's address is none of provider %s", p->fab.over);
	peer = peer_get(p, name, len);
	if (!peer)
		return wf_fail(WEFT_EUNREACHABLE, 0, "ofi", NULL, "provider %s does not take the peer's address", p->fab.over);
	l->peer = peer;
	if (p->av->ops->straddr)
		p->av->ops->straddr(p->av, peer->name, l->base.peer, &cap);
	l->base.peer[sizeof(l->base.peer) - 1] = 0;
	return 0;
}
