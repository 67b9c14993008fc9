# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time of day that was set changes no stay; a store that is away costs the lease, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from relocate.schedule.heartbeat import Heartbeat
from relocate.schedule.lease import Lease
from relocate.schedule.steady import Steady
from relocate.schedule.store import Store


def test_a_clock_that_is_set_is_followed_once_and_a_drift_is_not() -> None:
    wall, monotonic = [1000.0], [5.0]
    steady = Steady(lambda: wall[0], lambda: monotonic[0])
    wall[0], monotonic[0] = 1011.5, 15.0
    assert (steady.now(), steady.correct(), steady.now()) == (1010.0, 0.0, 1010.0)
    wall[0] = 4611.0
    assert (steady.correct(), steady.now(), steady.correct()) == (3601.0, 4611.0, 0.0)


def test_a_store_that_is_away_is_told_once_and_the_lease_lapses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    lease = Lease(Store.open(f"sqlite:///{tmp_path}/s.sqlite", "fleet"), 4.0, monotonic=lambda: now[0])
    changes = threading.Semaphore(0)
    heart = Heartbeat(lease, 1.0, changes.release)
    heart._once()
    assert lease.held and changes.acquire(blocking=False)

    def away() -> bool:
        raise OperationalError("select", {}, Exception("gone"))

    real = lease.attempt
    monkeypatch.setattr(lease, "attempt", away)
    with caplog.at_level("INFO", "relocate.schedule"):
        for now[0] in (1.0, 2.0, 3.9):
            heart._once()
        assert lease.held and not changes.acquire(blocking=False)
        now[0] = 4.0
        heart._once()
    assert not lease.held and changes.acquire(blocking=False)
    assert not [record for record in caplog.records if "another scheduler" in record.getMessage()]
    assert sum("cannot be renewed" in record.getMessage() for record in caplog.records) == 1
    monkeypatch.setattr(lease, "attempt", real)
    heart._once()
    assert lease.held and changes.acquire(blocking=False)
