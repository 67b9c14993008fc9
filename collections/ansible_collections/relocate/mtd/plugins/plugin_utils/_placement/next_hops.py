# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as the operator sees it: configurations, entropies, and how predictable the next hop from each of them is.

Hosts with the same profile have the same row, so everything is kept per configuration; nothing here has N² entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.entropy import (
    FloatArray,
    beta_for_floor,
    effective_number,
    min_entropy_bits,
    paper_row,
    shannon_bits,
    softmax_row,
    stationary,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet, Weights

#: Above this many configurations the entropy rate is left out: its linear system grows with the cube.
RATE_LIMIT = 500


@dataclass(frozen=True)
class NextHop:
    """The draw from a host of one configuration, every other host of the fleet being eligible.

    :ivar share: shape (K,), the probability of *one* host of each configuration.
    :ivar others: shape (K,), how many hosts of each may be drawn: all but the source itself.
    :ivar beta: None in ``paper`` mode.
    :ivar floor_kept: False where the fleet is too small for the floor; the draw is then uniform.
    """

    share: FloatArray
    others: FloatArray
    beta: float | None
    shannon_bits: float
    min_entropy_bits: float
    floor_bits: float
    floor_kept: bool

    def summary(self) -> dict[str, Any]:
        """Return the numbers, rounded to what a person reads."""
        return {
            "beta": None if self.beta is None else round(self.beta, 6),
            "floor_bits": self.floor_bits,
            "floor_kept": self.floor_kept,
            "hosts": int(self.others.sum()),
            "min_entropy_bits": round(self.min_entropy_bits, 6),
            "shannon_bits": round(self.shannon_bits, 6),
        }


def next_hop(
    fleet: Fleet, number: int, weights: Weights, mode: str, floor_bits: float, beta: float | None = None
) -> NextHop | None:
    """Return the draw from configuration ``number``; None in a fleet of one host.

    :param floor_bits: min-entropy to keep, in bits. :param beta: given instead of found.
    :raises FactError: facts that the weights need are missing.
    """
    others = fleet.counts.astype(np.float64)
    others[number] -= 1.0
    hosts = float(others.sum())
    if hosts < 1:
        return None
    row = fleet.class_row(number, weights, mode)
    if mode == "paper":
        # by host: the positive parts of Δ share the probability, and from the top of the fleet nothing is positive
        spread = np.repeat(row, others.astype(np.int64))
        members = paper_row(spread)
        first = np.cumsum(others) - others
        share = np.where(others > 0, members[np.minimum(first.astype(np.int64), len(members) - 1)], 0.0)
        beta = None
    else:
        if beta is None:
            beta = beta_for_floor(row, floor_bits, others) if hosts >= 2.0**floor_bits else 0.0
        share = softmax_row(row, beta, others)
    least = min_entropy_bits(share)
    return NextHop(share, others, beta, shannon_bits(share, others), least, floor_bits, least >= floor_bits - 1e-9)


def fleet_summary(fleet: Fleet, weights: Weights, mode: str, hops: list[NextHop | None]) -> dict[str, Any]:
    """Return the fleet's figures: configurations, Shannon entropy and effective number, entropy rate of the hop chain.

    :param hops: the draw from each configuration, as :func:`next_hop` gives it.
    """
    bits = fleet.shannon_bits()
    return {
        "hosts": len(fleet.hosts),
        "configurations": len(fleet.counts),
        "shannon_bits": round(bits, 6),
        "effective_configurations": round(effective_number(bits), 6),
        "hop_entropy_rate_bits": _entropy_rate(hops),
        "mode": mode,
        "weights": {f"w_{term}": round(value, 6) for term, value in weights.values().items()},
        "weights_are": weights.how,
    }


def _entropy_rate(hops: list[NextHop | None]) -> float | None:
    """Return the entropy rate in bits per hop; None in a fleet of one host or of more than RATE_LIMIT configurations.

    Hosts of one configuration are exchangeable, so the chain over configurations has the same stationary weights.
    """
    draws = [hop for hop in hops if hop is not None]
    if len(draws) < len(hops) or len(draws) > RATE_LIMIT:
        return None
    chain = np.stack([hop.share * hop.others for hop in draws])
    weight = stationary(chain / chain.sum(axis=1, keepdims=True))
    return round(float(sum(share * hop.shannon_bits for share, hop in zip(weight, draws))), 6)
