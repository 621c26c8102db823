# SPDX-License-Identifier: BSD-3-Clause
"""Several cases in one boot of two guests, which takes longer than most cases: a script for each host, in which they follow one another,
and what each of them printed."""
import json
import re
import shlex

from guest import BUILD, ROOT, vm

PYTHON = f"PYTHONPATH={shlex.quote(str(BUILD / 'py'))} {shlex.quote(str(ROOT / 'build/venv/bin/python'))}"
TRAFFIC = f"{PYTHON} {shlex.quote(str(ROOT / 'tests/vm/traffic.py'))}"

# await FILE: until the other host has made it. flows: the messages of this case do.
TOOLS = """
await() { local n=0; until [ -e $RDMA_VM_JOB/$1 ]; do sleep 0.1; [ $((n += 1)) -lt 900 ] || { echo "no $1" >&2; return 1; }; done; }
listens() { local n=0; until grep -q ":$(printf %04X $1) .* 0A " /proc/net/tcp /proc/net/tcp6; do
    sleep 0.1; [ $((n += 1)) -lt 600 ] || return 1; done; }
flows() { await flows$n && sleep 1; }
"""


def case(n, name, serves, seconds, *, peer, options="", long=False, before="true", at="0.0.0.0"):
    """(script of host 0, of host 1). Both do `before`, then host 1 serves traffic.py, whose process is $p, and does `serves` meanwhile; host 0
    connects for so many seconds."""
    tail = " long" if long else ""
    port = 7500 + n
    host0 = (f"n={n}; {before}; await ready$n; echo '== {name}'; {options} {TRAFFIC} go {peer}:{port} {seconds}{tail}; echo status $?; "
             "touch $RDMA_VM_JOB/over$n")
    host1 = (f"n={n}; {before}; echo '== {name}'; {options} TRAFFIC_FLOWS=$RDMA_VM_JOB/flows$n {TRAFFIC} serve {at}:{port}{tail} & p=$!; "
             f"listens {port}; touch $RDMA_VM_JOB/ready$n; {serves}; wait $p; echo status $?; await over$n")
    return host0, host1


def run(cases, *options, setup="", limit_s=300):
    """{name: ({host: its JSON line or None}, {host: exit status})} and all that was printed."""
    hosts = ["\n".join(c[h] for c in cases) for h in (0, 1)]
    status, out, err = vm(f"{TOOLS}{setup}\nif [ $RDMA_VM_HOST = 1 ]; then\n{hosts[1]}\nelse\n{hosts[0]}\nfi\ntrue", "--two-hosts", *options,
                          limit_s=limit_s)
    assert status == 0, out + err
    found = {}
    for h in (0, 1):
        mine = "\n".join(s[3:] for s in out.splitlines() if s.startswith(f"{h}: "))
        for part in re.split(r"^== ", mine, flags=re.M)[1:]:
            name, _, said = part.partition("\n")
            row = [json.loads(s) for s in said.splitlines() if s.startswith("{")]
            ended = re.findall(r"^status (\d+)", said, re.M)
            rows_, statuses = found.setdefault(name, ({}, {}))
            rows_[h] = row[0] if row else None
            statuses[h] = int(ended[-1]) if ended else None
    return found, out + err
