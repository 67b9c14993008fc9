# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact survival and MTTC for any clock and any attack law (``reset``): one stay's law, then a two-state renewal equation.

A container is beside an attacker (state a) or not (state c). Each cycle it is exposed for E = S_1 + ... + S_G + L (G counts the
hops until one succeeds), frozen for D, and lands beside an attacker with a probability that depends on where it was. The cycle
beside an attacker ends in compromise if A <= E. The law of E enters as weights on a lattice of step ``delta`` that keep the
mean (second differences of E min(E, x)), so smooth laws err by O(delta^2) and atoms lose no mass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, Static

from relocate.model.laws.attacks import Attack, Fixed
from relocate.model.laws.exposure import NODES, Exposure

Floats = npt.NDArray[np.floating[Any]]

LATTICE = 1 << 16  # nodes up to the horizon; the buffers take some tens of megabytes in all


@dataclass(frozen=True)
class Neighbours:
    """Probability to land beside an attacker: from beside one (``again``), from a clean host (``into``), at the ``start``."""

    again: float
    into: float
    start: float

    @classmethod
    def of(cls, hosts: int, attacked: int, *, self_hop: bool, start_attacked: bool) -> Neighbours:
        """Destination uniform over all hosts (``self_hop``) or over all others, of which ``attacked`` are attacked."""
        p = attacked / hosts
        start = (1.0 if attacked else 0.0) if start_attacked else p
        if self_hop or hosts == 1:
            return cls(p, p, start)
        return cls(max(attacked - 1, 0) / (hosts - 1), min(attacked / (hosts - 1), 1.0), start)


@dataclass(frozen=True)
class System:
    """Clock, attack, exposure latency L, failure f, downtime D and neighbourhood; immutable."""

    clock: Clock
    attack: Attack
    neighbours: Neighbours
    latency: float = 0.0
    failure: float = 0.0
    downtime: float = 0.0
    nodes: int = NODES

    @property
    def exposure(self) -> Exposure:
        return Exposure.of(self.clock, self.latency, self.failure, self.nodes)

    def success(self) -> float:
        """P(A <= E): one exposure beside an attacker is enough for it."""
        return self.exposure.success(self.attack)

    def mttc(self) -> float:
        """Mean time to compromise; infinite where no exposure can be long enough. Generalises formulas 2 and 3."""
        near, exposure = self.neighbours, self.exposure
        q = exposure.success(self.attack)
        if math.isinf(exposure.mean):  # static: only the first host matters
            return self.attack.average if near.start == 1 else math.inf
        if q == 0 or (near.start == 0 and near.into == 0):
            return math.inf
        beside = exposure.mean_min(self.attack) + (1 - q) * self.downtime
        clean = exposure.mean + self.downtime
        # M_a = beside + (1-q)(again M_a + (1-again) M_c);  M_c = clean + into M_a + (1-into) M_c
        if near.into == 0:  # every clean host is for ever clean (N = 1 or m = 0)
            return beside / q if near.again == 1 and near.start == 1 else math.inf
        m_a = (beside + (1 - q) * (1 - near.again) * clean / near.into) / q
        return m_a + (1 - near.start) * clean / near.into

    def survival(self, times: npt.ArrayLike) -> Floats:
        """P(no compromise by t) for each t >= 0 in ``times``, shape (T,); static and never-succeeding systems exactly."""
        at = np.asarray(times, dtype=float)
        if isinstance(self.clock, Static) or self.failure == 1:
            return 1 - self.neighbours.start * self.attack.cdf(at)
        if self.success() == 0 or at.max() == 0:
            return np.ones_like(at)
        return np.clip(1 - self._loss(at), 0.0, 1.0)

    def _step(self, horizon: float) -> float:
        """Lattice step: a whole fraction of the tick for clocks with ticks, else of a fixed attack time."""
        step = horizon / LATTICE
        anchor = self.clock.lattice
        if anchor is None and isinstance(self.attack, Fixed):
            anchor = self.attack.mean
        return anchor / math.ceil(anchor / step) if anchor and anchor > step else step

    def _loss(self, at: Floats) -> Floats:
        """P(compromised by t): arrivals beside an attacker, convolved with the time from arrival to compromise."""
        exposure, near = self.exposure, self.neighbours
        delta = self._step(float(at.max()))
        size = math.ceil(at.max() / delta) + 2
        x = np.arange(size) * delta
        clean = exposure.weights(x, delta, self.downtime, None)
        beside = exposure.weights(x, delta, self.downtime, self.attack)
        arrivals = _arrivals(beside, clean, near)
        if isinstance(self.attack, Fixed):
            q = exposure.success(self.attack)
            return q * self._cumulated(arrivals, x, at - self.attack.mean)
        law = exposure.compromised_by(x, delta, self.attack)
        length = 1 << (2 * size - 1).bit_length()
        lost = np.fft.irfft(np.fft.rfft(arrivals, length) * np.fft.rfft(law, length), length)[:size]
        return np.interp(at, x, lost)

    def _cumulated(self, arrivals: Floats, x: Floats, until: Floats) -> Floats:
        """Expected arrivals beside an attacker in [0, until]; 0 for negative ``until``."""
        if self.clock.lattice:
            position = np.floor(until / x[1] + 1e-6).astype(int)
            total = np.cumsum(arrivals)[np.clip(position, 0, x.size - 1)]
        else:
            total = np.cumsum(arrivals) - arrivals / 2
            total[0] = self.neighbours.start
            total = np.interp(until, x, total)
        return np.where(until < -1e-12, 0.0, total)


def _arrivals(beside: Floats, clean: Floats, near: Neighbours) -> Floats:
    """Expected arrivals beside an attacker at each lattice point, shape of the weights.

    Solves u_a = s_a + again u_a*beside + into u_c*clean and u_c = s_c + (1-again) u_a*beside + (1-into) u_c*clean (* is
    convolution) by generating functions on a circle of radius r < 1, which damps what wraps around (J. Abate and W. Whitt,
    "Numerical inversion of probability generating functions", Oper. Res. Lett. 12, 1992). Error below 1e-9.
    """
    size = beside.size
    length = 1 << (2 * size - 1).bit_length()
    damp = np.exp(np.arange(size) * (math.log(1e-10) / length))
    ka, kc = np.fft.rfft(beside * damp, length), np.fft.rfft(clean * damp, length)
    stay_clean = 1 - (1 - near.into) * kc
    numerator = near.start * stay_clean + (1 - near.start) * near.into * kc
    denominator = (1 - near.again * ka) * stay_clean - (1 - near.again) * ka * near.into * kc
    return np.fft.irfft(numerator / denominator, length)[:size] / damp
