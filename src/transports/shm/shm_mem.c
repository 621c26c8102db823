/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm_mem.c - the peer's memory: whether we may copy straight from it (rights), what of it is mapped here
 * (regions), and one-sided access through either.
 *
 * A region that lies in a memfd (weft_mem_alloc) is passed over the lane's UNIX socket when it is first needed,
 * once for each lane, and mapped whole by the peer. It is passed to processes of the same user only: a mapping
 * gives more than one grant. Plain memory is reached by process_vm_*, where we have the right to.
 */
#include "transports/shm/shm.h"

#include <errno.h>
#include <stdio.h>

#include "base/fault.h"
#include "base/iov.h"

#define NOTES 32                         /* that one event takes from the socket */
#define REGION_MAX ((size_t)1 << 46)
#define LOCAL_PIECES 32u

/* A wf_direct's description: plain memory at addr, and where the same bytes lie in a passed region (0: in none). */
struct reach {
	uint64_t region, off;
	uint64_t addr, len;
};
_Static_assert(sizeof(struct reach) <= WF_DESC_MAX, "fits a description");

struct shm_direct {
	struct wf_list link;             /* lane->directs */
	struct wf_direct *d;
	struct reach at;
	struct shm_map *map;             /* NULL: not here (yet) */
};

/* ---- rights ---- */

static void no_rights(struct shm_lane *l, const char *remedy, const char *why)
{
	snprintf(l->base.why, sizeof(l->base.why), "%s", why);
	snprintf(l->base.remedy, sizeof(l->base.remedy), "%s", remedy);
}

/*
 * May we read the peer's memory, and is the process that the kernel names the one we talk to? It has told us
 * random bytes and where it keeps them: who finds them there reads the right process.
 */
void shm_rights_check(struct shm_lane *l, const struct shm_hello *h)
{
	uint8_t seen[SHM_SECRET];
	struct iovec here = { seen, sizeof(seen) }, there = { (void *)(uintptr_t)h->nonce_addr, sizeof(seen) };
	struct wf_cred cred = { 0 };
	char why[80];
	ssize_t k;

	k = wf_unix_cred(l->sock, &cred);
	l->same_user = !k && cred.uid == wf_uid();
	l->pid = k ? 0 : cred.pid;
	l->peer_rights = l->same_user && (h->flags & SHM_HAS_RIGHTS);
	if (!l->base.port->conf->cma || !(h->flags & SHM_WANTS_CMA)) {
		no_rights(l, "setting cma=yes on both sides", "copies between the processes are off (cma=no)");
	} else if (!l->same_user) {
		no_rights(l, "", "the peer is another user");
	} else if (l->pid <= 0) {
		no_rights(l, "share the PID namespace (docker run --pid)", "the peer is in another PID namespace");
	} else {
		k = wf_vm_read(l->pid, &here, 1, &there, 1);
		l->rights = k == (ssize_t)sizeof(seen) && !memcmp(seen, h->nonce, sizeof(seen));
		if (l->rights)
			return;
		if (k >= 0)
			snprintf(why, sizeof(why), "the peer's PID names another process here");
		else
			snprintf(why, sizeof(why), "process_vm_readv: %s", strerror((int)-k));
		no_rights(l, "docker run --cap-add SYS_PTRACE, or kernel.yama.ptrace_scope=0 (weft never changes it)",
			  why);
	}
}

/* What the peer found out about its own rights; who has some himself says that they are of no use alone. */
void shm_rights_heard(struct shm_lane *l, bool peer_rights)
{
	l->peer_rights = l->same_user && peer_rights;
	if (l->rights && !l->peer_rights)
		no_rights(l, "what weft explain says in the peer", "the peer may not copy from this process's memory");
	else if (l->rights)
		no_rights(l, "", "");
}

/* ---- regions ---- */

bool shm_region_pass(struct shm_lane *l, const struct wf_region *r)
{
	struct shm_note note = { .magic = SHM_MAGIC, .what = SHM_REGION };

	if (!r || r->memfd < 0 || !r->id || !l->same_user || l->state != SHM_UP)
		return false;
	if (wf_map_find(&l->passed, r->id))
		return true;
	if (wf_map_count(&l->passed) >= SHM_MAPS || wf_map_insert(&l->passed, r->id, l))
		return false;
	note.id = r->id;
	note.len = r->len;
	if (!wf_unix_send(l->sock, &note, sizeof(note), &r->memfd, 1))
		return true;
	wf_map_remove(&l->passed, r->id);
	return false;
}

