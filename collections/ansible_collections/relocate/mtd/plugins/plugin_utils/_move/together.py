# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that is to move: its members, what keeps each of them here, and what a host says to all of them.

What asks the hosts is here, for the move and for C(relocation_check); what is a project, is in C(project.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._modes import LIVE, PRE_COPY, STOP_AND_COPY
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, plan, project
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import NO_EDGES, Answers, Asking, Edges
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Unreachable

#: A member that needed its source after the commit could be lost alone.
MODES = (STOP_AND_COPY, PRE_COPY)


@dataclass(frozen=True)
class Member:
    """One container of a project.

    :ivar wanted: as if it moved alone. :ivar refusals: why it cannot leave its host.
    :ivar edges: the edge that publishes it, if it could be asked. :ivar services: what is published of it.
    :ivar kept: the addresses that the project knows it by, with C(network) and C(subnet) of each.
    """

    wanted: Wanted
    resident: Resident
    refusals: list[str]
    edges: Edges | None
    services: list[dict[str, Any]]
    kept: list[dict[str, str]]

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.resident.container["name"])

    @property
    def asked(self) -> dict[str, Any]:
        """The container as a destination is asked about it."""
        return {**self.resident.container, "kept_addresses": self.kept}


@dataclass(frozen=True)
class Verdict:
    """What a host says to a project. :ivar members: refusals by container. :ivar all: why it cannot take all of them."""

    members: dict[str, list[str]]
    all: list[str]

    @property
    def refusals(self) -> list[str]:
        """Every reason, each once."""
        return list(dict.fromkeys([*(reason for each in self.members.values() for reason in each), *self.all]))


@dataclass(frozen=True)
class Project:
    """A project on its host. :ivar members: those that run, in the order in which they depend on each other.

    :ivar stopped: names of those that stay.
    """

    name: str
    host: str
    members: list[Member]
    stopped: list[str]
    answers: Answers
    asking: Asking

    @property
    def refusals(self) -> list[str]:
        """Why it cannot leave its host."""
        return [reason for each in self.members for reason in each.refusals]

    def others(self) -> list[str]:
        """Return the names of containers that are on its networks, and not of it."""
        running = [each.resident.container for each in self.members]
        return project.clashes(running, self.answers.hosts[self.host]["containers"])

    def preflight(self, host: str) -> Verdict:
        """Return why a host cannot take it: by its own account, of each of its members."""
        source = self.answers.hosts[self.host]
        members = {
            each.name: self.asking.preflight(host, each.asked, source, each.edges or NO_EDGES) for each in self.members
        }
        available = self.answers.hosts.get(host, {}).get("host", {}).get("memory_available_bytes")
        if any(members.values()):
            return Verdict(members, [])
        return Verdict(members, project.too_much(host, available, [each.asked for each in self.members]))

    def networks_made(self, host: str) -> list[dict[str, Any]]:
        """Return the networks that a host makes for it, each once, after :meth:`preflight`."""
        made = [step for each in self.members for step in self.asking.networks_made(host, each.name)]
        return [each for _, each in sorted({each["settings"]["Name"]: each for each in made}.items())]


def find(name: str, wanted: Wanted, asking: Asking) -> Project:
    """Return a project, and what keeps each of its members on its host.

    :param wanted: of the project, as if it were a container. :raises Refused: there is none that could be moved there.
    """
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
    each_wanted = [wanted._replace(container=each["name"], source=found.host) for each in found.running]
    members = [_member(each, deciding.found(each, answers), answers, asking) for each in each_wanted]
    return Project(name, found.host, members, found.stopped, answers, asking)


def _member(wanted: Wanted, resident: Resident, answers: Answers, asking: Asking) -> Member:
    refusals = _stays(wanted, resident, answers)
    edges, services = None, []
    try:
        edges = asking.edges(wanted.edges, wanted.container)
        services = plan.container_services(resident.container, edges.services, asking.place(resident.host))
        if edges.standby:
            refusals.append("a project cannot move between two edges yet: move its containers alone")
    except (Refused, Unreachable) as error:
        refusals.append(str(error))
    subnets = answers.hosts[resident.host]["host"].get("subnets") or {}
    return Member(wanted, resident, refusals, edges, services, project.kept_addresses(resident.container, subnets))


def _stays(wanted: Wanted, moving: Resident, answers: Answers) -> list[str]:
    """Return why a member cannot leave with the others."""
    label = deciding.strategy(wanted._replace(strategy="auto"), moving.container)
    anew = (
        [] if label == LIVE else [f"the container {wanted.container} is to be made anew, and a project only moves live"]
    )
    return anew + deciding.stays(moving, answers, LIVE, together=True)


def over_limit(project_name: str, members: int, predicted_ms: float, limit_ms: float) -> str | None:
    """Return why a project is not to be moved, or None if the pause of all of it is within the limit."""
    if predicted_ms <= limit_ms:
        return None
    return (
        f"moving the {members} containers of the project {project_name} together is predicted to stop them for "
        f"{predicted_ms:.0f} ms and downtime_limit_ms is {limit_ms:g}: raise downtime_limit_ms"
    )
