# SPDX-License-Identifier: BSD-3-Clause
"""A connection as UCX's interface sees it, on a weft endpoint: who a face is, how its connections begin and end."""
from __future__ import annotations

import asyncio
import functools
import logging
import struct
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import weft

from .. import _weft
from ._net import own_address, url_of

logger = logging.getLogger("ucx")

FULL = 0xFFFF_FFFF_FFFF_FFFF             # every bit of a tag counts
ABORT_S = 1.0                            # how long what was sent before an abort() may still take
_PREFIX = b"weft-worker "                # of a worker's address
_HELLO = struct.Struct("<4sIQQ")
_HELLO_HEAD = (b"face", 1)
_NOBODY = (weft.RefusedError, weft.UnreachableError, weft.RejectedError)


class Face(NamedTuple):
    """The words of a face: its exceptions."""

    name: str
    error: type[Exception]
    closed: type[Exception]
    canceled: type[Exception]
    reset: type[Exception]
    truncated: type[Exception]
    unreachable: type[Exception]
    lost: type[Exception]                # a worker that was reached by its address is gone
    busy: type[Exception]
    config: type[Exception]


def said(face: Face, exc: BaseException, what: str) -> Exception:
    """What a failed transfer is called in that face. @what: "[Recv #003] ep: ..."; it stands before the text."""
    if isinstance(exc, weft.TruncatedError):
        return face.truncated(f"<{what}>: length mismatch: {exc.length} (got) != (expected), Message truncated")
    if isinstance(exc, weft.Error) and exc.scope != "endpoint" and not isinstance(exc, weft.CanceledError):
        return face.error(f"<{what}>: {exc}")
    return face.canceled(f"<{what}>: Request canceled ({exc})" if str(exc) else f"<{what}>: Request canceled")


def _over(ref: weakref.ref[Link], _: object) -> None:
    link = ref()
    if link is not None:
        link.over()


def _call(hook: list[Callable[[], object]]) -> None:
    """Calls the close callback, once."""
    if hook:
        try:
            hook.pop()()
        except Exception:
            logger.exception("a close callback failed")


def _dropped(ep: weft.Endpoint, hook: list[Callable[[], object]]) -> None:
    _hang_up(ep)
    _call(hook)


def _hang_up(ep: weft.Endpoint) -> None:
    """Ends an endpoint, gracefully and in the background, from whatever thread."""
    if ep.closed and ep.error is None:
        return
    try:
        ep.close(ABORT_S)
    except (weft.ThreadError, weft.ForkedError):
        loop = ep.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(ep.abort)
    except weft.ClosedError:
        pass                             # its loop was closed, and it with it


