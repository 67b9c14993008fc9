# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.relocation_check): asks what a move would ask, of every destination, and goes on after a refusal."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import over_budget
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, options, plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Answers, Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable


class ActionModule(ActionBase):
    """Gives the verdict of every destination."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return every refusal, of the container and of each destination."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, deciding.OPTIONS, deciding.FORMS)
        wanted = Wanted.of(arguments, variables.get("groups") or {})
        with Remotes(self, variables) as remotes:
            try:
                return {"changed": False, **self._verdicts(wanted, Asking(remotes))}
            except (Refused, Unreachable) as error:  # there is nothing to give a verdict on
                return {"changed": False, "failed": True, "msg": str(error)}

    def _verdicts(self, wanted: Wanted, asking: Asking) -> dict[str, Any]:
        deciding.check(wanted)
        answers = asking.fleet(wanted.docker_hosts)
        moving = deciding.found(wanted, answers)
        deciding.not_here_already(wanted, moving)
        strategy = deciding.strategy(wanted, moving.container)
        refusals = deciding.stays(moving, answers, strategy)
        fenced: frozenset[str] = frozenset()
        try:
            edges = asking.edges(wanted.edges, moving.container["name"])
            fenced = edges.fenced
            plan.container_services(moving.container, edges.services, answers.addresses[moving.host])
        except (Refused, Unreachable) as error:
            refusals.append(str(error))
        hosts = [wanted.destination] if wanted.destination else [h for h in wanted.docker_hosts if h != moving.host]
        destinations = [self._verdict(wanted, host, moving, answers, asking, fenced) for host in hosts]
        return {
            "container": wanted.container,
            "source": moving.host,
            "strategy": strategy,
            "remedy": deciding.remedy(moving, strategy),
            "refusals": refusals,
            "destinations": destinations,
            "movable": not refusals and any(not each["refusals"] for each in destinations),
        }

    def _verdict(
        self, wanted: Wanted, host: str, moving: Resident, answers: Answers, asking: Asking, fenced: frozenset[str]
    ) -> dict[str, Any]:
        """Return what one destination would do with the container, and every reason why it cannot take it."""
        if host in answers.silent:
            return {"host": host, "refusals": [answers.silent[host]]}
        asked = (moving.container, answers.hosts[moving.host])
        if deciding.strategy(wanted, moving.container) == RECREATE:
            asked = deciding.as_new(*asked)
        refusals = asking.preflight(host, *asked, fenced)
        try:
            decision = deciding.mode(wanted, moving, host, answers)
        except Refused as refused:
            return {"host": host, "refusals": [*refusals, str(refused)]}
        problem = over_budget(wanted.container, decision["mode"], decision["predictions"], wanted.downtime_limit_ms)
        told = ("mode", "mode_why", "modes_unavailable", "predictions", "predicted_downtime_ms", "predicted_from")
        return {
            "host": host,
            "refusals": [*refusals, problem] if problem else refusals,
            **{name: decision[name] for name in told},
        }
