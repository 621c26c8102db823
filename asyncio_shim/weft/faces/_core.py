# SPDX-License-Identifier: BSD-3-Clause
"""Contexts, listeners and endpoints: all that weft.ucp and weft.ucxx have in common. Each face derives its classes from these and
adds what only it has. Texts of exceptions are those that programs and tests of these libraries look for."""
from __future__ import annotations

import array
import asyncio
import gc
import inspect
import itertools
import logging
import os
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import weft

from .. import _weft
from .._conn import in_this_context
from . import _settings
from ._array import as_host, memory
from ._link import FULL, Face, Link, Probed, UCXAddress, Worker, connect_failed, hello, number, said
from ._net import hash64bits, url_of

logger = logging.getLogger("ucx")

_serial = itertools.count()              # no two endpoints of a process have the same tags


def _new_tag(what: str) -> int:
    return hash64bits(what, os.urandom(16), next(_serial))


# ---- contexts --------------------------------------------------------------------------------------------------------


class Context:
    """The context of a face, `core._ctx`: its options and its worker. Endpoints and listeners hold it."""

    face: Face
    endpoint_type: type[Endpoint]
    listener_type: type[Listener]
    worker_type: type[Worker] = Worker

    def __init__(self, options: dict[str, str], connect_timeout: float | None) -> None:
        if connect_timeout is None:
            connect_timeout = float(os.environ.get("UCXPY_CONNECT_TIMEOUT", 5))
        self.connect_timeout = connect_timeout
        try:
            self.config = _settings.current(options)
        except ValueError as exc:
            raise self.face.config(str(exc)) from None
        self.transports = _settings.transports(self.config["TLS"])
        self.worker = self.worker_type(self.face, self.transports)
        weakref.finalize(self, self.worker.close).atexit = False
        logger.info("UCP initiated using config: ")
        for key, value in self.config.items():
            logger.info(f"  {key}, {value}")

    @property
    def info(self) -> str:
        """Text for people, and lines that name the transports for who looks for them as UCX prints them."""
        lines = ["#", "# UCP context, by weft", "#"]
        for i, name in enumerate(_settings.shown(self.config["TLS"])):
            lines.append(f"#            resource {i:<3}:  md 0   dev {i:<2}  flags -- {name}/{name}")
        return "\n".join(lines) + "\n"

    def active_transports(self) -> set[str]:
        """UCX's names for the transports that may be used: those that the lines of info name."""
        return set(_settings.shown(self.config["TLS"]))

    def create_listener(self, f: Callable[[Any], Any], port: int | None, error_handling: bool, limit_s: float) -> Listener:
        """Listens at @port (None, 0: the system chooses) on the loop that runs; f(endpoint) for each peer."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise self.face.error("create_listener(): no event loop runs; call it in a coroutine") from None
        port = port or 0
        logger.info(f"create_listener() - Start listening on port {port}")
        return self.listener_type(self, f, port, loop, error_handling, limit_s)

    async def create_endpoint(self, host: str, port: int, error_handling: bool, limit_s: float) -> Endpoint:
        """Connects to a listener of a face. asyncio.TimeoutError after limit_s."""
        ep = None
        try:
            ep = await weft.connect(url_of(host, port), transports=self.transports, timeout=limit_s)
            tags = await hello(ep, _new_tag("msg"), _new_tag("ctrl"), limit_s)
        except BaseException as exc:
            if ep is not None:
                ep.abort()
            if isinstance(exc, (weft.Error, asyncio.TimeoutError, asyncio.IncompleteReadError)):
                raise connect_failed(self.face, exc) from exc
            raise
        return self.endpoint_type(Link(self.face, ep, error_handling), self, tags)

    async def create_endpoint_from_worker_address(self, address: Any, error_handling: bool) -> Endpoint:
        """Connects to a worker; only tags with force_tag=True can be used there. The endpoint is there at once, as in UCX, and
        connects meanwhile: what is sent waits, and that nobody is there shows later."""
        try:
            url = UCXAddress.create_from_buffer(address).url
            ep = _weft._connect_now(url, asyncio.get_running_loop(), transports=self.transports, timeout=self.connect_timeout)
        except ValueError as exc:
            raise self.face.error(f"Invalid address: {exc}") from None
        except weft.Error as exc:
            raise self.face.lost(f"Destination is unreachable: {exc}") from exc
        return self.endpoint_type(Link(self.face, ep, error_handling, by_address=True), self, None)

    def continuous_ucx_progress(self, event_loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Nothing to do: weft hangs itself into each loop that uses it, and lets it sleep."""

    def tag_probe(self, tag: Any, remove: bool = False) -> Probed:
        return self.worker.tag_probe(tag, remove=remove)

    async def recv(self, buffer: Any, tag: Any) -> Any:
        """Receives on the worker, from whoever sends with that tag."""
        room = memory(buffer, writable=True)
        what = f"[Worker Recv] worker: {self.worker.handle:#x}, tag: {number(tag):#x}, nbytes: {room.nbytes}, type: {type(buffer)}"
        op = _weft._recv(asyncio.get_running_loop(), room, number(tag), FULL)
        return await _received(self.face, op, room, what)

    async def recv_with_handle(self, buffer: Any, probed: Probed) -> Any:
        """Receives the message that a probe with remove=True took out."""
        return await take(self.face, buffer, probed)


