/* SPDX-License-Identifier: BSD-3-Clause
 *
 * info.c - `weft info`: what the library says of itself, passed on as it stands; the transports that this version does not
 * have; the devices of this machine.
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define NET_MAX  64
#define RDMA_MAX 128
#define GPU_MAX  32

/* Left out where the library lists one of that name: then it has it. */
static const struct {
	const char *name, *what, *meanwhile;
} absent[] = {
	{ "cuda_ipc", "memory of NVIDIA GPUs between processes", "copy to host memory (cudaMemcpy) and send that" },
	{ "rocm_ipc", "memory of AMD GPUs between processes", "copy to host memory (hipMemcpy) and send that" },
};

#define N_ABSENT (sizeof(absent) / sizeof(absent[0]))

struct machine {
	struct net_dev net[NET_MAX];
	struct rdma_dev rdma[RDMA_MAX];
	struct gpu_dev gpu[GPU_MAX];
	unsigned n_net, n_rdma, n_gpu, on_bus;
};

void info_usage(FILE *to)
{
	fputs("options of weft info:\n"
	      "  --json       one object, instead of text\n"
	      "  --root DIR   reads the files of /proc, /sys and /dev below DIR, a copy of another machine's, for the list of devices\n"
	      "\n"
	      "Says which transports there are and why one is not used, which this version does not have, the network\n"
	      "interfaces, RDMA devices and GPUs of this machine, thresholds, and every setting with where it came from.\n", to);
}

static void look(struct machine *m)
{
	m->n_net = net_devs(m->net, NET_MAX);
	m->n_rdma = rdma_devs(m->rdma, RDMA_MAX);
	m->n_rdma = m->n_rdma < RDMA_MAX ? m->n_rdma : RDMA_MAX;
	rdma_ask(m->rdma, m->n_rdma);
	m->n_gpu = gpu_devs(m->gpu, GPU_MAX, &m->on_bus);
}

/* Does the library have a transport of that name? */
static bool is_there(const char *library, const char *name)
{
	const char *list = json_find(library, "transports");
	char quoted[40];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"name\":\"%s\"", name);
	at = list ? strstr(list, quoted) : NULL;
	return at && at < list + json_len(list);
}

/* Why it is not there, in one sentence for all. */
static void say_absence(char *out, size_t cap)
{
	uint32_t v = weft_version();

	snprintf(out, cap, "weft %u.%u.%u has no such transport, whatever the machine has", v >> 16, v >> 8 & 255, v & 255);
}

/* ---- text ---- */

static void print_net(const struct net_dev *d)
{
	printf("  network  %-10s %-8s", d->name, !d->up ? "off" : d->loopback ? "loopback" : d->state);
	for (unsigned i = 0; i < d->n_addr; i++)
		printf("%s %s", i ? "," : "", d->addr[i]);
	if (!d->n_addr)
		printf(" no address");
	if (d->speed_mbit && d->speed_mbit < 10000000)   /* drivers that do not know say -1, in 32 bits some */
		printf(", %llu Mbit/s", (unsigned long long)d->speed_mbit);
	printf(", MTU %llu\n", (unsigned long long)d->mtu);
}

static void print_rdma(const struct rdma_dev *d)
{
	char port[RDMA_PORT_TEXT], gid[RDMA_GID_TEXT];
	const char *srqs = rdma_say_srqs(d);

	printf("  rdma     %-10s%s%s%s%s\n", d->name, d->firmware[0] ? " firmware " : "", d->firmware,
	       srqs[0] ? d->firmware[0] ? ", " : " " : "", srqs);
	for (unsigned i = 0; i < d->n_port; i++) {
		const struct rdma_port *p = &d->port[i];

		rdma_say_port(p, port, sizeof(port));
		printf("  %8s %10s %s\n", "", "", port);
		for (unsigned k = 0; k < p->n_gid; k++) {
			rdma_say_gid(p, &p->gid[k], gid, sizeof(gid));
			printf("  %8s %10s GID %s\n", "", "", gid);
		}
		if (p->gids_left)
			printf("  %8s %10s and %u more\n", "", "", p->gids_left);
	}
}

static void print_devices(const struct machine *m)
{
	printf("devices:\n");
	for (unsigned i = 0; i < m->n_net; i++)
		print_net(&m->net[i]);
	for (unsigned i = 0; i < m->n_rdma; i++)
		print_rdma(&m->rdma[i]);
	if (!m->n_rdma)
		printf("  rdma     none (/sys/class/infiniband)\n");
	for (unsigned i = 0; i < m->n_gpu; i++)
		printf("  gpu      %s %s (%s)\n", m->gpu[i].vendor, m->gpu[i].name, m->gpu[i].where);
	if (!m->n_gpu)
		printf("  gpu      none%s\n", m->on_bus ? " that a driver shows, though the PCI bus has one: see weft doctor" : "");
}

