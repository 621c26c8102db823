# SPDX-License-Identifier: BSD-3-Clause
"""markdown.py - results as the table that README and docs/STATUS show: table.md.

By hand from an older run: python perftest/bench/markdown.py build/bench/peers.json
"""
import json
import sys

from cells import say_size
from table import TESTS, say

HEAD = ["| | weft | best peer | limit | bars: ratio (must be; range of the rounds, and how many compare) |", "|---|---|---|---|---|"]


def bar_text(bar, rounds):
    """@rounds: of the run; a bar says it when fewer compare."""
    if bar["ratio"] is None:
        return f"{bar['what']}: no figure"
    sign = "≤" if bar["at"] == "most" else "≥"
    low, high = bar["range"]
    few = f"; {bar['rounds']} of {rounds}" if bar["rounds"] < rounds else ""
    verdict = "" if bar["verdict"] == "met" else f" **{bar['verdict']}**"
    return f"{bar['ratio']:.2f} × {bar['what']} ({sign} {bar['factor']:.3g}; {low:.2f} to {high:.2f}{few}){verdict}"


def figure(value, name):
    return "-" if value is None else f"{say(value)} ({name})"


def row_text(row):
    limit = row["limit"] or {}
    cells = [f"{row['half']} {TESTS[row['test']]}, {row['path']}, {say_size(row['size'])}, {row['unit']}{' ?' if row['doubts'] else ''}",
             say(row["weft"]), figure(row["peers"].get(row["best_peer"]), row["best_peer"]), figure(limit.get("figure"), limit.get("name")),
             "; ".join(bar_text(b, len(row["rounds"])) for b in row["bars"]) or "-"]
    return f"| {' | '.join(cells)} |"


def text_of(rows):
    return "\n".join([*HEAD, *map(row_text, rows)]) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        print(text_of(json.load(f)["rows"]), end="")
