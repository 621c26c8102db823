# SPDX-License-Identifier: BSD-3-Clause
"""What the README says to paste, pasted: into a script, and into a notebook."""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT

ROOT = Path(__file__).resolve().parents[2]
THREE, MEASURED = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text().partition("## In Dask")[2].partition("## In C")[0], re.S)


def check(out):
    """One line for each scheme, and what carried weft's messages."""
    tcp, weft = out.splitlines()
    for line, scheme in ((tcp, "tcp"), (weft, "weft")):
        assert re.match(rf"{scheme}:// 128 MiB from worker to worker in \d+ ms ", line), out
    assert re.search("messages: .*shm", weft), out


def test_as_a_script(tmp_path):
    (tmp_path / "script.py").write_text(MEASURED)
    out = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=3 * LIMIT)
    assert out.returncode == 0, out.stderr
    check(out.stdout)


@pytest.mark.long
@pytest.mark.parametrize("code", [THREE + "print(client.submit(sum, [1, 2]).result(), client.scheduler.address)\nclient.shutdown()", MEASURED])
def test_in_a_notebook(tmp_path, code):
    for name in ("nbformat", "nbclient", "ipykernel"):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed (tools/setup jupyter)")
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=3 * LIMIT, resources={"metadata": {"path": str(tmp_path)}}).execute()
    out = "".join(o.text for o in notebook.cells[0].outputs if o.get("name") == "stdout")
    if code is MEASURED:
        check(out)
    else:
        assert out.startswith("3 weft://"), out
