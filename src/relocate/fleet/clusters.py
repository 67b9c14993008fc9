# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An order of hosts in which likeness is neighbourhood: average linkage, turned so that the nearest ends touch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cluster_order(distance: ArrayLike) -> list[int]:
    """Return the leaves of an average-linkage tree from left to right.

    Of the four ways to put two clusters side by side, the one whose touching ends are nearest is taken; ties go to the lower
    index, so the order is the same every time.

    :param distance: shape (n, n); of an asymmetric one the mean of both directions is taken, of a signed one the magnitude.
    :raises ValueError: not square, or not finite.
    """
    given = np.asarray(distance, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not np.isfinite(given).all():
        raise ValueError(f"a distance matrix is square and finite, not of the shape {given.shape}")
    size = len(given)
    if size == 0:
        return []
    pairwise = (np.abs(given) + np.abs(given.T)) / 2.0
    leaves: dict[int, list[int]] = {index: [index] for index in range(size)}
    work = pairwise.copy()
    np.fill_diagonal(work, np.inf)
    for _ in range(size - 1):
        low, high = sorted(divmod(int(np.argmin(work)), size))
        # Lance and Williams' update: the merged cluster keeps the lower index, the other is out of the game
        left, right = len(leaves[low]), len(leaves[high])
        mixed = (left * work[low] + right * work[high]) / (left + right)
        work[low, :] = work[:, low] = mixed
        work[high, :] = work[:, high] = np.inf
        work[low, low] = np.inf
        leaves[low] = _join(leaves[low], leaves.pop(high), pairwise)
    return leaves[0]


def _join(left: list[int], right: list[int], distance: NDArray[np.float64]) -> list[int]:
    ways = ((left, right), (left, right[::-1]), (left[::-1], right), (left[::-1], right[::-1]))
    return min(((a + b, float(distance[a[-1], b[0]])) for a, b in ways), key=lambda way: way[1])[0]
