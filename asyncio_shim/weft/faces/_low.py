# SPDX-License-Identifier: BSD-3-Clause
"""ucx-py's low level: requests with callbacks, moved on by who calls worker.progress(). For ucp._libs.ucx_api; ucxx's low level
derives from it.

A worker has an event loop of its own, which nobody runs but progress(): a round of it for each call. A loop that runs in the same
thread stands still meanwhile.

A request that is done when it is posted is None, and its callback is not called, but for receives of messages. Receives for an
endpoint that has died wait for cancel_inflight_messages(), as they do in ucx-py.
"""
from __future__ import annotations

import asyncio
import logging
import selectors
import socket
import struct
import time
import weakref
from collections.abc import Callable
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import Any

import weft

from .. import _weft
from .._conn import in_this_context
from . import _settings
from ._array import Array, _address_of, memory
from ._link import FULL, Face, Link, UCXAddress, Worker, number, said
from ._net import url_of

logger = logging.getLogger("ucx")

_LIMIT_S = 30.0                          # of a connect
_CLOSE_S = 0.2                           # of a close, which blocks
_MEET_S = 1.0                            # ... that comes before the connection does
_SLEEP_S = 0.05                          # of a sleep in progress_worker_event()
_BASE = struct.Struct("<QQ")             # of a packed key: address and length of the memory; the token follows


class UCXObject:
    """What can be closed."""

    def __init__(self) -> None:
        self._open = True

    @property
    def initialized(self) -> bool:
        return self._open

    @property
    def handle(self) -> int:
        return id(self)

    def close(self) -> None:
        self._open = False


class UCXContext(UCXObject):
    """Options, and what may be done: a tuple of Feature."""

    face: Face                           # set by the module that has the exceptions
    features: Any                        # the enum

    def __init__(self, config_dict: dict[str, str] | None = None, feature_flags: tuple[Any, ...] | None = None) -> None:
        super().__init__()
        try:
            self._config = _settings.current(config_dict or {})
        except ValueError as exc:
            raise self.face.config(str(exc)) from None
        self.transports = _settings.transports(self._config["TLS"])
        self.feature_flags: Any = tuple(self.features if feature_flags is None else feature_flags)
        self._may = {f.name for f in self.feature_flags}
        self.cuda_support = False
        self._grants: asyncio.AbstractEventLoop | None = None
        logger.info("UCP initiated using config: ")
        for key, value in self._config.items():
            logger.info(f"  {key}, {value}")

    def get_config(self) -> dict[str, str]:
        return self._config

    def info(self) -> str:
        return weft.explain()

    def alloc(self, size: int) -> UCXMemoryHandle:
        return UCXMemoryHandle.alloc(self, size)

    def map(self, mem: Any) -> UCXMemoryHandle:
        return UCXMemoryHandle.map(self, mem)

    def grant(self, mem: weft.Memory, rights: str) -> bytes:
        """A token for mem. A grant belongs to an event loop: to one that nobody runs, for the memory is of no worker."""
        async def here() -> bytes:
            return mem.grant(None, rights)

        if self._grants is None:
            self._grants = asyncio.new_event_loop()
            weakref.finalize(self, _end_loop, self._grants)
        return self._grants.run_until_complete(here())

    def need(self, feature: str) -> None:
        if feature not in self._may:
            raise ValueError(f"UCXContext must be created with `Feature.{feature}`")


