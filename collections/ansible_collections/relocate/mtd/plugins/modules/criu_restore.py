#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: criu_restore
short_description: Brings processes back to life from an image directory
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Restores what M(relocate.mtd.criu_dump) wrote.
  - A process tree comes back under the pids it had.
  - A container comes back as a container of C(runc), under a name and in a network namespace that you choose. Docker
    does not
    know it, because Docker has no way to adopt a running process; to move a container and leave it Docker's, use
    M(relocate.mtd.container_relocate).
  - The files come from where they are on this host. They must be as they were, as far as the processes have them open.
options:
  images:
    description: The directory that was written by M(relocate.mtd.criu_dump).
    type: path
    required: true
  id:
    description:
      - The name of the new container for runc.
      - Required if the image is that of a container, and refused if it is not.
    type: str
  rootfs:
    description:
      - The root file system of the container.
      - If not given, it is the one the container had, which exists as long as Docker runs that container.
    type: path
  network_namespace:
    description:
      - The network namespace of the container, as a path such as V(/run/netns/copy).
      - The image holds none. If established connections are to live, it must have their address.
      - Required if the image is that of a container.
    type: path
  tcp_established:
    description: Whether established TCP connections are restored. If V(false), the restore fails when there is one.
    type: bool
    default: true
  shell_job:
    description: Whether the process tree belonged to a terminal session outside of it.
    type: bool
    default: false
  log_level:
    description: How much CRIU writes to its log, from 1 (errors) to 4 (everything); for process trees.
    type: int
    default: 1
attributes:
  idempotent:
    support: none
    details: Every run restores. It fails when the pids or the name are taken.
seealso:
  - module: relocate.mtd.criu_dump
extends_documentation_fragment:
  - relocate.mtd.attributes.action
"""

EXAMPLES = r"""
- name: A process tree goes on where it was stopped
  relocate.mtd.criu_restore:
    images: /var/lib/snapshots/batch

- name: A copy of a container, cut off from every network, to look at
  relocate.mtd.criu_restore:
    images: /var/lib/snapshots/counter-1
    id: counter-copy
    network_namespace: /run/netns/quarantine
"""

RETURN = r"""
pid:
  description: The root of the restored process tree, as the host sees it; null in check mode.
  returned: success
  type: int
bundle:
  description: The OCI bundle that was made for the container; null for a process tree.
  returned: success
  type: str
commands:
  description: The commands that were run, or in check mode would have been.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds that the restore took (C(restore)).
  returned: always
  type: dict
