# SPDX-License-Identifier: BSD-3-Clause
"""The interface of `ucxx` on weft: `import weft.ucxx as ucxx`, or, for a program that says `import ucxx`,
`python -m weft.faces ucxx -- prog.py`. docs/FACES.md says what is not there."""
from weft.faces import _lacks

from . import core, exceptions, testing, types
from ._lib import libucxx
from ._lib_async import Endpoint, Listener
from .core import *  # noqa: F403
from .utils import get_address, get_ucxpy_logger

logger = get_ucxpy_logger()

__version__ = "0.52.0"                   # whose interface this is
__git_commit__ = "weft"
__ucx_min_version__ = "1.19.0"
__ucx_version__ = "{}.{}.{}".format(*core.get_ucx_version())

__all__ = ["exceptions", "types", "testing", "libucxx", *core.__all__, "__git_commit__", "__version__", "get_address", "Endpoint",
           "Listener"]

_lacks.said_by(__name__)
