# SPDX-License-Identifier: BSD-3-Clause
"""What a verbs path is held against in a guest: the bare program (perftest/bench/verbs), Debian's perftest, and their ratios.

An emulated machine is as fast as the host's other work lets it be, so a time means nothing and a ratio only where both of its
sides ran in turns in the same guest: `in_turns()` makes such a script, `by_name()` reads what it printed, `ratio()` is the median
over the turns. Instructions and system calls do not depend on any of this: `steps()` and `per_message()`.
"""
import bisect
import re
import shlex
import statistics
import subprocess

from guest import BUILD, rows

BARE = BUILD / "bench/verbs/bare"
MARKED = BUILD / "bench/verbs/marked"  # the same of weft
STEPS = BUILD / "bench/verbs/steps"
MISSING = None if BARE.exists() else "libibverbs' header is not installed, so that perftest/bench/verbs was not built"

# perftest/bench/verbs/bare.c; the first is also what `steps -p` counts in.
MESSAGE, SEND, RECV, FOUND, BOTH, NOTHING = range(2, 8)
POSTED, REAPED = 3, 4  # perftest/bench/verbs/marked.c
BY_THE_CLOCK = ("recvfrom", "getsockopt", "epoll_wait")  # as weft looks at a TCP connection whose messages go another way (tcp.c)
CALLS = {"1": "write", "45": "recvfrom", "55": "getsockopt", "232": "epoll_wait"}  # x86-64's numbers; others are left as numbers
MIB = 1.048576  # perftest's MB


def bare(test, size, n, *more):
    return shlex.join(map(str, [BARE, test, size, n, *more]))


def steps(command, doorbells=None, places=None):
    """Counted by stepping: where the program has marks, or of a program without from one doorbell to another. `places`: a file
    of the guest for functions()."""
    options = (f"-a {places} " if places else "") + (f"-p {doorbells[0]}:{doorbells[1]} " if doorbells else "")
    return f"{shlex.quote(str(STEPS))} {options}{command}"


def perftest(tool, size, n, under=""):
    """One of Debian's ib_* programs against itself on rxe0; `under` is put before the side that measures. Its server says
    nothing when it listens, so that the kernel is asked: port 18515, state LISTEN."""
    args = f"-d rxe0 -x 1 -s {size} -n {n}"
    listens = 'until grep -q ":4853 .* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.1; [ $((n += 1)) -lt 100 ] || break; done'
    return f"timeout 60 {tool} {args} >/dev/null 2>&1 & n=0; {listens}; timeout 60 {under} {tool} {args} 127.0.0.1; wait $!"


def in_turns(commands, turns=3):
    """A script that runs each of {name: command} `turns` times, alternately."""
    once = "\n".join(f"echo '== {name}'\n{command}" for name, command in commands.items())
    return f"for turn in {' '.join(map(str, range(turns)))}; do\n{once}\ndone"


def by_name(text):
    """{name: [what it printed, a string for each turn]}"""
    found = {}
    for part in re.split(r"^== ", text, flags=re.M)[1:]:
        name, _, said = part.partition("\n")
        found.setdefault(name, []).append(said)
    return found


def of_bare(said):
    """MB/s, or us for what goes back and forth."""
    (row,) = (r for r in rows(said) if "test" in r)
    return row["MB_per_s"] if "MB_per_s" in row else row["us"]


def of_perftest(said):
    """The same of an ib_*_bw (its average) or ib_*_lat (its mean)."""
    head = next(s for s in said.splitlines() if s.startswith(" #bytes"))
    values = next(s for s in said.splitlines() if re.match(r"^ \d+ +\d+ ", s)).split()
    return float(values[3]) * MIB if "BW average" in head else float(values[5])


def ratio(mine, its):
    """Of two lists of figures, turn by turn."""
    assert len(mine) == len(its) > 0
    return statistics.median(a / b for a, b in zip(mine, its))


def per_message(said, messages, slot=MESSAGE):
    """{"ours", "provider", "syscalls"} for each of so many messages of one slot, from what `steps` printed, and "least", ours of the
    cheapest window, and "calls", {name: how many in all} of the system calls. Ours is the program, its library and what they call of
    libc; the provider's is libibverbs, the driver, and what they call of it."""
    row = next(r for r in rows(said) if r.get("slot") == slot)
    each = {k: row[k] / messages for k in ("ours", "provider", "syscalls")}
    return each | {"least": row["ours_least"], "calls": {CALLS.get(nr, nr): n for nr, n in row["calls"].items()}}


def functions(places, program, messages):
    """{slot: {function: instructions of a message}}, from the text of a `places` file. What the compiler made inline counts where it
    is; of libc and the provider nothing is here."""
    names = [s.split() for s in subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout.splitlines()]
    begin = sorted((int(s[0], 16), s[2]) for s in names if len(s) == 3 and s[1] in "tTwW")
    found = {}
    for slot, offset, count in (s.split() for s in places.splitlines()):
        at = bisect.bisect_right(begin, (int(offset, 16), "~")) - 1
        of = found.setdefault(int(slot), {})
        of[begin[at][1]] = of.get(begin[at][1], 0) + int(count) / messages
    return found