"""

import json
import os
import re
import shlex
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _bundle, _criu, _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule

#: What is read of a dump's description. runc itself looks at the rest of its configuration.
DESCRIPTION = _forms.maybe(
    _forms.record(
        {
            "container": _forms.container_name,
            "config": _forms.record({"root": _forms.record({"path": _forms.path})}),
            "masked_directories": _forms.each(_forms.path),
        }
    )
)
#: What runc takes, less what is a path.
IDENTIFIER = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9_+.-]+")


class Restore:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the parameters; touch nothing."""
        self.module = module
        self.params = module.params
        self.commands = Commands(module)
        self.images: str = module.params["images"]
        self.work = os.path.join(self.images, "work")
        self.pidfile = os.path.join(self.work, "restored.pid")

    def description(self) -> Optional[dict[str, Any]]:
        """Return what the dump wrote about the container; None if the image is a process tree's."""
        if not os.path.isfile(os.path.join(self.images, "inventory.img")):
            self.commands.fail(f"{self.images} holds no image of CRIU (inventory.img); dump something there first")
        try:
            text = read_text(os.path.join(self.images, "container.json"))
            description = DESCRIPTION(json.loads(text)) if text else None
        except (OSError, ValueError, RecursionError) as error:
            self.commands.fail(
                f"{self.images}/container.json is not what a dump writes ({error}): dump the container anew"
            )
        return description

    def container(self, description: dict[str, Any]) -> str:
        """Restore a container under runc; return its bundle."""
        name = description["container"]
        identifier, namespace = self.params["id"], self.params["network_namespace"]
        if not identifier or not namespace:
            self.commands.fail(f"{self.images} is the image of container {name!r}: id and network_namespace are needed")
        if not os.path.exists(namespace):
            self.commands.fail(f"there is no network namespace at {namespace}; make it with ip netns add")
        rootfs = self.params["rootfs"] or description["config"]["root"]["path"]
        if not os.path.isdir(rootfs) or not os.listdir(rootfs):
            self.commands.fail(
                f"{rootfs} is no root file system (does container {name!r} still run?); name one with rootfs"
            )
        rc, _out, _err = self.commands.run(["runc", "state", identifier], check=False)
        if rc == 0:
            self.commands.fail(f"runc already has a container {identifier!r}; choose another id, or delete that one")
        bundle = os.path.join(self.work, identifier)
        argv = _criu.runc_restore_command(
            identifier, bundle, self.images, self.work, self.pidfile, self.params["tcp_established"]
        )
        if self.module.check_mode:
            self.commands.ran.append(shlex.join(argv))
            return bundle
        self.make_bundle(bundle, description, rootfs)
        self.run(argv, f"container {name!r}")
        return bundle

    def make_bundle(self, bundle: str, description: dict[str, Any], rootfs: str) -> None:
        """Write the bundle: runc's configuration, CRIU's, and an empty directory for what the runtime hides."""
        empty, options = os.path.join(bundle, "empty"), os.path.join(bundle, "criu.conf")
        os.makedirs(empty, mode=0o700, exist_ok=True)
        config = _bundle.detached(
            description["config"], self.params["id"], rootfs, self.params["network_namespace"], options
        )
        text = _bundle.criu_options(description["masked_directories"], empty)
        self.commands.write_file(options, text, 0o600)
        self.commands.write_file(os.path.join(bundle, "config.json"), json.dumps(config), 0o600)

    def process(self) -> None:
        """Restore a process tree."""
        given = [name for name in ("id", "rootfs", "network_namespace") if self.params[name]]
        if given:
            self.commands.fail(f"{self.images} is the image of a process tree, which has no {' or '.join(given)}")
        argv = _criu.restore_command(
            self.images,
            self.work,
            self.pidfile,
            self.params["tcp_established"],
            self.params["shell_job"],
            self.params["log_level"],
        )
        if self.module.check_mode:
            self.commands.ran.append(shlex.join(argv))
            return
        self.run(argv, "the process tree")

    def run(self, argv: list[str], what: str) -> None:
        """Restore, or end the module with the last word of CRIU's log."""
        os.makedirs(self.work, mode=0o700, exist_ok=True)
        if os.path.exists(self.pidfile):  # of an earlier restore; CRIU does not overwrite it
            os.unlink(self.pidfile)
        rc, out, err = self.commands.run(argv, check=False, label="restore")
        if rc:
            log = read_text(os.path.join(self.work, "restore.log")) or err or out
            errors = [line for line in log.splitlines() if "Error" in line] or log.splitlines() or [f"exit status {rc}"]
            self.commands.fail(
                f"CRIU could not restore {what}: {errors[0].strip()}; all of it is in {self.work}/restore.log",
                rc=rc,
                stdout=out,
                stderr=err,
            )

    def pid(self) -> Optional[int]:
        """Return the root of what was restored."""
        text = (read_text(self.pidfile) or "").strip()
        return int(text) if text.isdigit() and not self.module.check_mode else None


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "images": _forms.path,
            "id": _forms.formed(IDENTIFIER, "name of a container: use letters, digits, '_', '+', '-', '.'", 255),
            "rootfs": _forms.path,
            "network_namespace": _forms.path,
            "log_level": _forms.whole(0, 4),
        },
        argument_spec={
            "images": {"type": "path", "required": True},
            "id": {"type": "str"},
            "rootfs": {"type": "path"},
            "network_namespace": {"type": "path"},
            "tcp_established": {"type": "bool", "default": True},
            "shell_job": {"type": "bool", "default": False},
            "log_level": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    restore = Restore(module)
    restore.commands.binary("criu")
    description = restore.description()
    bundle = None
    if description is not None:
        bundle = restore.container(description)
    else:
        restore.process()
    module.exit_json(
        changed=True,
        pid=restore.pid(),
        bundle=bundle,
        commands=restore.commands.ran,
        timings_ns=restore.commands.timings_ns,
    )


if __name__ == "__main__":
    main()
