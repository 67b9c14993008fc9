# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's Fig. 4 and Fig. 5, computed: the fit of what the paper left out, its residuals and its caveats.

The paper states two results, 87 % of attacks resisted and +29 points of survival, and none of the parameters behind them.
docs/model.md derives what they fix and what they leave open; ``fit`` in each document says which parameters were chosen.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import (
    Clock,
    PmfSample,
    Poisson,
    Static,
    firing_probability,
    poisson_pmf,
)

from relocate.model.laws import attacks
from relocate.model.laws.empirical import Empirical
from relocate.model.laws.exposure import Exposure
from relocate.model.laws.numerics import bisect
from relocate.model.laws.renewal import Neighbours, System
from relocate.model.simulate.placement import Stay, UniformOthers
from relocate.model.simulate.simulation import CHUNK, Progress, proportion, simulate
from relocate.model.simulate.spec import Simulation
from relocate.model.simulate.trials import Chunk, Scenario

PAPER_LAMBDA = 4.0
PAPER_GAIN = 0.29
RETAIN_RATE = 3.62  # lambda a at which the four conditions of Fig. 5 lie farthest apart; see docs/model.md
HORIZONS = tuple(k / 8 for k in range(1, 65))  # in attack times
READ_AT = 2.0  # Fig. 5 is read at twice the attack time


@dataclass(frozen=True)
class Options:
    """What the command line may set."""

    trials: int = 1_000_000
    seed: int = 7
    paper: bool = False
    resisted: float = 0.87
    hosts: int = 30
    attackers: int = 10


@dataclass(frozen=True)
class Live:
    """Measured on real hosts: the law of the stays, mean latency and downtime (seconds), failure rate, relocations."""

    clock: Empirical
    latency: float
    downtime: float
    failure: float
    relocations: int


def families() -> dict[str, attacks.Attack]:
    """The attack families of Fig. 4, all of mean 1."""
    return {
        "fixed": attacks.Fixed(1.0),
        "Erlang-4": attacks.Erlang(1.0, 4),
        "exponential": attacks.Exponential(1.0),
    }


def calibrated_rate(attack: attacks.Attack, resisted: float) -> float:
    """Return lambda E[A] at which a Poisson clock resists the share ``resisted``: the root of G*(lambda) = 1 - resisted."""
    high = 1.0
    while attack.transform(high).real > 1 - resisted:
        high *= 2
    return bisect(lambda rate: float(attack.transform(rate).real) - (1 - resisted), 0.0, high) * attack.average


def paper_clock(resisted: float, longest: int = 64) -> tuple[PmfSample, int]:
    """Return (clock, ticks): the threshold T and the attack time in ticks with which eq. 3.1 comes nearest ``resisted``.

    Under ``pmf-sample`` an attack of k ticks is resisted with probability 1 - (1 - rho)^(k-1), and rho takes one value for
    each level of the pmf: only some shares can be had. T is set half-way between two levels.
    """
    levels = np.unique(poisson_pmf(PAPER_LAMBDA))[::-1][:12]
    best: tuple[float, float, int] = (math.inf, 0.0, 0)
    for upper, lower in itertools.pairwise(levels):
        threshold = float(upper + lower) / 2
        rho = firing_probability(PAPER_LAMBDA, threshold)
        for ticks in range(2, longest + 1):
            off = abs(1 - (1 - rho) ** (ticks - 1) - resisted)
            best = min(best, (off, round(threshold, 4), ticks))
    return PmfSample(PAPER_LAMBDA, best[1], 1.0), best[2]


