# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _lacks

_lacks.said_by(__name__)
