# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that exists in memory: for tests of the engine in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from relocate.schedule.config import parse
from relocate.schedule.discovery import Survey
from relocate.schedule.engine import Engine
from relocate.schedule.launchers.base import Move
from relocate.schedule.lease import Lease
from relocate.schedule.ledger_writer import Ledger
from relocate.schedule.limits import Opened
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Firing, Tenant
from relocate.schedule.store import Store
from relocate.schedule.timetable import Timetable

HOSTS = ("host1", "host2", "host3")
FAST = "clock: {kind: truncated-poisson, rate: 0.1, ceiling: 30}\n"
START = 1_795_435_200.0  # a Monday, 12:00 UTC


@dataclass
class World:
    """Containers on hosts, an engine, and what it launched. ``takes`` is how long a move takes."""

    directory: Path
    text: str = FAST
    names: tuple[str, ...] = ("a", "b", "c")
    takes: float = 2.0
    seed: int = 5
    outcome: str = "committed"
    now: float = START
    places: dict[str, str] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    launched: list[tuple[Firing, Move]] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    leaders: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, name in enumerate(self.names):
            self.places.setdefault(name, HOSTS[number % len(HOSTS)])
            self.since.setdefault(name, self.now)
        self.store = Store.open(f"sqlite:///{self.directory}/schedule.sqlite", "fleet")
        self.lease = Lease(self.store, 6.0, "engine", dead=lambda _: True)
        self.ledger_file = self.directory / "ledger.jsonl"
        self._source = np.random.default_rng(self.seed)
        self._flying: list[tuple[float, Firing]] = []

    def survey(self) -> Survey:
        """Return what the hosts would say."""
        tenants = {
            name: Tenant(name, host, self.since[name], self.labels.get(name, {}), leader=self.leaders.get(name, ""))
            for name, host in self.places.items()
            if host not in self.silent
        }
        answered = {host for host in HOSTS if host not in self.silent}
        return Survey(tenants=tenants, answered=answered, silent=dict(self.silent), edge="host0")

    def begin(self, alive: float | None = None) -> Engine:
        """Take the lease and start an engine; what flew before is forgotten, as by a crash."""
        assert self.lease.attempt()
        self._flying = []
        engine = Engine(
            parse(self.text),
            self.store,
            Ledger(self.ledger_file),
            self._dispatch,
            lambda opened, _: self.opened.append(opened),
            Metrics(),
            timetable=Timetable(self._source),
        )
        engine.begin(self.survey(), self.lease.token, self.now, alive)
        self.engine = engine
        return engine

    def _dispatch(self, firing: Firing, move: Move) -> None:
        stored = {each.id: each for each in self.store.unfinished()}
        assert stored[firing.id].state == "launched", "the intent is written before the launcher is called"
        self.launched.append((firing, move))
        self._flying.append((self.now + self.takes, firing))

    def arrive(self, name: str) -> str:
        """Put a container on another host, with those that follow it."""
        others = [host for host in HOSTS if host != self.places[name]]
        place = others[int(self._source.integers(len(others)))]
        for each in [name, *(follower for follower, leader in self.leaders.items() if leader == name)]:
            self.places[each], self.since[each] = place, self.now
        return place

    def result(self, firing: Firing) -> dict[str, Any]:
        """Return what a launcher would."""
        document: dict[str, Any] = {"id": firing.id, "container": firing.container, "outcome": self.outcome}
        if self.outcome == "committed":
            document |= {"destination": {"host": self.arrive(firing.container)}, "downtime_ms": 80.0}
        return document

    def run(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self.now += step
            landed = [firing for moment, firing in self._flying if moment <= self.now]
            self._flying = [each for each in self._flying if each[0] > self.now]
            for firing in landed:
                self.engine.finished(firing, self.result(firing), self.now)
            self.engine.tick(self.now)
            self.engine.flush(self.now)
