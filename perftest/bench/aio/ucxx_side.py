# SPDX-License-Identifier: BSD-3-Clause
"""ucxx's asyncio interface; PEER is ucxx-MODE, one of its progress modes."""
import asyncio

import ucxx
from pair import WINDOW, buffers
from ucxx._lib.arr import Array


class Side:
    def __init__(self, peer, fds):
        self.mode = peer.partition("-")[2]

    async def start(self, me, talk, path):
        ucxx.init(progress_mode=self.mode)
        # Array is what send() and recv() wrap each buffer into; wrapped once, they need not.
        self.bytes_out, self.got = buffers(self.size, me)
        self.out, self.room1 = Array(self.bytes_out), Array(self.got)
        self.held = [bytearray(self.size) for _ in range(WINDOW)] if self.size < 65536 else []
        self.room = [Array(b) for b in self.held]
        if me:
            accepted = asyncio.get_running_loop().create_future()
            self.over = asyncio.Event()

            async def serve(ep):
                accepted.set_result(ep)
                await self.over.wait()

            self.listener = ucxx.create_listener(serve)
            await talk.tell(self.listener.port)
            self.ep = await accepted
        else:
            self.listener = None
            self.ep = await ucxx.create_endpoint("127.0.0.1", await talk.hear())

    async def trips(self, n):
        ep, out, got = self.ep, self.out, self.room1
        for _ in range(n):
            await ep.send(out)
            await ep.recv(got)

    async def echoes(self, n):
        ep, out, got = self.ep, self.out, self.room1
        for _ in range(n):
            await ep.recv(got)
            await ep.send(out)

    async def windows(self, n):
        ep, out, room = self.ep, self.out, self.room
        for _ in range(n):
            await asyncio.gather(*[ep.recv(b) for b in room], *[ep.send(out) for _ in room])
        self.got = self.held[-1]

    async def close(self):
        await self.ep.close()
        if self.listener:
            self.over.set()
            self.listener.close()
