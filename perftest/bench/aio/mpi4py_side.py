# SPDX-License-Identifier: BSD-3-Clause
"""mpi4py's Send, Recv, Isend and Irecv, which block: no event loop is in the way. The launcher starts both processes."""
import os

from pair import WINDOW, buffers


def rank():
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    raise SystemExit("mpi4py: start it with the launcher of its MPI")


class Talk:
    TAG = 7

    def __init__(self):
        from mpi4py import MPI  # not before the process is pinned

        self.comm = MPI.COMM_WORLD
        if self.comm.Get_size() != 2:
            raise SystemExit("mpi4py: the launcher is not that of the MPI that mpi4py found")

    async def tell(self, value):
        self.comm.send(value, 1 - self.comm.Get_rank(), self.TAG)

    async def hear(self):
        return self.comm.recv(source=1 - self.comm.Get_rank(), tag=self.TAG)


class Side:
    def __init__(self, peer, fds):
        pass

    async def start(self, me, talk, path):
        from mpi4py import MPI

        self.MPI, self.comm, self.other = MPI, talk.comm, 1 - me
        self.out, self.got = buffers(self.size, me)
        self.room = [bytearray(self.size) for _ in range(WINDOW)] if self.size < 65536 else []

    async def trips(self, n):
        send, recv, out, got, other = self.comm.Send, self.comm.Recv, self.out, self.got, self.other
        for _ in range(n):
            send(out, other)
            recv(got, other)

    async def echoes(self, n):
        send, recv, out, got, other = self.comm.Send, self.comm.Recv, self.out, self.got, self.other
        for _ in range(n):
            recv(got, other)
            send(out, other)

    async def windows(self, n):
        isend, irecv, out, room, other = self.comm.Isend, self.comm.Irecv, self.out, self.room, self.other
        wait = self.MPI.Request.Waitall
        for _ in range(n):
            wait([irecv(b, other) for b in room] + [isend(out, other) for _ in room])
        self.got = room[-1]

    async def close(self):
        pass
