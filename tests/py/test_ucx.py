# SPDX-License-Identifier: BSD-3-Clause
"""What `weft info` says when the transport ucx was named and UCX is missing, broken, too old, or has nothing to offer."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")).resolve() / "weft"
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's

pytestmark = [
    pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built"),
    pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc to make libraries up with"),
]


def info(**env):
    result = subprocess.run([TOOL, "info"], capture_output=True, text=True, timeout=60,
                            env={**ENV, "WEFT_TRANSPORTS": "ucx,tcp", **env})
    assert result.returncode == 0 and not result.stderr, result.stderr
    return " ".join(line for line in result.stdout.splitlines() if re.match(r"\s*\d+ ucx\b", line))


def make(folder, name, source):
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-o", folder / name, "-"], input=source, text=True, check=True)


def hooks():
    return """int ucm_global_opts[20] = { 2, 1 }; void ucm_library_init(void) {}
    signed char ucm_set_event_handler(void) { return -22; } void ucm_unset_event_handler(void) {}"""


def all_but(*gone, version=13):
    """UCX's functions that weft looks for; each does nothing."""
    source = (ROOT / "src/transports/ucx/ucx_lib.c").read_text()
    names = set(re.findall(r'ROW\(\w+, "(\w+)"\)', source)) - set(gone)
    names = {n for n in names if not n.startswith("ucm_")} - {"ucp_get_version"}
    return f"void ucp_get_version(unsigned *a, unsigned *b, unsigned *c) {{ *a = 1; *b = {version}; *c = 0; }}\n" + "".join(
        f"long {n}(void) {{ return 0; }}\n" for n in sorted(names))


def test_not_installed(tmp_path):
    (tmp_path / "libucm.so.0").write_text("this is no library")
    said = info(LD_LIBRARY_PATH=str(tmp_path))
    assert "unusable: libucm.so.0 cannot be loaded: " in said and "install UCX (Debian: libucx0), 1.13 or a later 1.x" in said


def test_a_function_is_missing(tmp_path):
    make(tmp_path, "libucm.so.0", hooks())
    make(tmp_path, "libucp.so.0", all_but("ucp_am_send_nbx"))
    said = info(LD_LIBRARY_PATH=str(tmp_path))
    assert "libucp.so.0 is too old or not what its name says: it has no ucp_am_send_nbx" in said and "install UCX" in said


def test_too_old(tmp_path):
    make(tmp_path, "libucm.so.0", hooks())
    make(tmp_path, "libucp.so.0", all_but(version=12))
    said = info(LD_LIBRARY_PATH=str(tmp_path))
    assert "UCX is of version 1.12.0, 1.13 or a later 1.x is needed" in said and "install UCX" in said


def test_hooks_that_cannot_be_switched_off(tmp_path):
    make(tmp_path, "libucm.so.0", hooks().replace("{ 2, 1 }", "{ 2, 77 }"))
    make(tmp_path, "libucp.so.0", all_but())
    assert "cannot be kept from putting hooks under malloc and mmap" in info(LD_LIBRARY_PATH=str(tmp_path))


def test_no_transport():
    if "cannot be loaded" in info():
        pytest.skip("UCX is not installed (Debian: libucx0)")
    said = info(UCX_TLS="carrier_pigeon")
    assert "UCX has no transport that can be used here, of those that UCX_TLS allows, which is carrier_pigeon: " in said
    assert "ucx_info -d lists those that work here" in said


def test_no_transport_unnamed():
    """Not named, it is not even looked for."""
    assert "not asked for" in info(WEFT_TRANSPORTS="")
