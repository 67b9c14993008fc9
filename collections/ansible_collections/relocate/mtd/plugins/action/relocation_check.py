# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.relocation_check): asks what a move would ask, of every destination, and goes on after a refusal."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import over_budget
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE
from ansible_collections.relocate.mtd.plugins.module_utils._networks import shown
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, options, plan, together
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import NO_EDGES, Answers, Asking, Edges
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots import running

OPTIONS = {
    **deciding.OPTIONS,
    "container": {"type": "str"},
    "project": {"type": "str"},
    "dump": {"type": "bool", "default": False},
}
DUMP_SECONDS = 300  # for a dump on trial, all in all
FORMS = {**deciding.FORMS, "project": _forms.container_name, "dump": _forms.flag}
#: What is told of the mode that a move would be made in.
TOLD = ("mode", "mode_why", "modes_unavailable", "predictions", "predicted_downtime_ms", "predicted_from")


class ActionModule(ActionBase):
    """Gives the verdict of every destination."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return every refusal, of the container and of each destination."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        name, project = arguments["container"], arguments["project"]
        if (name is None) == (project is None):
            return {"changed": False, "failed": True, "msg": "name a container, or a project, and not both"}
        wanted = Wanted.of({**arguments, "container": name or project}, variables.get("groups") or {})
        if arguments["dump"] and project is not None:
            return {"changed": False, "failed": True, "msg": "a dump on trial is of one container: name that"}
        judged = self._verdicts if project is None else self._project_verdicts
        with Remotes(self, variables) as remotes:
            try:
                found = {"changed": False, **judged(wanted, Asking(remotes))}
                return self._with_dump(found, wanted, remotes, variables) if arguments["dump"] else found
            except (Refused, Unreachable) as error:  # there is nothing to give a verdict on
                return {"changed": False, "failed": True, "msg": str(error)}

    def _with_dump(
        self, found: dict[str, Any], wanted: Wanted, remotes: Remotes, variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the verdicts with that of a dump on trial, which is made if nothing else stands in the way.

        :raises Refused: it would be made anew; :raises Unreachable: its host does not answer any more.
        """
        if found["strategy"] == RECREATE:
            raise Refused(f"{wanted.container} is made anew, and nothing of it is dumped: leave the dump out")
        if found["refusals"] or self._task.check_mode:
            return found
        asking = Asking(remotes)
        answers = asking.fleet([found["source"]])
        moving = deciding.found(wanted, answers)
        host = answers.hosts[moving.host]["host"]
        refusals = running.memory_problem(moving.host, host, moving.container, "dump")
        # whoever may have a container dumped may read its memory: the movers' login may not
        with Remotes(self, variables, as_operator=True) as operator:
            try:
                if refusals:
                    raise Refused("; ".join(refusals))
                listening = asking.listening(moving.host)
                told = running.try_dump(
                    operator.of(moving.host), wanted.container, plan.new_id(), listening, DUMP_SECONDS
                )
            except Refused as error:
                reason = f"a dump on trial failed: {error}"
                return {**found, "refusals": [reason], "movable": False}
        return {**found, "dump": told}

    def _verdicts(self, wanted: Wanted, asking: Asking) -> dict[str, Any]:
        deciding.check(wanted)
        answers = asking.fleet(wanted.docker_hosts)
        moving = deciding.found(wanted, answers)
        deciding.not_here_already(wanted, moving)
        strategy = deciding.strategy(wanted, moving.container)
        refusals = deciding.stays(moving, answers, strategy)
        edges = NO_EDGES
        try:
            edges = asking.edges(wanted.edges, moving.container["name"])
            plan.container_services(moving.container, edges.services, asking.place(moving.host))
        except (Refused, Unreachable) as error:
            refusals.append(str(error))
        hosts = [wanted.destination] if wanted.destination else [h for h in wanted.docker_hosts if h != moving.host]
        destinations = [self._verdict(wanted, host, moving, answers, asking, edges) for host in hosts]
        return {
            "container": wanted.container,
            "source": moving.host,
            "strategy": strategy,
            "remedy": deciding.remedy(moving, strategy),
            "refusals": refusals,
            "destinations": destinations,
            "movable": not refusals and any(not each["refusals"] for each in destinations),
        }

    def _project_verdicts(self, wanted: Wanted, asking: Asking) -> dict[str, Any]:
        """Return the verdicts on a project, whose name is that of ``wanted``."""
        moving = together.find(wanted.container, wanted, asking)
        hosts = [wanted.destination] if wanted.destination else [h for h in wanted.docker_hosts if h != moving.host]
        destinations = [self._project_verdict(wanted, host, moving) for host in hosts]
        return {
            "project": moving.name,
            "source": moving.host,
            "refusals": list(dict.fromkeys(moving.refusals)),
            "members": [{"container": each.name, "refusals": each.refusals} for each in moving.members],
            "left_behind": {"stopped": moving.stopped, "others": moving.others()},
            "destinations": destinations,
            "movable": not moving.refusals and any(not each["refusals"] for each in destinations),
        }

    def _project_verdict(self, wanted: Wanted, host: str, moving: together.Project) -> dict[str, Any]:
        """Return what one destination would do with a project, and every reason why it cannot take each of its members."""
        answers, members = moving.answers, []
        if host in answers.silent:
            return {"host": host, "refusals": [answers.silent[host]], "members": []}
        verdict = moving.preflight(host)
        for each in moving.members:
            refusals = list(verdict.members[each.name])
            decided: dict[str, Any] = {}
            try:
                decided = deciding.mode(each.wanted, each.resident, host, answers, together.MODES)
            except Refused as refused:
                refusals.append(str(refused))
            told = {name: decided[name] for name in TOLD if name in decided}
            members.append({"container": each.name, "refusals": refusals, **told})
        refusals = [*(reason for each in members for reason in each["refusals"]), *verdict.all]
        pauses = [each["predicted_downtime_ms"] for each in members if "predicted_downtime_ms" in each]
        pause: dict[str, Any] = {}
        if len(pauses) == len(members):
            pause = deciding.pause_together(wanted, answers, pauses)
            limit = wanted.downtime_limit_ms
            if problem := together.over_limit(moving.name, len(members), pause["predicted_downtime_ms"], limit):
                refusals.append(problem)
        networks = moving.networks_made(host)
        return {
            "host": host,
            "refusals": list(dict.fromkeys(refusals)),
            "members": members,
            "networks": [{"what": each["what"], "name": shown(each["settings"])} for each in networks],
            **pause,
        }

    def _verdict(
        self, wanted: Wanted, host: str, moving: Resident, answers: Answers, asking: Asking, edges: Edges
    ) -> dict[str, Any]:
        """Return what one destination would do with the container, and every reason why it cannot take it."""
        if host in answers.silent:
            return {"host": host, "refusals": [answers.silent[host]]}
        asked = (moving.container, answers.hosts[moving.host])
        if deciding.strategy(wanted, moving.container) == RECREATE:
            asked = deciding.as_new(*asked)
        refusals = asking.preflight(host, *asked, edges)
        try:
            decision = deciding.mode(wanted, moving, host, answers)
        except Refused as refused:
            return {"host": host, "refusals": [*refusals, str(refused)]}
        problem = over_budget(wanted.container, decision["mode"], decision["predictions"], wanted.downtime_limit_ms)
        return {
            "host": host,
            "refusals": [*refusals, problem] if problem else refusals,
            **{name: decision[name] for name in TOLD},
        }
