/* SPDX-License-Identifier: BSD-3-Clause
 *
 * machine.c - what the kernel says of this machine: files of /proc, /sys and /dev; network interfaces, GPUs.
 * Reads only.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define PATH_CAP 400
#define CHILD_MS 10000

static const char *root = "";

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fact_set_root(const char *dir)
{
	root = dir;
}

const char *fact_root(void)
{
	return root;
}

/* ---- files ---- */

static void make_path(char *out, const char *fmt, va_list args)
{
	int n = snprintf(out, PATH_CAP, "%s", root);

	vsnprintf(out + n, n < PATH_CAP ? PATH_CAP - (size_t)n : 0, fmt, args);
}

static bool read_line(char *out, size_t cap, const char *path)
{
	FILE *f = fopen(path, "re");
	bool got = f && fgets(out, (int)cap, f);

	if (!got)
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	if (f)
		fclose(f);
	return got;
}

bool fact_line(char *out, size_t cap, const char *fmt, ...)
{
	char path[PATH_CAP];
	va_list args;

	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	return read_line(out, cap, path);
}

bool fact_u64(uint64_t *out, const char *fmt, ...)
{
	char path[PATH_CAP], line[64], *end;
	va_list args;
	uint64_t v;

	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	if (!read_line(line, sizeof(line), path) || line[0] < '0' || line[0] > '9')
		return false;
	v = strtoull(line, &end, 10);
	if (*end && *end != ' ' && *end != '\t')
		return false;
	*out = v;
	return true;
}

bool fact_exists(const char *fmt, ...)
{
	char path[PATH_CAP];
	va_list args;

	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	return !access(path, F_OK);
}

bool fact_is_writable(const char *fmt, ...)
{
	char path[PATH_CAP];
	va_list args;

	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	return !access(path, R_OK | W_OK);
}

bool fact_field(char *out, size_t cap, const char *path, const char *key)
{
	char full[PATH_CAP], line[400];
	size_t len = strlen(key);
	bool found = false;
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	out[0] = 0;
	f = fopen(full, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || line[len] != ':')
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(out, cap, "%s", line + len + 1 + strspn(line + len + 1, " \t"));
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

bool fact_link(char *out, size_t cap, const char *fmt, ...)
{
	char path[PATH_CAP], to[PATH_CAP];
	const char *last;
	va_list args;
	ssize_t n;

	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	n = readlink(path, to, sizeof(to) - 1);
	to[n > 0 ? n : 0] = 0;
	last = strrchr(to, '/');
	snprintf(out, cap, "%s", last ? last + 1 : to);
	return n > 0;
}

bool fact_word(const char *path, const char *word)
{
	char full[PATH_CAP], line[400];
	size_t len = strlen(word);
	bool found = false;
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = !strncmp(line, word, len) && (line[len] == ' ' || line[len] == '\n');
	if (f)
		fclose(f);
	return found;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

void fact_names(struct names *out, const char *prefix, const char *fmt, ...)
{
	char path[PATH_CAP];
	struct dirent *e;
	va_list args;
	DIR *dir;

	out->n = 0;
	va_start(args, fmt);
	make_path(path, fmt, args);
	va_end(args);
	dir = opendir(path);
	while (dir && out->n < NAMES_MAX && (e = readdir(dir)))
		if (e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix)) && strlen(e->d_name) < NAME_LEN)
			snprintf(out->name[out->n++], NAME_LEN, "%.*s", NAME_LEN - 1, e->d_name);
	if (dir)
		closedir(dir);
	qsort(out->name, out->n, NAME_LEN, by_name);
}

/* ---- network interfaces ---- */

static struct net_dev *net_dev_of(struct net_dev *all, unsigned *n, unsigned cap, const char *name)
{
	for (unsigned i = 0; i < *n; i++)
		if (!strcmp(all[i].name, name))
			return &all[i];
	if (*n == cap)
		return NULL;
	all[*n] = (struct net_dev){ .mtu = 0 };
	snprintf(all[*n].name, sizeof(all[*n].name), "%s", name);
	return &all[(*n)++];
}

static void add_address(struct net_dev *d, const struct sockaddr *sa)
{
	socklen_t len = sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		return;
	if (d->n_addr < sizeof(d->addr) / sizeof(d->addr[0]) &&
	    !getnameinfo(sa, len, d->addr[d->n_addr], sizeof(d->addr[0]), NULL, 0, NI_NUMERICHOST))
		d->n_addr++;
}

