#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: edge_gateway
short_description: The packet rules of the gateway in front of a fleet of Docker hosts
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Ensures the nftables table C(ip relocate), which sends virtual service addresses to the hosts that run the services
    and can hold a service's packets while its container moves from one host to another. For IPv6 there is another of the
    same form, C(ip6 relocate).
  - Changes the table in one transaction. Services and packets under way stay as they are.
  - Where the kernel's nftables cannot queue packets, the queueing rules go into a chain C(RELOCATE) of the iptables
    table C(raw); the kernel is asked, not its version.
  - Switches forwarding on, for IPv6 where the edge serves that. O(state=absent) leaves it on, because others may need it by
    then.
  - Touches no table, chain or rule of anybody else.
options:
  outside_interface:
    description:
      - The network interface towards the outside world, which carries the virtual service addresses.
      - Required with O(state=present).
    type: str
  fleet_network:
    description:
      - The network of the hosts behind the edge, in CIDR notation.
      - Required with O(state=present).
    type: str
  fleet_network6:
    description:
      - The IPv6 network of the hosts behind the edge, in CIDR notation, if the edge is to serve IPv6.
    type: str
  virtual_addresses:
    description:
      - The addresses services are reached at, with prefix lengths, such as V(10.88.0.100/24) or V(2001:db8:88::100/64).
        Those that O(outside_interface) does not carry are added to it; others it carries are left alone.
      - With O(state=absent) they are taken away.
    type: list
    elements: str
    default: []
  egress_address:
    description:
      - The source address that connections of the fleet get when they leave by O(outside_interface).
      - Required with O(state=present).
    type: str
  egress_address6:
    description:
      - The source address that IPv6 connections of the fleet get when they leave by O(outside_interface).
    type: str
  state:
    description:
      - V(present) makes the table or brings it back to its shape.
      - V(absent) removes it, and with it every service that is published on this edge.
    type: str
    choices: [present, absent]
    default: present
