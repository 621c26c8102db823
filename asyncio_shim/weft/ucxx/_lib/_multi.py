# SPDX-License-Identifier: BSD-3-Clause
"""Several buffers as one message: a head with their number and the sizes of the first of them, the other sizes where there are more,
and one message with all their bytes. All of it with one tag, posted at once."""
from __future__ import annotations

import asyncio
import struct
from typing import Any

from weft.faces._array import new_host
from weft.faces._link import Link

from ..exceptions import UCXMsgTruncated

_IN_HEAD = 31
_HEAD = struct.Struct(f"<{1 + _IN_HEAD}Q")
_MOST = 1 << 24                          # buffers of a message: no peer makes us allocate more


def post(link: Link, views: list[memoryview], at: int) -> list[Any]:
    """Sends; the operations that all have to end."""
    sizes = [v.nbytes for v in views]
    first = sizes[:_IN_HEAD]
    ops = [link.ep.send(_HEAD.pack(len(sizes), *first, *[0] * (_IN_HEAD - len(first))), at)]
    if len(sizes) > _IN_HEAD:
        ops.append(link.ep.send(struct.pack(f"<{len(sizes) - _IN_HEAD}Q", *sizes[_IN_HEAD:]), at))
    return [*ops, link.ep.send(views, at)]


def _same_length(got: int, expected: int) -> None:
    if got != expected:
        raise UCXMsgTruncated(f"recv_multi(): length mismatch: {got} (got) != {expected} (expected): the peer sent by something else than "
                              "send_multi(), or another receive took a part of it")


class _Incoming:
    """One such message. A receive() that was cancelled may be called again: it goes on with what had not come, and weft loses none of
    what comes while it is cancelled. It holds no link, for the link holds it."""

    def __init__(self, at: int, anybody: bool) -> None:
        self._from = at, anybody
        self._count = 0
        self._sizes: list[int] = []
        self.begun = False

    async def _head(self, link: Link) -> None:
        head = bytearray(_HEAD.size)
        got = await link.receive(memoryview(head), *self._from)
        self._count, *sizes = _HEAD.unpack(head)
        if got != _HEAD.size or self._count > _MOST:
            raise UCXMsgTruncated("recv_multi() met a message that send_multi() did not send")
        self._sizes = sizes[:self._count]
        self.begun = True

    async def receive(self, link: Link) -> list[Any]:
        if not self.begun:
            await self._head(link)
        left = self._count - len(self._sizes)
        if left:
            more = bytearray(8 * left)
            _same_length(await link.receive(memoryview(more), *self._from), len(more))
            self._sizes += struct.unpack(f"<{left}Q", more)
        out = [new_host(size) for size in self._sizes]
        _same_length(await link.receive(out, *self._from), sum(self._sizes))
        return out


async def receive(link: Link, at: int, anybody: bool) -> list[Any]:
    """The buffers of the next such message, in memory of their own. What a cancelled call has begun is the next one's with that tag."""
    incoming = link.begun.pop(at, None) or _Incoming(at, anybody)
    try:
        return await incoming.receive(link)
    except asyncio.CancelledError:
        if incoming.begun:
            link.begun[at] = incoming
        raise
