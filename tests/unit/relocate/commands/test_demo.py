# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's course around the real scheduler; hosts and moves are pretended."""

from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from relocate.commands import demo as demonstration
from relocate.demo import clockwork
from relocate.errors import Refusal
from relocate.schedule.discovery import Survey
from relocate.schedule.launchers.base import Move
from relocate.schedule.records import Tenant
from relocate.schedule.service import Service


class Mover:
    """Says of every move that it went well, or not."""

    name = "pretended"

    def __init__(self, outcome: str) -> None:
        self._outcome = outcome

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        result: dict[str, Any] = {
            "id": move.id,
            "container": move.container,
            "outcome": self._outcome,
            "msg": "as asked",
        }
        if self._outcome == "committed":
            result |= {
                "source": {"host": "host1"},
                "destination": {"host": "host2"},
                "address_before": "172.20.1.2",
                "address_after": "172.20.2.2",
                "downtime_ms": 81.5,
                "choice": {"why": "host2: the most different"},
                "timings_ns": {"freeze": 2_000_000, "dump": 30_000_000, "restore": 49_500_000},
            }
        return result

    def recover(self) -> dict[str, list[Any]]:
        return {"settled": [], "in_progress": [], "left": []}


class Watcher:
    """A client that has seen one pause; ``lost`` is what went wrong."""

    def __init__(self, lost: str | None = None) -> None:
        self.lost = lost

    def longest_since(self, _moment: float) -> float:
        return 123.0

    def stop(self) -> dict[str, Any]:
        return {"requests": 4711, "longest_ms": 123.0, "error": self.lost}


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> demonstration.Demo:
    """Return a demonstration that prints into a string; its scheduler keeps its state in the test's directory."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    monkeypatch.setattr(clockwork, "CLOCK", {"kind": "truncated-poisson", "rate": 4.0, "ceiling": 1.0})
    monkeypatch.setattr(demonstration, "CALM_SECONDS", 0.0)
    return demonstration.Demo(Console(file=io.StringIO(), width=140), verbose=False)


def pretend(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    def survey(_: Collection[str]) -> Survey:
        tenants = {name: Tenant(name, "host1", time.time(), {}) for name in ("counter", "redis", "idle")}
        return Survey(tenants=tenants, answered={"host1"}, edge="host0")

    monkeypatch.setattr(clockwork, "Service", functools.partial(Service, launcher=Mover(outcome), surveyor=survey))


def printed(course: demonstration.Demo) -> str:
    assert isinstance(course.console.file, io.StringIO)
    return course.console.file.getvalue()


def test_hops_are_shown_audited_and_summed_up(course: demonstration.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "committed")
    course.clients = {"counter": Watcher(), "redis": Watcher()}  # type: ignore[dict-item]
    course.schedule(60.0, hops=8)
    course.audit()
    course.finish()
    text = printed(course)
    assert "hop 8" in text and "host1 → host2" in text and "172.20.1.2 → 172.20.2.2" in text
    assert "down 82 ms, client waited 123 ms" in text and "after a stay of" in text
    assert "Was the clock honest?" in text and "truncated-poisson clock (rate 4, ceiling 1)" in text
    assert "What the clients saw" in text and "4711" in text
    assert course.clockwork is not None and str(course.clockwork.file) in text and course.clockwork.file.is_file()


def test_moves_that_end_otherwise_are_told_and_the_clocks_go_on(
    course: demonstration.Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "refused")
    course.schedule(2.0, hops=None)
    assert "refused  as asked" in printed(course) and course.hops == []


def test_a_client_that_lost_something_ends_it(course: demonstration.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "committed")
    lost = Watcher("Wrong: after 2 came 4")
    course.clients = {"counter": lost, "redis": lost}  # type: ignore[dict-item]
    with pytest.raises(Refusal, match="lost its connection: Wrong: after 2 came 4"):
        course.schedule(60.0, hops=None)
