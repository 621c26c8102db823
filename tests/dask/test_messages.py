# SPDX-License-Identifier: BSD-3-Clause
"""Short messages and plain arrays skip what Dask does for each; what is on the wire and what arrives is what Dask makes of it."""
import functools
import gc
import subprocess
import sys
import weakref

import msgpack
import numpy
import pytest
from conftest import comm_pair
from distributed.comm import utils
from distributed.core import Status
from distributed.protocol import Serialize, Serialized, ToPickle, dask_deserialize, dask_serialize, dumps, loads, register_serialization_family, to_serialize
from distributed.protocol.serialize import merge_and_deserialize, serialize_and_split
from distributed.sizeof import safe_sizeof
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weft.dask import _messages
from weft.dask._frames import pack
from weft.dask._messages import DESCRIPTION_MAX, LAYOUTS, LIGHT_BYTES, LIGHT_MAX, LIGHT_N, HeavyError, Ready, light, ready

SPLIT = 64 << 20
CONTEXT = {"compression": None, "pickle-protocol": 5}
GRID = numpy.arange(24.0).reshape(4, 6)

PLAIN = {
    "floats": numpy.arange(5.0), "bytes": numpy.arange(9, dtype="u1"), "truths": numpy.array([True, False]), "complex": numpy.ones(3, "c8"),
    "a number": numpy.array(7), "rows": GRID, "columns": GRID.T, "columns of bytes": numpy.zeros((3, 5), "i1", order="F"),
    "only to be read": numpy.frombuffer(b"12345678", "i4"), "one row": GRID[1:2], "a part": GRID[2], "32 axes": numpy.zeros((1,) * 32),
    "the other byte order": numpy.arange(4, dtype=">i4"), "long double": numpy.ones(3, "g"),
}
NOT_PLAIN = {
    "nothing": numpy.zeros((3, 0)), "every second": GRID[::2], "backwards": GRID[0][::-1], "the same again": numpy.broadcast_to(3.0, (4, 5)),
    "objects": numpy.array(["a", None], dtype=object), "texts": numpy.array(["a", "bc"]), "times": numpy.array(["2026-01-01"], "M8[s]"),
    "records": numpy.zeros(3, [("a", "i4"), ("b", "f8")]), "a matrix": numpy.asmatrix(GRID), "a masked one": numpy.ma.masked_less(GRID, 3),
    "another order, no name": numpy.ones(3, ">g"), "a list": [GRID, GRID], "a number of Python's": 7,
}


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    monkeypatch.setattr(_messages, "_headers", {})
    monkeypatch.setattr(_messages, "_layouts", {})


def on_the_wire(msg):
    return [bytes(f) for f in dumps(msg, context=CONTEXT, frame_split_size=SPLIT)]


def carried(frames):
    """As they are received: memory of their own, that may be written."""
    return [memoryview(bytearray(f)) for f in frames]


def same(a, b):
    if isinstance(a, numpy.ndarray):
        assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides
        assert a.flags.writeable == b.flags.writeable and a.tobytes() == b.tobytes()
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("name", [*PLAIN, *NOT_PLAIN])
def test_the_same_bytes_and_the_same_object(name):
    x = (PLAIN | NOT_PLAIN)[name]
    msg = {"op": "x", "x": to_serialize(x)}
    for _ in range(2):                       # asking Dask, and knowing
        made = ready(msg, CONTEXT, SPLIT)
        assert (type(made["x"]) is Ready) == (name in PLAIN)
        assert on_the_wire(made) == on_the_wire(msg)
        frames = on_the_wire(msg)
        same(_messages.loads(carried(frames), False)["x"], loads(carried(frames))["x"])
    assert len(_messages._layouts) == 1 or name not in PLAIN
    assert not _messages._layouts or numpy.asarray(x).dtype.kind in "biufc"


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0, max_side=4)), st.sampled_from("CF"), st.booleans())
def test_any_array(x, order, writeable):
    x = numpy.array(x, order=order)
    x.flags.writeable = writeable
    msg = {"data": {"k": to_serialize(x)}}
    frames = on_the_wire(ready(msg, CONTEXT, SPLIT))
    assert frames == on_the_wire(msg)
    same(_messages.loads(carried(frames), False)["data"]["k"], loads(carried(frames))["data"]["k"])


