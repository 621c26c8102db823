# SPDX-License-Identifier: BSD-3-Clause
"""CUDA contexts: weft carries no GPU memory in this version, so none is made."""
from weft.faces import _lacks

_WORDS = "weft.ucxx does not carry GPU memory in this version: {}() is not to be had"


def ensure_cuda_context(device_id: int = 0) -> None:
    raise NotImplementedError(_WORDS.format("ensure_cuda_context"))


def synchronize_default_stream(device_id: int = 0) -> None:
    raise NotImplementedError(_WORDS.format("synchronize_default_stream"))

_lacks.said_by(__name__)
