# SPDX-License-Identifier: BSD-3-Clause
"""The tasks by which ucxx makes progress. weft needs none; making one is refused."""
from typing import Any

from weft.faces import _lacks


class ProgressTask:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("weft.ucxx has no progress tasks: weft hangs itself into the event loop and lets it sleep")


class ThreadMode(ProgressTask):
    pass


class PollingMode(ProgressTask):
    pass


class BlockingMode(ProgressTask):
    pass

_lacks.said_by(__name__)
