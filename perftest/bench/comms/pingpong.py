#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pingpong.py SCHEME FOLDER SECONDS CPU CPU SIZE.. - a message there and back between two pinned processes, as Dask sends it.

distributed.comm's connect() and listen() with their handshake, then write() and read() of {"x": ..}: up to 1 KiB of bytes, above
an array of NumPy that is marked by to_serialize(), as Dask marks what workers send each other. Every message is serialised and
deserialised anew. A figure is the median time of one way in us; each size ends with a comparison of the bytes.
"""
import asyncio
import os
import sys
from pathlib import Path

import procs

sys.path.insert(0, str(procs.BENCH / "aio"))

from pair import LIMIT_S, Pipes, check, measure_lat, obey, pattern  # noqa: E402

ARRAY_MIN = 1 << 10


class Side:
    """As pair.py wants it."""

    async def start(self, me, talk, scheme):
        from distributed.comm import connect, listen

        self.over = asyncio.Event()
        if me:
            accepted = asyncio.get_running_loop().create_future()

            async def serve(comm):
                accepted.set_result(comm)
                await self.over.wait()

            self.listener = await listen(f"{procs.protocol(scheme)}://{procs.HOST}:0", serve)
            await talk.tell(self.listener.contact_address)
            self.comm = await accepted
        else:
            procs.protocol(scheme)
            self.comm = await connect(await talk.hear(), timeout=LIMIT_S / 2)

    def load(self, size, me):
        import numpy as np
        from distributed.protocol import to_serialize

        out = pattern(size, me)
        self.out = {"x": out if size < ARRAY_MIN else to_serialize(np.frombuffer(bytearray(out), dtype="u1"))}

    async def trips(self, n):
        write, read, out = self.comm.write, self.comm.read, self.out
        for _ in range(n):
            await write(out)
            self.got = await read()

    async def echoes(self, n):
        write, read, out = self.comm.write, self.comm.read, self.out
        for _ in range(n):
            self.got = await read()
            await write(out)


async def play(me, scheme, folder, seconds, sizes):
    """The processes are ended from outside: some schemes have no close that ends."""
    talk = Pipes(*(os.open(folder / f"to{who}", os.O_RDWR) for who in (me, 1 - me)))
    side = Side()
    await asyncio.wait_for(side.start(me, talk, scheme), LIMIT_S)
    for size in sizes:
        side.load(size, me)
        if me:
            await obey(side, talk)
        else:
            said = await measure_lat(side, talk, size, seconds)
            await talk.tell(["quit", 0])
        check(side.got["x"], size, me)
        if me:
            await talk.tell("checked")
        else:
            await talk.hear()
            procs.note(folder, figure=f"lat {size}", value=said["lat_us"]["p50"])
    if not me:
        procs.note(folder, done=True)
    await side.over.wait()


def main():
    scheme, folder, seconds, *numbers = sys.argv[1:]
    me = procs.rank()
    procs.die_in_time()
    if me is None:
        sys.exit(procs.spawn(2))
    os.sched_setaffinity(0, {int(numbers[me])})
    procs.run(scheme, play(me, scheme, Path(folder), float(seconds), [int(n) for n in numbers[2:]]))


if __name__ == "__main__":
    main()
