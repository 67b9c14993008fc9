# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures at random moments in a fleet where many containers move: the matrix's orders, obeyed by whichever move comes next.

And an operator, who runs ``relocate recover`` when a relocation has no process any more and no end.
"""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from direct import EDGE, FAULTS, Direct
from fleet import Fleet
from matrix import Cell, every_cell
from outside import JOURNALS, SIGN, Scene
from rehearsal import Fault

ORDER_SECONDS = 40.0  # in which a move must have reached the line; then the order is taken back
PAUSE_SECONDS = 30.0  # a part that nobody lets go
LOOK_SECONDS = 0.5
#: Not in a fleet: what kills the tenant itself; a file system that is put over the journals of all moves that are under way.
LEFT_OUT = ("disk-full", "inodes-full", "kill-shim", "kill-pages")
SCHEDULER_SHARE = 1 / 12  # of the failures: the scheduler is killed, with or without what it has started

#: What has no end on a host: lines ``RELOCATION.PART``, with "held" in front where a process lives. Ends alone are read.
UNSETTLED = """
import fcntl, glob, os, sys
for path in glob.glob(sys.argv[1] + "/*.jsonl"):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 4096))
        last = file.read().rpartition(b'{"state":"')[2]
    if last.startswith((b"done", b"rolled-back")):
        continue
    name = os.path.basename(path)[:-len(".jsonl")]
    try:
        with open("/run/relocate/parts/" + name) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        name = "held " + name
    except FileNotFoundError:
        pass
    print(name)
