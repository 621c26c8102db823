# SPDX-License-Identifier: BSD-3-Clause
"""Memory of the caller: what the faces call an Array, and the two looks at it that sending and receiving need."""
from __future__ import annotations

import ctypes
import math

try:
    import numpy as _np
except ImportError:
    _np = None

_ITEM = {"|b1": 1, "|i1": 1, "|u1": 1}


class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
                ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p)]


def _address_of(view: memoryview) -> int:
    raw = _PyBuffer()
    get = ctypes.pythonapi.PyObject_GetBuffer
    get(ctypes.py_object(view), ctypes.byref(raw), 0x11C)       # PyBUF_FULL_RO: whatever it is like
    address = raw.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))
    return address


def _itemsize(typestr: object) -> int:
    if typestr is None:
        raise ValueError("Expected `str`, but got `None`")
    if typestr == "":
        raise ValueError("Got unexpected empty `str`")
    if typestr in _ITEM:
        return _ITEM[typestr]
    kind, digits = typestr[1:2], typestr[2:]
    if typestr[0] in "<>" and kind in "iufc" and digits in ("2", "4", "8", "16", "32"):
        return int(digits)
    if _np is None:
        raise ValueError(f"Unexpected data type, '{typestr}'. Please install NumPy to handle this format.")
    return _np.dtype(typestr).itemsize


class Array:
    """What an object with the buffer protocol or __cuda_array_interface__ looks like. It holds the object's memory."""

    __slots__ = ("obj", "readonly", "itemsize", "ndim", "shape", "cuda", "_strides", "_view", "_ptr")

    def __init__(self, obj: object) -> None:
        face = getattr(obj, "__cuda_array_interface__", None)
        self.cuda = face is not None
        if self.cuda:
            self._from_cuda(obj, face)
            return
        view = memoryview(obj)
        if view.suboffsets:
            raise NotImplementedError("Suboffsets are not supported")
        self._view, self._ptr = view, None
        self.obj, self.readonly, self.itemsize, self.ndim = view.obj, view.readonly, view.itemsize, view.ndim
        self.shape = view.shape
        self._strides = None if view.c_contiguous else view.strides

    def _from_cuda(self, obj: object, face: dict) -> None:
        if face.get("mask") is not None:
            raise NotImplementedError("mask attribute not supported")
        self._view = None
        self.obj = obj
        self._ptr, self.readonly = face["data"]
        self.itemsize = _itemsize(face["typestr"])
        self.shape = tuple(face["shape"])
        self.ndim = len(self.shape)
        self._strides = face.get("strides")
        if self._strides is not None:
            self._strides = tuple(self._strides)
            if len(self._strides) != self.ndim:
                raise ValueError("The length of shape and strides must be equal")

    @property
    def ptr(self) -> int:
        if self._ptr is None:
            self._ptr = _address_of(self._view)
        return self._ptr

    @property
    def nbytes(self) -> int:
        return self.itemsize * math.prod(self.shape)

    def _dense(self, order: range) -> tuple[int, ...]:
        out, step = [0] * self.ndim, self.itemsize
        for i in order:
            out[i] = step
            step *= self.shape[i]
        return tuple(out)

    @property
    def strides(self) -> tuple[int, ...]:
        return self._dense(range(self.ndim - 1, -1, -1)) if self._strides is None else self._strides

    @property
    def c_contiguous(self) -> bool:
        return self._strides is None or self._strides == self._dense(range(self.ndim - 1, -1, -1))

    @property
    def f_contiguous(self) -> bool:
        if self._strides is None:
            return self.ndim < 2
        return self._strides == self._dense(range(self.ndim))

    @property
    def contiguous(self) -> bool:
        return self.c_contiguous or self.f_contiguous

    def __reduce__(self):
        raise TypeError("an Array cannot be pickled: it stands for memory of this process")


def asarray(obj: object) -> Array:
    return obj if isinstance(obj, Array) else Array(obj)


def memory(obj: object, writable: bool = False) -> memoryview:
    """The bytes of @obj, to send or (writable) to receive into. Whatever weft cannot take is refused in words."""
    if isinstance(obj, Array):
        obj = obj.obj
    if hasattr(obj, "__cuda_array_interface__"):
        raise NotImplementedError(f"weft does not carry GPU memory in this version: a {type(obj).__name__} must be copied to the "
                                  "host before")
    view = memoryview(obj)
    if not view.contiguous:
        raise ValueError("Array must be C or F contiguous")
    if writable and view.readonly:
        raise ValueError("writing to readonly buffer!")
    return view


def new_host(nbytes: int) -> object:
    """Room for a message whose length the peer named: a NumPy array where there is NumPy."""
    return bytearray(nbytes) if _np is None else _np.empty(nbytes, "u1")


def as_host(data: bytearray) -> object:
    return data if _np is None else _np.frombuffer(data, "u1")
