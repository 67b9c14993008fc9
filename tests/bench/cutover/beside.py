# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same container with something more to carry, beside one without: both move in turns, so that the ratio is fair.

Other work on the machine falls on all of them alike; what remains is in the intervals.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from relocate.errors import Refusal
from relocate.move.relocation import relocate

from .lab import REPOSITORY, BenchLab, running
from .machine import describe
from .ours import NO_LIMIT_MS, pause_phases
from .pipeline import Sample, Timing, watched
from .shell import CommandFailed
from .summary import distribution, median_interval, median_phases, ratio_interval

ROOT = Path(__file__).resolve().parents[3]
OUTPUT = ROOT / "build" / "bench"
IMAGE = f"{REPOSITORY}/counter:1"
FIRST_PORT = 7110
LISTEN_SECONDS = 300.0  # until a volume is full, on a busy machine
ASIDE = "/var/lib/docker/relocate/volumes"  # where a host keeps the volume of a container that has left it
LOG_WIDTH = 160  # where there is no terminal to ask
GIVE_UP = 3  # failures of one container in a row


@dataclass(frozen=True)
class Variant:
    """A counter server with something more. ``options`` are those of ``docker run``; PORT stands for its port."""

    name: str
    arguments: str
    options: str = ""


@dataclass
class Tenant:
    """A variant as a container that moves back and forth, and what was seen of it."""

    lab: BenchLab
    variant: Variant
    port: int
    mode: str
    samples: list[Sample] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"bench-{self.variant.name}"
        self.here, self.there = self.lab.hosts

    def begin(self) -> None:
        """Have it run, and publish it. Returns when it listens. Raises CommandFailed when it does not."""
        self.end()
        on, arguments = self.lab.on[self.here], self.variant.arguments.replace("PORT", str(self.port))
        on(f"docker run -d --name {self.name} -p {self.port}:{self.port} {self.variant.options} {IMAGE} {arguments}")
        self.lab.publish(self.name, self.port, self.here)
        deadline = time.monotonic() + LISTEN_SECONDS
        while "listening" not in on(f"docker logs {self.name}"):
            if time.monotonic() > deadline:
                raise CommandFailed(f"{self.name} does not listen after {LISTEN_SECONDS:.0f} s")
            time.sleep(0.5)

    def hop(self) -> None:
        """Move it once, and keep what was seen. Raises Refusal or CommandFailed."""
        began = time.monotonic()
        sample = watched(self.lab, self.port, self._move)
        self.insist()
        self.seconds.append(time.monotonic() - began)
        self.samples.append(sample)

    def _move(self) -> Timing:
        result = relocate(
            self.name,
            destination=self.there,
            mode=self.mode,
            downtime_limit_ms=NO_LIMIT_MS,
            reason="bench",
            inventory=self.lab.inventory,
            quiet=True,
        )
        if result["outcome"] != "committed":
            raise Refusal(str(result.get("msg")))
        self.here, self.there = self.there, self.here
        self.results.append(result)
        return Timing(result["downtime_ms"], pause_phases(result["timings_ns"]))

    def insist(self) -> None:
        """See that it lives: it ends as soon as a block of its volume is not what it has written there."""
        on = self.lab.on[self.here]
        state = on(f"docker inspect -f '{{{{.State.Running}}}} {{{{.State.ExitCode}}}}' {self.name}")
        if state != "true 0":
            raise CommandFailed(f"{self.name} has ended ({state}): {on(f'docker logs -n 1 {self.name}')}")

    def end(self) -> None:
        """Remove it and its volume, wherever they are."""
        for on in self.lab.on.values():
            on(f"docker rm -f {self.name}; docker volume rm {self.name}; rm -rf {ASIDE}/{self.name}@*", check=False)
        self.lab.withdraw(self.port)
        self.here, self.there = self.lab.hosts

    def document(self, plain: Tenant) -> dict[str, Any]:
        """Return all of it as it stands in the JSON document. ``plain``: the one without anything more."""
        gaps, beside = gaps_of(self.samples), gaps_of(plain.samples)
        return {
            "variant": self.variant.name,
            "n": len(self.samples),
            "gap_ms": distribution(gaps),
            "gap_interval_ms": median_interval(gaps),
            "gaps_ms": [round(gap, 1) for gap in gaps],
            "ratio": ratio_interval(gaps, beside),
            "down_ms": distribution([sample.down for sample in self.samples]),
            "phases_ms": median_phases(self.samples),
            "seconds": distribution(self.seconds),
            "volume_bytes": distribution([result["bytes"].get("volumes", 0) for result in self.results]),
            "resets": sum(sample.reset for sample in self.samples),
            "lost": sum(sample.lost for sample in self.samples),
            "failures": self.failures,
        }


