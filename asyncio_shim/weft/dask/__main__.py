# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.dask: see launch.py."""
import sys

from .launch import main

if __name__ == "__main__":                   # also in processes that are spawned
    sys.exit(main())
