#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the inputs that fuzzing starts from, well-formed bytes of every kind, into corpus/<target>/. Run it after a
change of the protocol; the files are in git so that fuzzing needs nothing but them. The layouts are spelled out here a
second time on purpose: docs/PROTOCOL.md is what both follow."""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "corpus"

TYPES = (
    "HELLO WELCOME REJECT READY "
    "EAGER RTS CTS DATA FIN SYNC_ACK STOP STOPPED WITHDRAW WITHDRAWN GONE PRESSURE AM AM_RTS STREAM CREDIT "
    "OPEN OPENED CLOSE_REMOTE PUT SIGNAL GET GOT GET_FAIL ATOMIC ATOMIC_DONE REVOKE REVOKED "
    "FLUSH FLUSHED CLOSE CLOSED PAD"
).split()


def frame(name, payload=b"", *, seq=0, flags=0, aux=0, id=0, tag=0):
    return struct.pack("<IIBBHIQ", len(payload), seq, TYPES.index(name) + 1, flags, aux, id, tag) + payload


def hello(version=(1, 1), features=0, secret=bytes(16), offers=()):
    out = b"WEFT" + struct.pack("<HHI", *version, features) + b"u" * 16 + b"p" * 16 + secret + bytes([len(offers)])
    for name, data in offers:
        out += bytes([len(name)]) + name + struct.pack("<H", len(data)) + data
    return out


def address(url):
    return b"WFAD" + struct.pack("<HH", 1, len(url)) + b"u" * 16 + b"s" * 16 + url


def token(access=7, grant=1, length=4096):
    return b"WFTK" + struct.pack("<HHQ", 1, access, grant) + b"k" * 16 + struct.pack("<Q", length)


def rts(length, desc=b"", gen=1):
    return struct.pack("<QII", length, len(desc), gen) + desc


HELLOS = {
    "bare": hello(),
    "offers": hello(offers=[(b"shm", bytes(range(48))), (b"verbs", b"\x01" * 160), (b"x", b"")]),
    "full": hello((1, 3), 0xFFFFFFFF, b"s" * 16, [(b"t%d" % i, bytes([i]) * i) for i in range(8)]),
    "later": hello((2, 9)),
    "trailing": hello(offers=[(b"shm", b"abc")]) + b"something newer",
}
URLS = {
    "v4": b"weft://127.0.0.1:7000",
    "v6": b"weft://[fe80::1%eth0]:80",
    "name": b"weft://node-1.example:0",
    "many": b"weft://" + b",".join(b"[::1]:%d" % i for i in range(16)),
}
FRAMES = {
    "message": frame("EAGER", b"8 bytes!", flags=1, id=3, tag=9) + frame("SYNC_ACK", seq=1, id=3),
    "large": frame("RTS", rts(1 << 20, b"d" * 32), id=3, tag=9) + frame("CTS", seq=1, id=3, tag=1 << 32 | 4)
    + frame("DATA", b"d" * 64, seq=2, id=4, tag=0) + frame("FIN", seq=3, id=3, tag=1 << 32),
    "stop": frame("STOP", id=3, tag=1 << 32 | 4) + frame("STOPPED", seq=1, id=4) + frame("WITHDRAW", seq=2, id=3)
    + frame("WITHDRAWN", seq=3, id=3, aux=1) + frame("GONE", seq=4, id=4) + frame("PRESSURE", seq=5, tag=1),
    "am": frame("AM", b"headerpayload", aux=6, id=77)
    + frame("AM_RTS", rts(1 << 16) + b"header", seq=1, aux=6, id=3, tag=77),
    "am_desc": frame("AM_RTS", rts(1 << 16, b"d" * 192)[:16] + b"h" * 1024 + b"d" * 192, aux=1024, id=3, tag=77),
    "stream": frame("STREAM", b"some bytes") + frame("CREDIT", seq=1, tag=10),
    "remote": frame("OPEN", token(), id=1) + frame("OPENED", struct.pack("<QII", 4096, 1, 7) + b"d" * 40, seq=1, id=1)
    + frame("CLOSE_REMOTE", seq=2, id=1),
    "refused": frame("OPENED", bytes(16), id=1, aux=18) + frame("GET_FAIL", seq=1, tag=2, aux=17),
    "put": frame("PUT", b"p" * 16, id=1, tag=8, flags=2) + frame("SIGNAL", seq=1, id=1, tag=5)
    + frame("GET", struct.pack("<QQ", 16, 2), seq=2, id=1) + frame("GOT", b"g" * 16, seq=3, tag=2),
    "atomic": frame("ATOMIC", struct.pack("<QQQ", 1, 0, 2), id=1, aux=1)
    + frame("ATOMIC_DONE", struct.pack("<Q", 41), seq=1, tag=2),
    "end": frame("REVOKE", id=1) + frame("REVOKED", seq=1, id=1) + frame("FLUSH", seq=2, tag=5)
    + frame("FLUSHED", seq=3, tag=5) + frame("CLOSE", seq=4) + frame("CLOSED", seq=5),
    "making": frame("HELLO", HELLOS["offers"]) + frame("WELCOME", HELLOS["bare"], seq=1)
    + frame("REJECT", b"no", seq=2, aux=23) + frame("READY", b"shm\0", seq=3),
}


# ---- fuzz_session: steps of eight bytes, see the head of fuzz_session.c ----------------------------------------------

TOKEN, STRUCT, FLAGS, SPLIT, ZEROS = 0x80, 0x40, 0x10, 0x08, 0x04
SEND, RECV, PROBE, AM_SEND, AM_RECV = 0xC3, 0xC4, 0xC0, 0xC1, 0xC2
PUT, GET, ATOMIC, PUT_SIGNAL = 0xD0, 0xD1, 0xD2, 0xD3
FLUSH, FENCE, CLOSE, ABORT, STREAM_SEND, STREAM_RECV = 0xE0, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5
CANCEL, REMOTE_OPEN, REMOTE_CLOSE, AM_RELEASE, REVOKE, DEAF = 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5
LONG, SYNC, REALLY = 1, 2, 4


def raw_id(n):
    return 0xC0 | n


def step(what, opt=0, aux=0, id=raw_id(0), tag=raw_id(0), value=0, payload=b"", length=None):
    what = TYPES.index(what) + 1 if isinstance(what, str) else what
    n = len(payload) if length is None else length
    return bytes([what, opt, aux, id, tag, n & 0xFF, n >> 8, value]) + payload


def call(what, opt=0, aux=0, value=0):
    return step(what, opt, aux, 0, 0, value)


# The ids that a step can name: 0 is the WELCOME's, those of the endpoint's next frame follow (id, tag unless 0, and the
# second word of RTS, OPENED and GET).
OFFER = call(SEND, LONG)
REMOTE = call(REMOTE_OPEN) + step("OPENED", STRUCT, id=1)
OPENED = step("OPEN", TOKEN, id=raw_id(5))
CANCEL_ALL = b"".join(step(CANCEL, id=n) for n in range(8))
DEAF_PEER = (
    OFFER * 6 + call(REMOTE_OPEN) + step("OPENED", STRUCT, id=13) + call(DEAF)
    + b"".join(step("CTS", id=n, tag=n + 1) for n in range(1, 13, 2))
    + call(PUT, LONG) + call(SEND, value=255) + step("FLUSH") * 3 + call(STREAM_SEND, LONG) + call(FENCE)
    + call(FLUSH) + step("STOP", id=1, tag=2)
)
SESSIONS = {
    "eager": call(RECV, value=4) + step("EAGER", tag=0, payload=b"8 bytes!") + step("EAGER", payload=b"kept")
    + call(PROBE, value=9),
    "sync": step("EAGER", FLAGS | 1, id=raw_id(7), payload=b"x") + call(RECV, value=1)
    + step("EAGER", FLAGS | 1, id=raw_id(8), payload=b"x") + step("WITHDRAW", id=raw_id(8)),
    "split": call(RECV, LONG) + step("EAGER", SPLIT, tag=0, payload=b"two parts")
    + step("EAGER", SPLIT, payload=b"kept"),
    "split_cancel": call(RECV, LONG) + step("EAGER", SPLIT | ZEROS, tag=0, length=99) + call(CANCEL),
    "split_put": OPENED + step("PUT", SPLIT | ZEROS, id=2, tag=raw_id(8), length=99),
    "split_data": call(RECV, value=4) + step("RTS", STRUCT, id=raw_id(3), tag=0, value=32)
    + step("DATA", SPLIT, id=2, tag=0, payload=b"d" * 32),
    "split_got": REMOTE + call(GET, value=16) + step("GOT", SPLIT, tag=3, payload=b"g" * 16),
    "send_sync": call(SEND, SYNC, value=2) + step("SYNC_ACK", id=1),
    "send_sync_cancel": call(SEND, SYNC, value=2) + call(CANCEL) + step("WITHDRAWN", aux=1, id=1),
    "cts": OFFER + step("CTS", id=1, tag=2),
    "fin": OFFER + step("FIN", id=1, tag=2),
    "stop": OFFER + step("CTS", id=1, tag=2) + step("STOP", id=1, tag=2) + step("CTS", id=1, tag=2),
    "cancel_offer": OFFER + call(CANCEL) + step("CTS", id=1, tag=2) + step("FIN", id=1, tag=2),
    "rts": call(RECV, value=4) + step("RTS", STRUCT, id=raw_id(3), tag=0, value=32)
    + step("DATA", id=2, tag=0, payload=b"d" * 32),
    "rts_cancel": call(RECV, value=4) + step("RTS", STRUCT, id=raw_id(3), tag=0, value=32) + call(CANCEL)
    + step("STOPPED", id=2) + call(RECV, value=4) + step("DATA", id=2, tag=0, payload=b"d" * 32),
    "rts_gone": call(RECV, value=4) + step("RTS", STRUCT, id=raw_id(3), tag=0, value=32) + step("GONE", id=2),
    "rts_withdrawn": step("RTS", STRUCT, id=raw_id(3), tag=0, value=32) + step("WITHDRAW", id=raw_id(3)),
    "am": step("AM", aux=3, payload=b"hdrpayload") + call(AM_RECV, value=1) + call(AM_RELEASE),
    "am_rts": step("AM_RTS", STRUCT, aux=4, id=raw_id(3), value=8) + call(AM_RECV, value=1)
    + step("DATA", id=2, tag=0, payload=b"d" * 8),
    "am_send": call(AM_SEND, LONG, aux=6) + step("CTS", id=1, tag=2),
    "stream": call(STREAM_RECV, SYNC, value=9) + step("STREAM", payload=b"some bytes of it") + call(STREAM_SEND, LONG)
    + step("CREDIT", tag=0) + step("STREAM", ZEROS, length=4095) * 3,
    "owner": OPENED + step("PUT", id=2, tag=raw_id(8), payload=b"p" * 16) + step("SIGNAL", id=2, tag=raw_id(1))
    + step("GET", STRUCT, id=2, value=1) + step("ATOMIC", STRUCT, aux=1, id=2, tag=raw_id(8), value=1)
    + step("CLOSE_REMOTE", id=2),
    "revoke": OPENED + call(REVOKE, REALLY) + step("REVOKED", id=2) + step("PUT", id=2, payload=b"p"),
    "open_twice": OPENED + OPENED + step("FLUSH", tag=raw_id(9)),
    "put": REMOTE + call(PUT, LONG) + call(PUT_SIGNAL, value=8) + call(FLUSH),
    "get": REMOTE + call(GET, value=16) + step("GOT", tag=3, payload=b"g" * 16),
    "get_fail": REMOTE + call(GET, value=16) + step("GET_FAIL", aux=17, tag=3),
    "atomic": REMOTE + call(ATOMIC, aux=1) + step("ATOMIC_DONE", STRUCT, tag=3),
    "remote_revoked": REMOTE + step("REVOKE", id=1) + call(PUT, value=8) + call(REMOTE_CLOSE),
    "flush": REMOTE + call(FLUSH, SYNC) + step("FLUSHED", tag=3) + call(FENCE) + step("FLUSHED")
    + call(FLUSH) + step("FLUSH"),
    "pressure": step("PRESSURE", aux=1) + call(SEND, value=1) + step("PRESSURE"),
    "unexpected": step("EAGER", ZEROS, length=4095) * 20 + call(RECV, LONG) * 4,
    "close": OFFER + call(CLOSE, REALLY) + step("FIN", id=1, tag=2) + step("CLOSED"),
    "closed_by_peer": call(RECV, REALLY, value=1) + step("CLOSE"),
    "deaf": DEAF_PEER,
    "deaf_cancel": DEAF_PEER + CANCEL_ALL,
    "not_deaf": OFFER * 6 + b"".join(step("CTS", id=n, tag=n + 1) for n in range(1, 13, 2)),
    "cancel_all": REMOTE + call(GET, value=9) + call(ATOMIC) + call(FLUSH) + call(STREAM_RECV, value=9)
    + CANCEL_ALL,
    "abort": call(RECV, REALLY, value=1) + OFFER + call(ABORT, REALLY),
}
RAW = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(180),
    "nothing": b"",
    "half": frame("HELLO", HELLOS["bare"])[:40],
    "making": FRAMES["making"],
    "early": frame("HELLO", HELLOS["bare"]) + frame("EAGER", b"too early", seq=1),
    **{f"hello_{k}": frame("HELLO", v) for k, v in HELLOS.items()},
}


# ---- fuzz_obj: see the head of fuzz_obj.c ----------------------------------------------------------------------------


def obj(lengths, *, pickle=7, claim=None, header=None, payload=None):
    """An object with a pickle of that many bytes and buffers of those lengths. @claim: the payload is not there, but is said
    to be so long."""
    def pad(b):
        return b + bytes(-len(b) % 64)
    table = struct.pack(f"<{len(lengths)}Q", *lengths)
    inline = len(lengths) <= 120
    if header is None:
        header = b"wob1" + struct.pack("<IQ", len(lengths), pickle) + (table if inline else b"")
    if payload is None and claim is None:
        parts = [bytes([n % 256]) * n for n in (pickle, *lengths)]
        payload = b"".join(parts) if inline else b"".join(map(pad, (table, *parts)))
    return struct.pack("<BQH", claim is not None, claim or 0, len(header)) + header + (payload or b"")


OBJECTS = {
    "plain": obj([]),
    "empty": obj([], pickle=0),
    "buffers": obj([0, 1, 64, 300]),
    "most_inline": obj([2] * 120),
    "table": obj([1] * 121),
    "table_padded": obj([63, 64, 65] * 41, pickle=64),
    "long": obj([1 << 40, 1 << 41], claim=7 + (1 << 40) + (1 << 41)),
    "most": obj([], header=b"wob1" + struct.pack("<IQ", 1 << 24, 9), claim=1 << 30),
    "wraps": obj([], header=b"wob1" + struct.pack("<IQ2Q", 2, 5, (1 << 64) - 1, 1), claim=5),
    "table_wraps": obj([], header=b"wob1" + struct.pack("<IQ", 121, 10), payload=struct.pack("<121Q", *[(1 << 64) - 64] * 121) + bytes(120)),
    "table_beyond": obj([], header=b"wob1" + struct.pack("<IQ", 200, 1), payload=bytes(70)),
}


def write(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main():
    for kind, (letter, inputs) in {
        "frames": (b"\0", FRAMES),
        "hello": (b"\1", HELLOS),
        "url": (b"\2", URLS),
        "address": (b"\3", {k: address(v) for k, v in URLS.items()}),
        "token": (b"\4", {"all": token(), "read": token(1, 1 << 40, (1 << 63) + 1)}),
    }.items():
        for name, data in inputs.items():
            write("fuzz_wire", f"{kind}_{name}", letter + data)
    for name, data in SESSIONS.items():
        write("fuzz_session", f"session_{name}", b"\1" + data)
    for name, data in RAW.items():
        write("fuzz_session", f"raw_{name}", b"\0" + data)
    for name, data in OBJECTS.items():
        write("fuzz_obj", name, data)
    write("fuzz_session", "raw_rejected", b"\2" + frame("HELLO", HELLOS["bare"]))


if __name__ == "__main__":
    main()
