# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's networks: what Docker knows of them, and which of them a move makes at the destination.

A network is described by the keys that ``docker network inspect`` and ``POST /networks/create`` have in common. Pure functions.
Standard library only, Python 3.9.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, Iterable, List, Mapping, Tuple, Union

from ansible_collections.relocate.mtd.plugins.module_utils import _forms

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

#: Networks that every Docker has.
OWN = ("bridge", "default", "host", "none")
#: The label by which Compose knows what is a project's.
PROJECT = "com.docker.compose.project"
#: The option that names the bridge itself, which is then the same on every host.
BRIDGE_NAME = "com.docker.network.bridge.name"
MADE, RENEWED = "made", "renewed"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: What the kernel lists among its routes and no network of Docker's ever has: link-local, multicast, loopback.
NO_MATTER = [ipaddress.ip_network(each) for each in ("fe80::/10", "ff00::/8", "::1/128", "127.0.0.0/8", "224.0.0.0/4")]


def _subnet(value: Any) -> Any:
    try:
        ipaddress.ip_network(value, strict=False)
    except (ValueError, TypeError):
        raise _forms.Wrong(f"{_forms.quoted(value)} is no subnet") from None
    return value


_text = _forms.free
_texts = _forms.mapping(_text, _text)
#: The form of a description; whether such a network can be made elsewhere, :func:`problems` says.
SETTINGS = _forms.record(
    {
        "Name": _forms.formed(NAME, "network's name"),
        **dict.fromkeys(("Driver", "Scope", "ConfigFrom"), _text),
        **dict.fromkeys(("EnableIPv4", "EnableIPv6", "Internal", "Attachable", "Ingress", "ConfigOnly"), _forms.flag),
        **dict.fromkeys(("Options", "Labels"), _texts),
        "IPAM": _forms.record(
            {
                "Driver": _text,
                "Options": _forms.maybe(_texts),  # Compose gives none at all, and Docker says so
                "Config": _forms.each(
                    _forms.record(
                        {"Subnet": _subnet},
                        {"IPRange": _text, "Gateway": _text, "AuxiliaryAddresses": _texts},
                        more=False,
                    )
                ),
            },
            more=False,
        ),
    },
    more=False,
)


