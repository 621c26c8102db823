/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mem.c - memory that weft knows, and grants of it. A grant is known to the whole context, because the peer that shows its
 * token may hang on any worker; it is looked up under the context's lock when it is opened, and not afterwards.
 */
#include <errno.h>
#include <string.h>

#include "core/internal.h"
#include "os/proc.h"
#include "os/sock.h"

#define ALL_RIGHTS (WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)

static int add_mem(struct weft_ctx *ctx, struct weft_mem *m, weft_mem **out)
{
	m->ctx = ctx;
	wf_list_init(&m->link);
	pthread_mutex_lock(&ctx->lock);
	m->region.id = ctx->next_id++;
	wf_list_push_back(&ctx->mems, &m->link);
	ctx->n_mems++;
	pthread_mutex_unlock(&ctx->lock);
	*out = m;
	return WEFT_OK;
}

static int check_ctx(weft_ctx *ctx, const void *arg, const char *who)
{
	if (!ctx || !arg)
		return wf_fail(WEFT_EINVAL, 0, who, NULL, "NULL argument");
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "context", "open another in the child", "made before fork()");
	return 0;
}

int weft_mem_register(weft_ctx *ctx, const weft_buf *b, uint32_t access, weft_mem **out)
{
	struct weft_mem *m;
	int ret = check_ctx(ctx, b && out ? b : NULL, "weft_mem_register");

	if (ret)
		return ret;
	if (!b->addr || !b->len || access & ~(uint32_t)(WEFT_READ | WEFT_WRITE | WEFT_ATOMIC))
		return wf_fail(WEFT_EINVAL, 0, "weft_mem_register", NULL, "no bytes, or unknown access right");
	if (b->kind != WEFT_HOST && b->kind != WEFT_KIND_AUTO)
		return wf_fail(WEFT_ENOTSUP, 0, "weft_mem_register", NULL, "no driver for memory kind %u", b->kind);
	m = wf_calloc(1, sizeof(*m));
	if (!m)
		return wf_fail(WEFT_ENOMEM, 0, "weft_mem_register", NULL, "no memory");
	m->region = (struct wf_region){ .addr = b->addr, .len = b->len, .memfd = -1, .access = access, .dmabuf_fd = -1 };
	return add_mem(ctx, m, out);
}

int weft_mem_alloc(weft_ctx *ctx, size_t len, uint16_t kind, int16_t device, weft_mem **out)
{
	struct weft_mem *m;
	int ret = check_ctx(ctx, out, "weft_mem_alloc"), fd;
	void *addr;

	(void)device;
	if (ret)
		return ret;
	if (!len)
		return wf_fail(WEFT_EINVAL, 0, "weft_mem_alloc", NULL, "0 bytes");
	if (kind != WEFT_HOST)
		return wf_fail(WEFT_ENOTSUP, 0, "weft_mem_alloc", NULL, "no driver for memory kind %u", kind);
	m = wf_calloc(1, sizeof(*m));
	if (!m)
		return wf_fail(WEFT_ENOMEM, 0, "weft_mem_alloc", NULL, "no memory");
	ret = wf_memfd_new("weft-mem", len, &fd);
	if (ret) {
		wf_free(m);
		return wf_fail(wf_status_of_errno(-ret), -ret, "weft_mem_alloc", ret == -EFBIG ? "ulimit -f unlimited" : NULL,
			       "cannot make a memfd of %zu bytes", len);
	}
	ret = wf_map_shared(fd, len, true, &addr);
	if (ret) {
		wf_fd_close(&fd);
		wf_free(m);
		return wf_fail(wf_status_of_errno(-ret), -ret, "weft_mem_alloc", NULL, "cannot map %zu bytes", len);
	}
	m->map = addr;
	m->map_len = len;
	m->region = (struct wf_region){ .addr = addr, .len = len, .memfd = fd, .access = ALL_RIGHTS, .dmabuf_fd = -1 };
	return add_mem(ctx, m, out);
}

/* ---- imported ---- */

static int check_import(int fd, uint64_t offset, size_t len, uint16_t kind)
{
	uint64_t end, have;

	if (fd < 0 || !len)
		return wf_fail(WEFT_EINVAL, 0, "weft_mem_import", NULL, fd < 0 ? "%d is no descriptor" : "0 bytes of descriptor %d", fd);
	if (kind != WEFT_HOST && kind != WEFT_CUDA && kind != WEFT_ROCM && kind != WEFT_KIND_AUTO)
		return wf_fail(WEFT_EINVAL, 0, "weft_mem_import", "WEFT_HOST, WEFT_CUDA, WEFT_ROCM or WEFT_KIND_AUTO", "there is no memory kind %u", kind);
	if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
		return wf_fail(WEFT_EBOUNDS, 0, "weft_mem_import", NULL, "%zu bytes at %llu: no file is so long", len, (unsigned long long)offset);
	if (!wf_fd_size(fd, &have) && end > have)
		return wf_fail(WEFT_EBOUNDS, 0, "weft_mem_import", NULL, "%zu bytes at %llu of %llu that descriptor %d has", len,
			       (unsigned long long)offset, (unsigned long long)have, fd);
	return 0;
}

