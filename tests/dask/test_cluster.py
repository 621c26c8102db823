# SPDX-License-Identifier: BSD-3-Clause
"""Schedulers, workers, nannies and clients over weft, in processes of their own and as Dask's users start them; processes that die."""
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import LIMIT, kill_dead
from distributed import Client, LocalCluster, Nanny, Scheduler, Worker, get_worker, wait

from weft.dask.launch import _shut_down

pytestmark = pytest.mark.usefixtures("descriptors")
OPTIONS = dict(dashboard_address=":0", silence_logs=50, host="127.0.0.1")


def local(**kwargs):
    return LocalCluster(**{"protocol": "weft://", "n_workers": 2, "threads_per_worker": 1, **OPTIONS, **kwargs})


def cpu_s(pid):
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pids(client):
    return list(client.run(os.getpid).values())


def path_to(address):
    """On a worker: how its messages to another go."""
    async def ask():
        worker = get_worker()
        comm = await worker.rpc.connect(address)
        try:
            return comm.extra_info["weft"]
        finally:
            worker.rpc.reuse(address, comm)

    return asyncio.run_coroutine_threadsafe(ask(), get_worker().loop.asyncio_loop).result(20)


@pytest.mark.parametrize("processes", [True, False])
def test_a_local_cluster(processes):
    with local(processes=processes) as cluster, Client(cluster, timeout=LIMIT) as client:
        assert cluster.scheduler_address.startswith("weft://127.0.0.1:")
        one, two = client.scheduler_info()["workers"]
        assert one.startswith("weft://") and two.startswith("weft://")
        assert client.gather(client.map(lambda x: x + 1, range(200))) == list(range(1, 201))
        x = client.submit(bytes, 3_000_000, workers=[one], pure=False)
        y = client.submit(len, x, workers=[two])
        assert y.result(LIMIT) == 3_000_000
        if processes:                         # workers of one host find that out by themselves
            assert "shm" in client.submit(path_to, two, workers=[one]).result(LIMIT)


def test_it_is_the_default_where_the_configuration_says_so():
    code = ("from distributed import Client, Scheduler, Worker\nimport asyncio\n"
            "async def main():\n"
            "  async with Scheduler(port=0, dashboard_address=':0', host='127.0.0.1') as s, Worker(s.address) as w, "
            "Client(s.address, asynchronous=True) as c:\n"
            "    print(s.address, w.address, await c.submit(sum, [1, 2]))\n"
            "if __name__ == '__main__': asyncio.run(main())")
    out = subprocess.run([sys.executable, "-c", code], env={**os.environ, "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "weft"},
                         capture_output=True, text=True, timeout=LIMIT)
    said = out.stdout.split()
    assert out.returncode == 0 and said[0].startswith("weft://") and said[1].startswith("weft://") and said[2] == "3", out.stderr


def page(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=LIMIT) as answer:
        return answer.read()


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=pytest.mark.long)])
def test_the_command_line(tmp_path, loop):
    pytest.importorskip(loop)
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "DASK_DISTRIBUTED__ADMIN__EVENT_LOOP": loop}
    dask = [sys.executable, "-m", "dask"]
    file = tmp_path / "s.json"
    started = [subprocess.Popen([*dask, "scheduler", "--protocol", "weft", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0",
                                 "--scheduler-file", str(file)], env=env, stderr=subprocess.DEVNULL)]
    try:
        until = time.monotonic() + LIMIT
        while not file.exists() or not file.read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        assert address.startswith("weft://")
        started.append(subprocess.Popen([*dask, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard",
                                         "--local-directory", str(tmp_path)], env=env, stderr=subprocess.DEVNULL))
        with Client(address, timeout=LIMIT) as client:
            client.wait_for_workers(2, timeout=LIMIT)
            assert all(w.startswith("weft://") for w in client.scheduler_info()["workers"])
            assert client.submit(sum, range(4)).result(LIMIT) == 6
            loops = [client.run_on_scheduler(lambda dask_scheduler: type(dask_scheduler.loop.asyncio_loop).__module__),
                     *client.run(lambda dask_worker: type(dask_worker.loop.asyncio_loop).__module__).values()]
            assert all(name.startswith(loop) for name in loops), loops
            port = client.scheduler_info()["services"].get("dashboard")
            assert page(port, "health") == b"ok"
            if importlib.util.find_spec("bokeh"):
                assert b'id="status-cluster-memory"' in page(port, "status")
            client.restart(timeout=LIMIT)
            assert client.submit(sum, range(5)).result(LIMIT) == 10
        _shut_down(address)                   # a client whose shutdown() is called keeps its loop, over tcp, too
        assert [p.wait(LIMIT) for p in started] == [0, 0]
    finally:
        for p in started:
            if p.poll() is None:
                p.kill()
            p.wait()