class UCXRequest:
    """One that is under way; `info["status"]` becomes "finished"."""

    def __init__(self, worker: UCXWorker, name: str, cb: tuple[Any, Any, Any], *, ep: UCXEndpoint | None = None,
                 receives: bool = False) -> None:
        self.info: dict[str, Any] = {"status": "pending", "name": name}
        self._worker, self._name, self._cb = worker, name, cb
        self._ep, self._receives = ep, receives
        self._ops: list[Any] = []
        self._dead: Exception | None = None

    @property
    def handle(self) -> int:
        return id(self)

    def closed(self) -> bool:
        return self.info["status"] != "pending"

    def _end(self, exc: Exception | None, value: Any = None) -> None:
        self.info["status"] = "finished"
        self._worker._inflight.discard(self)
        f, args, kwargs = self._cb
        if f is None:
            return
        try:
            f(self if value is None else value, exc, *(args or ()), **(kwargs or {}))
        except Exception:
            logger.exception(f"the callback of {self._name} failed")

    def _failure(self) -> Exception | None:
        for op in self._ops:
            exc = op.exception() if not op.cancelled() else weft.CanceledError("")
            if exc is not None:
                if self._receives or self._ep is None:
                    return said(self._worker._face, exc, self._name)
                return self._ep._link.failed_send(exc, self._name)
        return None

    def _due(self) -> bool:
        return self._dead is None and all(op.done() for op in self._ops)

    def _settle(self) -> bool:
        """Ends it when it is over. True: it is."""
        if not self._due():
            return self.closed()
        exc = self._failure()
        if exc is not None and self._receives and self._ep is not None and not any(op.cancelled() for op in self._ops) \
                and isinstance(exc, self._worker._face.canceled):
            self._dead = exc             # until cancel_inflight_messages()
            return False
        self._end(exc, self._value() if exc is None else None)
        return True

    def _value(self) -> Any:
        return None

    def _cancel(self) -> None:
        if self._dead is not None:
            self._end(self._dead)
        else:
            for op in self._ops:
                op.cancel()


class _AmRequest(UCXRequest):
    def _value(self) -> Any:
        _, data = self._ops[0].result()
        allocator = self._worker.am_host_allocator
        if allocator is bytearray:
            return data
        room = allocator(len(data))
        memoryview(room).cast("B")[:] = data
        return room


def _end_loop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_running():
        loop.close()                     # weft's worker goes with it


class _Selector(selectors.EpollSelector):
    """One that asks before it sleeps whether there is need to, and tells when something is there."""

    ended: Callable[[bool], bool] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.ended is not None and timeout != 0 and self.ended(False):
            timeout = 0
        ready = super().select(timeout)
        if self.ended is not None and ready:
            self.ended(True)
        return ready


