# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a row of differences to a distribution over next hosts, and the entropies that say how predictable it is.

Entropies are in bits. A row is a one-dimensional array with one Δ per host; an entry of ``-inf`` marks a host that may
not be drawn (the source itself, an excluded host) and always gets probability 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: ``beta_for_floor`` never answers more: above it the softmax over differences in [0, 1] is an argmax in all but name.
BETA_LIMIT = 1.0e6

#: Relative accuracy of the found β; it lies below the exact one by at most that.
_BETA_TOLERANCE = 1.0e-12

#: Bits by which the min-entropy at the found β may exceed the floor.
_FLOOR_TOLERANCE = 1.0e-12


def _row(delta: ArrayLike) -> FloatArray:
    row = np.asarray(delta, dtype=np.float64)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(f"a row of differences needs one dimension and at least one host, not the shape {row.shape}")
    if np.isnan(row).any() or np.isposinf(row).any():
        place = int(np.flatnonzero(np.isnan(row) | np.isposinf(row))[0])
        raise ValueError(f"the difference at index {place} is {row[place]}, not a number")
    if np.isneginf(row).all():
        raise ValueError("no host may be drawn: every difference in the row is -inf")
    return row


def _counts(counts: ArrayLike | None, size: int) -> FloatArray:
    if counts is None:
        return np.ones(size)
    number = np.asarray(counts, dtype=np.float64)
    if number.shape != (size,) or not (number >= 0).all() or not np.isfinite(number).all():
        raise ValueError(f"counts need {size} finite numbers, none of them negative")
    return number


def softmax_row(delta: ArrayLike, beta: float, counts: ArrayLike | None = None) -> FloatArray:
    """Return P_j = e^{βΔ_j} / Σ_k e^{βΔ_k}, the distribution of the next host.

    Among all distributions with the same Shannon entropy it has the largest mean Δ (Gibbs' variational principle).

    :param delta: shape (n,), dimensionless; ``-inf`` where a host may not be drawn.
    :param beta: inverse temperature, dimensionless. 0 is uniform, negative prefers likeness, ``inf`` is uniform over
        the maxima.
    :param counts: shape (n,), how many hosts an entry stands for (default: one each). The answer is then the
        probability of *one* of those hosts, so that ``answer @ counts`` is 1.
    :returns: shape (n,), sums to 1 over the hosts.
    :raises ValueError: NaN or +inf in the row, no host that may be drawn, β that is NaN.
    """
    row = _row(delta)
    number = _counts(counts, row.size)
    if math.isnan(beta):
        raise ValueError("beta is not a number")
    allowed = np.isfinite(row) & (number > 0)
    if not allowed.any():
        raise ValueError("no host may be drawn: every entry of the row is excluded")
    result = np.zeros_like(row)
    reference = row[allowed].max() if beta >= 0 else row[allowed].min()
    gap = row[allowed] - reference
    # 0 * inf is NaN: at the maximum itself the exponent is 0 whatever β is
    exponent = np.where(gap == 0.0, 0.0, np.multiply(gap, beta, out=np.zeros_like(gap), where=gap != 0.0))
    result[allowed] = np.exp(exponent)
    return result / float(result @ number)


def paper_row(delta: ArrayLike) -> FloatArray:
    """Return P_j ∝ max(Δ_j, 0): "the higher Δ is, the more likely for RELOCATE to select" (the paper, section 3).

    From the host with the highest potential every Δ is ≤ 0 and the paper says nothing; the draw is then uniform over
    the hosts that may be drawn.

    :param delta: shape (n,), signed and dimensionless (eq. 3.3); ``-inf`` where a host may not be drawn.
    :returns: shape (n,), sums to 1.
    :raises ValueError: NaN or +inf in the row, or no host that may be drawn.
    """
    row = _row(delta)
    share = np.maximum(row, 0.0)
    total = float(share.sum())
    if total > 0.0:
        return share / total
    allowed = np.isfinite(row).astype(np.float64)
    return allowed / allowed.sum()


def shannon_bits(probability: ArrayLike, counts: ArrayLike | None = None) -> float:
    """Return H = −Σ p log₂ p in bits; 0 log 0 is 0.

    :param probability: shape (n,), sums to 1 (with ``counts``: times the counts).
    :param counts: shape (n,), how many hosts have each probability.
    """
    share = np.asarray(probability, dtype=np.float64)
    number = _counts(counts, share.size)
    held = (share > 0.0) & (number > 0)
    return float(-(share[held] * np.log2(share[held]) * number[held]).sum()) + 0.0


