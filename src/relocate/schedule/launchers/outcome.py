# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run came to, in the terms of the scheduler: a result document, or the sentence why nothing was attempted."""

from __future__ import annotations

from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

from relocate.move.relocation import Catcher
from relocate.schedule.launchers.base import OUTCOMES, LaunchError, Move

CANCELLED = "cancelled before anything was touched"


def document(move: Move, result: dict[str, Any], *, run: str | None = None) -> dict[str, Any]:
    """Return the relocation's own result with what every launcher promises; ``run`` names what is kept of a failed one.

    A result without an outcome is one that failed; one whose outcome is not known here is in doubt.
    """
    try:
        result = reports.move_result(result)
    except reports.Odd as odd:
        result = {"outcome": "in-doubt", "msg": f"the result of the relocation is none: {odd}"}
    outcome = result.get("outcome", "failed")
    kept = {**result, "id": move.id, "container": result.get("container", move.container)}
    kept["outcome"] = outcome if outcome in OUTCOMES else "in-doubt"
    kept["downtime_ms"] = result.get("downtime_ms") if outcome == "committed" else None
    kept["msg"] = str(result.get("msg") or outcome)
    if run is not None:
        kept["run"] = run
    return kept


def settle(move: Move, caught: Catcher, said: str, *, run: str | None = None) -> dict[str, Any]:
    """Return what became of ``move`` when its run has ended, or raise LaunchError with ``said`` if it never began.

    A run that died between the relocation's beginning and its result has left the cutover to the hosts, which finish it or
    roll it back by themselves: what they did is in doubt here until recovery has looked.
    """
    if "outcome" in caught.result:
        return document(move, caught.result, run=run)
    if caught.begun:
        return document(move, {"outcome": "in-doubt", "msg": f"the run ended without a result: {said}"}, run=run)
    raise LaunchError(said)
