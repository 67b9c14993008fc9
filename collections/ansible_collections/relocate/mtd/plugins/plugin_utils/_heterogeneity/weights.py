# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of Δ: given or equal. C(fitting) fits them to the vulnerability reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.entropy import FloatArray

#: How far the sum of given weights may be from 1: 1/3 written with six digits is welcome.
_SUM_TOLERANCE = 1.0e-5


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
