/* SPDX-License-Identifier: BSD-3-Clause
 *
 * file.h - writing all of a buffer: to a descriptor that the caller gave, or as a file.
 */
#ifndef WF_OS_FILE_H
#define WF_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Is there something at @path? */
bool wf_file_exists(const char *path);

/* May block as the descriptor does. 0 or -errno. */
int wf_file_write(int fd, const void *p, size_t len);

/* Makes @path have these bytes; whoever reads it at any time, or after a crash, finds the old ones or
 * these, whole. 0 or -errno; then nothing changed. */
int wf_file_replace(const char *path, const void *p, size_t len);

/* Is @path a folder with something in it? */
bool wf_dir_has_entries(const char *path);

#endif