async def _received(face: Face, op: Any, room: memoryview, what: str) -> None:
    """Awaits a receive; a message of another length than the room is an error, as it is in UCX-Py."""
    try:
        got = await op
    except weft.TruncatedError as exc:
        got = exc.length
    except weft.Error as exc:
        raise said(face, exc, what) from exc
    if got != room.nbytes:
        raise face.truncated(f"<{what}>: length mismatch: {got} (got) != {room.nbytes} (expected)")


async def take(face: Face, buffer: Any, probed: Probed) -> None:
    if not probed.matched:
        raise ValueError("TagProbeResult must be matched")
    if probed.message is None:
        raise ValueError("recv_with_handle() needs a probe with remove=True")
    room = memory(buffer, writable=True)
    what = f"[Recv With Handle] nbytes: {room.nbytes}, type: {type(buffer)}"
    await _received(face, probed.message.recv(room), room, what)


def drop_context(ref: weakref.ref[Context], error: type[Exception]) -> None:
    """The end of reset(): @ref must be the last that knows the context."""
    gc.collect()
    left = ref()
    if left is None:
        return
    text = ("Trying to reset UCX but not all Endpoints and/or Listeners are closed(). The following objects are still "
            "referencing ApplicationContext: ")
    for o in gc.get_referrers(left):
        if not inspect.isframe(o):
            text += f"\n  {o!s}"
    raise error(text)


# ---- listeners -------------------------------------------------------------------------------------------------------


class _Handlers:
    """The handlers of a listener that run. It outlives the Listener; the context it knows by a weak reference."""

    def __init__(self, ctx: Context, f: Callable[[Any], Any], loop: asyncio.AbstractEventLoop, error_handling: bool,
                 limit_s: float) -> None:
        self._ctx, self._f, self._loop = weakref.ref(ctx), f, loop
        self._error_handling, self._limit_s = error_handling, limit_s
        self.tasks: set[asyncio.Task[None]] = set()

    def accepted(self, ep: weft.Endpoint) -> None:
        task = self._loop.create_task(self._handle(ep))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _handle(self, raw: weft.Endpoint) -> None:
        try:
            tags = await hello(raw, _new_tag("msg"), _new_tag("ctrl"), self._limit_s)
        except Exception:
            raw.abort()
            logger.error("a peer connected and did not say hello:\n%s", traceback.format_exc().rstrip())
            return
        ctx = self._ctx()
        if ctx is None:
            raw.abort()
            return
        ep = ctx.endpoint_type(Link(ctx.face, raw, self._error_handling), ctx, tags)
        del ctx, raw                     # who handles the endpoint decides how long they live
        try:
            out = self._f(ep)
            if inspect.isawaitable(out):
                await out
        except Exception:
            logger.error("a listener's callback failed:\n%s", traceback.format_exc().rstrip())

    async def wait(self) -> None:
        while self.tasks:
            await asyncio.wait(self.tasks)
            await asyncio.sleep(0)       # the callbacks of a task run after it


def _listener_gone(raw: Any, handlers: _Handlers) -> None:
    if handlers.tasks:
        logger.warning(f"Listener object is being destroyed, but {len(handlers.tasks)} client handler(s) still run. Most often "
                       "it should have been kept longer.")
    _close_listener(raw, handlers)


