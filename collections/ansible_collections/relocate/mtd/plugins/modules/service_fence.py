#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: service_fence
short_description: Has the edge send nothing more to a host that is dead, and take nothing from what may come back there
version_added: "0.2.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Run on the edge before a container is restored elsewhere from a snapshot. In one transaction its services lead to their
    new host, and the ports that it had on the dead hosts are shut in both directions. Connections to the dead hosts are
    forgotten.
  - A fence is written down first. It says that the container was given to another host, and stays until C(relocate recover) has
    found the dead host again and has removed what came back with it.
  - M(relocate.mtd.container_restore) calls it; it is of little use alone.
options:
  name:
    description: The container, which is the owner of its services. Needed unless O(state=listed).
    type: str
  dead:
    description:
      - The addresses of the hosts that are dead, of both families, with O(state=present), or that have nothing of it any more,
        with O(state=absent).
    type: list
    elements: str
    default: []
  host_address:
    description: The address of the host to which the services lead from now on. Needed with O(state=present).
    type: str
  host_address6:
    description: The IPv6 address of that host. Needed where a service is reached by IPv6.
    type: str
  state:
    description:
      - V(present) leads the services to O(host_address) and fences the hosts in O(dead).
      - V(absent) takes the fence of the hosts in O(dead) away.
      - V(listed) changes nothing.
    type: str
    choices: [present, absent, listed]
    default: present
notes:
  - After a start of the edge the ports are open again until this module has been run. The services lead to the new host all
    the same.
seealso:
  - module: relocate.mtd.container_restore
  - module: relocate.mtd.nat_service
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: The counter of the dead host 10.77.0.11 will be at 10.77.0.12
  relocate.mtd.service_fence:
    name: counter
    dead: [10.77.0.11]
    host_address: 10.77.0.12
  delegate_to: host0
"""

RETURN = r"""
fences:
  description: All fences of this edge, with C(name), C(dead), C(to) and C(places) (protocol, address and port of each).
  returned: success
  type: list
  elements: dict
commands:
  description: The commands that were run, with their input.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent changing the rules.
  returned: always
  type: dict
"""

import ipaddress
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _fences, _forms, _paths
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._nft import EdgeTable


def fenced(
    known: dict[str, Any] | None, services: list[edge_table.Service], name: str, dead: list[str], to: list[str]
) -> dict[str, Any]:
    """Return the fence of a container: what was known, with more dead hosts; the host that gets it now is none of them.

    :param to: its addresses, at most one of each family.
    """
    before = known or {"dead": [], "places": []}
    places = [list(place) for place in before["places"] if place[1] not in to]
    for service in services:
        for address in dead:
            place = [service.protocol, address, service.host_port]
            if place not in places and edge_table.family(address) == edge_table.family(service.virtual_address):
                places.append(place)
    addresses = [each for each in dict.fromkeys([*before["dead"], *dead]) if each not in to]
    return {"name": name, "dead": addresses, "to": to, "places": places}


def led(service: edge_table.Service, to: list[str]) -> edge_table.Service:
    """Return a service as it leads to a host. :raises ValueError: the host has no address of its family."""
    for address in to:
        if edge_table.family(address) == edge_table.family(service.virtual_address):
            return service._replace(host_address=address)
    raise ValueError(
        f"{service.virtual} is reached by IPv6, and the host it is to lead to has no such address (host_address6)"
    )


def transaction(services: list[edge_table.Service], fence: dict[str, Any]) -> str:
    """Return the nft transaction that leads the services to their new host and shuts the places of the old ones."""
    text = "".join(edge_table.add(edge_table.SHUT, edge_table.key(*place)) for place in fence["places"])
    for service in services:
        text += edge_table.delete_service(service)
        text += edge_table.add_service(led(service, fence["to"]))
    return text


class Fence:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the parameters; touch nothing."""
        self.module = module
        self.name: str = module.params["name"] or ""
        # as nft lists them: an IPv6 address has many forms
        self.dead = [str(ipaddress.ip_address(each)) for each in module.params["dead"]]
        new = (module.params["host_address"], module.params["host_address6"])
        self.to = [str(ipaddress.ip_address(each)) for each in new if each]
        self.commands = Commands(module)
        self.table = EdgeTable(self.commands)
        self.known = {each["name"]: each for each in _fences.kept()}
        self.path = os.path.join(_paths.FENCES, f"{self.name}.json")

    def present(self) -> bool:
        """Fence; return whether that changed something."""
        document = self.table.whole()
        if document is None:
            self.commands.fail("the edge is not prepared: run prepare.yml")
        services = [each for each in edge_table.services(document) if each.name == self.name]
        try:
            fence = fenced(self.known.get(self.name), services, self.name, self.dead, self.to)
            text = transaction(services, fence)
        except ValueError as error:
            self.commands.fail(f"{self.name} cannot be fenced: {error}")
        shut = {edge_table.key(*element["concat"]) for element in edge_table.elements(document, edge_table.SHUT)}
        done = (
            self.known.get(self.name) == fence
            and all(each.host_address in fence["to"] for each in services)
            and all(edge_table.key(*place) in shut for place in fence["places"])
        )
        if done or self.module.check_mode:
            return not done
        os.makedirs(_paths.FENCES, mode=0o700, exist_ok=True)
        if fence["dead"]:
            self.commands.write_file(self.path, json.dumps(fence), 0o600)
        if text:
            self.table.apply(text, f"leading {self.name} away from {', '.join(self.dead)}")
        for protocol, address, port in fence["places"]:
            argv = [
                "conntrack",
                "-D",
                "-f",
                f"ipv{edge_table.family(address).version}",
                "-p",
                protocol,
                "--reply-src",
                address,
                "--reply-port-src",
                str(port),
            ]
            self.commands.run(argv, check=False)  # it fails where there is none
        listing = self.table.listing()
        if self.table.boot_file_differs(listing):
            self.table.write_boot_file(listing)
        return True

    def absent(self) -> bool:
        """Take the fence of some hosts away; return whether that changed something."""
        known, dead = self.known.get(self.name), self.dead
        if known is None or not set(dead) & set(known["dead"]):
            return False
        if self.module.check_mode:
            return True
        for place in known["places"]:
            if place[1] in dead:  # one by one: after a start of the edge they are not there
                text = edge_table.delete(edge_table.SHUT, edge_table.key(*place))
                self.commands.run(["nft", "-f", "-"], stdin=text, check=False)
        left = [each for each in known["dead"] if each not in dead]
        if left:
            places = [place for place in known["places"] if place[1] not in dead]
            self.commands.write_file(self.path, json.dumps({**known, "dead": left, "places": places}), 0o600)
        else:
            os.unlink(self.path)
        return True


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "name": _forms.container_name,
            "dead": _forms.each(_forms.either_address),
            "host_address": _forms.address,
            "host_address6": _forms.address6,
        },
        argument_spec={
            "name": {"type": "str"},
            "dead": {"type": "list", "elements": "str", "default": []},
            "host_address": {"type": "str"},
            "host_address6": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "listed"], "default": "present"},
        },
        required_if=[("state", "present", ("name", "host_address")), ("state", "absent", ("name",))],
        supports_check_mode=True,
    )
    state = module.params["state"]
    fence = Fence(module)
    changed = {"present": fence.present, "absent": fence.absent, "listed": lambda: False}[state]()
    module.exit_json(
        changed=changed, fences=_fences.kept(), commands=fence.commands.ran, timings_ns=fence.commands.timings_ns
    )


if __name__ == "__main__":
    main()
