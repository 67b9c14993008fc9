# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Closed forms of "what it buys", one function each, numbered as in docs/model.md.

Symbols: N hosts, m of them attacked, p = m/N; A the time an attack needs beside its target, G*(s) = E e^{-sA}; S the stay,
lambda the rate of a Poisson clock; L exposure latency (alert to freeze); f the probability that a hop fails; D downtime.
Progress is lost on a hop (``reset``, the paper's rule). Times share one unit, rates are per that unit. Formulas that only
check others are in tests/unit/relocate/model/laws/oracles.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from relocate.model.laws.attacks import Attack
from relocate.model.laws.numerics import lambert_w0

Floats = npt.NDArray[np.floating[Any]]


def success_per_stay(rate: float, attack: Attack) -> float:
    """Formula 1: P(an attack succeeds in one stay) = G*(lambda) under a Poisson clock; resisted = 1 - G*(lambda)."""
    return float(attack.transform(rate).real)


def hops_per_time(mean_stay: float, downtime: float = 0.0, latency: float = 0.0, failure: float = 0.0) -> float:
    """Formula 6: completed hops per unit time, 1/(E S/(1-f) + L + D); with L = f = 0 it is 1/(E S + D)."""
    return 0.0 if failure == 1 else 1 / (mean_stay / (1 - failure) + latency + downtime)


def mttc_no_self_hop(hosts: int, attacked: int, rate: float, attack: Attack) -> float:
    """Formula 3: MTTC = N(1-g)/(m lambda g), g = G*(lambda): Poisson clock, never the same host, start beside an attacker.

    For exponential A with rate mu it is N/(m mu) whatever lambda: relocation buys nothing against a memoryless attack.
    """
    g = success_per_stay(rate, attack)
    return hosts * (1 - g) / (attacked * rate * g)


def chase_mttc(chase_rate: float, attack_rate: float, clock_rate: float) -> float:
    """Formula 4: MTTC = 1/theta + 1/mu + lambda/(theta mu): the attacker re-co-locates in Exp(theta), attacks in Exp(mu)."""
    return 1 / chase_rate + 1 / attack_rate + clock_rate / (chase_rate * attack_rate)


def chase_survival(chase_rate: float, attack_rate: float, clock_rate: float, t: float, beside: bool = False) -> float:
    """Formula 4's law: two exponentials, roots of s^2 + (theta + mu + lambda) s + theta mu. ``beside``: co-located at 0."""
    theta, mu, rate = chase_rate, attack_rate, clock_rate
    total = theta + mu + rate
    root = math.sqrt(total * total - 4 * theta * mu)
    slow, fast = (-total + root) / 2, (-total - root) / 2
    initial_slope = -mu if beside else 0.0  # S(0) = 1, S'(0) = minus the hazard at the start
    weight = (initial_slope - fast) / (slow - fast)
    return weight * math.exp(slow * t) + (1 - weight) * math.exp(fast * t)


def survival_pole(rate: float, attack_time: float, p: float, t: float) -> float:
    """Formula 5 for fixed a and large t: z0 = W0(-a lambda q)/a, S ~ (1 + z0/lambda)/(1 + a z0) e^{z0 t}."""
    q = p * math.exp(-rate * attack_time)
    z0 = lambert_w0(-attack_time * rate * q) / attack_time
    return (1 + z0 / rate) / (1 + attack_time * z0) * math.exp(z0 * t)


def leak_mean(channel_rate: float, horizon: float, p: float) -> float:
    """Formula 7: mean leaked information K H m/N, for every clock: relocation spreads it, and does not lessen it."""
    return channel_rate * horizon * p


def leak_variance(
    channel_rate: float, horizon: float, hosts: int, attacked: int, rate: float, self_hop: bool = False
) -> float:
    """Formula 7: K^2 p(1-p) 2/r^2 (rH - 1 + e^{-rH}); r = lambda, without self-hops lambda N/(N-1). Uniform start, D = 0.

    rate 0 is the static container, whose variance K^2 p(1-p) H^2 is the largest.
    """
    p = attacked / hosts
    scale = channel_rate**2 * p * (1 - p)
    r = rate if self_hop else rate * hosts / (hosts - 1)
    x = r * horizon
    if x < 1e-4:  # the difference below loses its digits; its series is 1/2 - x/6
        return scale * horizon**2 * (1 - x / 3)
    return scale * 2 / r**2 * (x - 1 + math.exp(-x))


def informed_hit(row: npt.ArrayLike, attackers: int) -> float:
    """Formula 8: an attacker who knows P sits on the ``attackers`` likeliest hosts: the sum of the largest P_sj."""
    ordered = np.sort(np.asarray(row, dtype=float))[::-1]
    return float(ordered[:attackers].sum())


def periodic_survival(period: float, attack: Attack, t: float) -> float:
    """PyMTDEvaluator's model: 1 host, periodic trigger: (1 - F(tau))^floor(t/tau) (1 - F(t mod tau)).

    This is *survival*; the published figure for tau = 5.5 h, Erlang-4 of mean 24 h, t = 48 h is its complement.
    """
    whole = math.floor(t / period + 1e-12)
    rest = max(t - whole * period, 0.0)
    return float((1 - attack.cdf(period)) ** whole * (1 - attack.cdf(rest)))
