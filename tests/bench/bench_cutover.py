# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times what a client waits while its server moves, for Docker's, podman's and runc's own pipelines and for every mode of ours.

Run it alone: ``python tests/bench/bench_cutover.py [--quick]`` (root). It brings up a lab of its own, and takes it down again.
Pipelines are measured in turns (A, B, C, A, B, C …), so that other work on the machine falls on all of them alike. Writes
build/bench/cutover.json, cutover.png and cutover-gaps.png (and .svg). docs/benchmarks.md says what each number means.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cutover import chart, summary, tables
from cutover.criu_floor import CriuFloor
from cutover.docker_checkpoint import DockerCheckpoint
from cutover.lab import BenchLab, running
from cutover.machine import describe
from cutover.ours import Mode, Rollback, Tenant
from cutover.pipeline import Pipeline, Unavailable
from cutover.podman_export import PodmanExport
from cutover.runc_bundle import RuncBundle
from cutover.shell import CommandFailed
from cutover.summary import Cell
from rich.console import Console

from relocate.errors import Refusal

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "bench"
PIPELINES = ("docker", "podman", "runc", "criu-floor", *summary.OUR_MODES, "rollback")
LOG_WIDTH = 120  # where there is no terminal to ask
GIVE_UP = 3  # hops in a row that failed

#: Hops per size, and of the pipelines that are measured less often. At 1 GiB one hop of Docker's takes minutes.
HOPS: dict[int, tuple[int, dict[str, int]]] = {
    8: (20, {"podman": 10}),
    64: (5, {"rollback": 0}),
    256: (4, {"docker": 2, "podman": 2, "rollback": 0}),
    1024: (3, {"docker": 1, "podman": 1, "runc": 2, "rollback": 0}),
}
QUICK: dict[int, tuple[int, dict[str, int]]] = {
    8: (4, {"podman": 2}),
    1024: (2, {"docker": 0, "podman": 0, "runc": 1, "rollback": 0}),
}


class Bench:
    """One run: its pipelines, its cells, and what is shown meanwhile."""

    def __init__(self, lab: BenchLab, console: Console, wanted: dict[int, dict[str, int]]) -> None:
        """Make the pipelines. ``wanted``: size in MiB → pipeline → hops."""
        self.console = console
        self.wanted = wanted
        tenant = Tenant(lab)
        made: list[Pipeline] = [DockerCheckpoint(lab), PodmanExport(lab), RuncBundle(lab), CriuFloor(lab)]
        made += [*(Mode(tenant, mode) for mode in summary.OUR_MODES), Rollback(tenant)]
        asked = {name for hops in wanted.values() for name in hops}
        self.pipelines = {pipeline.name: pipeline for pipeline in made if pipeline.name in asked}
        self.unavailable: dict[str, str] = {}
        self.cells: list[Cell] = []
        self._total = sum(sum(hops.values()) for hops in wanted.values())
        self._done = 0
        self._work = sum(sum(hops.values()) * work(mib) for mib, hops in wanted.items())
        self._worked = 0.0
        self._began = time.monotonic()

    def prepare(self) -> None:
        """Make what each pipeline needs on the hosts; one that cannot have it is left out, and why is kept."""
        for name, pipeline in self.pipelines.items():
            prepare: Callable[[], None] | None = getattr(pipeline, "prepare", None)
            if prepare is None:
                continue
            self.say(f"preparing {name}")
            try:
                prepare()
            except (Unavailable, CommandFailed, Refusal) as error:
                self.unavailable[name] = str(error)
                self.say(f"{name} is left out: {error}")
        self._began = time.monotonic()

    def restore_hosts(self) -> None:
        """Undo what :meth:`prepare` did."""
        for name, pipeline in self.pipelines.items():
            restore: Callable[[], None] | None = getattr(pipeline, "restore_host", None)
            if restore is None:
                continue
            try:
                restore()
            except (Unavailable, CommandFailed) as error:
                self.say(f"what {name} needed is still on the hosts: {error}")

    def say(self, sentence: str) -> None:
        """Print one line of progress."""
        self.console.print(sentence, style="dim", markup=False, highlight=False, soft_wrap=True)

    def measure(self, mib: int) -> None:
        """Measure every pipeline at one size, in turns."""
        cells = {name: Cell(name, mib) for name in self.wanted[mib]}
        self.cells += cells.values()
        hops = {}
        try:
            for name, cell in cells.items():
                cell.skipped = self.unavailable.get(name) or self._begin(name, mib)
                if cell.skipped:
                    self.say(f"{chart.size(mib)} {name} is left out: {cell.skipped}")
                    self._done += self.wanted[mib][name]
                    self._work -= self.wanted[mib][name] * work(mib)
                else:
                    hops[name] = self.wanted[mib][name]
            time.sleep(1 + mib / 1024)  # servers fill their memory before they listen; let the machine come to rest
            failed = dict.fromkeys(hops, 0)
            for name in summary.turns(hops):
                self._done += 1
                self._worked += work(mib)
                if failed[name] < GIVE_UP:
                    failed[name] = 0 if self._hop(cells[name]) else failed[name] + 1
        finally:
            for name in cells.keys() - self.unavailable.keys():
                self.pipelines[name].end()

    def _begin(self, name: str, mib: int) -> str:
        """Start a pipeline's server; return why it cannot be, or nothing."""
        try:
            self.pipelines[name].begin(mib)
        except Unavailable as error:  # what it has begun may be another mode's as well: all end with the size
            return str(error)
        except (CommandFailed, Refusal) as error:
            self.pipelines[name].end()
            return str(error)
        return ""

    def _hop(self, cell: Cell) -> bool:
        """Measure one hop; after one that failed, start anew. Return whether it succeeded."""
        pipeline = self.pipelines[cell.pipeline]
        where = f"[{self._done}/{self._total}] {chart.size(cell.mib)} {cell.pipeline}:"
        try:
            sample = pipeline.hop()
        except (CommandFailed, Refusal) as error:
            cell.failures.append(str(error))
            self.say(f"{where} failed: {error}")
            pipeline.end()
            self._begin(cell.pipeline, cell.mib)
            return False
        cell.samples.append(sample)
        if sample.reset or sample.lost:
            seen = "the connection was reset" if sample.reset else "an answer was lost"
        else:
            seen = "" if sample.gap is None else f"gap {chart.milliseconds(sample.gap)}"
        left = (time.monotonic() - self._began) / self._worked * (self._work - self._worked)
        shown = [*([seen] if seen else []), f"down {chart.milliseconds(sample.down)}"]
        self.say(f"{where} {', '.join(shown)}  (about {left / 60:.0f} min left)")
        if sample.reset:
            pipeline.end()
            self._begin(cell.pipeline, cell.mib)
        return True


