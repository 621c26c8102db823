# SPDX-License-Identifier: BSD-3-Clause
"""asyncio's streams over a UNIX socket (PATH shm: on one host) or tcp; PEER streams-uvloop: on uvloop's loop. A stream hands
out the bytes that came instead of receiving into a buffer, and takes one reader at a time: the windows are a task that
writes them all and one that reads them one after the other."""
import asyncio
import os
import socket
import sys

from pair import WINDOW, buffers

if any(a == "streams-uvloop" for a in sys.argv):
    import uvloop

    def run(coro):
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(coro)
        finally:
            loop.close()


class Side:
    def __init__(self, peer, fds):
        pass

    async def start(self, me, talk, path):
        self.out, self.got = buffers(self.size, me)
        limit = max(65536, 2 * self.size)  # so that a large message is not read in small pieces
        if path == "tcp":
            sock = socket.socket(socket.AF_INET)
            address = "127.0.0.1", 0
        else:
            sock = socket.socket(socket.AF_UNIX)
            address = f"\0weft-bench-{os.getpid()}"
        if me:
            accepted = asyncio.get_running_loop().create_future()
            sock.bind(address)
            sock.listen(1)
            start = asyncio.start_server if path == "tcp" else asyncio.start_unix_server
            self.server = await start(lambda r, w: accepted.set_result((r, w)), sock=sock, limit=limit)
            await talk.tell(sock.getsockname()[1] if path == "tcp" else address)
            self.reader, self.writer = await accepted
        else:
            self.server = None
            sock.connect(("127.0.0.1", await talk.hear()) if path == "tcp" else await talk.hear())
            sock.setblocking(False)
            connect = asyncio.open_connection if path == "tcp" else asyncio.open_unix_connection
            self.reader, self.writer = await connect(sock=sock, limit=limit)

    async def trips(self, n):
        read, write, drain, out, size = self.reader.readexactly, self.writer.write, self.writer.drain, self.out, self.size
        for _ in range(n):
            write(out)
            await drain()
            self.got = await read(size)

    async def echoes(self, n):
        read, write, drain, out, size = self.reader.readexactly, self.writer.write, self.writer.drain, self.out, self.size
        for _ in range(n):
            self.got = await read(size)
            write(out)
            await drain()

    async def windows(self, n):
        for _ in range(n):
            await asyncio.gather(self.read_window(), self.write_window())

    async def read_window(self):
        read, size = self.reader.readexactly, self.size
        for _ in range(WINDOW):
            self.got = await read(size)

    async def write_window(self):
        write, drain, out = self.writer.write, self.writer.drain, self.out
        for _ in range(WINDOW):
            write(out)
            await drain()

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass
        if self.server:
            self.server.close()
