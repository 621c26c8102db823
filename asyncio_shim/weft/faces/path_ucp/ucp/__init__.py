# SPDX-License-Identifier: BSD-3-Clause
"""`import ucp` finds this where its directory comes first on the path; it becomes weft.ucp."""
from weft.faces._alias import become

become("ucp", "weft.ucp")
