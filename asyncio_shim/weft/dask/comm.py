# SPDX-License-Identifier: BSD-3-Clause
"""Dask's communication over weft: the scheme weft://, which `distributed` finds by its entry point.

What a peer is sent follows Dask's own tcp backend where clients can see it: write() returns when everything is posted and does
not wait for the peer to read; close() does; a read that is cancelled leaves the comm closed.
"""
from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, NoReturn

import dask
from dask.utils import parse_timedelta
from distributed.comm.addressing import get_address_host, parse_host_port, unparse_host_port
from distributed.comm.core import BaseListener, Comm, CommClosedError, Connector, FatalCommClosedError
from distributed.comm.registry import Backend
from distributed.comm.utils import ensure_concrete_host, from_frames, to_frames
from distributed.utils import ensure_ip, get_ip, get_ipv6

import weft

from . import _messages
from ._frames import MalformedError, pack, table_header, unpack

logger = logging.getLogger(__name__)

PREFIX = "weft://"
CLOSE_S = 1.0                                # what of it the peer has not acknowledged goes on behind a close()


def _closed(obj: object, exc: BaseException) -> NoReturn:
    raise CommClosedError(f"in {obj}: {type(exc).__name__}: {exc}") from exc


class WeftComm(Comm):
    """A connection between two of Dask's processes."""

    max_shard_size: ClassVar[int] = dask.utils.parse_bytes(dask.config.get("distributed.comm.shard"))

    def __init__(self, ep: weft.Endpoint, local_addr: str, peer_addr: str, deserialize: bool = True) -> None:
        super().__init__(deserialize=deserialize)
        self._ep = ep
        self._local_addr = local_addr        # by these names: distributed.comm.core.connect() reads them
        self._peer_addr = peer_addr
        self._is_closed = False
        self._sends: list[weft.Op[None]] = []    # posted, and not looked at since
        self._incoming: list[memoryview] | None = None   # frames whose bytes are on their way
        self._length = 0                     # their bytes
        self._table: memoryview | None = None    # of a message that follows
        self._reading = False
        self._finalizer = weakref.finalize(self, _dangling, ep, self._sends, repr(self))
        self._finalizer.atexit = False

    @property
    def local_address(self) -> str:
        return self._local_addr

    @property
    def peer_address(self) -> str:
        return self._peer_addr

    @property
    def extra_info(self) -> dict[str, Any]:
        """weft: how messages go, as the first line of weft's explanation says it. In another thread than the loop's nothing."""
        try:
            return {} if self.closed() else {"weft": self._ep.explain().partition("\n")[2].partition("\n")[0].strip()}
        except weft.ThreadError:
            return {}

    async def read(self, deserializers: Any = None) -> Any:
        if self._is_closed:
            raise CommClosedError(f"in {self}: it was closed on this side")
        if self._reading:
            raise RuntimeError(f"in {self}: read() while another read() waits; a comm has one reader at a time")
        self._reading = True
        try:
            frames = await self._frames()
        except (weft.Error, MalformedError, MemoryError) as exc:
            self._broke()
            _closed(self, exc)
        except BaseException:                # cancelled: a part of a message may have come
            self._broke()
            raise
        finally:
            self._incoming = self._table = None
            self._reading = False
        try:
            if _messages.known and self.deserialize and deserializers is None:
                try:
                    return _messages.loads(frames, to_thread=self.allow_offload and _messages.heavy(self._length))
                except Exception:            # HeavyError, or what Dask says better, and logs
                    pass
            return await from_frames(frames, deserialize=self.deserialize, deserializers=deserializers,
                                     allow_offload=self.allow_offload)
        except EOFError as exc:
            self._broke()
            raise CommClosedError(f"in {self}: a message was cut short") from exc

    async def _frames(self) -> list[memoryview]:
        while True:
            _, buffers = await self._ep.am_recv(self._room, abort_on_cancel=True)
            if self._incoming is not None:
                return self._incoming
            self._table = buffers[0]

    def _room(self, header: bytes, length: int) -> list[memoryview]:
        self._incoming, buffers = unpack(header, length, self._table)
        self._length = length
        return buffers

    async def write(self, msg: Any, serializers: Any = None, on_error: Any = "message") -> int:
        if self._is_closed:
            raise CommClosedError(f"in {self}: it was closed on this side")
        context = {"sender": self.local_info, "recipient": self.remote_info, **self.handshake_options}
        if _messages.known and type(msg) is dict and serializers is None and not context.get("compression", "auto"):
            msg = _messages.ready(msg, context, self.max_shard_size)
        frames = await to_frames(msg, allow_offload=self.allow_offload and not _messages.light(msg), serializers=serializers,
                                 on_error=on_error, context=context, frame_split_size=self.max_shard_size)
        header, table, pieces, total = pack(frames)
        try:
            failed = self._failed_send()
            if failed is None:
                if table:
                    self._sends.append(self._ep.am_send(table_header(table), table))
                self._sends.append(self._ep.am_send(header, pieces))
                failed = self._failed_send()
        except weft.Error as exc:
            self._broke()
            _closed(self, exc)
        except BaseException:                # half a message may have been sent
            self._broke()
            raise
        if failed is not None:
            self._broke()
            _closed(self, failed)
        return total

    def _failed_send(self) -> BaseException | None:
        """What is known to have failed. What fails later is heard of by the next who writes or reads, for then the endpoint is
        down. No callbacks: each would be a turn of the loop, in the midst of waiting for the answer. Not raised here: an operation
        keeps its error, and that would keep by its traceback what was written."""
        failed = None
        done = [op for op in self._sends if op.done()]
        if done:
            self._sends[:] = [op for op in self._sends if not op.done()]
            for op in done:
                failed = failed or op.exception()
                op.close()                   # what the others say nobody hears
        return failed

    async def close(self) -> None:
        """Waits until the peer has what was written, as long as Dask lets a tcp connection wait for its peer. Where all of it has left
        this process, CLOSE_S at the most: a peer that is busy takes it when it comes to it, and the end with it. Cancelled it aborts."""
        if self._is_closed:
            return
        self._is_closed = True
        self._finalizer.detach()
        limit = parse_timedelta(dask.config.get("distributed.comm.timeouts.tcp"), default="seconds")
        end = self._ep.close(limit)
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(end), CLOSE_S)
            if any(not op.done() for op in self._sends):
                await end
        except BaseException:
            self._ep.abort()
            raise
        finally:
            _forget(self._sends)

    def abort(self) -> None:
        """Ends it now, also while close() waits."""
        self._is_closed = True
        self._finalizer.detach()
        _end(self._ep, self._sends)

    def _broke(self) -> None:
        """Ends it after a failure; where close() waits that has begun, and what was written is still to arrive."""
        if not self._is_closed:
            self.abort()

    def closed(self) -> bool:
        return self._is_closed or self._ep.closed


