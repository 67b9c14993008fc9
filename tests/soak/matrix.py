# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: every line of every part's journal × every kind of failure, and what of it is run."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from outside import Outside, kinds
from rehearsal import AFTER_COMMIT, IN_DOUBT, Fault, State, every_fault, journaled

#: What a part does to itself: orders of ``protocol/faults.py``.
INSIDE = ("kill", "kill-guardian", "fail", "hang")
#: What issue and operator would like to see, and why it is not here.
NOT_RUN = {
    "clock stepped": "the lab's hosts share the machine's kernel, whose wall clock no namespace has for itself; "
    "tests/unit/proxy/test_clocks.py shows that nothing in a move waits or decides by it",
    "two edges": "they have failures of their own: tests/lab/test_two_edges.py, and every state of both in "
    "tests/unit/proxy/parts/test_standby.py",
    "projects": "each member's parts are those of the matrix; what they have in common fails in tests/lab/test_projects.py",
    "recreate": "nothing is frozen, and the old container runs until the new one is well: tests/lab/test_recreate.py",
}


@dataclass(frozen=True)
class Cell:
    """One failure at one line. :ivar outside: what breaks; None if the part fails by itself."""

    fault: Fault
    outside: Outside | None = None

    @property
    def kind(self) -> str:
        """The name of the failure."""
        return self.outside.name if self.outside else self.fault.do

    @property
    def line(self) -> str:
        """Where it strikes."""
        return f"{self.fault.part} {self.fault.moment} {self.fault.place}"

    def __str__(self) -> str:
        return f"{self.line}: {self.kind}"


def every_cell() -> list[Cell]:
    """Return the whole matrix, in the order of the protocol."""
    cells = [Cell(fault) for fault in every_fault(*INSIDE)]
    for outside in kinds().values():
        cells += [Cell(fault, outside) for fault in every_fault(outside.name) if is_of_its_own(fault, outside)]
    return cells


def is_of_its_own(fault: Fault, outside: Outside) -> bool:
    """Say whether a failure from outside can come to something else at this line than at another one.

    A part that stands before its line and one that stands behind it are the same to the rest of the world: nobody else reads
    the line, and the part has not acted upon it. Both are made where the line changes what the part may decide alone (it gives
    its word there, or hears the verdict), and where what fails is the disk that the line is written to.

    In a post-copy the destination writes ``draining`` where it else writes ``committed``. The controller is away from the votes
    on, in either mode.
    """
    line = (fault.part, fault.state.value, fault.moment)
    if fault.of_post_copy and (outside.mode == "post-copy" or outside.begin):
        return False
    if outside.only is not None:
        return line in outside.only
    if outside.mode == "post-copy" and line[:2] == ("destination", State.COMMITTED.value):
        return False
    return fault.moment == "after" or outside.journal == fault.part or binds(fault.part, fault.state)


def binds(part: str, state: State) -> bool:
    """Say whether a part may roll back by itself before this line of its journal, and not after it."""
    states = journaled(part)
    before = states[: states.index(state)]
    return state in IN_DOUBT | AFTER_COMMIT and not any(each in IN_DOUBT | AFTER_COMMIT for each in before)


def select(
    cells: Iterable[Cell],
    *,
    parts: Iterable[str] = (),
    states: Iterable[str] = (),
    moments: Iterable[str] = (),
    kinds: Iterable[str] = (),
    sample: int | None = None,
    seed: int = 0,
) -> list[Cell]:
    """Return the cells of these parts, states, moments and kinds; without a name, of all.

    :param kinds: the beginning of a name is enough. :param sample: so many of them, drawn by ``seed``, in their order.
    """
    parts, states, moments, wanted = tuple(parts), tuple(states), tuple(moments), tuple(kinds)
    found = [
        cell
        for cell in cells
        if (not parts or cell.fault.part in parts)
        and (not states or cell.fault.state.value in states)
        and (not moments or cell.fault.moment in moments)
        and (not wanted or named(cell, wanted))
    ]
    if sample is None or sample >= len(found):
        return found
    drawn = set(random.Random(seed).sample(range(len(found)), sample))
    return [cell for index, cell in enumerate(found) if index in drawn]


def named(cell: Cell, names: Iterable[str]) -> bool:
    """Say whether a cell's kind has one of these names, or begins with one."""
    return any(cell.kind == name or cell.kind.startswith(f"{name}-") for name in names)


def in_turn(cells: Iterable[Cell], seed: int, first: Iterable[str] = ()) -> list[Cell]:
    """Return the cells in the order in which they are run: one of each kind, then a second of each, and so on.

    So a run that ends early has met all kinds about as often. Which of a kind comes first is drawn by ``seed``.

    :param first: kinds that come before all others.
    """
    drawn = list(cells)
    random.Random(seed).shuffle(drawn)
    first = tuple(first)
    met: Counter[str] = Counter()
    ranked = []
    for cell in drawn:
        met[cell.kind] += 1
        ranked.append((not named(cell, first), met[cell.kind], cell))
    return [cell for _, _, cell in sorted(ranked, key=lambda each: each[:2])]