void shm_region_gone(struct wf_port *base, uint64_t id)
{
	struct shm_note note = { .magic = SHM_MAGIC, .what = SHM_REGION_GONE, .id = id };
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &base->lanes) {
		struct shm_lane *l = shm_lane_of(wf_list_entry(it, struct wf_lane, link));

		if (l->state != SHM_NEW && wf_map_remove(&l->passed, id))
			wf_unix_send(l->sock, &note, sizeof(note), NULL, 0);
	}
}

static void map_free(struct shm_map *m)
{
	wf_unmap(&m->addr, m->len);
	wf_free(m);
}

struct shm_map *shm_map_get(struct shm_lane *l, uint64_t id)
{
	struct shm_map *m = wf_map_find(&l->maps, id);

	if (!m && l->state == SHM_UP) { /* it was passed before it was named: it waits in the socket */
		shm_sock_drain(l);
		m = wf_map_find(&l->maps, id);
	}
	if (m)
		m->users++;
	return m;
}

void shm_map_put(struct shm_lane *l, struct shm_map *m)
{
	(void)l;
	if (--m->users == 0 && m->gone)
		map_free(m);
}

static void on_region(struct shm_lane *l, const struct shm_note *note, int fd)
{
	struct wf_list *it, *tmp;
	struct shm_map *m;
	size_t len = 0;

	if (!note->id || wf_map_find(&l->maps, note->id) || wf_map_count(&l->maps) >= SHM_MAPS ||
	    wf_memfd_check(fd, REGION_MAX, &len) || !note->len || note->len > len) {
		shm_fail(l, WEFT_EPROTO, 0, "the peer passed memory that it may not pass");
		return;
	}
	m = wf_calloc(1, sizeof(*m));
	if (!m)
		return; /* it is not reached by mapping, then */
	m->id = note->id;
	m->len = len;
	if (wf_map_shared(fd, len, true, &m->addr)) {
		wf_free(m);
		return;
	}
	if (wf_map_insert(&l->maps, m->id, m)) {
		map_free(m);
		return;
	}
	wf_list_foreach(it, tmp, &l->directs) {
		struct shm_direct *sd = wf_list_entry(it, struct shm_direct, link);

		if (sd->at.region != m->id || sd->at.off > len || sd->at.len > len - sd->at.off)
			continue;
		sd->map = m;
		m->users++;
		sd->d->ready = true;
	}
}

static void on_region_gone(struct shm_lane *l, uint64_t id)
{
	struct shm_map *m = wf_map_remove(&l->maps, id);

	if (!m)
		return;
	m->gone = true;
	if (!m->users)
		map_free(m);
}

void shm_maps_drop(struct shm_lane *l)
{
	const struct wf_map_row *row;
	struct wf_list *it;
	size_t cursor = 0;

	while ((it = wf_list_pop_front(&l->directs))) {
		struct shm_direct *sd = wf_list_entry(it, struct shm_direct, link);

		if (sd->map)
			shm_map_put(l, sd->map);
		sd->d->ready = false;
		sd->d->ptr[0] = NULL;
		wf_free(sd);
	}
	while ((row = wf_map_next(&l->maps, &cursor)))
		map_free(row->value);
	wf_map_fini(&l->maps);
	wf_map_fini(&l->passed);
}

/* ---- the lane's socket ---- */

static void on_note(struct shm_lane *l, const struct shm_note *note, size_t n_fds, int fd)
{
	if (note->magic != SHM_MAGIC || n_fds != (note->what == SHM_REGION)) {
		shm_fail(l, WEFT_EPROTO, 0, "the peer sent nonsense over its UNIX socket");
		return;
	}
	switch (note->what) {
	case SHM_RIGHTS:
		shm_rights_heard(l, note->id == 1);
		return;
	case SHM_REGION:
		if (l->same_user)
			on_region(l, note, fd);
		return;
	case SHM_REGION_GONE:
		on_region_gone(l, note->id);
		return;
	case SHM_BELL:
		if (l->parked && !atomic_load_explicit(&l->rx.seg->asleep, memory_order_relaxed))
			shm_unpark(l);
		return;
	default:
		shm_fail(l, WEFT_EPROTO, 0, "the peer sent an unknown note over its UNIX socket");
	}
}

