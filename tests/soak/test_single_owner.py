# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One owner at every moment, seen from outside: moves under random failures, every answer recorded with the host it came from.

``RELOCATE_SOAK_MINUTES`` (60), ``RELOCATE_SOAK_MOVES`` (500), ``RELOCATE_SOAK_SEED`` (drawn, and printed) and
``RELOCATE_SOAK_FAULTS`` (0.3: so many of the moves are made to fail) choose; ``RELOCATE_SOAK_UP=1`` leaves the lab as it is.
The checker, ``single_owner.py``, sees the history only, which is left in ``build/history.jsonl``.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from direct import EDGE, Direct, Heart
from fleet import ROOT, VIRTUAL, Fleet, prepared_fleet
from matrix import Cell, every_cell
from rehearsal import NothingToStrike, rehearse
from single_owner import Call, Move, Sighting, check, told_apart

pytestmark = pytest.mark.soak

NAME, PORT, HOSTS = "walker", 7100, ("host1", "host2")
MINUTES = float(os.environ.get("RELOCATE_SOAK_MINUTES", "60"))
MOVES = int(os.environ.get("RELOCATE_SOAK_MOVES", "500"))
SEED = int(os.environ.get("RELOCATE_SOAK_SEED", str(int(time.time()))))
FAULTS = float(os.environ.get("RELOCATE_SOAK_FAULTS", "0.3"))
HISTORY = ROOT / "build/history.jsonl"

#: Several connections that live as long as the test, and one that is made anew all the time; a line for each answer.
CLIENT = """
import itertools, json, socket, sys, threading, time
address, port, lasting = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ending = threading.Event()
lines = threading.Lock()
numbers = itertools.count(1)  # a port may be used again

def say(document):
    with lines:
        print(json.dumps(document), flush=True)

def ask(most):
    with socket.create_connection((address, port), 120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(120)
        name = "%s:%d#%d" % (*connection.getsockname(), next(numbers))
        while not ending.is_set() and most:
            most -= 1
            called = time.time()
            connection.sendall(b"x\\n")
            answer = b""
            while not answer.endswith(b"\\n"):
                more = connection.recv(64)
                if not more:
                    raise ConnectionError("closed")
                answer += more
            say({"connection": name, "number": int(answer), "called": called, "returned": time.time()})
            time.sleep(0.01)

def work(most):
    while not ending.is_set():
        try:
            ask(most)
        except (OSError, ValueError) as error:
            say({"error": f"{time.time():.3f}: {type(error).__name__}: {error}"})
            time.sleep(0.1)

threads = [threading.Thread(target=work, args=(most,)) for most in [-1] * lasting + [100]]
for thread in threads:
    thread.start()
sys.stdin.read()
ending.set()
for thread in threads:
    thread.join()
"""


class Recorded:
    """A process whose lines are kept, until it is told to end."""

    def __init__(self, command: list[str]) -> None:
        self.lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def await_line(self, seconds: float = 20.0) -> None:
        """Return when it has said something."""
        deadline = time.monotonic() + seconds
        while not self.lines:
            assert time.monotonic() < deadline and self._process.poll() is None, "it says nothing"
            time.sleep(0.05)

    def finish(self) -> list[dict[str, Any]]:
        """Let it end; return its lines."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=150)
        self._reader.join()
        return self.lines


def suitable(cell: Cell) -> bool:
    """Say whether a failure leaves the tenant alive, and needs no minutes."""
    return not (cell.outside and (cell.outside.mortal or cell.outside.begin))


class Soak:
    """Moves of one tenant, some of which are made to fail."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.tenant(NAME, "counter", HOSTS[0], f"{PORT} 8", PORT)
        self.direct = Direct.of(fleet, NAME, *HOSTS)
        self.heart = Heart(fleet, PORT)
        self.moves: list[Move] = []
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, drawn: random.Random) -> None:
        """Move until it is enough, or something is not as it must be."""
        cells = [cell for cell in every_cell() if suitable(cell)]
        deadline = time.monotonic() + MINUTES * 60
        while len(self.moves) < MOVES and time.monotonic() < deadline and not self.problems:
            cell = drawn.choice(cells) if drawn.random() < FAULTS else None
            (here,) = self.direct.running()
            there = next(host for host in HOSTS if host != here)
            begun = time.time()
            try:
                committed = self._move(here, there, cell)
            except Exception as error:
                self.problems.append(f"{cell or 'no failure'}: {type(error).__name__}: {error}")
                committed = self.direct.running() == [there]
            self.moves.append(Move(begun, time.time(), here, there, committed))
            print(
                f"{len(self.moves):4} {here} -> {there} {'committed' if committed else 'rolled back'} {cell or ''}",
                flush=True,
            )

    def _move(self, here: str, there: str, cell: Cell | None) -> bool:
        if cell is None:
            self.direct.mode = "stop-and-copy"
            result = self.direct.move(here, there)
            assert result is not None and result["outcome"] == "committed", result
            self.direct.wait_until_quiet()
            return True
        self.faults[cell.kind] += 1
        try:
            ended = rehearse(self.direct, self.heart, cell.fault, cell.outside).ended
        except NothingToStrike:
            return self.direct.running() == [there]
        assert ended != "lost", "the tenant is lost"
        return ended == "committed"


def test_there_is_one_owner() -> None:
    """No answer of two, none that is lost, none of a copy that has vanished."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: NOT RUN", pytrace=False)
    print(f"seed {SEED}, at most {MINUTES:g} minutes and {MOVES} moves, {FAULTS:.0%} of them made to fail", flush=True)
    fleet = prepared_fleet(as_it_is=os.environ.get("RELOCATE_SOAK_UP") == "1")
    names = {fleet.variables(host)["ansible_host"]: host for host in HOSTS}
    soak = Soak(fleet)
    program = (Path(__file__).parent / "origins.py").read_text(encoding="utf-8")
    fleet.on(EDGE, "cat >/run/origins.py", data=program)
    watch = Recorded(fleet.ssh(EDGE, f"exec python3 /run/origins.py {VIRTUAL} {PORT}"))
    watch.await_line()
    client = None
    try:
        inside = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", CLIENT, VIRTUAL, str(PORT), "4"]
        client = Recorded(inside)
        soak.run(random.Random(SEED))
    finally:
        answers = client.finish() if client else []
        soak.heart.end()
        seen = watch.finish()
        fleet.remove_tenants()
    calls = [Call(**each) for each in answers if "number" in each]
    errors = [each["error"] for each in answers if "error" in each]
    seen_by_place = [
        Sighting(each["at"], names.get(each["host"], each["host"]), each["connection"], each["number"])
        for each in seen
        if "number" in each
    ]
    sightings = told_apart(calls, seen_by_place)  # without the heart's
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("w", encoding="utf-8") as file:
        for entry in (*calls, *sightings, *soak.moves):
            file.write(json.dumps({type(entry).__name__.lower(): entry.__dict__}) + "\n")
    verdict = check(calls, sightings, soak.moves, HOSTS[0])
    committed = sum(move.committed for move in soak.moves)
    print(
        f"seed {SEED}: {len(soak.moves)} moves, {committed} committed; {sum(soak.faults.values())} made to fail: "
        f"{dict(soak.faults)}; {verdict.calls} answers, {verdict.sightings} seen on their way; doubles {len(verdict.doubles)}, "
        f"lost {len(verdict.lost)}, vanished {len(verdict.vanished)}, connections cut {len(errors)}"
    )
    assert not soak.problems
    assert seen[-1] == {"missed": 0}, "the watch was too slow: the history is not complete"
    assert verdict.well, verdict
    assert not errors, errors[:10]