notes:
  - A table whose maps or chains are of another shape (an older version's) is replaced in one transaction that keeps the
    services. That is refused while a relocation holds packets.
seealso:
  - module: relocate.mtd.nat_service
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: The edge between the fleet and the outside world
  relocate.mtd.edge_gateway:
    outside_interface: eth1
    fleet_network: 10.77.0.0/24
    egress_address: 10.88.0.100
    virtual_addresses: [10.88.0.100/24, 10.88.0.101/24]

- name: The same, for IPv6 as well
  relocate.mtd.edge_gateway:
    outside_interface: eth1
    fleet_network: 10.77.0.0/24
    egress_address: 10.88.0.100
    fleet_network6: fd00:77::/64
    egress_address6: fd00:88::100
    virtual_addresses: [10.88.0.100/24, "fd00:88::100/64"]

- name: No edge any more
  relocate.mtd.edge_gateway:
    state: absent
"""

RETURN = r"""
queueing:
  description: Who queues held packets on this kernel, V(nftables) or V(iptables).
  returned: with O(state=present)
  type: str
  sample: nftables
added_addresses:
  description: The virtual addresses that were, or in check mode would be, added to O(outside_interface).
  returned: success
  type: list
  elements: str
  sample: [10.88.0.100/24]
services:
  description: The services published on this edge after the run.
  returned: success
  type: list
  elements: dict
  sample:
    - name: counter
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
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._nft import EdgeTable

FORWARDING = {
    edge_table.IP4: "/proc/sys/net/ipv4/ip_forward",
    edge_table.IP6: "/proc/sys/net/ipv6/conf/all/forwarding",
}
#: The programs that know iptables' table raw.
IPTABLES = {edge_table.IP4: "iptables", edge_table.IP6: "ip6tables"}


def verdict(current: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    """Return what the table needs: ``create``, ``replace`` (headers differ), ``update`` (rules differ) or ``nothing``.

    Both are ``nft -j list table`` documents; ``current`` is None where there is no table.
    """
    if current is None:
        return "create"
    if edge_table.headers(current) != edge_table.headers(wanted):
        have, want = edge_table.headers(current), edge_table.headers(wanted)
        missing_only = all(want.get(name) == header for name, header in have.items())
        return "update" if missing_only else "replace"
    return "nothing" if edge_table.rules(current) == edge_table.rules(wanted) else "update"


def as_dicts(services: list[edge_table.Service]) -> list[dict[str, Any]]:
    """Return services as a result shows them."""
    return [service._asdict() for service in services]


def address_batch(verb: str, addresses: list[str], interface: str) -> str:
    """Return the input of ``ip -batch`` that adds, replaces or deletes addresses of an interface."""
    return "".join(f"address {verb} {address} dev {interface}\n" for address in addresses)


class Edge:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the parameters; touch nothing."""
        self.module = module
        self.commands = Commands(module)
        self.table = EdgeTable(self.commands)
        # as the kernel writes them: an IPv6 address has many forms
        self.virtual_addresses = [str(ipaddress.ip_interface(each)) for each in module.params["virtual_addresses"]]
        self.changed = False

    def gateways(self) -> dict[edge_table.Family, edge_table.Gateway | None]:
        """Return the parameters, checked, by the families that the edge serves.

        Of IPv6 alone there may be a table, for a service, and no gateway.
        """
        params = self.module.params
        interface = params["outside_interface"]
        if not os.path.isdir(os.path.join("/sys/class/net", interface)):
            self.commands.fail(f"this host has no network interface {interface!r} (outside_interface)")
        found: dict[edge_table.Family, edge_table.Gateway | None] = {
            edge_table.IP4: edge_table.Gateway(interface, params["fleet_network"], params["egress_address"])
        }
        if params["fleet_network6"]:
            network, egress = params["fleet_network6"], params["egress_address6"]
            found[edge_table.IP6] = edge_table.Gateway(interface, network, egress)
        elif edge_table.IP6 in self.table.families():
            found[edge_table.IP6] = None
        return found

    def carried(self) -> list[str]:
        """Return the addresses of the outside interface, with prefix lengths."""
        interface = self.module.params["outside_interface"]
        links = self.commands.run_json(
            ["ip", "-j", "address", "show", "dev", interface], what=f"reading {interface}'s addresses"
        )
        return [f"{entry['local']}/{entry['prefixlen']}" for link in links for entry in link.get("addr_info", [])]

    def change_addresses(self, verb: str, addresses: list[str]) -> None:
        """Add or delete addresses of the outside interface, in one call."""
        if not addresses:
            return
        self.changed = True
        if not self.module.check_mode:
            text = address_batch(verb, addresses, self.module.params["outside_interface"])
            self.commands.run(["ip", "-batch", "-"], stdin=text, what=f"changing addresses ({verb})", label="apply")

    def raw_lines(self, kind: edge_table.Family) -> list[str] | None:
        """Return the rules of iptables' table raw that are ours; None without iptables."""
        program = IPTABLES[kind]
        if self.module.get_bin_path(program, opt_dirs=["/usr/sbin", "/sbin"]) is None:
            return None
        _rc, out, _err = self.commands.run([program, "-t", "raw", "-S"], what=f"reading the table raw of {program}")
        ours = {f"-N {edge_table.RAW_CHAIN}", edge_table.RAW_JUMP}
        return [line for line in out.splitlines() if line in ours or line.startswith(f"-A {edge_table.RAW_CHAIN} ")]

    def present(self) -> dict[str, Any]:
        """Ensure tables, queue rules and forwarding; return the result."""
        gateways = self.gateways()
        nft_queue = self.table.kernel_queues()
        tables = [self.ensure_table(kind, gateway, nft_queue) for kind, gateway in gateways.items()]
        raw = [self.ensure_raw(kind, nft_queue) for kind in gateways]
        before, after = ("".join(texts) for texts in zip(*tables))
        self.ensure_boot_files(after if self.module.check_mode else self.table.listing(), nft_queue, list(gateways))
        for kind in gateways:
            self.ensure_forwarding(kind)
        carried = self.carried()
        added = [address for address in self.virtual_addresses if address not in carried]
        self.change_addresses("add", added)
        before_raw, after_raw = ("".join(texts) for texts in zip(*raw))
        return {
            "added_addresses": added,
            "queueing": "nftables" if nft_queue else "iptables",
            "services": as_dicts(self.table.services()),
            "diff": {
                "before": before + before_raw,
                "after": after + after_raw + address_batch("add", added, self.module.params["outside_interface"]),
            },
        }

    def ensure_table(
        self, kind: edge_table.Family, gateway: edge_table.Gateway | None, nft_queue: bool
    ) -> tuple[str, str]:
        """Ensure the table of a family. Return (before, after)."""
        before = self.table.listing(kind)
        current = self.table.document(kind)
        wanted, _listing = self.table.rendered(kind, edge_table.table_text(kind, gateway, nft_queue))
        need = verdict(current, wanted)
        if need == "nothing":
            return before, before
        services = edge_table.services(current) if current else []
        if need == "replace" and current is not None:
            busy = [name for name in edge_table.VOLATILE if edge_table.elements(current, name)]
            if busy:
                self.commands.fail(
                    "the edge's table has an old shape and cannot be replaced while a relocation is under way "
                    f"(elements in {', '.join(busy)}); try again when it is over"
                )
            text = edge_table.replace_text(kind, gateway, nft_queue, services)
        else:
            text = edge_table.update_text(kind, gateway, nft_queue, edge_table.rules(current) if current else ())
        self.changed = True
        if not self.module.check_mode:
            self.table.apply(text, "setting up the edge's table")
        _document, after = self.table.rendered(kind, edge_table.table_text(kind, gateway, nft_queue, services))
        return before, edge_table.lasting_text(after)

    def ensure_raw(self, kind: edge_table.Family, nft_queue: bool) -> tuple[str, str]:
        """Ensure the iptables chain where nftables cannot queue, and nowhere else. Return (before, after)."""
        lines = self.raw_lines(kind)
        if lines is None:
            if not nft_queue:
                self.commands.fail(
                    f"nftables on this kernel cannot queue packets and there is no {IPTABLES[kind]}; install iptables"
                )
            return "", ""
        jumps = lines.count(edge_table.RAW_JUMP)
        exists = f"-N {edge_table.RAW_CHAIN}" in lines
        rules = [line for line in lines if line.startswith(f"-A {edge_table.RAW_CHAIN} ")]
        wanted = [] if nft_queue else [f"-N {edge_table.RAW_CHAIN}", edge_table.RAW_JUMP, *edge_table.raw_chain()]
        text = None
        if nft_queue and exists:
            text = edge_table.raw_removal_text(jumps)
        elif not nft_queue and (rules != edge_table.raw_chain() or jumps == 0):
            text = edge_table.raw_text(with_jump=jumps == 0)
        if text is None:
            return "", ""
        self.changed = True
        if not self.module.check_mode:
            self.commands.run(
                [f"{IPTABLES[kind]}-restore", "--noflush"],
                stdin=text,
                what=f"setting up the queues in {IPTABLES[kind]}",
                label="apply",
            )
        return "".join(f"{line}\n" for line in lines), "".join(f"{line}\n" for line in wanted)

    def ensure_boot_files(self, listing: str, nft_queue: bool, served: list[edge_table.Family]) -> None:
        """Keep on disk what the next boot loads."""
        raw = {kind: "" if nft_queue else edge_table.raw_text(with_jump=True) for kind in served}
        params = self.module.params
        batch = address_batch("replace", self.virtual_addresses, params["outside_interface"])
        if self.table.boot_file_differs(listing):
            self.changed = True
            if not self.module.check_mode:
                self.table.write_boot_file(listing)
        texts = {self.table.raw_files[kind]: text for kind, text in raw.items()}
        for path, text in {**texts, self.table.address_file: batch}.items():
            if read_text(path) != text:
                self.changed = True
                if not self.module.check_mode:
                    self.table.write_beside(path, text)

    def ensure_forwarding(self, kind: edge_table.Family) -> None:
        """Switch forwarding on."""
        if (read_text(FORWARDING[kind]) or "").strip() == "1":
            return
        self.changed = True
        if not self.module.check_mode:
            with open(FORWARDING[kind], "w", encoding="ascii") as stream:
                stream.write("1")

    def absent(self) -> dict[str, Any]:
        """Remove what is ours; return the result."""
        before = self.table.listing()
        families = self.table.families()
        if families:
            self.changed = True
            if not self.module.check_mode:
                text = "".join(f"delete table {kind.head}\n" for kind in families)
                self.table.apply(text, "removing the edge's tables")
        lines = []
        for kind, program in IPTABLES.items():
            if kind is edge_table.IP6 and kind not in families and not os.path.exists(self.table.raw_files[kind]):
                continue  # it was never served, and a kernel without IPv6 has no such table
            raw = self.raw_lines(kind) or []
            lines += raw
            if f"-N {edge_table.RAW_CHAIN}" in raw:
                self.changed = True
                if not self.module.check_mode:
                    text = edge_table.raw_removal_text(raw.count(edge_table.RAW_JUMP))
                    self.commands.run(
                        [f"{program}-restore", "--noflush"], stdin=text, what=f"removing the queues from {program}"
                    )
        if self.virtual_addresses:
            carried = self.carried()
            self.change_addresses("delete", [address for address in self.virtual_addresses if address in carried])
        for path in (self.table.boot_file, *self.table.raw_files.values(), self.table.address_file):
            if os.path.exists(path):
                self.changed = True
                if not self.module.check_mode:
                    os.unlink(path)
        return {
            "added_addresses": [],
            "services": [],
            "diff": {"before": before + "".join(f"{line}\n" for line in lines), "after": ""},
        }


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "outside_interface": _forms.interface_name,
            "fleet_network": _forms.network,
            "egress_address": _forms.address,
            "fleet_network6": _forms.network6,
            "egress_address6": _forms.address6,
            "virtual_addresses": _forms.each(_forms.either_with_prefix),
        },
        argument_spec={
            "outside_interface": {"type": "str"},
            "fleet_network": {"type": "str"},
            "egress_address": {"type": "str"},
            "fleet_network6": {"type": "str"},
            "egress_address6": {"type": "str"},
            "virtual_addresses": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("outside_interface", "fleet_network", "egress_address"))],
        required_by={"virtual_addresses": ("outside_interface",)},
        required_together=[("fleet_network6", "egress_address6")],
        supports_check_mode=True,
    )
    edge = Edge(module)
    result = edge.present() if module.params["state"] == "present" else edge.absent()
    module.exit_json(changed=edge.changed, commands=edge.commands.ran, timings_ns=edge.commands.timings_ns, **result)


if __name__ == "__main__":
    main()
