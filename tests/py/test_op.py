# SPDX-License-Identifier: BSD-3-Clause
"""weft.Op is awaitable, coroutine and future at once: asyncio takes it as either."""
import asyncio
import collections.abc
import contextvars
import gc
import inspect
import sys
import weakref

import pytest

import weft
from weft import _weft
from conftest import new_loop, pair, run_on


def test_what_it_is(run):
    async def main():
        async with pair() as (a, b):
            op = b.recv(bytearray(1))
            assert asyncio.isfuture(op)
            assert asyncio.iscoroutine(op)
            assert isinstance(op, collections.abc.Coroutine) and isinstance(op, collections.abc.Awaitable)
            assert inspect.isawaitable(op)
            assert op.get_loop() is asyncio.get_running_loop()
            assert asyncio.ensure_future(op) is op
            assert "Endpoint.recv" in repr(op) and "pending" in repr(op)
            assert weakref.ref(op)() is op
            assert not op.done() and not op.cancelled()
            with pytest.raises(asyncio.InvalidStateError):
                op.result()
            await a.send(b"x")
            assert await op == 1
            assert op.done() and op.result() == 1 and op.exception() is None
            with pytest.raises(TypeError):
                weft.Op()
    run(main())


def test_create_task_takes_it(run):
    async def main():
        async with pair() as (a, b):
            into = bytearray(3)
            task = asyncio.create_task(b.recv(into))
            done = asyncio.create_task(a.send(b"abc"), name="send")
            repr(task)
            assert await task == 3 and await done is None
            done_now = asyncio.create_task(a.send(b"abc"))
            await b.recv(into)
            await done_now
            done, pending = await asyncio.wait([asyncio.create_task(b.recv(into)), asyncio.create_task(a.send(b"x"))])
            assert len(done) == 2 and not pending
    run(main())


def test_callbacks_of_what_is_done_share_a_turn_of_the_loop():
    """A gather over many finished operations is one entry in the loop's queue, not one for each."""
    class Counting(asyncio.SelectorEventLoop):
        handles = 0

        def call_soon(self, *args, **kw):
            self.handles += 1
            return super().call_soon(*args, **kw)

    async def main():
        async with pair() as (a, b):
            loop = asyncio.get_running_loop()
            await asyncio.gather(a.send(b"1"), a.send(b"2"))
            before = loop.handles
            ops = [a.send(b"x") for _ in range(30)]
            assert all(op.done() for op in ops)
            got = await asyncio.gather(*ops)
            assert loop.handles - before < 10 and got == [None] * 30
    loop = Counting()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_callbacks_of_what_is_done(run):
    async def main():
        async with pair() as (a, b):
            called = []
            op, other = a.send(b"x"), a.send(b"y")
            op.add_done_callback(lambda o: called.append((1, o)))
            assert not called, "never from within"
            other.add_done_callback(lambda o: called.append((2, o)))
            op.add_done_callback(lambda o: called.append((3, o)))
            gone = lambda o: called.append((4, o))  # noqa: E731
            op.add_done_callback(gone)
            var = contextvars.ContextVar("v", default=0)
            context = contextvars.copy_context()
            context.run(var.set, 7)
            third = a.send(b"z")
            third.add_done_callback(lambda o: called.append((var.get(), o)), context=context)
            fourth = a.send(b"z")
            fourth.add_done_callback(gone)
            assert fourth.remove_done_callback(gone) == 1
            fourth.add_done_callback(lambda o: called.append((5, o)))
            for _ in range(10):
                await asyncio.sleep(0)
            assert sorted(n for n, _ in called) == [1, 2, 3, 4, 5, 7]
            assert {n: o for n, o in called if n != 4} == {1: op, 2: other, 3: op, 7: third, 5: fourth}
            told = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, c: told.append(c["exception"]))
            bad = a.send(b"q")
            bad.add_done_callback(lambda o: 1 // 0)
            for _ in range(3):
                await asyncio.sleep(0)
            assert isinstance(told[0], ZeroDivisionError)
    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is Python 3.11's")
def test_task_group_takes_it(run):
    async def main():
        async with pair() as (a, b):
            async with asyncio.TaskGroup() as tg:
                got = tg.create_task(b.recv(bytearray(9)))
                tg.create_task(a.send(b"123456789"))
            assert got.result() == 9
            with pytest.raises(BaseException) as info:
                async with asyncio.TaskGroup() as tg:
                    never = tg.create_task(b.recv(bytearray(9)))
                    tg.create_task(b.recv(bytearray(1), 5))
                    await a.send(b"too long", 5)
            assert isinstance(info.value.exceptions[0], weft.TruncatedError)
            assert never.cancelled()
    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are Python 3.12's")
def test_eager_tasks_take_it(run1):
    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        async with pair() as (a, b):
            task = asyncio.create_task(b.recv(bytearray(4)))
            assert not task.done()
            await a.send(b"abcd")
            assert await task == 4

            async def child():
                await a.send(b"x")
            assert asyncio.create_task(child()).done()
    run1(main())


def test_wait_for_gather_shield_as_completed(run):
    async def main():
        async with pair() as (a, b):
            into = bytearray(10)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(b.recv(into), 0.01)
            n, _ = await asyncio.gather(asyncio.wait_for(b.recv(into), 5), a.send(b"abc"))
            assert n == 3
            op = b.recv(into)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(op), 0.01)
            await a.send(b"still")
            assert await op == 5
            ops = [b.recv(bytearray(1), i) for i in range(5)]
            for i in range(5):
                await a.send(b"x", i)
            assert [await f for f in asyncio.as_completed(ops)] == [1] * 5
            results = await asyncio.gather(b.recv(bytearray(1)), b.recv(bytearray(9), 1), a.send(b"long"),
                                           a.send(b"fits", 1), return_exceptions=True)
            assert isinstance(results[0], weft.TruncatedError) and results[1:] == [4, None, None]
    run(main())


