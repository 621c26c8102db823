# SPDX-License-Identifier: BSD-3-Clause
"""UCX's options. weft measures and decides by itself, so that of all of them only TLS does something: it names the transports
that may be used. The others are kept and told to who asks; docs/FACES.md says so."""
from __future__ import annotations

import os
import re

# What the bindings set where the user does not, beside what UCX itself does.
_DEFAULTS = {
    "TLS": "all", "NET_DEVICES": "all", "SHM_DEVICES": "all", "SEG_SIZE": "8K", "RNDV_THRESH": "8192", "RNDV_SCHEME": "auto",
    "RNDV_FRAG_MEM_TYPE": "cuda", "ZCOPY_THRESH": "auto", "MEMTYPE_CACHE": "n", "MAX_RNDV_RAILS": "1",
    "SOCKADDR_TLS_PRIORITY": "rdmacm,tcp,sockcm", "KEEPALIVE_INTERVAL": "20s", "LOG_LEVEL": "warn",
}
_SIZES = {"SEG_SIZE", "RNDV_THRESH", "ZCOPY_THRESH"}
_SIZE = re.compile(r"(\d+(\.\d+)?[kmgtpKMGTP]?[bB]?|auto|inf)", re.ASCII)

_NAMES = {                               # UCX's name: weft's
    "self": "loop", "tcp": "tcp",
    **dict.fromkeys(("sm", "shm", "mm", "posix", "sysv", "cma", "xpmem", "knem"), "shm"),
    **dict.fromkeys(("ib", "rc", "rc_x", "rc_v", "rc_verbs", "rc_mlx5", "ud", "ud_x", "ud_v", "ud_verbs", "ud_mlx5", "dc",
                     "dc_x", "dc_mlx5"), "verbs"),
}
_SHOWN = {"loop": "self", "shm": "posix", "verbs": "rc", "tcp": "tcp"}


def current(options: dict[str, str] | None = None) -> dict[str, str]:
    """All options: @options, else what UCX_* of the environment says, else defaults. ValueError names a value that is none."""
    out = dict(_DEFAULTS)
    out.update((k[4:], v) for k, v in os.environ.items() if k.startswith("UCX_"))
    out.update(options or {})
    for key in _SIZES:
        if not isinstance(out[key], str) or not _SIZE.fullmatch(out[key]):
            raise ValueError(f"Invalid value for {key}: {out[key]!r}")
    transports(out["TLS"])
    return out


def chosen(options: dict[str, str], env_takes_precedence: bool) -> dict[str, str]:
    """@options as they count where the environment may come first. A new dict."""
    if not env_takes_precedence:
        return dict(options)
    return {k: os.environ.get(f"UCX_{k}", v) for k, v in options.items()}


def transports(tls: str) -> list[str] | None:
    """weft's names for the transports in UCX_TLS; None: all. Those for GPUs are passed over, unknown ones too."""
    names = tls.strip().lstrip("^").split(",")
    known = list(dict.fromkeys(_NAMES[n.strip().lstrip("\\")] for n in names if n.strip().lstrip("\\") in _NAMES))
    if tls.strip().startswith("^"):
        # a device of shm that is not wanted (sysv, xpmem) leaves others
        known = [t for t in _SHOWN if t not in known or t == "shm" and not {"sm", "shm", "mm"} & set(names)]
        return None if len(known) == len(_SHOWN) else known
    if "all" in names:
        return None
    if not known:
        raise ValueError(f"TLS: none of {tls!r} is a transport of weft")
    return known


def shown(tls: str) -> list[str]:
    """UCX's names for the transports in use, for who looks for them."""
    names = [] if tls.strip().startswith("^") else [n.strip() for n in tls.split(",")]
    allowed = transports(tls)
    out = [n for n in names if n in _NAMES and n not in ("sm", "shm", "mm", "ib")]
    return out or [shown for t, shown in _SHOWN.items() if allowed is None or t in allowed]
