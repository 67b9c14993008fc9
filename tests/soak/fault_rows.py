# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the fault matrix: rows that outlive a run, and the tables that are made of them.

Every row is appended to a file as soon as it is seen, and none is ever taken out. The newest row of a combination counts, so a
failure stays until the combination has been run again.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from matrix import Cell
from rehearsal import PARTS

NOTHING, LOST = "nothing there to break", "lost"
#: What stands for an outcome in the small tables.
MARKS = {"rolled-back": "R", "committed": "C", LOST: "L", NOTHING: "·"}
LEGEND = (
    "| mark | what was seen |\n|---|---|\n"
    "| C | committed: the copy runs on, over the same connections |\n"
    "| R | rolled back: the original runs on, over the same connections |\n"
    "| c, r | the same, but clients were served only after `relocate recover`: nobody was left to settle it |\n"
    "| L | the tenant was lost with what was taken away: its host, its shim or its memory, as without a move; while the last "
    "pages of a post-copy are at its source, that host and all that carries them are as much its own "
    "([modes.md](modes.md#post-copy)) |\n"
    "| · | there is nothing of that kind to break at this line |\n"
    "| ! | something was not as it must be |\n"
    "| ? | not run |\n"
)
#: Headings of the small tables, and how the kinds below them begin. What fits none is under the last.
GROUPS = {
    "the part itself": ("kill", "kill-guardian", "fail", "hang"),
    "a host": ("lose-host", "restart-edge"),
    "a process beside the parts": ("kill-", "criu-fault", "reload"),
    "a link": ("cut-source", "cut-destination", "slow", "lossy"),
    "disk or memory": ("disk-full", "inodes-full", "memory-full"),
    "the controller": ("kill-controller", "cut-controller", "hang-ssh"),
}
RECOVERED = " (by recover)"
FAILED, NOT_RUN = "!", "?"
DID_NOT_RUN = "NOT RUN"


@dataclass(frozen=True)
class Row:
    """What came of a combination.

    :ivar outcome: begins with FAILED when something was not as it must be; with NOT RUN when no move could be started: that
        says nothing of the program, is shown, and counts as no row.
    :ivar commit: of the program that was run; with ``+`` where it was changed since. :ivar when: UTC, to the second.
    """

    line: str
    kind: str
    outcome: str
    gap_ms: float
    seconds: float
    commit: str = ""
    when: str = ""

    @property
    def failed(self) -> bool:
        """Whether the fleet was not whole."""
        return self.outcome.startswith("FAILED")

    @property
    def ran(self) -> bool:
        """Whether there was a move for the failure to meet."""
        return not self.outcome.startswith(DID_NOT_RUN)

    @property
    def mark(self) -> str:
        """Return one character: small if an operator's ``relocate recover`` was needed."""
        if self.failed:
            return FAILED
        mark = MARKS[self.outcome.removesuffix(RECOVERED)]
        return mark.lower() if self.outcome.endswith(RECOVERED) else mark


def append(path: Path, row: Row) -> None:
    """Add a row to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(asdict(row)) + "\n")  # what is before may have been cut off by a kill


def newest(path: Path) -> dict[tuple[str, str], Row]:
    """Return the last row of every combination, by line and kind. A line that was cut off is no row."""
    found: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = Row(**json.loads(line))
        except json.JSONDecodeError:
            continue
        found[row.line, row.kind] = row
    return found


def of(cells: Iterable[Cell], rows: dict[tuple[str, str], Row]) -> list[Row]:
    """Return the rows of these combinations, in their order."""
    return [rows[cell.line, cell.kind] for cell in cells if (cell.line, cell.kind) in rows]


def as_csv(rows: Iterable[Row]) -> str:
    """Return the whole list."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["at this line", "fails", "outcome", "longest wait, ms", "seen at commit", "when"])
    for row in rows:
        writer.writerow([row.line, row.kind, " ".join(row.outcome.split()), f"{row.gap_ms:.0f}", row.commit, row.when])
    return text.getvalue()


