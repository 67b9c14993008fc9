# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hours of a fleet: tenants on random clocks, clients that ask all the time, failures, and nothing that grows.

A third of the tenants are moved by ``relocate schedule``, the others without Ansible between: many more of the same cutovers.
Three moves in ten are made to fail in a way that is drawn from the fault matrix; the scheduler is killed, too. Every answer is
recorded by the client that got it and, as it leaves the fleet, with the host that it came from. ``single_owner.py`` finds two
owners and lost answers in that history, ``growth.py`` what grows on the hosts.

``RELOCATE_SOAK_MINUTES`` (180), ``RELOCATE_SOAK_TENANTS`` (12), ``RELOCATE_SOAK_FAULTS`` (0.3) and ``RELOCATE_SOAK_SEED``
(drawn, and printed) choose; ``RELOCATE_SOAK_UP=1`` leaves the lab as it is. All is left in ``build/soak/``, and the summary in
``build/soak.md``.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

import evidence
import history
from chaos import Chaos, Operator
from direct import EDGE, Direct
from fleet import BIN, NO_LIMIT, ROOT, VIRTUAL, Fleet, prepared_fleet
from outside import JOURNALS, kill_family

from relocate.schedule import views
from relocate.schedule.config import load

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("RELOCATE_SOAK_MINUTES", "180"))
TENANTS = int(os.environ.get("RELOCATE_SOAK_TENANTS", "12"))
FAULTS = float(os.environ.get("RELOCATE_SOAK_FAULTS", "0.3"))
SEED = int(os.environ.get("RELOCATE_SOAK_SEED", str(int(time.time()))))
PORT = 7200
SCHEDULED_STAY, DIRECT_STAY = 75.0, 10.0  # seconds on the average
POST_COPIES = 0.15  # of the moves without Ansible
CONNECTIONS, EVERY = 3, 0.15  # of each tenant's clients; seconds between two questions over one of them
SAMPLE_SECONDS = 60.0
RECOVER_SECONDS = 20.0  # for so long nobody sees to a relocation without processes
STOP_SECONDS = 300.0
DIRECTORY, SUMMARY = ROOT / "build/soak", ROOT / "build/soak.md"
HERE = Path(__file__).parent

CONFIG: dict[str, Any] = {
    "inventory": "inventories/lab",
    "clock": {"kind": "truncated-poisson", "rate": 1 / SCHEDULED_STAY, "ceiling": 3 * SCHEDULED_STAY},
    "groups": {"direct": {"clock": {"kind": "static"}}},
    "limits": {
        "in_flight": 2,
        "in_flight_per_host": 2,
        "backoff": {"first": 5, "most": 20},
        "breaker": {"failures": 10, "cool_down": 20, "most": 40},
    },
    "variables": {"relocate_downtime_limit_ms": float(NO_LIMIT)},
    "discovery": {"every": 60},
}

#: For each port some connections that live as long as the test, and one that is made anew all the time. A line for each answer.
CLIENT = """
import itertools, json, random, socket, sys, threading, time
address, lasting, every, ports = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), [int(port) for port in sys.argv[4:]]
ending = threading.Event()
lines = threading.Lock()
numbers = itertools.count(1)  # a client's port may be used again

def say(document):
    with lines:
        print(json.dumps(document), flush=True)

def ask(port, most):
    with socket.create_connection((address, port), 300) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(300)
        place = "%s:%d" % connection.getsockname()
        name = f"{place}#{next(numbers)}"
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
            returned = time.time()
            say({"port": port, "connection": name, "number": int(answer), "called": called, "returned": returned})
            time.sleep(random.uniform(0, 2 * every))

def work(port, most):
    while not ending.is_set():
        try:
            ask(port, most)
        except (OSError, ValueError) as error:
            say({"port": port, "at": time.time(), "error": f"{time.time():.3f}: {type(error).__name__}: {error}"})
            time.sleep(0.1)

threads = [threading.Thread(target=work, args=(port, most)) for port in ports for most in [-1] * lasting + [40]]
for thread in threads:
    thread.start()
sys.stdin.read()
ending.set()
for thread in threads:
    thread.join()
"""

#: All moves that the edge's journals know of: the record of what was decided.
MOVES_OF_THE_EDGE = """
import glob, json, sys, time
sys.path.insert(0, "/usr/local/lib/relocate")
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import AFTER_COMMIT
for path in sorted(glob.glob(sys.argv[1] + "/*.edge.jsonl")):
    journal = Journal.at(path.rpartition("/")[2].partition(".")[0], "edge", sys.argv[1])
    if not journal.times or "plan" not in journal.facts:
        continue
    plan, times = journal.facts["plan"], [at / 1e9 for at in journal.times.values()]
    print(json.dumps({
        "id": plan["id"], "container": plan["container"], "source": plan["source"]["host"],
        "destination": plan["destination"]["host"], "begun": min(times), "state": journal.state.value,
        "ended": max(times) if journal.finished else time.time(), "committed": journal.state in AFTER_COMMIT,
    }))
"""


