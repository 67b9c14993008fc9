# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402 — the paths come first: this file runs alone, with nothing installed but the requirements
"""The simulator against simpy on the same system, side by side in one run; writes build/bench/model.json.

Run it alone: ``python tests/bench/bench_model.py``. Each pair alternates, so that a busy machine slows both. Figures to
reach: 100 times simpy's trials per second on the basic model, 40 times with every feature on, 200 MB in all; 48 horizons x
480 000 replications of PyMTDEvaluator's example in one pass within a second. Exit status 1 where one is missed.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "collections"), str(Path(__file__).parent)]

import simpy_reference
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Poisson, TruncatedPoisson
from rich.console import Console
from rich.table import Table

from relocate.model.laws import attacks
from relocate.model.laws.closed_forms import periodic_survival
from relocate.model.simulate.placement import Chain, UniformOthers, transition_matrix
from relocate.model.simulate.simulation import CHUNK, simulate
from relocate.model.simulate.spec import ClassesSpec, Simulation
from relocate.model.simulate.trials import Chunk, Scenario, stream

HOSTS, ATTACKERS, HOPS = 30, 5, 1000
ROUNDS = 3
SIMPY_TRIALS = 60


@dataclass
class Pair:
    """One system in both simulators."""

    name: str
    ours: Scenario
    theirs: simpy_reference.Model
    wanted: float


def pairs() -> list[Pair]:
    """Return the basic Markov model and the one with every feature on, 1 000 hops per trial each."""
    basic = Pair(
        "basic Markov model",
        Scenario(HOSTS, ATTACKERS, Poisson(1.0), attacks.Fixed(8.0), UniformOthers(HOSTS), horizon=float(HOPS)),
        simpy_reference.Model(HOSTS, ATTACKERS, 1.0, float(HOPS), 8.0),
        100,
    )
    delta = ClassesSpec(count=6).matrix(HOSTS)
    rows = transition_matrix("softmax", delta, beta=4.0)
    clock, latency, failure, downtime = TruncatedPoisson(0.5, 3.0), 0.1, 0.1, 0.05
    horizon = HOPS * (clock.mean / (1 - failure) + latency + downtime)
    full = Pair(
        "every feature on",
        Scenario(
            HOSTS,
            ATTACKERS,
            clock,
            attacks.Erlang(20.0, 4),
            Chain(rows),
            progress="retain",
            delta=delta,
            latency=latency,
            failure=failure,
            downtime=downtime,
            horizon=horizon,
        ),
        simpy_reference.Model(
            HOSTS,
            ATTACKERS,
            clock.rate,
            horizon,
            20.0,
            attack_shape=4,
            ceiling=clock.ceiling,
            rows=simpy_reference.Model.cumulated(rows.tolist()),
            kept=(1 - delta).tolist(),
            latency=latency,
            failure=failure,
            downtime=downtime,
        ),
        40,
    )
    return [basic, full]


def race(pair: Pair) -> dict[str, Any]:
    """Time both, alternating; check that they simulate the same thing."""
    ours, theirs, hits, seen, beside = [], [], [0, 0], [0, 0], [0.0, 0.0]
    for number in range(ROUNDS):
        begun = time.perf_counter()
        outcome = Chunk(pair.ours, CHUNK, stream(number)).run(to_compromise=False, stay_limit=0)
        ours.append(CHUNK / (time.perf_counter() - begun))
        hits[0] += int((outcome.compromised <= pair.ours.horizon).sum())
        beside[0] += float(outcome.beside.sum())
        seen[0] += CHUNK
        rng = random.Random(number)
        begun = time.perf_counter()
        trials = [simpy_reference.trial(pair.theirs, rng) for _ in range(SIMPY_TRIALS)]
        theirs.append(SIMPY_TRIALS / (time.perf_counter() - begun))
        hits[1] += sum(trial.compromised <= pair.theirs.horizon for trial in trials)
        beside[1] += sum(trial.beside for trial in trials)
        seen[1] += SIMPY_TRIALS
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    share = [hit / count for hit, count in zip(hits, seen, strict=True)]
    spread = (share[0] * (1 - share[0]) / seen[1]) ** 0.5
    return {
        "name": pair.name,
        "trials_per_second": statistics.median(ours),
        "simpy_trials_per_second": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "wanted": pair.wanted,
        "compromised": share,
        "z": (share[1] - share[0]) / spread,
        "co_residence": [beside[0] / seen[0], beside[1] / seen[1]],
    }


def pymtdevaluator() -> dict[str, Any]:
    """48 horizons x 480 000 replications: periodic trigger tau = 5.5 h, Erlang-4 attack of mean 24 h, up to 48 h."""
    spec = Simulation.model_validate(
        {
            "hosts": 1,
            "attackers": 1,
            "attack": {"family": "erlang", "mean": 24.0, "shape": 4},
            "clock": {"kind": "periodic", "period": 5.5},
            "horizon": [float(hour) for hour in range(1, 49)],
            "trials": 480_000,
            "seed": 7,
        }
    )
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        document = simulate(spec, to_compromise=False).document()
        seconds.append(time.perf_counter() - begun)
    last = document["survival"][-1]
    exact = periodic_survival(5.5, attacks.Erlang(24.0, 4), 48.0)
    return {"seconds": min(seconds), "wanted": 1.0, "compromised_by_48_h": 1 - last["estimate"], "exact": 1 - exact}


def main() -> int:
    """Run, print, write; return the exit status."""
    races = [race(pair) for pair in pairs()]
    example = pymtdevaluator()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"races": races, "pymtdevaluator": example, "peak_megabytes": megabytes, "wanted_megabytes": 200}
    target = ROOT / "build" / "bench" / "model.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1), encoding="utf-8")

    table = Table(title=f"Simulator, {HOSTS} hosts, {HOPS} hops per trial, median of {ROUNDS} alternating rounds")
    for column in ("", "here", "simpy", "ratio", "wanted", "same system? z"):
        table.add_column(column, justify="left" if not column else "right")
    for row in races:
        table.add_row(
            f"{row['name']}, trials/s",
            f"{row['trials_per_second']:,.0f}",
            f"{row['simpy_trials_per_second']:,.0f}",
            f"{row['ratio']:.0f} x",
            f"{row['wanted']:.0f} x",
            f"{row['z']:+.1f}",
        )
    table.add_row("48 horizons x 480 000 replications", f"{example['seconds']:.2f} s", "", "", "1 s", "")
    table.add_row("peak memory", f"{megabytes:.0f} MB", "", "", "200 MB", "")
    Console().print(table)
    good = (
        all(row["ratio"] >= row["wanted"] and abs(row["z"]) < 4 for row in races)
        and example["seconds"] <= example["wanted"]
        and megabytes <= result["wanted_megabytes"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
