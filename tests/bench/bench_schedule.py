# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times the scheduler: 100 000 clocks, 200 alerts a second, what it adds to a relocation; writes build/bench/schedule.json.

Run it alone: ``python tests/bench/bench_schedule.py``. Each part runs in a process of its own, so that its memory is its
own. The launcher of all parts but ``overhead`` moves nothing. ``overhead`` needs a lab with a container (``--container``, of
the inventory RELOCATE_INVENTORY or the lab's): ansible-playbook and the scheduler's launcher move it in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "src")]

CLOCKS, HOSTS = 100_000, 100
RATE = 200.0  # alerts a second
SECONDS = (
    30.0  # that are counted, once the alerts of clocks that ran out while the service started have been worked off
)
PROMPT = 0.02  # seconds: the first alert that is no later ends the start
PATIENCE = 120.0  # seconds for that
RUNS = 10_000  # moves whose memory is watched


def resident() -> float:
    """Return this process's memory in MB (10^6 bytes)."""
    with Path("/proc/self/statm").open() as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """Return the most it has been, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def quantile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of ``values`` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def clocks() -> dict[str, Any]:
    """Load the clocks alone: the timetable's own time and memory."""
    import numpy  # noqa: F401 - its memory is not the clocks'
    from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock

    from relocate.schedule.timetable import Entry, Timetable

    clock = make_clock({"kind": "truncated-poisson", "rate": RATE / CLOCKS, "ceiling": 4 * CLOCKS / RATE})
    before, now = resident(), time.time()
    entries = [Entry(f"container-{number:06d}", clock, now) for number in range(CLOCKS)]
    timetable = Timetable()
    start = time.perf_counter()
    timetable.enter(entries, now)
    seconds = time.perf_counter() - start
    assert len(timetable) == CLOCKS
    return {"load_s": seconds, "clocks_mb": resident() - before, "process_mb": peak()}


def run_service(seconds: float, containers: int, watch: Callable[[int], None]) -> dict[str, Any]:
    """Run a whole service with its store and its ledger; ``watch`` is called with the number of each launch.

    It runs for ``seconds`` after the start's backlog is worked off, or until the process gets SIGTERM.
    """
    from relocate.schedule import logs
    from relocate.schedule.config import parse
    from relocate.schedule.discovery import Survey
    from relocate.schedule.launchers.base import Move
    from relocate.schedule.launchers.null import NullLauncher
    from relocate.schedule.launchers.settings import NullSettings
    from relocate.schedule.records import Tenant
    from relocate.schedule.service import Service

    # when each was due, and how late it was launched: in arrays, which grow by 16 bytes a move and hide no growth
    dues, lags = array("d"), array("d")
    begun: dict[str, float] = {}
    lock = threading.Lock()

    def stop_after(limit: float) -> None:
        end = threading.Timer(limit, os.kill, [os.getpid(), signal.SIGTERM])
        end.daemon = True
        end.start()

    class Noting(NullLauncher):
        """Notes how late it is called."""

        def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
            """Move nothing."""
            now = time.time()
            with lock:
                dues.append(move.due_at)
                lags.append(now - move.due_at)
                number = len(lags)
            if number == 1:
                begun["first"] = now
                stop_after(PATIENCE + seconds)
            if number > 1 and now - move.due_at < PROMPT and "settled" not in begun:
                begun.update(settled=now, cpu=time.process_time(), number=number)
                stop_after(seconds)
            watch(number)
            return super().launch(move, cancelled)

    with tempfile.TemporaryDirectory(prefix="relocate-bench-", dir=os.environ.get("RELOCATE_BENCH_STATE")) as state:
        os.environ["RELOCATE_LEDGER"] = f"{state}/ledger.jsonl"
        os.environ["STATE_DIRECTORY"] = state
        configuration = parse(
            json.dumps(
                {
                    "clock": {"kind": "poisson", "rate": RATE / containers},
                    "launcher": {"kind": "null"},
                    "limits": {"in_flight": 1000, "in_flight_per_host": 1000, "in_flight_per_edge": 1000},
                    "discovery": {"every": 3600},
                }
            )
        )
        logs.setup("text", "warning")
        start = time.time()
        tenants = {
            name: Tenant(name, f"host{number % HOSTS}", start, {}, "edge")
            for number, name in enumerate(f"container-{number:06d}" for number in range(containers))
        }
        hosts = {f"host{number}" for number in range(HOSTS)}
        service = Service(
            configuration,
            launcher=Noting(NullSettings(kind="null")),
            surveyor=lambda doubts: Survey(tenants, hosts, {}, "edge", {}, set()),
        )
        service.run()
    ended, used = time.time(), time.process_time()
    settled = begun.get("settled", begun["first"])  # a machine too busy to work the backlog off is measured with it
    counted = [lag for due, lag in zip(dues, lags, strict=True) if due >= settled] or list(lags)
    return {
        "alerts": len(lags),
        "settled": "settled" in begun,
        "per_second": len(counted) / (ended - settled),
        "started_after_s": settled - start,
        "cpu_ms_per_alert": 1000 * (used - begun.get("cpu", 0.0)) / (len(lags) - begun.get("number", 0) or 1),
        "late_ms": {f"p{100 * share:g}": 1000 * quantile(counted, share) for share in (0.5, 0.9, 0.99, 0.999)},
        "late_ms_most": 1000 * max(counted),
        "process_mb": peak(),
    }


