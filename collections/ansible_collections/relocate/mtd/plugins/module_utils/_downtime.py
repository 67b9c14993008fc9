# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a relocation will stop a container: the one formula, and what is over the budget.

The controller evaluates it when it plans, with what earlier relocations and the hosts' own speeds say; the edge evaluates it
again when everything is staged, with the link as it was just measured. Pure functions. Standard library only, Python 3.9.
"""

from __future__ import annotations

import math
from typing import Iterable, Mapping, NamedTuple, Optional

MIB = 1 << 20
DEFAULT_LIMIT_MS = 300.0
#: A cutover that lasts longer than this many times its limit is taken back.
OVERRUN = 2.0


class Cost(NamedTuple):
    """What one mode costs between the first held packet and the release. Times in milliseconds, sizes in MiB."""

    fixed_ms: float  # an empty container
    flow_ms: float  # each connection
    scan_ms: float  # each MiB of memory that is only looked at
    share: (
        float  # of memory that is carried in the freeze: 1 in stop-and-copy, 0 in post-copy, what is left in pre-copy
    )
    dump_ms: float  # each MiB carried: written by CRIU at the source
    link_ms: float  # each MiB carried: over the channel from source to destination
    restore_ms: float  # each MiB carried: read back by CRIU at the destination
    overlapped: bool  # it is sent while it is being dumped: the slower of the two counts
    factor: float = 1.0  # by which all but the fixed part was off in earlier relocations
    ahead: float = 0.0  # share of memory that is at the destination before the freeze, and restored in it: pre-copy


def downtime_ms(cost: Cost, memory_bytes: float, flows: int = 0) -> float:
    """Return how long a container is expected to be away.

    :param memory_bytes: resident memory of its tasks. :param flows: its connections.
    """
    memory = memory_bytes / MIB
    carried = memory * cost.share
    dump, link = carried * cost.dump_ms, carried * cost.link_ms
    copy = max(dump, link) if cost.overlapped else dump + link
    restore = memory * (cost.share + cost.ahead) * cost.restore_ms
    proportional = flows * cost.flow_ms + memory * cost.scan_ms + copy + restore
    return cost.fixed_ms + cost.factor * proportional


def together_ms(pauses: Iterable[float], factor: float = 1.0) -> float:
    """Return how long containers that move together are expected to be away, all of them from the first to the last moment.

    They share the processors of two hosts and one edge, and each waits for the slowest: what they take together has never been
    seen to be much less than the sum, and more where the hosts are busy.

    :param pauses: of each, were it alone. :param factor: by which the sum was off in earlier moves of projects.
    """
    return factor * sum(pauses)


def with_left(cost: Cost, memory_bytes: int, left_bytes: int, ahead: bool) -> Cost:
    """Return the cost of a move of which as much is left for the freeze as was found when everything was staged.

    :param left_bytes: in a pre-copy what its last round found written; in a post-copy memory that is not worth deferring.
    :param ahead: the rest is at the destination already, and is restored in the freeze.
    """
    share = min(left_bytes / memory_bytes, 1.0) if memory_bytes else 1.0
    return cost._replace(share=round(share, 4), ahead=round(1.0 - share, 4) if ahead else 0.0)


def limit_problem(limit_ms: float) -> Optional[str]:
    """Return why this is no limit for a downtime, or None if it is one."""
    if math.isfinite(limit_ms) and limit_ms > 0:
        return None
    return f"downtime_limit_ms is {limit_ms:g}: it must be a number of milliseconds above 0"


def over_budget(container: str, mode: str, predictions: Mapping[str, float], limit_ms: float) -> Optional[str]:
    """Return why a move is not to be made, or None if it is within its limit.

    :param mode: the one it would be made in. :param predictions: mode → milliseconds, of all that are available.
    """
    predicted = predictions[mode]
    if predicted <= limit_ms:
        return None
    fitting = {name: value for name, value in predictions.items() if value <= limit_ms}
    other = min(fitting, key=lambda name: fitting[name]) if fitting else None
    remedy = f"use mode {other} ({fitting[other]:.0f} ms), or " if other else ""
    return (
        f"moving {container} by {mode} is predicted to stop it for {predicted:.0f} ms and downtime_limit_ms is "
        f"{limit_ms:g}: {remedy}raise downtime_limit_ms"
    )
