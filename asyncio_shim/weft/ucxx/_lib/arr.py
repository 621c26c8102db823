# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _lacks
from weft.faces._array import Array, asarray

__all__ = ["Array", "asarray"]

_lacks.said_by(__name__)
