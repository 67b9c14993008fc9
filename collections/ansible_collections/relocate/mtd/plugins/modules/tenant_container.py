#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_container
short_description: A tenant's container on a Docker host
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Makes, starts or removes a container that M(relocate.mtd.container_relocate) can move later.
  - Needs nothing on the host besides Python's standard library and Docker's socket.
  - Checks first and acts then. A taken port, a missing image or a container of that name that is something else is
    refused with one sentence, in check mode as well, and nothing has changed.
  - A new container that ends at once with an error is removed again, and its last words are reported.
  - Never remakes a container that exists, because that would throw its memory away.
options:
  name:
    description: The container's name.
    type: str
    required: true
  image:
    description:
      - The image with its repository, as V(10.77.0.10:5000/counter:1). Fetched if this host lacks it.
      - Required unless O(state=absent).
    type: str
  command:
    description:
      - The command, as a list or as one string that is split as a shell would. If not given, it is the image's.
    type: raw
  environment:
    description: Environment variables.
    type: dict
    default: {}
  labels:
    description: Labels. Those that make a container movable are set by the module.
    type: dict
    default: {}
  tenant:
    description: Whose container it is (label C(relocate.mtd/tenant)). If not given, it is O(name).
    type: str
  sensitive:
    description: Whether moves of this container should be preferred (label C(relocate.mtd/sensitive)).
    type: bool
    default: false
  post_copy:
    description:
      - Whether its memory may follow after the move. V(false) sets the label C(relocate.mtd/post-copy) to V(never).
    type: bool
    default: true
  published:
    description: Ports of the container that the host offers.
    type: list
    elements: dict
    default: []
    suboptions:
      container_port:
        description: The port in the container.
        type: int
        required: true
      host_port:
        description: The port of the host. If not given, it is O(published[].container_port).
        type: int
      protocol:
        description: The transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      host_address:
        description: The address of the host on which the port is offered.
        type: str
        default: 0.0.0.0
  restart_policy:
    description: What Docker does when the container ends.
    type: str
    choices: ["no", always, unless-stopped, on-failure]
    default: "no"
  state:
    description:
      - V(started) makes the container if need be, and starts it.
      - V(present) makes it and does not care whether it runs.
      - V(absent) stops and removes it.
    type: str
    choices: [started, present, absent]
    default: started
seealso:
  - module: relocate.mtd.tenant_container_info
  - module: relocate.mtd.nat_service
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: A counter server
  relocate.mtd.tenant_container:
    name: counter
    image: 10.77.0.10:5000/counter:1
    command: /counter 7000
    published:
      - container_port: 7000

- name: Gone
  relocate.mtd.tenant_container:
    name: counter
    state: absent
"""

RETURN = r"""
container:
  description: The container after the run; empty if there is none (yet, in check mode).
  returned: success
  type: dict
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
commands:
  description: The requests that changed something, as method and path of the Engine API.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent fetching the image (C(pull)), making (C(create)) and starting (C(start)) the container.
  returned: always
  type: dict
"""

import os
import re
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _forms, _tenant
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._docker import (
    DockerClient,
    DockerError,
    Publication,
    publications,
)
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule
from ansible_collections.relocate.mtd.plugins.module_utils._sockets import listening

_VARIABLE = re.compile(r"[^=\0]+")
_variable = _forms.formed(_VARIABLE, "name of a variable: one has no '='", _forms.WORD_BYTES)
_label = _forms.formed(re.compile(r"[^\0]+", re.DOTALL), "label's name", 1024)
_PUBLISHED = _forms.record(
    {"container_port": _forms.port},
    {"host_port": _forms.maybe(_forms.port), "host_address": _forms.maybe(_forms.address)},
)

# a wrong command ends a container within a few milliseconds of the processor's time, which is scarce on a busy host
SETTLE_S = 0.2
LIFE_S = 5.0


def _command(value: Any) -> Any:
    """Form of a command: a text, or a list of words."""
    return _forms.free(value) if isinstance(value, str) else _forms.each(_forms.scalar)(value)


def at_rest(pid: int) -> bool:
    """Return whether a process waits for something: it has begun its work, and has not ended without Docker's knowledge yet."""
    try:
        stat = read_text(f"/proc/{pid}/stat") or ""
    except OSError:
        return False  # it has ended while it was read
    state = stat.rpartition(")")[2].strip()[:1]
    return state not in ("", "R", "D", "Z", "X")


