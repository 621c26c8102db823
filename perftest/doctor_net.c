/* SPDX-License-Identifier: BSD-3-Clause
 *
 * doctor_net.c - tcp on this host, and weft itself: its settings, and two processes that connect.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "doctor.h"

#define BUFFER_WANTED (4u << 20)

/* ---- weft's own settings ---- */

/* Each transport that this machine cannot do. */
static void look_transports(struct finding *f, const char *library)
{
	const char *list = json_find(library, "transports"), *end = list ? list + json_len(list) : NULL;

	for (const char *at = list ? strchr(list, '{') : NULL; at && at < end; at = strchr(at + json_len(at), '{')) {
		char name[24], state[40], why[240], remedy[160];

		json_text(at, "name", name, sizeof(name));
		json_text(at, "state", state, sizeof(state));
		json_text(at, "why", why, sizeof(why));
		json_text(at, "remedy", remedy, sizeof(remedy));
		if (!strcmp(state, "ready"))
			continue;
		if (!strcmp(state, "not asked for"))
			continue;
		found(f, "%s: %s", name, why);
		if (!strcmp(name, "verbs") && !strcmp(state, "unusable"))
			continue;        /* what there is of RDMA, and what is amiss: look_rdma() */
		if (!strcmp(state, "unusable")) {
			costs(f, DOCTOR_PROBLEM, "no messages go over %s; the checks below say how to mend it", name);
			continue;
		}
		costs(f, DOCTOR_NOTE, "no messages go over %s", name);
		mend(f, "%s", remedy);
	}
}

void look_settings(struct finding *f)
{
	char line[400], *library = NULL;
	weft_ctx *ctx;
	uint32_t v = weft_version();

	found(f, "weft %u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
	if (weft_open(NULL, &ctx)) {
		weft_error_text(weft_last_error(), line, sizeof(line));
		found(f, "does not open: %.300s", line);
		costs(f, DOCTOR_PROBLEM, "no program that uses weft starts");
		mend(f, "correct or unset what is named; docs/SETTINGS.md lists what there is");
		return;
	}
	library = explain_text(ctx, NULL, NULL, 1);
	if (library)
		look_transports(f, library);
	free(library);
	weft_close(ctx);
	if (f->state == DOCTOR_OK)
		found(f, "opens, and may use every transport that it has");
}

/* ---- tcp ---- */

/* A connection to ourselves, over a port that the system chooses. */
static int connect_to_self(void *arg)
{
	bool v6 = *(const bool *)arg;
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *at = v6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
	socklen_t len = v6 ? sizeof(six) : sizeof(four);
	int l = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (l < 0 || c < 0 || bind(l, at, len) || listen(l, 1) || getsockname(l, at, &len) || connect(c, at, len))
		return errno;
	return 0;
}

void look_loopback(struct finding *f)
{
	bool v6 = false;
	int ret = in_child(connect_to_self, &v6);

	found(f, "a connection to 127.0.0.1: %s", ret > 0 ? strerror(ret) : ret ? "no answer" : "works");
	if (!ret)
		return;
	costs(f, DOCTOR_PROBLEM, "no connection within this host, over shm neither: every path is agreed upon over TCP first");
	mend(f, "ip link set lo up");
}

void look_ipv6(struct finding *f)
{
	bool v6 = true;
	int ret = in_child(connect_to_self, &v6);
	uint64_t off = 0;

	fact_u64(&off, "/proc/sys/net/ipv6/conf/all/disable_ipv6");
	found(f, "a connection to ::1: %s%s", ret > 0 ? strerror(ret) : ret ? "no answer" : "works",
	      off ? "; net.ipv6.conf.all.disable_ipv6 = 1" : "");
	if (!ret)
		return;
	costs(f, DOCTOR_NOTE, "peers that have only an IPv6 address cannot be reached; IPv4 is not touched by it");
	if (!off) {
		mend(f, ret == EAFNOSUPPORT ? "boot the kernel without ipv6.disable=1" : "ip link set lo up");
		return;
	}
	mend(f, "sysctl -w net.ipv6.conf.all.disable_ipv6=0   (docker run --sysctl net.ipv6.conf.all.disable_ipv6=0)");
	trades(f, "services that listen on all addresses are reached over IPv6, too: look at the firewall");
}

/* Greatest size to which the kernel may grow a socket's buffer; 0: not known. */
static uint64_t grows_to(const char *which)
{
	char line[100];
	unsigned long long least, usual, most;

	if (!fact_line(line, sizeof(line), "/proc/sys/net/ipv4/%s", which) ||
	    sscanf(line, "%llu %llu %llu", &least, &usual, &most) != 3)
		return 0;
	return most;
}

void look_tcp_buffers(struct finding *f)
{
	uint64_t in = grows_to("tcp_rmem"), out = grows_to("tcp_wmem"), rmem = 0, wmem = 0;

	fact_u64(&rmem, "/proc/sys/net/core/rmem_max");
	fact_u64(&wmem, "/proc/sys/net/core/wmem_max");
	if (!in || !out) {
		found(f, "limits not shown here");
		return;
	}
	found(f, "grow to %llu KiB in, %llu KiB out (net.core.rmem_max %llu KiB and wmem_max %llu KiB only bound what a "
		 "program sets; weft leaves it to the kernel)",
	      (unsigned long long)in >> 10, (unsigned long long)out >> 10, (unsigned long long)rmem >> 10, (unsigned long long)wmem >> 10);
	if (in >= BUFFER_WANTED && out >= BUFFER_WANTED)
		return;
	costs(f, DOCTOR_NOTE, "a connection carries at most a buffer for each round trip: 4 MiB and 1 ms make 4 GB/s");
	mend(f, "sysctl -w net.ipv4.tcp_rmem='4096 131072 16777216' net.ipv4.tcp_wmem='4096 65536 16777216'");
	trades(f, "a busy connection may take that much of the kernel's memory");
}

/* ---- two processes ---- */

void look_pair(struct finding *f)
{
	char transport[24], lane[600], better[160], *object = NULL;
	struct pair p;

	if (pair_open(&p, NULL))
		object = explain_text(p.ctx, p.ep, NULL, 1);
	if (object) {
		json_text(object, "transport", transport, sizeof(transport));
		json_text(object, "lane", lane, sizeof(lane));
		json_text(object, "could_be_better", better, sizeof(better));
		found(f, "two processes of this host are connected over %s: %s", transport, lane);
		if (better[0])
			costs(f, DOCTOR_NOTE, "it could be better: %s; see above", better);
		else if (strcmp(transport, "shm"))
			costs(f, DOCTOR_NOTE, "it is not shared memory; see settings, kernel and memfd above");
	} else {
		found(f, "two processes of this host: %.300s", p.failed ? p.why : "no memory");
		costs(f, DOCTOR_PROBLEM, "programs of this host do not reach each other by weft; see above for the cause");
	}
	free(object);
	pair_close(&p);
}
