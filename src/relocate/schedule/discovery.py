# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tenants the fleet has, asked of its hosts. A host that does not answer keeps its tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import project
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports, strangers

from relocate.lab.paths import project_root
from relocate.move import events, playbook
from relocate.move.relocation import inventory_path
from relocate.schedule.records import Tenant

ENABLED = "relocate.mtd/enabled"
INFO, SESSION = "relocate.mtd.relocation_info", "relocate.mtd.relocation_session"
#: How many surveys in a row must miss a tenant before it is believed to be gone: one that is just moving is on no host.
MISSES = 2


@dataclass
class Survey:
    """One look at the fleet.

    ``silent`` gives for each host that told nothing, or nothing that can be used, the reason; those Docker hosts of them that
    were not reached at all are in ``unreachable``; ``results`` the relocations' results that lay at the edge, by their ids;
    ``unfinished`` the ids of relocations whose journal has no end, ``abandoned``
    those of them that have no process on any host that answered. A container that
    several hosts say they run is in ``contested`` instead of ``tenants``, once for each of them, in the order of the hosts'
    names: they answer in any order, and a sentence about them must not be a new one for that.
    """

    tenants: dict[str, Tenant] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    silent: dict[str, str] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    edge: str = ""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    abandoned: set[str] = field(default_factory=set)
    contested: dict[str, list[Tenant]] = field(default_factory=dict)

    def claimed(self, tenant: Tenant) -> None:
        """A host says that it runs a container."""
        name = tenant.container
        claims = self.contested.get(name, [])
        if not claims and name in self.tenants:
            claims = [self.tenants.pop(name)]
        if claims:
            self.contested[name] = sorted([*claims, tenant], key=lambda each: each.host)
        else:
            self.tenants[name] = tenant


Surveyor = Callable[[Collection[str]], Survey]


def _epoch(text: Any, now: float) -> float:
    """Return when a container was started; now where Docker does not say, and never later, whatever its host's clock says."""
    try:
        return min(datetime.fromisoformat(str(text)).timestamp(), now)
    except (ValueError, OverflowError):
        return now


class Listener:
    """Makes a survey of the events of ``playbooks/tenants.yml``."""

    def __init__(self, now: float) -> None:
        self.survey = Survey()
        self._asked: list[str] = []
        self._living: set[str] = set()
        self._now = now

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in one of ansible-runner's events."""
        data, result = events.data(event), events.result(event)
        host = str(data.get("host", ""))
        kind, action = event.get("event"), data.get("task_action")
        if kind == "runner_on_unreachable" or (kind == "runner_on_failed" and action == INFO):
            self.survey.silent[host] = strangers.shown(result.get("msg") or "it did not answer")
            if kind == "runner_on_unreachable" and host in self._asked:
                self.survey.unreachable.add(host)
        elif kind == "runner_on_ok" and action == INFO:
            try:
                self._host(host, reports.host_report(result.get("relocation_info")))
            except strangers.Odd as odd:
                self.survey.silent[host] = f"its answer is not valid, so it is left out: {odd}"
        elif kind in ("runner_on_ok", "runner_item_on_ok") and action == SESSION:
            self._result(result.get("result"))
        elif kind == "runner_on_ok" and host == "localhost":
            self._fleet(result.get("ansible_facts"))

    def _fleet(self, facts: Any) -> None:
        """Take in what the inventory says, which the playbook hands on."""
        if isinstance(facts, dict) and "relocate_edge" in facts:
            self.survey.edge = str(facts["relocate_edge"])
            self._asked = [str(host) for host in events.items(facts, "relocate_asked")]

    def _result(self, document: Any) -> None:
        if document is None:
            return
        try:
            result = reports.move_result(document)
        except strangers.Odd:
            return  # as if none had been left there: the journals tell
        if result.get("id"):
            self.survey.results[result["id"]] = result

    def ended(self) -> Survey:
        """Return the survey: a host that was asked and of which no event tells has answered what Ansible cannot read."""
        for host in self._asked:
            if host not in self.survey.answered and host not in self.survey.silent:
                self.survey.silent[host] = "it gave no answer that could be read, so it is left out"
        self.survey.abandoned -= self._living
        return self.survey

    def _journals(self, unfinished: Iterable[Mapping[str, Any]]) -> None:
        for each in unfinished:
            self.survey.unfinished.add(each["relocation"])
            (self._living if each.get("living", True) else self.survey.abandoned).add(each["relocation"])

    def _host(self, host: str, info: Mapping[str, Any]) -> None:
        facts = info["host"]
        self._journals(info["unfinished"])
        if host in self.survey.answered or (host == self.survey.edge and host not in self._asked):
            return  # the edge is asked for its journals alone, whatever else it is
        if not facts.get("docker_version"):
            self.survey.silent[host] = str(facts.get("docker_problem") or "its Docker daemon does not answer")
            return
        self.survey.answered.add(host)
        tenants = [
            each for each in info["containers"] if each["labels"].get(ENABLED) == "true" and each["state"] == "running"
        ]
        leads = leaders(tenants, info["containers"])
        for each in tenants:
            since, name = _epoch(each.get("started_at"), self._now), each["name"]
            self.survey.claimed(Tenant(name, host, since, each["labels"], leader=leads.get(name, "")))


