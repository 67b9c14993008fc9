#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_witness
short_description: Says whether this host hears another one on the network
version_added: "0.2.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - A host that the controller cannot reach may be alive. This module looks from another host - whether a port of it accepts or
    refuses a connection, and, in the same network, whether it answers who has its address (ARP), which no firewall of its
    own keeps it from.
  - M(relocate.mtd.container_restore) asks the edges and other Docker hosts so before it believes that a host is dead.
options:
  address:
    description: The IPv4 address of the other host.
    type: str
    required: true
  ports:
    description: TCP ports of it. One on which nothing listens is refused by a host that lives.
    type: list
    elements: int
    default: [22, 1]
  seconds:
    description: For how long is listened.
    type: float
    default: 4
seealso:
  - module: relocate.mtd.container_restore
extends_documentation_fragment:
  - relocate.mtd.attributes.info
"""

EXAMPLES = r"""
- name: Does host2 hear host1?
  relocate.mtd.host_witness:
    address: 10.77.0.11
  delegate_to: host2
"""

RETURN = r"""
heard:
  description: Whether the other host gave any sign of life.
  returned: success
  type: bool
how:
  description: Which sign; empty without one.
  returned: success
  type: str
  sample: it refuses connections to port 1
commands:
  description: The commands that were run.
  returned: always
  type: list
  elements: str
"""

import errno
import json
import select
import socket
import time

from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule

#: The kernel's words for a neighbour that has answered just now.
ANSWERED = "REACHABLE"


def knock(address: str, ports: list[int], seconds: float) -> str:
    """Return by which sign a host answered a connection, or "" if it gave none in that time."""
    asked: dict[int, tuple[socket.socket, int]] = {}
    deadline = time.monotonic() + seconds
    waiting = select.poll()
    try:
        for port in ports:
            each = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            asked[each.fileno()] = (each, port)
            sign = _sign(each.connect_ex((address, port)), port)
            if sign:
                return sign
            waiting.register(each.fileno(), select.POLLOUT)
        while asked and (left := deadline - time.monotonic()) > 0:
            for fd, _ in waiting.poll(left * 1000):
                each, port = asked.pop(fd)
                waiting.unregister(fd)
                number = each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                each.close()
                if sign := _sign(number, port) or ("" if number else f"it accepts connections to port {port}"):
                    return sign
        return ""
    finally:
        for each, _ in asked.values():
            each.close()


def _sign(number: int, port: int) -> str:
    """Return what an error of a connection says of the host's life, if anything."""
    return f"it refuses connections to port {port}" if number in (errno.ECONNREFUSED, errno.ECONNRESET) else ""


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "address": _forms.address,
            "ports": _forms.each(_forms.port),
            "seconds": _forms.number(0.1, 60),
        },
        argument_spec={
            "address": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "default": [22, 1]},
            "seconds": {"type": "float", "default": 4.0},
        },
        supports_check_mode=True,
    )
    commands = Commands(module)
    address, ports, seconds = (module.params[name] for name in ("address", "ports", "seconds"))
    # what was answered before it died is forgotten: the kernel asks anew who has the address
    commands.run(["ip", "neigh", "flush", "to", address], check=False)
    how = knock(address, ports, seconds)
    if not how:
        _, listed, _ = commands.run(["ip", "-j", "neigh", "show", "to", address], check=False)
        if any(ANSWERED in (each.get("state") or []) for each in json.loads(listed or "[]")):
            how = "it answers who has its address"
    module.exit_json(changed=False, heard=bool(how), how=how, commands=commands.ran)


if __name__ == "__main__":
    main()
