# SPDX-License-Identifier: BSD-3-Clause
"""plots.py - the pictures: latency by size in C, message rates in C, the asyncio half, and every bar as a ratio."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator  # noqa: E402
from cells import C_PEERS, MPI4PY, OTHERS, UCXX, say_size  # noqa: E402
from table import SHORT, TESTS, cell_name, count, say  # noqa: E402

WEFT, LIMIT = "#c0392b", "#7f8c8d"
COLORS = ["#2980b9", "#27ae60", "#8e44ad", "#e67e22", "#16a085", "#5d6d7e", "#d4ac0d", "#a04000", "#1f618d", "#7d3c98"]


def draw(rows, meta, out):
    caption = f"{meta['machine']}; {meta['date']}; medians of {count(meta['rounds'], 'round')}"
    if meta["warnings"]:
        caption += "\n" + meta["warnings"][0]
    rates = [r for r in rows if r["half"] == "C" and r["test"] == "rate"]
    python = [r for r in rows if r["half"] == "asyncio"]
    drawn = [("latency.png", latency(rows)), ("rate.png", cells(rates, C_PEERS)),
             ("asyncio.png", cells(python, UCXX + MPI4PY + OTHERS)), ("bars.png", bars(rows))]
    save(drawn, caption, out)


def save(drawn, caption, out):
    """(file, figure or None) each."""
    for name, figure in drawn:
        (out / name).unlink(missing_ok=True)  # of an earlier run, which had other cells
        if figure:
            figure.text(0.01, 0.005, caption, fontsize=7, color="#555555", va="bottom")
            figure.savefig(out / name, dpi=110)
            plt.close(figure)


def color(names, name):
    return COLORS[names.index(name) % len(COLORS)]


# ---- latency by size, C ----------------------------------------------------------------------------------------------


def latency(rows):
    """Time over the best peer's is easier to read than six decades of us: both are drawn."""
    rows = [r for r in rows if r["half"] == "C" and r["test"] == "lat" and r["weft"]]
    paths = [p for p in ("shm", "tcp") if any(r["path"] == p for r in rows)]
    if not paths:
        return None
    figure, axes = plt.subplots(2, len(paths), figsize=(6.4 * len(paths), 8), squeeze=False, height_ratios=[3, 2])
    for column, path in enumerate(paths):
        mine = sorted((r for r in rows if r["path"] == path), key=lambda r: r["size"])
        without = sorted((r for r in rows if r["path"] == "shm-seccomp" and path == "shm"), key=lambda r: r["size"])
        latency_axes(axes[0][column], axes[1][column], path, mine, without)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    return figure


def latency_axes(top, low, path, mine, without):
    def curve(rows, of, label, **style):
        points = [(r["size"], of(r), of(r) / best(r)) for r in rows if of(r)]
        if points:
            size, us, share = zip(*points, strict=True)
            top.plot(size, us, label=label, **style)
            low.plot(size, share, **style)

    def best(row):
        return row["peers"].get(row["best_peer"]) or row["weft"]

    for peer in C_PEERS:
        curve(mine, lambda r, p=peer: r["peers"].get(p), peer, marker="o", ms=4, lw=1.2, color=color(C_PEERS, peer))
    curve(mine, lambda r: (r["limit"] or {}).get("figure"), "limit", marker="_", ms=10, lw=1.2, ls=":", color=LIMIT)
    curve(without, lambda r: r["weft"], "weft, without rights", marker="s", ms=5, lw=1.6, ls="--", color=WEFT)
    curve(mine, lambda r: r["weft"], "weft", marker="s", ms=5, lw=2.2, color=WEFT)
    low.axhline(1, color="#bbbbbb", lw=0.8, zorder=0)
    sizes = [r["size"] for r in mine]
    for axes in (top, low):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [say_size(s) for s in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    top.set_yscale("log")
    top.set_ylabel("one way, us")
    top.set_title(f"C, tagged messages over {path}")
    top.legend(fontsize=8)
    low.set_ylim(0, 4)
    low.set_ylabel("times the best peer (lower is better)")


# ---- one cell, all contenders ------------------------------------------------------------------------------------------


def cells(rows, names):
    rows = [r for r in rows if r["weft"]]
    if not rows:
        return None
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(6.4 * columns, 2.8 * lines + 0.5), squeeze=False)
    for place in axes.flat[len(rows):]:
        place.axis("off")
    for place, row in zip(axes.flat, rows, strict=False):
        one_cell(place, row, names)
    figure.tight_layout(rect=(0, 0.16 / lines, 1, 1))
    return figure


