# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the simulated container goes next: one draw for many trials at once.

Rows of probabilities come from the collection's own softmax and paper rules; here they become alias tables (A. J. Walker, ACM
TOMS 3, 1977), with which a draw costs one uniform number and two look-ups whatever the number of hosts.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    beta_for_floor,
    paper_row,
    softmax_row,
)

Floats = npt.NDArray[np.floating[Any]]
Hosts = npt.NDArray[np.integer[Any]]


class Placement(abc.ABC):
    """Draws the next host of every trial from the present one."""

    @abc.abstractmethod
    def next(self, rng: np.random.Generator, host: Hosts) -> Hosts:
        """Return the next hosts, shape and type of ``host``."""

    #: Whether all hosts are alike to this policy, so that it does not matter which of them are attacked.
    exchangeable = False


class Stay(Placement):
    """A fleet of one host: there is nowhere else to go."""

    exchangeable = True

    def next(self, rng: np.random.Generator, host: Hosts) -> Hosts:
        return host


class UniformAll(Placement):
    """Any host, the present one included."""

    exchangeable = True

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts

    def next(self, rng: np.random.Generator, host: Hosts) -> Hosts:
        return rng.integers(0, self._hosts, host.size, dtype=host.dtype)


class UniformOthers(Placement):
    """Any host but the present one."""

    exchangeable = True

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts

    def next(self, rng: np.random.Generator, host: Hosts) -> Hosts:
        drawn = rng.integers(0, self._hosts - 1, host.size, dtype=host.dtype)
        drawn += drawn >= host
        return drawn


class Chain(Placement):
    """Any transition matrix P, shape (N, N), rows summing to 1, by alias tables."""

    def __init__(self, transition: Floats) -> None:
        size = transition.shape[0]
        self._hosts = size
        keep, other = np.empty((size, size)), np.empty((size, size), dtype=np.uint16)
        for row in range(size):
            keep[row], other[row] = alias_table(transition[row])
        self._keep, self._other = keep.ravel(), other.ravel()

    def next(self, rng: np.random.Generator, host: Hosts) -> Hosts:
        position = rng.random(host.size)
        position *= self._hosts
        column = position.astype(host.dtype)
        position -= column  # what is left of the same uniform decides between the column and its alias
        cell = host * np.int32(self._hosts)  # 32 bits: MATRIX_LIMIT squared fits
        cell += column
        return np.where(position < self._keep.take(cell), column, self._other.take(cell))


def alias_table(row: Floats) -> tuple[Floats, Hosts]:
    """Return (keep, other), shape (n,) each: draw a column uniformly, keep it with ``keep``, else take ``other``."""
    size = row.size
    keep = row * (size / row.sum())
    other = np.arange(size, dtype=np.uint16)
    small = [i for i in range(size) if keep[i] < 1]
    large = [i for i in range(size) if keep[i] >= 1]
    while small and large:
        poor, rich = small.pop(), large.pop()
        other[poor] = rich
        keep[rich] -= 1 - keep[poor]
        (small if keep[rich] < 1 else large).append(rich)
    keep[small + large] = 1.0  # what rounding left over
    return keep, other


def transition_matrix(
    policy: str, delta: Floats, *, beta: float | None = None, min_entropy_bits: float | None = None
) -> Floats:
    """Return P, shape (N, N), for ``softmax`` (by beta, or by a floor that each row keeps), ``paper`` and ``argmax``.

    ``delta`` is the matrix of differences, row = present host; its diagonal is not used: a container never hops to itself.
    """
    size = delta.shape[0]
    result = np.zeros((size, size))
    for row in range(size):
        masked = np.array(delta[row], dtype=float)
        masked[row] = -np.inf
        if policy == "softmax":
            strength = beta if min_entropy_bits is None else beta_for_floor(masked, min_entropy_bits)
            result[row] = softmax_row(masked, strength or 0.0)
        elif policy == "paper":
            result[row] = paper_row(masked)
        else:
            result[row, int(np.argmax(masked))] = 1.0
    return result
