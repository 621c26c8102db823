# SPDX-License-Identifier: BSD-3-Clause
"""The context of `ucxx`."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from weft.faces import _core, _lacks

from .._lib.libucxx import FACE, LoopWorker, UCXAddress
from .endpoint import Endpoint
from .listener import Listener

logger = logging.getLogger("ucx")

_MODES = ("blocking", "polling", "thread", "thread-polling")


class ApplicationContext(_core.Context):
    """Options and worker. Modes of progress are checked and told to who asks; weft makes progress in its own way in all of them."""

    face, endpoint_type, listener_type, worker_type = FACE, Endpoint, Listener, LoopWorker

    def __init__(self, config_dict: dict[str, str] | None = None, progress_mode: str | None = None,
                 enable_delayed_submission: bool | None = None, enable_python_future: bool | None = None,
                 connect_timeout: float | None = None) -> None:
        self.progress_mode = progress_mode or os.environ.get("UCXPY_PROGRESS_MODE", "thread")
        if self.progress_mode not in _MODES:
            raise ValueError(f"Unknown progress mode '{self.progress_mode}', valid modes are: 'blocking', 'polling', 'thread' or "
                             "'thread-polling'")
        threads = self.progress_mode.startswith("thread")
        delayed, future = enable_delayed_submission, enable_python_future
        if delayed is None:
            delayed = os.environ.get("UCXPY_ENABLE_DELAYED_SUBMISSION", "1" if threads else "0") != "0"
        if future is None:
            future = os.environ.get("UCXPY_ENABLE_PYTHON_FUTURE", "0") != "0"
        if delayed and not threads:
            raise ValueError(f"Delayed submission requested, but '{self.progress_mode}' does not support it, 'thread' or "
                             "'thread-polling' progress mode required.")
        if future and not threads:
            logger.warning(f"Notifier thread requested, but '{self.progress_mode}' does not support it, using Python wait_yield().")
            future = False
        self.enable_delayed_submission, self.enable_python_future = bool(delayed), bool(future)
        super().__init__(config_dict or {}, connect_timeout)
        self.worker.enable_delayed_submission = self.enable_delayed_submission
        self.worker.enable_python_future = self.enable_python_future

    @property
    def ucp_context_info(self) -> str:
        return self.info

    @property
    def ucp_worker(self) -> int:
        return self.worker.handle

    ucxx_worker = ucp_worker

    @property
    def ucp_worker_info(self) -> str:
        return self.worker.info

    @property
    def worker_address(self) -> UCXAddress:
        return self.worker.address

    def start_notifier_thread(self) -> None:
        """Nothing to do: there is no thread."""

    def stop_notifier_thread(self) -> None:
        """Nothing to do: there is no thread."""

    def clear_progress_tasks(self) -> None:
        """Nothing to do: there are none."""

    def create_listener(self, callback_func: Callable[[Endpoint], Any], port: int | None = 0, endpoint_error_handling: bool = True,
                        connect_timeout: float = 5.0) -> Listener:
        """Listens on the event loop that runs, on all IPv4 addresses. callback_func(endpoint), a function or a coroutine function,
        is called for each peer. The Listener must be kept: dropping it ends the listening."""
        return super().create_listener(callback_func, port, endpoint_error_handling, connect_timeout)

    async def create_endpoint(self, ip_address: str, port: int, endpoint_error_handling: bool = True,
                              connect_timeout: float = 5.0) -> Endpoint:
        """Connects to a listener. asyncio.TimeoutError after connect_timeout seconds."""
        return await super().create_endpoint(ip_address, port, endpoint_error_handling, connect_timeout)

    async def create_endpoint_from_worker_address(self, address: UCXAddress, endpoint_error_handling: bool = True) -> Endpoint:
        """Connects to a worker; only tags with force_tag=True can be used there."""
        return await super().create_endpoint_from_worker_address(address, endpoint_error_handling)

_lacks.said_by(__name__)
