#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_info
short_description: Tells what a host brings to relocations
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Collects in one call what the preflight of a relocation asks of a host - versions, capacity, ports, and for every container
    whether it could be carried, with the reasons if it could not.
  - A host without Docker, such as the edge, is reported as one and is not a failure.
options:
  register_fact:
    description: >-
      Also return everything as the fact C(relocation_info) of the host, where M(relocate.mtd.container_relocate) finds it.
    type: bool
    default: true
seealso:
  - module: relocate.mtd.container_relocate
extends_documentation_fragment:
  - relocate.mtd.attributes.info
"""

EXAMPLES = r"""
- name: See what every host brings
  relocate.mtd.relocation_info:
"""

RETURN = r"""
relocation_info:
  description: What the host brings.
  returned: success
  type: dict
  contains:
    host:
      description: >-
        Versions (C(kernel), C(architecture), C(docker_version), C(criu_version)), what is installed (C(pycriu), C(proxy),
        C(runtime)), capacity (C(memory_available_bytes), C(disk_available_bytes), C(most_areas) of memory that a process may
        have, C(promised_bytes_left) where the kernel promises no more than it has, and C(room), the C(bytes) and C(inodes) that
        are free where files are kept), C(memory_speed) (milliseconds for each MiB into and out of tmpfs, as just measured),
        C(cpu_flags), C(cgroup_version), C(security_module) and C(apparmor_profiles), Docker's C(networks), their C(subnets) and
        C(network_settings), the host's C(routes) and C(interfaces), C(cordoned), and what the modes depend on
        (C(userfaultfd), C(dirty_tracking)).
      type: dict
    containers:
      description: >-
        Every container with C(name), C(id), C(state), C(started_at) (here), C(image), C(image_id), C(image_bytes), C(labels),
        C(address), C(networks) and C(networks6) (its address of either family on each), C(fixed_addresses) (those that were
        asked for), C(network_options) (the names of those that it has in its networks), C(ports), C(network),
        C(memory_bytes), C(connections), C(areas) of memory, C(committed_bytes), C(mapped_bytes) and C(walk_ms) (what its
        address space takes at another host, in a stop-and-copy or otherwise, and how much longer it makes the freeze),
        C(security_label) (what confines it), C(volumes), C(binds) (its bind mounts, and by what another host sees that it has
        the same), C(refusals), the sentences that keep it here, and C(recreate_refusals), those that keep it from being made
        anew elsewhere.
      type: list
      elements: dict
    used_ports:
      description: Pairs of protocol and port that are taken on the host.
      type: list
      elements: list
    unfinished:
      description:
        - Relocations whose journal on this host has no end, with C(relocation), C(part), C(state) and C(container).
        - C(living) says whether the part has a process here, which will bring it to an end.
      type: list
      elements: dict
"""


from ansible_collections.relocate.mtd.plugins.module_utils import _host
from ansible_collections.relocate.mtd.plugins.module_utils._commands import asking
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={}, argument_spec={"register_fact": {"type": "bool", "default": True}}, supports_check_mode=True
    )

    document = _host.describe(asking(module), module.get_bin_path)
    result = {"changed": False, "relocation_info": document}
    if module.params["register_fact"]:
        result["ansible_facts"] = {"relocation_info": document}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
