/* SPDX-License-Identifier: BSD-3-Clause
 *
 * verbs_mr.c - registrations: memory that the adapter may reach. Of a region that weft knows (weft_mem) one is kept, under the region's
 * number, which is never used twice, until the region is freed or the bound on bytes needs its place: no hook has to watch
 * malloc. Other memory is registered for one operation. What was imported is registered by its dma-buf, where the driver takes
 * that, else like all memory. When the limit on locked memory says no, what is kept and unused goes
 * first; then an adapter that can do so is given the memory on demand: it asks for pages when it meets them, and nothing is locked
 * (docs/adr/0015-on-demand.md). Else the caller goes on by frames, and the lane remembers why.
 */
#include <errno.h>
#include <stdio.h>

#include "base/fault.h"
#include "transports/verbs/verbs.h"

#define KEPT_MAX 4096u                   /* registrations that are kept */

static void leave_idle(struct verbs_dev *d, struct verbs_mr *m)
{
	if (wf_list_is_linked(&m->lru))
		d->idle_bytes -= m->mr->length;
	wf_list_remove(&m->lru);
}

static void free_mr(struct verbs_dev *d, struct verbs_mr *m)
{
	leave_idle(d, m);
	if (m->region && !m->gone)
		wf_map_remove(&d->mrs, m->region);
	d->registered -= m->mr->length;
	d->port->lib->dereg_mr(m->mr);
	wf_free(m);
}

static void free_oldest(struct verbs_dev *d)
{
	free_mr(d, wf_list_entry(wf_list_first(&d->idle), struct verbs_mr, lru));
}

/* Those that nobody uses, the longest unused first, until @len more bytes find room. */
static void make_room(struct verbs_dev *d, size_t len)
{
	size_t limit = d->port->base.conf->limit_registered;

	while (!wf_list_is_empty(&d->idle) && (d->registered + len > limit || wf_map_count(&d->mrs) >= KEPT_MAX))
		free_oldest(d);
}

/*
 * Those that were used together may be more than are kept. What is in use does not count here: as long as that is more than the limit,
 * granted memory for one, each message would register its own anew.
 */
static void keep_few(struct verbs_dev *d)
{
	while (!wf_list_is_empty(&d->idle) &&
	       (d->idle_bytes > d->port->base.conf->limit_registered || wf_map_count(&d->mrs) > KEPT_MAX))
		free_oldest(d);
}

/* By what is behind it (G104). NULL: it has no dma-buf, or the driver takes none. Its addresses on the wire are those of the mapping. */
static struct ibv_mr *reg_dmabuf(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access)
{
	const struct verbs_lib *v = d->port->lib;

	if (!r || r->dmabuf_fd < 0 || !v->reg_dmabuf_mr)
		return NULL;
	return v->reg_dmabuf_mr(d->pd, r->dmabuf_off + (uint64_t)((char *)addr - (char *)r->addr), len, (uintptr_t)addr, r->dmabuf_fd, (int)access);
}

static struct ibv_mr *reg(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access)
{
	const struct verbs_lib *v = d->port->lib;
	bool granted = access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	struct ibv_mr *mr;

	/* iWARP: the peer's adapter answers a read by writing here, under this registration's key */
	if (d->iwarp && access & IBV_ACCESS_LOCAL_WRITE)
		access |= IBV_ACCESS_REMOTE_WRITE;
	mr = reg_dmabuf(d, r, addr, len, access);
	if (mr)
		return mr;
	errno = 0;
	/*
	 * PCIe may be faster where the order of the bytes of one transfer does not matter, because nobody looks at them before the
	 * completion is seen, which is ordered behind them. Who grants memory to be written may look at it without one.
	 */
	if (v->reg_mr_iova2 && !granted)
		return v->reg_mr_iova2(d->pd, addr, len, (uintptr_t)addr, access | IBV_ACCESS_RELAXED_ORDERING);
	return v->reg_mr(d->pd, addr, len, (int)access);
}

bool verbs_is_memlock(int err)
{
	return err == ENOMEM || err == EAGAIN || err == EPERM;
}

struct ibv_mr *verbs_reg_on_demand(struct verbs_dev *d, void *addr, size_t len, uint32_t access, uint32_t uses)
{
	struct ibv_mr *mr = NULL;
	int err = errno;

	/* by reg_mr: not with relaxed ordering, which some drivers refuse beside it (G103) */
	if (verbs_is_memlock(err) && (d->odp & uses) == uses)
		mr = d->port->lib->reg_mr(d->pd, addr, len, (int)(access | IBV_ACCESS_ON_DEMAND));
	d->on_demand = d->on_demand || mr;
	errno = err;
	return mr;
}

static struct ibv_mr *pin(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access)
{
	struct ibv_mr *mr;

	make_room(d, len);
	mr = reg(d, r, addr, len, access);
	while (!mr && verbs_is_memlock(errno) && !wf_list_is_empty(&d->idle)) {
		free_oldest(d);
		mr = reg(d, r, addr, len, access);
	}
	return mr;
}

