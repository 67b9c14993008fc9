# Copyright: (c) 2026, The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How different two hosts are, and what follows for the next hop: eq. 3.3 and its hardened reading."""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.plugin_utils.entropy import (
    BETA_LIMIT,
    beta_for_floor,
    effective_number,
    entropy_rate_bits,
    min_entropy_bits,
    paper_row,
    shannon_bits,
    softmax_row,
    stationary,
)

__all__ = [
    "BETA_LIMIT",
    "beta_for_floor",
    "effective_number",
    "entropy_rate_bits",
    "min_entropy_bits",
    "paper_row",
    "shannon_bits",
    "softmax_row",
    "stationary",
]
