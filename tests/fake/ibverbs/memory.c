/* SPDX-License-Identifier: BSD-3-Clause
 *
 * memory.c - protection domains, registered memory, what a key allows, and copies between processes; see fake.h.
 *
 * A key is the region's row and how often that was given out, so that an old key is noticed; rkeys have the top bit
 * besides, so that they are not taken for lkeys.
 */
#include "fake/ibverbs/fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROW_BITS 14
#define REMOTE (1u << 31)
_Static_assert(FK_MRS == 1 << ROW_BITS, "a row fits its part of a key");

#define ACCESS_KNOWN (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | \
		      IBV_ACCESS_ON_DEMAND)
#define ACCESS_OPTIONAL (~0u << 20)

struct ibv_pd *ibv_alloc_pd(struct ibv_context *ctx)
{
	struct fk_pd *p = calloc(1, sizeof(*p));

	if (!p || !fk_enter("ibv_alloc_pd")) {
		free(p);
		return NULL;
	}
	p->v.context = ctx;
	p->id = ++fk.shm->next_pd;
	p->v.handle = (uint32_t)p->id;
	fk_ctx(ctx)->n_objects++;
	fk_leave();
	return &p->v;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	struct fk_pd *p = (struct fk_pd *)pd;

	if (!fk_enter("ibv_dealloc_pd"))
		return EINVAL;
	if (p->n_objects) {
		fk_complain("ibv_dealloc_pd: %d objects are in it", p->n_objects);
		fk_leave();
		return EBUSY;
	}
	fk_ctx(pd->context)->n_objects--;
	fk_leave();
	free(p);
	return 0;
}

/* ---- registration ---- */

static bool is_mapped(const void *addr, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = (uintptr_t)addr & ~(page - 1), end = (uintptr_t)addr + len;
	unsigned char vec[4096];

	for (; at < end; at += sizeof(vec) * page) {
		size_t n = end - at < sizeof(vec) * page ? end - at : sizeof(vec) * page;

		if (mincore((void *)at, n, vec)) /* ENOMEM: there is a hole */
			return false;
	}
	return true;
}

static bool is_within_limit(size_t len)
{
	const char *limit = getenv("WEFT_TEST_IBV_MEMLOCK");

	return !limit || fk.registered + len <= strtoull(limit, NULL, 10);
}

static struct ibv_mr *register_mr(struct fk_pd *pd, struct ibv_mr *mr, uint64_t iova, uint32_t access)
{
	uint32_t row, key;
	struct fk_mr *m;

	if (!(access & IBV_ACCESS_ON_DEMAND) && !is_within_limit(mr->length)) {
		errno = ENOMEM;
		return NULL;
	}
	row = FK_TAKE(mr, mr);
	if (row == FK_NONE)
		return NULL;
	m = &fk.shm->mr[row];
	m->h.gen &= (1u << (31 - ROW_BITS)) - 1;
	m->h.gen += !m->h.gen;
	key = m->h.gen << ROW_BITS | row;
	m->access = access;
	m->uses = access & IBV_ACCESS_ON_DEMAND ? fk_odp() : ~0u;
	m->pd = pd->id;
	m->iova = iova;
	m->addr = (uintptr_t)mr->addr;
	m->len = mr->length;
	mr->handle = row;
	mr->lkey = key;
	mr->rkey = key | REMOTE;
	fk.registered += access & IBV_ACCESS_ON_DEMAND ? 0 : mr->length;
	pd->n_objects++;
	return mr;
}

static struct ibv_mr *reg(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, uint32_t access, const char *what)
{
	struct ibv_mr *mr, *got = NULL;

