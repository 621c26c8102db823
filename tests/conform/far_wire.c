/* SPDX-License-Identifier: BSD-3-Clause
 *
 * far_wire.c - messages between the two processes of conform_far.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conform/far.h"

const char *far_address;

void far_put(struct far_buf *b, const void *p, size_t len)
{
	if (b->len + len > b->cap) {
		b->cap = 2 * b->cap + len + 256;
		b->p = realloc(b->p, b->cap);
		wt_must(b->p != NULL);
	}
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

void far_put64(struct far_buf *b, uint64_t v)
{
	far_put(b, &v, sizeof(v));
}

void far_put_blob(struct far_buf *b, const void *p, size_t len)
{
	far_put64(b, len);
	far_put(b, p, len);
}

void far_put_text(struct far_buf *b, const char *text)
{
	far_put_blob(b, text, text ? strlen(text) + 1 : 0);
}

const void *far_get(struct far_buf *b, size_t len)
{
	wt_must(len <= b->len - b->at);
	b->at += len;
	return b->p + b->at - len;
}

uint64_t far_get64(struct far_buf *b)
{
	uint64_t v;

	memcpy(&v, far_get(b, sizeof(v)), sizeof(v));
	return v;
}

const void *far_get_blob(struct far_buf *b, size_t *len)
{
	*len = far_get64(b);
	return far_get(b, *len);
}

const char *far_get_text(struct far_buf *b)
{
	size_t len;
	const char *text = far_get_blob(b, &len);

	return len ? text : NULL;
}

static bool all_out(int fd, const void *p, size_t len)
{
	for (const char *at = p; len > 0;) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool far_say(int fd, const struct far_buf *b)
{
	uint64_t len = b->len;
	unsigned char small[4096];

	if (len + sizeof(len) > sizeof(small))
		return all_out(fd, &len, sizeof(len)) && all_out(fd, b->p, len);
	memcpy(small, &len, sizeof(len));
	if (len)
		memcpy(small + sizeof(len), b->p, len);
	return all_out(fd, small, sizeof(len) + len);
}

bool far_hear(int fd, struct far_buf *b)
{
	uint64_t len;

	b->at = b->len = 0;
	if (recv(fd, &len, sizeof(len), MSG_WAITALL) != (ssize_t)sizeof(len))
		return false;
	if (len > b->cap) {
		b->cap = len;
		b->p = realloc(b->p, len);
		wt_must(b->p != NULL);
	}
	while (b->len < len) {
		ssize_t n = recv(fd, b->p + b->len, len - b->len, 0);

		if (n <= 0)
			return false;
		b->len += (size_t)n;
	}
	return true;
}

void far_drop(struct far_buf *b)
{
	free(b->p);
	*b = (struct far_buf){ 0 };
}

static bool address_of(const char *where, struct sockaddr_in *sa)
{
	char host[64];
	const char *colon = strrchr(where, ':');

	*sa = (struct sockaddr_in){ .sin_family = AF_INET };
	if (!colon)
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
	sa->sin_port = htons((uint16_t)atoi(colon + 1));
	return inet_pton(AF_INET, host, &sa->sin_addr) == 1;
}

int far_dial(const char *where)
{
	struct sockaddr_in sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || !address_of(where, &sa) || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))) {
		close(fd);
		return -1;
	}
	return fd;
}

int far_listen(const char *where, char *where_out, size_t cap)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	char host[64];

	if (fd < 0 || !address_of(where, &sa) || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 5) || getsockname(fd, (struct sockaddr *)&sa, &len)) {
		close(fd);
		return -1;
	}
	snprintf(where_out, cap, "%s:%u", inet_ntop(AF_INET, &sa.sin_addr, host, sizeof(host)), ntohs(sa.sin_port));
	return fd;
}

void far_diff(struct far_buf *b, uint64_t handle, const unsigned char *now, unsigned char *then, size_t len)
{
	enum { STEP = 4096 };

	for (size_t at = 0; at < len; at += STEP) {
		size_t end = len - at < STEP ? len : at + STEP, i = at;

		if (!memcmp(now + at, then + at, end - at))
			continue;
		while (i < end) {
			size_t from = i;

			while (i < end && now[i] != then[i])
				i++;
			if (i == from) {
				i++;
				continue;
			}
			memcpy(then + from, now + from, i - from);
			far_put64(b, handle);
			far_put64(b, from);
			far_put_blob(b, then + from, i - from);
		}
	}
}

uint64_t far_left(uint64_t deadline_ns)
{
	uint64_t left = deadline_ns - wt_now_ns();

	return !deadline_ns ? 0 : left ? left : 1;
}

/* Clocks of two machines, emulated ones above all, do not run at the same speed: rather late than early. */
uint64_t far_deadline(uint64_t left)
{
	uint64_t deadline_ns = wt_now_ns() + left + (far_address && (int64_t)left > 0 ? left / 8 : 0);

	return !left ? 0 : deadline_ns ? deadline_ns : 1;
}

const char *far_url(const char *url, char *room, size_t cap)
{
	static const char local[] = "weft://127.0.0.1:";

	if (!far_address || !url || strncmp(url, local, sizeof(local) - 1))
		return url;
	snprintf(room, cap, "weft://%s:%s", far_address, url + sizeof(local) - 1);
	return room;
}
