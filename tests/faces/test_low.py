# SPDX-License-Identifier: BSD-3-Clause
"""ucp._libs: arrays, and the low level with its requests and callbacks. Two workers of one process talk."""
import array
import asyncio
import pickle
import select
import time

import pytest

from conftest import LIMIT, HERE
from weft.ucp import exceptions
from weft.ucp._libs import ucx_api
from weft.ucp._libs.arr import Array, asarray

np = pytest.importorskip("numpy")


class Pair:
    """A worker that listens and one that connected to it."""

    def __init__(self, *features):
        flags = features or tuple(ucx_api.Feature)
        self.here, self.there = (ucx_api.UCXWorker(ucx_api.UCXContext(feature_flags=flags)) for _ in range(2))
        self.accepted = []
        self.listener = ucx_api.UCXListener(self.there, 0, self._asked, cb_args=("x",))
        self.ep = ucx_api.UCXEndpoint.create(self.here, HERE, self.listener.port, True)
        self.until(lambda: self.accepted)
        self.peer = self.accepted[0]

    def _asked(self, request, x):
        self.accepted.append(ucx_api.UCXEndpoint.create_from_conn_request(self.there, request, True))

    def until(self, true):
        end = time.monotonic() + LIMIT
        while not true():
            assert time.monotonic() < end
            self.here.progress()
            self.there.progress()

    def done(self, f, *args, **kwargs):
        """Runs a request to its end; its exception, or None."""
        said = []
        if f(*args, cb_func=lambda req, exc: said.append(exc), **kwargs) is None:
            assert not said or f is ucx_api.tag_recv_nb
            return said[0] if said else None
        self.until(lambda: said)
        return said[0]

    def close(self):
        for one in (self.ep, *self.accepted, self.listener, self.here, self.there):
            one.close()


@pytest.fixture
def two():
    made = []

    def make(*features):
        made.append(Pair(*features))
        return made[-1]

    yield make
    for p in made:
        p.close()


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_tags(two, size):
    p, out, into, said = two(), Array(b"x" * size), bytearray(size), []
    ucx_api.tag_recv_nb(p.there, Array(into), size, 7, lambda req, exc, word: said.append((exc, word)), ("w",), ep=p.peer)
    assert p.done(ucx_api.tag_send_nb, p.ep, out, size, 7) is None
    p.until(lambda: said or bytes(into) == bytes(out.obj))
    assert bytes(into) == bytes(out.obj) and said in ([], [(None, "w")])
    assert not p.there.tag_probe(7)


def test_a_shorter_message(two):
    p = two()
    assert p.done(ucx_api.tag_send_nb, p.ep, Array(b"abcdef"), 3, 7) is None
    exc = p.done(ucx_api.tag_recv_nb, p.there, Array(bytearray(9)), 9, 7)
    assert isinstance(exc, exceptions.UCXMsgTruncated) and "length mismatch: 3 (got) != 9 (expected)" in str(exc)


def test_active_messages_and_stream(two):
    p, got = two(), []
    ucx_api.am_recv_nb(p.peer, lambda message, exc: got.append(message))
    assert p.done(ucx_api.am_send_nbx, p.ep, Array(b"hello"), 5) is None
    p.until(lambda: got)
    assert got == [b"hello"]
    assert p.done(ucx_api.stream_send_nb, p.ep, Array(b"bytes"), 5) is None
    into = bytearray(5)
    assert p.done(ucx_api.stream_recv_nb, p.peer, Array(into), 5) is None
    assert into == b"bytes"


@pytest.mark.parametrize("kind", ["tag", "am"])
def test_cancelled_when_the_peer_is_gone(two, kind):
    p, said = two(), []
    if kind == "tag":
        ucx_api.tag_recv_nb(p.here, Array(bytearray(1)), 1, 0, lambda req, exc: said.append(exc), ep=p.ep)
    else:
        ucx_api.am_recv_nb(p.ep, lambda req, exc: said.append(exc))
    p.peer.close()
    p.until(lambda: not p.ep.is_alive())
    assert p.here.cancel_inflight_messages() == 1
    p.until(lambda: said)
    assert isinstance(said[0], exceptions.UCXCanceled) and f"{kind}_recv" in str(said[0])
    with pytest.raises(exceptions.UCXConnectionReset):
        p.ep.raise_on_error()


def test_close_callback(two):
    p, said = two(), []
    p.ep.set_close_callback(lambda: said.append(1))
    p.peer.close()
    p.until(lambda: said)


def test_nobody_is_there():
    worker = ucx_api.UCXWorker(ucx_api.UCXContext())
    listener = ucx_api.UCXListener(worker, 0, lambda request: None)
    port = listener.port
    listener.close()
    ep = ucx_api.UCXEndpoint.create(worker, HERE, port, True)
    said, end = [], time.monotonic() + LIMIT
    ucx_api.tag_send_nb(ep, Array(b"x"), 1, 0, lambda req, exc: said.append(exc))
    while not said:
        assert time.monotonic() < end
        worker.progress()
    assert isinstance(said[0], exceptions.UCXError) and not ep.is_alive()
    worker.close()


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
@pytest.mark.parametrize("how", ["alloc", "map"])
def test_remote_memory(two, size, how):
    p, own = two(), bytearray(size)
    mem = p.there.context.alloc(size) if how == "alloc" else p.there.context.map(own)
    key = pickle.loads(pickle.dumps(mem.pack_rkey()))
    far = ucx_api.RemoteMemory(p.ep.unpack_rkey(key), mem.address, mem.length)
    out, into = bytes(i % 251 for i in range(size)), bytearray(size)
    assert p.done(far.put_nb, out) is None
    assert p.done(p.ep.flush) is None
    if how == "map":
        assert own == out
    assert p.done(far.get_nb, into) is None
    assert into == out
    into = bytearray(size)
    if not far.put_nbi(out) or not far.get_nbi(into):
        p.done(p.here.flush)
    assert into == out
    with pytest.raises(IndexError, match="Out of bounds"):
        far.put_nbi(bytes(size + 1))