def gaps_of(samples: Sequence[Sample]) -> list[float]:
    """Return the client's gaps, of hops whose connection lasted."""
    return [sample.gap for sample in samples if sample.gap is not None]


def move_in_turns(tenants: list[Tenant], hops: int, console: Console, after_round: Callable[[], None]) -> None:
    """Move all of them, A, B, C, A, B, C …; one that has failed thrice in a row is left out."""
    failed = dict.fromkeys((tenant.name for tenant in tenants), 0)
    for number in range(1, hops + 1):
        for tenant in tenants:
            if failed[tenant.name] >= GIVE_UP:
                continue
            where = f"[{number}/{hops}] {tenant.variant.name}:"
            try:
                tenant.hop()
            except (CommandFailed, Refusal) as error:
                failed[tenant.name] += 1
                tenant.failures.append(str(error))
                console.print(f"{where} failed: {error}", style="red", markup=False, soft_wrap=True)
                tenant.begin()
                continue
            failed[tenant.name] = 0
            gap, seconds, down = tenant.samples[-1].gap, tenant.seconds[-1], tenant.samples[-1].down
            seen = "connection lost" if gap is None else f"gap {gap:.0f} ms"
            said = f"{where} {seen}, down {down:.0f} ms, {seconds:.0f} s in all"
            console.print(said, style="dim", markup=False, highlight=False)
        after_round()


def parser_of(text: str | None, hops: int) -> argparse.ArgumentParser:
    """Return the options that each of these benches has."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hops", type=int, default=hops, help=f"of each container ({hops})")
    parser.add_argument("--quick", action="store_true", help="two hops each, and nothing large")
    parser.add_argument("--lab", default="bench", help="name of the lab (bench)")
    return parser


def run(
    arguments: argparse.Namespace,
    variants: Sequence[Variant],
    mode: str,
    show: Callable[[Console, dict[str, Any]], None],
    path: Path,
    **facts: object,
) -> int:
    """Measure, write after each round, and show; the first variant is the plain one.

    Return the exit status: 0 when nothing was lost and nothing failed.
    """
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # tidying up, as after Ctrl-C
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    document: dict[str, Any] = {}
    try:
        with running(arguments.lab, OUTPUT / "ledger.jsonl") as lab:
            machine = describe(lab)
            tenants = [Tenant(lab, variant, FIRST_PORT + number, mode) for number, variant in enumerate(variants)]

            def write() -> None:
                runs = [tenant.document(tenants[0]) for tenant in tenants]
                document.update({"machine": machine, "mode": mode, **facts, "runs": runs})
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(document, indent=1) + "\n")

            try:
                for on in lab.on.values():  # one may have an older one of that name
                    on(f"docker pull -q {IMAGE}")
                for tenant in tenants:
                    tenant.begin()
                move_in_turns(tenants, 2 if arguments.quick else arguments.hops, console, write)
            finally:
                for tenant in tenants:
                    tenant.end()
    except KeyboardInterrupt:
        console.print(f"interrupted; whole rounds are in {path.relative_to(ROOT)}", style="red")
        return 128 + signal.SIGINT
    except (Refusal, CommandFailed) as problem:
        console.print(str(problem), style="red", markup=False)
        return getattr(problem, "status", 1)
    show(console, document)
    console.print(f"written: {path.relative_to(ROOT)}", highlight=False)
    return 1 if any(run["resets"] or run["lost"] or run["failures"] for run in document["runs"]) else 0


def between(found: dict[str, float] | None, digits: int = 0) -> str:
    """Return an interval as text: the value, and in brackets from where to where it may lie."""
    if not found:
        return ""
    return f"{found['value']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
