# SPDX-License-Identifier: BSD-3-Clause
from weft.faces._array import Array, asarray

__all__ = ["Array", "asarray"]
