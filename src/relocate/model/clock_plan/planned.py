# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished plan: placement, bands and confirmation joined to the alternatives, as one JSON document and as YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import heterogeneity as mtd

from relocate.model import measured
from relocate.model.clock_plan import planner
from relocate.model.clock_plan.placed import Placed
from relocate.model.clock_plan.planner import Alternative, Band
from relocate.model.clock_plan.spec import PlanFile, Problem
from relocate.model.laws import closed_forms
from relocate.model.laws.numerics import wilson
from relocate.model.measured import Measured
from relocate.model.simulate import work
from relocate.model.simulate.placement import Chain, Placement, UniformOthers, transition_matrix
from relocate.model.simulate.simulation import Progress, proportion
from relocate.model.simulate.trials import Chunk, Scenario

Floats = npt.NDArray[np.floating[Any]]

STAYS = 60_000_000  # simulated to confirm one alternative: a few seconds
DEFAULT_FLOOR = 3.0  # bits: the likeliest next host has at most one chance in eight


@dataclass(frozen=True)
class Where:
    """The placement: a floor on the next hop's min-entropy, the beta that keeps it, and what an informed attacker gets."""

    floor: float
    beta: float | None  # the smallest over all rows; None without differences
    min_entropy: float
    shannon: float
    entropy_rate: float
    informed: float  # formula 8: chance that the m best-placed attackers get the next hop
    uniform: float  # the same under a uniform draw


