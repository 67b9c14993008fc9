# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is lost under ``relocate schedule``: who has a snapshot goes on elsewhere, the other is named; never two that answer.

Before that, the host is cut off from the controller alone, and nothing may happen to it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleet import VIRTUAL, Fleet
from outside import CONTROLLER
from test_scheduler import Running

from relocate.lab.paths import Lab
from relocate.lab.status import first_process

pytestmark = pytest.mark.lab

PORT, METRICS = 6420, range(9479, 9579)  # the latter on the machine itself, which other runs may share
KEPT, LOST = "ledger", "bank"
CONFIG = """\
inventory: inventories/lab
clock: {kind: static}   # nobody moves: even the slowest other clock may run out
discovery: {every: 5}
snapshots: {every: 20, keep: 2}
groups: {poor: {snapshots: {}}}
lost_hosts: {after: 20}
metrics: {listen: "127.0.0.1:PORT"}
"""
#: Counts over one new connection each time, for who answers must not be remembered; prints what each answer was.
COUNT = """
import socket, sys, time
while True:
    asked = time.monotonic()
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as connection:
            connection.settimeout(60)  # what was counted, and is not waited for, would be missing
            connection.sendall(b"INCR n\\r\\n")
            print(asked, int(connection.recv(20)[1:]), flush=True)
    except (OSError, ValueError):
        print(asked, "-", flush=True)
    time.sleep(0.2)
"""


class Counting:
    """A client that has the tenant count, and notes every answer; None for none."""

    def __init__(self, fleet: Fleet) -> None:
        command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", COUNT, VIRTUAL, str(PORT)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.answers: list[tuple[float, int | None]] = []  # when it was asked for, and what it was
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            asked, answer = line.split()
            self.answers.append((float(asked), int(answer) if answer != "-" else None))

    def numbers(self, begin: float = 0.0, end: float = math.inf) -> list[int]:
        """Return what was answered to what was asked for between two times of the machine's monotonic clock."""
        return [each for asked, each in self.answers if each is not None and begin < asked < end]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def contiguous(numbers: list[int]) -> bool:
    """Return whether each answer is one more than the last: of one copy, which lost nothing."""
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@contextmanager
def cut_off(host: str) -> Iterator[None]:
    """No packet passes between the controller and a host; the host's clients, and other hosts, reach it."""
    lab = Lab.from_environment()
    inside = ["nsenter", "-t", str(first_process(lab.namespace, lab.state / "hosts", host)), "-n", "nft"]
    rules = "".join(
        f"add chain ip cut {chain} {{ type filter hook {chain} priority -500; }}\n"
        f"add rule ip cut {chain} ip {end} {CONTROLLER} drop\n"
        for chain, end in (("input", "saddr"), ("output", "daddr"))
    )
    subprocess.run([*inside, "-f", "-"], input=f"add table ip cut\n{rules}", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "delete", "table", "ip", "cut"], check=True)


def free_port() -> int:
    """Return a port of the machine that nobody has."""
    for port in METRICS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("another run has each port")


def metric_of(port: int, name: str) -> float:
    """Return one of a scheduler's metrics; 0 while it begins."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, http.client.HTTPException):
        return 0.0
    return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")), 0.0))


def fates(ledger: Path) -> list[dict[str, Any]]:
    """Return what the ledger says of containers whose host was lost."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [line for line in lines if line.get("reason") == "host-lost"]


