# SPDX-License-Identifier: BSD-3-Clause
"""The binary interfaces that ibv.h and rdmacm.h declare by hand are those of the installed rdma-core; and the versions that
verbs_lib.c and verbs_cmlib.c ask for are there."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERBS = ROOT / "src/transports/verbs"

# source that prints, header of ours, the real one, prefix of its constants; least numbers of lines, names, fields
IBV = (ROOT / "tests/vm/ibv_layout.c", VERBS / "ibv.h", Path("/usr/include/infiniband/verbs.h"), "IBV_", 300, 200, 150)
RDMACM = (ROOT / "tests/vm/rdmacm_layout.c", VERBS / "rdmacm.h", Path("/usr/include/rdma/rdma_cma.h"), "RDMA_", 60, 25, 30)
BOTH = pytest.mark.parametrize("what", [IBV, RDMACM], ids=["ibv", "rdmacm"])


def words(path):
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)


def layout(source, folder, *flags):
    program = folder / ("real" if flags else "ours")
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-I", ROOT / "src", *flags, "-o", program, source], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


@BOTH
def test_layout_is_that_of_the_real_header(what, tmp_path):
    source, _, real_header, _, least, _, _ = what
    if not real_header.exists():
        pytest.skip(f"{real_header} is not installed (tools/setup rdma)")
    ours, real = layout(source, tmp_path), layout(source, tmp_path, "-DREAL")
    assert len(ours) > least
    assert ours == real


@BOTH
def test_no_name_is_left_out(what):
    source, header, _, prefix, _, least_names, least_fields = what
    declared, printed = words(header), words(source)
    names = set(re.findall(rf"\b{prefix}\w+", declared))
    names |= {f"{kind} {name}" for kind, name in re.findall(r"^(struct|union|enum) (\w+) \{", declared, re.M)}
    assert len(names) > least_names
    assert not [n for n in sorted(names) if not re.search(rf"(SIZE|VALUE)\({n}\)", printed)]
    bodies = "".join(re.findall(r"^(?:struct|union) \w+ \{\n(.*?)^\};", declared, re.M | re.S))
    bodies = re.sub(r"\(\*(\w+)(\[\d+\])?\)\([^()]*\);", r"\1;", bodies)  # pointers to functions: without what these take
    fields = {f for f in re.findall(r"\b(\w+)(?:\[\w+\])?(?=[,;])", bodies) if not f.startswith("reserved")}
    assert len(fields) > least_fields
    assert not [f for f in sorted(fields) if not re.search(rf"FIELD\([^;]*\b{f}\)", printed)]


@pytest.mark.parametrize("object,source,version,least", [("libibverbs.so.1", "verbs_lib.c", "IBVERBS", 30),
                                                         ("librdmacm.so.1", "verbs_cmlib.c", "RDMACM", 15)])
def test_the_symbol_versions_exist(object, source, version, least):
    where = subprocess.run(["cc", f"-print-file-name={object}"], capture_output=True, text=True).stdout.strip()
    if not shutil.which("nm") or not Path(where).is_absolute():
        pytest.skip(f"{object} is not installed (tools/setup rdma)")
    have = subprocess.run(["nm", "-D", "--defined-only", where], capture_output=True, text=True, check=True).stdout
    have = {s.split()[-1].replace("@@", "@") for s in have.splitlines()}
    asked = re.findall(rf'\{{ "(_?\w+)", "({version}_[\d.]+)"', words(VERBS / source))
    assert len(asked) > least
    assert not [f"{n}@{v}" for n, v in asked if f"{n}@{v}" not in have]
