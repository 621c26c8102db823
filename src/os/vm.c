/* SPDX-License-Identifier: BSD-3-Clause
 *
 * vm.c - copies straight between our memory and another process's; the process_vm_* part of mem.h.
 * The kernel takes IOV_MAX pieces and 2 GiB at most and may stop anywhere, so both sides are walked
 * by a cursor through a small window.
 */
#include <errno.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/mem.h"

#define WINDOW 64

typedef ssize_t vm_call(pid_t, const struct iovec *, unsigned long, const struct iovec *,
			unsigned long, unsigned long);

struct cursor {
	const struct iovec *iov;
	size_t n;
	size_t offset; /* in iov[0] */
};

/* Describes what comes next in @out; number of pieces. */
static size_t look(struct cursor *c, struct iovec *out, size_t *bytes_out)
{
	size_t k = 0, bytes = 0, offset = c->offset;

	for (size_t i = 0; i < c->n && k < WINDOW; i++, offset = 0) {
		size_t len = c->iov[i].iov_len - offset;

		if (!len)
			continue;
		out[k++] = (struct iovec){ (char *)c->iov[i].iov_base + offset, len };
		if (!wf_add_size(bytes, len, &bytes))
			bytes = SIZE_MAX;
	}
	*bytes_out = bytes;
	return k;
}

static void step(struct cursor *c, size_t bytes)
{
	bytes += c->offset;
	while (c->n && bytes >= c->iov->iov_len) {
		bytes -= c->iov->iov_len;
		c->iov++;
		c->n--;
	}
	c->offset = c->n ? bytes : 0;
}

static ssize_t walk(vm_call *call, pid_t pid, struct cursor local, struct cursor remote)
{
	struct iovec here[WINDOW], there[WINDOW];
	size_t n_here, n_there, len_here, len_there, done = 0;

	if (wf_fault_point("process_vm"))
		return -EPERM;
	for (;;) {
		ssize_t k;

		n_here = look(&local, here, &len_here);
		n_there = look(&remote, there, &len_there);
		if (!n_here || !n_there)
			return (ssize_t)done;
		k = call(pid, here, n_here, there, n_there, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return done ? (ssize_t)done : k < 0 ? -errno : -EFAULT;
		done += (size_t)k;
		step(&local, (size_t)k);
		step(&remote, (size_t)k);
	}
}

ssize_t wf_vm_read(pid_t pid, const struct iovec *local, size_t n_local, const struct iovec *remote,
		   size_t n_remote)
{
	return walk(process_vm_readv, pid, (struct cursor){ local, n_local, 0 },
		    (struct cursor){ remote, n_remote, 0 });
}

ssize_t wf_vm_write(pid_t pid, const struct iovec *local, size_t n_local,
		    const struct iovec *remote, size_t n_remote)
{
	return walk(process_vm_writev, pid, (struct cursor){ local, n_local, 0 },
		    (struct cursor){ remote, n_remote, 0 });
}
