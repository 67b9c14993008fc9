# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.project_relocate): plans the moves of all containers of a project as one, and starts their parts.

Each is planned as it would be alone, and every reason against any of them counts against all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import DEFAULT_LIMIT_MS
from ansible_collections.relocate.mtd.plugins.module_utils._modes import LIVE, PRE_COPY, STOP_AND_COPY
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import (
    deciding,
    options,
    plan,
    prediction,
    project,
    starting,
    wording,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Answers, Asking, Edges
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable

#: A member that needed its source after the commit could be lost alone.
MODES = (STOP_AND_COPY, PRE_COPY)
OPTIONS: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    **{name: deciding.OPTIONS[name] for name in ("destination", "source", "docker_hosts", "edge", "prefer", "ledger")},
    "mode": {"type": "str", "choices": ["auto", *MODES], "default": "auto"},
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
        deciding.check(wanted)
        answers = asking.fleet(wanted.docker_hosts)
        try:
            found = project.members(name, answers.hosts, wanted.source)
        except Refused as refused:
            if answers.silent:
                raise Refused(f"{refused}; not heard: {'; '.join(answers.silent.values())}") from None
            raise
        if wanted.destination == found.host:
            raise Refused(f"the project {name} is already on {found.host}: name another destination")
        if wanted.destination in answers.silent:
            raise Refused(f"the destination {answers.silent[wanted.destination]}")
        names = [each["name"] for each in found.running]
        each_wanted = [wanted._replace(container=each) for each in names]
        residents = [deciding.found(each._replace(source=found.host), answers) for each in each_wanted]
        refusals = [reason for each in zip(each_wanted, residents, strict=True) for reason in _stays(*each, answers)]
        edges, services = {}, {}
        for each in residents:
            try:
                edges[each.container["name"]] = edge = asking.edges(wanted.edges, each.container["name"])
                services[each.container["name"]] = plan.container_services(
                    each.container, edge.services, answers.addresses[found.host]
                )
                if edge.standby:
                    refusals.append("a project cannot move between two edges yet: move its containers alone")
            except (Refused, Unreachable) as error:
                refusals.append(str(error))
        if refusals:
            raise Inseparable(refusals, names)
        subnets = answers.hosts[found.host]["host"].get("subnets") or {}
        kept = [project.kept_addresses(each.container, subnets) for each in residents]
        asked = [{**each.container, "kept_addresses": own} for each, own in zip(residents, kept, strict=True)]
        try:
            destination, choice = self._destination(each_wanted, residents, asked, answers, asking, edges)
            decisions = [
                deciding.mode(one, resident, destination, answers, MODES)
                for one, resident in zip(each_wanted, residents, strict=True)
            ]
        except Refused as refused:
            raise Inseparable([str(refused)], names) from None
        together = plan.new_id()
        source = (found.host, answers.addresses[found.host])
        plans = []
        for resident, own, decision in zip(residents, kept, decisions, strict=True):
            container = resident.container
            edge = edges[container["name"]]
            document = plan.make(
                container,
                source,
                (destination, answers.addresses[destination]),
                (edge.active, asking.address(edge.active)),
                services[container["name"]],
                reason=wanted.reason,
                decision=decision,
                image=prediction.image_sent(container, decision) if destination in asking.without_image else None,
                networks=asking.networks_made(destination, container["name"]),
                choice=choice,
            )
            plans.append({**document, "project": name, "together": together, "kept_addresses": own})
        _keep_limit(name, plans, wanted.downtime_limit_ms)
        everybody = answers.hosts[found.host]["containers"]
        return {
            "id": together,
            "project": name,
            **{part: plans[0][part] for part in ("source", "destination", "edge", "choice", "reason", "started_at")},
            "predicted_downtime_ms": _together(plans),
            "downtime_limit_ms": wanted.downtime_limit_ms,
            "networks": _once(each for member in plans for each in member.get("networks") or []),
            "left_behind": {"stopped": found.stopped, "others": project.clashes(found.running, everybody)},
            "members": plans,
        }

    def _destination(
        self,
        wanted: list[Wanted],
        residents: list[Resident],
        asked: list[dict[str, Any]],
        answers: Answers,
        asking: Asking,
        edges: dict[str, Edges],
    ) -> tuple[str, dict[str, Any]]:
        """Return the destination and how it was chosen: one that can take all of them. :raises Refused: there is none."""
        source = answers.hosts[residents[0].host]

        def preflight(host: str) -> list[str]:
            reasons = [
                reason for each in asked for reason in asking.preflight(host, each, source, edges[each["name"]].fenced)
            ]
            available = answers.hosts.get(host, {}).get("host", {}).get("memory_available_bytes")
            return [*dict.fromkeys(reasons), *([] if reasons else project.too_much(host, available, asked))]

        # drawn as for the one with the most memory: a host that takes that one is asked for all
        largest = max(range(len(residents)), key=lambda number: residents[number].container["memory_bytes"])
        return deciding.destination(
            wanted[largest], residents[largest], answers, preflight, show_draw=self._task.check_mode
        )


def _once(networks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return networks that several members have, each once."""
    return [each for _, each in sorted({each["settings"]["Name"]: each for each in networks}.items())]


def _stays(wanted: Wanted, moving: Resident, answers: Answers) -> list[str]:
    """Return why a member cannot leave with the others."""
    label = deciding.strategy(wanted._replace(strategy="auto"), moving.container)
    anew = (
        [] if label == LIVE else [f"the container {wanted.container} is to be made anew, and a project only moves live"]
    )
    return anew + deciding.stays(moving, answers, LIVE, together=True)


def _together(plans: list[dict[str, Any]]) -> float:
    """Return the predicted pause of all, in ms: as if they came one after the other, for they share two hosts."""
    return round(sum(each["predicted_downtime_ms"] for each in plans), 1)


def _keep_limit(name: str, plans: list[dict[str, Any]], limit_ms: float) -> None:
    """:raises Inseparable: the pause of all is predicted to be over the limit."""
    predicted = _together(plans)
    if predicted > limit_ms:
        raise Inseparable(
            [
                f"moving the {len(plans)} containers of the project {name} together is predicted to stop them for "
                f"{predicted:.0f} ms and downtime_limit_ms is {limit_ms:g}: raise downtime_limit_ms"
            ],
            [each["container"] for each in plans],
        )
