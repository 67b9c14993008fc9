# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every pipeline has in common: a server that is carried over, a client that watches, and one sample per hop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from relocate.demo.watching import Client
from relocate.errors import Refusal

from .lab import VIRTUAL, BenchLab

CALM_SECONDS = 0.4  # of undisturbed answers before and after a hop
LISTEN_SECONDS = 60.0
PATIENCE_SECONDS = 600.0  # a gigabyte through Docker's own pipeline takes minutes on a small machine


class Unavailable(Exception):
    """This pipeline cannot run here, or not at this size; the message says why."""


@dataclass(frozen=True)
class Timing:
    """What the pipeline itself knows of a hop, in milliseconds. ``down``: from the first packet held to the release."""

    down: float
    phases: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """One hop as measured. ``gap``: the longest wait of the client (ms), None where none watched or its connection was lost."""

    gap: float | None
    down: float
    phases: dict[str, float] = field(default_factory=dict)
    reset: bool = False
    lost: bool = False


class Pipeline(Protocol):
    """One way of carrying a running server from one place to another."""

    name: str

    def begin(self, mib: int) -> None:
        """Start a server that holds ``mib`` MiB. Raises Unavailable where this cannot be."""

    def hop(self) -> Sample:
        """Carry it once. Raises CommandFailed or Refusal when that failed; the server may be gone then."""

    def end(self) -> None:
        """Remove the server, and whatever is left of it."""


class Stopwatch:
    """Consecutive phases of one hop."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self.phases: dict[str, float] = {}

    def phase(self, name: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self.phases[name] = (now - self._last) * 1000
        self._last = now

    def timing(self) -> Timing:
        """Return what passed from the beginning to the last phase's end."""
        return Timing((self._last - self._begin) * 1000, self.phases)


def connected(lab: BenchLab, port: int) -> Client:
    """Return a client with its connection; a server fills its memory before it listens.

    Raises Refusal when there is still none after a minute.
    """
    deadline = time.monotonic() + LISTEN_SECONDS
    while True:
        try:
            return Client("counter", VIRTUAL, port, lab.lab.client_namespace, patience=PATIENCE_SECONDS).start()
        except Refusal:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def watched(lab: BenchLab, port: int, hop: Callable[[], Timing]) -> Sample:
    """Carry out one hop while a client asks every 2 ms over one connection; return what both saw.

    The client's gap is its longest wait that ended after the hop began. A held or dropped question is answered some time
    after the release (dropped ones at a retransmission), so the client is given as long again as the server was down.
    """
    client = connected(lab, port)
    try:
        time.sleep(CALM_SECONDS)
        began = time.time()
        timing = hop()
        deadline = time.monotonic() + 5 + 2 * timing.down / 1000
        while (
            (client.longest_since(began) or 0) < 0.5 * timing.down and not client.lost and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(CALM_SECONDS)
        gap = client.longest_since(began)
    finally:
        summary = client.stop()
    error = summary["error"]
    missed = bool(error) and error.startswith("Wrong: after")
    return Sample(None if error else gap, timing.down, timing.phases, bool(error) and not missed, missed)
