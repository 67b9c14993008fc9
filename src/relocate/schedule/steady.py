# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds since the epoch that never jump."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How far the time of day may drift away before it counts as set anew.
TOLERANCE = 2.0


class Steady:
    """The time of day when it was made, carried on by the monotonic clock."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """Return the present moment."""
        return self._monotonic() + self._offset

    def correct(self) -> float:
        """Follow a time of day that was set; return by how many seconds this clock was set forward, 0 for none."""
        step = self._wall() - self.now()
        if abs(step) < TOLERANCE:
            return 0.0
        self._offset += step
        return step
