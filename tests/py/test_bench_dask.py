# SPDX-License-Identifier: BSD-3-Clause
"""`make bench-dask`: what it makes of figures, of a peer that does not install, of a program that fails, hangs or computes something
else. Nothing here needs Dask, a network, or looks at a time; the programs themselves are tried in tests/dask."""
import json
import os
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2] / "perftest/bench"
sys.path.insert(0, str(HERE))

import bench_dask  # noqa: E402
import cells_dask  # noqa: E402
import contenders  # noqa: E402
import noise  # noqa: E402
import report_dask  # noqa: E402
import results  # noqa: E402

META = {"machine": "m", "date": "d", "rounds": 2, "cpus": [0, 1], "versions": {}, "missing": {}, "warnings": []}


@pytest.fixture
def bench_(tmp_path):
    """A run whose environment is this interpreter; what it starts is nobody's CPU time."""
    b = contenders.Bench(tmp_path, [], (0, 0), 0.1, 0.1)
    b.env, b.results = bench_dask.Environment(sys.executable, {"ucxx": "it is not here"}, {}), {}
    return b


def taken_with(figures):
    """{cell's figure: {scheme: figures of the rounds}}"""
    out = []
    for cell in cells_dask.all_cells():
        t = results.Taken(cell)
        t.runs = {n: figures.get(cell.figure, {}).get(n, [None, None]) for n in cells_dask.SCHEMES}
        t.why = {n: "it is not here" for n, v in t.runs.items() if v == [None, None]}
        t.rounds = [noise.Round(0.0, 0.0, 0.0)] * 2
        out.append(t)
    return out


def test_bars_and_losing_cells_are_in_the_table(tmp_path):
    ours = {"lat 8": {"weft": [40, 41], "weft-uvloop": [50, 50], "tcp": [100, 100], "ucxx": [60, 60], "mpi": [90, 90]},
            "lat 1048576": {"weft": [100, 100], "tcp": [300, 300], "ucxx": [500, 500]}}
    rows = results.all_rows(taken_with(ours), False)
    report_dask.write(rows, META, tmp_path)
    said = {(r["path"], r["size"]): [b["verdict"] for b in r["bars"]] for r in rows}
    assert said["comm", 8] == ["met", "missed"]                   # 0.4 of tcp, 0.67 of ucxx
    assert said["comm, uvloop", 8] == ["missed", "missed"]
    assert said["comm", 1 << 20] == ["missed"]                    # three times the bandwidth of tcp, not four
    assert said["both", 0] == ["no figure"]
    text = (tmp_path / "dask-table.md").read_text()
    lines = text.splitlines()
    assert len(lines) == 2 + len(rows) and all(s.count("|") == lines[0].count("|") for s in lines)
    assert "**missed**" in text and "(≤ 0.42; 0.40 to 0.41) met" in text
    assert "ucxx has no figure" in (tmp_path / "dask-table.txt").read_text()
    assert json.loads((tmp_path / "dask.json").read_text())["rows"]


def test_an_environment_that_cannot_be_had_is_a_reason(tmp_path, monkeypatch, bench_):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    bench_.env = bench_dask.environment(tmp_path, lambda text: None)
    assert set(bench_.env.missing) == set(cells_dask.SCHEMES) and "pip install" in bench_.env.missing["tcp"]
    rows = results.all_rows(bench_dask.run_all(bench_, cells_dask.all_cells(), 1, 9, lambda text: None), True)
    report_dask.write(rows, META, tmp_path)
    assert "tcp has no figure" in (tmp_path / "dask-table.txt").read_text()


PROGRAM = """import json, os, sys, time
with open(sys.argv[2] + "/figures", "a") as f:
    f.write(json.dumps({"figure": "lat 8", "value": 7.5}) + "\\n")
"""


@pytest.mark.parametrize("more, why", [("print('all is lost'); sys.exit(3)", "ended with 3: all is lost"),
                                       ("time.sleep(60)", "was not done after 1 s"),
                                       ("open(sys.argv[2] + '/figures', 'a').write('{\"done\": true}\\n'); time.sleep(60)", None)])
def test_programs_that_fail_hang_or_end_keep_their_figures(tmp_path, bench_, monkeypatch, more, why):
    monkeypatch.setattr(bench_dask, "LIMIT_S", 1)
    (tmp_path / "p.py").write_text(PROGRAM + more)
    start = time.monotonic()
    lines, said = bench_dask.run_program(bench_, "tcp", tmp_path / "p.py", 1)
    assert lines[0] == {"figure": "lat 8", "value": 7.5} and time.monotonic() - start < 30
    assert said is None if why is None else why in said
    assert bench_dask.run_program(bench_, "ucxx", tmp_path / "p.py", 1) == ([], "it is not here")


def test_another_result_is_no_figure(bench_):
    taken = results.Taken(next(c for c in cells_dask.all_cells() if c.figure == "wall transpose"))
    for scheme, result in (("tcp", 5.0), ("weft", 5.0 + 1e-12), ("ucxx", 6.0)):
        bench_dask.take(bench_, taken, scheme, [{"figure": "wall transpose", "value": 1.0, "result": result}], None)
    assert taken.runs == {"tcp": [1.0], "weft": [1.0], "ucxx": [None]} and "another result" in taken.why["ucxx"]


def test_rounds_that_would_not_end_in_time_are_left_out(bench_, monkeypatch):
    monkeypatch.setattr(bench_dask, "pingpong", lambda *a: (time.sleep(0.1), ([], None))[1])
    monkeypatch.setattr(noise, "jitter", lambda cpus: 0.0)
    lines = []
    cells = [c for c in cells_dask.all_cells() if c.figure == "lat 8"]
    taken = bench_dask.run_all(bench_, cells, 50, 0.02, lines.append)
    assert 1 <= len(taken[0].rounds) < 10 and any("left out" in s for s in lines)


def test_nothing_of_the_users_reaches_the_programs(bench_, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__COMPRESSION", "lz4")
    monkeypatch.setenv("WEFT_AVOID", "shm")
    env = bench_dask.settings(bench_, "weft")
    assert "DASK_DISTRIBUTED__COMM__COMPRESSION" not in env and "WEFT_AVOID" not in env
    assert env["PYTHONPATH"] == os.path.join(bench_.build.resolve(), "py")
