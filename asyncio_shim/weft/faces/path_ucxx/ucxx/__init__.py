# SPDX-License-Identifier: BSD-3-Clause
"""`import ucxx` finds this where its directory comes first on the path; it becomes weft.ucxx."""
from weft.faces._alias import become

become("ucxx", "weft.ucxx")
