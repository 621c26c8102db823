# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _core, _lacks


class Listener(_core.Listener):
    """Takes connections until it is closed or dropped."""

    @property
    def closed(self) -> bool:
        return self._ctx is None

_lacks.said_by(__name__)
