# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a relocation: its plan, with what was measured and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..network.flows import EGRESS
from ..protocol.facts import EdgeFacts

if TYPE_CHECKING:
    from .edge import Edge

#: Which moments of the edge each of its timings lies between. ``hold`` to ``released`` is what clients feel.
SPANS = {
    "hold": ("hold", "held"),
    "transfer_restore": ("dumped", "prepared"),
    "commit": ("prepared", "committed"),
    "release": ("committed", "released"),
    "held_total": ("hold", "released"),
    "cleanup": ("released", "end"),
}


def make(edge: Edge, outcome: str, answers: dict[str, dict], problems: list[str]) -> dict:
    """Return the result document.

    :param outcome: "committed", "rolled-back", "refused" or "in-doubt"; "committed" becomes "failed" if the copy was lost.
    :param answers: what source and destination said last: their ``timings_ns``, ``bytes`` and ``commands``.
    """
    lost = EdgeFacts.of(edge.journal).lost
    if lost and outcome == "committed":
        outcome = "failed"
        problems = [f"the copy died before the last of its memory had come from the source: {lost}", *problems]
    moved = {**edge.report.get("bytes", {}), **answers["source"].get("bytes", {})}
    moved["memory"] = moved.get("memory", 0) + edge.pages_bytes
    kept = len(edge.moved) if outcome == "committed" else 0
    timings = _timings(edge, answers)
    ended = answers["destination"].get("exit_code") if outcome == "committed" else None
    return {
        **edge.plan.document,
        **edge.report,
        **({} if ended is None else {"exit_code": ended}),
        "bytes": moved,
        "flows": {
            "ingress": sum(flow.direction != EGRESS for flow in edge.flows),
            "egress": sum(flow.direction == EGRESS for flow in edge.flows),
            "kept": kept,
            "lost": len(edge.flows) - kept if outcome in ("committed", "failed") else 0,
        },
        "timings_ns": {name: value for name, value in timings.items() if value is not None},
        "downtime_ms": _milliseconds(_held(edge, outcome)),
        "source_needed_ms": _milliseconds(_source_needed(edge)),
        "commands": [command for answer in answers.values() for command in answer.get("commands", [])],
        "rolled_back": outcome == "rolled-back",
        "outcome": outcome,
        "problems": problems,
    }


def _milliseconds(nanoseconds: int | None) -> float:
    return round((nanoseconds or 0) / 1e6, 3)


def _timings(edge: Edge, answers: dict[str, dict]) -> dict[str, int | None]:
    moments = edge.moments
    timings = {name: moments.span(*ends) for name, ends in SPANS.items()}
    timings["stage"] = moments.span("begin", "hold" if "hold" in moments else "end")
    timings["frozen_total"] = moments.span("frozen", "thawed" if "thawed" in moments else "running")
    for answer in answers.values():
        timings.update(answer.get("timings_ns", {}))
    return timings


def _held(edge: Edge, outcome: str) -> int | None:
    """Return how long packets were held. Where two processes were at work, only the journal's clock bridges them."""
    held, times = edge.moments.span("hold", "released"), edge.journal.times
    if held is None and outcome in ("committed", "failed") and {"holding", "released"} <= times.keys():
        return times.get("draining", times["released"]) - times["holding"]
    return held


def _source_needed(edge: Edge) -> int | None:
    """Return the time from the release to the last page of a post-copy; None in other modes."""
    times = edge.journal.times
    if "draining" not in times:
        return None
    if "hold" in edge.moments:
        return edge.moments.span("released", "drained")
    return times.get("released", times["draining"]) - times["draining"]
