# SPDX-License-Identifier: BSD-3-Clause
"""ucxx._lib.libucxx: workers, endpoints and requests that a program moves on itself, or a thread of the worker."""
import asyncio
import select
import time

import pytest

from conftest import HERE, LIMIT
import weft.ucxx
from weft.ucxx._lib import libucxx as low
from weft.ucxx._lib.arr import Array
from weft.ucxx.testing import wait_requests

np = pytest.importorskip("numpy")
TAG = low.UCXXTag(7)


class Pair:
    """An endpoint of one worker and that which another's listener made of it."""

    def __init__(self, mode="blocking", *features):
        flags = features or (low.Feature.TAG, low.Feature.STREAM, low.Feature.AM, low.Feature.WAKEUP)
        self.mode = mode
        self.here, self.there = (low.UCXWorker(low.UCXContext(feature_flags=flags)) for _ in range(2))
        for worker in (self.here, self.there):
            if mode == "thread":
                worker.start_progress_thread()
            else:
                worker.init_blocking_progress_mode()
        accepted = []
        self.listener = low.UCXListener.create(self.there, 0, lambda ep, word: accepted.append((ep, word)), ("w",),
                                               deliver_endpoint=True)
        self.ep = low.UCXEndpoint.create(self.here, HERE, self.listener.port, True)
        self.until(lambda: accepted)
        (self.peer, word), = accepted
        assert word == "w"

    def until(self, true):
        end = time.monotonic() + LIMIT
        while not true():
            assert time.monotonic() < end
            if self.mode == "blocking":
                self.here.progress()
                self.there.progress()
            else:
                time.sleep(0.001)

    def done(self, *requests):
        self.until(lambda: all([r.completed for r in requests]))
        for r in requests:
            r.check_error()
            assert r.status == 0

    def close(self):
        for worker in (self.here, self.there):
            worker.close()


@pytest.fixture(params=["blocking", "thread"])
def two(request):
    made = []

    def make(*features):
        made.append(Pair(request.param, *features))
        return made[-1]

    yield make
    for p in made:
        p.close()


@pytest.mark.parametrize("kind", [low.UCXXTag, low.UCXXTagMask])
def test_tags_are_numbers(kind):
    a, b = kind(42), kind(42)
    assert a == b == 42 and 42 == a and a != 43 and a != -1 and a != "42" and a != 42.0 and a is not None
    assert hash(a) == hash(b) and {a: 1}[b] == 1 and int(a) == 42
    assert repr(a) == f"{kind.__name__}(42)"
    assert low.UCXXTag(42) != low.UCXXTagMask(42) and low.UCXXTagMaskFull == 2**64 - 1


@pytest.mark.parametrize("delayed", [True, False])
@pytest.mark.parametrize("future", [True, False])
def test_a_worker_tells_what_was_asked_for(delayed, future):
    weft.ucxx.reset()
    weft.ucxx.init(enable_delayed_submission=delayed, enable_python_future=future)
    for worker in (weft.ucxx.core._get_ctx().worker, low.UCXWorker(low.UCXContext(), delayed, future)):
        assert worker.enable_delayed_submission is delayed and worker.enable_python_future is future
    weft.ucxx.reset()


def test_a_context():
    context = low.UCXContext({"SEG_SIZE": "3M"}, (low.Feature.TAG, low.Feature.AM))
    assert context.config["SEG_SIZE"] == "3M" and context.cuda_support is False and isinstance(context.info, str)
    assert context.feature_flags == low.Feature.TAG.value | low.Feature.AM.value
    assert low.UCXConfig({"SEG_SIZE": "4M"}).config["SEG_SIZE"] == "4M"
    with pytest.raises(low.UCXInvalidParamError):
        low.UCXContext({"SEG_SIZE": "much"})


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_tag(two, size):
    p, out, into = two(), b"x" * size, bytearray(size)
    p.done(p.peer.tag_recv(Array(into), TAG), p.ep.tag_send(Array(out), TAG))
    assert into == out
    into = bytearray(size)
    p.done(p.ep.tag_send(Array(out), TAG), p.there.tag_recv(Array(into), TAG, low.UCXXTagMaskFull))
    assert into == out


