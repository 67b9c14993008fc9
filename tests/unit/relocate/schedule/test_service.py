# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as a process: killed at any moment, replaced by a standby, stopped, reloaded. Launcher and fleet are a file's."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relocate.schedule import views
from relocate.schedule.config import load
from relocate.schedule.records import Firing
from relocate.schedule.store import Store
from tests.paths import ROOT

HARNESS = Path(__file__).with_name("harness.py")
NAMES = tuple("abcdef")
PATIENCE = 60.0  # how long a busy machine may take for what is a moment's work
CONFIG = """\
store: {{url: "sqlite:///{directory}/schedule.sqlite"}}
clock: {{kind: truncated-poisson, rate: 3, ceiling: 2}}
limits: {{in_flight: 4, in_flight_per_host: 4, in_flight_per_edge: 4}}
lease: {{ttl: 2, beat: 0.4}}
discovery: {{every: 1}}
"""


class Scheduler:
    """A process under test, and what it logs."""

    def __init__(self, directory: Path, name: str, *options: str) -> None:
        self._log = directory / f"{name}.log"
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HARNESS), str(directory), *options],
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'collections'}"},
            )

    def said(self) -> str:
        return self._log.read_text()

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.tell(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    fleet = {name: {"host": f"host{i % 3 + 1}", "since": time.time()} for i, name in enumerate(NAMES)}
    (tmp_path / "places.json").write_text(json.dumps(fleet))
    (tmp_path / "config.yml").write_text(CONFIG.format(directory=tmp_path))
    return tmp_path


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Scheduler]]:
    started: list[Scheduler] = []

    def begin(name: str = "one", *options: str) -> Scheduler:
        started.append(Scheduler(directory, name, *options))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.tell(signal.SIGCONT)
            each.process.kill()
            each.process.wait()


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def launches(directory: Path) -> list[tuple[str, str, int]]:
    """Return (id, container, process) of everything that was launched."""
    path = directory / "launches.log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(line.split()[0], line.split()[1], int(line.split()[2])) for line in lines]


def history(directory: Path) -> list[Firing]:
    return Store.open(load(directory / "config.yml").store.address, "default").history()