def firing() -> dict[str, Any]:
    """Let 100 000 clocks run out at 200 a second, with the store and the ledger on disk."""
    return run_service(SECONDS, CLOCKS, lambda _: None)


def memory() -> dict[str, Any]:
    """Watch the memory over many moves of few containers."""
    sizes: dict[int, float] = {}

    def watch(number: int) -> None:
        if number == 200 or number % 1000 == 0:
            sizes[number] = resident()
        if number == RUNS:
            os.kill(os.getpid(), signal.SIGTERM)

    found = run_service(2.0 * RUNS / RATE, 1000, watch)
    return {
        "moves": found["alerts"],
        "mb_after_moves": sizes,
        # over the second half: until then many a container moves for the first time
        "growth_kb_per_1000": 1000 * (sizes[RUNS] - sizes[RUNS // 2]) / (RUNS / 2) * 1000,
    }


def overhead(container: str, rounds: int) -> dict[str, Any]:
    """Move a container by ansible-playbook and by the scheduler's launcher, in turns; the difference of the medians."""
    from relocate.move.relocation import inventory_path
    from relocate.schedule.launchers import Move, make
    from relocate.schedule.launchers.settings import RunnerSettings

    inventory = inventory_path(None, ROOT)
    launcher = make(RunnerSettings(runs=Path(tempfile.gettempdir()) / "relocate-bench-runs"), inventory)
    bare, ours, down = [], [], []
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory, "playbooks/relocate.yml"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    # a busy machine may exceed the downtime limit; what is timed here is the way there
    variables = {"container": container, "reason": "bench", "relocate_downtime_limit_ms": 10_000}
    for number in range(rounds):
        words = [*playbook, "-e", json.dumps(variables)]
        start = time.perf_counter()
        subprocess.run(words, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        result = launcher.launch(
            Move(f"bench{number}", container, "", "bench", time.time(), variables), threading.Event()
        )
        ours.append(time.perf_counter() - start)
        assert result["outcome"] == "committed", result["msg"]
        down.append(result["downtime_ms"])
    return {
        "pairs": rounds,
        "ansible_playbook_s": median(bare),
        "launcher_s": median(ours),
        "added_s": median(b - a for a, b in zip(bare, ours, strict=True)),
        "downtime_ms": median(down),
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"clocks": clocks, "firing": firing, "memory": memory}


def table(found: dict[str, Any]) -> str:
    """Return the figures beside their goals."""
    rows = [("", "measured", "goal")]
    if part := found.get("clocks"):
        rows.append((f"load {CLOCKS} clocks", f"{part['load_s']:.2f} s", "<= 1 s"))
        rows.append(("memory of the process", f"{part['process_mb']:.0f} MB", "<= 300 MB"))
    if part := found.get("firing"):
        rows.append(("memory of the whole service", f"{part['process_mb']:.0f} MB", "<= 300 MB"))
        rows.append(
            (f"due to launcher, p99, at {part['per_second']:.0f}/s", f"{part['late_ms']['p99']:.1f} ms", "<= 20 ms")
        )
        rows.append(("the same, median", f"{part['late_ms']['p50']:.1f} ms", ""))
    if part := found.get("memory"):
        rows.append((f"growth over {part['moves']} moves", f"{part['growth_kb_per_1000']:.0f} kB per 1000", "flat"))
    if part := found.get("overhead"):
        rows.append((f"added to a relocation ({part['pairs']} pairs)", f"{part['added_s']:+.2f} s", "<= 0.5 s"))
        rows.append(("ansible-playbook alone", f"{part['ansible_playbook_s']:.2f} s", ""))
    return "\n".join(f"{what:<42}{value:>18}   {goal}" for what, value, goal in rows)


def main() -> None:
    """Measure each part in a process of its own, print a table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="measure this part here, and print it as JSON")
    parser.add_argument("--container", help="a container of the lab, for the overhead")
    parser.add_argument("--pairs", type=int, default=5, help="how often it is moved each way")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench" / "schedule.json")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part]()))
        return
    found: dict[str, Any] = {}
    for part in PARTS:
        command = [sys.executable, __file__, "--part", part]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(ended.stdout.splitlines()[-1])
    if options.container:
        found["overhead"] = overhead(options.container, options.pairs)
    else:
        print("The overhead of a relocation was not measured: name a container of the lab with --container.")
    found["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
