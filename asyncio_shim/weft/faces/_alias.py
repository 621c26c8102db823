# SPDX-License-Identifier: BSD-3-Clause
"""One package under two names: `ucxx` and `weft.ucxx`, with all their modules the same objects."""
from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import CodeType, ModuleType


class _Twin(importlib.abc.Loader):
    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec     # the import system has put the twin's there

    def get_code(self, name: str) -> CodeType | None:
        """For `python -m ucxx.module`."""
        spec = importlib.util.find_spec(self._real)
        return spec.loader.get_code(self._real) if spec is not None else None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds "ucxx.core" as the module weft.ucxx.core."""

    def __init__(self, name: str, real: str) -> None:
        self._name, self._real = name, real

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(self._name + "."):
            return None
        real = self._real + name[len(self._name):]
        try:
            found = importlib.util.find_spec(real)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(name, _Twin(real), origin=found.origin,
                                              is_package=found.submodule_search_locations is not None)


def become(name: str, real: str) -> None:
    """The package @name, which is being imported, is @real from here on."""
    sys.meta_path.insert(0, _Finder(name, real))
    module = importlib.import_module(real)
    for other in [n for n in sys.modules if n.startswith(real + ".")]:
        sys.modules[name + other[len(real):]] = sys.modules[other]
    sys.modules[name] = module