def check(directory: Path) -> None:
    """What must hold at every end: nothing twice, nothing forgotten, the record agrees with the fleet."""
    made = Counter(identifier for identifier, _, _ in launches(directory))
    assert not [identifier for identifier, number in made.items() if number > 1], "something was fired twice"
    record = {firing.id: firing for firing in history(directory)}
    assert set(made) <= set(record), "something was fired that nobody recorded"
    assert not [firing for firing in record.values() if firing.state == "launched"], "something has no end"
    ended = {identifier for identifier, firing in record.items() if firing.launched_at is not None}
    lines = [json.loads(line)["id"] for line in (directory / "ledger.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted(ended), "the ledger has one line for each move"
    fleet = json.loads((directory / "places.json").read_text())
    configuration = load(directory / "config.yml")
    document = views.status(views.open_store(configuration), configuration)
    assert {each["container"]: each["host"] for each in document["tenants"]} == {
        name: each["host"] for name, each in fleet.items()
    }


def settle(directory: Path, scheduler: Scheduler) -> None:
    """Wait until what the killed ones left is settled, and stop."""
    until(lambda: "have a clock" in scheduler.said(), "the clocks")
    begun = time.time()

    def settled() -> bool:
        return not [f for f in history(directory) if f.state == "launched" and (f.launched_at or 0) < begun]

    until(settled, "the end of what was under way")
    assert scheduler.end() == 0


def test_killed_again_and_again_it_loses_nothing_and_fires_nothing_twice(
    directory: Path, start: Callable[..., Scheduler]
) -> None:
    for _ in range(3):
        scheduler = start()
        before = len(launches(directory))
        until(lambda before=before: len(launches(directory)) > before, "a launch")
        time.sleep(random.uniform(0.0, 0.6))
        scheduler.end(signal.SIGKILL)
    settle(directory, start("last"))
    assert len(launches(directory)) >= 5
    check(directory)


def test_a_standby_takes_over_from_one_that_was_killed(directory: Path, start: Callable[..., Scheduler]) -> None:
    first = start("first")
    until(lambda: launches(directory), "a launch")
    second = start("second", "--deaf")
    until(lambda: "stands by" in second.said(), "the standby")
    assert second.process.pid not in {process for _, _, process in launches(directory)}
    first.end(signal.SIGKILL)
    until(lambda: second.process.pid in {process for _, _, process in launches(directory)}, "the take-over")
    settle(directory, second)
    check(directory)


def test_one_that_slept_through_its_lease_fires_nothing_when_it_wakes(
    directory: Path, start: Callable[..., Scheduler]
) -> None:
    first = start("first")
    until(lambda: launches(directory), "a launch")
    second = start("second", "--deaf")
    until(lambda: "another scheduler has the lease" in second.said(), "the standby")
    for _ in range(20):  # one that is stopped amid a transaction holds SQLite's lock, and nobody can take over
        first.tell(signal.SIGSTOP)
        asleep = time.monotonic()
        while "this scheduler has the lease" not in second.said() and time.monotonic() < asleep + 6.0:
            time.sleep(0.05)
        if "this scheduler has the lease" in second.said():
            break
        first.tell(signal.SIGCONT)
        time.sleep(random.uniform(0.05, 0.3))
    else:
        pytest.fail("the second never got the lease")
    taken = {identifier for identifier, _, process in launches(directory) if process == first.process.pid}
    first.tell(signal.SIGCONT)
    until(lambda: "lease is lost" in first.said() or "has taken the lease" in first.said(), "the first to notice")
    time.sleep(1.0)
    intended_before = {firing.id for firing in history(directory) if firing.token == 1}
    late = {identifier for identifier, _, process in launches(directory) if process == first.process.pid} - taken
    assert late <= intended_before, "an intent of its own term may still be under way, a new one may not"
    assert first.end() == 0
    settle(directory, second)
    check(directory)


def test_sigterm_lets_what_is_in_flight_end_and_gives_the_lease_back(
    directory: Path, start: Callable[..., Scheduler]
) -> None:
    scheduler = start()
    until(lambda: len(launches(directory)) > 3, "launches")
    assert scheduler.end() == 0
    check(directory)
    configuration = load(directory / "config.yml")
    assert views.status(views.open_store(configuration), configuration)["scheduler"]["running"] is False
    assert Store.open(configuration.store.address, "default").holder() == ("", pytest.approx(time.time(), abs=600))


def test_sighup_reads_the_configuration_again_and_keeps_the_old_one_where_the_new_is_wrong(
    directory: Path, start: Callable[..., Scheduler]
) -> None:
    scheduler = start()
    until(lambda: launches(directory), "a launch")
    file = directory / "config.yml"
    good = file.read_text()
    file.write_text(good + "nonsense: 1\n")
    scheduler.tell(signal.SIGHUP)
    until(lambda: "kept as it was" in scheduler.said(), "the complaint")
    assert "config.yml:6: nonsense: " in scheduler.said()
    before = len(launches(directory))
    until(lambda: len(launches(directory)) > before, "that it goes on")
    file.write_text(good.replace("kind: truncated-poisson, rate: 3, ceiling: 2", "kind: static"))
    scheduler.tell(signal.SIGHUP)
    until(lambda: "was read again" in scheduler.said(), "the reload")
    until(lambda: not [f for f in history(directory) if f.state != "ended"], "the end of what was begun")
    before = len(launches(directory))
    time.sleep(1.5)
    assert len(launches(directory)) == before, "static clocks never run out"
    assert scheduler.end() == 0
    check(directory)


def test_what_somebody_has_left_half_done_is_recovered(directory: Path, start: Callable[..., Scheduler]) -> None:
    """Not only at its own start, and not only its own moves."""
    scheduler = start("a")
    until(lambda: launches(directory), "the first launch")
    for relocation in ("r1", "r2"):
        (directory / "abandoned").write_text(relocation)
        until(lambda: not (directory / "abandoned").exists(), "recovery")
    assert scheduler.end() == 0


def test_no_log_tells_a_due_time(directory: Path, start: Callable[..., Scheduler]) -> None:
    scheduler = start()
    until(lambda: len(launches(directory)) > 5, "launches")
    assert scheduler.end() == 0
    assert "due" not in scheduler.said() and "next" not in scheduler.said()