"""


def suitable(cell: Cell) -> bool:
    """Say whether a failure may be made in a fleet, where the move that comes next meets it, and leaves every tenant alive."""
    if cell.outside and (cell.outside.mortal or cell.outside.begin):
        return False
    return not cell.kind.startswith(LEFT_OUT) and not cell.fault.of_post_copy


def family(cell: Cell) -> str:
    """Return the failure's kind; CRIU's own faults are one."""
    return "criu-fault" if cell.kind.startswith("criu-fault") else cell.kind


@dataclass
class Struck:
    """A failure that was ordered, and whether it came to pass: with what, of which container, and on which host."""

    at: float
    kind: str
    line: str
    struck: bool = False
    container: str = ""
    host: str = ""
    seconds: float = 0.0
    error: str = ""


class Operator:
    """Runs ``relocate recover`` when something has had no process for ``patience`` seconds and has no end."""

    def __init__(self, fleet: Fleet, patience: float, seconds: float = 10.0) -> None:
        self._fleet, self._patience, self._seconds = fleet, patience, seconds
        self._since: dict[str, float] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.recoveries: list[str] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join()

    def unsettled(self) -> dict[str, list[str]]:
        """Return what has no end: relocation → lines, which begin with "held" where a process lives."""
        found: dict[str, list[str]] = {}
        for host in (EDGE, *self._fleet.docker_hosts):
            said = self._fleet.on(host, f"python3 - {JOURNALS}", check=False, data=UNSETTLED)
            for line in said.splitlines():
                relocation = line.removeprefix("held ").partition(".")[0]
                found.setdefault(relocation, []).append(f"{line} on {host}")
        return found

    def _run(self) -> None:
        while not self._ending.wait(self._seconds):
            try:
                self.look(time.monotonic())
            except Exception as error:  # a host that does not answer in this moment
                print(f"the operator could not look: {error}", flush=True)

    def look(self, now: float) -> None:
        """Look once, and recover if it is time."""
        found = self.unsettled()
        alone = {name for name, lines in found.items() if not any(line.startswith("held") for line in lines)}
        self._since = {name: self._since.get(name, now) for name in alone}
        waiting = [name for name, since in self._since.items() if now - since >= self._patience]
        if waiting:
            done = self._fleet.run("relocate", "recover", check=False)
            words = (done.stdout + done.stderr).strip().replace("\n", " | ")
            self.recoveries.append(f"{time.time():.1f} {' '.join(waiting)}: status {done.returncode}: {words[-600:]}")
            print(f"recover: {self.recoveries[-1]}", flush=True)
            self._since = {}


@dataclass
class Chaos:
    """A thread that makes moves fail.

    :ivar share: so many of the moves are made to fail: as many moves are left alone between two failures as this draws.
    :ivar moves: returns how many moves have been begun. :ivar kill_scheduler: kills it, or all that it has started, too.
    :ivar file: gets a line for each failure.
    """

    fleet: Fleet
    drawn: random.Random
    share: float
    moves: Callable[[], int]
    kill_scheduler: Callable[[bool], None]
    file: Path
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End after the failure that is under way."""
        self._ending.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        cells = [cell for cell in every_cell() if suitable(cell)]
        kinds = sorted({family(cell) for cell in cells})
        while not self._ending.is_set():
            calm = int(math.log(1 - self.drawn.random()) / math.log(1 - self.share)) if self.share < 1 else 0
            target = self.moves() + calm
            while self.moves() < target:
                if self._ending.wait(2 * LOOK_SECONDS):
                    return
            if self.drawn.random() < SCHEDULER_SHARE:
                whole = self.drawn.random() < 0.5
                record = Struck(
                    time.time(), f"kill-scheduler{'-and-ansible' if whole else ''}", "anywhere", struck=True
                )
                self.kill_scheduler(whole)
            else:
                kind = self.drawn.choice(kinds)  # a kind that has one line only is not drawn less often for it
                cell = self.drawn.choice([cell for cell in cells if family(cell) == kind])
                record = Struck(time.time(), cell.kind, cell.line)
                try:
                    self._make(cell, record)
                except Exception as error:
                    record.error = f"{type(error).__name__}: {error}"
            record.seconds = time.time() - record.at
            line = json.dumps(record.__dict__)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            print(line, flush=True)

    def _make(self, cell: Cell, record: Struck) -> None:
        """Leave the order; when it is obeyed, break what is to be broken; in the end take everything back."""
        fault, outside = cell.fault, cell.outside
        hosts = list(self.fleet.docker_hosts)
        self.drawn.shuffle(hosts)
        places: dict[str, Fault] = {}
        if fault.trigger:
            places |= dict.fromkeys(hosts[1:], fault) if fault.part != "edge" else {}
            places[hosts[0]] = fault.trigger
        else:  # whoever comes to the line first
            places |= dict.fromkeys(hosts if fault.part != "edge" else (), fault)
        if fault.part == "edge":
            places = {host: each for host, each in places.items() if each.part != "edge"} | {EDGE: fault}
        if outside and outside.only:  # what is prepared there must be so before the line
            places = {hosts[0]: fault}
        early = outside.prepared(self._scene(fault, hosts[0])) if outside and outside.only else nullcontext()
        with early:
            for host, each in places.items():
                do = "pause" if outside and each is fault else None
                document = {**each.order(do), **({"seconds": PAUSE_SECONDS} if do else {})}
                self.fleet.on(host, f"umask 077; mkdir -p /run/relocate; cat >{FAULTS}", data=json.dumps(document))
            mine = [host for host, each in places.items() if each is fault]
            try:
                where = self._await_strike(mine)
                if where and outside:
                    self._break(cell, where, record)
                elif where:
                    record.struck = True
            finally:
                for host in places:
                    self.fleet.on(host, f"rm -f {FAULTS} {SIGN}", check=False)

    def _await_strike(self, hosts: list[str]) -> str:
        """Return the host on which an order was obeyed; "" if none was in time."""
        deadline = time.monotonic() + ORDER_SECONDS
        while time.monotonic() < deadline and not self._ending.is_set():
            for host in hosts:
                if self.fleet.on(host, f"[ -e {FAULTS} ] || echo taken", check=False) == "taken":
                    return host
            time.sleep(LOOK_SECONDS / len(hosts))
        return ""

    def _break(self, cell: Cell, host: str, record: Struck) -> None:
        """Break it while the part on ``host`` is paused; let the part go on; heal."""
        outside = cell.outside
        assert outside is not None
        scene = self._paused(cell.fault, host)
        record.container = scene.direct.container
        record.host = scene.hosts.get(cell.kind.rpartition("-")[2], "")
        prepared = nullcontext() if outside.only else outside.prepared(scene)
        with prepared:
            try:
                if not self._deadly(cell, scene):
                    record.struck = outside.strike(scene)
            finally:
                self.fleet.on(host, f"rm -f {SIGN}", check=False)
            try:
                if record.struck:
                    time.sleep(outside.seconds)
            finally:
                for heal in reversed(scene.heals):
                    heal()
                scene.heals.clear()

    def _deadly(self, cell: Cell, scene: Scene) -> bool:
        """Say whether the failure would take the memory of a post-copy that is under way: that tenant would be lost."""
        if not cell.kind.startswith("kill-criu"):
            return False
        return any(self.fleet.on(host, "pgrep -f '[l]azy-pages'", check=False) for host in self.fleet.docker_hosts)

    def _scene(self, fault: Fault, host: str, other: str = "", container: str = "") -> Scene:
        there = other or next(each for each in self.fleet.docker_hosts if each != host)
        here, there = (host, there) if fault.part == "source" else (there, host)
        return Scene(Direct(self.fleet, container, {}, (here, there)), here, there)

    def _paused(self, fault: Fault, host: str) -> Scene:
        """Return the hosts of the relocation whose part is paused on ``host``: from the logs, which each of its hosts has."""
        script = (
            f"cd {JOURNALS} && for log in $(ls -t *.{fault.part}.log | head -20); do "
            "tail -n1 $log | grep -q '^rehearsal: pause' && echo $log && break; done"
        )
        relocation = self.fleet.on(host, script, check=False).partition(".")[0]
        places = {
            part: each
            for each in self.fleet.docker_hosts
            for part in ("source", "destination")
            if relocation and self.fleet.on(each, f"ls {JOURNALS}/{relocation}.{part}.log 2>/dev/null", check=False)
        }
        drawn = self.drawn.sample(self.fleet.docker_hosts, 2)
        here, there = places.get("source", ""), places.get("destination", "")
        here = here or next(each for each in drawn if each != there)
        there = there or next(each for each in drawn if each != here)
        found = f'grep -oh \'"container":"[^"]*"\' {JOURNALS}/{relocation}.*.jsonl | head -1 | cut -d\'"\' -f4'
        container = self.fleet.on(here, found, check=False) or self.fleet.on(there, found, check=False)
        return Scene(Direct(self.fleet, container, {}, (here, there)), here, there)
