# SPDX-License-Identifier: BSD-3-Clause
"""Making connections: names are resolved by the event loop's own resolver, handlers run as tasks of the loop."""
from __future__ import annotations

import asyncio
import contextvars
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from . import _weft
from ._weft import Endpoint

_SCHEME = "weft://"


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _split(place: str) -> tuple[str, int] | None:
    """host, port of "host:port"; None for what is no such thing: weft itself will say what is wrong with it."""
    if place.startswith("["):
        return None
    host, colon, port = place.rpartition(":")
    if not colon or not host or ":" in host or not port.isdigit():
        return None
    return host, int(port)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as exc:
        raise _weft._error("EUNREACHABLE", host, f"its name cannot be resolved: {exc}", None) from exc
    places = []
    for family, _, _, _, where in found:
        if family == socket.AF_INET6:
            address = where[0]
            if where[3] and "%" not in address:
                address += f"%{where[3]}"
            places.append(f"[{address}]:{where[1]}")
        elif family == socket.AF_INET:
            places.append(f"{where[0]}:{where[1]}")
    return list(dict.fromkeys(places))


async def _numeric(loop: asyncio.AbstractEventLoop, url: str) -> str:
    """@url with every name replaced by its addresses, in the resolver's order."""
    if not isinstance(url, str) or not url.startswith(_SCHEME):
        return url
    out = []
    for place in url[len(_SCHEME):].split(","):
        parts = _split(place)
        if parts is None or _is_numeric(parts[0]):
            out.append(place)
        else:
            out += await _addresses(loop, *parts)
    return _SCHEME + ",".join(out)


async def connect(url: str, *, transports: str | Iterable[str] | None = None, timeout: float | None = None) -> Endpoint:
    """Connects to a listener's URL, "weft://host:port" or several places separated by commas; gives an Endpoint.

    transports: which may be used, "shm,tcp" or a list, where not all. timeout: seconds, else setting connect_timeout.
    What fails names every address that was tried. A connect that is cancelled leaves nothing behind.
    """
    loop = asyncio.get_running_loop()
    return await _weft._connect(await _numeric(loop, url), loop, transports=transports, timeout=timeout)


async def listen(handler: Callable[[Endpoint], object], url: str, *,
                 transports: str | Iterable[str] | None = None) -> Listener:
    """Listens at "weft://address:port" (port 0: the system chooses); gives a Listener.

    For each peer handler(ep) is called, in a copy of the context of listen(), and, where it gives a coroutine, run as a
    task. Its return leaves ep open: the listener keeps it until one side closes it. A handler that fails has its endpoint
    aborted, and the loop's exception handler is told.
    """
    loop = asyncio.get_running_loop()
    if not callable(handler):
        raise TypeError(f"listen(): handler must be callable, not {type(handler).__name__}")
    numeric = await _numeric(loop, url)
    if numeric != url:                       # a name: its first address
        numeric = numeric.partition(",")[0]
    return Listener(handler, numeric, loop, transports)


def in_this_context(f: Callable[[Endpoint], object]) -> Callable[[Endpoint], object]:
    """@f for _weft._listen(), which calls it within any task's context (G120): to run in copies of that which is here now."""
    context = contextvars.copy_context()
    return lambda ep: context.copy().run(f, ep)


class Listener:
    """Takes connections until it is closed; endpoints that it gave to the handler live on. `async with` closes it."""

    def __init__(self, handler: Callable[[Endpoint], object], url: str, loop: asyncio.AbstractEventLoop,
                 transports: str | Iterable[str] | None = None) -> None:
        self._handler = handler
        self._loop = loop
        self._endpoints: set[Endpoint] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._c = _weft._listen(url, loop, in_this_context(self._accepted), self._endpoints.discard, transports=transports)

    @property
    def url(self) -> str:
        """What to connect to, with the port that was chosen."""
        return self._c.url

    @property
    def closed(self) -> bool:
        return self._c.closed

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Those that were accepted and are open."""
        return frozenset(ep for ep in self._endpoints if not ep.closed)

    def close(self) -> None:
        """Takes no more connections."""
        self._c.close()

    async def wait_closed(self) -> None:
        """Waits for the handlers that run."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<weft.Listener at {self.url}{', closed' if self.closed else ''}>"

    def _accepted(self, ep: Endpoint) -> None:
        if not ep.closed:
            self._endpoints.add(ep)
        try:
            coro = self._handler(ep)
        except Exception as exc:
            self._failed(ep, exc)
            return
        if not asyncio.iscoroutine(coro):
            return
        task = self._loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(lambda t: self._done(t, ep))

    def _done(self, task: asyncio.Task[Any], ep: Endpoint) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._abort(ep)
        elif (exc := task.exception()) is not None:
            self._failed(ep, exc)
        elif ep.closed:
            self._endpoints.discard(ep)

    def _failed(self, ep: Endpoint, exc: BaseException) -> None:
        self._abort(ep)
        self._loop.call_exception_handler({"message": f"weft: handler failed for {ep.peer}", "exception": exc})

    def _abort(self, ep: Endpoint) -> None:
        self._endpoints.discard(ep)
        ep.abort()