class UCXWorker(Worker, UCXObject):
    """Receives, and moves everything on that hangs on it."""

    def __init__(self, context: UCXContext) -> None:
        UCXObject.__init__(self)
        Worker.__init__(self, context.face, context.transports)
        self.context = context
        self.am_host_allocator: Callable[[int], Any] = bytearray
        self._selector = _Selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._inflight: set[UCXRequest] = set()
        self._endpoints: weakref.WeakSet[UCXEndpoint] = weakref.WeakSet()
        self._asking: dict[int, weft.Endpoint] = {}
        self._asked = 0                  # peers of listeners, since the last progress()
        weakref.finalize(self, _end_loop, self.loop)

    def _loop(self, what: str) -> asyncio.AbstractEventLoop:
        return self.loop

    def _round(self, limit_s: float = 0) -> None:
        """A round of the loop, which sleeps until something comes, for limit_s at the most."""
        outer = asyncio._get_running_loop()
        if outer is self.loop:
            raise RuntimeError("a callback cannot move its worker on: it is called by progress()")
        stop = self.loop.call_later(limit_s, self.loop.stop) if limit_s else self.loop.call_soon(self.loop.stop)
        self._selector.ended = self._sleep_ends if limit_s else None
        asyncio._set_running_loop(None)
        try:
            self.loop.run_forever()
        finally:
            asyncio._set_running_loop(outer)
            stop.cancel()

    def _sleep_ends(self, came: bool) -> bool:
        """Ends a round that may sleep, when something has come or what runs before a sleep has ended a request."""
        came = came or self._asked > 0 or any(req._due() for req in self._inflight)
        if came:
            self.loop.stop()
        return came

    def _take_in(self) -> bool:
        """Takes in what arrived and ends requests. True when there was something."""
        n = _weft._progress(self.loop)
        self._round()
        asked, self._asked = self._asked, 0
        return sum(req._settle() for req in list(self._inflight)) + n + asked > 0

    def progress(self) -> bool:
        """Moves everything on. True when there was something."""
        return self._take_in()

    @property
    def epoll_file_descriptor(self) -> int:
        """Readable when something has come, after arm() has said True."""
        return self._selector.fileno()

    def init_blocking_progress_mode(self) -> int:
        """The descriptor to sleep on."""
        return self.epoll_file_descriptor

    def arm(self) -> bool:
        """False when something came meanwhile: look at it before sleeping."""
        return not self._take_in()

    def progress_worker_event(self, epoll_timeout: int = -1) -> None:
        """progress(), for which this sleeps while there is nothing, for so many milliseconds at the most. It may return earlier:
        a message that a round took in before it slept shows only to who probes."""
        if not self._take_in() and epoll_timeout:
            self._round(_SLEEP_S if epoll_timeout < 0 else min(epoll_timeout / 1000, _SLEEP_S))
            self._take_in()

    def tag_probe(self, tag: int) -> bool:                      # type: ignore[override]
        return super().tag_probe(tag).matched

    def cancel_inflight_messages(self) -> int:
        """Ends the receives for endpoints that died. How many."""
        over = [r for r in self._inflight if r._receives and r._ep is not None and not r._ep.is_alive()]
        for req in over:
            req._cancel()
        return len(over)

    def register_am_allocator(self, allocator: Callable[[int], Any], allocator_type: Any) -> None:
        if allocator_type.name != "HOST":
            raise NotImplementedError("weft.ucp does not carry GPU memory in this version: active messages go to the host")
        self.am_host_allocator = allocator

    def ep_create(self, ip_address: str, port: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create(self, ip_address, port, endpoint_error_handling)

    def ep_create_from_worker_address(self, address: Any, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create_from_worker_address(self, address, endpoint_error_handling)

    def ep_create_from_conn_request(self, conn_request: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create_from_conn_request(self, conn_request, endpoint_error_handling)

    def fence(self) -> None:
        """Nothing to do: what an endpoint posts is taken in order."""

    def flush(self, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None) -> UCXRequest | None:
        ops = [op for ep in self._endpoints if ep._link.open for op in ep._flush_ops()]
        return _post(self, "flush", (cb_func, cb_args, cb_kwargs), ops)

    def close(self) -> None:
        if self._open:
            UCXObject.close(self)
            Worker.close(self)
            _end_loop(self.loop)


def _post(worker: UCXWorker, name: str, cb: tuple[Any, Any, Any], ops: list[Any], kind: type[UCXRequest] = UCXRequest,
          **more: Any) -> UCXRequest | None:
    """A request for ops, or None where all are done and well."""
    req = kind(worker, name, cb, **more)
    req._ops = ops
    if all(op.done() for op in ops):
        exc = req._failure()
        if exc is None:
            return None
        if not more.get("receives"):
            raise exc
    worker._inflight.add(req)
    return req


class UCXListener(UCXObject):
    """cb_func(conn_request, *cb_args, **cb_kwargs) is called for each peer, in progress()."""

    def __init__(self, worker: UCXWorker, port: int, cb_func: Callable[..., Any], cb_args: tuple[Any, ...] | None = None,
                 cb_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        asking = worker._asking

        def accepted(raw: weft.Endpoint) -> None:
            worker._asked += 1
            asking[id(raw)] = raw
            cb_func(id(raw), *(cb_args or ()), **(cb_kwargs or {}))

        try:
            self._raw = _weft._listen(f"weft://0.0.0.0:{port}", worker.loop, in_this_context(accepted), lambda raw: None,
                                      transports=worker.context.transports)
        except weft.Error as exc:
            raise worker._face.busy(str(exc)) from exc
        self.ip, _, port_text = self._raw.url.removeprefix("weft://").rpartition(":")
        self.port = int(port_text)
        self._worker = worker
        weakref.finalize(self, self._raw.close).atexit = False

    def close(self) -> None:
        super().close()
        self._raw.close()


class UCXEndpoint(UCXObject):
    """One side of a connection. Made by its class methods, at once: it connects meanwhile, and what is posted waits."""

    def __init__(self, worker: UCXWorker, raw: weft.Endpoint, error_handling: bool, by_address: bool = False) -> None:
        super().__init__()
        self.worker = worker
        self._link = Link(worker._face, raw, error_handling, by_address)
        self._implicit: list[Any] = []   # ops of put_nbi() and get_nbi()
        worker._endpoints.add(self)

    @classmethod
    def _connect(cls, worker: UCXWorker, url: str, error_handling: bool, by_address: bool) -> UCXEndpoint:
        raw = _weft._connect_now(url, worker.loop, transports=worker.context.transports, timeout=_LIMIT_S)
        return cls(worker, raw, error_handling, by_address)

    @classmethod
    def create(cls, worker: UCXWorker, ip_address: str, port: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return cls._connect(worker, url_of(socket.gethostbyname(ip_address), port), endpoint_error_handling, False)

    @classmethod
    def create_from_worker_address(cls, worker: UCXWorker, address: Any, endpoint_error_handling: bool) -> UCXEndpoint:
        return cls._connect(worker, UCXAddress.create_from_buffer(address).url, endpoint_error_handling, True)

    @classmethod
    def create_from_conn_request(cls, worker: UCXWorker, conn_request: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return cls(worker, worker._asking.pop(conn_request), endpoint_error_handling)

    def _request(self, name: str, cb: tuple[Any, Any, Any], post: Callable[[weft.Endpoint], Any], **more: Any) -> UCXRequest | None:
        if not self._open:
            raise self.worker._face.closed("Endpoint closed")
        return _post(self.worker, name, cb, [post(self._link.ep)], ep=self, **more)

    def _flush_ops(self) -> list[Any]:
        ops, self._implicit = [op for op in self._implicit if not op.done()], []
        return [*ops, self._link.ep.flush()]

    def flush(self, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None) -> UCXRequest | None:
        return _post(self.worker, "flush", (cb_func, cb_args, cb_kwargs), self._flush_ops(), ep=self)

    def info(self) -> str:
        return self._link.ep.explain()

    def is_alive(self) -> bool:
        return self._open and self._link.alive

    def raise_on_error(self) -> None:
        self._link.raise_on_error()

    def am_probe(self) -> bool:
        return self._link.am_probe()

    def set_close_callback(self, cb_func: Callable[[], object]) -> None:
        self._link.set_close_callback(cb_func)

    def unpack_rkey(self, rkey: PackedRemoteKey) -> UCXRkey:
        return UCXRkey(self, rkey)

    def close(self) -> None:
        """Ends it; as in UCX that takes as long as the peer needs to hear of it: 0.2 s at most, and a second more when it connects
        yet, for the peer is to see that it came and went. In a callback it takes none."""
        if not self._open:
            return
        super().close()
        if asyncio._get_running_loop() is self.worker.loop or self.worker.loop.is_closed():
            self._link.abort()
            return
        end = time.monotonic() + _MEET_S
        while not self._link.ep.local and not self._link.ep.closed and time.monotonic() < end:
            self.worker.progress()
        op = self._link.ep.close(_CLOSE_S)
        while not op.done():
            self.worker.progress()
        self._link.abort()


# ---- remote memory ---------------------------------------------------------------------------------------------------


class PackedRemoteKey(bytes):
    """Where memory is, and a token for it: bytes, to hand to others. Whoever has it may use the memory."""

    @classmethod
    def from_buffer(cls, buffer: Any) -> PackedRemoteKey:
        return cls(buffer)

    @classmethod
    def from_mem_handle(cls, mem: UCXMemoryHandle) -> PackedRemoteKey:
        return cls(_BASE.pack(mem.address, mem.length) + mem._token)

    @property
    def key(self) -> int:
        return id(self)

    @property
    def length(self) -> int:
        return len(self)


class UCXMemoryHandle(UCXObject):
    """Memory that peers may reach with its key. Made by alloc() and map()."""

    def __init__(self, ctx: UCXContext, mem: weft.Memory, length: int, rights: str = "rw") -> None:
        super().__init__()
        ctx.need("RMA")
        self._context, self._mem, self.length = ctx, mem, length
        self._token = ctx.grant(mem, rights)
        self.address = _address_of(memoryview(mem))

    @classmethod
    def alloc(cls, ctx: UCXContext, size: int) -> UCXMemoryHandle:
        return cls(ctx, weft.alloc(max(size, 1)), size)

    @classmethod
    def map(cls, ctx: UCXContext, mem: Any) -> UCXMemoryHandle:
        view = memory(mem)
        if view.nbytes and not view.readonly:
            return cls(ctx, weft.register(mem), view.nbytes)
        copy = weft.alloc(max(view.nbytes, 1))       # nobody can change the original either
        memoryview(copy)[:view.nbytes] = view.cast("B") if view.nbytes else b""
        return cls(ctx, copy, view.nbytes, "r" if view.readonly else "rw")

    @property
    def mem_handle(self) -> int:
        return id(self._mem)

    def pack_rkey(self) -> PackedRemoteKey:
        return PackedRemoteKey.from_mem_handle(self)


class UCXRkey(UCXObject):
    """A packed key at the endpoint by which its memory is reached."""

    def __init__(self, ep: UCXEndpoint, packed: PackedRemoteKey) -> None:
        super().__init__()
        self.ep = ep
        self._base, self._length = _BASE.unpack_from(packed)
        self._token = bytes(packed)[_BASE.size:]
        self._remote: weft.Remote | None = None

    def at(self, address: int) -> int:
        return address - self._base

    def open(self, raw: weft.Endpoint) -> weft.Remote:
        if self._remote is None:
            self._remote = raw.remote(self._token)
        return self._remote


def _rma(what: str, buffer: Any, nbytes: int, address: int, rkey: UCXRkey) -> Callable[[weft.Endpoint], Any]:
    view = memory(buffer, writable=what == "get")
    view = view.cast("B")[:nbytes] if view.nbytes else view
    return lambda raw: getattr(rkey.open(raw), what)(view, rkey.at(address))


def put_nb(buffer: Any, nbytes: int, remote_addr: int, rkey: UCXRkey, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
           name: str = "put_nb") -> UCXRequest | None:
    return rkey.ep._request(name, (cb_func, cb_args, cb_kwargs), _rma("put", buffer, nbytes, remote_addr, rkey))


def get_nb(buffer: Any, nbytes: int, remote_addr: int, rkey: UCXRkey, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
           name: str = "get_nb") -> UCXRequest | None:
    return rkey.ep._request(name, (cb_func, cb_args, cb_kwargs), _rma("get", buffer, nbytes, remote_addr, rkey))


def _implicit(what: str, buffer: Any, nbytes: int, address: int, rkey: UCXRkey) -> bool:
    ep, post = rkey.ep, _rma(what, buffer, nbytes, address, rkey)
    ep.raise_on_error()
    op = post(ep._link.ep)
    if op.done() and op.exception() is None:
        return True
    ep._implicit.append(op)
    return False


def put_nbi(buffer: Any, nbytes: int, remote_addr: int, rkey: UCXRkey, name: str = "put_nbi") -> bool:
    return _implicit("put", buffer, nbytes, remote_addr, rkey)


def get_nbi(buffer: Any, nbytes: int, remote_addr: int, rkey: UCXRkey, name: str = "get_nbi") -> bool:
    return _implicit("get", buffer, nbytes, remote_addr, rkey)


class RemoteMemory:
    """A range of remote memory."""

    def __init__(self, rkey: UCXRkey, base: int, length: int) -> None:
        self._rkey, self._base, self._length = rkey, base, length

    def _place(self, buffer: Any, size: int, offset: int) -> tuple[Any, int, int, UCXRkey]:
        view = memory(buffer)
        size = size or view.nbytes
        if size + offset > self._length:
            raise IndexError("Out of bounds in UCX RMA interface")
        return buffer, size, self._base + offset, self._rkey

    def put_nb(self, memory: Any, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None, offset: int = 0,
               size: int = 0) -> UCXRequest | None:
        """Writes. None: done."""
        return put_nb(*self._place(memory, size, offset), cb_func, cb_args, cb_kwargs)

    def get_nb(self, memory: Any, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None, offset: int = 0,
               size: int = 0) -> UCXRequest | None:
        """Reads. None: done."""
        return get_nb(*self._place(memory, size, offset), cb_func, cb_args, cb_kwargs)

    def put_nbi(self, memory: Any, size: int = 0, offset: int = 0) -> bool:
        """Writes. False: the buffer is in use until the endpoint was flushed."""
        return put_nbi(*self._place(memory, size, offset))

    def get_nbi(self, memory: Any, size: int = 0, offset: int = 0) -> bool:
        """Reads. False: the bytes are there when the endpoint was flushed."""
        return get_nbi(*self._place(memory, size, offset))


class UCXIO(RawIOBase):
    """Remote memory as a file."""

    def __init__(self, dest: int, length: int, rkey: UCXRkey) -> None:
        self.pos, self.remote_addr, self.length, self.rkey = 0, dest, length, rkey

    def flush(self) -> None:
        done: list[Exception | None] = []
        if not self.rkey.ep.worker.initialized:
            return
        if self.rkey.ep.flush(lambda req, exc: done.append(exc)) is not None:
            while not done:
                self.rkey.ep.worker.progress()
            if done[0] is not None:
                raise done[0]

    def seek(self, pos: int, whence: int = SEEK_SET) -> int:
        from_ = {SEEK_SET: 0, SEEK_CUR: self.pos, SEEK_END: self.length}
        if whence not in from_:
            raise ValueError("Invalid argument")
        self.pos = min(max(from_[whence] + pos, 0), self.length)
        return self.pos

    def _move(self, op: Callable[..., bool], buffer: Any) -> int:
        n = min(memory(buffer).nbytes, self.length - self.pos)
        finished = op(buffer, n, self.remote_addr + self.pos, self.rkey)
        self.pos += n
        if not finished:
            self.flush()
        return n

    def readinto(self, buffer: Any) -> int:
        return self._move(get_nbi, buffer)

    def write(self, buffer: Any) -> int:
        return self._move(put_nbi, buffer)

    def seekable(self) -> bool:
        return True

    readable = writable = seekable


# ---- messages --------------------------------------------------------------------------------------------------------


def _part(buffer: Any, nbytes: int, writable: bool = False) -> memoryview:
    view = memory(buffer, writable)
    return view if nbytes == view.nbytes else view.cast("B")[:nbytes]


def tag_send_nb(ep: UCXEndpoint, buffer: Array, nbytes: int, tag: int, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
                name: str | None = None) -> UCXRequest | None:
    ep.worker.context.need("TAG")
    view, tag = _part(buffer, nbytes), number(tag)
    return ep._request(name or "tag_send_nb", (cb_func, cb_args, cb_kwargs), lambda raw: raw.send(view, tag))


class _TagRecv(UCXRequest):
    room = 0

    def _failure(self) -> Exception | None:
        op, truncated = self._ops[0], self._worker._face.truncated
        exc = None if op.cancelled() else op.exception()
        if isinstance(exc, weft.TruncatedError) or not op.cancelled() and exc is None and op.result() != self.room:
            got = exc.length if exc is not None else op.result()
            return truncated(f"<{self._name}>: length mismatch: {got} (got) != {self.room} (expected)")
        return super()._failure()


def tag_recv_nb(worker: UCXWorker, buffer: Array, nbytes: int, tag: int, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
                name: str | None = None, ep: UCXEndpoint | None = None) -> UCXRequest | None:
    """cb_func is called in any case: UCX's receives always are requests. None: it was."""
    worker.context.need("TAG")
    room = _part(buffer, nbytes, writable=True)
    req = _TagRecv(worker, name or "tag_recv_nb", (cb_func, cb_args, cb_kwargs), ep=ep, receives=True)
    req.room = room.nbytes
    req._ops = [_weft._recv(worker.loop, room, number(tag), FULL)]
    worker._inflight.add(req)
    return None if req._settle() else req


def am_send_nbx(ep: UCXEndpoint, buffer: Array, nbytes: int, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
                name: str | None = None) -> UCXRequest | None:
    ep.worker.context.need("AM")
    view = _part(buffer, nbytes)
    return ep._request(name or "am_send_nbx", (cb_func, cb_args, cb_kwargs), lambda raw: raw.am_send(b"", view))


def am_recv_nb(ep: UCXEndpoint, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None, name: str | None = None) -> None:
    """cb_func(message, exception, ...) is called in any case, at once where the message is there."""
    ep.worker.context.need("AM")
    req = _AmRequest(ep.worker, name or "am_recv_nb", (cb_func, cb_args, cb_kwargs), ep=ep, receives=True)
    req._ops = [ep._link.ep.am_recv()]
    ep.worker._inflight.add(req)
    req._settle()


def stream_send_nb(ep: UCXEndpoint, buffer: Array, nbytes: int, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
                   name: str | None = None) -> UCXRequest | None:
    ep.worker.context.need("STREAM")
    view = _part(buffer, nbytes)
    return ep._request(name or "stream_send_nb", (cb_func, cb_args, cb_kwargs), lambda raw: raw.write(view))


def stream_recv_nb(ep: UCXEndpoint, buffer: Array, nbytes: int, cb_func: Any, cb_args: Any = None, cb_kwargs: Any = None,
                   name: str | None = None) -> UCXRequest | None:
    ep.worker.context.need("STREAM")
    room = _part(buffer, nbytes, writable=True)
    return ep._request(name or "stream_recv_nb", (cb_func, cb_args, cb_kwargs), lambda raw: raw.readinto(room), receives=True)