void shm_sock_drain(struct shm_lane *l)
{
	for (unsigned i = 0; i < NOTES; i++) {
		int fds[WF_FDS_MAX];
		struct shm_note note;
		size_t n = 0;
		ssize_t k = wf_unix_recv(l->sock, &note, sizeof(note), fds, &n);

		if (k == -EAGAIN)
			return;
		if (k == 0 || (k < 0 && k != -EMSGSIZE)) {
			shm_peer_left(l, false);
			return;
		}
		if (l->state == SHM_UP || l->state == SHM_DYING) {
			if (k == (ssize_t)sizeof(note))
				on_note(l, &note, n, n ? fds[0] : -1);
			else
				shm_fail(l, WEFT_EPROTO, 0, "the peer sent nonsense over its UNIX socket");
		}
		while (n)
			wf_fd_close(&fds[--n]);
	}
}

void shm_sock_event(void *lane, uint32_t events)
{
	(void)events;
	shm_sock_drain(lane);
}

/* ---- one-sided ---- */

size_t shm_mem_offer(struct wf_lane *base, const struct wf_region *r, uint64_t off, uint64_t len, uint32_t access,
		     void *desc, size_t cap, uint64_t *hold)
{
	struct shm_lane *l = shm_lane_of(base);
	struct reach at = { .addr = (uintptr_t)r->addr + off, .len = len };

	(void)hold; /* the peer's way in needs nothing of ours */
	(void)access; /* core grants it, and tells the peer */
	if (cap < sizeof(at) || !l->same_user || off > r->len || len > r->len - off)
		return 0;
	if (shm_region_pass(l, r)) {
		at.region = r->id;
		at.off = off;
	}
	memcpy(desc, &at, sizeof(at));
	return sizeof(at);
}

int shm_mem_open(struct wf_lane *base, struct wf_direct *d)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_direct *sd;
	uint64_t end;

	if (d->desc_len != sizeof(sd->at) || l->state != SHM_UP)
		return WEFT_ENOTSUP;
	sd = wf_calloc(1, sizeof(*sd));
	if (!sd)
		return WEFT_ENOMEM;
	memcpy(&sd->at, d->desc, sizeof(sd->at));
	if (d->len > sd->at.len || __builtin_add_overflow(sd->at.addr, sd->at.len, &end) ||
	    (!sd->at.region && !l->rights))
		goto no;
	if (sd->at.region)
		sd->map = shm_map_get(l, sd->at.region);
	if (sd->map && (sd->at.off > sd->map->len || sd->at.len > sd->map->len - sd->at.off))
		goto put_map;
	sd->d = d;
	d->ptr[0] = sd;
	d->ready = sd->map || l->rights;
	wf_list_push_back(&l->directs, &sd->link);
	return 0;
put_map:
	shm_map_put(l, sd->map);
no:
	wf_free(sd);
	return WEFT_ENOTSUP;
}

void shm_mem_close(struct wf_lane *base, struct wf_direct *d)
{
	struct shm_direct *sd = d->ptr[0];

	d->ready = false;
	d->ptr[0] = NULL;
	if (!sd)
		return;
	wf_list_remove(&sd->link);
	if (sd->map)
		shm_map_put(shm_lane_of(base), sd->map);
	wf_free(sd);
}

