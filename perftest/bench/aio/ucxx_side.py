# SPDX-License-Identifier: BSD-3-Clause
"""ucxx's asyncio interface; PEER is ucxx-MODE, one of its progress modes, with endpoints as everybody makes them: a listener
and a connector. These know each other by IP address and want to hear of a dead peer, so UCX carries everything over tcp.

ucxx-address is its fastest way instead: endpoints from worker addresses, without error handling, which go over shared
memory and process_vm_*; in the mode polling. The tags must then be given.
"""
import asyncio
import base64

import ucxx
from pair import WINDOW, buffers
from ucxx._lib.arr import Array
from ucxx.types import Tag


class Side:
    def __init__(self, peer, fds):
        self.mode = peer.partition("-")[2]

    async def start(self, me, talk, path):
        self.bytes_out, self.got = buffers(self.size, me)
        self.held = [bytearray(self.size) for _ in range(WINDOW)] if self.size < 65536 else []
        # Array is what send() and recv() wrap each buffer into; wrapped once, they need not.
        self.out, self.room1, self.room = Array(self.bytes_out), Array(self.got), [Array(b) for b in self.held]
        self.there, self.back, self.listener, self.over = {}, {}, None, asyncio.Event()
        if self.mode == "address":
            ucxx.init(progress_mode="polling")
            await self.by_address(me, talk)
        else:
            ucxx.init(progress_mode=self.mode)
            await self.by_listener(me, talk)

    async def by_address(self, me, talk):
        self.there, self.back = ({"tag": Tag(1 + who), "force_tag": True} for who in (me, 1 - me))
        await talk.tell(base64.b64encode(bytes(memoryview(ucxx.get_worker_address()))).decode())
        address = ucxx.get_ucx_address_from_buffer(base64.b64decode(await talk.hear()))
        self.ep = await ucxx.create_endpoint_from_worker_address(address, endpoint_error_handling=False)

    async def by_listener(self, me, talk):
        if not me:
            self.ep = await ucxx.create_endpoint("127.0.0.1", await talk.hear())
            return
        accepted = asyncio.get_running_loop().create_future()

        async def serve(ep):
            accepted.set_result(ep)
            await self.over.wait()

        self.listener = ucxx.create_listener(serve)
        await talk.tell(self.listener.port)
        self.ep = await accepted

    async def trips(self, n):
        send, recv, out, got, there, back = self.ep.send, self.ep.recv, self.out, self.room1, self.there, self.back
        for _ in range(n):
            await send(out, **there)
            await recv(got, **back)

    async def echoes(self, n):
        send, recv, out, got, there, back = self.ep.send, self.ep.recv, self.out, self.room1, self.there, self.back
        for _ in range(n):
            await recv(got, **back)
            await send(out, **there)

    async def windows(self, n):
        send, recv, out, room, there, back = self.ep.send, self.ep.recv, self.out, self.room, self.there, self.back
        for _ in range(n):
            await asyncio.gather(*[recv(b, **back) for b in room], *[send(out, **there) for _ in room])
        self.got = self.held[-1]

    async def close(self):
        await self.ep.close()
        self.over.set()
        if self.listener:
            self.listener.close()
