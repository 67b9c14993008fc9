#!/usr/bin/python
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network namespaces, their bridges, and the link between them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_network
short_description: Make or remove the lab's network namespaces
description:
  - Makes one network namespace with two bridges, and a second one with a single leg on the outer bridge, the client's.
  - Missing parts are made again. Links whose name begins with a bridge's name and a dash are put back on that bridge.
  - Nothing is changed in the machine's own network namespace, and what making the first namespace leaves there is removed
    with the last one.
attributes:
  check_mode: {support: full, description: Can run in check mode and say what would change.}
  diff_mode: {support: none, description: Shows no difference.}
options:
  state:
    description: Whether the namespaces exist. V(absent) ends every process inside them.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description: The namespace with the bridges.
    type: str
    required: true
  client:
    description: The client's namespace.
    type: str
    required: true
  fabric:
    description: Name of the bridge between the hosts.
    type: str
    default: fabric
  fabric_address:
    description: Address of the namespace on that bridge, with its prefix length. Connections to the hosts come from it.
    type: str
  outside:
    description: Name of the bridge to the outside world.
    type: str
    default: outside
  client_address:
    description: The client's address, with its prefix length.
    type: str
  client_gateway:
    description: The client's default route.
    type: str
  client_address6:
    description: The client's IPv6 address, with its prefix length.
    type: str
  client_gateway6:
    description: The client's default route of IPv6.
    type: str
author: [the relocate project]
"""

EXAMPLES = r"""
- name: Make the namespaces
  lab_network:
    namespace: relocate-lab
    client: relocate-client
    fabric_address: 10.77.0.1/24
    client_address: 10.88.0.2/24
    client_gateway: 10.88.0.1
    client_address6: "fd10:88::2/64"
    client_gateway6: "fd10:88::1"
"""

RETURN = r"""
commands:
  description: The commands that were run to change something, in order.
  returned: always
  type: list
  elements: list
