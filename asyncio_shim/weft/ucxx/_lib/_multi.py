# SPDX-License-Identifier: BSD-3-Clause
"""Several buffers as one message: a head with their number and the sizes of the first of them, the other sizes where there are more,
and one message with all their bytes. All of it with one tag, posted at once."""
from __future__ import annotations

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


async def receive(link: Link, at: int, anybody: bool) -> list[Any]:
    """The buffers of the next such message, in memory of their own."""
    head = bytearray(_HEAD.size)
    got = await link.receive(memoryview(head), at, anybody)
    n, *sizes = _HEAD.unpack(head)
    if got != _HEAD.size or n > _MOST:
        raise UCXMsgTruncated("recv_multi() met a message that send_multi() did not send")
    if n > _IN_HEAD:
        more = bytearray(8 * (n - _IN_HEAD))
        await link.receive(memoryview(more), at, anybody)
        sizes += struct.unpack(f"<{n - _IN_HEAD}Q", more)
    out = [new_host(size) for size in sizes[:n]]
    await link.receive(out, at, anybody)
    return out
