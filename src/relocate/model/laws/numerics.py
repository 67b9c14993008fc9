# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numerical tools the model needs, each a few lines and with its source: Lambert W, intervals, tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

Z95 = 1.959963984540054


def lambert_w0(x: float) -> float:
    """Return W0(x), the principal solution of w e^w = x, for x >= -1/e, by Halley's iteration.

    Source: R. M. Corless et al., "On the Lambert W function", Adv. Comput. Math. 5 (1996), eq. 5.9. ValueError below -1/e.
    """
    if x < -1 / math.e:
        raise ValueError(f"W0 is real from -1/e = -0.3679 on, and the argument is {x:g}.")
    w = math.log1p(x) if x > -0.25 else -1 + math.sqrt(max(0.0, 2 * (math.e * x + 1)))
    for _ in range(64):
        e = math.exp(w)
        f = w * e - x
        if f == 0 or w == -1:
            break
        step = f / (e * (w + 1) - (w + 2) * f / (2 * w + 2))
        w -= step
        if abs(step) <= 1e-15 * max(1.0, abs(w)):
            break
    return w


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion (E. B. Wilson, JASA 22, 1927); (0, 1) for no trials."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def kolmogorov_p(statistic: float, samples: int) -> float:
    """Return the p-value of a one-sample Kolmogorov-Smirnov statistic D.

    Kolmogorov's limit with Stephens' small-sample correction (M. A. Stephens, JRSS B 32, 1970). Conservative for laws with
    atoms. ``samples`` must be positive.
    """
    root = math.sqrt(samples)
    x = (root + 0.12 + 0.11 / root) * statistic
    if x < 0.3:  # the alternating series converges badly where the answer is 1 to five digits
        return 1.0
    total = sum((-1) ** (j - 1) * math.exp(-2 * j * j * x * x) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def ks_test(sample: npt.ArrayLike, cdf: Callable[[Floats], Floats]) -> tuple[float, float]:
    """Return (D, p) of the one-sample Kolmogorov-Smirnov test of ``sample``, shape (n,), against ``cdf``."""
    ordered = np.sort(np.asarray(sample, dtype=float))
    n = ordered.size
    if n == 0:
        raise ValueError("a Kolmogorov-Smirnov test needs at least one stay")
    value = cdf(ordered)
    steps = np.arange(n + 1) / n
    statistic = float(max((steps[1:] - value).max(), (value - steps[:-1]).max()))
    return statistic, kolmogorov_p(statistic, n)


def bisect(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-12) -> float:
    """Return a root of ``function`` between ``low`` and ``high``, where it changes sign (relative ``tolerance``)."""
    sign = function(low) > 0
    if sign == (function(high) > 0):
        raise ValueError(f"no change of sign between {low:g} and {high:g}")
    while abs(high - low) > tolerance * max(abs(low), abs(high)):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if (function(middle) > 0) == sign:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