def test_dask_is_asked_once_for_a_layout(monkeypatch):
    asked = []
    monkeypatch.setattr(_messages, "serialize_and_split", lambda *a, **k: asked.append("w") or serialize_and_split(*a, **k))
    monkeypatch.setattr(_messages, "merge_and_deserialize", lambda *a, **k: asked.append("r") or merge_and_deserialize(*a, **k))
    for i in range(5):
        msg = ready({"x": to_serialize(numpy.full(100, i))}, CONTEXT, SPLIT)
        assert _messages.loads(carried(on_the_wire(msg)), True)["x"][99] == i
    assert asked == ["w", "r"]
    for other in (numpy.zeros(101, int), numpy.zeros(100), numpy.zeros((10, 10), int), numpy.zeros((10, 10), int, order="F")):
        ready({"x": to_serialize(other)}, CONTEXT, SPLIT)
    ready({"x": to_serialize(numpy.zeros(100, int))}, {**CONTEXT, "pickle-protocol": 4}, SPLIT)
    ready({"x": to_serialize(numpy.zeros(100, int))}, CONTEXT, 10)   # cut into pieces: Dask's
    assert asked.count("w") == 7


def test_nothing_is_copied():
    x = numpy.zeros(1000)
    frame = ready({"x": to_serialize(x)}, CONTEXT, SPLIT)["x"].frames[0]
    assert numpy.shares_memory(x, frame)
    for _ in range(2):
        frames = carried(on_the_wire({"x": to_serialize(x)}))
        got = _messages.loads(frames, False)["x"]
        assert numpy.shares_memory(got, frames[2]) and got.flags.writeable


def test_what_the_user_gave_stays():
    msg = {"status": "OK", "data": {"a": to_serialize(GRID), "b": to_serialize("text")}, "x": to_serialize(GRID)}
    copy = {**msg, "data": dict(msg["data"])}
    made = ready(msg, CONTEXT, SPLIT)
    assert msg == copy and type(msg["data"]["a"]) is Serialize and type(msg["x"]) is Serialize
    assert type(made["data"]["a"]) is Ready and made["data"]["b"] is msg["data"]["b"] and type(made["x"]) is Ready
    other = {"op": "x", "data": {"n": 1}}
    assert ready(other, CONTEXT, SPLIT) is other


def test_all_that_a_message_may_have():
    msg = {"op": "x", "n": (1, 2.5, None, True), "status": Status.running, "set": {1, 2}, "b": b"bytes", "tasks": ToPickle(lambda: 7),
           "data": {("k", 1): to_serialize(GRID), ("k", 2): to_serialize([GRID, "text"]), ("k", 3): to_serialize(GRID)}}
    for _ in range(2):
        frames = on_the_wire(ready(msg, CONTEXT, SPLIT))
        got, dask_s_own = _messages.loads(carried(frames), False), loads(carried(frames))
        assert got.keys() == dask_s_own.keys() and got.pop("tasks")() == dask_s_own.pop("tasks")() == 7
        for key, value in dask_s_own.pop("data").items():
            same(got["data"][key], value)
        del got["data"]
        assert got == dask_s_own


def test_a_layout_that_another_s_serialiser_describes_is_not_believed():
    """What was learned counts only as long as Dask's own functions are those that are registered."""
    x = {"x": to_serialize(numpy.arange(10))}
    frames = on_the_wire(ready(x, CONTEXT, SPLIT))
    _messages.loads(carried(frames), False)
    dask_s_own = dask_serialize.dispatch(numpy.ndarray), dask_deserialize.dispatch(numpy.ndarray)
    try:
        dask_serialize.register(numpy.ndarray)(functools.partial(lambda more, x: ({"mine": True}, [b"mine"]), "more"))
        dask_deserialize.register(numpy.ndarray)(lambda header, frames: "mine")
        assert ready(x, CONTEXT, SPLIT) == x
        assert _messages.loads(carried(frames), False) == {"x": "mine"} == _messages.loads(carried(on_the_wire(x)), False)
    finally:
        dask_serialize.register(numpy.ndarray)(dask_s_own[0])
        dask_deserialize.register(numpy.ndarray)(dask_s_own[1])
    same(_messages.loads(carried(frames), False)["x"], numpy.arange(10))


def test_a_serialiser_that_was_there_before_us_stays():
    """Dask's own registers itself when it is imported, which happens when an array is met that nobody has registered anything for."""
    program = """
import numpy
from distributed.protocol import Serialize, dask_deserialize, dask_serialize, dumps, loads
dask_serialize.register(numpy.ndarray)(lambda x: ({}, [b"mine"]))
dask_deserialize.register(numpy.ndarray)(lambda header, frames: "mine")
import weft.dask
from weft.dask import _messages
msg = _messages.ready({"x": Serialize(numpy.zeros(3))}, {"compression": None}, 1 << 20)
frames = [memoryview(bytearray(f)) for f in dumps(msg)]
print(_messages.known, loads(frames), _messages.loads(frames, False))
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.split("\n")[-2] == "True {'x': 'mine'} {'x': 'mine'}"


def test_a_family_of_the_user_s():
    """Its header may look like Dask's."""
    register_serialization_family("mine", lambda x: ({"type": "numpy.ndarray", "sub-header": {"shape": ()}}, [b"12345678"]),
                                  lambda header, frames: numpy.frombuffer(frames[0], "u1") + 1)
    frames = [bytes(f) for f in dumps({"x": to_serialize(GRID)}, serializers=["mine"])]
    for _ in range(2):
        assert _messages.loads(carried(frames), False)["x"].tobytes() == b"23456789"
    assert not _messages._layouts


