/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor_rdma.c - RDMA devices, and what stands between this user and them; where there are none, cards that should have one.
 */
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define DEVICES 16
#define PCI "/sys/bus/pci/devices/%s/"

/* ---- cards without a device ---- */

/*
 * The modules of Linux's drivers/infiniband/hw that make a device which weft can use, each with the driver of the card itself
 * that it sits upon. Not here: efa (no reliable connections; see transport ofi), those of one cloud or one board.
 */
static const struct card_kind {
	const char *vendor, *device;     /* as in sysfs; the device: how it begins */
	const char *driver, *module, *maker;
	bool sure;                       /* all of them do RDMA: also where no driver has the card */
} kinds[] = {
	{ "0x15b3", "0x100", "mlx4_core", "mlx4_ib", "NVIDIA (Mellanox)", true },
	{ "0x15b3", "0x10", "mlx5_core", "mlx5_ib", "NVIDIA (Mellanox)", true },
	{ "0x15b3", "0xa2", "mlx5_core", "mlx5_ib", "NVIDIA (Mellanox)", true },   /* BlueField */
	{ "0x14e4", "0x", "bnxt_en", "bnxt_re", "Broadcom", false },
	{ "0x8086", "0x", "ice", "irdma", "Intel", false },
	{ "0x8086", "0x37", "i40e", "irdma", "Intel", false },   /* X722: the others of that driver have no RDMA */
	{ "0x1077", "0x", "qede", "qedr", "Marvell (QLogic)", false },
	{ "0x1425", "0x", "cxgb4", "iw_cxgb4", "Chelsio", false },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct card {
	char class[16], vendor[16], device[16], driver[NAME_LEN];
	bool infiniband;                 /* good for nothing else */
};

/* False: no network controller. */
static bool read_card(struct card *c, const char *at)
{
	fact_line(c->class, sizeof(c->class), PCI "class", at);
	fact_line(c->vendor, sizeof(c->vendor), PCI "vendor", at);
	fact_line(c->device, sizeof(c->device), PCI "device", at);
	fact_link(c->driver, sizeof(c->driver), PCI "driver", at);
	c->infiniband = !strncmp(c->class, "0x0207", 6);
	return !strncmp(c->class, "0x02", 4);
}

static const struct card_kind *kind_of(const struct card *c)
{
	for (const struct card_kind *k = kinds; k < kinds + KINDS; k++)
		if (!strcmp(c->vendor, k->vendor) && !strncmp(c->device, k->device, strlen(k->device)) &&
		    (k->sure || !strcmp(c->driver, k->driver)))
			return k;
	return NULL;
}

static void no_rdma(struct finding *f, enum doctor_state state)
{
	costs(f, state, "no messages go over RDMA: other hosts are reached over tcp");
}

static void look_rdma_module(struct finding *f, const struct card_kind *k, const char *at)
{
	if (fact_word("/proc/modules", k->module) || fact_exists("/sys/module/%s", k->module)) {
		found(f, "kernel module %s is loaded, but made no device of it", k->module);
		mend(f, "sudo dmesg | grep -e %s -e %s   (a container: is the device in another network namespace? rdma system)", at, k->module);
	} else {
		found(f, "kernel module %s is not loaded", k->module);
		mend(f, "sudo modprobe %s   (not found: some distributions have it in a package of further modules, as linux-modules-extra)",
		     k->module);
	}
}

static void look_rdma_card(struct finding *f, const struct card *c, const char *at, unsigned *seen)
{
	const struct card_kind *k = kind_of(c);

	if (!k && c->infiniband) {
		found(f, "PCI %s: an InfiniBand card (%s:%s) that this program does not know", at, c->vendor, c->device);
		mend(f, "lspci -k -s %s   (which kernel modules are for it)", at);
	}
	if (k && c->driver[0] && strcmp(c->driver, k->driver)) {   /* somebody wanted that */
		found(f, "PCI %s: driver %s has this card of %s, for a virtual machine or a program", at, c->driver, k->maker);
		return;
	}
	if (k && !seen[k - kinds]++) {   /* the others want the same */
		found(f, "PCI %s: a card of %s (%s:%s) that %s RDMA", at, k->maker, c->vendor + 2, c->device + 2, k->sure ? "does" : "may do");
		look_rdma_module(f, k, at);
	}
	if (k || c->infiniband)          /* an Ethernet card may be meant for Ethernet */
		no_rdma(f, c->infiniband ? DOCTOR_PROBLEM : DOCTOR_NOTE);
}

static void look_rdma_cards(struct finding *f)
{
	unsigned seen[KINDS] = { 0 };
	struct names devs;
	struct card c;

	fact_names(&devs, "", "/sys/bus/pci/devices");
	for (unsigned i = 0; i < devs.n; i++)
		if (read_card(&c, devs.name[i]))
			look_rdma_card(f, &c, devs.name[i], seen);
	for (unsigned i = 0; i < KINDS; i++)
		if (seen[i] > 1)
			found(f, "%u more for %s", seen[i] - 1, kinds[i].module);
}

/* ---- devices ---- */

/* What stands between this user and the devices. */
static void look_rdma_access(struct finding *f)
{
	struct names verbs;
	unsigned open = 0;

	fact_names(&verbs, "uverbs", "/dev/infiniband");
	for (unsigned i = 0; i < verbs.n; i++)
		open += fact_is_writable("/dev/infiniband/%s", verbs.name[i]);
	found(f, "%u device files in /dev/infiniband, of which this user may open %u", verbs.n, open);
	found(f, "libibverbs.so.1 %s", can_load("libibverbs.so.1") ? "can be loaded" : "cannot be loaded");
	if (!can_load("libibverbs.so.1")) {
		no_rdma(f, DOCTOR_PROBLEM);
		mend(f, "sudo apt-get install libibverbs1 ibverbs-providers   (dnf: libibverbs; rdma-core)");
	} else if (!verbs.n) {
		no_rdma(f, DOCTOR_PROBLEM);
		mend(f, "sudo modprobe ib_uverbs   (a container: docker run --device=/dev/infiniband)");
	} else if (!open) {
		no_rdma(f, DOCTOR_PROBLEM);
		mend(f, "sudo chmod 666 /dev/infiniband/uverbs*   (rdma-core's udev rules do it; a container: --device=/dev/infiniband)");
	}
}

/* The word "cm" in the setting rdma. */
static bool cm_is_set(void)
{
	const char *env = getenv("WEFT_RDMA");

	for (size_t len; env && *env; env += len + (env[len] == ',')) {
		len = strcspn(env, ",");
		if (len == 2 && !memcmp(env, "cm", 2))
			return true;
	}
	return false;
}

/* What connections by rdma_cm need beside that. @wanted: there are some. */
static void look_rdma_cm(struct finding *f, bool wanted)
{
	static const char file[] = "/dev/infiniband/rdma_cm";
	bool there = fact_exists("%s", file), may = fact_is_writable("%s", file), lib = can_load("librdmacm.so.1");

	if (there && may && lib)
		return;
	if (!there)
		found(f, "no %s (kernel module rdma_ucm)", file);
	else if (!may)
		found(f, "%s may not be opened by this user", file);
	if (!lib)
		found(f, "librdmacm.so.1 cannot be loaded");
	if (!wanted) {
		found(f, "only iWARP and the word cm in the setting rdma need that");
		return;
	}
	costs(f, DOCTOR_PROBLEM, "what connects by rdma_cm (iWARP, and all with the word cm in the setting rdma) goes over tcp");
	if (!there)
		mend(f, "sudo modprobe rdma_ucm   (a container: docker run --device=/dev/infiniband)");
	else if (!may)
		mend(f, "sudo chmod 666 %s   (rdma-core's udev rules do it; a container: --device=/dev/infiniband)", file);
	if (!lib)
		mend(f, "sudo apt-get install librdmacm1   (dnf: librdmacm)");
}

static void look_port(struct finding *f, const struct rdma_dev *d, const struct rdma_port *p)
{
	char port[RDMA_PORT_TEXT], gids[RDMA_GIDS * (RDMA_GID_TEXT + 2) + 24] = "";
	size_t at = 0;

	rdma_say_port(p, port, sizeof(port));
	for (unsigned i = 0; !d->iwarp && i < p->n_gid; i++) {   /* iWARP's are no addresses */
		char gid[RDMA_GID_TEXT];

		rdma_say_gid(p, &p->gid[i], gid, sizeof(gid));
		at += (size_t)snprintf(gids + at, sizeof(gids) - at, "%s%s", i ? ", " : ", GIDs ", gid);
	}
	if (at && p->gids_left)
		snprintf(gids + at, sizeof(gids) - at, " and %u more", p->gids_left);
	found(f, "%s%s%s: %s%s", d->name, d->firmware[0] ? ", firmware " : "", d->firmware, port, gids);
}

struct ports {                           /* is there one of that kind? */
	bool roce, down, iwarp;
};

static struct ports look_devices(struct finding *f, const struct rdma_dev *dev, unsigned n)
{
	struct ports any = { 0 };

	for (const struct rdma_dev *d = dev; d < dev + n; d++) {
		any.iwarp = any.iwarp || d->iwarp;
		for (const struct rdma_port *p = d->port; p < d->port + d->n_port; p++) {
			look_port(f, d, p);
			any.roce = any.roce || (!d->iwarp && !strcmp(p->layer, "Ethernet"));
			any.down = any.down || strcmp(p->state, "ACTIVE");
		}
		if (rdma_say_srqs(d)[0])
			found(f, "%s: %s", d->name, rdma_say_srqs(d));
	}
	return any;
}

void look_rdma(struct finding *f)
{
	struct rdma_dev dev[DEVICES];
	unsigned all = rdma_devs(dev, DEVICES), n = all < DEVICES ? all : DEVICES;
	struct ports any;

	rdma_ask(dev, n);
	any = look_devices(f, dev, n);
	if (all > n)
		found(f, "%u more devices", all - n);
	if (!n) {
		found(f, "no RDMA device (/sys/class/infiniband)");
		look_rdma_cards(f);
		return;
	}
	look_rdma_access(f);
	look_rdma_cm(f, any.iwarp || cm_is_set());
	if (any.down) {
		costs(f, DOCTOR_NOTE, "nothing goes over a port that is not ACTIVE");
		mend(f, "rdma link; ip link set INTERFACE up; InfiniBand: is there a subnet manager (opensm)?");
	}
	if (any.roce)
		found(f, "RoCE is fast only where switches pause or mark before they drop (PFC, ECN), which cannot be seen from here: "
			 "ethtool -S INTERFACE | grep -i pause");
}
