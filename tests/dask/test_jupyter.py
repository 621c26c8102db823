# SPDX-License-Identifier: BSD-3-Clause
"""JupyterLab's panel for Dask, without a browser: a server with dask-labextension makes a cluster over weft by the settings that
docs/DASK.md shows, and the five workloads run on it."""
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import dask
import pytest
from conftest import LIMIT
from distributed import Client

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS / "examples/dask"))

import workloads  # noqa: E402

TOKEN = "for-this-test"
NEEDED = ["jupyter_server", "jupyter_server_proxy", "dask_labextension"]
missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (docs/DASK.md)")]


def ask(url, method, path):
    """(status, what was said) of the server."""
    request = urllib.request.Request(url + path, method=method, data=b"{}" if method == "PUT" else None,
                                     headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


@pytest.fixture
def server(tmp_path):
    """The URL of a server whose user has the settings of docs/DASK.md."""
    settings = re.search(r"```yaml\n(labextension:\n.*?)```", (DOCS / "DASK.md").read_text(), re.S)[1]
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask/labextension.yaml").write_text(settings)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "HOME": str(tmp_path), "DASK_CONFIG": str(tmp_path / "dask"), "JUPYTER_NO_CONFIG": "1",
           "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data"),
           "JUPYTER_RUNTIME_DIR": str(tmp_path / "run"), "DASK_LABEXTENSION__DEFAULT__WORKERS": "2"}
    argv = [sys.executable, "-m", "jupyter_server", "--allow-root", "--ServerApp.open_browser=False", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={tmp_path}", "--ServerApp.jpserver_extensions=dask_labextension=True"]
    log = tmp_path / "log"
    with open(log, "w") as out:
        process = subprocess.Popen(argv, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + LIMIT
    try:
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            try:
                ask(url, "GET", "/api/status")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_the_panel_makes_a_cluster_over_weft(server):
    assert ask(server, "GET", "/dask/clusters") == (200, [])
    status, made = ask(server, "PUT", "/dask/clusters")
    assert status == 200 and made["scheduler_address"].startswith("weft://127.0.0.1:"), made
    with Client(made["scheduler_address"], timeout=LIMIT) as client:
        client.wait_for_workers(2, timeout=LIMIT)
        assert all(address.startswith("weft://") for address in client.scheduler_info()["workers"])
        with dask.config.set(workloads.P2P):
            for name in workloads.WORKLOADS:
                _, _, got = workloads.run(name, 8, client)
                assert got == pytest.approx(workloads.alone(name, 8), rel=1e-9), name
    assert [c["id"] for c in ask(server, "GET", "/dask/clusters")[1]] == [made["id"]]
    assert ask(server, "DELETE", f"/dask/clusters/{made['id']}") == (204, None)
    assert ask(server, "GET", "/dask/clusters") == (200, [])
