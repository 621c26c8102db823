# SPDX-License-Identifier: BSD-3-Clause
"""Addresses of this host, hashes for tags, the event loop, the logger "ucx"."""
from __future__ import annotations

import asyncio
import fcntl
import hashlib
import ipaddress
import logging
import os
import socket
import struct

_SIOCGIFADDR = 0x8915
_FIRST = ("ib", "eth", "en")             # kinds of interfaces, the best first


def _ipv4_of(ifname: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        said = fcntl.ioctl(s.fileno(), _SIOCGIFADDR, struct.pack("256s", ifname.encode()[:15]))
    return socket.inet_ntoa(said[20:24])


def _ipv6_of(ifname: str) -> str:
    with open("/proc/net/if_inet6") as f:
        for line in f:
            digits, _, _, _, _, name = line.split()
            if name == ifname:
                return str(ipaddress.IPv6Address(int(digits, 16)))
    raise OSError(f"{ifname} has no IPv6 address")


def get_address(ifname: str | None = None, use_ipv6: bool = False) -> str:
    """The address of an interface: of ifname, else of the one that UCXPY_IFNAME names, else of the first InfiniBand or Ethernet
    interface that has one. OSError when there is none."""
    address_of = _ipv6_of if use_ipv6 else _ipv4_of
    ifname = ifname or os.environ.get("UCXPY_IFNAME")
    if ifname:
        return address_of(ifname)
    names = sorted(name for _, name in socket.if_nameindex())
    for kind in _FIRST:
        for name in names:
            if name.startswith(kind):
                try:
                    return address_of(name)
                except OSError:
                    continue
    raise OSError("no InfiniBand or Ethernet interface has an address; UCXPY_IFNAME may name another one")


def own_address() -> str:
    """What others reach us by; 127.0.0.1 where nobody else can."""
    try:
        return get_address()
    except OSError:
        return "127.0.0.1"


def url_of(host: str, port: int) -> str:
    return f"weft://[{host}]:{port}" if ":" in host else f"weft://{host}:{port}"


def hash64bits(*args: object) -> int:
    """64 bits of a hash of args, the same in every process."""
    return int.from_bytes(hashlib.sha1(repr(args).encode()).digest()[:8], "big")


def get_event_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs, else a new one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.new_event_loop()


class _Place(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.hostname = socket.gethostname()
        record.timestamp = f"{record.created:.6f}"
        return True


def get_ucxpy_logger() -> logging.Logger:
    """The logger "ucx", with its own handler and the level that UCXPY_LOG_LEVEL names, WARNING by default."""
    logger = logging.getLogger("ucx")
    logger.propagate = False
    if not any(isinstance(f, _Place) for h in logger.handlers for f in h.filters):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[%(timestamp)s] [%(hostname)s:%(process)d] UCXPY  %(levelname)s %(message)s"))
        handler.addFilter(_Place())
        logger.addHandler(handler)
    logger.setLevel(os.environ.get("UCXPY_LOG_LEVEL", "WARNING"))
    return logger
