/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "os/proc.h"
#include "os/sock.h"

bool wf_file_exists(const char *path)
{
	return !access(path, F_OK);
}

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

int wf_file_replace(const char *path, const void *p, size_t len)
{
	char temp[PATH_MAX];
	int fd, ret;

	if (snprintf(temp, sizeof(temp), "%s.%d.tmp", path, (int)wf_tid()) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	unlink(temp); /* of an earlier process of that number, which died */
	fd = wf_fault_point("open") ? (errno = EMFILE, -1) :
				      open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	ret = wf_file_write(fd, p, len);
	if (!ret && fsync(fd))
		ret = -errno;
	wf_fd_close(&fd);
	if (!ret && rename(temp, path))
		ret = -errno;
	if (ret)
		unlink(temp);
	return ret;
}

bool wf_dir_has_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e = NULL;

	while (dir && (e = readdir(dir)) && e->d_name[0] == '.')
		;
	if (dir)
		closedir(dir);
	return e != NULL;
}
