# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts are asked before a move, and what they answered. Nothing here changes a host."""

from __future__ import annotations

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
class Asking:
    """Asks the hosts of one run."""

    remotes: Remotes

    def address(self, host: str) -> str:
        """Return a host's address on the fleet's network."""
        remote = self.remotes.of(host)
        return remote.get("relocate_fabric_address") or remote.get("ansible_host") or host

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

    def services(self, edge: str, container: dict[str, Any], host_address: str) -> list[dict[str, Any]]:
        """Return the edge's services of a container that runs at ``host_address``.

        :raises Refused: the edge is not prepared, or its services do not fit the container.
        """
        answer = self.remotes.of(edge).module("relocate.mtd.nat_service_info", name=container["name"])
        if answer.get("failed"):
            raise Refused(f"the edge {edge} cannot tell its services ({said(answer)}): run prepare.yml")
        result = checked(edge, reports.services, answer)
        if not result["table"]:
            raise Refused(f"the edge {edge} is not prepared: run prepare.yml")
        return plan.container_services(container, result["services"], host_address)

    def preflight(self, host: str, container: dict[str, Any], source: dict[str, Any]) -> list[str]:
        """Return why a host cannot take the container, by its own account, or because it gives none that can be used.

        :param source: C(relocation_info) of the host that has it now.
        """
        try:
            answer = self.remotes.of(host).module(
                "relocate.mtd.relocation_preflight", name=host, container=container, source=source["host"]
            )
            return [f"{host}: {said(answer)}"] if answer.get("failed") else checked(host, reports.preflight, answer)
        except Unreachable as error:
            return [error.message]
