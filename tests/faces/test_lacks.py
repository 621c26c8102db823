# SPDX-License-Identifier: BSD-3-Clause
"""What an original has and its face has not is told, by errors that are still what a program expects of a name that is not there."""
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weft.faces
import weft.ucp
import weft.ucxx
from conftest import LIMIT
from weft.faces import _lacks
from weft.ucxx._lib import libucxx

TABLE = (Path(__file__).parents[2] / "docs/FACES.md").read_text()
MODULES = ["ucp", "ucp.core", "ucp.comm", "ucp.exceptions", "ucp.utils", "ucp.continuous_ucx_progress", "ucp._libs", "ucp._libs.arr",
           "ucp._libs.ucx_api", "ucp._libs.utils", "ucxx", "ucxx.core", "ucxx.exceptions", "ucxx.testing", "ucxx.types", "ucxx.utils",
           "ucxx._cuda_context", "ucxx._lib", "ucxx._lib.arr", "ucxx._lib.libucxx", "ucxx._lib_async", "ucxx._lib_async.endpoint",
           "ucxx._lib_async.application_context", "ucxx._lib_async.continuous_ucx_progress", "ucxx._lib_async.listener",
           "ucxx._lib_async.utils"]


@pytest.mark.parametrize("name", MODULES)
def test_each_module_says_where_what_is_not_there_stands(name):
    module = importlib.import_module(f"weft.{name}")
    with pytest.raises(AttributeError, match=rf"module 'weft\.{name}' has no attribute 'nosuch'.*docs/FACES\.md") as info:
        module.nosuch
    assert info.value.name == "nosuch" and info.value.obj is module
    assert not hasattr(module, "nosuch") and getattr(module, "nosuch", 5) == 5
    with pytest.raises(AttributeError) as info:
        module.__nosuch__
    assert "FACES" not in str(info.value)


@pytest.mark.parametrize("name", _lacks.WHY)
def test_a_name_of_the_original_is_refused_with_the_reason(name):
    face, _, rest = name.partition(".")
    said = re.escape(f"weft's face of {face} has not {rest}: {_lacks.WHY[name]}; see docs/FACES.md")
    at, _, last = name.rpartition(".")
    module = importlib.import_module(f"weft.{at}")
    with pytest.raises(AttributeError, match=said):
        getattr(module, last)
    assert not hasattr(module, last)
    if hasattr(module, "__path__"):
        with pytest.raises(ModuleNotFoundError, match=said):
            importlib.import_module(f"weft.{name}")
    else:
        said = "cannot import name"          # Python's own word, where it is no package
    with pytest.raises(ImportError, match=said):
        exec(f"from weft.{at} import {last}")
    assert f"`{last}`" in TABLE or f"{last}`" in TABLE, "docs/FACES.md has no row for it"


def test_what_is_nowhere_is_not_found_as_ever():
    for name in "weft.ucxx.nosuch", "weft.ucp._libs.nosuch":
        assert importlib.util.find_spec(name) is None
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            importlib.import_module(name)


@pytest.mark.parametrize("name", ["run_request_notifier", "stop_request_notifier_thread", "wait_request_notifier",
                                  "clear_python_futures_pool", "populate_python_futures_pool"])
def test_methods(name):
    worker = libucxx.UCXWorker(libucxx.UCXContext())
    try:
        for at in worker, libucxx.UCXWorker:
            with pytest.raises(AttributeError, match=rf"_lib\.libucxx\.UCXWorker\.{name}: .*docs/FACES\.md"):
                getattr(at, name)
            assert not hasattr(at, name)
    finally:
        worker.close()
    assert f"`{name}()`" in TABLE


PROGRAM = """
import ucxx
try:
    import ucxx.benchmarks.utils
except ImportError as exc:
    print(exc)
try:
    from ucxx import examples
except ImportError as exc:
    print(exc)
"""


def test_under_the_original_name(tmp_path):
    path = Path(weft.faces.__file__).parent / "path_ucxx"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.splitlines()
    assert one.startswith("weft's face of ucxx has not benchmarks: ") and two.startswith("weft's face of ucxx has not examples: ")


def test_another_ucxx_beside_the_face_is_left_alone(tmp_path):
    (tmp_path / "ucxx").mkdir()
    (tmp_path / "ucxx/__init__.py").write_text("")
    code = "import weft.ucxx, ucxx\ntry:\n    import ucxx.benchmarks\nexcept ImportError as exc:\n    print(exc)\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.returncode) == ("No module named 'ucxx.benchmarks'\n", 0), done.stderr
