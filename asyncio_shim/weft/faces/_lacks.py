# SPDX-License-Identifier: BSD-3-Clause
"""What the originals have and a face has not: errors that say so, and why. docs/FACES.md is the table.

They stay what a program expects of a name that is not there: AttributeError, so that hasattr() says no, and ModuleNotFoundError.
"""
from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import NoReturn

_BENCH = "`python -m weft.perf` measures weft"
_TESTS = "it serves the original's own tests"
_NO_FUTURES = "weft.ucxx has no futures' thread: a request is asked or awaited"

# By the original's names.
WHY = {
    "ucxx.benchmarks": _BENCH,
    "ucxx.examples": "they stand on UCXX's C++ interface",
    "ucxx._version": "ucxx.__version__ says whose interface this is",
    "ucxx._lib.libucxx.PythonRequestNotifierWaitState": _NO_FUTURES,
    "ucxx._lib_async.exchange_peer_info": "weft's endpoints agree on tags in their own way",
    "ucxx._lib_async.notifier_thread": _NO_FUTURES,
    "ucxx._lib_async.pytest_stash_keys": _TESTS,
    "ucxx._lib_async.utils_test": _TESTS,
    "ucp.benchmarks": _BENCH,
    "ucp._version": "ucp.__version__ says whose interface this is",
    "ucp._libs.utils_test": _TESTS,
}


def _words(name: str, why: str) -> str:
    """@name: the original's, in full."""
    face, _, rest = name.partition(".")
    return f"weft's face of {face} has not {rest}: {why}; see docs/FACES.md"


def _original(module: str) -> str:
    return module.removeprefix("weft.")


def said_by(module: str) -> None:
    """From here on @module, one of a face, says of a name that it has not more than that."""
    def missing(name: str) -> NoReturn:
        original = f"{_original(module)}.{name}"
        text = f"module {module!r} has no attribute {name!r}"
        if name.startswith("__"):        # Python asks modules for such
            raise AttributeError(text, name=name, obj=sys.modules[module])
        if why := WHY.get(original):
            text = _words(original, why)
        else:
            text += f"; what of {original.partition('.')[0]} weft's face has not stands in docs/FACES.md"
        raise AttributeError(text, name=name, obj=sys.modules[module])

    # not a function of the module: for who checks types every name would be there
    vars(sys.modules[module])["__getattr__"] = missing


class Method:
    """In a class: a method of the original's that is not here."""

    def __init__(self, why: str = _NO_FUTURES) -> None:
        self._why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._of = name, f"{_original(owner.__module__)}.{owner.__name__}"

    def __get__(self, obj: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(_words(f"{self._of}.{self._name}", self._why), name=self._name, obj=obj)


class _Finder:
    """The last that is asked for a module: of those in WHY it says why there are none. The error has the original's name in full and
    not weft's, for what has the name that `from weft.ucxx import NAME` tries is passed over."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        face, _, rest = _original(name).partition(".")
        original = f"{face}.{rest}"
        if original not in WHY or sys.modules.get(name.removesuffix(f".{rest}")) is not sys.modules.get(f"weft.{face}"):
            return None                  # not ours: a real ucxx beside weft.ucxx
        raise ModuleNotFoundError(_words(original, WHY[original]), name=original)


sys.meta_path.append(_Finder)            # type: ignore[arg-type]
