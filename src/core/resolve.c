/* SPDX-License-Identifier: BSD-3-Clause
 *
 * resolve.c - names to numbers: the one call of the library, besides the waits, that may block.
 */
#include <stdio.h>
#include <string.h>

#include "core/internal.h"
#include "os/addr.h"

/* "host:port" with a name: every address that it has. */
static int add_names(const char *host_port, struct wf_url *out, const char *url)
{
	struct wf_addr found[WF_URL_ADDRS];
	const char *colon = strrchr(host_port, ':'), *why = "";
	char host[WF_URL_TEXT];
	int n;

	snprintf(host, sizeof(host), "%.*s", (int)(colon - host_port), host_port);
	n = wf_resolve_names(host, colon + 1, found, WF_URL_ADDRS, &why);
	if (n < 0)
		return wf_fail(WEFT_EUNREACHABLE, 0, url, NULL, "\"%s\" has no address: %s", host, why ? why : "unknown");
	for (int i = 0; i < n && out->n < WF_URL_ADDRS; i++)
		wf_addr_format(&found[i], out->addr[out->n++], WF_URL_TEXT);
	return 0;
}

int weft_resolve(const char *url, char *out, size_t cap)
{
	struct wf_url in, res = { .n = 0 };
	struct wf_addr a;
	const char *what = url ? wf_url_parse(url, &in) : "NULL";
	int ret = 0;

	if (what)
		return wf_fail(WEFT_EURL, 0, url ? url : "URL", "weft://host:port[,host:port ...]", "%s", what);
	for (unsigned i = 0; i < in.n && !ret; i++) {
		if (wf_addr_parse(in.addr[i], &a))
			ret = add_names(in.addr[i], &res, url);
		else if (res.n < WF_URL_ADDRS)
			memcpy(res.addr[res.n++], in.addr[i], WF_URL_TEXT);
	}
	if (ret)
		return ret;
	if (wf_url_format(&res, out, cap) >= cap)
		return wf_fail(WEFT_EINVAL, 0, "weft_resolve", NULL, "the buffer of %zu bytes is too small", cap);
	return WEFT_OK;
}
