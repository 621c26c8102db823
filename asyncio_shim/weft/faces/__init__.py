# SPDX-License-Identifier: BSD-3-Clause
"""Other libraries' interfaces on weft: weft.ucp (ucx-py's `ucp`) and weft.ucxx (`ucxx`), and how a program that imports those
names is run on them: python -m weft.faces ucp ucxx -- prog.py. docs/FACES.md says what is not there.

    _core.py      contexts, listeners, endpoints: all that the two have in common
    _array.py     memory of the caller
    _settings.py  UCX's options, as far as they mean something here
    _net.py       addresses of this host, the logger
    _lacks.py     what is not there, and how that is said
    _low.py       without an event loop of the caller's: ucp._libs, and what ucxx._lib derives from
"""
