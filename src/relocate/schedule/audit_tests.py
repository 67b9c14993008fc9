# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The statistics of the audit: five tests of probability integral transforms, each with a p-value that is uniform when honest.

A stay S of law F becomes U = F(S-) + V (F(S) - F(S-)) with V uniform: exactly uniform on [0, 1] for every law, with atoms, on a
lattice or with a density (M. Rosenblatt, Ann. Math. Statist. 23, 1952; L. Rueschendorf, JSPI 139, 2009). So one set of tests
serves all clocks. Each takes transforms u, shape (n,), in the order of time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock

from relocate.model.laws.numerics import ks_test

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

MOST_LAGS = 10
SHUFFLES = 999  # of a permutation test: p-values down to 0.001
WIDEST, LONGEST = 64, 512  # containers and stays of each that are compared with one another
SPARSE = 5.0  # close pairs expected by chance: few enough for their number to be Poisson


def transform(
    clock: Clock, stays: Floats, rooms: Floats, tolerance: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return (u, snapped) for ``stays``, shape (n,): the transforms, and the stays with what is near an atom put onto it.

    ``rooms`` is how long each stay could have lasted and still been seen (infinite where that does not matter): a stay that is
    still running when the audit is made is in no ledger, so that long ones are rarer there than in the law. Given that it was
    seen, a stay has the law conditioned on S <= room, and u is that law's transform. Summed over the stays of a renewal
    process this is a martingale, so the tests hold although the number of stays depends on them.
    """
    snapped = snap(clock, stays, tolerance)
    below = 1.0 - clock.survivor(snapped)
    at = clock.cdf(snapped)
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = clock.cdf(np.maximum(rooms, snapped))
        u = (below + generator.random(stays.size) * np.maximum(at - below, 0.0)) / seen
    return np.clip(np.nan_to_num(u, nan=0.0), 0.0, 1.0), snapped


def snap(clock: Clock, stays: Floats, tolerance: float) -> Floats:
    """Return ``stays`` with those within ``tolerance`` of a lattice point, or of the longest stay, put onto it."""
    targets = np.full(stays.shape, clock.longest)
    if clock.lattice is not None:
        targets = np.maximum(np.rint(stays / clock.lattice), 1.0) * clock.lattice
    return np.where(np.abs(stays - targets) <= tolerance, targets, stays)


def impossible(clock: Clock, snapped: Floats) -> int:
    """Return how many stays the law cannot give: off its lattice, or where it has no probability."""
    off = np.zeros(snapped.shape, dtype=bool)
    if clock.lattice is not None:
        ticks = snapped / clock.lattice
        off |= np.abs(ticks - np.rint(ticks)) > 1e-9 * np.maximum(ticks, 1.0)
    # the smallest stay may have F = 0 in a law with a density: only what lies outside of the support counts
    off |= (clock.cdf(snapped) <= 0.0) & (clock.cdf(snapped * (1 + 1e-9) + 1e-12) <= 0.0)
    return int((off | (snapped > clock.longest)).sum())


def law(u: Floats) -> tuple[float, float]:
    """Return (D, p) of the Kolmogorov-Smirnov test for uniformity."""
    return ks_test(u, lambda x: np.clip(x, 0.0, 1.0))


def order(u: Floats, series: Integers) -> tuple[float, float, int]:
    """Return (Q, p, lags) of a portmanteau test for dependence between stays of the same container, 1 to ``lags`` apart.

    Ljung and Box's idea (Biometrika 65, 1978) with the mean and variance that u is known to have, pooled over the containers
    named by ``series``: Q is the sum of squared normalised lag products, chi-square with ``lags`` degrees of freedom. That
    number is even, for which the law has a closed form. 0 lags where no container has enough stays.
    """
    x = (u - 0.5) * math.sqrt(12.0)
    runs = [x[series == one] for one in np.unique(series)]
    # a tenth of the longest series: with more lags, the few products of the last ones are not normal enough
    most = min(MOST_LAGS, max((run.size for run in runs), default=0) // 10)
    lags = most - most % 2
    if lags == 0:
        return 0.0, 1.0, 0
    total = 0.0
    for lag in range(1, lags + 1):
        products = [run[:-lag] * run[lag:] for run in runs if run.size > lag]
        together = np.concatenate(products)
        total += float(together.sum()) ** 2 / together.size
    return total, chi_square_tail(total, lags), lags


def drift(u: Floats) -> tuple[float, float]:
    """Return (z, p) of a trend of the stays over time: u against its place in the order, two-sided."""
    place = np.arange(u.size) - (u.size - 1) / 2.0
    weight = float(place @ place)
    if weight == 0.0:
        return 0.0, 1.0
    z = float(place @ (u - 0.5)) * math.sqrt(12.0 / weight)
    return z, math.erfc(abs(z) / math.sqrt(2.0))


def repeats(u: Floats, resolution: float) -> tuple[int, float, float]:
    """Return (pairs, expected, p): stays that are equal to within ``resolution`` (of u) more often than chance allows.

    A seed used twice gives the same stays twice. With n independent u the number of pairs closer than r is about Poisson with
    mean n (n - 1) / 2 x (2 r - r^2), while that is small against n (R. N. Silverman and T. Brown, J. Appl. Probab. 15, 1978).
    """
    n = u.size
    pairs = n * (n - 1) / 2.0
    if pairs == 0:
        return 0, 0.0, 1.0
    near = min(1.0, max(SPARSE / (2.0 * pairs), resolution))  # u is below 1: with a coarse resolution all are equal
    ordered = np.sort(u)
    found = int((np.searchsorted(ordered, ordered + near, side="right") - np.arange(1, n + 1)).sum())
    expected = pairs * (2 * near - near**2)
    # where they are many, pairs that share a stay make the number vary more than a Poisson one
    spread = expected * (1.0 + 2.0 * near * n)
    if spread > 50.0:
        return found, expected, 0.5 * math.erfc((found - 0.5 - expected) / math.sqrt(2.0 * spread))
    return found, expected, poisson_tail(found, expected)


def step(u: Floats, series: Integers, generator: np.random.Generator) -> tuple[float, float, int]:
    """Return (mean correlation, p, containers): whether the k-th stays of different containers go together.

    A permutation test: the sum of products over all pairs of containers, against the same with each container's stays
    shuffled. Exact for any number of stays. 0 containers where fewer than two have two stays.
    """
    runs = [u[series == one][:LONGEST] for one in np.unique(series)]
    runs = [run for run in runs if run.size >= 2][:WIDEST]
    if len(runs) < 2:
        return 0.0, 1.0, 0
    length = max(run.size for run in runs)
    table = np.zeros((len(runs), length))
    for row, run in zip(table, runs, strict=True):
        row[: run.size] = (run - 0.5) * math.sqrt(12.0)
    sizes = np.array([run.size for run in runs])
    present = (np.arange(length)[None, :] < sizes[:, None]).sum(axis=0)
    pairs = float((present * (present - 1) / 2).sum())
    seen = _together(table)
    above = 0
    for _ in range(SHUFFLES):
        for row, size in zip(table, sizes.tolist(), strict=True):
            generator.shuffle(row[:size])
        above += _together(table) >= seen
    return seen / pairs, (1 + above) / (1 + SHUFFLES), len(runs)


def _together(table: Floats) -> float:
    """Return the sum over columns of the products of all pairs of rows."""
    return float(((table.sum(axis=0) ** 2).sum() - (table**2).sum()) / 2.0)


def chi_square_tail(x: float, degrees: int) -> float:
    """Return P(chi-square > x) for an even number of degrees of freedom: e^(-x/2) sum_{i < degrees/2} (x/2)^i / i!."""
    term = total = math.exp(-x / 2.0)
    for i in range(1, degrees // 2):
        term *= x / 2.0 / i
        total += term
    return min(1.0, total)


def poisson_tail(count: int, mean: float) -> float:
    """Return P(N >= count) for a Poisson N; summed upwards, so that small tails keep their digits."""
    if count == 0:
        return 1.0
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    total, k = 0.0, count
    while term > total * 1e-16 or k < mean:
        total += term
        k += 1
        term *= mean / k
        if term == 0.0:
            break
    return min(1.0, total)


def holm(p_values: list[float]) -> list[float]:
    """Return p-values adjusted so that the smallest is below a level with at most that probability (S. Holm, 1979)."""
    places = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(places):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
