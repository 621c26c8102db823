# SPDX-License-Identifier: BSD-3-Clause
"""tools/scale_sim.py and the page whose tables it makes: the arithmetic against the driver's by hand and against a played start-up."""
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/SCALE.md"

spec = importlib.util.spec_from_file_location("scale_sim", ROOT / "tools/scale_sim.py")
sim = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sim)

pytestmark = pytest.mark.skipif(not shutil.which(shlex.split(os.environ.get("CC") or "cc")[0]), reason="there is no C compiler")


def test_the_page_holds_what_the_simulator_prints():
    page = PAGE.read_text()
    assert page == sim.filled(page), "run: tools/scale_sim.py --write docs/SCALE.md, and read the page again"
    assert all(f"<!-- scale_sim: {name} -->" in page for name in sim.TABLES) and all(f"<!--= {name} -->" in page for name in sim.FACTS)


def test_large_amounts_in_the_text_are_the_simulators():
    """What a change of a constant moves is never typed: each MiB and GiB in a sentence has its mark."""
    text = "".join(line for line in PAGE.read_text().splitlines(True) if not line.startswith("|"))
    assert not re.findall(r"\d+ [MG]iB(?!<!--=).*", text)


def test_a_stale_figure_is_seen():
    page = "of 1 MiB<!--= worker --> and 9<!--= bound -->, **1,2 s**, 0.1 s<!--= rc star 10000 1 up -->."
    star = sim.case("rc", "star", 10_000, 1)
    assert sim.filled(page) == (f"of {sim.size(sim.shared())}<!--= worker --> and {sim.W['QPS']:,}<!--= bound -->, **1,2 s**, "
                                f"{sim.span(star['seconds'])}<!--= rc star 10000 1 up -->.")


def test_no_worker_has_more_queue_pairs_than_the_transport_makes():
    for n, ppn in ((1000, 1), (10_000, 1), (10_000, 64)):
        assert sim.case("rc", "all", n, ppn)["qps"] <= sim.W["QPS"] * ppn
    assert sim.case("rc", "star", 10_000, 64)["qps"] == sim.W["QPS"]        # of one process of that node


def test_sizes_are_the_compilers():
    assert set(sim.own()) == {"lane", "qp", "buf"} and sim.own()["qp"] > 16 * sim.W["SQ"]      # a ring of all work requests is in it


def test_constants_are_those_of_the_transport():
    assert {"SQ", "SRQ", "BUF", "INLINE", "CQ_LANES", "QPS", "SENDS", "SIGNAL"} <= set(sim.W)
    assert sim.W["BUF"] == 8192 and all(isinstance(v, int) for v in sim.W.values())


@pytest.mark.parametrize("inline, entry", [(0, 256), (60, 256), (61, 320), (124, 320), (125, 384), (256, 512), (316, 512), (317, 576)])
def test_send_entry(inline, entry):
    """192 bytes are spoken for; 4 more and the data, to 16, then the whole to 64."""
    assert sim.mlx5_wqe(inline) == entry


def test_queues_are_rounded_as_the_driver_does():
    assert sim.mlx5_qp(128, 256) - sim.A["qp_user"] == 65536 + 1024 * 16
    assert sim.mlx5_qp(1, 0) - sim.A["qp_user"] == 4096 + 4 * 16
    assert sim.mlx5_srq(1024) == 4096 * 40 and sim.mlx5_srq(1023) == 2048 * 40
    assert sim.mlx5_cq(16383) == 16384 * 64 and sim.mlx5_cq(16384) == 32768 * 64


@pytest.mark.parametrize("pattern", sim.PATTERNS)
@pytest.mark.parametrize("n, ppn", [(1, 1), (2, 1), (7, 3), (24, 8), (60, 7), (64, 64), (100, 64)])
def test_patterns(pattern, n, ppn):
    """Who talks to me, I talk to, and the busiest is the busiest."""
    of = [sim.peers(pattern, r, n) for r in range(n)]
    assert all(r in of[p] and 0 <= p < n and p != r for r in range(n) for p in of[r])
    if pattern == "tree":
        assert sum(map(len, of)) == 2 * (n - 1)
    remote = [sum(p // ppn != r // ppn for p in of[r]) for r in range(n)]
    nodes = [sum(remote[i:i + ppn]) for i in range(0, n, ppn)]
    lanes, node = sim.busiest(pattern, n, ppn)
    assert (lanes, sum(node)) == (max(remote), max(nodes)) and len(node) <= ppn


@pytest.mark.parametrize("design", ["rc", "ud-setup"])
@pytest.mark.parametrize("pattern, n, ppn", [("all", 64, 8), ("all", 48, 1), ("stencil6", 64, 8), ("ring", 40, 4), ("tree", 128, 4), ("star", 90, 9)])
def test_the_formula_agrees_with_a_played_start(design, pattern, n, ppn):
    times = sim.DESIGNS[design].times()
    lanes, node = sim.busiest(pattern, n, ppn)
    formula = sim.closed_form(lanes, sum(node), times)
    played = sim.events(pattern, n, ppn, times)
    assert formula * 0.95 <= played <= formula * 1.25, (formula, played)


def test_more_peers_never_cost_less():
    for name, d in sim.DESIGNS.items():
        assert [d.bytes(k) for k in (1, 10, 100, 10_000)] == sorted(d.bytes(k) for k in (1, 10, 100, 10_000)), name


def test_by_hand(tmp_path):
    run = subprocess.run([sys.executable, ROOT / "tools/scale_sim.py", "-n", "5000", "--ppn", "10", "--pattern", "star"], capture_output=True,
                         text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("4,990 lanes, "), run.stderr
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- scale_sim: cq -->\nold\n<!-- end -->\nb\n")
    assert subprocess.run([sys.executable, ROOT / "tools/scale_sim.py", "--write", page], timeout=60).returncode == 0
    assert page.read_text().startswith("a\n<!-- scale_sim: cq -->\n| lanes") and page.read_text().endswith("|\n<!-- end -->\nb\n")
