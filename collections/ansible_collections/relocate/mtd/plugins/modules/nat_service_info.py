#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nat_service_info
short_description: Lists the services published on the edge
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Reads the services from the nftables tables C(ip relocate) and C(ip6 relocate), which is what packets obey.
  - Tells the addresses that the host has, too. Of two edges, packets go to the one that has the virtual addresses.
options:
  name:
    description: Only the services of this owner.
    type: str
seealso:
  - module: relocate.mtd.nat_service
extends_documentation_fragment:
  - relocate.mtd.attributes.info
"""

EXAMPLES = r"""
- name: Everything that is published
  relocate.mtd.nat_service_info:
  register: edge

- name: Where the counter is
  ansible.builtin.debug:
    msg: "{{ edge.services | selectattr('name', 'equalto', 'counter') | map(attribute='host_address') }}"
"""

RETURN = r"""
table:
  description: Whether the edge has the table at all.
  returned: success
  type: bool
services:
  description: The services, by virtual address, port and protocol.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The owner.
      type: str
    protocol:
      description: V(tcp) or V(udp).
      type: str
    virtual_address:
      description: The address the outside world knows.
      type: str
    virtual_port:
      description: The port the outside world knows.
      type: int
    host_address:
      description: The host that runs the service.
      type: str
    host_port:
      description: The port of the host.
      type: int
addresses:
  description: The addresses of the host's interfaces.
  returned: success
  type: list
  elements: str
  sample: [10.77.0.10, 10.88.0.1, 10.88.0.100]
unfinished:
  description: Relocations whose journal on this host has no end, with C(relocation), C(part), C(state) and C(container).
  returned: success
  type: list
  elements: dict
fenced:
  description:
    - The addresses of hosts at which the ports of the container O(name) are shut, because it was restored elsewhere while they
      were dead.
  returned: success
  type: list
  elements: str
synchronised:
  description: Whether conntrackd answers here, which keeps the connection tables of two edges alike.
  returned: success
  type: bool
commands:
  description: The commands that were run.
  returned: always
  type: list
  elements: str
"""

import socket

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _fences, _forms, _host
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._nft import EdgeTable

#: conntrackd's, by its configuration.
CONTROL = "/run/conntrackd.ctl"


def answers(path: str) -> bool:
    """Return whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        try:
            control.connect(path)
        except OSError:
            return False
    return True


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "name": _forms.container_name,
        },
        argument_spec={"name": {"type": "str"}},
        supports_check_mode=True,
    )
    commands = Commands(module)
    table = EdgeTable(commands)
    document = table.whole()
    services = edge_table.services(document) if document else []
    links = commands.run_json(["ip", "-j", "address", "show"], what="reading the host's addresses")
    addresses = [entry["local"] for link in links for entry in link.get("addr_info", []) if "local" in entry]
    owner = module.params["name"]
    module.exit_json(
        changed=False,
        table=document is not None,
        services=[service._asdict() for service in services if owner in (None, service.name)],
        addresses=addresses,
        synchronised=answers(CONTROL),
        unfinished=_host.unfinished(),
        fenced=_fences.shut(owner) if owner else [],
        commands=commands.ran,
    )


if __name__ == "__main__":
    main()