def describe(inspected: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the description of a network. :param inspected: ``docker network inspect`` of it.

    IPv4 comes first: Docker 26 tells the two families in the order in which it was told of them, and Docker 28 in this one.
    """
    ipam = inspected.get("IPAM") or {}
    known = ("Subnet", "IPRange", "Gateway", "AuxiliaryAddresses")
    told = [each for each in ipam.get("Config") or [] if each.get("Subnet")]
    return {
        "Name": inspected["Name"],
        "Driver": inspected.get("Driver") or "",
        "Scope": inspected.get("Scope") or "local",
        "ConfigFrom": (inspected.get("ConfigFrom") or {}).get("Network") or "",
        "EnableIPv4": bool(inspected.get("EnableIPv4", True)),  # Docker 26 knows no other
        **{
            name: bool(inspected.get(name))
            for name in ("EnableIPv6", "Internal", "Attachable", "Ingress", "ConfigOnly")
        },
        "Options": dict(inspected.get("Options") or {}),
        "Labels": dict(inspected.get("Labels") or {}),
        "IPAM": {
            "Driver": ipam.get("Driver") or "default",
            "Options": ipam.get("Options"),
            "Config": [
                {name: each[name] for name in known if each.get(name)}
                for each in sorted(told, key=lambda each: ":" in each["Subnet"])
            ],
        },
    }


def creation(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the body of ``POST /networks/create`` that makes the same network, with the subnets that it has."""
    names = ("Name", "Driver", "EnableIPv6", "IPAM", "Internal", "Attachable", "Options", "Labels")
    return {name: settings[name] for name in names}


def subnets(settings: Mapping[str, Any]) -> List[str]:
    """Return the subnets of a network, as Docker writes them."""
    return [each["Subnet"] for each in settings["IPAM"]["Config"]]


def shown(settings: Mapping[str, Any]) -> str:
    """Return a network for people: its name and its subnets."""
    return f"{settings['Name']} ({', '.join(subnets(settings))})"


def wanted(networks: Iterable[str], settings: Mapping[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return the descriptions of the networks of a container that are not every Docker's, by their names.

    :param networks: its networks. :param settings: of its host, by name.
    """
    return [settings[name] for name in sorted(networks) if name not in OWN and name in settings]


def problems(settings: Mapping[str, Any]) -> List[str]:
    """Return what keeps a network from being made on another host: clauses that follow its name."""
    found = []
    if settings["Driver"] != "bridge":
        found.append(f"is of the driver '{settings['Driver']}'")
    if settings["Scope"] != "local" or settings["Ingress"]:
        found.append(f"is a swarm's (scope {settings['Scope']})")
    if settings["ConfigOnly"] or settings["ConfigFrom"]:
        found.append("has its settings from another network (--config-only, --config-from)")
    ipam = settings["IPAM"]
    if ipam["Driver"] != "default":
        found.append(f"has its addresses from the driver '{ipam['Driver']}'")
    if not settings["EnableIPv4"] or not any(
        ipaddress.ip_network(each, strict=False).version == 4 for each in subnets(settings)
    ):
        found.append("has no IPv4")
    return found


def _overlaps(first: Network, second: Network) -> bool:
    return first.version == second.version and first.overlaps(second)


def _inside(route: Network, known: Iterable[Network]) -> bool:
    return any(route.version == each.version and route.subnet_of(each) for each in known)  # type: ignore[arg-type]


def conflicts(name: str, host: Mapping[str, Any], settings: Mapping[str, Any]) -> List[str]:
    """Return why a network cannot be made on a host beside what is there.

    :param name: of the host. :param host: its ``host`` facts.
    """
    own, found = settings["Name"], []
    others = {each: list(known) for each, known in (host.get("subnets") or {}).items()}
    docker = [ipaddress.ip_network(each, strict=False) for known in others.values() for each in known]
    routes = [ipaddress.ip_network(each, strict=False) for each in host.get("routes") or []]
    outside = [each for each in routes if each.prefixlen and not _inside(each, [*docker, *NO_MATTER])]
    for subnet in subnets(settings):
        network = ipaddress.ip_network(subnet, strict=False)
        for other, known in sorted(others.items()):
            overlapping = [each for each in known if _overlaps(network, ipaddress.ip_network(each, strict=False))]
            if overlapping and other != own:
                found.append(
                    f"the Docker network '{own}' ({subnet}) cannot be made on {name}, whose network '{other}' "
                    f"({overlapping[0]}) overlaps with it: remove that one there (docker network rm {other}), or give one of "
                    "the two another subnet"
                )
        overlapped = next((each for each in outside if _overlaps(network, each)), None)
        if overlapped:
            found.append(
                f"the Docker network '{own}' ({subnet}) cannot be made on {name}, which has a route to {overlapped}: give the "
                "network another subnet"
            )
    bridge = settings["Options"].get(BRIDGE_NAME)
    if bridge and bridge in (host.get("interfaces") or []) and own not in others:
        found.append(
            f"the Docker network '{own}' cannot be made on {name}, which has an interface named {bridge} already "
            f"({BRIDGE_NAME}): remove that there"
        )
    return found


def by_hand(settings: Mapping[str, Any]) -> bool:
    """Return whether somebody has surely named the subnets of a network.

    Where Docker has chosen one, it has chosen the gateway as well, and tells both. It gives a container the address that is
    asked for only where the subnet was named.
    """
    return all("Gateway" not in each for each in settings["IPAM"]["Config"])


def plan(
    name: str, host: Mapping[str, Any], containers: Iterable[Mapping[str, Any]], container: Mapping[str, Any]
) -> Tuple[List[Dict[str, Any]], Dict[str, List[str]]]:
    """Return the networks that a container's move makes on a host, and by name why others cannot be made.

    Each is ``what`` (``made``, or ``renewed``: an empty one is removed and made again, see :func:`renewable`) and ``settings``.
    One that is on the host is renewed only for a container that keeps its addresses, where Docker may refuse them.

    :param name: of the host. :param host: its ``host`` facts. :param containers: all that are on it, whether they run or not.
    :param container: with ``wanted_networks``; with ``kept_addresses``, if it keeps them.
    """
    steps: List[Dict[str, Any]] = []
    refused: Dict[str, List[str]] = {}
    present = host.get("network_settings") or {}
    for settings in container.get("wanted_networks") or []:
        network = settings["Name"]
        if network not in (host.get("networks") or []):
            reasons = [
                f"{name} has no Docker network '{network}', and it cannot be made there, for it {clause}: create it there"
                for clause in problems(settings)
            ] or conflicts(name, host, settings)
            what = MADE
        elif (
            container.get("kept_addresses") is not None
            and network in present
            and renewable(present[network], settings)
            and not any(network in (each.get("networks") or {}) for each in containers)
        ):
            reasons, what = conflicts(name, host, settings), RENEWED
        else:
            continue
        if reasons:
            refused[network] = reasons
        else:
            steps.append({"what": what, "settings": settings})
    return steps, refused


def renewable(present: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return whether a network may be removed and made again if nothing is on it, and has to be.

    It is of the same project; or it is the same in everything, its options too, and Docker may have chosen its subnet.

    :param present: what is there. :param settings: what is to be there.
    """
    if problems(present) or problems(settings):
        return False
    project, equal = settings["Labels"].get(PROJECT), not differences(present, settings)
    if project and present["Labels"].get(PROJECT) == project:
        return not (equal and by_hand(present))
    return equal and present["Options"] == settings["Options"] and not by_hand(present)


def differences(present: Mapping[str, Any], settings: Mapping[str, Any]) -> List[str]:
    """Return the names of settings that a network has otherwise than it was asked for. A host may add options of its own."""
    names = ("Driver", "EnableIPv6", "Internal", "Attachable", "Labels", "IPAM")
    bare = [
        {**each, "IPAM": {**each["IPAM"], "Options": each["IPAM"]["Options"] or {}}} for each in (present, settings)
    ]
    found = [each for each in names if bare[0][each] != bare[1][each]]
    lost = {*settings["Options"].items()} - {*present["Options"].items()}
    return found + (["Options"] if lost else [])