def test_probe(two):
    p = two()
    assert not p.there.tag_probe(TAG)
    p.done(p.ep.tag_send(Array(b"abc"), TAG), p.ep.tag_send(Array(b"defg"), TAG))
    p.until(lambda: p.there.tag_probe(TAG, tag_mask=low.UCXXTagMaskFull).matched)
    for take, text in ((p.there.tag_recv_with_handle, b"abc"), (p.peer.tag_recv_with_handle, b"defg")):
        p.until(lambda: p.there.tag_probe(TAG))
        found = p.there.tag_probe(TAG, remove=True)
        assert found.sender_tag == TAG and found.length == len(text) and found.handle
        into = bytearray(len(text))
        p.done(take(Array(into), found))
        assert into == text


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_active_message(two, size):
    p, out = two(), b"y" * size
    early = p.peer.am_recv()
    assert early.recv_buffer is None
    p.done(p.ep.am_send(Array(out)), early)
    assert bytes(early.recv_buffer) == out
    sent = p.ep.am_send(Array(out))
    p.until(p.peer.am_probe)
    late = p.peer.am_recv()
    p.done(sent, late)
    assert isinstance(late.recv_buffer, np.ndarray) and bytes(late.recv_buffer) == out
    assert p.ep.tag_send(Array(b""), TAG).recv_buffer is None


def test_stream(two):
    p, into = two(), bytearray(1 << 20)
    p.done(p.ep.stream_send(Array(b"z" * (1 << 20))), p.peer.stream_recv(Array(into)))
    assert into == b"z" * (1 << 20)
    for call in (p.ep.stream_send, p.ep.stream_recv):
        with pytest.raises(RuntimeError, match="positive"):
            call(Array(bytearray()))


@pytest.mark.parametrize("n", [1, 3, 40])
def test_multi(two, n):
    p, out = two(), tuple(np.full(i * 1000, i, "u1") for i in range(n))
    got = p.peer.tag_recv_multi(TAG)
    sent = p.ep.tag_send_multi(tuple(map(Array, out)), TAG)
    p.done(sent, got)
    assert got.all_completed and [bytes(b) for b in got.py_buffers] == [bytes(b) for b in out] and sent.py_buffers == []
    with pytest.raises(ValueError, match="Array"):
        p.ep.tag_send_multi((b"x",), TAG)


def test_what_a_dead_peer_does_to_requests(two):
    p, closed = two(), []
    p.ep.set_close_callback(lambda word: closed.append(word), ("w",))
    waiting = [p.ep.tag_recv(Array(bytearray(1)), TAG), p.ep.am_recv(), p.ep.tag_recv_multi(low.UCXXTag(8))]
    assert not any([r.completed for r in waiting]) and waiting[0].status == 1
    p.done(p.peer.close())
    p.until(lambda: not p.ep.alive)
    waiting.append(p.ep.tag_recv(Array(bytearray(1)), TAG))
    p.until(lambda: all([r.completed for r in waiting]) and closed)
    for r in waiting:
        assert r.status == -16
        with pytest.raises(low.UCXCanceledError):
            r.check_error()
    assert closed == ["w"]
    with pytest.raises(low.UCXConnectionResetError):
        p.ep.raise_on_error()
    with pytest.raises(low.UCXConnectionResetError):
        p.ep.tag_send(Array(b"x"), TAG).check_error()


def test_cancel(two):
    p = two()
    waiting = [p.there.tag_recv(Array(bytearray(1)), TAG), p.peer.am_recv()]
    assert p.there.cancel_inflight_requests() == 2
    p.until(lambda: all([r.completed for r in waiting]))
    for r in waiting:
        with pytest.raises(low.UCXCanceledError):
            r.check_error()


def test_a_shorter_message(two):
    p = two()
    got = p.peer.tag_recv(Array(bytearray(9)), TAG)
    p.done(p.ep.tag_send(Array(b"abc"), TAG))
    p.until(lambda: got.completed)
    with pytest.raises(low.UCXMessageTruncatedError, match=r"length mismatch: 3 \(got\) != 9 \(expected\)"):
        got.check_error()


def test_worker_address(two):
    p, into = two(), bytearray(3)
    assert bytes(p.there.address) == bytes(low.UCXAddress.create_from_worker(p.there))
    ep = low.UCXEndpoint.create_from_worker_address(p.here, p.there.address, True)
    p.done(ep.tag_send(Array(b"abc"), TAG), p.there.tag_recv(Array(into), TAG))
    assert into == b"abc"
    ep.close_blocking()
    assert not ep.alive