@dataclass(frozen=True)
class Planned:
    """What ``relocate plan`` answers."""

    plan: PlanFile
    problem: Problem
    measured: Measured | None
    alternatives: list[Alternative]
    best: Alternative
    bands: list[Band | None]
    confirmed: list[dict[str, Any]]
    where: Where

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration: clock (seconds, per second), destination, limits."""
        clock = {"kind": self.best.clock.kind} | {k: _short(v) for k, v in self.best.clock.parameters().items()}
        destination: dict[str, Any] = {"policy": "uniform"}  # what was planned for where no differences are known
        if self.where.beta is not None:
            destination = {"policy": "softmax", "min_entropy_bits": _short(self.where.floor)}
            weights = self.plan.fleet.weights
            destination["weights"] = weights if isinstance(weights, str) else {f"w_{k}": v for k, v in weights.items()}
        limit = self.plan.goal.hops_per_hour or math.ceil(2 * self.best.hops_per_hour)
        return {"clock": clock, "destination": destination, "limits": {"hops_per_hour": limit}}

    def scheduler_yaml(self) -> str:
        """Return the configuration as YAML with a heading that says what it was made for."""
        goal = self.plan.goal
        heading = (
            f"# Written by relocate plan: survival {self.best.survival:.6g} over {goal.horizon:g} s "
            f"(goal {goal.survival:g}), {self.best.hops_per_hour:.2f} hops per hour of operation.\n"
            "# Times in seconds, rates per second, entropies in bits.\n"
        )
        return heading + yaml.safe_dump(self.scheduler(), sort_keys=False)

    def document(self) -> dict[str, Any]:
        """Return the JSON document that docs/planner.md describes. Infinite times are null."""
        rows = []
        for found, band, check in zip(self.alternatives, self.bands, self.confirmed, strict=True):
            rows.append(
                {
                    "name": found.name,
                    "clock": {"kind": found.clock.kind, **found.clock.parameters()},
                    "survival": found.survival,
                    "mttc": None if math.isinf(found.mttc) else found.mttc,
                    "hops_per_hour": found.hops_per_hour,
                    "wall_hops_per_hour": found.wall_hops_per_hour,
                    "availability": found.availability,
                    "misses": list(found.misses),
                    "note": found.note,
                    "simulated": check,
                    "band": None if band is None else {"survival": band.survival, "hops_per_hour": band.hops_per_hour},
                }
            )
        problem = self.problem
        return {
            "inputs": self.plan.model_dump(mode="json"),
            "measured": {
                "latency": problem.latency,
                "latency_95": problem.latency_high,
                "downtime": problem.downtime,
                "failure": problem.failure,
                "relocations": self.measured.relocations if self.measured else 0,
            },
            "recommended": self.best.name,
            "alternatives": rows,
            "placement": vars(self.where),
            "scheduler": self.scheduler(),
        }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def make(
    plan: PlanFile, measured: Measured | None, progress: Progress | None = None, *, where: str = "goal.horizon"
) -> Planned:
    """Solve a plan. Raises Refusal where the goal cannot be had; ``where`` begins the one of a horizon that takes too long."""
    problem = planner.pose(plan, measured)
    place, placement, placed = _placement(plan)
    problem = replace(problem, placed=placed)
    alternatives = planner.solve(problem)
    planner.recommend(alternatives)
    for found in alternatives:
        trials = _trials(plan, problem, found)
        work.bound(_scenario(plan, problem, found, placement), trials, trials, where)
    confirmed = []
    for done, found in enumerate(alternatives):
        confirmed.append(_confirm(plan, problem, found, placement))
        if progress is not None:
            progress(done + 1, len(alternatives))
    alternatives = [_doubted(found, check, plan) for found, check in zip(alternatives, confirmed, strict=True)]
    best = planner.recommend(alternatives)
    bands = planner.bands(plan, problem, measured, alternatives)
    return Planned(plan, problem, measured, alternatives, best, bands, confirmed, place)


def read_ledger(plan: PlanFile, override: Any) -> Measured | None:
    """Return the ledger named on the command line, else in the file; None where neither names one."""
    path = override or plan.ledger
    return None if path is None else measured.read(path)


def _doubted(found: Alternative, check: dict[str, Any], plan: PlanFile) -> Alternative:
    """Return the alternative, with a miss more where the simulation leaves no doubt (three sigma) that the goal is missed."""
    highest = wilson(round(check["estimate"] * check["trials"]), check["trials"], 3.0)[1]
    if highest >= plan.goal.survival or found.survival < plan.goal.survival:
        return found
    return replace(
        found, misses=(*found.misses, f"simulated survival {check['estimate']:.4g} < {plan.goal.survival:g}")
    )


def _placement(plan: PlanFile) -> tuple[Where, Placement, Placed | None]:
    others = plan.fleet.hosts - 1
    most = math.log2(others)
    floor = plan.goal.min_entropy_bits or min(DEFAULT_FLOOR, 0.8 * most)
    attackers = max(1, round(plan.fleet.attacked))
    uniform = min(attackers / others, 1.0)
    matrix = plan.fleet.matrix
    if matrix is None:
        return Where(floor, None, most, most, most, uniform, uniform), UniformOthers(plan.fleet.hosts), None
    rows = transition_matrix("softmax", matrix, min_entropy_bits=floor)
    masked = np.where(np.eye(plan.fleet.hosts, dtype=bool), -np.inf, matrix)
    where = Where(
        floor,
        min(mtd.beta_for_floor(row, floor) for row in masked),
        min(mtd.min_entropy_bits(row) for row in rows),
        float(np.mean([mtd.shannon_bits(row) for row in rows])),
        mtd.entropy_rate_bits(rows),
        max(closed_forms.informed_hit(row, attackers) for row in rows),
        uniform,
    )
    return where, Chain(rows), Placed(rows, attackers, plan.seed)


def _confirm(plan: PlanFile, problem: Problem, found: Alternative, placement: Placement) -> dict[str, Any]:
    """Simulate an alternative with the plan's seed, the same for all: estimate, Wilson interval and closed form."""
    trials = _trials(plan, problem, found)
    chunk = Chunk(_scenario(plan, problem, found, placement), trials, np.random.default_rng(plan.seed))
    outcome = chunk.run(to_compromise=False, stay_limit=0, co_residence=False)
    lived = int((outcome.compromised > problem.goal.horizon).sum())
    return {**proportion(lived, trials, found.survival), "trials": trials}


def _trials(plan: PlanFile, problem: Problem, found: Alternative) -> int:
    """Return how many trials confirm an alternative: as many as the plan asks for, unless they took too many stays."""
    per_trial = problem.goal.horizon / (found.clock.mean + problem.latency + problem.downtime)
    return int(min(plan.trials, max(100, STAYS / per_trial)))


def _scenario(plan: PlanFile, problem: Problem, found: Alternative, placement: Placement) -> Scenario:
    return Scenario(
        hosts=plan.fleet.hosts,
        attackers=max(1, round(plan.fleet.attacked)),
        clock=found.clock,
        attack=problem.attack,
        placement=placement,
        latency=problem.latency,
        failure=problem.failure,
        downtime=problem.downtime,
        horizon=problem.goal.horizon,
    )
