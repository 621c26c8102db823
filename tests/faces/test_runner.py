# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.faces, and PYTHONPATH for the same: programs that say `import ucp` and `import ucxx`."""
import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import LIMIT

RUN = [sys.executable, "-m", "weft.faces"]

PROGRAM = """
import asyncio, importlib, multiprocessing, sys
import ucp, ucxx
import ucp._libs.arr, ucxx.exceptions, ucxx._lib_async
from ucp._libs import ucx_api
from ucxx.types import Tag
import weft.ucp, weft.ucxx

def same(child=False):
    assert ucp is weft.ucp and ucxx is weft.ucxx and ucxx.core is weft.ucxx.core
    assert ucp.exceptions.UCXError is weft.ucp.exceptions.UCXError and importlib.import_module("ucp._libs.ucx_api") is ucx_api
    assert ucxx.__spec__.name == "weft.ucxx" and ucxx.core.__spec__.name == "weft.ucxx.core"

async def main(face):
    async def echo(ep):
        await ep.send_obj(await ep.recv_obj())
        await ep.close()
    listener = face.create_listener(echo)
    ep = await face.create_endpoint("127.0.0.1", listener.port)
    await ep.send_obj(b"hello")
    print(bytes(await ep.recv_obj()).decode(), *sys.argv[1:])
    await ep.close()

if __name__ == "__main__":
    same()
    asyncio.run(main(ucp))
    asyncio.run(main(ucxx))
    child = multiprocessing.get_context("spawn").Process(target=same, args=(True,))
    child.start()
    child.join()
    assert child.exitcode == 0
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "prog.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


def said(argv, **more):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=LIMIT, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program(program):
    assert said([*RUN, "ucp", "ucxx", "--", program, "an", "argument"]) == "hello an argument\n" * 2


def test_a_module(program):
    assert said([*RUN, "ucp", "ucxx", "--", "-m", "prog", "x"], cwd=program.parent) == "hello x\n" * 2


def test_by_the_path_alone(program):
    path = said([*RUN, "--path", "ucp", "ucxx"]).strip()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])}
    assert said([sys.executable, program], env=env) == "hello\nhello\n"
    assert said([sys.executable, "-m", "ucxx._cuda_context"], env=env) == ""


def test_only_what_is_asked_for(tmp_path):
    code = tmp_path / "one.py"
    code.write_text("import importlib.util as u, ucxx\nprint(u.find_spec('ucp'))\n")
    assert said([*RUN, "ucxx", "--", code]) == "None\n"


@pytest.mark.parametrize("how", ["prog.py", "folder", "-m"])
@pytest.mark.parametrize("options", [[], *([["-P"]] if sys.version_info >= (3, 11) else [])])
def test_it_imports_from_where_python_does(tmp_path, how, options):
    """Of a program from its folder, of a module from the current one, with -P from neither: behind that, what python looks at."""
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "folder").mkdir(parents=True)
    here.mkdir()
    for place in (here / "mod.py", there / "prog.py", there / "folder" / "__main__.py"):
        place.write_text("import sys\nprint(*sys.path, sep='\\n')\n")
    program = ["-m", "mod"] if how == "-m" else [there / how]
    paths = [os.environ.get("PYTHONPATH", ""), str(tmp_path)]       # the last: where -P finds a module, too
    (tmp_path / "mod.py").write_text((here / "mod.py").read_text())
    faces = said([*RUN, "--path", "ucxx"]).strip()
    want = said([sys.executable, *options, *program], env={**os.environ, "PYTHONPATH": os.pathsep.join([faces, *paths])}, cwd=here)
    run = [sys.executable, *options, "-m", "weft.faces", "ucxx", "--"]
    assert said([*run, *program], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, cwd=here) == want


@pytest.mark.parametrize("argv", [[], ["mpi", "--", "x.py"], ["ucxx"], ["ucxx", "--"], ["--", "x.py"]])
def test_wrong_usage(argv):
    done = subprocess.run([*RUN, *argv], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 2 and "python -m weft.faces" in done.stderr


def test_what_ucxx_prints_with(capsys):
    from weft.ucxx import utils

    assert [utils.format_bytes(n) for n in (5, 1536, 3 << 30)] == ["5 B", "1.50 kiB", "3.00 GiB"]
    assert [utils.format_time(n) for n in (2, 0.0015, 5e-9)] == ["2.000 s", "1.500 ms", "5.000 ns"]
    assert utils.hmean([1, 2, 4]) == 12 / 7 and utils.hmean([]) == 0
    utils.print_separator("=", 3)
    utils.print_key_value("a", 1, key_length=3)
    utils.print_multi(["a", "b"], key_length=2)
    assert capsys.readouterr().out == "===\na   | 1\na  | b\n"
    assert said([sys.executable, "-c", "import sys, weft.ucxx; print('dask' in sys.modules)"]) == "False\n"


def test_what_is_missing_says_so():
    with pytest.raises(NotImplementedError, match="GPU memory"):
        importlib.import_module("weft.ucxx._cuda_context").ensure_cuda_context()
    for module, mode in [("weft.ucp", "BlockingMode"), ("weft.ucp", "NonBlockingMode"), ("weft.ucxx._lib_async", "ThreadMode"),
                         ("weft.ucxx._lib_async", "PollingMode"), ("weft.ucxx._lib_async", "BlockingMode")]:
        with pytest.raises(NotImplementedError, match="event loop"):
            getattr(importlib.import_module(f"{module}.continuous_ucx_progress"), mode)(None, None)


def test_distributed_ucxx():
    """Dask's own backend for ucxx, as it is: installed, or unpacked by theirs.py, as in `make check-dask`."""
    wheels = Path(__file__).resolve().parents[2].glob("build/faces-theirs/wheels/distributed-ucxx-*/")
    code = """
import asyncio, sys
try:
    import distributed_ucxx
except ImportError as exc:
    print("skip", exc)
    sys.exit()
from distributed.comm import connect, listen

async def main():
    async def echo(comm):
        await comm.write(await comm.read())
    async with listen("ucx://127.0.0.1:0", echo) as listener:
        comm = await connect(listener.contact_address)
        await comm.write({"op": "x", "data": b"y" * 100000})
        print(len((await comm.read())["data"]))
        await comm.close()

asyncio.run(main())
"""
    path = [said([*RUN, "--path", "ucxx"]).strip(), *map(str, wheels), os.environ.get("PYTHONPATH", "")]
    out = said([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})
    if out.startswith("skip"):
        pytest.skip(out.strip().removeprefix("skip "))
    assert out == "100000\n"
