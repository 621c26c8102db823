# SPDX-License-Identifier: BSD-3-Clause
"""Draws what `weft perf --json` printed: latency and bandwidth against size.

    python _plot.py RESULTS OUT.png     RESULTS: a file of JSON objects, one a line; "-" is the standard input
    python _plot.py --check OUT.png     only says whether that could be written

It needs matplotlib and nothing of weft, so that the program `weft` can run it with any Python.
"""
import json
import os
import sys

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]
MARKS = "osD^vP*X<>"
DASHES = ["-", "--", ":", "-."]
SHADES_MAX = 6  # more of them hide the lines
NOISE_MAX = 0.02  # as report.c has it


class PlotError(Exception):
    """Why there will be no picture, in words."""


def check(out):
    """The figure's class and canvas, after all that can be said before there are results."""
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise PlotError(f"{out}: cannot write into {folder}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise PlotError(f"{sys.executable} has no matplotlib ({exc}); install it: {sys.executable} -m pip install "
                        "matplotlib (or name a Python that has it in the environment variable PYTHON)") from exc
    known = FigureCanvasAgg.get_supported_filetypes()
    kind = os.path.splitext(out)[1].removeprefix(".").lower()
    if kind not in known:
        raise PlotError(f"{out}: the name must end in one of {', '.join('.' + k for k in sorted(known))}")
    return Figure, FigureCanvasAgg


def read(source):
    """Rows of a file that has one JSON object a line; other lines are refused by number."""
    rows = []
    for n, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["test"], row["transport"], row["size"]
        except (ValueError, KeyError, TypeError) as exc:
            raise PlotError(f"line {n} is not a result of weft perf --json: {line.strip()[:60]}") from exc
        rows.append(row)
    if not rows:
        raise PlotError("there are no results to draw")
    return rows


def series(rows, wanted):
    """{(test, way): rows by size} of those that have @wanted; the way is the transport and what else differs."""
    keys = ["transport"] + [k for k in ("loop", "memory") if len({r.get(k) for r in rows}) > 1]
    out = {}
    for row in rows:
        if wanted in row and (wanted != "bw_GBps" or row[wanted] > 0):
            out.setdefault((row["test"], ", ".join(str(row[k]) for k in keys if row.get(k))), []).append(row)
    return {name: sorted(some, key=lambda r: r["size"]) for name, some in out.items()}


def human(size, _=None):
    for unit in ("", "K", "M", "G"):
        if size < 1024:
            return f"{size:g}{unit}"
        size /= 1024
    return f"{size:g}T"


def sizes_of(rows):
    return [max(r["size"], 1) for r in rows]  # 0 bytes have no place on a logarithmic axis


def draw_lines(ax, lines, value, bounds):
    """A colour for each test, a dash for each way; a shade between what @bounds gives, unless there are too many."""
    tests = list(dict.fromkeys(test for test, _ in lines))
    ways = list(dict.fromkeys(way for _, way in lines))
    for (test, way), rows in lines.items():
        i, sizes = tests.index(test) if len(tests) > 1 else ways.index(way), sizes_of(rows)
        colour = COLOURS[i % len(COLOURS)]
        ax.plot(sizes, [value(r) for r in rows], DASHES[ways.index(way) % len(DASHES)], color=colour,
                marker=MARKS[i % len(MARKS)], ms=5, lw=1.6, label=f"{test}, {way}")
        low, high = zip(*(bounds(r) for r in rows))
        if len(rows) == 1:
            ax.vlines(sizes, low, high, color=colour, alpha=0.4, lw=2)
        elif len(lines) <= SHADES_MAX:
            ax.fill_between(sizes, low, high, color=colour, alpha=0.12, lw=0)


def dress(ax, lines, what, title, shade):
    from matplotlib.ticker import NullLocator

    sizes = [n for rows in lines.values() for n in sizes_of(rows)]
    ticks = [1 << k for k in range(41) if min(sizes) <= 1 << k <= max(sizes)] or [min(sizes)]
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set(xlabel="size in bytes", ylabel=what, title=f"{title}, {shade}" if len(lines) <= SHADES_MAX else title)
    ax.set_xticks(ticks[:: 1 + len(ticks) // 12])
    ax.xaxis.set_major_formatter(human)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.grid(which="major", alpha=0.35)
    ax.grid(which="minor", alpha=0.12)
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)


def draw_latency(ax, lines):
    draw_lines(ax, lines, lambda r: r["lat_us"]["p50"], lambda r: (r["lat_us"]["min"], r["lat_us"]["p99"]))
    dress(ax, lines, "µs", "latency: median", "shaded from the least to p99")


def draw_bandwidth(ax, lines):
    draw_lines(ax, lines, lambda r: r["bw_GBps"], lambda r: r.get("bw_GBps_range") or (r["bw_GBps"], r["bw_GBps"]))
    dress(ax, lines, "GB/s", "bandwidth: median of the rounds", "shaded from the least to the best")


def draw(rows, out):
    """Writes the picture: one panel for latencies and one for bandwidths, as far as there are results."""
    figure_class, canvas_class = check(out)
    panels = [(draw_one, lines) for draw_one, wanted in ((draw_latency, "lat_us"), (draw_bandwidth, "bw_GBps"))
              if (lines := series(rows, wanted))]
    if not panels:
        raise PlotError("there are neither latencies nor bandwidths among the results")
    figure = figure_class(figsize=(1 + 6.5 * len(panels), 6), layout="constrained")
    canvas_class(figure)
    for ax, (draw_one, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        draw_one(ax, lines)
    noisy = sum((r.get("noise") or 0) >= NOISE_MAX for r in rows)
    figure.suptitle(f"weft perf ({noisy} of {len(rows)} figures were taken on a busy machine)" if noisy else "weft perf")
    figure.savefig(out, dpi=120)


def main(argv):
    try:
        if len(argv) != 2:
            raise PlotError("two arguments are needed: RESULTS OUT.png")
        if argv[0] == "--check":
            check(argv[1])
        elif argv[0] == "-":
            draw(read(sys.stdin), argv[1])
        else:
            with open(argv[0], encoding="utf-8") as source:
                draw(read(source), argv[1])
    except (PlotError, OSError) as exc:
        print(f"weft perf: --plot: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
