# SPDX-License-Identifier: BSD-3-Clause
"""An endpoint of `ucxx`."""
from __future__ import annotations

import asyncio
import weakref
from typing import Any

import weft
from weft.faces import _core, _lacks
from weft.faces._array import memory
from weft.faces._link import Probed, said

from .._lib import _multi


class Endpoint(_core.Endpoint):
    """One side of a connection, made by create_endpoint() or given to a listener's callback."""

    def __init__(self, endpoint: Any, ctx: Any, tags: dict[str, int] | None = None) -> None:
        super().__init__(endpoint, ctx, tags)
        self._multi: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()   # by tag; held by who receives

    @property
    def closed(self) -> bool:
        return not self.alive

    @property
    def ucp_endpoint(self) -> int:
        return self._link().handle

    ucxx_endpoint = ucp_endpoint

    @property
    def ucp_worker(self) -> int:
        self._link()
        return self._ctx.worker.handle

    ucxx_worker = ucp_worker

    def abort(self, period: int = 10**10, max_attempts: int = 1) -> None:
        """Ends it at once: what waits here is cancelled. Nothing is waited for."""
        super().abort()

    async def close(self, period: int = 10**10, max_attempts: int = 1) -> None:
        """Ends it when what was sent has arrived, after period nanoseconds times max_attempts at the latest."""
        await self._close(max(period * max_attempts / 1e9, 1e-3))

    def tag_probe(self, tag: Any = None, force_tag: bool = False, remove: bool = False) -> Probed:
        """Whether a message with that tag waits; remove=True takes it out, for recv_with_handle()."""
        at = self._tag("msg_recv", tag, force_tag)
        self._link()
        return self._ctx.worker.tag_probe(at, remove=remove)

    async def recv_with_handle(self, buffer: Any, probe_result: Probed) -> None:
        """Receives the message that a probe with remove=True took out."""
        self._link()
        self._recv_count += 1
        await _core.take(self._face, buffer, probe_result)
        self._count_received()

    async def send_multi(self, buffers: list[Any] | tuple[Any, ...], tag: Any = None, force_tag: bool = False) -> None:
        """Sends several buffers as one message, to who calls recv_multi()."""
        link = self._link_to_send()
        if not isinstance(buffers, (list, tuple)):
            raise ValueError("The `buffers` argument must be a `list` or `tuple`")
        views, at = [memory(b) for b in buffers], self._tag("msg_send", tag, force_tag)
        ops = _multi.post(link, views, at)
        count, self._send_count = self._send_count, self._send_count + 1
        failed = None
        for op in ops:
            try:
                await op
            except weft.Error as exc:
                failed = failed or exc
        if failed is not None:
            raise link.failed_send(failed, self._what("Send Multi", count, at, tuple(v.nbytes for v in views), buffers)) from failed

    async def recv_multi(self, tag: Any = None, force_tag: bool = False) -> list[Any]:
        """The buffers that send_multi() sent, in memory of their own. Cancelled it loses none: what it has begun, the next recv_multi()
        with that tag ends; until then no other receive should use the tag."""
        at = self._tag("msg_recv", tag, force_tag)
        link = self._link_to_recv(at)
        count, self._recv_count = self._recv_count, self._recv_count + 1
        try:
            async with self._multi.setdefault(at, asyncio.Lock()):
                out = await _multi.receive(link, at, force_tag and tag is not None)
        except (weft.Error, self._face.canceled) as exc:
            raise said(self._face, exc, self._what("Recv Multi", count, at, "?", None)) from exc
        self._count_received()
        return out

_lacks.said_by(__name__)