unsigned net_devs(struct net_dev *out, unsigned cap)
{
	struct ifaddrs *all = NULL;
	unsigned n = 0;

	if (getifaddrs(&all))
		return 0;
	for (struct ifaddrs *at = all; at; at = at->ifa_next) {
		struct net_dev *d = net_dev_of(out, &n, cap, at->ifa_name);

		if (!d)
			continue;
		d->up = at->ifa_flags & IFF_UP;
		d->loopback = at->ifa_flags & IFF_LOOPBACK;
		if (at->ifa_addr)
			add_address(d, at->ifa_addr);
	}
	freeifaddrs(all);
	for (unsigned i = 0; i < n; i++) {
		fact_line(out[i].state, sizeof(out[i].state), "/sys/class/net/%s/operstate", out[i].name);
		fact_u64(&out[i].mtu, "/sys/class/net/%s/mtu", out[i].name);
		fact_u64(&out[i].speed_mbit, "/sys/class/net/%s/speed", out[i].name);   /* -1, or refused: not known */
	}
	return n;
}

/* ---- GPUs ---- */

static const char *vendor_name(const char *id)
{
	return !strcmp(id, "0x10de") ? "NVIDIA" : !strcmp(id, "0x1002") ? "AMD" : NULL;
}

static unsigned gpus_on_bus(void)
{
	struct names devs;
	unsigned n = 0;

	fact_names(&devs, "", "/sys/bus/pci/devices");
	for (unsigned i = 0; i < devs.n; i++) {
		char class[32], vendor[32];

		fact_line(class, sizeof(class), "/sys/bus/pci/devices/%s/class", devs.name[i]);
		fact_line(vendor, sizeof(vendor), "/sys/bus/pci/devices/%s/vendor", devs.name[i]);
		n += (!strncmp(class, "0x03", 4) || !strncmp(class, "0x12", 4)) && vendor_name(vendor);
	}
	return n;
}

/* The kernel driver's list, which is there whatever device files this container was given. */
static unsigned nvidia_devs(struct gpu_dev *out, unsigned cap)
{
	static const char vendor[] = "NVIDIA ";
	struct names devs;
	char path[200], model[sizeof(out->name)];
	unsigned n;

	fact_names(&devs, "", "/proc/driver/nvidia/gpus");
	for (n = 0; n < devs.n && n < cap; n++) {
		out[n] = (struct gpu_dev){ .vendor = "NVIDIA" };
		snprintf(out[n].where, sizeof(out[n].where), "%s", devs.name[n]);
		snprintf(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", devs.name[n]);
		fact_field(model, sizeof(model), path, "Model");
		snprintf(out[n].name, sizeof(out[n].name), "%s",      /* some models name the vendor, too */
			 strncmp(model, vendor, strlen(vendor)) ? model : model + strlen(vendor));
	}
	return n;
}

/* Nodes of the compute driver; those without a GPU are CPUs. */
static unsigned amd_devs(struct gpu_dev *out, unsigned cap)
{
	struct names nodes;
	unsigned n = 0;

	fact_names(&nodes, "", "/sys/class/kfd/kfd/topology/nodes");
	for (unsigned i = 0; i < nodes.n && n < cap; i++) {
		uint64_t id = 0;

		fact_u64(&id, "/sys/class/kfd/kfd/topology/nodes/%s/gpu_id", nodes.name[i]);
		if (!id)
			continue;
		out[n] = (struct gpu_dev){ .vendor = "AMD" };
		snprintf(out[n].where, sizeof(out[n].where), "node %.50s", nodes.name[i]);
		fact_line(out[n].name, sizeof(out[n].name), "/sys/class/kfd/kfd/topology/nodes/%s/name", nodes.name[i]);
		n++;
	}
	return n;
}

unsigned gpu_devs(struct gpu_dev *out, unsigned cap, unsigned *on_bus)
{
	unsigned n = nvidia_devs(out, cap);

	*on_bus = gpus_on_bus();
	return n + amd_devs(out + n, cap - n);
}

/* ---- trying ---- */

int in_child(int (*fn)(void *arg), void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid)
		_exit(fn(arg));
	for (int i = 0; i < CHILD_MS; i++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got < 0)
			return -1;
		if (got == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
		nanosleep(&ms, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -SIGKILL;
}

static int load(void *name)
{
	return dlopen(name, RTLD_NOW | RTLD_LOCAL) ? 0 : 1;
}

bool can_load(const char *library)
{
	char name[NAME_LEN];

	snprintf(name, sizeof(name), "%s", library);
	return in_child(load, name) == 0;
}
