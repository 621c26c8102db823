# SPDX-License-Identifier: BSD-3-Clause
"""Transfers as futures, on `ep._ep` of an endpoint and `core._ctx.worker`."""
from __future__ import annotations

import asyncio
from typing import Any

import weft
from weft import _weft
from weft.faces import _lacks
from weft.faces._array import memory
from weft.faces._link import FULL, Link, said

from .core import FACE


async def _run(op: Any, name: str) -> Any:
    try:
        return await op
    except weft.Error as exc:
        raise said(FACE, exc, name) from exc


def _bytes(buffer: Any, nbytes: int, writable: bool = False) -> Any:
    view = memory(buffer, writable)
    return view if nbytes == view.nbytes else view.cast("B")[:nbytes]


async def _none(coro: Any) -> bool:
    await coro
    return True


def _start(coro: Any, event_loop: asyncio.AbstractEventLoop | None) -> asyncio.Future[Any]:
    return (event_loop or asyncio.get_running_loop()).create_task(coro)


def tag_send(ep: Link, buffer: Any, nbytes: int, tag: int, name: str = "tag_send", event_loop: Any = None) -> asyncio.Future[Any]:
    return _start(_none(_run(ep.ep.send(_bytes(buffer, nbytes), tag), name)), event_loop)


def tag_recv(obj: Any, buffer: Any, nbytes: int, tag: int, name: str = "tag_recv", event_loop: Any = None) -> asyncio.Future[Any]:
    """obj: an endpoint's link, or the worker."""
    room = _bytes(buffer, nbytes, writable=True)
    coro = obj.receive(room, tag, True) if isinstance(obj, Link) else _weft._recv(asyncio.get_running_loop(), room, tag, FULL)
    return _start(_none(_run(coro, name)), event_loop)


def am_send(ep: Link, buffer: Any, nbytes: int, name: str = "am_send", event_loop: Any = None) -> asyncio.Future[Any]:
    return _start(_none(_run(ep.ep.am_send(b"", _bytes(buffer, nbytes)), name)), event_loop)


def am_recv(ep: Link, name: str = "am_recv", event_loop: Any = None) -> asyncio.Future[Any]:
    async def payload() -> bytearray:
        return (await _run(ep.ep.am_recv(), name))[1]

    return _start(payload(), event_loop)


def stream_send(ep: Link, buffer: Any, nbytes: int, name: str = "stream_send", event_loop: Any = None) -> asyncio.Future[Any]:
    return _start(_none(_run(ep.ep.write(_bytes(buffer, nbytes)), name)), event_loop)


def stream_recv(ep: Link, buffer: Any, nbytes: int, name: str = "stream_recv", event_loop: Any = None) -> asyncio.Future[Any]:
    return _start(_none(_run(ep.ep.readinto(_bytes(buffer, nbytes, writable=True)), name)), event_loop)


def flush_ep(ep: Any, event_loop: Any = None) -> asyncio.Future[Any]:
    """ep: an endpoint's link, or an endpoint."""
    link = ep if isinstance(ep, Link) else ep._link()
    return _start(_none(_run(link.ep.flush(), "flush")), event_loop)

_lacks.said_by(__name__)