static int rma_by_kernel(struct shm_lane *l, uint64_t addr, int what, const weft_buf *bufs, size_t n, size_t len)
{
	struct iovec local[LOCAL_PIECES];
	size_t off = 0;

	while (off < len) {
		struct iovec there;
		size_t covered = 0;
		size_t k = wf_bufs_to_iov(bufs, n, off, len - off, local, LOCAL_PIECES, &covered);
		ssize_t moved;

		if (!covered)
			return WEFT_EINVAL;
		there = (struct iovec){ (void *)(uintptr_t)(addr + off), covered };
		l->base.syscalls++;
		moved = what == WF_RMA_PUT ? wf_vm_write(l->pid, local, k, &there, 1) :
					     wf_vm_read(l->pid, local, k, &there, 1);
		if (moved < 0 || (size_t)moved != covered)
			return WEFT_AGAIN; /* the frames that follow write the same bytes again */
		off += covered;
	}
	return WEFT_OK;
}

int shm_rma(struct wf_lane *base, struct wf_direct *d, int what, uint64_t off, const weft_buf *bufs, size_t n,
	    size_t len)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_direct *sd = d->ptr[0];
	uint8_t *there;

	if (!sd || !d->ready || l->state != SHM_UP)
		return WEFT_AGAIN;
	if (!(d->access & (what == WF_RMA_PUT ? WEFT_WRITE : WEFT_READ)))
		return WEFT_EACCESS;
	if (off > d->len || len > d->len - off)
		return WEFT_EBOUNDS;
	if (!sd->map)
		return rma_by_kernel(l, sd->at.addr + off, what, bufs, n, len);
	there = (uint8_t *)sd->map->addr + sd->at.off + off;
	if (what == WF_RMA_PUT)
		wf_bufs_copy_out(there, bufs, n, 0, len);
	else
		wf_bufs_copy_in(bufs, n, 0, there, len);
	return WEFT_OK;
}

static int atomic_64(uint64_t *at, uint32_t what, uint64_t operand, uint64_t compare, uint64_t *old_out)
{
	switch (what) {
	case WEFT_ATOMIC_ADD:
		*old_out = __atomic_fetch_add(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_AND:
		*old_out = __atomic_fetch_and(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_OR:
		*old_out = __atomic_fetch_or(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_XOR:
		*old_out = __atomic_fetch_xor(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_SWAP:
		*old_out = __atomic_exchange_n(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_CAS:
		__atomic_compare_exchange_n(at, &compare, operand, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*old_out = compare;
		return WEFT_OK;
	default:
		return WEFT_EINVAL;
	}
}

static int atomic_32(uint32_t *at, uint32_t what, uint32_t operand, uint32_t compare, uint64_t *old_out)
{
	switch (what) {
	case WEFT_ATOMIC_ADD:
		*old_out = __atomic_fetch_add(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_AND:
		*old_out = __atomic_fetch_and(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_OR:
		*old_out = __atomic_fetch_or(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_XOR:
		*old_out = __atomic_fetch_xor(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_SWAP:
		*old_out = __atomic_exchange_n(at, operand, __ATOMIC_SEQ_CST);
		return WEFT_OK;
	case WEFT_ATOMIC_CAS:
		__atomic_compare_exchange_n(at, &compare, operand, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*old_out = compare;
		return WEFT_OK;
	default:
		return WEFT_EINVAL;
	}
}

/* On the very bytes that the owner's CPU and all other peers use, so it is atomic among all of them. */
int shm_atomic(struct wf_lane *base, struct wf_direct *d, uint32_t what, uint64_t off, uint64_t operand,
	       uint64_t compare, uint64_t *old_out)
{
	struct shm_lane *l = shm_lane_of(base);
	struct shm_direct *sd = d->ptr[0];
	uint32_t width = what & WEFT_ATOMIC_32BIT ? 4 : 8;
	uint8_t *there;

	if (!sd || !sd->map || l->state != SHM_UP)
		return WEFT_AGAIN;
	if (!(d->access & WEFT_ATOMIC))
		return WEFT_EACCESS;
	if (off > d->len || width > d->len - off)
		return WEFT_EBOUNDS;
	if ((sd->at.off + off) % width)
		return WEFT_AGAIN; /* core knows what to say of it */
	there = (uint8_t *)sd->map->addr + sd->at.off + off;
	what &= ~(uint32_t)WEFT_ATOMIC_32BIT;
	if (width == 4)
		return atomic_32((uint32_t *)(void *)there, what, (uint32_t)operand, (uint32_t)compare, old_out);
	return atomic_64((uint64_t *)(void *)there, what, operand, compare, old_out);
}
