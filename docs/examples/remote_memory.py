# SPDX-License-Identifier: BSD-3-Clause
"""Remote memory between two processes: the owner grants a range, the peer puts, gets, counts, until it is revoked."""
import asyncio
import sys

import weft


async def owner():
    done = asyncio.Event()

    async def serve(ep):
        mem = weft.alloc(1 << 20)                    # pages that a local peer maps; weft.register(buf) for your own
        view = memoryview(mem)
        token = mem.grant(ep, "rwa")                 # for this peer alone: read, write, atomics
        await ep.send_obj(token)
        await mem.signalled(token)                   # its put_signal() has landed
        assert bytes(view[64:70]) == b"put by" and view[:8].cast("Q")[0] == 100
        print("owner: the peer wrote", bytes(view[64:76]), "and counted to", view[:8].cast("Q")[0])
        await mem.revoke(token)
        await ep.send(b"revoked")
        try:
            await ep.recv(bytearray(1))
        except weft.ClosedError:
            done.set()

    async with await weft.listen(serve, "weft://127.0.0.1:0") as listener:
        other = await asyncio.create_subprocess_exec(sys.executable, __file__, listener.url)
        await done.wait()
        assert await other.wait() == 0


async def peer(url):
    async with await weft.connect(url) as ep:
        remote = ep.remote(await ep.recv_obj())
        await asyncio.gather(*[remote.fetch_add(0, 1) for _ in range(100)])
        await remote.put_signal(b"put by a peer", 64)
        into = bytearray(13)
        await remote.get(into, 64)
        assert into == b"put by a peer"
        await ep.recv(bytearray(7))
        try:
            await remote.get(into, 64)
        except (weft.RevokedError, weft.AccessError) as exc:
            print("peer: as it should be:", exc)


asyncio.run(peer(sys.argv[1]) if len(sys.argv) > 1 else owner())