def min_entropy_bits(probability: ArrayLike) -> float:
    """Return −log₂ max_j p_j in bits: what an attacker who knows the distribution still has to guess.

    :param probability: shape (n,), sums to 1.
    """
    return -math.log2(float(np.max(np.asarray(probability, dtype=np.float64)))) + 0.0


def effective_number(bits: float) -> float:
    """Return 2^H, the number of equally likely things that has the entropy ``bits`` (Hill number of order 1)."""
    return float(2.0**bits)


def beta_for_floor(delta: ArrayLike, min_entropy_bits: float, counts: ArrayLike | None = None) -> float:
    """Return the largest β ≥ 0 whose softmax keeps the next hop's min-entropy at or above a floor.

    The min-entropy log₂ Σ_j e^{−β(Δ_max − Δ_j)} falls monotonically with β from log₂ n to log₂ (number of maxima), so
    bisection finds it. Where even that limit lies above the floor, ``BETA_LIMIT`` is returned.

    :param delta: shape (n,), dimensionless; ``-inf`` where a host may not be drawn.
    :param min_entropy_bits: the floor, in bits; above 0 (a floor of 0 would let the draw become an argmax, which ends
        in a 2-cycle under any symmetric distance) and at most log₂ of the number of hosts that may be drawn.
    :param counts: shape (n,), how many hosts an entry stands for.
    :raises ValueError: a floor outside that range, or a row ``softmax_row`` refuses.
    """
    row = _row(delta)
    number = _counts(counts, row.size)
    allowed = np.isfinite(row) & (number > 0)
    hosts = float(number[allowed].sum())
    if hosts < 1:
        raise ValueError("no host may be drawn: every entry of the row is excluded")
    if not min_entropy_bits > 0.0:
        raise ValueError(
            f"the min-entropy floor is {min_entropy_bits} bits: it must be above 0, or the choice becomes an argmax"
        )
    ceiling = math.log2(hosts)
    if min_entropy_bits > ceiling + _FLOOR_TOLERANCE:
        raise ValueError(
            f"a min-entropy floor of {min_entropy_bits:g} bits needs at least {math.ceil(2**min_entropy_bits)} hosts "
            f"to choose from and there are {hosts:g} (at most {ceiling:.6g} bits): lower the floor or add hosts"
        )
    gap = row[allowed].max() - row[allowed]
    weight = number[allowed]

    def entropy(beta: float) -> float:
        return math.log2(float(np.exp(-beta * gap) @ weight))

    if entropy(BETA_LIMIT) >= min_entropy_bits:
        return BETA_LIMIT
    low, high = 0.0, 1.0
    while entropy(high) >= min_entropy_bits:
        low, high = high, high * 2.0
    while high - low > _BETA_TOLERANCE * high:
        middle = 0.5 * (low + high)
        if entropy(middle) >= min_entropy_bits:
            low = middle
        else:
            high = middle
    return low


def stationary(transition: ArrayLike) -> FloatArray:
    """Return the stationary distribution π = πP of a hop chain.

    :param transition: shape (n, n), rows sum to 1.
    :returns: shape (n,), sums to 1. A chain with several closed classes has many: the least-squares one is returned.
    :raises ValueError: not square, or a row that is no distribution.
    """
    matrix = np.asarray(transition, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a transition matrix is square, not of the shape {matrix.shape}")
    if (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1.0, atol=1e-9):
        raise ValueError("a row of the transition matrix has a negative entry or does not sum to 1")
    size = matrix.shape[0]
    system = np.vstack([matrix.T - np.eye(size), np.ones((1, size))])
    target = np.zeros(size + 1)
    target[-1] = 1.0
    solution = np.linalg.lstsq(system, target, rcond=None)[0]
    solution = np.maximum(solution, 0.0)
    return solution / solution.sum()


def entropy_rate_bits(transition: ArrayLike) -> float:
    """Return Σ_i π_i H(P_i·) in bits per hop: what stays unknown of a hop to one who saw all earlier ones.

    :param transition: shape (n, n), rows sum to 1.
    :raises ValueError: as :func:`stationary`.
    """
    matrix = np.asarray(transition, dtype=np.float64)
    weight = stationary(matrix)
    return float(sum(share * shannon_bits(row) for share, row in zip(weight, matrix) if share > 0.0))
