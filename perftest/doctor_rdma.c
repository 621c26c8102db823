/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor_rdma.c - RDMA devices, and what stands between this user and them.
 */
#include <string.h>

#include "doctor.h"

#define DEVICES 16

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
		costs(f, DOCTOR_PROBLEM, "no messages go over RDMA: other hosts are reached over tcp");
		mend(f, "sudo apt-get install libibverbs1 ibverbs-providers   (dnf: libibverbs; rdma-core)");
	} else if (!verbs.n) {
		costs(f, DOCTOR_PROBLEM, "no messages go over RDMA: other hosts are reached over tcp");
		mend(f, "sudo modprobe ib_uverbs   (a container: docker run --device=/dev/infiniband)");
	} else if (!open) {
		costs(f, DOCTOR_PROBLEM, "no messages go over RDMA: other hosts are reached over tcp");
		mend(f, "sudo chmod 666 /dev/infiniband/uverbs*   (rdma-core's udev rules do it; a container: --device=/dev/infiniband)");
	}
}

void look_rdma(struct finding *f)
{
	struct rdma_dev dev[DEVICES];
	unsigned n = rdma_devs(dev, DEVICES);
	bool roce = false, down = false;
	char port[200];

	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < dev[i].n_port; k++) {
			rdma_say_port(&dev[i].port[k], port, sizeof(port));
			found(f, "%s%s%s: %s", dev[i].name, dev[i].firmware[0] ? ", firmware " : "", dev[i].firmware, port);
			roce = roce || !strcmp(dev[i].port[k].layer, "Ethernet");
			down = down || strcmp(dev[i].port[k].state, "ACTIVE");
		}
	}
	if (!n) {
		found(f, "no RDMA device (/sys/class/infiniband)");
		return;
	}
	look_rdma_access(f);
	if (down) {
		costs(f, DOCTOR_NOTE, "nothing goes over a port that is not ACTIVE");
		mend(f, "rdma link; ip link set INTERFACE up; InfiniBand: is there a subnet manager (opensm)?");
	}
	if (roce)
		found(f, "RoCE is fast only where switches pause or mark before they drop (PFC, ECN), which cannot be seen from here: "
			 "ethtool -S INTERFACE | grep -i pause");
}
