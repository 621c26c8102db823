# SPDX-License-Identifier: BSD-3-Clause
"""ucxx's low level: exceptions, tags, addresses; contexts, workers, listeners, endpoints and requests that are asked whether
they have ended. How it does it: weft/faces/_low.py.

A worker is moved on by who calls its progress(), or by a thread of its own, start_progress_thread(). While that runs it is the
only one that touches the worker: what others call is done there, and waited for.
"""
from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import functools
import logging
import operator
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import weft
from weft import _weft
from weft.faces import _lacks, _low, _settings
from weft.faces._array import Array, as_host, memory
from weft.faces._link import ABORT_S, FULL, Face, Probed, UCXAddress, Worker, number

from .. import exceptions as _e
from ..exceptions import *  # noqa: F401,F403
from ..exceptions import UCXError
from . import _multi

logger = logging.getLogger("ucx")

FACE = Face("ucxx", UCXError, _e.UCXCloseError, _e.UCXCanceledError, _e.UCXConnectionResetError, _e.UCXMessageTruncatedError,
            _e.UCXUnreachableError, _e.UCXEndpointTimeoutError, _e.UCXBusyError, _e.UCXInvalidParamError)

VERSION = (1, 19, 0)                     # of the UCX whose interface this follows


class _Number:
    """64 bits with a type."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        value = int(getattr(value, "value", value))
        if not 0 <= value <= FULL:
            raise OverflowError(f"{type(self).__name__}: 64 bits, got {value}")
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Number):
            return type(other) is type(self) and other.value == self.value
        return isinstance(other, int) and other == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value})"


class UCXXTag(_Number):
    __slots__ = ()


class UCXXTagMask(_Number):
    __slots__ = ()


UCXXTagMaskFull = UCXXTagMask(FULL)
TagProbeResult = Probed


class Feature(enum.Enum):
    TAG, RMA, AMO32, AMO64, WAKEUP, STREAM, AM = 1, 2, 4, 8, 16, 32, 64


def get_ucx_version() -> tuple[int, int, int]:
    return VERSION


def get_current_options() -> dict[str, str]:
    return _settings.current()


class LoopWorker(Worker):
    """The worker of the asyncio interface: whatever event loop it is used in."""

    tag_type = UCXXTag
    enable_delayed_submission = False    # what was asked for; it has no effect
    enable_python_future = False


# ---- the low level ---------------------------------------------------------------------------------------------------

# UCX's numbers for what FACE raises
_STATUS = {_e.UCXCanceledError: -16, _e.UCXConnectionResetError: -25, _e.UCXMessageTruncatedError: -9, _e.UCXUnreachableError: -6,
           _e.UCXEndpointTimeoutError: -80, _e.UCXCloseError: -24}
_OK, _IN_PROGRESS, _ERROR = 0, 1, -3


class UCXConfig:
    """UCX's options as they would be with user_options."""

    def __init__(self, user_options: dict[str, str] | None = None) -> None:
        self.config = UCXContext(user_options).config


class UCXContext(_low.UCXContext):
    """Options, and what may be done: a tuple of Feature."""

    face, features = FACE, (Feature.TAG, Feature.WAKEUP, Feature.STREAM, Feature.AM, Feature.RMA)

    def __init__(self, config_dict: dict[str, str] | None = None, feature_flags: tuple[Feature, ...] = features) -> None:
        super().__init__(config_dict, feature_flags)
        self.feature_flags = functools.reduce(operator.or_, (f.value for f in feature_flags), 0)

    ucxx_ptr = _low.UCXContext.handle
    config = property(_low.UCXContext.get_config)
    info = property(_low.UCXContext.info)        # type: ignore[assignment]


