# SPDX-License-Identifier: BSD-3-Clause
"""The binary interface that ibv.h declares by hand is that of the installed rdma-core; and the versions that verbs_lib.c asks
for are there."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests/vm/ibv_layout.c"
HEADER = ROOT / "src/transports/verbs/ibv.h"
REAL = Path("/usr/include/infiniband/verbs.h")


def words(path):
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)


def layout(folder, *flags):
    program = folder / ("real" if flags else "ours")
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-I", ROOT / "src", *flags, "-o", program, SOURCE], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.skipif(not REAL.exists(), reason="libibverbs-dev is not installed")
def test_layout_is_that_of_the_real_header(tmp_path):
    ours, real = layout(tmp_path), layout(tmp_path, "-DREAL")
    assert len(ours) > 300
    assert ours == real


def test_no_name_is_left_out():
    declared, printed = words(HEADER), words(SOURCE)
    names = set(re.findall(r"\bIBV_\w+", declared))
    names |= {f"{kind} {name}" for kind, name in re.findall(r"^(struct|union|enum) (\w+) \{", declared, re.M)}
    assert len(names) > 200
    assert not [n for n in sorted(names) if not re.search(rf"(SIZE|VALUE)\({n}\)", printed)]
    bodies = "".join(re.findall(r"^(?:struct|union) \w+ \{\n(.*?)^\};", declared, re.M | re.S))
    bodies = re.sub(r"\(\*(\w+)(\[\d+\])?\)\([^()]*\);", r"\1;", bodies)  # pointers to functions: without what these take
    fields = {f for f in re.findall(r"\b(\w+)(?:\[\w+\])?(?=[,;])", bodies) if not f.startswith("reserved")}
    assert len(fields) > 150
    assert not [f for f in sorted(fields) if not re.search(rf"FIELD\([^;]*\b{f}\)", printed)]


def test_the_symbol_versions_exist():
    where = subprocess.run(["cc", "-print-file-name=libibverbs.so.1"], capture_output=True, text=True).stdout.strip()
    if not shutil.which("nm") or not Path(where).is_absolute():
        pytest.skip("libibverbs.so.1 is not installed")
    have = subprocess.run(["nm", "-D", "--defined-only", where], capture_output=True, text=True, check=True).stdout
    have = {s.split()[-1].replace("@@", "@") for s in have.splitlines()}
    asked = re.findall(r'\{ "(_?ibv_\w+)", "(IBVERBS_[\d.]+)"', words(ROOT / "src/transports/verbs/verbs_lib.c"))
    assert len(asked) > 30
    assert not [f"{n}@{v}" for n, v in asked if f"{n}@{v}" not in have]