def work(mib: int) -> float:
    """Return how long a hop of that size takes, in hops without memory: enough to say about how much time is left."""
    return 1 + mib / 64


def wanted_hops(arguments: argparse.Namespace) -> dict[int, dict[str, int]]:
    """Return size → pipeline → hops for what was asked on the command line."""
    table = QUICK if arguments.quick else HOPS
    found = {}
    for mib in arguments.sizes or table:
        most, exceptions = table.get(mib, (3, {"rollback": 0}))
        hops = {name: arguments.hops or exceptions.get(name, most) for name in arguments.pipelines}
        if arguments.hops:
            hops = {name: hops[name] for name in hops if exceptions.get(name, 1)}
        found[mib] = {name: number for name, number in hops.items() if number}
    return found


def hundred_hops() -> dict[str, Any] | None:
    """Return the document of the hundred hops (``make soak``), if they have been made here."""
    path = OUTPUT / "hundred_hops.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(machine: dict[str, Any], cells: list[Cell]) -> dict[str, Any]:
    """Write the document as far as it goes, and return it."""
    document = summary.document(machine, cells, hundred_hops())
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "cutover.json").write_text(json.dumps(document, indent=1) + "\n")
    return document


def show(console: Console, document: dict[str, Any]) -> None:
    """Print the tables and draw the charts."""
    runs = document["runs"]
    labels = {figure.key: figure.label for figure in summary.figures(runs, hundred_hops())}
    console.print(tables.runs_table(runs))
    for note in tables.notes(runs):
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(tables.figures_table(document["ratios"], labels))
    drawn = chart.phases(runs, OUTPUT / "cutover") + chart.gaps(runs, OUTPUT / "cutover-gaps")
    for path in [OUTPUT / "cutover.json", *drawn]:
        console.print(f"written: {path.relative_to(ROOT)}", highlight=False)


def positive(text: str) -> int:
    """Parse a number of hops."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least one")
    return int(text)


def names(text: str) -> list[str]:
    """Parse a list of pipelines."""
    found = text.split(",")
    unknown = [name for name in found if name not in PIPELINES]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no pipeline {unknown[0]!r}: choose from {', '.join(PIPELINES)}")
    return found


def numbers(text: str) -> list[int]:
    """Parse a list of sizes."""
    found = [int(word) for word in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError("a size is a number of MiB from 1 on")
    return found


def parse(words: Iterable[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hops", type=positive, help="hops of every pipeline at every size (else by size: docs/benchmarks.md)"
    )
    parser.add_argument("--sizes", type=numbers, metavar="MIB,…", help="sizes of the server's memory (8,64,256,1024)")
    parser.add_argument("--pipelines", type=names, default=list(PIPELINES), metavar="NAME,…", help=",".join(PIPELINES))
    parser.add_argument("--quick", action="store_true", help="few hops, 8 MiB and 1 GiB: minutes")
    parser.add_argument("--lab", default="bench", help="name of the lab (bench)")
    parser.add_argument("--draw", action="store_true", help="measure nothing: show the last run again")
    return parser.parse_args(words if words is None else list(words))


def main() -> int:
    """Run, print, write; return the exit status: 0 when no connection was lost by a move of ours."""
    arguments, console = parse(), Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # tidying up, as after Ctrl-C
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    if arguments.draw:
        try:
            show(console, json.loads((OUTPUT / "cutover.json").read_text()))
        except FileNotFoundError:
            console.print("nothing has been measured here yet: run the bench without --draw", style="red")
            return 1
        return 0
    try:
        with running(arguments.lab, OUTPUT / "ledger.jsonl") as lab:
            machine = describe(lab)
            bench = Bench(lab, console, wanted_hops(arguments))
            try:
                bench.prepare()
                for mib in bench.wanted:
                    bench.measure(mib)
                    document = write(machine, bench.cells)
            finally:
                bench.restore_hosts()
    except KeyboardInterrupt:
        console.print("interrupted; what was measured at whole sizes is in build/bench/cutover.json", style="red")
        return 128 + signal.SIGINT
    except (Refusal, CommandFailed) as problem:
        console.print(str(problem), style="red", markup=False)
        return getattr(problem, "status", 1)
    show(console, document)
    ours = [run for run in document["runs"] if run["pipeline"] in (*summary.OUR_MODES, "rollback")]
    return 1 if any(run["resets"] or run["lost"] for run in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
