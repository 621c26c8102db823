# SPDX-License-Identifier: BSD-3-Clause
"""Tags as `ucxx` has them."""
from ._lib.libucxx import UCXXTag, UCXXTagMask, UCXXTagMaskFull

Tag = UCXXTag
TagMask = UCXXTagMask
TagMaskFull = UCXXTagMaskFull