def test_an_array_in_pieces():
    x = numpy.arange(100)
    frames = [bytes(f) for f in dumps({"x": to_serialize(x)}, context=CONTEXT, frame_split_size=300)]
    assert len(frames) == 5
    for _ in range(2):
        same(_messages.loads(carried(frames), False)["x"], x)
    assert not _messages._layouts


def test_objects_in_an_array_are_for_a_thread():
    with pytest.raises(HeavyError):
        _messages.loads(carried(on_the_wire({"x": to_serialize(numpy.array([1, None], dtype=object))})), True)


def test_many_objects_are_read_from_one_list(monkeypatch):
    """A copy of it for each would take the square of their number."""
    lists = []
    monkeypatch.setattr(_messages, "loads_of_dask", lambda frames: lists.append(frames) or loads(frames))
    values = [numpy.array([i], "M8[s]") if i % 2 else ToPickle(i) for i in range(100)]
    got = _messages.loads(carried(on_the_wire({"x": [to_serialize(v) if i % 2 else v for i, v in enumerate(values)]})), False)["x"]
    assert [v.item() if i % 2 else v for i, v in enumerate(got)] == [v.item() if i % 2 else v.data for i, v in enumerate(values)]
    assert len(lists) == 50 and all(frames is lists[0] for frames in lists)


def test_a_type_of_the_user_s_is_not_kept():
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    x = numpy.zeros(3, numpy.dtype("f8", metadata={"held": held}))
    assert type(ready({"x": to_serialize(x)}, CONTEXT, SPLIT)["x"]) is Ready
    del x, held
    gc.collect()
    assert gone() is None


def test_layouts_are_bounded():
    for n in range(1, 2 * LAYOUTS):
        _messages.loads(carried(on_the_wire(ready({"x": to_serialize(numpy.zeros(n, "u1"))}, CONTEXT, SPLIT))), False)
        assert len(_messages._headers) <= LAYOUTS and len(_messages._layouts) <= LAYOUTS
    frames = on_the_wire({"x": to_serialize(numpy.zeros(2 * LAYOUTS, "u1"))})
    frames[1] = msgpack.packb({**msgpack.unpackb(frames[1]), "more": bytes(DESCRIPTION_MAX)})
    same(_messages.loads(carried(frames), False)["x"], numpy.zeros(2 * LAYOUTS, "u1"))
    assert all(len(description) <= DESCRIPTION_MAX for description in _messages._layouts)


@pytest.mark.parametrize("what", ["too few bytes", "no description", "rubbish", "an offset that is none", "a shape that lies"])
def test_lies_fail_as_dask_fails(what):
    frames = on_the_wire({"x": to_serialize(numpy.arange(10))})
    _messages.loads(carried(frames), False)
    bad = {"too few bytes": [*frames[:2], frames[2][:-1]], "no description": frames[:1] + [b""],
           "rubbish": [frames[0], b"\xff numpy.ndarray", frames[2]], "an offset that is none": [frames[0].replace(b"\x01", b"\x7f"), *frames[1:]],
           "a shape that lies": [frames[0], frames[1].replace(b"\x91\x0a", b"\x91\x0b"), frames[2]]}[what]
    assert bad != frames
    with pytest.raises(Exception) as dask_s_own:  # noqa: PT011 whatever Dask raises
        loads(carried(bad))
    with pytest.raises(dask_s_own.type):
        _messages.loads(carried(bad), False)
    assert _messages.loads(carried(frames), False)["x"].tolist() == list(range(10))


@pytest.mark.parametrize("frames", [
    [b"\xc1"], [msgpack.packb({"x": {"__Pickled__": 1}})], [msgpack.packb({"x": {"__Serialized__": 1}})], [msgpack.packb({"x": {"__Serialized__": "a"}})],
    [msgpack.packb({"x": {"__Serialized__": 1}}), msgpack.packb({"serializer": "dask", "num-sub-frames": 1}), b"1"],
])
def test_what_cannot_be_read_fails_and_is_logged_as_dask_s(run, frames, caplog):
    """Over a comm, which goes on."""
    with pytest.raises(Exception) as dask_s_own:  # noqa: PT011 whatever Dask raises
        loads(carried(frames))

    async def body():
        async with comm_pair() as (a, b):
            header, _, pieces, _ = pack(frames)
            await a._ep.am_send(header, pieces)
            caplog.clear()
            with pytest.raises(dask_s_own.type):
                await b.read()
            assert "Failed to deserialize" in caplog.text
            await a.write({"x": to_serialize(GRID)})
            same((await b.read())["x"], GRID)

    run(body())


