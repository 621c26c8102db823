/* SPDX-License-Identifier: BSD-3-Clause
 *
 * device.c - what there is: devices like those of soft-RoCE, each with one port, and their addresses; see fake.h.
 */
#include "fake/ibverbs/fake.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t refs_lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t n_devices(void)
{
	const char *n = getenv("WEFT_TEST_IBV_DEVICES");
	long v = n ? strtol(n, NULL, 10) : 1;

	if (!getenv("WEFT_TEST_IBV"))
		return 0;
	return v < 0 ? 0 : v > FK_DEVICES ? FK_DEVICES : (uint32_t)v;
}

/* @dev's item of a list in the environment; of a shorter one the last goes for the rest. @unset: there is none. */
static const char *item_for(const char *variable, uint32_t dev, const char *unset)
{
	const char *at = getenv(variable), *next;

	if (!at || !*at)
		return unset;
	for (; dev && (next = strchr(at, ',')); dev--)
		at = next + 1;
	return at;
}

static void put_device(struct fk_device *d)
{
	int left;

	pthread_mutex_lock(&refs_lock);
	left = --d->refs;
	pthread_mutex_unlock(&refs_lock);
	if (!left)
		free(d);
}

struct ibv_device **ibv_get_device_list(int *n_out)
{
	uint32_t n = n_devices();
	struct ibv_device **list = calloc(n + 1, sizeof(*list));
	int found = 0;

	fk_tell_changes();
	for (uint32_t i = 0; list && i < n; i++) {
		struct fk_device *d = fk_is_out(i) ? NULL : calloc(1, sizeof(*d));

		if (!d)
			continue;
		d->index = i;
		d->refs = 1;
		d->v.node_type = IBV_NODE_CA;
		d->v.transport_type = IBV_TRANSPORT_IB;
		snprintf(d->v.name, sizeof(d->v.name), "fake%u", i);
		snprintf(d->v.dev_name, sizeof(d->v.dev_name), "uverbs%u", i);
		list[found++] = &d->v;
	}
	if (n_out)
		*n_out = found;
	if (!list)
		errno = ENOMEM;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	for (struct ibv_device **d = list; *d; d++)
		put_device((struct fk_device *)*d);
	free(list);
}

const char *ibv_get_device_name(struct ibv_device *dev)
{
	return dev->name;
}

/* ---- contexts ---- */

static int query_device_ex(struct ibv_context *ctx, const void *input, struct ibv_device_attr_ex *attr, size_t size);

static int fill_context(struct fk_context *c, struct fk_device *d)
{
	if (!fk_enter("ibv_open_device"))
		return errno;
	c->async = fk_bell_new(c, c, &c->x.context.async_fd);
	fk_leave();
	if (c->async == FK_NONE)
		return errno;
	c->dev = d;
	c->x.context.device = &d->v;
	c->x.context.cmd_fd = -1;
	c->x.context.num_comp_vectors = 2;
	pthread_mutex_init(&c->x.context.mutex, NULL);
	if (getenv("WEFT_TEST_IBV_ODP")) {
		c->x.sz = sizeof(c->x);
		c->x.query_device_ex = query_device_ex;
		c->x.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
	}
	c->x.context.ops.poll_cq = fk_poll_cq;
	c->x.context.ops.req_notify_cq = fk_req_notify_cq;
	c->x.context.ops.post_srq_recv = fk_post_srq_recv;
	c->x.context.ops.post_send = fk_post_send;
	c->x.context.ops.post_recv = fk_post_recv;
	return 0;
}

struct ibv_context *ibv_open_device(struct ibv_device *dev)
{
	struct fk_device *d = (struct fk_device *)dev;
	struct fk_context *c;
	int ret;