static void print_text(const char *text, const char *library, const struct machine *m)
{
	char why[120];

	printf("%s", text);
	say_absence(why, sizeof(why));
	printf("not in this version (%s):\n", why);
	for (size_t i = 0; i < N_ABSENT; i++)
		if (!is_there(library, absent[i].name))
			printf("  %-8s %s; instead: %s\n", absent[i].name, absent[i].what, absent[i].meanwhile);
	print_devices(m);
}

/* ---- JSON ---- */

static void net_json(const struct net_dev *d)
{
	json_open(NULL, '{');
	json_str("name", d->name);
	json_bool("up", d->up);
	json_bool("loopback", d->loopback);
	json_str("state", d->state);
	json_u64("mtu", d->mtu);
	json_u64("speed_mbit", d->speed_mbit < 10000000 ? d->speed_mbit : 0);
	json_open("addresses", '[');
	for (unsigned i = 0; i < d->n_addr; i++)
		json_str(NULL, d->addr[i]);
	json_close();
	json_close();
}

static void port_json(const struct rdma_port *p)
{
	json_open(NULL, '{');
	json_u64("port", p->number);
	json_str("state", p->state);
	json_str("link_layer", p->layer);
	json_str("rate", p->rate);
	json_u64("lid", p->lid);
	json_u64("mtu", p->mtu);
	json_str("network", p->net);
	json_u64("network_mtu", p->net_mtu);
	json_str("pkeys", p->pkeys);
	json_open("gids", '[');
	for (unsigned i = 0; i < p->n_gid; i++) {
		json_open(NULL, '{');
		json_u64("index", p->gid[i].index);
		json_str("gid", p->gid[i].text);
		json_str("type", p->gid[i].type);
		json_str("network", p->gid[i].net);
		json_close();
	}
	json_close();
	json_u64("gids_left_out", p->gids_left);
	json_close();
}

static void rdma_json(const struct rdma_dev *d)
{
	json_open(NULL, '{');
	json_str("name", d->name);
	json_str("firmware", d->firmware);
	if (d->srqs == RDMA_SRQS_UNKNOWN)
		json_raw("shared_receive_queues", "null", 4);
	else
		json_bool("shared_receive_queues", d->srqs == RDMA_SRQS_YES);
	json_open("ports", '[');
	for (unsigned i = 0; i < d->n_port; i++)
		port_json(&d->port[i]);
	json_close();
	json_close();
}

static void devices_json(const struct machine *m)
{
	json_open("devices", '{');
	json_open("network", '[');
	for (unsigned i = 0; i < m->n_net; i++)
		net_json(&m->net[i]);
	json_close();
	json_open("rdma", '[');
	for (unsigned i = 0; i < m->n_rdma; i++)
		rdma_json(&m->rdma[i]);
	json_close();
	json_open("gpus", '[');
	for (unsigned i = 0; i < m->n_gpu; i++) {
		json_open(NULL, '{');
		json_str("vendor", m->gpu[i].vendor);
		json_str("name", m->gpu[i].name);
		json_str("where", m->gpu[i].where);
		json_close();
	}
	json_close();
	json_u64("gpus_on_bus", m->on_bus);
	json_close();
}

/* What the library says, and the rest beside it. */
static void print_all_json(const char *library, const struct machine *m)
{
	char why[120];

	say_absence(why, sizeof(why));
	json_open(NULL, '{');
	json_members(library);
	json_open("absent", '[');
	for (size_t i = 0; i < N_ABSENT; i++) {
		if (is_there(library, absent[i].name))
			continue;
		json_open(NULL, '{');
		json_str("name", absent[i].name);
		json_str("what", absent[i].what);
		json_str("state", "not in this version");
		json_str("why", why);
		json_str("remedy", absent[i].meanwhile);
		json_close();
	}
	json_close();
	devices_json(m);
	json_close();
}

int info_main(int argc, char **argv)
{
	struct machine *m = NULL;
	char *text, *library;
	bool json = false, ok;
	weft_ctx *ctx;

	if (!look_options("info", argc, argv, &json))
		return 2;
	if (weft_open(NULL, &ctx))
		return say_refusal();
	text = explain_text(ctx, NULL, NULL, 0);
	library = explain_text(ctx, NULL, NULL, 1);
	m = calloc(1, sizeof(*m));
	ok = text && library && m;
	if (ok) {
		look(m);
		if (json)
			print_all_json(library, m);
		else
			print_text(text, library, m);
	} else {
		say_refusal();
	}
	free(m);
	free(text);
	free(library);
	weft_close(ctx);
	return ok && !fflush(stdout) ? 0 : 1;
}
