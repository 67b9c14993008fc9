# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a placement that is not uniform makes of survival: some sets of attacked hosts are visited more than others.

Which hosts are attacked is not known, so that survival is the mean over sets A of that many hosts. Under the transition
matrix P, with q the chance that an attack fits into one exposure, a container lives through n stays with the probability
u (D P)^n 1, where u is uniform and D has 1 - q on the hosts of A and 1 elsewhere. That is w r^n after a few stays, with r the
largest eigenvalue of D P. The uniform draw is one such chain too, and its survival is known exactly for any clock
(``planner.survival``). So only the quotient of both chains is taken from here, and what the approximation leaves out cancels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

SETS = 300  # of attacked hosts: all, or a sample in which each host is as often as any other
CELLS = 100_000  # hosts times sets, in large fleets
STEPS = 20_000


@dataclass(frozen=True)
class Decay:
    """By set of attacked hosts, shape (sets,): w and -log r of w r^n."""

    weight: Floats
    rate: Floats

    def survival(self, stays: float) -> float:
        return float(np.mean(np.minimum(self.weight * np.exp(-self.rate * stays), 1.0)))

    def mean_stays(self) -> float:
        """Stays until the compromise, in the mean."""
        return float(np.mean(self.weight / self.rate))

    def scaled(self, factor: float) -> Decay:
        """The decay at a q that is ``factor`` times this one's, and near it: the rate is linear in q but for q squared."""
        return Decay(self.weight, self.rate * factor)


class Placed:
    """A transition matrix, shape (N, N), with ``attackers`` attacked hosts, beside the uniform draw over the other hosts."""

    def __init__(self, transition: Floats, attackers: int, seed: int) -> None:
        hosts = transition.shape[0]
        self._hosts, self._attackers, self._p = hosts, attackers, transition
        count = max(20, min(SETS, CELLS // hosts))
        rng = np.random.default_rng(seed)
        chosen: list[npt.ArrayLike] = []
        if math.comb(hosts, attackers) <= count:
            chosen, count = list(itertools.combinations(range(hosts), attackers)), 0
        while len(chosen) < count:  # windows on a shuffled ring
            ring = rng.permutation(hosts)
            starts = np.linspace(0, hosts, min(hosts, count), endpoint=False).astype(int)
            chosen += [np.take(ring, range(start, start + attackers), mode="wrap") for start in starts]
        self.sets = len(chosen)
        self._attacked = np.zeros((hosts, self.sets))
        self._attacked[np.array(chosen).T, np.arange(self.sets)] = 1.0
        self._right = np.ones_like(self._attacked)
        self._left = np.full_like(self._attacked, 1.0 / hosts)
        self._known: dict[int, tuple[Decay, Decay]] = {}

    def quotient(self, q: float, stays: float) -> float:
        """Return survival under this placement divided by that under the uniform draw, after ``stays`` stays."""
        if q < 1e-14:
            return 1.0
        placed, uniform = self._decays(q)
        under = uniform.survival(stays)
        return placed.survival(stays) / under if under > 0 else 1.0

    def slowness(self, q: float) -> float:
        """Return the mean number of stays until a compromise, divided by that under the uniform draw."""
        if q < 1e-14:
            return 1.0
        placed, uniform = self._decays(q)
        return placed.mean_stays() / uniform.mean_stays()

    def _decays(self, q: float) -> tuple[Decay, Decay]:
        """Both, from a q within a tenth of this one: the search asks for many that are close together."""
        step = min(round(4 * math.log2(q)), -1)
        near = 2.0 ** (step / 4)
        if step not in self._known:
            self._known[step] = self._decay(near), self._uniform(near)
        placed, uniform = self._known[step]
        return placed.scaled(q / near), uniform.scaled(q / near)

    def _uniform(self, q: float) -> Decay:
        """From its two states: beside an attacker, and not."""
        n, m = self._hosts, self._attackers
        again, into = (m - 1) / (n - 1), min(m / (n - 1), 1.0)
        values, vectors = np.linalg.eig(np.diag([1 - q, 1.0]) @ np.array([[again, 1 - again], [into, 1 - into]]))
        largest = int(np.argmax(values.real))
        share = np.linalg.solve(vectors, np.ones(2))[largest] * vectors[:, largest]
        # of the characteristic polynomial at r = 1 - x, without the difference of two numbers near 1
        slope = 1 + into - (1 - q) * again
        x = 2 * q * into / (slope + math.sqrt(max(slope**2 - 4 * q * into, 0.0)))
        weight = (np.array([m / n, 1 - m / n]) @ share).real
        return Decay(np.array([weight]), np.array([-math.log1p(-min(x, 1 - 1e-12))]))

    def _decay(self, q: float) -> Decay:
        """Both eigenvectors of D P for all sets at once, by iterating (D P + I) / 2: no eigenvalue near -1 rings there."""
        stay = 1.0 - q * self._attacked
        right, left, known = self._right, self._left, np.full(self.sets, np.inf)
        for step in range(STEPS):
            right = (right + stay * (self._p @ right)) / 2
            right /= right.mean(axis=0)
            left = (left + self._p.T @ (stay * left)) / 2
            left /= left.sum(axis=0)
            if step % 8 == 7:
                # 1 - r = L (I - D P) R / L R: its error is the product of the errors of both vectors
                lost = np.einsum("ij,ij->j", left, right - stay * (self._p @ right)) / np.einsum(
                    "ij,ij->j", left, right
                )
                if np.all(np.abs(lost - known) <= 1e-5 * np.abs(lost) + 1e-15):
                    break
                known = lost
        self._right, self._left = right, left
        weight = right.mean(axis=0) * left.sum(axis=0) / np.einsum("ij,ij->j", left, right)
        return Decay(weight, -np.log1p(-np.clip(lost, 1e-300, 1 - 1e-12)))