/* That region could not be locked: what is kept of others does not make way for it once more. */
static bool is_too_large(const struct verbs_dev *d, const struct wf_region *r)
{
	for (size_t i = 0; r && i < WF_ARRAY_LEN(d->too_large); i++)
		if (d->too_large[i] == r->id)
			return true;
	return false;
}

struct verbs_mr *verbs_mr_new(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access, int *err_out)
{
	uint32_t uses = IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_WRITE | (access & IBV_ACCESS_REMOTE_ATOMIC ? IBV_ODP_SUPPORT_ATOMIC : 0);
	struct verbs_mr *m = wf_calloc(1, sizeof(*m));

	*err_out = ENOMEM;
	if (!m)
		return NULL;
	errno = ENOMEM;
	if (!is_too_large(d, r))
		m->mr = pin(d, r, addr, len, access);
	if (!m->mr && (!r || r->dmabuf_fd < 0))   /* a mapping of a device's memory has no pages to fault in */
		m->on_demand = (m->mr = verbs_reg_on_demand(d, addr, len, access, uses));
	if (m->on_demand && r && len == r->len && !is_too_large(d, r))
		d->too_large[d->n_too_large++ % WF_ARRAY_LEN(d->too_large)] = r->id;
	if (!m->mr) {
		*err_out = errno ? errno : ENOMEM;
		wf_free(m);
		return NULL;
	}
	wf_list_init(&m->lru);
	m->users = 1;
	d->registered += m->mr->length;
	return m;
}

struct verbs_mr *verbs_mr_get(struct verbs_dev *d, const struct wf_region *r, void *addr, size_t len, uint32_t access, int *err_out)
{
	struct verbs_mr *m = r ? wf_map_find(&d->mrs, r->id) : NULL;

	if (m) {
		leave_idle(d, m);
		m->users++;
		return m;
	}
	if (!r || is_too_large(d, r))            /* nothing is kept of it: only what this operation needs */
		return verbs_mr_new(d, r, addr, len, access, err_out);
	/* all that an operation of ours or a reading peer may ever need: there is one for all of them */
	m = verbs_mr_new(d, r, r->addr, r->len, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, err_out);
	/* not one on demand: it goes on with whatever lies at the address when the region is gone, until this worker hears of that */
	if (m && !m->on_demand && !wf_map_insert(&d->mrs, r->id, m))
		m->region = r->id;
	return m;
}

void verbs_mr_put(struct verbs_dev *d, struct verbs_mr *m)
{
	if (--m->users)
		return;
	if (!m->region || m->gone) {
		free_mr(d, m);
		return;
	}
	wf_list_push_back(&d->idle, &m->lru);
	d->idle_bytes += m->mr->length;
	keep_few(d);
}

bool verbs_mrs_get(struct verbs_lane *l, const weft_buf *bufs, size_t n, const struct wf_region *r, uint32_t access, unsigned rails,
		   struct verbs_mr **mr, int *err_out)
{
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < l->n_rails; k++) {
			struct verbs_mr **m = &mr[i * l->n_rails + k];

			if (!(rails & 1u << k) || !bufs[i].len || l->rail[k]->broken)
				continue;
			*m = verbs_mr_get(l->rail[k]->dev, r, bufs[i].addr, bufs[i].len, access, err_out);
			if (*m)
				continue;
			verbs_mrs_put(l, mr, n, rails);
			return false;
		}
	return true;
}

void verbs_mrs_put(struct verbs_lane *l, struct verbs_mr **mr, size_t n, unsigned rails)
{
	for (size_t i = 0; i < n * l->n_rails; i++) {
		unsigned k = (unsigned)(i % l->n_rails);

		if (!mr[i] || !(rails & 1u << k))
			continue;
		verbs_mr_put(l->rail[k]->dev, mr[i]);
		mr[i] = NULL;
	}
}

void verbs_region_gone(struct wf_port *base, uint64_t id)
{
	struct verbs_port *p = verbs_port_of(base);

	for (unsigned i = 0; i < p->n_dev; i++) {
		struct verbs_dev *d = p->dev[i];
		struct verbs_mr *m = d->started ? wf_map_remove(&d->mrs, id) : NULL;

		if (!m)
			continue;
		m->gone = true;
		if (!m->users)
			free_mr(d, m);
	}
}

/* The device is being closed: all that used them is gone. */
void verbs_mrs_drop(struct verbs_dev *d)
{
	while (!wf_list_is_empty(&d->idle))
		free_oldest(d);
}

void verbs_mr_explain(struct wf_lane *l, int err, size_t len)
{
	snprintf(l->why, sizeof(l->why), "%zu KiB could not be registered with the adapter (%s): sent in frames, copied on both sides", len >> 10,
		 strerror(err));
	snprintf(l->remedy, sizeof(l->remedy), "%s",
		 verbs_is_memlock(err) ? "raise the limit on locked memory: ulimit -l unlimited, or LimitMEMLOCK=infinity" : "");
}
