/* SPDX-License-Identifier: BSD-3-Clause
 *
 * addr.c - addresses as values; see addr.h. Resolving and interfaces, which ask the system, are in
 * addr_list.c.
 */
#include "os/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sockaddr_in *in4(const struct wf_addr *a)
{
	return a->len && a->sa.ss_family == AF_INET ? (const struct sockaddr_in *)&a->sa : NULL;
}

static const struct sockaddr_in6 *in6(const struct wf_addr *a)
{
	return a->len && a->sa.ss_family == AF_INET6 ? (const struct sockaddr_in6 *)&a->sa : NULL;
}

/* "" or ":80" */
static int parse_port(const char *text, uint16_t *out)
{
	char *end;
	unsigned long v;

	*out = 0;
	if (!*text)
		return 0;
	if (*text != ':' || text[1] < '0' || text[1] > '9')
		return -EINVAL;
	v = strtoul(text + 1, &end, 10);
	if (*end || v > 65535)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}

static int parse_scope(const char *text, uint32_t *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (!*text)
		return -EINVAL;
	if (*end || *text < '0' || *text > '9')
		v = if_nametoindex(text);
	if (!v || v > UINT32_MAX)
		return -ENODEV;
	*out = (uint32_t)v;
	return 0;
}

static int parse_v6(char *host, uint16_t port, struct wf_addr *out)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char *scope = strchr(host, '%');
	int ret;

	if (scope) {
		*scope = 0;
		ret = parse_scope(scope + 1, &sa.sin6_scope_id);
		if (ret)
			return ret;
	}
	if (inet_pton(AF_INET6, host, &sa.sin6_addr) != 1)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	memcpy(&out->sa, &sa, sizeof(sa));
	out->len = sizeof(sa);
	return 0;
}

static int parse_v4(const char *host, uint16_t port, struct wf_addr *out)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET, host, &sa.sin_addr) != 1)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	memcpy(&out->sa, &sa, sizeof(sa));
	out->len = sizeof(sa);
	return 0;
}

int wf_addr_parse(const char *text, struct wf_addr *out)
{
	const char *end;
	bool bracket = *text == '[';
	bool bare_v6 = !bracket && strchr(text, ':') != strrchr(text, ':');
	char host[WF_ADDR_TEXT];
	uint16_t port;
	size_t len;

	if (bracket) {
		text++;
		len = strcspn(text, "]");
		if (text[len] != ']')
			return -EINVAL;
		end = text + len + 1;
	} else {
		len = bare_v6 ? strlen(text) : strcspn(text, ":");
		end = text + len;
	}
	if (len >= sizeof(host) || parse_port(end, &port))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = 0;
	return bracket || bare_v6 ? parse_v6(host, port, out) : parse_v4(host, port, out);
}

char *wf_addr_format_host(const struct wf_addr *a, char *out, size_t cap)
{
	const struct sockaddr_in *v4 = in4(a);
	const struct sockaddr_in6 *v6 = in6(a);
	char host[INET6_ADDRSTRLEN] = "-", name[IF_NAMESIZE];

	if (v4)
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
	if (v6)
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
	if (v6 && v6->sin6_scope_id && if_indextoname(v6->sin6_scope_id, name))
		snprintf(out, cap, "%s%%%s", host, name);
	else if (v6 && v6->sin6_scope_id)
		snprintf(out, cap, "%s%%%u", host, v6->sin6_scope_id);
	else
		snprintf(out, cap, "%s", host);
	return out;
}

char *wf_addr_format(const struct wf_addr *a, char *out, size_t cap)
{
	char host[WF_ADDR_TEXT - 8];

	wf_addr_format_host(a, host, sizeof(host));
	if (in6(a))
		snprintf(out, cap, "[%s]:%u", host, wf_addr_port(a));
	else if (in4(a))
		snprintf(out, cap, "%s:%u", host, wf_addr_port(a));
	else
		snprintf(out, cap, "-");
	return out;
}