	if (access & IBV_ACCESS_ON_DEMAND && !fk_odp())
		return fk_complain_null(EINVAL, "%s: on demand, which the device does not have", what);
	if (access & ~ACCESS_KNOWN)
		return fk_complain_null(EINVAL, "%s: unknown access flags %#x", what, access);
	if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) && !(access & IBV_ACCESS_LOCAL_WRITE))
		return fk_complain_null(EINVAL, "%s: remote write without local write (%#x)", what, access);
	if (!len || (uintptr_t)addr + len < (uintptr_t)addr)
		return fk_complain_null(EINVAL, "%s: %zu bytes at %p", what, len, addr);
	if (!is_mapped(addr, len)) {
		errno = EFAULT;
		return NULL;
	}
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return NULL;
	*mr = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = addr, .length = len };
	if (fk_enter(what)) {
		got = register_mr((struct fk_pd *)pd, mr, iova, access);
		fk_leave();
	}
	if (!got)
		free(mr);
	return got;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	return reg(pd, addr, len, (uintptr_t)addr, (uint32_t)access, "ibv_reg_mr");
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned int access)
{
	return reg(pd, addr, len, iova, access & ~ACCESS_OPTIONAL, "ibv_reg_mr_iova2");
}

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t len, uint64_t iova, int fd, int access)
{
	(void)pd, (void)offset, (void)len, (void)iova, (void)fd, (void)access;
	errno = EOPNOTSUPP;
	return NULL;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct fk_mr *m;
	int ret = 0;

	if (!fk_enter("ibv_dereg_mr"))
		return EINVAL;
	m = mr->handle < FK_MRS ? &fk.shm->mr[mr->handle] : NULL;
	if (!m || m->h.owner != fk.me || m->h.user != (uintptr_t)mr) {
		ret = fk_complain("ibv_dereg_mr: not a registered region");
	} else {
		m->h.owner = 0;
		fk.registered -= m->access & IBV_ACCESS_ON_DEMAND ? 0 : m->len;
		((struct fk_pd *)mr->pd)->n_objects--;
	}
	fk_leave();
	if (!ret)
		free(mr);
	return ret;
}

/* ---- use ---- */

bool fk_vec_add(struct fk_vec *vec, uint64_t pd, uint32_t key, bool remote, uint32_t access, uint64_t addr, size_t len)
{
	struct fk_mr *m = &fk.shm->mr[key & (FK_MRS - 1)];
	bool is_right = m->h.owner == vec->owner && m->h.gen == (key & ~REMOTE) >> ROW_BITS && !(key & REMOTE) == !remote;

	if (!is_right || m->pd != pd || (m->access & access) != access)
		return false;
	if (addr < m->iova || len > m->len || addr - m->iova > m->len - len || vec->n == FK_MAX_SGE)
		return false;
	if (vec->use & ~m->uses) {
		fk_complain("key %#x: memory on demand, which is not for use %#x on this device", key, vec->use);
		return false;
	}
	vec->v[vec->n++] = (struct iovec){ (void *)(uintptr_t)(m->addr + (addr - m->iova)), len };
	vec->len += len;
	return true;
}

bool fk_vec_local(struct fk_vec *vec, uint64_t pd, const struct ibv_sge *sge, uint32_t n, uint32_t access)
{
	for (uint32_t i = 0; i < n; i++) {
		if (sge[i].length && !fk_vec_add(vec, pd, sge[i].lkey, false, access, sge[i].addr, sge[i].length)) {
			fk_complain("lkey %#x gives no right %#x to %u bytes at %#llx", sge[i].lkey, access, sge[i].length,
				    (unsigned long long)sge[i].addr);
			return false;
		}
	}
	return true;
}

static int copy_piece(uint32_t to_owner, void *to, uint32_t from_owner, void *from, size_t n)
{
	struct iovec here = { to_owner == fk.me ? to : from, n }, there = { to_owner == fk.me ? from : to, n };
	uint32_t other = to_owner == fk.me ? from_owner : to_owner;
	long done;

	if (to_owner == fk.me && from_owner == fk.me) {
		memmove(to, from, n);
		return 0;
	}
	/* not by their names in libc: sanitizers would look at an address of another process */
	done = syscall(to_owner == fk.me ? SYS_process_vm_readv : SYS_process_vm_writev, fk.shm->proc[other - 1].pid, &here, 1ul,
		       &there, 1ul, 0ul);
	if (done == (long)n)
		return 0;
	return done < 0 ? errno : EFAULT;
}

int fk_copy(const struct fk_vec *to, const struct fk_vec *from, size_t len)
{
	size_t ti = 0, fi = 0, t_at = 0, f_at = 0;

	while (len) {
		const struct iovec *t = &to->v[ti], *f = &from->v[fi];
		size_t n = t->iov_len - t_at < f->iov_len - f_at ? t->iov_len - t_at : f->iov_len - f_at;
		int ret = copy_piece(to->owner, (char *)t->iov_base + t_at, from->owner, (char *)f->iov_base + f_at, n);

		if (ret)
			return ret;
		len -= n;
		t_at += n;
		f_at += n;
		if (t_at == t->iov_len)
			ti++, t_at = 0;
		if (f_at == f->iov_len)
			fi++, f_at = 0;
	}
	return 0;
}