class Link:
    """One side of a connection, `ep._ep` of both faces. Dropped while it is open it is closed."""

    def __init__(self, face: Face, ep: weft.Endpoint, error_handling: bool = True, by_address: bool = False) -> None:
        self.face, self.ep, self.error_handling = face, ep, error_handling
        self._by_address = by_address
        self._ended = False              # by us
        self._wild: set[weft.Op[int]] = set()        # receives from anybody, which end with this link all the same
        self._cut: set[weft.Op[int]] = set()         # those that were ended so
        self._hook: list[Callable[[], object]] = []  # the close callback
        self.begun: dict[int, Any] = {}  # by tag: ucxx's messages of several buffers whose receive was cancelled half way
        ep._on_over(functools.partial(_over, weakref.ref(self)))
        weakref.finalize(self, _dropped, ep, self._hook).atexit = False

    @property
    def handle(self) -> int:
        return id(self)

    @property
    def ucxx_ptr(self) -> int:
        return id(self)

    @property
    def open(self) -> bool:
        return not self._ended and not self.ep.closed

    @property
    def alive(self) -> bool:
        """As `open`; without error handling nobody hears of a peer's death."""
        return not self._ended and (not self.error_handling or not self.ep.closed)

    def is_alive(self) -> bool:
        return self.alive

    def raise_on_error(self) -> None:
        """Raises when the peer is gone and error handling is on."""
        if not self._ended and self.error_handling and self.ep.closed:
            if self._by_address:
                raise self.face.lost(f"Endpoint timeout: {self.ep.error}")
            raise self.face.reset("Connection reset by remote peer")

    def failed_send(self, exc: weft.Error, what: str) -> Exception:
        """What a send that the peer's end has failed is called; a receive is cancelled by it, see said()."""
        if self._ended or exc.scope != "endpoint":
            return said(self.face, exc, what)
        if isinstance(exc, _NOBODY):
            return self.face.lost(f"<{what}>: Endpoint timeout, Destination is unreachable: {exc}")
        if self._by_address:
            return self.face.lost(f"<{what}>: Endpoint timeout: {exc}")
        return self.face.reset(f"<{what}>: Connection reset by remote peer: {exc}")

    def am_probe(self) -> bool:
        """True when an active message waits."""
        _weft._progress(self.ep.loop)
        return self.ep._am_waits

    async def receive(self, room: memoryview, tag: int, anybody: bool) -> int:
        """The next message with that tag: of the peer, or of whoever sent to the worker. Its length."""
        if not anybody:
            return await self.ep.recv(room, tag)
        op = _weft._recv(self.ep.loop, room, tag, FULL)
        if op.done():
            return await op
        self._wild.add(op)
        try:
            return await op
        except asyncio.CancelledError:
            if op not in self._cut:
                raise
            raise self.face.canceled("the endpoint was closed") from None
        finally:
            self._wild.discard(op)
            self._cut.discard(op)

    def end_with(self, op: Any) -> None:
        """Something that waits for anybody is cancelled at the end of this link: now, when that has come."""
        if op.done():
            return
        if not self.open:
            op.cancel()
            return
        self._wild.add(op)
        op.add_done_callback(self._wild.discard)

    def set_close_callback(self, f: Callable[..., object], args: tuple | None = None, kwargs: dict | None = None) -> None:
        """f(*args, **kwargs) is called once, when either side has ended the connection or nobody holds this any more."""
        self._hook[:] = [functools.partial(f, *(args or ()), **(kwargs or {}))]

    def remove_close_callback(self) -> None:
        self._hook.clear()

    def over(self) -> None:
        """The connection is at its end: whoever waits here hears of it."""
        while self._wild:
            op = self._wild.pop()
            self._cut.add(op)
            op.cancel()
        _call(self._hook)

    def abort(self) -> None:
        """Ends it now; what was sent before may still arrive."""
        if not self._ended:
            self._ended = True
            _hang_up(self.ep)
            self.over()

    async def close(self, limit_s: float) -> None:
        """Ends it when what was sent has arrived, after limit_s at the latest."""
        if not self._ended:
            await self.begin_close(limit_s)

    def begin_close(self, limit_s: float) -> weft.Op[None]:
        """As close(), to be awaited elsewhere."""
        self._ended = True
        self.over()
        return self.ep.close(limit_s)


# ---- connections that agree on tags ----------------------------------------------------------------------------------


async def hello(ep: weft.Endpoint, msg_tag: int, ctrl_tag: int, limit_s: float) -> dict[str, int]:
    """Both sides tell by which tags they receive. asyncio.TimeoutError after limit_s."""

    async def exchange() -> bytes:
        await ep.write(_HELLO.pack(*_HELLO_HEAD, msg_tag, ctrl_tag))
        return await ep.readexactly(_HELLO.size)

    *head, msg_send, ctrl_send = _HELLO.unpack(await asyncio.wait_for(exchange(), limit_s))
    if tuple(head) != _HELLO_HEAD:
        raise RuntimeError(f"the peer speaks neither weft.ucp nor weft.ucxx of this version: {head}")
    return {"msg_send": msg_send, "msg_recv": msg_tag, "ctrl_send": ctrl_send, "ctrl_recv": ctrl_tag}


def connect_failed(face: Face, exc: BaseException) -> BaseException:
    """What a failed connect is called in that face."""
    if isinstance(exc, (weft.TimedOutError, asyncio.TimeoutError)):
        return asyncio.TimeoutError(str(exc))
    if isinstance(exc, _NOBODY):
        return face.unreachable(f"Destination is unreachable: {exc}")
    if isinstance(exc, asyncio.IncompleteReadError) or isinstance(exc, weft.Error) and exc.scope == "endpoint":
        return face.reset(f"Connection reset by remote peer: {exc}")
    if isinstance(exc, weft.Error):
        return face.error(str(exc))
    return exc


# ---- workers ---------------------------------------------------------------------------------------------------------


