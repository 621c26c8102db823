/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.c - dlopen and dlsym; see dl.h.
 */
#include "os/dl.h"

#include <dlfcn.h>
#include <stdio.h>

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
