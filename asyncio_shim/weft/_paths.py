# SPDX-License-Identifier: BSD-3-Clause
"""Where the parts for compilers lie: in the installed package, or in the checkout it is run from."""
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _first(*candidates: Path) -> str:
    return str(next((c for c in candidates if c.exists()), candidates[0]))


def get_include() -> str:
    """The folder to give to a compiler (-I): weft/weft.h and, for Cython, weft/weft.pxd's header are found from it."""
    return _first(_HERE / "include", _HERE.parent.parent / "include")


def get_library_dir() -> str:
    """The folder with libweft.so.0, for -L and rpath."""
    return _first(_HERE / "lib", _HERE.parent.parent / "build")
