# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: the cheapest clock of each kind that reaches a survival, what it costs, and how sure that is.

docs/planner.md describes the algorithm. Every survival is a closed form (renewal equation or its pole); simulation only
confirms. Refusals are for goals that no clock can reach: they name the reason and what would help instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import (
    Clock,
    Periodic,
    PmfSample,
    Poisson,
    TruncatedPoisson,
)

from relocate.errors import Refusal
from relocate.model.clock_plan.spec import PlanFile, Problem
from relocate.model.laws import closed_forms
from relocate.model.laws.exposure import NODES
from relocate.model.laws.pole import long_run
from relocate.model.laws.renewal import System
from relocate.model.measured import Measured

Floats = npt.NDArray[np.floating[Any]]

PAPER_LAMBDA, PAPER_THRESHOLD = 4.0, 0.15
MIDDLING, COARSE = 1 << 14, 1 << 12  # lattice nodes while searching, and for the posterior draws
#: Where a tick reaches the shortest attack, a clock with ticks loses survival at once, and the longest stay found would lie at
#: that very edge, closed form and simulation on different sides of it. So a stay this much longer has to be enough as well.
GUARD = 1.005
LONG = 50.0  # horizons of more cycles or attack times than this: the pole alone


@dataclass(frozen=True)
class Alternative:
    """One clock that reaches the goal (or the closest it comes), and its cost."""

    name: str
    clock: Clock
    survival: float
    mttc: float
    hops_per_hour: float  # per hour of operation, 3600/E S: what the clock asks for
    wall_hops_per_hour: float  # completed per hour of wall time, 3600/(E S/(1-f) + L + D)
    availability: float
    misses: tuple[str, ...]  # goals it does not reach
    note: str


@dataclass(frozen=True)
class Band:
    """5, 50 and 95 % points of survival and completed hops per hour over posterior draws of L, D and f."""

    survival: tuple[float, float, float]
    hops_per_hour: tuple[float, float, float]


def survival(system: System, t: float) -> float:
    """Return P(no compromise by t): on the lattice, or by the dominant pole over horizons of many cycles."""
    cycle = system.exposure.mean + system.downtime
    if t <= LONG * max(cycle, system.attack.average) or math.isinf(cycle):
        return float(system.survival([t])[0])
    return long_run(system).survival(t)


def pose(plan: PlanFile, measured: Measured | None) -> Problem:
    """Turn a plan and a ledger into a problem. Raises Refusal where no clock can help."""
    latency, downtime, failure = plan.measured.latency, plan.measured.downtime, plan.measured.failure
    high = latency
    if measured is not None:
        if measured.latencies:
            latency, high = float(np.mean(measured.latencies)), float(np.quantile(measured.latencies, 0.95))
        if measured.downtimes:
            downtime = float(np.mean(measured.downtimes))
        failure = (measured.missed + 0.5) / (measured.relocations + 1)  # mean of the Beta posterior
    attack = plan.attack.law()
    _defendable(plan, attack, latency)
    least = attack.shortest or None
    return Problem(plan.fleet.neighbours(), attack, least, latency, high, downtime, failure, plan.goal, plan.margin)


def _defendable(plan: PlanFile, attack: Any, latency: float) -> None:
    n, m = plan.fleet.hosts, plan.fleet.attacked
    if attack.memoryless:
        mttc = n * attack.average / m
        raise Refusal(
            f"Relocation does not help against a memoryless attack: with exponential attack times (mean {attack.average:g} s) "
            f"the mean time to compromise is N/(m mu) = {n} x {attack.average:g} / {m:g} = {mttc:g} s at every hop rate "
            "(formula 3). What would help: fewer attacked neighbours (dedicated hosts, anti-affinity), patches that lengthen "
            "the attack, or evidence that the attack needs a minimum time (attack.shortest with another family)."
        )
    if attack.shortest and attack.shortest <= latency:
        raise Refusal(
            f"Not defendable by relocation: the quickest attack takes {attack.shortest:g} s, and from alert to freeze the "
            f"container stays exposed for {latency:g} s. What would help: a shorter exposure latency (stage images before "
            "the alert, pre-copy), or fewer attacked neighbours."
        )


