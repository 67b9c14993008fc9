# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of Δ fitted to the vulnerability reports of a fleet."""

from __future__ import annotations

import itertools

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.entropy import FloatArray
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.weights import WeightError, Weights

#: Distinct profiles taken into the fit; beyond, an even sample of them (pairs grow with the square).
_FIT_PROFILES = 300


def fitted(fleet: Fleet) -> Weights:
    """Fit w_c, w_n, w_s ≥ 0 so that they predict V best: non-negative least squares over pairs of profiles.

    The fitted weights, scaled to sum 1, say which differences go with *not* sharing vulnerabilities; V itself then
    weighs 0. Every ordered pair counts as often as there are hosts with those two profiles.

    :raises FactError: a host has no vulnerability report.
    :raises WeightError: the fleet cannot tell (one configuration, or V does not grow with any of C, N, S).
    """
    fleet.require(Weights(0.0, 0.0, 0.0, 1.0))
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
            "weights cannot be fitted: the vulnerability reports do not differ with C, N or S; give them or use equal"
        )
    c, n, s = (float(value) / total for value in solution)
    return Weights(c, n, s, how="fitted")


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
