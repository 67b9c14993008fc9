# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An hour's worth of the scheduler at a high rate: six containers, clients that ask all the time, and ten kills amid it.

``RELOCATE_SOAK_HOPS`` sets the number of hops (200), ``RELOCATE_SOAK_KILLS`` how often the scheduler is killed with -9 (10).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from fleet import BIN, NO_LIMIT, ROOT, VIRTUAL, Fleet, prepared_fleet

from relocate.demo.watching import Client
from relocate.schedule import views
from relocate.schedule.config import load
from relocate.schedule.records import Firing

pytestmark = pytest.mark.soak

HOPS = int(os.environ.get("RELOCATE_SOAK_HOPS", "200"))
KILLS = int(os.environ.get("RELOCATE_SOAK_KILLS", "10"))
COUNTERS, IDLE = ("s1", "s2", "s3", "s4"), ("s5", "s6")
PORT = 7150
#: How long a busy machine may take for one hop before the test gives up on it.
PATIENCE = 240.0
CONFIG: dict[str, Any] = {
    "inventory": "inventories/lab",
    "clock": {"kind": "truncated-poisson", "rate": 1 / 30, "ceiling": 90.0},
    "limits": {"in_flight": 2, "in_flight_per_host": 2, "backoff": {"first": 5, "most": 20}},
    "variables": {"relocate_downtime_limit_ms": float(NO_LIMIT)},
    "discovery": {"every": 20},
}


class Scheduler:
    """``relocate schedule``, started as often as it is killed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = file.with_name("schedule.log")
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        with self._log.open("a") as stream:
            self.process = subprocess.Popen(
                [str(BIN / "relocate"), "schedule", "--config", str(self._file)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=stream,
                env={**os.environ, "RELOCATE_LEDGER": str(self._file.with_name("ledger.jsonl"))},
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Return the lab, prepared; the test's tenants are removed at the end."""
    found = prepared_fleet()
    yield found
    found.remove_tenants()


def record(file: Path) -> list[Firing]:
    configuration = load(file)
    store = views.open_store(configuration)
    firings = store.history()
    store.close()
    return firings


def committed(file: Path) -> int:
    return sum(firing.outcome == "committed" for firing in record(file)) if file.with_name("s.sqlite").exists() else 0


def wait_for(file: Path, scheduler: Scheduler, hops: int) -> None:
    deadline = time.monotonic() + PATIENCE
    have = committed(file)
    while have < hops:
        assert scheduler.process.poll() is None, scheduler.said()[-4000:]
        assert time.monotonic() < deadline, f"no hop for {PATIENCE:g} s:\n{scheduler.said()[-4000:]}"
        time.sleep(1.0)
        if (now := committed(file)) != have:
            have, deadline = now, time.monotonic() + PATIENCE


def test_an_hour_at_a_high_rate_loses_nothing(fleet: Fleet, tmp_path: Path) -> None:
    for number, name in enumerate(COUNTERS):
        fleet.tenant(name, "counter", fleet.docker_hosts[number % 3], f"{PORT + number} 8", PORT + number)
    for number, name in enumerate(IDLE):
        fleet.tenant(name, "idle", fleet.docker_hosts[number % 3])
    file = tmp_path / "schedule.yml"
    file.write_text(json.dumps({**CONFIG, "store": {"url": f"sqlite:///{tmp_path}/s.sqlite"}}))
    kills = sorted(random.sample(range(1, HOPS), min(KILLS, HOPS - 1)))
    with ExitStack() as stack:
        clients = [
            Client("counter", VIRTUAL, PORT + number, fleet.client_namespace).start() for number in range(len(COUNTERS))
        ]
        for client in clients:
            stack.callback(client.stop)
        scheduler = Scheduler(file)
        stack.callback(lambda: scheduler.process.poll() is None and scheduler.kill())
        for hops in kills:
            wait_for(file, scheduler, hops)
            time.sleep(random.uniform(0.0, 8.0))  # anywhere in a move: preparing, freezing, committing, between two
            scheduler.kill()
            scheduler.start()
        wait_for(file, scheduler, HOPS)
        assert scheduler.stop() == 0, scheduler.said()[-4000:]
        summaries = [client.stop() for client in clients]
    assert [summary["error"] for summary in summaries] == [None] * len(COUNTERS), summaries

    firings = record(file)
    assert not [firing for firing in firings if firing.state == "launched"], "every move has an end"
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    ends = Counter(line["id"] for line in lines if line["outcome"] != "in-doubt")
    assert ends == Counter(firing.id for firing in firings if firing.launched_at is not None), "one line for each move"
    places = {name: fleet.where(name) for name in (*COUNTERS, *IDLE)}
    assert all(len(hosts) == 1 for hosts in places.values()), places
    (audit, *_) = views.audits(firings, level=0.001)
    print(f"\n{committed(file)} hops, {scheduler.starts - 1} kills, {sum(s['requests'] for s in summaries)} requests")
    print(f"longest wait {max(s['longest_ms'] for s in summaries):.0f} ms")
    print(f"outcomes {dict(Counter(firing.outcome for firing in firings))}, clamps {audit.clamped}")
    print(audit.text())
    assert audit.verdict == "pass" or (HOPS < 60 and audit.verdict == "undecided"), audit.text()
