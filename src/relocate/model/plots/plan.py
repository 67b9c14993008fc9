# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner's plots: what the hop rate buys, what it costs, where the container goes, and whether the clock is honest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, Poisson, TruncatedPoisson
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    min_entropy_bits,
    shannon_bits,
    softmax_row,
)

from relocate.model.clock_plan.planned import Planned
from relocate.model.clock_plan.planner import lived
from relocate.model.clock_plan.spec import Problem
from relocate.model.laws import attacks
from relocate.model.laws.numerics import ks_test
from relocate.model.laws.renewal import System
from relocate.model.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, figure

Floats = npt.NDArray[np.floating[Any]]
NODES = 1 << 13
CLOCK_COLOURS = {"truncated-poisson": BLUE, "poisson": ORANGE, "paper": PURPLE, "periodic": GREY}


def mttc(problem: Problem, path: Path) -> None:
    """Mean time to compromise against the hop rate, one line per attack law of the same mean; the exponential is flat."""
    mean = problem.attack.average
    laws = {
        "fixed": (attacks.Fixed(mean), BLUE),
        "Erlang-4": (attacks.Erlang(mean, 4), GREEN),
        "lognormal, σ = 1": (attacks.Lognormal(mean, 1.0), PURPLE),
        "exponential": (attacks.Exponential(mean), RED),
    }
    per_attack = np.geomspace(0.1, 10, 33)
    # Formula 3's start: from elsewhere every hop also brings attackers nearer, and no line is flat.
    beside = replace(problem.neighbours, start=1.0)
    with figure(path, 1, (4.8, 3.1)) as (axes,):
        for name, (law, colour) in laws.items():
            times = [System(Poisson(x / mean), law, beside, nodes=NODES).mttc() / mean for x in per_attack]
            axes.loglog(per_attack, times, color=colour, label=name)
        axes.set(xlim=(0.1, 10), ylim=(None, 1e4), xlabel="hops per mean attack time (Poisson clock)")
        axes.set(ylabel="mean time to compromise\n(mean attack times)", title="Hopping and the law of the attack")
        axes.legend(loc="upper left", title="attack time")


def pareto(answer: Planned, path: Path) -> None:
    """Survival against hops per hour along each clock's own dial; the planned points marked."""
    problem, mean = answer.problem, answer.problem.attack.average
    dials: dict[str, Any] = {
        "poisson": lambda stay: Poisson(1 / stay),
        "truncated-poisson": lambda stay: TruncatedPoisson(1 / mean, stay),
    }
    horizon = problem.goal.horizon
    asked = [found.hops_per_hour for found in answer.alternatives]
    with figure(path, 1, (4.8, 3.3)) as (axes,):
        for name, dial in dials.items():
            rates, survived = [], []
            for stay in 3600 / np.geomspace(min(asked) / 3, max(asked) * 2, 40):
                clock: Clock = dial(2 * stay if name == "truncated-poisson" else stay)
                rates.append(3600 / clock.mean)
                survived.append(lived(problem, clock, nodes=NODES))
            axes.semilogx(rates, survived, color=CLOCK_COLOURS[name])
        for found in answer.alternatives:
            colour = CLOCK_COLOURS[found.name]
            axes.plot(found.hops_per_hour, found.survival, "o", color=colour, label=found.name)
        axes.axhline(problem.goal.survival, color=RED, linewidth=0.9, linestyle="--")
        axes.legend(loc="upper center", bbox_to_anchor=(0.46, -0.2), ncols=4, columnspacing=1, handletextpad=0.2)
        days = horizon / 86400
        axes.set(ylim=(-0.02, 1.05), xlabel="hops per hour of operation", ylabel=f"survival over {days:g} days")
        axes.set_title("What survival costs")


def heat_map(delta: Floats, path: Path) -> None:
    """Differences between hosts, ordered so that like hosts lie together."""
    order = cluster_order(delta)
    with figure(path, 1, (4.0, 3.4)) as (axes,):
        image = axes.imshow(delta[np.ix_(order, order)], cmap="cividis", interpolation="nearest", vmin=0)
        axes.grid(visible=False)
        axes.set(title="Δ between hosts", xlabel="host, by likeness", ylabel="host, by likeness")
        assert axes.figure is not None
        axes.figure.colorbar(image, ax=axes, shrink=0.85)


