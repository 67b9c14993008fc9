#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nat_service
short_description: A virtual address and port on the edge that leads to a port of a host
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Publishes a service under a virtual address and port, which stay the same wherever the service's container runs.
  - A service is one element of a map in the nftables table C(ip relocate), or C(ip6 relocate) for IPv6. Its owner is written
    beside it, so that no service can take another's address by accident.
  - A changed host is one transaction; there is no moment without a destination.
  - New connections follow at once. Those that are established keep the host they have; moving them is what
    M(relocate.mtd.container_relocate) is for.
options:
  name:
    description: The owner of the service, usually the name of its container.
    type: str
    required: true
  virtual_address:
    description: The IPv4 or IPv6 address the outside world knows.
    type: str
    required: true
  virtual_port:
    description: The port the outside world knows.
    type: int
    required: true
  protocol:
    description: The transport protocol.
    type: str
    choices: [tcp, udp]
    default: tcp
  host_address:
    description:
      - The address of the host that runs the service, of the same family as O(virtual_address).
      - Required with O(state=present).
    type: str
  host_port:
    description:
      - The port of the host.
      - If not given, it is O(virtual_port).
    type: int
  state:
    description:
      - V(present) publishes the service or leads it to another host.
      - V(absent) withdraws it. Somebody else's service at this address is not withdrawn, and does not count as present.
    type: str
    choices: [present, absent]
    default: present
notes:
  - The table is made, with the same definition that M(relocate.mtd.edge_gateway) has, if it is missing.
seealso:
  - module: relocate.mtd.edge_gateway
  - module: relocate.mtd.nat_service_info
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: The counter is reached at 10.88.0.100:7000 and runs on host1
  relocate.mtd.nat_service:
    name: counter
    virtual_address: 10.88.0.100
    virtual_port: 7000
    host_address: 10.77.0.11

- name: It is not reached any more
  relocate.mtd.nat_service:
    name: counter
    virtual_address: 10.88.0.100
    virtual_port: 7000
    state: absent
"""

RETURN = r"""
before:
  description: The service as it was; empty if there was none.
  returned: success
  type: dict
  sample: {}
after:
  description: The service as it is, or in check mode would be; empty if there is none.
  returned: success
  type: dict
  sample:
    name: counter
    protocol: tcp
    virtual_address: 10.88.0.100
    virtual_port: 7000
    host_address: 10.77.0.11
    host_port: 7000
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _fences, _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._nft import EdgeTable


def transaction(current: edge_table.Service | None, wanted: edge_table.Service | None) -> str:
    """Return the nft transaction that leads from one element to the other; empty if they are the same."""
    if current == wanted:
        return ""
    text = edge_table.delete_service(current) if current else ""
    return text + (edge_table.add_service(wanted) if wanted else "")


def at(services: list[edge_table.Service], key: str) -> edge_table.Service | None:
    """Return the service that owns a virtual address and port, or None."""
    return next((service for service in services if service.key == key), None)


def plain(address: str) -> str:
    """Return an address as nft lists it, for IPv6 has many forms of one; what is none, as it is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def wanted_service(module: AnsibleModule, commands: Commands) -> edge_table.Service:
    """Return the parameters as a service, checked (the host's are those of nobody with O(state=absent))."""
    params = module.params
    virtual_address = plain(params["virtual_address"])
    nowhere = "::" if edge_table.family(virtual_address) is edge_table.IP6 else "0.0.0.0"
    service = edge_table.Service(
        name=params["name"],
        protocol=params["protocol"],
        virtual_address=virtual_address,
        virtual_port=params["virtual_port"],
        host_address=plain(params["host_address"] or nowhere),
        host_port=params["host_port"] or params["virtual_port"],
    )
    try:
        edge_table.add_service(service)
    except ValueError as error:
        commands.fail(f"service {params['name']!r} cannot be published: {error}")
    return service


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "name": _forms.container_name,
            "virtual_address": _forms.word,
            "virtual_port": _forms.port,
            "host_address": _forms.word,
            "host_port": _forms.port,
        },
        argument_spec={
            "name": {"type": "str", "required": True},
            "virtual_address": {"type": "str", "required": True},
            "virtual_port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
            "host_address": {"type": "str"},
            "host_port": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("host_address",))],
        supports_check_mode=True,
    )
    commands = Commands(module)
    table = EdgeTable(commands)
    present = module.params["state"] == "present"
    service = wanted_service(module, commands)

    kind = edge_table.family(service.virtual_address)
    document = table.document(kind)
    current = at(edge_table.services(document), service.key) if document else None
    if current is not None and current.name != service.name:
        if present:
            commands.fail(
                f"{service.virtual} already belongs to service {current.name!r}, which it leads to "
                f"{edge_table.bracketed(current.host_address)}:{current.host_port}; choose another address or port for "
                f"{service.name!r}"
            )
        current = None
    wanted = service if present else None
    if wanted is not None and wanted.host_address in _fences.shut(wanted.name):
        commands.fail(
            f"{wanted.name} was restored elsewhere while {wanted.host_address} was dead, and nothing of it is sent there: run "
            "relocate recover first"
        )

    text = transaction(current, wanted)
    changed = bool(text)
    if text and not module.check_mode:
        if document is None:
            text = edge_table.table_text(kind, None, table.kernel_queues()) + text
        table.apply(text, f"changing service {service.name!r}")
    if document is not None or text:
        listing = table.listing()
        if not (module.check_mode and text) and table.boot_file_differs(listing):
            changed = True
            if not module.check_mode:
                table.write_boot_file(listing)

    before, after = (each._asdict() if each else {} for each in (current, wanted))
    module.exit_json(
        changed=changed,
        before=before,
        after=after,
        diff={"before": before, "after": after},
        commands=commands.ran,
        timings_ns=commands.timings_ns,
    )


if __name__ == "__main__":
    main()