class UCXRequest(_low.UCXRequest):
    """What a transfer returns. The worker keeps it until it has ended."""

    _error: Exception | None = None

    def _settle(self) -> bool:
        if not self.closed() and self._due():
            self._error = self._failure()
            self._end(None)
        return self.closed()

    def _failure(self) -> Exception | None:
        already = next((exc for op in self._ops if not op.cancelled() and isinstance(exc := op.exception(), UCXError)), None)
        return already or super()._failure()

    ucxx_ptr = _low.UCXRequest.handle

    @property
    def completed(self) -> bool:
        if not self._settle():
            self._worker.let_go()
        return self.closed()

    @property
    def status(self) -> int:
        """UCX's number for what became of it: 0 well, 1 not ended, less than 0 failed."""
        if not self._settle():
            return _IN_PROGRESS
        return _OK if self._error is None else _STATUS.get(type(self._error), _ERROR)

    @property
    def recv_buffer(self) -> Any:
        """What an active message brought; None of other requests."""
        return None

    @property
    def future(self) -> Any:
        raise NotImplementedError("weft.ucxx's requests have no Python future: await their wait() (docs/FACES.md)")

    def check_error(self) -> None:
        """Raises what it failed with."""
        if self._settle() and self._error is not None:
            raise self._error

    async def wait_yield(self) -> None:
        """Gives the event loop turns until it has ended. It does not move the worker on."""
        while not self.completed:
            await asyncio.sleep(0)
        self.check_error()

    wait = wait_yield


class _TagRequest(UCXRequest, _low._TagRecv):
    """A receive, into room for so many bytes."""

    def __init__(self, *args: Any, room: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.room = room


class _AmRequest(UCXRequest):
    @property
    def recv_buffer(self) -> Any:
        return as_host(self._ops[0].result()[1]) if self._settle() and self._error is None else None


class UCXBufferRequests(UCXRequest):
    """Several buffers that go as one message: one request for all of them."""

    @property
    def all_completed(self) -> bool:
        return self.completed

    @property
    def requests(self) -> tuple[UCXRequest, ...]:
        return (self,)

    @property
    def py_buffers(self) -> list[Any]:
        """What was received; nothing of a send."""
        if not self.completed:
            raise RuntimeError("Some requests are not completed yet")
        return self._ops[0].result() if self._receives else []


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, first: list[Callable[[], object]]) -> None:
    try:
        for f in first:
            f()
    except Exception:
        logger.exception("the callback of a progress thread's start failed")
    loop.run_forever()