def test_features(two):
    p = two(low.Feature.WAKEUP)
    a = Array(bytearray(1))
    for name, f, args in (("TAG", p.ep.tag_send, (a, TAG)), ("TAG", p.ep.tag_recv, (a, TAG)), ("TAG", p.here.tag_recv, (a, TAG)),
                          ("STREAM", p.ep.stream_send, (a,)), ("STREAM", p.ep.stream_recv, (a,)), ("AM", p.ep.am_send, (a,)),
                          ("AM", p.ep.am_recv, ()), ("TAG", p.ep.tag_recv_multi, (TAG,))):
        with pytest.raises(ValueError, match=f"UCXContext must be created with `Feature.{name}`"):
            f(*args)


def test_handles(two):
    p = two()
    for ep, worker in ((p.ep, p.here), (p.peer, p.there)):
        assert ep.worker_handle == worker.handle and ep.ucxx_worker_ptr == worker.ucxx_ptr
        assert ep.handle > 0 and ep.ucxx_ptr > 0
    assert p.listener.ip and p.listener.port


def test_sleeping_until_something_comes():
    """The two ways of blocking mode: in the worker, and on its descriptor with arm()."""
    p, into = Pair(), bytearray(3)
    wait_requests(p.there, "blocking", [])
    request = p.peer.tag_recv(Array(into), TAG)
    start = time.process_time(), time.monotonic()
    p.there.progress_worker_event(epoll_timeout=40)
    assert not request.completed and time.monotonic() - start[1] > 0.03
    while not p.there.arm():
        pass
    assert not select.select([p.there.epoll_file_descriptor], [], [], 0.05)[0]
    assert time.process_time() - start[0] < 0.05
    p.done(p.ep.tag_send(Array(b"abc"), TAG))
    assert select.select([p.there.epoll_file_descriptor], [], [], LIMIT)[0] or request.completed
    wait_requests(p.there, "blocking", request)
    assert into == b"abc"
    p.close()


def test_in_a_coroutine(run):
    """The worker has a loop of its own; the caller's stands still while it is moved on."""
    p, into = Pair(), bytearray(3)

    async def main():
        loop = asyncio.get_running_loop()
        requests = [p.peer.tag_recv(Array(into), TAG), p.ep.tag_send(Array(b"abc"), TAG)]
        waits = asyncio.gather(*[r.wait() for r in requests])
        while not waits.done():
            p.here.progress()
            p.there.progress()
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)

    run(main())
    assert into == b"abc"
    p.close()


def test_progress_in_a_callback_is_refused():
    said, p = [], Pair()

    def closed():
        try:
            p.here.progress()
        except RuntimeError as exc:
            said.append(str(exc))

    p.ep.set_close_callback(closed)
    p.peer.close()
    p.until(lambda: said)
    assert "callback" in said[0]
    p.close()


def test_a_thread_that_starts_and_stops():
    p, begun = Pair(), []
    p.there.set_progress_thread_start_callback(begun.append, ("w",))
    for _ in range(3):
        into = bytearray(3)
        p.there.start_progress_thread()
        got = p.peer.tag_recv(Array(into), TAG)
        p.done(p.ep.tag_send(Array(b"abc"), TAG), got)
        p.there.stop_progress_thread()
        into = bytearray(3)
        p.done(p.peer.tag_recv(Array(into), TAG), p.ep.tag_send(Array(b"abc"), TAG))
        assert into == b"abc"
    assert begun == ["w"] * 3
    p.there.start_progress_thread()          # dropped, it ends with its worker
    p.close()


def test_a_close_lets_the_peer_have_been_met():
    """ucp's close right after create, while the peer is busy: that sees a connection come and go, as over UCX."""
    from weft.ucp._libs import ucx_api

    here, there, met = ucx_api.UCXWorker(ucx_api.UCXContext()), low.UCXWorker(low.UCXContext()), []
    listener = low.UCXListener.create(there, 0, met.append, deliver_endpoint=True)
    there.set_progress_thread_start_callback(time.sleep, (0.4,))
    there.start_progress_thread()
    ucx_api.UCXEndpoint.create(here, HERE, listener.port, True).close()
    end = time.monotonic() + LIMIT
    while not met or met[0].alive:
        assert time.monotonic() < end
        time.sleep(0.001)
    there.close()
    here.close()


def test_what_cannot_be_made():
    p = Pair()
    with pytest.raises(NotImplementedError, match="docs/FACES.md"):
        low.UCXBufferRequest()
    with pytest.raises(NotImplementedError, match="await"):
        p.ep.tag_send(Array(b""), TAG).future
    p.close()
