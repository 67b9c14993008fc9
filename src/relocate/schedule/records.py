# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store keeps, as values."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import new_id as relocation_id


def new_id(at: float) -> str:
    """Return a firing's id, which becomes the relocation's."""
    return relocation_id(datetime.datetime.fromtimestamp(at, datetime.UTC))


def iso(at: float | None) -> str | None:
    """Return epoch seconds as ISO 8601 in UTC, to the millisecond."""
    return None if at is None else datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")


@dataclass
class Firing:
    """An alert and what became of it. Moments are epoch seconds; ``state`` is waiting, launched or ended.

    ``outcome`` is one of a relocation's, or ``skipped`` for an alert that a limit or a pause swallowed, or ``unknown``.
    """

    id: str
    container: str
    source: str
    reason: str
    state: str
    alerted_at: float
    stay_ms: float | None = None
    drawn_ms: float | None = None
    clamp: str = "none"
    clock: str | None = None
    token: int = 0
    launched_at: float | None = None
    ended_at: float | None = None
    destination: str | None = None
    outcome: str | None = None
    exposure_latency_ms: float | None = None
    downtime_ms: float | None = None
    msg: str | None = None

    def said(self) -> dict[str, Any]:
        """Return what a log entry about it carries: nothing that is still to come."""
        names = ("container", "source", "destination", "outcome", "downtime_ms")
        known = {"relocation": self.id, **{name: getattr(self, name) for name in names}}
        return {name: value for name, value in known.items() if value is not None}

    def document(self) -> dict[str, Any]:
        """Return it for people's programs: times in ISO 8601."""
        shown = {name: value for name, value in vars(self).items() if name not in ("token", "clock")}
        return {**shown, **{name: iso(shown[name]) for name in ("alerted_at", "launched_at", "ended_at")}}


@dataclass(frozen=True)
class Tenant:
    """A container that is to move, as last seen: on which host and edge, running since when (epoch seconds).

    :ivar leader: with whom it moves, where it would lose others of its project if it moved alone: the container of them, itself
        maybe, whose clock is that of all.
    """

    container: str
    host: str
    since: float
    labels: dict[str, str]
    edge: str = ""
    leader: str = ""

    @property
    def follows(self) -> bool:
        """Whether another container's clock is its own."""
        return self.leader not in ("", self.container)


@dataclass(frozen=True)
class Pause:
    """What an operator has paused."""

    scope: str
    name: str
    drain: bool
    since: float
    why: str | None
