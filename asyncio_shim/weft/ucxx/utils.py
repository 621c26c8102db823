# SPDX-License-Identifier: BSD-3-Clause
from weft.faces._net import get_address, get_ucxpy_logger

__all__ = ["get_address", "get_ucxpy_logger"]
