# SPDX-License-Identifier: BSD-3-Clause
"""table.py - results as text."""
from cells import C_PEERS, MPI4PY, OTHERS, UCXX, say_size
from contenders import HOW

SHORT = {"ucxx-polling": "ucxx poll", "ucxx-blocking": "ucxx block", "ucxx-thread": "ucxx thread", "ucxx-thread-polling": "ucxx th-poll", "ucxx-address": "ucxx addr",
         "mpi4py-openmpi": "mpi4py ompi", "mpi4py-mpich": "mpi4py mpich", "streams-uvloop": "uvloop", "vm_both": "vm both"}
TESTS = {"lat": "one way", "rate": "rate", "wake": "wake", "idle": "idle CPU", "wall": "wall time"}


def say(figure, unit=""):
    """Three digits that count."""
    if figure is None:
        return "-"
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2 if figure >= 1 else 3
    return f"{figure:.{digits}f}" + (f" {unit}" if unit else "")


def count(n, thing):
    return f"{n} {thing}{'' if n == 1 else 's'}"


def grid(head, body):
    """Columns: the first three to the left, the others to the right."""
    width = [max(len(r[i]) for r in [head, *body]) for i in range(len(head))]

    def line(cells):
        return "  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, width, strict=True))).rstrip()

    return [line(head), line(["-" * w for w in width]), *map(line, body)]


def half_table(rows, half, columns):
    rows = [r for r in rows if r["half"] == half]
    columns = [c for c in columns if any(c in r["peers"] for r in rows)]
    if not rows:
        return []
    head = ["test", "path", "size", "unit", "weft", *(SHORT.get(c, c) for c in columns), "limit", "/peer", "/limit"]
    body = []
    for r in rows:
        limit = r["limit"]
        body.append([
            TESTS[r["test"]] + (" ?" if r["doubts"] else ""), r["path"], say_size(r["size"]), r["unit"], say(r["weft"]),
            *(mark(r, c) for c in columns),
            f"{SHORT.get(limit['name'], limit['name'])} {say(limit['figure'])}" if limit else "",
            say(r["ratio_to_best_peer"]), say(r["ratio_to_limit"]) if limit else "",
        ])
    return [f"{half}: lower is better for one way, wake and idle CPU; higher for rate. * the best peer; ? see the notes; - see below",
            "", *grid(head, body), ""]


def mark(row, peer):
    if peer not in row["peers"]:
        return ""
    return say(row["peers"][peer]) + ("*" if peer == row["best_peer"] else "")


def bars_table(rows):
    body = []
    for r in rows:
        for b in r["bars"]:
            low, high = b["range"] or (None, None)
            body.append([f"{r['half']} {TESTS[r['test']]}", r["path"], say_size(r["size"]),
                         f"at {b['at']} {say(b['factor'])} x {b['what']}", b["against"] or "-", say(b["ratio"]),
                         f"{say(low)} to {say(high)}" if b["range"] else "-", str(b["rounds"]), b["verdict"]])
    if not body:
        return []
    return ["Bars: a ratio is the median of the rounds' ratios; their range, and how many rounds compare", "",
            *grid(["test", "path", "size", "weft must be", "against", "ratio", "range", "rounds", "verdict"], body), ""]


def limits_table(rows):
    seen = {(r["half"], r["test"], r["path"].partition("-")[0], r["size"]): r for r in rows if len(r["limits"]) > 1}
    body = [[f"{half} {TESTS[test]}", path, say_size(size), *(f"{SHORT.get(n, n)} {say(v)}" for n, v in r["limits"].items())]
            for (half, test, path, size), r in seen.items()]
    columns = max((len(b) for b in body), default=0)
    body = [b + [""] * (columns - len(b)) for b in body]
    return ["All limits that were run", "", *grid(["test", "path", "size", *[""] * (columns - 3)], body), ""] if body else []


def notes(rows, meta):
    out = []
    for text in meta["warnings"]:
        out += [f"! {text}"]
    gone = {}
    for r in rows:
        for name, why in r["missing"].items():
            gone.setdefault((name, why), []).append(cell_name(r))
    for (name, why), where in gone.items():
        out.append(f"- {name} has no figure ({', '.join(dict.fromkeys(where))}): {why}")
    for r in rows:
        for name, why in r["failures"].items():
            out.append(f"- {cell_name(r)}: {name} failed in some rounds: {why}")
        if r["doubts"]:
            out.append(f"? {cell_name(r)}: cannot be trusted: {'; '.join(r['doubts'])}")
    return out


def cell_name(r):
    return f"{r['half']} {TESTS[r['test']]} {r['path']} {say_size(r['size'])}".rstrip()


def how(rows):
    """How each was run, for those that were."""
    used = {n for r in rows for n in [*r["runs"]]}
    used |= {n.partition("-")[0] for n in used if n.startswith(("ucxx-", "mpi4py-"))}
    return ["How each was run (one way: half a round trip of the full size both ways, each program's own median):", "",
            *(f"  {n:<15} {text}" for n, text in HOW.items() if n in used), ""]


def text_of(rows, meta):
    lines = [f"weft beside its peers: {meta['machine']}, {count(meta['rounds'], 'round')}, {meta['seconds']} s a run, CPUs {meta['cpus']}",
             "versions: " + ", ".join(f"{k} {v}" for k, v in meta["versions"].items()), ""]
    lines += half_table(rows, "C", C_PEERS)
    lines += half_table(rows, "asyncio", UCXX + MPI4PY + OTHERS)
    lines += limits_table(rows) + bars_table(rows) + how(rows)
    return "\n".join(lines + notes(rows, meta)) + "\n"
