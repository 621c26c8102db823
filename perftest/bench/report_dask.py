# SPDX-License-Identifier: BSD-3-Clause
"""report_dask.py - what bench_dask.py found: dask.json, dask-table.txt, dask-table.md, dask.png and dask-bars.png.

By hand from an older run: python perftest/bench/report_dask.py build/bench/dask.json
"""
import json
import sys
from pathlib import Path

import markdown
import table
from cells import say_size
from cells_dask import HOW, PEERS, SCHEMES
from table import TESTS, count, say


def write(rows, meta, out):
    (out / "dask.json").write_text(json.dumps({**meta, "rows": rows}, indent=1) + "\n")
    text = text_of(rows, meta)
    (out / "dask-table.txt").write_text(text)
    (out / "dask-table.md").write_text(markdown_of(rows))
    print("\n" + text, flush=True)
    try:
        draw(rows, meta, out)
    except ImportError as exc:
        print(f"no plots: {exc} (make setup installs it)")


# ---- text ------------------------------------------------------------------------------------------------------------


def text_of(rows, meta):
    lines = [f"Dask over weft beside its peers: {meta['machine']}, {count(meta['rounds'], 'round')}, CPUs {meta['cpus']}",
             "versions: " + ", ".join(f"{k} {v}" for k, v in meta["versions"].items()), ""]
    lines += [*table.half_table(rows, "Dask", PEERS), *table.bars_table(rows), "How each was run:", "",
              *(f"  {name:<15} {text}" for name, text in HOW.items()), ""]
    return "\n".join(lines + table.notes(rows, meta)) + "\n"


def name_of(row):
    return f"{TESTS[row['test']]}, {row['path']}" + (f", {say_size(row['size'])}" if row["size"] else "")


def markdown_of(rows):
    """One line for each cell and each of weft's loops; losing ones like winning ones."""
    head = ["", "weft", *PEERS, "bars: ratio (must be; range of the rounds, and how many compare)"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        bars = "; ".join(markdown.bar_text(b, len(row["rounds"])) + (" met" if b["verdict"] == "met" else "") for b in row["bars"])
        body = [f"{name_of(row)}, {row['unit']}{' ?' if row['doubts'] else ''}", say(row["weft"]),
                *(say(row["peers"].get(p)) for p in PEERS), bars or "-"]
        lines.append(f"| {' | '.join(body)} |")
    return "\n".join(lines) + "\n"


# ---- plots -----------------------------------------------------------------------------------------------------------


def draw(rows, meta, out):
    import plots

    caption = f"{meta['machine']}; {meta['date']}; medians of {count(meta['rounds'], 'round')}"
    if meta["warnings"]:
        caption += "\n" + meta["warnings"][0]
    plots.save([("dask.png", picture(plots, rows)), ("dask-bars.png", plots.bars(rows))], caption, out)


def by_scheme(rows, test):
    """{(path, size): {scheme: figure}}: both of weft's rows together."""
    out = {}
    for r in rows:
        if r["test"] == test and (r["weft"] or any(r["peers"].values())):
            path, _, loop = r["path"].partition(", ")
            found = out.setdefault((path, r["size"]), {k: v for k, v in r["peers"].items() if v})
            if r["weft"]:
                found["weft-uvloop" if loop else "weft"] = r["weft"]
    return out


def picture(plots, rows):
    colors = {"weft": plots.WEFT, "weft-uvloop": "#e59866", **dict(zip(PEERS, plots.COLORS, strict=False))}
    panels = [p for p in ("lat", "wall", "idle") if by_scheme(rows, p)]
    if not panels:
        return None
    figure, axes = plots.plt.subplots(1, len(panels), figsize=(6 * len(panels), 5), squeeze=False)
    for place, test in zip(axes.flat, panels, strict=True):
        (curves if test == "lat" else bars)(plots, place, by_scheme(rows, test), colors)
        place.legend(fontsize=8)
        place.grid(axis="y", alpha=0.25)
        place.set_title({"lat": "comm ping-pong, one way", "wall": "workloads, two workers",
                         "idle": "a cluster that has nothing to do"}[test], fontsize=10)
    axes.flat[0].set_title(axes.flat[0].get_title() + " (lower is better everywhere)", fontsize=10)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def curves(plots, axes, found, colors):
    sizes = sorted(size for _, size in found)
    for name in SCHEMES:
        points = [(size, found["comm", size][name]) for size in sizes if name in found["comm", size]]
        if points:
            style = {"marker": "s", "lw": 2.2} if name.startswith("weft") else {"marker": "o", "lw": 1.3}
            axes.plot(*zip(*points, strict=True), label=name, color=colors[name], ms=5, **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [say_size(s) for s in sizes])
    axes.set_ylabel("us")


def bars(plots, axes, found, colors):
    width = 0.8 / len(SCHEMES)
    for i, name in enumerate(SCHEMES):
        points = [(at + (i - 2) * width, of[name]) for at, of in enumerate(found.values()) if name in of]
        if points:
            x, y = zip(*points, strict=True)
            axes.bar(x, y, width, label=name, color=colors[name])
            for px, py in points:
                axes.text(px, py, say(py), ha="center", va="bottom", fontsize=7)
    axes.set_yscale("log")
    axes.set_xticks(range(len(found)), [f"{path} {say_size(size)}".rstrip() for path, size in found])
    axes.set_ylabel("s" if any(size for _, size in found) else "% of a core")


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        said = json.load(f)
    write(said["rows"], said, Path(sys.argv[1]).parent)
