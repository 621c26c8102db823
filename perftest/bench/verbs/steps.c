/* SPDX-License-Identifier: BSD-3-Clause
 *
 * steps.c - counts the user-space instructions and the system calls of a program where it asks for it (mark.h), by stepping it.
 *
 *   steps [-a FILE] PROGRAM [ARGUMENT...]
 *   steps -p FROM:TO PROGRAM [ARGUMENT...]   a program that has no marks: slot 2 is from its FROM-th doorbell to its TO-th,
 *                                            where a doorbell is a system call (soft-RoCE), so of TO - FROM messages
 *
 * -a: to FILE a line "slot offset count" for each instruction of the program's own file, so that `nm` tells the functions.
 *
 * There are no performance counters in an emulated machine, and valgrind cannot run what weft needs. A step costs two changes
 * of process, so that time means nothing here; counts do not care. Processes that the program forks run free.
 *
 * Whose an instruction is goes by the file that its address is mapped from: libibverbs and the provider's library, or anything
 * else, which is ours. libc's belong to whoever called it: to the one of the two that ran last. After the program's own output
 * comes one line of JSON for each slot: the number of its windows, the instructions (ours_libc and provider_libc are part of
 * ours and provider; ours_least is the cheapest window's), the system calls, and these by number; what the marks themselves
 * cost is taken off.
 */
#include <errno.h>
#include <rdma/ib_user_verbs.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "mark.h"

#ifndef __x86_64__
int main(void)
{
	fprintf(stderr, "steps reads registers of x86-64 only\n");
	return 77;
}
#else

#define SYSCALL_INSN 0x050f             /* as a little-endian word reads it */
#define RANGES_MAX   512
#define CALLS_MAX    512                /* numbers of system calls: x86-64 has fewer */
#define PLACES       (1u << 16)         /* different instructions that are told apart; a power of two */

enum owner { OURS, PROVIDER, LIBC };

struct range {
	uint64_t from, to, offset;
	enum owner owner;
};

struct place {
	uint64_t ip, count;
	unsigned long slot;
};

struct slot {
	uint64_t windows, syscalls;
	uint64_t calls[CALLS_MAX];      /* the same, by number */
	uint64_t all[2], libc[2];       /* by owner: OURS, PROVIDER */
	uint64_t opened, least;         /* OURS when the window opened, and of the cheapest window */
};

static struct {
	pid_t pid;
	struct range range[RANGES_MAX];
	int ranges, last;
	enum owner who;                 /* that libc's instructions belong to */
	unsigned long slot;             /* MARK_END: running free */
	unsigned long asked;            /* the slot that begins when the call under way has ended */
	unsigned long from, to, rung;   /* doorbells; @to 0: marks are meant */
	const char *file;               /* -a */
	struct place places[PLACES];
	struct slot slots[MARK_SLOTS];
} t;

static void die(const char *what)
{
	fprintf(stderr, "steps: %s: %s\n", what, strerror(errno));
	exit(1);
}

static enum owner owner_of(const char *path)
{
	static const char *const provider[] = { "/libibverbs", "-rdmav", "/librdmacm", "/libmlx", NULL };
	static const char *const libc[] = { "/libc.so", "/libc-", "/ld-linux", "/libpthread", "/libm.so", "[vdso]", NULL };

	for (int i = 0; provider[i]; i++)
		if (strstr(path, provider[i]))
			return PROVIDER;
	for (int i = 0; libc[i]; i++)
		if (strstr(path, libc[i]))
			return LIBC;
	return OURS;
}

/* Anew whenever an address is in none: libraries are loaded while the program runs. */
static void read_ranges(void)
{
	char name[64], line[1024];
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/maps", (int)t.pid);
	f = fopen(name, "re");
	if (!f)
		die(name);
	t.ranges = 0;
	while (fgets(line, sizeof(line), f) && t.ranges < RANGES_MAX) {
		struct range *r = &t.range[t.ranges];
		char may[8];

		if (sscanf(line, "%lx-%lx %7s %lx", &r->from, &r->to, may, &r->offset) == 4 && may[2] == 'x') {
			r->owner = owner_of(line);
			t.ranges++;
		}
	}
	fclose(f);
}

