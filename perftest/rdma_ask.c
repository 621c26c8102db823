/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdma_ask.c - what of RDMA devices stands in no file: the packets of a port, and whether there are shared receive queues. libibverbs
 * is asked, which opens them. A process of its own does it: neither that library nor a driver that hangs takes this one along.
 */
#include <dlfcn.h>
#include <endian.h>
#include <string.h>
#include <sys/mman.h>

#include "tool.h"
#include "transports/verbs/ibv.h"

struct ask {
	struct ibv_device **(*list)(int *n);
	const char *(*name)(struct ibv_device *dev);
	struct ibv_context *(*open)(struct ibv_device *dev);
	int (*query_device)(struct ibv_context *ctx, struct ibv_device_attr *a);
	int (*query_port)(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *a);
	struct rdma_dev *dev;            /* in memory that the parent sees */
	unsigned n;
};

static bool load(struct ask *a)
{
	void *lib = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return false;
	*(void **)&a->list = dlsym(lib, "ibv_get_device_list");
	*(void **)&a->name = dlsym(lib, "ibv_get_device_name");
	*(void **)&a->open = dlsym(lib, "ibv_open_device");
	*(void **)&a->query_device = dlsym(lib, "ibv_query_device");
	*(void **)&a->query_port = dlsym(lib, "ibv_query_port");
	return a->list && a->name && a->open && a->query_device && a->query_port;
}

/* With --root it may be another machine's, and all machines call theirs mlx5_0. */
static bool is_same(const struct rdma_dev *d, const struct ibv_device_attr *attr)
{
	uint64_t guid = be64toh(attr->node_guid);
	char line[40], ours[40];

	snprintf(ours, sizeof(ours), "%04x:%04x:%04x:%04x", (unsigned)(guid >> 48), (unsigned)(guid >> 32 & 0xffff),
		 (unsigned)(guid >> 16 & 0xffff), (unsigned)(guid & 0xffff));
	return !fact_line(line, sizeof(line), "/sys/class/infiniband/%s/node_guid", d->name) || !strcmp(line, ours);
}

static void ask_device(const struct ask *a, struct rdma_dev *d, struct ibv_device *dev)
{
	struct ibv_context *ctx = a->open(dev);
	struct ibv_device_attr attr;

	if (!ctx || a->query_device(ctx, &attr) || !is_same(d, &attr))
		return;
	d->srqs = attr.max_srq > 0 ? RDMA_SRQS_YES : RDMA_SRQS_NO;
	for (unsigned i = 0; i < d->n_port; i++) {
		struct ibv_port_attr port = { .state = IBV_PORT_NOP };   /* the library fills less than that struct */

		if (!a->query_port(ctx, (uint8_t)d->port[i].number, &port) && port.active_mtu >= IBV_MTU_256 &&
		    port.active_mtu <= IBV_MTU_4096)
			d->port[i].mtu = 128u << port.active_mtu;
	}
}

/* Nothing is closed: the process ends. */
static int ask_all(void *arg)
{
	struct ask *a = arg;
	struct ibv_device **list;
	int n = 0;

	list = load(a) ? a->list(&n) : NULL;
	for (int i = 0; list && i < n; i++)
		for (unsigned k = 0; k < a->n; k++)
			if (!strcmp(a->name(list[i]), a->dev[k].name))
				ask_device(a, &a->dev[k], list[i]);
	return 0;
}

void rdma_ask(struct rdma_dev *dev, unsigned n)
{
	size_t len = n * sizeof(*dev);
	struct ask a = { .n = n };

	if (!n)
		return;
	a.dev = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (a.dev == MAP_FAILED)
		return;
	memcpy(a.dev, dev, len);
	in_child(ask_all, &a);           /* of one that ended early, what it had got */
	memcpy(dev, a.dev, len);
	munmap(a.dev, len);
}
