# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firings that are not over yet: each in one phase at a time, all in one table.

=========  =================================================  ============================================
phase      means                                              leaves for
=========  =================================================  ============================================
ALERTED    decided on, if at all, in memory only              WAITING, MOVING; or out of the table, written
WAITING    written; a limit holds it back                     MOVING, ENDED
MOVING     its launch is written; a launcher has it           IN_DOUBT, ENDED
IN_DOUBT   launched, and nobody knows how it ended            ENDED
ENDED      over; its end is not written yet                   out of the table, written
=========  =================================================  ============================================
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from relocate.schedule.records import Firing


class Phase(enum.Enum):
    """Where a firing is on its way."""

    ALERTED = enum.auto()
    WAITING = enum.auto()
    MOVING = enum.auto()
    IN_DOUBT = enum.auto()
    ENDED = enum.auto()


class Firings:
    """The table. Putting a firing into a phase takes it out of the one that it was in; order within a phase is kept."""

    def __init__(self) -> None:
        self._phases: dict[Phase, dict[str, Firing]] = {phase: {} for phase in Phase}
        self._results: dict[str, tuple[Firing, dict[str, Any]]] = {}

    def put(self, phase: Phase, *firings: Firing) -> None:
        """Enter firings, or move them on."""
        for firing in firings:
            self.drop([firing])
            self._phases[phase][firing.id] = firing

    def drop(self, firings: Iterable[Firing]) -> None:
        """Forget firings: what there is to write of them has been written."""
        for firing in firings:
            for rows in self._phases.values():
                rows.pop(firing.id, None)

    def of(self, phase: Phase) -> list[Firing]:
        """Return the firings in a phase, the longest there first."""
        return list(self._phases[phase].values())

    def count(self, phase: Phase) -> int:
        """Return how many are in a phase."""
        return len(self._phases[phase])

    def ids(self, phase: Phase) -> frozenset[str]:
        """Return the ids of those in a phase."""
        return frozenset(self._phases[phase])

    def containers(self, *phases: Phase) -> set[str]:
        """Return the containers that have a firing in one of the phases."""
        return {firing.container for phase in phases for firing in self._phases[phase].values()}

    # -- what the ledger has not got yet ------------------------------------------------------------------------------

    def keep_result(self, firing: Firing, result: dict[str, Any]) -> None:
        """Keep a move's result until :meth:`take_results`."""
        self._results[firing.id] = (firing, result)

    def take_results(self) -> list[tuple[Firing, dict[str, Any]]]:
        """Return the results that were kept, and keep them no longer."""
        results, self._results = list(self._results.values()), {}
        return results
