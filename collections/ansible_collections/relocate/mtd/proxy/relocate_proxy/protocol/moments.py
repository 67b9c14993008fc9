# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When things happened in one process, for the result."""

from __future__ import annotations

import time


class Moments(dict[str, int]):
    """Nanoseconds of the monotonic clock by name; a moment that comes again counts from then on."""

    def mark(self, name: str) -> None:
        """Remember that something happens now."""
        self[name] = time.monotonic_ns()

    def span(self, begin: str, end: str) -> int | None:
        """Return the nanoseconds between two moments, if both have come."""
        return self[end] - self[begin] if begin in self and end in self else None
