# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.faces ucp ucxx -- prog.py [arguments]: runs a program, and its children, with `import ucp` and `import ucxx`
giving weft.ucp and weft.ucxx. In the place of prog.py may stand -m MODULE. python -m weft.faces --path ucp ucxx prints what
PYTHONPATH has to begin with for the same."""
from __future__ import annotations

import os
import pkgutil
import runpy
import sys
from pathlib import Path

FACES = ("ucp", "ucxx")


def directories(faces: list[str]) -> list[str]:
    here = Path(__file__).resolve().parent
    return [str(here / f"path_{face}") for face in faces]


def _usage(why: str) -> int:
    print(f"{why}\n\n{__doc__}", file=sys.stderr)
    return 2


def _run(argv: list[str], first: list[str]) -> None:
    """@first: what python put in front of sys.path for us, the current folder. It is right for a module; a program has its own."""
    if argv[0] == "-m":
        sys.argv[:] = argv[1:]
        sys.path[:0] = first
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = argv
        if first and pkgutil.get_importer(argv[0]) is None:      # of a folder or an archive run_path() puts the path there itself
            sys.path.insert(0, str(Path(argv[0]).resolve().parent))
        runpy.run_path(argv[0], run_name="__main__")


def main() -> int:
    argv = sys.argv[1:]
    if argv in ([], ["-h"], ["--help"]):
        return _usage("which faces, and which program?") if not argv else print(__doc__) or 0
    only_path = argv[0] == "--path"
    faces = argv[only_path:argv.index("--")] if "--" in argv else argv[only_path:]
    wrong = [face for face in faces if face not in FACES]
    if wrong or not faces:
        return _usage(f"faces are {' and '.join(FACES)}, not {' '.join(wrong) or 'none'}")
    places = directories(faces)
    if only_path:
        print(os.pathsep.join(places))
        return 0
    program = argv[argv.index("--") + 1:] if "--" in argv else []
    if not program or program == ["-m"]:
        return _usage("no program after --")
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(places + ([old] if old else []))
    first = [] if getattr(sys.flags, "safe_path", False) or sys.flags.isolated else [sys.path.pop(0)]      # python -P puts nothing there
    sys.path[:0] = places
    _run(program, first)
    return 0


if __name__ == "__main__":
    sys.exit(main())
