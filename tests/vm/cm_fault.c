/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cm_fault.c - librdmacm.so.1 with a fault: stands in front of the real one (CM_REAL, its path) and hands every call on, but for
 * what CM_FAULT says goes wrong. test_verbs_cm.py compiles it and puts it into LD_LIBRARY_PATH.
 *
 *   channel  there is no rdma_cm            address  no route leads to the peer's address
 *   port     nobody listens at the port     nobody   somebody else's address, who is not there
 *   secret   the wrong one is shown         route    none is found by rdma_cm
 *   silent   what was accepted is never answered
 *   taken    the port that is connected from is another's, the first three times
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transports/verbs/rdmacm.h"

static void *real(const char *name)
{
	static void *lib;

	if (!lib)
		lib = dlopen(getenv("CM_REAL"), RTLD_NOW | RTLD_LOCAL);
	return dlsym(lib, name);
}

static int is(const char *fault)
{
	const char *is = getenv("CM_FAULT");

	return is && !strcmp(is, fault);
}

static int fail(int err)
{
	errno = err;
	return -1;
}

#define ID struct rdma_cm_id *id
#define HAND_ON(type, name, takes, gives) \
	type name takes { type (*fn) takes = (type (*) takes)real(#name); return fn gives; }

HAND_ON(void, rdma_destroy_event_channel, (struct rdma_event_channel *c), (c))
HAND_ON(int, rdma_create_id, (struct rdma_event_channel *c, struct rdma_cm_id **id, void *context, enum rdma_port_space ps), (c, id, context, ps))
HAND_ON(int, rdma_destroy_id, (ID), (id))
HAND_ON(int, rdma_bind_addr, (ID, struct sockaddr *a), (id, a))
HAND_ON(int, rdma_listen, (ID, int backlog), (id, backlog))
HAND_ON(int, rdma_reject, (ID, const void *data, uint8_t len), (id, data, len))
HAND_ON(int, rdma_notify, (ID, enum ibv_event_type event), (id, event))
HAND_ON(int, rdma_get_cm_event, (struct rdma_event_channel *c, struct rdma_cm_event **e), (c, e))
HAND_ON(int, rdma_ack_cm_event, (struct rdma_cm_event *e), (e))
HAND_ON(uint16_t, rdma_get_src_port, (ID), (id))
HAND_ON(int, rdma_establish, (ID), (id))
HAND_ON(int, rdma_init_qp_attr, (ID, struct ibv_qp_attr *a, int *mask), (id, a, mask))

struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct rdma_event_channel *(*fn)(void) = (struct rdma_event_channel * (*)(void))real("rdma_create_event_channel");

	errno = ENODEV;
	return is("channel") ? NULL : fn();
}

int rdma_resolve_addr(ID, struct sockaddr *src, struct sockaddr *dst, int ms)
{
	int (*fn)(ID, struct sockaddr *, struct sockaddr *, int) =
		(int (*)(ID, struct sockaddr *, struct sockaddr *, int))real("rdma_resolve_addr");

	if (is("port"))
		((struct sockaddr_in *)dst)->sin_port = htons(9);   /* at the same place in both families */
	if (is("nobody"))
		((struct sockaddr_in *)dst)->sin_addr.s_addr ^= htonl(64);
	if (is("address"))
		((struct sockaddr_in *)dst)->sin_addr.s_addr = inet_addr("203.0.113.9");
	return fn(id, src, dst, ms);
}

int rdma_resolve_route(ID, int ms)
{
	int (*fn)(ID, int) = (int (*)(ID, int))real("rdma_resolve_route");

	return is("route") ? fail(ENETUNREACH) : fn(id, ms);
}

int rdma_connect(ID, struct rdma_conn_param *param)
{
	int (*fn)(ID, struct rdma_conn_param *) = (int (*)(ID, struct rdma_conn_param *))real("rdma_connect");
	unsigned char data[256];
	static int times;

	if (is("taken") && times++ < 3)
		return fail(EADDRINUSE);
	if (is("secret")) {
		memcpy(data, param->private_data, param->private_data_len);
		data[param->private_data_len - 1] ^= 1;
		param->private_data = data;
	}
	return fn(id, param);
}

int rdma_accept(ID, struct rdma_conn_param *param)
{
	int (*fn)(ID, struct rdma_conn_param *) = (int (*)(ID, struct rdma_conn_param *))real("rdma_accept");

	return is("silent") ? 0 : fn(id, param);
}
