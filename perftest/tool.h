/* SPDX-License-Identifier: BSD-3-Clause
 *
 * tool.h - what info, explain, doctor and calibrate share: output as JSON or wrapped text, what the kernel says of the
 * machine, a pair of processes of our own. Nothing here changes the machine; what is read or tried leaves nothing behind.
 */
#ifndef TOOL_H
#define TOOL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "weft/weft.h"

/* ---- out.c: JSON on stdout; commas are put by it; key NULL: an item of an array ---- */

void json_open(const char *key, char bracket);     /* '{' or '[' */
void json_close(void);
void json_str(const char *key, const char *s);
void json_u64(const char *key, uint64_t v);
void json_real(const char *key, double v);
void json_bool(const char *key, bool v);
void json_raw(const char *key, const char *json, size_t len);
/* The members of the object @json, as members of the one that is open. */
void json_members(const char *json);

/* ---- reading the library's JSON: where the value of @key begins (the first of that name), or NULL; how long it is ---- */

const char *json_find(const char *json, const char *key);
size_t json_len(const char *value);
uint64_t json_number(const char *json, const char *key);   /* 0 when it is not there */
/* A string's contents, unquoted as far as this program needs it. */
void json_text(const char *json, const char *key, char *out, size_t cap);

/* Text in lines of at most 100 columns, each after @indent blanks; the first after @label. */
void print_wrapped(const char *label, unsigned indent, const char *text);

/* weft_explain() or weft_stats() in memory from malloc; NULL: refused, see weft_last_error(). */
char *explain_text(weft_ctx *ctx, weft_ep *ep, const char *url, int json);
char *stats_text(weft_ctx *ctx, const void *worker_or_ep);

/* ---- machine.c: files of /proc, /sys and /dev, below another folder if --root said so ---- */

