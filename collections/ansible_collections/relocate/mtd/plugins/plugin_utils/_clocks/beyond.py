# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stays that have already lasted a while: what a scheduler draws again after a restart, when its due times are gone.

Drawing S again given S > t leaves the law of S as it was: the chance of a hop in the next second is what it would have been
without the interruption. For the memoryless clocks that is a fresh draw added to t; for the others the law's own distribution
function is inverted above t, so there is no second formula for any clock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.laws import (
    Clock,
    Entropy,
    Floats,
    GeometricStay,
    Poisson,
    Static,
)

#: Halvings of the bracket at most; it is narrow enough at a billionth of the stay.
STEPS = 60
NARROW = 1e-9
DOUBLINGS = 200


def stays_beyond(clock: Clock, source: Entropy, elapsed: npt.ArrayLike) -> Floats:
    """Return stays given that each exceeds its ``elapsed``, shape (n,); ``elapsed`` itself where no longer stay can be.

    At ``elapsed`` 0 this is the clock's ordinary draw.
    """
    passed = np.maximum(np.asarray(elapsed, dtype=float), 0.0)
    if not passed.any() or isinstance(clock, Static):
        return clock.stays(source, passed.size)
    if isinstance(clock, Poisson):
        return passed + clock.stays(source, passed.size)
    if isinstance(clock, GeometricStay):
        return _on_the_lattice(clock, source, passed)
    return _inverted(clock, source, passed)


def _on_the_lattice(clock: GeometricStay, source: Entropy, passed: Floats) -> Floats:
    """The ticks gone by are forgotten; a clock that always fires at its first tick is overdue after it."""
    step = clock.lattice or 1.0
    ticks = np.floor(passed / step * (1 + 1e-12))
    fresh = ticks * step + clock.stays(source, passed.size)
    return np.where(passed >= clock.longest, passed, fresh)


def _inverted(clock: Clock, source: Entropy, passed: Floats) -> Floats:
    """Return the smallest x with P(S > x) <= V P(S > t), V uniform on (0, 1], by bisection above t."""
    share = 1.0 - source.random(passed.size)
    above = 1.0 - clock.cdf(passed)
    target = share * above
    low = passed.copy()
    if np.isfinite(clock.longest):
        high = np.maximum(passed, clock.longest)
    else:
        width = np.full_like(passed, clock.mean)
        for _ in range(DOUBLINGS):
            short = 1.0 - clock.cdf(passed + width) > target
            if not short.any():
                break
            width = np.where(short, 2 * width, width)
        high = passed + width
    for _ in range(STEPS):
        if np.all(high - low <= NARROW * high):
            break
        middle = 0.5 * (low + high)
        over = 1.0 - clock.cdf(middle) > target
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.where(above <= 0, passed, high)
