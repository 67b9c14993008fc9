# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, addresses and recipes, worked out from the role's variables."""

from __future__ import annotations

import hashlib
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Callable

from ansible.errors import AnsibleFilterError


def lab_address(subnet: str, number: int, prefix: bool = True) -> str:
    """Return a subnet's ``number``-th address, with the prefix length unless told otherwise.

    Raises AnsibleFilterError if the subnet is not one, or too small.
    """
    try:
        network = ip_network(subnet)
        if not 0 < number < network.num_addresses - 1:
            raise AnsibleFilterError(
                f"the lab's network {subnet} has no host address number {number}: give a larger one"
            )
        address = network[number]
    except ValueError as error:
        raise AnsibleFilterError(f"{subnet} is not an IP network: {error}") from error
    return f"{address}/{network.prefixlen}" if prefix else str(address)


def lab_fleet(
    hosts: int,
    suites: list[str],
    edge_suite: str,
    roots: dict[str, str],
    fabric: dict[str, Any],
    outside: dict[str, Any],
    edges: int = 1,
) -> list[dict[str, Any]]:
    """Return the lab's hosts: the edges with a leg on both bridges, then the Docker hosts, whose way out they are.

    ``fabric`` and ``outside`` have ``bridge``, ``subnet`` and ``subnet6``, ``fabric`` also ``first``, host0's number in its
    subnets. Suites are dealt out in turn. One edge, host0, is the way out itself; beside edge2 that is an address which neither
    has for good.

    Raises AnsibleFilterError for another number of edges.
    """
    if int(edges) not in (1, 2):
        raise AnsibleFilterError(f"a lab has 1 edge or 2, not {edges}")
    first = int(fabric["first"])
    fleet: list[dict[str, Any]] = [
        {
            "name": name,
            "index": 0,
            "suite": edge_suite,
            "root": roots[edge_suite],
            "docker": False,
            "interfaces": [
                lab_interface(fabric, inside),
                lab_interface(outside, number),
            ],
        }
        for name, inside, number in (("host0", first, 1), ("edge2", first - 1, 3))[: int(edges)]
    ]
    gateway = lab_gateway(fabric, edges, prefix=False)
    gateway6 = lab_gateway({**fabric, "subnet": fabric["subnet6"]}, edges, prefix=False)
    for index in range(1, int(hosts) + 1):
        suite = suites[(index - 1) % len(suites)]
        interface = lab_interface(fabric, int(fabric["first"]) + index)
        fleet.append(
            {
                "name": f"host{index}",
                "index": index,
                "suite": suite,
                "root": roots[suite],
                "docker": True,
                "interfaces": [{**interface, "gateway": gateway, "gateway6": gateway6}],
            }
        )
    return fleet


def lab_interface(network: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a host's leg on a bridge, with its addresses of both families."""
    addresses = {"address": lab_address(network["subnet"], number), "address6": lab_address(network["subnet6"], number)}
    return {"bridge": network["bridge"], **addresses}


def lab_gateway(fabric: dict[str, Any], edges: int, prefix: bool = True) -> str:
    """Return the hosts' way out: host0's own address, or, with two edges, the one that goes with them."""
    return lab_address(fabric["subnet"], int(fabric["first"]) - (2 if int(edges) == 2 else 0), prefix)


def lab_recipe(ingredients: Any) -> str:
    """Return a short name for what something is made of: equal ingredients, equal name."""
    return hashlib.sha1(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:10]


def lab_recipes(things: dict[str, Any], shared: Any) -> dict[str, str]:
    """Return the recipe of each thing, made of its own ingredients and those that all share."""
    return {name: lab_recipe([name, ingredients, shared]) for name, ingredients in things.items()}


def lab_unused_roots(cache: str) -> list[str]:
    """Return the cached root file systems that no lab of this machine says it stands on; builds at work are left alone."""
    used: set[str] = set()
    for user in Path(cache, "users").glob("*.json"):
        used.update(json.loads(user.read_text())["roots"])
    roots = [str(path) for path in sorted(Path(cache, "roots").iterdir())]
    return [root for root in roots if root not in used and not root.endswith((".lock", ".building"))]


class FilterModule:
    """The role's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "lab_address": lab_address,
            "lab_fleet": lab_fleet,
            "lab_gateway": lab_gateway,
            "lab_recipe": lab_recipe,
            "lab_recipes": lab_recipes,
            "lab_unused_roots": lab_unused_roots,
        }
