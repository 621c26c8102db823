# SPDX-License-Identifier: BSD-3-Clause
from weft.faces._net import get_address

__all__ = ["get_address"]
