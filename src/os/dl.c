/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.c - dlopen, dlsym and dlvsym; see dl.h.
 */
#include "os/dl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

void *wf_dl_open(const char *name, char *why, size_t cap)
{
	void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	const char *said = lib ? NULL : dlerror();

	if (!lib && cap)
		snprintf(why, cap, "%s", said ? said : name);
	return lib;
}

void *wf_dl_sym(void *lib, const char *symbol)
{
	return dlsym(lib, symbol);
}

bool wf_dl_fill(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap)
{
	char said[256];
	void *lib = wf_dl_open(name, said, sizeof(said));

	if (!lib) {
		/* the reason mostly begins with the library, which may be one that it needs in turn */
		snprintf(why, cap, "%s cannot be loaded: %s", name, said);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		void *at = dlvsym(lib, rows[i].name, rows[i].version);

		if (!at && !rows[i].optional) {
			snprintf(why, cap, "%s is too old or not what its name says: it has no %s@%s", name, rows[i].name, rows[i].version);
			return false;
		}
		memcpy((char *)table + rows[i].at, &at, sizeof(at));
	}
	return true;
}