@pytest.fixture
def scheduler(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Return a scheduler at work on a fleet whose host1 has two tenants, one of them with snapshots."""
    key = tmp_path / "config" / "relocate" / "snapshots.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(base64.b64encode(os.urandom(32)))
    key.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet.tenant(KEPT, "redis", "host1", port=PORT, inside=6379, tenant="rich")
    fleet.tenant(LOST, "counter", "host1", port=PORT + 1, inside=7000, tenant="poor")
    config = tmp_path / "schedule.yml"
    port = free_port()
    config.write_text(CONFIG.replace("PORT", str(port)))
    running = Running(config, tmp_path / "log")
    running.metric = functools.partial(metric_of, port)
    yield running
    if running.process.poll() is None:
        running.end()


def test_a_host_is_lost_and_comes_back(fleet: Fleet, scheduler: Running, tmp_path: Path) -> None:
    client = Counting(fleet)
    try:
        scheduler.until(lambda: scheduler.metric('relocate_snapshots_total{outcome="made"}') >= 1, "a snapshot")

        with cut_off("host1"):  # from the controller alone
            scheduler.until(lambda: scheduler.said("host1 is not dead"), "the witnesses")
        begin = time.monotonic()
        assert contiguous(client.numbers()), "it was frozen for its snapshots, and nothing else"
        assert fleet.where(KEPT) == ["host1"] and not fates(tmp_path / "ledger.jsonl")
        scheduler.until(lambda: scheduler.said("host1 answers again"), "host1")
        made = scheduler.metric('relocate_snapshots_total{outcome="made"}')
        scheduler.until(lambda: scheduler.metric('relocate_snapshots_total{outcome="made"}') > made, "a snapshot more")

        lab = Lab.from_environment()
        assert fleet.where(KEPT) == fleet.where(LOST) == ["host1"], "both are lost with it"
        dies = time.monotonic()
        os.kill(first_process(lab.namespace, lab.state / "hosts", "host1"), signal.SIGKILL)
        died = time.monotonic()
        try:
            scheduler.until(lambda: len(fates(tmp_path / "ledger.jsonl")) == 2, "both tenants' fates")
            found = {each["container"]: each for each in fates(tmp_path / "ledger.jsonl")}
            assert found[KEPT]["outcome"] == "restored" and found[LOST]["outcome"] == "lost"
            there = found[KEPT]["destination"]["host"]
            assert there in ("host2", "host3") and fleet.on(there, f"docker ps -q --filter name=^{KEPT}$")
            scheduler.until(lambda: client.numbers(died), "an answer")
            assert scheduler.metric("relocate_lost_hosts") == 1
            assert scheduler.metric('relocate_lost_host_containers_total{outcome="restored"}') == 1
            assert scheduler.metric('relocate_lost_host_containers_total{outcome="lost"}') == 1
            looks = lambda: scheduler.log.read_text().count("host1 tells nothing")  # noqa: E731
            before_that = looks()
            scheduler.until(
                lambda: looks() >= before_that + 3,
                "three looks more, at which nothing is said, or done, twice",
            )
            assert len(fates(tmp_path / "ledger.jsonl")) == 2
            assert scheduler.log.read_text().count(f"{LOST} is lost with host1") == 1
        finally:
            fleet.run("relocate", "lab", "up")
        fleet.on("host1", f"docker start {KEPT} {LOST}", check=False)  # the first may be gone by now
        # said when its playbook has ended: a moment after the fence is gone
        scheduler.until(lambda: scheduler.said(f"recovery cleared away what came back of {KEPT} on host1"), "clearing")
        scheduler.until(lambda: scheduler.log.read_text().count("host1 answers again") >= 2, "host1, again")
        assert fleet.where(KEPT) == [there]
        assert "10.77.0.11" not in fleet.on("host0", "nft list set ip relocate shut"), "no fence"
        assert fleet.where(LOST) == ["host1"], "it comes back with its host"
        cleared = len(client.numbers(died))
        scheduler.until(lambda: len(client.numbers(died)) >= cleared + 10, "answers")
        after = client.numbers(died)
        before = client.numbers(end=dies)[-1]
        assert contiguous(after), "one copy alone has answered since host1 died"
        assert after[0] <= before + 1 and fleet.where(KEPT) == [there]
        print(
            f"\nsilent for {sum(each is None for asked, each in client.answers if asked > begin)} questions of "
            f"{len(client.answers)}; "
            f"{before - after[0] + 1} answers of the dead host forgotten; {int(made)} snapshots"
        )
    finally:
        client.end()
