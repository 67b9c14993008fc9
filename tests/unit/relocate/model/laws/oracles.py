# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Formulas that check others, and that the product itself does not need. Symbols and numbers as in docs/model.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from relocate.model.laws.attacks import Attack
from relocate.model.laws.closed_forms import mttc_no_self_hop

Complexes = npt.NDArray[np.complexfloating[Any, Any]]
Transform = Callable[[Complexes], Complexes]


def talbot(transform: Transform, t: float, nodes: int = 24) -> float:
    """Invert a Laplace transform at time ``t`` > 0 on Talbot's fixed contour.

    Source: J. Abate and P. P. Valko, "Multi-precision Laplace transform inversion", Int. J. Numer. Meth. Engng 60 (2004):
    s(theta) = r theta (cot theta + i), r = 2M/5t. In double precision the best M is near 24; more is not better. For
    transforms whose singularities are on or near the negative real axis; not for a pure delay e^{-za} with a near t.
    """
    r = 2 * nodes / (5 * t)
    theta = np.arange(1, nodes) * np.pi / nodes
    cot = 1 / np.tan(theta)
    s = r * theta * (cot + 1j)
    sigma = theta + (theta * cot - 1) * cot
    real_axis = 0.5 * np.exp(r * t) * transform(np.array([r + 0j]))[0].real
    rest = np.real(np.exp(t * s) * transform(s) * (1 + 1j * sigma)).sum()
    return float(r / nodes * (real_axis + rest))


def success_per_stay_exposed(rate: float, attack_time: float, latency: float = 0.0, failure: float = 0.0) -> float:
    """Formula 6: e^{-lambda (1-f) (a - L)}; 1 where a <= L, for no clock can then help. Fixed attack time a."""
    return math.exp(-rate * (1 - failure) * max(attack_time - latency, 0.0))


def mttc_any_clock(success: float, mean_stay: float, mean_min: float, p: float) -> float:
    """Formula 2: MTTC = [(1-p) E S + p E min(S,A)] / (p P(A<=S)), destination drawn anew from all hosts each time.

    ``success`` is P(A <= S), ``mean_min`` is E min(S, A). Infinite where success or p is 0.
    """
    if success == 0 or p == 0:
        return math.inf
    return ((1 - p) * mean_stay + p * mean_min) / (p * success)


def mttc_no_self_hop_uniform_start(hosts: int, attacked: int, rate: float, attack: Attack) -> float:
    """Formula 3 from a uniform start: add (1 - m/N) times the mean time to first reach an attacked host.

    From a clean host every hop reaches one with probability m/(N-1): (N-1)/(m lambda) in the mean.
    """
    to_attacked = (hosts - 1) / (attacked * rate)
    return mttc_no_self_hop(hosts, attacked, rate, attack) + (1 - attacked / hosts) * to_attacked


def survival_transform(z: Complexes, rate: float, attack: Attack, p: float) -> Complexes:
    """Formula 5: S^(z) = (1 - p g)/(z + lambda p g), g = G*(z + lambda)."""
    g = attack.transform(z + rate)
    return (1 - p * g) / (z + rate * p * g)


def survival_talbot(rate: float, attack: Attack, p: float, t: float) -> float:
    """Formula 5 inverted on Talbot's contour: for exponential and Erlang A (rational G*); 1 at t = 0."""
    return 1.0 if t <= 0 else talbot(lambda z: survival_transform(z, rate, attack, p), t)


def survival_fixed(rate: float, attack_time: float, p: float, t: float) -> float:
    """Formula 5 for fixed a: 1 + sum_{j>=1, ja<=t} (-q)^j {[l(t-ja)]^j/j! + [l(t-ja)]^{j-1}/(j-1)!}, q = p e^{-la}.

    The terms alternate and cancel: ValueError for lambda t > 30, where ``survival_pole`` is the form to use.
    """
    if rate * t > 30:
        raise ValueError(f"the series loses its digits at lambda t = {rate * t:g}: use survival_pole beyond 30.")
    q = p * math.exp(-rate * attack_time)
    total = 1.0
    j = 1
    while j * attack_time <= t:
        x = rate * (t - j * attack_time)
        previous = x ** (j - 1) / math.factorial(j - 1)
        total += (-q) ** j * (previous * x / j + previous)
        j += 1
    return total