def cluster_order(delta: Floats) -> npt.NDArray[np.intp]:
    """Order hosts along the minimum spanning tree, as single linkage would (R. C. Prim, 1957); shape (N,)."""
    size = delta.shape[0]
    symmetric = (delta + delta.T) / 2
    order = [0]
    reach = symmetric[0].copy()
    reach[0] = np.inf
    for _ in range(size - 1):
        nearest = int(np.argmin(reach))
        order.append(nearest)
        reach = np.minimum(reach, symmetric[nearest])
        reach[order] = np.inf
    return np.array(order)


def beta_trade_off(answer: Planned, path: Path) -> None:
    """Mean difference of a hop against beta, with the min-entropy and the informed attacker's chance that it costs."""
    matrix, where = answer.plan.fleet.matrix, answer.where
    assert matrix is not None
    attackers = max(1, round(answer.plan.fleet.attacked))
    masked = np.where(np.eye(matrix.shape[0], dtype=bool), -np.inf, matrix)
    betas = np.linspace(0, max(12.0, 2 * (where.beta or 0.0)), 49)
    gain, floor, entropy, hit = [], [], [], []
    for beta in betas:
        rows = np.array([softmax_row(row, float(beta)) for row in masked])
        gain.append(float((rows * matrix).sum(axis=1).mean()))
        floor.append(min(min_entropy_bits(row) for row in rows))
        entropy.append(float(np.mean([shannon_bits(row) for row in rows])))
        hit.append(float(np.sort(rows, axis=1)[:, -attackers:].sum(axis=1).max()))
    with figure(path, 2, (7.4, 3.1)) as (left, right):
        left.plot(betas, gain, color=BLUE, label="mean Δ of a hop")
        left.plot(betas, hit, color=RED, label="informed attacker's chance per hop")
        left.set(ylim=(0, 1.02), xlabel="β", title="a  What β buys, and its price")
        right.plot(betas, entropy, color=SKY, label="Shannon, mean host")
        right.plot(betas, floor, color=BLUE, label="min-entropy, worst host")
        right.axhline(where.floor, color=RED, linewidth=0.9, linestyle="--", label="floor")
        right.set(ylim=(0, None), xlabel="β", ylabel="bits", title="b  Entropy of the next hop")
        for axes in (left, right):
            if where.beta is not None:
                axes.axvline(where.beta, color="black", linewidth=0.7, linestyle=":")
            axes.legend(loc="best")


def timeline(answer: Planned, path: Path) -> None:
    """One simulated run of each clock: every stroke a hop, dots where a stay beside an attacker was long enough."""
    mean = answer.problem.attack.average
    share = answer.problem.neighbours.start
    until = min(12 * mean, 60 * answer.best.clock.mean)
    with figure(path, 1, (7.4, 2.3)) as (axes,):
        for row, found in enumerate(reversed(answer.alternatives)):
            rng = np.random.default_rng(answer.plan.seed)
            stays = found.clock.stays(rng, max(8, 3 * math.ceil(until / found.clock.mean)))
            hops = np.cumsum(stays)
            colour = CLOCK_COLOURS[found.name]
            axes.vlines(hops[hops <= until] / mean, row - 0.3, row + 0.3, color=colour, linewidth=0.9)
            needed = answer.problem.attack.sample(rng, stays.size)
            lost = (rng.random(stays.size) < share) & (needed <= stays) & (hops <= until)
            axes.plot(hops[lost] / mean, np.full(int(lost.sum()), row), "o", color=RED)
        names = [found.name for found in reversed(answer.alternatives)]
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, until / mean), xlabel="time (mean attack times)", title="A simulated run: one stroke a hop")


def stays(sample: list[float], clock: Clock, whose: str, path: Path) -> tuple[float, float]:
    """Histogram of the ledger's stays against a clock's law; returns Kolmogorov-Smirnov's (D, p)."""
    statistic, p = ks_test(sample, clock.cdf)
    edges = np.linspace(0, max(sample) * 1.02, 31)
    law = np.diff(clock.cdf(edges)) * len(sample)
    with figure(path, 1, (4.8, 3.1)) as (axes,):
        axes.hist(sample, edges.tolist(), color=SKY, label=f"ledger, {len(sample)} stays")
        axes.stairs(law, edges, color=BLUE, linewidth=1.5, label=f"{whose} clock, expected")
        axes.set(xlabel="stay (s)", ylabel="stays", title=f"Is the clock honest?  D = {statistic:.3f}, p = {p:.2g}")
        most = max(float(law.max()), float(np.histogram(sample, edges)[0].max()))
        axes.set_ylim(0, 1.25 * most)
        axes.legend(loc="upper right", ncols=2)
    return statistic, p
