/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dl.c - dlopen, dlsym and dlvsym; see dl.h.
 */
#include "os/dl.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void *load(const char *name, int when, char *why, size_t cap)
{
	bool has_stack;
	stack_t stack;
	void *lib;

	has_stack = !sigaltstack(NULL, &stack);   /* UCX has one of its own, for handlers that it does not keep (ucx_lib.c) */
	lib = dlopen(name, when | RTLD_LOCAL | RTLD_NODELETE);
	if (has_stack)
		sigaltstack(&stack, NULL);
	if (!lib) {
		const char *said = dlerror();

		snprintf(why, cap, "%s", said ? said : name);
	}
	return lib;
}

bool wf_dl_is_loaded(const char *name)
{
	void *lib = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);

	if (lib)
		dlclose(lib);
	return lib;
}

static bool fill(const char *name, int when, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap)
{
	char said[256];
	void *lib = load(name, when, said, sizeof(said));

	if (!lib) {
		/* the reason mostly begins with the library, which may be one that it needs in turn */
		snprintf(why, cap, "%s cannot be loaded: %s", name, said);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const char *version = rows[i].version;
		void *at = version ? dlvsym(lib, rows[i].name, version) : dlsym(lib, rows[i].name);

		if (!at && !rows[i].optional) {
			snprintf(why, cap, "%s is too old or not what its name says: it has no %s%s%s", name, rows[i].name,
				 version ? "@" : "", version ? version : "");
			return false;
		}
		memcpy((char *)table + rows[i].at, &at, sizeof(at));
	}
	return true;
}

bool wf_dl_fill(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap)
{
	return fill(name, RTLD_NOW, rows, n, table, why, cap);
}

bool wf_dl_fill_part(const char *name, const struct wf_dl_row *rows, size_t n, void *table, char *why, size_t cap)
{
	return fill(name, RTLD_LAZY, rows, n, table, why, cap);
}
