# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of Δ: given, equal, or fitted to the vulnerability reports."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.entropy import FloatArray

if TYPE_CHECKING:
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet

#: How far the sum of given weights may be from 1: 1/3 written with six digits is welcome.
_SUM_TOLERANCE = 1.0e-5

#: Distinct profiles taken into the fit; beyond, an even sample of them (pairs grow with the square).
_FIT_PROFILES = 300


class WeightError(ValueError):
    """The weights are unknown, negative, not numbers, or do not sum to 1. The message names the key."""


@dataclass(frozen=True)
class Weights:
    """w_c, w_n, w_s and w_v: dimensionless, none negative, sum 1. ``how``: given, equal or fitted."""

    c: float
    n: float
    s: float
    v: float = 0.0
    how: str = "given"

    def __post_init__(self) -> None:
        for name, value in self.values().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise WeightError(f"w_{name} is {value!r}, not a number")
            if value < 0:
                raise WeightError(f"w_{name} is {value:g}: a weight must not be negative")
        total = sum(self.values().values())
        if abs(total - 1.0) > _SUM_TOLERANCE:
            listed = ", ".join(f"w_{name} = {value:g}" for name, value in self.values().items())
            raise WeightError(f"the weights sum to {total:g} and not to 1: {listed}")

    @classmethod
    def given(cls, options: Mapping[str, Any]) -> Weights:
        """Make weights from the keys ``w_c``, ``w_n``, ``w_s``, ``w_v``; a missing one is 0.

        :raises WeightError: an unknown key, or values that are no weights.
        """
        known = {"w_c", "w_n", "w_s", "w_v"}
        unknown = sorted(set(options) - known)
        if unknown:
            raise WeightError(f"{unknown[0]}: there is no such weight; use {', '.join(sorted(known))}")
        return cls(**{key[2:]: options.get(key, 0.0) for key in sorted(known)})

    @classmethod
    def equal(cls, with_flaws: bool = False) -> Weights:
        """Give every term the same weight; V only takes part where there are vulnerability reports."""
        if with_flaws:
            return cls(0.25, 0.25, 0.25, 0.25, how="equal")
        return cls(1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, how="equal")

    @classmethod
    def fitted(cls, fleet: Fleet) -> Weights:
        """Fit w_c, w_n, w_s ≥ 0 so that they predict V best: non-negative least squares over pairs of profiles.

        The fitted weights, scaled to sum 1, say which differences go with *not* sharing vulnerabilities; V itself then
        weighs 0. Every ordered pair counts as often as there are hosts with those two profiles.

        :raises FactError: a host has no vulnerability report.
        :raises WeightError: the fleet cannot tell (one configuration, or V does not grow with any of C, N, S).
        """
        fleet.require(cls(0.0, 0.0, 0.0, 1.0))
        size = len(fleet.counts)
        if size < 2:
            raise WeightError("weights cannot be fitted: all hosts have the same profile; give them or use equal")
        chosen = np.unique(np.linspace(0, size - 1, min(size, _FIT_PROFILES)).round().astype(int))
        differences, targets, multiplicity = [], [], []
        for number in chosen:
            parts = fleet.parts(int(number))
            others = chosen[chosen != number]
            differences.append(np.stack([parts[term][others] for term in ("c", "n", "s")], axis=1))
            targets.append(parts["v"][others])
            multiplicity.append(float(fleet.counts[number]) * fleet.counts[others])
        weight = np.sqrt(np.concatenate(multiplicity))
        solution = non_negative_least_squares(
            np.concatenate(differences) * weight[:, None], np.concatenate(targets) * weight
        )
        total = float(solution.sum())
        if total <= 0:
            raise WeightError(
                "weights cannot be fitted: the vulnerability reports do not differ with C, N or S; "
                "give them or use equal"
            )
        c, n, s = (float(value) / total for value in solution)
        return cls(c, n, s, how="fitted")

    def values(self) -> dict[str, float]:
        """Return the weights by term."""
        return {"c": self.c, "n": self.n, "s": self.s, "v": self.v}

    def of(self, term: str) -> float:
        """Return one term's weight."""
        return self.values()[term]

    def combine(self, parts: Mapping[str, FloatArray]) -> FloatArray:
        """Return w_c·C + w_n·N + w_s·S (+ w_v·V where there is one), summed in the order of eq. 3.3."""
        total = self.c * parts["c"] + self.n * parts["n"] + self.s * parts["s"]
        return total + self.v * parts["v"] if self.v and "v" in parts else total


def non_negative_least_squares(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """Return argmin_{x ≥ 0} ‖Ax − b‖₂ for a handful of unknowns, exactly: the best of all 2^k supports.

    :param matrix: shape (m, k), k small. :param target: shape (m,).
    """
    unknowns = matrix.shape[1]
    gram, moment = matrix.T @ matrix, matrix.T @ target
    best, best_value = np.zeros(unknowns), 0.0
    for size in range(1, unknowns + 1):
        for support in itertools.combinations(range(unknowns), size):
            kept = list(support)
            part = np.linalg.lstsq(gram[np.ix_(kept, kept)], moment[kept], rcond=None)[0]
            if (part < 0).any():
                continue
            # ‖Ax − b‖² − ‖b‖² = xᵀGx − 2xᵀm
            value = float(part @ gram[np.ix_(kept, kept)] @ part - 2.0 * part @ moment[kept])
            if value < best_value - 1e-12 * max(1.0, abs(best_value)):
                best, best_value = np.zeros(unknowns), value
                best[kept] = part
    return best
