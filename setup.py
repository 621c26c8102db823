# SPDX-License-Identifier: BSD-3-Clause
"""Builds the wheel: make builds the library, setuptools links it into the extension. The wheel carries besides it
libweft.so.0, weft.h, weft.pxd and the command line tool, for who compiles against weft."""
import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def version():
    header = (ROOT / "include/weft/weft.h").read_text()
    return ".".join(re.search(rf"define WEFT_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))


class BuildWithLibrary(build_ext):
    def build_extension(self, ext):
        out = (Path(self.build_temp) / "weft").resolve()
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "SAN", "FAULTS", "O")}
        make = ["make", "--no-print-directory", f"-j{min(os.cpu_count() or 1, 8)}", f"O={out}"]
        subprocess.run([*make, "lib", f"{out}/weft"], cwd=ROOT, env=env, check=True)
        ext.extra_objects = [str(out / "libweft.a")]
        super().build_extension(ext)
        if self.inplace:
            return
        package = Path(self.build_lib) / "weft"
        for source, place in ((out / "libweft.so.0", "lib"), (out / "weft", "bin"),
                              (ROOT / "include/weft/weft.h", "include/weft")):
            (package / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, package / place)  # follows the link: the wheel has the file


setup(
    version=version(),
    cmdclass={"build_ext": BuildWithLibrary},
    ext_modules=[Extension(
        "weft._weft",
        sorted(str(p.relative_to(ROOT)) for p in (ROOT / "src/py").glob("*.c")),
        include_dirs=["include"],
        define_macros=[("_GNU_SOURCE", None)],
        depends=["src/py/wpy.h", "src/py/obj_wire.h", "include/weft/weft.h"],
        extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden"],
        extra_link_args=["-Wl,--exclude-libs,ALL", "-pthread", "-ldl"],
    )],
)
