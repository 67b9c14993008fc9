#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_preflight
short_description: Tells whether this host can take a container
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Run on a possible destination. Looks at the host as it is now, and at the image - present with the same layers, offered
    by its repository, or to be sent by the source - and returns every reason why the container cannot come here.
  - Nothing is fetched or changed.
options:
  container:
    description: The container, as C(relocation_info.containers) describes it on its source.
    type: dict
    required: true
  source:
    description: The source, as C(relocation_info.host) describes it.
    type: dict
    required: true
  name:
    description: The name by which the sentences call this host.
    type: str
    required: true
seealso:
  - module: relocate.mtd.relocation_info
  - module: relocate.mtd.container_relocate
extends_documentation_fragment:
  - relocate.mtd.attributes.info
"""

EXAMPLES = r"""
- name: Could host2 take the counter?
  relocate.mtd.relocation_preflight:
    name: host2
    container: "{{ here.containers | selectattr('name', 'equalto', 'counter') | first }}"
    source: "{{ here.host }}"
  delegate_to: host2
  vars:
    here: "{{ hostvars['host1'].ansible_facts.relocation_info }}"
"""

RETURN = r"""
refusals:
  description: Sentences; none means that the container can come.
  returned: success
  type: list
  elements: str
image_present:
  description: Whether the image is here already; otherwise it comes while the container still runs at its source.
  returned: success
  type: bool
image_sent:
  description: Whether the source has to send the image, because no repository offers it.
  returned: success
  type: bool
networks:
  description:
    - The networks of the container that its move makes here, by name.
    - V(made) is one that is missing; V(renewed) an empty one of the same project, which is removed and made again, because
      Docker might not give a container the address there that it has.
  returned: success
  type: dict
"""

from typing import Any, Callable

from ansible_collections.relocate.mtd.plugins.module_utils import (
    _binds,
    _forms,
    _host,
    _images,
    _networks,
    _preflight,
)
from ansible_collections.relocate.mtd.plugins.module_utils._commands import asking
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule

_text = _forms.free
_texts = _forms.each(_text)
#: What is read of the two descriptions. They may hold more.
CONTAINER = _forms.record(
    {
        "name": _forms.container_name,
        "image": _forms.image_name,
        "image_layers": _texts,
        "image_digests": _texts,
        "ports": _forms.each(_forms.record({"protocol": _text, "host_port": _forms.port})),
    },
    {
        "volumes": _forms.maybe(
            _forms.each(_forms.record({"anonymous": _forms.flag, "name": _text, "bytes": _forms.size}))
        ),
        "binds": _forms.maybe(_forms.each(_forms.record({"source": _forms.path, "rule": _text}))),
        "processors": _forms.maybe(_forms.each(_forms.whole(0, 1 << 20))),
        "capabilities": _forms.whole(0, (1 << 64) - 1),
        "security_label": _forms.maybe(_text),
        "network": _forms.maybe(_text),
        "fixed_addresses": _forms.maybe(_forms.each(_forms.either_address)),
        "network_options": _forms.maybe(_texts),
        "by_ipv6": _forms.maybe(_forms.each(_forms.either_address)),
        "kept_addresses": _forms.maybe(
            _forms.each(
                _forms.record({"network": _text, "address": _forms.either_address}, {"subnet": _forms.maybe(_text)})
            )
        ),
        "wanted_networks": _forms.maybe(_forms.each(_networks.SETTINGS)),
        "memory_bytes": _forms.size,
        "areas": _forms.size,
        "committed_bytes": _forms.size,
        "layer_bytes": _forms.size,
        "image_id": _forms.maybe(_forms.image_name),
        "image_bytes": _forms.size,
    },
)
SOURCE = _forms.record(
    {},
    {
        **dict.fromkeys(("architecture", "cpu_flags", "security_module"), _forms.maybe(_text)),
        "cgroup_version": _forms.maybe(_forms.whole(1, 2)),
    },
)


def _described(form: _forms.Form) -> _forms.Form:
    return lambda value: form(_forms.document(value))


def image_refusals(engine: DockerClient, name: str, container: dict) -> tuple:
    """Return ``(present, sent, refusals)`` about the container's image on this host; ``sent``: the source has to send it."""
    reference, layers = container["image"], container["image_layers"]
    try:
        if _images.found(engine, reference, container.get("image_id") or "", layers) is not None:
            return True, False, []
        can_send = container.get("image_bytes") and container.get("image_id") and _images.sendable(reference)
        digests = container["image_digests"] or ([] if can_send else None)
        problem = _images.problem_of_offer(engine, reference, digests)
    except _images.Another:
        return (
            True,
            False,
            [
                f"the image {reference} on {name} is not the one that {container['name']} was made from: "
                "pull or remove it there"
            ],
        )
    if not problem:
        return False, False, []
    if can_send:
        return False, True, []
    return False, False, [f"{name} does not have the image {reference}, and {problem}: push it to the repository"]


def ipv6_refusals(ask: Callable[..., str], name: str, container: dict[str, Any]) -> list[str]:
    """Return why clients of IPv6 could not be led to the container here: Docker publishes its ports by no rule."""
    if ask("ip6tables", "-w", "-t", "nat", "-S", "DOCKER"):
        return []
    return [
        f"{container['name']} is reached at {container['by_ipv6'][0]}, and Docker on {name} publishes no port for IPv6: set "
        "ip6tables (and, before version 27, experimental) in its daemon.json, or relocate_fabric_address6 in the inventory and "
        "run prepare.yml"
    ]


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "container": _described(CONTAINER),
            "source": _described(SOURCE),
            "name": _forms.host_name,
        },
        argument_spec={
            "container": {"type": "dict", "required": True},
            "source": {"type": "dict", "required": True},
            "name": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )

    name, container = module.params["name"], module.params["container"]
    here = _host.describe(asking(module), module.get_bin_path)
    present, sent, about_image = False, False, []
    if here["host"]["docker_version"]:
        present, sent, about_image = image_refusals(DockerClient(), name, container)
    if sent:
        container = {**container, "incoming_bytes": _images.COPIES * container["image_bytes"]}
    refusals = _preflight.destination_refusals(
        name, here["host"], here["containers"], here["used_ports"], container, module.params["source"]
    )
    refusals += _binds.refusals(name, container.get("binds") or [], _binds.policy())
    refusals += about_image
    if container.get("by_ipv6"):
        refusals += ipv6_refusals(asking(module), name, container)
    made, _ = _networks.plan(name, here["host"], here["containers"], container)
    networks = {each["settings"]["Name"]: each["what"] for each in made}
    module.exit_json(changed=False, refusals=refusals, image_present=present, image_sent=sent, networks=networks)


if __name__ == "__main__":
    main()