SHORT = st.recursive(st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=10)


@given(st.dictionaries(st.text(max_size=5), SHORT, max_size=5))
def test_what_is_light_is_short(msg):
    if light(msg):
        assert safe_sizeof(msg) < 1 << 20


def test_the_largest_that_is_light():
    text = "\U0001f9f5" * LIGHT_MAX
    msg = {str(i): {str(j): text for j in range(LIGHT_N)} for i in range(LIGHT_N)}
    assert light(msg) and sum(map(len, dumps(msg))) < 1.1 * LIGHT_BYTES < utils.OFFLOAD_THRESHOLD


def test_what_is_not_light():
    for msg in ([], "x", {1: 1}, {"x" * 600: 1}, {"x": {"x" * 600: 1}}, {"x": bytes(5000)}, {"x": "x" * 5000}, {"x": []}, {"x": {"y": {"z": 1}}}, dict.fromkeys(range(65)),
                {"x": to_serialize(1)}, {"x": Serialized({}, [])}, {"x": dict.fromkeys(range(65))}):
        assert not light(msg)
    assert light({"op": "x", "n": 1, "b": bytes(LIGHT_MAX), "status": None, "data": {"k": Ready({}, [])}})


# ---- by a comm ----

def through(run, msg, **kwargs):
    """What arrives of @msg, and how often Dask left something to a thread."""
    async def body():
        async with comm_pair() as (a, b):
            for comm in (a, b):
                comm.handshake_options = kwargs.get("options", comm.handshake_options)
                comm.deserialize = kwargs.get("deserialize", True)
            await a.write(msg, serializers=kwargs.get("serializers"))
            return await b.read(deserializers=kwargs.get("deserializers"))

    return run(body())


@pytest.fixture
def offloaded(monkeypatch):
    calls = []
    offload = utils.offload

    async def counted(fn, *args, **kwargs):
        calls.append(fn.__name__)
        return await offload(fn, *args, **kwargs)

    monkeypatch.setattr(utils, "offload", counted)
    return calls


def test_an_array_never_goes_to_a_thread(run, offloaded):
    x = numpy.arange(2 << 20)                # 16 MiB
    same(through(run, {"status": "OK", "data": {"x": to_serialize(x)}})["data"]["x"], x)
    assert offloaded == []


def test_what_takes_long_goes_to_a_thread_as_ever(run, offloaded):
    text = b"x" * (16 << 20)
    assert through(run, {"x": text})["x"] == text
    assert offloaded == ["_to_frames", "_from_frames"]
    del offloaded[:]
    assert through(run, {"x": to_serialize([text, 1]), "y": to_serialize(GRID)})["x"] == [text, 1]
    assert offloaded == ["_to_frames", "_from_frames"]


def test_the_length_that_is_long_may_be_set(run, offloaded, monkeypatch):
    monkeypatch.setattr(utils, "OFFLOAD_THRESHOLD", 1)
    assert through(run, {"op": "x", "y": ToPickle(1)})["y"] == 1
    assert offloaded.count("_to_frames") == offloaded.count("_from_frames") > 1   # handshakes, too
    monkeypatch.setattr(utils, "OFFLOAD_THRESHOLD", False)
    del offloaded[:]
    through(run, {"x": to_serialize([bytes(11 << 20), 1])})
    assert offloaded == []


@pytest.mark.parametrize("kwargs", [{"options": {"compression": "zlib"}}, {"options": {}}, {"serializers": ["pickle"]}, {"serializers": ["dask", "pickle"]},
                                    {"deserializers": ["dask", "pickle"]}])
def test_other_ways_of_dask_s(run, kwargs):
    x = numpy.zeros((1000, 100))
    same(through(run, {"x": to_serialize(x)}, **kwargs)["x"], x)
    assert not _messages._headers or "deserializers" in kwargs
    assert not _messages._layouts or "deserializers" not in kwargs


def test_a_deserializer_that_is_not_allowed(run):
    with pytest.raises(TypeError, match="dask"):
        through(run, {"x": to_serialize(GRID)}, deserializers=["pickle"])


def test_who_passes_messages_on_keeps_them_serialised(run):
    got = through(run, {"x": to_serialize(GRID)}, deserialize=False)
    assert type(got["x"]) is Serialized
    same(through(run, got)["x"], GRID)
