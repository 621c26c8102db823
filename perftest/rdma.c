/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdma.c - what the kernel says of the RDMA devices: /sys/class/infiniband, as Documentation/ABI/stable/sysfs-class-infiniband
 * of Linux has it. Reads only, and needs none of rdma-core's libraries.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define CLASS    "/sys/class/infiniband/%s"
#define PKEY_LAST 128
#define GID_LAST 1024                    /* tables have up to so many places, most of them empty: all zero */

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

	for (unsigned i = 0; i < GID_LAST && fact_line(raw, sizeof(raw), CLASS "/ports/%u/gids/%u", dev, p->number, i); i++) {
		struct rdma_gid g = { .index = i };

		if (!tidy_gid(g.text, sizeof(g.text), raw))
			continue;
		if (p->n_gid == RDMA_GIDS) {
			p->gids_left++;
			continue;
		}
		fact_line(g.type, sizeof(g.type), CLASS "/ports/%u/gid_attrs/types/%u", dev, p->number, i);
		fact_line(g.net, sizeof(g.net), CLASS "/ports/%u/gid_attrs/ndevs/%u", dev, p->number, i);
		p->gid[p->n_gid++] = g;
	}
}

/* Its LID, on InfiniBand. */
static void read_lid(struct rdma_port *p, const char *dev)
{
	char line[16];

	if (strcmp(p->layer, "Ethernet") && fact_line(line, sizeof(line), CLASS "/ports/%u/lid", dev, p->number))
		p->lid = (unsigned)strtoul(line, NULL, 0);
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
	read_lid(p, dev);
	read_gids(p, dev);
	for (unsigned i = 0; i < p->n_gid && !p->net[0]; i++)   /* the first place may be empty */
		memcpy(p->net, p->gid[i].net, sizeof(p->net));
	if (p->net[0])
		fact_u64(&p->net_mtu, "/sys/class/net/%s/mtu", p->net);
	read_pkeys(p, dev);
}

unsigned rdma_devs(struct rdma_dev *out, unsigned cap)
{
	struct names devs, ports;
	char type[40];

	fact_names(&devs, "", "/sys/class/infiniband");
	for (unsigned n = 0; n < devs.n && n < cap; n++) {
		struct rdma_dev *d = &out[n];

		*d = (struct rdma_dev){ .n_port = 0 };
		snprintf(d->name, sizeof(d->name), "%s", devs.name[n]);
		fact_line(d->firmware, sizeof(d->firmware), CLASS "/fw_ver", d->name);
		d->iwarp = fact_line(type, sizeof(type), CLASS "/node_type", d->name) && strstr(type, "RNIC");
		fact_names(&ports, "", CLASS "/ports", d->name);
		for (; d->n_port < ports.n && d->n_port < RDMA_PORTS; d->n_port++)
			read_port(&d->port[d->n_port], d->name, ports.name[d->n_port]);
	}
	return devs.n;
}

static void add(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void add(char *out, size_t cap, const char *fmt, ...)
{
	size_t at = strlen(out);
	va_list args;

	va_start(args, fmt);
	vsnprintf(out + at, cap - at, fmt, args);
	va_end(args);
}

void rdma_say_port(const struct rdma_port *p, char *out, size_t cap)
{
	out[0] = 0;
	add(out, cap, "port %u: %s, %s, %s", p->number, p->state, p->layer, p->rate);
	if (p->lid)
		add(out, cap, ", LID %u", p->lid);
	if (p->mtu)
		add(out, cap, ", RDMA MTU %u", p->mtu);
	if (p->net[0])
		add(out, cap, ", over %s with MTU %llu", p->net, (unsigned long long)p->net_mtu);
	if (p->pkeys[0])
		add(out, cap, ", P_Keys %s", p->pkeys);
}

/* "IB/RoCE v1": one word of the kernel's for two things. On InfiniBand there is one only. */
static const char *kind_of(const struct rdma_port *p, const struct rdma_gid *g)
{
	if (strncmp(g->type, "IB/", 3))
		return g->type;
	return strcmp(p->layer, "Ethernet") ? "" : g->type + 3;
}

void rdma_say_gid(const struct rdma_port *p, const struct rdma_gid *g, char *out, size_t cap)
{
	const char *kind = kind_of(p, g), *net = strcmp(g->net, p->net) ? g->net : "";   /* a VLAN's */

	out[0] = 0;
	add(out, cap, "%u %s", g->index, g->text);
	if (kind[0] || net[0])
		add(out, cap, " (%s%s%s)", kind, kind[0] && net[0] ? ", " : "", net);
}

const char *rdma_say_srqs(const struct rdma_dev *d)
{
	return d->srqs == RDMA_SRQS_NO ? "no shared receive queues, so each peer takes receive buffers of its own" : "";
}
