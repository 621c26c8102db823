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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROW_BITS 14
#define REMOTE (1u << 31)
_Static_assert(FK_MRS == 1 << ROW_BITS, "a row fits its part of a key");

#define ACCESS_KNOWN (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | \
		      IBV_ACCESS_ON_DEMAND)
#define ACCESS_OPTIONAL (~0u << 20)
#define ACCESS_REMOTE_CHANGE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)

struct ibv_pd *ibv_alloc_pd(struct ibv_context *ctx)
{
	struct fk_pd *p = fk_gone(ctx) ? NULL : calloc(1, sizeof(*p));

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

struct fk_ibv_mr {
	struct ibv_mr v;
	void *map;                       /* of a dma-buf: what the device reaches */
	size_t map_len;
};

/* @at: where the bytes are. */
static struct ibv_mr *register_mr(struct fk_pd *pd, struct ibv_mr *mr, const void *at, uint64_t iova, uint32_t access)
{
	bool pins = !(access & IBV_ACCESS_ON_DEMAND) && !((struct fk_ibv_mr *)(void *)mr)->map;
	uint32_t row, key;
	struct fk_mr *m;

	if (pins && !is_within_limit(mr->length)) {
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
	m->addr = (uintptr_t)at;
	m->pins = pins;
	m->len = mr->length;
	mr->handle = row;
	mr->lkey = key;
	mr->rkey = key | REMOTE;
	fk.registered += pins ? mr->length : 0;
	pd->n_objects++;
	return mr;
}

static int check_reg(uint64_t at, size_t len, uint32_t access, uint32_t known, const char *what)
{
	if (access & IBV_ACCESS_ON_DEMAND && !fk_odp())
		return fk_complain("%s: on demand, which the device does not have", what);
	if (access & ~known)
		return fk_complain("%s: unknown access flags %#x", what, access);
	if (access & IBV_ACCESS_RELAXED_ORDERING && access & ACCESS_REMOTE_CHANGE)
		return fk_complain("%s: peers write it (%#x), and who looks at it without a completion sees them in any order", what, access);
	if ((access & ACCESS_REMOTE_CHANGE) && !(access & IBV_ACCESS_LOCAL_WRITE))
		return fk_complain("%s: remote write without local write (%#x)", what, access);
	if (!len || at + len < at)
		return fk_complain("%s: %zu bytes at %#llx", what, len, (unsigned long long)at);
	return 0;
}

/* @fill is what the call knows; @at: where the bytes are. */
static struct ibv_mr *add(struct ibv_pd *pd, struct fk_ibv_mr fill, const void *at, uint64_t iova, uint32_t access, const char *what)
{
	struct fk_ibv_mr *mr = fk_gone(pd->context) ? NULL : calloc(1, sizeof(*mr));
	struct ibv_mr *got = NULL;

	if (!mr)
		return NULL;
	*mr = fill;
	mr->v.context = pd->context;
	mr->v.pd = pd;
	if (fk_enter(what)) {
		got = register_mr((struct fk_pd *)pd, &mr->v, at, iova, access);
		fk_leave();
	}
	if (!got)
		free(mr);
	return got;
}

static struct ibv_mr *reg(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, uint32_t access, bool iova2)
{
	const char *what = iova2 ? "ibv_reg_mr_iova2" : "ibv_reg_mr";
	int ret = check_reg((uintptr_t)addr, len, access, ACCESS_KNOWN | (iova2 ? IBV_ACCESS_RELAXED_ORDERING : 0), what);

	fk_fork_check();
	if (!ret && !is_mapped(addr, len))
		ret = EFAULT;
	errno = ret;
	return ret ? NULL : add(pd, (struct fk_ibv_mr){ .v = { .addr = addr, .length = len } }, addr, iova, access, what);
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	return reg(pd, addr, len, (uintptr_t)addr, (uint32_t)access, false);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, unsigned int access)
{
	uint32_t takes = getenv("WEFT_TEST_IBV_RELAXED") ? IBV_ACCESS_RELAXED_ORDERING : 0;

	return reg(pd, addr, len, iova, access & ~(ACCESS_OPTIONAL & ~takes), true);
}

/*
 * As the kernel wants it: equally far into a page, no on-demand, within the buffer. The device reaches the bytes through a mapping of
 * its own, so that a wrong offset or descriptor shows in the data. As in the library, addr says the offset.
 */
struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t len, uint64_t iova, int fd, int access)
{
	uint64_t lead = offset % (uint64_t)sysconf(_SC_PAGESIZE);
	struct fk_ibv_mr fill = { .v = { .addr = (void *)(uintptr_t)offset, .length = len }, .map_len = lead + len };
	struct ibv_mr *mr;
	struct stat st;
	int ret;

	if (!getenv("WEFT_TEST_IBV_DMABUF")) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	ret = check_reg(iova, len, (uint32_t)access, ACCESS_KNOWN & ~(uint32_t)IBV_ACCESS_ON_DEMAND, "ibv_reg_dmabuf_mr");
	if (!ret && fstat(fd, &st))
		ret = fk_complain("ibv_reg_dmabuf_mr: descriptor %d: %s", fd, strerror(errno));
	if (!ret && (offset ^ iova) % (uint64_t)sysconf(_SC_PAGESIZE))
		ret = fk_complain("ibv_reg_dmabuf_mr: offset %#llx and address %#llx are not equally far into a page",
				  (unsigned long long)offset, (unsigned long long)iova);
	if (!ret && offset + len > (uint64_t)st.st_size)
		ret = fk_complain("ibv_reg_dmabuf_mr: %zu bytes at %#llx are beyond the buffer", len, (unsigned long long)offset);
	if (ret) {
		errno = ret;
		return NULL;
	}
	fill.map = mmap(NULL, fill.map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(offset - lead));
	if (fill.map == MAP_FAILED)
		return NULL;
	mr = add(pd, fill, (char *)fill.map + lead, iova, (uint32_t)access, "ibv_reg_dmabuf_mr");
	if (!mr)
		munmap(fill.map, fill.map_len);
	return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	int ret = 0, gone = fk_gone(mr->context);
	struct fk_mr *m;

	if (!fk_enter("ibv_dereg_mr"))
		return EINVAL;
	m = mr->handle < FK_MRS ? &fk.shm->mr[mr->handle] : NULL;
	if (!m || m->h.owner != fk.me || m->h.user != (uintptr_t)mr) {
		ret = fk_complain("ibv_dereg_mr: not a registered region");
	} else {
		fk_relaxed_drop((void *)(uintptr_t)m->addr, m->len);
		m->h.owner = 0;
		fk.registered -= m->pins ? m->len : 0;
		((struct fk_pd *)mr->pd)->n_objects--;
	}
	fk_leave();
	if (!ret && ((struct fk_ibv_mr *)(void *)mr)->map)
		munmap(((struct fk_ibv_mr *)(void *)mr)->map, ((struct fk_ibv_mr *)(void *)mr)->map_len);
	if (!ret)
		free(mr);
	return ret ? ret : gone;
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
	vec->relaxed = vec->relaxed || m->access & IBV_ACCESS_RELAXED_ORDERING;
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