def one_cell(axes, row, names):
    shown = [("weft", row["weft"], WEFT)]
    shown += [(SHORT.get(n, n), row["peers"][n], color(names, n)) for n in names if row["peers"].get(n)]
    limit = (row["limit"] or {}).get("figure")
    title = f"{row['half']} {TESTS[row['test']]}, {row['path']}, {say_size(row['size'])}"
    title += f" [{row['unit']}, {'higher' if row['test'] == 'rate' else 'lower'} is better]"
    if limit:
        axes.axvline(limit, color="black", ls=":", lw=1.5)
        title += f", dotted: {SHORT.get(row['limit']['name'], row['limit']['name'])} {say(limit)}"
    axes.barh([s[0] for s in shown], [s[1] for s in shown], color=[s[2] for s in shown], height=0.7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    figures = [s[1] for s in shown] + ([limit] if limit else [])
    axes.set_xlim(min(figures) / 2, max(figures) * 4)
    axes.xaxis.set_minor_formatter(NullFormatter())
    for i, (_, figure, _) in enumerate(shown):
        axes.text(figure * 1.08, i, say(figure), va="center", fontsize=7,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5})
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)


# ---- bars ------------------------------------------------------------------------------------------------------------


def bars(rows):
    """Each bar's ratio over its factor, so that 1 is the bar itself; left of it is met."""
    shown = [(r, b) for r in rows for b in r["bars"] if b["ratio"]]
    if not shown:
        return None
    figure, axes = plt.subplots(figsize=(11, 0.3 * len(shown) + 1.7))
    reach = [one_bar(axes, i, bar) for i, (_, bar) in enumerate(shown)]
    axes.set_yticks(range(len(shown)), [f"{cell_name(r)}: {b['what']}" for r, b in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvline(1, color="black", lw=1.4)
    axes.set_xscale("log")
    low, high = min(min(r) for r in reach), max(max(r) for r in reach)
    axes.set_xlim(min(low / 1.2, 0.5), max(high * 2, 2))  # room for the words on the right
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low / 1.2 <= t <= high * 2]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{t:g}" for t in ticks])
    axes.set_title("weft against each bar: 1 is the bar, left of it is met; whiskers: the range of the rounds", fontsize=10)
    axes.set_xlabel("what weft took, over what the bar allows")
    axes.grid(axis="x", alpha=0.25)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


def one_bar(axes, y, bar):
    """Gives the places on the axis that it takes."""
    part = [v / bar["factor"] for v in (bar["ratio"], *bar["range"])]
    if bar["at"] == "least":
        part = [1 / v for v in part]
    shade = "#27ae60" if bar["verdict"].startswith("met") else WEFT if bar["verdict"].startswith("missed") else LIMIT
    axes.barh(y, part[0] - 1, left=1, color=shade, height=0.62, alpha=0.85)
    axes.plot(sorted(part[1:]), [y, y], color="#222222", lw=1.2, marker="|", ms=6)
    side = {"most": "<=", "least": ">="}[bar["at"]]
    words = f"{say(bar['ratio'])} ({side} {say(bar['factor'])}{', unsure' if 'unsure' in bar['verdict'] else ''})"
    axes.text(max(*part, 1) * 1.06, y, words, va="center", fontsize=7)
    return part
