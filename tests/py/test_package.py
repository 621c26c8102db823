# SPDX-License-Identifier: BSD-3-Clause
"""The package: what it carries, its stubs, the wheel, compiling against it."""
import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import typing
import venv
from pathlib import Path

import pytest

import weft
from weft import _weft

ROOT = Path(__file__).resolve().parents[2]


def test_what_compilers_need_is_there():
    header = Path(weft.get_include()) / "weft/weft.h"
    assert "WEFT_VERSION_MAJOR" in header.read_text()
    assert Path(weft.__file__).with_name("weft.pxd").exists()
    assert weft.__version__.count(".") == 2


def stubs():
    tree = ast.parse((ROOT / "asyncio_shim/weft/_weft.pyi").read_text())
    return {node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


def test_stubs_and_extension_agree():
    names = {n for n in vars(_weft) if not n.startswith("__")} - {"EXACT", "ANY"}
    assert names == set(stubs())
    for name, node in stubs().items():
        if not isinstance(node, ast.ClassDef) or issubclass(getattr(_weft, name), BaseException):
            continue
        said = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} - {"__buffer__", "__class_getitem__"}
        real = {n for n, v in vars(getattr(_weft, name)).items() if callable(v) or inspect.isdatadescriptor(v)}
        ours = {n for n in real if not n.startswith("_") or n in said}
        assert said == ours, name


def test_error_stubs_have_the_same_bases():
    for name, node in stubs().items():
        cls = getattr(_weft, name)
        if isinstance(node, ast.ClassDef) and isinstance(cls, type) and issubclass(cls, weft.Error):
            assert [b.id for b in node.bases] == [b.__name__ for b in cls.__bases__], name


def test_the_python_part_is_annotated():
    """The package says py.typed: a type checker must see through connect() and listen(), too."""
    listener = [f for f in vars(weft.Listener).values() if inspect.isfunction(f)]
    for function in [weft.connect, weft.listen, weft.get_include, weft.get_library_dir, *listener]:
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, function
        for p in signature.parameters.values():
            assert p.name == "self" or p.annotation is not p.empty, (function, p.name)
    assert typing.get_type_hints(weft.connect)["return"] is weft.Endpoint
    assert typing.get_type_hints(weft.listen)["return"] is weft.Listener


def test_every_method_has_a_doc():
    for cls in (weft.Op, weft.Endpoint, weft.Memory, weft.Remote):
        assert cls.__doc__
        for name, value in vars(cls).items():
            if not name.startswith("_") and callable(value):
                assert value.__doc__, f"{cls.__name__}.{name}"


def test_the_pxd_knows_every_function_and_status():
    header = (ROOT / "include/weft/weft.h").read_text()
    pxd = (ROOT / "asyncio_shim/weft/weft.pxd").read_text()
    for name in set(re.findall(r"WEFT_API [^;(]*?\b(weft_\w+)\(", header)):
        assert re.search(rf"\b{name}\(", pxd), name
    for name in re.findall(r"X\((E\w+), -", header):
        assert f"WEFT_{name}\n" in pxd, name


PYX = """
# distutils: language = c
from weft cimport weft as w

def loopback(bytes data):
    cdef w.weft_ctx *ctx
    cdef w.weft_worker *worker
    cdef int ret = w.weft_open(NULL, &ctx)
    if ret:
        raise RuntimeError(w.weft_last_error().cause)
    ret = w.weft_worker_new(ctx, NULL, &worker)
    if ret:
        raise RuntimeError(w.weft_last_error().cause)
    w.weft_worker_free(worker)
    w.weft_close(ctx)
    return w.weft_version(), w.WEFT_ERESET
"""