def tenant_of(params: dict[str, Any]) -> _tenant.WantedTenant:
    """Return the parameters as a tenant.

    :raises ValueError: the command has an unclosed quotation.
    """
    labels = {str(name): str(value) for name, value in params["labels"].items()}
    labels[_tenant.ENABLED_LABEL] = "true"
    labels[_tenant.TENANT_LABEL] = params["tenant"] or params["name"]
    if params["sensitive"]:
        labels[_tenant.SENSITIVE_LABEL] = "true"
    if not params["post_copy"]:
        labels[_tenant.POST_COPY_LABEL] = "never"
    published = []
    for port in params["published"]:
        host_port = port["host_port"] or port["container_port"]
        published.append(Publication(port["host_address"], host_port, port["container_port"], port["protocol"]))
    return _tenant.WantedTenant(
        name=params["name"],
        image=params["image"],
        command=_tenant.words(params["command"]),
        environment=tuple(sorted((str(name), str(value)) for name, value in params["environment"].items())),
        labels=tuple(sorted(labels.items())),
        published=tuple(published),
        restart_policy=params["restart_policy"],
    )


class Keeper:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the parameters; ask nobody yet."""
        self.module = module
        self.commands = Commands(module)
        self.engine = DockerClient()
        self.changed = False

    def _change(self, label: str, request: str, act: Callable[[], Any]) -> Any:
        """Count a change; carry it out unless in check mode; return what it returned."""
        self.changed = True
        if self.module.check_mode:
            return None
        self.commands.ran.append(request)
        started = time.monotonic_ns()
        result = act()
        self.commands.timings_ns[label] = time.monotonic_ns() - started
        return result

    def absent(self, name: str) -> dict[str, Any]:
        """Remove the container."""
        found = self.engine.container(name)
        if found is not None:
            self._change("remove", f"DELETE /containers/{name}?force=1&v=1", lambda: self.engine.remove(found["Id"]))
        return {}

    def present(self, tenant: _tenant.WantedTenant, start: bool) -> dict[str, Any]:
        """Make the container if it is missing, start it if wanted; return its summary."""
        name = tenant.name
        found = self.engine.container(name)
        if found is not None:
            unlike = _tenant.differences(tenant, found)
            if unlike:
                self.commands.fail(
                    f"the name {name!r} is already in use on this host by another container: {'; '.join(unlike)}; "
                    "choose another name, or remove that container first"
                )
        running = found is not None and found["State"]["Running"]
        if start and not running:
            self.require_ports(tenant)
        fresh = found is None
        if found is None:
            self.require_image(tenant.image)
            body = _tenant.specification(tenant)
            identifier = self._change(
                "create", f"POST /containers/create?name={name}", lambda: self.engine.create(name, body)
            )
        else:
            identifier = found["Id"]
        if start and not running:
            self.start(name, identifier, fresh)
        if identifier is None:
            return {}
        after = self.engine.container(identifier)
        return _tenant.summary(after) if after else {}

    def start(self, name: str, identifier: str | None, fresh: bool) -> None:
        """Start the container; one that was made a moment ago and does not live is removed again."""
        try:
            self._change("start", f"POST /containers/{name}/start", lambda: self.engine.start(identifier or name))
        except DockerError as error:
            if fresh and identifier:
                self.engine.remove(identifier)
            self.commands.fail(f"container {name!r} did not start: {error}", rolled_back=fresh)
        if identifier and not self.module.check_mode:
            self.require_life(name, identifier, fresh)

    def require_life(self, name: str, identifier: str, fresh: bool) -> None:
        """Check that the container did not end at once, as it does when its command is wrong."""
        deadline = time.monotonic() + LIFE_S
        while True:
            time.sleep(SETTLE_S)
            now = self.engine.container(identifier)
            if (
                now is None
                or not now["State"]["Running"]
                or at_rest(now["State"]["Pid"])
                or time.monotonic() > deadline
            ):
                break
        if now is None or now["State"]["Running"] or now["State"]["ExitCode"] == 0:
            return
        words, status = self.engine.last_words(identifier), now["State"]["ExitCode"]
        if fresh:
            self.engine.remove(identifier)
        said = f"; its last words: {words}" if words else ""
        self.commands.fail(f"container {name!r} ended at once with status {status}{said}", rolled_back=fresh)

    def require_image(self, image: str) -> None:
        """Check that the image is here, or fetch it."""
        if self.engine.image(image) is not None:
            return
        try:
            self.engine.registered(image)
        except DockerError as error:
            self.commands.fail(
                f"image {image} is neither on this host nor to be had from its repository ({error}); "
                "push it there first, or check the name"
            )
        self._change("pull", f"POST /images/create?fromImage={image}", lambda: self.engine.pull(image))

    def require_ports(self, tenant: _tenant.WantedTenant) -> None:
        """Check that nobody has the ports of the host that the container is to have."""
        owners = {
            (port.protocol, port.host_port): short["Names"][0].lstrip("/")
            for short in self.engine.containers(everything=False)
            for port in publications(short)
        }
        for port in tenant.published:
            owner = owners.get((port.protocol, port.host_port))
            if owner == tenant.name:
                continue
            if owner is not None:
                self.commands.fail(
                    f"port {port.host_port}/{port.protocol} of this host is already taken by container {owner!r}; "
                    f"give {tenant.name!r} another host port or another host"
                )
            tables = (read_text(os.path.join("/proc/net", port.protocol + suffix)) or "" for suffix in ("", "6"))
            if any(port.host_port in listening(table, port.protocol) for table in tables):
                self.commands.fail(
                    f"port {port.host_port}/{port.protocol} of this host is already taken by one of its own programs; "
                    f"give {tenant.name!r} another host port or another host"
                )


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "name": _forms.container_name,
            "image": _forms.image_name,
            "command": _command,
            "environment": _forms.mapping(_variable, _forms.scalar),
            "labels": _forms.mapping(_label, _forms.scalar),
            "tenant": _forms.remark,
            "published": _forms.each(_PUBLISHED),
        },
        argument_spec={
            "name": {"type": "str", "required": True},
            "image": {"type": "str"},
            "command": {"type": "raw"},
            "environment": {"type": "dict", "default": {}},
            "labels": {"type": "dict", "default": {}},
            "tenant": {"type": "str"},
            "sensitive": {"type": "bool", "default": False},
            "post_copy": {"type": "bool", "default": True},
            "published": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "container_port": {"type": "int", "required": True},
                    "host_port": {"type": "int"},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
                    "host_address": {"type": "str", "default": "0.0.0.0"},
                },
            },
            "restart_policy": {
                "type": "str",
                "choices": ["no", "always", "unless-stopped", "on-failure"],
                "default": "no",
            },
            "state": {"type": "str", "choices": ["started", "present", "absent"], "default": "started"},
        },
        required_if=[("state", "started", ("image",)), ("state", "present", ("image",))],
        supports_check_mode=True,
    )
    keeper = Keeper(module)
    name, state = module.params["name"], module.params["state"]
    try:
        before = keeper.engine.container(name)
        if state == "absent":
            container = keeper.absent(name)
        else:
            container = keeper.present(tenant_of(module.params), start=state == "started")
    except ValueError as error:
        keeper.commands.fail(f"container {name!r} cannot be made: {error}")
    except DockerError as error:
        keeper.commands.fail(f"container {name!r}: {error}")
    shown = {"state": before["State"]["Status"] if before else "absent"}
    running = before is not None and before["State"]["Running"]
    wanted = {"started": "running", "present": "running" if running else "created", "absent": "absent"}[state]
    module.exit_json(
        changed=keeper.changed,
        container=container,
        diff={"before": shown, "after": {"state": wanted} if keeper.changed else shown},
        commands=keeper.commands.ran,
        timings_ns=keeper.commands.timings_ns,
    )


if __name__ == "__main__":
    main()