static bool find(uint64_t ip)
{
	for (int i = 0; i < t.ranges; i++) {
		int k = (t.last + i) % t.ranges;

		if (ip >= t.range[k].from && ip < t.range[k].to) {
			t.last = k;
			return true;
		}
	}
	return false;
}

static enum owner owner_at(uint64_t ip)
{
	if (!find(ip)) {
		t.last = 0;
		read_ranges();
		if (!find(ip))
			return OURS;
	}
	return t.range[t.last].owner;
}

/* A full table loses what is new: its sum is less than the slot's. */
static void note_place(uint64_t ip)
{
	for (unsigned i = 0, h = (unsigned)(ip * 0x9e3779b97f4a7c15ull >> 48); i < PLACES; i++, h++) {
		struct place *p = &t.places[h % PLACES];

		if (p->count && (p->ip != ip || p->slot != t.slot))
			continue;
		p->ip = ip;
		p->slot = t.slot;
		p->count++;
		return;
	}
}

static void count(uint64_t ip)
{
	struct slot *s = &t.slots[t.slot];
	enum owner at = owner_at(ip);

	if (at != LIBC)
		t.who = at;
	s->all[t.who]++;
	s->libc[t.who] += at == LIBC;
	if (t.file && at == OURS)
		note_place(ip);
}

static bool is_doorbell(uint64_t nr, uint64_t buf, uint64_t len)
{
	return t.to && nr == SYS_write && len >= 8 && (uint32_t)ptrace(PTRACE_PEEKDATA, t.pid, buf, NULL) == IB_USER_VERBS_CMD_POST_SEND;
}

/* Before a step: counts what it will execute. False when that is the call that ends the window. */
static bool take_step(void)
{
	struct user_regs_struct r;
	uint64_t ip;
	long word;

	errno = 0;
	ip = (uint64_t)ptrace(PTRACE_PEEKUSER, t.pid, offsetof(struct user_regs_struct, rip), NULL);
	word = ptrace(PTRACE_PEEKTEXT, t.pid, ip, NULL);
	if (errno && word == -1)
		die("reading the next instruction");
	count(ip);
	if ((word & 0xffff) != SYSCALL_INSN)
		return true;
	if (ptrace(PTRACE_GETREGS, t.pid, NULL, &r))
		die("PTRACE_GETREGS");
	if (r.rax == SYS_getppid && r.rdi == MARK_MAGIC)
		return false;
	t.slots[t.slot].syscalls++;
	t.slots[t.slot].calls[r.rax % CALLS_MAX]++;
	return !is_doorbell(r.rax, r.rsi, r.rdx) || ++t.rung < t.to;
}

/* Running free, at a system call's entry or exit: a window opens after the exit of the call that asked for it. */
static void at_syscall(void)
{
	struct __ptrace_syscall_info i;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, t.pid, sizeof(i), &i) <= 0)
		die("PTRACE_GET_SYSCALL_INFO");
	if (i.op == PTRACE_SYSCALL_INFO_ENTRY) {
		const uint64_t a[] = { i.entry.args[0], i.entry.args[1], i.entry.args[2] };

		if (is_doorbell(i.entry.nr, a[1], a[2]))
			t.asked = ++t.rung == t.from ? MARK_EMPTY + 1 : MARK_END;
		else if (!t.to && i.entry.nr == (uint64_t)SYS_getppid && a[0] == MARK_MAGIC && a[1] < MARK_SLOTS)
			t.asked = a[1];
	} else if (i.op == PTRACE_SYSCALL_INFO_EXIT && t.asked) {
		t.slot = t.asked;
		t.slots[t.slot].windows++;
		t.slots[t.slot].opened = t.slots[t.slot].all[OURS];
		t.who = OURS;
		t.asked = MARK_END;
	}
}

