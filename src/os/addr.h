/* SPDX-License-Identifier: BSD-3-Clause
 *
 * addr.h - socket addresses as values: parse, format, compare, resolve, and the list of this host's
 * own. IPv4 and IPv6 with scope. Only wf_resolve_names() may block.
 */
#ifndef WF_OS_ADDR_H
#define WF_OS_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define WF_ADDR_TEXT 96 /* longest text of an address, with its NUL */
#define WF_IFNAME    16

struct wf_addr {
	struct sockaddr_storage sa;
	socklen_t len; /* 0: none */
};

/*
 * "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "[fe80::1%2]:80"; the port may be left out (0).
 * 0, or -EINVAL when it is no numeric address, -ENODEV when the scope names no interface.
 */
int wf_addr_parse(const char *text, struct wf_addr *out);

/* As wf_addr_parse() takes it, always with the port. Returns @out; "-" for no or a foreign address.
 */
char *wf_addr_format(const struct wf_addr *a, char *out, size_t cap);

/* Without port and brackets. Returns @out. */
char *wf_addr_format_host(const struct wf_addr *a, char *out, size_t cap);

uint16_t wf_addr_port(const struct wf_addr *a);
void wf_addr_set_port(struct wf_addr *a, uint16_t port);
bool wf_addr_is_any(const struct wf_addr *a); /* 0.0.0.0 or :: */
bool wf_addr_is_loopback(const struct wf_addr *a);
bool wf_addr_is_link_local(const struct wf_addr *a);
bool wf_addr_lacks_scope(const struct wf_addr *a);   /* fe80::1 without its interface: reaches nobody */
bool wf_addr_equal_host(const struct wf_addr *a, const struct wf_addr *b); /* without the port */

/* Is @a in @cidr, "10.0.0.0/8" or "fd00::/8"? A plain address means itself. False also when @cidr
 * is no such thing. */
bool wf_addr_in_cidr(const struct wf_addr *a, const char *cidr);

/*
 * From which of its own addresses the kernel would send to @to, by its routing tables; nothing is sent. Ports mean
 * nothing. 0 or -errno (-ENETUNREACH: there is no route).
 */
int wf_addr_route(const struct wf_addr *to, struct wf_addr *from_out);

/* An IPv6 address of 16 bytes, or the IPv4 address that it maps (::ffff:a.b.c.d), without port and scope. */
void wf_addr_from_ip6(const uint8_t ip6[16], struct wf_addr *out);

/*
 * Names to addresses, best first, as the system ranks them. MAY BLOCK. @host may be numeric;
 * @text_port a number. Number of addresses (at most @max, doubles left out), or -errno:
 * -EHOSTUNREACH not found, -EAGAIN try later, -EINVAL. *@why_out (may be NULL): the resolver's own
 * words, static text.
 */
int wf_resolve_names(const char *host, const char *text_port, struct wf_addr *out, size_t max,
		     const char **why_out);

struct wf_iface {
	char name[WF_IFNAME];
	uint32_t index;
	int rank; /* 0 ordinary, 1 loopback, 2 bridges and container ends (docker0, br-*, virbr*,
		     veth*, ...) */
	struct wf_addr addr; /* port 0 */
};

/* Every address of every interface that is up, by rank, link-local ones last within a rank. Number,
 * or -errno. */
int wf_iface_list(struct wf_iface *out, size_t max);

#endif
