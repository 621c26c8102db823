# SPDX-License-Identifier: BSD-3-Clause
"""What Dask's serialising does, in less time, for the messages that are sent most: short ones, and NumPy arrays. No I/O here.

What Dask writes before an array's bytes depends on nothing but the array's layout: its type, shape and strides, and whether it may be
written. Dask takes 15 us to write that and 10 us to read it, and twice that where the caches are full of data: more than a megabyte's
way takes. So it is asked once for a layout, and what it said is kept. What goes over the wire is what Dask would have written, byte for
byte; what is not as plain as that goes Dask's way.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from dask.sizeof import sizeof
from distributed.comm import utils
from distributed.protocol import Serialize, Serialized, ToPickle, dumps
from distributed.protocol import loads as loads_of_dask
from distributed.protocol.serialize import dask_deserialize, dask_serialize, merge_and_deserialize, msgpack_decode_default, serialize_and_split
from distributed.protocol.utils import msgpack_opts

try:
    import numpy
except ImportError:                          # Dask does without
    numpy = None  # type: ignore[assignment]

LAYOUTS = 256                                # that are known at a time
DESCRIPTION_MAX = 1024                       # bytes of one; 64 dimensions have less
KINDS = "biufc"                              # of types that name says all about

LIGHT_N = 64                                 # values of a message that is light,
LIGHT_MAX = 512                              # and characters or bytes of one, or of a key
LIGHT_BYTES = 4 * LIGHT_N * LIGHT_N * LIGHT_MAX   # less than these it has
TEXTS = (str, bytes)


class Ready(Serialized):
    """An array that Dask need not serialise any more."""


@sizeof.register(Ready)
def _(_: Ready) -> int:
    """Dask asks in order to leave to a thread what would take long; this takes nothing."""
    return 0


LIGHT = (Ready, int, float, bool, type(None))


class HeavyError(Exception):
    """A message has what a thread is for."""


_headers: dict[Any, dict[str, Any] | None] = {}          # of layouts to be written; None: not plain
_layouts: dict[bytes, tuple[Any, ...]] = {}              # by what is read before an array


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= LAYOUTS:
        cache.clear()
    cache[key] = value


def _as_we_know_it() -> bool:
    """Is this Dask's format the one that is described here?"""
    try:
        frames = dumps({"x": Serialize(1), "y": ToPickle(1)}, context={"compression": None})
        return numpy is not None and len(frames) == 4 and msgpack.unpackb(frames[0]) == {"x": {"__Serialized__": 1}, "y": {"__Pickled__": 3}}
    except Exception:                        # of a Dask that nobody knows yet
        return False


def _is_dask_s(fn: Callable[..., Any], name: str) -> bool:
    """Is @fn, which is registered for arrays, Dask's own? Not by importing that: it would take the place of the user's."""
    return getattr(fn, "__name__", None) == name and fn.__module__ == "distributed.protocol.numpy"


known = _as_we_know_it()


# ---- to be written ----

def ready(msg: dict[Any, Any], context: dict[str, Any], split: int) -> dict[Any, Any]:
    """@msg with its plain arrays Ready: those that are marked Serialize among its values, and among those of a dictionary in it, where
    Dask puts the data of several keys. The user's dictionaries stay as they are."""
    new = None
    for key, value in msg.items():
        if type(value) is Serialize:
            done = _ready(value, context, split)
        elif type(value) is dict and value and type(next(iter(value.values()))) is Serialize:
            done = {k: _ready(v, context, split) if type(v) is Serialize else v for k, v in value.items()}
        else:
            continue
        if new is None:
            new = dict(msg)
        new[key] = done
    return msg if new is None else new


def heavy(n: int) -> bool:
    """Would Dask have a thread serialise @n bytes?"""
    return bool(utils.OFFLOAD_THRESHOLD) and n > utils.OFFLOAD_THRESHOLD


def light(msg: Any) -> bool:
    """Is it sure, at little cost, that @msg is not heavy()? Dask adds up the sizes of all that is in it to find out, which takes longer
    than serialising the usual short message."""
    return not heavy(LIGHT_BYTES) and _light(msg)


