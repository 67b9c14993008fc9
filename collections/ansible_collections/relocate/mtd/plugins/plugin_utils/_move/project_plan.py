# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a project's move.

Each container is planned as it would be alone, and every reason against any of them counts against all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, plan, prediction, together
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.together import Project
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown


class Inseparable(Refused):
    """A project is refused. :ivar containers: names of its members."""

    def __init__(self, reasons: list[str], containers: list[str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons)))
        self.containers = containers


def make(
    name: str, wanted: Wanted, asking: Asking, *, show_draw: bool, identifiers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the plan of all.

    :param wanted: of the project, as if it were a container. :param show_draw: whether the chances of each host are told.
    :param identifiers: of the relocations of some members; the others are given one.
    :raises Refused: one of them cannot move so, or all together cannot.
    """
    if wanted.mode not in ("auto", *together.MODES):
        raise Refused(f"the project {shown(name)} cannot move by {wanted.mode}: leave the mode out")
    moving = together.find(name, wanted, asking)
    answers, members = moving.answers, moving.members
    names = [each.name for each in members]
    if wanted.destination in answers.silent:
        raise Refused(f"the destination {answers.silent[wanted.destination]}")
    if moving.refusals:
        raise Inseparable(moving.refusals, names)
    try:
        destination, choice = _destination(moving, show_draw)
        decisions = [
            deciding.mode(each.wanted, each.resident, destination, answers, together.MODES) for each in members
        ]
    except Refused as refused:
        raise Inseparable([str(refused)], names) from None
    pause = deciding.pause_together(wanted, answers, [each["predicted_downtime_ms"] for each in decisions])
    problem = together.over_limit(name, len(members), pause["predicted_downtime_ms"], wanted.downtime_limit_ms)
    if problem:
        raise Inseparable([problem], names)
    identifier = plan.new_id()
    plans = []
    for member, decision in zip(members, decisions, strict=True):
        container, edges = member.resident.container, member.edges
        if edges is None:
            raise AssertionError("a member without edges was refused before")
        document = plan.make(
            container,
            asking.place(moving.host),
            asking.place(destination),
            asking.place(edges.active),
            member.services,
            reason=wanted.reason,
            identifier=(identifiers or {}).get(member.name),
            decision=decision,
            image=prediction.image_sent(container, decision) if destination in asking.without_image else None,
            networks=asking.networks_made(destination, member.name),
            choice=choice,
        )
        plans.append({**document, "project": name, "together": identifier, "kept_addresses": member.kept})
    return {
        "id": identifier,
        "project": name,
        **{part: plans[0][part] for part in ("source", "destination", "edge", "choice", "reason", "started_at")},
        **pause,
        "downtime_limit_ms": wanted.downtime_limit_ms,
        "networks": moving.networks_made(destination),
        "left_behind": {"stopped": moving.stopped, "others": moving.others()},
        "members": plans,
    }


def _destination(moving: Project, show_draw: bool) -> tuple[str, dict[str, Any]]:
    """Return the destination and how it was chosen: one that can take all of them. :raises Refused: there is none."""
    # drawn as for the one with the most memory: a host that takes that one is asked for all
    largest = max(moving.members, key=lambda each: int(each.resident.container["memory_bytes"]))
    return deciding.destination(
        largest.wanted,
        largest.resident,
        moving.answers,
        lambda host: moving.preflight(host).refusals,
        show_draw=show_draw,
    )
