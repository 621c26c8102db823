# SPDX-License-Identifier: BSD-3-Clause
"""mpi_scheme.py - mpi://, how MPI4Dask (arXiv 2101.08878) moves Dask's messages, made again from its description over mpi4py:

  - all processes are ranks of one MPI job; a connection is set up over a TCP socket, on which both say their rank;
  - it owns 200 tags of COMM_WORLD each way. A message is a header, the table of lengths and one MPI message for each frame, each with
    the next tag, and begins at the first tag again;
  - a coroutine posts Isend or Irecv, and while Test() says no, it lets the loop turn once and tests again: whoever waits polls;
  - close() and abort() set a flag of this side. The peer is not told, and what is posted is not taken back.

Left out: CUDA. Other than there, the tags of both ways differ, for a worker also connects to itself.
"""
import asyncio
import itertools
import struct

from distributed.comm.addressing import parse_host_port, unparse_host_port
from distributed.comm.core import BaseListener, Comm, CommClosedError, Connector
from distributed.comm.registry import Backend, backends
from distributed.comm.utils import from_frames, to_frames
from distributed.protocol.utils import host_array
from distributed.utils import ensure_memoryview, nbytes
from mpi4py import MPI

PREFIX = "mpi://"
HEADER = struct.Struct("?Q")                 # closing, and how many frames
TAGS = 200
CHUNK = 1 << 30                              # an MPI of that time counts in int
HELLO = struct.Struct("<II")                 # rank, block of tags

_blocks = itertools.count()
_left = []                                   # requests of readers that were cancelled: MPI may yet write into their buffers


async def _done(request):
    try:
        while not request.Test():
            await asyncio.sleep(0)
    except BaseException:
        _left.append(request)
        raise


class MPIComm(Comm):
    def __init__(self, rank, block, accepted, local, peer, deserialize):
        """@accepted: this is the side that listened."""
        super().__init__(deserialize=deserialize)
        self.rank, self.out, self.in_ = rank, (2 * block + accepted) * TAGS, (2 * block + (not accepted)) * TAGS
        self._local_addr, self._peer_addr, self._closed = local, peer, False

    local_address = property(lambda self: self._local_addr)
    peer_address = property(lambda self: self._peer_addr)

    async def _all(self, post, frame, tag):
        view = ensure_memoryview(frame)
        for at in range(0, view.nbytes, CHUNK):
            await _done(post([view[at:at + CHUNK], MPI.BYTE], self.rank, tag))

    async def write(self, msg, serializers=None, on_error="message"):
        if self._closed:
            raise CommClosedError(f"in {self}: it was closed on this side")
        frames = await to_frames(msg, allow_offload=self.allow_offload, serializers=serializers, on_error=on_error,
                                 context={"sender": self.local_info, "recipient": self.remote_info, **self.handshake_options})
        assert len(frames) <= TAGS - 2, "more frames than tags"
        sizes = [nbytes(f) for f in frames]
        send, tags = MPI.COMM_WORLD.Isend, itertools.count(self.out)
        for part in (HEADER.pack(False, len(frames)), struct.pack(f"{len(sizes)}Q", *sizes), *frames):
            await self._all(send, part, next(tags))
        return sum(sizes)

    async def read(self, deserializers=None):
        if self._closed:
            raise CommClosedError(f"in {self}: it was closed on this side")
        recv, tags = MPI.COMM_WORLD.Irecv, itertools.count(self.in_)
        header = bytearray(HEADER.size)
        await self._all(recv, header, next(tags))
        table = bytearray(8 * HEADER.unpack(header)[1])
        await self._all(recv, table, next(tags))
        frames = [host_array(n) for n, in struct.iter_unpack("Q", table)]
        for frame in frames:
            await self._all(recv, frame, next(tags))
        return await from_frames(frames, deserialize=self.deserialize, deserializers=deserializers, allow_offload=self.allow_offload)

    async def close(self):
        self._closed = True

    def abort(self):
        self._closed = True

    def closed(self):
        return self._closed


async def _meet(reader, writer):
    """The peer's rank, this side's number of a block of tags, and the peer's. That of the side that listened holds."""
    mine = next(_blocks)
    writer.write(HELLO.pack(MPI.COMM_WORLD.Get_rank(), mine))
    rank, theirs = HELLO.unpack(await reader.readexactly(HELLO.size))
    writer.close()
    return rank, mine, theirs


class MPIConnector(Connector):
    async def connect(self, address, deserialize=True, **connection_args):
        reader, writer = await asyncio.open_connection(*parse_host_port(address))
        local = unparse_host_port(*writer.get_extra_info("sockname")[:2])
        rank, _, block = await _meet(reader, writer)
        return MPIComm(rank, block, False, PREFIX + local, PREFIX + address, deserialize)


class MPIListener(BaseListener):
    prefix = PREFIX                          # the worker reads it

    def __init__(self, address, comm_handler, deserialize=True, allow_offload=True, **connection_args):
        super().__init__()
        self.host, self.port = parse_host_port(address, 0)
        self.comm_handler, self.deserialize, self.allow_offload = comm_handler, deserialize, allow_offload

    async def start(self):
        self.server = await asyncio.start_server(self._accepted, self.host or "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()

    async def _accepted(self, reader, writer):
        peer = unparse_host_port(*writer.get_extra_info("peername")[:2])
        rank, block, _ = await _meet(reader, writer)
        comm = MPIComm(rank, block, True, self.listen_address, PREFIX + peer, self.deserialize)
        comm.allow_offload = self.allow_offload
        await self.on_connection(comm)
        await self.comm_handler(comm)

    @property
    def listen_address(self):
        return PREFIX + unparse_host_port(self.host or "127.0.0.1", self.port)

    contact_address = listen_address


class MPIBackend(Backend):
    def get_connector(self):
        return MPIConnector()

    def get_listener(self, loc, handle_comm, deserialize, **connection_args):
        return MPIListener(loc, handle_comm, deserialize, **connection_args)

    def get_address_host(self, loc):
        return parse_host_port(loc)[0]

    def get_address_host_port(self, loc):
        return parse_host_port(loc)

    def resolve_address(self, loc):
        return loc

    def get_local_address_for(self, loc):
        return unparse_host_port("127.0.0.1", None)


def register():
    backends["mpi"] = MPIBackend()