def test_gather_makes_no_task_for_it(run1):
    async def main():
        async with pair() as (a, b):
            before = len(asyncio.all_tasks())
            g = asyncio.gather(*[b.recv(bytearray(1)) for _ in range(50)])
            assert len(asyncio.all_tasks()) == before
            for _ in range(50):
                await a.send(b"x")
            assert await g == [1] * 50
    run1(main())


def test_awaiting_twice_is_an_error(run):
    async def main():
        async with pair() as (a, b):
            done, pending = a.send(b"x"), b.recv(bytearray(1), 7)
            await done
            with pytest.raises(RuntimeError, match="awaited already"):
                await done
            assert done.done() and done.result() is None

            async def wait():
                return await pending
            first = asyncio.create_task(wait())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="awaited already"):
                await pending
            await a.send(b"y", 7)
            assert await first == 1
            await b.recv(bytearray(1))
    run(main())


def test_awaiting_from_another_loop_is_an_error(run1):
    outer = {}

    async def main():
        async with pair() as (a, b):
            outer["pending"] = b.recv(bytearray(1))
            outer["done"] = a.send(b"x", 4)
            a.send(b"y", 5)
            loop = new_loop("asyncio")

            async def elsewhere(op):
                await op
            await asyncio.get_running_loop().run_in_executor(None, other_thread, loop, elsewhere)
            loop.close()
            outer.clear()
            await a.send(b"z")

    def other_thread(loop, elsewhere):
        for name in ("pending", "done"):
            with pytest.raises((RuntimeError, ValueError), match="loop"):
                loop.run_until_complete(elsewhere(outer[name]))
    run1(main())


def test_an_endpoint_of_another_loop_is_an_error(run1):
    async def main():
        async with pair() as (a, b):
            async def elsewhere():
                with pytest.raises(weft.ThreadError, match="another"):
                    a.send(b"x")
                with pytest.raises(weft.ThreadError):
                    a.close()
                with pytest.raises(weft.ThreadError):
                    a.local.encode()
                for of_the_worker in (lambda: _weft._progress(mine), lambda: _weft._probe(mine, 0, 0, False)):
                    with pytest.raises(weft.ThreadError, match="another"):
                        of_the_worker()
            mine = asyncio.get_running_loop()
            await asyncio.get_running_loop().run_in_executor(None, lambda: run_on("asyncio", elsewhere()))
            _, n = await asyncio.gather(a.send(b"x"), b.recv(bytearray(1)))
            assert n == 1
    run1(main())


def test_a_failure_that_nobody_awaits_goes_to_the_exception_handler(run):
    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with pair() as (a, b):
            op = b.recv(bytearray(1))
            await a.send(b"too long")
            while not op.done():
                await asyncio.sleep(0)
            del op
            gc.collect()
            assert len(told) == 1 and isinstance(told[0]["exception"], weft.TruncatedError)
            assert "Endpoint.recv" in told[0]["message"]
            told.clear()
            op = b.recv(bytearray(1))
            await a.send(b"too long")
            with pytest.raises(weft.TruncatedError):
                await op
            op = b.recv(bytearray(1))
            op.cancel()
            del op
            await asyncio.sleep(0.01)
            gc.collect()
            assert not told
    run(main())


