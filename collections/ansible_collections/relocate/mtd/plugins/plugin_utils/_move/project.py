# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are a project, in which order they depend on each other, and what keeps them together.

By the labels that Docker Compose writes. Pure functions over what C(relocation_info) returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils._preflight import MEMORY_FACTOR, MEMORY_RESERVE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

PROJECT, SERVICE, DEPENDS_ON = (f"com.docker.compose.{name}" for name in ("project", "service", "depends_on"))
#: A container with this label and value may be moved away from its project, alone.
APART_LABEL, APART = "relocate.mtd/project", "apart"
#: Networks on which containers do not know each other's names.
OWN_BRIDGE = ("bridge", "default")
#: The edge has 32 queues for what it holds, each member takes one, and other moves want some, too.
MOST_MEMBERS = 24


class Members(NamedTuple):
    """A project on one host.

    :param running: what moves, in the order in which they depend on each other. :param stopped: names of what stays.
    """

    host: str
    running: list[dict[str, Any]]
    stopped: list[str]


def _label(container: Mapping[str, Any], name: str) -> str:
    return str((container.get("labels") or {}).get(name) or "")


def members(name: str, hosts: Mapping[str, Mapping[str, Any]], source: str | None = None) -> Members:
    """Return the containers of a project.

    :param hosts: C(relocation_info) by host. :param source: the only host to look at.
    :raises Refused: no host has any that runs, or several have.
    """
    known: dict[str, list[dict[str, Any]]] = {}
    names = set()
    for host, info in hosts.items():
        for each in info["containers"]:
            names.add(_label(each, PROJECT) if each["state"] == "running" else "")
            if _label(each, PROJECT) == name and _label(each, APART_LABEL) != APART and source in (None, host):
                known.setdefault(host, []).append(each)
    running = {host: found for host, each in known.items() if (found := [c for c in each if c["state"] == "running"])}
    if not running:
        others = ", ".join(sorted(map(shown, names - {""})))
        raise Refused(
            f"no container of a project '{shown(name)}' runs on {source or 'any host of the fleet'} "
            f"({f'there are: {others}' if others else 'no project runs anywhere'})"
        )
    if len(running) > 1:
        raise Refused(
            f"the project {shown(name)} runs on {' and '.join(sorted(running))}: name the host that it is to leave (--from), "
            "or move its containers one by one to one host first"
        )
    ((host, found),) = running.items()
    if len(found) > MOST_MEMBERS:
        raise Refused(
            f"the project {shown(name)} has {len(found)} containers, and at most {MOST_MEMBERS} can move together: label those "
            f"that can do without the others {APART_LABEL}={APART}, and move them alone"
        )
    return Members(host, ordered(found), sorted(each["name"] for each in known[host] if each["state"] != "running"))


def dependencies(container: Mapping[str, Any]) -> list[str]:
    """Return the services that a container depends on: C(db:service_started:true,cache:service_healthy:false)."""
    return [entry.partition(":")[0] for entry in _label(container, DEPENDS_ON).split(",") if entry]


def ordered(containers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return containers so that each comes after those that it depends on, and else by their names.

    Where they depend on each other in a ring, which Compose itself refuses, their names count.
    """
    left = sorted(containers, key=lambda each: str(each["name"]))
    result: list[dict[str, Any]] = []
    while left:
        waiting = {_label(each, SERVICE) for each in left}
        free = [each for each in left if not waiting & {*dependencies(each)} - {_label(each, SERVICE)}] or left[:1]
        result += free
        left = [each for each in left if each not in free]
    return result


def _private(container: Mapping[str, Any], family: str = "networks") -> dict[str, str]:
    networks = container.get(family) or {}
    return {name: address for name, address in networks.items() if name not in OWN_BRIDGE and address}


def kept_addresses(container: Mapping[str, Any], subnets: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return the addresses of either family that others know a container by, with C(network) and C(subnet) of each.

    :param subnets: of each network of its host.
    """
    return [
        {"network": name, "address": address, "subnet": _of_family(address, subnets.get(name) or [])}
        for networks in ("networks", "networks6")
        for name, address in _private(container, networks).items()
    ]


def _of_family(address: str, subnets: Iterable[str]) -> str:
    """Return the first subnet of the family of an address, or nothing."""
    return next((each for each in subnets if (":" in each) == (":" in address)), "")


def bridged(container: Mapping[str, Any]) -> list[str]:
    """Return why a container cannot leave its networks: one of several is Docker's own, where it cannot ask for its address."""
    networks = container.get("networks") or {}
    name, others = container["name"], ", ".join(sorted({*networks} - {*OWN_BRIDGE}))
    if others and not container.get("network") and not {*networks} & {*OWN_BRIDGE}:
        return [
            f"the container {name} was made for Docker's own bridge and is on other networks now ({others}), and Docker would "
            "make its copy for the bridge again: make it anew on them (docker run --network)"
        ]
    if len(networks) < 2 or not {*networks} & {*OWN_BRIDGE}:
        return []
    return [
        f"the container {name} is on Docker's own bridge and on other networks ({others}): what is on several keeps its "
        f"addresses, and Docker gives none there that is asked for: make it anew without that (docker run --network)"
    ]


def name_of(container: Mapping[str, Any]) -> str:
    """Return the project that a container moves with; nothing for one that has none, or that may be apart from it."""
    return "" if _label(container, APART_LABEL) == APART else _label(container, PROJECT)


def near(container: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the containers that one would lose if it moved alone: those of its project that share a private network with it.

    :param others: all containers of its host; it may be among them.
    """
    name = name_of(container)
    if not name:
        return []
    return sorted(
        each["name"]
        for each in others
        if each["name"] != container["name"]
        and each["state"] == "running"
        and _label(each, PROJECT) == name
        and {*_private(each)} & {*_private(container)}
    )


def torn(container: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why a container may not move alone: it would lose the others of its project, and they it.

    :param others: all containers of its host; it may be among them.
    """
    lost = near(container, others)
    if not lost:
        return []
    name = shown(name_of(container))
    return [
        f"the container {container['name']} is on a private network with others of its project {name} ({', '.join(lost)}), and "
        f"would lose them: move all of them (--project {name}), or label it {APART_LABEL}={APART}"
    ]


def too_much(destination: str, available: int | None, containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why a host has not the memory for all of them, where each alone would fit.

    :param available: its free memory in bytes, if that is known.
    """
    needed = int(sum(each["memory_bytes"] for each in containers) * MEMORY_FACTOR) + MEMORY_RESERVE
    if available is None or available >= needed:
        return []
    return [
        f"{destination} has {available >> 20} MiB of memory available and the move of all needs {needed >> 20} MiB: choose "
        "another host"
    ]


def clashes(containers: Sequence[Mapping[str, Any]], companions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return which containers that stay are on a private network of a project's.

    They lose it, and it them. That is told, and no reason to refuse: a connection between them is one.

    :param companions: all containers of the host.
    """
    names = {each["name"] for each in containers}
    networks = {network for each in containers for network in _private(each)}
    return sorted(
        each["name"]
        for each in companions
        if each["name"] not in names and each["state"] == "running" and {*_private(each)} & networks
    )