class Recording:
    """A process that writes what it sees into a file, until its standard input ends."""

    def __init__(self, command: list[str], file: Path) -> None:
        self.file = file
        self._stream: IO[bytes] = file.open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._stream)

    def await_line(self, seconds: float = 20.0) -> None:
        """Return when it has said something."""
        deadline = time.monotonic() + seconds
        while not self.file.stat().st_size:
            assert time.monotonic() < deadline and self._process.poll() is None, "it says nothing"
            time.sleep(0.05)

    def end(self) -> None:
        """Let it end. It may be asked to twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=330)
        self._stream.close()


class Scheduler:
    """``relocate schedule``, started as often as it is killed."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "schedule.yml"
        self.store, self.ledger = directory / "schedule.sqlite", directory / "ledger.jsonl"
        self.runs = directory / "state"
        self.file.write_text(json.dumps({**CONFIG, "store": {"url": f"sqlite:///{self.store}"}}))
        self._log = directory / "schedule.log"
        self._lock = threading.Lock()
        self.kills = 0
        self._start()

    def _start(self) -> None:
        with self._log.open("a") as stream:
            self.process = subprocess.Popen(
                [str(BIN / "relocate"), "schedule", "--config", str(self.file)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "RELOCATE_LEDGER": str(self.ledger), "XDG_STATE_HOME": str(self.runs)},
            )

    def kill(self, whole: bool) -> None:
        """SIGKILL, to all that it has started, too, if ``whole``; then start it again."""
        with self._lock:
            if whole:
                kill_family(self.process.pid)
            else:
                self.process.kill()
            self.process.wait()
            self.kills += 1
            time.sleep(2.0)
            self._start()

    def said(self) -> str:
        """Return the end of its log."""
        return self._log.read_text()[-4000:]

    def stop(self) -> int:
        """SIGTERM: return its exit status."""
        with self._lock:
            self.process.send_signal(signal.SIGTERM)
            return self.process.wait(STOP_SECONDS + 60)

    def in_doubt(self) -> set[str]:
        """Return the moves that its store has no end of."""
        store = views.open_store(load(self.file))
        try:
            return {firing.id for firing in store.history() if firing.state == "launched"}
        finally:
            store.close()

    def settle(self) -> None:
        """Start it again, and return when it knows the end of each move that it had none of."""
        doubtful = self.in_doubt()
        with self._lock:
            self._start()
        deadline = time.monotonic() + STOP_SECONDS
        while doubtful & self.in_doubt() and time.monotonic() < deadline:
            time.sleep(1.0)

    def holds(self) -> dict[str, float]:
        """Return what it takes of memory, descriptors and disk."""
        found: dict[str, float] = {}
        place = Path(f"/proc/{self.process.pid}")
        try:
            status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
            found["KiB of the scheduler"] = int(status["VmRSS"].split()[0])
            found["descriptors of the scheduler"] = len(list((place / "fd").iterdir()))
        except (OSError, KeyError):  # it was killed in this moment
            found.clear()
        of_runs = [file.stat().st_size for file in self.runs.rglob("*") if file.is_file()]
        for name, size in (
            ("KiB of its store", sum(file.stat().st_size for file in self.store.parent.glob(f"{self.store.name}*"))),
            ("KiB of the ledger", self.ledger.stat().st_size if self.ledger.exists() else 0),
            ("KiB of its runs", sum(of_runs)),
        ):
            found[name] = size / 1024
        return found


class Walker:
    """Moves one tenant about, without Ansible between."""

    def __init__(self, direct: Direct, drawn: random.Random, ending: threading.Event) -> None:
        self._direct, self._drawn, self._ending = direct, drawn, ending
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.problems: list[str] = []
        self.thread.start()

    def _run(self) -> None:
        while not self._ending.wait(self._drawn.expovariate(1 / DIRECT_STAY)):
            try:
                self._move()
            except Exception as error:
                self.problems.append(f"{self._direct.container}: {type(error).__name__}: {error}")
                print(self.problems[-1], flush=True)

    def _move(self) -> None:
        direct = self._direct
        running = direct.running()
        if len(running) != 1 or not self._settled():  # somebody will see to it
            return
        (here,) = running
        there = self._drawn.choice([host for host in direct.hosts if host != here])
        if self._taken(there):
            return
        direct.mode = "post-copy" if self._drawn.random() < POST_COPIES else "stop-and-copy"
        direct.move(here, there)

    def _taken(self, host: str) -> bool:
        """Say whether the tenant's port is taken on a host, as a plan does: Docker may forget it there."""
        (service,) = self._direct.document["services"]
        return bool(self._direct.fleet.on(host, f"ss -Hltn 'sport = :{service['host_port']}'"))

    def _settled(self) -> bool:
        if not self._direct.ids:
            return True
        script = (
            f"cd {JOURNALS}; for file in $(ls {self._direct.ids[-1]}.*.jsonl 2>/dev/null); do "
            'tail -n1 $file | grep -qE \'"state":"(done|rolled-back)"\' || echo $file; done'
        )
        fleet = self._direct.fleet
        return not any(fleet.on(host, script, check=False) for host in (EDGE, *self._direct.hosts))


