# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _lacks
from weft.faces._net import get_address

__all__ = ["get_address"]

_lacks.said_by(__name__)
