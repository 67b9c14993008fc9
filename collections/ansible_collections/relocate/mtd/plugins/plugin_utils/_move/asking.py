# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts are asked before a move, and what they answered. Nothing here changes a host."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import (
    Misbehaves,
    Remotes,
    Unreachable,
    checked,
    said,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports


@dataclass
class Answers:
    """What the Docker hosts answered, at one moment.

    :param hosts: C(relocation_info) of each host that answers.
    :param silent: why, of each host that does not.
    :param addresses: the address on the fleet's network of each host that answers.
    """

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Edges:
    """The edges of one move.

    :param active: the one that has the packets, and decides.
    :param standby: the other one, if there is one: C(host), C(address), and C(gateway), the address that packets go to.
    :param services: what is published of the container.
    :param fenced: addresses of hosts that were dead when it was restored elsewhere, and at which an edge has shut its ports.
    """

    active: str
    standby: dict[str, str] | None
    services: list[dict[str, Any]]
    fenced: frozenset[str] = frozenset()

    @property
    def by_ipv6(self) -> list[str]:
        """The virtual addresses of IPv6 at which the container is reached."""
        return [each["virtual_address"] for each in self.services if ":" in each["virtual_address"]]


#: What is known of them where they have not answered.
NO_EDGES = Edges("", None, [])


@dataclass(frozen=True)
class Asking:
    """Asks the hosts of one run.

    :param without_image: the hosts that have said that the source has to send them the container's image.
    :param networks: what they have said of the networks that they lack, by host and container: see :meth:`networks_made`.
    """

    remotes: Remotes
    without_image: set[str] = field(default_factory=set)
    networks: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)

    def address(self, host: str) -> str:
        """Return a host's address on the fleet's network."""
        remote = self.remotes.of(host)
        return remote.get("relocate_fabric_address") or remote.get("ansible_host") or host

    def address6(self, host: str) -> str:
        """Return a host's IPv6 address on the fleet's network, as every kernel writes it; "" if it has none."""
        found = self.remotes.of(host).get("relocate_fabric_address6") or ""
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(found))
        return found

    def place(self, host: str) -> dict[str, str]:
        """Return a host as a plan names it: C(host), C(address), and C(address6) if it has one."""
        address6 = self.address6(host)
        return {"host": host, "address": self.address(host), **({"address6": address6} if address6 else {})}

    def listening(self, host: str) -> dict[str, str]:
        """Return what a part is told of the host that it works on: C(listen), and C(listen6) if it has such an address."""
        address6 = self.address6(host)
        return {"listen": self.address(host), **({"listen6": address6} if address6 else {})}

    def fleet(self, docker_hosts: list[str]) -> Answers:
        """Return what the hosts say of themselves. A host whose answer is not valid is left out like one that gives none."""
        answers = Answers()
        for host in docker_hosts:
            try:
                answers.hosts[host] = self._info(host)
                answers.addresses[host] = self.address(host)
            except Unreachable as error:
                answers.silent[host] = error.message
        return answers

    def _info(self, host: str) -> dict[str, Any]:
        """Return a host's description: gathered earlier in the run, or now.

        :raises Unreachable: it does not answer, or nothing that can be used.
        """
        gathered = self.remotes.of(host).fact("relocation_info")
        if gathered is None:
            result = self.remotes.of(host).module("relocate.mtd.relocation_info")
            if result.get("failed"):
                raise Misbehaves(f"{host} cannot tell what it has ({said(result)})")
            gathered = result.get("relocation_info")
        return checked(host, reports.host_report, gathered)

    def edges(self, edges: list[str], container: str) -> Edges:
        """Return the edges of a container's move, and what they publish of it.

        :raises Refused: one is not prepared, or two cannot take over from each other.
        :raises Unreachable: one does not answer.
        """
        if len(edges) == 1:
            only = self._published(edges[0], container)
            return Edges(edges[0], None, only["services"], frozenset(only["fenced"]))
        if len(edges) > 2:
            raise Refused(f"the fleet has the edges {', '.join(edges)}, and can have two: leave two in the group edge")
        try:
            answers = {edge: self._published(edge, container) for edge in edges}
        except Unreachable as error:
            raise Refused(
                f"{error.message}, and could take over with an old list of services: bring it back and run recover.yml, or "
                "take it out of the group edge and run prepare.yml"
            ) from error
        gateway = str(self.remotes.of(edges[0]).get("relocate_edge_gateway_address") or "").partition("/")[0]
        active = plan.active_edge(gateway, container, answers)
        (standby,) = (edge for edge in edges if edge != active)
        place = {"host": standby, "address": self.address(standby), "gateway": gateway}
        fenced = frozenset(address for answer in answers.values() for address in answer["fenced"])
        found = Edges(active, place, answers[active]["services"], fenced)
        if found.by_ipv6 and not self.remotes.of(edges[0]).get("relocate_edge_gateway_address6"):
            raise Refused(
                f"{container} is reached at {found.by_ipv6[0]}, and the edges {' and '.join(edges)} have no IPv6 address that "
                "goes from one to the other: set relocate_edge_gateway_address6 and run prepare.yml"
            )
        return found

    def _published(self, edge: str, container: str) -> dict[str, Any]:
        """Return C(nat_service_info) of an edge for a container. :raises Refused: it is not prepared."""
        answer = self.remotes.of(edge).module("relocate.mtd.nat_service_info", name=container)
        if answer.get("failed"):
            raise Refused(f"the edge {edge} cannot tell its services ({said(answer)}): run prepare.yml")
        result = checked(edge, reports.services, answer)
        if not result["table"]:
            raise Refused(f"the edge {edge} is not prepared: run prepare.yml")
        return result

    def preflight(
        self, host: str, container: dict[str, Any], source: dict[str, Any], edges: Edges = NO_EDGES
    ) -> list[str]:
        """Return why a host cannot take the container, by its own account, or because it gives none that can be used.

        :param source: C(relocation_info) of the host that has it now. :param edges: of its move.
        """
        if self.address(host) in edges.fenced:
            return [
                f"{host} was dead when {container['name']} was restored elsewhere, and the edge sends nothing of it there: run "
                "relocate recover first"
            ]
        if edges.by_ipv6 and not self.address6(host):
            return [
                f"{container['name']} is reached at {edges.by_ipv6[0]}, and {host} has no IPv6 address to lead that to: set "
                "relocate_fabric_address6 in the inventory"
            ]
        if edges.by_ipv6:
            container = {**container, "by_ipv6": edges.by_ipv6}
        try:
            answer = self.remotes.of(host).module(
                "relocate.mtd.relocation_preflight", name=host, container=container, source=source["host"]
            )
            if answer.get("failed"):
                return [f"{host}: {said(answer)}"]
            verdict = checked(host, reports.preflight, answer)
        except Unreachable as error:
            return [error.message]
        if verdict["image_sent"]:
            self.without_image.add(host)
        self.networks[host, container["name"]] = [
            {"what": verdict["networks"][settings["Name"]], "settings": settings}
            for settings in container.get("wanted_networks") or []
            if settings["Name"] in verdict["networks"]
        ]
        refusals: list[str] = verdict["refusals"]
        return refusals

    def networks_made(self, host: str, container: str) -> list[dict[str, Any]]:
        """Return the networks that a host makes for a container, after :meth:`preflight`: C(what) and C(settings) of each."""
        return self.networks.get((host, container), [])