/* mmap() said @err. */
static int say_unmapped(int err, int fd, size_t len, uint16_t kind)
{
	if (err == EBADF)
		return wf_fail(WEFT_EINVAL, err, "weft_mem_import", NULL, "%d is no open descriptor", fd);
	if (err == EACCES)
		return wf_fail(WEFT_EINVAL, err, "weft_mem_import", "export it for reading and writing (O_RDWR, DRM_RDWR)",
			       "descriptor %d is not open for both", fd);
	if (err == ENOMEM || err == EMFILE || err == ENFILE)
		return wf_fail(wf_status_of_errno(err), err, "weft_mem_import", NULL, "cannot map %zu bytes of descriptor %d", len, fd);
	if (kind == WEFT_HOST)
		return wf_fail(WEFT_ENOTSUP, err, "weft_mem_import", "a dma-buf whose driver has mmap (a heap's, udmabuf's), or weft_mem_alloc() and a copy",
			       "descriptor %d cannot be mapped", fd);
	return wf_fail(WEFT_ENOTSUP, err, "weft_mem_import", "copy it to host memory first",
		       "descriptor %d cannot be mapped, and memory that the CPU does not reach needs a GPU layer, which is not there yet", fd);
}

int weft_mem_import(weft_ctx *ctx, int dmabuf_fd, uint64_t offset, size_t len, uint16_t kind, int16_t device, weft_mem **out)
{
	size_t lead = offset & (wf_page_size() - 1);   /* mappings begin with a page */
	int ret = check_ctx(ctx, out, "weft_mem_import"), fd;
	struct weft_mem *m;

	(void)device;
	if (!ret)
		ret = check_import(dmabuf_fd, offset, len, kind);
	if (ret)
		return ret;
	m = wf_calloc(1, sizeof(*m));
	if (!m)
		return wf_fail(WEFT_ENOMEM, 0, "weft_mem_import", NULL, "no memory");
	ret = wf_fd_dup(dmabuf_fd, &fd);
	if (ret)
		goto free_mem;
	m->map_len = lead + len;
	ret = wf_map_part(fd, offset - lead, m->map_len, &m->map);
	if (ret)
		goto close_fd;
	m->region = (struct wf_region){ .addr = (char *)m->map + lead, .len = len, .memfd = -1, .access = ALL_RIGHTS, .dmabuf_fd = fd,
					.dmabuf_off = offset };
	return add_mem(ctx, m, out);

close_fd:
	wf_fd_close(&fd);
free_mem:
	wf_free(m);
	return say_unmapped(-ret, dmabuf_fd, len, kind);
}

void *weft_mem_addr(const weft_mem *m, size_t *len)
{
	if (len)
		*len = m->region.len;
	return m->region.addr;
}

/* ---- freed memory that peers have mapped, or adapters registered: each worker lets go of it, from its own progress ---- */

struct region_gone {
	struct wf_list link;             /* worker->regions_gone, under ctx->lock */
	uint64_t id;
};

/* Under ctx->lock. Without memory to remember it, peers keep their mapping until the lane ends. */
static void tell_workers(struct weft_ctx *ctx, uint64_t id)
{
	struct wf_list *it, *tmp;

	wf_list_foreach(it, tmp, &ctx->workers) {
		struct region_gone *g = wf_malloc(sizeof(*g));

		if (!g)
			continue;
		g->id = id;
		wf_list_init(&g->link);
		wf_list_push_back(&wf_list_entry(it, struct weft_worker, link)->regions_gone, &g->link);
	}
	wf_ctx_wake_workers(ctx);
}

void wf_mem_gone_step(struct weft_worker *w)
{
	struct region_gone *g;
	struct wf_list *it;

	do {
		pthread_mutex_lock(&w->ctx->lock);
		it = wf_list_pop_front(&w->regions_gone);
		pthread_mutex_unlock(&w->ctx->lock);
		g = it ? wf_list_entry(it, struct region_gone, link) : NULL;
		for (unsigned i = 0; g && i < w->ctx->n_tr; i++)
			if (w->port[i] && w->port[i]->tr->region_gone)
				w->port[i]->tr->region_gone(w->port[i], g->id);
		wf_free(g);
	} while (g);
}