def test_cython_code_compiles_against_it(tmp_path):
    pytest.importorskip("Cython", reason="Cython is not installed")
    library = next((p for p in (Path(weft.get_library_dir()), Path(os.environ.get("WEFT_TEST_BUILD", "")).resolve())
                    if (p / "libweft.so.0").exists()), None)
    assert library, "libweft.so.0 is not where it should be"
    (tmp_path / "user.pyx").write_text(PYX)
    packages = Path(weft.__file__).parent.parent
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", str(packages), "user.pyx"], cwd=tmp_path, check=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "user.c", "-o", "user.so", f"-I{weft.get_include()}",
                    f"-I{sysconfig.get_path('include')}", str(library / "libweft.so.0"), f"-Wl,-rpath,{library}"],
                   cwd=tmp_path, check=True)
    out = subprocess.run([sys.executable, "-c", "import user; print(user.loopback(b'x'))"], cwd=tmp_path, check=True,
                         capture_output=True, text=True)
    assert out.stdout.strip() == str((_version_number(), weft.ResetError.status))


def _version_number():
    major, minor, patch = map(int, weft.__version__.split("."))
    return major << 16 | minor << 8 | patch


SMOKE = """
import asyncio, os, weft
async def main():
    got = asyncio.get_running_loop().create_future()
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        async with await weft.connect(listener.url) as a:
            b = await got
            n, _ = await asyncio.gather(b.recv(bytearray(5)), a.send(b"wheel"))
            assert n == 5
asyncio.run(main())
assert "site-packages" in weft.__file__, weft.__file__
assert os.path.exists(weft.get_include() + "/weft/weft.h") and "site-packages" in weft.get_include()
assert os.path.exists(weft.get_library_dir() + "/libweft.so.0")
"""


def test_setup_takes_the_pythons_that_the_package_takes(tmp_path):
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("this python has no headers")
    least = int(re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[1])
    check = re.search(r"^python_is_whole\(\) \{.*?^\}", (ROOT / "tools/setup").read_text(), re.M | re.S)[0]
    for minor in (least - 1, least):
        fake = tmp_path / f"python3.{minor}"
        code = f"import sys, sysconfig; sys.version_info = (3, {minor}, 1); exec(sys.stdin.read())"
        fake.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
        fake.chmod(0o755)
        out = subprocess.run(["sh", "-c", check + '\npython_is_whole "$1"', "sh", fake], timeout=60)
        assert (out.returncode == 0) == (minor >= least), minor


def copy_of_the_sources(to):
    """What git has, or would have; from an archive all but what was built."""
    list_them = "git ls-files -z --cached --others --exclude-standard"
    listed = subprocess.run(list_them, shell=True, cwd=ROOT, capture_output=True)
    if listed.returncode:
        shutil.copytree(ROOT, to, ignore=lambda folder, names: {"build"} & set(names) if Path(folder) == ROOT else ())
    for name in os.fsdecode(listed.stdout).split("\0")[:-1]:
        if (ROOT / name).exists():           # it may have been deleted since the last commit
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def left_by_builds():
    """What setuptools writes where it builds."""
    places = [p for g in ("build/temp.*", "build/lib.*", "build/bdist.*", "asyncio_shim/*.egg-info") for p in ROOT.glob(g)]
    return {q: q.stat().st_mtime_ns for p in places for q in [p, *p.rglob("*")]}


def test_pip_makes_a_self_contained_wheel(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("pip is not installed")
    # a sanitizer that is put before us is not for the compiler, nor for the awk that make asks
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAKEFLAGS", "MFLAGS", "LD_PRELOAD")}
    before = left_by_builds()
    sources = copy_of_the_sources(tmp_path / "sources")   # two runs in one tree would share its build folder
    build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, sources]
    out = subprocess.run(build, env=env, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stdout[-2000:] + out.stderr[-2000:]
    assert left_by_builds() == before
    shutil.rmtree(sources)
    wheel = next(tmp_path.glob("weft-*.whl"))
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel],
                   env=env, check=True, timeout=120)
    subprocess.run([python, "-c", SMOKE], env=env, check=True, cwd=tmp_path, timeout=60)
    info = subprocess.run([tmp_path / "venv/bin/weft", "info"], env=env, capture_output=True, text=True, timeout=60)
    assert info.returncode == 0 and "tcp" in info.stdout
