# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a simulation file: chunks of trials in bounded memory, estimates with 95 % intervals, exact values beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from relocate.model.laws.numerics import Z95, wilson
from relocate.model.simulate import work
from relocate.model.simulate.exact import Exact, exact_values
from relocate.model.simulate.spec import Simulation
from relocate.model.simulate.trials import Chunk, Outcome, Scenario, stream

Floats = npt.NDArray[np.floating[Any]]

CHUNK = 16384
MASK_CELLS = 4_000_000  # booleans of the attacked sets that one chunk may hold
LATE_STAYS = 300_000_000  # stays spent past the horizon to see compromises: some seconds

Progress = Callable[[int, int], None]


@dataclass
class Tally:
    """Sums over the trials so far; nothing in it grows with their number."""

    horizons: Floats
    trials: int = 0
    hits: npt.NDArray[np.int64] = field(init=False)
    hops: int = 0
    frozen: float = 0.0
    beside: list[float] = field(default_factory=lambda: [0.0, 0.0])
    waited: list[float] = field(default_factory=lambda: [0.0, 0.0])
    waiters: int = 0
    counted: bool = True  # co-residence, hops and downtime were
    stay_trials: int = 0
    stay_hits: int = 0

    def __post_init__(self) -> None:
        self.hits = np.zeros(self.horizons.size, dtype=np.int64)

    def add(self, outcome: Outcome, to_compromise: bool) -> None:
        when = np.sort(outcome.compromised)
        self.trials += when.size
        self.hits += np.searchsorted(when, self.horizons, side="right")
        self.hops += outcome.hops
        self.frozen += outcome.frozen
        if self.counted:
            _accumulate(self.beside, outcome.beside)
        if to_compromise and outcome.complete:
            self.waiters += when.size
            _accumulate(self.waited, when)


