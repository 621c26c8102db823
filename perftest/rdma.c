/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdma.c - what the kernel says of the RDMA devices: /sys/class/infiniband, as Documentation/ABI/stable/sysfs-class-infiniband
 * of Linux has it. Reads only, and needs none of rdma-core's libraries.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define CLASS    "/sys/class/infiniband/%s"
#define PKEY_LAST 128
#define GID_LAST 32                      /* a table may have a thousand places; those in use come first */

/* "0000:...:ffff:c0a8:6401" as people write it: "::ffff:192.168.100.1". False: the place is empty. */
static bool tidy_gid(char *out, size_t cap, const char *raw)
{
	struct in6_addr gid;

	if (inet_pton(AF_INET6, raw, &gid) != 1 || IN6_IS_ADDR_UNSPECIFIED(&gid))
		return false;
	return inet_ntop(AF_INET6, &gid, out, (socklen_t)cap);
}

static void read_gids(struct rdma_port *p, const char *dev)
{
	char raw[64];

	for (unsigned i = 0; i < GID_LAST && p->n_gid < RDMA_GIDS; i++) {
		struct rdma_gid *g = &p->gid[p->n_gid];

		fact_line(raw, sizeof(raw), CLASS "/ports/%u/gids/%u", dev, p->number, i);
		if (!tidy_gid(g->text, sizeof(g->text), raw))
			continue;
		g->index = i;
		fact_line(g->type, sizeof(g->type), CLASS "/ports/%u/gid_attrs/types/%u", dev, p->number, i);
		p->n_gid++;
	}
}

/* "4: ACTIVE": the word behind the number. */
static void read_state(struct rdma_port *p, const char *dev)
{
	char line[40];
	const char *word;

	fact_line(line, sizeof(line), CLASS "/ports/%u/state", dev, p->number);
	word = strstr(line, ": ");
	snprintf(p->state, sizeof(p->state), "%s", word ? word + 2 : line);
}

/* The table of partitions; what is usual is not said. */
static void read_pkeys(struct rdma_port *p, const char *dev)
{
	char key[16];
	size_t at = 0;

	for (unsigned i = 0; i < PKEY_LAST && fact_line(key, sizeof(key), CLASS "/ports/%u/pkeys/%u", dev, p->number, i); i++)
		if (strcmp(key, "0x0000") && at < sizeof(p->pkeys))
			at += (size_t)snprintf(p->pkeys + at, sizeof(p->pkeys) - at, "%s%s", at ? ", " : "", key);
	if (!strcmp(p->pkeys, "0xffff"))
		p->pkeys[0] = 0;
}

static void read_port(struct rdma_port *p, const char *dev, const char *number)
{
	*p = (struct rdma_port){ .number = (unsigned)strtoul(number, NULL, 10) };
	read_state(p, dev);
	fact_line(p->layer, sizeof(p->layer), CLASS "/ports/%u/link_layer", dev, p->number);
	fact_line(p->rate, sizeof(p->rate), CLASS "/ports/%u/rate", dev, p->number);
	fact_line(p->net, sizeof(p->net), CLASS "/ports/%u/gid_attrs/ndevs/0", dev, p->number);
	if (p->net[0])
		fact_u64(&p->net_mtu, "/sys/class/net/%s/mtu", p->net);
	read_gids(p, dev);
	read_pkeys(p, dev);
}

unsigned rdma_devs(struct rdma_dev *out, unsigned cap)
{
	struct names devs, ports;
	unsigned n;

	fact_names(&devs, "", "/sys/class/infiniband");
	for (n = 0; n < devs.n && n < cap; n++) {
		struct rdma_dev *d = &out[n];

		*d = (struct rdma_dev){ .n_port = 0 };
		snprintf(d->name, sizeof(d->name), "%s", devs.name[n]);
		fact_line(d->firmware, sizeof(d->firmware), CLASS "/fw_ver", d->name);
		fact_names(&ports, "", CLASS "/ports", d->name);
		for (; d->n_port < ports.n && d->n_port < RDMA_PORTS; d->n_port++)
			read_port(&d->port[d->n_port], d->name, ports.name[d->n_port]);
	}
	return n;
}

void rdma_say_port(const struct rdma_port *p, char *out, size_t cap)
{
	int n = snprintf(out, cap, "port %u: %s, %s, %s", p->number, p->state, p->layer, p->rate);

	if (p->net[0] && n > 0 && (size_t)n < cap)
		n += snprintf(out + n, cap - (size_t)n, ", over %s with MTU %llu", p->net, (unsigned long long)p->net_mtu);
	if (p->pkeys[0] && n > 0 && (size_t)n < cap)
		snprintf(out + n, cap - (size_t)n, ", P_Keys %s", p->pkeys);
}
