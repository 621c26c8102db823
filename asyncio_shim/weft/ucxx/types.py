# SPDX-License-Identifier: BSD-3-Clause
"""Tags as `ucxx` has them."""
from weft.faces import _lacks

from ._lib.libucxx import UCXXTag, UCXXTagMask, UCXXTagMaskFull

Tag = UCXXTag
TagMask = UCXXTagMask
TagMaskFull = UCXXTagMaskFull

_lacks.said_by(__name__)
