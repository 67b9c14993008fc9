# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downtime's limit at the edge: predicted once more before anything is held, and a deadline for the cutover itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ansible_collections.relocate.mtd.plugins.module_utils._downtime import (
    OVERRUN,
    downtime_ms,
    over_budget,
    with_left,
)

if TYPE_CHECKING:
    from ..protocol.documents import Plan
    from ..protocol.peers import Peers


class OverBudget(RuntimeError):
    """The downtime is predicted to be over the limit: the move is refused, and nothing was held or frozen."""


class Overrun(TimeoutError):
    """The cutover lasts longer than the limit by far: it is taken back."""


def predict(plan: Plan, armed: dict, connections: int) -> dict:
    """Return what the result says of the prediction, made again with what was measured since the plan.

    :param armed: the source's message: ``memory_bytes``, ``link_ms_per_mib`` to the destination; in pre-copy and post-copy the
        ``left_bytes`` of memory that the freeze will carry; and the ``rounds`` of a pre-copy;
        ``files_ms``, which the last round of what had changed in the container's volumes took.
    """
    memory, link = armed["memory_bytes"], armed["link_ms_per_mib"]
    cost = plan.cost._replace(link_ms=link)
    measured = {"memory_bytes": memory, "link_ms_per_mib": link, "connections": connections}
    if "left_bytes" in armed:
        cost = with_left(cost, memory, armed["left_bytes"], ahead="rounds" in armed)
        measured["left_bytes"] = armed["left_bytes"]
    files_ms = armed.get("files_ms", 0.0)
    if files_ms:
        measured["files_ms"] = files_ms
    return {
        "cost": cost._asdict(),
        "measured": measured,
        "predicted_downtime_ms": round(downtime_ms(cost, memory, connections) + files_ms, 1),
    }


def refuse_over(plan: Plan, predicted_ms: float) -> None:
    """Return if a downtime is within the plan's limit. :raises OverBudget: it is not."""
    predictions = {**plan.predictions, plan.mode: predicted_ms}
    problem = over_budget(plan.container, plan.mode, predictions, plan.downtime_limit_ms)
    if problem:
        raise OverBudget(problem)


def wait_seconds(plan: Plan, least: float, most: float) -> float:
    """Return for how long new connections may wait: as long as the downtime may be, within reason."""
    return max(least, min(plan.downtime_limit_ms / 1e3, most))


class Deadline:
    """When a cutover that begins now has lasted too long."""

    def __init__(self, limit_ms: float) -> None:
        self.after_ms = OVERRUN * limit_ms
        self._at = time.monotonic() + self.after_ms / 1e3

    def expect(self, peers: Peers, part: str, kind: str, seconds: float) -> dict:
        """Return a part's message that comes in time. :raises Overrun: it does not; and what :meth:`Peers.expect` raises."""
        left = self._at - time.monotonic()
        try:
            return peers.expect(part, kind, min(seconds, max(left, 0.0)))
        except TimeoutError as error:
            if left > seconds:
                raise
            raise Overrun(
                f"the cutover was not over after {self.after_ms:g} ms, {OVERRUN:g} times downtime_limit_ms (the {part} had "
                f"not reported '{kind}'): raise downtime_limit_ms, or use another mode"
            ) from error
