# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher that moves nothing: what benchmarks of the scheduler itself run against."""

from __future__ import annotations

import threading
from typing import Any

from relocate.schedule.launchers.base import Move
from relocate.schedule.launchers.settings import NullSettings


class NullLauncher:
    """Says that every move was committed, and marks the result as pretended."""

    name = "null"

    def __init__(self, settings: NullSettings) -> None:
        self._seconds = settings.seconds

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        """Wait as long as configured; a move cancelled meanwhile was never made."""
        if self._seconds and cancelled.wait(self._seconds):
            return _result(move, "refused", None, "cancelled before anything was touched")
        return _result(move, "committed", 0.0, "the null launcher moves nothing")

    def recover(self) -> dict[str, list[Any]]:
        """There is nothing to recover."""
        return {"settled": [], "in_progress": [], "left": []}


def _result(move: Move, outcome: str, downtime: float | None, said: str) -> dict[str, Any]:
    return {
        "id": move.id,
        "container": move.container,
        "outcome": outcome,
        "downtime_ms": downtime,
        "msg": said,
        "pretended": True,
    }
