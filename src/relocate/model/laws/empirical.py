# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stays as they were measured, in the shape of a clock: what ``--live`` puts in the place of the theoretical law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, Entropy

from relocate.errors import Refusal
from relocate.model.measured import Measured

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Empirical(Clock):
    """The empirical distribution of ``sample``, ascending stays; drawing resamples."""

    sample: tuple[float, ...]
    kind: ClassVar[str] = "measured"

    @classmethod
    def of(cls, measured: Measured) -> Empirical:
        """Build it from a ledger. Refusal where the ledger tells fewer than two stays."""
        if len(measured.stays) < 2:
            raise Refusal(
                f"The ledger {measured.path} tells {len(measured.stays)} stays (stay_ms, or started_at of two hops of one "
                "container): at least 2 are needed to show them; let the scheduler run longer."
            )
        return cls(tuple(sorted(measured.stays)))

    @property
    def count(self) -> int:
        return len(self.sample)

    def scaled(self, factor: float) -> Empirical:
        """Return the law of ``factor`` times the stay."""
        return Empirical(tuple(stay * factor for stay in self.sample))

    def stays(self, source: Entropy, size: int) -> Floats:
        return np.asarray(self.sample)[(source.random(size) * self.count).astype(np.intp)]

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return np.asarray(1 - np.searchsorted(self.sample, np.asarray(x, dtype=float), side="left") / self.count)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.asarray(np.searchsorted(self.sample, np.asarray(x, dtype=float), side="right") / self.count)

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        at = np.asarray(x, dtype=float)
        below = np.searchsorted(self.sample, at, side="right")
        sums = np.concatenate([[0.0], np.cumsum(self.sample)])
        return np.asarray((sums[below] + (self.count - below) * np.maximum(at, 0.0)) / self.count)

    @property
    def mean(self) -> float:
        return float(np.mean(self.sample))

    @property
    def longest(self) -> float:
        return self.sample[-1]
