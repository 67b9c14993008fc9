#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_container_info
short_description: Lists the containers of a Docker host
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Lists all containers of a host, running or not, with the ports the host offers for them.
options:
  name:
    description: Only the container of this name.
    type: str
  movable:
    description: Only containers that carry the label C(relocate.mtd/enabled=true).
    type: bool
    default: false
seealso:
  - module: relocate.mtd.tenant_container
extends_documentation_fragment:
  - relocate.mtd.attributes.info
"""

EXAMPLES = r"""
- name: Everything on this host
  relocate.mtd.tenant_container_info:
  register: host

- name: Names of tenants that run here
  ansible.builtin.debug:
    msg: "{{ host.containers | selectattr('state', 'equalto', 'running') | map(attribute='name') }}"
"""

RETURN = r"""
containers:
  description: The containers.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its full id.
      type: str
    name:
      description: Its name.
      type: str
    image:
      description: The image it was made from.
      type: str
    image_id:
      description: That image's id.
      type: str
    state:
      description: Docker's word for its state, such as V(running).
      type: str
    address:
      description: Its address on this host; null while it does not run.
      type: str
    labels:
      description: Its labels.
      type: dict
    published:
      description: The ports its host offers for it, as dictionaries like those of M(relocate.mtd.tenant_container).
      type: list
      elements: dict
"""

from ansible_collections.relocate.mtd.plugins.module_utils import _forms, _tenant
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "name": _forms.container_name,
        },
        argument_spec={"name": {"type": "str"}, "movable": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    name, movable = module.params["name"], module.params["movable"]
    try:
        found = [_tenant.short_summary(short) for short in DockerClient().containers()]
    except DockerError as error:
        module.fail_json(msg=f"the containers of this host could not be listed: {error}")
    module.exit_json(
        changed=False,
        containers=[
            container
            for container in sorted(found, key=lambda each: each["name"])
            if name in (None, container["name"])
            and (not movable or container["labels"].get(_tenant.ENABLED_LABEL) == "true")
        ],
    )


if __name__ == "__main__":
    main()
