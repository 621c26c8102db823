# SPDX-License-Identifier: BSD-3-Clause
"""Two containers on one host: PID and mount namespaces of their own, no /dev/shm, only the network namespace shared. The
shared memory path must come up without rights to the peer's memory, say why it has none, and carry everything."""
import asyncio
import os
import shutil
import subprocess
import sys

import pytest

from conftest import LIMIT

CONTAINER = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c",
             "mount -t proc proc /proc && { umount /dev/shm 2>/dev/null || true; } && exec \"$@\"", "sh"]

SERVER = """
import asyncio, os, sys, weft
async def main():
    done = asyncio.Event()
    async def serve(ep):
        size = int.from_bytes(await ep.recv_obj(), "little")
        data = bytearray(size)
        assert await ep.recv(data, 7) == size
        await ep.send(data, 8)
        mem = weft.alloc(4096)
        await ep.send_obj(bytes(mem.grant(ep, "rwa")))
        await ep.recv_obj()
        await ep.send_obj(bytes(memoryview(mem)[:4]))
        await ep.close()
        done.set()
    async with await weft.listen(serve, "weft://127.0.0.1:0") as listener:
        print(listener.url, os.getpid(), flush=True)
        await asyncio.wait_for(done.wait(), 20)
asyncio.run(main())
"""

CLIENT = """
import asyncio, json, os, sys, weft
async def main():
    ep = await weft.connect(sys.argv[1])
    size = 3_000_000
    await ep.send_obj(size.to_bytes(8, "little"))
    data, back = os.urandom(size), bytearray(size)
    await asyncio.gather(ep.send(data, 7), ep.recv(back, 8))
    assert bytes(back) == data
    remote = ep.remote(await ep.recv_obj())
    await remote.put(b"weft", 0)
    await ep.flush()
    print(os.getpid())
    print(ep.explain())
    await ep.send_obj(b"look")
    assert await ep.recv_obj() == b"weft"
    await ep.close()
asyncio.run(main())
"""


def can_unshare():
    if not shutil.which("unshare"):
        return "unshare is not installed"
    probe = subprocess.run(CONTAINER + ["true"], capture_output=True, text=True, timeout=LIMIT)
    return "" if probe.returncode == 0 else f"namespaces are not allowed here: {probe.stderr.strip()}"


def exchange(server_in, client_in):
    """What the client prints: its PID, and how its messages go; and the PID that the server has for itself."""
    why = can_unshare()
    if why:
        pytest.skip(why)
    server = subprocess.Popen([*server_in, sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        url, pid = server.stdout.readline().split()
        client = subprocess.run([*client_in, sys.executable, "-c", CLIENT, url], capture_output=True, text=True, timeout=LIMIT)
        assert client.returncode == 0, client.stderr
        assert server.wait(LIMIT) == 0
        return client.stdout, pid
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_containers_that_share_only_the_network_use_shared_memory():
    said, pid = exchange(CONTAINER, CONTAINER)
    lines = said.splitlines()
    assert lines[0] == pid == "1"          # each is process 1 of its own namespace
    assert "shm" in lines[2] and "tcp" not in lines[2], said
    assert "could be better" in said and "namespace" in said, said


@pytest.mark.parametrize("server_in, client_in", [(CONTAINER, []), ([], CONTAINER)], ids=["listener inside", "client inside"])
def test_rights_of_one_side_alone_are_not_used(server_in, client_in):
    """Who is outside sees the process inside and may copy from it; alone it is twice as slow as both through the ring (ADR 8)."""
    said, _ = exchange(server_in, client_in)
    assert "ring only" in said and "could be better" in said, said
    assert ("in another PID namespace" if client_in else "may not copy from this process") in said, said