def _close_listener(raw: Any, handlers: _Handlers) -> None:
    try:
        raw.close()
    except weft.Error:
        loop = handlers._loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(raw.close)


class Listener:
    """Takes connections until it is closed or dropped."""

    def __init__(self, ctx: Context, f: Callable[[Any], Any], port: int, loop: asyncio.AbstractEventLoop, error_handling: bool,
                 limit_s: float) -> None:
        self._handlers = _Handlers(ctx, f, loop, error_handling, limit_s)
        try:
            self._raw = _weft._listen(f"weft://0.0.0.0:{port}", loop, in_this_context(self._handlers.accepted), _ignore,
                                      transports=ctx.transports)
        except weft.AddressInUseError as exc:
            raise ctx.face.busy(f"Device is busy: {exc}") from exc
        except weft.Error as exc:
            raise ctx.face.error(str(exc)) from exc
        self._ctx: Context | None = ctx
        self._ip, _, port_text = self._raw.url.removeprefix("weft://").rpartition(":")
        self._port = int(port_text)
        weakref.finalize(self, _listener_gone, self._raw, self._handlers).atexit = False

    @property
    def ip(self) -> str:
        return self._ip

    @property
    def port(self) -> int:
        return self._port

    @property
    def active_clients(self) -> int:
        """How many handlers run."""
        return len(self._handlers.tasks)

    async def _wait_for_active_clients(self, progress: object = None) -> None:
        await self._handlers.wait()

    def close(self) -> None:
        """Takes no more connections."""
        if self._ctx is not None:
            _close_listener(self._raw, self._handlers)
            self._ctx = None


def _ignore(_: object) -> None:
    """An accepted endpoint went down: its Link hears of it."""


# ---- endpoints -------------------------------------------------------------------------------------------------------


