#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: neighbour_announce
short_description: Tells a network's neighbours where an address is now
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Sends gratuitous ARP for an IPv4 address, or unsolicited neighbour advertisements for an IPv6 address, from an
    interface.
    Neighbours that know the address from elsewhere learn at once that it has moved.
  - Uses a packet socket of Python's standard library; no program is needed on the host.
options:
  address:
    description: The address.
    type: str
    required: true
  interface:
    description: The network interface it is reached at.
    type: str
    required: true
  mac:
    description: The link-layer address to announce. If not given, it is the interface's own.
    type: str
  count:
    description: How many times to say it, because nobody acknowledges it.
    type: int
    default: 3
  interval:
    description: Milliseconds between two announcements.
    type: int
    default: 100
attributes:
  idempotent:
    support: none
    details: An announcement changes nothing on the host; the module always reports RV(ignore:changed=false).
extends_documentation_fragment:
  - relocate.mtd.attributes.action
"""

EXAMPLES = r"""
- name: The virtual address is here now
  relocate.mtd.neighbour_announce:
    address: 10.88.0.100
    interface: eth1
"""

RETURN = r"""
mac:
  description: The link-layer address that was announced.
  returned: success
  type: str
  sample: 02:42:0a:58:00:64
sent:
  description: How many announcements went out; 0 in check mode.
  returned: success
  type: int
frame:
  description: The frame, in hexadecimal digits.
  returned: success
  type: str
commands:
  description: The commands that were run; the module runs none.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent sending (C(send)).
  returned: always
  type: dict
"""

import ipaddress
import os
import socket
import time

from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._announce import announcement, mac_bytes
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "address": _forms.word,
            "interface": _forms.interface_name,
            "mac": _forms.word,
            "count": _forms.whole(1, 100),
            "interval": _forms.whole(0, 10_000),
        },
        argument_spec={
            "address": {"type": "str", "required": True},
            "interface": {"type": "str", "required": True},
            "mac": {"type": "str"},
            "count": {"type": "int", "default": 3},
            "interval": {"type": "int", "default": 100},
        },
        supports_check_mode=True,
    )
    params = module.params
    commands = Commands(module)
    interface = params["interface"]
    own = read_text(os.path.join("/sys/class/net", interface, "address"))
    if own is None:
        commands.fail(f"this host has no network interface {interface!r}")
    try:
        address = ipaddress.ip_address(params["address"])
        mac = mac_bytes(params["mac"] or own.strip())
    except ValueError as error:
        commands.fail(f"nothing can be announced: {error}")
    frame = announcement(address, mac)

    sent = 0
    started = time.monotonic_ns()
    if not module.check_mode:
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
                packet.bind((interface, 0))
                for number in range(params["count"]):
                    if number:
                        time.sleep(params["interval"] / 1000)
                    packet.send(frame)
                    sent += 1
        except OSError as error:
            commands.fail(f"{address} could not be announced on {interface}: {error.strerror}; is the interface up?")
    module.exit_json(
        changed=False,
        mac=mac.hex(":"),
        sent=sent,
        frame=frame.hex(),
        commands=commands.ran,
        timings_ns={"send": time.monotonic_ns() - started},
    )


if __name__ == "__main__":
    main()