class UCXWorker(_low.UCXWorker):
    """Receives, and moves everything on that hangs on it."""

    tag_type = UCXXTag

    def __init__(self, context: UCXContext, enable_delayed_submission: bool = False, enable_python_future: bool = False) -> None:
        super().__init__(context)
        self.enable_delayed_submission, self.enable_python_future = enable_delayed_submission, enable_python_future
        self._thread: threading.Thread | None = None
        self._first: list[Callable[[], object]] = []
        self._stop: Callable[[], object] = lambda: None

    # -- who moves it on --

    def do(self, f: Callable[[], Any]) -> Any:
        """f(), where the worker is: here, or in its thread."""
        if self._thread in (None, threading.current_thread()):
            return f()
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def there() -> None:
            try:
                done.set_result(f())
            except BaseException as exc:
                done.set_exception(exc)

        self.loop.call_soon_threadsafe(there)
        return done.result()

    def let_go(self) -> None:
        """Who asks again and again leaves the thread time to answer."""
        if self._thread is not None:
            time.sleep(1e-5)

    def set_progress_thread_start_callback(self, cb_func: Callable[..., object], cb_args: tuple[Any, ...] | None = None,
                                           cb_kwargs: dict[str, Any] | None = None) -> None:
        """Called in the thread before anything else."""
        self._first = [functools.partial(cb_func, *(cb_args or ()), **(cb_kwargs or {}))]

    def start_progress_thread(self, polling_mode: bool = False, epoll_timeout: int = -1) -> None:
        """Moves it on in a thread, which sleeps while nothing comes, in both modes. Callbacks are called there."""
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self.loop, self._first), name="weft.ucxx", daemon=True)
            self._thread.start()
            self._stop = weakref.finalize(self, _stop, self.loop, self._thread)

    def stop_progress_thread(self) -> None:
        self._stop()
        self._thread = None
        _weft._progress(self.loop)       # from here on it is this thread's

    def progress_once(self) -> bool:
        """Takes in what arrived. True when there was something. Where a thread does it, there is nothing to do."""
        if self._thread is None:
            return self._take_in()
        self.let_go()
        return False

    def progress(self) -> None:          # type: ignore[override]
        """progress_once() until there is nothing more."""
        while self.progress_once():
            pass

    def init_blocking_progress_mode(self) -> None:      # type: ignore[override]
        """Nothing to do: it can sleep as it is."""

    def arm(self) -> bool:
        """False when something came meanwhile: look at it before sleeping on epoll_file_descriptor."""
        return not self.progress_once()

    def progress_worker_event(self, epoll_timeout: int = -1) -> None:
        if self._thread is None:
            super().progress_worker_event(epoll_timeout)
        else:
            self.let_go()

    def cancel_inflight_requests(self, period: int = 0, max_attempts: int = 1) -> int:
        """Cancels what has not ended. How many requests that were."""
        def here() -> int:
            pending = [req for req in list(self._inflight) if not req._settle()]
            for req in pending:
                req._cancel()
            return len(pending)

        return self.do(here)

    run_request_notifier, stop_request_notifier_thread, wait_request_notifier = (_lacks.Method() for _ in range(3))
    clear_python_futures_pool, populate_python_futures_pool = (_lacks.Method() for _ in range(2))

    def close(self) -> None:
        """Nobody reaches it any more; everything that hangs on it ends."""
        if self._open:
            self.stop_progress_thread()
            super().close()

    # -- what it does --

    @property
    def address(self) -> UCXAddress:
        return self.do(lambda: _low.UCXWorker.address.fget(self))

    def create_endpoint_from_hostname(self, ip_address: str, port: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create(self, ip_address, port, endpoint_error_handling)

    def create_endpoint_from_worker_address(self, address: UCXAddress, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create_from_worker_address(self, address, endpoint_error_handling)

    def post(self, name: str, feature: str | None, make: Callable[[], list[Any]], kind: type[UCXRequest] = UCXRequest,
             **more: Any) -> Any:
        """A request for the operations that make() posts."""
        if feature is not None:
            self.context.need(feature)

        def here() -> UCXRequest:
            req = kind(self, name, (None, None, None), **more)
            self._inflight.add(req)
            try:
                req._ops = make()
            except weft.Error as exc:
                req._error = exc if req._ep is None else req._ep._link.failed_send(exc, name)
                req._end(None)
            if not req._settle() and self._thread is not None:
                for op in req._ops:      # or it would be kept until somebody asks
                    op.add_done_callback(lambda _: req._settle())
            return req

        return self.do(here)

    def _recv(self, name: str, arr: Array, make: Callable[[memoryview], Any], ep: UCXEndpoint | None) -> UCXRequest:
        room = memory(arr, writable=True)

        def ops() -> list[Any]:
            op = make(room)
            if ep is not None:
                ep._link.end_with(op)
            return [op]

        return self.post(name, "TAG", ops, _TagRequest, room=room.nbytes, ep=ep, receives=True)

    def tag_probe(self, tag: UCXXTag, tag_mask: UCXXTagMask = UCXXTagMaskFull,       # type: ignore[override]
                  remove: bool = False) -> Probed:
        """Whether a message waits; remove=True takes it out, for tag_recv_with_handle()."""
        return self.do(lambda: Worker.tag_probe(self, tag, tag_mask, remove))

    def tag_recv(self, arr: Array, tag: UCXXTag, tag_mask: UCXXTagMask = UCXXTagMaskFull, *,
                 ep: UCXEndpoint | None = None) -> UCXRequest:
        """Receives from whoever sends with that tag."""
        return self._recv("tag_recv", arr, lambda room: _weft._recv(self.loop, room, number(tag), number(tag_mask)), ep)

    def tag_recv_with_handle(self, arr: Array, probe_result: Probed, *, ep: UCXEndpoint | None = None) -> UCXRequest:
        """Receives the message that a probe with remove=True took out."""
        if not probe_result.matched:
            raise ValueError("TagProbeResult must be matched")
        if probe_result.message is None:
            raise ValueError("tag_recv_with_handle() needs a probe with remove=True")
        return self._recv("tag_recv_with_handle", arr, probe_result.message.recv, ep)


class UCXEndpoint(_low.UCXEndpoint):
    """One side of a connection. Made by its class methods, at once: it connects meanwhile, and what is posted waits."""

    worker: UCXWorker

    @classmethod
    def _connect(cls, worker: UCXWorker, *args: Any) -> UCXEndpoint:         # type: ignore[override]
        return worker.do(lambda: super(UCXEndpoint, cls)._connect(worker, *args))

    @classmethod
    def create_from_conn_request(cls, listener: UCXListener, conn_request: int,      # type: ignore[override]
                                 endpoint_error_handling: bool) -> UCXEndpoint:
        worker = listener._worker
        return worker.do(lambda: cls(worker, worker._asking.pop(conn_request), endpoint_error_handling))

    ucxx_ptr = _low.UCXEndpoint.handle
    alive = property(_low.UCXEndpoint.is_alive)

    @property
    def worker_handle(self) -> int:
        return self.worker.handle

    @property
    def ucxx_worker_ptr(self) -> int:
        return self.worker.ucxx_ptr

    def am_probe(self) -> bool:
        return self.worker.do(super().am_probe)

    def _post(self, name: str, feature: str, make: Callable[[weft.Endpoint], Any], kind: type[UCXRequest] = UCXRequest,
              receives: bool = False) -> Any:
        return self.worker.post(name, feature, lambda: [make(self._link.ep)], kind, ep=self, receives=receives)

    def am_send(self, arr: Array) -> UCXRequest:
        view = memory(arr)
        return self._post("am_send", "AM", lambda raw: raw.am_send(b"", view))

    def am_recv(self) -> UCXRequest:
        """Receives the next active message, into its recv_buffer."""
        return self._post("am_recv", "AM", lambda raw: raw.am_recv(), _AmRequest, receives=True)

    def stream_send(self, arr: Array) -> UCXRequest:
        view = self._some(memory(arr))
        return self._post("stream_send", "STREAM", lambda raw: raw.write(view))

    def stream_recv(self, arr: Array) -> UCXRequest:
        """Fills arr."""
        room = self._some(memory(arr, writable=True))
        return self._post("stream_recv", "STREAM", lambda raw: raw.readinto(room), receives=True)

    def _some(self, view: memoryview) -> memoryview:
        self.worker.context.need("STREAM")
        if not view.nbytes:
            raise RuntimeError("Length has to be a positive value")
        return view

    def tag_send(self, arr: Array, tag: UCXXTag) -> UCXRequest:
        view = memory(arr)
        return self._post("tag_send", "TAG", lambda raw: raw.send(view, number(tag)))

    def tag_recv(self, arr: Array, tag: UCXXTag, tag_mask: UCXXTagMask = UCXXTagMaskFull) -> UCXRequest:
        """Receives from whoever sends with that tag, as in UCX; the end of this endpoint cancels it."""
        return self.worker.tag_recv(arr, tag, tag_mask, ep=self)

    def tag_recv_with_handle(self, arr: Array, probe_result: Probed) -> UCXRequest:
        return self.worker.tag_recv_with_handle(arr, probe_result, ep=self)

    def tag_send_multi(self, arrays: tuple[Array, ...], tag: UCXXTag) -> UCXBufferRequests:
        """Sends several buffers as one message, to who calls tag_recv_multi()."""
        if not all(isinstance(arr, Array) for arr in arrays):
            raise ValueError("All elements of the `arrays` should be of `Array` type")
        views = [memory(arr) for arr in arrays]
        return self.worker.post("tag_send_multi", "TAG", lambda: _multi.post(self._link, views, number(tag)), UCXBufferRequests,
                                ep=self)

    def tag_recv_multi(self, tag: UCXXTag, tag_mask: UCXXTagMask = UCXXTagMaskFull) -> UCXBufferRequests:
        """Receives what tag_send_multi() sent, from anybody."""
        if number(tag_mask) != FULL:
            raise NotImplementedError("weft.ucxx receives several buffers by a whole tag only")
        loop, at = self.worker.loop, number(tag)
        return self._post("tag_recv_multi", "TAG", lambda raw: loop.create_task(_multi.receive(self._link, at, True)),
                          UCXBufferRequests, receives=True)

    def set_close_callback(self, cb_func: Callable[..., object], cb_args: tuple[Any, ...] | None = None,
                           cb_kwargs: dict[str, Any] | None = None) -> None:
        """Called once, in progress() or the thread, when either side has ended the connection."""
        self._link.set_close_callback(cb_func, cb_args, cb_kwargs)

    def remove_close_callback(self) -> None:
        self._link.remove_close_callback()

    def close(self) -> UCXRequest:       # type: ignore[override]
        """Begins to end it. The request is over when what was sent has arrived, after a second at the latest."""
        return self._close(ABORT_S)

    def _close(self, limit_s: float) -> UCXRequest:
        def here() -> list[Any]:
            was_open, self._open = self._open, False
            return [self._link.begin_close(limit_s)] if was_open else []

        return self.worker.post("close", None, here)

    def close_blocking(self, period: int = 0, max_attempts: int = 1) -> None:
        """Ends it, and waits until what was sent has arrived: period nanoseconds times max_attempts at the most, 0.2 s by default."""
        request = self._close(period * max_attempts / 1e9 or _low._CLOSE_S)
        while not request.completed:
            self.worker.progress_worker_event()


class UCXListener(_low.UCXListener):
    """Made by create()."""

    _worker: UCXWorker
    ucxx_ptr = _low.UCXListener.handle

    @classmethod
    def create(cls, worker: UCXWorker, port: int, cb_func: Callable[..., object], cb_args: tuple[Any, ...] | None = None,
               cb_kwargs: dict[str, Any] | None = None, deliver_endpoint: bool = False,
               endpoint_error_handling: bool = True) -> UCXListener:
        """cb_func(request, *cb_args, **cb_kwargs) is called for each peer, in progress() or the thread: with what
        create_endpoint_from_conn_request() takes, or with the endpoint itself."""
        def endpoint(request: int, *args: Any, **kwargs: Any) -> None:
            cb_func(UCXEndpoint(worker, worker._asking.pop(request), endpoint_error_handling), *args, **kwargs)

        return worker.do(lambda: cls(worker, port, endpoint if deliver_endpoint else cb_func, cb_args, cb_kwargs))

    @property
    def enable_python_future(self) -> bool:
        return self._worker.enable_python_future

    def create_endpoint_from_conn_request(self, conn_request: int, endpoint_error_handling: bool) -> UCXEndpoint:
        return UCXEndpoint.create_from_conn_request(self, conn_request, endpoint_error_handling)

    def close(self) -> None:
        """Takes no more connections."""
        self._worker.do(super().close)


class UCXBufferRequest:
    """One of several buffers: they end together, see UCXBufferRequests."""

    def __init__(self, *args: Any) -> None:
        raise NotImplementedError("weft.ucxx has no request for each buffer of a message: use UCXBufferRequests (docs/FACES.md)")


__all__ = [n for n in globals() if n.startswith("UCX")] + ["Feature", "TagProbeResult", "get_current_options", "get_ucx_version"]

_lacks.said_by(__name__)
