# SPDX-License-Identifier: BSD-3-Clause
"""`weft doctor`: what is taken away from it is found, with its cost and the command that mends it; it changes nothing."""
import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")).resolve() / "weft"
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's
SANITIZED = "LD_PRELOAD" in os.environ

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built")

SANDBOX = Path(__file__).resolve().parents[2] / "perftest/bench/sandbox.py"


def run(*args, before=(), env=None, limits=None):
    return subprocess.run([*before, TOOL, "doctor", *args], capture_output=True, text=True, timeout=60,
                          env={**ENV, **(env or {})}, preexec_fn=limits)


def doctor(*args, **kw):
    """{check: finding} of a run; its exit status and its counts agree with them."""
    result = run("--json", *args, **kw)
    assert result.stdout.startswith("{"), result.stdout + result.stderr
    report = json.loads(result.stdout)
    found = {c["check"]: c for c in report["checks"]}
    states = [c["state"] for c in report["checks"]]
    assert [report["ok"], report["notes"], report["problems"]] == [states.count(s) for s in ("ok", "note", "problem")]
    assert result.returncode == (1 if report["problems"] else 0), result.stderr
    for c in found.values():
        assert c["found"] and (c["state"] == "ok") == (not c["cost"]), c
    return found


def without(*calls):
    """The command line in front of the program that takes system calls away."""
    before = [sys.executable, SANDBOX, ",".join(calls)]
    probe = subprocess.run([*before, "/bin/true"], capture_output=True, text=True, timeout=30)
    if probe.returncode == 77:
        pytest.skip(probe.stderr.strip())
    return before


def test_text_and_json_tell_the_same():
    found = doctor()
    text = run().stdout
    for name, c in found.items():
        assert re.search(rf"^{c['state']} +{re.escape(name)} ", text, re.M), (name, text)
    assert f"problems: {sum(c['state'] == 'problem' for c in found.values())}, " in text
    assert {"kernel", "copying", "seccomp", "descriptors", "memlock", "/dev/shm", "namespaces", "cpus", "cpu-quota", "clock",
            "hugepages", "numa", "loopback", "ipv6", "tcp-buffers", "rdma", "gpus", "pair"} <= set(found)


def test_limits():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    found = doctor(limits=few)
    assert found["descriptors"]["state"] == "problem" and "64 descriptors" in found["descriptors"]["found"]
    assert "nofile" in found["descriptors"]["remedy"] and "12 peers" in found["descriptors"]["cost"]
    assert found["memlock"]["state"] == "note" and "ulimit -l" in found["memlock"]["remedy"]
    assert found["file-size"]["state"] == "problem" and "ulimit -f" in found["file-size"]["remedy"]
    assert "tcp" in found["file-size"]["cost"] and "SIGXFSZ" not in found["file-size"]["cost"]
    assert found["settings"]["state"] == "problem" and "RLIMIT_FSIZE" in found["settings"]["found"]
    assert found["pair"]["state"] == "note" and "over tcp" in found["pair"]["found"]  # a ring does not fit


def test_a_soft_limit_is_raised_by_the_shell():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard <= 4096:
        pytest.skip(f"not more than {hard} descriptors may be had here")
    found = doctor(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard)))
    assert found["descriptors"]["state"] == "note" and found["descriptors"]["remedy"].startswith("ulimit -n ")


def test_no_copies_between_processes():
    found = doctor(before=without("process_vm_readv", "process_vm_writev"))
    assert found["copying"]["state"] == "problem" and "not permitted" in found["copying"]["found"]
    assert "twice" in found["copying"]["cost"] and "weft_mem_alloc" in found["copying"]["trade"]
    assert "seccomp" in found["copying"]["remedy"]
    assert found["seccomp"]["state"] == "note" and "filter" in found["seccomp"]["found"]
    assert "ring only" in found["pair"]["found"] and found["pair"]["state"] == "note"