def test_done_callbacks_run_in_their_context(run):
    var = contextvars.ContextVar("var", default=0)

    async def main():
        async with pair() as (a, b):
            seen = []
            op = b.recv(bytearray(1))
            context = contextvars.copy_context()
            context.run(var.set, 5)

            def callback(o):
                seen.append((var.get(), o is op))

            def removed(o):
                seen.append("removed")
            op.add_done_callback(callback, context=context)
            var.set(7)
            op.add_done_callback(callback)
            op.add_done_callback(removed)
            op.add_done_callback(callback)
            assert op.remove_done_callback(removed) == 1
            assert op.remove_done_callback(removed) == 0
            await a.send(b"x")
            await op
            op.add_done_callback(callback, context=context)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert seen == [(5, True), (7, True), (7, True), (5, True)]
    run(main())


def test_a_callback_that_raises_hurts_nobody(run):
    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with pair() as (a, b):
            ops = [b.recv(bytearray(1)) for _ in range(3)]
            ops[0].add_done_callback(lambda op: 1 / 0)
            for _ in range(3):
                await a.send(b"x")
            assert await asyncio.gather(*ops[1:]) == [1, 1]
            await asyncio.sleep(0)
            assert isinstance(told[0]["exception"], ZeroDivisionError)
    run(main())


def test_run_until_complete_takes_it():
    loop = new_loop("asyncio")

    async def connect():
        got = loop.create_future()
        listener = await weft.listen(got.set_result, "weft://127.0.0.1:0")
        a = await weft.connect(listener.url)
        return listener, a, await got
    try:
        listener, a, b = loop.run_until_complete(connect())
        op = b.recv(bytearray(5))
        loop.run_until_complete(a.send(b"hello"))
        assert loop.run_until_complete(op) == 5
        loop.run_until_complete(asyncio.wait_for(_both(a, b), 10))
        listener.close()
    finally:
        loop.close()


async def _both(a, b):
    await asyncio.gather(a.close(), b.close())


def test_coroutine_methods(run1):
    async def main():
        async with pair() as (a, b):
            op = a.send(b"x")
            with pytest.raises(StopIteration) as info:
                op.send(None)
            assert info.value.value is None
            op = b.recv_tagged(bytearray(1), mask=weft.ANY)
            while not op.done():
                await asyncio.sleep(0)
            with pytest.raises(StopIteration) as info:
                op.send(None)
            assert info.value.value == (1, 0)
            op = b.recv(bytearray(1))
            op.close()
            while not op.done():
                await asyncio.sleep(0)
            assert op.cancelled()
            op = b.recv(bytearray(1))
            it = op.__await__()
            assert next(it) is op
            with pytest.raises(KeyError):
                it.throw(KeyError("k"))
            while not op.done():
                await asyncio.sleep(0)
            n, _ = await asyncio.gather(b.recv(bytearray(1)), a.send(b"q"))
            assert n == 1

            def legacy():
                return (yield from b.recv(bytearray(3), 1))
            await a.send(b"abc", 1)
            g = legacy()
            try:
                while True:
                    next(g)
                    await asyncio.sleep(0)
            except StopIteration as stop:
                assert stop.value == 3
    run1(main())


def test_done_now_awaits_do_not_suspend_but_give_the_loop_its_turn(run):
    async def main():
        async with pair("loop") as (a, b):
            turns = 0

            async def ticker():
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1
            task = asyncio.create_task(ticker())
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            buf = bytearray(8)
            turns, awaits, start = 0, 0, loop.time()
            while loop.time() - start < 0.2:
                for _ in range(10):
                    await a.send(b"12345678")
                    await b.recv(buf)
                awaits += 20
            task.cancel()
            assert turns > 200               # one for each 100 us would be 2000
            assert awaits > 10 * turns
    run(main())


def test_timers_live_while_messages_fly(run):
    async def main():
        async with pair("loop") as (a, b):
            async def busy():
                buf = bytearray(8)
                while True:
                    await a.send(b"12345678")
                    await b.recv(buf)
            loop = asyncio.get_running_loop()
            start = loop.time()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(busy(), 0.1)
            assert loop.time() - start < 0.5
            n = await a.send(b"12345678") or await b.recv(bytearray(8))
            assert n == 8
    run(main())


def test_operations_are_collected(run1):
    async def main():
        async with pair() as (a, b):
            into = bytearray(10)
            ref = []

            class Marker(bytearray):
                pass
            m = Marker(10)
            ref.append(weakref.ref(m))
            op = b.recv(m)
            del m
            await a.send(b"x")
            await op
            del op
            gc.collect()
            assert ref[0]() is None
            before = len(gc.get_objects())
            for _ in range(2000):
                await a.send(b"x")
                await b.recv(into)
            gc.collect()
            assert len(gc.get_objects()) - before < 500
    run1(main())
