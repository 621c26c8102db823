# SPDX-License-Identifier: BSD-3-Clause
"""The interface of ucx-py, `ucp`, on weft: `import weft.ucp as ucp`, or, for a program that says `import ucp`,
`python -m weft.faces ucp -- prog.py`. docs/FACES.md says what is not there."""
from weft.faces import _lacks

from . import comm, core, exceptions, utils
from ._libs.utils import get_address
from .core import *  # noqa: F403
from .core import continuous_ucx_progress, get_ucx_version
from .utils import get_ucxpy_logger

logger = get_ucxpy_logger()

__version__ = "0.45.0"                   # whose interface this is
__git_commit__ = "weft"
__ucx_min_version__ = "1.15.0"
__ucx_version__ = "{}.{}.{}".format(*get_ucx_version())

_lacks.said_by(__name__)
