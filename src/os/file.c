/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/file.h"

#include <errno.h>
#include <unistd.h>

int wf_file_write(int fd, const void *p, size_t len)
{
	const char *at = p;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}