class Sampler:
    """Looks once a minute at what must not grow, and at the moves that the edge has decided."""

    def __init__(self, fleet: Fleet, scheduler: Scheduler, ending: threading.Event) -> None:
        self._fleet, self._scheduler, self._ending = fleet, scheduler, ending
        self._program = (HERE / "holdings.py").read_text(encoding="utf-8")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.moves: list[dict[str, Any]] = []
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:
                print(f"the hosts could not be looked at: {error}", flush=True)
            if self._ending.wait(SAMPLE_SECONDS):
                return

    def look(self) -> None:
        """Take one sample of everything."""
        with (DIRECTORY / "samples.jsonl").open("a", encoding="utf-8") as file:
            for host in (EDGE, *self._fleet.docker_hosts):
                numbers = json.loads(self._fleet.on(host, "python3 -", data=self._program))
                file.write(json.dumps({"at": time.time(), "host": host, "numbers": numbers}) + "\n")
            file.write(json.dumps({"at": time.time(), "host": "controller", "numbers": self._scheduler.holds()}) + "\n")
        said = self._fleet.on(EDGE, f"python3 - {JOURNALS}", data=MOVES_OF_THE_EDGE)
        self.moves = [json.loads(line) for line in said.splitlines()]
        fresh = DIRECTORY / "moves.new"
        fresh.write_text("".join(json.dumps(move) + "\n" for move in self.moves), encoding="utf-8")
        fresh.replace(DIRECTORY / "moves.jsonl")
        committed = sum(move["committed"] for move in self.moves)
        print(
            f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} {len(self.moves)} moves, {committed} committed", flush=True
        )

    def join(self) -> None:
        """Return when it has ended; take a last look."""
        self._thread.join()
        self.look()


def begin(fleet: Fleet) -> tuple[dict[str, Any], list[Direct]]:
    """Make the tenants and write down the setup; return it, and those that are moved without Ansible."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    hosts, tenants, direct = fleet.docker_hosts, {}, []
    fleet.on(EDGE, f"rm -f {JOURNALS}/*", check=False)  # of runs before this one
    for number in range(TENANTS):
        name, port, host = f"soak{number:02}", PORT + number, hosts[number % len(hosts)]
        own = number % 3 != 0
        fleet.tenant(name, "counter", host, f"{port} 8", port, tenant="direct" if own else "scheduled")
        tenants[name] = {"port": port, "host": host}
        if own:
            direct.append(Direct.of(fleet, name, host, *(each for each in hosts if each != host)))
    addresses = {host: fleet.variables(host)["ansible_host"] for host in hosts}
    setup = {"seed": SEED, "minutes": MINUTES, "faults": FAULTS, "tenants": tenants, "addresses": addresses}
    (DIRECTORY / "setup.json").write_text(json.dumps(setup), encoding="utf-8")
    return setup, direct


@contextmanager
def recorded(fleet: Fleet, ports: list[str]) -> Iterator[None]:
    """Have clients ask, and every answer watched as it leaves, and every change of the edge's tables."""
    inside = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", CLIENT]
    commands = {
        "seen": on_the_edge(fleet, "origins", VIRTUAL, *ports),
        "tables": on_the_edge(fleet, "tables"),
        "calls": [*inside, VIRTUAL, str(CONNECTIONS - 1), str(EVERY), *ports],
    }
    with ExitStack() as stack:
        for name, command in commands.items():
            recording = Recording(command, DIRECTORY / f"{name}.jsonl")
            stack.callback(recording.end)
            recording.await_line()
        yield


def on_the_edge(fleet: Fleet, name: str, *arguments: str) -> list[str]:
    """Bring one of the programs of this directory to the edge; return the command that runs it there."""
    fleet.on(EDGE, f"cat >/run/{name}.py", data=(HERE / f"{name}.py").read_text(encoding="utf-8"))
    return fleet.ssh(EDGE, f"exec python3 /run/{name}.py {' '.join(arguments)}")


