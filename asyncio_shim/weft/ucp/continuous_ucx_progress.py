# SPDX-License-Identifier: BSD-3-Clause
"""The tasks by which ucx-py makes progress. weft needs none; making one is refused."""
from typing import Any

from weft.faces import _lacks


class ProgressTask:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("weft.ucp has no progress tasks: weft hangs itself into the event loop and lets it sleep")


class BlockingMode(ProgressTask):
    pass


class NonBlockingMode(ProgressTask):
    pass

_lacks.said_by(__name__)
