# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.project_relocate): plans the moves of all containers of a project as one, and starts their parts.

Each is planned as it would be alone, and every reason against any of them counts against all.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import DEFAULT_LIMIT_MS
from ansible_collections.relocate.mtd.plugins.module_utils._modes import LIVE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import (
    deciding,
    options,
    plan,
    prediction,
    starting,
    together,
    wording,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.together import Project

OPTIONS: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    **{name: deciding.OPTIONS[name] for name in ("destination", "source", "docker_hosts", "edge", "prefer", "ledger")},
    "mode": {"type": "str", "choices": ["auto", *together.MODES], "default": "auto"},
    "downtime_limit_ms": {"type": "float", "default": DEFAULT_LIMIT_MS},
    "policy": {"type": "dict", "default": {}},
    "reason": {"type": "str", "default": "manual"},
    "timeout": {"type": "int", "default": 300},
}
FORMS = {
    "project": _forms.container_name,
    **{name: deciding.FORMS[name] for name in ("destination", "source", "docker_hosts", "edge", "ledger")},
    "downtime_limit_ms": deciding.FORMS["downtime_limit_ms"],
    "policy": _forms.settings,
    "reason": _forms.remark,
    "timeout": _forms.whole(1, 100_000),
}


class Inseparable(Refused):
    """A project is refused. :ivar containers: names of its members."""

    def __init__(self, reasons: list[str], containers: list[str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons)))
        self.containers = containers


class ActionModule(ActionBase):
    """Moves a project."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the move, with one of each container."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        name = arguments["project"]
        wanted = Wanted.of({**arguments, "container": name, "strategy": LIVE}, variables.get("groups") or {})
        with Remotes(self, variables) as remotes:
            try:
                document = self._plan(name, wanted, Asking(remotes))
                if self._task.check_mode:
                    return wording.project_planned(document)
                return wording.project_ended(document, starting.run_project(remotes, document, arguments["timeout"]))
            except Inseparable as error:
                return wording.project_refused(wanted, name, str(error), error.containers)
            except Unreachable as error:
                return wording.project_refused(wanted, name, error.message, [])
            except Refused as error:
                return wording.project_refused(wanted, name, str(error), [])

    def _plan(self, name: str, wanted: Wanted, asking: Asking) -> dict[str, Any]:
        """Return the plan of all. :raises Refused: one of them cannot move so, or all together cannot."""
        moving = together.find(name, wanted, asking)
        answers, members = moving.answers, moving.members
        names = [each.name for each in members]
        if wanted.destination in answers.silent:
            raise Refused(f"the destination {answers.silent[wanted.destination]}")
        if moving.refusals:
            raise Inseparable(moving.refusals, names)
        try:
            destination, choice = self._destination(moving)
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
        source = (moving.host, answers.addresses[moving.host])
        plans = []
        for member, decision in zip(members, decisions, strict=True):
            container, edges = member.resident.container, member.edges
            if edges is None:
                raise AssertionError("a member without edges was refused before")
            document = plan.make(
                container,
                source,
                (destination, answers.addresses[destination]),
                (edges.active, asking.address(edges.active)),
                member.services,
                reason=wanted.reason,
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

    def _destination(self, moving: Project) -> tuple[str, dict[str, Any]]:
        """Return the destination and how it was chosen: one that can take all of them. :raises Refused: there is none."""
        # drawn as for the one with the most memory: a host that takes that one is asked for all
        largest = max(moving.members, key=lambda each: int(each.resident.container["memory_bytes"]))
        return deciding.destination(
            largest.wanted,
            largest.resident,
            moving.answers,
            lambda host: moving.preflight(host).refusals,
            show_draw=self._task.check_mode,
        )
