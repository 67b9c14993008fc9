# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A combination in which no move could be started says nothing of the program: it is tried again, and is never green or red."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import outside
import pytest
from direct import NotStarted
from matrix import every_cell
from rehearsal import Outcome


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> faults.Run:
    """Return a run whose tenants are always there, and whose hosts are put in order by being counted."""
    made = faults.Run(SimpleNamespace(), ("host1", "host2"))  # type: ignore[arg-type]
    heart = SimpleNamespace(assert_beats=lambda: None)
    direct = SimpleNamespace(running=lambda: ["host1"], leftovers=lambda: "")
    monkeypatch.setattr(made, "tenant", lambda _: (direct, heart))
    monkeypatch.setattr(made, "_begin_again", lambda: None)
    return made


def rehearsals(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | Exception) -> list[object]:
    """Have rehearsals end so, one after the other; return what is left of them."""
    left: list[Any] = list(outcomes)

    def rehearse(*_: object) -> Outcome:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(faults, "rehearse", rehearse)
    return left


def test_it_is_tried_once_more(run: faults.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes of that counts."""
    left = rehearsals(monkeypatch, NotStarted("it has ended"), Outcome("committed", 1.0))
    row = run.try_out(every_cell()[0])
    assert row.outcome == "committed" and row.ran and not left


def test_what_never_starts_is_neither_red_nor_green(run: faults.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, with the reason."""
    left = rehearsals(monkeypatch, NotStarted("it\nhas ended"), NotStarted("no room"), Outcome("committed", 1.0))
    row = run.try_out(every_cell()[0])
    assert row.outcome == "NOT RUN: no room" and len(left) == 1
    assert not row.ran and not row.failed


def test_a_failure_is_tried_once(run: faults.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try would hide a race."""
    left = rehearsals(monkeypatch, AssertionError("two copies"), Outcome("committed", 1.0))
    row = run.try_out(every_cell()[0])
    assert row.failed and len(left) == 1


def test_a_tenant_that_cannot_be_made_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker is away, say, because another combination's failure has not been healed."""
    made = faults.Run(SimpleNamespace(), ("host1", "host2"))  # type: ignore[arg-type]

    def fail(_: int) -> None:
        raise AssertionError("no Docker")

    monkeypatch.setattr(made, "_make", fail)
    with pytest.raises(NotStarted, match="no Docker"):
        made.tenant(faults.SMALL_MIB)


def scene(found: Callable[[], str]) -> Any:
    """Return a scene of a move by command, on whose destination a look for its journal finds something."""
    direct = SimpleNamespace(container="web", mode="stop-and-copy", ids=[], controller=None)
    return SimpleNamespace(direct=direct, there="host2", on=lambda *_: found())


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what puts a script in the place of ``relocate``."""

    def put(script: str) -> None:
        program = tmp_path / "relocate"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(outside, "BIN", tmp_path)

    return put


def test_a_command_that_ends_at_once_is_not_waited_for(command: Callable[[str], None]) -> None:
    """What it said is the reason."""
    command("echo host2 is away; exit 1")
    with pytest.raises(NotStarted, match="has ended and has started nothing: host2 is away"):
        outside.begin_by_command(scene(lambda: ""))


def test_a_command_that_is_too_slow_does_not_outlive_its_combination(
    command: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would start a move in the middle of the next one."""
    command("sleep 1000")
    monkeypatch.setattr(outside, "BEGIN_SECONDS", 0.1)
    it = scene(lambda: "")
    with pytest.raises(NotStarted, match="started nothing"):
        outside.begin_by_command(it)
    process: subprocess.Popen[bytes] = it.direct.controller
    assert process.poll() is not None


def test_a_command_that_starts_a_move_is_known_by_its_journal(command: Callable[[str], None]) -> None:
    """Even one that has ended by the time of the look."""
    command("true")
    it = scene(lambda: "/var/lib/relocate/journal/20261128-074428-252ba5ad5574.source.jsonl")
    assert outside.begin_by_command(it) == "20261128-074428-252ba5ad5574" and it.direct.ids
