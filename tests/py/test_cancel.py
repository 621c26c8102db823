# SPDX-License-Identifier: BSD-3-Clause
"""Cancelling: asks, ends when nobody touches the buffer any more, loses no message."""
import asyncio
import random
import sys

import pytest

import weft
from conftest import pair


async def settle(op):
    while not op.done():
        await asyncio.sleep(0)


def test_a_cancelled_receive_ends_and_gives_its_buffer_back(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            into = bytearray(10)
            op = b.recv(into)
            assert op.cancel("why") is True
            with pytest.raises(asyncio.CancelledError) as info:
                await op
            assert info.value.args == ("why",)
            assert op.cancelled() and op.cancel() is False
            into.extend(b"free")
            with pytest.raises(asyncio.CancelledError):
                op.result()
            with pytest.raises(asyncio.CancelledError):
                op.exception()
            n, _ = await asyncio.gather(b.recv(into), a.send(b"abc"))
            assert n == 3
    run(main())


def test_a_cancelled_task_ends(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            async def wait():
                try:
                    await b.recv(bytearray(10))
                finally:
                    seen.append("finally")
            seen = []
            tasks = [asyncio.create_task(wait()) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(t.cancelled() for t in tasks) and seen == ["finally"] * 20
    run(main())


def test_wait_for_in_a_loop_loses_nothing(run, transport):
    """Time limits so short that they hit before, during and after the match."""
    async def main():
        rng = random.Random(3)
        async with pair(transport) as (a, b):
            count = 300

            async def sender():
                for i in range(count):
                    size = 8 if i % 3 else 300000
                    await a.send(i.to_bytes(8, "little") + bytes(size - 8))
                    if i % 5 == 0:
                        await asyncio.sleep(rng.random() / 500)
            task = asyncio.create_task(sender())
            got, into = [], bytearray(300000)
            while len(got) < count:
                try:
                    await asyncio.wait_for(b.recv(into), rng.random() / 1000)
                    got.append(int.from_bytes(into[:8], "little"))
                except asyncio.TimeoutError:
                    pass
            await task
            assert got == list(range(count))
    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is Python 3.11's")
def test_timeout_in_a_loop_loses_nothing(run, transport):
    async def main():
        rng = random.Random(4)
        async with pair(transport) as (a, b):
            count = 300

            async def sender():
                for i in range(count):
                    await a.send(i.to_bytes(8, "little"))
                    if i % 5 == 0:
                        await asyncio.sleep(rng.random() / 1000)
            task = asyncio.create_task(sender())
            got, into = [], bytearray(8)
            while len(got) < count:
                try:
                    async with asyncio.timeout(rng.random() / 1000):
                        await b.recv(into)
                        got.append(int.from_bytes(into, "little"))
                except TimeoutError:
                    pass
            await task
            assert got == list(range(count))
            assert asyncio.current_task().cancelling() == 0
    run(main())


def test_objects_and_active_messages_survive_time_limits(run1, transport):
    async def main():
        rng = random.Random(5)
        async with pair(transport) as (a, b):
            count = 200

            async def sender():
                for i in range(count):
                    await a.send_obj([i, bytes(rng.choice([1, 200000]))])
                    await a.am_send(b"%d" % i, bytes(rng.choice([0, 9, 200000])))
                    if i % 3 == 0:
                        await asyncio.sleep(rng.random() / 500)

            async def receiver(receive, value):
                got = []
                while len(got) < count:
                    try:
                        got.append(value(await asyncio.wait_for(receive(), rng.random() / 1000)))
                    except asyncio.TimeoutError:
                        pass
                assert got == list(range(count))
            await asyncio.gather(sender(), receiver(b.recv_obj, lambda o: o[0]),
                                 receiver(b.am_recv, lambda o: int(o[0])))
    run1(main())


def test_the_stream_survives_time_limits(run1, transport):
    async def main():
        rng = random.Random(6)
        async with pair(transport) as (a, b):
            data = rng.randbytes(3_000_000)

            async def sender():
                at = 0
                while at < len(data):
                    n = rng.randrange(1, 60000)
                    await a.write(data[at:at + n])
                    at += n
            task = asyncio.create_task(sender())
            got, into = bytearray(), bytearray(50000)
            while len(got) < len(data):
                left = len(data) - len(got)
                n = min(left, rng.randrange(1, 50000))
                try:
                    how = rng.randrange(3)
                    if how == 0:
                        got += await asyncio.wait_for(b.read(n), rng.random() / 2000)
                    elif how == 1:
                        got += await asyncio.wait_for(b.readexactly(n), rng.random() / 2000)
                    else:
                        got += into[:await asyncio.wait_for(b.readinto(memoryview(into)[:n]), rng.random() / 2000)]
                except asyncio.TimeoutError:
                    pass
            await task
            assert got == data
    run1(main())


def test_a_storm_of_cancels(run, transport):
    """Whatever is cancelled when: every message is received once, every operation ends."""
    async def main():
        rng = random.Random(7)
        async with pair(transport) as (a, b):
            count, got = 2000, []

            async def sender():
                for i in range(count):
                    await a.send(i.to_bytes(8, "little") * rng.choice([1, 1, 1, 30000]))
                    if i % 50 == 0:
                        await asyncio.sleep(0)

            async def receiver():
                while len(got) < count:
                    ops = [b.recv(bytearray(240000)) for _ in range(rng.randrange(1, 8))]
                    await asyncio.sleep(0)
                    for op in ops:
                        if rng.random() < 0.7:
                            op.cancel()
                    done = await asyncio.wait_for(asyncio.gather(*[finish(op) for op in ops]), 20)
                    got.extend(n for n in done if n is not None)

            async def finish(op):
                try:
                    return await asyncio.wait_for(op, 0.05)
                except (asyncio.TimeoutError, asyncio.CancelledError):
                    return None
            await asyncio.gather(sender(), receiver())
            assert len(got) == count
    run(main(), 60)


def test_a_cancel_that_comes_too_late_keeps_the_message_and_follows(run1):
    """The task gets its message, then the cancel, at its next await."""
    async def main():
        async with pair("loop") as (a, b):
            steps = []

            async def consumer():
                into = bytearray(1)
                while True:
                    await b.recv(into)
                    steps.append(bytes(into))
            task = asyncio.create_task(consumer())
            await asyncio.sleep(0.01)
            await a.send(b"1")
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            assert done and task.cancelled()
            rest = []
            while True:
                try:
                    await asyncio.wait_for(b.recv(into := bytearray(1)), 0.05)
                    rest.append(bytes(into))
                except asyncio.TimeoutError:
                    break
            assert steps + rest == [b"1"]
    run1(main())


def test_a_busy_task_can_be_cancelled(run):
    async def main():
        async with pair("loop") as (a, b):
            async def busy():
                into = bytearray(8)
                while True:
                    await a.send(b"12345678")
                    await b.recv(into)
            task = asyncio.create_task(busy())
            await asyncio.sleep(0.02)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            assert done and task.cancelled()
            async def drain():
                while True:
                    await b.recv(bytearray(8))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(drain(), 0.05)
    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is Python 3.11's")
def test_a_failing_task_group_ends_receivers_in_full_flow(run):
    async def main():
        for k in range(20):
            async with pair("loop") as (a, b):
                async def receiver():
                    into = bytearray(8)
                    while True:
                        await b.recv(into)

                async def sender():
                    for _ in range(50 + k):
                        await a.send(b"12345678")
                        await asyncio.sleep(0)
                    raise KeyError("enough")
                with pytest.raises(BaseException) as info:
                    async with asyncio.TaskGroup() as tg:
                        tg.create_task(receiver())
                        tg.create_task(sender())
                assert isinstance(info.value.exceptions[0], KeyError)
    run(main())


def test_cancel_of_a_gather_cancels_all(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            ops = [b.recv(bytearray(8)) for _ in range(1000)]
            g = asyncio.gather(*ops)
            await asyncio.sleep(0)
            g.cancel()
            with pytest.raises(asyncio.CancelledError):
                await g
            for op in ops:
                await settle(op)
            assert all(op.cancelled() for op in ops)
            n, _ = await asyncio.gather(b.recv(bytearray(3)), a.send(b"abc"))
            assert n == 3
    run(main())


def test_a_cancelled_sync_send_and_connect(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            op = a.send(b"x" * 300000, 3, sync=True)
            await asyncio.sleep(0)
            op.cancel()
            try:
                await op
            except asyncio.CancelledError:
                pass
            n, _ = await asyncio.gather(b.recv(bytearray(3), 4), a.send(b"abc", 4))
            assert n == 3
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0", transports=transport) as listener:
            for k in range(5):
                task = asyncio.create_task(weft.connect(listener.url, transports=transport))
                for _ in range(k):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    ep = await task
                    await ep.close()
                except asyncio.CancelledError:
                    pass
    run(main())
