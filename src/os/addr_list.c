/* SPDX-License-Identifier: BSD-3-Clause
 *
 * addr_list.c - lists of addresses that the system knows: by name (getaddrinfo, which may block)
 * and of this host's interfaces (getifaddrs).
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "base/fault.h"
#include "base/util.h"
#include "os/addr.h"

static int of_resolver(int code)
{
	switch (code) {
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno ? -errno : -EIO;
	case EAI_SERVICE:
	case EAI_BADFLAGS:
		return -EINVAL;
	default:
		return -EHOSTUNREACH;
	}
}

static bool is_known(const struct wf_addr *list, size_t n, const struct wf_addr *a)
{
	for (size_t i = 0; i < n; i++) {
		if (wf_addr_equal_host(&list[i], a))
			return true;
	}
	return false;
}

int wf_resolve_names(const char *host, const char *text_port, struct wf_addr *out, size_t max,
		     const char **why_out)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	size_t n = 0;
	int code;

	code = wf_fault_point("getaddrinfo") ? EAI_AGAIN :
					       getaddrinfo(host, text_port, &hints, &list);
	if (code) {
		if (why_out)
			*why_out = code == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(code);
		return of_resolver(code);
	}
	for (struct addrinfo *ai = list; ai && n < max; ai = ai->ai_next) {
		struct wf_addr a = { 0 };

		if (ai->ai_addrlen > sizeof(a.sa) ||
		    (ai->ai_family != AF_INET && ai->ai_family != AF_INET6))
			continue;
		memcpy(&a.sa, ai->ai_addr, ai->ai_addrlen);
		a.len = ai->ai_addrlen;
		if (!is_known(out, n, &a))
			out[n++] = a;
	}
	freeaddrinfo(list);
	if (n)
		return (int)n;
	if (why_out)
		*why_out = "no IPv4 or IPv6 address";
	return -EHOSTUNREACH;
}

static int rank_of(const struct ifaddrs *ifa)
{
	static const char *const inner[] = { "docker", "br-", "virbr",   "veth", "lxc",
					     "lxd",    "cni", "flannel", "cali" };

	if (ifa->ifa_flags & IFF_LOOPBACK)
		return 1;
	for (size_t i = 0; i < WF_ARRAY_LEN(inner); i++) {
		if (!strncmp(ifa->ifa_name, inner[i], strlen(inner[i])))
			return 2;
	}
	return 0;
}

static bool take_iface(const struct ifaddrs *ifa, struct wf_iface *out)
{
	int family = ifa->ifa_addr ? ifa->ifa_addr->sa_family : AF_UNSPEC;

	if (!(ifa->ifa_flags & IFF_UP) || (family != AF_INET && family != AF_INET6))
		return false;
	memset(out, 0, sizeof(*out));
	strncpy(out->name, ifa->ifa_name, sizeof(out->name) - 1);
	out->index = if_nametoindex(ifa->ifa_name);
	out->rank = rank_of(ifa);
	out->addr.len =
		family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	memcpy(&out->addr.sa, ifa->ifa_addr, out->addr.len);
	return true;
}

static int order(const struct wf_iface *a)
{
	return a->rank * 2 + (wf_addr_is_link_local(&a->addr) ? 1 : 0);
}

/* Keeps the kernel's order among equals; the list is short. */
static void insert_by_order(struct wf_iface *list, size_t n, const struct wf_iface *one)
{
	while (n > 0 && order(&list[n - 1]) > order(one)) {
		list[n] = list[n - 1];
		n--;
	}
	list[n] = *one;
}

int wf_iface_list(struct wf_iface *out, size_t max)
{
	struct ifaddrs *list;
	struct wf_iface one;
	size_t n = 0;

	if (wf_fault_point("getifaddrs"))
		return -EMFILE;
	if (getifaddrs(&list))
		return -errno;
	for (struct ifaddrs *ifa = list; ifa && n < max; ifa = ifa->ifa_next) {
		if (take_iface(ifa, &one))
			insert_by_order(out, n++, &one);
	}
	freeifaddrs(list);
	return (int)n;
}
