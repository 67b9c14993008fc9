# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix outlive a run, none hides another, and the tables say what failed and what was not run."""

from __future__ import annotations

from pathlib import Path

import fault_rows
import pytest
from fault_rows import NOTHING, Row
from matrix import every_cell


def row(outcome: str, number: int = 0, gap_ms: float = 41.6) -> Row:
    """Return a row of the matrix's cell of that number."""
    cell = every_cell()[number]
    return Row(cell.line, cell.kind, outcome, gap_ms, 2.0, "abc1234", "2026-11-28 03:00:00")


def test_the_newest_row_counts(tmp_path: Path) -> None:
    """A failure that came later is not hidden by an older success, nor the other way round."""
    path = tmp_path / "build/rows.jsonl"
    for outcome in ("committed", "FAILED: two copies"):
        fault_rows.append(path, row(outcome))
    fault_rows.append(path, row("FAILED: lost", 1))
    fault_rows.append(path, row("rolled-back", 1))
    found = fault_rows.of(every_cell(), fault_rows.newest(path))
    assert [each.outcome for each in found] == ["FAILED: two copies", "rolled-back"]
    assert [each.failed for each in found] == [True, False]


def test_a_run_that_is_killed_while_it_writes_loses_that_row_alone(tmp_path: Path) -> None:
    """What the next one appends is not part of the line that was cut off."""
    path = tmp_path / "rows.jsonl"
    fault_rows.append(path, row("committed"))
    with path.open("a") as file:
        file.write('{"line": "source bef')
    assert len(fault_rows.newest(path)) == 1
    fault_rows.append(path, row("committed", 1))
    fault_rows.append(path, row("committed", 2))
    assert len(fault_rows.newest(path)) == 3


def test_nothing_is_known_before_the_first_run(tmp_path: Path) -> None:
    """And the tables say that nothing was run."""
    assert fault_rows.newest(tmp_path / "rows.jsonl") == {}
    cells = every_cell()
    assert fault_rows.summary(cells, []) == f"0 of {len(cells)} combinations were run: nothing."
    assert "| ? ? | ? ? |" in fault_rows.small_tables(cells, [])


@pytest.mark.parametrize(
    ("outcome", "mark"),
    [
        ("committed", "C"),
        ("rolled-back (by recover)", "r"),
        ("committed (by recover)", "c"),
        ("lost", "L"),
        (NOTHING, "·"),
        ("FAILED: AssertionError: committed", "!"),
    ],
)
def test_marks(outcome: str, mark: str) -> None:
    """One character says how it ended, and whether an operator was needed."""
    assert row(outcome).mark == mark


def test_the_small_table_has_both_moments_of_a_line_and_the_longest_wait() -> None:
    """The first line of the source's table is of the first kind: its first state was run, before and after its fsync."""
    cells = every_cell()
    first = next(number for number, cell in enumerate(cells) if cell.fault.moment == "before")
    after = next(
        number
        for number, cell in enumerate(cells)
        if cell.kind == cells[first].kind and cell.line == cells[first].line.replace("before", "after")
    )
    table = fault_rows.small_tables(cells, [row("FAILED: two", first, 7.0), row("committed", after, 12.4)])
    (line,) = [line for line in table.splitlines() if "! C" in line]
    assert line.startswith(f"| `{cells[first].kind}` | ! C | ? ? |") and line.endswith("| 12 |")


def test_every_kind_stands_under_a_heading() -> None:
    """A part that is killed is not what is killed beside it."""
    found = {cell.kind: fault_rows.group(cell.kind) for cell in every_cell()}
    assert set(found.values()) == set(fault_rows.GROUPS)
    assert found["kill"] == found["hang"] == found["kill-guardian"] == "the part itself"
    assert found["kill-dockerd-source"] == found["criu-fault-6-destination"] == "a process beside the parts"
    assert (found["kill-controller"], found["hang-ssh-edge"]) == ("the controller",) * 2
    assert (found["cut-source-edge"], found["lose-host-source"]) == ("a link", "a host")


def test_the_table_by_kind_counts_what_there_is_and_what_was_run() -> None:
    """Ended by ``recover`` is also committed or rolled back."""
    cells = every_cell()
    kind = cells[0].kind
    numbers = [number for number, cell in enumerate(cells) if cell.kind == kind]
    outcomes = ("committed", "committed (by recover)", "rolled-back", "lost", NOTHING, "FAILED: x")
    rows = [row(outcome, number, gap_ms=number) for outcome, number in zip(outcomes, numbers, strict=False)]
    line = fault_rows.by_kind(cells, rows).splitlines()[2]
    assert line == f"| `{kind}` | {len(numbers)} | 6 | 2 | 1 | 1 | 1 | 1 | 1 | {numbers[5]} |"
    assert fault_rows.by_kind(cells, []).splitlines()[2].endswith("| 0 | 0 | 0 | 0 | 0 | 0 | 0 |  |")


def test_the_whole_list_and_the_failures_name_the_reason() -> None:
    """In one line each, whatever the reason has in it."""
    bad = row("FAILED: two copies\nran, both")
    assert (
        fault_rows.failures([bad, row("committed", 1)]) == f"- {bad.line}, {bad.kind}: FAILED: two copies ran, both\n"
    )
    listed = fault_rows.as_csv([bad]).splitlines()
    assert listed[1:] == [f'{bad.line},{bad.kind},"FAILED: two copies ran, both",42,abc1234,2026-11-28 03:00:00']


def test_what_was_counted() -> None:
    """By outcome; all failures are one."""
    rows = [row("FAILED: one"), row("FAILED: other", 1), row("committed", 2)]
    cells = every_cell()
    assert fault_rows.summary(cells, rows) == f"3 of {len(cells)} combinations were run: 2 FAILED, 1 committed."