def system_for(problem: Problem, clock: Clock, **changes: Any) -> System:
    """Return the two-state system of a problem under ``clock``."""
    system = System(clock, problem.attack, problem.neighbours, problem.latency, problem.failure, problem.downtime)
    return replace(system, **changes) if changes else system


def lived(problem: Problem, clock: Clock, **changes: Any) -> float:
    """Return P(no compromise within the goal's horizon) under ``clock`` and the placement that is handed out."""
    system, horizon = system_for(problem, clock, **changes), problem.goal.horizon
    uniform = survival(system, horizon)
    if problem.placed is None or uniform in (0.0, 1.0):
        return uniform
    stays = horizon / (system.exposure.mean + system.downtime)
    return min(1.0, uniform * problem.placed.quotient(system.success(), stays))


def solve(problem: Problem) -> list[Alternative]:
    """Return the alternatives, the recommended first: truncated Poisson, Poisson, the paper's clock, periodic."""
    mean = problem.attack.average
    found = [
        _truncated(problem),
        _cheapest(problem, "poisson", lambda stay: Poisson(1 / stay), mean, "unpredictable; no bound on the stay"),
        _cheapest(
            problem,
            "paper",
            lambda tick: PmfSample(PAPER_LAMBDA, PAPER_THRESHOLD, tick),
            mean,
            f"eq. 3.1 read as pmf-sample, lambda = {PAPER_LAMBDA:g}, T = {PAPER_THRESHOLD:g}; hops only at ticks",
        ),
        _periodic(problem),
    ]
    return [_judge(problem, alternative) for alternative in found]


def _truncated(problem: Problem) -> Alternative:
    """Exp(1/E A) truncated under a_min - L where a_min is known; else, or if hops fail, at what the goal needs."""
    rate = 1 / problem.attack.average
    ceiling = _sure_ceiling(problem)
    if ceiling is not None and problem.failure == 0:
        return _alternative(problem, "truncated-poisson", TruncatedPoisson(rate, ceiling), "no attack fits into a stay")
    top = ceiling if ceiling is not None else 20 * problem.attack.average
    note = "two stays in a row after a failed hop may be long enough" if ceiling else "a_min unknown: no stay is sure"
    return _cheapest(problem, "truncated-poisson", lambda c: TruncatedPoisson(rate, c), top, note, top)


def _periodic(problem: Problem) -> Alternative:
    note = "learnable: who has seen two hops knows all the others"
    ceiling = _sure_ceiling(problem)
    if ceiling is not None and problem.failure == 0:
        return _alternative(problem, "periodic", Periodic(ceiling), note)
    top = ceiling if ceiling is not None else 20 * problem.attack.average
    return _cheapest(problem, "periodic", Periodic, top, note, top)


def _sure_ceiling(problem: Problem) -> float | None:
    """(1 - margin) (a_min - L), L at its measured 95 % point; None where a_min is unknown or too near."""
    if problem.least is None or problem.least <= problem.latency_high:
        return None
    return (1 - problem.margin) * (problem.least - problem.latency_high)


def _cheapest(
    problem: Problem, name: str, clock: Callable[[float], Clock], scale: float, note: str, top: float | None = None
) -> Alternative:
    """Bisect for the longest stay whose survival reaches the goal; the shortest tried where none does."""

    guard = GUARD if clock(scale).lattice else 1.0

    def enough(stay: float, nodes: int = MIDDLING) -> bool:
        return lived(problem, clock(stay * guard), nodes=nodes) >= problem.goal.survival

    high = top if top is not None else 20 * scale
    low = high
    for _ in range(24):
        if enough(low):
            break
        high, low = low, low / 2
    else:
        return _alternative(problem, name, clock(low), note)
    while high / low > 1 + 1e-4:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    while not enough(low, NODES):
        low *= 1 - 1e-4  # what the middling lattice got wrong
    return _alternative(problem, name, clock(low), note)