	if (fk_has_fault("no_open") || fk_is_out(d->index)) {
		errno = fk_is_out(d->index) ? EIO : EACCES;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	ret = fk_attach();
	if (!ret) {
		ret = fill_context(c, d);
		if (ret)
			fk_detach();
	}
	if (ret) {
		free(c);
		errno = ret;
		return NULL;
	}
	pthread_mutex_lock(&refs_lock);
	d->refs++;
	pthread_mutex_unlock(&refs_lock);
	fk_context_add(c);
	return &c->x.context;
}

int ibv_close_device(struct ibv_context *ctx)
{
	struct fk_context *c = fk_ctx(ctx);

	fk_context_remove(c);
	if (!fk_enter("ibv_close_device"))
		return -1;
	if (c->n_objects)
		fk_complain("ibv_close_device: %d objects of it are still there", c->n_objects);
	fk_bell_free(c->async, c->x.context.async_fd);
	fk_leave();
	fk_detach();
	put_device(c->dev);
	pthread_mutex_destroy(&c->x.context.mutex);
	free(c);
	return 0;
}

int ibv_query_device(struct ibv_context *ctx, struct ibv_device_attr *attr)
{
	if (fk_gone(ctx))
		return EIO;
	memset(attr, 0, sizeof(*attr));
	attr->node_guid = htobe64(0x0200000000000001ull + fk_ctx(ctx)->dev->index);
	attr->sys_image_guid = attr->node_guid;
	attr->max_mr_size = UINT64_MAX;
	attr->page_size_cap = 0xfffff000;
	attr->vendor_id = 0xffffff;
	attr->max_qp = FK_QPS;
	attr->max_qp_wr = FK_MAX_WR;
	attr->device_cap_flags = IBV_DEVICE_RC_RNR_NAK_GEN | IBV_DEVICE_SRQ_RESIZE | IBV_DEVICE_PORT_ACTIVE_EVENT;
	attr->max_sge = attr->max_sge_rd = attr->max_srq_sge = FK_MAX_SGE;
	attr->max_cq = FK_CQS;
	attr->max_cqe = fk_max_cqe();
	attr->max_mr = FK_MRS;
	attr->max_pd = 1 << 15;
	attr->max_qp_rd_atom = attr->max_qp_init_rd_atom = FK_MAX_RD;
	attr->max_res_rd_atom = FK_MAX_RD * FK_QPS;
	attr->atomic_cap = getenv("WEFT_TEST_IBV_GLOB") ? IBV_ATOMIC_GLOB : IBV_ATOMIC_HCA;
	attr->max_ah = 1 << 15;
	attr->max_srq = strncmp(item_for("WEFT_TEST_IBV_SRQS", fk_ctx(ctx)->dev->index, "yes"), "no", 2) ? FK_SRQS : 0;
	attr->max_srq_wr = attr->max_srq ? FK_MAX_SRQ_WR : 0;
	attr->max_pkeys = 64;
	attr->local_ca_ack_delay = 15;
	attr->phys_port_cnt = 1;
	return 0;
}

bool fk_has_srqs(uint32_t dev)
{
	return !strncmp(item_for("WEFT_TEST_IBV_SRQS", dev, "yes"), "yes", 3);
}

int fk_max_cqe(void)
{
	const char *n = getenv("WEFT_TEST_IBV_CQE");

	return n ? (int)strtol(n, NULL, 10) : FK_MAX_CQE;
}

uint32_t fk_odp(void)
{
	static const char *const words[] = { "send", "recv", "write", "read", "atomic", "srq_recv" };
	const char *at = getenv("WEFT_TEST_IBV_ODP");
	uint32_t caps = 0;

	while (at && *at) {
		size_t len = strcspn(at, " ");

		for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (len == strlen(words[i]) && !memcmp(at, words[i], len))
				caps |= 1u << i;
		at += len + (at[len] == ' ');
	}
	return caps;
}

static int query_device_ex(struct ibv_context *ctx, const void *input, struct ibv_device_attr_ex *attr, size_t size)
{
	uint32_t caps = fk_odp();

	if (input || size != sizeof(*attr))
		return fk_complain("query_device_ex: input %p, %zu bytes", input, size);
	memset(attr, 0, size);
	attr->odp_caps.general_caps = caps ? IBV_ODP_SUPPORT : 0;
	attr->odp_caps.per_transport_caps.rc_odp_caps = caps;
	return ibv_query_device(ctx, &attr->orig_attr);
}

/* As libibverbs does it: not a byte behind flags, which is where the struct of this symbol ends. */
int ibv_query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out)
{
	uint32_t dev = fk_ctx(ctx)->dev->index;
	struct ibv_port_attr attr = {
		.state = fk_device_has_fault("port_down", dev) ? IBV_PORT_DOWN : IBV_PORT_ACTIVE,
		.max_mtu = IBV_MTU_4096, .active_mtu = fk_mtu_of(dev),
		.gid_tbl_len = FK_GIDS, .port_cap_flags = 1 << 16 | 1 << 26,
		.max_msg_sz = FK_MAX_MSG, .pkey_tbl_len = (uint16_t)fk_n_pkeys(), .max_vl_num = 1,
		.active_width = 2, .active_speed = 4, .phys_state = fk_device_has_fault("port_down", dev) ? 3 : 5,
		.link_layer = fk_is_ib(dev) ? IBV_LINK_LAYER_INFINIBAND : IBV_LINK_LAYER_ETHERNET, .lid = fk_lid_of(dev), .sm_lid = 1,
		.flags = fk_needs_grh(dev) ? IBV_QPF_GRH_REQUIRED : 0,
	};

	if (port != 1)
		return fk_complain("ibv_query_port: port %u", port);
	if (fk_gone(ctx))
		return EIO;
	memcpy(out, &attr, offsetof(struct ibv_port_attr, port_cap_flags2));
	return 0;
}