def fig4(options: Options, live: Live | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Share of attacks resisted: static, and under a random clock. The document of ``relocate simulate fig4``."""
    rng = np.random.default_rng(options.seed)
    clock, ticks = paper_clock(options.resisted)
    cases: list[tuple[str, str, Clock, attacks.Attack, float | None]] = [
        ("static", "static", Static(), attacks.Fixed(1.0), None)
    ]
    for law, attack in families().items():
        rate = calibrated_rate(attack, options.resisted)
        cases.append((law, f"Poisson clock, {law} attack", Poisson(rate), attack, rate))
    name = f"paper's clock (T = {clock.threshold:g}), attack of {ticks} ticks"
    cases.append(("paper", name, clock, attacks.Fixed(ticks), ticks / clock.mean))
    conditions = []
    for done, (law, name, stay, attack, scaled) in enumerate(cases):
        hits = single_stays(stay, attack, options.trials, rng)
        share = proportion(options.trials - hits, options.trials, 1 - Exposure.of(stay).success(attack))
        residual = None if law == "static" else share["estimate"] - options.resisted
        case = {"law": law, "condition": name, "rate_times_attack": scaled, **share, "residual": residual}
        conditions.append(case)
        if progress is not None:
            progress(done + 1, len(cases))
    lead = conditions[-1] if options.paper else conditions[1]
    return {
        "figure": 4,
        "mode": "paper" if options.paper else "hardened",
        "reported": options.resisted,
        "resisted": {key: lead[key] for key in ("condition", "estimate", "ci95", "exact", "residual")},
        "conditions": conditions,
        "live": None if live is None else live_resisted(live),
        "trials": options.trials,
        "seed": options.seed,
        "caveats": [
            f"{options.resisted:.0%} per attempt fixes only the product of hop rate and attack time, and a different one for "
            "each attack family. The paper gives neither: this is a consistent fit, not a proof.",
            f"The paper's clock can only resist certain shares; the nearest to {options.resisted:g} is shown, with lambda = "
            f"{PAPER_LAMBDA:g} assumed.",
            "For the exponential family the share per attempt is reached, yet the mean time to compromise is the same at "
            "every hop rate (formula 3): relocation buys nothing there.",
        ],
    }


def single_stays(clock: Clock, attack: attacks.Attack, trials: int, rng: np.random.Generator) -> int:
    """Return how many of ``trials`` attacks succeed, each within one stay beside its target."""
    scenario = Scenario(1, 1, clock, attack, Stay(), start_attacked=True)
    sizes = [CHUNK] * (trials // CHUNK) + ([trials % CHUNK] if trials % CHUNK else [])
    return sum(Chunk(scenario, size, rng).one_stay() for size in sizes)


def live_resisted(live: Live) -> dict[str, Any]:
    """Return the share of measured stays (and latency) too short for an attack of a mean stays, over a range of a."""
    stay = live.clock.mean
    at = np.linspace(0.1, 8, 80)
    share = 1 - Exposure.of(live.clock, live.latency, live.failure).survivor(at * stay)
    return {
        "relocations": live.relocations,
        "stays": live.clock.count,
        "mean_stay_seconds": stay,
        "latency_seconds": live.latency,
        "failure": live.failure,
        "attack_in_stays": at.tolist(),
        "resisted": share.tolist(),
    }


def fig5(options: Options, live: Live | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Survival: static, low and high heterogeneity, and uniform. The document of ``relocate simulate fig5``."""
    p = options.attackers / options.hosts
    runs = {name: _fig5_spec(options, name) for name in ("static", "low", "uniform", "high")}
    conditions = []
    for done, (name, spec) in enumerate(runs.items()):
        survival = simulate(spec, to_compromise=False).document()["survival"]
        at_reading = next(point for point in survival if point["at"] == READ_AT)
        exact = 1 - p if name == "static" else None
        conditions.append({"condition": name, **at_reading, "exact": exact, "curve": survival})
        if progress is not None:
            progress(done + 1, len(runs))
    return {
        "figure": 5,
        "reported_gain": PAPER_GAIN,
        "fit": _fit(options),
        "conditions": conditions,
        "gain": conditions[3]["estimate"] - conditions[0]["estimate"],
        "reset": _reset(options),
        "live": None if live is None else _live_survival(options, live),
        "trials": options.trials,
        "seed": options.seed,
        "caveats": [
            f"The fit: {options.resisted:g} m/N = {PAPER_GAIN:g} gives m/N = {PAPER_GAIN / options.resisted:.3f}, that is 10 "
            "attacked hosts of the paper's 30. Two numbers, two unknowns: consistent, not proven.",
            "Low and high heterogeneity differ only over more than one stay, and only if progress survives a hop in proportion "
            f"to likeness (retain). Assumed: lambda a = {RETAIN_RATE:g}, horizon 2a, 6 classes, differences 0-0.15 within and "
            "0.6-0.95 between them, softmax with beta = -30 (low) and +10 (high).",
            "A uniformly random destination is within 0.01 of high heterogeneity here.",
            f"With progress lost on a hop (reset) and lambda a = {calibrated_rate(attacks.Fixed(1.0), options.resisted):.2f}, "
            "moving becomes worse than staying once the horizon exceeds about "
            f"{_reset_crossing(options):.1f} attack times: every hop is another chance to land beside an attacker.",
        ],
    }


def _fig5_spec(options: Options, condition: str) -> Simulation:
    beta = {"low": -30.0, "high": 10.0}.get(condition)
    destination: dict[str, Any] = {"policy": "uniform" if beta is None else "softmax", "classes": {"count": 6}}
    if beta is not None:
        destination["beta"] = beta
    clock = {"kind": "static"} if condition == "static" else {"kind": "poisson", "rate": RETAIN_RATE}
    return Simulation.model_validate(
        {
            "hosts": options.hosts,
            "attackers": options.attackers,
            "attack": {"family": "fixed", "mean": 1.0},
            "clock": clock,
            "destination": destination,
            "progress": {"model": "retain"},
            "horizon": list(HORIZONS),
            "trials": options.trials,
            "seed": options.seed,
        }
    )


def _fit(options: Options) -> dict[str, Any]:
    """One stay from a uniform start, at Fig. 4's calibration: what the paper's two numbers say together."""
    p = options.attackers / options.hosts
    rate = calibrated_rate(attacks.Fixed(1.0), options.resisted)
    scenario = Scenario(
        options.hosts, options.attackers, Poisson(rate), attacks.Fixed(1.0), UniformOthers(options.hosts)
    )
    rng = np.random.default_rng(options.seed + 1)
    sizes = [CHUNK] * (options.trials // CHUNK) + ([options.trials % CHUNK] if options.trials % CHUNK else [])
    hits = sum(Chunk(scenario, size, rng).one_stay() for size in sizes)
    moved = proportion(options.trials - hits, options.trials, 1 - p * (1 - options.resisted))
    return {
        "hosts": options.hosts,
        "attackers": options.attackers,
        "rate_times_attack": rate,
        "static": 1 - p,
        "relocated": moved,
        "gain": moved["estimate"] - (1 - p),
        "residual": moved["estimate"] - (1 - p) - PAPER_GAIN,
    }


def _reset(options: Options) -> dict[str, Any]:
    """Exact survival over the horizons when a hop loses all progress, beside staying."""
    at = np.arange(1, 513) / 64
    return {"at": at.tolist(), "relocated": _reset_system(options).survival(at).tolist()}


def _reset_system(options: Options) -> System:
    near = Neighbours.of(options.hosts, options.attackers, self_hop=False, start_attacked=False)
    return System(Poisson(calibrated_rate(attacks.Fixed(1.0), options.resisted)), attacks.Fixed(1.0), near)


def _reset_crossing(options: Options) -> float:
    """Horizon, in attack times, beyond which moving under ``reset`` is worse than staying; infinite if it never is."""
    at = np.linspace(1, 200, 4000)
    worse = _reset_system(options).survival(at) < 1 - options.attackers / options.hosts
    return float(at[np.argmax(worse)]) if worse.any() else math.inf


def _live_survival(options: Options, live: Live) -> dict[str, Any]:
    """The ``high`` condition once more, with the stays, latency, downtime and failures of the ledger in the clock's place.

    The attack time is set to RETAIN_RATE mean stays, so that the measured clock is compared at the same lambda a.
    """
    unit = RETAIN_RATE * live.clock.mean
    spec = _fig5_spec(options, "high")
    scenario = replace(
        spec.scenario(),
        clock=live.clock.scaled(1 / unit),
        latency=live.latency / unit,
        downtime=live.downtime / unit,
        failure=live.failure,
    )
    result = simulate(spec, scenario=scenario, to_compromise=False)
    survival = result.document()["survival"]
    at_reading = next(point for point in survival if point["at"] == READ_AT)
    return {"relocations": live.relocations, "stays": live.clock.count, **at_reading, "exact": None, "curve": survival}


@dataclass(frozen=True)
class PaperCurve:
    """Share resisted under the paper's clock against attack time, both scaled to its mean stay."""

    x: list[float]
    y: list[float]

    @classmethod
    def of(cls, clock: PmfSample, until: float = 9.0) -> PaperCurve:
        """Steps at every whole number of ticks: an attack of k ticks must outlive k - 1 chances to hop."""
        attack = np.arange(math.ceil(until * clock.mean) + 2)
        return cls((attack / clock.mean).tolist(), (1 - clock.survivor(attack)).tolist())
