# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers as the callback writes them, of moves that nobody made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import TruncatedPoisson


def write_ledger(path: Path, entries: int = 60) -> None:
    """Write a ledger of one container on a truncated Poisson clock, one hop in ten rolled back."""
    rng = np.random.default_rng(4)
    stays = TruncatedPoisson(1 / 600, 570).stays(rng, entries)
    with path.open("w") as lines:
        for at, outcome in zip(np.cumsum(stays), rng.random(entries) < 0.1, strict=True):
            entry = {
                "container": "web",
                "outcome": "rolled-back" if outcome else "committed",
                "started_at": 1.7e9 + float(at),
                "exposure_latency_ms": float(rng.gamma(20, 200)),
                "downtime_ms": float(rng.gamma(30, 4)),
            }
            lines.write(json.dumps(entry) + "\n")
        lines.write("not JSON\n")
