# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time E that a container is exposed on one host: stays until a hop succeeds, plus the latency from alert to freeze."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock

from relocate.model.laws.attacks import Attack, Fixed

Floats = npt.NDArray[np.floating[Any]]

NODES = 1 << 16


class _Compound:
    """Law of S_1 + ... + S_G, G geometric with success 1 - f, on a lattice, where no closed form exists.

    The generating function (1-f) w/(1 - f w) of the stay's lattice weights w is inverted on a damped circle. 4e-6 of the
    mean is the step at f = 0.1; what lies beyond the lattice has probability below 1e-12.
    """

    def __init__(self, clock: Clock, failure: float, nodes: int) -> None:
        self.mean = clock.mean / (1 - failure)
        # P(G > g) = f^g: g stays of at most `reach` each leave less than 1e-12 beyond.
        stays = math.ceil(math.log(1e-12) / math.log(failure)) + 1
        reach = clock.longest if math.isfinite(clock.longest) else 0.0
        span = stays * reach if reach else 40 * self.mean
        self._step = span / nodes
        x = np.arange(nodes) * self._step
        stay = _hat_weights(clock.expected_min, x, self._step)
        length = 2 * nodes
        damp = np.exp(np.arange(nodes) * (math.log(1e-10) / length))
        image = np.fft.rfft(stay * damp, length)
        weights = np.fft.irfft((1 - failure) * image / (1 - failure * image), length)[:nodes] / damp
        self._x = x
        self._below = np.clip(np.cumsum(weights) - weights / 2, 0.0, 1.0)
        self._below[0] = 0.0
        above = 1 - self._below
        self._integral = np.concatenate([[0.0], np.cumsum((above[1:] + above[:-1]) / 2)]) * self._step

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.interp(np.asarray(x, dtype=float), self._x, self._below, left=0.0, right=1.0)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return 1 - self.cdf(x)

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        return np.interp(np.maximum(x, 0.0), self._x, self._integral)


def _hat_weights(expected_min: Any, x: Floats, step: float) -> Floats:
    """Project a law on the lattice ``x``: weight i is E hat_i(E), the second difference of E min(E, x). Keeps the mean.

    Rounding leaves weights of some -1e-13 in the tail. They stay: they cancel in every sum, and clipping them would not.
    """
    m = expected_min(np.concatenate([[-step], x, [x[-1] + step]]))
    m[0] = -step  # E min(E, x) = x for x <= 0
    return np.asarray((2 * m[1:-1] - m[:-2] - m[2:]) / step)


@dataclass(frozen=True)
class Exposure:
    """Law of E. Build it with :meth:`of`, which remembers the last few (the planner asks for the same many times)."""

    clock: Clock
    latency: float
    failure: float
    nodes: int = NODES  # of the lattices; fewer are quicker and coarser

    @staticmethod
    @lru_cache(maxsize=16)
    def of(clock: Clock, latency: float = 0.0, failure: float = 0.0, nodes: int = NODES) -> Exposure:
        return Exposure(clock, latency, failure, nodes)

    @cached_property
    def _stays(self) -> Clock | _Compound:
        return self.clock.thinned(self.failure) or _Compound(self.clock, self.failure, self.nodes)

    @property
    def mean(self) -> float:
        return self._stays.mean + self.latency

    def survivor(self, x: npt.ArrayLike) -> Floats:
        """P(E >= x)."""
        over = np.asarray(x, dtype=float) - self.latency
        return np.where(over <= 0, 1.0, self._stays.survivor(over))

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        """E min(E, x)."""
        at = np.asarray(x, dtype=float)
        return np.minimum(at, self.latency) + self._stays.expected_min(np.maximum(at - self.latency, 0.0))

    def success(self, attack: Attack) -> float:
        """P(A <= E)."""
        if isinstance(attack, Fixed):
            return float(self.survivor(attack.mean))
        if math.isinf(self.mean):
            return 1.0
        x, step = self._lattice(attack)
        weights = _hat_weights(self.expected_min, x, step)
        beyond = 1 - float(weights.sum())  # so long that the attack is over, but for 1e-12
        return float(np.clip(weights @ attack.cdf(x) + beyond, 0.0, 1.0))

    def mean_min(self, attack: Attack) -> float:
        """E min(E, A)."""
        if isinstance(attack, Fixed):
            return float(self.expected_min(attack.mean))
        x, step = self._lattice(attack)
        if math.isinf(self.mean):
            return attack.average
        # E min(E, A) = E h(E) with h(x) = E min(A, x), whose slope is 1 - F_A.
        slope = 1 - attack.cdf(np.arange(x.size) * step + step / 2)
        h = np.concatenate([[0.0], np.cumsum(slope)[:-1]]) * step
        weights = _hat_weights(self.expected_min, x, step)
        return float(weights @ h + (1 - weights.sum()) * h[-1])

    def weights(self, x: Floats, step: float, shift: float, attack: Attack | None) -> Floats:
        """Lattice weights of E + ``shift``; with ``attack``, of its part {A > E} (the container gets away)."""
        if attack is None:
            return _hat_weights(lambda at: np.where(at <= shift, at, shift + self.expected_min(at - shift)), x, step)
        if not isinstance(attack, Fixed):
            return self.weights(x, step, shift, None) * (1 - attack.cdf(np.maximum(x - shift, 0.0)))
        a, q = attack.mean, self.success(attack)

        def until(at: Floats) -> Floats:
            """The integral of 1 - P(E <= u, E < a) over [0, at]: as ``expected_min``, of a law that loses mass q at a."""
            inner = at - shift
            value = self.expected_min(np.minimum(inner, a)) + np.maximum(inner - a, 0.0) * q
            return np.where(at <= shift, at, shift + value)

        return _hat_weights(until, x, step)

    def compromised_by(self, x: Floats, step: float, attack: Attack) -> Floats:
        """P(A <= min(E, x)) on the lattice, for laws of A without atoms; ends where P(A <= E) does."""
        middle = x[:-1] + step / 2
        rise = np.diff(attack.cdf(x)) * self.survivor(middle)
        return np.concatenate([[0.0], np.cumsum(rise)])

    def _lattice(self, attack: Attack) -> tuple[Floats, float]:
        span = attack.tail_from(1e-12) if math.isinf(self.mean) else min(attack.tail_from(1e-12), self.reach())
        step = span / self.nodes
        return np.arange(self.nodes + 1) * step, step

    def reach(self) -> float:
        """A time that E exceeds with probability below 1e-12, by doubling."""
        x = self.mean
        while float(self.survivor(x)) > 1e-12:
            x *= 2
        return x