class Endpoint:
    """One side of a connection, made by create_endpoint() or given to a listener's callback."""

    _done: Any = None                    # what send() and recv() return

    def __init__(self, endpoint: Link, ctx: Context, tags: dict[str, int] | None = None) -> None:
        self._ep: Link | None = endpoint
        self._ctx: Context | None = ctx
        self._face = ctx.face
        self._tags = tags
        self._send_count = 0             # messages that were posted
        self._recv_count = 0
        self._finished_recv_count = 0
        self._close_after_n_recv: int | None = None
        self._shutting_down_peer = False

    # -- state --

    @property
    def alive(self) -> bool:
        return self._ep is not None and self._ep.alive

    @property
    def uid(self) -> int:
        return self._link().handle

    def _link(self) -> Link:
        if self._ep is None:
            raise self._face.closed("Endpoint closed")
        return self._ep

    def _link_to_send(self) -> Link:
        link = self._link()
        link.raise_on_error()
        if not link.alive:
            raise self._face.closed("Endpoint closed")
        return link

    def _link_to_recv(self, tag: int) -> Link:
        """After its end what has arrived may still be received."""
        link = self._link()
        if not link.open and _weft._probe(link.ep.loop, tag, FULL, False) is None:
            link.raise_on_error()
            raise self._face.closed("Endpoint closed")
        return link

    def set_close_callback(self, callback_func: Callable[..., object], cb_args: tuple | None = None,
                           cb_kwargs: dict | None = None) -> None:
        """Called once, when either side has ended the connection."""
        self._link().set_close_callback(callback_func, cb_args, cb_kwargs)

    def _tag(self, which: str, tag: Any, force: bool) -> int:
        if tag is not None and force:
            return number(tag)
        if self._tags is None:
            raise self._face.error("an endpoint that was made from a worker's address has no tags of its own: say tag= and "
                                   "force_tag=True")
        agreed = self._tags[which]
        return agreed if tag is None else hash64bits(agreed, hash(tag))

    def _what(self, kind: str, count: int, tag: int | None, size: Any, of: Any) -> str:
        """How a transfer is called in messages."""
        at = "" if tag is None else f", tag: {tag:#x}"
        return f"[{kind} #{count:03d}] ep: {id(self._ep):#x}{at}, nbytes: {size}, type: {type(of)}"

    # -- tagged messages --

    async def send(self, buffer: Any, tag: Any = None, force_tag: bool = False) -> Any:
        """Sends one message. tag: something hashable that the receiver must name, too; force_tag: an integer, taken as it is."""
        link = self._link_to_send()
        view, at = memory(buffer), self._tag("msg_send", tag, force_tag)
        count, self._send_count = self._send_count, self._send_count + 1
        try:
            await link.ep.send(view, at)
        except weft.Error as exc:
            raise link.failed_send(exc, self._what("Send", count, at, view.nbytes, buffer)) from exc
        return self._done

    async def recv(self, buffer: Any, tag: Any = None, force_tag: bool = False) -> Any:
        """Receives one message, which must be as long as buffer. With force_tag from whoever sends with that tag."""
        at = self._tag("msg_recv", tag, force_tag)
        link = self._link_to_recv(at)
        room = memory(buffer, writable=True)
        count, self._recv_count = self._recv_count, self._recv_count + 1
        try:
            got = await link.receive(room, at, force_tag and tag is not None)
        except weft.TruncatedError as exc:
            got = exc.length
        except (weft.Error, self._face.canceled) as exc:
            raise said(self._face, exc, self._what("Recv", count, at, room.nbytes, buffer)) from exc
        if got != room.nbytes:
            raise self._face.truncated(f"<{self._what('Recv', count, at, room.nbytes, buffer)}>: length mismatch: {got} (got) != "
                                       f"{room.nbytes} (expected)")
        self._count_received()
        return self._done

    async def send_obj(self, obj: Any, tag: Any = None) -> None:
        """Sends a buffer to who calls recv_obj(): its length first, then itself."""
        await self.send(array.array("Q", [memory(obj).nbytes]), tag=tag)
        await self.send(obj, tag=tag)

    async def recv_obj(self, tag: Any = None, allocator: Callable[[int], Any] = bytearray) -> Any:
        """What send_obj() sent, in what allocator(nbytes) gave."""
        nbytes = array.array("Q", [0])
        await self.recv(nbytes, tag=tag)
        room = allocator(nbytes[0])
        await self.recv(room, tag=tag)
        return room

    # -- active messages --

    async def am_send(self, buffer: Any) -> Any:
        """Sends one message to who calls am_recv()."""
        link = self._link_to_send()
        view = memory(buffer)
        count, self._send_count = self._send_count, self._send_count + 1
        try:
            await link.ep.am_send(b"", view)
        except weft.Error as exc:
            raise link.failed_send(exc, self._what("AM Send", count, None, view.nbytes, buffer)) from exc
        return self._done

    async def am_recv(self) -> Any:
        """The next active message, in memory of its own."""
        link = self._link()
        if not link.open and not link.ep._am_waits:
            link.raise_on_error()
            raise self._face.closed("Endpoint closed")
        count, self._recv_count = self._recv_count, self._recv_count + 1
        try:
            _, data = await link.ep.am_recv()
        except weft.Error as exc:
            what = f"[AM Recv #{count:03d}] ep: {id(link):#x}, am_recv"
            raise said(self._face, exc, what) from exc
        self._count_received()
        return self._as_host(data)

    @staticmethod
    def _as_host(data: bytearray) -> Any:
        return as_host(data)

    # -- the end --

    def _count_received(self) -> None:
        self._finished_recv_count += 1
        if self._close_after_n_recv is not None and self._finished_recv_count >= self._close_after_n_recv:
            self.abort()

    def close_after_n_recv(self, n: int, count_from_ep_creation: bool = False) -> None:
        """Ends the endpoint when n messages more, or n since its beginning, were received."""
        have = self._finished_recv_count
        if not count_from_ep_creation:
            n += have
        if self._close_after_n_recv is not None:
            raise self._face.error(f"close_after_n_recv has already been set to: {self._close_after_n_recv} (abs)")
        if n < have:
            raise self._face.error(f"`n` cannot be less than current recv_count: {n} (abs) < {have} (abs)")
        if n == have:
            self.abort()
        else:
            self._close_after_n_recv = n

    def abort(self) -> None:
        """Ends it at once: what waits here is cancelled."""
        link, self._ep, self._ctx = self._ep, None, None
        if link is not None:
            link.abort()

    async def _close(self, limit_s: float) -> None:
        """Ends it when what was sent has arrived, after limit_s at the latest."""
        link = self._ep
        if link is None:
            return
        try:
            await link.close(limit_s)
        finally:
            self._ep = self._ctx = None