class UCXAddress(bytes):
    """A worker's address, to hand to others: bytes, and picklable. Made by create_from_buffer() and by a worker."""

    def __new__(cls, *args: object) -> UCXAddress:
        raise TypeError("UCXAddress cannot be instantiated directly.")

    @classmethod
    def create_from_buffer(cls, buffer: Any) -> UCXAddress:
        return bytes.__new__(cls, buffer)

    from_buffer = create_from_buffer

    @classmethod
    def create_from_worker(cls, worker: Any) -> UCXAddress:
        return worker.address

    from_worker = create_from_worker

    def __reduce__(self):
        return UCXAddress.create_from_buffer, (bytes(self),)

    @property
    def address(self) -> int:
        return id(self)

    @property
    def length(self) -> int:
        return len(self)

    def tobytes(self) -> bytes:
        return bytes(self)

    @property
    def url(self) -> str:
        """What to connect to. ValueError when it is no such address."""
        if not self.startswith(_PREFIX):
            raise ValueError("these bytes are no address of a worker of weft")
        return self[len(_PREFIX):].decode("ascii", "replace")


class Probed:
    """What a probe found. With remove=True the message is in it, for recv_with_handle()."""

    def __init__(self, found: tuple[int, int, Any] | None, tag_type: type) -> None:
        self.matched = found is not None
        self._found, self._tag_type = found, tag_type

    def _need(self) -> tuple[int, int, Any]:
        if self._found is None:
            raise AttributeError("No message was matched")
        return self._found

    @property
    def sender_tag(self) -> Any:
        return self._tag_type(self._need()[0])

    @property
    def length(self) -> int:
        return self._need()[1]

    @property
    def message(self) -> Any:
        return self._need()[2]

    @property
    def handle(self) -> int | None:
        message = self._need()[2]
        return None if message is None else id(message)

    def __bool__(self) -> bool:
        return self.matched

    def __repr__(self) -> str:
        if not self.matched:
            return "TagProbeResult(matched=False)"
        handle = "" if self.handle is None else f", handle={self.handle}"
        return f"TagProbeResult(matched=True, sender_tag={self.sender_tag}, length={self.length}{handle})"


def number(tag: Any) -> int:
    """A tag as 64 bits."""
    tag = int(getattr(tag, "value", tag))
    if not 0 <= tag <= FULL:
        raise OverflowError(f"a tag has 64 bits, got {tag}")
    return tag


class Worker:
    """What receives: whatever endpoints of one event loop were sent. weft has one for each loop; this stands for all of them.

    Its address is a listener of the loop that asks for it first. Who connects there is kept here: its messages are everybody's.
    """

    tag_type: type = int

    def __init__(self, face: Face, transports: list[str] | None) -> None:
        self._face, self._transports = face, transports
        self._doors: dict[asyncio.AbstractEventLoop, tuple[Any, UCXAddress]] = {}
        self._guests: set[weft.Endpoint] = set()

    @property
    def handle(self) -> int:
        return id(self)

    ucxx_ptr = handle

    def _loop(self, what: str) -> asyncio.AbstractEventLoop:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            raise self._face.error(f"{what}: weft has a worker for each event loop; call it in a coroutine") from None

    def progress(self) -> bool:
        """Takes in what arrived. True when that was something."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False                 # no loop runs: nothing can be under way
        return _weft._progress(loop) > 0

    def tag_probe(self, tag: Any, mask: Any = FULL, remove: bool = False) -> Probed:
        found = _weft._probe(self._loop("tag_probe()"), number(tag), number(mask), remove)
        return Probed(found, self.tag_type)

    @property
    def address(self) -> UCXAddress:
        loop = self._loop("a worker's address")
        if loop not in self._doors:
            self._forget_closed_loops()
            listener = _weft._listen("weft://0.0.0.0:0", loop, self._guests.add, self._guests.discard,
                                     transports=self._transports)
            url = url_of(own_address(), int(listener.url.rpartition(":")[2]))
            self._doors[loop] = listener, UCXAddress.create_from_buffer(_PREFIX + url.encode())
        return self._doors[loop][1]

    def get_address(self) -> UCXAddress:
        return self.address

    @property
    def info(self) -> str:
        return weft.explain()

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._doors if loop.is_closed()]:
            del self._doors[loop]

    def close(self) -> None:
        """Nobody reaches it by its address any more."""
        for listener, _ in self._doors.values():
            try:
                listener.close()
            except weft.Error:
                pass                     # its loop was closed or is another thread's: it goes with that
        self._doors.clear()
        while self._guests:
            try:
                self._guests.pop().abort()
            except weft.Error:
                pass
