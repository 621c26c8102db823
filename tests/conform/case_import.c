/* SPDX-License-Identifier: BSD-3-Clause
 *
 * case_import.c - memory behind a descriptor. Where the kernel has no maker of dma-bufs, a memfd stands for one: what a dma-buf
 * is beyond "can be mapped" is the adapters' business (test_verbs_dev).
 */
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/conform.h"

#define ALL (WEFT_READ | WEFT_WRITE | WEFT_ATOMIC)
#define LEN ((size_t)3 << 20)

static int new_memfd(size_t len)
{
	int fd = memfd_create("weft-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	wt_must(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static void messages(struct wt_pair *p, weft_mem *m, const weft_buf *imported, int from)
{
	unsigned char *plain = malloc(LEN);

	for (size_t len = 1; len <= imported->len; len = len * 24 > imported->len && len < imported->len ? imported->len : len * 24)
		for (int into = 0; into < 2; into++) {   /* from it, into it */
			weft_buf s = wt_buf(into ? plain : imported->addr, len), r = wt_buf(into ? imported->addr : plain, len);
			weft_call cs = wt_call(0), cr = wt_call(0);
			struct wt_posted ps, pr;

			s.mem = into ? NULL : m;
			r.mem = into ? m : NULL;
			wt_fill(s.addr, len, len + (size_t)into);
			pr = wt_took(p->w[!from], weft_recv(p->w[!from]->w, &r, 1, 1, WT_EXACT, &cr), &cr);
			ps = wt_took(p->w[from], weft_send(p->ep[from], &s, 1, 1, &cs), &cs);
			wt_ok(p->w[from], ps);
			wt_ok(p->w[!from], pr);
			wt_assert_data(r.addr, len, len + (size_t)into);
		}
	free(plain);
}

/* Put into it, read by another mapping of the same; written there, got from it; put and got with it as the buffer. */
static void one_sided(struct wt_pair *p, weft_mem *m, const weft_buf *imported, unsigned char *behind)
{
	size_t len = imported->len, token_len = 64;
	unsigned char *plain = malloc(LEN), token[64];
	weft_buf b = wt_buf(plain, len);
	weft_remote *remote;
	weft_grant grant;
	weft_call c[6];

	for (int i = 0; i < 6; i++)
		c[i] = wt_call(0);
	wt_must(weft_grant_new(m, 0, len, ALL, NULL, token, &token_len, &grant) == WEFT_OK);
	wt_must(weft_remote_open(p->ep[0], token, token_len, &remote) == WEFT_OK);
	wt_fill(plain, len, 7);
	wt_ok(p->w[0], wt_took(p->w[0], weft_put(p->ep[0], &b, 1, remote, 0, &c[0]), &c[0]));
	wt_ok(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c[1]), &c[1]));
	wt_assert_data(behind, len, 7);
	wt_fill(behind, len, 8);
	wt_ok(p->w[0], wt_took(p->w[0], weft_get(p->ep[0], &b, 1, remote, 0, &c[2]), &c[2]));
	wt_assert_data(plain, len, 8);
	memset(behind, 0, 8);
	wt_ok(p->w[0], wt_took(p->w[0], weft_atomic(p->ep[0], WEFT_ATOMIC_ADD, remote, 0, 5, 0, &c[3]), &c[3]));
	assert_int_equal(behind[0], 5);
	weft_remote_close(remote);
	wt_ok(p->w[1], wt_took(p->w[1], weft_grant_revoke(m, grant, &c[4]), &c[4]));
	free(plain);
}

/* The opener's buffers are imported, too. */
static void with_it_as_the_buffer(struct wt_pair *p, weft_mem *m, const weft_buf *imported)
{
	weft_buf b = *imported;
	weft_call c[3] = { wt_call(0), wt_call(0), wt_call(0) };
	struct wt_mem there;

	b.mem = m;
	wt_mem_open(p, &there, b.len, ALL, false);
	wt_fill(b.addr, b.len, 9);
	wt_ok(p->w[0], wt_took(p->w[0], weft_put(p->ep[0], &b, 1, there.remote, 0, &c[0]), &c[0]));
	wt_ok(p->w[0], wt_took(p->w[0], weft_flush(p->w[0]->w, p->ep[0], &c[1]), &c[1]));
	wt_assert_data(there.addr, b.len, 9);
	wt_fill(there.addr, b.len, 10);
	wt_ok(p->w[0], wt_took(p->w[0], weft_get(p->ep[0], &b, 1, there.remote, 0, &c[2]), &c[2]));
	wt_assert_data(b.addr, b.len, 10);
	wt_mem_close(p, &there);
}

/* @fd holds LEN bytes, of which those from @at on are imported. It is the caller's: closed at once. */
static void import_and_use(int fd, size_t at, uint16_t kind)
{
	unsigned char *behind = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	size_t len = LEN - at - 333, have;
	struct wt_pair p;
	weft_buf b;
	weft_mem *m;

	assert_true(behind != MAP_FAILED);
	wt_pair_open(&p, 0);
	assert_int_equal(weft_mem_import(p.ctx, fd, at, len, kind, -1, &m), WEFT_OK);
	close(fd);
	b = wt_buf(weft_mem_addr(m, &have), len);
	assert_int_equal(have, len);
	memset(behind, 0x55, LEN);
	messages(&p, m, &b, 0);
	messages(&p, m, &b, 1);
	one_sided(&p, m, &b, behind + at);
	with_it_as_the_buffer(&p, m, &b);
	for (size_t i = 0; i < at; i++)
		assert_int_equal(behind[i], 0x55);
	for (size_t i = at + len; i < LEN; i++)
		assert_int_equal(behind[i], 0x55);
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	wt_pair_close(&p);
	munmap(behind, LEN);
}