void wf_mem_gone_drop(struct weft_worker *w)
{
	struct wf_list *it;

	while ((it = wf_list_pop_front(&w->regions_gone)))
		wf_free(wf_list_entry(it, struct region_gone, link));
}

int weft_mem_free(weft_mem *m)
{
	struct weft_ctx *ctx;

	if (!m)
		return WEFT_OK;
	ctx = m->ctx;
	if (wf_forkmark_is_forked(&ctx->fork))
		return wf_fail(WEFT_EFORKED, 0, "memory", NULL, "made before fork()");
	pthread_mutex_lock(&ctx->lock);
	/* pairs with the release in drop_bufs(): what the last operation did with the bytes is over */
	if (m->n_grants || atomic_load_explicit(&m->users, memory_order_acquire)) {
		pthread_mutex_unlock(&ctx->lock);
		return wf_fail(WEFT_EBUSY, 0, "memory", "revoke its grants and wait for its operations",
			       "%u grants and %u operations use it", m->n_grants, atomic_load(&m->users));
	}
	wf_list_remove(&m->link);
	ctx->n_mems--;
	tell_workers(ctx, m->region.id);
	pthread_mutex_unlock(&ctx->lock);
	wf_unmap(&m->map, m->map_len);
	wf_fd_close(&m->region.memfd);
	wf_fd_close(&m->region.dmabuf_fd);
	wf_free(m);
	return WEFT_OK;
}

/* The region that one buffer lies in, when it says so; transports can do better with it. */
const struct wf_region *wf_bufs_region(const weft_buf *b, size_t n)
{
	return n == 1 && b->mem ? &b->mem->region : NULL;
}

/* ---- grants ---- */

static int check_grant(const weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, const void *token, const size_t *token_len)
{
	if (!token || !token_len || *token_len < WF_TOKEN_LEN)
		return wf_fail(WEFT_EINVAL, 0, "weft_grant_new", NULL, "a token takes %u bytes", WF_TOKEN_LEN);
	if (!access || access & ~(uint32_t)(WEFT_READ | WEFT_WRITE | WEFT_ATOMIC))
		return wf_fail(WEFT_EINVAL, 0, "weft_grant_new", NULL, "no or unknown access right");
	if (access & ~m->region.access)
		return wf_fail(WEFT_EACCESS, 0, "weft_grant_new", NULL, "more rights than the memory was registered with");
	if (offset > m->region.len || len > m->region.len - offset)
		return wf_fail(WEFT_EBOUNDS, 0, "weft_grant_new", NULL, "%llu bytes at %llu of %zu", (unsigned long long)len,
			       (unsigned long long)offset, m->region.len);
	return 0;
}

int weft_grant_new(weft_mem *m, uint64_t offset, uint64_t len, uint32_t access, weft_ep *only, void *token, size_t *token_len,
		   weft_grant *out)
{
	struct weft_ctx *ctx = m->ctx;
	struct wf_token t = { .len = len, .access = (uint16_t)access };
	struct wf_grant *g;
	int ret = check_ctx(ctx, out, "weft_grant_new");

	if (!ret)
		ret = check_grant(m, offset, len, access, token, token_len);
	if (ret)
		return ret;
	g = wf_calloc(1, sizeof(*g));
	if (!g)
		return wf_fail(WEFT_ENOMEM, 0, "weft_grant_new", NULL, "no memory");
	*g = (struct wf_grant){ .mem = m, .off = offset, .len = len, .access = access };
	if (only) {
		g->only_worker = only->w->id;
		g->only_ep = only->id;
	}
	ret = wf_random(g->key, sizeof(g->key));
	if (ret) {
		wf_free(g);
		return wf_fail(WEFT_ESYSTEM, -ret, "weft_grant_new", NULL, "no random bytes");
	}
	pthread_mutex_lock(&ctx->lock);
	g->id = ctx->next_id++;
	ret = wf_map_insert(&ctx->grants, g->id, g);
	if (!ret)
		m->n_grants++;
	pthread_mutex_unlock(&ctx->lock);
	if (ret) {
		wf_free(g);
		return wf_fail(WEFT_ENOMEM, 0, "weft_grant_new", NULL, "no memory");
	}
	t.grant = g->id;
	memcpy(t.key, g->key, sizeof(t.key));
	wf_token_encode(&t, token);
	*token_len = WF_TOKEN_LEN;
	out->v = g->id;
	return WEFT_OK;
}
