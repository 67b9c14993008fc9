# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the protocol's page, the docstring of ``states``, says."""

from __future__ import annotations

from relocate_proxy.protocol import states
from relocate_proxy.protocol.states import State

PARTS = ("edge", "source", "destination")


def documented(part: str) -> set[State]:
    """Return the states of one column of the table in the module's own page."""
    table = [line for line in (states.__doc__ or "").splitlines() if line.strip()]
    ruler = next(line for line in table if line.startswith("==="))
    begin = [0]
    for column in ruler.split()[:-1]:
        begin.append(ruler.index(column, begin[-1]) + len(column))
    column = PARTS.index(part)
    cells = {line[begin[column] : begin[column + 1]].strip().partition(" ")[0] for line in table}
    return {State[cell] for cell in cells if cell in State.__members__}
