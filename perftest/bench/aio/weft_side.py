# SPDX-License-Identifier: BSD-3-Clause
"""weft: await ep.send(buffer), await ep.recv(buffer)."""
import asyncio

import weft
from pair import WINDOW, buffers


class Side:
    def __init__(self, peer, fds):
        pass

    async def start(self, me, talk, path):
        self.out, self.got = buffers(self.size, me)
        self.room = [bytearray(self.size) for _ in range(WINDOW)] if self.size < 65536 else []
        if me:
            accepted = asyncio.get_running_loop().create_future()
            self.listener = await weft.listen(accepted.set_result, "weft://127.0.0.1:0", transports=path)
            await talk.tell(self.listener.url)
            self.ep = await accepted
        else:
            self.listener = None
            self.ep = await weft.connect(await talk.hear(), transports=path)

    async def trips(self, n):
        ep, out, got = self.ep, self.out, self.got
        for _ in range(n):
            await ep.send(out)
            await ep.recv(got)

    async def echoes(self, n):
        ep, out, got = self.ep, self.out, self.got
        for _ in range(n):
            await ep.recv(got)
            await ep.send(out)

    async def windows(self, n):
        ep, out, room = self.ep, self.out, self.room
        for _ in range(n):
            await asyncio.gather(*[ep.recv(b) for b in room], *[ep.send(out) for _ in room])
        self.got = room[-1]

    async def close(self):
        await self.ep.close()
        if self.listener:
            self.listener.close()
