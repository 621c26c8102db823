# SPDX-License-Identifier: BSD-3-Clause
"""Dask over weft. `distributed` finds the scheme by itself:

    Client(LocalCluster(protocol="weft://"))
    dask scheduler --protocol weft            dask worker weft://host:8786

and with DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME=weft also where no scheme is named. Under a process launcher (Slurm, mpiexec):
`python -m weft.dask --help`.
"""
from .comm import EncryptedBackend, WeftBackend, WeftComm, WeftConnector, WeftListener
from .launch import LaunchError, initialize

__all__ = ["LaunchError", "initialize", "EncryptedBackend", "WeftBackend", "WeftComm", "WeftConnector", "WeftListener"]
