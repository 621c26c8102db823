# SPDX-License-Identifier: BSD-3-Clause
"""The functions of `ucp`, on one context that is made when it is first needed: `_ctx`.

An endpoint of `ucp` tells its peer when it closes, and how many messages it has sent: the peer ends when it has received them. That
goes by a message with a tag of its own, as in ucx-py."""
from __future__ import annotations

import asyncio
import logging
import os
import struct
import weakref
from collections.abc import Callable
from typing import Any

import weft
from weft.faces import _core, _lacks, _settings
from weft.faces._core import drop_context
from weft.faces._link import Face, UCXAddress, Worker, number

from . import exceptions as _e
from .exceptions import UCXError

logger = logging.getLogger("ucx")

VERSION = (1, 19, 0)                     # of the UCX whose interface this follows
FACE = Face("ucp", UCXError, _e.UCXCloseError, _e.UCXCanceled, _e.UCXConnectionReset, _e.UCXMsgTruncated, _e.UCXUnreachable,
            UCXError, UCXError, _e.UCXConfigError)

_CTRL = struct.Struct("<QQ")             # what, and the number of messages to receive before
_SHUTDOWN = 1


class Listener(_core.Listener):
    """Takes connections until it is closed or dropped."""

    def closed(self) -> bool:
        return self._ctx is None


class Endpoint(_core.Endpoint):
    """One side of a connection, made by create_endpoint() or given to a listener's callback."""

    _done = True

    def __init__(self, endpoint: Any, ctx: ApplicationContext, tags: dict[str, int] | None = None) -> None:
        super().__init__(endpoint, ctx, tags)
        self._ctrl = bytearray(_CTRL.size)
        if tags is not None:
            op = endpoint.ep.recv(self._ctrl, tags["ctrl_recv"])
            ref = weakref.ref(self)
            op.add_done_callback(lambda op: _on_ctrl(ref, op))

    def closed(self) -> bool:
        return not self.alive

    async def close(self) -> None:
        """Tells the peer and ends. What was sent arrives before."""
        if self.closed():
            self.abort()
            return
        if self._shutting_down_peer:
            return
        self._shutting_down_peer = True
        link = self._ep
        if self._tags is not None:
            what = f"[Send shutdown] ep: {self.uid:#x}, tag: {self._tags['ctrl_send']:#x}, close_after_n_recv: {self._send_count}"
            try:
                await link.ep.send(_CTRL.pack(_SHUTDOWN, self._send_count), self._tags["ctrl_send"])
            except weft.Error as exc:
                error = UCXError(f"<{what}>: {exc}")
                logger.warning(f"UCX failed closing worker {link.handle:#x} (probably already closed): {error!r}")
            for _ in range(2):               # sends that wait here, and a peer in this process, have their turn
                await asyncio.sleep(0)
        await self._close(10.0)

    async def flush(self) -> Any:
        """Done when all that was sent is at the peer."""
        try:
            await self._link().ep.flush()
        except weft.Error as exc:
            raise _core.said(self._face, exc, "flush") from exc
        return True

    def _as_host(self, data: bytearray) -> Any:
        allocator = self._ctx.worker.am_host_allocator if self._ctx is not None else bytearray
        if allocator is bytearray:
            return data
        room = allocator(len(data))
        if data:
            memoryview(room).cast("B")[:] = data
        return room

    def cuda_support(self) -> bool:
        """weft carries no GPU memory in this version."""
        return False

    def get_ucp_worker(self) -> int:
        self._link()
        return self._ctx.worker.handle

    def get_ucp_endpoint(self) -> int:
        return self._link().handle

    def ucx_info(self) -> str:
        """What weft says about the connection."""
        return self._link().ep.explain()


def _on_ctrl(ref: weakref.ref[Endpoint], op: weft.Op[int]) -> None:
    if op.cancelled() or op.exception() is not None:
        return                           # the connection ended without it
    ep = ref()
    if ep is None or ep._ep is None:
        return
    what, n = _CTRL.unpack(ep._ctrl)
    if what != _SHUTDOWN:
        logger.error(f"unknown control message {what} from {ep._ep.ep.peer}")
        return
    try:
        ep.close_after_n_recv(n, count_from_ep_creation=True)
    except UCXError as exc:
        logger.debug(f"the peer closed, but {exc}")


class UCXWorker(Worker):
    """The worker of a context: it answers probes with True or False, and knows where active messages go."""

    def __init__(self, face: Face, transports: list[str] | None) -> None:
        super().__init__(face, transports)
        self.am_host_allocator: Callable[[int], Any] = bytearray

    def tag_probe(self, tag: Any) -> bool:                      # type: ignore[override]
        return super().tag_probe(tag).matched


