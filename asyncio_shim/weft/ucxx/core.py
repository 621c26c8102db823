# SPDX-License-Identifier: BSD-3-Clause
"""The functions of `ucxx`, on one context that is made when it is first needed: `_ctx`."""
from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from weft.faces import _lacks, _settings
from weft.faces._core import drop_context

from ._lib import libucxx as _low
from ._lib_async import ApplicationContext, Endpoint, Listener

logger = logging.getLogger("ucx")

_ctx: ApplicationContext | None = None


def _get_ctx() -> ApplicationContext:
    global _ctx
    if _ctx is None:
        _ctx = ApplicationContext()
    return _ctx


def init(options: dict[str, str] = {}, env_takes_precedence: bool = False, progress_mode: str | None = None,  # noqa: B006
         enable_delayed_submission: bool | None = None, enable_python_future: bool | None = None,
         connect_timeout: float | None = None) -> None:
    """Makes the context, before anything else does. options: UCX's, without "UCX_"; the dict is not changed. RuntimeError when
    there is one already."""
    global _ctx
    if _ctx is not None:
        raise RuntimeError("UCX is already initiated. Call reset() and init() in order to re-initate UCX with new options.")
    _ctx = ApplicationContext(_settings.chosen(options, env_takes_precedence), progress_mode, enable_delayed_submission,
                              enable_python_future, connect_timeout)


def reset() -> None:
    """Drops the context; the next call makes another. UCXError when endpoints or listeners of it are still there."""
    global _ctx
    if _ctx is not None:
        ref = weakref.ref(_ctx)
        _ctx = None
        drop_context(ref, _low.UCXError)


def stop_notifier_thread() -> None:
    """Nothing to do: there is no thread."""


def get_ucx_version() -> tuple[int, int, int]:
    """Of the UCX whose interface this follows."""
    return _low.get_ucx_version()


def progress() -> None:
    """Takes in what arrived."""
    _get_ctx().worker.progress()


def get_config() -> dict[str, str]:
    """The options as they are, or would be if the context were made now."""
    return _settings.current() if _ctx is None else _ctx.config


def create_listener(callback_func: Callable[[Endpoint], Any], port: int | None = None, endpoint_error_handling: bool = True,
                    connect_timeout: float = 5.0) -> Listener:
    return _get_ctx().create_listener(callback_func, port, endpoint_error_handling, connect_timeout)


async def create_endpoint(ip_address: str, port: int, endpoint_error_handling: bool = True,
                          connect_timeout: float = 5.0) -> Endpoint:
    return await _get_ctx().create_endpoint(ip_address, port, endpoint_error_handling, connect_timeout)


async def create_endpoint_from_worker_address(address: Any, endpoint_error_handling: bool = True) -> Endpoint:
    return await _get_ctx().create_endpoint_from_worker_address(address, endpoint_error_handling)


def get_ucp_context_info() -> str:
    """Text about the context, with UCX's lines for transports."""
    return _get_ctx().ucp_context_info


def get_ucp_worker_info() -> str:
    """What weft says about itself."""
    return _get_ctx().ucp_worker_info


def get_active_transports() -> set[str]:
    """UCX's names for the transports that may be used."""
    return _get_ctx().active_transports()


def continuous_ucx_progress(event_loop: Any = None) -> None:
    _get_ctx().continuous_ucx_progress(event_loop)


def get_ucp_worker() -> int:
    """A number that names the worker."""
    return _get_ctx().ucp_worker


def get_ucxx_worker() -> int:
    """The same number."""
    return _get_ctx().ucxx_worker


def get_worker_address() -> Any:
    """The worker's address, for create_endpoint_from_worker_address() of others. In a coroutine: it is the event loop's."""
    return _get_ctx().worker_address


def get_ucx_address_from_buffer(buffer: Any) -> Any:
    return _low.UCXAddress.create_from_buffer(buffer)


async def recv(buffer: Any, tag: Any) -> None:
    """Receives on the worker, from whoever sends with that tag."""
    return await _get_ctx().recv(buffer, tag)


for _f in (create_listener, create_endpoint, create_endpoint_from_worker_address, continuous_ucx_progress):
    _f.__doc__ = getattr(ApplicationContext, _f.__name__).__doc__

__all__ = ["init", "reset", "stop_notifier_thread", "get_ucx_version", "progress", "get_config", "create_listener",
           "create_endpoint", "create_endpoint_from_worker_address", "get_ucp_context_info", "get_ucp_worker_info",
           "get_active_transports", "continuous_ucx_progress", "get_ucp_worker", "get_ucxx_worker", "get_worker_address",
           "get_ucx_address_from_buffer", "recv"]

_lacks.said_by(__name__)
