# SPDX-License-Identifier: BSD-3-Clause
"""pyzmq's asyncio: a PAIR of sockets over ipc (PATH shm: on one host) or tcp. It hands out the message that came instead of
receiving into a buffer; large ones are neither copied there (copy=False)."""
import asyncio
import os

import zmq
import zmq.asyncio
from pair import WINDOW, buffers

LARGE = 65536


class Side:
    def __init__(self, peer, fds):
        pass

    async def start(self, me, talk, path):
        self.out, self.got = buffers(self.size, me)
        self.copy = self.size < LARGE
        self.context = zmq.asyncio.Context()
        self.socket = self.context.socket(zmq.PAIR)
        self.socket.linger = 1000
        if me:
            self.socket.bind("tcp://127.0.0.1:*" if path == "tcp" else f"ipc://@weft-bench-{os.getpid()}")
            await talk.tell(self.socket.last_endpoint.decode())
        else:
            self.socket.connect(await talk.hear())

    async def trips(self, n):
        send, recv, out, copy = self.socket.send, self.socket.recv, self.out, self.copy
        for _ in range(n):
            await send(out, copy=copy)
            self.got = await recv(copy=copy)

    async def echoes(self, n):
        send, recv, out, copy = self.socket.send, self.socket.recv, self.out, self.copy
        for _ in range(n):
            self.got = await recv(copy=copy)
            await send(out, copy=copy)

    async def windows(self, n):
        send, recv, out = self.socket.send, self.socket.recv, self.out
        for _ in range(n):
            all_ = await asyncio.gather(*[recv() for _ in range(WINDOW)], *[send(out) for _ in range(WINDOW)])
            self.got = all_[WINDOW - 1]

    async def close(self):
        self.got = bytes(self.got)
        self.socket.close()
        self.context.term()
