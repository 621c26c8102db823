# SPDX-License-Identifier: BSD-3-Clause
"""weft - one endpoint layer over shared memory, TCP and (later) RDMA and GPUs, for asyncio.

    listener = await weft.listen(handler, "weft://127.0.0.1:0")      # handler(ep): a coroutine for each peer
    ep = await weft.connect(listener.url)
    await ep.send(array)
    n = await ep.recv(buffer)

Every method that communicates posts its operation when it is called, and returns a weft.Op: an awaitable, coroutine and
future at once. Buffers are held until it is over. It can be awaited once; never awaiting it is allowed, and then a failure
goes to the event loop's exception handler. One that is refused because the endpoint is over fails when it is awaited;
wrong arguments are raised at once.

Nothing here starts a thread, and an idle program uses no CPU. There is one weft worker for each event loop; endpoints,
listeners and operations belong to the loop that made them.
"""
import atexit
import collections.abc
import os

from . import _weft
from ._conn import Listener, connect, listen
from ._paths import get_include, get_library_dir
from ._weft import *  # noqa: F401,F403  the error classes, one for each status
from ._weft import (
    ANY,
    EXACT,
    Endpoint,
    Error,
    Memory,
    Op,
    Remote,
    alloc,
    configure,
    explain,
    register,
    settings,
    stats,
)

__version__ = _weft.version()

collections.abc.Coroutine.register(Op)
atexit.register(_weft._shutdown)
os.register_at_fork(after_in_child=_weft._forked)

__all__ = ["ANY", "EXACT", "Endpoint", "Error", "Listener", "Memory", "Op", "Remote", "alloc", "configure", "connect",
           "explain", "get_include", "get_library_dir", "listen", "register", "settings", "stats"]
__all__ += [_n for _n, _c in vars(_weft).items() if isinstance(_c, type) and issubclass(_c, Error) and _c is not Error]