def summary(cells: list[Cell], rows: list[Row]) -> str:
    """Return how many combinations were run, by outcome."""
    counted = Counter("FAILED" if row.failed else row.outcome for row in rows)
    words = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    return f"{len(rows)} of {len(cells)} combinations were run: {words or 'nothing'}."


def failures(rows: Iterable[Row]) -> str:
    """Return what failed, a line each, in Markdown."""
    return "".join(f"- {row.line}, {row.kind}: {' '.join(row.outcome.split())}\n" for row in rows if row.failed)


def _family(kind: str) -> str:
    """Return a kind's name, without the number that CRIU has for it."""
    return re.sub(r"(?<=criu-fault-)\d+", "N", kind)


def by_kind(cells: list[Cell], rows: list[Row]) -> str:
    """Return a table with one line for each kind of failure: how many combinations there are, were run, and ended how."""
    lines = [
        "| fails | combinations | run | committed | rolled back | of these by `recover` | tenant lost | nothing to break "
        "| failed | longest wait, ms |",
        "|---" * 10 + "|",
    ]
    for kind in dict.fromkeys(_family(cell.kind) for cell in cells):
        seen = [row for row in rows if _family(row.kind) == kind]
        marks = Counter(row.mark for row in seen)
        counts = [
            sum(_family(cell.kind) == kind for cell in cells),
            len(seen),
            marks["C"] + marks["c"],
            marks["R"] + marks["r"],
            marks["c"] + marks["r"],
            marks["L"],
            marks["·"],
            marks[FAILED],
        ]
        wait = f"{max((row.gap_ms for row in seen), default=0):.0f}" if seen else ""
        lines.append(f"| `{kind}` | {' | '.join(map(str, counts))} | {wait} |")
    return "\n".join(lines) + "\n"


def group(kind: str) -> str:
    """Return the heading under which a kind stands: that of the longest beginning that fits, or of the whole name."""
    fitting = [
        (len(begin), title)
        for title, begins in GROUPS.items()
        for begin in begins
        if kind == begin or (kind.startswith(begin) and begin not in GROUPS["the part itself"])
    ]
    return max(fitting)[1]


def small_tables(cells: list[Cell], rows: list[Row]) -> str:
    """Return one table for each part: a kind of failure each line, a state each column, two marks for before and after."""
    return "\n".join(f"## At a line of the {part}\n\n{_small_table(part, cells, rows)}" for part in PARTS)


def _small_table(part: str, cells: list[Cell], rows: list[Row]) -> str:
    seen = {(row.line, row.kind): row for row in rows}
    here = [cell for cell in cells if cell.fault.part == part]
    places = list(dict.fromkeys(cell.fault.place for cell in here))
    lines = [f"| fails | {' | '.join(places)} | longest wait, ms |", "|---" * (len(places) + 2) + "|"]
    kinds = sorted(dict.fromkeys(_family(cell.kind) for cell in here), key=lambda kind: list(GROUPS).index(group(kind)))
    title = ""
    for kind in kinds:
        if group(kind) != title:
            title = group(kind)
            lines.append(f"| **{title}** {'| ' * (len(places) + 1)}|")
        wanted = [cell for cell in here if _family(cell.kind) == kind]
        found = {(cell.line, cell.kind): seen.get((cell.line, cell.kind)) for cell in wanted}
        gaps = [row.gap_ms for row in found.values() if row]
        marks = [
            " ".join(
                row.mark if row else NOT_RUN
                for moment in ("before", "after")
                for (line, _), row in found.items()
                if line == f"{part} {moment} {place}"
            )
            for place in places
        ]
        lines.append(f"| `{kind}` | {' | '.join(marks)} | {f'{max(gaps):.0f}' if gaps else ''} |")
    return "\n".join(lines) + "\n"