def leaders(tenants: Iterable[Mapping[str, Any]], containers: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """Return whose clock moves each tenant that would lose others of its project if it moved alone.

    It is that of the first tenant of the project by name, so that a restart of the scheduler finds the same.

    :param containers: all of their host, as C(relocation_info) returns them.
    """
    projects: dict[str, list[str]] = {}
    for each in tenants:
        if project.near(each, containers):
            projects.setdefault(project.name_of(each), []).append(each["name"])
    return {name: min(names) for names in projects.values() for name in names}


def survey(inventory: str | None, now: float, relocations: Collection[str] = ()) -> Survey:
    """Ask all hosts, and the edge for the results of ``relocations``.

    Raises Refusal when the playbook could not be run, or when no host answered.
    """
    root = project_root()
    listener = Listener(now)
    variables = {"relocations": sorted(relocations)} if relocations else {}
    try:
        playbook.run(
            root,
            "playbooks/tenants.yml",
            variables,
            inventory=inventory_path(inventory, root),
            quiet=True,
            watch=listener,
        )
    except playbook.Refusal:
        if not listener.survey.answered:
            raise
    return listener.ended()


class Roster:
    """The tenants as they are known: what the latest survey saw, and what it could not see."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.edge = ""
        self.contested: dict[str, list[str]] = {}
        self._missed: dict[str, int] = {}

    def learn(self, seen: Survey, moving: Collection[str]) -> tuple[list[Tenant], list[str]]:
        """Take in a survey; return the tenants that are new or changed, and the names of those that are gone.

        A tenant is gone when surveys to which all hosts answered missed it twice in a row and it is not moving. One that
        several hosts claim stays with the host that is known to have it; one that was not known before, nobody gets.
        """
        self.edge = seen.edge or self.edge
        moving = self.with_followers(moving)
        self.contested = {
            name: [each.host for each in claims] for name, claims in seen.contested.items() if name not in moving
        }
        claimed = {
            name: each
            for name in self.contested
            for each in seen.contested[name]
            if name in self.tenants and each.host == self.tenants[name].host
        }
        changed = []
        for name, tenant in {**seen.tenants, **claimed}.items():
            if tenant.edge != self.edge:
                tenant = replace(tenant, edge=self.edge)
            self._missed.pop(name, None)
            if name not in moving and tenant != self.tenants.get(name):
                self.tenants[name] = tenant
                changed.append(tenant)
        gone = []
        for name in [name for name in self.tenants if name not in seen.tenants and name not in moving]:
            if seen.silent or name in seen.contested:
                continue
            self._missed[name] = self._missed.get(name, 0) + 1
            if self._missed[name] >= MISSES:
                del self.tenants[name], self._missed[name]
                gone.append(name)
        return changed, gone

    def arrived(self, name: str, host: str, since: float) -> None:
        """A tenant has been moved, with all that follow it."""
        source = self.tenants[name].host if name in self.tenants else None
        for each in self.with_followers([name]):
            if each in self.tenants and self.tenants[each].host == source:
                self.tenants[each] = replace(self.tenants[each], host=host, since=since)

    def with_followers(self, names: Collection[str]) -> frozenset[str]:
        """Return containers, and those that move with them."""
        leading = {name for name in names if name in self.tenants and self.tenants[name].leader == name}
        found = [each.container for each in self.tenants.values() if each.leader in leading] if leading else []
        return frozenset([*names, *found])