def gather(fleet: Fleet) -> None:
    """Bring the journals and the logs of all hosts."""
    archive = f"tar -C {JOURNALS} -cf - ."
    evidence.gather(((host, fleet.ssh(host, archive)) for host in (EDGE, *fleet.docker_hosts)), DIRECTORY / "hosts")


def write_summary(report: history.Report, notes: list[str]) -> None:
    """Print the summary and leave it on the disk."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = f"`tests/soak/test_fleet_hours.py`, {when}, commit {commit.stdout.strip()}, seed {SEED}.\n\n"
    page = head + report.text() + "".join(f"\n{note}\n" for note in notes)
    SUMMARY.write_text(page, encoding="utf-8")
    print(page, flush=True)


def test_hours_of_a_fleet() -> None:
    """One owner at every moment, nothing lost, nothing that grows, and every move with an end."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: NOT RUN", pytrace=False)
    print(f"seed {SEED}, {MINUTES:g} minutes, {TENANTS} tenants, {FAULTS:.0%} of the moves made to fail", flush=True)
    drawn = random.Random(SEED)
    fleet = prepared_fleet(as_it_is=os.environ.get("RELOCATE_SOAK_UP") == "1")
    operator = Operator(fleet, RECOVER_SECONDS)
    with ExitStack() as stack:
        stack.callback(fleet.remove_tenants)
        setup, walking = begin(fleet)
        stack.callback(gather, fleet)
        ending = threading.Event()
        stack.enter_context(recorded(fleet, [str(tenant["port"]) for tenant in setup["tenants"].values()]))
        scheduler = Scheduler(DIRECTORY)
        stack.callback(lambda: scheduler.process.poll() is None and kill_family(scheduler.process.pid))
        sampler = Sampler(fleet, scheduler, ending)
        walkers = [Walker(direct, random.Random(drawn.random()), ending) for direct in walking]
        count = f"ls {JOURNALS} | grep -c edge.jsonl; true"
        moves = lambda: int(fleet.on(EDGE, count, check=False) or 0)  # noqa: E731
        chaos = Chaos(fleet, random.Random(drawn.random()), FAULTS, moves, scheduler.kill, DIRECTORY / "faults.jsonl")
        operator.start()
        if FAULTS:
            chaos.start()
        time.sleep(MINUTES * 60)
        chaos.end()
        ending.set()
        for walker in walkers:
            walker.thread.join()
        status = scheduler.stop()
        if scheduler.in_doubt():
            # the edge was cut off in the last minute: the next scheduler asks the hosts how that ended
            scheduler.settle()
            status = scheduler.stop() or status
        operator.end()
        deadline = time.monotonic() + STOP_SECONDS
        while (left := operator.unsettled()) and time.monotonic() < deadline:
            time.sleep(5)
            operator.look(time.monotonic())
        sampler.join()
        (DIRECTORY / "complete").touch()
        places = {name: fleet.where(name) for name in setup["tenants"]}
        everything = Direct(fleet, "|".join(setup["tenants"]), {}, (fleet.docker_hosts[0], fleet.docker_hosts[1]))
        left_over = everything.leftovers(hosts=fleet.docker_hosts)
    report = history.read(DIRECTORY)
    explained = evidence.cut_out(DIRECTORY, report.subjects)
    store = views.open_store(load(scheduler.file))
    firings = store.history()
    store.close()
    audits = views.audits(firings, level=0.001)
    outcomes = Counter(firing.outcome for firing in firings)
    notes = [
        f"The scheduler was killed {scheduler.kills} times; its firings: {dict(outcomes)}; its clocks' audit: "
        f"{', '.join(audit.verdict for audit in audits)}. `relocate recover` was run {len(operator.recoveries)} times by the "
        "operator.",
        *operator.recoveries,
        *explained,
    ]
    write_summary(report, notes)
    assert report.missed == 0, "the watch was too slow: the history is not complete"
    assert report.verdict.well, report.verdict
    assert not report.cut, report.cut[:10]
    assert status == 0, scheduler.said()
    assert not left, f"these relocations have no end: {left}"
    assert not [walker.problems for walker in walkers if walker.problems]
    assert all(len(hosts) == 1 for hosts in places.values()), places
    assert not left_over, left_over
    assert not [firing for firing in firings if firing.state == "launched"], "every move has an end"
    ended = Counter(line["id"] for line in evidence.lines(scheduler.ledger) if line["outcome"] != "in-doubt")
    assert ended == Counter(firing.id for firing in firings if firing.launched_at is not None), "one line for each move"
    assert not [audit for audit in audits if audit.verdict == "fail"], [audit.text() for audit in audits]
    assert not [str(each) for each in report.growths if each.grows], [
        str(each) for each in report.growths if each.grows
    ]