uint16_t wf_addr_port(const struct wf_addr *a)
{
	if (in4(a))
		return ntohs(in4(a)->sin_port);
	return in6(a) ? ntohs(in6(a)->sin6_port) : 0;
}

void wf_addr_set_port(struct wf_addr *a, uint16_t port)
{
	if (in4(a))
		((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
	else if (in6(a))
		((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
}

bool wf_addr_is_any(const struct wf_addr *a)
{
	if (in4(a))
		return in4(a)->sin_addr.s_addr == htonl(INADDR_ANY);
	return in6(a) && IN6_IS_ADDR_UNSPECIFIED(&in6(a)->sin6_addr);
}

bool wf_addr_is_loopback(const struct wf_addr *a)
{
	if (in4(a))
		return ntohl(in4(a)->sin_addr.s_addr) >> 24 == 127;
	return in6(a) && IN6_IS_ADDR_LOOPBACK(&in6(a)->sin6_addr);
}

bool wf_addr_is_link_local(const struct wf_addr *a)
{
	if (in4(a))
		return ntohl(in4(a)->sin_addr.s_addr) >> 16 == 0xa9fe;
	return in6(a) && IN6_IS_ADDR_LINKLOCAL(&in6(a)->sin6_addr);
}

bool wf_addr_lacks_scope(const struct wf_addr *a)
{
	return in6(a) && IN6_IS_ADDR_LINKLOCAL(&in6(a)->sin6_addr) && !in6(a)->sin6_scope_id;
}

/* Address bytes and their number; 0 for none. */
static size_t host_bytes(const struct wf_addr *a, const uint8_t **out)
{
	*out = (const uint8_t *)&a->sa;
	if (in4(a)) {
		*out = (const uint8_t *)&in4(a)->sin_addr;
		return 4;
	}
	if (in6(a)) {
		*out = (const uint8_t *)&in6(a)->sin6_addr;
		return 16;
	}
	return 0;
}

bool wf_addr_equal_host(const struct wf_addr *a, const struct wf_addr *b)
{
	const uint8_t *pa, *pb;
	size_t na = host_bytes(a, &pa), nb = host_bytes(b, &pb);

	if (!na || na != nb || memcmp(pa, pb, na))
		return false;
	return na == 4 || in6(a)->sin6_scope_id == in6(b)->sin6_scope_id;
}

bool wf_addr_in_cidr(const struct wf_addr *a, const char *cidr)
{
	char host[WF_ADDR_TEXT];
	size_t len = strcspn(cidr, "/"), na, nb;
	const uint8_t *pa, *pb;
	struct wf_addr net;
	unsigned long bits;
	char *end;

	if (len >= sizeof(host))
		return false;
	memcpy(host, cidr, len);
	host[len] = 0;
	if (wf_addr_parse(host, &net))
		return false;
	na = host_bytes(a, &pa);
	nb = host_bytes(&net, &pb);
	bits = nb * 8;
	if (cidr[len]) {
		bits = strtoul(cidr + len + 1, &end, 10);
		if (*end || end == cidr + len + 1)
			return false;
	}
	if (!na || na != nb || bits > nb * 8 || memcmp(pa, pb, bits / 8))
		return false;
	return bits % 8 == 0 || (pa[bits / 8] ^ pb[bits / 8]) >> (8 - bits % 8) == 0;
}

void wf_addr_from_ip6(const uint8_t ip6[16], struct wf_addr *out)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	memset(out, 0, sizeof(*out));
	if (memcmp(ip6, mapped, sizeof(mapped))) {
		memcpy(&v6.sin6_addr, ip6, 16);
		memcpy(&out->sa, &v6, sizeof(v6));
		out->len = sizeof(v6);
	} else {
		memcpy(&v4.sin_addr, ip6 + 12, 4);
		memcpy(&out->sa, &v4, sizeof(v4));
		out->len = sizeof(v4);
	}
}
