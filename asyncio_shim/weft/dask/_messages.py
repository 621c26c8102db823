# SPDX-License-Identifier: BSD-3-Clause
"""What Dask's serialising does, in less time, for the messages that are sent most: short ones, and NumPy arrays. No I/O here.

What Dask writes before an array's bytes depends on nothing but the array's layout: its type, shape and strides, and whether it may be
written. Dask takes 15 us to write that and 10 us to read it, and twice that where the caches are full of data: more than a megabyte's
way takes. So it is asked once for a layout, and what it said is kept. What goes over the wire is what Dask would have written, byte for
byte; what is not as plain as that goes Dask's way.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
from dask.sizeof import sizeof
from distributed.comm import utils
from distributed.protocol import Serialize, Serialized, ToPickle, dumps
from distributed.protocol import loads as loads_of_dask
from distributed.protocol.serialize import dask_deserialize, dask_serialize, merge_and_deserialize, msgpack_decode_default, serialize_and_split
from distributed.protocol.utils import address_of_memoryview, msgpack_opts

try:
    import numpy
    from distributed.protocol.numpy import deserialize_numpy_ndarray, serialize_numpy_ndarray
except ImportError:                          # Dask does without
    numpy = None  # type: ignore[assignment]

LAYOUTS = 256                                # that are known at a time
DESCRIPTION_MAX = 1024                       # bytes of one that is kept; 64 dimensions have less
KINDS = "biufc"                              # of types that name says all about

LIGHT_N = 64                                 # values of a message that is light,
LIGHT_MAX = 1024                             # and characters or bytes of one
TEXTS = (str, bytes)

OF_SERIALIZED = msgpack.packb({"__Serialized__": 1})   # a message that is the one object described by the next frame
OF_PICKLED = msgpack.packb({"__Pickled__": 1})


class Ready(Serialized):
    """An array that Dask need not serialise any more."""


@sizeof.register(Ready)
def _(_: Ready) -> int:
    """Dask asks in order to leave to a thread what would take long; this takes nothing."""
    return 0


LIGHT = (Ready, int, float, bool, type(None))


class HeavyError(Exception):
    """A message has more than plain arrays."""


_headers: dict[Any, dict[str, Any] | None] = {}          # of layouts to be written; None: not plain
_layouts: dict[bytes, tuple[Any, ...]] = {}              # by what is read before an array


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= LAYOUTS:
        cache.clear()
    cache[key] = value


def _as_we_know_it() -> bool:
    """Is this Dask's format the one that is described here?"""
    if numpy is None:
        return False
    frames = dumps({"x": Serialize(numpy.zeros(3)), "y": ToPickle(1)})
    return len(frames) == 4 and msgpack.unpackb(frames[0]) == {"x": {"__Serialized__": 1}, "y": {"__Pickled__": 3}}


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
    return not heavy(LIGHT_N * LIGHT_N * LIGHT_MAX) and _light(msg)


def _light(msg: Any, within: bool = True) -> bool:
    return type(msg) is dict and len(msg) <= LIGHT_N and all(
        type(v) in LIGHT or (type(v) in TEXTS and len(v) <= LIGHT_MAX) or (within and _light(v, False)) for v in msg.values())


def _ready(marked: Serialize, context: dict[str, Any], split: int) -> Serialize | Ready:
    x = marked.data
    if type(x) is not numpy.ndarray:
        return marked
    flags = x.flags
    key = x.dtype, x.shape, x.strides, flags.writeable, context.get("pickle-protocol"), split
    try:
        header = _headers[key]
    except KeyError:
        header = _header(marked, context, split)
        _keep(_headers, key, header)
    if header is None or dask_serialize.dispatch(numpy.ndarray) is not serialize_numpy_ndarray:
        return marked
    return Ready(header, [memoryview(x if flags.c_contiguous else x.T)])


def _header(marked: Serialize, context: dict[str, Any], split: int) -> dict[str, Any] | None:
    """What Dask writes before a plain array, whose bytes it sends as they lie, in one piece; None: it is not plain."""
    x = marked.data
    if x.dtype.kind not in KINDS or not x.nbytes or not x.flags.forc:
        return None
    header, frames = serialize_and_split(marked, context=context, size=split)
    return {**header, "num-sub-frames": 1} if len(frames) == 1 and frames[0].nbytes == x.nbytes else None


# ---- that were read ----

def loads(frames: Sequence[memoryview], to_thread: bool) -> Any:
    """The message of @frames, as Dask's loads() has it. @to_thread: what may take long is for a thread; HeavyError, then."""
    def decode(obj: dict[Any, Any]) -> Any:
        at = obj.get("__Serialized__", 0)
        if at > 0:
            description = bytes(frames[at])
            layout = _layouts.get(description)
            if layout is not None and dask_deserialize.dispatch(numpy.ndarray) is deserialize_numpy_ndarray:
                return _array(frames[at + 1], *layout)
            if b"numpy.ndarray" in description and (x := _read(description, frames[at + 1:])) is not None:
                return x
            mark = OF_SERIALIZED
        elif (at := obj.get("__Pickled__", 0)) > 0:
            mark = OF_PICKLED
        else:
            return msgpack_decode_default(obj)
        if to_thread:
            raise HeavyError
        return loads_of_dask([mark, *frames[at:]])

    if to_thread and heavy(frames[0].nbytes):
        raise HeavyError
    return msgpack.loads(frames[0], object_hook=decode if len(frames) > 1 else msgpack_decode_default, use_list=False, **msgpack_opts)


def _array(frame: memoryview, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...], writeable: bool) -> Any:
    x = numpy.ndarray(shape, dtype, frame, 0, strides)
    if not writeable:
        x.flags.writeable = False
    return x


def _read(description: bytes, frames: Sequence[memoryview]) -> Any:
    """The array of the first of @frames, if it is a plain one, of a layout that was not known."""
    header = msgpack.loads(description, object_hook=msgpack_decode_default, use_list=False, **msgpack_opts)
    if header.get("type") != "numpy.ndarray" or header.get("serializer") != "dask" or header["num-sub-frames"] != 1 \
            or any(header.get("compression", ())) or "shape" not in header["sub-header"] \
            or dask_deserialize.dispatch(numpy.ndarray) is not deserialize_numpy_ndarray:
        return None
    frame = frames[0]
    x = merge_and_deserialize(header, [frame])
    if type(x) is numpy.ndarray and x.nbytes == frame.nbytes > 0 and x.dtype.kind in KINDS and len(description) <= DESCRIPTION_MAX \
            and x.__array_interface__["data"][0] == address_of_memoryview(frame):
        _keep(_layouts, description, (x.shape, x.dtype, x.strides, x.flags.writeable))
    return x
