/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor.h - what the checks of `weft doctor` share. A check looks or tries, and fills a finding; it changes nothing.
 */
#ifndef DOCTOR_H
#define DOCTOR_H
#include "tool.h"

enum doctor_state { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_PROBLEM };

struct finding {
	enum doctor_state state;
	char found[16 << 10];            /* a machine may have many adapters */
	char cost[300];                  /* what it costs who uses weft; empty: nothing */
	char remedy[300];                /* the command that mends it, for people to type; empty: none */
	char trade[300];                 /* what is given up with that; empty: nothing */
};

struct check {
	const char *name;
	void (*look)(struct finding *f);
};

/* Each appends a sentence; state never gets better. */
void found(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void costs(struct finding *f, enum doctor_state state, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void mend(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void trades(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* doctor_process.c: the kernel's calls, limits, rights, containers */
void look_kernel(struct finding *f);
void look_memfd(struct finding *f);
void look_membarrier(struct finding *f);
void look_copying(struct finding *f);
void look_seccomp(struct finding *f);
void look_namespaces(struct finding *f);
void look_descriptors(struct finding *f);
void look_memlock(struct finding *f);
void look_file_size(struct finding *f);
void look_dev_shm(struct finding *f);

/* doctor_machine.c: CPUs, memory, clock, GPUs */
void look_cpus(struct finding *f);
void look_quota(struct finding *f);
void look_hugepages(struct finding *f);
void look_numa(struct finding *f);
void look_clock(struct finding *f);
void look_gpus(struct finding *f);

/* doctor_rdma.c: RDMA devices, and cards without one */
void look_rdma(struct finding *f);

/* doctor_net.c: tcp, and weft itself */
void look_settings(struct finding *f);
void look_loopback(struct finding *f);
void look_ipv6(struct finding *f);
void look_tcp_buffers(struct finding *f);
void look_pair(struct finding *f);

#endif