def _alternative(problem: Problem, name: str, clock: Clock, note: str) -> Alternative:
    system = system_for(problem, clock)
    hops = closed_forms.hops_per_time(clock.mean, problem.downtime, problem.latency, problem.failure)
    return Alternative(
        name=name,
        clock=clock,
        survival=lived(problem, clock),
        mttc=system.mttc() * (problem.placed.slowness(system.success()) if problem.placed else 1.0),
        hops_per_hour=3600 / clock.mean,
        wall_hops_per_hour=3600 * hops,
        availability=1 - hops * problem.downtime,
        misses=(),
        note=note,
    )


def _judge(problem: Problem, found: Alternative) -> Alternative:
    goal, misses = problem.goal, []
    if found.survival < goal.survival:
        misses.append(f"survival {found.survival:.4g} < {goal.survival:g}")
    if found.availability < goal.availability:
        misses.append(f"availability {found.availability:.5g} < {goal.availability:g}")
    if goal.hops_per_hour is not None and found.hops_per_hour > goal.hops_per_hour:
        misses.append(f"{found.hops_per_hour:.1f} hops/h > {goal.hops_per_hour:g}")
    return replace(found, misses=tuple(misses))


def recommend(alternatives: list[Alternative]) -> Alternative:
    """Return the first that meets every goal and cannot be learnt. Raises Refusal where none does."""
    good = [found for found in alternatives if not found.misses and found.name != "periodic"]
    if good:
        return min(good, key=lambda found: found.hops_per_hour)
    best = min(alternatives[:-1], key=lambda found: (found.survival < 0.5, found.hops_per_hour))
    raise Refusal(
        f"No clock meets every goal; the nearest is {best.name}: {'; '.join(best.misses)}. What would help: a shorter "
        "downtime or latency, fewer failed hops, fewer attacked neighbours, or a lower goal (survival, availability, "
        "hops_per_hour)."
    )


def bands(
    plan: PlanFile, problem: Problem, measured: Measured | None, alternatives: list[Alternative]
) -> list[Band | None]:
    """Return 5-50-95 % bands for each alternative; None without a ledger, for then nothing was measured to be unsure of.

    L and D: Bayesian bootstrap of their means (D. B. Rubin, Ann. Statist. 9, 1981); f: Beta(1/2 + missed, 1/2 + committed),
    Jeffreys' prior. The same draws for every alternative.
    """
    if measured is None:
        return [None] * len(alternatives)
    rng = np.random.default_rng(plan.seed)
    latency = _bootstrap(rng, measured.latencies, plan.draws, problem.latency)
    downtime = _bootstrap(rng, measured.downtimes, plan.draws, problem.downtime)
    failure = rng.beta(0.5 + measured.missed, 0.5 + measured.committed, plan.draws)
    result: list[Band | None] = []
    for found in alternatives:
        survived, hops = np.empty(plan.draws), np.empty(plan.draws)
        # The quotient of the placement, at this alternative: it changes little over the draws.
        uniform = survival(system_for(problem, found.clock), problem.goal.horizon)
        quotient = found.survival / uniform if uniform > 0 else 1.0
        for k, (late, down, fail) in enumerate(zip(latency, downtime, failure, strict=True)):
            changes = {"latency": float(late), "downtime": float(down), "failure": float(fail), "nodes": COARSE}
            mttc = system_for(problem, found.clock, **changes).mttc()
            survived[k] = min(
                1.0, quotient * math.exp(-problem.goal.horizon / mttc)
            )  # within a/MTTC of the pole: enough for a band
            hops[k] = 3600 * closed_forms.hops_per_time(found.clock.mean, float(down), float(late), float(fail))
        result.append(Band(_points(survived), _points(hops)))
    return result


def _bootstrap(rng: np.random.Generator, sample: list[float], draws: int, otherwise: float) -> Floats:
    if len(sample) < 2:
        return np.full(draws, otherwise)
    values = np.asarray(sample[-2000:])
    return np.array([rng.dirichlet(np.ones(values.size)) @ values for _ in range(draws)])


def _points(values: Floats) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return float(low), float(middle), float(high)
