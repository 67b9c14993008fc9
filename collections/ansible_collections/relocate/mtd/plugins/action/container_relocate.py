# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.container_relocate): plans, starts the three proxies, and records what they report.

No step of the cutover is taken here: between the first held packet and the release no Ansible code runs, and if this
process dies the proxies finish or roll back without it.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import over_budget
from ansible_collections.relocate.mtd.plugins.module_utils._modes import DRAIN_LIMIT_S, RECREATE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import (
    alert,
    deciding,
    options,
    plan,
    prediction,
    project,
    project_plan,
    starting,
    wording,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

OPTIONS: dict[str, dict[str, Any]] = {
    **deciding.OPTIONS,
    "reason": {"type": "str", "default": "manual"},
    "identifier": {"type": "str"},
    "alert": {"type": "dict", "options": alert.OPTIONS},
    "policy": {"type": "dict", "default": {}},
    "drain_limit_s": {"type": "float", "default": DRAIN_LIMIT_S},
    "with_project": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 300},
}
FORMS = {
    **deciding.FORMS,
    "reason": _forms.remark,
    "identifier": lambda name: name,  # as the container's name: deciding.check
    "alert": alert.FORM,
    "policy": _forms.settings,
    "drain_limit_s": _forms.number(0, 86400),
    "with_project": _forms.flag,
    "timeout": _forms.whole(1, 100_000),
}


class ActionModule(ActionBase):
    """Moves a container."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result document of the relocation."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        wanted = Wanted.of(arguments, variables.get("groups") or {})
        with Remotes(self, variables) as remotes:
            try:
                result = self._relocate(wanted, remotes, arguments["timeout"], arguments["with_project"])
            except Unreachable as error:
                result = wording.refused(wanted, error.message)
            except Refused as error:
                result = wording.refused(wanted, str(error))
        asked_by = arguments["alert"] or {}
        if "members" in result:
            result["members"] = [alert.annotate(each, asked_by) for each in result["members"]]
        return alert.annotate(result, asked_by)

    def _relocate(self, wanted: Wanted, remotes: Remotes, timeout: int, with_project: bool) -> dict[str, Any]:
        asking = Asking(remotes)
        if with_project and (moving := self._torn(wanted, asking)) is not None:
            return self._relocate_all(wanted, moving, remotes, asking, timeout)
        document = self._plan(wanted, asking)
        problem = over_budget(
            wanted.container, document["mode"], document["predictions"], document["downtime_limit_ms"]
        )
        if problem:
            return wording.over_budget(document, problem)
        if self._task.check_mode:
            return wording.planned(document)
        return wording.ended(document, starting.run_parts(remotes, document, timeout))

    @staticmethod
    def _torn(wanted: Wanted, asking: Asking) -> Resident | None:
        """Return the container, if it would lose others of its project. :raises Refused: it is nowhere."""
        deciding.check(wanted)
        answers = asking.fleet(wanted.docker_hosts)
        moving = deciding.found(wanted, answers)
        return moving if project.near(moving.container, answers.hosts[moving.host]["containers"]) else None

    def _relocate_all(
        self, wanted: Wanted, moving: Resident, remotes: Remotes, asking: Asking, timeout: int
    ) -> dict[str, Any]:
        """Move a container with all of its project. :raises Refused: that cannot be."""
        name = project.name_of(moving.container)
        if wanted.strategy == RECREATE:
            raise Refused(f"the project {shown(name)} only moves live, and {wanted.container} only with it")
        document = project_plan.make(
            name,
            wanted._replace(container=name, source=moving.host),
            asking,
            show_draw=self._task.check_mode,
            identifiers={wanted.container: wanted.identifier} if wanted.identifier else {},
        )
        told = (
            wording.project_planned(document)
            if self._task.check_mode
            else wording.project_ended(document, starting.run_project(remotes, document, timeout))
        )
        return wording.with_project(wanted.container, told)

    def _plan(self, wanted: Wanted, asking: Asking) -> dict[str, Any]:
        """Return the plan. :raises Refused: the container cannot move so."""
        deciding.check(wanted)
        answers = asking.fleet(wanted.docker_hosts)
        moving = deciding.resident(wanted, answers)
        source, container = moving
        edges = asking.edges(wanted.edges, container["name"])
        services = plan.container_services(container, edges.services, asking.place(source))
        asked = (container, answers.hosts[source])
        if deciding.strategy(wanted, container) == RECREATE:
            asked = deciding.as_new(*asked)
        destination, choice = deciding.destination(
            wanted,
            moving,
            answers,
            preflight=lambda host: asking.preflight(host, *asked, edges),
            show_draw=self._task.check_mode,
        )
        decision = deciding.mode(wanted, moving, destination, answers)
        return plan.make(
            container,
            asking.place(source),
            asking.place(destination),
            asking.place(edges.active),
            services,
            reason=wanted.reason,
            identifier=wanted.identifier,
            decision=decision,
            image=prediction.image_sent(container, decision) if destination in asking.without_image else None,
            networks=asking.networks_made(destination, container["name"]),
            choice=choice,
            standby=edges.standby,
        )