uint64_t clock_ns(void);         /* CLOCK_MONOTONIC */
void fact_set_root(const char *dir);
const char *fact_root(void);
/* The first line of a file, without its end; false (and ""): it cannot be read. */
bool fact_line(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool fact_u64(uint64_t *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool fact_exists(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool fact_is_writable(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* and readable, by this user */
/* What stands behind "key:" in a file of such lines, /proc/self/status for one. */
bool fact_field(char *out, size_t cap, const char *path, const char *key);
/* The last part of what a symbolic link points to; false (and ""): there is none. */
bool fact_link(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool fact_word(const char *path, const char *word);   /* a line of the file begins with it */

#define NAMES_MAX 512
#define NAME_LEN  64
struct names {
	char name[NAMES_MAX][NAME_LEN];
	unsigned n;
};

/* Names in a folder, sorted, that begin with @prefix; none where there is no such folder. */
void fact_names(struct names *out, const char *prefix, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

struct net_dev {
	char name[32], state[16], addr[8][64];
	unsigned n_addr;
	uint64_t mtu, speed_mbit;        /* 0: not known */
	bool up, loopback;
};

unsigned net_devs(struct net_dev *out, unsigned cap);

#define RDMA_PORTS 4
#define RDMA_GIDS  8
struct rdma_gid {
	unsigned index;
	char text[48], type[24];         /* "::ffff:192.168.100.1", "RoCE v2" */
	char net[32];                    /* the network interface that it stands for; "": none */
};

struct rdma_port {
	unsigned number, n_gid, gids_left;     /* gids_left: further ones that are in use */
	unsigned lid, mtu;               /* of InfiniBand; bytes of an RDMA packet, by rdma_ask(); 0: has none, or not known */
	char state[20], layer[20], rate[40];   /* "ACTIVE", "Ethernet", "100 Gb/sec (4X EDR)" */
	char net[32];                    /* the network interface that it stands on, its first address's; "": none */
	uint64_t net_mtu;
	char pkeys[80];                  /* "0x8001, 0x8002": its partitions, when it has others than 0xffff alone */
	struct rdma_gid gid[RDMA_GIDS];  /* the first that are in use */
};

struct rdma_dev {
	char name[NAME_LEN], firmware[NAME_LEN];
	bool iwarp;
	enum { RDMA_SRQS_UNKNOWN, RDMA_SRQS_NO, RDMA_SRQS_YES } srqs;   /* shared receive queues, by rdma_ask() */
	unsigned n_port;
	struct rdma_port port[RDMA_PORTS];
};

/* ---- rdma.c ---- */
/* How many there are; the first @cap are filled in. */
unsigned rdma_devs(struct rdma_dev *out, unsigned cap);
#define RDMA_PORT_TEXT 320
/* "port 1: ACTIVE, Ethernet, 100 Gb/sec (4X EDR), RDMA MTU 4096, over eth0 with MTU 9000" */
void rdma_say_port(const struct rdma_port *p, char *out, size_t cap);
#define RDMA_GID_TEXT 120
/* "3 ::ffff:192.168.100.1 (RoCE v2)" */
void rdma_say_gid(const struct rdma_port *p, const struct rdma_gid *g, char *out, size_t cap);
/* What that means here; "": nothing unusual. */
const char *rdma_say_srqs(const struct rdma_dev *d);

/* ---- rdma_ask.c: fills in what stands in no file; left as it is where this user may not open them ---- */
void rdma_ask(struct rdma_dev *dev, unsigned n);

/* ---- machine.c, the rest ---- */

struct gpu_dev {
	char name[100], where[NAME_LEN];
	const char *vendor;
};

/* Those that a driver shows; *on_bus: that stand on the PCI bus, driver or not. */
unsigned gpu_devs(struct gpu_dev *out, unsigned cap, unsigned *on_bus);

/* Can the library be loaded? Tried in a child process, so that nothing of it stays here. */
bool can_load(const char *library);

/* Runs @fn(arg) in a child process for at most a few seconds: what it returned (0 .. 255); 0 - signal when it died; -1 when
 * no child could be made. */
int in_child(int (*fn)(void *arg), void *arg);

/* ---- pair.c: two processes of ours, connected ---- */

enum pair_memory { PAIR_PLAIN, PAIR_REGISTERED, PAIR_ALLOCATED, PAIR_MEMORIES };
extern const char *const pair_memory_names[PAIR_MEMORIES];

struct pair {
	pid_t pid;
	weft_ctx *ctx;
	weft_worker *w;
	weft_listener *listener;
	weft_ep *ep;
	bool spins;                      /* both sides can run at the same time */
	bool failed;
	char why[700];
};

struct pair_cell {
	enum pair_memory memory;
	size_t size;
	uint64_t rounds;
	double min_us, p50_us;           /* half a round trip */
	bool eager;
	uint64_t copied_here, copied_peer;   /* bytes, in place */
	double syscalls;                 /* of this side for each message, on the lane */
};

/* Starts the other process and connects, over @transport or (NULL) as the settings say. No context may be open in this
 * process yet. False: why is in p->why. To be closed in either case. */
bool pair_open(struct pair *p, const char *transport);
/* Measures one size for about @time_s, after it was sent both ways and compared. */
bool pair_measure(struct pair *p, struct pair_cell *c, double time_s);
void pair_close(struct pair *p);

/* ---- the commands ---- */

int info_main(int argc, char **argv);
int explain_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
void info_usage(FILE *to);
void explain_usage(FILE *to);
void doctor_usage(FILE *to);
int calibrate_main(int argc, char **argv);
void calibrate_usage(FILE *to);

/* The library's last refusal on stderr, after "weft: ". Returns 1. */
int say_refusal(void);
/* Why an argument was refused, on stderr, after "weft COMMAND: ". Returns false. */
bool say_bad(const char *command, const char *what, const char *argument);

/* --json and --root DIR, of commands that look at a machine: sets @json and the root. False: something else, and says so. */
bool look_options(const char *command, int argc, char **argv, bool *json);

#endif