def test_a_worker_that_is_killed_is_noticed_within_a_second_and_comes_back():
    async def body():
        async with Scheduler(protocol="weft://", host="127.0.0.1", port=0, dashboard_address=":0") as s:
            async with Nanny(s.address, nthreads=1) as n, Worker(s.address, nthreads=1), Client(s.address, asynchronous=True) as c:
                await c.wait_for_workers(2)
                address = n.worker_address
                futures = c.map(lambda x: x * 2, range(50), pure=False)
                await wait(futures)
                began = kill_dead(n.process.process.pid)
                while address in s.workers:
                    assert time.monotonic() < began + 1
                    await asyncio.sleep(0.005)
                assert await c.gather(futures) == [2 * x for x in range(50)]
                await c.wait_for_workers(2, timeout=LIMIT)      # the nanny started another

    asyncio.run(asyncio.wait_for(body(), LIMIT))


def test_a_scheduler_that_dies_ends_clients_and_workers(tmp_path):
    code = ("import asyncio\nfrom distributed import Scheduler\n"
            "async def main():\n"
            "  async with Scheduler(protocol='weft://', host='127.0.0.1', port=0, dashboard_address=':0') as s:\n"
            "    print(s.address, flush=True)\n"
            "    await s.finished()\n"
            "asyncio.run(main())")
    scheduler = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    async def body():
        address = scheduler.stdout.readline().strip()
        async with Worker(address, nthreads=1, death_timeout=1) as w, Client(address, asynchronous=True, timeout=1) as c:
            assert await c.submit(sum, [1, 2]) == 3
            scheduler.kill()
            await asyncio.wait_for(w.finished(), 20)
            for _ in range(2000):
                if c.status != "running":
                    break
                await asyncio.sleep(0.01)
            assert c.status != "running"

    try:
        asyncio.run(asyncio.wait_for(body(), LIMIT))
    finally:
        scheduler.kill()
        scheduler.wait()
        scheduler.stdout.close()


def test_workers_come_and_go_by_demand():
    with local(n_workers=0) as cluster, Client(cluster, timeout=LIMIT) as client:
        cluster.adapt(minimum=0, maximum=2, interval="100ms", wait_count=2)
        assert sum(client.gather(client.map(lambda x: x, range(20)))) == 190
        until = time.monotonic() + LIMIT
        while client.scheduler_info()["workers"]:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_nobody_uses_a_cpu_while_nothing_happens():
    """Dask's own heartbeats are counted: less than a twentieth of a CPU for each worker (by ucxx it is most of one)."""
    with local() as cluster, Client(cluster, timeout=LIMIT) as client:
        workers = pids(client)
        time.sleep(1)                         # what starting leaves to do
        before = [cpu_s(p) for p in workers]
        time.sleep(3)
        used = [cpu_s(p) - b for p, b in zip(workers, before)]
        assert max(used) < 3 / 20, used


@pytest.mark.long
def test_hundreds_of_clients(tmp_path):
    async def body():
        async with Scheduler(protocol="weft://", host="127.0.0.1", port=0, dashboard_address=":0") as s, Worker(s.address):
            clients = await asyncio.gather(*[Client(s.address, asynchronous=True, timeout=LIMIT, set_as_default=False) for _ in range(200)])
            got = await asyncio.gather(*[c.submit(sum, [i, 1], pure=False) for i, c in enumerate(clients)])
            assert got == [i + 1 for i in range(200)]
            await asyncio.gather(*[c.close() for c in clients])

    asyncio.run(asyncio.wait_for(body(), 120))