def _on_its_loop(end: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
    """Calls @end; from another thread, where Dask's tasks and the garbage collector run, by way of the loop."""
    try:
        end()
    except (weft.ThreadError, weft.ForkedError):
        with contextlib.suppress(RuntimeError):   # the loop is closed, and what it had with it
            loop.call_soon_threadsafe(end)


def _forget(sends: list[weft.Op[None]]) -> None:
    for op in sends:
        op.close()                           # nobody is told if it failed
    sends.clear()


def _end(ep: weft.Endpoint, sends: list[weft.Op[None]]) -> None:
    def end() -> None:
        ep.abort()
        _forget(sends)

    _on_its_loop(end, ep.loop)


def _dangling(ep: weft.Endpoint, sends: list[weft.Op[None]], what: str) -> None:
    if not ep.closed:
        logger.warning("Closing dangling comm %s", what)
    _end(ep, sends)


def _refuse_encryption(place: str, args: dict[str, Any]) -> None:
    if args.get("require_encryption"):
        raise RuntimeError(f"encryption required by Dask configuration, refusing communication from/to {PREFIX + place!r}: "
                           "weft does not encrypt yet; use tls://")


def _host_port(address: str, default_port: int | None = None) -> tuple[str, int]:
    """As Dask takes an address apart, which says "invalid literal for int()" of a port that is no number."""
    try:
        host, port = parse_host_port(address, default_port)
    except ValueError as exc:
        why = f"{address.rpartition(':')[2]!r} is no port" if "int()" in str(exc) else exc
        raise ValueError(f"{PREFIX}{address}: {why}; {PREFIX}HOST:PORT") from exc
    return host, port


class WeftConnector(Connector):
    comm_class: ClassVar[type[WeftComm]] = WeftComm   # as those of Dask's own backends have it, for who derives

    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> WeftComm:
        _refuse_encryption(address, connection_args)
        host, port = _host_port(address)
        try:
            ep = await weft.connect(PREFIX + unparse_host_port(host, port))
        except (weft.ProtocolError, weft.VersionError, weft.NotSupportedError) as exc:
            raise FatalCommClosedError(f"no connection to {PREFIX + address}: {exc}") from exc   # the same would happen again
        except weft.URLError as exc:
            raise ValueError(str(exc)) from exc
        except weft.Error as exc:
            raise CommClosedError(f"no connection to {PREFIX + address}: {exc}") from exc
        if not (local := ep.local):
            ep.abort()
            raise CommClosedError(f"no connection to {PREFIX + address}: the peer closed it at once")
        return self.comm_class(ep, PREFIX + local, PREFIX + address, deserialize)


def _scheduler_host(handler: object) -> str | None:
    """The address that a worker's scheduler has, where @handler is a worker's."""
    address = getattr(getattr(getattr(handler, "__self__", None), "scheduler", None), "address", None)
    if not isinstance(address, str):
        return None
    with contextlib.suppress(OSError, ValueError):   # whoever connects to it will say so
        return ensure_ip(get_address_host(address))
    return None


def _facing(host: str | None, bound: str) -> str | None:
    """Which of this host's addresses a worker's scheduler at @host reaches it by, where it listens at all of one family.
    Dask tells that as default_host, but to tcp and tls only, which it knows by name; the way outward, which is taken otherwise, may
    be another network. None: no worker, one address, or another family than the scheduler's."""
    if host is None or bound not in ("0.0.0.0", "::") or (":" in host) != (":" in bound):
        return None
    return (get_ipv6 if ":" in host else get_ip)(host)


class WeftListener(BaseListener):
    prefix = PREFIX                          # Worker reads it, as `ip` and `port`

    def __init__(self, address: str, comm_handler: Callable[[Comm], Awaitable[None]], deserialize: bool = True,
                 allow_offload: bool = True, default_host: str | None = None, default_port: int = 0,
                 **connection_args: Any) -> None:
        super().__init__()
        _refuse_encryption(address, connection_args)
        self.ip, self.port = _host_port(address, default_port)
        self.default_host = default_host
        self.comm_handler = comm_handler
        self.deserialize = deserialize
        self.allow_offload = allow_offload
        self._listener: weft.Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bound: tuple[str, int] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        scheduler = _scheduler_host(self.comm_handler)
        ip = self.ip or ("::" if scheduler and ":" in scheduler else "0.0.0.0")
        try:
            self._listener = await weft.listen(self._accepted, PREFIX + unparse_host_port(ip, self.port))
        except weft.AddressInUseError as exc:
            raise OSError(errno.EADDRINUSE, str(exc)) from exc   # Dask tries its next port
        except weft.URLError as exc:
            raise ValueError(str(exc)) from exc
        self._bound = parse_host_port(self._listener.url.removeprefix(PREFIX))
        self.default_host = self.default_host or _facing(scheduler, self._bound[0])

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and self._loop is not None:
            _on_its_loop(listener.close, self._loop)

    async def _accepted(self, ep: weft.Endpoint) -> None:
        local, peer = ep.local, PREFIX + ep.peer
        if self._listener is None or not local:   # stopped since: its handshakes were aborted already, and have no limit of time
            ep.abort()
            return
        comm = WeftComm(ep, PREFIX + local, peer, self.deserialize)
        comm.allow_offload = self.allow_offload
        try:
            await self.on_connection(comm)
        except CommClosedError:
            logger.info("Connection from %s closed before handshake completed", peer)
            return
        await self.comm_handler(comm)

    def get_host_port(self) -> tuple[str, int]:
        if self._bound is None:
            raise ValueError("invalid operation on non-started WeftListener")
        return self._bound

    @property
    def listen_address(self) -> str:
        return PREFIX + unparse_host_port(*self.get_host_port())

    @property
    def contact_address(self) -> str:
        host, port = self.get_host_port()
        return PREFIX + unparse_host_port(ensure_concrete_host(host, default_host=self.default_host), port)


class WeftBackend(Backend):
    """What the entry point `weft` names."""

    _connector_class: ClassVar[type[WeftConnector]] = WeftConnector   # the same
    _listener_class: ClassVar[type[WeftListener]] = WeftListener

    def get_connector(self) -> WeftConnector:
        return self._connector_class()

    def get_listener(self, loc: str, handle_comm: Callable[[Comm], Awaitable[None]], deserialize: bool,
                     **connection_args: Any) -> WeftListener:
        return self._listener_class(loc, handle_comm, deserialize, **connection_args)

    def get_address_host(self, loc: str) -> str:
        return parse_host_port(loc)[0]

    def get_address_host_port(self, loc: str) -> tuple[str, int]:
        return parse_host_port(loc)

    def resolve_address(self, loc: str) -> str:
        host, port = parse_host_port(loc)
        return unparse_host_port(ensure_ip(host), port)

    def get_local_address_for(self, loc: str) -> str:
        host = ensure_ip(parse_host_port(loc)[0])
        return unparse_host_port((get_ipv6 if ":" in host else get_ip)(host), None)


class EncryptedBackend(WeftBackend):
    """What the entry point `wefts` names: says that there is none yet."""

    def get_connector(self) -> WeftConnector:
        raise RuntimeError("wefts:// is not there yet: weft does not encrypt; use tls:// where that is needed")

    def get_listener(self, *args: Any, **kwargs: Any) -> WeftListener:
        raise RuntimeError("wefts:// is not there yet: weft does not encrypt; use tls:// where that is needed")
