#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_profile
short_description: What makes a Docker host different from another
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Collects the facts from which the inventory plugin P(relocate.mtd.heterogeneity#inventory) measures how different two
    hosts are, its configuration C(c), its networking C(n) and its services C(s).
  - Takes well under a second and a megabyte, and needs nothing on the host but Python's standard library.
  - A fact is null where the host does not say; it then counts for nothing. It is an empty string or list where the thing
    is known to be absent, which is a difference to a host that has it.
  - What differs between hosts only because each has its own number is left out, such as addresses within a subnet and
    the subnets of Docker's own bridges.
options:
  rack:
    description: The rack, row or zone that the host stands in, or anything else that fails and is watched together.
    type: str
  switch:
    description: The switch that the host is plugged into.
    type: str
  scores:
    description:
      - The host's C, N and S as single numbers, for O(relocate.mtd.heterogeneity#inventory:mode=paper).
      - Give them for all hosts or for none.
    type: dict
    suboptions:
      c:
        description: Configuration.
        type: float
        required: true
      n:
        description: Networking.
        type: float
        required: true
      s:
        description: Services.
        type: float
        required: true
  docker_socket:
    description: The socket of the Docker daemon.
    type: path
    default: /var/run/docker.sock
  timeout:
    description: Seconds to wait for any single answer of the Docker daemon before its facts are left null.
    type: float
    default: 2.0
seealso:
  - plugin: relocate.mtd.heterogeneity
    plugin_type: inventory
  - plugin: relocate.mtd.next_hop
    plugin_type: lookup
extends_documentation_fragment:
  - relocate.mtd.attributes
  - relocate.mtd.attributes.info
attributes:
  facts:
    description: Returns an C(ansible_facts) dictionary that updates the facts of the host.
    support: full
"""

EXAMPLES = r"""
- name: Profile the host
  relocate.mtd.host_profile:
    rack: "{{ relocate_rack | default(omit) }}"
    switch: "{{ relocate_switch | default(omit) }}"

- name: What runs here?
  ansible.builtin.debug:
    msg: "{{ ansible_facts['relocate_profile']['s']['services'] }}"
"""

RETURN = r"""
ansible_facts:
  description: The fact C(relocate_profile).
  returned: success
  type: complex
  contains:
    relocate_profile:
      description: The profile. Its shape is version 1 of the document described in docs/heterogeneity.md.
      type: complex
      contains:
        version:
          description: Version of this shape.
          type: int
          sample: 1
        c:
          description: >-
            Configuration - kernel, kernel_build, architecture, distribution, distribution_version, cpu_model, cpu_flags,
            microcode, docker, containerd, runc, criu, storage_driver, cgroup, lsms, sysctls, mitigations, sharing.
          type: dict
          sample: {kernel: 6.12.48, distribution: debian, distribution_version: "13", docker: 26.1.5, cgroup: v2}
        n:
          description: Networking - subnets, rack, switch, nic_drivers, firewall, listening.
          type: dict
          sample: {subnets: [10.77.0.0/24], rack: r1, nic_drivers: [virtio_net], firewall: iptables-nft, listening: [tcp/22]}
        s:
          description: Services - packages (name to version), services, images.
          type: dict
          sample: {packages: {bash: 5.2.37-2}, services: [dockerd, sshd], images: ["web:1@4bcff63911fc"]}
        scores:
          description: O(scores), if given.
          type: dict
size:
  description: Length of the profile as JSON, in bytes.
  returned: success
  type: int
  sample: 14218
commands:
  description: The commands that were run.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent on each part, and in all.
  returned: always
  type: dict
  sample: {c: 21000000, n: 9000000, s: 60000000, total: 92000000}
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._profile import network, services, system

#: Version of the profile's shape.
VERSION = 1
ROOT = "/"


class Profiler:
    """Collects the three parts; what the host does not say is null and becomes a warning."""

    def __init__(self, module: AnsibleModule) -> None:
        """Profile for ``module``."""
        self.module = module
        self.commands = Commands(module)
        self._installed = os.path.exists(module.params["docker_socket"]) or module.get_bin_path("dockerd") is not None

    def _docker(self, path: str, absent: Any) -> Any:
        """Return the daemon's answer, ``absent`` where Docker is not installed, None where it does not answer."""
        if not self._installed:
            return absent
        try:
            return DockerClient(self.module.params["docker_socket"]).request(
                "GET", path, timeout=self.module.params["timeout"]
            )
        except DockerError as error:
            self.module.warn(f"the facts that Docker knows are null: {error}")
            return None

    def configuration(self) -> dict[str, Any]:
        """Return C."""
        facts = system.configuration(ROOT)
        version = self._docker("/version", {})
        unknown = dict.fromkeys(("docker", "containerd", "runc"))
        facts.update(unknown if version is None else system.runtime_versions(version))
        info = self._docker("/info", {}) if version is not None else None
        facts["storage_driver"] = None if info is None else str(info.get("Driver") or "")
        criu = self.module.get_bin_path("criu", opt_dirs=["/usr/sbin", "/sbin", "/usr/local/sbin"])
        output = self.commands.run(["criu", "--version"], check=False)[1] if criu else ""
        facts["criu"] = system.criu_version(output)
        return facts

    def networking(self) -> dict[str, Any]:
        """Return N."""
        names = network.interfaces(ROOT)
        addresses = self.commands.run_json(["ip", "-json", "address", "show"])
        drivers = {network.driver(ROOT, name) for name in names}
        return {
            "subnets": network.subnets(addresses, names),
            "rack": self.module.params["rack"],
            "switch": self.module.params["switch"],
            "nic_drivers": sorted(filter(None, drivers)),
            "firewall": network.firewall(),
            "listening": network.listening(ROOT),
        }

    def services(self) -> dict[str, Any]:
        """Return S."""
        images = self._docker("/images/json", [])
        return {
            "packages": self._packages(),
            "services": self._running(),
            "images": None if images is None else services.images(images),
        }

    def _packages(self) -> dict[str, str] | None:
        manager = services.package_manager(ROOT)
        if manager is None:
            self.module.warn("the packages are null: the host has none of the databases of dpkg, rpm and apk")
            return None
        name, command = manager
        return services.packages(name, self.commands.run(command, what=f"listing packages with {name}")[1])

    def _running(self) -> list[str]:
        if os.path.isdir("/run/systemd/system"):
            command = ["systemctl", "list-units", "--type=service", "--state=running", "--no-pager", "--output=json"]
            return services.systemd_services(self.commands.run(command)[1])
        started = services.openrc_services(ROOT)
        return services.daemons(ROOT) if started is None else started


def main() -> None:
    """Entry point."""
    number = {"type": "float", "required": True}
    module = HostModule(
        forms={
            "rack": _forms.remark,
            "switch": _forms.remark,
            "scores": _forms.record(dict.fromkeys("cns", _forms.number(-1e12, 1e12))),
            "docker_socket": _forms.path,
            "timeout": _forms.number(0.001, 3600),
        },
        argument_spec={
            "rack": {"type": "str"},
            "switch": {"type": "str"},
            "scores": {"type": "dict", "options": {"c": number, "n": number, "s": number}},
            "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
            "timeout": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    profiler = Profiler(module)
    profile: dict[str, Any] = {"version": VERSION}
    timings_ns = {}
    begun = time.monotonic_ns()
    for term, collect in (("c", profiler.configuration), ("n", profiler.networking), ("s", profiler.services)):
        started = time.monotonic_ns()
        profile[term] = collect()
        timings_ns[term] = time.monotonic_ns() - started
    timings_ns["total"] = time.monotonic_ns() - begun
    if module.params["scores"]:
        profile["scores"] = module.params["scores"]
    module.exit_json(
        changed=False,
        ansible_facts={"relocate_profile": profile},
        size=len(json.dumps(profile, separators=(",", ":"))),
        commands=profiler.commands.ran,
        timings_ns=timings_ns,
    )


if __name__ == "__main__":
    main()
