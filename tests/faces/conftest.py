# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of weft.ucp and weft.ucxx share: both faces, a context of its own for each test, two ends of a connection."""
import asyncio
import contextlib
import gc
import os

import pytest

os.environ["UCXPY_IFNAME"] = "lo"        # get_address(): every machine has it

import weft.ucp
import weft.ucxx

LIMIT = 5  # seconds that anything may take
FACES = {"ucp": weft.ucp, "ucxx": weft.ucxx}
HERE = "127.0.0.1"

# The same failure in both: what, in ucp, in ucxx.
NAMES = {"canceled": ("UCXCanceled", "UCXCanceledError"), "closed": ("UCXCloseError", "UCXCloseError"),
         "reset": ("UCXConnectionReset", "UCXConnectionResetError"), "truncated": ("UCXMsgTruncated", "UCXMessageTruncatedError"),
         "unreachable": ("UCXUnreachable", "UCXUnreachableError"), "config": ("UCXConfigError", "UCXInvalidParamError")}


def error(face, what):
    return getattr(face.exceptions, NAMES[what][face is weft.ucxx])


def is_closed(thing):
    """closed is a method in ucp and a property in ucxx."""
    return thing.closed() if callable(thing.closed) else thing.closed


@pytest.fixture(params=list(FACES))
def face(request):
    module = FACES[request.param]
    module.reset()
    yield module
    gc.collect()
    module.reset()                       # fails where something still holds the context


@pytest.fixture
def run():
    """run(coro): as asyncio.run(), with a limit."""
    def go(coro, limit=LIMIT):
        async def limited():
            return await asyncio.wait_for(coro, limit)
        return asyncio.run(limited())
    return go


@contextlib.asynccontextmanager
async def pair(face, **options):
    """Both ends of a connection in this loop: that which connected and that which was accepted."""
    accepted, ended = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def handler(ep):
        accepted.set_result(ep)
        del ep
        await ended.wait()

    listener = face.create_listener(handler, **options)
    a = await face.create_endpoint(HERE, listener.port, **options)
    b = await accepted
    try:
        yield a, b
    finally:
        accepted = None
        ended.set()
        await asyncio.gather(a.close(), b.close())
        listener.close()


async def until(true, limit=LIMIT):
    """Waits for something that no event tells of."""
    async def look():
        while not true():
            await asyncio.sleep(0.005)
    await asyncio.wait_for(look(), limit)
