# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's systems once more, as a simpy event loop: the honest opponent of ``bench_model``.

Written as one would write it in simpy: one process per container, one timeout per stay and one per freeze, the standard
library's random numbers (quicker one by one than numpy's), destinations drawn by bisection in cumulated rows.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy


@dataclass
class Model:
    """The parameters of ``relocate.model.simulate.trials.Scenario``; ``rows`` are cumulated probabilities of the next host."""

    hosts: int
    attackers: int
    rate: float
    horizon: float
    attack_mean: float
    attack_shape: int = 0  # 0: fixed attack
    ceiling: float = math.inf
    rows: list[list[float]] = field(default_factory=list)
    kept: list[list[float]] = field(default_factory=list)  # share of progress kept from host to host; empty: none
    latency: float = 0.0
    failure: float = 0.0
    downtime: float = 0.0

    @staticmethod
    def cumulated(rows: list[list[float]]) -> list[list[float]]:
        return [list(itertools.accumulate(row)) for row in rows]


@dataclass
class Outcome:
    """What one trial came to."""

    compromised: float = math.inf
    beside: float = 0.0
    hops: int = 0


def trial(model: Model, rng: random.Random) -> Outcome:
    """Run one container to the horizon."""
    env = simpy.Environment()
    outcome = Outcome()
    env.process(_container(env, model, rng, outcome))
    env.run(until=model.horizon)
    return outcome


def _container(env: simpy.Environment, m: Model, rng: random.Random, out: Outcome) -> Generator[Any, Any, None]:
    attacked = set(rng.sample(range(m.hosts), m.attackers))
    host = rng.randrange(m.hosts)
    keeps = bool(m.kept)
    need, work = _attack(m, rng), 0.0
    while True:
        exposure = _stay(m, rng)
        while m.failure and rng.random() < m.failure:
            exposure += _stay(m, rng)
        exposure += m.latency
        begin = env.now
        if host in attacked:
            out.beside += min(exposure, m.horizon - begin)
            left = need - work if keeps else _attack(m, rng)
            if left <= exposure:
                out.compromised = min(out.compromised, begin + max(left, 0.0))
            work += exposure
        yield env.timeout(exposure)
        if m.downtime:
            yield env.timeout(m.downtime)
        out.hops += 1
        if m.rows:
            goal = bisect.bisect(m.rows[host], rng.random())
            goal = min(goal, m.hosts - 1)
        else:
            goal = rng.randrange(m.hosts - 1)
            goal += goal >= host
        if keeps:
            work *= m.kept[host][goal]
        host = goal


def _stay(m: Model, rng: random.Random) -> float:
    if m.ceiling == math.inf:
        return rng.expovariate(m.rate)
    return -math.log1p(rng.random() * math.expm1(-m.rate * m.ceiling)) / m.rate


def _attack(m: Model, rng: random.Random) -> float:
    return rng.gammavariate(m.attack_shape, m.attack_mean / m.attack_shape) if m.attack_shape else m.attack_mean
