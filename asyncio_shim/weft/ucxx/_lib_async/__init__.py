# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _lacks

from .application_context import ApplicationContext
from .endpoint import Endpoint
from .listener import Listener

__all__ = ["ApplicationContext", "Endpoint", "Listener"]

_lacks.said_by(__name__)
