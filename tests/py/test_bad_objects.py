# SPDX-License-Identifier: BSD-3-Clause
"""A peer that is no Python program: what it calls an object is looked at before it is believed. The peer is the C library,
called through ctypes in this thread."""
import asyncio
import ctypes
import os
import pickle
import random
import struct
from pathlib import Path

import pytest

import weft

OBJECT = 0x6A626F00  # the active message id of send_obj()


class Buf(ctypes.Structure):
    _fields_ = [("addr", ctypes.c_char_p), ("len", ctypes.c_size_t), ("mem", ctypes.c_void_p), ("kind", ctypes.c_uint16),
                ("device", ctypes.c_int16), ("reserved", ctypes.c_uint32)]


class Stranger:
    """weft.h as far as it is needed: connects, sends active messages with any id."""

    def __init__(self, url):
        folder = next((p for p in (Path(weft.get_library_dir()), Path(os.environ.get("WEFT_TEST_BUILD", "")))
                       if (p / "libweft.so.0").exists()), None)
        assert folder, "libweft.so.0 is not where it should be"
        self.lib = ctypes.CDLL(str(folder.resolve() / "libweft.so.0"))
        self.lib.weft_am_send.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t,
                                          ctypes.POINTER(Buf), ctypes.c_size_t, ctypes.c_void_p]
        self.ctx, self.worker, self.ep = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self.sent = []
        assert self.lib.weft_open(None, ctypes.byref(self.ctx)) == 0
        assert self.lib.weft_worker_new(self.ctx, None, ctypes.byref(self.worker)) == 0
        assert self.lib.weft_connect(self.worker, url.encode(), None, ctypes.byref(self.ep)) == 0

    def send(self, header, payload):
        self.sent.append(payload)                # lent until it is there
        buf = Buf(payload, len(payload))
        assert self.lib.weft_am_send(self.ep, OBJECT, header, len(header), ctypes.byref(buf), 1, None) >= 0

    def progress(self):
        assert self.lib.weft_progress(self.worker) >= 0

    def close(self):
        self.lib.weft_worker_free(self.worker)
        self.lib.weft_close(self.ctx)

    async def keep_going(self):
        while True:
            self.progress()
            await asyncio.sleep(0)


def message(obj):
    """As obj.c writes one without buffers."""
    data = pickle.dumps(obj, protocol=5)
    return b"wob1" + struct.pack("<IQ", 0, len(data)), data


def mutations(rng):
    """Headers and payloads that contradict themselves, each other, or the format."""
    yield b"", b""
    yield b"wob1", b"xyz"
    yield b"wob2" + bytes(12), b""
    for n in (0, 1, 3, 120, 121, 5000, 1 << 24, (1 << 24) + 1, 2**32 - 1):
        for size in (0, 5, 2**32, 2**63, 2**64 - 1):
            for extra in (0, 7, 8 * min(n, 120), 8 * min(n, 120) + 8):
                yield b"wob1" + struct.pack("<IQ", n, size) + rng.randbytes(min(extra, 1008)), rng.randbytes(rng.choice([0, 5, 999]))
    header, data = message(["an object"])
    for _ in range(300):
        bad = bytearray(header)
        bad[rng.randrange(4, 16)] ^= 1 << rng.randrange(8)
        yield bytes(bad), data
    for lengths in ([2**64 - 1, 2], [2**64 - len(data)], [1 << 40]):
        yield b"wob1" + struct.pack("<IQ", len(lengths), len(data)) + struct.pack(f"<{len(lengths)}Q", *lengths), data
    table = struct.pack("<121Q", *[2**64 - 64] * 121) + bytes(56)
    yield b"wob1" + struct.pack("<IQ", 121, 10), table + bytes(2000)
    yield b"wob1" + struct.pack("<IQ", 121, 2**64 - 64), table + bytes(2000)
    whole = struct.pack("<121Q", *[0] * 121) + bytes(56) + data + bytes(-len(data) % 64)   # this one is well
    yield b"wob1" + struct.pack("<IQ", 121, len(data)) + bytes(8), whole
    yield b"wob1" + struct.pack("<IQ", 121, len(data)), whole + bytes(64)


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_objects_of_strangers(run1, transport):
    async def main():
        got = asyncio.get_running_loop().create_future()
        async with await weft.listen(got.set_result, "weft://127.0.0.1:0", transports=transport) as listener:
            stranger = Stranger(listener.url)
            going = asyncio.create_task(stranger.keep_going())
            ep = await got
            bad = list(mutations(random.Random(11)))
            for header, payload in bad:
                stranger.send(header, payload)
                with pytest.raises((weft.ProtocolError, pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError,
                                    TypeError, AttributeError)):
                    await asyncio.wait_for(ep.recv_obj(), 5)
                    print("was taken:", header[:40], payload[:40])
            assert not ep.closed
            stranger.send(*message(["an object"]))                # and all goes on
            assert await asyncio.wait_for(ep.recv_obj(), 5) == ["an object"]
            await ep.close()
            going.cancel()
            stranger.close()
    run1(main(), 60)
