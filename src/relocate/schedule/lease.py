# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One scheduler at a time for a fleet: a lease with a sign of life in the database, and a token that fences off the last one.

No two machines' clocks are compared. Who waits takes over when it has seen no sign of life for ``ttl`` seconds of its own
monotonic clock; who holds stops ``ttl`` seconds after it began to give its last one, which is earlier.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from relocate.schedule import tables
from relocate.schedule.store import Store


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _process_start(pid: int) -> str:
    """Return when a process began, in ticks since boot (field 22 of proc(5)'s stat); empty if there is none."""
    return (_read(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""] * 20)[19:20][0]


def _machine() -> str:
    """Return what names this machine's processes: host, boot, and namespace of process ids."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{_read('/proc/sys/kernel/random/boot_id')[:8]}{namespace}"


def this_process() -> str:
    """Return a name for this process that no other process ever has."""
    return f"{_machine()} {os.getpid()} {_process_start(os.getpid())}"


def surely_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that is gone: then nobody has to wait for its lease to lapse."""
    machine, _, process = holder.partition(" ")
    pid, _, start = process.partition(" ")
    return machine == _machine() and pid.isdigit() and bool(start) and _process_start(int(pid)) != start


@dataclass
class Lease:
    """A claim on a fleet. ``monotonic`` is a clock in seconds that never jumps."""

    store: Store
    ttl: float
    holder: str = field(default_factory=this_process)
    monotonic: Callable[[], float] = time.monotonic
    epoch: Callable[[], float] = time.time
    dead: Callable[[str], bool] = surely_dead
    token: int = 0
    #: When the scheduler before this one last gave a sign of life (epoch seconds, its clock); None if there was none.
    last_alive: float | None = None

    def __post_init__(self) -> None:
        self._until = float("-inf")
        self._seen: tuple[int, int] | None = None
        self._seen_at = 0.0

    @property
    def held(self) -> bool:
        """Whether this process may fire."""
        return self.monotonic() < self._until

    def attempt(self) -> bool:
        """Renew the lease, or take it if nobody has it; return whether it is ours. Raises SQLAlchemyError."""
        begun = self.monotonic()
        try:
            with self.store.writing() as connection:
                ours = self._claim(connection, begun)
        except IntegrityError:  # two made the first row at once, and the other was quicker
            ours = False
        self._until = begun + self.ttl if ours else float("-inf")
        return ours

    def _claim(self, connection: sa.Connection, begun: float) -> bool:
        table, fleet, now = tables.lease, self.store.fleet, self.epoch()
        row = connection.execute(sa.select(table).where(table.c.fleet == fleet).with_for_update()).first()
        if row is None:
            self.token, self.last_alive = 1, None
            first = sa.insert(table).values(fleet=fleet, token=1, beat=0, holder=self.holder, alive_at=now)
            connection.execute(first)
            return True
        change = sa.update(table).where(table.c.fleet == fleet)
        if row.holder == self.holder and row.token == self.token:
            connection.execute(change.values(beat=row.beat + 1, alive_at=now))
            return True
        if self._seen != (row.token, row.beat):
            self._seen, self._seen_at = (row.token, row.beat), begun
        lapsed = begun - self._seen_at >= self.ttl
        if row.holder and not lapsed and not self.dead(row.holder):
            return False
        self.token, self.last_alive = row.token + 1, row.alive_at
        connection.execute(change.values(token=self.token, beat=0, holder=self.holder, alive_at=now))
        return True

    def lapse(self) -> None:
        """Hold it no longer, whatever the store says."""
        self._until = float("-inf")

    def release(self) -> None:
        """Give the lease back, so that another can take it at once. Raises SQLAlchemyError."""
        self._until = float("-inf")
        table = tables.lease
        ours = (table.c.fleet == self.store.fleet) & (table.c.token == self.token) & (table.c.holder == self.holder)
        with self.store.writing() as connection:
            connection.execute(sa.update(table).where(ours).values(holder="", alive_at=self.epoch()))
