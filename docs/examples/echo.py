# SPDX-License-Identifier: BSD-3-Clause
"""An echo server for any number of clients, and four clients that use it: objects, arrays, the byte stream."""
import asyncio

import weft


async def echo(ep):
    """One for each peer; ends when the peer closes."""
    async def objects():
        while True:
            await ep.send_obj(await ep.recv_obj())

    async def stream():
        while data := await ep.read(65536):
            await ep.write(data)

    tasks = [asyncio.create_task(objects()), asyncio.create_task(stream())]
    await asyncio.wait(tasks)
    for task in tasks:
        assert task.exception() is None or isinstance(task.exception(), weft.ClosedError)


async def client(url, name):
    async with await weft.connect(url) as ep:
        for obj in (name, {"numbers": list(range(5))}, [bytes(100_000), bytearray(1_000_000)]):
            await ep.send_obj(obj)
            assert await ep.recv_obj() == obj
        await ep.write(name.encode())
        assert await ep.readexactly(len(name)) == name.encode()
        print(f"{name}: all came back, by way of {ep.peer}")


async def main():
    async with await weft.listen(echo, "weft://127.0.0.1:0") as listener:
        await asyncio.gather(*[client(listener.url, f"client {i}") for i in range(4)])
        await listener.wait_closed()


asyncio.run(main())
