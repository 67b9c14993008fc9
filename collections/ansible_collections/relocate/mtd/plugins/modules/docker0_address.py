#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker0_address
short_description: The subnet of a host's docker0 bridge
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Gives the bridge C(docker0), and with it the containers of this host, the subnet that the fleet's address plan
    has for
    this host. With a subnet of its own on every host, a container gets a new address wherever it goes.
  - Writes dockerd's setting C(bip) and restarts dockerd, but only when no container runs. Otherwise it fails, names the
    containers, and changes nothing.
options:
  address:
    description:
      - The bridge's own address with its prefix length, such as V(172.20.1.1/24).
      - The filter P(relocate.mtd.docker0_address#filter) computes it from the fleet's plan.
    type: str
    required: true
  path:
    description: dockerd's configuration file.
    type: path
    default: /etc/docker/daemon.json
seealso:
  - module: relocate.mtd.docker_daemon
  - plugin: relocate.mtd.docker0_address
    plugin_type: filter
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: Each host has its own /24 of 172.20.0.0/16
  relocate.mtd.docker0_address:
    address: "{{ '172.20.0.0/16' | relocate.mtd.docker0_address(24, relocate_host_index) }}"
"""

RETURN = r"""
before:
  description: The setting (C(bip)) and the bridge's address as they were; null where there was none.
  returned: success
  type: dict
  sample: {bip: null, address: 172.17.0.1/16}
after:
  description: The same, as they are or in check mode would be.
  returned: success
  type: dict
  sample: {bip: 172.20.1.1/24, address: 172.20.1.1/24}
restarted:
  description: Whether dockerd was (or in check mode would be) restarted.
  returned: success
  type: bool
commands:
  description: The commands that were run.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent restarting.
  returned: always
  type: dict
"""

import ipaddress
import os
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _daemon, _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule

BRIDGE = "docker0"


def problem(address: str) -> str | None:
    """Return why an address cannot be that of a bridge, as a sentence, or None if it can."""
    try:
        interface = ipaddress.IPv4Interface(address)
    except ValueError as error:
        return f"{address!r} is not an IPv4 address with a prefix length: {error}"
    if "/" not in address or interface.network.prefixlen > 30:
        return f"{address!r} leaves no room for containers: a prefix length of 30 or less is needed"
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        return f"{address!r} is the address of a network, not of a bridge in it"
    return None


def bridge_address(commands: Commands) -> str | None:
    """Return the bridge's IPv4 address with its prefix length, or None if there is no such bridge."""
    if not os.path.isdir(os.path.join("/sys/class/net", BRIDGE)):
        return None
    found = commands.run_json(["ip", "-j", "-4", "address", "show", "dev", BRIDGE], what=f"reading {BRIDGE}'s address")
    for link in found:
        for entry in link.get("addr_info", []):
            if entry.get("scope") == "global":
                return f"{entry['local']}/{entry['prefixlen']}"
    return None


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "address": _forms.word,
            "path": _forms.path,
        },
        argument_spec={
            "address": {"type": "str", "required": True},
            "path": {"type": "path", "default": _daemon.CONFIG},
        },
        supports_check_mode=True,
    )
    commands = Commands(module)
    address = module.params["address"]
    wrong = problem(address)
    if wrong:
        commands.fail(wrong)
    daemon = _daemon.Daemon(commands, module.params["path"])
    config = daemon.config()
    before: dict[str, Any] = {"bip": config.get("bip"), "address": bridge_address(commands)}
    after = {"bip": address, "address": address}
    restart = before["address"] != address
    if restart:
        running = daemon.running()
        if running:
            commands.fail(
                f"{BRIDGE} is {before['address']} and cannot become {address} while containers run "
                f"({', '.join(running)}); move or stop them first"
            )
    if before != after and not module.check_mode:
        if config.get("bip") != address:
            daemon.write({**config, "bip": address})
        if restart:
            daemon.restart()
            now = bridge_address(commands)
            if now != address:
                commands.fail(f"{BRIDGE} is {now} after Docker's restart, not {address}; see dockerd's log")
    module.exit_json(
        changed=before != after,
        before=before,
        after=after,
        restarted=restart,
        diff={"before": before, "after": after},
        commands=commands.ran,
        timings_ns=commands.timings_ns,
    )


if __name__ == "__main__":
    main()
