# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Survival over horizons of many stays: the dominant pole of the renewal equation, for any clock and attack law.

Survival's transform is N(z)/D(z); its rightmost pole z0 < 0 is real, and after a few stays S(t) = N(z0)/D'(z0) e^{z0 t} up to
terms that die out exponentially faster. For a Poisson clock and a fixed attack z0 is formula 5's Lambert W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from relocate.model.laws.attacks import Fixed
from relocate.model.laws.numerics import bisect
from relocate.model.laws.renewal import System


@dataclass(frozen=True)
class LongRun:
    """S(t) ~ weight e^{-rate t}; rate 0 where compromise cannot happen."""

    rate: float
    weight: float

    def survival(self, t: float) -> float:
        return min(1.0, self.weight * math.exp(-self.rate * t))


class _Transforms:
    """phi (cycle survived) and h (time in the cycle, uncompromised) of both states at real z <= 0."""

    def __init__(self, system: System) -> None:
        exposure, attack = system.exposure, system.attack
        self._near = system.neighbours
        nodes = system.nodes // 2
        span = exposure.reach() + system.downtime
        step = span / nodes
        if isinstance(attack, Fixed) and attack.mean > step:
            step = attack.mean / math.ceil(attack.mean / step)
        self._x = np.arange(nodes + 2) * step
        self._clean = exposure.weights(self._x, step, system.downtime, None)
        self._beside = exposure.weights(self._x, step, system.downtime, attack)
        self._fixed = attack.mean if isinstance(attack, Fixed) else None
        lost = 1 - float(self._beside.sum())
        self._hits = np.array([lost])
        if self._fixed is None:
            self._hits = np.diff(exposure.compromised_by(self._x, step, attack), append=np.nan)
            self._hits[-1] = 0.0
            # h_a is a small difference over a small z: hits and survivals must sum to 1 to the last digit.
            self._hits *= lost / self._hits.sum()

    def parts(self, z: float) -> tuple[float, float]:
        """Return (D(z), N(z)) for real ``z`` other than 0."""
        near = self._near
        decay = np.exp(-z * self._x)
        clean, beside = float(self._clean @ decay), float(self._beside @ decay)
        middle = np.array([self._fixed]) if self._fixed is not None else self._x + self._x[1] / 2
        hit = float(self._hits @ np.exp(-z * middle))
        h_a, h_c = (1 - hit - beside) / z, (1 - clean) / z
        away = 1 - near.again
        out = 1 - near.into
        determinant = (1 - near.again * beside) * (1 - out * clean) - away * beside * near.into * clean
        # Cramer's rule on (I - Phi P) S = h
        s_a = h_a * (1 - out * clean) + away * beside * h_c
        s_c = (1 - near.again * beside) * h_c + near.into * clean * h_a
        return determinant, near.start * s_a + (1 - near.start) * s_c


def long_run(system: System) -> LongRun:
    """Return the dominant pole and its residue. ValueError for a static system, whose survival does not decay so."""
    mttc = system.mttc()
    if math.isinf(mttc):
        return LongRun(0.0, 1.0)
    if math.isinf(system.exposure.mean):
        raise ValueError("a container that never moves has no renewal pole: its survival is 1 - start F_A(t)")
    if max(system.exposure.mean + system.downtime, system.attack.average) < 1e-7 * mttc:
        return LongRun(1 / mttc, 1.0)  # what is left out is of that relative size, and the root drowns in rounding
    transforms = _Transforms(system)

    def determinant(z: float) -> float:
        return transforms.parts(z)[0]

    near, far = -1e-3 / mttc, -1 / mttc
    while determinant(far) > 0:
        near, far = far, far * 1.5
    root = bisect(determinant, far, near, 1e-13)
    slope = (determinant(root * 0.997) - determinant(root * 1.003)) / (-6e-3 * root)
    return LongRun(-root, transforms.parts(root)[1] / slope)