static void shut_window(void)
{
	struct slot *s = &t.slots[t.slot];
	uint64_t took = s->all[OURS] - s->opened;

	if (s->windows == 1 || took < s->least)
		s->least = took;
	t.slot = MARK_END;
}

/* Until the program ends; gives its status. */
static int follow(void)
{
	int status, sig;

	for (;;) {
		if (waitpid(t.pid, &status, 0) != t.pid)
			die("waitpid");
		if (WIFEXITED(status) || WIFSIGNALED(status))
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		sig = WSTOPSIG(status);
		if (sig == (SIGTRAP | 0x80))
			at_syscall();
		if (sig == SIGTRAP || sig == (SIGTRAP | 0x80))
			sig = 0;
		if (t.slot && !take_step()) {
			shut_window();
			/* Over the last call in one step, so that its entry is not taken for an exit. */
			if (ptrace(PTRACE_SINGLESTEP, t.pid, NULL, NULL) || waitpid(t.pid, &status, 0) != t.pid)
				die("stepping over a mark");
		}
		if (ptrace(t.slot ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, t.pid, NULL, (void *)(long)sig))
			die("ptrace");
	}
}

static void print_slots(void)
{
	const struct slot *empty = &t.slots[MARK_EMPTY];

	for (unsigned long i = MARK_EMPTY + 1; i < MARK_SLOTS; i++) {
		struct slot *s = &t.slots[i];

		if (!s->windows)
			continue;
		if (empty->windows) {
			s->all[OURS] -= empty->all[OURS] / empty->windows * s->windows;
			s->libc[OURS] -= empty->libc[OURS] / empty->windows * s->windows;
			s->least -= empty->all[OURS] / empty->windows;
		}
		printf("{\"slot\":%lu,\"windows\":%lu,\"ours\":%ld,\"ours_libc\":%ld,\"ours_least\":%ld,", i, s->windows,
		       (long)s->all[OURS], (long)s->libc[OURS], (long)s->least);
		printf("\"provider\":%lu,\"provider_libc\":%lu,\"syscalls\":%lu,\"calls\":{", s->all[PROVIDER], s->libc[PROVIDER],
		       s->syscalls);
		for (unsigned nr = 0, n = 0; nr < CALLS_MAX; nr++)
			if (s->calls[nr])
				printf("%s\"%u\":%lu", n++ ? "," : "", nr, s->calls[nr]);
		printf("}}\n");
	}
}

/* The program's file is the first that is mapped; its code begins at the same offset in the file and from its load address. */
static void write_places(void)
{
	const struct range *r = &t.range[0];
	FILE *f = fopen(t.file, "we");

	if (!f)
		die(t.file);
	for (unsigned i = 0; i < PLACES; i++) {
		const struct place *p = &t.places[i];

		if (p->count && p->ip >= r->from && p->ip < r->to)
			fprintf(f, "%lu %lx %lu\n", p->slot, p->ip - r->from + r->offset, p->count);
	}
	fclose(f);
}

int main(int argc, char **argv)
{
	int status;

	if (argc > 3 && !strcmp(argv[1], "-a")) {
		t.file = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc > 3 && !strcmp(argv[1], "-p") && sscanf(argv[2], "%lu:%lu", &t.from, &t.to) == 2 && t.from && t.from < t.to)
		argv += 2;
	else if (argc < 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: steps [-a FILE] [-p FROM:TO] PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	t.pid = fork();
	if (t.pid < 0)
		die("fork");
	if (!t.pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			die("PTRACE_TRACEME");
		execvp(argv[1], argv + 1);
		die(argv[1]);
	}
	if (waitpid(t.pid, &status, 0) != t.pid || !WIFSTOPPED(status)) /* at its first instruction, or it was not found */
		return 1;
	if (ptrace(PTRACE_SETOPTIONS, t.pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) ||
	    ptrace(PTRACE_SYSCALL, t.pid, NULL, NULL))
		die("ptrace");
	status = follow();
	print_slots();
	if (t.file)
		write_places();
	return status;
}
#endif
