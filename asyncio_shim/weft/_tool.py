# SPDX-License-Identifier: BSD-3-Clause
"""The command `weft` of the wheel: runs the program that the wheel carries."""
import os
import sys
from pathlib import Path


def main() -> None:
    program = Path(__file__).resolve().parent / "bin/weft"
    if not program.exists():
        sys.exit("weft: this installation has no command line tool; in a checkout it is build/weft")
    os.environ.setdefault("PYTHON", sys.executable)  # which draws the plots of `weft perf`
    os.execv(program, ["weft", *sys.argv[1:]])
