# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which exact values a simulation file has: the closed forms that fit it, None where none is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Poisson, Static

from relocate.model.laws import closed_forms
from relocate.model.laws.attacks import Exponential
from relocate.model.laws.exposure import Exposure
from relocate.model.laws.renewal import Neighbours, System
from relocate.model.simulate.spec import Simulation

#: Beyond this many exposures or attack times the lattice is too coarse for the digits a million trials can tell apart.
LONGEST_HORIZON = 2000.0


@dataclass(frozen=True)
class Exact:
    """Exact values; None where no closed form is known, infinity never (it becomes None and ``never``)."""

    per_stay: float | None
    mttc: float | None
    survival: list[float | None]
    hops_per_time: float | None
    availability: float | None
    leak_mean: float | None
    leak_variance: float | None
    never: bool  # compromise cannot happen, at least from some starts
    stays_to_compromise: float = 0.0  # in the mean, where it is known; else 0


def system_of(spec: Simulation) -> System | None:
    """Return the two-state system of a file, or None where hosts differ or progress is not lost."""
    alike = spec.hosts == 1 or spec.destination.policy in ("uniform", "uniform-with-self")
    if not alike or spec.progress.model != "reset":
        return None
    near = Neighbours.of(
        spec.hosts,
        spec.attacker_count,
        self_hop=spec.destination.policy == "uniform-with-self",
        start_attacked=spec.start == "attacked",
    )
    return System(spec.law_of_clock(), spec.attack.law(), near, spec.latency, spec.failure, spec.downtime)


def exact_values(spec: Simulation) -> Exact:
    """Return what is known exactly about ``spec``."""
    system = system_of(spec)
    exposure = Exposure.of(spec.law_of_clock(), spec.latency, spec.failure)
    cycle = exposure.mean + spec.downtime
    hops = 0.0 if math.isinf(cycle) else 1 / cycle
    leak_mean, leak_variance = _leak(spec)
    common: dict[str, Any] = {
        "hops_per_time": hops,
        "availability": 1 - hops * spec.downtime,
        "leak_mean": leak_mean,
        "leak_variance": leak_variance,
    }
    if spec.progress.model == "chase":
        return _chase(spec, common)
    law = spec.attack.law()
    per_stay = exposure.success(law)
    if system is None:
        blocked = spec.attacker_count == 0 or (spec.progress.model == "reset" and per_stay == 0)
        return Exact(per_stay, None, [None] * len(spec.horizon), never=blocked or _frozen(spec), **common)
    mttc = system.mttc()
    scale = min(exposure.mean + spec.downtime, law.average)
    near = [at for at in spec.horizon if at <= LONGEST_HORIZON * scale]
    values = dict(zip(near, system.survival(near).tolist(), strict=True)) if near else {}
    survival = [values.get(at) for at in spec.horizon]
    never = math.isinf(mttc)
    stays = 0.0 if never or math.isinf(cycle) else mttc / cycle
    return Exact(per_stay, None if never else mttc, survival, never=never, stays_to_compromise=stays, **common)


def _frozen(spec: Simulation) -> bool:
    """Whether the container never moves and may sit on a clean host for ever."""
    still = isinstance(spec.law_of_clock(), Static) or spec.failure == 1
    return still and spec.start != "attacked"


def _leak(spec: Simulation) -> tuple[float | None, float | None]:
    """Formula 7 for K = 1 and the last horizon: known from a uniform start when downtime is 0."""
    random_sets = not isinstance(spec.attackers, list)
    alike = spec.hosts == 1 or spec.destination.policy in ("uniform", "uniform-with-self")
    if spec.start != "uniform" or spec.downtime or spec.progress.model == "chase" or not (random_sets or alike):
        return None, None
    horizon, p = spec.horizon[-1], spec.attacker_count / spec.hosts
    mean = closed_forms.leak_mean(1.0, horizon, p)
    clock = spec.law_of_clock()
    still = isinstance(clock, Static) or spec.failure == 1 or spec.hosts == 1
    if still or (isinstance(clock, Poisson) and alike and spec.latency == 0):
        rate = 0.0 if still or not isinstance(clock, Poisson) else clock.rate * (1 - spec.failure)
        self_hop = spec.destination.policy == "uniform-with-self" or spec.hosts == 1
        return mean, closed_forms.leak_variance(1.0, horizon, spec.hosts, spec.attacker_count, rate, self_hop=self_hop)
    return mean, None


def _chase(spec: Simulation, common: dict[str, Any]) -> Exact:
    """Formula 4 for a Poisson clock, an exponential attack and no downtime or latency."""
    clock, law = spec.law_of_clock(), spec.attack.law()
    theta = spec.progress.chase_rate
    assert theta is not None
    silent: list[float | None] = [None] * len(spec.horizon)
    simple = isinstance(clock, Poisson) and isinstance(law, Exponential) and not (spec.latency or spec.downtime)
    if not simple or spec.failure == 1:
        return Exact(None, None, silent, never=False, **common)
    assert isinstance(clock, Poisson)
    rate, mu, beside = clock.rate * (1 - spec.failure), 1 / law.average, spec.start == "attacked"
    mttc = closed_forms.chase_mttc(theta, mu, rate)
    if beside:  # one stage less to go: T1 = (1 + lambda T0)/(lambda + mu)
        mttc = (1 + rate * mttc) / (rate + mu)
    survival: list[float | None] = [closed_forms.chase_survival(theta, mu, rate, at, beside) for at in spec.horizon]
    per_stay = (1.0 if beside else theta / (theta + rate)) * mu / (mu + rate)
    return Exact(per_stay, mttc, survival, never=False, **common)
