# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a simulation takes, told before it begins: what would take more than an hour is refused with the time it would."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from relocate.errors import Refusal

if TYPE_CHECKING:
    from relocate.model.simulate.trials import Scenario

MOST_TRIALS = 10_000_000_000
LIMIT_SECONDS = 3600.0
#: Estimates for one core: draws in a second, and what one step of a chunk costs, however few trials are left in it.
DRAWS_PER_SECOND, STEP_SECONDS = 1.5e7, 6e-5


def stays(scenario: Scenario) -> float:
    """Return how often a trial stays within the horizon, in the mean."""
    if scenario.failure == 1 or math.isinf(scenario.clock.mean):
        return 1.0
    cycle = scenario.clock.mean / (1 - scenario.failure) + scenario.latency + scenario.downtime
    return 1.0 + scenario.horizon / cycle


def seconds(scenario: Scenario, trials: int, chunk: int) -> float:
    """Return about how long ``trials`` trials take in chunks of ``chunk``."""
    stages = float(getattr(scenario.clock, "_stages", 1) or 1)
    again = 1 / (1 - scenario.failure) if scenario.failure < 1 else 1.0
    # Failed hops draw again, some trials many times: as many steps as it takes the last of the chunk.
    steps = 1 + (math.log(max(chunk, 2)) / -math.log(scenario.failure) if 0 < scenario.failure < 1 else 0.0)
    chunks = math.ceil(trials / chunk)
    each = trials * (1 + stages * again) / DRAWS_PER_SECOND + chunks * steps * STEP_SECONDS
    return stays(scenario) * each


def words(value: float) -> str:
    """Return a duration for people, however long."""
    for unit, size in (("years", 31557600.0), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}" if value < 1e4 * size else f"{value / size:.1e} {unit}"
    return f"{value:.0f} s"


def bound(scenario: Scenario, trials: int, chunk: int, where: str) -> None:
    """Raise Refusal where a simulation would take more than an hour. ``where`` is ``FILE:LINE: key``, or what was asked for."""
    needed = seconds(scenario, trials, chunk)
    if needed > LIMIT_SECONDS:
        raise Refusal(
            f"{where}: {trials} trials of about {stays(scenario):.3g} stays each would take about {words(needed)}, and "
            f"{words(LIMIT_SECONDS)} are the limit: ask for fewer trials, a shorter horizon, fewer failures, or a slower clock."
        )