/* ---- addresses ---- */

bool fk_is_ib(uint32_t dev)
{
	return !strncmp(item_for("WEFT_TEST_IBV_LINK", dev, "eth"), "ib", 2);
}

bool fk_needs_grh(uint32_t dev)
{
	return fk_is_ib(dev) && getenv("WEFT_TEST_IBV_GRH");
}

uint64_t fk_subnet_of(uint32_t dev)
{
	return strtoul(item_for("WEFT_TEST_IBV_SUBNETS", dev, "0"), NULL, 10);
}

uint16_t fk_lid_of(uint32_t dev)
{
	uint16_t lid = 16;

	for (uint32_t i = 0; i < dev; i++)
		lid += fk_is_ib(i) && fk_subnet_of(i) == fk_subnet_of(dev);
	return fk_is_ib(dev) ? lid : 0;
}

enum ibv_mtu fk_mtu_of(uint32_t dev)
{
	unsigned long bytes = strtoul(item_for("WEFT_TEST_IBV_MTUS", dev, "4096"), NULL, 10);
	enum ibv_mtu mtu = IBV_MTU_256;

	while (mtu < IBV_MTU_4096 && 128u << (mtu + 1) <= bytes)
		mtu++;
	return mtu;
}

uint64_t fk_rate_of(uint32_t dev)
{
	return strtoull(item_for("WEFT_TEST_IBV_RATES", dev, "0"), NULL, 10);
}

/* The subnet's prefix, and a number that no other port has. */
static bool ib_gid_of(uint32_t dev, union ibv_gid *out)
{
	out->global.subnet_prefix = htobe64(0xfe80000000000000ull + fk_subnet_of(dev));
	out->global.interface_id = htobe64(0x0200000000000001ull + dev);
	return true;
}

/* From place 3 on, as many as the test wants: more addresses than ports usually have. */
static bool is_extra(uint32_t dev, uint32_t index)
{
	return index > 2 && index < 3 + strtoul(item_for("WEFT_TEST_IBV_GIDS", dev, "0"), NULL, 10);
}

bool fk_gid_of(uint32_t dev, uint32_t index, union ibv_gid *out)
{
	memset(out, 0, sizeof(*out));
	if ((index > 2 && !is_extra(dev, index)) || (index == 2 && dev + 1 != n_devices()) || fk_device_has_fault("no_gids", dev))
		return false;
	if (fk_is_ib(dev))
		return !index && ib_gid_of(dev, out);
	if (index == 1 || index > 2) {           /* 127.0.0.1; 127.1.3.1 and on */
		memcpy(out->raw + 10, "\xff\xff\x7f", 3);
		out->raw[13] = index > 2;
		out->raw[14] = index > 2 ? (uint8_t)index : 0;
		out->raw[15] = (uint8_t)(dev + 1);
		return true;
	}
	if (index == 0) {
		memcpy(out->raw, "\xfe\x80", 2);
		out->raw[8] = 2;
	}
	out->raw[15] = index == 2 ? 1 : (uint8_t)(dev + 1);   /* ::1 */
	return true;
}

uint32_t fk_device_of(const union ibv_gid *gid)
{
	union ibv_gid g;

	for (uint32_t i = 0; i < FK_DEVICES * FK_GIDS; i++)
		if (fk_gid_of(i / FK_GIDS, i % FK_GIDS, &g) && !memcmp(&g, gid, sizeof(g)))
			return i / FK_GIDS;
	return FK_NONE;
}

int ibv_query_gid(struct ibv_context *ctx, uint8_t port, int index, union ibv_gid *gid)
{
	if (port != 1 || index < 0 || index >= FK_GIDS) {
		errno = fk_complain("ibv_query_gid: port %u, index %d", port, index);
		return -1;
	}
	fk_gid_of(fk_ctx(ctx)->dev->index, (uint32_t)index, gid);
	return fk_gone(ctx) ? -1 : 0;
}