static void imported_memory_is_like_any(void **state)
{
	(void)state;
	import_and_use(new_memfd(LEN), 0, WEFT_HOST);
	import_and_use(new_memfd(LEN), 4096, WEFT_CUDA);           /* what can be mapped is the host's, too */
	import_and_use(new_memfd(LEN), 2 * 4096 + 104, WEFT_HOST); /* no page begins there */
}

static void a_dma_buf_of_the_kernel_is_imported(void **state)
{
	struct udmabuf_create make = { .memfd = (uint32_t)-1, .flags = UDMABUF_FLAGS_CLOEXEC, .size = LEN };
	int maker = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd, mem;

	(void)state;
	if (maker < 0)
		wt_skip("no /dev/udmabuf here, or no right to it: only memfds were imported");
	mem = new_memfd(LEN);
	wt_must(!fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK));
	make.memfd = (uint32_t)mem;
	fd = ioctl(maker, UDMABUF_CREATE, &make);
	close(maker);
	close(mem);
	if (fd < 0)
		wt_skip("/dev/udmabuf makes none");
	import_and_use(fd, 4096 + 8, WEFT_HOST);
}

static void refuses(weft_ctx *ctx, int fd, uint64_t at, size_t len, uint16_t kind, int status, const char *says)
{
	char text[600];
	weft_mem *m = NULL;
	int ret = weft_mem_import(ctx, fd, at, len, kind, -1, &m);

	weft_error_text(weft_last_error(), text, sizeof(text));
	if (ret != status || m || !strstr(text, "weft_mem_import") || !strstr(text, says))
		fail_msg("descriptor %d, %zu bytes at %llu: %d: %s; wanted %d, %s", fd, len, (unsigned long long)at, ret, text, status, says);
}

static void what_cannot_be_imported_is_refused(void **state)
{
	int mem = new_memfd(8192), socks[2], again, read_only;
	weft_ctx *ctx = wt_open(NULL, NULL);
	char path[40];
	weft_mem *m;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, socks), 0);
	refuses(ctx, -1, 0, 100, WEFT_HOST, WEFT_EINVAL, "-1 is no descriptor");
	refuses(ctx, mem, 0, 0, WEFT_HOST, WEFT_EINVAL, "0 bytes");
	refuses(ctx, mem, 0, 100, 77, WEFT_EINVAL, "no memory kind 77");
	refuses(ctx, mem, 0, 8193, WEFT_HOST, WEFT_EBOUNDS, "8193 bytes at 0 of 8192");
	refuses(ctx, mem, 8192, 1, WEFT_HOST, WEFT_EBOUNDS, "1 bytes at 8192 of 8192");
	refuses(ctx, mem, 1ull << 40, 1, WEFT_CUDA, WEFT_EBOUNDS, "of 8192");
	refuses(ctx, mem, UINT64_MAX, 1, WEFT_HOST, WEFT_EBOUNDS, "no file is so long");
	refuses(ctx, mem, 1, SIZE_MAX, WEFT_HOST, WEFT_EBOUNDS, "no file is so long");
	refuses(ctx, mem, INT64_MAX, 1, WEFT_HOST, WEFT_EBOUNDS, "no file is so long");
	refuses(ctx, socks[0], 0, 100, WEFT_HOST, WEFT_ENOTSUP, "cannot be mapped");
	refuses(ctx, socks[0], 0, 100, WEFT_CUDA, WEFT_ENOTSUP, "needs a GPU layer");
	refuses(NULL, mem, 0, 100, WEFT_HOST, WEFT_EINVAL, "NULL argument");
	assert_int_equal(weft_mem_import(ctx, mem, 0, 100, WEFT_HOST, -1, NULL), WEFT_EINVAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read_only >= 0);
	refuses(ctx, read_only, 0, 100, WEFT_HOST, WEFT_EINVAL, "not open for both");
	close(read_only);
	refuses(ctx, read_only, 0, 100, WEFT_HOST, WEFT_EINVAL, "is no open descriptor");
	/* all of it, and its place in the file stays the caller's */
	assert_int_equal(lseek(mem, 77, SEEK_SET), 77);
	assert_int_equal(weft_mem_import(ctx, mem, 4097, 4095, WEFT_KIND_AUTO, 3, &m), WEFT_OK);
	assert_int_equal(lseek(mem, 0, SEEK_CUR), 77);
	again = wt_fd_count();
	assert_int_equal(weft_mem_free(m), WEFT_OK);
	assert_int_equal(wt_fd_count(), again - 1);
	close(mem);
	close(socks[0]);
	close(socks[1]);
	wt_close(ctx);
}

static const struct CMUnitTest cases[] = {
	WT_CASE_HERE(imported_memory_is_like_any, "a descriptor does not go along"),
	WT_CASE_HERE(a_dma_buf_of_the_kernel_is_imported, "a descriptor does not go along"),
	WT_CASE(what_cannot_be_imported_is_refused),
};
WT_GROUP(wt_group_import, cases);