def _accumulate(sums: list[float], values: Floats) -> None:
    sums[0] += float(values.sum())
    sums[1] += float(np.square(values).sum())  # a dot product would wake BLAS threads for so little


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) simulation."""

    spec: Simulation
    tally: Tally
    exact: Exact
    seconds: float
    seed: int
    interrupted: bool
    notes: list[str]

    def document(self) -> dict[str, Any]:
        """Return the JSON document that docs/simulator.md describes."""
        t, horizon = self.tally, self.spec.horizon[-1]
        survival = [
            {"at": at, **proportion(t.trials - int(hits), t.trials, exact)}
            for at, hits, exact in zip(self.spec.horizon, t.hits, self.exact.survival, strict=True)
        ]
        total = t.trials * horizon if t.counted else 0.0
        mean, variance = _moments(t.beside, t.trials if t.counted else 0)
        return {
            "inputs": {**self.spec.model_dump(mode="json"), "seed": self.seed},
            "trials": t.trials,
            "interrupted": self.interrupted,
            "per_stay_success": proportion(t.stay_hits, t.stay_trials, self.exact.per_stay),
            "mttc": {**average(t.waited, t.waiters, self.exact.mttc), "trials": t.waiters},
            "survival": survival,
            "hops_per_time": t.hops / total if total else None,
            "availability": 1 - t.frozen / total if total else None,
            "long_run": {"hops_per_time": self.exact.hops_per_time, "availability": self.exact.availability},
            "co_residence": {
                "mean": mean,
                "variance": variance,
                "exact_mean": self.exact.leak_mean,
                "exact_variance": self.exact.leak_variance,
            },
            "notes": self.notes,
            "seconds": round(self.seconds, 4),
            "trials_per_second": round(t.trials / self.seconds, 1) if self.seconds else None,
        }


def _moments(sums: list[float], count: int) -> tuple[float | None, float | None]:
    if count == 0:
        return None, None
    mean = sums[0] / count
    return mean, max(0.0, sums[1] / count - mean * mean) * (count / (count - 1) if count > 1 else 1.0)


def proportion(successes: int, trials: int, exact: float | None) -> dict[str, Any]:
    """Return estimate, Wilson interval and exact value; nulls for no trials."""
    if trials == 0:
        return {"estimate": None, "ci95": None, "exact": exact}
    return {"estimate": successes / trials, "ci95": list(wilson(successes, trials)), "exact": exact}


def average(sums: list[float], count: int, exact: float | None) -> dict[str, Any]:
    """Return mean, normal interval and exact value from (sum, sum of squares); nulls for fewer than two values."""
    mean, variance = _moments(sums, count)
    if count < 2 or mean is None or variance is None:
        return {"estimate": None, "ci95": None, "exact": exact}
    half = Z95 * math.sqrt(variance / count)
    return {"estimate": mean, "ci95": [mean - half, mean + half], "exact": exact}


def simulate(
    spec: Simulation,
    progress: Progress | None = None,
    *,
    scenario: Scenario | None = None,
    to_compromise: bool = True,
    where: str = "trials",
) -> Result:
    """Run ``spec``. ``progress`` is called with (trials done, trials asked for). Ctrl-C ends it with what was reached.

    ``scenario`` replaces what the file describes, for laws that no file can name. Without ``to_compromise`` only survival
    is of interest: trials end at their compromise or at the last horizon, and co-residence and cost are not counted.
    Raises ValueError where a min-entropy floor cannot be had, and Refusal, which begins with ``where``, for what would take
    more than an hour.
    """
    begun = time.perf_counter()
    notes = spec.notes()
    scenario = scenario or spec.scenario()
    work.bound(scenario, spec.trials, _chunk(scenario), where)
    exact = exact_values(spec)
    entropy = np.random.SeedSequence(spec.seed)
    tally = Tally(np.asarray(spec.horizon), counted=to_compromise)
    interrupted = False
    try:
        if to_compromise:
            _single_stays(scenario, spec.trials, stream(entropy.spawn(1)[0]), tally)
        for outcome, late in _chunks(scenario, spec.trials, entropy, exact if to_compromise else None):
            tally.add(outcome, late)
            if progress is not None:
                progress(tally.trials, spec.trials)
    except KeyboardInterrupt:
        interrupted = True
        notes.append(f"Interrupted after {tally.trials} of {spec.trials} trials.")
    if to_compromise:
        notes += _mttc_notes(tally, exact)
    seed = entropy.entropy
    assert isinstance(seed, int)
    return Result(spec, tally, exact, time.perf_counter() - begun, seed, interrupted, notes)


def expected_seconds(spec: Simulation) -> float:
    """Return about how long ``simulate`` takes. Raises ValueError where a min-entropy floor cannot be had."""
    scenario = spec.scenario()
    return work.seconds(scenario, spec.trials, _chunk(scenario))


def _chunk(scenario: Scenario) -> int:
    """Return how many trials run at once."""
    return max(1, min(CHUNK, MASK_CELLS // scenario.hosts)) if scenario.draws_sets else CHUNK


def _chunks(
    scenario: Scenario, trials: int, entropy: np.random.SeedSequence, exact: Exact | None
) -> Iterator[tuple[Outcome, bool]]:
    """Yield outcomes; each chunk has its own stream, so a seed gives the same numbers however long it takes.

    ``exact`` is None for survival only.
    """
    size = _chunk(scenario)
    left, spent = trials, 0
    late = exact is not None and not exact.never and exact.stays_to_compromise * min(size, trials) < LATE_STAYS
    while left:
        now = min(size, left)
        rng = stream(entropy.spawn(1)[0])
        chunk = Chunk(scenario, now, rng)
        outcome = chunk.run(to_compromise=late, stay_limit=LATE_STAYS, co_residence=exact is not None)
        spent += outcome.stays
        yield outcome, late
        # Whether later chunks go on past the horizon depends on the cost of earlier ones, never on their own outcome.
        late = late and outcome.complete and spent + outcome.stays < LATE_STAYS
        left -= now


def _single_stays(scenario: Scenario, trials: int, rng: np.random.Generator, tally: Tally) -> None:
    """Estimate P(an attack succeeds in one stay): one exposure and one attack time per trial, beside the target.

    A chasing attacker starts as in the file: beside the target, or having to find it first.
    """
    alone = Scenario(
        hosts=1,
        attackers=1,
        clock=scenario.clock,
        attack=scenario.attack,
        placement=scenario.placement,
        start_attacked=scenario.progress != "chase" or scenario.start_attacked,
        progress="chase" if scenario.progress == "chase" else "reset",
        chase_rate=scenario.chase_rate,
        latency=scenario.latency,
        failure=scenario.failure,
    )
    left = trials
    while left:
        size = min(CHUNK, left)
        chunk = Chunk(alone, size, rng)
        tally.stay_hits += chunk.one_stay()
        tally.stay_trials += size
        left -= size


def _mttc_notes(tally: Tally, exact: Exact) -> list[str]:
    if exact.never:
        return ["Mean time to compromise: none, for some or all containers can never be compromised."]
    if not tally.waiters:
        return [f"Mean time to compromise: not estimated, because it would cost more than {LATE_STAYS:.0e} stays."]
    if tally.waiters < tally.trials:
        return [
            f"Mean time to compromise: from the first {tally.waiters} trials; going on past the horizon with the rest "
            f"would cost more than {LATE_STAYS:.0e} stays."
        ]
    return []