@pytest.mark.parametrize("call, check", [("memfd_create", "memfd"), ("pidfd_open", "kernel")])
def test_no_shared_memory(call, check):
    found = doctor(before=without(call))
    assert found[check]["state"] == "problem" and "tcp" in found[check]["cost"] and call in found[check]["remedy"]
    assert found["settings"]["state"] == "problem" and f"shm: {call}" in found["settings"]["found"]
    assert "over tcp" in found["pair"]["found"]


def test_no_membarrier_is_only_slower():
    found = doctor(before=without("membarrier"))
    assert found["membarrier"]["state"] == "note" and "fence" in found["membarrier"]["cost"]
    assert "over shm" in found["pair"]["found"]


def test_no_loopback():
    before = ["unshare", "--net"]
    if not shutil.which("unshare") or subprocess.run([*before, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("network namespaces are not allowed here")
    found = doctor(before=before)
    assert found["loopback"]["state"] == "problem" and found["loopback"]["remedy"] == "ip link set lo up"
    assert found["pair"]["state"] == "problem"


def test_one_cpu():
    found = doctor(limits=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    assert found["cpus"]["state"] == "note" and found["cpus"]["found"].startswith("1 of ")


def test_settings():
    found = doctor(env={"WEFT_AVOID": "shm"})
    assert found["settings"]["state"] == "note" and found["settings"]["remedy"] == "unset WEFT_AVOID"
    assert "over tcp" in found["pair"]["found"]
    found = doctor(env={"WEFT_SPINN": "1us"})
    assert found["settings"]["state"] == "problem" and "WEFT_SPIN?" in found["settings"]["found"]


def write_all(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_another_machines_files(tmp_path):
    ib = "sys/class/infiniband/mlx5_0/ports/1"
    write_all(tmp_path, {
        "proc/self/status": "Name:\tweft\nCapEff:\t0000000000000000\nSeccomp:\t0",
        "proc/self/cgroup": "0::/a/b",
        "sys/fs/cgroup/a/cpu.max": "50000 100000",
        "sys/fs/cgroup/a/cpu.stat": "usage_usec 1\nnr_throttled 7",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
        "sys/devices/system/node/node0/cpulist": "0", "sys/devices/system/node/node1/cpulist": "1",
        "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
        "proc/sys/net/ipv4/tcp_rmem": "4096 131072 262144", "proc/sys/net/ipv4/tcp_wmem": "4096 16384 262144",
        "proc/sys/kernel/yama/ptrace_scope": "2",
        "sys/class/infiniband/mlx5_0/fw_ver": "22.31.1014",
        f"{ib}/state": "4: ACTIVE", f"{ib}/link_layer": "Ethernet", f"{ib}/rate": "100 Gb/sec (4X EDR)",
        f"{ib}/pkeys/0": "0xffff", f"{ib}/pkeys/1": "0x0000", f"{ib}/pkeys/2": "0x8001",
        "sys/bus/pci/devices/0000:01:00.0/class": "0x030200", "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de",
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H100\nIRQ: 1",
        ".dockerenv": "",
    })
    found = doctor("--root", str(tmp_path), before=without("process_vm_readv"))
    assert found["copying"]["state"] == "problem" and "ptrace_scope=0" in found["copying"]["remedy"]
    assert found["cpu-quota"]["state"] == "problem"
    assert "0.50 CPUs" in found["cpu-quota"]["found"] and "7 times" in found["cpu-quota"]["found"]
    assert found["clock"]["state"] == "problem" and "echo tsc" in found["clock"]["remedy"] and found["clock"]["trade"]
    assert found["numa"]["state"] == "note" and "2 nodes" in found["numa"]["found"]
    assert found["hugepages"]["state"] == "note" and "never" in found["hugepages"]["found"]
    assert found["tcp-buffers"]["state"] == "note" and "256 KiB in" in found["tcp-buffers"]["found"]
    assert found["rdma"]["state"] == "problem" and found["rdma"]["remedy"].startswith("sudo ")     # no device files there
    assert "mlx5_0, firmware 22.31.1014: port 1: ACTIVE, Ethernet, 100 Gb/sec (4X EDR), P_Keys 0xffff, 0x8001" in found["rdma"]["found"]
    assert found["gpus"]["state"] == "note" and found["gpus"]["found"].startswith("NVIDIA H100") and "--gpus" in found["gpus"]["remedy"]
    assert found["/dev/shm"]["state"] == "note" and "does not need it" in found["/dev/shm"]["found"]
    assert "docker" in found["namespaces"]["found"]


def gid_table(root, port, gids, size):
    """A port's table: {index: (gid, type, interface)}; the kernel shows empty places as zeros, without type and interface."""
    for i in range(size):
        gid, kind, net = gids.get(i, ("0000:0000:0000:0000:0000:0000:0000:0000", None, None))
        write_all(root, {f"{port}/gids/{i}": gid})
        if kind:
            write_all(root, {f"{port}/gid_attrs/types/{i}": kind})
        if net:
            write_all(root, {f"{port}/gid_attrs/ndevs/{i}": net})


def v4(last):
    return f"0000:0000:0000:0000:0000:ffff:0a00:00{last:02x}"


LINK_LOCAL = "fe80:0000:0000:0000:0202:c9ff:fe00:0001"


def test_the_addresses_of_a_port(tmp_path):
    """Empty places hide nothing: neither the first, nor many before the last; what has no place in the report is counted."""
    port = "sys/class/infiniband/mlx5_0/ports/1"
    gids = {1: (LINK_LOCAL, "IB/RoCE v1", "eth0"), 2: (v4(1), "RoCE v2", "eth0"), 200: (v4(2), "RoCE v2", "eth0.5")}
    write_all(tmp_path, {f"{port}/state": "4: ACTIVE", f"{port}/link_layer": "Ethernet", f"{port}/rate": "100 Gb/sec (4X EDR)",
                         f"{port}/lid": "0x0", "sys/class/net/eth0/mtu": "9000"})
    gid_table(tmp_path, port, gids, 256)
    says = "mlx5_0: port 1: ACTIVE, Ethernet, 100 Gb/sec (4X EDR), over eth0 with MTU 9000, " \
           "GIDs 1 fe80::202:c9ff:fe00:1 (RoCE v1), 2 ::ffff:10.0.0.1 (RoCE v2), 200 ::ffff:10.0.0.2 (RoCE v2, eth0.5); "
    assert says in doctor("--root", str(tmp_path))["rdma"]["found"]
    gid_table(tmp_path, port, {i: (v4(i), "RoCE v2", "eth0") for i in range(11)}, 16)
    found = doctor("--root", str(tmp_path))["rdma"]["found"]
    assert ", 7 ::ffff:10.0.0.7 (RoCE v2) and 4 more; " in found and "10.0.0.8" not in found     # 200 is one of them


def test_the_addresses_of_infiniband_and_iwarp(tmp_path):
    port = "sys/class/infiniband/mlx5_0/ports/1"
    write_all(tmp_path, {f"{port}/state": "4: ACTIVE", f"{port}/link_layer": "InfiniBand", f"{port}/rate": "200 Gb/sec (4X HDR)",
                         f"{port}/lid": "0x12"})
    gid_table(tmp_path, port, {0: (LINK_LOCAL, "IB/RoCE v1", None)}, 8)
    found = doctor("--root", str(tmp_path))["rdma"]["found"]
    assert "mlx5_0: port 1: ACTIVE, InfiniBand, 200 Gb/sec (4X HDR), LID 18, GIDs 0 fe80::202:c9ff:fe00:1; " in found
    rdma_device(tmp_path / "iwarp", IWARP)
    gid_table(tmp_path / "iwarp", "sys/class/infiniband/dev0/ports/1", {0: ("0202:c900:0001:0000:0000:0000:0000:0000", "IB/RoCE v1", None)}, 1)
    assert "GID" not in doctor("--root", str(tmp_path / "iwarp"))["rdma"]["found"]      # they are made of its MAC address


def test_many_devices(tmp_path):
    """None of 16 falls out of the report, nor what stands behind them; of more it is said how many."""
    for k in range(18):
        port = f"sys/class/infiniband/mlx5_{k}/ports/1"
        write_all(tmp_path, {f"{port}/state": "4: ACTIVE", f"{port}/link_layer": "Ethernet", f"{port}/rate": "400 Gb/sec (4X NDR)"})
        gid_table(tmp_path, port, {i: (f"fd00:0000:0000:0000:1000:1000:{k:04x}:{i:04x}", "RoCE v2", f"eth{k}") for i in range(8)}, 8)
    found = doctor("--root", str(tmp_path))["rdma"]["found"]
    assert found.count(": port 1: ACTIVE") == 16 and found.count(" (RoCE v2)") == 16 * 8
    assert "; 2 more devices; 0 device files" in found and "ethtool -S" in found


FAKE = TOOL.parent / "fake"


def fake_device(root, name="fake0", node_guid=None):
    """As the kernel would show one of the devices in software (tests/fake/ibverbs), which it does not know."""
    at = f"sys/class/infiniband/{name}"
    write_all(root, {f"{at}/ports/1/state": "4: ACTIVE", f"{at}/ports/1/link_layer": "Ethernet", f"{at}/ports/1/rate": "10 Gb/sec"})
    if node_guid:
        write_all(root, {f"{at}/node_guid": node_guid})


@pytest.mark.skipif(not FAKE.exists() or SANITIZED, reason="no devices in software here")
def test_what_the_device_says_itself(tmp_path):
    """Its packets and its queues stand in no file: it is asked, when it is the one of the files."""
    root = tmp_path / "root"
    fake_device(root)
    env = {"LD_LIBRARY_PATH": str(FAKE), "WEFT_TEST_IBV": str(tmp_path), "WEFT_TEST_IBV_MTUS": "2048"}
    found = doctor("--root", str(root), env=env)["rdma"]["found"]
    assert "fake0: port 1: ACTIVE, Ethernet, 10 Gb/sec, RDMA MTU 2048; " in found and "receive queues" not in found
    found = doctor("--root", str(root), env={**env, "WEFT_TEST_IBV_SRQS": "no"})["rdma"]["found"]
    assert "; fake0: no shared receive queues, so each peer takes receive buffers of its own; " in found
    for nothing in ({"WEFT_TEST_IBV_DEVICES": "0"}, {"WEFT_TEST_IBV_FAULT": "no_open"}):
        found = doctor("--root", str(root), env={**env, "WEFT_TEST_IBV_SRQS": "no", **nothing})["rdma"]["found"]
        assert "fake0: port 1: ACTIVE, Ethernet, 10 Gb/sec; " in found and "receive queues" not in found
    fake_device(root, node_guid="dead:beef:0000:0001")       # another machine's of that name
    found = doctor("--root", str(root), env=env)["rdma"]["found"]
    assert "fake0: port 1: ACTIVE, Ethernet, 10 Gb/sec; " in found


def put_card(root, at, pci_class, vendor, device, driver=None):
    folder = root / "sys/bus/pci/devices" / at
    write_all(folder, {"class": pci_class, "vendor": vendor, "device": device})
    if driver:
        (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


@pytest.mark.parametrize("card, module, state, says", [
    (("0x020000", "0x15b3", "0x101d", "mlx5_core"), "mlx5_ib", "note", "(15b3:101d) that does RDMA"),
    (("0x020000", "0x15b3", "0xa2d6", None), "mlx5_ib", "note", "that does RDMA"),     # nobody has it: the module brings its driver
    (("0x020700", "0x15b3", "0x101b", "mlx5_core"), "mlx5_ib", "problem", "that does RDMA"),
    (("0x028000", "0x15b3", "0x1003", "mlx4_core"), "mlx4_ib", "note", "that does RDMA"),
    (("0x020000", "0x14e4", "0x1750", "bnxt_en"), "bnxt_re", "note", "Broadcom (14e4:1750) that may do RDMA"),
    (("0x020000", "0x8086", "0x1592", "ice"), "irdma", "note", "that may do RDMA"),
    (("0x020000", "0x8086", "0x37d0", "i40e"), "irdma", "note", "that may do RDMA"),
    (("0x020000", "0x1077", "0x8070", "qede"), "qedr", "note", "that may do RDMA"),
    (("0x020000", "0x1425", "0x6401", "cxgb4"), "iw_cxgb4", "note", "that may do RDMA"),
])
def test_a_card_without_an_rdma_device(tmp_path, card, module, state, says):
    put_card(tmp_path, "0000:3b:00.0", *card)
    put_card(tmp_path, "0000:3b:00.1", *card)
    write_all(tmp_path, {"proc/modules": f"{module}_x 4096 0 - Live 0x0\next4 4096 0 - Live 0x0"})
    c = doctor("--root", str(tmp_path))["rdma"]
    assert c["state"] == state and says in c["found"] and "PCI 0000:3b:00.0" in c["found"]
    assert f"kernel module {module} is not loaded" in c["found"] and c["found"].endswith(f"1 more for {module}")
    assert c["remedy"].startswith(f"sudo modprobe {module} ") and "tcp" in c["cost"]
    write_all(tmp_path, {"proc/modules": f"ext4 4096 0 - Live 0x0\n{module} 4096 0 - Live 0x0"})
    c = doctor("--root", str(tmp_path))["rdma"]
    assert c["state"] == state and f"kernel module {module} is loaded, but" in c["found"]
    assert c["remedy"].startswith(f"sudo dmesg | grep -e 0000:3b:00.0 -e {module} ") and "modprobe" not in c["remedy"]


@pytest.mark.parametrize("card", [
    ("0x020000", "0x8086", "0x1572", "i40e"),       # X710: that driver's cards but for X722 have no RDMA
    ("0x020000", "0x14e4", "0x165f", "tg3"),
    ("0x020000", "0x1af4", "0x1000", "virtio-pci"),
    ("0x010802", "0x15b3", "0x6001", "nvme"),       # not a network's
])
def test_a_card_that_does_no_rdma(tmp_path, card):
    put_card(tmp_path, "0000:01:00.0", *card)
    c = doctor("--root", str(tmp_path))["rdma"]
    assert c["state"] == "ok" and c["found"] == "no RDMA device (/sys/class/infiniband)"


def test_cards_that_others_have_or_nobody_knows(tmp_path):
    put_card(tmp_path, "0000:01:00.0", "0x020000", "0x15b3", "0x101e", "vfio-pci")
    c = doctor("--root", str(tmp_path))["rdma"]
    assert c["state"] == "ok" and "driver vfio-pci has this card" in c["found"]
    put_card(tmp_path, "0000:02:00.0", "0x020700", "0x1234", "0x5678")
    c = doctor("--root", str(tmp_path))["rdma"]
    assert c["state"] == "problem" and "(0x1234:0x5678)" in c["found"] and c["remedy"].startswith("lspci -k -s 0000:02:00.0")
    put_card(tmp_path, "0000:03:00.0", "0x020000", "0x15b3", "0x101d", "mlx5_core")     # is not hidden by the first
    assert "modprobe mlx5_ib" in doctor("--root", str(tmp_path))["rdma"]["remedy"]


def rdma_device(root, node_type, *files):
    at = "sys/class/infiniband/dev0"
    write_all(root, {f"{at}/node_type": node_type, f"{at}/ports/1/state": "4: ACTIVE", f"{at}/ports/1/link_layer": "Ethernet",
                     **{f"dev/infiniband/{name}": "" for name in ("uverbs0", *files)}})


def libraries(folder, *names, broken=()):
    """An environment in which these can be loaded, and `broken` cannot, whatever is installed."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(TOOL.parent / "libweft.so")
    for name in broken:
        (folder / name).write_text("no library")
    return {"LD_LIBRARY_PATH": str(folder)}


LIBS = ("libibverbs.so.1", "librdmacm.so.1")
IWARP = "4: RNIC"


def no_rights():
    """root, too, is asked for them: the program that is started has not CAP_DAC_OVERRIDE."""
    if os.getuid() == 0:
        assert ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0) == 0     # PR_CAPBSET_DROP


def test_rdma_cm_is_there(tmp_path):
    rdma_device(tmp_path / "root", IWARP, "rdma_cm")
    c = doctor("--root", str(tmp_path / "root"), env=libraries(tmp_path / "lib", *LIBS))["rdma"]
    assert c["state"] == "ok" and "rdma_cm" not in c["found"] and "RoCE" not in c["found"]


@pytest.mark.parametrize("node_type, setting", [(IWARP, ""), ("1: CA", "dev0:1,cm,tc=106")])
def test_rdma_cm_is_missing(tmp_path, node_type, setting):
    rdma_device(tmp_path / "root", node_type)
    env = {"WEFT_RDMA": setting, **libraries(tmp_path / "lib", LIBS[0], broken=LIBS[1:])}
    c = doctor("--root", str(tmp_path / "root"), env=env)["rdma"]
    assert c["state"] == "problem" and "rdma_cm" in c["cost"] and "tcp" in c["cost"]
    assert "no /dev/infiniband/rdma_cm (kernel module rdma_ucm)" in c["found"] and "librdmacm.so.1 cannot be loaded" in c["found"]
    assert c["remedy"].startswith("sudo modprobe rdma_ucm ") and "sudo apt-get install librdmacm1 " in c["remedy"]


def test_rdma_cm_is_missing_and_nobody_needs_it(tmp_path):
    rdma_device(tmp_path / "root", "1: CA")
    env = {"WEFT_RDMA": "cm0,sl=3", **libraries(tmp_path / "lib", *LIBS)}     # a device of that name
    c = doctor("--root", str(tmp_path / "root"), env=env)["rdma"]
    assert c["state"] == "ok" and not c["remedy"]
    assert "no /dev/infiniband/rdma_cm" in c["found"] and "only iWARP and the word cm" in c["found"]


def test_rdma_cm_without_rights(tmp_path):
    rdma_device(tmp_path / "root", IWARP, "rdma_cm")
    (tmp_path / "root/dev/infiniband/rdma_cm").chmod(0o400)
    c = doctor("--root", str(tmp_path / "root"), env=libraries(tmp_path / "lib", *LIBS), limits=no_rights)["rdma"]
    assert c["state"] == "problem" and "/dev/infiniband/rdma_cm may not be opened by this user" in c["found"]
    assert c["remedy"].startswith("sudo chmod 666 /dev/infiniband/rdma_cm ") and "librdmacm" not in c["remedy"]


def test_the_old_kind_of_cgroup(tmp_path):
    write_all(tmp_path, {
        "proc/self/cgroup": "3:cpuset:/x\n4:cpu,cpuacct:/box\n1:name=systemd:/",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "150000",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
    })
    found = doctor("--root", str(tmp_path), limits=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    assert "1.50 CPUs" in found["cpu-quota"]["found"] and found["cpu-quota"]["state"] == "ok"
    write_all(tmp_path, {"sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "-1"})
    assert doctor("--root", str(tmp_path))["cpu-quota"]["found"] == "no limit on CPU time"


def test_nothing_is_written(tmp_path):
    if not shutil.which("strace") or SANITIZED:
        pytest.skip("strace is not installed, or a sanitizer's runtime writes files of its own")
    log = tmp_path / "log"
    calls = "openat,mkdirat,unlinkat,renameat,truncate,prlimit64,mount"   # all that stand in every machine's list
    calls += ",?open,?creat,?mkdir,?unlink,?rename,?setrlimit"
    traced = run(before=["strace", "-f", "-o", str(log), "-e", f"trace={calls}"])
    if not log.exists() or "openat" not in log.read_text():
        pytest.skip("strace may not trace here: " + traced.stderr.strip()[:100])
    for line in log.read_text().splitlines():
        if "/dev/infiniband/uverbs" in line:    # a device is opened to be asked, which is done for reading and writing only
            continue
        assert not re.search(r"O_WRONLY|O_RDWR|O_CREAT|creat\(|mkdir|unlink|rename|truncate|mount\(|setrlimit\(", line), line
        assert "prlimit64" not in line or ", NULL, {" in line, line     # read, not set
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("args", [["extra"], ["--nope"], ["--root"]])
def test_bad_arguments(args):
    result = run(*args)
    assert result.returncode == 2 and "weft doctor" in result.stderr and not result.stdout