"""

import json
import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule

NETNS_DIR = "/run/netns"
# iproute2 turns /run/netns into a mount point with the first namespace; this file says that it was ours to make.
NETNS_MARK = "/run/relocate-lab.netns"
CLIENT_LINK = "outside"  # interface inside the client


class Network:
    """Brings namespaces, bridges and links to the wanted state."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.commands: list[list[str]] = []

    def run(self, *argv: str) -> None:
        """Run a command that changes something; fail with its own words."""
        self.commands.append(list(argv))
        if self.module.check_mode:
            return
        code, out, err = self.module.run_command(list(argv), environ_update={"LC_ALL": "C"})
        if code:
            self.module.fail_json(
                msg=f"{' '.join(argv)} failed: {(err or out).strip()}",
                rc=code,
                stdout=out,
                stderr=err,
                commands=self.commands,
            )

    def links(self, namespace: str) -> dict[str, dict]:
        """Return the namespace's links by name (none if it is not there yet, in check mode)."""
        code, out, _err = self.module.run_command(["ip", "-n", namespace, "-j", "-d", "address", "show"])
        return {link["ifname"]: link for link in json.loads(out or "[]") if link} if code == 0 else {}

    def namespaces(self) -> list[str]:
        """Return the names of the machine's network namespaces."""
        return sorted(os.listdir(NETNS_DIR)) if os.path.isdir(NETNS_DIR) else []

    def is_namespace(self, name: str) -> bool:
        """Tell whether the name leads to a namespace: after a crash it can be an empty file."""
        code, _out, _err = self.module.run_command(["ip", "-n", name, "link", "show", "lo"])
        return code == 0

    def ensure_namespace(self, name: str) -> None:
        """Make a namespace that is missing or broken, with its loopback up."""
        if self.is_namespace(name):
            return
        if name in self.namespaces():
            self.run("ip", "netns", "delete", name)
        if not is_mount_point(NETNS_DIR) and not self.module.check_mode:
            with open(NETNS_MARK, "w") as mark:
                mark.write("this mount point was made by the relocate lab and goes with its last namespace\n")
        self.run("ip", "netns", "add", name)
        self.run("ip", "-n", name, "link", "set", "lo", "up")

    def ensure_bridge(self, namespace: str, name: str, address: str | None) -> None:
        """Make the bridge, give it its address, and put its ports back."""
        links = self.links(namespace)
        if name not in links:
            self.run("ip", "-n", namespace, "link", "add", name, "type", "bridge")
        if links.get(name, {}).get("operstate") in (None, "DOWN") and "UP" not in links.get(name, {}).get("flags", []):
            self.run("ip", "-n", namespace, "link", "set", name, "up")
        if address and address not in addresses(links.get(name, {})):
            self.run("ip", "-n", namespace, "address", "replace", address, "dev", name)
        for port, link in links.items():
            if port.startswith(f"{name}-") and link.get("master") != name:
                self.run("ip", "-n", namespace, "link", "set", port, "master", name, "up")

    def ensure_client(self, namespace: str, client: str, bridge: str, ways: list[tuple[str, str]]) -> None:
        """Give the client its leg on the outer bridge. :param ways: address and default route, of each family."""
        port = f"{bridge}-client"
        links = self.links(client)
        if CLIENT_LINK not in links or port not in self.links(namespace):
            if CLIENT_LINK in links:
                self.run("ip", "-n", client, "link", "delete", CLIENT_LINK)
            self.run(
                "ip", "-n", namespace, "link", "add", port, "type", "veth",
                "peer", "name", CLIENT_LINK, "netns", client,
            )  # fmt: skip
            self.run("ip", "-n", namespace, "link", "set", port, "master", bridge, "up")
            links = {}
        for address, gateway in ways:
            if address not in addresses(links.get(CLIENT_LINK, {})):
                self.run("ip", "-n", client, "address", "replace", address, "dev", CLIENT_LINK)
                self.run("ip", "-n", client, "link", "set", CLIENT_LINK, "up")
                self.run("ip", "-n", client, "route", "replace", "default", "via", gateway)

    def remove(self, name: str) -> None:
        """End every process of the namespace and delete it."""
        if name not in self.namespaces():
            return
        if self.is_namespace(name) and not self.module.check_mode:
            self.end_processes(name)
        self.run("ip", "netns", "delete", name)

    def end_processes(self, name: str) -> None:
        """End what runs inside: first politely, after a second by force."""
        for step in range(40):
            _code, out, _err = self.module.run_command(["ip", "netns", "pids", name])
            pids = [int(pid) for pid in out.split()]
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGTERM if step < 10 else signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)
        self.module.fail_json(msg=f"processes in the network namespace {name} do not end: {out.split()}")

    def unmount_netns_dir(self) -> None:
        """Undo iproute2's mount of /run/netns, if our first namespace made it and none is left."""
        if not os.path.exists(NETNS_MARK) or self.namespaces() or self.module.check_mode:
            return
        if is_mount_point(NETNS_DIR):
            self.run("umount", NETNS_DIR)
        os.rmdir(NETNS_DIR)
        os.unlink(NETNS_MARK)


def is_mount_point(path: str) -> bool:
    """Tell whether something is mounted on ``path``. os.path.ismount does not see a directory that is bound onto itself."""
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == path for line in mounts)


def addresses(link: dict) -> list[str]:
    """Return a link's addresses with their prefix lengths."""
    return [f"{entry['local']}/{entry['prefixlen']}" for entry in link.get("addr_info", [])]


def main() -> None:
    """Make or remove the namespaces."""
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["present", "absent"], "default": "present"},
            "namespace": {"required": True},
            "client": {"required": True},
            "fabric": {"default": "fabric"},
            "fabric_address": {},
            "outside": {"default": "outside"},
            "client_address": {},
            "client_gateway": {},
            "client_address6": {},
            "client_gateway6": {},
        },
        required_if=[("state", "present", ("fabric_address", "client_address", "client_gateway"))],
        required_together=[("client_address6", "client_gateway6")],
        supports_check_mode=True,
    )
    want = module.params
    network = Network(module)
    if want["state"] == "present":
        network.ensure_namespace(want["namespace"])
        network.ensure_namespace(want["client"])
        network.ensure_bridge(want["namespace"], want["fabric"], want["fabric_address"])
        network.ensure_bridge(want["namespace"], want["outside"], None)
        ways = [(want["client_address"], want["client_gateway"])]
        if want["client_address6"]:
            ways.append((want["client_address6"], want["client_gateway6"]))
        network.ensure_client(want["namespace"], want["client"], want["outside"], ways)
    else:
        network.remove(want["client"])
        network.remove(want["namespace"])
        network.unmount_netns_dir()
    module.exit_json(changed=bool(network.commands), commands=network.commands)


if __name__ == "__main__":
    main()
