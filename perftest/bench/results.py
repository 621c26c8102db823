# SPDX-License-Identifier: BSD-3-Clause
"""results.py - from the runs of all rounds to rows: medians, ratios, verdicts, and what cannot be trusted.

A figure is the median of a contender's runs. A ratio is the median of the ratios of the rounds, each between two runs that
stood next to each other: the machine may be another one (CPUs further apart, a faster clock) in the next round. A round in
which the CPUs moved between or during the two runs does not count, unless there is no other. The best peer is each round's own;
the one that is named was it most often.
"""
from dataclasses import dataclass, field

import noise


@dataclass
class Taken:
    """All that was seen of one cell."""

    cell: object
    runs: dict = field(default_factory=dict)  # contender -> a figure or None for each round
    lines: dict = field(default_factory=dict)  # contender -> a cache line's trip before and after each run, where measured
    why: dict = field(default_factory=dict)  # contender -> why it has no figure
    rounds: list = field(default_factory=list)  # noise.Round

    def hopeless(self, name):
        """It failed twice and never gave a figure: its next try would only cost time."""
        return len(self.runs.get(name, [])) > 1 and self.figure(name) is None

    def figure(self, name):
        values = [v for v in self.runs.get(name, []) if v is not None]
        return noise.median(values) if values else None

    def spread(self, name):
        return noise.spread([v for v in self.runs.get(name, []) if v is not None])

    def best_of(self, names, ours):
        """The best most often; without a figure of ours, by medians."""
        best = [n for n, _ in self.against(ours, names).values()]
        if best:
            return max(dict.fromkeys(best), key=best.count)
        have = [n for n in names if self.figure(n)]
        return (max if self.cell.higher else min)(have, key=self.figure) if have else None

    def against(self, ours, names):
        """{round: (the best of them in it, our ratio to that)}"""
        out, better = {}, max if self.cell.higher else min
        for i, mine in enumerate(self.runs.get(ours, [])):
            theirs = {n: self.runs[n][i] for n in names if i < len(self.runs.get(n, [])) and self.runs[n][i]}
            if mine is not None and theirs:
                best = better(theirs, key=theirs.get)
                out[i] = best, mine / theirs[best]
        return out

    def ratios(self, ours, names):
        """Of the rounds that compare."""
        have = self.against(ours, names)
        return [r for i, (n, r) in have.items() if self.compares(ours, n, i)] or [r for _, r in have.values()]

    def compares(self, a, b, i):
        return noise.same_distance([us for name in (a, b) if name in self.lines for us in self.lines[name][i]])

    def ratio(self, ours, names):
        values = self.ratios(ours, names)
        return noise.median(values) if values else None

    def doubts(self, row):
        """Why the row's figures cannot be trusted, in words; empty when they can."""
        out = []
        bad = [r for r in self.rounds if r.disturbed()]
        if len(bad) * 2 >= len(self.rounds):  # a median bears fewer
            worst = max(r.foreign + r.steal for r in bad)
            out.append(f"{len(bad)} of {len(self.rounds)} rounds disturbed (others took up to {worst:.0%} of the CPUs)")
        for name in (self.best_of(self.cell.peers, row.weft), row.limit):
            moved = sum(not self.compares(row.weft, name, i) for i in range(len(self.rounds))) if name else 0
            if moved * 2 >= len(self.rounds):
                out.append(f"the CPUs moved between weft and {name} in {moved} of {len(self.rounds)} rounds")
        for name in (row.weft, self.best_of(self.cell.peers, row.weft), row.limit):
            wide = self.spread(name) if name else None
            if wide is not None and wide > noise.WIDE:
                out.append(f"{name} varies by {wide:.0%} between rounds")
        return out


def bar_of(taken, row, bar, alone):
    """One bar's outcome."""
    ref = taken.best_of(bar.refs, row.weft)
    ratios = taken.ratios(row.weft, bar.refs)
    higher = taken.cell.higher
    out = {"what": bar.what, "factor": bar.factor, "at": "least" if higher else "most", "against": ref}
    if not ratios:
        gone = [n for n in (row.weft, *bar.refs) if not taken.figure(n)]
        return {**out, "ratio": None, "range": None, "rounds": 0, "verdict": "no figure",
                "why": "; ".join(f"{n}: {taken.why.get(n, 'not run')}" for n in gone)}
    ratio = noise.median(ratios)
    met = ratio >= bar.factor if higher else ratio <= bar.factor
    verdict = "met" if met else "missed"
    across = min(ratios) < bar.factor < max(ratios)
    if alone:
        verdict = "means nothing"
    elif across and taken.doubts(row):
        verdict += ", unsure"  # some rounds say the opposite, and the machine was not quiet
    return {**out, "ratio": ratio, "range": [min(ratios), max(ratios)], "rounds": len(ratios), "verdict": verdict}


def row_of(taken, row, alone):
    cell = taken.cell
    best = taken.best_of(cell.peers, row.weft)
    return {
        "half": cell.half, "test": cell.test, "path": row.name, "size": cell.size, "unit": cell.unit,
        "weft": taken.figure(row.weft),
        "peers": {n: taken.figure(n) for n in cell.peers},
        "best_peer": best,
        "limit": {"name": row.limit, "figure": taken.figure(row.limit)} if row.limit else None,
        "limits": {n: taken.figure(n) for n in cell.limits},
        "ratio_to_best_peer": taken.ratio(row.weft, cell.peers),
        "ratio_to_limit": taken.ratio(row.weft, [row.limit]) if row.limit else None,
        "bars": [bar_of(taken, row, bar, alone) for bar in row.bars],
        "missing": {n: why for n, why in taken.why.items() if not taken.figure(n)},
        "failures": {n: why for n, why in taken.why.items() if taken.figure(n)},  # in some rounds only
        "spread": {n: taken.spread(n) for n in taken.runs},
        "doubts": taken.doubts(row),
        "runs": {n: v for n, v in taken.runs.items() if n not in {r.weft for r in cell.rows} - {row.weft}},
        "lines_us": taken.lines,
        "rounds": [vars(r) | {"disturbed": r.disturbed()} for r in taken.rounds],
    }


def all_rows(cells, alone):
    return [row_of(t, row, alone) for t in cells for row in t.cell.rows]