int _ibv_query_gid_ex(struct ibv_context *ctx, uint32_t port, uint32_t index, struct ibv_gid_entry *entry, uint32_t flags,
		      size_t size)
{
	struct ibv_gid_entry e = {
		.gid_index = index, .port_num = port, .gid_type = IBV_GID_TYPE_ROCE_V2, .ndev_ifindex = if_nametoindex("lo"),
	};

	if (port != 1 || index >= FK_GIDS || flags || size != sizeof(e))
		return fk_complain("ibv_query_gid_ex: port %u, index %u, flags %u, size %zu", port, index, flags, size);
	if (fk_gone(ctx))
		return EIO;
	if (!fk_gid_of(fk_ctx(ctx)->dev->index, index, &e.gid))
		return ENODATA;
	if (fk_is_ib(fk_ctx(ctx)->dev->index)) {
		e.gid_type = IBV_GID_TYPE_IB;
		e.ndev_ifindex = 0;
	}
	*entry = e;
	return 0;
}

/* ---- partitions ---- */

static uint32_t read_pkeys(uint16_t out[FK_PKEYS])
{
	const char *at = getenv("WEFT_TEST_IBV_PKEYS");
	uint32_t n = 0;

	out[0] = 0xffff;
	while (at && *at && n < FK_PKEYS) {
		out[n++] = (uint16_t)strtoul(at, NULL, 0);
		at = strchr(at, ',');
		at += at != NULL;
	}
	return n ? n : 1;
}

uint32_t fk_n_pkeys(void)
{
	uint16_t keys[FK_PKEYS];

	return read_pkeys(keys);
}

uint16_t fk_pkey_of(uint32_t index)
{
	uint16_t keys[FK_PKEYS];

	return index < read_pkeys(keys) ? keys[index] : 0;
}

int ibv_query_pkey(struct ibv_context *ctx, uint8_t port, int index, uint16_t *pkey)
{
	if (port != 1 || index < 0 || (uint32_t)index >= fk_n_pkeys()) {
		errno = fk_complain("ibv_query_pkey: port %u, index %d", port, index);
		return -1;
	}
	*pkey = htons(fk_pkey_of((uint32_t)index));
	return fk_gone(ctx) ? -1 : 0;
}

/* ---- asynchronous events ---- */

/* About the port or the adapter, not about an object. */
static bool is_unaffiliated(uint32_t type)
{
	return (type >= IBV_EVENT_DEVICE_FATAL && type <= IBV_EVENT_SM_CHANGE) || type == IBV_EVENT_CLIENT_REREGISTER ||
	       type == IBV_EVENT_GID_CHANGE;
}

int ibv_get_async_event(struct ibv_context *ctx, struct ibv_async_event *event)
{
	struct fk_event e;

	if (fk_bell_wait(fk_ctx(ctx)->async, ctx->async_fd, &e, "ibv_get_async_event"))
		return -1;
	event->event_type = (enum ibv_event_type)e.type;
	event->element.qp = (struct ibv_qp *)(uintptr_t)e.object;
	if (is_unaffiliated(e.type))
		event->element.port_num = 1;
	else if (e.type == IBV_EVENT_SRQ_LIMIT_REACHED || e.type == IBV_EVENT_SRQ_ERR)
		event->element.srq->events_completed--; /* given and not acknowledged: below 0 */
	else if (e.type == IBV_EVENT_CQ_ERR)
		event->element.cq->async_events_completed--;
	else
		event->element.qp->events_completed--;
	return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
	if (is_unaffiliated(event->event_type))
		return;
	if (event->event_type == IBV_EVENT_SRQ_LIMIT_REACHED || event->event_type == IBV_EVENT_SRQ_ERR)
		event->element.srq->events_completed++;
	else if (event->event_type == IBV_EVENT_CQ_ERR)
		event->element.cq->async_events_completed++;
	else
		event->element.qp->events_completed++;
}

static bool fork_initialized;

int ibv_fork_init(void)
{
	fork_initialized = true;
	return 0;
}

enum ibv_fork_status ibv_is_fork_initialized(void)
{
	if (!getenv("WEFT_TEST_IBV_FORK"))
		return IBV_FORK_UNNEEDED;
	return fork_initialized ? IBV_FORK_ENABLED : IBV_FORK_DISABLED;
}

void fk_fork_check(void)
{
	if (ibv_is_fork_initialized() == IBV_FORK_DISABLED)
		fk_complain("memory is registered and ibv_fork_init() was not called: a child would get its pages");
}