def test_memory_that_nobody_may_write():
    context = ucx_api.UCXContext()
    for mem in (b"", b"abcd", array.array("i", [1, 2])):
        assert len(context.map(mem).pack_rkey()) > 16


def test_remote_memory_as_a_file():
    worker = ucx_api.UCXWorker(ucx_api.UCXContext())
    mem = worker.context.alloc(1000)
    ep = ucx_api.UCXEndpoint.create_from_worker_address(worker, worker.get_address(), False)
    file = ucx_api.UCXIO(mem.address, 1000, ep.unpack_rkey(mem.pack_rkey()))
    assert file.write(b"x" * 600) == 600 and file.write(b"y" * 600) == 400
    assert file.seek(500) == 500 and file.read(200) == b"x" * 100 + b"y" * 100
    file.close()
    worker.close()


def test_features():
    context = ucx_api.UCXContext(feature_flags=(ucx_api.Feature.WAKEUP,))
    worker = ucx_api.UCXWorker(context)
    ep = worker.ep_create_from_worker_address(worker.get_address(), False)
    a = Array(bytearray(1))
    for name, f, args in (("TAG", ucx_api.tag_send_nb, (ep, a, 1, 0)), ("TAG", ucx_api.tag_recv_nb, (worker, a, 1, 0)),
                          ("STREAM", ucx_api.stream_send_nb, (ep, a, 1)), ("STREAM", ucx_api.stream_recv_nb, (ep, a, 1)),
                          ("AM", ucx_api.am_send_nbx, (ep, a, 1)), ("AM", ucx_api.am_recv_nb, (ep,))):
        with pytest.raises(ValueError, match=f"UCXContext must be created with `Feature.{name}`"):
            f(*args, None)
    worker.close()
    with pytest.raises(exceptions.UCXConfigError):
        ucx_api.UCXContext({"SEG_SIZE": "much"})


def test_blocking_mode(two):
    p, into, said = two(), bytearray(3), []
    fd = p.there.init_blocking_progress_mode()
    ucx_api.tag_recv_nb(p.there, Array(into), 3, 7, lambda req, exc: said.append(exc))
    while not p.there.arm():
        pass
    assert not select.select([fd], [], [], 0.02)[0] and not said
    assert p.done(ucx_api.tag_send_nb, p.ep, Array(b"abc"), 3, 7) is None
    p.until(lambda: said)
    assert into == b"abc" and said == [None]


def test_progress_in_a_coroutine(two, run):
    """The worker's loop is another than the one that runs: this stands still meanwhile."""
    p, into, said = two(), bytearray(3), []

    async def main():
        ucx_api.tag_recv_nb(p.there, Array(into), 3, 7, lambda req, exc: said.append(exc))
        ucx_api.tag_send_nb(p.ep, Array(b"abc"), 3, 7, None)
        while not said:
            p.here.progress()
            p.there.progress()
            await asyncio.sleep(0)

    run(main())
    assert into == b"abc"


# ---- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", [b"", b"abc", bytearray(3), array.array("d", [1, 2]), np.arange(6).reshape(2, 3),
                                 np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10)[::2], np.array(3), np.empty((0, 3))])
def test_array(obj):
    a, n = Array(obj), np.asarray(memoryview(obj))
    assert (a.shape, a.ndim, a.itemsize, a.nbytes, a.cuda) == (n.shape, n.ndim, n.itemsize, n.nbytes, False)
    assert a.obj is obj and a.readonly is memoryview(obj).readonly and asarray(a) is a
    assert a.c_contiguous == n.flags.c_contiguous and a.contiguous == memoryview(obj).contiguous
    if n.size:
        assert a.strides == n.strides and a.ptr == n.ctypes.data and a.f_contiguous == n.flags.f_contiguous
    with pytest.raises(TypeError):
        pickle.dumps(a)


def test_array_of_a_device():
    class OnDevice:
        def __init__(self, **more):
            self.__cuda_array_interface__ = {"data": (4096, True), "typestr": "<f4", "shape": (2, 3), "version": 3, **more}

    a = Array(OnDevice())
    assert a.cuda and a.ptr == 4096 and a.readonly and a.nbytes == 24 and a.strides == (12, 4) and a.c_contiguous
    assert Array(OnDevice(strides=(4, 8))).f_contiguous
    with pytest.raises(NotImplementedError, match="mask"):
        Array(OnDevice(mask=1))
    with pytest.raises(ValueError, match="length of shape and strides"):
        Array(OnDevice(strides=(1,)))
    with pytest.raises(ValueError, match="got `None`"):
        Array(OnDevice(typestr=None))