class ApplicationContext(_core.Context):
    """Options and worker."""

    face, endpoint_type, listener_type, worker_type = FACE, Endpoint, Listener, UCXWorker

    def __init__(self, config_dict: dict[str, str] | None = None, blocking_progress_mode: bool | None = None,
                 connect_timeout: float | None = None) -> None:
        if blocking_progress_mode is None:
            blocking_progress_mode = "UCXPY_NON_BLOCKING_MODE" not in os.environ
        self.blocking_progress_mode = blocking_progress_mode    # told to who asks: weft makes progress in its own way
        super().__init__(config_dict or {}, connect_timeout)

    def get_config(self) -> dict[str, str]:
        return self.config

    def get_ucp_worker(self) -> int:
        return self.worker.handle

    def get_worker_address(self) -> UCXAddress:
        return self.worker.address

    def create_listener(self, callback_func: Callable[[Endpoint], Any], port: int | None = None,
                        endpoint_error_handling: bool = True) -> Listener:
        """Listens on the event loop that runs, on all IPv4 addresses. callback_func(endpoint), a function or a coroutine function,
        is called for each peer. The Listener must be kept: dropping it ends the listening."""
        return super().create_listener(callback_func, port, endpoint_error_handling, self.connect_timeout)

    async def create_endpoint(self, ip_address: str, port: int, endpoint_error_handling: bool = True) -> Endpoint:
        """Connects to a listener. asyncio.TimeoutError after the context's connect_timeout."""
        return await super().create_endpoint(ip_address, port, endpoint_error_handling, self.connect_timeout)

    async def create_endpoint_from_worker_address(self, address: Any, endpoint_error_handling: bool = True) -> Endpoint:
        """Connects to a worker; only tags with force_tag=True can be used there."""
        return await super().create_endpoint_from_worker_address(address, endpoint_error_handling)

    async def flush(self) -> Any:
        """Done when what this event loop's endpoints have sent is at their peers."""
        await asyncio.sleep(0)           # a done send is on its way; who must know more flushes the endpoint
        return True

    def fence(self) -> None:
        """Nothing to do: an endpoint's messages are in order, and no other operation of weft's is to be had here."""


# ---- the functions ---------------------------------------------------------------------------------------------------

_ctx: ApplicationContext | None = None


def _get_ctx() -> ApplicationContext:
    global _ctx
    if _ctx is None:
        _ctx = ApplicationContext()
    return _ctx


def init(options: dict[str, str] = {}, env_takes_precedence: bool = False,                # noqa: B006
         blocking_progress_mode: bool | None = None, connect_timeout: float | None = None) -> None:
    """Makes the context, before anything else does. options: UCX's, without "UCX_"; the dict is not changed. RuntimeError when
    there is one already."""
    global _ctx
    if _ctx is not None:
        raise RuntimeError("UCX is already initiated. Call reset() and init() in order to re-initate UCX with new options.")
    _ctx = ApplicationContext(_settings.chosen(options, env_takes_precedence), blocking_progress_mode, connect_timeout)


def reset() -> None:
    """Drops the context; the next call makes another. UCXError when endpoints or listeners of it are still there."""
    global _ctx
    if _ctx is not None:
        ref = weakref.ref(_ctx)
        _ctx = None
        drop_context(ref, UCXError)


def get_ucx_version() -> tuple[int, int, int]:
    """Of the UCX whose interface this follows."""
    return VERSION


def progress() -> bool:
    """Takes in what arrived; True when that was something."""
    return _get_ctx().worker.progress()


def get_config() -> dict[str, str]:
    """The options as they are, or would be if the context were made now."""
    return _settings.current() if _ctx is None else _ctx.get_config()


def register_am_allocator(allocator: Callable[[int], Any], allocator_type: Any) -> None:
    """allocator(nbytes) gives the memory for each active message. For the host alone: ("host", or AllocatorType.HOST)."""
    name = str(getattr(allocator_type, "name", allocator_type)).lower()
    if name == "cuda":
        raise NotImplementedError("weft.ucp does not carry GPU memory in this version: active messages go to the host")
    if name != "host":
        raise UCXError(f"Allocator type not supported: {allocator_type!r}")
    _get_ctx().worker.am_host_allocator = allocator


def create_listener(callback_func: Callable[[Endpoint], Any], port: int | None = None,
                    endpoint_error_handling: bool = True) -> Listener:
    return _get_ctx().create_listener(callback_func, port, endpoint_error_handling)


async def create_endpoint(ip_address: str, port: int, endpoint_error_handling: bool = True) -> Endpoint:
    return await _get_ctx().create_endpoint(ip_address, port, endpoint_error_handling)


async def create_endpoint_from_worker_address(address: Any, endpoint_error_handling: bool = True) -> Endpoint:
    return await _get_ctx().create_endpoint_from_worker_address(address, endpoint_error_handling)


def get_ucp_context_info() -> str:
    """Text about the context, with UCX's lines for transports."""
    return _get_ctx().info


def get_ucp_worker_info() -> str:
    """What weft says about itself."""
    return _get_ctx().worker.info


def get_active_transports() -> set[str]:
    """UCX's names for the transports that may be used."""
    return _get_ctx().active_transports()


def continuous_ucx_progress(event_loop: Any = None) -> None:
    _get_ctx().continuous_ucx_progress(event_loop)


def get_ucp_worker() -> int:
    """A number that names the worker."""
    return _get_ctx().get_ucp_worker()


def get_worker_address() -> UCXAddress:
    """The worker's address, for create_endpoint_from_worker_address() of others. In a coroutine: it is the event loop's."""
    return _get_ctx().get_worker_address()


def get_ucx_address_from_buffer(buffer: Any) -> UCXAddress:
    return UCXAddress.create_from_buffer(buffer)


async def recv(buffer: Any, tag: Any) -> Any:
    """Receives on the worker, from whoever sends with that tag."""
    await _get_ctx().recv(buffer, number(tag))
    return True


async def flush() -> Any:
    """Done when what was sent is on its way; nothing to do where there is no context."""
    return await _ctx.flush() if _ctx is not None else await asyncio.sleep(0)


def fence() -> None:
    """Nothing to do where there is no context."""
    if _ctx is not None:
        _ctx.fence()


for _f in (create_listener, create_endpoint, create_endpoint_from_worker_address, continuous_ucx_progress):
    _f.__doc__ = getattr(ApplicationContext, _f.__name__).__doc__

_lacks.said_by(__name__)
