/* SPDX-License-Identifier: BSD-3-Clause
 *
 * url.c - "weft://host:port[,host:port ...]", taken apart into its addresses and put together
 * again. A host is an IPv4 address or a name (letters, digits, '.', '-', '_'), or an IPv6 address
 * in brackets, with a scope behind '%' where it has one. Texts are checked for their form only:
 * what a host means is for os/addr.h to say. Nothing is looked up.
 */
#include "wire/hello.h"

#include "base/util.h"

static const char scheme[] = "weft://";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' ||
	       c == '-' || c == '_';
}

static bool is_ip6_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
	       c == '.';
}

/* "[address%scope]"; *end_out: behind the bracket. */
static const char *check_ip6(const char *p, const char *end, const char **end_out)
{
	const char *start = ++p;

	while (p < end && is_ip6_char(*p))
		p++;
	if (p == start)
		return "nothing that looks like an IPv6 address follows '['";
	if (!memchr(start, ':', (size_t)(p - start)))
		return "only an IPv6 address may stand in brackets";
	if (p < end && *p == '%') {
		start = ++p;
		while (p < end && is_name_char(*p))
			p++;
		if (p == start)
			return "no scope follows '%'";
	}
	if (p == end)
		return "']' is missing behind an IPv6 address";
	if (*p != ']')
		return "a character that no IPv6 address has";
	*end_out = p + 1;
	return NULL;
}

static const char *check_name(const char *p, const char *end, const char **end_out)
{
	const char *start = p;
	const char *colon = memchr(p, ':', (size_t)(end - p));

	if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
		return "an IPv6 address must stand in brackets: [::1]:80";
	while (p < end && is_name_char(*p))
		p++;
	if (p < end && *p != ':')
		return "a character that no host name has";
	if (p == start)
		return "host is missing";
	*end_out = p;
	return NULL;
}

static const char *check_port(const char *p, const char *end)
{
	unsigned port = 0;

	if (p == end)
		return "port is missing";
	if (*p != ':')
		return "':' and a port must follow the host";
	if (++p == end)
		return "port is missing";
	for (; p < end && port <= 65535; p++) {
		if (!is_digit(*p))
			return "a port is a number, and nothing may follow it";
		port = port * 10 + (unsigned)(*p - '0');
	}
	return port > 65535 ? "port above 65535" : NULL;
}

static const char *check_addr(const char *p, const char *end)
{
	const char *wrong;

	if (p == end)
		return "an address is empty";
	if ((size_t)(end - p) >= WF_URL_TEXT)
		return "an address is longer than 71 characters";
	wrong = *p == '[' ? check_ip6(p, end, &p) : check_name(p, end, &p);
	return wrong ? wrong : check_port(p, end);
}

const char *wf_url_parse(const char *text, struct wf_url *out)
{
	struct wf_url url = { 0 };
	const char *p = text, *end, *wrong;

	if (strncmp(p, scheme, sizeof(scheme) - 1))
		return "a URL begins with weft://";
	p += sizeof(scheme) - 1;
	for (;;) {
		if (url.n == WF_URL_ADDRS)
			return "more than 16 addresses";
		end = p + strcspn(p, ",");
		wrong = check_addr(p, end);
		if (wrong)
			return wrong;
		memcpy(url.addr[url.n++], p, (size_t)(end - p));
		if (!*end)
			break;
		p = end + 1;
	}
	*out = url;
	return NULL;
}

/* Appends to a text of which only the first @cap - 1 characters are kept; the whole length so far.
 */
static size_t append(char *out, size_t cap, size_t len, const char *text, size_t n)
{
	if (cap && len < cap - 1)
		memcpy(out + len, text, WF_MIN(n, cap - 1 - len));
	return len + n;
}

size_t wf_url_format(const struct wf_url *u, char *out, size_t cap)
{
	size_t len = append(out, cap, 0, scheme, sizeof(scheme) - 1);

	for (unsigned i = 0; i < u->n; i++) {
		if (i)
			len = append(out, cap, len, ",", 1);
		len = append(out, cap, len, u->addr[i], strnlen(u->addr[i], WF_URL_TEXT - 1));
	}
	if (cap)
		out[WF_MIN(len, cap - 1)] = '\0';
	return len;
}