def _light(msg: Any, within: bool = True) -> bool:
    if type(msg) is not dict or len(msg) > LIGHT_N:
        return False
    for key, value in msg.items():
        if type(key) is not str or len(key) > LIGHT_MAX:
            return False
        if type(value) not in LIGHT and not (type(value) in TEXTS and len(value) <= LIGHT_MAX) and not (within and _light(value, False)):
            return False
    return True


def _ready(marked: Serialize, context: dict[str, Any], split: int) -> Serialize | Ready:
    x = marked.data
    if type(x) is not numpy.ndarray or x.dtype.kind not in KINDS \
            or not _is_dask_s(dask_serialize.dispatch(numpy.ndarray), "serialize_numpy_ndarray"):
        return marked
    flags = x.flags
    key = x.dtype, x.shape, x.strides, flags.writeable, context.get("pickle-protocol"), split
    try:
        header = _headers[key]
    except KeyError:
        dtype = numpy.dtype(x.dtype.str)     # to be kept: one of the user's may hold what it likes
        if dtype != x.dtype:
            return marked
        header = _header(marked, context, split)
        _keep(_headers, (dtype, *key[1:]), header)
    return marked if header is None else Ready(header, [_as_it_lies(x)])


def _as_it_lies(x: Any) -> memoryview:
    return memoryview(x if x.flags.c_contiguous else x.T)


def _header(marked: Serialize, context: dict[str, Any], split: int) -> dict[str, Any] | None:
    """What Dask writes before a plain array, whose bytes it sends as they lie, in one piece; None: it is not plain."""
    x = marked.data
    if not x.nbytes or not x.flags.forc:
        return None
    try:
        _as_it_lies(x)
    except ValueError:                       # a type that has no name in a memoryview, as >g
        return None
    header, frames = serialize_and_split(marked, context=context, size=split)
    return {**header, "num-sub-frames": 1} if len(frames) == 1 and frames[0].nbytes == x.nbytes else None


# ---- that were read ----

def loads(frames: Sequence[memoryview], to_thread: bool) -> Any:
    """The message of @frames, as Dask's loads() has it. @to_thread: what may take long is for a thread; HeavyError, then."""
    one = [b"", *frames[1:]]                 # a message that is one object of this one

    def decode(obj: dict[Any, Any]) -> Any:
        if (at := obj.get("__Serialized__", 0)) > 0:
            description = bytes(frames[at])
            if len(description) <= DESCRIPTION_MAX and b"numpy.ndarray" in description \
                    and (x := _array(description, frames[at + 1])) is not None:
                return x
            mark = "__Serialized__"
        elif (at := obj.get("__Pickled__", 0)) > 0:
            mark = "__Pickled__"
        else:
            return msgpack_decode_default(obj)
        if to_thread:
            raise HeavyError
        one[0] = msgpack.packb({mark: at})
        return loads_of_dask(one)

    if to_thread and heavy(frames[0].nbytes):
        raise HeavyError
    return msgpack.loads(frames[0], object_hook=decode, use_list=False, **msgpack_opts)


def _array(description: bytes, frame: memoryview) -> Any:
    """The array of @frame, if it is a plain one."""
    if not _is_dask_s(dask_deserialize.dispatch(numpy.ndarray), "deserialize_numpy_ndarray"):
        return None
    layout = _layouts.get(description)
    if layout is None:
        return _array_by_dask(description, frame)
    shape, dtype, strides, writeable = layout
    x = numpy.ndarray(shape, dtype, frame, 0, strides)
    if not writeable:
        x.flags.writeable = False
    return x


def _array_by_dask(description: bytes, frame: memoryview) -> Any:
    header = msgpack.loads(description, object_hook=msgpack_decode_default, use_list=False, **msgpack_opts)
    if header.get("type") != "numpy.ndarray" or header.get("serializer") != "dask" or header["num-sub-frames"] != 1 \
            or any(header.get("compression", ())) or "shape" not in header["sub-header"]:
        return None
    x = merge_and_deserialize(header, [frame])
    if x.nbytes == frame.nbytes > 0 and x.dtype.kind in KINDS:
        _keep(_layouts, description, (x.shape, x.dtype, x.strides, x.flags.writeable))
    return x
