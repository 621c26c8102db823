/* SPDX-License-Identifier: BSD-3-Clause
 *
 * spin.c - looking for a while before the loop sleeps, where that has been paying off. A wake-up costs both sides system calls and
 * a CPU that has to come back, some ten microseconds of each; a core that looks costs its owner whatever else it could do. So a spin
 * begins as fast as possible, and what lasts longer than the setting `spin` is done without the GIL, with rests for the other half of
 * the core, and ends when anybody else wants the CPU.
 */
#include "wpy.h"

#include <sched.h>

#define SPIN_LOOKS 8                     /* between two readings of the clock */
#define SPIN_TRIES 25                    /* a spin lasts at most this many times the setting */
#define TURN_TRIES 4                     /* in a turn, where more than one task waits */
#define REST_PAUSES 32
#define YIELD_LONG_NS 20000              /* who gives the CPU away for so long twice is not alone on it; once may be the kernel's tick */
#define YIELD_TOO_LONG_NS 200000

static uint64_t spin_ns = WPY_SPIN_NS;

void wpy_set_spin(uint64_t ns)
{
	spin_ns = ns;
}

/* The same some times in a row while nothing comes: reading the clock takes longer than looking. With a large copy pending
 * once, for that look may copy. */
static size_t take_some(Worker *w)
{
	size_t n = 0;

	for (unsigned i = 0; i < (w->n_big ? 1 : SPIN_LOOKS) && !n; i++)
		n = wpy_worker_batch(w);
	return n;
}

/*
 * How long to spin now; 0: not at all. After misses it is left out for a while and then tried for longer: where both
 * sides sleep, an answer takes a wake-up through an event loop, some times the setting `spin`, and only who waits that
 * long finds out that spinning would pay again. A peer that serialises what it sends (Dask: 60 us of 4 KiB) is waited for
 * likewise.
 */
static uint64_t spin_time(struct wpy_spin *s)
{
	if (!spin_ns)
		return 0;
	if (s->skip) {
		s->skip--;
		return 0;
	}
	return s->miss ? SPIN_TRIES * spin_ns : s->ns < spin_ns ? spin_ns : s->ns;
}

static void spin_result(struct wpy_spin *s, bool hit, uint64_t took_ns)
{
	if (hit) {
		s->miss = 0;
		s->ns -= s->ns / 8;          /* short waits between long ones do not make it forget those */
		s->ns = s->ns > 2 * took_ns ? s->ns : 2 * took_ns < SPIN_TRIES * spin_ns ? 2 * took_ns : SPIN_TRIES * spin_ns;
		return;
	}
	if (s->miss < 6)
		s->miss++;
	s->skip = (1u << s->miss) - 1;
}

static bool spin_is_over(const Worker *w, const Op *op, size_t n)
{
	if (!w->h)
		return true;
	return op ? op->state != WPY_PENDING || op->big || w->wakes.first : n != 0;
}

/* About a microsecond in which the other half of a core that is two CPUs has it for itself: there our peer may be at work. */
static void rest(void)
{
	for (unsigned i = 0; i < REST_PAUSES; i++) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#endif
	}
}

/* What lasts longer than the setting `spin`: other threads and processes go first, and when one of them took the CPU, it ends. */
static size_t spin_politely(Worker *w, const Op *op, uint64_t until)
{
	weft_event ev[WPY_BATCH];
	PyThreadState *state;
	uint64_t before, now = 0;
	size_t n, all_n = 0;
	unsigned others = 0;

	do {
		w->released = true;
		state = PyEval_SaveThread();
		do {
			n = weft_reap(w->h, ev, WPY_BATCH);
			for (unsigned i = 1; i < SPIN_LOOKS && !n; i++) {
				rest();
				n = weft_reap(w->h, ev, WPY_BATCH);
			}
			before = wpy_now();
			if (!n)
				sched_yield();
			now = wpy_now();
			others += now - before > YIELD_TOO_LONG_NS ? 2 : now - before > YIELD_LONG_NS;
		} while (!n && others < 2 && now < until);
		PyEval_RestoreThread(state);
		w->released = false;
		wpy_worker_events(w, ev, n);
		all_n += n;
	} while (!spin_is_over(w, op, all_n) && others < 2 && now < until);
	return all_n;
}

/* Looks until @op is done, its large payload is on the way, or others are to be woken; without @op, until anything came. Until @ns after
 * @from. */
static size_t spin(Worker *w, const Op *op, uint64_t from, uint64_t ns)
{
	uint64_t now;
	size_t n = 0;

	do {
		n += take_some(w);
		now = wpy_now();
	} while (!spin_is_over(w, op, n) && now - from < (ns < spin_ns ? ns : spin_ns));
	if (!spin_is_over(w, op, n) && now - from < ns)
		n += spin_politely(w, op, from + ns);
	return n;
}

/* The spin of a turn, for operations that no await looks after: several tasks wait, or a gather. True: look again. */
bool wpy_spin_turn(Worker *w)
{
	struct wpy_spin *s = &w->spin[w->n_big != 0];
	uint64_t from, ns;
	size_t n;

	if (w->n_suspended == 1 || !w->pending.first || w->n_yielded)
		return false;
	ns = spin_time(s);
	if (!ns)
		return false;
	ns = ns < TURN_TRIES * spin_ns ? ns : TURN_TRIES * spin_ns;
	from = wpy_now();
	if (w->n_big) {
		w->spin_until = from + WPY_SPIN_BIG_NS;
		return true;
	}
	n = spin(w, NULL, from, ns);
	spin_result(s, n != 0, wpy_now() - from);
	return n != 0;
}

/* For @op alone. A large copy is moved on by it (that of an active message begins in the midst of this); when it takes longer than the
 * loop can wait, the loop's turns go on. */
size_t wpy_spin_for(Worker *w, Op *op)
{
	uint64_t from = wpy_now(), now, ns;
	size_t n = 0;

	if (!op->big) {
		ns = spin_time(&w->spin[0]);
		if (ns) {
			n = spin(w, op, from, ns);
			spin_result(&w->spin[0], op->state != WPY_PENDING || op->big, wpy_now() - from);
		}
	}
	if (!op->big || op->state != WPY_PENDING || !spin_time(&w->spin[1]))
		return n;
	from = wpy_now();
	w->spin_until = from + WPY_SPIN_BIG_NS;
	do {
		n += take_some(w);
		now = wpy_now();
	} while (w->h && op->state == WPY_PENDING && !w->wakes.first && now - from < WPY_TURN_NS);
	return n;
}

bool wpy_spin_goes_on(Worker *w)
{
	if (!w->spin_until)
		return false;
	if (w->n_big && wpy_now() < w->spin_until)
		return true;
	w->spin_until = 0;
	spin_result(&w->spin[1], false, 0);
	return false;
}
