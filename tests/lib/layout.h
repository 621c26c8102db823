/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layout.h - our own declarations of another library's interface against its headers: a list of rows that two files are compiled
 * with, one for each.
 */
#ifndef LAYOUT_H
#define LAYOUT_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct layout_row {                      /* the last one has no name */
	const char *name;
	uint64_t a, b;
};

#define LAYOUT_MEMBER(type, m) { #type "." #m, offsetof(type, m), sizeof(((type *)0)->m) },
#define LAYOUT_SIZE(type)      { "sizeof " #type, sizeof(type), 0 },
#define LAYOUT_NUMBER(n)       { #n, (uint64_t)(n), 0 },

/* How many rows differ; each is printed. */
static inline unsigned layout_wrong(const struct layout_row *ours, const struct layout_row *real)
{
	unsigned wrong = 0;

	for (; ours->name; ours++, real++) {
		if (ours->a == real->a && ours->b == real->b)
			continue;
		fprintf(stderr, "%s: ours %llu, %llu; the library's %llu, %llu\n", ours->name, (unsigned long long)ours->a,
			(unsigned long long)ours->b, (unsigned long long)real->a, (unsigned long long)real->b);
		wrong++;
	}
	return wrong;
}

#endif
