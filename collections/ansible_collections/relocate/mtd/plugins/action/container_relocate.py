# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.container_relocate): plans, starts the three proxies, and records what they report.

No step of the cutover is taken here: between the first held packet and the release no Ansible code runs, and if this
process dies the proxies finish or roll back without it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import (
    DEFAULT_LIMIT_MS,
    limit_problem,
    over_budget,
)
from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE, MODES, mode_refusals
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import host_refusals
from ansible_collections.relocate.mtd.plugins.plugin_utils import (
    alert,
    credentials,
    ledger,
    plan,
    policy,
    prediction,
    survey,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils.heterogeneity import FactError
from ansible_collections.relocate.mtd.plugins.plugin_utils.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils.profiles import default_directory, from_directory
from ansible_collections.relocate.mtd.plugins.plugin_utils.remote import Remote, Unreachable

WAIT_SLICE = 30  # seconds one module call waits for the result


class ActionModule(ActionBase):
    """Moves a container."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result document of the relocation."""
        super().run(tmp, task_vars)
        self._vars = task_vars or {}
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "container": {"type": "str", "required": True},
                "destination": {"type": "str"},
                "docker_hosts": {"type": "list", "elements": "str"},
                "edge": {"type": "str"},
                "mode": {"type": "str", "choices": list(ASKABLE), "default": "auto"},
                "downtime_limit_ms": {"type": "float", "default": DEFAULT_LIMIT_MS},
                "ledger": {"type": "path"},
                "reason": {"type": "str", "default": "manual"},
                "identifier": {"type": "str"},
                "alert": {"type": "dict", "options": alert.OPTIONS},
                "policy": {"type": "dict", "default": {}},
                "timeout": {"type": "int", "default": 300},
            }
        )
        self._remotes: dict[str, Remote] = {}
        self._policy_options = arguments["policy"]
        return alert.annotate(self._attempt(arguments), arguments["alert"] or {})

    def _attempt(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._relocate(arguments)
        except (Refused, Unreachable) as error:
            sentence = error.message if isinstance(error, Unreachable) else str(error)
            refusal = {"outcome": "refused", "container": arguments["container"], "reason": arguments["reason"]}
            if arguments["identifier"]:
                refusal["id"] = arguments["identifier"]
            return {"failed": True, "changed": False, "rolled_back": False, "msg": sentence, **refusal}
        finally:
            for remote in self._remotes.values():
                remote.close()

    # -- planning ---------------------------------------------------------------------------------------------------

    def _remote(self, host: str) -> Remote:
        if host not in self._remotes:
            self._remotes[host] = Remote(self, host, self._vars)
        return self._remotes[host]

    def _group(self, name: str) -> list[str]:
        return list(self._vars["groups"].get(name, []))

    def _info(self, host: str) -> dict[str, Any]:
        """Return a host's description: gathered earlier in the run, or now. :raises Unreachable: when it does not answer."""
        gathered = self._remote(host).fact("relocation_info")
        if gathered is not None:
            return gathered
        result = self._remote(host).module("relocate.mtd.relocation_info")
        if result.get("failed"):
            raise AnsibleError(f"{host}: {result.get('msg')}")
        return result["relocation_info"]

    def _address(self, host: str) -> str:
        remote = self._remote(host)
        return remote.get("relocate_fabric_address") or remote.get("ansible_host") or host

    def _relocate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        problem = limit_problem(arguments["downtime_limit_ms"])
        if problem:
            raise Refused(problem)
        docker_hosts = arguments["docker_hosts"] or self._group("docker_hosts")
        edges = [arguments["edge"]] if arguments["edge"] else self._group("edge")
        wanted = arguments["destination"]
        if not docker_hosts or not edges:
            raise Refused("the inventory has no fleet: the groups docker_hosts and edge each need a host")
        if wanted and wanted not in docker_hosts:
            raise Refused(f"there is no Docker host '{wanted}' in the inventory (there are: {', '.join(docker_hosts)})")
        hosts, silent = self._survey(docker_hosts)
        name = arguments["container"]
        try:
            source, container = plan.find_container(name, hosts)
        except Refused as refused:
            if silent:
                raise Refused(f"{refused}; unreachable: {', '.join(silent)}") from None
            raise
        if wanted == source:
            raise Refused(f"the container {name} is on {source} already: name another destination")
        if wanted in silent:
            raise Refused(f"the destination {silent[wanted]}")
        refusals = container["refusals"] + host_refusals(source, hosts[source]["host"])
        refusals += self._under_way(name, hosts[source])
        if refusals:
            raise Refused("; ".join(refusals))
        services = self._services(edges[0], container, source)
        destination, choice = self._destination(wanted, source, container, hosts, silent)
        decision = self._decide(arguments, container, source, destination, hosts)
        document = plan.make(
            container,
            (source, self._address(source)),
            (destination, self._address(destination)),
            (edges[0], self._address(edges[0])),
            services,
            reason=arguments["reason"],
            identifier=arguments["identifier"],
            decision=decision,
            choice=choice,
        )
        problem = over_budget(name, document["mode"], document["predictions"], document["downtime_limit_ms"])
        if problem:
            return self._over_budget(document, problem)
        return self._carry_out(document, arguments["timeout"])

    def _decide(
        self,
        arguments: dict[str, Any],
        container: dict[str, Any],
        source: str,
        destination: str,
        hosts: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """Return the mode of the move with its predicted downtime.

        :raises Refused: the mode that is asked for cannot be had between these hosts.
        """
        here, there = hosts[source]["host"], hosts[destination]["host"]
        refused = {mode: mode_refusals(mode, container, source, here, destination, there) for mode in MODES}
        asked = arguments["mode"]
        if refused.get(asked):
            raise Refused("; ".join(refused[asked]))
        fleet = {(host, self._address(host)) for host in hosts}
        path = Path(arguments["ledger"]) if arguments["ledger"] else ledger.default_path()
        predictions = prediction.predict(
            container,
            [mode for mode in MODES if not refused[mode]],
            (source, here),
            (destination, there),
            ledger.committed_between(ledger.latest(path), fleet),
        )
        decision = prediction.decide(asked, predictions, arguments["downtime_limit_ms"])
        unavailable = {mode: "; ".join(reasons) for mode, reasons in refused.items() if reasons}
        return {**decision, "modes_unavailable": unavailable}

    def _survey(self, docker_hosts: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Return the hosts' descriptions, and of those that do not answer the reason."""
        hosts, silent = {}, {}
        for host in docker_hosts:
            try:
                hosts[host] = self._info(host)
            except Unreachable as error:
                silent[host] = error.message
        return hosts, silent

    @staticmethod
    def _under_way(container: str, info: dict[str, Any]) -> list[str]:
        return [
            f"the container {container} is being relocated already ({each['relocation']}, {each['state']}): "
            "wait for that move, or run recover.yml if nothing is going on"
            for each in info["unfinished"]
            if each["container"] == container
        ]

    def _services(self, edge: str, container: dict[str, Any], source: str) -> list[dict[str, Any]]:
        result = self._remote(edge).module("relocate.mtd.nat_service_info", name=container["name"])
        if result.get("failed"):
            raise Refused(f"the edge {edge} cannot tell its services ({result.get('msg')}): run prepare.yml")
        if not result["table"]:
            raise Refused(f"the edge {edge} is not prepared: run prepare.yml")
        return plan.container_services(container, result["services"], self._address(source))

    def _destination(
        self,
        wanted: str | None,
        source: str,
        container: dict[str, Any],
        hosts: dict[str, dict[str, Any]],
        silent: dict[str, str],
    ) -> tuple[str, dict[str, Any]]:
        """Return the destination and how it was chosen, after asking that host itself.

        :raises Refused: the wanted host cannot take the container, or no host can.
        """
        if wanted:
            refusals = self._preflight(wanted, container, hosts[source])
            if refusals:
                raise Refused("; ".join(refusals))
            return wanted, {"host": wanted, "policy": "given"}
        settings, profiles, notes = self._policy(source)
        refused: dict[str, list[str]] = {}
        while True:
            try:
                choice = policy.choose_destination(
                    survey.moving(source, container), survey.candidates(hosts, silent, refused), profiles, settings
                )
            except (policy.NoDestination, ValueError) as error:
                raise Refused(str(error)) from error
            refusals = self._preflight(choice.host, container, hosts[source])
            if not refusals:
                # what was not drawn says what may come next: it is for the plan, never for the ledger
                shown = choice.plan() if self._task.check_mode else choice.record()
                return choice.host, {**shown, "why": choice.sentence(), "notes": [*notes, *choice.notes]}
            refused[choice.host] = refusals

    def _preflight(self, host: str, container: dict[str, Any], source: dict[str, Any]) -> list[str]:
        """Return why a host cannot take the container, by its own account."""
        answer = self._remote(host).module(
            "relocate.mtd.relocation_preflight", name=host, container=container, source=source["host"]
        )
        return [f"{host}: {answer.get('msg')}"] if answer.get("failed") else answer["refusals"]

    def _policy(self, source: str) -> tuple[policy.Settings, dict[str, Any], list[str]]:
        """Return the settings of the draw, the profiles it needs, and what the operator should know about that.

        Without a profile of the source no difference can be measured, and the draw is uniform: still unpredictable.

        :raises Refused: the settings are wrong.
        """
        try:
            settings = policy.Settings.from_mapping(self._policy_options)
            profiles = dict(from_directory(default_directory())) if settings.policy != "uniform" else {}
        except FactError:
            profiles = {}
        except ValueError as error:
            raise Refused(f"relocate_policy: {error}") from error
        if settings.policy == "uniform" or source in profiles:
            return settings, profiles, []
        uniform = dataclasses.replace(settings, policy="uniform")
        return (
            uniform,
            {},
            [f"{source} has no profile, so the draw was uniform: run playbooks/profile.yml to draw by difference"],
        )

    # -- the move ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _diff(document: dict[str, Any]) -> dict[str, str]:
        lines = "\n".join(plan.steps(document)) + "\n"
        return {"before": "", "after": lines, "after_header": f"relocation {document['id']}"}

    def _over_budget(self, document: dict[str, Any], problem: str) -> dict[str, Any]:
        """Return the refusal of a move that would take too long: with its plan, which says what it would have been."""
        refusal = {"outcome": "refused", "rolled_back": False, "changed": False, "failed": True, "msg": problem}
        return {**document, **refusal, "commands": [], "diff": self._diff(document)}

    def _carry_out(self, document: dict[str, Any], timeout: int) -> dict[str, Any]:
        diff = self._diff(document)
        if self._task.check_mode:
            return {**document, "changed": True, "outcome": "planned", "rolled_back": False, "diff": diff}
        result = self._run_parts(document, timeout)
        moved = result["outcome"] == "committed"
        result.update(changed=moved, failed=not moved, diff=diff)
        if not moved:
            result["msg"] = self._sentence(result)
        return result

    @staticmethod
    def _sentence(result: dict[str, Any]) -> str:
        why = "; ".join(result.get("problems") or ["no reason was given"])
        name, source = result["container"], result["source"]["host"]
        if result["outcome"] == "refused":
            return why
        if result["outcome"] == "rolled-back":
            return f"the move of {name} was rolled back and it runs on at {source}: {why}"
        if result["outcome"] == "failed":
            there = result["destination"]["host"]
            return f"{name} was moved to {there} and lost there: {why}; its files are there, start it afresh with docker start"
        return f"the move of {name} ({result['id']}) did not come to an end: {why}; run recover.yml to settle it"

    def _run_parts(self, document: dict[str, Any], timeout: int) -> dict[str, Any]:
        """Start the three proxies, each with its own key, and wait for what the edge's reports."""
        keys = credentials.make(document["id"])
        places = {}
        for part in ("source", "destination"):  # the source knows if another relocation has the container
            specification = {"listen": document[part]["address"], "container": document["container"]}
            specification |= {"mode": document["mode"], "memory_bytes": document["memory_bytes"]}
            port = self._start(document, part, {**specification, "credentials": keys[part]})
            places[part] = [document[part]["address"], port]
        self._start(document, "edge", {"plan": document, "credentials": keys["edge"], **places})
        remote = self._remote(document["edge"]["host"])
        for _ in range(0, timeout, WAIT_SLICE):
            answer = remote.module(
                "relocate.mtd.relocation_session", state="finished", relocation=document["id"], timeout=WAIT_SLICE
            )
            if answer.get("failed"):
                break
            if answer["result"] is not None:
                return answer["result"]
        problem = f"the edge reported no result within {timeout} s"
        return {**document, "outcome": "in-doubt", "rolled_back": False, "problems": [problem]}

    def _start(self, document: dict[str, Any], part: str, specification: dict[str, Any]) -> int:
        """Start one part and return its port. :raises Refused: it cannot begin; what was started before gives up by itself."""
        host = document[part]["host"]
        answer = self._remote(host).module(
            "relocate.mtd.relocation_session",
            state="started",
            relocation=document["id"],
            part=part,
            specification=json.dumps({"id": document["id"], **specification}),
        )
        if answer.get("failed"):
            raise Refused(f"{host}: {answer.get('msg')}")
        return int(answer["port"])
