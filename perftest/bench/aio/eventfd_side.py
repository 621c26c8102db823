# SPDX-License-Identifier: BSD-3-Clause
"""The limit of waking an event loop: asyncio's add_reader on an eventfd, nothing else. It carries no bytes."""
import asyncio
import os

FDS = []


def descriptors():
    """Two, for the other process to inherit: process 1 is woken by the first, process 0 by the second."""
    FDS.extend(os.eventfd(0, 0) for _ in range(2))
    return FDS


class Side:
    def __init__(self, peer, fds):
        self.fds = fds

    async def start(self, me, talk, path):
        self.got = None
        self.mine, self.theirs = (self.fds[0], self.fds[1]) if me else (self.fds[1], self.fds[0])
        self.loop = asyncio.get_running_loop()
        self.ready, self.waiter = 0, None
        os.set_blocking(self.mine, False)
        self.loop.add_reader(self.mine, self.readable)

    def readable(self):
        self.ready += os.eventfd_read(self.mine)
        if self.waiter:
            self.waiter.set_result(None)
            self.waiter = None

    async def woken(self):
        if not self.ready:
            self.waiter = self.loop.create_future()
            await self.waiter
        self.ready -= 1

    async def trips(self, n):
        for _ in range(n):
            os.eventfd_write(self.theirs, 1)
            await self.woken()

    async def echoes(self, n):
        for _ in range(n):
            await self.woken()
            os.eventfd_write(self.theirs, 1)

    async def close(self):
        self.loop.remove_reader(self.mine)
